//! One object on its way: collects the guest's bytes, cuts parts, and hands them to the store.
//!
//! An [`Upload`] is the guest's handle. What has been cut belongs to a *job*, a task on the I/O threads that outlives the handle: it
//! awaits the store, writes the receipt, and owes the abort. Dropping the handle unfinished ends the job's channel, and the job aborts.

use crate::bindings::{ObjectAttributes, PutError};
use crate::imports::TableCall;
use crate::ledger::{Failure, FailureClass, Ledger, Receipt, Unsettled};
use crate::limits::{JOB_BYTES, MAX_REQUESTS, MAX_TABLE_NAMES_BYTES, MAX_TABLES, OPEN_OBJECT_BYTES, PART_BYTES, REMEMBERED_TABLE_BYTES};
use crate::object::{ObjectKey, PutObject};
use crate::payload::Payload;
use crate::policy::grant::RateKind;
use crate::policy::quota::{OpenObject, Reservation};
use crate::policy::resources::MemoryHold;
use crate::policy::tenant_log::Line;
use crate::policy::{Authorized, Denied, Policy, Tenant};
use crate::s3::{Multipart, Part, S3Client, StoreError, StoreErrorKind, Stored};
use crate::scheduler::{HostMeter, spawn_metered};
use crate::session::Held;
use crate::staging::{InFlight, InFlightBytes, NoRoom, StagedPart, Staging};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The session's one way out: policy, store, and the budgets all lanes share.
#[derive(Debug)]
pub struct Outlet {
    client: S3Client,
    policy: Policy,
    staging: Arc<Staging>,
    in_flight: Arc<InFlight>,
    /// Of the tenant's memory, for what grows with its objects: never grown itself.
    books: MemoryHold,
    requests: Semaphore,
    keys: Arc<Keys>,
    io: tokio::runtime::Handle,
    meter: Option<HostMeter>,
    halt: CancellationToken,
    left: CancellationToken,
}

impl Outlet {
    /// A way out to `client` under `policy`; jobs run on `io`.
    ///
    /// `keys_repeat`: keys may come again within the session, so those confirmed are remembered. What grows takes its memory from the budget
    /// of `books`.
    pub(crate) fn new(
        client: S3Client,
        policy: Policy,
        staging: Arc<Staging>,
        in_flight: Arc<InFlight>,
        keys_repeat: bool,
        books: MemoryHold,
        io: tokio::runtime::Handle,
    ) -> Arc<Self> {
        let keys = Arc::new(Keys::new(keys_repeat, books.another()));
        let requests = Semaphore::new(MAX_REQUESTS);
        let meter = policy.tenant().map(|tenant| HostMeter::new(tenant.share.account.clone()));
        let [halt, left] = [(); 2].map(|()| CancellationToken::new());
        Arc::new(Self { client, policy, staging, in_flight, books, requests, keys, io, meter, halt, left })
    }

    /// The process ends: what the store has not confirmed is aborted, finished or not.
    pub(crate) fn halt(&self) {
        self.halt.cancel();
    }

    /// Nobody waits for the session any more: as [`Outlet::halt`], and what is to be aborted goes on without it.
    pub(crate) fn leave(&self) {
        self.left.cancel();
        self.halt.cancel();
    }

    /// True once nobody waits for the session any more.
    pub(crate) fn is_left(&self) -> bool {
        self.left.is_cancelled()
    }

    /// Brings staged parts under their budget, on the tenant's account.
    async fn balance(&self) -> Result<(), NoRoom> {
        match &self.meter {
            Some(meter) if self.staging.is_over() => meter.metered(self.staging.balance()).await,
            _ => self.staging.balance().await,
        }
    }

    /// What decides.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whose objects these are; [`None`] for a single-user command.
    pub(crate) fn tenant(&self) -> Option<&Arc<Tenant>> {
        self.policy.tenant()
    }

    /// Waits for room for the next bytes, and for the time at which the tenant may have those just taken.
    async fn room(&self, bytes: u64) {
        self.in_flight.room().await;
        self.pace(RateKind::Bytes, bytes).await;
    }

    async fn pace(&self, what: RateKind, amount: u64) {
        if let Some(tenant) = self.tenant() {
            tenant.pace(what, amount).await;
        }
    }

    /// Waits for its turn among the session's requests.
    async fn request(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.requests.acquire().await.ok()
    }

