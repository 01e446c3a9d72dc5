//! Manifests and manifest lists of the second version.
//!
//! Entries of a manifest inherit the snapshot and the sequence number of the list's entry, so that a manifest stays as it is when its commit is
//! tried again on another parent. Only the list is written anew.

use crate::avro::{Datum, Encoder, Record, Writer, read};
use crate::file::CheckedFile;
use crate::limits::{MANIFEST_BYTES, MAX_LIST_BYTES, MAX_MANIFESTS};
use crate::partition::{PartitionField, PartitionSpec};
use crate::types::Type;
use crate::value::Value;
use serde_json::{Value as Json, json};
use std::cmp::Ordering;

/// What the manifests of a table say of it.
#[derive(Debug, Clone)]
pub(crate) struct ManifestTable<'a> {
    /// The JSON of the current schema, as the catalog has it.
    pub(crate) schema: &'a str,
    pub(crate) schema_id: i32,
    pub(crate) spec: &'a PartitionSpec,
}

/// A manifest that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) partitions: Vec<Summary>,
}

/// What the partitions of a manifest have in a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) contains_null: bool,
    pub(crate) contains_nan: Option<bool>,
    pub(crate) lower: Option<Vec<u8>>,
    pub(crate) upper: Option<Vec<u8>>,
}

/// An entry of a manifest list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ManifestEntry {
    pub(crate) path: String,
    pub(crate) length: i64,
    pub(crate) spec_id: i64,
    /// 0: data, 1: deletes.
    pub(crate) content: i64,
    pub(crate) sequence_number: i64,
    pub(crate) min_sequence_number: i64,
    pub(crate) snapshot_id: i64,
    pub(crate) added_files: i64,
    pub(crate) existing_files: i64,
    pub(crate) deleted_files: i64,
    pub(crate) added_rows: i64,
    pub(crate) existing_rows: i64,
    pub(crate) deleted_rows: i64,
    pub(crate) partitions: Option<Vec<Summary>>,
    pub(crate) key_metadata: Option<Vec<u8>>,
}

/// The status of an entry that its manifest adds.
const ADDED: i64 = 1;

/// Writes the manifests of files, each of which has some megabytes at most.
pub(crate) fn manifests(table: &ManifestTable<'_>, files: &[CheckedFile]) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    let mut rest = files;
    while !rest.is_empty() {
        let mut writer = Writer::new(&manifest_schema(table.spec), &manifest_metadata(table));
        let mut count = 0;
        for file in rest {
            writer.push(&manifest_record(table.spec, file));
            count += 1;
            if writer.bytes() >= MANIFEST_BYTES {
                break;
            }
        }
        let (of_this, others) = rest.split_at(count);
        manifests.push(Manifest {
            bytes: writer.finish(),
            files: count as u64,
            rows: of_this.iter().map(|file| file.rows).sum(),
            partitions: summaries(table.spec, of_this),
        });
        rest = others;
    }
    manifests
}

fn summaries(spec: &PartitionSpec, files: &[CheckedFile]) -> Vec<Summary> {
    let of_field = |at: usize| {
        let values = || files.iter().map(move |file| file.partition.get(at).and_then(Option::as_ref));
        let first = |wanted: Ordering| {
            let better = |best: Option<&'_ Value>, value: &Value| best.is_none_or(|best| value.order(best) == wanted);
            let mut best: Option<&Value> = None;
            for value in values().flatten() {
                if better(best, value) {
                    best = Some(value);
                }
            }
            best.map(Value::to_bytes)
        };
        Summary {
            contains_null: values().any(|value| value.is_none()),
            contains_nan: Some(false),
            lower: first(Ordering::Less),
            upper: first(Ordering::Greater),
        }
    };
    (0..spec.fields.len()).map(of_field).collect()
}

