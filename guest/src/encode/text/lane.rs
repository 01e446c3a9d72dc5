//! A lane: one column's cells for a block of rows, and how cells and the constant text before them get to their places.
//!
//! Cells are copied with stores of fixed width (16 bytes and multiples) that may run over what follows. Within the row that is right,
//! because what follows is written later: lanes are scattered in the order of output. [`Lane::shortest`] and the lengths of the pieces
//! that follow tell whether even the shortest row has that room. Where it has not, the store may reach the next rows, which hold text
//! already: then the [`GUARD_BYTES`] behind the row's end are read before and put back after.

/// Width of one store, and of a short cell.
pub(crate) const STORE_BYTES: usize = 16;

/// How far a store may reach beyond the end of a row, and so the bytes behind the output that stores may touch.
pub(crate) const GUARD_BYTES: usize = 4 * STORE_BYTES;

/// Width of a step of the copy of a long cell.
const LONG_STEP_BYTES: usize = 2 * STORE_BYTES;

/// Cells longer than this are copied by a call: its cost is small then, and it is faster a byte.
const CALL_BYTES: usize = 512;

/// Where a lane's cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Source {
    /// In [`Lane::short`], one fixed-width cell a row.
    Short,
    /// In [`Lane::text`], from [`Lane::starts`].
    #[default]
    Text,
    /// In the column's own value buffer, from [`Lane::starts`].
    Borrowed,
    /// As [`Source::Borrowed`], with quotes around those that [`Lane::flags`] marks.
    Flagged,
}

/// One column's cells for a block of rows.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) source: Source,
    /// Length of each cell's text, quotes of marked cells included.
    pub(crate) lengths: Vec<u32>,
    /// Where each cell's text begins, unless cells are short.
    pub(crate) starts: Vec<usize>,
    pub(crate) text: Vec<u8>,
    pub(crate) short: Vec<[u8; STORE_BYTES]>,
    /// 1 for a cell with quotes around it, else 0.
    pub(crate) flags: Vec<u8>,
    /// Do quotes belong around every cell? They are then part of the constant text between cells.
    pub(crate) quoted: bool,
    /// Length of the shortest and the longest cell.
    pub(crate) shortest: usize,
    pub(crate) longest: usize,
}

/// Text kept between blocks at most; a block that needed more gives it back.
const MAX_KEPT_TEXT_BYTES: usize = 1 << 20;

impl Lane {
    /// Empties the lane for the next block. Short cells stay, to be written over.
    pub(crate) fn clear(&mut self) {
        self.source = Source::Text;
        self.quoted = false;
        self.lengths.clear();
        self.starts.clear();
        self.text.clear();
        if self.text.capacity() > MAX_KEPT_TEXT_BYTES {
            self.text = Vec::new();
        }
    }

    /// Makes the lane one of short cells, and lends them and their lengths.
    pub(crate) fn short_cells(&mut self, count: usize) -> (&mut [[u8; STORE_BYTES]], &mut [u32]) {
        self.source = Source::Short;
        self.short.resize(count.max(self.short.len()), [0; STORE_BYTES]);
        self.lengths.resize(count, 0);
        (&mut self.short[..count], &mut self.lengths)
    }

    /// Notes where a cell of [`Source::Text`] begins that was appended to `text` from `start` on.
    #[inline]
    pub(crate) fn end_cell(&mut self, start: usize) {
        self.starts.push(start);
        self.lengths.push((self.text.len() - start) as u32);
    }

    /// Notes the shortest and the longest cell, when all are there.
    pub(crate) fn measure(&mut self) {
        let (mut shortest, mut longest) = (u32::MAX, 0);
        for &length in &self.lengths {
            shortest = shortest.min(length);
            longest = longest.max(length);
        }
        (self.shortest, self.longest) = (shortest.min(longest) as usize, longest as usize);
        if self.source == Source::Text {
            // So that the wide copy of the last cells has bytes to read.
            self.text.resize(self.text.len() + GUARD_BYTES, 0);
        }
    }

    /// Has this row's cell quotes around it?
    pub(crate) fn has_quotes(&self, row: usize) -> bool {
        self.quoted || (self.source == Source::Flagged && self.flags[row] == 1)
    }

