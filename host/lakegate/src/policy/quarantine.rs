//! A tenant whose guests trap again and again waits longer and longer before another is started, within a session or for a new one: each
//! start costs the others something.

use super::denied::Denied;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Traps that are taken for bad luck.
const PATIENCE: u32 = 3;
/// The first wait; it doubles with each further trap.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Without a trap for so long, all is forgiven.
const FORGIVEN: Duration = Duration::from_secs(600);

/// The traps of one tenant.
#[derive(Debug, Default)]
pub struct Quarantine {
    state: Mutex<Option<Traps>>,
}

#[derive(Debug, Clone, Copy)]
struct Traps {
    count: u32,
    last: Instant,
}

impl Traps {
    fn wait(self) -> Duration {
        let doublings = self.count.saturating_sub(PATIENCE);
        if doublings == 0 {
            return Duration::ZERO;
        }
        FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings - 1).unwrap_or(u32::MAX)).min(LONGEST_WAIT)
    }
}

impl Quarantine {
    /// A guest has trapped.
    pub(super) fn trapped(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.filter(|traps| now.duration_since(traps.last) < FORGIVEN).map_or(0, |traps| traps.count);
        *state = Some(Traps { count: count.saturating_add(1), last: now });
    }

    /// May a guest be started?
    ///
    /// # Errors
    /// Not yet.
    pub(super) fn check(&self, now: Instant) -> Result<(), Denied> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(traps) = state else { return Ok(()) };
        let left = traps.wait().saturating_sub(now.duration_since(traps.last));
        if left.is_zero() {
            return Ok(());
        }
        let text = format!("the component has trapped {} times; it can be started again in {} s", traps.count, left.as_secs() + 1);
        Err(Denied::new("quarantine", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_and_are_forgiven() {
        let (quarantine, mut now) = (Quarantine::default(), Instant::now());
        for trap in 1..=PATIENCE {
            quarantine.trapped(now);
            assert!(quarantine.check(now).is_ok(), "trap {trap}");
        }
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            quarantine.trapped(now);
            let wait = Duration::from_secs(wait);
            let denied = quarantine.check(now + wait - Duration::from_millis(1)).expect_err("not yet");
            assert_eq!(denied.rule, "quarantine");
            assert!(quarantine.check(now + wait).is_ok(), "{wait:?}");
            now += wait;
        }
        quarantine.trapped(now + FORGIVEN);
        assert!(quarantine.check(now + FORGIVEN).is_ok(), "the first again");
    }

    #[test]
    fn the_words_say_how_often_and_how_long() {
        let (quarantine, now) = (Quarantine::default(), Instant::now());
        (0..5).for_each(|_| quarantine.trapped(now));
        let denied = quarantine.check(now + Duration::from_millis(500)).expect_err("two seconds");
        assert_eq!(denied.message, "the component has trapped 5 times; it can be started again in 2 s");
    }
}
