//! Rows to bytes: one module a format, and gzip around the text formats.
//!
//! An [`Encode`] writes one object. What it writes goes to an [`Output`]; text encoders hold nothing back between calls, Parquet holds a
//! row group, gzip a compressor. What is held is told by [`Encode::held_bytes`], and [`Encode::relieve`] gives up as much of it as
//! [`Encode::relief_bytes`] tells.

pub mod csv;
pub mod gzip;
pub mod json;
pub mod parquet;
pub mod text;

use crate::host::PutError;
use crate::ipc::TableSchema;
use crate::spec::{Compression, CsvOptions, Format};
use arrow_array::RecordBatch;
use std::ops::Range;
use std::rc::Rc;

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
/// `batch` always has the physical schema of the [`TableSchema`] the encoder was made for; `rows` is a range of its rows.
pub trait Encode {
    /// Encodes rows.
    ///
    /// # Errors
    /// [`EncodeError`]; the object is then to be dropped.
    fn write(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut dyn Output) -> Result<(), EncodeError>;

    /// Bytes of memory held for this object between calls, beside a constant few hundred.
    fn held_bytes(&self) -> usize;

    /// By how much [`Encode::relieve`] would lessen that; 0 if it would not.
    fn relief_bytes(&self) -> usize;

    /// Gives up what is held, at some cost in size: cuts the row group, ends the compressor's stream (the object goes on).
    ///
    /// # Errors
    /// [`EncodeError`]; the object is then to be dropped.
    fn relieve(&mut self, out: &mut dyn Output) -> Result<(), EncodeError>;

    /// Writes what is left. Nothing may be written after.
    ///
    /// # Errors
    /// [`EncodeError`]; the object is then to be dropped.
    fn finish(self: Box<Self>, out: &mut dyn Output) -> Result<(), EncodeError>;
}

/// What encoders of one format share within a session: options, plans per schema, scratch buffers.
pub struct Encoders {
    format: Shared,
    /// Present if text is to be gzipped.
    gzip: Option<gzip::GzipShared>,
}

enum Shared {
    Csv(CsvOptions, text::TextShared),
    Json(text::TextShared),
    Parquet(parquet::ParquetShared),
}

impl Encoders {
    /// Makes the shared part for a session. Parquet compresses its own pages: around it `compression` does nothing.
    pub fn new(format: Format, compression: Compression) -> Self {
        let gzip = match compression {
            Compression::None => None,
            Compression::Gzip => Some(gzip::GzipShared::default()),
        };
        match format {
            Format::Csv(options) => Self { format: Shared::Csv(options, text::TextShared::default()), gzip },
            Format::Json => Self { format: Shared::Json(text::TextShared::default()), gzip },
            Format::Parquet(options) => Self { format: Shared::Parquet(parquet::ParquetShared::new(options)), gzip: None },
        }
    }

    /// Begins an object for rows of this schema.
    ///
    /// # Errors
    /// [`EncodeError::Data`] if the format cannot hold a column.
    pub fn open(&mut self, schema: &Rc<TableSchema>) -> Result<Box<dyn Encode>, EncodeError> {
        let encoder = match &mut self.format {
            Shared::Csv(options, shared) => csv::open(schema, *options, shared)?,
            Shared::Json(shared) => json::open(schema, shared)?,
            Shared::Parquet(shared) => shared.open(schema)?,
        };
        Ok(match &self.gzip {
            Some(shared) => gzip::wrap(encoder, shared),
            None => encoder,
        })
    }

    /// How many values had invalid UTF-8 replaced by U+FFFD since this was last asked. Text formats keep such bytes or replace them as the
    /// reference does, without counting.
    pub fn take_replaced_text(&mut self) -> u64 {
        match &self.format {
            Shared::Csv(..) | Shared::Json(_) => 0,
            Shared::Parquet(shared) => shared.take_replaced(),
        }
    }
}
