//! One source of a sync with its destinations: checks before anything starts, and the run.

use super::super::config::{Config, Destination, DestinationPlugin, PkMode, Source, SourcePlugin, WriteMode};
use super::super::console::{Console, error_line, warnings};
use super::super::destination_write::{DestinationWrite, FailedWrite, FinishedWrite, abort_all, finish_all, first, interruption};
use super::super::exit::{CliError, Exit};
use super::super::plugins::{Plugins, Wanted, connected, connected_backend, referenced_destinations};
use super::super::summary::Summary;
use super::flow::{self, Migrations, SourceCounts, Target};
use super::inputs::selection;
use super::report::SyncSummary;
use super::shard::Shard;
use super::times::{go_seconds, time_rfc3339};
use lakegate::ipc::table_of;
use lakegate::{Destination as Opener, Session, WriteReport};
use lakegate_cloudquery::client::columns::{Keys, SyncColumnWriter, SyncColumns};
use lakegate_cloudquery::client::{Kind, Plugin, Selection};
use lakegate_cloudquery::proto::plugin::sync;
use lakegate_files::{Input, MessageReader, ReadOptions, Spool};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// State shared by all steps of a run.
pub(super) struct Run {
    /// The S3 destination, if the configuration uses it.
    pub(super) opener: Option<Opener>,
    pub(super) plugins: Plugins,
    pub(super) sync_id: String,
    /// `_cq_sync_time`, one value for all sources.
    pub(super) time_us: i64,
    pub(super) shard: Option<Shard>,
    pub(super) migrations: Migrations,
    /// `--cq-columns-not-null`
    pub(super) not_null: bool,
    pub(super) summary_location: Option<PathBuf>,
    /// Where a file may be copied to, if necessary.
    pub(super) spool: Spool,
    pub(super) console: Console,
    pub(super) interrupted: CancellationToken,
}

impl Run {
    /// Aborts the writes. After an interruption, plugins are stopped at the same time.
    async fn abort(&self, writes: Vec<DestinationWrite>) -> Vec<Option<WriteReport>> {
        let plugins = async {
            if self.interrupted.is_cancelled() {
                self.plugins.stop().await;
            }
        };
        tokio::join!(abort_all(writes, &self.interrupted), plugins).0
    }
}

/// A destination after its Init.
enum Opened<'a> {
    Store(Session),
    Plugin(&'a Arc<Plugin>),
}

/// One source with its inputs and destinations.
pub(super) struct Step<'a> {
    source: &'a Source,
    /// The inputs of a file source.
    inputs: Vec<Input>,
    pub(super) destinations: Vec<&'a Destination>,
    /// Destinations whose connection the source refers to.
    pub(super) backends: Vec<&'a Destination>,
}

impl<'a> Step<'a> {
    /// Checks everything that can be checked before the first source starts. `inputs` are those of a file source.
    pub(super) fn new(source: &'a Source, inputs: Vec<Input>, config: &'a Config) -> Result<Self, CliError> {
        let destinations = config.destinations.iter().filter(|known| source.destinations.contains(&known.name)).collect();
        Ok(Self { source, inputs, destinations, backends: referenced_destinations(source, config)? })
    }

    /// A built-in source with one destination of this program.
    pub(super) fn rehearsal(source: &'a Source, inputs: Vec<Input>, destination: &'a Destination) -> Self {
        Self { source, inputs, destinations: vec![destination], backends: Vec::new() }
    }

    /// Runs the source into its destinations without a report on it.
    pub(super) async fn rehearse(&self, run: &Run) -> Result<Vec<FinishedWrite>, CliError> {
        let (mut targets, mut counts) = (Vec::new(), SourceCounts::default());
        let flowed = tokio::select! {
            biased;
            () = run.interrupted.cancelled() => Err(interruption()),
            flowed = self.flow(run, &mut targets, &mut counts, Instant::now()) => flowed,
        };
        let writes = targets.into_iter().map(|target| target.write).collect();
        let failed = |error| source_failure(&self.source.name, error);
        if let Err(error) = flowed {
            run.abort(writes).await;
            return Err(failed(error));
        }
        finish_all(writes, &run.interrupted).await.into_iter().map(|ended| ended.map_err(|broken| failed(broken.error))).collect()
    }

