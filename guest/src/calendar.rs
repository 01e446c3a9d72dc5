//! Days and times of the proleptic Gregorian calendar, for any count there is: no year is out of range, so nothing made of it can fail.
//!
//! Dates of four-digit years, of which tables are full, are made eight digits at a time in `encode/text/digits.rs`; a test holds the two
//! against each other day by day.

/// Seconds of a day; leap seconds are not counted.
pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CivilDay {
    pub(crate) year: i64,
    pub(crate) month: u8,
    pub(crate) day: u8,
}

impl CivilDay {
    /// The day that is so many days after 1970-01-01. Years are counted from a first of March, in cycles of 400 years, so that the leap day is
    /// the last of its year and months have a regular length.
    pub(crate) fn from_unix_days(days: i64) -> Self {
        const DAYS_FROM_MARCH_OF_YEAR_0_TO_1970: i64 = 719_468;
        const DAYS_OF_400_YEARS: i64 = 146_097;
        let days = days + DAYS_FROM_MARCH_OF_YEAR_0_TO_1970;
        let (cycle, day_of_cycle) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
        Self { year, month: month as u8, day: day as u8 }
    }
}

/// A minute of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CivilTime {
    pub(crate) date: CivilDay,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
}

impl CivilTime {
    /// The minute that so many seconds after the beginning of 1970 lie in.
    pub(crate) fn from_unix_seconds(seconds: u64) -> Self {
        const DAY: u64 = SECONDS_PER_DAY as u64;
        let second_of_day = seconds % DAY;
        // A quotient has no highest bit.
        let date = CivilDay::from_unix_days((seconds / DAY) as i64);
        Self { date, hour: (second_of_day / 3_600) as u8, minute: (second_of_day / 60 % 60) as u8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike, TimeDelta, Timelike};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_are_those_of_chrono(seconds in 0_u64..8_000_000_000_000) {
            let time = DateTime::from_timestamp(i64::try_from(seconds).unwrap(), 0).unwrap();
            let date = CivilDay { year: time.year().into(), month: time.month() as u8, day: time.day() as u8 };
            let expected = CivilTime { date, hour: time.hour() as u8, minute: time.minute() as u8 };
            prop_assert_eq!(CivilTime::from_unix_seconds(seconds), expected);
        }

        #[test]
        fn days_are_those_of_chrono_before_1970_too(days in -95_000_000_i64..95_000_000) {
            let date = (DateTime::UNIX_EPOCH + TimeDelta::days(days)).date_naive();
            let expected = CivilDay { year: date.year().into(), month: date.month() as u8, day: date.day() as u8 };
            prop_assert_eq!(CivilDay::from_unix_days(days), expected);
        }
    }
}
