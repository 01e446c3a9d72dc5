//! A row as JSON that loses nothing and that every row has: what has no text as it should have one has the text that it is, or its bytes.
//!
//! Values are as `json` writes them, but for three: text that is not UTF-8 is `{"$base64": "…"}`, a JSON value that is not JSON is `{"$text": "…"}`,
//! and a decimal has all of its digits, more than its precision too.

use super::bind::{ColumnReader, Values};
use super::check::Discard;
use super::drain::{Drain, between_characters, push_in_pieces};
use super::json_value::push_compact_draining;
use super::number::DecimalType;
use super::plan::{Column, Key, ValueKind, sorted_keys};
use super::string::{Html, push_json_escaped};
use super::value::{TextFormat, push_encoded};
use crate::ipc::TableSchema;
use arrow_array::RecordBatch;
use arrow_buffer::ArrowNativeType;
use arrow_schema::{DataType, Field};

/// More digits than a decimal of 256 bits has.
const ALL_DIGITS: u8 = 78;

/// How the rows of a schema are written.
#[derive(Debug)]
pub(crate) struct LosslessRow {
    /// Absent: the type has no text at all.
    columns: Vec<Option<Column>>,
    types: Vec<String>,
    keys: Vec<Key>,
}

impl LosslessRow {
    pub(crate) fn new(schema: &TableSchema) -> Self {
        let fields = schema.logical.fields();
        let column = |field: &Field| kind_of(field).map(|kind| Column { name: field.name().clone(), kind });
        Self {
            columns: fields.iter().map(|field| column(field)).collect(),
            types: fields.iter().map(|field| field.data_type().to_string()).collect(),
            keys: sorted_keys(fields.iter().map(|field| field.name().as_str()), Html::Raw),
        }
    }

