//! The tables and arguments of the benchmarks.

use anyhow::{Context, Result, bail};
use arrow_array::builder::{BinaryBuilder, Float64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The arguments of a benchmark.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// TPC-H scale factor of lineitem; the other tables are made about as large.
    pub scale: f64,
    /// Number of runs of each measurement.
    pub repeats: usize,
    /// Rows per record.
    pub record_rows: usize,
    /// Formats, `csv` to `parquet.zst`.
    pub formats: Vec<String>,
    /// Tables, `lineitem`, `wide`, `log`.
    pub tables: Vec<String>,
    /// File to draw the result in.
    pub svg: Option<std::path::PathBuf>,
}

impl Arguments {
    /// The options, as `--help` prints them.
    const USAGE: &str = "\
--scale N         TPC-H scale factor of lineitem; the other tables are about as large [0.1]
--repeats N       runs of each measurement, of which the median counts [3]
--record-rows N   rows of a record [10000]
--formats A,B     of csv, json, parquet, csv.gz, json.gz, csv.zst, json.zst, parquet.zst [all]
--tables A,B      of lineitem, wide, log [all]
--svg FILE        draws the result";

    /// Parses the command line; `--help` prints the options and exits.
    ///
    /// # Errors
    /// An option is unknown or has an invalid value.
    pub fn parse() -> Result<Self> {
        Self::parse_from(std::env::args().skip(1))
    }

    /// Parses the arguments that a program has not handled itself.
    ///
    /// # Errors
    /// As [`Arguments::parse`].
    #[expect(clippy::print_stdout, reason = "the answer to --help")]
    pub fn parse_from(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let split = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut parsed = Self {
            scale: 0.1,
            repeats: 3,
            record_rows: 10_000,
            formats: split("csv,json,parquet,csv.gz,json.gz,csv.zst,json.zst,parquet.zst"),
            tables: split("lineitem,wide,log"),
            svg: None,
        };
        while let Some(option) = args.next() {
            if matches!(option.as_str(), "--help" | "-h") {
                println!("{}", Self::USAGE);
                std::process::exit(0);
            }
            let value = args.next().with_context(|| format!("{option} has no value"))?;
            match option.as_str() {
                "--scale" => parsed.scale = value.parse()?,
                "--repeats" => parsed.repeats = value.parse()?,
                "--record-rows" => parsed.record_rows = value.parse()?,
                "--formats" => parsed.formats = split(&value),
                "--tables" => parsed.tables = split(&value),
                "--svg" => parsed.svg = Some(value.into()),
                other => bail!("unknown option {other}; known are\n{}", Self::USAGE),
            }
        }
        Ok(parsed)
    }
}

/// Seconds of computing of this thread, from an origin of its own: on a shared machine the time of day measures the neighbours. Where the
/// system does not tell, the time of day.
pub fn thread_seconds() -> f64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let computed = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = computed.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).filter(|it| *it > 0);
    match nanoseconds {
        Some(nanoseconds) => nanoseconds as f64 / 1e9,
        None => START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64(),
    }
}

/// The median of at least one measurement.
///
/// # Panics
/// There are no measurements.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A table with its messages.
#[derive(Debug)]
pub struct Table {
    /// Name of the table.
    pub name: String,
    /// Rows of the table.
    pub rows: usize,
    /// One Arrow IPC stream per record.
    pub messages: Vec<Vec<u8>>,
    bytes: usize,
    batches: Vec<RecordBatch>,
}

impl Table {
    fn new(name: &str, batches: &[RecordBatch], record_rows: usize) -> Result<Self> {
        let batches: Vec<RecordBatch> = batches.iter().flat_map(|batch| sliced(batch, record_rows)).collect::<Result<_>>()?;
        let schema = batches[0].schema();
        let messages: Vec<Vec<u8>> =
            batches.iter().map(|batch| crate::tables::ipc(&schema, std::slice::from_ref(batch))).collect::<Result<_>>()?;
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let bytes = batches.iter().flat_map(|batch| batch.columns().iter().map(|column| used_bytes(&column.to_data()))).sum();
        Ok(Self { name: name.to_owned(), rows, messages, bytes, batches })
    }

    /// The first rows of the table, in records of another size.
    ///
    /// # Errors
    /// The rows cannot be encoded.
    pub fn with_record_rows(&self, rows: usize, record_rows: usize) -> Result<Self> {
        let mut left = rows;
        let mut batches = Vec::new();
        for batch in &self.batches {
            let taken = batch.num_rows().min(left);
            batches.push(batch.slice(0, taken));
            left -= taken;
        }
        Self::new(&self.name, &batches, record_rows)
    }

    /// The same table with one column more, whose values are given for all rows.
    ///
    /// # Errors
    /// There are too few values, or the rows cannot be encoded.
    pub fn with_column(&self, name: &str, values: ArrayRef, record_rows: usize) -> Result<Self> {
        let mut start = 0;
        let mut widened = |batch: &RecordBatch| {
            let part = values.slice(start, batch.num_rows());
            start += batch.num_rows();
            let old = batch.schema();
            let field = Arc::new(Field::new(name, part.data_type().clone(), false));
            let fields: Vec<_> = old.fields().iter().cloned().chain([field]).collect();
            let columns = batch.columns().iter().cloned().chain([part]).collect();
            RecordBatch::try_new(Arc::new(Schema::new_with_metadata(fields, old.metadata().clone())), columns)
        };
        Self::new(&self.name, &self.batches.iter().map(&mut widened).collect::<Result<Vec<_>, _>>()?, record_rows)
    }

