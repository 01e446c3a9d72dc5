//! Tables of a catalog: what a session needs of one, as traits. Where a spec asks for a catalog, each table of a write is opened there before its first
//! rows, which gives its columns ids; and at the end its objects become one commit.
//!
//! The library knows no catalog and no format of tables: `lakegate-iceberg` implements these traits for Iceberg.

mod headers;
mod objects;

pub(crate) use headers::{schema_header, schema_message, with_schema};
pub(crate) use objects::SessionObjects;

pub use crate::delivery::ledger::CatalogCommit;
use crate::delivery::ledger::{Failure, Receipt};
use crate::storage::target::{CatalogPlan, CatalogTable};
use arrow_schema::Schema;
use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;

/// Reaches catalogs.
#[async_trait]
pub trait ConnectCatalog: Debug + Send + Sync {
    /// Reaches the catalog of a plan, far enough to know that it is one and lets us in.
    ///
    /// # Errors
    /// [`Failure`]: it is not reached, does not let us in, or is no catalog; or the plan's secret is not there.
    async fn connect(&self, request: CatalogRequest) -> Result<Arc<dyn Catalog>, Failure>;
}

/// Which catalog, and for whom.
#[derive(Debug, Clone)]
pub struct CatalogRequest {
    /// What the spec says of it.
    pub plan: CatalogPlan,
    /// The bucket of the session, in which all its tables lie.
    pub bucket: String,
    /// The region of the session, for which requests are signed where the catalog wants that.
    pub region: String,
    /// Who signs requests to a catalog that asks for AWS's signatures: who signs those to the store. [`None`] where it does not ask.
    pub credentials: Option<SharedCredentialsProvider>,
}

/// A catalog.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// Opens a table for rows of these columns, or makes it, or makes it fit them. Asked once for each schema of a table's rows.
    ///
    /// # Errors
    /// [`Failure`], which fails the table.
    async fn open(&self, request: OpenRequest<'_>) -> Result<Arc<dyn OpenTable>, Failure>;
}

/// Which table is opened, and for which rows.
#[derive(Debug)]
pub struct OpenRequest<'a> {
    /// Its name, and the folder in which all its objects lie.
    pub table: &'a CatalogTable,
    /// The columns of the rows.
    pub columns: &'a Schema,
    /// What will be committed, under a name that is the same in every attempt if the sync has one.
    pub commit_id: &'a str,
    /// Whether every attempt at the commit has the same objects.
    pub objects_repeat: bool,
    /// Where the table's metadata may be put and read: under the session's policy, and nothing there that must not be replaced by the same.
    pub objects: Arc<dyn TableObjects>,
}

/// A table that takes rows of a schema.
#[async_trait]
pub trait OpenTable: Debug + Send + Sync {
    /// The columns of the rows as they are to be written: those that the table was opened for, with `PARQUET:field_id` in the metadata of each field.
    fn columns(&self) -> &Schema;

    /// The snapshot of the commit, if the table had it already when it was opened.
    fn committed_before(&self) -> Option<i64>;

    /// Makes the commit of these objects, once for each id, however often that is tried.
    ///
    /// # Errors
    /// [`CatalogCommitError`]. With an unknown outcome the same commit, tried again, finds out.
    async fn commit(&self, objects: &[Receipt]) -> Result<CatalogCommit, CatalogCommitError>;
}

/// A commit that is not in the catalog, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct CatalogCommitError {
    /// What went wrong last.
    pub failure: Failure,
    /// Objects to which nothing refers. They stay.
    pub orphans: Vec<String>,
    /// Objects that may be part of the table, and must not be deleted.
    pub unsettled: Vec<String>,
}

/// The objects of a table's metadata, in the bucket of the session and on the account of its tenant.
#[async_trait]
pub trait TableObjects: Debug + Send + Sync {
    /// Creates an object, and succeeds if the key has one already: names of metadata follow from its content. It is there when this returns.
    ///
    /// # Errors
    /// [`StoreError`](crate::StoreError).
    async fn create(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), crate::StoreError>;

    /// Reads a whole object of at most so many bytes. [`None`] if there is none.
    ///
    /// # Errors
    /// [`StoreError`](crate::StoreError); `Quota` if it is larger.
    async fn read(&self, key: &str, most_bytes: u64) -> Result<Option<Bytes>, crate::StoreError>;
}
