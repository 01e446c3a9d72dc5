//! Errors for refused Parquet files.

use super::super::{InputError, MAX_MESSAGE_CHARS, Position};
use parquet::errors::ParquetError;

/// A file that is refused as a whole.
pub(super) fn refused(file: &str, problem: &str) -> InputError {
    InputError::Malformed { file: file.to_owned(), at: Position::Whole, problem: problem.to_owned() }
}

/// A row group that is corrupt, or not supported by the crate.
pub(super) fn corrupt_at(file: &str, group: usize, rows: u64, problem: &str) -> InputError {
    let what = if super::super::ipc::is_unsupported(problem) { "unsupported Parquet" } else { "corrupt Parquet" };
    InputError::Malformed { file: file.to_owned(), at: Position::RowGroup { group, rows }, problem: format!("{what}: {problem}") }
}

/// The first line of the crate's error message, at most 300 characters.
pub(super) fn one_line(error: &ParquetError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(MAX_MESSAGE_CHARS).collect()
}