    /// The text of a row's cell, inside its quotes.
    pub(crate) fn cell<'a>(&'a self, row: usize, borrowed: &'a [u8]) -> &'a [u8] {
        let length = self.lengths[row] as usize;
        match self.source {
            Source::Short => &self.short[row][..length],
            Source::Text => &self.text[self.starts[row]..self.starts[row] + length],
            Source::Borrowed => &borrowed[self.starts[row]..self.starts[row] + length],
            Source::Flagged => &borrowed[self.starts[row]..self.starts[row] + length - 2 * usize::from(self.flags[row])],
        }
    }
}

/// Where each row of a block has been written up to, where it will end, and the output.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// With [`GUARD_BYTES`] behind the last row.
    pub(crate) out: &'a mut [u8],
    pub(crate) at: &'a mut [usize],
    pub(crate) ends: &'a [usize],
}

impl Target<'_> {
    /// Writes `prefix` and then its cell into every row. `following` is the length of what comes after the cell in the shortest case.
    pub(crate) fn scatter(&mut self, prefix: &[u8], lane: &Lane, borrowed: &[u8], following: usize) {
        let room = lane.shortest + following;
        match prefix.len() {
            0..=16 => self.scatter_cells(WidePrefix::<1>::new(prefix), lane, borrowed, room),
            17..=32 => self.scatter_cells(WidePrefix::<2>::new(prefix), lane, borrowed, room),
            _ => self.scatter_cells(ExactPrefix(prefix), lane, borrowed, room),
        }
    }

    fn scatter_cells(&mut self, prefix: impl Prefix, lane: &Lane, borrowed: &[u8], room: usize) {
        let text = match lane.source {
            Source::Short => lane.short.as_flattened(),
            Source::Text => lane.text.as_slice(),
            Source::Borrowed | Source::Flagged => borrowed,
        };
        let starts = lane.starts.as_slice();
        // How many stores a cell takes; none stands for a cell of any length.
        let stores = match (lane.source, lane.longest) {
            (Source::Short, _) | (_, ..=16) => 1,
            (_, ..=32) => 2,
            (_, ..=64) => 4,
            _ => 0,
        };
        // What the stores of the shortest row touch, counted from the cell's start.
        let width = if stores == 0 { LONG_STEP_BYTES + lane.shortest } else { stores * STORE_BYTES };
        let roomy = room >= width && prefix.len() + room >= prefix.width();
        match (lane.source, stores, roomy) {
            (Source::Short, _, true) => self.rows::<false>(prefix, lane, ShortCells(&lane.short)),
            (Source::Short, _, false) => self.rows::<true>(prefix, lane, ShortCells(&lane.short)),
            // These cells always take four stores or the long copy, so their width says nothing.
            (Source::Flagged, 0, _) => {
                self.rows::<true>(prefix, lane, FlaggedCells { cells: LongCells { text, starts }, flags: &lane.flags })
            }
            (Source::Flagged, _, _) => {
                self.rows::<true>(prefix, lane, FlaggedCells { cells: WideCells::<4> { text, starts }, flags: &lane.flags });
            }
            (_, 1, true) => self.rows::<false>(prefix, lane, WideCells::<1> { text, starts }),
            (_, 1, false) => self.rows::<true>(prefix, lane, WideCells::<1> { text, starts }),
            (_, 2, true) => self.rows::<false>(prefix, lane, WideCells::<2> { text, starts }),
            (_, 2, false) => self.rows::<true>(prefix, lane, WideCells::<2> { text, starts }),
            (_, 4, true) => self.rows::<false>(prefix, lane, WideCells::<4> { text, starts }),
            (_, 4, false) => self.rows::<true>(prefix, lane, WideCells::<4> { text, starts }),
            _ => self.rows::<true>(prefix, lane, LongCells { text, starts }),
        }
    }

    /// Writes every row's prefix and cell, four rows a turn: a turn of a loop costs a look at the clock.
    #[inline(always)]
    fn rows<const GUARDED: bool>(&mut self, prefix: impl Prefix, lane: &Lane, cells: impl Cells) {
        let count = self.at.len();
        let out = &mut *self.out;
        let (at, at_rest) = self.at.as_chunks_mut::<4>();
        let (lengths, lengths_rest) = lane.lengths[..count].as_chunks::<4>();
        let (ends, ends_rest) = self.ends[..count].as_chunks::<4>();
        let mut row = 0;
        for ((at, lengths), ends) in at.iter_mut().zip(lengths).zip(ends) {
            write_row::<GUARDED>(out, &prefix, &cells, row, &mut at[0], lengths[0], ends[0]);
            write_row::<GUARDED>(out, &prefix, &cells, row + 1, &mut at[1], lengths[1], ends[1]);
            write_row::<GUARDED>(out, &prefix, &cells, row + 2, &mut at[2], lengths[2], ends[2]);
            write_row::<GUARDED>(out, &prefix, &cells, row + 3, &mut at[3], lengths[3], ends[3]);
            row += 4;
        }
        for ((at, &length), &end) in at_rest.iter_mut().zip(lengths_rest).zip(ends_rest) {
            write_row::<GUARDED>(out, &prefix, &cells, row, at, length, end);
            row += 1;
        }
    }

    /// Writes the text that ends every row.
    pub(crate) fn end_rows(&mut self, end: &[u8]) {
        if let [byte] = end {
            self.at.iter().for_each(|&at| self.out[at] = *byte);
        } else {
            self.at.iter().for_each(|&at| copy_exact(self.out, at, end));
        }
    }
}

