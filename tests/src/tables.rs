//! Tables as a CloudQuery source sends them: record batches as Arrow IPC streams, with the table's name in the schema's metadata.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};

/// The metadata key with the table's name.
pub const TABLE_NAME: &str = "cq:table_name";

/// A table to send.
#[derive(Debug, Clone)]
pub struct Table {
    name: String,
    metadata: HashMap<String, String>,
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Table {
    /// A table without columns.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), metadata: HashMap::new(), fields: Vec::new(), columns: Vec::new() }
    }

    /// A table with the columns of `batch`.
    #[must_use]
    pub fn from_batch(name: &str, batch: &RecordBatch) -> Self {
        let schema = batch.schema();
        Self {
            name: name.to_owned(),
            metadata: schema.metadata().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            fields: schema.fields().iter().map(|field| field.as_ref().clone()).collect(),
            columns: batch.columns().to_vec(),
        }
    }

    /// Adds a nullable column.
    #[must_use]
    pub fn column(self, name: &str, values: ArrayRef) -> Self {
        let field = Field::new(name, values.data_type().clone(), true);
        self.field(field, values)
    }

    /// Adds a column with this field.
    #[must_use]
    pub fn field(mut self, field: Field, values: ArrayRef) -> Self {
        self.fields.push(field);
        self.columns.push(values);
        self
    }

    /// Adds to the schema's metadata.
    #[must_use]
    pub fn metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The schema, with the table's name.
    #[must_use]
    pub fn schema(&self) -> Arc<Schema> {
        let mut metadata = self.metadata.clone();
        metadata.insert(TABLE_NAME.to_owned(), self.name.clone());
        Arc::new(Schema::new_with_metadata(self.fields.clone(), metadata))
    }

    /// The rows.
    ///
    /// # Errors
    /// The columns are of different lengths, or there is none.
    pub fn batch(&self) -> anyhow::Result<RecordBatch> {
        RecordBatch::try_new(self.schema(), self.columns.clone()).with_context(|| format!("table {}", self.name))
    }

    /// The content of an insert message.
    ///
    /// # Errors
    /// As [`Table::batch`].
    pub fn insert_ipc(&self) -> anyhow::Result<Vec<u8>> {
        ipc(&self.schema(), &[self.batch()?])
    }

    /// The content of a migrate message: the schema.
    ///
    /// # Errors
    /// The schema cannot be written.
    pub fn migrate_ipc(&self) -> anyhow::Result<Vec<u8>> {
        ipc(&self.schema(), &[])
    }
}

/// `batches` as an Arrow IPC stream.
///
/// # Errors
/// A batch does not have this schema.
pub fn ipc(schema: &Schema, batches: &[RecordBatch]) -> anyhow::Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}

/// Rows of one column `id`, with metadata of the schema's own.
///
/// # Panics
/// Never: the column fits its schema.
#[must_use]
pub fn ids_with_metadata(table: &str, ids: Range<i64>, metadata: &[(&str, &str)]) -> Vec<u8> {
    let field = Field::new("id", DataType::Int64, false);
    let rows = Table::new(table).field(field, Arc::new(Int64Array::from_iter_values(ids)));
    metadata.iter().fold(rows, |rows, (key, value)| rows.metadata(key, value)).insert_ipc().expect("one column")
}

/// Rows of one column `id`.
#[must_use]
pub fn ids(table: &str, ids: Range<i64>) -> Vec<u8> {
    ids_with_metadata(table, ids, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_ipc::reader::StreamReader;

    #[test]
    fn an_insert_reads_back_under_its_name() {
        let table = Table::new("orders").column("id", Arc::new(Int64Array::from(vec![1, 2]))).metadata("cq:table_title", "Orders");
        let bytes = table.insert_ipc().expect("an insert");
        let mut reader = StreamReader::try_new(bytes.as_slice(), None).expect("a stream");
        assert_eq!(reader.schema().metadata()[TABLE_NAME], "orders");
        assert_eq!(reader.schema().metadata()["cq:table_title"], "Orders");
        assert_eq!(reader.next().expect("a batch").expect("rows").num_rows(), 2);
        let schema = table.migrate_ipc().expect("a migrate");
        assert!(StreamReader::try_new(schema.as_slice(), None).expect("a stream").next().is_none());
    }
}
