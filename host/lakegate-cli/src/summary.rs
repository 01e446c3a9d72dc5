//! The summary of a write, as JSON and as text.

use super::exit::{CliError, Exit};
use indicatif::{HumanBytes, HumanCount};
use lakegate::catalog::CatalogCommit;
use lakegate::{Failure, Receipt, TableReport, WriteReport};
use lakegate_files::SkippedFile;
use serde::Serialize;
use std::time::Duration;

/// How many failed tables are listed; the rest is counted (all of them are in `--json`, and in the log as they fail).
const FAILURES_SHOWN: usize = 20;

/// How many objects of a table are listed; the rest is counted (all of them are in `--json`).
const OBJECTS_SHOWN: usize = 10;

/// The summary that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Whether everything was written.
    pub(crate) ok: bool,
    /// The exit code of the process.
    pub(crate) exit_code: u8,
    /// Why the write ended early, if it did.
    pub(crate) failure: Option<String>,
    /// Rows in confirmed objects.
    pub(crate) rows: u64,
    /// Confirmed objects.
    pub(crate) objects: u64,
    /// Bytes of confirmed objects.
    pub(crate) bytes: u64,
    /// The duration in seconds.
    pub(crate) seconds: f64,
    /// Rows of inputs that were left out because they are not well-formed.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) rows_skipped: u64,
    /// The files that they are of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
    /// Rows that could not be written, and are in quarantine.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) rows_quarantined: u64,
    /// The tables.
    pub(crate) tables: Vec<Table>,
}

/// Rows of a file that were left out.
#[derive(Debug, Serialize)]
struct Skipped {
    file: String,
    rows: u64,
    first_line: u64,
    problem: String,
}

