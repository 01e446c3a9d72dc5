//! `lakegate serve`: the plugin that the CloudQuery CLI launches, with the arguments of a Go plugin.
//!
//! It listens first and compiles meanwhile, since a client waits five seconds for a connection and any time for Init.

use super::exit::{CliError, Exit};
use super::logging::{self, LogFormat, LogLevel};
use super::tenants::Hosted;
use super::watch::Watch;
use crate::engine::Runtime;
use crate::grpc::listen::{Listener, Network};
use crate::grpc::server::{self, Made, PLUGIN_NAME, Server};
use crate::session::{Destination, Options};
use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The CLI kills five seconds after it asks; what is aborted must be by then.
const STOP_TIME: Duration = Duration::from_millis(4_500);

/// The arguments of a plugin of the Go SDK.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Where to listen: HOST:PORT, or the path of a unix socket.
    #[arg(long, default_value = "localhost:7777")]
    pub address: String,
    /// The kind of network.
    #[arg(long, value_enum, default_value = "tcp")]
    pub network: Network,
    /// How much to log.
    #[arg(long, value_enum, default_value = "info")]
    pub log_level: LogLevel,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Accepted for the launcher's sake: nothing is ever reported to anyone.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub no_sentry: bool,
    /// Accepted for the launcher's sake; no traces are sent.
    #[arg(long)]
    pub otel_endpoint: Option<String>,
    /// Accepted for the launcher's sake.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub otel_endpoint_insecure: bool,
    /// Accepted for the launcher's sake; no license is needed.
    #[arg(long)]
    pub license: Option<PathBuf>,
}

/// Serves until SIGINT or SIGTERM. `make` compiles the component; it runs on a thread of its own while the server listens.
///
/// `unknown` are the flags that [`tolerate`] took out.
///
/// # Errors
/// The address cannot be listened on, the component cannot be used, or the transport failed.
pub async fn run(args: ServeArgs, unknown: &[String], make: impl FnOnce() -> Result<Destination> + Send + 'static) -> Result<()> {
    // An embedder may have a log of its own already.
    let _own_log = logging::start(args.log_level, args.log_format);
    let signals = Signals::new()?;
    let listener = Listener::bind(args.network, &args.address).await.with_context(|| format!("cannot listen on {}", args.address))?;
    tracing::info!(address = listener.address(), plugin = PLUGIN_NAME, "Plugin server listening");
    warn_of_flags(&args, unknown);
    let stop = CancellationToken::new();
    let (tell, refused) = oneshot::channel();
    let make = move || {
        make().map_err(|error| {
            let words = anyhow::anyhow!("{error:#}");
            // Nobody listens any more when the server is at its end.
            let _ended = tell.send(error);
            words
        })
    };
    let server = Server::new(server::compiling(make), stop.clone());
    tokio::select! {
        served = until_told(vec![(listener, server)], signals, stop) => served,
        // Without a component no call can ever succeed.
        Ok(error) = refused => Err(error),
    }
}

