//! Commits to tables of Apache's REST catalog, with MinIO below, read by pyiceberg and DuckDB.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use lakegate_iceberg::{
    Auth, Catalog, CatalogOptions, ColumnFacts, Commit, CommitError, DataFile, Http, Iceberg, OnSchemaChange, Part, Placeholder, Retries,
    Table, TableName, TableRequest, TypeProfile,
};
use lakegate_tests::faults::{Fault, Operation, Proxy, Rule, When};
use lakegate_tests::iceberg::{RestCatalog, S3Objects};
use lakegate_tests::minio;
use lakegate_tests::python::Python;
use lakegate_tests::s3::Store;
use lakegate_tests::tiers::live;
use parquet::arrow::ArrowWriter;
use parquet::basic::{LogicalType, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use serde_json::Value;

const BUCKET: &str = "lake";
const SCRIPT: &str = include_str!("../peers/iceberg.py");

/// A catalog, a store and a reader.
struct Lake {
    store: Store,
    catalog: RestCatalog,
    python: Python,
}

async fn lake(what: &str, keeps_keys: bool) -> Option<Lake> {
    let python = live(what, Python::find())?;
    let store = live(what, minio::empty().await)?;
    store.ready().await.expect("MinIO answers");
    store.client().create_bucket().bucket(BUCKET).send().await.expect("the bucket");
    let catalog = live(what, RestCatalog::start(&store, BUCKET, keeps_keys).await)?;
    Some(Lake { store, catalog, python })
}

impl Lake {
    /// A client of its own, as every process has one.
    async fn client(&self, uri: &str) -> Iceberg {
        let transport = Arc::new(Http::new(Duration::from_secs(60)).expect("TLS"));
        let options = CatalogOptions { uri: uri.to_owned(), warehouse: None, auth: Auth::None, transport };
        let retries =
            Retries { commits: 400, backoff: Duration::from_millis(20), max_backoff: Duration::from_secs(1), ..Retries::default() };
        Iceberg::new(Catalog::connect(options).await.expect("a configuration"), Arc::new(S3Objects(self.store.client())), retries)
    }

    async fn peer(&self, command: &str, more: &[&str]) -> anyhow::Result<Value> {
        let (catalog, store) = (self.catalog.uri(), format!("{},{},{}", self.store.endpoint, self.store.access_key, self.store.secret_key));
        let arguments = [&[command, &catalog, &store, "sales.orders"], more].concat();
        let printed = self.python.run(SCRIPT, arguments).await?;
        serde_json::from_str(&printed).with_context(|| printed)
    }

    /// Puts a file of these rows, and describes it.
    async fn put(&self, table: &Table, name: &str, rows: &RecordBatch, partition: &[Option<&str>]) -> anyhow::Result<DataFile> {
        let schema = Arc::new(table.arrow_schema().clone());
        let rows = with_schema(rows, &schema)?;
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None)?;
        writer.write(&rows)?;
        let metadata = writer.finish()?;
        let bytes = writer.into_inner()?;
        let location = format!("{}/data/{name}.parquet", table.location());
        let key = location.strip_prefix(&format!("s3://{BUCKET}/")).context("in the bucket")?;
        let length = bytes.len() as u64;
        self.store.client().put_object().bucket(BUCKET).key(key).body(bytes.into()).send().await?;
        Ok(DataFile {
            location,
            bytes: length,
            rows: rows.num_rows() as u64,
            columns: facts(&metadata, &rows),
            partition: partition.iter().map(|text| text.map(str::to_owned)).collect(),
            split_offsets: metadata.row_groups().iter().filter_map(|group| u64::try_from(group.file_offset()?).ok()).collect(),
        })
    }
}

