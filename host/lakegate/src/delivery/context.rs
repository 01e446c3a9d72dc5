//! What the uploads of one session share: the policy, the store, and the budgets.

use super::in_flight::InFlight;
use super::keys::Keys;
use super::ledger::Ledger;
use super::staging::{NoRoom, Staging};
use crate::cpu::scheduler::HostMeter;
use crate::limits::MAX_REQUESTS;
use crate::policy::authorize::Policy;
use crate::policy::resources::MemoryHold;
use crate::policy::tenant::{RateKind, Tenant};
use crate::storage::target::PutError;
use crate::store::answer::{StoreError, StoreErrorKind};
use crate::store::traits::Store;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What is told of a store whose words a tenant does not hear.
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
    pub(super) io: tokio::runtime::Handle,
    pub(super) meter: Option<HostMeter>,
    pub(super) halt: CancellationToken,
    pub(super) left: CancellationToken,
}

impl UploadContext {
    /// A way out to `store` under `policy`; jobs run on `io`.
    ///
    /// `keys_repeat`: keys may come again within the session, so those confirmed are remembered. What grows takes its memory from the budget
    /// of `books`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
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
        Arc::new(Self { store, policy, staging, in_flight, books, requests, keys, io, meter, halt, left })
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

    /// Where jobs run.
    pub(crate) fn io(&self) -> &tokio::runtime::Handle {
        &self.io
    }

    /// The words for a failure of the store: a tenant hears the host's, since the store's name the operator's account, role and keys, and
    /// whatever else it likes.
    pub(super) fn words_of(&self, error: StoreError) -> String {
        match self.tenant() {
            // What is a limit of ours is in our words.
            Some(tenant) if error.kind != StoreErrorKind::Quota => tenant.refer(error.kind.words(), STORE_FAILED, &error.message),
            _ => error.message,
        }
    }

    /// The words for parts that cannot be kept: the system's are not for a tenant.
    pub(super) fn words_of_staging(&self, full: NoRoom) -> String {
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
