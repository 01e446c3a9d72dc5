//! What each option of Parquet does, seen in what the `parquet` crate reads: its metadata, and the same rows.

use super::tests::Collected;
use super::*;
use crate::spec::{Codec, Compression, IcebergTypes, PageCompression, ParquetVersion, SortColumn, TimestampUnit};
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::basic::{CompressionCodec, LogicalType};
use ::parquet::bloom_filter::Sbbf;
use ::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, SortingColumn};
use arrow_array::builder::{BinaryBuilder, Int64Builder, ListBuilder, MapBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float16Array, Float32Array, Float64Array, Int8Array,
    Int32Array, Int64Array, StructArray, Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::num::NonZeroU64;
use std::sync::Arc;

/// A table of columns with these names; texts are given as the bytes that they arrive as.
fn table(columns: &[(&str, ArrayRef)]) -> (Rc<TableSchema>, RecordBatch) {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let physical = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let as_text = |field: &Arc<Field>| match (field.name().starts_with("text"), field.data_type()) {
        (true, DataType::Binary) => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        _ => field.clone(),
    };
    let logical = Arc::new(Schema::new(physical.fields().iter().map(as_text).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(physical.clone(), columns.iter().map(|(_, array)| array.clone()).collect()).expect("columns");
    (Rc::new(TableSchema { table: "t".into(), logical, physical }), batch)
}

/// Writes a table in records of so many rows.
fn written(options: &ParquetOptions, (schema, batch): &(Rc<TableSchema>, RecordBatch), record_rows: usize) -> Result<Vec<u8>, EncodeError> {
    let mut out = Collected::default();
    let mut encoder = ParquetShared::new(options.clone()).open(schema)?;
    for start in (0..batch.num_rows()).step_by(record_rows) {
        let rows = record_rows.min(batch.num_rows() - start);
        encoder.write(&batch.slice(start, rows), 0..rows, &mut out)?;
    }
    encoder.finish(&mut out)?;
    Ok(out.bytes)
}

fn metadata(file: &[u8]) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.parse_and_finish(&Bytes::copy_from_slice(file)).expect("a footer")
}

fn read(file: &[u8]) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).expect("a Parquet file");
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().expect("a reader").map(|batch| batch.expect("a batch")).collect();
    arrow_select::concat::concat_batches(&schema, &batches).expect("one schema")
}

/// A table of every kind of column: our own chunks and the crate's, with dictionaries and without, with nulls, nested.
fn mixed(rows: i64, seed: i64) -> (Rc<TableSchema>, RecordBatch) {
    let mix = |row: i64| (row + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 20;
    let some = |row: i64| mix(row) % 11 != 0;
    let mut lists = ListBuilder::new(Int64Builder::new());
    let mut maps = MapBuilder::new(None, BinaryBuilder::new(), Int64Builder::new());
    for row in 0..rows {
        (0..mix(row).rem_euclid(4)).for_each(|item| lists.values().append_option(some(item + row).then_some(item * 1_000_003 + row)));
        lists.append(some(row));
        maps.keys().append_value(format!("key {}", row % 5));
        maps.values().append_value(row);
        maps.append(true).expect("a pair");
    }
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(|row| some(row).then(|| mix(row)))));
    let floats: ArrayRef = Arc::new(Float64Array::from_iter((0..rows).map(|row| some(row).then(|| mix(row) as f64 / 7.0))));
    table(&[
        ("number", numbers.clone()),
        ("few", Arc::new(Int32Array::from_iter_values((0..rows).map(|row| (mix(row) % 50) as i32)))),
        ("unsigned", Arc::new(UInt32Array::from_iter_values((0..rows).map(|row| mix(row) as u32)))),
        ("text", Arc::new(BinaryArray::from_iter((0..rows).map(|row| some(row).then(|| format!("a text, number {}", mix(row))))))),
        ("text of few", Arc::new(BinaryArray::from_iter_values((0..rows).map(|row| format!("text {}", row % 30))))),
        ("fixed", Arc::new(FixedSizeBinaryArray::try_from_iter((0..rows).map(|row| mix(row).to_be_bytes())).expect("eight bytes"))),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from_iter_values((0..rows).map(|row| i128::from(mix(row)) * 1_000))
                    .with_precision_and_scale(30, 2)
                    .expect("it fits"),
            ),
        ),
        ("float", floats.clone()),
        ("flag", Arc::new(BooleanArray::from_iter((0..rows).map(|row| some(row).then_some(row % 3 == 0))))),
        ("list", Arc::new(lists.finish())),
        ("map", Arc::new(maps.finish())),
        ("pair", Arc::new(StructArray::try_from(vec![("a", numbers), ("b", floats)]).expect("equal lengths"))),
        ("when", Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| mix(row) * 1_000)))),
    ])
}