/// The same columns under a schema whose fields have ids.
fn with_schema(rows: &RecordBatch, schema: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| {
        let data = column.to_data().into_builder().data_type(field.data_type().clone());
        // Only the metadata of nested fields differs.
        let children = match (column.data_type(), field.data_type()) {
            (DataType::List(_), DataType::List(item)) => vec![retyped(&column.as_list::<i32>().values().clone(), item.data_type())],
            (DataType::Struct(_), DataType::Struct(fields)) => {
                column.as_struct().columns().iter().zip(fields).map(|(child, field)| retyped(child, field.data_type())).collect()
            }
            _ => column.to_data().child_data().to_vec(),
        };
        Ok(arrow_array::make_array(data.child_data(children).build()?))
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect::<anyhow::Result<Vec<ArrayRef>>>()?)?)
}

fn retyped(column: &ArrayRef, data_type: &DataType) -> arrow_data::ArrayData {
    column.to_data().into_builder().data_type(data_type.clone()).build().expect("the same type, but for metadata")
}

/// What the footer says, in Iceberg's forms.
fn facts(metadata: &ParquetMetaData, rows: &RecordBatch) -> Vec<ColumnFacts> {
    let leaf = |at: usize| {
        let mut facts = ColumnFacts::default();
        for group in metadata.row_groups() {
            let chunk = group.column(at);
            facts.path = chunk.column_path().string();
            facts.values += u64::try_from(chunk.num_values()).unwrap_or_default();
            *facts.encoded_bytes.get_or_insert_default() += u64::try_from(chunk.compressed_size()).unwrap_or_default();
            let Some(statistics) = chunk.statistics() else { continue };
            facts.nulls += statistics.null_count_opt().unwrap_or_default();
            let logical = chunk.column_descr().logical_type_ref();
            let as_it_is = !matches!(logical, Some(LogicalType::Decimal { .. })) && chunk.column_type() != Physical::INT96;
            // One row group a file, so there is nothing to merge.
            if as_it_is && metadata.num_row_groups() == 1 {
                let short = |bytes: Option<&[u8]>| bytes.filter(|bytes| bytes.len() <= 64).map(<[u8]>::to_vec);
                (facts.lower, facts.upper) = (short(statistics.min_bytes_opt()), short(statistics.max_bytes_opt()));
            }
        }
        if let Some(floats) = rows.column_by_name(&facts.path).and_then(|column| column.as_primitive_opt::<Float64Type>()) {
            facts.nans = Some(floats.iter().flatten().filter(|it| it.is_nan()).count() as u64);
        }
        facts
    };
    let leaves = metadata.row_groups().first().map_or(0, |group| group.num_columns());
    (0..leaves).map(leaf).collect()
}

