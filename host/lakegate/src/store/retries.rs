//! Requests that were tried again on behalf of one object. A store counts all of its own; whose work a request is, the task knows that waits for it.

use crate::policy::metrics::{RetryCause, RetryCounts};
use std::sync::Arc;

tokio::task_local! {
    static OF_OBJECT: Arc<RetryCounts>;
}

/// Does `work`, whose requests to the store are one object's.
pub(crate) async fn counted<T>(counts: Arc<RetryCounts>, work: impl Future<Output = T>) -> T {
    OF_OBJECT.scope(counts, work).await
}

/// A request is tried again.
pub(crate) fn count(cause: RetryCause) {
    // Not every request is an object's: probes and records are not.
    let _nobodys = OF_OBJECT.try_with(|counts| counts.count(cause));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_object_has_its_own_retries() {
        count(RetryCause::Transient);
        let counts: [Arc<RetryCounts>; 2] = Default::default();
        let work = |times: usize| async move {
            for _ in 0..times {
                tokio::task::yield_now().await;
                count(RetryCause::Throttled);
            }
        };
        tokio::join!(counted(counts[0].clone(), work(3)), counted(counts[1].clone(), work(5)));
        assert_eq!(counts.each_ref().map(|counts| counts.read()[0]), [("throttled", 3), ("throttled", 5)]);
        assert_eq!(counts[0].read()[1], ("transient", 0));
    }
}
