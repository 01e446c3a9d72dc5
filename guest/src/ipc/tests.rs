use super::*;
use crate::testing::sharing_one_name;
use arrow_array::types::{Int32Type, UInt8Type};
use arrow_array::{Array, DictionaryArray, RecordBatch, cast::AsArray};
use arrow_array::{BinaryArray, FixedSizeListArray, Int8Array, Int64Array, ListArray, ListViewArray, NullArray, StringArray, StructArray};
use arrow_array::{BinaryViewArray, LargeBinaryArray, TimestampMicrosecondArray, UInt16Array};
use arrow_array::{BooleanArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, Float64Array, IntervalMonthDayNanoArray};
use arrow_buffer::{IntervalMonthDayNano, OffsetBuffer, i256};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use proptest::prelude::*;
use std::sync::Arc;

fn named(fields: Vec<Field>, table: &str) -> Schema {
    Schema::new_with_metadata(fields, HashMap::from([("cq:table_name".to_owned(), table.to_owned())]))
}

fn extension(field: Field, name: &str, metadata: &str) -> Field {
    field.with_metadata(HashMap::from([
        ("ARROW:extension:name".to_owned(), name.to_owned()),
        ("ARROW:extension:metadata".to_owned(), metadata.to_owned()),
    ]))
}

fn stream(schema: &Schema, batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema).expect("a schema");
    for batch in batches {
        writer.write(batch).expect("a batch");
    }
    writer.into_inner().expect("a stream")
}

