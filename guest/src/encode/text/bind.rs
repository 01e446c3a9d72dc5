//! A column's plan tied to the array that holds its values.
//!
//! Tying costs a few casts a column and batch. After it a value is read by its row alone, whatever the array's layout.

use super::number::DecimalType;
use super::plan::{StructPlan, ValueKind};
use super::zone::Zone;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, LargeBinaryArray, PrimitiveArray,
};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use std::ops::Range;

/// Milliseconds of a day; `Date64` counts them.
const MILLISECONDS_PER_DAY: i64 = 86_400_000;

/// Values of bytes, whatever their layout.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bytes<'a> {
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
    View(&'a BinaryViewArray),
}

impl<'a> Bytes<'a> {
    pub(crate) fn get(self, row: usize) -> &'a [u8] {
        match self {
            Self::Small(array) => array.value(row),
            Self::Large(array) => array.value(row),
            Self::View(array) => array.value(row),
        }
    }

    /// Has the column no data bytes at all? The reference then takes its empty values for absent ones.
    fn is_bare(self) -> bool {
        match self {
            Self::Small(array) => array.value_data().is_empty(),
            Self::Large(array) => array.value_data().is_empty(),
            Self::View(_) => false,
        }
    }

    /// The bytes of all rows in one piece, where the layout has one.
    pub(crate) fn data(self) -> Option<&'a [u8]> {
        match self {
            Self::Small(array) => Some(array.value_data()),
            Self::Large(array) => Some(array.value_data()),
            Self::View(_) => None,
        }
    }

    /// Where in [`Self::data`] a row's bytes begin (for the row after the last: where they end).
    pub(crate) fn offset(self, row: usize) -> usize {
        match self {
            Self::Small(array) => array.value_offsets()[row].as_usize(),
            Self::Large(array) => array.value_offsets()[row].as_usize(),
            Self::View(_) => 0,
        }
    }
}

/// Integers of any width.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ints<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
}

impl Ints<'_> {
    /// The value as an index; `None` for a negative one.
    pub(crate) fn index(self, row: usize) -> Option<usize> {
        match self {
            Self::I8(values) => usize::try_from(values[row]).ok(),
            Self::I16(values) => usize::try_from(values[row]).ok(),
            Self::I32(values) => usize::try_from(values[row]).ok(),
            Self::I64(values) => usize::try_from(values[row]).ok(),
            Self::U8(values) => Some(usize::from(values[row])),
            Self::U16(values) => Some(usize::from(values[row])),
            Self::U32(values) => usize::try_from(values[row]).ok(),
            Self::U64(values) => usize::try_from(values[row]).ok(),
        }
    }
}

/// Floats of any width.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Floats<'a> {
    F16(&'a [half::f16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
}

/// Counts of time: 32 or 64 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ticks<'a> {
    T32(&'a [i32]),
    T64(&'a [i64]),
}

impl Ticks<'_> {
    pub(crate) fn get(self, row: usize) -> i64 {
        match self {
            Self::T32(values) => i64::from(values[row]),
            Self::T64(values) => values[row],
        }
    }
}

/// Days since 1970: as such, or as milliseconds divided toward zero.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Days<'a> {
    Days(&'a [i32]),
    Milliseconds(&'a [i64]),
}

/// Divided toward zero, as the reference does.
#[inline(always)]
pub(crate) fn days_of_milliseconds(milliseconds: i64) -> i64 {
    milliseconds / MILLISECONDS_PER_DAY
}

impl Days<'_> {
    pub(crate) fn get(self, row: usize) -> i64 {
        match self {
            Self::Days(values) => i64::from(values[row]),
            Self::Milliseconds(values) => days_of_milliseconds(values[row]),
        }
    }
}

