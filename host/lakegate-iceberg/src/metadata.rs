//! A table as its catalog describes it: the part that an append needs. What is not needed is skipped while it is read, and takes no memory.

use crate::error::{Error, excerpt};
use crate::limits::MAX_SCHEMA_BYTES;
use crate::location::Location;
use crate::partition::{PartitionSpec, RawField};
use crate::types::{Field, fields_of};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};

/// The key in a snapshot's summary under which the commit's id stands.
pub const COMMIT_ID: &str = "lakegate.commit-id";

/// The branch that is appended to.
pub(crate) const MAIN: &str = "main";

/// The version of the format that is written.
const VERSION: u64 = 2;

#[derive(Deserialize)]
struct LoadAnswer<'a> {
    #[serde(borrow)]
    metadata: RawMetadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMetadata<'a> {
    format_version: u64,
    table_uuid: String,
    location: String,
    last_column_id: i32,
    #[serde(default)]
    last_updated_ms: i64,
    #[serde(default)]
    last_sequence_number: i64,
    current_schema_id: i32,
    #[serde(borrow)]
    schemas: Vec<&'a RawValue>,
    default_spec_id: i32,
    partition_specs: Vec<RawSpec>,
    current_snapshot_id: Option<i64>,
    #[serde(default)]
    snapshots: Vec<Snapshot>,
    #[serde(default)]
    refs: HashMap<String, RawRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawSpec {
    spec_id: i32,
    fields: Vec<RawField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawRef {
    snapshot_id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SchemaId {
    #[serde(default)]
    schema_id: i32,
}

/// A snapshot that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Snapshot {
    pub(crate) snapshot_id: i64,
    #[serde(default)]
    pub(crate) parent_snapshot_id: Option<i64>,
    #[serde(default)]
    pub(crate) manifest_list: Option<String>,
    #[serde(default)]
    pub(crate) summary: Summary,
}

/// What we read of a snapshot's summary. Numbers are text there; what is none counts as not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Summary {
    #[serde(default, rename = "lakegate.commit-id")]
    pub(crate) commit_id: Option<String>,
    #[serde(default, rename = "total-records")]
    records: Option<String>,
    #[serde(default, rename = "total-data-files")]
    data_files: Option<String>,
    #[serde(default, rename = "total-files-size")]
    files_size: Option<String>,
    #[serde(default, rename = "total-delete-files")]
    delete_files: Option<String>,
    #[serde(default, rename = "total-position-deletes")]
    position_deletes: Option<String>,
    #[serde(default, rename = "total-equality-deletes")]
    equality_deletes: Option<String>,
}

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub(crate) uuid: String,
    pub(crate) location: Location,
    pub(crate) last_column_id: i32,
    pub(crate) last_updated_ms: i64,
    pub(crate) last_sequence_number: i64,
    pub(crate) schema_id: i32,
    /// The JSON of the current schema.
    pub(crate) schema: String,
    pub(crate) columns: Vec<Field>,
    spec_id: i32,
    specs: Vec<(i32, Vec<RawField>)>,
    /// The newest snapshot of `main`.
    pub(crate) main: Option<i64>,
    snapshots: HashMap<i64, Snapshot>,
}

