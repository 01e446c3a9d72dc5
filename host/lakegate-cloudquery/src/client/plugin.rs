//! One of other people's plugins: how it is found, and the calls it answers.

use super::error::PluginError;
use super::launch::{Kind, Launch, LaunchOptions};
use super::output::LogCounts;
use super::process::Process;
use super::{dial, error};
use crate::proto::discovery::discovery_client::DiscoveryClient;
use crate::proto::discovery::get_versions;
use crate::proto::plugin::plugin_client::PluginClient;
use crate::proto::plugin::{close, get_name, get_spec_schema, get_tables, get_version, init, test_connection};
use bytes::Bytes;
use lakegate::limits::MAX_MESSAGE_BYTES;
use serde_json::Value;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The protocol version spoken.
const PROTOCOL_VERSION: i32 = 3;
/// Bytes of an answer that is no stream of rows: the schemas of some thousands of tables have ten megabytes. Tiny items grow to sixteen times
/// their bytes when they are decoded.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Bytes of a spec's JSON Schema. Large ones have some hundred kilobytes; as a tree they take thirty times as much.
const MAX_SCHEMA_BYTES: usize = 4 << 20;
/// How long a call that failed may wait for the news that the process behind it has ended: the connection breaks a moment earlier.
const LAST_NEWS: Duration = Duration::from_millis(500);

/// A plugin that answers.
#[derive(Debug)]
pub struct Plugin {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) connection: String,
    /// For streams of rows.
    pub(super) calls: PluginClient<Channel>,
    /// For everything else.
    pub(super) questions: PluginClient<Channel>,
    pub(super) process: Option<Mutex<Process>>,
    pub(super) log_counts: Arc<LogCounts>,
}

/// Which tables are wanted of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Patterns of tables.
    pub tables: Vec<String>,
    /// Patterns of tables to leave out.
    pub skip_tables: Vec<String>,
    /// Leave out tables that hang on ones not named?
    pub skip_dependent_tables: bool,
}

/// How a test of a connection went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestOutcome {
    /// It works.
    Success,
    /// It does not.
    Failure {
        /// A word for programs.
        code: String,
        /// A text for people.
        description: String,
    },
}

impl Plugin {
    /// Starts or dials a plugin, and makes sure that it speaks the protocol.
    ///
    /// # Errors
    /// There is no such program or address; it ends, hangs, or speaks other versions.
    pub async fn start(kind: Kind, name: &str, launch: &Launch, options: &LaunchOptions) -> Result<Self, PluginError> {
        let log_counts = Arc::new(LogCounts::default());
        let (channel, connection, process) = match launch {
            Launch::Local(path) => {
                let (process, channel) = Process::start(kind, name, path, options, &log_counts).await?;
                let connection = process.connection().to_owned();
                (channel, connection, Some(Mutex::new(process)))
            }
            Launch::Dial(address) => (dial::reach(address, options.start_limit).await?, address.clone(), None),
        };
        let calls =
            PluginClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
        let questions = calls.clone().max_decoding_message_size(MAX_ANSWER_BYTES);
        let plugin = Self { kind, name: name.to_owned(), connection, calls, questions, process, log_counts };
        match plugin.check_versions(channel, options.start_limit).await {
            Ok(()) => Ok(plugin),
            Err(error) => {
                plugin.stop().await;
                Err(error)
            }
        }
    }