fn with_codec(compression: PageCompression) -> ParquetOptions {
    ParquetOptions { compression, ..ParquetOptions::default() }
}

fn leveled(codec: Codec, level: u8) -> PageCompression {
    PageCompression::Leveled(Compression::new(codec, level).expect("a level"))
}

#[test]
fn every_codec_holds_the_same_rows_in_every_column_chunk_and_index() {
    let table = mixed(30_000, 1);
    let snappy = written(&ParquetOptions::default(), &table, 7_000).expect("written");
    let expected = read(&snappy);
    let pages = |file: &ParquetMetaData| -> Vec<Vec<i64>> {
        let index = file.page_index().expect("an index");
        let leaves = 0..file.file_metadata().schema_descr().num_columns();
        leaves
            .map(|leaf| {
                index.offset_index(0, leaf).expect("of the leaf").page_locations().iter().map(|page| page.first_row_index).collect()
            })
            .collect()
    };
    let mut sizes = Vec::new();
    for (compression, codec) in [
        (PageCompression::None, CompressionCodec::UNCOMPRESSED),
        (PageCompression::Snappy, CompressionCodec::SNAPPY),
        (leveled(Codec::Gzip, 4), CompressionCodec::GZIP),
        (leveled(Codec::Zstd, 1), CompressionCodec::ZSTD),
        (leveled(Codec::Zstd, 12), CompressionCodec::ZSTD),
    ] {
        let file = written(&with_codec(compression), &table, 7_000).expect("written");
        assert_eq!(read(&file), expected, "{compression:?}");
        let footer = metadata(&file);
        for group in footer.row_groups() {
            for column in group.columns() {
                assert_eq!(column.compression_codec(), codec, "{}", column.column_path());
                assert_eq!(
                    column.statistics(),
                    metadata(&snappy)
                        .row_group(0)
                        .columns()
                        .iter()
                        .find(|it| it.column_path() == column.column_path())
                        .expect("there")
                        .statistics()
                );
                let uncompressed = column.uncompressed_size();
                assert!(compression != PageCompression::None || uncompressed == column.compressed_size(), "{}", column.column_path());
            }
        }
        assert_eq!(pages(&footer), pages(&metadata(&snappy)), "{compression:?}: the pages hold the same rows");
        sizes.push(file.len());
    }
    let [none, snappy, gzip, zstd, hard] = sizes[..] else { panic!("{sizes:?}") };
    assert!(snappy < none && gzip < snappy && zstd < snappy && hard <= zstd, "{sizes:?}");
}

