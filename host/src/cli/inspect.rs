//! `validate-config`, `test-connection`, `schema` and `component`: what can be asked without writing rows.

use super::args::{Machine, PluginArgs, Words};
use super::config::{Config, SourcePlugin};
use super::console::{Console, data, error_line};
use super::exit::{CliError, Exit};
use super::familiar::Familiar;
use super::interrupt;
use super::outlet::interruption;
use super::plugins::{Plugins, Wanted};
use super::pump::sync_id;
use super::sync::step::chosen;
use super::target::{NamedSpec, read_documents};
use crate::engine::{Runtime, component_bytes};
use crate::plugin::{Kind, TestOutcome};
use serde_json::Value;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Which configurations are checked or tested, and with what.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigurationArgs {
    /// CloudQuery configurations (files or folders), or bare specs of the S3 destination.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// As CloudQuery's own program has them.
    #[command(flatten)]
    pub familiar: Familiar,
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

/// Checks configurations or bare S3 specs, and tells every problem of every one. Sends nothing; unknown fields are errors here. A plugin's
/// spec is judged by the plugin's schema.
pub(crate) async fn validate(mut args: ConfigurationArgs) -> Result<Exit, CliError> {
    let console = args.familiar.console(&mut args.words);
    let documents = read_documents(&args.files)?;
    let mut problems = problems_of_ours(&documents.specs, &args.machine).await?;
    let (plugins, interrupted) = started(&documents.config, &args.plugins, &args.words).await?;
    let theirs = tokio::select! {
        () = interrupted.cancelled() => Err(interruption()),
        theirs = problems_of_plugins(&documents.config, &plugins) => theirs,
    };
    plugins.stop().await;
    problems.extend(theirs?);
    if problems.is_empty() {
        let count = documents.specs.len() + nested_specs(&documents.config).len();
        console.say(&format!("{} valid.", if count == 1 { "The spec is".to_owned() } else { format!("All {count} specs are") }));
        return Ok(Exit::Done);
    }
    Err(CliError::new(Exit::Spec, problems.join("\n")))
}

async fn problems_of_ours(specs: &[NamedSpec], machine: &Machine) -> Result<Vec<String>, CliError> {
    let mut problems = Vec::new();
    if specs.is_empty() {
        return Ok(problems);
    }
    let destination = machine.destination(None).await?;
    let sync_id = sync_id()?;
    for NamedSpec { name, json } in specs {
        match destination.configure(json, &sync_id).await {
            Ok(checked) => problems.extend(checked.warnings.iter().map(|warning| format!("{name}: {}", warning.message))),
            Err(crate::session::OpenError::Spec(found)) => {
                problems.extend(found.iter().map(|problem| format!("{name}: {}", problem.message)))
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(problems)
}

/// Starts every plugin of the documents. The token is cancelled at the first signal; whoever waits for a plugin has to look at it.
async fn started(config: &Config, plugins: &PluginArgs, words: &Words) -> Result<(Plugins, CancellationToken), CliError> {
    let interrupted = interrupt::listen().map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
    let sources = config.sources.iter().filter_map(Wanted::source);
    let destinations = config.destinations.iter().filter_map(Wanted::destination);
    let plugins = Plugins::start(sources.chain(destinations).collect(), &plugins.options(words), &interrupted).await?;
    Ok((plugins, interrupted))
}

/// The specs that plugins are to judge.
fn nested_specs(config: &Config) -> Vec<(Kind, &str, &Value)> {
    let sources = config.sources.iter().filter(|it| Wanted::source(it).is_some()).map(|it| (Kind::Source, it.name.as_str(), &it.spec));
    let destinations = config.destinations.iter().filter(|it| Wanted::destination(it).is_some());
    sources.chain(destinations.map(|it| (Kind::Destination, it.name.as_str(), &it.spec))).collect()
}

async fn problems_of_plugins(config: &Config, plugins: &Plugins) -> Result<Vec<String>, CliError> {
    let mut problems = Vec::new();
    for (kind, name, spec) in nested_specs(config) {
        let schema = plugins.get(kind, name)?.spec_schema().await;
        let schema = schema.map_err(|error| CliError::new(Exit::Source, format!("{kind} {name}: {error}")))?;
        // A plugin without a schema judges its spec when it is used.
        let Some(schema) = schema else { continue };
        problems.extend(mistakes(&schema, spec).into_iter().map(|mistake| format!("{kind} {name}: {mistake}")));
    }
    Ok(problems)
}

/// What a JSON Schema has against a spec, without the spec's values: they may be secret. A schema that is none has nothing against it.
fn mistakes(schema: &str, spec: &Value) -> Vec<String> {
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
    let validator = serde_json::from_str::<Value>(schema).ok().and_then(|schema| options.build(&schema).ok());
    let Some(validator) = validator else {
        tracing::warn!("The plugin's JSON Schema cannot be used; its spec is not checked.");
        return Vec::new();
    };
    let empty = Value::Object(serde_json::Map::new());
    let spec = if spec.is_null() { &empty } else { spec };
    let told = |error: jsonschema::ValidationError<'_>| {
        let at = error.instance_path().to_string();
        let at = if at.is_empty() { "the spec".to_owned() } else { format!("`{at}`") };
        format!("{at}: {}", error.masked())
    };
    validator.iter_errors(spec).map(told).collect()
}

/// Tests; tells how each source and destination fared. Ends with the highest code.
pub(crate) async fn test_connection(mut args: ConfigurationArgs) -> Result<Exit, CliError> {
    let console = args.familiar.console(&mut args.words);
    let documents = read_documents(&args.files)?;
    let mut exit = Exit::Done;
    if !documents.specs.is_empty() {
        let destination = args.machine.destination(None).await?;
        for NamedSpec { name, json } in &documents.specs {
            match destination.test_connection(json).await.map_err(CliError::from) {
                Ok(()) => console.say(&format!("destination {name}: Success")),
                Err(error) => {
                    exit = exit.max(error.exit);
                    error_line(&format!("destination {name}: Failure: {}", error.message));
                }
            }
        }
    }
    for source in &documents.config.sources {
        if let SourcePlugin::Files { paths } = &source.plugin {
            match chosen(source, paths) {
                Ok(_) => console.say(&format!("source {}: Success", source.name)),
                Err(error) => {
                    exit = exit.max(error.exit);
                    error_line(&format!("source {}: Failure: {}", source.name, error.message));
                }
            }
        }
    }
    let (plugins, interrupted) = started(&documents.config, &args.plugins, &args.words).await?;
    let tested = tokio::select! {
        () = interrupted.cancelled() => Err(interruption()),
        tested = test_plugins(&documents.config, &plugins, console) => Ok(tested),
    };
    plugins.stop().await;
    Ok(exit.max(tested?))
}

async fn test_plugins(config: &Config, plugins: &Plugins, console: Console) -> Exit {
    let mut exit = Exit::Done;
    for (kind, name, spec) in nested_specs(config) {
        let outcome = match plugins.get(kind, name) {
            Ok(plugin) => plugin.test_connection(spec).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.message),
        };
        match outcome {
            Ok(TestOutcome::Success) => console.say(&format!("{kind} {name}: Success")),
            Ok(TestOutcome::Failure { code, description }) => {
                exit = exit.max(Exit::Source);
                error_line(&format!("{kind} {name}: Failure: {code}: {description}"));
            }
            Err(problem) => {
                exit = exit.max(Exit::Source);
                error_line(&format!("{kind} {name}: Failure: {problem}"));
            }
        }
    }
    exit
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_name_the_field_and_hide_the_value() {
        let schema = r#"{"type": "object", "additionalProperties": false, "properties": {"at": {"type": "string", "format": "date-time"}, "n": {"minimum": 1}}}"#;
        assert_eq!(mistakes(schema, &Value::Null), [""; 0]);
        assert_eq!(mistakes(schema, &json!({"at": "2026-01-02T03:04:05Z", "n": 1})), [""; 0]);
        let found = mistakes(schema, &json!({"at": "hunter2", "n": 0})).join("\n");
        assert!(found.contains("`/at`: ") && found.contains("`/n`: ") && !found.contains("hunter2"), "{found}");
        assert_eq!(mistakes("{\"type\": 5}", &json!({})), [""; 0]);
    }
}
