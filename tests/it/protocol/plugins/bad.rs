//! Misbehaving sources: each gives a clear error line and an exit code, and leaves nothing behind.

use super::{BUCKET, go_source, local_store, python_source, runs, s3, source, stored_ids, test_dir};
use arrow_array::{Int8Array, NullArray, RecordBatch, StringArray};
use lakegate_cloudquery::proto::plugin::sync;
use lakegate_cloudquery::proto::plugin::sync::response::Message;
use lakegate_tests::fake_plugin::{Behaviour, FakePlugin};
use lakegate_tests::tables::{Table, ids, ipc};
use lakegate_tests::tiers;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use tonic::Code;

fn insert(record: Vec<u8>) -> Message {
    Message::Insert(sync::MessageInsert { record: record.into() })
}

#[tokio::test]
async fn a_program_that_is_missing_or_dies_or_hangs_says_so() {
    let dir = test_dir();
    let dies = dir.script("dies", "echo 'plain words'; echo 'the cause' >&2; exit 3");
    let hangs = dir.script("hangs", "echo $$ > pid; exec sleep 600");
    let data = dir.file("data", "no program");
    // It accepts connections (the system does) and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("its number");
    for (registry, path, words) in [
        ("local", "nowhere".to_owned(), vec!["failed to start source src: there is no program nowhere; `path` names"]),
        ("local", data.display().to_string(), vec!["failed to start source src:", "cannot be started: Permission denied"]),
        ("local", dies.display().to_string(), vec!["the plugin exited before it listened (exit status: 3)", "plain words", "the cause"]),
        ("local", hangs.display().to_string(), vec!["the plugin did not listen within 2 s; it was killed"]),
        ("grpc", silent.local_addr().expect("its number").to_string(), vec!["the plugin did not answer within 2 s"]),
        ("grpc", nobody.to_string(), vec!["failed to start source src: no answer from 127.0.0.1", "refused"]),
        ("grpc", "no address".to_owned(), vec!["\"no address\" is not an address; expected HOST:PORT or unix:///PATH"]),
    ] {
        dir.file("c.yml", &(source("src", registry, path, "{}") + &s3("")));
        let run = dir.run_async("sync c.yml --local store --plugin-start-limit 2").await;
        run.ended(7, &words);
        assert!(!run.stderr.contains("Starting sync"), "{}", run.stderr);
    }
    assert!(!runs(std::fs::read_to_string(dir.path().join("pid")).expect("written").trim()));
}

/// Python's `argparse` requires a value for the flag.
#[tokio::test]
async fn a_source_is_started_with_the_arguments_that_every_sdk_takes() {
    let dir = test_dir();
    let program = dir.script("source", "for each in \"$@\"; do echo \"$each\"; done > argv; exit 3");
    let source = source("src", "local", program.display(), "{}");
    let otel = "  otel_endpoint: localhost:4318\n  otel_endpoint_insecure: true\n  spec:";
    dir.file("c.yml", &(source.replace("  spec:", otel) + &s3("")));
    dir.run_async("sync c.yml --local store").await.ended(7, &["the plugin exited before it listened"]);
    let argv = std::fs::read_to_string(dir.path().join("argv")).expect("written");
    let argv: Vec<&str> = argv.lines().collect();
    // The second attempt is the one that listens on a port.
    let address = argv[8];
    assert!(address.starts_with("127.0.0.1:"), "{argv:?}");
    let expected = [
        "serve",
        "--log-level",
        "warn",
        "--log-format",
        "json",
        "--network",
        "tcp",
        "--address",
        address,
        "--no-sentry",
        "--otel-endpoint",
        "localhost:4318",
        "--otel-endpoint-insecure=true",
    ];
    assert_eq!(argv, expected);
}

