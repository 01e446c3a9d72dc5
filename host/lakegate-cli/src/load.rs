//! `lakegate load`: writes files to a bucket.

use super::args::ResourceArgs;
use super::choices;
use super::console::{Console, Progress, data, error_line};
use super::destination_write::{abort_store, finish_store, interruption};
use super::exit::{CliError, Exit, exit_code_after};
use super::interrupt;
use super::output_args::{OUTPUT, OutputArgs};
use super::summary::Summary;
use super::sync_id::sync_id;
use super::target::Target;
use super::telemetry::{self, TelemetryArgs};
use chrono::DateTime;
use lakegate::observe::Observer;
use lakegate::{Destination, Session, SyncContext, Write, WriteReport};
use lakegate_files::{
    BadRows, ColumnType, CsvOptions, Delimiter, Encoding, HivePartitioning, Input, InputFormat, Message, MessageReader, Quote, ReadOptions,
    SkippedFile, parse_override, resolve,
};
use lakegate_telemetry::Telemetry;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The arguments of `load`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct LoadArgs {
    /// Files, folders, patterns such as 'data/**/*.csv' (quoted, so that the shell does not expand them), or `-` for standard input.
    #[arg(required = true, value_name = "FILE|FOLDER|GLOB|-")]
    pub inputs: Vec<String>,
    /// The table that all inputs belong to [default: each file's name without its extension].
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// The type of a CSV or NDJSON column; may be repeated.
    ///
    /// Types: bool, int8 to int64, uint8 to uint64, float32, float64,
    /// decimal(P,S), utf8 (or string), binary (base64), date, time, timestamp (also _s, _ms, _us, _ns), datetime (no zone; also _ns),
    /// json, uuid.
    ///
    /// A value that the type cannot represent exactly as written is refused with file, line and column: a number with a plus sign, leading zeros or
    /// too many decimals, a bool that is neither true nor false, a date where a timestamp is expected. A float becomes the nearest representable
    /// value; a timestamp without a zone is UTC.
    #[arg(long = "column", value_name = "NAME=TYPE", value_parser = parse_override)]
    pub columns: Vec<(String, ColumnType)>,
    /// Format of the inputs [default: detected from their content, then from their name].
    #[arg(long, value_parser = choices::input_format(), value_name = "FORMAT")]
    pub input_format: Option<InputFormat>,
    /// Files of one table may lack columns, which are null then, and have columns of different types, if one type holds the values of all exactly.
    /// Columns are always matched by name.
    #[arg(long)]
    pub union_by_name: bool,
    /// Which folders such as country=DE/ in a path are columns.
    #[arg(long, value_parser = choices::hive_partitioning(), value_name = "WHICH", default_value = "auto")]
    pub hive_partitioning: HivePartitioning,
    /// Derive the UUIDs in keys from this number, so that a run can be repeated exactly. For tests.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// What this load is an attempt at, {{COMMIT_ID}} in paths: the same in every attempt. A spec file may name another.
    #[arg(long, value_name = "ID")]
    pub commit_id: Option<String>,
    /// What {{YEAR}} to {{MINUTE}} stand for, the same in every attempt: 2026-11-29T12:00:00Z [default: when each object is opened].
    #[arg(long, value_name = "TIME")]
    pub commit_time: Option<CommitTime>,
    /// Put an empty test object before any rows.
    #[arg(long)]
    pub test_write: bool,
    /// How text is read.
    #[command(flatten)]
    pub text: TextArgs,
    /// Where the rows go.
    #[command(flatten)]
    pub target: Target,
    /// Resource limits of the process.
    #[command(flatten)]
    pub machine: ResourceArgs,
    /// Print a machine-readable summary (one line of JSON) on stdout.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// Traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Output and logging.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How CSV, and other text, is read. What is not set is detected from the beginning of each file, and said if it is unusual.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Text")]
pub struct TextArgs {
    /// Delimiter of CSV columns: one character of ASCII punctuation, or tab, comma, semicolon, pipe, space [default: detected].
    #[arg(long, value_name = "CHARACTER", allow_hyphen_values = true)]
    pub delimiter: Option<Delimiter>,
    /// What encloses fields of CSV: one character of ASCII punctuation, or double, single, none [default: double; single where it is detected].
    #[arg(long, value_name = "CHARACTER", allow_hyphen_values = true)]
    pub quote: Option<Quote>,
    /// The first line of CSV has the names of the columns [default: detected].
    #[arg(long, conflicts_with = "no_header")]
    pub header: bool,
    /// CSV has no line with names: the columns are column_1, column_2 …
    #[arg(long)]
    pub no_header: bool,
    /// A field of CSV without quotes that stands for null, beside the empty one; may be repeated.
    #[arg(long = "null", value_name = "TEXT", allow_hyphen_values = true)]
    pub nulls: Vec<String>,
    /// Encoding of text, such as utf-8, utf-16le, windows-1252, shift_jis [default: UTF-8, UTF-16, or of CSV Windows-1252, as detected].
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<Encoding>,
    /// What becomes of rows that are not well-formed: CSV with more or fewer fields than the header, or with a quote in the wrong place; JSON that is no
    /// object.
    ///
    /// A value that does not have its column's type is always refused. Rows that are left out are counted in the summary.
    #[arg(long, value_parser = choices::bad_rows(), value_name = "WAY", default_value = "fail")]
    pub bad_rows: BadRows,
}

impl TextArgs {
    /// How CSV is written.
    fn csv(&self) -> CsvOptions {
        CsvOptions {
            delimiter: self.delimiter,
            quote: self.quote,
            header: (self.header || self.no_header).then_some(self.header),
            nulls: self.nulls.clone(),
        }
    }
}

/// A moment, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitTime(pub u64);

impl FromStr for CommitTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = DateTime::parse_from_rfc3339(text).ok().and_then(|time| u64::try_from(time.timestamp()).ok());
        time.map(Self).ok_or_else(|| format!("{text:?} is not a time; write one such as 2026-11-29T12:00:00Z"))
    }
}

