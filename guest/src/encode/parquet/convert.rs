//! Arrays as the column writers want them: the work a [`Convert`] names.

use super::budget::{ConversionBudget, Reason, too_large};
use super::cells;
use super::plan::{Column, Convert, UINT64_DIGITS, Widen};
use crate::encode::EncodeError;
use crate::encode::text::days_of_milliseconds;
use crate::ipc::expansion::{Spent, weigh};
use crate::spec::TimestampUnit;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ByteArrayType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, GenericBinaryType, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericByteArray, GenericListArray, LargeListArray, ListArray, MapArray, OffsetSizeTrait,
    PrimitiveArray, StructArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};
use std::sync::Arc;

/// Milliseconds of a second, and nanoseconds of a microsecond.
const THOUSAND: i32 = 1_000;

/// What a cell of invalid UTF-8 has in place of each byte that is not part of a character.
const REPLACEMENT: &str = "\u{fffd}";

/// Converts the array of a column.
///
/// # Errors
/// [`EncodeError::Data`], naming the column.
pub(super) fn convert(column: &Column, array: &ArrayRef, budget: &mut ConversionBudget) -> Result<ArrayRef, EncodeError> {
    apply(&column.convert, array, budget)
        .map_err(|reason| EncodeError::Data(format!("column {:?} of type {}: {reason}", column.name, array.data_type())))
}

/// The same by what is to be done.
pub(super) fn apply(convert: &Convert, array: &ArrayRef, budget: &mut ConversionBudget) -> Result<ArrayRef, Reason> {
    match convert {
        Convert::Keep => Ok(array.clone()),
        Convert::Utf8 => match array.data_type() {
            DataType::Binary => valid_utf8(array, array.as_binary::<i32>(), budget),
            DataType::LargeBinary => valid_utf8(array, array.as_binary::<i64>(), budget),
            _ => Err(unexpected()),
        },
        Convert::Text(text) => cells::column(*text, array.as_ref(), budget).map(|cells| Arc::new(cells) as ArrayRef),
        Convert::TimeSeconds => {
            let array = array.as_primitive_opt::<Time32SecondType>().ok_or_else(unexpected)?;
            let milliseconds = |seconds: i32| seconds.checked_mul(THOUSAND).ok_or_else(|| beyond("milliseconds", i32::BITS));
            Ok(Arc::new(array.try_unary::<_, Time32MillisecondType, _>(milliseconds)?))
        }
        Convert::TimestampSeconds => {
            let array = array.as_primitive_opt::<TimestampSecondType>().ok_or_else(unexpected)?;
            let milliseconds = |seconds: i64| seconds.checked_mul(THOUSAND.into()).ok_or_else(|| beyond("milliseconds", i64::BITS));
            Ok(Arc::new(array.try_unary::<_, TimestampMillisecondType, _>(milliseconds)?))
        }
        Convert::TimestampNanos => {
            let array = array.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(unexpected)?;
            Ok(Arc::new(array.unary::<_, TimestampMicrosecondType>(|nanos| nanos / i64::from(THOUSAND))))
        }
        Convert::TimestampUnit(from, to) => in_unit(array, *from, *to),
        Convert::DateMilliseconds => {
            let array = array.as_primitive_opt::<Date64Type>().ok_or_else(unexpected)?;
            let days = |it: i64| i32::try_from(days_of_milliseconds(it)).map_err(|_| beyond("days", i32::BITS));
            Ok(Arc::new(array.try_unary::<_, Date32Type, _>(days)?))
        }
        Convert::Decimal(bytes) => {
            if decimals_fit(array, *bytes) {
                Ok(array.clone())
            } else {
                Err(format!("a value has more digits than its precision, and does not fit the {bytes} bytes that Parquet gives it"))
            }
        }
        Convert::Widen(widen) => widened(*widen, array, budget),
        Convert::TimeMicroseconds { from, truncates } => microseconds_of_day(array, *from, *truncates, budget),
        Convert::Dictionary(value) => {
            let dictionary = array.as_any_dictionary_opt().ok_or_else(unexpected)?;
            weigh(array, 0..array.len(), &mut budget.left).map_err(|Spent| too_large())?;
            // Looked up first: the dictionary may be far larger than the rows at hand.
            let flat = arrow_select::take::take(dictionary.values(), dictionary.keys(), None).map_err(reason)?;
            apply(value, &flat, budget)
        }
        Convert::List(item, element) => match array.data_type() {
            DataType::List(_) => list(array.as_list::<i32>(), item, element, budget).map(|list: ListArray| Arc::new(list) as ArrayRef),
            DataType::LargeList(_) => {
                list(array.as_list::<i64>(), item, element, budget).map(|list: LargeListArray| Arc::new(list) as ArrayRef)
            }
            DataType::FixedSizeList(_, size) => {
                let list = array.as_fixed_size_list();
                let values = apply(element, list.values(), budget)?;
                let list = FixedSizeListArray::try_new_with_length(item.clone(), *size, values, list.nulls().cloned(), list.len());
                Ok(Arc::new(list.map_err(reason)?))
            }
            _ => Err(unexpected()),
        },
        Convert::Struct(fields, children) => {
            let array = array.as_struct_opt().ok_or_else(unexpected)?;
            let columns = children.iter().zip(array.columns()).map(|(child, column)| apply(child, column, budget));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, array.nulls().cloned()).map_err(reason)?))
        }
        Convert::Map(entry, entries) => {
            let map = array.as_map_opt().ok_or_else(unexpected)?;
            let DataType::Map(_, sorted) = array.data_type() else { return Err(unexpected()) };
            let (offsets, start, end) = rebased(map.offsets());
            let inner: ArrayRef = Arc::new(map.entries().slice(start, end - start));
            let inner = apply(entries, &inner, budget)?;
            let inner = inner.as_struct_opt().ok_or_else(unexpected)?.clone();
            Ok(Arc::new(MapArray::try_new(entry.clone(), offsets, inner, map.nulls().cloned(), *sorted).map_err(reason)?))
        }
    }
}