    /// Appends a row as a JSON object, and offers the text to `drain` on the way.
    ///
    /// # Errors
    /// The drain's.
    pub(crate) fn push<D: Drain>(&self, out: &mut Vec<u8>, batch: &RecordBatch, row: usize, drain: &mut D) -> Result<(), D::Error> {
        out.push(b'{');
        for (at, key) in self.keys.iter().enumerate() {
            out.extend((at > 0).then_some(b','));
            out.extend_from_slice(&key.text);
            let column = self.columns.get(key.child).and_then(Option::as_ref);
            let array = batch.columns().get(key.child);
            match column.zip(array).and_then(|(column, array)| ColumnReader::new(&column.kind, array.as_ref()).ok()) {
                Some(reader) => push_value(&reader, out, row, drain)?,
                None => {
                    let name = self.types.get(key.child).map_or("", String::as_str);
                    push_marked(out, b"{\"$type\":", |out| push_string(out, name.as_bytes(), drain))?;
                }
            }
            drain.drain(out)?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// What a column's values are; where its time zone or its extension is one that nobody knows, without it.
fn kind_of(field: &Field) -> Option<ValueKind> {
    let plain = || Field::new(field.name(), field.data_type().clone(), true);
    let in_utc = || match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => Some(Field::new(field.name(), DataType::Timestamp(*unit, None), true)),
        _ => None,
    };
    let kind = ValueKind::from_field(field).or_else(|_| ValueKind::from_field(&plain()));
    kind.ok().or_else(|| ValueKind::from_field(&in_utc()?).ok())
}

fn push_value<D: Drain>(reader: &ColumnReader<'_>, out: &mut Vec<u8>, row: usize, drain: &mut D) -> Result<(), D::Error> {
    if reader.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match &reader.values {
        Values::Text(bytes) | Values::Inet(bytes) => push_text(out, bytes.get(row), drain)?,
        Values::Json(bytes) => {
            let text = bytes.get(row);
            let is_json = || push_compact_draining(&mut Vec::new(), text, Html::Raw, &mut Discard).is_ok();
            match std::str::from_utf8(text) {
                Ok(_) if is_json() => push_compact_draining(out, text, Html::Raw, drain)?,
                Ok(_) => push_marked(out, b"{\"$text\":", |out| push_string(out, text, drain))?,
                Err(_) => push_text(out, text, drain)?,
            }
        }
        Values::Decimal(decimals, DecimalType { scale, .. }) => {
            out.push(b'"');
            decimals.push(out, row, DecimalType { precision: ALL_DIGITS, scale: *scale });
            out.push(b'"');
        }
        Values::List(extents, item) => {
            out.push(b'[');
            for (number, at) in extents.get(row).enumerate() {
                out.extend((number > 0).then_some(b','));
                push_value(item, out, at, drain)?;
                drain.drain(out)?;
            }
            out.push(b']');
        }
        Values::Struct(children, plan) => {
            out.push(b'{');
            for (at, key) in plan.raw.iter().enumerate() {
                out.extend((at > 0).then_some(b','));
                out.extend_from_slice(&key.text);
                push_value(&children[key.child], out, row, drain)?;
                drain.drain(out)?;
            }
            out.push(b'}');
        }
        Values::Map(offsets, pair) => {
            out.push(b'[');
            for (number, at) in (offsets[row].as_usize()..offsets[row + 1].as_usize()).enumerate() {
                out.extend((number > 0).then_some(b','));
                out.extend_from_slice(b"{\"key\":");
                push_value(&pair.0, out, at, drain)?;
                out.extend_from_slice(b",\"value\":");
                push_value(&pair.1, out, at, drain)?;
                out.push(b'}');
                drain.drain(out)?;
            }
            out.push(b']');
        }
        Values::Dictionary(keys, values) => match keys.index(row) {
            Some(key) => push_value(values, out, key, drain)?,
            None => out.extend_from_slice(b"null"),
        },
        _ => reader.push_draining(out, row, TextFormat::Json(Html::Raw), drain)?,
    }
    Ok(())
}

/// Appends a text as a JSON string, or its bytes where it is none.
fn push_text<D: Drain>(out: &mut Vec<u8>, text: &[u8], drain: &mut D) -> Result<(), D::Error> {
    match std::str::from_utf8(text) {
        Ok(_) => push_string(out, text, drain),
        Err(_) => push_marked(out, b"{\"$base64\":", |out| push_encoded(out, text, TextFormat::Json(Html::Raw), drain)),
    }
}

/// Appends an object of one member.
fn push_marked<E>(out: &mut Vec<u8>, mark: &[u8], push: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    out.extend_from_slice(mark);
    push(out)?;
    out.push(b'}');
    Ok(())
}

/// Appends a JSON string, quotes included.
fn push_string<D: Drain>(out: &mut Vec<u8>, text: &[u8], drain: &mut D) -> Result<(), D::Error> {
    out.push(b'"');
    push_in_pieces(out, text, drain, between_characters, |out, piece| push_json_escaped(out, piece, Html::Raw))?;
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::Whole;
    use arrow_array::types::Int32Type;
    use arrow_array::{
        Array as _, ArrayRef, BinaryArray, Decimal128Array, DictionaryArray, Float64Array, LargeBinaryArray, ListArray, StringArray,
        TimestampSecondArray,
    };
    use arrow_buffer::OffsetBuffer;
    use arrow_schema::Schema;
    use std::collections::HashMap;
    use std::sync::Arc;

    /// The row of one column named `c`, of what is declared.
    #[track_caller]
    fn check(field: Field, array: ArrayRef, expected: &str) {
        let logical = Arc::new(Schema::new(vec![field.with_name("c")]));
        let physical = Arc::new(Schema::new(vec![Field::new("c", array.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(physical.clone(), vec![array]).expect("a column");
        let (mut out, row) = (Vec::new(), LosslessRow::new(&TableSchema { table: "t".into(), logical, physical }));
        row.push(&mut out, &batch, 0, &mut Whole).expect("every row has a text");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        assert_eq!(text, format!("{{\"c\":{expected}}}"));
    }

    fn extension(name: &str) -> Field {
        let metadata = [("ARROW:extension:name", name.to_owned()), ("ARROW:extension:metadata", format!("{name}-serialized"))];
        let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        Field::new("c", DataType::Binary, true).with_metadata(metadata)
    }

    fn binary(bytes: &[u8]) -> ArrayRef {
        Arc::new(BinaryArray::from_vec(vec![bytes]))
    }

    #[test]
    fn what_has_no_text_has_the_one_it_is_or_its_bytes() {
        let text = || Field::new("c", DataType::Utf8, true);
        check(text(), binary(b"a\"\n\xc2\x85"), "\"a\\\"\\n\u{85}\"");
        check(text(), binary(b"a\xff"), "{\"$base64\":\"Yf8=\"}");
        check(text(), Arc::new(BinaryArray::from_opt_vec(vec![None])), "null");
        check(extension("json"), binary(b" {\"b\": [1]} "), "{\"b\":[1]}");
        check(extension("json"), binary(b"{\"b\": [1}"), "{\"$text\":\"{\\\"b\\\": [1}\"}");
        check(extension("json"), binary(b""), "{\"$text\":\"\"}");
        check(extension("json"), binary(b"\"\xff\""), "{\"$base64\":\"Iv8i\"}");
        check(extension("inet"), binary(b"10.0.0.0"), "\"10.0.0.0\"");
        check(extension("inet"), binary(b"\xff"), "{\"$base64\":\"/w==\"}");
    }

    #[test]
    fn numbers_have_all_their_digits() {
        let digits = "1234567890123456789012345678901.234567";
        let values =
            Decimal128Array::from(vec![1_234_567_890_123_456_789_012_345_678_901_234_567]).with_data_type(DataType::Decimal128(9, 6));
        check(Field::new("c", DataType::Decimal128(9, 6), true), Arc::new(values), &format!("\"{digits}\""));
        check(Field::new("c", DataType::Float64, true), Arc::new(Float64Array::from(vec![f64::NAN])), "\"NaN\"");
    }

    #[test]
    fn what_is_nested_has_no_other_form() {
        let item = Arc::new(extension("json").with_name("item"));
        let values = BinaryArray::from_vec(vec![b"{}", b"{"]);
        let lists =
            ListArray::new(Arc::new(Field::new("item", DataType::Binary, true)), OffsetBuffer::from_lengths([2]), Arc::new(values), None);
        check(Field::new("c", DataType::List(item), true), Arc::new(lists), "[{},{\"$text\":\"{\"}]");
        let words: DictionaryArray<Int32Type> = vec!["a"].into_iter().collect();
        check(Field::new("c", words.data_type().clone(), true), Arc::new(binary_of(&words)), "\"a\"");
    }

    /// As it is decoded: the values are bytes.
    fn binary_of(words: &DictionaryArray<Int32Type>) -> DictionaryArray<Int32Type> {
        let values: &StringArray = words.values().as_any().downcast_ref().expect("texts");
        DictionaryArray::new(words.keys().clone(), Arc::new(BinaryArray::from_iter(values.iter().map(|it| it.map(str::as_bytes)))))
    }

    #[test]
    fn a_zone_and_an_extension_that_nobody_knows_are_left_out() {
        let nowhere = TimestampSecondArray::from(vec![0]).with_timezone("Nowhere/Else");
        check(Field::new("c", nowhere.data_type().clone(), true), Arc::new(nowhere), "\"1970-01-01T00:00:00Z\"");
        let large = extension("json").with_data_type(DataType::LargeBinary);
        check(large, Arc::new(LargeBinaryArray::from_vec(vec![b"{"])), "\"ew==\"");
    }
}
