//! A live lake: Apache's REST catalog with MinIO below, and its readers: pyiceberg, DuckDB and Spark.

use anyhow::Context as _;
use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use lakegate_iceberg::{Auth, Catalog, CatalogOptions, Http, Iceberg, Retries, Transport as _};
use lakegate_tests::iceberg::{RestCatalog, S3Objects};
use lakegate_tests::minio;
use lakegate_tests::python::Python;
use lakegate_tests::s3::Store;
use lakegate_tests::spark::Spark;
use lakegate_tests::tiers::{live, repository};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(super) const BUCKET: &str = "lake";
const SCRIPT: &str = include_str!("../../peers/iceberg.py");

/// The duckdb that has its extension for Iceberg beside it; the other tests have the newest.
const DUCKDB: &str = "target/tools/duckdb-1.5.5";

/// A catalog, a store and readers.
pub(super) struct Lake {
    pub(super) store: Store,
    pub(super) catalog: RestCatalog,
    python: Python,
    spark: &'static Spark,
}

impl Lake {
    /// A lake with nothing in it. `keeps_keys`: the catalog says that it keeps idempotency keys.
    pub(super) async fn start(what: &str, keeps_keys: bool) -> Option<Self> {
        let python = live(what, Python::find())?;
        // It starts while the rows are written.
        let spark = live(what, Spark::session())?;
        let store = live(what, minio::empty().await)?;
        store.ready().await.expect("MinIO answers");
        store.client().create_bucket().bucket(BUCKET).send().await.expect("the bucket");
        let catalog = live(what, RestCatalog::start(&store, BUCKET, keeps_keys).await)?;
        Some(Self { store, catalog, python, spark })
    }

    /// A client of its own, as every process has one.
    pub(super) async fn client(&self, uri: &str) -> Iceberg {
        let transport = Arc::new(Http::new(Duration::from_secs(60)).expect("TLS"));
        let options = CatalogOptions { uri: uri.to_owned(), warehouse: None, auth: Auth::None, transport };
        let retries =
            Retries { commits: 400, backoff: Duration::from_millis(20), max_backoff: Duration::from_secs(1), ..Retries::default() };
        Iceberg::new(Catalog::connect(options).await.expect("a configuration"), Arc::new(S3Objects(self.store.client())), retries)
    }

    /// The store, as the peers' scripts have it.
    pub(super) fn keys(&self) -> String {
        format!("{},{},{}", self.store.endpoint, self.store.access_key, self.store.secret_key)
    }

    /// Runs a command of the script, for the table `sales.NAME`.
    pub(super) async fn peer(&self, name: &str, command: &str, more: &[&str]) -> anyhow::Result<Value> {
        let (catalog, store, table) = (self.catalog.uri(), self.keys(), format!("sales.{name}"));
        let arguments = [&[command, &catalog, &store, &table], more].concat();
        let duckdb = repository().join(DUCKDB);
        let printed = self.python.run(&format!("import sys\nsys.path.insert(0, {duckdb:?})\n{SCRIPT}"), arguments).await?;
        serde_json::from_str(&printed).with_context(|| printed)
    }

    /// What the catalog says of the table `sales.NAME`: its snapshots, and the rows of the newest. None: there is no table.
    pub(super) async fn counts(&self, name: &str) -> anyhow::Result<Option<(usize, u64)>> {
        let uri = format!("{}/v1/namespaces/sales/tables/{name}", self.catalog.uri());
        let answer = Http::new(Duration::from_secs(60)).expect("TLS").send(http::Request::get(uri).body(Bytes::new())?, 16 << 20).await?;
        if answer.status() == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let table: Value = serde_json::from_slice(answer.body())?;
        let metadata = &table["metadata"];
        let snapshots = metadata["snapshots"].as_array().context("snapshots")?;
        let newest = snapshots.iter().find(|snapshot| snapshot["snapshot-id"] == metadata["current-snapshot-id"]);
        let rows = newest.and_then(|it| it["summary"]["total-records"].as_str()).map_or(Ok(0), str::parse)?;
        Ok(Some((snapshots.len(), rows)))
    }

    /// Gives Spark a job, for the table `sales.NAME`.
    pub(super) fn spark(&self, name: &str, mut job: Value) -> anyhow::Result<Value> {
        job["catalog"] = self.catalog.uri().into();
        job["store"] = self.keys().into();
        job["table"] = format!("sales.{name}").into();
        self.spark.run(&job)
    }

    /// What each reader makes of a table that is to have these rows.
    pub(super) async fn readers(&self, name: &str, expected: &[RecordBatch]) -> anyhow::Result<Value> {
        let file = arrow_file(expected);
        let file = file.path().display().to_string();
        let mut read = self.peer(name, "read", &[&file]).await?;
        read["spark"] = self.spark(name, json!({"job": "iceberg_rows", "file": file}))?;
        Ok(read)
    }
}

/// What every reader is to say.
pub(super) fn all_equal() -> Value {
    json!({"pyiceberg": "equal", "duckdb": "equal", "spark": "equal"})
}

pub(super) fn arrow_file(batches: &[RecordBatch]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut writer = StreamWriter::try_new(&file, &batches[0].schema()).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.finish().expect("written");
    drop(writer);
    file
}
