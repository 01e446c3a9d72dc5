//! The plugin in a separate process, called by grpcio with the published stubs of the protocol. Over a unix socket, grpcio sends the socket's path as
//! the authority, which a server only accepts if it repairs it.

use crate::fixtures::proxied_store::{BUCKET, ProxiedStore, laid_over};
use crate::formats::golden::{natively, spec_of};
use crate::formats::layout::adjusted;
use anyhow::{Context, Result, ensure};
use http::StatusCode;
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::layout::{self, Found, Outcome, Scenario, Step};
use lakegate_tests::plugin::{Network, Plugin};
use lakegate_tests::python::{Python, tool};
use lakegate_tests::{corpus, golden_folder, tiers};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const SYNC_ID: &str = "6f1c2f3e-1111-4222-8333-444455556666";

/// How a round ended, each call `OK` or code and text.
#[derive(Debug, Deserialize)]
struct Answer {
    init: String,
    write: Vec<String>,
    close: Option<String>,
}

/// Runs the rounds of `plan`, one after the other, over one connection.
async fn called(plugin: &Plugin, plan: &[Value]) -> Result<Vec<Answer>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/client.py");
    let mut command = Command::new(tool("python").map_err(|missing| anyhow::anyhow!(missing.0))?);
    command.arg(script).arg(plugin.address.trim_start_matches("http://"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    let lines: String = plan.iter().map(|round| format!("{round}\n")).collect();
    let (written, output) = tokio::join!(async move { input.write_all(lines.as_bytes()).await }, child.wait_with_output());
    let output = output?;
    ensure!(output.status.success() && written.is_ok(), "the client failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Messages as files of a folder: the plan names them.
struct Files<'a>(&'a Path, usize);

impl Files<'_> {
    fn add(&mut self, bytes: &[u8]) -> Result<PathBuf> {
        self.1 += 1;
        let path = self.0.join(format!("{}.arrows", self.1));
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// The steps of a scenario, a list for each Write.
    fn writes(&mut self, steps: &[Step]) -> Result<Vec<Vec<Value>>> {
        let mut writes = vec![Vec::new()];
        for step in steps {
            let step = match step {
                Step::Round { .. } => {
                    writes.push(Vec::new());
                    continue;
                }
                Step::Insert { insert, ids: [from, to] } => json!({"insert": self.add(&layout::insert(insert, *from..*to))?}),
                Step::Migrate { migrate } => json!({"migrate": self.add(&layout::migrate(migrate))?}),
                Step::Sleep { sleep } => json!({"sleep": sleep}),
                Step::DeleteStale { delete_stale } => json!({"delete_stale": delete_stale}),
                Step::DeleteRecord { delete_record } => json!({"delete_record": delete_record}),
            };
            writes.last_mut().context("there is one")?.push(step);
        }
        Ok(writes)
    }
}

fn spec(proxied: &ProxiedStore, scenario: &Scenario, prefix: &str) -> Value {
    let mut spec = scenario.spec.clone();
    if scenario.prefix
        && let Some(Value::String(path)) = spec.get_mut("path")
    {
        *path = format!("{prefix}{path}");
    }
    let rest = json!({"bucket": BUCKET, "region": "us-east-1", "endpoint": proxied.proxy.endpoint(), "use_path_style": true});
    laid_over(rest, Value::Object(spec))
}

/// What is in the bucket below a prefix.
fn found(proxied: &ProxiedStore, prefix: &str) -> Result<Vec<Found>> {
    let objects = proxied.store.records(BUCKET, prefix)?.into_iter().map(|record| Found {
        key: record.key.strip_prefix(prefix).unwrap_or(&record.key).to_owned(),
        content_type: record.attributes.content_type.unwrap_or_default(),
        body: proxied.body(&record.key),
    });
    Ok(objects.collect())
}

async fn layout_over(network: Network) -> Result<()> {
    let (proxied, messages) = (ProxiedStore::new([]).await, tempfile::tempdir()?);
    let plugin = proxied.launch(network).start().await?;
    let (mut files, mut plan, mut scenarios) = (Files(messages.path(), 0), Vec::new(), Vec::new());
    for (scenario, expected) in layout::scenarios()? {
        let prefix = format!("run-{}/", plan.len());
        plan.push(json!({
            "spec": spec(&proxied, &scenario, &prefix), "invocation_id": scenario.invocation_id.as_deref().unwrap_or(SYNC_ID),
            "no_connection": scenario.no_connection, "writes": files.writes(&scenario.steps)?,
        }));
        scenarios.push((prefix, scenario, adjusted(expected)));
    }
    let answers = called(&plugin, &plan).await?;
    let mut results = Vec::new();
    for ((prefix, scenario, expected), answer) in scenarios.into_iter().zip(answers) {
        let outcome = Outcome { init: answer.init, write: answer.write, close: answer.close, objects: found(&proxied, &prefix)? };
        let compared = layout::compare(&scenario, &expected, &outcome, SYNC_ID);
        results.push((scenario.name, compared));
    }
    plugin.stop().await?.well();
    layout::summary(&format!("Python's grpcio, {network:?}"), &results)
}

fn python() -> bool {
    tiers::live("grpcio", Python::find()).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layout_scenarios_over_tcp() -> Result<()> {
    if python() { layout_over(Network::Tcp).await } else { Ok(()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layout_scenarios_over_a_unix_socket() -> Result<()> {
    if python() { layout_over(Network::Unix).await } else { Ok(()) }
}

/// One output of a golden case.
#[derive(Debug, Deserialize)]
struct Output {
    file: String,
    spec: Map<String, Value>,
    error: Option<String>,
}

/// Outputs of all cases.
const GOLDEN: usize = 48;

#[tokio::test(flavor = "multi_thread")]
async fn the_golden_cases_over_both() -> Result<()> {
    if !python() {
        return Ok(());
    }
    let mut cases = Vec::new();
    let mut folders: Vec<_> = std::fs::read_dir(golden_folder().join("cases"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    folders.sort();
    for folder in folders {
        let outputs: Vec<Output> = serde_json::from_slice(&std::fs::read(folder.join("case.json"))?)?;
        cases.extend(outputs.into_iter().map(|output| (folder.clone(), output)));
    }
    for network in [Network::Tcp, Network::Unix] {
        let proxied = ProxiedStore::new([]).await;
        let plugin = proxied.launch(network).start().await?;
        let plan: Vec<Value> = cases
            .iter()
            .enumerate()
            .map(|(number, (folder, output))| {
                let path = json!({"path": format!("case-{number}/{{{{TABLE}}}}"), "no_rotate": true});
                let spec = proxied.spec(laid_over(path, Value::Object(output.spec.clone())));
                json!({"spec": spec, "writes": [[{"insert": folder.join("input.arrows")}]]})
            })
            .collect();
        let answers = called(&plugin, &plan).await?;
        for (number, ((folder, output), answer)) in cases.iter().zip(&answers).enumerate() {
            let name = format!("{network:?} {} {}", folder.display(), output.file);
            let mut objects = found(&proxied, &format!("case-{number}/"))?;
            match (&output.error, answer.write.as_slice()) {
                (Some(_), [status]) => assert!(status.starts_with("INTERNAL: write failed: handler failed on "), "{name}: {status}"),
                (None, [status]) => assert_eq!(status, "OK", "{name}"),
                (_, answers) => panic!("{name}: {answers:?}"),
            }
            let body = objects.pop().map(|object| object.body);
            // An object of no rows is not written at all; the reference's encoder, asked directly, writes the header.
            let expected = if output.file.ends_with("parquet") {
                // What we write natively; that it says what the reference's says, value by value, is for a test of its own.
                natively(&spec_of(&output.spec), &std::fs::read(folder.join("input.arrows"))?)?.ok().filter(|body| !body.is_empty())
            } else {
                let there = output.error.is_none() && !folder.ends_with("no_rows");
                there.then(|| std::fs::read(folder.join(&output.file))).transpose()?
            };
            assert!(body == expected, "{name}: {:?} bytes", body.map(|body| body.len()));
        }
        plugin.stop().await?.well();
        corpus(&format!("golden cases from Python, {network:?}"), answers.len(), GOLDEN);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_failing_tables_give_a_first_cause() -> Result<()> {
    const TABLES: usize = 2_000;
    if !python() {
        return Ok(());
    }
    let proxied = ProxiedStore::new([Rule::on(Operation::Put, When::Always, Fault::Answer(StatusCode::FORBIDDEN))]).await;
    let plugin = proxied.launch(Network::Unix).start().await?;
    let messages = tempfile::tempdir()?;
    let mut files = Files(messages.path(), 0);
    let name = |table: usize| format!("a_table_with_a_name_of_some_length_{table:04}");
    let steps: Vec<Value> =
        (0..TABLES).map(|table| Ok(json!({"insert": files.add(&layout::insert(&name(table), 0..2))?}))).collect::<Result<_>>()?;
    let plan = json!({"spec": proxied.whole_spec(), "invocation_id": SYNC_ID, "writes": [steps]});
    let answers = called(&plugin, &[plan]).await?;
    let status = answers[0].write[0].as_str();
    let first = "INTERNAL: write failed: handler failed on a_table_with_a_name_of_some_length_";
    assert!(status.starts_with(first), "{status}");
    for words in ["operation error S3: PutObject", "StatusCode: 403", "s3:PutObject", "more; the log has each"] {
        assert!(status.contains(words), "{words:?} is not in {status}");
    }
    let ended = plugin.stop().await?;
    ended.well();
    let mut logged: Vec<&str> = ended
        .log
        .iter()
        .filter(|line| line["level"] == "error" && line["error"].is_string())
        .filter_map(|line| line["table"].as_str())
        .collect();
    logged.sort_unstable();
    assert_eq!(logged, (0..TABLES).map(name).collect::<Vec<_>>(), "each once");
    Ok(())
}
