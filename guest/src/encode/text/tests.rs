//! The law of the block writer: whatever the columns, values and slices, its bytes are those of the general path, row by row.

use super::bind::ColumnReader;
use super::long::LONG_ROW_BYTES;
use super::string::csv_needs_quotes;
use super::value::TextFormat;
use super::{Html, TextShared, push_csv_field, sorted_keys};
use crate::encode::{Encode, Output, csv, json};
use crate::host::PutError;
use crate::ipc::TableSchema;
use crate::limits::CHUNK_BYTES;
use crate::spec::{CsvOptions, Format, JsonOptions, LineEnding, NullText};
use arrow_array::types::Int8Type;
use arrow_array::*;
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Default)]
struct Collected(Vec<u8>);

impl Output for Collected {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Which array to make, and of which children.
#[derive(Debug, Clone)]
enum Shape {
    Int,
    Float,
    Bool,
    Decimal,
    Date,
    Timestamp,
    Text,
    View,
    Dictionary,
    List(Box<Shape>),
    Struct(Vec<Shape>),
}

fn shape() -> impl Strategy<Value = Shape> {
    use Shape::*;
    let leaf = prop_oneof![
        Just(Int),
        Just(Float),
        Just(Bool),
        Just(Decimal),
        Just(Date),
        Just(Timestamp),
        Just(Text),
        Just(View),
        Just(Dictionary)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![inner.clone().prop_map(|item| List(Box::new(item))), proptest::collection::vec(inner, 1..4).prop_map(Struct)]
    })
}

/// A stream of numbers that looks random and depends on a seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Numbers of every length.
    fn wide(&mut self) -> i64 {
        let value = (self.roll(1 << 31) << 33 | self.roll(1 << 31) << 2) as i64;
        value >> self.roll(64)
    }

    fn text(&mut self) -> Vec<u8> {
        const PIECES: [&[u8]; 12] =
            [b"a", b"word", b" ", b",", b"\"", b"\\.", b"<", b"\n", b"\xff", "日".as_bytes(), b"sixteen letters.", b"x"];
        // Mostly plain, so that whole blocks are.
        let pieces = if self.roll(8) == 0 { 12 } else { 2 };
        (0..self.roll(6)).flat_map(|_| PIECES[self.roll(pieces) as usize].iter().copied()).collect()
    }
}

