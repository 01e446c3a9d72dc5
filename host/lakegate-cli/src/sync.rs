//! `lakegate sync`: runs CloudQuery configurations, with the built-in file source and S3 destination, and with any other plugin.

mod flow;
pub(super) mod inputs;
mod report;
mod shard;
pub(super) mod step;
mod times;

use super::args::{PluginArgs, ResourceArgs};
use super::cloudquery_flags::CloudQueryFlags;
use super::config::{Config, Destination, DestinationPlugin, Required, Source, Surroundings};
use super::console::{Console, data};
use super::destination_write::FinishedWrite;
use super::exit::{CliError, Exit, exit_code_after};
use super::interrupt;
use super::output_args::{OUTPUT, OutputArgs};
use super::plugins::{Plugins, deduplicated};
use super::telemetry::{self, TelemetryArgs};
use flow::Migrations;
use inputs::{chosen, share};
use lakegate::Destination as Opener;
use lakegate::WriteReport;
use lakegate::observe::Observer;
use lakegate_files::{Input, Spool};
use lakegate_telemetry::Telemetry;
use std::path::PathBuf;
use std::sync::Arc;
use step::{Run, Step};
use tokio_util::sync::CancellationToken;

pub(super) use report::SyncSummary;
pub(super) use shard::Shard;

