//! Splits CSV into records and their fields.
//!
//! A record that is not well-formed is told apart from a file that cannot be read further: after the first, reading goes on at the next line.

use super::InputError;
use super::dialect::CsvDialect;
use super::lines::{Lines, MAX_COLUMNS, Taken, strip_mark};
use memchr::{memchr, memchr_iter, memchr2};
use std::ops::Range;

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

/// What was read.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: the file has ended.
    End,
    /// A record.
    Record,
    /// A record that is not well-formed; lines up to the one with the problem were read.
    Broken(Broken),
}

/// Why a record is not well-formed.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) line: u64,
    pub(crate) problem: String,
}

/// Why splitting a record has ended early.
enum Stop {
    Broken(Broken),
    Failed(InputError),
}

impl From<InputError> for Stop {
    fn from(error: InputError) -> Self {
        Self::Failed(error)
    }
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record {
    dialect: CsvDialect,
    /// The line on which it starts.
    line: u64,
    raw: Vec<u8>,
    /// The fields' text without quotes; if there are no quotes, `raw` itself is used.
    text: Vec<u8>,
    /// At most [`Record::most`] of them.
    fields: Vec<Field>,
    /// Number of fields in the record.
    found: usize,
    /// Number of fields that records have, once it is known.
    width: Option<usize>,
}

impl Record {
    /// A record of at most [`MAX_COLUMNS`] fields.
    pub(crate) fn new(dialect: CsvDialect) -> Self {
        Self { dialect, line: 0, raw: Vec::new(), text: Vec::new(), fields: Vec::new(), found: 0, width: None }
    }

    /// Sets the number of fields that records have; further ones are only counted.
    pub(crate) fn expect(&mut self, width: usize) {
        self.width = Some(width);
    }

    /// The most fields that are kept.
    fn most(&self) -> usize {
        self.width.unwrap_or(MAX_COLUMNS)
    }

    /// The line on which it starts.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// The number of fields, of which no more than expected are kept.
    pub(crate) fn found(&self) -> usize {
        self.found
    }

    /// The fields that were kept.
    pub(crate) fn kept(&self) -> usize {
        self.fields.len()
    }

    /// The text of a field; [`None`] if it is not UTF-8.
    pub(crate) fn field(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.text.get(self.fields.get(index)?.text.clone())?).ok()
    }

    /// Whether a field was quoted.
    pub(crate) fn is_quoted(&self, index: usize) -> bool {
        self.fields.get(index).is_some_and(|field| field.quoted)
    }

