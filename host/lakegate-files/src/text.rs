//! Converts text columns (CSV, NDJSON) to columns of their types, a batch at a time.
//!
//! Invariants: a value is converted exactly or refused with file, line and column (a decimal is never rounded, a nanosecond never truncated; a float
//! may be the nearest value if `--column` asks for it, but a number never becomes infinite or zero); a value is treated the same wherever it is in
//! the file; a message never contains the value; memory is proportional to the values, not to rows times columns.

use super::columns::{ColumnType, decimals};
use super::infer::{Instant, Seen, scan_time};
use super::like::{Elsewhere, Like};
use super::{InputError, json};
use arrow_array::builder::{BinaryBuilder, FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Number of rows from which types are inferred.
pub const SAMPLE_ROWS: usize = 10_000;
/// Bytes of text at which the sample ends even with fewer rows, the memory a reader may use.
const SAMPLE_BYTES: usize = 64 << 20;
/// Rows of a batch after the sample.
const BATCH_ROWS: usize = 8_192;
/// Bytes of text at which a batch ends even with fewer rows.
const BATCH_BYTES: usize = 8 << 20;
/// Values at which reading pauses even with fewer rows: each takes eight bytes besides its text.
const MAX_VALUES: usize = 8 << 20;
/// Maximum cells of a batch, null or not (a single row may have more): each takes four bytes of offsets and up to sixteen of a value.
const BATCH_CELLS: usize = 4 << 20;
/// Bytes of text, and of positions, whose memory is kept for the next batch.
const KEPT_BYTES: usize = 16 << 20;

/// The syntax of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The plain value.
    Plain,
    /// A JSON value.
    Json,
}

/// Rows of text that were not converted yet.
#[derive(Debug)]
pub(crate) struct TextRows {
    file: Arc<str>,
    dialect: Dialect,
    names: Vec<String>,
    columns: Vec<TextColumn>,
    /// The line on which each row starts.
    lines: Vec<u64>,
    /// Rows that were already taken.
    taken: usize,
    bytes: usize,
    values: usize,
    types: Option<Types>,
    /// The file has ended, or a row was refused: nothing more is read.
    done: bool,
}

/// The values of a column: a row without a value takes no memory, so that a wide table with few values is small.
#[derive(Debug, Default)]
struct TextColumn {
    /// All values, concatenated.
    text: String,
    /// The row of each value, and where it ends in `text`.
    values: Vec<(u32, u32)>,
    /// Values that were already taken.
    taken: usize,
    /// Number of rows up to the last one with a value or explicit null.
    given: usize,
}

impl TextColumn {
    /// The values, each with its row.
    fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut start = 0;
        self.values.iter().map(move |(row, end)| {
            let text = self.text.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            (*row as usize, text)
        })
    }

    /// The values of these rows; rows before them are not requested again.
    fn array(&self, rows: &Range<usize>, values: &[(u32, u32)]) -> StringArray {
        let start = self.taken.checked_sub(1).and_then(|before| self.values.get(before)).map_or(0, |(_, end)| *end as usize);
        let end = values.last().map_or(start, |(_, end)| *end as usize);
        let mut builder = StringBuilder::with_capacity(rows.len(), end - start);
        let (mut next, mut from) = (rows.start, start);
        for (row, end) in values {
            builder.append_nulls((*row as usize).saturating_sub(next));
            builder.append_value(self.text.get(from..*end as usize).unwrap_or_default());
            (next, from) = (*row as usize + 1, *end as usize);
        }
        builder.append_nulls(rows.end.saturating_sub(next));
        builder.finish()
    }

    /// Takes the values of these rows.
    fn take(&mut self, rows: &Range<usize>) -> StringArray {
        let waiting = self.values.get(self.taken..).unwrap_or_default();
        let count = waiting.partition_point(|(row, _)| (*row as usize) < rows.end);
        let array = self.array(rows, &waiting[..count]);
        self.taken += count;
        array
    }
}

/// The types, once they are inferred.
#[derive(Debug, Clone)]
struct Types {
    columns: Vec<Chosen>,
    schema: SchemaRef,
}

/// The type of a column, and whether it was inferred.
#[derive(Debug, Clone)]
struct Chosen {
    column_type: ColumnType,
    inferred: bool,
}

impl Chosen {
    /// A description of valid values, for messages.
    fn expected(&self) -> String {
        match &self.column_type {
            ColumnType::Float(_) if self.inferred => {
                format!("{0} without rounding (the type {0}, once set, takes the nearest)", self.column_type)
            }
            other => other.to_string(),
        }
    }