fn column(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// Every type that this library writes without a conversion by the encoder.
fn all_types(country: &str, day: i64, rows: std::ops::Range<i64>) -> RecordBatch {
    let count = rows.clone().count();
    let ids: Vec<i64> = rows.collect();
    let sparse = |id: &i64| (id % 5 != 0).then_some(*id);
    let micros = |id: &i64| day * 86_400_000_000 + id * 1_000_003;
    let item = Arc::new(Field::new("element", DataType::Utf8, true));
    let offsets = arrow_buffer::OffsetBuffer::from_lengths(ids.iter().map(|id| usize::try_from(id % 3).expect("small")));
    let words: Vec<Option<String>> = (0..*offsets.last().expect("one")).map(|at| (at % 4 != 3).then(|| format!("w{at}"))).collect();
    let list = ListArray::new(item, offsets, Arc::new(StringArray::from(words)), None);
    let fields = Fields::from(vec![column("x", DataType::Int32), column("y", DataType::Utf8)]);
    let x: ArrayRef = Arc::new(Int32Array::from_iter(ids.iter().map(|id| sparse(id).map(|id| i32::try_from(id).expect("small")))));
    let y: ArrayRef = Arc::new(StringArray::from_iter(ids.iter().map(|id| Some(format!("y{id}")))));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("country", Arc::new(StringArray::from(vec![country; count]))),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(micros)).with_timezone("UTC"))),
        ("local", Arc::new(TimestampMicrosecondArray::from_iter(ids.iter().map(|id| sparse(id).map(|id| micros(&id)))))),
        ("flag", Arc::new(BooleanArray::from_iter(ids.iter().map(|id| sparse(id).map(|id| id % 2 == 0))))),
        ("small", Arc::new(Int32Array::from_iter(ids.iter().map(|id| sparse(id).map(|id| -i32::try_from(id).expect("small")))))),
        ("f", Arc::new(Float32Array::from_iter_values(ids.iter().map(|id| *id as f32 / 3.0)))),
        (
            "d",
            Arc::new(Float64Array::from_iter(
                ids.iter().map(|id| if id % 7 == 0 { Some(f64::NAN) } else { sparse(id).map(|id| id as f64 / 7.0) }),
            )),
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from_iter(ids.iter().map(|id| sparse(id).map(|id| i128::from(id) * 100 - 5_000)))
                    .with_precision_and_scale(20, 2)
                    .expect("fits"),
            ),
        ),
        ("day", Arc::new(Date32Array::from_iter_values(ids.iter().map(|id| i32::try_from(day + id % 3).expect("small"))))),
        ("time", Arc::new(Time64MicrosecondArray::from_iter(ids.iter().map(|id| sparse(id).map(|id| id * 1_234_567))))),
        ("bytes", Arc::new(BinaryArray::from_iter(ids.iter().map(|id| sparse(id).map(|id| id.to_be_bytes()))))),
        ("fixed", Arc::new(FixedSizeBinaryArray::try_from_iter(ids.iter().map(|id| id.to_be_bytes())).expect("eight each"))),
        ("tags", Arc::new(list)),
        ("s", Arc::new(StructArray::new(fields, vec![x, y], None))),
        (
            "long",
            Arc::new(StringArray::from_iter(
                ids.iter().map(|id| sparse(id).map(|id| "é".repeat(usize::try_from(id).expect("small") % 90))),
            )),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).expect("columns of one length")
}

fn request(columns: &Schema, partition: &[(&str, Part)]) -> TableRequest {
    TableRequest {
        name: TableName { namespace: vec!["sales".into()], name: "orders".into() },
        columns: columns.clone(),
        profile: TypeProfile::default(),
        partition: partition.iter().map(|(column, part)| Placeholder { column: (*column).to_owned(), part: *part }).collect(),
        create: true,
        on_schema_change: OnSchemaChange::AddColumns,
        within: format!("s3://{BUCKET}/warehouse"),
        location: None,
    }
}

