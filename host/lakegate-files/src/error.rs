//! Errors of an input. Every message names the file and the position; none contains a value from a row.

use std::fmt;
use std::io;

/// An input that is refused.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {cause}")]
    Io {
        /// The file.
        file: String,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// A file pattern matches nothing, or a folder holds nothing.
    #[error("{pattern}: no file matches this pattern, or is in this folder")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// A file pattern is malformed.
    #[error("{pattern}: not a pattern of files: {problem}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// The problem.
        problem: String,
    },
    /// The format cannot be recognised from content or name.
    #[error("{file}: neither its first bytes nor its name tell its format; set it with --input-format parquet|csv|tsv|json|ipc")]
    UnknownFormat {
        /// The file.
        file: String,
    },
    /// No table name can be derived from the file's name.
    #[error("{file}: no table name can be derived from this; set it with --table NAME")]
    NoTable {
        /// The file.
        file: String,
    },
    /// The file is truncated, corrupt, or not valid in its format.
    #[error("{file}{at}: {problem}")]
    Malformed {
        /// The file.
        file: String,
        /// The position in the file.
        at: Position,
        /// The problem.
        problem: String,
    },
    /// A value does not have its column's type.
    #[error(
        "{file}, line {line}, column `{column}`: the value is not {expected}; --column {column}={remedy} takes it as it is written \
         (--column {column}=TYPE sets any other type)"
    )]
    Mismatch {
        /// The file.
        file: String,
        /// The line on which the row starts, from 1.
        line: u64,
        /// The column.
        column: String,
        /// The type, and the text it accepts.
        expected: String,
        /// The type that accepts the value.
        remedy: &'static str,
    },
    /// A file of a known but unsupported format.
    #[error("{file}: it is {what}; {advice}")]
    NotRead {
        /// The file.
        file: String,
        /// The format.
        what: String,
        /// What the user can do.
        advice: String,
    },
    /// A copy on disk is needed but cannot be made.
    #[error("{file}: it is {what}, which is read from a file that is neither compressed nor a pipe, so a copy is needed: {problem}")]
    NoSpool {
        /// The file.
        file: String,
        /// The format.
        what: &'static str,
        /// Why there is no copy, and what would help.
        problem: String,
    },
    /// A value would be changed by an output.
    #[error("{file}, row {row}, column `{column}`: {problem}")]
    Value {
        /// The file.
        file: String,
        /// The row, from 1, not counting the header.
        row: u64,
        /// The column; with the path to the field or item if the value is nested.
        column: String,
        /// The problem, and what would be accepted.
        problem: String,
    },
    /// A column is not supported.
    #[error("{file}, column `{column}`: {problem}")]
    Column {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// The problem, and what would be accepted.
        problem: String,
    },
    /// A row is larger than a message may be.
    #[error("{file}, row {row}: the row has {bytes} bytes; at most {most} are accepted")]
    RowTooLarge {
        /// The file.
        file: String,
        /// The row, from 1, not counting the header.
        row: u64,
        /// Size of the row.
        bytes: usize,
        /// Maximum size.
        most: usize,
    },
    /// The reading thread has stopped without reporting its end, which is a bug.
    #[error("the reader of the input stopped unexpectedly, so not all of its rows were sent; this is a bug in this program")]
    ReaderLost,
    /// Two files of one table do not match.
    #[error("{second}, column `{column}`: {difference} in {first}; files of one table ({table}) must have equal columns")]
    SchemaDiffers {
        /// The table.
        table: String,
        /// The first file.
        first: String,
        /// The file that differs.
        second: String,
        /// The first differing column.
        column: String,
        /// The difference.
        difference: String,
    },
}

/// A position in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The file as a whole.
    Whole,
    /// A line, from 1.
    Line(u64),
    /// A byte, from 0.
    Byte(u64),
    /// A Parquet row group.
    RowGroup {
        /// Number of the row group from 1; 0 for none.
        group: usize,
        /// Rows that were read successfully before.
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
