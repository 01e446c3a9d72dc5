use super::*;
use crate::path::PathTemplate;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array,
    NullArray, TimestampMicrosecondArray, TimestampSecondArray,
};
use arrow_schema::{Field, Schema};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table whose text is stored as bytes, as it is decoded.
fn table(columns: &[(&str, ArrayRef)]) -> (Rc<TableSchema>, RecordBatch) {
    let logical = columns.iter().map(|(name, array)| match array.data_type() {
        DataType::Binary => Field::new(*name, DataType::Utf8, true),
        other => Field::new(*name, other.clone(), true),
    });
    let physical = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = |fields: Vec<Field>| Arc::new(Schema::new(fields));
    let (logical, physical) = (schema(logical.collect()), schema(physical.collect()));
    let batch = RecordBatch::try_new(physical.clone(), columns.iter().map(|(_, array)| array.clone()).collect()).expect("a batch");
    (Rc::new(TableSchema { table: "t".into(), logical, physical }), batch)
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(BinaryArray::from_iter(values.iter().map(|value| value.map(str::as_bytes))))
}

#[track_caller]
fn routed(divided: Divided) -> Routed {
    match divided {
        Divided::Rows(routed) => routed,
        Divided::Unkeyed(unkeyed) => panic!("{unkeyed:?}"),
    }
}

fn ids(count: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..i64::try_from(count).expect("few")))
}

/// The partitions of a record in their order, as texts (`-` for null), with the `id`s of their rows.
fn divided(path: &str, columns: &[(&str, ArrayRef)]) -> Result<Vec<(String, Vec<i64>)>, String> {
    let path = PathTemplate::parse(path).unwrap_or_else(|problems| panic!("{path}: {problems:?}"));
    let (schema, batch) = table(columns);
    let route = Router::new(path.partition_fields(), true, false).route(&schema).map_err(|Unroutable(why)| why)?;
    let mut found = Vec::new();
    let mut bytes = 0;
    let all = Rows { bytes: 1_000_003, batch };
    let divided = route.divide(&all, |divided| {
        let routed = routed(divided);
        let values: Vec<&str> = routed.partition.0.iter().map(|value| value.as_deref().unwrap_or("-")).collect();
        let ids = routed.batch.column_by_name("id").expect("an id").as_primitive::<Int64Type>().slice(routed.rows.start, routed.rows.len());
        found.push((values.join("|"), ids.values().to_vec()));
        bytes += routed.bytes;
        Ok::<_, Unroutable>(())
    });
    divided.map_err(|Unroutable(why)| why)?;
    assert!(bytes <= 1_000_003 && bytes + found.len() as u64 > 1_000_003, "{bytes} bytes");
    Ok(found)
}

#[test]
fn every_type_that_can_be_in_a_key_has_its_text_of_csv_there() {
    let check = |array: ArrayRef, expected: &[&str]| {
        let ty = array.data_type().clone();
        let found = divided("{{COLUMN:c}}/{{UUID}}", &[("c", array.clone()), ("id", ids(array.len()))]).expect("possible");
        let values: Vec<&str> = found.iter().map(|(value, _)| value.as_str()).collect();
        assert_eq!(values, expected, "{ty}");
    };
    check(text(&[Some("b"), Some("a"), None, Some(""), Some("é/日")]), &["b", "a", "-", "é/日"]);
    check(Arc::new(Int64Array::from(vec![Some(-7), None, Some(7)])), &["-7", "-", "7"]);
    check(Arc::new(BooleanArray::from(vec![true, false])), &["true", "false"]);
    check(Arc::new(Decimal128Array::from(vec![100, -5]).with_precision_and_scale(5, 2).unwrap()), &["1", "-0.05"]);
    check(Arc::new(Date32Array::from(vec![0, 19_000])), &["1970-01-01", "2022-01-08"]);
    check(Arc::new(TimestampSecondArray::from(vec![1_614_834_367])), &["2021-03-04T05:06:07Z"]);
    check(Arc::new(NullArray::new(2)), &["-"]);
    let keys = Int32Array::from(vec![Some(0), None, Some(1), Some(0)]);
    check(Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(Int64Array::from(vec![7, 8])))), &["7", "-", "8"]);
}

#[test]
fn times_are_divided_in_utc_and_before_1970_too() {
    let path = "{{YEAR:c}}/{{MONTH:c}}/{{DAY:c}}/{{HOUR:c}}/{{MINUTE:c}}/{{UUID}}";
    let check = |array: ArrayRef, expected: &str| {
        let ty = array.data_type().clone();
        let found = divided(path, &[("c", array), ("id", ids(1))]).expect("possible");
        assert_eq!(found, [(expected.to_owned(), vec![0])], "{ty}");
    };
    check(Arc::new(TimestampSecondArray::from(vec![1_614_834_367])), "2021|03|04|05|06");
    check(Arc::new(TimestampMicrosecondArray::from(vec![-1]).with_timezone("+09:00")), "1969|12|31|23|59");
    check(Arc::new(TimestampSecondArray::from(vec![i64::MIN])), "-292277022657|01|27|08|29");
    check(Arc::new(TimestampSecondArray::from(vec![i64::MAX])), "292277026596|12|04|15|30");
    check(Arc::new(Date32Array::from(vec![-1])), "1969|12|31|00|00");
    check(Arc::new(Date64Array::from(vec![86_400_000])), "1970|01|02|00|00");
    check(Arc::new(Date64Array::from(vec![None])), "-|-|-|-|-");
    check(Arc::new(NullArray::new(1)), "-|-|-|-|-");
}

