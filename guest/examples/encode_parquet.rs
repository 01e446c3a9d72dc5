//! How fast Parquet is encoded, and how small, in 10,000-row objects and in one: of an Arrow IPC stream of flat columns in batches of
//! 10,000 rows, or of made-up data in the shape of TPC-H lineitem.
//!
//! ```text
//! cargo run --profile guest -p lakegate-guest --example encode_parquet [FILE.arrows]
//! ```

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};
use lakegate_guest::encode::{EncodeError, Encoders, Output};
use lakegate_guest::host::PutError;
use lakegate_guest::ipc::TableSchema;
use lakegate_guest::spec::{Format, ParquetOptions, ParquetVersion, RootRepetition};
use std::io::Write;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEFAULT_ROWS: usize = 600_000;
const BATCH_ROWS: usize = 10_000;
const SMALL_BATCH_ROWS: usize = 50;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (schema, batches) = match std::env::args().nth(1) {
        Some(path) => load(&path)?,
        None => {
            let schema = schema();
            let batches = (0..DEFAULT_ROWS).step_by(BATCH_ROWS).map(|start| batch(&schema, start)).collect::<Result<_, _>>()?;
            (schema, batches)
        }
    };
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let small: Vec<RecordBatch> = batches
        .iter()
        .flat_map(|batch| {
            (0..batch.num_rows()).step_by(SMALL_BATCH_ROWS).map(|at| batch.slice(at, SMALL_BATCH_ROWS.min(batch.num_rows() - at)))
        })
        .collect();
    let arrow: usize = batches.iter().map(arrow_bytes).sum();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{rows} rows, {:.1} MB of Arrow", arrow as f64 / 1e6)?;
    for (name, batches, object) in
        [("10,000-row objects", &batches, 1), ("one object", &batches, usize::MAX), ("50-row records, 10,000-row objects", &small, 200)]
    {
        let mut best = Duration::MAX;
        let mut written = Counted::default();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            written = encode(&schema, batches, object)?;
            best = best.min(begun.elapsed());
        }
        let rate = arrow as f64 / 1e6 / best.as_secs_f64();
        writeln!(
            out,
            "{name}: {rate:.0} MB/s, {:.2} MB in {} calls, most held {} KiB",
            written.bytes as f64 / 1e6,
            written.calls,
            written.held >> 10
        )?;
    }
    Ok(())
}

#[derive(Default)]
struct Counted {
    bytes: usize,
    calls: usize,
    held: usize,
}

impl Output for Counted {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.bytes += bytes.len();
        self.calls += 1;
        Ok(())
    }
}

fn encode(schema: &Rc<TableSchema>, batches: &[RecordBatch], object: usize) -> Result<Counted, EncodeError> {
    let options = ParquetOptions {
        version: ParquetVersion::V2Latest,
        root_repetition: RootRepetition::Repeated,
        max_row_group_rows: NonZeroU64::MAX,
        ..ParquetOptions::default()
    };
    let mut encoders = Encoders::new(Format::Parquet(options), None);
    let mut out = Counted::default();
    for batches in batches.chunks(object.min(batches.len())) {
        let mut encoder = encoders.open(schema)?;
        for batch in batches {
            encoder.write(batch, 0..batch.num_rows(), &mut out)?;
            out.held = out.held.max(encoder.held_bytes());
        }
        encoder.finish(&mut out)?;
    }
    Ok(out)
}

type Table = (Rc<TableSchema>, Vec<RecordBatch>);

fn load(path: &str) -> Result<Table, Box<dyn std::error::Error>> {
    let reader = StreamReader::try_new(std::fs::File::open(path)?, None)?;
    let logical = reader.schema();
    let twin = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => field.as_ref().clone().with_data_type(DataType::Binary),
        _ => field.as_ref().clone(),
    };
    let physical = Arc::new(Schema::new(logical.fields().iter().map(twin).collect::<Vec<_>>()));
    let batches = reader.map(|batch| {
        let batch = batch?;
        let columns = batch.columns().iter().map(|column| match column.as_string_opt::<i32>() {
            Some(text) => Arc::new(BinaryArray::from(text.clone())) as ArrayRef,
            None => column.clone(),
        });
        RecordBatch::try_new(physical.clone(), columns.collect())
    });
    let batches = batches.collect::<Result<_, _>>()?;
    Ok((Rc::new(TableSchema { table: "measured".into(), logical, physical }), batches))
}