impl Metadata {
    /// Reads the answer of a catalog that describes a table.
    ///
    /// # Errors
    /// `Rejected`: it cannot be used. `Incompatible`: the table has a version that is not written here.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, Error> {
        let unusable = |why: &str| Error::rejected(format!("the catalog's description of the table cannot be used: {why}"));
        let answer: LoadAnswer<'_> = serde_json::from_slice(answer).map_err(|error| unusable(&excerpt(&error.to_string())))?;
        let raw = answer.metadata;
        if raw.format_version != VERSION {
            return Err(Error::incompatible(format!(
                "the table has format version {}, and version {VERSION} is written here",
                raw.format_version
            )));
        }
        if raw.table_uuid.is_empty() {
            return Err(unusable("it has no UUID"));
        }
        let is_current =
            |schema: &&&RawValue| serde_json::from_str(schema.get()).is_ok_and(|SchemaId { schema_id }| schema_id == raw.current_schema_id);
        let schema = raw.schemas.iter().find(is_current).ok_or_else(|| unusable("its current schema is not among its schemas"))?.get();
        if schema.len() > MAX_SCHEMA_BYTES {
            return Err(unusable(&format!("its schema has more than {MAX_SCHEMA_BYTES} bytes")));
        }
        let json: Json = serde_json::from_str(schema).map_err(|error| unusable(&excerpt(&error.to_string())))?;
        let columns = fields_of(&json)?;
        // Older writers say -1 for none.
        let main = match raw.refs.get(MAIN) {
            Some(main) => Some(main.snapshot_id),
            None => raw.current_snapshot_id,
        };
        let main = main.filter(|id| *id != -1);
        let snapshots: HashMap<i64, Snapshot> = raw.snapshots.into_iter().map(|it| (it.snapshot_id, it)).collect();
        if main.is_some_and(|main| !snapshots.contains_key(&main)) {
            return Err(unusable("its newest snapshot is not among its snapshots"));
        }
        Ok(Self {
            uuid: raw.table_uuid,
            location: Location::parse(&raw.location)?,
            last_column_id: raw.last_column_id,
            last_updated_ms: raw.last_updated_ms,
            last_sequence_number: raw.last_sequence_number,
            schema_id: raw.current_schema_id,
            schema: schema.to_owned(),
            columns,
            spec_id: raw.default_spec_id,
            specs: raw.partition_specs.into_iter().map(|spec| (spec.spec_id, spec.fields)).collect(),
            main,
            snapshots,
        })
    }

    /// How new files are divided.
    pub(crate) fn spec(&self) -> Result<PartitionSpec, Error> {
        let spec = self.specs.iter().find(|(id, _)| *id == self.spec_id);
        let (id, fields) = spec.ok_or_else(|| Error::rejected("the catalog's table has no partition spec of the id that it names"))?;
        PartitionSpec::from_table(*id, fields, &self.columns)
    }

    /// Whether it has a spec of this id.
    pub(crate) fn has_spec(&self, id: i32) -> bool {
        self.specs.iter().any(|(it, _)| *it == id)
    }

    /// The snapshot of a commit, if `main` or any snapshot before it is one.
    ///
    /// Snapshots that were expired are not there any more: a commit is found for as long as its snapshot is.
    pub(crate) fn find_commit(&self, commit_id: &str) -> Option<i64> {
        let mut seen = HashSet::new();
        let mut next = self.main;
        while let Some(snapshot) = next.filter(|id| seen.insert(*id)).and_then(|id| self.snapshots.get(&id)) {
            if snapshot.summary.commit_id.as_deref() == Some(commit_id) {
                return Some(snapshot.snapshot_id);
            }
            next = snapshot.parent_snapshot_id;
        }
        None
    }

    pub(crate) fn has_snapshot(&self, id: i64) -> bool {
        self.snapshots.contains_key(&id)
    }

    /// The manifest list of a snapshot.
    pub(crate) fn manifest_list(&self, id: i64) -> Option<&str> {
        self.snapshots.get(&id)?.manifest_list.as_deref()
    }

    /// The newest snapshot of `main`.
    pub(crate) fn current(&self) -> Option<&Snapshot> {
        self.main.and_then(|main| self.snapshots.get(&main))
    }
}

/// What a commit adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) partitions: Option<u64>,
}

impl Summary {
    /// The summary of the snapshot after this one. A total that is not known before is not known after.
    pub(crate) fn append(&self, commit_id: &str, added: Added) -> serde_json::Map<String, Json> {
        let mut summary = serde_json::Map::new();
        let mut put = |name: &str, value: String| summary.insert(name.to_owned(), Json::String(value));
        put("operation", "append".to_owned());
        put(COMMIT_ID, commit_id.to_owned());
        put("engine-name", "lakegate".to_owned());
        put("engine-version", env!("CARGO_PKG_VERSION").to_owned());
        put("added-data-files", added.files.to_string());
        put("added-records", added.rows.to_string());
        put("added-files-size", added.bytes.to_string());
        if let Some(partitions) = added.partitions {
            put("changed-partition-count", partitions.to_string());
        }
        let totals = [
            ("total-records", &self.records, added.rows),
            ("total-data-files", &self.data_files, added.files),
            ("total-files-size", &self.files_size, added.bytes),
            ("total-delete-files", &self.delete_files, 0),
            ("total-position-deletes", &self.position_deletes, 0),
            ("total-equality-deletes", &self.equality_deletes, 0),
        ];
        for (name, before, added) in totals {
            let before = before.as_deref().and_then(|text| text.parse::<u64>().ok());
            if let Some(total) = before.and_then(|before| before.checked_add(added)) {
                put(name, total.to_string());
            }
        }
        summary
    }