/// Serves every tenant at its own place under its own grant, until SIGINT or SIGTERM. `options` is what all have in common.
///
/// # Errors
/// The environment redirects requests, a tenant's place cannot be listened on, its credentials are not there, or a transport failed.
pub async fn run_tenants(
    args: ServeArgs,
    unknown: &[String],
    tenants: Vec<Hosted>,
    options: Options,
    status: Option<SocketAddr>,
) -> Result<Exit, CliError> {
    let _own_log = logging::start(args.log_level, args.log_format);
    if let Some((name, _)) = std::env::vars_os().find(|(name, _)| name.to_string_lossy().starts_with("AWS_ENDPOINT_URL")) {
        let text =
            format!("{} is set: it would send every tenant's objects elsewhere; unset it, and name endpoints in grants", name.display());
        return Err(CliError::new(Exit::Usage, text));
    }
    let signals = Signals::new()?;
    // One component for all tenants.
    let (stop, runtime) = (CancellationToken::new(), server::compiling(Runtime::new));
    // Whoever waits for it drives it; somebody must, for the status page to see that it is there.
    tokio::spawn(runtime.clone());
    let _watch = match status {
        Some(address) => Some(watch(address, &tenants, runtime.clone()).await?),
        None => None,
    };
    let mut services = Vec::with_capacity(tenants.len());
    for hosted in tenants {
        let name = hosted.tenant.name.clone();
        let refuse = |error| CliError::new(Exit::Source, format!("tenant {name:?}: cannot listen on {}: {error:#}", hosted.place));
        let listener = hosted.place.bind().await.map_err(refuse)?;
        tracing::info!(tenant = &*name, address = listener.address(), plugin = PLUGIN_NAME, "Plugin server listening");
        let (options, runtime) = (hosted.options(&options)?, runtime.clone());
        let destination = async move { Ok(Destination::new(runtime.await?, options)) }.boxed().shared();
        services.push((listener, Server::new(destination, stop.clone())));
    }
    warn_of_flags(&args, unknown);
    let served = until_told(services, signals, stop).await;
    served.map(|()| Exit::Done).map_err(|error| CliError::new(Exit::Source, format!("{error:#}")))
}

/// Starts the status page; it ends when the answer is dropped.
async fn watch(address: SocketAddr, tenants: &[Hosted], runtime: Made<Arc<Runtime>>) -> Result<AbortOnDropHandle<()>, CliError> {
    if !address.ip().is_loopback() {
        return Err(CliError::new(Exit::Usage, format!("--status {address}: not on the loopback interface, where alone it is offered")));
    }
    let refuse = |error| CliError::new(Exit::Source, format!("--status: cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    tracing::info!(address = %listener.local_addr().map_err(refuse)?, "Status page listening");
    let ready = Arc::new(move || runtime.peek().is_some_and(Result::is_ok));
    let watch = Watch::new(tenants.iter().map(|hosted| hosted.tenant.clone()), ready);
    Ok(AbortOnDropHandle::new(tokio::spawn(watch.serve(listener))))
}

fn warn_of_flags(args: &ServeArgs, unknown: &[String]) {
    unknown.iter().for_each(|flag| tracing::warn!(flag, "Unknown flag ignored."));
    if args.otel_endpoint.is_some() {
        tracing::warn!("No traces are sent: --otel-endpoint is ignored.");
    }
}

/// What ends a server.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }
}

async fn until_told(services: Vec<(Listener, Server)>, mut signals: Signals, stop: CancellationToken) -> Result<()> {
    let servers: Vec<Server> = services.iter().map(|(_, server)| server.clone()).collect();
    let serving = try_join_all(services.into_iter().map(|(listener, server)| {
        let stop = stop.clone();
        async move { listener.serve(&server, stop).await }
    }));
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map(|_| ()).context("the server failed"),
        _ = signals.interrupt.recv() => {}
        _ = signals.terminate.recv() => {}
    }
    tracing::info!("Stopping: what is open is aborted.");
    stop.cancel();
    // The connections' last words and the sessions' uploads at the same time; a client that does not hang up is left.
    let down = tokio::time::timeout(STOP_TIME, async {
        join_all(servers.iter().map(Server::shut_down)).await;
        let _last_words = tokio::time::timeout(STOP_TIME / 4, serving).await;
    });
    if down.await.is_err() {
        tracing::warn!("Not everything could be aborted in time; unfinished uploads may remain.");
    }
    Ok(())
}

/// Takes out of a `serve` command line the flags that `command` does not know, with their values, and answers their names: a newer CLI may
/// pass flags that this plugin has never heard of, and must not fail for it.
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
        assert_eq!((args.address.as_str(), args.no_sentry, args.otel_endpoint_insecure), ("/tmp/cq-a.sock", true, true));
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
