//! CSV reader: RFC 4180 with a header line, lines that end with `\n` or `\r\n`, and any one-byte delimiter.
//!
//! An empty field is null, a quoted empty field is the empty text. Blank lines are skipped (in a file with one column they are null). Errors are: a
//! record with another number of fields than the header, an unclosed quote, text after a closing quote, and a lone `\r` outside quotes (the line end
//! of old Macs). A column without a name is named after its position.

use super::like::Like;
use super::lines::{Lines, MAX_COLUMNS, MAX_NAME_BYTES, MAX_NAMES_BYTES, strip_mark, trim_end};
use super::text::{Dialect, TextRows};
use super::{InputError, Opened, ReadOptions, Rows};
use arrow_array::RecordBatch;
use memchr::{memchr, memchr_iter, memchr2};
use std::collections::HashSet;
use std::io::BufRead;
use std::ops::Range;
use std::sync::Arc;

/// Parsers disagree on whether this means one row or two.
const LONE_RETURN: &str = "a carriage return stands alone outside quotes; lines that end with \\n or \\r\\n are expected (convert old Mac line ends first, \
                           or quote the field that holds one)";

/// Lines up to this length are always read to their end, so that their fields are counted.
const LONG_LINE_BYTES: usize = 64 << 10;

/// How many surplus fields are counted, for the message.
const COUNTED_FIELDS: usize = 10_000;

/// A field of a record: the range of its text in [`Record::text`], and whether it was quoted.
#[derive(Debug, Clone)]
struct Field {
    text: Range<usize>,
    quoted: bool,
}

/// One record.
#[derive(Debug, Default)]
struct Record {
    /// The line on which it starts.
    line: u64,
    raw: Vec<u8>,
    /// The fields' text without quotes; if there are no quotes, `raw` itself is used.
    text: Vec<u8>,
    /// At most [`Record::most`] of them.
    fields: Vec<Field>,
    /// Number of fields in the record.
    found: usize,
    /// Number of expected fields; further ones are only counted.
    most: usize,
}

/// The reader of a CSV file.
struct Reader {
    lines: Lines,
    delimiter: u8,
    record: Record,
    rows: TextRows,
}

/// Opens a CSV file: reads the header and the rows that types are inferred from.
pub(crate) fn open(
    input: Box<dyn BufRead + Send>,
    file: Arc<str>,
    delimiter: u8,
    options: &ReadOptions,
    like: Option<&Like>,
) -> Result<Opened, InputError> {
    let mut lines = Lines::new(input, file.clone());
    let mut record = Record { most: MAX_COLUMNS, ..Record::default() };
    if !record.read(&mut lines, delimiter, true)? {
        return Err(lines.malformed(1, "the file is empty; a header line with the names of the columns is expected"));
    }
    let (names, made_up) = header(&record, &lines)?;
    record.most = names.len();
    let mut reader = Reader { lines, delimiter, record, rows: TextRows::new(file, Dialect::Plain, names) };
    reader.fill()?;
    let (schema, undecided) = reader.rows.choose_types(&options.columns, like);
    let rows: Rows = Box::new(reader);
    Ok(Opened { schema, rows, undecided, optional: false, notes: made_up.into_iter().collect() })
}

/// The names of the columns, and a note about generated names.
fn header(record: &Record, lines: &Lines) -> Result<(Vec<String>, Option<String>), InputError> {
    if record.is_blank() {
        return Err(lines.malformed(1, "the first line is empty; a header line with the names of the columns is expected"));
    }
    if record.found > MAX_COLUMNS {
        return Err(lines.malformed(1, too_many_columns()));
    }
    let mut names = Vec::with_capacity(record.fields.len());
    let mut known = HashSet::new();
    let mut bytes = 0;
    for index in 0..record.fields.len() {
        let name = record.field(index).ok_or_else(|| lines.malformed(1, format!("the name of column {} is not UTF-8", index + 1)))?;
        bytes += name.len();
        if name.len() > MAX_NAME_BYTES {
            let problem = format!("the name of column {} has {} bytes; at most {MAX_NAME_BYTES} are accepted", index + 1, name.len());
            return Err(lines.malformed(1, problem));
        }
        if name.contains('\0') {
            let problem = format!("the name of column {} holds a NUL byte; is the file UTF-16, or no text? UTF-8 is expected", index + 1);
            return Err(lines.malformed(1, problem));
        }
        if !name.is_empty() && !known.insert(name.to_owned()) {
            return Err(lines.malformed(1, format!("the header names the column `{name}` twice")));
        }
        names.push(name.to_owned());
    }
    if bytes > MAX_NAMES_BYTES {
        return Err(lines.malformed(1, format!("the names of the columns have {bytes} bytes; at most {MAX_NAMES_BYTES} are accepted")));
    }
    let mut made_up = Vec::new();
    for (index, name) in names.iter_mut().enumerate().filter(|(_, name)| name.is_empty()) {
        *name = free_name(index + 1, &known);
        known.insert(name.clone());
        made_up.push(format!("`{name}`"));
    }
    let note = (!made_up.is_empty()).then(|| {
        let shown = made_up.get(..SHOWN_NAMES).map_or_else(|| made_up.join(", "), |some| format!("{} …", some.join(", ")));
        format!("line 1: {} of the header's columns have no name; they are called {shown}", made_up.len())
    });
    Ok((names, note))
}

