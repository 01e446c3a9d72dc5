//! Checks each decompressed page of a column before it reaches its decoder: some encodings expand to far more than their bytes, and the decoder
//! allocates what they claim.

use super::lengths::lengths;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Growth of a page that is not checked, since a batch may have as many bytes in any case.
const UNNOTICED_BYTES: u64 = 64 << 20;

/// Total growth allowed for all pages of a batch.
const MAX_GROWN_BYTES: u64 = 1 << 30;

/// Tracks by how much the pages of a batch expand.
#[derive(Debug, Clone, Default)]
pub(super) struct Grown(Arc<AtomicU64>);

impl Grown {
    /// Starts a new batch.
    pub(super) fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn take(&self, bytes: u64, column: &str) -> Result<()> {
        if bytes <= UNNOTICED_BYTES {
            return Ok(());
        }
        let all = self.0.load(Ordering::Relaxed).saturating_add(bytes);
        self.0.store(all, Ordering::Relaxed);
        if all <= MAX_GROWN_BYTES {
            return Ok(());
        }
        Err(ParquetError::General(format!(
            "column `{column}`: its pages name long values so often that the rows of a batch take {all} bytes; at most {MAX_GROWN_BYTES} are \
             accepted"
        )))
    }
}

/// The pages of a column chunk.
pub(super) struct Guarded {
    pages: SerializedPageReader<File>,
    column: String,
    of: Type,
    max_repetition: i16,
    max_definition: i16,
    /// The lengths of the dictionary's values, where a row may have any number of them.
    dictionary: Vec<u32>,
    grown: Grown,
}

impl Guarded {
    pub(super) fn new(pages: SerializedPageReader<File>, chunk: &ColumnChunkMetaData, grown: Grown) -> Self {
        let descr = chunk.column_descr();
        Self {
            pages,
            column: chunk.column_path().string(),
            of: chunk.column_type(),
            max_repetition: descr.max_rep_level(),
            max_definition: descr.max_def_level(),
            dictionary: Vec::new(),
            grown,
        }
    }

    fn look(&mut self, page: &Page) -> Result<()> {
        let broken = |what: &str| ParquetError::General(format!("column `{}`: {what}", self.column));
        if let Page::DictionaryPage { buf, .. } = page {
            if self.of == Type::BYTE_ARRAY && self.max_repetition > 0 {
                self.dictionary = lengths(buf).collect();
            }
            return Ok(());
        }
        let claimed = u64::from(page.num_values());
        match page.encoding() {
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY if !self.dictionary.is_empty() => {
                let longest = u64::from(self.dictionary.iter().max().copied().unwrap_or_default());
                if claimed.saturating_mul(longest) > UNNOTICED_BYTES {
                    let values = self.values(page).ok_or_else(|| broken("its levels are cut off"))?;
                    self.grown.take(named_bytes(values, claimed, &self.dictionary), &self.column)?;
                }
            }
            Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                let values = self.values(page).ok_or_else(|| broken("its levels are cut off"))?;
                if Delta::parse(values).is_some_and(|delta| delta.count > claimed) {
                    return Err(broken("a page claims more lengths than it has values"));
                }
            }
            Encoding::DELTA_BYTE_ARRAY => {
                let values = self.values(page).ok_or_else(|| broken("its levels are cut off"))?;
                // A page of nulls need not have any.
                let bytes = if values.is_empty() { Some(0) } else { shared_bytes(values, claimed) };
                let bytes = bytes.ok_or_else(|| broken("the lengths of a page are cut off or too many"))?;
                self.grown.take(bytes, &self.column)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The bytes after the levels of a page.
    fn values<'a>(&self, page: &'a Page) -> Option<&'a [u8]> {
        match page {
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
                buf.get((*def_levels_byte_len as usize).checked_add(*rep_levels_byte_len as usize)?..)
            }
            Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
                let mut rest = buf.as_ref();
                for (most, encoding) in [(self.max_repetition, *rep_level_encoding), (self.max_definition, *def_level_encoding)] {
                    if most == 0 {
                        continue;
                    }
                    #[expect(deprecated, reason = "old files have it, and it is to be passed over")]
                    let packed = encoding == Encoding::BIT_PACKED;
                    rest = if packed {
                        let width = u64::from(u16::BITS - most.unsigned_abs().leading_zeros());
                        rest.get(usize::try_from((u64::from(*num_values) * width).div_ceil(8)).ok()?..)?
                    } else {
                        let (length, levels) = rest.split_first_chunk()?;
                        levels.get(u32::from_le_bytes(*length) as usize..)?
                    };
                }
                Some(rest)
            }
            Page::DictionaryPage { .. } => None,
        }
    }
}

