//! The rows of a row group that is to be sorted: they wait, converted, until the group ends, and leave in their order.
//!
//! Values are compared in the order that the footer's sorting columns mean: numbers and times by value, texts and bytes byte by byte, `false`
//! before `true`, floats in IEEE's total order (NaN last). A null is less than any value. Rows that compare equal stay in the order in which they
//! came.

use super::buffered::{ARRAY_BYTES, BufferedRows};
use super::size::batch_bytes;
use crate::encode::EncodeError;
use crate::spec::SortColumn;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, DataType, SchemaRef, SortOptions};
use arrow_select::interleave::interleave_record_batch;
use parquet::file::metadata::SortingColumn;

/// Rows that are put together before they are kept for good, and the bytes of their values: enough that few batches wait.
const CHUNK_ROWS: usize = 16 << 10;
const CHUNK_BYTES: usize = 1 << 20;

/// Rows put in order at once, and bytes of their values, roughly: copies of so much are made.
const SORTED_ROWS: usize = 16 << 10;
const SORTED_BYTES: usize = 4 << 20;

/// What rows of a schema are sorted by.
pub(super) struct Sorter {
    /// The places of the columns.
    places: Vec<usize>,
    converter: RowConverter,
}

impl Sorter {
    /// A sorter by these columns, which are at these places and of these types. [`None`]: there are none.
    pub(super) fn new(columns: &[(usize, &DataType, &SortColumn)]) -> Result<Option<Self>, EncodeError> {
        if columns.is_empty() {
            return Ok(None);
        }
        let fields = columns.iter().map(|(_, of_type, column)| SortField::new_with_options((*of_type).clone(), options(column)));
        let converter = RowConverter::new(fields.collect()).map_err(failed)?;
        Ok(Some(Self { places: columns.iter().map(|(place, ..)| *place).collect(), converter }))
    }
}

/// May rows be sorted by a column of this type? It is the type of a converted column.
pub(super) fn is_sortable(of_type: &DataType) -> bool {
    !of_type.is_nested() && !of_type.is_null()
}

fn options(column: &SortColumn) -> SortOptions {
    SortOptions { descending: column.descending, nulls_first: !column.descending }
}

/// What the footer says of a column that rows are sorted by, which has this leaf.
pub(super) fn in_footer(leaf: usize, column: &SortColumn) -> SortingColumn {
    let SortOptions { descending, nulls_first } = options(column);
    SortingColumn { column_idx: leaf as i32, descending, nulls_first }
}

/// Rows that wait to be sorted.
#[derive(Default)]
pub(super) struct SortBuffer {
    chunks: Vec<RecordBatch>,
    chunks_rows: usize,
    chunks_bytes: usize,
    /// The last of them, until there are enough for a chunk.
    recent: BufferedRows,
    /// What the rows are compared by, in the order in which they came.
    keys: Option<Rows>,
}

impl SortBuffer {
    pub(super) fn rows(&self) -> usize {
        self.chunks_rows + self.recent.rows
    }

    pub(super) fn held_bytes(&self) -> usize {
        // And their places, once they are sorted.
        let places = self.rows() * size_of::<u32>();
        self.chunks_bytes + self.recent.held_bytes + self.keys.as_ref().map_or(0, Rows::size) + places
    }

    /// Keeps converted rows, which were part of so many.
    pub(super) fn keep(
        &mut self,
        sorter: &Sorter,
        schema: &SchemaRef,
        columns: Vec<ArrayRef>,
        whole_rows: usize,
    ) -> Result<(), EncodeError> {
        let by: Vec<ArrayRef> = sorter.places.iter().filter_map(|place| columns.get(*place).cloned()).collect();
        let keys = self.keys.get_or_insert_with(|| sorter.converter.empty_rows(0, 0));
        sorter.converter.append(keys, &by).map_err(failed)?;
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(failed)?;
        let bytes = batch_bytes(&batch);
        self.recent.keep(batch, bytes, whole_rows)?;
        if self.recent.rows >= CHUNK_ROWS || self.recent.bytes >= CHUNK_BYTES {
            self.end_chunk()?;
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), EncodeError> {
        let held = self.recent.held_bytes;
        if let Some(chunk) = self.recent.take()? {
            self.chunks_rows += chunk.num_rows();
            // What was merged lies alone; what was not keeps alive what it did.
            self.chunks_bytes += held.max(batch_bytes(&chunk) + chunk.num_columns() * ARRAY_BYTES);
            self.chunks.push(chunk);
        }
        Ok(())
    }

    /// Hands the rows to `write` in their order, a batch of some after another, and keeps none.
    pub(super) fn drain(&mut self, mut write: impl FnMut(RecordBatch) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
        self.end_chunk()?;
        let Self { chunks, chunks_rows, chunks_bytes, keys, .. } = std::mem::take(self);
        let Some(keys) = keys else { return Ok(()) };
        let mut order: Vec<u32> = (0..chunks_rows as u32).collect();
        order.sort_unstable_by(|one, other| keys.row(*one as usize).cmp(&keys.row(*other as usize)).then(one.cmp(other)));
        drop(keys);
        // Where each chunk begins among all rows.
        let starts: Vec<usize> = chunks.iter().scan(0, |next, chunk| Some(std::mem::replace(next, *next + chunk.num_rows()))).collect();
        let chunks: Vec<&RecordBatch> = chunks.iter().collect();
        let rows = (SORTED_BYTES as u64).saturating_mul(chunks_rows as u64) / (chunks_bytes as u64).max(1);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).clamp(1, SORTED_ROWS);
        for some in order.chunks(rows) {
            let place = |row: &u32| {
                let row = *row as usize;
                let chunk = starts.partition_point(|start| *start <= row) - 1;
                (chunk, row - starts[chunk])
            };
            let places: Vec<(usize, usize)> = some.iter().map(place).collect();
            write(interleave_record_batch(&chunks, &places).map_err(failed)?)?;
        }
        Ok(())
    }
}

/// Columns were converted to types that rows can be sorted by, so this is a fault.
fn failed(error: ArrowError) -> EncodeError {
    EncodeError::Data(format!("the rows cannot be sorted: {error}"))
}