    /// Sends a body, and notes how long it took.
    async fn timed<T>(&self, put: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = put.await?;
        if let Some(tenant) = self.tenant() {
            tenant.metrics.put(begun.elapsed());
        }
        Ok(done)
    }

    /// Where jobs run.
    pub(crate) fn io(&self) -> &tokio::runtime::Handle {
        &self.io
    }

    /// The words for a failure of the store: a tenant hears the host's, since the store's name the operator's account, role and keys, and
    /// whatever else it likes.
    fn words_of(&self, error: StoreError) -> String {
        match self.tenant() {
            // What is a limit of ours is in our words.
            Some(tenant) if error.kind != StoreErrorKind::Quota => tenant.refer(error.kind.words(), STORE_FAILED, &error.message),
            _ => error.message,
        }
    }

    /// The words for parts that cannot be kept: the system's are not for a tenant.
    fn words_of_staging(&self, full: NoRoom) -> String {
        match self.tenant() {
            Some(tenant) if full.is_of_the_system() => {
                tenant.refer("the spill file cannot be used", "A tenant's spill file cannot be used.", &full.0)
            }
            _ => full.0,
        }
    }

    /// Bytes held on the host's side.
    pub(crate) fn held_bytes(&self) -> Held {
        Held { staged: self.staging.memory_bytes(), spill_file: self.staging.spill_file_bytes(), in_flight: self.in_flight.bytes() }
    }

    /// Waits until another object of the table may begin: while too much is on its way, and until the tenant may have one more.
    ///
    /// # Errors
    /// Nobody wants it any more.
    pub(crate) async fn turn(&self, table: &str, ledger: &Ledger) -> Result<(), PutError> {
        still_wanted(table, ledger)?;
        let turn = async {
            self.policy.audit_has_room().await;
            self.in_flight.room().await;
            self.pace(RateKind::Objects, 1).await;
        };
        tokio::select! {
            biased;
            () = ledger.given_up() => Err(PutError::Unavailable(GIVEN_UP.to_owned())),
            () = turn => Ok(()),
        }
    }

    /// Checks and authorises what the guest asked for.
    ///
    /// # Errors
    /// `invalid`: no good key or content type, or the key is being written. `denied`: the policy. The table has then failed.
    pub(crate) fn open(self: &Arc<Self>, attributes: &ObjectAttributes, call: &TableCall, lane: usize) -> Result<Upload, PutError> {
        let TableCall { table, ledger, call } = call;
        let refuse = |class, error: PutError| {
            ledger.fail(table, Failure::new(class, text(&error)));
            error
        };
        let request = PutObject::parse(&attributes.key, &attributes.content_type);
        let request = request.map_err(|error| refuse(FailureClass::Data, PutError::Invalid(error.0)))?;
        let key = request.key.clone();
        let deny = |denied: Denied| {
            self.policy.audit_denial(&denied, Some(key.as_str()));
            refuse(FailureClass::Denied, PutError::Denied(denied.message))
        };
        let put = self.policy.authorize(request).map_err(deny)?;
        let quota = self.policy.tenant().map(|tenant| &tenant.quota);
        let open_object = quota.map(|quota| quota.open()).transpose().map_err(deny)?;
        let reservation = quota.map(|quota| quota.reserve()).transpose().map_err(deny)?.map(Arc::new);
        let mut books = self.books.another();
        books.grow_for("another open object", OPEN_OBJECT_BYTES).map_err(deny)?;
        let (open, turn) = self.keys.open(&put.get().key, table).map_err(|other| {
            let message = format!("the key {:?} is being written by the table {other:?}", put.get().key.as_str());
            refuse(FailureClass::Data, PutError::Invalid(message))
        })?;
        let unsettled = ledger.begin_upload(table, *call);
        if let Some(Line { tenant, more }) = Line::detail_of(self.tenant().map(|tenant| &**tenant)) {
            tracing::debug!(lane, tenant, more, table = &**table, key = put.get().key.as_str(), "An object is opened.");
        }
        Ok(Upload {
            outlet: self.clone(),
            key,
            staged: self.staging.part(),
            failed: Arc::default(),
            reservation: reservation.clone(),
            state: State::Small(Start { put, table: table.clone(), ledger: ledger.clone(), turn, reservation, _unsettled: unsettled }),
            _open: open,
            _open_object: open_object,
            _books: books,
            parts: 0,
            bytes: 0,
        })
    }
}

