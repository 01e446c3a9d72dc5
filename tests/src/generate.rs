//! Random tables: every type at any nesting, nulls everywhere, sliced and offset arrays, dictionaries, views, extension types.
//!
//! A table only depends on its seed, so that a failure can be reproduced and a seed of the fuzz targets can be generated again. Text columns are
//! declared as text and filled with bytes, some of which are not UTF-8, as a source may send them.

use crate::tables::{TABLE_NAME, ipc};
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{BooleanBuffer, IntervalDayTime, IntervalMonthDayNano, NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum levels of nesting.
const MAX_DEPTH: usize = 4;

/// Rows of a batch at most. More than a block of the text encoders has.
const MAX_ROWS: u64 = 300;

/// Which types a table may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// All types with a text form.
    Text,
    /// Types that Parquet supports, too.
    Parquet,
}

/// A table generated from a seed.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The schema as declared.
    pub logical: SchemaRef,
    /// As sent: text as bytes, nothing declared not null but what has no nulls.
    pub batches: Vec<RecordBatch>,
}

impl Generated {
    /// Generates a table from a seed.
    #[must_use]
    pub fn new(name: &str, seed: u64, types: Types) -> Self {
        let mut dice = Dice::new(seed);
        let width = 1 + dice.roll(5);
        let fields: Vec<Field> = (0..width).map(|at| field(&odd_name(at, &mut dice), types, MAX_DEPTH, &mut dice)).collect();
        let metadata = HashMap::from([(TABLE_NAME.to_owned(), name.to_owned())]);
        let logical = Arc::new(Schema::new_with_metadata(fields, metadata));
        let physical: Vec<Field> = logical.fields().iter().map(|field| physical(field)).collect();
        let physical = Arc::new(Schema::new_with_metadata(physical, logical.metadata().clone()));
        let batches = (0..1 + dice.roll(3)).map(|_| {
            let most = if dice.one_in(4) { MAX_ROWS } else { 20 };
            let rows = dice.roll(most) as usize;
            let columns = logical.fields().iter().map(|field| array(field, rows, &mut dice)).collect();
            RecordBatch::try_new(physical.clone(), columns).expect("the columns are of their fields")
        });
        let batches = batches.collect();
        Self { logical, batches }
    }

    /// The message that a source would send.
    #[must_use]
    pub fn ipc(&self) -> Vec<u8> {
        ipc(&self.logical, &self.batches).expect("a stream of what was just made")
    }

    /// Total rows of all batches.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// The number that a variable of the environment asks for: `LAKEGATE_PROPERTY_CASES`, `LAKEGATE_PROPERTY_SEED`.
#[must_use]
pub fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Numbers that look random and depend on a seed alone.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `sides`, which is not 0.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.bits() % sides
    }

    /// A random index below `count`; 0 if `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.roll(count.max(1) as u64) as usize
    }

    /// True with a probability of 1 in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    /// A number of any length, negative half of the time.
    fn wide(&mut self) -> i64 {
        self.bits() as i64 >> self.roll(64)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

/// A name that is not another column's, and that some formats must quote or escape.
fn odd_name(at: u64, dice: &mut Dice) -> String {
    const ENDS: [&str; 10] = ["", "", "", "", " b", ".c", "\"q\"", "<x>&", ",;", "né\u{2028}\n"];
    format!("c{at}{}", dice.pick(&ENDS))
}

/// A field of some type, with up to `depth` levels.
fn field(name: &str, types: Types, depth: usize, dice: &mut Dice) -> Field {
    let nullable = !dice.one_in(5);
    if dice.one_in(6) {
        return extension(name, nullable, dice);
    }
    let data_type = if depth > 1 && dice.one_in(3) { nested(types, depth, dice) } else { leaf(types, dice) };
    // Parquet has no null column that is not nullable, and such a column has nothing but nulls.
    let nullable = nullable || has_only_nulls(&data_type);
    Field::new(name, data_type, nullable)
}

fn has_only_nulls(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Null)
}

fn extension(name: &str, nullable: bool, dice: &mut Dice) -> Field {
    let of = dice.pick(&["uuid", "json", "inet", "mac"]);
    let storage = if of == "uuid" { DataType::FixedSizeBinary(16) } else { DataType::Binary };
    let metadata = [("ARROW:extension:name", of.to_owned()), ("ARROW:extension:metadata", format!("{of}-serialized"))];
    Field::new(name, storage, nullable).with_metadata(HashMap::from(metadata.map(|(key, value)| (key.to_owned(), value))))
}

