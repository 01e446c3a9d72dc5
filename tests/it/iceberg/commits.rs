//! Commits to tables of Apache's REST catalog, with MinIO below, read by pyiceberg, DuckDB and Spark.

use super::lake::{BUCKET, Lake, all_equal, arrow_file};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use lakegate_iceberg::{
    ColumnFacts, Commit, CommitError, DataFile, OnSchemaChange, Part, Placeholder, Table, TableName, TableRequest, TypeProfile,
};
use lakegate_tests::faults::{Fault, Operation, Proxy, Rule, When};
use parquet::arrow::ArrowWriter;
use parquet::basic::{LogicalType, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Value, json};

impl Lake {
    /// Puts a file of these rows, and describes it.
    async fn put(&self, table: &Table, name: &str, rows: &RecordBatch, partition: &[Option<&str>]) -> anyhow::Result<DataFile> {
        let schema = Arc::new(table.arrow_schema().clone());
        let rows = with_schema(rows, &schema)?;
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, None)?;
        writer.write(&rows)?;
        let metadata = writer.close()?;
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
            (DataType::Map(..), DataType::Map(entries, _)) => {
                vec![retyped(&(Arc::new(column.as_map().entries().clone()) as ArrayRef), entries.data_type())]
            }
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

/// Every type that Spark knows, too.
fn all_types(country: &str, day: i64, rows: std::ops::Range<i64>) -> RecordBatch {
    let count = rows.clone().count();
    let ids: Vec<i64> = rows.collect();
    let sparse = |id: &i64| (id % 5 != 0).then_some(*id);
    let micros = |id: &i64| day * 86_400_000_000 + id * 1_000_003;
    let item = Arc::new(Field::new("element", DataType::Utf8, true));
    let offsets = arrow_buffer::OffsetBuffer::<i32>::from_lengths(ids.iter().map(|id| usize::try_from(id % 3).expect("small")));
    let texts: Vec<Option<String>> = (0..offsets.last()).map(|at| (at % 4 != 3).then(|| format!("w{at}"))).collect();
    let list = ListArray::new(item, offsets, Arc::new(StringArray::from(texts)), None);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for id in &ids {
        for key in 0..id % 3 {
            map.keys().append_value(format!("k{key}"));
            map.values().append_option((key == 0).then_some(7));
        }
        map.append(id % 5 != 0).expect("as many keys as values");
    }
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
        ("bytes", Arc::new(BinaryArray::from_iter(ids.iter().map(|id| sparse(id).map(|id| id.to_be_bytes()))))),
        ("fixed", Arc::new(FixedSizeBinaryArray::try_from_iter(ids.iter().map(|id| id.to_be_bytes())).expect("eight each"))),
        ("tags", Arc::new(list)),
        ("map", Arc::new(map.finish())),
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

fn request(name: &str, columns: &Schema, partition: &[(&str, Part)]) -> TableRequest {
    TableRequest {
        name: TableName { namespace: vec!["sales".into()], name: name.into() },
        columns: columns.clone(),
        profile: TypeProfile::default(),
        partition: partition.iter().map(|(column, part)| Placeholder { column: (*column).to_owned(), part: *part }).collect(),
        create: true,
        on_schema_change: OnSchemaChange::AddColumns,
        within: format!("s3://{BUCKET}/warehouse"),
        location: None,
        commit_id: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the costs are what a reader of the log looks for")]
async fn rows_and_metrics_are_read_equal_by_pyiceberg_duckdb_and_spark() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("Iceberg tables", false).await else { return Ok(()) };
    let iceberg = lake.client(&lake.catalog.uri()).await;
    let batches = [all_types("DE", 19_000, 1..400), all_types("FR", 19_000, 400..700), all_types("DE", 19_001, 700..1_000)];
    let days = [("country", Part::Value), ("at", Part::Year), ("at", Part::Month), ("at", Part::Day)];
    let table = iceberg.open(request("orders", &batches[0].schema(), &days)).await?;
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
    assert_eq!(lake.readers("orders", &batches).await?, all_equal());
    let metrics = lake.peer("orders", "files", &[]).await?;
    assert_eq!(metrics["problems"], json!([]), "{metrics}");
    assert!(metrics["compared"].as_u64() >= Some(3 * 13), "{metrics}");

    // A filter of pyiceberg's, the same for Spark, how many files are read, and the rows that are found in them.
    let filters = [
        ("country == 'FR'", "country = 'FR'", 1, 300),
        ("at >= '2022-01-09T00:00:00+00:00'", "at >= TIMESTAMP '2022-01-09 00:00:00Z'", 1, 300),
        ("id < 300", "id < 300", 1, 299),
        ("country == 'XX'", "country = 'XX'", 0, 0),
        ("id > 0", "id > 0", 3, 999),
    ];
    let expected: Vec<Value> = filters.iter().map(|(_, _, files, rows)| json!({"files": files, "rows": rows})).collect();
    assert_eq!(lake.peer("orders", "scan", &filters.map(|(filter, ..)| filter)).await?, json!(expected));
    let job = json!({"job": "iceberg_scan", "filters": filters.map(|(_, filter, ..)| filter)});
    assert_eq!(lake.spark("orders", job)?, json!(expected));

    // Another process under an old id.
    let again = lake.client(&lake.catalog.uri()).await.open(request("orders", &batches[0].schema(), &days)).await?;
    let found = again.commit("first", &files[..2]).await?;
    assert!(found.already && found.attempts == 0, "{found:?}");
    Ok(())
}

/// Spark 3.5 has no type for them, and refuses the table.
#[tokio::test(flavor = "multi_thread")]
async fn times_of_day_are_read_equal_by_pyiceberg_and_duckdb() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("times of day in Iceberg tables", false).await else { return Ok(()) };
    let times = Time64MicrosecondArray::from(vec![Some(0), Some(1), None, Some(86_399_999_999)]);
    let columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))), ("time", Arc::new(times))];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?;
    let table = lake.client(&lake.catalog.uri()).await.open(request("times", &rows.schema(), &[])).await?;
    table.commit("one", &[lake.put(&table, "1", &rows, &[]).await?]).await?;
    let expected = arrow_file(&[rows]);
    let read = lake.peer("times", "read", &[&expected.path().display().to_string()]).await?;
    assert_eq!(read, json!({"pyiceberg": "equal", "duckdb": "equal"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_column_is_null_in_old_rows_and_an_incompatible_one_is_refused() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("Iceberg tables that change", false).await else { return Ok(()) };
    let iceberg = lake.client(&lake.catalog.uri()).await;
    let narrow = Arc::new(Schema::new(vec![column("id", DataType::Int64)]));
    let rows = RecordBatch::try_new(narrow.clone(), vec![Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef])?;
    let table = iceberg.open(request("changed", &narrow, &[])).await?;
    table.commit("one", &[lake.put(&table, "1", &rows, &[]).await?]).await?;

    let wide = Arc::new(Schema::new(vec![column("id", DataType::Int64), column("name", DataType::Utf8)]));
    let rows: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![3])), Arc::new(StringArray::from(vec!["c"]))];
    let rows = RecordBatch::try_new(wide.clone(), rows)?;
    let table = iceberg.open(request("changed", &wide, &[])).await?;
    table.commit("two", &[lake.put(&table, "2", &rows, &[]).await?]).await?;
    let all: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(StringArray::from(vec![None, None, Some("c")]))];
    assert_eq!(lake.readers("changed", &[RecordBatch::try_new(wide, all)?]).await?, all_equal());

    let other = Schema::new(vec![column("id", DataType::Utf8)]);
    let error = iceberg.open(request("changed", &other, &[])).await.expect_err("another type");
    assert_eq!(
        error.to_string(),
        "the table sales.changed cannot take the rows: column \"id\" is long in the table, and string in the rows"
    );
    Ok(())
}

