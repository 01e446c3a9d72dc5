//! The process of a plugin: started in its own process group with the arguments that the CloudQuery CLI passes, and stopped with SIGINT and, five
//! seconds later, SIGKILL.
//!
//! It is offered a unix socket in a folder that only this user can enter. SDKs that cannot listen on one (Python's and JavaScript's) exit at once;
//! they are started a second time, on a loopback port.

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

/// Delay between two checks whether the plugin listens.
const POLL: Duration = Duration::from_millis(50);
/// How long a plugin may take to exit after SIGINT: five seconds, as in the CLI.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait for the rest of its output after it has exited; a child process may keep the pipe open.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// A unix socket's path must fit a C structure: 104 bytes on macOS, 108 on Linux.
const MAX_SOCKET_PATH_BYTES: usize = 100;

/// Process groups of running plugins, to be killed if this process has to exit immediately.
static RUNNING: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Ports assigned to plugins. A port is free again right after we have found it, and plugins start in parallel, so two of them could get the same
/// one.
static PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
/// Attempts to find an unassigned port. The system assigns them randomly; even a process that has used thousands soon finds another.
const PORT_ATTEMPTS: usize = 100;

/// Kills all started plugins, for an immediate exit.
pub fn kill_all() {
    for group in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        signal(-group, libc::SIGKILL);
    }
}

/// The address a plugin is told to listen on.
enum Network {
    Unix(tempfile::TempDir),
    Tcp(u16),
}

impl Network {
    /// A socket, unless the path of the temporary folder is too long for one.
    fn preferred() -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cq-").tempdir()?;
        if folder.path().join(SOCKET).as_os_str().len() <= MAX_SOCKET_PATH_BYTES { Ok(Self::Unix(folder)) } else { Self::port() }
    }

    /// A port that is free right now and not assigned to another plugin.
    fn port() -> std::io::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if PORTS.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
                return Ok(Self::Tcp(port));
            }
        }
        Err(std::io::ErrorKind::AddrInUse.into())
    }

    /// The values of `--network` and `--address`.
    fn arguments(&self) -> (&'static str, String) {
        match self {
            Self::Unix(folder) => ("unix", folder.path().join(SOCKET).display().to_string()),
            Self::Tcp(port) => ("tcp", format!("127.0.0.1:{port}")),
        }
    }

    /// The address to connect to.
    fn connection(&self) -> String {
        match self {
            Self::Unix(folder) => format!("unix://{}", folder.path().join(SOCKET).display()),
            Self::Tcp(port) => format!("127.0.0.1:{port}"),
        }
    }
}

const SOCKET: &str = "plugin.sock";

/// The process of a plugin. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The process group, whose ID is that of the process.
    group: i32,
    name: String,
    kind: Kind,
    connection: String,
    log_counts: Arc<LogCounts>,
    relays: Vec<JoinHandle<()>>,
    /// The folder of the socket; removed with the process.
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
                // With a value, because Python's SDK refuses the bare flag.
                command.arg("--otel-endpoint-insecure=true");
            }
        }
        // A separate process group: we pass on interrupts from the terminal ourselves, in order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| PluginError::NotStarted { path: path.to_owned(), why: error.to_string() })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        let relays = [
            child.stdout.take().map(|output| tokio::spawn(output::relay(output, kind, name.to_owned(), log_counts.clone()))),
            child
                .stderr
                .take()
                .map(|stderr| tokio::spawn(output::relay_stderr(stderr, kind, name.to_owned(), log_counts.clone(), options.say))),
        ];
        let relays = relays.into_iter().flatten().collect();
        let connection = network.connection();
        let folder = if let Network::Unix(folder) = network { Some(folder) } else { None };
        let mut process =
            Self { child, group, name: name.to_owned(), kind, connection, log_counts: log_counts.clone(), relays, _folder: folder };
        let until = Instant::now() + options.start_limit;
        loop {
            let connected = timeout(options.start_limit, endpoint.connect()).await;
            // If it has exited, something else is listening there.
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

    /// The address to connect to.
    pub(super) fn connection(&self) -> &str {
        &self.connection
    }

    /// Its exit status, if it exits within `limit`.
    pub(super) async fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        timeout(limit, self.child.wait()).await.ok()?.ok()
    }

    /// Sends SIGINT, then SIGKILL. Returns when the process has exited and its output is in the log.
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
        // The whole group, since the child of a wrapper script would keep the output open.
        signal(-self.group, libc::SIGKILL);
        let _gone = self.child.wait().await;
        self.heard_out().await;
    }

    async fn heard_out(&mut self) {
        for mut relay in self.relays.drain(..) {
            if timeout(OUTPUT_TIMEOUT, &mut relay).await.is_err() {
                relay.abort();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|group| *group != self.group);
        // Not after it has been waited for, since the ID may have been reused.
        if self.child.id().is_some() {
            signal(-self.group, libc::SIGKILL);
        }
    }
}

/// A bare name is a file in the current folder, not a program on the search path, since the configuration says `path`.
fn program(path: &Path) -> std::path::PathBuf {
    if path.is_absolute() { path.to_owned() } else { Path::new(".").join(path) }
}

/// Sends a signal to a process, or with a negative ID to a process group. One that has already exited needs no signal.
fn signal(process: i32, number: i32) {
    // 0, 1 and -1 mean our own group, init, and all processes.
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
