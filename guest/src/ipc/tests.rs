use super::*;
use arrow_array::{BinaryArray, Int64Array, StringArray, types::Int32Type};
use arrow_array::{DictionaryArray, RecordBatch, cast::AsArray};
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
