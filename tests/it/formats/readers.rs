//! Objects read back and compared with the rows that were sent, by code that shares nothing with the encoders.
//!
//! The expected form of each value is defined again here, from the documented text forms: numbers by value, texts with invalid bytes as U+FFFD, bytes
//! as base64, and so on.

use anyhow::{Context, Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lakegate_tests::generate::Generated;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A value, independent of its representation.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    /// Integers, decimals, times: as written.
    Number(String),
    /// Compared by bits, so that NaN equals itself.
    Float(u64),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Struct(Vec<(String, Tree)>),
    Map(Vec<(Tree, Tree)>),
}

/// Compares an object of JSON lines with a table.
pub(crate) fn json_matches(table: &Generated, body: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(body).context("JSON is UTF-8")?;
    let mut lines = text.split_terminator('\n');
    for batch in &table.batches {
        for row in 0..batch.num_rows() {
            let line = lines.next().context("fewer lines than rows")?;
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(line)?;
            ensure!(members.len() == batch.num_columns(), "{} members", members.len());
            for (field, column) in table.logical.fields().iter().zip(batch.columns()) {
                let value = members.get(field.name()).with_context(|| format!("no member {:?}", field.name()))?;
                json_value(field, column, row, value.get()).with_context(|| format!("row {row}, column {field:?}: {}", value.get()))?;
            }
        }
    }
    ensure!(lines.next().is_none(), "more lines than rows");
    Ok(())
}

/// Compares JSON text with a value. Timestamps in zones other than UTC are left to the golden cases.
fn json_value(field: &Field, array: &ArrayRef, row: usize, text: &str) -> Result<()> {
    let equal = |expected: String| -> Result<()> {
        ensure!(text == expected, "expected {expected}");
        Ok(())
    };
    let string = || serde_json::from_str::<String>(text).context("a string");
    if is_null(array, row) {
        return equal("null".into());
    }
    match (extension(field), field.data_type()) {
        (Some("json"), _) => {
            let value: serde_json::Value = serde_json::from_str(text)?;
            let expected: serde_json::Value = serde_json::from_slice(bytes(array, row)?)?;
            ensure!(value == expected, "another value");
            return Ok(());
        }
        (Some(_), _) => {
            ensure!(string()? == extension_text(field, array, row)?, "another text");
            return Ok(());
        }
        _ => {}
    }
    match field.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let value = float(array, row)?;
            if value.is_finite() {
                // Parsed with the width it was written with, for which the digits are the shortest.
                let read = match field.data_type() {
                    DataType::Float64 => text.parse::<f64>()?,
                    _ => f64::from(text.parse::<f32>()?),
                };
                ensure!(read.to_bits() == value.to_bits(), "expected {value:e}");
                return Ok(());
            }
            let name = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            equal(format!("\"{name}\""))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            ensure!(string()? == lossy(bytes(array, row)?), "another text");
            Ok(())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let value = bytes(array, row)?;
            // In a column without a single byte an empty value is null, as in the reference.
            if value.is_empty() && text == "null" { Ok(()) } else { equal(format!("\"{}\"", STANDARD.encode(value))) }
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            let values = list(array, row)?;
            ensure!(items.len() == values.len(), "{} items, expected {}", items.len(), values.len());
            items.iter().enumerate().try_for_each(|(at, text)| json_value(item, &values, at, text.get()))
        }
        DataType::Struct(fields) => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            ensure!(members.len() == fields.len(), "{} members", members.len());
            fields.iter().zip(array.as_struct().columns()).try_for_each(|(field, child)| {
                let member = members.get(field.name()).with_context(|| format!("no member {:?}", field.name()))?;
                json_value(field, child, row, member.get())
            })
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { bail!("a map of something") };
            let items: Vec<BTreeMap<String, &RawValue>> = serde_json::from_str(text)?;
            let values = array.as_map().value(row);
            ensure!(items.len() == values.len(), "{} entries, expected {}", items.len(), values.len());
            items.iter().enumerate().try_for_each(|(at, entry)| {
                for (name, (field, child)) in ["key", "value"].into_iter().zip(pair.iter().zip(values.columns())) {
                    json_value(field, child, at, entry.get(name).with_context(|| format!("no {name}"))?.get())?;
                }
                Ok(())
            })
        }
        DataType::Dictionary(_, value) => {
            let (values, key) = dictionary(array, row)?;
            json_value(&field.clone().with_data_type(value.as_ref().clone()), values, key, text)
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let (digits, scale) = decimal(array, row)?;
            ensure!(same_number(&string()?, &digits, scale), "expected {digits} at scale {scale}");
            Ok(())
        }
        DataType::Timestamp(unit, zone) => {
            let written = string()?;
            let instant = instant(ticks(array, row)?, *unit);
            match (instant, zone.as_deref()) {
                (Some(instant), None | Some("" | "UTC")) => {
                    let read = chrono::DateTime::parse_from_rfc3339(&written)?;
                    ensure!(read.to_utc() == instant && written.ends_with('Z'), "expected {instant}");
                }
                (Some(instant), Some(_)) => {
                    // Offsets of local mean time have seconds, which the text cuts off.
                    let read = chrono::DateTime::parse_from_rfc3339(&written)?;
                    ensure!((read.to_utc() - instant).num_seconds().abs() < 60, "expected {instant}");
                }
                (None, _) => {}
            }
            Ok(())
        }
        DataType::Date32 | DataType::Date64 => {
            let written = string()?;
            let expected = chrono::DateTime::from_timestamp(days(array, row)?.saturating_mul(86_400), 0)
                .filter(|day| (0..10_000).contains(&chrono::Datelike::year(day)));
            ensure!(expected.is_none_or(|day| day.format("%Y-%m-%d").to_string() == written), "expected {expected:?}");
            Ok(())
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let nanoseconds = i128::from(ticks(array, row)?) * nanoseconds_a_tick(field.data_type());
            let nanoseconds = nanoseconds.rem_euclid(86_400_000_000_000);
            let time = chrono::NaiveTime::parse_from_str(&string()?, "%H:%M:%S%.f")?;
            let read = i128::from(chrono::Timelike::num_seconds_from_midnight(&time)) * 1_000_000_000
                + i128::from(chrono::Timelike::nanosecond(&time));
            ensure!(read == nanoseconds, "expected {nanoseconds} ns");
            Ok(())
        }
        DataType::Duration(unit) => equal(format!("\"{}{}\"", ticks(array, row)?, suffix(*unit))),
        DataType::Interval(_) => equal(interval(array, row, true)?),
        _ => match plain(array, row)? {
            Tree::Bool(value) => equal(value.to_string()),
            Tree::Number(value) => equal(value),
            other => bail!("no check for {other:?}"),
        },
    }
}

