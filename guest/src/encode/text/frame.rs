//! What stands around the values of a row: all of a format that does not depend on them.

use crate::spec::NullText;

/// What stands between cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separators {
    /// Fields of CSV.
    Csv {
        /// One ASCII byte.
        delimiter: u8,
        /// How nulls and quotes are written.
        style: CsvStyle,
    },
    /// Members of JSON objects.
    Json,
}

/// How fields of CSV are written, where it is not as the reference does it. Such fields take the general path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CsvStyle {
    /// Is every value in quotes, whether it needs them or not? A null never is.
    pub(crate) quotes_all: bool,
    /// What a null is; a value that is equal to it is in quotes. Absent: nothing, and so is the empty text.
    pub(crate) null: Option<NullText>,
}

impl CsvStyle {
    /// Is it the reference's?
    pub(crate) fn is_plain(self) -> bool {
        self == Self::default()
    }

    /// Is a value with this text in quotes, also where it does not need them?
    pub(crate) fn quotes(self, text: &[u8]) -> bool {
        self.quotes_all || self.null.is_some_and(|null| null.as_bytes() == text)
    }
}

/// A table's rows in a format: all that does not depend on values.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) separators: Separators,
    /// What is written before the first row.
    pub(crate) header: Vec<u8>,
    /// In the order of output: the text before a cell, and the column the cell is of.
    pub(crate) pieces: Vec<(Vec<u8>, usize)>,
    /// The text after the last cell of a row.
    pub(crate) end: Vec<u8>,
    /// Are cells that are null left out, with the text before them? Then that is one byte, in whose place there is another in front of the first
    /// cell, and a name.
    pub(crate) omits_nulls: bool,
}
