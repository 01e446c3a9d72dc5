//! The wall clock, held within the years 1970 to 9998. Libraries that sign, date and check certificates panic at a time before 1970, and
//! write dates of five digits after 9999. A machine whose clock is that wrong is told so by the store, in words about its clock.

use aws_smithy_async::time::TimeSource;
use chrono::{DateTime, Utc};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The beginning of the year 9999, in seconds: what is reckoned from it (an hour's session) has four digits, too.
const LATEST_SECONDS: u64 = 253_370_764_800;

/// The time of day.
pub(crate) fn now() -> SystemTime {
    bounded(SystemTime::now())
}

/// The same for those who write dates.
pub(crate) fn utc() -> DateTime<Utc> {
    now().into()
}

/// The nearest time within those years.
pub(crate) fn bounded(time: SystemTime) -> SystemTime {
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(LATEST_SECONDS))
}

/// The clock that libraries are given: the machine's, or another.
#[derive(Debug, Clone)]
pub(crate) struct Clock(pub(crate) fn() -> SystemTime);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_stays_within_years_of_four_digits() {
        let year = |time: SystemTime| DateTime::<Utc>::from(bounded(time)).format("%Y").to_string();
        let hour = Duration::from_secs(3_600);
        assert_eq!(year(UNIX_EPOCH - hour), "1970");
        assert_eq!(year(UNIX_EPOCH - Duration::from_secs(1 << 40)), "1970");
        assert_eq!(year(UNIX_EPOCH), "1970");
        assert_eq!(year(UNIX_EPOCH + Duration::from_secs(1_790_000_000)), "2026");
        assert_eq!(year(UNIX_EPOCH + Duration::from_secs(1 << 40)), "9999");
        assert_eq!(year(UNIX_EPOCH + Duration::from_secs(1 << 55)), "9999");
    }
}
