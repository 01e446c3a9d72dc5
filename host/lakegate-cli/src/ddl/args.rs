//! The arguments of `ddl`.

use super::super::args::ResourceArgs;
use super::super::choices;
use super::super::output_args::OutputArgs;
use super::super::target::Target;
use super::partition::DateRange;
use super::sql;
use super::written::Engine;
use clap::Arg;
use lakegate_files::{ColumnType, Delimiter, InputFormat, parse_override};

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
  The table of what a load writes, with a partition for each value of a column:
  lakegate ddl a.csv --to 's3://b/{{TABLE}}/d={{COLUMN:d}}/{{UUID}}' --format parquet --engine spark

  All tables of a sync, for Spark:
  lakegate ddl sync.yml --engine spark --database raw

  What a commit has written; the values of its partitions are known:
  lakegate ddl s3://lake/_manifests/orders/2026-11-29.json --engine athena";