const WRITERS: i64 = 8;
const COMMITS: i64 = 25;
const FOREIGN: i64 = 10;

/// Half of the answers to commits are lost, pyiceberg commits in between, and calls are given up at any moment and made again.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the costs are what a reader of the log looks for")]
async fn of_many_writers_every_commit_is_there_once() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("many writers of an Iceberg table", false).await else { return Ok(()) };
    let every_second = When::Every(NonZeroU64::new(2).expect("two"));
    let proxy = Proxy::start(&lake.catalog.uri(), [Rule::on(Operation::CommitTable, every_second, Fault::DropAnswer)]).await?;
    let columns = Schema::new(vec![column("id", DataType::Int64)]);
    lake.client(&lake.catalog.uri()).await.open(request("writers", &columns, &[])).await?;
    let (lake, begin) = (Arc::new(lake), Instant::now());
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (lake, uri, columns) = (lake.clone(), proxy.endpoint(), columns.clone());
        writers.push(tokio::spawn(async move {
            let table = lake.client(&uri).await.open(request("writers", &columns, &[])).await?;
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
                let table = lake.client(&uri).await.open(request("writers", &columns, &[])).await?;
                let done: Result<Commit, CommitError> = table.commit(&id.to_string(), &file).await;
                sent += done?.attempts;
            }
            anyhow::Ok(sent)
        }));
    }
    let appended = lake.peer("writers", "append", &[&FOREIGN.to_string()]).await?;
    assert_eq!(appended["appended"], FOREIGN);
    let mut sent = 0;
    for writer in writers {
        sent += writer.await??;
    }
    let ours = u64::try_from(WRITERS * COMMITS)?;
    println!("{ours} commits and {FOREIGN} foreign ones in {} s, {sent} sent, {} answers lost", begin.elapsed().as_secs(), proxy.faults());
    let history = lake.peer("writers", "history", &[]).await?;
    let all = ours + u64::try_from(FOREIGN)?;
    for name in ["snapshots", "ancestors", "rows", "ids"] {
        assert_eq!(history[name], all, "{name}: {history}");
    }
    let mut commits: HashMap<&str, u32> = HashMap::new();
    history["commits"].as_array().context("commits")?.iter().filter_map(Value::as_str).for_each(|id| *commits.entry(id).or_default() += 1);
    assert!(commits.len() as u64 == ours && commits.values().all(|count| *count == 1), "{commits:?}");
    assert!(proxy.faults() as u64 > ours / 4, "{} answers lost", proxy.faults());
    let ids = (-FOREIGN..0).chain((0..WRITERS).flat_map(|writer| (0..COMMITS).map(move |commit| writer * 1_000 + commit)));
    let rows: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids))];
    assert_eq!(lake.readers("writers", &[RecordBatch::try_new(Arc::new(columns), rows)?]).await?, all_equal());
    Ok(())
}

