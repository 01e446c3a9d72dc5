//! The smallest and the largest value of a page and of a chunk.

use crate::limits::MAX_STATISTICS_BYTES;
use parquet::basic::{LogicalType, Type as Physical};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;
use std::cmp::Ordering;

/// Bytes of a bound in the footer at most; a longer one is cut, the upper one upwards. As other writers do.
const MOST_BYTES: usize = 64;

/// The bounds of a page or chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bounds {
    /// `flip` is laid over both to compare them.
    Numbers {
        low: i128,
        high: i128,
        flip: i128,
    },
    Bytes {
        low: Vec<u8>,
        high: Vec<u8>,
    },
}

/// What is known of the bounds of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PageBounds {
    /// All values are null.
    NoValues,
    Known(Bounds),
    /// A bound would take more than [`MAX_STATISTICS_BYTES`]: the chunk then has no bounds.
    TooLong,
}

impl PageBounds {
    pub(super) fn known(&self) -> Option<&Bounds> {
        match self {
            Self::Known(bounds) => Some(bounds),
            Self::NoValues | Self::TooLong => None,
        }
    }
}

impl Bounds {
    /// Memory beside the struct itself.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Numbers { .. } => 0,
            Self::Bytes { low, high } => low.capacity() + high.capacity(),
        }
    }

    /// The bounds of both.
    pub(super) fn with(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Numbers { low, high, flip }, Self::Numbers { low: other_low, high: other_high, .. }) => {
                Self::Numbers { low: (low ^ flip).min(other_low ^ flip) ^ flip, high: (high ^ flip).max(other_high ^ flip) ^ flip, flip }
            }
            (Self::Bytes { low, high }, Self::Bytes { low: other_low, high: other_high }) => {
                Self::Bytes { low: low.min(other_low.clone()), high: high.max(other_high.clone()) }
            }
            (one, _) => one,
        }
    }

    /// How the lower and the upper bounds compare with those of the next page.
    pub(super) fn compare(&self, next: &Self) -> [Ordering; 2] {
        match (self, next) {
            (Self::Numbers { low, high, flip }, Self::Numbers { low: next_low, high: next_high, .. }) => {
                [(low ^ flip).cmp(&(next_low ^ flip)), (high ^ flip).cmp(&(next_high ^ flip))]
            }
            (Self::Bytes { low, high }, Self::Bytes { low: next_low, high: next_high }) => [low.cmp(next_low), high.cmp(next_high)],
            _ => [Ordering::Less, Ordering::Greater],
        }
    }

    /// As the column index holds them.
    pub(super) fn encoded(&self, descr: &ColumnDescriptor) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Numbers { low, high, .. } => (number(*low, descr), number(*high, descr)),
            Self::Bytes { low, high } if descr.physical_type() == Physical::BYTE_ARRAY => (cut_low(low, descr).0, cut_high(high, descr).0),
            Self::Bytes { low, high } => (low.clone(), high.clone()),
        }
    }

    /// As the footer holds them.
    pub(super) fn statistics(bounds: Option<&Self>, descr: &ColumnDescriptor, nulls: u64) -> Statistics {
        let signed = descr.sort_order().is_signed();
        let numbers = match bounds {
            Some(Self::Numbers { low, high, .. }) => Some((*low, *high)),
            _ => None,
        };
        match descr.physical_type() {
            Physical::INT32 => {
                let (low, high) = numbers.map(|(low, high)| (low as i32, high as i32)).unzip();
                ValueStatistics::new(low, high, None, Some(nulls), false).with_backwards_compatible_min_max(signed).into()
            }
            Physical::INT64 => {
                let (low, high) = numbers.map(|(low, high)| (low as i64, high as i64)).unzip();
                ValueStatistics::new(low, high, None, Some(nulls), false).with_backwards_compatible_min_max(signed).into()
            }
            Physical::FIXED_LEN_BYTE_ARRAY => {
                let (low, high) = bounds.map(|bounds| bounds.encoded(descr)).unzip();
                let value = |bytes: Vec<u8>| FixedLenByteArray::from(ByteArray::from(bytes));
                ValueStatistics::new(low.map(value), high.map(value), None, Some(nulls), false)
                    .with_backwards_compatible_min_max(signed)
                    .into()
            }
            _ => {
                let (low, high) = match bounds {
                    Some(Self::Bytes { low, high }) => (Some(cut_low(low, descr)), Some(cut_high(high, descr))),
                    _ => (None, None),
                };
                let exact = |bound: &Option<(Vec<u8>, bool)>| bound.as_ref().is_none_or(|(_, exact)| *exact);
                let (low_is_exact, high_is_exact) = (exact(&low), exact(&high));
                let value = |bound: Option<(Vec<u8>, bool)>| bound.map(|(bytes, _)| ByteArray::from(bytes));
                let statistics = ValueStatistics::new(value(low), value(high), None, Some(nulls), false);
                statistics.with_backwards_compatible_min_max(signed).with_min_is_exact(low_is_exact).with_max_is_exact(high_is_exact).into()
            }
        }
    }
}