#[test]
fn a_large_value_is_compressed_by_every_codec() {
    let large: Vec<u8> =
        (0..5_000_000_u32).map(|at| if at & 64 == 0 { (at % 7) as u8 } else { (at.wrapping_mul(2_654_435_761) >> 24) as u8 }).collect();
    let cells = [&b"small"[..], &large, b"", &large[..3_000_000]];
    let table = table(&[("bytes", Arc::new(BinaryArray::from_iter_values(cells)) as ArrayRef)]);
    for compression in [PageCompression::None, PageCompression::Snappy, leveled(Codec::Gzip, 1), leveled(Codec::Zstd, 3)] {
        let file = written(&with_codec(compression), &table, 4).expect("written");
        assert_eq!(read(&file).column(0), table.1.column(0), "{compression:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_options_hold_the_same_rows(
        rows in 1_i64..3_000, seed in any::<i64>(), record in 1_usize..1_000, group in 1_u64..4_000,
        codec in 0_usize..4, page_index in any::<bool>(), field_ids in any::<bool>(), filters in any::<bool>()
    ) {
        let table = mixed(rows, seed >> 1);
        let names: Vec<String> = table.0.logical.fields().iter().map(|field| field.name().clone()).collect();
        let options = ParquetOptions {
            max_row_group_rows: NonZeroU64::new(group).expect("a row"),
            compression: [PageCompression::None, PageCompression::Snappy, leveled(Codec::Gzip, 9), leveled(Codec::Zstd, 3)][codec],
            page_index,
            field_ids,
            bloom_filter_columns: if filters { names } else { Vec::new() },
            ..ParquetOptions::default()
        };
        let file = written(&options, &table, record).expect("written");
        let plain = ParquetOptions { max_row_group_rows: options.max_row_group_rows, field_ids, ..ParquetOptions::default() };
        let plain = written(&plain, &table, record).expect("written");
        let (rows, expected) = (read(&file), read(&plain));
        prop_assert_eq!(rows.columns(), expected.columns());
        let footer = metadata(&file);
        let mut columns = footer.row_groups().iter().flat_map(|group| group.columns());
        prop_assert!(columns.all(|column| column.offset_index_offset().is_some() == page_index));
        prop_assert!(file == written(&options, &table, record).expect("written"), "one input, one output");
    }
}

#[test]
fn a_page_index_is_written_unless_it_is_not_wanted() {
    let table = mixed(5_000, 2);
    for page_index in [true, false] {
        let file = written(&ParquetOptions { page_index, ..ParquetOptions::default() }, &table, 5_000).expect("written");
        let footer = metadata(&file);
        for column in footer.row_group(0).columns() {
            let places = (column.offset_index_offset().is_some(), column.column_index_offset().is_some());
            assert_eq!(places, (page_index, page_index), "{}", column.column_path());
            assert!(column.statistics().is_some(), "{}: of the chunk in any case", column.column_path());
        }
    }
}

#[test]
fn row_groups_end_at_the_bytes_asked_for_in_a_replay_too() {
    let table = mixed(60_000, 3);
    let groups = |bytes: Option<u64>, replay: bool| {
        let row_group_bytes = bytes.and_then(NonZeroU64::new);
        let mut shared = ParquetShared::new(ParquetOptions { row_group_bytes, ..ParquetOptions::default() });
        if replay {
            shared.end_row_groups_at_unless_asked(2 << 20);
        }
        let mut out = Collected::default();
        let mut encoder = shared.open(&table.0).expect("columns");
        for start in (0..60_000).step_by(1_000) {
            encoder.write(&table.1.slice(start, 1_000), 0..1_000, &mut out).expect("collected");
        }
        encoder.finish(&mut out).expect("collected");
        assert_eq!(read(&out.bytes).num_rows(), 60_000);
        metadata(&out.bytes).num_row_groups()
    };
    assert_eq!(groups(None, false), 1);
    let (small, larger) = (groups(Some(1 << 20), false), groups(Some(4 << 20), false));
    assert!(small > larger && larger > 1, "{small} and {larger}");
    assert_eq!(groups(Some(1 << 20), true), small, "what is asked for counts");
    assert!(groups(None, true) > larger);
}

/// A filter does not grow with rows, and so ends no group.
#[test]
fn a_bloom_filter_ends_no_row_group() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
    let table = table(&[("a", numbers.clone()), ("b", numbers)]);
    let options = |filters: &[&str]| ParquetOptions {
        row_group_bytes: NonZeroU64::new(1 << 20),
        bloom_filter_columns: filters.iter().map(|name| (*name).to_owned()).collect(),
        ..ParquetOptions::default()
    };
    let groups = |filters: &[&str]| metadata(&written(&options(filters), &table, 1_000).expect("written")).num_row_groups();
    assert_eq!(groups(&["a", "b"]), groups(&[]));
}

#[test]
fn fields_are_numbered_from_the_top_down_each_before_those_inside_it() {
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from(vec![1, 2])) };
    let mut lists = ListBuilder::new(Int64Builder::new());
    (0..2).for_each(|_| lists.append(true));
    let mut maps = MapBuilder::new(None, BinaryBuilder::new(), Int64Builder::new());
    (0..2).for_each(|_| maps.append(true).expect("no pair"));
    let words: ArrayRef = Arc::new(BinaryArray::from_iter_values(["a", "b"]));
    let words = DictionaryArray::<Int32Type>::try_new(Int32Array::from(vec![1, 0]), words).expect("keys");
    let table = table(&[
        ("a", numbers()),
        (
            "pair",
            Arc::new(StructArray::try_from(vec![("x", numbers()), ("list", Arc::new(lists.finish()) as ArrayRef)]).expect("equal lengths")),
        ),
        ("map", Arc::new(maps.finish())),
        ("words", Arc::new(words)),
        ("z", numbers()),
    ]);
    let ids = |field_ids: bool| {
        fn walk(of: &::parquet::schema::types::Type, ids: &mut Vec<(String, Option<i32>)>) {
            let info = of.get_basic_info();
            ids.push((info.name().to_owned(), info.has_id().then(|| info.id())));
            if of.is_group() {
                of.get_fields().iter().for_each(|field| walk(field, ids));
            }
        }
        let file = written(&ParquetOptions { field_ids, ..ParquetOptions::default() }, &table, 2).expect("written");
        let mut ids = Vec::new();
        walk(metadata(&file).file_metadata().schema(), &mut ids);
        ids
    };
    let numbered = [
        ("schema", None),
        ("a", Some(1)),
        ("pair", Some(2)),
        ("x", Some(3)),
        ("list", Some(4)),
        ("list", None),
        ("element", Some(5)),
        ("map", Some(6)),
        ("key_value", None),
        ("key", Some(7)),
        ("value", Some(8)),
        ("words", Some(9)),
        ("z", Some(10)),
    ];
    assert_eq!(ids(true), numbered.map(|(name, id)| (name.to_owned(), id)));
    assert!(ids(false).iter().all(|(_, id)| id.is_none()));
}

