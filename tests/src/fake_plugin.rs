//! A plugin in this process, both source and destination, that behaves as a test specifies and records what it receives.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use lakegate::limits::MAX_MESSAGE_BYTES;
use lakegate_cloudquery::proto::discovery::discovery_server::{Discovery, DiscoveryServer};
use lakegate_cloudquery::proto::discovery::get_versions;
use lakegate_cloudquery::proto::plugin::plugin_server::{Plugin, PluginServer};
use lakegate_cloudquery::proto::plugin::{
    close, get_name, get_spec_schema, get_tables, get_version, init, read, sync, test_connection, transform, transform_schema, write,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// How long the transport takes at most to drop a call that its client has cancelled.
const CANCELLATION: Duration = Duration::from_millis(100);

/// The behaviour of the plugin.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// The protocol versions it offers.
    pub versions: Vec<i32>,
    /// The messages it sends as a source.
    pub messages: Vec<sync::response::Message>,
    /// How often it repeats the messages.
    pub times: usize,
    /// The final status as a source, after all messages; OK by default.
    pub ends_with: Option<Code>,
    /// How long it takes over each message as a destination.
    pub slowness: Duration,
    /// After how many messages it fails as a destination.
    pub fails_after: Option<u64>,
    /// Whether it fails as a destination once it has everything.
    pub fails_at_end: bool,
    /// Whether it does not answer calls about its spec.
    pub silent: bool,
}

/// What the plugin has received and sent.
#[derive(Debug, Default)]
pub struct Seen {
    /// Calls and messages in order.
    pub events: Mutex<Vec<String>>,
    /// Bytes of records sent as a source.
    pub sent: AtomicU64,
    /// Bytes of records received as a destination.
    pub received: AtomicU64,
}

impl Seen {
    fn note(&self, event: impl Into<String>) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.into());
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A plugin that listens on a loopback port until it is dropped.
#[derive(Debug)]
pub struct FakePlugin {
    /// The address it listens on.
    pub address: SocketAddr,
    /// What the plugin has received and sent.
    pub seen: Arc<Seen>,
    server: tokio::task::JoinHandle<()>,
}

impl FakePlugin {
    /// Starts the plugin.
    ///
    /// # Errors
    /// No port can be opened.
    pub async fn start(behaviour: Behaviour) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let service = Service { behaviour: Arc::new(behaviour), seen: seen.clone() };
        let plugin = PluginServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let routes = tonic::service::Routes::new(plugin).add_service(DiscoveryServer::new(service));
        let server = tokio::spawn(async move {
            let serving = tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener));
            // It ends when it is dropped; a broken connection is for the test to notice.
            let _ended = serving.await;
        });
        Ok(Self { address, seen, server })
    }
}

impl Drop for FakePlugin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug, Clone)]
struct Service {
    behaviour: Arc<Behaviour>,
    seen: Arc<Seen>,
}

impl Service {
    async fn be_silent(&self) {
        if self.behaviour.silent {
            self.seen.note("asked");
            std::future::pending::<()>().await;
        }
    }
}

fn not_offered<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not offered"))
}

#[tonic::async_trait]
impl Discovery for Service {
    async fn get_versions(&self, _: Request<get_versions::Request>) -> Result<Response<get_versions::Response>, Status> {
        Ok(Response::new(get_versions::Response { versions: self.behaviour.versions.clone() }))
    }
}

#[tonic::async_trait]
impl Plugin for Service {
    async fn get_name(&self, _: Request<get_name::Request>) -> Result<Response<get_name::Response>, Status> {
        not_offered()
    }

    async fn get_version(&self, _: Request<get_version::Request>) -> Result<Response<get_version::Response>, Status> {
        not_offered()
    }

    async fn get_spec_schema(&self, _: Request<get_spec_schema::Request>) -> Result<Response<get_spec_schema::Response>, Status> {
        self.be_silent().await;
        not_offered()
    }

    async fn init(&self, request: Request<init::Request>) -> Result<Response<init::Response>, Status> {
        let request = request.into_inner();
        let spec = String::from_utf8_lossy(&request.spec).into_owned();
        self.seen.note(format!("init {spec} no_connection={} id={}", request.no_connection, !request.invocation_id.is_empty()));
        Ok(Response::new(init::Response {}))
    }

    async fn get_tables(&self, _: Request<get_tables::Request>) -> Result<Response<get_tables::Response>, Status> {
        let tables = self.behaviour.messages.iter().filter_map(|message| match message {
            sync::response::Message::MigrateTable(migrate) => Some(migrate.table.clone()),
            _ => None,
        });
        Ok(Response::new(get_tables::Response { tables: tables.collect() }))
    }

    type SyncStream = BoxStream<'static, Result<sync::Response, Status>>;

