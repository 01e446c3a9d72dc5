//! What CSV and JSON lines share: values as text, and the way whole blocks of rows become bytes.
//!
//! Rows are encoded in blocks, column by column: each column of a block becomes a lane of [`cells`], and the lanes are then scattered to
//! their places in the output. A lane is made by a [`kernel`] where the column is plain, else value by value on the general path of
//! [`value`]. Both give the same bytes. A row too long to be held as text goes out piece by piece, see [`long`].
//!
//! All that is allocated lives in [`TextShared`], once a session; an encoder holds nothing between calls.

mod address;
mod append;
mod bind;
mod cells;
mod check;
mod digits;
mod drain;
mod frame;
pub(crate) mod json_value;
mod kernel;
mod long;
mod lossless;
mod number;
mod plan;
mod shared;
mod string;
#[cfg(test)]
mod tests;
mod time;
mod value;
mod weight;
mod writer;
mod zone;

pub(crate) use bind::{ColumnReader, days_of_milliseconds};
pub(crate) use cells::copy_exact;
pub(crate) use digits::push_unsigned;
pub(crate) use drain::Drain;
#[cfg(test)]
pub(crate) use drain::Whole;
pub(crate) use drain::{NotJson, ValueError};
pub(crate) use frame::{CsvStyle, Frame, Separators};
pub(crate) use lossless::LosslessRow;
pub(crate) use plan::{ValueKind, sorted_keys};
pub use shared::TextShared;
pub(crate) use string::{Html, push_csv_field, push_csv_quoted, push_json_string, sequence_length};
pub(crate) use value::TextFormat;
pub(crate) use writer::TextEncoder;