/// The result of one table.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    table: String,
    /// Rows received; unknown if the write ended early.
    rows_in: Option<u64>,
    rows: u64,
    objects: u64,
    bytes: u64,
    keys: Vec<String>,
    /// Objects that were there already, with the same bytes.
    #[serde(skip_serializing_if = "is_none")]
    were_there: u64,
    /// The manifest that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    /// The table of the catalog that it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog_table: Option<String>,
    /// Its snapshot there.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<i64>,
    /// Objects that nothing refers to, and that stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orphans: Vec<String>,
    /// Objects of which that is not known, and which must not be deleted unseen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsettled: Vec<String>,
    /// The attempt that has committed the table before, so that none of its rows were written; empty if nothing names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    committed_before: Option<String>,
    /// Number of objects whose keys are not listed for lack of memory.
    #[serde(skip_serializing_if = "is_none")]
    keys_left_out: u64,
    /// Rows that could not be written.
    #[serde(skip_serializing_if = "is_none")]
    rows_quarantined: u64,
    /// The objects that they are in, which are counted nowhere else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quarantine_keys: Vec<String>,
    failure: Option<TableFailure>,
    /// Rows of each of the first objects in `keys`, for the text output.
    #[serde(skip)]
    first_rows: Vec<u64>,
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
    /// The summary of a write that ended regularly.
    pub(crate) fn new(report: &WriteReport, elapsed: Duration) -> Self {
        let tables: Vec<Table> = report.tables.iter().map(Table::new).collect();
        let exit = Exit::from_report(report);
        Self {
            ok: exit == Exit::Done,
            exit_code: exit.code(),
            failure: None,
            rows: tables.iter().map(|table| table.rows).sum(),
            objects: tables.iter().map(|table| table.objects).sum(),
            bytes: tables.iter().map(|table| table.bytes).sum(),
            seconds: elapsed.as_secs_f64(),
            rows_skipped: 0,
            skipped: Vec::new(),
            rows_quarantined: tables.iter().map(|table| table.rows_quarantined).sum(),
            tables,
        }
    }

    /// The summary of a load that left out these rows.
    pub(crate) fn without(mut self, skipped: &[SkippedFile]) -> Self {
        self.rows_skipped = skipped.iter().map(|file| file.rows).sum();
        let of_file = |it: &SkippedFile| Skipped { file: it.file.clone(), rows: it.rows, first_line: it.line, problem: it.problem.clone() };
        self.skipped = skipped.iter().map(of_file).collect();
        self
    }

    /// The summary of a write that ended early. It claims nothing that was not confirmed; `landed` has the tables that had failed by then, and what
    /// is in the bucket nevertheless.
    pub(crate) fn ended_early(exit: Exit, reason: &str, landed: &WriteReport, elapsed: Duration) -> Self {
        let mut summary = Self { ok: false, exit_code: exit.code(), failure: Some(reason.to_owned()), ..Self::new(landed, elapsed) };
        summary.tables.iter_mut().for_each(|table| table.rows_in = None);
        summary
    }

    /// As JSON, on one line.
    pub(crate) fn json(&self) -> Result<String, CliError> {
        serde_json::to_string(self).map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))
    }

    /// The final line of the text output.
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
        ) + &self.before()
            + &self.left_out()
            + &self.aside()
    }

    /// What was left out of the inputs.
    fn left_out(&self) -> String {
        let files = self.skipped.len();
        if files == 0 {
            return String::new();
        }
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        format!(
            " Left out {} row{} of {files} file{} that {} not well-formed.",
            HumanCount(self.rows_skipped),
            plural(self.rows_skipped),
            plural(files as u64),
            if self.rows_skipped == 1 { "is" } else { "are" }
        )
    }

    /// How many rows could not be written, if any.
    fn aside(&self) -> String {
        match self.rows_quarantined {
            0 => String::new(),
            1 => " 1 row could not be written, and is in quarantine.".to_owned(),
            rows => format!(" {} rows could not be written, and are in quarantine.", HumanCount(rows)),
        }
    }

    /// A line for each of the first tables with rows that could not be written.
    pub(crate) fn quarantined(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.tables.iter().filter(|table| table.rows_quarantined > 0).map(Table::quarantined).collect();
        if let Some(more) = lines.len().checked_sub(FAILURES_SHOWN).filter(|more| *more > 0) {
            lines.truncate(FAILURES_SHOWN);
            lines.push(format!("... and rows of {more} more tables; `--json` lists them."));
        }
        lines
    }

    /// What was there before.
    fn before(&self) -> String {
        let objects: u64 = self.tables.iter().map(|table| table.were_there).sum();
        let tables = self.committed_before().map(|line| format!(" {line}")).unwrap_or_default();
        if objects > 0 { format!(" {} of the objects were there already.{tables}", HumanCount(objects)) } else { tables }
    }

    /// How many of the tables an earlier attempt had committed, if any.
    pub(crate) fn committed_before(&self) -> Option<String> {
        let committed = self.tables.iter().filter(|table| table.committed_before.is_some()).count();
        let tables = self.tables.len();
        (committed > 0).then(|| format!("Already committed: {committed} of {tables} table{}.", if tables == 1 { "" } else { "s" }))
    }

    /// A line for each of the first tables with a snapshot in a catalog, or with objects that no snapshot has.
    pub(crate) fn in_catalog(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.tables.iter().flat_map(Table::in_catalog).collect();
        if let Some(more) = lines.len().checked_sub(FAILURES_SHOWN).filter(|more| *more > 0) {
            lines.truncate(FAILURES_SHOWN);
            lines.push(format!("... and {more} more lines about the catalog; `--json` has them."));
        }
        lines
    }

    /// A line for each of the first failed tables.
    pub(crate) fn failures(&self) -> Vec<String> {
        failure_lines(self.tables.iter().filter_map(|table| Some((table.table.as_str(), table.failure.as_ref()?.message.as_str()))))
    }

    /// A line for each of the first tables that are incomplete but have objects in the bucket: these objects stay there, which matters for a retry.
    pub(crate) fn landed(&self) -> Vec<String> {
        let partly = |table: &&Table| table.objects > 0 && (self.failure.is_some() || table.failure.is_some());
        let mut lines: Vec<String> = self.tables.iter().filter(partly).map(Table::landed).collect();
        if let Some(more) = lines.len().checked_sub(FAILURES_SHOWN).filter(|more| *more > 0) {
            lines.truncate(FAILURES_SHOWN);
            lines.push(format!("... and objects of {more} more tables; `--json` lists them."));
        }
        lines
    }
}

/// A line for each of the first failed tables.
pub(crate) fn failure_lines<'a>(failures: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut lines: Vec<String> = failures.map(|(table, message)| format!("Table {table} failed: {message}")).collect();
    if let Some(more) = lines.len().checked_sub(FAILURES_SHOWN).filter(|more| *more > 0) {
        lines.truncate(FAILURES_SHOWN);
        lines.push(format!("... and {more} more tables failed; `--json` or `--log-level info` lists them."));
    }
    lines
}

impl Table {
    fn new(report: &TableReport) -> Self {
        let keys = |receipts: &[Receipt]| receipts.iter().map(|receipt| receipt.key.to_string()).collect();
        let CatalogCommit { table: catalog_table, snapshot_id, orphans, unsettled, .. } = report.catalog.clone().unwrap_or_default();
        Self {
            table: report.table.clone(),
            rows_in: Some(report.rows_in),
            rows: report.rows_confirmed,
            objects: report.objects,
            bytes: report.bytes,
            keys: keys(&report.receipts),
            were_there: report.receipts.iter().filter(|receipt| receipt.was_there).count() as u64,
            manifest: report.manifest.clone(),
            catalog_table: Some(catalog_table).filter(|table| !table.is_empty()),
            snapshot_id,
            orphans,
            unsettled,
            committed_before: report.committed_before.clone(),
            keys_left_out: report.objects.saturating_sub(report.receipts.len() as u64),
            rows_quarantined: report.quarantine.rows,
            quarantine_keys: keys(&report.quarantine.receipts),
            failure: report.failure.as_ref().map(TableFailure::new),
            first_rows: report.receipts.iter().take(OBJECTS_SHOWN).map(|receipt| receipt.rows).collect(),
        }
    }

