//! What the core library does with bytes by calls that are slow in the sandbox.

/// Are these bytes equal? As words, and without a call: in wasm slices are compared byte by byte.
#[inline(always)]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match one.len() {
        0..4 => one.iter().zip(other).all(|(one, other)| one == other),
        4..8 => one.first_chunk::<4>() == other.first_chunk::<4>() && one.last_chunk::<4>() == other.last_chunk::<4>(),
        _ => {
            // The last word may have bytes in common with the one before it.
            let mut words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
            one.last_chunk::<8>() == other.last_chunk::<8>() && words.all(|(one, other)| one == other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn a_difference_is_seen_at_any_place_of_any_length() {
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            assert!(same(&bytes, &bytes.clone()), "{length}");
            assert!(!same(&bytes, &[bytes.as_slice(), &[0]].concat()), "{length} and one more");
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 0x80;
                assert!(!same(&bytes, &other) && !same(&other, &bytes), "{length} bytes, at {at}");
            }
        }
    }
}
