//! `lakegate serve`: the plugin that the CloudQuery CLI launches, with the arguments of a Go plugin.
//!
//! It listens first and compiles the component in the meantime, since a client waits five seconds for a connection but any time for Init.

pub mod tenants;

use super::choices;
use super::exit::{CliError, Exit};
use super::logging::{self, LogFormat};
use super::telemetry::TelemetryArgs;
use anyhow::{Context, Result};
use futures::future::join_all;
use lakegate::Destination;
use lakegate::observe::Observer;
use lakegate_base::log_level::LogLevel;
use lakegate_cloudquery::server::listen::{Listener, Network};
use lakegate_cloudquery::server::service::{self, PLUGIN_NAME, Server};
use lakegate_telemetry::Telemetry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The CLI kills the process five seconds after SIGINT; aborts must be done by then.
const STOP_TIME: Duration = Duration::from_millis(4_500);

/// How long telemetry is sent at the end, even if everything else took all of the time.
const LEAST_FLUSH_TIME: Duration = Duration::from_millis(300);

/// The arguments of a plugin on the Go SDK.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Where to listen: HOST:PORT, or the path of a unix socket.
    #[arg(long, default_value = "localhost:7777")]
    pub address: String,
    /// Network to listen on.
    #[arg(long, value_parser = choices::network(), default_value = "tcp")]
    pub network: Network,
    /// Log level.
    #[arg(long, value_parser = choices::log_level(), default_value = "info")]
    pub log_level: LogLevel,
    /// Format of log lines.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Accepted for compatibility; errors are never reported to Sentry.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub no_sentry: bool,
    /// Accepted for compatibility; no license is needed.
    #[arg(long)]
    pub license: Option<PathBuf>,
    /// Traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// Options of `serve` for many tenants.
#[derive(Debug, Clone, clap::Args)]
pub struct TenantsArgs {
    /// Serve the tenants in this file, each at its own address and under its own grant.
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["address", "network", "component"])]
    pub tenants: Option<PathBuf>,
    /// Serve a status page at this loopback address: `/` for people, `/metrics` for Prometheus, `/healthz`, `/readyz`.
    #[arg(long, value_name = "HOST:PORT", requires = "tenants")]
    pub status: Option<SocketAddr>,
    /// Append the audit log to this file, as JSON, instead of writing it to stdout. SIGHUP reopens it.
    #[arg(long, value_name = "FILE", requires = "tenants")]
    pub audit_log: Option<PathBuf>,
    /// At SIGHUP, accept that tenants and fields are missing in a file without a seal, although it may be truncated.
    #[arg(long, requires = "tenants")]
    pub allow_removal: bool,
}

/// Serves until SIGINT or SIGTERM. `make` compiles the component on a separate thread while the server already listens; the writes of its destination
/// are reported to the observer that it gets.
///
/// `unknown` are the flags that [`tolerate`] removed.
///
/// # Errors
/// The address cannot be listened on, the component cannot be used, or the transport failed.
pub async fn run(
    args: ServeArgs,
    unknown: &[String],
    make: impl FnOnce(Option<Arc<dyn Observer>>) -> Result<Destination> + Send + 'static,
) -> Result<()> {
    // An embedder may have a log of its own already.
    let _own_log = logging::start(args.log_level, args.log_format);
    raise_open_files();
    let signals = Signals::new()?;
    let listener = Listener::bind(args.network, &args.address).await.with_context(|| format!("cannot listen on {}", args.address))?;
    tracing::info!(address = listener.address(), plugin = PLUGIN_NAME, "Plugin server listening");
    warn_of_flags(unknown);
    let telemetry = args.telemetry.start(None)?;
    let observer = telemetry.as_ref().map(Telemetry::observer);
    let stop = CancellationToken::new();
    let (report, refused) = oneshot::channel();
    let make = move || {
        make(observer).map_err(|error| {
            let message = anyhow::anyhow!("{error:#}");
            // The receiver is gone if the server has already ended.
            let _ended = report.send(error);
            message
        })
    };
    let server = Server::new(service::compiling(make), stop.clone());
    let (served, signalled) = tokio::select! {
        signalled = serve_until_signalled(listener, server, signals, stop) => (Ok(()), signalled),
        // Without a component, no call can ever succeed.
        Ok(error) = refused => (Err(error), Instant::now()),
    };
    finish(telemetry, signalled).await;
    served
}

/// Sends what is left of telemetry in what is left of the time in which a server has to end.
async fn finish(telemetry: Option<Telemetry>, signalled: Instant) {
    if let Some(telemetry) = telemetry {
        telemetry.finish(Exit::Done.code(), STOP_TIME.saturating_sub(signalled.elapsed()).max(LEAST_FLUSH_TIME)).await;
    }
}

