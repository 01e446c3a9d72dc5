//! What the fuzz targets do with bytes: plain functions, so that seeds are replayed without a fuzzer.
//!
//! Each takes any bytes at all and panics if a law is broken. That the code under test does not panic itself, nor take memory without end,
//! is the first law of each.

use crate::athena;
use crate::encode::{EncodeError, Encoders, Output};
use crate::host::{PutError, WallTime};
use crate::ipc::{Decoder, Rows, TableSchema};
use crate::limits::MAX_KEY_BYTES;
use crate::path::{KeyContext, PathTemplate};
use crate::spec::{CsvOptions, Format, JsonOptions, ParquetOptions, ParquetVersion, RootRepetition, Settings, Spec};
use arrow_array::cast::AsArray;
use arrow_array::{BinaryArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;

/// What a target does with an input.
pub type Body = fn(&[u8]);

/// Every target, by the name of its folder of seeds.
pub const TARGETS: [(&str, Body); 6] =
    [("ipc_csv", ipc_csv), ("ipc_json", ipc_json), ("ipc_parquet", ipc_parquet), ("spec", spec), ("path", path), ("athena", athena)];

/// Rows that are encoded of an input, and bytes that are taken of its text: a few bytes may ask for a million rows, which proves no more
/// than a thousand.
const MOST_ROWS: usize = 2_000;
const MOST_BYTES: usize = 4 << 20;

/// The words that a JSON reader with a bound on depth stops with.
const TOO_DEEP: &str = "recursion limit exceeded";

/// IPC to CSV: cutting the rows changes nothing.
///
/// # Panics
/// The law is broken.
pub fn ipc_csv(data: &[u8]) {
    encoded_alike(data, &Format::Csv(CsvOptions::default()));
}

/// IPC to JSON lines: cutting the rows changes nothing, and each line is JSON.
///
/// # Panics
/// The law is broken.
pub fn ipc_json(data: &[u8]) {
    if let Some(text) = encoded_alike(data, &Format::Json(JsonOptions::default())) {
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            if let Err(error) = serde_json::from_slice::<IgnoredAny>(line) {
                assert!(error.to_string().starts_with(TOO_DEEP), "a line is not JSON: {error}");
            }
        }
    }
}

/// IPC to Parquet: the file reads back, row by row, in groups of the size asked for.
///
/// # Panics
/// The law is broken.
pub fn ipc_parquet(data: &[u8]) {
    let options = ParquetOptions {
        version: ParquetVersion::V2Latest,
        root_repetition: RootRepetition::Repeated,
        max_row_group_rows: NonZeroU64::new(700).unwrap_or(NonZeroU64::MIN),
        ..ParquetOptions::default()
    };
    let format = Format::Parquet(options);
    let Ok((schema, batches)) = Decoder::default().decode(data.to_vec()) else { return };
    let Ok(file) = encoded(&format, &schema, &batches, &[]) else { return };
    let rows: usize = batches.iter().map(|rows| rows.batch.num_rows().min(MOST_ROWS)).sum();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).expect("a Parquet file");
    let written: i64 = reader.metadata().row_groups().iter().map(|group| group.num_rows()).sum();
    assert_eq!(written, rows as i64, "rows of the footer");
    let read: usize = reader.build().expect("a reader").map(|batch| batch.expect("readable pages").num_rows()).sum();
    assert_eq!(read, rows, "rows that come back");
}

/// A spec is checked or refused; what is checked comes back from its JSON.
///
/// # Panics
/// The law is broken.
pub fn spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // What is no settings is refused, whatever it is.
    let _ = Settings::from_json(&text);
    if let Ok(spec) = Spec::parse(&text, "6f1c2f3e-1111-4222-8333-444455556666") {
        let again = Settings::from_json(&spec.settings.to_json()).expect("what was written is read");
        assert_eq!(again, spec.settings);
    }
}

