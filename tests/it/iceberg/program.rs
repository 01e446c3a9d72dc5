//! Tables that the program makes: loads into Apache's REST catalog, with MinIO below, read by pyiceberg, DuckDB and Spark.

use super::lake::{BUCKET, Lake, all_equal, arrow_file};
use crate::fixtures::proxied_store::PLUGIN;
use anyhow::Context as _;
use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use lakegate_tests::golden_folder;
use lakegate_tests::run::Run;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tpch;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Columns of the SDK's test table.
const WIDE_COLUMNS: usize = 231;

/// Rows of it: each partition has some.
const WIDE_ROWS: usize = 24;

/// The first of three days.
const DAY: i32 = 19_782;

/// The program in a folder of its own, before a lake.
struct Loads {
    dir: TestDir,
    to: String,
}

impl Loads {
    fn new(lake: &Lake) -> Self {
        let keys: [&'static str; 2] = [&lake.store.access_key, &lake.store.secret_key].map(|key| &*key.clone().leak());
        let to = format!("--region us-east-1 --endpoint {} --path-style --table-format iceberg --namespace sales", lake.store.endpoint);
        Self { dir: TestDir::new(PLUGIN, (keys[0], keys[1])), to: format!("{to} --format parquet --catalog {}", lake.catalog.uri()) }
    }

    fn write(&self, name: &str, batches: &[RecordBatch]) {
        let file = std::fs::File::create(self.dir.path().join(name)).expect("a file");
        let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &batches[0].schema()).expect("a schema");
        batches.iter().for_each(|batch| writer.write(batch).expect("rows"));
        writer.finish().expect("an end");
    }

    fn line(&self, input: &str, path: &str, more: &str) -> String {
        format!("load {input} --to s3://{BUCKET}/wh/{{{{TABLE}}}}/{path}.parquet --json{} {}", more, self.to)
    }

    async fn load(&self, input: &str, path: &str, more: &str) -> Run {
        lakegate_tests::run::to_end(self.dir.command(&self.line(input, path, more))).await
    }
}

/// The SDK's test table, five ordinary rows and one of nulls over and over, with a number for each row, a country and a day.
fn wide() -> RecordBatch {
    let file = std::fs::File::open(golden_folder().join("cases/sdk_test_table/input.arrows")).expect("the golden table");
    let reader = arrow_ipc::reader::StreamReader::try_new(file, None).expect("a stream");
    let (schema, batches) = (reader.schema(), reader.collect::<Result<Vec<_>, _>>().expect("rows"));
    let batch = arrow_select::concat::concat_batches(&schema, &batches).expect("batches of one schema");
    assert_eq!(batch.num_columns(), WIDE_COLUMNS);
    let indices = UInt64Array::from_iter_values((0..WIDE_ROWS as u64).map(|row| row % 6));
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..WIDE_ROWS as i64))];
    // The table has a column of that name, which is an integer, too.
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = if field.name() == "id" { "id_of_sdk" } else { field.name() };
        fields.push(field.as_ref().clone().with_name(name));
        columns.push(arrow_select::take::take(column, &indices, None).expect("indices"));
    }
    fields.push(Field::new("country", DataType::Utf8, false));
    columns.push(Arc::new(StringArray::from_iter_values((0..WIDE_ROWS).map(|row| ["DE", "FR"][row % 2]))));
    fields.push(Field::new("day", DataType::Date32, false));
    columns.push(Arc::new(Date32Array::from_iter_values((0..WIDE_ROWS as i32).map(|row| DAY + row / 2 % 3))));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
}