/// The host's side of the guest's `upload` resource.
#[derive(Debug)]
pub struct Upload {
    outlet: Arc<Outlet>,
    key: ObjectKey,
    staged: StagedPart,
    failed: Arc<OnceLock<StoreErrorKind>>,
    /// A tenant's; the job has the other end.
    reservation: Option<Arc<Reservation>>,
    state: State,
    parts: u32,
    bytes: u64,
    _open: OpenKey,
    _open_object: Option<OpenObject>,
    _books: MemoryHold,
}

/// What is told of a store whose words a tenant does not hear.
pub(crate) const STORE_FAILED: &str = "A tenant's store failed.";

/// What a guest hears that still writes when nobody wants its objects any more.
const GIVEN_UP: &str = "the write was given up";

/// # Errors
/// The write was given up, or the table has failed: its first cause is in the books.
fn still_wanted(table: &str, ledger: &Ledger) -> Result<(), PutError> {
    if ledger.is_given_up() {
        Err(PutError::Unavailable(GIVEN_UP.to_owned()))
    } else if ledger.is_stopped(table) {
        Err(PutError::Rejected("the table has failed".to_owned()))
    } else {
        Ok(())
    }
}

/// Has anything been handed to a job?
#[derive(Debug)]
enum State {
    /// Not yet: the object may still become one put.
    Small(Start),
    /// The job has the first part.
    Running(mpsc::UnboundedSender<Command>, Arc<str>, Arc<Ledger>),
    /// Only while the state changes.
    Moving,
}

/// What a job is made of.
#[derive(Debug)]
struct Start {
    put: Authorized<PutObject>,
    table: Arc<str>,
    ledger: Arc<Ledger>,
    turn: KeyTurn,
    reservation: Option<Arc<Reservation>>,
    _unsettled: Unsettled,
}

/// What a handle tells its job; the end of the channel means: abort.
#[derive(Debug)]
enum Command {
    /// A full part.
    Part(Payload, InFlightBytes),
    /// The rest, and how many rows the object holds. What the job itself takes is on its way until it ends.
    Finish { payload: Payload, share: InFlightBytes, job: InFlightBytes, rows: u64 },
}

impl Upload {
    /// Appends bytes; waits while too many are on their way.
    ///
    /// # Errors
    /// `quota`: no room, or too many parts. Else as the store answered an earlier part.
    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<(), PutError> {
        let bytes = chunk.len() as u64;
        self.check()?;
        self.check_grant(bytes)?;
        while !chunk.is_empty() {
            let Some(part_bytes) = self.outlet.client.part_bytes(self.parts + 1) else {
                return Err(self.refuse(FailureClass::Storage, PutError::Quota(self.outlet.client.too_many_parts(self.bytes))));
            };
            let room = part_bytes.saturating_sub(self.staged.bytes());
            if room == 0 {
                self.cut_part();
                continue;
            }
            let piece = chunk.split_to(chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.bytes += piece.len() as u64;
            self.staged.append(piece);
            if let Err(full) = self.outlet.balance().await {
                return Err(self.refuse(FailureClass::Storage, PutError::Quota(self.outlet.words_of_staging(full))));
            }
        }
        let (_, ledger) = self.account();
        tokio::select! {
            biased;
            () = ledger.given_up() => return Err(PutError::Unavailable(GIVEN_UP.to_owned())),
            () = self.outlet.room(bytes) => {}
        }
        self.check()
    }

    /// What the tenant's grant says of so many bytes more.
    fn check_grant(&self, more: u64) -> Result<(), PutError> {
        let policy = &self.outlet.policy;
        let Some(tenant) = policy.tenant() else { return Ok(()) };
        let granted = tenant.grant.check_size(self.bytes.saturating_add(more));
        let granted = granted.and_then(|()| self.reservation.as_ref().map_or(Ok(()), |reservation| reservation.grow(more)));
        granted.map_err(|denied| {
            policy.audit_denial(&denied, Some(self.key.as_str()));
            self.refuse(FailureClass::Denied, PutError::Quota(denied.message))
        })
    }

    /// Hands the object over to the store. Does not wait.
    ///
    /// # Errors
    /// The claim is refused, a part has failed already, or nobody wants the object any more: encoders with nothing left to write would not
    /// hear of that otherwise.
    pub(crate) fn finish(mut self, rows: u64) -> Result<(), PutError> {
        self.check()?;
        let (table, ledger) = self.account();
        ledger.claim(&table, rows).map_err(|failure| PutError::Invalid(failure.message))?;
        let payload = self.staged.take();
        let share = self.outlet.in_flight.take(payload.length());
        // Not before: only a job that is complete comes to its end without the guest.
        let job = self.outlet.in_flight.take(JOB_BYTES);
        self.send(Command::Finish { payload, share, job, rows });
        Ok(())
    }

    /// A part is full and more bytes have come: only now is it sure that one put will not do.
    fn cut_part(&mut self) {
        let payload = self.staged.take();
        let share = self.outlet.in_flight.take(payload.length());
        self.parts += 1;
        self.send(Command::Part(payload, share));
    }

    /// Sends a command to the job, which the first one starts.
    fn send(&mut self, command: Command) {
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Small(start) => {
                let (commands, inbox) = mpsc::unbounded_channel();
                let (table, ledger) = (start.table.clone(), start.ledger.clone());
                let job = Job { outlet: self.outlet.clone(), start, failed: self.failed.clone() };
                let _runs_by_itself = spawn_metered(&self.outlet.io, self.outlet.meter.as_ref(), job.run(inbox));
                State::Running(commands, table, ledger)
            }
            other => other,
        };
        if let State::Running(commands, ..) = &self.state {
            // A job that has failed no longer listens; `check` tells the guest why.
            let _ = commands.send(command);
        }
    }