/// An array of the physical type with `rows` rows, and the logical type it stands for.
fn array(shape: &Shape, rows: usize, nulls: bool, dice: &mut Dice) -> (DataType, ArrayRef) {
    let valid = |dice: &mut Dice| !nulls || dice.roll(4) > 0;
    macro_rules! each {
        ($array:ty, $value:expr) => {
            (0..rows).map(|_| valid(dice).then(|| $value)).collect::<$array>()
        };
    }
    let made: ArrayRef = match shape {
        Shape::Int => Arc::new(each!(Int64Array, dice.wide())),
        Shape::Float => Arc::new(each!(Float64Array, f64::from_bits(dice.wide() as u64))),
        Shape::Bool => Arc::new(each!(BooleanArray, dice.roll(2) == 0)),
        Shape::Decimal => {
            let values = each!(Decimal128Array, i128::from(dice.wide() % 10_000_000_000));
            Arc::new(values.with_precision_and_scale(15, 2).expect("fits"))
        }
        Shape::Date => Arc::new(each!(Date32Array, dice.wide() as i32)),
        Shape::Timestamp => Arc::new(each!(TimestampMicrosecondArray, dice.wide())),
        Shape::Text => {
            let values: Vec<Option<Vec<u8>>> = (0..rows).map(|_| valid(dice).then(|| dice.text())).collect();
            return (DataType::Utf8, Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>()));
        }
        Shape::View => {
            let values: Vec<Option<Vec<u8>>> = (0..rows).map(|_| valid(dice).then(|| dice.text())).collect();
            return (DataType::Utf8View, Arc::new(values.iter().map(Option::as_deref).collect::<BinaryViewArray>()));
        }
        Shape::Dictionary => {
            let values: BinaryArray = [Some(&b"one"[..]), Some(b"t,wo"), None].into_iter().collect();
            let keys = each!(PrimitiveArray<Int8Type>, dice.roll(3) as i8);
            let ty = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
            return (ty, Arc::new(DictionaryArray::new(keys, Arc::new(values))));
        }
        Shape::List(item) => {
            let lengths: Vec<usize> = (0..rows).map(|_| dice.roll(4) as usize).collect();
            let (ty, child) = array(item, lengths.iter().sum(), nulls, dice);
            let stored = Arc::new(Field::new("item", child.data_type().clone(), true));
            let validity = nulls.then(|| (0..rows).map(|_| valid(dice)).collect::<NullBuffer>());
            let list = ListArray::new(stored, OffsetBuffer::from_lengths(lengths), child, validity);
            return (DataType::List(Arc::new(Field::new("item", ty, true))), Arc::new(list));
        }
        Shape::Struct(children) => {
            let children: Vec<_> = children.iter().map(|child| array(child, rows, nulls, dice)).collect();
            let name = |at: usize| ["b", "a b", "<a>"][at];
            let logical = children.iter().enumerate().map(|(at, (ty, _))| Field::new(name(at), ty.clone(), true)).collect();
            let stored =
                children.iter().enumerate().map(|(at, (_, child))| Field::new(name(at), child.data_type().clone(), true)).collect();
            let validity = nulls.then(|| (0..rows).map(|_| valid(dice)).collect::<NullBuffer>());
            let columns = children.into_iter().map(|(_, child)| child).collect();
            return (DataType::Struct(logical), Arc::new(StructArray::new(stored, columns, validity)));
        }
    };
    let ty = match shape {
        Shape::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => made.data_type().clone(),
    };
    (ty, made)
}

/// The rows by the general path alone.
fn plainly(schema: &Rc<TableSchema>, batch: &RecordBatch, rows: std::ops::Range<usize>, delimiter: Option<u8>) -> Vec<u8> {
    plainly_with(schema, batch, rows, &delimiter.map_or(Format::Json(JsonOptions::default()), |delimiter| Format::Csv(csv_of(delimiter))))
}

fn csv_of(delimiter: u8) -> CsvOptions {
    CsvOptions { delimiter, skip_header: true, ..CsvOptions::default() }
}

fn plainly_with(schema: &Rc<TableSchema>, batch: &RecordBatch, rows: std::ops::Range<usize>, format: &Format) -> Vec<u8> {
    let plan = TextShared::default().plan(schema).expect("every type has a text");
    let bounds: Vec<ColumnReader<'_>> =
        plan.iter().zip(batch.columns()).map(|(column, array)| ColumnReader::new(&column.kind, array.as_ref()).expect("fits")).collect();
    let keys = sorted_keys(schema.logical.fields().iter().map(|field| field.name().as_str()), Html::Raw);
    let mut out = Vec::new();
    for row in rows {
        match format {
            Format::Csv(options) => {
                for (at, bound) in bounds.iter().enumerate() {
                    let mut field = Vec::new();
                    bound.push(&mut field, row, TextFormat::Csv).expect("a text");
                    out.extend((at > 0).then_some(options.delimiter));
                    match (bound.is_null(row), options.null_value) {
                        (true, Some(null)) => out.extend_from_slice(null.as_bytes()),
                        (true, None) => push_csv_field(&mut out, &field, options.delimiter),
                        (false, null) if options.quotes_all || null.is_some_and(|null| null.as_bytes() == field) => {
                            out.push(b'"');
                            field
                                .iter()
                                .for_each(|byte| out.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) }));
                            out.push(b'"');
                        }
                        (false, _) => push_csv_field(&mut out, &field, options.delimiter),
                    }
                }
                out.extend_from_slice(options.line_ending.bytes());
            }
            Format::Json(options) => {
                let mut separator = b'{';
                for key in keys.iter().filter(|key| !(options.omit_nulls && bounds[key.child].is_null(row))) {
                    out.push(separator);
                    out.extend_from_slice(&key.text);
                    bounds[key.child].push(&mut out, row, TextFormat::Json(Html::Raw)).expect("a text");
                    separator = b',';
                }
                out.extend_from_slice(if separator == b'{' { b"{}\n" } else { b"}\n" });
            }
            Format::Parquet(_) => unreachable!("it is no text"),
        }
    }
    out
}

