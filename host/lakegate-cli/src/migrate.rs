//! `lakegate migrate`: announces all tables of the sources to their destinations without moving rows.

use super::args::{PluginArgs, ResourceArgs};
use super::cloudquery_flags::CloudQueryFlags;
use super::config::{Config, Destination, DestinationPlugin, PkMode, Source, SourcePlugin, WriteMode};
use super::console::{Console, error_line};
use super::destination_write::{DestinationWrite, FailedWrite, abort_all, finish_all, first, interruption};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::output_args::OutputArgs;
use super::plugins::{Plugins, Wanted, deduplicated};
use super::summary::Summary;
use super::sync::inputs::{file_tables, selection};
use super::sync::step::{destination_version_string, init_plugin, version_string};
use super::sync::{SyncSummary, loaded};
use bytes::Bytes;
use lakegate::{Destination as Opener, WriteReport};
use lakegate_cloudquery::client::Kind;
use lakegate_cloudquery::client::columns::{Keys, SyncColumnWriter, SyncColumns};
use lakegate_files::Spool;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Announces the tables of the sources to their destinations, which create or change them; no rows are read or written.
///
/// The S3 destination does nothing unless its spec sets `write_empty_objects_for_empty_tables`.
#[derive(Debug, Clone, clap::Args)]
pub struct MigrateArgs {
    /// YAML files, or folders of them.
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Declare the columns `_cq_sync_time` and `_cq_source_name` as not null.
    #[arg(long)]
    pub cq_columns_not_null: bool,
    /// Options of the CloudQuery CLI.
    #[command(flatten)]
    pub cloudquery: CloudQueryFlags,
    /// How plugins are run.
    #[command(flatten)]
    pub plugins: PluginArgs,
    /// Resource limits of the process.
    #[command(flatten)]
    pub machine: ResourceArgs,
    /// Output and logging.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// State shared by all sources of the run.
struct Run<'a> {
    config: &'a Config,
    opener: Option<Opener>,
    plugins: Plugins,
    sync_id: String,
    not_null: bool,
    /// Where a file may be copied to, if necessary.
    spool: Spool,
    console: Console,
    interrupted: CancellationToken,
}

