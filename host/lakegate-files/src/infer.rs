//! Infers the types of text columns (CSV, NDJSON) from the first rows.
//!
//! The narrowest type that fits every value is chosen:
//!
//! - `bool`: `true`, `false` in any case (in NDJSON the literals);
//! - `int64`: `0`, `-7`, `42`. Leading zeros (`007`), a plus (`+5`) and numbers beyond 64 bits are text, so that no character is lost;
//! - `float64`: `1.5`, `-2e10`, `-0`, or whole numbers beside such (then at most 2^53). A number that a float would change
//!   (`12345678901234567.89`) is text, and so are words (`NaN`, `inf`);
//! - `date`: `2006-01-02`, a day of the calendar (`0000-00-00` is text);
//! - `timestamp`: `2006-01-02T15:04:05.9Z`, with a zone on every value or on none; nanoseconds when a value has more than six decimals. A
//!   time that is on no clock (`25:00:00`, a leap second) is text;
//! - `json`: objects and arrays of NDJSON, and whatever stands beside them in the same column;
//! - `utf8`: everything else, and columns without a value.
//!
//! Later values are held to the same rule: a value that would have given the column another type does not fit.

use super::columns::ColumnType;
use arrow_schema::{DataType, TimeUnit};

/// Integers up to this bound are exact as a float.
const EXACT_FLOAT: u64 = 1 << 53;
/// Decimals of a second in microseconds.
const MICROSECOND_DECIMALS: usize = 6;

/// The type of a value, or of all values so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No value yet.
    #[default]
    Nothing,
    Bool,
    /// A whole number; too wide for a float?
    Integer {
        wide: bool,
    },
    Float,
    Date,
    Timestamp {
        zone: bool,
        nanoseconds: bool,
    },
    Text,
    Json,
}

impl Seen {
    /// The type of a CSV field.
    pub(crate) fn from_text(text: &str) -> Self {
        if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            return Self::Bool;
        }
        match Self::from_number(text) {
            Self::Text => Self::from_string(text),
            number => number,
        }
    }

    /// The type of a JSON string, which is never a number.
    pub(crate) fn from_string(text: &str) -> Self {
        match Instant::scan(text) {
            Some(Instant { time: None, .. }) => Self::Date,
            Some(Instant { time: Some(time), zone, .. }) => Self::Timestamp { zone, nanoseconds: time > MICROSECOND_DECIMALS },
            None => Self::Text,
        }
    }

    /// The type of a number; [`Seen::Text`] if it is not a number, or if no type represents it exactly.
    pub(crate) fn from_number(text: &str) -> Self {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let leading_zero = digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit();
        if leading_zero || !digits.first().is_some_and(u8::is_ascii_digit) {
            return Self::Text;
        }
        if text == "-0" {
            // Integers have no negative zero.
            return Self::Float;
        }
        if digits.iter().all(u8::is_ascii_digit) {
            return text.parse::<i64>().map_or(Self::Text, |value| Self::Integer { wide: value.unsigned_abs() > EXACT_FLOAT });
        }
        let float = digits.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
        if float && is_exact_float(text) { Self::Float } else { Self::Text }
    }

    /// The common type of two values.
    pub(crate) fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, seen) | (seen, Self::Nothing) => seen,
            (Self::Json, _) | (_, Self::Json) => Self::Json,
            (Self::Integer { wide: a }, Self::Integer { wide: b }) => Self::Integer { wide: a | b },
            (Self::Float, Self::Integer { wide: false }) | (Self::Integer { wide: false }, Self::Float) => Self::Float,
            (Self::Timestamp { zone: a, nanoseconds: m }, Self::Timestamp { zone: b, nanoseconds: n }) if a == b => {
                Self::Timestamp { zone: a, nanoseconds: m | n }
            }
            (a, b) if a == b => a,
            _ => Self::Text,
        }
    }

    /// The values that an inferred column of this type has seen; [`None`] for a type that is never inferred.
    pub(crate) fn from_type(column_type: &ColumnType) -> Option<Self> {
        Some(match column_type {
            ColumnType::Utf8 => Self::Text,
            ColumnType::Bool => Self::Bool,
            ColumnType::Integer(DataType::Int64) => Self::Integer { wide: true },
            ColumnType::Float(DataType::Float64) => Self::Float,
            ColumnType::Date => Self::Date,
            ColumnType::Timestamp(unit) => Self::Timestamp { zone: true, nanoseconds: nanoseconds(*unit)? },
            ColumnType::DateTime(unit) => Self::Timestamp { zone: false, nanoseconds: nanoseconds(*unit)? },
            ColumnType::Json => Self::Json,
            _ => return None,
        })
    }

    /// The type that fits them all.
    pub(crate) fn column_type(self) -> ColumnType {
        match self {
            Self::Nothing | Self::Text => ColumnType::Utf8,
            Self::Bool => ColumnType::Bool,
            Self::Integer { .. } => ColumnType::Integer(DataType::Int64),
            Self::Float => ColumnType::Float(DataType::Float64),
            Self::Date => ColumnType::Date,
            Self::Timestamp { zone: true, nanoseconds } => ColumnType::Timestamp(unit(nanoseconds)),
            Self::Timestamp { zone: false, nanoseconds } => ColumnType::DateTime(unit(nanoseconds)),
            Self::Json => ColumnType::Json,
        }
    }
}