/// Compares a Parquet object with a table.
pub(crate) fn parquet_matches(table: &Generated, body: &[u8]) -> Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(body))?.build()?;
    let read: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
    let mut rows = read.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
    for batch in &table.batches {
        for row in 0..batch.num_rows() {
            let (read, at) = rows.next().context("fewer rows than were sent")?;
            ensure!(read.num_columns() == batch.num_columns(), "{} columns", read.num_columns());
            for ((field, sent), column) in table.logical.fields().iter().zip(batch.columns()).zip(read.columns()) {
                let (expected, found) = (sent_value(field, sent, row)?, read_value(column, at)?);
                ensure!(expected == found, "row {row}, column {field:?}: {found:?}, expected {expected:?}");
            }
        }
    }
    ensure!(rows.next().is_none(), "more rows than were sent");
    Ok(())
}

/// The expected value in Parquet.
fn sent_value(field: &Field, array: &ArrayRef, row: usize) -> Result<Tree> {
    if is_null(array, row) {
        return Ok(Tree::Null);
    }
    let text = |text: String| Ok(Tree::Bytes(text.into_bytes()));
    match extension(field) {
        Some("json") => return Ok(Tree::Bytes(bytes(array, row)?.to_vec())),
        Some(_) => return text(extension_text(field, array, row)?),
        None => {}
    }
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => text(lossy(bytes(array, row)?)),
        DataType::LargeBinary => text(STANDARD.encode(bytes(array, row)?)),
        DataType::Duration(unit) => text(format!("{}{}", ticks(array, row)?, suffix(*unit))),
        DataType::Interval(_) => text(interval(array, row, false)?),
        DataType::Date32 | DataType::Date64 => Ok(Tree::Number((days(array, row)? as i32).to_string())),
        DataType::Time32(TimeUnit::Second) => Ok(Tree::Number((ticks(array, row)? * 1_000).to_string())),
        DataType::Timestamp(TimeUnit::Second, _) => Ok(Tree::Number(ticks(array, row)?.wrapping_mul(1_000).to_string())),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let values = list(array, row)?;
            Ok(Tree::List((0..values.len()).map(|at| sent_value(item, &values, at)).collect::<Result<_>>()?))
        }
        DataType::Struct(fields) => {
            let children = fields.iter().zip(array.as_struct().columns());
            Ok(Tree::Struct(
                children.map(|(field, child)| Ok((field.name().clone(), sent_value(field, child, row)?))).collect::<Result<_>>()?,
            ))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { bail!("a map of something") };
            let values = array.as_map().value(row);
            let entry = |at| Ok((sent_value(&pair[0], values.column(0), at)?, sent_value(&pair[1], values.column(1), at)?));
            Ok(Tree::Map((0..values.len()).map(entry).collect::<Result<_>>()?))
        }
        DataType::Dictionary(_, value) => {
            let (values, key) = dictionary(array, row)?;
            sent_value(&field.clone().with_data_type(value.as_ref().clone()), values, key)
        }
        _ => plain(array, row),
    }
}

