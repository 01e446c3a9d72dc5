//! Reads the lines of a file, with line numbers and a bounded length.

use super::{InputError, Position};
use memchr::memchr;
use std::io::BufRead;
use std::sync::Arc;

/// Maximum size of a record in a text file. A longer one almost always means another file format, or an unclosed quote.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// Maximum columns of a text file, the limit of a table. A file with more has values instead of names in its header.
pub(crate) const MAX_COLUMNS: usize = 10_000;
/// Maximum bytes of a column's name, the limit of a table.
pub(crate) const MAX_NAME_BYTES: usize = 4_096;
/// Maximum bytes of all column names, see [`MAX_NAME_BYTES`].
pub(crate) const MAX_NAMES_BYTES: usize = 8 << 20;

/// The line reader.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    file: Arc<str>,
    /// Number of lines read so far.
    number: u64,
}

impl Lines {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, file: Arc<str>) -> Self {
        Self { reader, file, number: 0 }
    }

    /// The number of the line read last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// An error on a line.
    pub(crate) fn malformed(&self, line: u64, problem: impl Into<String>) -> InputError {
        InputError::Malformed { file: self.file.to_string(), at: Position::Line(line), problem: problem.into() }
    }

    /// Appends the next line including its line end to `record`; false at the end of the file.
    pub(crate) fn append(&mut self, record: &mut Vec<u8>) -> Result<bool, InputError> {
        self.append_while(record, |_| Ok(()))
    }

    /// As [`Lines::append`], for a line that need not be read to its end: `judge` checks each piece before it is appended.
    pub(crate) fn append_while(
        &mut self,
        record: &mut Vec<u8>,
        mut judge: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<bool, InputError> {
        let start = record.len();
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.malformed(self.number + 1, format!("cannot be read: {error}"))),
            };
            let end = memchr(b'\n', chunk).map(|at| at + 1);
            let taken = end.unwrap_or(chunk.len());
            let at_end = chunk.is_empty();
            if let Err(problem) = judge(&chunk[..taken]) {
                return Err(self.malformed(self.number + 1, problem));
            }
            if record.len() + taken > MAX_RECORD_BYTES {
                return Err(self.malformed(
                    self.number + 1,
                    format!("the record is longer than {} MiB; is \\n or \\r\\n the line end?", MAX_RECORD_BYTES >> 20),
                ));
            }
            record.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken);
            if end.is_some() || at_end {
                let any = record.len() > start;
                self.number += u64::from(any);
                return Ok(any);
            }
        }
    }
}

/// A line without its line end (`\n` or `\r\n`).
pub(crate) fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Strips a byte order mark from the first line.
pub(crate) fn strip_mark(record: &mut Vec<u8>) {
    if record.starts_with(b"\xef\xbb\xbf") {
        record.drain(..3);
    }
}