    fn check(&self) -> Result<(), PutError> {
        self.failed.get().map_or(Ok(()), |kind| Err(put_error(*kind)))?;
        let (table, ledger) = self.account();
        still_wanted(&table, &ledger)
    }

    fn account(&self) -> (Arc<str>, Arc<Ledger>) {
        match &self.state {
            State::Small(start) => (start.table.clone(), start.ledger.clone()),
            State::Running(_, table, ledger) => (table.clone(), ledger.clone()),
            State::Moving => unreachable!("the state moves only within `send`"),
        }
    }

    fn refuse(&self, class: FailureClass, error: PutError) -> PutError {
        let (table, ledger) = self.account();
        ledger.fail(&table, Failure::new(class, text(&error)));
        error
    }

    /// The table whose rows the object holds.
    pub(crate) fn table(&self) -> Arc<str> {
        self.account().0
    }
}

/// What the guest hears of a failure of the store: the host's words, never the store's, which may name bucket or account.
fn put_error(kind: StoreErrorKind) -> PutError {
    match kind {
        StoreErrorKind::Denied => PutError::Denied("the store does not allow the object".into()),
        StoreErrorKind::Unavailable => PutError::Unavailable("the store did not take the object in time".into()),
        StoreErrorKind::Rejected => PutError::Rejected("the store refused the object".into()),
        StoreErrorKind::Unknown => PutError::Unavailable("the store left the outcome open".into()),
        StoreErrorKind::Quota => PutError::Quota("a limit of the store is reached".into()),
    }
}

/// The text of a put error.
pub(crate) fn text(error: &PutError) -> &str {
    match error {
        PutError::Denied(text)
        | PutError::Quota(text)
        | PutError::Invalid(text)
        | PutError::Unavailable(text)
        | PutError::Rejected(text) => text,
    }
}

/// The task that brings one object home.
struct Job {
    outlet: Arc<Outlet>,
    start: Start,
    failed: Arc<OnceLock<StoreErrorKind>>,
}

/// A finished object, confirmed.
struct Done {
    stored: Stored,
    bytes: u64,
    rows: u64,
    /// Until it is written down that the object has landed.
    _job: Option<InFlightBytes>,
}

