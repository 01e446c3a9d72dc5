//! What a session promises where keys take values from rows.

use super::*;
use crate::spec::{Spec, SyncContext};
use crate::testing::FakeHost;
use arrow_array::{ArrayRef, Date32Array, Int64Array, StringArray};
use arrow_ipc::writer::StreamWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const LIMITS: SessionLimits = SessionLimits { encoder_bytes: 64 << 20, open_objects: 4_096 };

fn settings(changes: Value, context: SyncContext) -> Settings {
    let mut spec = json!({"bucket": "b", "region": "r", "path": "{{TABLE}}/c={{COLUMN:c}}/{{UUID}}", "format": "csv",
        "format_spec": {"skip_header": true}});
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    Spec::parse(&spec.to_string(), context).unwrap_or_else(|problems| panic!("{spec}: {problems:?}")).settings
}

fn session(changes: Value) -> (FakeHost, Sink<FakeHost>) {
    let host = FakeHost::default();
    (host.clone(), Sink::open(host, settings(changes, "sync".into()), LIMITS))
}

/// Rows of a table: `c`, a day and a number.
fn rows(table: &str, values: &[Option<&str>]) -> Vec<u8> {
    let columns: [(&str, ArrayRef); 3] = [
        ("c", Arc::new(StringArray::from(values.to_vec()))),
        ("d", Arc::new(Date32Array::from_iter_values((0..).take(values.len())))),
        ("n", Arc::new(Int64Array::from_iter_values((0..).take(values.len())))),
    ];
    stream(table, &columns)
}

fn stream(table: &str, columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let metadata = HashMap::from([("cq:table_name".to_owned(), table.to_owned())]);
    let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("a schema");
    writer.write(&RecordBatch::try_new(schema, columns.iter().map(|(_, array)| array.clone()).collect()).expect("rows")).expect("a batch");
    writer.into_inner().expect("a stream")
}

/// The key of each finished object without its UUID, and its rows.
fn finished(host: &FakeHost) -> Vec<(String, u64)> {
    let folder = |key: &str| key.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    host.objects().iter().filter_map(|object| Some((folder(&object.attributes.key), object.rows?))).collect()
}

fn done(sink: &mut Sink<FakeHost>) {
    assert_eq!(sink.end_write(0), Progress::default());
    assert_eq!((sink.open.len(), sink.open_fields, sink.recency.open_of("t")), (0, 0, 0));
    assert!(sink.recency.oldest().is_none());
}

#[test]
fn each_value_has_objects_of_its_own() {
    let (host, mut sink) = session(json!({}));
    sink.insert(rows("t", &[Some("a"), Some("b/../x"), None, Some("a"), Some("")]), 0).expect("rows");
    sink.insert(rows("t", &[Some("b/../x"), Some("a")]), 0).expect("rows");
    done(&mut sink);
    let expected = [("t/c=a", 3), ("t/c=b%2F..%2Fx", 2), ("t/c=__HIVE_DEFAULT_PARTITION__", 2)];
    assert_eq!(finished(&host), expected.map(|(folder, rows)| (folder.to_owned(), rows)));
    let objects = host.objects();
    let of = |value: &str| objects.iter().find(|object| object.attributes.key.contains(value)).expect("an object");
    assert_eq!(of("c=a").body, b"a,1970-01-01,0\na,1970-01-04,3\na,1970-01-02,1\n");
    assert_eq!(of("c=b").attributes.partition, [("c".to_owned(), Some("b/../x".to_owned()))]);
    assert_eq!(of("c=__HIVE").attributes.partition, [("c".to_owned(), None)]);
    assert_eq!(host.lines(), []);
}

#[test]
fn limits_count_for_each_partition() {
    let (host, mut sink) = session(json!({"batch_size": 2, "batch_size_bytes": 0}));
    sink.insert(rows("t", &[Some("a"), Some("b"), Some("a"), Some("a"), Some("b"), Some("a"), Some("a")]), 0).expect("rows");
    assert_eq!(finished(&host).len(), 3, "two of a, one of b");
    done(&mut sink);
    assert_eq!(finished(&host).iter().filter(|(folder, _)| folder == "t/c=a").map(|(_, rows)| *rows).collect::<Vec<_>>(), [2, 2, 1]);
}

