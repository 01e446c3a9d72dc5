//! Splits batches into pieces, by what their rows take once every reference to a shared value is replaced by the value.
//!
//! A few bytes of a dictionary, of run ends or of views can stand for a value that is referenced any number of times, and a column without buffers
//! can claim any number of rows. Messages contain every value in full, so a batch is measured before anything of that size is allocated: pieces of it
//! are converted to plain columns one after another, and a batch that expands to far more than its size is refused.

use super::InputError;
use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, ByteViewType, Int16Type, Int32Type, Int64Type, RunEndIndexType, StringViewType};
use arrow_array::{Array, ArrayRef, GenericByteViewArray, OffsetSizeTrait, RecordBatch, RunArray};
use arrow_buffer::ArrowNativeType;
use arrow_schema::DataType;
use std::ops::Range;

/// Target size of a piece (a single row may be larger).
const PIECE_BYTES: u64 = 16 << 20;

/// Maximum rows of a piece.
const PIECE_ROWS: usize = 10_000;

/// Maximum expanded bytes of a batch whose values may be referenced many times; or [`MOST_GROWTH`] times its memory, if that is more. The
/// destination's limit for one message is the same.
const MAX_EXPANDED_BYTES: u64 = 2 << 30;

/// See [`MAX_EXPANDED_BYTES`].
const MOST_GROWTH: u64 = 16;

/// Rows that a batch may have on top of eight per byte of its buffers. Only columns of nulls, of runs or of width 0 need fewer bytes.
const MAX_WEIGHTLESS_ROWS: u64 = 1 << 24;

/// What every value counts at least, whatever its length.
const VALUE_BYTES: u64 = 8;

/// Splits a batch into pieces.
pub(crate) struct Pieces<'a> {
    batch: RecordBatch,
    file: &'a str,
    /// Rows of the file before the batch, and rows of the batch before the next piece.
    rows_before: u64,
    taken: usize,
    shares: bool,
    most_row_bytes: u64,
}

impl<'a> Pieces<'a> {
    /// Measures a batch that comes after `rows_before` rows of its file. No row may take more than `most_row_bytes`.
    ///
    /// # Errors
    /// The batch expands to far more than its size.
    pub(crate) fn new(batch: RecordBatch, file: &'a str, rows_before: u64, most_row_bytes: usize) -> Result<Self, InputError> {
        let refuse = |column: &str, problem: String| InputError::Column { file: file.to_owned(), column: column.to_owned(), problem };
        let memory = batch.columns().iter().map(|column| column.get_buffer_memory_size() as u64).fold(0, u64::saturating_add);
        let rows = batch.num_rows() as u64;
        let name = |at: Option<usize>| at.map_or("", |at| batch.schema_ref().field(at).name().as_str());
        if rows > MAX_WEIGHTLESS_ROWS.max(memory.saturating_mul(8)) {
            let problem =
                format!("a record batch claims {rows} rows in {memory} bytes; at most {MAX_WEIGHTLESS_ROWS} are accepted in so few");
            return Err(refuse(name(batch.columns().first().map(|_| 0)), problem));
        }
        let sharing: Vec<usize> = (0..batch.num_columns()).filter(|at| shares(batch.column(*at).data_type())).collect();
        let most = MAX_EXPANDED_BYTES.max(memory.saturating_mul(MOST_GROWTH));
        let mut left = most;
        for at in &sharing {
            weigh(batch.column(*at), 0..batch.num_rows(), &mut left).map_err(|OverBudget| {
                let problem = format!(
                    "its type lets values be named many times over, and with it a record batch of {memory} bytes stands for more than {most}, \
                     which is all that is accepted; write the rows as several batches"
                );
                refuse(name(Some(*at)), problem)
            })?;
        }
        Ok(Self { batch, file, rows_before, taken: 0, shares: !sharing.is_empty(), most_row_bytes: most_row_bytes as u64 })
    }

    /// The number of rows from `taken` on that form a piece.
    fn rows_at_once(&self) -> usize {
        let rest = self.batch.num_rows() - self.taken;
        if !self.shares {
            return rest;
        }
        let mut count = rest.min(PIECE_ROWS);
        while count > 1 && self.bytes_beyond(count, PIECE_BYTES) {
            count /= 2;
        }
        count
    }

    /// Whether this many rows take more than `most` bytes.
    fn bytes_beyond(&self, count: usize, most: u64) -> bool {
        let mut left = most;
        !self.batch.columns().iter().all(|column| weigh(column, self.taken..self.taken + count, &mut left).is_ok())
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.taken == self.batch.num_rows() {
            return None;
        }
        let count = self.rows_at_once();
        // Counting eight bytes too many per value is far less than the size of a row that is too large.
        if self.shares && count == 1 && self.bytes_beyond(1, self.most_row_bytes.saturating_mul(2)) {
            let (row, most) = (self.rows_before + self.taken as u64 + 1, self.most_row_bytes);
            let problem = format!("the values that the row names take more than the {most} bytes that a row may have");
            self.taken = self.batch.num_rows();
            return Some(Err(InputError::Value { file: self.file.to_owned(), row, column: self.names_of_shared(), problem }));
        }
        let piece = self.batch.slice(self.taken, count);
        self.taken += count;
        Some(Ok(piece))
    }
}

impl Pieces<'_> {
    fn names_of_shared(&self) -> String {
        let schema = self.batch.schema_ref();
        let named = schema.fields().iter().filter(|field| shares(field.data_type())).map(|field| field.name().as_str());
        named.take(3).collect::<Vec<_>>().join("`, `")
    }
}