    /// Whether the line is blank.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self.fields.as_slice(), [Field { text, quoted: false }] if text.is_empty())
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// The file cannot be read further: a record is too long, or a quote is never closed.
    pub(crate) fn read(&mut self, lines: &mut Lines) -> Result<Next, InputError> {
        self.raw.clear();
        self.text.clear();
        self.fields.clear();
        self.found = 0;
        let first = lines.number() == 0;
        // A line with too many fields need not be read to its end; inside quotes, a delimiter may be text.
        let (mut bytes, mut delimiters, mut quoted) = (0_usize, 0_usize, false);
        let (delimiter, quote, most) = (self.dialect.delimiter, self.dialect.quote, self.most());
        let within = |piece: &[u8]| {
            bytes += piece.len();
            quoted |= quote.is_some_and(|quote| memchr(quote, piece).is_some());
            delimiters += if quoted { 0 } else { memchr_iter(delimiter, piece).count() };
            quoted || delimiters < most || bytes < LONG_LINE_BYTES
        };
        match lines.append_while(&mut self.raw, within)? {
            Taken::End => return Ok(Next::End),
            Taken::Line => {}
            Taken::Stopped => {
                self.line = lines.number() + 1;
                // What is kept of it does not count.
                self.raw.clear();
                let broken = Broken { line: self.line, problem: self.too_many() };
                lines.skip_line()?;
                return Ok(Next::Broken(broken));
            }
        }
        self.line = lines.number();
        if first {
            strip_mark(&mut self.raw);
        }
        let line = self.dialect.trim_end(&self.raw);
        let stray = self.dialect.stray();
        let plain = quote.map_or_else(|| memchr(stray, line), |quote| memchr2(quote, stray, line)).is_none();
        if plain {
            self.split_plain();
            return Ok(Next::Record);
        }
        match self.split_quoted(lines) {
            Ok(()) => Ok(Next::Record),
            Err(Stop::Broken(broken)) => Ok(Next::Broken(broken)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// The problem of more fields than are counted.
    pub(crate) fn too_many(&self) -> String {
        match self.width {
            Some(width) => format!("the record has more than {width} fields, {} has {width}", self.dialect.first_record()),
            None => format!("the header has more than {MAX_COLUMNS} columns, which is the most that a table may have"),
        }
    }

    /// Adds a field.
    fn push(&mut self, text: Range<usize>, quoted: bool) {
        self.found += 1;
        if self.found <= self.most() {
            self.fields.push(Field { text, quoted });
        }
    }

    /// Splits a line without quotes at the delimiters.
    fn split_plain(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        let line = self.dialect.trim_end(&raw);
        let mut start = 0;
        for at in memchr_iter(self.dialect.delimiter, line) {
            self.push(start..at, false);
            start = at + 1;
        }
        self.push(start..line.len(), false);
        self.raw = std::mem::replace(&mut self.text, raw);
    }

    /// Reads field by field; a quoted field may span several lines.
    fn split_quoted(&mut self, lines: &mut Lines) -> Result<(), Stop> {
        let CsvDialect { delimiter, quote, .. } = self.dialect;
        let broken = |lines: &Lines, problem: String| Err(Stop::Broken(Broken { line: lines.number(), problem }));
        let mut at = 0;
        loop {
            let start = self.text.len();
            let mut quoted = false;
            match quote {
                Some(quote) if self.raw.get(at) == Some(&quote) => {
                    quoted = true;
                    at = self.unquote(quote, at + 1, lines)?;
                }
                _ => {
                    let line = self.dialect.trim_end(self.raw.get(at..).unwrap_or_default());
                    let field = line.get(..memchr(delimiter, line).unwrap_or(line.len())).unwrap_or(line);
                    // Within a field it is text. Behind spaces it may be meant to open one, which would make delimiters text.
                    if quote.is_some_and(|quote| field.trim_ascii_start().first() == Some(&quote)) {
                        return broken(
                            lines,
                            format!("field {} begins with spaces and a quote; a quote is expected to begin its field", self.found + 1),
                        );
                    }
                    if memchr(self.dialect.stray(), field).is_some() {
                        return broken(lines, self.stray());
                    }
                    self.text.extend_from_slice(field);
                    at += field.len();
                }
            }
            self.push(start..self.text.len(), quoted);
            if self.found > self.most() + COUNTED_FIELDS {
                return Err(Stop::Broken(Broken { line: self.line, problem: self.too_many() }));
            }
            let rest = self.raw.get(at..).unwrap_or_default();
            if rest.first() == Some(&delimiter) {
                at += 1;
            } else if self.dialect.trim_end(rest).is_empty() {
                return Ok(());
            } else if rest.first() == Some(&self.dialect.stray()) {
                return broken(lines, self.stray());
            } else {
                return broken(lines, format!("field {} continues after its closing quote", self.found));
            }
        }
    }

    /// The problem of a line end that is not the file's: parsers disagree on whether it means one row or two.
    fn stray(&self) -> String {
        let (alone, ends) = match self.dialect.line_end {
            b'\r' => ("line feed", "\\r, as those before do,"),
            _ => ("carriage return", "\\n or \\r\\n"),
        };
        format!(
            "a {alone} stands alone outside quotes; lines that end with {ends} are expected (convert the line ends first, or quote the field that holds one)"
        )
    }

    /// Reads from after an opening quote to after the closing one.
    fn unquote(&mut self, quote: u8, mut at: usize, lines: &mut Lines) -> Result<usize, InputError> {
        let opened = lines.number();
        loop {
            match memchr(quote, self.raw.get(at..).unwrap_or_default()) {
                Some(length) => {
                    self.text.extend_from_slice(self.raw.get(at..at + length).unwrap_or_default());
                    at += length + 1;
                    if self.raw.get(at) != Some(&quote) {
                        return Ok(at);
                    }
                    self.text.push(quote);
                    at += 1;
                }
                None => {
                    self.text.extend_from_slice(self.raw.get(at..).unwrap_or_default());
                    at = self.raw.len();
                    if !lines.append(&mut self.raw)? {
                        return Err(lines.malformed(opened, "a quote is opened here and never closed; the file may be truncated"));
                    }
                }
            }
        }
    }
}
