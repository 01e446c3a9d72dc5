//! One value of any type as text: the general path, which every fast path must equal.
//!
//! A [`Bound`] is a column's plan tied to the array that holds its values. Binding costs a few casts a column and batch; after it, writing
//! a value makes no allocation but for what it appends.

use super::address::{NotCidr, push_cidr, push_mac, push_uuid};
use super::append::{push_constant, push_text};
use super::digits::{push_int, push_unsigned};
use super::json_value::{NotJson, push_compact_draining};
use super::long::{Drain, Whole, anywhere, between_characters, push_in_pieces, push_plain};
use super::number::{DecimalType, FloatStyle, push_decimal128, push_decimal256, push_f32, push_f64};
use super::plan::{Kind, StructPlan};
use super::string::{Html, push_json_escaped};
use super::time::{Fraction, push_date, push_time_of_day, push_timestamp, unit_suffix};
use super::zone::Zone;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, LargeBinaryArray, PrimitiveArray,
};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::ops::Range;

/// Milliseconds of a day; `Date64` counts them.
const MILLISECONDS_PER_DAY: i64 = 86_400_000;

/// Which text a value takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A JSON value.
    Json(Html),
    /// The text of a CSV field, before it is quoted. What is nested in it is JSON with escaped HTML.
    Csv,
}

impl Style {
    fn float(self) -> FloatStyle {
        match self {
            Self::Json(_) => FloatStyle::Json,
            Self::Csv => FloatStyle::Csv,
        }
    }

    /// What stands around a value that is no number.
    #[inline(always)]
    fn quote(self) -> Option<u8> {
        match self {
            Self::Json(_) => Some(b'"'),
            Self::Csv => None,
        }
    }

    /// The style of JSON text inside a value of this style.
    fn nested(self) -> Html {
        match self {
            Self::Json(html) => html,
            Self::Csv => Html::Escaped,
        }
    }
}

/// Why a value has no text. The value itself is never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("a value is not valid JSON")]
    Json,
    #[error("a value of type `inet` is not an address with a prefix length, such as `10.0.0.0/8`")]
    Inet,
}

impl From<NotJson> for ValueError {
    fn from(NotJson: NotJson) -> Self {
        Self::Json
    }
}

impl From<NotCidr> for ValueError {
    fn from(NotCidr: NotCidr) -> Self {
        Self::Inet
    }
}

/// Values of bytes, whatever their layout.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bytes<'a> {
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
    View(&'a BinaryViewArray),
}

