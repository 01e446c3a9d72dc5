use super::*;
use crate::spec::Spec;
use crate::testing::{FakeHost, Recorded};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use arrow_array::{Array, ArrayRef, Int64Array, ListArray};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

fn session(changes: Value, limits: SessionLimits) -> (FakeHost, Sink<FakeHost>) {
    let mut spec = json!({"bucket": "b", "region": "r", "path": "{{TABLE}}/{{UUID}}", "format": "parquet"});
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    let host = FakeHost::default();
    (host.clone(), Sink::open(host, Spec::parse(&spec.to_string(), "sync").expect("a spec").settings, limits))
}

const GENEROUS: SessionLimits = SessionLimits { encoder_bytes: 128 << 20, open_objects: 4_096 };

/// Rows of a table whose columns are numbers that do not repeat.
fn rows(table: &str, columns: &[&str], ids: std::ops::Range<i64>) -> Vec<u8> {
    let metadata = HashMap::from([("cq:table_name".to_owned(), table.to_owned())]);
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("a schema");
    if !ids.is_empty() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.map(|id| id.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))));
        writer.write(&RecordBatch::try_new(schema, vec![numbers; columns.len()]).expect("numbers")).expect("a batch");
    }
    writer.into_inner().expect("a stream")
}

fn footer(object: &Recorded) -> ParquetMetaData {
    ParquetMetaDataReader::new().parse_and_finish(&Bytes::copy_from_slice(&object.body)).expect("a footer")
}

/// What tables have come to: the rows of each that landed, the rows of each row group but the last of an object, and which tables failed.
type Outcome = (HashMap<String, u64>, Vec<i64>, Vec<(String, WriteError)>);

/// Twenty tables that are inserted into round after round, with a small budget.
fn under_pressure(changes: Value) -> Outcome {
    const BUDGET: u64 = 1 << 20;
    const TABLES: usize = 20;
    const ROUNDS: i64 = 150;
    const ROWS: i64 = 100;
    let (host, mut sink) = session(changes, SessionLimits { encoder_bytes: BUDGET, open_objects: 100 });
    let mut failed: Vec<(String, WriteError)> = Vec::new();
    for round in 0..ROUNDS {
        for table in (0..TABLES).map(|table| format!("t{table}")) {
            if failed.iter().any(|(name, _)| *name == table) {
                continue;
            }
            if let Err(error) = sink.insert(rows(&table, &["a", "b", "c", "d"], round * ROWS..(round + 1) * ROWS), 0) {
                failed.push((table, error));
            }
            failed.extend(sink.tick(0).failures);
            let held: usize = sink.open.values().map(|object| object.encoder.held_bytes()).sum();
            assert_eq!(held as u64, sink.held.kept + sink.held.relief);
            assert!(held as u64 <= BUDGET + BUDGET / LEAST_SHARE, "{held} bytes held");
        }
    }
    failed.extend(sink.end_write(0).failures);
    let (mut landed, mut groups) = (HashMap::new(), Vec::new());
    for object in host.objects() {
        let Some(rows) = object.rows else { continue };
        let mut found: Vec<i64> = footer(&object).row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(found.iter().sum::<i64>() as u64, rows);
        *landed.entry(object.attributes.key.split('/').next().unwrap_or_default().to_owned()).or_default() += rows;
        found.pop();
        groups.extend(found);
    }
    let whole = landed.values().filter(|rows| **rows == (ROUNDS * ROWS) as u64).count();
    assert_eq!(whole + failed.len(), TABLES, "each table is whole or has failed");
    (landed, groups, failed)
}

/// 400 rows are what the least share of memory has for each of the tables.
#[test]
fn tables_that_stay_open_are_bounded_and_the_one_with_most_footers_fails() {
    let (landed, groups, failed) = under_pressure(json!({"path": "{{TABLE}}", "no_rotate": true}));
    assert!(groups.len() > 50 && groups.iter().all(|rows| *rows >= 300), "{groups:?}");
    assert!(!failed.is_empty() && !landed.is_empty(), "{} failed", failed.len());
    for (table, error) in failed {
        assert!(
            error.to_string().contains("keep more than 1048576 bytes of memory") && error.to_string().contains("{{UUID}}"),
            "{table}: {error}"
        );
    }
}

#[test]
fn tables_that_rotate_end_objects_early_and_lose_nothing() {
    let (landed, groups, failed) =
        under_pressure(json!({"batch_size": 1_u64 << 40, "batch_size_bytes": 1_u64 << 50, "batch_timeout": "0s"}));
    assert_eq!((landed.len(), failed), (20, Vec::new()));
    assert!(groups.len() > 50 && groups.iter().all(|rows| *rows >= 300), "{groups:?}");
}

