//! Messages that lie, one lie at a time: an error that says what is wrong, or the text that is documented, and never a panic.
//!
//! Each case takes a good message and changes the bytes that tell one truth. Random changes are the fuzzers' work; these are the lies one
//! would think of.

use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::*;
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use lakegate_guest::encode::{EncodeError, Encoders, Output};
use lakegate_guest::host::PutError;
use lakegate_guest::ipc::Decoder;
use lakegate_guest::spec::{CsvOptions, Format, JsonOptions, ParquetOptions, ParquetVersion, RootRepetition};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

#[derive(Default)]
struct Collected(Vec<u8>);

impl Output for Collected {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn formats() -> [Format; 3] {
    let parquet = ParquetOptions {
        version: ParquetVersion::V2Latest,
        root_repetition: RootRepetition::Repeated,
        max_row_group_rows: NonZeroU64::MAX,
        ..ParquetOptions::default()
    };
    [Format::Csv(CsvOptions { skip_header: true, ..CsvOptions::default() }), Format::Json(JsonOptions::default()), Format::Parquet(parquet)]
}

/// Decodes and encodes; the error's text if there is one.
fn written(message: &[u8], format: &Format) -> Result<Vec<u8>, String> {
    let (schema, batches) = Decoder::default().decode(message.to_vec()).map_err(|error| error.to_string())?;
    let mut out = Collected::default();
    let mut write = || -> Result<(), EncodeError> {
        let mut encoder = Encoders::new(format.clone(), None).open(&schema)?;
        for rows in &batches {
            encoder.write(&rows.batch, 0..rows.batch.num_rows(), &mut out)?;
        }
        encoder.finish(&mut out).map(drop)
    };
    write().map_err(|error| error.to_string())?;
    Ok(out.0)
}

/// A message of one column named `c`. What is declared may differ from what is sent.
fn message(declared: DataType, column: ArrayRef) -> Vec<u8> {
    let metadata = HashMap::from([("cq:table_name".to_owned(), "t".to_owned())]);
    let schema = Schema::new_with_metadata(vec![Field::new("c", declared, true)], metadata);
    let sent = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(sent), vec![column]).expect("one column");
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).expect("a schema");
    writer.write(&batch).expect("a batch");
    writer.into_inner().expect("a stream")
}

fn of(column: ArrayRef) -> Vec<u8> {
    message(column.data_type().clone(), column)
}

/// The message with the only place where `truth` stands saying `lie`.
#[track_caller]
fn lied(message: &[u8], truth: &[u8], lie: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = message.windows(truth.len()).enumerate().filter(|(_, bytes)| *bytes == truth).map(|(at, _)| at).collect();
    assert_eq!((places.len(), truth.len()), (1, lie.len()), "the truth stands in one place");
    let mut changed = message.to_vec();
    changed[places[0]..places[0] + lie.len()].copy_from_slice(lie);
    changed
}

fn words(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn longs(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Every format refuses the message, in these words.
#[track_caller]
fn refused(message: &[u8], text: &str) {
    for format in formats() {
        let error = written(message, &format).expect_err(text);
        assert!(error.contains(text), "{}: {error:?} does not contain {text:?}", format.name());
        assert!(error.len() < 1_000, "an error is a line");
    }
}

#[test]
fn offsets_that_point_elsewhere_are_refused() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["one", "three", "seventeen"]));
    let truth = words(&[0, 3, 8, 17]);
    for lie in [[0, 3, 8, 18], [0, 3, 8, i32::MAX], [0, 8, 3, 17], [0, -1, 8, 17], [-3, 3, 8, 17], [18, 18, 18, 18]] {
        refused(&lied(&of(texts.clone()), &truth, &words(&lie)), "the record batch: ");
    }
    let large: ArrayRef = Arc::new(LargeStringArray::from(vec!["one", "three", "seventeen"]));
    for lie in [[0, 3, 8, 18], [0, 3, 8, i64::MAX], [0, 8, 3, 17], [i64::MIN, 3, 8, 17]] {
        refused(&lied(&of(large.clone()), &longs(&[0, 3, 8, 17]), &longs(&lie)), "the record batch: ");
    }
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int8Type, _, _>([Some(vec![Some(1); 5]), Some(vec![Some(2); 9])]));
    for lie in [[0, 5, 15], [0, 14, 5], [0, -5, 14], [0, i32::MIN, i32::MAX]] {
        refused(&lied(&of(list.clone()), &words(&[0, 5, 14]), &words(&lie)), "the record batch: ");
    }
    let item = Arc::new(Field::new("item", DataType::Int8, true));
    let values: ArrayRef = Arc::new(Int8Array::from(vec![7; 20]));
    let view: ArrayRef = Arc::new(ListViewArray::new(item, vec![9, 2, 5].into(), vec![4, 6, 1].into(), values, None));
    for lie in [[17, 2, 5], [-1, 2, 5], [i32::MAX, 2, 5]] {
        refused(&lied(&of(view.clone()), &words(&[9, 2, 5]), &words(&lie)), "the record batch: ");
    }
    for lie in [[12, 6, 1], [-4, 6, 1], [4, i32::MAX, 1]] {
        refused(&lied(&of(view.clone()), &words(&[4, 6, 1]), &words(&lie)), "the record batch: ");
    }
}