#[test]
fn what_no_key_can_be_made_of_is_refused_by_name() {
    let check = |path: &str, array: ArrayRef, expected: &str| {
        let error = divided(path, &[("c", array), ("id", ids(1))]).expect_err(path);
        assert!(error.contains("column \"c\"") && error.contains(expected), "{error}");
    };
    check("{{COLUMN:c}}", Arc::new(Float64Array::from(vec![0.5])), "its type Float64: text, integers");
    check("{{DAY:c}}", text(&[Some("2021-03-04")]), "dates and timestamps are possible");
    check("{{HOUR:c}}", ids(1), "dates and timestamps are possible");
    check("{{COLUMN:c}}", Arc::new(BinaryArray::from_iter_values([b"\xff"])), "a value is not UTF-8");
    let error = divided("{{COLUMN:c}}", &[("c", ids(1)), ("c", ids(1)), ("id", ids(1))]).expect_err("two columns");
    assert!(error.contains("several of that name"), "{error}");
}

#[test]
fn columns_in_keys_may_be_left_out_of_the_objects() {
    let path = PathTemplate::parse("{{COLUMN:c}}/{{YEAR:d}}/{{UUID}}").expect("a path");
    let (schema, batch) =
        table(&[("c", text(&[Some("x"), Some("y"), Some("x")])), ("d", Arc::new(Date32Array::from(vec![0; 3]))), ("id", ids(3))]);
    let route = Router::new(path.partition_fields(), false, false).route(&schema).expect("possible");
    let names: Vec<&String> = route.written(&schema).logical.fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["d", "id"], "a year says less than the date");
    let mut columns = Vec::new();
    route
        .divide(&Rows { batch, bytes: 10 }, |divided| {
            let routed = routed(divided);
            columns.push((routed.batch.num_columns(), routed.rows.len()));
            Ok::<_, Unroutable>(())
        })
        .expect("divided");
    assert_eq!(columns, [(2, 2), (2, 1)]);
    let (schema, _) = table(&[("c", text(&[None]))]);
    let error = Router::new(path.partition_fields(), false, false).route(&schema).expect_err("nothing is left").0;
    assert!(error.contains("nothing is left to write"), "{error}");
}

#[test]
fn sorted_rows_are_not_copied() {
    let path = PathTemplate::parse("{{COLUMN:c}}/{{UUID}}").expect("a path");
    let (schema, batch) = table(&[("c", text(&[Some("x"), Some("x"), Some("y")])), ("id", ids(3))]);
    let before = batch.column(1).to_data().buffers()[0].as_ptr();
    let route = Router::new(path.partition_fields(), true, false).route(&schema).expect("possible");
    let mut ranges = Vec::new();
    route
        .divide(&Rows { batch, bytes: 9 }, |divided| {
            let routed = routed(divided);
            assert_eq!(routed.batch.column(1).to_data().buffers()[0].as_ptr(), before);
            ranges.push((routed.rows, routed.bytes));
            Ok::<_, Unroutable>(())
        })
        .expect("divided");
    assert_eq!(ranges, [(0..2, 6), (2..3, 3)]);
}

proptest! {
    /// Against a division row by row: the same partitions, in the order of their first rows, each with its rows in their order.
    #[test]
    fn a_record_is_divided_as_row_by_row(
        rows in prop::collection::vec((0..4_usize, prop::option::of(0..3_i64), -3..3_i32), 1..200),
        many in any::<bool>(),
    ) {
        const TEXTS: [Option<&str>; 4] = [Some("a"), Some("b"), Some(""), None];
        // With many values the pairs are counted in a map.
        let number = |row: usize, value: Option<i64>| value.map(|value| if many { (row as i64) * 7 % 190 } else { value });
        let numbers: Vec<Option<i64>> = rows.iter().enumerate().map(|(row, (_, value, _))| number(row, *value)).collect();
        let months: Vec<i32> = rows.iter().map(|(_, _, month)| month * 31).collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("s", text(&rows.iter().map(|(text, ..)| TEXTS[*text]).collect::<Vec<_>>())),
            ("n", Arc::new(Int64Array::from(numbers.clone()))),
            ("d", Arc::new(Date32Array::from(months.clone()))),
            ("id", ids(rows.len())),
        ];
        let found = divided("{{COLUMN:s}}/{{COLUMN:n}}/{{MONTH:d}}/{{UUID}}", &columns).expect("possible");

        let mut expected: Vec<(String, Vec<i64>)> = Vec::new();
        let mut known = BTreeMap::new();
        for (row, (text, ..)) in rows.iter().enumerate() {
            let text = TEXTS[*text].filter(|text| !text.is_empty()).unwrap_or("-");
            let number = numbers[row].map_or("-".to_owned(), |number| number.to_string());
            let month = chrono::DateTime::from_timestamp(i64::from(months[row]) * 86_400, 0).expect("a day").format("%m");
            let key = format!("{text}|{number}|{month}");
            let at = *known.entry(key.clone()).or_insert(expected.len());
            if at == expected.len() {
                expected.push((key, Vec::new()));
            }
            expected[at].1.push(row as i64);
        }
        prop_assert_eq!(found, expected);
    }
}
