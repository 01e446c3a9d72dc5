//! `lakegate sync` with third-party plugins: sources on the SDKs for Python, Go and JavaScript, and misbehaving ones.

mod bad;
mod ends;
mod exact;

use crate::fixtures::proxied_store::{PLUGIN, eventually};
use lakegate_local_store::LocalStore;
use lakegate_tests::python::Python;
use lakegate_tests::s3::Store;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers::{self, Unavailable, repository};
use lakegate_tests::{minio, process};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const BUCKET: &str = "demo";

/// A folder for the program.
fn test_dir() -> TestDir {
    TestDir::new(PLUGIN, ("lakegate-test", "lakegate-test-secret"))
}

/// The embedded store that `--local store` writes to.
fn local_store(dir: &TestDir) -> LocalStore {
    LocalStore::open(&dir.path().join("store")).expect("a store")
}

/// The ids of a table's CSV objects in the local store, in order.
fn stored_ids(dir: &TestDir, table: &str) -> Vec<i64> {
    let store = local_store(dir);
    let records = store.records(BUCKET, &format!("x/{table}/")).expect("the store can be read");
    let bodies = records.iter().map(|record| std::fs::read_to_string(store.object_path(BUCKET, &record.key)).expect("it is there"));
    ids_of(bodies)
}

fn ids_of(bodies: impl Iterator<Item = String>) -> Vec<i64> {
    let mut ids = Vec::new();
    for body in bodies {
        let mut lines = body.lines();
        let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
        assert_eq!(header[..2], ["_cq_sync_time", "_cq_source_name"]);
        let at = header.iter().position(|name| *name == "id").expect("an id");
        ids.extend(lines.map(|line| line.split(',').nth(at).expect("an id").parse::<i64>().expect("a number")));
    }
    ids.sort_unstable();
    ids
}

/// The `path` of the Python source for a configuration.
pub(crate) fn python_source() -> Result<PathBuf, Unavailable> {
    Python::find().map(|_| repository().join("tests/fixtures/python-source/run"))
}

pub(crate) fn go_source() -> Result<PathBuf, Unavailable> {
    let program = repository().join("target/tools/bin/go-source");
    if program.is_file() { Ok(program) } else { Err(Unavailable("no target/tools/bin/go-source (tests/setup.sh builds it)".to_owned())) }
}

fn javascript_source() -> Result<PathBuf, Unavailable> {
    if repository().join("target/tools/javascript-source/node_modules").is_dir() {
        Ok(repository().join("tests/fixtures/javascript-source/run"))
    } else {
        Err(Unavailable("no target/tools/javascript-source (tests/setup.sh installs it)".to_owned()))
    }
}

/// A source document. `spec` is its nested spec, on one line.
fn source(name: &str, registry: &str, path: impl std::fmt::Display, spec: &str) -> String {
    format!(
        "kind: source\nspec:\n  name: {name}\n  registry: {registry}\n  path: \"{path}\"\n  tables: [\"*\"]\n  skip_dependent_tables: false\n  destinations: [s3]\n  spec: {spec}\n---\n"
    )
}

/// A document for the S3 destination. `extra` has more fields of its nested spec.
fn s3(extra: &str) -> String {
    format!(
        "kind: destination\nspec:\n  name: s3\n  path: cloudquery/s3\n  version: v7.10.13\n  write_mode: append\n  send_sync_summary: true\n  spec: {{bucket: {BUCKET}, region: us-east-1, path: \"x/{{{{TABLE}}}}/{{{{UUID}}}}.csv\", format: csv, test_write: false{extra}}}\n"
    )
}

fn upto(count: i64) -> Vec<i64> {
    (0..count).collect()
}

/// Whether a process with this ID runs. One that has exited may be listed until its parent waits for it.
fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name before the state is in parentheses.
    if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')) {
        return false;
    }
    Command::new("kill").args(["-0", process]).stderr(Stdio::null()).status().expect("kill runs").success()
}

