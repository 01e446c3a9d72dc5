//! Parquet: row groups are streamed, a batch at a time; what is in memory is a page of each column.

use super::{InputError, MAX_WORDS, Position, Rows, Schema};
use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::sync::Arc;

/// Most rows of a batch.
const BATCH_ROWS: u64 = 8_192;
/// Bytes (uncompressed) that a batch should have: wide rows come fewer at a time.
const BATCH_BYTES: u64 = 8 << 20;

/// Reads a Parquet file, one row group after another, so that what is wrong has its place.
struct Reader {
    input: File,
    metadata: ArrowReaderMetadata,
    batch_rows: usize,
    /// Of the row group being read; `None` between two.
    reader: Option<ParquetRecordBatchReader>,
    file: Arc<str>,
    /// Row after which each row group ends.
    group_ends: Vec<u64>,
    /// Row groups begun.
    groups: usize,
    rows: u64,
}

/// Opens a Parquet file.
pub(crate) fn open(input: File, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let whole = |problem: String| InputError::Malformed { file: file.to_string(), at: Position::Whole, problem };
    let bytes = input.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::default())
        .map_err(|error| whole(format!("not a whole Parquet file ({bytes} bytes; it may be truncated): {}", words(&error))))?;
    let mut end = 0_u64;
    let mut batch_rows = BATCH_ROWS;
    let mut group_ends = Vec::with_capacity(metadata.metadata().num_row_groups());
    for group in metadata.metadata().row_groups() {
        let rows = u64::try_from(group.num_rows()).map_err(|_| whole("the footer counts fewer than no rows".to_owned()))?;
        end = end.saturating_add(rows);
        group_ends.push(end);
        let row_bytes = u64::try_from(group.total_byte_size()).unwrap_or_default() / rows.max(1);
        batch_rows = batch_rows.min(BATCH_BYTES / row_bytes.max(1));
    }
    let schema = metadata.schema().clone();
    let batch_rows = usize::try_from(batch_rows.max(1)).unwrap_or(1);
    Ok((schema, Box::new(Reader { input, metadata, batch_rows, reader: None, file, group_ends, groups: 0, rows: 0 })))
}

impl Reader {
    /// Ends the reading.
    fn malformed(&mut self, problem: &str) -> InputError {
        let at = Position::RowGroup { group: self.groups, rows: self.rows };
        self.reader = None;
        self.groups = self.group_ends.len();
        InputError::Malformed { file: self.file.to_string(), at, problem: format!("corrupt Parquet: {problem}") }
    }

    fn begin_group(&mut self) -> Result<ParquetRecordBatchReader, InputError> {
        let group = self.groups;
        self.groups += 1;
        let input = self.input.try_clone().map_err(|cause| InputError::Io { file: self.file.to_string(), cause })?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.metadata.clone());
        builder.with_row_groups(vec![group]).with_batch_size(self.batch_rows).build().map_err(|error| self.malformed(&words(&error)))
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(reader) = &mut self.reader else {
                if self.groups == self.group_ends.len() {
                    return None;
                }
                match self.begin_group() {
                    Ok(reader) => self.reader = Some(reader),
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            match reader.next() {
                Some(Ok(batch)) => {
                    self.rows += batch.num_rows() as u64;
                    return Some(Ok(batch));
                }
                Some(Err(error)) => return Some(Err(self.malformed(&super::ipc::words(&error)))),
                None => {
                    self.reader = None;
                    let promised = self.group_ends.get(self.groups - 1).copied().unwrap_or_default();
                    if self.rows != promised {
                        return Some(Err(self.malformed(&format!("the footer promises {promised} rows up to here"))));
                    }
                }
            }
        }
    }
}

fn words(error: &parquet::errors::ParquetError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(MAX_WORDS).collect()
}
