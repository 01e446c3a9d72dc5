//! A lane: one column's cells for a block of rows, and how cells and the constant text before them get to their places.
//!
//! Cells are copied with stores of fixed width (16 bytes and multiples) that may run over what follows. Within the row that is right,
//! because what follows is written later: lanes are scattered in the order of output. [`ColumnCells::shortest`] and the lengths of the pieces
//! that follow tell whether even the shortest row has that room. Where it has not, the store may reach the next rows, which hold text
//! already: then the [`GUARD_BYTES`] behind the row's end are read before and put back after.

use crate::limits::CHUNK_BYTES;

/// Width of one store, and of a short cell.
pub(crate) const STORE_BYTES: usize = 16;

/// Stores that a cell takes at most, but for long cells, which overshoot less.
const GUARD_STORES: usize = 4;

/// How far a store may reach beyond the end of a row, and so the bytes behind the output that stores may touch.
pub(crate) const GUARD_BYTES: usize = GUARD_STORES * STORE_BYTES;

/// What rows are written to: a chunk, and room behind it for stores that begin in it.
pub(crate) type Staging = [u8; STAGING_BYTES];

/// Bytes of [`Staging`].
pub(crate) const STAGING_BYTES: usize = CHUNK_BYTES + GUARD_BYTES;

/// Where rows end at most: a store that runs over their end, and the guard that puts back what it ran over, begin in the chunk, too.
pub(crate) const MAX_END: usize = CHUNK_BYTES - GUARD_BYTES;

/// Stores begin below [`CHUNK_BYTES`], because no row ends beyond [`MAX_END`], so that this changes no position; but it shows the compiler that
/// a store is within [`Staging`], and it leaves out a check of bounds, with which the loops below do not fit the registers.
const POSITION_MASK: usize = CHUNK_BYTES - 1;

const _: () = assert!(CHUNK_BYTES.is_power_of_two(), "a mask");

/// Width of a step of the copy of a long cell.
const LONG_STEP_BYTES: usize = 2 * STORE_BYTES;

/// Cells longer than this are copied by a call: its cost is small then, and it is faster a byte.
const CALL_BYTES: usize = 512;

/// Where a lane's cells are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CellSource {
    /// In [`ColumnCells::short`], one fixed-width cell a row.
    Short,
    /// In [`ColumnCells::text`], from [`ColumnCells::starts`].
    #[default]
    Text,
    /// In the column's own value buffer, from [`ColumnCells::starts`].
    Borrowed,
    /// As [`CellSource::Borrowed`], with quotes around those that [`ColumnCells::flags`] marks.
    Flagged,
}

/// One column's cells for a block of rows.
#[derive(Debug, Default)]
pub(crate) struct ColumnCells {
    pub(crate) source: CellSource,
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

/// Text that the lanes of a block keep for the next at most; what a block needed beyond it is given back.
const MAX_KEPT_TEXT_BYTES: usize = 16 << 20;

impl ColumnCells {
    /// Empties the lane for the next block. Short cells stay, to be written over. `kept` is what the lanes of the block have kept so far.
    pub(crate) fn clear(&mut self, kept: &mut usize) {
        self.source = CellSource::Text;
        self.quoted = false;
        self.lengths.clear();
        self.starts.clear();
        self.text.clear();
        if *kept + self.text.capacity() > MAX_KEPT_TEXT_BYTES {
            self.text = Vec::new();
        }
        *kept += self.text.capacity();
    }

    /// Makes the lane one of short cells, and lends them and their lengths.
    pub(crate) fn short_cells(&mut self, count: usize) -> (&mut [[u8; STORE_BYTES]], &mut [u32]) {
        self.source = CellSource::Short;
        self.short.resize(count.max(self.short.len()), [0; STORE_BYTES]);
        self.lengths.resize(count, 0);
        (&mut self.short[..count], &mut self.lengths)
    }

    /// Notes where a cell of [`CellSource::Text`] begins that was appended to `text` from `start` on.
    #[inline]
    pub(crate) fn end_cell(&mut self, start: usize) {
        self.starts.push(start);
        self.lengths.push((self.text.len() - start) as u32);
    }

