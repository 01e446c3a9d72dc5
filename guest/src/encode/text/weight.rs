//! About how many bytes rows take, which decides how many of them make a block.

use super::bind::{Bytes, ColumnReader, Extents, Values};
use arrow_array::Array;
use arrow_buffer::ArrowNativeType;
use std::ops::Range;

impl Bytes<'_> {
    fn weight(self, rows: Range<usize>) -> usize {
        match self {
            Self::Small(_) | Self::Large(_) => self.offset(rows.end) - self.offset(rows.start),
            // The view of a null may hold any bits.
            Self::View(array) => {
                let valid = rows.filter(|row| array.is_valid(*row));
                valid.map(|row| array.views()[row] as u32 as usize).fold(0, usize::saturating_add)
            }
        }
    }
}

impl ColumnReader<'_> {
    /// About how many bytes of Arrow some rows hold, with the names inside them, for deciding how many rows make a block.
    /// Cheap: offsets are read, not values.
    pub(crate) fn weight(&self, rows: Range<usize>) -> usize {
        /// Bytes a number counts for.
        const NUMBER: usize = 16;
        if rows.is_empty() {
            return 0;
        }
        let count = rows.len();
        match &self.values {
            Values::Text(bytes) | Values::Binary { bytes, .. } | Values::Inet(bytes) | Values::Mac(bytes) | Values::Json(bytes) => {
                bytes.weight(rows).saturating_add(count)
            }
            Values::FixedBinary(array) | Values::Uuid(array) => count.saturating_mul(array.value_length().as_usize() + 1),
            // Rows may share items or values, in any order. A null's may be anywhere, and be any number.
            Values::List(extents @ (Extents::Views32(..) | Extents::Views64(..)), item) => {
                rows.filter(|row| !self.is_null(*row)).map(|row| item.weight(extents.get(row))).fold(count, usize::saturating_add)
            }
            Values::Dictionary(keys, values) => rows
                .filter(|row| !self.is_null(*row))
                .filter_map(|row| keys.index(row))
                .map(|key| values.weight(key..key + 1))
                .fold(count, usize::saturating_add),
            Values::List(extents, item) => item.weight(extents.get(rows.start).start..extents.get(rows.end - 1).end).saturating_add(count),
            // Names are written with every row.
            Values::Struct(children, plan) => {
                let names = plan.raw.iter().map(|key| key.text.len()).fold(0, usize::saturating_add).saturating_mul(count);
                children.iter().map(|child| child.weight(rows.clone())).fold(names, usize::saturating_add)
            }
            Values::Map(offsets, pair) => {
                let entries = offsets[rows.start].as_usize()..offsets[rows.end].as_usize();
                let items = entries.len().saturating_mul(NUMBER);
                items.saturating_add(pair.0.weight(entries.clone())).saturating_add(pair.1.weight(entries))
            }
            _ => count.saturating_mul(NUMBER),
        }
    }
}
