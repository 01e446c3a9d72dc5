//! Iceberg tables as what a session of the library writes to: its traits, by what this crate has.

use crate::{
    Auth, Catalog, CatalogOptions, ColumnFacts, CommitError, DataFile, Error, ErrorKind, Http, Iceberg, Location, Objects, OnSchemaChange,
    Part, Placeholder, Retries, Secret, Table, TableName, TableRequest, Transport, TypeProfile, table_fields, with_field_ids,
};
use arrow_schema::Schema;
use async_trait::async_trait;
use bytes::Bytes;
use lakegate::catalog::{
    Catalog as SessionCatalog, CatalogCommit, CatalogCommitError, CatalogRequest, ConnectCatalog, OpenRequest, OpenTable, TableObjects,
};
use lakegate::spec::{CatalogAuth, CatalogPlan, PartitionPart, SecretSource};
use lakegate::{Failure, FailureClass, Receipt, StoreError, StoreErrorKind};
use lakegate_base::file;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a request to a catalog may take, connecting included. A commit of a large table takes a slow catalog a while.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// The service of AWS whose tables have a bucket each.
const S3_TABLES: &str = "s3tables";

/// The content type of Avro's container files.
const AVRO: &str = "avro/binary";

/// Reaches the REST catalogs that specs ask for.
#[derive(Debug, Clone, Default)]
pub struct RestCatalogs {
    /// How requests are tried again.
    pub retries: Retries,
    /// How requests reach a catalog; [`None`]: by HTTP.
    pub transport: Option<Arc<dyn Transport>>,
}

#[async_trait]
impl ConnectCatalog for RestCatalogs {
    async fn connect(&self, request: CatalogRequest) -> Result<Arc<dyn SessionCatalog>, Failure> {
        let auth = auth(&request)?;
        let transport: Arc<dyn Transport> = match &self.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(Http::new(REQUEST_LIMIT).map_err(|error| failed(Error::new(ErrorKind::Unavailable, error.to_string())))?),
        };
        let options = CatalogOptions { uri: request.plan.uri.clone(), warehouse: request.plan.warehouse.clone(), auth, transport };
        let catalog = Catalog::connect(options).await.map_err(failed)?;
        Ok(Arc::new(RestCatalog { catalog: Arc::new(catalog), plan: request.plan, bucket: request.bucket, retries: self.retries }))
    }
}

/// Who we are to the catalog. Secrets are read now, so that one that is missing is known before there are rows.
fn auth(request: &CatalogRequest) -> Result<Auth, Failure> {
    match &request.plan.auth {
        CatalogAuth::None => Ok(Auth::None),
        CatalogAuth::Bearer(source) => Ok(Auth::Bearer(Secret::new(secret(source)?))),
        CatalogAuth::OAuth2 { credential, token_uri, scope } => {
            let text = secret(credential)?;
            let (client_id, client_secret) = text.split_once(':').ok_or_else(|| {
                let place = place(credential);
                Failure::new(FailureClass::Storage, format!("{place} has no \":\": a client's id, a colon and its secret are accepted"))
            })?;
            Ok(Auth::OAuth2 {
                token_uri: token_uri.clone(),
                client_id: client_id.to_owned(),
                client_secret: Secret::new(client_secret),
                scope: scope.clone(),
            })
        }
        CatalogAuth::SigV4(service) => {
            let credentials = request.credentials.clone();
            let credentials = credentials.ok_or_else(|| Failure::new(FailureClass::Storage, "there are no credentials to sign with"))?;
            Ok(Auth::SigV4 { region: request.region.clone(), service: service.clone(), credentials })
        }
    }
}

/// A secret, by no more than its place in any error.
fn secret(source: &SecretSource) -> Result<String, Failure> {
    let refuse = |why: String| Failure::new(FailureClass::Storage, format!("{} {why}", place(source)));
    let text = match source {
        SecretSource::Environment(name) => std::env::var_os(name)
            .ok_or_else(|| refuse("is not set".to_owned()))?
            .into_string()
            .map_err(|_| refuse("is not text".to_owned()))?,
        SecretSource::File(path) => file::read_text(Path::new(path)).map_err(|error| refuse(format!("cannot be read: {error}")))?,
    };
    match text.trim() {
        "" => Err(refuse("is empty".to_owned())),
        text => Ok(text.to_owned()),
    }
}

