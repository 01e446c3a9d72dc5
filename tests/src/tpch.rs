//! TPC-H's lineitem, made on the spot: wide, of many types, and the same on every machine.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

use crate::tables::Table;

/// The table's name.
pub const LINEITEM: &str = "lineitem";

/// Rows of a batch, about what a source sends at a time.
pub const BATCH_ROWS: usize = 8192;

/// Lineitem at `scale_factor` (0.1 is 600,572 rows), a batch at a time: nothing is kept.
pub fn lineitem(scale_factor: f64) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
    LineItemArrow::new(LineItemGenerator::new(scale_factor, 1, 1)).with_batch_size(BATCH_ROWS)
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
