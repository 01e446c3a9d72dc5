//! Short appends and searches, eight bytes at a time.
//!
//! A copy whose length is known only at run time, or is not that of one store (1, 2, 4, 8 or 16 bytes), is a call out of compiled wasm, which
//! costs more than a short copy itself. So short texts
//! are appended in pieces of fixed width, the last of which overlaps or is cut back, and bytes are looked for in words of eight.

/// One in every byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The highest bit of every byte.
pub(crate) const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The byte in all eight places.
pub(crate) const fn splat(byte: u8) -> u64 {
    ONES * byte as u64
}

/// Marks (by its highest bit) the first byte that is zero. Bytes after the first may be marked in error.
#[inline(always)]
pub(crate) fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Marks the first byte below `limit` (at most 0x80). Bytes after the first may be marked in error.
#[inline(always)]
pub(crate) fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(splat(limit)) & !word & HIGHS
}

/// Marks every byte that is zero, and no other.
#[inline(always)]
pub(crate) fn all_zeros(word: u64) -> u64 {
    !(((word & !HIGHS) + !HIGHS) | word) & HIGHS
}

/// The place of the first marked byte of a word.
#[inline(always)]
pub(crate) fn first_mark(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// The place of the first byte that is marked. `marks` is called word by word; of its answer only the first mark of a word is relied on.
#[inline(always)]
pub(crate) fn find(text: &[u8], marks: impl Fn(u64) -> u64) -> Option<usize> {
    let (words, tail) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = marks(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at * 8 + first_mark(found));
        }
    }
    if tail.is_empty() {
        return None;
    }
    let found = marks(tail_word(text, tail.len())) & ((1 << (8 * tail.len())) - 1);
    (found != 0).then(|| words.len() * 8 + first_mark(found))
}

/// The last `length` bytes (one to seven) as a word; zeros follow them.
#[inline(always)]
fn tail_word(text: &[u8], length: usize) -> u64 {
    match text.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (8 * (8 - length)),
        None => text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Appends a text; fast while it is short.
#[inline]
pub(crate) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        0 => {}
        1 => out.push(text[0]),
        2..=3 => push_overlapping::<2>(out, text),
        4..=7 => push_overlapping::<4>(out, text),
        8..=15 => push_overlapping::<8>(out, text),
        16..=32 => push_overlapping::<16>(out, text),
        33..=64 => {
            let (first, last) = text.split_at(32);
            push_overlapping::<16>(out, first);
            push_text_of_32(out, last, text);
        }
        _ => out.extend_from_slice(text),
    }
}

/// Appends the rest of a text after its first 32 bytes, which is 1 to 32 bytes long.
#[inline(always)]
fn push_text_of_32(out: &mut Vec<u8>, rest: &[u8], text: &[u8]) {
    if let Some(last) = text.last_chunk::<32>() {
        let start = out.len();
        out.truncate(start + rest.len() - 32);
        push_overlapping::<16>(out, last);
    }
}

/// Appends the first `N` bytes, cut back to where the last `N` begin, and those: `N <= length <= 2 * N`.
#[inline(always)]
fn push_overlapping<const N: usize>(out: &mut Vec<u8>, text: &[u8]) {
    if let (Some(first), Some(last)) = (text.first_chunk::<N>(), text.last_chunk::<N>()) {
        let start = out.len();
        out.extend_from_slice(first);
        out.truncate(start + text.len() - N);
        out.extend_from_slice(last);
    }
}

/// Appends a constant of at most eight bytes.
#[inline(always)]
pub(crate) fn push_constant<const N: usize>(out: &mut Vec<u8>, text: &[u8; N]) {
    const { assert!(N <= 8, "one word") };
    let word = text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    push_word(out, word, N);
}

/// Appends the lowest `length` bytes (at most eight) of a word.
#[inline(always)]
pub(crate) fn push_word(out: &mut Vec<u8>, word: u64, length: usize) {
    let start = out.len();
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(start + length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_of_every_length_are_appended_whole() {
        let text: Vec<u8> = (0..200).map(|byte| byte as u8).collect();
        for length in 0..=text.len() {
            let mut out = b"before".to_vec();
            push_text(&mut out, &text[..length]);
            assert_eq!(out, [b"before", &text[..length]].concat());
        }
    }

    #[test]
    fn words_are_cut_to_length() {
        let mut out = Vec::new();
        for length in 0..=8 {
            push_word(&mut out, u64::from_le_bytes(*b"12345678"), length);
        }
        assert_eq!(out, b"112123123412345123456123456712345678");
    }

    proptest! {
        #[test]
        fn the_first_mark_is_the_first_byte_that_fits(text in proptest::collection::vec(prop_oneof![any::<u8>(), 0x1eu8..0x24, 0x7fu8..0x82], 0..40), limit in 1u8..=0x80, byte in any::<u8>()) {
            prop_assert_eq!(find(&text, |word| below(word, limit)), text.iter().position(|&it| it < limit));
            prop_assert_eq!(find(&text, |word| zeros(word ^ splat(byte))), text.iter().position(|&it| it == byte));
            for chunk in text.as_chunks::<8>().0 {
                let marks = all_zeros(u64::from_le_bytes(*chunk) ^ splat(byte)).to_le_bytes();
                prop_assert_eq!(marks.map(|mark| mark == 0x80), chunk.map(|it| it == byte));
            }
        }
    }
}
