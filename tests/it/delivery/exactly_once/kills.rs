//! Loads that are killed at any moment, repeated to their end, and read back.

use super::{dir_of, line, objects, objects_of, start};
use crate::fixtures::proxied_store::{BUCKET, PLUGIN};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use lakegate_local_store::LocalStore;
use lakegate_tests::generate::Dice;
use lakegate_tests::s3::Store;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::{minio, tiers};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is written: format and further options.
const FORMATS: [(&str, &str); 4] = [("csv", ""), ("json", ""), ("csv", " --compression gzip"), ("parquet", "")];

const LANES: [usize; 2] = [1, 4];

/// The name under which a load to MinIO is not interrupted, to learn how long one takes there.
const UNINTERRUPTED: &str = "c-0";

/// What is killed, how often, and what it loads.
struct Form {
    program: &'static str,
    kills: usize,
    /// The lanes of the loads to MinIO.
    lanes_minio: &'static [usize],
    files: usize,
    rows: usize,
    batch: usize,
}

impl Form {
    /// The long form has the number of kills that this variable asks for.
    const VARIABLE: &str = "LAKEGATE_KILLS";

    /// A program to take in place of the one that was built with the tests.
    const PROGRAM: &str = "LAKEGATE_KILLS_PROGRAM";

    const SHORT: Self = Self { program: PLUGIN, kills: 4, lanes_minio: &[4], files: 30, rows: 2_000, batch: 1_500 };

    fn asked() -> Self {
        let Ok(kills) = std::env::var(Self::VARIABLE) else { return Self::SHORT };
        let kills = kills.parse().expect("a number of kills");
        let program = std::env::var(Self::PROGRAM).map_or(PLUGIN, |program| program.leak());
        Self { program, kills, lanes_minio: &LANES, files: 200, rows: 300, batch: 200 }
    }
}

/// A store with nothing in it.
enum Empty {
    /// The embedded one, in a folder of this name.
    Embedded(String),
    Minio(Store),
}

impl Empty {
    async fn minio() -> Option<Self> {
        let store = tiers::live("loads that are killed at MinIO", minio::empty().await)?;
        store.client().create_bucket().bucket(BUCKET).send().await.expect("a bucket");
        Some(Self::Minio(store))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "the embedded store",
            Self::Minio(_) => "MinIO",
        }
    }

    /// The options that reach it.
    fn options(&self) -> String {
        match self {
            Self::Embedded(folder) => format!("--local {folder}"),
            Self::Minio(store) => format!("--endpoint {} --path-style", store.endpoint),
        }
    }

    /// The digest of every object but those of the uninterrupted load, by key.
    async fn objects(&self, dir: &TestDir) -> BTreeMap<String, String> {
        let mut found = match self {
            Self::Embedded(folder) => objects(&dir.path().join(folder)),
            Self::Minio(store) => objects_of(store).await,
        };
        found.retain(|key, _| !key.contains(UNINTERRUPTED));
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "figures")]
async fn a_load_that_is_killed_and_repeated_leaves_what_one_that_was_not_leaves() {
    let form = Form::asked();
    let dir = dir_of(form.program, form.files, form.rows);
    let source = rows_of_source(dir.path());
    assert_eq!(source.len(), form.files * form.rows);
    let mut dice = Dice::new(7);
    let mut killed: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let began = Instant::now();
    for (number, (format, options)) in FORMATS.into_iter().enumerate() {
        for lanes in LANES {
            let load = |store: &str| line(format, options, lanes, store).replace("-size 1500", &format!("-size {}", form.batch));
            let whole = format!("whole-{number}-{lanes}");
            let took_embedded = uninterrupted(&dir, &load(&format!("--local {whole}"))).await;
            let folder = dir.path().join(&whole);
            assert!(rows_of_objects(&folder, format) == source, "{format}{options} with {lanes} lanes: rows differ from the source's");
            let whole = objects(&folder);
            assert!(whole.len() > form.files * 5 / 2, "{} objects", whole.len());

            let embedded = Empty::Embedded(format!("broken-{number}-{lanes}"));
            let minio = if form.lanes_minio.contains(&lanes) { Empty::minio().await } else { None };
            for store in [Some(embedded), minio].into_iter().flatten() {
                let again = load(&store.options());
                let took = match store {
                    Empty::Embedded(_) => took_embedded,
                    Empty::Minio(_) => uninterrupted(&dir, &again.replace("c-1", UNINTERRUPTED)).await,
                };
                let mut before_end = 0;
                for _ in 0..form.kills {
                    let delay = took.mul_f64(dice.roll(1_000) as f64 / 1_000.0);
                    before_end += usize::from(kill_after(&dir, &again, delay).await);
                }
                dir.run_async(&again).await.ended(0, &[]);
                assert_eq!(store.objects(&dir).await, whole, "{format}{options} with {lanes} lanes at {}", store.name());
                println!("{format}{options}, {lanes} lanes, {}: {before_end} of {} killed before the end", store.name(), form.kills);
                let [loads, combinations] = killed.entry(store.name()).or_default();
                *loads += before_end;
                *combinations += 1;
            }
        }
    }
    for (store, [loads, combinations]) in &killed {
        println!("{store}: {loads} loads of {} files killed in {combinations} combinations, each repeated to its end", form.files);
        assert!(*loads > 0, "{store}: no load was killed before its end");
    }
    println!("in {} s", began.elapsed().as_secs());
}

