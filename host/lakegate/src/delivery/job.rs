//! The task that brings one object home: it follows the commands of an upload, awaits the store, writes the receipt, and owes the abort.

use super::context::UploadContext;
use super::in_flight::InFlightBytes;
use super::keys::KeyTurn;
use super::ledger::{Failure, FailureClass, Ledger, Receipt, Unsettled};
use crate::cpu::scheduler::spawn_metered;
use crate::limits::PART_BYTES;
use crate::payload::body::Payload;
use crate::policy::authorize::Authorized;
use crate::policy::quota::Reservation;
use crate::policy::tenant_log::Line;
use crate::storage::object::{ObjectKey, PutObject};
use crate::store::answer::{Part, StoreError, StoreErrorKind, Stored};
use crate::store::traits::Multipart;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What a job is made of.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) put: Authorized<PutObject>,
    pub(super) table: Arc<str>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) turn: KeyTurn,
    pub(super) reservation: Option<Arc<Reservation>>,
    pub(super) _unsettled: Unsettled,
}

/// What a handle tells its job; the end of the channel means: abort.
#[derive(Debug)]
pub(super) enum Command {
    /// A full part.
    Part(Payload, InFlightBytes),
    /// The rest, and how many rows the object holds. What the job itself takes is on its way until it ends.
    Finish { payload: Payload, share: InFlightBytes, job: InFlightBytes, rows: u64 },
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
    rows: u64,
    /// Until it is written down that the object has landed.
    _job: Option<InFlightBytes>,
}

impl Job {
    pub(super) async fn run(self, mut inbox: mpsc::UnboundedReceiver<Command>) {
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
    ) -> Result<Option<Done>, StoreError> {
        match inbox.recv().await {
            None => Ok(None),
            Some(Command::Finish { payload, share: _share, job, rows }) => {
                let bytes = payload.length();
                // Boxed, here and below: what a request needs is large, and most jobs wait.
                let put = async {
                    let _request = self.uploads.request().await;
                    Box::pin(self.uploads.timed(self.uploads.store.put(&self.start.put, payload))).await
                };
                let stored = self.unless_halted(put).await?;
                Ok(Some(Done { stored, bytes, rows, _job: Some(job) }))
            }
            Some(Command::Part(payload, share)) => {
                let create = async {
                    let _request = self.uploads.request().await;
                    Box::pin(self.uploads.store.create(&self.start.put)).await
                };
                let upload = self.unless_halted(create).await?;
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
        self.start.ledger.fail(&self.start.table, Failure::new(FailureClass::Storage, self.uploads.words_of(error)));
        let _ = self.failed.set(kind);
    }

    async fn drive_parts(
        &self,
        upload: &Arc<dyn Multipart>,
        first: (Payload, InFlightBytes),
        inbox: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<Option<Done>, StoreError> {
        let mut sending = JoinSet::new();
        let (mut parts, mut bytes, mut count) = (Vec::new(), 0, 0);
        let mut send = |sending: &mut JoinSet<_>, payload: Payload, share: InFlightBytes| {
            count += 1;
            bytes += payload.length();
            let part = send_part(self.uploads.clone(), upload.clone(), count, payload, share);
            match &self.uploads.meter {
                Some(meter) => sending.spawn(meter.metered(part)),
                None => sending.spawn(part),
            };
        };
        send(&mut sending, first.0, first.1);
        let (mut rows, mut _job) = (None, None);
        let mut books = self.uploads.books.another();
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
        let _request = self.uploads.request().await;
        let stored = upload.complete(parts, bytes).await?;
        Ok(Some(Done { stored, bytes, rows, _job }))
    }

    /// Does `work`, unless there is no time left for it.
    async fn unless_halted<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            () = self.uploads.halt.cancelled() => {
                let who = if self.uploads.is_left() { "client left" } else { "process ended" };
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
        self.uploads.policy.audit_object(key.as_str(), done.bytes, done.rows, self.uploads.halt.cancelled()).await;
        let owner = self.uploads.tenant().map(|tenant| &**tenant);
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
            match self.uploads.tenant() {
                Some(tenant) if self.uploads.is_left() => {
                    let aborting = {
                        let (uploads, upload, key) = (uploads.clone(), upload.clone(), key.clone());
                        async move { abort(&uploads, &*upload, &key).await }
                    };
                    tenant.share.aborts.run(&self.uploads.io, aborting, move |why| not_aborted(&uploads, &*upload, &key, why));
                }
                _ => {
                    let aborting = async move { abort(&uploads, &*upload, &key).await };
                    let _runs_by_itself = spawn_metered(&self.uploads.io, self.uploads.meter.as_ref(), aborting);
                }
            }
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
    let Some(Line { tenant, more }) = Line::of(uploads.tenant().map(|tenant| &**tenant)) else { return };
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