/// One column as a table of its own: its logical type, extension included, and its array.
fn table(logical: Field, array: ArrayRef) -> (Rc<TableSchema>, RecordBatch) {
    let physical = Arc::new(Schema::new(vec![Field::new(logical.name(), array.data_type().clone(), true)]));
    let schema = TableSchema { table: "t".into(), logical: Arc::new(Schema::new(vec![logical])), physical: Arc::clone(&physical) };
    (Rc::new(schema), RecordBatch::try_new(physical, vec![array]).expect("one column"))
}

/// Bytes of every kind that an escape, a quote or a cut might get wrong, in pieces of 23 bytes, which no power of two is a multiple of.
fn awkward(bytes: usize) -> Vec<u8> {
    "\u{1}é日𝄞\"<&,\u{2028}\r\\".bytes().chain(*b"\xff\xe2\x80x").cycle().take(bytes).collect()
}

/// Rows on both sides of the bound above which a row leaves piece by piece: the same text, whatever it is of.
#[test]
fn long_rows_equal_the_general_path() {
    let extension = |name: &str| {
        let pair = |key: &str, value: String| (format!("ARROW:extension:{key}"), value);
        let pairs = HashMap::from([pair("name", name.to_owned()), pair("metadata", format!("{name}-serialized"))]);
        Field::new("c", DataType::Binary, true).with_metadata(pairs)
    };
    let plain = |ty: DataType| Field::new("c", ty, true);
    // A text weighs one more than its bytes.
    for bytes in [LONG_ROW_BYTES - 1, LONG_ROW_BYTES] {
        let text = awkward(bytes);
        let short = b"say \"hi\"".to_vec();
        let values = [Some(short.as_slice()), None, Some(&text), None];
        let texts: ArrayRef = Arc::new(values.into_iter().collect::<BinaryArray>());
        let list = ListArray::new(Arc::new(plain(DataType::Binary)), OffsetBuffer::from_lengths([2, 2]), Arc::clone(&texts), None);
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1; 4]));
        let fields = |ty: DataType| vec![Field::new("n<", DataType::Int64, true), Field::new("t", ty, true)].into();
        let pairs = StructArray::new(fields(DataType::Binary), vec![number, Arc::clone(&texts)], None);
        let words = [b"word ".repeat(bytes / 5 + 1)];
        let json = [serde_json::json!({"k": " <&\u{2028}".repeat(bytes / 6), "l": vec![[1, 2]; 9]}).to_string(), "[ 1 ]".to_owned()];
        let json: ArrayRef = Arc::new(json.iter().map(|value| Some(value.as_bytes())).collect::<BinaryArray>());
        let jsons = ListArray::new(Arc::new(extension("json").with_name("item")), OffsetBuffer::from_lengths([1, 1]), json.clone(), None);
        let keys = PrimitiveArray::<Int8Type>::from(vec![Some(2), None, Some(0)]);
        let fixed = FixedSizeBinaryArray::try_from_iter([text.clone()].into_iter()).expect("one width");
        let list_of = |item: Field| DataType::List(Arc::new(item));
        let tables = [
            table(plain(DataType::Utf8), Arc::clone(&texts)),
            table(plain(DataType::Utf8), Arc::new(BinaryArray::from_iter_values(&words))),
            table(plain(DataType::Utf8View), Arc::new(BinaryViewArray::from_iter(values))),
            table(plain(DataType::Binary), Arc::clone(&texts)),
            table(plain(fixed.data_type().clone()), Arc::new(fixed)),
            table(plain(list_of(plain(DataType::Utf8))), Arc::new(list)),
            table(plain(DataType::Struct(fields(DataType::Utf8))), Arc::new(pairs)),
            table(extension("json"), json),
            table(plain(list_of(extension("json").with_name("item"))), Arc::new(jsons)),
            table(extension("mac"), Arc::clone(&texts)),
            table(
                plain(DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))),
                Arc::new(DictionaryArray::new(keys, texts)),
            ),
        ];
        for (schema, batch) in &tables {
            for delimiter in [None, Some(b',')] {
                let shared = TextShared::default();
                let mut out = Collected::default();
                encoder(schema, &shared, delimiter).write(batch, 0..batch.num_rows(), &mut out).expect("a text");
                let expected = plainly(schema, batch, 0..batch.num_rows(), delimiter);
                // Not printed: they are long.
                assert!(out.0 == expected, "{:?} of {bytes} bytes, delimiter {delimiter:?}", schema.logical.field(0).data_type());
            }
        }
    }
}