/// Runs the sources of CloudQuery configurations, and writes their rows to their destinations.
///
/// Built in are a file source (`registry: builtin`, `path: files`, `spec.paths`) and the S3 destination (`cloudquery/s3` of any v7 version, or
/// `registry: builtin`, `path: s3`), the latter always with `write_mode: append`. Every other plugin is a program that is started (`registry: local`)
/// or a server that is already running (`registry: grpc`).
#[derive(Debug, Clone, clap::Args)]
pub struct SyncArgs {
    /// YAML files, or folders of them.
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Do not announce tables to the destinations before their rows.
    #[arg(long)]
    pub no_migrate: bool,
    /// Append a line of JSON for each source and destination to this file.
    #[arg(long, value_name = "FILE")]
    pub summary_location: Option<PathBuf>,
    /// Sync one of M equal shares of each source. The built-in file source distributes whole files.
    #[arg(long, value_name = "N/M")]
    pub shard: Option<Shard>,
    /// Declare the columns `_cq_sync_time` and `_cq_source_name` as not null.
    #[arg(long)]
    pub cq_columns_not_null: bool,
    /// Options of the CloudQuery CLI.
    #[command(flatten)]
    pub cloudquery: CloudQueryFlags,
    /// Accepted for compatibility with the CloudQuery CLI; no license is needed.
    #[arg(long, value_name = "PATH", hide = true)]
    pub license: Option<PathBuf>,
    /// Accepted for compatibility with the CloudQuery CLI.
    #[arg(long, value_name = "FILE", hide = true)]
    pub tables_metrics_location: Option<PathBuf>,
    /// How plugins are run.
    #[command(flatten)]
    pub plugins: PluginArgs,
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

/// Runs the command. With `--json`, a summary is printed in any case.
pub(crate) async fn run(mut args: SyncArgs) -> Result<Exit, CliError> {
    let console = args.cloudquery.console(&mut args.output);
    args.cloudquery
        .warn_also(&[("--license", args.license.is_some()), ("--tables-metrics-location", args.tables_metrics_location.is_some())]);
    let mut syncs = Vec::new();
    let (telemetry, ended) = match args.telemetry.start(Some("lakegate.sync")) {
        Ok(telemetry) => {
            let observer = telemetry.as_ref().map(Telemetry::observer);
            let ended = sync(&args, console, observer, &mut syncs).await;
            (telemetry, ended)
        }
        Err(error) => (None, Err(error)),
    };
    let printed = if args.json { data(&summary(&ended, &syncs)) } else { Ok(()) };
    let ended = exit_code_after(ended, printed);
    telemetry::finish(telemetry, &ended).await;
    ended
}

/// The JSON summary: `syncs` are the sources that completed, and the one that failed.
fn summary(ended: &Result<Exit, CliError>, syncs: &[serde_json::Value]) -> String {
    let (exit, failure) = match ended {
        Ok(exit) => (*exit, None),
        Err(error) => (error.exit, Some(error.message.as_str())),
    };
    serde_json::json!({ "ok": exit == Exit::Done, "exit_code": exit.code(), "failure": failure, "syncs": syncs }).to_string()
}

async fn sync(
    args: &SyncArgs,
    console: Console,
    observer: Option<Arc<dyn Observer>>,
    syncs: &mut Vec<serde_json::Value>,
) -> Result<Exit, CliError> {
    let interrupted = interrupt::listen()?;
    let Prepared { config, inputs, opener } = interrupt::unless(&interrupted, prepare(args.clone(), console, observer)).await?;
    let plan = plan(&config, inputs)?;
    let sync_id = args.cloudquery.sync_id()?;
    let plugins =
        Plugins::start(deduplicated(plan.iter().flat_map(Step::wanted)), &args.plugins.options(&args.output), &interrupted).await?;
    let run = Run {
        opener,
        plugins,
        sync_id,
        time_us: lakegate_base::clock::utc().timestamp_micros(),
        shard: args.shard,
        migrations: if args.no_migrate { Migrations::Withheld } else { Migrations::Sent },
        not_null: args.cq_columns_not_null,
        summary_location: args.summary_location.clone(),
        spool: args.machine.spool(),
        console,
        interrupted,
    };
    let ended = all(&plan, &run, syncs).await;
    run.plugins.stop().await;
    ended
}

/// What has to be prepared before a sync.
struct Prepared {
    config: Config,
    /// The inputs of each source.
    inputs: Vec<Vec<Input>>,
    /// The S3 destination, if the configuration uses it.
    opener: Option<Opener>,
}

/// Reads the configurations, looks for files, and compiles the component if it is needed, after everything else has been checked.
async fn prepare(args: SyncArgs, console: Console, observer: Option<Arc<dyn Observer>>) -> Result<Prepared, CliError> {
    let config = loaded(&args.configs, console)?;
    let inputs = config.sources.iter().map(|source| chosen(source).map(|inputs| share(inputs, args.shard)));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let ours = plan(&config, inputs.clone())?
        .iter()
        .flat_map(|step| &step.destinations)
        .any(|destination| destination.plugin == DestinationPlugin::S3);
    args.summary_location.as_deref().map_or(Ok(()), report::try_file)?;
    let opener = if ours { Some(args.machine.observed_destination(None, observer).await?) } else { None };
    Ok(Prepared { config, inputs, opener })
}

/// How a built-in source is run into a destination that keeps nothing.
pub(super) struct Rehearsal {
    pub(super) opener: Opener,
    pub(super) sync_id: String,
    pub(super) shard: Option<Shard>,
    pub(super) no_migrate: bool,
    pub(super) spool: Spool,
    pub(super) console: Console,
    pub(super) interrupted: CancellationToken,
}

/// Runs a built-in source into one destination of this program, and returns what it would have written.
pub(super) async fn rehearse(source: &Source, destination: &Destination, rehearsal: Rehearsal) -> Result<WriteReport, CliError> {
    let Rehearsal { opener, sync_id, shard, no_migrate, spool, console, interrupted } = rehearsal;
    let chosen_of = source.clone();
    let inputs = interrupt::unless(&interrupted, async move { chosen(&chosen_of).map(|inputs| share(inputs, shard)) }).await?;
    let run = Run {
        opener: Some(opener),
        plugins: Plugins::default(),
        sync_id,
        time_us: lakegate_base::clock::utc().timestamp_micros(),
        shard,
        migrations: if no_migrate { Migrations::Withheld } else { Migrations::Sent },
        not_null: false,
        summary_location: None,
        spool,
        console,
        interrupted,
    };
    let ended = Step::rehearsal(source, inputs, destination).rehearse(&run).await?;
    let of_store = |end| if let FinishedWrite::Store(report) = end { Some(report) } else { None };
    Ok(ended.into_iter().find_map(of_store).unwrap_or_default())
}

fn plan(config: &Config, inputs: Vec<Vec<Input>>) -> Result<Vec<Step<'_>>, CliError> {
    config.sources.iter().zip(inputs).map(|(source, inputs)| Step::new(source, inputs, config)).collect()
}

/// Reads the configurations and prints that it does.
pub(super) fn loaded(configs: &[PathBuf], console: Console) -> Result<Config, CliError> {
    let names: Vec<String> = configs.iter().map(|path| path.display().to_string()).collect();
    console.say(&format!("Loading spec(s) from {}", names.join(", ")));
    Ok(Config::load(configs, Required::Sync, &Surroundings::from_process())?)
}

async fn all(plan: &[Step<'_>], run: &Run, syncs: &mut Vec<serde_json::Value>) -> Result<Exit, CliError> {
    let mut exit = Exit::Done;
    for step in plan {
        exit = exit.max(step.run(run, syncs).await?);
    }
    Ok(exit)
}