fn manifest_metadata(table: &ManifestTable<'_>) -> [(&'static str, String); 6] {
    let field =
        |it: &PartitionField| json!({"source-id": it.source_id, "field-id": it.id, "name": it.name, "transform": it.transform.name()});
    let fields: Vec<Json> = table.spec.fields.iter().map(field).collect();
    [
        ("schema", table.schema.to_owned()),
        ("schema-id", table.schema_id.to_string()),
        ("partition-spec", Json::from(fields).to_string()),
        ("partition-spec-id", table.spec.id.to_string()),
        ("format-version", "2".to_owned()),
        ("content", "data".to_owned()),
    ]
}

fn manifest_record(spec: &PartitionSpec, file: &CheckedFile) -> Encoder {
    let mut out = Encoder::default();
    out.long(ADDED);
    // Snapshot, sequence numbers: inherited.
    (0..3).for_each(|_| out.long(0));
    out.long(0);
    out.text(&file.location);
    out.text("PARQUET");
    for (field, value) in spec.fields.iter().zip(&file.partition) {
        out.optional(value.as_ref(), |out, value| partition_value(out, &field.result(), value));
    }
    out.count(file.rows);
    out.count(file.bytes);
    for counts in [&file.column_sizes, &file.value_counts, &file.null_counts, &file.nan_counts] {
        out.optional(Some(counts).filter(|it| !it.is_empty()), |out, counts| {
            out.array(counts, |out, (id, count)| {
                out.long((*id).into());
                out.count(*count);
            });
        });
    }
    for bounds in [&file.lower, &file.upper] {
        out.optional(Some(bounds).filter(|it| !it.is_empty()), |out, bounds| {
            out.array(bounds, |out, (id, bound)| {
                out.long((*id).into());
                out.bytes(bound);
            });
        });
    }
    // The key's metadata.
    out.long(0);
    out.optional(Some(&file.split_offsets).filter(|it| !it.is_empty()), |out, offsets| out.array(offsets, |out, at| out.count(*at)));
    // The ids of equality deletes; the sort order.
    out.long(0);
    out.long(0);
    out
}

fn partition_value(out: &mut Encoder, kind: &Type, value: &Value) {
    match value {
        Value::Boolean(value) => out.boolean(*value),
        Value::Int(value) => out.long((*value).into()),
        Value::Long(value) => out.long(*value),
        Value::Decimal(value) => {
            let bytes = value.to_be_bytes();
            let needed = match kind {
                Type::Decimal { precision, .. } => decimal_bytes(*precision),
                _ => bytes.len(),
            };
            out.0.extend_from_slice(bytes.get(bytes.len() - needed..).unwrap_or_default());
        }
        Value::Text(text) => out.text(text),
        Value::Uuid(bytes) => out.0.extend_from_slice(bytes),
    }
}

/// The fewest bytes whose signed range holds every number of so many digits, of which there are at most 38.
fn decimal_bytes(precision: u8) -> usize {
    let most = 10_i128.checked_pow(precision.into()).unwrap_or(i128::MAX) - 1;
    (1..=16).find(|bytes| most >> (8 * bytes - 1) == 0).unwrap_or(16)
}

fn avro_type(kind: &Type) -> Json {
    match kind {
        Type::Boolean => json!("boolean"),
        Type::Int => json!("int"),
        Type::Long => json!("long"),
        Type::Date => json!({"type": "int", "logicalType": "date"}),
        Type::Uuid => json!({"type": "fixed", "name": "uuid_fixed", "size": 16, "logicalType": "uuid"}),
        Type::Decimal { precision, scale } => json!({
            "type": "fixed", "name": format!("decimal_{precision}_{scale}"), "size": decimal_bytes(*precision),
            "logicalType": "decimal", "precision": precision, "scale": scale,
        }),
        _ => json!("string"),
    }
}

/// A name of Avro's: letters, digits and `_`, not beginning with a digit. As Iceberg's own writers change others.
fn avro_name(name: &str) -> String {
    let mut out = String::new();
    for (at, character) in name.chars().enumerate() {
        match character {
            'a'..='z' | 'A'..='Z' | '_' => out.push(character),
            '0'..='9' if at > 0 => out.push(character),
            '0'..='9' => {
                out.push('_');
                out.push(character);
            }
            other => out.push_str(&format!("_x{:X}", u32::from(other))),
        }
    }
    out
}

