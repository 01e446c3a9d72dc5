//! A destination at work: configured once, written to in rounds.
//!
//! [`Destination::open`] is CloudQuery's Init, [`Session::write`] begins a Write, [`Write::finish`] is its half-close,
//! [`Session::close`] is Close.

use crate::bindings::{Configuration, SpecProblem, StorageTarget};
use crate::engine::Runtime;
use crate::imports::LaneContext;
use crate::imports::log::cut;
use crate::lane::{self, Lane, LaneShared, Work};
use crate::ledger::{Failure, FailureClass, Ledger, Totals, WriteReport};
use crate::limits::{
    LANE_QUEUE_BYTES, MAX_MESSAGE_BYTES, MAX_SETTINGS_BYTES, MAX_TABLE_NAME_BYTES, MAX_TABLE_NAMES_BYTES, MAX_TABLES, MAX_WARNINGS,
    RECEIPT_BYTES, REMEMBERED_TABLE_BYTES,
};
use crate::message::{Inspector, name_too_long};
use crate::object::PutObject;
use crate::payload::Payload;
use crate::policy::grant::RateKind;
use crate::policy::metrics::OpenSession;
use crate::policy::resources::{MemoryHold, Resources};
use crate::policy::tenant_log::Line;
use crate::policy::{Denied, Policy, Tenant};
use crate::s3::{ConnectOptions, S3Client, StoreError};
use crate::scheduler::HostMeter;
use crate::staging::{InFlight, Staging};
use crate::upload::{Outlet, STORE_FAILED};
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

pub use crate::message::InvalidMessage;

/// How a destination uses the machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Guest instances of a session. Default: the cores of the machine.
    pub lanes: NonZeroUsize,
    /// Bytes of parts not yet full, held in memory; past it the largest go to the spill file.
    pub memory_bytes: u64,
    /// Bytes on their way to the store and not yet confirmed.
    pub in_flight_bytes: u64,
    /// Bytes of linear memory of a guest instance.
    pub guest_memory_bytes: u64,
    /// Where parts spill to.
    pub spill: Spill,
    /// Bytes of a session's spill file; [`None`] is no bound but the disk's.
    pub spill_bytes: Option<u64>,
    /// Bytes of receipts that a write keeps for its report; objects beyond are counted. They are the one thing of this size that no budget
    /// counts, so a server, which reads none, keeps none.
    pub receipt_bytes: u64,
    /// Makes object keys reproducible, for tests and `load --seed`.
    pub seed: Option<u64>,
    /// Whose sessions these are, and under which grant; [`None`] for a user's own.
    pub tenant: Option<Arc<Tenant>>,
    /// How the store is reached.
    pub connect: ConnectOptions,
}

/// Where parts spill to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spill {
    /// An unlinked file in this folder.
    Dir(PathBuf),
    /// Nowhere: over the budget is an error.
    None,
}

impl Options {
    /// The largest message of a session, in bytes.
    pub fn max_message_bytes(&self) -> u64 {
        self.tenant.as_ref().map_or(MAX_MESSAGE_BYTES as u64, |tenant| tenant.grant.message_bytes())
    }

    /// Bytes that the host may hold for one session: parts, what is on its way, the queues of the lanes, and the message that is being read.
    pub fn host_bytes(&self) -> u64 {
        let message = self.max_message_bytes();
        let queues = message.max(LANE_QUEUE_BYTES as u64).saturating_mul(self.lanes.get() as u64);
        [self.memory_bytes, self.in_flight_bytes, queues, message].into_iter().fold(0, u64::saturating_add)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lanes: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory_bytes: 64 << 20,
            in_flight_bytes: 32 << 20,
            guest_memory_bytes: crate::limits::GUEST_MEMORY_BYTES,
            spill: Spill::Dir(std::env::temp_dir()),
            spill_bytes: None,
            receipt_bytes: RECEIPT_BYTES,
            seed: None,
            tenant: None,
            connect: ConnectOptions::default(),
        }
    }
}

/// Why a destination cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The spec is refused; every problem, in the reference's order. Displays their messages one a line.
    #[error("{}", .0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("\n"))]
    Spec(Vec<SpecProblem>),
    /// The policy does not allow what the spec asks for.
    #[error("{0}")]
    Denied(String),
    /// Credentials or connection.
    #[error(transparent)]
    Connect(StoreError),
    /// The test object could not be put.
    #[error("failed to write test file to S3: {0}")]
    TestWrite(StoreError),
    /// A bug of ours, or of the component.
    #[error("{0}")]
    Unexpected(String),
}

