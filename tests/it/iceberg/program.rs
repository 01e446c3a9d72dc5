//! Tables that the program makes: loads into Apache's REST catalog, with MinIO below, read by pyiceberg, DuckDB and Spark.

use super::lake::{BUCKET, Lake, all_equal, arrow_file};
use crate::fixtures::proxied_store::PLUGIN;
use crate::fixtures::support::{runtime, sdk_test_table};
use crate::tenancy::tenants::grant;
use anyhow::Context as _;
use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use lakegate::{CatalogGrant, Destination, Grant, Options, Tenant};
use lakegate_iceberg::RestCatalogs;
use lakegate_tests::faults::{Fault, Proxy, Rule, When};
use lakegate_tests::run::Run;
use lakegate_tests::tables::ids;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tpch;
use serde_json::{Value, json};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of the SDK's test table: each partition has some.
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

/// The SDK's test table with a number for each row, a country and a day.
fn wide() -> RecordBatch {
    let batch = sdk_test_table(WIDE_ROWS);
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..WIDE_ROWS as i64))];
    // The table has a column of that name, which is an integer, too.
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = if field.name() == "id" { "id_of_sdk" } else { field.name() };
        fields.push(field.as_ref().clone().with_name(name));
        columns.push(column.clone());
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
    loads.write("wide.arrow", std::slice::from_ref(&wide));
    let partitioned = "data/country={{COLUMN:country}}/day={{YEAR:day}}-{{MONTH:day}}-{{DAY:day}}/{{UUID}}";
    loads.load("wide.arrow", partitioned, "").await.ended(0, &["of sales.wide."]);
    let files: usize = 6;
    assert_eq!(lake.peer("wide", "same", &[]).await?, json!({"pyiceberg": "equal", "duckdb": "equal", "rows": WIDE_ROWS}));
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

    // pyiceberg shows the metrics of no table with a UUID.
    for (name, least) in [("lineitem", 16), ("plain", files as u64 * 40)] {
        let metrics = lake.peer(name, "files", &[]).await?;
        assert_eq!(metrics["problems"], json!([]), "{metrics}");
        assert!(metrics["compared"].as_u64() >= Some(least), "{metrics}");
    }

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
    run.ended(5, &["the table sales.c lies at s3://lake/wh/c, which is not in s3://lake/other/c"]);
    Ok(())
}

const KILLS: u32 = 4;

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

