//! All scenarios of the golden layout, through gRPC, on the embedded store and on a live MinIO.

use crate::fixtures::support::{TestServer, test_store};
use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use bytes::Bytes;
use lakegate::Options;
use lakegate_cloudquery::proto::plugin::{close, init, write};
use lakegate_cloudquery::server::listen::Network;
use lakegate_tests::layout::{self, Expected, Found, Outcome, Scenario, Step};
use lakegate_tests::{minio, s3, tiers};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

const SYNC_ID: &str = "6f1c2f3e-1111-4222-8333-444455556666";

/// A plugin server on loopback with a store, and a client to inspect the store.
struct ScenarioRunner {
    served: TestServer,
    objects: Client,
    bucket: String,
    /// Added to every spec.
    extra: Vec<(&'static str, Value)>,
}

impl ScenarioRunner {
    async fn new(options: Options, objects: Client, bucket: &str, extra: Vec<(&'static str, Value)>) -> Result<Self> {
        let served = TestServer::over(Network::Tcp, options).await?;
        Ok(Self { served, objects, bucket: bucket.to_owned(), extra })
    }

    /// Runs a scenario: Init, its Writes, Close; returns what is then in the bucket below the run's prefix.
    async fn run(&mut self, scenario: &Scenario, prefix: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let spec = self.spec(scenario, prefix);
        let invocation_id = scenario.invocation_id.clone().unwrap_or_else(|| SYNC_ID.to_owned());
        let request = init::Request { spec: Bytes::from(spec.to_string()), no_connection: scenario.no_connection, invocation_id };
        outcome.init = text(self.served.client.init(request).await.map(|_| ()));
        if outcome.init == "OK" {
            let mut rounds: Vec<Vec<Step>> = vec![Vec::new()];
            for step in &scenario.steps {
                match (step, rounds.last_mut()) {
                    (Step::Round { .. }, _) => rounds.push(Vec::new()),
                    (step, Some(round)) => round.push(step.clone()),
                    (_, None) => {}
                }
            }
            for round in rounds {
                outcome.write.push(text(self.write(&round).await));
            }
            outcome.close = Some(text(self.served.client.close(close::Request {}).await.map(|_| ())));
        }
        outcome.objects = self.found(prefix).await?;
        Ok(outcome)
    }

    fn spec(&self, scenario: &Scenario, prefix: &str) -> Value {
        let mut spec = scenario.spec.clone();
        if scenario.prefix
            && let Some(Value::String(path)) = spec.get_mut("path")
        {
            *path = format!("{prefix}{path}");
        }
        spec.entry("bucket").or_insert_with(|| json!(self.bucket));
        spec.entry("region").or_insert_with(|| json!(s3::REGION));
        for (field, value) in &self.extra {
            spec.entry(*field).or_insert_with(|| value.clone());
        }
        Value::Object(spec)
    }

    async fn write(&mut self, steps: &[Step]) -> Result<(), Status> {
        let (messages, stream) = mpsc::unbounded_channel();
        let call = self.served.client.write(UnboundedReceiverStream::new(stream));
        let steps = steps.to_vec();
        tokio::spawn(async move {
            for step in steps {
                let message = match step {
                    Step::Insert { insert, ids: [from, to] } => {
                        write::request::Message::Insert(write::MessageInsert { record: layout::insert(&insert, from..to).into() })
                    }
                    Step::Migrate { migrate } => write::request::Message::MigrateTable(write::MessageMigrateTable {
                        table: layout::migrate(&migrate).into(),
                        migrate_force: false,
                    }),
                    Step::DeleteStale { delete_stale } => write::request::Message::Delete(write::MessageDeleteStale {
                        table_name: delete_stale,
                        source_name: "source".into(),
                        ..Default::default()
                    }),
                    Step::DeleteRecord { delete_record } => write::request::Message::DeleteRecord(write::MessageDeleteRecord {
                        table_name: delete_record,
                        ..Default::default()
                    }),
                    Step::Sleep { sleep } => {
                        tokio::time::sleep(Duration::from_secs_f64(sleep)).await;
                        continue;
                    }
                    Step::Round { .. } => continue,
                };
                // A server that has refused the stream no longer listens; its status says why.
                let _ = messages.send(write::Request { message: Some(message) });
            }
        });
        call.await.map(|_| ())
    }

    async fn found(&self, prefix: &str) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut pages = self.objects.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page?.contents() {
                let key = object.key().context("a listed object has a key")?;
                let got = self.objects.get_object().bucket(&self.bucket).key(key).send().await?;
                let content_type = got.content_type().unwrap_or_default().to_owned();
                let body = got.body.collect().await?.to_vec();
                found.push(Found { key: key.strip_prefix(prefix).unwrap_or(key).to_owned(), content_type, body });
            }
        }
        Ok(found)
    }
}

