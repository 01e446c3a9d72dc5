//! One object on its way: collects the guest's bytes, cuts parts, and hands them to the store.
//!
//! An [`Upload`] is the guest's handle. What has been cut belongs to a *job*, a task on the I/O threads that outlives the handle. Dropping the
//! handle unfinished ends the job's channel, and the job aborts.

use super::context::{GIVEN_UP, UploadContext, still_wanted};
use super::job::{Command, Job, Start};
use super::keys::OpenKey;
use super::ledger::{Call, Content, Failure, FailureClass, Ledger};
use super::staging::StagedPart;
use super::watch::{ObjectWatch, Rotation};
use crate::cpu::scheduler::spawn_metered;
use crate::limits::{JOB_BYTES, OPEN_OBJECT_BYTES};
use crate::policy::denied::Denied;
use crate::policy::quota::{OpenObject, Reservation};
use crate::policy::resources::MemoryHold;
use crate::policy::tenant_log::Line;
use crate::storage::object::{ObjectKey, PutObject};
use crate::storage::target::{ObjectAttributes, ObjectFacts, PutError};
use crate::store::answer::StoreErrorKind;
use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// A `migrate-table` or `insert` that is running.
#[derive(Debug)]
pub(crate) struct TableCall {
    pub(crate) table: Arc<str>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) call: Call,
}

/// The host's side of the guest's `upload` resource.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Upload {
    uploads: Arc<UploadContext>,
    key: ObjectKey,
    staged: StagedPart,
    failed: Arc<OnceLock<StoreErrorKind>>,
    /// A tenant's; the job has the other end.
    reservation: Option<Arc<Reservation>>,
    /// Before the state: once that is dropped, the write may end.
    watch: Option<Arc<ObjectWatch>>,
    state: State,
    parts: u32,
    bytes: u64,
    _open: OpenKey,
    _open_object: Option<OpenObject>,
    _books: MemoryHold,
}

/// Has anything been handed to a job?
#[derive(Debug)]
enum State {
    /// Not yet: the object may still become one put.
    Small(Start),
    /// The job has the first part.
    Running(mpsc::UnboundedSender<Command>, Arc<str>, Arc<Ledger>, Content),
    /// Only while the state changes.
    Moving,
}

impl Upload {
    /// Checks and authorises what the guest asked for.
    ///
    /// # Errors
    /// `invalid`: no good key, content type or content encoding, or the key is being written. `denied`: the policy. The table has then failed.
    pub(crate) fn open(
        uploads: &Arc<UploadContext>,
        attributes: &ObjectAttributes,
        call: &TableCall,
        lane: usize,
    ) -> Result<Self, PutError> {
        let TableCall { table, ledger, call } = call;
        let refuse = |class, error: PutError| {
            ledger.fail(table, Failure::new(class, error.message()));
            error
        };
        if let Some(problem) = attributes.problem() {
            return Err(refuse(FailureClass::Unexpected, PutError::Invalid(problem)));
        }
        let request = PutObject::parse(&attributes.key, &attributes.content_type);
        let request = request.and_then(|request| request.encoded(attributes.content_encoding.as_deref()));
        let mut request = request.map_err(|error| refuse(FailureClass::Data, PutError::Invalid(error.0)))?;
        request.if_exists = uploads.if_exists;
        let request = uploads.headers.on_put(request, table).map_err(|message| refuse(FailureClass::Data, PutError::Invalid(message)))?;
        let key = request.key.clone();
        let deny = |denied: Denied| {
            uploads.policy.audit_denial(&denied, Some(key.as_str()));
            refuse(FailureClass::Denied, PutError::Denied(denied.message))
        };
        let put = uploads.policy.authorize(request).map_err(deny)?;
        let quota = uploads.policy.tenant().map(|tenant| &tenant.quota);
        let open_object = quota.map(|quota| quota.open()).transpose().map_err(deny)?;
        let reservation = quota.map(|quota| quota.reserve()).transpose().map_err(deny)?.map(Arc::new);
        let mut books = uploads.books.another();
        books.grow_for("another open object", OPEN_OBJECT_BYTES).map_err(deny)?;
        let (open, turn) = uploads
            .keys
            .open(&put.get().key, table)
            .map_err(|taken| refuse(FailureClass::Data, PutError::Invalid(format!("the key {:?} {taken}", put.get().key.as_str()))))?;
        let unsettled = ledger.begin_upload(table, *call);
        let watch = ledger.watch().map(|watch| watch.object(table, &key));
        if let Some(Line { tenant, more }) = Line::detail(uploads.tenant().map(|tenant| &**tenant)) {
            tracing::debug!(lane, tenant, more, table = &**table, key = put.get().key.as_str(), "An object is opened.");
        }
        Ok(Self {
            uploads: uploads.clone(),
            key,
            staged: uploads.staging.part(),
            failed: Arc::default(),
            reservation: reservation.clone(),
            watch: watch.clone(),
            state: State::Small(Start {
                put,
                partition: attributes.partition.clone(),
                content: if attributes.is_quarantine { Content::Quarantine } else { Content::Data },
                table: table.clone(),
                ledger: ledger.clone(),
                turn,
                reservation,
                watch,
                unsettled: Some(unsettled),
            }),
            _open: open,
            _open_object: open_object,
            _books: books,
            parts: 0,
            bytes: 0,
        })
    }