    /// A server that listens and never answers would be waited for without end: this first call has a limit.
    async fn check_versions(&self, channel: Channel, limit: Duration) -> Result<(), PluginError> {
        let mut discovery = DiscoveryClient::new(channel);
        let answer = match tokio::time::timeout(limit, discovery.get_versions(get_versions::Request {})).await {
            Err(_) => return Err(PluginError::Silent { limit }),
            Ok(Err(status)) if status.code() == Code::Unimplemented => return Err(PluginError::Versions { offered: Vec::new() }),
            Ok(Err(status)) => return Err(self.failed("GetVersions", status).await),
            Ok(Ok(answer)) => answer.into_inner(),
        };
        if answer.versions.contains(&PROTOCOL_VERSION) { Ok(()) } else { Err(PluginError::Versions { offered: answer.versions }) }
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What another plugin needs to reach this one: what `plugins.NAME.connection` stands for.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// How many warnings and errors it has logged.
    pub fn log_counts(&self) -> &LogCounts {
        &self.log_counts
    }

    /// Begins a round.
    ///
    /// # Errors
    /// The plugin refuses, or is gone.
    pub async fn init(&self, spec: &Value, no_connection: bool, invocation_id: &str) -> Result<(), PluginError> {
        let request = init::Request { spec: spec.to_string().into(), no_connection, invocation_id: invocation_id.to_owned() };
        let answer = self.questions.clone().init(request).await;
        self.classify("Init", answer).await.map(|_| ())
    }

    /// What the plugin calls itself, and its version.
    ///
    /// # Errors
    /// The plugin is gone.
    pub async fn own_name(&self) -> Result<(String, String), PluginError> {
        let name = self.questions.clone().get_name(get_name::Request {}).await;
        let version = self.questions.clone().get_version(get_version::Request {}).await;
        Ok((self.classify("GetName", name).await?.name, self.classify("GetVersion", version).await?.version))
    }

    /// The JSON Schema of its spec; [`None`] when it has none to offer.
    ///
    /// # Errors
    /// The plugin is gone.
    pub async fn spec_schema(&self) -> Result<Option<String>, PluginError> {
        let mut calls = self.calls.clone().max_decoding_message_size(MAX_SCHEMA_BYTES);
        match calls.get_spec_schema(get_spec_schema::Request {}).await {
            Ok(answer) => Ok(answer.into_inner().json_schema.filter(|schema| !schema.is_empty())),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(self.failed("GetSpecSchema", status).await),
        }
    }

    /// The tables of a source: a schema each, as Arrow IPC.
    ///
    /// # Errors
    /// The plugin refuses, or is gone.
    pub async fn tables(&self, selection: &Selection) -> Result<Vec<Bytes>, PluginError> {
        let Selection { tables, skip_tables, skip_dependent_tables } = selection.clone();
        let answer = self.questions.clone().get_tables(get_tables::Request { tables, skip_tables, skip_dependent_tables }).await;
        Ok(self.classify("GetTables", answer).await?.tables)
    }

    /// Ends a round.
    ///
    /// # Errors
    /// The plugin refuses, or is gone.
    pub async fn close(&self) -> Result<(), PluginError> {
        let answer = self.questions.clone().close(close::Request {}).await;
        self.classify("Close", answer).await.map(|_| ())
    }

    /// Whether a spec would work.
    ///
    /// # Errors
    /// The plugin is gone.
    pub async fn test_connection(&self, spec: &Value) -> Result<TestOutcome, PluginError> {
        let failure = |code: String, description: String| {
            // The protocol's word for a plugin that gives none.
            TestOutcome::Failure { code: if code.is_empty() { "UNKNOWN".to_owned() } else { code }, description: error::clip(&description) }
        };
        match self.questions.clone().test_connection(test_connection::Request { spec: spec.to_string().into() }).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(if answer.success { TestOutcome::Success } else { failure(answer.failure_code, answer.failure_description) })
            }
            Err(status) if status.code() == Code::Unimplemented => {
                Ok(failure("UNIMPLEMENTED".to_owned(), "the plugin does not offer to test its connection".to_owned()))
            }
            Err(status) => Err(self.failed("TestConnection", status).await),
        }
    }

    /// Ends what was started: SIGINT, and after five seconds SIGKILL. A plugin that runs already goes on.
    pub async fn stop(&self) {
        if let Some(process) = &self.process {
            process.lock().await.stop().await;
        }
    }

    async fn classify<T>(&self, call: &'static str, answer: Result<tonic::Response<T>, Status>) -> Result<T, PluginError> {
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(call, status).await),
        }
    }

    /// A call that failed: the reason is the end of the process, if that is what happened.
    pub(super) async fn failed(&self, call: &'static str, status: Status) -> PluginError {
        PluginError::call(call, &status, self.ended().await)
    }

    async fn ended(&self) -> Option<ExitStatus> {
        match &self.process {
            Some(process) => process.lock().await.ended(LAST_NEWS).await,
            None => None,
        }
    }
}
