use super::buffered::{ARRAY_BYTES, MERGE_BATCHES};
use super::*;
use crate::host::{ColumnFacts, PutError};
use crate::limits::{CHUNK_BYTES, MAX_NESTED_ROW_BYTES, MAX_STATISTICS_BYTES};
use crate::spec::{ParquetVersion, RootRepetition};
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::page_index::column_index::ColumnIndexMetaData;
use arrow_array::builder::{BinaryBuilder, FixedSizeListBuilder, Int64Builder, LargeListBuilder, ListBuilder, MapBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{
    BinaryArray, Decimal128Array, Decimal256Array, DictionaryArray, Float64Array, Int8Array, Int32Array, Int64Array, ListArray,
    StructArray,
    types::{Int8Type, Int32Type},
};
use arrow_buffer::{Buffer, OffsetBuffer, i256};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;
use std::num::NonZeroU64;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Collected {
    pub(super) bytes: Vec<u8>,
    largest: usize,
}

impl Output for Collected {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        assert!(!bytes.is_empty(), "an output takes at least one byte");
        self.bytes.extend_from_slice(bytes);
        self.largest = self.largest.max(bytes.len());
        Ok(())
    }
}

fn shared(most_rows: u64) -> ParquetShared {
    ParquetShared::new(ParquetOptions {
        version: ParquetVersion::V2Latest,
        root_repetition: RootRepetition::Repeated,
        max_row_group_rows: NonZeroU64::new(most_rows).expect("at least one row"),
        ..ParquetOptions::default()
    })
}

/// A table whose columns are of these types; text as its binary twin.
fn table(fields: Vec<Field>) -> Rc<TableSchema> {
    let twin = |field: &Field| match field.data_type() {
        DataType::Utf8 => field.clone().with_data_type(DataType::Binary),
        _ => field.clone(),
    };
    let physical = fields.iter().map(twin).collect::<Vec<_>>();
    Rc::new(TableSchema { table: "t".into(), logical: Arc::new(Schema::new(fields)), physical: Arc::new(Schema::new(physical)) })
}

fn batch(schema: &TableSchema, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema.physical.clone(), columns).expect("columns of the schema")
}

fn metadata(file: &[u8]) -> ParquetMetaData {
    ParquetMetaDataReader::new().parse_and_finish(&Bytes::copy_from_slice(file)).expect("a footer")
}

fn group_rows(file: &[u8]) -> Vec<i64> {
    metadata(file).row_groups().iter().map(|group| group.num_rows()).collect()
}

fn read(file: &[u8]) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).expect("a Parquet file");
    reader.build().expect("a reader").map(|batch| batch.expect("a batch")).collect()
}

fn numbers(count: i64) -> (Rc<TableSchema>, RecordBatch) {
    let schema = table(vec![Field::new("n", DataType::Int64, false)]);
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let rows = batch(&schema, vec![column]);
    (schema, rows)
}

fn read_numbers(file: &[u8]) -> Vec<i64> {
    read(file).iter().flat_map(|batch| batch.column(0).as_primitive::<arrow_array::types::Int64Type>().values().to_vec()).collect()
}

#[test]
fn row_groups_have_exactly_the_rows_asked_for() {
    let check = |rows: i64, most: u64, expected: &[i64]| {
        let (schema, batch) = numbers(rows);
        let mut out = Collected::default();
        let mut encoder = shared(most).open(&schema).expect("a plain column");
        encoder.write(&batch, 0..batch.num_rows(), &mut out).expect("collected");
        encoder.finish(&mut out).expect("collected");
        assert_eq!(group_rows(&out.bytes), expected, "{rows} rows, at most {most} a group");
        assert_eq!(read_numbers(&out.bytes), (0..rows).collect::<Vec<_>>());
    };
    check(5, 2, &[2, 2, 1]);
    check(4, 2, &[2, 2]);
    check(3, 1, &[1, 1, 1]);
    check(5_000, 2_000, &[2_000, 2_000, 1_000]);
    check(40_000, u64::MAX, &[40_000]);
}

#[test]
fn row_groups_are_bounded_by_bytes_and_leave_at_once() {
    let (schema, rows) = numbers(100_000);
    let mut shared = shared(u64::MAX);
    shared.most_bytes = 200_000;
    let mut encoder = shared.open(&schema).expect("a plain column");
    let mut out = Collected::default();
    for start in (0..100_000).step_by(10_000) {
        encoder.write(&rows, start..start + 10_000, &mut out).expect("collected");
        assert!(encoder.held_bytes() < 300_000, "{} bytes held", encoder.held_bytes());
    }
    assert!(out.bytes.len() > 200_000, "finished row groups have left");
    encoder.finish(&mut out).expect("collected");
    assert!(group_rows(&out.bytes).len() > 1);
    assert_eq!(read_numbers(&out.bytes), (0..100_000).collect::<Vec<_>>());
}

#[test]
fn an_empty_table_is_a_footer() {
    let (schema, _) = numbers(0);
    let mut out = Collected::default();
    shared(1).open(&schema).expect("a plain column").finish(&mut out).expect("collected");
    assert_eq!(group_rows(&out.bytes), [0; 0]);
    assert_eq!(metadata(&out.bytes).file_metadata().schema_descr().num_columns(), 1);
}

