//! How much a message stands for, beside how much it is.
//!
//! A few bytes can name a large value again and again (views, dictionaries, list views), a column without buffers can claim rows for
//! nothing, and every row of JSON repeats the columns' names. A [`Budget`] counts all that over one message, so that no message makes the
//! encoders write without end. Columns that store each value once are not looked at: they are as large as their bytes.

use super::IpcError;
use crate::excerpt::quoted;
use crate::limits::{MAX_NAME_TEXT_BYTES, MAX_SHARED_BYTES, MAX_SHARED_ROW_BYTES};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::ArrowNativeType;
use arrow_schema::{DataType, Field, Schema};
use std::ops::Range;

/// What every value counts for, whatever its length: brackets, a comma, the time to write it. It also ends the count of what is empty.
const VALUE_BYTES: u64 = 8;

/// What is left of the bounds of one message.
#[derive(Debug)]
pub(super) struct Budget {
    names: u64,
    shared: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { names: MAX_NAME_TEXT_BYTES, shared: MAX_SHARED_BYTES }
    }
}

impl Budget {
    /// Counts what the names of a batch take, before anything of the size that it claims is made.
    pub(super) fn take_names(&mut self, schema: &Schema, batch: arrow_ipc::RecordBatch<'_>) -> Result<(), IpcError> {
        let mut lengths = batch.nodes().into_iter().flatten().map(|node| u64::try_from(node.length()).unwrap_or(u64::MAX));
        for field in schema.fields() {
            take_field(field, &mut lengths, &mut self.names).map_err(|Spent| {
                let name = quoted(field.name());
                IpcError(format!(
                    "column {name}: with it the message has more rows than {MAX_NAME_TEXT_BYTES} bytes of names and separators hold"
                ))
            })?;
        }
        let rows = u64::try_from(batch.length()).unwrap_or(u64::MAX);
        take(rows.saturating_mul(VALUE_BYTES), &mut self.names)
            .map_err(|Spent| IpcError(format!("the message has more rows than {MAX_NAME_TEXT_BYTES} bytes of separators hold")))
    }

    /// The same for a batch of flat columns, each of whose rows takes `names`. Takes nothing where not enough is left.
    pub(super) fn take_flat_rows(&mut self, rows: usize, names: u64) -> Result<(), Spent> {
        take((rows as u64).saturating_mul(names), &mut self.names)
    }

    /// Counts the bytes of a dictionary that a delta makes the decoder copy.
    pub(super) fn take_copy(&mut self, existing: &ArrayRef) -> Result<(), IpcError> {
        take(existing.get_buffer_memory_size() as u64, &mut self.shared)
            .map_err(|Spent| IpcError(format!("the dictionaries grow in so many steps that {MAX_SHARED_BYTES} bytes would be copied")))
    }

    /// Counts the values of columns that may name one value many times. A row of no more than the message, whose dictionaries come before the
    /// batch, is no larger than it looks.
    pub(super) fn take_values(&mut self, batch: &RecordBatch, message_bytes: usize) -> Result<(), IpcError> {
        let sharing = || batch.schema_ref().fields().iter().zip(batch.columns()).filter(|(field, _)| shares(field.data_type()));
        let refuse = |field: &Field, what: &str, most: u64| {
            let name = quoted(field.name());
            IpcError(format!(
                "column {name}: its type lets values be named many times over, and with it {what} takes more than {most} bytes"
            ))
        };
        let before = self.shared;
        for (field, column) in sharing() {
            weigh(column, 0..column.len(), &mut self.shared).map_err(|Spent| refuse(field, "the message", MAX_SHARED_BYTES))?;
        }
        let most_a_row = MAX_SHARED_ROW_BYTES.max(message_bytes as u64);
        if before - self.shared <= most_a_row {
            return Ok(());
        }
        for row in 0..batch.num_rows() {
            let mut left = most_a_row;
            for (field, column) in sharing() {
                weigh(column, row..row + 1, &mut left).map_err(|Spent| refuse(field, "a row", most_a_row))?;
            }
        }
        Ok(())
    }
}

/// What [`Budget::take_names`] counts for a row of flat columns.
pub(super) fn names_of_flat_row(schema: &Schema) -> u64 {
    VALUE_BYTES + schema.fields().iter().map(|field| field.name().len() as u64 + VALUE_BYTES).sum::<u64>()
}

/// Nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

fn take(bytes: u64, left: &mut u64) -> Result<(), Spent> {
    *left = left.checked_sub(bytes).ok_or(Spent)?;
    Ok(())
}