fn number(number: i128, descr: &ColumnDescriptor) -> Vec<u8> {
    match descr.physical_type() {
        Physical::INT32 => (number as i32).to_le_bytes().to_vec(),
        Physical::INT64 => (number as i64).to_le_bytes().to_vec(),
        _ => {
            let bytes = usize::try_from(descr.type_length()).unwrap_or_default().min(size_of::<i128>());
            number.to_be_bytes().split_at(size_of::<i128>() - bytes).1.to_vec()
        }
    }
}

fn is_text(descr: &ColumnDescriptor) -> bool {
    descr.logical_type_ref() == Some(&LogicalType::String)
}

/// A value no larger, of at most [`MOST_BYTES`], and whether it is the bound itself.
fn cut_low(bound: &[u8], descr: &ColumnDescriptor) -> (Vec<u8>, bool) {
    let Some(head) = bound.get(..MOST_BYTES).filter(|head| head.len() < bound.len()) else { return (bound.to_vec(), true) };
    let head = if is_text(descr) { whole_characters(head) } else { head };
    (head.to_vec(), false)
}

/// A value no smaller, of at most [`MOST_BYTES`] where there is one, and whether it is the bound itself.
fn cut_high(bound: &[u8], descr: &ColumnDescriptor) -> (Vec<u8>, bool) {
    let Some(head) = bound.get(..MOST_BYTES).filter(|head| head.len() < bound.len()) else { return (bound.to_vec(), true) };
    raised(head, is_text(descr)).map_or_else(|| (bound.to_vec(), true), |raised| (raised, false))
}

/// The start of UTF-8 text without a character that was cut.
fn whole_characters(head: &[u8]) -> &[u8] {
    match std::str::from_utf8(head) {
        Ok(_) => head,
        Err(error) => head.get(..error.valid_up_to()).unwrap_or_default(),
    }
}

/// A value above all that begin with these bytes, if there is one.
fn raised(head: &[u8], text: bool) -> Option<Vec<u8>> {
    if text { raised_text(whole_characters(head)) } else { raised_bytes(head) }
}

/// The shortest bytes above all that begin with these.
fn raised_bytes(head: &[u8]) -> Option<Vec<u8>> {
    let last = head.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut raised = head.get(..=last)?.to_vec();
    *raised.last_mut()? += 1;
    Some(raised)
}

/// The longest text above all that begin with this one, whose last character is raised by one without taking more bytes.
fn raised_text(head: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(head).ok()?;
    let raised = |last: char| char::from_u32(last as u32 + 1).filter(|next| next.len_utf8() == last.len_utf8());
    let (at, next) = text.char_indices().rev().find_map(|(at, last)| Some((at, raised(last)?)))?;
    let mut result = text.get(..at)?.to_owned();
    result.push(next);
    Some(result.into_bytes())
}