/// Number of significant digits that a float64 of ordinary magnitude always preserves.
const EXACT_DIGITS: usize = 15;
/// Numbers up to this length without an exponent have ordinary magnitude: neither too large nor too close to zero.
const USUAL_CHARACTERS: usize = 64;

/// Whether a number survives a round trip through float64. `0.1` does; `12345678901234567.89` and `1e999` do not.
pub(crate) fn is_exact_float(text: &str) -> bool {
    let Some(number) = Decimal::scan(text) else { return false };
    if number.digits.len() <= EXACT_DIGITS && text.len() <= USUAL_CHARACTERS && !text.contains(['e', 'E']) {
        return true;
    }
    // Rust writes the fewest digits that identify this float.
    text.parse::<f64>().is_ok_and(|value| value.is_finite() && Decimal::scan(&format!("{value:e}")) == Some(number))
}

/// A normalised decimal number, equal for all ways to write it.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    /// The digits from the first to the last that is not zero.
    digits: Vec<u8>,
    /// The power of ten of the first digit.
    power: i64,
}

impl Decimal {
    /// Parses digits with an optional point and exponent; [`None`] for anything else.
    fn scan(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if all.is_empty() || !all.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let exponent: i64 = exponent.parse().ok()?;
        let Some(first) = all.iter().position(|digit| *digit != b'0') else { return Some(Self { digits: Vec::new(), power: 0 }) };
        let last = all.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
        let before_point = i64::try_from(whole.len()).ok()? - i64::try_from(first).ok()?;
        Some(Self { digits: all.get(first..=last)?.to_vec(), power: exponent.checked_add(before_point - 1)? })
    }
}

/// Whether the unit is nanoseconds, the inverse of [`unit`]; [`None`] for units that are never inferred.
fn nanoseconds(unit: TimeUnit) -> Option<bool> {
    match unit {
        TimeUnit::Nanosecond => Some(true),
        TimeUnit::Microsecond => Some(false),
        TimeUnit::Second | TimeUnit::Millisecond => None,
    }
}

fn unit(nanoseconds: bool) -> TimeUnit {
    if nanoseconds { TimeUnit::Nanosecond } else { TimeUnit::Microsecond }
}

/// The shape of a date or a date with a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    /// Decimals of the second (not counting trailing zeros), if there is a time of day.
    pub(crate) time: Option<usize>,
    /// Whether there is a zone.
    pub(crate) zone: bool,
}

impl Instant {
    /// Parses `YYYY-MM-DD`, or `YYYY-MM-DD[T ]HH:MM:SS[.decimals][Z|±HH:MM]`, with a valid date and time. In UTC, the year must still have four
    /// digits.
    pub(crate) fn scan(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let rest = strip_shape(bytes, b"0000-00-00")?;
        if !is_day(number(bytes, 0, 4)?, number(bytes, 5, 7)?, number(bytes, 8, 10)?) {
            return None;
        }
        let [b'T' | b't' | b' ', rest @ ..] = rest else {
            return rest.is_empty().then_some(Self { time: None, zone: false });
        };
        let (time, rest) = scan_time(rest)?;
        let offset = match rest {
            [] => None,
            b"Z" | b"z" => Some(0),
            [b'+', offset @ ..] => Some(offset_minutes(offset)?),
            [b'-', offset @ ..] => Some(-offset_minutes(offset)?),
            _ => return None,
        };
        let minute = number(bytes, 11, 13)? * 60 + number(bytes, 14, 16)?;
        let utc = i64::from(minute) - offset.unwrap_or(0);
        let leaves_the_years =
            (bytes.starts_with(b"0000-01-01") && utc < 0) || (bytes.starts_with(b"9999-12-31") && utc >= MINUTES_OF_A_DAY);
        (!leaves_the_years).then_some(Self { time: Some(time), zone: offset.is_some() })
    }
}

const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// `HH:MM` or `HHMM`, less than a day.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let rest = strip_shape(text, b"00:00").or_else(|| strip_shape(text, b"0000"))?;
    if !rest.is_empty() {
        return None;
    }
    let (hours, minutes) = (number(text, 0, 2)?, number(text, text.len() - 2, text.len())?);
    (hours < 24 && minutes < 60).then(|| i64::from(hours * 60 + minutes))
}