    async fn sync(&self, request: Request<sync::Request>) -> Result<Response<Self::SyncStream>, Status> {
        let request = request.into_inner();
        let shard = request.shard.as_ref().map(|shard| (shard.num, shard.total));
        self.seen.note(format!(
            "sync tables={:?} skip={:?} dependent={} deterministic={} backend={:?} shard={shard:?} errors={}",
            request.tables,
            request.skip_tables,
            request.skip_dependent_tables,
            request.deterministic_cq_id,
            request.backend.map(|backend| (backend.table_name, backend.connection)),
            request.with_error_messages
        ));
        let (behaviour, seen) = (self.behaviour.clone(), self.seen.clone());
        let count = behaviour.messages.len() * behaviour.times;
        let messages = stream::iter(0..count).map(move |number| {
            let message = behaviour.messages[number % behaviour.messages.len()].clone();
            if let sync::response::Message::Insert(insert) = &message {
                seen.sent.fetch_add(insert.record.len() as u64, Ordering::Relaxed);
            }
            Ok(sync::Response { message: Some(message) })
        });
        let end = self.behaviour.ends_with.map(|code| Err(Status::new(code, "the source ends on purpose")));
        Ok(Response::new(messages.chain(stream::iter(end)).boxed()))
    }

    type ReadStream = BoxStream<'static, Result<read::Response, Status>>;

    async fn read(&self, _: Request<read::Request>) -> Result<Response<Self::ReadStream>, Status> {
        not_offered()
    }

    async fn write(&self, request: Request<Streaming<write::Request>>) -> Result<Response<write::Response>, Status> {
        use write::request::Message;
        let mut messages = request.into_inner();
        let mut count = 0;
        while let Some(request) = messages.message().await? {
            match request.message {
                Some(Message::MigrateTable(migrate)) => {
                    self.seen.note(format!("migrate {} force={}", shown(&migrate.table), migrate.migrate_force));
                }
                Some(Message::Insert(insert)) => {
                    self.seen.received.fetch_add(insert.record.len() as u64, Ordering::Relaxed);
                    if self.behaviour.fails_after.is_none() {
                        self.seen.note(format!("insert {}", shown(&insert.record)));
                    }
                }
                Some(Message::Delete(delete)) => {
                    self.seen.note(format!(
                        "delete stale {} of {} time={}",
                        delete.table_name,
                        delete.source_name,
                        delete.sync_time.is_some()
                    ));
                }
                Some(Message::DeleteRecord(delete)) => self.seen.note(format!("delete record {}", delete.table_name)),
                None => self.seen.note("an empty message"),
            }
            count += 1;
            if self.behaviour.fails_after.is_some_and(|most| count >= most) {
                return Err(Status::internal("the destination fails on purpose"));
            }
            tokio::time::sleep(self.behaviour.slowness).await;
        }
        // A call that its client has cancelled looks here like one that was half-closed, and is dropped a moment later.
        tokio::time::sleep(CANCELLATION).await;
        self.seen.note("half-close");
        if self.behaviour.fails_at_end {
            return Err(Status::internal("the destination fails at the end"));
        }
        Ok(Response::new(write::Response {}))
    }

    type TransformStream = BoxStream<'static, Result<transform::Response, Status>>;

    async fn transform(&self, _: Request<Streaming<transform::Request>>) -> Result<Response<Self::TransformStream>, Status> {
        not_offered()
    }

    async fn transform_schema(&self, _: Request<transform_schema::Request>) -> Result<Response<transform_schema::Response>, Status> {
        not_offered()
    }

    async fn close(&self, _: Request<close::Request>) -> Result<Response<close::Response>, Status> {
        self.seen.note("close");
        Ok(Response::new(close::Response {}))
    }

    async fn test_connection(&self, _: Request<test_connection::Request>) -> Result<Response<test_connection::Response>, Status> {
        self.be_silent().await;
        not_offered()
    }
}

/// Table and columns of a message, those with a primary key marked.
fn shown(ipc: &Bytes) -> String {
    let Ok(reader) = arrow_ipc::reader::StreamReader::try_new(ipc.as_ref(), None) else { return "garbage".to_owned() };
    let schema = reader.schema();
    let table = schema.metadata().get("cq:table_name").map(|name| name.to_string()).unwrap_or_default();
    let column = |field: &std::sync::Arc<arrow_schema::Field>| {
        let key = field.metadata().get("cq:extension:primary_key").is_some_and(|value| value == "true");
        format!("{}{}", field.name(), if key { "*" } else { "" })
    };
    let columns: Vec<String> = schema.fields().iter().map(column).collect();
    let rows: usize = reader.map_while(Result::ok).map(|batch| batch.num_rows()).sum();
    if columns.len() > 8 { format!("{table} {} columns {rows}", columns.len()) } else { format!("{table}({}) {rows}", columns.join(",")) }
}
