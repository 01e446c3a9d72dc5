//! Generates TPC-H's lineitem: wide, with many types, and identical on every machine.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

use crate::tables::Table;

/// The table's name.
pub const LINEITEM: &str = "lineitem";

/// Rows of a batch, about what a source sends at a time.
pub const BATCH_ROWS: usize = 10_000;

/// Lineitem at `scale_factor` (0.1 is 600,572 rows), a batch at a time: nothing is kept.
pub fn lineitem(scale_factor: f64) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
    LineItemArrow::new(LineItemGenerator::new(scale_factor, 1, 1)).with_batch_size(BATCH_ROWS).map(|batch| plain(&batch?))
}

/// Text as plain `Utf8`: no source sends the views that the generator makes.
fn plain(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| match field.data_type() {
        DataType::Utf8View => Ok((field.as_ref().clone().with_data_type(DataType::Utf8), cast(column, &DataType::Utf8)?)),
        _ => Ok((field.as_ref().clone(), column.clone())),
    });
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Lineitem as the Arrow IPC messages of inserts.
pub fn lineitem_ipc(scale_factor: f64) -> impl Iterator<Item = anyhow::Result<Vec<u8>>> {
    lineitem(scale_factor).map(|batch| Table::from_batch(LINEITEM, &batch?).insert_ipc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lineitem_is_as_large_as_the_benchmark_says() {
        let rows: usize = lineitem(0.001).map(|batch| batch.expect("a batch").num_rows()).sum();
        assert_eq!(rows, 6005);
    }
}
