//! What rows share an open object: those of one partition of one table.

use std::rc::Rc;

/// A part of a table's rows that has objects of its own. There is one yet, the whole table, since no placeholder of a path takes its text from
/// rows; a path that does will have here what distinguishes its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partition;

/// What a session keys open objects by, and all that goes with them. Ordered by table, so that equal input gives equal output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TablePartition {
    pub(super) table: Rc<str>,
    pub(super) partition: Partition,
}

impl TablePartition {
    /// The whole of a table.
    pub(super) fn whole(table: &str) -> Self {
        Self { table: table.into(), partition: Partition }
    }
}
