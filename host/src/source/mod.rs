//! Files as streams of rows: Parquet, CSV, NDJSON, Arrow IPC; patterns; standard input.
//!
//! Invariants: memory is bounded by a few batches, whatever the size of a file; an error names file and place and repeats no value; a file
//! that is not read to its good end never looks as if it were.
//!
//! [`resolve`] turns words into [`Input`]s, [`open`] an input into rows, and [`Feed`] inputs into the messages that a write takes.

mod columns;
mod csv;
mod error;
mod exact;
mod expand;
mod feed;
mod infer;
mod inputs;
mod ipc;
mod lines;
mod ndjson;
mod open;
mod parquet;
mod plain;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod unpack;

pub use columns::{ColumnType, TYPE_NAMES, parse_override};
pub use error::{InputError, Position};
pub use feed::{Feed, Message};
pub(crate) use feed::{caught, panics_are_caught};
pub use inputs::{Input, resolve};
#[cfg(test)]
pub(crate) use ipc::big_endian_stream;
pub(crate) use ipc::words;
pub use open::{InputFormat, Location, ReadOptions, open};
pub use text::SAMPLE_ROWS;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

/// Characters of a library's words that go into a message: they say what is wrong at the beginning.
pub(crate) const MAX_WORDS: usize = 300;

/// The columns of an input.
pub type Schema = SchemaRef;
/// The rows of an input; nothing follows an error.
pub type Rows = Box<dyn Iterator<Item = Result<RecordBatch, InputError>> + Send>;