/// The line item of TPC-H, and every column of the SDK's test table, by three readers; the metrics in the manifests, and filters that they and the
/// partitions make cheap.
#[tokio::test(flavor = "multi_thread")]
async fn loaded_tables_are_read_equal_by_pyiceberg_duckdb_and_spark() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("loads into Iceberg tables", false).await else { return Ok(()) };
    let loads = Loads::new(&lake);
    let lineitem = tpch::lineitem(0.005).collect::<Result<Vec<_>, _>>()?;
    loads.write("lineitem.arrow", &lineitem);
    let run = loads.load("lineitem.arrow", "data/{{UUID}}", "").await;
    run.ended(0, &["of sales.lineitem."]);
    let table = &run.json()["tables"][0];
    assert_eq!((&table["catalog_table"], table["snapshot_id"].is_i64()), (&json!("sales.lineitem"), true), "{table}");
    let rows: usize = lineitem.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(lake.peer("lineitem", "same", &[]).await?, json!({"pyiceberg": "equal", "duckdb": "equal", "rows": rows}));
    let expected = arrow_file(&lineitem);
    let rows = json!({"job": "iceberg_bag", "file": expected.path().display().to_string()});
    assert_eq!(lake.spark("lineitem", rows)?, "equal");

    let wide = wide();
    loads.write("wide.arrow", &[wide.clone()]);
    let partitioned = "data/country={{COLUMN:country}}/day={{YEAR:day}}-{{MONTH:day}}-{{DAY:day}}/{{UUID}}";
    loads.load("wide.arrow", partitioned, "").await.ended(0, &["of sales.wide."]);
    let files: usize = 6;
    assert_eq!(lake.peer("wide", "same", &[]).await?, json!({"pyiceberg": "equal", "duckdb": "equal", "rows": WIDE_ROWS}));
    for name in ["lineitem", "wide"] {
        let metrics = lake.peer(name, "files", &[]).await?;
        assert_eq!(metrics["problems"], json!([]), "{metrics}");
        assert!(metrics["compared"].as_u64() >= Some(16), "{metrics}");
    }
    // Spark has no times of day.
    let spec = json!({
        "bucket": BUCKET, "region": "us-east-1", "endpoint": lake.store.endpoint, "use_path_style": true, "athena": true, "format": "parquet",
        "path": format!("wh/{{{{TABLE}}}}/{partitioned}"), "table_format": "iceberg", "iceberg": {"uri": lake.catalog.uri(), "namespace": "sales"},
    });
    loads.dir.file("athena.json", &spec.to_string());
    let run = lakegate_tests::run::to_end(loads.dir.command("load wide.arrow --table plain --spec athena.json")).await;
    run.ended(0, &["of sales.plain."]);
    let rows = loads.dir.path().join("plain.arrows").display().to_string();
    assert_eq!(lake.peer("plain", "same", &[&rows]).await?, json!({"pyiceberg": "equal", "duckdb": "equal", "rows": WIDE_ROWS}));
    assert_eq!(lake.spark("plain", json!({"job": "iceberg_bag", "file": rows}))?, "equal");

    let filters = [
        ("country == 'FR'", "country = 'FR'", files / 2, WIDE_ROWS / 2),
        ("day == '2024-02-29'", "day = DATE '2024-02-29'", files / 3, WIDE_ROWS / 3),
        ("country == 'DE' and day == '2024-03-01'", "country = 'DE' AND day = DATE '2024-03-01'", 1, WIDE_ROWS / 6),
        ("id < 2", "id < 2", 2, 2),
        ("country == 'XX'", "country = 'XX'", 0, 0),
    ];
    let expected: Vec<Value> = filters.iter().map(|(_, _, files, rows)| json!({"files": files, "rows": rows})).collect();
    assert_eq!(lake.peer("plain", "scan", &filters.map(|(filter, ..)| filter)).await?, json!(expected));
    let job = json!({"job": "iceberg_scan", "filters": filters.map(|(_, filter, ..)| filter)});
    assert_eq!(lake.spark("plain", job)?, json!(expected));
    assert_eq!(lake.peer("plain", "duckdb_scan", &filters.map(|(_, filter, ..)| filter)).await?, json!(expected));
    Ok(())
}

