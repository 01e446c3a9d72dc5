//! The exact calls and messages that a source and a destination receive, and how much may be in flight between them; the test plays both.

use super::{local_store, s3, source as source_document, stored_ids, test_dir};
use crate::fixtures::proxied_store::eventually;
use bytes::Bytes;
use lakegate_cloudquery::proto::plugin::sync;
use lakegate_cloudquery::proto::plugin::sync::response::Message;
use lakegate_tests::fake_plugin::{Behaviour, FakePlugin};
use lakegate_tests::tables::{Table, ids, ipc};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn migrate(table: &Table) -> Message {
    Message::MigrateTable(sync::MessageMigrateTable { table: table.migrate_ipc().expect("a schema").into() })
}

fn insert(record: impl Into<Bytes>) -> Message {
    Message::Insert(sync::MessageInsert { record: record.into() })
}

fn keyed() -> arrow_schema::Field {
    let key = [("cq:extension:primary_key".to_owned(), "true".to_owned())];
    arrow_schema::Field::new("id", arrow_schema::DataType::Int64, false).with_metadata(std::collections::HashMap::from(key))
}

async fn fake(messages: Vec<Message>) -> FakePlugin {
    FakePlugin::start(Behaviour { versions: vec![3], messages, times: 1, ..Behaviour::default() }).await.expect("a port")
}

fn yaml(source: SocketAddr, source_more: &str, destination: SocketAddr, destination_more: &str) -> String {
    format!(
        "kind: source\nspec:\n  name: src\n  registry: grpc\n  path: {source}\n  tables: [\"a*\"]\n  skip_tables: [ab]\n  destinations: [dst]\n{source_more}---\n\
         kind: destination\nspec:\n  name: dst\n  registry: grpc\n  path: {destination}\n{destination_more}"
    )
}

