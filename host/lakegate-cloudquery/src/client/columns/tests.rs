//! Reads the output back with Arrow's own reader: what it accepts and shows is what a destination will see.

use super::*;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, Decimal128Array, DictionaryArray, Int64Array, ListArray};
use arrow_ipc::CompressionType;
use proptest::prelude::*;

const TIME: i64 = 1_700_000_000_000_001;

fn sync_columns(keys: Keys) -> SyncColumns {
    SyncColumns { sync_time_us: TIME, source_name: "aws".to_owned(), sync_group_id: None, keys, not_null: false }
}

fn keyed(name: &str, data_type: DataType, keys: &[&str]) -> Field {
    let metadata: HashMap<String, String> = keys.iter().map(|key| ((*key).to_owned(), "true".to_owned())).collect();
    Field::new(name, data_type, true).with_metadata(metadata)
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    let metadata = [("cq:table_name", "t"), ("cq:table_depends_on", "p"), ("cq:extension:incremental", "true")];
    let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

fn stream(schema: &SchemaRef, batches: &[RecordBatch], compression: Option<CompressionType>) -> Bytes {
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), schema, options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap().into()
}

fn read(ipc: &Bytes) -> (SchemaRef, Vec<RecordBatch>) {
    let reader = StreamReader::try_new(ipc.as_ref(), None).unwrap();
    (reader.schema(), reader.map(Result::unwrap).collect())
}

/// The single record made from a message of one batch.
#[track_caller]
fn extended(columns: SyncColumns, batch: RecordBatch) -> Record {
    let rows = SyncColumnWriter::new(columns).rows(&stream(&batch.schema(), &[batch], None)).unwrap();
    let [record] = rows.records.try_into().unwrap();
    record
}

/// Ids and names, `rows` of each.
fn rows(rows: usize) -> RecordBatch {
    let schema = schema(vec![keyed("id", DataType::Int64, &[PRIMARY_KEY, UNIQUE]), Field::new("name", DataType::Utf8, true)]);
    let names: StringArray = (0..rows).map(|row| (row % 3 > 0).then(|| format!("name {row}"))).collect();
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..rows as i64)), Arc::new(names)]).unwrap()
}

#[test]
fn a_record_gets_the_columns_and_keeps_its_own() {
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let (first, second) = (rows(100), rows(3));
        let ipc = stream(&first.schema(), &[first.clone(), second.clone()], compression);
        let mut columns = sync_columns(Keys::Removed);
        columns.sync_group_id = Some("group".to_owned());
        let extended = SyncColumnWriter::new(columns).rows(&ipc).unwrap();
        assert_eq!((extended.rows(), extended.table.name.as_str()), (103, "t"));
        assert_eq!((extended.table.parent.as_deref(), extended.table.incremental), (Some("p"), true));
        // Each batch becomes a separate message, so a destination that only reads the first batch of a message sees them all.
        assert_eq!(extended.records.iter().map(|record| record.rows).collect::<Vec<_>>(), [100, 3]);
        for (record, original) in extended.records.iter().zip([first, second]) {
            let (schema, batches) = read(&record.ipc);
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names, [SYNC_TIME, SOURCE_NAME, SYNC_GROUP_ID, "id", "name"]);
            assert_eq!(schema.metadata(), original.schema().metadata());
            assert!(!schema.field(2).is_nullable() && schema.field(0).is_nullable());
            let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            assert!(times.values().iter().all(|time| *time == TIME) && times.null_count() == 0);
            assert!(batch.column(1).as_string::<i32>().iter().all(|name| name == Some("aws")));
            assert!(batch.column(2).as_string::<i32>().iter().all(|name| name == Some("group")));
            assert_eq!(batch.columns()[3..], original.columns()[..]);
        }
    }
}

#[test]
fn the_columns_may_be_declared_as_never_null() {
    for not_null in [false, true] {
        let columns = SyncColumns { not_null, ..sync_columns(Keys::Removed) };
        let (schema, batches) = read(&extended(columns, rows(2)).ipc);
        let nullable: Vec<bool> = schema.fields().iter().map(|field| field.is_nullable()).collect();
        assert_eq!((nullable, batches[0].num_rows()), (vec![!not_null, !not_null, true, true], 2));
    }
}

