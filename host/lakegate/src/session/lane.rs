//! A lane: one task that owns one store with one guest instance, and works off a queue bounded by bytes.
//!
//! Nothing ever cancels a call of the guest: that would destroy every open object of the lane. A trap fails the tables open here, aborts
//! their uploads by dropping the store, and the lane starts afresh with the next message.

use crate::delivery::ledger::{Call, Failure, FailureClass, Ledger};
use crate::delivery::upload::TableCall;
use crate::delivery::watch::Rotation;
use crate::limits::{ENCODER_BYTES, LANE_QUEUE_BYTES, LEAST_TICK, MAX_OPEN_OBJECTS, MAX_TABLE_NAME_BYTES};
use crate::policy::denied::Denied;
use crate::policy::metrics::Queued;
use crate::policy::tenant::Tenant;
use crate::policy::tenant_log::Line;
use crate::sandbox::bindings::exports::lakegate::destination::sink::Guest as Sink;
use crate::sandbox::bindings::{Progress, SessionLimits, WriteError};
use crate::sandbox::runtime::Runtime;
use crate::sandbox::state::{LaneContext, State};
use crate::storage::target::PutError;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::Instrument;
use wasmtime::Store;
use wasmtime::component::ResourceAny;

/// What a lane is asked to do, in order.
#[derive(Debug)]
pub(crate) enum Work {
    /// A write begins; these are its books.
    Begin(Arc<Ledger>),
    /// A table's schema.
    Migrate(Message),
    /// Rows.
    Insert(Message),
    /// The type of message changes.
    Barrier,
    /// The table has failed elsewhere: drop what it has open here.
    Abandon(Arc<str>),
    /// The write ends well: finish every object.
    End(oneshot::Sender<()>),
    /// The write ends badly: abort every object.
    Abort(oneshot::Sender<()>),
}

/// A message on its way to the guest.
#[derive(Debug)]
pub(crate) struct Message {
    table: Arc<str>,
    ipc: Bytes,
    _room: OwnedSemaphorePermit,
    _queued: Option<Queued>,
}

/// The sending end of a lane's queue.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    queue: mpsc::UnboundedSender<Work>,
    room: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// True while nothing was queued since the last barrier: another would find nothing to do.
    barred: Arc<AtomicBool>,
    tenant: Option<Arc<Tenant>>,
}

/// How fine the queue's room is counted: a semaphore has not enough permits for bytes.
const ROOM_UNIT_BYTES: usize = 1 << 10;

impl Lane {
    /// Tries to queue rows or a schema; gives the bytes back if there is no room now.
    pub(crate) fn try_message(&self, table: &Arc<str>, ipc: Bytes) -> Result<Message, Bytes> {
        match self.room.clone().try_acquire_many_owned(units(ipc.len())) {
            Ok(room) => Ok(self.wrap(table, ipc, room)),
            Err(_) => Err(ipc),
        }
    }

    /// Waits for room. A message larger than the queue waits until the queue is empty, and goes alone.
    pub(crate) async fn message(&self, table: &Arc<str>, ipc: Bytes) -> Message {
        let room = self.room.clone().acquire_many_owned(units(ipc.len())).await.expect("the semaphore is never closed");
        self.wrap(table, ipc, room)
    }

    fn wrap(&self, table: &Arc<str>, ipc: Bytes, room: OwnedSemaphorePermit) -> Message {
        let queued = self.tenant.as_ref().map(|tenant| tenant.metrics.queued());
        Message { table: table.clone(), ipc, _room: room, _queued: queued }
    }

