//! Reads files as streams of rows: Parquet, CSV, JSON, Arrow IPC, compressed or not, with folders, patterns and standard input.
//!
//! Invariants: memory is bounded by a few batches, whatever the size of a file; an error names file and position and never contains a value; a file
//! that was not read successfully to its end never looks as if it were.
//!
//! [`resolve`] turns arguments into [`Input`]s, [`open`] an input into rows, and [`MessageReader`] inputs into the messages that a write accepts.

mod columns;
mod compression;
mod csv;
mod dialect;
#[cfg(test)]
mod dialect_promises;
mod documents;
mod encoding;
mod error;
mod exact;
mod expand;
mod infer;
mod inputs;
mod ipc;
mod json;
mod like;
mod lines;
mod magic;
mod message_reader;
mod ndjson;
mod open;
mod options;
mod parquet;
mod partitions;
mod plain;
mod records;
mod skipped;
mod sniff;
mod spool;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod text;
#[cfg(test)]
mod text_fuzz;
#[cfg(test)]
mod text_promises;
pub mod unpack;
mod widen;

pub mod parquet_footer;

pub use columns::{ColumnType, TYPE_NAMES, parse_override};
pub use dialect::{Delimiter, Quote};
pub use encoding::Encoding;
pub use error::{InputError, Position};
pub use inputs::{Input, resolve};
pub use ipc::one_line;
pub use message_reader::{Message, MessageReader, SkippedFile};
pub use open::open;
pub use options::{BadRows, CsvOptions, InputFormat, Location, ReadOptions};
pub use partitions::{HivePartitioning, Partition};
pub use spool::Spool;
pub use text::SAMPLE_ROWS;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use skipped::Skipped;
use std::collections::HashSet;

/// Maximum characters of a library's error that go into a message.
pub(crate) const MAX_MESSAGE_CHARS: usize = 300;

/// The columns of an input.
pub type Schema = SchemaRef;
/// The rows of an input; nothing follows an error.
pub type Rows = Box<dyn Iterator<Item = Result<RecordBatch, InputError>> + Send>;

/// An input whose columns are known.
pub(crate) struct Opened {
    pub(crate) schema: Schema,
    pub(crate) rows: Rows,
    /// Text columns without any value so far, which fit any type.
    pub(crate) undecided: HashSet<String>,
    /// Whether a missing column counts as a column without values, as in NDJSON.
    pub(crate) optional: bool,
    /// Whether values are text, which is read in whatever type holds it.
    pub(crate) text: bool,
    /// Notes for the user: generated names, a detected dialect.
    pub(crate) notes: Vec<String>,
    /// Counts the rows that are left out.
    pub(crate) skipped: Skipped,
}

impl Opened {
    pub(crate) fn new(schema: Schema, rows: Rows, undecided: HashSet<String>) -> Self {
        Self { schema, rows, undecided, optional: false, text: false, notes: Vec::new(), skipped: Skipped::default() }
    }
}

impl From<(Schema, Rows)> for Opened {
    fn from((schema, rows): (Schema, Rows)) -> Self {
        Self::new(schema, rows, HashSet::new())
    }
}
