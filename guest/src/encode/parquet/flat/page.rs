//! Pages: their headers, levels and places, and what compresses them.
//!
//! The forms are those of the Parquet format: data pages of version 1 (levels, then values, compressed together), headers in Thrift's compact
//! protocol, places and levels in the hybrid of runs and packed groups of eight.

use super::blocks::Blocks;
use crate::encode::gzip::Members;
use crate::encode::parquet::budget::Reason;
use crate::encode::text::copy_exact;
use crate::encode::zstd::Frames;
use crate::spec::{Codec, PageCompression};
use parquet::basic::{CompressionCodec, Encoding};
use snap::raw::{Encoder, max_compress_len};
use std::borrow::Cow;
use std::io::Write as _;

/// Room that the compressor keeps between pages; what a larger page needed is given back.
const KEPT_BYTES: usize = 2 << 20;

/// Bytes that are compressed at a time: a multiple of the 64 KiB that snappy compresses each by itself, so that what is made of pieces is
/// what would be made of the whole. Only a page of a large value has more than one piece; compressed as one, the sandbox would have to hold
/// it and twice as much.
const PIECE_BYTES: usize = 2 << 20;

/// Equal neighbours that are worth a run of their own.
const RUN: usize = 8;

/// Bytes that stand before a value of variable length.
pub(super) const LENGTH_BYTES: usize = size_of::<u32>();

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Data { encoding: Encoding },
    Dictionary,
}

/// What compresses the bodies of pages.
enum Packer {
    None,
    Snappy(Box<Encoder>),
    Gzip(Members),
    Zstd(Frames),
}

/// Compresses pages; shared by the columns of a session.
pub(in super::super) struct PageCompressor {
    packer: Packer,
    body: Vec<u8>,
    compressed: Vec<u8>,
    header: Vec<u8>,
}

impl std::fmt::Debug for PageCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageCompressor").finish_non_exhaustive()
    }
}

impl PageCompressor {
    pub(in super::super) fn new(compression: PageCompression) -> Self {
        let packer = match compression {
            PageCompression::None => Packer::None,
            PageCompression::Snappy => Packer::Snappy(Box::new(Encoder::new())),
            PageCompression::Leveled(compression) => match compression.codec() {
                Codec::Gzip => Packer::Gzip(Members::new(compression)),
                Codec::Zstd => Packer::Zstd(Frames::new(compression)),
            },
        };
        Self { packer, body: Vec::new(), compressed: Vec::new(), header: Vec::new() }
    }

    /// As the footer names it.
    pub(in super::super) fn codec(&self) -> CompressionCodec {
        match self.packer {
            Packer::None => CompressionCodec::UNCOMPRESSED,
            Packer::Snappy(_) => CompressionCodec::SNAPPY,
            Packer::Gzip(_) => CompressionCodec::GZIP,
            Packer::Zstd(_) => CompressionCodec::ZSTD,
        }
    }

    /// Appends the page that the crate has made, header and body, whose body is not compressed yet: both as they are when it is. Its size had it
    /// not been compressed.
    ///
    /// # Errors
    /// A header that is none, or a fault of the compressor.
    pub(in super::super) fn recompress(&mut self, header: &[u8], body: &[u8], out: &mut Blocks) -> Result<usize, Reason> {
        let (kind, rest) = parted(header).ok_or("the header of a page cannot be read")?;
        let packed = self.pack(&[], body)?;
        let mut whole = kind.to_vec();
        // Zigzag of a number that is not negative.
        varint(&mut whole, (packed.len() as u64) << 1);
        whole.extend_from_slice(rest);
        out.extend(&whole);
        self.hand_over(packed, out);
        Ok(whole.len() + body.len())
    }

    /// The body of the next page, empty.
    pub(super) fn body(&mut self) -> &mut Vec<u8> {
        self.body.clear();
        &mut self.body
    }

    /// Appends the page whose body has been written: header and compressed body. Its size had it not been compressed.
    pub(super) fn compress(&mut self, kind: PageKind, values: usize, out: &mut Blocks) -> Result<usize, Reason> {
        self.compress_with(kind, values, &[], out)
    }

    /// The same with more of the body from elsewhere: a large value is compressed from where it lies, for the sandbox holds it but once or
    /// twice.
    pub(super) fn compress_with(&mut self, kind: PageKind, values: usize, tail: &[u8], out: &mut Blocks) -> Result<usize, Reason> {
        let head = std::mem::take(&mut self.body);
        let packed = self.pack(&head, tail);
        let page_bytes = head.len() + tail.len();
        self.body = head;
        let packed = packed?;
        self.header.clear();
        write_header(&mut self.header, kind, page_bytes, packed.len(), values);
        let uncompressed = self.header.len() + page_bytes;
        out.extend(&self.header);
        self.hand_over(packed, out);
        Ok(uncompressed)
    }

