//! Options: the format and location of an input, and how it is read.

use super::columns::ColumnType;
use super::dialect::{Delimiter, Quote};
use super::encoding::Encoding;
use super::spool::Spool;
use std::path::PathBuf;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// JSON: one object per line, an array of objects, or objects one after another.
    Ndjson,
    /// Arrow IPC, file or stream format.
    Ipc,
}

/// The location of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Location {
    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Whether it can only be read once: standard input, or anything but a regular file, such as a pipe (`<(command)`), a socket or a device.
    pub(crate) fn is_stream(&self) -> bool {
        match self {
            // On systems where `/dev/fd/N` is the descriptor itself, a second open continues where the first has ended, even for a regular file.
            Self::File(path) => path.starts_with("/dev") || path.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir()),
            Self::Stdin => true,
        }
    }
}

/// Options for reading inputs.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The format; detected if not set.
    pub format: Option<InputFormat>,
    /// Types of CSV and NDJSON columns; the last one for a name wins.
    pub columns: Vec<(String, ColumnType)>,
    /// Whether all of `columns` must exist in each input, and each input must be CSV (or text) if something of CSV (or text) is set. (Otherwise this
    /// is ignored where it does not apply.)
    pub columns_required: bool,
    /// How CSV is written.
    pub csv: CsvOptions,
    /// The encoding of text; detected if not set.
    pub encoding: Option<Encoding>,
    /// What becomes of rows of text that are not well-formed.
    pub bad_rows: BadRows,
    /// Whether files of one table may lack columns, and have columns of different types where one type holds the values of all exactly.
    pub union_by_name: bool,
    /// Where input from a pipe or a compressed file may be copied to.
    pub spool: Spool,
}

/// How CSV is written; what is not set is detected.
#[derive(Debug, Clone, Default)]
pub struct CsvOptions {
    /// What separates fields.
    pub delimiter: Option<Delimiter>,
    /// What encloses fields.
    pub quote: Option<Quote>,
    /// Whether the first line has the names of the columns.
    pub header: Option<bool>,
    /// Fields without quotes that stand for null, beside the empty one.
    pub nulls: Vec<String>,
}

impl CsvOptions {
    /// The first option that is set, as the command line calls it.
    pub(crate) fn first_set(&self) -> Option<&'static str> {
        let set = [
            (self.delimiter.is_some(), "--delimiter"),
            (self.quote.is_some(), "--quote"),
            (self.header == Some(true), "--header"),
            (self.header == Some(false), "--no-header"),
            (!self.nulls.is_empty(), "--null"),
        ];
        set.into_iter().find_map(|(is, name)| is.then_some(name))
    }
}

/// What becomes of rows of text that are not well-formed: records of CSV with another number of fields than the header, or with a quote in the wrong
/// place, lines that are not JSON objects. A value that does not have its column's type is none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadRows {
    /// The input is refused, naming the line.
    #[default]
    Fail,
    /// They are left out and counted.
    Skip,
}
