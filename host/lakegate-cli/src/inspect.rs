//! `validate-config`, `test-connection`, `schema` and `component`: commands that inspect or test without writing rows.

use super::args::{PluginArgs, ResourceArgs};
use super::cloudquery_flags::CloudQueryFlags;
use super::config::{Config, ConfigErrors, ConfigProblem};
use super::console::{Console, data, error_line};
use super::destination_write::interruption;
use super::exit::{CliError, Exit, exit_code_after};
use super::interrupt;
use super::output_args::{OUTPUT, OutputArgs};
use super::plugins::{Plugins, Wanted};
use super::sync::inputs::chosen;
use super::sync_id::sync_id;
use super::target::{Documents, NamedSpec, Unreadable, read_documents};
use lakegate::spec::SpecProblem;
use lakegate::{Destination, OpenError, Runtime, StoreError, component_bytes};
use lakegate_cloudquery::client::{Kind, TestOutcome};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// The arguments of `validate-config` and `test-connection`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigurationArgs {
    /// CloudQuery configurations (YAML files, or folders of them), or bare specs of the S3 destination.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Options of the CloudQuery CLI.
    #[command(flatten)]
    pub cloudquery: CloudQueryFlags,
    /// How plugins are run.
    #[command(flatten)]
    pub plugins: PluginArgs,
    /// Resource limits of the process.
    #[command(flatten)]
    pub machine: ResourceArgs,
    /// Print a machine-readable result (one line of JSON) on stdout.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// Output and logging.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Tests the sources and destinations of configurations.
#[derive(Debug, clap::Args)]
pub struct TestConnectionArgs {
    /// What is tested, and how.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
    /// Also have 16 writers create one object at once, by puts and by uploads, at the stores of specs with `delivery: exactly_once` or
    /// `visibility: on_commit`: exactly one of each may succeed.
    #[arg(long)]
    pub conditional: bool,
}

/// Writers of a race.
const WRITERS: usize = 16;

/// Prints the JSON Schema of the spec.
#[derive(Debug, Clone, clap::Args)]
pub struct SchemaArgs {
    /// Resource limits of the process.
    #[command(flatten)]
    pub machine: ResourceArgs,
}

/// Writes out the WebAssembly component that this program embeds, or lists what it imports.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
pub struct ComponentArgs {
    /// Write the component to this file.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// List the interfaces that the component imports: they are all it can reach.
    #[arg(long)]
    pub imports: bool,
}

/// A problem in a configuration.
#[derive(Debug, Serialize)]
struct Problem {
    /// The file or plugin whose spec it is in.
    spec: String,
    /// The field; empty for the spec as a whole.
    field: String,
    message: String,
}

impl Problem {
    fn new(spec: impl Into<String>, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { spec: spec.into(), field: field.into(), message: message.into() }
    }

