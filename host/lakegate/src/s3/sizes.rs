//! How large the parts of a multipart upload are.

/// Parts of one upload: a limit of S3.
const MAX_PARTS: u32 = 10_000;

/// The least size of every part but the last: a limit of S3.
pub(crate) const MIN_PART_BYTES: u64 = 5 << 20;

/// The largest part: a limit of S3.
pub(crate) const MAX_PART_BYTES: u64 = 5 << 30;

/// Parts of one size before the size doubles: 10,000 parts then hold 4.88 TiB, about the largest object of S3.
const PARTS_A_SIZE: u32 = 1_000;

/// The sizes of the parts of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartSizes {
    /// All equal: asked for, or because the store may be one that demands it.
    Equal(u64),
    /// Doubling every 1,000 parts, up to a cap.
    Doubling { first: u64, cap: u64 },
}

impl PartSizes {
    /// All of the first one's size.
    pub(super) fn equal(self) -> Self {
        match self {
            Self::Equal(bytes) | Self::Doubling { first: bytes, .. } => Self::Equal(bytes),
        }
    }

    /// Bytes of part `number` (from 1); `None` past the last one allowed.
    pub(super) fn part_bytes(self, number: u32) -> Option<u64> {
        if number == 0 || number > MAX_PARTS {
            return None;
        }
        Some(match self {
            Self::Equal(bytes) => bytes,
            Self::Doubling { first, cap } => first.saturating_mul(1 << ((number - 1) / PARTS_A_SIZE)).min(cap.max(first)),
        })
    }

    /// The words for an object that has `bytes` already and needs one more part than allowed.
    pub(super) fn too_many_parts(self, bytes: u64) -> String {
        match self {
            Self::Equal(size) if size < MAX_PART_BYTES => format!(
                "the object needs more than {MAX_PARTS} parts of {size} bytes ({bytes} bytes so far), which is all a store allows; \
                 `part_size: {}` holds twice as much",
                size.saturating_mul(2).min(MAX_PART_BYTES)
            ),
            Self::Equal(_) => {
                format!("the object is larger than a store allows ({bytes} bytes so far in {MAX_PARTS} parts); write smaller objects")
            }
            Self::Doubling { cap, .. } => format!(
                "the object needs more than {MAX_PARTS} parts ({bytes} bytes so far), which is all a store allows; parts of {cap} bytes \
                 are the largest that memory allows here: give more memory, or write smaller objects"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_parts_reach_the_largest_object() {
        let sizes = PartSizes::Doubling { first: MIN_PART_BYTES, cap: MAX_PART_BYTES };
        let check = |number, bytes| assert_eq!(sizes.part_bytes(number), bytes, "part {number}");
        check(0, None);
        check(1, Some(5 << 20));
        check(1_000, Some(5 << 20));
        check(1_001, Some(10 << 20));
        check(10_000, Some(5 << 29));
        check(10_001, None);
        let whole: u64 = (1..=MAX_PARTS).filter_map(|number| sizes.part_bytes(number)).sum();
        assert!(whole > 4_880 << 30, "{whole}");
    }

    #[test]
    fn a_cap_ends_the_doubling() {
        let sizes = PartSizes::Doubling { first: MIN_PART_BYTES, cap: 16 << 20 };
        assert_eq!(sizes.part_bytes(1_001), Some(10 << 20));
        assert_eq!(sizes.part_bytes(2_001), Some(16 << 20));
        let narrow = PartSizes::Doubling { first: MIN_PART_BYTES, cap: 1 };
        assert_eq!(narrow.part_bytes(9_999), Some(MIN_PART_BYTES));
    }

    #[test]
    fn equal_parts_end_with_words_that_name_a_size_that_fits() {
        let sizes = PartSizes::Equal(MIN_PART_BYTES);
        assert_eq!(sizes.part_bytes(10_000), Some(MIN_PART_BYTES));
        assert_eq!(sizes.part_bytes(10_001), None);
        let words = sizes.too_many_parts(52_428_800_000);
        assert!(words.contains("`part_size: 10485760`") && words.contains("10000 parts"), "{words}");
    }
}