    /// Queues work. A lane that has died takes none; the books will tell. Barriers take no room, so those that would find nothing to do are
    /// left out: else a client that changes the type of its messages again and again fills the queue of a lane that is busy.
    pub(crate) fn send(&self, work: Work) {
        let barrier = matches!(work, Work::Barrier);
        if self.barred.swap(barrier, Ordering::Relaxed) && barrier {
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = self.queue.send(work);
    }

    /// The queue, as the other lanes know it.
    pub(crate) fn peer(&self) -> Peer {
        Peer { queue: self.queue.downgrade(), waiting: self.waiting.clone() }
    }

    /// True if the lane has nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Queues work that ends with a word, and waits for the word. Returns at once if the lane has died.
    pub(crate) async fn ask(&self, work: impl FnOnce(oneshot::Sender<()>) -> Work) {
        let (done, waiting) = oneshot::channel();
        self.send(work(done));
        let _ = waiting.await;
    }
}

fn units(bytes: usize) -> u32 {
    let most = LANE_QUEUE_BYTES / ROOM_UNIT_BYTES;
    u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES).clamp(1, most)).expect("the queue has fewer than 2^32 units")
}

/// What all lanes of a session share.
#[derive(Debug)]
pub(crate) struct LaneShared {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) settings: String,
    pub(crate) guest_memory_bytes: u64,
    pub(crate) origin: Instant,
    /// The queues of all lanes, for `abandon`; set once they are made. Weak: a lane ends when its session lets go of it.
    pub(crate) lanes: OnceLock<Vec<Peer>>,
}

impl LaneShared {
    fn encoder_bytes(&self) -> u64 {
        ENCODER_BYTES.min(self.guest_memory_bytes / 2)
    }
}

/// Another lane's queue.
#[derive(Debug)]
pub(crate) struct Peer {
    queue: mpsc::WeakUnboundedSender<Work>,
    waiting: Arc<AtomicUsize>,
}

impl Peer {
    fn abandon(&self, table: &Arc<str>) {
        if let Some(queue) = self.queue.upgrade() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let _ = queue.send(Work::Abandon(table.clone()));
        }
    }
}

/// Starts a lane with its instance.
///
/// # Errors
/// The guest could not be started; a bug of ours or of the component.
pub(crate) async fn start(shared: Arc<LaneShared>, context: LaneContext) -> anyhow::Result<Lane> {
    let (queue, inbox) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let room = Arc::new(Semaphore::new(LANE_QUEUE_BYTES / ROOM_UNIT_BYTES));
    let tenant = context.uploads.as_ref().and_then(|uploads| uploads.tenant().cloned());
    let lane = Lane { queue, room, waiting: waiting.clone(), barred: Arc::default(), tenant };
    let guests = shared.runtime.guests().clone();
    let next_tick = shared.origin;
    let mut actor = Actor { shared, context, guest: None, ledger: Arc::default(), deadline: None, next_tick, reported_stranger: false };
    let (ready, started) = oneshot::channel();
    let work = async move {
        let made = actor.guest().await.map(|_| ());
        actor.rest();
        let fit = made.is_ok();
        if ready.send(made).is_ok() && fit {
            actor.run(inbox, &waiting).await;
        }
    };
    guests.spawn(work.in_current_span());
    started.await.map_err(|_| anyhow::anyhow!("a lane died while it was started"))??;
    Ok(lane)
}

struct Actor {
    shared: Arc<LaneShared>,
    context: LaneContext,
    guest: Option<Guest>,
    ledger: Arc<Ledger>,
    deadline: Option<u64>,
    /// Before this there is no tick, whatever the deadline.
    next_tick: Instant,
    reported_stranger: bool,
}

/// A running instance with its session.
struct Guest {
    store: Store<State>,
    sink: Sink,
    session: ResourceAny,
}

impl Guest {
    /// Waits for the instance's permit to compute; its time counts from here. `ends`: why objects end that are finished in the call.
    async fn begin_call(&mut self, call: Option<TableCall>, ends: Option<Rotation>) {
        let state = self.store.data_mut();
        state.begin_call(call, ends);
        let slot = state.slot.clone();
        slot.enter().await;
    }
}

