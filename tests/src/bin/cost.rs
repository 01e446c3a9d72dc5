//! CPU cost of a record in `lakegate serve`, from gRPC to S3: CPU seconds per megabyte of Arrow, and peak memory, next to the figures of the
//! reference plugin and to polars on this machine.
//!
//! usage: cost [--scale F] [--repeats N] [--formats a,b]. The store is MinIO (or the one that `S3_ENDPOINT` names), otherwise the embedded store in
//! this process. The reference was measured on another day; polars, measured then and now, relates the two.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lakegate_tests::bench::{Arguments, Table, tables};
use lakegate_tests::plugin::{self, Launch, Message, Network};
use lakegate_tests::s3::{REGION, Store};
use lakegate_tests::{minio, python};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

const BUCKET: &str = "cost";

/// Figures of the reference plugin for this table: format, rows per record, megabytes of Arrow per CPU second, peak memory in MB.
const REFERENCE: [(&str, usize, f64, f64); 6] = [
    ("csv", 10_000, 22.0, 129.0),
    ("json", 10_000, 12.5, 142.0),
    ("parquet", 10_000, 60.0, 101.0),
    ("csv.gz", 10_000, 9.3, 141.0),
    ("csv", 50, 10.6, 55.0),
    ("parquet", 50, 19.5, 64.0),
];

/// Polars on the day of the reference's figures, one thread, encoding alone: megabytes of Arrow a second.
const POLARS_THEN: [(&str, f64); 3] = [("csv", 314.0), ("json", 125.0), ("parquet", 479.0)];

/// Of 50-row records a sixth of the rows is enough: as many as the reference was given at scale 0.2.
const SMALL_RECORDS_SHARE: f64 = 1.0 / 6.0;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let folder = tempfile::tempdir()?;
    let (store, kind) = match minio::start().await {
        Ok(store) => (store, "MinIO"),
        Err(missing) => {
            println!("no MinIO ({missing}): the embedded store, in this process");
            (Store::embedded(folder.path()).await?, "embedded store")
        }
    };
    // A bucket of an earlier run is as good.
    let _there = store.client().create_bucket().bucket(BUCKET).send().await;
    let polars = polars(&arguments)?;
    println!("gRPC over a unix socket, {kind}; MB = bytes of Arrow buffers; the best of {} runs", arguments.repeats);
    println!(
        "| format | rows a record | MB | wall s | CPU s | MB per CPU-s | reference | ratio | ratio on equal machines | peak MB | reference |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (format, record_rows, reference, reference_peak) in REFERENCE {
        if !arguments.formats.iter().any(|wanted| wanted == format) {
            continue;
        }
        let scale = if record_rows < 1_000 { arguments.scale * SMALL_RECORDS_SHARE } else { arguments.scale };
        let of = Arguments { scale, record_rows, tables: vec!["lineitem".to_owned()], ..arguments.clone() };
        let table = tables(&of)?.pop().context("lineitem")?;
        let mut runs = Vec::new();
        for _ in 0..arguments.repeats {
            runs.push(run(&store, &table, format).await?);
        }
        let best = runs.into_iter().min_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds)).context("a run")?;
        let rate = table.megabytes() / best.cpu_seconds;
        let plain = format.trim_end_matches(".gz");
        let then = POLARS_THEN.iter().find(|(format, _)| *format == plain).map(|(_, rate)| *rate);
        // How much faster this machine is today: polars now to polars then.
        let machine = polars.get(plain).zip(then).map(|(now, then)| now / then);
        let fair = machine.map_or_else(|| "–".to_owned(), |machine| format!("{:.1}", rate / reference / machine));
        println!(
            "| {format} | {record_rows} | {:.0} | {:.1} | {:.2} | {rate:.0} | {reference} | {:.1} | {fair} | {:.0} | {reference_peak} |",
            table.megabytes(),
            best.wall_seconds,
            best.cpu_seconds,
            rate / reference,
            best.peak_bytes as f64 / 1e6,
        );
    }
    store.stop().await;
    Ok(())
}

/// The cost of one Write in the plugin.
struct Run {
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
}

async fn run(store: &Store, table: &Table, format: &str) -> Result<Run> {
    let plugin = Launch::new(&plugin::program()?, Network::Unix).keys(&store.access_key, &store.secret_key).start().await?;
    let mut client = plugin.connect().await?;
    client.init(&spec(store, format)).await?;
    let messages: Vec<Message> = table.messages.iter().map(|message| Message::Insert(Bytes::copy_from_slice(message))).collect();
    let seconds = || plugin.cpu_seconds().context("the system does not tell the CPU time of a process");
    let (before, begun) = (seconds()?, Instant::now());
    client.write(messages).await?;
    let (wall_seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), seconds()? - before);
    client.close().await?;
    let peak_bytes = plugin.peak_bytes().context("the system does not tell the memory of a process")?;
    let ended = plugin.stop().await?;
    ensure!(ended.status.success(), "the plugin ended with {}: {}", ended.status, ended.errors);
    Ok(Run { wall_seconds, cpu_seconds, peak_bytes })
}

/// Objects of the default 10,000 rows, as the reference was measured.
fn spec(store: &Store, format: &str) -> Value {
    let (format, compression) = format.split_once('.').map_or((format, ""), |(format, _)| (format, "gzip"));
    json!({
        "bucket": BUCKET, "region": REGION, "path": "{{TABLE}}/{{UUID}}", "format": format, "compression": compression, "test_write": false,
        "endpoint": store.endpoint, "use_path_style": true,
    })
}

/// Polars on the same rows, one thread: megabytes of Arrow a second of its CPU, per format. Empty, with a word, where it is missing.
fn polars(arguments: &Arguments) -> Result<BTreeMap<String, f64>> {
    let python = match python::tool("python") {
        Ok(python) => python,
        Err(missing) => {
            println!("skipped: polars ({})", missing.0);
            return Ok(BTreeMap::new());
        }
    };
    let table = tables(&Arguments { tables: vec!["lineitem".to_owned()], ..arguments.clone() })?.pop().context("lineitem")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("table.arrow");
    table.write_file(&file)?;
    let mut command = std::process::Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/encode.py")).arg(&file).arg(arguments.repeats.to_string());
    let output = command.env("POLARS_MAX_THREADS", "1").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rates = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, format, seconds, _] = words.as_slice() else { continue };
        if *name == "polars" {
            let rate = table.megabytes() / seconds.parse::<f64>()?;
            println!("polars {format}, one thread, encoding alone: {rate:.0} MB per CPU-s");
            rates.insert((*format).to_owned(), rate);
        }
    }
    Ok(rates)
}
