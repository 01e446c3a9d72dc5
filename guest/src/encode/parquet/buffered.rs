//! Rows that wait until there are enough of them to be worth encoding.

use super::size::batch_bytes;
use crate::encode::EncodeError;
use crate::ipc::expansion::weigh;
use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;

/// Buffered batches that are merged into one: keeps small records from holding a set of arrays each.
pub(super) const MERGE_BATCHES: usize = 32;

/// Bytes of a message that buffered rows may keep alive however few they are. Up to here nothing more exact is computed, since that has a cost.
const SMALL_MESSAGE_BYTES: usize = 32 << 10;

/// Memory of an array beside its buffers.
pub(super) const ARRAY_BYTES: usize = 200;

/// See the module. Rows are kept as they came.
#[derive(Default)]
pub(super) struct BufferedRows {
    batches: Vec<RecordBatch>,
    pub(super) rows: usize,
    /// Of the values, and of the memory that they keep alive.
    pub(super) bytes: usize,
    pub(super) held_bytes: usize,
    /// What they take written out, where that is counted: see [`Shape::piece_bytes`](super::shape::Shape::piece_bytes).
    pub(super) weight: u64,
}

impl BufferedRows {
    /// Keeps a piece of a batch of `whole_rows` rows.
    pub(super) fn keep(&mut self, piece: RecordBatch, bytes: usize, whole_rows: usize) -> Result<(), EncodeError> {
        self.rows += piece.num_rows();
        let arrays = piece.num_columns() * ARRAY_BYTES;
        self.bytes += bytes + arrays;
        // A slice keeps all of its message alive. A good part of one may; a small part is copied out.
        let pinned = pinned_bytes(&piece);
        if piece.num_rows() * 2 < whole_rows || pinned > 2 * (bytes + arrays) + SMALL_MESSAGE_BYTES {
            self.batches.push(merged(&[piece.slice(0, 0), piece])?);
            self.held_bytes += bytes + arrays;
        } else {
            self.batches.push(piece);
            self.held_bytes += bytes.max(pinned) + arrays;
        }
        if self.batches.len() == MERGE_BATCHES {
            let one = merged(&self.batches)?;
            self.bytes = batch_bytes(&one) + arrays;
            self.held_bytes = self.bytes;
            self.batches = vec![one];
        }
        Ok(())
    }

    /// Takes all, if there is any.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>, EncodeError> {
        let Self { batches, .. } = std::mem::take(self);
        if batches.is_empty() { Ok(None) } else { merged(&batches).map(Some) }
    }

    /// Takes all, with one more piece after it.
    pub(super) fn take_with(&mut self, piece: RecordBatch) -> Result<RecordBatch, EncodeError> {
        let Self { mut batches, .. } = std::mem::take(self);
        if batches.is_empty() {
            return Ok(piece);
        }
        batches.push(piece);
        merged(&batches)
    }
}

/// One batch of several, copied; a single one as it is.
fn merged(batches: &[RecordBatch]) -> Result<RecordBatch, EncodeError> {
    match batches {
        [one] => Ok(one.clone()),
        [first, ..] => {
            arrow_select::concat::concat_batches(first.schema_ref(), batches).map_err(|error| EncodeError::Data(error.to_string()))
        }
        [] => Err(EncodeError::Data("no rows to merge".into())),
    }
}

/// What the rows of a batch take, counted up to one more than `most`.
pub(super) fn weight(batch: &RecordBatch, most: u64) -> u64 {
    let mut left = most;
    let weighed = batch.columns().iter().try_for_each(|column| weigh(column, 0..column.len(), &mut left));
    weighed.map_or(most + 1, |()| most - left)
}

/// Memory that a batch keeps alive: that of the message its buffers lie in. Exact where that is large; else a column's buffers are taken for
/// two that each name all of it.
fn pinned_bytes(batch: &RecordBatch) -> usize {
    let named = batch.columns().iter().map(|column| column.get_buffer_memory_size()).max().unwrap_or_default();
    if named <= SMALL_MESSAGE_BYTES {
        return named / 2;
    }
    fn largest(data: &ArrayData) -> usize {
        let own = data.buffers().iter().chain(data.nulls().map(|nulls| nulls.buffer())).map(Buffer::capacity).max();
        own.unwrap_or_default().max(data.child_data().iter().map(largest).max().unwrap_or_default())
    }
    batch.columns().iter().map(|column| largest(&column.to_data())).max().unwrap_or_default()
}