    /// The plugins that the step needs.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Wanted> {
        let destinations = self.destinations.iter().chain(&self.backends).filter_map(|it| Wanted::destination(it));
        Wanted::source(self.source).into_iter().chain(destinations)
    }

    /// Runs the source to its end. Its JSON report is appended to `syncs`, even if a destination failed.
    pub(super) async fn run(&self, run: &Run, syncs: &mut Vec<Value>) -> Result<Exit, CliError> {
        let started = Instant::now();
        let warned_before = warnings();
        let names: Vec<String> = self.destinations.iter().map(|destination| destination_version_string(destination)).collect();
        run.console.say(&format!("Starting sync for: {} -> [{}]", version_string(self.source), names.join(" ")));
        let failed = |error: CliError| source_failure(&self.source.name, error);
        let mut targets = Vec::with_capacity(self.destinations.len());
        let mut counts = SourceCounts::default();
        let flowed = tokio::select! {
            biased;
            () = run.interrupted.cancelled() => Err(interruption()),
            flowed = self.flow(run, &mut targets, &mut counts, started) => flowed,
        };
        let writes = targets.into_iter().map(|target| target.write).collect();
        let tables = match flowed {
            Ok(tables) => tables,
            Err(error) => {
                let error = failed(error);
                let landed = run.abort(writes).await;
                let left = self
                    .destinations
                    .iter()
                    .zip(&landed)
                    .map(|(destination, landed)| aborted_report(destination, &error, landed.as_ref(), started));
                let left = left.collect();
                syncs.push(self.json_report(run, &counts, left, Some(&error)));
                return Err(error);
            }
        };
        let ended = finish_all(writes, &run.interrupted).await;
        let ended = ended.into_iter().map(|end| end.map_err(|broken| FailedWrite { error: failed(broken.error), ..broken })).collect();
        let result = SourceResult { counts, tables, started, warnings: warnings() - warned_before };
        self.report(run, &result, ended, syncs)
    }

    /// Opens the destinations, starts the source, and passes all rows on; returns the source's tables. The calls are in the CLI's order: Init of
    /// every destination, Init of the source, then one Write each.
    async fn flow(
        &self,
        run: &Run,
        targets: &mut Vec<Target>,
        counts: &mut SourceCounts,
        started: Instant,
    ) -> Result<Vec<String>, CliError> {
        let mut opened = Vec::with_capacity(self.destinations.len());
        for destination in &self.destinations {
            opened.push(self.open(destination, run).await?);
        }
        let request = self.begin(run).await?;
        for (destination, opened) in self.destinations.iter().zip(opened) {
            let write = match opened {
                Opened::Store(session) => DestinationWrite::store(session)?,
                Opened::Plugin(plugin) => DestinationWrite::plugin(plugin.write(), destination.migrate_force),
            };
            targets.push(Target { sync_columns: SyncColumnWriter::new(self.columns(destination, run)), write });
        }
        let source = self.start(request, run).await?;
        let progress = run.console.progress("Syncing resources...");
        flow::run(&self.source.name, source, targets, counts, run.migrations, &progress).await?;
        let tables = self.tables(run, counts).await;
        counts.offered(&tables);
        for (destination, target) in self.destinations.iter().zip(targets.iter_mut()) {
            if destination.write_mode == WriteMode::OverwriteDeleteStale {
                for table in flow::stale(counts, self.source.backend.is_some()) {
                    target.write.delete_stale(&table.name, &self.source_name(run), run.time_us).await?;
                }
            }
            if destination.send_sync_summary {
                // The row goes through the same stream, so it is written before the destination has confirmed anything.
                let summary = self.summary(run, destination, counts, &tables, 0, started);
                let schema = target.sync_columns.schema(&SyncSummary::schema_message()?)?;
                if run.migrations == Migrations::Sent {
                    target.write.migrate(schema.ipc).await?;
                }
                for record in target.sync_columns.rows(&summary.record_message()?)?.records {
                    target.write.insert(record.ipc, record.rows).await?;
                }
            }
        }
        Ok(tables)
    }

    async fn open<'r>(&self, destination: &Destination, run: &'r Run) -> Result<Opened<'r>, CliError> {
        let failed =
            |error: CliError| CliError::new(error.exit, format!("failed to init destination {}: {}", destination.name, error.message));
        match &destination.plugin {
            DestinationPlugin::S3 => {
                let opener = run.opener.as_ref().ok_or_else(|| CliError::new(Exit::Unexpected, "the destination was not compiled"))?;
                let session = opener.open(&destination.spec.to_string(), &run.sync_id).await.map_err(|error| failed(error.into()))?;
                Ok(Opened::Store(session))
            }
            DestinationPlugin::Local { .. } | DestinationPlugin::Grpc { .. } => {
                let plugin = run.plugins.get(Kind::Destination, &destination.name)?;
                init(plugin, &destination.spec, run).await?;
                Ok(Opened::Plugin(plugin))
            }
        }
    }

    /// Init of the source and of its state backend; returns the Sync request, or [`None`] if the source is built in.
    async fn begin(&self, run: &Run) -> Result<Option<sync::Request>, CliError> {
        if Wanted::source(self.source).is_none() {
            return Ok(None);
        }
        let mut connections = Vec::new();
        for backend in &self.backends {
            let plugin = run.plugins.get(Kind::Destination, &backend.name)?;
            // Destinations that receive rows have already been initialised.
            if !self.destinations.iter().any(|destination| destination.name == backend.name) {
                init(plugin, &backend.spec, run).await?;
            }
            connections.push((backend.name.as_str(), plugin.connection()));
        }
        let plugin = run.plugins.get(Kind::Source, &self.source.name)?;
        init(plugin, &connected(&self.source.spec, &connections), run).await?;
        let backend = self.source.backend.as_ref().map(|backend| connected_backend(backend, &connections));
        let Selection { tables, skip_tables, skip_dependent_tables } = selection(self.source);
        Ok(Some(sync::Request {
            tables,
            skip_tables,
            skip_dependent_tables,
            deterministic_cq_id: self.source.deterministic_cq_id,
            backend: backend.map(|it| sync::BackendOptions { table_name: it.table_name, connection: it.connection }),
            shard: run.shard.map(|shard| sync::Shard { num: shard.number, total: shard.total }),
            // Without it, a source on the Python SDK fails as a whole if one of its tables does.
            with_error_messages: true,
        }))
    }

    async fn start(&self, request: Option<sync::Request>, run: &Run) -> Result<flow::Source, CliError> {
        let Some(request) = request else {
            let feed = MessageReader::start(self.inputs.clone(), ReadOptions { spool: run.spool.clone(), ..ReadOptions::default() });
            return feed.map(flow::Source::Files).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()));
        };
        let source_stream = run.plugins.get(Kind::Source, &self.source.name)?.sync(request).await;
        Ok(flow::Source::Plugin(source_stream.map_err(|error| CliError::new(Exit::Source, error.to_string()))?))
    }

    /// The names of the source's tables, including children, for the summary. If the source cannot list them, those it announced.
    async fn tables(&self, run: &Run, counts: &SourceCounts) -> Vec<String> {
        let mut names: Vec<String> = self.inputs.iter().map(|input| input.table.clone()).collect();
        names.dedup();
        let summary = run.summary_location.is_some() || self.destinations.iter().any(|destination| destination.send_sync_summary);
        let Ok(plugin) = run.plugins.get(Kind::Source, &self.source.name) else { return names };
        if !summary {
            return names;
        }
        let names = plugin.tables(&selection(self.source)).await.map_err(|error| error.to_string());
        let names = names.and_then(|tables| tables.iter().map(|ipc| table_of(ipc).map_err(|error| error.to_string())).collect());
        names.unwrap_or_else(|error| {
            tracing::warn!(source = self.source.name, error, "The source does not list its tables; the summary has those it announced.");
            counts.tables.iter().map(|table| table.name.clone()).collect()
        })
    }

    /// `_cq_source_name`, which differs between the shards of a source.
    fn source_name(&self, run: &Run) -> String {
        match run.shard {
            Some(Shard { number, total }) => format!("{}_{number}_{total}", self.source.name),
            None => self.source.name.clone(),
        }
    }

    fn columns(&self, destination: &Destination, run: &Run) -> SyncColumns {
        let keys = match (destination.write_mode, destination.pk_mode) {
            (WriteMode::Append, _) => Keys::Removed,
            (_, PkMode::CqIdOnly) => Keys::CqIdOnly,
            (_, PkMode::Default) => Keys::Kept,
        };
        let sync_group_id = group_id(destination, run);
        SyncColumns { sync_time_us: run.time_us, source_name: self.source_name(run), sync_group_id, keys, not_null: run.not_null }
    }

    fn summary(
        &self,
        run: &Run,
        destination: &Destination,
        counts: &SourceCounts,
        tables: &[String],
        failures: u64,
        started: Instant,
    ) -> SyncSummary {
        let log_counts =
            |kind, name: &str| run.plugins.get(kind, name).map_or((0, 0), |it| (it.log_counts().errors(), it.log_counts().warnings()));
        let source = log_counts(Kind::Source, &self.source.name);
        let at = log_counts(Kind::Destination, &destination.name);
        SyncSummary {
            cli_version: env!("CARGO_PKG_VERSION").to_owned(),
            destination_errors: at.0.max(failures),
            destination_name: destination.name.clone(),
            destination_path: destination_path(destination),
            destination_version: destination.version.clone().unwrap_or_default(),
            destination_warnings: at.1,
            resources: counts.rows,
            source_errors: source.0.max(counts.errors()),
            source_name: self.source.name.clone(),
            source_path: source_path(self.source),
            source_version: self.source.version.clone().unwrap_or_default(),
            source_warnings: source.1,
            source_tables: tables.to_vec(),
            sync_id: run.sync_id.clone(),
            sync_time: time_rfc3339(run.time_us),
            sync_duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            sync_group_id: group_id(destination, run),
            shard_num: run.shard.map(|shard| shard.number),
            shard_total: run.shard.map(|shard| shard.total),
            resources_per_table: counts.rows_per_table.clone(),
            errors_per_table: counts.errors_per_table.clone(),
        }
    }

    /// The number of errors of the source: error messages or logged errors, whichever is higher.
    fn source_errors(&self, run: &Run, counts: &SourceCounts) -> u64 {
        run.plugins.get(Kind::Source, &self.source.name).map_or(0, |it| it.log_counts().errors()).max(counts.errors())
    }

    /// The JSON report on the source, after it completed or failed.
    fn json_report(&self, run: &Run, counts: &SourceCounts, destinations: Vec<Value>, failure: Option<&CliError>) -> Value {
        let mut report = json!({
            "source": self.source.name,
            "sync_id": run.sync_id,
            "resources": counts.rows,
            "source_errors": self.source_errors(run, counts),
            "destinations": destinations,
        });
        if let (Some(error), Value::Object(fields)) = (failure, &mut report) {
            fields.insert("failure".to_owned(), error.message.as_str().into());
        }
        report
    }

    /// Prints the final lines, writes the summary file, and appends the JSON report. What one destination has confirmed is reported even if another
    /// failed; the first failure is returned.
    fn report(
        &self,
        run: &Run,
        result: &SourceResult,
        ended: Vec<Result<FinishedWrite, FailedWrite>>,
        syncs: &mut Vec<Value>,
    ) -> Result<Exit, CliError> {
        let SourceResult { counts, tables, started, warnings } = result;
        let elapsed = started.elapsed();
        let (mut exit, mut failures) = (Exit::Done, Vec::new());
        let mut destinations = Vec::new();
        let mut errors = 0;
        for (destination, end) in self.destinations.iter().zip(ended) {
            let end = match end {
                Ok(end) => end,
                Err(FailedWrite { error, landed }) => {
                    destinations.push(aborted_report(destination, &error, landed.as_ref(), *started));
                    failures.push(error);
                    continue;
                }
            };
            exit = exit.max(end.exit());
            let summary = self.summary(run, destination, counts, tables, end.failures(), *started);
            errors += summary.destination_errors;
            if let Some(file) = &run.summary_location
                && let Err(error) = summary.append_to(file)
            {
                tracing::warn!(file = %file.display(), %error, "The summary cannot be written; the rows were written.");
            }
            destinations.push(match end {
                FinishedWrite::Store(report) => {
                    let summary = Summary::new(&report, elapsed);
                    summary.failures().iter().chain(&summary.landed()).for_each(|line| error_line(line));
                    summary.quarantined().iter().for_each(|line| run.console.say(line));
                    summary.in_catalog().iter().for_each(|line| run.console.say(line));
                    if let Some(line) = summary.committed_before() {
                        run.console.say(&line);
                    }
                    json!({ "name": destination.name, "summary": summary })
                }
                FinishedWrite::Plugin { rows } => json!({ "name": destination.name, "rows": rows }),
            });
        }
        syncs.push(self.json_report(run, counts, destinations, None));
        first(failures)?;
        run.console.say(&completion(counts.rows, errors + self.source_errors(run, counts), *warnings, elapsed.as_secs()));
        Ok(exit)
    }
}