    /// A problem of the documents themselves, found before their specs are checked.
    fn from_document(problem: ConfigProblem) -> Self {
        let ConfigProblem { origin, field, message } = problem;
        let message = if field.is_empty() { message } else { format!("`{field}`: {message}") };
        Self::new(origin.map(|origin| origin.to_string()).unwrap_or_default(), field, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.spec.is_empty() {
            write!(f, "{}: ", self.spec)?;
        }
        f.write_str(&self.message)
    }
}

/// Checks configurations or bare S3 specs, and reports all problems of each. Sends nothing; unknown fields are errors here. A plugin's spec is
/// validated against the plugin's JSON Schema.
pub(crate) async fn validate(mut args: ConfigurationArgs) -> Result<Exit, CliError> {
    let console = args.cloudquery.console(&mut args.output);
    let mut problems = Vec::new();
    let checked = check(&args, &mut problems).await;
    let failure = checked.as_ref().err().map(|error| error.message.clone());
    let lines = problems.iter().map(Problem::to_string).collect::<Vec<_>>();
    let ended = match checked {
        Ok(count) if lines.is_empty() => {
            console.say(&format!("{} valid.", if count == 1 { "The spec is".to_owned() } else { format!("All {count} specs are") }));
            Ok(Exit::Done)
        }
        Ok(_) => Err(CliError::new(Exit::Spec, lines.join("\n"))),
        Err(error) => {
            lines.iter().for_each(|line| error_line(line));
            Err(error)
        }
    };
    let printed = print_json(&args, &ended, failure, ("problems", json!(problems)));
    exit_code_after(ended, printed)
}

/// Prints the JSON result if `--json` is given: how the command ended, why it ended early if it did, and what it found.
fn print_json(
    args: &ConfigurationArgs,
    ended: &Result<Exit, CliError>,
    failure: Option<String>,
    (name, found): (&str, Value),
) -> Result<(), CliError> {
    if !args.json {
        return Ok(());
    }
    let exit = ended.as_ref().map_or_else(|error| error.exit, |exit| *exit);
    data(&json!({ "ok": exit == Exit::Done, "exit_code": exit.code(), "failure": failure, name: found }).to_string())
}

/// Returns the number of specs.
async fn check(args: &ConfigurationArgs, problems: &mut Vec<Problem>) -> Result<usize, CliError> {
    let interrupted = interrupt::listen()?;
    let documents = match documents(args, &interrupted).await? {
        Ok(documents) => documents,
        Err(Unreadable::Config(ConfigErrors(found))) => {
            problems.extend(found.into_iter().map(Problem::from_document));
            return Ok(0);
        }
        Err(Unreadable::File(error)) => return Err(error),
    };
    let Documents { specs, config } = documents;
    let count = specs.len() + nested_specs(&config).len();
    problems.extend(interrupt::unless(&interrupted, s3_spec_problems(specs, args.machine.clone())).await?);
    let plugins = start_plugins(&config, args, &interrupted).await?;
    let checked = tokio::select! {
        () = interrupted.cancelled() => Err(interruption()),
        checked = plugin_spec_problems(&config, &plugins, problems) => checked,
    };
    plugins.stop().await;
    checked.map(|()| count)
}

/// Reads the files, unless interrupted.
async fn documents(args: &ConfigurationArgs, interrupted: &CancellationToken) -> Result<Result<Documents, Unreadable>, CliError> {
    let files = args.files.clone();
    interrupt::unless(interrupted, async move { Ok(read_documents(&files)) }).await
}

async fn s3_spec_problems(specs: Vec<NamedSpec>, machine: ResourceArgs) -> Result<Vec<Problem>, CliError> {
    let mut problems = Vec::new();
    if specs.is_empty() {
        return Ok(problems);
    }
    let destination = machine.destination(None).await?;
    let sync_id = sync_id()?;
    for NamedSpec { name, json } in &specs {
        let found = match destination.check(json, &sync_id).await {
            Ok(checked) => checked.warnings,
            Err(OpenError::Spec(found)) => found,
            Err(OpenError::Connect(StoreError { message, .. })) => vec![SpecProblem { field: field_of(&message), message }],
            Err(error) => return Err(error.into()),
        };
        problems.extend(found.into_iter().map(|SpecProblem { field, message }| Problem::new(name, field, message)));
    }
    Ok(problems)
}

/// The field that a message begins with: `` `bucket`: … ``.
fn field_of(message: &str) -> String {
    message.strip_prefix('`').and_then(|rest| rest.split_once('`')).map(|(field, _)| field.to_owned()).unwrap_or_default()
}

/// Starts all plugins of the documents. Callers that wait for a plugin must watch `interrupted`.
async fn start_plugins(config: &Config, args: &ConfigurationArgs, interrupted: &CancellationToken) -> Result<Plugins, CliError> {
    let sources = config.sources.iter().filter_map(Wanted::source);
    let destinations = config.destinations.iter().filter_map(Wanted::destination);
    Plugins::start(sources.chain(destinations).collect(), &args.plugins.options(&args.output), interrupted).await
}

/// The specs that plugins have to validate.
fn nested_specs(config: &Config) -> Vec<(Kind, &str, &Value)> {
    let sources = config.sources.iter().filter(|it| Wanted::source(it).is_some()).map(|it| (Kind::Source, it.name.as_str(), &it.spec));
    let destinations = config.destinations.iter().filter(|it| Wanted::destination(it).is_some());
    sources.chain(destinations.map(|it| (Kind::Destination, it.name.as_str(), &it.spec))).collect()
}

async fn plugin_spec_problems(config: &Config, plugins: &Plugins, problems: &mut Vec<Problem>) -> Result<(), CliError> {
    for (kind, name, spec) in nested_specs(config) {
        let schema = plugins.get(kind, name)?.spec_schema().await;
        let schema = schema.map_err(|error| CliError::new(Exit::Source, format!("{kind} {name}: {error}")))?;
        // A plugin without a schema validates its spec when it is used.
        let Some(schema) = schema else { continue };
        // An untrusted schema may take long, so it gets its own thread.
        let spec = spec.clone();
        let found = tokio::task::spawn_blocking(move || schema_violations(&schema, &spec)).await;
        let found =
            found.map_err(|error| CliError::new(Exit::Source, format!("{kind} {name}: its JSON Schema cannot be used: {error}")))?;
        problems.extend(found.into_iter().map(|(field, message)| Problem::new(format!("{kind} {name}"), field, message)));
    }
    Ok(())
}

/// The violations of a JSON Schema by a spec, as field and message, without values from the spec, which may be secret. An invalid schema reports
/// none.
fn schema_violations(schema: &str, spec: &Value) -> Vec<(String, String)> {
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
    let validator = serde_json::from_str::<Value>(schema).ok().and_then(|schema| options.build(&schema).ok());
    let Some(validator) = validator else {
        tracing::warn!("The plugin's JSON Schema cannot be used; its spec is not checked.");
        return Vec::new();
    };
    let empty = Value::Object(serde_json::Map::new());
    let spec = if spec.is_null() { &empty } else { spec };
    let describe = |error: jsonschema::ValidationError<'_>| {
        let field = error.instance_path().to_string();
        let at = if field.is_empty() { "the spec".to_owned() } else { format!("`{field}`") };
        (field, format!("{at}: {}", error.masked()))
    };
    validator.iter_errors(spec).map(describe).collect()
}

