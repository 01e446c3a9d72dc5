//! What stands around the values of a row: all of a format that does not depend on them.

/// What stands between cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separators {
    /// Fields of CSV, by their delimiter.
    Csv {
        /// One ASCII byte.
        delimiter: u8,
    },
    /// Members of JSON objects.
    Json,
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
}
