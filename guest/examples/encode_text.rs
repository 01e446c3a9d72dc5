//! How fast CSV and JSON lines are encoded: MB of Arrow a second, on rows shaped like TPC-H's lineitem.
//!
//! `cargo run --profile guest -p lakegate-guest --example encode_text`

use arrow_array::{ArrayRef, BinaryArray, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use lakegate_guest::encode::text::TextShared;
use lakegate_guest::encode::{Encode, EncodeError, Output, csv, json};
use lakegate_guest::host::PutError;
use lakegate_guest::ipc::TableSchema;
use lakegate_guest::spec::{CsvOptions, JsonOptions};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of a record: as many as the default batch.
const ROWS: usize = 10_000;

/// How long each format is measured.
const MEASURED: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Counted(u64);

impl Output for Counted {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.0 += std::hint::black_box(bytes).len() as u64;
        Ok(())
    }
}

fn record() -> (Rc<TableSchema>, RecordBatch) {
    let number = |row: usize, below: usize| row.wrapping_mul(2_654_435_761) / 7 % below;
    let ints = |below: usize| -> ArrayRef { Arc::new((0..ROWS).map(|row| Some(number(row, below) as i64)).collect::<Int64Array>()) };
    let decimals = |below: usize| -> ArrayRef {
        let values = (0..ROWS).map(|row| Some(number(row, below) as i128)).collect::<Decimal128Array>();
        Arc::new(values.with_precision_and_scale(15, 2).unwrap_or_else(|_| Decimal128Array::from(Vec::<i128>::new())))
    };
    let dates = || -> ArrayRef { Arc::new((0..ROWS).map(|row| Some(8_000 + number(row, 2_500) as i32)).collect::<Date32Array>()) };
    let texts = |words: &[&str]| -> ArrayRef {
        Arc::new((0..ROWS).map(|row| Some(words[number(row, words.len())].as_bytes())).collect::<BinaryArray>())
    };
    let columns: Vec<(&str, DataType, ArrayRef)> = vec![
        ("l_orderkey", DataType::Int64, ints(6_000_000)),
        ("l_partkey", DataType::Int64, ints(200_000)),
        ("l_suppkey", DataType::Int64, ints(10_000)),
        ("l_linenumber", DataType::Int32, Arc::new((0..ROWS).map(|row| Some(row as i32 % 7)).collect::<Int32Array>())),
        ("l_quantity", DataType::Decimal128(15, 2), decimals(5_000)),
        ("l_extendedprice", DataType::Decimal128(15, 2), decimals(10_000_000)),
        ("l_discount", DataType::Decimal128(15, 2), decimals(11)),
        ("l_tax", DataType::Decimal128(15, 2), decimals(9)),
        ("l_returnflag", DataType::Utf8, texts(&["A", "N", "R"])),
        ("l_linestatus", DataType::Utf8, texts(&["F", "O"])),
        ("l_shipdate", DataType::Date32, dates()),
        ("l_commitdate", DataType::Date32, dates()),
        ("l_receiptdate", DataType::Date32, dates()),
        ("l_shipinstruct", DataType::Utf8, texts(&["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"])),
        ("l_shipmode", DataType::Utf8, texts(&["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"])),
        (
            "l_comment",
            DataType::Utf8,
            texts(&[
                "egular courts above the",
                "ly final dependencies: slyly bold",
                "riously. regular, express dep",
                "lites. fluffily even de",
            ]),
        ),
    ];
    let fields = |logical: bool| {
        let field = |(name, ty, array): &(&str, DataType, ArrayRef)| {
            Field::new(*name, if logical { ty.clone() } else { array.data_type().clone() }, true)
        };
        Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
    };
    let (logical, physical) = (fields(true), fields(false));
    let schema = TableSchema { table: "lineitem".into(), logical, physical: Arc::clone(&physical) };
    let arrays = columns.iter().map(|(.., array)| Arc::clone(array)).collect();
    (Rc::new(schema), RecordBatch::try_new(physical, arrays).expect("the columns are as long as each other"))
}

fn measure(name: &str, batch: &RecordBatch, open: &dyn Fn() -> Result<Box<dyn Encode>, EncodeError>) -> Result<(), EncodeError> {
    let arrow: usize = batch.columns().iter().map(|array| array.get_buffer_memory_size()).sum();
    let mut out = Counted::default();
    let (start, mut rounds) = (Instant::now(), 0u64);
    while start.elapsed() < MEASURED {
        let mut encoder = open()?;
        encoder.write(batch, 0..batch.num_rows(), &mut out)?;
        encoder.finish(&mut out)?;
        rounds += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mb = |bytes: f64| bytes / 1e6 / seconds;
    let line = format!("{name}: {:.0} MB/s of Arrow, {:.0} MB/s written\n", mb((rounds * arrow as u64) as f64), mb(out.0 as f64));
    // A closed pipe only means that nobody reads on.
    let _ = std::io::stdout().write_all(line.as_bytes());
    Ok(())
}

fn main() -> Result<(), EncodeError> {
    let (schema, batch) = record();
    let shared = TextShared::default();
    measure("csv", &batch, &|| csv::open(&schema, CsvOptions::default(), &shared))?;
    measure("json", &batch, &|| json::open(&schema, JsonOptions::default(), &shared))
}
