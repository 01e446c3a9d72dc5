//! What a session promises of rows that cannot be written, where they have a place.

use super::*;
use crate::spec::Spec;
use crate::testing::{FakeHost, Recorded};
use arrow_array::types::Int8Type;
use arrow_array::{
    Array as _, ArrayRef, BinaryArray, Date64Array, Decimal128Array, DictionaryArray, Int8Array, Int64Array, LargeBinaryArray, ListArray,
    StructArray, Time32SecondArray, TimestampSecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::writer::StreamWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const LIMITS: SessionLimits = SessionLimits { encoder_bytes: 64 << 20, open_objects: 4_096 };

/// Rows of a case: these are bad.
const ROWS: usize = 7;
const BAD: [usize; 2] = [2, 5];

fn session(changes: Value) -> (FakeHost, Sink<FakeHost>) {
    let mut spec = json!({"bucket": "b", "region": "r", "path": "{{TABLE}}/{{SEQ}}", "format": "csv", "format_spec": {},
        "quarantine": {"path": "q/{{TABLE}}/{{SEQ}}.{{FORMAT}}", "max_rows": 1_000}});
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    let settings = Spec::parse(&spec.to_string(), "sync").unwrap_or_else(|problems| panic!("{spec}: {problems:?}")).settings;
    let settings = Settings::from_json(&settings.to_json()).expect("the same");
    let host = FakeHost::default();
    (host.clone(), Sink::open(host, settings, LIMITS))
}

type Column = (Field, ArrayRef);

/// A message: what is declared may differ from what is sent, as text does from its bytes.
fn message(columns: &[Column]) -> Vec<u8> {
    let metadata = HashMap::from([("cq:table_name".to_owned(), "t".to_owned())]);
    let declared = Schema::new_with_metadata(columns.iter().map(|(field, _)| field.clone()).collect::<Vec<_>>(), metadata);
    let sent: Vec<Field> = columns.iter().map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(sent)), columns.iter().map(|(_, array)| array.clone()).collect()).expect("rows");
    let mut writer = StreamWriter::try_new(Vec::new(), &declared).expect("a schema");
    writer.write(&batch).expect("a batch");
    writer.into_inner().expect("a stream")
}

/// The columns of some of the rows.
fn some(columns: &[Column], rows: &[usize]) -> Vec<Column> {
    let rows: UInt32Array = rows.iter().map(|row| *row as u32).collect();
    columns.iter().map(|(field, array)| (field.clone(), arrow_select::take::take(array, &rows, None).expect("rows"))).collect()
}

fn of(array: ArrayRef) -> Column {
    (Field::new("c", array.data_type().clone(), true), array)
}

fn extension(name: &str) -> Field {
    let metadata = [("ARROW:extension:name", name.to_owned()), ("ARROW:extension:metadata", format!("{name}-serialized"))];
    Field::new("c", DataType::Binary, true).with_metadata(HashMap::from(metadata.map(|(key, value)| (key.to_owned(), value))))
}

fn values(good: &[u8], bad: &[u8]) -> BinaryArray {
    BinaryArray::from_iter_values((0..ROWS).map(|row| if BAD.contains(&row) { bad } else { good }))
}

fn text(good: &[u8], bad: &[u8]) -> Column {
    (Field::new("c", DataType::Utf8, true), Arc::new(values(good, bad)))
}

fn numbers(good: i64, bad: i64) -> impl Iterator<Item = i64> {
    (0..ROWS).map(move |row| if BAD.contains(&row) { bad } else { good })
}

/// What has landed: keys and bytes of the data, and the lines of the quarantine.
fn landed(host: &FakeHost) -> (Vec<(String, Vec<u8>)>, Vec<Value>) {
    let (quarantine, data): (Vec<Recorded>, Vec<Recorded>) =
        host.objects().into_iter().filter(|object| object.rows.is_some()).partition(|it| it.attributes.role == ObjectRole::Quarantine);
    let mut lines = Vec::new();
    for object in quarantine {
        assert!(object.attributes.key.starts_with("q/t/00000") && object.attributes.content_type == "application/json", "{object:?}");
        let text = String::from_utf8(object.body).expect("UTF-8");
        assert!(text.ends_with('\n') && object.rows == Some(text.lines().count() as u64), "{text}");
        lines.extend(text.lines().map(|line| serde_json::from_str(line).expect(line)));
    }
    let mut data: Vec<_> = data.into_iter().map(|object| (object.attributes.key, object.body)).collect();
    data.sort();
    (data, lines)
}

