//! How many bytes the values of a batch take.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::ArrowNativeType;
use arrow_schema::DataType;
use std::ops::Range;

/// Bytes of a batch's values, without what its buffers hold besides.
pub(super) fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).sum()
}

/// The same of an array.
pub(super) fn array_bytes(array: &ArrayRef) -> usize {
    let span = |child: &ArrayRef, first: usize, last: usize| array_bytes(&child.slice(first, last - first));
    let nulls = if array.nulls().is_some() { array.len().div_ceil(8) } else { 0 };
    let values = match array.data_type() {
        DataType::Binary => 4 * array.len() + span_of(array.as_binary::<i32>().value_offsets()).len(),
        DataType::LargeBinary => 8 * array.len() + span_of(array.as_binary::<i64>().value_offsets()).len(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let used = span_of(list.value_offsets());
            4 * array.len() + span(list.values(), used.start, used.end)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let used = span_of(list.value_offsets());
            8 * array.len() + span(list.values(), used.start, used.end)
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let used = span_of(map.value_offsets());
            4 * array.len() + map.entries().columns().iter().map(|child| span(child, used.start, used.end)).sum::<usize>()
        }
        DataType::FixedSizeList(_, _) => array_bytes(array.as_fixed_size_list().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(array_bytes).sum(),
        DataType::FixedSizeBinary(width) => array.len() * width.as_usize(),
        DataType::Boolean => array.len().div_ceil(8),
        other => match other.primitive_width() {
            Some(width) => array.len() * width,
            // Dictionaries and nulls.
            None => array.get_buffer_memory_size(),
        },
    };
    nulls + values
}

fn span_of<O: ArrowNativeType>(offsets: &[O]) -> Range<usize> {
    offsets.first().map_or(0, |first| first.as_usize())..offsets.last().map_or(0, |last| last.as_usize())
}
