//! Time zones: what to add to an instant to get local time.
//!
//! Names come from the bundled IANA database, with local mean time before a zone's first rule and the POSIX rule after its last one.
//! No clock and no database of the system is used.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::cell::Cell;

/// The Gregorian calendar repeats, weekdays included, every 400 years; so do the rules of a zone once they are POSIX rules.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;

/// 9990-01-01T00:00:00Z. Later instants are moved back by whole cycles, because the library's years end at 9999.
const LAST_DIRECT_SECOND: i64 = 253_086_768_000;

/// About the year -9900: before any zone had rules, so every earlier instant has the same offset.
const FIRST_DIRECT_SECOND: i64 = -374_500_000_000;

/// A time zone of a timestamp column.
#[derive(Debug)]
pub(crate) enum Zone {
    /// Coordinated universal time; also columns that name no zone.
    Utc,
    /// A fixed offset, in seconds east.
    Fixed(i32),
    /// A zone of the IANA database.
    Named(Box<NamedZone>),
}

/// A zone of the database, and the span of the last lookup.
#[derive(Debug)]
pub(crate) struct NamedZone {
    zone: TimeZone,
    last: Cell<Span>,
}

/// Instants `from <= t < until` that share an offset.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: i64,
    until: i64,
    offset_seconds: i32,
}

impl Zone {
    /// Reads a column's zone: empty, `UTC`, a name of the database, or `+hh:mm` / `-hh:mm`. `None` for anything else.
    pub(crate) fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("" | "UTC" | "utc") => Some(Self::Utc),
            Some(name) if name.starts_with(['+', '-']) => parse_offset(name).map(Self::Fixed),
            Some(name) => {
                let zone = TimeZoneDatabase::bundled().get(name).ok()?;
                let last = Cell::new(Span { from: 0, until: 0, offset_seconds: 0 });
                Some(Self::Named(Box::new(NamedZone { zone, last })))
            }
        }
    }

    /// Seconds east of Greenwich at an instant.
    pub(crate) fn offset_seconds(&self, unix_seconds: i64) -> i32 {
        match self {
            Self::Utc => 0,
            Self::Fixed(offset) => *offset,
            Self::Named(named) => named.offset_seconds(unix_seconds),
        }
    }
}

impl NamedZone {
    fn offset_seconds(&self, unix_seconds: i64) -> i32 {
        let at = direct(unix_seconds);
        let last = self.last.get();
        if last.from <= at && at < last.until {
            return last.offset_seconds;
        }
        let Ok(instant) = Timestamp::from_second(at) else { return 0 };
        let offset_seconds = self.zone.to_offset(instant).seconds();
        let from = Timestamp::from_second(at + 1)
            .ok()
            .and_then(|after| self.zone.preceding(after).next())
            .map_or(i64::MIN, |transition| transition.timestamp().as_second());
        let until = self.zone.following(instant).next().map_or(i64::MAX, |transition| transition.timestamp().as_second());
        self.last.set(Span { from, until, offset_seconds });
        offset_seconds
    }
}

/// The instant within the library's range that has the same offset.
fn direct(unix_seconds: i64) -> i64 {
    if unix_seconds >= LAST_DIRECT_SECOND {
        LAST_DIRECT_SECOND - CYCLE_SECONDS + (unix_seconds - LAST_DIRECT_SECOND) % CYCLE_SECONDS
    } else {
        unix_seconds.max(FIRST_DIRECT_SECOND)
    }
}

fn parse_offset(text: &str) -> Option<i32> {
    let &[sign, h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    let number =
        |tens: u8, ones: u8| (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'));
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
    if hours > 24 || minutes >= 60 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if sign == b'-' { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, unix_seconds: i64, offset_seconds: i32) {
        let zone = Zone::parse(Some(zone)).expect("a zone");
        // Twice: the second answer comes from the remembered span.
        assert_eq!(zone.offset_seconds(unix_seconds), offset_seconds);
        assert_eq!(zone.offset_seconds(unix_seconds), offset_seconds);
    }

    #[test]
    fn zones_follow_their_rules_through_all_of_time() {
        check("America/New_York", 1_600_000_000, -4 * 3_600);
        check("America/New_York", -3_000_000_000, -17_762);
        check("America/New_York", i64::MIN, -17_762);
        // July and January of 2092, of 12020 (400 years * 24 after 2420), far beyond any table.
        check("America/New_York", 3_866_000_000, -4 * 3_600);
        check("America/New_York", 3_851_000_000, -5 * 3_600);
        check("America/New_York", 3_866_000_000 + 40 * CYCLE_SECONDS, -4 * 3_600);
        check("America/New_York", 3_851_000_000 + 40 * CYCLE_SECONDS, -5 * 3_600);
        check("Asia/Kolkata", 0, 19_800);
        check("+02:30", 0, 9_000);
        check("-02:30", 0, -9_000);
        check("UTC", 0, 0);
    }

    #[test]
    fn a_transition_is_the_first_second_of_the_new_offset() {
        let zone = Zone::parse(Some("Europe/Berlin")).expect("a zone");
        let spring_2021 = 1_616_893_200;
        for (at, offset) in [(spring_2021 - 1, 3_600), (spring_2021, 7_200), (spring_2021 - 1, 3_600), (spring_2021 + 1, 7_200)] {
            assert_eq!(zone.offset_seconds(at), offset);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["Nowhere/Else", "+2:30", "+02:60", "+25:00", "02:30", "+0230", "+é2:3"] {
            assert!(Zone::parse(Some(name)).is_none(), "{name}");
        }
    }
}