#[test]
fn few_rows_are_held_without_writers_and_relief_gives_them_up() {
    let (schema, rows) = numbers(1_000);
    let mut encoder = shared(u64::MAX).open(&schema).expect("a plain column");
    let mut out = Collected::default();
    for start in (0..1_000).step_by(10) {
        encoder.write(&rows, start..start + 10, &mut out).expect("collected");
    }
    assert!(out.bytes.is_empty());
    let held = encoder.held_bytes();
    assert!((8_000..8_000 + (MERGE_BATCHES + 1) * ARRAY_BYTES).contains(&held), "{held} bytes held for 8,000");
    encoder.relieve(&mut out).expect("collected");
    assert_eq!(encoder.held_bytes(), FILE_BYTES + CHUNK_METADATA_BYTES);
    assert!(!out.bytes.is_empty());
    encoder.relieve(&mut out).expect("nothing to give up");
    encoder.finish(&mut out).expect("collected");
    assert_eq!(group_rows(&out.bytes), [1_000]);
    assert_eq!(read_numbers(&out.bytes), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn output_comes_in_chunks() {
    let schema = table(vec![Field::new("s", DataType::Binary, false)]);
    let mut state = 7_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(3 * CHUNK_BYTES)
    .collect();
    let rows = batch(&schema, vec![Arc::new(BinaryArray::from_iter_values(noise.chunks(1_000)))]);
    let mut encoder = shared(u64::MAX).open(&schema).expect("a plain column");
    let mut out = Collected::default();
    encoder.write(&rows, 0..rows.num_rows(), &mut out).expect("collected");
    encoder.finish(&mut out).expect("collected");
    assert!(out.largest <= CHUNK_BYTES && out.bytes.len() > 3 * CHUNK_BYTES);
}

#[test]
fn invalid_utf8_is_replaced_and_counted() {
    let mut shared = shared(u64::MAX);
    let schema = table(vec![Field::new("s", DataType::Utf8, true), Field::new("b", DataType::Binary, true)]);
    let cells: [Option<&[u8]>; 5] = [Some("né".as_bytes()), Some(b"a\xffb\xc3"), None, Some(b"\xf0\x9f\x98"), Some(b"")];
    let column: ArrayRef = Arc::new(BinaryArray::from_iter(cells));
    let rows = batch(&schema, vec![column.clone(), column]);
    let mut out = Collected::default();
    let mut encoder = shared.open(&schema).expect("plain columns");
    encoder.write(&rows, 0..5, &mut out).expect("collected");
    encoder.finish(&mut out).expect("collected");
    assert_eq!((shared.take_replaced(), shared.take_replaced()), (2, 0));
    let read = read(&out.bytes);
    let text: Vec<_> = read[0].column(0).as_string::<i32>().iter().collect();
    assert_eq!(text, [Some("né"), Some("a\u{fffd}b\u{fffd}"), None, Some("\u{fffd}\u{fffd}\u{fffd}"), Some("")]);
    assert_eq!(read[0].column(1).as_binary::<i32>().iter().collect::<Vec<_>>(), cells, "bytes that are not text stay");
}

#[test]
fn text_that_is_whole_only_together_is_replaced_cell_by_cell() {
    let mut shared = shared(u64::MAX);
    let schema = table(vec![Field::new("s", DataType::Utf8, false)]);
    let rows = batch(&schema, vec![Arc::new(BinaryArray::from_iter_values([&b"a\xc3"[..], &b"\xa9b"[..], "é".as_bytes()]))]);
    let mut out = Collected::default();
    let mut encoder = shared.open(&schema).expect("a plain column");
    encoder.write(&rows, 0..3, &mut out).expect("collected");
    encoder.finish(&mut out).expect("collected");
    assert_eq!(shared.take_replaced(), 2);
}

#[test]
fn what_parquet_cannot_hold_is_refused_by_name_and_type() {
    let check = |field: Field, path: &str, data_type: &str| {
        let error = shared(1).open(&table(vec![Field::new("id", DataType::Int64, false), field])).err().expect("a refusal").to_string();
        assert!(error.contains(&format!("{path:?}")) && error.contains(data_type), "{error}");
    };
    check(Field::new("d", DataType::Decimal128(5, -2), true), "d", "Decimal128(5, -2)");
    check(Field::new("d", DataType::Decimal256(3, 5), true), "d", "Decimal256(3, 5)");
    check(Field::new("v", DataType::BinaryView, true), "v", "BinaryView");
    check(Field::new("s", DataType::Struct(Fields::empty()), true), "s", "Struct");
    check(Field::new("z", DataType::FixedSizeBinary(0), true), "z", "FixedSizeBinary(0)");
    check(Field::new("n", DataType::Null, false), "n", "Null");
    let inner = Field::new("deep", DataType::Decimal128(9, -1), true);
    let list = Field::new("l", DataType::List(Arc::new(Field::new("item", DataType::Struct(vec![inner].into()), true))), true);
    check(list, "l.item.deep", "Decimal128(9, -1)");
    assert!(shared(1).open(&table(Vec::new())).err().expect("a refusal").to_string().contains("no columns"));
}

#[test]
fn a_null_in_a_column_that_has_none_is_an_error_that_names_it() {
    let fields: Fields = vec![Field::new("inner", DataType::Int64, true)].into();
    let rows: ArrayRef = Arc::new(StructArray::new(fields, vec![Arc::new(Int64Array::new_null(3))], None));
    let strict = Field::new("s", DataType::Struct(vec![Field::new("inner", DataType::Int64, false)].into()), true);
    let schema = table(vec![strict]);
    let loose = RecordBatch::try_from_iter([("s", rows)]).expect("one column");
    let mut encoder = shared(u64::MAX).open(&schema).expect("a struct");
    let mut out = Collected::default();
    let error = encoder.write(&loose, 0..3, &mut out).and_then(|()| encoder.finish(&mut out)).expect_err("a null");
    assert!(error.to_string().contains("\"s\""), "{error}");
}

#[test]
fn decimals_of_every_precision_come_back() {
    for precision in 1..=38_u8 {
        let largest = 10_i128.pow(u32::from(precision)) - 1;
        let values = Decimal128Array::from(vec![Some(largest), Some(-largest), Some(0), None]).with_precision_and_scale(precision, 1);
        check_column(Arc::new(values.expect("digits that fit")));
    }
    for precision in [1_u8, 39, 50, 76] {
        let largest =
            i256::from_i128(10).checked_pow(u32::from(precision)).and_then(|power| power.checked_sub(i256::ONE)).expect("76 digits");
        let values = Decimal256Array::from(vec![Some(largest), largest.checked_neg(), None]).with_precision_and_scale(precision, 0);
        let values = values.expect("digits that fit");
        let read = round_trip(Arc::new(values.clone()));
        let read: Vec<Option<i256>> = match read.data_type() {
            DataType::Decimal128(_, _) => {
                read.as_primitive::<arrow_array::types::Decimal128Type>().iter().map(|value| value.map(i256::from_i128)).collect()
            }
            _ => read.as_primitive::<arrow_array::types::Decimal256Type>().iter().collect(),
        };
        assert_eq!(read, values.iter().collect::<Vec<_>>(), "{precision} digits");
    }
}

/// Over two row groups, against the rows themselves.
#[test]
fn facts_of_columns_are_those_of_their_rows() {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let schema = table(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("f", DataType::Float64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(9, 2), true),
        Field::new("none", DataType::Int32, true),
        Field::new("l", list, true),
    ]);
    let long = "x".repeat(100);
    let mut lists = ListBuilder::new(arrow_array::builder::Int32Builder::new());
    lists.append_value([Some(7), None]);
    lists.append_null();
    lists.append_value([Some(-3)]);
    let rows = batch(
        &schema,
        vec![
            Arc::new(Int64Array::from(vec![Some(5), None, Some(-300)])),
            Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), None])),
            Arc::new(BinaryArray::from_opt_vec(vec![Some(b"b"), Some(long.as_bytes()), None])),
            Arc::new(Decimal128Array::from(vec![Some(-129), Some(0), None]).with_precision_and_scale(9, 2).expect("a decimal")),
            Arc::new(Int32Array::from(vec![None, None, None])),
            Arc::new(lists.finish()),
        ],
    );
    let mut out = Collected::default();
    let mut shared = shared(2);
    let open_and_finish = |shared: &mut ParquetShared, out: &mut Collected| {
        let mut encoder = shared.open(&schema).expect("columns of Parquet");
        encoder.write(&rows, 0..3, out).expect("collected");
        encoder.finish(out).expect("collected")
    };
    assert_eq!(open_and_finish(&mut shared, &mut Collected::default()).columns, [], "nobody has asked");
    shared.gather_column_facts();
    let facts = open_and_finish(&mut shared, &mut out);
    assert_eq!((group_rows(&out.bytes), facts.split_offsets.len()), (vec![2, 1], 2));
    let long_upper = [&[b'x'; 63][..], b"y"].concat();
    let of = |path: &str, values, nulls, nans, bounds: Option<(Vec<u8>, Vec<u8>)>| {
        let (lower, upper) = bounds.unzip();
        ColumnFacts { path: path.to_owned(), values, nulls, nans, lower, upper, encoded_bytes: None }
    };
    let expected = [
        of("n", 3, 1, None, Some(((-300_i64).to_le_bytes().into(), 5_i64.to_le_bytes().into()))),
        of("f", 3, 1, Some(1), Some((1.5_f64.to_le_bytes().into(), 1.5_f64.to_le_bytes().into()))),
        of("s", 3, 1, None, Some((b"b".to_vec(), long_upper))),
        of("d", 3, 1, None, Some((vec![0xff, 0x7f], vec![0]))),
        of("none", 3, 3, None, None),
        of("l.list.element", 4, 2, None, Some(((-3_i32).to_le_bytes().into(), 7_i32.to_le_bytes().into()))),
    ];
    let without_bytes: Vec<_> = facts.columns.iter().map(|column| ColumnFacts { encoded_bytes: None, ..column.clone() }).collect();
    assert_eq!(without_bytes, expected);
    let bytes: u64 = facts.columns.iter().map(|column| column.encoded_bytes.expect("Parquet knows")).sum();
    let of_file: i64 = metadata(&out.bytes).row_groups().iter().map(|group| group.compressed_size()).sum();
    assert_eq!(bytes, of_file as u64);
}

