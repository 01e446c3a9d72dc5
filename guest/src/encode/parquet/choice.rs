//! Which columns get a dictionary: those whose values repeat.
//!
//! A dictionary on a column that does not repeat costs time and size, one on a column that does saves both. The first rows of a row group
//! decide: a sample spread over them is hashed, and a leaf whose sampled values are nearly all different goes without.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, GenericByteArray, types::ByteArrayType};
use arrow_buffer::ArrowNativeType;
use arrow_schema::DataType;

/// Values looked at in a leaf; up to twice as many, so that a few rows are all looked at. Enough to tell 2,500 different dates from 10,000
/// different numbers, and about 2 % of an encoder's time.
const SAMPLE: usize = 1_024;

/// Slots of the set that counts different values: a power of two, at most half full.
const SLOTS: usize = 4 * SAMPLE;

/// With fewer values than this a dictionary gains nothing worth its page.
const LEAST_VALUES: usize = 16;

/// A leaf gets a dictionary if at most this many eighths of its sampled values are different.
const MOST_DISTINCT_EIGHTHS: usize = 7;

/// Leaves of a row group that may have a dictionary. Each begins with some 48 KiB of hash table, so this keeps the widest tables (10,000
/// columns) from taking all of an instance's memory before their first row.
const MOST_DICTIONARIES: usize = 512;

/// Equal neighbours from which on a dictionary packs a run better than snappy does.
const LONG_RUN: usize = 8;

/// Bytes of a value that are hashed, from its start and from its end. Longer values that differ elsewhere alone are rare.
const HASHED_BYTES: usize = 256;

/// Decides for each leaf of converted columns, in the order of the Parquet schema.
pub(super) fn dictionaries(columns: &[ArrayRef]) -> Vec<bool> {
    let mut choices = Vec::with_capacity(columns.len());
    let mut set = Distinct::default();
    for column in columns {
        choose(column, &mut set, &mut choices);
    }
    choices.iter_mut().filter(|chosen| **chosen).skip(MOST_DICTIONARIES).for_each(|chosen| *chosen = false);
    choices
}

fn choose(array: &ArrayRef, set: &mut Distinct, choices: &mut Vec<bool>) {
    match array.data_type() {
        DataType::List(_) => choose(&used(array.as_list::<i32>().values(), array.as_list::<i32>().value_offsets()), set, choices),
        DataType::LargeList(_) => choose(&used(array.as_list::<i64>().values(), array.as_list::<i64>().value_offsets()), set, choices),
        DataType::FixedSizeList(_, _) => choose(array.as_fixed_size_list().values(), set, choices),
        DataType::Struct(_) => array.as_struct().columns().iter().for_each(|child| choose(child, set, choices)),
        DataType::Map(_, _) => {
            let map = array.as_map();
            map.entries().columns().iter().for_each(|child| choose(&used(child, map.value_offsets()), set, choices));
        }
        DataType::Binary => choices.push(bytes_repeat(array.as_binary::<i32>(), set)),
        DataType::LargeBinary => choices.push(bytes_repeat(array.as_binary::<i64>(), set)),
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            choices.push(repeats(values, set, |row| hash(values.value(row))));
        }
        other => match other.primitive_width() {
            Some(width) => choices.push(fixed_repeat(array, width, set)),
            // Booleans and nulls have no dictionary.
            None => choices.push(false),
        },
    }
}

/// The part of a child that a list speaks of.
fn used<O: ArrowNativeType>(child: &ArrayRef, offsets: &[O]) -> ArrayRef {
    let (start, end) = (offsets.first().map_or(0, |at| at.as_usize()), offsets.last().map_or(0, |at| at.as_usize()));
    child.slice(start, end - start)
}

fn bytes_repeat<T: ByteArrayType<Native = [u8]>>(values: &GenericByteArray<T>, set: &mut Distinct) -> bool {
    repeats(values, set, |row| hash(values.value(row)))
}

fn fixed_repeat(array: &ArrayRef, width: usize, set: &mut Distinct) -> bool {
    let data = array.to_data();
    let Some(buffer) = data.buffers().first() else { return false };
    let value = |row: usize| {
        let start = (data.offset() + row) * width;
        buffer.as_slice().get(start..start + width).unwrap_or_default()
    };
    repeats(array, set, |row| hash(value(row)))
}

