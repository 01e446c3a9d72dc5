//! Properties of random tables: the guest in wasm writes the same bytes as natively; rows split into messages anywhere are the same rows; JSON and
//! Parquet read back as what was sent, up to the documented text forms.
//!
//! A fixed number of tables from a fixed seed; `LAKEGATE_PROPERTY_CASES` and `LAKEGATE_PROPERTY_SEED` select others.

use crate::fixtures::support::{TestStore, test_store};
use crate::formats::readers::{json_matches, parquet_matches};
use anyhow::{Context, Result, anyhow, ensure};
use arrow_array::StringArray;
use lakegate::{Destination, WriteReport};
use lakegate_guest::encode::{EncodeError, Encoders};
use lakegate_guest::ipc::Decoder;
use lakegate_guest::sink::{SessionLimits, Sink};
use lakegate_guest::spec::{CsvOptions, Format, JsonOptions, ParquetOptions, ParquetVersion, RootRepetition, Spec};
use lakegate_guest::testing::FakeHost;
use lakegate_tests::generate::{Dice, Generated, Types, asked};
use lakegate_tests::output::CollectedOutput;
use lakegate_tests::tables::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Default number of tables of a test, and the first seed.
const CASES: u64 = 150;
const SEED: u64 = 20_200_913;

/// The seeds of the tables, which are also printed.
#[expect(clippy::print_stdout, reason = "the seed is what a reader of a failure needs")]
fn seeds(what: &str) -> std::ops::Range<u64> {
    let (seed, cases) = (asked("LAKEGATE_PROPERTY_SEED", SEED), asked("LAKEGATE_PROPERTY_CASES", CASES));
    println!("{what}: seeds {seed} to {}", seed + cases - 1);
    seed..seed + cases
}

fn table(seed: u64) -> String {
    format!("table_{seed}")
}

/// The bodies of a table's objects, sorted: objects of a rotating table have no order of their own.
type Bodies = BTreeMap<String, Result<Vec<Vec<u8>>, String>>;

fn spec(changes: &Value) -> Value {
    let mut spec = json!({
        "bucket": "property", "region": "us-east-1", "path": "{{TABLE}}", "batch_size": 0, "batch_size_bytes": 0, "batch_timeout": "0s",
        "test_write": false,
    });
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes.clone());
    }
    spec
}

/// The output of the guest in wasm for all tables, in one write.
async fn in_wasm(test_store: &TestStore, spec: &Value, tables: &[(String, Vec<u8>)]) -> Result<Bodies> {
    // One lane, so that a rotating table is split where a single guest would split it.
    let options = lakegate::Options { lanes: NonZeroUsize::MIN, ..test_store.options() };
    let session = Destination::new(crate::fixtures::support::runtime(), options).open(&spec.to_string(), "sync").await?;
    let mut write = session.write()?;
    for (_, ipc) in tables {
        write.insert(ipc.clone().into()).await?;
    }
    let report = write.finish().await;
    session.close().await;
    Ok(bodies(test_store, &report))
}

fn bodies(test_store: &TestStore, report: &WriteReport) -> Bodies {
    let outcome = |table: &lakegate::TableReport| match &table.failure {
        Some(failure) => Err(failure.message.clone()),
        None => {
            let mut bodies: Vec<_> = table.receipts.iter().map(|receipt| test_store.body(receipt.key.as_str())).collect();
            bodies.sort();
            Ok(bodies)
        }
    };
    report.tables.iter().map(|table| (table.table.clone(), outcome(table))).collect()
}

/// The output of the same guest natively.
fn natively(spec: &Value, tables: &[(String, Vec<u8>)]) -> Result<Bodies> {
    let spec = Spec::parse(&spec.to_string(), "sync").map_err(|problems| anyhow!("{problems:?}"))?;
    let host = FakeHost::default();
    let mut sink = Sink::open(host.clone(), spec.settings, SessionLimits { encoder_bytes: 128 << 20, open_objects: 4_096 });
    let mut bodies = Bodies::new();
    for (name, ipc) in tables {
        let failure = sink.insert(ipc.clone(), 0).err();
        bodies.insert(name.clone(), failure.map_or_else(|| Ok(Vec::new()), |error| Err(error.to_string())));
    }
    for (name, error) in sink.end_write(1).failures {
        bodies.insert(name, Err(error.to_string()));
    }
    for object in host.objects().into_iter().filter(|object| object.rows.is_some()) {
        let name = object.attributes.key.split('/').next().unwrap_or_default();
        if let Some(Ok(bodies)) = bodies.get_mut(name) {
            bodies.push(object.body);
        }
    }
    bodies.values_mut().flatten().for_each(|bodies| bodies.sort());
    Ok(bodies)
}