/// `OK`, or code and text as the golden file writes them.
fn text(result: Result<(), Status>) -> String {
    let Err(status) = result else { return "OK".to_owned() };
    let code = match status.code() {
        Code::Internal => "INTERNAL",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        _ => "OTHER",
    };
    format!("{code}: {}", status.message())
}

/// What a current store answers where the recorded one could not.
pub(crate) fn adjusted(expected: Expected) -> Expected {
    if expected.name != "sse_aes256" {
        return newer(expected);
    }
    // With a store that has server-side encryption: OK, and one object (see the golden README).
    let objects = serde_json::from_value(json!([{"key": "t/<UUID>", "content_type": "application/json", "ids": [0]}]));
    Expected { write: vec!["OK".into()], objects: objects.expect("an object"), ..expected }
}

/// What is accepted that the reference refuses: zstd (see the golden README).
fn newer(expected: Expected) -> Expected {
    if expected.name != "unknown_compression" {
        return expected;
    }
    let objects = serde_json::from_value(json!([
        {"key": "TEST_TABLE/TEST_UUID", "content_type": "application/octet-stream", "ids": "empty object"}
    ]));
    Expected { init: "OK".into(), write: vec!["OK".into()], close: Some("OK".into()), objects: objects.expect("an object"), ..expected }
}

async fn run_all(through: &str, mut runner: ScenarioRunner, has_encryption: bool) -> Result<()> {
    let mut results = Vec::new();
    for (scenario, expected) in layout::scenarios()? {
        let expected = if has_encryption { adjusted(expected) } else { newer(expected) };
        let prefix = format!("run-{}/", results.len());
        let result = match runner.run(&scenario, &prefix).await {
            Ok(outcome) => layout::compare(&scenario, &expected, &outcome, SYNC_ID),
            Err(error) => Err(error),
        };
        results.push((scenario.name, result));
    }
    layout::summary(through, &results)
}

#[tokio::test(flavor = "multi_thread")]
async fn through_grpc_into_the_embedded_store() -> Result<()> {
    let test_store = test_store("layout");
    let objects = s3::embedded_client(&test_store.store);
    let runner = ScenarioRunner::new(test_store.options(), objects, "layout", Vec::new()).await?;
    run_all("gRPC into the embedded store", runner, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn through_grpc_into_minio() -> Result<()> {
    let Some(store) = tiers::live("MinIO", minio::start().await) else { return Ok(()) };
    let objects = store.client();
    objects.create_bucket().bucket("layout").send().await?;
    let mut options = Options::default();
    let credentials = Credentials::new(&store.access_key, &store.secret_key, None, None, "test");
    options.connect.credentials = Some(SharedCredentialsProvider::new(credentials));
    let extra = vec![("endpoint", json!(store.endpoint)), ("use_path_style", json!(true))];
    let runner = ScenarioRunner::new(options, objects, "layout", extra).await?;
    // A MinIO without a key service refuses SSE-S3, as the recorded one did.
    run_all("gRPC into MinIO", runner, false).await?;
    store.stop().await;
    Ok(())
}