    /// Whether the type represents this text exactly as written. The range of the type is checked by the conversion itself.
    fn takes(&self, value: &str) -> bool {
        match (&self.column_type, Seen::from_type(&self.column_type)) {
            // These have a distinct syntax, which no number or word has.
            (ColumnType::Date | ColumnType::Timestamp(_) | ColumnType::DateTime(_), Some(seen)) if self.inferred => {
                seen.merge(Seen::from_string(value)) == seen
            }
            (_, Some(seen)) if self.inferred => seen.merge(Seen::from_text(value)) == seen,
            (column_type, _) => takes_as_asked(column_type, value),
        }
    }
}

/// Which text `--column` accepts for a type: each value must be represented exactly, except for the fraction of a float.
fn takes_as_asked(column_type: &ColumnType, value: &str) -> bool {
    match column_type {
        ColumnType::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
        ColumnType::Integer(_) => value != "-0" && whole_digits(value.strip_prefix('-').unwrap_or(value)),
        ColumnType::Float(_) => is_number(value, true) || is_float_word(value),
        ColumnType::Decimal(_, scale) => {
            let fraction = value.split_once('.').map_or("", |(_, fraction)| fraction);
            // A decimal has no negative zero.
            let negative_zero = value.starts_with('-') && !value.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
            !negative_zero && is_number(value, false) && fraction.trim_end_matches('0').len() <= usize::from(scale.unsigned_abs())
        }
        ColumnType::Date => matches!(Instant::scan(value), Some(Instant { time: None, .. })),
        ColumnType::Time => matches!(scan_time(value.as_bytes()), Some((0..=6, []))),
        ColumnType::Timestamp(unit) => has_decimals(value, decimals(unit), true),
        ColumnType::DateTime(unit) => has_decimals(value, decimals(unit), false),
        ColumnType::Utf8 | ColumnType::Binary | ColumnType::Json | ColumnType::Uuid => true,
    }
}

/// Digits without a leading zero.
fn whole_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

/// Whether it is a number without a plus sign or leading zeros. Some programs omit the zero before the point.
fn is_number(value: &str, exponent: bool) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (mantissa, power) = match digits.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, Some(power.strip_prefix(['-', '+']).unwrap_or(power))),
        None => (digits, None),
    };
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sized = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && numeric(fraction),
        Some((whole, fraction)) => whole_digits(whole) && numeric(fraction),
        None => whole_digits(mantissa),
    };
    sized && power.is_none_or(|power| exponent && !power.is_empty() && numeric(power))
}