/// A path and, after the first line, a table's name: the rendered key is well formed or refused.
///
/// # Panics
/// The law is broken.
pub fn path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, table) = text.split_once('\n').unwrap_or((&text, "table"));
    let Ok(template) = PathTemplate::parse(path) else { return };
    let seconds = data.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(*byte)));
    let time = WallTime { seconds: seconds % (1 << 36), nanoseconds: 0 };
    // A value is as hostile as the name of a table.
    let partition = vec![Some(table.into()); template.partition_fields().len()];
    let context = KeyContext {
        table,
        format_extension: "csv.gz",
        uuid: "00000000-0000-4000-8000-000000000000",
        sync_id: "id",
        time,
        commit_id: "commit",
        sequence: 1,
        shard: 1,
        schema: 1,
        partition: &partition,
        null_name: "null",
    };
    let Ok(key) = template.render(&context) else { return };
    assert!(!key.is_empty() && key.len() <= MAX_KEY_BYTES && !key.chars().any(char::is_control), "{key:?}");
    assert!(key.split('/').all(|segment| !matches!(segment, "" | "." | "..")), "{key:?}");
    assert!(path != "{{TABLE}}" || key == table, "a name was expanded: {key:?}");
}

/// JSON whose keys are cleaned: what a reader of JSON takes is taken, stays JSON, and is clean for good.
///
/// # Panics
/// The law is broken.
pub fn athena(data: &[u8]) {
    let metadata = [("ARROW:extension:name", "json"), ("ARROW:extension:metadata", "json-serialized")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let field = Field::new("j", DataType::Binary, true).with_metadata(HashMap::from(metadata));
    let schema = Arc::new(Schema::new(vec![field]));
    let table = TableSchema { table: "t".into(), logical: schema.clone(), physical: schema.clone() };
    let clean = |text: &[u8]| -> Result<Vec<u8>, EncodeError> {
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(BinaryArray::from_vec(vec![text]))]);
        let cleaned = athena::clean(&table, &batch.expect("one column"), &mut |_| {})?;
        Ok(cleaned.column(0).as_binary::<i32>().value(0).to_vec())
    };
    let judged = serde_json::from_slice::<IgnoredAny>(data);
    let Ok(once) = clean(data) else {
        assert!(judged.is_err(), "JSON was refused");
        return;
    };
    if judged.is_ok() {
        assert!(serde_json::from_slice::<IgnoredAny>(&once).is_ok(), "JSON became something else");
    }
    assert!(clean(&once).is_ok_and(|twice| twice == once), "clean keys were cleaned again");
}

/// Encodes an input whole and in pieces, which have to be equal; both, if the input has rows.
fn encoded_alike(data: &[u8], format: &Format) -> Option<Vec<u8>> {
    let (schema, batches) = Decoder::default().decode(data.to_vec()).ok()?;
    let whole = encoded(format, &schema, &batches, &[]);
    let cut = encoded(format, &schema, &batches, &[1, 300, 7]);
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert!(whole == cut, "cutting the rows changed the text");
            Some(whole)
        }
        (Err(EncodeError::Put(_)), _) | (_, Err(EncodeError::Put(_))) => None,
        (whole, cut) => {
            assert!(whole.is_err() && cut.is_err(), "cutting the rows made the difference between text and none");
            None
        }
    }
}

/// All rows, in pieces of the lengths given, over and over; in one piece if none are given.
fn encoded(format: &Format, schema: &Rc<TableSchema>, batches: &[Rows], lengths: &[usize]) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoders::new(format.clone(), None).open(schema)?;
    let mut out = Collected(Vec::new());
    let mut lengths = lengths.iter().copied().cycle();
    for Rows { batch, .. } in batches {
        let rows = batch.num_rows().min(MOST_ROWS);
        let mut start = 0;
        while start < rows || rows == 0 {
            let end = (start + lengths.next().unwrap_or(rows)).min(rows);
            encoder.write(batch, start..end, &mut out)?;
            start = end;
            if rows == 0 {
                break;
            }
        }
    }
    encoder.finish(&mut out)?;
    Ok(out.0)
}

struct Collected(Vec<u8>);

impl Output for Collected {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        assert!(!bytes.is_empty(), "an output takes at least one byte");
        if self.0.len() > MOST_BYTES {
            return Err(PutError::Quota("more text than a test looks at".to_owned()));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
