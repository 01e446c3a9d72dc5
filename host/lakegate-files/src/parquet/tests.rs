//! Tests of the Parquet reader: column types and values, and corrupt or hostile files.

use super::super::tests::{Files, refuse, show};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type, Int96, Int96Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use arrow_array::types::Int8Type;
use arrow_array::{Array, ArrayRef, Decimal128Array, DictionaryArray, Int8Array, RecordBatch};
use std::sync::Arc;

/// Values of a row group, and the levels of definition and repetition.
type Values<'a, T> = (&'a [T], &'a [i16], &'a [i16]);

/// A file of one column of this schema, a row group for each set of values with its levels.
fn file<T: DataType>(schema: &str, groups: &[Values<'_, T::T>], properties: WriterProperties) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for (values, definitions, repetitions) in groups {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let repetitions = Some(*repetitions).filter(|it| !it.is_empty());
        let definitions = Some(*definitions).filter(|it| !it.is_empty());
        column.typed::<T>().write_batch(values, definitions, repetitions).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn plain() -> WriterProperties {
    WriterProperties::builder().set_dictionary_enabled(false).build()
}

/// The column's Arrow schema as a writer leaves it in the file.
fn with_arrow_schema(data_type: arrow_schema::DataType) -> WriterProperties {
    let schema = arrow_schema::Schema::new(vec![arrow_schema::Field::new("v", data_type, true)]);
    let pair = KeyValue::new("ARROW:schema".to_owned(), ::parquet::arrow::encode_arrow_schema(&schema));
    WriterProperties::builder().set_dictionary_enabled(false).set_key_value_metadata(Some(vec![pair])).build()
}

/// A moment as INT96: days since 1970 and nanoseconds of the day.
fn moment(days: i64, nanoseconds: u64) -> Int96 {
    let mut value = Int96::new();
    value.set_data(nanoseconds as u32, (nanoseconds >> 32) as u32, (days + 2_440_588) as u32);
    value
}

const YEAR_9999: i64 = 2_932_896;
const YEAR_1: i64 = -719_162;

const INT96: &str = "message m { optional int96 v; }";
const INT96_LIST: &str = "message m { optional group v (LIST) { repeated group list { optional int96 element; } } }";

#[test]
fn int96_keeps_its_moment_in_the_finest_unit_that_holds_all() {
    let check = |values: &[Int96], expected: &[&str]| {
        let file = file::<Int96Type>(INT96, &[(values, &vec![1; values.len()], &[])], plain());
        assert_eq!(show(&Files::new().file("t.parquet", &file), &[]), expected.join("\n"));
    };
    check(&[moment(0, 1)], &["v:Timestamp(ns)", "1970-01-01T00:00:00.000000001"]);
    check(
        &[moment(19_723, 43_200_000_000_000), moment(YEAR_9999, 0), moment(YEAR_1, 0)],
        &["v:Timestamp(µs)", "2024-01-01T12:00:00", "9999-12-31T00:00:00", "0001-01-01T00:00:00"],
    );
    // The bounds of nanoseconds of 64 bits, and one beyond.
    let last = (106_751, 85_636_854_775_807);
    check(&[moment(last.0, last.1)], &["v:Timestamp(ns)", "2262-04-11T23:47:16.854775807"]);
    let first = (-106_752, 763_145_224_192);
    check(&[moment(first.0, first.1)], &["v:Timestamp(ns)", "1677-09-21T00:12:43.145224192"]);
    check(&[moment(last.0, last.1 - 807 + 1_000)], &["v:Timestamp(µs)", "2262-04-11T23:47:16.854776"]);
    check(&[moment(first.0, first.1 - 192)], &["v:Timestamp(µs)", "1677-09-21T00:12:43.145224"]);
}

#[test]
fn int96_that_no_unit_holds_is_refused_by_row() {
    let far = [moment(0, 0), moment(0, 1)];
    let groups: [Values<'_, Int96>; 2] = [(&far, &[1, 1], &[]), (&[moment(YEAR_9999, 0)], &[0, 1], &[])];
    let message = ["t.parquet, row 4, column `v`: ", "INT96", "1677 to 2262"];
    refuse("t.parquet", &file::<Int96Type>(INT96, &groups, plain()), &[], &message);
    // In lists, too: the third row.
    let groups: [Values<'_, Int96>; 1] = [(&[moment(0, 1), moment(0, 2), moment(YEAR_1, 0)], &[3, 3, 1, 3], &[0, 1, 0, 0])];
    refuse("t.parquet", &file::<Int96Type>(INT96_LIST, &groups, plain()), &[], &["row 3, column `v.list.element`: "]);
}

#[test]
fn int96_in_lists_and_with_an_arrow_schema_keeps_its_moment() {
    let groups: [Values<'_, Int96>; 1] = [(&[moment(0, 0), moment(YEAR_9999, 0)], &[3, 3], &[0, 1])];
    let shown = show(&Files::new().file("t.parquet", &file::<Int96Type>(INT96_LIST, &groups, plain())), &[]);
    assert!(shown.ends_with("[1970-01-01T00:00:00, 9999-12-31T00:00:00]"), "{shown}");
    // The unit of the writer's schema is kept where it holds the values, and only there.
    use arrow_schema::{DataType, TimeUnit};
    for (unit, value, expected) in [
        (TimeUnit::Millisecond, moment(0, 1_000_000), "v:Timestamp(ms, \"UTC\")\n1970-01-01T00:00:00.001Z"),
        (TimeUnit::Millisecond, moment(0, 1), "v:Timestamp(ns, \"UTC\")\n1970-01-01T00:00:00.000000001Z"),
        (TimeUnit::Nanosecond, moment(YEAR_9999, 0), "v:Timestamp(µs, \"UTC\")\n9999-12-31T00:00:00Z"),
    ] {
        let properties = with_arrow_schema(DataType::Timestamp(unit, Some("UTC".into())));
        let file = file::<Int96Type>(INT96, &[(&[value], &[1], &[])], properties);
        assert_eq!(show(&Files::new().file("t.parquet", &file), &[]), expected);
    }
}

/// What a writer without an Arrow schema means.
#[test]
fn a_uuid_is_one_and_an_enum_is_text() {
    let sent = |file: &[u8]| super::super::tests::sent(&Files::new().file("t.parquet", file)).unwrap().remove(0);
    let uuid: FixedLenByteArray = ByteArray::from(vec![7; 16]).into();
    let batch = sent(&file::<FixedLenByteArrayType>(
        "message m { optional fixed_len_byte_array(16) v (UUID); }",
        &[(std::slice::from_ref(&uuid), &[1, 0], &[])],
        plain(),
    ));
    assert_eq!(batch.schema().field(0).metadata()["ARROW:extension:name"], "uuid");
    let batch =
        sent(&file::<FixedLenByteArrayType>("message m { optional fixed_len_byte_array(16) v; }", &[(&[uuid], &[1, 0], &[])], plain()));
    assert!(batch.schema().field(0).metadata().is_empty());
    let words = [ByteArray::from("red"), ByteArray::from("green")];
    let schema = "message m { optional binary v (ENUM); }";
    let file = file::<ByteArrayType>(schema, &[(&words, &[1, 0, 1], &[])], plain());
    assert_eq!(show(&Files::new().file("t.parquet", &file), &[]), "v:Utf8\nred\nNULL\ngreen");
    let bad = super::tests::file::<ByteArrayType>(schema, &[(&[ByteArray::from(vec![0xff])], &[1], &[])], plain());
    assert!(super::super::tests::sent(&Files::new().file("t.parquet", &bad)).is_err());
}

fn interval(months: u32, days: u32, milliseconds: u32) -> FixedLenByteArray {
    let bytes = [months, days, milliseconds].map(u32::to_le_bytes).concat();
    ByteArray::from(bytes).into()
}

const INTERVAL: &str = "message m { optional fixed_len_byte_array(12) v (INTERVAL); }";

#[test]
fn intervals_keep_months_days_and_milliseconds() {
    let one = |value, properties| file::<FixedLenByteArrayType>(INTERVAL, &[(&[value], &[1, 0], &[])], properties);
    let sent = |file: &[u8]| super::super::tests::sent(&Files::new().file("t.parquet", file));
    let batch = &sent(&one(interval(14, 3, 1_000), plain())).unwrap()[0];
    let expected =
        arrow_array::IntervalMonthDayNanoArray::from(vec![Some(arrow_buffer::IntervalMonthDayNano::new(14, 3, 1_000_000_000)), None]);
    assert_eq!(batch.column(0).as_ref(), &expected as &dyn Array);
    let message = sent(&one(interval(1 << 31, 0, 0), plain())).unwrap_err();
    assert!(message.contains("row 1, column `v`: the interval has more than 2147483647 months"), "{message}");
    // A writer of Arrow says what it has written, and must not have written more.
    use arrow_schema::{DataType, IntervalUnit};
    let as_months = || with_arrow_schema(DataType::Interval(IntervalUnit::YearMonth));
    let as_days = || with_arrow_schema(DataType::Interval(IntervalUnit::DayTime));
    let batch = &sent(&one(interval(-14_i32 as u32, 0, 0), as_months())).unwrap()[0];
    assert_eq!(batch.column(0).as_ref(), &arrow_array::IntervalYearMonthArray::from(vec![Some(-14), None]) as &dyn Array);
    for (value, properties, message) in [
        (interval(14, 3, 0), as_months(), "row 1, column `v`: the interval has days or milliseconds"),
        (interval(14, 3, 0), as_days(), "row 1, column `v`: the interval has months"),
    ] {
        let refused = sent(&one(value, properties)).unwrap_err();
        assert!(refused.contains(message), "{refused}");
    }
}

#[test]
fn intervals_in_lists_and_structs_keep_their_months() {
    let list = "message m { optional group v (LIST) { repeated group list { optional fixed_len_byte_array(12) element (INTERVAL); } } }";
    let values = [interval(1, 0, 0), interval(2, 0, 0)];
    let content = file::<FixedLenByteArrayType>(list, &[(&values, &[3, 3], &[0, 1])], plain());
    let batch = &super::super::tests::sent(&Files::new().file("t.parquet", &content)).unwrap()[0];
    let shown = arrow_cast::display::array_value_to_string(batch.column(0), 0).unwrap();
    assert_eq!(shown, "[1 mons, 2 mons]");
    let record = "message m { optional group v { optional fixed_len_byte_array(12) a (INTERVAL); } }";
    let content = file::<FixedLenByteArrayType>(record, &[(&[interval(0, 0, 0), interval(1 << 31, 0, 0)], &[2, 2], &[])], plain());
    let message = super::super::tests::sent(&Files::new().file("t.parquet", &content)).unwrap_err();
    assert!(message.contains("row 2, column `v.a`: "), "{message}");
}

#[test]
fn a_dictionary_of_anything_is_read_as_its_values() {
    let values: ArrayRef = Arc::new(Decimal128Array::from(vec![120, 300]).with_precision_and_scale(10, 2).unwrap());
    let coded = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0, 1, 0]), values);
    let batch = RecordBatch::try_from_iter([("v", Arc::new(coded) as ArrayRef)]).unwrap();
    let content = super::super::tests::parquet_file(&batch, 10);
    assert_eq!(show(&Files::new().file("t.parquet", &content), &[]), "v:Decimal128(10, 2)\n1.20\n3.00\n1.20");
}

#[test]
fn where_the_arrow_schema_contradicts_parquet_decides() {
    use arrow_schema::{DataType, TimeUnit};
    let content = |schema: &str, hint| file::<Int64Type>(schema, &[(&[1_500], &[1], &[])], with_arrow_schema(hint));
    let check = |content: Vec<u8>, expected: &str| assert_eq!(show(&Files::new().file("t.parquet", &content), &[]), expected);
    // Another scale would be another number.
    check(content("message m { optional int64 v (DECIMAL(9,2)); }", DataType::Decimal256(40, 3)), "v:Decimal128(9, 2)\n15.00");
    check(content("message m { optional int64 v (DECIMAL(9,2)); }", DataType::Decimal32(9, 1)), "v:Decimal128(9, 2)\n15.00");
    // A time without a zone is no instant, whoever says so.
    let local = "message m { optional int64 v (TIMESTAMP(MILLIS,false)); }";
    check(content(local, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))), "v:Timestamp(ms)\n1970-01-01T00:00:01.500");
    check(
        content("message m { optional int64 v (TIMESTAMP(MILLIS,true)); }", DataType::Utf8),
        "v:Timestamp(ms, \"UTC\")\n1970-01-01T00:00:01.500Z",
    );
    // What Parquet has no name for is what Arrow says.
    check(content("message m { optional int64 v; }", DataType::Duration(TimeUnit::Second)), "v:Duration(s)\nPT1500S");
    check(content("message m { optional int64 v; }", DataType::Struct(arrow_schema::Fields::empty())), "v:Int64\n1500");
}

