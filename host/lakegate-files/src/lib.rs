//! Reads files as streams of rows: Parquet, CSV, NDJSON, Arrow IPC, with patterns and standard input.
//!
//! Invariants: memory is bounded by a few batches, whatever the size of a file; an error names file and position and never contains a value; a file
//! that was not read successfully to its end never looks as if it were.
//!
//! [`resolve`] turns arguments into [`Input`]s, [`open`] an input into rows, and [`MessageReader`] inputs into the messages that a write accepts.

pub mod caught;
mod columns;
mod csv;
mod delimiter;
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
mod plain;
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

pub mod parquet_footer;

pub use columns::{ColumnType, TYPE_NAMES, parse_override};
pub use delimiter::Delimiter;
pub use error::{InputError, Position};
pub use inputs::{Input, resolve};
pub use ipc::one_line;
pub use message_reader::{Message, MessageReader};
pub use open::open;
pub use options::{InputFormat, Location, ReadOptions};
pub use spool::Spool;
pub use text::SAMPLE_ROWS;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
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
    /// Notes for the user: generated names, a detected delimiter.
    pub(crate) notes: Vec<String>,
}

impl From<(Schema, Rows)> for Opened {
    fn from((schema, rows): (Schema, Rows)) -> Self {
        Self { schema, rows, undecided: HashSet::new(), optional: false, notes: Vec::new() }
    }
}