#[tokio::test]
async fn the_calls_are_those_of_the_cli_in_their_order() {
    let ids_array = || Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    let plain = Table::new("plain").field(keyed(), ids_array());
    let events = Table::new("events").field(keyed(), ids_array()).metadata("cq:extension:incremental", "true");
    let source = fake(vec![
        migrate(&plain),
        migrate(&events),
        insert(plain.insert_ipc().expect("rows")),
        Message::Error(sync::MessageError { table_name: "plain".into(), error: "half of it".into() }),
        Message::DeleteRecord(sync::MessageDeleteRecord { table_name: "plain".into(), ..Default::default() }),
    ])
    .await;
    let destination = fake(vec![]).await;
    let dir = test_dir();
    let more = "  deterministic_cq_id: true\n  backend_options: {table_name: state, connection: \"plugins.dst.connection\"}\n  spec: {at: \"<plugins.dst.connection>\", big: 9007199254740993}\n";
    dir.file(
        "c.yml",
        &yaml(source.address, more, destination.address, "  migrate_mode: forced\n  send_sync_summary: true\n  spec: {a: 1}\n"),
    );
    let run = dir.run_async("sync c.yml --shard 2/3").await;
    run.ended(0, &["Sync completed with errors, see above for details. Resources: 2, Errors: 1,"]);
    let at = destination.address;
    assert_eq!(
        source.seen.events(),
        [
            format!(r#"init {{"at":"<{at}>","big":9007199254740993}} no_connection=false id=true"#),
            format!(
                r#"sync tables=["a*"] skip=["ab"] dependent=true deterministic=true backend=Some(("state", "{at}")) shard=Some((2, 3)) errors=true"#
            ),
        ]
    );
    assert_eq!(
        destination.seen.events(),
        [
            r#"init {"a":1} no_connection=false id=true"#,
            "migrate plain(_cq_sync_time,_cq_source_name,id*) 0 force=true",
            "migrate events(_cq_sync_time,_cq_source_name,id*) 0 force=true",
            "insert plain(_cq_sync_time,_cq_source_name,id*) 2",
            "delete record plain",
            // Not for `events`: a source with state only sends new rows there.
            "delete stale plain of src_2_3 time=true",
            "migrate cloudquery_sync_summaries 22 columns 0 force=true",
            "insert cloudquery_sync_summaries 22 columns 1",
            "half-close",
            "close",
        ]
    );
}

#[tokio::test]
async fn append_takes_keys_off_and_a_group_gets_its_column() {
    let table = Table::new("t").field(keyed(), Arc::new(arrow_array::Int64Array::from(vec![1])));
    let source = fake(vec![migrate(&table), insert(table.insert_ipc().expect("rows"))]).await;
    for (more, arguments, expected) in [
        (
            "  write_mode: append\n",
            "",
            vec!["migrate t(_cq_sync_time,_cq_source_name,id) 0 force=false", "insert t(_cq_sync_time,_cq_source_name,id) 1"],
        ),
        (
            "  write_mode: overwrite\n  sync_group_id: \"{{YEAR}}-{{SYNC_ID}}\"\n",
            " --no-migrate",
            vec!["insert t(_cq_sync_time,_cq_source_name,_cq_sync_group_id*,id*) 1"],
        ),
    ] {
        let destination = fake(vec![]).await;
        let dir = test_dir();
        dir.file("c.yml", &yaml(source.address, "", destination.address, more));
        dir.run_async(&format!("sync c.yml{arguments}")).await.ended(0, &[]);
        let events = destination.seen.events();
        assert_eq!(events[0], "init null no_connection=false id=true");
        assert_eq!(events[1..events.len() - 2], expected);
        assert_eq!(events[events.len() - 2..], ["half-close", "close"]);
    }
}

/// Destinations only read the first batch of a message, and the CLI fails on a message without any.
#[tokio::test]
async fn each_record_batch_is_a_message() {
    let table = Table::new("t").field(keyed(), Arc::new(arrow_array::Int64Array::from(vec![1, 2, 3])));
    let batch = table.batch().expect("rows");
    let several = ipc(&batch.schema(), &[batch.slice(0, 2), batch.slice(2, 1)]).expect("rows");
    let none = ipc(&batch.schema(), &[]).expect("a schema");
    let source = fake(vec![insert(several), insert(none)]).await;
    let destination = fake(vec![]).await;
    let dir = test_dir();
    dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
    dir.run_async("sync c.yml").await.ended(0, &["Resources: 3, Errors: 0,"]);
    let columns = "t(_cq_sync_time,_cq_source_name,id)";
    let expected = [format!("insert {columns} 2"), format!("insert {columns} 1"), "half-close".to_owned(), "close".to_owned()];
    assert_eq!(destination.seen.events()[1..], expected);
}

#[tokio::test]
async fn the_summary_names_every_table_of_the_source() {
    let table = |name: &str| Table::new(name).field(keyed(), Arc::new(arrow_array::Int64Array::from(vec![1, 2])));
    let source = fake(vec![
        migrate(&table("plain")),
        migrate(&table("empty")),
        insert(table("plain").insert_ipc().expect("rows")),
        Message::Error(sync::MessageError { table_name: "other".into(), error: "half of it".into() }),
    ])
    .await;
    let destination = fake(vec![]).await;
    let dir = test_dir();
    dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
    dir.run_async("sync c.yml --summary-location sums/s.jsonl").await.ended(0, &["Errors: 1,"]);
    let line: Value = serde_json::from_str(&std::fs::read_to_string(dir.path().join("sums/s.jsonl")).expect("written")).expect("a line");
    // The configuration says `a*`.
    assert_eq!(line["source_tables"], json!(["plain", "empty"]));
    assert_eq!(line["resources_per_table"], json!({"plain": 2, "empty": 0}));
    assert_eq!(line["errors_per_table"], json!({"plain": 0, "empty": 0, "other": 1}));
}

#[tokio::test]
async fn a_summary_that_cannot_be_written_is_said_before_anything_is_synced() {
    let (source, destination) = (fake(vec![]).await, fake(vec![]).await);
    let dir = test_dir();
    dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
    dir.file("taken", "no folder");
    dir.run_async("sync c.yml --summary-location taken/s.jsonl").await.ended(2, &["--summary-location taken/s.jsonl: cannot be written: "]);
    assert!(source.seen.events().is_empty() && destination.seen.events().is_empty());
}

#[tokio::test]
async fn flags_of_cloudquerys_program_are_taken() {
    let table = Table::new("t").field(keyed(), Arc::new(arrow_array::Int64Array::from(vec![1])));
    let id = "6f1c2f3e-1111-4222-8333-444455556666";
    for command in ["sync", "migrate", "tables", "test-connection", "validate-config"] {
        let (source, destination) = (fake(vec![migrate(&table)]).await, fake(vec![]).await);
        let dir = test_dir();
        dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
        let more = if command == "sync" { " --license l --tables-metrics-location m --cq-columns-not-null" } else { "" };
        let flags = "--log-file-name l.log --no-log-file --log-file-overwrite --cq-dir .cq --telemetry-level none --log-console";
        let run = dir.run_async(&format!("{command} c.yml --invocation-id {id} {flags}{more}")).await;
        // The fake plugin does not support TestConnection.
        let code = if command == "test-connection" { 7 } else { 0 };
        run.ended(code, &["The flag is accepted but has no effect. flag=\"--log-file-name\"", "--cq-dir"]);
        assert!(!run.stderr.contains("unexpected argument") && !dir.path().join("l.log").exists(), "{command}: {}", run.stderr);
    }
}

/// Three destinations, of which one fails at the end: what the others have confirmed is reported, and so is each failure.
#[tokio::test]
async fn one_destination_that_fails_takes_nothing_from_the_others() {
    let table = |name: &str| Table::new(name).field(keyed(), Arc::new(arrow_array::Int64Array::from(vec![0, 1])));
    let source = fake(vec![
        migrate(&table("plain")),
        insert(table("plain").insert_ipc().expect("rows")),
        insert(table("gone").insert_ipc().expect("rows")),
        Message::DeleteRecord(sync::MessageDeleteRecord { table_name: "gone".into(), ..Default::default() }),
    ])
    .await;
    let failing = Behaviour { versions: vec![3], fails_at_end: true, ..Behaviour::default() };
    let failing = FakePlugin::start(failing).await.expect("a port");
    let good = fake(vec![]).await;
    let dir = test_dir();
    let plugin = |name: &str, address: SocketAddr| {
        format!("---\nkind: destination\nspec:\n  name: {name}\n  registry: grpc\n  path: {address}\n  write_mode: append\n")
    };
    let documents = source_document("src", "grpc", source.address, "{}").replace("[s3]", "[bad, s3, second, good]");
    let second = s3("").replace("name: s3", "name: second").replace("x/{{TABLE}}", "y/{{TABLE}}");
    let documents = [documents, s3(""), "---\n".to_owned(), second, plugin("bad", failing.address), plugin("good", good.address)].concat();
    dir.file("c.yml", &documents);
    let run = dir.run_async("sync c.yml --local store --summary-location s.jsonl --json").await;
    let expected = "Error: failed to sync source src: destination bad: write client returned error (close): rpc error: code = Internal desc = the destination fails at the end";
    run.ended(7, &[expected, "Table gone failed: rows cannot be deleted from a bucket"]);
    assert_eq!(run.stderr.matches("Table gone failed").count(), 2, "one of each bucket: {}", run.stderr);
    let lines = std::fs::read_to_string(dir.path().join("s.jsonl")).expect("written");
    let names: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["destination_name"].clone()).collect();
    assert_eq!(names, ["s3", "second", "good"]);
    assert_eq!(stored_ids(&dir, "plain"), [0, 1]);
    assert_eq!(local_store(&dir).records(super::BUCKET, "y/plain/").expect("readable").len(), 1);
    assert_eq!(good.seen.events().iter().rev().take(2).collect::<Vec<_>>(), ["close", "half-close"]);
    let json = run.json();
    let destinations = &json["syncs"][0]["destinations"];
    let destination = |name: &str| destinations.as_array().expect("a list").iter().find(|it| it["name"] == name).expect("told of").clone();
    assert!(destination("bad")["failure"].as_str().is_some_and(|text| text.contains("the destination fails at the end")), "{destinations}");
    assert_eq!((&destination("good")["rows"], &json["ok"]), (&4.into(), &false.into()));
}