fn sample() -> (Schema, Vec<u8>) {
    let dictionary: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
    let schema = named(
        vec![
            Field::new("id", DataType::Int64, false),
            Field::new("s", DataType::Utf8, true),
            Field::new("d", dictionary.data_type_of(), true),
        ],
        "t",
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(StringArray::from(vec![Some("x"), None, Some("yz")])),
        Arc::new(dictionary),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("a batch");
    let bytes = stream(&schema, &[batch.clone(), batch]);
    (schema, bytes)
}

trait TypeOf {
    fn data_type_of(&self) -> DataType;
}

impl<T: arrow_array::Array> TypeOf for T {
    fn data_type_of(&self) -> DataType {
        self.data_type().clone()
    }
}

#[test]
fn decodes_text_as_bytes_and_every_batch_in_order() {
    let (sent, bytes) = sample();
    let mut decoder = Decoder::default();
    let (schema, rows) = decoder.decode(bytes.clone()).expect("rows");
    assert_eq!((schema.table.as_str(), schema.logical.fields()), ("t", sent.fields()));
    assert_eq!(rows.len(), 2);
    for it in &rows {
        assert_eq!(it.batch.num_rows(), 3);
        let text: &BinaryArray = it.batch.column(1).as_binary();
        assert_eq!(text.iter().collect::<Vec<_>>(), [Some(&b"x"[..]), None, Some(b"yz")]);
        let values = it.batch.column(2).as_dictionary::<Int32Type>();
        assert_eq!(values.values().data_type(), &DataType::Binary);
        assert_eq!(values.keys().values().as_ref(), [0, 1, 0]);
    }
    let again = decoder.decode(bytes.clone()).expect("rows").0;
    assert!(Rc::ptr_eq(&schema, &again), "the second message with these bytes shares the first one's schema");
    assert!(Rc::ptr_eq(&schema, &decoder.schema(&bytes).expect("a schema")));
}

#[test]
fn counts_the_lengths_of_the_buffers() {
    let (_, bytes) = sample();
    let rows = Decoder::default().decode(bytes).expect("rows").1;
    // The writer states unpadded lengths: id 24; s 1 + 16 + 3; d 12. Absent validity has none.
    assert_eq!(rows[0].bytes, 56);
}

#[test]
fn refuses_what_is_not_a_table() {
    let check = |schema: Schema, expected: &str| {
        let error = Decoder::default().schema(&stream(&schema, &[])).expect_err(expected);
        assert!(error.0.contains(expected), "{error}");
    };
    let column = |data_type| Field::new("c", data_type, true);
    check(Schema::new(vec![column(DataType::Int8)]), "missing table name");
    check(named(vec![], ""), "missing table name");
    check(named(vec![], &"t".repeat(5_000)), "the table's name has more than 4096 bytes");
    check(named(vec![Field::new("c".repeat(5_000), DataType::Int8, true)], "t"), "a column's name has more than 4096 bytes");
    check(named(vec![column(DataType::Int8); 10_001], "t"), "more than 10000 columns");
    check(named(vec![extension(column(DataType::Utf8), "json", &"m".repeat(1 << 20))], "t"), "metadata has more than");
    check(named(vec![extension(column(DataType::Utf8), "json", "json-serialized")], "t"), "json is to be stored as Binary");
    check(named(vec![extension(column(DataType::FixedSizeBinary(15)), "uuid", "uuid-serialized")], "t"), "FixedSizeBinary(16)");
    check(named(vec![extension(column(DataType::Binary), "inet", "x")], "t"), "\"inet-serialized\"");
    let list = DataType::List(Arc::new(extension(column(DataType::Binary), "mac", "")));
    check(named(vec![column(list)], "t"), "\"mac-serialized\"");
    let deep = (0..32).fold(DataType::Int8, |inner, _| DataType::List(Arc::new(Field::new("item", inner, true))));
    check(named(vec![column(deep)], "t"), "more than 32 levels");
}

#[test]
fn takes_the_deepest_schema_it_promises() {
    let deep = (1..32).fold(DataType::Utf8, |inner, _| DataType::List(Arc::new(Field::new("item", inner, true))));
    let schema = named(vec![Field::new("c", deep, true)], "t");
    assert!(Decoder::default().schema(&stream(&schema, &[])).is_ok());
}

#[test]
fn takes_the_widest_schema_it_promises() {
    let names = |bytes: usize| -> Vec<Field> {
        (0..crate::limits::MAX_COLUMNS).map(|at| Field::new(format!("{at:0>bytes$}"), DataType::Utf8, true)).collect()
    };
    let most = crate::limits::MAX_NAMES_BYTES / crate::limits::MAX_COLUMNS;
    let mut schema = named(names(most), "t");
    let filler = crate::limits::MAX_METADATA_BYTES - "cq:table_namet".len() - 1;
    schema.metadata.insert("m".to_owned(), "x".repeat(filler));
    let bytes = stream(&schema, &[]);
    let mut decoder = Decoder::default();
    let decoded = decoder.schema(&bytes).expect("10,000 columns and 1 MiB of metadata");
    assert_eq!(decoded.logical.fields().len(), crate::limits::MAX_COLUMNS);
    // It is not kept beside others, but found again while it comes again and again.
    assert!(decoder.schemas.is_empty() && Rc::ptr_eq(&decoded, &decoder.schema(&bytes).expect("the same")));
    let error = Decoder::default().schema(&stream(&named(names(most + 1), "t"), &[])).expect_err("too many names").0;
    assert_eq!(error, "the sum of the columns' names has more than 8388608 bytes");
}

#[test]
fn headers_that_point_at_one_text_again_and_again_are_refused_before_it_is_copied() {
    let read = |fields: usize, name_bytes: usize, pairs: usize| {
        let message = sharing_one_name(fields, name_bytes, pairs);
        [Decoder::default().schema(&message).map(|_| ()), Decoder::default().decode(message).map(|_| ())]
    };
    assert_eq!(read(100, 60, 0), [Ok(()), Ok(())], "a name of usual length may be shared");
    // 1.3 MB that stand for 1.1 GiB; the same of metadata; and what would be a schema within its bounds.
    for (fields, name_bytes, pairs) in [(20_000, 60 << 10, 0), (1, 60 << 10, 10_000), (3_000, 2_500, 0)] {
        for refused in read(fields, name_bytes, pairs) {
            let error = refused.expect_err("more than its length").0;
            assert!(error.contains("pparent size"), "{error}");
        }
    }
    let error = Decoder::default().schema(&sharing_one_name(1, 17 << 20, 0)).expect_err("a long frame").0;
    assert_eq!(error, "the schema has more than 16777216 bytes");
}

#[test]
fn every_truncation_is_an_error_or_ends_between_frames() {
    let (_, bytes) = sample();
    let mut decoder = Decoder::default();
    for end in 0..bytes.len() {
        if let Ok((_, rows)) = decoder.decode(bytes[..end].to_vec()) {
            assert!(rows.iter().all(|it| it.batch.num_rows() == 3), "at {end}");
        }
    }
}

proptest! {
    /// Whatever bytes are changed, the answer is rows or an error; each batch that comes out can be walked.
    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (_, mut bytes) = sample();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok((_, rows)) = Decoder::default().decode(bytes) {
            for it in rows {
                for column in it.batch.columns() {
                    prop_assert_eq!(column.len(), it.batch.num_rows());
                    column.to_data().validate_full().ok();
                }
            }
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Decoder::default().schema(&bytes);
        let _ = Decoder::default().decode(bytes);
    }
}

/// Columns of every flat kind, with nulls and without.
fn flat_sample() -> Vec<u8> {
    let decimals = Decimal128Array::from(vec![Some(-1), None, Some(123)]).with_precision_and_scale(10, 2).expect("a decimal");
    let times = TimestampMicrosecondArray::from(vec![Some(1), Some(-1), None]).with_timezone("Europe/Zurich");
    let fixed =
        FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([1; 16]), None, Some([3; 16])].into_iter(), 16).expect("of 16 bytes");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![1, 2, 3])),
        Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        Arc::new(UInt16Array::from(vec![1, 2, 3])),
        Arc::new(Float64Array::from(vec![Some(0.5), None, None])),
        Arc::new(BooleanArray::from(vec![true, false, true])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(decimals),
        Arc::new(Decimal256Array::from(vec![i256::ONE, i256::ZERO, i256::MINUS_ONE])),
        Arc::new(times),
        Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3); 3])),
        Arc::new(fixed),
        Arc::new(StringArray::from(vec![Some("x"), None, Some("yz")])),
        Arc::new(LargeBinaryArray::from_iter_values([&b"a"[..], b"", b"bc"])),
    ];
    let fields = columns.iter().enumerate().map(|(at, column)| Field::new(format!("c{at}"), column.data_type().clone(), true));
    let schema = named(fields.collect(), "t");
    stream(&schema, &[RecordBatch::try_new(Arc::new(schema.clone()), columns).expect("a batch")])
}

