//! `lakegate ddl`: the statements with which Athena or Spark reads what a load or a sync writes.
//!
//! A table's columns and path come from files and a destination, from a configuration, or from manifests ([`manifest`]). [`layout`] says where its objects
//! are, [`types`] what a format holds, [`partition`] what is said of folders, and [`statement`] puts it together. Nothing is executed.

mod args;
mod layout;
mod manifest;
mod partition;
mod sql;
mod statement;
mod types;
mod written;

use super::config::{Config, Destination as ConfiguredDestination, DestinationPlugin, Required, Source, SourcePlugin, Surroundings};
use super::console::{Console, data};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::plan::spec::SpecText;
use super::sync::SyncSummary;
use super::sync::inputs::file_tables;
pub use args::DdlArgs;
use arrow_schema::Schema;
use bytes::Bytes;
use lakegate::ipc::table_of;
use lakegate::{Destination, Options, SyncContext};
use lakegate_cloudquery::client::columns::{Keys, SyncColumnWriter, SyncColumns, schema_of};
use lakegate_files::{CsvOptions, HivePartitioning, MessageReader, ReadOptions, resolve};
use layout::{Layout, Names};
use serde_json::{Map, Value};
use statement::{Columns, Dressing, Table, statements};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use written::Written;

/// Runs the command.
pub(crate) async fn run(args: DdlArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.output);
    let interrupted = interrupt::listen()?;
    let given = args.clone();
    let tables = interrupt::unless(&interrupted, async move { tables(given, console).await }).await?;
    let dressing = Dressing {
        engine: args.engine,
        projection: !args.no_projection,
        database: args.database.as_deref(),
        prefix: args.table_prefix.as_deref().unwrap_or_default(),
        location: args.location.as_deref(),
        range: args.date_range.as_ref(),
    };
    let (text, warnings) = all(&tables, &dressing)?;
    warnings.iter().for_each(|warning| console.say(&format!("Warning: {warning}")));
    data(&text)?;
    Ok(Exit::Done)
}

/// The statements of all tables, and the warnings.
fn all(tables: &[Table], dressing: &Dressing<'_>) -> Result<(String, Vec<String>), CliError> {
    let (mut text, mut warnings) = (Vec::new(), Vec::new());
    let mut names: HashMap<String, &str> = HashMap::new();
    let mut folders: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for table in tables {
        if let Some(other) =
            folders.insert((table.bucket.as_str(), table.layout.folder.as_str()), &table.name).filter(|other| *other != table.name)
        {
            let problem = format!(
                "tables {other:?} and {:?} have their objects in one folder, {:?}, and an engine would read both as one; put {{{{TABLE}}}} into a \
                 folder of `path`",
                table.name, table.layout.folder
            );
            return Err(CliError::new(Exit::Spec, problem));
        }
        let made = statements(table, dressing)?;
        for name in made.names {
            if let Some(other) = names.insert(name.clone(), &table.name) {
                let problem = format!("tables {other:?} and {:?} would both make `{name}`; rename one of them (--table)", table.name);
                return Err(CliError::new(Exit::Spec, problem));
            }
        }
        text.extend(made.text);
        warnings.extend(made.warnings);
    }
    Ok((text.join("\n\n"), warnings))
}

/// The tables of the arguments.
async fn tables(mut args: DdlArgs, console: Console) -> Result<Vec<Table>, CliError> {
    if args.machine.component.is_some() {
        return Err(CliError::new(Exit::Usage, "--component: the keys of another component are known to it alone; give its manifests"));
    }
    if args.target.to.is_some() || args.target.spec.is_some() {
        // A store in a folder would be made by looking at it.
        args.machine.local = None;
        return from_files(&args).await;
    }
    let is_manifest: Vec<bool> = args.inputs.iter().map(|input| manifest::is_one(input)).collect();
    if is_manifest.iter().all(|is| *is) {
        return manifest::tables(&args).await;
    }
    if is_manifest.contains(&true) {
        return Err(CliError::new(Exit::Usage, "either manifests or configurations: give one kind at a time"));
    }
    args.machine.local = None;
    from_configurations(&args, console).await
}

/// What a path is checked in: a commit and a time are as good as another.
fn any_commit(repeatable: bool) -> SyncContext {
    SyncContext { sync_id: "ddl".to_owned(), commit_id: "ddl".to_owned(), commit_time: repeatable.then_some(0), repeatable, shard: None }
}