/// The value of the digits.
fn number(text: &[u8], from: usize, to: usize) -> Option<u32> {
    Some(text.get(from..to)?.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

fn is_day(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Parses a valid `HH:MM:SS[.decimals]`; returns the number of significant decimals, and what follows.
pub(crate) fn scan_time(text: &[u8]) -> Option<(usize, &[u8])> {
    let rest = strip_shape(text, b"00:00:00")?;
    if number(text, 0, 2)? > 23 || number(text, 3, 5)? > 59 || number(text, 6, 8)? > 59 {
        return None;
    }
    let [b'.', fraction @ ..] = rest else { return Some((0, rest)) };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = fraction.split_at(length);
    let counted = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    (length > 0).then_some((counted, rest))
}

/// Strips a prefix of this shape: `0` stands for a digit, any other character for itself.
fn strip_shape<'a>(text: &'a [u8], shape: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(shape.len())?;
    let fits = head.iter().zip(shape).all(|(byte, wanted)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted });
    fits.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: &str) {
        let seen = values.iter().fold(Seen::Nothing, |seen, text| seen.merge(Seen::from_text(text)));
        assert_eq!(parsed(expected), seen.column_type(), "{values:?}");
    }

    fn parsed(name: &str) -> ColumnType {
        name.parse().unwrap()
    }

    #[test]
    fn one_kind_of_value() {
        check(&[], "utf8");
        check(&["true", "FALSE"], "bool");
        check(&["0", "-7", "9223372036854775807"], "int64");
        check(&["1.5", "-2e10", "0.0"], "float64");
        check(&["1", "-0"], "float64");
        check(&["2024-02-29"], "date");
        check(&["2024-02-29T01:02:03Z", "2024-02-29 01:02:03.123456+02:00"], "timestamp");
        check(&["2024-02-29T01:02:03.123456700Z"], "timestamp_ns");
        check(&["2024-02-29T01:02:03.120000000Z"], "timestamp");
        check(&["2024-02-29 01:02:03"], "datetime");
        check(&["2024-02-29 01:02:03.1234567"], "datetime_ns");
        check(&["hello", ""], "utf8");
    }

    #[test]
    fn values_that_only_look_like_a_type_are_text() {
        for text in [
            "007",
            "+5",
            "1e400",
            "1e-400",
            "12345678901234567.89",
            "0.1000000000000000000001",
            "9007199254740993.0",
            "1.5.5",
            "1e5e5",
            "-",
            ".5",
            "9223372036854775808",
            "1e999",
            "NaN",
            "0x10",
            "1_000",
            "2024-1-2",
            "2024-01-02T",
            "12:00:00",
            "yes",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "1900-02-29T00:00:00Z",
            "2024-01-02T24:00:00Z",
            "2024-01-02T03:60:00Z",
            "2024-06-30T23:59:60Z",
            "2024-01-02T03:04:05+24:00",
            "2024-01-02T03:04:05+01:60",
            "2024-01-02T03:04:05+01:00  ",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            check(&[text], "utf8");
        }
        check(&["2024-02-29T01:02:03.Z"], "utf8");
        check(&["2024-02-29T01:02:03+2"], "utf8");
    }

    #[test]
    fn floats_that_give_their_number_back() {
        check(
            &["0.30000000000000004", "12345678901234.56", "1.50", "1e300", "2.2250738585072014e-308", "123456789012345e3", "0.000"],
            "float64",
        );
        for (text, exact) in [
            ("0.1", true),
            ("-00.10e+1", true),
            ("0e999999999999", true),
            ("179769313486231570000", true),
            ("4.94e-324", false),
            ("5e-324", true),
            ("1e309", false),
            ("1e99999999999999999999", false),
            ("0.10000000000000001", false),
            ("", false),
            (".", false),
            ("1e", false),
            ("one", false),
        ] {
            assert_eq!(is_exact_float(text), exact, "{text}");
        }
    }

    #[test]
    fn mixtures() {
        check(&["1", "2.5"], "float64");
        check(&["9007199254740993", "2.5"], "utf8");
        check(&["1", "x"], "utf8");
        check(&["1", "true"], "utf8");
        check(&["2024-02-29", "2024-02-29T01:02:03Z"], "utf8");
        check(&["2024-02-29T01:02:03", "2024-02-29T01:02:03Z"], "utf8");
        assert_eq!(Seen::Integer { wide: false }.merge(Seen::Json).column_type(), ColumnType::Json);
    }

    proptest::proptest! {
        #[test]
        fn a_float_as_programs_write_it_is_exact(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
            proptest::prop_assert!(is_exact_float(&format!("{value}")) && is_exact_float(&format!("{value:e}")), "{value:e}");
        }

        #[test]
        fn a_number_of_few_digits_is_exact(digits in 0..=999_999_999_999_999_u64, point in 0..=15_usize) {
            let text = format!("{digits:016}");
            let (whole, fraction) = text.split_at(16 - point);
            let text = format!("{whole}.{fraction}");
            // The shortcut agrees with the full comparison.
            let value: f64 = text.parse().unwrap();
            proptest::prop_assert_eq!(Decimal::scan(&text), Decimal::scan(&format!("{value:e}")));
            proptest::prop_assert!(is_exact_float(&text), "{}", text);
        }

        #[test]
        fn merging_does_not_depend_on_the_order(texts in proptest::collection::vec("[0-9a-zT:.Z-]{0,12}", 0..6)) {
            let forward = texts.iter().fold(Seen::Nothing, |seen, text| seen.merge(Seen::from_text(text)));
            let backward = texts.iter().rev().fold(Seen::Nothing, |seen, text| seen.merge(Seen::from_text(text)));
            proptest::prop_assert_eq!(forward.column_type(), backward.column_type());
        }
    }
}
