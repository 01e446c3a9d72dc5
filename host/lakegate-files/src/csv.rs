//! CSV reader: RFC 4180 in any [`CsvDialect`].
//!
//! An empty field is null, a quoted empty field is the empty text. Blank lines are skipped (in a file with one column, those below the header are
//! null). A quote within a field that does not begin with one is text. Errors are: a record with another number of fields than the first, an unclosed
//! quote, text after a closing quote, a quote behind spaces, and outside quotes a byte that ends the lines of other files. A column without a name is
//! named after its position, and one with the name of an earlier one after that.

use super::dialect::CsvDialect;
use super::like::Like;
use super::lines::{Lines, MAX_NAME_BYTES, MAX_NAMES_BYTES};
use super::records::{Broken, Next, Record};
use super::skipped::Skipped;
use super::text::{Dialect, TextRows};
use super::{InputError, Opened, ReadOptions, Rows};
use arrow_array::RecordBatch;
use std::collections::HashSet;
use std::io::BufRead;
use std::sync::Arc;

/// The reader of a CSV file.
struct Reader {
    lines: Lines,
    dialect: CsvDialect,
    record: Record,
    rows: TextRows,
    /// Fields without quotes that stand for null, beside the empty one.
    nulls: Vec<String>,
    skipped: Skipped,
}

/// Opens a CSV file: reads the header and the rows that types are inferred from.
pub(crate) fn open(
    input: Box<dyn BufRead + Send>,
    file: Arc<str>,
    dialect: CsvDialect,
    options: &ReadOptions,
    like: Option<&Like>,
) -> Result<Opened, InputError> {
    let mut lines = Lines::new(input, file.clone()).ending_with(dialect.line_end);
    let mut record = Record::new(dialect);
    loop {
        match record.read(&mut lines)? {
            Next::End => return Err(lines.malformed(1, "the file is empty; a header line with the names of the columns is expected")),
            Next::Broken(Broken { line, problem }) => return Err(lines.malformed(line, problem)),
            Next::Record if record.is_blank() => {}
            Next::Record => break,
        }
    }
    let width = record.found();
    if width > record.kept() {
        return Err(lines.malformed(record.line(), record.too_many()));
    }
    record.expect(width);
    let (names, notes) = if dialect.header { header(&record, &lines)? } else { (made_up_names(width), Vec::new()) };
    let nulls = options.csv.nulls.clone();
    let skipped = Skipped::new(options.bad_rows);
    let mut reader = Reader { lines, dialect, record, rows: TextRows::new(file, Dialect::Plain, names), nulls, skipped: skipped.clone() };
    if !dialect.header {
        reader.take_record()?;
    }
    reader.fill()?;
    let (schema, undecided) = reader.rows.choose_types(&options.columns, like);
    let rows: Rows = Box::new(reader);
    Ok(Opened { text: true, notes, skipped, ..Opened::new(schema, rows, undecided) })
}

/// The names of columns in a file without any.
fn made_up_names(width: usize) -> Vec<String> {
    (1..=width).map(|place| format!("column_{place}")).collect()
}

/// The names of the columns, and notes about generated ones.
fn header(record: &Record, lines: &Lines) -> Result<(Vec<String>, Vec<String>), InputError> {
    let line = record.line();
    let mut names = Vec::with_capacity(record.kept());
    let mut bytes = 0;
    for index in 0..record.kept() {
        let name = record.field(index).ok_or_else(|| lines.malformed(line, format!("the name of column {} is not UTF-8", index + 1)))?;
        bytes += name.len();
        if name.len() > MAX_NAME_BYTES {
            let problem = format!("the name of column {} has {} bytes; at most {MAX_NAME_BYTES} are accepted", index + 1, name.len());
            return Err(lines.malformed(line, problem));
        }
        if name.contains('\0') {
            return Err(lines.malformed(line, format!("the name of column {} holds a NUL byte; is the file not text?", index + 1)));
        }
        names.push(name.to_owned());
    }
    if bytes > MAX_NAMES_BYTES {
        return Err(lines.malformed(line, format!("the names of the columns have {bytes} bytes; at most {MAX_NAMES_BYTES} are accepted")));
    }
    // Names of the file come first: one that is made up must not take any of them.
    let mut known: HashSet<String> = names.iter().filter(|name| !name.is_empty()).cloned().collect();
    let mut first = HashSet::new();
    let (mut unnamed, mut repeated) = (Vec::new(), Vec::new());
    for (index, name) in names.iter_mut().enumerate() {
        if name.is_empty() {
            *name = free_name(&format!("column_{}", index + 1), 2, &known);
            unnamed.push(format!("`{name}`"));
        } else if !first.insert(name.clone()) {
            *name = free_name(name, 1, &known);
            repeated.push(format!("`{name}`"));
        }
        known.insert(name.clone());
    }
    let note = |made_up: &[String], what: &str| {
        let shown = made_up.get(..SHOWN_NAMES).map_or_else(|| made_up.join(", "), |some| format!("{} …", some.join(", ")));
        (!made_up.is_empty())
            .then(|| format!("line {line}: {} of the header's columns have {what}; they are called {shown}", made_up.len()))
    };
    let notes = [note(&unnamed, "no name"), note(&repeated, "the name of an earlier one")];
    Ok((names, notes.into_iter().flatten().collect()))
}

/// How many names a note lists.
const SHOWN_NAMES: usize = 10;

/// `name` if no other column has it and it is wanted by itself (`from` 2), or else with a number from `from`: `column_3_2`, `name_1`.
fn free_name(name: &str, from: usize, known: &HashSet<String>) -> String {
    if from > 1 && !known.contains(name) {
        return name.to_owned();
    }
    (from..).map(|number| format!("{name}_{number}")).find(|name| !known.contains(name)).unwrap_or_default()
}

impl Reader {
    /// Reads rows until a batch is full or the file ends.
    fn fill(&mut self) -> Result<(), InputError> {
        while !self.rows.is_full() {
            match self.record.read(&mut self.lines)? {
                Next::End => {
                    self.rows.set_done();
                    return Ok(());
                }
                Next::Record => self.take_record()?,
                Next::Broken(broken) => self.leave_out(broken)?,
            }
        }
        Ok(())
    }

    fn take_record(&mut self) -> Result<(), InputError> {
        let width = self.rows.names().len();
        let line = self.record.line();
        if self.record.is_blank() && width > 1 {
            return Ok(());
        }
        let found = self.record.found();
        if found != width {
            let problem = format!("the record has {found} fields, {} has {width}", self.dialect.first_record());
            return self.leave_out(Broken { line, problem });
        }
        for index in 0..width {
            let Some(text) = self.record.field(index) else {
                let problem = format!("column `{}` is not UTF-8; --encoding NAME reads text in another encoding", self.rows.names()[index]);
                self.rows.undo_row();
                return self.leave_out(Broken { line, problem });
            };
            let is_null = || text.is_empty() || self.nulls.iter().any(|null| null == text);
            if self.record.is_quoted(index) || !is_null() {
                self.rows.put(index, text);
            }
        }
        self.rows.end_row(line);
        Ok(())
    }

    /// Leaves out a record, if that is asked for.
    fn leave_out(&self, broken: Broken) -> Result<(), InputError> {
        self.skipped.skip(broken).map_err(|Broken { line, problem }| self.lines.malformed(line, problem))
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        let filled = if self.rows.is_done() { Ok(()) } else { self.fill() };
        self.rows.next_batch(filled)
    }
}
