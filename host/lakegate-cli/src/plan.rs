//! `lakegate plan`: what a load or a sync would do, without a connection to anything.
//!
//! Files are read and encoded as in a load, by the same component in the same lanes, into a store that keeps keys only ([`store`]). What objects are
//! sent with is taken from a request that is made and not sent.

mod keys;
mod report;
pub(super) mod spec;
mod store;
mod warnings;

use super::config::{Config, Destination as ConfiguredDestination, DestinationPlugin, Required, Source, SourcePlugin, Surroundings};
use super::console::{Console, data, error_line};
use super::exit::{CliError, Exit, exit_code_after};
use super::interrupt;
use super::load::{self, LoadArgs};
use super::sync::{self, Rehearsal, Shard};
use super::sync_id::sync_id;
use clap::{Arg, ArgGroup};
use lakegate::spec::PolicyNeeds;
use lakegate::store::PutObject;
use lakegate::{Destination, OpenError, Options, Runtime, SyncContext, WriteReport};
use lakegate_iceberg::RehearsedCatalogs;
use report::{Plan, Rehearsed};
use serde_json::{Map, Value, json};
use spec::{SpecText, field};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use store::KeyStore;
use tokio_util::sync::CancellationToken;
use warnings::{Facts, warnings};

/// The arguments of `plan`.
#[derive(Debug, Clone, clap::Args)]
#[command(group(ArgGroup::new(PLACE).args(DESTINATION)), mut_args(as_of_plan), after_long_help = EXAMPLES)]
pub struct PlanArgs {
    /// The options of a load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Of a sync: one of M equal shares of each source.
    #[arg(long, value_name = "N/M", conflicts_with_all = ["to", "spec"])]
    pub shard: Option<Shard>,
    /// Of a sync: do not announce tables to the destinations before their rows.
    #[arg(long, conflicts_with_all = ["to", "spec"])]
    pub no_migrate: bool,
    /// Print nothing but the policy, as JSON. No rows are read.
    #[arg(long, conflicts_with = "json")]
    pub policy: bool,
}

/// Options of `load` that say something of files.
const OF_FILES: [&str; 8] = ["table", "columns", "input_format", "delimiter", "seed", "commit_id", "commit_time", "test_write"];

/// The options that name a destination; without either, the inputs are configurations.
const DESTINATION: [&str; 2] = ["to", "spec"];

/// Either of them.
const PLACE: &str = "place";

/// The arguments of `load` as those of `plan`: inputs may be configurations, or missing beside a spec.
fn as_of_plan(arg: Arg) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    let is_of_destination = matches!(arg.get_help_heading(), Some("Destination" | "Store"));
    match id.as_str() {
        "inputs" => arg
            .required(false)
            .value_name("FILE|GLOB|-|CONFIG")
            .help("Files of a load, with --to or --spec; CloudQuery configurations of a sync, without"),
        "spec" => arg.required_unless_present_any(["inputs"]),
        name if OF_FILES.contains(&name) => arg.requires(PLACE),
        name if is_of_destination && !DESTINATION.contains(&name) => arg.requires("to"),
        _ => arg,
    }
}

/// Lines have at most 100 characters, since longer ones would be wrapped.
const EXAMPLES: &str = "\
Examples:
  What a load would put where:
  lakegate plan 'data/*.csv' --to 's3://bucket/raw/{{TABLE}}/{{UUID}}.parquet' --format parquet

  The policy that a sync needs, for whoever grants it:
  lakegate plan sync.yml --policy

  Without any rows, from a spec alone:
  lakegate plan --spec s3.yml --json";

/// A destination, and what would be written to it.
#[derive(Debug, Clone)]
struct Subject {
    rows: Rows,
    /// The destination's name in a configuration.
    destination: Option<String>,
    spec: String,
    sync: SyncContext,
}

/// Where rows come from.
#[derive(Debug, Clone)]
enum Rows {
    /// The files of the arguments.
    Files,
    /// A built-in source.
    BuiltIn(Box<(Source, ConfiguredDestination)>),
    /// A plugin, by its name, or nobody: tables and rows are not known.
    Unknown(Option<String>),
}

impl Rows {
    fn source(&self) -> Option<&str> {
        match self {
            Self::Files => None,
            Self::BuiltIn(of) => Some(&of.0.name),
            Self::Unknown(source) => source.as_deref(),
        }
    }
}