fn place(source: &SecretSource) -> String {
    match source {
        SecretSource::Environment(name) => format!("the variable {name:?} with the catalog's credential"),
        SecretSource::File(path) => format!("the file {path:?} with the catalog's credential"),
    }
}

#[derive(Debug)]
struct RestCatalog {
    catalog: Arc<Catalog>,
    plan: CatalogPlan,
    bucket: String,
    retries: Retries,
}

#[async_trait]
impl SessionCatalog for RestCatalog {
    async fn open(&self, request: OpenRequest<'_>) -> Result<Arc<dyn OpenTable>, Failure> {
        let folder = format!("s3://{}/{}", self.bucket, request.table.folder);
        let objects = Arc::new(BucketObjects { objects: request.objects, bucket: self.bucket.clone() });
        let iceberg = Iceberg::with_catalog(self.catalog.clone(), objects, self.retries);
        // A table of S3 Tables has a bucket for itself, which is its location.
        let has_own_bucket = matches!(&self.plan.auth, CatalogAuth::SigV4(service) if service == S3_TABLES);
        let place = if has_own_bucket { format!("s3://{}", self.bucket) } else { folder.clone() };
        let table = iceberg.open(table_request(&self.plan, request.table.name.clone(), request.columns, &place, request.commit_id));
        let table = table.await.map_err(failed)?;
        if !Location::parse(&place).is_ok_and(|place| place.is_within(table.location())) {
            let message = format!(
                "the catalog says that the table {} lies at {}, and the path puts its objects into {folder}: `path` has to begin with the folder of the table",
                table.name(),
                table.location()
            );
            return Err(failed(Error::rejected(message)));
        }
        Ok(Arc::new(RestTable {
            table,
            placeholders: placeholders(&self.plan),
            bucket: self.bucket.clone(),
            commit_id: request.commit_id.to_owned(),
            objects_repeat: request.objects_repeat,
        }))
    }
}

fn table_request(plan: &CatalogPlan, name: String, columns: &Schema, folder: &str, commit_id: &str) -> TableRequest {
    TableRequest {
        name: TableName { namespace: plan.namespace.clone(), name },
        columns: columns.clone(),
        profile: TypeProfile { athena: plan.athena },
        partition: placeholders(plan),
        create: plan.create,
        on_schema_change: if plan.adds_columns { OnSchemaChange::AddColumns } else { OnSchemaChange::Fail },
        within: folder.to_owned(),
        location: Some(folder.to_owned()),
        commit_id: Some(commit_id.to_owned()),
    }
}

fn placeholders(plan: &CatalogPlan) -> Vec<Placeholder> {
    let part = |part| match part {
        PartitionPart::Value => Part::Value,
        PartitionPart::Year => Part::Year,
        PartitionPart::Month => Part::Month,
        PartitionPart::Day => Part::Day,
        PartitionPart::Hour => Part::Hour,
        PartitionPart::Minute => Part::Minute,
    };
    plan.partition.iter().map(|source| Placeholder { column: source.column.clone(), part: part(source.part) }).collect()
}

#[derive(Debug)]
struct RestTable {
    table: Table,
    placeholders: Vec<Placeholder>,
    bucket: String,
    commit_id: String,
    objects_repeat: bool,
}

#[async_trait]
impl OpenTable for RestTable {
    fn columns(&self) -> &Schema {
        self.table.arrow_schema()
    }

    fn committed_before(&self) -> Option<i64> {
        self.table.committed_before()
    }

    async fn commit(&self, objects: &[Receipt]) -> Result<CatalogCommit, CatalogCommitError> {
        let files: Result<Vec<DataFile>, Error> = objects.iter().map(|receipt| self.data_file(receipt)).collect();
        let files = files.map_err(|error| CatalogCommitError {
            failure: failed(error),
            orphans: objects.iter().map(|receipt| self.location(receipt)).collect(),
            unsettled: Vec::new(),
        })?;
        match self.table.commit(&self.commit_id, &files).await {
            Ok(commit) => {
                let mut made = CatalogCommit {
                    table: self.table.name().to_string(),
                    snapshot_id: commit.snapshot_id,
                    was_there: commit.snapshot_id.is_some() && !commit.is_own,
                    attempts: commit.attempts,
                    orphans: commit.orphans,
                    unsettled: commit.unsettled,
                };
                // Another attempt has made the commit. Where its objects have keys of their own, ours are no part of it; but for a catalog that writes
                // lists of manifests itself, so that nobody is told to delete them.
                if made.was_there && !self.objects_repeat {
                    made.unsettled.extend(objects.iter().map(|receipt| self.location(receipt)));
                }
                Ok(made)
            }
            Err(CommitError { error, orphans, unsettled, .. }) => Err(CatalogCommitError { failure: failed(error), orphans, unsettled }),
        }
    }
}

