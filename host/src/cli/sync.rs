//! `lakegate sync`: CloudQuery configurations, with sources of files built in.

use super::args::{Machine, Words};
use super::config::{Config, Destination, DestinationPlugin, Extent, Source, SourcePlugin, Surroundings};
use super::console::{Console, data, error_line, warnings};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::pump::{self, Outlet, sync_id};
use super::summary::Summary;
use crate::ledger::WriteReport;
use crate::session::Destination as Opener;
use crate::source::{Feed, Input, ReadOptions, SyncColumns, resolve};
use std::path::PathBuf;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Runs the sources of CloudQuery configurations, and writes their rows to their destinations.
///
/// Built in are the source of files (`registry: builtin`, `path: files`, `spec.paths`) and the S3 destination (`cloudquery/s3` of any v7
/// version, or `registry: builtin`, `path: s3`), always with `write_mode: append`.
#[derive(Debug, Clone, clap::Args)]
pub struct SyncArgs {
    /// Files of YAML documents, or folders of such files.
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// With what.
    #[command(flatten)]
    pub machine: Machine,
    /// Saying what.
    #[command(flatten)]
    pub words: Words,
}

/// What all steps of one run of the command have in common.
struct Run {
    opener: Opener,
    sync_id: String,
    /// `_cq_sync_time`, one value for all sources.
    time_us: i64,
    console: Console,
    interrupted: CancellationToken,
}

/// Runs the command. With `--json` there is a summary whatever happens.
pub(crate) async fn run(args: SyncArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.words);
    let mut syncs = Vec::new();
    let ended = sync(&args, console, &mut syncs).await;
    if args.words.json {
        data(&summary(&ended, &syncs)).map_err(|error| CliError::new(Exit::Unexpected, format!("stdout: {error}")))?;
    }
    ended
}

/// The summary for machines: `syncs` are the sources that came to their end.
fn summary(ended: &Result<Exit, CliError>, syncs: &[serde_json::Value]) -> String {
    let (exit, failure) = match ended {
        Ok(exit) => (*exit, None),
        Err(error) => (error.exit, Some(error.message.as_str())),
    };
    serde_json::json!({ "ok": exit == Exit::Done, "exit_code": exit.code(), "failure": failure, "syncs": syncs }).to_string()
}

async fn sync(args: &SyncArgs, console: Console, syncs: &mut Vec<serde_json::Value>) -> Result<Exit, CliError> {
    let interrupted = interrupt::listen().map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
    let names: Vec<String> = args.configs.iter().map(|path| path.display().to_string()).collect();
    console.say(&format!("Loading spec(s) from {}", names.join(", ")));
    let config = Config::load(&args.configs, Extent::Sync, &Surroundings::of_process())?;
    // Everything that can be refused is refused before the first source starts.
    let plan = config.sources.iter().map(|source| planned(source, &config)).collect::<Result<Vec<_>, _>>()?;
    let opener = args.machine.destination(None).await?;
    let run = Run { opener, sync_id: sync_id()?, time_us: chrono::Utc::now().timestamp_micros(), console, interrupted };
    let mut exit = Exit::Done;
    for step in plan {
        let (ended, json) = step.run(&run).await?;
        exit = exit.max(ended);
        syncs.push(json);
    }
    Ok(exit)
}

/// One source with its inputs and destinations.
struct Step<'a> {
    source: &'a Source,
    inputs: Vec<Input>,
    destinations: Vec<&'a Destination>,
}

fn planned<'a>(source: &'a Source, config: &'a Config) -> Result<Step<'a>, CliError> {
    let paths = match &source.plugin {
        SourcePlugin::Files { paths } => paths,
        SourcePlugin::Local { .. } | SourcePlugin::Grpc { .. } => {
            let problem = "this version runs sources of files only: write `registry: builtin` and `path: files`";
            return Err(CliError::new(Exit::Spec, format!("source {:?}: {problem}", source.name)));
        }
    };
    let destinations: Vec<&Destination> = config.destinations.iter().filter(|known| source.destinations.contains(&known.name)).collect();
    for destination in &destinations {
        if destination.plugin != DestinationPlugin::S3 {
            let problem = "this version writes with its own S3 destination only: write `registry: builtin` and `path: s3`";
            return Err(CliError::new(Exit::Spec, format!("destination {:?}: {problem}", destination.name)));
        }
        if destination.sync_group_id.is_some() || destination.send_sync_summary {
            let problem = "`sync_group_id` and `send_sync_summary` are not supported with a source of files";
            return Err(CliError::new(Exit::Spec, format!("destination {:?}: {problem}", destination.name)));
        }
    }
    let refused = |error: crate::source::InputError| CliError::new(Exit::Source, format!("source {:?}: {error}", source.name));
    let mut inputs = resolve(paths, None).map_err(refused)?;
    let wanted = patterns(&source.tables, &source.name, "tables")?;
    let skipped = patterns(&source.skip_tables, &source.name, "skip_tables")?;
    let any = |patterns: &[glob::Pattern], table: &str| patterns.iter().any(|pattern| pattern.matches(table));
    inputs.retain(|input| any(&wanted, &input.table) && !any(&skipped, &input.table));
    if inputs.is_empty() {
        return Err(CliError::new(Exit::Source, format!("source {:?}: `tables` and `skip_tables` leave no table", source.name)));
    }
    Ok(Step { source, inputs, destinations })
}