fn arrow_file(batches: &[RecordBatch]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut writer = StreamWriter::try_new(&file, &batches[0].schema()).expect("a writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.finish().expect("written");
    drop(writer);
    file
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the costs are what a reader of the log looks for")]
async fn rows_and_metrics_are_read_equal_by_pyiceberg_and_duckdb() -> anyhow::Result<()> {
    let Some(lake) = lake("Iceberg tables", false).await else { return Ok(()) };
    let iceberg = lake.client(&lake.catalog.uri()).await;
    let batches = [all_types("DE", 19_000, 1..400), all_types("FR", 19_000, 400..700), all_types("DE", 19_001, 700..1_000)];
    let days = [("country", Part::Value), ("at", Part::Year), ("at", Part::Month), ("at", Part::Day)];
    let table = iceberg.open(request(&batches[0].schema(), &days)).await?;
    // The ids are those of the catalog, which gives them in the order in which we would.
    let own = lakegate_iceberg::table_fields(&batches[0].schema(), TypeProfile::default())?;
    assert_eq!(table.columns(), own);
    let partitions = [[Some("DE"), Some("2022-01-08")], [Some("FR"), Some("2022-01-08")], [Some("DE"), Some("2022-01-09")]];
    let mut files = Vec::new();
    for (number, (batch, partition)) in batches.iter().zip(partitions).enumerate() {
        files.push(lake.put(&table, &number.to_string(), batch, &partition).await?);
    }
    for (id, files) in [("first", &files[..2]), ("second", &files[2..])] {
        let (before, begin) = (iceberg.catalog().requests(), Instant::now());
        let commit = table.commit(id, files).await?;
        println!("commit {id}: {} requests to the catalog, {} ms", iceberg.catalog().requests() - before, begin.elapsed().as_millis());
        assert!(!commit.already && commit.attempts == 1 && commit.orphans.is_empty(), "{commit:?}");
    }
    let expected = arrow_file(&batches);
    let read = lake.peer("read", &[&expected.path().display().to_string()]).await?;
    assert_eq!(read, serde_json::json!({"pyiceberg": "equal", "duckdb": "equal"}));
    let metrics = lake.peer("files", &[]).await?;
    assert_eq!(metrics["problems"], serde_json::json!([]), "{metrics}");
    assert!(metrics["compared"].as_u64() >= Some(3 * 14), "{metrics}");
    for (filter, files) in [("country == 'FR'", 1), ("at >= '2022-01-09T00:00:00+00:00'", 1), ("id < 300", 1), ("country == 'XX'", 0)] {
        assert_eq!(lake.peer("scan", &[filter]).await?, serde_json::json!({"files": files, "of": 3}), "{filter}");
    }
    // Another process under an old id.
    let again = lake.client(&lake.catalog.uri()).await.open(request(&batches[0].schema(), &days)).await?;
    let found = again.commit("first", &files[..2]).await?;
    assert!(found.already && found.attempts == 0, "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_column_is_null_in_old_rows_and_an_incompatible_one_is_refused() -> anyhow::Result<()> {
    let Some(lake) = lake("Iceberg tables that change", false).await else { return Ok(()) };
    let iceberg = lake.client(&lake.catalog.uri()).await;
    let narrow = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)])?;
    let narrow = RecordBatch::try_new(Arc::new(Schema::new(vec![column("id", DataType::Int64)])), narrow.columns().to_vec())?;
    let table = iceberg.open(request(&narrow.schema(), &[])).await?;
    table.commit("one", &[lake.put(&table, "1", &narrow, &[]).await?]).await?;

    let wide = Arc::new(Schema::new(vec![column("id", DataType::Int64), column("name", DataType::Utf8)]));
    let rows: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![3])), Arc::new(StringArray::from(vec!["c"]))];
    let rows = RecordBatch::try_new(wide.clone(), rows)?;
    let table = iceberg.open(request(&wide, &[])).await?;
    table.commit("two", &[lake.put(&table, "2", &rows, &[]).await?]).await?;
    let all: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(StringArray::from(vec![None, None, Some("c")]))];
    let expected = arrow_file(&[RecordBatch::try_new(wide, all)?]);
    let read = lake.peer("read", &[&expected.path().display().to_string()]).await?;
    assert_eq!(read, serde_json::json!({"pyiceberg": "equal", "duckdb": "equal"}));

    let other = Schema::new(vec![column("id", DataType::Utf8)]);
    let error = iceberg.open(request(&other, &[])).await.expect_err("another type");
    assert_eq!(
        error.to_string(),
        "the table sales.orders cannot take the rows: column \"id\" is long in the table, and string in the rows"
    );
    Ok(())
}

const WRITERS: i64 = 8;
const COMMITS: i64 = 25;
const FOREIGN: &str = "10";

