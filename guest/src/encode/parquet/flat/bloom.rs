//! Bloom filters: of a column's values in a row group, what a reader asks before it reads any.
//!
//! A filter begins as large as one gets and is folded at its end to the least size at which one in a hundred values that are not there passes:
//! so it is sized by the different values there were. Folding halves a filter into just the one that half the size would have been.

use parquet::bloom_filter::Sbbf;

/// Bytes of a filter at most. Some 860,000 different values fit; with more of them, more that are not there pass.
const MOST_BYTES: usize = 1 << 20;

/// The share of values that are not there and pass.
const FALSE_POSITIVES: f64 = 0.01;

/// A filter in the making: none before the first value.
#[derive(Debug, Default)]
pub(super) struct Bloom(Option<Sbbf>);

impl Bloom {
    /// Takes a value in its plain encoding, without its length.
    pub(super) fn insert(&mut self, value: &[u8]) {
        self.0.get_or_insert_with(|| Sbbf::new_with_num_of_bytes(MOST_BYTES)).insert(value);
    }

    pub(super) fn held_bytes(&self) -> usize {
        if self.0.is_some() { MOST_BYTES } else { 0 }
    }

    /// The filter at its size.
    pub(super) fn filter(self) -> Sbbf {
        // One that no value passes has the least size.
        let mut filter = self.0.unwrap_or_else(|| Sbbf::new_with_num_of_bytes(0));
        filter.fold_to_target_fpp(FALSE_POSITIVES);
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_from_the_different_values() {
        let check = |values: u64, repeats: u64, most_bytes: usize| {
            let mut bloom = Bloom::default();
            for value in (0..values).flat_map(|value| std::iter::repeat_n(value, repeats as usize)) {
                bloom.insert(&value.to_le_bytes());
            }
            let filter = bloom.filter();
            assert!(filter.num_blocks() * 32 <= most_bytes, "{values}: {} blocks", filter.num_blocks());
            assert!((0..values).all(|value| filter.check(&value.to_le_bytes()[..])), "{values}: what is there passes");
            let passing = (values..values + 10_000).filter(|value| filter.check(&value.to_le_bytes()[..])).count();
            assert!(passing <= 150, "{values}: {passing} of 10,000 pass");
        };
        check(0, 1, 32);
        check(1, 1_000, 64);
        check(1_000, 20, 2 << 10);
        check(100_000, 1, 256 << 10);
    }
}