/// Wide stores run over the end of a row, and the last rows of a chunk are near its end: nothing of that may reach other rows.
#[test]
fn rows_that_end_near_the_end_of_a_chunk_spoil_no_others() {
    // Four stores a cell, and their guards: what they can reach.
    const REACH_BYTES: usize = 64;
    for (delimiter, before, after) in [(Some(b','), "", "\n"), (None, "{\"c\":\"", "\"}\n")] {
        let around = before.len() + after.len();
        for (spare, seed) in (0..=REACH_BYTES).zip(1..) {
            let mut dice = Dice(seed);
            let last: Vec<usize> = (0..12).map(|_| dice.roll(20) as usize).collect();
            let mut room = CHUNK_BYTES - spare - last.iter().map(|length| length + around).sum::<usize>();
            let mut lengths = Vec::new();
            while room > 0 {
                // As long as four stores are wide, but for the last, which takes what is left.
                let length = (room - around).min(REACH_BYTES - 1);
                let length = if (1..around).contains(&(room - around - length)) { length - around } else { length };
                lengths.push(length);
                room -= length + around;
            }
            lengths.extend(last);
            let texts: Vec<String> =
                lengths.iter().map(|&length| (0..length).map(|_| (b'a' + dice.roll(26) as u8) as char).collect()).collect();
            let expected: String = texts.iter().map(|text| format!("{before}{text}{after}")).collect();
            assert_eq!(expected.len(), CHUNK_BYTES - spare);
            // Rows that are not asked for: the wide copy of the last ones has bytes to read.
            let beyond = "Z".repeat(2 * REACH_BYTES);
            let values = BinaryArray::from_iter_values(texts.iter().chain([&beyond]));
            let (schema, batch) = table(Field::new("c", DataType::Utf8, true), Arc::new(values));
            let (shared, mut out) = (TextShared::default(), Collected::default());
            encoder(&schema, &shared, delimiter).write(&batch, 0..texts.len(), &mut out).expect("a text");
            let spoilt = out.0.iter().zip(expected.as_bytes()).position(|(one, other)| one != other);
            assert_eq!((spoilt, out.0.len()), (None, expected.len()), "{spare} bytes are left of the chunk, delimiter {delimiter:?}");
        }
    }
}

/// Null rows of a list view that each name all rows below: counted, they would be ten thousand million.
#[test]
fn what_null_rows_name_is_not_counted() {
    const ROWS: usize = 100_000;
    let item = |array: &dyn Array| Arc::new(Field::new("item", array.data_type().clone(), true));
    let list = |values: ArrayRef, size: usize, nulls: Option<NullBuffer>| -> ArrayRef {
        let rows = |number: usize| vec![number as i32; ROWS].into();
        Arc::new(ListViewArray::new(item(&values), rows(0), rows(size), values, nulls))
    };
    let inner = list(Arc::new(Int8Array::from(vec![7])), 1, None);
    let outer = list(inner, ROWS, Some(NullBuffer::new_null(ROWS)));
    let (schema, batch) = table(Field::new("c", outer.data_type().clone(), true), outer);
    for (delimiter, row) in [(None, "{\"c\":null}\n"), (Some(b','), "\n")] {
        let mut out = Collected::default();
        encoder(&schema, &TextShared::default(), delimiter).write(&batch, 0..ROWS, &mut out).expect("a text");
        assert!(out.0 == row.repeat(ROWS).as_bytes());
    }
}

