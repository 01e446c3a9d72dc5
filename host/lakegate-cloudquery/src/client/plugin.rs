//! A third-party plugin: how it is started or reached, and the calls it supports.

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

/// The protocol version we use.
const PROTOCOL_VERSION: i32 = 3;
/// Maximum size of a response other than a stream of rows: the schemas of several thousand tables have ten megabytes. Tiny items take sixteen times
/// their size once they are decoded.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Maximum size of a spec's JSON Schema. Large ones have a few hundred kilobytes; parsed, they take thirty times as much.
const MAX_SCHEMA_BYTES: usize = 4 << 20;
/// How long a failed call waits to learn that the process has exited, since the connection breaks a moment earlier.
const LAST_NEWS: Duration = Duration::from_millis(500);

/// A plugin that is connected.
#[derive(Debug)]
pub struct Plugin {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) connection: String,
    /// Client for streams of rows.
    pub(super) calls: PluginClient<Channel>,
    /// Client for all other calls.
    pub(super) questions: PluginClient<Channel>,
    pub(super) process: Option<Mutex<Process>>,
    pub(super) log_counts: Arc<LogCounts>,
}

/// The selection of a source's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Patterns of tables to include.
    pub tables: Vec<String>,
    /// Patterns of tables to skip.
    pub skip_tables: Vec<String>,
    /// Whether to skip tables that depend on tables not selected.
    pub skip_dependent_tables: bool,
}

/// The result of a connection test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestOutcome {
    /// The connection works.
    Success,
    /// The connection does not work.
    Failure {
        /// A code for programs.
        code: String,
        /// A description for people.
        description: String,
    },
}

impl Plugin {
    /// Starts or connects to a plugin, and checks its protocol versions.
    ///
    /// # Errors
    /// The program or address does not exist, or the plugin exits, hangs, or only supports other versions.
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

    /// The first call has a time limit, since a server may listen but never answer.
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

    /// The kind of the plugin.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address under which another plugin can reach this one: the value of `plugins.NAME.connection`.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Counts of the warnings and errors it has logged.
    pub fn log_counts(&self) -> &LogCounts {
        &self.log_counts
    }

    /// Calls Init.
    ///
    /// # Errors
    /// The plugin refuses, or is gone.
    pub async fn init(&self, spec: &Value, no_connection: bool, invocation_id: &str) -> Result<(), PluginError> {
        let request = init::Request { spec: spec.to_string().into(), no_connection, invocation_id: invocation_id.to_owned() };
        let answer = self.questions.clone().init(request).await;
        self.classify("Init", answer).await.map(|_| ())
    }

    /// The plugin's own name and version.
    ///
    /// # Errors
    /// The plugin is gone.
    pub async fn own_name(&self) -> Result<(String, String), PluginError> {
        let name = self.questions.clone().get_name(get_name::Request {}).await;
        let version = self.questions.clone().get_version(get_version::Request {}).await;
        Ok((self.classify("GetName", name).await?.name, self.classify("GetVersion", version).await?.version))
    }

    /// The JSON Schema of its spec; [`None`] if it has none.
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

    /// The schemas of a source's tables, as Arrow IPC.
    ///
    /// # Errors
    /// The plugin refuses, or is gone.
    pub async fn tables(&self, selection: &Selection) -> Result<Vec<Bytes>, PluginError> {
        let Selection { tables, skip_tables, skip_dependent_tables } = selection.clone();
        let answer = self.questions.clone().get_tables(get_tables::Request { tables, skip_tables, skip_dependent_tables }).await;
        Ok(self.classify("GetTables", answer).await?.tables)
    }

    /// Calls Close.
    ///
    /// # Errors
    /// The plugin refuses, or is gone.
    pub async fn close(&self) -> Result<(), PluginError> {
        let answer = self.questions.clone().close(close::Request {}).await;
        self.classify("Close", answer).await.map(|_| ())
    }

    /// Tests the connection with a spec.
    ///
    /// # Errors
    /// The plugin is gone.
    pub async fn test_connection(&self, spec: &Value) -> Result<TestOutcome, PluginError> {
        let failure = |code: String, description: String| {
            // The protocol's code if the plugin gives none.
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

    /// Stops the process that was started: SIGINT, and after five seconds SIGKILL. A plugin that was already running continues.
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

    /// The error of a failed call; if the process has exited, that is the error.
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