fn extension_of(field: &Field) -> Option<&str> {
    field.metadata().get("ARROW:extension:name").map(|name| name.as_ref())
}

fn leaf(types: Types, dice: &mut Dice) -> DataType {
    use DataType::*;
    let unit = dice.pick(&[TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond]);
    let zone = dice.pick(&[None, Some(""), Some("UTC"), Some("America/New_York"), Some("+02:30")]);
    let plain = [
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Utf8,
        LargeUtf8,
        Binary,
        LargeBinary,
    ];
    match dice.roll(if types == Types::Text { 32 } else { 28 }) {
        at @ 0..16 => plain[at as usize].clone(),
        16 => FixedSizeBinary(1 + dice.roll(20) as i32),
        17 => Date32,
        18 => Date64,
        19 => dice.pick(&[TimeUnit::Second, TimeUnit::Millisecond]).pipe(Time32),
        20 => dice.pick(&[TimeUnit::Microsecond, TimeUnit::Nanosecond]).pipe(Time64),
        21 | 22 => Timestamp(unit, zone.map(Into::into)),
        23 => Duration(unit),
        24 => Interval(dice.pick(&[IntervalUnit::YearMonth, IntervalUnit::DayTime, IntervalUnit::MonthDayNano])),
        25 => Null,
        26 | 27 => decimal(types, dice),
        28 => Utf8View,
        29 => BinaryView,
        30 => FixedSizeBinary(0),
        _ => Struct(Fields::empty()),
    }
}

trait Pipe: Sized {
    fn pipe<T>(self, into: impl FnOnce(Self) -> T) -> T {
        into(self)
    }
}

impl Pipe for TimeUnit {}

fn decimal(types: Types, dice: &mut Dice) -> DataType {
    let width = dice.roll(4);
    let most = [9, 18, 38, 76][width as usize];
    let precision = 1 + dice.roll(most) as u8;
    let scale = match types {
        Types::Text => dice.roll(u64::from(precision) + 6) as i8 - 3,
        Types::Parquet => dice.roll(u64::from(precision) + 1) as i8,
    };
    let scale = scale.min(most as i8);
    match width {
        0 => DataType::Decimal32(precision, scale),
        1 => DataType::Decimal64(precision, scale),
        2 => DataType::Decimal128(precision, scale),
        _ => DataType::Decimal256(precision, scale),
    }
}

fn nested(types: Types, depth: usize, dice: &mut Dice) -> DataType {
    let child = |name: &str, dice: &mut Dice| Arc::new(field(name, types, depth - 1, dice));
    match dice.roll(if types == Types::Text { 8 } else { 6 }) {
        0 => DataType::List(child("item", dice)),
        1 => DataType::LargeList(child("item", dice)),
        2 => DataType::FixedSizeList(child("item", dice), dice.roll(4) as i32),
        3 => {
            let children = 1 + dice.roll(3);
            DataType::Struct((0..children).map(|at| Arc::new(field(&odd_name(at, dice), types, depth - 1, dice))).collect())
        }
        4 => {
            let key = loop {
                let key = leaf(Types::Parquet, dice);
                if !has_only_nulls(&key) {
                    break Field::new("key", key, false);
                }
            };
            let value = field("value", types, depth - 1, dice);
            let entries = Field::new("entries", DataType::Struct(vec![key, value].into()), false);
            DataType::Map(Arc::new(entries), false)
        }
        5 => {
            use DataType::*;
            let key = [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64][dice.roll(8) as usize].clone();
            let value = loop {
                let value = leaf(types, dice);
                if !matches!(value, Struct(_) | Null) {
                    break value;
                }
            };
            Dictionary(Box::new(key), Box::new(value))
        }
        6 => DataType::ListView(child("item", dice)),
        _ => DataType::LargeListView(child("item", dice)),
    }
}

/// A field with the type in which its values are sent.
fn physical(field: &Field) -> Field {
    field.clone().with_data_type(physical_type(field.data_type()))
}

fn physical_ref(field: &FieldRef) -> FieldRef {
    Arc::new(physical(field))
}

