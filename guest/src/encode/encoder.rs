//! What an encoder is: rows come in, the bytes of one object go out.

use crate::host::{ObjectFacts, PutError};
use arrow_array::RecordBatch;
use std::ops::Range;

/// Why rows could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The rows or their schema cannot be written in this format. The text names the column and its type; never a value of a row.
    #[error("{0}")]
    Data(String),
    /// A row has a value that the format cannot hold. Of the rows of the call those before `from` were taken, and no others: the object can go on.
    /// Only of encoders that [keep rows whole](super::Encoders::keep_rows_whole).
    #[error("column `{column}`: {reason}")]
    Row {
        /// The first row that was not taken. The one to blame is this one, or comes soon after it.
        from: usize,
        /// The column to blame.
        column: String,
        /// Why, without the value.
        reason: String,
    },
    /// The host did not take the bytes.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl EncodeError {
    /// The same of rows that begin at `start` rather than at 0.
    pub(crate) fn after(self, start: usize) -> Self {
        match self {
            Self::Row { from, column, reason } => Self::Row { from: start + from, column, reason },
            other => other,
        }
    }
}

/// A row that cannot be encoded, and the first column that is to blame for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its place in the batch.
    pub row: usize,
    /// The column's name.
    pub column: String,
    /// Why, without the value.
    pub reason: String,
}

/// Where encoded bytes go.
pub trait Output {
    /// Takes bytes (at least one).
    ///
    /// # Errors
    /// [`PutError`], as the host decides.
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError>;
}

/// Writes one object: `write` any number of times, then `finish`.
///
/// `batch` always has the physical schema of the [`TableSchema`](crate::ipc::TableSchema) the encoder was made for; `rows` is a range of its rows.
pub trait Encode {
    /// Encodes rows.
    ///
    /// # Errors
    /// [`EncodeError`]; the object must be dropped then, unless it is [`EncodeError::Row`].
    fn write(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut dyn Output) -> Result<(), EncodeError>;

    /// Bytes of memory held for this object between calls, beside a constant few hundred.
    fn held_bytes(&self) -> usize;

    /// By how much [`Encode::relieve`] would lessen that; 0 if it would not.
    fn relief_bytes(&self) -> usize;

    /// Gives up what is held, at some cost in size: cuts the row group, ends the compressor's stream (the object goes on).
    ///
    /// # Errors
    /// [`EncodeError`]; the object must be dropped then.
    fn relieve(&mut self, out: &mut dyn Output) -> Result<(), EncodeError>;

    /// Writes what is left. Nothing may be written after. Answers what is known of the object: where it can be split, and of its columns what was
    /// asked for. The rows are left to whoever counts them.
    ///
    /// # Errors
    /// [`EncodeError`]; the object is then to be dropped.
    fn finish(self: Box<Self>, out: &mut dyn Output) -> Result<ObjectFacts, EncodeError>;
}
