//! Objects read back by independent programs: lineitem in every format, and the golden cases as Parquet.
//!
//! Lineitem is written through a session of the component into the embedded store; arrow's own readers, pyarrow, duckdb and polars then check its
//! rows and sums.

use crate::fixtures::proxied_store::PLUGIN;
use crate::fixtures::support::{runtime, test_store};
use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int64Type};
use arrow_schema::{ArrowError, SchemaRef};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use flate2::read::MultiGzDecoder;
use lakegate::Destination;
use lakegate_local_store::LocalStore;
use lakegate_tests::python::Python;
use lakegate_tests::s3::Store;
use lakegate_tests::{corpus, golden_folder, minio, tiers, tpch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

const SCALE: f64 = 0.1;

const BUCKET: &str = "readback";

/// Rows of lineitem at [`SCALE`] according to TPC-H.
const ROWS: u64 = 600_572;

/// Format, compression, and file name.
const FORMATS: [(&str, &str, &str); 5] = [
    ("csv", "", "lineitem.csv"),
    ("json", "", "lineitem.json"),
    ("csv", "gzip", "lineitem.csv.gz"),
    ("json", "gzip", "lineitem.json.gz"),
    ("parquet", "", "lineitem.parquet"),
];

/// Programs that read, and the Parquet files of the golden cases they read.
const READERS: usize = 3;
const GOLDEN_FILES: usize = 14;

const SCRIPT: &str = include_str!("../../peers/readback.py");

/// The figures of lineitem that every reader has to find.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct Sums {
    rows: u64,
    orderkey: i128,
    quantity_cents: i128,
    price_cents: i128,
    comment_bytes: u64,
    /// Dates as numbers, 1998-09-02 as 19980902.
    shipdate_digits: i128,
}

impl Sums {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column {name}"));
        let cents = |name: &str| -> Result<i128> { Ok(column(name)?.as_primitive::<Decimal128Type>().iter().flatten().sum()) };
        self.rows += batch.num_rows() as u64;
        self.orderkey += column("l_orderkey")?.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum::<i128>();
        self.quantity_cents += cents("l_quantity")?;
        self.price_cents += cents("l_extendedprice")?;
        self.comment_bytes += column("l_comment")?.as_string::<i32>().iter().flatten().map(|text| text.len() as u64).sum::<u64>();
        for day in column("l_shipdate")?.as_primitive::<Date32Type>().iter().flatten() {
            let day = Date32Type::to_naive_date_opt(day).context("a date")?;
            self.shipdate_digits += day.format("%Y%m%d").to_string().parse::<i128>()?;
        }
        Ok(())
    }

    fn of_batches(batches: impl IntoIterator<Item = Result<RecordBatch, ArrowError>>) -> Result<Self> {
        let mut sums = Self::default();
        for batch in batches {
            sums.add(&batch?)?;
        }
        Ok(sums)
    }
}

/// Writes lineitem in every format to the embedded store, or to a live one, and each object into a file of the folder.
async fn write_lineitem(folder: &Path, live: Option<&Store>) -> Result<()> {
    for (format, compression, file) in FORMATS {
        let test_store = test_store(BUCKET);
        let mut options = test_store.options();
        let mut spec = json!({
            "bucket": BUCKET, "region": "us-east-1", "path": format!("{{{{TABLE}}}}/{file}"), "no_rotate": true, "test_write": false,
            "format": format, "compression": compression,
        });
        if let Some(store) = live {
            options.connect.in_process = None;
            let keys = Credentials::new(&store.access_key, &store.secret_key, None, None, "test");
            options.connect.credentials = Some(SharedCredentialsProvider::new(keys));
            spec["endpoint"] = store.endpoint.as_str().into();
            spec["use_path_style"] = true.into();
        }
        let session = Destination::new(runtime(), options).open(&spec.to_string(), "sync").await?;
        let mut write = session.write()?;
        for message in tpch::lineitem_ipc(SCALE) {
            write.insert(message?.into()).await?;
        }
        let report = write.finish().await;
        session.close().await;
        ensure!(report.failures().count() == 0, "{file}: {:?}", report.failures().next());
        let key = format!("lineitem/{file}");
        let body = match live {
            Some(store) => store.client().get_object().bucket(BUCKET).key(&key).send().await?.body.collect().await?.to_vec(),
            None => test_store.body(&key),
        };
        std::fs::write(folder.join(file), body)?;
    }
    Ok(())
}

/// Reads a file with arrow's readers.
fn read(path: &Path, schema: &SchemaRef) -> Result<Sums> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = std::fs::File::open(path)?;
    if name.ends_with(".parquet") {
        return Sums::of_batches(ParquetRecordBatchReaderBuilder::try_new(file)?.build()?);
    }
    let text: Box<dyn Read> = if name.ends_with(".gz") { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    if name.contains(".csv") {
        Sums::of_batches(arrow_csv::ReaderBuilder::new(schema.clone()).with_header(true).build(text)?)
    } else {
        Sums::of_batches(arrow_json::ReaderBuilder::new(schema.clone()).build(BufReader::new(text))?)
    }
}

