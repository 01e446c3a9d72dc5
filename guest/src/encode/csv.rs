//! Comma-separated values: one record a line, a line of column names before the first record.
//!
//! The names are there once anything was written, be it a record without rows. Unless the spec says otherwise, null and the empty string look alike, and a
//! field is quoted only if it must be.

use super::text::{CsvStyle, Frame, Separators, TextEncoder, TextShared, push_csv_field, push_csv_quoted};
use super::{Encode, EncodeError};
use crate::ipc::TableSchema;
use crate::spec::CsvOptions;
use std::rc::Rc;

/// Begins an object of CSV.
///
/// # Errors
/// [`EncodeError::Data`] if a column's type has no text; it names the column.
pub fn open(schema: &Rc<TableSchema>, options: CsvOptions, shared: &TextShared) -> Result<Box<dyn Encode>, EncodeError> {
    Ok(Box::new(TextEncoder::open(schema, shared, |schema| frame(schema, options))?))
}

fn frame(schema: &TableSchema, options: CsvOptions) -> Frame {
    let fields = schema.logical.fields();
    let CsvOptions { delimiter, skip_header, null_value, quotes_all, line_ending } = options;
    let end = line_ending.bytes();
    let mut header = Vec::new();
    if !skip_header {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                header.push(delimiter);
            }
            let name = field.name().as_bytes();
            if quotes_all { push_csv_quoted(&mut header, name) } else { push_csv_field(&mut header, name, delimiter) }
        }
        header.extend_from_slice(end);
    }
    let pieces = (0..fields.len()).map(|column| (if column == 0 { vec![] } else { vec![delimiter] }, column)).collect();
    let separators = Separators::Csv { delimiter, style: CsvStyle { quotes_all, null: null_value } };
    Frame { separators, header, pieces, end: end.to_vec(), omits_nulls: false }
}
