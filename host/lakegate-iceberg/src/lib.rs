//! Data files become part of an [Apache Iceberg](https://iceberg.apache.org) table, through a REST catalog, exactly once.
//!
//! Whoever writes Parquet files has, at the end, objects in a bucket, and what is known of them: rows, bytes, bounds of columns. This crate makes
//! one commit of them. It writes no rows and reads none: a table is opened for an Arrow schema, which answers where files have to lie and which
//! ids their columns have; the files are written by other means; then they are committed under an id that is the same in every attempt.
//!
//! ```no_run
//! use arrow_schema::{DataType, Field, Schema};
//! use lakegate_iceberg::{
//!     Auth, Catalog, CatalogOptions, DataFile, Http, Iceberg, Objects, OnSchemaChange, Part, Placeholder, Retries, Secret, TableName, TableRequest,
//!     TypeProfile,
//! };
//! use std::{sync::Arc, time::Duration};
//!
//! # async fn commit(objects: Arc<dyn Objects>) -> Result<(), Box<dyn std::error::Error>> {
//! let catalog = Catalog::connect(CatalogOptions {
//!     uri: "https://catalog.example/api".into(),
//!     warehouse: Some("lake".into()),
//!     auth: Auth::Bearer(Secret::new(std::env::var("CATALOG_TOKEN")?)),
//!     transport: Arc::new(Http::new(Duration::from_secs(60))?),
//! })
//! .await?;
//! // Manifests and manifest lists are put into the bucket through the trait `Objects`.
//! let iceberg = Iceberg::new(catalog, objects, Retries::default());
//!
//! let table = iceberg
//!     .open(TableRequest {
//!         name: TableName { namespace: vec!["sales".into()], name: "orders".into() },
//!         columns: Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("country", DataType::Utf8, true)]),
//!         profile: TypeProfile::default(),
//!         partition: vec![Placeholder { column: "country".into(), part: Part::Value }],
//!         create: true,
//!         on_schema_change: OnSchemaChange::AddColumns,
//!         within: "s3://lake/warehouse".into(),
//!         location: None,
//!         commit_id: None,
//!     })
//!     .await?;
//!
//! // Files are written below `table.location()`, with the ids of `table.arrow_schema()`.
//! let file = DataFile {
//!     location: format!("{}/data/country=DE/1.parquet", table.location()),
//!     bytes: 4_096,
//!     rows: 100,
//!     partition: vec![Some("DE".into())],
//!     ..DataFile::default()
//! };
//! let commit = table.commit("orders-2024-05-17", &[file]).await?;
//! println!("snapshot {:?}, already there: {}", commit.snapshot_id, commit.already);
//! # Ok(())
//! # }
//! ```
//!
//! What needs no catalog can be tried at once:
//!
//! ```
//! use arrow_schema::{DataType, Field, Schema};
//! use lakegate_iceberg::{FIELD_ID, Type, TypeProfile, table_fields, with_field_ids};
//!
//! let rows = Schema::new(vec![Field::new("id", DataType::UInt64, false), Field::new("at", DataType::Date64, true)]);
//! let columns = table_fields(&rows, TypeProfile::default())?;
//! assert_eq!(columns[0].kind, Type::Decimal { precision: 20, scale: 0 });
//! assert_eq!(with_field_ids(&rows, &columns)?.field(1).metadata()[FIELD_ID], "2");
//!
//! let never = Schema::new(vec![Field::new("nothing", DataType::Null, true)]);
//! let error = table_fields(&never, TypeProfile::default()).unwrap_err();
//! assert_eq!(error.to_string(), "column \"nothing\": Null has no type in Iceberg");
//! # Ok::<_, lakegate_iceberg::Error>(())
//! ```
//!
//! # What is promised
//!
//! - **Once.** The commit id stands in the summary of the snapshot ([`COMMIT_ID`]). Before a commit is sent, and again whenever its answer did not
//!   come (a status of 5xx, a time-out, a reset), the id is looked for among the ancestors of the newest snapshot. It is sent again only if it is not
//!   there, and names the parent that it replaces, so that of all attempts on one parent at most one is taken, whenever they arrive. If another
//!   writer was faster (409), the manifest list is written anew on the new parent, with the same manifests.
//! - **Nothing is deleted.** Files that nothing refers to are named ([`Commit::orphans`], [`CommitError::orphans`]); after an unknown outcome they
//!   are named as such ([`CommitError::unsettled`]), and the same commit, tried again, finds out.
//! - **What is known is checked.** Facts that contradict each other, the table or the partition of their file refuse the commit, naming file and
//!   column, since readers skip files by them.
//! - **A catalog is a stranger.** Its answers are read within bounds of bytes, time and depth ([`limits`]); redirects are not followed, nor an
//!   address that its configuration names; a table or a manifest list elsewhere than [`TableRequest::within`] is an error. Secrets are in no
//!   message, also if a catalog repeats them.
//!
//! # What it needs
//!
//! - Of the bucket: to put objects below `<table>/metadata/` if they are not there, and to read the newest manifest list there (for the first
//!   snapshot, nothing). No listing, no deleting.
//! - Of the catalog: its configuration, tables to load, to create and to commit to, and namespaces to load and create (the two only if tables
//!   are created). A table has format version 2.
//! - [`Auth`]: nothing, a bearer token, OAuth2 client credentials, or AWS's signatures, as AWS Glue (service `glue`) and S3 Tables (`s3tables`) ask
//!   for. The signatures are tested by ten of AWS's published vectors; neither of the two services has been tried yet.
//!
//! # How it is built
//!
//! `attempt.rs` is the commit loop, a machine that is told what happened and says what to do next; its tests go through every course of events up to a
//! depth. `table.rs` does what it says. `rest.rs`, `auth.rs` and `transport.rs` speak with the catalog, `metadata.rs` reads what it says of a table.
//! `manifest.rs` and `avro.rs` write the metadata files. `arrow.rs`, `types.rs`, `compare.rs` and `partition.rs` are schemas; `file.rs` checks what is said of data files.

mod arrow;
mod attempt;
mod auth;
mod avro;
mod compare;
mod error;
mod file;
pub mod limits;
mod location;
mod manifest;
mod metadata;
mod objects;
mod partition;
mod rest;
#[cfg(feature = "lakegate")]
mod session;
mod table;
#[cfg(test)]
mod testing;
mod transport;
mod types;
mod value;

pub use arrow::{FIELD_ID, TypeProfile, table_fields, with_field_ids};
pub use auth::{Auth, Secret};
pub use compare::{Addition, Comparison, compare};
pub use error::{Error, ErrorKind};
pub use file::{ColumnFacts, DataFile};
pub use location::Location;
pub use metadata::COMMIT_ID;
pub use objects::{MemoryObjects, Objects};
pub use partition::{Part, PartitionField, PartitionSpec, Placeholder, Transform};
pub use rest::{Catalog, CatalogOptions, TableName};
#[cfg(feature = "lakegate")]
pub use session::{RehearsedCatalogs, RestCatalogs};
pub use table::{Commit, CommitError, Iceberg, OnSchemaChange, Retries, Table, TableRequest};
pub use transport::{Http, Transport, TransportError};
pub use types::{Field, Type};
