//! What the records of a commit say: pure functions of the receipts, so that equal attempts write equal bytes.

use crate::delivery::ledger::{Receipt, TableReport};
use crate::storage::target::ColumnFacts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lakegate_base::clock::rfc3339;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Objects of one file of a manifest. A table with more has several, and the manifest names them.
const MAX_ENTRIES: usize = 100_000;

/// Names of objects in a marker of success, as many as Hadoop's committer writes.
const MAX_MARKER_NAMES: usize = 100;

/// What a commit is, beside its objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitInfo {
    pub(crate) id: String,
    /// The attempt, unless another would write the same.
    pub(crate) attempt: Option<String>,
    pub(crate) sync_id: String,
    pub(crate) shard: Option<(u32, u32)>,
    pub(crate) bucket: String,
    pub(crate) format: String,
    /// Whether a manifest may say more than Redshift's COPY asks for.
    pub(crate) extra: bool,
    /// When the write ended, or what stands for it in every attempt.
    pub(crate) finished: Option<SystemTime>,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) bytes: Vec<u8>,
}

/// An object as a manifest names it: Redshift's keys, and ours below `lakegate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) url: String,
    pub(crate) mandatory: bool,
    pub(crate) meta: Meta,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lakegate: Option<EntryExtra>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Meta {
    pub(crate) content_length: u64,
    pub(crate) record_count: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct EntryExtra {
    /// By the name of its algorithm.
    #[serde(flatten)]
    pub(crate) checksum: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) partition: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) split_offsets: Vec<u64>,
    /// By the path of the column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) columns: BTreeMap<String, ColumnEntry>,
}

/// What the component says of a column of an object. Nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ColumnEntry {
    pub(crate) values: u64,
    pub(crate) nulls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nans: Option<u64>,
    /// As Iceberg writes single values, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lower: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upper: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

impl From<&ColumnFacts> for ColumnEntry {
    fn from(facts: &ColumnFacts) -> Self {
        let base64 = |bound: &Option<Vec<u8>>| bound.as_ref().map(|bytes| STANDARD.encode(bytes));
        Self {
            values: facts.values,
            nulls: facts.nulls,
            nans: facts.nans,
            lower: base64(&facts.lower),
            upper: base64(&facts.upper),
            bytes: facts.encoded_bytes,
        }
    }
}

impl CommitInfo {
    pub(crate) fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    fn entry(&self, receipt: &Receipt) -> Entry {
        let extra = || EntryExtra {
            checksum: receipt.checksum.iter().map(|sum| (sum.algorithm.name(), sum.value.clone())).collect(),
            partition: receipt.partition.iter().cloned().collect(),
            split_offsets: receipt.facts.split_offsets.clone(),
            columns: receipt.facts.columns.iter().map(|facts| (facts.path.clone(), facts.into())).collect(),
        };
        Entry {
            url: self.url(receipt.key.as_str()),
            mandatory: true,
            meta: Meta { content_length: receipt.bytes, record_count: receipt.rows },
            lakegate: self.extra.then(extra),
        }
    }

    /// The manifest of a table: its parts, if it has any, and last the file under `key` that makes it valid.
    pub(crate) fn manifest(&self, key: &str, table: &TableReport) -> Vec<Record> {
        let receipts = by_key(table);
        let total = Meta {
            content_length: receipts.iter().map(|receipt| receipt.bytes).sum(),
            record_count: receipts.iter().map(|receipt| receipt.rows).sum(),
        };
        if receipts.len() <= MAX_ENTRIES {
            return vec![self.file(key, table, &receipts, total, &[])];
        }
        let mut parts = Vec::new();
        let mut records = Vec::new();
        for (number, receipts) in receipts.chunks(MAX_ENTRIES).enumerate() {
            let part = part_key(key, number + 1);
            let of_part = Meta {
                content_length: receipts.iter().map(|receipt| receipt.bytes).sum(),
                record_count: receipts.iter().map(|receipt| receipt.rows).sum(),
            };
            records.push(self.file(&part, table, receipts, of_part, &[]));
            parts.push(part);
        }
        records.push(self.file(key, table, &[], total, &parts));
        records
    }