/// Runs the command. With `--json`, a result is printed in any case.
pub(crate) async fn run(mut args: PlanArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.load.output);
    // A store in a folder would be made by looking at it.
    args.load.machine.local = None;
    let mut plans = Vec::new();
    let ended = plan(&args, console, &mut plans).await;
    let ended = ended.map(|()| plans.iter().map(Plan::exit).max().unwrap_or(Exit::Done));
    plans.iter().flat_map(Plan::failures).for_each(|line| error_line(&line));
    let printed = if args.policy {
        if ended.is_ok() { data(&pretty(&policy_of(&plans))) } else { Ok(()) }
    } else if args.load.json {
        data(&as_json(&ended, &plans).to_string())
    } else {
        print(&plans)
    };
    exit_code_after(ended, printed)
}

fn print(plans: &[Plan]) -> Result<(), CliError> {
    if plans.is_empty() {
        return Ok(());
    }
    let mut text: Vec<String> = plans.iter().map(Plan::text).collect();
    text.push(format!("The least policy:\n{}", pretty(&policy_of(plans))));
    data(&text.join("\n\n"))
}

fn as_json(ended: &Result<Exit, CliError>, plans: &[Plan]) -> Value {
    let (exit, failure) = match ended {
        Ok(exit) => (*exit, None),
        Err(error) => (error.exit, Some(error.message.as_str())),
    };
    let plans_json: Vec<Value> = plans.iter().map(Plan::json).collect();
    json!({ "ok": exit == Exit::Done, "exit_code": exit.code(), "failure": failure, "plans": plans_json, "policy": policy_of(plans) })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// One policy for all plans: each statement once.
fn policy_of(plans: &[Plan]) -> Value {
    let mut seen = BTreeSet::new();
    let statements = plans.iter().filter_map(|plan| plan.policy.get("Statement")?.as_array()).flatten();
    let statements: Vec<&Value> = statements.filter(|statement| seen.insert(statement.to_string())).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

async fn plan(args: &PlanArgs, console: Console, plans: &mut Vec<Plan>) -> Result<(), CliError> {
    let interrupted = interrupt::listen()?;
    let given = args.clone();
    let subjects = interrupt::unless(&interrupted, async move { subjects(&given, console) }).await?;
    let planner = Planner::prepare(args, console, interrupted).await?;
    for subject in subjects {
        plans.push(planner.plan(subject).await?);
    }
    Ok(())
}

/// What is to be planned. Reads configurations and specs.
fn subjects(args: &PlanArgs, console: Console) -> Result<Vec<Subject>, CliError> {
    let LoadArgs { inputs, target, .. } = &args.load;
    if target.to.is_some() || target.spec.is_some() {
        let spec = target.spec_json(args.load.test_write, |name| std::env::var(name).ok())?;
        let rows = if inputs.is_empty() { Rows::Unknown(None) } else { Rows::Files };
        return Ok(vec![Subject { rows, destination: None, spec, sync: load::sync_context(&args.load)? }]);
    }
    let files: Vec<PathBuf> = inputs.iter().map(PathBuf::from).collect();
    console.say(&format!("Loading spec(s) from {}", inputs.join(", ")));
    let config = Config::load(&files, Required::Sync, &Surroundings::from_process())?;
    let sync_id = sync_id()?;
    let mut subjects = Vec::new();
    for source in &config.sources {
        for destination in config.destinations.iter().filter(|known| source.destinations.contains(&known.name)) {
            if destination.plugin != DestinationPlugin::S3 {
                let line = format!("Destination {} is a plugin: only it knows what it would write.", destination.name);
                console.say(&line);
                continue;
            }
            let rows = match source.plugin {
                SourcePlugin::Files { .. } => Rows::BuiltIn(Box::new((source.clone(), destination.clone()))),
                SourcePlugin::Local { .. } | SourcePlugin::Grpc { .. } => Rows::Unknown(Some(source.name.clone())),
            };
            let (destination, spec) = (Some(destination.name.clone()), destination.spec.to_string());
            subjects.push(Subject { rows, destination, spec, sync: SyncContext::from(&sync_id) });
        }
    }
    if subjects.is_empty() {
        let problem = "no source writes to the S3 destination in this program, so there is nothing to plan";
        return Err(CliError::new(Exit::Spec, problem));
    }
    Ok(subjects)
}

/// What all plans of a command have in common.
struct Planner<'a> {
    args: &'a PlanArgs,
    runtime: Arc<Runtime>,
    options: Options,
    console: Console,
    interrupted: CancellationToken,
}

impl<'a> Planner<'a> {
    async fn prepare(args: &'a PlanArgs, console: Console, interrupted: CancellationToken) -> Result<Self, CliError> {
        let machine = args.load.machine.clone();
        let prepared = async move { Ok((machine.runtime()?, machine.options()?)) };
        let (runtime, options) = interrupt::unless(&interrupted, prepared).await?;
        Ok(Self { args, runtime, options: Options { seed: args.load.seed, ..options }, console, interrupted })
    }

    async fn plan(&self, subject: Subject) -> Result<Plan, CliError> {
        let store = KeyStore::new(self.options.connect.clone());
        let options = Options { store: Some(Arc::new(store.clone())), catalogs: Some(Arc::new(RehearsedCatalogs)), ..self.options.clone() };
        let destination = Destination::new(self.runtime.clone(), options);
        let configuration = destination.check(&subject.spec, subject.sync.clone()).await.map_err(refused)?;
        let text = self.text(&destination, &subject).await?;
        let put = PutObject::parse("sample", &configuration.content_type);
        let put = put.and_then(|put| put.encoded(configuration.content_encoding.as_deref()));
        let put = put.map_err(|error| CliError::new(Exit::Unexpected, error.0))?;
        let put = configuration.commit.create_only.into_iter().fold(put, PutObject::keeping);
        let headers = self.options.connect.headers_of(&configuration.target, &put).await;
        let headers = headers.map_err(|error| refused(OpenError::Connect(error)))?;
        let needs = PolicyNeeds {
            folder: &text.folder,
            // Another component puts its manifests where it likes.
            manifest_folder: text.manifest_folder.as_deref().or(configuration.commit.manifest.map(|_| "")),
            quarantine_folder: text.quarantine.as_deref().map(keys::fixed_folder).or(configuration.quarantine_rows.map(|_| "")),
            repeatable: subject.sync.repeatable,
            headers: &headers,
        };
        let policy = configuration.least_policy(&needs);
        let policy = serde_json::from_str(&policy).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))?;
        let written = if self.args.policy { None } else { self.rehearse(&subject, destination).await? };
        let facts = Facts {
            configuration: &configuration,
            spec: &text,
            report: written.as_ref(),
            has_commit_time: subject.sync.commit_time.is_some() || has_commit_time(&subject.spec),
            lanes: self.options.lanes.get(),
        };
        let warnings = warnings(&facts);
        let rehearsed = written.map(|report| Rehearsed::new(report, &store, &configuration, &text, &subject.sync));
        let (source, destination) = (subject.rows.source().map(str::to_owned), subject.destination);
        Ok(Plan { source, destination, configuration, path: text.key, quarantine: text.quarantine, headers, warnings, policy, rehearsed })
    }

    /// What the spec says of its paths.
    async fn text(&self, destination: &Destination, subject: &Subject) -> Result<SpecText, CliError> {
        if self.args.load.machine.component.is_some() {
            // Its keys are its own.
            return Ok(SpecText::default());
        }
        SpecText::accepted(destination, &subject.spec, subject.sync.clone()).await
    }

    /// What would be written; [`None`] if only the source knows.
    async fn rehearse(&self, subject: &Subject, destination: Destination) -> Result<Option<WriteReport>, CliError> {
        let LoadArgs { machine, .. } = &self.args.load;
        match &subject.rows {
            Rows::Files => {
                let written = load::rehearse(&self.args.load, destination, subject.sync.clone(), self.console, &self.interrupted);
                written.await.map(Some)
            }
            Rows::BuiltIn(of) => {
                let rehearsal = Rehearsal {
                    opener: destination,
                    sync_id: subject.sync.sync_id.clone(),
                    shard: self.args.shard,
                    no_migrate: self.args.no_migrate,
                    spool: machine.spool(),
                    console: self.console,
                    interrupted: self.interrupted.clone(),
                };
                sync::rehearse(&of.0, &of.1, rehearsal).await.map(Some)
            }
            Rows::Unknown(_) => Ok(None),
        }
    }
}

/// The spec or its surroundings are refused: no store was asked.
fn refused(error: OpenError) -> CliError {
    match error {
        OpenError::Connect(error) => CliError::new(Exit::Spec, error.message),
        other => other.into(),
    }
}

/// Whether a spec names a time for its commit.
fn has_commit_time(spec: &str) -> bool {
    let spec: Map<String, Value> = serde_json::from_str(spec).unwrap_or_default();
    let commit = field(&spec, "commit").and_then(Value::as_object);
    commit.and_then(|commit| field(commit, "time")).and_then(Value::as_str).is_some_and(|time| !time.is_empty())
}
