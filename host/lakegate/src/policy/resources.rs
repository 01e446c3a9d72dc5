//! What a tenant, or a single user's session, may use of the machine: processor by weight, memory by the byte.

use super::denied::Denied;
use crate::cpu::scheduler::CpuAccount;
use crate::limits::{LEFT_ABORT_LIMIT, LEFT_ABORTS_AT_ONCE, MAX_LEFT_ABORTS};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// The rule that bounds memory.
const RULE: &str = "budget_bytes";

/// A share of the machine.
#[derive(Debug, Default)]
pub struct Resources {
    /// Its processor time.
    pub account: Arc<CpuAccount>,
    /// Its memory.
    pub budget: Arc<Budget>,
    /// What its sessions have left behind.
    pub aborts: Arc<LeftAborts>,
}

impl Resources {
    /// A share of this weight with so many bytes; [`None`] is no bound.
    pub fn new(weight: NonZeroU32, budget_bytes: Option<u64>) -> Self {
        let budget = Budget { limit_bytes: budget_bytes, used_bytes: AtomicU64::new(0) };
        Self { account: Arc::new(CpuAccount::new(weight)), budget: Arc::new(budget), aborts: Arc::default() }
    }
}

/// Uploads that are to be aborted and that no session waits for: so many at once, so many in all, and each for so long.
#[derive(Debug)]
pub struct LeftAborts {
    turns: Semaphore,
    tasks: TaskTracker,
}

impl Default for LeftAborts {
    fn default() -> Self {
        Self { turns: Semaphore::new(LEFT_ABORTS_AT_ONCE), tasks: TaskTracker::new() }
    }
}

impl LeftAborts {
    /// Does `abort` in a task of its own, or says why not.
    pub(crate) fn run(
        self: &Arc<Self>,
        io: &tokio::runtime::Handle,
        abort: impl Future<Output = ()> + Send + 'static,
        refuse: impl FnOnce(&str) + Send + 'static,
    ) {
        if self.tasks.len() >= MAX_LEFT_ABORTS {
            return refuse("too many wait for the store already");
        }
        let this = self.clone();
        io.spawn(self.tasks.track_future(async move {
            let in_turn = async {
                let _turn = this.turns.acquire().await;
                abort.await;
            };
            if tokio::time::timeout(LEFT_ABORT_LIMIT, in_turn).await.is_err() {
                refuse("the store has not answered in time");
            }
        }));
    }

    /// Waits until there are none.
    pub async fn over(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Memory over all sessions of a tenant: of guests, and what the host may hold for them.
#[derive(Debug, Default)]
pub struct Budget {
    limit_bytes: Option<u64>,
    used_bytes: AtomicU64,
}

impl Budget {
    /// Bytes taken.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The bound, if there is one.
    pub fn limit_bytes(&self) -> Option<u64> {
        self.limit_bytes
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|after| self.limit_bytes.is_none_or(|limit| *after <= limit));
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// An empty hold.
    pub(crate) fn hold(self: &Arc<Self>) -> MemoryHold {
        MemoryHold { budget: self.clone(), bytes: 0 }
    }

    /// Room for what the host may hold for a session.
    ///
    /// # Errors
    /// `budget_bytes` is reached.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<MemoryHold, Denied> {
        let mut hold = self.hold();
        if hold.grow(bytes) {
            return Ok(hold);
        }
        let text = format!(
            "a session needs {bytes} bytes besides its guests; of {} granted, {} are used",
            self.limit_bytes.unwrap_or(u64::MAX),
            self.used_bytes()
        );
        Err(Denied::new(RULE, text))
    }
}

/// Bytes taken; given back when dropped. The empty one of [`Default`] stands under no bound.
#[derive(Debug, Default)]
pub(crate) struct MemoryHold {
    budget: Arc<Budget>,
    bytes: u64,
}

impl MemoryHold {
    /// Takes more; false, and nothing taken, if there is no room.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Gives some back.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Gives all back.
    pub(crate) fn clear(&mut self) {
        self.shrink(self.bytes);
    }

