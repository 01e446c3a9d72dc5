//! Peak memory of rows that are divided into very many partitions in no order, next to the same rows in one piece, and next to duckdb and polars.
//!
//! usage: partition_memory [--rows N] [--partitions N] [--writers lakegate,duckdb,polars]. Each line is a process of its own. Ours writes to a store
//! that reads every object and keeps none; the peers write files into a temporary folder, as they can do nothing else. Nearly every row begins an
//! object of its own where there are many more partitions than may be open.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context as _, Result, bail, ensure};
use arrow_array::{Float64Array, Int32Array, Int64Array, StringArray};
use async_trait::async_trait;
use bytes::Bytes;
use lakegate::spec::StorageTarget;
use lakegate::store::{
    Authorized, ChecksumAlgorithm, Connect, Multipart, ObjectInfo, ObjectKey, Part, Payload, PutObject, Store, Stored, UploadHandle,
};
use lakegate::{Destination, Options, Runtime, StoreError, StoreErrorKind};
use lakegate_tests::tables::Table;
use serde_json::json;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: lakegate_cli::Allocator = lakegate_cli::Allocator;

/// Rows of a record.
const RECORD_ROWS: u64 = 10_000;

/// The first argument of a process that writes.
const WRITE: &str = "--write";

/// What is compared with what: paths without and with partitions.
const WHOLE: &str = "{{TABLE}}/{{UUID}}";
const DIVIDED: &str = "{{TABLE}}/part={{COLUMN:part}}/{{UUID}}";

struct Arguments {
    rows: u64,
    partitions: u64,
    writers: Vec<String>,
}