    /// One file, an entry a line: small enough a change to look at with the usual tools.
    fn file(&self, key: &str, table: &TableReport, receipts: &[&Receipt], meta: Meta, parts: &[String]) -> Record {
        let mut text = String::from("{\"entries\": [");
        for (number, receipt) in receipts.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(text, "{comma}\n{}", json_of(&self.entry(receipt)));
        }
        text.push_str("\n]");
        if self.extra {
            let mut ours = Map::from_iter([
                ("manifest".to_owned(), json!(1)),
                ("commit_id".to_owned(), json!(self.id)),
                ("table".to_owned(), json!(table.table)),
                ("format".to_owned(), json!(self.format)),
                ("objects".to_owned(), json!(table.objects)),
                ("rows_in".to_owned(), json!(table.rows_in)),
            ]);
            let mut add = |name: &str, value: Option<Value>| value.map(|value| ours.insert(name.to_owned(), value));
            add("sync_id", self.attempt.is_some().then(|| json!(self.sync_id)));
            add("attempt", self.attempt.as_ref().map(|attempt| json!(attempt)));
            let in_quarantine = || json!({"rows": table.quarantine.rows, "urls": self.quarantine_urls(table)});
            add("quarantined", (table.quarantine.objects > 0).then(in_quarantine));
            add("shard", self.shard.map(|(number, count)| json!(format!("{number}/{count}"))));
            add("finished", self.finished.map(|finished| json!(rfc3339(finished))));
            add("parts", (!parts.is_empty()).then(|| json!(parts.iter().map(|part| self.url(part)).collect::<Vec<_>>())));
            let author = json!({"name": "lakegate", "version": env!("CARGO_PKG_VERSION")});
            let _ = write!(text, ",\n\"meta\": {},\n\"author\": {author},\n\"lakegate\": {}", json_of(&meta), Value::Object(ours));
        }
        text.push_str("}\n");
        Record { key: key.to_owned(), bytes: text.into_bytes() }
    }

    /// The URLs of the objects with the rows of a table that could not be written, in the order of their keys.
    fn quarantine_urls(&self, table: &TableReport) -> Vec<String> {
        let mut keys: Vec<&str> = table.quarantine.receipts.iter().map(|receipt| receipt.key.as_str()).collect();
        keys.sort_unstable();
        keys.into_iter().map(|key| self.url(key)).collect()
    }

    /// The URLs of a table's objects, one a line: what Athena, Trino and BigQuery take for a table or a load.
    pub(crate) fn symlink_list(&self, key: &str, table: &TableReport) -> Record {
        let lines: String = by_key(table).iter().map(|receipt| format!("{}\n", self.url(receipt.key.as_str()))).collect();
        Record { key: key.to_owned(), bytes: lines.into_bytes() }
    }

    /// The marker of success of a folder, in the form of Hadoop's S3A committer.
    pub(crate) fn success_marker(&self, key: &str, tables: &[&TableReport]) -> Record {
        let names = tables.iter().flat_map(|table| by_key(table)).map(|receipt| format!("/{}", receipt.key)).take(MAX_MARKER_NAMES);
        let finished = self.finished.unwrap_or(UNIX_EPOCH);
        let milliseconds = finished.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let marker = json!({
            "name": "org.apache.hadoop.fs.s3a.commit.files.SuccessData/1",
            "success": true,
            "timestamp": u64::try_from(milliseconds).unwrap_or_default(),
            "date": rfc3339(finished),
            "hostname": "",
            "committer": "lakegate",
            "description": format!("{} objects", tables.iter().map(|table| table.objects).sum::<u64>()),
            "jobId": self.id,
            "jobIdSource": "commit.id",
            "metrics": {},
            "diagnostics": {"lakegate.version": env!("CARGO_PKG_VERSION")},
            "filenames": names.collect::<Vec<_>>(),
        });
        Record { key: key.to_owned(), bytes: format!("{marker:#}\n").into_bytes() }
    }
}

/// In an order that does not depend on which object was confirmed first.
fn by_key(table: &TableReport) -> Vec<&Receipt> {
    let mut receipts: Vec<&Receipt> = table.receipts.iter().collect();
    receipts.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    receipts
}

/// `…/orders.json` has the parts `…/orders-00001.json` and so on.
fn part_key(key: &str, number: usize) -> String {
    let (stem, ending) = match key.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') => (stem, format!(".{ending}")),
        _ => (key, String::new()),
    };
    format!("{stem}-{number:05}{ending}")
}