impl Job {
    async fn run(self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        // A late retry of an earlier object of this key must not overtake newer rows.
        self.start.turn.wait().await;
        let mut unfinished = None;
        match self.drive(&mut inbox, &mut unfinished).await {
            Ok(Some(done)) => self.confirm(done).await,
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
        // An abort may take long: the table has failed before, and what was queued has given its bytes back.
        drop(inbox);
        if let Some(mut upload) = unfinished {
            tokio::select! {
                biased;
                // Dropped with its duty, which it then does by itself.
                () = self.outlet.left.cancelled() => {}
                () = upload.abort() => {}
            }
        }
    }

    /// Follows the commands; `None` if the object was given up. What is to be aborted is left in `unfinished`.
    async fn drive(
        &self,
        inbox: &mut mpsc::UnboundedReceiver<Command>,
        unfinished: &mut Option<AbortGuard>,
    ) -> Result<Option<Done>, StoreError> {
        match inbox.recv().await {
            None => Ok(None),
            Some(Command::Finish { payload, share: _share, job, rows }) => {
                let bytes = payload.length();
                // Boxed, here and below: what a request needs is large, and most jobs wait.
                let put = async {
                    let _request = self.outlet.request().await;
                    Box::pin(self.outlet.timed(self.outlet.client.put(&self.start.put, payload))).await
                };
                let stored = self.unless_halted(put).await?;
                Ok(Some(Done { stored, bytes, rows, _job: Some(job) }))
            }
            Some(Command::Part(payload, share)) => {
                let create = async {
                    let _request = self.outlet.request().await;
                    Box::pin(self.outlet.client.create(&self.start.put)).await
                };
                let upload = Arc::new(self.unless_halted(create).await?);
                unfinished.replace(AbortGuard::new(upload.clone(), self));
                let done = Box::pin(self.unless_halted(self.drive_parts(&upload, (payload, share), inbox))).await;
                if matches!(done, Ok(Some(_)))
                    && let Some(mut completed) = unfinished.take()
                {
                    completed.disarm();
                }
                done
            }
        }
    }

    /// The store's words are the cause, so they (or what a tenant hears of them) are in the books before the guest hears of the failure and tells of it in its own.
    fn fail(&self, error: StoreError) {
        if let (StoreErrorKind::Unknown, Some(reservation)) = (error.kind, &self.start.reservation) {
            // It may be there, so it counts.
            reservation.landed();
        }
        let kind = error.kind;
        self.start.ledger.fail(&self.start.table, Failure::new(FailureClass::Storage, self.outlet.words_of(error)));
        let _ = self.failed.set(kind);
    }

    async fn drive_parts(
        &self,
        upload: &Arc<Multipart>,
        first: (Payload, InFlightBytes),
        inbox: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<Option<Done>, StoreError> {
        let mut sending = JoinSet::new();
        let (mut parts, mut bytes, mut count) = (Vec::new(), 0, 0);
        let mut send = |sending: &mut JoinSet<_>, payload: Payload, share: InFlightBytes| {
            count += 1;
            bytes += payload.length();
            let part = send_part(self.outlet.clone(), upload.clone(), count, payload, share);
            match &self.outlet.meter {
                Some(meter) => sending.spawn(meter.metered(part)),
                None => sending.spawn(part),
            };
        };
        send(&mut sending, first.0, first.1);
        let (mut rows, mut _job) = (None, None);
        let mut books = self.outlet.books.another();
        // Ends when the handle has finished or given up, and every part has been answered; at the first failure at once.
        let outcome = loop {
            tokio::select! {
                command = inbox.recv(), if rows.is_none() => match command {
                    Some(Command::Part(payload, share)) => send(&mut sending, payload, share),
                    Some(Command::Finish { payload, share, job, rows: claimed }) => {
                        (rows, _job) = (Some(claimed), Some(job));
                        if payload.length() > 0 {
                            send(&mut sending, payload, share);
                        }
                    }
                    None => break Ok(None),
                },
                Some(sent) = sending.join_next() => match sent {
                    Ok(Ok(part)) => {
                        if let Err(denied) = books.grow_for("another part of an upload", PART_BYTES + part.named_bytes()) {
                            break Err(StoreError { kind: StoreErrorKind::Quota, message: denied.message });
                        }
                        parts.push(part);
                    }
                    Ok(Err(error)) => break Err(error),
                    Err(panic) => break Err(StoreError { kind: StoreErrorKind::Unknown, message: format!("sending a part failed: {panic}") }),
                },
                else => break Ok(rows),
            }
        };
        // Parts on their way are cut off, so that none lands after the abort.
        sending.shutdown().await;
        let Some(rows) = outcome? else { return Ok(None) };
        parts.sort_unstable_by_key(|part: &Part| part.number);
        let _request = self.outlet.request().await;
        let stored = upload.complete(parts, bytes).await?;
        Ok(Some(Done { stored, bytes, rows, _job }))
    }

    /// Does `work`, unless there is no time left for it.
    async fn unless_halted<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            () = self.outlet.halt.cancelled() => {
                let who = if self.outlet.is_left() { "client left" } else { "process ended" };
                Err(StoreError { kind: StoreErrorKind::Unavailable, message: format!("the {who} before the store had confirmed the object") })
            }
            done = work => done,
        }
    }