#[test]
fn a_unit_of_timestamps_changes_no_value_unless_that_is_asked_for() {
    type Check<'a> = (&'a str, ArrayRef, Result<Vec<Option<i64>>, &'a str>);
    let unit = |name: &str| Some(TimestampUnit::parse(name).expect("a unit"));
    let (no, most) = (None::<i64>, i64::MAX);
    let nanos = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(TimestampNanosecondArray::from(values)) };
    let micros = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) };
    let millis = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(TimestampMillisecondArray::from(values)) };
    let seconds = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(TimestampSecondArray::from(values)) };
    let checks: [Check<'_>; 16] = [
        ("us", nanos(vec![Some(5_000), no, Some(-7_000)]), Ok(vec![Some(5), no, Some(-7)])),
        ("us", nanos(vec![Some(5_001)]), Err("not a whole number of microseconds")),
        ("us_truncated", nanos(vec![Some(5_999), Some(-1), Some(-1_000), no]), Ok(vec![Some(5), Some(-1), Some(-1), no])),
        ("ms", nanos(vec![Some(3_000_000)]), Ok(vec![Some(3)])),
        ("ms", nanos(vec![Some(3_000_001)]), Err("not a whole number of milliseconds")),
        ("ms_truncated", nanos(vec![Some(3_999_999), Some(most)]), Ok(vec![Some(3), Some(9_223_372_036_854)])),
        ("us", micros(vec![Some(1), no, Some(most)]), Ok(vec![Some(1), no, Some(most)])),
        ("ms", micros(vec![Some(1_000)]), Ok(vec![Some(1)])),
        ("ms", micros(vec![Some(1)]), Err("`timestamp_unit: ms` changes none")),
        ("ms_truncated", micros(vec![Some(-1)]), Ok(vec![Some(-1)])),
        ("us", millis(vec![Some(7)]), Ok(vec![Some(7_000)])),
        ("us_truncated", millis(vec![Some(most)]), Err("does not fit the 64 bits")),
        ("ms", millis(vec![Some(7)]), Ok(vec![Some(7)])),
        ("us", seconds(vec![Some(-2)]), Ok(vec![Some(-2_000_000)])),
        ("ms", seconds(vec![Some(2)]), Ok(vec![Some(2_000)])),
        ("ms", seconds(vec![Some(most)]), Err("does not fit the 64 bits")),
    ];
    for (name, array, expected) in checks {
        let options = ParquetOptions { timestamp_unit: unit(name), ..ParquetOptions::default() };
        let is_zoned = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
        let file = written(&options, &table(&[("when", array)]), 100);
        match (file, expected) {
            (Ok(file), Ok(values)) => {
                let column = read(&file).column(0).clone();
                let of_unit = if name.starts_with("us") { TimeUnit::Microsecond } else { TimeUnit::Millisecond };
                assert_eq!(*column.data_type(), DataType::Timestamp(of_unit, is_zoned.then(|| "UTC".into())), "{name}");
                let read: Vec<Option<i64>> = match of_unit {
                    TimeUnit::Microsecond => column.as_primitive::<arrow_array::types::TimestampMicrosecondType>().iter().collect(),
                    _ => column.as_primitive::<arrow_array::types::TimestampMillisecondType>().iter().collect(),
                };
                assert_eq!(read, values, "{name}");
            }
            (Err(EncodeError::Data(error)), Err(words)) => {
                assert!(error.starts_with("column \"when\" of type Timestamp") && error.contains(words), "{name}: {error}");
                assert!(!error.contains("5001") && !error.contains("3000001"), "no value of a row: {error}");
            }
            (file, expected) => panic!("{name}: {:?}, expected {expected:?}", file.map(|file| file.len())),
        }
    }
}

