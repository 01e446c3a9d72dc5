//! Options: the format and location of an input, and how it is read.

use super::columns::ColumnType;
use super::delimiter::Delimiter;
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
    /// One JSON object per line.
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
    /// Whether all of `columns` must exist in each input, and each input must have a delimiter if one is set. (Otherwise this is ignored where it
    /// does not apply.)
    pub columns_required: bool,
    /// The delimiter of CSV; detected if not set.
    pub delimiter: Option<Delimiter>,
    /// Where input from a pipe or gzip may be copied to.
    pub spool: Spool,
}
