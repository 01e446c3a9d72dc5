//! Where rows go that cannot be written.

use super::commit::SyncContext;
use super::fields::refuse;
use super::problem::SpecProblem;
use super::raw::{EXACTLY_ONCE, RawSpec};
use crate::path::PathTemplate;
use std::num::NonZeroU64;

/// The place of rows that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// Where they go: one object for each table, lane and write.
    pub path: PathTemplate,
    /// Rows of a table and write, at most.
    pub max_rows: NonZeroU64,
    /// Is the row itself written, too?
    pub include_row: bool,
}

impl Quarantine {
    /// Checks the fields and takes them over; nothing, if no row may go there.
    pub(super) fn from_raw(raw: &RawSpec, sync: &SyncContext, has_time: bool, problems: &mut Vec<SpecProblem>) -> Option<Self> {
        const FIELD: &str = "quarantine.path";
        let written = raw.quarantine.given()?;
        let path = match PathTemplate::parse(written.path.filled()?) {
            Ok(path) => path,
            Err(found) => {
                found.iter().for_each(|problem| refuse(problems, FIELD, problem.to_string().replace("`path`", "`quarantine.path`")));
                return None;
            }
        };
        let is_replay = raw.delivery.filled() == Some(EXACTLY_ONCE) && sync.repeatable;
        let may_split = raw.path.filled().is_some_and(|path| path.contains(UUID));
        if let Err(message) = check_path(&path, is_replay, may_split) {
            refuse(problems, FIELD, message);
        }
        if path.has_sync_id() && sync.sync_id.is_empty() {
            refuse(problems, FIELD, "`quarantine.path` contains {{SYNC_ID}}, and this sync has no id");
        }
        if is_replay && path.has_clock() && !has_time {
            let message = "`commit.time` is required with `delivery: exactly_once` and a clock placeholder in `quarantine.path`: another attempt \
                           must have the same keys";
            refuse(problems, "commit.time", message);
        }
        if raw.path.filled() == written.path.filled() {
            refuse(problems, FIELD, "`quarantine.path` should not be `path`: its objects are not those of the table");
        }
        let max_rows = written.max_rows.value().copied().and_then(|rows| u64::try_from(rows).ok()).and_then(NonZeroU64::new)?;
        Some(Self { path, max_rows, include_row: written.include_row.value().copied().unwrap_or(true) })
    }

    /// What the session checks again.
    pub(super) fn check(self, is_replay: bool, may_split: bool) -> Result<Self, String> {
        check_path(&self.path, is_replay, may_split)?;
        Ok(self)
    }
}

const UUID: &str = "{{UUID}}";

/// Each table has objects of its own there, and so has each lane and each write of it; in a replay the same ones in every attempt.
fn check_path(path: &PathTemplate, is_replay: bool, may_split: bool) -> Result<(), String> {
    if !path.has_table() && !path.has_table_hyphen() {
        return Err("`quarantine.path` should contain {{TABLE}}: each table has objects of its own there".to_owned());
    }
    if path.has_schema() || !path.partition_fields().is_empty() {
        return Err("`quarantine.path` should not contain {{SCHEMA}} or values of columns: these rows are told apart by nothing".to_owned());
    }
    match (is_replay, path.has_uuid(), path.has_sequence()) {
        (false, true, _) | (true, false, true) => Ok(()),
        // The rows of a table come to one lane.
        (false, false, true) if !may_split => Ok(()),
        (false, false, _) => Err("`quarantine.path` should contain {{UUID}}: a table may have several objects there".to_owned()),
        (true, ..) => {
            Err("`quarantine.path` should contain {{SEQ}} instead of {{UUID}} with `delivery: exactly_once`: another attempt must have \
                           the same keys"
                .to_owned())
        }
    }
}
