//! A plan as text for people and as JSON for machines.

use super::super::exit::Exit;
use super::super::summary::failure_lines;
use super::keys::Randomness;
use super::spec::SpecText;
use super::store::KeyStore;
use super::warnings::Warning;
use indicatif::{HumanBytes, HumanCount};
use lakegate::spec::{Configuration, StorageTarget};
use lakegate::{Receipt, SyncContext, TableReport, WriteReport};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// How many tables the text lists; the rest is counted (all of them are in `--json`).
const TABLES_SHOWN: usize = 100;

/// How many keys of a table the text lists.
const KEYS_SHOWN: usize = 10;

/// How many other objects the text lists.
const RECORDS_SHOWN: usize = 50;

/// What is planned for one source and destination.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) configuration: Configuration,
    /// The path of objects with its placeholders; empty if the component does not say.
    pub(super) path: String,
    /// The path of rows that cannot be written, if they have a place.
    pub(super) quarantine: Option<String>,
    /// What each object is sent with; without a value, one of its own.
    pub(super) headers: Vec<(String, Option<String>)>,
    pub(super) warnings: Vec<Warning>,
    pub(super) policy: Value,
    /// What would be written; [`None`] if only the source knows, or nobody asked.
    pub(super) rehearsed: Option<Rehearsed>,
}

/// What would be written.
#[derive(Debug)]
pub(super) struct Rehearsed {
    report: WriteReport,
    /// The keys of each table, as shown.
    keys: Vec<Vec<String>>,
    /// Those of its rows in quarantine.
    quarantine_keys: Vec<Vec<String>>,
    /// The keys of objects beside those of the tables, such as manifests.
    records: Vec<String>,
    /// How many of them are not kept.
    records_left_out: u64,
}

impl Rehearsed {
    /// What the report of a write and the store that it went to say.
    pub(super) fn new(report: WriteReport, store: &KeyStore, configuration: &Configuration, text: &SpecText, sync: &SyncContext) -> Self {
        let commit = &configuration.commit;
        let randomness = Randomness { sync_id: &sync.sync_id, known: [&text.key, &commit.id] };
        let shown = |table: &TableReport, receipts: &[Receipt]| {
            receipts.iter().map(|receipt| randomness.shown(receipt.key.as_str(), &table.table)).collect()
        };
        let keys = report.tables.iter().map(|table| shown(table, &table.receipts)).collect();
        let quarantine_keys = report.tables.iter().map(|table| shown(table, &table.quarantine.receipts)).collect();
        // Only with these are there objects that are neither a table's nor named by the configuration; then the report has every receipt.
        let has_records = commit.manifest.is_some() || commit.pending.is_some();
        let (all, left_out) = if has_records { store.keys() } else { Default::default() };
        let of_tables: BTreeSet<&str> = report
            .tables
            .iter()
            .flat_map(|table| table.receipts.iter().chain(&table.quarantine.receipts))
            .map(|it| it.key.as_str())
            .collect();
        let test = configuration.test_object.as_ref().map(|object| object.key.as_str());
        let is_record = |key: &&String| !of_tables.contains(key.as_str()) && test != Some(key.as_str());
        let records = all.iter().filter(is_record).map(|key| randomness.shown(key, "")).collect();
        Self { report, keys, quarantine_keys, records, records_left_out: left_out }
    }
}