fn done(sink: &mut Sink<FakeHost>) {
    assert_eq!(sink.end_write(0).failures, Vec::new());
    assert_eq!((sink.open.len(), sink.open_objects()), (0, 0));
}

/// Rows of which some are bad: those are in quarantine, and the data is as if they had not been there.
#[track_caller]
fn check(changes: &Value, column: Column, reason: &str) -> Vec<Value> {
    let columns = [column, (Field::new("n", DataType::Int64, true), Arc::new(Int64Array::from_iter_values(0..ROWS as i64)) as ArrayRef)];
    let (host, mut sink) = session(changes.clone());
    // What comes before is taken for good, and counted.
    let good: Vec<usize> = (0..ROWS).filter(|row| !BAD.contains(row)).collect();
    sink.insert(message(&some(&columns, &good)), 0).unwrap_or_else(|error| panic!("{changes}: {error}"));
    sink.insert(message(&columns), 0).unwrap_or_else(|error| panic!("{changes}: {error}"));
    done(&mut sink);
    let (alone, mut other) = session(changes.clone());
    for _ in 0..2 {
        other.insert(message(&some(&columns, &good)), 0).expect("good rows");
    }
    done(&mut other);
    let (data, lines) = landed(&host);
    assert_eq!(data, landed(&alone).0, "{changes}");
    assert!(!data.is_empty());
    let positions: Vec<_> = lines.iter().map(|line| line["position"].as_u64().expect("a number")).collect();
    assert_eq!(positions, BAD.map(|row| (good.len() + row + 1) as u64), "{changes}");
    for (line, row) in lines.iter().zip(BAD) {
        assert_eq!((&line["table"], &line["column"], &line["row"]["n"]), (&json!("t"), &json!("c"), &json!(row)), "{line}");
        assert!(line["reason"].as_str().expect("a text").contains(reason), "{line} does not say {reason:?}");
    }
    lines
}

/// The same without partitions, with one, and with small objects.
#[track_caller]
fn check_everywhere(format: &Value, column: &Column, reason: &str) -> Vec<Value> {
    let with = |changes: Value| {
        let mut all = format.clone();
        if let (Value::Object(all), Value::Object(changes)) = (&mut all, changes) {
            all.extend(changes);
        }
        all
    };
    check(&with(json!({"path": "{{TABLE}}/{{COLUMN:n}}/{{SEQ}}"})), column.clone(), reason);
    check(&with(json!({"batch_size": 2, "batch_size_bytes": 0})), column.clone(), reason);
    check(&with(json!({})), column.clone(), reason)
}

#[test]
fn text_that_is_no_json_or_no_network_is_set_aside() {
    let json_of = |bad: &[u8]| (extension("json"), Arc::new(values(b"{\"a\": 1}", bad)) as ArrayRef);
    let nested = |bad: &[u8]| {
        let items = values(b"[]", bad);
        let item = Arc::new(Field::new("item", DataType::Binary, true));
        let lists = ListArray::new(item, OffsetBuffer::from_lengths([1; ROWS]), Arc::new(items), None);
        let declared = DataType::List(Arc::new(extension("json").with_name("item")));
        (Field::new("c", declared, true), Arc::new(lists) as ArrayRef)
    };
    let inet = (extension("inet"), Arc::new(values(b"10.0.0.0/8", b"10.0.0.0")) as ArrayRef);
    let [csv, json_lines] = ["csv", "json"].map(|format| json!({"format": format}));
    let lines = check_everywhere(&json_lines, &json_of(b"{\"a\"}"), "a value is not valid JSON");
    assert_eq!(lines[0]["row"], json!({"c": {"$text": "{\"a\"}"}, "n": 2}));
    let lines = check_everywhere(&json_lines, &nested(b"\xff"), "not valid JSON");
    assert_eq!(lines[0]["row"]["c"], json!([{"$base64": "/w=="}]));
    check_everywhere(&csv, &nested(b"]"), "not valid JSON");
    check_everywhere(&csv, &inet, "not an address with a prefix length");
    check_everywhere(&json!({"format": "json", "format_spec": {"omit_nulls": true}}), &json_of(b""), "not valid JSON");
    check_everywhere(&json!({"format": "csv", "athena": true}), &json_of(b"{"), "not valid JSON");
    for compression in ["gzip", "zstd"] {
        check_everywhere(&json!({"format": "json", "compression": compression}), &json_of(b"{"), "not valid JSON");
    }
}

