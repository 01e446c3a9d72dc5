//! Rows divided by the values of their columns: what other programs read back from the names of folders, and what a load does with too many.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, SECRET};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampSecondArray};
use arrow_schema::{Field, Schema};
use lakegate_local_store::LocalStore;
use lakegate_tests::generate::Dice;
use lakegate_tests::python::Python;
use lakegate_tests::spark::Spark;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hive's name for nulls.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

fn dir() -> TestDir {
    TestDir::new(PLUGIN, (KEY, SECRET))
}

/// Writes a file of Arrow IPC.
fn write(path: &Path, columns: &[(&str, ArrayRef)]) {
    let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.iter().map(|(_, array)| array.clone()).collect()).expect("a batch");
    let mut writer = arrow_ipc::writer::FileWriter::try_new(std::fs::File::create(path).expect("a file"), &schema).expect("a schema");
    writer.write(&batch).and_then(|()| writer.finish()).expect("rows");
}

/// Copies the objects of the embedded store in `store` to files that are named by their keys.
fn export(dir: &Path, prefix: &str) -> PathBuf {
    let store = LocalStore::open(&dir.join("store")).expect("a store");
    let folder = dir.join("exported");
    for record in store.records(BUCKET, prefix).expect("it can be read") {
        let file = folder.join(record.key.strip_prefix(prefix).expect("the prefix"));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::copy(store.object_path(BUCKET, &record.key), file).expect("a copy");
    }
    folder
}

fn keys(dir: &Path) -> Vec<String> {
    let store = LocalStore::open(&dir.join("store")).expect("a store");
    store.records(BUCKET, "").expect("it can be read").into_iter().map(|record| record.key).collect()
}

/// Values that have gone wrong somewhere, and random ones of every kind of character but controls beyond ASCII, which no key has.
fn values() -> Vec<Option<String>> {
    let mut values: Vec<Option<String>> = [
        "DE",
        "",
        ".",
        "..",
        "...",
        "/",
        "a/b",
        "../../x",
        "%",
        "%2F",
        "100%",
        "%zz",
        "k=v",
        "=",
        "a b",
        " a ",
        "+",
        "&",
        "007",
        "1e3",
        "null",
        "NULL",
        "true",
        "2024-01-01",
        "12:30:00",
        "é",
        "日本",
        "𝄞",
        "e\u{301}",
        "\u{202e}x",
        "\"q\"",
        "'s'",
        "\\",
        "{x}",
        "[y]",
        "^",
        "~",
        "#",
        "*",
        "?",
        "\t",
        "\n",
        "\r\n",
        "\0",
        "\u{7f}",
        "_x",
        ".x",
        "-",
        NULL,
        "__hive_default_partition__",
    ]
    .into_iter()
    .map(|value| Some(value.to_owned()))
    .collect();
    values.push(None);
    let mut dice = Dice::new(11);
    for _ in 0..150 {
        let length = 1 + dice.below(12);
        let one = |_| match dice.below(4) {
            0 => char::from_u32(dice.below(128) as u32),
            1 => "%/=.: \\".chars().nth(dice.below(7)),
            _ => char::from_u32(dice.below(0x11_0000) as u32).filter(|it| !it.is_control()),
        };
        values.push(Some((0..length).filter_map(one).collect()));
    }
    let mut known = BTreeSet::new();
    values.retain(|value| known.insert(value.clone()));
    values
}

