//! `lakegate ddl`: what it prints is executed by Spark over what a load has written, is parsed as Athena's, and projects what a manifest names.
//!
//! Spark is the engine of its own tables, and stands in for Athena's: it takes the same statements with Hive's catalog, but knows no projection, so
//! partitions are registered; and no SerDe of OpenX, in whose place Hive's own reads the JSON.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, SECRET};
use crate::fixtures::support::sdk_test_table;
use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use chrono::{Datelike, NaiveDate};
use lakegate_local_store::LocalStore;
use lakegate_tests::python::Python;
use lakegate_tests::spark::Spark;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows: each of its own, and each partition has some.
const ROWS: usize = 24;

const COUNTRIES: [&str; 2] = ["DE", "FR"];

/// The first of three days.
const DAY: i32 = 19_782;

fn dir() -> TestDir {
    TestDir::new(PLUGIN, (KEY, SECRET))
}

fn write(path: &Path, batch: &RecordBatch) {
    let mut writer =
        arrow_ipc::writer::FileWriter::try_new(std::fs::File::create(path).expect("a file"), &batch.schema()).expect("a schema");
    writer.write(batch).and_then(|()| writer.finish()).expect("rows");
}

/// The SDK's test table with a number for each row, a country and a day.
fn wide() -> RecordBatch {
    let batch = sdk_test_table(ROWS);
    let mut fields = vec![Field::new("row_number", DataType::Int64, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..ROWS as i64))];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        fields.push(field.as_ref().clone());
        columns.push(column.clone());
    }
    fields.push(Field::new("country", DataType::Utf8, false));
    columns.push(Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| COUNTRIES[row % 2]))));
    fields.push(Field::new("day", DataType::Date32, false));
    columns.push(Arc::new(Date32Array::from_iter_values((0..ROWS as i32).map(|row| DAY + row / 2 % 3))));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
}

/// A load of a table, and where its objects lie as files.
struct Loaded {
    dir: TestDir,
    /// Objects of the table, by their keys.
    objects: Vec<PathBuf>,
    /// The folder of all keys.
    folder: PathBuf,
    manifest: Value,
}

const PATH: &str = "lake/{{TABLE}}/country={{COLUMN:country}}/day={{COLUMN:day}}/{{SEQ}}.{{FORMAT}}";

impl Loaded {
    /// Loads `batch` as table `t`, by a spec whose `format_spec` is given.
    fn new(batch: &RecordBatch, format: &str, options: Value) -> Self {
        let dir = dir();
        write(&dir.path().join("t.arrow"), batch);
        let spec = json!({
            "bucket": BUCKET, "region": "us-east-1", "path": PATH, "format": format, "format_spec": options, "batch_size": 3,
            "partition": {"keep_columns": false}, "delivery": "exactly_once", "manifest": {"path": "_m/{{TABLE}}/{{COMMIT_ID}}.json"}, "batch_timeout": "0s",
        });
        dir.file("spec.json", &spec.to_string());
        dir.run("load t.arrow --spec spec.json --commit-id c --local store").ended(0, &[]);
        let store = LocalStore::open(&dir.path().join("store")).expect("a store");
        let folder = dir.path().join("exported");
        let mut objects = Vec::new();
        let records = store.records(BUCKET, "lake/").expect("it can be read");
        // Without what shows that the store creates and does not replace.
        for record in records.into_iter().filter(|record| !record.key.contains("_lakegate/create-only")) {
            let file = folder.join(&record.key);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::copy(store.object_path(BUCKET, &record.key), &file).expect("a copy");
            objects.push(file);
        }
        let manifest = std::fs::read(store.object_path(BUCKET, "_m/t/c.json")).expect("a manifest");
        dir.with_file("m.json", &manifest);
        let manifest = serde_json::from_slice(&manifest).expect("JSON");
        Self { dir, objects, folder, manifest }
    }

    /// The statements for what is given, with the objects as files.
    fn ddl(&self, line: &str) -> Vec<String> {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let run = self.dir.run(&format!("ddl {line} --location file://{}/", self.folder.display()));
        let statements: Vec<String> = run.ended(0, &[]).stdout.trim_end().split("\n\n").map(str::to_owned).collect();
        assert!(statements.iter().all(|statement| statement.ends_with(';')), "{statements:?}");
        statements
    }

    /// The prefixes of its objects.
    fn prefixes(&self) -> BTreeSet<String> {
        let urls = self.manifest["entries"].as_array().expect("entries").iter().map(|entry| entry["url"].as_str().expect("a URL"));
        urls.map(|url| url.rsplit_once('/').expect("a folder").0.to_owned() + "/").collect()
    }
}