/// Numbers in a type that has room for all of theirs.
fn widened(widen: Widen, array: &ArrayRef, budget: &mut ConversionBudget) -> Result<ArrayRef, Reason> {
    let bytes_each = match widen {
        Widen::UInt32 => size_of::<i64>(),
        Widen::UInt64 => size_of::<i128>(),
        Widen::Float16 => size_of::<f32>(),
    };
    budget.take((array.len() * bytes_each) as u64)?;
    Ok(match widen {
        Widen::UInt32 => Arc::new(primitive::<UInt32Type>(array)?.unary::<_, Int64Type>(i64::from)),
        Widen::UInt64 => {
            let wide = primitive::<UInt64Type>(array)?.unary::<_, Decimal128Type>(i128::from);
            Arc::new(wide.with_precision_and_scale(UINT64_DIGITS, 0).map_err(reason)?)
        }
        Widen::Float16 => Arc::new(primitive::<Float16Type>(array)?.unary::<_, Float32Type>(|value| value.to_f32())),
    })
}

/// Times of day in microseconds.
fn microseconds_of_day(array: &ArrayRef, from: TimeUnit, truncates: bool, budget: &mut ConversionBudget) -> Result<ArrayRef, Reason> {
    budget.take((array.len() * size_of::<i64>()) as u64)?;
    let thousand = i64::from(THOUSAND);
    Ok(match from {
        TimeUnit::Second => {
            Arc::new(primitive::<Time32SecondType>(array)?.unary::<_, Time64MicrosecondType>(|it| i64::from(it) * thousand * thousand))
        }
        TimeUnit::Millisecond => {
            Arc::new(primitive::<Time32MillisecondType>(array)?.unary::<_, Time64MicrosecondType>(|it| i64::from(it) * thousand))
        }
        TimeUnit::Microsecond => array.clone(),
        TimeUnit::Nanosecond => {
            let inexact = || {
                "a time of day is not a whole number of microseconds, which is all that Iceberg has; `timestamp_unit: us_truncated` would cut off \
                 what is finer"
                    .to_owned()
            };
            let convert = |it: i64| if it % thousand == 0 || truncates { Ok(it.div_euclid(thousand)) } else { Err(inexact()) };
            Arc::new(primitive::<Time64NanosecondType>(array)?.try_unary::<_, Time64MicrosecondType, _>(convert)?)
        }
    })
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<&PrimitiveArray<T>, Reason> {
    array.as_primitive_opt::<T>().ok_or_else(unexpected)
}

/// Timestamps in the unit that was asked for.
fn in_unit(array: &ArrayRef, from: TimeUnit, to: TimestampUnit) -> Result<ArrayRef, Reason> {
    match from {
        TimeUnit::Second => of_unit::<TimestampSecondType>(array, 1, to),
        TimeUnit::Millisecond => of_unit::<TimestampMillisecondType>(array, 1_000, to),
        TimeUnit::Microsecond => of_unit::<TimestampMicrosecondType>(array, 1_000_000, to),
        TimeUnit::Nanosecond => of_unit::<TimestampNanosecondType>(array, 1_000_000_000, to),
    }
}

/// The same of a unit of which there are so many in a second.
fn of_unit<T: ArrowPrimitiveType<Native = i64>>(array: &ArrayRef, a_second: i64, to: TimestampUnit) -> Result<ArrayRef, Reason> {
    let array = array.as_primitive_opt::<T>().ok_or_else(unexpected)?;
    let (wanted, name) = if to.microseconds { (1_000_000, "microseconds") } else { (1_000, "milliseconds") };
    let (factor, divisor) = ((wanted / a_second).max(1), (a_second / wanted).max(1));
    let inexact = || {
        format!(
            "a value is not a whole number of {name}, and `timestamp_unit: {}` changes none; `{}_truncated` would cut off what is finer",
            to.name(),
            to.name()
        )
    };
    let convert = |value: i64| match value.checked_mul(factor) {
        None => Err(beyond(name, i64::BITS)),
        Some(value) if value.rem_euclid(divisor) != 0 && !to.truncates => Err(inexact()),
        // Towards the past, before 1970, too: the day stays the day.
        Some(value) => Ok(value.div_euclid(divisor)),
    };
    Ok(match to.microseconds {
        true => Arc::new(array.try_unary::<_, TimestampMicrosecondType, _>(convert)?),
        false => Arc::new(array.try_unary::<_, TimestampMillisecondType, _>(convert)?),
    })
}

/// Does every decimal fit so many bytes? Arrow holds a column's values to no precision, and the column writer would cut off what is above.
fn decimals_fit(array: &ArrayRef, bytes: usize) -> bool {
    let bits = 8 * bytes as u32 - 1;
    // In halves: the sandbox shifts 128 bits by a call.
    let fits = |value: i128| {
        let (high, low) = ((value >> 64) as i64, value as i64);
        match bits.checked_sub(u64::BITS) {
            None => high == low >> 63 && matches!(low >> bits, 0 | -1),
            Some(bits) => matches!(high >> bits.min(63), 0 | -1),
        }
    };
    match array.data_type() {
        DataType::Decimal32(..) => array.as_primitive::<Decimal32Type>().iter().flatten().all(|value| fits(value.into())),
        DataType::Decimal64(..) => array.as_primitive::<Decimal64Type>().iter().flatten().all(|value| fits(value.into())),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().iter().flatten().all(fits),
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().iter().flatten().all(|value| {
            // What is above is to be the sign and nothing else.
            let sign = if value.is_negative() { 0xff } else { 0 };
            let text = value.to_le_bytes();
            text.iter().skip(bytes).all(|byte| *byte == sign) && text.get(bytes - 1).is_some_and(|byte| byte >> 7 == sign >> 7)
        }),
        _ => false,
    }
}

fn list<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
    item: &FieldRef,
    element: &Convert,
    budget: &mut ConversionBudget,
) -> Result<GenericListArray<O>, Reason> {
    let (offsets, start, end) = rebased(list.offsets());
    let values = apply(element, &list.values().slice(start, end - start), budget)?;
    GenericListArray::try_new(item.clone(), offsets, values, list.nulls().cloned()).map_err(reason)
}

