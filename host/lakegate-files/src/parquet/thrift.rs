//! A minimal reader for Thrift's compact protocol: enough to read what a page header claims and whether a file is encrypted, and to skip everything
//! else.
//!
//! The `parquet` crate reads both too, but it only reads a page's header together with the page, and it only says of encrypted files that it cannot
//! read them.

/// Maximum nesting of structs and lists; Parquet's own structures have seven levels.
const MAX_DEPTH: usize = 24;

/// Wire types.
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;
const BOOLEAN_TRUE: u8 = 1;
const BOOLEAN_FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const SET: u8 = 10;
const MAP: u8 = 11;

/// Reads bytes in order. [`None`] if they end too early or are not Thrift.
#[derive(Debug, Clone)]
pub(super) struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Compact<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Number of bytes read so far.
    pub(super) fn read(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// An integer of any width except a byte.
    pub(super) fn number(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Length-prefixed bytes.
    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let bytes = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(bytes)
    }

    /// Element type and length of a list.
    pub(super) fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => count.into(),
        };
        Some((head & 0x0f, count))
    }

    /// Reads a struct: `field` is called with the number and type of each field, and either reads its value or returns that it has not.
    pub(super) fn fields(&mut self, mut field: impl FnMut(&mut Self, i16, u8) -> Option<Taken>) -> Option<()> {
        self.fields_at(0, &mut field)
    }

    fn fields_at(&mut self, depth: usize, field: &mut dyn FnMut(&mut Self, i16, u8) -> Option<Taken>) -> Option<()> {
        let mut number = 0_i16;
        loop {
            let head = self.byte()?;
            let wire_type = head & 0x0f;
            if wire_type == 0 {
                return Some(());
            }
            number = match head >> 4 {
                0 => i16::try_from(self.number()?).ok()?,
                step => number.checked_add(i16::from(step))?,
            };
            if field(self, number, wire_type)? == Taken::No {
                self.skip(wire_type, depth + 1, false)?;
            }
        }
    }

    /// Skips a value.
    pub(super) fn pass(&mut self, wire_type: u8) -> Option<()> {
        self.skip(wire_type, 1, false)
    }

    fn skip(&mut self, wire_type: u8, depth: usize, in_list: bool) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match wire_type {
            // In a struct, the type is the value.
            BOOLEAN_TRUE | BOOLEAN_FALSE if !in_list => {}
            BOOLEAN_TRUE | BOOLEAN_FALSE | BYTE => drop(self.byte()?),
            I16..=I64 => drop(self.varint()?),
            DOUBLE => {
                self.bytes.get(self.at..)?.get(..8)?;
                self.at += 8;
            }
            BINARY => drop(self.binary()?),
            LIST | SET => {
                let (of, count) = self.list()?;
                for _ in 0..count {
                    self.skip(of, depth + 1, true)?;
                }
            }
            MAP => {
                let count = self.varint()?;
                let types = if count == 0 { 0 } else { self.byte()? };
                for _ in 0..count {
                    self.skip(types >> 4, depth + 1, true)?;
                    self.skip(types & 0x0f, depth + 1, true)?;
                }
            }
            STRUCT => self.fields_at(depth, &mut |_, _, _| Some(Taken::No))?,
            _ => return None,
        }
        Some(())
    }
}

/// Whether a field's value has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    No,
}

/// A page header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Bytes of the header itself.
    pub(super) header_bytes: u64,
    pub(super) is_dictionary: bool,
    pub(super) uncompressed: u64,
    pub(super) compressed: u64,
    pub(super) values: u64,
    /// Only in pages of version 2.
    pub(super) rows: Option<u64>,
    /// Only in pages of version 2: uncompressed bytes before the compressed ones.
    pub(super) level_bytes: u64,
    pub(super) is_compressed: bool,
}