#[test]
fn dictionaries_are_looked_up() {
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([&b"x"[..], b"y"]));
    let keys = Int32Array::from(vec![Some(1), None, Some(0), Some(1)]);
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
    let read = round_trip(dictionary);
    assert_eq!(read.as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"y"[..]), None, Some(b"x"), Some(b"y")]);
}

#[test]
fn an_empty_dictionary_of_nulls_is_nulls() {
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values::<&[u8], _>([]));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::new_null(3), values));
    assert_eq!(round_trip(dictionary).null_count(), 3);
}

#[test]
fn a_dictionary_that_expands_is_written_piece_by_piece() {
    const ROWS: usize = 150;
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([vec![b'x'; 1 << 20]]));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; ROWS]), values));
    let schema = table(vec![Field::new("swelling", dictionary.data_type().clone(), true)]);
    let rows = batch(&schema, vec![dictionary]);
    assert_eq!(light_rows(&rows, 0, ROWS, PIECE_BYTES), 18, "halved from 150 until 32 MiB hold it");
    let mut encoder = shared(u64::MAX).open(&schema).expect("a dictionary");
    let mut out = Collected::default();
    encoder.write(&rows, 0..ROWS, &mut out).and_then(|()| encoder.finish(&mut out)).expect("150 MiB in pieces");
    assert_eq!(group_rows(&out.bytes).iter().sum::<i64>(), ROWS as i64);
}

#[test]
fn a_nested_row_too_large_for_the_writers_is_refused_by_name() {
    const MOST: usize = MAX_NESTED_ROW_BYTES as usize;
    let written = |cells: &[usize]| {
        let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(cells.iter().map(|bytes| vec![b'x'; *bytes])));
        let item = Arc::new(Field::new("item", DataType::Binary, true));
        let lists = ListArray::new(item, OffsetBuffer::from_lengths(cells.iter().map(|_| 1)), values, None);
        let schema = table(vec![Field::new("lists", lists.data_type().clone(), true)]);
        let mut encoder = shared(u64::MAX).open(&schema).expect("a list");
        let mut out = Collected::default();
        encoder.write(&batch(&schema, vec![Arc::new(lists)]), 0..cells.len(), &mut out)?;
        encoder.finish(&mut out).map(|_| group_rows(&out.bytes).iter().sum::<i64>())
    };
    // A list and its value count 8 bytes each.
    assert_eq!(written(&[MOST - 16]).expect("it just fits"), 1);
    assert_eq!(written(&[1, MOST / 2, 1, MOST / 2, MOST / 2]).expect("each row fits"), 5);
    let refused = written(&[1, MOST - 15]).expect_err("a byte too much").to_string();
    assert!(refused.starts_with("column \"lists\": a row takes more than 50331648 bytes, which is all"), "{refused}");
}

