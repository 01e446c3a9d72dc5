//! Refuses values that an output would change, naming them before they are sent.
//!
//! Arrow allows a column to hold more than its type can mean: a time of day of thirty hours, a date with hours, a decimal with more digits than
//! declared. The destination would write such values as the reference does, by wrapping around, truncating or rounding. For rows from a plugin the
//! reference defines the result; values from a file must be written unchanged, or not at all.

use super::InputError;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date64Type, Decimal128Type, Decimal256Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, GenericStringArray, OffsetSizeTrait, RecordBatch};
use arrow_buffer::{ArrowNativeType, i256};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};

const SECONDS_OF_DAY: i32 = 86_400;
const MILLISECONDS_OF_DAY: i32 = 1_000 * SECONDS_OF_DAY;
const MICROSECONDS_OF_DAY: i64 = 1_000 * MILLISECONDS_OF_DAY as i64;
const NANOSECONDS_OF_DAY: i64 = 1_000 * MICROSECONDS_OF_DAY;

/// The first and last second that the destination's calendar can represent; a time zone shifts either by less than a day.
const SECONDS: std::ops::RangeInclusive<i64> = -9_223_372_028_741_600_000..=i64::MAX - SECONDS_OF_DAY as i64;

/// Refuses a batch of plain types with a value that no output can represent. `rows_before` rows of the file precede it.
///
/// # Errors
/// [`InputError::Value`], which names the first row of the first such column.
pub(crate) fn check(batch: &RecordBatch, file: &str, rows_before: u64) -> Result<(), InputError> {
    check_as(batch.schema_ref().fields(), batch, file, rows_before)
}

/// As [`check`], for a batch before its conversion to these fields, when intervals may still be Parquet's bytes.
pub(crate) fn check_as(fields: &Fields, batch: &RecordBatch, file: &str, rows_before: u64) -> Result<(), InputError> {
    for (field, column) in fields.iter().zip(batch.columns()) {
        if let Some(fault) = find(field, column, &|_| true) {
            let (row, column) = (rows_before + fault.row as u64 + 1, format!("{}{}", field.name(), fault.place));
            return Err(InputError::Value { file: file.to_owned(), row, column, problem: fault.problem });
        }
    }
    Ok(())
}

/// A value that no output can represent.
struct Fault {
    row: usize,
    /// The path within the column, if it is nested: `.name` for a field, `[]` for an item.
    place: String,
    problem: String,
}

impl Fault {
    /// The fault from the parent's point of view.
    fn within(self, row: usize, place: &str) -> Self {
        Self { row, place: format!("{place}{}", self.place), problem: self.problem }
    }
}

/// The first fault among the valid rows: those below a null do not count.
fn find(field: &Field, array: &ArrayRef, counts: &dyn Fn(usize) -> bool) -> Option<Fault> {
    let counts = |row: usize| row < array.len() && array.is_valid(row) && counts(row);
    let in_lists = |item: &Field, values: &ArrayRef, parent: &dyn Fn(usize) -> usize, place: &str| {
        find(item, values, &|at| counts(parent(at))).map(|fault| {
            let row = parent(fault.row);
            fault.within(row, place)
        })
    };
    match array.data_type() {
        DataType::Utf8 => not_utf8(array.as_string::<i32>(), &counts),
        DataType::LargeUtf8 => not_utf8(array.as_string::<i64>(), &counts),
        DataType::FixedSizeBinary(_) => match field.data_type() {
            DataType::Interval(unit) => of_interval(*unit, array, &counts),
            _ => None,
        },
        DataType::Decimal128(precision, _) => {
            let bound = 10_i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
            first::<Decimal128Type>(array, &counts, |value| -bound < value && value < bound, || digits(*precision))
        }
        DataType::Decimal256(precision, _) => {
            let bound = i256::from_i128(10).checked_pow(u32::from(*precision)).unwrap_or(i256::MAX);
            first::<Decimal256Type>(array, &counts, |value| bound.wrapping_neg() < value && value < bound, || digits(*precision))
        }
        DataType::Time32(TimeUnit::Second) => first::<Time32SecondType>(array, &counts, |it| (0..SECONDS_OF_DAY).contains(&it), of_day),
        DataType::Time32(_) => first::<Time32MillisecondType>(array, &counts, |it| (0..MILLISECONDS_OF_DAY).contains(&it), of_day),
        DataType::Time64(TimeUnit::Microsecond) => {
            first::<Time64MicrosecondType>(array, &counts, |it| (0..MICROSECONDS_OF_DAY).contains(&it), of_day)
        }
        DataType::Time64(_) => first::<Time64NanosecondType>(array, &counts, |it| (0..NANOSECONDS_OF_DAY).contains(&it), of_day),
        DataType::Date64 => first::<Date64Type>(
            array,
            &counts,
            |it| it % i64::from(MILLISECONDS_OF_DAY) == 0,
            || "the value is a date with a time of day, which would be cut off; store it as a timestamp".to_owned(),
        ),
        DataType::Timestamp(TimeUnit::Second, _) => first::<TimestampSecondType>(
            array,
            &counts,
            |it| SECONDS.contains(&it),
            || "the value is a moment that no calendar of 64 bits names".to_owned(),
        ),
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let item = if let DataType::List(item) = field.data_type() { item } else { item };
            in_lists(item, list.values(), &|at| row_of(list.value_offsets(), at), "[]")
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            in_lists(item, list.values(), &|at| row_of(list.value_offsets(), at), "[]")
        }
        DataType::FixedSizeList(item, size) => {
            let size = size.as_usize().max(1);
            in_lists(item, array.as_fixed_size_list().values(), &|at| at / size, "[]")
        }
        DataType::Struct(fields) => (if let DataType::Struct(fields) = field.data_type() { fields } else { fields })
            .iter()
            .zip(array.as_struct().columns())
            .find_map(|(field, child)| {
                find(field, child, &counts).map(|fault| {
                    let row = fault.row;
                    fault.within(row, &format!(".{}", field.name()))
                })
            }),
        DataType::Map(entries, _) => {
            let map = array.as_map();
            let entries = if let DataType::Map(entries, _) = field.data_type() { entries } else { entries };
            let DataType::Struct(pair) = entries.data_type() else { return None };
            let sides = pair.iter().zip(map.entries().columns()).zip([".key", ".value"]);
            sides.map(|((field, side), place)| in_lists(field, side, &|at| row_of(map.value_offsets(), at), place)).find_map(|fault| fault)
        }
        _ => None,
    }
}

