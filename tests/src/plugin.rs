//! The plugin as a process, and a client that acts like the CloudQuery CLI: it launches the plugin with the same arguments, makes calls in the same
//! order, stops it with SIGINT and kills it five seconds later.
//!
//! Every line of the plugin's log is checked: it must be JSON, with a level that the CLI knows, and shorter than the length at which the CLI discards
//! it.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use lakegate::limits::MAX_MESSAGE_BYTES;
use lakegate_cloudquery::proto::discovery::discovery_client::DiscoveryClient;
use lakegate_cloudquery::proto::discovery::get_versions;
use lakegate_cloudquery::proto::plugin::plugin_client::PluginClient;
use lakegate_cloudquery::proto::plugin::{close, init, write};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long the CLI waits for a connection.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a program that is not ours may take on a busy machine: Python imports a lot.
const FOREIGN_LIMIT: Duration = Duration::from_secs(60);
/// How long the CLI waits between SIGINT and SIGKILL.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);
/// The CLI discards lines of this length.
const TOO_LONG_LINE_BYTES: usize = 4_096;
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
/// Between two looks at whether the plugin listens.
const POLL: Duration = Duration::from_millis(5);
/// Messages that a client has ready before they are sent; a source is never far ahead of the connection.
const READY_MESSAGES: usize = 2;

/// The network to the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// TCP, as for Python plugins.
    Tcp,
    /// A unix socket, as in the CLI.
    Unix,
}

/// How to start the plugin.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    network: Network,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    foreign: bool,
}

impl Launch {
    /// `program serve`, with the arguments that the CLI gives.
    #[must_use]
    pub fn new(program: &Path, network: Network) -> Self {
        Self { program: program.to_owned(), network, arguments: Vec::new(), environment: Vec::new(), foreign: false }
    }

    /// The program is not ours: it may take longer to start than the CLI waits (which tries three times), speak older versions too, and
    /// print what it likes.
    #[must_use]
    pub fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// Adds arguments, separated by blanks.
    #[must_use]
    pub fn with(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split(' ').map(str::to_owned));
        self
    }

    /// Writes to the embedded store in `folder`.
    #[must_use]
    pub fn local(mut self, folder: &Path) -> Self {
        self.arguments.extend(["--local".to_owned(), folder.display().to_string()]);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The keys that requests to a store are signed with.
    #[must_use]
    pub fn keys(self, access_key: &str, secret_key: &str) -> Self {
        self.environment("AWS_ACCESS_KEY_ID", access_key).environment("AWS_SECRET_ACCESS_KEY", secret_key)
    }

    /// The command, to listen at `address`; nothing of the user's AWS settings reaches it.
    #[must_use]
    pub fn command(&self, address: &str) -> Command {
        let mut command = Command::new(&self.program);
        let network = if self.network == Network::Unix { "unix" } else { "tcp" };
        command.args(["serve", "--log-level", "info", "--log-format", "json", "--network", network, "--address", address, "--no-sentry"]);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        for name in ["AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits, as long as the CLI does, until it answers.
    ///
    /// # Errors
    /// It does not start, or does not answer in time; with what it said.
    pub async fn start(&self) -> Result<Plugin> {
        let folder = tempfile::tempdir()?;
        let address = match self.network {
            Network::Tcp => format!("127.0.0.1:{}", free_port()?),
            Network::Unix => folder.path().join("cq-ABCDEFGHIJKLMNOP.sock").display().to_string(),
        };
        let started = Instant::now();
        let mut child = self.command(&address).spawn().with_context(|| format!("{} does not start", self.program.display()))?;
        let id = child.id().context("it has a process id")?;
        let output = (child.stdout.take().context("a pipe")?, child.stderr.take().context("a pipe")?);
        let mut plugin = Plugin {
            address: if self.network == Network::Unix { format!("unix:{address}") } else { format!("http://{address}") },
            child,
            id,
            log: Lines::read(output.0),
            errors: Lines::read(output.1),
            first_answer: Duration::ZERO,
            foreign: self.foreign,
            _folder: folder,
        };
        let limit = if self.foreign { FOREIGN_LIMIT } else { CONNECT_LIMIT };
        loop {
            // An answer to GetVersions is more than the CLI's readiness (a connection), and what it asks first.
            if let Ok(versions) = plugin.versions().await {
                ensure!(versions == [3] || self.foreign, "versions {versions:?}");
                plugin.first_answer = started.elapsed();
                return Ok(plugin);
            }
            let ended = plugin.child.try_wait()?;
            ensure!(ended.is_none() && started.elapsed() < limit, "it ended ({ended:?}) or is slow: {}", plugin.errors.text());
            tokio::time::sleep(POLL).await;
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The `plugin` binary next to this program (`tests/src/bin/plugin.rs`), for benchmark programs; tests know its path from cargo.
///
/// # Errors
/// It has not been built.
pub fn program() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("plugin");
    ensure!(path.is_file(), "{} is not there; build it with `--bins`", path.display());
    Ok(path)
}

/// A running plugin, killed when this is dropped.
#[derive(Debug)]
pub struct Plugin {
    /// The address to connect to: `http://HOST:PORT` or `unix:PATH`.
    pub address: String,
    /// Time from its start to its answer to GetVersions.
    pub first_answer: Duration,
    foreign: bool,
    child: Child,
    id: u32,
    log: Lines,
    errors: Lines,
    _folder: tempfile::TempDir,
}

/// How a plugin ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// Time from the signal to the exit.
    pub took: Duration,
    /// The lines of its log; none of a program that is not ours.
    pub log: Vec<Value>,
    /// Its standard error.
    pub errors: String,
}

impl Ended {
    /// Ended by itself, in time, with code 0, without a word on stderr.
    ///
    /// # Panics
    /// It did not end in this way.
    pub fn well(&self) {
        assert_eq!((self.status.code(), self.errors.as_str()), (Some(0), ""), "{:?}", self.log);
        assert!(self.took < STOP_LIMIT, "{:?}", self.took);
    }

    /// The messages of the log lines of a level.
    #[must_use]
    pub fn messages(&self, level: &str) -> Vec<&str> {
        self.log.iter().filter(|line| line["level"] == level).filter_map(|line| line["message"].as_str()).collect()
    }
}

/// A signal that stops a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, as sent by the CLI.
    Interrupt,
    /// SIGTERM, as sent by a process manager.
    Terminate,
    /// From the CLI when it is itself interrupted: nothing can be cleaned up.
    Kill,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "-INT",
            Self::Terminate => "-TERM",
            Self::Kill => "-KILL",
        }
    }
}

