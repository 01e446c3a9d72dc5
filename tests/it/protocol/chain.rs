//! End-to-end tests with real plugins: a source on the Go SDK and one on the Python SDK, a client that acts like the CloudQuery CLI, `lakegate
//! serve`, and MinIO. What the source sent must be in the bucket.

use crate::fixtures::proxied_store::PLUGIN;
use crate::protocol::plugins::{go_source, python_source};
use anyhow::{Context as _, Result, ensure};
use lakegate_tests::cli::{self, Sent};
use lakegate_tests::faults::{Operation, Proxy};
use lakegate_tests::plugin::{Launch, Network};
use lakegate_tests::python::Python;
use lakegate_tests::s3::{REGION, Store};
use lakegate_tests::tables::ipc;
use lakegate_tests::{minio, tiers};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const BUCKET: &str = "chain";
const ROWS: usize = 200_000;
const SCRIPT: &str = include_str!("../../peers/same_rows.py");

/// A source program, and the prefix of its tables.
struct Program {
    path: PathBuf,
    word: &'static str,
}

/// The other fixtures of a test.
struct Live {
    store: Store,
    python: Python,
}

async fn live() -> Option<Live> {
    let python = tiers::live("pyarrow", Python::find())?;
    Some(Live { store: tiers::live("MinIO", minio::start().await)?, python })
}

/// One chain, with `source` reached over the first network and the plugin over the second.
async fn run(live: &Live, source: &Program, networks: (Network, Network)) -> Result<()> {
    let Live { store, python } = live;
    let proxy = Proxy::start(&store.endpoint, []).await?;
    let from = Launch::new(&source.path, networks.0).foreign().start().await.context("the source")?;
    let to = Launch::new(Path::new(PLUGIN), networks.1).keys(&store.access_key, &store.secret_key).start().await?;
    let prefix = format!("{}-{:?}-{:?}", source.word, networks.0, networks.1);
    let source_spec = json!({"rows": ROWS, "fail": true});
    // One object per table, so that the large one is an upload of several parts.
    let spec = json!({
        "bucket": BUCKET, "region": REGION, "format": "parquet", "path": format!("{prefix}/{{{{TABLE}}}}/rows.parquet"), "no_rotate": true,
        "write_empty_objects_for_empty_tables": true, "test_write": false, "endpoint": proxy.endpoint(), "use_path_style": true,
    });
    let sent = cli::sync(&from, &source_spec, &to, &spec).await?;
    let ended = to.stop().await?;
    ended.well();
    from.stop().await?;

    let table = |name: &str| format!("{}_{name}", source.word);
    let expected: BTreeMap<String, usize> =
        [("parents", 7), ("children", 21), ("empty", 0), ("broken", 2), ("rows", ROWS)].map(|(name, rows)| (table(name), rows)).into();
    let rows: BTreeMap<String, usize> = sent.records.keys().map(|name| (name.clone(), sent.rows(name).unwrap_or_default())).collect();
    assert_eq!(rows, expected);
    assert_eq!(sent.errors, BTreeMap::from([(table("broken"), 1)]));
    let folder = tempfile::tempdir()?;
    save(&sent, folder.path())?;
    fetch(store, &prefix, folder.path()).await?;
    let said = python.run(SCRIPT, [folder.path().join("sent"), folder.path().join("got")]).await?;
    assert_eq!(serde_json::from_str::<BTreeMap<String, usize>>(&said)?, expected);
    // MinIO only lists unfinished uploads of a known key; which ones were started and completed is known here.
    let (begun, completed) = (proxy.count(Operation::Create), proxy.count(Operation::Complete));
    // Go's rows are many parts; Python's fit one.
    assert!((begun > 0) == (source.word == "go") && begun == completed, "{begun} uploads begun, {completed} completed");
    Ok(())
}

/// What was sent, as files that pyarrow reads.
fn save(sent: &Sent, folder: &Path) -> Result<()> {
    std::fs::create_dir(folder.join("sent"))?;
    for (name, batches) in &sent.records {
        let Some(first) = batches.first() else { continue };
        std::fs::write(folder.join(format!("sent/{name}.arrows")), ipc(&first.schema(), batches)?)?;
    }
    Ok(())
}

/// The objects below a prefix, under their own names.
async fn fetch(store: &Store, prefix: &str, folder: &Path) -> Result<()> {
    let client = store.client();
    let listed = client.list_objects_v2().bucket(BUCKET).prefix(format!("{prefix}/")).send().await?;
    ensure!(!listed.contents().is_empty(), "nothing below {prefix}");
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        let body = client.get_object().bucket(BUCKET).key(key).send().await?.body.collect().await?;
        let path = folder.join("got").join(key.strip_prefix(prefix).context("its prefix")?.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, body.into_bytes())?;
    }
    Ok(())
}

async fn chains(source: Program, networks: &[(Network, Network)]) -> Result<()> {
    let Some(live) = live().await else { return Ok(()) };
    live.store.client().create_bucket().bucket(BUCKET).send().await?;
    for networks in networks {
        run(&live, &source, *networks).await.with_context(|| format!("{networks:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_go_source_over_both_transports() -> Result<()> {
    let Some(path) = tiers::live("a source on Go's SDK", go_source()) else { return Ok(()) };
    chains(Program { path, word: "go" }, &[(Network::Unix, Network::Unix), (Network::Tcp, Network::Tcp)]).await
}

/// The Python SDK only supports TCP.
#[tokio::test(flavor = "multi_thread")]
async fn from_a_python_source_over_both_transports() -> Result<()> {
    let Some(path) = tiers::live("a source on Python's SDK", python_source()) else { return Ok(()) };
    chains(Program { path, word: "py" }, &[(Network::Tcp, Network::Unix), (Network::Tcp, Network::Tcp)]).await
}