    /// Appends bytes; waits while too many are on their way.
    ///
    /// # Errors
    /// `quota`: no room, or too many parts. Else as the store answered an earlier part.
    pub(crate) async fn write(&mut self, mut chunk: Bytes) -> Result<(), PutError> {
        let bytes = chunk.len() as u64;
        self.check()?;
        self.check_grant(bytes)?;
        while !chunk.is_empty() {
            let Some(part_bytes) = self.uploads.store.part_bytes(self.parts + 1) else {
                return Err(self.refuse(FailureClass::Storage, PutError::Quota(self.uploads.store.too_many_parts(self.bytes))));
            };
            let room = part_bytes.saturating_sub(self.staged.bytes());
            if room == 0 {
                self.cut_part();
                continue;
            }
            let piece = chunk.split_to(chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.bytes += piece.len() as u64;
            self.staged.append(piece);
            if let Err(full) = self.uploads.balance().await {
                return Err(self.refuse(FailureClass::Storage, PutError::Quota(self.uploads.staging_failure(full))));
            }
        }
        let (_, ledger) = self.account();
        tokio::select! {
            biased;
            () = ledger.given_up() => return Err(PutError::Unavailable(GIVEN_UP.to_owned())),
            () = self.uploads.wait_for_capacity(bytes) => {}
        }
        self.check()
    }

    /// What the tenant's grant says of so many bytes more.
    fn check_grant(&self, more: u64) -> Result<(), PutError> {
        let policy = &self.uploads.policy;
        let Some(tenant) = policy.tenant() else { return Ok(()) };
        let granted = tenant.grant.check_size(self.bytes.saturating_add(more));
        let granted = granted.and_then(|()| self.reservation.as_ref().map_or(Ok(()), |reservation| reservation.grow(more)));
        granted.map_err(|denied| {
            policy.audit_denial(&denied, Some(self.key.as_str()));
            self.refuse(FailureClass::Denied, PutError::Quota(denied.message))
        })
    }

    /// Says why the object ends, if that is known.
    pub(crate) fn ends(&self, why: Option<Rotation>) {
        if let Some((watch, why)) = self.watch.as_ref().zip(why) {
            watch.ends(why);
        }
    }

    /// Hands the object over to the store. Does not wait.
    ///
    /// # Errors
    /// The claim is refused, a part has failed already, or nobody wants the object any more: encoders with nothing left to write would not
    /// hear of that otherwise.
    pub(crate) fn finish(mut self, facts: ObjectFacts) -> Result<(), PutError> {
        self.check()?;
        if let Some(problem) = facts.problem() {
            return Err(self.refuse(FailureClass::Unexpected, PutError::Invalid(problem)));
        }
        let (table, ledger) = self.account();
        // Of bad rows there may be too many, which is no fault of the component.
        ledger.claim(&table, facts.rows, self.content()).map_err(|failure| match failure.class {
            FailureClass::Data => PutError::Quota(failure.message),
            _ => PutError::Invalid(failure.message),
        })?;
        let payload = self.staged.take();
        let share = self.uploads.in_flight.take(payload.length());
        // Not before: only a job that is complete comes to its end without the guest.
        let job = self.uploads.in_flight.take(JOB_BYTES);
        self.send(Command::Finish { payload, share, job, facts });
        Ok(())
    }

    /// A part is full and more bytes have come: only now is it sure that one put will not do.
    fn cut_part(&mut self) {
        let payload = self.staged.take();
        let share = self.uploads.in_flight.take(payload.length());
        self.parts += 1;
        self.send(Command::Part(payload, share));
    }

    /// Sends a command to the job, which the first one starts.
    fn send(&mut self, command: Command) {
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Small(start) => {
                let (commands, inbox) = mpsc::unbounded_channel();
                let (table, ledger, content) = (start.table.clone(), start.ledger.clone(), start.content);
                let job = Job { uploads: self.uploads.clone(), start, failed: self.failed.clone() };
                let _runs_by_itself = spawn_metered(&self.uploads.io, self.uploads.meter.as_ref(), job.run(inbox));
                State::Running(commands, table, ledger, content)
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
            State::Running(_, table, ledger, _) => (table.clone(), ledger.clone()),
            State::Moving => unreachable!("the state moves only within `send`"),
        }
    }

    fn content(&self) -> Content {
        match &self.state {
            State::Small(start) => start.content,
            State::Running(.., content) => *content,
            State::Moving => unreachable!("the state moves only within `send`"),
        }
    }

    fn refuse(&self, class: FailureClass, error: PutError) -> PutError {
        let (table, ledger) = self.account();
        ledger.fail(&table, Failure::new(class, error.message()));
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
        StoreErrorKind::Exists => PutError::Rejected("the key has another object".into()),
        StoreErrorKind::Unsupported => PutError::Rejected("the store lacks an ability".into()),
        StoreErrorKind::Quota => PutError::Quota("a limit of the store is reached".into()),
    }
}