fn optional(name: &str, id: i32, kind: Json) -> Json {
    json!({"name": name, "type": ["null", kind], "default": null, "field-id": id})
}

fn required(name: &str, id: i32, kind: Json) -> Json {
    json!({"name": name, "type": kind, "field-id": id})
}

fn map_of(key: i32, value: i32, kind: &str) -> Json {
    let fields = [required("key", key, json!("int")), required("value", value, json!(kind))];
    json!({"type": "array", "logicalType": "map", "items": {"type": "record", "name": format!("k{key}_v{value}"), "fields": fields}})
}

fn manifest_schema(spec: &PartitionSpec) -> Json {
    let mut named: Vec<Json> = Vec::new();
    let mut partition_type = |kind: &Type| {
        let json = avro_type(kind);
        // A name is given once; from then on the type is called by it.
        match json.get("name").cloned() {
            Some(name) if named.contains(&name) => name,
            Some(name) => {
                named.push(name);
                json
            }
            None => json,
        }
    };
    let partition: Vec<Json> =
        spec.fields.iter().map(|field| optional(&avro_name(&field.name), field.id, partition_type(&field.result()))).collect();
    let list = |id: i32, kind: &str| json!({"type": "array", "items": kind, "element-id": id});
    json!({"type": "record", "name": "manifest_entry", "fields": [
        required("status", 0, json!("int")),
        optional("snapshot_id", 1, json!("long")),
        optional("sequence_number", 3, json!("long")),
        optional("file_sequence_number", 4, json!("long")),
        required("data_file", 2, json!({"type": "record", "name": "r2", "fields": [
            required("content", 134, json!("int")),
            required("file_path", 100, json!("string")),
            required("file_format", 101, json!("string")),
            required("partition", 102, json!({"type": "record", "name": "r102", "fields": partition})),
            required("record_count", 103, json!("long")),
            required("file_size_in_bytes", 104, json!("long")),
            optional("column_sizes", 108, map_of(117, 118, "long")),
            optional("value_counts", 109, map_of(119, 120, "long")),
            optional("null_value_counts", 110, map_of(121, 122, "long")),
            optional("nan_value_counts", 137, map_of(138, 139, "long")),
            optional("lower_bounds", 125, map_of(126, 127, "bytes")),
            optional("upper_bounds", 128, map_of(129, 130, "bytes")),
            optional("key_metadata", 131, json!("bytes")),
            optional("split_offsets", 132, list(133, "long")),
            optional("equality_ids", 135, list(136, "int")),
            optional("sort_order_id", 140, json!("int")),
        ]})),
    ]})
}

fn list_schema() -> Json {
    let summary = json!({"type": "record", "name": "r508", "fields": [
        required("contains_null", 509, json!("boolean")),
        optional("contains_nan", 518, json!("boolean")),
        optional("lower_bound", 510, json!("bytes")),
        optional("upper_bound", 511, json!("bytes")),
    ]});
    json!({"type": "record", "name": "manifest_file", "fields": [
        required("manifest_path", 500, json!("string")),
        required("manifest_length", 501, json!("long")),
        required("partition_spec_id", 502, json!("int")),
        required("content", 517, json!("int")),
        required("sequence_number", 515, json!("long")),
        required("min_sequence_number", 516, json!("long")),
        required("added_snapshot_id", 503, json!("long")),
        required("added_files_count", 504, json!("int")),
        required("existing_files_count", 505, json!("int")),
        required("deleted_files_count", 506, json!("int")),
        required("added_rows_count", 512, json!("long")),
        required("existing_rows_count", 513, json!("long")),
        required("deleted_rows_count", 514, json!("long")),
        optional("partitions", 507, json!({"type": "array", "items": summary, "element-id": 508})),
        optional("key_metadata", 519, json!("bytes")),
    ]})
}