#[tokio::test]
async fn words_that_are_no_json_are_relayed_as_they_are() {
    let Some(program) = tiers::live("a source on Python's SDK", python_source()) else { return };
    let dir = test_dir();
    let spec = r#"{rows: 10, say: ["plain words", '{"level":"warn","message":"a warning"}']}"#;
    dir.file("c.yml", &(source("py", "local", program.display(), spec) + &s3("")));
    let run = dir.run_async("sync c.yml --local store --log-console").await;
    run.ended(0, &["INFO plain words", "WARN a warning", "Sync completed successfully. Resources: 40, Errors: 0, Warnings: 1,"]);
    // What it prints after it is told to stop does not matter.
    assert!(!run.stderr.contains("Traceback"), "{}", run.stderr);
}

#[tokio::test]
async fn a_source_that_fails_on_its_way_leaves_nothing_unfinished() {
    let Some(program) = tiers::live("a source on Python's SDK", python_source()) else { return };
    let dir = test_dir();
    let one_object = ", batch_size: 0, batch_size_bytes: 0, batch_timeout: 0s";
    for (spec, words) in [
        ("{rows: 1000000, die_after: 500000}", "failed to sync source py: the plugin ended during Sync (signal: 9 (SIGKILL))"),
        ("{rows: 10, garbage: true}", "failed to sync source py: a record of the source cannot be used: missing table name"),
        ("{refuse: true}", "failed to init source py: rpc error: code = Unknown desc = Exception calling application: the spec is refused"),
    ] {
        dir.file("c.yml", &(source("py", "local", program.display(), spec) + &s3(one_object)));
        let run = dir.run_async("sync c.yml --local store --summary-location s.jsonl").await;
        run.ended(7, &[words]);
        let store = local_store(&dir);
        assert!(store.unfinished_uploads(BUCKET).unwrap_or_default().is_empty(), "{spec}");
        // Completed tables are stored; nothing of the incomplete one is.
        assert!(store.records(BUCKET, "x/py_rows/").unwrap_or_default().is_empty(), "{spec}: something was claimed");
        assert!(!dir.path().join("s.jsonl").exists(), "{spec}: a summary of what did not happen");
    }
}

#[tokio::test]
async fn deletions_fail_their_table_and_no_other() {
    let Some(program) = tiers::live("a source on Go's SDK", go_source()) else { return };
    let dir = test_dir();
    dir.file("c.yml", &(source("go", "local", program.display(), "{rows: 10, delete: true}") + &s3("")));
    let run = dir.run_async("sync c.yml --local store").await;
    run.ended(6, &["Table go_parents failed: rows cannot be deleted from a bucket", "Resources: 40, Errors: 1,"]);
    assert_eq!((stored_ids(&dir, "go_rows").len(), stored_ids(&dir, "go_parents").len()), (10, 7));
}

/// A source that stops in the middle, with any status: what was received is aborted.
#[tokio::test]
async fn a_stream_that_does_not_end_well_claims_nothing() {
    for (code, name) in [(Code::Cancelled, "Canceled"), (Code::Unavailable, "Unavailable"), (Code::Internal, "Internal")] {
        let messages = vec![insert(ids("rows", 0..1_000))];
        let behaviour = Behaviour { versions: vec![3], messages, times: 50, ends_with: Some(code), ..Behaviour::default() };
        let fake = FakePlugin::start(behaviour).await.expect("a port");
        let dir = test_dir();
        let one_object = ", batch_size: 0, batch_size_bytes: 0, batch_timeout: 0s";
        dir.file("c.yml", &(source("src", "grpc", fake.address, "{}") + &s3(one_object)));
        let run = dir.run_async("sync c.yml --local store --summary-location s.jsonl").await;
        run.ended(7, &["failed to sync source src: ", name, "the source ends on purpose"]);
        let store = local_store(&dir);
        assert!(store.records(BUCKET, "").unwrap_or_default().is_empty(), "{name}: something was claimed");
        assert!(store.unfinished_uploads(BUCKET).unwrap_or_default().is_empty(), "{name}");
        assert!(!dir.path().join("s.jsonl").exists(), "{name}: a summary of what did not happen");
    }
}