/// Lines have at most 100 characters, since longer ones would be wrapped.
const EXAMPLES: &str = "\
Examples:
  Each file becomes a table, and a table Parquet objects of at most 10,000 rows:
  lakegate load 'data/*.csv' --to 's3://bucket/raw/{{TABLE}}/{{UUID}}.parquet' --format parquet

  Many files, one table, one object:
  lakegate load 'orders-*.json.gz' --table orders --to 's3://bucket/{{TABLE}}.json' --format json

  Again and again until it succeeds, and no row twice:
  lakegate load 'orders-*.csv' --table orders --spec exactly-once.yml --commit-id 2026-11-29

  A folder of whatever Excel has saved, without rows that are torn:
  lakegate load exports/ --table sales --bad-rows skip --null n/a --spec s3.yml

  Standard input, with the type of a column and a spec file:
  generate | lakegate load - --table events --column id=int64 --spec s3.yml

  Without a bucket, into an S3 store in a folder:
  lakegate load orders.csv --to 's3://demo/{{TABLE}}.csv' --format csv --local ~/lakegate";

/// Runs the command. With `--json`, a summary is printed in any case.
pub(crate) async fn run(args: LoadArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.output);
    let started = Instant::now();
    let mut landed = WriteReport::default();
    let (telemetry, loaded) = match args.telemetry.start(Some("lakegate.load")) {
        Ok(telemetry) => {
            let observer = telemetry.as_ref().map(Telemetry::observer);
            let loaded = load(&args, console, observer, &mut landed).await;
            (telemetry, loaded)
        }
        Err(error) => (None, Err(error)),
    };
    let (summary, ended) = match loaded {
        Ok(Loaded { report, skipped }) => (Summary::new(&report, started.elapsed()).without(&skipped), Ok(Exit::from_report(&report))),
        Err(error) => (Summary::ended_early(error.exit, &error.message, &landed, started.elapsed()), Err(error)),
    };
    summary.failures().iter().chain(&summary.landed()).for_each(|line| error_line(line));
    summary.quarantined().iter().for_each(|line| console.say(line));
    summary.in_catalog().iter().for_each(|line| console.say(line));
    if ended.is_ok() {
        console.say(&summary.line());
    }
    let printed = if args.json { summary.json().and_then(|json| data(&json)) } else { Ok(()) };
    let ended = exit_code_after(ended, printed);
    telemetry::finish(telemetry, &ended).await;
    ended
}

