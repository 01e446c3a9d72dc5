//! A value's text while it grows: gathered whole, or taken piece by piece where it is long; and why a value has none.

use super::append::push_text;

/// Why a value has no text. It never contains the value itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("a value is not valid JSON")]
    Json,
    #[error("a value of type `inet` is not an address with a prefix length, such as `10.0.0.0/8`")]
    Inet,
}

impl From<NotJson> for ValueError {
    fn from(NotJson: NotJson) -> Self {
        Self::Json
    }
}

/// The text is not one JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

/// What becomes of a value's text while it grows.
pub(crate) trait Drain {
    /// Why a value's text could not be had, or could not be taken.
    type Error: From<ValueError> + From<NotJson>;

    /// Bytes of a value that become text before the text is offered.
    const PIECE_BYTES: usize;

    /// Takes what has been gathered and leaves `text` empty, or lets it grow on.
    ///
    /// # Errors
    /// The text could not be taken.
    fn drain(&mut self, text: &mut Vec<u8>) -> Result<(), Self::Error>;
}

/// The text is gathered whole.
pub(crate) struct Whole;

impl Drain for Whole {
    type Error = ValueError;

    const PIECE_BYTES: usize = usize::MAX;

    #[inline(always)]
    fn drain(&mut self, _: &mut Vec<u8>) -> Result<(), ValueError> {
        Ok(())
    }
}

/// Turns bytes into text with `push`, cut where `cut` says into pieces that `drain` can take one by one.
#[inline(always)]
pub(crate) fn push_in_pieces<D: Drain>(
    out: &mut Vec<u8>,
    mut bytes: &[u8],
    drain: &mut D,
    cut: impl Fn(&[u8], usize) -> usize,
    push: impl Fn(&mut Vec<u8>, &[u8]),
) -> Result<(), D::Error> {
    while bytes.len() > D::PIECE_BYTES {
        let (piece, rest) = bytes.split_at(cut(bytes, D::PIECE_BYTES));
        push(out, piece);
        drain.drain(out)?;
        bytes = rest;
    }
    push(out, bytes);
    Ok(())
}

/// A cut that any piece bears.
pub(crate) fn anywhere(_: &[u8], at: usize) -> usize {
    at
}

/// The last place up to `at` that is inside no character. Four bytes that only go on cannot be of one, so a cut among them parts none.
pub(crate) fn between_characters(text: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|&at| text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80)).unwrap_or(at)
}

/// Appends bytes as they are, in pieces.
#[inline(always)]
pub(crate) fn push_plain<D: Drain>(out: &mut Vec<u8>, bytes: &[u8], drain: &mut D) -> Result<(), D::Error> {
    push_in_pieces(out, bytes, drain, anywhere, push_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_part_no_character() {
        let text = "aé日𝄞".as_bytes();
        let cuts: Vec<usize> = (0..=text.len()).map(|at| between_characters(text, at)).collect();
        assert_eq!(cuts, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!(between_characters(&[0x80; 9], 5), 5, "bytes of no character are cut anywhere");
    }
}
