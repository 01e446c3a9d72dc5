//! The golden cases in the sandbox: the text formats equal the reference byte for byte, plain and gzipped, and every format equals what the
//! same guest makes natively. (Natively, `lakegate-guest` holds its own tests against the same files, Parquet included.)

use crate::support::{Bench, bench};
use anyhow::{Context, Result, ensure};
use lakegate_guest::sink::{SessionLimits, Sink};
use lakegate_guest::spec::Spec;
use lakegate_guest::testing::FakeHost;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Read;

/// One output of a case.
#[derive(Debug, Deserialize)]
struct Output {
    file: String,
    spec: Map<String, Value>,
    error: Option<String>,
}

/// Outputs of all cases, and those of text formats once more under gzip.
const CASES: usize = 48 + 30;

fn spec(output: &Output, gzip: bool) -> Value {
    let mut spec = output.spec.clone();
    let compression = if gzip { "gzip" } else { "" };
    let rest = json!({
        "bucket": "golden", "region": "us-east-1", "path": "{{TABLE}}/object", "batch_size": 0, "batch_size_bytes": 0, "batch_timeout": "0s",
        "test_write": false, "compression": compression,
    });
    if let Value::Object(rest) = rest {
        spec.extend(rest);
    }
    Value::Object(spec)
}

/// What the guest in wasm makes: the object's bytes, or why the table failed.
async fn in_wasm(bench: &Bench, spec: &Value, input: &[u8]) -> Result<Result<Vec<u8>, String>> {
    let session = bench.destination().open(&spec.to_string(), "sync").await?;
    let mut write = session.write()?;
    write.insert(input.to_vec().into()).await?;
    let report = write.finish().await;
    if let Some((_, failure)) = report.failures().next() {
        return Ok(Err(failure.message.clone()));
    }
    let receipts: Vec<_> = report.tables.iter().flat_map(|table| &table.receipts).collect();
    ensure!(receipts.len() <= 1, "{} objects", receipts.len());
    Ok(Ok(receipts.first().map(|receipt| bench.body(receipt.key.as_str())).unwrap_or_default()))
}

/// What the same guest makes natively.
fn natively(spec: &Value, input: &[u8]) -> Result<Result<Vec<u8>, String>> {
    let spec = Spec::parse(&spec.to_string(), "sync").map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let host = FakeHost::default();
    let limits = SessionLimits { encoder_bytes: 128 << 20, open_objects: 4_096 };
    let mut sink = Sink::open(host.clone(), spec.settings, limits);
    if let Err(error) = sink.insert(input.to_vec(), 0) {
        return Ok(Err(error.to_string()));
    }
    let progress = sink.end_write(1);
    if let Some((_, error)) = progress.failures.first() {
        return Ok(Err(error.to_string()));
    }
    Ok(Ok(host.objects().into_iter().next().map(|object| object.body).unwrap_or_default()))
}

fn plain(body: Vec<u8>, gzip: bool) -> Result<Vec<u8>> {
    if !gzip || body.is_empty() {
        return Ok(body);
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain)?;
    Ok(plain)
}

async fn check(bench: &Bench, folder: &std::path::Path, output: &Output, gzip: bool) -> Result<()> {
    let input = std::fs::read(folder.join("input.arrows"))?;
    let spec = spec(output, gzip);
    let (wasm, native) = (in_wasm(bench, &spec, &input).await?, natively(&spec, &input)?);
    ensure!(wasm == native, "wasm and native differ");
    match (wasm, &output.error) {
        (Ok(_), Some(error)) => anyhow::bail!("the reference fails here: {error}"),
        (Err(error), None) => anyhow::bail!("failed: {error}"),
        (Err(error), Some(_)) => ensure!(error.contains("column"), "the error names no column: {error}"),
        // Parquet is compared with the reference natively, value by value: encodings are ours to choose.
        (Ok(_), None) if output.file.ends_with("parquet") => {}
        (Ok(body), None) => {
            let expected = std::fs::read(folder.join(&output.file))?;
            let found = plain(body, gzip)?;
            // An object of no rows is not written at all; the reference's encoder, asked directly, writes the header.
            let no_rows = found.is_empty() && folder.ends_with("no_rows");
            ensure!(no_rows || found == expected, "{} bytes were expected, {} came, and they differ", expected.len(), found.len());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_writes_what_the_reference_writes() -> Result<()> {
    let bench = bench("golden");
    let (mut cases, mut failed) = (0, Vec::new());
    let mut folders: Vec<_> =
        std::fs::read_dir(lakegate_tests::golden_folder().join("cases"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    folders.sort();
    for folder in folders {
        let outputs: Vec<Output> = serde_json::from_slice(&std::fs::read(folder.join("case.json"))?).context("case.json")?;
        for output in &outputs {
            let gzips: &[bool] = if output.file.ends_with("parquet") { &[false] } else { &[false, true] };
            for gzip in gzips {
                cases += 1;
                if let Err(error) = check(&bench, &folder, output, *gzip).await {
                    failed.push(format!("{} {} gzip={gzip}: {error:#}", folder.display(), output.file));
                }
            }
        }
    }
    lakegate_tests::corpus("golden in the sandbox", cases, CASES);
    ensure!(failed.is_empty(), "{} of {cases} failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}
