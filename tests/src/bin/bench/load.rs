//! `lakegate load` as a whole, including process start and store, next to polars' streaming sinks: lineitem from a Parquet file into one object (one
//! lane encodes) and into objects of a hundred thousand rows (all lanes do).
//!
//! The store is MinIO, or what `S3_ENDPOINT` names; otherwise the embedded store. Runs are interleaved, and medians are shown.

use crate::format_of;
use anyhow::{Context, Result, ensure};
use lakegate_tests::bench::{Arguments, median};
use lakegate_tests::s3::{REGION, Store};
use lakegate_tests::{minio, plugin, python, tpch};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

const BUCKET: &str = "bench";

/// Label of the objects, end of their path, and the options for it.
type Shape = (&'static str, &'static str, &'static [&'static str]);

const SHAPES: [Shape; 2] = [("one", "", &["--no-rotate"]), ("100,000 rows", "/{{UUID}}", &["--batch-size", "100000"])];

/// The cost of one run of a program.
#[derive(Clone, Copy)]
struct Cost {
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_mebibytes: f64,
}

/// Prints the table, or why it cannot be measured.
///
/// # Errors
/// A load failed.
pub(super) fn table(arguments: &Arguments) -> Result<()> {
    println!("\nlakegate load: lineitem at scale {}, from Parquet; polars writes one object", arguments.scale);
    if !Path::new(TIME).is_file() {
        println!("skipped: there is no {TIME} (GNU time), which measures it");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("lineitem.parquet");
    write_parquet(&file, arguments.scale)?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let live = threads.block_on(async {
        let store = minio::start().await?;
        // A bucket of an earlier run is as good.
        let _there = store.client().create_bucket().bucket(BUCKET).send().await;
        Ok::<_, lakegate_tests::tiers::Unavailable>(store)
    });
    if let Err(missing) = &live {
        println!("no live store: {}", missing.0);
    }
    let python = python::tool("python").map_err(|missing| println!("no polars: {}", missing.0)).ok();
    println!("| format | objects | store | wall s | CPU s | peak MiB | polars: wall s | CPU s | peak MiB | wall/wall |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (format, shape) in arguments.formats.iter().flat_map(|format| SHAPES.map(|shape| (format, shape))) {
        let local = folder.path().join("store");
        let embedded = || {
            // Created again each time, since replacing an object costs more.
            let _none_yet = std::fs::remove_dir_all(&local);
            let mut command = load(&file, format, shape)?;
            command.arg("--local").arg(&local);
            run(command)
        };
        let polars_file = |python: &Path| run(polars(python, &file, format, &folder.path().join("peer").display().to_string()));
        print(&format!("{format} | {} | embedded", shape.0), arguments.repeats, embedded, python.as_deref(), polars_file)?;
        if let Ok(store) = &live {
            let ours = || {
                let mut command = load(&file, format, shape)?;
                command.args(["--endpoint", &store.endpoint, "--path-style", "--region", REGION]);
                run(keys(command, store))
            };
            let peer = |python: &Path| run(keys(polars(python, &file, format, &format!("s3://{BUCKET}/peer")), store));
            print(&format!("{format} | {} | MinIO", shape.0), arguments.repeats, ours, python.as_deref(), peer)?;
        }
    }
    if let Ok(store) = live {
        threads.block_on(store.stop());
    }
    Ok(())
}

fn print(
    what: &str,
    repeats: usize,
    ours: impl Fn() -> Result<Cost>,
    python: Option<&Path>,
    peer: impl Fn(&Path) -> Result<Cost>,
) -> Result<()> {
    let (mut mine, mut theirs) = (vec![], vec![]);
    // The first run of each fills caches: of compiled components, of files.
    for number in 0..=repeats {
        let cost = ours()?;
        let other = python.and_then(|python| peer(python).map_err(|error| eprintln!("polars, {what}: {error:#}")).ok());
        if number > 0 {
            mine.push(cost);
            theirs.extend(other);
        }
    }
    let middle = |costs: &[Cost], part: fn(&Cost) -> f64| median(&mut costs.iter().map(part).collect::<Vec<_>>());
    let cells = |costs: &[Cost]| {
        let wall = middle(costs, |cost| cost.wall_seconds);
        let (cpu, peak) = (middle(costs, |cost| cost.cpu_seconds), middle(costs, |cost| cost.peak_mebibytes));
        (wall, format!("{wall:.2} | {cpu:.2} | {peak:.0}"))
    };
    let (wall, own) = cells(&mine);
    let beside = if theirs.is_empty() {
        "– | – | – | –".to_owned()
    } else {
        let (other, text) = cells(&theirs);
        format!("{text} | {:.2}", wall / other)
    };
    println!("| {what} | {own} | {beside} |");
    Ok(())
}

const TIME: &str = "/usr/bin/time";

/// A command whose cost is written to its standard error at the end.
fn timed(program: &Path) -> Command {
    let mut command = Command::new(TIME);
    command.args(["-f", "%e %U %S %M"]).arg(program).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn run(mut command: Command) -> Result<Cost> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    let numbers: Vec<f64> = said.lines().last().unwrap_or_default().split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [wall_seconds, user, system, kibibytes] = numbers[..] else { anyhow::bail!("{TIME} said {said:?}") };
    Ok(Cost { wall_seconds, cpu_seconds: user + system, peak_mebibytes: kibibytes / 1024.0 })
}

fn load(file: &Path, format: &str, shape: Shape) -> Result<Command> {
    let mut command = timed(&plugin::program()?);
    let (format, compression) = format_of(format);
    command.arg("load").arg(file).args(["--quiet", "--format", format, "--to", &format!("s3://{BUCKET}/ours{}", shape.1)]).args(shape.2);
    if !compression.is_empty() {
        command.args(["--compression", compression]);
    }
    Ok(command)
}

fn polars(python: &Path, file: &Path, format: &str, to: &str) -> Command {
    let mut command = timed(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/sink.py")).arg(file).arg(format).arg(to);
    command
}

fn keys(mut command: Command, store: &Store) -> Command {
    command.env("AWS_ACCESS_KEY_ID", &store.access_key).env("AWS_SECRET_ACCESS_KEY", &store.secret_key);
    command.env("AWS_ENDPOINT_URL", &store.endpoint).env("AWS_REGION", REGION).env("AWS_ALLOW_HTTP", "true");
    command
}

fn write_parquet(path: &Path, scale: f64) -> Result<()> {
    let mut batches = tpch::lineitem(scale).peekable();
    let schema = batches.peek().and_then(|first| first.as_ref().ok()).context("lineitem has rows")?.schema();
    let snappy = parquet::basic::Compression::SNAPPY;
    let properties = parquet::file::properties::WriterProperties::builder().set_compression(snappy).build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(File::create(path)?, schema, Some(properties))?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