/// Each row fits, and so does what is buffered; together they would not.
#[test]
fn heavy_rows_are_not_buffered_with_each_other() {
    let lists = |items: &[usize]| {
        let values: ArrayRef = Arc::new(arrow_array::BooleanArray::from(vec![true; items.iter().sum()]));
        let item = Arc::new(Field::new("item", DataType::Boolean, true));
        ListArray::new(item, OffsetBuffer::from_lengths(items.iter().copied()), values, None)
    };
    let schema = table(vec![Field::new("lists", lists(&[1]).data_type().clone(), true)]);
    let mut encoder = shared(u64::MAX).open(&schema).expect("a list");
    let mut out = Collected::default();
    for items in [2_000_000, 4_400_000, 1_900_000, 1_900_000, 1_900_000] {
        encoder.write(&batch(&schema, vec![Arc::new(lists(&[items]))]), 0..1, &mut out).unwrap_or_else(|error| panic!("{items}: {error}"));
    }
    encoder.finish(&mut out).expect("collected");
    assert_eq!(group_rows(&out.bytes), [5]);
}

#[test]
fn what_conversion_makes_of_a_row_is_bounded_and_refused_by_name() {
    const MOST: usize = crate::limits::MAX_CONVERTED_BYTES as usize;
    let written = |logical: DataType, physical: ArrayRef| {
        let field = Field::new("c", logical, true);
        let (logical, physical_field) = (Arc::new(Schema::new(vec![field.clone()])), field.with_data_type(physical.data_type().clone()));
        let schema = Rc::new(TableSchema { table: "t".into(), logical, physical: Arc::new(Schema::new(vec![physical_field])) });
        let mut encoder = shared(u64::MAX).open(&schema).expect("a plain column");
        let mut out = Collected::default();
        encoder.write(&batch(&schema, vec![physical.clone()]), 0..physical.len(), &mut out)?;
        encoder.finish(&mut out).map(|_| group_rows(&out.bytes).iter().sum::<i64>())
    };
    let large = |bytes: usize| written(DataType::LargeBinary, Arc::new(arrow_array::LargeBinaryArray::from_iter_values([vec![0; bytes]])));
    let text = |cells: &[usize]| {
        let cells = BinaryArray::from_iter_values(cells.iter().map(|bytes| vec![0xff; *bytes]));
        written(DataType::Utf8, Arc::new(cells))
    };
    let named = |bytes: usize, keys: usize| {
        let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([vec![b'x'; bytes]]));
        let column: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::new(vec![0; keys].into(), values));
        written(column.data_type().clone(), column)
    };
    assert_eq!((large(MOST / 4 * 3), text(&[MOST / 3]), named(MOST - 16, 1)), (Ok(1), Ok(1), Ok(1)));
    assert_eq!((text(&[MOST / 6; 5]), named(MOST / 3, 5)), (Ok(5), Ok(5)), "rows that are large together go one by one");
    for refused in [large(MOST / 4 * 3 + 1), text(&[MOST / 3 + 1]), named(MOST, 1)] {
        let refused = refused.expect_err("a byte too much").to_string();
        assert!(refused.starts_with("column \"c\" of type ") && refused.contains("more than 67108864 bytes"), "{refused}");
    }
}

#[test]
fn few_rows_keep_no_large_message_alive() {
    let message = Buffer::from_vec(vec![0_u8; 1 << 20]);
    let (schema, _) = numbers(0);
    let mut encoder = shared(u64::MAX).open(&schema).expect("a plain column");
    let mut out = Collected::default();
    let mut write = |rows: usize, encoder: &mut Box<dyn Encode>| {
        let column = Int64Array::new(arrow_buffer::ScalarBuffer::new(message.clone(), 0, rows), None);
        encoder.write(&batch(&schema, vec![Arc::new(column)]), 0..rows, &mut out).expect("collected");
    };
    write(100, &mut encoder);
    assert_eq!((message.strong_count(), encoder.held_bytes()), (1, 800 + ARRAY_BYTES), "eight hundred bytes are copied");
    let small = Buffer::from_vec(vec![0_u8; 8 << 10]);
    let column = Int64Array::new(arrow_buffer::ScalarBuffer::new(small.clone(), 0, 100), None);
    encoder.write(&batch(&schema, vec![Arc::new(column)]), 0..100, &mut out).expect("collected");
    assert_eq!(small.strong_count(), 2, "a small message is kept");
    assert!(encoder.held_bytes() >= 800 + (4 << 10), "and counted");
}

/// Of values of more than 4 KiB neither footer nor page index name any: beside that they are like all others.
#[test]
fn long_values_of_fixed_width_have_no_statistics() {
    let check = |width: usize, has: bool| {
        let values: Vec<Vec<u8>> = (0..600_u32).map(|row| row.to_be_bytes().repeat(width / 4)).collect();
        let column: ArrayRef = Arc::new(arrow_array::FixedSizeBinaryArray::try_from_iter(values.iter()).expect("of one width"));
        let schema = table(vec![Field::new("f", column.data_type().clone(), true)]);
        let mut encoder = shared(u64::MAX).open(&schema).expect("a plain column");
        let mut out = Collected::default();
        encoder.write(&batch(&schema, vec![column.clone()]), 0..600, &mut out).expect("collected");
        encoder.relieve(&mut out).expect("collected");
        let pages = 600 * width / (1 << 20);
        let kept = encoder.held_bytes() - FILE_BYTES - CHUNK_METADATA_BYTES;
        assert!(kept >= pages * if has { 2 * width } else { 0 } && kept < (pages + 2) * (2 * MAX_STATISTICS_BYTES + 200), "{kept} bytes");
        encoder.finish(&mut out).expect("collected");
        assert_eq!(read(&out.bytes).iter().map(RecordBatch::num_rows).sum::<usize>(), 600);
        let footer = metadata(&out.bytes);
        let chunk = footer.row_group(0).column(0);
        let statistics = chunk.statistics().expect("of nulls");
        assert_eq!(
            (statistics.min_bytes_opt().is_some(), statistics.max_bytes_opt().is_some(), statistics.null_count_opt()),
            (has, has, Some(0))
        );
        assert_eq!((chunk.column_index_offset().is_some(), chunk.offset_index_offset().is_some()), (has, true));
    };
    check(MAX_STATISTICS_BYTES, true);
    check(MAX_STATISTICS_BYTES + 4, false);
}

