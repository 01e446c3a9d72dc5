//! The wall clock, clamped to the years 1970 to 9998. Libraries that sign, format dates and check certificates panic at a time before 1970, and write
//! five-digit years after 9999. On a machine whose clock is that wrong, the store reports it.

use chrono::{DateTime, SecondsFormat, Utc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The beginning of the year 9999, in seconds: times computed from it (the end of an hour's session) still have four-digit years.
const LATEST_SECONDS: u64 = 253_370_764_800;

/// The current time.
pub fn now() -> SystemTime {
    bounded(SystemTime::now())
}

/// The current time as a date and time.
pub fn utc() -> DateTime<Utc> {
    now().into()
}

/// Clamps a time to those years.
pub fn bounded(time: SystemTime) -> SystemTime {
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(LATEST_SECONDS))
}

/// A time in the form of RFC 3339, in UTC and whole seconds: `2026-11-29T12:00:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    DateTime::<Utc>::from(bounded(time)).to_rfc3339_opts(SecondsFormat::Secs, true)
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
