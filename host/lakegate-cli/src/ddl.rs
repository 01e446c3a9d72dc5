//! `lakegate ddl`: the statements with which Athena or Spark reads what a load or a sync writes.
//!
//! A table's columns and path come from files and a destination, from a configuration, or from manifests ([`manifest`]). [`layout`] says where its objects
//! are, [`types`] what a format holds, [`partition`] what is said of folders, and [`statement`] puts it together. Nothing is executed.

mod layout;
mod manifest;
mod partition;
mod sql;
mod statement;
mod types;
mod written;

use super::args::ResourceArgs;
use super::choices;
use super::config::{Config, Destination as ConfiguredDestination, DestinationPlugin, Required, Source, SourcePlugin, Surroundings};
use super::console::{Console, data};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::output_args::OutputArgs;
use super::plan::spec::SpecText;
use super::sync::SyncSummary;
use super::sync::inputs::file_tables;
use super::target::Target;
use arrow_schema::Schema;
use bytes::Bytes;
use clap::Arg;
use lakegate::ipc::table_of;
use lakegate::{Destination, Options, SyncContext};
use lakegate_cloudquery::client::columns::{Keys, SyncColumnWriter, SyncColumns, schema_of};
use lakegate_files::{
    ColumnType, CsvOptions, Delimiter, HivePartitioning, InputFormat, MessageReader, ReadOptions, parse_override, resolve,
};
use layout::{Layout, Names};
use partition::DateRange;
use serde_json::{Map, Value};
use statement::{Columns, Dressing, Table, statements};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use written::{Engine, Written};

/// The arguments of `ddl`.
#[derive(Debug, Clone, clap::Args)]
#[command(mut_args(as_of_ddl), after_long_help = EXAMPLES)]
pub struct DdlArgs {
    /// Files of a load, with --to or --spec; without, CloudQuery configurations of a sync, or manifests (files, or s3://BUCKET/KEY).
    #[arg(required = true, value_name = "FILE|GLOB|-|CONFIG|MANIFEST")]
    pub inputs: Vec<String>,
    /// The engine that reads the objects.
    #[arg(long, value_enum, value_name = "ENGINE")]
    pub engine: Engine,
    /// Athena: register partitions instead of projecting them.
    #[arg(long)]
    pub no_projection: bool,
    /// Athena: which times folders are projected for, such as 2024-01-01,NOW; with `NOW`, `NOW-3YEARS` or `NOW+1DAYS` at either end [default:
    /// NOW-10YEARS,NOW, or those of the manifest].
    #[arg(long, value_name = "FROM,TO")]
    pub date_range: Option<DateRange>,
    /// The database of the tables [default: the one that is in use].
    #[arg(long, value_name = "NAME", value_parser = plain_name)]
    pub database: Option<String>,
    /// Put this in front of the tables' names.
    #[arg(long, value_name = "PREFIX", value_parser = plain_name)]
    pub table_prefix: Option<String>,
    /// What stands in front of keys, in place of s3://BUCKET/ (for Spark s3a://BUCKET/).
    #[arg(long, value_name = "URL", value_parser = location)]
    pub location: Option<String>,
    /// The table that all files belong to, or that a manifest without its name is of [default: each file's name without its extension].
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// The type of a CSV or NDJSON column, as for `load`; may be repeated.
    #[arg(long = "column", value_name = "NAME=TYPE", value_parser = parse_override)]
    pub columns: Vec<(String, ColumnType)>,
    /// Format of the inputs [default: detected from their content, then from their name].
    #[arg(long, value_parser = choices::input_format(), value_name = "FORMAT")]
    pub input_format: Option<InputFormat>,
    /// Delimiter of CSV columns of the inputs, or of the objects of a manifest [default: detected].
    #[arg(long, value_name = "CHARACTER", allow_hyphen_values = true)]
    pub delimiter: Option<Delimiter>,
    /// Where the rows go.
    #[command(flatten)]
    pub target: Target,
    /// Resource limits of the process.
    #[command(flatten)]
    pub machine: ResourceArgs,
    /// Output and logging.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The options that name a destination.
const DESTINATION: [&str; 2] = ["to", "spec"];

/// The options of a destination say something only beside `--to`; those of a store also beside a manifest.
fn as_of_ddl(arg: Arg) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    match id.as_str() {
        "spec" => arg.required_unless_present_any(["inputs"]),
        name if arg.get_help_heading() == Some("Destination") && !DESTINATION.contains(&name) => arg.requires("to"),
        _ => arg,
    }
}