#[test]
fn batches_whose_dictionaries_do_not_fit_one_key_are_written() {
    let numbered = |from: i64| -> ArrayRef {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 100));
        Arc::new(DictionaryArray::<Int8Type>::new(Int8Array::from_iter_values(0..100), values))
    };
    let schema = table(vec![Field::new("d", numbered(0).data_type().clone(), false)]);
    let mut encoder = shared(u64::MAX).open(&schema).expect("a dictionary");
    let mut out = Collected::default();
    for from in [0, 100, 200] {
        encoder.write(&batch(&schema, vec![numbered(from)]), 0..100, &mut out).expect("collected");
    }
    encoder.finish(&mut out).expect("collected");
    assert_eq!(read_numbers(&out.bytes), (0..300).collect::<Vec<_>>());
}

#[test]
fn a_null_in_a_required_column_is_refused_by_name() {
    let check = |array: ArrayRef| {
        let schema = table(vec![Field::new("must", array.data_type().clone(), false)]);
        let loose = RecordBatch::try_from_iter_with_nullable([("must", array, true)]).expect("one column");
        let mut encoder = shared(u64::MAX).open(&schema).expect("a plain type");
        let mut out = Collected::default();
        let error = encoder.write(&loose, 0..loose.num_rows(), &mut out).and_then(|()| encoder.finish(&mut out)).expect_err("a null");
        assert!(error.to_string().contains("\"must\" is declared not null"), "{error}");
    };
    check(Arc::new(Int64Array::from(vec![Some(1), None])));
    check(Arc::new(BinaryArray::from(vec![None, Some(&b"x"[..])])));
    // The null is one of the dictionary's values.
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
    check(Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0, 1]), values)));
}

#[test]
fn decimals_of_all_widths_are_refused_beyond_their_bytes() {
    let mut cases = 0;
    for (precision, bytes) in [(2, 1), (4, 2), (9, 4), (18, 8), (20, 9), (28, 12), (35, 15), (38, 16)] {
        let most = i128::MAX >> (8 * (16 - bytes));
        for (value, fits) in [
            (most, true),
            (most.wrapping_add(1), bytes == 16),
            (-most - 1, true),
            ((-most - 1).wrapping_sub(1), bytes == 16),
            (1 << 63, bytes > 8),
            (1 << 64, bytes > 8),
            (-(1 << 64), bytes > 8),
            (0, true),
            (-1, true),
        ] {
            let values = Decimal128Array::from(vec![value]).with_data_type(DataType::Decimal128(precision, 0));
            let schema = table(vec![Field::new("price", values.data_type().clone(), true)]);
            let rows = batch(&schema, vec![Arc::new(values)]);
            let mut encoder = shared(u64::MAX).open(&schema).expect("a decimal");
            let mut out = Collected::default();
            let result = encoder.write(&rows, 0..1, &mut out).and_then(|()| encoder.finish(&mut out));
            assert_eq!(result.is_ok(), fits, "{value} of {precision} digits in {bytes} bytes");
            cases += 1;
        }
    }
    assert_eq!(cases, 72);
}

#[test]
fn decimals_beyond_their_bytes_are_refused_and_others_kept() {
    let check = |value: i128, fits: bool| {
        // Three bytes: up to 8,388,607, though the precision says 99,999.
        let values = Decimal128Array::from(vec![None, Some(value)]).with_data_type(DataType::Decimal128(5, 2));
        let schema = table(vec![Field::new("price", values.data_type().clone(), true)]);
        let rows = batch(&schema, vec![Arc::new(values)]);
        let mut encoder = shared(u64::MAX).open(&schema).expect("a decimal");
        let mut out = Collected::default();
        let result = encoder.write(&rows, 0..2, &mut out).and_then(|()| encoder.finish(&mut out));
        match result {
            Ok(_) => assert!(fits, "{value}"),
            Err(error) => assert!(!fits && error.to_string().contains("\"price\"") && !error.to_string().contains("8388608"), "{error}"),
        }
    };
    for (value, fits) in
        [(8_388_607, true), (8_388_608, false), (-8_388_608, true), (-8_388_609, false), (i128::MAX, false), (i128::MIN, false)]
    {
        check(value, fits);
    }
    let wide = Decimal256Array::from(vec![i256::from_i128(1 << 40), i256::from_i128(-1)]).with_data_type(DataType::Decimal256(5, 0));
    let schema = table(vec![Field::new("wide", wide.data_type().clone(), true)]);
    let rows = batch(&schema, vec![Arc::new(wide)]);
    let mut out = Collected::default();
    let mut write = |range| {
        let mut encoder = shared(u64::MAX).open(&schema).expect("a decimal");
        encoder.write(&rows, range, &mut out).and_then(|()| encoder.finish(&mut out))
    };
    assert!(write(0..1).is_err() && write(1..2).is_ok());
}

