//! The task that brings one object home: it follows the commands of an upload, awaits the store, writes the receipt, and owes the abort.

use super::context::UploadContext;
use super::deferred::{DeferredObject, PendingObject};
use super::in_flight::InFlightBytes;
use super::keys::KeyTurn;
use super::ledger::{Content, Failure, FailureClass, Ledger, Receipt, TABLES, Unsettled};
use super::watch::ObjectWatch;
use crate::limits::{CREATION_LIMIT, PART_BYTES};
use crate::payload::body::Payload;
use crate::policy::authorize::Authorized;
use crate::policy::metrics::RetryCounts;
use crate::policy::quota::Reservation;
use crate::policy::resources::MemoryHold;
use crate::policy::tenant_log::Line;
use crate::storage::object::{ObjectKey, PutObject};
use crate::storage::target::ObjectFacts;
use crate::store::answer::{Part, StoreError, StoreErrorKind, Stored};
use crate::store::retries;
use crate::store::traits::Multipart;
use async_trait::async_trait;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

/// What is said of a store that is no longer waited for.
const NO_ANSWER: &str = "the store has not answered in time";

/// An upload that is being begun.
type Creating = Pin<Box<dyn Future<Output = Result<Arc<dyn Multipart>, StoreError>> + Send>>;

/// What a job is made of.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) put: Authorized<PutObject>,
    pub(super) partition: Vec<(String, Option<String>)>,
    pub(super) content: Content,
    pub(super) table: Arc<str>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) turn: KeyTurn,
    pub(super) reservation: Option<Arc<Reservation>>,
    /// Who hears of the object. It comes before what follows: the write may end as soon as that is dropped.
    pub(super) watch: Option<Arc<ObjectWatch>>,
    /// Until the object is confirmed, has failed, or waits for the commit.
    pub(super) unsettled: Option<Unsettled>,
}

/// What a handle tells its job; the end of the channel means: abort.
#[derive(Debug)]
pub(super) enum Command {
    /// A full part.
    Part(Payload, InFlightBytes),
    /// The rest, and what the object holds. What the job itself takes is on its way until it ends.
    Finish { payload: Payload, share: InFlightBytes, job: InFlightBytes, facts: ObjectFacts },
}

/// How an object is finished.
enum Finished {
    /// The store has confirmed it.
    Stored(Done),
    /// All of it is at the store, and the last request is for the commit to send.
    Waiting(Box<Waiting>),
}

/// An upload with all its parts.
struct Waiting {
    upload: Arc<dyn Multipart>,
    parts: Vec<Part>,
    bytes: u64,
    facts: ObjectFacts,
    /// What the parts take of the tenant's memory.
    books: MemoryHold,
}

/// The task that brings one object home.
pub(super) struct Job {
    pub(super) uploads: Arc<UploadContext>,
    pub(super) start: Start,
    pub(super) failed: Arc<OnceLock<StoreErrorKind>>,
}

/// A finished object, confirmed.
struct Done {
    stored: Stored,
    bytes: u64,
    facts: ObjectFacts,
    /// Until it is written down that the object has landed.
    _job: Option<InFlightBytes>,
}

impl Job {
    pub(super) async fn run(self, inbox: mpsc::UnboundedReceiver<Command>) {
        let counts = self.retries();
        retries::counted(counts, self.follow(inbox)).await;
    }

    /// The requests that are tried again for the object.
    fn retries(&self) -> Arc<RetryCounts> {
        self.start.watch.as_ref().map(|watch| watch.retries.clone()).unwrap_or_default()
    }

