//! Traces and metrics: what a collector gets adds up to what the ledger says, and a collector that does not take it is in nobody's way.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, ProxiedStore, SECRET, eventually};
use crate::fixtures::support::{runtime, test_store};
use crate::tenancy::tenants::{grant, options, spec};
use anyhow::Result;
use lakegate::{Destination, Options, Tenant};
use lakegate_cloudquery::proto::plugin::init;
use lakegate_telemetry::{Settings, Telemetry};
use lakegate_tests::collector::{Collector, Sent};
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::plugin::{Message, Network, Plugin};
use lakegate_tests::python::Python;
use lakegate_tests::tables::ids;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A folder with a table of so many rows in each file.
fn tables(rows: &[(&str, u64)]) -> TestDir {
    let dir = TestDir::new(PLUGIN, (KEY, SECRET));
    for (name, rows) in rows {
        let mut text = String::from("id,text\n");
        let mut state = 7_u64;
        for row in 0..*rows {
            // Digits that no dictionary and no compression makes small.
            let _ = write!(text, "{row},");
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let _ = write!(text, "{state:016x}");
            }
            text.push('\n');
        }
        dir.file(&format!("{name}.csv"), &text);
    }
    dir
}

fn named<'a>(spans: &'a [Sent], name: &str) -> Vec<&'a Sent> {
    spans.iter().filter(|sent| sent.span.name == name).collect()
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().expect("a list").iter().map(|key| key.as_str().expect("a text").to_owned()).collect()
}

/// Asserts that the spans below `write`, and its own numbers, are those of a summary: its tables, their objects, and all sums.
#[track_caller]
fn check_write(spans: &[Sent], write: &Sent, summary: &Value) {
    let tables = summary["tables"].as_array().expect("tables");
    let below: Vec<&Sent> = spans.iter().filter(|sent| sent.is_below(write)).collect();
    assert_eq!(below.len(), tables.len(), "{below:?}");
    for table in tables {
        let name = table["table"].as_str().expect("a name");
        let of = below.iter().find(|sent| sent.text("lakegate.table") == Some(name)).expect("a span of the table");
        assert_eq!(of.span.name, "lakegate.table");
        for (attribute, field) in
            [("rows.received", "rows_in"), ("rows.confirmed", "rows"), ("bytes.confirmed", "bytes"), ("objects.confirmed", "objects")]
        {
            assert_eq!(of.number(&format!("lakegate.{attribute}")), table[field].as_i64(), "{name}: {attribute}");
        }
        assert!(of.number("lakegate.bytes.received") > of.number("lakegate.rows.received"), "{of:?}");
        assert_eq!(of.span.status.is_some(), !table["failure"].is_null(), "{of:?}");
        let objects: Vec<&Sent> = spans.iter().filter(|sent| sent.is_below(of)).collect();
        let stored: Vec<&&Sent> = objects.iter().filter(|sent| sent.span.status.is_none()).collect();
        let keys: BTreeSet<String> = stored.iter().map(|sent| sent.text("aws.s3.key").expect("a key").to_owned()).collect();
        assert_eq!(keys, texts(&table["keys"]), "{name}");
        assert_eq!(stored.len(), keys.len(), "each is told of once");
        for (attribute, field) in [("rows.confirmed", "rows"), ("bytes.confirmed", "bytes")] {
            let sum: i64 = stored.iter().filter_map(|sent| sent.number(&format!("lakegate.{attribute}"))).sum();
            assert_eq!(Some(sum), table[field].as_i64(), "{name}: {attribute}");
        }
        for object in objects {
            assert_eq!((object.span.name.as_str(), object.text("aws.s3.bucket")), ("lakegate.object", Some(BUCKET)));
            assert!(object.span.start_time_unix_nano <= object.span.end_time_unix_nano && object.span.start_time_unix_nano > 0);
        }
    }
    for (attribute, field) in [("rows.confirmed", "rows"), ("bytes.confirmed", "bytes"), ("objects.confirmed", "objects")] {
        assert_eq!(write.number(&format!("lakegate.{attribute}")), summary[field].as_i64(), "{attribute}");
    }
}

