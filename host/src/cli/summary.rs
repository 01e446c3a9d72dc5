//! What a write has done, for machines and for people.

use super::exit::{CliError, Exit};
use crate::ledger::{Failure, FailureClass, TableReport, WriteReport};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Failed tables that are told one by one; the rest is counted (all of them are in `--json`, and in the log as they fail).
const FAILURES_SHOWN: usize = 20;

/// The summary that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Did everything land?
    pub(crate) ok: bool,
    /// The exit code of the process.
    pub(crate) exit_code: u8,
    /// Why it ended early, if it did.
    pub(crate) failure: Option<String>,
    /// Rows in confirmed objects.
    pub(crate) rows: u64,
    /// Confirmed objects.
    pub(crate) objects: u64,
    /// Bytes of confirmed objects.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Table by table.
    pub(crate) tables: Vec<Table>,
}

/// How one table fared.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    table: String,
    /// Rows that came; unknown where the write ended early.
    rows_in: Option<u64>,
    rows: u64,
    objects: u64,
    bytes: u64,
    keys: Vec<String>,
    /// Objects whose keys there was no memory for.
    #[serde(skip_serializing_if = "is_none")]
    keys_left_out: u64,
    failure: Option<TableFailure>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

/// Why a table failed.
#[derive(Debug, Serialize)]
struct TableFailure {
    class: &'static str,
    message: String,
}

impl Summary {
    /// The summary of a write that came to its end.
    pub(crate) fn of(report: &WriteReport, took: Duration) -> Self {
        let tables: Vec<Table> = report.tables.iter().map(Table::of).collect();
        let exit = Exit::of_report(report);
        Self {
            ok: exit == Exit::Done,
            exit_code: exit.code(),
            failure: None,
            rows: tables.iter().map(|table| table.rows).sum(),
            objects: tables.iter().map(|table| table.objects).sum(),
            bytes: tables.iter().map(|table| table.bytes).sum(),
            seconds: took.as_secs_f64(),
            tables,
        }
    }

    /// The summary of a write that ended early: it claims nothing, and names the tables that had `failed` by then.
    pub(crate) fn ended_early(exit: Exit, why: &str, failed: &[(Arc<str>, Failure)], took: Duration) -> Self {
        Self {
            ok: false,
            exit_code: exit.code(),
            failure: Some(why.to_owned()),
            tables: failed.iter().map(|(table, failure)| Table::failed(table, failure)).collect(),
            ..Self::of(&WriteReport::default(), took)
        }
    }

    /// As JSON, on one line.
    pub(crate) fn json(&self) -> Result<String, CliError> {
        serde_json::to_string(self).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))
    }

    /// The last line for people.
    pub(crate) fn line(&self) -> String {
        let tables = self.tables.len();
        format!(
            "Wrote {} row{} of {tables} table{} to {} object{} ({}) in {:.1} s.",
            HumanCount(self.rows),
            if self.rows == 1 { "" } else { "s" },
            if tables == 1 { "" } else { "s" },
            HumanCount(self.objects),
            if self.objects == 1 { "" } else { "s" },
            HumanBytes(self.bytes),
            self.seconds
        )
    }

    /// A line for each failed table, the first few of them.
    pub(crate) fn failures(&self) -> Vec<String> {
        failure_lines(self.tables.iter().filter_map(|table| Some((table.table.as_str(), table.failure.as_ref()?.message.as_str()))))
    }
}

/// A line for each failed table, the first few of them.
pub(crate) fn failure_lines<'a>(failures: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut lines: Vec<String> = failures.map(|(table, message)| format!("Table {table} failed: {message}")).collect();
    if let Some(more) = lines.len().checked_sub(FAILURES_SHOWN).filter(|more| *more > 0) {
        lines.truncate(FAILURES_SHOWN);
        lines.push(format!("... and {more} more tables failed; `--json` or `--log-level info` lists them."));
    }
    lines
}

impl Table {
    fn of(report: &TableReport) -> Self {
        Self {
            table: report.table.clone(),
            rows_in: Some(report.rows_in),
            rows: report.rows_confirmed,
            objects: report.objects,
            bytes: report.bytes,
            keys: report.receipts.iter().map(|receipt| receipt.key.to_string()).collect(),
            keys_left_out: report.objects.saturating_sub(report.receipts.len() as u64),
            failure: report.failure.as_ref().map(TableFailure::of),
        }
    }

