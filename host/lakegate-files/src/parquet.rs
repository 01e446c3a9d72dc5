//! Parquet reader: row groups are streamed one batch at a time; one page of each column is in memory.
//!
//! A row may be far larger in memory than in the file, where a dictionary value is stored once however many rows reference it. So the headers of all
//! pages, and the longest value of each dictionary, are read before a row group, to decide how many rows a batch may have.

mod error;
mod guard;
mod lengths;
mod pages;
#[cfg(test)]
mod tests;
mod thrift;
mod types;

use super::{InputError, Position, Rows, Schema, exact};
use arrow_array::RecordBatch;
use error::{corrupt_at, one_line, refused};
use guard::Grown;
use pages::{Group, Refused};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use types::Columns;

/// Bytes after the footer: its length, and the magic bytes that the file also starts with.
const TAIL_BYTES: u64 = 8;

/// The magic bytes of a file whose footer is encrypted.
const ENCRYPTED: [u8; 4] = *b"PARE";

/// Reads a Parquet file one row group at a time, so that errors have a position.
struct Reader {
    input: Arc<File>,
    metadata: Arc<ParquetMetaData>,
    columns: Columns,
    /// The reader of the current row group; `None` between two.
    reader: Option<ParquetRecordBatchReader>,
    grown: Grown,
    file: Arc<str>,
    /// The row after which each row group ends.
    group_ends: Vec<u64>,
    /// Number of row groups started.
    groups: usize,
    rows: u64,
}

/// Opens a Parquet file.
pub(crate) fn open(input: File, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let input = Arc::new(input);
    refuse_encrypted(&input, &file)?;
    let bytes = input.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&*input).map_err(|error| {
        refused(&file, &format!("not a complete Parquet file ({bytes} bytes; it may be truncated): {}", one_line(&error)))
    })?;
    let mut end = 0_u64;
    let mut group_ends = Vec::with_capacity(metadata.num_row_groups());
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).map_err(|_| refused(&file, "the footer counts fewer than no rows"))?;
        end = end.saturating_add(rows);
        group_ends.push(end);
    }
    let metadata = Arc::new(metadata);
    let columns = Columns::new(&input, &metadata, &file)?;
    let schema = columns.schema.clone();
    let grown = Grown::default();
    Ok((schema, Box::new(Reader { input, metadata, columns, reader: None, grown, file, group_ends, groups: 0, rows: 0 })))
}

/// Refuses an encrypted file with a clear message.
fn refuse_encrypted(input: &File, file: &str) -> Result<(), InputError> {
    let advice = "decrypt it before it is loaded";
    let bytes = input.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let mut tail = [0; TAIL_BYTES as usize];
    // A file that is too short or unreadable is refused by the reader.
    let Some(at) = bytes.checked_sub(TAIL_BYTES) else { return Ok(()) };
    if input.read_exact_at(&mut tail, at).is_err() {
        return Ok(());
    }
    let [a, b, c, d, word @ ..] = tail;
    if word == ENCRYPTED {
        return Err(refused(file, &format!("the Parquet file is encrypted, its footer too; {advice}")));
    }
    let Some(at) = at.checked_sub(u32::from_le_bytes([a, b, c, d]).into()) else { return Ok(()) };
    let mut footer = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
    if input.read_exact_at(&mut footer, at).is_ok()
        && let Some(column) = thrift::encrypted_column(&footer)
    {
        let problem = format!("the Parquet file has it encrypted; {advice}");
        return Err(InputError::Column { file: file.to_owned(), column, problem });
    }
    Ok(())
}

impl Refused {
    /// Adds row group (from 1) and number of rows to an error.
    fn at(self, file: &str, group: usize, rows: u64) -> InputError {
        match self {
            Self::Corrupt(problem) => corrupt_at(file, group, rows, &problem),
            Self::TooMuch(problem) => InputError::Malformed { file: file.to_owned(), at: Position::RowGroup { group, rows }, problem },
        }
    }
}

impl Reader {
    /// Stops reading.
    fn ended(&mut self, error: InputError) -> InputError {
        self.reader = None;
        self.groups = self.group_ends.len();
        error
    }

    fn corrupt(&mut self, problem: &str) -> InputError {
        let error = corrupt_at(&self.file, self.groups, self.rows, problem);
        self.ended(error)
    }

    fn begin_group(&mut self) -> Result<ParquetRecordBatchReader, InputError> {
        let at = self.groups;
        self.groups += 1;
        let begun = Group::look(self.input.clone(), self.metadata.clone(), at, self.grown.clone())
            .and_then(|group| Ok(ParquetRecordBatchReader::try_new_with_row_groups(&self.columns.levels, &group, group.batch_rows, None)?));
        begun.map_err(|refused| {
            let error = refused.at(&self.file, self.groups, self.rows);
            self.ended(error)
        })
    }

    /// A batch with the types of the schema, except that intervals are still bytes.
    fn checked(&mut self, batch: RecordBatch) -> Result<RecordBatch, InputError> {
        let checked = exact::check_as(self.columns.schema.fields(), &batch, &self.file, self.rows);
        checked.map_err(|error| self.ended(error))?;
        self.rows += batch.num_rows() as u64;
        Ok(batch)
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
            self.grown.begin();
            match reader.next() {
                Some(Ok(batch)) => return Some(self.checked(batch)),
                Some(Err(error)) => return Some(Err(self.corrupt(&super::ipc::one_line(&error)))),
                None => {
                    self.reader = None;
                    let promised = self.group_ends.get(self.groups - 1).copied().unwrap_or_default();
                    if self.rows != promised {
                        return Some(Err(self.corrupt(&format!("the footer promises {promised} rows up to here"))));
                    }
                }
            }
        }
    }
}
