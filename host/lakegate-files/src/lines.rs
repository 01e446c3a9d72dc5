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

/// What was taken from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing: it has ended.
    End,
    /// A line.
    Line,
    /// The beginning of a line, which need not be read to its end.
    Stopped,
}

/// The line reader.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    file: Arc<str>,
    /// The last byte of a line.
    end: u8,
    /// Number of lines read so far.
    number: u64,
}

impl Lines {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, file: Arc<str>) -> Self {
        Self { reader, file, end: b'\n', number: 0 }
    }

    /// Lines that end with this byte.
    pub(crate) fn ending_with(self, end: u8) -> Self {
        Self { end, ..self }
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
        Ok(self.append_while(record, |_| true)? == Taken::Line)
    }

    /// As [`Lines::append`], for a line that need not be read to its end: `judge` sees each piece before it is appended. A line that it stops is to be
    /// skipped.
    pub(crate) fn append_while(&mut self, record: &mut Vec<u8>, mut judge: impl FnMut(&[u8]) -> bool) -> Result<Taken, InputError> {
        let start = record.len();
        loop {
            let end = self.end;
            let chunk = self.chunk()?;
            let line_end = memchr(end, chunk).map(|at| at + 1);
            let taken = line_end.unwrap_or(chunk.len());
            let at_end = chunk.is_empty();
            let piece = chunk.get(..taken).unwrap_or(chunk);
            if !judge(piece) {
                return Ok(Taken::Stopped);
            }
            let fits = record.len() + taken <= MAX_RECORD_BYTES;
            if fits {
                record.extend_from_slice(piece);
            }
            self.reader.consume(taken);
            if !fits {
                let problem = format!("the record is longer than {} MiB; is \\n or \\r\\n the line end?", MAX_RECORD_BYTES >> 20);
                return Err(self.malformed(self.number + 1, problem));
            }
            if line_end.is_some() || at_end {
                let any = record.len() > start;
                self.number += u64::from(any);
                return Ok(if any { Taken::Line } else { Taken::End });
            }
        }
    }

    /// Reads the rest of a line.
    pub(crate) fn skip_line(&mut self) -> Result<(), InputError> {
        loop {
            let end = self.end;
            let chunk = self.chunk()?;
            let line_end = memchr(end, chunk).map(|at| at + 1);
            let (taken, at_end) = (line_end.unwrap_or(chunk.len()), chunk.is_empty());
            self.reader.consume(taken);
            if line_end.is_some() || at_end {
                self.number += 1;
                return Ok(());
            }
        }
    }

    /// The bytes that are next; none at the end of the file.
    fn chunk(&mut self) -> Result<&[u8], InputError> {
        loop {
            match self.reader.fill_buf() {
                // Once more, since the borrow of a value that is returned would last through the loop.
                Ok(_) => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.malformed(self.number + 1, format!("cannot be read: {error}"))),
            }
        }
        let number = self.number + 1;
        let file = &self.file;
        self.reader.fill_buf().map_err(|error| InputError::Malformed {
            file: file.to_string(),
            at: Position::Line(number),
            problem: format!("cannot be read: {error}"),
        })
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