/// Also where timestamps lie inside other values, and in a version that has no nanoseconds.
#[test]
fn nested_timestamps_have_the_unit_too() {
    let stamps: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(1_000), None]));
    let pair: ArrayRef = Arc::new(StructArray::try_from(vec![("when", stamps)]).expect("a member"));
    for version in [ParquetVersion::V1_0, ParquetVersion::V2Latest] {
        let options = ParquetOptions { version, timestamp_unit: TimestampUnit::parse("us"), ..ParquetOptions::default() };
        let file = written(&options, &table(&[("pair", pair.clone())]), 2).expect("written");
        let rows = read(&file);
        let when = rows.column(0).as_struct().column(0).as_primitive::<arrow_array::types::TimestampMicrosecondType>().clone();
        assert_eq!(when.iter().collect::<Vec<_>>(), [Some(1), None]);
        let uneven: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]));
        let uneven: ArrayRef = Arc::new(StructArray::try_from(vec![("when", uneven)]).expect("a member"));
        written(&options, &table(&[("pair", uneven)]), 1).expect_err("it would be changed");
    }
}

fn filter_of(file: &[u8], column: usize, group: usize) -> Option<Sbbf> {
    let footer = metadata(file);
    Sbbf::read_from_column_chunk(footer.row_group(group).column(column), &Bytes::copy_from_slice(file)).expect("it can be read")
}

#[test]
fn a_bloom_filter_knows_every_value_of_its_row_group_and_few_others() {
    let table = mixed(12_000, 4);
    let names = ["number", "few", "unsigned", "text", "text of few", "fixed", "decimal", "when"];
    let options = ParquetOptions {
        bloom_filter_columns: names.iter().chain(&["flag", "float", "list", "not there"]).map(|name| (*name).to_owned()).collect(),
        max_row_group_rows: NonZeroU64::new(5_000).expect("rows"),
        ..ParquetOptions::default()
    };
    let file = written(&options, &table, 1_234).expect("written");
    let rows = read(&file);
    let decimal_bytes = 13;
    for (group, start) in [0, 5_000, 10_000].into_iter().enumerate() {
        let rows = rows.slice(start, 5_000.min(12_000 - start));
        for (place, field) in table.0.logical.fields().iter().enumerate().take(9) {
            let filter = filter_of(&file, place, group);
            assert_eq!(filter.is_some(), names.contains(&field.name().as_str()), "{}", field.name());
            let Some(filter) = filter else { continue };
            let column = table.1.column(place).slice(start, rows.num_rows());
            let plain = |row: usize| -> Option<Vec<u8>> {
                column.is_valid(row).then(|| match field.name().as_str() {
                    "number" => column.as_primitive::<arrow_array::types::Int64Type>().value(row).to_le_bytes().to_vec(),
                    "few" => column.as_primitive::<Int32Type>().value(row).to_le_bytes().to_vec(),
                    "unsigned" => column.as_primitive::<arrow_array::types::UInt32Type>().value(row).to_le_bytes().to_vec(),
                    "decimal" => {
                        let bytes = column.as_primitive::<arrow_array::types::Decimal128Type>().value(row).to_be_bytes();
                        bytes[bytes.len() - decimal_bytes..].to_vec()
                    }
                    "fixed" => column.as_fixed_size_binary().value(row).to_vec(),
                    _ => column.as_binary::<i32>().value(row).to_vec(),
                })
            };
            let values: Vec<Vec<u8>> = (0..column.len()).filter_map(plain).collect();
            assert!(values.iter().all(|value| filter.check(value.as_slice())), "{} of group {group}", field.name());
            let passing = (0..10_000_u64).filter(|number| filter.check(format!("none of them {number}").as_bytes())).count();
            assert!(passing <= 400, "{}: {passing} of 10,000 others pass", field.name());
        }
    }
}

#[test]
fn a_large_value_is_in_the_filter() {
    let large = vec![7; 2_000_000];
    let table = table(&[("bytes", Arc::new(BinaryArray::from_iter_values([&b"a"[..], &large])) as ArrayRef)]);
    let file = written(&ParquetOptions { bloom_filter_columns: vec!["bytes".to_owned()], ..ParquetOptions::default() }, &table, 2)
        .expect("written");
    let filter = filter_of(&file, 0, 0).expect("a filter");
    assert!(filter.check(&b"a"[..]) && filter.check(large.as_slice()) && !filter.check(&b"b"[..]));
}

