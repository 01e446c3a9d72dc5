//! The calls of the plugin server.
//!
//! A [`SessionSlot`] holds the result of Init: one for the process of a single user, as in the protocol, and one for each connection of a tenant.
//! Init, Write and Close each lock it while they run and refuse to wait for it, which is the protocol's `plugin already in use`. A Write ends either
//! by half-close (everything is finished and reported, even if the client no longer waits for it) or by a failure (a bad message, or a client that is
//! gone: all open objects are aborted, and then a client that is still there gets its answer), never by anything in between. The end of the process
//! counts as a failure, too, and waits for nothing: what the store has not confirmed is aborted.
//!
//! Only a Write accepts messages of rows, one Write at a time per session. A tenant's Write is refused unread if there is no session, so that the
//! bytes of messages are always reserved by a session.

use super::connection::{ActiveCall, ConnectionHandle};
use super::dated::Dated;
use super::half_close::CheckEnd;
use super::session_slot::SessionSlot;
use super::status::{self, Refusal};
use super::unpack::Unpack;
use crate::proto::discovery::discovery_server::{Discovery, DiscoveryServer};
use crate::proto::discovery::get_versions;
use crate::proto::plugin::plugin_server::{Plugin, PluginServer};
use crate::proto::plugin::{
    close, get_name, get_spec_schema, get_tables, get_version, init, read, sync, test_connection, transform, transform_schema, write,
};
use futures::future::{BoxFuture, Shared, join_all};
use futures::stream::Empty;
use futures::{FutureExt, StreamExt};
use lakegate::limits::MAX_MESSAGE_BYTES;
use lakegate::limits::{CALL_LIMIT, GIVE_UP_LIMIT, MAX_CALL_BYTES, MAX_CONNECTIONS, MAX_STREAMS, MAX_TENANT_STREAMS};
use lakegate::serving::HostMeter;
use lakegate::{Destination, Halt, OpenError, Policy, Tenant, Write, WriteReport};
use lakegate_base::log_limit::LogLimiter;
use std::convert::Infallible;
use std::str;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::{Code, Extensions, Request, Response, Status, Streaming};
use tracing::{Instrument, Span};

/// The plugin's name in specs and logs.
pub const PLUGIN_NAME: &str = "s3";
/// The supported protocol versions.
const PROTOCOL_VERSIONS: [i32; 1] = [3];

/// How long a tenant's client may be silent. A single user's client may be stopped in a debugger.
const SILENCE: Duration = Duration::from_secs(60);

/// Failed calls of a tenant that are logged per second; the rest is counted.
const MAX_FAILURES_LOGGED: u32 = 20;

/// Path of the call whose messages have rows.
const WRITE_PATH: &str = "/cloudquery.plugin.v3.Plugin/Write";

/// Bytes of the invocation's ID in each log line; it is a UUID.
const MAX_INVOCATION_ID_BYTES: usize = 64;

/// Overhead of a wrapped message: field numbers and lengths.
const WRAPPING_BYTES: usize = 64;

const NO_READ: &str = "Read is not offered: it needs permission to get objects, and this destination only asks for PutObject";
const NO_SYNC: &str = "Sync is not offered: this plugin is a destination, not a source";
const NO_TRANSFORM: &str = "Transform is not offered: this plugin is a destination, not a transformer";
const NO_TRANSFORM_SCHEMA: &str = "TransformSchema is not offered: this plugin is a destination, not a transformer";

/// A value that may still be being created.
pub type Made<T> = Shared<BoxFuture<'static, Result<T, Arc<str>>>>;

/// A destination that may still be compiling.
pub type Pending = Made<Destination>;

/// The plugin and its discovery. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    destination: Pending,
    slots: Slots,
    stop: CancellationToken,
    tenant: Option<Arc<Tenant>>,
    /// Limits the logging of a tenant's failed calls.
    failures: Arc<std::sync::Mutex<LogLimiter>>,
    /// How long a client may be silent before it is pinged, and then how long it may take to answer.
    pub(super) silence: Option<Duration>,
}