#[test]
fn what_parquet_cannot_hold_is_set_aside() {
    let parquet = json!({"format": "parquet"});
    let check = |column: Column, reason: &str| check_everywhere(&parquet, &column, reason);
    check(of(Arc::new(TimestampSecondArray::from_iter_values(numbers(0, i64::MAX)))), "64 bits in which Parquet counts its milliseconds");
    check(of(Arc::new(Date64Array::from_iter_values(numbers(0, i64::MIN)))), "32 bits in which Parquet counts its days");
    let times = numbers(0, i64::from(i32::MAX)).map(|it| it as i32);
    check(of(Arc::new(Time32SecondArray::from_iter_values(times))), "32 bits in which Parquet counts its milliseconds");
    let decimals = Decimal128Array::from_iter_values(numbers(12_345, 1_234_567_890).map(i128::from));
    let lines = check(of(Arc::new(decimals.with_data_type(DataType::Decimal128(5, 2)))), "more digits than its precision");
    assert_eq!(lines[0]["row"]["c"], "12345678.9", "all of them");
    check((extension("inet"), Arc::new(values(b"::/0", b"::"))), "not an address with a prefix length");
    let nulls = || Arc::new(Int64Array::from_iter(numbers(1, 0).map(|it| (it > 0).then_some(it)))) as ArrayRef;
    let lines = check((Field::new("c", DataType::Int64, false), nulls()), "declared not null and has a null");
    assert_eq!(lines[0]["row"]["c"], Value::Null);
    let inner = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Int64, true)), nulls())]);
    let declared = DataType::Struct(vec![Field::new("x", DataType::Int64, false)].into());
    check((Field::new("c", declared, true), Arc::new(inner)), "non-nullable");
    let keys = Int8Array::from_iter_values(numbers(0, 1).map(|it| it as i8));
    let values = Decimal128Array::from(vec![1, 1_234_567_890]).with_data_type(DataType::Decimal128(5, 2));
    check(of(Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::new(values)))), "more digits than its precision");
}

#[test]
fn a_row_that_is_too_much_for_parquet_is_set_aside_alone() {
    const CELL: usize = 50 << 20;
    let (host, mut sink) =
        session(json!({"format": "parquet", "quarantine": {"path": "q/{{TABLE}}/{{SEQ}}", "max_rows": 1, "include_row": false}}));
    let cells: Vec<Vec<u8>> = [1, CELL, 2].map(|bytes| vec![7; bytes]).into();
    let columns = [of(Arc::new(LargeBinaryArray::from_iter_values(&cells)))];
    sink.insert(message(&columns), 0).expect("rows");
    done(&mut sink);
    let (data, lines) = landed(&host);
    assert_eq!((data.len(), lines.len(), &lines[0]["position"], lines[0].get("row")), (1, 1, &json!(2), None));
    assert!(lines[0]["reason"].as_str().expect("a text").contains("all that they may"), "{lines:?}");
    let rows: Vec<_> = host.objects().iter().map(|object| object.rows).collect();
    assert!(rows.contains(&Some(2)), "{rows:?}");
}

#[test]
fn values_that_no_key_can_have_are_set_aside() {
    let check = |path: &str, format: &str, column: Column, reason: &str| {
        let changes = json!({"path": path, "format": format, "partition": {"keep_columns": false}});
        let lines = check(&changes, column.clone(), reason);
        assert!(lines[0]["row"].get("c").is_some(), "the row is whole although its column is not written");
        // Among other partitions that open and end.
        check(&json!({"path": path, "format": format, "partition": {"max_open": 1}}), column, reason);
    };
    const PATH: &str = "{{TABLE}}/{{COLUMN:c}}/{{SEQ}}";
    for format in ["csv", "json", "parquet"] {
        check(PATH, format, text(b"x", b"\xff"), "`path` takes it into keys: a value is not UTF-8");
        check(PATH, format, text(b"x", "a\u{85}".as_bytes()), "would have a control character");
        check(PATH, format, text(b"x", &[b'k'; 1_100]), "bytes; at most 1024 are possible");
        check(PATH, format, (extension("inet"), Arc::new(values(b"::/0", b"::"))), "not an address with a prefix length");
    }
    // With another column in the key, which is not to blame.
    let changes = json!({"path": "{{TABLE}}/{{COLUMN:n}}/{{COLUMN:c}}/{{SEQ}}", "format": "csv"});
    self::check(&changes, text(b"x", &[b'k'; 1_100]), "bytes; at most 1024 are possible");
}

#[test]
fn a_table_that_no_key_can_have_fails_as_ever() {
    let (_, mut sink) = session(json!({"path": format!("{}/{{{{TABLE}}}}/{{{{COLUMN:c}}}}/{{{{SEQ}}}}", "p".repeat(1_020))}));
    let error = sink.insert(message(&[text(b"x", b"y")]), 0).expect_err("too long without any value").to_string();
    assert!(error.contains("cannot be an object: its key would have"), "{error}");
}