/// The JSON report on a failed write: the cause, the tables that had already failed, and what is in the bucket nevertheless. Also printed as text.
fn aborted_report(destination: &Destination, error: &CliError, landed: Option<&WriteReport>, started: Instant) -> Value {
    let Some(landed) = landed else { return json!({ "name": destination.name, "failure": error.message }) };
    let summary = Summary::ended_early(error.exit, &error.message, landed, started.elapsed());
    summary.failures().iter().chain(&summary.landed()).for_each(|line| error_line(line));
    json!({ "name": destination.name, "failure": error.message, "summary": summary })
}

/// The result of a source that completed.
struct SourceResult {
    counts: SourceCounts,
    /// The source's tables, for the summary.
    tables: Vec<String>,
    started: Instant,
    /// Number of warnings logged during the run.
    warnings: u64,
}

async fn init(plugin: &Arc<Plugin>, spec: &Value, run: &Run) -> Result<(), CliError> {
    init_plugin(plugin, spec, false, &run.sync_id).await
}

/// Init of any plugin.
pub(in super::super) async fn init_plugin(plugin: &Plugin, spec: &Value, no_connection: bool, sync_id: &str) -> Result<(), CliError> {
    let begun = plugin.init(spec, no_connection, sync_id).await;
    begun.map_err(|error| CliError::new(Exit::Source, format!("failed to init {} {}: {error}", plugin.kind(), plugin.name())))
}

