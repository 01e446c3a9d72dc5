//! `lakegate load`: files to a bucket.

use super::args::{Machine, Words};
use super::console::{Console, data, error_line};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::outlet::{Ended, Outlet};
use super::pump::{self, sync_id};
use super::summary::Summary;
use super::target::Target;
use crate::ledger::WriteReport;
use crate::source::{ColumnType, Feed, InputFormat, ReadOptions, parse_override, resolve};
use std::time::Instant;

/// Writes files to a bucket: Parquet, CSV, NDJSON and Arrow IPC, patterns of them, and standard input.
///
/// A table is called after its file (`orders.csv.gz` is `orders`), or by --table. Types of CSV and NDJSON are chosen from the first 10,000
/// rows: bool, int64, float64, date, timestamp, json, utf8; an empty field of CSV is null, a quoted empty one is the empty text.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    /// Files, patterns (quoted, so that the shell leaves them alone), or `-` for standard input.
    #[arg(required = true, value_name = "FILE|GLOB|-")]
    pub inputs: Vec<String>,
    /// The table that all inputs belong to [default: each file's name].
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// The type of a column of CSV or NDJSON; may be given several times. Types: bool, int8 to int64, uint8 to uint64, float32, float64,
    /// decimal(P,S), utf8, binary (base64), date, time, timestamp (also _s, _ms, _us, _ns), datetime (no zone; also _ns), json, uuid.
    #[arg(long = "column", value_name = "NAME=TYPE", value_parser = parse_override)]
    pub columns: Vec<(String, ColumnType)>,
    /// What the inputs are [default: by content, then by name].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub input_format: Option<InputFormat>,
    /// Make the UUIDs in keys follow from this number, so that a run can be repeated exactly. For tests.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Put an empty test object first.
    #[arg(long)]
    pub test_write: bool,
    /// Where to.
    #[command(flatten)]
    pub target: Target,
    /// With what.
    #[command(flatten)]
    pub machine: Machine,
    /// Saying what.
    #[command(flatten)]
    pub words: Words,
}

/// Runs the command.
pub(crate) async fn run(args: LoadArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.words);
    let started = Instant::now();
    match load(&args, console).await {
        Ok(report) => {
            let summary = Summary::of(&report, started.elapsed());
            summary.failures().iter().for_each(|line| error_line(line));
            console.say(&summary.line());
            print_json(&args.words, &summary)?;
            Ok(Exit::of_report(&report))
        }
        Err(error) => {
            print_json(&args.words, &Summary::ended_early(error.exit, &error.message, started.elapsed()))?;
            Err(error)
        }
    }
}

/// The summary for machines, if it is wanted.
pub(crate) fn print_json(words: &Words, summary: &Summary) -> Result<(), CliError> {
    if !words.json {
        return Ok(());
    }
    let text = summary.json().map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
    data(&text).map_err(|error| CliError::new(Exit::Unexpected, format!("stdout: {error}")))
}

async fn load(args: &LoadArgs, console: Console) -> Result<WriteReport, CliError> {
    let interrupted = interrupt::listen().map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
    let inputs = resolve(&args.inputs, args.table.as_deref())?;
    let spec = args.target.spec_json(args.test_write, |name| std::env::var(name).ok())?;
    let sync_id = sync_id()?;
    let session = args.machine.destination(args.seed).await?.open(&spec, &sync_id).await?;
    let options = ReadOptions { format: args.input_format, columns: args.columns.clone(), columns_required: inputs.len() == 1 };
    let feed = Feed::start(inputs, options).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
    let progress = console.progress("Loading");
    match pump::run(feed, Outlet::store(session)?, &progress, &interrupted).await? {
        Some(Ended::Store(report)) => Ok(report),
        Some(Ended::Plugin { .. }) | None => Ok(WriteReport::default()),
    }
}