/// The test result of one source or destination.
#[derive(Debug, Serialize)]
struct Tested {
    /// What was tested, such as `destination s3`.
    spec: String,
    ok: bool,
    /// The error, if there is one.
    message: Option<String>,
    /// The key of the test object, which is in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
}

/// The results so far, printed as they arrive.
#[derive(Debug)]
struct Tests {
    console: Console,
    tested: Vec<Tested>,
    /// The highest exit code so far.
    exit: Exit,
}

impl Tests {
    /// Records and prints a result. A test that has put an object returns its key.
    fn record(&mut self, kind: Kind, name: &str, outcome: Result<Option<String>, CliError>) {
        let spec = format!("{kind} {name}");
        let (message, object) = match outcome {
            Ok(object) => {
                self.console.say(&format!("{spec}: Success"));
                if let Some(key) = &object {
                    self.console.say(&format!("{spec}: the empty test object is in the bucket: {key}"));
                }
                (None, object)
            }
            Err(error) => {
                self.exit = self.exit.max(error.exit);
                error_line(&format!("{spec}: Failure: {}", error.message));
                (Some(error.message), None)
            }
        };
        self.tested.push(Tested { spec, ok: message.is_none(), message, object });
    }
}

/// Tests all sources and destinations and prints the results. Ends with the highest exit code.
pub(crate) async fn test_connection(args: TestConnectionArgs) -> Result<Exit, CliError> {
    let TestConnectionArgs { configuration: mut args, conditional } = args;
    let console = args.cloudquery.console(&mut args.output);
    let mut tests = Tests { console, tested: Vec::new(), exit: Exit::Done };
    let ended = test(&args, conditional, &mut tests).await.map(|()| tests.exit);
    let failure = ended.as_ref().err().map(|error| error.message.clone());
    let printed = print_json(&args, &ended, failure, ("connections", json!(tests.tested)));
    exit_code_after(ended, printed)
}