/// Answers that never come: the program is killed at each request to the catalog and to the store in turn, before it is carried out and after; then
/// run again under the same name. The table has the commit once.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the log looks for")]
async fn loads_killed_at_every_request_are_in_the_table_once() -> anyhow::Result<()> {
    const ROWS: u64 = 50;
    const HOUR: Duration = Duration::from_secs(3_600);
    let Some(lake) = Lake::start("loads into Iceberg tables that are killed at every request", false).await else { return Ok(()) };
    let to_catalog = Proxy::start(&lake.catalog.uri(), []).await?;
    let to_store = Proxy::start(&lake.store.endpoint, []).await?;
    let mut loads = Loads::new(&lake);
    loads.to = loads.to.replace(&lake.catalog.uri(), &to_catalog.endpoint()).replace(&lake.store.endpoint, &to_store.endpoint());
    loads.write("t.arrow", &[orders(0..ROWS as i64, true)]);
    let mut kills = [0; 2];
    for (place, proxy) in [&to_catalog, &to_store].into_iter().enumerate() {
        for fault in [Fault::Stall(HOUR), Fault::Withhold(HOUR)] {
            for at in 1.. {
                let table = format!("t{place}_{}_{at}", u8::from(matches!(fault, Fault::Withhold(_))));
                let more = format!(" --table {table} --delivery exactly_once --commit-id one --lanes 1");
                let line = loads.line("t.arrow", "data/{{COMMIT_ID}}/{{SEQ}}", &more);
                let before = proxy.faults();
                proxy.set_rules([Rule::any(When::Every(NonZeroU64::new(at).context("from 1")?), fault)]);
                let null = std::process::Stdio::null;
                let mut process = loads.dir.command(&line).stdout(null()).stderr(null()).spawn()?;
                let begin = Instant::now();
                while proxy.faults() == before && process.try_wait()?.is_none() {
                    anyhow::ensure!(begin.elapsed() < Duration::from_secs(60), "neither a fault nor an end");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                // The request is carried out meanwhile, if it is to be.
                tokio::time::sleep(Duration::from_millis(200)).await;
                process.kill()?;
                process.wait()?;
                let was_killed = proxy.faults() > before;
                proxy.set_rules([]);
                let counts = lake.counts(&table).await?;
                assert!(matches!(counts, None | Some((0, 0) | (1, ROWS))), "{table}: {counts:?}");
                lakegate_tests::run::to_end(loads.dir.command(&line)).await.ended(0, &[]);
                assert_eq!(lake.counts(&table).await?, Some((1, ROWS)), "{table}");
                if !was_killed {
                    break;
                }
                kills[place] += 1;
            }
        }
    }
    println!("killed at {} requests to the catalog and {} to the store", kills[0], kills[1]);
    // Both before and after: configuration, table, namespace twice, creation, table, commit; two probes, data, manifest, list of manifests.
    assert!(kills[0] >= 2 * 6 && kills[1] >= 2 * 5, "{kills:?}");
    Ok(())
}

/// Of two attempts at one commit that run at the same time, one makes it; the objects of the other are named.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_attempts_at_once_the_objects_of_one_are_in_the_table() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("two loads into one Iceberg table", false).await else { return Ok(()) };
    let loads = Loads::new(&lake);
    loads.write("t.arrow", &[orders(0..10, false)]);
    // The table is there, so that both come to their commit.
    loads.load("t.arrow", "data/{{UUID}}", " --commit-id before").await.ended(0, &[]);
    let mut left = 0;
    for round in 0..4 {
        let more = format!(" --commit-id race-{round}");
        let (one, other) = tokio::join!(loads.load("t.arrow", "data/{{UUID}}", &more), loads.load("t.arrow", "data/{{UUID}}", &more));
        for run in [&one, &other] {
            run.ended(0, &[]);
            let table = &run.json()["tables"][0];
            left += table["unsettled"]
                .as_array()
                .map_or(0, |files| files.iter().filter(|file| file.as_str().unwrap().ends_with(".parquet")).count());
        }
        let all = (round + 2) as usize;
        assert_eq!(lake.counts("t").await?, Some((all, all as u64 * 10)));
    }
    // Every object is in the table, or is named.
    let listed = lake.store.client().list_objects_v2().bucket(BUCKET).prefix("wh/t/data/").send().await?;
    assert_eq!(listed.contents().len(), 5 + left);
    Ok(())
}

/// As S3 Tables have it: a table whose location is a bucket of its own. The requests are signed; this catalog does not look at that.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_a_bucket_of_its_own_is_written_if_it_is_that_of_the_spec() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("an Iceberg table with a bucket of its own", false).await else { return Ok(()) };
    let loads = Loads::new(&lake);
    loads.write("t.arrow", &[orders(0..10, false)]);
    lake.peer("t", "create", &[&format!("s3://{BUCKET}")]).await?;
    let spec = |bucket: &str| {
        json!({
            "bucket": bucket, "region": "us-east-1", "endpoint": lake.store.endpoint, "use_path_style": true, "format": "parquet",
            "path": "{{TABLE}}/data/{{UUID}}", "table_format": "iceberg",
            "iceberg": {"catalog": "s3_tables", "uri": lake.catalog.uri(), "namespace": "sales", "create": false, "warehouse": "arn:aws:s3tables:r:1:bucket/b"},
        })
    };
    loads.dir.file("own.json", &spec(BUCKET).to_string());
    lakegate_tests::run::to_end(loads.dir.command("load t.arrow --spec own.json")).await.ended(0, &["of sales.t."]);
    let found = lake.peer("t", "history", &[]).await?;
    assert_eq!((&found["rows"], &found["ids"]), (&json!(10), &json!(10)), "{found}");
    lake.store.client().create_bucket().bucket("other").send().await?;
    loads.dir.file("other.json", &spec("other").to_string());
    let run = lakegate_tests::run::to_end(loads.dir.command("load t.arrow --spec other.json")).await;
    run.ended(5, &["the table sales.t lies at s3://lake, which is not in s3://other"]);
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