async fn check(what: &str, changes: Value, types: Types) -> Result<()> {
    let seeds = seeds(what);
    let generated: Vec<_> = seeds.map(|seed| (table(seed), Generated::new(&table(seed), seed, types))).collect();
    let tables: Vec<_> = generated.iter().map(|(name, table)| (name.clone(), table.ipc())).collect();
    let (test_store, spec) = (test_store("property"), spec(&changes));
    let (wasm, native) = (in_wasm(&test_store, &spec, &tables).await?, natively(&spec, &tables)?);
    let mut rows = 0;
    for (name, table) in &generated {
        // A table without rows may have no output at all.
        let nothing = Ok(Vec::new());
        let (wasm, native) = (wasm.get(name).unwrap_or(&nothing), native.get(name).unwrap_or(&nothing));
        ensure!(wasm == native, "{name}: wasm and native differ: {:?} / {:?}", brief(wasm), brief(native));
        let written = native.as_ref().map_err(|error| anyhow!("{name}: {error}"))?;
        read_back(table, written, &changes).with_context(|| format!("{name}: read back"))?;
        rows += table.rows();
    }
    ensure!(rows > generated.len(), "only {rows} rows");
    Ok(())
}

/// Formats errors, or lengths, since bodies are too long to show.
fn brief(bodies: &Result<Vec<Vec<u8>>, String>) -> Result<Vec<usize>, &String> {
    bodies.as_ref().map(|bodies| bodies.iter().map(Vec::len).collect())
}