/// Rows of a file of one column more.
fn orders(ids: std::ops::Range<i64>, has_name: bool) -> RecordBatch {
    let mut columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(Int64Array::from_iter_values(ids.clone())))];
    if has_name {
        columns.push(("name", Arc::new(StringArray::from_iter_values(ids.map(|id| format!("n{id}"))))));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).expect("columns of one length")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_fit_fails_by_name_and_no_other_does() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("Iceberg tables that a load does not fit", false).await else { return Ok(()) };
    let loads = Loads::new(&lake);
    loads.write("a.arrow", &[orders(0..10, false)]);
    loads.write("b.arrow", &[orders(0..10, false)]);
    loads
        .load("a.arrow b.arrow", "data/{{UUID}}", " --no-create-table")
        .await
        .ended(5, &["there is no table sales.a, and none is to be created"]);
    loads.load("a.arrow b.arrow", "data/{{UUID}}", "").await.ended(0, &["of sales.a.", "of sales.b."]);

    // A column more, and a column of another type.
    loads.write("a.arrow", &[orders(10..20, true)]);
    let texts = StringArray::from(vec!["x"]);
    loads.write("b.arrow", &[RecordBatch::try_from_iter([("id", Arc::new(texts) as ArrayRef)])?]);
    loads.write("c.arrow", &[orders(0..3, false)]);
    let inputs = "a.arrow b.arrow c.arrow";
    let run = loads.load(inputs, "data/{{UUID}}", "").await;
    run.ended(
        6,
        &[
            "the table sales.a lacks columns of the rows: \"name\"",
            "column \"id\" is long in the table, and string in the rows",
            "of sales.c.",
        ],
    );
    let run = loads.load(inputs, "data/{{UUID}}", " --add-columns").await;
    run.ended(6, &["column \"id\" is long in the table, and string in the rows", "of sales.a.", "of sales.c."]);

    let rows: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..20)),
        Arc::new(StringArray::from_iter((0..20).map(|id| (id >= 10).then(|| format!("n{id}"))))),
    ];
    let expected = RecordBatch::try_new(orders(0..1, true).schema(), rows)?;
    assert_eq!(lake.readers("a", &[expected]).await?, all_equal());
    let found = lake.peer("b", "history", &[]).await?;
    assert_eq!((&found["snapshots"], &found["rows"]), (&json!(1), &json!(10)), "{found}");
    // Twice three rows, since these loads had no name.
    assert_eq!(lake.peer("c", "history", &[]).await?["rows"], 6);

    // Where the path puts the objects elsewhere than the table lies.
    let line = loads.line("c.arrow", "data/{{UUID}}", "").replace("/wh/", "/other/");
    let run = lakegate_tests::run::to_end(loads.dir.command(&line)).await;
    run.ended(6, &["lies at s3://lake/wh/c", "`path` has to begin with the folder of the table"]);
    Ok(())
}

const KILLS: u32 = 8;