/// What `tests/peers/same_table.py` finds.
#[derive(Debug, Deserialize)]
struct Same {
    rows: usize,
    source: BTreeSet<String>,
    objects: BTreeSet<String>,
    different: BTreeMap<String, Value>,
}

/// Executes statements in a database of their own, and compares what `table` then has with the source and the objects.
async fn compared(
    spark: &Spark,
    python: &Python,
    loaded: &Loaded,
    format: &str,
    statements: &[String],
    database: &str,
    table: &str,
) -> Same {
    let mut all = vec![format!("CREATE DATABASE IF NOT EXISTS {database}")];
    all.extend_from_slice(statements);
    spark.run(&json!({"job": "sql", "statements": all})).unwrap_or_else(|error| panic!("{error}"));
    let rows = spark.run(&json!({"job": "rows", "table": format!("{database}.{table}"), "order": "row_number"}));
    let rows = rows.unwrap_or_else(|error| panic!("{error}"));
    loaded.dir.file("found.json", &rows.to_string());
    let path = |name: &str| loaded.dir.path().join(name);
    let mut arguments = vec![path("found.json"), path("t.arrow"), PathBuf::from(format)];
    arguments.extend(loaded.objects.iter().cloned());
    let printed = python.run(include_str!("../../peers/same_table.py"), arguments).await.unwrap_or_else(|error| panic!("{error}"));
    let same: Same = serde_json::from_str(&printed).expect("JSON");
    assert!(same.rows == ROWS && same.different.is_empty(), "{database}.{table}: {same:#?}");
    let columns: BTreeSet<String> =
        rows["columns"].as_array().expect("columns").iter().map(|it| it.as_str().expect("a name").to_owned()).collect();
    let seen: BTreeSet<String> = same.source.union(&same.objects).cloned().collect();
    assert_eq!(columns, seen, "each column is compared with one of them");
    same
}

/// The table has a spec's format; the names of the engine; the number of columns, left-out ones not among them.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "figures")]
async fn spark_reads_from_its_tables_what_was_loaded() {
    let Some(spark) = tiers::live("tables of lakegate ddl, read by Spark", Spark::session()) else { return };
    let Some(python) = tiers::live("python", Python::find()) else { return };
    let batch = wide();
    for (format, options) in [("parquet", json!({})), ("csv", json!({})), ("json", json!({}))] {
        let loaded = Loaded::new(&batch, format, options);
        let database = format!("spark_{format}");
        let statements = loaded.ddl(&format!("t.arrow --spec spec.json --engine spark --database {database}"));
        let table = compared(spark, &python, &loaded, format, &statements, &database, "t").await;
        let view = compared(spark, &python, &loaded, format, &statements, &database, "t_typed").await;
        assert!(view.source.len() > table.source.len() || format == "parquet", "the view has more of the source's types");
        assert_eq!(table.source.union(&table.objects).count(), batch.num_columns(), "every column");
        println!("{format}: {} of {} columns of the view have the types of the source", view.source.len(), batch.num_columns());
    }
}

/// Of Parquet and CSV: Athena's SerDe of JSON is in no registry, and Hive's cannot read JSON within JSON.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "figures")]
async fn spark_with_hive_reads_from_athenas_tables_what_was_loaded() {
    let Some(spark) = tiers::live("tables of lakegate ddl for Athena, read by Spark", Spark::session()) else { return };
    let Some(python) = tiers::live("python", Python::find()) else { return };
    let batch = wide();
    // Spark does not leave out the line of names.
    for (format, options) in [("parquet", json!({})), ("csv", json!({"skip_header": true}))] {
        let loaded = Loaded::new(&batch, format, options);
        for (name, projection, source) in [
            ("projected", "", "t.arrow --spec spec.json"),
            ("registered", "--no-projection", "t.arrow --spec spec.json"),
            ("known", "", "m.json --local store"),
        ] {
            // A manifest knows no types of text objects.
            if name == "known" && format != "parquet" {
                continue;
            }
            let database = format!("athena_{format}_{name}");
            let mut statements = loaded.ddl(&format!("{source} --engine athena {projection} --database {database}"));
            let is_projected = statements[0].contains("'projection.enabled' = 'true'");
            assert_eq!(is_projected, projection.is_empty(), "{}", statements[0]);
            statements.retain(|statement| !statement.starts_with("CREATE OR REPLACE VIEW"));
            if is_projected {
                statements.push(format!("MSCK REPAIR TABLE `{database}`.`t`;"));
            }
            // Hive has no nulls in CSV.
            let read_as = if format == "csv" { "csv-without-nulls" } else { format };
            let same = compared(spark, &python, &loaded, read_as, &statements, &database, "t").await;
            let columns = same.source.union(&same.objects).count();
            println!("{database}: {columns} of {} columns", batch.num_columns());
            // Of Parquet the times of day in milliseconds, and the lists and maps of them.
            assert_eq!(batch.num_columns() - columns, if format == "parquet" { 12 } else { 0 }, "{database}");
        }
    }
}