impl<'a> Bytes<'a> {
    fn get(self, row: usize) -> &'a [u8] {
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
    fn get(self, row: usize) -> i64 {
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
    fn get(self, row: usize) -> i64 {
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
    fn get(self, row: usize) -> Range<usize> {
        match self {
            Self::Offsets32(offsets) => offsets[row].as_usize()..offsets[row + 1].as_usize(),
            Self::Offsets64(offsets) => offsets[row].as_usize()..offsets[row + 1].as_usize(),
            Self::Fixed(length) => row * length..(row + 1) * length,
            Self::Views32(offsets, sizes) => offsets[row].as_usize()..offsets[row].as_usize() + sizes[row].as_usize(),
            Self::Views64(offsets, sizes) => offsets[row].as_usize()..offsets[row].as_usize() + sizes[row].as_usize(),
        }
    }
}

/// A plan tied to an array.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
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
    List(Extents<'a>, Box<Bound<'a>>),
    Struct(Vec<Bound<'a>>, &'a StructPlan),
    Map(&'a [i32], Box<(Bound<'a>, Bound<'a>)>),
    Dictionary(Ints<'a>, Box<Bound<'a>>),
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

impl<'a> Bound<'a> {
    /// Ties a plan to an array of the physical type it was made for.
    ///
    /// # Errors
    /// [`Mismatch`] if the array has another type.
    pub(crate) fn new(kind: &'a Kind, array: &'a dyn Array) -> Result<Self, Mismatch> {
        Ok(Self { nulls: array.nulls(), values: Self::values(kind, array)? })
    }

    fn values(kind: &'a Kind, array: &'a dyn Array) -> Result<Values<'a>, Mismatch> {
        let bound = match kind {
            Kind::Null => Some(Values::Null),
            Kind::Bool => array.as_boolean_opt().map(Values::Bool),
            Kind::Int => ints(array).map(Values::Int),
            Kind::Float => floats(array).map(Values::Float),
            Kind::Text => bytes(array).map(Values::Text),
            Kind::Binary => bytes(array).map(|bytes| Values::Binary { bytes, bare: bytes.is_bare() }),
            Kind::FixedBinary => array.as_fixed_size_binary_opt().map(Values::FixedBinary),
            Kind::Date => days(array).map(Values::Date),
            Kind::TimeOfDay(unit) => times(array).map(|ticks| Values::TimeOfDay(ticks, *unit)),
            Kind::Timestamp(unit, zone) => timestamps(array).map(|ticks| Values::Timestamp(ticks, *unit, zone)),
            Kind::Duration(unit) => durations(array).map(|ticks| Values::Duration(ticks, *unit)),
            Kind::Interval => intervals(array).map(Values::Interval),
            Kind::Decimal(ty) => decimals(array).map(|values| Values::Decimal(values, *ty)),
            Kind::Uuid => array.as_fixed_size_binary_opt().map(Values::Uuid),
            Kind::Inet => bytes(array).map(Values::Inet),
            Kind::Mac => bytes(array).map(Values::Mac),
            Kind::Json => bytes(array).map(Values::Json),
            Kind::List(item) => match list(array) {
                Some((extents, child)) => Some(Values::List(extents, Box::new(Self::new(item, child)?))),
                None => None,
            },
            Kind::Struct(plan) => match array.as_struct_opt() {
                Some(array) if array.num_columns() == plan.children.len() => {
                    let children = plan.children.iter().zip(array.columns()).map(|(kind, child)| Self::new(kind, child.as_ref()));
                    Some(Values::Struct(children.collect::<Result<_, _>>()?, plan))
                }
                _ => None,
            },
            Kind::Map(pair) => match array.as_map_opt() {
                Some(map) => {
                    let pair = (Self::new(&pair.0, map.keys().as_ref())?, Self::new(&pair.1, map.values().as_ref())?);
                    Some(Values::Map(map.value_offsets(), Box::new(pair)))
                }
                None => None,
            },
            Kind::Dictionary(value) => match array.as_any_dictionary_opt() {
                Some(dictionary) => match ints(dictionary.keys()) {
                    Some(keys) => Some(Values::Dictionary(keys, Box::new(Self::new(value, dictionary.values().as_ref())?))),
                    None => None,
                },
                None => None,
            },
        };
        bound.ok_or_else(|| Mismatch(format!("the rows hold {} where the schema says otherwise", array.data_type())))
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

    /// Appends a row's value; a null is `null` in JSON and nothing in CSV.
    ///
    /// # Errors
    /// [`ValueError`]; part of the value may have been appended.
    pub(crate) fn push(&self, out: &mut Vec<u8>, row: usize, style: Style) -> Result<(), ValueError> {
        self.push_draining(out, row, style, &mut Whole)
    }

    /// As [`Self::push`], and offers the text to `drain` on the way: after each part of a nested value, and within long ones.
    ///
    /// # Errors
    /// [`ValueError`], or the drain's; part of the value may have been appended.
    pub(crate) fn push_draining<D: Drain>(&self, out: &mut Vec<u8>, row: usize, style: Style, drain: &mut D) -> Result<(), D::Error> {
        if !self.is_null(row) {
            return self.push_valid(out, row, style, drain);
        }
        match (style, &self.values) {
            (Style::Json(_), _) => out.extend_from_slice(b"null"),
            // The reference's text of a null, which only a column of the null type lets through.
            (Style::Csv, Values::Null) => out.extend_from_slice(b"(null)"),
            (Style::Csv, _) => {}
        }
        Ok(())
    }

    fn push_valid<D: Drain>(&self, out: &mut Vec<u8>, row: usize, style: Style, drain: &mut D) -> Result<(), D::Error> {
        match &self.values {
            Values::Null => {}
            Values::Bool(array) => {
                if array.value(row) {
                    out.extend_from_slice(b"true")
                } else {
                    push_constant(out, b"false")
                }
            }
            Values::Int(ints) => ints.push(out, row),
            Values::Float(Floats::F16(values)) => push_f32(out, values[row].to_f32(), style.float()),
            Values::Float(Floats::F32(values)) => push_f32(out, values[row], style.float()),
            Values::Float(Floats::F64(values)) => push_f64(out, values[row], style.float()),
            Values::Text(bytes) => match style {
                Style::Json(html) => push_json_text(out, bytes.get(row), html, drain)?,
                Style::Csv => push_plain(out, bytes.get(row), drain)?,
            },
            Values::Binary { bytes, bare } => match style {
                Style::Json(_) if *bare => out.extend_from_slice(b"null"),
                _ => push_encoded(out, bytes.get(row), style, drain)?,
            },
            Values::FixedBinary(array) => push_encoded(out, array.value(row), style, drain)?,
            Values::Date(days) => in_quotes(out, style, |out| push_date(out, days.get(row))),
            Values::TimeOfDay(ticks, unit) => {
                let fraction = if style == Style::Csv { Fraction::Full } else { Fraction::Trimmed };
                in_quotes(out, style, |out| push_time_of_day(out, ticks.get(row), *unit, fraction));
            }
            Values::Timestamp(ticks, unit, zone) => in_quotes(out, style, |out| push_timestamp(out, ticks[row], *unit, zone)),
            Values::Duration(ticks, unit) => in_quotes(out, style, |out| {
                push_int(out, ticks[row]);
                push_text(out, unit_suffix(*unit));
            }),
            Values::Interval(intervals) => intervals.push(out, row, style),
            Values::Decimal(decimals, ty) => in_quotes(out, style, |out| decimals.push(out, row, *ty)),
            Values::Uuid(array) => in_quotes(out, style, |out| push_uuid(out, array.value(row))),
            Values::Inet(bytes) => match style {
                Style::Json(html) => push_json_text(out, bytes.get(row), html, drain)?,
                Style::Csv => push_cidr(out, bytes.get(row)).map_err(ValueError::from)?,
            },
            Values::Mac(bytes) => match (style, bytes.get(row)) {
                (Style::Csv, []) => push_mac(out, &[0; 6]),
                (_, address) => push_address(out, address, style, drain)?,
            },
            Values::Json(bytes) => match style {
                Style::Json(html) => push_compact_draining(out, bytes.get(row), html, drain)?,
                Style::Csv => push_plain(out, bytes.get(row), drain)?,
            },
            Values::List(extents, item) => {
                out.push(b'[');
                let items = extents.get(row);
                let first = items.start;
                for at in items {
                    if at > first {
                        out.push(b',');
                    }
                    item.push_draining(out, at, Style::Json(Html::Escaped), drain)?;
                    drain.drain(out)?;
                }
                out.push(b']');
            }
            Values::Struct(children, plan) => {
                let html = style.nested();
                let keys = if html == Html::Raw { &plan.raw } else { &plan.escaped };
                out.push(b'{');
                for (at, key) in keys.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    push_text(out, &key.text);
                    children[key.child].push_draining(out, row, Style::Json(html), drain)?;
                    drain.drain(out)?;
                }
                out.push(b'}');
            }
            Values::Map(offsets, pair) => {
                let (keys, values) = pair.as_ref();
                out.push(b'[');
                let entries = offsets[row].as_usize()..offsets[row + 1].as_usize();
                let first = entries.start;
                for at in entries {
                    if at > first {
                        out.push(b',');
                    }
                    push_constant(out, b"{\"key\":");
                    keys.push_draining(out, at, Style::Json(Html::Escaped), drain)?;
                    out.push(b',');
                    push_constant(out, b"\"value\":");
                    values.push_draining(out, at, Style::Json(Html::Escaped), drain)?;
                    out.push(b'}');
                    drain.drain(out)?;
                }
                out.push(b']');
            }
            Values::Dictionary(keys, values) => {
                if let Some(key) = keys.index(row) {
                    values.push_draining(out, key, style, drain)?;
                }
            }
        }
        Ok(())
    }
}

fn in_quotes(out: &mut Vec<u8>, style: Style, push: impl FnOnce(&mut Vec<u8>)) {
    match style {
        Style::Json(_) => {
            out.push(b'"');
            push(out);
            out.push(b'"');
        }
        Style::Csv => push(out),
    }
}

/// Appends a JSON string, quotes included.
#[inline(always)]
fn push_json_text<D: Drain>(out: &mut Vec<u8>, text: &[u8], html: Html, drain: &mut D) -> Result<(), D::Error> {
    out.push(b'"');
    push_in_pieces(out, text, drain, between_characters, |out, piece| push_json_escaped(out, piece, html))?;
    out.push(b'"');
    Ok(())
}

/// Appends base64, with the quotes of the style.
fn push_encoded<D: Drain>(out: &mut Vec<u8>, bytes: &[u8], style: Style, drain: &mut D) -> Result<(), D::Error> {
    out.extend(style.quote());
    push_in_pieces(out, bytes, drain, anywhere, push_base64)?;
    out.extend(style.quote());
    Ok(())
}

/// Appends a hardware address, with the quotes of the style.
fn push_address<D: Drain>(out: &mut Vec<u8>, address: &[u8], style: Style, drain: &mut D) -> Result<(), D::Error> {
    out.extend(style.quote());
    for (at, piece) in address.chunks(D::PIECE_BYTES).enumerate() {
        out.extend((at > 0).then_some(b':'));
        push_mac(out, piece);
        drain.drain(out)?;
    }
    out.extend(style.quote());
    Ok(())
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exact, so the only error there is cannot happen; were it to, the text would end where it stands.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

impl Ints<'_> {
    fn push(self, out: &mut Vec<u8>, row: usize) {
        match self {
            Self::I8(values) => push_int(out, values[row]),
            Self::I16(values) => push_int(out, values[row]),
            Self::I32(values) => push_int(out, values[row]),
            Self::I64(values) => push_int(out, values[row]),
            Self::U8(values) => push_int(out, values[row]),
            Self::U16(values) => push_int(out, values[row]),
            Self::U32(values) => push_int(out, values[row]),
            Self::U64(values) => push_unsigned(out, values[row]),
        }
    }

    /// The value as an index; `None` for a negative one.
    fn index(self, row: usize) -> Option<usize> {
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

impl Decimals<'_> {
    fn push(self, out: &mut Vec<u8>, row: usize, ty: DecimalType) {
        match self {
            Self::D32(values) => push_decimal128(out, i128::from(values[row]), ty),
            Self::D64(values) => push_decimal128(out, i128::from(values[row]), ty),
            Self::D128(values) => push_decimal128(out, values[row], ty),
            Self::D256(values) => push_decimal256(out, values[row], ty),
        }
    }
}

impl Intervals<'_> {
    fn push(self, out: &mut Vec<u8>, row: usize, style: Style) {
        match self {
            Self::Months(values) if style == Style::Csv => push_int(out, values[row]),
            Self::Months(values) => {
                out.extend_from_slice(b"{\"months\":");
                push_int(out, values[row]);
                out.push(b'}');
            }
            Self::DayTime(values) => {
                out.extend_from_slice(b"{\"days\":");
                push_int(out, values[row].days);
                out.extend_from_slice(b",\"milliseconds\":");
                push_int(out, values[row].milliseconds);
                out.push(b'}');
            }
            Self::MonthDayNano(values) => {
                out.extend_from_slice(b"{\"months\":");
                push_int(out, values[row].months);
                out.extend_from_slice(b",\"days\":");
                push_int(out, values[row].days);
                out.extend_from_slice(b",\"nanoseconds\":");
                push_int(out, values[row].nanoseconds);
                out.push(b'}');
            }
        }
    }
}

impl<'a> Bytes<'a> {
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

    fn weight(self, rows: Range<usize>) -> usize {
        match self {
            Self::Small(_) | Self::Large(_) => self.offset(rows.end) - self.offset(rows.start),
            // A null's view may say anything.
            Self::View(array) => {
                let valid = rows.filter(|row| array.is_valid(*row));
                valid.map(|row| array.views()[row] as u32 as usize).fold(0, usize::saturating_add)
            }
        }
    }
}

impl Bound<'_> {
    /// About how many bytes of Arrow some rows hold, with the names inside them, for deciding how many rows make a block. Cheap: offsets are read, not values.
    pub(crate) fn weight(&self, rows: Range<usize>) -> usize {
        /// Bytes a number counts for.
        const NUMBER: usize = 16;
        if rows.is_empty() {
            return 0;
        }
        let count = rows.len();
        match &self.values {
            Values::Text(bytes) | Values::Binary { bytes, .. } | Values::Inet(bytes) | Values::Mac(bytes) | Values::Json(bytes) => {
                bytes.weight(rows).saturating_add(count)
            }
            Values::FixedBinary(array) | Values::Uuid(array) => count.saturating_mul(array.value_length().as_usize() + 1),
            // Rows may share items or values, in any order. A null's may be anywhere, and be any number.
            Values::List(extents @ (Extents::Views32(..) | Extents::Views64(..)), item) => {
                rows.filter(|row| !self.is_null(*row)).map(|row| item.weight(extents.get(row))).fold(count, usize::saturating_add)
            }
            Values::Dictionary(keys, values) => rows
                .filter(|row| !self.is_null(*row))
                .filter_map(|row| keys.index(row))
                .map(|key| values.weight(key..key + 1))
                .fold(count, usize::saturating_add),
            Values::List(extents, item) => item.weight(extents.get(rows.start).start..extents.get(rows.end - 1).end).saturating_add(count),
            // Names are written with every row.
            Values::Struct(children, plan) => {
                let names = plan.raw.iter().map(|key| key.text.len()).fold(0, usize::saturating_add).saturating_mul(count);
                children.iter().map(|child| child.weight(rows.clone())).fold(names, usize::saturating_add)
            }
            Values::Map(offsets, pair) => {
                let entries = offsets[rows.start].as_usize()..offsets[rows.end].as_usize();
                let items = entries.len().saturating_mul(NUMBER);
                items.saturating_add(pair.0.weight(entries.clone())).saturating_add(pair.1.weight(entries))
            }
            _ => count.saturating_mul(NUMBER),
        }
    }
}