/// Compares plain JSON and Parquet objects with the rows. Rotated objects are sorted, and rows may be, so those are only counted.
fn read_back(table: &Generated, bodies: &[Vec<u8>], changes: &Value) -> Result<()> {
    let is_sorted = changes["format_spec"].get("sort_by").is_some();
    if changes.get("compression").is_some() || changes.get("path").is_some() || is_sorted {
        return Ok(());
    }
    let body = bodies.first().map(Vec::as_slice);
    ensure!(bodies.len() <= 1 && body.is_some() == (table.rows() > 0), "{} objects of {} rows", bodies.len(), table.rows());
    match (body, changes["format"].as_str()) {
        (Some(body), Some("json")) => json_matches(table, body),
        (Some(body), Some("parquet")) => parquet_matches(table, body),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_in_wasm_is_csv_natively() -> Result<()> {
    check("csv", json!({"format": "csv"}), Types::Text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_in_wasm_is_json_natively_and_reads_back() -> Result<()> {
    check("json", json!({"format": "json"}), Types::Text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_in_wasm_is_parquet_natively_and_reads_back() -> Result<()> {
    check("parquet", json!({"format": "parquet"}), Types::Parquet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_in_wasm_is_gzip_natively() -> Result<()> {
    check("csv.gz", json!({"format": "csv", "compression": "gzip"}), Types::Text).await?;
    check("json.gz", json!({"format": "json", "compression": "gzip"}), Types::Text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_in_wasm_is_zstd_natively() -> Result<()> {
    check("csv.zst", json!({"format": "csv", "compression": "zstd"}), Types::Text).await?;
    check("json.zst", json!({"format": "json", "compression": "zstd", "compression_level": 9}), Types::Text).await
}

/// Every option of Parquet at once: codecs, filters, order and ids are the same on 32 bits.
#[tokio::test(flavor = "multi_thread")]
async fn parquet_with_options_in_wasm_is_that_made_natively() -> Result<()> {
    for compression in ["zstd", "gzip", "none"] {
        let options =
            json!({"compression": compression, "field_ids": true, "page_index": false, "bloom_filter_columns": ["c0", "c1", "c2"]});
        check(&format!("parquet, {compression}"), json!({"format": "parquet", "format_spec": options}), Types::Parquet).await?;
    }
    let sorted = json!({"compression": "zstd", "sort_by": ["c1 desc", "c0", "c2"]});
    check("parquet, sorted", json!({"format": "parquet", "format_spec": sorted}), Types::Parquet).await
}

/// Objects of seven rows, so that blocks, validity and offsets start anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn rotated_objects_in_wasm_are_those_made_natively() -> Result<()> {
    let rotated = |format: &str| json!({"format": format, "path": "{{TABLE}}/{{UUID}}", "batch_size": 7});
    check("rotated csv", rotated("csv"), Types::Text).await?;
    check("rotated json", rotated("json"), Types::Text).await?;
    check("rotated parquet", rotated("parquet"), Types::Parquet).await
}

/// Messages whose rows times a page's bytes are multiples of four GiB, which 32 bits hold as nothing (but for those of 10,000 rows): where
/// pages end is reckoned wide enough.
#[tokio::test(flavor = "multi_thread")]
async fn large_pages_end_in_wasm_where_they_end_natively() -> Result<()> {
    let large = |rows: usize| {
        let name = format!("rows_{rows}");
        let values: StringArray = (0..rows).map(|row| Some(format!("{row:08}").repeat(36))).collect();
        Ok((name.clone(), Table::new(&name).column("text", Arc::new(values)).insert_ipc()?))
    };
    let tables = [4_096, 8_192, 10_000, 16_384].into_iter().map(large).collect::<Result<Vec<_>>>()?;
    let (test_store, spec) = (test_store("property"), spec(&json!({"format": "parquet"})));
    let (wasm, native) = (in_wasm(&test_store, &spec, &tables).await?, natively(&spec, &tables)?);
    ensure!(native.len() == tables.len() && native.values().all(|bodies| matches!(bodies.as_deref(), Ok([_]))), "one object a table");
    for (name, native) in &native {
        ensure!(wasm.get(name) == Some(native), "{name}: wasm and native differ: {:?} / {:?}", wasm.get(name).map(brief), brief(native));
    }
    Ok(())
}

/// A slice of a batch is encoded as its rows: arrays that start anywhere, at any depth, natively.
#[test]
fn slices_are_encoded_as_their_rows() {
    let parquet = ParquetOptions {
        version: ParquetVersion::V2Latest,
        root_repetition: RootRepetition::Repeated,
        max_row_group_rows: NonZeroU64::MAX,
        ..ParquetOptions::default()
    };
    let formats = [Format::Csv(CsvOptions::default()), Format::Json(JsonOptions::default()), Format::Parquet(parquet)];
    for seed in seeds("slices") {
        for format in &formats {
            let types = if matches!(format, Format::Parquet(_)) { Types::Parquet } else { Types::Text };
            let table = Generated::new("t", seed, types);
            let (schema, decoded) = Decoder::default().decode(table.ipc()).expect("a good message");
            let mut dice = Dice::new(!seed);
            // Arrays as the decoder makes them, and as they were: slices of slices. The decoder takes an empty zone for none, so arrays that
            // have one are not of the schema.
            let as_they_were = table.batches.iter().filter(|batch| !format!("{:?}", batch.schema()).contains(r#", Some(""))"#));
            let batches = decoded.into_iter().map(|rows| rows.batch).chain(as_they_were.cloned());
            for batch in batches.filter(|batch| batch.num_rows() > 0) {
                let start = dice.roll(batch.num_rows() as u64) as usize;
                let count = 1 + dice.roll((batch.num_rows() - start) as u64) as usize;
                let encode = |batch: &arrow_array::RecordBatch, rows| -> Result<Vec<u8>, EncodeError> {
                    let mut out = CollectedOutput::default();
                    let mut encoder = Encoders::new(format.clone(), None).open(&schema)?;
                    encoder.write(batch, rows, &mut out)?;
                    encoder.finish(&mut out)?;
                    Ok(out.0)
                };
                let range = encode(&batch, start..start + count).unwrap_or_else(|error| panic!("seed {seed} {}: {error}", format.name()));
                let slice = encode(&batch.slice(start, count), 0..count).expect("the same rows");
                assert!(range == slice, "seed {seed} {}: rows {start} to {}", format.name(), start + count);
            }
        }
    }
}

/// Writes seeds for the fuzz targets; run by hand when the generator has changed.
#[test]
#[ignore = "writes into tests/fuzz/seeds"]
fn write_fuzz_seeds() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (target, types) in [("ipc_csv", Types::Text), ("ipc_json", Types::Text), ("ipc_parquet", Types::Parquet)] {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).expect("a folder");
        // Fuzzers like small inputs.
        let small = (0..10_000).map(|seed| (seed, Generated::new("t", seed, types).ipc())).filter(|(_, ipc)| ipc.len() <= 3_000);
        for (seed, ipc) in small.take(24) {
            std::fs::write(folder.join(format!("table-{seed}.arrows")), ipc).expect("a seed");
        }
    }
}