impl Actor {
    async fn run(&mut self, mut inbox: mpsc::UnboundedReceiver<Work>, waiting: &AtomicUsize) {
        loop {
            if self.ledger.is_given_up() {
                // What is open will be aborted, not finished.
                self.deadline = None;
            }
            if self.tick_at().is_some_and(|moment| moment <= Instant::now()) {
                (self.deadline, self.next_tick) = (None, Instant::now() + LEAST_TICK);
                self.many(Rotation::Age, |guest, now| {
                    Box::pin(async move { guest.sink.session().call_tick(&mut guest.store, guest.session, now).await })
                })
                .await;
                self.rest();
            }
            let work = tokio::select! {
                work = inbox.recv() => work,
                () = sleep_until(self.tick_at()) => continue,
            };
            let Some(work) = work else { return };
            self.work(work).await;
            waiting.fetch_sub(1, Ordering::Relaxed);
            self.renew().await;
            self.rest();
        }
    }

    /// When the guest wants its next tick.
    fn tick_at(&self) -> Option<Instant> {
        let deadline = self.deadline?;
        Some((self.shared.origin + Duration::from_nanos(deadline)).max(self.next_tick))
    }

    /// Nothing is to be computed: others may.
    fn rest(&self) {
        if let Some(guest) = &self.guest {
            guest.store.data().slot.leave();
        }
    }

    async fn work(&mut self, work: Work) {
        match work {
            Work::Begin(ledger) => self.ledger = ledger,
            Work::Migrate(message) => self.one(message, Call::Migrate).await,
            Work::Insert(message) => self.one(message, Call::Insert).await,
            Work::Barrier if self.ledger.is_given_up() => {}
            Work::Barrier => {
                self.many(Rotation::MessageType, |guest, now| {
                    Box::pin(async move { guest.sink.session().call_barrier(&mut guest.store, guest.session, now).await })
                })
                .await;
            }
            Work::Abandon(table) => self.abandon(&table).await,
            Work::End(done) if !self.ledger.is_given_up() => {
                self.many(Rotation::EndOfWrite, |guest, now| {
                    Box::pin(async move { guest.sink.session().call_end_write(&mut guest.store, guest.session, now).await })
                })
                .await;
                self.expect_nothing_open();
                let _ = done.send(());
            }
            Work::End(done) | Work::Abort(done) => {
                // Dropping the store drops its uploads, and each aborts.
                (self.guest, self.deadline) = (None, None);
                let _ = done.send(());
            }
        }
    }

    /// A call that concerns one table.
    async fn one(&mut self, message: Message, call: Call) {
        let Message { table, ipc, _room, _queued } = message;
        if self.ledger.is_stopped(&table) {
            return;
        }
        let (now, ledger) = (self.now(), self.ledger.clone());
        let guest = match self.guest().await {
            Ok(guest) => guest,
            Err(error) => return self.not_started(&table, &error),
        };
        let ends = match call {
            Call::Migrate => Rotation::Announcement,
            Call::Insert => Rotation::Limit,
        };
        guest.begin_call(Some(TableCall { table: table.clone(), ledger, call }), Some(ends)).await;
        let session = guest.sink.session();
        let answer = match call {
            Call::Migrate => session.call_migrate_table(&mut guest.store, guest.session, &ipc, now).await,
            Call::Insert => session.call_insert(&mut guest.store, guest.session, &ipc, now).await,
        };
        match answer {
            Ok(Ok(deadline)) => self.deadline = deadline,
            Ok(Err(error)) => {
                self.fail(&table, failure(error));
                // Where the rows could not be decoded, the guest does not know whose they were.
                self.abandon(&table).await;
            }
            Err(trap) => self.trapped(&trap, Some(&table)),
        }
    }

