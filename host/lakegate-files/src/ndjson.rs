//! NDJSON reader: one JSON object per line; blank lines are skipped.
//!
//! The columns are the keys of the first 10,000 rows in the order of their first appearance, followed by the columns named by `--column`. A key that
//! appears later is an error, since the rows before it have already been sent; `--column` makes it known from the start. A missing key and `null` are
//! null. A duplicate key in an object, at any depth, is an error, and so is an unpaired surrogate.

use super::like::{Like, NO_COLUMNS};
use super::lines::{Lines, MAX_COLUMNS, MAX_NAME_BYTES, MAX_NAMES_BYTES, strip_mark, trim_end};
use super::text::{Dialect, SAMPLE_ROWS, TextRows};
use super::{InputError, Opened, ReadOptions, Rows, json};
use arrow_array::RecordBatch;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;
use std::sync::Arc;

/// The reader of an NDJSON file.
struct Reader {
    lines: Lines,
    line: Vec<u8>,
    rows: TextRows,
    /// The column of each known key.
    columns: HashMap<String, usize>,
    /// Total bytes of the known keys.
    name_bytes: usize,
    /// Whether new keys are still accepted.
    sampling: bool,
}

/// Opens an NDJSON file: reads the rows that columns and types are inferred from.
pub(crate) fn open(
    input: Box<dyn BufRead + Send>,
    file: Arc<str>,
    options: &ReadOptions,
    like: Option<&Like>,
) -> Result<Opened, InputError> {
    let mut reader = Reader {
        lines: Lines::new(input, file.clone()),
        line: Vec::new(),
        rows: TextRows::new(file, Dialect::Json, Vec::new()),
        columns: HashMap::new(),
        name_bytes: 0,
        sampling: true,
    };
    reader.fill()?;
    for name in options.columns.iter().map(|(name, _)| name.as_str()).chain(like.into_iter().flat_map(Like::names)) {
        reader.column(name, 1)?;
    }
    if reader.columns.is_empty() && like.is_none() {
        return Err(reader.lines.malformed(1, NO_COLUMNS));
    }
    reader.sampling = false;
    let (schema, undecided) = reader.rows.choose_types(&options.columns, like);
    let rows: Rows = Box::new(reader);
    Ok(Opened { schema, rows, undecided, optional: true, notes: Vec::new() })
}

impl Reader {
    /// Reads rows until a batch is full or the file ends.
    fn fill(&mut self) -> Result<(), InputError> {
        while !self.rows.is_full() {
            self.line.clear();
            if !self.lines.append(&mut self.line)? {
                self.rows.set_done();
                return Ok(());
            }
            if self.lines.number() == 1 {
                strip_mark(&mut self.line);
            }
            let line = std::mem::take(&mut self.line);
            let taken = self.take_line(trim_end(&line));
            self.line = line;
            taken?;
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), InputError> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let number = self.lines.number();
        let text = std::str::from_utf8(line)
            .map_err(|error| self.lines.malformed(number, format!("byte {} of the line is not UTF-8", error.valid_up_to() + 1)))?;
        let mut failure = None;
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed = json.deserialize_map(Object { reader: self, line: number, failure: &mut failure }).and_then(|()| json.end());
        if let Some(failure) = failure {
            return Err(failure);
        }
        parsed.map_err(|error| self.lines.malformed(number, explain(&error)))?;
        self.rows.end_row(number);
        Ok(())
    }

    /// The index of a column, which is added if that is still possible.
    fn column(&mut self, name: &str, line: u64) -> Result<usize, InputError> {
        if let Some(column) = self.columns.get(name) {
            return Ok(*column);
        }
        if !self.sampling {
            return Err(InputError::Column {
                file: self.lines.file().to_string(),
                column: name.to_owned(),
                problem: format!("first appears on line {line}, after the first {SAMPLE_ROWS} rows; name it with --column {name}=TYPE"),
            });
        }
        if self.columns.len() == MAX_COLUMNS {
            return Err(self.lines.malformed(line, format!("the file has more than {MAX_COLUMNS} columns")));
        }
        self.name_bytes += name.len();
        if name.len() > MAX_NAME_BYTES {
            let problem = format!("the object has a key of {} bytes; at most {MAX_NAME_BYTES} are accepted", name.len());
            return Err(self.lines.malformed(line, problem));
        }
        if self.name_bytes > MAX_NAMES_BYTES {
            let problem = format!("the file's keys have more than {MAX_NAMES_BYTES} bytes, which is the most that a table may have");
            return Err(self.lines.malformed(line, problem));
        }
        let column = self.rows.add_column(name);
        self.columns.insert(name.to_owned(), column);
        Ok(column)
    }

    fn put(&mut self, name: &str, value: &RawValue, line: u64) -> Result<(), InputError> {
        let column = self.column(name, line)?;
        if self.rows.has(column) {
            return Err(self.lines.malformed(line, format!("the object holds the key `{name}` twice")));
        }
        if value.get() == "null" {
            self.rows.put_null(column);
            return Ok(());
        }
        if let Err(problem) = json::check(value.get()) {
            return Err(self.lines.malformed(line, format!("column `{name}` {}", problem.description())));
        }
        self.rows.put(column, value.get());
        Ok(())
    }
}

/// The error in a line, without its content: serde_json only quotes values in errors of category `Data`.
fn explain(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Data => "the line is not a JSON object; one object per line is expected".to_owned(),
        Category::Eof => {
            "the line ends within a JSON object; one complete object per line is expected (the file may be truncated)".to_owned()
        }
        Category::Syntax | Category::Io => {
            let text = error.to_string();
            let problem = text.split(" at line ").next().unwrap_or("not JSON");
            format!("not JSON at character {}: {problem}", error.column())
        }
    }
}

/// Visits the values of one object.
struct Object<'a> {
    reader: &'a mut Reader,
    line: u64,
    failure: &'a mut Option<InputError>,
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
