//! Columns that arrive as text (CSV, NDJSON) become columns of their types, a batch at a time.
//!
//! Invariants: a value is converted exactly or refused with file, line and column (a decimal is never rounded, a nanosecond never cut; a
//! float is the nearest one where `--column` asks for it, and never infinite for want of room); a message never repeats the value.

use super::InputError;
use super::columns::{ColumnType, decimals};
use super::infer::{Instant, Seen, is_exact_float, scan_time};
use arrow_array::builder::{ArrayBuilder, BinaryBuilder, FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;
use std::sync::Arc;

/// Rows from which types are chosen.
pub const SAMPLE_ROWS: usize = 10_000;
/// Bytes of text at which the sample ends even with fewer rows: what a reader may hold in memory.
const SAMPLE_BYTES: usize = 64 << 20;
/// Rows of a batch after the sample.
const BATCH_ROWS: usize = 8_192;
/// Bytes of text at which a batch ends even with fewer rows.
const BATCH_BYTES: usize = 8 << 20;

/// How the text of a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The value itself.
    Plain,
    /// JSON.
    Json,
}

/// Rows of text, not yet converted.
#[derive(Debug)]
pub(crate) struct TextRows {
    file: Arc<str>,
    dialect: Dialect,
    names: Vec<String>,
    columns: Vec<StringBuilder>,
    /// The line on which each row begins.
    lines: Vec<u64>,
    bytes: usize,
    types: Option<Types>,
}

/// The types, once chosen.
#[derive(Debug, Clone)]
struct Types {
    columns: Vec<Chosen>,
    schema: SchemaRef,
}

/// The type of a column, and whose choice it is.
#[derive(Debug, Clone)]
struct Chosen {
    column_type: ColumnType,
    inferred: bool,
}

impl Chosen {
    /// What the column's values must be, for messages.
    fn expected(&self) -> String {
        match &self.column_type {
            ColumnType::Float(_) if self.inferred => {
                format!("{0} without rounding (the type {0}, once set, takes the nearest)", self.column_type)
            }
            other => other.to_string(),
        }
    }
}