/// Checks that every reader finds all rows and sums in all files of the folder.
async fn check_lineitem(folder: &Path, what: &str) -> Result<()> {
    let first = tpch::lineitem(SCALE).next().context("a batch")??;
    let expected = Sums::of_batches(tpch::lineitem(SCALE))?;
    assert_eq!(expected.rows, ROWS);
    for (_, _, file) in FORMATS {
        let found = read(&folder.join(file), &first.schema()).with_context(|| file.to_owned())?;
        assert_eq!(found, expected, "{file}, read by arrow");
    }
    corpus(&format!("lineitem from {what} read back by arrow"), FORMATS.len(), 5);

    let Some(python) = tiers::live("lineitem read back by pyarrow, duckdb and polars", Python::find()) else { return Ok(()) };
    let printed = python.run(SCRIPT, ["lineitem".as_ref(), folder.as_os_str()]).await?;
    let mut combinations = 0;
    for line in printed.lines() {
        let found: Value = serde_json::from_str(line)?;
        assert_eq!(serde_json::from_value::<Sums>(found.clone())?, expected, "{found}");
        combinations += 1;
    }
    corpus(&format!("lineitem from {what} read back by pyarrow, duckdb and polars"), combinations, READERS * FORMATS.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lineitem_reads_back_whoever_reads_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    write_lineitem(folder.path(), None).await?;
    check_lineitem(folder.path(), "the embedded store").await
}

/// Loads lineitem from a Parquet file with the `load` command.
async fn load_lineitem(folder: &Path) -> Result<()> {
    let mut batches = tpch::lineitem(SCALE).peekable();
    let Some(Ok(first)) = batches.peek() else { anyhow::bail!("no batch") };
    // The folder itself is for the files that are read back.
    let place = tempfile::tempdir()?;
    let mut writer = ArrowWriter::try_new(std::fs::File::create(place.path().join("lineitem.parquet"))?, first.schema(), None)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    for (format, compression, file) in FORMATS {
        let line = format!(
            "load lineitem.parquet --to s3://{BUCKET}/{{{{TABLE}}}}/{file} --format {format} --local store --quiet --json{}",
            if compression.is_empty() { String::new() } else { format!(" --compression {compression}") }
        );
        let output = Command::new(PLUGIN).args(line.split(' ')).current_dir(place.path()).stdin(Stdio::null()).output().await?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && text.is_empty(), "{file}: {:?} {text}", output.status.code());
        let summary: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!((&summary["ok"], &summary["rows"], &summary["objects"]), (&true.into(), &ROWS.into(), &1.into()), "{summary}");
        let store = LocalStore::open(&place.path().join("store"))?;
        std::fs::copy(store.object_path(BUCKET, &format!("lineitem/{file}")), folder.join(file))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lineitem_loaded_by_the_command_reads_back_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    load_lineitem(folder.path()).await?;
    check_lineitem(folder.path(), "lakegate load").await
}

#[tokio::test(flavor = "multi_thread")]
async fn lineitem_in_a_live_store_reads_back_too() -> Result<()> {
    let Some(store) = tiers::live("lineitem in MinIO", minio::start().await) else { return Ok(()) };
    store.client().create_bucket().bucket(BUCKET).send().await?;
    let folder = tempfile::tempdir()?;
    write_lineitem(folder.path(), Some(&store)).await?;
    check_lineitem(folder.path(), "MinIO").await
}

/// One Parquet output of a golden case.
#[derive(Debug, Deserialize)]
struct Output {
    file: String,
    spec: serde_json::Map<String, Value>,
    error: Option<String>,
}

/// The result of reading a golden file.
#[derive(Debug, Deserialize)]
struct Finding {
    reader: String,
    file: String,
    compared: usize,
    problem: Option<String>,
}

/// Known limitations of readers, also with files of the reference: polars does not support decimals of more than 38 digits.
fn is_known(finding: &Finding) -> bool {
    let too_wide = |problem: &String| problem.contains("can't decode Decimal128 type from Fixed Size Byte Array of len 21");
    finding.reader == "polars" && finding.problem.as_ref().is_some_and(too_wide)
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_parquet_reads_back_whoever_reads_it() -> Result<()> {
    let Some(python) = tiers::live("golden Parquet read back", Python::find()) else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let mut files = 0;
    for case in std::fs::read_dir(golden_folder().join("cases"))? {
        let case = case?.path();
        let outputs: Vec<Output> = serde_json::from_slice(&std::fs::read(case.join("case.json"))?)?;
        for output in outputs.iter().filter(|output| output.file.ends_with("parquet") && output.error.is_none()) {
            let input = std::fs::read(case.join("input.arrows"))?;
            let name = format!("{}-{}", case.file_name().unwrap_or_default().display(), output.file.trim_end_matches(".parquet"));
            let body =
                crate::formats::golden::natively(&crate::formats::golden::spec_of(&output.spec), &input)?.map_err(anyhow::Error::msg)?;
            // A table without rows has no object.
            if !body.is_empty() {
                std::fs::write(folder.path().join(format!("{name}.parquet")), body)?;
                std::fs::write(folder.path().join(format!("{name}.arrows")), &input)?;
                files += 1;
            }
        }
    }
    assert_eq!(files, GOLDEN_FILES);
    let printed = python.run(SCRIPT, ["golden".as_ref(), folder.path().as_os_str()]).await?;
    let findings: Vec<Finding> = printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let problems: Vec<_> = findings.iter().filter(|finding| finding.problem.is_some() && !is_known(finding)).collect();
    let text = |finding: &&Finding| format!("{} of {}: {}", finding.reader, finding.file, finding.problem.as_deref().unwrap_or_default());
    ensure!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.iter().map(text).collect::<Vec<_>>().join("\n"));
    ensure!(findings.iter().map(|finding| finding.compared).sum::<usize>() > 100, "too few columns were compared");
    corpus("golden Parquet read back", findings.len(), READERS * GOLDEN_FILES);
    Ok(())
}