async fn from_files(args: &DdlArgs) -> Result<Vec<Table>, CliError> {
    let spec = args.target.spec_json(false, |name| std::env::var(name).ok())?;
    let place = Place::new(&destination(args).await?, &spec, any_commit(true)).await?;
    let inputs = resolve(&args.inputs, args.table.as_deref(), HivePartitioning::Auto)?;
    let options = ReadOptions {
        format: args.input_format,
        columns: args.columns.clone(),
        columns_required: inputs.len() == 1,
        csv: CsvOptions { delimiter: args.delimiter, ..CsvOptions::default() },
        spool: args.machine.spool(),
        ..ReadOptions::default()
    };
    MessageReader::schemas(&inputs, &options)?.iter().map(|ipc| place.table(ipc)).collect()
}

async fn from_configurations(args: &DdlArgs, console: Console) -> Result<Vec<Table>, CliError> {
    if args.table.is_some() || !args.columns.is_empty() || args.input_format.is_some() || args.delimiter.is_some() {
        let problem = "--table, --column, --input-format and --delimiter are for files, with --to or --spec";
        return Err(CliError::new(Exit::Usage, problem));
    }
    let files: Vec<PathBuf> = args.inputs.iter().map(PathBuf::from).collect();
    let config = Config::load(&files, Required::Sync, &Surroundings::from_process())?;
    let destination = destination(args).await?;
    let mut tables: Vec<Table> = Vec::new();
    let mut known = BTreeSet::new();
    for source in &config.sources {
        if !matches!(source.plugin, SourcePlugin::Files { .. }) {
            console.say(&format!("The tables of source {} are known to its plugin alone, which is not started.", source.name));
            continue;
        }
        let of_source =
            config.destinations.iter().filter(|it| source.destinations.contains(&it.name) && it.plugin == DestinationPlugin::S3);
        for configured in of_source {
            let place = Place::new(&destination, &configured.spec.to_string(), any_commit(false)).await?;
            for ipc in synced(source, configured, args).await? {
                let table = place.table(&ipc)?;
                // Several sources may write one table, such as that of their summaries.
                if known.insert((table.name.clone(), table.bucket.clone(), table.layout.folder.clone())) {
                    tables.push(table);
                }
            }
        }
    }
    if tables.is_empty() {
        let problem = "no source in it has tables that are known without starting it and writes them to the S3 destination in this program; give \
                       the files of a load, or the manifests of a sync";
        return Err(CliError::new(Exit::Spec, problem));
    }
    Ok(tables)
}

/// The schemas of what a sync of files sends.
async fn synced(source: &Source, destination: &ConfiguredDestination, args: &DdlArgs) -> Result<Vec<Bytes>, CliError> {
    let mut schemas = file_tables(source, args.machine.spool()).await?;
    if destination.send_sync_summary {
        schemas.push(SyncSummary::schema_message()?);
    }
    let columns = SyncColumns {
        sync_time_us: 0,
        source_name: source.name.clone(),
        sync_group_id: destination.sync_group_id.clone(),
        keys: Keys::Removed,
        not_null: false,
    };
    let mut writer = SyncColumnWriter::new(columns);
    let extended = schemas.iter().map(|ipc| Ok(writer.schema(ipc)?.ipc));
    extended.collect()
}

async fn destination(args: &DdlArgs) -> Result<Destination, CliError> {
    let machine = args.machine.clone();
    let runtime = tokio::task::spawn_blocking(move || machine.runtime()).await;
    let runtime = runtime.map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))??;
    Ok(Destination::new(runtime, Options::default()))
}

/// Where and how a checked spec writes.
struct Place {
    path: String,
    written: Written,
}

impl Place {
    async fn new(destination: &Destination, spec: &str, sync: SyncContext) -> Result<Self, CliError> {
        destination.configure(spec, sync.clone()).await?;
        let path = SpecText::accepted(destination, spec, sync).await?.key;
        let fields: Map<String, Value> = serde_json::from_str(spec).unwrap_or_default();
        Ok(Self { path, written: Written::new(&fields) })
    }

    fn table(&self, ipc: &Bytes) -> Result<Table, CliError> {
        let schema: Schema = schema_of(ipc)?;
        let name = table_of(ipc)?;
        let Written { bucket, format, extension, is_compressed, names_compression, null_name, keep_columns } = self.written.clone();
        let layout = Layout::from_path(&self.path, &Names { table: &name, extension: &extension });
        let layout = layout.map_err(|problem| CliError::new(Exit::Spec, problem))?;
        let is_at_the_end = self.path.ends_with("{{FORMAT}}") || self.path.ends_with(&extension);
        let hides_compression = is_compressed && !(names_compression && is_at_the_end);
        let dropped = if keep_columns { Vec::new() } else { Layout::columns_in_keys(&self.path) };
        Ok(Table { name, columns: Columns::Typed(schema), bucket, layout, format, hides_compression, null_name, dropped })
    }
}
