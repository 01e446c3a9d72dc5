//! Tables as a source sends them: Arrow IPC streams whose schema names the table.

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_cast::cast;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

/// A whole stream: the schema and these record batches.
pub fn stream(schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).expect("writing to memory");
    for batch in batches {
        writer.write(batch).expect("writing to memory");
    }
    writer.into_inner().expect("writing to memory")
}

/// The schema of a table: its name, more metadata, and fields.
pub fn schema(table: &str, metadata: &[(&str, &str)], fields: Vec<Field>) -> SchemaRef {
    let pairs = [("cq:table_name", table)].into_iter().chain(metadata.iter().copied());
    let metadata: HashMap<String, String> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Rows of one column `id`, with metadata of the schema's own.
pub fn ids_with_metadata(table: &str, ids: Range<i64>, metadata: &[(&str, &str)]) -> Vec<u8> {
    let schema = schema(table, metadata, vec![Field::new("id", DataType::Int64, false)]);
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    stream(&schema, &[RecordBatch::try_new(schema.clone(), vec![column]).expect("one column")])
}

/// Rows of one column `id`.
pub fn ids(table: &str, ids: Range<i64>) -> Vec<u8> {
    ids_with_metadata(table, ids, &[])
}

/// TPC-H lineitem in batches of 10,000 rows, text as plain `Utf8`.
pub fn lineitem(scale: f64) -> impl Iterator<Item = RecordBatch> {
    LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)).with_batch_size(10_000).map(|batch| plain(&batch.expect("generated")))
}

/// The same rows with views turned into plain text, under the table's name.
fn plain(batch: &RecordBatch) -> RecordBatch {
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| match field.data_type() {
            DataType::Utf8View => {
                let text = cast(column, &DataType::Utf8).expect("a view is text");
                (Field::new(field.name(), DataType::Utf8, field.is_nullable()), text)
            }
            other => (Field::new(field.name(), other.clone(), field.is_nullable()), column.clone()),
        })
        .unzip();
    RecordBatch::try_new(schema("lineitem", &[], fields), columns).expect("the same columns")
}