/// A message with this many rows of one mebibyte of text each.
fn mebibytes(rows: usize) -> Message {
    let text = "x".repeat(1 << 20);
    let column: StringArray = std::iter::repeat_n(Some(text.as_str()), rows).collect();
    insert(Table::new("large").column("text", Arc::new(column)).insert_ipc().expect("rows"))
}

/// The protocol's message limit is 200 MiB, both ways.
#[tokio::test]
async fn the_largest_message_arrives_and_a_larger_one_is_refused() {
    for (rows, code) in [(199, 0), (200, 7)] {
        let fake = Behaviour { versions: vec![3], messages: vec![mebibytes(rows)], times: 1, ..Behaviour::default() };
        let fake = FakePlugin::start(fake).await.expect("a port");
        let dir = test_dir();
        dir.file("c.yml", &(source("src", "grpc", fake.address, "{}") + &s3("")));
        let run = dir.run_async("sync c.yml --local store").await;
        let store = local_store(&dir);
        let records = store.records(BUCKET, "").unwrap_or_default();
        if code == 0 {
            run.ended(0, &[&format!("Sync completed successfully. Resources: {rows}, Errors: 0")]);
            let bytes: usize =
                records.iter().map(|record| std::fs::read(store.object_path(BUCKET, &record.key)).expect("there").len()).sum();
            assert!(bytes > rows << 20, "{bytes}");
        } else {
            run.ended(7, &["failed to sync source src: ", "too large", "209715200"]);
            assert!(records.is_empty(), "{records:?}");
        }
    }
}

/// Memory limit of `sync`. It takes less than 200 MiB for an honest message.
const SYNC_MIB: u64 = 512;

/// The same record batch repeated in one message.
fn repeated(batch: &RecordBatch, times: usize) -> Message {
    insert(ipc(&batch.schema(), &vec![batch.clone(); times]).expect("rows"))
}

/// Headers that claim rows without any bytes: the sync's columns would be written for each row, so rows are counted over all batches of a message
/// before one is written.
#[tokio::test]
async fn rows_that_are_claimed_alone_are_refused_before_they_take_memory() {
    let nulls = |rows: usize| Table::new("claims").column("v", Arc::new(NullArray::new(rows))).batch().expect("a column");
    let one = Table::new("claims").column("v", Arc::new(Int8Array::from(vec![1]))).batch().expect("a column");
    for (what, message, bytes, code, words) in [
        ("an honest one", repeated(&one, 40), 20_000, 0, "Resources: 40, Errors: 0"),
        ("many batches", repeated(&nulls(8_000_000), 40), 20_000, 7, "claims 320000000 rows in 40 record batches"),
        ("one batch", repeated(&nulls(2_000_000_000), 1), 2_000, 7, "claims 2000000000 rows in 1 record batches"),
        ("small batches", repeated(&nulls(10_000), 5_000), 2_000_000, 7, "claims 50000000 rows in 5000 record batches"),
    ] {
        let Message::Insert(record) = &message else { unreachable!("made above") };
        assert!(record.record.len() <= bytes, "{what}: {} bytes", record.record.len());
        let behaviour = Behaviour { versions: vec![3], messages: vec![message], times: 1, ..Behaviour::default() };
        let fake = FakePlugin::start(behaviour).await.expect("a port");
        let dir = test_dir();
        dir.file("c.yml", &(source("src", "grpc", fake.address, "{}") + &s3("")));
        let run = dir.run_within(SYNC_MIB, "sync c.yml --local store --lanes 1").await;
        assert!(run.code == Some(code) && run.stderr.contains(words), "{what}: {run:?}");
        let records = local_store(&dir).records(BUCKET, "").unwrap_or_default();
        assert_eq!(records.is_empty(), code != 0, "{what}: {records:?}");
    }
}
