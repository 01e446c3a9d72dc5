//! How the program ends when it cannot continue: after a signal, on a full disk, or when killed; what it reports as written, and what it leaves in
//! the folder of the embedded store.

use crate::fixtures::proxied_store::PLUGIN;
use lakegate_local_store::LocalStore;
use lakegate_tests::run::{self, Run};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the program may take to end after a signal on a busy machine.
const SOON: Duration = Duration::from_secs(15);
/// How long an expected event may take.
const PATIENCE: Duration = Duration::from_secs(240);

fn command(folder: &Path, line: &str) -> Command {
    let mut command = run::command(PLUGIN, line, ("AKIDTEST", "secret"));
    command.current_dir(folder);
    command
}

fn done(folder: &Path, line: &str) -> Run {
    command(folder, line).output().expect("the program starts").into()
}

fn started(folder: &Path, line: &str) -> Child {
    command(folder, line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs").success());
}

fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "it is not so in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the program handles SIGTERM yet. Before that, the signal kills it.
fn listens(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a process of Linux");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("the signals that are caught");
    u64::from_str_radix(caught.trim(), 16).expect("a number") & (1 << (15 - 1)) != 0
}

/// Files below `folder`, whatever they are.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flatten().flat_map(|entry| below(entry.path())).collect()
}

#[test]
fn the_first_signal_ends_whatever_comes_before_the_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("a.csv"), "x\n1\n").expect("written");
    mkfifo(&path.join("pipe.yml"));
    mkfifo(&path.join("pipe.wasm"));
    // A store that accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("--endpoint http://{} --path-style", silent.local_addr().expect("its number"));
    let to = "--to s3://demo/{{TABLE}}.csv --format csv";
    let spec = r#"{"bucket": "demo", "region": "us-east-1", "path": "a/{{TABLE}}.csv", "format": "csv", "no_rotate": true, "use_path_style": true, "endpoint": "ENDPOINT"}"#;
    std::fs::write(path.join("s3.json"), spec.replace("ENDPOINT", &format!("http://{}", silent.local_addr().expect("its number"))))
        .expect("written");
    for (name, line, code) in [
        ("-TERM", format!("load a.csv {to} {endpoint} --test-write"), 130),
        ("-INT", format!("load a.csv {to} {endpoint} --test-write"), 130),
        ("-TERM", "load a.csv --spec pipe.yml --local store".to_owned(), 130),
        ("-TERM", format!("load a.csv {to} --local store --component pipe.wasm"), 130),
        ("-TERM", "sync pipe.yml --local store".to_owned(), 130),
        ("-TERM", "migrate pipe.yml --local store".to_owned(), 130),
        ("-TERM", "tables pipe.yml".to_owned(), 130),
        ("-TERM", "validate-config pipe.yml".to_owned(), 130),
        ("-TERM", "test-connection pipe.yml".to_owned(), 130),
        ("-TERM", "test-connection s3.json".to_owned(), 130),
        ("-TERM", "policy check pipe.yml".to_owned(), 130),
        ("-TERM", "schema --component pipe.wasm".to_owned(), 130),
        ("-TERM", "component --output pipe.wasm".to_owned(), 130),
        // Read more than once, so a pipe is refused.
        ("-TERM", "serve --tenants pipe.yml".to_owned(), 3),
    ] {
        let mut child = started(path, &line);
        eventually("it listens to signals", || listens(&child) || child.try_wait().expect("its state").is_some());
        // It is waiting by now, or about to: it must end in either case.
        std::thread::sleep(Duration::from_millis(200));
        signal(name, &child);
        let asked = Instant::now();
        eventually("it ends", || child.try_wait().expect("its state").is_some() || asked.elapsed() > SOON);
        if child.try_wait().expect("its state").is_none() {
            child.kill().expect("killed");
            panic!("{line}: not ended {SOON:?} after the first signal");
        }
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.status.signal()), (Some(code), None), "{line}: {said}");
    }
}