    async fn follow(self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        // A late retry of an earlier object of this key must not overtake newer rows.
        self.start.turn.wait().await;
        let mut unfinished = None;
        match self.drive(&mut inbox, &mut unfinished).await {
            Ok(Some(Finished::Stored(done))) => self.confirm(done).await,
            Ok(Some(Finished::Waiting(waiting))) => return self.defer(*waiting, unfinished),
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
        // An abort may take long: the table has failed before, and what was queued has given its bytes back.
        drop(inbox);
        if let Some(mut upload) = unfinished {
            tokio::select! {
                biased;
                // Dropped with its duty, which it then does by itself.
                () = self.uploads.left.cancelled() => {}
                () = upload.abort() => {}
            }
        }
    }

    /// Follows the commands; `None` if the object was given up. What is to be aborted is left in `unfinished`.
    async fn drive(
        &self,
        inbox: &mut mpsc::UnboundedReceiver<Command>,
        unfinished: &mut Option<AbortGuard>,
    ) -> Result<Option<Finished>, StoreError> {
        match inbox.recv().await {
            None => Ok(None),
            // Even the smallest object is an upload where nothing may be seen yet.
            Some(Command::Finish { payload, share, job, facts }) if self.uploads.deferred.is_some() => {
                let upload = self.begin(unfinished).await?;
                let bytes = payload.length();
                let part = self.uploads.unless_halted(send_part(self.uploads.clone(), upload.clone(), 1, payload, share)).await?;
                drop(job);
                let mut books = self.uploads.books.another();
                account_for(&mut books, &part)?;
                Ok(Some(Finished::Waiting(Box::new(Waiting { upload, parts: vec![part], bytes, facts, books }))))
            }
            Some(Command::Finish { payload, share: _share, job, facts }) => {
                let bytes = payload.length();
                // Boxed, here and below: what a request needs is large, and most jobs wait.
                let put = async {
                    let _request = self.uploads.request().await;
                    Box::pin(self.uploads.timed(self.uploads.store.put(&self.start.put, payload))).await
                };
                let stored = self.uploads.unless_halted(put).await?;
                Ok(Some(Finished::Stored(Done { stored, bytes, facts, _job: Some(job) })))
            }
            Some(Command::Part(payload, share)) => {
                let upload = self.begin(unfinished).await?;
                let finished = Box::pin(self.uploads.unless_halted(self.drive_parts(&upload, (payload, share), inbox))).await;
                if matches!(finished, Ok(Some(Finished::Stored(_))))
                    && let Some(mut completed) = unfinished.take()
                {
                    completed.disarm();
                }
                finished
            }
        }
    }

    /// Begins an upload, which from here on is to be completed or aborted.
    async fn begin(&self, unfinished: &mut Option<AbortGuard>) -> Result<Arc<dyn Multipart>, StoreError> {
        // What is not sent yet is not waited for.
        let _request = self.uploads.unless_halted(async { Ok(self.uploads.request().await) }).await?;
        let (uploads, put) = (self.uploads.clone(), self.start.put.clone());
        let mut creating: Creating = Box::pin(async move { uploads.store.create(&put).await });
        tokio::select! {
            biased;
            () = self.uploads.halt.cancelled() => {
                *unfinished = self.created_late(creating).await;
                Err(self.uploads.halted())
            }
            created = &mut creating => {
                let upload = created?;
                *unfinished = Some(AbortGuard::new(upload.clone(), self));
                Ok(upload)
            }
        }
    }

    /// Waits for an upload that is begun though nobody wants it any more: without the answer, which has its id, it cannot be aborted.
    async fn created_late(&self, mut creating: Creating) -> Option<AbortGuard> {
        tokio::select! {
            biased;
            () = self.uploads.left.cancelled() => {}
            created = timeout(CREATION_LIMIT, &mut creating) => {
                if created.is_err() {
                    not_answered(&self.uploads, &self.start.put.get().key, NO_ANSWER);
                }
                return Some(AbortGuard::new(created.ok()?.ok()?, self));
            }
        }
        // Nobody waits for this job either.
        let (uploads, key) = (self.uploads.clone(), self.start.put.get().key.clone());
        let aborting = {
            let (uploads, key) = (uploads.clone(), key.clone());
            async move {
                if let Ok(upload) = creating.await {
                    abort(&uploads, &*upload, &key).await;
                }
            }
        };
        self.uploads.in_background(aborting, move |why| not_answered(&uploads, &key, why));
        None
    }

    /// The object waits for the commit; the write need not wait for the object.
    fn defer(mut self, waiting: Waiting, unfinished: Option<AbortGuard>) {
        let uploads = self.uploads.clone();
        let settled = self.start.unsettled.take();
        if let (Some(deferred), Some(guard)) = (&uploads.deferred, unfinished) {
            let Waiting { upload, parts, bytes, facts, books } = waiting;
            deferred.add(Box::new(WaitingJob { job: self, upload, parts, bytes, facts, guard, _books: books }));
        }
        drop(settled);
    }

    /// The store's words are the cause, so they (or what a tenant hears of them) are in the books before the guest hears of the failure and tells of it in its own.
    fn fail(&self, error: StoreError) {
        if let (StoreErrorKind::Unknown, Some(reservation)) = (error.kind, &self.start.reservation) {
            // It may be there, so it counts.
            reservation.landed();
        }
        let kind = error.kind;
        let words = self.uploads.failure_text(error);
        if let Some(watch) = &self.start.watch {
            watch.failed(&words);
        }
        self.start.ledger.fail(&self.start.table, Failure::new(FailureClass::Storage, words));
        let _ = self.failed.set(kind);
    }

    async fn drive_parts(
        &self,
        upload: &Arc<dyn Multipart>,
        first: (Payload, InFlightBytes),
        inbox: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<Option<Finished>, StoreError> {
        let mut sending = JoinSet::new();
        let (mut parts, mut bytes, mut count) = (Vec::new(), 0, 0);
        let mut send = |sending: &mut JoinSet<_>, payload: Payload, share: InFlightBytes| {
            count += 1;
            bytes += payload.length();
            let part = send_part(self.uploads.clone(), upload.clone(), count, payload, share);
            let part = retries::counted(self.retries(), part).in_current_span();
            match &self.uploads.meter {
                Some(meter) => sending.spawn(meter.metered(part)),
                None => sending.spawn(part),
            };
        };
        send(&mut sending, first.0, first.1);
        let (mut finished, mut _job) = (None, None);
        let mut books = self.uploads.books.another();
        // Ends when the handle has finished or given up, and every part has been answered; at the first failure at once.
        let outcome = loop {
            tokio::select! {
                command = inbox.recv(), if finished.is_none() => match command {
                    Some(Command::Part(payload, share)) => send(&mut sending, payload, share),
                    Some(Command::Finish { payload, share, job, facts }) => {
                        (finished, _job) = (Some(facts), Some(job));
                        if payload.length() > 0 {
                            send(&mut sending, payload, share);
                        }
                    }
                    None => break Ok(None),
                },
                Some(sent) = sending.join_next() => match sent {
                    Ok(Ok(part)) => {
                        if let Err(error) = account_for(&mut books, &part) {
                            break Err(error);
                        }
                        parts.push(part);
                    }
                    Ok(Err(error)) => break Err(error),
                    Err(panic) => break Err(StoreError { kind: StoreErrorKind::Unknown, message: format!("sending a part failed: {panic}") }),
                },
                else => break Ok(finished),
            }
        };
        // Parts on their way are cut off, so that none lands after the abort.
        sending.shutdown().await;
        let Some(facts) = outcome? else { return Ok(None) };
        parts.sort_unstable_by_key(|part: &Part| part.number);
        if self.uploads.deferred.is_some() {
            return Ok(Some(Finished::Waiting(Box::new(Waiting { upload: upload.clone(), parts, bytes, facts, books }))));
        }
        let _request = self.uploads.request().await;
        let stored = upload.complete(parts, bytes).await?;
        Ok(Some(Finished::Stored(Done { stored, bytes, facts, _job })))
    }

    async fn confirm(&self, done: Done) {
        let Start { put, partition, content, table, ledger, turn, reservation, watch, .. } = &self.start;
        let rows = done.facts.rows;
        let key = put.get().key.clone();
        if let Some(reservation) = reservation {
            reservation.landed();
        }
        self.uploads.policy.audit_object(key.as_str(), done.bytes, rows, self.uploads.halt.cancelled()).await;
        let owner = self.uploads.tenant().map(|tenant| &**tenant);
        match (watch, content) {
            (Some(watch), Content::Data) => watch.stored(rows, done.bytes, &done.stored.etag, done.stored.was_there),
            (Some(watch), Content::Quarantine) => watch.quarantined(rows),
            (None, _) => {}
        }
        if let Some(replaced) = turn.confirmed(table, rows)
            && replaced > 0
            && let Some(Line { tenant, more }) = Line::notable(owner)
        {
            let (table, key) = (&**table, key.as_str());
            tracing::warn!(tenant, more, table, key, rows = replaced, "An object written earlier in this sync was overwritten.");
        }
        if *content == Content::Quarantine {
            if let Some(tenant) = owner {
                tenant.metrics.set_aside(rows);
            }
            if let Some(Line { tenant, more }) = Line::notable(owner) {
                let (table, key) = (&**table, key.as_str());
                tracing::warn!(target: TABLES, tenant, more, table, key, rows, "Rows that could not be written are in quarantine.");
            }
        }
        let Stored { etag, checksum, was_there } = done.stored;
        let (table_name, partition, facts) = (table.to_string(), partition.clone(), done.facts);
        let receipt = Receipt { table: table_name, key, bytes: done.bytes, rows, etag, checksum, was_there, partition, facts };
        ledger.confirm(table, receipt, *content);
    }
}

/// A job whose object waits for the commit.
struct WaitingJob {
    job: Job,
    upload: Arc<dyn Multipart>,
    parts: Vec<Part>,
    bytes: u64,
    facts: ObjectFacts,
    guard: AbortGuard,
    _books: MemoryHold,
}

#[async_trait]
impl DeferredObject for WaitingJob {
    fn table(&self) -> &Arc<str> {
        &self.job.start.table
    }

    fn key(&self) -> &ObjectKey {
        &self.job.start.put.get().key
    }

    fn record(&self) -> PendingObject {
        let put = self.job.start.put.get();
        PendingObject {
            key: put.key.as_str().to_owned(),
            content_type: put.content_type.as_str().to_owned(),
            content_encoding: put.content_encoding.map(|encoding| encoding.name().to_owned()),
            upload: self.upload.handle(),
            parts: self.parts.clone(),
            bytes: self.bytes,
            partition: self.job.start.partition.clone(),
            is_quarantine: self.job.start.content == Content::Quarantine,
            facts: self.facts.clone(),
        }
    }

    async fn complete(self: Box<Self>) {
        let Self { job, upload, parts, bytes, facts, mut guard, _books } = *self;
        let request = async {
            let _request = job.uploads.request().await;
            upload.complete(parts, bytes).await
        };
        let completed = retries::counted(job.retries(), job.uploads.unless_halted(request)).await;
        // Where that is not certain, it is there, or can be completed from the record: an abort would lose it.
        guard.disarm();
        match completed {
            Ok(stored) => job.confirm(Done { stored, bytes, facts, _job: None }).await,
            Err(error) => job.fail(error),
        }
    }

    async fn abort(mut self: Box<Self>) {
        self.guard.abort().await;
    }
}

/// Takes what a part needs of the tenant's memory.
fn account_for(books: &mut MemoryHold, part: &Part) -> Result<(), StoreError> {
    let taken = books.grow_for("another part of an upload", PART_BYTES + part.named_bytes());
    taken.map_err(|denied| StoreError { kind: StoreErrorKind::Quota, message: denied.message })
}

async fn send_part(
    uploads: Arc<UploadContext>,
    upload: Arc<dyn Multipart>,
    number: u32,
    payload: Payload,
    share: InFlightBytes,
) -> Result<Part, StoreError> {
    let _request = uploads.request().await;
    let part = uploads.timed(upload.put_part(number, payload)).await;
    drop(share);
    part
}

/// The duty to abort a multipart upload; it travels with the task, and survives its panic.
struct AbortGuard {
    upload: Arc<dyn Multipart>,
    key: ObjectKey,
    uploads: Arc<UploadContext>,
    armed: bool,
}

impl AbortGuard {
    fn new(upload: Arc<dyn Multipart>, job: &Job) -> Self {
        Self { upload, key: job.start.put.get().key.clone(), uploads: job.uploads.clone(), armed: true }
    }

    fn disarm(&mut self) {
        self.armed = false;
    }

    /// Does it; if this is dropped on the way, it is done anew.
    async fn abort(&mut self) {
        abort(&self.uploads, &*self.upload, &self.key).await;
        self.disarm();
    }
}

impl Drop for AbortGuard {
    fn drop(&mut self) {
        if self.armed {
            let (uploads, upload, key) = (self.uploads.clone(), self.upload.clone(), self.key.clone());
            let aborting = {
                let (uploads, upload, key) = (uploads.clone(), upload.clone(), key.clone());
                async move { abort(&uploads, &*upload, &key).await }
            };
            self.uploads.in_background(aborting, move |why| not_aborted(&uploads, &*upload, &key, why));
        }
    }
}

async fn abort(uploads: &UploadContext, upload: &dyn Multipart, key: &ObjectKey) {
    let _request = uploads.request().await;
    if let Err(error) = Box::pin(upload.abort()).await {
        not_aborted(uploads, upload, key, &error.message);
    }
}

fn not_aborted(uploads: &UploadContext, upload: &dyn Multipart, key: &ObjectKey, error: &str) {
    let Some(Line { tenant, more }) = Line::notable(uploads.tenant().map(|tenant| &**tenant)) else { return };
    let (key, upload) = (key.as_str(), upload.handle().id);
    tracing::warn!(
        tenant,
        more,
        key,
        upload,
        error,
        "An unfinished upload could not be aborted; a lifecycle rule of the bucket will remove it."
    );
}

fn not_answered(uploads: &UploadContext, key: &ObjectKey, why: &str) {
    let Some(Line { tenant, more }) = Line::notable(uploads.tenant().map(|tenant| &**tenant)) else { return };
    let key = key.as_str();
    tracing::warn!(
        tenant,
        more,
        key,
        why,
        "It is not known whether an upload was begun. It may be left behind, empty; a lifecycle rule of the bucket will remove it."
    );
}