impl Plugin {
    /// Opens a connection.
    ///
    /// # Errors
    /// The plugin does not accept connections.
    pub async fn connect(&self) -> Result<Client> {
        let channel = Endpoint::from_shared(self.address.clone())?.connect().await?;
        Ok(Client::new(channel))
    }

    /// HOST:PORT of a plugin on TCP.
    #[must_use]
    pub fn host_and_port(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    /// The protocol versions that it supports.
    ///
    /// # Errors
    /// The plugin does not accept connections.
    pub async fn versions(&self) -> Result<Vec<i32>> {
        let channel = Endpoint::from_shared(self.address.clone())?.connect().await?;
        Ok(DiscoveryClient::new(channel).get_versions(get_versions::Request {}).await?.into_inner().versions)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process has exited.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let sent = Command::new("kill").args([signal.name(), &self.id.to_string()]).status().await?;
        ensure!(sent.success(), "no process {}", self.id);
        Ok(())
    }

    /// Ends it as the CLI does: SIGINT, and SIGKILL after five seconds.
    ///
    /// # Errors
    /// A log line is malformed.
    pub async fn stop(self) -> Result<Ended> {
        self.end(Signal::Interrupt).await
    }

    /// Ends it with `signal`, and SIGKILL after five seconds.
    ///
    /// # Errors
    /// A log line is malformed.
    pub async fn end(mut self, signal: Signal) -> Result<Ended> {
        let asked = Instant::now();
        self.signal(signal).await?;
        let status = match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await?
            }
        };
        let took = asked.elapsed();
        if let (Some(path), true) = (self.address.strip_prefix("unix:"), status.success() && !self.foreign) {
            ensure!(!Path::new(path).exists(), "the socket's file is left");
        }
        let (log, errors) = (self.log.all().await?, self.errors.all().await?);
        let lines = log.iter().filter(|_| !self.foreign);
        let log = lines.map(|line| checked(line)).collect::<Result<_>>()?;
        Ok(Ended { status, took, log, errors: errors.join("\n") })
    }

    /// The lines of its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The most memory it has used so far; `None` where the system does not tell.
    #[must_use]
    pub fn peak_bytes(&self) -> Option<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
    }

    /// Seconds of CPU it has used so far, all threads; `None` where the system does not tell.
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<f64> {
        /// The unit that Linux shows to programs, whatever the kernel uses.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id)).ok()?;
        // After the name, which is in parentheses: state is the first field, user and system time are 12th and 13th.
        let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
        let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((user + system) / TICKS_PER_SECOND)
    }
}

