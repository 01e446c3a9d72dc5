//! Single values: those of partitions, and bounds of columns, which Iceberg writes in the same form.

use crate::types::Type;
use std::cmp::Ordering;

/// A value of a type that partitions can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Boolean(bool),
    /// Also dates, and the results of transforms.
    Int(i32),
    Long(i64),
    /// Without its scale.
    Decimal(i128),
    Text(String),
    Uuid([u8; 16]),
}

impl Value {
    /// Reads the text of a value, as CSV has it.
    pub(crate) fn parse(kind: &Type, text: &str) -> Option<Self> {
        match kind {
            Type::Boolean => text.parse().ok().map(Self::Boolean),
            Type::Int => text.parse().ok().map(Self::Int),
            Type::Long => text.parse().ok().map(Self::Long),
            Type::Decimal { precision, scale } => decimal(text, *precision, *scale).map(Self::Decimal),
            Type::Date => date(text).map(Self::Int),
            Type::String => Some(Self::Text(text.to_owned())),
            Type::Uuid => uuid::Uuid::try_parse(text).ok().map(|uuid| Self::Uuid(uuid.into_bytes())),
            _ => None,
        }
    }

    /// As a bound.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Boolean(value) => vec![u8::from(*value)],
            Self::Int(value) => value.to_le_bytes().into(),
            Self::Long(value) => value.to_le_bytes().into(),
            Self::Decimal(value) => {
                let bytes = value.to_be_bytes();
                let sign = if *value < 0 { 0xff } else { 0 };
                let is_filler = |pair: &[u8]| matches!(pair, [first, second] if *first == sign && (second ^ sign) & 0x80 == 0);
                let filler = bytes.windows(2).take_while(|pair| is_filler(pair)).count();
                bytes.get(filler..).unwrap_or_default().to_vec()
            }
            Self::Text(text) => text.clone().into_bytes(),
            Self::Uuid(bytes) => bytes.to_vec(),
        }
    }

    /// The order of the values of a column. Values of two types are equal: a column has one.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(one), Self::Boolean(other)) => one.cmp(other),
            (Self::Int(one), Self::Int(other)) => one.cmp(other),
            (Self::Long(one), Self::Long(other)) => one.cmp(other),
            (Self::Decimal(one), Self::Decimal(other)) => one.cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Uuid(one), Self::Uuid(other)) => one.cmp(other),
            _ => Ordering::Equal,
        }
    }
}

/// A bound of a file's column as one of the table's column, whose type may have become wider since. [`Err`] has what a bound of the type has.
pub(crate) fn widened(table: &Type, bound: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let exactly = |length: usize| match bound.len() == length {
        true => Ok(Some(bound.to_vec())),
        false => Err(format!("{length} bytes")),
    };
    match table {
        Type::Boolean => exactly(1),
        Type::Int | Type::Date => exactly(4),
        Type::Long => match <[u8; 4]>::try_from(bound) {
            Ok(int) => Ok(Some(i64::from(i32::from_le_bytes(int)).to_le_bytes().into())),
            Err(_) => exactly(8),
        },
        Type::Time | Type::Timestamp | Type::Timestamptz => exactly(8),
        // No order says what a bound that is not a number bounds.
        Type::Float => Ok(exactly(4)?.filter(|_| <[u8; 4]>::try_from(bound).is_ok_and(|it| !f32::from_le_bytes(it).is_nan()))),
        Type::Double => {
            let wide = match (<[u8; 4]>::try_from(bound), <[u8; 8]>::try_from(bound)) {
                (Ok(float), _) => f64::from(f32::from_le_bytes(float)),
                (_, Ok(double)) => f64::from_le_bytes(double),
                _ => return Err("8 bytes".into()),
            };
            Ok((!wide.is_nan()).then(|| wide.to_le_bytes().into()))
        }
        Type::Decimal { .. } => match bound.len() {
            1..=16 => Ok(Some(bound.to_vec())),
            _ => Err("1 to 16 bytes".into()),
        },
        Type::Uuid => exactly(16),
        Type::Fixed(length) => exactly(usize::try_from(*length).unwrap_or(usize::MAX)),
        Type::String => match std::str::from_utf8(bound) {
            Ok(_) => Ok(Some(bound.to_vec())),
            Err(_) => Err("UTF-8".into()),
        },
        Type::Binary => Ok(Some(bound.to_vec())),
        Type::Struct(_) | Type::List(_) | Type::Map(..) | Type::Other(_) => Err("no bounds".into()),
    }
}

/// A decimal with exactly this scale at most: `-1.5` of scale 2 is -150.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > usize::from(scale) {
        return None;
    }
    let zeros = usize::from(scale) - fraction.len();
    let unscaled: i128 = format!("{whole}{fraction}{}", "0".repeat(zeros)).parse().ok()?;
    let fits = unscaled < 10_i128.checked_pow(precision.into())?;
    fits.then_some(if negative { -unscaled } else { unscaled })
}

