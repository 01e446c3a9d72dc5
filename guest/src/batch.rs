//! How rows are cut into objects: counters beside an open object, and nothing else.
//!
//! The rules are the reference's. A record of `n` rows and `size` bytes weighs ⌊size ÷ n⌋ bytes a row (at least 1). It first fills the open
//! object; what is left over goes into full objects; the rest opens the next one. An object ends as soon as a limit is reached. Limits that
//! are off do not count.

use crate::spec::Rotation;
use std::num::NonZeroU64;

/// What an open object holds already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows.
    pub rows: u64,
    /// Bytes, as records weigh.
    pub bytes: u64,
}

/// The limits of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    rows: Option<NonZeroU64>,
    bytes: Option<NonZeroU64>,
}

impl From<Rotation> for Limits {
    fn from(rotation: Rotation) -> Self {
        match rotation {
            Rotation::Never => Self::default(),
            Rotation::Every { rows, bytes, age: _ } => Self { rows, bytes },
        }
    }
}

/// The next rows of a record, all into one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// How many; 0 only if the open object ends without taking any.
    pub rows: u64,
    /// The object ends after them.
    pub ends: bool,
}

/// A record, cut: what fills the open object, so many full objects of as many rows each, and the rest.
#[derive(Debug, Default)]
struct Cut {
    first: Option<Piece>,
    full: u64,
    each: u64,
    last: Option<Piece>,
}

impl Limits {
    /// Cuts a record of `rows` rows and `size` bytes; brings the counters to what the object left open holds.
    pub fn cut(&self, open: &mut Counters, rows: u64, size: u64) -> impl Iterator<Item = Piece> + use<> {
        let Cut { first, full, each, last } = self.plan(open, rows, size);
        // One at a time: forty million rows may be as many pieces.
        first.into_iter().chain((0..full).map(move |_| Piece { rows: each, ends: true })).chain(last)
    }

    fn plan(&self, open: &mut Counters, rows: u64, size: u64) -> Cut {
        let mut cut = Cut::default();
        if rows == 0 {
            return cut;
        }
        let row_bytes = (size / rows).max(1);
        let filled = self.capacity(*open, row_bytes);
        if filled >= rows {
            open.rows += rows;
            open.bytes = open.bytes.saturating_add(size);
            cut.last = Some(self.last(open, rows));
            return cut;
        }
        if filled > 0 || open.rows > 0 {
            cut.first = Some(Piece { rows: filled, ends: true });
        }
        let whole = self.capacity(Counters::default(), row_bytes);
        let left = rows - filled;
        // A row heavier than the limit has an object of its own.
        (cut.full, cut.each) = left.checked_div(whole).map_or((left, 1), |full| (full, whole));
        let rest = left - cut.full * cut.each;
        *open = Counters::default();
        if rest > 0 {
            open.rows = rest;
            open.bytes = if cut.full == 0 { size.saturating_sub(filled * row_bytes) } else { rest * row_bytes };
            cut.last = Some(self.last(open, rest));
        }
        cut
    }

    /// How many rows of a weight an object takes that holds so much already.
    fn capacity(&self, open: Counters, row_bytes: u64) -> u64 {
        let by_rows = self.rows.map_or(u64::MAX, |limit| limit.get().saturating_sub(open.rows));
        let by_bytes = self.bytes.map_or(u64::MAX, |limit| limit.get().saturating_sub(open.bytes) / row_bytes);
        by_rows.min(by_bytes)
    }

    /// The piece that leaves the object open, unless it has reached a limit.
    fn last(&self, open: &mut Counters, rows: u64) -> Piece {
        let reached = |limit: Option<NonZeroU64>, value: u64| limit.is_some_and(|limit| value >= limit.get());
        let ends = reached(self.rows, open.rows) || reached(self.bytes, open.bytes);
        if ends {
            *open = Counters::default();
        }
        Piece { rows, ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(rows: u64, bytes: u64) -> Limits {
        Limits { rows: NonZeroU64::new(rows), bytes: NonZeroU64::new(bytes) }
    }

    /// Rows of each finished object, and of the one left open (0 = none).
    fn objects(limits: Limits, records: &[(u64, u64)]) -> (Vec<u64>, u64) {
        let (mut open, mut rows, mut finished) = (Counters::default(), 0, Vec::new());
        for (count, size) in records {
            for piece in limits.cut(&mut open, *count, *size) {
                rows += piece.rows;
                if piece.ends {
                    finished.push(std::mem::take(&mut rows));
                }
            }
        }
        (finished, rows)
    }

    #[track_caller]
    fn check(limits: Limits, records: &[(u64, u64)], finished: &[u64], open: u64) {
        assert_eq!(objects(limits, records), (finished.to_vec(), open));
    }

    #[test]
    fn rows_limit() {
        check(limits(4, 0), &[(4, 40), (4, 40)], &[4, 4], 0);
        check(limits(4, 0), &[(3, 30), (11, 110), (1, 10)], &[4, 4, 4], 3);
        check(limits(4, 0), &[(9, 9)], &[4, 4], 1);
    }

    #[test]
    fn bytes_limit() {
        check(limits(0, 2_000), &[(100, 6_800), (7, 476)], &[29, 29, 29], 20);
        check(limits(0, 10), &[(4, 400)], &[1, 1, 1, 1], 0);
        check(limits(0, 100), &[(1, 99), (1, 99)], &[1, 1], 0);
    }

    #[test]
    fn no_limits() {
        check(limits(0, 0), &[(30, 300), (30, 300)], &[], 60);
        check(limits(3, 0), &[(0, 0)], &[], 0);
    }

    /// As many pieces as rows are made one by one: in a list they would take more memory than there is.
    #[test]
    fn pieces_are_made_when_they_are_asked_for() {
        let mut open = Counters::default();
        let mut pieces = limits(1, 0).cut(&mut open, u64::MAX, 0);
        assert!(pieces.by_ref().take(3).all(|piece| piece == Piece { rows: 1, ends: true }));
    }

    #[test]
    fn rows_without_bytes_weigh_one_byte() {
        check(limits(0, 4), &[(10, 0)], &[4, 4], 2);
    }

    proptest! {
        #[test]
        fn no_row_is_lost_and_no_limit_passed(
            row_limit in 0_u64..20, byte_limit in 0_u64..500, records in prop::collection::vec((0_u64..50, 0_u64..2_000), 0..20),
        ) {
            let (finished, open) = objects(limits(row_limit, byte_limit), &records);
            let all: u64 = records.iter().map(|(rows, _)| rows).sum();
            prop_assert_eq!(finished.iter().sum::<u64>() + open, all);
            prop_assert!(finished.iter().all(|rows| *rows > 0));
            if row_limit > 0 {
                prop_assert!(finished.iter().all(|rows| *rows <= row_limit));
                prop_assert!(open < row_limit);
            }
        }
    }
}
