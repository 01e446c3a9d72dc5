//! The schemas at the beginning of messages, written anew with the ids that a table's columns have. Rows are not looked at.

use crate::message::{InvalidMessage, Messages, invalid, verified};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, write_message};
use arrow_schema::Schema;
use bytes::{BufMut, Bytes, BytesMut};

/// Alignment within a message, as Arrow recommends; decimals need 16.
const ALIGNMENT_BYTES: usize = 64;

/// The first message of a stream: the header of its schema.
///
/// # Errors
/// There is none.
pub(crate) fn schema_header(ipc: &[u8]) -> Result<&[u8], InvalidMessage> {
    Messages::new(ipc).next()?.ok_or_else(|| invalid("the stream has no schema"))
}

/// A schema as the first message of a stream whose own schema `header` was.
///
/// # Errors
/// The stream numbers its dictionaries in a way of its own: the schema here would number them otherwise.
pub(crate) fn schema_message(header: &[u8], schema: &Schema) -> Result<Bytes, InvalidMessage> {
    let message = verified(header)?;
    let fields = message.header_as_schema().and_then(|schema| schema.fields());
    let mut ids = Vec::new();
    fields.into_iter().flatten().for_each(|field| dictionary_ids(field, &mut ids));
    if !ids.iter().copied().eq(0..ids.len() as i64) {
        return Err(invalid(format!(
            "the dictionaries of the Arrow IPC stream are numbered {ids:?}; for a table of a catalog numbers from 0 in the order of the columns are accepted"
        )));
    }
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, message.version())
        .map_err(|_| invalid("the Arrow IPC stream has a metadata version other than 4 and 5"))?;
    let encoded = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut DictionaryTracker::new(false), &options);
    let mut written = Vec::new();
    write_message(&mut written, encoded, &options).map_err(|error| invalid(format!("the schema: {error}")))?;
    Ok(written.into())
}

/// The ids of the dictionaries of a field and its children, in their order. The depth is that of the verified header.
fn dictionary_ids(field: arrow_ipc::Field<'_>, ids: &mut Vec<i64>) {
    ids.extend(field.dictionary().map(|dictionary| dictionary.id()));
    field.children().into_iter().flatten().for_each(|child| dictionary_ids(child, ids));
}

/// A stream with this message in the place of its schema.
///
/// # Errors
/// The stream has no schema.
pub(crate) fn with_schema(ipc: &Bytes, schema_message: &[u8]) -> Result<Bytes, InvalidMessage> {
    let header = schema_header(ipc)?;
    let rest = header.as_ptr() as usize - ipc.as_ptr() as usize + header.len();
    let rows = ipc.get(rest..).unwrap_or_default();
    let mut stream = BytesMut::with_capacity(schema_message.len() + rows.len());
    stream.put_slice(schema_message);
    stream.put_slice(rows);
    Ok(stream.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::schema;
    use arrow_array::{DictionaryArray, Int64Array, RecordBatch, types::Int8Type};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field};
    use std::collections::HashMap;
    use std::sync::Arc;

    fn stream() -> (Schema, Bytes) {
        let kind = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("kind", kind, true)]);
        let kinds: DictionaryArray<Int8Type> = vec!["a", "b", "a"].into_iter().collect();
        let batch =
            RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(kinds)]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&batch).unwrap();
        (schema, writer.into_inner().unwrap().into())
    }

    #[test]
    fn the_schema_is_another_and_the_rows_are_the_same() {
        let (schema_before, ipc) = stream();
        let with_ids = schema_before.fields().iter().enumerate().map(|(at, field)| {
            field.as_ref().clone().with_metadata(HashMap::from([("PARQUET:field_id".to_owned(), (at + 7).to_string())]))
        });
        let wanted = Schema::new(with_ids.collect::<Vec<_>>());
        let message = schema_message(schema_header(&ipc).unwrap(), &wanted).unwrap();
        let written = with_schema(&ipc, &message).unwrap();
        assert_eq!(schema(schema_header(&written).unwrap()).unwrap(), wanted);
        let read = |ipc: &Bytes| arrow_ipc::reader::StreamReader::try_new(&ipc[..], None).unwrap().next().unwrap().unwrap();
        assert_eq!(read(&written).columns(), read(&ipc).columns());
    }

    #[test]
    fn dictionaries_of_another_numbering_are_refused() {
        let (schema_before, ipc) = stream();
        let header = schema_header(&ipc).unwrap();
        assert!(schema_message(header, &schema_before).is_ok());
        // The number is an i64 of a flatbuffer's table, left out while it is 0: another one takes a schema that is made by hand.
        let mut builder = flatbuffers::FlatBufferBuilder::new();
        let mut dictionary = arrow_ipc::DictionaryEncodingBuilder::new(&mut builder);
        dictionary.add_id(4);
        let dictionary = dictionary.finish();
        let name = builder.create_string("kind");
        let kind = arrow_ipc::Utf8Builder::new(&mut builder).finish().as_union_value();
        let mut field = arrow_ipc::FieldBuilder::new(&mut builder);
        field.add_name(name);
        field.add_type_type(arrow_ipc::Type::Utf8);
        field.add_type_(kind);
        field.add_dictionary(dictionary);
        let field = field.finish();
        let fields = builder.create_vector(&[field]);
        let mut schema = arrow_ipc::SchemaBuilder::new(&mut builder);
        schema.add_fields(fields);
        let schema = schema.finish().as_union_value();
        let mut message = arrow_ipc::MessageBuilder::new(&mut builder);
        message.add_version(arrow_ipc::MetadataVersion::V5);
        message.add_header_type(arrow_ipc::MessageHeader::Schema);
        message.add_header(schema);
        let message = message.finish();
        builder.finish(message, None);
        let error = schema_message(builder.finished_data(), &schema_before).unwrap_err();
        assert!(error.0.contains("[4]"), "{error}");
    }
}