/// A destination that can be opened any number of times. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    runtime: Arc<Runtime>,
    options: Options,
}

impl Destination {
    /// A destination on this runtime.
    pub fn new(runtime: Arc<Runtime>, options: Options) -> Self {
        Self { runtime, options }
    }

    /// The JSON Schema of the spec.
    ///
    /// # Errors
    /// The component failed, or a tenant's component may not run now.
    pub async fn spec_schema(&self) -> anyhow::Result<Arc<str>> {
        if let Some(tenant) = &self.options.tenant {
            let audited = |denied: &Denied| Policy::of_tenant(tenant.clone()).audit_denial(denied, None);
            tenant.may_run().inspect_err(audited)?;
        }
        self.runtime.spec_schema(self.detached(self.share())).await.inspect_err(|_| self.trapped())
    }

    /// Checks a spec (JSON), sends nothing.
    ///
    /// # Errors
    /// [`OpenError::Spec`], or [`OpenError::Unexpected`].
    pub async fn configure(&self, spec: &str, sync_id: &str) -> Result<Configuration, OpenError> {
        self.configure_within(spec, sync_id, self.share()).await
    }

    /// Checks a spec, and as far as that is possible without a request the place that it names: on this machine, in this environment.
    ///
    /// # Errors
    /// As [`Self::configure`], or [`OpenError::Connect`].
    pub async fn check(&self, spec: &str, sync_id: &str) -> Result<Configuration, OpenError> {
        let configuration = self.configure(spec, sync_id).await?;
        S3Client::check(&configuration.target, &self.connect_options()).await.map_err(OpenError::Connect)?;
        Ok(configuration)
    }

    async fn configure_within(&self, spec: &str, sync_id: &str, share: Arc<Resources>) -> Result<Configuration, OpenError> {
        let checked = self.runtime.configure(spec, sync_id, self.detached(share)).await.map_err(|error| {
            self.trapped();
            OpenError::Unexpected(format!("{error:#}"))
        })?;
        checked.map_err(OpenError::Spec)
    }

    /// An instance without a session has failed.
    fn trapped(&self) {
        if let Some(tenant) = &self.options.tenant {
            tenant.trapped();
        }
    }

    /// What an instance without a session belongs to.
    fn detached(&self, share: Arc<Resources>) -> LaneContext {
        LaneContext::detached(self.options.tenant.clone(), share)
    }

    /// The tenant's share of the machine; a single user's session has one of its own.
    fn share(&self) -> Arc<Resources> {
        self.options.tenant.as_ref().map(|tenant| tenant.share.clone()).unwrap_or_default()
    }

