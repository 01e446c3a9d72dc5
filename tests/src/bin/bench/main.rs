//! Throughput of the encoders on one core: the guest natively, the guest in wasm (the whole path: Arrow IPC in, chunks out), and polars, pyarrow and
//! duckdb in the same run; then what a guest's memory depends on, and `lakegate load` as a whole next to polars.
//!
//! MB are bytes of Arrow buffers. Runs are interleaved and the median is shown, because a shared machine is noisy: compare ratios.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

mod load;
mod memory;
mod partitions;
mod sandbox;

use anyhow::{Context, Result, ensure};
use lakegate_guest::host::{Host, Level, ObjectAttributes, ObjectFacts, PutError, WallTime};
use lakegate_guest::sink::{SessionLimits, Sink};
use lakegate_guest::spec::Spec;
use lakegate_tests::bench::{Arguments, Table, median, tables, thread_seconds};
use lakegate_tests::chart::Group;
use sandbox::Sandbox;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::Command;
use std::rc::Rc;

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let sandbox = Sandbox::new()?;
    println!("one core; median of {} interleaved runs; seconds are of computing; MB = bytes of Arrow buffers", arguments.repeats);
    let mut drawn = Vec::new();
    for table in tables(&arguments)? {
        println!("\n{}: {} rows, {:.1} MB, records of {} rows", table.name, table.rows, table.megabytes(), arguments.record_rows);
        println!(
            "| format | native MB/s | wasm MB/s | wasm/native | best peer | MB/s | wasm/peer | bytes out | peer's bytes | guest MiB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        let peers = peers(&arguments, &table)?;
        for format in &arguments.formats {
            let row = measure(&sandbox, &arguments, &table, format)?;
            print_row(&table, format, &row, &peers);
            drawn.push(bars(&table, format, &row, &peers));
        }
        small_records(&sandbox, &arguments, &table)?;
        if table.name == "lineitem" {
            partitions::table(&sandbox, &arguments, &table)?;
        }
    }
    if let Some(path) = &arguments.svg {
        let title = "Encoding on one core: Lakegate in its sandbox beside native peers";
        std::fs::write(path, lakegate_tests::chart::svg(title, "MB/s", &drawn)).with_context(|| path.display().to_string())?;
    }
    memory::table(&sandbox, &arguments)?;
    load::table(&arguments)
}

/// A row of the table as bars: ours, then every peer that can write it.
fn bars(table: &Table, format: &str, row: &Row, peers: &Peers) -> Group {
    let ours = ("lakegate (wasm)".to_owned(), table.megabytes() / row.wasm_seconds);
    let of_peers = peers.iter().filter(|((_, of), _)| of == format).map(|((name, _), peer)| (name.clone(), peer.rate));
    Group { label: format!("{} {format}", table.name), bars: std::iter::once(ours).chain(of_peers).collect() }
}

/// Rows of a record of a source that sends rows as they come.
const SMALL_RECORD_ROWS: usize = 50;

/// Rows that are enough to see what a small record costs.
const SMALL_RECORDS_TABLE_ROWS: usize = 60_000;

/// Cost of small records relative to those of the requested size.
fn small_records(sandbox: &Sandbox, arguments: &Arguments, table: &Table) -> Result<()> {
    let large = table.with_record_rows(SMALL_RECORDS_TABLE_ROWS, arguments.record_rows)?;
    let small = table.with_record_rows(SMALL_RECORDS_TABLE_ROWS, SMALL_RECORD_ROWS)?;
    for format in arguments.formats.iter().filter(|format| ["csv", "json"].contains(&format.as_str())) {
        let rate = |table: &Table| Ok::<_, anyhow::Error>(table.megabytes() / measure(sandbox, arguments, table, format)?.wasm_seconds);
        let (whole, pieces) = (rate(&large)?, rate(&small)?);
        println!(
            "{format} in records of {SMALL_RECORD_ROWS} rows: {pieces:.0} MB/s in wasm, {:.2} of the rate of {} rows",
            pieces / whole,
            arguments.record_rows
        );
    }
    Ok(())
}

/// The cost of one format.
struct Row {
    native_seconds: f64,
    wasm_seconds: f64,
    bytes_out: u64,
    guest_bytes: u64,
}

fn measure(sandbox: &Sandbox, arguments: &Arguments, table: &Table, format: &str) -> Result<Row> {
    let (mut natives, mut wasms, mut bytes_out, mut guest_bytes) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..arguments.repeats {
        let (seconds, bytes) = native(table, format)?;
        natives.push(seconds);
        let run = sandbox.run(&spec(format)?.settings.to_json(), table.messages.iter().map(Ok))?;
        ensure!(run.bytes_out == bytes, "{format}: natively {bytes} bytes came out, in wasm {}", run.bytes_out);
        wasms.push(run.seconds);
        (bytes_out, guest_bytes) = (bytes, run.guest_bytes);
    }
    Ok(Row { native_seconds: median(&mut natives), wasm_seconds: median(&mut wasms), bytes_out, guest_bytes })
}

