//! How rows are divided into partitions, where the path takes values from them.

use super::fields::refuse;
use super::problem::SpecProblem;
use super::raw::{CLOSE_OLDEST, DEFAULT_MAX_OPEN, FAIL, HIVE_NULL, RawSpec};
use crate::limits::MAX_OPEN_PARTITIONS;
use crate::partition::is_null_name;
use crate::path::PathTemplate;

/// How rows are divided into partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitioning {
    /// Partitions of a table that are open at once, at most.
    pub max_open: u32,
    /// Beyond it: does the one end that was not written to for longest? Else the table fails.
    pub closes_oldest: bool,
    /// Does a table fail that lacks a column of the path? Else the value is null.
    pub fails_where_missing: bool,
    /// What stands in a key for a null and for an empty text.
    pub null_name: String,
    /// Are columns written to the objects whose values are in the key?
    pub keep_columns: bool,
}

impl Default for Partitioning {
    fn default() -> Self {
        Self {
            max_open: DEFAULT_MAX_OPEN as u32,
            closes_oldest: true,
            fails_where_missing: false,
            null_name: HIVE_NULL.to_owned(),
            keep_columns: true,
        }
    }
}

impl Partitioning {
    /// Checks the fields and takes them over.
    pub(super) fn from_raw(raw: &RawSpec, path: Option<&PathTemplate>, problems: &mut Vec<SpecProblem>) -> Self {
        let is_partitioned = path.map(|path| !path.partition_fields().is_empty());
        if is_partitioned == Some(true) && raw.write_empty_objects_for_empty_tables.is_true() {
            const FIELD: &str = "write_empty_objects_for_empty_tables";
            refuse(
                problems,
                FIELD,
                format!("`{FIELD}` cannot be used with {{{{COLUMN:…}}}} and its like in `path`: an empty table has no values"),
            );
        }
        let Some(written) = raw.partition.given() else { return Self::default() };
        if is_partitioned == Some(false) {
            let message = "`partition` is for a `path` with {{COLUMN:name}}, {{YEAR:name}}, {{MONTH:name}}, {{DAY:name}}, {{HOUR:name}} or \
                           {{MINUTE:name}}, and this one has none of them";
            refuse(problems, "partition", message);
        }
        let null_name = written.null.text().unwrap_or_else(|| HIVE_NULL.to_owned());
        if let Err(message) = check_null_name(&null_name) {
            refuse(problems, "partition.null", message);
        }
        let max_open = written.max_open.value().copied().unwrap_or(DEFAULT_MAX_OPEN);
        Self {
            max_open: u32::try_from(max_open).unwrap_or(MAX_OPEN_PARTITIONS),
            closes_oldest: written.overflow.filled().unwrap_or(CLOSE_OLDEST) == CLOSE_OLDEST,
            fails_where_missing: written.missing.filled() == Some(FAIL),
            null_name,
            keep_columns: written.keep_columns.value().copied().unwrap_or(true),
        }
    }

    /// What the session checks again.
    pub(super) fn check(self) -> Result<Self, String> {
        check_null_name(&self.null_name)?;
        if !(1..=MAX_OPEN_PARTITIONS).contains(&self.max_open) {
            return Err(format!("{} open partitions", self.max_open));
        }
        Ok(self)
    }
}

fn check_null_name(name: &str) -> Result<(), String> {
    if is_null_name(name) {
        return Ok(());
    }
    Err("`partition.null` must be 1 to 255 printable characters of ASCII with a letter among them and none of \" # % ' * / : = ? \\ { [ ] ^ or \
         blanks"
        .to_owned())
}