#[test]
fn what_a_table_lacks_is_said_once() {
    let options = ParquetOptions {
        bloom_filter_columns: vec!["a".to_owned(), "gone".to_owned()],
        sort_by: ["list", "a", "absent"].map(|name| SortColumn::parse(name).expect("a name")).to_vec(),
        ..ParquetOptions::default()
    };
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append(true);
    let lacking = table(&[("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef), ("list", Arc::new(lists.finish()))]);
    let mut shared = ParquetShared::new(options);
    shared.open(&lacking.0).expect("columns");
    let warnings = shared.take_warnings();
    let [filters, order] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(filters.starts_with("table \"t\" lacks the column \"gone\" of `bloom_filter_columns`, or"), "{filters}");
    assert!(order.starts_with("table \"t\" lacks the column \"list\" of `sort_by`, or"), "{order}");
    shared.open(&table(&[("b", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).0).expect("columns");
    assert_eq!(shared.take_warnings(), Vec::<String>::new());
}

fn by(columns: &[&str]) -> Vec<SortColumn> {
    columns.iter().map(|text| SortColumn::parse(text).expect("a name")).collect()
}

/// How two rows of a column compare: a null is less than anything.
fn compare(column: &ArrayRef, one: usize, other: usize) -> Ordering {
    let known = |row: usize| column.is_valid(row);
    if !known(one) || !known(other) {
        return known(one).cmp(&known(other));
    }
    match column.data_type() {
        DataType::Int64 => column
            .as_primitive::<arrow_array::types::Int64Type>()
            .value(one)
            .cmp(&column.as_primitive::<arrow_array::types::Int64Type>().value(other)),
        DataType::UInt32 => column
            .as_primitive::<arrow_array::types::UInt32Type>()
            .value(one)
            .cmp(&column.as_primitive::<arrow_array::types::UInt32Type>().value(other)),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(one).total_cmp(&column.as_primitive::<Float64Type>().value(other)),
        DataType::Decimal128(..) => column
            .as_primitive::<arrow_array::types::Decimal128Type>()
            .value(one)
            .cmp(&column.as_primitive::<arrow_array::types::Decimal128Type>().value(other)),
        DataType::Boolean => column.as_boolean().value(one).cmp(&column.as_boolean().value(other)),
        DataType::Utf8 => column.as_string::<i32>().value(one).cmp(column.as_string::<i32>().value(other)),
        other_type => panic!("no order of {other_type}"),
    }
}

#[test]
fn rows_of_each_group_are_sorted_and_the_footer_says_how() {
    let table = mixed(20_000, 5);
    let place = |name: &str| table.0.logical.index_of(name).expect("a column");
    // Of the leaves: the list has one, and the map and the pair two each.
    for (columns, leaves) in [
        (&["number"][..], &[(0, false)][..]),
        (&["text of few", "number desc"], &[(4, false), (0, true)]),
        (&["flag desc", "float", "unsigned"], &[(8, true), (7, false), (2, false)]),
        (&["decimal desc", "not there"], &[(6, true)]),
        (&["text"], &[(3, false)]),
    ] {
        for compression in [PageCompression::Snappy, leveled(Codec::Zstd, 1)] {
            let max_row_group_rows = NonZeroU64::new(7_777).expect("rows");
            let options = ParquetOptions { sort_by: by(columns), max_row_group_rows, compression, ..ParquetOptions::default() };
            let file = written(&options, &table, 999).expect("written");
            let (footer, rows) = (metadata(&file), read(&file));
            let expected: Vec<SortingColumn> = leaves
                .iter()
                .map(|(leaf, descending)| SortingColumn { column_idx: *leaf, descending: *descending, nulls_first: !descending })
                .collect();
            let mut start = 0;
            for group in footer.row_groups() {
                assert_eq!(group.sorting_columns(), Some(&expected), "{columns:?}");
                let end = start + group.num_rows() as usize;
                for row in start + 1..end {
                    let ordering = options.sort_by.iter().filter(|column| table.0.logical.index_of(&column.name).is_ok()).map(|column| {
                        let ordering = compare(rows.column(place(&column.name)), row - 1, row);
                        if column.descending { ordering.reverse() } else { ordering }
                    });
                    assert_ne!(ordering.fold(Ordering::Equal, Ordering::then), Ordering::Greater, "{columns:?}: row {row}");
                }
                start = end;
            }
            assert_eq!((start, footer.num_row_groups()), (20_000, 3));
            // The rows are those of the table, each whole.
            let whole = |batch: &RecordBatch| {
                let text = |row: usize| {
                    (0..batch.num_columns()).map(|column| format!("{:?}", batch.column(column).slice(row, 1))).collect::<String>()
                };
                let mut rows: Vec<String> = (0..batch.num_rows()).map(text).collect();
                rows.sort_unstable();
                rows
            };
            if columns == ["text of few", "number desc"] {
                let plain = ParquetOptions { max_row_group_rows, ..ParquetOptions::default() };
                assert_eq!(whole(&rows), whole(&read(&written(&plain, &table, 999).expect("written"))));
            }
        }
    }
}

#[test]
fn equal_rows_keep_their_order_and_nulls_count_least() {
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), None, Some(1), Some(2), None, Some(1)]));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..6));
    let table = table(&[("key", keys), ("n", numbers)]);
    for (column, expected) in [("key", [1, 4, 2, 5, 0, 3]), ("key desc", [0, 3, 2, 5, 1, 4])] {
        for record in [1, 2, 6] {
            let options = ParquetOptions { sort_by: by(&[column]), ..ParquetOptions::default() };
            let rows = read(&written(&options, &table, record).expect("written"));
            assert_eq!(
                rows.column(1).as_primitive::<arrow_array::types::Int64Type>().values()[..],
                expected,
                "{column} of records of {record}"
            );
        }
    }
}

