//! Files of CSV in the dialects and encodings that people have: each is the table that was written, or is refused by name; and what DuckDB and pandas
//! make of them.

use crate::fixtures::proxied_store::PLUGIN;
use lakegate_local_store::LocalStore;
use lakegate_tests::corpus;
use lakegate_tests::dialects::{Case, Table, cases};
use lakegate_tests::python::Python;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Cases of the corpus: those that are tables, and those that are refused.
const TABLES: usize = 108;
const REFUSED: usize = 15;

const SCRIPT: &str = include_str!("../../peers/dialects.py");

/// Where it is written what the readers make of what.
const PAGE: &str = include_str!("../../../docs/inputs.md");

const TO: &str = "--to s3://demo/{{TABLE}}.json --format json --no-rotate --local store";

fn test_dir() -> TestDir {
    TestDir::new(PLUGIN, ("AKIDTEST", "secret"))
}

/// The rows of an object of JSON lines, by name; numbers as they are written.
fn rows(text: &str) -> Vec<BTreeMap<String, Option<String>>> {
    let value = |raw: &RawValue| match raw.get() {
        "null" => None,
        text if text.starts_with('"') => Some(serde_json::from_str(text).expect("a text")),
        other => Some(other.to_owned()),
    };
    let row = |line: &str| {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).expect("an object");
        members.iter().map(|(name, raw)| (name.clone(), value(raw))).collect()
    };
    text.lines().map(row).collect()
}

#[test]
fn every_dialect_is_the_table_that_was_written() {
    let dir = test_dir();
    let tables: Vec<(Case, Table)> = cases().into_iter().filter_map(|case| Some((case.clone(), case.holds.ok()?))).collect();
    std::fs::create_dir(dir.path().join("files")).expect("a folder");
    for (case, _) in &tables {
        dir.with_file(&format!("files/{}.csv", case.name), &case.bytes);
    }
    let run = dir.run(&format!("load files {TO} --json"));
    let summary = run.ended(0, &[]).json();
    assert_eq!(summary["tables"].as_array().map(Vec::len), Some(tables.len()));
    let mut compared = 0;
    for (case, table) in &tables {
        let body = std::fs::read_to_string(object(dir.path(), &case.name)).unwrap_or_default();
        let expected: Vec<BTreeMap<String, Option<String>>> =
            table.rows.iter().map(|row| table.columns.iter().cloned().zip(row.iter().cloned()).collect()).collect();
        assert_eq!(rows(&body), expected, "{}", case.name);
        // What is not UTF-8 with commas below a header is said.
        let said = run.stderr.contains(&format!("{}.csv: ", case.name));
        let plain = case.name.starts_with("comma_lf_utf8") || case.name.starts_with("comma_crlf_utf8");
        assert!(!(plain && said), "{}", run.stderr);
        let unusual = ["semicolon", "tab_", "pipe", "utf16", "windows1252", "_cr_", "bare", "twice", "index"]
            .iter()
            .any(|word| case.name.contains(word));
        assert!(!unusual || said, "{} is not said: {}", case.name, run.stderr);
        compared += 1;
    }
    corpus("dialects that are tables", compared, TABLES);
}

/// The file of a table's object.
fn object(folder: &Path, table: &str) -> PathBuf {
    LocalStore::open(&folder.join("store")).expect("a store").object_path("demo", &format!("{table}.json"))
}

#[test]
fn what_is_no_table_is_refused_by_file_and_line() {
    let dir = test_dir();
    let mut refused = 0;
    for case in cases() {
        let Err(said) = case.holds else { continue };
        let name = format!("{}.csv", case.name);
        let run = dir.with_file(&name, &case.bytes).run(&format!("load {name} {TO} --json"));
        run.ended(6, &[&name, said]);
        assert_eq!(run.json()["objects"], 0, "{name}");
        refused += 1;
    }
    corpus("dialects that are refused", refused, REFUSED);
}

/// What a reader found.
#[derive(Debug, Deserialize)]
struct Found {
    file: String,
    reader: String,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    rows: Vec<Vec<Option<String>>>,
    problem: Option<String>,
}

impl Found {
    fn verdict(&self, case: &Case) -> &'static str {
        match (&self.problem, &case.holds) {
            (Some(_), _) => "refuses",
            (None, Err(_)) => "reads",
            (None, Ok(table)) if table.rows != self.rows => "differs",
            (None, Ok(table)) if table.columns != self.columns => "names differ",
            (None, Ok(_)) => "same",
        }
    }
}

/// Where DuckDB or pandas read another table, or none, the page says so and why.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the table is what the page is written from")]
async fn duckdb_and_pandas_read_the_same_or_the_page_says_why() -> anyhow::Result<()> {
    let Some(python) = tiers::live("dialects read by duckdb and pandas", Python::find()) else { return Ok(()) };
    let dir = test_dir();
    let all = cases();
    for case in &all {
        dir.with_file(&format!("{}.csv", case.name), &case.bytes);
    }
    let list: Vec<serde_json::Value> =
        all.iter().map(|case| serde_json::json!({"file": format!("{}.csv", case.name), "encoding": case.encoding})).collect();
    dir.with_file("cases.json", serde_json::to_string(&list)?);
    let printed = python.run(SCRIPT, [dir.path()]).await?;
    let mut groups: BTreeMap<&str, BTreeMap<String, BTreeMap<&str, usize>>> = BTreeMap::new();
    let mut readings = 0;
    for line in printed.lines() {
        let found: Found = serde_json::from_str(line)?;
        let case = all.iter().find(|case| format!("{}.csv", case.name) == found.file).expect("a case");
        *groups.entry(case.group).or_default().entry(found.reader.clone()).or_default().entry(found.verdict(case)).or_default() += 1;
        readings += 1;
    }
    let mut missing = BTreeSet::new();
    for (group, readers) in &groups {
        println!("{group}: {readers:?}");
        let same = readers.values().all(|verdicts| verdicts.keys().all(|verdict| *verdict == "same"));
        if !same && !PAGE.contains(&format!("\n| {group} |")) {
            missing.insert(*group);
        }
    }
    assert!(missing.is_empty(), "docs/inputs.md does not say what differs: {missing:?}");
    // The comparison compares: where nothing is in doubt, all agree.
    assert!(groups["UTF-8"].values().all(|verdicts| verdicts.get("same") == Some(&16)), "{groups:?}");
    corpus("dialects by two readers", readings, 2 * (TABLES + REFUSED));
    Ok(())
}