fn physical_type(data_type: &DataType) -> DataType {
    use DataType::*;
    match data_type {
        Utf8 => Binary,
        LargeUtf8 => LargeBinary,
        Utf8View => BinaryView,
        List(item) => List(physical_ref(item)),
        LargeList(item) => LargeList(physical_ref(item)),
        ListView(item) => ListView(physical_ref(item)),
        LargeListView(item) => LargeListView(physical_ref(item)),
        FixedSizeList(item, size) => FixedSizeList(physical_ref(item), *size),
        Map(entries, sorted) => Map(physical_ref(entries), *sorted),
        Struct(fields) => Struct(fields.iter().map(physical_ref).collect()),
        Dictionary(key, value) => Dictionary(key.clone(), Box::new(physical_type(value))),
        plain => plain.clone(),
    }
}

/// Values of a field: often a slice of a longer array, so that neither offsets nor validity begin at 0.
fn array(field: &Field, rows: usize, dice: &mut Dice) -> ArrayRef {
    let (before, after) = if dice.one_in(3) { (dice.roll(10) as usize, dice.roll(4) as usize) } else { (0, 0) };
    let whole = values(field, before + rows + after, dice);
    if before + after > 0 { whole.slice(before, rows) } else { whole }
}

/// Which rows have no value: none, some or all of a nullable field's.
fn nulls(field: &Field, rows: usize, dice: &mut Dice) -> Option<NullBuffer> {
    if !field.is_nullable() {
        return None;
    }
    match dice.roll(8) {
        0..3 => None,
        3 => Some(NullBuffer::new_null(rows)),
        _ => Some(NullBuffer::new(BooleanBuffer::from_iter((0..rows).map(|_| !dice.one_in(4))))),
    }
}