/// A group that waits is bounded by what it takes as it waits, and is given up when memory is wanted back.
#[test]
fn rows_that_wait_are_bounded_and_leave_when_asked() {
    let rows = 200_000;
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).rev()));
    let table = table(&[("n", numbers)]);
    let options = ParquetOptions { sort_by: by(&["n"]), row_group_bytes: NonZeroU64::new(1 << 20), ..ParquetOptions::default() };
    let mut encoder = ParquetShared::new(options).open(&table.0).expect("a column");
    let mut out = Collected::default();
    for start in (0..rows as usize).step_by(1_000) {
        encoder.write(&table.1.slice(start, 1_000), 0..1_000, &mut out).expect("collected");
        assert!(encoder.held_bytes() < (1 << 20) + (200 << 10), "{} bytes held", encoder.held_bytes());
    }
    assert!(encoder.relief_bytes() > 0);
    encoder.relieve(&mut out).expect("collected");
    assert!(encoder.held_bytes() < 100_000, "{} bytes held", encoder.held_bytes());
    encoder.finish(&mut out).expect("collected");
    assert!(metadata(&out.bytes).num_row_groups() > 3);
    let mut read: Vec<i64> = read(&out.bytes).column(0).as_primitive::<arrow_array::types::Int64Type>().values().to_vec();
    read.sort_unstable();
    assert_eq!(read, (0..rows).collect::<Vec<_>>());
}

/// Values that are looked up, and rows whose columns have to be converted.
#[test]
fn converted_columns_are_sorted_as_they_are_written() {
    let logical = Schema::new(vec![Field::new("word", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), true)]);
    let physical = Schema::new(vec![Field::new("word", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Binary)), true)]);
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(["pear", "apple", "fig"]));
    let keys = Int32Array::from(vec![0, 1, 2, 1]);
    let array: ArrayRef = Arc::new(DictionaryArray::try_new(keys, values).expect("keys"));
    let schema = Rc::new(TableSchema { table: "t".into(), logical: Arc::new(logical), physical: Arc::new(physical.clone()) });
    let batch = RecordBatch::try_new(Arc::new(physical), vec![array]).expect("a column");
    let options = ParquetOptions { sort_by: by(&["word desc"]), ..ParquetOptions::default() };
    let rows = read(&written(&options, &(schema, batch), 3).expect("written"));
    assert_eq!(rows.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["pear", "fig", "apple", "apple"]);
}

/// The schema with these ids in the metadata of its columns, as a host gives them.
fn with_ids((schema, batch): (Rc<TableSchema>, RecordBatch), ids: &[i32]) -> (Rc<TableSchema>, RecordBatch) {
    let fields = schema.logical.fields().iter().zip(ids).map(|(field, id)| {
        let mut metadata = field.metadata().clone();
        metadata.insert("PARQUET:field_id".to_owned(), id.to_string());
        field.as_ref().clone().with_metadata(metadata)
    });
    let logical = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    (Rc::new(TableSchema { table: "t".into(), logical, physical: schema.physical.clone() }), batch)
}

fn iceberg_options(athena: bool) -> ParquetOptions {
    let unit = TimestampUnit { microseconds: true, truncates: false };
    ParquetOptions { iceberg: Some(IcebergTypes { athena }), timestamp_unit: Some(unit), ..ParquetOptions::default() }
}

