//! Rows in, rows claimed, rows confirmed: the books of a write, per table.

use crate::object::ObjectKey;

/// An object that the store has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The table whose rows it holds.
    pub table: String,
    /// Where it is.
    pub key: ObjectKey,
    /// Bytes of the object.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// The store's ETag.
    pub etag: String,
    /// CRC32 as base64, where known.
    pub checksum: Option<String>,
}

/// Whose fault a table's failure is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// A bug of ours, or of the component (a trap).
    Unexpected,
    /// The policy does not allow it.
    Denied,
    /// The store failed or refused, or a storage limit is reached.
    Storage,
    /// The rows, their schema, or the table's name.
    Data,
}

/// Why a table failed: its first cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// For the user.
    pub message: String,
}

/// How one table fared in a write.
#[derive(Debug, Clone)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows in confirmed objects.
    pub rows_confirmed: u64,
    /// The confirmed objects, in the order they were confirmed.
    pub receipts: Vec<Receipt>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// How a write fared, table by table, in the order the tables first appeared (failed ones in the order they failed come first in
/// [`WriteReport::failures`]).
#[derive(Debug, Clone, Default)]
pub struct WriteReport {
    /// Every table seen.
    pub tables: Vec<TableReport>,
}

impl WriteReport {
    /// The tables that failed, in the order in which they failed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.tables.iter().filter_map(|table| Some((table.table.as_str(), table.failure.as_ref()?)))
    }
}

/// Running totals of a write, for a progress bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows that came in.
    pub rows: u64,
    /// Bytes of confirmed objects.
    pub bytes: u64,
    /// Confirmed objects.
    pub objects: u64,
}