/// What a load has done.
struct Loaded {
    report: WriteReport,
    /// The files of which rows were left out.
    skipped: Vec<SkippedFile>,
}

/// Loads the files. If the load ends early, `landed` gets the tables that had failed and what is in the bucket.
async fn load(
    args: &LoadArgs,
    console: Console,
    observer: Option<Arc<dyn Observer>>,
    landed: &mut WriteReport,
) -> Result<Loaded, CliError> {
    let interrupted = interrupt::listen()?;
    let given = args.clone();
    let opened = async move {
        let sync = sync_context(&given)?;
        let destination = given.machine.observed_destination(given.seed, observer);
        open(&given, destination, sync).await
    };
    let opened = interrupt::unless(&interrupted, opened).await?;
    send_all(args, opened, console.progress("Loading"), &interrupted, landed).await
}

/// Loads the files into a destination that keeps nothing, and returns what it would have written.
pub(crate) async fn rehearse(
    args: &LoadArgs,
    destination: Destination,
    sync: SyncContext,
    console: Console,
    interrupted: &CancellationToken,
) -> Result<WriteReport, CliError> {
    let given = args.clone();
    let opened = async move { open(&given, async move { Ok(destination) }, sync).await };
    let opened = interrupt::unless(interrupted, opened).await?;
    let loaded = send_all(args, opened, console.progress("Planning"), interrupted, &mut WriteReport::default()).await?;
    Ok(loaded.report)
}

/// Sends the rows of the inputs, and finishes the session.
async fn send_all(
    args: &LoadArgs,
    (inputs, session): (Vec<Input>, Session),
    progress: Progress,
    interrupted: &CancellationToken,
    landed: &mut WriteReport,
) -> Result<Loaded, CliError> {
    let options = ReadOptions {
        format: args.input_format,
        columns: args.columns.clone(),
        columns_required: inputs.len() == 1,
        csv: args.text.csv(),
        encoding: args.text.encoding,
        bad_rows: args.text.bad_rows,
        union_by_name: args.union_by_name,
        spool: args.machine.spool(),
    };
    let mut reader = MessageReader::start(inputs, options).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
    let mut write = session.write()?;
    let sent = tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(interruption()),
        sent = send(&mut reader, &mut write, &progress) => sent,
    };
    let ended = match sent {
        Ok(()) => finish_store(write, interrupted).await,
        Err(error) => Err((error, abort_store(write, interrupted).await)),
    };
    session.close().await;
    for SkippedFile { file, rows, line, problem } in reader.skipped() {
        tracing::warn!("{file}: {rows} rows were left out (--bad-rows skip); the first, on line {line}: {problem}");
    }
    match ended {
        Ok(report) => Ok(Loaded { report, skipped: reader.skipped().to_vec() }),
        Err((error, left)) => {
            *landed = left;
            Err(error)
        }
    }
}

/// Resolves the inputs, and then makes and opens the destination.
async fn open(
    args: &LoadArgs,
    destination: impl Future<Output = Result<Destination, CliError>>,
    sync: SyncContext,
) -> Result<(Vec<Input>, Session), CliError> {
    let inputs = resolve(&args.inputs, args.table.as_deref(), args.hive_partitioning)?;
    let spec = args.target.spec_json(args.test_write, |name| std::env::var(name).ok())?;
    Ok((inputs, destination.await?.open(&spec, sync).await?))
}

/// What a load is an attempt at.
pub(crate) fn sync_context(args: &LoadArgs) -> Result<SyncContext, CliError> {
    Ok(SyncContext {
        sync_id: sync_id()?,
        commit_id: args.commit_id.clone().unwrap_or_default(),
        commit_time: args.commit_time.map(|time| time.0),
        // Files are read in their order, and give the same rows each time; what comes through a pipe does so if its writer does.
        repeatable: true,
        shard: None,
    })
}

/// Sends all messages to the write.
async fn send(reader: &mut MessageReader, write: &mut Write, progress: &Progress) -> Result<(), CliError> {
    while let Some(message) = reader.next().await {
        match message? {
            Message::Migrate(ipc) => write.migrate_table(ipc).await?,
            Message::Insert(ipc) => write.insert(ipc).await?,
        }
        progress.show(|| write.totals());
    }
    Ok(())
}