fn json_of(value: &impl Serialize) -> String {
    // A struct of texts and numbers has no key that is not a text.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::ledger::QuarantineReport;
    use crate::storage::checksum::{Checksum, ChecksumAlgorithm};
    use crate::storage::object::ObjectKey;
    use crate::storage::target::ObjectFacts;

    fn receipt(key: &str, rows: u64) -> Receipt {
        Receipt {
            table: "orders".into(),
            key: ObjectKey::parse(key).unwrap(),
            bytes: 10 * rows,
            rows,
            etag: "e".into(),
            checksum: Some(Checksum { algorithm: ChecksumAlgorithm::Crc32, value: "AAAAAA==".into() }),
            was_there: false,
            partition: vec![("country".into(), Some("DE".into())), ("none".into(), None)],
            facts: ObjectFacts {
                rows,
                split_offsets: vec![4, 100],
                columns: vec![ColumnFacts {
                    path: "a.b".into(),
                    values: rows,
                    nulls: 1,
                    nans: Some(0),
                    lower: Some(vec![0, 255]),
                    upper: None,
                    encoded_bytes: Some(77),
                }],
            },
        }
    }

    fn table(receipts: Vec<Receipt>) -> TableReport {
        let rows = receipts.iter().map(|receipt| receipt.rows).sum();
        TableReport {
            table: "orders".into(),
            rows_in: rows,
            rows_confirmed: rows,
            objects: receipts.len() as u64,
            receipts,
            ..TableReport::default()
        }
    }

    fn info(extra: bool) -> CommitInfo {
        CommitInfo { id: "c1".into(), bucket: "lake".into(), format: "parquet".into(), extra, ..CommitInfo::default() }
    }

    fn parsed(record: &Record) -> Value {
        serde_json::from_slice(&record.bytes).unwrap()
    }

    #[test]
    fn a_manifest_has_redshifts_shape_and_ours_beside() {
        let table = table(vec![receipt("orders/2", 2), receipt("orders/1", 1)]);
        let records = info(true).manifest("m/orders.json", &table);
        let [record] = records.as_slice() else { panic!("{records:?}") };
        let manifest = parsed(record);
        assert_eq!(manifest["entries"][0]["url"], "s3://lake/orders/1");
        assert_eq!(manifest["entries"][1]["meta"], json!({"content_length": 20, "record_count": 2}));
        assert_eq!(
            manifest["entries"][0]["lakegate"],
            json!({"crc32": "AAAAAA==", "partition": {"country": "DE", "none": null}, "split_offsets": [4, 100],
                "columns": {"a.b": {"values": 1, "nulls": 1, "nans": 0, "lower": "AP8=", "bytes": 77}}})
        );
        assert_eq!(manifest["meta"], json!({"content_length": 30, "record_count": 3}));
        assert_eq!((&manifest["lakegate"]["commit_id"], &manifest["lakegate"]["rows_in"]), (&json!("c1"), &json!(3)));
        let bare = parsed(&info(false).manifest("m", &table)[0]);
        assert_eq!(bare.as_object().unwrap().keys().collect::<Vec<_>>(), ["entries"]);
        assert_eq!(bare["entries"][0].as_object().unwrap().len(), 3);
    }

    #[test]
    fn rows_in_quarantine_are_named_beside_the_entries_and_are_none_of_them() {
        let quarantine = QuarantineReport { rows: 3, objects: 2, receipts: vec![receipt("q/2", 2), receipt("q/1", 1)] };
        let table = TableReport { rows_in: 4, quarantine, ..table(vec![receipt("orders/1", 1)]) };
        let manifest = parsed(&info(true).manifest("m/orders.json", &table)[0]);
        assert_eq!(manifest["lakegate"]["quarantined"], json!({"rows": 3, "urls": ["s3://lake/q/1", "s3://lake/q/2"]}));
        assert_eq!((manifest["entries"].as_array().unwrap().len(), &manifest["lakegate"]["rows_in"]), (1, &json!(4)));
        assert_eq!(manifest["meta"]["record_count"], 1);
        assert_eq!(info(true).symlink_list("l", &table).bytes, b"s3://lake/orders/1\n");
        assert_eq!(parsed(&info(true).success_marker("s", &[&table]))["filenames"], json!(["/orders/1"]));
    }

    #[test]
    fn equal_attempts_write_equal_bytes_in_whatever_order_objects_landed() {
        let [one, other] = [vec![receipt("b", 1), receipt("a", 2)], vec![receipt("a", 2), receipt("b", 1)]].map(table);
        assert_eq!(info(true).manifest("m", &one), info(true).manifest("m", &other));
        assert_eq!(info(true).symlink_list("l", &one).bytes, b"s3://lake/a\ns3://lake/b\n");
    }

    #[test]
    fn many_objects_make_parts_and_the_manifest_names_them_last() {
        let receipts =
            (0..MAX_ENTRIES + 1).map(|number| Receipt { partition: Vec::new(), ..receipt(&format!("o/{number:06}"), 1) }).collect();
        let records = info(true).manifest("m/orders.json", &table(receipts));
        let keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        assert_eq!(keys, ["m/orders-00001.json", "m/orders-00002.json", "m/orders.json"]);
        let index = parsed(&records[2]);
        assert_eq!(index["lakegate"]["parts"], json!(["s3://lake/m/orders-00001.json", "s3://lake/m/orders-00002.json"]));
        assert_eq!(index["meta"]["record_count"], MAX_ENTRIES + 1);
        assert_eq!(parsed(&records[1])["entries"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_marker_names_what_it_stands_for() {
        let one = table(vec![receipt("orders/1", 1)]);
        let marker = parsed(&info(true).success_marker("orders/_SUCCESS", &[&one]));
        assert_eq!((&marker["success"], &marker["jobId"]), (&json!(true), &json!("c1")));
        assert_eq!(marker["filenames"], json!(["/orders/1"]));
    }
}
