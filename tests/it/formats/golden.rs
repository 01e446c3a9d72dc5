//! The golden cases in the sandbox, through a session and through gRPC: the text formats equal the reference byte for byte, plain and
//! gzip-compressed, and every format equals the output of the same guest running natively. (The native guest is compared with the same files,
//! including Parquet, by the tests of `lakegate-guest`.)

use crate::fixtures::support::{TestServer, TestStore, test_store};
use anyhow::{Context, Result, ensure};
use lakegate_cloudquery::proto::plugin::{close, init, write};
use lakegate_cloudquery::server::listen::Network;
use lakegate_guest::sink::{SessionLimits, Sink};
use lakegate_guest::spec::Spec;
use lakegate_guest::testing::FakeHost;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

/// One output of a case.
#[derive(Debug, Clone, Deserialize)]
struct Output {
    file: String,
    spec: Map<String, Value>,
    error: Option<String>,
}

/// Outputs of all cases, and those of text formats once more under gzip, and under zstd.
const CASES: usize = 48 + 2 * 30;

/// `compression` of the spec: none, and both there are.
const COMPRESSIONS: [&str; 3] = ["", "gzip", "zstd"];

fn spec(output: &Output, compression: &str) -> Value {
    let mut spec = spec_of(&output.spec);
    spec["compression"] = json!(compression);
    spec
}

/// A case's complete spec: one object per table.
pub(crate) fn spec_of(spec: &Map<String, Value>) -> Value {
    let mut spec = spec.clone();
    let rest = json!({
        "bucket": "golden", "region": "us-east-1", "path": "{{TABLE}}/object", "batch_size": 0, "batch_size_bytes": 0, "batch_timeout": "0s",
        "test_write": false,
    });
    if let Value::Object(rest) = rest {
        spec.extend(rest);
    }
    Value::Object(spec)
}

/// The output of the guest in wasm: the object's bytes, or the table's error.
async fn in_wasm(test_store: &TestStore, spec: &Value, input: &[u8]) -> Result<Result<Vec<u8>, String>> {
    let session = test_store.destination().open(&spec.to_string(), "sync").await?;
    let mut write = session.write()?;
    write.insert(input.to_vec().into()).await?;
    let report = write.finish().await;
    if let Some((_, failure)) = report.failures().next() {
        return Ok(Err(failure.message.clone()));
    }
    let receipts: Vec<_> = report.tables.iter().flat_map(|table| &table.receipts).collect();
    ensure!(receipts.len() <= 1, "{} objects", receipts.len());
    Ok(Ok(receipts.first().map(|receipt| test_store.body(receipt.key.as_str())).unwrap_or_default()))
}

/// The output of the same guest natively.
pub(crate) fn natively(spec: &Value, input: &[u8]) -> Result<Result<Vec<u8>, String>> {
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

fn plain(body: Vec<u8>, compression: &str) -> Result<Vec<u8>> {
    if body.is_empty() {
        return Ok(body);
    }
    let mut plain = Vec::new();
    match compression {
        "gzip" => flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain)?,
        "zstd" => zstd::stream::read::Decoder::new(body.as_slice())?.read_to_end(&mut plain)?,
        _ => return Ok(body),
    };
    Ok(plain)
}

/// The output of the guest in wasm through gRPC; `number` distinguishes the objects of different calls.
async fn through_grpc(
    served: &mut TestServer,
    test_store: &TestStore,
    number: usize,
    spec: &Value,
    input: &[u8],
) -> Result<Result<Vec<u8>, String>> {
    let mut spec = spec.clone();
    spec["path"] = json!(format!("{{{{TABLE}}}}/object-{number}"));
    let request = init::Request { spec: spec.to_string().into(), no_connection: false, invocation_id: String::new() };
    served.client.init(request).await?;
    let message = write::request::Message::Insert(write::MessageInsert { record: input.to_vec().into() });
    let written = served.client.write(tokio_stream::once(write::Request { message: Some(message) })).await;
    served.client.close(close::Request {}).await?;
    if let Err(status) = written {
        return Ok(Err(status.message().to_owned()));
    }
    let key = test_store.keys().into_iter().find(|key| key.ends_with(&format!("/object-{number}")));
    Ok(Ok(key.map(|key| test_store.body(&key)).unwrap_or_default()))
}