/// The catalog carries out a commit once that is sent twice, and says so; nothing is doubled either way.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_keeps_keys_gets_them() -> anyhow::Result<()> {
    let Some(lake) = Lake::start("an Iceberg catalog that keeps keys", true).await else { return Ok(()) };
    let proxy = Proxy::start(&lake.catalog.uri(), []).await?;
    let iceberg = lake.client(&proxy.endpoint()).await;
    assert!(iceberg.catalog().keeps_keys());
    let columns = Schema::new(vec![column("id", DataType::Int64)]);
    let table = iceberg.open(request("keys", &columns, &[])).await?;
    for (number, fault) in [Fault::DropAnswer, Fault::Reset, Fault::Answer(http::StatusCode::SERVICE_UNAVAILABLE)].into_iter().enumerate() {
        proxy.set_rules([Rule::on(Operation::CommitTable, When::First(2), fault)]);
        let ids = Int64Array::from(vec![i64::try_from(number)?]);
        let rows = RecordBatch::try_new(Arc::new(columns.clone()), vec![Arc::new(ids) as ArrayRef])?;
        let commit = table.commit(&format!("c{number}"), &[lake.put(&table, &number.to_string(), &rows, &[]).await?]).await?;
        assert!(!commit.already && commit.orphans.is_empty(), "{commit:?}");
    }
    let history = lake.peer("keys", "history", &[]).await?;
    assert_eq!((&history["snapshots"], &history["ids"], &history["commits"]), (&3.into(), &3.into(), &json!(["c2", "c1", "c0"])));
    Ok(())
}