    async fn confirm(&self, done: Done) {
        let Start { put, table, ledger, turn, reservation, .. } = &self.start;
        let key = put.get().key.clone();
        if let Some(reservation) = reservation {
            reservation.landed();
        }
        self.outlet.policy.audit_object(key.as_str(), done.bytes, done.rows, self.outlet.halt.cancelled()).await;
        let owner = self.outlet.tenant().map(|tenant| &**tenant);
        if let Some(Line { tenant, more }) = Line::detail_of(owner) {
            let (table, key, rows, bytes) = (&**table, key.as_str(), done.rows, done.bytes);
            tracing::debug!(tenant, more, table, key, rows, bytes, "An object is confirmed.");
        }
        if let Some(rows) = turn.confirmed(table, done.rows)
            && rows > 0
            && let Some(Line { tenant, more }) = Line::of(owner)
        {
            let (table, key) = (&**table, key.as_str());
            tracing::warn!(tenant, more, table, key, rows, "An object written earlier in this sync was overwritten.");
        }
        let Stored { etag, checksum } = done.stored;
        ledger.confirm(table, Receipt { table: table.to_string(), key, bytes: done.bytes, rows: done.rows, etag, checksum });
    }
}

async fn send_part(
    outlet: Arc<Outlet>,
    upload: Arc<Multipart>,
    number: u32,
    payload: Payload,
    share: InFlightBytes,
) -> Result<Part, StoreError> {
    let _request = outlet.request().await;
    let part = outlet.timed(upload.put_part(number, payload)).await;
    drop(share);
    part
}

/// The duty to abort a multipart upload; it travels with the task, and survives its panic.
struct AbortGuard {
    upload: Arc<Multipart>,
    key: ObjectKey,
    outlet: Arc<Outlet>,
    armed: bool,
}

impl AbortGuard {
    fn new(upload: Arc<Multipart>, job: &Job) -> Self {
        Self { upload, key: job.start.put.get().key.clone(), outlet: job.outlet.clone(), armed: true }
    }

    fn disarm(&mut self) {
        self.armed = false;
    }

    /// Does it; if this is dropped on the way, it is done anew.
    async fn abort(&mut self) {
        abort(&self.outlet, &self.upload, &self.key).await;
        self.disarm();
    }
}

impl Drop for AbortGuard {
    fn drop(&mut self) {
        if self.armed {
            let (outlet, upload, key) = (self.outlet.clone(), self.upload.clone(), self.key.clone());
            match self.outlet.tenant() {
                Some(tenant) if self.outlet.is_left() => {
                    let aborting = {
                        let (outlet, upload, key) = (outlet.clone(), upload.clone(), key.clone());
                        async move { abort(&outlet, &upload, &key).await }
                    };
                    tenant.share.aborts.run(&self.outlet.io, aborting, move |why| not_aborted(&outlet, &upload, &key, why));
                }
                _ => {
                    let aborting = async move { abort(&outlet, &upload, &key).await };
                    let _runs_by_itself = spawn_metered(&self.outlet.io, self.outlet.meter.as_ref(), aborting);
                }
            }
        }
    }
}

async fn abort(outlet: &Outlet, upload: &Multipart, key: &ObjectKey) {
    let _request = outlet.request().await;
    if let Err(error) = Box::pin(upload.abort()).await {
        not_aborted(outlet, upload, key, &error.message);
    }
}

fn not_aborted(outlet: &Outlet, upload: &Multipart, key: &ObjectKey, error: &str) {
    let Some(Line { tenant, more }) = Line::of(outlet.tenant().map(|tenant| &**tenant)) else { return };
    let (key, upload) = (key.as_str(), upload.id());
    tracing::warn!(
        tenant,
        more,
        key,
        upload,
        error,
        "An unfinished upload could not be aborted; a lifecycle rule of the bucket will remove it."
    );
}

/// The keys of a session: which are being written, and which uploads are not settled.
#[derive(Debug)]
struct Keys {
    remember: bool,
    states: Mutex<HashMap<ObjectKey, KeyState>>,
    /// The last key that each table's rows were confirmed under, where keys may come again. Others are forgotten: what tells a table's keys
    /// apart is time, which does not come again, or a UUID, and of these there is no end.
    last: Mutex<LastKeys>,
}