/// Unscaled decimals of any width.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Decimals<'a> {
    D32(&'a [i32]),
    D64(&'a [i64]),
    D128(&'a [i128]),
    D256(&'a [arrow_buffer::i256]),
}

/// Intervals of each unit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Intervals<'a> {
    Months(&'a [i32]),
    DayTime(&'a [arrow_buffer::IntervalDayTime]),
    MonthDayNano(&'a [arrow_buffer::IntervalMonthDayNano]),
}

/// Where each row's items lie in a list's child.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extents<'a> {
    Offsets32(&'a [i32]),
    Offsets64(&'a [i64]),
    Fixed(usize),
    Views32(&'a [i32], &'a [i32]),
    Views64(&'a [i64], &'a [i64]),
}

impl Extents<'_> {
    pub(crate) fn get(self, row: usize) -> Range<usize> {
        match self {
            Self::Offsets32(offsets) => offsets[row].as_usize()..offsets[row + 1].as_usize(),
            Self::Offsets64(offsets) => offsets[row].as_usize()..offsets[row + 1].as_usize(),
            Self::Fixed(length) => row * length..(row + 1) * length,
            Self::Views32(offsets, sizes) => offsets[row].as_usize()..offsets[row].as_usize() + sizes[row].as_usize(),
            Self::Views64(offsets, sizes) => offsets[row].as_usize()..offsets[row].as_usize() + sizes[row].as_usize(),
        }
    }
}

/// Reads a column's values by row: a plan tied to an array.
#[derive(Debug)]
pub(crate) struct ColumnReader<'a> {
    pub(crate) nulls: Option<&'a NullBuffer>,
    pub(crate) values: Values<'a>,
}

/// The values of an array, each kind with what it takes to write one.
#[derive(Debug)]
pub(crate) enum Values<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int(Ints<'a>),
    Float(Floats<'a>),
    Text(Bytes<'a>),
    Binary { bytes: Bytes<'a>, bare: bool },
    FixedBinary(&'a FixedSizeBinaryArray),
    Date(Days<'a>),
    TimeOfDay(Ticks<'a>, TimeUnit),
    Timestamp(&'a [i64], TimeUnit, &'a Zone),
    Duration(&'a [i64], TimeUnit),
    Interval(Intervals<'a>),
    Decimal(Decimals<'a>, DecimalType),
    Uuid(&'a FixedSizeBinaryArray),
    Inet(Bytes<'a>),
    Mac(Bytes<'a>),
    Json(Bytes<'a>),
    List(Extents<'a>, Box<ColumnReader<'a>>),
    Struct(Vec<ColumnReader<'a>>, &'a StructPlan),
    Map(&'a [i32], Box<(ColumnReader<'a>, ColumnReader<'a>)>),
    Dictionary(Ints<'a>, Box<ColumnReader<'a>>),
}

/// The array is not what the schema says. The text names both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch(pub(crate) String);

fn slice<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<&[T::Native]> {
    array.as_any().downcast_ref::<PrimitiveArray<T>>().map(|array| array.values().as_ref())
}

/// As [`slice`], for types whose parameters (zone, precision) do not change how they are stored.
macro_rules! slices {
    ($array:expr, { $($ty:pat => $variant:expr, $arrow:ty;)* }) => {
        match $array.data_type() {
            $($ty => slice::<$arrow>($array).map($variant),)*
            _ => None,
        }
    };
}

fn bytes(array: &dyn Array) -> Option<Bytes<'_>> {
    array
        .as_binary_opt::<i32>()
        .map(Bytes::Small)
        .or_else(|| array.as_binary_opt::<i64>().map(Bytes::Large))
        .or_else(|| array.as_binary_view_opt().map(Bytes::View))
}

fn ints(array: &dyn Array) -> Option<Ints<'_>> {
    slices!(array, {
        DataType::Int8 => Ints::I8, Int8Type;
        DataType::Int16 => Ints::I16, Int16Type;
        DataType::Int32 => Ints::I32, Int32Type;
        DataType::Int64 => Ints::I64, Int64Type;
        DataType::UInt8 => Ints::U8, UInt8Type;
        DataType::UInt16 => Ints::U16, UInt16Type;
        DataType::UInt32 => Ints::U32, UInt32Type;
        DataType::UInt64 => Ints::U64, UInt64Type;
    })
}

fn floats(array: &dyn Array) -> Option<Floats<'_>> {
    slices!(array, {
        DataType::Float16 => Floats::F16, Float16Type;
        DataType::Float32 => Floats::F32, Float32Type;
        DataType::Float64 => Floats::F64, Float64Type;
    })
}

fn times(array: &dyn Array) -> Option<Ticks<'_>> {
    slices!(array, {
        DataType::Time32(TimeUnit::Second) => Ticks::T32, Time32SecondType;
        DataType::Time32(TimeUnit::Millisecond) => Ticks::T32, Time32MillisecondType;
        DataType::Time64(TimeUnit::Microsecond) => Ticks::T64, Time64MicrosecondType;
        DataType::Time64(TimeUnit::Nanosecond) => Ticks::T64, Time64NanosecondType;
    })
}

fn timestamps(array: &dyn Array) -> Option<&[i64]> {
    slices!(array, {
        DataType::Timestamp(TimeUnit::Second, _) => |ticks| ticks, TimestampSecondType;
        DataType::Timestamp(TimeUnit::Millisecond, _) => |ticks| ticks, TimestampMillisecondType;
        DataType::Timestamp(TimeUnit::Microsecond, _) => |ticks| ticks, TimestampMicrosecondType;
        DataType::Timestamp(TimeUnit::Nanosecond, _) => |ticks| ticks, TimestampNanosecondType;
    })
}

fn durations(array: &dyn Array) -> Option<&[i64]> {
    slices!(array, {
        DataType::Duration(TimeUnit::Second) => |ticks| ticks, DurationSecondType;
        DataType::Duration(TimeUnit::Millisecond) => |ticks| ticks, DurationMillisecondType;
        DataType::Duration(TimeUnit::Microsecond) => |ticks| ticks, DurationMicrosecondType;
        DataType::Duration(TimeUnit::Nanosecond) => |ticks| ticks, DurationNanosecondType;
    })
}

fn intervals(array: &dyn Array) -> Option<Intervals<'_>> {
    slices!(array, {
        DataType::Interval(IntervalUnit::YearMonth) => Intervals::Months, IntervalYearMonthType;
        DataType::Interval(IntervalUnit::DayTime) => Intervals::DayTime, IntervalDayTimeType;
        DataType::Interval(IntervalUnit::MonthDayNano) => Intervals::MonthDayNano, IntervalMonthDayNanoType;
    })
}

fn decimals(array: &dyn Array) -> Option<Decimals<'_>> {
    slices!(array, {
        DataType::Decimal32(..) => Decimals::D32, Decimal32Type;
        DataType::Decimal64(..) => Decimals::D64, Decimal64Type;
        DataType::Decimal128(..) => Decimals::D128, Decimal128Type;
        DataType::Decimal256(..) => Decimals::D256, Decimal256Type;
    })
}

fn days(array: &dyn Array) -> Option<Days<'_>> {
    slices!(array, {
        DataType::Date32 => Days::Days, Date32Type;
        DataType::Date64 => Days::Milliseconds, Date64Type;
    })
}

/// A list's extents and its child.
fn list(array: &dyn Array) -> Option<(Extents<'_>, &dyn Array)> {
    if let Some(list) = array.as_list_opt::<i32>() {
        Some((Extents::Offsets32(list.value_offsets()), list.values().as_ref()))
    } else if let Some(list) = array.as_list_opt::<i64>() {
        Some((Extents::Offsets64(list.value_offsets()), list.values().as_ref()))
    } else if let Some(list) = array.as_fixed_size_list_opt() {
        Some((Extents::Fixed(list.value_length().as_usize()), list.values().as_ref()))
    } else if let Some(list) = array.as_list_view_opt::<i32>() {
        Some((Extents::Views32(list.value_offsets(), list.value_sizes()), list.values().as_ref()))
    } else {
        let list = array.as_list_view_opt::<i64>()?;
        Some((Extents::Views64(list.value_offsets(), list.value_sizes()), list.values().as_ref()))
    }
}

impl<'a> ColumnReader<'a> {
    /// Ties a plan to an array of the physical type it was made for.
    ///
    /// # Errors
    /// [`Mismatch`] if the array has another type.
    pub(crate) fn new(kind: &'a ValueKind, array: &'a dyn Array) -> Result<Self, Mismatch> {
        Ok(Self { nulls: array.nulls(), values: Self::values(kind, array)? })
    }

    fn values(kind: &'a ValueKind, array: &'a dyn Array) -> Result<Values<'a>, Mismatch> {
        let values = match kind {
            ValueKind::Null => Some(Values::Null),
            ValueKind::Bool => array.as_boolean_opt().map(Values::Bool),
            ValueKind::Int => ints(array).map(Values::Int),
            ValueKind::Float => floats(array).map(Values::Float),
            ValueKind::Text => bytes(array).map(Values::Text),
            ValueKind::Binary => bytes(array).map(|bytes| Values::Binary { bytes, bare: bytes.is_bare() }),
            ValueKind::FixedBinary => array.as_fixed_size_binary_opt().map(Values::FixedBinary),
            ValueKind::Date => days(array).map(Values::Date),
            ValueKind::TimeOfDay(unit) => times(array).map(|ticks| Values::TimeOfDay(ticks, *unit)),
            ValueKind::Timestamp(unit, zone) => timestamps(array).map(|ticks| Values::Timestamp(ticks, *unit, zone)),
            ValueKind::Duration(unit) => durations(array).map(|ticks| Values::Duration(ticks, *unit)),
            ValueKind::Interval => intervals(array).map(Values::Interval),
            ValueKind::Decimal(ty) => decimals(array).map(|values| Values::Decimal(values, *ty)),
            ValueKind::Uuid => array.as_fixed_size_binary_opt().map(Values::Uuid),
            ValueKind::Inet => bytes(array).map(Values::Inet),
            ValueKind::Mac => bytes(array).map(Values::Mac),
            ValueKind::Json => bytes(array).map(Values::Json),
            ValueKind::List(item) => match list(array) {
                Some((extents, child)) => Some(Values::List(extents, Box::new(Self::new(item, child)?))),
                None => None,
            },
            ValueKind::Struct(plan) => match array.as_struct_opt() {
                Some(array) if array.num_columns() == plan.children.len() => {
                    let children = plan.children.iter().zip(array.columns()).map(|(kind, child)| Self::new(kind, child.as_ref()));
                    Some(Values::Struct(children.collect::<Result<_, _>>()?, plan))
                }
                _ => None,
            },
            ValueKind::Map(pair) => match array.as_map_opt() {
                Some(map) => {
                    let pair = (Self::new(&pair.0, map.keys().as_ref())?, Self::new(&pair.1, map.values().as_ref())?);
                    Some(Values::Map(map.value_offsets(), Box::new(pair)))
                }
                None => None,
            },
            ValueKind::Dictionary(value) => match array.as_any_dictionary_opt() {
                Some(dictionary) => match ints(dictionary.keys()) {
                    Some(keys) => Some(Values::Dictionary(keys, Box::new(Self::new(value, dictionary.values().as_ref())?))),
                    None => None,
                },
                None => None,
            },
        };
        values.ok_or_else(|| Mismatch(format!("the rows hold {} where the schema says otherwise", array.data_type())))
    }

    /// Has this row no value? A null in a dictionary's values counts, and every row of the null type.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return true;
        }
        match &self.values {
            Values::Null => true,
            Values::Dictionary(keys, values) => match keys.index(row) {
                Some(key) => values.is_null(key),
                None => true,
            },
            _ => false,
        }
    }
}