/// A key is cut as a string is: its text is six times as long, and may be nearly a message.
#[test]
fn long_keys_leave_piece_by_piece() {
    let json = [format!("{{\"{}\":1}}", "<".repeat(3 << 20))];
    let extension = [("ARROW:extension:name", "json"), ("ARROW:extension:metadata", "json-serialized")];
    let metadata = extension.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let field = Field::new("item", DataType::Binary, true).with_metadata(HashMap::from(metadata));
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(&json));
    let list = ListArray::new(Arc::new(field.clone()), OffsetBuffer::from_lengths([1]), values, None);
    let (schema, batch) = table(Field::new("c", DataType::List(Arc::new(field)), true), Arc::new(list));
    let shared = TextShared::default();
    let mut out = Collected::default();
    encoder(&schema, &shared, None).write(&batch, 0..1, &mut out).expect("a text");
    let expected = format!("{{\"c\":[{{\"{}\":1}}]}}\n", "\\u003c".repeat(3 << 20));
    assert!(out.0 == expected.as_bytes());
    let room = shared.scratch().room_bytes();
    assert!(room < 4 << 20, "{room} bytes of text at once");
}

fn encoder(schema: &Rc<TableSchema>, shared: &TextShared, delimiter: Option<u8>) -> Box<dyn Encode> {
    match delimiter {
        None => json::open(schema, JsonOptions::default(), shared),
        Some(delimiter) => csv::open(schema, csv_of(delimiter), shared),
    }
    .expect("every type has a text")
}

#[test]
fn nulls_quotes_and_ends_of_lines_are_as_the_spec_says() {
    let text: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"a"), None, Some(b""), Some(b"\\N"), Some(b"x,\"y\"")]));
    let (schema, batch) = table(Field::new("c", DataType::Utf8, true), text);
    let null_value = NullText::new("\\N", b',');
    let check = |options: CsvOptions, expected: &str| {
        let mut out = Collected::default();
        csv::open(&schema, options, &TextShared::default()).expect("a text").write(&batch, 0..5, &mut out).expect("a text");
        assert_eq!(String::from_utf8_lossy(&out.0), expected, "{options:?}");
    };
    let plain = CsvOptions::default();
    check(plain, "c\na\n\n\n\\N\n\"x,\"\"y\"\"\"\n");
    check(CsvOptions { null_value, ..plain }, "c\na\n\\N\n\n\"\\N\"\n\"x,\"\"y\"\"\"\n");
    check(CsvOptions { quotes_all: true, ..plain }, "\"c\"\n\"a\"\n\n\"\"\n\"\\N\"\n\"x,\"\"y\"\"\"\n");
    check(CsvOptions { line_ending: LineEnding::CrLf, ..plain }, "c\r\na\r\n\r\n\r\n\\N\r\n\"x,\"\"y\"\"\"\r\n");
    let mut out = Collected::default();
    let options = JsonOptions { omit_nulls: true };
    json::open(&schema, options, &TextShared::default()).expect("a text").write(&batch, 0..3, &mut out).expect("a text");
    assert_eq!(String::from_utf8_lossy(&out.0), "{\"c\":\"a\"}\n{}\n{\"c\":\"\"}\n");
    for good in ["NULL", "\\N", "-", "<none>"] {
        let null = NullText::new(good, b',').expect(good);
        assert!(!csv_needs_quotes(null.as_bytes(), b','), "{good}");
    }
    for bad in ["", "a b", "\"", ",", "\\.", "é", "\n", "12345678901234567"] {
        assert_eq!(NullText::new(bad, b','), None, "{bad}");
    }
}

