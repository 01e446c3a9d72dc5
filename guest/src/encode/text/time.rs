//! Dates, times of day, timestamps, durations and intervals as text.

use super::append::push_word;
use super::digits::{FOUR_DIGIT_YEARS, ZEROS, clock_text, date_text, digits, push_unsigned, trailing_zeros};
use super::zone::Zone;
use crate::calendar::{CivilDay, SECONDS_PER_DAY};
use arrow_schema::TimeUnit;

/// Added to Unix seconds before they are read without a sign, as the reference's clock does; it decides where the extremes wrap around.
const ABSOLUTE_OFFSET_SECONDS: u64 = 9_223_372_028_741_760_000;

/// Two ASCII digits of a number below 100.
pub(crate) fn two_digits(value: u8) -> [u8; 2] {
    [b'0' + value / 10 % 10, b'0' + value % 10]
}

/// Appends `2006-01-02`; years have four digits or more, and a sign before Christ's.
pub(crate) fn push_date(out: &mut Vec<u8>, unix_days: i64) {
    if FOUR_DIGIT_YEARS.contains(&unix_days) {
        let (start, end) = date_text(unix_days);
        push_word(out, start, 8);
        push_word(out, end, 2);
        return;
    }
    let CivilDay { year, month, day } = CivilDay::from_unix_days(unix_days);
    if year < 0 {
        out.push(b'-');
    }
    let size = year.unsigned_abs();
    if size < 10_000 {
        out.extend_from_slice(&two_digits((size / 100) as u8));
        out.extend_from_slice(&two_digits((size % 100) as u8));
    } else {
        push_unsigned(out, size);
    }
    let ([m1, m2], [d1, d2]) = (two_digits(month), two_digits(day));
    out.extend_from_slice(&[b'-', m1, m2, b'-', d1, d2]);
}

/// Appends `15:04:05`.
pub(crate) fn push_clock(out: &mut Vec<u8>, second_of_day: u32) {
    out.extend_from_slice(&clock_text(second_of_day).to_le_bytes());
}

/// Appends a point and `places` (at most nine) digits of a fraction of a second.
fn push_fraction(out: &mut Vec<u8>, nanoseconds: u32, places: usize) {
    let eight = digits(u64::from(nanoseconds / 10)) | ZEROS;
    out.push(b'.');
    push_word(out, eight, places.min(8));
    if places > 8 {
        out.push(b'0' + (nanoseconds % 10) as u8);
    }
}

/// Appends a fraction without trailing zeros, or nothing for zero.
fn push_fraction_trimmed(out: &mut Vec<u8>, nanoseconds: u32) {
    if nanoseconds == 0 {
        return;
    }
    let places = match nanoseconds % 10 {
        0 => 8 - trailing_zeros(digits(u64::from(nanoseconds / 10))) as usize,
        _ => 9,
    };
    push_fraction(out, nanoseconds, places);
}

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// Ticks of a unit in a second.
pub(crate) fn ticks_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOSECONDS_PER_SECOND,
    }
}

/// Whole seconds (rounded down) and the nanoseconds that are left.
fn split(ticks: i64, unit: TimeUnit) -> (i64, u32) {
    let per_second = ticks_per_second(unit);
    (ticks.div_euclid(per_second), (ticks.rem_euclid(per_second) * (NANOSECONDS_PER_SECOND / per_second)) as u32)
}

/// How many digits a time of day shows behind its seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fraction {
    /// As many as are needed.
    Trimmed,
    /// As many as the unit has.
    Full,
}

/// Appends a time of day; a day or more wraps around. The reference counts it in nanoseconds of 64 bits, which wrap around, too.
pub(crate) fn push_time_of_day(out: &mut Vec<u8>, ticks: i64, unit: TimeUnit, fraction: Fraction) {
    let nanoseconds = ticks.wrapping_mul(NANOSECONDS_PER_SECOND / ticks_per_second(unit));
    let (seconds, nanoseconds) = split(nanoseconds, TimeUnit::Nanosecond);
    push_clock(out, seconds.rem_euclid(SECONDS_PER_DAY) as u32);
    match (fraction, unit) {
        (Fraction::Full, TimeUnit::Second) => {}
        (Fraction::Full, TimeUnit::Millisecond) => push_fraction(out, nanoseconds, 3),
        (Fraction::Full, TimeUnit::Microsecond) => push_fraction(out, nanoseconds, 6),
        (Fraction::Full, TimeUnit::Nanosecond) => push_fraction(out, nanoseconds, 9),
        (Fraction::Trimmed, _) => push_fraction_trimmed(out, nanoseconds),
    }
}