/// What [`flat`] and the crate's reader make of the batch of a stream, if its columns are flat and it gets that far.
fn read_twice(bytes: Vec<u8>) -> Option<[Option<RecordBatch>; 2]> {
    let stream = Buffer::from_vec(bytes);
    let first = first_frame(&stream).ok()?;
    let header = first.header(&stream);
    let Known { schema, body_length, flat_row_names } = Decoder::default().known(&header, || header.clone()).ok()?;
    let (_, at) = first.body(stream.len(), body_length).ok()?;
    let frame = Frame::at(&stream, at).ok()??;
    let header = frame.header(&stream);
    let message = message(&header).ok()?;
    let (start, end) = frame.body(stream.len(), message.bodyLength()).ok()?;
    let body = stream.slice_with_length(start, end - start);
    let batch = message.header_as_record_batch()?;
    check_batch(batch, body.len()).ok().zip(flat_row_names)?;
    let slow = || read_record_batch(&body, batch, schema.physical.clone(), &HashMap::new(), None, &message.version()).ok();
    Some([flat::read(&schema.physical, batch, &body), check_columns(&schema.physical, batch, &body).ok().and_then(|()| slow())])
}

/// Each byte of a stream of flat columns, changed in four ways: what is made of it is what the crate's reader makes of it.
#[test]
fn flat_columns_are_what_the_reader_makes() {
    let sample = flat_sample();
    let [fast, slow] = read_twice(sample.clone()).expect("flat columns");
    assert!(fast.is_some() && fast == slow);
    let (mut taken, mut left) = (0, 0);
    for at in 0..sample.len() {
        for change in [1, 2, 128, 255] {
            let mut bytes = sample.clone();
            bytes[at] ^= change;
            match read_twice(bytes) {
                Some([Some(fast), slow]) => {
                    // A bit of a float may make it unequal to itself; what is written is compared.
                    let [fast, slow] =
                        [Some(fast), slow].map(|batch| batch.map(|batch| stream(batch.schema_ref(), std::slice::from_ref(&batch))));
                    assert!(fast == slow, "byte {at} by {change}");
                    taken += 1;
                }
                Some([None, Some(_)]) => left += 1,
                _ => {}
            }
        }
    }
    // Padding, names and values may be anything.
    assert!(taken > sample.len() && left < 40, "{taken} taken, {left} left to the reader, who took them");
}