/// What a nested field's metadata says is part of an Arrow type, and no matter of the object that its rows are in.
#[test]
fn records_that_differ_in_the_metadata_of_nested_fields_go_into_one_object() {
    let message = |comment: &str| {
        let metadata = HashMap::from([("comment".to_owned(), comment.to_owned())]);
        let item = Arc::new(Field::new("item", DataType::Int64, true).with_metadata(metadata));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let lists = ListArray::new(item, OffsetBuffer::from_lengths([2, 1]), values, None);
        let table = HashMap::from([("cq:table_name".to_owned(), "t".to_owned())]);
        let schema = Arc::new(Schema::new_with_metadata(vec![Field::new("l", lists.data_type().clone(), true)], table));
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("a schema");
        writer.write(&RecordBatch::try_new(schema, vec![Arc::new(lists)]).expect("lists")).expect("a batch");
        writer.into_inner().expect("a stream")
    };
    for format in ["csv", "json", "parquet"] {
        let (host, mut sink) = session(json!({"format": format}), GENEROUS);
        for comment in ["one", "other"] {
            sink.insert(message(comment), 0).unwrap_or_else(|error| panic!("{format}: {error}"));
        }
        assert_eq!(sink.end_write(0).failures, Vec::new(), "{format}");
        assert_eq!(host.objects().iter().map(|object| object.rows).collect::<Vec<_>>(), [Some(4)], "{format}");
    }
}

#[test]
fn a_lane_has_no_more_objects_open_than_its_own_limit() {
    let open = |host_allows: u32, tables: u32| {
        let (_, mut sink) = session(json!({"format": "csv"}), SessionLimits { open_objects: host_allows, ..GENEROUS });
        (0..tables).find_map(|table| sink.insert(rows(&format!("t{table}"), &["a"], 0..1), 0).err()).map(|error| error.to_string())
    };
    assert_eq!((open(2, 2), open(u32::MAX, MAX_OPEN_OBJECTS)), (None, None));
    assert!(open(2, 3).is_some_and(|error| error.starts_with("2 objects are open")));
    assert!(open(u32::MAX, MAX_OPEN_OBJECTS + 1).is_some_and(|error| error.starts_with("4096 objects are open")));
}

#[test]
fn open_objects_have_so_many_fields_together() {
    let names: Vec<String> = (0..crate::limits::MAX_COLUMNS).map(|at| format!("c{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_, mut sink) = session(json!({"format": "csv"}), GENEROUS);
    let (tables, rest) = (MAX_OPEN_FIELDS / names.len(), MAX_OPEN_FIELDS % names.len());
    for table in 0..tables {
        sink.insert(rows(&format!("t{table}"), &names, 0..1), 0).expect("room");
    }
    sink.insert(rows("rest", &names[..rest], 0..1), 0).expect("room");
    let one = rows("one", &["a"], 0..1);
    let error = sink.insert(one.clone(), 0).expect_err("no room").to_string();
    assert!(error.starts_with("with this table's 1 fields the open objects would have more than 163840, which"), "{error}");
    sink.abandon("rest");
    sink.insert(one, 0).expect("room again");
    assert_eq!((sink.end_write(0).failures, sink.open_fields), (Vec::new(), 0));
}

#[test]
fn the_next_deadline_is_that_of_the_oldest_open_object() {
    const SECOND: u64 = 1_000_000_000;
    let (_, mut sink) = session(json!({"format": "csv", "batch_timeout": "10s", "batch_size": 2}), GENEROUS);
    let mut insert =
        |table: &str, count: i64, now: u64| sink.insert(rows(table, &["a"], 0..count), now * SECOND).expect("rows").map(|it| it / SECOND);
    assert_eq!(insert("late", 1, 5), Some(15));
    assert_eq!(insert("b", 1, 7), Some(15));
    assert_eq!(insert("a", 1, 7), Some(15));
    assert_eq!(insert("late", 1, 8), Some(17), "the object has its two rows, and has ended");
    assert_eq!(insert("late", 1, 9), Some(17));
    let progress = sink.tick(16 * SECOND);
    assert_eq!((progress.deadline, sink.open.len()), (Some(17 * SECOND), 3));
    let progress = sink.tick(17 * SECOND);
    assert_eq!((progress.deadline, sink.open.len(), sink.open.contains_key(&TablePartition::whole("late"))), (Some(19 * SECOND), 1, true));
    sink.abandon("late");
    assert_eq!((sink.deadline(), sink.ages.len()), (None, 0));
}

#[test]
fn an_empty_object_has_the_columns_of_the_last_migration() {
    let (host, mut sink) = session(json!({"write_empty_objects_for_empty_tables": true}), GENEROUS);
    for columns in [&["a"][..], &["a"], &["a", "b"]] {
        sink.migrate_table(&rows("t", columns, 0..0), 0).expect("an empty object");
    }
    sink.insert(rows("t", &["a", "b"], 0..3), 0).expect("rows");
    // While rows are there, a migration changes nothing.
    sink.migrate_table(&rows("t", &["a"], 0..0), 0).expect("nothing to do");
    assert_eq!(sink.end_write(0).failures, Vec::new());
    let objects = host.objects();
    let seen: Vec<_> = objects.iter().map(|object| (object.rows, footer(object).file_metadata().schema_descr().num_columns())).collect();
    assert_eq!(seen, [(Some(0), 1), (Some(0), 2), (Some(3), 2)]);
    assert!(objects.iter().all(|object| object.attributes.key == objects[0].attributes.key));
}