    /// A table of which nothing is claimed.
    fn failed(table: &str, failure: &Failure) -> Self {
        let failure = Some(TableFailure::of(failure));
        Self { table: table.to_owned(), rows_in: None, rows: 0, objects: 0, bytes: 0, keys: Vec::new(), keys_left_out: 0, failure }
    }
}

impl TableFailure {
    fn of(failure: &Failure) -> Self {
        Self { class: class(failure.class), message: failure.message.clone() }
    }
}

fn class(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Unexpected => "unexpected",
        FailureClass::Denied => "denied",
        FailureClass::Storage => "storage",
        FailureClass::Data => "data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Receipt;
    use crate::object::ObjectKey;

    fn report() -> WriteReport {
        let receipt = |key: &str| Receipt {
            table: "a".into(),
            key: ObjectKey::parse(key).unwrap(),
            bytes: 10,
            rows: 2,
            etag: "e".into(),
            checksum: None,
        };
        let failure = Failure { class: FailureClass::Storage, message: "no such bucket".into() };
        WriteReport {
            tables: vec![
                TableReport {
                    table: "a".into(),
                    rows_in: 4,
                    rows_confirmed: 4,
                    objects: 2,
                    bytes: 20,
                    receipts: vec![receipt("a/1"), receipt("a/2")],
                    failure: None,
                    failed_as: 0,
                },
                TableReport {
                    table: "b".into(),
                    rows_in: 3,
                    rows_confirmed: 0,
                    objects: 0,
                    bytes: 0,
                    receipts: vec![],
                    failure: Some(failure),
                    failed_as: 0,
                },
            ],
        }
    }

    #[test]
    fn the_shape_for_machines() {
        let json: serde_json::Value = serde_json::from_str(&Summary::of(&report(), Duration::from_millis(1500)).json().unwrap()).unwrap();
        let expected = serde_json::json!({
            "ok": false, "exit_code": 5, "failure": null, "rows": 4, "objects": 2, "bytes": 20, "seconds": 1.5,
            "tables": [
                {"table": "a", "rows_in": 4, "rows": 4, "objects": 2, "bytes": 20, "keys": ["a/1", "a/2"], "failure": null},
                {"table": "b", "rows_in": 3, "rows": 0, "objects": 0, "bytes": 0, "keys": [],
                 "failure": {"class": "storage", "message": "no such bucket"}},
            ],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn keys_that_were_not_kept_are_counted() {
        let mut report = report();
        report.tables[0].objects = 5;
        let json: serde_json::Value = serde_json::from_str(&Summary::of(&report, Duration::ZERO).json().unwrap()).unwrap();
        let table = &json["tables"][0];
        assert_eq!((&json["objects"], &table["keys"][1], &table["keys_left_out"]), (&5.into(), &"a/2".into(), &3.into()));
    }

    #[test]
    fn an_early_end_names_what_had_failed() {
        let failed = [("a".into(), Failure { class: FailureClass::Denied, message: "not yours".into() })];
        let summary = Summary::ended_early(Exit::Input, "a.csv is torn", &failed, Duration::ZERO);
        assert_eq!(summary.failures(), ["Table a failed: not yours"]);
        let json: serde_json::Value = serde_json::from_str(&summary.json().unwrap()).unwrap();
        let expected = serde_json::json!({
            "ok": false, "exit_code": 6, "failure": "a.csv is torn", "rows": 0, "objects": 0, "bytes": 0, "seconds": 0.0,
            "tables": [{"table": "a", "rows_in": null, "rows": 0, "objects": 0, "bytes": 0, "keys": [],
                        "failure": {"class": "denied", "message": "not yours"}}],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn the_lines_for_people() {
        let summary = Summary::of(&report(), Duration::from_millis(1500));
        assert_eq!(summary.line(), "Wrote 4 rows of 2 tables to 2 objects (20 B) in 1.5 s.");
        assert_eq!(summary.failures(), ["Table b failed: no such bucket"]);
    }

    #[test]
    fn many_failures_are_counted() {
        let failed = report().tables[1].clone();
        let lines = Summary::of(&WriteReport { tables: vec![failed; 50] }, Duration::ZERO).failures();
        assert_eq!(
            (lines.len(), lines.last().unwrap().as_str()),
            (21, "... and 30 more tables failed; `--json` or `--log-level info` lists them.")
        );
    }
}
