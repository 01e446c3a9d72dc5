//! The command line of Lakegate: parses the arguments into one command and runs it to an exit code.
//!
//! Data goes to stdout, messages and progress to stderr. Exit codes are defined in [`exit`], options shared by several commands in [`args`].

mod allocator;
pub mod args;
mod bucket;
mod choices;
pub mod cloudquery_flags;
pub mod commit;
pub mod config;
mod console;
pub mod ddl;
mod destination_write;
pub mod exit;
pub mod init;
pub mod inspect;
mod interrupt;
pub mod load;
pub mod logging;
pub mod manifest;
mod migrate;
mod output_args;
pub mod plan;
mod plugins;
pub mod policy;
pub mod serve;
pub mod shell;
mod status_page;
mod summary;
pub mod sync;
mod sync_id;
pub mod tables;
pub mod target;
pub mod telemetry;
pub mod tenants;
mod unquoted;

pub use allocator::Allocator;
use args::ResourceArgs;
use clap::{CommandFactory, Parser, Subcommand};
use console::error_line;
use exit::{CliError, Exit};
use lakegate::{Options, compiling};
use std::ffi::OsString;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Writes tables to S3 as CSV, JSON or Parquet: from files, from CloudQuery sources, or as a plugin of the CloudQuery CLI.
///
/// The code that handles rows runs in a WebAssembly sandbox that can only put objects where the spec says.
#[derive(Debug, Parser)]
#[command(name = "lakegate", version, max_term_width = 120, after_help = EXIT_CODES)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Try it without a bucket:
  lakegate load orders.csv --to 's3://demo/{{TABLE}}.json' --format json --local ~/lakegate

Exit codes: 0 done, 1 unexpected, 2 usage, 3 spec or component refused, 4 denied by policy, 5 storage failed, \
6 input data refused, 7 source or plugin failed, 130 interrupted. When some tables failed: the highest of theirs.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first configuration: files into a bucket, with comments.
    ///
    /// What options do not say is asked, if this is a terminal. Nothing is sent.
    Init(Box<init::InitArgs>),
    /// Write files to a bucket: Parquet, CSV, NDJSON, Arrow IPC.
    ///
    /// A table is named after its file (`orders.csv.gz` becomes `orders`), or by --table. Column types of CSV and NDJSON are inferred from the first
    /// 10,000 rows: bool, int64, float64, date, timestamp, json, utf8; --column sets one. A value that its type cannot represent exactly ends the
    /// load with file and line. An empty CSV field is null, a quoted empty field is the empty text.
    Load(Box<load::LoadArgs>),
    /// Show what a load or a sync would write, and the least policy that it needs. Nothing is sent.
    ///
    /// Files, and the built-in source of configurations, are read and encoded as in a load; of plugins' sources only the paths, headers and policy
    /// are shown. Random parts of keys are shown as {{UUID}} and {{SYNC_ID}}. No credentials are needed.
    Plan(Box<plan::PlanArgs>),
    /// Print the statements with which Athena or Spark reads what a load or a sync writes.
    ///
    /// The columns are those of the files, of a configuration's built-in sources, or of the objects of a manifest; the folders are those of the path. Of
    /// columns that an engine cannot read as they are, a view has the typed values. Warnings go to stderr. Only manifests and their objects are read
    /// from a store; nothing is executed.
    Ddl(Box<ddl::DdlArgs>),
    /// Run CloudQuery sources and write their tables to their destinations.
    ///
    /// Built in are a file source (`registry: builtin`, `path: files`, `spec.paths`) and the S3 destination (`cloudquery/s3` of any v7 version, or
    /// `registry: builtin`, `path: s3`), the latter always with `write_mode: append`. Every other plugin is a program that is started (`registry:
    /// local`) or a server that is already running (`registry: grpc`).
    Sync(Box<sync::SyncArgs>),
    /// Announce the tables of CloudQuery sources to their destinations; no rows are read or written.
    Migrate(migrate::MigrateArgs),
    /// Print the tables and columns of CloudQuery sources as JSON.
    Tables(tables::TablesArgs),
    /// Serve the S3 destination as a plugin of the CloudQuery CLI, for one user or for many tenants.
    Serve(ServeCommand),
    /// Check a tenants file, or explain what a tenant's spec may do.
    Policy(policy::PolicyArgs),
    /// Finish a commit that was interrupted.
    Commit(Box<commit::CommitArgs>),
    /// Check what a manifest says against what is in the bucket.
    Manifest(Box<manifest::ManifestArgs>),
    /// Check configurations and specs, and report all errors. Nothing is sent.
    ValidateConfig(inspect::ConfigurationArgs),
    /// Test the sources and destinations of configurations. The S3 destination puts an empty test object.
    TestConnection(inspect::TestConnectionArgs),
    /// Print the JSON Schema of the S3 destination's spec.
    Schema(inspect::SchemaArgs),
    /// Write out the WebAssembly component in this program, or list its imports.
    Component(inspect::ComponentArgs),
    /// Print the script by which a shell completes command lines of this program.
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write those of all commands.
    Man(shell::ManArgs),
    /// The child process that compiles a user-supplied component.
    #[command(hide = true, name = compiling::SUBCOMMAND)]
    CompileComponent(CompileCommand),
}

