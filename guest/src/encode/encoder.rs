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
    /// The host did not take the bytes.
    #[error(transparent)]
    Put(#[from] PutError),
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
    /// [`EncodeError`]; the object must be dropped then.
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
