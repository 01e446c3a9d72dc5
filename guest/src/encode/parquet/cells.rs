//! Values that Parquet has no type for, as the text they have in CSV.

use super::plan::Text;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalYearMonthType,
};
use arrow_array::{Array, BinaryArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{IntervalUnit, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

/// The text of each value; null where the array is null.
pub(super) fn column(text: Text, array: &dyn Array) -> Result<BinaryArray, String> {
    let mismatch = || "the rows do not have the type of their schema".to_string();
    macro_rules! primitive {
        ($type:ty) => {{
            let array = array.as_primitive_opt::<$type>().ok_or_else(mismatch)?;
            move |row: usize| array.value(row)
        }};
    }
    match text {
        Text::Duration(unit) => {
            let (value, suffix): (Box<dyn Fn(usize) -> i64>, &str) = match unit {
                TimeUnit::Second => (Box::new(primitive!(DurationSecondType)), "s"),
                TimeUnit::Millisecond => (Box::new(primitive!(DurationMillisecondType)), "ms"),
                TimeUnit::Microsecond => (Box::new(primitive!(DurationMicrosecondType)), "us"),
                TimeUnit::Nanosecond => (Box::new(primitive!(DurationNanosecondType)), "ns"),
            };
            cells(array, |row, out| put(out, format_args!("{}{suffix}", value(row))))
        }
        Text::Interval(IntervalUnit::YearMonth) => {
            let value = primitive!(IntervalYearMonthType);
            cells(array, |row, out| put(out, format_args!("{}", value(row))))
        }
        Text::Interval(IntervalUnit::DayTime) => {
            let value = primitive!(IntervalDayTimeType);
            cells(array, |row, out| {
                let value = value(row);
                put(out, format_args!(r#"{{"days":{},"milliseconds":{}}}"#, value.days, value.milliseconds))
            })
        }
        Text::Interval(IntervalUnit::MonthDayNano) => {
            let value = primitive!(IntervalMonthDayNanoType);
            cells(array, |row, out| {
                let value = value(row);
                put(out, format_args!(r#"{{"months":{},"days":{},"nanoseconds":{}}}"#, value.months, value.days, value.nanoseconds))
            })
        }
        Text::Uuid => {
            let array = array.as_fixed_size_binary_opt().ok_or_else(mismatch)?;
            cells(array, |row, out| {
                let uuid = uuid::Uuid::from_slice(array.value(row)).map_err(|_| mismatch())?;
                out.extend_from_slice(uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
                Ok(())
            })
        }
        Text::Inet => {
            let array = array.as_binary_opt::<i32>().ok_or_else(mismatch)?;
            cells(array, |row, out| inet(array.value(row), out))
        }
        Text::Mac => {
            let array = array.as_binary_opt::<i32>().ok_or_else(mismatch)?;
            cells(array, |row, out| {
                mac(array.value(row), out);
                Ok(())
            })
        }
        Text::Base64 => {
            let array = array.as_binary_opt::<i64>().ok_or_else(mismatch)?;
            cells(array, |row, out| {
                let start = out.len();
                let value = array.value(row);
                out.resize(start + value.len().div_ceil(3) * 4, 0);
                let room = out.get_mut(start..).unwrap_or_default();
                STANDARD.encode_slice(value, room).map(drop).map_err(|error| error.to_string())
            })
        }
    }
}

fn cells(array: &dyn Array, mut append: impl FnMut(usize, &mut Vec<u8>) -> Result<(), String>) -> Result<BinaryArray, String> {
    let mut bytes = Vec::with_capacity(16 * array.len());
    let mut offsets = Vec::with_capacity(array.len() + 1);
    offsets.push(0_i32);
    for row in 0..array.len() {
        if array.is_valid(row) {
            append(row, &mut bytes)?;
        }
        offsets.push(i32::try_from(bytes.len()).map_err(|_| "more than 2 GiB of text in one record batch".to_string())?);
    }
    BinaryArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes.into(), array.nulls().cloned())
        .map_err(|error| error.to_string())
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) -> Result<(), String> {
    out.write_fmt(text).map_err(|error| error.to_string())
}

/// The CIDR text, parsed and printed again as Go's `net.IPNet` with the host bits kept.
fn inet(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    if text.is_empty() {
        out.extend_from_slice(b"0.0.0.0/0");
        return Ok(());
    }
    let refuse = || "a value is not an IP address with a mask length".to_string();
    let text = std::str::from_utf8(text).map_err(|_| refuse())?;
    let (address, length) = text.split_once('/').ok_or_else(refuse)?;
    let address: IpAddr = address.parse().map_err(|_| refuse())?;
    let length: u32 = length.parse().map_err(|_| refuse())?;
    match address {
        IpAddr::V4(v4) if length <= 32 => put(out, format_args!("{v4}/{length}")),
        IpAddr::V6(v6) if length <= 128 => match v6.to_ipv4_mapped() {
            Some(v4) => put(out, format_args!("{v4}/{}", length.saturating_sub(96))),
            None => put(out, format_args!("{}/{length}", Colons(v6))),
        },
        _ => Err(refuse()),
    }
}

struct Colons(Ipv6Addr);

impl std::fmt::Display for Colons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn mac(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = if bytes.is_empty() { &[0; 6] } else { bytes };
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}