/// How many names a note lists.
const SHOWN_NAMES: usize = 10;

/// `column_3`, or a variation if another column has that name.
fn free_name(place: usize, known: &HashSet<String>) -> String {
    let name = format!("column_{place}");
    if !known.contains(&name) {
        return name;
    }
    (2_usize..).map(|number| format!("column_{place}_{number}")).find(|name| !known.contains(name)).unwrap_or(name)
}

fn too_many_columns() -> String {
    format!("the header has more than {MAX_COLUMNS} columns, which is the most that a table may have")
}

impl Reader {
    /// Reads rows until a batch is full or the file ends.
    fn fill(&mut self) -> Result<(), InputError> {
        while !self.rows.is_full() {
            if !self.record.read(&mut self.lines, self.delimiter, false)? {
                self.rows.set_done();
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
        let found = self.record.found;
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
        let filled = if self.rows.is_done() { Ok(()) } else { self.fill() };
        self.rows.next_batch(filled)
    }
}

/// Adds a field.
fn push(fields: &mut Vec<Field>, found: &mut usize, most: usize, field: Field) {
    *found += 1;
    if *found <= most {
        fields.push(field);
    }
}

impl Record {
    /// Reads the next record; false at the end of the file.
    fn read(&mut self, lines: &mut Lines, delimiter: u8, first: bool) -> Result<bool, InputError> {
        self.raw.clear();
        self.text.clear();
        self.fields.clear();
        self.found = 0;
        // A line with too many fields need not be read to its end; inside quotes, a delimiter may be text.
        let (mut bytes, mut delimiters, mut quoted, most) = (0_usize, 0_usize, false, self.most);
        let within = |piece: &[u8]| {
            bytes += piece.len();
            quoted |= memchr(b'"', piece).is_some();
            delimiters += if quoted { 0 } else { memchr_iter(delimiter, piece).count() };
            match (quoted || delimiters < most || bytes < LONG_LINE_BYTES, first) {
                (true, _) => Ok(()),
                (false, true) => Err(too_many_columns()),
                (false, false) => Err(format!("the record has more than {most} fields, the header has {most}")),
            }
        };
        if !lines.append_while(&mut self.raw, within)? {
            return Ok(false);
        }
        self.line = lines.number();
        if first {
            strip_mark(&mut self.raw);
        }
        if memchr2(b'"', b'\r', trim_end(&self.raw)).is_some() {
            self.split_quoted(lines, delimiter, first)?;
        } else {
            self.split_plain(delimiter);
        }
        Ok(true)
    }

    /// Splits a line without quotes and carriage returns at the delimiters.
    fn split_plain(&mut self, delimiter: u8) {
        let end = trim_end(&self.raw).len();
        let mut start = 0;
        for at in memchr_iter(delimiter, &self.raw[..end]) {
            push(&mut self.fields, &mut self.found, self.most, Field { text: start..at, quoted: false });
            start = at + 1;
        }
        push(&mut self.fields, &mut self.found, self.most, Field { text: start..end, quoted: false });
        std::mem::swap(&mut self.raw, &mut self.text);
    }

    /// Reads field by field; a quoted field may span several lines.
    fn split_quoted(&mut self, lines: &mut Lines, delimiter: u8, first: bool) -> Result<(), InputError> {
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
                    return Err(
                        lines.malformed(lines.number(), format!("field {} holds a quote but does not begin with one", self.found + 1))
                    );
                }
                if memchr(b'\r', &line[..length]).is_some() {
                    return Err(lines.malformed(lines.number(), LONE_RETURN));
                }
                self.text.extend_from_slice(&line[..length]);
                at += length;
            }
            push(&mut self.fields, &mut self.found, self.most, Field { text: start..self.text.len(), quoted });
            if self.found > self.most + COUNTED_FIELDS {
                let most = self.most;
                let record = || format!("the record has more than {most} fields, the header has {most}");
                return Err(lines.malformed(self.line, if first { too_many_columns() } else { record() }));
            }
            let rest = &self.raw[at..];
            if rest.first() == Some(&delimiter) {
                at += 1;
            } else if trim_end(rest).is_empty() {
                return Ok(());
            } else if rest.first() == Some(&b'\r') {
                return Err(lines.malformed(lines.number(), LONE_RETURN));
            } else {
                return Err(lines.malformed(lines.number(), format!("field {} continues after its closing quote", self.found)));
            }
        }
    }

    /// Reads from after an opening quote to after the closing one.
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

    /// Whether the line is blank.
    fn is_blank(&self) -> bool {
        matches!(self.fields.as_slice(), [Field { text, quoted: false }] if text.is_empty())
    }
}