/// Asserts that the counters are the sums of these summaries.
#[track_caller]
fn check_counters(collector: &Collector, summaries: &[&Value]) {
    let sum = |field: &str| summaries.iter().filter_map(|summary| summary[field].as_i64()).sum::<i64>();
    for (name, field) in [("rows.confirmed", "rows"), ("bytes.confirmed", "bytes"), ("objects.confirmed", "objects")] {
        assert_eq!(collector.counter(&format!("lakegate.{name}")), Some(sum(field)), "{name}");
    }
    let tables = || summaries.iter().flat_map(|summary| summary["tables"].as_array().expect("tables"));
    let rows_in: i64 = tables().filter_map(|table| table["rows_in"].as_i64()).sum();
    assert_eq!(collector.counter("lakegate.rows.received"), Some(rows_in));
    let failed = tables().filter(|table| !table["failure"].is_null()).count();
    let (written, failed) = ((tables().count() - failed) as i64, failed as i64);
    assert_eq!(collector.counter("lakegate.tables.written"), Some(written));
    assert_eq!(collector.counter("lakegate.tables.failed"), Some(failed));
    assert_eq!(collector.counter("lakegate.spans.dropped"), Some(0));
}

fn retries(spans: &[Sent]) -> i64 {
    let classes = ["throttled", "transient", "unreachable"];
    let of = |sent: &&Sent| classes.iter().map(|class| sent.number(&format!("lakegate.retries.{class}")).expect("a number")).sum::<i64>();
    named(spans, "lakegate.object").iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_tells_is_what_it_wrote_however_often_the_store_fails() -> Result<()> {
    let third = When::Every(NonZeroU64::new(3).expect("three"));
    let faults = [Operation::Put, Operation::Create, Operation::Part, Operation::Complete];
    for format in ["csv", "parquet"] {
        let fails = |it| Rule::on(it, third, Fault::Answer(http::StatusCode::SERVICE_UNAVAILABLE));
        let (proxied, collector) = (ProxiedStore::new(faults.map(fails)).await, Collector::start().await?);
        let dir = tables(&[("many", 4_500), ("large", 120_000)]);
        // Nine and then some objects of one table, and one of three parts of the other.
        for (name, changes) in [
            ("many", json!({"format": format, "path": "{{TABLE}}/{{UUID}}", "batch_size": 500})),
            ("large", json!({"format": format, "path": "{{TABLE}}.{{FORMAT}}", "no_rotate": true, "part_size": 5 << 20})),
        ] {
            dir.file(&format!("{name}.json"), &proxied.spec(changes).to_string());
            let before = collector.spans().len();
            let line = format!("load {name}.csv --spec {name}.json --json {}", collector.flags());
            let run = dir.run_async(&line).await;
            let summary = run.ended(0, &[]).json();
            let spans = collector.spans().split_off(before);
            let [load] = named(&spans, "lakegate.load")[..] else { panic!("{spans:?}") };
            assert_eq!((load.number("process.exit.code"), load.span.parent_span_id.len()), (Some(0), 0));
            let [write] = named(&spans, "lakegate.write")[..] else { panic!("{spans:?}") };
            assert!(write.is_below(load) && write.text("lakegate.format") == Some(format), "{write:?}");
            check_write(&spans, write, &summary);
            check_counters(&collector, &[&summary]);
            let reasons: BTreeSet<_> =
                named(&spans, "lakegate.object").iter().filter_map(|sent| sent.text("lakegate.rotation.reason")).collect();
            assert!(reasons.contains(if name == "many" { "limit" } else { "end_of_write" }) && reasons.len() <= 2, "{name}: {reasons:?}");
        }
        assert!(proxied.proxy.faults() > 3, "{}", proxied.proxy.faults());
        assert_eq!(retries(&collector.spans()), i64::try_from(proxied.proxy.faults())?, "every fault is a request that was tried again");
        let of_process = collector.counters().into_iter().filter(|((name, _), _)| name == "lakegate.requests.retried");
        assert!(of_process.count() == 3, "one for each class");
        for (path, headers, body) in collector.requests() {
            assert_eq!(headers["content-type"], "application/x-protobuf", "{path}");
            // The search works: the bucket is found.
            let has = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!has(KEY) && !has(SECRET) && (has(BUCKET) || path == "/v1/metrics"), "{path}");
        }
        check_by_other_definitions(&collector, &dir).await?;
    }
    Ok(())
}