/// The budgets of names hold for flat columns too.
#[test]
fn flat_rows_times_names_are_bounded() {
    let rows = |count: usize| {
        let schema = named(vec![Field::new("n".repeat(4_000), DataType::Boolean, false); 10], "t");
        let column: ArrayRef = Arc::new(BooleanArray::from(vec![true; count]));
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![column; 10]).expect("booleans");
        Decoder::default().decode(stream(&schema, &[batch])).map(|(_, rows)| rows.len())
    };
    let most = crate::limits::MAX_NAME_TEXT_BYTES as usize / 40_088;
    assert_eq!(rows(most), Ok(1));
    let error = rows(most + 1).expect_err("too much text").0;
    assert!(error.contains("column \"nnn") || error.contains("of separators hold"), "{error}");
}

#[test]
fn golden_inputs_decode() {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/cases");
    let mut count = 0;
    for case in std::fs::read_dir(cases).expect("golden cases") {
        let path = case.expect("a case").path().join("input.arrows");
        let bytes = std::fs::read(&path).expect("an input");
        let (schema, rows) = Decoder::default().decode(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!schema.table.is_empty() && !rows.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 10, "{count} cases");
}

/// A decoded stream of one column, declared as `field` and sent as `column`.
fn decoded(field: Field, column: ArrayRef) -> Result<Vec<Rows>, IpcError> {
    let schema = named(vec![field], "t");
    let rows = column.len();
    let loose = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::new(loose), vec![column], &options).expect("one column");
    Decoder::default().decode(stream(&schema, &[batch])).map(|(_, rows)| rows)
}

fn field_of(column: &ArrayRef) -> Field {
    Field::new("c", column.data_type().clone(), true)
}

#[test]
fn nulls_in_columns_declared_without_are_taken_as_they_are() {
    let strict = |column: &ArrayRef| Field::new("c", column.data_type().clone(), false);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let rows = decoded(strict(&numbers), numbers).expect("a null is no matter of decoding");
    assert!(rows[0].batch.column(0).is_null(1) && rows[0].batch.schema().field(0).is_nullable());

    // Declared strict all the way down, and null at every level.
    let values = StructArray::from(vec![(
        Arc::new(Field::new("n", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
    )]);
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    let list: ArrayRef =
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2, 0]), Arc::new(values), Some(vec![true, false].into())));
    let declared = DataType::Struct(vec![Field::new("n", DataType::Int64, false)].into());
    let declared = DataType::List(Arc::new(Field::new("item", declared, false)));
    let rows = decoded(Field::new("c", declared, false), list).expect("nulls at every level");
    let list = rows[0].batch.column(0).as_list::<i32>();
    assert!(list.is_null(1) && list.values().as_struct().column(0).is_null(1));
}

