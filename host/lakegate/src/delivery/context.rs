//! What the uploads of one session share: the policy, the store, and the budgets.

use super::deferred::{Deferred, DeferredObject};
use super::in_flight::InFlight;
use super::keys::{Keys, Repetition};
use super::ledger::{Failure, FailureClass, Ledger};
use super::staging::{NoRoom, Staging};
use crate::cpu::scheduler::{HostMeter, spawn_metered};
use crate::limits::MAX_REQUESTS;
use crate::payload::body::{Payload, Piece};
use crate::policy::authorize::Policy;
use crate::policy::denied::Denied;
use crate::policy::resources::MemoryHold;
use crate::policy::tenant::{RateKind, Tenant};
use crate::storage::headers::TableHeaders;
use crate::storage::object::{IfExists, ObjectKey, PutObject};
use crate::storage::target::PutError;
use crate::store::answer::{ObjectInfo, StoreError, StoreErrorKind, Stored, too_large};
use crate::store::traits::{Store, read_range};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The log line of a store whose message a tenant does not see.
pub(crate) const STORE_FAILED: &str = "A tenant's store failed.";

/// What a guest hears that still writes when nobody wants its objects any more.
pub(super) const GIVEN_UP: &str = "the write was given up";

/// # Errors
/// The write was given up, or the table has failed: its first cause is in the books.
pub(super) fn still_wanted(table: &str, ledger: &Ledger) -> Result<(), PutError> {
    if ledger.is_given_up() {
        Err(PutError::Unavailable(GIVEN_UP.to_owned()))
    } else if ledger.is_stopped(table) {
        Err(PutError::Rejected("the table has failed".to_owned()))
    } else {
        Ok(())
    }
}

/// What holds for all objects of a session.
#[derive(Debug, Clone)]
pub(crate) struct ObjectRules {
    /// Whether keys may come again.
    pub(crate) repetition: Repetition,
    /// What happens to objects that are there.
    pub(crate) if_exists: IfExists,
    /// Whether nothing is seen before the commit.
    pub(crate) deferred: bool,
    /// Headers that name the table of an object.
    pub(crate) headers: TableHeaders,
}

/// Why a record of a commit was not put.
#[derive(Debug)]
pub(crate) enum RecordError {
    /// The key has another object.
    Exists,
    /// Anything else.
    Failed {
        /// For the user.
        failure: Failure,
        /// Of the store's error, or `Denied` where the policy does not allow it.
        kind: StoreErrorKind,
    },
}

/// Bytes that a session holds on the host's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Parts not yet full, in memory.
    pub staged: u64,
    /// The spill file.
    pub spill_file: u64,
    /// Cut or finished, and not yet confirmed.
    pub in_flight: u64,
}

/// The session's one way out: policy, store, and the budgets all lanes share.
#[derive(Debug)]
pub struct UploadContext {
    pub(super) store: Arc<dyn Store>,
    pub(super) policy: Policy,
    pub(super) staging: Arc<Staging>,
    pub(super) in_flight: Arc<InFlight>,
    /// Of the tenant's memory, for what grows with its objects: never grown itself.
    pub(super) books: MemoryHold,
    pub(super) requests: Semaphore,
    pub(super) keys: Arc<Keys>,
    /// What happens to objects that are there.
    pub(super) if_exists: IfExists,
    /// The objects that wait for the commit, where nothing may be seen before it.
    pub(super) deferred: Option<Deferred>,
    /// Headers that name the table of an object.
    pub(super) headers: TableHeaders,
    pub(super) io: tokio::runtime::Handle,
    pub(super) meter: Option<HostMeter>,
    pub(super) halt: CancellationToken,
    pub(super) left: CancellationToken,
}