impl PageHeader {
    /// Parses the header at the beginning of the bytes; [`None`] if it is invalid or incomplete.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut page = Self { is_compressed: true, ..Self::default() };
        let mut compact = Compact::new(bytes);
        let number = |compact: &mut Compact<'_>| compact.number().and_then(|number| u64::try_from(number).ok());
        compact.fields(|compact, field, wire_type| {
            match (field, wire_type) {
                (1, I16..=I64) => page.is_dictionary = number(compact)? == 2,
                (2, I16..=I64) => page.uncompressed = number(compact)?,
                (3, I16..=I64) => page.compressed = number(compact)?,
                (5 | 7 | 8, STRUCT) => compact.fields(|compact, inner, wire_type| {
                    match (inner, wire_type) {
                        (1, I16..=I64) => page.values = number(compact)?,
                        (3, I16..=I64) if field == 8 => page.rows = Some(number(compact)?),
                        (5 | 6, I16..=I64) if field == 8 => page.level_bytes = page.level_bytes.saturating_add(number(compact)?),
                        (7, BOOLEAN_FALSE) if field == 8 => page.is_compressed = false,
                        _ => return Some(Taken::No),
                    }
                    Some(Taken::Yes)
                })?,
                _ => return Some(Taken::No),
            }
            Some(Taken::Yes)
        })?;
        page.header_bytes = compact.read() as u64;
        Some(page)
    }
}

/// The path of the first encrypted column in a footer, if there is one.
pub(super) fn encrypted_column(footer: &[u8]) -> Option<String> {
    let mut found = None;
    let mut compact = Compact::new(footer);
    // A truncated footer is refused by the reader.
    let _ = compact.fields(|compact, field, wire_type| {
        if (field, wire_type) != (4, LIST) {
            return Some(Taken::No);
        }
        each(compact, |compact| {
            compact.fields(|compact, field, wire_type| {
                if (field, wire_type) != (1, LIST) {
                    return Some(Taken::No);
                }
                each(compact, |compact| {
                    let path = encrypted_path(compact)?;
                    found = found.take().or(path);
                    Some(())
                })?;
                Some(Taken::Yes)
            })
        })?;
        Some(Taken::Yes)
    });
    found
}

fn each(compact: &mut Compact<'_>, mut element: impl FnMut(&mut Compact<'_>) -> Option<()>) -> Option<()> {
    let (of, count) = compact.list()?;
    for _ in 0..count {
        if of == STRUCT { element(compact)? } else { compact.pass(of)? }
    }
    Some(())
}

/// Reads a column chunk; returns its path if it is encrypted.
fn encrypted_path(compact: &mut Compact<'_>) -> Option<Option<String>> {
    let (mut is_encrypted, mut path) = (false, None);
    compact.fields(|compact, field, wire_type| {
        match (field, wire_type) {
            // The metadata, which contains the path.
            (3, STRUCT) => compact.fields(|compact, field, wire_type| path_field(compact, (field, wire_type) == (3, LIST), &mut path))?,
            // The encryption: with the footer's key, or with a separate key for the path.
            (8, STRUCT) => {
                is_encrypted = true;
                compact.fields(|compact, field, wire_type| {
                    if (field, wire_type) != (2, STRUCT) {
                        return Some(Taken::No);
                    }
                    compact.fields(|compact, field, wire_type| path_field(compact, (field, wire_type) == (1, LIST), &mut path))?;
                    Some(Taken::Yes)
                })?;
            }
            _ => return Some(Taken::No),
        }
        Some(Taken::Yes)
    })?;
    Some(is_encrypted.then(|| path.unwrap_or_default()))
}

fn path_field(compact: &mut Compact<'_>, is_path: bool, path: &mut Option<String>) -> Option<Taken> {
    if !is_path {
        return Some(Taken::No);
    }
    let (of, count) = compact.list()?;
    let mut parts = Vec::new();
    for _ in 0..count {
        if of != BINARY {
            return None;
        }
        parts.push(String::from_utf8_lossy(compact.binary()?).into_owned());
    }
    *path = Some(parts.join("."));
    Some(Taken::Yes)
}