/// See [`Keys`].
#[derive(Debug, Default)]
struct LastKeys {
    of_table: HashMap<Arc<str>, ObjectKey>,
    /// Bytes of the names and keys.
    bytes: usize,
    hold: MemoryHold,
}

impl LastKeys {
    /// Room for one more that takes so many bytes.
    fn make_room(&mut self, bytes: usize) -> bool {
        self.of_table.len() < MAX_TABLES
            && self.bytes + bytes <= MAX_TABLE_NAMES_BYTES
            && self.hold.grow(bytes as u64 + REMEMBERED_TABLE_BYTES)
    }
}

#[derive(Debug, Default)]
struct KeyState {
    /// The table whose handle is open.
    open: Option<Arc<str>>,
    /// Uploads that are not settled, and the token of the youngest.
    unsettled: usize,
    last: Option<CancellationToken>,
    /// Rows of the last confirmed object.
    confirmed: Option<u64>,
    /// Tables whose last key it is.
    tables: usize,
}

/// The guest is writing this key. Dropping it says that it no longer is.
#[derive(Debug)]
struct OpenKey {
    keys: Arc<Keys>,
    key: ObjectKey,
}

/// One upload's place in the order of its key. Dropping it settles it.
#[derive(Debug)]
struct KeyTurn {
    keys: Arc<Keys>,
    key: ObjectKey,
    before: Option<CancellationToken>,
    settled: CancellationToken,
}

impl Keys {
    fn new(remember: bool, hold: MemoryHold) -> Self {
        let last = LastKeys { hold, ..LastKeys::default() };
        Self { remember, states: Mutex::default(), last: Mutex::new(last) }
    }

    /// The table's rows are under this key now.
    fn remember(&self, table: &Arc<str>, key: &ObjectKey) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.of_table.get(table) == Some(key) {
            return;
        }
        if let Some(earlier) = last.of_table.remove(table) {
            let bytes = table.len() + earlier.as_str().len();
            last.bytes -= bytes;
            last.hold.shrink(bytes as u64 + REMEMBERED_TABLE_BYTES);
            self.update(&earlier, |state| state.tables -= 1);
        }
        let bytes = table.len() + key.as_str().len();
        if !last.make_room(bytes) {
            // What is lost are warnings.
            last.of_table.drain().for_each(|(_, key)| self.update(&key, |state| state.tables -= 1));
            last.hold.clear();
            last.bytes = 0;
            if !last.make_room(bytes) {
                return;
            }
        }
        last.bytes += bytes;
        self.update(key, |state| state.tables += 1);
        last.of_table.insert(table.clone(), key.clone());
    }

    fn states(&self) -> MutexGuard<'_, HashMap<ObjectKey, KeyState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. The error is the table that is writing this key now.
    fn open(self: &Arc<Self>, key: &ObjectKey, table: &Arc<str>) -> Result<(OpenKey, KeyTurn), Arc<str>> {
        let mut states = self.states();
        let state = states.entry(key.clone()).or_default();
        if let Some(other) = &state.open {
            return Err(other.clone());
        }
        state.open = Some(table.clone());
        state.unsettled += 1;
        let settled = CancellationToken::new();
        let before = state.last.replace(settled.clone());
        let open = OpenKey { keys: self.clone(), key: key.clone() };
        Ok((open, KeyTurn { keys: self.clone(), key: key.clone(), before, settled }))
    }

    fn update(&self, key: &ObjectKey, change: impl FnOnce(&mut KeyState)) {
        let mut states = self.states();
        let Some(state) = states.get_mut(key) else { return };
        change(state);
        if state.unsettled == 0 {
            state.last = None;
            if state.open.is_none() && state.tables == 0 {
                states.remove(key);
            }
        }
    }
}

impl Drop for OpenKey {
    fn drop(&mut self) {
        self.keys.update(&self.key, |state| state.open = None);
    }
}

impl KeyTurn {
    /// Waits until the upload before this one is settled.
    async fn wait(&self) {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
    }

    /// The object is there. Answers how many rows the one it replaced had.
    fn confirmed(&self, table: &Arc<str>, rows: u64) -> Option<u64> {
        let replaced = self.keys.states().get_mut(&self.key)?.confirmed.replace(rows);
        if self.keys.remember {
            self.keys.remember(table, &self.key);
        }
        replaced
    }
}