#[test]
fn the_keys_of_a_map_keep_what_is_declared() {
    let pair =
        |key: bool| DataType::Struct(vec![Field::new("key", DataType::Int8, key), Field::new("value", DataType::Int8, false)].into());
    let map = |key| Field::new("c", DataType::Map(Arc::new(Field::new("entries", pair(key), false)), false), false);
    for key in [false, true] {
        let schema = Decoder::default().schema(&stream(&named(vec![map(key)], "t"), &[])).expect("a schema");
        let field = schema.physical.field(0);
        let DataType::Map(entries, _) = field.data_type() else { panic!("a map") };
        let DataType::Struct(fields) = entries.data_type() else { panic!("entries") };
        assert_eq!((field.is_nullable(), entries.is_nullable()), (true, false));
        assert_eq!((fields[0].is_nullable(), fields[1].is_nullable()), (key, true));
    }
}

/// The streams in which one number `from` is one more.
fn each_one_more(stream: &[u8], from: i64) -> Vec<Vec<u8>> {
    let places = (0..stream.len() - 7).filter(|at| stream[*at..at + 8] == from.to_le_bytes());
    let changed = places.map(|at| [&stream[..at], &(from + 1).to_le_bytes(), &stream[at + 8..]].concat());
    changed.collect()
}

/// The decoder would panic on each of these, once it has been found not to be too short.
#[test]
fn buffers_that_are_no_whole_number_of_their_parts_are_refused() {
    let short = |count: usize| -> ArrayRef { Arc::new(BinaryViewArray::from_iter_values(vec![b"x"; count])) };
    let list_views = || {
        let (offsets, sizes) = (vec![0_i32; 11], vec![0_i32; 11]);
        ListViewArray::new(
            Arc::new(Field::new("item", DataType::Null, true)),
            offsets.into(),
            sizes.into(),
            Arc::new(NullArray::new(0)),
            None,
        )
    };
    let keyed = |values: ArrayRef| DictionaryArray::<UInt8Type>::new(vec![0; 3].into(), values);
    let in_struct = StructArray::from(vec![(Arc::new(Field::new("v", DataType::BinaryView, true)), short(11))]);
    // The column, how many bytes the buffer has, and how many one of its parts.
    let cases: [(ArrayRef, i64, i64); 9] = [
        (short(11), 11 * 16, 16),
        (Arc::new(in_struct), 11 * 16, 16),
        (Arc::new(keyed(short(11))), 11 * 16, 16),
        (Arc::new(BinaryArray::from_iter_values(vec![b"x"; 9])), 10 * 4, 4),
        (Arc::new(LargeBinaryArray::from_iter_values(vec![b"x"; 10])), 11 * 8, 8),
        (Arc::new(keyed(Arc::new(BinaryArray::from_iter_values(vec![b"x"; 9])))), 10 * 4, 4),
        (Arc::new(keyed(Arc::new(LargeBinaryArray::from_iter_values(vec![b"x"; 10])))), 11 * 8, 8),
        (Arc::new(DictionaryArray::<Int32Type>::new(vec![0; 11].into(), Arc::new(NullArray::new(1)))), 11 * 4, 4),
        (Arc::new(list_views()), 11 * 4, 4),
    ];
    for (column, length, part) in cases {
        let what = format!("{:?}", column.data_type());
        let schema = named(vec![field_of(&column)], "t");
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![column]).expect("one column");
        let whole = stream(&schema, &[batch]);
        Decoder::default().decode(whole.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let changed = each_one_more(&whole, length);
        assert!(!changed.is_empty(), "{what} has no buffer of {length} bytes");
        for changed in changed {
            let refused = Decoder::default().decode(changed).map(|_| ());
            let message = format!("a buffer of offsets, keys or views is no whole number of {part} bytes");
            assert_eq!(refused, Err(IpcError(message)), "{what}");
        }
    }
}

const LONG: usize = 1 << 20;

/// `count` views of one value of [`LONG`] bytes.
fn views(count: usize) -> ArrayRef {
    let value = vec![b'x'; LONG];
    let mut builder = arrow_array::builder::BinaryViewBuilder::new();
    let block = builder.append_block(value.into());
    for _ in 0..count {
        builder.try_append_view(block, 0, LONG as u32).expect("within the block");
    }
    Arc::new(builder.finish())
}