    /// Checks the spec, resolves credentials, puts the test object, and starts the lanes.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, spec: &str, sync_id: &str) -> Result<Session, OpenError> {
        let connected = self.connect(spec, sync_id).await?;
        tell(&connected.configuration.warnings, self.options.tenant.as_deref());
        self.start(connected).await.map_err(|error| OpenError::Unexpected(format!("{error:#}")))
    }

    /// Does everything `open` does up to and including the test object, with a sync id of its own. Answers the key of the object, if one was
    /// put: it stays in the bucket.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn test_connection(&self, spec: &str) -> Result<Option<String>, OpenError> {
        let sync_id =
            uuid::Builder::from_random_bytes(random_bytes().map_err(|error| OpenError::Unexpected(error.to_string()))?).into_uuid();
        let connected = self.connect(spec, &sync_id.to_string()).await?;
        Ok(connected.configuration.test_object.map(|object| object.key))
    }

    async fn connect(&self, spec: &str, sync_id: &str) -> Result<Connected, OpenError> {
        let policy = self.options.tenant.clone().map_or_else(Policy::of_user, Policy::of_tenant);
        let share = self.share();
        policy.audit_has_room().await;
        let mut room = self.enter(&share).map_err(|denied| deny(&policy, &[denied], None))?;
        let configuration = self.configure_within(spec, sync_id, share.clone()).await?;
        let settings = configuration.settings.len();
        if settings > MAX_SETTINGS_BYTES {
            let text = format!("the component's settings have {settings} bytes; up to {MAX_SETTINGS_BYTES} are accepted");
            return Err(OpenError::Unexpected(text));
        }
        room.memory.grow_for("what the component makes of the spec", settings as u64).map_err(|denied| deny(&policy, &[denied], None))?;
        let target = self.admit(&configuration).map_err(|denials| deny(&policy, &denials, None))?;
        let client = S3Client::connect(&target, &self.connect_options()).await.map_err(|error| self.not_connected(error))?;
        if let Some(object) = &configuration.test_object {
            let request = PutObject::parse(&object.key, &object.content_type).map_err(|error| OpenError::Unexpected(error.0))?;
            let deny = |denied| deny(&policy, &[denied], Some(&object.key));
            let put = policy.authorize(request).map_err(deny)?;
            let reservation = policy.tenant().map(|tenant| tenant.quota.reserve()).transpose().map_err(deny)?;
            if let Some(tenant) = policy.tenant() {
                tenant.pace(RateKind::Objects, 1).await;
            }
            let begun = Instant::now();
            client.put(&put, Payload::default()).await.map_err(|error| OpenError::TestWrite(self.said_of_store(error)))?;
            if let Some((tenant, reservation)) = policy.tenant().zip(reservation) {
                reservation.landed();
                tenant.metrics.put(begun.elapsed());
            }
            policy.audit_object(&object.key, 0, 0, std::future::pending()).await;
        }
        Ok(Connected { configuration, client, policy, share, room })
    }

    /// What a user has to mend himself, a tenant's operator has: names of profiles, files and roles are for the log.
    fn not_connected(&self, error: StoreError) -> OpenError {
        OpenError::Connect(match &self.options.tenant {
            None => error,
            Some(tenant) => StoreError {
                kind: error.kind,
                message: tenant.refer(NO_CREDENTIALS, "A tenant's credentials cannot be had.", &error.message),
            },
        })
    }

    /// A store names the operator's account, role and keys in what it says: a tenant hears the host's words.
    fn said_of_store(&self, error: StoreError) -> StoreError {
        match &self.options.tenant {
            None => error,
            Some(tenant) => StoreError { kind: error.kind, message: tenant.refer(error.kind.words(), STORE_FAILED, &error.message) },
        }
    }

    /// A tenant's room for one session more, before its guest or the store is asked anything.
    fn enter(&self, share: &Resources) -> Result<Room, Denied> {
        let session = self.options.tenant.as_ref().map(|tenant| tenant.enter()).transpose()?;
        Ok(Room { _session: session, memory: share.budget.reserve(self.options.host_bytes())? })
    }

    /// Where the session's requests go.
    fn admit(&self, configuration: &Configuration) -> Result<StorageTarget, Vec<Denied>> {
        match &self.options.tenant {
            Some(tenant) => tenant.admit(configuration),
            None => Ok(configuration.target.clone()),
        }
    }

    /// Without a spill file all parts lie in memory: a part that grows by itself stays at half of what there is. A tenant's role is assumed
    /// with the policy of its grant, and its grant alone says where its objects go.
    fn connect_options(&self) -> ConnectOptions {
        let mut options = self.options.connect.clone();
        if let Some(tenant) = &self.options.tenant {
            options.session_policy = Some(tenant.grant.session_policy());
            options.configured_endpoints = false;
            options.retries = tenant.metrics.retries.clone();
            options.meter = Some(HostMeter::new(tenant.share.account.clone()));
        }
        if self.options.spill == Spill::None {
            options.max_part_bytes = options.max_part_bytes.min(self.options.memory_bytes / 2);
        }
        options
    }

    async fn start(&self, connected: Connected) -> anyhow::Result<Session> {
        let Connected { configuration, client, policy, share, room } = connected;
        let options = &self.options;
        let books = || share.budget.hold();
        let staging = Staging::within(options.memory_bytes, options.spill.clone(), options.spill_bytes, books());
        let in_flight = InFlight::new(options.in_flight_bytes);
        let io = tokio::runtime::Handle::current();
        let outlet = Outlet::new(client, policy, staging, in_flight, !configuration.splittable, books(), io);
        let crew = Arc::new(LaneShared {
            runtime: self.runtime.clone(),
            settings: configuration.settings,
            guest_memory_bytes: options.guest_memory_bytes,
            origin: Instant::now(),
            lanes: OnceLock::new(),
        });
        let contexts = (0..options.lanes.get()).map(|lane| LaneContext {
            outlet: Some(outlet.clone()),
            lane,
            seed: options.seed,
            instance: 0,
            tenant: self.options.tenant.clone(),
            share: share.clone(),
        });
        let lanes = futures::future::try_join_all(contexts.map(|context| lane::start(crew.clone(), context))).await?;
        let _ = crew.lanes.set(lanes.iter().map(Lane::peer).collect());
        Ok(Session {
            inner: Arc::new(Inner {
                lanes,
                splittable: configuration.splittable,
                outlet,
                homes: Mutex::new(Homes { hold: books(), ..Homes::default() }),
                receipt_bytes: options.receipt_bytes,
                writing: AtomicBool::new(false),
                room,
            }),
        })
    }
}