#[test]
fn everything_in_a_message_is_aligned() {
    let decimals = Decimal128Array::from_iter_values(0..7);
    let batch = RecordBatch::try_new(schema(vec![Field::new("d", decimals.data_type().clone(), true)]), vec![Arc::new(decimals)]).unwrap();
    let record = extended(sync_columns(Keys::Removed), batch);
    let mut messages = Messages::new(&record.ipc);
    messages.next().unwrap().unwrap();
    let metadata = messages.next().unwrap().unwrap();
    let message = verified(metadata).unwrap();
    let body = messages.body(message.bodyLength()).unwrap();
    assert_eq!((body.as_ptr() as usize - record.ipc.as_ptr() as usize) % ALIGNMENT_BYTES, 0);
    let offsets: Vec<i64> = message.header_as_record_batch().unwrap().buffers().unwrap().iter().take(6).map(|it| it.offset()).collect();
    assert!(offsets.iter().all(|offset| offset % 64 == 0), "{offsets:?}");
}

#[test]
fn a_schema_alone_and_an_empty_record_are_extended_too() {
    let mut writer = SyncColumnWriter::new(sync_columns(Keys::Removed));
    let batch = rows(0);
    let migrated = writer.schema(&stream(&batch.schema(), &[], None)).unwrap();
    let inserted = writer.rows(&stream(&batch.schema(), std::slice::from_ref(&batch), None)).unwrap();
    let ((announced, none), (sent, one)) = (read(&migrated.ipc), read(&inserted.records[0].ipc));
    assert_eq!((announced, none.len(), one.len(), one[0].num_rows(), inserted.rows()), (sent, 0, 1, 0, 0));
    // A message without a batch has nothing to pass on.
    assert!(writer.rows(&stream(&batch.schema(), &[], None)).unwrap().records.is_empty());
    // The later schemas were recognised by their bytes.
    assert_eq!(writer.known.len(), 1);
}

#[test]
fn columns_that_are_there_are_left_alone() {
    let names = StringArray::from(vec!["mine"]);
    let batch = RecordBatch::try_new(schema(vec![Field::new(SOURCE_NAME, DataType::Utf8, true)]), vec![Arc::new(names)]).unwrap();
    let record = extended(sync_columns(Keys::Removed), batch);
    let (schema, batches) = read(&record.ipc);
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), [SYNC_TIME, SOURCE_NAME]);
    assert_eq!(batches[0].column(1).as_string::<i32>().value(0), "mine");
}

#[test]
fn keys_follow_the_write_mode() {
    let fields = vec![keyed("id", DataType::Int64, &[PRIMARY_KEY, UNIQUE]), keyed(CQ_ID, DataType::Utf8, &[UNIQUE])];
    let ipc = stream(&schema(fields), &[], None);
    let of = |keys: Keys| {
        let (schema, _) = read(&SyncColumnWriter::new(sync_columns(keys)).schema(&ipc).unwrap().ipc);
        let has = |name: &str, key: &str| schema.field_with_name(name).unwrap().metadata().get(key).is_some_and(|it| it == "true");
        [has("id", PRIMARY_KEY), has("id", UNIQUE), has(CQ_ID, PRIMARY_KEY), has(CQ_ID, UNIQUE)]
    };
    assert_eq!(of(Keys::Removed), [false, false, false, false]);
    assert_eq!(of(Keys::Kept), [true, true, false, true]);
    assert_eq!(of(Keys::CqIdOnly), [false, true, true, true]);
}

#[test]
fn dictionaries_and_invalid_text_come_through() {
    let values: DictionaryArray<Int8Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    let batch =
        RecordBatch::try_new(schema(vec![Field::new("d", values.data_type().clone(), true)]), vec![Arc::new(values.clone())]).unwrap();
    let record = extended(sync_columns(Keys::Removed), batch);
    let (_, batches) = read(&record.ipc);
    assert_eq!((batches[0].column(2).as_ref(), record.rows), (&values as &dyn Array, 3));
    // Text that is not UTF-8, as a Go source may send it: the bytes pass unchanged.
    let bytes = arrow_array::BinaryArray::from(vec![b"\xff\xfe".as_slice()]);
    let binary = RecordBatch::try_new(schema(vec![Field::new("s", DataType::Binary, true)]), vec![Arc::new(bytes)]).unwrap();
    let binary = extended(sync_columns(Keys::Removed), binary);
    assert!(binary.ipc.windows(2).any(|window| window == b"\xff\xfe"));
}