/// The session slots.
#[derive(Clone)]
enum Slots {
    /// One slot for all connections.
    Shared(Arc<Mutex<SessionSlot>>),
    /// One slot per connection; all of them are kept for the shutdown.
    PerConnection(Arc<std::sync::Mutex<Vec<Weak<Mutex<SessionSlot>>>>>),
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("stopping", &self.stop.is_cancelled()).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that answers calls that need no destination at once, and all others once `destination` is ready.
    pub fn new(destination: Pending, stop: CancellationToken) -> Self {
        Self::made(destination, Slots::Shared(Arc::default()), stop, None, None)
    }

    /// A server for a tenant: each connection has its own session, which ends if the client disappears, and messages are bounded by the grant.
    pub fn for_tenant(destination: Pending, stop: CancellationToken, tenant: Arc<Tenant>) -> Self {
        Self::made(destination, Slots::PerConnection(Arc::default()), stop, Some(tenant), Some(SILENCE))
    }

    fn made(destination: Pending, slots: Slots, stop: CancellationToken, tenant: Option<Arc<Tenant>>, silence: Option<Duration>) -> Self {
        let failures = Arc::new(std::sync::Mutex::new(LogLimiter::new(MAX_FAILURES_LOGGED)));
        Self { destination, slots, stop, tenant, failures, silence }
    }

    /// Both services, ready for a transport.
    pub fn routes(&self) -> tonic::service::Routes {
        let plugin = |most_bytes| {
            PluginServer::new(self.clone())
                .max_decoding_message_size(most_bytes)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
                .accept_compressed(CompressionEncoding::Gzip)
        };
        let limit = self.tenant.as_ref().map(|_| CALL_LIMIT);
        let most_bytes = self.max_message_bytes();
        let write = Unpack { inner: plugin(most_bytes), most_bytes, limit: None };
        let others = Unpack { inner: plugin(MAX_CALL_BYTES), most_bytes: MAX_CALL_BYTES, limit };
        let discovery = DiscoveryServer::new(self.clone()).max_decoding_message_size(MAX_CALL_BYTES);
        let discovery = discovery.accept_compressed(CompressionEncoding::Gzip);
        let discovery = Unpack { inner: discovery, most_bytes: MAX_CALL_BYTES, limit };
        tonic::service::Routes::new(Dated(CheckEnd(ByCall { write, others }))).add_service(Dated(discovery))
    }

    /// The meter that work is charged to; `None` for a single user.
    pub(super) fn meter(&self) -> Option<HostMeter> {
        self.tenant.as_ref().map(|tenant| HostMeter::new(tenant.share.account.clone()))
    }

    /// Maximum number of connections.
    pub(super) fn max_connections(&self) -> usize {
        self.tenant.as_ref().map_or(MAX_CONNECTIONS, |tenant| tenant.grant.connections())
    }

    /// Maximum number of concurrent calls per connection.
    pub(super) fn max_streams(&self) -> u32 {
        if self.tenant.is_some() { MAX_TENANT_STREAMS } else { MAX_STREAMS }
    }

    /// Maximum bytes of a message; for a tenant plus the overhead of wrapping, so that the error names the tenant's own bound.
    fn max_message_bytes(&self) -> usize {
        let granted = self.tenant.as_ref().and_then(|tenant| usize::try_from(tenant.grant.message_bytes()).ok());
        granted.map_or(MAX_MESSAGE_BYTES, |bytes| bytes.saturating_add(WRAPPING_BYTES).min(MAX_MESSAGE_BYTES))
    }

    /// Waits for running Writes to end (they do once the server is told to stop), then aborts what the sessions have open.
    pub async fn shut_down(&self) {
        let slots: Vec<Arc<Mutex<SessionSlot>>> = match &self.slots {
            Slots::Shared(slot) => vec![slot.clone()],
            Slots::PerConnection(known) => known.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect(),
        };
        join_all(slots.iter().map(|slot| async {
            if let SessionSlot::Open(session, _) = std::mem::take(&mut *slot.lock().await) {
                session.close().await;
            }
        }))
        .await;
        if let Some(tenant) = &self.tenant {
            tenant.share.aborts.over().await;
        }
    }

    async fn destination(&self) -> Result<Destination, Refusal> {
        self.destination.clone().await.map_err(|error| Refusal::NotReady(error.to_string()))
    }

