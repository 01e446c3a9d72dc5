//! The time that requests are signed with: this machine's, or the store's where the two differ too much.
//!
//! A store refuses a signature that is a quarter of an hour off. Its answer has its own time, by which one more attempt is signed, as AWS's
//! other SDKs do; object keys keep this machine's time.

use aws_smithy_async::time::TimeSource;
use lakegate_base::clock::bounded;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that is off by more than ten years is not believed.
const MAX_OFFSET_SECONDS: u64 = 10 * 366 * 86_400;

/// The clock that the SDK and rustls are given: the machine's or a test's, within the years that libraries can write.
#[derive(Debug, Clone)]
pub struct Clock(pub fn() -> SystemTime);

impl Default for Clock {
    fn default() -> Self {
        Self(SystemTime::now)
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        bounded((self.0)())
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = TimeSource::now(self).duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// The clock of one client.
#[derive(Debug, Clone, Default)]
pub(super) struct StoreClock {
    /// This machine's.
    base: Clock,
    /// Seconds to add to this machine's time.
    offset: Arc<AtomicI64>,
}

impl StoreClock {
    /// A clock that shows what `base` does until a store says otherwise.
    pub(super) fn new(base: Clock) -> Self {
        Self { base, offset: Arc::default() }
    }

    /// The store's time is `theirs` now.
    pub(super) fn follow(&self, theirs: SystemTime) {
        let ours = self.base.now();
        let (ahead, apart) = match theirs.duration_since(ours) {
            Ok(apart) => (1, apart),
            Err(behind) => (-1, behind.duration()),
        };
        let seconds = apart.as_secs();
        if seconds > MAX_OFFSET_SECONDS {
            return;
        }
        let offset = ahead * i64::try_from(seconds).unwrap_or_default();
        if self.offset.swap(offset, Ordering::Relaxed) != offset {
            tracing::warn!(seconds = offset, "The clock of this machine is not that of the store; requests are signed by the store's.");
        }
    }
}

impl TimeSource for StoreClock {
    fn now(&self) -> SystemTime {
        let offset = self.offset.load(Ordering::Relaxed);
        let apart = Duration::from_secs(offset.unsigned_abs());
        let now = self.base.now();
        let moved = if offset < 0 { now.checked_sub(apart) } else { now.checked_add(apart) };
        moved.map_or(now, bounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_time_is_followed_unless_it_is_absurd() {
        let apart = |clock: &StoreClock, theirs: SystemTime| {
            let now = clock.now();
            now.duration_since(theirs).unwrap_or_else(|behind| behind.duration())
        };
        let clock = StoreClock::default();
        let year = Duration::from_secs(366 * 86_400);
        for theirs in [SystemTime::now() - year, SystemTime::now() + year, SystemTime::now()] {
            clock.follow(theirs);
            assert!(apart(&clock, theirs) < Duration::from_secs(60), "{theirs:?}");
        }
        for theirs in [UNIX_EPOCH, SystemTime::now() + 8_000 * year] {
            clock.follow(theirs);
            assert!(apart(&clock, SystemTime::now()) < Duration::from_secs(60), "{theirs:?}");
        }
    }
}