/// Patterns of tables: `*` stands for any text.
fn patterns(texts: &[String], source: &str, field: &str) -> Result<Vec<glob::Pattern>, CliError> {
    let refused = |text: &str, problem: &str| CliError::new(Exit::Spec, format!("source {source:?}: `{field}`: {text:?}: {problem}"));
    texts.iter().map(|text| glob::Pattern::new(text).map_err(|error| refused(text, error.msg))).collect()
}

impl Step<'_> {
    async fn run(self, run: &Run) -> Result<(Exit, serde_json::Value), CliError> {
        let Run { opener, sync_id, time_us, console, interrupted } = run;
        let warned_before = warnings();
        let started = Instant::now();
        let names: Vec<&str> = self.destinations.iter().map(|destination| destination.name.as_str()).collect();
        console.say(&format!("Starting sync for: {} -> [{}]", version_string(self.source), names.join(", ")));
        let mut outlets = Vec::with_capacity(self.destinations.len());
        for destination in &self.destinations {
            let spec = destination.spec.to_string();
            let opened = opener.open(&spec, sync_id).await.map_err(|error| named(&destination.name, error.into()))?;
            outlets.push(Outlet::begin(opened)?);
        }
        let columns = SyncColumns { sync_time_us: *time_us, source_name: self.source.name.clone() };
        let options = ReadOptions::default();
        let feed = Feed::start(self.inputs, options, Some(columns)).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
        let progress = console.progress("Syncing resources...");
        let reports = pump::run(feed, outlets, &progress, interrupted).await.map_err(|error| of_source(&self.source.name, error))?;
        drop(progress);
        let exit = reports.iter().map(Exit::of_report).max().unwrap_or(Exit::Done);
        let summaries: Vec<Summary> = reports.iter().map(|report| Summary::of(report, started.elapsed())).collect();
        summaries.iter().flat_map(Summary::failures).for_each(|line| error_line(&line));
        console.say(&completion(&reports, started.elapsed().as_secs(), warnings() - warned_before, exit));
        let json = serde_json::json!({
            "source": self.source.name,
            "sync_id": sync_id,
            "destinations": names.iter().zip(&summaries).map(|(name, summary)| serde_json::json!({ "name": name, "summary": summary })).collect::<Vec<_>>(),
        });
        Ok((exit, json))
    }
}

fn version_string(source: &Source) -> String {
    match &source.version {
        Some(version) => format!("{} (files@{version})", source.name),
        None => format!("{} (builtin@files)", source.name),
    }
}

/// The last line of a sync, in the words that CloudQuery's users know.
fn completion(reports: &[WriteReport], seconds: u64, warnings: u64, exit: Exit) -> String {
    let resources: u64 = reports.iter().map(|report| report.tables.iter().map(|table| table.rows_in).sum()).max().unwrap_or(0);
    let errors = reports.iter().map(|report| report.failures().count()).sum::<usize>();
    let how = if exit == Exit::Done { "successfully" } else { "with errors, see logs for details" };
    format!("Sync completed {how}. Resources: {resources}, Errors: {errors}, Warnings: {warnings}, Time: {seconds}s")
}

fn named(destination: &str, error: CliError) -> CliError {
    CliError::new(error.exit, format!("failed to init destination {destination}: {}", error.message))
}

/// What goes wrong with the files of a source is the source's failure.
fn of_source(source: &str, error: CliError) -> CliError {
    match error.exit {
        Exit::Input => CliError::new(Exit::Source, format!("failed to sync source {source}: {}", error.message)),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_users_know() {
        let done = completion(&[], 12, 3, Exit::Done);
        assert_eq!(done, "Sync completed successfully. Resources: 0, Errors: 0, Warnings: 3, Time: 12s");
        assert!(completion(&[], 1, 0, Exit::Storage).starts_with("Sync completed with errors, see logs for details. Resources: 0"));
    }

    #[test]
    fn refused_files_are_the_sources_failure_and_others_keep_their_code() {
        assert_eq!(of_source("s", CliError::new(Exit::Input, "m")).exit, Exit::Source);
        assert_eq!(of_source("s", CliError::new(Exit::Interrupted, "m")).exit, Exit::Interrupted);
    }
}