    /// A call that concerns many tables.
    async fn many<F>(&mut self, ends: Rotation, call: F)
    where
        F: for<'a> FnOnce(&'a mut Guest, u64) -> std::pin::Pin<Box<dyn Future<Output = wasmtime::Result<Progress>> + Send + 'a>>,
    {
        let now = self.now();
        // No instance: nothing is open.
        let Some(guest) = &mut self.guest else { return };
        guest.begin_call(None, Some(ends)).await;
        match call(guest, now).await {
            Ok(progress) => {
                self.deadline = progress.deadline;
                for failed in progress.failures {
                    if self.ledger.knows(&failed.table) {
                        self.fail(&failed.table.into(), failure(failed.error));
                    } else if !std::mem::replace(&mut self.reported_stranger, true)
                        && let Some(Line { tenant, more }) = Line::notable(self.tenant().map(|tenant| &**tenant))
                    {
                        let end = failed.table.floor_char_boundary(MAX_TABLE_NAME_BYTES);
                        let (lane, table) = (self.context.lane, failed.table.get(..end));
                        tracing::warn!(
                            lane,
                            tenant,
                            more,
                            table,
                            "The component reports the failure of a table that it was given nothing of."
                        );
                    }
                }
            }
            Err(trap) => self.trapped(&trap, None),
        }
    }

    async fn abandon(&mut self, table: &str) {
        let Some(guest) = &mut self.guest else { return };
        guest.begin_call(None, None).await;
        if let Err(trap) = guest.sink.session().call_abandon(&mut guest.store, guest.session, table).await {
            self.trapped(&trap, None);
        }
    }

    /// No instance for the table: it may not be started now, or it cannot.
    fn not_started(&self, table: &Arc<str>, error: &anyhow::Error) {
        let class = match (error.downcast_ref::<Denied>(), &self.context.uploads) {
            (Some(denied), Some(uploads)) => {
                uploads.policy().audit_denial(denied, None);
                FailureClass::Denied
            }
            _ => FailureClass::Unexpected,
        };
        self.fail(table, Failure::new(class, format!("{error:#}")));
    }

    /// The table fails here, so the other lanes drop what they have of it.
    fn fail(&self, table: &Arc<str>, failure: Failure) {
        self.ledger.fail(table, failure);
        if !self.ledger.take_abandon(table) {
            return;
        }
        let lanes = self.shared.lanes.get().map(Vec::as_slice).unwrap_or_default();
        for (number, lane) in lanes.iter().enumerate() {
            if number != self.context.lane {
                lane.abandon(table);
            }
        }
    }

    /// The instance is gone: every table with an object open here fails, and so does the one being written.
    fn trapped(&mut self, trap: &wasmtime::Error, during: Option<&Arc<str>>) {
        let Some(guest) = self.guest.take() else { return };
        if is_left(&self.context) {
            // It was stopped: its client has gone, and nobody hears of its tables.
            return self.dismiss(guest, "the write was given up", during);
        }
        if let Some(tenant) = self.tenant() {
            tenant.metrics.guest_memory(guest.store.data().limiter.used_bytes());
            tenant.trapped();
        }
        let cause = guest.store.data().explain(trap);
        let doing = during.map_or_else(String::new, |table| format!(" while it wrote the table {table:?}"));
        if let Some(Line { tenant, more }) = Line::notable(self.tenant().map(|tenant| &**tenant)) {
            let (lane, error) = (self.context.lane, format!("{trap:?}"));
            tracing::error!(lane, tenant, more, error, "The component trapped{doing}: {cause}");
        }
        self.dismiss(guest, &format!("{cause}{doing}"), during);
    }

    /// At the end of a write every object was to be finished: one that is not would be waited for without end.
    fn expect_nothing_open(&mut self) {
        if let Some(guest) = self.guest.take_if(|guest| guest.store.data().objects.open() > 0) {
            self.dismiss(guest, "the component left an object open at the end of the write", None);
        }
    }

    /// Drops an instance, whose uploads abort; the tables that they belong to fail.
    fn dismiss(&mut self, mut guest: Guest, cause: &str, during: Option<&Arc<str>>) {
        self.deadline = None;
        let mut tables = guest.store.data_mut().objects.tables();
        tables.extend(during.cloned());
        tables.sort_unstable();
        tables.dedup();
        drop(guest);
        for table in &tables {
            self.fail(table, Failure::new(FailureClass::Unexpected, cause));
        }
    }

    /// Linear memory never shrinks: past the high-water mark an instance with nothing open makes room for a fresh one.
    async fn renew(&mut self) {
        let high_water = self.shared.encoder_bytes();
        let Some(used) = self.guest.as_ref().map(|guest| guest.store.data().limiter.used_bytes()) else { return };
        if let Some(tenant) = self.tenant() {
            tenant.metrics.guest_memory(used);
        }
        let Some(guest) = &mut self.guest else { return };
        if used < high_water || guest.store.data().objects.open() > 0 {
            return;
        }
        guest.begin_call(None, None).await;
        match guest.sink.session().call_idle(&mut guest.store, guest.session).await {
            Ok(true) => (self.guest, self.deadline) = (None, None),
            Ok(false) => {}
            Err(trap) => self.trapped(&trap, None),
        }
    }

    fn tenant(&self) -> Option<&Arc<Tenant>> {
        self.context.uploads.as_ref()?.tenant()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    async fn guest(&mut self) -> anyhow::Result<&mut Guest> {
        if self.guest.is_none() {
            self.tenant().map_or(Ok(()), |tenant| tenant.may_run())?;
            let shared = &self.shared;
            let (mut store, instance) = shared.runtime.instantiate(self.context.clone(), shared.guest_memory_bytes).await?;
            self.context.instance += 1;
            let sink = instance.lakegate_destination_sink().clone();
            let limits = SessionLimits { encoder_bytes: shared.encoder_bytes(), open_objects: MAX_OPEN_OBJECTS };
            let opened = sink.session().call_open(&mut store, &shared.settings, limits).await;
            let session = match opened {
                Ok(session) => session.map_err(|message| anyhow::anyhow!("the component refuses its own settings: {message}"))?,
                Err(trap) => {
                    if let (Some(tenant), false) = (self.tenant(), is_left(&self.context)) {
                        tenant.trapped();
                    }
                    return Err(store.data().explain(&trap));
                }
            };
            self.guest = Some(Guest { store, sink, session });
        }
        Ok(self.guest.as_mut().expect("made just above"))
    }
}