/// A load that is killed at any moment, and run again under its name: the table can be read at every moment, and in the end has every row once.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the log looks for")]
async fn killed_loads_are_in_the_table_once() -> anyhow::Result<()> {
    const ROWS: i64 = 2_000;
    let Some(lake) = Lake::start("loads into Iceberg tables that are killed", false).await else { return Ok(()) };
    let loads = Loads::new(&lake);
    let input = |number: u32| -> String {
        let ids = i64::from(number) * ROWS..i64::from(number + 1) * ROWS;
        let name = format!("part{number}.arrow");
        loads.write(&name, &[orders(ids, true)]);
        name
    };
    let line = |number: u32| {
        let more = format!(" --table orders --batch-size 100 --delivery exactly_once --commit-id load-{number}");
        loads.line(&input(number), "data/{{COMMIT_ID}}/{{SEQ}}", &more)
    };
    // The first makes the table, and a compiled component.
    lakegate_tests::run::to_end(loads.dir.command(&line(0))).await.ended(0, &["of sales.orders."]);
    let begin = Instant::now();
    lakegate_tests::run::to_end(loads.dir.command(&line(1))).await.ended(0, &["of sales.orders."]);
    let whole = begin.elapsed();
    let mut interrupted = 0;
    for number in 2..KILLS + 2 {
        let mut process =
            loads.dir.command(&line(number)).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn()?;
        // All over the later half, where the objects and the commit are.
        tokio::time::sleep(whole.mul_f64(0.4 + 0.6 * f64::from(number - 2) / f64::from(KILLS))).await;
        let ended = process.try_wait()?;
        interrupted += u32::from(ended.is_none());
        process.kill()?;
        process.wait()?;
        let found = lake.peer("orders", "history", &[]).await?;
        let rows = found["rows"].as_u64().context("rows")?;
        assert!(rows % ROWS as u64 == 0 && found["rows"] == found["ids"], "{found}");
        lakegate_tests::run::to_end(loads.dir.command(&line(number))).await.ended(0, &[]);
        // And again, though it is done.
        let run = lakegate_tests::run::to_end(loads.dir.command(&line(number))).await;
        run.ended(0, &["Already committed: 1 of 1 table."]);
        let found = lake.peer("orders", "history", &[]).await?;
        let all = u64::from(number + 1) * ROWS as u64;
        assert_eq!((&found["rows"], &found["ids"], &found["snapshots"]), (&json!(all), &json!(all), &json!(number + 1)), "{found}");
    }
    println!("{KILLS} loads, {interrupted} of them killed before their end, each of some {} ms", whole.as_millis());
    assert!(interrupted >= KILLS / 3, "{interrupted} of {KILLS} were killed");
    Ok(())
}

/// What tenants may do is in `tenancy/`; here the program reaches a catalog before there are rows, and says who does not let it in.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_reached_before_there_are_rows() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("an Iceberg catalog that is not there", false).await else { return Ok(()) };
    let loads = Loads::new(&lake);
    loads.write("t.arrow", &[orders(0..1, false)]);
    let gone = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let begin = Instant::now();
    let line = loads.line("t.arrow", "data/{{UUID}}", "").replace(&lake.catalog.uri(), &format!("http://{gone}"));
    lakegate_tests::run::to_end(loads.dir.command(&line)).await.ended(5, &["the catalog: ", &gone.to_string()]);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let line = loads.line("t.arrow", "data/{{UUID}}", " --catalog-auth bearer --catalog-credential-env LAKEGATE_TEST_TOKEN");
    lakegate_tests::run::to_end(loads.dir.command(&line)).await.ended(5, &["\"LAKEGATE_TEST_TOKEN\"", "is not set"]);

    let spec = json!({
        "bucket": BUCKET, "region": "us-east-1", "endpoint": lake.store.endpoint, "use_path_style": true, "format": "parquet",
        "path": "wh/{{TABLE}}/data/{{UUID}}", "table_format": "iceberg", "iceberg": {"uri": lake.catalog.uri(), "namespace": "sales"},
    });
    loads.dir.file("spec.json", &spec.to_string());
    lakegate_tests::run::to_end(loads.dir.command("test-connection spec.json")).await.ended(0, &[]);
    let planned = lakegate_tests::run::to_end(loads.dir.command("plan t.arrow --spec spec.json")).await;
    planned.ended(0, &[]);
    assert!(planned.stdout.contains("s3:GetObject") && planned.stdout.contains("metadata"), "{}", planned.stdout);
    let elsewhere = spec.to_string().replace(&lake.catalog.uri(), &format!("http://{gone}"));
    loads.dir.file("elsewhere.json", &elsewhere);
    lakegate_tests::run::to_end(loads.dir.command("test-connection elsewhere.json")).await.ended(5, &["the catalog: "]);
    // Nothing is asked.
    lakegate_tests::run::to_end(loads.dir.command("plan t.arrow --spec elsewhere.json")).await.ended(0, &[]);
    Ok(())
}
