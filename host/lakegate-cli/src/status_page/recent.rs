//! Rates over the last minute: counts are recorded every few seconds, and the oldest recorded one is the basis of the rate.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often counts are recorded.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// How many records are kept: one minute.
const KEPT: usize = 12;

/// Bytes and rows of a tenant: in total, or per second.
pub(super) type Amounts<T> = [T; 2];

/// The counts of all tenants, by name, at one time.
pub(super) type Counts = BTreeMap<Arc<str>, Amounts<u64>>;

/// The recorded counts with their times.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Instant, Counts)>);

impl Recent {
    /// Records counts.
    pub(super) fn record(&mut self, now: Instant, counts: Counts) {
        self.0.push_back((now, counts));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Bytes and rows per second of a tenant since the oldest record.
    pub(super) fn rates(&self, tenant: &str, now: Instant, counts: Amounts<u64>) -> Amounts<f64> {
        let Some((since, then)) = self.0.front() else { return [0.0; 2] };
        let then = then.get(tenant).copied().unwrap_or_default();
        // Less than a second says little, and may be zero.
        let seconds = now.duration_since(*since).as_secs_f64().max(1.0);
        std::array::from_fn(|amount| counts[amount].saturating_sub(then[amount]) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_counts_and_no_more() {
        let (begun, mut recent) = (Instant::now(), Recent::default());
        let counts = |a, b| Counts::from([("a".into(), a), ("b".into(), b)]);
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert_eq!(recent.rates("a", at(0), [7, 7]), [0.0, 0.0]);
        recent.record(at(0), counts([0, 0], [0, 0]));
        assert_eq!(recent.rates("a", at(0), [50, 5]), [50.0, 5.0]);
        assert_eq!(recent.rates("b", at(10), [50, 5]), [5.0, 0.5]);
        // A hundred bytes every five seconds, and then nothing.
        for tick in 1..=KEPT as u64 {
            recent.record(at(5 * tick), counts([100 * tick, 0], [0, 0]));
        }
        assert_eq!(recent.rates("a", at(60), [1_200, 0]), [20.0, 0.0]);
        for tick in 1..=KEPT as u64 {
            recent.record(at(60 + 5 * tick), counts([1_200, 0], [0, 0]));
        }
        assert_eq!(recent.rates("a", at(120), [1_200, 0]), [0.0, 0.0]);
    }
}
