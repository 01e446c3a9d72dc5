//! Arrow IPC, file and stream form, with or without compressed bodies. Batches are read one at a time.

use super::{InputError, Position, Rows, Schema};
use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::ArrowError;
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Opens the file form.
pub(crate) fn open_file(input: File, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let reader = FileReader::try_new(BufReader::new(input), None).map_err(|error| {
        malformed(&file, Position::Whole, format!("not a whole Arrow IPC file (it may be truncated): {}", words(&error)))
    })?;
    let schema = reader.schema();
    Ok((schema, Box::new(Batches { reader, file, read: 0, bytes: None })))
}

/// Opens the stream form.
pub(crate) fn open_stream(input: Box<dyn Read + Send>, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let bytes = Arc::new(AtomicU64::new(0));
    let reader = StreamReader::try_new(Counted { input, bytes: bytes.clone() }, None).map_err(|error| {
        let at = Position::Byte(bytes.load(Ordering::Relaxed));
        malformed(&file, at, format!("not an Arrow IPC stream (it may be truncated): {}", words(&error)))
    })?;
    let schema = reader.schema();
    Ok((schema, Box::new(Batches { reader, file, read: 0, bytes: Some(bytes) })))
}

/// The batches of a reader, with errors that name the place.
struct Batches<R> {
    reader: R,
    file: Arc<str>,
    /// Batches asked for so far.
    read: usize,
    /// Bytes read so far, where they are read in order.
    bytes: Option<Arc<AtomicU64>>,
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for Batches<R> {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read += 1;
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| {
            let at = self.bytes.as_ref().map_or(Position::Batch(self.read), |bytes| Position::Byte(bytes.load(Ordering::Relaxed)));
            malformed(&self.file, at, format!("truncated or corrupt Arrow IPC: {}", words(&error)))
        }))
    }
}

/// Counts what has been read.
struct Counted {
    input: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn malformed(file: &Arc<str>, at: Position, problem: String) -> InputError {
    InputError::Malformed { file: file.to_string(), at, problem }
}

/// One line of the library's words.
pub(crate) fn words(error: &ArrowError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(super::MAX_WORDS).collect()
}
