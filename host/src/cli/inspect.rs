//! `validate-config`, `test-connection`, `schema` and `component`: what can be asked without writing rows.

use super::args::{Machine, Words};
use super::console::{Console, data, error_line};
use super::exit::{CliError, Exit};
use super::pump::sync_id;
use super::target::{NamedSpec, read_specs};
use crate::engine::{Runtime, component_bytes};
use std::path::PathBuf;

/// Checks configurations or bare S3 specs. Sends nothing; unknown fields are errors here.
#[derive(Debug, Clone, clap::Args)]
pub struct ValidateArgs {
    /// CloudQuery configurations (files or folders), or bare specs of the S3 destination.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// With what.
    #[command(flatten)]
    pub machine: Machine,
    /// Saying what.
    #[command(flatten)]
    pub words: Words,
}

/// Resolves credentials and puts the empty test object of each destination.
#[derive(Debug, Clone, clap::Args)]
pub struct TestArgs {
    /// CloudQuery configurations (files or folders), or bare specs of the S3 destination.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// With what.
    #[command(flatten)]
    pub machine: Machine,
    /// Saying what.
    #[command(flatten)]
    pub words: Words,
}

/// Prints the JSON Schema of the spec.
#[derive(Debug, Clone, clap::Args)]
pub struct SchemaArgs {
    /// With what.
    #[command(flatten)]
    pub machine: Machine,
}

/// Writes out the WebAssembly component that this program embeds, or lists what it imports.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
pub struct ComponentArgs {
    /// Write the component to this file.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// List the interfaces that the component imports: all it can do.
    #[arg(long)]
    pub imports: bool,
}

/// Checks; tells every problem of every spec.
pub(crate) async fn validate(args: ValidateArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.words);
    let specs = read_specs(&args.files)?;
    let destination = args.machine.destination(None).await?;
    let sync_id = sync_id()?;
    let mut problems = Vec::new();
    for NamedSpec { name, json } in &specs {
        match destination.configure(json, &sync_id).await {
            Ok(checked) => problems.extend(checked.warnings.iter().map(|warning| format!("{name}: {}", warning.message))),
            Err(crate::session::OpenError::Spec(found)) => {
                problems.extend(found.iter().map(|problem| format!("{name}: {}", problem.message)))
            }
            Err(error) => return Err(error.into()),
        }
    }
    if problems.is_empty() {
        console
            .say(&format!("{} valid.", if specs.len() == 1 { "The spec is".to_owned() } else { format!("All {} specs are", specs.len()) }));
        return Ok(Exit::Done);
    }
    Err(CliError::new(Exit::Spec, problems.join("\n")))
}

/// Tests; tells how each destination fared. Ends with the highest code.
pub(crate) async fn test_connection(args: TestArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.words);
    let specs = read_specs(&args.files)?;
    let destination = args.machine.destination(None).await?;
    let mut exit = Exit::Done;
    for NamedSpec { name, json } in &specs {
        match destination.test_connection(json).await.map_err(CliError::from) {
            Ok(()) => console.say(&format!("destination {name}: Success")),
            Err(error) => {
                exit = exit.max(error.exit);
                error_line(&format!("destination {name}: Failure: {}", error.message));
            }
        }
    }
    Ok(exit)
}

/// Prints the schema.
pub(crate) async fn schema(args: SchemaArgs) -> Result<Exit, CliError> {
    let destination = args.machine.destination(None).await?;
    print(&destination.spec_schema().await?)
}

/// Writes or lists.
pub(crate) async fn component(args: ComponentArgs) -> Result<Exit, CliError> {
    if let Some(file) = &args.output {
        std::fs::write(file, component_bytes()).map_err(|error| CliError::new(Exit::Unexpected, format!("{}: {error}", file.display())))?;
    }
    if args.imports {
        print(&Runtime::imports_of(component_bytes())?.join("\n"))?;
    }
    Ok(Exit::Done)
}

fn print(text: &str) -> Result<Exit, CliError> {
    data(text).map(|()| Exit::Done).map_err(|error| CliError::new(Exit::Unexpected, format!("stdout: {error}")))
}