    /// Notes the shortest and the longest cell, when all are there, and adds the length of each to its row's.
    pub(crate) fn measure(&mut self, rows: &mut [usize]) {
        let (mut least, mut most) = ([u32::MAX; 8], [0; 8]);
        let (lengths, lengths_rest) = self.lengths.as_chunks::<8>();
        let (rows, rows_rest) = rows.as_chunks_mut::<8>();
        for (rows, lengths) in rows.iter_mut().zip(lengths) {
            for (lane, &length) in lengths.iter().enumerate() {
                rows[lane] += length as usize;
                least[lane] = least[lane].min(length);
                most[lane] = most[lane].max(length);
            }
        }
        for (row, &length) in rows_rest.iter_mut().zip(lengths_rest) {
            *row += length as usize;
            least[0] = least[0].min(length);
            most[0] = most[0].max(length);
        }
        let longest = most.into_iter().fold(0, u32::max);
        self.shortest = least.into_iter().fold(longest, u32::min) as usize;
        self.longest = longest as usize;
        if self.source == CellSource::Text {
            // So that the wide copy of the last cells has bytes to read.
            self.text.resize(self.text.len() + GUARD_BYTES, 0);
        }
    }

    /// Has this row's cell quotes around it?
    pub(crate) fn has_quotes(&self, row: usize) -> bool {
        self.quoted || (self.source == CellSource::Flagged && self.flags[row] == 1)
    }

    /// The text of a row's cell, inside its quotes.
    pub(crate) fn cell<'a>(&'a self, row: usize, borrowed: &'a [u8]) -> &'a [u8] {
        let length = self.lengths[row] as usize;
        match self.source {
            CellSource::Short => &self.short[row][..length],
            CellSource::Text => &self.text[self.starts[row]..self.starts[row] + length],
            CellSource::Borrowed => &borrowed[self.starts[row]..self.starts[row] + length],
            CellSource::Flagged => &borrowed[self.starts[row]..self.starts[row] + length - 2 * usize::from(self.flags[row])],
        }
    }
}

/// Where each row of a block has been written up to, where it will end, and the output.
#[derive(Debug)]
pub(crate) struct RowWriter<'a> {
    pub(crate) out: &'a mut Staging,
    pub(crate) at: &'a mut [usize],
    pub(crate) ends: &'a [usize],
}

