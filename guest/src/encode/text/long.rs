//! Values too long to be gathered: their text leaves piece by piece.
//!
//! A byte of a message may become six of text, and a cell may be nearly as large as a message. So a row beyond [`LONG_ROW_BYTES`] is written
//! value by value on the general path, whose text a [`Drain`] takes while it grows. CSV asks of a whole field whether it needs quotes: such
//! a field is made twice, once to be looked at and once to be written.

use super::bind::ColumnReader;
use super::drain::{Drain, NotJson, ValueError};
use super::frame::{CsvStyle, Separators};
use super::string::{Html, csv_needs_quotes, is_plain_csv, push_csv_doubled, push_csv_field, push_csv_quoted};
use super::value::{TextFormat, may_need_quotes};
use crate::encode::EncodeError;

/// Rows of more Arrow bytes leave piece by piece. Below, the text of a row is at most some times as long, which is held with ease.
pub(crate) const LONG_ROW_BYTES: usize = 1 << 20;

/// Bytes of a value that become text at once, and of text that is worth passing on. Divisible by three, so that base64 can be cut there.
const PIECE_BYTES: usize = 3 << 14;

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
    reader: &ColumnReader<'_>,
    row: usize,
    separators: Separators,
    text: &mut Vec<u8>,
    stage: &mut Stage<'_>,
) -> Result<(), LongError> {
    text.clear();
    let (delimiter, style) = match separators {
        Separators::Csv { style: CsvStyle { null: Some(null), .. }, .. } if reader.is_null(row) => return Ok(stage(null.as_bytes())?),
        Separators::Csv { delimiter, style } if !style.is_plain() && !reader.is_null(row) => (delimiter, style),
        Separators::Csv { delimiter, style } if may_need_quotes(&reader.values, delimiter) => (delimiter, style),
        Separators::Csv { .. } => return pass(reader, row, TextFormat::Csv, text, stage),
        Separators::Json => return pass(reader, row, TextFormat::Json(Html::Raw), text, stage),
    };
    let is_value = !reader.is_null(row);
    let mut look = Look { delimiter, begun: false, needs_quotes: style.quotes_all && is_value };
    reader.push_draining(text, row, TextFormat::Csv, &mut look)?;
    if !look.begun {
        // It is here as a whole.
        let mut field = Vec::new();
        if style.quotes(text) && is_value {
            push_csv_quoted(&mut field, text)
        } else {
            push_csv_field(&mut field, text, delimiter)
        }
        return Ok(stage(&field)?);
    }
    look.look(text);
    text.clear();
    if !look.needs_quotes {
        return pass(reader, row, TextFormat::Csv, text, stage);
    }
    stage(b"\"")?;
    let mut quote = Quote { stage, doubled: Vec::new() };
    reader.push_draining(text, row, TextFormat::Csv, &mut quote)?;
    quote.pass_on(text)?;
    Ok(stage(b"\"")?)
}

/// Writes a value's text as it is.
fn pass(reader: &ColumnReader<'_>, row: usize, format: TextFormat, text: &mut Vec<u8>, stage: &mut Stage<'_>) -> Result<(), LongError> {
    reader.push_draining(text, row, format, &mut Pass(stage))?;
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