/// Whether nobody waits for the session any more, so that its guests are stopped.
fn is_left(context: &LaneContext) -> bool {
    context.uploads.as_ref().is_some_and(|uploads| uploads.is_left())
}

/// What the guest says went wrong. A failure of the store has been written down by its upload with the store's own words, and stays.
fn failure(error: WriteError) -> Failure {
    match error {
        WriteError::Data(message) => Failure::new(FailureClass::Data, message),
        WriteError::Store(error) => {
            let error = PutError::from(error);
            let class = match &error {
                PutError::Denied(_) => FailureClass::Denied,
                PutError::Invalid(_) => FailureClass::Unexpected,
                PutError::Quota(_) | PutError::Unavailable(_) | PutError::Rejected(_) => FailureClass::Storage,
            };
            Failure::new(class, error.message())
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn barriers_with_nothing_between_them_are_one() {
        let (queue, mut inbox) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(LANE_QUEUE_BYTES / ROOM_UNIT_BYTES));
        let lane = Lane { queue, room, waiting: Arc::default(), barred: Arc::default(), tenant: None };
        for _ in 0..2 {
            let message = lane.try_message(&"t".into(), Bytes::from_static(b"ipc")).unwrap();
            lane.send(Work::Insert(message));
            (0..1_000).for_each(|_| lane.send(Work::Barrier));
        }
        let queued: Vec<bool> = std::iter::from_fn(|| inbox.try_recv().ok()).map(|work| matches!(work, Work::Barrier)).collect();
        assert_eq!(queued, [false, true, false, true]);
        assert_eq!(lane.waiting.load(Ordering::Relaxed), queued.len());
    }
}
