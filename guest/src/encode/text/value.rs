//! One value of any type as text: the general path, which every fast path must equal. It allocates nothing but for what it appends.

use super::address::{push_cidr, push_mac, push_uuid};
use super::append::{push_constant, push_text};
use super::bind::{ColumnReader, Decimals, Floats, Intervals, Ints, Values};
use super::digits::{push_int, push_unsigned};
use super::drain::{Drain, ValueError, Whole, anywhere, between_characters, push_in_pieces, push_plain};
use super::json_value::push_compact_draining;
use super::number::{DecimalType, FloatStyle, push_decimal128, push_decimal256, push_f32, push_f64};
use super::string::{Html, is_odd, push_json_escaped};
use super::time::{Fraction, push_date, push_time_of_day, push_timestamp, unit_suffix};
use arrow_buffer::ArrowNativeType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Which text a value takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextFormat {
    /// A JSON value.
    Json(Html),
    /// The text of a CSV field, before it is quoted. What is nested in it is JSON with escaped HTML.
    Csv,
}

impl TextFormat {
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

    /// The format of JSON text inside a value of this format.
    fn nested(self) -> Html {
        match self {
            Self::Json(html) => html,
            Self::Csv => Html::Escaped,
        }
    }
}

/// May the CSV text of such values need quotes? Numbers, dates and their like do not, unless the delimiter is one of their characters.
pub(crate) fn may_need_quotes(values: &Values<'_>, delimiter: u8) -> bool {
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

impl ColumnReader<'_> {
    /// Appends a row's value; a null is `null` in JSON and nothing in CSV.
    ///
    /// # Errors
    /// [`ValueError`]; part of the value may have been appended.
    pub(crate) fn push(&self, out: &mut Vec<u8>, row: usize, format: TextFormat) -> Result<(), ValueError> {
        self.push_draining(out, row, format, &mut Whole)
    }

    /// As [`Self::push`], and offers the text to `drain` on the way: after each part of a nested value, and within long ones.
    ///
    /// # Errors
    /// [`ValueError`], or the drain's; part of the value may have been appended.
    pub(crate) fn push_draining<D: Drain>(&self, out: &mut Vec<u8>, row: usize, format: TextFormat, drain: &mut D) -> Result<(), D::Error> {
        if !self.is_null(row) {
            return self.push_valid(out, row, format, drain);
        }
        match (format, &self.values) {
            (TextFormat::Json(_), _) => out.extend_from_slice(b"null"),
            // The reference's text of a null, which only a column of the null type lets through.
            (TextFormat::Csv, Values::Null) => out.extend_from_slice(b"(null)"),
            (TextFormat::Csv, _) => {}
        }
        Ok(())
    }

    fn push_valid<D: Drain>(&self, out: &mut Vec<u8>, row: usize, format: TextFormat, drain: &mut D) -> Result<(), D::Error> {
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
            Values::Float(Floats::F16(values)) => push_f32(out, values[row].to_f32(), format.float()),
            Values::Float(Floats::F32(values)) => push_f32(out, values[row], format.float()),
            Values::Float(Floats::F64(values)) => push_f64(out, values[row], format.float()),
            Values::Text(bytes) => match format {
                TextFormat::Json(html) => push_json_text(out, bytes.get(row), html, drain)?,
                TextFormat::Csv => push_plain(out, bytes.get(row), drain)?,
            },
            Values::Binary { bytes, bare } => match format {
                TextFormat::Json(_) if *bare => out.extend_from_slice(b"null"),
                _ => push_encoded(out, bytes.get(row), format, drain)?,
            },
            Values::FixedBinary(array) => push_encoded(out, array.value(row), format, drain)?,
            Values::Date(days) => in_quotes(out, format, |out| push_date(out, days.get(row))),
            Values::TimeOfDay(ticks, unit) => {
                let fraction = if format == TextFormat::Csv { Fraction::Full } else { Fraction::Trimmed };
                in_quotes(out, format, |out| push_time_of_day(out, ticks.get(row), *unit, fraction));
            }
            Values::Timestamp(ticks, unit, zone) => in_quotes(out, format, |out| push_timestamp(out, ticks[row], *unit, zone)),
            Values::Duration(ticks, unit) => in_quotes(out, format, |out| {
                push_int(out, ticks[row]);
                push_text(out, unit_suffix(*unit));
            }),
            Values::Interval(intervals) => intervals.push(out, row, format),
            Values::Decimal(decimals, ty) => in_quotes(out, format, |out| decimals.push(out, row, *ty)),
            Values::Uuid(array) => in_quotes(out, format, |out| push_uuid(out, array.value(row))),
            Values::Inet(bytes) => match format {
                TextFormat::Json(html) => push_json_text(out, bytes.get(row), html, drain)?,
                TextFormat::Csv => push_cidr(out, bytes.get(row)).map_err(ValueError::from)?,
            },
            Values::Mac(bytes) => match (format, bytes.get(row)) {
                (TextFormat::Csv, []) => push_mac(out, &[0; 6]),
                (_, address) => push_address(out, address, format, drain)?,
            },
            Values::Json(bytes) => match format {
                TextFormat::Json(html) => push_compact_draining(out, bytes.get(row), html, drain)?,
                TextFormat::Csv => push_plain(out, bytes.get(row), drain)?,
            },
            Values::List(extents, item) => {
                out.push(b'[');
                let items = extents.get(row);
                let first = items.start;
                for at in items {
                    if at > first {
                        out.push(b',');
                    }
                    item.push_draining(out, at, TextFormat::Json(Html::Escaped), drain)?;
                    drain.drain(out)?;
                }
                out.push(b']');
            }
            Values::Struct(children, plan) => {
                let html = format.nested();
                let keys = if html == Html::Raw { &plan.raw } else { &plan.escaped };
                out.push(b'{');
                for (at, key) in keys.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    push_text(out, &key.text);
                    children[key.child].push_draining(out, row, TextFormat::Json(html), drain)?;
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
                    keys.push_draining(out, at, TextFormat::Json(Html::Escaped), drain)?;
                    out.push(b',');
                    push_constant(out, b"\"value\":");
                    values.push_draining(out, at, TextFormat::Json(Html::Escaped), drain)?;
                    out.push(b'}');
                    drain.drain(out)?;
                }
                out.push(b']');
            }
            Values::Dictionary(keys, values) => {
                if let Some(key) = keys.index(row) {
                    values.push_draining(out, key, format, drain)?;
                }
            }
        }
        Ok(())
    }
}