#[test]
fn beyond_max_open_the_partition_not_written_to_for_longest_ends_and_that_is_said() {
    let (host, mut sink) = session(json!({"partition": {"max_open": 2}}));
    for value in ["a", "b", "a", "c", "a", "b"] {
        sink.insert(rows("t", &[Some(value)]), 0).expect("rows");
    }
    // c ends b, and b ends c.
    assert_eq!(finished(&host), [("t/c=b".to_owned(), 1), ("t/c=c".to_owned(), 1)]);
    // Another table has partitions of its own.
    sink.insert(rows("u", &[Some("x"), Some("y")]), 0).expect("rows");
    assert_eq!(finished(&host).len(), 2);
    done(&mut sink);
    assert_eq!(finished(&host).iter().map(|(_, rows)| rows).sum::<u64>(), 8);
    let lines = host.lines();
    assert!(lines.len() == 1 && lines[0].1.contains("table \"t\": 2 objects ended before their limits"), "{lines:?}");
}

#[test]
fn too_many_partitions_fail_where_none_may_end() {
    let check = |changes: Value, why: &str| {
        let (host, mut sink) = session(changes);
        let error = sink.insert(rows("t", &[Some("a"), Some("b"), Some("c")]), 0).expect_err("three").to_string();
        assert!(error.contains("more than 2 partitions at once (`partition.max_open`)") && error.contains(why), "{error}");
        done(&mut sink);
        assert_eq!(finished(&host), [], "nothing of the table is left");
    };
    check(json!({"partition": {"max_open": 2, "overflow": "fail"}}), "`partition.overflow` is `fail`");
    let whole = json!({"path": "{{TABLE}}/{{COLUMN:c}}/all", "no_rotate": true, "partition": {"max_open": 2}});
    check(whole, "neither {{UUID}} nor {{SEQ}}");
}

#[test]
fn a_full_lane_ends_partitions_rather_than_fail_a_table() {
    let host = FakeHost::default();
    let limits = SessionLimits { open_objects: 3, ..LIMITS };
    let mut sink = Sink::open(host.clone(), settings(json!({}), "sync".into()), limits);
    for table in ["t", "u", "v"] {
        sink.insert(rows(table, &[Some("a"), Some("b")]), 0).expect("rows");
        assert!(sink.open.len() <= 3);
    }
    done(&mut sink);
    assert_eq!(finished(&host).len(), 6);
}

#[test]
fn of_many_tables_those_without_the_column_are_said_once() {
    let (host, mut sink) = session(json!({}));
    for table in 0..400 {
        let has = table % 150 == 0;
        let column: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        sink.insert(stream(&format!("t{table}"), &[(if has { "c" } else { "other" }, column)]), 0).expect("rows");
    }
    done(&mut sink);
    let with = finished(&host).iter().filter(|(folder, _)| folder.ends_with("c=x")).count();
    let without = finished(&host).iter().filter(|(folder, _)| folder.ends_with("c=__HIVE_DEFAULT_PARTITION__")).count();
    assert_eq!((with, without), (3, 397));
    let lines = host.lines();
    assert!(lines.len() == 1 && lines[0].1.contains("table \"t1\" has no column \"c\""), "{lines:?}");

    let (_, mut sink) = session(json!({"partition": {"missing": "fail"}}));
    let error = sink.insert(stream("t", &[("other", Arc::new(StringArray::from(vec!["x"])))]), 0).expect_err("missing").to_string();
    assert!(error.contains("no column \"c\"") && error.contains("`partition.missing`"), "{error}");
}

#[test]
fn columns_in_keys_are_left_out_where_the_spec_says_so() {
    let (host, mut sink) = session(json!({"path": "{{TABLE}}/{{COLUMN:c}}/{{YEAR:d}}/{{UUID}}", "partition": {"keep_columns": false}}));
    sink.insert(rows("t", &[Some("a")]), 0).expect("rows");
    done(&mut sink);
    assert_eq!(host.objects()[0].body, b"1970-01-01,0\n");
    assert_eq!(finished(&host), [("t/a/1970".to_owned(), 1)]);
}