fn values(field: &Field, rows: usize, dice: &mut Dice) -> ArrayRef {
    let nulls = nulls(field, rows, dice);
    macro_rules! primitive {
        ($ty:ty, $value:expr) => {{
            let values: Vec<_> = (0..rows).map(|_| $value).collect();
            let array = PrimitiveArray::<$ty>::new(ScalarBuffer::from(values), nulls).with_data_type(field.data_type().clone());
            Arc::new(array) as ArrayRef
        }};
    }
    match field.data_type() {
        DataType::Null => Arc::new(NullArray::new(rows)),
        DataType::Boolean => Arc::new(BooleanArray::new(BooleanBuffer::from_iter((0..rows).map(|_| dice.one_in(2))), nulls)),
        DataType::Int8 => primitive!(Int8Type, dice.wide() as i8),
        DataType::Int16 => primitive!(Int16Type, dice.wide() as i16),
        DataType::Int32 => primitive!(Int32Type, dice.wide() as i32),
        DataType::Int64 => primitive!(Int64Type, dice.wide()),
        DataType::UInt8 => primitive!(UInt8Type, dice.wide() as u8),
        DataType::UInt16 => primitive!(UInt16Type, dice.wide() as u16),
        DataType::UInt32 => primitive!(UInt32Type, dice.wide() as u32),
        DataType::UInt64 => primitive!(UInt64Type, dice.wide() as u64),
        DataType::Float16 => primitive!(Float16Type, <Float16Type as ArrowPrimitiveType>::Native::from_bits(dice.bits() as u16)),
        DataType::Float32 => primitive!(Float32Type, float(dice) as f32),
        DataType::Float64 => primitive!(Float64Type, float(dice)),
        DataType::Date32 => primitive!(Date32Type, if dice.one_in(4) { dice.wide() as i32 } else { dice.roll(40_000) as i32 - 10_000 }),
        DataType::Date64 => primitive!(Date64Type, instant(1_000, dice) % MOST_DATE64),
        DataType::Time32(TimeUnit::Second) => primitive!(Time32SecondType, dice.roll(100_000) as i32),
        DataType::Time32(_) => primitive!(Time32MillisecondType, dice.roll(100_000_000) as i32),
        DataType::Time64(TimeUnit::Microsecond) => primitive!(Time64MicrosecondType, dice.roll(100_000_000_000) as i64),
        DataType::Time64(_) => primitive!(Time64NanosecondType, dice.roll(100_000_000_000_000) as i64),
        DataType::Timestamp(TimeUnit::Second, _) => primitive!(TimestampSecondType, instant(1, dice) % MOST_SECONDS),
        DataType::Timestamp(TimeUnit::Millisecond, _) => primitive!(TimestampMillisecondType, instant(1_000, dice)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => primitive!(TimestampMicrosecondType, instant(1_000_000, dice)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => primitive!(TimestampNanosecondType, instant(1_000_000_000, dice)),
        DataType::Duration(TimeUnit::Second) => primitive!(DurationSecondType, dice.wide()),
        DataType::Duration(TimeUnit::Millisecond) => primitive!(DurationMillisecondType, dice.wide()),
        DataType::Duration(TimeUnit::Microsecond) => primitive!(DurationMicrosecondType, dice.wide()),
        DataType::Duration(TimeUnit::Nanosecond) => primitive!(DurationNanosecondType, dice.wide()),
        DataType::Interval(IntervalUnit::YearMonth) => primitive!(IntervalYearMonthType, dice.wide() as i32),
        DataType::Interval(IntervalUnit::DayTime) => {
            primitive!(IntervalDayTimeType, IntervalDayTime::new(dice.wide() as i32, dice.wide() as i32))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            primitive!(IntervalMonthDayNanoType, IntervalMonthDayNano::new(dice.wide() as i32, dice.wide() as i32, dice.wide()))
        }
        DataType::Decimal32(precision, _) => primitive!(Decimal32Type, digits(*precision, dice).as_i128() as i32),
        DataType::Decimal64(precision, _) => primitive!(Decimal64Type, digits(*precision, dice).as_i128() as i64),
        DataType::Decimal128(precision, _) => primitive!(Decimal128Type, digits(*precision, dice).as_i128()),
        DataType::Decimal256(precision, _) => primitive!(Decimal256Type, digits(*precision, dice)),
        DataType::FixedSizeBinary(width) => {
            let bytes: Vec<u8> = (0..rows * *width as usize).map(|_| dice.bits() as u8).collect();
            let array = FixedSizeBinaryArray::try_new_with_len(*width, bytes.into(), nulls, rows);
            Arc::new(array.expect("as many bytes as rows"))
        }
        DataType::Utf8 | DataType::Binary => Arc::new(BinaryArray::from_iter(cells(field, rows, nulls, dice))),
        DataType::LargeUtf8 | DataType::LargeBinary => Arc::new(LargeBinaryArray::from_iter(cells(field, rows, nulls, dice))),
        DataType::Utf8View | DataType::BinaryView => Arc::new(BinaryViewArray::from_iter(cells(field, rows, nulls, dice))),
        DataType::List(item) => {
            let (offsets, values) = offsets(item, rows, dice);
            Arc::new(ListArray::new(physical_ref(item), offsets, values, nulls))
        }
        DataType::LargeList(item) => {
            let (offsets, values) = offsets(item, rows, dice);
            let offsets = OffsetBuffer::new(offsets.iter().map(|offset| i64::from(*offset)).collect());
            Arc::new(LargeListArray::new(physical_ref(item), offsets, values, nulls))
        }
        DataType::ListView(item) => {
            let (offsets, sizes, values) = ranges(item, rows, dice);
            Arc::new(ListViewArray::new(physical_ref(item), offsets.into(), sizes.into(), values, nulls))
        }
        DataType::LargeListView(item) => {
            let (offsets, sizes, values) = ranges(item, rows, dice);
            let wide = |values: Vec<i32>| values.into_iter().map(i64::from).collect::<ScalarBuffer<i64>>();
            Arc::new(LargeListViewArray::new(physical_ref(item), wide(offsets), wide(sizes), values, nulls))
        }
        DataType::FixedSizeList(item, size) => {
            let values = array(item, rows * *size as usize, dice);
            let list = FixedSizeListArray::try_new_with_length(physical_ref(item), *size, values, nulls, rows);
            Arc::new(list.expect("as many values as rows"))
        }
        DataType::Struct(fields) if fields.is_empty() => Arc::new(StructArray::new_empty_fields(rows, nulls)),
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| array(field, rows, dice)).collect();
            Arc::new(StructArray::new(fields.iter().map(physical_ref).collect(), columns, nulls))
        }
        DataType::Map(entries, sorted) => {
            let (offsets, values) = offsets(entries, rows, dice);
            let values = values.as_any().downcast_ref::<StructArray>().expect("entries are a struct").clone();
            Arc::new(MapArray::new(physical_ref(entries), offsets, values, nulls, *sorted))
        }
        DataType::Dictionary(key, value) => dictionary(field, key, value, rows, nulls, dice),
        other => panic!("the generator makes no {other}"),
    }
}