#[test]
fn each_batch_has_its_dictionaries_with_it() {
    let batch = |text: &str| {
        let values: DictionaryArray<Int8Type> = vec![Some(text)].into_iter().collect();
        RecordBatch::try_new(schema(vec![Field::new("d", values.data_type().clone(), true)]), vec![Arc::new(values)]).unwrap()
    };
    let (first, second) = (batch("a"), batch("b"));
    let ipc = stream(&first.schema(), &[first, second], None);
    let extended = SyncColumnWriter::new(sync_columns(Keys::Removed)).rows(&ipc).unwrap();
    for (record, text) in extended.records.iter().zip(["a", "b"]) {
        let (_, batches) = read(&record.ipc);
        let values = batches[0].column(2).as_dictionary::<Int8Type>().downcast_dict::<StringArray>().unwrap();
        assert_eq!((values.into_iter().collect::<Vec<_>>(), record.rows), (vec![Some(text)], 1));
    }
    assert_eq!(extended.records.len(), 2);
}

#[test]
fn a_compressed_buffer_that_claims_too_much_is_refused_before_memory_is_asked_for() {
    let text = "x".repeat(10_000);
    let values: DictionaryArray<Int8Type> = vec![Some(text.as_str())].into_iter().collect();
    let batch = RecordBatch::try_new(schema(vec![Field::new("d", values.data_type().clone(), true)]), vec![Arc::new(values)]).unwrap();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let ipc = stream(&batch.schema(), std::slice::from_ref(&batch), Some(compression));
        let extend = |ipc: Bytes| SyncColumnWriter::new(sync_columns(Keys::Removed)).rows(&ipc);
        assert_eq!(extend(ipc.clone()).unwrap().rows(), 1);
        for (claim, expected) in [(1_i64 << 46, "which cannot be"), (i64::MAX, "which cannot be"), (1 << 20, "corrupt")] {
            let error = extend(lakegate_files::testing::lying(&ipc, 10_000, claim).into()).expect_err(expected);
            assert!(error.0.contains("with dictionaries") && (expected == "corrupt" || error.0.contains(expected)), "{error}");
        }
    }
}

#[test]
fn nested_columns_are_not_looked_into() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
    let batch =
        RecordBatch::try_new(schema(vec![Field::new("l", lists.data_type().clone(), true)]), vec![Arc::new(lists.clone())]).unwrap();
    let record = extended(sync_columns(Keys::Removed), batch);
    assert_eq!(read(&record.ipc).1[0].column(2).as_ref(), &lists as &dyn Array);
}

#[test]
fn what_is_no_table_is_refused() {
    let check = |ipc: Bytes, expected: &str| {
        let error = SyncColumnWriter::new(sync_columns(Keys::Removed)).rows(&ipc).expect_err(expected);
        assert!(error.0.contains(expected), "{error}");
    };
    check(Bytes::new(), "no schema");
    check(Bytes::from_static(b"garbage!"), "cut off");
    let nameless: SchemaRef = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    check(stream(&nameless, &[], None), "missing table name");
}

#[test]
fn a_header_that_claims_rows_beyond_all_bounds_is_refused_before_memory_is_asked_for() {
    let columns = sync_columns(Keys::Removed);
    let claim = |rows: u64| {
        let mut block = Block::new(false, MAX_MESSAGE_BYTES);
        block
            .column(Added::SyncTime, rows, &columns)
            .and_then(|()| block.column(Added::SourceName, rows, &columns))
            .map(|()| block.bytes.len())
    };
    assert!(claim(1_000_000).is_ok());
    for rows in [1 << 25, 1 << 40, u64::MAX / 2, u64::MAX] {
        assert!(claim(rows).unwrap_err().0.contains("too large"), "{rows}");
    }
}

/// A stream with the schema, and the message of one batch repeated any number of times.
fn repeated(batch: &RecordBatch, count: usize) -> Bytes {
    let (none, one) = (stream(&batch.schema(), &[], None), stream(&batch.schema(), std::slice::from_ref(batch), None));
    let end = END_OF_STREAM.len();
    let message = &one[none.len() - end..one.len() - end];
    [&none[..none.len() - end], &message.repeat(count), &END_OF_STREAM].concat().into()
}

/// A batch of rows without bytes.
fn nothings(rows: usize) -> RecordBatch {
    let column = Arc::new(arrow_array::NullArray::new(rows));
    RecordBatch::try_new(schema(vec![Field::new("v", DataType::Null, true)]), vec![column]).unwrap()
}