/// The properties of a table, as its statement has them.
fn properties(statement: &str) -> BTreeMap<String, String> {
    let (_, text) = statement.split_once("TBLPROPERTIES (\n").expect("properties");
    let lines = text.lines().take_while(|line| *line != ");");
    let unquoted = |text: &str| text.trim_matches('\'').to_owned();
    lines
        .map(|line| {
            line.trim().trim_end_matches(',').split_once(" = ").map(|(name, value)| (unquoted(name), unquoted(value))).expect("a property")
        })
        .collect()
}

/// The prefixes that Athena would look into, by its documentation of partition projection.
fn projected(statement: &str) -> BTreeSet<String> {
    let properties = properties(statement);
    assert_eq!(properties["projection.enabled"], "true");
    let mut prefixes = BTreeSet::from([properties["storage.location.template"].clone()]);
    let names = properties.keys().filter_map(|name| name.strip_prefix("projection.")?.strip_suffix(".type"));
    for name in names {
        let property = |key: &str| properties.get(&format!("projection.{name}.{key}")).map(String::as_str);
        let ends = || property("range").and_then(|range| range.split_once(',')).expect("a range");
        let values: Vec<String> = match property("type").expect("a type") {
            "enum" => property("values").expect("values").split(',').map(str::to_owned).collect(),
            "integer" => {
                let (from, to) = ends();
                let digits: usize = property("digits").map_or(0, |digits| digits.parse().expect("a number"));
                let (from, to): (i64, i64) = (from.parse().expect("a number"), to.parse().expect("a number"));
                (from..=to).map(|number| format!("{number:0digits$}")).collect()
            }
            "date" => {
                let (format, unit) = match property("format").expect("a format") {
                    "yyyy-MM-dd" => ("%Y-%m-%d", "DAYS"),
                    other => panic!("{other} has no oracle"),
                };
                assert_eq!((property("interval"), property("interval.unit")), (Some("1"), Some(unit)));
                let (from, to) = ends();
                let day = |text: &str| NaiveDate::parse_from_str(text, format).expect("a day");
                day(from).iter_days().take_while(|it| *it <= day(to)).map(|it| it.format(format).to_string()).collect()
            }
            other => panic!("{other} cannot be expanded"),
        };
        let filled = |prefix: &String| values.iter().map(|value| prefix.replace(&format!("${{{name}}}"), value)).collect::<Vec<_>>();
        prefixes = prefixes.iter().flat_map(filled).collect();
    }
    assert!(prefixes.iter().all(|prefix| !prefix.contains("${")), "{prefixes:?}");
    prefixes
}

#[test]
fn a_projection_has_the_prefixes_of_the_manifest_and_no_others() {
    let numbered = |values: &[Option<&str>]| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
        let countries: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let days: ArrayRef = Arc::new(Date32Array::from_iter_values(values.iter().map(|_| DAY)));
        RecordBatch::try_from_iter([("row_number", ids), ("country", countries), ("day", days)]).expect("a batch")
    };
    let odd = numbered(&[Some("a/b"), Some("é"), None, Some("it's"), Some("\\"), Some("${day}")]);
    let numbers = numbered(&[Some("8"), Some("9"), Some("10"), Some("11")]);
    for (batch, kinds) in [(wide(), ["enum", "date"]), (odd, ["enum", "date"]), (numbers, ["integer", "date"])] {
        let loaded = Loaded::new(&batch, "parquet", json!({}));
        let run = loaded.dir.run("ddl m.json --engine athena --local store");
        let statement = run.ended(0, &[]).stdout.trim_end().split("\n\n").next().expect("a statement").to_owned();
        let properties = properties(&statement);
        assert_eq!([&properties["projection.country.type"], &properties["projection.day.type"]], kinds);
        // In the statement, a backslash or a quote in a text has one before it.
        let unescaped: BTreeSet<String> = projected(&statement).iter().map(|prefix| prefix.replace("\\\\", "\\")).collect();
        assert_eq!(unescaped, loaded.prefixes());
    }
    // The check sees what is missing, and what is too much.
    let loaded = Loaded::new(&numbered(&[Some("8"), Some("9")]), "parquet", json!({}));
    let statement = loaded.ddl("m.json --engine athena --local store").swap_remove(0);
    let elsewhere = |statement: &str| projected(statement).len();
    assert_eq!([elsewhere(&statement.replace("'8,9'", "'8,10'")), elsewhere(&statement.replace("'8,9'", "'8,8'"))], [3, 1]);
}