#[test]
fn a_load_that_fails_lists_what_is_in_the_bucket() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("first.csv"), "x\n1\n2\n3\n").expect("written");
    mkfifo(&folder.path().join("second.csv"));
    let line = "load first.csv second.csv --to s3://demo/{{TABLE}}/{{UUID}}.csv --format csv --batch-size 2 --local store --json";
    let child = started(folder.path(), line);
    // The pipe is found truncated once an object of the first table is stored.
    eventually("an object is put", || !files(&folder.path().join("store/.lakegate/objects/demo/first")).is_empty());
    std::fs::write(folder.path().join("second.csv"), "a,b\n1\n").expect("it reads");
    let run = Run::from(child.wait_with_output().expect("it ends"));
    let result = run.ended(6, &["Error: second.csv, line 2", "Table first: in the bucket "]).json();
    let store = LocalStore::open(&folder.path().join("store")).expect("a store");
    let there: BTreeSet<String> = store.records("demo", "").expect("readable").into_iter().map(|record| record.key).collect();
    let table = &result["tables"][0];
    let keys: BTreeSet<String> = table["keys"].as_array().expect("keys").iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
    assert!(!there.is_empty() && keys == there, "{result} {there:?}");
    assert_eq!((&result["objects"], &table["objects"]), (&there.len().into(), &there.len().into()));
    assert!(result["rows"].as_u64().is_some_and(|rows| rows >= 2) && table["rows_in"].is_null() && result["ok"] == false, "{result}");
    assert!(there.iter().all(|key| run.stderr.contains(key.as_str())), "{}", run.stderr);
}

const SYNC: &str = "\
kind: source
spec: {name: rows, registry: builtin, path: files, destinations: [s3], tables: [TABLES], skip_tables: [SKIPPED], spec: {paths: [PATHS]}}
---
kind: destination
spec:
  name: s3
  path: cloudquery/s3
  version: v7.10.13
  write_mode: append
  spec: {bucket: demo, region: us-east-1, path: \"cq/{{TABLE}}/{{UUID}}.csv\", format: csv, batch_size: 1, test_write: false}
";

fn sync_document(tables: &str, skipped: &str, paths: &str) -> String {
    SYNC.replace("TABLES", tables).replace("SKIPPED", skipped).replace("PATHS", paths)
}

#[test]
fn a_sync_that_fails_lists_what_is_in_the_bucket() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("first.csv"), "x\n1\n2\n").expect("written");
    mkfifo(&folder.path().join("second.csv"));
    std::fs::write(folder.path().join("sync.yml"), sync_document("'*'", "", "first.csv, second.csv")).expect("written");
    let child = started(folder.path(), "sync sync.yml --local store --json");
    eventually("an object is put", || !files(&folder.path().join("store/.lakegate/objects/demo/cq/first")).is_empty());
    std::fs::write(folder.path().join("second.csv"), "a,b\n1\n").expect("it reads");
    let run = Run::from(child.wait_with_output().expect("it ends"));
    let result = run.ended(7, &["second.csv, line 2", "Table first: in the bucket "]).json();
    let destination = &result["syncs"][0]["destinations"][0];
    assert!(destination["name"] == "s3" && destination["failure"].is_string(), "{result}");
    let table = &destination["summary"]["tables"][0];
    assert!(table["table"] == "first" && table["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{result}");
}

#[test]
fn a_pattern_of_tables_that_matches_no_file_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["orders.csv", "cards.csv"] {
        std::fs::write(folder.path().join(name), "id\n1\n").expect("written");
    }
    for (tables, skipped, expected) in [
        ("'*'", "card", "skip_tables include a pattern card with no matches"),
        ("order", "", "tables include a pattern order with no matches"),
    ] {
        std::fs::write(folder.path().join("sync.yml"), sync_document(tables, skipped, "'*.csv'")).expect("written");
        for line in [
            "sync sync.yml --local store",
            "migrate sync.yml --local store",
            "tables sync.yml --filter spec",
            "test-connection sync.yml --local store",
        ] {
            done(folder.path(), line).ended(7, &[expected]);
        }
        assert!(files(&folder.path().join("store/demo/cq")).is_empty());
    }
}

#[test]
fn a_file_that_cannot_grow_fails_the_load_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = format!("1,{}\n", "x".repeat(1_000));
    std::fs::write(folder.path().join("t.csv"), format!("id,v\n{}", row.repeat(6_000))).expect("written");
    let line = "load t.csv --to s3://demo/{{TABLE}}.csv --format csv --local store --json";
    // The component is compiled and cached before there is a limit.
    done(folder.path(), "schema").ended(0, &[]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -f 2048; exec {PLUGIN} '{}'", line.replace(' ', "' '"))).current_dir(folder.path());
    let begun = Instant::now();
    let run = Run::from(shell.output().expect("a shell"));
    run.ended(5, &["Table t failed: ", "507, StorageFileTooLarge: ", "ulimit -f"]);
    // It used to be retried for two minutes.
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
    let left: Vec<PathBuf> = ["tmp", "uploads"].iter().flat_map(|name| files(&folder.path().join("store/.lakegate").join(name))).collect();
    assert!(left.is_empty() && files(&folder.path().join("store/demo")).is_empty(), "{left:?}");
}