impl RowWriter<'_> {
    /// Writes `prefix` and then its cell into every row. `following` is the length of what comes after the cell in the shortest case.
    pub(crate) fn scatter(&mut self, prefix: &[u8], lane: &ColumnCells, borrowed: &[u8], following: usize) {
        let room = lane.shortest + following;
        match prefix.len() {
            0..=16 => self.scatter_cells(WidePrefix::<1>::new(prefix), lane, borrowed, room),
            17..=32 => self.scatter_cells(WidePrefix::<2>::new(prefix), lane, borrowed, room),
            _ => self.scatter_cells(ExactPrefix(prefix), lane, borrowed, room),
        }
    }

    fn scatter_cells(&mut self, prefix: impl Prefix, lane: &ColumnCells, borrowed: &[u8], room: usize) {
        let starts = lane.starts.as_slice();
        let text = match lane.source {
            CellSource::Short | CellSource::Text => lane.text.as_slice(),
            CellSource::Borrowed | CellSource::Flagged => borrowed,
        };
        match (lane.source, lane.longest.div_ceil(STORE_BYTES)) {
            (CellSource::Short, _) => self.guarded(prefix, lane, ShortCells(&lane.short), room),
            (CellSource::Flagged, 0..=3) => self.flagged(prefix, lane, WideCells::<3> { text, starts }, room),
            (CellSource::Flagged, 4) => self.flagged(prefix, lane, WideCells::<4> { text, starts }, room),
            (CellSource::Flagged, _) => self.flagged(prefix, lane, LongCells { text, starts }, room),
            (_, 0..=1) => self.guarded(prefix, lane, WideCells::<1> { text, starts }, room),
            (_, 2) => self.guarded(prefix, lane, WideCells::<2> { text, starts }, room),
            (_, 3) => self.guarded(prefix, lane, WideCells::<3> { text, starts }, room),
            (_, 4) => self.guarded(prefix, lane, WideCells::<4> { text, starts }, room),
            _ => self.guarded(prefix, lane, LongCells { text, starts }, room),
        }
    }

    fn flagged(&mut self, prefix: impl Prefix, lane: &ColumnCells, cells: impl Cells<Place = usize>, room: usize) {
        self.guarded(prefix, lane, FlaggedCells { cells, flags: &lane.flags }, room);
    }

    /// Guards as much behind every row as the stores of the shortest one can touch.
    fn guarded(&mut self, prefix: impl Prefix, lane: &ColumnCells, cells: impl Cells, room: usize) {
        let beyond = cells.width(lane.shortest).max(prefix.width().saturating_sub(prefix.len())).saturating_sub(room);
        let piece = Piece { prefix, cells };
        match beyond.div_ceil(STORE_BYTES) {
            0 => self.rows::<0>(&piece, lane),
            1 => self.rows::<1>(&piece, lane),
            _ => self.rows::<GUARD_STORES>(&piece, lane),
        }
    }

    /// Writes every row's prefix and cell, four rows a turn: a turn of a loop costs a look at the clock.
    #[inline(never)]
    fn rows<const GUARDS: usize>(&mut self, piece: &Piece<impl Prefix, impl Cells>, lane: &ColumnCells) {
        let count = self.at.len();
        let out = &mut *self.out;
        let (at, at_rest) = self.at.as_chunks_mut::<4>();
        let (places, places_rest) = piece.cells.places()[..count].as_chunks::<4>();
        let (lengths, lengths_rest) = lane.lengths[..count].as_chunks::<4>();
        let (ends, ends_rest) = self.ends[..count].as_chunks::<4>();
        let mut row = 0;
        for (((at, places), lengths), ends) in at.iter_mut().zip(places).zip(lengths).zip(ends) {
            at[0] = piece.write::<GUARDS>(out, at[0], row, &places[0], lengths[0], ends[0]);
            at[1] = piece.write::<GUARDS>(out, at[1], row + 1, &places[1], lengths[1], ends[1]);
            at[2] = piece.write::<GUARDS>(out, at[2], row + 2, &places[2], lengths[2], ends[2]);
            at[3] = piece.write::<GUARDS>(out, at[3], row + 3, &places[3], lengths[3], ends[3]);
            row += 4;
        }
        for (((at, place), &length), &end) in at_rest.iter_mut().zip(places_rest).zip(lengths_rest).zip(ends_rest) {
            *at = piece.write::<GUARDS>(out, *at, row, place, length, end);
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

/// What is written into every row: a prefix, and its cell.
struct Piece<P, C> {
    prefix: P,
    cells: C,
}

impl<P: Prefix, C: Cells> Piece<P, C> {
    /// Writes prefix and cell of a row from `at` on, and returns where they end.
    #[inline(always)]
    fn write<const GUARDS: usize>(&self, out: &mut Staging, at: usize, row: usize, place: &C::Place, length: u32, end: usize) -> usize {
        let guards: [_; GUARDS] = std::array::from_fn(|part| load(out, end + part * STORE_BYTES));
        let start = self.prefix.write(out, at);
        self.cells.copy(out, start, row, place, length as usize);
        for (part, guard) in guards.iter().enumerate() {
            store(out, end + part * STORE_BYTES, guard);
        }
        start + length as usize
    }
}

#[inline(always)]
fn load(out: &Staging, at: usize) -> [u8; STORE_BYTES] {
    debug_assert!(at < CHUNK_BYTES, "a position that the mask would change: {at}");
    let at = at & POSITION_MASK;
    let mut bytes = [0; STORE_BYTES];
    bytes.copy_from_slice(&out[at..at + STORE_BYTES]);
    bytes
}

#[inline(always)]
fn store(out: &mut Staging, at: usize, cell: &[u8; STORE_BYTES]) {
    debug_assert!(at < CHUNK_BYTES, "a position that the mask would change: {at}");
    let at = at & POSITION_MASK;
    out[at..at + STORE_BYTES].copy_from_slice(cell);
}

/// Constant text before every cell of a lane.
trait Prefix {
    /// Its length.
    fn len(&self) -> usize;

    /// Bytes that its stores touch.
    fn width(&self) -> usize;

    /// Writes it and returns where it ends.
    fn write(&self, out: &mut Staging, at: usize) -> usize;
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
    fn write(&self, out: &mut Staging, at: usize) -> usize {
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
    fn write(&self, out: &mut Staging, at: usize) -> usize {
        copy_exact(out, at, self.0);
        at + self.0.len()
    }
}

/// How cells get to their places. A trait and no closures, because a closure called in five places is not inlined.
trait Cells {
    /// What gives a row's cell.
    type Place;

    /// The cells of all rows, and perhaps more.
    fn places(&self) -> &[Self::Place];

    /// Bytes that the stores of a cell of this length touch.
    fn width(&self, length: usize) -> usize;

    /// Writes a row's cell, whose length with quotes is `length`.
    fn copy(&self, out: &mut Staging, at: usize, row: usize, place: &Self::Place, length: usize);
}

struct ShortCells<'a>(&'a [[u8; STORE_BYTES]]);

impl Cells for ShortCells<'_> {
    type Place = [u8; STORE_BYTES];

    fn places(&self) -> &[Self::Place] {
        self.0
    }

    fn width(&self, _: usize) -> usize {
        STORE_BYTES
    }

    #[inline(always)]
    fn copy(&self, out: &mut Staging, at: usize, _: usize, cell: &Self::Place, _: usize) {
        store(out, at, cell);
    }
}

/// Copied with `STORES` stores; near the end of their text, where that would read too far, exactly.
struct WideCells<'a, const STORES: usize> {
    text: &'a [u8],
    starts: &'a [usize],
}