#[test]
fn text_that_is_none_is_refused_however_it_is_declared() {
    let bytes = |schema: &str, properties| {
        let values = [ByteArray::from("good"), ByteArray::from(vec![b's', 0xff])];
        file::<ByteArrayType>(schema, &[(&values, &[1, 1], &[])], properties)
    };
    for content in [
        bytes("message m { optional binary v (JSON); }", plain()),
        bytes("message m { optional binary v; }", with_arrow_schema(arrow_schema::DataType::Utf8)),
    ] {
        // With debug assertions the crate gives up on it; else it is ours to notice.
        let message = super::super::tests::sent(&Files::new().file("t.parquet", &content)).unwrap_err();
        let expected = if cfg!(debug_assertions) { "its decoder failed" } else { "row 2, column `v`: the value is declared as text" };
        assert!(message.contains(expected), "{message}");
    }
    refuse("t.parquet", &bytes("message m { optional binary v (UTF8); }", plain()), &[], &["row group 1"]);
}

#[test]
fn what_is_encrypted_or_unknown_is_called_so() {
    let mut content = file::<Int64Type>("message m { optional int64 v; }", &[(&[1], &[1], &[])], plain());
    let end = content.len();
    content[end - 4..].copy_from_slice(b"PARE");
    refuse("t.parquet", &content, &[], &["encrypted"]);
    content[..4].copy_from_slice(b"PARE");
    refuse("t", &content, &[], &["encrypted"]);
    // A list that is none.
    let content = file::<Int64Type>("message m { optional group v (LIST) { optional int64 a; } }", &[(&[1], &[2], &[])], plain());
    refuse("t.parquet", &content, &[], &["column `v.a`: its type cannot be read"]);
}