/// A sync into two tables, and a tenant under a grant: one way through the library, and all the rows.
#[tokio::test(flavor = "multi_thread")]
async fn syncs_and_tenants_write_tables_too() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("syncs and tenants that write Iceberg tables", false).await else { return Ok(()) };
    let loads = Loads::new(&lake);
    loads.dir.file("stations.csv", "id,name\n1,a\n2,b\n");
    loads.dir.file("readings.csv", "id,value\n1,0.5\n2,1.5\n3,2.5\n");
    let source = json!({"kind": "source", "spec": {
        "name": "csv", "path": "files", "registry": "builtin", "tables": ["*"], "destinations": ["lake"], "spec": {"paths": ["stations.csv", "readings.csv"]},
    }});
    let destination = json!({"kind": "destination", "spec": {"name": "lake", "path": "s3", "registry": "builtin", "write_mode": "append", "spec": {
        "bucket": BUCKET, "region": "us-east-1", "endpoint": lake.store.endpoint, "use_path_style": true, "path": "wh/{{TABLE}}/data/{{UUID}}",
        "format": "parquet", "table_format": "iceberg", "commit": {"id": "one"},
        "iceberg": {"uri": lake.catalog.uri(), "namespace": "sales", "table": "raw_{{TABLE}}"},
    }}});
    loads.dir.file("sync.yml", &format!("{source}\n---\n{destination}\n"));
    let run = lakegate_tests::run::to_end(loads.dir.command("sync sync.yml")).await;
    run.ended(0, &["of sales.raw_stations.", "of sales.raw_readings."]);
    lakegate_tests::run::to_end(loads.dir.command("sync sync.yml")).await.ended(0, &["Already committed: 2 of 2 tables."]);
    for (name, rows) in [("raw_stations", 2), ("raw_readings", 3)] {
        let found = lake.peer(name, "history", &[]).await?;
        assert_eq!((&found["rows"], &found["snapshots"], &found["commits"]), (&json!(rows), &json!(1), &json!(["one"])), "{name}: {found}");
    }

    let grant = Grant {
        buckets: vec![BUCKET.into()],
        endpoint: Some(lake.store.endpoint.clone()),
        path_style: true,
        catalogs: vec![CatalogGrant { uri: lake.catalog.uri(), ..CatalogGrant::default() }],
        namespaces: vec!["sales".into()],
        ..grant("wh/")
    };
    let mut options = Options {
        tenant: Some(Arc::new(Tenant::new("acme", grant))),
        catalogs: Some(Arc::new(RestCatalogs::default())),
        ..Options::default()
    };
    options.connect.credentials =
        Some(SharedCredentialsProvider::new(Credentials::new(&lake.store.access_key, &lake.store.secret_key, None, None, "test")));
    let spec = json!({
        "bucket": BUCKET, "region": "us-east-1", "path": "wh/{{TABLE}}/data/{{UUID}}", "format": "parquet", "test_write": false,
        "table_format": "iceberg", "iceberg": {"uri": lake.catalog.uri(), "namespace": "sales"},
    });
    let session = Destination::new(runtime(), options).open(&spec.to_string(), "a-sync").await?;
    for round in 0..2_i64 {
        let mut write = session.write()?;
        write.migrate_table(ids("of_acme", 0..0).into()).await?;
        write.insert(ids("of_acme", 100 * round..100 * (round + 1)).into()).await?;
        let report = write.finish().await;
        assert_eq!(report.failures().count(), 0, "{report:?}");
        // Each write of a session has rows of its own, and is a commit of its own.
        assert!(report.tables[0].committed_before.is_none() && report.tables[0].catalog.is_some(), "{report:?}");
    }
    session.close().await;
    let found = lake.peer("of_acme", "history", &[]).await?;
    assert_eq!((&found["rows"], &found["ids"]), (&json!(200), &json!(200)), "{found}");
    assert_eq!(found["commits"], json!(["a-sync/write-2", "a-sync"]));
    Ok(())
}