fn print_row(table: &Table, format: &str, row: &Row, peers: &Peers) {
    let (native, wasm) = (table.megabytes() / row.native_seconds, table.megabytes() / row.wasm_seconds);
    let best = peers.iter().filter(|((_, of), _)| of == format).max_by(|a, b| a.1.rate.total_cmp(&b.1.rate));
    let peer =
        best.map_or_else(|| "– | – | –".to_owned(), |((name, _), peer)| format!("{name} | {:.0} | {:.2}", peer.rate, wasm / peer.rate));
    let peer_bytes = best.map_or_else(|| "–".to_owned(), |(_, peer)| peer.bytes.to_string());
    let ratio = wasm / native;
    let memory = row.guest_bytes as f64 / f64::from(1 << 20);
    println!("| {format} | {native:.0} | {wasm:.0} | {ratio:.2} | {peer} | {} | {peer_bytes} | {memory:.0} |", row.bytes_out);
}

/// A format of the program's names: of the spec, and its compression.
fn format_of(name: &str) -> (&str, &str) {
    match name.split_once('.') {
        None => (name, ""),
        Some((format, "zst")) => (format, "zstd"),
        Some((format, _)) => (format, "gzip"),
    }
}

/// The spec of a run: objects of the default 10,000 rows.
fn spec(format: &str) -> Result<Spec> {
    spec_with(format, "{{TABLE}}/{{UUID}}", false)
}

fn spec_with(format: &str, path: &str, no_rotate: bool) -> Result<Spec> {
    let (format, compression) = format_of(format);
    let mut text = serde_json::json!({"path": path, "format": format, "no_rotate": no_rotate});
    // Parquet compresses its pages.
    if format == "parquet" && !compression.is_empty() {
        text["format_spec"] = serde_json::json!({ "compression": compression });
    } else {
        text["compression"] = compression.into();
    }
    spec_of(text)
}

/// A spec with these fields, whose objects end at the default 10,000 rows if they rotate.
fn spec_of(mut text: serde_json::Value) -> Result<Spec> {
    (text["bucket"], text["region"]) = ("b".into(), "r".into());
    if text["no_rotate"] != true {
        text["batch_timeout"] = "0s".into();
        text["batch_size_bytes"] = 0.into();
    }
    Spec::parse(&text.to_string(), "sync").map_err(|problems| anyhow::anyhow!("{problems:?}"))
}

const LIMITS: SessionLimits = SessionLimits { encoder_bytes: 128 << 20, open_objects: 4_096 };

/// A host that only counts bytes.
#[derive(Clone, Default)]
struct Discard(Rc<Cell<u64>>);

impl Host for Discard {
    type Upload = ();

    fn wall_time(&self) -> WallTime {
        WallTime { seconds: 1_600_000_000, nanoseconds: 0 }
    }

    fn random(&self) -> [u8; 16] {
        [7; 16]
    }

    fn log(&self, level: Level, message: &str) {
        if level >= Level::Warn {
            eprintln!("{message}");
        }
    }

    fn open(&self, _attributes: &ObjectAttributes) -> Result<(), PutError> {
        Ok(())
    }

    fn write(&self, (): &(), chunk: &[u8]) -> Result<(), PutError> {
        self.0.set(self.0.get() + chunk.len() as u64);
        Ok(())
    }

    fn finish(&self, (): (), _: &ObjectFacts) -> Result<(), PutError> {
        Ok(())
    }
}

fn native(table: &Table, format: &str) -> Result<(f64, u64)> {
    let host = Discard::default();
    let mut sink = Sink::open(host.clone(), spec(format)?.settings, LIMITS);
    let start = thread_seconds();
    for (number, message) in table.messages.iter().enumerate() {
        sink.insert(message.clone(), number as u64).map_err(|error| anyhow::anyhow!("{format}: {error:?}"))?;
    }
    let progress = sink.end_write(u64::MAX);
    ensure!(progress.failures.is_empty(), "{format}: {:?}", progress.failures);
    Ok((thread_seconds() - start, host.0.get()))
}

type Peers = BTreeMap<(String, String), Peer>;

struct Peer {
    rate: f64,
    bytes: u64,
}

/// Runs the peers on the same rows, one thread each; leaves them out with a word where Python or they are missing.
fn peers(arguments: &Arguments, table: &Table) -> Result<Peers> {
    let python = match lakegate_tests::python::tool("python") {
        Ok(python) => python,
        Err(missing) => {
            println!("skipped: the peers ({})", missing.0);
            return Ok(Peers::new());
        }
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("table.arrow");
    table.write_file(&file)?;
    let run = Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/encode.py"))
        .arg(&file)
        .arg(arguments.repeats.to_string())
        .env("POLARS_MAX_THREADS", "1")
        .output();
    let output = match run {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            println!("skipped: the peers ({})", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default());
            return Ok(Peers::new());
        }
        Err(error) => {
            println!("skipped: the peers ({}: {error})", python.display());
            return Ok(Peers::new());
        }
    };
    let mut peers = Peers::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().context("a line of the peers is short");
        let (name, format) = (next()?.to_owned(), next()?.to_owned());
        let (seconds, bytes): (f64, u64) = (next()?.parse()?, next()?.parse()?);
        println!("peer {name} {format}: {:.0} MB/s, {bytes} bytes", table.megabytes() / seconds);
        peers.insert((name, format), Peer { rate: table.megabytes() / seconds, bytes });
    }
    Ok(peers)
}
