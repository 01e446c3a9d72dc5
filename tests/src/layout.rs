//! The layout scenarios of `tests/golden/layout`: the objects that a sequence of messages leaves in a bucket.
//!
//! This module reads them, creates their messages, and compares the results; the caller provides destination and store.

use anyhow::{Context, Result, bail, ensure};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// A scenario: a spec and a sequence of messages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the scenario.
    pub name: String,
    /// The nested spec, without what depends on the store.
    pub spec: Map<String, Value>,
    /// The messages.
    pub steps: Vec<Step>,
    /// Whether the objects' bodies are compared, too.
    #[serde(default)]
    pub body: bool,
    /// Is the path put below a prefix of the run's own?
    #[serde(default = "yes")]
    pub prefix: bool,
    /// The sync id; the runner's own if absent.
    pub invocation_id: Option<String>,
    /// Whether Init is called without a connection.
    #[serde(default)]
    pub no_connection: bool,
}

fn yes() -> bool {
    true
}

/// A message or another step.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in tests/golden/README.md")]
pub enum Step {
    Insert { insert: String, ids: [i64; 2] },
    Migrate { migrate: String },
    Sleep { sleep: f64 },
    DeleteStale { delete_stale: String },
    DeleteRecord { delete_record: String },
    Round { round: bool },
}

/// The expected result of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The scenario's name.
    pub name: String,
    /// The status of Init.
    pub init: String,
    /// The status of each Write.
    pub write: Vec<String>,
    /// The status of Close; absent where Init failed.
    pub close: Option<String>,
    /// The objects in the bucket.
    pub objects: Vec<ExpectedObject>,
    /// Why this differs from the reference.
    pub deviation: Option<String>,
}

/// An object of an [`Expected`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedObject {
    /// The key, with placeholders for what differs from run to run.
    pub key: String,
    /// The content type.
    pub content_type: String,
    /// The ids of its rows in order, or `empty object`.
    pub ids: Value,
    /// The decompressed body.
    pub body: Option<String>,
}

/// An object found in the bucket.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key, without the run's prefix.
    pub key: String,
    /// The content type.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// The result of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The status of Init: `OK`, or code and text.
    pub init: String,
    /// The status of each Write.
    pub write: Vec<String>,
    /// The status of Close.
    pub close: Option<String>,
    /// The objects in the bucket.
    pub objects: Vec<Found>,
}

/// All scenarios with their expected results.
///
/// # Errors
/// The files cannot be parsed.
pub fn scenarios() -> Result<Vec<(Scenario, Expected)>> {
    let folder = crate::golden_folder().join("layout");
    let scenarios: Vec<Scenario> = serde_json::from_slice(&std::fs::read(folder.join("scenarios.json"))?)?;
    let expected: Vec<Expected> = serde_json::from_slice(&std::fs::read(folder.join("expected.json"))?)?;
    let mut by_name: HashMap<String, Expected> = expected.into_iter().map(|expected| (expected.name.clone(), expected)).collect();
    scenarios
        .into_iter()
        .map(|scenario| {
            let expected = by_name.remove(&scenario.name).with_context(|| format!("nothing is expected of {}", scenario.name))?;
            Ok((scenario, expected))
        })
        .collect()
}

