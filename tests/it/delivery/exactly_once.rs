//! Exactly once: a load that is repeated, killed, or cut off by a broken network leaves the objects of one that was not; of attempts whose rows
//! differ, one makes the commit.

mod kills;
mod readers;
mod stores;

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, ProxiedStore, SECRET};
use crate::fixtures::support::{TestStore, test_store};
use bytes::Bytes;
use futures::StreamExt as _;
use http::StatusCode;
use lakegate::{Destination, FailureClass, SyncContext, WriteReport};
use lakegate_local_store::LocalStore;
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::s3::Store;
use lakegate_tests::tables::ids;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::{minio, moto, tiers};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Files of a load, and rows of each.
const FILES: usize = 30;
const ROWS: usize = 2_000;

/// Files with numbers and texts, each of a table of its own.
fn write_files(folder: &Path, files: usize, rows: usize) {
    for number in 0..files {
        let mut text = String::from("id,name,amount\n");
        for row in 0..rows {
            let id = number * rows + row;
            let _ = writeln!(text, "{id},\"name {}, of {}\",{}.{:02}", id % 97, id % 13, id % 1_000, id % 100);
        }
        std::fs::write(folder.join(format!("t{number:02}.csv")), text).expect("a file");
    }
}

/// The command line of a load that is exactly once.
fn line(format: &str, options: &str, lanes: usize, store: &str) -> String {
    format!(
        "load t*.csv --to s3://{BUCKET}/raw/{{{{TABLE}}}}/{{{{COMMIT_ID}}}}/{{{{SEQ}}}}.{{{{FORMAT}}}} \
         --format {format}{options} --batch-size 1500 --lanes {lanes} --delivery exactly_once --commit-id c-1 \
         --manifest _manifests/{{{{TABLE}}}}/{{{{COMMIT_ID}}}}.json --success-marker --symlink-list --json {store}"
    )
}

/// A digest in hex.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of every object in the embedded store of a folder, by key.
fn objects(folder: &Path) -> BTreeMap<String, String> {
    let store = LocalStore::open(folder).expect("a store");
    let records = store.records(BUCKET, "").expect("it can be read");
    let digest_of = |key: &str| digest(&std::fs::read(store.object_path(BUCKET, key)).expect("an object"));
    records.into_iter().map(|record| (record.key.clone(), digest_of(&record.key))).collect()
}

/// The digest of every object in the bucket of a live store, by key.
async fn objects_of(store: &Store) -> BTreeMap<String, String> {
    let client = store.client();
    let mut pages = client.list_objects_v2().bucket(BUCKET).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page.expect("a listing").contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    let digest_of = async |key: String| {
        let object = client.get_object().bucket(BUCKET).key(&key).send().await.expect("an object");
        (key, digest(&object.body.collect().await.expect("its bytes").into_bytes()))
    };
    futures::stream::iter(keys).map(digest_of).buffer_unordered(8).collect().await
}

/// A folder with files to load by a program.
fn dir_of(program: &'static str, files: usize, rows: usize) -> TestDir {
    let dir = TestDir::new(program, (KEY, SECRET));
    write_files(dir.path(), files, rows);
    dir
}

fn dir() -> TestDir {
    dir_of(PLUGIN, FILES, ROWS)
}

fn start(mut command: Command) -> std::process::Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

#[test]
fn a_manifest_names_every_object_and_is_verified() {
    let dir = dir();
    let report = dir.run(&line("parquet", "", 2, "--local store")).ended(0, &[]).json();
    assert_eq!(report["rows"], FILES * ROWS);
    let store = dir.path().join("store").join(BUCKET);
    let manifest: Value = serde_json::from_slice(&std::fs::read(store.join("_manifests/t01/c-1.json")).unwrap()).unwrap();
    assert_eq!(manifest["meta"]["record_count"], ROWS);
    let urls: Vec<&str> = manifest["entries"].as_array().unwrap().iter().map(|entry| entry["url"].as_str().unwrap()).collect();
    let expected: Vec<String> = (1..=urls.len()).map(|number| format!("s3://{BUCKET}/raw/t01/c-1/{number:06}.parquet")).collect();
    assert_eq!(urls, expected);
    let list = std::fs::read_to_string(store.join("_manifests/t01/c-1.symlink%d/manifest%f")).unwrap();
    assert_eq!(list.lines().collect::<Vec<_>>(), urls);
    let marker: Value = serde_json::from_slice(&std::fs::read(store.join("raw/t01/c-1/_SUCCESS%f")).unwrap()).unwrap();
    assert_eq!((&marker["success"], &marker["jobId"]), (&json!(true), &json!("c-1")));
    let verify = format!("manifest verify s3://{BUCKET}/_manifests/t01/c-1.json --local store --json");
    let found = dir.run(&verify).ended(0, &[]).json();
    assert_eq!((&found["rows"], &found["footers"]), (&json!(ROWS), &found["objects"]));
    assert!(found["checksums"].as_u64() > Some(0), "{found}");

    std::fs::remove_file(store.join("raw/t01/c-1/000001.parquet")).unwrap();
    dir.run(&verify).ended(5, &["raw/t01/c-1/000001.parquet is not there"]);
    std::fs::write(store.join("raw/t01/c-1/000002.parquet"), b"short").unwrap();
    dir.run(&verify).ended(5, &["has 5 bytes instead of"]);
    dir.run(&format!("manifest verify s3://{BUCKET}/none --local store")).ended(5, &["s3://served/none is not there"]);
    dir.run("manifest verify served/none --local store").ended(2, &["is not s3://BUCKET/KEY"]);
}

