//! What reads what a load has left: every manifest says what independent programs find, and lists what they need and nothing else.

use super::{PLUGIN, dir_of, line};
use crate::fixtures::proxied_store::BUCKET;
use lakegate_local_store::LocalStore;
use lakegate_tests::python::Python;
use lakegate_tests::spark::Spark;
use lakegate_tests::tiers;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SCRIPT: &str = include_str!("../../../peers/manifest.py");

const TABLES: usize = 3;
const ROWS: usize = 2_000;
/// Objects of a table: 1,500 rows and the rest.
const OBJECTS: usize = 2;

/// What duckdb or Spark finds in the files it is given.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Found {
    rows: usize,
    ids: usize,
    files: Vec<String>,
}

/// What `tests/peers/manifest.py` finds for a manifest.
#[derive(Debug, Deserialize)]
struct Peers {
    manifest: PathBuf,
    files: Vec<String>,
    bytes: Vec<u64>,
    footers: Option<Vec<u64>>,
    read: Found,
    /// Rows of all files that lie in the folder of the listed ones.
    beside: usize,
}

/// A folder with every object of a load as a file under its key, and beside those of each table one that is no part of the commit: an attempt that
/// lost has left it.
async fn loaded(format: &str) -> tempfile::TempDir {
    let dir = dir_of(PLUGIN, TABLES, ROWS);
    dir.run_async(&line(format, "", 2, "--local store")).await.ended(0, &[]);
    let store = LocalStore::open(&dir.path().join("store")).expect("a store");
    let folder = tempfile::tempdir().expect("a folder");
    for record in store.records(BUCKET, "").expect("it can be read") {
        let path = folder.path().join(&record.key);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("its own folder");
        std::fs::copy(store.object_path(BUCKET, &record.key), path).expect("a copy");
    }
    for table in 0..TABLES {
        let objects = folder.path().join(format!("raw/t{table:02}/c-1"));
        std::fs::copy(objects.join(format!("000001.{format}")), objects.join(format!("000003.{format}"))).expect("a copy");
    }
    folder
}

fn parsed(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// A field of the `meta` of each entry.
fn of_entries(manifest: &Value, field: &str) -> Vec<u64> {
    let entries = manifest["entries"].as_array().expect("entries");
    entries.iter().map(|entry| entry["meta"][field].as_u64().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_say_what_pyarrow_and_duckdb_find() {
    let Some(python) = tiers::live("manifests read by pyarrow and duckdb", Python::find()) else { return };
    for format in ["parquet", "csv"] {
        let folder = loaded(format).await;
        let printed = python.run(SCRIPT, [folder.path()]).await.expect("the peers read");
        let tables: Vec<Peers> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(tables.len(), TABLES, "{printed}");
        for (number, peers) in tables.into_iter().enumerate() {
            let manifest = parsed(&peers.manifest);
            let (rows, bytes) = (of_entries(&manifest, "record_count"), of_entries(&manifest, "content_length"));
            let total = json!({"record_count": rows.iter().sum::<u64>(), "content_length": bytes.iter().sum::<u64>()});
            assert_eq!((rows.len(), manifest["meta"]["record_count"].as_u64()), (OBJECTS, Some(ROWS as u64)), "{manifest}");
            assert_eq!((&bytes, &manifest["meta"]), (&peers.bytes, &total), "{manifest}");
            assert_eq!(peers.footers, (format == "parquet").then_some(rows), "{manifest}");
            assert_eq!(peers.read, Found { rows: ROWS, ids: ids(number), files: peers.files }, "{manifest}");
            assert_eq!(peers.beside, ROWS + 1_500, "what is no part of the commit would be seen");
        }
    }
}

/// The sum of the ids of a table.
fn ids(table: usize) -> usize {
    (table * ROWS..(table + 1) * ROWS).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_reads_the_listed_objects_and_hadoop_the_marker_of_success() {
    let Some(spark) = tiers::live("what a load leaves, read by Spark", Spark::session()) else { return };
    for format in ["parquet", "csv"] {
        let folder = loaded(format).await;
        for table in 0..TABLES {
            let name = format!("t{table:02}");
            let manifest = parsed(&folder.path().join(format!("_manifests/{name}/c-1.json")));
            let local = |entry: &Value| {
                let key = entry["url"].as_str()?.strip_prefix(&format!("s3://{BUCKET}/"))?;
                Some(folder.path().join(key).display().to_string())
            };
            let files: Vec<String> = manifest["entries"].as_array().expect("entries").iter().filter_map(local).collect();
            assert_eq!(files.len(), OBJECTS, "{manifest}");
            let read = |files: &[String]| {
                let answer = spark.run(&json!({"job": "read", "format": format, "files": files})).expect("rows");
                serde_json::from_value::<Found>(answer).expect("what it found")
            };
            assert_eq!(read(&files), Found { rows: ROWS, ids: ids(table), files: files.clone() });
            let objects = folder.path().join(format!("raw/{name}/c-1"));
            assert_eq!(read(&[objects.display().to_string()]).rows, ROWS + 1_500, "what is no part of the commit would be seen");

            let marker = spark.run(&json!({"job": "success", "file": objects.join("_SUCCESS")})).expect("a marker");
            let keys: Vec<String> = (1..=OBJECTS).map(|number| format!("/raw/{name}/c-1/{number:06}.{format}")).collect();
            assert_eq!(
                (&marker["job"], &marker["committer"], &marker["files"]),
                (&json!("c-1"), &json!("lakegate"), &json!(keys)),
                "{marker}"
            );
        }
    }
    // A reader that accepted anything would show nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("_SUCCESS");
    std::fs::write(&file, r#"{"name": "another/1"}"#).expect("a file");
    spark.run(&json!({"job": "success", "file": file})).expect_err("another kind of file");
}