    /// The slot of the connection that a request came over.
    fn take_slot(&self, connection: &Extensions, refusal: Refusal) -> Result<OwnedMutexGuard<SessionSlot>, Refusal> {
        let slot = match &self.slots {
            Slots::Shared(slot) => slot.clone(),
            Slots::PerConnection(known) => {
                let Some(ConnectionHandle(state)) = connection.get() else {
                    return Err(Refusal::Unexpected("the connection has no session of its own".to_owned()));
                };
                let slot = &state.slot;
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let weak = Arc::downgrade(slot);
                if !known.iter().any(|other| other.ptr_eq(&weak)) {
                    known.retain(|other| other.strong_count() > 0);
                    known.push(weak);
                }
                slot.clone()
            }
        };
        slot.try_lock_owned().map_err(|_| refusal)
    }

    async fn begin(&self, request: Request<init::Request>) -> Result<(), Refusal> {
        let mut slot = self.take_slot(request.extensions(), Refusal::InitInUse)?;
        let request = request.into_inner();
        // The sessions of an earlier Init live until the next one.
        if let SessionSlot::Open(earlier, _) = std::mem::take(&mut *slot) {
            earlier.close().await;
        }
        if request.no_connection {
            *slot = SessionSlot::Unconnected;
            return Ok(());
        }
        let spec = spec_text(&request.spec).map_err(Refusal::Init)?;
        let destination = self.destination().await?;
        let session = destination.open(spec, &request.invocation_id).await.map_err(Refusal::Init)?;
        *slot = SessionSlot::Open(session, Span::current());
        Ok(())
    }

    async fn write_all<S>(&self, connection: &Extensions, mut messages: S) -> Result<WriteReport, Status>
    where
        S: Stream<Item = Result<write::Request, Status>> + Send + Unpin,
    {
        let (write, slot, span) = self.begin_write(connection, &mut messages).await.map_err(|refusal| self.failed(refusal))?;
        self.pass_on_all(connection, messages, (write, slot, span.clone())).instrument(span).await
    }

    async fn pass_on_all<S>(
        &self,
        connection: &Extensions,
        mut messages: S,
        (write, slot, span): (Write, OwnedMutexGuard<SessionSlot>, Span),
    ) -> Result<WriteReport, Status>
    where
        S: Stream<Item = Result<write::Request, Status>> + Send + Unpin,
    {
        // Finished objects of a single user's client that is gone are stored nevertheless, since no one else needs the slot.
        let gone = self.tenant.as_ref().and_then(|_| connection.get()).map(|ConnectionHandle(state)| state.gone());
        let mut running = Running { halt: write.halt(), parts: Some((write, slot)), stop: self.stop.clone(), gone, span };
        let all = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Refusal::Stopping),
            all = running.pass_all(&mut messages) => all,
        };
        match all {
            Ok(()) => running.finish().await.map_err(|refusal| self.failed(refusal)),
            Err(refusal) => {
                // Logged now, because the call is dropped if the client is gone.
                let status = self.failed(self.bounded(refusal));
                // Answered once nothing is open any more, so that the next Init finds the slot free.
                running.abort().await;
                Err(status)
            }
        }
    }

    async fn begin_write<S>(
        &self,
        connection: &Extensions,
        messages: &mut S,
    ) -> Result<(Write, OwnedMutexGuard<SessionSlot>, Span), Refusal>
    where
        S: Stream<Item = Result<write::Request, Status>> + Send + Unpin,
    {
        let slot = self.take_slot(connection, Refusal::WriteInUse)?;
        match &*slot {
            SessionSlot::Open(session, span) => {
                let (write, span) = (session.write().map_err(|_| Refusal::WriteInUse)?, span.clone());
                return Ok((write, slot, span));
            }
            SessionSlot::Unconnected => return Err(Refusal::NoSpec),
            // A tenant's Write is refused unread, since no session has reserved memory for its messages.
            SessionSlot::Empty if self.tenant.is_some() => return Err(Refusal::WriteBeforeInit),
            SessionSlot::Empty => {}
        }
        // The slot is not locked while waiting for a silent client, so that another can call Init.
        drop(slot);
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Refusal::Stopping),
            first = messages.next() => first,
        };
        let first = first.transpose().map_err(Refusal::Receive)?;
        Err(if first.is_some() { Refusal::MessageBeforeInit } else { Refusal::WriteBeforeInit })
    }

    /// Logs an error that is returned to the client. A tenant's client can cause any number of them, so there the rate is limited.
    fn failed(&self, refusal: Refusal) -> Status {
        let status = Status::from(refusal);
        let admitted = match &self.tenant {
            None => Some(0),
            Some(_) => self.failures.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()).passes(),
        };
        if let Some(more) = admitted {
            let (tenant, more) = (self.tenant.as_ref().map(|tenant| &*tenant.name), (more > 0).then_some(more));
            tracing::error!(tenant, more, "{}", status.message());
        }
        status
    }

    /// Runs a call unless the server is told to stop: connections outlive that for a while, and their grant may be gone.
    async fn until_stopped<T>(&self, call: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Refusal::Stopping),
            done = call => done,
        }
    }

    /// Rewords the error about a message that is too large in terms of the tenant's grant.
    fn bounded(&self, refusal: Refusal) -> Refusal {
        match (&refusal, &self.tenant) {
            (Refusal::Receive(status), Some(tenant)) if status.code() == Code::OutOfRange => {
                let denied = tenant.grant.message_too_large();
                Policy::for_tenant(tenant.clone()).audit_denial(&denied, None);
                Refusal::Receive(Status::out_of_range(denied.message))
            }
            _ => match refusal {
                Refusal::AfterFailures(refusal, failures) => Refusal::AfterFailures(Box::new(self.bounded(*refusal)), failures),
                refusal => refusal,
            },
        }
    }
}

