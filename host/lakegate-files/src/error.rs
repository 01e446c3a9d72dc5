//! What can be wrong with an input. Every message names the file and the place; none repeats a value of a row.

use std::fmt;
use std::io;

/// Why an input is refused.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The operating system.
    #[error("{file}: cannot be read: {cause}")]
    Io {
        /// Which file.
        file: String,
        /// What it said.
        cause: io::Error,
    },
    /// A pattern that matches nothing.
    #[error("{pattern}: no file matches this pattern")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// Not a pattern.
    #[error("{pattern}: not a pattern of files: {problem}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Neither content nor name say what it is.
    #[error("{file}: neither its first bytes nor its name tell its format; set it with --input-format parquet|csv|tsv|ndjson|ipc")]
    UnknownFormat {
        /// Which file.
        file: String,
    },
    /// No table name can be made of the name of the file.
    #[error("{file}: no table name can be derived from this; set it with --table NAME")]
    NoTable {
        /// Which file.
        file: String,
    },
    /// Truncated, corrupt, or not what its format asks for.
    #[error("{file}{at}: {problem}")]
    Malformed {
        /// Which file.
        file: String,
        /// Where in it.
        at: Position,
        /// What is wrong.
        problem: String,
    },
    /// A value that is not of its column's type.
    #[error(
        "{file}, line {line}, column `{column}`: the value is not {expected}; --column {column}={remedy} takes it as it is written \
         (--column {column}=TYPE sets any other type)"
    )]
    Mismatch {
        /// Which file.
        file: String,
        /// The line on which the row begins, from 1.
        line: u64,
        /// Which column.
        column: String,
        /// The type, and what text it takes.
        expected: String,
        /// The type that takes any such value.
        remedy: &'static str,
    },
    /// Something that is told by its content, and is not read.
    #[error("{file}: it is {what}; {advice}")]
    NotRead {
        /// Which file.
        file: String,
        /// What it is.
        what: String,
        /// What can be done.
        advice: String,
    },
    /// A copy on disk is needed, and cannot be had.
    #[error("{file}: it is {what}, which is read from a file that is neither compressed nor a pipe, so a copy is needed: {problem}")]
    NoSpool {
        /// Which file.
        file: String,
        /// What it is.
        what: &'static str,
        /// Why there is no copy, and what would help.
        problem: String,
    },
    /// A value that cannot arrive as it is.
    #[error("{file}, row {row}, column `{column}`: {problem}")]
    Value {
        /// Which file.
        file: String,
        /// From 1, a header not counted.
        row: u64,
        /// Which column; with the way to the field or item, if the value is nested.
        column: String,
        /// What is wrong, and what would be accepted.
        problem: String,
    },
    /// A column that cannot be taken.
    #[error("{file}, column `{column}`: {problem}")]
    Column {
        /// Which file.
        file: String,
        /// Which column.
        column: String,
        /// What is wrong, and what would be accepted.
        problem: String,
    },
    /// A row that is larger than a message may be.
    #[error("{file}, row {row}: the row has {bytes} bytes; at most {most} are accepted")]
    RowTooLarge {
        /// Which file.
        file: String,
        /// From 1, the header not counted.
        row: u64,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// The thread that reads has come to no end of its own. A bug.
    #[error("the reader of the input stopped unexpectedly, so not all of its rows were sent; this is a bug in this program")]
    ReaderLost,
    /// Two files of one table do not fit.
    #[error("{second}, column `{column}`: {difference} in {first}; files of one table ({table}) must have equal columns")]
    SchemaDiffers {
        /// The table.
        table: String,
        /// The file that came first.
        first: String,
        /// The file that differs.
        second: String,
        /// The first column that differs.
        column: String,
        /// How.
        difference: String,
    },
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The file as a whole.
    Whole,
    /// A line, from 1.
    Line(u64),
    /// A byte, from 0.
    Byte(u64),
    /// A Parquet row group (from 1), and the rows read well before.
    RowGroup {
        /// From 1; 0 for none.
        group: usize,
        /// Rows read well.
        rows: u64,
    },
    /// A record batch, from 1.
    Batch(usize),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Line(line) => write!(f, ", line {line}"),
            Self::Byte(byte) => write!(f, ", byte {byte}"),
            Self::RowGroup { group, rows } => write!(f, ", row group {group}, after row {rows}"),
            Self::Batch(batch) => write!(f, ", record batch {batch}"),
        }
    }
}