/// The schema of a scenario's table.
pub fn schema(table: &str) -> Arc<Schema> {
    let json = HashMap::from([
        ("ARROW:extension:name".to_owned(), "json".to_owned()),
        ("ARROW:extension:metadata".to_owned(), "json-serialized".to_owned()),
    ]);
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("s", DataType::Utf8, true),
        Field::new("j", DataType::Binary, true).with_metadata(json),
    ];
    let metadata = HashMap::from([("cq:table_name".to_owned(), table.to_owned())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// A schema as a message.
pub fn migrate(table: &str) -> Vec<u8> {
    crate::tables::ipc(&schema(table), &[]).expect("a schema")
}

/// Rows with these ids as a message.
pub fn insert(table: &str, ids: Range<i64>) -> Vec<u8> {
    let schema = schema(table);
    let json = ids.clone().map(|id| format!(r#"{{"a.b": {id}, "n/m": [{{"x y": 9007199254740993}}]}}"#).into_bytes());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(StringArray::from_iter_values(ids.map(|id| format!("row {id}")))),
        Arc::new(BinaryArray::from_iter_values(json)),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).expect("the columns fit the schema");
    crate::tables::ipc(&schema, &[batch]).expect("rows of the schema")
}

/// Compares a run with the expected result.
///
/// # Errors
/// The first difference.
pub fn compare(scenario: &Scenario, expected: &Expected, outcome: &Outcome, sync_id: &str) -> Result<()> {
    ensure!(same_status(&expected.init, &outcome.init), "Init: expected {:?}, got {:?}", expected.init, outcome.init);
    ensure!(expected.write.len() == outcome.write.len(), "{} writes were expected, {} ended", expected.write.len(), outcome.write.len());
    for (expected, status) in expected.write.iter().zip(&outcome.write) {
        ensure!(same_status(expected, status), "Write: expected {expected:?}, got {status:?}");
    }
    if let Some(close) = &expected.close {
        ensure!(outcome.close.as_ref() == Some(close), "Close: expected {close:?}, got {:?}", outcome.close);
    }
    let mut wanted = expected.objects.iter().map(|object| describe_expected(object, scenario.body)).collect::<Vec<_>>();
    let mut found = outcome.objects.iter().map(|object| describe_found(object, sync_id, scenario)).collect::<Result<Vec<_>>>()?;
    wanted.sort();
    found.sort();
    ensure!(wanted == found, "objects:\nexpected {wanted:#?}\n     got {found:#?}");
    Ok(())
}

/// Compares code and text, except for the parts worded by the store.
fn same_status(expected: &str, found: &str) -> bool {
    for free in ["failed to unmarshal s3 spec: ", "failed to write test file to S3"] {
        if let Some(end) = expected.find(free).map(|at| at + free.len()) {
            return found.get(..end) == expected.get(..end);
        }
    }
    let Some((head, answer)) = expected.split_once("handler failed on ") else { return expected == found };
    let Some((table, answer)) = answer.split_once(": ") else { return expected == found };
    if !answer.starts_with("operation error S3") {
        return expected == found;
    }
    // The reference names the last table that failed; ours names all.
    found.starts_with(head) && found.contains(&format!("handler failed on {table}: "))
}

type Description = (String, String, String, Option<String>);

fn describe_expected(object: &ExpectedObject, body: bool) -> Description {
    (object.key.clone(), object.content_type.clone(), object.ids.to_string(), object.body.clone().filter(|_| body))
}

fn describe_found(object: &Found, sync_id: &str, scenario: &Scenario) -> Result<Description> {
    let plain = decompressed(&object.body)?;
    let is_test = object.key.contains("TEST_TABLE");
    let ids = if is_test && object.body.is_empty() {
        Value::from("empty object")
    } else {
        Value::from(ids(&plain).with_context(|| object.key.clone())?)
    };
    let body = (scenario.body && !is_test).then(|| String::from_utf8_lossy(&plain).into_owned());
    Ok((normal_key(&object.key, sync_id), object.content_type.clone(), ids.to_string(), body))
}

fn decompressed(body: &[u8]) -> Result<Vec<u8>> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(body.to_vec());
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(body).read_to_end(&mut plain)?;
    Ok(plain)
}

/// The ids of the rows in any of the three formats.
fn ids(plain: &[u8]) -> Result<Vec<i64>> {
    if plain.starts_with(b"PAR1") {
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(plain))?.build()?;
        let mut all = Vec::new();
        for batch in reader {
            let batch = batch?;
            let column = batch.column_by_name("id").context("no column id")?;
            all.extend(column.as_any().downcast_ref::<Int64Array>().context("id is no int64")?.values());
        }
        return Ok(all);
    }
    let text = std::str::from_utf8(plain)?;
    if text.starts_with('{') {
        return text
            .lines()
            .map(|line| serde_json::from_str::<BTreeMap<String, Value>>(line)?.get("id").and_then(Value::as_i64).context("no id"))
            .collect();
    }
    let mut lines = text.lines();
    ensure!(lines.next() == Some("id,s,j"), "no header");
    lines.map(|line| line.split(',').next().and_then(|id| id.parse().ok()).context("no id")).collect()
}

/// A key with what differs from run to run replaced, as in the recorded ones.
fn normal_key(key: &str, sync_id: &str) -> String {
    let mut normal: Vec<String> = Vec::new();
    let key = if sync_id.is_empty() { key.to_owned() } else { key.replace(sync_id, "<SYNC_ID>") };
    for segment in key.split('/') {
        normal.push(without_uuid(segment));
    }
    let is_date = |window: &[String]| {
        let digits = |text: &String, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        digits(&window[0], 4) && window[1..].iter().all(|part| digits(part, 2))
    };
    if let Some(at) = normal.windows(5).position(is_date) {
        normal.splice(at..at + 5, ["<Y/M/D/H/MIN>".to_owned()]);
    }
    normal.join("/")
}

fn without_uuid(segment: &str) -> String {
    const LENGTH: usize = 36;
    let is_uuid = |text: &str| {
        text.bytes().enumerate().all(|(at, byte)| if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() })
    };
    for start in 0..segment.len().saturating_sub(LENGTH - 1) {
        if let Some(part) = segment.get(start..start + LENGTH)
            && is_uuid(part)
        {
            return segment.replace(part, "<UUID>");
        }
    }
    segment.to_owned()
}

/// Fails unless every scenario ran and passed, and says how many did.
///
/// # Errors
/// One of them failed.
pub fn summary(through: &str, results: &[(String, Result<()>)]) -> Result<()> {
    const SCENARIOS: usize = 56;
    crate::corpus(&format!("layout through {through}"), results.len(), SCENARIOS);
    let failed: Vec<String> =
        results.iter().filter_map(|(name, result)| result.as_ref().err().map(|error| format!("{name}: {error:#}"))).collect();
    if !failed.is_empty() {
        bail!("{} of {} scenarios failed:\n{}", failed.len(), results.len(), failed.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_normal() {
        let uuid = "0123abcd-0000-4000-8000-0123456789ab";
        assert_eq!(normal_key(&format!("t/{uuid}.csv"), ""), "t/<UUID>.csv");
        assert_eq!(normal_key(&format!("p/2026/11/23/02/41/a.json.{uuid}"), ""), "p/<Y/M/D/H/MIN>/a.json.<UUID>");
        assert_eq!(normal_key("sync-1/t", "sync-1"), "<SYNC_ID>/t");
        assert_eq!(normal_key("TEST_TABLE/TEST_UUID.csv", "sync-1"), "TEST_TABLE/TEST_UUID.csv");
    }

    #[test]
    fn statuses_are_compared_up_to_the_words_of_a_store() {
        assert!(same_status("OK", "OK"));
        assert!(!same_status("OK", "INTERNAL: x"));
        let expected = "INTERNAL: write failed: handler failed on u: operation error S3: PutObject, https response error StatusCode: 404";
        assert!(same_status(expected, "INTERNAL: write failed: handler failed on t: x\nhandler failed on u: y"));
        assert!(!same_status(expected, "INTERNAL: write failed: handler failed on t: x"));
        let refused = "INTERNAL: write failed: handler failed on t: DeleteStale: not implemented";
        assert!(!same_status(refused, "INTERNAL: write failed: handler failed on t: other"));
    }
}
