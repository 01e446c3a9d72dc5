//! A lane: one column's cells for a block of rows, and how cells and the constant text before them get to their places.
//!
//! Cells are copied with stores of fixed width (16 bytes and multiples) that may run over what follows in the row. That is right as long as
//! what follows is written later, and within the same row: [`Lane::shortest`] and the lengths of the pieces that follow tell whether even
//! the shortest row has that room. Where it has not, the exact copy is taken.

/// Width of one store, and of a short cell.
pub(crate) const STORE_BYTES: usize = 16;

/// Bytes behind the output that wide stores may touch.
pub(crate) const SLACK_BYTES: usize = 4 * STORE_BYTES;

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
}

/// One column's cells for a block of rows.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) source: Source,
    /// Length of each cell's text.
    pub(crate) lengths: Vec<u32>,
    /// Where each cell's text begins, unless cells are short.
    pub(crate) starts: Vec<usize>,
    pub(crate) text: Vec<u8>,
    pub(crate) short: Vec<[u8; STORE_BYTES]>,
    /// Do quotes belong around every cell? They are then part of the constant text between cells.
    pub(crate) quoted: bool,
    /// Length of the shortest and the longest cell.
    pub(crate) shortest: usize,
    pub(crate) longest: usize,
}

/// Text kept between blocks at most; a block that needed more gives it back.
const MAX_KEPT_TEXT_BYTES: usize = 1 << 20;

impl Lane {
    /// Empties the lane for the next block.
    pub(crate) fn clear(&mut self) {
        self.source = Source::Text;
        self.quoted = false;
        self.lengths.clear();
        self.starts.clear();
        self.short.clear();
        self.text.clear();
        if self.text.capacity() > MAX_KEPT_TEXT_BYTES {
            self.text = Vec::new();
        }
    }

    /// Notes the shortest and the longest cell, when all are there.
    pub(crate) fn measure(&mut self) {
        let (mut shortest, mut longest) = (u32::MAX, 0);
        for &length in &self.lengths {
            shortest = shortest.min(length);
            longest = longest.max(length);
        }
        (self.shortest, self.longest) = (shortest.min(longest) as usize, longest as usize);
    }

    /// The text of a row's cell.
    pub(crate) fn cell<'a>(&'a self, row: usize, borrowed: &'a [u8]) -> &'a [u8] {
        let length = self.lengths[row] as usize;
        match self.source {
            Source::Short => &self.short[row][..length],
            Source::Text => &self.text[self.starts[row]..self.starts[row] + length],
            Source::Borrowed => &borrowed[self.starts[row]..self.starts[row] + length],
        }
    }
}

/// Where each row of a block has been written up to, and the output they are written to.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) out: &'a mut [u8],
    pub(crate) at: &'a mut [usize],
}

impl Target<'_> {
    /// Writes `prefix` and then its cell into every row. `following` is the length of what comes after the cell in the shortest case.
    pub(crate) fn scatter(&mut self, prefix: &[u8], lane: &Lane, borrowed: &[u8], following: usize) {
        let room = prefix.len() + lane.shortest + following;
        match prefix.len() {
            0..=STORE_BYTES if room >= STORE_BYTES => self.scatter_cells(WidePrefix::<1>::new(prefix), lane, borrowed, following),
            17..=32 if room >= 2 * STORE_BYTES => self.scatter_cells(WidePrefix::<2>::new(prefix), lane, borrowed, following),
            _ => self.scatter_cells(ExactPrefix(prefix), lane, borrowed, following),
        }
    }

    fn scatter_cells(&mut self, prefix: impl Prefix, lane: &Lane, borrowed: &[u8], following: usize) {
        let text = match lane.source {
            Source::Short => &[],
            Source::Text => lane.text.as_slice(),
            Source::Borrowed => borrowed,
        };
        let room = lane.shortest + following;
        match (lane.source, lane.longest) {
            (Source::Short, _) if room >= STORE_BYTES => self.scatter_short(prefix, lane),
            (Source::Short, _) => self.scatter_with(prefix, lane, |out, at, row, length| copy_exact(out, at, &lane.short[row][..length])),
            (_, ..=16) if room >= 16 => {
                self.scatter_with(prefix, lane, |out, at, row, length| copy_wide::<1>(out, at, text, lane.starts[row], length))
            }
            (_, ..=32) if room >= 32 => {
                self.scatter_with(prefix, lane, |out, at, row, length| copy_wide::<2>(out, at, text, lane.starts[row], length))
            }
            (_, ..=64) if room >= 64 => {
                self.scatter_with(prefix, lane, |out, at, row, length| copy_wide::<4>(out, at, text, lane.starts[row], length))
            }
            _ => self.scatter_with(prefix, lane, |out, at, row, length| {
                let start = lane.starts[row];
                copy_exact(out, at, &text[start..start + length]);
            }),
        }
    }

    fn scatter_short(&mut self, prefix: impl Prefix, lane: &Lane) {
        let count = self.at.len();
        for ((at, cell), &length) in self.at.iter_mut().zip(&lane.short[..count]).zip(&lane.lengths[..count]) {
            let start = prefix.write(self.out, *at);
            store(self.out, start, cell);
            *at = start + length as usize;
        }
    }

    fn scatter_with(&mut self, prefix: impl Prefix, lane: &Lane, copy: impl Fn(&mut [u8], usize, usize, usize)) {
        let count = self.at.len();
        for (row, (at, &length)) in self.at.iter_mut().zip(&lane.lengths[..count]).enumerate() {
            let start = prefix.write(self.out, *at);
            copy(self.out, start, row, length as usize);
            *at = start + length as usize;
        }
    }

    /// Writes the text that ends every row.
    pub(crate) fn end_rows(&mut self, end: &[u8]) {
        for at in self.at.iter_mut() {
            copy_exact(self.out, *at, end);
            *at += end.len();
        }
    }
}

/// Constant text before every cell of a lane.
trait Prefix {
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

/// Copies a cell with `STORES` stores; near the end of its text, where that would read too far, exactly.
#[inline(always)]
fn copy_wide<const STORES: usize>(out: &mut [u8], at: usize, text: &[u8], start: usize, length: usize) {
    let width = STORES * STORE_BYTES;
    match text.get(start..start + width) {
        Some(from) => {
            let to = &mut out[at..at + width];
            for (to, from) in to.chunks_exact_mut(STORE_BYTES).zip(from.chunks_exact(STORE_BYTES)) {
                to.copy_from_slice(from);
            }
        }
        None => copy_exact(out, at, &text[start..start + length]),
    }
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