/// A cell that is long by itself, and short ones beside it.
#[test]
fn long_rows_have_the_same_style() {
    let long = "x\"".repeat(LONG_ROW_BYTES);
    let columns: [(&str, ArrayRef); 3] = [
        ("a", Arc::new(BinaryArray::from_opt_vec(vec![Some(long.as_bytes())]))),
        ("b", Arc::new(BinaryArray::from_opt_vec(vec![None]))),
        ("c", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"NULL")]))),
    ];
    let fields = |ty: &DataType| columns.iter().map(|(name, _)| Field::new(*name, ty.clone(), true)).collect::<Vec<_>>();
    let physical = Arc::new(Schema::new(fields(&DataType::Binary)));
    let logical = Arc::new(Schema::new(fields(&DataType::Utf8)));
    let batch = RecordBatch::try_new(physical.clone(), columns.iter().map(|(_, array)| array.clone()).collect()).expect("columns");
    let schema = Rc::new(TableSchema { table: "t".into(), logical, physical });
    for format in styles(b',') {
        let mut out = Collected::default();
        open(&schema, &format).write(&batch, 0..1, &mut out).expect("a text");
        assert!(out.0 == plainly_with(&schema, &batch, 0..1, &format), "{format:?}");
    }
}

/// Every style of text there is.
fn styles(delimiter: u8) -> Vec<Format> {
    let plain = csv_of(delimiter);
    let null_value = NullText::new("NULL", delimiter);
    vec![
        Format::Csv(CsvOptions { null_value, line_ending: LineEnding::CrLf, ..plain }),
        Format::Csv(CsvOptions { quotes_all: true, ..plain }),
        Format::Csv(CsvOptions { null_value: NullText::new("5", delimiter), quotes_all: true, ..plain }),
        Format::Csv(CsvOptions { null_value: NullText::new("true", delimiter), ..plain }),
        Format::Json(JsonOptions { omit_nulls: true }),
    ]
}

fn open(schema: &Rc<TableSchema>, format: &Format) -> Box<dyn Encode> {
    let shared = TextShared::default();
    match format {
        Format::Csv(options) => csv::open(schema, *options, &shared),
        Format::Json(options) => json::open(schema, *options, &shared),
        Format::Parquet(_) => unreachable!("it is no text"),
    }
    .expect("every type has a text")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_equal_the_general_path(shapes in proptest::collection::vec((shape(), any::<bool>()), 1..8), rows in 1usize..600, seed in any::<u64>(), skip in 0usize..50) {
        let mut dice = Dice(seed);
        let columns: Vec<_> = shapes.iter().map(|(shape, nulls)| array(shape, rows, *nulls, &mut dice)).collect();
        let named = |at: usize, ty: &DataType| Field::new(format!("c{at}"), ty.clone(), true);
        let logical = Schema::new(columns.iter().enumerate().map(|(at, (ty, _))| named(at, ty)).collect::<Vec<_>>());
        let physical = Arc::new(Schema::new(columns.iter().enumerate().map(|(at, (_, array))| named(at, array.data_type())).collect::<Vec<_>>()));
        let schema = Rc::new(TableSchema { table: "t".into(), logical: Arc::new(logical), physical: Arc::clone(&physical) });
        let batch = RecordBatch::try_new(physical, columns.into_iter().map(|(_, array)| array).collect()).expect("columns fit");
        let batch = batch.slice(skip.min(rows - 1) / 2, rows - skip.min(rows - 1) / 2);
        let range = (skip / 2).min(batch.num_rows() - 1)..batch.num_rows();
        let shared = TextShared::default();
        for delimiter in [None, Some(b','), Some(b'1')] {
            let mut out = Collected::default();
            encoder(&schema, &shared, delimiter).write(&batch, range.clone(), &mut out).expect("a text");
            let expected = plainly(&schema, &batch, range.clone(), delimiter);
            prop_assert_eq!(String::from_utf8_lossy(&out.0), String::from_utf8_lossy(&expected));
        }
        for format in styles(b';') {
            let mut out = Collected::default();
            open(&schema, &format).write(&batch, range.clone(), &mut out).expect("a text");
            let expected = plainly_with(&schema, &batch, range.clone(), &format);
            prop_assert_eq!(String::from_utf8_lossy(&out.0), String::from_utf8_lossy(&expected), "{:?}", format);
        }
    }
}
