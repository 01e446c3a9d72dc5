//! The wall clock, held within the years 1970 to 9998. Libraries that sign, date and check certificates panic at a time before 1970, and
//! write dates of five digits after 9999. A machine whose clock is that wrong is told so by the store, in words about its clock.

use chrono::{DateTime, Utc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The beginning of the year 9999, in seconds: what is reckoned from it (an hour's session) has four digits, too.
const LATEST_SECONDS: u64 = 253_370_764_800;

/// The time of day.
pub fn now() -> SystemTime {
    bounded(SystemTime::now())
}

/// The time of day as a date that can be written.
pub fn utc() -> DateTime<Utc> {
    now().into()
}

/// The nearest time within those years.
pub fn bounded(time: SystemTime) -> SystemTime {
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(LATEST_SECONDS))
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
