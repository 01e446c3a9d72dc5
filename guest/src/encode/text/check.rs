//! Which rows have a value without a text. Encoders do not ask: they find out while they write, and this is for after one has stopped.

use super::bind::ColumnReader;
use super::drain::{Drain, ValueError};
use super::plan::{Column, ValueKind};
use super::string::Html;
use super::value::TextFormat;
use crate::encode::{BadRow, EncodeError};
use arrow_array::RecordBatch;
use std::ops::Range;

/// Bytes of a value that become text before they are dropped.
const PIECE_BYTES: usize = 3 << 14;

/// Are there values of this kind without a text in this format? What is nested is JSON in both.
pub(super) fn can_fail(kind: &ValueKind, format: TextFormat) -> bool {
    let nested = |kind: &ValueKind| can_fail(kind, TextFormat::Json(Html::Raw));
    match (kind, format) {
        (ValueKind::Json, TextFormat::Json(_)) | (ValueKind::Inet, TextFormat::Csv) => true,
        (ValueKind::Dictionary(value), _) => can_fail(value, format),
        (ValueKind::List(item), _) => nested(item),
        (ValueKind::Struct(plan), _) => plan.children.iter().any(nested),
        (ValueKind::Map(pair), _) => nested(&pair.0) || nested(&pair.1),
        _ => false,
    }
}

/// Why a row's value has no text.
pub(super) fn problem_of(reader: &ColumnReader<'_>, row: usize, format: TextFormat) -> Option<ValueError> {
    reader.push_draining(&mut Vec::new(), row, format, &mut Discard).err()
}

/// Text is made, and dropped.
pub(super) struct Discard;

impl Drain for Discard {
    type Error = ValueError;

    const PIECE_BYTES: usize = PIECE_BYTES;

    fn drain(&mut self, text: &mut Vec<u8>) -> Result<(), ValueError> {
        text.clear();
        Ok(())
    }
}

/// The rows of a range that have a value without a text, up to `most` of them.
pub(super) fn bad_rows(
    plan: &[Column],
    batch: &RecordBatch,
    rows: Range<usize>,
    format: TextFormat,
    most: usize,
) -> Result<Vec<BadRow>, EncodeError> {
    let fallible = plan.iter().zip(batch.columns()).filter(|(column, _)| can_fail(&column.kind, format));
    let readers = fallible.map(|(column, array)| {
        let reader = ColumnReader::new(&column.kind, array.as_ref());
        reader.map(|reader| (column, reader)).map_err(|mismatch| EncodeError::Data(format!("column `{}`: {}", column.name, mismatch.0)))
    });
    let readers = readers.collect::<Result<Vec<_>, _>>()?;
    let bad = rows.filter_map(|row| {
        let problem = readers.iter().find_map(|(column, reader)| Some((column, problem_of(reader, row, format)?)));
        problem.map(|(column, error)| BadRow { row, column: column.name.clone(), reason: error.to_string() })
    });
    Ok(bad.take(most).collect())
}