    /// Compresses a body, which is two parts one after the other.
    fn pack(&mut self, head: &[u8], tail: &[u8]) -> Result<Packed, Reason> {
        let Self { packer, compressed, .. } = self;
        let is_large = head.len() + tail.len() > PIECE_BYTES;
        if !matches!(packer, Packer::Snappy(_)) {
            compressed.clear();
        }
        let mut large = Blocks::default();
        let written = match packer {
            Packer::None if is_large => [head, tail].into_iter().try_for_each(|part| large.write_all(part)),
            Packer::None => {
                compressed.extend_from_slice(head);
                compressed.extend_from_slice(tail);
                Ok(())
            }
            Packer::Snappy(snappy) => return Ok(pack_by_snappy(snappy, head, tail, compressed)),
            Packer::Gzip(members) if is_large => members.write(&[head, tail], &mut large),
            Packer::Gzip(members) => members.write(&[head, tail], compressed),
            Packer::Zstd(frames) if is_large => frames.write(&[head, tail], &mut large),
            Packer::Zstd(frames) => frames.write(&[head, tail], compressed),
        };
        written.map_err(|error| format!("a page cannot be compressed: {error}"))?;
        Ok(if is_large { Packed::Large(large) } else { Packed::Here(compressed.len()) })
    }

    fn hand_over(&mut self, packed: Packed, out: &mut Blocks) {
        match packed {
            Packed::Here(length) => out.extend(self.compressed.get(..length).unwrap_or_default()),
            Packed::Large(blocks) => out.append(blocks),
        }
        for kept in [&mut self.body, &mut self.compressed] {
            if kept.capacity() > KEPT_BYTES {
                *kept = Vec::new();
            }
        }
    }
}

/// A compressed body.
enum Packed {
    /// The first so many bytes of [`PageCompressor::compressed`].
    Here(usize),
    /// That of a page of more than [`PIECE_BYTES`].
    Large(Blocks),
}

impl Packed {
    fn len(&self) -> usize {
        match self {
            Self::Here(length) => *length,
            Self::Large(blocks) => blocks.len(),
        }
    }
}

/// Snappy's format is the uncompressed length, then the compressed data: the length of the whole, then the data of each piece.
fn pack_by_snappy(snappy: &mut Encoder, head: &[u8], tail: &[u8], buffer: &mut Vec<u8>) -> Packed {
    if tail.is_empty() && head.len() <= PIECE_BYTES {
        return Packed::Here(compress(snappy, head, buffer).len());
    }
    let page_bytes = head.len() + tail.len();
    let (first, rest) = tail.split_at(PIECE_BYTES.saturating_sub(head.len()).min(tail.len()));
    let joined = if tail.is_empty() { Cow::Borrowed(head) } else { Cow::Owned([head, first].concat()) };
    if page_bytes <= PIECE_BYTES {
        return Packed::Here(compress(snappy, &joined, buffer).len());
    }
    let mut large = Blocks::default();
    let mut length = Vec::new();
    varint(&mut length, page_bytes as u64);
    large.extend(&length);
    for piece in joined.chunks(PIECE_BYTES).chain(rest.chunks(PIECE_BYTES)) {
        let piece = compress(snappy, piece, buffer);
        let length = piece.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        large.extend(piece.get(length..).unwrap_or_default());
    }
    Packed::Large(large)
}

/// Compresses a piece into a buffer that grows to what it needs.
fn compress<'a>(snappy: &mut Encoder, piece: &[u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    let room = max_compress_len(piece.len());
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    // The encoder fails only if there is not enough room, or for more than 4 GiB; a piece has neither.
    let length = snappy.compress(piece, buffer).unwrap_or_default();
    buffer.get(..length).unwrap_or_default()
}

/// A page header in Thrift's compact protocol.
fn write_header(out: &mut Vec<u8>, kind: PageKind, uncompressed: usize, compressed: usize, values: usize) {
    const INT: u8 = 5;
    const STRUCT: u8 = 12;
    const STOP: u8 = 0;
    let field = |out: &mut Vec<u8>, delta: u8, number: usize| {
        out.push(delta << 4 | INT);
        // Zigzag of a number that is not negative.
        varint(out, (number as u64) << 1);
    };
    let encoding = |encoding: Encoding| if encoding == Encoding::RLE_DICTIONARY { 8 } else { 0 };
    const RLE: usize = 3;
    field(out, 1, if kind == PageKind::Dictionary { 2 } else { 0 });
    field(out, 1, uncompressed);
    field(out, 1, compressed);
    match kind {
        PageKind::Data { encoding: of_values } => {
            out.push(2 << 4 | STRUCT);
            field(out, 1, values);
            field(out, 1, encoding(of_values));
            field(out, 1, RLE);
            field(out, 1, RLE);
        }
        PageKind::Dictionary => {
            out.push(4 << 4 | STRUCT);
            field(out, 1, values);
            field(out, 1, encoding(Encoding::PLAIN));
        }
    }
    out.extend_from_slice(&[STOP, STOP]);
}