fn check_swollen(column: ArrayRef, what: &str) {
    let error = decoded(field_of(&column), column).expect_err(what).0;
    assert!(error.contains("column \"c\"") && error.contains(what), "{error}");
}

#[test]
fn values_named_many_times_are_bounded_by_message_and_by_row() {
    let (message, row) = (crate::limits::MAX_SHARED_BYTES.to_string(), crate::limits::MAX_SHARED_ROW_BYTES.to_string());
    let offsets = |lengths: Vec<usize>| OffsetBuffer::<i32>::from_lengths(lengths);
    let list = |values: ArrayRef, lengths: Vec<usize>| -> ArrayRef {
        Arc::new(ListArray::new(Arc::new(Field::new("item", values.data_type().clone(), true)), offsets(lengths), values, None))
    };
    // 2 GiB of views: the largest count that passes, and the next.
    let most = (2 << 30) / (LONG + 8);
    assert!(decoded(field_of(&views(most)), views(most)).is_ok());
    check_swollen(views(most + 2), &message);
    // The same in dictionaries of every kind of key that can be so many.
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([vec![b'x'; LONG]]));
    check_swollen(Arc::new(DictionaryArray::<Int32Type>::new(vec![0; 2_049].into(), values.clone())), &message);
    check_swollen(Arc::new(DictionaryArray::<UInt8Type>::new(vec![0; 2_049].into(), values.clone())), &message);
    // A row of nearly 8 MiB, and one of more.
    let dictionary = |count: usize| -> ArrayRef { Arc::new(DictionaryArray::<Int32Type>::new(vec![0; count].into(), values.clone())) };
    assert!(decoded(field_of(&list(dictionary(7), vec![7])), list(dictionary(7), vec![7])).is_ok());
    check_swollen(list(dictionary(8), vec![8]), &row);
    check_swollen(list(views(64), vec![0, 64]), &row);
    // Many small rows are fine.
    assert!(decoded(field_of(&list(dictionary(70), vec![7; 10])), list(dictionary(70), vec![7; 10])).is_ok());
}

/// A row is as large as the value that its key names, which lies in the message, though not in the batch's body.
#[test]
fn a_row_of_one_large_dictionary_value_is_no_larger_than_its_message() {
    let column = |bytes: usize, keys: usize| -> ArrayRef {
        let values: ArrayRef = Arc::new(BinaryArray::from_iter_values([vec![b'x'; bytes]]));
        Arc::new(DictionaryArray::<UInt8Type>::new(vec![0; keys].into(), values))
    };
    let most = crate::limits::MAX_SHARED_ROW_BYTES as usize;
    assert!(decoded(field_of(&column(most + (1 << 20), 1)), column(most + (1 << 20), 1)).is_ok());
    let named_twice = column(most + (1 << 20), 2);
    let item = Arc::new(Field::new("item", named_twice.data_type().clone(), true));
    check_swollen(Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2]), named_twice, None)), "a row");
}

#[test]
fn metadata_of_nested_fields_is_no_part_of_what_is_decoded() {
    let item =
        |comment: &str| Field::new("item", DataType::Int8, true).with_metadata(HashMap::from([("comment".to_owned(), comment.to_owned())]));
    let schema = |comment: &str| {
        let schema = named(vec![item(comment), Field::new("l", DataType::List(Arc::new(item(comment))), true)], "t");
        Decoder::default().schema(&stream(&schema, &[])).expect("a schema")
    };
    let (one, other) = (schema("one"), schema("other"));
    assert_ne!(one.logical.fields(), other.logical.fields());
    assert_eq!(one.physical, other.physical);
}

#[test]
fn list_views_that_repeat_at_every_level_end_at_the_bound() {
    let mut values: ArrayRef = Arc::new(Int8Array::from(vec![1; 1_000]));
    for _ in 0..20 {
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        let rows = values.len();
        // Each row names every row below it: 1,000 to the power of twenty.
        values = Arc::new(ListViewArray::new(item, vec![0; rows].into(), vec![rows as i32; rows].into(), values, None));
    }
    check_swollen(values, &crate::limits::MAX_SHARED_BYTES.to_string());
}