/// Dialect, statement, and what sqlglot has to make of it: its type, what is created, and how many columns that has.
#[tokio::test]
async fn sqlglot_parses_every_statement() {
    let Some(python) = tiers::live("python", Python::find()) else { return };
    let batch = wide();
    let hostile = {
        let names = ["select", "a`b", "a\"b", "it's", "x` int); DROP TABLE y; --", "end"];
        let columns = names.iter().map(|name| (*name, Arc::new(Int64Array::from(vec![1])) as ArrayRef));
        RecordBatch::try_from_iter(columns).expect("a batch")
    };
    let mut statements: Vec<(&str, String)> = Vec::new();
    for (batch, path) in [(&batch, PATH), (&hostile, "lake/{{TABLE}}/{{UUID}}")] {
        let dir = dir();
        write(&dir.path().join("t.arrow"), batch);
        for format in ["parquet", "csv", "json"] {
            let omit = if path == PATH { " --omit-partition-columns" } else { "" };
            let line = format!("ddl t.arrow --to s3://{BUCKET}/{path} --format {format}{omit} --database d");
            for (dialect, engine) in [("athena", "athena"), ("athena", "athena --no-projection"), ("spark", "spark")] {
                let run = dir.run(&format!("{line} --engine {engine}"));
                statements.extend(run.ended(0, &[]).stdout.trim_end().split("\n\n").map(|statement| (dialect, statement.to_owned())));
            }
        }
    }
    let dir = dir();
    let file = dir.file("statements.json", &json!(statements).to_string());
    let printed = python.run(include_str!("../../peers/parse_ddl.py"), [file]).await.unwrap_or_else(|error| panic!("{error}"));
    let parsed: Vec<(String, Option<String>, Option<String>, usize)> = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(parsed.len(), statements.len());
    let mut tables = 0;
    for ((_, statement), (class, kind, name, columns)) in statements.iter().zip(&parsed) {
        // sqlglot has no type for MSCK: it takes it as it is.
        if statement.contains("MSCK REPAIR TABLE") {
            assert_eq!(class, "Command", "{statement}");
            continue;
        }
        let expected = if statement.contains(" VIEW ") { "VIEW" } else { "TABLE" };
        assert_eq!((class.as_str(), kind.as_deref()), ("Create", Some(expected)), "{statement}");
        let body = statement.lines().skip_while(|line| !line.starts_with("  ")).take_while(|line| line.starts_with("  "));
        assert_eq!(*columns, body.count(), "{statement}");
        assert!(name.as_ref().is_some_and(|name| name.contains('t')), "{name:?}");
        tables += usize::from(expected == "TABLE");
    }
    assert_eq!(tables, 18);
}