fn plain_name(text: &str) -> Result<String, String> {
    let is_small = sql::is_plain(text) && text.to_ascii_lowercase() == text;
    if is_small { Ok(text.to_owned()) } else { Err("catalogs take small letters, digits and underscores".to_owned()) }
}

fn location(text: &str) -> Result<String, String> {
    let has_scheme = text.split_once(':').is_some_and(|(scheme, rest)| sql::is_plain(scheme) && rest.starts_with('/'));
    match has_scheme && !text.chars().any(char::is_control) {
        true if text.ends_with('/') => Ok(text.to_owned()),
        true => Ok(format!("{text}/")),
        false => Err("a URL such as s3://BUCKET/ was expected".to_owned()),
    }
}

/// Lines have at most 100 characters, since longer ones would be wrapped.
const EXAMPLES: &str = "\
Examples:
  The table of what a load writes, with a partition for each day:
  lakegate ddl orders.csv --to 's3://lake/{{TABLE}}/day={{COLUMN:day}}/{{UUID}}' --format parquet --engine athena

  All tables of a sync, for Spark:
  lakegate ddl sync.yml --engine spark --database raw

  What a commit has written; the values of its partitions are known:
  lakegate ddl s3://lake/_manifests/orders/2026-11-29.json --engine athena";

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
        return of_files(&args).await;
    }
    let is_manifest: Vec<bool> = args.inputs.iter().map(|input| manifest::is_one(input)).collect();
    if is_manifest.iter().all(|is| *is) {
        return manifest::tables(&args).await;
    }
    if is_manifest.contains(&true) {
        return Err(CliError::new(Exit::Usage, "either manifests or configurations: give one kind at a time"));
    }
    args.machine.local = None;
    of_configurations(&args, console).await
}

/// What a path is checked in: a commit and a time are as good as another.
fn any_commit(repeatable: bool) -> SyncContext {
    SyncContext { sync_id: "ddl".to_owned(), commit_id: "ddl".to_owned(), commit_time: repeatable.then_some(0), repeatable, shard: None }
}

async fn of_files(args: &DdlArgs) -> Result<Vec<Table>, CliError> {
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

async fn of_configurations(args: &DdlArgs, console: Console) -> Result<Vec<Table>, CliError> {
    if args.table.is_some() || !args.columns.is_empty() || args.input_format.is_some() || args.delimiter.is_some() {
        let problem = "--table, --column, --input-format and --delimiter are for files, with --to or --spec";
        return Err(CliError::new(Exit::Usage, problem));
    }
    let files: Vec<PathBuf> = args.inputs.iter().map(PathBuf::from).collect();
    let config = Config::load(&files, Required::Sync, &Surroundings::of_process())?;
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
        let path = SpecText::of(destination, spec, sync).await?.key;
        let fields: Map<String, Value> = serde_json::from_str(spec).unwrap_or_default();
        Ok(Self { path, written: Written::new(&fields) })
    }

    fn table(&self, ipc: &Bytes) -> Result<Table, CliError> {
        let schema: Schema = schema_of(ipc)?;
        let name = table_of(ipc)?;
        let Written { bucket, format, extension, is_compressed, null_name, keep_columns } = self.written.clone();
        let layout = Layout::of_path(&self.path, &Names { table: &name, extension: &extension });
        let layout = layout.map_err(|problem| CliError::new(Exit::Spec, problem))?;
        let hides_compression = is_compressed && !self.path.ends_with("{{FORMAT}}") && !self.path.ends_with(&extension);
        let dropped = if keep_columns { Vec::new() } else { Layout::columns_in_keys(&self.path) };
        Ok(Table { name, columns: Columns::Typed(schema), bucket, layout, format, hides_compression, null_name, dropped })
    }
}
