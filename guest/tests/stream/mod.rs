//! Reads an Arrow IPC stream into the physical schema, with nothing but the IPC library: text is decoded as bytes.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema};
use lakegate_guest::ipc::TableSchema;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Reads a whole stream without dictionaries.
pub(crate) fn read(stream: &[u8]) -> (Rc<TableSchema>, Vec<RecordBatch>) {
    let mut at = 0;
    let mut schema: Option<Rc<TableSchema>> = None;
    let mut batches = Vec::new();
    loop {
        let word = |at: usize| u32::from_le_bytes(stream[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(word(at), u32::MAX, "a continuation marker");
        let length = word(at + 4) as usize;
        if length == 0 {
            return (schema.expect("a schema comes first"), batches);
        }
        let message = arrow_ipc::root_as_message(&stream[at + 8..at + 8 + length]).expect("a message");
        let body = at + 8 + length;
        let end = body + message.bodyLength() as usize;
        if let Some(header) = message.header_as_schema() {
            let logical = arrow_ipc::convert::try_fb_to_schema(header).expect("a schema");
            let table = logical.metadata().get("cq:table_name").cloned().unwrap_or_default();
            let fields: Vec<_> = logical.fields().iter().map(physical_field).collect();
            let physical = Arc::new(Schema::new(fields));
            schema = Some(Rc::new(TableSchema { table, logical: Arc::new(logical), physical }));
        } else if let Some(header) = message.header_as_record_batch() {
            let physical = Arc::clone(&schema.as_ref().expect("a schema comes first").physical);
            let body = Buffer::from(&stream[body..end]);
            let batch = arrow_ipc::reader::read_record_batch(&body, header, physical, &HashMap::new(), None, &message.version());
            batches.push(batch.expect("a record batch"));
        }
        at = end;
    }
}

fn physical_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(field.as_ref().clone().with_data_type(physical(field.data_type())))
}

fn physical(ty: &DataType) -> DataType {
    match ty {
        DataType::Utf8 => DataType::Binary,
        DataType::LargeUtf8 => DataType::LargeBinary,
        DataType::Utf8View => DataType::BinaryView,
        DataType::List(item) => DataType::List(physical_field(item)),
        DataType::LargeList(item) => DataType::LargeList(physical_field(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(physical_field(item), *length),
        DataType::Map(entries, sorted) => DataType::Map(physical_field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(physical_field).collect()),
        other => other.clone(),
    }
}