fn is_float_word(value: &str) -> bool {
    let word = value.strip_prefix(['-', '+']).unwrap_or(value);
    ["nan", "inf", "infinity"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

impl TextRows {
    pub(crate) fn new(file: Arc<str>, dialect: Dialect, names: Vec<String>) -> Self {
        let columns = names.iter().map(|_| TextColumn::default()).collect();
        Self { file, dialect, names, columns, lines: Vec::new(), taken: 0, bytes: 0, values: 0, types: None, done: false }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Adds a column, which is null in the rows so far. Only before the types are inferred.
    pub(crate) fn add_column(&mut self, name: &str) -> usize {
        self.names.push(name.to_owned());
        self.columns.push(TextColumn::default());
        self.columns.len() - 1
    }

    /// Sets the value of a column in the current row. Each column is set at most once per row.
    pub(crate) fn put(&mut self, column: usize, value: &str) {
        self.bytes += value.len();
        self.values += 1;
        let row = self.lines.len();
        let column = &mut self.columns[column];
        column.text.push_str(value);
        // A record is bounded, and reading stops at the first one that is too large, so both numbers fit easily in 32 bits.
        let bounded = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        column.values.push((bounded(row), bounded(column.text.len())));
        column.given = row + 1;
    }

    /// Sets a column in the current row to null explicitly.
    pub(crate) fn put_null(&mut self, column: usize) {
        self.columns[column].given = self.lines.len() + 1;
    }

    /// Ends a row that started on this line; columns without a value are null.
    pub(crate) fn end_row(&mut self, line: u64) {
        self.lines.push(line);
    }

    /// Takes back what was set in the current row.
    pub(crate) fn undo_row(&mut self) {
        let row = self.lines.len();
        for column in self.columns.iter_mut().filter(|column| column.given > row) {
            column.given = row;
            if column.values.pop_if(|(at, _)| *at as usize == row).is_some() {
                let end = column.values.last().map_or(0, |(_, end)| *end as usize);
                self.bytes -= column.text.len() - end;
                self.values -= 1;
                column.text.truncate(end);
            }
        }
    }

    /// Whether this column was set in the current row.
    pub(crate) fn has(&self, column: usize) -> bool {
        self.columns[column].given > self.lines.len()
    }

    /// Whether reading should pause for a conversion. Remaining rows are taken first.
    pub(crate) fn is_full(&self) -> bool {
        let (rows, bytes) = if self.types.is_none() { (SAMPLE_ROWS, SAMPLE_BYTES) } else { (BATCH_ROWS, BATCH_BYTES) };
        self.taken > 0 || self.lines.len() >= rows || self.bytes >= bytes || self.values >= MAX_VALUES
    }

    /// Infers the types from the rows so far; `overrides` take precedence. A column without a value gets its type from the other files of the table.
    /// Also returns the columns that any type would fit.
    pub(crate) fn choose_types(&mut self, overrides: &[(String, ColumnType)], like: Option<&Like>) -> (SchemaRef, HashSet<String>) {
        // The last override of a name wins.
        let overrides: HashMap<&str, &ColumnType> = overrides.iter().map(|(name, column_type)| (name.as_str(), column_type)).collect();
        let mut undecided = HashSet::new();
        let mut chosen = Vec::with_capacity(self.names.len());
        for (name, column) in self.names.iter().zip(&self.columns) {
            chosen.push(match (overrides.get(name.as_str()), like.and_then(|like| like.column_type(name))) {
                (Some(column_type), _) => Chosen { column_type: (*column_type).clone(), inferred: false },
                (None, Some(Elsewhere::Text)) => Chosen { column_type: ColumnType::Utf8, inferred: true },
                (None, Some(Elsewhere::Typed(column_type))) if column.values.is_empty() => Chosen { column_type, inferred: true },
                (None, Some(Elsewhere::United(column_type))) => Chosen { column_type, inferred: true },
                (None, _) => {
                    if column.values.is_empty() {
                        undecided.insert(name.clone());
                    }
                    Chosen { column_type: infer(column, self.lines.len(), self.dialect), inferred: true }
                }
            });
        }
        let fields: Vec<Field> = self.names.iter().zip(&chosen).map(|(name, chosen)| chosen.column_type.field(name)).collect();
        let schema = Arc::new(Schema::new(fields));
        self.types = Some(Types { columns: chosen, schema: schema.clone() });
        (schema, undecided)
    }

    /// Is there nothing more to read from the file?
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The file has ended; rows that were not taken yet remain.
    pub(crate) fn set_done(&mut self) {
        self.done = true;
    }

    /// The next batch, after reading more rows has ended in `filled`. Nothing follows an error.
    pub(crate) fn next_batch(&mut self, filled: Result<(), InputError>) -> Option<Result<RecordBatch, InputError>> {
        let taken = filled.and_then(|()| self.take());
        if taken.is_err() {
            self.done = true;
            self.clear();
        }
        taken.transpose()
    }

    /// Converts the next rows; [`None`] if there are none (or the types are not chosen).
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, InputError> {
        let Some(types) = self.types.clone() else { return Ok(None) };
        // Batches of wide rows have fewer rows: a column takes a few bytes per row even without a value.
        let most = (BATCH_CELLS / self.columns.len().max(1)).max(1);
        let rows = self.taken..self.lines.len().min(self.taken + most);
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = self.batch(&types, &rows);
        self.taken = rows.end;
        if self.taken == self.lines.len() {
            self.clear();
        }
        batch.map(Some)
    }

    fn batch(&mut self, types: &Types, rows: &Range<usize>) -> Result<RecordBatch, InputError> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter_mut().enumerate() {
            let chosen = &types.columns[index];
            let text = column.take(rows);
            let converted = convert(text.clone(), chosen, self.dialect).map_err(|row| InputError::Mismatch {
                file: self.file.to_string(),
                line: self.lines.get(rows.start + row).copied().unwrap_or_default(),
                column: self.names[index].clone(),
                expected: chosen.expected(),
                remedy: remedy(chosen, text.value(row), self.dialect),
            })?;
            arrays.push(converted);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(types.schema.clone(), arrays, &options).map_err(|error| InputError::Malformed {
            file: self.file.to_string(),
            at: super::Position::Line(self.lines.get(rows.start).copied().unwrap_or_default()),
            problem: error.to_string(),
        })
    }

    /// Drops the rows.
    fn clear(&mut self) {
        self.lines.clear();
        (self.taken, self.bytes, self.values) = (0, 0, 0);
        let kept = KEPT_BYTES / self.columns.len().max(1);
        for column in &mut self.columns {
            column.text.clear();
            column.values.clear();
            column.text.shrink_to(kept);
            column.values.shrink_to(kept / size_of::<(u32, u32)>());
            (column.taken, column.given) = (0, 0);
        }
    }
}

/// The type for `--column` that would accept the value as written.
fn remedy(chosen: &Chosen, value: &str, dialect: Dialect) -> &'static str {
    let nested = dialect == Dialect::Json && value.starts_with(['{', '[']);
    if nested && chosen.column_type != ColumnType::Json { "json" } else { "string" }
}

/// Infers the type of a column from its values.
fn infer(column: &TextColumn, rows: usize, dialect: Dialect) -> ColumnType {
    let mut seen = Seen::Nothing;
    for (_, text) in column.iter() {
        seen = seen.merge(match dialect {
            Dialect::Plain => Seen::from_text(text),
            Dialect::Json => from_json(text),
        });
        if matches!((seen, dialect), (Seen::Text, Dialect::Plain) | (Seen::Json, _)) {
            break;
        }
    }
    let chosen = Chosen { column_type: seen.column_type(), inferred: true };
    // Only the conversion knows the range of nanosecond timestamps.
    let may_not_reach = matches!(seen, Seen::Date | Seen::Timestamp { .. });
    let converts = || convert(column.array(&(0..rows), &column.values), &chosen, dialect).is_ok();
    if may_not_reach && !converts() { ColumnType::Utf8 } else { chosen.column_type }
}

fn from_json(raw: &str) -> Seen {
    match raw.as_bytes().first() {
        Some(b'"') => unquote(raw).map_or(Seen::Text, |text| Seen::from_string(&text)),
        Some(b'{' | b'[') => Seen::Json,
        Some(b't' | b'f') => Seen::Bool,
        _ => Seen::from_number(raw),
    }
}

fn unquote(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// Converts a column; the error is the first row that does not fit.
fn convert(text: StringArray, chosen: &Chosen, dialect: Dialect) -> Result<ArrayRef, usize> {
    let column_type = &chosen.column_type;
    let text = match (dialect, column_type) {
        (Dialect::Plain, _) | (Dialect::Json, ColumnType::Json) => text,
        (Dialect::Json, _) => unquoted(&text, column_type)?,
    };
    match column_type {
        ColumnType::Utf8 => Ok(Arc::new(text)),
        // NDJSON was already checked when it was read.
        ColumnType::Json => bytes(&text, |value| {
            let good = dialect == Dialect::Json || (serde_json::from_str::<IgnoredAny>(value).is_ok() && json::check(value).is_ok());
            good.then_some(Cow::Borrowed(value.as_bytes()))
        }),
        ColumnType::Binary => bytes(&text, |value| BASE64.decode(value).ok().map(Cow::Owned)),
        ColumnType::Uuid => uuids(&text),
        _ => {
            // Arrow would accept too much: spaces, a plus sign, leading zeros, `yes` as true, a leap second as the next minute.
            if let Some(row) = text.iter().position(|value| value.is_some_and(|value| !chosen.takes(value))) {
                return Err(row);
            }
            let array = cast(&text, column_type)?;
            match column_type {
                ColumnType::Float(_) if !chosen.inferred => {
                    match (0..text.len()).find(|row| text.is_valid(*row) && is_beyond(&array, *row, text.value(*row))) {
                        Some(row) => Err(row),
                        None => Ok(array),
                    }
                }
                _ => Ok(array),
            }
        }
    }
}

/// One value that CSV would have as `value`; [`None`] if the type does not hold it.
pub(crate) fn constant(column_type: &ColumnType, value: Option<&str>) -> Option<ArrayRef> {
    convert(StringArray::from(vec![value]), &Chosen { column_type: column_type.clone(), inferred: true }, Dialect::Plain).ok()
}

/// Whether a number became infinite or zero because of its magnitude. The words for infinity have no digits.
fn is_beyond(floats: &ArrayRef, row: usize, text: &str) -> bool {
    let (finite, zero) = match floats.data_type() {
        DataType::Float32 => {
            let value = floats.as_primitive::<Float32Type>().value(row);
            (value.is_finite(), value == 0.0)
        }
        _ => {
            let value = floats.as_primitive::<Float64Type>().value(row);
            (value.is_finite(), value == 0.0)
        }
    };
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let has = |digit: fn(&u8) -> bool| mantissa.as_bytes().iter().any(digit);
    (!finite && has(u8::is_ascii_digit)) || (zero && has(|byte| matches!(byte, b'1'..=b'9')))
}

/// Whether it is a date and time with at most this many decimals, and with a zone only where one is allowed. A date alone has no time of day.
fn has_decimals(value: &str, most: usize, zone_wanted: bool) -> bool {
    Instant::scan(value).is_some_and(|instant| instant.time.is_some_and(|decimals| decimals <= most) && (zone_wanted || !instant.zone))
}

/// JSON values as plain text, if the type accepts their kind.
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

/// Arrow's own conversion; a value that becomes null did not fit.
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

fn bytes(text: &StringArray, decode: impl Fn(&str) -> Option<Cow<'_, [u8]>>) -> Result<ArrayRef, usize> {
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
    use crate::tests::cell;

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
        rows.choose_types(&[], None);
        rows.put(0, "2");
        rows.end_row(7);
        rows.put(0, "secret");
        rows.end_row(9);
        let error = rows.take().unwrap_err();
        assert!(matches!(&error, InputError::Mismatch { line: 9, column, .. } if column == "id"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