impl Arguments {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Self { rows: 1_000_000, partitions: 50_000, writers: ["lakegate", "duckdb", "polars"].map(String::from).to_vec() };
        while let Some(option) = args.next() {
            let value = args.next().with_context(|| format!("{option} has no value"))?;
            match option.as_str() {
                "--rows" => parsed.rows = value.parse()?,
                "--partitions" => parsed.partitions = value.parse()?,
                "--writers" => parsed.writers = value.split(',').map(str::to_owned).collect(),
                other => bail!("unknown option {other}; known are --rows, --partitions and --writers"),
            }
        }
        ensure!(parsed.rows > 0 && parsed.partitions > 0, "at least one row and one partition");
        Ok(parsed)
    }
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|first| first == WRITE).is_some() {
        let args: Vec<String> = args.collect();
        let [format, path, rows, partitions] = args.as_slice() else { bail!("a process that writes takes four arguments") };
        return tokio::runtime::Runtime::new()?.block_on(write(format, path, rows.parse()?, partitions.parse()?));
    }
    let arguments = Arguments::parse(args)?;
    println!("{} rows over {} partitions in no order, records of {RECORD_ROWS} rows", arguments.rows, arguments.partitions);
    println!("| writer | format | objects: whole | partitioned | seconds: whole | partitioned | peak MiB: whole | partitioned | ratio |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for writer in &arguments.writers {
        for format in ["csv", "parquet"] {
            let whole = run(writer, format, false, &arguments)?;
            match run(writer, format, true, &arguments) {
                Ok(divided) => {
                    let ratio = divided.peak / whole.peak;
                    println!(
                        "| {writer} | {format} | {} | {} | {:.1} | {:.1} | {:.0} | {:.0} | {ratio:.2} |",
                        whole.objects, divided.objects, whole.seconds, divided.seconds, whole.peak, divided.peak
                    );
                }
                // A peer that cannot do it is worth a line, not the end.
                Err(error) if writer != "lakegate" => println!("| {writer} | {format} | {} | {error:#} |", whole.objects),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// What a process says of itself.
struct Run {
    objects: u64,
    seconds: f64,
    /// MiB.
    peak: f64,
}

fn run(writer: &str, format: &str, divided: bool, arguments: &Arguments) -> Result<Run> {
    let [rows, partitions] = [arguments.rows, arguments.partitions].map(|number| number.to_string());
    let mut command = if writer == "lakegate" {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WRITE, format, if divided { DIVIDED } else { WHOLE }]);
        command
    } else {
        let python = lakegate_tests::python::tool("python").map_err(|missing| anyhow::anyhow!("{}", missing.0))?;
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/partition_memory.py"));
        command.args([writer, format, if divided { "divided" } else { "whole" }]);
        command
    };
    let output = command.args([rows, partitions]).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{writer}, {format}: {}", errors.lines().last().unwrap_or("no reason given"));
    let text = String::from_utf8(output.stdout)?;
    let mut words = text.split_whitespace();
    let mut next = || words.next().context("a process said too little");
    Ok(Run { objects: next()?.parse()?, seconds: next()?.parse()?, peak: next()?.parse()? })
}

/// Writes the rows, and prints objects, seconds, and the peak of this process.
async fn write(format: &str, path: &str, rows: u64, partitions: u64) -> Result<()> {
    let store = Discard::default();
    // A server keeps no receipts either: with millions of objects there would be nothing else to measure.
    let options = Options { lanes: NonZeroUsize::MIN, store: Some(Arc::new(store.clone())), receipt_bytes: 0, ..Options::default() };
    let spec = json!({"bucket": "b", "region": "r", "format": format, "path": path, "test_write": false, "batch_timeout": "0s"});
    let session = Destination::new(Runtime::new()?, options).open(&spec.to_string(), "sync").await?;
    let begun = Instant::now();
    let mut write = session.write()?;
    for first in (0..rows).step_by(RECORD_ROWS as usize) {
        write.insert(Bytes::from(record(first..rows.min(first + RECORD_ROWS), partitions)?)).await?;
    }
    let report = write.finish().await;
    let seconds = begun.elapsed().as_secs_f64();
    session.close().await;
    for table in &report.tables {
        ensure!(table.failure.is_none() && table.rows_confirmed == rows, "{}: {:?}", table.table, table.failure);
    }
    println!("{} {seconds} {}", store.objects.load(Ordering::Relaxed), peak_mebibytes()?);
    Ok(())
}

/// Rows whose partitions are in no order: neighbours have none in common.
fn record(rows: Range<u64>, partitions: u64) -> Result<Vec<u8>> {
    let ids = || rows.clone().map(u64::cast_signed);
    let part = |row: u64| i32::try_from(row.wrapping_mul(2_654_435_761) % 4_294_967_291 % partitions);
    let parts: Vec<i32> = rows.clone().map(part).collect::<Result<_, _>>()?;
    Table::new("rows")
        .column("id", Arc::new(Int64Array::from_iter_values(ids())))
        .column("part", Arc::new(Int32Array::from(parts)))
        .column("amount", Arc::new(Float64Array::from_iter_values(rows.clone().map(|row| row as f64 / 4.0))))
        .column("note", Arc::new(StringArray::from_iter_values(rows.clone().map(|row| format!("the note of row {row}")))))
        .insert_ipc()
}

fn peak_mebibytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the system does not tell the memory of a process")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// A store that reads what it is given, and keeps nothing but the count.
#[derive(Debug, Clone, Default)]
struct Discard {
    objects: Arc<AtomicU64>,
}

impl Discard {
    fn stored(&self) -> Stored {
        self.objects.fetch_add(1, Ordering::Relaxed);
        Stored { etag: String::new(), checksum: None, was_there: false }
    }
}

async fn read(body: &Payload) -> Result<(), StoreError> {
    let failed = |error| StoreError { kind: StoreErrorKind::Unavailable, message: format!("the spill file cannot be read: {error}") };
    body.checksum(ChecksumAlgorithm::Crc32).await.map(drop).map_err(failed)
}

fn empty() -> StoreError {
    StoreError { kind: StoreErrorKind::Rejected, message: "this store keeps nothing".to_owned() }
}

#[async_trait]
impl Connect for Discard {
    async fn connect(&self, _target: &StorageTarget) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Store for Discard {
    async fn put(&self, _put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError> {
        read(&body).await?;
        Ok(self.stored())
    }

    async fn create(&self, _put: &Authorized<PutObject>) -> Result<Arc<dyn Multipart>, StoreError> {
        Ok(Arc::new(self.clone()))
    }

    fn resume(&self, _put: &Authorized<PutObject>, _upload: &UploadHandle) -> Arc<dyn Multipart> {
        Arc::new(self.clone())
    }

    async fn head(&self, _key: &Authorized<ObjectKey>) -> Result<Option<ObjectInfo>, StoreError> {
        Ok(None)
    }

    async fn read(&self, _key: &Authorized<ObjectKey>, _object: &ObjectInfo, _range: Range<u64>) -> Result<Bytes, StoreError> {
        Err(empty())
    }

    async fn probe_create_only(&self, _by_put: &Authorized<PutObject>, _by_upload: &Authorized<PutObject>) -> Result<(), StoreError> {
        Err(empty())
    }

    fn part_bytes(&self, _number: u32) -> Option<u64> {
        Some(5 << 20)
    }

    fn too_many_parts(&self, _bytes: u64) -> String {
        "no number of parts is too many".to_owned()
    }
}

#[async_trait]
impl Multipart for Discard {
    async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError> {
        read(&body).await?;
        Ok(Part { number, bytes: body.length(), etag: String::new(), checksum: None })
    }

    async fn complete(&self, _parts: Vec<Part>, _bytes: u64) -> Result<Stored, StoreError> {
        Ok(self.stored())
    }

    async fn abort(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn handle(&self) -> UploadHandle {
        UploadHandle { id: String::new(), token: String::new() }
    }
}