fn group_id(destination: &Destination, run: &Run) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_micros(run.time_us)?;
    let mut id = destination.sync_group_id.clone()?;
    for (placeholder, layout) in [("{{YEAR}}", "%Y"), ("{{MONTH}}", "%m"), ("{{DAY}}", "%d"), ("{{HOUR}}", "%H"), ("{{MINUTE}}", "%M")] {
        id = id.replace(placeholder, &time.format(layout).to_string());
    }
    Some(id.replace("{{SYNC_ID}}", &run.sync_id))
}

pub(in super::super) fn version_string(source: &Source) -> String {
    match &source.plugin {
        SourcePlugin::Files { .. } => match &source.version {
            Some(version) => format!("{} (files@{version})", source.name),
            None => format!("{} (builtin@files)", source.name),
        },
        SourcePlugin::Local { path } => format!("{} (local@{})", source.name, path.display()),
        SourcePlugin::Grpc { address } => format!("{} (grpc@{address})", source.name),
    }
}

pub(in super::super) fn destination_version_string(destination: &Destination) -> String {
    let path = destination_path(destination);
    match (&destination.plugin, &destination.version) {
        (DestinationPlugin::S3, Some(version)) => format!("{} ({path}@{version})", destination.name),
        (DestinationPlugin::S3, None) => format!("{} (builtin@s3)", destination.name),
        (DestinationPlugin::Local { .. }, _) => format!("{} (local@{path})", destination.name),
        (DestinationPlugin::Grpc { .. }, _) => format!("{} (grpc@{path})", destination.name),
    }
}