/// Writes the list of a snapshot: our manifests before those of its parent.
pub(crate) fn write_list(entries: &[ManifestEntry], snapshot_id: i64, parent: Option<i64>, sequence_number: i64) -> Vec<u8> {
    let parent = parent.map_or_else(|| "null".to_owned(), |parent| parent.to_string());
    let metadata = [
        ("snapshot-id", snapshot_id.to_string()),
        ("parent-snapshot-id", parent),
        ("sequence-number", sequence_number.to_string()),
        ("format-version", "2".to_owned()),
    ];
    let mut writer = Writer::new(&list_schema(), &metadata);
    for entry in entries {
        let mut out = Encoder::default();
        out.text(&entry.path);
        for number in [
            entry.length,
            entry.spec_id,
            entry.content,
            entry.sequence_number,
            entry.min_sequence_number,
            entry.snapshot_id,
            entry.added_files,
            entry.existing_files,
            entry.deleted_files,
            entry.added_rows,
            entry.existing_rows,
            entry.deleted_rows,
        ] {
            out.long(number);
        }
        out.optional(entry.partitions.as_ref(), |out, summaries| {
            out.array(summaries, |out, summary| {
                out.boolean(summary.contains_null);
                out.optional(summary.contains_nan, Encoder::boolean);
                out.optional(summary.lower.as_deref(), Encoder::bytes);
                out.optional(summary.upper.as_deref(), Encoder::bytes);
            });
        });
        out.optional(entry.key_metadata.as_deref(), Encoder::bytes);
        writer.push(&out);
    }
    writer.finish()
}

/// Reads the list of a snapshot that is there.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with its name.
pub(crate) fn read_list(file: &[u8]) -> Result<Vec<ManifestEntry>, String> {
    let mut entries = Vec::new();
    read(file, MAX_LIST_BYTES, |record| {
        if entries.len() == MAX_MANIFESTS {
            return Err(format!("names more than {MAX_MANIFESTS} manifests; the table wants its manifests rewritten"));
        }
        entries.push(entry_of(&record)?);
        Ok(())
    })??;
    Ok(entries)
}

fn entry_of(record: &Record) -> Result<ManifestEntry, String> {
    let number = |id: i64, name: &str| record.long(id, name).ok_or_else(|| format!("has a manifest without {name}"));
    // Written by an older version, before tables had them: zero by the specification.
    let or_zero = |id: i64, name: &str| record.long(id, name).unwrap_or_default();
    // Two names by which they went.
    let files = |id: i64, name: &str, old: &str| {
        let count = record.long(id, name).or_else(|| record.long(id, old));
        count.ok_or_else(|| format!("has a manifest without {name}"))
    };
    let path = record.bytes(500, "manifest_path").and_then(|path| String::from_utf8(path.to_vec()).ok());
    let partitions = match record.get(507, "partitions") {
        Some(Datum::Array(summaries)) => Some(summaries.iter().map(summary_of).collect::<Result<_, _>>()?),
        _ => None,
    };
    Ok(ManifestEntry {
        path: path.ok_or("has a manifest without manifest_path")?,
        length: number(501, "manifest_length")?,
        spec_id: number(502, "partition_spec_id")?,
        content: or_zero(517, "content"),
        sequence_number: or_zero(515, "sequence_number"),
        min_sequence_number: or_zero(516, "min_sequence_number"),
        snapshot_id: number(503, "added_snapshot_id")?,
        added_files: files(504, "added_files_count", "added_data_files_count")?,
        existing_files: files(505, "existing_files_count", "existing_data_files_count")?,
        deleted_files: files(506, "deleted_files_count", "deleted_data_files_count")?,
        added_rows: number(512, "added_rows_count")?,
        existing_rows: number(513, "existing_rows_count")?,
        deleted_rows: number(514, "deleted_rows_count")?,
        partitions,
        key_metadata: record.bytes(519, "key_metadata").map(<[u8]>::to_vec),
    })
}

