//! Values too long to be gathered: their text leaves piece by piece.
//!
//! A byte of a message may become six of text, and a cell may be nearly as large as a message. So a row beyond [`LONG_ROW_BYTES`] is written
//! value by value on the general path, whose text a [`Drain`] takes while it grows. CSV asks of a whole field whether it needs quotes: such
//! a field is made twice, once to be looked at and once to be written.

use super::append::push_text;
use super::json_value::NotJson;
use super::kernel::may_need_quotes;
use super::string::{Html, csv_needs_quotes, is_plain_csv, push_csv_doubled, push_csv_field};
use super::value::{Bound, Style, ValueError};
use super::writer::Separators;
use crate::encode::EncodeError;

/// Rows of more Arrow bytes leave piece by piece. Below, the text of a row is at most some times as long, which is held with ease.
pub(crate) const LONG_ROW_BYTES: usize = 1 << 20;

/// Bytes of a value that become text at once, and of text that is worth passing on. Divisible by three, so that base64 can be cut there.
const PIECE_BYTES: usize = 3 << 14;

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

/// Why a long cell was not written.
#[derive(Debug)]
pub(crate) enum LongError {
    Value(ValueError),
    Encode(EncodeError),
}

impl From<ValueError> for LongError {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

impl From<NotJson> for LongError {
    fn from(error: NotJson) -> Self {
        Self::Value(error.into())
    }
}

impl From<EncodeError> for LongError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// Where text goes.
pub(crate) type Stage<'a> = dyn FnMut(&[u8]) -> Result<(), EncodeError> + 'a;

/// Writes the cell of one row, quotes and all. `text` is room to work in.
///
/// # Errors
/// [`LongError`]; part of the cell may have been written.
pub(crate) fn write_cell(
    bound: &Bound<'_>,
    row: usize,
    separators: Separators,
    text: &mut Vec<u8>,
    stage: &mut Stage<'_>,
) -> Result<(), LongError> {
    text.clear();
    let delimiter = match separators {
        Separators::Csv { delimiter } if may_need_quotes(&bound.values, delimiter) => delimiter,
        Separators::Csv { .. } => return pass(bound, row, Style::Csv, text, stage),
        Separators::Json => return pass(bound, row, Style::Json(Html::Raw), text, stage),
    };
    let mut look = Look { delimiter, begun: false, needs_quotes: false };
    bound.push_draining(text, row, Style::Csv, &mut look)?;
    if !look.begun {
        // It is here as a whole.
        let mut field = Vec::new();
        push_csv_field(&mut field, text, delimiter);
        return Ok(stage(&field)?);
    }
    look.look(text);
    text.clear();
    if !look.needs_quotes {
        return pass(bound, row, Style::Csv, text, stage);
    }
    stage(b"\"")?;
    let mut quote = Quote { stage, doubled: Vec::new() };
    bound.push_draining(text, row, Style::Csv, &mut quote)?;
    quote.pass_on(text)?;
    Ok(stage(b"\"")?)
}

/// Writes a value's text as it is.
fn pass(bound: &Bound<'_>, row: usize, style: Style, text: &mut Vec<u8>, stage: &mut Stage<'_>) -> Result<(), LongError> {
    bound.push_draining(text, row, style, &mut Pass(stage))?;
    Ok(stage(text)?)
}

/// Passes text on as it is.
struct Pass<'a, 'b>(&'a mut Stage<'b>);

impl Drain for Pass<'_, '_> {
    type Error = LongError;

    const PIECE_BYTES: usize = PIECE_BYTES;

    fn drain(&mut self, text: &mut Vec<u8>) -> Result<(), LongError> {
        if text.len() >= PIECE_BYTES {
            (self.0)(text)?;
            text.clear();
        }
        Ok(())
    }
}

/// Passes text on with its quotes doubled.
struct Quote<'a, 'b> {
    stage: &'a mut Stage<'b>,
    doubled: Vec<u8>,
}

impl Quote<'_, '_> {
    fn pass_on(&mut self, text: &mut Vec<u8>) -> Result<(), LongError> {
        self.doubled.clear();
        push_csv_doubled(&mut self.doubled, text);
        text.clear();
        Ok((self.stage)(&self.doubled)?)
    }
}

impl Drain for Quote<'_, '_> {
    type Error = LongError;

    const PIECE_BYTES: usize = PIECE_BYTES;

    fn drain(&mut self, text: &mut Vec<u8>) -> Result<(), LongError> {
        if text.len() >= PIECE_BYTES { self.pass_on(text) } else { Ok(()) }
    }
}

/// Looks at text, and drops it.
struct Look {
    delimiter: u8,
    /// Has text been dropped?
    begun: bool,
    needs_quotes: bool,
}

impl Look {
    fn look(&mut self, text: &[u8]) {
        // How a field begins matters, too.
        self.needs_quotes |= if self.begun { !is_plain_csv(text, self.delimiter) } else { csv_needs_quotes(text, self.delimiter) };
        self.begun = true;
    }
}

impl Drain for Look {
    type Error = LongError;

    const PIECE_BYTES: usize = PIECE_BYTES;

    fn drain(&mut self, text: &mut Vec<u8>) -> Result<(), LongError> {
        if text.len() >= PIECE_BYTES {
            self.look(text);
            text.clear();
        }
        Ok(())
    }
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
