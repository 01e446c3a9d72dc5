//! Columns to lanes: branch-free kernels where a block of a column is plain, else the general path value by value.

use super::lane::{Lane, STORE_BYTES, Source};
use super::number::DecimalType;
use super::string::{Html, is_plain_csv, is_plain_json, may_begin_with_space, push_csv_field};
use super::time::CivilDay;
use super::value::{Bound, Bytes, Decimals, Ints, Style, ValueError, Values};
use super::writer::Separators;
use std::ops::Range;

/// Fills a lane with the cells of some rows of a column.
///
/// # Errors
/// [`ValueError`] if a value has no text.
pub(crate) fn fill(
    lane: &mut Lane,
    bound: &Bound<'_>,
    rows: Range<usize>,
    separators: Separators,
    spare: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let odd = matches!(separators, Separators::Csv { delimiter } if is_odd(delimiter));
    let filled = !odd
        && match &bound.values {
            Values::Text(bytes) => fill_strings(lane, bound, *bytes, rows.clone(), separators),
            Values::Int(ints) => fill_ints(lane, bound, *ints, rows.clone(), separators),
            Values::Decimal(decimals, ty) => fill_decimals(lane, bound, *decimals, *ty, rows.clone(), separators),
            Values::Date(days) => {
                let days = |row| days.get(row);
                every(bound, rows.clone(), |row| FOUR_DIGIT_YEARS.contains(&days(row))) && {
                    fill_short(lane, bound, rows.clone(), separators, Quotes::Json, |row| Short::date(days(row)));
                    true
                }
            }
            _ => false,
        };
    if filled { Ok(()) } else { general(lane, bound, rows, separators, spare) }
}

/// Days since 1970 of the years 0000 to 9999, whose dates have ten characters.
const FOUR_DIGIT_YEARS: Range<i64> = -719_528..2_932_897;

/// Integers below this have, with a sign, at most sixteen characters.
const SHORT_INT_LIMIT: u64 = 1_000_000_000_000_000;

/// Decimals of this scale or less are never so small that they turn to exponent form.
const MAX_PLAIN_SCALE: i8 = 4;

/// Text of at most sixteen bytes, the first in the lowest.
#[derive(Debug, Clone, Copy)]
struct Short {
    text: u128,
    length: u32,
}

impl Short {
    const EMPTY: Self = Self { text: 0, length: 0 };
    const NULL: Self = Self { text: u32::from_le_bytes(*b"null") as u128, length: 4 };

    /// A magnitude below [`SHORT_INT_LIMIT`].
    #[inline(always)]
    fn int(magnitude: u64, negative: bool) -> Self {
        let raw = u128::from(digits(magnitude / 100_000_000)) | u128::from(digits(magnitude % 100_000_000)) << 64;
        let zeros = (raw.trailing_zeros() / 8).min(15);
        Self { text: (raw | ZEROS) >> (8 * zeros), length: 16 - zeros }.signed(negative)
    }

    /// A whole part below 10^8, and the digits behind the point as eight (so `25` of scale 2 is 25,000,000).
    #[inline(always)]
    fn decimal(whole: u64, fraction: u64, negative: bool) -> Self {
        let whole = digits(whole);
        let zeros = (whole.trailing_zeros() / 8).min(7);
        let length = 8 - zeros;
        let fraction = digits(fraction);
        let places = 8 - fraction.leading_zeros() / 8;
        let behind = u128::from(b'.') | u128::from(fraction | ZEROS as u64) << 8;
        let whole = u128::from((whole | ZEROS as u64) >> (8 * zeros));
        Self { text: whole | behind << (8 * length), length: length + places + u32::from(places > 0) }.signed(negative)
    }

    /// A day of [`FOUR_DIGIT_YEARS`].
    #[inline(always)]
    fn date(unix_days: i64) -> Self {
        let CivilDay { year, month, day } = CivilDay::from_unix_days(unix_days);
        let text = u128::from(digits(year as u64 * 10_000 + u64::from(month) * 100 + u64::from(day)) | ZEROS as u64);
        let dash = u128::from(b'-');
        let text = text & 0xffff_ffff | dash << 32 | (text >> 32 & 0xffff) << 40 | dash << 56 | (text >> 48) << 64;
        Self { text, length: 10 }
    }