/// Days since 1970 of `YYYY-MM-DD`.
pub(crate) fn date(text: &str) -> Option<i32> {
    let (rest, day) = text.rsplit_once('-')?;
    let (year, month) = rest.rsplit_once('-')?;
    days_of(year_of(year)?, two_digits(month)?, two_digits(day)?)
}

/// A year of four digits or more.
pub(crate) fn year_of(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let good = digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| good)
}

/// Two digits.
pub(crate) fn two_digits(text: &str) -> Option<u32> {
    let good = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| good)
}

/// Days since 1970 of a day of the proleptic Gregorian calendar.
pub(crate) fn days_of(year: i32, month: u32, day: u32) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > last {
        return None;
    }
    // From March on, so that the leap day is the last of its year.
    let (year, month) = (i64::from(year) - i64::from(month <= 2), i64::from((month + 9) % 12));
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    i32::try_from(days).ok()
}

/// Year and month of a day since 1970.
pub(crate) fn year_and_month(days: i64) -> (i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let year = year_of_era + era * 400;
    if month < 10 { (year, month + 3) } else { (year + 1, month - 9) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_or_refused() {
        let scale_two = Type::Decimal { precision: 5, scale: 2 };
        for (kind, text, expected) in [
            (Type::Boolean, "true", Some(Value::Boolean(true))),
            (Type::Boolean, "1", None),
            (Type::Int, "-7", Some(Value::Int(-7))),
            (Type::Int, "2147483648", None),
            (Type::Long, "2147483648", Some(Value::Long(2_147_483_648))),
            (scale_two.clone(), "-1.5", Some(Value::Decimal(-150))),
            (scale_two.clone(), "999.99", Some(Value::Decimal(99_999))),
            (scale_two.clone(), "1000.00", None),
            (scale_two.clone(), "1.234", None),
            (scale_two.clone(), ".5", None),
            (scale_two, "1e2", None),
            (Type::Date, "1970-01-02", Some(Value::Int(1))),
            (Type::Date, "1969-12-31", Some(Value::Int(-1))),
            (Type::Date, "2024-02-30", None),
            (Type::Date, "2024-2-3", None),
            (Type::String, "", Some(Value::Text(String::new()))),
            (Type::Uuid, "00000000-0000-0000-0000-000000000001", Some(Value::Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))),
            (Type::Uuid, "x", None),
            (Type::Binary, "x", None),
            (Type::Timestamp, "2024-01-01", None),
        ] {
            assert_eq!(Value::parse(&kind, text), expected, "{kind} {text:?}");
        }
    }

    #[test]
    fn decimals_have_as_few_bytes_as_hold_them() {
        for (value, expected) in [(0, vec![0]), (127, vec![127]), (128, vec![0, 128]), (-1, vec![255]), (-129, vec![255, 127])] {
            assert_eq!(Value::Decimal(value).to_bytes(), expected, "{value}");
        }
    }

    #[test]
    fn bounds_of_narrower_files_become_those_of_the_table() {
        for (kind, bound, expected) in [
            (Type::Long, vec![255, 255, 255, 255], Ok(Some((-1_i64).to_le_bytes().to_vec()))),
            (Type::Long, vec![1, 0, 0, 0, 0, 0, 0, 0], Ok(Some(vec![1, 0, 0, 0, 0, 0, 0, 0]))),
            (Type::Long, vec![1], Err("8 bytes")),
            (Type::Double, 1.5_f32.to_le_bytes().to_vec(), Ok(Some(1.5_f64.to_le_bytes().to_vec()))),
            (Type::Double, f64::NAN.to_le_bytes().to_vec(), Ok(None)),
            (Type::Float, f32::NAN.to_le_bytes().to_vec(), Ok(None)),
            (Type::Int, vec![1, 2], Err("4 bytes")),
            (Type::String, vec![0xff], Err("UTF-8")),
            (Type::Decimal { precision: 5, scale: 0 }, vec![], Err("1 to 16 bytes")),
            (Type::Fixed(2), vec![1, 2], Ok(Some(vec![1, 2]))),
            (Type::Struct(vec![]), vec![1], Err("no bounds")),
        ] {
            assert_eq!(widened(&kind, &bound), expected.map_err(str::to_owned), "{kind} {bound:?}");
        }
    }

    proptest! {
        #[test]
        fn days_and_months_belong_together(days in -3_000_000_i32..3_000_000) {
            let (year, month) = year_and_month(days.into());
            let first = days_of(year.try_into().unwrap(), month.try_into().unwrap(), 1).unwrap();
            prop_assert!((0..31).contains(&(days - first)), "{days} {year} {month} {first}");
            prop_assert_eq!(days_of(year.try_into().unwrap(), month.try_into().unwrap(), (days - first + 1).try_into().unwrap()), Some(days));
        }

        #[test]
        fn the_bytes_of_a_decimal_are_its_number(value in any::<i128>()) {
            let bytes = Value::Decimal(value).to_bytes();
            let filler = if value < 0 { 0xff } else { 0 };
            let mut all = [filler; 16];
            all[16 - bytes.len()..].copy_from_slice(&bytes);
            prop_assert_eq!(i128::from_be_bytes(all), value);
        }
    }
}