impl RestTable {
    fn location(&self, receipt: &Receipt) -> String {
        format!("s3://{}/{}", self.bucket, receipt.key.as_str())
    }

    fn data_file(&self, receipt: &Receipt) -> Result<DataFile, Error> {
        let texts: Vec<Option<&str>> = receipt.partition.iter().map(|(_, value)| value.as_deref()).collect();
        let columns = receipt.facts.columns.iter().map(|facts| ColumnFacts {
            path: facts.path.clone(),
            values: facts.values,
            nulls: facts.nulls,
            nans: facts.nans,
            lower: facts.lower.clone(),
            upper: facts.upper.clone(),
            encoded_bytes: facts.encoded_bytes,
        });
        Ok(DataFile {
            location: self.location(receipt),
            bytes: receipt.bytes,
            rows: receipt.rows,
            columns: columns.collect(),
            partition: self.table.partition_spec().values(&self.placeholders, &texts)?,
            split_offsets: receipt.facts.split_offsets.clone(),
        })
    }
}

/// Whose fault an error is, in the library's classes.
fn failed(error: Error) -> Failure {
    let class = match error.kind {
        ErrorKind::Invalid | ErrorKind::Incompatible => FailureClass::Data,
        ErrorKind::Denied | ErrorKind::Unavailable | ErrorKind::Rejected | ErrorKind::Unknown => FailureClass::Storage,
    };
    Failure::new(class, error.message)
}

/// The objects of a session as those of this crate.
#[derive(Debug)]
struct BucketObjects {
    objects: Arc<dyn TableObjects>,
    bucket: String,
}

impl BucketObjects {
    fn key<'a>(&self, location: &'a Location) -> Result<&'a str, Error> {
        if location.bucket() == self.bucket {
            return Ok(location.key());
        }
        Err(Error::rejected(format!("{location} lies in another bucket than {}", self.bucket)))
    }
}

#[async_trait]
impl Objects for BucketObjects {
    async fn create(&self, location: &Location, bytes: Bytes) -> Result<(), Error> {
        self.objects.create(self.key(location)?, AVRO, bytes).await.map_err(|error| store_error(&error))
    }

    async fn read(&self, location: &Location, most_bytes: u64) -> Result<Option<Bytes>, Error> {
        self.objects.read(self.key(location)?, most_bytes).await.map_err(|error| store_error(&error))
    }
}

fn store_error(error: &StoreError) -> Error {
    let kind = match error.kind {
        StoreErrorKind::Denied => ErrorKind::Denied,
        // The name has the digest of the content: to put it again settles what became of it.
        StoreErrorKind::Unavailable | StoreErrorKind::Unknown => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    };
    Error::new(kind, error.message.clone())
}

/// Tables as a new catalog would make them, for programs that show what a sync would do: nothing is asked and nothing is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct RehearsedCatalogs;

#[async_trait]
impl ConnectCatalog for RehearsedCatalogs {
    async fn connect(&self, request: CatalogRequest) -> Result<Arc<dyn SessionCatalog>, Failure> {
        Ok(Arc::new(Rehearsed { athena: request.plan.athena }))
    }
}

#[derive(Debug)]
struct Rehearsed {
    athena: bool,
}

#[async_trait]
impl SessionCatalog for Rehearsed {
    async fn open(&self, request: OpenRequest<'_>) -> Result<Arc<dyn OpenTable>, Failure> {
        let fields = table_fields(request.columns, TypeProfile { athena: self.athena }).map_err(failed)?;
        let columns = with_field_ids(request.columns, &fields).map_err(failed)?;
        Ok(Arc::new(RehearsedTable { name: request.table.name.clone(), columns }))
    }
}

#[derive(Debug)]
struct RehearsedTable {
    name: String,
    columns: Schema,
}

#[async_trait]
impl OpenTable for RehearsedTable {
    fn columns(&self) -> &Schema {
        &self.columns
    }

    fn committed_before(&self) -> Option<i64> {
        None
    }

    async fn commit(&self, _objects: &[Receipt]) -> Result<CatalogCommit, CatalogCommitError> {
        Ok(CatalogCommit { table: self.name.clone(), ..CatalogCommit::default() })
    }
}