#[test]
fn what_is_added_to_all_batches_of_a_message_is_bounded_before_it_is_written() {
    let extend = |ipc: &Bytes| SyncColumnWriter::new(sync_columns(Keys::Removed)).rows(ipc).map(|extended| extended.rows());
    // Eight bytes of time, four of an offset, three of a name.
    let most = MAX_ADDED_BYTES / 15;
    assert_eq!(extend(&repeated(&nothings(1_000), 50)), Ok(50_000));
    for (rows, count) in [(most + 1, 1), (most / 2 + 1, 2), (most / 8, 9), (8_000_000, 40), (usize::MAX >> 8, 300)] {
        let ipc = repeated(&nothings(rows), count);
        assert!(ipc.len() < 100_000);
        let error = extend(&ipc).expect_err("too many rows").0;
        assert!(error.contains("table \"t\" claims ") && error.contains(&format!(" in {count} record batches")), "{error}");
    }
    // The schema precedes each batch, so it counts for each.
    let long = RecordBatch::new_empty(schema(vec![Field::new("n".repeat(100_000), DataType::Null, true)]));
    assert_eq!(extend(&repeated(&long, 1_000)), Ok(0));
    let error = extend(&repeated(&long, 2_500)).expect_err("a quarter of a gigabyte of schemas").0;
    assert!(error.contains("the schema before each batch (100"), "{error}");
    let error = extend(&repeated(&nothings(0), MAX_STREAM_BATCHES + 1)).expect_err("too many batches").0;
    assert!(error.contains("more than 65536 record batches"), "{error}");
}

#[test]
fn dictionaries_that_go_with_each_batch_are_bounded_together() {
    let values: DictionaryArray<Int8Type> = vec![Some("x".repeat(1 << 20).as_str())].into_iter().collect();
    let batch = RecordBatch::try_new(schema(vec![Field::new("d", values.data_type().clone(), true)]), vec![Arc::new(values)]).unwrap();
    let (none, one) = (stream(&batch.schema(), &[], None), stream(&batch.schema(), std::slice::from_ref(&batch), None));
    let end = END_OF_STREAM.len();
    let body = &one[none.len() - end..one.len() - end];
    // The dictionary comes first, then the batch.
    let mut messages = Messages::new(body);
    let dictionary = verified(messages.next().unwrap().unwrap()).unwrap();
    messages.body(dictionary.bodyLength()).unwrap();
    let rest = body.len() - (1 << 20);
    assert!(rest < 4_096);
    let mut after = Messages::new(body);
    let metadata = after.next().unwrap().unwrap();
    let first = 8 + metadata.len() + dictionary.bodyLength() as usize;
    let ipc = |count: usize| -> Bytes {
        [&none[..none.len() - end], &body[..first], &body[first..].repeat(count), &END_OF_STREAM].concat().into()
    };
    let extend = |ipc: &Bytes| SyncColumnWriter::new(sync_columns(Keys::Removed)).rows(ipc).map(|extended| extended.rows());
    assert_eq!(extend(&ipc(10)), Ok(10));
    let error = extend(&ipc(MAX_DECODED_BYTES >> 20)).expect_err("400 MiB of one MiB").0;
    assert!(error.contains("table \"t\" with dictionaries") && error.contains("each with its dictionaries"), "{error}");
}

#[test]
fn a_schema_that_stands_for_more_than_its_bytes_is_refused() {
    // Text that is stored once and referenced often: 2 KiB, two hundred thousand times.
    let mut it = FlatBufferBuilder::new();
    let (key, value) = (it.create_string("cq:table_name"), it.create_string(&"n".repeat(2_048)));
    let pairs: Vec<_> = (0..200_000)
        .map(|_| {
            let mut pair = arrow_ipc::KeyValueBuilder::new(&mut it);
            pair.add_key(key);
            pair.add_value(value);
            pair.finish()
        })
        .collect();
    let pairs = it.create_vector(&pairs);
    let mut schema = arrow_ipc::SchemaBuilder::new(&mut it);
    schema.add_custom_metadata(pairs);
    let schema = schema.finish().as_union_value();
    let mut message = MessageBuilder::new(&mut it);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::Schema);
    message.add_header(schema);
    let message = message.finish();
    it.finish(message, None);
    let header = it.finished_data();
    let ipc: Bytes = [&CONTINUATION, &(header.len() as u32).to_le_bytes()[..], header].concat().into();
    let error = schema_of(&ipc).expect_err("too large").0;
    // Already refused by the verifier, which allows sixteen bytes for each.
    assert!(error.contains("malformed") || error.contains("at most 33554432 are accepted"), "{error}");
}

proptest! {
    #[test]
    fn no_flipped_byte_panics(at in 0_usize..1_000, flip in 1_u8..=255) {
        let batch = rows(5);
        let mut ipc = stream(&batch.schema(), &[batch], None).to_vec();
        let at = at % ipc.len();
        ipc[at] ^= flip;
        let ipc = ipc.into();
        let _ = SyncColumnWriter::new(sync_columns(Keys::CqIdOnly)).rows(&ipc);
        let _ = SyncColumnWriter::new(sync_columns(Keys::CqIdOnly)).schema(&ipc);
    }
}