/// A list's offsets, not always from 0 on, and its values.
fn offsets(item: &Field, rows: usize, dice: &mut Dice) -> (OffsetBuffer<i32>, ArrayRef) {
    let before = if dice.one_in(3) { dice.roll(5) as usize } else { 0 };
    let lengths = (0..rows).map(|_| dice.roll(4) as usize);
    let mut offsets = vec![before as i32];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length as i32);
    }
    let end = offsets[offsets.len() - 1] as usize;
    let after = if dice.one_in(3) { dice.roll(5) as usize } else { 0 };
    (OffsetBuffer::new(offsets.into()), array(item, end + after, dice))
}

/// Ranges of a list view: in no order, some of them shared.
fn ranges(item: &Field, rows: usize, dice: &mut Dice) -> (Vec<i32>, Vec<i32>, ArrayRef) {
    let values = array(item, 1 + dice.roll(20) as usize, dice);
    let starts: Vec<i32> = (0..rows).map(|_| dice.roll(values.len() as u64) as i32).collect();
    let sizes = starts.iter().map(|start| dice.roll((values.len() as u64 - *start as u64 + 1).min(5)) as i32).collect();
    (starts, sizes, values)
}

fn dictionary(field: &Field, key: &DataType, value: &DataType, rows: usize, nulls: Option<NullBuffer>, dice: &mut Dice) -> ArrayRef {
    let named = Field::new("value", value.clone(), field.is_nullable());
    let values = array(&named, 1 + dice.roll(10) as usize, dice);
    macro_rules! keyed {
        ($($name:ident => $ty:ty),*) => {
            match key {
                $(DataType::$name => {
                    let keys: Vec<_> = (0..rows).map(|_| dice.roll(values.len() as u64) as <$ty as ArrowPrimitiveType>::Native).collect();
                    Arc::new(DictionaryArray::<$ty>::new(PrimitiveArray::new(keys.into(), nulls), values)) as ArrayRef
                })*
                other => panic!("{other} is no key"),
            }
        };
    }
    keyed!(Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
        UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type)
}

/// Texts, bytes, or the storage of an extension type.
fn cells(field: &Field, rows: usize, nulls: Option<NullBuffer>, dice: &mut Dice) -> Vec<Option<Vec<u8>>> {
    let cell = |dice: &mut Dice| match (extension_of(field), field.data_type()) {
        (Some("json"), _) => json_text(3, dice).into_bytes(),
        (Some("inet"), _) => inet(dice).into_bytes(),
        (Some("mac"), _) => (0..6).map(|_| dice.bits() as u8).collect(),
        (_, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => (0..dice.roll(12)).map(|_| dice.bits() as u8).collect(),
        _ => text(dice),
    };
    (0..rows).map(|row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then(|| cell(dice))).collect()
}

/// Text with whatever a format has to quote, escape or replace.
fn text(dice: &mut Dice) -> Vec<u8> {
    const PIECES: [&[u8]; 22] = [
        b"a",
        b"word",
        b" ",
        b",",
        b";",
        b"\"",
        b"\\.",
        b"<b>&",
        b"\n",
        b"\r",
        b"\t",
        b"\x00",
        b"\x1f",
        b"\x7f",
        b"\xff",
        b"\xe2\x80",
        "日本".as_bytes(),
        "é".as_bytes(),
        "\u{2028}".as_bytes(),
        "😀".as_bytes(),
        b"sixteen letters.",
        b"long enough for a view to point",
    ];
    // Mostly plain, so that whole blocks are.
    let pieces = if dice.one_in(4) { PIECES.len() as u64 } else { 2 };
    (0..dice.roll(6)).flat_map(|_| PIECES[dice.roll(pieces) as usize].iter().copied()).collect()
}

fn json_text(depth: u64, dice: &mut Dice) -> String {
    match dice.roll(if depth > 0 { 8 } else { 6 }) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => dice.wide().to_string(),
        3 => dice.pick(&["1.50", "1e3", "-0", "9007199254740993.0"]).to_owned(),
        4 => dice.pick(&["\"\"", "\"a<b>&\"", "\"\\u00e9\\n\"", "\"日本\u{2028}\""]).to_owned(),
        5 => " [ ] ".to_owned(),
        6 => format!("[{} , {}]", json_text(depth - 1, dice), json_text(depth - 1, dice)),
        _ => {
            let key = dice.pick(&["\"b\"", "\"a b\"", "\"<k>\"", "\"a.b\""]);
            format!("{{{key}: {}, \"a\":\n{}}}", json_text(depth - 1, dice), json_text(depth - 1, dice))
        }
    }
}