/// Runs a load to its end, and says how long it took.
async fn uninterrupted(dir: &TestDir, line: &str) -> Duration {
    let began = Instant::now();
    dir.run_async(line).await.ended(0, &[]);
    began.elapsed()
}

/// Runs a load, and kills it after a while, if it has not ended.
async fn kill_after(dir: &TestDir, line: &str, delay: Duration) -> bool {
    let mut load = start(dir.command(line));
    tokio::time::sleep(delay).await;
    let ended = load.try_wait().expect("a process").is_some();
    load.kill().expect("it can be killed");
    load.wait().expect("it ends");
    !ended
}

/// A row: its table, id, name, and amount in cents (what a format writes for 1.50 is its own affair).
type Row = (String, i64, String, i64);

fn rows_of_source(folder: &Path) -> Vec<Row> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    let csv = files.filter(|path| path.extension().is_some_and(|ending| ending == "csv"));
    let table = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    sorted(csv.flat_map(|path| rows_of(&table(&path), "csv", std::fs::read(&path).expect("a file"))))
}

/// The rows in the objects of the embedded store of a folder.
fn rows_of_objects(folder: &Path, format: &str) -> Vec<Row> {
    let store = LocalStore::open(folder).expect("a store");
    let records = store.records(BUCKET, "raw/").expect("it can be read");
    let keys = records.into_iter().map(|record| record.key).filter(|key| !key.contains("/_"));
    sorted(keys.flat_map(|key| {
        let mut bytes = std::fs::read(store.object_path(BUCKET, &key)).expect("an object");
        if key.ends_with(".gz") {
            let packed = std::mem::take(&mut bytes);
            MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).expect("gzip");
        }
        rows_of(key.split('/').nth(1).expect("a table"), format, bytes)
    }))
}

fn sorted(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_unstable();
    rows
}

/// The rows of an object, as arrow's readers find them.
fn rows_of(table: &str, format: &str, bytes: Vec<u8>) -> Vec<Row> {
    let texts = Arc::new(Schema::new(["id", "name", "amount"].map(|name| Field::new(name, DataType::Utf8, true)).to_vec()));
    let batches: Result<Vec<RecordBatch>, _> = match format {
        "parquet" => ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).and_then(|file| file.build()).expect("Parquet").collect(),
        "csv" => arrow_csv::ReaderBuilder::new(texts).with_header(true).build(Cursor::new(bytes)).expect("CSV").collect(),
        _ => arrow_json::ReaderBuilder::new(texts).with_coerce_primitive(true).build(Cursor::new(bytes)).expect("JSON").collect(),
    };
    batches.expect("rows").iter().flat_map(|batch| rows_of_batch(table, batch)).collect()
}

fn rows_of_batch(table: &str, batch: &RecordBatch) -> Vec<Row> {
    let [ids, names, amounts] = ["id", "name", "amount"].map(|name| {
        let column = batch.column_by_name(name).expect("the column");
        arrow_cast::cast(column, &DataType::Utf8).expect("text")
    });
    let [ids, names, amounts] = [&ids, &names, &amounts].map(|texts| texts.as_string::<i32>());
    let row = |at: usize| {
        let cents = (amounts.value(at).parse::<f64>().expect("an amount") * 100.0).round();
        (table.to_owned(), ids.value(at).parse().expect("an id"), names.value(at).to_owned(), cents as i64)
    };
    (0..batch.num_rows()).map(row).collect()
}