impl<const STORES: usize> Cells for WideCells<'_, STORES> {
    type Place = usize;

    fn places(&self) -> &[usize] {
        self.starts
    }

    fn width(&self, _: usize) -> usize {
        STORES * STORE_BYTES
    }

    #[inline(always)]
    fn copy(&self, out: &mut Staging, at: usize, _: usize, &start: &usize, length: usize) {
        match self.text.get(start..start + STORES * STORE_BYTES) {
            Some(from) => {
                for (part, from) in from.as_chunks::<STORE_BYTES>().0.iter().enumerate() {
                    store(out, at + part * STORE_BYTES, from);
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
    type Place = usize;

    fn places(&self) -> &[usize] {
        self.starts
    }

    fn width(&self, length: usize) -> usize {
        length + LONG_STEP_BYTES
    }

    #[inline(always)]
    fn copy(&self, out: &mut Staging, at: usize, _: usize, &start: &usize, length: usize) {
        let padded = length.next_multiple_of(LONG_STEP_BYTES);
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

/// Some with quotes around them; which ones cannot be predicted. So every cell gets quotes, and they are written over where they do not
/// belong: the one before by the cell, the one after by what follows.
struct FlaggedCells<'a, C> {
    cells: C,
    flags: &'a [u8],
}

impl<C: Cells> Cells for FlaggedCells<'_, C> {
    type Place = C::Place;

    fn places(&self) -> &[C::Place] {
        self.cells.places()
    }

    fn width(&self, length: usize) -> usize {
        // The quote before the cell moves it.
        1 + self.cells.width(length)
    }

    #[inline(always)]
    fn copy(&self, out: &mut Staging, at: usize, row: usize, place: &C::Place, length: usize) {
        let flag = usize::from(self.flags[row]);
        let inner = length - 2 * flag;
        out[at & POSITION_MASK] = b'"';
        self.cells.copy(out, at + flag, row, place, inner);
        out[(at + flag + inner) & POSITION_MASK] = b'"';
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
    fn lanes_keep_so_much_text_together() {
        let mut lanes: Vec<ColumnCells> =
            (0..40).map(|_| ColumnCells { text: Vec::with_capacity(1 << 20), ..ColumnCells::default() }).collect();
        let mut kept = 0;
        lanes.iter_mut().for_each(|lane| lane.clear(&mut kept));
        let held: usize = lanes.iter().map(|lane| lane.text.capacity()).sum();
        assert_eq!((held, kept), (MAX_KEPT_TEXT_BYTES, MAX_KEPT_TEXT_BYTES));
    }

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