#[test]
fn columns_that_parquet_has_no_type_for_are_text() {
    let check = |array: ArrayRef, expected: &[Option<&str>]| {
        assert_eq!(round_trip(array).as_string::<i32>().iter().collect::<Vec<_>>(), expected);
    };
    let durations = arrow_array::DurationMicrosecondArray::from(vec![Some(-5), None, Some(70)]);
    assert_eq!(durations.data_type(), &DataType::Duration(TimeUnit::Microsecond));
    check(Arc::new(durations), &[Some("-5us"), None, Some("70us")]);
    let months = arrow_array::IntervalYearMonthArray::from(vec![Some(14), None]);
    assert_eq!(months.data_type(), &DataType::Interval(IntervalUnit::YearMonth));
    check(Arc::new(months), &[Some("14"), None]);
    check(Arc::new(arrow_array::LargeBinaryArray::from(vec![Some(&b"\x00\xff"[..]), None])), &[Some("AP8="), None]);
}

#[test]
fn plans_are_remembered_for_so_many_leaves() {
    let mut shared = shared(1);
    let wide = |name: &str| table((0..PLANNED_LEAVES / 4).map(|at| Field::new(format!("{name}{at}"), DataType::Int8, true)).collect());
    let schemas: Vec<_> = (0..6).map(|at| wide(&at.to_string())).collect();
    for schema in &schemas {
        shared.shape(schema).expect("plain columns");
    }
    let known: Vec<bool> = schemas.iter().map(|schema| Rc::strong_count(schema) > 1).collect();
    assert_eq!(known, [false, false, true, true, true, true]);
}

/// Writes one column and reads it back.
fn round_trip(array: ArrayRef) -> ArrayRef {
    let schema = table(vec![Field::new("c", array.data_type().clone(), true)]);
    let rows = batch(&schema, vec![array]);
    let mut out = Collected::default();
    let mut encoder = shared(u64::MAX).open(&schema).expect("a column that fits");
    encoder.write(&rows, 0..rows.num_rows(), &mut out).expect("collected");
    encoder.finish(&mut out).expect("collected");
    let read = read(&out.bytes);
    read.first().expect("rows").column(0).clone()
}

fn check_column(array: ArrayRef) {
    assert_eq!(&round_trip(array.clone()), &array);
}

type Nested = Vec<Option<Vec<Option<i64>>>>;

/// One row of the property test's table.
type Row = (Option<i64>, Option<Vec<u8>>, Nested, Option<Vec<Option<i64>>>, Option<[Option<i64>; 2]>, Vec<(u8, Option<f64>)>);

fn row() -> impl Strategy<Value = Row> {
    let cell = || proptest::option::of(0..20_i64);
    (
        cell(),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        proptest::collection::vec(proptest::option::of(proptest::collection::vec(cell(), 0..3)), 0..3),
        proptest::option::of(proptest::collection::vec(cell(), 0..4)),
        proptest::option::of([cell(), cell()]),
        proptest::collection::vec((any::<u8>(), proptest::option::of(-1e9..1e9_f64)), 0..3),
    )
}

/// The rows as columns: number, bytes, list of lists, struct of a large list and a fixed-size list, map.
fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    let mut lists = ListBuilder::new(ListBuilder::new(Int64Builder::new()));
    let mut large = LargeListBuilder::new(Int64Builder::new());
    let mut fixed = FixedSizeListBuilder::new(Int64Builder::new(), 2);
    let mut map = MapBuilder::new(None, BinaryBuilder::new(), arrow_array::builder::Float64Builder::new());
    for (_, _, outer, numbers, pair, entries) in rows {
        for inner in outer {
            lists.values().append_option(inner.clone());
        }
        lists.append(!outer.is_empty());
        large.append_option(numbers.clone());
        fixed.values().append_slice(&[0; 0]);
        pair.unwrap_or_default().iter().for_each(|cell| fixed.values().append_option(*cell));
        fixed.append(pair.is_some());
        for (key, value) in entries {
            map.keys().append_value([*key]);
            map.values().append_option(*value);
        }
        map.append(!entries.is_empty()).expect("as many keys as values");
    }
    let pair: Vec<(&str, ArrayRef)> = vec![("large", Arc::new(large.finish())), ("fixed", Arc::new(fixed.finish()))];
    vec![
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))),
        Arc::new(BinaryArray::from_iter(rows.iter().map(|row| row.1.as_deref()))),
        Arc::new(lists.finish()),
        Arc::new(StructArray::try_from(pair).expect("equal lengths")),
        Arc::new(map.finish()),
    ]
}