    /// Lines about the table in its catalog.
    fn in_catalog(&self) -> Vec<String> {
        let snapshot = self.catalog_table.as_ref().zip(self.snapshot_id);
        let snapshot = snapshot.map(|(table, snapshot)| format!("Table {}: snapshot {snapshot} of {table}.", self.table));
        let files = |files: &[String], what: &str| {
            let shown: Vec<&str> = files.iter().take(OBJECTS_SHOWN).map(String::as_str).collect();
            let more = files.len().saturating_sub(shown.len());
            let more = if more > 0 { format!(" and {more} more; `--json` lists them") } else { String::new() };
            (!files.is_empty()).then(|| format!("Table {}: {what}: {}{more}", self.table, shown.join(", ")))
        };
        let orphans = files(&self.orphans, "no snapshot refers to");
        let unsettled = files(&self.unsettled, "a snapshot may refer to, so that they must not be deleted unseen");
        [snapshot, orphans, unsettled].into_iter().flatten().collect()
    }

    /// A line about the table's rows in quarantine.
    fn quarantined(&self) -> String {
        let rows = if self.rows_quarantined == 1 { "row is" } else { "rows are" };
        let shown: Vec<&str> = self.quarantine_keys.iter().take(OBJECTS_SHOWN).map(String::as_str).collect();
        let more = self.quarantine_keys.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more; `--json` lists them") } else { String::new() };
        format!("Table {}: {} {rows} in quarantine: {}{more}", self.table, HumanCount(self.rows_quarantined), shown.join(", "))
    }

    /// A line about the table's objects in the bucket.
    fn landed(&self) -> String {
        let rows = |rows: u64| format!("{} row{}", HumanCount(rows), if rows == 1 { "" } else { "s" });
        let mut line = format!(
            "Table {}: in the bucket {} {} object{} with {}: ",
            self.table,
            if self.objects == 1 { "is" } else { "are" },
            HumanCount(self.objects),
            if self.objects == 1 { "" } else { "s" },
            rows(self.rows)
        );
        let shown: Vec<String> = self.keys.iter().zip(&self.first_rows).map(|(key, count)| format!("{key} ({})", rows(*count))).collect();
        line.push_str(&shown.join(", "));
        if let Some(more @ 1..) = self.keys.len().checked_sub(shown.len()) {
            line.push_str(&format!(" and {more} more; `--json` lists them"));
        }
        line
    }
}

impl TableFailure {
    fn new(failure: &Failure) -> Self {
        Self { class: failure.class.name(), message: failure.message.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate::spec::ObjectFacts;
    use lakegate::store::ObjectKey;
    use lakegate::{FailureClass, QuarantineReport, Receipt};

    fn report() -> WriteReport {
        let receipt = |key: &str| Receipt {
            table: "a".into(),
            key: ObjectKey::parse(key).unwrap(),
            bytes: 10,
            rows: 2,
            etag: "e".into(),
            checksum: None,
            was_there: false,
            partition: Vec::new(),
            facts: ObjectFacts::default(),
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
                    ..TableReport::default()
                },
                TableReport {
                    table: "b".into(),
                    rows_in: 3,
                    rows_confirmed: 0,
                    objects: 0,
                    bytes: 0,
                    receipts: vec![],
                    failure: Some(failure),
                    ..TableReport::default()
                },
            ],
        }
    }

    #[test]
    fn the_shape_for_machines() {
        let json: serde_json::Value = serde_json::from_str(&Summary::new(&report(), Duration::from_millis(1500)).json().unwrap()).unwrap();
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
        let json: serde_json::Value = serde_json::from_str(&Summary::new(&report, Duration::ZERO).json().unwrap()).unwrap();
        let table = &json["tables"][0];
        assert_eq!((&json["objects"], &table["keys"][1], &table["keys_left_out"]), (&5.into(), &"a/2".into(), &3.into()));
    }