#[tokio::test]
async fn a_python_source_arrives_whole() {
    let Some(program) = tiers::live("a source on Python's SDK", python_source()) else { return };
    let dir = test_dir();
    dir.file("c.yml", &(source("py", "local", program.display(), "{rows: 1000000, fail: true}") + &s3("")));
    let run = dir.run_async("sync c.yml --local store --summary-location sums/s.jsonl --json").await;
    run.ended(0, &["Starting sync for: py (local@", "Sync completed with errors, see above for details. Resources: 1000030, Errors: 1,"]);
    for (table, rows) in [("py_parents", 7), ("py_children", 21), ("py_empty", 0), ("py_broken", 2), ("py_rows", 1_000_000)] {
        assert!(stored_ids(&dir, table) == upto(rows), "{table}");
    }
    // The summary file, the JSON summary and the row agree.
    let line: Value = serde_json::from_str(&std::fs::read_to_string(dir.path().join("sums/s.jsonl")).expect("written")).expect("one line");
    assert_eq!((&line["resources"], &line["source_errors"], &line["source_name"]), (&1_000_030.into(), &1.into(), &"py".into()));
    assert_eq!((&line["resources_per_table"]["py_rows"], &line["errors_per_table"]["py_broken"]), (&1_000_000.into(), &1.into()));
    // The configuration says `*`; the tables are listed by name, each with its errors.
    let mut tables: Vec<&str> = line["source_tables"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    tables.sort_unstable();
    assert_eq!(tables, ["py_broken", "py_children", "py_empty", "py_parents", "py_rows"]);
    assert_eq!(line["errors_per_table"]["py_rows"], 0);
    let sync = &run.json()["syncs"][0];
    assert_eq!((&sync["resources"], &sync["sync_id"]), (&line["resources"], &line["sync_id"]));
    let store = local_store(&dir);
    let records = store.records(BUCKET, "x/cloudquery_sync_summaries/").expect("readable");
    assert_eq!(records.len(), 1);
    let row = std::fs::read_to_string(store.object_path(BUCKET, &records[0].key)).expect("it is there");
    let id = line["sync_id"].as_str().expect("an id");
    assert!(row.contains(",1000030,1,py,") && row.contains(id) && row.contains(r#"""py_rows"":1000000"#), "{row}");
}

#[tokio::test]
async fn a_go_source_arrives_whole_over_every_transport() {
    let Some(program) = tiers::live("a source on Go's SDK", go_source()) else { return };
    let served = process::start(&program, |command, address, _| {
        command.args(["serve", "--network", "tcp", "--address", &address.to_string(), "--no-sentry"]);
    })
    .await
    .expect("it serves");
    let dir = test_dir();
    let socket = dir.path().join("go.sock");
    let mut on_socket = Command::new(&program)
        .args(["serve", "--network", "unix", "--no-sentry", "--address"])
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    // When started by the program, it gets a unix socket; otherwise it is reached over TCP and over a socket.
    for (number, (registry, path)) in
        [("local", program.display().to_string()), ("grpc", served.address.to_string()), ("grpc", format!("unix://{}", socket.display()))]
            .into_iter()
            .enumerate()
    {
        let dir = test_dir();
        dir.file("c.yml", &(source("go", registry, path, "{rows: 100000, fail: true}") + &s3("")));
        let run = dir.run_async("sync c.yml --local store").await;
        run.ended(0, &["Sync completed with errors, see above for details. Resources: 100030, Errors: 1,", "this table fails on purpose"]);
        for (table, rows) in [("go_parents", 7), ("go_children", 21), ("go_empty", 0), ("go_broken", 2), ("go_rows", 100_000)] {
            assert!(stored_ids(&dir, table) == upto(rows), "{number}: {table}");
        }
    }
    on_socket.kill().expect("it runs on: what is dialled is not ended");
    on_socket.wait().expect("it ends");
}

/// It only listens on TCP, and sends each row as a separate record. For a failing table, its SDK only sends log lines.
#[tokio::test]
async fn a_javascript_source_arrives_whole() {
    let Some(program) = tiers::live("a source on JavaScript's SDK", javascript_source()) else { return };
    let dir = test_dir();
    dir.file("c.yml", &(source("js", "local", program.display(), "{rows: 3000, fail: true}") + &s3("")));
    let run = dir.run_async("sync c.yml --local store").await;
    run.ended(0, &["Sync completed with errors, see above for details. Resources: 3028, Errors: 1,", "this table fails on purpose"]);
    for (table, rows) in [("js_parents", 7), ("js_children", 21), ("js_empty", 0), ("js_broken", 0), ("js_rows", 3_000)] {
        assert!(stored_ids(&dir, table) == upto(rows), "{table}");
    }
    let store = local_store(&dir);
    let children = store.records(BUCKET, "x/js_children/").expect("readable");
    let text = std::fs::read_to_string(store.object_path(BUCKET, &children[0].key)).expect("it is there");
    assert!(
        text.starts_with("_cq_sync_time,_cq_source_name,id,name,tags\n")
            && text.contains(r#",js,0,child 0,"{""of"":""child"",""odd"":false}""#),
        "{text}"
    );

    dir.file("no.yml", &(source("js", "local", program.display(), "{refuse: true}") + &s3("")));
    dir.run_async("sync no.yml --local store").await.ended(7, &["the spec is refused on purpose"]);
}

#[tokio::test]
async fn two_sources_share_a_live_store() {
    let Some(python) = tiers::live("a source on Python's SDK", python_source()) else { return };
    let Some(go) = tiers::live("a source on Go's SDK", go_source()) else { return };
    let Some(store) = tiers::live("MinIO", minio::start().await) else { return };
    let client = store.client();
    client.create_bucket().bucket(BUCKET).send().await.expect("a bucket");
    let dir = test_dir();
    let at = format!(", endpoint: \"{}\", use_path_style: true", store.endpoint);
    let sources =
        source("py", "local", python.display(), "{rows: 20000}") + &source("go", "local", go.display(), "{rows: 1000000, fail: true}");
    dir.file("c.yml", &(sources + &s3(&at)));
    let mut command = dir.command("sync c.yml --summary-location s.jsonl");
    command.env("AWS_ACCESS_KEY_ID", &store.access_key).env("AWS_SECRET_ACCESS_KEY", &store.secret_key);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for words in [
        "Sync completed successfully. Resources: 20030, Errors: 0, Warnings: 0,",
        "Sync completed with errors, see above for details. Resources: 1000030, Errors: 1,",
    ] {
        assert_eq!(said.matches(words).count(), 1, "{words:?} in {said}");
    }
    for (table, rows) in [("py_children", 21), ("py_rows", 20_000), ("go_children", 21), ("go_broken", 2), ("go_rows", 1_000_000)] {
        assert!(ids_in(&store, table).await == upto(rows), "{table}");
    }
    let lines = std::fs::read_to_string(dir.path().join("s.jsonl")).expect("written");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let go = lines.iter().find(|line| line["source_name"] == "go").expect("its line");
    assert_eq!((lines.len(), &go["resources"], &go["source_errors"]), (2, &1_000_030.into(), &1.into()));
    let rows = serde_json::json!({"go_parents": 7, "go_children": 21, "go_empty": 0, "go_broken": 2, "go_rows": 1_000_000});
    let errors = serde_json::json!({"go_parents": 0, "go_children": 0, "go_empty": 0, "go_broken": 1, "go_rows": 0});
    assert_eq!((&go["resources_per_table"], &go["errors_per_table"]), (&rows, &errors));
    assert_eq!(go["source_tables"].as_array().map(Vec::len), Some(5));
}

async fn ids_in(store: &Store, table: &str) -> Vec<i64> {
    let client = store.client();
    let listed = client.list_objects_v2().bucket(BUCKET).prefix(format!("x/{table}/")).send().await.expect("a listing");
    let mut bodies = Vec::new();
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        let body = client.get_object().bucket(BUCKET).key(key).send().await.expect("it is there").body.collect().await.expect("all of it");
        bodies.push(String::from_utf8(body.to_vec()).expect("text"));
    }
    ids_of(bodies.into_iter())
}

#[tokio::test]
async fn our_own_plugin_is_a_destination_like_any_other() {
    let Some(program) = tiers::live("a source on Go's SDK", go_source()) else { return };
    let dir = test_dir();
    local_store(&dir).create_bucket(BUCKET).expect("a bucket");
    let store = Store::embedded(&dir.path().join("store")).await.expect("a served store");
    let at = format!(", endpoint: \"{}\", use_path_style: true", store.endpoint);
    let ours = format!("path: \"{}\"\n  registry: local", PLUGIN);
    dir.file("c.yml", &(source("go", "local", program.display(), "{rows: 5000}") + &s3(&at).replace("path: cloudquery/s3", &ours)));
    dir.run_async("sync c.yml").await.ended(0, &["Sync completed successfully. Resources: 5030, Errors: 0,"]);
    for (table, rows) in [("go_parents", 7), ("go_rows", 5_000)] {
        assert!(stored_ids(&dir, table) == upto(rows), "{table}");
    }
    store.stop().await;
}

#[tokio::test]
async fn the_other_commands_know_plugins_too() {
    let Some(program) = tiers::live("a source on Go's SDK", go_source()) else { return };
    let dir = test_dir();
    dir.file("good.yml", &(source("go", "local", program.display(), "{rows: 5}") + &s3("")));
    dir.file("bad.yml", &(source("go", "local", program.display(), "{rows: hunter2, unreachable: true}") + &s3("")));
    dir.file("far.yml", &(source("go", "local", program.display(), "{unreachable: true}") + &s3("")));
    dir.run_async("validate-config good.yml").await.ended(0, &["All 2 specs are valid."]);
    let bad = dir.run_async("validate-config bad.yml").await;
    assert!(!bad.ended(3, &["source go: `/rows`: "]).stderr.contains("hunter2"), "{}", bad.stderr);
    dir.run_async("test-connection good.yml --local store").await.ended(0, &["source go: Success", "destination s3: Success"]);
    dir.run_async("test-connection far.yml --local store").await.ended(7, &["source go: Failure: UNREACHABLE: asked not to be reached"]);
    let tables = dir.run_async("tables good.yml").await;
    let tables = tables.ended(0, &[]).json();
    let names: Vec<&str> = tables["go"].as_array().expect("a list").iter().filter_map(|table| table["name"].as_str()).collect();
    assert_eq!(names, ["go_parents", "go_children", "go_empty", "go_broken", "go_rows"]);
    assert_eq!((&tables["go"][1]["parent"], &tables["go"][0]["title"]), (&"go_parents".into(), &"Parents".into()));
    dir.run_async("migrate good.yml --local store").await.ended(0, &["Migration completed successfully. Tables: 5"]);
    assert!(local_store(&dir).records(BUCKET, "").expect("readable").is_empty());
}

#[tokio::test]
async fn an_interrupt_ends_the_source_too() {
    let Some(program) = tiers::live("a source on Python's SDK", python_source()) else { return };
    let dir = test_dir();
    let wrapper = dir.script("wrapped", &format!("echo $$ > pid\nexec {} \"$@\"", program.display()));
    let spec = "{rows: 1000000000}";
    dir.file("c.yml", &(source("py", "local", wrapper.display(), spec) + &s3(", batch_size: 0, batch_size_bytes: 0, batch_timeout: 0s")));
    let child = dir.command("sync c.yml --local store").stderr(Stdio::piped()).spawn().expect("the program starts");
    let uploads = dir.path().join("store/.lakegate/uploads");
    let begun = || std::fs::read_dir(&uploads).is_ok_and(|mut entries| entries.next().is_some());
    eventually("an upload has begun", begun).await;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs").success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("it runs").expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(local_store(&dir).unfinished_uploads(BUCKET).expect("readable").is_empty());
    assert!(!runs(std::fs::read_to_string(dir.path().join("pid")).expect("written").trim()));
}