/// The plugin service, with large messages for Write and small ones for all other calls.
#[derive(Debug, Clone)]
struct ByCall {
    write: Unpack<PluginServer<Server>>,
    others: Unpack<PluginServer<Server>>,
}

impl NamedService for ByCall {
    const NAME: &'static str = <PluginServer<Server> as NamedService>::NAME;
}

impl tower_service::Service<http::Request<Body>> for ByCall {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = if request.uri().path() == WRITE_PATH { &mut self.write } else { &mut self.others };
        service.call(request)
    }
}

/// A Write in progress. Dropping it before its input has ended (because the client is gone) aborts open objects, and the slot is free once that is
/// done.
struct Running {
    /// Taken when the input has ended, successfully or not.
    parts: Option<(Write, OwnedMutexGuard<SessionSlot>)>,
    halt: Halt,
    stop: CancellationToken,
    /// Cancelled when a tenant's client is no longer connected.
    gone: Option<CancellationToken>,
    /// Of its log lines.
    span: Span,
}

impl Running {
    /// Processes messages until the client half-closes.
    async fn pass_all<S>(&mut self, messages: &mut S) -> Result<(), Refusal>
    where
        S: Stream<Item = Result<write::Request, Status>> + Send + Unpin,
    {
        while let Some(message) = messages.next().await {
            let Some((write, _)) = &mut self.parts else { return Ok(()) };
            let content = message.map_err(Refusal::Receive).and_then(|message| message.message.ok_or(Refusal::EmptyMessage));
            let passed = match content {
                Ok(message) => pass_on(write, message).await,
                Err(refusal) => Err(refusal),
            };
            passed.map_err(|refusal| after_failures(write, refusal))?;
        }
        Ok(())
    }

    /// Finishes all objects, even if the client does not wait for the result.
    async fn finish(mut self) -> Result<WriteReport, Refusal> {
        let Some((write, slot)) = self.parts.take() else { return Ok(WriteReport::default()) };
        let (halt, stop) = (self.halt.clone(), self.stop.clone());
        let finishing = async move {
            let report = halt.unless_stopped(&stop, write.finish()).await;
            drop(slot);
            if stop.is_cancelled() { Err(Refusal::Stopping) } else { Ok(report) }
        };
        let finishing = tokio::spawn(finishing.instrument(self.span.clone()));
        finishing.await.unwrap_or_else(|error| Err(Refusal::Unexpected(error.to_string())))
    }

    /// Aborts open objects and waits until that is done.
    async fn abort(mut self) {
        if let Some(aborting) = self.abort_beside() {
            // A panicking task frees the slot, too.
            let _over = aborting.await;
        }
    }