/// The byte budget is used up.
struct OverBudget;

fn take(bytes: u64, left: &mut u64) -> Result<(), OverBudget> {
    *left = left.checked_sub(bytes).ok_or(OverBudget)?;
    Ok(())
}

/// Whether a value of this type may be referenced more than once.
pub(crate) fn shares(data_type: &DataType) -> bool {
    match data_type {
        DataType::BinaryView
        | DataType::Utf8View
        | DataType::Dictionary(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::Map(item, _) => {
            shares(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| shares(field.data_type())),
        _ => false,
    }
}

/// Subtracts the expanded bytes of some rows from `left`. Ends soon after it is used up.
fn weigh(array: &ArrayRef, rows: Range<usize>, left: &mut u64) -> Result<(), OverBudget> {
    take((rows.len() as u64).saturating_mul(VALUE_BYTES), left)?;
    match array.data_type() {
        DataType::Utf8 => take(span(array.as_string::<i32>().value_offsets(), rows).len() as u64, left),
        DataType::LargeUtf8 => take(span(array.as_string::<i64>().value_offsets(), rows).len() as u64, left),
        DataType::Binary => take(span(array.as_binary::<i32>().value_offsets(), rows).len() as u64, left),
        DataType::LargeBinary => take(span(array.as_binary::<i64>().value_offsets(), rows).len() as u64, left),
        DataType::Utf8View => weigh_views::<StringViewType>(array.as_string_view(), rows, left),
        DataType::BinaryView => weigh_views::<BinaryViewType>(array.as_binary_view(), rows, left),
        DataType::FixedSizeBinary(width) => take((width.as_usize() as u64).saturating_mul(rows.len() as u64), left),
        DataType::Dictionary(..) => {
            let Some(dictionary) = array.as_any_dictionary_opt() else { return Ok(()) };
            let values = dictionary.values();
            // Keys of an empty dictionary are all null.
            if values.is_empty() {
                return Ok(());
            }
            let keys = array.slice(rows.start, rows.len());
            let Some(keys) = keys.as_any_dictionary_opt() else { return Ok(()) };
            let is_valid = |row: &usize| keys.keys().is_valid(*row);
            let named = keys.normalized_keys();
            (0..named.len()).filter(is_valid).filter_map(|row| named.get(row)).try_for_each(|key| weigh(values, *key..*key + 1, left))
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => weigh_runs::<Int16Type>(array, rows, left),
            DataType::Int32 => weigh_runs::<Int32Type>(array, rows, left),
            _ => weigh_runs::<Int64Type>(array, rows, left),
        },
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            weigh(list.values(), span(list.value_offsets(), rows), left)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            weigh(list.values(), span(list.value_offsets(), rows), left)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries = span(map.value_offsets(), rows);
            map.entries().columns().iter().try_for_each(|side| weigh(side, entries.clone(), left))
        }
        DataType::FixedSizeList(_, size) => {
            let size = size.as_usize();
            weigh(array.as_fixed_size_list().values(), rows.start * size..rows.end * size, left)
        }
        DataType::ListView(_) => weigh_list_views::<i32>(array, rows, left),
        DataType::LargeListView(_) => weigh_list_views::<i64>(array, rows, left),
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(|child| weigh(child, rows.clone(), left)),
        // Numbers of at most 32 bytes, which the minimum per value covers well enough.
        _ => Ok(()),
    }
}

/// The range of values enclosed by the offsets of some rows.
fn span<O: ArrowNativeType>(offsets: &[O], rows: Range<usize>) -> Range<usize> {
    let at = |row: usize| offsets.get(row).map_or(0, |offset| offset.as_usize());
    at(rows.start)..at(rows.end).max(at(rows.start))
}

fn weigh_views<T: ByteViewType>(array: &GenericByteViewArray<T>, rows: Range<usize>, left: &mut u64) -> Result<(), OverBudget> {
    // The length is in the lowest four bytes.
    let length = |row: usize| array.views().get(row).map_or(0, |view| *view as u32);
    rows.filter(|row| array.is_valid(*row)).try_for_each(|row| take(length(row).into(), left))
}

fn weigh_list_views<O: OffsetSizeTrait>(array: &ArrayRef, rows: Range<usize>, left: &mut u64) -> Result<(), OverBudget> {
    let list = array.as_list_view::<O>();
    rows.filter(|row| list.is_valid(*row)).try_for_each(|row| {
        let start = list.value_offsets().get(row).map_or(0, |it| it.as_usize());
        let size = list.value_sizes().get(row).map_or(0, |it| it.as_usize());
        weigh(list.values(), start..start + size, left)
    })
}

fn weigh_runs<R: RunEndIndexType>(array: &ArrayRef, rows: Range<usize>, left: &mut u64) -> Result<(), OverBudget> {
    let Some(runs) = array.as_any().downcast_ref::<RunArray<R>>() else { return Ok(()) };
    let (ends, first) = (runs.run_ends().values(), runs.offset());
    let (start, end) = (first + rows.start, first + rows.end);
    let mut at = start;
    let mut run = ends.partition_point(|it| it.as_usize() <= start);
    while at < end {
        let Some(run_end) = ends.get(run).map(|it| it.as_usize().min(end)) else { break };
        let mut one = *left;
        weigh(runs.values(), run..run + 1, &mut one)?;
        take((*left - one).saturating_mul((run_end - at) as u64), left)?;
        (at, run) = (run_end, run + 1);
    }
    Ok(())
}