    #[test]
    fn an_early_end_names_what_had_failed_and_what_is_in_the_bucket() {
        let summary = Summary::ended_early(Exit::Input, "a.csv is torn", &report(), Duration::ZERO);
        assert_eq!(summary.failures(), ["Table b failed: no such bucket"]);
        assert_eq!(summary.landed(), ["Table a: in the bucket are 2 objects with 4 rows: a/1 (2 rows), a/2 (2 rows)"]);
        let json: serde_json::Value = serde_json::from_str(&summary.json().unwrap()).unwrap();
        let expected = serde_json::json!({
            "ok": false, "exit_code": 6, "failure": "a.csv is torn", "rows": 4, "objects": 2, "bytes": 20, "seconds": 0.0,
            "tables": [
                {"table": "a", "rows_in": null, "rows": 4, "objects": 2, "bytes": 20, "keys": ["a/1", "a/2"], "failure": null},
                {"table": "b", "rows_in": null, "rows": 0, "objects": 0, "bytes": 0, "keys": [],
                 "failure": {"class": "storage", "message": "no such bucket"}},
            ],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn objects_of_tables_that_failed_are_told_and_those_of_whole_tables_are_not() {
        let mut report = report();
        assert!(Summary::new(&report, Duration::ZERO).landed().is_empty(), "table a is whole, and of b is nothing");
        report.tables[0].failure = report.tables[1].failure.clone();
        assert_eq!(Summary::new(&report, Duration::ZERO).landed().len(), 1);
        report.tables[0].receipts = vec![report.tables[0].receipts[0].clone(); OBJECTS_SHOWN + 5];
        let lines = Summary::new(&report, Duration::ZERO).landed();
        assert!(lines[0].ends_with(", a/1 (2 rows) and 5 more; `--json` lists them"), "{lines:?}");
        let many = WriteReport { tables: vec![report.tables[0].clone(); FAILURES_SHOWN + 2] };
        let lines = Summary::new(&many, Duration::ZERO).landed();
        assert_eq!((lines.len(), lines[FAILURES_SHOWN].as_str()), (21, "... and objects of 2 more tables; `--json` lists them."));
    }

    #[test]
    fn the_lines_for_people() {
        let summary = Summary::new(&report(), Duration::from_millis(1500));
        assert_eq!(summary.line(), "Wrote 4 rows of 2 tables to 2 objects (20 B) in 1.5 s.");
        assert_eq!(summary.failures(), ["Table b failed: no such bucket"]);
    }

    #[test]
    fn rows_that_were_left_out_are_counted() {
        let file = |rows| SkippedFile { file: "a.csv".into(), rows, line: 3, problem: "it is torn".into() };
        let summary = |skipped: &[SkippedFile]| Summary::new(&report(), Duration::ZERO).without(skipped);
        assert!(summary(&[]).line().ends_with(" in 0.0 s."));
        assert!(summary(&[file(1)]).line().ends_with(" s. Left out 1 row of 1 file that is not well-formed."));
        assert!(summary(&[file(1), file(2)]).line().ends_with(" s. Left out 3 rows of 2 files that are not well-formed."));
        let json: serde_json::Value = serde_json::from_str(&summary(&[file(2)]).json().unwrap()).unwrap();
        let expected = serde_json::json!([{"file": "a.csv", "rows": 2, "first_line": 3, "problem": "it is torn"}]);
        assert_eq!((&json["rows_skipped"], &json["skipped"]), (&2.into(), &expected));
    }

    #[test]
    fn rows_in_quarantine_are_told() {
        let mut report = report();
        let receipts = vec![Receipt { rows: 1, key: ObjectKey::parse("q/a/1").unwrap(), ..report.tables[0].receipts[0].clone() }];
        report.tables[0].quarantine = QuarantineReport { rows: 1, objects: 1, receipts };
        let summary = Summary::new(&report, Duration::from_millis(1500));
        let line = "Wrote 4 rows of 2 tables to 2 objects (20 B) in 1.5 s. 1 row could not be written, and is in quarantine.";
        assert_eq!(summary.line(), line);
        assert_eq!(summary.quarantined(), ["Table a: 1 row is in quarantine: q/a/1"]);
        let json: serde_json::Value = serde_json::from_str(&summary.json().unwrap()).unwrap();
        assert_eq!((&json["rows_quarantined"], &json["tables"][0]["quarantine_keys"]), (&1.into(), &serde_json::json!(["q/a/1"])));
        report.tables[0].quarantine.rows = 1_000;
        assert_eq!(Summary::new(&report, Duration::ZERO).quarantined(), ["Table a: 1,000 rows are in quarantine: q/a/1"]);
    }

    #[test]
    fn many_failures_are_counted() {
        let failed = report().tables[1].clone();
        let lines = Summary::new(&WriteReport { tables: vec![failed; 50] }, Duration::ZERO).failures();
        assert_eq!(
            (lines.len(), lines.last().unwrap().as_str()),
            (21, "... and 30 more tables failed; `--json` or `--log-level info` lists them.")
        );
    }
}