    #[inline(always)]
    fn signed(self, negative: bool) -> Self {
        if negative { Self { text: self.text << 8 | u128::from(b'-'), length: self.length + 1 } } else { self }
    }

    /// With quotes around; only for text of at most fourteen bytes.
    #[inline(always)]
    fn quoted(self) -> Self {
        let quote = u128::from(b'"');
        let inside = self.text & ((1 << (8 * self.length)) - 1);
        Self { text: quote | inside << 8 | quote << (8 * (self.length + 1)), length: self.length + 2 }
    }
}

/// Sixteen ASCII zeros.
const ZEROS: u128 = 0x3030_3030_3030_3030_3030_3030_3030_3030;

/// The eight decimal digits (as numbers, the first in the lowest byte) of a value below 10^8, all at once.
#[inline(always)]
fn digits(value: u64) -> u64 {
    // Four digits a lane of 32 bits, then two a lane of 16, then one a byte. The factors are reciprocals, exact for lanes this small.
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - tens * 10) << 8
}

/// Are the values of such a lane strings in JSON?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Json,
    Never,
}

/// Does a test hold for every row that is not null?
fn every(bound: &Bound<'_>, rows: Range<usize>, test: impl Fn(usize) -> bool) -> bool {
    match bound.nulls {
        // Without a branch, so that the compiler can use vector compares.
        None => rows.fold(true, |all, row| all & test(row)),
        Some(nulls) => rows.fold(true, |all, row| all & (nulls.is_null(row) || test(row))),
    }
}

fn fill_short(
    lane: &mut Lane,
    bound: &Bound<'_>,
    rows: Range<usize>,
    separators: Separators,
    quotes: Quotes,
    cell: impl Fn(usize) -> Short,
) {
    let json = separators == Separators::Json;
    let strings = json && quotes == Quotes::Json;
    lane.source = Source::Short;
    let mut push = |short: Short| {
        lane.short.push(short.text.to_le_bytes());
        lane.lengths.push(short.length);
    };
    match bound.nulls.filter(|nulls| nulls.null_count() > 0) {
        None => {
            rows.for_each(|row| push(cell(row)));
            lane.quoted = strings;
        }
        // Some cells have quotes and some have not, so they belong to the cells.
        Some(nulls) => {
            for row in rows {
                push(match (nulls.is_null(row), json) {
                    (true, true) => Short::NULL,
                    (true, false) => Short::EMPTY,
                    (false, _) if strings => cell(row).quoted(),
                    (false, _) => cell(row),
                });
            }
        }
    }
    debug_assert!(lane.lengths.iter().all(|&length| length as usize <= STORE_BYTES));
}

fn fill_ints(lane: &mut Lane, bound: &Bound<'_>, ints: Ints<'_>, rows: Range<usize>, separators: Separators) -> bool {
    macro_rules! signed {
        ($values:expr) => {{
            let values = $values;
            every(bound, rows.clone(), |row| i64::from(values[row]).unsigned_abs() < SHORT_INT_LIMIT) && {
                let cell = |row: usize| Short::int(i64::from(values[row]).unsigned_abs(), values[row] < 0);
                fill_short(lane, bound, rows, separators, Quotes::Never, cell);
                true
            }
        }};
    }
    macro_rules! unsigned {
        ($values:expr) => {{
            let values = $values;
            every(bound, rows.clone(), |row| u64::from(values[row]) < SHORT_INT_LIMIT) && {
                fill_short(lane, bound, rows, separators, Quotes::Never, |row: usize| Short::int(u64::from(values[row]), false));
                true
            }
        }};
    }
    match ints {
        Ints::I8(values) => signed!(values),
        Ints::I16(values) => signed!(values),
        Ints::I32(values) => signed!(values),
        Ints::I64(values) => signed!(values),
        Ints::U8(values) => unsigned!(values),
        Ints::U16(values) => unsigned!(values),
        Ints::U32(values) => unsigned!(values),
        Ints::U64(values) => unsigned!(values),
    }
}