fn source_path(source: &Source) -> String {
    match &source.plugin {
        SourcePlugin::Files { .. } => "files".to_owned(),
        SourcePlugin::Local { path } => path.display().to_string(),
        SourcePlugin::Grpc { address } => address.clone(),
    }
}

fn destination_path(destination: &Destination) -> String {
    match &destination.plugin {
        DestinationPlugin::S3 => "cloudquery/s3".to_owned(),
        DestinationPlugin::Local { path } => path.display().to_string(),
        DestinationPlugin::Grpc { address } => address.clone(),
    }
}

/// The last line of a sync, worded as in the CloudQuery CLI.
fn completion(resources: u64, errors: u64, warnings: u64, seconds: u64) -> String {
    let how = if errors == 0 { "successfully" } else { "with errors, see above for details" };
    format!("Sync completed {how}. Resources: {resources}, Errors: {errors}, Warnings: {warnings}, Time: {}", go_seconds(seconds))
}

/// Converts an error in a source's rows to a failure of the source.
fn source_failure(source: &str, error: CliError) -> CliError {
    match error.exit {
        Exit::Input | Exit::Source => CliError::new(Exit::Source, format!("failed to sync source {source}: {}", error.message)),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_users_know() {
        let done = completion(0, 0, 3, 12);
        assert_eq!(done, "Sync completed successfully. Resources: 0, Errors: 0, Warnings: 3, Time: 12s");
        let failed = completion(5, 1, 0, 1);
        assert_eq!(failed, "Sync completed with errors, see above for details. Resources: 5, Errors: 1, Warnings: 0, Time: 1s");
    }

    #[test]
    fn refused_files_are_the_sources_failure_and_others_keep_their_code() {
        assert_eq!(source_failure("s", CliError::new(Exit::Input, "m")).exit, Exit::Source);
        assert_eq!(source_failure("s", CliError::new(Exit::Interrupted, "m")).exit, Exit::Interrupted);
    }
}
