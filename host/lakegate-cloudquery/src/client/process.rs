//! A plugin's process: started with the arguments that the CloudQuery CLI gives, in a process group of its own, ended with SIGINT and, five
//! seconds later, SIGKILL.
//!
//! It is offered a unix socket in a folder that only this user can enter. SDKs that cannot listen on one (Python's and JavaScript's) end
//! at once; those are started a second time, on a port of the loopback.

use super::output::{self, LogCounts};
use super::{Kind, LaunchOptions, PluginError, dial};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;

/// Between two looks at whether the plugin listens.
const POLL: Duration = Duration::from_millis(50);
/// How long a plugin may take to end after SIGINT: the CLI's five seconds.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long the rest of its output may take once it has ended; a child of its own may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A unix socket's path must fit a C structure: 104 bytes on macOS, 108 on Linux.
const MAX_SOCKET_PATH_BYTES: usize = 100;

/// Process groups of plugins that run: what is to be killed if this process has to end at once.
static RUNNING: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Ports that were given to plugins. One is free again as soon as we have found it, and plugins start side by side: without this two of
/// them could be told the same.
static PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
/// Looks for a port before giving up. The system deals them out at random; even a process that has had thousands finds another at once.
const PORT_ATTEMPTS: usize = 100;

/// Kills every plugin that was started. For an end without time.
pub fn kill_all() {
    for group in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        signal(-group, libc::SIGKILL);
    }
}

/// Where a plugin is told to listen.
enum Network {
    Unix(tempfile::TempDir),
    Tcp(u16),
}

impl Network {
    /// A socket, unless the folder for temporary files is too deep for one.
    fn preferred() -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cq-").tempdir()?;
        if folder.path().join(SOCKET).as_os_str().len() <= MAX_SOCKET_PATH_BYTES { Ok(Self::Unix(folder)) } else { Self::port() }
    }

    /// A port that is free at this moment, and that no other plugin was told.
    fn port() -> std::io::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if PORTS.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
                return Ok(Self::Tcp(port));
            }
        }
        Err(std::io::ErrorKind::AddrInUse.into())
    }

    /// `--network` and `--address`.
    fn arguments(&self) -> (&'static str, String) {
        match self {
            Self::Unix(folder) => ("unix", folder.path().join(SOCKET).display().to_string()),
            Self::Tcp(port) => ("tcp", format!("127.0.0.1:{port}")),
        }
    }

    /// How the plugin is reached.
    fn connection(&self) -> String {
        match self {
            Self::Unix(folder) => format!("unix://{}", folder.path().join(SOCKET).display()),
            Self::Tcp(port) => format!("127.0.0.1:{port}"),
        }
    }
}

const SOCKET: &str = "plugin.sock";

/// A plugin's process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The process group, which is the process's id too.
    group: i32,
    name: String,
    kind: Kind,
    connection: String,
    log_counts: Arc<LogCounts>,
    relays: Vec<JoinHandle<()>>,
    /// The folder of the socket; goes with the process.
    _folder: Option<tempfile::TempDir>,
}

impl Process {
    /// Starts the program and waits until it listens.
    pub(super) async fn start(
        kind: Kind,
        name: &str,
        path: &Path,
        options: &LaunchOptions,
        log_counts: &Arc<LogCounts>,
    ) -> Result<(Self, Channel), PluginError> {
        if !path.is_file() {
            return Err(PluginError::Missing(path.to_owned()));
        }
        let not_started = |error: std::io::Error| PluginError::NotStarted { path: path.to_owned(), why: error.to_string() };
        let network = Network::preferred().map_err(not_started)?;
        let on_socket = matches!(network, Network::Unix(_));
        let first = Self::attempt(kind, name, path, options, log_counts, network).await;
        let second = match first {
            Err(PluginError::EndedAtStart { status }) if on_socket => {
                tracing::debug!(%kind, plugin = name, %status, "The plugin does not listen on a unix socket; it is started again on a TCP port.");
                log_counts.forget_last();
                let network = Network::port().map_err(not_started)?;
                Self::attempt(kind, name, path, options, log_counts, network).await
            }
            first => first,
        };
        if matches!(second, Err(PluginError::EndedAtStart { .. })) {
            log_counts.last().iter().for_each(|line| tracing::error!(%kind, plugin = name, "{line}"));
        }
        second
    }