/// What a tenant hears of its operator's credentials.
const NO_CREDENTIALS: &str = "the credentials of this tenant cannot be had";

/// Warnings, so many of them, and each cut: a component may have any. A tenant can open as many sessions as it likes, one after the other.
fn tell(warnings: &[SpecProblem], tenant: Option<&Tenant>) {
    for SpecProblem { field, message } in warnings.iter().take(MAX_WARNINGS) {
        if let Some(Line { tenant, more }) = Line::of(tenant) {
            tracing::warn!(tenant, more, field = cut(field), "{}", cut(message));
        }
    }
    if let Some(others) = warnings.len().checked_sub(MAX_WARNINGS).filter(|others| *others > 0)
        && let Some(Line { tenant, more }) = Line::of(tenant)
    {
        tracing::warn!(tenant, more, "There are {others} warnings more.");
    }
}

/// What an Init has found out and taken.
struct Connected {
    configuration: Configuration,
    client: S3Client,
    policy: Policy,
    share: Arc<Resources>,
    room: Room,
}

/// What a session takes of its tenant's for as long as it is there.
#[derive(Debug)]
struct Room {
    _session: Option<OpenSession>,
    memory: MemoryHold,
}

/// Writes denials down, and makes one answer of them.
fn deny(policy: &Policy, denials: &[Denied], key: Option<&str>) -> OpenError {
    denials.iter().for_each(|denied| policy.audit_denial(denied, key));
    OpenError::Denied(denials.iter().map(|denied| denied.message.as_str()).collect::<Vec<_>>().join("\n"))
}

fn random_bytes() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// An opened destination: lanes, store connection, books. Dropping it ends its lanes.
#[derive(Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lanes: Vec<Lane>,
    splittable: bool,
    outlet: Arc<Outlet>,
    homes: Mutex<Homes>,
    receipt_bytes: u64,
    writing: AtomicBool,
    room: Room,
}

/// The lane that each table lives on, from write to write: its guest may have reserved a key for the table's first rows.
#[derive(Debug, Default)]
struct Homes {
    of_table: HashMap<Arc<str>, usize>,
    next: usize,
    /// Bytes of the names.
    bytes: usize,
    hold: MemoryHold,
}

impl Homes {
    /// Forgets what earlier writes have left here, if that is as much as there may be. Never while tables have objects open: what is lost is
    /// that empty objects are written over.
    fn begin_write(&mut self) {
        if self.of_table.len() > MAX_TABLES || self.bytes > MAX_TABLE_NAMES_BYTES {
            self.of_table = HashMap::new();
            self.hold.clear();
            self.bytes = 0;
        }
    }

    /// The lane of a table, of so many lanes. Where there is no memory to remember it, the name tells.
    fn of(&mut self, table: &Arc<str>, lanes: usize) -> usize {
        if let Some(lane) = self.of_table.get(table) {
            return *lane;
        }
        if !self.hold.grow(table.len() as u64 + REMEMBERED_TABLE_BYTES) {
            let mut hasher = DefaultHasher::new();
            table.hash(&mut hasher);
            return usize::try_from(hasher.finish() % lanes as u64).unwrap_or_default();
        }
        self.bytes += table.len();
        self.next = (self.next + 1) % lanes;
        self.of_table.insert(table.clone(), self.next);
        self.next
    }
}

impl Inner {
    fn homes(&self) -> MutexGuard<'_, Homes> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another write is running.
#[derive(Debug, thiserror::Error)]
#[error("plugin already in use")]
pub struct InUse;

impl Session {
    /// Begins a write. One at a time.
    ///
    /// # Errors
    /// [`InUse`].
    pub fn write(&self) -> Result<Write, InUse> {
        if self.inner.writing.swap(true, Ordering::AcqRel) {
            return Err(InUse);
        }
        self.inner.homes().begin_write();
        let books = || self.inner.room.memory.another();
        let ledger = Arc::new(Ledger::new(self.inner.outlet.tenant().cloned(), books(), self.inner.receipt_bytes));
        for lane in &self.inner.lanes {
            lane.send(Work::Begin(ledger.clone()));
        }
        Ok(Write { inner: self.inner.clone(), ledger, inspector: Inspector::new(books()), last: None, ended: false })
    }