/// Half of the answers to commits are lost, pyiceberg commits in between, and calls are given up at any moment and made again.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the costs are what a reader of the log looks for")]
async fn of_many_writers_every_commit_is_there_once() -> anyhow::Result<()> {
    let Some(lake) = lake("many writers of an Iceberg table", false).await else { return Ok(()) };
    let every_second = When::Every(NonZeroU64::new(2).expect("two"));
    let proxy = Proxy::start(&lake.catalog.uri(), [Rule::on(Operation::CommitTable, every_second, Fault::DropAnswer)]).await?;
    let columns = Schema::new(vec![column("id", DataType::Int64)]);
    lake.client(&lake.catalog.uri()).await.open(request(&columns, &[])).await?;
    let (lake, begin) = (Arc::new(lake), Instant::now());
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (lake, uri, columns) = (lake.clone(), proxy.endpoint(), columns.clone());
        writers.push(tokio::spawn(async move {
            let table = lake.client(&uri).await.open(request(&columns, &[])).await?;
            let mut sent = 0;
            for commit in 0..COMMITS {
                let id = writer * 1_000 + commit;
                let rows = RecordBatch::try_new(Arc::new(columns.clone()), vec![Arc::new(Int64Array::from(vec![id])) as ArrayRef])?;
                let file = [lake.put(&table, &id.to_string(), &rows, &[]).await?];
                // Every third is given up at some moment, as if its process had died; another begins again.
                if commit % 3 == 0 {
                    let moment = Duration::from_millis(u64::try_from(7 * (writer + commit) % 90)?);
                    let _ = tokio::time::timeout(moment, table.commit(&id.to_string(), &file)).await;
                }
                let table = lake.client(&uri).await.open(request(&columns, &[])).await?;
                let done: Result<Commit, CommitError> = table.commit(&id.to_string(), &file).await;
                sent += done?.attempts;
            }
            anyhow::Ok(sent)
        }));
    }
    let foreign = lake.peer("append", &[FOREIGN]).await?;
    let mut sent = 0;
    for writer in writers {
        sent += writer.await??;
    }
    let (ours, foreign) = (u64::try_from(WRITERS * COMMITS)?, foreign["appended"].as_u64().unwrap_or_default());
    println!("{ours} commits and {foreign} foreign ones in {} s, {sent} sent, {} answers lost", begin.elapsed().as_secs(), proxy.faults());
    let history = lake.peer("history", &[]).await?;
    let all = ours + foreign;
    for name in ["snapshots", "ancestors", "rows", "ids"] {
        assert_eq!(history[name], all, "{name}: {history}");
    }
    let mut commits: HashMap<&str, u32> = HashMap::new();
    history["commits"].as_array().context("commits")?.iter().filter_map(Value::as_str).for_each(|id| *commits.entry(id).or_default() += 1);
    assert!(commits.len() as u64 == ours && commits.values().all(|count| *count == 1), "{commits:?}");
    assert!(proxy.faults() as u64 > ours / 4, "{} answers lost", proxy.faults());
    Ok(())
}

/// The catalog carries out a commit once that is sent twice, and says so; nothing is doubled either way.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_keeps_keys_gets_them() -> anyhow::Result<()> {
    let Some(lake) = lake("an Iceberg catalog that keeps keys", true).await else { return Ok(()) };
    let proxy = Proxy::start(&lake.catalog.uri(), []).await?;
    let iceberg = lake.client(&proxy.endpoint()).await;
    assert!(iceberg.catalog().keeps_keys());
    let columns = Schema::new(vec![column("id", DataType::Int64)]);
    let table = iceberg.open(request(&columns, &[])).await?;
    for (number, fault) in [Fault::DropAnswer, Fault::Reset, Fault::Answer(http::StatusCode::SERVICE_UNAVAILABLE)].into_iter().enumerate() {
        proxy.set_rules([Rule::on(Operation::CommitTable, When::First(2), fault)]);
        let ids = Int64Array::from(vec![i64::try_from(number)?]);
        let rows = RecordBatch::try_new(Arc::new(columns.clone()), vec![Arc::new(ids) as ArrayRef])?;
        let commit = table.commit(&format!("c{number}"), &[lake.put(&table, &number.to_string(), &rows, &[]).await?]).await?;
        assert!(!commit.already && commit.orphans.is_empty(), "{commit:?}");
    }
    let history = lake.peer("history", &[]).await?;
    assert_eq!(
        (&history["snapshots"], &history["ids"], &history["commits"]),
        (&3.into(), &3.into(), &serde_json::json!(["c2", "c1", "c0"]))
    );
    Ok(())
}