/// The value found by a reader.
fn read_value(array: &ArrayRef, row: usize) -> Result<Tree> {
    if is_null(array, row) {
        return Ok(Tree::Null);
    }
    match array.data_type() {
        DataType::List(_) => {
            let values = list(array, row)?;
            Ok(Tree::List((0..values.len()).map(|at| read_value(&values, at)).collect::<Result<_>>()?))
        }
        DataType::Struct(fields) => {
            let children = fields.iter().zip(array.as_struct().columns());
            Ok(Tree::Struct(children.map(|(field, child)| Ok((field.name().clone(), read_value(child, row)?))).collect::<Result<_>>()?))
        }
        DataType::Map(..) => {
            let values = array.as_map().value(row);
            let entry = |at| Ok((read_value(values.column(0), at)?, read_value(values.column(1), at)?));
            Ok(Tree::Map((0..values.len()).map(entry).collect::<Result<_>>()?))
        }
        DataType::Utf8 => Ok(Tree::Bytes(array.as_string::<i32>().value(row).as_bytes().to_vec())),
        _ => plain(array, row),
    }
}

/// A value of a plain type.
fn plain(array: &ArrayRef, row: usize) -> Result<Tree> {
    Ok(match array.data_type() {
        DataType::Boolean => Tree::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Tree::Number(array.as_primitive::<Int8Type>().value(row).to_string()),
        DataType::Int16 => Tree::Number(array.as_primitive::<Int16Type>().value(row).to_string()),
        DataType::Int32 => Tree::Number(array.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => Tree::Number(array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::UInt8 => Tree::Number(array.as_primitive::<UInt8Type>().value(row).to_string()),
        DataType::UInt16 => Tree::Number(array.as_primitive::<UInt16Type>().value(row).to_string()),
        DataType::UInt32 => Tree::Number(array.as_primitive::<UInt32Type>().value(row).to_string()),
        DataType::UInt64 => Tree::Number(array.as_primitive::<UInt64Type>().value(row).to_string()),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Tree::Float(float(array, row)?.to_bits()),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let (digits, scale) = decimal(array, row)?;
            Tree::Number(format!("{digits}e-{scale}"))
        }
        DataType::Date32 => Tree::Number(days(array, row)?.to_string()),
        DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => Tree::Number(ticks(array, row)?.to_string()),
        DataType::Binary | DataType::FixedSizeBinary(_) => Tree::Bytes(bytes(array, row)?.to_vec()),
        other => bail!("no check for {other}"),
    })
}

/// Whether there is no value, possibly because the dictionary has none for the key.
fn is_null(array: &ArrayRef, row: usize) -> bool {
    match array.data_type() {
        DataType::Null => true,
        DataType::Dictionary(..) => array.is_null(row) || dictionary(array, row).is_ok_and(|(values, key)| is_null(values, key)),
        _ => array.is_null(row),
    }
}

fn extension(field: &Field) -> Option<&str> {
    field.metadata().get("ARROW:extension:name").map(|name| name.as_ref())
}

fn extension_text(field: &Field, array: &ArrayRef, row: usize) -> Result<String> {
    let value = bytes(array, row)?;
    Ok(match extension(field) {
        Some("uuid") => uuid::Uuid::from_slice(value)?.to_string(),
        Some("mac") => value.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
        Some("inet") => String::from_utf8(value.to_vec())?,
        other => bail!("no check for {other:?}"),
    })
}

/// Text with each byte that is not part of a character as U+FFFD.
fn lossy(bytes: &[u8]) -> String {
    let replaced = |chunk: std::str::Utf8Chunk<'_>| format!("{}{}", chunk.valid(), "\u{fffd}".repeat(chunk.invalid().len()));
    bytes.utf8_chunks().map(replaced).collect()
}

fn bytes(array: &ArrayRef, row: usize) -> Result<&[u8]> {
    Ok(match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        other => bail!("{other} holds no bytes"),
    })
}

fn list(array: &ArrayRef, row: usize) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        DataType::ListView(_) => array.as_list_view::<i32>().value(row),
        DataType::LargeListView(_) => array.as_list_view::<i64>().value(row),
        other => bail!("{other} is no list"),
    })
}

fn dictionary(array: &ArrayRef, row: usize) -> Result<(&ArrayRef, usize)> {
    let dictionary = array.as_any_dictionary_opt().context("a dictionary")?;
    Ok((dictionary.values(), dictionary.normalized_keys()[row]))
}

fn float(array: &ArrayRef, row: usize) -> Result<f64> {
    Ok(match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().value(row).to_f64(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row),
        other => bail!("{other} is no float"),
    })
}

