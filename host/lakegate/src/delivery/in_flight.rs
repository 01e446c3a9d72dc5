//! Bytes on their way: every byte cut as a part, or finished as an object, and not yet confirmed, in memory or spilled. They drain without the
//! guest, so a guest may wait for them without a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The in-flight account of a session.
#[derive(Debug)]
pub(crate) struct InFlight {
    budget_bytes: u64,
    bytes: AtomicU64,
    change: Notify,
}

impl InFlight {
    /// An account of so many bytes.
    pub(crate) fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(Self { budget_bytes, bytes: AtomicU64::new(0), change: Notify::new() })
    }

    /// Bytes on their way.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Takes bytes on. Never waits: who hands bytes over waits afterwards, with [`InFlight::wait_for_capacity`], so that a piece larger than the budget
    /// goes alone and not never.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> InFlightBytes {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        InFlightBytes { account: self.clone(), bytes }
    }

    /// Waits while the account is over its budget. The requests that hold the room have time limits; this wait has none.
    pub(crate) async fn wait_for_capacity(&self) {
        loop {
            let change = self.change.notified();
            if self.bytes() <= self.budget_bytes {
                return;
            }
            change.await;
        }
    }
}

/// Bytes on their way; given back when dropped.
#[derive(Debug)]
pub(crate) struct InFlightBytes {
    account: Arc<InFlight>,
    bytes: u64,
}

impl Drop for InFlightBytes {
    fn drop(&mut self) {
        self.account.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.account.change.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_waits_for_shares_and_a_large_piece_goes_alone() {
        let account = InFlight::new(100);
        let share = account.take(1_000);
        let waiting = tokio::spawn({
            let account = account.clone();
            async move { account.wait_for_capacity().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(share);
        waiting.await.unwrap();
        assert_eq!(account.bytes(), 0);
    }
}