#[test]
fn beyond_max_rows_the_table_fails_and_nothing_of_it_is_left() {
    let bad = |rows: usize| {
        let values = BinaryArray::from_iter_values((0..rows).map(|_| b"{"));
        message(&[(extension("json"), Arc::new(values))])
    };
    let (host, mut sink) = session(json!({"format": "json", "quarantine": {"path": "q/{{TABLE}}/{{SEQ}}", "max_rows": 5}}));
    sink.insert(bad(3), 0).expect("three of five");
    sink.insert(bad(2), 0).expect("five of five");
    let error = sink.insert(bad(100), 0).expect_err("six").to_string();
    let expected = "more than 5 of its rows cannot be written, which is all that `quarantine.max_rows` has room for; row 6: column `c`: a value is \
                    not valid JSON";
    assert_eq!(error, expected);
    done(&mut sink);
    assert_eq!(landed(&host), (Vec::new(), Vec::new()));
    // Each write has its own count; with no room at all, which is the default, nothing is new.
    sink.insert(bad(5), 0).expect("another write");
    done(&mut sink);
    let (data, lines) = landed(&host);
    assert_eq!((data.len(), lines.len(), &lines[4]["position"]), (0, 5, &json!(5)), "no object without a row");
    let (_, mut sink) = session(json!({"format": "json", "quarantine": {"path": "q/{{TABLE}}/{{SEQ}}"}}));
    assert_eq!(sink.insert(bad(1), 0).expect_err("off").to_string(), "column `c`: a value is not valid JSON");
}

#[test]
fn a_table_has_one_object_there_a_write_and_the_session_is_not_idle_before() {
    let (host, mut sink) =
        session(json!({"format": "json", "quarantine": {"path": "q/{{TABLE}}/{{UUID}}", "max_rows": 100}, "path": "{{TABLE}}/{{UUID}}"}));
    assert!(sink.idle());
    for _ in 0..2 {
        for _ in 0..3 {
            sink.insert(message(&[(extension("json"), Arc::new(values(b"1", b"{")))]), 0).expect("rows");
            assert!(!sink.idle());
            sink.barrier(0);
        }
        done(&mut sink);
        assert!(sink.idle());
    }
    let rows: Vec<_> = host.objects().iter().filter(|it| it.attributes.role == ObjectRole::Quarantine).map(|it| it.rows).collect();
    assert_eq!(rows, [Some(6), Some(6)]);
}

/// Rows too long to be held as text leave in pieces: of a bad one nothing does.
#[test]
fn a_long_row_that_is_bad_leaves_no_trace() {
    let long = |end: &str| format!("{{\"a\": \"{}\"{end}", "x".repeat(3 << 20)).into_bytes();
    let (good, bad) = (long("}"), long(""));
    for format in ["json", "csv"] {
        // The first column is written before the other is looked at.
        let rows = |cells: &[&[u8]]| {
            let json_cells: ArrayRef = Arc::new(BinaryArray::from_vec(cells.to_vec()));
            let list = |cells: ArrayRef| {
                let lengths = OffsetBuffer::from_lengths(vec![1; cells.len()]);
                Arc::new(ListArray::new(Arc::new(Field::new("item", DataType::Binary, true)), lengths, cells, None)) as ArrayRef
            };
            let declared = DataType::List(Arc::new(extension("json").with_name("item")));
            let texts: ArrayRef = Arc::new(BinaryArray::from_vec(vec![good.as_slice(); cells.len()]));
            message(&[(Field::new("a", DataType::Utf8, true), texts), (Field::new("c", declared, true), list(json_cells))])
        };
        let (host, mut sink) = session(json!({ "format": format }));
        sink.insert(rows(&[&good, &bad, &good]), 0).expect("rows");
        done(&mut sink);
        let (alone, mut other) = session(json!({ "format": format }));
        other.insert(rows(&[&good, &good]), 0).expect("rows");
        done(&mut other);
        let (data, lines) = landed(&host);
        assert!(data == landed(&alone).0, "{format}");
        assert_eq!((lines.len(), lines[0]["row"]["c"][0]["$text"].as_str().map(str::len)), (1, Some(bad.len())), "{format}");
    }
}