    /// An empty hold of the same budget.
    pub(crate) fn another(&self) -> Self {
        self.budget.hold()
    }

    /// Takes more for `what`.
    ///
    /// # Errors
    /// `budget_bytes` is reached.
    pub(crate) fn grow_for(&mut self, what: &str, bytes: u64) -> Result<(), Denied> {
        if self.grow(bytes) {
            return Ok(());
        }
        Err(Denied::new(
            RULE,
            format!("{what} needs {bytes} bytes; the {} that the tenant has for all sessions are used", self.limit_bytes()),
        ))
    }

    /// The bound it stands under.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.budget.limit_bytes.unwrap_or(u64::MAX)
    }
}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_and_host_share_one_bound() {
        let budget = Resources::new(NonZeroU32::MIN, Some(100)).budget;
        let session = budget.reserve(60).unwrap();
        let mut guest = budget.hold();
        assert!(guest.grow(40) && !guest.grow(1));
        let denied = budget.reserve(1).unwrap_err();
        assert_eq!(
            (denied.rule, denied.message.as_str()),
            ("budget_bytes", "a session needs 1 bytes besides its guests; of 100 granted, 100 are used")
        );
        drop(session);
        assert!(guest.grow(60));
        drop(guest);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn aborts_that_are_left_are_bounded_in_number_and_time() {
        let (aborts, io) = (Arc::<LeftAborts>::default(), tokio::runtime::Handle::current());
        let (refused, running, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let leave = |silent: bool| {
            let (running, most, refused) = (running.clone(), most.clone(), refused.clone());
            let abort = async move {
                most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                if silent {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                running.fetch_sub(1, Ordering::Relaxed);
            };
            aborts.run(&io, abort, move |_| {
                refused.fetch_add(1, Ordering::Relaxed);
            });
        };
        (0..MAX_LEFT_ABORTS).for_each(|_| leave(false));
        leave(false);
        assert_eq!(refused.load(Ordering::Relaxed), 1, "one too many");
        aborts.over().await;
        assert_eq!((most.load(Ordering::Relaxed), refused.load(Ordering::Relaxed)), (LEFT_ABORTS_AT_ONCE as u64, 1));
        let begun = tokio::time::Instant::now();
        (0..=LEFT_ABORTS_AT_ONCE).for_each(|_| leave(true));
        aborts.over().await;
        assert_eq!(refused.load(Ordering::Relaxed), 2 + LEFT_ABORTS_AT_ONCE as u64);
        assert!(begun.elapsed() < LEFT_ABORT_LIMIT * 2);
    }

    #[test]
    fn what_grows_gives_back_in_part_and_as_a_whole() {
        let budget = Resources::new(NonZeroU32::MIN, Some(100)).budget;
        let mut books = budget.hold();
        assert!(books.grow_for("a table", 90).is_ok());
        let denied = books.another().grow_for("a table", 11).unwrap_err();
        let words = "a table needs 11 bytes; the 100 that the tenant has for all sessions are used";
        assert_eq!((denied.rule, denied.message.as_str(), budget.used_bytes()), ("budget_bytes", words, 90));
        books.shrink(30);
        assert_eq!(budget.used_bytes(), 60);
        // No more than was taken.
        books.shrink(u64::MAX);
        books.clear();
        assert_eq!(budget.used_bytes(), 0);
        assert!(MemoryHold::default().grow(u64::MAX));
    }

    #[test]
    fn without_a_bound_nothing_is_refused_and_nothing_overflows() {
        let budget = Resources::default().budget;
        let mut hold = budget.hold();
        assert!(hold.grow(u64::MAX) && !hold.grow(1));
        drop(hold);
        assert_eq!(budget.used_bytes(), 0);
    }
}