impl TextRows {
    pub(crate) fn new(file: Arc<str>, dialect: Dialect, names: Vec<String>) -> Self {
        let columns = names.iter().map(|_| StringBuilder::new()).collect();
        Self { file, dialect, names, columns, lines: Vec::new(), bytes: 0, types: None }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// One more column, null in the rows so far. Only while the types are not chosen.
    pub(crate) fn add_column(&mut self, name: &str) -> usize {
        let mut column = StringBuilder::new();
        for _ in &self.lines {
            column.append_null();
        }
        self.names.push(name.to_owned());
        self.columns.push(column);
        self.columns.len() - 1
    }

    /// The value of a column in the row being read. Each column is given at most once a row.
    pub(crate) fn put(&mut self, column: usize, value: &str) {
        self.bytes += value.len();
        self.columns[column].append_value(value);
    }

    /// Ends a row that began on this line; columns not given are null.
    pub(crate) fn end_row(&mut self, line: u64) {
        self.lines.push(line);
        for column in &mut self.columns {
            if column.len() < self.lines.len() {
                column.append_null();
            }
        }
    }

    /// Was this column given in the row being read?
    pub(crate) fn has(&self, column: usize) -> bool {
        self.columns[column].len() > self.lines.len()
    }

    /// Is it time to convert?
    pub(crate) fn is_full(&self) -> bool {
        let (rows, bytes) = if self.types.is_none() { (SAMPLE_ROWS, SAMPLE_BYTES) } else { (BATCH_ROWS, BATCH_BYTES) };
        self.lines.len() >= rows || self.bytes >= bytes
    }

    /// Chooses the types from the rows so far; `overrides` win.
    pub(crate) fn choose_types(&mut self, overrides: &[(String, ColumnType)]) -> SchemaRef {
        let chosen: Vec<Chosen> = self
            .names
            .iter()
            .zip(&self.columns)
            .map(|(name, column)| match overrides.iter().rev().find(|(wanted, _)| wanted == name) {
                Some((_, column_type)) => Chosen { column_type: column_type.clone(), inferred: false },
                None => Chosen { column_type: infer(column, self.dialect), inferred: true },
            })
            .collect();
        let fields: Vec<Field> = self.names.iter().zip(&chosen).map(|(name, chosen)| chosen.column_type.field(name)).collect();
        let schema = Arc::new(Schema::new(fields));
        self.types = Some(Types { columns: chosen, schema: schema.clone() });
        schema
    }

    /// Converts the rows so far; [`None`] if there are none (or the types are not chosen).
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, InputError> {
        let Some(types) = self.types.clone() else { return Ok(None) };
        if self.lines.is_empty() {
            return Ok(None);
        }
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter_mut().enumerate() {
            let text = column.finish();
            let chosen = &types.columns[index];
            let converted = convert(text, chosen, self.dialect).map_err(|row| InputError::Mismatch {
                file: self.file.to_string(),
                line: lines.get(row).copied().unwrap_or_default(),
                column: self.names[index].clone(),
                expected: chosen.expected(),
            })?;
            arrays.push(converted);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(lines.len()));
        RecordBatch::try_new_with_options(types.schema, arrays, &options).map(Some).map_err(|error| InputError::Malformed {
            file: self.file.to_string(),
            at: super::Position::Line(lines[0]),
            problem: error.to_string(),
        })
    }
}

/// The type of a column after its values so far.
fn infer(column: &StringBuilder, dialect: Dialect) -> ColumnType {
    let mut seen = Seen::Nothing;
    let array = column.finish_cloned();
    for text in array.iter().flatten() {
        seen = seen.merge(match dialect {
            Dialect::Plain => Seen::of_text(text),
            Dialect::Json => of_json(text),
        });
        if matches!((seen, dialect), (Seen::Text, Dialect::Plain) | (Seen::Json, _)) {
            break;
        }
    }
    let chosen = Chosen { column_type: seen.column_type(), inferred: true };
    // A date or a time was told by its shape: the conversion knows the calendar, and how far a type reaches.
    let shape_only = matches!(seen, Seen::Date | Seen::Timestamp { .. });
    if shape_only && convert(array, &chosen, dialect).is_err() { ColumnType::Utf8 } else { chosen.column_type }
}

fn of_json(raw: &str) -> Seen {
    match raw.as_bytes().first() {
        Some(b'"') => unquote(raw).map_or(Seen::Text, |text| Seen::of_string(&text)),
        Some(b'{' | b'[') => Seen::Json,
        Some(b't' | b'f') => Seen::Bool,
        _ => Seen::of_number(raw),
    }
}

fn unquote(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// Converts a column; the error is the first row that does not fit.
fn convert(text: StringArray, Chosen { column_type, inferred }: &Chosen, dialect: Dialect) -> Result<ArrayRef, usize> {
    let text = match (dialect, column_type) {
        (Dialect::Plain, _) | (Dialect::Json, ColumnType::Json) => text,
        (Dialect::Json, _) => unquoted(&text, column_type)?,
    };
    match column_type {
        ColumnType::Utf8 => Ok(Arc::new(text)),
        // Arrow would pass over spaces around a number; inference does not, and neither may what follows it.
        ColumnType::Bool | ColumnType::Integer(_) => checked(text, column_type, is_bare),
        ColumnType::Float(_) if *inferred => {
            checked(text, column_type, |value| is_bare(value) && (is_exact_float(value) || !has_digits(value)))
        }
        ColumnType::Float(_) => {
            let floats = checked(text.clone(), column_type, is_bare)?;
            match (0..text.len()).find(|row| text.is_valid(*row) && has_overflown(&floats, *row, text.value(*row))) {
                Some(row) => Err(row),
                None => Ok(floats),
            }
        }
        ColumnType::Decimal(_, scale) => checked(text, column_type, |value| is_decimal(value, scale.unsigned_abs().into())),
        ColumnType::Date => checked(text, column_type, |value| matches!(Instant::scan(value), Some(Instant { time: None, .. }))),
        ColumnType::Time => checked(text, column_type, |value| matches!(scan_time(value.as_bytes()), Some((0..=6, [])))),
        ColumnType::Timestamp(unit) => checked(text, column_type, |value| has_decimals(value, decimals(unit), true)),
        ColumnType::DateTime(unit) => checked(text, column_type, |value| has_decimals(value, decimals(unit), false)),
        ColumnType::Json => bytes(&text, |value| serde_json::from_str::<IgnoredAny>(value).ok().map(|_| value.as_bytes().to_vec())),
        ColumnType::Binary => bytes(&text, |value| BASE64.decode(value).ok()),
        ColumnType::Uuid => uuids(&text),
    }
}

/// Are there no spaces around it?
fn is_bare(value: &str) -> bool {
    value.trim() == value
}

/// Has a number become infinite? The word for infinity has no digits.
fn has_overflown(floats: &ArrayRef, row: usize, text: &str) -> bool {
    let finite = match floats.data_type() {
        DataType::Float32 => floats.as_primitive::<Float32Type>().value(row).is_finite(),
        _ => floats.as_primitive::<Float64Type>().value(row).is_finite(),
    };
    !finite && has_digits(text)
}

fn has_digits(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Is it an instant (or a date) with at most so many decimals, and with a zone only where one is wanted?
fn has_decimals(value: &str, most: usize, zone_wanted: bool) -> bool {
    Instant::scan(value).is_some_and(|instant| instant.time.unwrap_or(0) <= most && (zone_wanted || !instant.zone))
}

/// Is it a plain decimal number with at most so many decimals?
fn is_decimal(value: &str, scale: usize) -> bool {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    numeric(whole) && numeric(fraction) && !(whole.is_empty() && fraction.is_empty()) && fraction.trim_end_matches('0').len() <= scale
}

/// JSON values as plain text, where their kind is one that the type takes.
fn unquoted(raw: &StringArray, column_type: &ColumnType) -> Result<StringArray, usize> {
    let mut builder = StringBuilder::with_capacity(raw.len(), raw.value_data().len());
    for (row, value) in raw.iter().enumerate() {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        let first = value.as_bytes().first().copied().unwrap_or_default();
        let fits = match column_type {
            ColumnType::Bool => matches!(first, b't' | b'f'),
            ColumnType::Integer(_) | ColumnType::Float(_) => first == b'-' || first.is_ascii_digit(),
            ColumnType::Decimal(..) => matches!(first, b'"' | b'-') || first.is_ascii_digit(),
            ColumnType::Utf8 => !matches!(first, b'{' | b'['),
            ColumnType::Binary
            | ColumnType::Date
            | ColumnType::Time
            | ColumnType::Timestamp(_)
            | ColumnType::DateTime(_)
            | ColumnType::Uuid => first == b'"',
            ColumnType::Json => true,
        };
        match (fits, first) {
            (false, _) => return Err(row),
            (true, b'"') => builder.append_value(unquote(value).ok_or(row)?),
            (true, _) => builder.append_value(value),
        }
    }
    Ok(builder.finish())
}

fn checked(text: StringArray, column_type: &ColumnType, fits: impl Fn(&str) -> bool) -> Result<ArrayRef, usize> {
    match text.iter().position(|value| value.is_some_and(|value| !fits(value))) {
        Some(row) => Err(row),
        None => cast(&text, column_type),
    }
}

/// Arrow's own conversion; a value that it makes null did not fit.
fn cast(text: &StringArray, column_type: &ColumnType) -> Result<ArrayRef, usize> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let wanted = column_type.data_type();
    let array = match &wanted {
        // Arrow has no zone database here: it reads the text as an instant of offset zero, and the zone is renamed after.
        DataType::Timestamp(unit, Some(_)) => cast_with_options(text, &DataType::Timestamp(*unit, Some("+00:00".into())), &options),
        other => cast_with_options(text, other, &options),
    }
    .map_err(|_| 0_usize)?;
    if array.null_count() == text.null_count() {
        return if array.data_type() == &wanted { Ok(array) } else { cast_with_options(&array, &wanted, &options).map_err(|_| 0_usize) };
    }
    Err((0..text.len()).find(|row| array.is_null(*row) && !text.is_null(*row)).unwrap_or_default())
}

fn bytes(text: &StringArray, decode: impl Fn(&str) -> Option<Vec<u8>>) -> Result<ArrayRef, usize> {
    let mut builder = BinaryBuilder::with_capacity(text.len(), text.value_data().len());
    for (row, value) in text.iter().enumerate() {
        match value {
            Some(value) => builder.append_value(decode(value).ok_or(row)?),
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn uuids(text: &StringArray) -> Result<ArrayRef, usize> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for (row, value) in text.iter().enumerate() {
        match value {
            Some(value) => builder.append_value(uuid::Uuid::parse_str(value).map_err(|_| row)?.as_bytes()).map_err(|_| row)?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::cell;

    /// `expected`: the value as Arrow shows it, or `None` if the text must be refused.
    #[track_caller]
    fn check(dialect: Dialect, type_name: &str, text: &str, expected: Option<&str>) {
        let chosen = Chosen { column_type: type_name.parse().unwrap(), inferred: false };
        let converted = convert(StringArray::from(vec![text]), &chosen, dialect);
        let shown = converted.ok().map(|array| cell(&array, 0));
        assert_eq!(shown.as_deref(), expected, "{type_name} of {text:?}");
    }

    #[test]
    fn text_to_values() {
        for (type_name, text, expected) in [
            ("bool", "true", Some("true")),
            ("bool", "maybe", None),
            ("int64", "9223372036854775807", Some("9223372036854775807")),
            ("int64", "9223372036854775808", None),
            ("int8", "128", None),
            ("uint8", "255", Some("255")),
            ("uint8", "-1", None),
            ("int64", "1.0", None),
            ("int64", " 1", None),
            ("float64", "1e3", Some("1000.0")),
            ("float64", "one", None),
            ("float64", "12345678901234567.89", Some("1.2345678901234568e16")),
            ("float64", "1e400", None),
            ("float64", "-1e400", None),
            ("float64", "inf", Some("inf")),
            ("float32", "1e39", None),
            ("float32", "1e38", Some("1e38")),
            ("decimal(5,2)", "123.45", Some("123.45")),
            ("decimal(5,2)", "123.450", Some("123.45")),
            ("decimal(5,2)", "123.456", None),
            ("decimal(5,2)", "1234.5", None),
            ("date", "2024-02-29", Some("2024-02-29")),
            ("date", "2023-02-29", None),
            ("date", "2024-02-29T00:00:00", None),
            ("timestamp", "2024-01-02T03:04:05.5+01:00", Some("2024-01-02T02:04:05.500Z")),
            ("timestamp", "2024-01-02 03:04:05", Some("2024-01-02T03:04:05Z")),
            ("timestamp", "2024-01-02T03:04:05.1234567Z", None),
            ("timestamp_ns", "2024-01-02T03:04:05.123456789Z", Some("2024-01-02T03:04:05.123456789Z")),
            ("timestamp_ns", "3024-01-02T03:04:05Z", None),
            ("datetime", "2024-01-02 03:04:05", Some("2024-01-02T03:04:05")),
            ("datetime", "2024-01-02 03:04:05Z", None),
            ("time", "23:59:59.5", Some("23:59:59.500")),
            ("time", "24:00:01", None),
            ("uuid", "00000000-0000-0000-0000-00000000000A", Some("0000000000000000000000000000000a")),
            ("uuid", "nope", None),
            ("binary", "AQI=", Some("0102")),
            ("binary", "A", None),
            ("json", "{\"a\": 1}", Some("7b2261223a20317d")),
            ("json", "{", None),
            ("utf8", "", Some("")),
        ] {
            check(Dialect::Plain, type_name, text, expected);
        }
    }

    #[test]
    fn json_to_values() {
        for (type_name, text, expected) in [
            ("int64", "12", Some("12")),
            ("int64", "\"12\"", None),
            ("int64", "1.5", None),
            ("float64", "1e400", None),
            ("utf8", "\"a\\nb\"", Some("a\nb")),
            ("utf8", "12.50", Some("12.50")),
            ("utf8", "true", Some("true")),
            ("utf8", "{}", None),
            ("bool", "false", Some("false")),
            ("bool", "0", None),
            ("decimal(3,1)", "\"1.5\"", Some("1.5")),
            ("decimal(3,1)", "1.5", Some("1.5")),
            ("date", "\"2024-01-02\"", Some("2024-01-02")),
            ("date", "20240102", None),
            ("json", "[1]", Some("5b315d")),
            ("json", "\"x\"", Some("227822")),
        ] {
            check(Dialect::Json, type_name, text, expected);
        }
    }

    #[test]
    fn the_first_row_that_does_not_fit_is_named_by_its_line() {
        let mut rows = TextRows::new("t.csv".into(), Dialect::Plain, vec!["id".into()]);
        rows.put(0, "1");
        rows.end_row(2);
        rows.choose_types(&[]);
        rows.put(0, "2");
        rows.end_row(7);
        rows.put(0, "secret");
        rows.end_row(9);
        let error = rows.take().unwrap_err();
        assert!(matches!(&error, InputError::Mismatch { line: 9, column, .. } if column == "id"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