    /// Bytes of its Arrow buffers, in millions.
    pub fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }

    /// Writes it as an Arrow IPC file, for the peers.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<()> {
        let mut writer = arrow_ipc::writer::FileWriter::try_new(std::fs::File::create(path)?, &self.batches[0].schema())?;
        for batch in &self.batches {
            writer.write(batch)?;
        }
        Ok(writer.finish()?)
    }
}

/// Bytes that the rows of an array need, whatever larger buffers they lie in.
fn used_bytes(data: &arrow_data::ArrayData) -> usize {
    data.get_slice_memory_size().unwrap_or_else(|_| data.get_buffer_memory_size())
}

/// Copies of its rows, so many at a time: a slice of a list would count the whole of its child.
fn sliced(batch: &RecordBatch, rows: usize) -> Vec<Result<RecordBatch>> {
    let copy = |start: usize| {
        let slice = batch.slice(start, rows.min(batch.num_rows() - start));
        // Of a single batch the copy would be the slice itself.
        Ok(arrow_select::concat::concat_batches(&batch.schema(), &[slice.slice(0, 0), slice])?)
    };
    (0..batch.num_rows()).step_by(rows).map(copy).collect()
}

/// The requested tables.
///
/// # Errors
/// A table is unknown.
pub fn tables(arguments: &Arguments) -> Result<Vec<Table>> {
    arguments
        .tables
        .iter()
        .map(|name| {
            let batches = match name.as_str() {
                "lineitem" => lineitem(arguments.scale)?,
                "wide" => wide(arguments.scale)?,
                "log" => vec![log((arguments.scale * 3_000_000.0) as usize)],
                other => bail!("unknown table {other}; known: lineitem, wide, log"),
            };
            Table::new(name, &batches, arguments.record_rows)
        })
        .collect()
}

fn lineitem(scale: f64) -> Result<Vec<RecordBatch>> {
    let named = |batch: RecordBatch| crate::tables::Table::from_batch(crate::tpch::LINEITEM, &batch).batch();
    crate::tpch::lineitem(scale).map(|batch| named(batch?)).collect()
}

/// The 231 columns of the SDK's test table, its ordinary rows over and over.
fn wide(scale: f64) -> Result<Vec<RecordBatch>> {
    let file = std::fs::File::open(crate::golden_folder().join("cases/sdk_test_table/input.arrows"))?;
    let batch = arrow_ipc::reader::StreamReader::try_new(file, None)?.next().context("the golden table has no rows")??;
    let rows: u64 = 5.min(batch.num_rows() as u64);
    let indices = arrow_array::UInt64Array::from_iter_values((0..(scale * 20_000.0) as u64).map(|row| row % rows));
    let columns = batch.columns().iter().map(|column| arrow_select::take::take(column, &indices, None)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![RecordBatch::try_new(batch.schema(), columns)?])
}

/// A table like that of a log collector: text with quotes, line breaks and other alphabets, JSON, lists, nulls.
fn log(rows: usize) -> RecordBatch {
    let json = HashMap::from([
        ("ARROW:extension:name".to_owned(), "json".to_owned()),
        ("ARROW:extension:metadata".to_owned(), "json-serialized".to_owned()),
    ]);
    let tags = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let time = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()));
    let schema: SchemaRef = Arc::new(Schema::new_with_metadata(
        vec![
            Field::new("id", DataType::Int64, false),
            Field::new("time", time, false),
            Field::new("service", DataType::Utf8, true),
            Field::new("message", DataType::Utf8, true),
            Field::new("payload", DataType::Binary, true).with_metadata(json),
            Field::new("duration_ms", DataType::Float64, true),
            Field::new("tags", tags, true),
        ],
        HashMap::from([("cq:table_name".to_owned(), "log".to_owned())]),
    ));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = move |sides: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % sides
    };
    let mut time = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let (mut service, mut message, mut payload) = (StringBuilder::new(), StringBuilder::new(), BinaryBuilder::new());
    let (mut duration, mut tags) = (Float64Builder::new(), ListBuilder::new(StringBuilder::new()));
    for row in 0..rows {
        time.append_value(1_700_000_000_000_000 + row as i64 * 1_337);
        service.append_option((dice(20) != 0).then(|| ["api", "checkout", "auth-service", "billing"][dice(4) as usize]));
        message.append_value(match dice(5) {
            0 => format!("request \"{}\" took, all in all, {} ms\nretrying", dice(1_000_000), dice(5_000)),
            1 => format!("Zahlung über {} € für Kunde {} bestätigt", dice(900), dice(100_000)),
            _ => format!("GET /v1/items/{}?page={} finished with status {}", dice(1_000_000), dice(40), 200 + dice(5)),
        });
        payload.append_option((dice(10) != 0).then(|| {
            format!(
                r#"{{"user": {{"id": {}, "name": "user-{}"}}, "ok": {}, "values": [{}, {}.5]}}"#,
                dice(100_000),
                dice(999),
                dice(2) == 0,
                dice(9),
                dice(9)
            )
        }));
        duration.append_option((dice(4) != 0).then(|| dice(1_000_000) as f64 / 1_000.0));
        for _ in 0..dice(4) {
            tags.values().append_value(["prod", "eu-central-1", "canary", "v2"][dice(4) as usize]);
        }
        tags.append(dice(8) != 0);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
        Arc::new(time.finish()),
        Arc::new(service.finish()),
        Arc::new(message.finish()),
        Arc::new(payload.finish()),
        Arc::new(duration.finish()),
        Arc::new(tags.finish()),
    ];
    RecordBatch::try_new(schema, columns).expect("the columns fit the schema")
}