#[test]
fn ddl_ends_with_the_code_of_what_it_found() {
    let dir = dir();
    dir.file("t.csv", "id,country\n1,DE\n");
    dir.file("bad.csv", "id,ID\n1,2\n");
    dir.file("b.csv", "id\n1\n");
    let to = |path: &str| format!("--to s3://{BUCKET}/{path} --format csv --engine athena");
    let own = to("raw/{{TABLE}}/{{UUID}}.csv");
    let first = dir.run(&format!("ddl t.csv b.csv {own}"));
    first.ended(0, &["Warning: table \"t\": Athena reads a row of CSV wrong where a text has a line break; these may: country"]);
    assert_eq!(first.stdout.matches("CREATE EXTERNAL TABLE").count(), 2);
    assert_eq!(dir.run(&format!("ddl t.csv b.csv {own}")).stdout, first.stdout, "the same each time");
    let quiet = dir.run(&format!("ddl t.csv b.csv {own} --quiet"));
    assert_eq!((quiet.ended(0, &[]).stderr.as_str(), &quiet.stdout), ("", &first.stdout));
    dir.run(&format!("ddl t.csv {own} --component x.wasm")).ended(2, &["--component"]);
    dir.run("ddl t.csv --engine athena").ended(3, &["t.csv"]);
    dir.run(&format!("ddl t.csv {}", to("raw/{{TABLE}}/{{UUID}}").replace("--format csv", "--format xml")))
        .ended(3, &["unknown format xml"]);
    dir.run(&format!("ddl t.csv {}", to("raw/{{TABLE}}/country={{COLUMN:country}}/{{UUID}}"))).ended(3, &["--omit-partition-columns"]);
    dir.run(&format!("ddl t.csv {}", to("{{TABLE}}/{{COMMIT_ID}}/c={{COLUMN:country}}/{{UUID}}"))).ended(3, &["put Hive's folders"]);
    dir.run(&format!("ddl t.csv b.csv {}", to("raw/{{TABLE}}.csv"))).ended(3, &["in one folder, \"raw/\""]);
    dir.run(&format!("ddl bad.csv {own}")).ended(6, &["two columns are called \"ID\""]);
    dir.run(&format!("ddl missing.csv {own}")).ended(6, &["missing.csv"]);
    dir.file("m.json", &json!({"entries": [{"url": format!("s3://{BUCKET}/x/1.parquet"), "meta": {"content_length": 1}}]}).to_string());
    dir.run("ddl m.json --engine athena --local store").ended(2, &["--table"]);
    dir.run("ddl m.json --engine athena --table t --local store").ended(5, &[]);
    dir.run("ddl m.json sync.yml --engine athena --table t").ended(2, &["one kind at a time"]);
    assert!(!dir.path().join("spec-store").exists());
}

const SYNC: &str = r#"
kind: source
spec:
  name: rows
  registry: builtin
  path: files
  tables: ["*"]
  destinations: [s3]
  spec: {paths: ["*.csv"]}
---
kind: source
spec:
  name: cloud
  registry: local
  path: ./plugin
  tables: ["*"]
  destinations: [s3]
---
kind: destination
spec:
  name: s3
  registry: builtin
  path: s3
  write_mode: append
  send_sync_summary: true
  spec: {bucket: served, region: us-east-1, path: "sync/{{TABLE}}/{{UUID}}.json", format: json}
"#;

#[test]
fn a_configuration_has_the_tables_of_its_files_with_the_columns_of_the_sync() {
    let dir = dir();
    dir.script("plugin", "touch started; exit 1");
    dir.file("t.csv", "id,country\n1,DE\n");
    dir.file("sync.yml", SYNC);
    let run = dir.run("ddl sync.yml --engine spark --local store");
    run.ended(0, &["The tables of source cloud are known to its plugin alone"]);
    assert!(
        run.stdout.contains("CREATE TABLE IF NOT EXISTS `t` (\n  `_cq_sync_time` string,\n  `_cq_source_name` string,\n  `id` bigint,"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("CAST(`_cq_sync_time` AS timestamp) AS `_cq_sync_time`"), "{}", run.stdout);
    assert!(run.stdout.contains("CREATE TABLE IF NOT EXISTS `cloudquery_sync_summaries` ("), "{}", run.stdout);
    assert!(!dir.path().join("started").exists() && !dir.path().join("store").exists(), "nothing is started, and nothing made");
    let (_, plugin_alone) = SYNC.split_once("---").expect("two documents");
    dir.file("plugin.yml", plugin_alone);
    dir.run("ddl plugin.yml --engine spark").ended(3, &["no source in it has tables that are known"]);
    dir.run("ddl sync.yml --engine spark --table t").ended(2, &["--table"]);
}

#[test]
fn text_objects_of_a_manifest_have_names_and_no_types() {
    let batch = wide().project(&[0, 1, 2, 232, 233]).expect("columns");
    for format in ["csv", "json"] {
        let loaded = Loaded::new(&batch, format, json!({}));
        let statements = loaded.ddl("m.json --engine spark --local store");
        let mut names: Vec<String> = batch.schema().fields().iter().take(3).map(|field| format!("  `{}` string,", field.name())).collect();
        if format == "json" {
            // As objects have them.
            names.sort();
        }
        assert!(statements[0].contains(&names.join("\n")), "{}", statements[0]);
        assert!(statements[0].contains("PARTITIONED BY (`country`, `day`)") && statements[0].contains("`day` date"), "{}", statements[0]);
        assert!(!statements.iter().any(|statement| statement.contains("VIEW")), "{statements:?}");
    }
    assert!(NaiveDate::from_num_days_from_ce_opt(DAY + 719_163).is_some_and(|day| day.year() == 2024));
}
