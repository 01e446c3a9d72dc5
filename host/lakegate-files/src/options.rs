//! What an input is, where it is, and how it is read.

use super::columns::ColumnType;
use super::delimiter::Delimiter;
use super::spool::Spool;
use std::path::PathBuf;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// One JSON object a line.
    Ndjson,
    /// Arrow IPC, file or stream format.
    Ipc,
}

/// Where an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Location {
    /// How messages name it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Does it give its bytes once? Standard input does, and so does whatever is no regular file: a pipe (`<(command)`), a socket, a device.
    pub(crate) fn is_stream(&self) -> bool {
        match self {
            // Where `/dev/fd/N` is the descriptor itself, a second open goes on where the first has ended, of a regular file too.
            Self::File(path) => path.starts_with("/dev") || path.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir()),
            Self::Stdin => true,
        }
    }
}

/// How inputs are read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// What they are, if content and name are not to be asked.
    pub format: Option<InputFormat>,
    /// Types of columns of CSV and NDJSON; the last one of a name wins.
    pub columns: Vec<(String, ColumnType)>,
    /// Must every one of `columns` be in each input, and each be one that has a delimiter if one is set? (Otherwise those that are not are
    /// passed over.)
    pub columns_required: bool,
    /// What separates the columns of CSV, if its content is not to be asked.
    pub delimiter: Option<Delimiter>,
    /// Where a copy of what comes from a pipe or out of gzip may be.
    pub spool: Spool,
}
