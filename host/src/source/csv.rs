//! CSV: RFC 4180 with a header line, lines that end with `\n` or `\r\n`, any one-byte delimiter.
//!
//! An empty field is null, a quoted empty field is the empty text. Lines without anything are skipped (in a file of one column they are a
//! null). A record with another number of fields than the header, a quote that is never closed, anything behind a closing quote, and a `\r`
//! that stands alone outside quotes (the line end of old Macs) are errors.

use super::columns::ColumnType;
use super::lines::{Lines, strip_mark, trim_end};
use super::text::{Dialect, TextRows};
use super::{InputError, Rows, Schema};
use arrow_array::RecordBatch;
use memchr::{memchr, memchr_iter, memchr2};
use std::collections::HashSet;
use std::io::BufRead;
use std::ops::Range;
use std::sync::Arc;

/// Readers do not agree on what it means: one row or two.
const LONE_RETURN: &str = "a carriage return stands alone outside quotes; lines that end with \\n or \\r\\n are expected (convert old Mac line ends first, \
                           or quote the field that holds one)";

/// A field of a record: where its text is in [`Record::text`], and whether it was quoted.
#[derive(Debug, Clone)]
struct Field {
    text: Range<usize>,
    quoted: bool,
}

/// One record.
#[derive(Debug, Default)]
struct Record {
    /// The line on which it begins.
    line: u64,
    raw: Vec<u8>,
    /// The fields' text without quotes; `raw` itself is used when there is no quote.
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// Reads a file of CSV.
struct Reader {
    lines: Lines,
    delimiter: u8,
    record: Record,
    rows: TextRows,
    done: bool,
}

/// Opens a file of CSV: reads the header and the rows that the types are chosen from.
pub(crate) fn open(
    input: Box<dyn BufRead + Send>,
    file: Arc<str>,
    delimiter: u8,
    overrides: &[(String, ColumnType)],
) -> Result<(Schema, Rows), InputError> {
    let mut lines = Lines::new(input, file.clone());
    let mut record = Record::default();
    if !record.read(&mut lines, delimiter, true)? {
        return Err(lines.malformed(1, "the file is empty; a header line with the names of the columns is expected"));
    }
    let names = header(&record, &lines)?;
    let mut reader = Reader { lines, delimiter, record, rows: TextRows::new(file, Dialect::Plain, names), done: false };
    reader.fill()?;
    let schema = reader.rows.choose_types(overrides);
    Ok((schema, Box::new(reader)))
}

fn header(record: &Record, lines: &Lines) -> Result<Vec<String>, InputError> {
    let mut names = Vec::with_capacity(record.fields.len());
    let mut known = HashSet::new();
    for index in 0..record.fields.len() {
        let name = record.field(index).ok_or_else(|| lines.malformed(1, format!("the name of column {} is not UTF-8", index + 1)))?;
        if name.is_empty() {
            return Err(lines.malformed(1, format!("column {} of the header has no name", index + 1)));
        }
        if !known.insert(name.to_owned()) {
            return Err(lines.malformed(1, format!("the header names the column `{name}` twice")));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

impl Reader {
    /// Reads rows until there are enough of them, or no more.
    fn fill(&mut self) -> Result<(), InputError> {
        while !self.rows.is_full() {
            if !self.record.read(&mut self.lines, self.delimiter, false)? {
                self.done = true;
                return Ok(());
            }
            self.take_record()?;
        }
        Ok(())
    }

    fn take_record(&mut self) -> Result<(), InputError> {
        let width = self.rows.names().len();
        let line = self.record.line;
        if self.record.is_blank() && width > 1 {
            return Ok(());
        }
        let found = self.record.fields.len();
        if found != width {
            return Err(self.lines.malformed(line, format!("the record has {found} fields, the header has {width}")));
        }
        for index in 0..width {
            let Some(text) = self.record.field(index) else {
                return Err(self.lines.malformed(line, format!("column `{}` is not UTF-8", self.rows.names()[index])));
            };
            if !text.is_empty() || self.record.fields[index].quoted {
                self.rows.put(index, text);
            }
        }
        self.rows.end_row(line);
        Ok(())
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.done
            && let Err(error) = self.fill()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.rows.take().transpose()
    }
}

impl Record {
    /// Reads the next record; false at the end of the file.
    fn read(&mut self, lines: &mut Lines, delimiter: u8, first: bool) -> Result<bool, InputError> {
        self.raw.clear();
        self.text.clear();
        self.fields.clear();
        if !lines.append(&mut self.raw)? {
            return Ok(false);
        }
        self.line = lines.number();
        if first {
            if self.raw.starts_with(b"\xff\xfe") || self.raw.starts_with(b"\xfe\xff") {
                return Err(lines.malformed(1, "the file is UTF-16; UTF-8 is expected"));
            }
            strip_mark(&mut self.raw);
        }
        if memchr2(b'"', b'\r', trim_end(&self.raw)).is_some() {
            self.split_quoted(lines, delimiter)?;
        } else {
            self.split_plain(delimiter);
        }
        Ok(true)
    }

    /// Neither a quote nor a carriage return on the line: the fields lie between the delimiters.
    fn split_plain(&mut self, delimiter: u8) {
        let end = trim_end(&self.raw).len();
        let mut start = 0;
        for at in memchr_iter(delimiter, &self.raw[..end]) {
            self.fields.push(Field { text: start..at, quoted: false });
            start = at + 1;
        }
        self.fields.push(Field { text: start..end, quoted: false });
        std::mem::swap(&mut self.raw, &mut self.text);
    }

    /// Field by field; a quoted one may go on over more lines.
    fn split_quoted(&mut self, lines: &mut Lines, delimiter: u8) -> Result<(), InputError> {
        let mut at = 0;
        loop {
            let start = self.text.len();
            let quoted = self.raw.get(at) == Some(&b'"');
            if quoted {
                at = self.unquote(at + 1, lines)?;
            } else {
                let line = trim_end(&self.raw[at..]);
                let length = memchr(delimiter, line).unwrap_or(line.len());
                if memchr(b'"', &line[..length]).is_some() {
                    return Err(lines
                        .malformed(lines.number(), format!("field {} holds a quote but does not begin with one", self.fields.len() + 1)));
                }
                if memchr(b'\r', &line[..length]).is_some() {
                    return Err(lines.malformed(lines.number(), LONE_RETURN));
                }
                self.text.extend_from_slice(&line[..length]);
                at += length;
            }
            self.fields.push(Field { text: start..self.text.len(), quoted });
            let rest = &self.raw[at..];
            if rest.first() == Some(&delimiter) {
                at += 1;
            } else if trim_end(rest).is_empty() {
                return Ok(());
            } else if rest.first() == Some(&b'\r') {
                return Err(lines.malformed(lines.number(), LONE_RETURN));
            } else {
                return Err(lines.malformed(lines.number(), format!("field {} goes on behind its closing quote", self.fields.len())));
            }
        }
    }

    /// Reads from behind an opening quote to behind the closing one.
    fn unquote(&mut self, mut at: usize, lines: &mut Lines) -> Result<usize, InputError> {
        let opened = lines.number();
        loop {
            match memchr(b'"', &self.raw[at..]) {
                Some(length) => {
                    self.text.extend_from_slice(&self.raw[at..at + length]);
                    at += length + 1;
                    if self.raw.get(at) != Some(&b'"') {
                        return Ok(at);
                    }
                    self.text.push(b'"');
                    at += 1;
                }
                None => {
                    self.text.extend_from_slice(&self.raw[at..]);
                    at = self.raw.len();
                    if !lines.append(&mut self.raw)? {
                        return Err(lines.malformed(opened, "a quote is opened here and never closed; the file may be truncated"));
                    }
                }
            }
        }
    }

    /// The text of a field; [`None`] if it is not UTF-8.
    fn field(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(&self.text[self.fields[index].text.clone()]).ok()
    }

    /// Is there nothing on the line?
    fn is_blank(&self) -> bool {
        matches!(self.fields.as_slice(), [Field { text, quoted: false }] if text.is_empty())
    }
}