/// What arrow-data adds and multiplies in `usize` is refused before it sees it: the sandbox has 32 bits, and it panics.
#[test]
fn counts_beyond_32_bits_are_refused_before_they_are_counted() {
    let item = Arc::new(Field::new("item", DataType::Int8, true));
    let values: ArrayRef = Arc::new(Int8Array::from(vec![7; 20]));
    let view: ArrayRef = Arc::new(LargeListViewArray::new(item.clone(), vec![9, 2].into(), vec![4, 6].into(), values, None));
    let text = "a list view names values beyond the 20 that there are";
    for lie in [[17, 2], [i64::from(u32::MAX), 2], [i64::MAX, 2], [-1, 2]] {
        refused(&lied(&of(view.clone()), &longs(&[9, 2]), &longs(&lie)), text);
    }
    for lie in [[12, 6], [i64::from(u32::MAX) - 8, 6], [1 << 32, 6], [i64::MAX, 6]] {
        refused(&lied(&of(view.clone()), &longs(&[4, 6]), &longs(&lie)), text);
    }
    let values: ArrayRef = Arc::new(Int8Array::from(vec![7; 7 * 4_096]));
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(item, 4_096, values, None));
    // Rows and nulls of the lists, and of their values.
    for rows in [8, 1 << 20] {
        let changed = lied(&of(fixed.clone()), &longs(&[7, 0, 7 * 4_096, 0]), &longs(&[rows, 0, 7 * 4_096, 0]));
        refused(&changed, &format!("{rows} lists of 4096 values each have only 28672 values"));
    }
}

#[test]
fn views_that_point_elsewhere_are_refused() {
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a text of more than twelve bytes", "another text of some length"]));
    let good = of(texts);
    // Length, four bytes of the text, buffer, offset.
    let view = |length: i32, buffer: i32, offset: i32| [&length.to_le_bytes()[..], b"a te", &words(&[buffer, offset])].concat();
    let truth = view(32, 0, 0);
    for lie in
        [view(60, 0, 0), view(-1, 0, 0), view(32, 1, 0), view(32, -1, 0), view(32, 0, 40), view(32, 0, -1), view(i32::MAX, 0, i32::MAX)]
    {
        refused(&lied(&good, &truth, &lie), "the record batch: ");
    }
}

#[test]
fn keys_that_name_no_value_are_refused() {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let keys = Int32Array::from(vec![Some(1), Some(0), Some(1), Some(0), Some(1)]);
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
    for lie in [[1, 0, 1, 0, 2], [1, 0, -1, 0, 1], [i32::MAX, 0, 1, 0, 1]] {
        refused(&lied(&of(dictionary.clone()), &words(&[1, 0, 1, 0, 1]), &words(&lie)), "the record batch: ");
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1_234).map(|n| n * 7)));
    let good = of(numbers);
    // The rows of the batch and of its one node.
    let rows = longs(&[1_234]);
    let places: Vec<usize> = good.windows(8).enumerate().filter(|(_, bytes)| *bytes == rows).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 2, "batch and node");
    for at in &places {
        for lie in [1_235, 1_233, 0, -1, i64::MAX, i64::MIN, 9_873, 1 << 40] {
            let mut changed = good.clone();
            changed[*at..at + 8].copy_from_slice(&longs(&[lie]));
            for format in formats() {
                let error = written(&changed, &format).expect_err("a lie");
                assert!(error.contains("record batch"), "{lie}: {error}");
            }
        }
    }
    // The length of the values' buffer (a few bytes more are the body's padding, and harmless), and of the body.
    refused(&lied(&good, &longs(&[9_872]), &longs(&[10_000])), "outside");
    for lie in [longs(&[1 << 50]), longs(&[-8])] {
        refused(&lied(&good, &longs(&[9_920]), &lie), "cut short");
    }
}

