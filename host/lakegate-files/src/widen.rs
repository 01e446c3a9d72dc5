//! The type that holds the values of two columns of one name exactly, for `--union-by-name`.
//!
//! Values of text are written as they are in a wider type or refused by line, so that any two types have one, in the worst case text. Values of Parquet
//! and Arrow are converted, so that only types count into which every value fits.

use super::columns::ColumnType;
use arrow_schema::{DataType, Field, TimeUnit};

/// The largest precision of a decimal.
const MAX_DIGITS: u8 = 38;

/// A column of a file, or of all files so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column<'a> {
    pub(crate) field: &'a Field,
    /// Whether all of its values are text.
    pub(crate) text: bool,
}

/// The column that both are; [`None`] if no type holds the values of both.
pub(crate) fn wider(a: Column<'_>, b: Column<'_>) -> Option<Field> {
    if a.field.data_type() == b.field.data_type() && a.field.metadata() == b.field.metadata() {
        return Some(a.field.clone());
    }
    match (a.text, b.text) {
        (true, true) => of_text(a.field, b.field),
        (false, false) => of_values(a.field, b.field),
        // The values of text are held to the type of the others.
        (true, false) => ColumnType::from_field(b.field).map(|_| b.field.clone()),
        (false, true) => ColumnType::from_field(a.field).map(|_| a.field.clone()),
    }
}

fn of_text(a: &Field, b: &Field) -> Option<Field> {
    let finer = |a: TimeUnit, b: TimeUnit| if digits(a) >= digits(b) { a } else { b };
    let wide = match (ColumnType::from_field(a)?, ColumnType::from_field(b)?) {
        // JSON is a text of its own, which others are not.
        (ColumnType::Json, _) | (_, ColumnType::Json) => return None,
        (ColumnType::Integer(_), ColumnType::Float(float)) | (ColumnType::Float(float), ColumnType::Integer(_)) => ColumnType::Float(float),
        (ColumnType::Timestamp(a), ColumnType::Timestamp(b)) => ColumnType::Timestamp(finer(a, b)),
        (ColumnType::DateTime(a), ColumnType::DateTime(b)) => ColumnType::DateTime(finer(a, b)),
        _ => ColumnType::Utf8,
    };
    Some(wide.field(a.name()))
}

fn of_values(a: &Field, b: &Field) -> Option<Field> {
    if a.metadata() != b.metadata() {
        return None;
    }
    let wide = wider_type(a.data_type(), b.data_type()).or_else(|| wider_type(b.data_type(), a.data_type()))?;
    Some(a.clone().with_data_type(wide))
}

/// The type of the second that also holds every value of the first, or one that holds both.
fn wider_type(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (DataType::Utf8, DataType::LargeUtf8) | (DataType::Binary, DataType::LargeBinary) => Some(b.clone()),
        (DataType::Float16, DataType::Float32 | DataType::Float64) | (DataType::Float32, DataType::Float64) => Some(b.clone()),
        (DataType::Timestamp(from, zone), DataType::Timestamp(to, other)) if zone == other && digits(*from) <= digits(*to) => {
            Some(b.clone())
        }
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => decimal((*p, *s), (*q, *t)),
        (from, DataType::Decimal128(q, t)) if from.is_integer() => decimal((integer_digits(from)?, 0), (*q, *t)),
        (from, DataType::Float64) if from.is_integer() => (bits(from)? <= 32).then_some(DataType::Float64),
        (from, DataType::Float32) if from.is_integer() => match bits(from)? {
            ..=16 => Some(DataType::Float32),
            17..=32 => Some(DataType::Float64),
            _ => None,
        },
        (from, to) if from.is_integer() && to.is_integer() => {
            let (from_bits, to_bits) = (bits(from)?, bits(to)?);
            match (from.is_signed_integer(), to.is_signed_integer()) {
                (true, true) | (false, false) => (from_bits <= to_bits).then(|| to.clone()),
                // A signed type has one bit less for the value.
                (false, true) if from_bits < to_bits => Some(to.clone()),
                (false, true) => match from_bits {
                    8 => Some(DataType::Int16),
                    16 => Some(DataType::Int32),
                    32 => Some(DataType::Int64),
                    _ => None,
                },
                (true, false) => None,
            }
        }
        _ => None,
    }
}

