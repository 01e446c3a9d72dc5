//! `lakegate serve` as a process: launched, called, abused and stopped as by the CloudQuery CLI.

use crate::fixtures::proxied_store::{BUCKET, PLUGIN, ProxiedStore, eventually};
use anyhow::Result;
use bytes::Bytes;
use lakegate::limits::MAX_MESSAGE_BYTES;
use lakegate_cloudquery::proto::plugin::{
    close, get_name, get_spec_schema, get_tables, get_version, init, read, sync, test_connection, transform, transform_schema, write,
};
use lakegate_local_store::LocalStore;
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::plugin::{CONNECT_LIMIT, Launch, Message, Network, Plugin, STOP_LIMIT, Signal};
use lakegate_tests::raw_h2::{Call, End};
use lakegate_tests::tables::{Table, ids, ipc};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// Rows that make a CSV object larger than a part, so that its upload starts while rows still arrive.
const MULTIPART_ROWS: i64 = 1_000_000;

fn insert(table: &str, rows: std::ops::Range<i64>) -> Message {
    Message::Insert(ids(table, rows).into())
}

fn migrate(table: &str) -> Message {
    Message::Migrate(ids(table, 0..0).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_as_the_cli_runs_them() -> Result<()> {
    for network in [Network::Tcp, Network::Unix] {
        let folder = tempfile::tempdir()?;
        let plugin = Launch::new(Path::new(PLUGIN), network).local(folder.path()).start().await?;
        let mut client = plugin.connect().await?;
        for source in ["first", "second", "third"] {
            let spec = json!({"bucket": BUCKET, "region": "us-east-1", "format": "json", "path": format!("{source}/{{{{TABLE}}}}/{{{{UUID}}}}.json")});
            let messages = [migrate("a"), migrate("b"), insert("a", 0..3), insert("b", 0..2), insert("a", 3..5)];
            client.round(&spec, messages).await?;
        }
        drop(client);
        plugin.stop().await?.well();
        let store = LocalStore::open(folder.path())?;
        for source in ["first", "second", "third"] {
            let records = store.records(BUCKET, &format!("{source}/"))?;
            let bytes = |table: &str| {
                let prefix = format!("{source}/{table}/");
                let of_table = records.iter().filter(|record| record.key.starts_with(&prefix));
                of_table.map(|record| std::fs::read_to_string(store.object_path(BUCKET, &record.key)).expect("there")).collect::<String>()
            };
            assert_eq!(bytes("a"), "{\"id\":0}\n{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n", "{network:?} {source}");
            assert_eq!(bytes("b"), "{\"id\":0}\n{\"id\":1}\n", "{network:?} {source}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a figure that the notes quote")]
async fn it_answers_at_once_with_and_without_compiled_code() -> Result<()> {
    let (cache, store) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let folder = cache.path().display().to_string();
    let launch = Launch::new(Path::new(PLUGIN), Network::Unix).local(store.path()).environment("LAKEGATE_CACHE_DIR", &folder);
    let mut compiled = Duration::ZERO;
    for name in ["nothing compiled", "compiled before"] {
        let plugin = launch.start().await?;
        let (answer, mut client, begun) = (plugin.first_answer, plugin.connect().await?, Instant::now());
        let spec = json!({"bucket": BUCKET, "region": "us-east-1", "format": "csv", "path": "{{TABLE}}/{{UUID}}"});
        client.init(&spec).await?;
        eprintln!("{name}: first answer after {answer:?}, Init took {:?} more", begun.elapsed());
        assert!(answer < CONNECT_LIMIT, "{name}: {answer:?}");
        // The code was in the cache: without it, Init would have taken as long again.
        assert!(compiled == Duration::ZERO || begun.elapsed() < compiled, "{compiled:?}, then {:?}", begun.elapsed());
        compiled = begun.elapsed();
        plugin.stop().await?.well();
    }
    Ok(())
}

/// The message and exit code of a launch that cannot work.
async fn refused(launch: &Launch, address: &str) -> Result<(Option<i32>, String)> {
    let output = tokio::time::timeout(CONNECT_LIMIT, launch.command(address).stdout(Stdio::null()).output()).await??;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_said_and_ends_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for network in [Network::Tcp, Network::Unix] {
        let launch = Launch::new(Path::new(PLUGIN), network).local(folder.path());
        let first = launch.start().await?;
        let address = first.address.trim_start_matches("http://").trim_start_matches("unix:").to_owned();
        let (code, said) = refused(&launch, &address).await?;
        assert_eq!((code, said.lines().count()), (Some(7), 1), "{said}");
        assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("in use"), "{said}");
        // The first one still works.
        first.connect().await?.0.get_name(get_name::Request {}).await?;
        first.stop().await?.well();
    }
    for address in ["nowhere", "127.0.0.1:99999", ""] {
        let (code, said) = refused(&Launch::new(Path::new(PLUGIN), Network::Tcp), address).await?;
        assert_eq!((code, said.lines().count()), (Some(7), 1), "{address}: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_a_killed_plugin_is_no_obstacle() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cq.sock");
    drop(std::os::unix::net::UnixListener::bind(&path)?);
    let address = path.display().to_string();
    let mut child = Launch::new(Path::new(PLUGIN), Network::Unix).command(&address).spawn()?;
    let until = Instant::now() + CONNECT_LIMIT;
    while tokio::net::UnixStream::connect(&path).await.is_err() {
        assert!(Instant::now() < until, "it does not listen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_a_newer_cli_are_tolerated() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let flags = "--otel-endpoint 127.0.0.1:4317 --otel-endpoint-insecure --license /no/such/file --brand-new-flag 7 --another=x";
    let plugin = Launch::new(Path::new(PLUGIN), Network::Unix).local(folder.path()).with(flags).start().await?;
    let ended = plugin.stop().await?;
    ended.well();
    let warned: Vec<&str> = ended.log.iter().filter(|line| line["level"] == "warn").filter_map(|line| line["flag"].as_str()).collect();
    assert_eq!(warned, ["--brand-new-flag", "--another"]);
    assert!(ended.messages("info").contains(&"Plugin server listening"), "{:?}", ended.log);
    Ok(())
}

/// A Write with an upload in progress.
async fn begun(proxied: &ProxiedStore, plugin: &Plugin) -> Result<Call> {
    plugin.connect().await?.init(&proxied.whole_spec()).await?;
    let mut call = Call::open(plugin.host_and_port()).await?;
    call.send(insert("t", 0..MULTIPART_ROWS)).await?;
    proxied.wait_for_unfinished().await;
    Ok(call)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_the_middle_of_a_write_leaves_nothing() -> Result<()> {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let proxied = ProxiedStore::new([]).await;
        let plugin = proxied.launch(Network::Tcp).start().await?;
        let call = begun(&proxied, &plugin).await?;
        plugin.end(signal).await?.well();
        assert_eq!((proxied.unfinished(), proxied.keys()), (0, vec![]), "{signal:?}");
        drop(call);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_kill_leaves_an_upload() -> Result<()> {
    // Without a cleanup, the leftovers that the tests around this one look for exist.
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    let _call = begun(&proxied, &plugin).await?;
    plugin.end(Signal::Kill).await?;
    assert_eq!(proxied.unfinished(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_store_stalls_leaves_nothing() -> Result<()> {
    // The lanes are blocked, since the store accepts no part.
    let proxied = ProxiedStore::new([Rule::on(Operation::Part, When::Always, Fault::Stall(FOR_EVER))]).await;
    let plugin = proxied.launch(Network::Tcp).with("--in-flight 6MiB").start().await?;
    let mut call = begun(&proxied, &plugin).await?;
    let sending = tokio::spawn(async move {
        let mut from = MULTIPART_ROWS;
        while call.send(insert("t", from..from + MULTIPART_ROWS)).await.is_ok() {
            from += MULTIPART_ROWS;
        }
    });
    eventually("parts are sent", || proxied.proxy.count(Operation::Part) > 1).await;
    plugin.end(Signal::Interrupt).await?.well();
    assert_eq!((proxied.unfinished(), proxied.keys()), (0, vec![]));
    sending.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_last_word_of_the_store_is_awaited_leaves_nothing() -> Result<()> {
    let proxied = ProxiedStore::new([Rule::on(Operation::Complete, When::Always, Fault::Stall(FOR_EVER))]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    let call = begun(&proxied, &plugin).await?;
    let ending = tokio::spawn(call.end(End::HalfClose));
    eventually("the object is to be completed", || proxied.proxy.count(Operation::Complete) > 0).await;
    plugin.end(Signal::Terminate).await?.well();
    assert_eq!((proxied.unfinished(), proxied.keys()), (0, vec![]));
    ending.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_init_ends_it() -> Result<()> {
    let proxied = ProxiedStore::new([Rule::on(Operation::Put, When::Always, Fault::Stall(FOR_EVER))]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    let mut client = plugin.connect().await?;
    let spec = proxied.spec(json!({"test_write": true}));
    let init = tokio::spawn(async move { client.init(&spec).await });
    eventually("the test object is put", || proxied.proxy.count(Operation::Put) > 0).await;
    let ended = plugin.stop().await?;
    ended.well();
    assert!(ended.took < STOP_LIMIT / 2, "{:?}", ended.took);
    assert!(init.await?.is_err());
    Ok(())
}

/// A round that succeeds at once: after an answer, the plugin is idle.
async fn works_at_once(plugin: &Plugin, spec: &Value, table: &str) -> Result<()> {
    Ok(plugin.connect().await?.round(spec, [insert(table, 0..3)]).await?)
}

/// A round that succeeds once the plugin is idle: there is no signal for the end of an abandoned call.
async fn works_again(plugin: &Plugin, spec: &Value, table: &str) -> Result<()> {
    let mut client = plugin.connect().await?;
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(status) = client.init(spec).await {
        assert!(status.message().contains("plugin already in use") && Instant::now() < until, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.write([insert(table, 0..3)]).await?;
    client.close().await?;
    Ok(())
}

const NO_ERROR: u32 = 0;
const CANCEL: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_no_upload_and_no_claim() -> Result<()> {
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    for end in [End::Reset(CANCEL), End::Reset(NO_ERROR), End::Close, End::ResetConnection] {
        let call = begun(&proxied, &plugin).await?;
        call.end(end).await?;
        works_again(&plugin, &proxied.whole_spec(), "after").await?;
        // The next Init had to wait until open uploads were aborted.
        assert_eq!((proxied.unfinished(), proxied.keys()), (0, vec!["after.csv".to_owned()]), "{end:?}");
    }
    // The same call, ended regularly, is written.
    let answer = begun(&proxied, &plugin).await?.end(End::HalfClose).await?;
    assert!(!answer.is_empty());
    assert_eq!((proxied.unfinished(), proxied.keys()), (0, vec!["after.csv".to_owned(), "t.csv".to_owned()]));
    plugin.stop().await?.well();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_is_no_half_close() -> Result<()> {
    // Small objects, whose single put would be done in a moment: the stack below ends the stream as if the client had half-closed.
    const CALLS: usize = 25;
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    for (call, end) in (0..CALLS).flat_map(|call| [(call, End::Reset(CANCEL)), (call, End::Reset(NO_ERROR)), (call, End::ResetConnection)])
    {
        works_again(&plugin, &proxied.whole_spec(), "after").await?;
        plugin.connect().await?.init(&proxied.whole_spec()).await?;
        let mut open = Call::open(plugin.host_and_port()).await?;
        open.send(insert("gone", 0..10)).await?;
        if call % 2 == 0 {
            // Time for the rows to reach the guest.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        open.end(end).await?;
    }
    works_again(&plugin, &proxied.whole_spec(), "after").await?;
    assert_eq!(proxied.keys(), ["after.csv"]);
    let ended = plugin.stop().await?;
    ended.well();
    // More than half of them: one that ends before the server looks at it leaves no word, and on a busy machine one that comes in while the
    // one before it is still being given up is refused, which is no half-close.
    let cancelled = ended.messages("error").into_iter().filter(|message| message.starts_with("context done: ")).count();
    assert!(cancelled > CALLS, "{:?}", ended.messages("error"));
    Ok(())
}

/// The status of a Write of these messages.
async fn written(plugin: &Plugin, messages: Vec<write::Request>) -> Result<Status> {
    let answer = plugin.connect().await?.0.write(tokio_stream::iter(messages)).await;
    Ok(answer.map_or_else(|status| status, |_| Status::ok("")))
}

fn bytes(record: impl Into<Bytes>) -> write::Request {
    Message::Insert(record.into()).into()
}

#[track_caller]
fn check(what: &str, status: &Status, code: Code, text: &str) {
    assert_eq!(status.code(), code, "{what}: {status}");
    assert!(status.message().starts_with(text), "{what}: {:?} does not begin with {text:?}", status.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_the_codes_of_the_protocol() -> Result<()> {
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    let mut client = plugin.connect().await?;
    check(
        "empty, before Init",
        &written(&plugin, vec![]).await?,
        Code::Internal,
        "write failed: plugin is not initialized. call Init first",
    );
    let early = written(&plugin, vec![insert("t", 0..1).into()]).await?;
    check("before Init", &early, Code::Cancelled, "plugin returned error: plugin is not initialized. call Init first");
    client.close().await?;

    for (what, spec, text) in [
        ("null", "null", "failed to init plugin: failed to initialize client: `bucket` is required"),
        ("nothing", "", "failed to init plugin: failed to initialize client: `bucket` is required"),
        ("no JSON", "{", "failed to init plugin: failed to initialize client: failed to unmarshal s3 spec: "),
        ("a list", "[]", "failed to init plugin: failed to initialize client: failed to unmarshal s3 spec: "),
        ("not UTF-8", "\u{1}", "failed to init plugin: failed to initialize client: failed to unmarshal s3 spec: "),
    ] {
        let request = init::Request { spec: Bytes::copy_from_slice(spec.as_bytes()), ..Default::default() };
        check(what, &client.0.init(request).await.expect_err("refused"), Code::Internal, text);
    }
    let request = init::Request { spec: Bytes::from_static(b"\xff\xfe"), ..Default::default() };
    check(
        "bytes",
        &client.0.init(request).await.expect_err("refused"),
        Code::Internal,
        "failed to init plugin: failed to initialize client: ",
    );

    client.init(&proxied.whole_spec()).await?;
    let nameless = Table::new("t").column("id", Arc::new(arrow_array::Int64Array::from(vec![1])));
    let nameless = {
        let batch = nameless.batch()?;
        let schema = Arc::new(arrow_schema::Schema::new(batch.schema().fields().clone()));
        ipc(&schema, &[arrow_array::RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?])?
    };
    let garbage = Bytes::from_static(b"\xff\xff\xff\xff\x10\0\0\0not arrow at all");
    let whole = ids("t", 0..1_000);
    let torn = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
    let messages: [(&str, Vec<write::Request>, Code, &str); 8] = [
        ("garbage rows", vec![bytes(garbage.clone())], Code::InvalidArgument, "failed to create record: "),
        ("no rows at all", vec![bytes(Bytes::new())], Code::InvalidArgument, "failed to create record: "),
        ("torn rows", vec![bytes(torn)], Code::InvalidArgument, "failed to create record: "),
        ("rows of no table", vec![bytes(nameless.clone())], Code::InvalidArgument, "failed to create record: "),
        ("a garbage schema", vec![Message::Migrate(garbage.clone()).into()], Code::InvalidArgument, "failed to create schema from bytes: "),
        (
            "a schema of no table",
            vec![Message::Migrate(nameless.into()).into()],
            Code::InvalidArgument,
            "failed to create table from schema: missing table name",
        ),
        ("no content", vec![write::Request { message: None }], Code::InvalidArgument, "failed to convert message: "),
        (
            "garbage after a failure",
            vec![Message::DeleteStale("s".into()).into(), bytes(garbage)],
            Code::Internal,
            "failed to convert message: rpc error: code = InvalidArgument desc = failed to create record: ",
        ),
    ];
    for (what, messages, code, text) in messages {
        let status = written(&plugin, [vec![insert("t", 0..10).into()], messages].concat()).await?;
        check(what, &status, code, text);
        if code == Code::Internal {
            assert!(status.message().ends_with(" and write failed: handler failed on s: DeleteStale: not implemented"), "{status}");
        }
        // Nothing of the Write is stored, not even the valid rows before.
        works_at_once(&plugin, &proxied.whole_spec(), "after").await?;
        client.init(&proxied.whole_spec()).await?;
        assert_eq!((proxied.keys(), proxied.unfinished()), (vec!["after.csv".to_owned()], 0), "{what}");
    }

    // Bytes that are not a message of the protocol.
    let mut call = Call::open(plugin.host_and_port()).await?;
    call.send_bytes(b"\xff\xff\xff").await?;
    let said = String::from_utf8_lossy(&call.end(End::HalfClose).await?).into_owned();
    works_at_once(&plugin, &proxied.whole_spec(), "after").await?;
    let ended = plugin.stop().await?;
    ended.well();
    assert!(
        ended.messages("error").iter().any(|message| message.starts_with("failed to receive msg: ")),
        "{:?} {said:?}",
        ended.messages("error")
    );
    Ok(())
}

/// The store is slow to abort: an answer before the end of the abort would leave an upload, and the plugin in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_answered_when_nothing_is_open_any_more() -> Result<()> {
    let proxied = ProxiedStore::new([Rule::on(Operation::Abort, When::Always, Fault::Delay(Duration::from_secs(2)))]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    let mut call = begun(&proxied, &plugin).await?;
    call.send(Message::Insert(Bytes::from_static(b"garbage!"))).await?;
    let answer = String::from_utf8_lossy(&call.end(End::HalfClose).await?).into_owned();
    assert_eq!((proxied.unfinished(), proxied.proxy.count(Operation::Abort)), (0, 1), "{answer:?}");
    works_at_once(&plugin, &proxied.whole_spec(), "after").await?;
    assert_eq!(proxied.keys(), ["after.csv"]);
    plugin.stop().await?.well();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_changes_fails_the_table_alone() -> Result<()> {
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Unix).start().await?;
    let mut client = plugin.connect().await?;
    let other = Table::new("t").column("other", Arc::new(arrow_array::StringArray::from(vec!["x"]))).insert_ipc()?;
    let messages = [insert("t", 0..3), insert("u", 0..3), Message::Insert(other.into()), insert("u", 3..5)];
    let status = client.round(&proxied.whole_spec(), messages.clone()).await.expect_err("refused");
    check("no_rotate", &status, Code::Internal, "write failed: handler failed on t: ");
    assert!(status.message().contains("the column \"id\""), "the column is named: {status}");
    assert_eq!(proxied.keys(), ["u.csv"]);
    // Where objects rotate, the next one has the new columns.
    client.round(&proxied.spec(json!({})), messages).await?;
    assert_eq!(proxied.keys().iter().filter(|key| key.starts_with("t/")).count(), 2);
    plugin.stop().await?.well();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_at_the_same_time_is_refused() -> Result<()> {
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Tcp).start().await?;
    let call = begun(&proxied, &plugin).await?;
    let mut client = plugin.connect().await?;
    let in_use = client.init(&proxied.whole_spec()).await.expect_err("refused");
    check("Init", &in_use, Code::Internal, "failed to init plugin: plugin already in use");
    check("Close", &client.close().await.expect_err("refused"), Code::Unknown, "plugin already in use");
    check("Write", &written(&plugin, vec![]).await?, Code::Internal, "write failed: plugin already in use");
    // None of it disturbs the running Write.
    call.end(End::HalfClose).await?;
    assert_eq!((proxied.keys(), proxied.unfinished()), (vec!["t.csv".to_owned()], 0));
    plugin.stop().await?.well();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_calls_answer_as_a_destination_does() -> Result<()> {
    let proxied = ProxiedStore::new([Rule::on(Operation::Put, When::Always, Fault::Answer(http::StatusCode::FORBIDDEN))]).await;
    let plugin = proxied.launch(Network::Unix).start().await?;
    let mut client = plugin.connect().await?.0;
    assert_eq!(client.get_name(get_name::Request {}).await?.into_inner().name, "s3");
    assert!(client.get_version(get_version::Request {}).await?.into_inner().version.starts_with('v'));
    let schema = client.get_spec_schema(get_spec_schema::Request {}).await?.into_inner().json_schema.expect("a schema");
    assert!(schema.contains("batch_size_bytes"), "{schema}");
    let tables = client.get_tables(get_tables::Request::default()).await.expect_err("refused");
    check("GetTables", &tables, Code::Internal, "failed to get tables: failed to get tables: not implemented");
    check("Sync", &client.sync(sync::Request::default()).await.expect_err("refused"), Code::Unimplemented, "Sync is not offered: ");
    check("Read", &client.read(read::Request::default()).await.expect_err("refused"), Code::Unimplemented, "Read is not offered: ");
    let transform = client.transform(tokio_stream::iter([transform::Request::default()])).await.expect_err("refused");
    check("Transform", &transform, Code::Unimplemented, "Transform is not offered: ");
    let schema = client.transform_schema(transform_schema::Request::default()).await.expect_err("refused");
    check("TransformSchema", &schema, Code::Unimplemented, "TransformSchema is not offered: ");
    let mut test = async |spec: String| {
        let answer = client.test_connection(test_connection::Request { spec: spec.into() }).await.expect("an answer").into_inner();
        (answer.success, answer.failure_code)
    };
    assert_eq!(test("null".to_owned()).await, (false, "INVALID_SPEC".to_owned()));
    assert_eq!(test(proxied.spec(json!({"test_write": true})).to_string()).await, (false, "UNAUTHORIZED".to_owned()));
    assert_eq!(test(proxied.spec(json!({})).to_string()).await, (true, String::new()));
    client.close(close::Request {}).await?;
    plugin.stop().await?.well();
    Ok(())
}

/// Rows of one column as large as an insert may be; `more` rows above or below that.
fn largest(table: &str, more: i64) -> Bytes {
    const ROW_BYTES: usize = 8;
    // Overhead of a message around its rows; the field's own header takes a dozen bytes.
    let around = ids(table, 0..8).len() - 8 * ROW_BYTES + 16;
    let rows = ((MAX_MESSAGE_BYTES - around) / ROW_BYTES) as i64 - 64;
    ids(table, 0..rows + more).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_up_to_the_limit_are_taken_and_larger_ones_refused() -> Result<()> {
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Unix).start().await?;
    let mut client = plugin.connect().await?;
    let message = largest("large", 0);
    assert!((MAX_MESSAGE_BYTES - 1_024..MAX_MESSAGE_BYTES).contains(&message.len()), "{}", message.len());
    client.round(&proxied.whole_spec(), [Message::Insert(message)]).await?;
    let rows = proxied.body("large.csv").iter().filter(|byte| **byte == b'\n').count() as u64 - 1;
    assert!(rows * 8 > MAX_MESSAGE_BYTES as u64 - 2_048, "{rows}");
    client.init(&proxied.whole_spec()).await?;
    let status = client.write([Message::Insert(largest("larger", 128))]).await.expect_err("refused");
    check("too large", &status, Code::Internal, "failed to receive msg: ");
    assert!(status.message().contains(&MAX_MESSAGE_BYTES.to_string()), "the limit is named: {status}");
    works_at_once(&plugin, &proxied.whole_spec(), "after").await?;
    assert_eq!(proxied.keys(), ["after.csv", "large.csv"]);
    plugin.stop().await?.well();
    Ok(())
}

/// Far above what is measured (including a debug build's code), far below what holding the input would take.
const GENEROUS_BYTES: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn very_many_small_records_and_tables() -> Result<()> {
    const RECORDS: i64 = 30_000;
    const TABLES: usize = 2_000;
    let proxied = ProxiedStore::new([]).await;
    let plugin = proxied.launch(Network::Unix).start().await?;
    let mut client = plugin.connect().await?;
    client.round(&proxied.whole_spec(), (0..RECORDS).map(|id| insert("one_by_one", id..id + 1))).await?;
    let expected: String = std::iter::once("id\n".to_owned()).chain((0..RECORDS).map(|id| format!("{id}\n"))).collect();
    assert!(proxied.body("one_by_one.csv") == expected.as_bytes());
    let tables = |from: i64| (0..TABLES).map(move |table| insert(&format!("table_{table:04}"), from..from + 10));
    client.round(&proxied.whole_spec(), tables(0).chain(tables(10))).await?;
    assert_eq!(proxied.keys().len(), TABLES + 1);
    assert_eq!(proxied.body("table_1999.csv").iter().filter(|byte| **byte == b'\n').count(), 21);
    let peak = plugin.peak_bytes();
    assert!(peak.is_none_or(|peak| peak < GENEROUS_BYTES), "{peak:?}");
    plugin.stop().await?.well();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_slows_the_client_and_costs_no_memory() -> Result<()> {
    // 64 requests at a time, each half a second late: 8 MiB in flight leave in a second what the client could send in a tenth of one.
    let proxied = ProxiedStore::new([Rule::on(Operation::Put, When::Always, Fault::Delay(Duration::from_millis(250)))]).await;
    let plugin = proxied.launch(Network::Unix).with("--in-flight 8MiB --memory 8MiB").start().await?;
    let mut client = plugin.connect().await?;
    let spec = proxied.spec(json!({"batch_size": 100_000}));
    // A first round with a tenth measures what the process needs anyway.
    let messages = |rows: i64| (0..rows / 100_000).map(|part| insert("t", part * 100_000..(part + 1) * 100_000));
    client.round(&spec, messages(10_000_000)).await?;
    let before = plugin.peak_bytes();
    let begun = Instant::now();
    client.round(&spec, messages(60_000_000)).await?;
    let took = begun.elapsed();
    // 600 objects of 0.8 MB, at most ten and a lane's two in flight at a time.
    assert!(took > Duration::from_millis(250) * 600 / 20, "the store was not slow: {took:?}");
    if let (Some(before), Some(after)) = (before, plugin.peak_bytes()) {
        // 480 MB were written; what is in flight, queued and in the guests is bounded and was already reached in the first round.
        assert!(after < before + (96 << 20), "{before}, then {after}");
        assert!(after < GENEROUS_BYTES / 2, "{after}");
    }
    assert_eq!(proxied.keys().len(), 700);
    plugin.stop().await?.well();
    Ok(())
}
