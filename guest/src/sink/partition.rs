//! What rows share an open object: those of one partition of one table. And in what order partitions were written to.

use arrow_array::UInt32Array;
use std::collections::BTreeMap;
use std::mem::size_of;
use std::rc::Rc;

/// The values that a path takes from rows, in the path's order; none at all where it takes none: then the partition is the whole table.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partition(pub(super) Rc<[Option<Rc<str>>]>);

/// What a session keys open objects by, and all that goes with them. Ordered by table, so that equal input gives equal output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TablePartition {
    pub(super) table: Rc<str>,
    pub(super) partition: Partition,
    /// The fingerprint of the columns, where tables with others have other paths.
    pub(super) schema: Option<u32>,
}

impl TablePartition {
    /// The whole of a table.
    pub(super) fn whole(table: &str) -> Self {
        Self { table: table.into(), partition: Partition::default(), schema: None }
    }

    /// About what one takes in memory as a key.
    pub(super) fn memory_bytes(&self) -> usize {
        let text =
            |value: &Option<Rc<str>>| size_of::<Option<Rc<str>>>() + value.as_ref().map_or(0, |text| text.len() + 2 * size_of::<usize>());
        2 * size_of::<Self>() + self.partition.0.iter().map(text).sum::<usize>()
    }
}

/// Where the rows of a batch are in the record that they came in.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// The record's row that the order counts from.
    start: usize,
    /// Absent: the order that they came in.
    order: Option<UInt32Array>,
}

impl Places {
    /// From this row of the record on.
    pub(super) fn from(start: usize) -> Self {
        Self { start, order: None }
    }

    /// The place of a row.
    pub(super) fn place(&self, row: usize) -> usize {
        self.start + self.order.as_ref().map_or(row, |order| order.values().get(row).map_or(row, |place| *place as usize))
    }

    /// The places of a batch with some of the rows, in this order.
    pub(super) fn taken(&self, rows: &UInt32Array) -> Self {
        let order = match &self.order {
            None => rows.clone(),
            Some(_) => rows.values().iter().map(|row| (self.place(*row as usize) - self.start) as u32).collect(),
        };
        Self { start: self.start, order: Some(order) }
    }
}

/// The open partitions of each table, by when they were last written to.
#[derive(Debug, Default)]
pub(super) struct Recency {
    tables: BTreeMap<Rc<str>, BTreeMap<u64, TablePartition>>,
}

impl Recency {
    /// A partition is written to, for the first time or after `before`. Uses are counted over all partitions, from 1.
    pub(super) fn touch(&mut self, partition: &TablePartition, before: u64, now: u64) {
        let of_table = self.tables.entry(partition.table.clone()).or_default();
        let known = of_table.remove(&before);
        of_table.insert(now, known.unwrap_or_else(|| partition.clone()));
    }

    /// A partition is open no longer.
    pub(super) fn forget(&mut self, partition: &TablePartition, used: u64) {
        if let Some(of_table) = self.tables.get_mut(&partition.table) {
            of_table.remove(&used);
            if of_table.is_empty() {
                self.tables.remove(&partition.table);
            }
        }
    }

    /// How many partitions of a table are open.
    pub(super) fn open_of(&self, table: &str) -> usize {
        self.tables.get(table).map_or(0, BTreeMap::len)
    }

    /// The partition of a table that was not written to for longest.
    pub(super) fn oldest_of(&self, table: &str) -> Option<&TablePartition> {
        self.tables.get(table)?.values().next()
    }

    /// The partition of any table that was not written to for longest.
    pub(super) fn oldest(&self) -> Option<&TablePartition> {
        self.tables.values().filter_map(BTreeMap::first_key_value).min_by_key(|(used, _)| **used).map(|(_, partition)| partition)
    }
}