#[test]
fn objects_are_numbered_in_each_partition_and_the_same_in_every_attempt() {
    let attempt = || {
        let context = SyncContext { repeatable: true, commit_id: "c-1".into(), ..SyncContext::default() };
        let changes =
            json!({"path": "{{TABLE}}/{{COLUMN:c}}/{{SEQ}}", "delivery": "exactly_once", "partition": {"max_open": 2}, "batch_size": 3});
        let host = FakeHost::default();
        let mut sink = Sink::open(host.clone(), settings(changes, context), LIMITS);
        for round in 0..4 {
            let values = ["a", "b", "c", "a"].map(Some);
            sink.insert(rows("t", &values[round % 3..]), 0).expect("rows");
        }
        done(&mut sink);
        assert!(!sink.idle(), "another instance would begin to count anew");
        host.objects().into_iter().map(|object| (object.attributes.key, object.body)).collect::<Vec<_>>()
    };
    let objects = attempt();
    assert_eq!(objects, attempt());
    let keys: Vec<&str> = objects.iter().map(|(key, _)| key.as_str()).collect();
    assert!(keys.contains(&"t/a/000001") && keys.contains(&"t/a/000002") && keys.contains(&"t/c/000001"), "{keys:?}");
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len(), "no key twice");
}

/// Rows of the columns `names`, each with one number.
fn numbers(names: &[&str]) -> Vec<u8> {
    let columns: Vec<(&str, ArrayRef)> = names.iter().map(|name| (*name, Arc::new(Int64Array::from(vec![1])) as ArrayRef)).collect();
    stream("t", &columns)
}

#[test]
fn columns_that_change_begin_an_object_or_a_path_or_fail_as_the_spec_says() {
    let keys = |changes: Value| {
        let (host, mut sink) = session(changes);
        for names in [&["a"][..], &["a", "b"], &["a"], &["a", "b"]] {
            sink.insert(numbers(names), 0).map_err(|error| error.to_string())?;
        }
        done(&mut sink);
        let mut keys: Vec<String> = host.objects().into_iter().map(|object| object.attributes.key).collect();
        keys.dedup();
        Ok::<_, String>(keys)
    };
    let path = |path: &str, change: &str| json!({"path": path, "on_schema_change": change});
    assert_eq!(keys(path("{{UUID}}", "next_object")).map(|keys| keys.len()), Ok(4));
    assert_eq!(keys(path("{{SCHEMA}}/{{UUID}}", "new_path")).map(|keys| keys.len()), Ok(2));
    // Without a name of its own each of the two has one object.
    let changes = json!({"path": "{{TABLE}}/{{SCHEMA}}", "on_schema_change": "new_path", "no_rotate": true});
    let two = keys(changes).expect("two objects");
    assert!(two.len() == 2 && two[0] != two[1], "{two:?}");
    let error = keys(path("{{UUID}}", "fail")).expect_err("changed");
    assert_eq!(error, "the column \"b\" is not what it was in the table's first rows, and `on_schema_change` is `fail`");
    // Also where the first object has ended.
    let (_, mut sink) = session(json!({"path": "{{UUID}}", "on_schema_change": "fail", "batch_size": 1}));
    sink.insert(numbers(&["a"]), 0).expect("rows");
    let error = sink.insert(numbers(&["b"]), 0).expect_err("changed").to_string();
    assert!(error.contains("the columns are not what they were"), "{error}");
    done(&mut sink);
    sink.insert(numbers(&["b"]), 0).expect("another write may have others");
}