/// Runs the command.
pub(crate) async fn run(mut args: MigrateArgs) -> Result<Exit, CliError> {
    let console = args.cloudquery.console(&mut args.output);
    let interrupted = interrupt::listen()?;
    let (configs, machine) = (args.configs.clone(), args.machine.clone());
    let prepared = async move {
        let config = loaded(&configs, console)?;
        let ours = used(&config).any(|destination| destination.plugin == DestinationPlugin::S3);
        let opener = if ours { Some(machine.destination(None).await?) } else { None };
        Ok((config, opener))
    };
    let (config, opener) = interrupt::unless(&interrupted, prepared).await?;
    let sync_id = args.cloudquery.sync_id()?;
    let wanted = config.sources.iter().filter_map(Wanted::source).chain(used(&config).filter_map(Wanted::destination));
    let plugins = Plugins::start(deduplicated(wanted), &args.plugins.options(&args.output), &interrupted).await?;
    let run = Run {
        config: &config,
        opener,
        plugins,
        sync_id,
        not_null: args.cq_columns_not_null,
        spool: args.machine.spool(),
        console,
        interrupted,
    };
    let mut ended = Ok(Exit::Done);
    for source in &config.sources {
        ended = match (ended, run.migrate(source).await) {
            (Ok(earlier), Ok(exit)) => Ok(earlier.max(exit)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        if ended.is_err() {
            break;
        }
    }
    run.plugins.stop().await;
    ended
}

/// Prints what a failed write has left: tables that had already failed, and empty objects of others.
fn report_partial_writes(error: &CliError, landed: &[Option<WriteReport>]) {
    for report in landed.iter().flatten() {
        let summary = Summary::ended_early(error.exit, &error.message, report, Duration::ZERO);
        summary.failures().iter().chain(&summary.landed()).for_each(|line| error_line(line));
    }
}

/// The destinations that are used by any source.
fn used(config: &Config) -> impl Iterator<Item = &Destination> {
    let used = |it: &&Destination| config.sources.iter().any(|source| source.destinations.contains(&it.name));
    config.destinations.iter().filter(used)
}

impl Run<'_> {
    async fn migrate(&self, source: &Source) -> Result<Exit, CliError> {
        let destinations: Vec<&Destination> =
            self.config.destinations.iter().filter(|known| source.destinations.contains(&known.name)).collect();
        let names: Vec<String> = destinations.iter().map(|destination| destination_version_string(destination)).collect();
        self.console.say(&format!("Starting migration for: {} -> [{}]", version_string(source), names.join(" ")));
        let failed = |error: CliError| CliError::new(error.exit, format!("failed to migrate source {}: {}", source.name, error.message));
        let mut writes = Vec::new();
        let sent = tokio::select! {
            biased;
            () = self.interrupted.cancelled() => Err(interruption()),
            sent = self.send(source, &destinations, &mut writes) => sent,
        };
        let tables = match sent {
            Ok(tables) => tables,
            Err(error) => {
                report_partial_writes(&error, &abort_all(writes, &self.interrupted).await);
                return Err(failed(error));
            }
        };
        let ended = finish_all(writes, &self.interrupted).await;
        let mut exit = Exit::Done;
        let mut failures = Vec::new();
        for end in ended {
            match end {
                Ok(end) => {
                    exit = exit.max(end.exit());
                    end.failure_lines().iter().for_each(|line| error_line(line));
                }
                Err(FailedWrite { error, landed }) => {
                    report_partial_writes(&error, &[landed]);
                    failures.push(error);
                }
            }
        }
        first(failures).map_err(failed)?;
        let how = if exit == Exit::Done { "successfully" } else { "with errors, see above for details" };
        self.console.say(&format!("Migration completed {how}. Tables: {tables}"));
        Ok(exit)
    }

    async fn send(&self, source: &Source, destinations: &[&Destination], writes: &mut Vec<DestinationWrite>) -> Result<usize, CliError> {
        let tables = self.tables(source).await?;
        for destination in destinations {
            let mut write = self.open(destination).await?;
            let mut sync_columns = SyncColumnWriter::new(self.columns(source, destination));
            let summary = if destination.send_sync_summary { Some(SyncSummary::schema_message()?) } else { None };
            for table in tables.iter().chain(&summary) {
                let unusable = |error: lakegate::InvalidMessage| CliError::new(Exit::Source, format!("a schema cannot be used: {error}"));
                write.migrate(sync_columns.schema(table).map_err(unusable)?.ipc).await?;
            }
            writes.push(write);
        }
        Ok(tables.len())
    }

    async fn tables(&self, source: &Source) -> Result<Vec<Bytes>, CliError> {
        if let SourcePlugin::Files { .. } = &source.plugin {
            return file_tables(source, self.spool.clone()).await;
        }
        let plugin = self.plugins.get(Kind::Source, &source.name)?;
        init_plugin(plugin, &source.spec, true, &self.sync_id).await?;
        plugin.tables(&selection(source)).await.map_err(|error| CliError::new(Exit::Source, error.to_string()))
    }

    async fn open(&self, destination: &Destination) -> Result<DestinationWrite, CliError> {
        if destination.plugin == DestinationPlugin::S3 {
            let opener = self.opener.as_ref().ok_or_else(|| CliError::new(Exit::Unexpected, "the destination was not compiled"))?;
            return DestinationWrite::store(opener.open(&destination.spec.to_string(), &self.sync_id).await?);
        }
        let plugin = self.plugins.get(Kind::Destination, &destination.name)?;
        init_plugin(plugin, &destination.spec, false, &self.sync_id).await?;
        Ok(DestinationWrite::plugin(plugin.write(), destination.migrate_force))
    }

    /// The columns that a sync would add; since there are no rows, the values do not matter.
    fn columns(&self, source: &Source, destination: &Destination) -> SyncColumns {
        let keys = match (destination.write_mode, destination.pk_mode) {
            (WriteMode::Append, _) => Keys::Removed,
            (_, PkMode::CqIdOnly) => Keys::CqIdOnly,
            (_, PkMode::Default) => Keys::Kept,
        };
        let (source_name, sync_group_id) = (source.name.clone(), destination.sync_group_id.clone());
        SyncColumns { sync_time_us: 0, source_name, sync_group_id, keys, not_null: self.not_null }
    }
}