#[test]
fn nulls_that_are_miscounted_are_refused() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..77).map(|n| (n % 7 > 0).then_some(n * 1_000_003))));
    // 77 rows, 11 nulls.
    for lie in [[77, 12], [77, 78], [77, -1], [77, i64::MAX]] {
        refused(&lied(&of(numbers.clone()), &longs(&[77, 11]), &longs(&lie)), "the record batch");
    }
}

#[test]
fn text_that_is_not_utf8_has_its_documented_form() {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"a\xffb", b"\xf0\x9f\x98"]));
    let message = message(DataType::Utf8, bytes);
    let [csv, json, parquet] = formats();
    assert_eq!(written(&message, &csv).expect("CSV keeps the bytes"), b"a\xffb\n\xf0\x9f\x98\n");
    let expected = "{\"c\":\"a\\ufffdb\"}\n{\"c\":\"\\ufffd\\ufffd\\ufffd\"}\n";
    assert_eq!(String::from_utf8(written(&message, &json).expect("JSON replaces them")).expect("UTF-8"), expected);
    assert!(written(&message, &parquet).is_ok(), "Parquet replaces them");
}

#[test]
fn decimals_beyond_their_precision_have_their_digits_or_are_refused() {
    let values = Decimal128Array::from(vec![i128::MAX, i128::MIN, 123_456]).with_data_type(DataType::Decimal128(5, 2));
    let message = of(Arc::new(values));
    let [csv, json, parquet] = formats();
    // Five significant digits, as the reference prints them.
    let text = String::from_utf8(written(&message, &csv).expect("a text")).expect("UTF-8");
    assert_eq!(text.lines().count(), 3);
    assert!(written(&message, &json).is_ok());
    let error = written(&message, &parquet).expect_err("three bytes hold no such number");
    assert!(error.contains("column \"c\"") && error.contains("Decimal128(5, 2)"), "{error}");
}

#[test]
fn instants_and_times_at_the_ends_of_their_range_have_a_text() {
    let ends = vec![i64::MIN, i64::MIN + 1, -1, 0, i64::MAX];
    let columns: [ArrayRef; 9] = [
        Arc::new(TimestampSecondArray::from(ends.clone())),
        Arc::new(TimestampMillisecondArray::from(ends.clone()).with_timezone("America/New_York")),
        Arc::new(TimestampMicrosecondArray::from(ends.clone()).with_timezone("+02:30")),
        Arc::new(TimestampNanosecondArray::from(ends.clone()).with_timezone("Europe/Berlin")),
        Arc::new(Date64Array::from(ends.clone())),
        Arc::new(Time64NanosecondArray::from(ends.clone())),
        Arc::new(DurationSecondArray::from(ends)),
        Arc::new(Date32Array::from(vec![i32::MIN, -1, 0, i32::MAX])),
        Arc::new(Time32SecondArray::from(vec![i32::MIN, -1, 0, i32::MAX])),
    ];
    for column in columns {
        let (data_type, rows) = (column.data_type().clone(), column.len());
        // Parquet has another unit for these, in which the ends would be others.
        let converted =
            matches!(data_type, DataType::Timestamp(TimeUnit::Second, _) | DataType::Date64 | DataType::Time32(TimeUnit::Second));
        for format in formats() {
            let parquet = matches!(format, Format::Parquet(_));
            if parquet && converted {
                let error = written(&of(column.clone()), &format).expect_err("it cannot be held");
                assert!(error.contains("column \"c\"") && error.contains("does not fit the"), "{data_type}: {error}");
                continue;
            }
            let body = written(&of(column.clone()), &format).unwrap_or_else(|error| panic!("{data_type}: {error}"));
            if !parquet {
                let text = String::from_utf8(body).expect("UTF-8");
                assert_eq!(text.lines().filter(|line| line.len() > 1).count(), rows, "{data_type}: {text}");
            }
        }
    }
}

#[test]
fn a_zone_nobody_knows_is_refused_by_column() {
    for zone in ["Nowhere/Else", "+25:00", "2:30", "UTC+1", "\u{0}"] {
        let column: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0]).with_timezone(zone));
        let [csv, json, _] = formats();
        for format in [csv, json] {
            let error = written(&of(column.clone()), &format).expect_err(zone);
            assert!(error.contains("column `c`") && error.contains("time zone"), "{error}");
        }
    }
}