/// Every type that Iceberg lacks, at the ends of its range: the type that stands in the file, and the values.
#[test]
fn types_that_iceberg_lacks_become_those_that_hold_their_values() {
    let columns: Vec<(&str, ArrayRef, &str, ArrayRef)> = vec![
        ("i8", Arc::new(Int8Array::from(vec![Some(-128), None])), "INT32", Arc::new(Int32Array::from(vec![Some(-128), None]))),
        ("u8", Arc::new(UInt8Array::from(vec![255, 0])), "INT32", Arc::new(Int32Array::from(vec![255, 0]))),
        ("u16", Arc::new(UInt16Array::from(vec![65_535, 0])), "INT32", Arc::new(Int32Array::from(vec![65_535, 0]))),
        ("u32", Arc::new(UInt32Array::from(vec![u32::MAX, 0])), "INT64", Arc::new(Int64Array::from(vec![i64::from(u32::MAX), 0]))),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![u64::MAX, 0])),
            "FIXED_LEN_BYTE_ARRAY DECIMAL(20,0)",
            Arc::new(Decimal128Array::from(vec![i128::from(u64::MAX), 0]).with_precision_and_scale(20, 0).unwrap()),
        ),
        (
            "f16",
            Arc::new(Float16Array::from(vec![half::f16::MAX, half::f16::MIN_POSITIVE])),
            "FLOAT",
            Arc::new(Float32Array::from(vec![65_504.0, 6.103_515_6e-5])),
        ),
        (
            "seconds",
            Arc::new(Time32SecondArray::from(vec![86_399, 0])),
            "INT64 TIME(MICROS)",
            Arc::new(Time64MicrosecondArray::from(vec![86_399_000_000, 0])),
        ),
        (
            "nanoseconds",
            Arc::new(Time64NanosecondArray::from(vec![1_000, 0])),
            "INT64 TIME(MICROS)",
            Arc::new(Time64MicrosecondArray::from(vec![1, 0])),
        ),
        (
            "stamp",
            Arc::new(TimestampSecondArray::from(vec![Some(1), None])),
            "INT64 TIMESTAMP(MICROS)",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_000_000), None])),
        ),
    ];
    let given: Vec<(&str, ArrayRef)> = columns.iter().map(|(name, array, ..)| (*name, array.clone())).collect();
    let ids: Vec<i32> = (0..columns.len() as i32).map(|at| 40 - at).collect();
    let file = written(&iceberg_options(false), &with_ids(table(&given), &ids), 2).unwrap();
    let found = read(&file);
    for (at, (name, _, of_type, values)) in columns.iter().enumerate() {
        let footer = metadata(&file);
        let column = footer.file_metadata().schema_descr().column(at);
        let basic = column.self_type().get_basic_info();
        assert_eq!(basic.id(), ids[at], "{name}");
        let logical = match column.logical_type_ref() {
            None => String::new(),
            Some(LogicalType::Decimal(it)) => format!(" DECIMAL({},{})", it.precision, it.scale),
            Some(LogicalType::Time(it)) => format!(" TIME({:?})", it.unit),
            Some(LogicalType::Timestamp(it)) => format!(" TIMESTAMP({:?})", it.unit),
            Some(other) => format!(" {other:?}"),
        };
        assert_eq!(format!("{}{logical}", column.physical_type()), *of_type, "{name}");
        assert_eq!(found.column(at), values, "{name}");
    }
}

#[test]
fn what_iceberg_cannot_hold_unchanged_is_refused_by_name() {
    let times: ArrayRef = Arc::new(Time64NanosecondArray::from(vec![1_001]));
    let rows = with_ids(table(&[("t", times.clone())]), &[1]);
    let error = written(&iceberg_options(false), &rows, 1).unwrap_err().to_string();
    assert!(error.contains("\"t\"") && error.contains("not a whole number of microseconds"), "{error}");
    let truncating =
        ParquetOptions { timestamp_unit: Some(TimestampUnit { microseconds: true, truncates: true }), ..iceberg_options(false) };
    assert_eq!(read(&written(&truncating, &rows, 1).unwrap()).column(0).as_ref(), &Time64MicrosecondArray::from(vec![1]));
    let error = written(&iceberg_options(false), &table(&[("t", times.clone())]), 1).unwrap_err().to_string();
    assert!(error.contains("\"t\"") && error.contains("no id"), "{error}");
    let text = read(&written(&iceberg_options(true), &rows, 1).unwrap());
    assert_eq!(text.column(0).as_string::<i32>().value(0), "00:00:00.000001001");
}