/// Raises the limit on open files as far as allowed: each connection and each request to the store needs one, and the default of shells is low.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "The limit on open files could not be raised.");
    }
}

fn warn_of_flags(unknown: &[String]) {
    unknown.iter().for_each(|flag| tracing::warn!(flag, "Unknown flag ignored."));
}

/// Runs the preparations before anything is served. They may block, for example on a pipe. [`None`] if a signal came first.
///
/// # Errors
/// The errors of `work`.
pub(super) async fn unless_signalled<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<Option<T>, CliError> {
    let mut signals = Signals::new()?;
    tokio::select! {
        worked = tokio::task::spawn_blocking(work) => worked.map_err(anyhow::Error::from)?.map(Some),
        _ = signals.interrupt.recv() => Ok(None),
        _ = signals.terminate.recv() => Ok(None),
    }
}

/// The signals that stop a server.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }
}

/// Returns when the signal came.
async fn serve_until_signalled(listener: Listener, server: Server, mut signals: Signals, stop: CancellationToken) -> Instant {
    let serving = listener.serve(&server, stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Instant::now(),
        _ = signals.interrupt.recv() => {}
        _ = signals.terminate.recv() => {}
    }
    tracing::info!("Stopping: aborting open uploads.");
    let signalled = Instant::now();
    stop.cancel();
    wind_down([&server], serving).await;
    signalled
}

/// Waits for servers that were told to stop: for connections to send their last responses and for sessions to abort their uploads, in parallel.
/// Clients that do not disconnect are abandoned.
async fn wind_down<T>(servers: impl IntoIterator<Item = &Server>, serving: impl Future<Output = T>) {
    let down = tokio::time::timeout(STOP_TIME, async {
        join_all(servers.into_iter().map(Server::shut_down)).await;
        let _last_words = tokio::time::timeout(STOP_TIME / 4, serving).await;
    });
    if down.await.is_err() {
        tracing::warn!("Not everything could be aborted in time; unfinished uploads may remain.");
    }
}

/// Removes flags that `command` does not know, with their values, from a `serve` command line, and returns their names: a newer CLI may pass flags
/// that this plugin does not know, and that must not be an error.
pub fn tolerate(arguments: impl IntoIterator<Item = OsString>, command: &clap::Command) -> (Vec<OsString>, Vec<String>) {
    let (mut kept, mut unknown) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter().peekable();
    let is_value = |next: &OsString| !next.to_string_lossy().starts_with('-');
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let Some(flag) = text.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
            kept.push(argument);
            continue;
        };
        let (name, inline) = flag.split_once('=').map_or((flag, false), |(name, _)| (name, true));
        let known = command.get_arguments().find(|known| known.get_long() == Some(name));
        let takes_next = known.is_some_and(|known| known.get_action().takes_values() && !known.is_require_equals_set());
        if known.is_some() || matches!(name, "help" | "version") {
            kept.push(argument);
            if takes_next && !inline {
                kept.extend(arguments.next());
            }
        } else {
            unknown.push(format!("--{name}"));
            if !inline {
                arguments.next_if(is_value);
            }
        }
    }
    (kept, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn command() -> clap::Command {
        ServeArgs::augment_args(clap::Command::new("serve"))
    }

    fn parse(line: &str) -> (ServeArgs, Vec<String>) {
        let (kept, unknown) = tolerate(line.split(' ').map(OsString::from), &command());
        let matches = command().try_get_matches_from(kept).expect("known flags parse");
        (ServeArgs::from_arg_matches(&matches).expect("all there"), unknown)
    }

    #[test]
    fn the_line_of_the_cli_is_understood() {
        let (args, unknown) = parse(
            "serve --log-level debug --log-format json --network unix --address /tmp/cq-a.sock --no-sentry --license f --otel-endpoint e --otel-endpoint-insecure",
        );
        assert_eq!((args.network, args.log_level, args.log_format), (Network::Unix, LogLevel::Debug, LogFormat::Json));
        assert_eq!((args.address.as_str(), args.no_sentry, args.telemetry.otel_endpoint_insecure), ("/tmp/cq-a.sock", true, true));
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn defaults_are_the_sdks() {
        let (args, _) = parse("serve");
        assert_eq!((args.address.as_str(), args.network, args.log_format), ("localhost:7777", Network::Tcp, LogFormat::Text));
    }

    #[test]
    fn unknown_flags_go_with_their_values() {
        let (args, unknown) = parse("serve --new-thing 7 --no-sentry --other=secret --last --address a:1");
        assert_eq!(unknown, ["--new-thing", "--other", "--last"]);
        assert_eq!((args.address.as_str(), args.no_sentry), ("a:1", true));
    }
}