#[test]
fn a_value_that_no_key_can_hold_fails_its_table_alone() {
    let (host, mut sink) = session(json!({}));
    let long = "x".repeat(2_000);
    let error = sink.insert(rows("t", &[Some("a"), Some(&long)]), 0).expect_err("too long").to_string();
    assert!(error.contains("at most 1024 are possible") && !error.contains("xxx"), "{error}");
    let error = sink.insert(rows("t", &[Some("\u{85}")]), 0).expect_err("a control character").to_string();
    assert!(error.contains("control character"), "{error}");
    sink.insert(rows("u", &[Some("a")]), 0).expect("rows");
    done(&mut sink);
    assert_eq!(finished(&host), [("u/c=a".to_owned(), 1)]);
}

proptest! {
    /// Whatever the values: every row is in one object, each object holds rows of one value, and no key leaves the folder of its table.
    #[test]
    fn no_value_leaves_the_folder_of_its_table(
        values in prop::collection::vec(prop::option::of("(\\.|/|%|=|a|__HIVE_DEFAULT_PARTITION__|é|\\PC){0,6}"), 1..40),
        max_open in 1..6,
    ) {
        let (host, mut sink) = session(json!({"path": "safe/{{TABLE}}/{{COLUMN:c}}/{{UUID}}", "partition": {"max_open": max_open}}));
        let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        sink.insert(rows("t", &values), 0).expect("rows");
        prop_assert!(sink.open.len() <= max_open as usize);
        done(&mut sink);
        let objects = host.objects();
        prop_assert_eq!(objects.iter().filter_map(|object| object.rows).sum::<u64>(), values.len() as u64);
        for object in objects {
            let segments: Vec<&str> = object.attributes.key.split('/').collect();
            prop_assert!(segments.len() == 4 && segments[..2] == ["safe", "t"], "{:?}", segments);
            prop_assert!(segments.iter().all(|segment| !["", ".", ".."].contains(segment)), "{:?}", segments);
        }
    }
}

#[test]
fn objects_of_a_catalogs_table_have_the_values_of_its_columns_and_facts() {
    let spec = json!({"path": "wh/{{TABLE}}/d={{YEAR:d}}-{{MONTH:d}}/c={{COLUMN:c}}/{{UUID}}", "format": "parquet", "format_spec": {},
        "table_format": "iceberg", "iceberg": {"uri": "http://c", "namespace": "n", "table": "x_{{TABLE}}"}});
    let settings = settings(spec, "sync".into());
    let keys = commit_keys(&settings, "t").expect("keys");
    assert_eq!(keys.catalog_table, Some(("x_t".to_owned(), "wh/t".to_owned())));
    let host = FakeHost::default();
    let mut sink = Sink::open(host.clone(), settings, LIMITS);
    let ids = ["1", "2", "3"];
    let metadata = HashMap::from([("cq:table_name".to_owned(), "t".to_owned())]);
    let fields = [("c", DataType::Utf8), ("d", DataType::Date32), ("n", DataType::UInt64)];
    let fields = fields.into_iter().zip(ids).map(|((name, kind), id)| {
        Field::new(name, kind, true).with_metadata(HashMap::from([("PARQUET:field_id".to_owned(), id.to_owned())]))
    });
    let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a"), None])),
        Arc::new(Date32Array::from(vec![0, 31])),
        Arc::new(arrow_array::UInt64Array::from(vec![7, u64::MAX])),
    ];
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("a schema");
    writer.write(&RecordBatch::try_new(schema, columns).expect("rows")).expect("a batch");
    sink.insert(writer.into_inner().expect("a stream"), 0).expect("rows of the table");
    done(&mut sink);
    let objects = host.objects();
    let mut found: Vec<_> = objects.iter().map(|object| (object.attributes.partition.clone(), object.columns.len())).collect();
    found.sort();
    let partition = |month: &str, c: Option<&str>| {
        vec![
            ("d_year".to_owned(), Some("1970".to_owned())),
            ("d_month".to_owned(), Some(month.to_owned())),
            ("c".to_owned(), c.map(str::to_owned)),
        ]
    };
    assert_eq!(found, [(partition("01", Some("a")), 3), (partition("02", None), 3)]);
    let largest = objects.iter().find(|object| object.attributes.partition[2].1.is_none()).expect("the second row");
    assert_eq!(largest.columns[2].upper, Some([&[0][..], &u64::MAX.to_be_bytes()].concat()));
}