/// Deletes all but one of the folders that are one partition for Hive: those of texts that differ in spaces at their ends alone (its metastore on Derby
/// or MySQL compares them so), and that of the text which is the name for nulls. Returns how many were deleted.
fn delete_twins(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a folder in it").file_name().into_string());
    let names: BTreeSet<String> = names.map(|name| name.expect("UTF-8")).collect();
    let mut known = BTreeSet::new();
    let mut is_twin = |name: &String| !known.insert(name.replace("%2E", ".").replace("%5F", "_").trim_end_matches(' ').to_owned());
    let twins: Vec<&String> = names.iter().rev().filter(|name| is_twin(name)).collect();
    twins.iter().for_each(|name| std::fs::remove_dir_all(folder.join(name)).expect("it goes"));
    twins.len()
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a figure")]
async fn other_programs_read_every_value_back_from_its_folder() {
    let Some(python) = tiers::live("python", Python::find()) else { return };
    let dir = dir();
    let values = values();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    write(&dir.path().join("t.arrow"), &[("id", ids), ("c", Arc::new(StringArray::from(values.clone())))]);
    let to = format!("s3://{BUCKET}/p/{{{{TABLE}}}}/C={{{{COLUMN:c}}}}/{{{{UUID}}}}.parquet");
    let line = format!("load t.arrow --to {to} --format parquet --omit-partition-columns --max-open-partitions 20 --json --local store");
    let report = dir.run(&line).ended(0, &[]).json();
    assert_eq!(report["rows"], values.len());

    let exported = export(dir.path(), "");
    let folder = exported.join("p/t");
    let script = include_str!("../../peers/read_partitions.py");
    let mut read: BTreeMap<String, Value> = serde_json::from_str(&python.run(script, [&folder]).await.expect("it is read")).expect("JSON");
    let mut twins = 0;
    if let Some(spark) = tiers::live("partitions read by Spark with Hive", Spark::session()) {
        twins = delete_twins(&folder);
        let ddl = format!("ddl t.arrow --to {to} --format parquet --omit-partition-columns --engine spark --database partitions");
        let ddl = dir.run(&format!("{ddl} --location file://{}/", exported.display()));
        let mut statements = vec!["CREATE DATABASE partitions"];
        statements.extend(ddl.ended(0, &[]).stdout.trim_end().split("\n\n"));
        assert!(statements.iter().any(|statement| statement.contains("MSCK REPAIR TABLE")), "{statements:?}");
        spark.run(&json!({"job": "sql", "statements": statements})).expect("its table");
        let found = spark.run(&json!({"job": "rows", "table": "partitions.t", "order": "id"})).expect("its rows");
        read.insert("spark".to_owned(), found["rows"].clone());
    }
    for (reader, rows) in &read {
        let rows: BTreeMap<u64, &Value> =
            rows.as_array().expect("rows").iter().map(|row| (row[0].as_u64().expect("an id"), &row[1])).collect();
        let left_out = if reader == "spark" { twins } else { 0 };
        let missing: Vec<_> = (0..).zip(&values).filter(|(id, _)| !rows.contains_key(id)).collect();
        assert_eq!(missing.len(), left_out, "{reader}: {missing:?}");
        for (id, found) in rows {
            let value = &values[id as usize];
            // Empty is null; and the text that is the name for nulls is a null for whom unescapes first.
            let text = value.as_deref().filter(|text| !(text.is_empty() || reader != "duckdb" && *text == NULL));
            assert_eq!(found, &json!(text), "{reader}, {value:?}");
        }
    }
    println!("{} values read back by {} programs, {twins} of them not by Spark", values.len(), read.len());
}

#[test]
fn times_divide_a_load_and_the_manifest_names_each_partition() {
    let dir = dir();
    // Two days and a null, by turns.
    let times: ArrayRef =
        Arc::new(TimestampSecondArray::from_iter((0..300).map(|row| (row % 3 != 2).then_some(1_614_834_367 + 86_400 * (row % 3)))));
    write(&dir.path().join("t.arrow"), &[("at", times), ("n", Arc::new(Int64Array::from_iter_values(0..300)))]);
    let to = format!("s3://{BUCKET}/{{{{TABLE}}}}/day={{{{YEAR:at}}}}-{{{{MONTH:at}}}}-{{{{DAY:at}}}}/{{{{SEQ}}}}.{{{{FORMAT}}}}");
    let line = format!(
        "load t.arrow --to {to} --format csv --delivery exactly_once --commit-id c --manifest m/{{{{TABLE}}}}/{{{{COMMIT_ID}}}} --success-marker"
    );
    dir.run(&format!("{line} --local store")).ended(0, &[]);
    let data: Vec<String> = keys(dir.path()).into_iter().filter(|key| key.contains("day=")).collect();
    let null = format!("t/day={NULL}/000001.csv");
    assert_eq!(data, ["t/day=2021-03-04/000001.csv", "t/day=2021-03-05/000001.csv", null.as_str()]);
    assert!(keys(dir.path()).contains(&"t/_SUCCESS".to_owned()), "{:?}", keys(dir.path()));
    let store = LocalStore::open(&dir.path().join("store")).expect("a store");
    let manifest: Value = serde_json::from_slice(&std::fs::read(store.object_path(BUCKET, "m/t/c")).expect("a manifest")).expect("JSON");
    let partitions: Vec<&Value> =
        manifest["entries"].as_array().expect("entries").iter().map(|entry| &entry["lakegate"]["partition"]).collect();
    assert_eq!(json!(partitions), json!([{"day": "2021-03-04"}, {"day": "2021-03-05"}, {"day": null}]));
    // A second attempt finds every object.
    dir.run(&format!("{line} --local store")).ended(0, &["3 of the objects were there already"]);
}

#[test]
fn more_partitions_than_may_be_open_end_early_or_fail_by_name() {
    let dir = dir();
    let shuffled: ArrayRef = Arc::new(Int64Array::from_iter_values((0..4_000).map(|row| row * 7_919 % 200)));
    write(&dir.path().join("t.arrow"), &[("c", shuffled), ("n", Arc::new(Int64Array::from_iter_values(0..4_000)))]);
    let to = format!("s3://{BUCKET}/{{{{TABLE}}}}/c={{{{COLUMN:c}}}}/{{{{UUID}}}}.csv");
    let report =
        dir.run(&format!("load t.arrow --to {to} --format csv --json --max-open-partitions 200 --local store")).ended(0, &[]).json();
    assert_eq!((&report["rows"], &report["objects"]), (&json!(4_000), &json!(200)));
    let again = format!("load t.arrow --to {to} --format csv --max-open-partitions 50 --local few");
    dir.run(&again).ended(0, &["objects ended before their limits", "`partition.max_open`: 50"]);
    let one = format!("load t.arrow --to s3://{BUCKET}/{{{{TABLE}}}}/{{{{COLUMN:c}}}}.csv --format csv --local one");
    dir.run(&one).ended(6, &["more than 100 partitions at once", "neither {{UUID}} nor {{SEQ}}"]);
    dir.run(&one.replace("--local one", "--max-open-partitions 200 --local one")).ended(0, &["200 objects"]);
    let missing = format!("load t.arrow --to s3://{BUCKET}/{{{{TABLE}}}}/{{{{COLUMN:no}}}}/{{{{UUID}}}} --format csv --local missing");
    dir.run(&missing).ended(0, &["has no column"]);
    dir.run(&format!("{missing} --missing-partition-column fail")).ended(6, &["has no column \"no\"", "`partition.missing` is `fail`"]);
}