fn fill_decimals(
    lane: &mut Lane,
    bound: &Bound<'_>,
    decimals: Decimals<'_>,
    ty: DecimalType,
    rows: Range<usize>,
    separators: Separators,
) -> bool {
    let Decimals::D128(values) = decimals else { return false };
    if !(0..=MAX_PLAIN_SCALE).contains(&ty.scale) {
        return false;
    }
    let unit = 10u64.pow(ty.scale as u32);
    // Eight digits before the point, and no more digits in all than the type has.
    let limit = u128::from(unit * 100_000_000).min(10u128.checked_pow(u32::from(ty.precision)).unwrap_or(u128::MAX));
    if !every(bound, rows.clone(), |row| values[row].unsigned_abs() < limit) {
        return false;
    }
    let to_eight = 100_000_000 / unit;
    fill_short(lane, bound, rows, separators, Quotes::Json, |row| {
        let value = values[row] as i64;
        let magnitude = value.unsigned_abs();
        Short::decimal(magnitude / unit, magnitude % unit * to_eight, value < 0)
    });
    true
}

fn fill_strings(lane: &mut Lane, bound: &Bound<'_>, bytes: Bytes<'_>, rows: Range<usize>, separators: Separators) -> bool {
    let Some(data) = bytes.data() else { return false };
    let region = &data[bytes.offset(rows.start)..bytes.offset(rows.end)];
    let nulls = bound.nulls.filter(|nulls| nulls.null_count() > 0);
    let plain = match separators {
        Separators::Json => nulls.is_none() && is_plain_json(region),
        Separators::Csv { delimiter } => {
            is_plain_csv(region, delimiter)
                && rows.clone().all(|row| {
                    let (start, end) = (bytes.offset(row), bytes.offset(row + 1));
                    start == end || !may_begin_with_space(data[start])
                })
        }
    };
    if !plain {
        let Separators::Csv { delimiter } = separators else { return false };
        for row in rows {
            let start = lane.text.len();
            if !nulls.is_some_and(|nulls| nulls.is_null(row)) {
                push_csv_field(&mut lane.text, &data[bytes.offset(row)..bytes.offset(row + 1)], delimiter);
            }
            lane.starts.push(start);
            lane.lengths.push((lane.text.len() - start) as u32);
        }
        return true;
    }
    lane.source = Source::Borrowed;
    lane.quoted = separators == Separators::Json;
    let mut start = bytes.offset(rows.start);
    for row in rows {
        let end = bytes.offset(row + 1);
        let length = if nulls.is_some_and(|nulls| nulls.is_null(row)) { 0 } else { (end - start) as u32 };
        lane.starts.push(start);
        lane.lengths.push(length);
        start = end;
    }
    true
}

/// The general path: each value as text, one after the other.
pub(crate) fn general(
    lane: &mut Lane,
    bound: &Bound<'_>,
    rows: Range<usize>,
    separators: Separators,
    spare: &mut Vec<u8>,
) -> Result<(), ValueError> {
    for row in rows {
        let start = lane.text.len();
        match separators {
            Separators::Json => bound.push(&mut lane.text, row, Style::Json(Html::Raw))?,
            Separators::Csv { delimiter } if may_need_quotes(&bound.values, delimiter) => {
                spare.clear();
                bound.push(spare, row, Style::Csv)?;
                push_csv_field(&mut lane.text, spare, delimiter);
            }
            Separators::Csv { .. } => bound.push(&mut lane.text, row, Style::Csv)?,
        }
        lane.starts.push(start);
        lane.lengths.push((lane.text.len() - start) as u32);
    }
    Ok(())
}

/// May the CSV text of such values need quotes? Numbers, dates and their like do not, unless the delimiter is one of their characters.
fn may_need_quotes(values: &Values<'_>, delimiter: u8) -> bool {
    if is_odd(delimiter) {
        return true;
    }
    match values {
        Values::Text(_)
        | Values::Json(_)
        | Values::Interval(_)
        | Values::List(..)
        | Values::Struct(..)
        | Values::Map(..)
        | Values::Dictionary(..) => true,
        Values::Null | Values::Bool(_) | Values::Int(_) | Values::Float(_) | Values::Binary { .. } | Values::FixedBinary(_) => false,
        Values::Date(_) | Values::TimeOfDay(..) | Values::Timestamp(..) | Values::Duration(..) | Values::Decimal(..) => false,
        Values::Uuid(_) | Values::Inet(_) | Values::Mac(_) => false,
    }
}

