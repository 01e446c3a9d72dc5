//! Comma-separated values: one record a line, a line of column names before the first record.
//!
//! The names are there once anything was written, be it a record without rows. Null and the empty string look alike. A field is quoted only if it must be.

use super::text::{Frame, Separators, TextEncoder, TextShared, push_csv_field};
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
    let delimiter = options.delimiter;
    let mut header = Vec::new();
    if !options.skip_header {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                header.push(delimiter);
            }
            push_csv_field(&mut header, field.name().as_bytes(), delimiter);
        }
        header.push(b'\n');
    }
    let pieces = (0..fields.len()).map(|column| (if column == 0 { vec![] } else { vec![delimiter] }, column)).collect();
    Frame { separators: Separators::Csv { delimiter }, header, pieces, end: b"\n".to_vec() }
}