/// Compares an object, or an error, with the native guest's and with the reference's.
fn check(folder: &Path, output: &Output, compression: &str, wasm: Result<Vec<u8>, String>, native: Result<Vec<u8>, String>) -> Result<()> {
    match (wasm, native, &output.error) {
        (Ok(wasm), Ok(native), _) if wasm != native => anyhow::bail!("wasm and native differ"),
        (Ok(_), Err(error), _) => anyhow::bail!("the guest fails natively alone: {error}"),
        (Err(error), Ok(_), _) => anyhow::bail!("the guest fails in wasm alone: {error}"),
        (Ok(_), Ok(_), Some(error)) => anyhow::bail!("the reference fails here: {error}"),
        (Err(error), Err(_), None) => anyhow::bail!("failed: {error}"),
        // A status also names the table.
        (Err(wasm), Err(native), Some(_)) => ensure!(wasm.contains(&native) && native.contains("column"), "{wasm} / {native}"),
        // Parquet is compared with the reference natively, value by value, since encodings may differ.
        (Ok(_), Ok(_), None) if output.file.ends_with("parquet") => {}
        (Ok(body), Ok(_), None) => {
            let expected = std::fs::read(folder.join(&output.file))?;
            let found = plain(body, compression)?;
            // An object of no rows is not written at all; the reference's encoder, asked directly, writes the header.
            let no_rows = found.is_empty() && folder.ends_with("no_rows");
            ensure!(no_rows || found == expected, "{} bytes were expected, {} came, and they differ", expected.len(), found.len());
        }
    }
    Ok(())
}

/// All outputs of all cases, plain and, for text formats, compressed.
fn cases() -> Result<Vec<(PathBuf, Output, &'static str)>> {
    let entries = std::fs::read_dir(lakegate_tests::golden_folder().join("cases"))?;
    let mut folders: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    folders.sort();
    let mut cases = Vec::new();
    for folder in folders {
        let outputs: Vec<Output> = serde_json::from_slice(&std::fs::read(folder.join("case.json"))?).context("case.json")?;
        for output in outputs {
            let compressions = if output.file.ends_with("parquet") { &COMPRESSIONS[..1] } else { &COMPRESSIONS };
            cases.extend(compressions.iter().map(|compression| (folder.clone(), output.clone(), *compression)));
        }
    }
    Ok(cases)
}

/// Runs all cases through `run`.
async fn run_all(through: &str, mut run: impl AsyncFnMut(usize, &Value, &[u8]) -> Result<Result<Vec<u8>, String>>) -> Result<()> {
    let (mut ran, mut failed) = (0, Vec::new());
    for (folder, output, compression) in cases()? {
        let (input, spec) = (std::fs::read(folder.join("input.arrows"))?, spec(&output, compression));
        let (mut wasm, mut native) = (run(ran, &spec, &input).await?, natively(&spec, &input)?);
        ran += 1;
        let mut compression = compression;
        if cfg!(feature = "gzip-miniz") && compression == "gzip" {
            // The native guest keeps zlib-rs, whose bytes differ; the decompressed content must be equal.
            for body in [&mut wasm, &mut native].into_iter().flatten() {
                *body = plain(std::mem::take(body), compression)?;
            }
            compression = "";
        }
        if let Err(error) = check(&folder, &output, compression, wasm, native) {
            failed.push(format!("{} {} {compression:?}: {error:#}", folder.display(), output.file));
        }
    }
    lakegate_tests::corpus(&format!("golden {through}"), ran, CASES);
    ensure!(failed.is_empty(), "{} of {ran} failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_writes_what_the_reference_writes() -> Result<()> {
    let test_store = test_store("golden");
    run_all("in the sandbox", async |_, spec, input| in_wasm(&test_store, spec, input).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_tcp_get_what_the_reference_writes() -> Result<()> {
    let test_store = test_store("golden");
    let mut served = TestServer::over(Network::Tcp, test_store.options()).await?;
    run_all("through gRPC", async |number, spec, input| through_grpc(&mut served, &test_store, number, spec, input).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_a_unix_socket_get_what_the_reference_writes() -> Result<()> {
    let test_store = test_store("golden");
    let mut served = TestServer::over(Network::Unix, test_store.options()).await?;
    run_all("through gRPC on a unix socket", async |number, spec, input| through_grpc(&mut served, &test_store, number, spec, input).await)
        .await
}
