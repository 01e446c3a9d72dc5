//! So much a second: who is faster waits.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What may be taken at once after a pause: a second's worth.
const BURST: Duration = Duration::from_secs(1);

/// A rate over all sessions of a tenant.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u64,
    /// When what has been taken so far will have been earned.
    earned: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// At most `per_second`, measured over seconds; zero lets nothing through, so it counts as one.
    pub(crate) fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), earned: Mutex::new(None) }
    }

    /// How long to wait before taking `amount`, which is taken by asking. More than a second's worth is let through, and paid for by the next.
    fn book(&self, amount: u64, now: Instant) -> Duration {
        let mut earned = self.earned.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(BURST).unwrap_or(now);
        let from = earned.map_or(oldest, |earned| earned.max(oldest));
        *earned = Some(from + Duration::from_secs_f64(amount as f64 / self.per_second as f64));
        from.saturating_duration_since(now)
    }

    /// Waits for `amount`; true if there was something to wait for.
    pub(crate) async fn take(&self, amount: u64) -> bool {
        let wait = self.book(amount, Instant::now());
        if wait.is_zero() {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_over_time_and_a_pause_earns_a_second() {
        let (pace, begun) = (RateLimit::new(100), Instant::now());
        let mut waits = 0;
        for _ in 0..60 {
            waits += u32::from(pace.take(10).await);
        }
        // A second's worth at once, the rest at the rate; the last one is paid for by who comes next.
        let took = begun.elapsed().as_secs_f64();
        assert!((4.85..5.0).contains(&took), "{took}");
        assert_eq!(waits, 49);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        for _ in 0..11 {
            assert!(!pace.take(10).await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(pace.take(10).await);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_seconds_worth_goes_through_and_is_paid_for() {
        let (pace, begun) = (RateLimit::new(10), Instant::now());
        assert!(!pace.take(100).await);
        assert!(pace.take(1).await);
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
    }
}
