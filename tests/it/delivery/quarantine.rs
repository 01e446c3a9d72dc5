//! Rows that cannot be written, and have a place: they are there with their reasons, and the others are written as if those had not come.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, SECRET};
use crate::fixtures::support::test_store;
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use lakegate_local_store::LocalStore;
use lakegate_tests::python::Python;
use lakegate_tests::tables::Table;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Why a time that is too fine cannot be written.
const REASON: &str =
    "a value is not a whole number of milliseconds, and `timestamp_unit: ms` changes none; `ms_truncated` would cut off what is finer";

/// One row in so many is bad.
const EACH: i64 = 1_000;

fn dir() -> TestDir {
    TestDir::new(PLUGIN, (KEY, SECRET))
}

/// Writes a file of so many rows `id` and `at`; every thousandth time, from the 501st on, is no whole number of milliseconds.
fn write(path: &Path, rows: i64) {
    const BATCH: i64 = 10_000;
    let at = |id: i64| id * 1_000 + i64::from(id % EACH == 500);
    let fields = vec![Field::new("id", DataType::Int64, true), Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)];
    let schema = Arc::new(Schema::new(fields));
    let mut writer = arrow_ipc::writer::FileWriter::try_new(std::fs::File::create(path).expect("a file"), &schema).expect("a schema");
    let mut start = 0;
    while start < rows {
        let ids = start..rows.min(start + BATCH);
        start = ids.end;
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from_iter_values(ids.clone())), Arc::new(TimestampMicrosecondArray::from_iter_values(ids.map(at)))];
        writer.write(&RecordBatch::try_new(schema.clone(), columns).expect("a batch")).expect("rows");
    }
    writer.finish().expect("an end");
}

/// The objects of the embedded store in `store`, by key.
fn objects(dir: &TestDir, store: &str) -> BTreeMap<String, Vec<u8>> {
    let store = LocalStore::open(&dir.path().join(store)).expect("a store");
    let records = store.records(BUCKET, "").expect("it can be read");
    let body = |key: &str| std::fs::read(store.object_path(BUCKET, key)).expect("an object");
    records.into_iter().filter(|record| !record.key.contains("_lakegate/create-only")).map(|it| (it.key.clone(), body(&it.key))).collect()
}