fn summary_of(datum: &Datum) -> Result<Summary, String> {
    let Datum::Record(record) = datum else { return Err("has a manifest whose partitions are no records".into()) };
    Ok(Summary {
        contains_null: record.boolean(509, "contains_null").ok_or("has a manifest whose partitions lack contains_null")?,
        contains_nan: record.boolean(518, "contains_nan"),
        lower: record.bytes(510, "lower_bound").map(<[u8]>::to_vec),
        upper: record.bytes(511, "upper_bound").map(<[u8]>::to_vec),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{by_country, checker, file};

    fn entry(path: &str) -> ManifestEntry {
        ManifestEntry {
            path: path.into(),
            length: 10,
            content: 1,
            sequence_number: 7,
            min_sequence_number: 3,
            snapshot_id: -5,
            added_rows: 1 << 40,
            partitions: Some(vec![Summary { contains_null: true, contains_nan: None, lower: Some(vec![]), upper: Some(vec![1]) }]),
            key_metadata: Some(vec![9]),
            ..ManifestEntry::default()
        }
    }

    #[test]
    fn a_list_reads_what_it_writes() {
        let entries: Vec<ManifestEntry> = (0..3_000).map(|number| entry(&format!("s3://lake/t/metadata/{number}.avro"))).collect();
        let list = write_list(&entries, 1, Some(2), 8);
        assert_eq!(read_list(&list).unwrap(), entries);
        assert_eq!(write_list(&entries, 1, Some(2), 8), list);
        assert_eq!(read_list(&write_list(&[], 1, None, 1)).unwrap(), []);
    }

    #[test]
    fn a_list_of_another_kind_is_refused_by_what_it_lacks() {
        let manifests = manifests(&ManifestTable { schema: "{}", schema_id: 0, spec: &by_country() }, &[checker().check(&file()).unwrap()]);
        assert!(read_list(&manifests[0].bytes).unwrap_err().contains("has a manifest without"));
        assert!(read_list(b"hello").unwrap_err().contains("no Avro file"));
    }

    #[test]
    fn a_manifest_has_its_files_with_their_metrics() {
        let files: Vec<CheckedFile> = (0..2).map(|_| checker().check(&file()).unwrap()).collect();
        let spec = by_country();
        let table = ManifestTable { schema: "{}", schema_id: 0, spec: &spec };
        let written = manifests(&table, &files);
        let [manifest] = written.as_slice() else { panic!("{} manifests", written.len()) };
        assert_eq!((manifest.files, manifest.rows), (2, 6));
        let bound = Some(b"DE".to_vec());
        assert_eq!(manifest.partitions, [Summary { contains_null: false, contains_nan: Some(false), lower: bound.clone(), upper: bound }]);
        let mut records = Vec::new();
        read::<()>(&manifest.bytes, 1 << 20, |record| {
            records.push(record);
            Ok(())
        })
        .unwrap()
        .unwrap();
        let Some(Datum::Record(data)) = records[0].get(2, "") else { panic!("{records:?}") };
        assert_eq!((records[0].long(0, ""), records[0].get(1, ""), data.long(103, "")), (Some(1), Some(&Datum::Null), Some(3)));
        assert_eq!(data.bytes(100, ""), Some(&b"s3://lake/t/data/1.parquet"[..]));
        let Some(Datum::Array(lower)) = data.get(125, "") else { panic!("{data:?}") };
        assert_eq!(lower.len(), 2);
        assert_eq!(manifests(&table, &files), written);
        assert_eq!(manifests(&table, &[]), []);
    }

    #[test]
    fn names_and_decimals_are_as_iceberg_writes_them() {
        for (name, expected) in [("at_day", "at_day"), ("9a", "_9a"), ("a.b", "a_x2Eb"), ("é", "_xE9"), ("a9", "a9")] {
            assert_eq!(avro_name(name), expected);
        }
        let sizes = [(1, 1), (2, 1), (3, 2), (9, 4), (10, 5), (18, 8), (19, 9), (20, 9), (38, 16)];
        for (precision, expected) in sizes {
            assert_eq!(decimal_bytes(precision), expected, "{precision}");
        }
    }
}