/// Can the delimiter be a character of a number, a date, an address or base64?
pub(crate) fn is_odd(delimiter: u8) -> bool {
    delimiter.is_ascii_alphanumeric() || b"+-.:/=()".contains(&delimiter)
}

#[cfg(test)]
mod tests {
    use super::super::plan::Kind;
    use super::*;
    use arrow_array::{Array, BinaryArray, Date32Array, Decimal128Array, Int64Array, UInt64Array};
    use proptest::prelude::*;

    const SEPARATORS: [Separators; 4] =
        [Separators::Json, Separators::Csv { delimiter: b',' }, Separators::Csv { delimiter: b';' }, Separators::Csv { delimiter: b'-' }];

    /// The cells of a lane with the quotes that belong to them.
    fn cells(lane: &Lane, bound: &Bound<'_>) -> Vec<Vec<u8>> {
        let borrowed = match &bound.values {
            Values::Text(bytes) => bytes.data().unwrap_or_default(),
            _ => &[],
        };
        let quote: &[u8] = if lane.quoted { b"\"" } else { b"" };
        (0..lane.lengths.len()).map(|row| [quote, lane.cell(row, borrowed), quote].concat()).collect()
    }

    /// Whatever path a block takes, its cells are those of the general path; also when the rows are a slice.
    fn check(kind: &Kind, array: &dyn Array) {
        let middle = array.len() / 3;
        for slice in [array.slice(0, array.len()), array.slice(middle, array.len() - middle)] {
            let bound = Bound::new(kind, slice.as_ref()).expect("the kind fits");
            for separators in SEPARATORS {
                let (mut fast, mut slow) = (Lane::default(), Lane::default());
                fill(&mut fast, &bound, 0..slice.len(), separators, &mut Vec::new()).expect("a text");
                general(&mut slow, &bound, 0..slice.len(), separators, &mut Vec::new()).expect("a text");
                assert_eq!(cells(&fast, &bound), cells(&slow, &bound), "{separators:?}");
            }
        }
    }

    /// Magnitudes of every length are alike likely.
    fn wide() -> impl Strategy<Value = i64> {
        (any::<i64>(), 0u32..64).prop_map(|(value, shift)| value >> shift)
    }

    fn nullable<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T> + Clone) -> impl Strategy<Value = Vec<Option<T>>> {
        let some = proptest::collection::vec(value.clone().prop_map(Some), 1..40);
        let mixed = proptest::collection::vec(proptest::option::of(value), 1..40);
        prop_oneof![some, mixed]
    }

    proptest! {
        #[test]
        fn integers_take_either_path_alike(values in nullable(wide().boxed())) {
            check(&Kind::Int, &Int64Array::from(values.clone()));
            let unsigned: Vec<Option<u64>> = values.iter().map(|value| value.map(|value| value as u64)).collect();
            check(&Kind::Int, &UInt64Array::from(unsigned));
        }

        #[test]
        fn small_integers_take_either_path_alike(values in nullable((-2_000_000_000_000_000i64..2_000_000_000_000_000, 0u32..50).prop_map(|(value, shift)| value >> shift).boxed())) {
            check(&Kind::Int, &Int64Array::from(values));
        }

        #[test]
        fn decimals_take_either_path_alike(values in nullable((wide(), 0u32..8).prop_map(|(value, zeros)| i128::from(value % 10_000_000_000) / 10i128.pow(zeros) * 10i128.pow(zeros)).boxed()), scale in -2i8..7, precision in 1u8..20) {
            let array = Decimal128Array::from(values);
            check(&Kind::Decimal(DecimalType { precision, scale }), &array);
        }

        #[test]
        fn dates_take_either_path_alike(values in nullable(prop_oneof![-800_000i32..3_000_000, any::<i32>(), 0i32..20_000].boxed())) {
            check(&Kind::Date, &Date32Array::from(values));
        }

        #[test]
        fn strings_take_either_path_alike(values in nullable(prop_oneof!["[a-z ]{0,40}", "[a-z,;\"\\\\ \n<\u{a0}\u{2028}]{0,6}"].boxed())) {
            let values: Vec<Option<&[u8]>> = values.iter().map(|value| value.as_deref().map(str::as_bytes)).collect();
            check(&Kind::Text, &BinaryArray::from(values));
        }
    }
}