fn lines(body: &[u8]) -> Vec<Value> {
    std::str::from_utf8(body).expect("UTF-8").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The line of a load into `store`, with a quarantine of so many rows.
fn load(path: &str, quarantine: &str, max_rows: u64, more: &str) -> String {
    let quarantine = format!("--quarantine {quarantine} --quarantine-max-rows {max_rows}");
    format!("load t.arrow --to s3://{BUCKET}/{path} --format parquet --timestamp-unit ms {quarantine} --json {more}").trim_end().to_owned()
}

const UUID: [&str; 2] = ["data/{{TABLE}}/{{UUID}}.parquet", "quarantine/{{TABLE}}/{{UUID}}.{{FORMAT}}"];
const SEQ: [&str; 2] = ["data/{{TABLE}}/{{SEQ}}.parquet", "quarantine/{{TABLE}}/{{SEQ}}.{{FORMAT}}"];

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bad_rows_in_a_million_are_set_aside_and_read_back() {
    const ROWS: i64 = 1_000_000;
    let dir = dir();
    write(&dir.path().join("t.arrow"), ROWS);
    let run = dir.run_async(&load(UUID[0], UUID[1], 1_000, "--lanes 1 --local store")).await;
    run.ended(
        0,
        &["1,000 rows are in quarantine: quarantine/t/", "999,000 rows", "1,000 rows could not be written, and are in quarantine."],
    );
    let report = run.json();
    assert_eq!((&report["rows"], &report["rows_quarantined"]), (&json!(999_000), &json!(1_000)));
    let table = &report["tables"][0];
    assert_eq!((&table["rows_in"], &table["rows"], &table["rows_quarantined"]), (&json!(ROWS), &json!(999_000), &json!(1_000)));
    let objects = objects(&dir, "store");
    let of = |folder: &str| objects.keys().filter(|key| key.starts_with(folder)).collect::<Vec<_>>();
    assert_eq!(json!(of("quarantine/")), table["quarantine_keys"]);
    assert_eq!(json!(of("data/").len()), table["objects"]);

    let bad = (0..ROWS).filter(|id| id % EACH == 500);
    let expected: Vec<Value> = bad.clone().map(|id| json!(["t", "at", REASON, id + 1, id])).collect();
    let Some(python) = tiers::live("pyarrow and duckdb", Python::find()) else { return };
    for folder in ["data", "quarantine"] {
        std::fs::create_dir_all(dir.path().join(folder)).expect("a folder");
    }
    for (key, body) in &objects {
        let (folder, name) = (key.split('/').next().expect("a folder"), key.rsplit('/').next().expect("a name"));
        std::fs::write(dir.path().join(folder).join(name), body).expect("a file");
    }
    let script = include_str!("../../peers/read_quarantine.py");
    let read: BTreeMap<String, Value> = serde_json::from_str(&python.run(script, [dir.path()]).await.expect("it is read")).expect("JSON");
    for (reader, found) in &read {
        assert_eq!(
            (&found["rows"], &found["ids"]),
            (&json!(999_000), &json!((0..ROWS).sum::<i64>() - bad.clone().sum::<i64>())),
            "{reader}"
        );
        assert_eq!(found["lines"], json!(expected), "{reader}");
    }
    assert_eq!(read.len(), 2);
}

#[test]
fn beyond_max_rows_the_table_fails_by_name_whichever_lanes_its_rows_came_to() {
    let dir = dir();
    write(&dir.path().join("t.arrow"), 100_000);
    for lanes in [1, 4] {
        let report = dir.run(&load(UUID[0], UUID[1], 99, &format!("--lanes {lanes} --local store")));
        report.ended(6, &["Table t failed: ", "`quarantine.max_rows` has room for"]);
        assert_eq!(report.json()["tables"][0]["failure"]["class"], "data", "{lanes} lanes");
        let enough = dir.run(&load(UUID[0], UUID[1], 100, &format!("--lanes {lanes} --local enough")));
        assert_eq!(enough.ended(0, &[]).json()["rows_quarantined"], 100);
    }
    let off = load(UUID[0], UUID[1], 0, "--local off");
    dir.run(&off).ended(6, &["Table t failed: column \"at\" of type", REASON]);
    assert!(objects(&dir, "off").is_empty());
    dir.run("load t.arrow --to s3://b/x --format csv --quarantine q/{{TABLE}}/{{UUID}}").ended(2, &["--quarantine-max-rows"]);
    dir.run(&load(UUID[0], "q/{{TABLE}}", 1, "--local off")).ended(3, &["`quarantine.path` should contain {{UUID}}"]);
}

#[test]
fn a_repeated_commit_leaves_the_same_objects_and_its_manifest_names_them() {
    let dir = dir();
    write(&dir.path().join("t.arrow"), 25_000);
    let more = "--delivery exactly_once --commit-id c --manifest m/{{TABLE}}/{{COMMIT_ID}} --symlink-list --success-marker --local store";
    let line = load(SEQ[0], SEQ[1], 25, more);
    dir.run(&line).ended(0, &[]);
    let first = objects(&dir, "store");
    let quarantine = &first["quarantine/t/000001.json"];
    let expected: Vec<Value> = (0..25_000).filter(|id| id % EACH == 500).map(|id| json!(id + 1)).collect();
    assert_eq!(lines(quarantine).iter().map(|line| line["position"].clone()).collect::<Vec<_>>(), expected);
    assert_eq!(lines(quarantine)[0]["row"]["id"], 500);
    let manifest: Value = serde_json::from_slice(&first["m/t/c"]).expect("JSON");
    let named = json!({"rows": 25, "urls": [format!("s3://{BUCKET}/quarantine/t/000001.json")]});
    assert_eq!((&manifest["lakegate"]["quarantined"], &manifest["lakegate"]["rows_in"]), (&named, &json!(25_000)));
    assert_eq!(manifest["meta"]["record_count"], 24_975);
    for entry in manifest["entries"].as_array().expect("a list") {
        assert!(entry["url"].as_str().is_some_and(|url| url.contains("/data/t/")), "{entry}");
    }
    assert!(!String::from_utf8_lossy(&first["m/t/c.symlink/manifest"]).contains("quarantine"));
    dir.run(&line).ended(0, &["of the objects were there already"]);
    assert_eq!(objects(&dir, "store"), first);
}

#[test]
fn a_plan_has_the_key_of_the_quarantine_and_the_policy_its_folder() {
    let dir = dir();
    write(&dir.path().join("t.arrow"), 2_000);
    let line = load(UUID[0], UUID[1], 1_000, "").replacen("load", "plan", 1);
    let plan = dir.run(&line).ended(0, &[]).json();
    let (of_table, policy) = (&plan["plans"][0]["written"]["tables"][0], plan["policy"].to_string());
    assert_eq!((&of_table["rows"], &of_table["rows_quarantined"]), (&json!(1_998), &json!(2)));
    assert_eq!(of_table["quarantine_keys"][0]["key"], "quarantine/t/{{UUID}}.json");
    assert!(policy.contains(&format!(":::{BUCKET}/quarantine/*")), "{policy}");
    let text = dir.run(&line.replace(" --json", "")).stdout;
    assert!(text.contains("up to 1,000 of each table: quarantine/{{TABLE}}/{{UUID}}.{{FORMAT}}"), "{text}");
    assert!(text.contains("in quarantine 2 rows:\n    quarantine/t/{{UUID}}.json (2 rows"), "{text}");
}

#[test]
fn on_commit_rows_in_quarantine_are_seen_with_the_others_or_not_at_all() {
    let dir = dir();
    write(&dir.path().join("t.arrow"), 25_000);
    let more = |store: &str| format!("--visibility on_commit --commit-id c --manifest m/{{{{TABLE}}}}/{{{{COMMIT_ID}}}} --local {store}");
    dir.run(&load(UUID[0], UUID[1], 24, &more("few"))).ended(6, &["Table t failed: "]);
    assert!(objects(&dir, "few").is_empty(), "{:?}", objects(&dir, "few").keys());
    let report = dir.run(&load(UUID[0], UUID[1], 25, &more("store"))).ended(0, &[]).json();
    let seen = objects(&dir, "store");
    let key = report["tables"][0]["quarantine_keys"][0].as_str().expect("a key");
    assert_eq!(lines(&seen[key]).len(), 25);
    let manifest: Value = serde_json::from_slice(&seen["m/t/c"]).expect("JSON");
    assert_eq!(manifest["lakegate"]["quarantined"]["rows"], 25);
    // The record of the commit knows which rows are which.
    let resumed = dir.run(&format!("commit --resume s3://{BUCKET}/data/_lakegate/pending/c.json --json --local store"));
    let table = &resumed.ended(0, &[]).json()["tables"][0];
    assert_eq!((&table["rows_in"], &table["rows"], &table["rows_quarantined"]), (&json!(25_000), &json!(24_975), &json!(25)));
    assert_eq!(objects(&dir, "store"), seen);
}

/// As of a plugin: other rows in each attempt, and JSON that is none.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_source_are_set_aside_under_on_commit() {
    let store = test_store(BUCKET);
    let spec = json!({
        "bucket": BUCKET, "region": "us-east-1", "format": "json", "path": "data/{{TABLE}}/{{UUID}}.json", "test_write": false,
        "commit": {"id": "c"}, "visibility": "on_commit", "manifest": {"path": "m/{{TABLE}}/{{COMMIT_ID}}"},
        "quarantine": {"path": "quarantine/{{TABLE}}/{{COMMIT_ID}}/{{UUID}}", "max_rows": 5, "include_row": false},
    });
    let metadata = [("ARROW:extension:name", "json"), ("ARROW:extension:metadata", "json-serialized")];
    let field = Field::new("c", DataType::Binary, true)
        .with_metadata(HashMap::from(metadata.map(|(key, value)| (key.to_owned(), value.to_owned()))));
    let message = |cells: &[&str]| {
        let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(cells));
        Table::new("t").field(field.clone(), values).insert_ipc().expect("a message")
    };
    let session = store.destination().open(&spec.to_string(), "sync").await.expect("a session");
    let mut write = session.write().expect("no other");
    write.insert(message(&["1", "{", "2"]).into()).await.expect("rows");
    write.insert(message(&["[", "3"]).into()).await.expect("rows");
    assert!(store.keys().iter().all(|key| key.contains("_lakegate/create-only")), "{:?}", store.keys());
    let report = write.finish().await;
    session.close().await;
    let table = &report.tables[0];
    assert_eq!((table.rows_in, table.rows_confirmed, table.quarantine.rows, &table.failure), (5, 3, 2, &None));
    let [receipt] = table.quarantine.receipts.as_slice() else { panic!("{:?}", table.quarantine) };
    let set_aside = lines(&store.body(receipt.key.as_str()));
    let expected = |position: u64| json!({"table": "t", "column": "c", "reason": "a value is not valid JSON", "position": position});
    assert_eq!(set_aside, [expected(2), expected(4)]);
    let manifest: Value = serde_json::from_slice(&store.body("m/t/c")).expect("JSON");
    assert_eq!(manifest["lakegate"]["quarantined"]["urls"], json!([format!("s3://{BUCKET}/{}", receipt.key)]));
}