/// A value as text, whatever the list type it is kept in.
fn shown(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    let all = |values: ArrayRef| format!("[{}]", (0..values.len()).map(|at| shown(&values, at)).collect::<Vec<_>>().join(","));
    match array.data_type() {
        DataType::Int64 => array.as_primitive::<arrow_array::types::Int64Type>().value(row).to_string(),
        DataType::Float64 => array.as_any().downcast_ref::<Float64Array>().expect("floats").value(row).to_string(),
        DataType::Binary => format!("{:?}", array.as_binary::<i32>().value(row)),
        DataType::List(_) => all(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => all(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => all(array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|child| shown(child, row)).collect::<Vec<_>>().join(";"),
        DataType::Map(_, _) => all(Arc::new(array.as_map().value(row))),
        other => panic!("the test has no column of {other}"),
    }
}

fn shown_rows(batches: &[RecordBatch]) -> Vec<String> {
    let row = |batch: &RecordBatch, row| batch.columns().iter().map(|column| shown(column, row)).collect::<Vec<_>>().join(" | ");
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |at| row(batch, at))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn rows_come_back_however_they_are_cut(
        rows in proptest::collection::vec(row(), 1..80),
        cuts in proptest::collection::vec((1..40_usize, any::<bool>()), 1..12),
        most in prop_oneof![Just(u64::MAX), 1..30_u64],
    ) {
        let arrays = columns(&rows);
        let fields = arrays.iter().enumerate().map(|(at, array)| Field::new(format!("c{at}"), array.data_type().clone(), true));
        let schema = table(fields.collect());
        let all = batch(&schema, arrays);
        let write = || {
            let (mut out, mut start) = (Collected::default(), 0);
            let mut encoder = shared(most).open(&schema).expect("types that fit");
            for (count, relieved) in cuts.iter().cycle() {
                let end = (start + count).min(all.num_rows());
                encoder.write(&all, start..end, &mut out).expect("collected");
                if *relieved {
                    encoder.relieve(&mut out).expect("collected");
                }
                start = end;
                if start == all.num_rows() {
                    break;
                }
            }
            encoder.finish(&mut out).expect("collected");
            out.bytes
        };
        let file = write();
        prop_assert!(group_rows(&file).iter().all(|rows| *rows as u64 <= most));
        prop_assert_eq!(shown_rows(&read(&file)), shown_rows(std::slice::from_ref(&all)));
        prop_assert!(file == write(), "one input, one output");
    }
}

/// The lower and the upper bound of a page, and its rows.
type PageBounds = (Option<Vec<u8>>, Option<Vec<u8>>, usize);

/// Bounds of a column's pages, as its column index has them.
fn page_bounds(file: &[u8], column: usize) -> Vec<PageBounds> {
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(::parquet::file::metadata::PageIndexPolicy::Required)
        .parse_and_finish(&Bytes::copy_from_slice(file))
        .expect("a footer with a page index");
    let mut pages = Vec::new();
    for (group, rows) in metadata.row_groups().iter().enumerate() {
        let index = metadata.page_index_for_row_group(group);
        let locations = index.page_locations(column).expect("an offset index");
        let ends = locations.iter().skip(1).map(|page| page.first_row_index).chain([rows.num_rows()]);
        let bytes = |page: usize| match index.column_index(column).expect("a column index") {
            ColumnIndexMetaData::INT32(index) => bound(index.min_value(page), index.max_value(page), |value| value.to_le_bytes().to_vec()),
            ColumnIndexMetaData::INT64(index) => bound(index.min_value(page), index.max_value(page), |value| value.to_le_bytes().to_vec()),
            ColumnIndexMetaData::BYTE_ARRAY(index) => bound(index.min_value(page), index.max_value(page), |value| value.to_vec()),
            ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index) => bound(index.min_value(page), index.max_value(page), |value| value.to_vec()),
            other => panic!("no bounds: {other:?}"),
        };
        for (page, (location, end)) in locations.iter().zip(ends).enumerate() {
            let (low, high) = bytes(page);
            pages.push((low, high, (end - location.first_row_index) as usize));
        }
    }
    pages
}

fn bound<T>(low: Option<T>, high: Option<T>, bytes: impl Fn(T) -> Vec<u8>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    (low.map(&bytes), high.map(&bytes))
}

/// A column comes back as it went in, over pages, row groups and a dictionary that overflows; and each page's bounds hold its values.
fn check_flat<T: Ord + Clone>(name: &str, array: ArrayRef, value: impl Fn(&ArrayRef, usize) -> Option<T>, decode: impl Fn(&[u8]) -> T) {
    let schema = table(vec![Field::new("c", array.data_type().clone(), true)]);
    let rows = array.len();
    let mut out = Collected::default();
    let mut encoder = shared(45_000).open(&schema).expect("a plain column");
    encoder.write(&batch(&schema, vec![array.clone()]), 0..rows, &mut out).expect("collected");
    encoder.finish(&mut out).expect("collected");
    let file = out.bytes;
    let back = read(&file);
    let read: Vec<Option<T>> = back.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| value(batch.column(0), row))).collect();
    let expected: Vec<Option<T>> = (0..rows).map(|row| value(&array, row)).collect();
    assert!(read == expected, "{name}: the values differ");
    let mut start = 0;
    let pages = page_bounds(&file, 0);
    for (low, high, count) in &pages {
        let inside: Vec<&T> = expected[start..start + count].iter().flatten().collect();
        start += count;
        match (inside.iter().min(), inside.iter().max()) {
            (Some(least), Some(most)) => {
                assert!(decode(low.as_deref().expect("a bound")) <= **least, "{name}");
                assert!(decode(high.as_deref().expect("a bound")) >= **most, "{name}");
            }
            _ => assert_eq!((low, high), (&None, &None), "{name}: a page of nulls has no bounds"),
        }
    }
    assert_eq!(start, rows, "{name}");
    assert!(pages.len() >= rows / 20_000, "{name}: {} pages", pages.len());
}

