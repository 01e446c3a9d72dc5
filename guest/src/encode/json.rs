//! JSON lines: one object a row, its keys sorted by their encoded form, nulls written out unless the spec says otherwise.

use super::text::{Frame, Html, Separators, TextEncoder, TextShared, sorted_keys};
use super::{Encode, EncodeError};
use crate::ipc::TableSchema;
use crate::spec::JsonOptions;
use std::rc::Rc;

/// Begins an object of JSON lines.
///
/// # Errors
/// [`EncodeError::Data`] if a column's type has no text; it names the column.
pub fn open(schema: &Rc<TableSchema>, options: JsonOptions, shared: &TextShared) -> Result<Box<dyn Encode>, EncodeError> {
    Ok(Box::new(TextEncoder::open(schema, shared, |schema| frame(schema, options))?))
}

fn frame(schema: &TableSchema, options: JsonOptions) -> Frame {
    let keys = sorted_keys(schema.logical.fields().iter().map(|field| field.name().as_str()), Html::Raw);
    let mut pieces: Vec<(Vec<u8>, usize)> = Vec::with_capacity(keys.len());
    for key in keys {
        let mut prefix = if pieces.is_empty() { b"{".to_vec() } else { b",".to_vec() };
        prefix.extend_from_slice(&key.text);
        pieces.push((prefix, key.child));
    }
    let end = if pieces.is_empty() { b"{}\n".to_vec() } else { b"}\n".to_vec() };
    Frame { separators: Separators::Json, header: Vec::new(), pieces, end, omits_nulls: options.omit_nulls }
}
