//! Values that Parquet has no type for, as the text they have in CSV: the text encoders' own, so that there is one of each.

use super::budget::{ConversionBudget, Reason};
use super::plan::Text;
use crate::encode::text::{ColumnReader, TextFormat, ValueKind};
use arrow_array::cast::AsArray;
use arrow_array::{Array, BinaryArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};

/// Room that is made for the text of one value: a UUID's 36 characters fit with one growth at most, durations and addresses with none.
const EXPECTED_BYTES: u64 = 24;

/// Bytes of the text that stands for no hardware address.
const NO_MAC_BYTES: u64 = 17;

/// The text of each value; null where the array is null.
pub(super) fn column(text: Text, array: &dyn Array, budget: &mut ConversionBudget) -> Result<BinaryArray, Reason> {
    let kind = kind(text);
    let cells = ColumnReader::new(&kind, array).map_err(|mismatch| mismatch.0)?;
    let mut bytes = Vec::with_capacity(budget.take(text_bytes(text, array))?);
    let mut offsets = Vec::with_capacity(array.len() + 1);
    offsets.push(0_i32);
    for row in 0..array.len() {
        cells.push(&mut bytes, row, TextFormat::Csv).map_err(|error| error.to_string())?;
        offsets.push(i32::try_from(bytes.len()).map_err(|_| "more than 2 GiB of text in one record batch".to_string())?);
    }
    BinaryArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes.into(), array.nulls().cloned())
        .map_err(|error| error.to_string())
}

/// Bytes of all texts: exactly where values may be large, else about so many.
fn text_bytes(text: Text, array: &dyn Array) -> u64 {
    let of_each = |bytes: &dyn Fn(u64) -> u64| {
        let length = |row: usize| match (array.as_binary_opt::<i32>(), array.as_binary_opt::<i64>()) {
            (Some(values), _) => values.value(row).len() as u64,
            (_, Some(values)) => values.value(row).len() as u64,
            _ => 0,
        };
        (0..array.len()).filter(|row| array.is_valid(*row)).map(|row| bytes(length(row))).sum::<u64>()
    };
    match text {
        Text::Base64 => of_each(&|bytes| bytes.div_ceil(3) * 4),
        Text::Mac => of_each(&|bytes| (3 * bytes).max(NO_MAC_BYTES)),
        Text::Duration(_) | Text::TimeOfDay(_) | Text::Interval | Text::Uuid | Text::Inet => EXPECTED_BYTES * array.len() as u64,
    }
}

fn kind(text: Text) -> ValueKind {
    match text {
        Text::Duration(unit) => ValueKind::Duration(unit),
        Text::TimeOfDay(unit) => ValueKind::TimeOfDay(unit),
        // The array says which unit it counts.
        Text::Interval => ValueKind::Interval,
        Text::Uuid => ValueKind::Uuid,
        Text::Inet => ValueKind::Inet,
        Text::Mac => ValueKind::Mac,
        Text::Base64 => ValueKind::Binary,
    }
}