#[inline(always)]
fn write_row<const GUARDED: bool>(
    out: &mut [u8],
    prefix: &impl Prefix,
    cells: &impl Cells,
    row: usize,
    at: &mut usize,
    length: u32,
    end: usize,
) {
    let length = length as usize;
    let guard = if GUARDED { Guard::load(out, end) } else { Guard::default() };
    let start = prefix.write(out, *at);
    cells.copy(out, start, row, length);
    *at = start + length;
    if GUARDED {
        guard.put_back(out, end);
    }
}

/// Bytes behind a row that its stores may touch. Four values and no array: a copy of more than one store's width is a call in wasm.
#[derive(Clone, Copy, Default)]
struct Guard(u128, u128, u128, u128);

impl Guard {
    #[inline(always)]
    fn load(out: &[u8], at: usize) -> Self {
        let out = &out[at..at + GUARD_BYTES];
        let part = |part: usize| out[part * STORE_BYTES..].first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        Self(part(0), part(1), part(2), part(3))
    }

    #[inline(always)]
    fn put_back(self, out: &mut [u8], at: usize) {
        let out = &mut out[at..at + GUARD_BYTES];
        for (to, part) in out.as_chunks_mut::<STORE_BYTES>().0.iter_mut().zip([self.0, self.1, self.2, self.3]) {
            *to = part.to_le_bytes();
        }
    }
}

/// Constant text before every cell of a lane.
trait Prefix {
    /// Its length.
    fn len(&self) -> usize;

    /// Bytes that its stores touch.
    fn width(&self) -> usize;

    /// Writes it and tells where it ends.
    fn write(&self, out: &mut [u8], at: usize) -> usize;
}

/// Written with stores of fixed width.
struct WidePrefix<const STORES: usize> {
    padded: [[u8; STORE_BYTES]; STORES],
    length: usize,
}

impl<const STORES: usize> WidePrefix<STORES> {
    fn new(text: &[u8]) -> Self {
        let mut padded = [[0; STORE_BYTES]; STORES];
        for (to, from) in padded.iter_mut().zip(text.chunks(STORE_BYTES)) {
            to[..from.len()].copy_from_slice(from);
        }
        Self { padded, length: text.len() }
    }
}

impl<const STORES: usize> Prefix for WidePrefix<STORES> {
    fn len(&self) -> usize {
        self.length
    }

    fn width(&self) -> usize {
        STORES * STORE_BYTES
    }

    #[inline(always)]
    fn write(&self, out: &mut [u8], at: usize) -> usize {
        for (index, store_of) in self.padded.iter().enumerate() {
            store(out, at + index * STORE_BYTES, store_of);
        }
        at + self.length
    }
}

struct ExactPrefix<'a>(&'a [u8]);

impl Prefix for ExactPrefix<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn width(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn write(&self, out: &mut [u8], at: usize) -> usize {
        copy_exact(out, at, self.0);
        at + self.0.len()
    }
}

#[inline(always)]
fn store(out: &mut [u8], at: usize, cell: &[u8; STORE_BYTES]) {
    out[at..at + STORE_BYTES].copy_from_slice(cell);
}

/// How cells get to their places. A trait and no closures, because a closure called in five places is not inlined.
trait Cells {
    /// Writes a row's cell, whose length with quotes is `length`.
    fn copy(&self, out: &mut [u8], at: usize, row: usize, length: usize);
}

struct ShortCells<'a>(&'a [[u8; STORE_BYTES]]);