/// A table that failed before the source did may be the cause, so it is reported although there is no summary.
#[tokio::test]
async fn a_sync_that_breaks_off_tells_what_had_failed_before() {
    let source = fake(vec![
        insert(ids("gone", 0..2)),
        Message::DeleteRecord(sync::MessageDeleteRecord { table_name: "gone".into(), ..Default::default() }),
        insert("garbage!"),
    ])
    .await;
    let dir = test_dir();
    dir.file("c.yml", &(source_document("src", "grpc", source.address, "{}") + &s3("")));
    let run = dir.run_async("sync c.yml --local store").await;
    run.ended(7, &["Table gone failed: rows cannot be deleted", "failed to sync source src: a record of the source cannot be used"]);
}

#[tokio::test]
async fn shards_of_files_are_disjoint_and_whole() {
    let dir = test_dir();
    for (name, id) in [("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 4)] {
        dir.file(&format!("{name}.csv"), &format!("id\n{id}\n"));
    }
    let files = source_document("f", "builtin", "files", "{paths: [\"*.csv\"]}");
    dir.file("c.yml", &(files + &s3("").replace("  send_sync_summary: true\n", "")));
    let mut found = Vec::new();
    for (shard, rows) in [("1/3", 2), ("2/3", 2), ("3/3", 1), ("9/9", 0)] {
        let run = dir.run_async(&format!("sync c.yml --local {} --shard {shard}", shard.replace('/', "-"))).await;
        run.ended(0, &[&format!("Sync completed successfully. Resources: {rows}, Errors: 0,")]);
        let folder = dir.path().join(shard.replace('/', "-"));
        let records = lakegate_local_store::LocalStore::open(&folder).expect("a store").records(super::BUCKET, "").unwrap_or_default();
        found.extend(records.into_iter().map(|record| record.key.split('/').nth(1).expect("a table").to_owned()));
    }
    found.sort_unstable();
    assert_eq!(found, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn migrate_asks_without_a_connection() {
    let table = Table::new("t").field(keyed(), Arc::new(arrow_array::Int64Array::from(vec![1])));
    let (source, destination) = (fake(vec![migrate(&table)]).await, fake(vec![]).await);
    let dir = test_dir();
    dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
    dir.run_async("migrate c.yml").await.ended(0, &["Tables: 1"]);
    assert_eq!(source.seen.events(), ["init null no_connection=true id=true"]);
    let expected =
        ["init null no_connection=false id=true", "migrate t(_cq_sync_time,_cq_source_name,id) 0 force=false", "half-close", "close"];
    assert_eq!(destination.seen.events(), expected);
}

#[tokio::test]
async fn a_destination_that_fails_is_not_half_closed_and_its_words_are_told() {
    let source = fake((0..100).map(|_| insert(ids("t", 0..10_000))).collect()).await;
    let destination =
        FakePlugin::start(Behaviour { versions: vec![3], fails_after: Some(5), ..Behaviour::default() }).await.expect("a port");
    let dir = test_dir();
    dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
    let run = dir.run_async("sync c.yml").await;
    let expected = "failed to sync source src: destination dst: write client returned error (insert): rpc error: code = Internal desc = the destination fails on purpose";
    run.ended(7, &[expected]);
    assert_eq!(destination.seen.events(), ["init null no_connection=false id=true"]);
    // A failing source also looks like a failure to the destination.
    let source = fake(vec![insert(ids("t", 0..10)), insert("garbage!")]).await;
    let destination = fake(vec![]).await;
    dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
    dir.run_async("sync c.yml").await.ended(7, &["failed to sync source src: a record of the source cannot be used"]);
    assert!(!destination.seen.events().iter().any(|event| event == "half-close" || event == "close"), "{:?}", destination.seen.events());
}

#[tokio::test]
async fn a_write_that_is_given_up_is_not_half_closed() {
    use lakegate_base::log_level::LogLevel;
    use lakegate_cloudquery::client::{Kind, Launch, LaunchOptions, Plugin};
    use lakegate_cloudquery::proto::plugin::plugin_client::PluginClient;
    use lakegate_cloudquery::proto::plugin::write;
    let message = || write::request::Message::Insert(write::MessageInsert { record: ids("t", 0..3).into() });
    let received = "insert t(id) 3".to_owned();
    // A client that merely drops its stream: the destination takes this for success.
    let careless = fake(vec![]).await;
    let mut client = PluginClient::connect(format!("http://{}", careless.address)).await.expect("a connection");
    let requests = tokio_stream::iter([write::Request { message: Some(message()) }]);
    client.write(requests).await.expect("an answer");
    assert_eq!(careless.seen.events(), [received.clone(), "half-close".to_owned()]);
    // Our client.
    let destination = fake(vec![]).await;
    let options = LaunchOptions { say: |_| {}, log_level: LogLevel::Warn, start_limit: Duration::from_secs(30), otel: None };
    let plugin =
        Plugin::start(Kind::Destination, "dst", &Launch::Dial(destination.address.to_string()), &options).await.expect("it answers");
    let plugin = Arc::new(plugin);
    let mut writing = plugin.write();
    writing.send(message()).await.expect("it is taken");
    eventually("the message has arrived", || destination.seen.events() == [received.as_str()]).await;
    drop(writing);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(destination.seen.events(), [received.as_str()]);
    // The plugin can run another round, which succeeds.
    let mut writing = plugin.write();
    writing.send(message()).await.expect("it is taken");
    writing.finish().await.expect("it ends well");
    assert_eq!(destination.seen.events(), [received.as_str(), received.as_str(), "half-close"]);
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let dir = test_dir();
    let destination = fake(vec![]).await;
    let old = FakePlugin::start(Behaviour { versions: vec![0, 1, 2], ..Behaviour::default() }).await.expect("a port");
    dir.file("c.yml", &yaml(old.address, "", destination.address, "  write_mode: append\n"));
    let expected =
        "failed to start source src: the plugin does not speak version 3 of the protocol (it offers [0, 1, 2]); use a newer version of it";
    dir.run_async("sync c.yml").await.ended(7, &[expected]);
}

/// What may be between a source and a destination: pending messages (16 MiB), and the windows and buffers of two connections.
const MOST_BETWEEN: u64 = 48 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_destination_slows_the_source() {
    let record = Bytes::from(ids("t", 0..8_000));
    let size = record.len() as u64;
    let source = Behaviour { versions: vec![3], messages: vec![insert(record)], times: 20_000, ..Behaviour::default() };
    let source = FakePlugin::start(source).await.expect("a port");
    let slow = Behaviour { versions: vec![3], slowness: Duration::from_millis(5), fails_after: Some(1_000), ..Behaviour::default() };
    let destination = FakePlugin::start(slow).await.expect("a port");
    let dir = test_dir();
    dir.file("c.yml", &yaml(source.address, "", destination.address, "  write_mode: append\n"));
    let watched = (source.seen.clone(), destination.seen.clone());
    let watch = tokio::spawn(async move {
        let mut most = 0;
        loop {
            let sent = watched.0.sent.load(Ordering::Relaxed);
            most = sent.saturating_sub(watched.1.received.load(Ordering::Relaxed)).max(most);
            if sent >= 20_000 * size || watched.1.received.load(Ordering::Relaxed) >= 990 * size {
                return (most, sent);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    dir.run_async("sync c.yml").await.ended(7, &["the destination fails on purpose"]);
    let (most, sent) = watch.await.expect("watched");
    // Far more was available than was passed on, so the limit was reached.
    assert!(sent > (16 << 20) && most > (8 << 20), "only {sent} bytes were sent, {most} at most between");
    assert!(most < MOST_BETWEEN, "{most} bytes were on their way");
}