#[test]
fn a_source_that_has_changed_fails_its_table_by_name_and_replaces_nothing() {
    let dir = dir();
    let load = line("csv", "", 2, "--local store");
    dir.run(&load).ended(0, &[]);
    let before = objects(&dir.path().join("store"));
    let changed = std::fs::read_to_string(dir.path().join("t01.csv")).unwrap().replace("name 1,", "nome 1,");
    std::fs::write(dir.path().join("t01.csv"), changed).unwrap();
    dir.run(&load).ended(5, &["Table t01 failed", "other bytes: the source has not given the same rows as before"]);
    assert_eq!(objects(&dir.path().join("store")), before);
    // With another name it is another commit.
    dir.run(&load.replace("c-1", "c-2")).ended(0, &[]);
    let all = objects(&dir.path().join("store"));
    assert!(before.iter().filter(|(key, _)| !key.contains("_SUCCESS")).all(|(key, digest)| all.get(key) == Some(digest)));
    dir.run(&format!("{load} --on-existing fail")).ended(5, &["`commit.on_existing: fail` accepts none"]);
}

#[test]
fn what_cannot_be_the_same_twice_is_refused_by_name() {
    let dir = dir();
    let refused = |line: &str, said: &str| {
        dir.run(line).ended(3, &[said]);
    };
    let good = line("csv", "", 1, "--local store");
    refused(&good.replace("{{SEQ}}", "{{UUID}}"), "`path` should contain {{SEQ}} instead of {{UUID}} with `delivery: exactly_once`");
    refused(&good.replace(" --commit-id c-1", ""), "`commit.id` is required with `delivery: exactly_once`");
    refused(&good.replace("c-1", "a/b"), "`commit.id` must be 1 to 200 letters");
    refused(&good.replace("raw/", "{{YEAR}}/"), "`commit.time` is required");
    refused(&good.replace("exactly_once", "twice"), "invalid `delivery` value: twice. Allowed values are at_least_once, exactly_once");
    refused(&good.replace("{{TABLE}}/{{COMMIT_ID}}.json", "{{TABLE}}.json"), "`manifest.path` should contain {{COMMIT_ID}}");
    dir.run(&format!("{} --commit-time 2026-11-29T12:00:00Z", good.replace("raw/", "{{YEAR}}/"))).ended(0, &[]);
    assert!(objects(&dir.path().join("store")).contains_key("2026/t00/c-1/000001.csv"));
}

/// Answers that are lost, and conditions that fail for no reason: the load succeeds, and what it leaves is what it would have left.
#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_refusals_at_random_double_and_lose_nothing() {
    let dir = dir();
    // The marker of success may replace one: no store answers its put with a failed condition.
    let line = |store: &str| line("csv", "", 2, store).replace(" --success-marker", "");
    dir.run_async(&line("--local whole")).await.ended(0, &[]);
    let whole = objects(&dir.path().join("whole"));
    let every = |number| When::Every(NonZeroU64::new(number).unwrap());
    let answer = |status| Fault::Answer(StatusCode::from_u16(status).unwrap());
    for (name, fault) in [("lost answers", Fault::DropAnswer), ("409", answer(409)), ("412", answer(412)), ("503", answer(503))] {
        let operations = [Operation::Put, Operation::Complete];
        let store = ProxiedStore::new(operations.map(|operation| Rule::on(operation, every(3), fault))).await;
        let endpoint = store.proxy.endpoint();
        let run = dir.run_async(&line(&format!("--endpoint {endpoint} --path-style"))).await;
        run.ended(0, &[]);
        for (key, digest) in whole.iter().filter(|(key, _)| !key.contains("_lakegate/")) {
            let body = store.body(key);
            assert_eq!(self::digest(&body), *digest, "{name}: {key}");
        }
        let keys: Vec<String> = whole.keys().cloned().collect();
        assert_eq!(visible(&store.keys()), visible(&keys), "{name}");
        assert!(store.proxy.faults() > 10, "{name}: {} faults", store.proxy.faults());
    }
}