/// A network in the form in which it is written again.
fn inet(dice: &mut Dice) -> String {
    if dice.one_in(3) {
        return dice.pick(&["2001:db8::1/64", "::/0", "fe80:0:0:1::/64", "1:0:0:2::3/128"]).to_owned();
    }
    let byte = |dice: &mut Dice| dice.roll(256);
    format!("{}.{}.{}.{}/{}", byte(dice), byte(dice), byte(dice), byte(dice), dice.roll(33))
}

fn float(dice: &mut Dice) -> f64 {
    match dice.roll(6) {
        0 => f64::from_bits(dice.bits()),
        1 => dice.pick(&[0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e21, 1e-7, 999_999.5]),
        2 => dice.wide() as f64,
        _ => dice.roll(2_000_000) as f64 / 100.0 - 10_000.0,
    }
}

/// Milliseconds of as many days, and seconds of as many milliseconds, as Parquet can count: beyond them a table fails by its column's name,
/// which the encoder's own tests have.
const MOST_DATE64: i64 = i32::MAX as i64 * 86_400_000;
const MOST_SECONDS: i64 = i64::MAX / 1_000;

/// Mostly of this century, now and then of any time at all.
fn instant(ticks_a_second: i64, dice: &mut Dice) -> i64 {
    if dice.one_in(6) {
        dice.wide()
    } else {
        (dice.roll(4_000_000_000) as i64 - 1_000_000_000).wrapping_mul(ticks_a_second) + dice.roll(1_000) as i64
    }
}

/// A number of at most so many digits, of either sign.
fn digits(precision: u8, dice: &mut Dice) -> i256 {
    let most = dice.roll(u64::from(precision) + 1);
    let mut value = i256::ZERO;
    for _ in 0..most {
        value = value.wrapping_mul(i256::from_i128(10)).wrapping_add(i256::from_i128(i128::from(dice.roll(10))));
    }
    if dice.one_in(2) { value.wrapping_neg() } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names of all types in a schema, at any depth.
    fn kinds(data_type: &DataType, depth: usize, found: &mut BTreeSet<String>) -> usize {
        let name = format!("{data_type:?}");
        found.insert(name.split(['(', ' ', '{']).next().unwrap_or_default().to_owned());
        let children: Vec<&Field> = match data_type {
            DataType::Struct(fields) => fields.iter().map(|field| field.as_ref()).collect(),
            DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => vec![item],
            DataType::FixedSizeList(item, _) | DataType::Map(item, _) => vec![item],
            _ => vec![],
        };
        children.into_iter().map(|child| kinds(child.data_type(), depth + 1, found)).max().unwrap_or(depth)
    }

    #[test]
    fn a_seed_gives_one_table_and_seeds_give_every_type() {
        let (mut found, mut deepest, mut offset) = (BTreeSet::new(), 0, false);
        for seed in 0..400 {
            let table = Generated::new("t", seed, Types::Text);
            assert_eq!(table.ipc(), Generated::new("t", seed, Types::Text).ipc());
            for field in table.logical.fields() {
                deepest = deepest.max(kinds(field.data_type(), 1, &mut found));
            }
            offset |= table.batches.iter().flat_map(|batch| batch.columns()).any(|column| column.to_data().offset() > 0);
        }
        assert!(deepest >= MAX_DEPTH && offset, "depth {deepest}");
        let wanted = "Null Boolean Int8 UInt64 Float16 Float64 Utf8 LargeUtf8 Utf8View Binary LargeBinary BinaryView FixedSizeBinary Date32 \
                      Date64 Time32 Time64 Timestamp Duration Interval Decimal32 Decimal64 Decimal128 Decimal256 List LargeList ListView \
                      LargeListView FixedSizeList Struct Map Dictionary";
        let missing: Vec<_> = wanted.split_whitespace().filter(|name| !found.contains(*name)).collect();
        assert!(missing.is_empty(), "never made: {missing:?}; found {found:?}");
    }
}