/// The arguments of `serve`: our own options and those of a Go plugin.
#[derive(Debug, clap::Args)]
pub struct ServeCommand {
    /// Options for serving many tenants.
    #[command(flatten)]
    pub tenants: serve::TenantsArgs,
    /// Options that Go plugins have, too.
    #[command(flatten)]
    pub serve: serve::ServeArgs,
    /// Resource limits of the process.
    #[command(flatten)]
    pub machine: ResourceArgs,
}

/// The arguments of `compile-component`, which this program starts as a child process.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct CompileCommand {
    /// Limit of CPU seconds.
    #[arg(long)]
    cpu_seconds: u64,
    /// Limit of the address space, in bytes.
    #[arg(long)]
    memory_bytes: u64,
}

impl From<CompileCommand> for compiling::CompileArgs {
    fn from(CompileCommand { cpu_seconds, memory_bytes }: CompileCommand) -> Self {
        Self { cpu_seconds, memory_bytes }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let code = answer();
    console::flush();
    code
}

fn answer() -> ExitCode {
    allocator::return_pages_soon();
    hush_caught_panics();
    let (arguments, unknown) = arguments(std::env::args_os());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` end up here too, and exit with 0.
            let _gone = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    // Done before threads are started, since it affects the whole process.
    match cli.command {
        Command::CompileComponent(args) => return compiling::child(args.into()),
        Command::Serve(ServeCommand { tenants: serve::TenantsArgs { tenants: Some(_), .. }, .. }) => {
            if let Err(error) = serve::tenants::ignore_redirects() {
                return report_error(&error).into();
            }
        }
        _ => {}
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error_line(&format!("Error: threads cannot be started: {error}"));
            return Exit::Unexpected.into();
        }
    };
    let ended = runtime.block_on(run(cli.command, &unknown));
    // A reader may still be blocked on a pipe that nobody writes to.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => report_error(&error).into(),
    }
}

/// Prints the error and returns its exit code.
fn report_error(error: &CliError) -> Exit {
    error_line(&format!("Error: {error}"));
    error.exit
}

/// Silences panics of decoders that are caught and reported as an error of the file; the default hook would print them too, possibly with content of
/// the file.
fn hush_caught_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !lakegate_base::caught::panics_are_caught() {
            loud(panic);
        }
    }));
}

async fn run(command: Command, unknown: &[String]) -> Result<Exit, CliError> {
    // With a handler, a file that reaches `ulimit -f` fails its write instead of killing the process.
    let _file_size = signal(SignalKind::from_raw(libc::SIGXFSZ)).map_err(anyhow::Error::from)?;
    match command {
        Command::Init(args) => init::run(*args).await,
        Command::Load(args) => load::run(*args).await,
        Command::Plan(args) => plan::run(*args).await,
        Command::Ddl(args) => ddl::run(*args).await,
        Command::Sync(args) => sync::run(*args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Tables(args) => tables::run(args).await,
        Command::Serve(args) => {
            if args.tenants.tenants.is_some() {
                return serve::tenants::run(args.serve, unknown, args.tenants, args.machine).await;
            }
            // The protocol reports failures to clients, but no objects.
            let machine = args.machine.clone();
            let options = serve::unless_signalled(move || Ok(Options { receipt_bytes: 0, ..machine.options()? }));
            let Some(options) = options.await? else { return Ok(Exit::Done) };
            let make = move |observer| Ok(lakegate::Destination::new(args.machine.runtime()?, Options { observer, ..options }));
            let served = serve::run(args.serve, unknown, make).await;
            let to_cli_error = |error: anyhow::Error| {
                error.downcast::<CliError>().unwrap_or_else(|error| CliError::new(Exit::Source, format!("{error:#}")))
            };
            served.map(|()| Exit::Done).map_err(to_cli_error)
        }
        Command::Policy(args) => interrupt::unless(&interrupt::listen()?, policy::run(args)).await,
        Command::Commit(args) => commit::run(*args).await,
        Command::Manifest(args) => manifest::run(*args).await,
        Command::ValidateConfig(args) => inspect::validate(args).await,
        Command::TestConnection(args) => inspect::test_connection(args).await,
        Command::Schema(args) => interrupt::unless(&interrupt::listen()?, inspect::schema(args)).await,
        Command::Component(args) => interrupt::unless(&interrupt::listen()?, inspect::component(args)).await,
        Command::Completions(args) => shell::completions(args, &Cli::command()),
        Command::Man(args) => shell::man(&args, &Cli::command()),
        Command::CompileComponent(_) => unreachable!("it is answered in `main`"),
    }
}

/// The arguments without unknown flags of `serve`, which a newer launcher may pass, and the names of those flags.
fn arguments(all: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let all: Vec<OsString> = all.into_iter().collect();
    if all.get(1).is_none_or(|command| command != "serve") {
        return (all, Vec::new());
    }
    let mut cli = Cli::command();
    cli.build();
    match cli.find_subcommand("serve") {
        Some(serve) => serve::tolerate(all, serve),
        None => (all, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_lines() {
        for (line, accepted) in [
            ("lakegate load a.csv --to s3://b/p --format csv", true),
            ("lakegate load a.csv b.csv - --spec s.yml --table t --column a=int64 --column b=decimal(5,2) --input-format csv", true),
            (
                "lakegate load a.csv --to s3://b/p --format csv --memory 16MiB --lanes 2 --in-flight 8MB --spill-dir none --json --quiet",
                true,
            ),
            ("lakegate load a.csv --to s3://b/p", false),
            ("lakegate load a.csv", false),
            ("lakegate load --to s3://b/p --format csv", false),
            ("lakegate load a.csv --spec s.yml --to s3://b/p --format csv", false),
            ("lakegate load a.csv --spec s.yml --region r", false),
            ("lakegate load a.csv --spec s.yml --column a=varchar", false),
            ("lakegate load a.csv --to s3://b/p --format csv --tag a=b --tag c={{TABLE}} --metadata a=b --storage-class GLACIER_IR", true),
            ("lakegate load a.csv --to s3://b/p --format csv --object-lock-mode GOVERNANCE --object-lock-days 3 --legal-hold", true),
            ("lakegate plan a.csv --to s3://b/p --format csv --sse aws:kms --sse-kms-key-id k --bucket-key-enabled --acl private", true),
            ("lakegate load a.csv --to s3://b/p --format csv --tag a", false),
            ("lakegate load a.csv --to s3://b/p --format csv --object-lock-mode GOVERNANCE", false),
            ("lakegate load a.csv --to s3://b/p --format csv --bucket-key-enabled", false),
            ("lakegate load a.csv --spec s.yml --tag a=b", false),
            ("lakegate load a.csv --to s3://b/p --format csv --otel-endpoint localhost:4318 --otel-endpoint-insecure", true),
            ("lakegate load a.csv --to s3://b/p --format csv --otel-endpoint", false),
            ("lakegate sync a.yml --otel-endpoint http://localhost:4318 --otel-endpoint-insecure=false", true),
            ("lakegate migrate a.yml --otel-endpoint c:1", false),
            ("lakegate load a.csv --spec s.yml --memory lots", false),
            ("lakegate load a.csv --spec s.yml --lanes 0", false),
            ("lakegate plan a.csv --to s3://b/p --format csv --table t --batch-size 5 --region r --commit-id c", true),
            ("lakegate plan --spec s.yml", true),
            ("lakegate plan a.csv --spec s.yml --table t --policy", true),
            ("lakegate plan a.yml b.yml --shard 1/2 --no-migrate --json", true),
            ("lakegate plan", false),
            ("lakegate plan --to s3://b/p", false),
            ("lakegate plan a.yml --table t", false),
            ("lakegate plan a.yml --region r", false),
            ("lakegate plan a.yml --format csv", false),
            ("lakegate plan a.csv --spec s.yml --shard 1/2", false),
            ("lakegate plan --spec s.yml --policy --json", false),
            ("lakegate ddl a.csv --to s3://b/p --format csv --engine athena --no-projection --table t --column a=int64", true),
            ("lakegate ddl a.yml --engine spark --database d --table-prefix p_ --location s3a://x --date-range NOW-3YEARS,NOW", true),
            ("lakegate ddl s3://b/m.json --engine athena --region r --endpoint http://h --path-style", true),
            ("lakegate ddl a.csv --spec s.yml --engine athena", true),
            ("lakegate ddl a.csv --to s3://b/p --format csv", false),
            ("lakegate ddl a.csv --to s3://b/p --engine athena", false),
            ("lakegate ddl --spec s.yml --engine athena", false),
            ("lakegate ddl a.yml --engine hive", false),
            ("lakegate ddl a.yml --engine athena --format csv", false),
            ("lakegate ddl a.yml --engine athena --database a;b", false),
            ("lakegate ddl a.yml --engine athena --location bucket", false),
            ("lakegate ddl a.yml --engine athena --date-range NOW", false),
            ("lakegate sync a.yml dir --local d", true),
            ("lakegate sync a.yml --no-migrate --summary-location f --shard 1/2 --log-console --plugin-start-limit 5", true),
            ("lakegate sync a.yml --invocation-id 7f1d4f3e-7c3a-4d6b-9b6e-0f6b0d7a1c2d", true),
            ("lakegate sync a.yml --invocation-id seven", false),
            ("lakegate sync a.yml --shard 3/2", false),
            ("lakegate sync a.yml --plugin-start-limit 0", false),
            ("lakegate sync", false),
            ("lakegate sync a.yml --json", true),
            ("lakegate migrate a.yml --local d", true),
            ("lakegate migrate a.yml --json", false),
            ("lakegate tables a.yml --json", false),
            ("lakegate tables a.yml --filter spec --output-dir d", true),
            ("lakegate serve --network unix --address /tmp/a.sock --log-level debug --log-format json --no-sentry --local d", true),
            ("lakegate serve --tenants t.toml --log-format json --local d", true),
            ("lakegate serve --tenants t.toml --address a:1", false),
            ("lakegate serve --component c.wasm", true),
            ("lakegate serve --tenants t.toml --component c.wasm", false),
            ("lakegate load a.csv --spec s.yml --component c.wasm", true),
            ("lakegate serve --tenants t.toml --status 127.0.0.1:0", true),
            ("lakegate serve --status 127.0.0.1:0", false),
            ("lakegate policy check t.toml", true),
            ("lakegate policy explain t.toml --tenant a --spec s.yml", true),
            ("lakegate policy explain t.toml --tenant a", false),
            ("lakegate validate-config a.yml --json", true),
            ("lakegate test-connection a.yml --local d", true),
            ("lakegate schema", true),
            ("lakegate component --imports", true),
            ("lakegate component --output f.wasm", true),
            ("lakegate component", false),
            ("lakegate completions fish", true),
            ("lakegate completions", false),
            ("lakegate completions csh", false),
            ("lakegate man --output-dir d", true),
            ("lakegate", false),
        ] {
            assert_eq!(parse(line).is_ok(), accepted, "{line}");
        }
    }

    /// The examples in the help are valid command lines.
    #[test]
    fn the_examples_of_the_help_are_command_lines() {
        let mut cli = Cli::command();
        let helps = std::iter::once(cli.render_long_help().to_string());
        let helps: Vec<String> = helps.chain(cli.get_subcommands_mut().map(|command| command.render_long_help().to_string())).collect();
        let lines = helps
            .iter()
            .flat_map(|help| help.lines())
            .filter(|line| line.starts_with("  "))
            .filter_map(|line| line.split_once("lakegate "));
        let examples: Vec<Vec<&str>> = lines
            .map(|(_, line)| std::iter::once("lakegate").chain(line.split(' ').map(|word| word.trim_matches('\''))).collect())
            .collect();
        assert_eq!(examples.len(), 15, "{examples:?}");
        for example in examples {
            assert!(Cli::try_parse_from(&example).is_ok(), "{example:?}");
        }
    }

    #[test]
    fn only_serve_tolerates_unknown_flags() {
        let parsed = |line: &str| arguments(line.split(' ').map(OsString::from));
        assert_eq!(parsed("lakegate serve --new 1 --address a:1 --memory 1MiB").1, ["--new"]);
        assert_eq!(parsed("lakegate serve --new 1 --address a:1 --memory 1MiB").0.len(), 6);
        assert!(parsed("lakegate load --new 1").1.is_empty());
    }
}