/// The decimal that holds the digits of both before and behind the point.
fn decimal((p, s): (u8, i8), (q, t): (u8, i8)) -> Option<DataType> {
    let scale = s.max(t);
    let whole = (i16::from(p) - i16::from(s)).max(i16::from(q) - i16::from(t));
    let precision = u8::try_from(whole + i16::from(scale)).ok().filter(|digits| (1..=MAX_DIGITS).contains(digits))?;
    Some(DataType::Decimal128(precision, scale))
}

fn bits(integer: &DataType) -> Option<usize> {
    integer.primitive_width().map(|bytes| bytes * 8)
}

/// The digits of the largest value.
fn integer_digits(integer: &DataType) -> Option<u8> {
    Some(match integer {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        DataType::UInt64 => 20,
        _ => return None,
    })
}

/// Decimals of a second.
fn digits(unit: TimeUnit) -> usize {
    super::columns::decimals(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &DataType, b: &DataType, text: (bool, bool), expected: Option<&DataType>) {
        let field = |data_type: &DataType| Field::new("c", data_type.clone(), true);
        for (a, b, (x, y)) in [(a, b, text), (b, a, (text.1, text.0))] {
            let wide = wider(Column { field: &field(a), text: x }, Column { field: &field(b), text: y });
            assert_eq!(wide.as_ref().map(Field::data_type), expected, "{a} {b}");
        }
    }

    #[test]
    fn types_that_hold_both() {
        use DataType::{Boolean, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, UInt8, UInt32, UInt64, Utf8};
        let time = |unit| DataType::Timestamp(unit, None);
        let zoned = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        for (a, b, wide) in [
            (Int32, Int64, Some(Int64)),
            (Int8, UInt8, Some(Int16)),
            (UInt8, Int32, Some(Int32)),
            (UInt32, Int32, Some(Int64)),
            (UInt64, Int64, None),
            (Float32, Float64, Some(Float64)),
            (Int32, Float64, Some(Float64)),
            (Int32, Float32, Some(Float64)),
            (Int16, Float32, Some(Float32)),
            // A float has 53 bits.
            (Int64, Float64, None),
            (Int64, Utf8, None),
            (Boolean, Int8, None),
            (Utf8, LargeUtf8, Some(LargeUtf8)),
            (time(TimeUnit::Second), time(TimeUnit::Microsecond), Some(time(TimeUnit::Microsecond))),
            (time(TimeUnit::Second), zoned(TimeUnit::Second), None),
            (Date32, time(TimeUnit::Second), None),
            (Decimal128(5, 2), Decimal128(6, 4), Some(Decimal128(7, 4))),
            (Decimal128(38, 0), Decimal128(5, 5), None),
            (Int32, Decimal128(5, 2), Some(Decimal128(12, 2))),
        ] {
            check(&a, &b, (false, false), wide.as_ref());
        }
        for (a, b, wide) in [
            (Int64, Float64, Some(Float64)),
            (Int64, Boolean, Some(Utf8)),
            (Int64, Utf8, Some(Utf8)),
            (Date32, zoned(TimeUnit::Microsecond), Some(Utf8)),
            (zoned(TimeUnit::Microsecond), zoned(TimeUnit::Nanosecond), Some(zoned(TimeUnit::Nanosecond))),
        ] {
            check(&a, &b, (true, true), wide.as_ref());
        }
        check(&Int64, &Int32, (true, false), Some(&Int32));
        check(&Utf8, &Decimal128(5, 2), (true, false), Some(&Decimal128(5, 2)));
        check(&Utf8, &LargeUtf8, (true, false), None);
    }
}