/// Do the values of an array repeat, as far as a sample can tell?
///
/// Neighbours that are equal count once, unless runs are long: snappy deals with short runs as well as a dictionary does, and a sorted
/// key, four rows each, would waste one.
fn repeats(array: &dyn Array, set: &mut Distinct, hash: impl Fn(usize) -> u64) -> bool {
    set.clear();
    let (mut seen, mut runs, mut previous) = (0, 0, None);
    let step = (array.len() / SAMPLE).max(1);
    for start in (0..array.len()).step_by(step) {
        // Not in even steps: values that come round in a cycle would all look different, or all the same.
        let row = start + (self::hash(&(start as u64).to_le_bytes()) >> 40) as usize % step;
        if row < array.len() && array.is_valid(row) {
            let hash = hash(row);
            seen += 1;
            if previous.replace(hash) != Some(hash) {
                runs += 1;
                set.insert(hash);
            }
        }
    }
    let counted = if runs * LONG_RUN <= seen { seen } else { runs };
    seen >= LEAST_VALUES && set.distinct * 8 <= counted * MOST_DISTINCT_EIGHTHS
}

/// Counts different hashes: open addressing, zero for a free slot.
struct Distinct {
    slots: Vec<u64>,
    distinct: usize,
}

impl Default for Distinct {
    fn default() -> Self {
        Self { slots: vec![0; SLOTS], distinct: 0 }
    }
}

impl Distinct {
    fn clear(&mut self) {
        self.slots.fill(0);
        self.distinct = 0;
    }

    fn insert(&mut self, hash: u64) {
        let hash = hash | 1;
        let mut at = (hash >> 40) as usize % SLOTS;
        // At most half of the slots are ever taken, so a free one is found.
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == hash {
                return;
            }
            if *slot == 0 {
                *slot = hash;
                self.distinct += 1;
                return;
            }
            at = (at + 1) % SLOTS;
        }
    }
}

/// A quick hash of a value's ends and length; the same everywhere, since it decides what is written.
pub(super) fn hash(value: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = (state ^ word).wrapping_mul(MULTIPLIER);
        product ^ (product >> 29)
    };
    let fold = |state: u64, bytes: &[u8]| {
        let (words, rest) = bytes.as_chunks::<8>();
        let state = words.iter().fold(state, |state, word| mix(state, u64::from_le_bytes(*word)));
        rest.iter().fold(state, |state, byte| mix(state, u64::from(*byte)))
    };
    let head = value.get(..HASHED_BYTES).unwrap_or(value);
    let tail = value.len().checked_sub(HASHED_BYTES).and_then(|start| value.get(start.max(HASHED_BYTES)..)).unwrap_or_default();
    fold(fold(mix(MULTIPLIER, value.len() as u64), head), tail).wrapping_mul(MULTIPLIER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int32Type;
    use arrow_array::{BinaryArray, BooleanArray, Int64Array, ListArray, StructArray};
    use std::sync::Arc;

    fn check(array: ArrayRef, expected: &[bool]) {
        assert_eq!(dictionaries(&[array]), expected);
    }

    #[test]
    fn columns_that_repeat_get_a_dictionary() {
        check(Arc::new(Int64Array::from_iter_values((0..10_000).map(|n| n % 50))), &[true]);
        check(Arc::new(BinaryArray::from_iter_values((0..10_000).map(|n| format!("state {}", n % 2_000)))), &[true]);
        check(Arc::new(Int64Array::from_iter_values((0..100).map(|n| n % 3))), &[true]);
        check(Arc::new(Int64Array::from_iter_values((0..1_000).map(|n| n / 100))), &[true]);
        check(Arc::new(Int64Array::from_iter((0..10_000).map(|n| (n % 2 == 0).then_some(n % 9)))), &[true]);
    }

    #[test]
    fn columns_that_do_not_repeat_go_without() {
        check(Arc::new(Int64Array::from_iter_values(0..10_000)), &[false]);
        check(Arc::new(Int64Array::from_iter_values((0..1_000).map(|n| n / 4))), &[false]);
        check(Arc::new(BinaryArray::from_iter_values((0..10_000).map(|n| format!("{n:0>600}")))), &[false]);
        check(Arc::new(BinaryArray::from_iter_values((0..900).map(|n| format!("{n:0<200}{:>300}", "")))), &[false]);
        check(Arc::new(Int64Array::new_null(10_000)), &[false]);
        check(Arc::new(Int64Array::from(vec![1; LEAST_VALUES - 1])), &[false]);
        check(Arc::new(BooleanArray::from(vec![true; 100])), &[false]);
    }

    #[test]
    fn only_so_many_leaves_get_one() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7; 100]));
        let choices = dictionaries(&vec![column; MOST_DICTIONARIES + 1]);
        assert_eq!((choices.iter().filter(|chosen| **chosen).count(), choices.last()), (MOST_DICTIONARIES, Some(&false)));
    }

    #[test]
    fn nested_leaves_are_judged_one_by_one_and_in_order() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>((0..2_000).map(|n| Some(vec![Some(n), Some(n + 1_000_000)])));
        let repeating: ArrayRef = Arc::new(Int64Array::from(vec![7; 2_000]));
        let nested = StructArray::try_from(vec![("l", Arc::new(list) as ArrayRef), ("r", repeating)]).expect("equal lengths");
        check(Arc::new(nested.slice(500, 1_000)), &[false, true]);
    }
}
