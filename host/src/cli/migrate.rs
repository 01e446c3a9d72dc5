//! `lakegate migrate`: the destinations hear of every table of the sources; no row moves.

use super::args::{Machine, PluginArgs, Words};
use super::config::{Config, Destination, DestinationPlugin, PkMode, Source, SourcePlugin, WriteMode};
use super::console::Console;
use super::exit::{CliError, Exit};
use super::outlet::{Outlet, abort_all, finish_all, interruption};
use super::plugins::{Plugins, Wanted, wanted_once};
use super::sync::step::{begin_round, chosen};
use super::sync::{SyncSummary, loaded};
use super::{interrupt, sync_id};
use crate::plugin::columns::{Keys, Stamp, SyncColumns};
use crate::plugin::{Kind, Selection};
use crate::session::Destination as Opener;
use crate::source::{Feed, ReadOptions};
use bytes::Bytes;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Announces the tables of the sources to their destinations, which make or change them; no row is read or written.
///
/// The S3 destination makes nothing of it unless its spec says `write_empty_objects_for_empty_tables`.
#[derive(Debug, Clone, clap::Args)]
pub struct MigrateArgs {
    /// Files of YAML documents, or folders of such files.
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// With which plugins.
    #[command(flatten)]
    pub plugins: PluginArgs,
    /// With what.
    #[command(flatten)]
    pub machine: Machine,
    /// Saying what.
    #[command(flatten)]
    pub words: Words,
}

/// What all sources have in common.
struct Run<'a> {
    config: &'a Config,
    opener: Option<Opener>,
    plugins: Plugins,
    sync_id: String,
    console: Console,
    interrupted: CancellationToken,
}

/// Runs the command.
pub(crate) async fn run(args: MigrateArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.words);
    let interrupted = interrupt::listen().map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
    let config = loaded(&args.configs, console)?;
    let used = |it: &&Destination| config.sources.iter().any(|source| source.destinations.contains(&it.name));
    let used: Vec<&Destination> = config.destinations.iter().filter(used).collect();
    let ours = used.iter().any(|destination| destination.plugin == DestinationPlugin::S3);
    let opener = if ours { Some(args.machine.destination(None).await?) } else { None };
    let wanted = config.sources.iter().filter_map(Wanted::source).chain(used.iter().filter_map(|it| Wanted::destination(it)));
    let plugins = Plugins::start(wanted_once(wanted), &args.plugins.options(&args.words), &interrupted).await?;
    let run = Run { config: &config, opener, plugins, sync_id: sync_id()?, console, interrupted };
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

impl Run<'_> {
    async fn migrate(&self, source: &Source) -> Result<Exit, CliError> {
        let destinations: Vec<&Destination> =
            self.config.destinations.iter().filter(|known| source.destinations.contains(&known.name)).collect();
        let names: Vec<&str> = destinations.iter().map(|destination| destination.name.as_str()).collect();
        self.console.say(&format!("Starting migration for: {} -> [{}]", source.name, names.join(", ")));
        let mut outlets = Vec::new();
        let sent = tokio::select! {
            biased;
            () = self.interrupted.cancelled() => Err(interruption()),
            sent = self.send(source, &destinations, &mut outlets) => sent,
        };
        let tables = match sent {
            Ok(tables) => tables,
            Err(error) => {
                abort_all(outlets).await;
                return Err(CliError::new(error.exit, format!("failed to migrate source {}: {}", source.name, error.message)));
            }
        };
        let ended = finish_all(outlets, &self.interrupted).await?;
        let exit = ended.iter().map(super::outlet::Ended::exit).max().unwrap_or(Exit::Done);
        let how = if exit == Exit::Done { "successfully" } else { "with errors, see logs for details" };
        self.console.say(&format!("Migration completed {how}. Tables: {tables}"));
        Ok(exit)
    }

    async fn send(&self, source: &Source, destinations: &[&Destination], outlets: &mut Vec<Outlet>) -> Result<usize, CliError> {
        let tables = self.tables(source).await?;
        for destination in destinations {
            let mut outlet = self.open(destination).await?;
            let mut stamp = Stamp::new(columns(source, destination));
            let summary = if destination.send_sync_summary { Some(SyncSummary::schema_message()?) } else { None };
            for table in tables.iter().chain(&summary) {
                let unusable =
                    |error: crate::session::InvalidMessage| CliError::new(Exit::Source, format!("a schema cannot be used: {error}"));
                outlet.migrate(stamp.apply(table).map_err(unusable)?.ipc).await?;
            }
            outlets.push(outlet);
        }
        Ok(tables.len())
    }

    async fn tables(&self, source: &Source) -> Result<Vec<Bytes>, CliError> {
        if let SourcePlugin::Files { paths } = &source.plugin {
            return Ok(Feed::schemas(&chosen(source, paths)?, &ReadOptions::default())?);
        }
        let plugin = self.plugins.get(Kind::Source, &source.name)?;
        begin_round(plugin, &source.spec, true, &self.sync_id).await?;
        plugin.tables(&selection(source)).await.map_err(|error| CliError::new(Exit::Source, error.to_string()))
    }

    async fn open(&self, destination: &Destination) -> Result<Outlet, CliError> {
        if destination.plugin == DestinationPlugin::S3 {
            let opener = self.opener.as_ref().ok_or_else(|| CliError::new(Exit::Unexpected, "the destination was not compiled"))?;
            return Outlet::store(opener.open(&destination.spec.to_string(), &self.sync_id).await?);
        }
        let plugin = self.plugins.get(Kind::Destination, &destination.name)?;
        begin_round(plugin, &destination.spec, false, &self.sync_id).await?;
        Ok(Outlet::plugin(plugin.write(), destination.migrate_force))
    }
}

/// The tables that a configuration asks for.
pub(super) fn selection(source: &Source) -> Selection {
    Selection {
        tables: source.tables.clone(),
        skip_tables: source.skip_tables.clone(),
        skip_dependent_tables: source.skip_dependent_tables,
    }
}

/// What a sync would add; there are no rows, so the values do not matter.
fn columns(source: &Source, destination: &Destination) -> SyncColumns {
    let keys = match (destination.write_mode, destination.pk_mode) {
        (WriteMode::Append, _) => Keys::Removed,
        (_, PkMode::CqIdOnly) => Keys::CqIdOnly,
        (_, PkMode::Default) => Keys::Kept,
    };
    SyncColumns { sync_time_us: 0, source_name: source.name.clone(), sync_group_id: destination.sync_group_id.clone(), keys }
}
