//! `lakegate sync`: CloudQuery configurations, with sources of files and the S3 destination built in, and any other plugin beside them.

mod flow;
mod report;
pub(super) mod step;

use super::args::{Machine, OUTPUT, PluginArgs, Words};
use super::cloudquery_flags::CloudQueryFlags;
use super::config::{Config, DestinationPlugin, Extent, Surroundings};
use super::console::{Console, data};
use super::exit::{CliError, Exit, after};
use super::interrupt;
use super::plugins::{Plugins, wanted_once};
use crate::session::Destination as Opener;
use crate::source::Input;
use flow::Migrations;
use std::path::PathBuf;
use std::str::FromStr;
use step::{Run, Step, chosen, share};

pub(super) use report::SyncSummary;

/// Runs the sources of CloudQuery configurations, and writes their rows to their destinations.
///
/// Built in are the source of files (`registry: builtin`, `path: files`, `spec.paths`) and the S3 destination (`cloudquery/s3` of any v7
/// version, or `registry: builtin`, `path: s3`), the latter always with `write_mode: append`. Every other plugin is a program that is
/// started (`registry: local`) or a server that runs already (`registry: grpc`).
#[derive(Debug, Clone, clap::Args)]
pub struct SyncArgs {
    /// Files of YAML documents, or folders of such files.
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Do not announce tables to the destinations before their rows.
    #[arg(long)]
    pub no_migrate: bool,
    /// Append a summary of each source and destination (a line of JSON) to this file.
    #[arg(long, value_name = "FILE")]
    pub summary_location: Option<PathBuf>,
    /// Sync one of M equal shares of each source. The built-in source of files deals out whole files.
    #[arg(long, value_name = "N/M")]
    pub shard: Option<Shard>,
    /// Declare the columns `_cq_sync_time` and `_cq_source_name` as never null.
    #[arg(long)]
    pub cq_columns_not_null: bool,
    /// As CloudQuery's own program has them.
    #[command(flatten)]
    pub cloudquery: CloudQueryFlags,
    /// Accepted for the sake of CloudQuery's command lines; no license is needed.
    #[arg(long, value_name = "PATH", hide = true)]
    pub license: Option<PathBuf>,
    /// Accepted for the sake of CloudQuery's command lines.
    #[arg(long, value_name = "FILE", hide = true)]
    pub tables_metrics_location: Option<PathBuf>,
    /// With which plugins.
    #[command(flatten)]
    pub plugins: PluginArgs,
    /// With what.
    #[command(flatten)]
    pub machine: Machine,
    /// Print a summary for machines (one line of JSON) on stdout.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// Saying what.
    #[command(flatten)]
    pub words: Words,
}

/// One of several equal shares of a source's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 1.
    pub number: i32,
    /// Of how many.
    pub total: i32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a share; write N/M with 1 <= N <= M");
        let (number, total) = text.split_once('/').ok_or_else(refused)?;
        let (number, total): (i32, i32) = (number.parse().map_err(|_| refused())?, total.parse().map_err(|_| refused())?);
        if number >= 1 && number <= total { Ok(Self { number, total }) } else { Err(refused()) }
    }
}

/// Runs the command. With `--json` there is a summary whatever happens.
pub(crate) async fn run(mut args: SyncArgs) -> Result<Exit, CliError> {
    let console = args.cloudquery.console(&mut args.words);
    args.cloudquery
        .warn_also(&[("--license", args.license.is_some()), ("--tables-metrics-location", args.tables_metrics_location.is_some())]);
    let mut syncs = Vec::new();
    let ended = sync(&args, console, &mut syncs).await;
    let printed = if args.json { data(&summary(&ended, &syncs)) } else { Ok(()) };
    after(ended, printed)
}

/// The summary for machines: `syncs` are the sources that came to their end, and the one that failed.
fn summary(ended: &Result<Exit, CliError>, syncs: &[serde_json::Value]) -> String {
    let (exit, failure) = match ended {
        Ok(exit) => (*exit, None),
        Err(error) => (error.exit, Some(error.message.as_str())),
    };
    serde_json::json!({ "ok": exit == Exit::Done, "exit_code": exit.code(), "failure": failure, "syncs": syncs }).to_string()
}

async fn sync(args: &SyncArgs, console: Console, syncs: &mut Vec<serde_json::Value>) -> Result<Exit, CliError> {
    let interrupted = interrupt::listen()?;
    let Prepared { config, inputs, opener } = interrupt::unless(&interrupted, prepare(args.clone(), console)).await?;
    let plan = plan(&config, inputs)?;
    let sync_id = args.cloudquery.sync_id()?;
    let plugins = Plugins::start(wanted_once(plan.iter().flat_map(Step::wanted)), &args.plugins.options(&args.words), &interrupted).await?;
    let run = Run {
        opener,
        plugins,
        sync_id,
        time_us: crate::clock::utc().timestamp_micros(),
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

/// What a sync begins with.
struct Prepared {
    config: Config,
    /// Those of each source.
    inputs: Vec<Vec<Input>>,
    /// Our own destination, if one of the configuration is.
    opener: Option<Opener>,
}

/// Reads the configurations, looks for files, and compiles the component if it is needed. What can be refused is refused before that.
async fn prepare(args: SyncArgs, console: Console) -> Result<Prepared, CliError> {
    let config = loaded(&args.configs, console)?;
    let inputs = config.sources.iter().map(|source| chosen(source).map(|inputs| share(inputs, args.shard)));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let ours = plan(&config, inputs.clone())?
        .iter()
        .flat_map(|step| &step.destinations)
        .any(|destination| destination.plugin == DestinationPlugin::S3);
    args.summary_location.as_deref().map_or(Ok(()), report::try_file)?;
    let opener = if ours { Some(args.machine.destination(None).await?) } else { None };
    Ok(Prepared { config, inputs, opener })
}

fn plan(config: &Config, inputs: Vec<Vec<Input>>) -> Result<Vec<Step<'_>>, CliError> {
    config.sources.iter().zip(inputs).map(|(source, inputs)| Step::planned(source, inputs, config)).collect()
}

/// Reads the configurations, and says so.
pub(super) fn loaded(configs: &[PathBuf], console: Console) -> Result<Config, CliError> {
    let names: Vec<String> = configs.iter().map(|path| path.display().to_string()).collect();
    console.say(&format!("Loading spec(s) from {}", names.join(", ")));
    Ok(Config::load(configs, Extent::Sync, &Surroundings::of_process())?)
}

async fn all(plan: &[Step<'_>], run: &Run, syncs: &mut Vec<serde_json::Value>) -> Result<Exit, CliError> {
    let mut exit = Exit::Done;
    for step in plan {
        exit = exit.max(step.run(run, syncs).await?);
    }
    Ok(exit)
}

/// A number of seconds as Go prints a duration: `12s`, `1m12s`, `1h0m0s`.
fn go_seconds(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// A moment as the summary has it.
fn time_rfc3339(time_us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time_us).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards() {
        assert_eq!("2/3".parse(), Ok(Shard { number: 2, total: 3 }));
        for text in ["", "1", "0/1", "2/1", "a/b", "1/", "-1/2", "1/2/3"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (72, "1m12s"), (3_600, "1h0m0s"), (90_061, "25h1m1s")] {
            assert_eq!(go_seconds(seconds), text);
        }
    }

    #[test]
    fn the_moment_of_a_sync() {
        assert_eq!(time_rfc3339(1_700_000_000_000_001), "2023-11-14T22:13:20.000001Z");
    }
}