impl Cells for ShortCells<'_> {
    #[inline(always)]
    fn copy(&self, out: &mut [u8], at: usize, row: usize, _: usize) {
        store(out, at, &self.0[row]);
    }
}

/// Copied with `STORES` stores; near the end of their text, where that would read too far, exactly.
struct WideCells<'a, const STORES: usize> {
    text: &'a [u8],
    starts: &'a [usize],
}

impl<const STORES: usize> Cells for WideCells<'_, STORES> {
    #[inline(always)]
    fn copy(&self, out: &mut [u8], at: usize, row: usize, length: usize) {
        let (start, width) = (self.starts[row], STORES * STORE_BYTES);
        match self.text.get(start..start + width) {
            Some(from) => {
                let to = &mut out[at..at + width];
                for (to, from) in to.as_chunks_mut::<STORE_BYTES>().0.iter_mut().zip(from.as_chunks::<STORE_BYTES>().0) {
                    *to = *from;
                }
            }
            None => copy_last(out, at, self.text, start, length),
        }
    }
}

/// Copied in steps, the last of which may reach beyond the cell's end.
struct LongCells<'a> {
    text: &'a [u8],
    starts: &'a [usize],
}

impl Cells for LongCells<'_> {
    #[inline(always)]
    fn copy(&self, out: &mut [u8], at: usize, row: usize, length: usize) {
        let (start, padded) = (self.starts[row], length.next_multiple_of(LONG_STEP_BYTES));
        match self.text.get(start..start + padded) {
            Some(from) if length <= CALL_BYTES => {
                let to = &mut out[at..at + padded];
                for (to, from) in to.as_chunks_mut::<LONG_STEP_BYTES>().0.iter_mut().zip(from.as_chunks::<LONG_STEP_BYTES>().0) {
                    overlapping::<STORE_BYTES>(to, from);
                }
            }
            _ => copy_last(out, at, self.text, start, length),
        }
    }
}

/// Some with quotes around them; which ones nobody can predict. So every cell gets quotes, and they are written over where they do not
/// belong: the one before by the cell, the one after by what follows.
struct FlaggedCells<'a, C> {
    cells: C,
    flags: &'a [u8],
}

impl<C: Cells> Cells for FlaggedCells<'_, C> {
    #[inline(always)]
    fn copy(&self, out: &mut [u8], at: usize, row: usize, length: usize) {
        let flag = usize::from(self.flags[row]);
        let inner = length - 2 * flag;
        out[at] = b'"';
        self.cells.copy(out, at + flag, row, inner);
        out[at + flag + inner] = b'"';
    }
}

/// The rare copy: near the end of a text, and of very long cells.
#[cold]
#[inline(never)]
fn copy_last(out: &mut [u8], at: usize, text: &[u8], start: usize, length: usize) {
    copy_exact(out, at, &text[start..start + length]);
}

/// Copies exactly `from`: in overlapping pieces of fixed width while it is short, because a copy of run-time length is a call in wasm.
#[inline(always)]
pub(crate) fn copy_exact(out: &mut [u8], at: usize, from: &[u8]) {
    let length = from.len();
    let to = &mut out[at..at + length];
    match length {
        0 => {}
        1 => to[0] = from[0],
        2..=3 => overlapping::<2>(to, from),
        4..=7 => overlapping::<4>(to, from),
        8..=15 => overlapping::<8>(to, from),
        16..=32 => overlapping::<16>(to, from),
        33..=64 => {
            overlapping::<16>(&mut to[..32], &from[..32]);
            overlapping::<16>(&mut to[length - 32..], &from[length - 32..]);
        }
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes, which together are all: `N <= length <= 2 * N`.
#[inline(always)]
fn overlapping<const N: usize>(to: &mut [u8], from: &[u8]) {
    let last = from.len() - N;
    to[..N].copy_from_slice(&from[..N]);
    to[last..last + N].copy_from_slice(&from[last..last + N]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_copies_touch_nothing_else() {
        let from: Vec<u8> = (0..200).map(|byte| byte as u8 | 1).collect();
        for length in 0..=from.len() {
            let mut out = vec![0; length + 20];
            copy_exact(&mut out, 10, &from[..length]);
            assert_eq!(&out[10..10 + length], &from[..length]);
            assert!(out[..10].iter().chain(&out[10 + length..]).all(|&byte| byte == 0), "length {length}");
        }
    }
}