    async fn attempt(
        kind: Kind,
        name: &str,
        path: &Path,
        options: &LaunchOptions,
        log_counts: &Arc<LogCounts>,
        network: Network,
    ) -> Result<(Self, Channel), PluginError> {
        let (flag, address) = network.arguments();
        let endpoint = dial::endpoint(&network.connection())?;
        let mut command = Command::new(program(path));
        command.args(["serve", "--log-level", options.log_level.name(), "--log-format", "json", "--network", flag, "--address", &address]);
        command.arg("--no-sentry");
        if let Some(otel) = &options.otel {
            command.args(["--otel-endpoint", &otel.endpoint]);
            if otel.insecure {
                // With a value: Python's SDK refuses it bare.
                command.arg("--otel-endpoint-insecure=true");
            }
        }
        // A group of its own: an interrupt from the terminal is ours to pass on, in order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| PluginError::NotStarted { path: path.to_owned(), why: error.to_string() })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        let relays = [
            child.stdout.take().map(|output| tokio::spawn(output::relay(output, kind, name.to_owned(), log_counts.clone()))),
            child.stderr.take().map(|stderr| tokio::spawn(output::relay_stderr(stderr, kind, name.to_owned(), log_counts.clone(), options.say))),
        ];
        let relays = relays.into_iter().flatten().collect();
        let connection = network.connection();
        let folder = if let Network::Unix(folder) = network { Some(folder) } else { None };
        let mut process = Self { child, group, name: name.to_owned(), kind, connection, log_counts: log_counts.clone(), relays, _folder: folder };
        let until = Instant::now() + options.start_limit;
        loop {
            let connected = timeout(options.start_limit, endpoint.connect()).await;
            // If it has ended, whoever listens there is somebody else.
            let wait = if matches!(connected, Ok(Ok(_))) { Duration::ZERO } else { POLL };
            let ended = process.ended(wait).await;
            if let (Ok(Ok(channel)), None) = (connected, ended) {
                log_counts.set_at_work(true);
                return Ok((process, channel));
            }
            if let Some(status) = ended {
                process.heard_out().await;
                return Err(PluginError::EndedAtStart { status });
            }
            if Instant::now() >= until {
                process.kill().await;
                return Err(PluginError::NotListening { limit: options.start_limit });
            }
        }
    }

    /// How it is reached.
    pub(super) fn connection(&self) -> &str {
        &self.connection
    }

    /// How it ended, if it does so within `limit`.
    pub(super) async fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        timeout(limit, self.child.wait()).await.ok()?.ok()
    }

    /// SIGINT, then SIGKILL. Done when the process is gone and its last words are in the log.
    pub(super) async fn stop(&mut self) {
        if self.ended(Duration::ZERO).await.is_none() {
            self.log_counts.set_at_work(false);
            signal(self.group, libc::SIGINT);
            match self.ended(STOP_LIMIT).await {
                Some(status) => tracing::debug!(kind = %self.kind, plugin = self.name, %status, "The plugin has ended."),
                None => {
                    let seconds = STOP_LIMIT.as_secs();
                    tracing::warn!(kind = %self.kind, plugin = self.name, "The plugin did not end within {seconds} s; it is killed.");
                    self.kill().await;
                }
            }
        }
        self.heard_out().await;
    }

    async fn kill(&mut self) {
        // The group: a wrapper's child would hold the output open.
        signal(-self.group, libc::SIGKILL);
        let _gone = self.child.wait().await;
        self.heard_out().await;
    }

    async fn heard_out(&mut self) {
        for mut relay in self.relays.drain(..) {
            if timeout(LAST_WORDS, &mut relay).await.is_err() {
                relay.abort();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|group| *group != self.group);
        // Not after it has been waited for: the number may be another's by then.
        if self.child.id().is_some() {
            signal(-self.group, libc::SIGKILL);
        }
    }
}

/// A bare name is a file of this folder, not a program of the search path: the configuration says `path`.
fn program(path: &Path) -> std::path::PathBuf {
    if path.is_absolute() { path.to_owned() } else { Path::new(".").join(path) }
}

/// Signals a process, or with a negative number a process group. One that is gone already needs no signal.
fn signal(process: i32, number: i32) {
    // 0, 1 and -1 are everyone in our own group, init, and everyone there is.
    if process.unsigned_abs() > 1 {
        #[expect(unsafe_code, reason = "a call into C of two numbers; it touches no memory")]
        let _gone = unsafe { libc::kill(process, number) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_plugins_are_told_the_same_port() {
        let ports: BTreeSet<String> = (0..200).map(|_| Network::port().unwrap().connection()).collect();
        assert_eq!(ports.len(), 200);
    }
}