/// Appends an instant in a zone, as RFC 3339 with as many digits of a second as it needs.
pub(crate) fn push_timestamp(out: &mut Vec<u8>, ticks: i64, unit: TimeUnit, zone: &Zone) {
    let (seconds, nanoseconds) = split(ticks, unit);
    let offset = zone.offset_seconds(seconds);
    let absolute = (seconds.wrapping_add(i64::from(offset)) as u64).wrapping_add(ABSOLUTE_OFFSET_SECONDS);
    let per_day = SECONDS_PER_DAY as u64;
    push_date(out, (absolute / per_day) as i64 - (ABSOLUTE_OFFSET_SECONDS / per_day) as i64);
    out.push(b'T');
    push_clock(out, (absolute % per_day) as u32);
    push_fraction_trimmed(out, nanoseconds);
    push_offset(out, offset);
}

/// Appends `Z`, or an offset in hours and minutes; its seconds are cut off.
fn push_offset(out: &mut Vec<u8>, offset_seconds: i32) {
    if offset_seconds == 0 {
        out.push(b'Z');
        return;
    }
    let minutes = offset_seconds / 60;
    let size = minutes.unsigned_abs();
    let ([h1, h2], [m1, m2]) = (two_digits((size / 60) as u8), two_digits((size % 60) as u8));
    out.extend_from_slice(&[if minutes < 0 { b'-' } else { b'+' }, h1, h2, b':', m1, m2]);
}

/// The suffix of a duration.
pub(crate) fn unit_suffix(unit: TimeUnit) -> &'static [u8] {
    match unit {
        TimeUnit::Second => b"s",
        TimeUnit::Millisecond => b"ms",
        TimeUnit::Microsecond => b"us",
        TimeUnit::Nanosecond => b"ns",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};

    #[track_caller]
    fn check_timestamp(ticks: i64, unit: TimeUnit, zone: &str, expected: &str) {
        let mut out = Vec::new();
        push_timestamp(&mut out, ticks, unit, &Zone::parse(Some(zone)).expect("a zone"));
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn timestamps_are_rfc_3339_in_their_zone() {
        check_timestamp(1_600_000_000_120, Millisecond, "", "2020-09-13T12:26:40.12Z");
        check_timestamp(1_600_000_000_123_400, Microsecond, "UTC", "2020-09-13T12:26:40.1234Z");
        check_timestamp(-1, Nanosecond, "", "1969-12-31T23:59:59.999999999Z");
        check_timestamp(1_600_000_000_120, Millisecond, "America/New_York", "2020-09-13T08:26:40.12-04:00");
        check_timestamp(1_600_000_000_120, Millisecond, "+02:30", "2020-09-13T14:56:40.12+02:30");
        check_timestamp(253_402_300_800, Second, "", "10000-01-01T00:00:00Z");
        check_timestamp(-62_167_219_201, Second, "", "-0001-12-31T23:59:59Z");
        check_timestamp(-3_000_000_000, Second, "America/New_York", "1874-12-07T13:43:58-04:56");
    }

    #[test]
    fn no_instant_is_out_of_range() {
        for ticks in [i64::MIN, i64::MAX, 0] {
            for unit in [Second, Millisecond, Microsecond, Nanosecond] {
                for zone in ["", "America/New_York", "-02:30"] {
                    let mut out = Vec::new();
                    push_timestamp(&mut out, ticks, unit, &Zone::parse(Some(zone)).expect("a zone"));
                    assert!(out.len() >= 20);
                }
            }
        }
    }

    #[track_caller]
    fn check_time(ticks: i64, unit: TimeUnit, json: &str, csv: &str) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        push_time_of_day(&mut a, ticks, unit, Fraction::Trimmed);
        push_time_of_day(&mut b, ticks, unit, Fraction::Full);
        assert_eq!((String::from_utf8_lossy(&a).as_ref(), String::from_utf8_lossy(&b).as_ref()), (json, csv));
    }

    #[test]
    fn times_of_day_wrap_around() {
        check_time(3_723_004, Millisecond, "01:02:03.004", "01:02:03.004");
        check_time(0, Millisecond, "00:00:00", "00:00:00.000");
        check_time(3_723_004_500, Microsecond, "01:02:03.0045", "01:02:03.004500");
        check_time(86_400 + 1, Second, "00:00:01", "00:00:01");
        check_time(-1, Nanosecond, "23:59:59.999999999", "23:59:59.999999999");
    }

    #[test]
    fn go_quirk_microseconds_of_a_day_wrap_around_at_64_bits_of_nanoseconds() {
        check_time(i64::MAX, Microsecond, "23:59:59.999999", "23:59:59.999999");
        check_time(i64::MIN, Microsecond, "00:00:00", "00:00:00.000000");
        check_time(i64::MAX / 1_000, Microsecond, "23:47:16.854775", "23:47:16.854775");
        check_time(i64::MAX / 1_000 + 1, Microsecond, "00:12:43.145224384", "00:12:43.145224");
    }

    #[test]
    fn days_follow_the_gregorian_calendar() {
        for (days, expected) in
            [(0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (-719_528, "0000-01-01"), (-719_529, "-0001-12-31")]
        {
            let mut out = Vec::new();
            push_date(&mut out, days);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