/// Large objects are uploads of several parts: their completion is the request that creates.
#[tokio::test(flavor = "multi_thread")]
async fn completions_create_and_never_replace() {
    let dir = TestDir::new(PLUGIN, (KEY, SECRET));
    let mut text = String::from("id,text\n");
    for row in 0..60_000 {
        let _ = writeln!(text, "{row},{}", "x".repeat(200 + row % 50));
    }
    dir.file("large.csv", &text);
    let every = |number| When::Every(NonZeroU64::new(number).unwrap());
    for (name, rules) in [
        ("no fault", Vec::new()),
        ("lost", vec![Rule::on(Operation::Complete, every(2), Fault::DropAnswer)]),
        ("conflict", vec![Rule::on(Operation::Complete, When::First(2), Fault::Answer(StatusCode::CONFLICT))]),
    ] {
        let store = ProxiedStore::new(rules).await;
        let load = format!(
            "load large.csv --to s3://{BUCKET}/{{{{COMMIT_ID}}}}/{{{{TABLE}}}}.csv --format csv --delivery exactly_once --commit-id c \
             --endpoint {} --path-style --json",
            store.proxy.endpoint()
        );
        dir.run_async(&load).await.ended(0, &[]);
        assert_eq!(store.body("c/large.csv"), text.as_bytes(), "{name}");
        let before = store.store.record(BUCKET, "c/large.csv").unwrap().unwrap();
        assert!(before.etag.contains('-'), "{name}: an object of several parts, not {}", before.etag);
        // Another attempt finds it, and leaves it as it is.
        dir.run_async(&load).await.ended(0, &[]);
        assert_eq!(store.store.record(BUCKET, "c/large.csv").unwrap().unwrap(), before, "{name}");
        assert_eq!(store.unfinished(), 0, "{name}: an upload is left behind");
    }
}

/// A sync whose attempts bring different rows, as those of a plugin do.
fn attempt_spec() -> String {
    json!({
        "bucket": BUCKET, "region": "us-east-1", "format": "csv", "path": "{{TABLE}}/{{UUID}}.csv", "test_write": false,
        "delivery": "exactly_once", "manifest": {"path": "_manifests/{{TABLE}}/{{COMMIT_ID}}.json", "success_marker": true},
    })
    .to_string()
}

fn attempt(commit: &str) -> SyncContext {
    SyncContext { commit_id: commit.to_owned(), ..SyncContext::from("sync") }
}

fn rows(table: &str, from: i64) -> Bytes {
    ids(table, from..from + 10).into()
}

async fn write(destination: &Destination, commit: &str, from: i64) -> WriteReport {
    let session = destination.open(&attempt_spec(), attempt(commit)).await.expect("a session");
    let mut write = session.write().expect("no other");
    write.insert(rows("orders", from)).await.expect("rows");
    let report = write.finish().await;
    session.close().await;
    report
}