fn in_quotes(out: &mut Vec<u8>, format: TextFormat, push: impl FnOnce(&mut Vec<u8>)) {
    match format {
        TextFormat::Json(_) => {
            out.push(b'"');
            push(out);
            out.push(b'"');
        }
        TextFormat::Csv => push(out),
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

/// Appends base64, with the quotes of the format.
pub(crate) fn push_encoded<D: Drain>(out: &mut Vec<u8>, bytes: &[u8], format: TextFormat, drain: &mut D) -> Result<(), D::Error> {
    out.extend(format.quote());
    push_in_pieces(out, bytes, drain, anywhere, push_base64)?;
    out.extend(format.quote());
    Ok(())
}

/// Appends a hardware address, with the quotes of the format.
fn push_address<D: Drain>(out: &mut Vec<u8>, address: &[u8], format: TextFormat, drain: &mut D) -> Result<(), D::Error> {
    out.extend(format.quote());
    for (at, piece) in address.chunks(D::PIECE_BYTES).enumerate() {
        out.extend((at > 0).then_some(b':'));
        push_mac(out, piece);
        drain.drain(out)?;
    }
    out.extend(format.quote());
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
}

impl Decimals<'_> {
    pub(crate) fn push(self, out: &mut Vec<u8>, row: usize, ty: DecimalType) {
        match self {
            Self::D32(values) => push_decimal128(out, i128::from(values[row]), ty),
            Self::D64(values) => push_decimal128(out, i128::from(values[row]), ty),
            Self::D128(values) => push_decimal128(out, values[row], ty),
            Self::D256(values) => push_decimal256(out, values[row], ty),
        }
    }
}

impl Intervals<'_> {
    fn push(self, out: &mut Vec<u8>, row: usize, format: TextFormat) {
        match self {
            Self::Months(values) if format == TextFormat::Csv => push_int(out, values[row]),
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
