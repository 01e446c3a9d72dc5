//! Rows to bytes: one module a format, and gzip around the text formats.
//!
//! An [`Encode`] writes one object. What it writes goes to an [`Output`]; text encoders hold nothing back between calls, Parquet holds a
//! row group, gzip a compressor. What is held is reported by [`Encode::held_bytes`], and [`Encode::relieve`] gives up as much of it as
//! [`Encode::relief_bytes`] says.

pub mod csv;
mod encoder;
pub mod gzip;
pub mod json;
pub mod parquet;
pub mod text;

pub use encoder::{Encode, EncodeError, Output};

use crate::ipc::TableSchema;
use crate::spec::{Compression, CsvOptions, Format, JsonOptions};
use std::rc::Rc;

/// Bytes of encoded and buffered data at which a row group ends in a replay: eight objects fit the memory of a lane.
const REPLAY_ROW_GROUP_BYTES: usize = 16 << 20;

/// What encoders of one format share within a session: options, plans per schema, scratch buffers.
pub struct Encoders {
    format: Shared,
    /// Present if text is to be gzipped.
    gzip: Option<gzip::GzipShared>,
}

enum Shared {
    Csv(CsvOptions, text::TextShared),
    Json(JsonOptions, text::TextShared),
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
            Format::Json(options) => Self { format: Shared::Json(options, text::TextShared::default()), gzip },
            Format::Parquet(options) => Self { format: Shared::Parquet(parquet::ParquetShared::new(options)), gzip: None },
        }
    }

    /// The same where what an object is made of must depend on its rows alone: row groups are smaller, so that several objects can be open without
    /// giving any of them up.
    pub fn for_replay(format: Format, compression: Compression) -> Self {
        let mut encoders = Self::new(format, compression);
        if let Shared::Parquet(shared) = &mut encoders.format {
            shared.end_row_groups_at(REPLAY_ROW_GROUP_BYTES);
        }
        encoders
    }

    /// Gathers facts of the columns of each object, where the format knows them.
    pub fn gather_column_facts(&mut self) {
        if let Shared::Parquet(shared) = &mut self.format {
            shared.gather_column_facts();
        }
    }

    /// Begins an object for rows of this schema.
    ///
    /// # Errors
    /// [`EncodeError::Data`] if the format cannot hold a column.
    pub fn open(&mut self, schema: &Rc<TableSchema>) -> Result<Box<dyn Encode>, EncodeError> {
        let encoder = match &mut self.format {
            Shared::Csv(options, shared) => csv::open(schema, *options, shared)?,
            Shared::Json(options, shared) => json::open(schema, *options, shared)?,
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
            Shared::Csv(..) | Shared::Json(..) => 0,
            Shared::Parquet(shared) => shared.take_replaced(),
        }
    }
}