fn manifest(store: &TestStore) -> Value {
    serde_json::from_slice(&store.body("_manifests/orders/c.json")).expect("a manifest")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_made_is_not_made_again() {
    let store = test_store(BUCKET);
    let destination = store.destination();
    let first = write(&destination, "c", 0).await;
    assert_eq!((first.tables[0].rows_confirmed, first.tables[0].manifest.as_deref()), (10, Some("_manifests/orders/c.json")));
    let (keys, made) = (store.keys(), manifest(&store));
    let second = write(&destination, "c", 100).await;
    assert_eq!(second.failures().count(), 0);
    let attempt = made["lakegate"]["attempt"].as_str().map(str::to_owned);
    assert_eq!((second.tables[0].rows_confirmed, &second.tables[0].committed_before), (0, &attempt));
    assert_eq!((store.keys(), manifest(&store)), (keys, made), "nothing was written");
    // Another commit is another.
    let third = write(&destination, "d", 100).await;
    assert_eq!((third.tables[0].rows_confirmed, third.tables[0].committed_before.as_ref()), (10, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_attempts_at_once_one_makes_the_commit_and_the_other_says_who() {
    let store = test_store(BUCKET);
    let destination = store.destination();
    let mut writes = Vec::new();
    for from in [0, 100] {
        let session = destination.open(&attempt_spec(), attempt("c")).await.expect("a session");
        let mut write = session.write().expect("no other");
        write.insert(rows("orders", from)).await.expect("rows");
        writes.push((session, write));
    }
    let mut reports = Vec::new();
    for (session, write) in writes {
        reports.push(write.finish().await);
        session.close().await;
    }
    let made = manifest(&store);
    let winner = made["lakegate"]["attempt"].as_str().expect("an attempt");
    assert!(reports[0].tables[0].failure.is_none());
    let lost = reports[1].tables[0].failure.as_ref().expect("the second has lost");
    assert_eq!(lost.class, FailureClass::Storage);
    assert!(lost.message.contains(&format!("was made by the attempt {winner}")) && lost.message.contains("orders/"), "{lost}");
    let entries = made["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &made["meta"]["record_count"]), (1, &json!(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_of_success_follows_only_where_every_table_has_succeeded() {
    let store = test_store(BUCKET);
    let destination = store.destination();
    let session = destination.open(&attempt_spec(), attempt("c")).await.expect("a session");
    let mut write = session.write().expect("no other");
    write.insert(rows("orders", 0)).await.expect("rows");
    write.insert(rows("..", 0)).await.expect("rows of a table whose key is refused");
    let report = write.finish().await;
    session.close().await;
    assert_eq!(report.failures().count(), 1);
    let keys = store.keys();
    assert!(keys.contains(&"_manifests/orders/c.json".to_owned()) && !keys.iter().any(|key| key.contains("_SUCCESS")), "{keys:?}");
}

/// Stores that ignore the condition are found out before a row is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_replaces_in_silence_is_refused_before_any_row() {
    let dir = dir();
    for (version, refused) in [("5.0.13", Some("PutObject")), ("5.1.5", Some("CompleteMultipartUpload")), ("", None)] {
        let Some(server) = tiers::live("moto's conditional writes", moto::start_version(version).await) else { return };
        let endpoint = format!("http://{}", server.address);
        let store = Store::new(endpoint.clone(), KEY.to_owned(), SECRET.to_owned());
        store.client().create_bucket().bucket(BUCKET).send().await.expect("a bucket");
        let run = dir.run_async(&line("csv", "", 1, &format!("--endpoint {endpoint} --path-style"))).await;
        match refused {
            Some(operation) => {
                run.ended(3, &[&format!("the store ignores If-None-Match: * on {operation}")]);
                let listed = store.client().list_objects_v2().bucket(BUCKET).prefix("raw/t").send().await.expect("a listing");
                assert!(listed.contents().is_empty(), "moto {version}");
            }
            None => {
                run.ended(0, &[]);
            }
        }
    }
}

/// Who may put and abort, and not read: `trust` needs no more; `verify` says what it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn trust_needs_no_permission_to_read() {
    let Some((store, [user, secret])) = tiers::live("a MinIO with a user who may only write", minio::with_writer().await) else { return };
    store.client().create_bucket().bucket(BUCKET).send().await.expect("a bucket");
    let dir = TestDir::new(PLUGIN, (user, secret));
    write_files(dir.path(), FILES, ROWS);
    let load = line("parquet", "", 2, &format!("--endpoint {} --path-style", store.endpoint));
    for _ in 0..2 {
        dir.run_async(&format!("{load} --on-existing trust")).await.ended(0, &[]);
    }
    dir.run_async(&load).await.ended(5, &["HeadObject needs the permission s3:GetObject"]);
    let verify = TestDir::new(PLUGIN, (store.access_key.clone().leak(), store.secret_key.clone().leak()));
    let line = format!("manifest verify s3://{BUCKET}/_manifests/t00/c-1.json --endpoint {} --path-style --json", store.endpoint);
    let found = verify.run_async(&line).await.ended(0, &[]).json();
    assert_eq!((&found["rows"], &found["checksums"]), (&json!(ROWS), &found["objects"]));
}

/// What tells nothing of rows: probes, and the record of a commit.
fn visible(keys: &[String]) -> Vec<&String> {
    keys.iter().filter(|key| !key.contains("_lakegate/")).collect()
}

fn deferred_spec() -> String {
    let spec: Value = serde_json::from_str(&attempt_spec()).expect("JSON");
    crate::fixtures::proxied_store::laid_over(spec, json!({"visibility": "on_commit", "delivery": "at_least_once"})).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_before_every_table_has_succeeded() {
    let store = test_store(BUCKET);
    let destination = store.destination();
    for (commit, tables, ends_well) in [("bad", ["orders", ".."], false), ("good", ["orders", "items"], true)] {
        let session = destination.open(&deferred_spec(), attempt(commit)).await.expect("a session");
        let mut write = session.write().expect("no other");
        for table in tables {
            write.insert(rows(table, 0)).await.expect("rows");
        }
        assert_eq!(visible(&store.keys()), Vec::<&String>::new(), "{commit}: before the end");
        let report = write.finish().await;
        session.close().await;
        assert_eq!(report.failures().count() == 0, ends_well, "{report:?}");
        assert_eq!(store.unfinished_uploads(), 0, "{commit}");
        let keys = store.keys();
        if ends_well {
            assert_eq!(visible(&keys).len(), 2 + 2 + 2, "objects, manifests, markers: {keys:?}");
            assert!(report.tables.iter().all(|table| table.rows_confirmed == 10), "{report:?}");
        } else {
            assert_eq!(visible(&keys), Vec::<&String>::new(), "a failed sync leaves nothing to see");
            assert!(report.tables.iter().all(|table| table.failure.is_some()), "{report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_leaves_nothing_that_waits() {
    let store = test_store(BUCKET);
    let session = store.destination().open(&deferred_spec(), attempt("c")).await.expect("a session");
    let mut write = session.write().expect("no other");
    write.insert(rows("orders", 0)).await.expect("rows");
    write.abort().await;
    session.close().await;
    assert_eq!((visible(&store.keys()).len(), store.unfinished_uploads()), (0, 0));
}

/// Killed at every step from the record of the commit to the last marker, a load is finished from the record; by two at once, too.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a figure")]
async fn a_commit_is_finished_from_its_record_wherever_it_was_interrupted() {
    let dir = dir();
    let load = |store: &str| format!("{} --visibility on_commit", line("csv", "", 2, store));
    dir.run_async(&load("--local whole")).await.ended(0, &[]);
    let whole: BTreeMap<String, String> = objects(&dir.path().join("whole"));
    // The probes of an empty store are puts 1 and 2, and completions 1 to 3; the record of the commit is put 3.
    let steps = (3..=12).map(|put| (Operation::Put, put)).chain((4..=7).map(|completion| (Operation::Complete, completion)));
    let (mut finished, mut not_begun) = (0, 0);
    for (operation, number) in steps {
        let stall = Rule::on(operation, When::Every(NonZeroU64::new(number).unwrap()), Fault::Stall(std::time::Duration::from_secs(600)));
        let store = ProxiedStore::new([stall]).await;
        let options = format!("--endpoint {} --path-style", store.proxy.endpoint());
        let running = Mutex::new(start(dir.command(&load(&options))));
        crate::fixtures::proxied_store::eventually("a request stalls, or the load ends", || {
            store.proxy.faults() > 0 || running.lock().unwrap().try_wait().is_ok_and(|ended| ended.is_some())
        })
        .await;
        let mut running = running.into_inner().unwrap();
        running.kill().expect("it can be killed");
        running.wait().expect("it ends");
        store.proxy.set_rules([]);
        let record = format!("s3://{BUCKET}/raw/_lakegate/pending/c-1.json");
        let resume = format!("commit --resume {record} {options} --json");
        if store.keys().iter().any(|key| key.ends_with("pending/c-1.json")) {
            let both = tokio::join!(dir.run_async(&resume), dir.run_async(&resume));
            both.0.ended(0, &[]);
            both.1.ended(0, &[]);
            let keys = store.keys();
            for key in visible(&keys) {
                if key.contains("_SUCCESS") {
                    continue;
                }
                let body = digest(&store.body(key));
                assert_eq!(Some(&body), whole.get(key), "{operation:?} {number}: {key}");
            }
            let of_whole = whole.keys().filter(|key| !key.contains("_lakegate")).count();
            assert_eq!(visible(&keys).len(), of_whole, "{operation:?} {number}");
            finished += 1;
        } else {
            assert_eq!(visible(&store.keys()), Vec::<&String>::new(), "{operation:?} {number}");
            dir.run_async(&resume).await.ended(5, &["there is no object"]);
            not_begun += 1;
        }
    }
    println!("{finished} interrupted commits finished, {not_begun} not begun");
    assert!(finished > 8 && not_begun > 0, "{finished} {not_begun}");
}