fn plural(count: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// Where a target's requests go.
fn place(target: &StorageTarget) -> String {
    let at = target.endpoint.as_ref().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
    format!("s3://{} in {}{at}", target.bucket, target.region)
}

impl Plan {
    /// The exit code: the highest of the tables'.
    pub(super) fn exit(&self) -> Exit {
        self.rehearsed.as_ref().map_or(Exit::Done, |rehearsed| Exit::from_report(&rehearsed.report))
    }

    /// A line for each of the first tables that would fail.
    pub(super) fn failures(&self) -> Vec<String> {
        let Some(rehearsed) = &self.rehearsed else { return Vec::new() };
        failure_lines(rehearsed.report.failures().map(|(table, failure)| (table, failure.message.as_str())))
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Configuration { target, format, content_type, .. } = &self.configuration;
        let names = [("source", &self.source), ("destination", &self.destination)];
        let names: Vec<String> = names.iter().filter_map(|(kind, name)| Some(format!("{kind} {}, ", name.as_ref()?))).collect();
        let path = if self.path.is_empty() { "keys of its own".to_owned() } else { self.path.clone() };
        let mut lines = vec![
            format!("{}{format} ({content_type}) into {}: {path}", names.concat(), place(target)),
            "As into an empty bucket; nothing was sent.".to_owned(),
        ];
        if let Some(quarantine) = &self.quarantine {
            let rows = self.configuration.quarantine_rows.unwrap_or_default();
            lines.push(format!("Rows that cannot be written, up to {} of each table: {quarantine}", HumanCount(rows)));
        }
        lines.push(String::new());
        match &self.rehearsed {
            Some(rehearsed) => lines.extend(rehearsed.lines()),
            None => lines.push("Tables and rows are known only to the source.".to_owned()),
        }
        lines.extend([String::new(), "Headers of each object:".to_owned()]);
        let shown = |(name, value): &(String, Option<String>)| format!("  {name}: {}", value.as_deref().unwrap_or("(its own)"));
        lines.extend(self.headers.iter().map(shown));
        if !self.warnings.is_empty() {
            lines.extend([String::new(), "To know:".to_owned()]);
            lines.extend(self.warnings.iter().map(|warning| format!("  - {}", warning.text)));
        }
        lines.join("\n")
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let Configuration { target, format, content_type, commit, test_object, .. } = &self.configuration;
        let headers: Map<String, Value> = self.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let rows = self.rehearsed.as_ref().map(Rehearsed::json);
        json!({
            "source": self.source,
            "destination": self.destination,
            "bucket": target.bucket,
            "region": target.region,
            "endpoint": target.endpoint,
            "path": self.path,
            "quarantine": self.quarantine,
            "format": format,
            "content_type": content_type,
            "test_object": test_object.as_ref().map(|object| &object.key),
            "probes": commit.probes.iter().map(|probe| &probe.key).collect::<Vec<_>>(),
            "written": rows,
            "headers": headers,
            "warnings": self.warnings,
            "policy": self.policy,
        })
    }
}

impl Rehearsed {
    fn totals(&self) -> [u64; 3] {
        let sum = |of: fn(&TableReport) -> u64| self.report.tables.iter().map(of).sum();
        [sum(|table| table.rows_confirmed), sum(|table| table.objects), sum(|table| table.bytes)]
    }

    fn lines(&self) -> Vec<String> {
        let [rows, objects, bytes] = self.totals();
        let tables = self.report.tables.len();
        let sum = format!("{} of {} in {}", plural(rows, "row"), plural(tables as u64, "table"), plural(objects, "object"));
        let mut lines = vec![format!("{sum} ({}):", HumanBytes(bytes))];
        for ((table, keys), in_quarantine) in self.report.tables.iter().zip(&self.keys).zip(&self.quarantine_keys).take(TABLES_SHOWN) {
            let size = format!("{}, {}", plural(table.rows_confirmed, "row"), HumanBytes(table.bytes));
            lines.push(format!("  {}: {}, {size}", table.table, plural(table.objects, "object")));
            lines.extend(key_lines(&table.receipts, table.objects, keys));
            if table.quarantine.objects > 0 {
                lines.push(format!("    in quarantine {}:", plural(table.quarantine.rows, "row")));
                lines.extend(key_lines(&table.quarantine.receipts, table.quarantine.objects, in_quarantine));
            }
        }
        if let Some(more @ 1..) = tables.checked_sub(TABLES_SHOWN) {
            lines.push(format!("  ... and {more} more tables; `--json` lists them"));
        }
        if !self.records.is_empty() {
            lines.push("Beside them:".to_owned());
            lines.extend(self.records.iter().take(RECORDS_SHOWN).map(|key| format!("  {key}")));
        }
        if let Some(more @ 1..) = self.records.len().checked_sub(RECORDS_SHOWN) {
            lines.push(format!("  ... and {more} more; `--json` lists them"));
        }
        lines
    }

    fn json(&self) -> Value {
        let [rows, objects, bytes] = self.totals();
        let object = |(receipt, key): (&Receipt, &String)| json!({ "key": key, "rows": receipt.rows, "bytes": receipt.bytes });
        let table = |((table, keys), in_quarantine): ((&TableReport, &Vec<String>), &Vec<String>)| {
            let quarantine = &table.quarantine;
            json!({
                "table": table.table,
                "rows": table.rows_confirmed,
                "objects": table.objects,
                "bytes": table.bytes,
                "keys": table.receipts.iter().zip(keys).map(object).collect::<Vec<_>>(),
                "keys_left_out": table.objects.saturating_sub(table.receipts.len() as u64),
                "rows_quarantined": quarantine.rows,
                "quarantine_keys": quarantine.receipts.iter().zip(in_quarantine).map(object).collect::<Vec<_>>(),
                "failure": table.failure.as_ref().map(|failure| &failure.message),
            })
        };
        json!({
            "rows": rows,
            "objects": objects,
            "bytes": bytes,
            "tables": self.report.tables.iter().zip(&self.keys).zip(&self.quarantine_keys).map(table).collect::<Vec<_>>(),
            "records": self.records,
            "records_left_out": self.records_left_out,
        })
    }
}

/// The first keys of a table; equal ones, which differ in what is random, as one line.
fn key_lines(receipts: &[Receipt], objects: u64, keys: &[String]) -> Vec<String> {
    let mut groups: Vec<(&str, u64, u64, u64)> = Vec::new();
    for (receipt, key) in receipts.iter().zip(keys) {
        if let Some((_, count, rows, bytes)) = groups.iter_mut().find(|group| group.0 == key.as_str()) {
            (*count, *rows, *bytes) = (*count + 1, *rows + receipt.rows, *bytes + receipt.bytes);
        } else if groups.len() < KEYS_SHOWN {
            groups.push((key, 1, receipt.rows, receipt.bytes));
        }
    }
    let shown = |(key, count, rows, bytes): &(&str, u64, u64, u64)| {
        let times = if *count > 1 { format!(" × {}", HumanCount(*count)) } else { String::new() };
        format!("    {key}{times} ({}, {})", plural(*rows, "row"), HumanBytes(*bytes))
    };
    let mut lines: Vec<String> = groups.iter().map(shown).collect();
    let listed: u64 = groups.iter().map(|group| group.1).sum();
    if let Some(more @ 1..) = objects.checked_sub(listed) {
        lines.push(format!("    ... and {} more; `--json` lists them", HumanCount(more)));
    }
    lines
}
