//! Parquet: row groups are streamed, a batch at a time; what is in memory is a page of each column.
//!
//! A row may be far larger in memory than in the file, where a value of a dictionary stands once however many rows have it. So the longest
//! value of each dictionary is looked up before its row group is read, and says how many rows make a batch.

use super::{InputError, MAX_WORDS, Position, Rows, Schema};
use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Type;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use std::fs::File;
use std::sync::Arc;

/// Most rows of a batch.
const BATCH_ROWS: u64 = 8_192;
/// Bytes that a batch should have by what its row group holds (uncompressed): wide rows come fewer at a time.
const BATCH_BYTES: u64 = 8 << 20;
/// Bytes that a batch may have in memory if each of its rows has the longest value that its columns' types and dictionaries allow (a single
/// row may have more).
const DECODED_BYTES: u64 = 64 << 20;

/// Bytes of the widest number.
const WIDEST_NUMBER_BYTES: u64 = 12;

/// Reads a Parquet file, one row group after another, so that what is wrong has its place.
struct Reader {
    input: File,
    metadata: ArrowReaderMetadata,
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
    let mut group_ends = Vec::with_capacity(metadata.metadata().num_row_groups());
    for group in metadata.metadata().row_groups() {
        let rows = u64::try_from(group.num_rows()).map_err(|_| whole("the footer counts fewer than no rows".to_owned()))?;
        end = end.saturating_add(rows);
        group_ends.push(end);
    }
    let schema = metadata.schema().clone();
    Ok((schema, Box::new(Reader { input, metadata, reader: None, file, group_ends, groups: 0, rows: 0 })))
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
        let input = || self.input.try_clone().map_err(|cause| InputError::Io { file: self.file.to_string(), cause });
        let (pages, input) = (Arc::new(input()?), input()?);
        let begun =
            self.metadata.metadata().row_groups().get(group).map_or(Ok(1), |group| batch_rows(&pages, group)).and_then(|batch_rows| {
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.metadata.clone());
                builder.with_row_groups(vec![group]).with_batch_size(batch_rows).build()
            });
        begun.map_err(|error| self.malformed(&words(&error)))
    }
}

/// How many rows of a row group make a batch.
fn batch_rows(input: &Arc<File>, group: &RowGroupMetaData) -> Result<usize, ParquetError> {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    let rows = number(group.num_rows()).max(1);
    let mut longest_row = 0_u64;
    for column in group.columns() {
        let longest = match column.column_type() {
            Type::BYTE_ARRAY => longest_of_dictionary(input, column, rows)?,
            Type::FIXED_LEN_BYTE_ARRAY => number(column.column_descr().type_length().into()),
            Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::INT96 | Type::FLOAT | Type::DOUBLE => WIDEST_NUMBER_BYTES,
        };
        // Of a list a row has several values.
        longest_row = longest_row.saturating_add(longest.saturating_mul(number(column.num_values()).div_ceil(rows)));
    }
    let held = number(group.total_byte_size()) / rows;
    let batch_rows = BATCH_ROWS.min(BATCH_BYTES / held.max(1)).min(DECODED_BYTES / longest_row.max(1));
    Ok(usize::try_from(batch_rows.max(1)).unwrap_or(1))
}

/// Bytes of the longest value of a column's dictionary; 0 without one.
fn longest_of_dictionary(input: &Arc<File>, column: &ColumnChunkMetaData, rows: u64) -> Result<u64, ParquetError> {
    let mut pages = SerializedPageReader::new(input.clone(), column, usize::try_from(rows).unwrap_or(usize::MAX), None)?;
    if !pages.peek_next_page()?.is_some_and(|page| page.is_dict) {
        return Ok(0);
    }
    let Some(Page::DictionaryPage { buf, .. }) = pages.get_next_page()? else { return Ok(0) };
    // Each value stands behind its length.
    let (mut longest, mut rest) = (0, buf.as_ref());
    while let Some((length, values)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(length);
        // What is cut off is for the reader to say.
        rest = usize::try_from(length).ok().and_then(|length| values.get(length..)).unwrap_or_default();
    }
    Ok(longest.into())
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

fn words(error: &ParquetError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(MAX_WORDS).collect()
}