#[test]
fn flat_columns_come_back_and_their_pages_keep_within_their_bounds() {
    const ROWS: i64 = 100_000;
    let null = |row: i64| row % 7 == 3 || (60_000..85_000).contains(&row);
    let mixed = |row: i64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64).rotate_left(17);
    let int = |array: &ArrayRef, row: usize| array.is_valid(row).then(|| array.as_primitive::<arrow_array::types::Int64Type>().value(row));
    let int_of = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    for (name, of) in [
        ("few", Box::new(|row: i64| row % 50) as Box<dyn Fn(i64) -> i64>),
        ("runs", Box::new(|row| row / 1_000)),
        ("many", Box::new(mixed)),
        // Repeats within the sample that chooses, and outgrows a dictionary later on.
        ("overflow", Box::new(move |row| if row < 20_000 { row % 100 } else { mixed(row) })),
    ] {
        let array: ArrayRef = Arc::new(Int64Array::from_iter((0..ROWS).map(|row| (!null(row)).then(|| of(row)))));
        check_flat(name, array, int, int_of);
        let array: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(of)));
        check_flat(&format!("{name} without nulls"), array.slice(11, ROWS as usize - 11), int, int_of);
    }

    let unsigned: ArrayRef = Arc::new(arrow_array::UInt32Array::from_iter((0..ROWS).map(|row| (!null(row)).then(|| mixed(row) as u32))));
    let value =
        |array: &ArrayRef, row: usize| array.is_valid(row).then(|| array.as_primitive::<arrow_array::types::UInt32Type>().value(row));
    check_flat("unsigned", unsigned, value, |bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));

    for (precision, name) in [(15, "decimal"), (30, "wide decimal")] {
        let array = Decimal128Array::from_iter((0..ROWS).map(|row| (!null(row)).then(|| i128::from(mixed(row) % 1_000_000_000_000))));
        let array: ArrayRef = Arc::new(array.with_precision_and_scale(precision, 2).expect("they fit"));
        let value = |array: &ArrayRef, row: usize| {
            array.is_valid(row).then(|| array.as_primitive::<arrow_array::types::Decimal128Type>().value(row))
        };
        check_flat(name, array, value, |bytes| {
            let sign = if bytes[0] & 0x80 == 0 { 0 } else { u8::MAX };
            let mut whole = [sign; 16];
            whole[16 - bytes.len()..].copy_from_slice(bytes);
            i128::from_be_bytes(whole)
        });
    }

    let bytes = |array: &ArrayRef, row: usize| array.is_valid(row).then(|| array.as_binary::<i32>().value(row).to_vec());
    for (name, of) in [
        ("few texts", Box::new(|row: i64| format!("state {}", row % 60)) as Box<dyn Fn(i64) -> String>),
        ("many texts", Box::new(move |row| format!("{:x}", mixed(row)))),
        ("long texts", Box::new(move |row| format!("{}{:x}", "\u{10ffff}é".repeat(12), mixed(row)))),
        ("overflowing texts", Box::new(move |row| if row < 20_000 { format!("{}", row % 100) } else { format!("text {:x}", mixed(row)) })),
    ] {
        let array: ArrayRef = Arc::new(BinaryArray::from_iter((0..ROWS).map(|row| (!null(row)).then(|| of(row)))));
        check_flat(name, array, bytes, <[u8]>::to_vec);
    }
    let fixed = arrow_array::FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        (0..ROWS).map(|row| (!null(row)).then(|| mixed(row).to_be_bytes()[..5].to_vec())),
        5,
    );
    let value = |array: &ArrayRef, row: usize| array.is_valid(row).then(|| array.as_fixed_size_binary().value(row).to_vec());
    check_flat("fixed bytes", Arc::new(fixed.expect("five bytes each")), value, <[u8]>::to_vec);
}

/// One row of a column in a file, or the error with which it is refused.
fn one_column(field: Field, column: ArrayRef) -> Result<RecordBatch, String> {
    let schema = table(vec![field]);
    let rows = batch(&schema, vec![column]);
    let mut encoder = shared(u64::MAX).open(&schema).map_err(|error| error.to_string())?;
    let mut out = Collected::default();
    encoder.write(&rows, 0..rows.num_rows(), &mut out).and_then(|()| encoder.finish(&mut out)).map_err(|error| error.to_string())?;
    Ok(read(&out.bytes).remove(0))
}

#[test]
fn counts_of_time_that_parquet_cannot_hold_fail_by_name() {
    use arrow_array::{
        Date32Array, Date64Array, Time32MillisecondArray, Time32SecondArray, TimestampMillisecondArray, TimestampSecondArray,
    };
    let last_seconds = i64::MAX / 1_000;
    let last_day = i64::from(i32::MAX) * 86_400_000;
    let check = |ty: DataType, good: ArrayRef, expected: ArrayRef, bad: ArrayRef| {
        let found = one_column(Field::new("v", ty.clone(), true), good).expect("it fits");
        assert_eq!(found.column(0).to_data(), expected.to_data(), "{ty}");
        let message = one_column(Field::new("v", ty.clone(), true), bad).expect_err("it does not fit");
        assert!(message.contains("column \"v\" of type") && message.contains("does not fit the"), "{ty}: {message}");
    };
    check(
        DataType::Timestamp(TimeUnit::Second, None),
        Arc::new(TimestampSecondArray::from(vec![Some(last_seconds), None, Some(-last_seconds)])),
        Arc::new(TimestampMillisecondArray::from(vec![Some(last_seconds * 1_000), None, Some(-last_seconds * 1_000)])),
        Arc::new(TimestampSecondArray::from(vec![0, last_seconds + 1])),
    );
    check(
        DataType::Time32(TimeUnit::Second),
        Arc::new(Time32SecondArray::from(vec![86_399, i32::MAX / 1_000])),
        Arc::new(Time32MillisecondArray::from(vec![86_399_000, i32::MAX / 1_000 * 1_000])),
        Arc::new(Time32SecondArray::from(vec![i32::MIN])),
    );
    check(
        DataType::Date64,
        Arc::new(Date64Array::from(vec![Some(last_day), None, Some(-86_400_000)])),
        Arc::new(Date32Array::from(vec![Some(i32::MAX), None, Some(-1)])),
        Arc::new(Date64Array::from(vec![last_day + 86_400_000])),
    );
}

/// A value of a page's size or more is compressed from where it lies: alone in its page, and no dictionary takes it or what comes after it.
#[test]
fn large_values_have_pages_of_their_own() {
    let large = |letter: u8| vec![letter; (1 << 20) + 17];
    let (a, b) = (large(b'a'), large(b'b'));
    let rows: Vec<Option<&[u8]>> =
        vec![Some(b"x"), Some(b"x"), None, Some(&a), Some(b"x"), Some(&b), Some(&a), None, Some(b"y"), Some(b"x"), Some(b"x")];
    for nullable in [true, false] {
        let rows: Vec<Option<&[u8]>> = rows.iter().copied().filter(|row| nullable || row.is_some()).collect();
        for ty in [DataType::Utf8, DataType::Binary] {
            let column: ArrayRef = Arc::new(BinaryArray::from(rows.clone()));
            let found = one_column(Field::new("v", ty.clone(), nullable), column).expect("it is held");
            let array = found.column(0);
            let found: Vec<Option<Vec<u8>>> = match array.as_binary_opt::<i32>() {
                Some(values) => values.iter().map(|value| value.map(<[u8]>::to_vec)).collect(),
                None => array.as_string::<i32>().iter().map(|value| value.map(|text| text.as_bytes().to_vec())).collect(),
            };
            let expected: Vec<Option<Vec<u8>>> = rows.iter().map(|row| row.map(<[u8]>::to_vec)).collect();
            assert!(found == expected, "{ty}, nullable: {nullable}");
        }
    }
}