#[test]
fn rows_that_weigh_nothing_are_bounded() {
    let weightless = |data_type: DataType, rows: usize| -> Result<Vec<Rows>, IpcError> {
        let column = match &data_type {
            DataType::Null => Arc::new(NullArray::new(rows)) as ArrayRef,
            DataType::FixedSizeList(item, _) => Arc::new(
                FixedSizeListArray::try_new_with_length(item.clone(), 0, arrow_array::new_empty_array(item.data_type()), None, rows)
                    .expect("empty lists"),
            ),
            DataType::FixedSizeBinary(_) => Arc::new(
                arrow_array::FixedSizeBinaryArray::try_new_with_len(0, arrow_buffer::Buffer::default(), None, rows).expect("of no width"),
            ),
            _ => Arc::new(StructArray::new_empty_fields(rows, None)),
        };
        decoded(field_of(&column), column)
    };
    let most = crate::limits::MAX_WEIGHTLESS_ROWS as usize;
    let empty_list = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int8, true)), 0);
    for data_type in [DataType::Null, empty_list, DataType::FixedSizeBinary(0), DataType::Struct(arrow_schema::Fields::empty())] {
        let taken = weightless(data_type.clone(), most).unwrap_or_else(|error| panic!("{data_type}: {error}"));
        assert_eq!(taken[0].batch.num_rows(), most, "{data_type}");
        let error = weightless(data_type.clone(), most + 1).expect_err("more rows than bytes can hold").0;
        assert!(error.contains("claims a number of rows"), "{data_type}: {error}");
    }
}

#[test]
fn weightless_rows_times_columns_and_batches_are_bounded() {
    let rows = 1 << 20;
    let wide = |columns: usize, batches: usize| {
        let name = "n".repeat(100);
        let schema = named(vec![Field::new(name, DataType::Null, true); columns], "t");
        let nulls: ArrayRef = Arc::new(NullArray::new(rows));
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![nulls; columns]).expect("nulls");
        Decoder::default().decode(stream(&schema, &vec![batch; batches]))
    };
    assert!(wide(70, 1).is_ok());
    for (columns, batches) in [(80, 1), (20, 4), (1, 100)] {
        let error = wide(columns, batches).expect_err("too much text").0;
        assert!(error.contains("column \"nnn") && error.contains(&crate::limits::MAX_NAME_TEXT_BYTES.to_string()), "{error}");
    }
}

#[test]
fn dictionaries_that_grow_step_by_step_are_bounded() {
    const FIRST: i64 = 2 << 20;
    let key = Box::new(DataType::Int32);
    let schema = named(vec![Field::new("c", DataType::Dictionary(key, Box::new(DataType::Int64)), true)], "t");
    let grown = |steps: i64| {
        let handling = arrow_ipc::writer::DictionaryHandling::Delta;
        let options = arrow_ipc::writer::IpcWriteOptions::default().with_dictionary_handling(handling);
        let mut stream = StreamWriter::try_new_with_options(Vec::new(), &schema, options).expect("a schema");
        // Each batch's dictionary is the one before and one value: that value is sent, and the decoder copies the rest.
        for step in 0..=steps {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..FIRST + step));
            let column: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(vec![0].into(), values));
            stream.write(&RecordBatch::try_new(Arc::new(schema.clone()), vec![column]).expect("one column")).expect("a delta");
        }
        Decoder::default().decode(stream.into_inner().expect("a stream")).map(|(_, rows)| rows.len())
    };
    assert_eq!(grown(3), Ok(4));
    // 16 MiB a step: 128 of them are 2 GiB and the steps themselves.
    let error = grown(129).expect_err("more than 2 GiB of copies").0;
    assert!(error.contains(&format!("{} bytes would be copied", crate::limits::MAX_SHARED_BYTES)), "{error}");
}
