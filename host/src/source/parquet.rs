//! Parquet: row groups are streamed, a batch at a time; what is in memory is a page of each column.

use super::{InputError, MAX_WORDS, Position, Rows, Schema};
use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::sync::Arc;

/// Most rows of a batch.
const BATCH_ROWS: u64 = 8_192;
/// Bytes (uncompressed) that a batch should have: wide rows come fewer at a time.
const BATCH_BYTES: u64 = 8 << 20;

/// Reads a Parquet file.
struct Reader {
    reader: ParquetRecordBatchReader,
    file: Arc<str>,
    /// Row after which each row group ends.
    group_ends: Vec<u64>,
    rows: u64,
    failed: bool,
}

/// Opens a Parquet file.
pub(crate) fn open(input: File, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let whole = |problem: String| InputError::Malformed { file: file.to_string(), at: Position::Whole, problem };
    let bytes = input.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let builder = ParquetRecordBatchReaderBuilder::try_new(input)
        .map_err(|error| whole(format!("not a whole Parquet file ({bytes} bytes; it may be truncated): {}", words(&error))))?;
    let mut end = 0_u64;
    let mut batch_rows = BATCH_ROWS;
    let mut group_ends = Vec::with_capacity(builder.metadata().num_row_groups());
    for group in builder.metadata().row_groups() {
        let rows = u64::try_from(group.num_rows()).map_err(|_| whole("the footer counts fewer than no rows".to_owned()))?;
        end = end.saturating_add(rows);
        group_ends.push(end);
        let row_bytes = u64::try_from(group.total_byte_size()).unwrap_or_default() / rows.max(1);
        batch_rows = batch_rows.min(BATCH_BYTES / row_bytes.max(1));
    }
    let schema = builder.schema().clone();
    let batch_rows = usize::try_from(batch_rows.max(1)).unwrap_or(1);
    let reader = builder.with_batch_size(batch_rows).build().map_err(|error| whole(format!("cannot be read: {}", words(&error))))?;
    Ok((schema, Box::new(Reader { reader, file, group_ends, rows: 0, failed: false })))
}

impl Reader {
    fn malformed(&mut self, problem: String) -> InputError {
        self.failed = true;
        let group = self.group_ends.partition_point(|end| *end <= self.rows) + 1;
        let at = Position::RowGroup { group: group.min(self.group_ends.len()), rows: self.rows };
        InputError::Malformed { file: self.file.to_string(), at, problem }
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.reader.next() {
            Some(Ok(batch)) => {
                self.rows += batch.num_rows() as u64;
                Some(Ok(batch))
            }
            Some(Err(error)) => Some(Err(self.malformed(format!("corrupt Parquet: {}", super::ipc::words(&error))))),
            None => {
                let promised = self.group_ends.last().copied().unwrap_or_default();
                (self.rows != promised).then(|| Err(self.malformed(format!("the footer promises {promised} rows"))))
            }
        }
    }
}

fn words(error: &parquet::errors::ParquetError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(MAX_WORDS).collect()
}