/// What byte strings are, and so how much of a bound is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// All of it: values of a fixed length, whose bounds are not cut.
    Whole,
    /// As much as it is cut from; one byte more shows that there was more. A cell may have 200 MiB.
    Head { text: bool },
}

impl Kept {
    fn head(self, value: &[u8]) -> &[u8] {
        match self {
            Self::Whole => value,
            Self::Head { .. } => value.get(..=MOST_BYTES).unwrap_or(value),
        }
    }

    /// As much as an upper bound is made of, and whether that is all: the value itself where nothing above all values of its head is short.
    fn high(self, value: &[u8]) -> (&[u8], bool) {
        match (self, value.get(..MOST_BYTES)) {
            (Self::Head { text }, Some(head)) if raised(head, text).is_some() => (self.head(value), false),
            _ => (value, true),
        }
    }
}

/// Finds the bounds of byte strings, most of them by their first eight bytes alone.
#[derive(Debug)]
pub(super) struct ByteBounds {
    kept: Kept,
    bounds: Option<(Vec<u8>, Vec<u8>)>,
    /// Is the upper one the value itself, however long?
    high_is_whole: bool,
    /// Is a bound longer than may be kept? Then it is left out.
    too_long: bool,
    low: u64,
    high: u64,
}

impl ByteBounds {
    pub(super) fn new(kept: Kept) -> Self {
        Self { kept, bounds: None, high_is_whole: false, too_long: false, low: 0, high: 0 }
    }

    /// Looks at a value.
    #[inline(always)]
    pub(super) fn note(&mut self, value: &[u8]) {
        let head = head(value);
        if self.bounds.is_none() || head <= self.low || head >= self.high {
            self.compare(value, head);
        }
    }

    fn compare(&mut self, value: &[u8], head: u64) {
        if value.len() > MAX_STATISTICS_BYTES && (self.kept == Kept::Whole || self.kept.high(value).1) {
            self.too_long = true;
        }
        if self.too_long {
            return;
        }
        match &mut self.bounds {
            None => {
                (self.low, self.high) = (head, head);
                let (high, whole) = self.kept.high(value);
                self.bounds = Some((self.kept.head(value).to_vec(), high.to_vec()));
                self.high_is_whole = whole;
            }
            Some((low, high)) => {
                let start = self.kept.head(value);
                if start < low.as_slice() {
                    low.clear();
                    low.extend_from_slice(start);
                    self.low = head;
                }
                if (if self.high_is_whole { value } else { start }) > high.as_slice() {
                    let (kept, whole) = self.kept.high(value);
                    high.clear();
                    high.extend_from_slice(kept);
                    (self.high, self.high_is_whole) = (head, whole);
                }
            }
        }
    }

    /// What was found; begins anew.
    pub(super) fn take(&mut self) -> PageBounds {
        match (std::mem::take(&mut self.too_long), self.bounds.take()) {
            (true, _) => PageBounds::TooLong,
            (false, Some((low, high))) => PageBounds::Known(Bounds::Bytes { low, high }),
            (false, None) => PageBounds::NoValues,
        }
    }
}