#[test]
fn what_parquet_cannot_hold_is_refused_by_column_and_type() {
    let check = |data_type: DataType, shown: &str| {
        let column = new_null_array(&data_type, 2);
        let [_, _, parquet] = formats();
        let error = written(&of(column), &parquet).expect_err(shown);
        assert!(error.contains("\"c") && error.contains(shown), "{error}");
    };
    let item = |data_type: DataType| Arc::new(Field::new("item", data_type, true));
    check(DataType::Utf8View, "Utf8View");
    check(DataType::BinaryView, "BinaryView");
    check(DataType::ListView(item(DataType::Int8)), "ListView(");
    check(DataType::Decimal128(9, -2), "Decimal128(9, -2)");
    check(DataType::Decimal256(9, 12), "Decimal256(9, 12)");
    check(DataType::List(item(DataType::LargeList(item(DataType::Decimal64(9, -2))))), "Decimal64(9, -2)");
    check(DataType::FixedSizeBinary(0), "FixedSizeBinary(0)");
}

#[test]
fn types_that_are_not_supported_are_refused_by_column() {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![3]), &values).expect("a run");
    refused(&of(Arc::new(runs)), "column \"c\": type run_end_encoded is not supported");
    let union = UnionArray::try_new(
        [(0, Arc::new(Field::new("a", DataType::Int32, true)))].into_iter().collect(),
        ScalarBuffer::from(vec![0_i8]),
        None,
        vec![Arc::new(Int32Array::from(vec![1])) as ArrayRef],
    );
    refused(&of(Arc::new(union.expect("a union"))), "column \"c\": type union is not supported");
}

#[test]
fn lists_and_structs_of_nothing_are_written() {
    let nothing: ArrayRef = Arc::new(StructArray::new_empty_fields(3, None));
    let item = Arc::new(Field::new("item", DataType::Null, true));
    let nulls: ArrayRef = Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths([2, 0, 1]), Arc::new(NullArray::new(3)), None));
    let empty: ArrayRef =
        Arc::new(FixedSizeListArray::try_new_with_length(item, 0, Arc::new(NullArray::new(0)), None, 3).expect("three lists of nothing"));
    let narrow: ArrayRef = Arc::new(FixedSizeBinaryArray::try_new_with_len(0, Buffer::default(), None, 3).expect("three of no width"));
    let [_, json, parquet] = formats();
    let check = |column: &ArrayRef, expected: [&str; 3]| {
        let text = String::from_utf8(written(&of(column.clone()), &json).expect("a text")).expect("UTF-8");
        let lines: Vec<String> = expected.iter().map(|value| format!("{{\"c\":{value}}}")).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    };
    check(&nothing, ["{}"; 3]);
    check(&nulls, ["[null,null]", "[]", "[null]"]);
    check(&empty, ["[]"; 3]);
    check(&narrow, ["\"\""; 3]);
    assert!(written(&of(nulls), &parquet).is_ok() && written(&of(empty), &parquet).is_ok());
}

/// Every byte of a small message with every kind of buffer changed to each of a few values, and the message cut at every byte.
#[test]
fn no_byte_is_trusted() {
    let dictionary: DictionaryArray<Int8Type> = vec![Some("x"), None, Some("y")].into_iter().collect();
    let item = Arc::new(Field::new("item", dictionary.data_type().clone(), true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([2, 0, 1]), Arc::new(dictionary), None);
    let fields = vec![
        (Arc::new(Field::new("l", list.data_type().clone(), true)), Arc::new(list) as ArrayRef),
        (Arc::new(Field::new("t", DataType::Time64(TimeUnit::Nanosecond), true)), Arc::new(Time64NanosecondArray::from(vec![1, 2, 3]))),
        (Arc::new(Field::new("b", DataType::Boolean, true)), Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
    ];
    let good = of(Arc::new(StructArray::from(fields)));
    let mut refused = 0;
    for at in 0..good.len() {
        for format in formats() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = good.clone();
                changed[at] = value;
                refused += usize::from(written(&changed, &format).is_err());
            }
            // Cut between frames, what is left is a message of no rows.
            if let Ok(body) = written(&good[..at], &format) {
                assert!(body.is_empty() || body == written(&good, &format).expect("good") || matches!(format, Format::Parquet(_)));
            }
        }
    }
    assert!(refused > good.len(), "{refused} of {} changes were noticed", good.len() * 15);
}