/// Offsets from zero, and the range of the child they spoke of: a slice of a long list column touches only its own elements.
fn rebased<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (OffsetBuffer<O>, usize, usize) {
    let (first, last) = (offsets.first(), offsets.last());
    let (start, end) = (first.as_usize(), last.as_usize());
    if start == 0 {
        return (offsets.clone(), start, end);
    }
    let moved: Vec<O> = offsets.iter().map(|offset| *offset - first).collect();
    (OffsetBuffer::new(ScalarBuffer::from(moved)), start, end)
}

/// The array itself if every value is UTF-8, else a copy with each stray byte replaced.
fn valid_utf8<O: OffsetSizeTrait>(
    array: &ArrayRef,
    values: &GenericByteArray<GenericBinaryType<O>>,
    budget: &mut ConversionBudget,
) -> Result<ArrayRef, Reason>
where
    GenericBinaryType<O>: ByteArrayType<Native = [u8], Offset = O>,
{
    if all_utf8(values) {
        return Ok(array.clone());
    }
    let length =
        (0..values.len()).filter(|row| values.is_valid(*row)).map(|row| text_bytes(values.value(row))).fold(0, u64::saturating_add);
    let mut bytes = Vec::with_capacity(budget.take(length)?);
    let mut offsets = Vec::with_capacity(values.len() + 1);
    offsets.push(O::zero());
    for row in 0..values.len() {
        if values.is_valid(row) && append_text(values.value(row), &mut bytes) {
            budget.replaced += 1;
        }
        offsets.push(O::from_usize(bytes.len()).ok_or("more than 2 GiB of text in one record batch")?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let valid = GenericByteArray::<GenericBinaryType<O>>::try_new(offsets, bytes.into(), values.nulls().cloned());
    Ok(Arc::new(valid.map_err(reason)?))
}

/// Is each value UTF-8? Text that is UTF-8 as a whole and is cut only between characters is so in each of its values.
fn all_utf8<O: OffsetSizeTrait>(values: &GenericByteArray<GenericBinaryType<O>>) -> bool
where
    GenericBinaryType<O>: ByteArrayType<Native = [u8], Offset = O>,
{
    let offsets = values.value_offsets();
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return true };
    let data = values.value_data();
    let Some(used) = data.get(first.as_usize()..last.as_usize()) else { return false };
    if used.is_ascii() {
        return true;
    }
    let is_boundary = |offset: &O| data.get(offset.as_usize()).is_none_or(|byte| (*byte as i8) >= -0x40);
    // The last offset may stand before bytes of values that a slice has left out; `from_utf8` has judged that end already.
    std::str::from_utf8(used).is_ok() && offsets.iter().take(offsets.len() - 1).all(is_boundary)
}

/// Bytes of a cell as UTF-8.
fn text_bytes(cell: &[u8]) -> u64 {
    cell.utf8_chunks().map(|chunk| (chunk.valid().len() + chunk.invalid().len() * REPLACEMENT.len()) as u64).sum()
}

/// Appends a cell as UTF-8, and returns whether anything had to be replaced. As the reference's JSON does: one U+FFFD a stray byte.
fn append_text(cell: &[u8], text: &mut Vec<u8>) -> bool {
    let mut replaced = false;
    for chunk in cell.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            text.extend_from_slice(REPLACEMENT.as_bytes());
            replaced = true;
        }
    }
    replaced
}

/// Why a count of time is not converted: Parquet has another unit for it, in which it would be another one.
fn beyond(unit: &str, bits: u32) -> Reason {
    format!("a value does not fit the {bits} bits in which Parquet counts its {unit}; csv and json have no such bound")
}

fn unexpected() -> Reason {
    "the rows do not have the type of their schema".into()
}

fn reason(error: ArrowError) -> Reason {
    error.to_string()
}