/// The lines of a pipe, read as they come so that the writer never waits.
#[derive(Debug)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Lines {
    fn read(pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let sink = lines.clone();
        let reader = tokio::spawn(async move {
            let mut input = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = input.next_line().await {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { lines, reader }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    async fn all(self) -> Result<Vec<String>> {
        self.reader.await?;
        Ok(std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Parses a log line as the CLI does.
fn checked(line: &str) -> Result<Value> {
    ensure!(line.len() < TOO_LONG_LINE_BYTES, "a line of {} bytes", line.len());
    let value: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
    let level = value["level"].as_str().unwrap_or_default();
    ensure!(LEVELS.contains(&level), "no level that the CLI knows: {line}");
    Ok(value)
}

/// A message from a source.
#[derive(Debug, Clone)]
pub enum Message {
    /// A table's schema.
    Migrate(Bytes),
    /// Rows.
    Insert(Bytes),
    /// Sent by the CLI at the end in another write mode.
    DeleteStale(String),
}

impl From<Message> for write::Request {
    fn from(message: Message) -> Self {
        let message = match message {
            Message::Migrate(table) => write::request::Message::MigrateTable(write::MessageMigrateTable { table, migrate_force: false }),
            Message::Insert(record) => write::request::Message::Insert(write::MessageInsert { record }),
            Message::DeleteStale(table_name) => write::request::Message::Delete(write::MessageDeleteStale {
                table_name,
                source_name: "source".into(),
                ..Default::default()
            }),
        };
        Self { message: Some(message) }
    }
}

/// A connection of the CLI to a destination.
#[derive(Debug, Clone)]
pub struct Client(pub PluginClient<Channel>);

impl Client {
    fn new(channel: Channel) -> Self {
        // One byte more than the plugin takes, so that it is the plugin that refuses.
        let limit = MAX_MESSAGE_BYTES + (1 << 10);
        Self(PluginClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(limit))
    }

    /// Calls Init.
    ///
    /// # Errors
    /// The plugin's error status.
    pub async fn init(&mut self, spec: &Value) -> Result<(), Status> {
        let spec = Bytes::from(spec.to_string());
        let request = init::Request { spec, no_connection: false, invocation_id: "sync-1".to_owned() };
        self.0.init(request).await.map(|_| ())
    }

    /// A whole Write: messages as fast as the plugin takes them, then half-close.
    ///
    /// # Errors
    /// The plugin's error status.
    pub async fn write(&mut self, messages: impl IntoIterator<Item = Message, IntoIter: Send> + Send + 'static) -> Result<(), Status> {
        // Created on a separate thread, so that the client's work does not delay the processing of the plugin's responses.
        let (sender, receiver) = tokio::sync::mpsc::channel(READY_MESSAGES);
        let making = tokio::task::spawn_blocking(move || {
            // A plugin that has answered takes no more.
            messages.into_iter().try_for_each(|message| sender.blocking_send(message)).is_ok()
        });
        let messages = tokio_stream::wrappers::ReceiverStream::new(receiver).map(write::Request::from);
        let answer = self.0.write(messages).await.map(|_| ());
        drop(making);
        answer
    }

    /// Calls Close.
    ///
    /// # Errors
    /// The plugin's error status.
    pub async fn close(&mut self) -> Result<(), Status> {
        self.0.close(close::Request {}).await.map(|_| ())
    }

    /// The calls of the CLI for one source: Init, Write, half-close, Close.
    ///
    /// # Errors
    /// The plugin's error status.
    pub async fn round(
        &mut self,
        spec: &Value,
        messages: impl IntoIterator<Item = Message, IntoIter: Send> + Send + 'static,
    ) -> Result<(), Status> {
        self.init(spec).await?;
        self.write(messages).await?;
        self.close().await
    }
}
