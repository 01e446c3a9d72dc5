//! JSON reader: one object per line (NDJSON; blank lines are skipped), or an array of objects, or objects one after another on any number of lines.
//!
//! The columns are the keys of the first 10,000 rows in the order of their first appearance, followed by the columns named by `--column`. A key that
//! appears later is an error, since the rows before it have already been sent; `--column` makes it known from the start. A missing key and `null` are
//! null. A duplicate key in an object, at any depth, is an error, and so is an unpaired surrogate.

use super::documents::Documents;
use super::like::{Like, NO_COLUMNS};
use super::lines::{Lines, MAX_COLUMNS, MAX_NAME_BYTES, MAX_NAMES_BYTES, strip_mark, trim_end};
use super::records::Broken;
use super::skipped::Skipped;
use super::text::{Dialect, SAMPLE_ROWS, TextRows};
use super::{InputError, Opened, Position, ReadOptions, Rows, json};
use arrow_array::RecordBatch;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;
use std::sync::Arc;

/// Where objects come from.
enum Source {
    Lines(Lines),
    Documents(Documents),
}

impl Source {
    /// Puts the text of the next object into `object`, and returns the line on which it begins; [`None`] at the end.
    fn next(&mut self, object: &mut Vec<u8>) -> Result<Option<u64>, InputError> {
        match self {
            Self::Documents(documents) => documents.next(object),
            Self::Lines(lines) => {
                object.clear();
                if !lines.append(object)? {
                    return Ok(None);
                }
                if lines.number() == 1 {
                    strip_mark(object);
                }
                object.truncate(trim_end(object).len());
                Ok(Some(lines.number()))
            }
        }
    }

    fn file(&self) -> &Arc<str> {
        match self {
            Self::Lines(lines) => lines.file(),
            Self::Documents(documents) => documents.file(),
        }
    }

    /// The error in an object, without its content: serde_json only quotes values in errors of category `Data`.
    fn explain(&self, line: u64, error: &serde_json::Error) -> Broken {
        let by_line = matches!(self, Self::Lines(_));
        let problem = match error.classify() {
            Category::Data => "the line is not a JSON object; one object per line is expected".to_owned(),
            Category::Eof => {
                "the line ends within a JSON object; one complete object per line is expected (the file may be truncated)".to_owned()
            }
            Category::Syntax | Category::Io => {
                let text = error.to_string();
                let problem = text.split(" at line ").next().unwrap_or("not JSON");
                format!(
                    "not JSON at character {}{}: {problem}",
                    error.column(),
                    if by_line { "" } else { " of the line, or of the object if it begins on it" }
                )
            }
        };
        Broken { line: line + (error.line() as u64).saturating_sub(1), problem }
    }
}

/// The reader of a file.
struct Reader {
    source: Source,
    object: Vec<u8>,
    rows: TextRows,
    /// The column of each known key.
    columns: HashMap<String, usize>,
    /// Total bytes of the known keys.
    name_bytes: usize,
    /// Whether new keys are still accepted.
    sampling: bool,
    skipped: Skipped,
}

/// Opens a file: reads the rows that columns and types are inferred from. `by_line` if it has one object per line.
pub(crate) fn open(
    input: Box<dyn BufRead + Send>,
    by_line: bool,
    file: Arc<str>,
    options: &ReadOptions,
    like: Option<&Like>,
) -> Result<Opened, InputError> {
    let skipped = Skipped::new(options.bad_rows);
    let mut reader = Reader {
        source: if by_line {
            Source::Lines(Lines::new(input, file.clone()))
        } else {
            Source::Documents(Documents::new(input, file.clone()))
        },
        object: Vec::new(),
        rows: TextRows::new(file, Dialect::Json, Vec::new()),
        columns: HashMap::new(),
        name_bytes: 0,
        sampling: true,
        skipped: skipped.clone(),
    };
    reader.fill()?;
    for name in options.columns.iter().map(|(name, _)| name.as_str()).chain(like.into_iter().flat_map(Like::names)) {
        reader.column(name, 1)?;
    }
    if reader.columns.is_empty() && like.is_none() {
        return Err(reader.malformed(1, NO_COLUMNS));
    }
    reader.sampling = false;
    let (schema, undecided) = reader.rows.choose_types(&options.columns, like);
    let rows: Rows = Box::new(reader);
    Ok(Opened { optional: true, text: true, skipped, ..Opened::new(schema, rows, undecided) })
}

impl Reader {
    /// An error on a line.
    fn malformed(&self, line: u64, problem: impl Into<String>) -> InputError {
        InputError::Malformed { file: self.source.file().to_string(), at: Position::Line(line), problem: problem.into() }
    }