    /// Ends the session. A write has ended before (its end waits for the store), so nothing is left to wait for but the lanes.
    pub async fn close(self) {
        let lanes = self.inner.lanes.iter().map(|lane| lane.ask(Work::Abort));
        futures::future::join_all(lanes).await;
    }

    /// What is staged in memory, spilled, and in flight, in bytes.
    pub fn held_bytes(&self) -> Held {
        self.inner.outlet.held_bytes()
    }
}

/// Bytes that a session holds on the host's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Parts not yet full, in memory.
    pub staged: u64,
    /// The spill file.
    pub spill_file: u64,
    /// Cut or finished, and not yet confirmed.
    pub in_flight: u64,
}

/// One write. Dropping it aborts what it has open, in the background; [`Write::abort`] does so and waits.
#[derive(Debug)]
pub struct Write {
    inner: Arc<Inner>,
    ledger: Arc<Ledger>,
    inspector: Inspector,
    last: Option<Kind>,
    ended: bool,
}

/// Ends a write, or what is left of it, at once: nobody waits for the store any more, and finished objects that it has not yet confirmed
/// are aborted too. The session is of no more use.
#[derive(Debug, Clone)]
pub struct Halt {
    ledger: Arc<Ledger>,
    outlet: Arc<Outlet>,
}

impl Halt {
    /// Does so. [`Write::abort`] or [`Write::finish`] then soon returns.
    pub fn now(&self) {
        self.ledger.give_up();
        self.outlet.halt();
    }

    /// The same where nobody waits for anything: guests are stopped where they are, and [`Write::abort`] returns although the store has not
    /// answered. What a tenant leaves to be aborted goes on by itself, within bounds.
    pub(crate) fn leave(&self) {
        self.ledger.give_up();
        self.outlet.leave();
    }
}

/// The type of a message. When it changes, rotating tables finish their objects, as in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Migrate,
    Insert,
    Refused,
}

impl Write {
    /// A table's schema. Waits while the table's lane is full.
    ///
    /// # Errors
    /// [`InvalidMessage`]. A table's own failure is reported by [`Write::finish`].
    pub async fn migrate_table(&mut self, ipc: Bytes) -> Result<(), InvalidMessage> {
        self.check_size(&ipc)?;
        let header = self.inspector.inspect(&ipc).await?;
        self.turn_to(Kind::Migrate);
        if self.ledger.admit(&header.table, 0)? {
            let lane = self.home(&header.table);
            let message = lane.message(&header.table, ipc).await;
            lane.send(Work::Migrate(message));
        }
        Ok(())
    }

    /// Rows. Waits while the table's lane is full. Rows of a table that has failed are counted and dropped.
    ///
    /// # Errors
    /// [`InvalidMessage`].
    pub async fn insert(&mut self, ipc: Bytes) -> Result<(), InvalidMessage> {
        self.check_size(&ipc)?;
        let header = self.inspector.inspect(&ipc).await?;
        self.turn_to(Kind::Insert);
        if !self.ledger.admit(&header.table, header.rows)? {
            return Ok(());
        }
        let home = self.home(&header.table);
        let (lane, message) = match home.try_message(&header.table, ipc) {
            Ok(message) => (home, message),
            Err(ipc) => match self.helper(&header.table) {
                Some(lane) => {
                    let message = lane.message(&header.table, ipc).await;
                    (lane, message)
                }
                None => {
                    let message = home.message(&header.table, ipc).await;
                    (home, message)
                }
            },
        };
        lane.send(Work::Insert(message));
        Ok(())
    }

    /// A message that this destination refuses (`DeleteStale`, `DeleteRecords`): a change of message type, and a failure that
    /// [`Write::finish`] reports for the table, whose rows go on as before.
    ///
    /// # Errors
    /// [`InvalidMessage`]: no table has such a name, or there are too many.
    pub async fn refuse(&mut self, table: &str, reason: &str) -> Result<(), InvalidMessage> {
        if table.len() > MAX_TABLE_NAME_BYTES {
            return Err(name_too_long(table));
        }
        self.turn_to(Kind::Refused);
        self.ledger.refuse(&table.into(), Failure::new(FailureClass::Data, reason))
    }

    /// What ends this write from beside it, when there is no time to wait for the store.
    pub fn halt(&self) -> Halt {
        Halt { ledger: self.ledger.clone(), outlet: self.inner.outlet.clone() }
    }