/// Takes the lengths of a field's nodes, in the order of the format.
fn take_field(field: &Field, lengths: &mut dyn Iterator<Item = u64>, left: &mut u64) -> Result<(), Spent> {
    // Too few nodes are left to the decoder to refuse.
    let rows = lengths.next().unwrap_or_default();
    take(rows.saturating_mul(field.name().len() as u64 + VALUE_BYTES), left)?;
    match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => take_field(item, lengths, left),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| take_field(field, lengths, left)),
        _ => Ok(()),
    }
}

/// May a value of this type be named more than once?
pub(crate) fn shares(data_type: &DataType) -> bool {
    match data_type {
        DataType::BinaryView | DataType::Utf8View | DataType::Dictionary(..) | DataType::ListView(_) | DataType::LargeListView(_) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) | DataType::Map(item, _) => {
            shares(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| shares(field.data_type())),
        _ => false,
    }
}

/// Takes the bytes of some rows, each value as often as it is named. Ends soon after `left` is spent, however the rows are nested.
pub(crate) fn weigh(array: &ArrayRef, rows: Range<usize>, left: &mut u64) -> Result<(), Spent> {
    take((rows.len() as u64).saturating_mul(VALUE_BYTES), left)?;
    let span = |first: usize, last: usize, left: &mut u64| take(last.saturating_sub(first) as u64, left);
    match array.data_type() {
        DataType::Binary => {
            let offsets = array.as_binary::<i32>().value_offsets();
            span(offsets[rows.start].as_usize(), offsets[rows.end].as_usize(), left)
        }
        DataType::LargeBinary => {
            let offsets = array.as_binary::<i64>().value_offsets();
            span(offsets[rows.start].as_usize(), offsets[rows.end].as_usize(), left)
        }
        DataType::BinaryView => {
            let views = array.as_binary_view().views();
            // The length is in the lowest four bytes.
            rows.filter(|row| array.is_valid(*row)).try_for_each(|row| take(u64::from(views[row] as u32), left))
        }
        DataType::FixedSizeBinary(width) => take(width.as_usize() as u64 * rows.len() as u64, left),
        DataType::Dictionary(..) => weigh_named(array, rows, left),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            weigh(list.values(), offsets[rows.start].as_usize()..offsets[rows.end].as_usize(), left)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            weigh(list.values(), offsets[rows.start].as_usize()..offsets[rows.end].as_usize(), left)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let offsets = map.value_offsets();
            let entries = offsets[rows.start].as_usize()..offsets[rows.end].as_usize();
            map.entries().columns().iter().try_for_each(|child| weigh(child, entries.clone(), left))
        }
        DataType::FixedSizeList(_, size) => {
            let size = size.as_usize();
            weigh(array.as_fixed_size_list().values(), rows.start * size..rows.end * size, left)
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let (offsets, sizes) = (list.value_offsets(), list.value_sizes());
            rows.filter(|row| array.is_valid(*row)).try_for_each(|row| {
                let start = offsets[row].as_usize();
                weigh(list.values(), start..start + sizes[row].as_usize(), left)
            })
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            let (offsets, sizes) = (list.value_offsets(), list.value_sizes());
            rows.filter(|row| array.is_valid(*row)).try_for_each(|row| {
                let start = offsets[row].as_usize();
                weigh(list.values(), start..start + sizes[row].as_usize(), left)
            })
        }
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(|child| weigh(child, rows.clone(), left)),
        // Numbers of 32 bytes at most, which the allowance for a value covers well enough.
        _ => Ok(()),
    }
}

/// How many rows from `start` on, up to `most`, take no more than `bytes` written out; at least one.
pub(crate) fn light_rows(batch: &RecordBatch, start: usize, most: usize, bytes: u64) -> usize {
    let is_light = |count: usize| {
        let mut left = bytes;
        batch.columns().iter().all(|column| weigh(column, start..start + count, &mut left).is_ok())
    };
    let mut count = most;
    while count > 1 && !is_light(count) {
        count /= 2;
    }
    count
}

/// Takes the bytes of the values that a dictionary's keys name.
fn weigh_named(array: &ArrayRef, rows: Range<usize>, left: &mut u64) -> Result<(), Spent> {
    macro_rules! weigh_keys {
        ($($width:ident => $key:ty),*) => {
            match array.data_type() {
                $(DataType::Dictionary(key, _) if **key == DataType::$width => {
                    let dictionary = array.as_dictionary::<$key>();
                    let (keys, values) = (dictionary.keys(), dictionary.values());
                    rows.filter(|row| keys.is_valid(*row)).try_for_each(|row| {
                        let key = keys.value(row).as_usize();
                        // A key was checked against the values when the array was made.
                        if key < values.len() { weigh(values, key..key + 1, left) } else { Ok(()) }
                    })
                })*
                _ => Ok(()),
            }
        };
    }
    weigh_keys!(Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
        UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type)
}
