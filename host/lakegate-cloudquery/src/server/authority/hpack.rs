//! The parts of HPACK that the repair needs: where fields begin and end, which ones are `:authority`, and whether the value holds a path.

use std::collections::VecDeque;

/// The bytes are not valid HPACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// `:authority` in the static table.
const AUTHORITY_INDEX: usize = 1;
const AUTHORITY: &[u8] = b":authority";
/// `:authority` in Huffman code.
const AUTHORITY_HUFFMAN: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];
/// Entries of the static table; the dynamic table is numbered from here on.
const STATIC_ENTRIES: usize = 61;
/// An entry counts 32 bytes and more, and the table has 4,096 by default, which the server behind does not raise.
const MAX_DYNAMIC_ENTRIES: usize = 4096 / 32;
/// Longer integers than any header block.
const MAX_INTEGER: usize = 1 << 24;
/// The replacement of a path; truncated if the path is shorter.
const REPLACEMENT: &[u8] = b"localhost";

/// Which entries of the dynamic table have the name `:authority`, newest first. Values and sizes do not matter: the sender refers only to
/// entries it still has, and those are counted from the newest.
#[derive(Debug, Default)]
pub(super) struct Names(VecDeque<bool>);

impl Names {
    fn insert(&mut self, authority: bool) {
        self.0.push_front(authority);
        self.0.truncate(MAX_DYNAMIC_ENTRIES);
    }

    fn is_authority(&self, index: usize) -> bool {
        match index.checked_sub(STATIC_ENTRIES + 1) {
            None => index == AUTHORITY_INDEX,
            Some(at) => self.0.get(at).copied().unwrap_or(false),
        }
    }
}

/// The fields of one header block, repaired; `None` when nothing needed it.
pub(super) fn repair(fields: &[u8], names: &mut Names) -> Result<Option<Vec<u8>>, Malformed> {
    let mut reader = Reader { rest: fields };
    // Allocated at the first repair: the bytes before it, then all others.
    let mut repaired: Option<Vec<u8>> = None;
    while !reader.rest.is_empty() {
        let start = reader.rest;
        let value = reader.field(names)?;
        let field = start.get(..start.len() - reader.rest.len()).ok_or(Malformed)?;
        if let Some(value) = value
            && let Some(length) = value.path_length()?
        {
            let before = fields.get(..fields.len() - start.len()).ok_or(Malformed)?;
            let out = repaired.get_or_insert_with(|| before.to_vec());
            out.extend_from_slice(field.get(..field.len() - value.coded_bytes).ok_or(Malformed)?);
            let text = REPLACEMENT.get(..length).unwrap_or(REPLACEMENT);
            out.push(u8::try_from(text.len()).map_err(|_| Malformed)?);
            out.extend_from_slice(text);
        } else if let Some(out) = &mut repaired {
            out.extend_from_slice(field);
        }
    }
    Ok(repaired)
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// A string as it is written.
struct Text<'a> {
    huffman: bool,
    bytes: &'a [u8],
    /// With its length before it.
    coded_bytes: usize,
}

impl<'a> Reader<'a> {
    /// Skips one field; returns the value if it is a literal `:authority`.
    fn field(&mut self, names: &mut Names) -> Result<Option<Text<'a>>, Malformed> {
        let &first = self.rest.first().ok_or(Malformed)?;
        let (prefix_bits, indexed) = match first {
            0x80.. => return self.integer(7).map(|_| None),
            0x40.. => (6, true),
            // The size of the dynamic table: the sender's, and a table that holds more does no harm.
            0x20.. => return self.integer(5).map(|_| None),
            _ => (4, false),
        };
        let authority = match self.integer(prefix_bits)? {
            0 => self.text()?.is_authority(),
            index => names.is_authority(index),
        };
        let value = self.text()?;
        if indexed {
            names.insert(authority);
        }
        Ok(authority.then_some(value))
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(first)
    }

    fn integer(&mut self, prefix_bits: u32) -> Result<usize, Malformed> {
        let mask = (1_usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in (0..28).step_by(7) {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if value > MAX_INTEGER {
                return Err(Malformed);
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn text(&mut self) -> Result<Text<'a>, Malformed> {
        let before = self.rest.len();
        let huffman = self.rest.first().ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Text { huffman, bytes, coded_bytes: before - rest.len() })
    }
}

impl Text<'_> {
    fn is_authority(&self) -> bool {
        self.bytes == if self.huffman { AUTHORITY_HUFFMAN } else { AUTHORITY }
    }

    /// How many characters it has, if it holds a `%` or a `/`: no host does, and a path or its percent-encoded form does.
    fn path_length(&self) -> Result<Option<usize>, Malformed> {
        if !self.huffman {
            return Ok(self.bytes.iter().any(|byte| matches!(byte, b'%' | b'/')).then_some(self.bytes.len()));
        }
        let (mut length, mut is_path) = (0, false);
        for_each_code(self.bytes, |bits, code| {
            length += 1;
            // `%` and `/`.
            is_path |= bits == 6 && matches!(code, 0x15 | 0x18);
        })?;
        Ok(is_path.then_some(length))
    }
}

/// How many characters of HPACK's Huffman code have so many bits. The code is canonical, so this alone tells where each code ends.
const CODES_OF_LENGTH: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// Every whole code of a Huffman text, with its number of bits; the padding (ones, under a byte) is passed over.
fn for_each_code(bytes: &[u8], mut visit: impl FnMut(u32, u32)) -> Result<(), Malformed> {
    let (mut code, mut bits) = (0_u32, 0_u32);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        (code, bits) = (code << 1 | bit, bits + 1);
        if is_code(code, bits) {
            visit(bits, code);
            (code, bits) = (0, 0);
        } else if bits >= 30 {
            return Err(Malformed);
        }
    }
    if bits < 8 && code == (1 << bits) - 1 { Ok(()) } else { Err(Malformed) }
}

fn is_code(code: u32, bits: u32) -> bool {
    let (mut first, mut length) = (0_u32, 0_u32);
    for (of_length, count) in CODES_OF_LENGTH {
        first <<= of_length - length;
        length = of_length;
        if length == bits {
            // The longest code of all (thirty ones) ends a text and may not stand in one.
            return code >= first && code - first < count && !(bits == 30 && code == (1 << 30) - 1);
        }
        first += count;
    }
    false
}