    /// The tables that have failed so far, in the order in which they failed.
    pub fn failures(&self) -> Vec<(Arc<str>, Failure)> {
        self.ledger.failures()
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// The books, for a progress bar that runs beside the write.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// The input has ended well: finishes every object, awaits the store, and closes the books.
    pub async fn finish(mut self) -> WriteReport {
        self.ask_all(Work::End).await;
        self.ledger.settled().await;
        self.end();
        self.ledger.audit()
    }

    /// The input has ended badly: aborts every open object, awaits the finished ones, claims nothing.
    pub async fn abort(mut self) {
        // No lane is to work off its queue first, nor to wait for a slow store.
        self.ledger.give_up();
        self.ask_all(Work::Abort).await;
        self.ledger.settled().await;
        self.end();
    }

    /// Holds a tenant to its grant; a user's messages are bounded by the protocol, and by the guest.
    fn check_size(&self, ipc: &Bytes) -> Result<(), InvalidMessage> {
        let policy = self.inner.outlet.policy();
        match policy.tenant() {
            Some(tenant) if ipc.len() as u64 > tenant.grant.message_bytes() => {
                let denied = tenant.grant.message_too_large();
                policy.audit_denial(&denied, None);
                Err(InvalidMessage(denied.message))
            }
            _ => Ok(()),
        }
    }

    /// A change of message type puts a barrier into every lane's queue; nobody waits for it.
    fn turn_to(&mut self, kind: Kind) {
        if self.last.replace(kind).is_some_and(|last| last != kind) {
            for lane in &self.inner.lanes {
                lane.send(Work::Barrier);
            }
        }
    }

    /// The lane a table lives on; tables are dealt out in turn.
    fn home(&self, table: &Arc<str>) -> Lane {
        let lanes = &self.inner.lanes;
        lanes[self.inner.homes().of(table, lanes.len())].clone()
    }

    /// A lane with nothing to do that may help with a table whose home is full: only where rows of one table may go into several objects
    /// at the same time, and only once the home has opened one.
    fn helper(&self, table: &Arc<str>) -> Option<Lane> {
        (self.inner.splittable && self.ledger.has_opened(table))
            .then(|| self.inner.lanes.iter().find(|lane| lane.is_idle()).cloned())
            .flatten()
    }

    async fn ask_all(&self, work: fn(tokio::sync::oneshot::Sender<()>) -> Work) {
        futures::future::join_all(self.inner.lanes.iter().map(|lane| lane.ask(work))).await;
    }

    fn end(&mut self) {
        self.ended = true;
        self.inner.writing.store(false, Ordering::Release);
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.ledger.give_up();
        let (inner, ledger) = (self.inner.clone(), self.ledger.clone());
        self.inner.outlet.io().spawn(async move {
            futures::future::join_all(inner.lanes.iter().map(|lane| lane.ask(Work::Abort))).await;
            ledger.settled().await;
            inner.writing.store(false, Ordering::Release);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn a_table_keeps_its_lane_whether_there_is_memory_to_remember_it_or_not() {
        let budget = Resources::new(NonZeroU32::MIN, Some(1_000)).budget;
        let mut homes = Homes { hold: budget.hold(), ..Homes::default() };
        let names: Vec<Arc<str>> = (0..100).map(|number| format!("table{number}").into()).collect();
        let first: Vec<usize> = names.iter().map(|name| homes.of(name, 4)).collect();
        assert!(homes.of_table.len() < 4 && budget.used_bytes() <= 1_000);
        assert_eq!(names.iter().map(|name| homes.of(name, 4)).collect::<Vec<_>>(), first);
        assert!((0..4).all(|lane| first.contains(&lane)), "{first:?}");
    }

    #[test]
    fn names_of_earlier_writes_are_forgotten_once_they_are_too_many() {
        let budget = Resources::new(NonZeroU32::MIN, None).budget;
        let mut homes = Homes { hold: budget.hold(), ..Homes::default() };
        let name = |number: usize| -> Arc<str> { format!("{number:04096}").into() };
        let mut known = 0;
        while homes.bytes <= MAX_TABLE_NAMES_BYTES {
            homes.of(&name(known), 2);
            known += 1;
        }
        assert_eq!(known, MAX_TABLE_NAMES_BYTES / 4_096 + 1);
        homes.begin_write();
        assert_eq!((homes.of_table.len(), homes.bytes, budget.used_bytes()), (0, 0, 0));
        homes.of(&name(0), 2);
        homes.begin_write();
        assert_eq!(homes.of_table.len(), 1, "few are kept");
    }
}