/// Total bytes of the dictionary values referenced by indices, which are encoded as a hybrid of runs and packed groups of eight.
fn named_bytes(places: &[u8], mut most: u64, lengths: &[u32]) -> u64 {
    let Some((width, mut rest)) = places.split_first() else { return 0 };
    let width = usize::from(*width).min(32);
    let length = |place: u64| usize::try_from(place).ok().and_then(|place| lengths.get(place)).copied().unwrap_or_default();
    let mut bytes = 0_u64;
    while most > 0
        && let Some((head, behind)) = varint(rest)
    {
        rest = behind;
        let count = head >> 1;
        if head & 1 == 0 {
            let Some((value, behind)) = rest.split_at_checked(width.div_ceil(8)) else { break };
            let place = value.iter().rev().fold(0, |place, byte| place << 8 | u64::from(*byte));
            bytes = bytes.saturating_add(u64::from(length(place)).saturating_mul(count.min(most)));
            (rest, most) = (behind, most.saturating_sub(count));
        } else {
            let packed = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(width).min(rest.len());
            let (group, behind) = rest.split_at(packed);
            let values = count.saturating_mul(8).min(most);
            bytes = bytes.saturating_add((0..values).map(|at| u64::from(length(bits(group, at, width)))).fold(0, u64::saturating_add));
            (rest, most) = (behind, most - values);
        }
    }
    bytes
}

/// The number of `width` bits at index `at`; 0 if there is none.
fn bits(packed: &[u8], at: u64, width: usize) -> u64 {
    let first = at.saturating_mul(width as u64);
    let byte = usize::try_from(first / 8).unwrap_or(usize::MAX);
    let mut word = [0; 8];
    if let Some(rest) = packed.get(byte..) {
        let taken = rest.len().min(word.len());
        word[..taken].copy_from_slice(&rest[..taken]);
    }
    (u64::from_le_bytes(word) >> (first % 8)) & ((1 << width) - 1)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32).unwrap_or_default();
        if *byte < 0x80 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Total bytes of values that share a prefix with their predecessor; [`None`] if there are more lengths than values.
fn shared_bytes(values: &[u8], claimed: u64) -> Option<u64> {
    let prefixes = Delta::parse(values).filter(|delta| delta.count <= claimed)?;
    let (shared, rest) = prefixes.sum()?;
    // The crate reads as many of each.
    let suffixes = Delta::parse(rest).filter(|delta| delta.count <= claimed)?;
    let (own, _) = suffixes.sum()?;
    Some(shared.saturating_add(own))
}

/// Delta-encoded numbers, in blocks.
struct Delta<'a> {
    block: u64,
    parts: u64,
    count: u64,
    first: i64,
    rest: &'a [u8],
}

impl<'a> Delta<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (block, rest) = varint(bytes)?;
        let (parts, rest) = varint(rest)?;
        let (count, rest) = varint(rest)?;
        let (first, rest) = varint(rest)?;
        (parts > 0 && block.is_multiple_of(parts) && block > 0).then_some(Self { block, parts, count, first: zigzag(first), rest })
    }

    /// The sum of the numbers, counting negative ones as 0; and the bytes after them.
    fn sum(&self) -> Option<(u64, &'a [u8])> {
        let positive = |number: i64| u64::try_from(number).unwrap_or_default();
        let (mut rest, mut left, mut last) = (self.rest, self.count, self.first);
        let mut sum = if left > 0 { positive(last) } else { 0 };
        left = left.saturating_sub(1);
        let of_part = self.block / self.parts;
        while left > 0 {
            let (least, behind) = varint(rest)?;
            let (widths, behind) = behind.split_at_checked(usize::try_from(self.parts).ok()?)?;
            rest = behind;
            for width in widths.iter().map(|width| usize::from(*width)) {
                if left == 0 {
                    break;
                }
                // Lengths have 32 bits.
                let bytes = usize::try_from(of_part.checked_mul(width as u64)? / 8).ok().filter(|_| width <= 32)?;
                // The last part may end after its last value.
                let (part, behind) = rest.split_at(bytes.min(rest.len()));
                rest = behind;
                let in_part = left.min(of_part);
                if width == 0 && zigzag(least) == 0 {
                    sum = sum.saturating_add(positive(last).saturating_mul(in_part));
                } else {
                    for at in 0..in_part {
                        // The decoder counts in 32 bits.
                        last = i64::from((last as i32).wrapping_add(zigzag(least) as i32).wrapping_add(bits(part, at, width) as i32));
                        sum = sum.saturating_add(positive(last));
                    }
                }
                left -= in_part;
            }
        }
        Some((sum, rest))
    }
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

impl Iterator for Guarded {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Guarded {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.look(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}