fn schema() -> Rc<TableSchema> {
    let decimal = DataType::Decimal128(15, 2);
    let columns = [
        ("l_orderkey", DataType::Int64),
        ("l_partkey", DataType::Int64),
        ("l_suppkey", DataType::Int64),
        ("l_linenumber", DataType::Int32),
        ("l_quantity", decimal.clone()),
        ("l_extendedprice", decimal.clone()),
        ("l_discount", decimal.clone()),
        ("l_tax", decimal),
        ("l_returnflag", DataType::Utf8),
        ("l_linestatus", DataType::Utf8),
        ("l_shipdate", DataType::Date32),
        ("l_commitdate", DataType::Date32),
        ("l_receiptdate", DataType::Date32),
        ("l_shipinstruct", DataType::Utf8),
        ("l_shipmode", DataType::Utf8),
        ("l_comment", DataType::Utf8),
    ];
    let fields = |text: &DataType| -> Vec<Field> {
        let physical = |data_type: &DataType| if *data_type == DataType::Utf8 { text.clone() } else { data_type.clone() };
        columns.iter().map(|(name, data_type)| Field::new(*name, physical(data_type), false)).collect()
    };
    Rc::new(TableSchema {
        table: "lineitem".into(),
        logical: Arc::new(Schema::new(fields(&DataType::Utf8))),
        physical: Arc::new(Schema::new(fields(&DataType::Binary))),
    })
}

/// A generator of numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % sides
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len() as i64) as usize]
    }
}

const WORDS: [&str; 24] = [
    "furiously",
    "quickly",
    "carefully",
    "blithely",
    "slyly",
    "deposits",
    "accounts",
    "requests",
    "packages",
    "pinto beans",
    "foxes",
    "theodolites",
    "ideas",
    "instructions",
    "according",
    "to the",
    "among",
    "special",
    "ironic",
    "final",
    "regular,",
    "sleep",
    "haggle",
    "nag.",
];

fn batch(schema: &TableSchema, start: usize) -> Result<RecordBatch, Box<dyn std::error::Error>> {
    let mut dice = Dice(start as u64 + 1);
    let rows = BATCH_ROWS as i64;
    let decimal = |values: Vec<i64>| -> Result<ArrayRef, arrow_schema::ArrowError> {
        Ok(Arc::new(Decimal128Array::from_iter_values(values.into_iter().map(i128::from)).with_precision_and_scale(15, 2)?))
    };
    let mut column = |sides: i64, scale: i64, base: i64| -> Vec<i64> { (0..rows).map(|_| base + dice.below(sides) * scale).collect() };
    let orders: Vec<i64> = (0..rows).map(|row| (start as i64 + row) / 4 * 4 / 8 * 32 + (start as i64 + row) / 4 % 8).collect();
    let ships = column(2_526, 1, 8_036);
    let commits: Vec<i32> = ships.iter().zip(column(120, 1, -60)).map(|(ship, after)| (ship + after) as i32).collect();
    let receipts: Vec<i32> = ships.iter().zip(column(30, 1, 1)).map(|(ship, after)| (ship + after) as i32).collect();
    let (parts, suppliers) = (column(200_000, 1, 1), column(10_000, 1, 1));
    let lines: Vec<i32> = (0..rows).map(|row| (row % 4 + 1) as i32).collect();
    let (quantities, prices, discounts, taxes) = (column(50, 100, 100), column(9_000_000, 1, 90_000), column(11, 1, 0), column(9, 1, 0));
    let mut words = |words: &[&'static str]| -> ArrayRef { Arc::new(BinaryArray::from_iter_values((0..rows).map(|_| dice.pick(words)))) };
    let (flags, status) = (words(&["A", "N", "R"]), words(&["O", "F"]));
    let (instructions, modes) = (
        words(&["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"]),
        words(&["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"]),
    );
    let comments: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..rows).map(|_| {
        let mut text = String::new();
        for _ in 0..2 + dice.below(3) {
            text.push_str(dice.pick(&WORDS));
            text.push(' ');
        }
        text
    })));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(orders)),
        Arc::new(Int64Array::from(parts)),
        Arc::new(Int64Array::from(suppliers)),
        Arc::new(Int32Array::from(lines)),
        decimal(quantities)?,
        decimal(prices)?,
        decimal(discounts)?,
        decimal(taxes)?,
        flags,
        status,
        Arc::new(Date32Array::from(ships.iter().map(|day| *day as i32).collect::<Vec<_>>())),
        Arc::new(Date32Array::from(commits)),
        Arc::new(Date32Array::from(receipts)),
        instructions,
        modes,
        comments,
    ];
    Ok(RecordBatch::try_new(schema.physical.clone(), columns)?)
}

fn arrow_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
}