/// A page header before and after its third field, the length of the compressed body: type and lengths come first, each a field of its own.
fn parted(header: &[u8]) -> Option<(&[u8], &[u8])> {
    const INT: u8 = 1 << 4 | 5;
    let mut at = 0;
    let mut third = 0;
    for field in 0..3 {
        if *header.get(at)? != INT {
            return None;
        }
        at += 1;
        if field == 2 {
            third = at;
        }
        at += header.get(at..)?.iter().position(|byte| *byte < 0x80)? + 1;
    }
    Some((header.get(..third)?, header.get(at..)?))
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes the definition levels of a column that may have nulls: one where a row has a value. `validity` is empty if every row has one.
pub(super) fn write_validity(out: &mut Vec<u8>, validity: &[bool], rows: usize) {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    if validity.is_empty() {
        write_run(out, rows, 1, 1);
    } else {
        hybrid(out, validity, 1, u32::from);
    }
    let length = (out.len() - at - LENGTH_BYTES) as u32;
    if let Some(place) = out.get_mut(at..at + LENGTH_BYTES) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Writes places in a dictionary of `entries`: their width in bits, and the hybrid.
pub(super) fn write_hybrid(out: &mut Vec<u8>, places: &[u32], entries: usize) {
    // One bit at least: some readers do not know a width of none.
    let width = (usize::BITS - entries.saturating_sub(1).leading_zeros()).max(1);
    out.push(width as u8);
    hybrid(out, places, width, |place| place);
}

/// The hybrid: runs of at least [`RUN`] equal numbers, and packed groups of eight between them.
fn hybrid<T: Copy + PartialEq>(out: &mut Vec<u8>, numbers: &[T], width: u32, number: impl Fn(T) -> u32 + Copy) {
    let mut packed_from = 0;
    let mut at = 0;
    while let Some(start) = next_run(numbers, at) {
        let Some(&first) = numbers.get(start) else { break };
        let run = numbers.iter().skip(start).take_while(|next| **next == first).count();
        // Groups are whole: a run lends them what they lack.
        let lent = (start - packed_from).next_multiple_of(8) - (start - packed_from);
        if run >= RUN + lent {
            write_packed(out, numbers.get(packed_from..start + lent).unwrap_or_default(), width, number);
            write_run(out, run - lent, number(first), width);
            packed_from = start + run;
        }
        at = start + run;
    }
    write_packed(out, numbers.get(packed_from..).unwrap_or_default(), width, number);
}

/// Where the next [`RUN`] equal numbers begin, of those from `at` on. The last two of a window are looked at first: if they differ, no run
/// begins before the very last, so that numbers that do not repeat are for the most part not looked at.
fn next_run<T: PartialEq>(numbers: &[T], mut at: usize) -> Option<usize> {
    while let Some(window) = numbers.get(at..at + RUN) {
        match window.windows(2).rposition(|pair| matches!(pair, [one, next] if one != next)) {
            Some(last) => at += last + 1,
            None => return Some(at),
        }
    }
    None
}

fn write_run(out: &mut Vec<u8>, length: usize, number: u32, width: u32) {
    varint(out, (length as u64) << 1);
    let bytes = number.to_le_bytes();
    out.extend_from_slice(bytes.get(..width.div_ceil(8) as usize).unwrap_or_default());
}

/// Groups of eight numbers, each in `width` bits; the last is filled up with zeros.
fn write_packed<T: Copy>(out: &mut Vec<u8>, numbers: &[T], width: u32, number: impl Fn(T) -> u32 + Copy) {
    if numbers.is_empty() {
        return;
    }
    varint(out, (numbers.len().div_ceil(8) as u64) << 1 | 1);
    let (groups, rest) = numbers.as_chunks::<8>();
    out.reserve((groups.len() + 1) * width as usize);
    // Of a width that the compiler knows, the shifts are constant and the loop over a group is gone.
    macro_rules! of_width {
        ($($width:literal)*) => {
            match width {
                $($width => pack_groups::<$width, T>(out, groups, number),)*
                _ => groups.iter().for_each(|group| pack_group(out, group, width, number)),
            }
        };
    }
    of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
    if !rest.is_empty() {
        let end = out.len() + width as usize;
        pack_group(out, rest, width, number);
        out.resize(end, 0);
    }
}

fn pack_groups<const WIDTH: u32, T: Copy>(out: &mut Vec<u8>, groups: &[[T; 8]], number: impl Fn(T) -> u32 + Copy) {
    groups.iter().for_each(|group| pack_group(out, group, WIDTH, number));
}

/// One group, or what there is of it.
#[inline(always)]
fn pack_group<T: Copy>(out: &mut Vec<u8>, group: &[T], width: u32, number: impl Fn(T) -> u32) {
    let (mut bits, mut held) = (0_u64, 0);
    for &next in group {
        bits |= u64::from(number(next)) << held;
        held += width;
        if held >= u32::BITS {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= u32::BITS;
            held -= u32::BITS;
        }
    }
    // Eight numbers are whole bytes, and what is left of them at most three.
    out.extend_from_slice(bits.to_le_bytes().get(..held.div_ceil(8) as usize).unwrap_or_default());
}

/// Writes a value at its place, after its length if `before` is not 0.
#[inline(always)]
pub(super) fn write_byte_array(out: &mut [u8], at: usize, value: &[u8], before: usize) {
    if before > 0 {
        copy_exact(out, at, &(value.len() as u32).to_le_bytes());
    }
    copy_exact(out, at + before, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads the hybrid back, as the format describes it.
    fn read(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let mut header = 0_u64;
            for shift in (0..).step_by(7) {
                let (&byte, rest) = bytes.split_first().expect("a header");
                bytes = rest;
                header |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            let length = (header >> 1) as usize;
            if header & 1 == 0 {
                let (value, rest) = bytes.split_at(width.div_ceil(8) as usize);
                bytes = rest;
                let mut whole = [0; 4];
                whole[..value.len()].copy_from_slice(value);
                numbers.extend(std::iter::repeat_n(u32::from_le_bytes(whole), length));
            } else {
                let (packed, rest) = bytes.split_at(length * width as usize);
                bytes = rest;
                for number in 0..8 * length {
                    let bit = |bit: usize| u32::from(packed[bit / 8] >> (bit % 8) & 1);
                    numbers.push((0..width as usize).map(|n| bit(number * width as usize + n) << n).sum());
                }
            }
        }
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        assert!(numbers[count..].iter().all(|filling| *filling == 0));
        numbers.truncate(count);
        numbers
    }

    proptest! {
        #[test]
        fn places_come_back(runs in prop::collection::vec((0_u32..70_000, 1_usize..40), 0..60), width in 1_u32..=17) {
            let places: Vec<u32> = runs.iter().flat_map(|(place, count)| std::iter::repeat_n(place % (1 << width), *count)).collect();
            let mut out = Vec::new();
            write_hybrid(&mut out, &places, 1 << width);
            prop_assert_eq!(u32::from(out[0]), width);
            prop_assert_eq!(read(&out[1..], width, places.len()), places);
        }

        #[test]
        fn validity_comes_back(runs in prop::collection::vec((any::<bool>(), 1_usize..30), 1..60)) {
            let validity: Vec<bool> = runs.iter().flat_map(|(valid, count)| std::iter::repeat_n(*valid, *count)).collect();
            let mut out = Vec::new();
            write_validity(&mut out, &validity, validity.len());
            prop_assert_eq!(u32::from_le_bytes(out[..4].try_into().expect("four")) as usize, out.len() - 4);
            prop_assert_eq!(read(&out[4..], 1, validity.len()), validity.iter().map(|valid| u32::from(*valid)).collect::<Vec<_>>());
        }
    }

    /// A page compressed in pieces is the page compressed as one; up to a piece, and beyond.
    #[test]
    fn pieces_are_what_would_be_made_of_the_whole() {
        let text = |length: usize| -> Vec<u8> {
            // Words that come back, between bytes that hardly do.
            (0..length as u32).map(|at| if at & 64 == 0 { (at % 7) as u8 } else { (at.wrapping_mul(2_654_435_761) >> 24) as u8 }).collect()
        };
        for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 5 * PIECE_BYTES + 70_000] {
            let (mut compressor, mut out) = (PageCompressor::new(PageCompression::Snappy), Blocks::default());
            compressor.body().extend(text(length));
            let uncompressed = compressor.compress(PageKind::Dictionary, 1, &mut out).expect("compressed");
            let whole = Encoder::new().compress_vec(&text(length)).expect("less than 4 GiB");
            let mut expected = Vec::new();
            write_header(&mut expected, PageKind::Dictionary, length, whole.len(), 1);
            assert_eq!(uncompressed, expected.len() + length);
            expected.extend(whole);
            let mut made = Vec::new();
            out.drain_into(&mut made);
            assert!(made == expected, "{length}");
        }
    }

    #[test]
    fn long_runs_take_a_few_bytes() {
        let mut out = Vec::new();
        write_hybrid(&mut out, &[5; 10_000], 2_000);
        assert_eq!(out, [11, 0xa0, 0x9c, 0x01, 5, 0]);
        out.clear();
        write_validity(&mut out, &[], 3);
        assert_eq!(out, [2, 0, 0, 0, 6, 1]);
    }
}