#[test]
fn a_folder_that_others_may_write_to_or_that_is_another_users_takes_no_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::write(path.join("orders.csv"), "id\n1\n").expect("written");
    let line = |store: &str| format!("load orders.csv --to s3://demo/{{{{TABLE}}}}.csv --format csv --local {store}");
    std::fs::create_dir(path.join("open")).expect("made");
    std::fs::set_permissions(path.join("open"), std::fs::Permissions::from_mode(0o777)).expect("set");
    done(path, &line("open")).ended(5, &["--local open: every user may write to the folder (mode 777)"]);
    // A link in place of a bucket.
    std::fs::create_dir_all(path.join("victim")).expect("made");
    std::fs::write(path.join("victim/orders.csv"), "precious").expect("written");
    std::fs::create_dir(path.join("linked")).expect("made");
    std::os::unix::fs::symlink("../victim", path.join("linked/demo")).expect("made");
    done(path, &line("linked")).ended(5, &["demo is a symbolic link"]);
    if std::os::unix::fs::chown(path.join("linked"), Some(65_534), None).is_ok() {
        done(path, &line("linked")).ended(5, &["--local linked: the folder belongs to another user (uid 65534)"]);
    }
    assert_eq!(std::fs::read(path.join("victim/orders.csv")).expect("there"), b"precious");
}

#[test]
fn the_test_object_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = r#"{"bucket": "demo", "region": "us-east-1", "path": "a/{{TABLE}}.csv", "format": "csv", "no_rotate": true}"#;
    std::fs::write(folder.path().join("s3.json"), spec).expect("written");
    let run = done(folder.path(), "test-connection s3.json --local store --json");
    let result = run.ended(0, &["the empty test object is in the bucket: "]).json();
    let key = result["connections"][0]["object"].as_str().expect("a key");
    let store = LocalStore::open(&folder.path().join("store")).expect("a store");
    assert!(store.record("demo", key).expect("readable").is_some(), "{result}");
}

/// Kills loads at any time; the remaining objects are complete, and nothing else is left once another process has opened the folder.
#[test]
fn after_kills_there_is_nothing_but_whole_objects() {
    const KILLS: u32 = 12;
    let folder = tempfile::tempdir().expect("a folder");
    let row = |number: u32| format!("{{\"a\":{number},\"b\":\"{}\"}}\n", "x".repeat(1_000));
    let rows: String = (0..20_000).map(row).collect();
    std::fs::write(folder.path().join("t.ndjson"), &rows).expect("written");
    let line = "load t.ndjson --to s3://demo/{{TABLE}}.json --format json --local store --part-size 5MiB --quiet";
    let begun = Instant::now();
    done(folder.path(), line).ended(0, &[]);
    let takes = begun.elapsed();
    let private = folder.path().join("store/.lakegate");
    let mut cut_short = 0;
    for kill in 0..KILLS {
        let mut child = started(folder.path(), line);
        std::thread::sleep(takes * (kill + 1) / (KILLS + 1));
        child.kill().expect("killed");
        child.wait().expect("ended");
        cut_short += usize::from(!files(&private.join("tmp")).is_empty() || !files(&private.join("uploads")).is_empty());
        // Each run removes what the one before has left, so it does not accumulate.
        let sessions = std::fs::read_dir(private.join("tmp")).expect("a folder").count();
        assert!(sessions <= 2, "after {} kills {sessions} processes have left files", kill + 1);
        let object = std::fs::read_to_string(folder.path().join("store/demo/t.json")).expect("the object of a load before");
        assert!(object == rows, "an object of {} bytes is half written", object.len());
    }
    assert!(cut_short > 0, "no kill came in the middle of a load: the test shows nothing");
    done(folder.path(), line).ended(0, &[]);
    let store = LocalStore::open(&folder.path().join("store")).expect("a store");
    assert!(store.unfinished_uploads("demo").expect("readable").is_empty());
    assert_eq!(store.records("demo", "").expect("readable").len(), 1);
    drop(store);
    assert_eq!((files(&private.join("tmp")).len(), files(&private.join("uploads")).len()), (0, 0));
    assert_eq!(files(&folder.path().join("store/demo")), [folder.path().join("store/demo/t.json")]);
}