    /// Before the first snapshot there is nothing of anything.
    pub(crate) fn empty() -> Self {
        let zero = || Some("0".to_owned());
        Self {
            commit_id: None,
            records: zero(),
            data_files: zero(),
            files_size: zero(),
            delete_files: zero(),
            position_deletes: zero(),
            equality_deletes: zero(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn answer(change: impl FnOnce(&mut Json)) -> Vec<u8> {
        let mut metadata = json!({
            "format-version": 2, "table-uuid": "u-1", "location": "s3://lake/t/", "last-column-id": 2, "last-updated-ms": 5,
            "last-sequence-number": 3, "current-schema-id": 1, "default-spec-id": 0,
            "schemas": [
                {"schema-id": 0, "type": "struct", "fields": []},
                {"schema-id": 1, "type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]},
            ],
            "partition-specs": [{"spec-id": 0, "fields": []}],
            "current-snapshot-id": 30, "refs": {"main": {"snapshot-id": 30, "type": "branch"}},
            "snapshots": [
                {"snapshot-id": 10, "manifest-list": "s3://lake/t/metadata/l10.avro", "summary": {"lakegate.commit-id": "a", "operation": "append"}},
                {"snapshot-id": 20, "parent-snapshot-id": 10, "summary": {"lakegate.commit-id": "b"}},
                {"snapshot-id": 30, "parent-snapshot-id": 10, "summary": {"total-records": "7", "total-data-files": "x"}},
            ],
        });
        change(&mut metadata);
        json!({"metadata": metadata, "config": {}, "metadata-location": "s3://lake/t/metadata/v3.json"}).to_string().into_bytes()
    }

    fn parsed(change: impl FnOnce(&mut Json)) -> Result<Metadata, Error> {
        Metadata::parse(&answer(change))
    }

    #[test]
    fn a_commit_is_looked_for_among_the_ancestors_and_nowhere_else() {
        let table = parsed(|_| {}).unwrap();
        assert_eq!((table.find_commit("a"), table.find_commit("b"), table.find_commit("c")), (Some(10), None, None));
        // A circle ends, too.
        let circle = parsed(|it| it["snapshots"][0]["parent-snapshot-id"] = json!(30)).unwrap();
        assert_eq!((circle.find_commit("a"), circle.find_commit("c")), (Some(10), None));
        let expired = parsed(|it| drop(it["snapshots"].as_array_mut().unwrap().remove(0))).unwrap();
        assert_eq!(expired.find_commit("a"), None);
    }

    #[test]
    fn main_is_the_branch_or_the_current_snapshot() {
        let none = |it: &mut Json| {
            it["refs"] = json!({});
            it["current-snapshot-id"] = json!(-1);
        };
        let older = |it: &mut Json| drop(it.as_object_mut().unwrap().remove("refs"));
        assert_eq!(parsed(none).unwrap().main, None);
        assert_eq!(parsed(older).unwrap().main, Some(30));
        assert_eq!(parsed(|it| it["refs"]["main"]["snapshot-id"] = json!(20)).unwrap().main, Some(20));
    }

    #[test]
    fn totals_go_on_where_they_are_known() {
        let table = parsed(|_| {}).unwrap();
        let added = Added { files: 2, rows: 3, bytes: 50, partitions: Some(1) };
        let summary = table.current().unwrap().summary.append("c", added);
        let expected = json!({
            "operation": "append", "lakegate.commit-id": "c", "engine-name": "lakegate", "engine-version": env!("CARGO_PKG_VERSION"),
            "added-data-files": "2", "added-records": "3", "added-files-size": "50", "changed-partition-count": "1", "total-records": "10",
        });
        assert_eq!(Json::Object(summary), expected);
        let first = Summary::empty().append("c", added);
        assert_eq!((&first["total-records"], &first["total-delete-files"]), (&json!("3"), &json!("0")));
    }

    #[test]
    fn a_strangers_table_is_refused_by_what_is_wrong_with_it() {
        type Change = fn(&mut Json);
        let cases: [(Change, &str); 9] = [
            (|it| it["format-version"] = json!(3), "format version 3, and version 2"),
            (|it| it["table-uuid"] = json!(7), "cannot be used"),
            (|it| it["table-uuid"] = json!(""), "no UUID"),
            (|it| it["location"] = json!("file:///etc"), "not one of S3"),
            (|it| it["current-schema-id"] = json!(9), "its current schema"),
            (|it| it["schemas"] = json!({}), "cannot be used"),
            (|it| it["schemas"][1]["fields"][0]["id"] = json!("x"), "without an id"),
            (|it| it["snapshots"] = json!([]), "its newest snapshot"),
            (|it| it["snapshots"][2]["summary"] = json!([1]), "cannot be used"),
        ];
        for (change, expected) in cases {
            let error = parsed(change).unwrap_err();
            assert!(error.message.contains(expected), "{error}: {expected}");
        }
        assert!(Metadata::parse(b"<html>").is_err());
    }
}