    /// Reads rows until a batch is full or the file ends.
    fn fill(&mut self) -> Result<(), InputError> {
        while !self.rows.is_full() {
            let mut object = std::mem::take(&mut self.object);
            let Some(line) = self.source.next(&mut object)? else {
                self.rows.set_done();
                return Ok(());
            };
            let taken = self.take_object(&object, line);
            self.object = object;
            taken?;
        }
        Ok(())
    }

    /// Takes a row, or leaves it out.
    fn take_object(&mut self, object: &[u8], line: u64) -> Result<(), InputError> {
        if object.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let text = match std::str::from_utf8(object) {
            Ok(text) => text,
            Err(error) => {
                let problem = format!("byte {} of the line is not UTF-8", error.valid_up_to() + 1);
                return self.leave_out(Broken { line, problem });
            }
        };
        // A row that is left out must not leave a column behind.
        if self.skipped.is_on()
            && let Err(error) = is_object(text)
        {
            return self.leave_out(self.source.explain(line, &error));
        }
        let mut failure = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed = json.deserialize_map(Object { reader: self, line, failure: &mut failure }).and_then(|()| json.end());
        match (failure, parsed) {
            (Some(Failure::Broken(broken)), _) => {
                self.rows.undo_row();
                return self.leave_out(broken);
            }
            (Some(Failure::Refused(error)), _) => return Err(error),
            (None, Err(error)) => return self.leave_out(self.source.explain(line, &error)),
            (None, Ok(())) => {}
        }
        self.rows.end_row(line);
        Ok(())
    }

    /// Leaves out a row, if that is asked for.
    fn leave_out(&self, broken: Broken) -> Result<(), InputError> {
        self.skipped.skip(broken).map_err(|Broken { line, problem }| self.malformed(line, problem))
    }

    /// The index of a column, which is added if that is still possible.
    fn column(&mut self, name: &str, line: u64) -> Result<usize, InputError> {
        if let Some(column) = self.columns.get(name) {
            return Ok(*column);
        }
        if !self.sampling {
            return Err(InputError::Column {
                file: self.source.file().to_string(),
                column: name.to_owned(),
                problem: format!("first appears on line {line}, after the first {SAMPLE_ROWS} rows; name it with --column {name}=TYPE"),
            });
        }
        if self.columns.len() == MAX_COLUMNS {
            return Err(self.malformed(line, format!("the file has more than {MAX_COLUMNS} columns")));
        }
        self.name_bytes += name.len();
        if name.len() > MAX_NAME_BYTES {
            let problem = format!("the object has a key of {} bytes; at most {MAX_NAME_BYTES} are accepted", name.len());
            return Err(self.malformed(line, problem));
        }
        if self.name_bytes > MAX_NAMES_BYTES {
            let problem = format!("the file's keys have more than {MAX_NAMES_BYTES} bytes, which is the most that a table may have");
            return Err(self.malformed(line, problem));
        }
        let column = self.rows.add_column(name);
        self.columns.insert(name.to_owned(), column);
        Ok(column)
    }

    fn put(&mut self, name: &str, value: &RawValue, line: u64) -> Result<(), Failure> {
        let column = self.column(name, line).map_err(Failure::Refused)?;
        let broken = |problem: String| Err(Failure::Broken(Broken { line, problem }));
        if self.rows.has(column) {
            return broken(format!("the object holds the key `{name}` twice"));
        }
        if value.get() == "null" {
            self.rows.put_null(column);
            return Ok(());
        }
        if let Err(problem) = json::check(value.get()) {
            return broken(format!("column `{name}` {}", problem.description()));
        }
        self.rows.put(column, value.get());
        Ok(())
    }
}

/// Why an object is no row.
enum Failure {
    /// It is not well-formed.
    Broken(Broken),
    /// The file is refused.
    Refused(InputError),
}

/// Whether it is one JSON object.
fn is_object(text: &str) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(AnyObject).and_then(|()| json.end())
}

/// Visits an object of which nothing is kept.
struct AnyObject;

impl<'de> Visitor<'de> for AnyObject {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<Key<'de>, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Visits the values of one object.
struct Object<'a> {
    reader: &'a mut Reader,
    line: u64,
    failure: &'a mut Option<Failure>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(name)) = map.next_key::<Key<'de>>()? {
            let value: &RawValue = map.next_value()?;
            if self.failure.is_none() {
                *self.failure = self.reader.put(&name, value, self.line).err();
            }
        }
        Ok(())
    }
}

/// A key, borrowed if it contains no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Iterator for Reader {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        let filled = if self.rows.is_done() { Ok(()) } else { self.fill() };
        self.rows.next_batch(filled)
    }
}
