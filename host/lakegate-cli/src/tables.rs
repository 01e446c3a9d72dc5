//! `lakegate tables`: lists the tables of sources.

use super::args::PluginArgs;
use super::cloudquery_flags::CloudQueryFlags;
use super::config::{Config, Required, Source, SourcePlugin, Surroundings};
use super::console::data;
use super::exit::{CliError, Exit};
use super::interrupt;
use super::output_args::OutputArgs;
use super::plugins::{Plugins, Wanted};
use super::sync::inputs::{file_tables, selection};
use super::sync::step::init_plugin;
use arrow_schema::{Field, Schema};
use bytes::Bytes;
use lakegate::InvalidMessage;
use lakegate_cloudquery::client::columns::schema_of;
use lakegate_cloudquery::client::{Kind, Selection};
use lakegate_files::Spool;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Prints the tables of the sources with their columns, as JSON.
#[derive(Debug, Clone, clap::Args)]
pub struct TablesArgs {
    /// YAML files, or folders of them.
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Which tables to list.
    #[arg(long, value_enum, default_value = "all")]
    pub filter: Filter,
    /// Write `DIR/SOURCE/__tables.json` for each source instead of printing to stdout.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Options of the CloudQuery CLI.
    #[command(flatten)]
    pub cloudquery: CloudQueryFlags,
    /// How plugins are run.
    #[command(flatten)]
    pub plugins: PluginArgs,
    /// Output and logging.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which tables to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Filter {
    /// All tables of the source.
    All,
    /// The tables selected by `tables` and `skip_tables` in the configuration.
    Spec,
}

/// Runs the command.
pub(crate) async fn run(mut args: TablesArgs) -> Result<Exit, CliError> {
    let console = args.cloudquery.console(&mut args.output);
    let sync_id = args.cloudquery.sync_id()?;
    let interrupted = interrupt::listen()?;
    let configs = args.configs.clone();
    let config = interrupt::unless(&interrupted, async move { Ok(Config::load(&configs, Required::Any, &Surroundings::from_process())?) });
    let config = config.await?;
    if config.sources.is_empty() {
        return Err(CliError::new(Exit::Spec, "there is no source; expected at least one document with `kind: source`"));
    }
    let wanted = config.sources.iter().filter_map(Wanted::source).collect();
    let plugins = Plugins::start(wanted, &args.plugins.options(&args.output), &interrupted).await?;
    let found = tokio::select! {
        () = interrupted.cancelled() => Err(super::destination_write::interruption()),
        found = all(&config, args.filter, &plugins, &sync_id) => found,
    };
    plugins.stop().await;
    let found = found?;
    match &args.output_dir {
        None => data(&pretty(&found)?)?,
        Some(folder) => {
            for (source, tables) in &found {
                let folder = folder.join(source);
                let file = folder.join("__tables.json");
                let text = pretty(tables)?;
                let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, text));
                written.map_err(|error| CliError::new(Exit::Unexpected, format!("{}: {error}", file.display())))?;
                console.say(&format!("Tables of {source}: {}", file.display()));
            }
        }
    }
    Ok(Exit::Done)
}

fn pretty(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))
}

async fn all(config: &Config, filter: Filter, plugins: &Plugins, sync_id: &str) -> Result<Map<String, Value>, CliError> {
    let mut found = Map::new();
    for source in &config.sources {
        let schemas = schemas(source, filter, plugins, sync_id).await?;
        let tables = schemas.iter().map(|ipc| table(&source.name, ipc)).collect::<Result<Vec<Value>, _>>()?;
        found.insert(source.name.clone(), tables.into());
    }
    Ok(found)
}

async fn schemas(source: &Source, filter: Filter, plugins: &Plugins, sync_id: &str) -> Result<Vec<Bytes>, CliError> {
    if let SourcePlugin::Files { .. } = &source.plugin {
        return file_tables(source, Spool::default()).await;
    }
    let plugin = plugins.get(Kind::Source, &source.name)?;
    init_plugin(plugin, &source.spec, true, sync_id).await?;
    let selection = match filter {
        Filter::All => Selection { tables: vec!["*".to_owned()], skip_tables: Vec::new(), skip_dependent_tables: false },
        Filter::Spec => selection(source),
    };
    let tables = plugin.tables(&selection).await;
    tables.map_err(|error| CliError::new(Exit::Source, format!("failed to get the tables of source {}: {error}", source.name)))
}

/// A table in the JSON format that the SDKs use for documentation.
fn table(source: &str, ipc: &Bytes) -> Result<Value, CliError> {
    let refused = |problem: InvalidMessage| CliError::new(Exit::Source, format!("source {source}: a schema cannot be read: {problem}"));
    let schema = schema_of(ipc).map_err(refused)?;
    let text = |key: &str| metadata(&schema, key);
    Ok(json!({
        "name": text("cq:table_name"),
        "title": text("cq:table_title"),
        "description": text("cq:table_description"),
        "is_incremental": text("cq:extension:incremental") == "true",
        "parent": text("cq:table_depends_on"),
        "columns": schema.fields().iter().map(|field| column(field)).collect::<Vec<Value>>(),
    }))
}

fn metadata(schema: &Schema, key: &str) -> String {
    schema.metadata().get(key).map(|value| value.to_string()).unwrap_or_default()
}

fn column(field: &Field) -> Value {
    let is = |key: &str| field.metadata().get(key).is_some_and(|value| value == "true");
    let extension = field.metadata().get("ARROW:extension:name").map(|name| name.to_string());
    json!({
        "name": field.name(),
        "type": extension.unwrap_or_else(|| field.data_type().to_string()),
        "primary_key": is("cq:extension:primary_key"),
        "unique": is("cq:extension:unique"),
        "incremental_key": is("cq:extension:incremental"),
        "not_null": !field.is_nullable(),
    })
}