/// OpenTelemetry's own definitions read the same from the same bytes.
async fn check_by_other_definitions(collector: &Collector, dir: &TestDir) -> Result<()> {
    let Some(python) = tiers::live("OTLP by its own definitions", Python::find()) else { return Ok(()) };
    let mut files = Vec::new();
    for (number, (path, _, body)) in collector.requests().into_iter().enumerate() {
        let name = format!("{}-{number:03}", path.trim_start_matches("/v1/"));
        dir.with_file(&name, &body);
        files.push(dir.path().join(name));
    }
    let read: Value = serde_json::from_str(&python.run(include_str!("../../peers/otlp.py"), &files).await?)?;
    let spans = collector.spans();
    for name in ["lakegate.load", "lakegate.write", "lakegate.table", "lakegate.object"] {
        assert_eq!(read["spans"][name], json!(named(&spans, name).len()), "{read}");
    }
    let sum = |name: &str, key: &str| named(&spans, name).iter().filter_map(|sent| sent.number(key)).sum::<i64>();
    for key in ["lakegate.rows.confirmed", "lakegate.bytes.confirmed", "lakegate.retries.transient"] {
        assert_eq!(read["sums"][format!("lakegate.object {key}")], json!(sum("lakegate.object", key)), "{read}");
    }
    for ((name, labels), value) in collector.counters() {
        assert_eq!(read["counters"][[&[name][..], &labels[..]].concat().join(" ")], json!(value), "{read}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_fail_are_told_of_as_they_are_reported() -> Result<()> {
    let refused = Rule::on(Operation::Put, When::First(1), Fault::Answer(http::StatusCode::FORBIDDEN));
    let (proxied, collector) = (ProxiedStore::new([refused]).await, Collector::start().await?);
    let dir = tables(&[("a", 10), ("b", 10)]);
    dir.file("spec.json", &proxied.whole_spec().to_string());
    let summary = dir.run_async(&format!("load a.csv b.csv --spec spec.json --json {}", collector.flags())).await.ended(5, &[]).json();
    let spans = collector.spans();
    let [write] = named(&spans, "lakegate.write")[..] else { panic!("{spans:?}") };
    check_write(&spans, write, &summary);
    check_counters(&collector, &[&summary]);
    let failed = |name: &str| named(&spans, name).into_iter().find(|sent| sent.span.status.is_some()).expect("one has failed").clone();
    let (object, table) = (failed("lakegate.object"), failed("lakegate.table"));
    assert_eq!(
        (object.text("error.type"), table.text("error.type"), write.text("error.type")),
        (Some("storage"), Some("storage"), Some("tables"))
    );
    let words = |sent: &Sent| sent.span.status.clone().unwrap_or_default().message;
    let failure = summary["tables"].as_array().expect("tables").iter().find_map(|table| table["failure"]["message"].as_str());
    assert_eq!((Some(words(&object).as_str()), words(&table)), (failure, words(&object)));
    assert_eq!(words(write), "1 of 2 tables failed");
    assert_eq!(failed("lakegate.load").number("process.exit.code"), Some(5));
    assert_eq!((collector.counter("lakegate.objects.failed"), collector.counter("lakegate.writes.finished")), (Some(1), Some(1)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_has_a_write_for_each_source_and_destination() -> Result<()> {
    let (proxied, collector) = (ProxiedStore::new([]).await, Collector::start().await?);
    let dir = tables(&[("a", 100), ("b", 200), ("c", 300)]);
    let source = |name: &str, paths: &str| {
        let spec = json!({"name": name, "registry": "builtin", "path": "files", "tables": ["*"], "destinations": ["x", "y"], "spec": {"paths": [paths]}});
        json!({"kind": "source", "spec": spec}).to_string()
    };
    let destination = |name: &str| {
        let spec = proxied.spec(json!({"path": format!("{name}/{{{{TABLE}}}}/{{{{UUID}}}}.csv")}));
        json!({"kind": "destination", "spec": {"name": name, "registry": "builtin", "path": "s3", "write_mode": "append", "spec": spec}})
            .to_string()
    };
    dir.file("c.yml", &[source("one", "a.csv"), source("two", "[bc].csv"), destination("x"), destination("y")].join("\n---\n"));
    let summary = dir.run_async(&format!("sync c.yml --json {}", collector.flags())).await.ended(0, &[]).json();
    let spans = collector.spans();
    let [sync] = named(&spans, "lakegate.sync")[..] else { panic!("{spans:?}") };
    let writes = named(&spans, "lakegate.write");
    let summaries: Vec<&Value> = summary["syncs"]
        .as_array()
        .expect("syncs")
        .iter()
        .flat_map(|sync| sync["destinations"].as_array().expect("two"))
        .map(|it| &it["summary"])
        .collect();
    assert_eq!((writes.len(), summaries.len()), (4, 4));
    assert!(writes.iter().all(|write| write.text("lakegate.sync.id") == summary["syncs"][0]["sync_id"].as_str()));
    for summary in &summaries {
        let keys = |table: &Value| texts(&table["keys"]);
        let key = keys(&summary["tables"][0]).into_iter().next().expect("a key");
        let object = named(&spans, "lakegate.object").into_iter().find(|sent| sent.text("aws.s3.key") == Some(&key)).expect("its span");
        let table = spans.iter().find(|sent| object.is_below(sent)).expect("above it");
        let write = spans.iter().find(|sent| table.is_below(sent)).expect("above it");
        assert!(write.is_below(sync));
        check_write(&spans, write, summary);
    }
    check_counters(&collector, &summaries);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_of_each_write_and_its_lines_carry_the_invocation() -> Result<()> {
    let (proxied, collector) = (ProxiedStore::new([]).await, Collector::start().await?);
    let plugin = proxied.launch(Network::Unix).with(&collector.flags()).start().await?;
    let mut client = plugin.connect().await?;
    let spec = proxied.spec(json!({}));
    let rows = |table: &str, rows| Message::Insert(ids(table, rows).into());
    let schema = |table: &str| Message::Migrate(ids(table, 0..0).into());
    for invocation in ["invocation-one", "invocation-two"] {
        let request = init::Request { spec: spec.to_string().into(), no_connection: false, invocation_id: invocation.to_owned() };
        client.0.init(request).await?;
        client.write([schema("a"), rows("a", 0..3), schema("b"), rows("b", 0..2), rows("a", 3..5)]).await?;
        client.close().await?;
    }
    drop(client);
    let ended = plugin.stop().await?;
    ended.well();

    let spans = collector.spans();
    let writes = named(&spans, "lakegate.write");
    let ids: Vec<_> = writes.iter().filter_map(|write| write.text("lakegate.sync.id")).collect();
    assert_eq!(ids, ["invocation-one", "invocation-two"]);
    assert!(writes.iter().all(|write| write.span.parent_span_id.is_empty()) && writes[0].span.trace_id != writes[1].span.trace_id);
    let objects = named(&spans, "lakegate.object");
    let keys: BTreeSet<String> = objects.iter().filter_map(|sent| sent.text("aws.s3.key")).map(str::to_owned).collect();
    assert_eq!(keys, proxied.keys().into_iter().collect());
    let rows: i64 = objects.iter().filter_map(|sent| sent.number("lakegate.rows.confirmed")).sum();
    assert_eq!((rows, collector.counter("lakegate.rows.confirmed"), collector.counter("lakegate.rows.received")), (14, Some(14), Some(14)));
    // The schema of the second table comes after rows of the first.
    let reasons: Vec<_> = objects.iter().filter_map(|sent| sent.text("lakegate.rotation.reason")).collect();
    assert!(reasons.contains(&"message_type") && reasons.contains(&"end_of_write"), "{reasons:?}");

    let committed: Vec<&Value> = ended.log.iter().filter(|line| line["event"] == "object.committed").collect();
    let found: BTreeSet<String> = committed.iter().filter_map(|line| line["key"].as_str()).map(str::to_owned).collect();
    assert_eq!((found, committed.len()), (keys.clone(), keys.len()), "one line for each object");
    for line in &committed {
        let span = objects.iter().find(|sent| sent.text("aws.s3.key") == line["key"].as_str()).expect("its span");
        assert_eq!(
            (span.number("lakegate.rows.confirmed"), span.number("lakegate.bytes.confirmed")),
            (line["rows"].as_i64(), line["bytes"].as_i64())
        );
        assert_eq!((line["bucket"].as_str(), span.text("lakegate.rotation.reason")), (Some(BUCKET), line["rotation"].as_str()));
        assert!(line["etag"].as_str().is_some_and(|etag| !etag.is_empty()) && line["level"] == "info", "{line}");
        assert_eq!(line["invocation_id"], line["sync_id"], "{line}");
    }
    let invocations: Vec<_> = ended.log.iter().map(|line| line["invocation_id"].as_str()).collect();
    assert!(invocations.contains(&Some("invocation-one")) && invocations.contains(&Some("invocation-two")) && invocations.contains(&None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_calls_carry_the_invocation_too() -> Result<()> {
    let plugin = ProxiedStore::new([]).await.launch(Network::Tcp).start().await?;
    let mut client = plugin.connect().await?;
    // A client may send anything.
    let long = format!("{}\n\u{1b}[2J", "é".repeat(40_000));
    let failures =
        |plugin: &Plugin| plugin.log().lines().filter(|line| line.contains(r#""level":"error""#)).map(str::to_owned).collect::<Vec<_>>();
    let cases = [("mine", Some("mine".to_owned())), ("", None), (long.as_str(), Some("é".repeat(32)))];
    for (number, (invocation, expected)) in cases.into_iter().enumerate() {
        let request = init::Request { spec: "{}".into(), no_connection: false, invocation_id: invocation.to_owned() };
        client.0.init(request).await.expect_err("a spec without anything");
        eventually("the failure is logged", || failures(&plugin).len() > number).await;
        let last: Value = serde_json::from_str(&failures(&plugin)[number])?;
        assert_eq!(last["invocation_id"].as_str(), expected.as_deref(), "{last}");
    }
    plugin.stop().await?.well();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tenant_has_its_own_numbers_and_its_name_in_every_span() -> Result<()> {
    let (collector, store) = (Collector::start().await?, test_store(BUCKET));
    let settings = Settings::new(Some(&collector.place()), true, |_| None).expect("an endpoint").expect("wanted");
    let telemetry = Telemetry::start(settings, None).map_err(anyhow::Error::msg)?;
    for (name, rows) in [("acme", 3), ("beta", 5)] {
        let options = Options { observer: Some(telemetry.observer()), ..options(&store, Tenant::new(name, grant(&format!("{name}/")))) };
        let session = Destination::new(runtime(), options)
            .open(&spec(&format!("{name}/{{{{TABLE}}}}/{{{{UUID}}}}.csv"), "csv").to_string(), "s")
            .await?;
        for ended_well in [true, false] {
            let mut write = session.write()?;
            write.insert(ids("t", 0..rows).into()).await?;
            if ended_well { drop(write.finish().await) } else { write.abort().await }
        }
        session.close().await;
    }
    telemetry.finish(0, Duration::from_secs(30)).await;
    let (spans, counters) = (collector.spans(), collector.counters());
    let count = |name: &str, tenant: &str| counters[&(format!("lakegate.{name}"), vec![tenant.to_owned()])];
    for (tenant, rows) in [("acme", 3), ("beta", 5)] {
        assert_eq!((count("rows.confirmed", tenant), count("rows.received", tenant)), (rows, 2 * rows));
        assert_eq!((count("writes.finished", tenant), count("writes.given_up", tenant)), (1, 1));
        assert_eq!((count("tables.written", tenant), count("tables.failed", tenant)), (1, 1));
        let of: Vec<&Sent> = spans.iter().filter(|sent| sent.text("lakegate.tenant") == Some(tenant)).collect();
        assert!(of.iter().filter_map(|sent| sent.text("aws.s3.key")).all(|key| key.starts_with(&format!("{tenant}/"))));
        let ended: Vec<_> = of.iter().filter(|sent| sent.span.name == "lakegate.write").map(|sent| sent.text("error.type")).collect();
        assert_eq!(ended, [None, Some("given_up")]);
    }
    assert!(spans.iter().all(|sent| sent.text("lakegate.tenant").is_some()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_says_what_the_flags_do_not_and_nothing_secret_is_printed() -> Result<()> {
    let (collector, dir) = (Collector::start().await?, tables(&[("t", 10)]));
    let load = "load t.csv --to s3://bucket/{{TABLE}}.csv --format csv --local store --log-level trace";
    let with = |variables: &[(&str, &str)], more: &str| {
        let mut command = dir.command(&format!("{load}{more}"));
        command.envs(variables.iter().copied());
        lakegate_tests::run::to_end(command)
    };
    let endpoint = format!("http://{}", collector.place());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";
    let run = with(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush"),
            ("OTEL_SERVICE_NAME", "nightly"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
            ("TRACEPARENT", &format!("{parent}1")),
        ],
        "",
    )
    .await;
    assert!(!run.ended(0, &[]).said().contains("hush"), "{}", run.said());
    let (spans, requests) = (collector.spans(), collector.requests());
    assert!(requests.iter().all(|(_, headers, _)| headers["authorization"] == "Bearer hush"));
    let [load_span] = named(&spans, "lakegate.load")[..] else { panic!("{spans:?}") };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let place = format!("00-{}-{}-0", hex(&load_span.span.trace_id), hex(&load_span.span.parent_span_id));
    assert_eq!((place.as_str(), spans.len()), (parent, 4));
    let of = |key: &str| load_span.of.attributes.iter().find(|it| it.key == key).map(|it| format!("{:?}", it.value)).unwrap_or_default();
    assert!(of("service.name").contains("nightly") && of("deployment.environment.name").contains("test"));

    // A trace that nobody records has no spans; numbers are there all the same.
    with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("TRACEPARENT", &format!("{parent}0"))], "").await.ended(0, &[]);
    assert_eq!(collector.spans().len(), 4);
    assert!(collector.requests().len() > requests.len());

    let before = collector.requests().len();
    with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_SDK_DISABLED", "true")], "").await.ended(0, &[]);
    let wrong = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_EXPORTER_OTLP_HEADERS", "hush")], "").await;
    wrong.ended(0, &["No telemetry is sent: OTEL_EXPORTER_OTLP_HEADERS: entry 1 is not NAME=VALUE"]);
    let refused = with(&[], " --otel-endpoint http://u:hush@c:1").await;
    refused.ended(2, &["--otel-endpoint: an endpoint has no user or password; put credentials into OTEL_EXPORTER_OTLP_HEADERS"]);
    assert!(!wrong.said().contains("hush") && !refused.said().contains("hush"));
    assert_eq!(collector.requests().len(), before);
    Ok(())
}

/// A server that reads and answers this to whatever comes; nothing if it is empty.
async fn answering(answer: &'static str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let place = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(place)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_nothing_is_in_nobodys_way() -> Result<()> {
    let down = {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listener.local_addr()?.to_string()
    };
    let dir = tables(&[("t", 50_000)]);
    let load = "load t.csv --to s3://bucket/{{TABLE}}/{{UUID}}.csv --format csv --batch-size 500 --local store --json";
    let begun = Instant::now();
    dir.run_async(load).await.ended(0, &[]);
    let without = begun.elapsed();
    for (what, place) in [
        ("down", down),
        ("stalls", answering("").await?),
        ("garbage", answering("garbage\r\n\r\n").await?),
        ("a web server", answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>").await?),
        ("busy", answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await?),
    ] {
        let begun = Instant::now();
        let run = dir.run_async(&format!("{load} --otel-endpoint {place} --otel-endpoint-insecure")).await;
        // Five seconds are what the end waits at most; the rest is for a busy machine.
        assert!(begun.elapsed() < without * 3 + Duration::from_secs(5 + 10), "{what}: {:?}", begun.elapsed());
        let summary = run.ended(0, &["Telemetry was lost; nothing else is affected."]).json();
        assert_eq!((summary["rows"].as_i64(), summary["ok"].as_bool()), (Some(50_000), Some(true)), "{what}");
        assert_eq!(run.stderr.matches("Telemetry was lost").count(), 1, "{what}: {}", run.stderr);
        assert!(run.stderr.matches("does not take telemetry").count() <= 1, "{what}: {}", run.stderr);
        // The load, its write, its table, and some hundred objects.
        let lost = format!("spans={} ", summary["objects"].as_i64().expect("a number") + 3);
        assert!(run.stderr.contains(&lost), "{what}: {lost}: {}", run.stderr);
    }
    Ok(())
}