async fn test(args: &ConfigurationArgs, conditional: bool, tests: &mut Tests) -> Result<(), CliError> {
    let interrupted = interrupt::listen()?;
    let Documents { specs, config } = documents(args, &interrupted).await??;
    if !specs.is_empty() {
        let machine = args.machine.clone();
        let destination = interrupt::unless(&interrupted, async move { machine.destination(None).await }).await?;
        for NamedSpec { name, json } in specs {
            let destination = destination.clone();
            // A failure is recorded and the others are tested; an interruption ends the command.
            let outcome = async move {
                let object = match destination.test_connection(&json).await {
                    Ok(object) => object,
                    Err(error) => return Ok(Err(CliError::from(error))),
                };
                let raced = if conditional { race(&destination, &json).await } else { Ok(()) };
                Ok(raced.map(|()| object))
            };
            tests.record(Kind::Destination, &name, interrupt::unless(&interrupted, outcome).await?);
        }
    }
    for source in config.sources.iter().filter(|source| Wanted::source(source).is_none()) {
        let looked_for = source.clone();
        let outcome = async move { Ok(chosen(&looked_for).map(|_| None)) };
        tests.record(Kind::Source, &source.name, interrupt::unless(&interrupted, outcome).await?);
    }
    let plugins = start_plugins(&config, args, &interrupted).await?;
    let tested = tokio::select! {
        () = interrupted.cancelled() => Err(interruption()),
        () = test_plugins(&config, &plugins, tests) => Ok(()),
    };
    plugins.stop().await;
    tested
}

/// Sees that of many writers one creates.
async fn race(destination: &Destination, spec: &str) -> Result<(), CliError> {
    let [puts, uploads] = destination.race(spec, WRITERS).await?;
    if [puts, uploads] == [1, 1] {
        return Ok(());
    }
    let message = format!(
        "of {WRITERS} writers of one key, {puts} created it by a put, and {uploads} of as many by an upload; one of each is right: this store is not \
         fit for `delivery: exactly_once`"
    );
    Err(CliError::new(Exit::Spec, message))
}

async fn test_plugins(config: &Config, plugins: &Plugins, tests: &mut Tests) {
    for (kind, name, spec) in nested_specs(config) {
        let failed = |message: String| Err(CliError::new(Exit::Source, message));
        let outcome = match plugins.get(kind, name) {
            Ok(plugin) => match plugin.test_connection(spec).await {
                Ok(TestOutcome::Success) => Ok(None),
                Ok(TestOutcome::Failure { code, description }) => failed(format!("{code}: {description}")),
                Err(error) => failed(error.to_string()),
            },
            Err(error) => failed(error.message),
        };
        tests.record(kind, name, outcome);
    }
}

/// Runs `schema`.
pub(crate) async fn schema(args: SchemaArgs) -> Result<Exit, CliError> {
    let destination = args.machine.destination(None).await?;
    print(&destination.spec_schema().await?)
}

/// Runs `component`.
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
    data(text).map(|()| Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_violations_name_the_field_and_hide_the_value() {
        let schema = r#"{"type": "object", "additionalProperties": false, "properties": {"at": {"type": "string", "format": "date-time"}, "n": {"minimum": 1}}}"#;
        let lines = |schema: &str, spec: Value| schema_violations(schema, &spec).into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        assert!(lines(schema, Value::Null).is_empty());
        assert!(lines(schema, json!({"at": "2026-01-02T03:04:05Z", "n": 1})).is_empty());
        let found = lines(schema, json!({"at": "hunter2", "n": 0})).join("\n");
        assert!(found.contains("`/at`: ") && found.contains("`/n`: ") && !found.contains("hunter2"), "{found}");
        assert!(lines("{\"type\": 5}", json!({})).is_empty());
    }
}
