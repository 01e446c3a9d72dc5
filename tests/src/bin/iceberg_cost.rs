//! What tables of an Iceberg catalog cost: requests and time of a table beside the same objects without a catalog, by how many tables a sync has, how
//! many objects a table, and whether the table is new.
//!
//! usage: iceberg_cost [--repeats N]. Apache's REST catalog over SQLite and MinIO run on this machine, each behind a counting proxy in this process;
//! the session is in this process, on one lane. The ways take turns, and medians are printed.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context as _, Result, bail};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use lakegate::{Destination, Options, Runtime};
use lakegate_iceberg::RestCatalogs;
use lakegate_tests::bench::median;
use lakegate_tests::faults::Proxy;
use lakegate_tests::iceberg::RestCatalog;
use lakegate_tests::minio;
use lakegate_tests::s3::Store;
use lakegate_tests::tables::ids;
use serde_json::json;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

const BUCKET: &str = "lake";

/// Rows of an object.
const ROWS: i64 = 1_000;

/// Tables of a sync, and objects of each.
const SHAPES: [(usize, usize); 4] = [(1, 1), (1, 100), (20, 1), (20, 10)];

/// What a session is measured at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Objects alone.
    Objects,
    /// Tables that are made.
    New,
    /// The same tables, which have a snapshot.
    Again,
}

const WAYS: [Way; 3] = [Way::Objects, Way::New, Way::Again];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Objects => "objects alone",
            Self::New => "new tables",
            Self::Again => "tables with a snapshot",
        }
    }
}

/// One session.
struct Turn {
    seconds: f64,
    catalog_requests: usize,
    store_requests: usize,
}

/// Servers and runtime of all sessions.
struct Lake {
    store: Store,
    to_store: Proxy,
    to_catalog: Proxy,
    runtime: Arc<Runtime>,
    _catalog: RestCatalog,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let repeats = match (args.next().as_deref(), args.next()) {
        (None, _) => 5,
        (Some("--repeats"), Some(value)) => value.parse()?,
        (Some(other), _) => bail!("unknown option {other}; known is --repeats N"),
    };
    let store = minio::empty().await.map_err(|missing| anyhow::anyhow!("{missing:?}"))?;
    store.ready().await.map_err(anyhow::Error::msg)?;
    store.client().create_bucket().bucket(BUCKET).send().await?;
    let catalog = RestCatalog::start(&store, BUCKET, false).await.map_err(|missing| anyhow::anyhow!("{missing:?}"))?;
    let to_store = Proxy::start(&store.endpoint, []).await?;
    let to_catalog = Proxy::start(&catalog.uri(), []).await?;
    let lake = Lake { store, to_store, to_catalog, runtime: Runtime::new()?, _catalog: catalog };
    // The component is compiled, and the catalog warm.
    lake.turn("warm", 1, 1, true).await?;

    println!("objects of {ROWS} rows of one column, one lane, MinIO and Apache's REST catalog over SQLite; medians of {repeats} turns\n");
    println!(
        "| Tables | objects each | | requests to the catalog, a table | to the store, beside the objects, a table | ms a table | more than objects alone, ms a table |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (tables, objects) in SHAPES {
        let mut turns: Vec<Vec<Turn>> = WAYS.iter().map(|_| Vec::new()).collect();
        for repeat in 0..repeats {
            for (way, turns) in WAYS.iter().zip(&mut turns) {
                turns.push(lake.turn(&format!("n{tables}x{objects}x{repeat}"), tables, objects, *way != Way::Objects).await?);
            }
        }
        let milliseconds = |turns: &[Turn]| median(&mut turns.iter().map(|turn| turn.seconds * 1e3 / tables as f64).collect::<Vec<_>>());
        let alone = milliseconds(&turns[0]);
        for (way, turns) in WAYS.iter().zip(&turns) {
            let last = turns.last().context("a turn")?;
            let beside = last.store_requests.saturating_sub(tables * objects);
            println!(
                "| {tables} | {objects} | {} | {} | {} | {:.1} | {:+.1} |",
                way.name(),
                last.catalog_requests as f64 / tables as f64,
                beside as f64 / tables as f64,
                milliseconds(turns),
                milliseconds(turns) - alone
            );
        }
    }
    Ok(())
}

impl Lake {
    /// A session that writes so many tables of so many objects.
    async fn turn(&self, namespace: &str, tables: usize, objects: usize, in_catalog: bool) -> Result<Turn> {
        let mut options = Options { lanes: NonZeroUsize::MIN, catalogs: Some(Arc::new(RestCatalogs::default())), ..Options::default() };
        let keys = Credentials::new(&self.store.access_key, &self.store.secret_key, None, None, "cost");
        options.connect.credentials = Some(SharedCredentialsProvider::new(keys));
        let mut spec = json!({
            "bucket": BUCKET, "region": "us-east-1", "endpoint": self.to_store.endpoint(), "use_path_style": true, "test_write": false,
            "format": "parquet", "path": format!("{namespace}/{{{{TABLE}}}}/data/{{{{UUID}}}}"), "batch_size": ROWS,
        });
        if in_catalog {
            spec["table_format"] = "iceberg".into();
            spec["iceberg"] = json!({"uri": self.to_catalog.endpoint(), "namespace": namespace});
        }
        let session = Destination::new(self.runtime.clone(), options).open(&spec.to_string(), "").await?;
        let before = (self.to_catalog.seen().len(), self.to_store.seen().len());
        let begin = Instant::now();
        let mut write = session.write()?;
        for table in 0..tables {
            for object in 0..objects as i64 {
                write.insert(ids(&format!("t{table}"), object * ROWS..(object + 1) * ROWS).into()).await?;
            }
        }
        let report = write.finish().await;
        let seconds = begin.elapsed().as_secs_f64();
        session.close().await;
        if let Some((table, failure)) = report.failures().next() {
            bail!("{table}: {failure}");
        }
        Ok(Turn {
            seconds,
            catalog_requests: self.to_catalog.seen().len() - before.0,
            store_requests: self.to_store.seen().len() - before.1,
        })
    }
}