impl Drop for KeyTurn {
    fn drop(&mut self) {
        self.settled.cancel();
        self.keys.update(&self.key, |state| state.unsettled -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::resources::Resources;
    use std::num::NonZeroU32;

    fn keys(remember: bool) -> (Arc<Keys>, ObjectKey, Arc<str>) {
        (Arc::new(Keys::new(remember, MemoryHold::default())), ObjectKey::parse("k").unwrap(), "t".into())
    }

    #[test]
    fn a_key_has_one_writer_at_a_time() {
        let (keys, key, table) = keys(true);
        let (open, turn) = keys.open(&key, &table).unwrap();
        assert_eq!(&*keys.open(&key, &"u".into()).unwrap_err(), "t");
        drop(open);
        assert!(keys.open(&key, &"u".into()).is_ok(), "handed over, though not settled");
        drop(turn);
    }

    #[tokio::test]
    async fn an_upload_waits_for_the_one_before() {
        let (keys, key, table) = keys(true);
        let (open, first) = keys.open(&key, &table).unwrap();
        drop(open);
        let (_open, second) = keys.open(&key, &table).unwrap();
        let waiting = tokio::spawn(async move {
            second.wait().await;
            second
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(first.confirmed(&table, 3), None);
        drop(first);
        assert_eq!(waiting.await.unwrap().confirmed(&table, 4), Some(3), "the replaced object's rows");
    }

    #[test]
    fn keys_are_forgotten_unless_they_may_repeat() {
        for remember in [false, true] {
            let (keys, key, table) = keys(remember);
            let (open, turn) = keys.open(&key, &table).unwrap();
            drop(open);
            turn.confirmed(&table, 1);
            drop(turn);
            assert_eq!(keys.states().len(), usize::from(remember));
        }
    }

    #[test]
    fn keys_are_remembered_as_far_as_there_is_memory() {
        let budget = Resources::new(NonZeroU32::MIN, Some(2_000)).budget;
        let keys = Arc::new(Keys::new(true, budget.hold()));
        let confirm = |table: &str, key: &str| {
            let (open, turn) = keys.open(&ObjectKey::parse(key).unwrap(), &table.into()).unwrap();
            drop(open);
            turn.confirmed(&table.into(), 1)
        };
        for table in 0..1_000 {
            confirm(&format!("table{table}"), &format!("key{table}"));
            assert!(budget.used_bytes() <= 2_000 && keys.states().len() <= 7);
        }
        assert_eq!(confirm("table999", "key999"), Some(1), "the last is known");
        // Another key of one table takes no more.
        let before = budget.used_bytes();
        for number in 0..100 {
            assert_eq!(confirm("table999", &format!("key{number:03}")), None);
        }
        assert_eq!(budget.used_bytes(), before);
        // One that there is never room for is forgotten, with all others.
        assert_eq!(confirm("table999", &"k".repeat(1_023)), None);
        confirm(&"t".repeat(1_900), "key");
        assert_eq!((budget.used_bytes(), keys.states().len()), (0, 0));
    }

    /// Without a limit of rows a key with a UUID looks like one that may come again.
    #[test]
    fn one_key_a_table_is_remembered() {
        let (keys, key, table) = keys(true);
        let confirm = |key: &ObjectKey, table: &Arc<str>| {
            let (open, turn) = keys.open(key, table).unwrap();
            drop(open);
            turn.confirmed(table, 1)
        };
        for number in 0..100 {
            assert_eq!(confirm(&ObjectKey::parse(&format!("t/{number}")).unwrap(), &table), None);
        }
        assert_eq!(keys.states().len(), 1);
        // Two tables may share a key; it is known for as long as it is the last of one.
        let other: Arc<str> = "u".into();
        assert_eq!((confirm(&key, &table), confirm(&key, &other)), (None, Some(1)));
        assert_eq!((confirm(&ObjectKey::parse("t/100").unwrap(), &table), confirm(&key, &other)), (None, Some(1)));
        assert_eq!(keys.states().len(), 2);
        for number in 0..MAX_TABLES {
            confirm(&key, &format!("t{number}").into());
        }
        assert!(keys.states().len() <= 2 && keys.last.lock().unwrap().of_table.len() <= MAX_TABLES);
    }
}
