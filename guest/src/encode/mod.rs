//! Rows to bytes: one module a format, and gzip or zstd around the text formats.
//!
//! An [`Encode`] writes one object. What it writes goes to an [`Output`]; text encoders hold nothing back between calls, Parquet holds a
//! row group, gzip and zstd a compressor. What is held is reported by [`Encode::held_bytes`], and [`Encode::relieve`] gives up as much of it as
//! [`Encode::relief_bytes`] says.

mod compressed;
pub mod csv;
mod encoder;
pub mod gzip;
pub mod json;
pub mod parquet;
pub mod text;
pub mod zstd;

pub use encoder::{BadRow, Encode, EncodeError, Output};

use crate::ipc::TableSchema;
use crate::spec::{Codec, Compression, CsvOptions, Format, JsonOptions};
use arrow_array::RecordBatch;
use std::ops::Range;
use std::rc::Rc;

/// Bytes of encoded and buffered data at which a row group ends in a replay: eight objects fit the memory of a lane.
const REPLAY_ROW_GROUP_BYTES: usize = 16 << 20;

/// What encoders of one format share within a session: options, plans per schema, scratch buffers.
pub struct Encoders {
    format: Shared,
    around: Around,
}

/// What is put around text.
enum Around {
    Nothing,
    Gzip(gzip::GzipShared),
    Zstd(zstd::ZstdShared),
}

enum Shared {
    Csv(CsvOptions, text::TextShared),
    Json(JsonOptions, text::TextShared),
    Parquet(parquet::ParquetShared),
}

impl Encoders {
    /// Makes the shared part for a session. Parquet compresses its own pages: around it `compression` does nothing.
    pub fn new(format: Format, compression: Option<Compression>) -> Self {
        let around = match compression.map(|it| (it.codec(), it)) {
            None => Around::Nothing,
            Some((Codec::Gzip, compression)) => Around::Gzip(gzip::GzipShared::new(compression)),
            Some((Codec::Zstd, compression)) => Around::Zstd(zstd::ZstdShared::new(compression)),
        };
        match format {
            Format::Csv(options) => Self { format: Shared::Csv(options, text::TextShared::default()), around },
            Format::Json(options) => Self { format: Shared::Json(options, text::TextShared::default()), around },
            Format::Parquet(options) => Self { format: Shared::Parquet(parquet::ParquetShared::new(options)), around: Around::Nothing },
        }
    }

    /// The same where what an object is made of must depend on its rows alone: row groups are smaller, so that several objects can be open without
    /// giving any of them up, unless the spec has asked for a size.
    pub fn for_replay(format: Format, compression: Option<Compression>) -> Self {
        let mut encoders = Self::new(format, compression);
        if let Shared::Parquet(shared) = &mut encoders.format {
            shared.end_row_groups_at_unless_asked(REPLAY_ROW_GROUP_BYTES);
        }
        encoders
    }

    /// Gathers facts of the columns of each object, where the format knows them.
    pub fn gather_column_facts(&mut self) {
        if let Shared::Parquet(shared) = &mut self.format {
            shared.gather_column_facts();
        }
    }

    /// A row that cannot be encoded is to leave no trace in its object, which goes on without it.
    pub fn keep_rows_whole(&mut self) {
        match &mut self.format {
            Shared::Csv(_, shared) | Shared::Json(_, shared) => shared.keep_rows_whole(),
            Shared::Parquet(shared) => shared.keep_rows_whole(),
        }
    }

    /// The rows of a range that cannot be encoded, in their order, up to `most` of them. What is found and what encoders refuse is the same; to be asked
    /// after one of them has.
    ///
    /// # Errors
    /// [`EncodeError::Data`] if the format cannot hold a column.
    pub fn bad_rows(
        &mut self,
        schema: &Rc<TableSchema>,
        batch: &RecordBatch,
        rows: Range<usize>,
        most: usize,
    ) -> Result<Vec<BadRow>, EncodeError> {
        match &mut self.format {
            Shared::Csv(_, shared) => shared.bad_rows(schema, batch, rows, text::TextFormat::Csv, most),
            Shared::Json(_, shared) => shared.bad_rows(schema, batch, rows, text::TextFormat::Json(text::Html::Raw), most),
            Shared::Parquet(shared) => shared.bad_rows(schema, batch, rows, most),
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
        Ok(match &self.around {
            Around::Nothing => encoder,
            Around::Gzip(shared) => gzip::wrap(encoder, shared),
            Around::Zstd(shared) => zstd::wrap(encoder, shared),
        })
    }

    /// What is to be said of options that the tables opened since this was last asked could not heed: each kind once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        match &mut self.format {
            Shared::Csv(..) | Shared::Json(..) => Vec::new(),
            Shared::Parquet(shared) => shared.take_warnings(),
        }
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