/// Digits and scale.
fn decimal(array: &ArrayRef, row: usize) -> Result<(String, i8)> {
    Ok(match array.data_type() {
        DataType::Decimal32(_, scale) => (array.as_primitive::<Decimal32Type>().value(row).to_string(), *scale),
        DataType::Decimal64(_, scale) => (array.as_primitive::<Decimal64Type>().value(row).to_string(), *scale),
        DataType::Decimal128(_, scale) => (array.as_primitive::<Decimal128Type>().value(row).to_string(), *scale),
        DataType::Decimal256(_, scale) => (array.as_primitive::<Decimal256Type>().value(row).to_string(), *scale),
        other => bail!("{other} is no decimal"),
    })
}

/// Is a text, plain or with an exponent, the number of these digits at this scale? By its digits: they may be seventy-six.
fn same_number(text: &str, digits: &str, scale: i8) -> bool {
    let normal = |negative: bool, digits: String, exponent: i32| {
        let short = digits.trim_end_matches('0');
        let exponent = exponent + (digits.len() - short.len()) as i32;
        let short = short.trim_start_matches('0').to_owned();
        if short.is_empty() { (false, short, 0) } else { (negative, short, exponent) }
    };
    let read = |text: &str| {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i32 = exponent.parse().ok()?;
        Some(normal(negative, format!("{whole}{fraction}"), exponent - fraction.len() as i32))
    };
    let expected =
        read(digits).map(
            |(negative, digits, exponent)| {
                if digits.is_empty() { (negative, digits, 0) } else { (negative, digits, exponent - i32::from(scale)) }
            },
        );
    read(text) == expected
}

fn days(array: &ArrayRef, row: usize) -> Result<i64> {
    Ok(match array.data_type() {
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).into(),
        DataType::Date64 => array.as_primitive::<Date64Type>().value(row) / 86_400_000,
        other => bail!("{other} is no date"),
    })
}

fn ticks(array: &ArrayRef, row: usize) -> Result<i64> {
    Ok(match array.data_type() {
        DataType::Time32(TimeUnit::Second) => array.as_primitive::<Time32SecondType>().value(row).into(),
        DataType::Time32(_) => array.as_primitive::<Time32MillisecondType>().value(row).into(),
        DataType::Time64(TimeUnit::Microsecond) => array.as_primitive::<Time64MicrosecondType>().value(row),
        DataType::Time64(_) => array.as_primitive::<Time64NanosecondType>().value(row),
        DataType::Timestamp(TimeUnit::Second, _) => array.as_primitive::<TimestampSecondType>().value(row),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array.as_primitive::<TimestampMillisecondType>().value(row),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().value(row),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array.as_primitive::<TimestampNanosecondType>().value(row),
        DataType::Duration(TimeUnit::Second) => array.as_primitive::<DurationSecondType>().value(row),
        DataType::Duration(TimeUnit::Millisecond) => array.as_primitive::<DurationMillisecondType>().value(row),
        DataType::Duration(TimeUnit::Microsecond) => array.as_primitive::<DurationMicrosecondType>().value(row),
        DataType::Duration(TimeUnit::Nanosecond) => array.as_primitive::<DurationNanosecondType>().value(row),
        other => bail!("{other} counts no time"),
    })
}

fn nanoseconds_a_tick(data_type: &DataType) -> i128 {
    match data_type {
        DataType::Time32(TimeUnit::Second) => 1_000_000_000,
        DataType::Time32(_) => 1_000_000,
        DataType::Time64(TimeUnit::Microsecond) => 1_000,
        _ => 1,
    }
}

/// The timestamp, if it has a four-digit year in every zone.
fn instant(ticks: i64, unit: TimeUnit) -> Option<chrono::DateTime<chrono::Utc>> {
    let instant = match unit {
        TimeUnit::Second => chrono::DateTime::from_timestamp(ticks, 0),
        TimeUnit::Millisecond => chrono::DateTime::from_timestamp_millis(ticks),
        TimeUnit::Microsecond => chrono::DateTime::from_timestamp_micros(ticks),
        TimeUnit::Nanosecond => Some(chrono::DateTime::from_timestamp_nanos(ticks)),
    };
    instant.filter(|instant| (1..9_999).contains(&chrono::Datelike::year(instant)))
}

fn suffix(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// An interval as text; months are only combined in JSON.
fn interval(array: &ArrayRef, row: usize, in_json: bool) -> Result<String> {
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = array.as_primitive::<IntervalYearMonthType>().value(row);
            if in_json { format!("{{\"months\":{months}}}") } else { months.to_string() }
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            format!("{{\"days\":{},\"milliseconds\":{}}}", value.days, value.milliseconds)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            format!("{{\"months\":{},\"days\":{},\"nanoseconds\":{}}}", value.months, value.days, value.nanoseconds)
        }
        other => bail!("{other} is no interval"),
    })
}