/// The first text that is not UTF-8: the Parquet reader checks declared text in some encodings but not in others.
fn not_utf8<O: OffsetSizeTrait>(texts: &GenericStringArray<O>, counts: &dyn Fn(usize) -> bool) -> Option<Fault> {
    let (offsets, data) = (texts.value_offsets(), texts.value_data());
    let used = data.get(offsets.first()?.as_usize()..offsets.last()?.as_usize())?;
    let is_boundary = |offset: &O| data.get(offset.as_usize()).is_none_or(|byte| (*byte as i8) >= -0x40);
    if used.is_ascii() || (std::str::from_utf8(used).is_ok() && offsets.iter().all(is_boundary)) {
        return None;
    }
    let is_text = |row: &[O]| match row {
        [start, end] => data.get(start.as_usize()..end.as_usize()).is_some_and(|text| std::str::from_utf8(text).is_ok()),
        _ => true,
    };
    let row = offsets.windows(2).enumerate().position(|(row, ends)| !is_text(ends) && counts(row))?;
    Some(Fault { row, place: String::new(), problem: "the value is declared as text and is not UTF-8".to_owned() })
}

/// The first interval that exceeds its type: Parquet counts months, days and milliseconds, each as an unsigned 32-bit number; an Arrow writer means
/// signed numbers, and declares which of them it has written.
fn of_interval(unit: IntervalUnit, array: &ArrayRef, counts: &dyn Fn(usize) -> bool) -> Option<Fault> {
    let array = array.as_fixed_size_binary_opt()?;
    let is_good = |row: usize| {
        let Some(Interval { months, days, milliseconds }) = Interval::parse(array.value(row)) else { return false };
        match unit {
            IntervalUnit::YearMonth => days == 0 && milliseconds == 0,
            IntervalUnit::DayTime => months == 0,
            IntervalUnit::MonthDayNano => i32::try_from(months).is_ok() && i32::try_from(days).is_ok(),
        }
    };
    let row = (0..array.len()).find(|row| counts(*row) && !is_good(*row))?;
    let problem = match unit {
        IntervalUnit::YearMonth => "the interval has days or milliseconds, and the file's Arrow schema says that it has months alone",
        IntervalUnit::DayTime => "the interval has months, and the file's Arrow schema says that it has days and milliseconds alone",
        IntervalUnit::MonthDayNano => "the interval has more than 2147483647 months or days",
    };
    Some(Fault { row, place: String::new(), problem: problem.to_owned() })
}

/// An INTERVAL of Parquet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    pub(crate) months: u32,
    pub(crate) days: u32,
    pub(crate) milliseconds: u32,
}

impl Interval {
    /// Parses three little-endian numbers; [`None`] unless there are twelve bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [months, days, milliseconds] = bytes.as_chunks::<4>().0 else { return None };
        let [months, days, milliseconds] = [months, days, milliseconds].map(|number| u32::from_le_bytes(*number));
        Some(Self { months, days, milliseconds })
    }
}

/// The row that contains the value at `at`; `None` if it is before the first or after the last row.
fn row_of<O: ArrowNativeType>(offsets: &[O], at: usize) -> usize {
    offsets.partition_point(|offset| offset.as_usize() <= at).wrapping_sub(1)
}

/// The first invalid value.
fn first<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    counts: &dyn Fn(usize) -> bool,
    is_good: impl Fn(T::Native) -> bool,
    problem: impl Fn() -> String,
) -> Option<Fault> {
    let values = array.as_primitive_opt::<T>()?.values();
    // Nearly always there is none, and a loop that ignores nulls is faster.
    if values.iter().all(|value| is_good(*value)) {
        return None;
    }
    let row = values.iter().enumerate().position(|(row, value)| !is_good(*value) && counts(row))?;
    Some(Fault { row, place: String::new(), problem: problem() })
}

fn digits(precision: u8) -> String {
    format!("the value has more digits than the {precision} that its type declares, and would be rounded")
}

fn of_day() -> String {
    "the value is not a time of day, from 00:00:00 to before 24:00:00".to_owned()
}