/// The first eight bytes as a number that compares as they do; what is missing counts as zero.
#[inline(always)]
fn head(value: &[u8]) -> u64 {
    match value.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => value.iter().fold(0, |head, byte| head << 8 | u64::from(*byte)) << (8 * (8 - value.len() as u32) % 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::schema::types::{ColumnPath, Type};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn descr(text: bool) -> ColumnDescriptor {
        let logical = text.then_some(LogicalType::String);
        let leaf = Type::primitive_type_builder("c", Physical::BYTE_ARRAY).with_logical_type(logical).build().expect("a type");
        ColumnDescriptor::new(Arc::new(leaf), 0, 0, ColumnPath::from("c"))
    }

    /// The largest bound that is kept, and one byte more.
    #[test]
    fn bounds_of_more_than_4_kib_are_not_kept() {
        let found = |kept: Kept, values: &[Vec<u8>]| {
            let mut bounds = ByteBounds::new(kept);
            values.iter().for_each(|value| bounds.note(value));
            let found = bounds.take();
            assert_eq!(bounds.take(), PageBounds::NoValues, "the next page begins anew");
            assert!(found.known().is_none_or(|bounds| bounds.held_bytes() <= 2 * MAX_STATISTICS_BYTES));
            found == PageBounds::TooLong
        };
        let long = |byte: u8, more: usize| vec![byte; MAX_STATISTICS_BYTES + more];
        let text = Kept::Head { text: false };
        for (kept, byte) in [(Kept::Whole, b'x'), (text, u8::MAX)] {
            assert!(!found(kept, &[long(byte, 0)]) && found(kept, &[long(byte, 1)]));
            assert!(found(kept, &[b"a".to_vec(), long(byte, 1), long(byte, 0)]) && found(kept, &[long(byte, 0), long(byte, 1)]));
        }
        assert!(!found(text, &[long(b'x', 1 << 20), b"y".to_vec()]), "of these a head is enough");
    }

    proptest! {
        #[test]
        fn bounds_are_the_smallest_and_the_largest(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..40)) {
            for kept in [Kept::Whole, Kept::Head { text: false }] {
                let mut bounds = ByteBounds::new(kept);
                values.iter().for_each(|value| bounds.note(value));
                let expected = Bounds::Bytes { low: values.iter().min().cloned().expect("some"), high: values.iter().max().cloned().expect("some") };
                prop_assert_eq!(bounds.take(), PageBounds::Known(expected));
            }
        }

        /// Of long values that begin alike no more is kept than the footer says of them, and it says the same.
        #[test]
        fn bounds_of_heads_are_cut_as_those_of_the_whole(
            values in prop::collection::vec((0_usize..4, 60_usize..67, "[a-c\u{7f}\u{e9}]{0,4}"), 1..12),
            binary in any::<bool>(),
        ) {
            let starts = ["a", "\u{7f}", "\u{10ffff}", "\u{e9}"];
            let values: Vec<Vec<u8>> = values.into_iter().map(|(start, length, rest)| {
                let start = if binary && start == 2 { vec![u8::MAX; 1] } else { starts[start].as_bytes().to_vec() };
                [start.repeat(length.div_ceil(start.len())), rest.into_bytes()].concat()
            }).collect();
            let descr = descr(!binary);
            let found = |kept: Kept| {
                let mut bounds = ByteBounds::new(kept);
                values.iter().for_each(|value| bounds.note(value));
                let PageBounds::Known(bounds) = bounds.take() else { panic!("some") };
                (bounds.encoded(&descr), format!("{:?}", Bounds::statistics(Some(&bounds), &descr, 0)))
            };
            prop_assert_eq!(found(Kept::Head { text: !binary }), found(Kept::Whole));
        }

        #[test]
        fn raised_text_is_above_whatever_follows(text in "\\PC{0,20}", rest in "\\PC{0,5}") {
            if let Some(raised) = raised_text(text.as_bytes()) {
                let longer = [text.as_str(), rest.as_str()].concat();
                prop_assert!(raised.as_slice() > longer.as_bytes());
                prop_assert!(std::str::from_utf8(&raised).is_ok() && raised.len() <= text.len());
            }
        }

        #[test]
        fn raised_bytes_are_above_whatever_follows(bytes in prop::collection::vec(250_u8..=255, 0..6), rest in prop::collection::vec(any::<u8>(), 0..4)) {
            match raised_bytes(&bytes) {
                Some(raised) => prop_assert!(raised > [bytes, rest].concat()),
                None => prop_assert!(bytes.iter().all(|byte| *byte == 255)),
            }
        }
    }
}