    /// Aborts open objects in a separate task, which is not cancelled if the client disconnects.
    fn abort_beside(&mut self) -> Option<JoinHandle<()>> {
        let (write, mut slot) = self.parts.take()?;
        let (halt, stop, gone) = (self.halt.clone(), self.stop.clone(), self.gone.clone());
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let aborting = async move {
            if or_left(write.abort(), &halt, &stop, gone).await {
                // Its slot is free for the next session.
                *slot = SessionSlot::Empty;
            }
        };
        Some(runtime.spawn(aborting.instrument(self.span.clone())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _aborting = self.abort_beside();
    }
}

/// Aborts a Write that is given up. If a tenant's client is gone, or if the store does not answer for long, the session is abandoned: its slot is
/// needed, and the remaining aborts continue in the background. Returns whether that is the case.
async fn or_left(end: impl Future<Output = ()>, halt: &Halt, stop: &CancellationToken, gone: Option<CancellationToken>) -> bool {
    let long = async {
        match gone {
            Some(gone) => drop(tokio::time::timeout(GIVE_UP_LIMIT, gone.cancelled()).await),
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let left = tokio::select! {
        biased;
        () = stop.cancelled() => {
            halt.now();
            false
        }
        () = &mut end => return false,
        () = long => {
            halt.leave();
            true
        }
    };
    end.await;
    left
}

/// If a message cannot be read or received after tables have failed, the status reports both, since the client would not learn of the failures
/// otherwise.
fn after_failures(write: &Write, refusal: Refusal) -> Refusal {
    let failures = write.failures();
    if failures.is_empty() { refusal } else { Refusal::AfterFailures(Box::new(refusal), failures) }
}

async fn pass_on(write: &mut Write, message: write::request::Message) -> Result<(), Refusal> {
    use write::request::Message;
    match message {
        Message::MigrateTable(migrate) => write.migrate_table(migrate.table).await.map_err(|error| Refusal::Schema(error.0)),
        Message::Insert(insert) => write.insert(insert.record).await.map_err(|error| Refusal::Record(error.0)),
        Message::Delete(delete) => {
            write.refuse(&delete.table_name, "DeleteStale: not implemented").await.map_err(|error| Refusal::Record(error.0))
        }
        Message::DeleteRecord(delete) => {
            write.refuse(&delete.table_name, "DeleteRecords: not implemented").await.map_err(|error| Refusal::Record(error.0))
        }
    }
}

/// The spec as text. A missing spec counts as an empty one, whose validation reports what is required.
fn spec_text(bytes: &[u8]) -> Result<&str, OpenError> {
    let text = str::from_utf8(bytes)
        .map_err(|error| OpenError::Unexpected(format!("failed to unmarshal s3 spec: not UTF-8 after byte {}", error.valid_up_to())))?;
    Ok(if matches!(text.trim(), "" | "null") { "{}" } else { text })
}

#[tonic::async_trait]
impl Discovery for Server {
    async fn get_versions(&self, _: Request<get_versions::Request>) -> Result<Response<get_versions::Response>, Status> {
        Ok(Response::new(get_versions::Response { versions: PROTOCOL_VERSIONS.to_vec() }))
    }
}

#[tonic::async_trait]
impl Plugin for Server {
    async fn get_name(&self, _: Request<get_name::Request>) -> Result<Response<get_name::Response>, Status> {
        Ok(Response::new(get_name::Response { name: PLUGIN_NAME.to_owned() }))
    }

    async fn get_version(&self, _: Request<get_version::Request>) -> Result<Response<get_version::Response>, Status> {
        Ok(Response::new(get_version::Response { version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned() }))
    }

    async fn get_spec_schema(&self, request: Request<get_spec_schema::Request>) -> Result<Response<get_spec_schema::Response>, Status> {
        let _at_work = active_call(request.extensions());
        let ask = async { self.destination().await?.spec_schema().await.map_err(|error| Refusal::NotReady(format!("{error:#}"))) };
        let schema = self.until_stopped(ask).await?;
        Ok(Response::new(get_spec_schema::Response { json_schema: Some(schema.to_string()) }))
    }

    async fn init(&self, request: Request<init::Request>) -> Result<Response<init::Response>, Status> {
        let span = session_span(&request.get_ref().invocation_id);
        let begun = async {
            match self.until_stopped(self.begin(request)).await {
                Ok(()) => Ok(Response::new(init::Response {})),
                Err(refusal) => Err(self.failed(refusal)),
            }
        };
        begun.instrument(span).await
    }

    async fn get_tables(&self, _: Request<get_tables::Request>) -> Result<Response<get_tables::Response>, Status> {
        Err(Refusal::GetTables.into())
    }

    type SyncStream = Empty<Result<sync::Response, Status>>;

    async fn sync(&self, _: Request<sync::Request>) -> Result<Response<Self::SyncStream>, Status> {
        Err(Refusal::NotOffered(NO_SYNC).into())
    }

    type ReadStream = Empty<Result<read::Response, Status>>;

    async fn read(&self, _: Request<read::Request>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Refusal::NotOffered(NO_READ).into())
    }

    async fn write(&self, request: Request<Streaming<write::Request>>) -> Result<Response<write::Response>, Status> {
        let (_, connection, messages) = request.into_parts();
        let report = self.write_all(&connection, messages).await?;
        // Each failure is already in the log; the status may only have space for a few.
        status::outcome(&report)?;
        Ok(Response::new(write::Response {}))
    }

    type TransformStream = Empty<Result<transform::Response, Status>>;

    async fn transform(&self, _: Request<Streaming<transform::Request>>) -> Result<Response<Self::TransformStream>, Status> {
        Err(Refusal::NotOffered(NO_TRANSFORM).into())
    }

    async fn transform_schema(&self, _: Request<transform_schema::Request>) -> Result<Response<transform_schema::Response>, Status> {
        Err(Refusal::NotOffered(NO_TRANSFORM_SCHEMA).into())
    }

    async fn close(&self, request: Request<close::Request>) -> Result<Response<close::Response>, Status> {
        let mut slot = self.take_slot(request.extensions(), Refusal::CloseInUse)?;
        if let SessionSlot::Open(session, _) = std::mem::take(&mut *slot) {
            session.close().await;
        }
        Ok(Response::new(close::Response {}))
    }

    async fn test_connection(&self, request: Request<test_connection::Request>) -> Result<Response<test_connection::Response>, Status> {
        let _at_work = active_call(request.extensions());
        let request = request.into_inner();
        let test = async {
            Ok(match spec_text(&request.spec) {
                Ok(spec) => self.destination().await?.test_connection(spec).await.map(drop),
                Err(error) => Err(error),
            })
        };
        let outcome = self.until_stopped(test).await?;
        Ok(Response::new(test_answer(outcome)))
    }
}

/// The span of what a session does, whose log lines carry the ID of the invocation that it belongs to. A client may send any text.
fn session_span(invocation_id: &str) -> Span {
    let end = invocation_id.floor_char_boundary(MAX_INVOCATION_ID_BYTES);
    let invocation_id = invocation_id.get(..end).filter(|id| !id.is_empty());
    tracing::error_span!("session", invocation_id)
}

/// Marks a connection as active, so that it keeps its slot.
fn active_call(connection: &Extensions) -> Option<ActiveCall> {
    connection.get().map(|ConnectionHandle(state)| state.call())
}

/// A failed test is an answer, not an error of the call.
fn test_answer(outcome: Result<(), OpenError>) -> test_connection::Response {
    let Err(error) = outcome else {
        return test_connection::Response { success: true, failure_code: String::new(), failure_description: String::new() };
    };
    let code = match &error {
        OpenError::TestWrite(_) => "UNAUTHORIZED",
        OpenError::Spec(_)
        | OpenError::Denied(_)
        | OpenError::Connect(_)
        | OpenError::Catalog(_)
        | OpenError::Probe(_)
        | OpenError::Unexpected(_) => "INVALID_SPEC",
    };
    test_connection::Response { success: false, failure_code: code.to_owned(), failure_description: error.to_string() }
}

/// A destination that already exists.
pub fn ready(destination: Destination) -> Pending {
    futures::future::ready(Ok(destination)).boxed().shared()
}

/// Runs `make` on a separate thread, so that the server can already listen.
pub fn compiling<T: Clone + Send + Sync + 'static>(make: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> Made<T> {
    let made = tokio::task::spawn_blocking(make);
    async move {
        match made.await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => Err(format!("{error:#}").into()),
            Err(_) => Err("its making ended early".into()),
        }
    }
    .boxed()
    .shared()
}

#[cfg(test)]
mod tests;