impl UploadContext {
    /// A way out to `store` under `policy`; jobs run on `io`.
    ///
    /// What grows takes its memory from the budget of `books`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        policy: Policy,
        staging: Arc<Staging>,
        in_flight: Arc<InFlight>,
        rules: ObjectRules,
        books: MemoryHold,
        io: tokio::runtime::Handle,
    ) -> Arc<Self> {
        let ObjectRules { repetition, if_exists, deferred, headers } = rules;
        let keys = Arc::new(Keys::new(repetition, books.another()));
        let requests = Semaphore::new(MAX_REQUESTS);
        let deferred = deferred.then(Deferred::default);
        let meter = policy.tenant().map(|tenant| HostMeter::new(tenant.share.account.clone()));
        let [halt, left] = [(); 2].map(|()| CancellationToken::new());
        Arc::new(Self { store, policy, staging, in_flight, books, requests, keys, if_exists, deferred, headers, io, meter, halt, left })
    }

    /// The process ends: what the store has not confirmed is aborted, finished or not.
    pub(crate) fn halt(&self) {
        self.halt.cancel();
    }

    /// Nobody waits for the session any more: as [`UploadContext::halt`], and what is to be aborted goes on without it.
    pub(crate) fn leave(&self) {
        self.left.cancel();
        self.halt.cancel();
    }

    /// True once nobody waits for the session any more.
    pub(crate) fn is_left(&self) -> bool {
        self.left.is_cancelled()
    }

    /// Brings staged parts under their budget, on the tenant's account.
    pub(super) async fn balance(&self) -> Result<(), NoRoom> {
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
    pub(super) async fn wait_for_capacity(&self, bytes: u64) {
        self.in_flight.wait_for_capacity().await;
        self.pace(RateKind::Bytes, bytes).await;
    }

    pub(super) async fn pace(&self, what: RateKind, amount: u64) {
        if let Some(tenant) = self.tenant() {
            tenant.pace(what, amount).await;
        }
    }

    /// Waits for its turn among the session's requests.
    pub(super) async fn request(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.requests.acquire().await.ok()
    }

    /// Sends a body, and notes how long it took.
    pub(super) async fn timed<T>(&self, put: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = put.await?;
        if let Some(tenant) = self.tenant() {
            tenant.metrics.put(begun.elapsed());
        }
        Ok(done)
    }

    /// The objects that wait for the commit.
    pub(crate) fn take_deferred(&self) -> Vec<Box<dyn DeferredObject>> {
        self.deferred.as_ref().map(Deferred::take).unwrap_or_default()
    }

    /// The put of a record that is a table's, with the headers of that table.
    ///
    /// # Errors
    /// The name of the table makes a header that cannot be.
    pub(crate) fn with_headers(&self, put: PutObject, table: &str) -> Result<PutObject, Failure> {
        self.headers.on_put(put, table).map_err(|message| Failure::new(FailureClass::Data, message))
    }

    /// Puts a record of the commit, on the account of the tenant as any object.
    ///
    /// # Errors
    /// The policy, a quota, or the store.
    pub(crate) async fn put_record(&self, request: PutObject, bytes: Vec<u8>) -> Result<Stored, RecordError> {
        let key = request.key.clone();
        let denied = |denied: Denied| {
            self.policy.audit_denial(&denied, Some(key.as_str()));
            RecordError::Failed { failure: Failure::new(FailureClass::Denied, denied.message), kind: StoreErrorKind::Denied }
        };
        let length = bytes.len() as u64;
        let mut books = self.books.another();
        books.grow_for("a record of the commit", length).map_err(denied)?;
        let put = self.policy.authorize_record(request).map_err(denied)?;
        let reservation = self.tenant().map(|tenant| tenant.quota.reserve()).transpose().map_err(denied)?;
        self.pace(RateKind::Objects, 1).await;
        let body = Payload::new(vec![Piece::Memory(bytes.into())]);
        let sent = async {
            let _request = self.request().await;
            Box::pin(self.timed(self.store.put(&put, body))).await
        };
        match self.unless_halted(sent).await {
            Ok(stored) => {
                if let Some(reservation) = reservation {
                    reservation.landed();
                }
                self.policy.audit_object(key.as_str(), length, 0, self.halt.cancelled()).await;
                Ok(stored)
            }
            Err(error) if error.kind == StoreErrorKind::Exists => Err(RecordError::Exists),
            Err(error) => {
                let kind = error.kind;
                Err(RecordError::Failed { failure: Failure::new(FailureClass::Storage, self.failure_text(error)), kind })
            }
        }
    }

    /// A whole record of at most so many bytes, on the account of the tenant.
    ///
    /// # Errors
    /// The policy or the store.
    pub(crate) async fn read_record(&self, key: ObjectKey, most_bytes: u64) -> Result<Option<Bytes>, StoreError> {
        let denied = |denied: Denied| StoreError { kind: StoreErrorKind::Denied, message: denied.message };
        let key = self.policy.authorize_read(key).map_err(denied)?;
        let _request = self.request().await;
        let read = async {
            let Some(object) = self.store.head(&key).await? else { return Ok(None) };
            let bytes = object.bytes.filter(|bytes| *bytes <= most_bytes).ok_or_else(|| too_large(key.get(), most_bytes))?;
            let mut books = self.books.another();
            books.grow_for("a record of a table", bytes).map_err(denied)?;
            read_range(&*self.store, &key, &object, 0..bytes).await.map(Some)
        };
        self.unless_halted(read).await.map_err(|error| StoreError { kind: error.kind, message: self.failure_text(error) })
    }

    /// What is known of a record of the commit.
    ///
    /// # Errors
    /// The policy or the store.
    pub(crate) async fn head_record(&self, key: ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        let key = self.policy.authorize_read(key).map_err(|denied| StoreError { kind: StoreErrorKind::Denied, message: denied.message })?;
        let _request = self.request().await;
        self.unless_halted(self.store.head(&key)).await
    }

    /// Does `work`, unless there is no time left for it.
    pub(super) async fn unless_halted<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            () = self.halt.cancelled() => Err(self.halted()),
            done = work => done,
        }
    }

    /// Why something is not waited for.
    pub(super) fn halted(&self) -> StoreError {
        let who = if self.is_left() { "client left" } else { "process ended" };
        StoreError { kind: StoreErrorKind::Unavailable, message: format!("the {who} before the store had confirmed the object") }
    }

    /// Does what is left to do for an upload that no job looks after any more; once nobody waits for the session, within the bounds of its tenant,
    /// or `refuse` hears why not.
    pub(super) fn in_background(&self, aborting: impl Future<Output = ()> + Send + 'static, refuse: impl FnOnce(&str) + Send + 'static) {
        match self.tenant() {
            Some(tenant) if self.is_left() => tenant.share.aborts.run(&self.io, aborting, refuse),
            _ => {
                let _runs_by_itself = spawn_metered(&self.io, self.meter.as_ref(), aborting);
            }
        }
    }

    /// Where jobs run.
    pub(crate) fn io(&self) -> &tokio::runtime::Handle {
        &self.io
    }

    /// The words for a failure of the store: a tenant hears the host's, since the store's name the operator's account, role and keys, and
    /// whatever else it likes.
    pub(crate) fn failure_text(&self, error: StoreError) -> String {
        match self.tenant() {
            // What is a limit of ours is in our words.
            Some(tenant) if error.kind != StoreErrorKind::Quota => tenant.refer(error.kind.message(), STORE_FAILED, &error.message),
            _ => error.message,
        }
    }

    /// The words for parts that cannot be kept: the system's are not for a tenant.
    pub(super) fn staging_failure(&self, full: NoRoom) -> String {
        match self.tenant() {
            Some(tenant) if full.is_of_the_system() => {
                tenant.refer("the spill file cannot be used", "A tenant's spill file cannot be used.", &full.0)
            }
            _ => full.0,
        }
    }

    /// Bytes held on the host's side.
    pub(crate) fn held_bytes(&self) -> MemoryUsage {
        MemoryUsage { staged: self.staging.memory_bytes(), spill_file: self.staging.spill_file_bytes(), in_flight: self.in_flight.bytes() }
    }

    /// Waits until another object of the table may begin: while too much is on its way, and until the tenant may have one more.
    ///
    /// # Errors
    /// Nobody wants it any more.
    pub(crate) async fn wait_to_open(&self, table: &str, ledger: &Ledger) -> Result<(), PutError> {
        still_wanted(table, ledger)?;
        let turn = async {
            self.policy.audit_has_room().await;
            self.in_flight.wait_for_capacity().await;
            self.pace(RateKind::Objects, 1).await;
        };
        tokio::select! {
            biased;
            () = ledger.given_up() => Err(PutError::Unavailable(GIVEN_UP.to_owned())),
            () = turn => Ok(()),
        }
    }
}