/// Blocks before the one with the bad row have been written, and compressed, within the same call.
#[test]
fn rows_before_a_bad_one_stay_where_they_are() {
    const MANY: usize = 30_000;
    let cell = |row: usize| format!("\"{:x}\"", (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let rows = |has_bad: bool| {
        let cells = (0..MANY).map(|row| if has_bad && row % 10_000 == 9_999 { "{".to_owned() } else { cell(row) });
        let cells = cells.enumerate().filter(|(row, _)| has_bad || row % 10_000 != 9_999).map(|(_, cell)| cell);
        message(&[(extension("json"), Arc::new(BinaryArray::from_iter_values(cells)))])
    };
    for changes in [
        json!({"format": "json"}),
        json!({"format": "json", "compression": "gzip"}),
        json!({"format": "json", "compression": "zstd"}),
        json!({"format": "json", "athena": true}),
    ] {
        let ((host, mut sink), (alone, mut other)) = (session(changes.clone()), session(changes.clone()));
        sink.insert(rows(true), 0).expect("rows");
        other.insert(rows(false), 0).expect("rows");
        done(&mut sink);
        done(&mut other);
        let (data, lines) = landed(&host);
        assert!(data == landed(&alone).0, "{changes}");
        assert_eq!(lines.iter().map(|line| line["position"].clone()).collect::<Vec<_>>(), [10_000, 20_000, 30_000].map(Value::from));
    }
}

/// A row of the property: its partition, and whether its JSON, its time or its partition is bad.
type RandomRow = (u8, bool, bool, bool);

fn random_message(rows: &[RandomRow]) -> Vec<u8> {
    let texts = rows.iter().map(|(partition, _, _, bad)| if *bad { "p\u{85}".to_owned() } else { format!("p{}", partition % 4) });
    let parts = BinaryArray::from_iter_values(texts);
    let values = BinaryArray::from_iter_values(rows.iter().map(|(_, bad, ..)| if *bad { "{\"" } else { "{}" }));
    let times = TimestampSecondArray::from_iter_values(rows.iter().map(|(n, _, bad, _)| if *bad { i64::MAX } else { i64::from(*n) }));
    let nulls = NullBuffer::from_iter(rows.iter().map(|(n, ..)| n % 5 > 0));
    let json_of = BinaryArray::new(values.offsets().clone(), values.values().clone(), Some(nulls));
    let columns: [Column; 4] = [
        (Field::new("p", DataType::Utf8, true), Arc::new(parts)),
        (extension("json"), Arc::new(json_of)),
        (Field::new("s", times.data_type().clone(), true), Arc::new(times)),
        (Field::new("n", DataType::Int64, true), Arc::new(Int64Array::from_iter_values(rows.iter().map(|(n, ..)| i64::from(*n))))),
    ];
    message(&columns)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_in_are_rows_landed_and_set_aside_and_the_data_is_that_of_the_good_ones(
        records in prop::collection::vec(prop::collection::vec(
            (any::<u8>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.1)), 1..400), 1..5),
        format in prop::sample::select(vec!["csv", "json", "parquet"]),
        is_partitioned in any::<bool>(),
        batch_size in 1..500,
        max_open in 4..6,
    ) {
        let is_bad = |(n, json, time, part): &RandomRow| {
            (*json && n % 5 > 0 && format == "json") || (*time && format == "parquet") || (*part && is_partitioned)
        };
        let path = if is_partitioned { "{{TABLE}}/{{COLUMN:p}}/{{SEQ}}" } else { "{{TABLE}}/{{SEQ}}" };
        let mut changes = json!({"format": format, "path": path, "batch_size": batch_size, "batch_size_bytes": 0,
            "quarantine": {"path": "q/{{TABLE}}/{{SEQ}}", "max_rows": 100_000}});
        if is_partitioned {
            changes["partition"] = json!({ "max_open": max_open });
        }
        let ((host, mut sink), (alone, mut other)) = (session(changes.clone()), session(changes));
        let (mut expected, mut count) = (Vec::new(), 0_u64);
        for record in &records {
            expected.extend(record.iter().zip(count + 1..).filter(|(row, _)| is_bad(row)).map(|(_, position)| position));
            count += record.len() as u64;
            sink.insert(random_message(record), 0).expect("rows");
            let good: Vec<RandomRow> = record.iter().filter(|row| !is_bad(row)).copied().collect();
            other.insert(random_message(&good), 0).expect("rows");
        }
        done(&mut sink);
        done(&mut other);
        let (data, lines) = landed(&host);
        prop_assert!(data == landed(&alone).0);
        let mut found: Vec<_> = lines.iter().filter_map(|line| line["position"].as_u64()).collect();
        found.sort_unstable();
        prop_assert_eq!(&found, &expected);
        let all: u64 = host.objects().iter().filter_map(|object| object.rows).sum();
        prop_assert_eq!(all, count);
    }
}
