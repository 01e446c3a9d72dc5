//! Lengths of plainly encoded Parquet byte arrays, each of which is preceded by its length.

/// The lengths of byte arrays that are each preceded by their length. Truncated data is reported by the reader.
pub(super) fn lengths(mut rest: &[u8]) -> impl Iterator<Item = u32> + '_ {
    std::iter::from_fn(move || {
        let (length, values) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        rest = usize::try_from(length).ok().and_then(|length| values.get(length..)).unwrap_or_default();
        Some(length)
    })
}
