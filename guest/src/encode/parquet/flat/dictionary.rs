//! Dictionaries: each different value once, and for every value its place.

use super::page::write_hybrid;
use crate::bytes::same;
use crate::encode::parquet::choice::hash;
use arrow_buffer::ArrowNativeType;

/// Bytes of a dictionary at which it takes no more values.
const DICTIONARY_BYTES: usize = 1 << 20;

/// A number that a column holds.
pub(super) trait Number: ArrowNativeType + Ord {
    /// Bytes that a store may write too much.
    const SLACK: usize;

    /// Well mixed in its upper bits.
    fn hash(self) -> u64;
    /// The exclusive or of two.
    fn xor(self, other: Self) -> Self;
    /// As the widest of its kind.
    fn wide(self) -> i128;
    /// The number whose bytes begin with the lowest `bytes` of this one, the highest of them first.
    fn highest_first(self, bytes: usize) -> Self;
    /// Stores all of its bytes, the lowest first.
    fn store(self, out: &mut [u8], at: usize);
}

/// A factor whose products have well-mixed upper bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

macro_rules! number {
    ($($type:ty, |$value:ident| $folded:expr;)*) => {$(
        impl Number for $type {
            const SLACK: usize = size_of::<Self>();

            #[inline(always)]
            fn hash(self) -> u64 {
                let $value = self;
                let folded: u64 = $folded;
                folded.wrapping_mul(MULTIPLIER)
            }

            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }

            fn wide(self) -> i128 {
                self.into()
            }

            #[inline(always)]
            fn highest_first(self, bytes: usize) -> Self {
                (self << (8 * (size_of::<Self>() - bytes))).swap_bytes()
            }

            #[inline(always)]
            fn store(self, out: &mut [u8], at: usize) {
                out[at..at + size_of::<Self>()].copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

number! {
    i32, |value| value as u64;
    i64, |value| value as u64 ^ (value as u64 >> 32);
    i128, |value| (value as u64).wrapping_mul(MULTIPLIER) ^ (value >> 64) as u64 ^ (value as u64 >> 32);
}

/// Slots of a new table; a power of two.
const FIRST_SLOTS: usize = 256;

/// Open addressing over places: zero for a free slot, else the place plus one, under the upper half of its hash.
#[derive(Debug)]
struct Slots {
    slots: Vec<u64>,
    taken: usize,
}

impl Default for Slots {
    fn default() -> Self {
        Self { slots: vec![0; FIRST_SLOTS], taken: 0 }
    }
}

impl Slots {
    /// The place of the value with this hash, for which `is` answers true; or a new one, and the table has grown by it.
    #[inline(always)]
    fn place(&mut self, hash: u64, mut is: impl FnMut(usize) -> bool) -> Result<u32, u32> {
        let mask = self.slots.len() - 1;
        let tag = hash & 0xffff_ffff_0000_0000;
        let mut at = self.first(hash);
        loop {
            // The mask keeps it within the table.
            let slot = self.slots.get(at & mask).copied().unwrap_or_default();
            if slot == 0 {
                break;
            }
            let place = (slot as u32).wrapping_sub(1);
            if slot & 0xffff_ffff_0000_0000 == tag && is(place as usize) {
                return Ok(place);
            }
            at += 1;
        }
        let place = self.taken as u32;
        self.put(at & mask, tag | u64::from(place + 1));
        self.taken += 1;
        if self.taken * 2 > self.slots.len() {
            self.grow();
        }
        Err(place)
    }

    /// The first slot to look at: the uppermost bits of the hash.
    #[inline(always)]
    fn first(&self, hash: u64) -> usize {
        (hash >> 32).wrapping_mul(MULTIPLIER).checked_shr(u64::BITS - self.slots.len().trailing_zeros()).unwrap_or_default() as usize
    }

    fn put(&mut self, at: usize, slot: u64) {
        if let Some(free) = self.slots.get_mut(at) {
            *free = slot;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; 4 * old.len()];
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = self.first(slot);
            while self.slots.get(at & mask).is_some_and(|taken| *taken != 0) {
                at += 1;
            }
            self.put(at & mask, slot);
        }
    }
}

/// What both kinds of dictionaries tell of themselves.
pub(super) trait Dictionary {
    /// How many values it has.
    fn len(&self) -> usize;
    /// Bytes of the values.
    fn bytes(&self) -> usize;
    /// Memory.
    fn held_bytes(&self) -> usize;
    /// Gives the table back: nothing is looked up any more.
    fn forget_slots(&mut self);
}

impl<T: Number> Dictionary for NumberDictionary<T> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn bytes(&self) -> usize {
        self.values.len() * size_of::<T>()
    }

    fn held_bytes(&self) -> usize {
        self.slots.slots.capacity() * size_of::<u64>() + self.values.capacity() * size_of::<T>()
    }

    fn forget_slots(&mut self) {
        self.slots.slots = Vec::new();
    }
}

impl Dictionary for ByteDictionary {
    fn len(&self) -> usize {
        self.ends.len()
    }

    /// With their lengths.
    fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>()
    }

    fn held_bytes(&self) -> usize {
        self.slots.slots.capacity() * size_of::<u64>() + self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    fn forget_slots(&mut self) {
        self.slots.slots = Vec::new();
    }
}

/// A column's dictionary, if it has one, and the places of the page's values in it.
#[derive(Debug)]
pub(super) struct Coded<D> {
    dictionary: Option<D>,
    shut: bool,
    places: Vec<u32>,
}

impl<D: Dictionary + Default> Coded<D> {
    pub(super) fn new(dictionary: bool) -> Self {
        Self { dictionary: dictionary.then(D::default), shut: false, places: Vec::new() }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>() + self.dictionary.as_ref().map_or(0, D::held_bytes)
    }

    /// The dictionary, and where places go, while it takes values.
    #[inline(always)]
    pub(super) fn open(&mut self) -> Option<(&mut D, &mut Vec<u32>)> {
        let dictionary = self.dictionary.as_mut().filter(|_| !self.shut)?;
        Some((dictionary, &mut self.places))
    }

    /// Has it more than [`DICTIONARY_BYTES`], and still takes values?
    pub(super) fn is_full(&self) -> bool {
        !self.shut && self.dictionary.as_ref().is_some_and(|dictionary| dictionary.bytes() >= DICTIONARY_BYTES)
    }

    /// Appends the places of the page, and shows the dictionary with which of its values they name; false if it takes no values. A full
    /// dictionary takes none after this.
    pub(super) fn end_page(&mut self, body: &mut Vec<u8>, show: impl FnOnce(&D, &[bool])) -> bool {
        let full = self.is_full();
        let Some((dictionary, places)) = self.open() else { return false };
        let mut used = vec![false; dictionary.len()];
        for place in places.iter() {
            if let Some(used) = used.get_mut(*place as usize) {
                *used = true;
            }
        }
        show(dictionary, &used);
        write_hybrid(body, places, dictionary.len());
        places.clear();
        if full {
            dictionary.forget_slots();
            *places = Vec::new();
            self.shut = true;
        }
        true
    }

    /// Lets the dictionary take no more; no places wait for the end of a page. One that has no values was never there.
    pub(super) fn shut(&mut self) {
        let Some((dictionary, places)) = self.open() else { return };
        dictionary.forget_slots();
        *places = Vec::new();
        self.shut = true;
        self.dictionary = self.dictionary.take().filter(|dictionary| dictionary.len() > 0);
    }

    /// The dictionary, for its page.
    pub(super) fn dictionary(&self) -> Option<&D> {
        self.dictionary.as_ref()
    }
}

/// A dictionary of numbers.
#[derive(Debug)]
pub(super) struct NumberDictionary<T> {
    slots: Slots,
    values: Vec<T>,
    last: Option<(T, u32)>,
}

impl<T> Default for NumberDictionary<T> {
    fn default() -> Self {
        Self { slots: Slots::default(), values: Vec::new(), last: None }
    }
}

impl<T: Number> NumberDictionary<T> {
    /// The place of a value, which is new or known.
    #[inline(always)]
    pub(super) fn place(&mut self, value: T) -> u32 {
        if let Some((last, place)) = self.last
            && last == value
        {
            return place;
        }
        let values = &mut self.values;
        let place = self.slots.place(value.hash(), |place| values.get(place) == Some(&value)).unwrap_or_else(|place| {
            values.push(value);
            place
        });
        self.last = Some((value, place));
        place
    }

    pub(super) fn values(&self) -> &[T] {
        &self.values
    }
}

/// A dictionary of bytes.
#[derive(Debug, Default)]
pub(super) struct ByteDictionary {
    slots: Slots,
    bytes: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
}

impl ByteDictionary {
    /// The place of a value, which is new or known.
    #[inline(always)]
    pub(super) fn place(&mut self, value: &[u8]) -> u32 {
        let (bytes, ends) = (&mut self.bytes, &mut self.ends);
        let known = |place: usize| value_at(bytes, ends, place).is_some_and(|known| same(known, value));
        self.slots.place(hash(value), known).unwrap_or_else(|place| {
            bytes.extend_from_slice(value);
            ends.push(bytes.len());
            place
        })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|place| value_at(&self.bytes, &self.ends, place).unwrap_or_default())
    }

    /// Bytes of the values alone.
    pub(super) fn value_bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[inline(always)]
fn value_at<'a>(bytes: &'a [u8], ends: &[usize], place: usize) -> Option<&'a [u8]> {
    let start = match place.checked_sub(1) {
        Some(before) => *ends.get(before)?,
        None => 0,
    };
    bytes.get(start..*ends.get(place)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn every_value_has_one_place(values in prop::collection::vec(-300_i64..300, 0..2_000), spread in 0_u32..50) {
            let (mut numbers, mut bytes) = (NumberDictionary::default(), ByteDictionary::default());
            let mut known: HashMap<i64, u32> = HashMap::new();
            for value in values {
                let value = value.wrapping_shl(spread);
                let next = known.len() as u32;
                let place = *known.entry(value).or_insert(next);
                prop_assert_eq!(numbers.place(value), place);
                prop_assert_eq!(bytes.place(value.to_string().as_bytes()), place);
                prop_assert_eq!(numbers.values()[place as usize], value);
            }
            prop_assert_eq!((numbers.len(), bytes.len()), (known.len(), known.len()));
            for (place, value) in bytes.values().enumerate() {
                let expected = numbers.values()[place].to_string();
                prop_assert_eq!(value, expected.as_bytes());
            }
        }
    }
}
