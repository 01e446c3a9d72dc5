//! The command line as a user runs it: exit codes, messages, and what is left behind.
//!
//! Exit code 4 (denied by policy) is not tested here: single-user commands run under a grant derived from their own spec.

use crate::fixtures::proxied_store::PLUGIN;
use lakegate_tests::run::Run;
use lakegate_tests::test_dir::TestDir;
use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A folder for the program, with credentials that no store knows.
fn test_dir() -> TestDir {
    TestDir::new(PLUGIN, ("AKIDTEST", SECRET))
}

/// Set in the environment, and must not appear anywhere else.
const SECRET: &str = "canary-secret-7f3b9d";
const TOKEN: &str = "canary-token-51ac0e";
const ROW: &str = "canary-row-c0ffee";

const TO: &str = "--to s3://demo/{{TABLE}}/{{UUID}}.{{FORMAT}} --format json --local store";

#[test]
fn a_load_is_told_for_machines() {
    let dir = test_dir();
    let run = dir.with_file("orders.csv", "id,name\n1,a\n2,b\n").run(&format!("load orders.csv {TO} --json --quiet"));
    let summary = run.ended(0, &[]).json();
    assert_eq!(run.stderr, "");
    assert_eq!(
        (&summary["ok"], &summary["exit_code"], &summary["rows"], &summary["objects"]),
        (&true.into(), &0.into(), &2.into(), &1.into())
    );
    assert_eq!((&summary["tables"][0]["table"], &summary["tables"][0]["rows_in"]), (&"orders".into(), &2.into()));
    assert!(summary["tables"][0]["keys"][0].as_str().is_some_and(|key| key.starts_with("orders/") && key.ends_with(".json")), "{summary}");
}

#[test]
fn what_is_typed_wrong_is_usage() {
    let dir = test_dir();
    for line in
        ["load", "load a.csv", "load a.csv --to file://x --format csv", "nonsense", "load a.csv --to s3://b/p --format csv --lanes 0"]
    {
        let run = dir.with_file("a.csv", "x\n1\n").run(line);
        assert_eq!(run.code, Some(2), "{line}: {}", run.stderr);
    }
}

/// A spec with seven errors.
const MISTAKEN: &str = r#"{"bucket": "", "region": "", "path": "/a", "acl": "nobody", "format": "xml", "batch_size": -1, "batch_size_bytes": -1, "server_side_encryption_configuration": {"server_side_encryption": "ROT13"}}"#;

#[test]
fn seven_mistakes_are_named_at_once() {
    let dir = test_dir();
    let run = dir.with_file("s.json", MISTAKEN).run("validate-config s.json");
    run.ended(
        3,
        &[
            "`bucket` is required",
            "`region` is required",
            "`path` should not start with a \"/\"",
            "`path` should contain {{UUID}}",
            "invalid `acl` value: nobody",
            "unknown format xml",
            "invalid `server_side_encryption` value: ROT13",
        ],
    );
    assert_eq!(run.stderr.lines().count(), 7, "{}", run.stderr);
}

#[test]
fn checks_and_tests_are_told_for_machines() {
    let dir = test_dir();
    let good = r#"{"bucket": "demo", "region": "us-east-1", "path": "a/{{TABLE}}.csv", "format": "csv", "no_rotate": true}"#;
    let document = "kind: source\nspec: {name: files, registry: builtin, path: files, spec: {paths: [x.csv]}}\n";
    dir.with_file("good.json", good).with_file("bad.json", MISTAKEN).with_file("lacks.yml", document);

    let run = dir.run("validate-config good.json bad.json --json");
    let result = run.ended(3, &["bad.json: "]).json();
    let problems = result["problems"].as_array().expect("a list");
    assert_eq!((&result["ok"], &result["exit_code"], &result["failure"], problems.len()), (&false.into(), &3.into(), &Value::Null, 7));
    let bucket = problems.iter().find(|problem| problem["field"] == "bucket").expect("the bucket is refused");
    assert!(bucket["spec"] == "bad.json" && bucket["message"].as_str().is_some_and(|text| text.contains("`bucket`")), "{bucket}");

    let result = dir.run("validate-config lacks.yml --json").ended(3, &[]).json();
    let problem = &result["problems"][0];
    assert!(problem["spec"] == "lacks.yml, document 1" && problem["field"].as_str().is_some_and(|field| !field.is_empty()), "{result}");

    let result = dir.run("validate-config missing.json --json").ended(3, &[]).json();
    assert!(result["ok"] == false && result["failure"].as_str().is_some_and(|text| text.contains("missing.json")), "{result}");

    let result = dir.run("validate-config good.json --json --quiet").ended(0, &[]).json();
    assert_eq!(result, serde_json::json!({"ok": true, "exit_code": 0, "failure": null, "problems": []}));

    let result = dir.run("test-connection good.json --json --quiet --local store").ended(0, &[]).json();
    let object = result["connections"][0]["object"].clone();
    assert!(object.as_str().is_some_and(|key| key.starts_with("a/")), "{result}");
    let tested = serde_json::json!([{"spec": "destination good.json", "ok": true, "message": null, "object": object}]);
    assert_eq!(result, serde_json::json!({"ok": true, "exit_code": 0, "failure": null, "connections": tested}));
    let result = dir.run("test-connection good.json bad.json --json --local store").ended(3, &["destination bad.json: Failure: "]).json();
    assert_eq!(
        (&result["exit_code"], &result["connections"][0]["ok"], &result["connections"][1]["ok"]),
        (&3.into(), &true.into(), &false.into())
    );
}

#[test]
fn a_batch_without_a_uuid_is_answered_in_the_words_that_were_typed() {
    let dir = test_dir();
    let run = dir.with_file("a.csv", "x\n1\n").run("load a.csv --to s3://b/{{TABLE}}.csv --format csv --batch-size 1000 --local store");
    run.ended(3, &["`path` should contain {{UUID}}"]);
    assert!(!run.stderr.contains("no_rotate"), "{}", run.stderr);
}

#[test]
fn refused_input_names_file_and_position() {
    let dir = test_dir();
    dir.with_file("torn.parquet", b"PAR1\x15\x04\x15")
        .with_file("types.csv", "id\n1\n2\nthree\n")
        .with_file("torn.csv", "a,b\n1,2\n3\n")
        .with_file("torn.ndjson", "{\"a\":1}\n{\"a\":\n")
        .with_file("mac.csv", "a,b\r1,2\n3,4\r")
        .with_file("torn.arrow", b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0garbage");
    for (line, expected) in [
        ("load torn.parquet", ["torn.parquet", "truncated"]),
        ("load types.csv --column id=int64", ["types.csv", "4"]),
        ("load torn.csv", ["torn.csv", "3"]),
        ("load mac.csv", ["mac.csv, line 1", "carriage return"]),
        ("load torn.ndjson", ["torn.ndjson", "2"]),
        ("load torn.arrow", ["torn.arrow", ""]),
        ("load missing.csv", ["missing.csv", ""]),
    ] {
        dir.run(&format!("{line} {TO}")).ended(6, &expected);
    }
}

/// Fifty thousand rows in five row groups or batches, in each format with its own kind of position.
fn made(form: &str) -> Vec<u8> {
    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let batch = |number: i64| {
        let ids = number * 10_000..(number + 1) * 10_000;
        let text = StringArray::from_iter_values(ids.clone().map(|id| format!("value {}", id * 7_919 % 100_003)));
        RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from_iter_values(ids)) as _), ("text", Arc::new(text) as _)])
    };
    let batches: Vec<RecordBatch> = (0..5).map(|number| batch(number).expect("two columns")).collect();
    let mut bytes = Vec::new();
    match form {
        "parquet" => {
            let properties = parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(10_000)).build();
            let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batches[0].schema(), Some(properties)).expect("a writer");
            batches.iter().for_each(|batch| writer.write(batch).expect("written"));
            writer.close().expect("closed");
        }
        "arrow" => {
            let mut writer = arrow_ipc::writer::FileWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
            batches.iter().for_each(|batch| writer.write(batch).expect("written"));
            writer.finish().expect("closed");
        }
        _ => {
            let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut bytes, &batches[0].schema()).expect("a writer");
            batches.iter().for_each(|batch| writer.write(batch).expect("written"));
            writer.finish().expect("closed");
        }
    }
    bytes
}

#[test]
fn what_is_broken_in_the_middle_is_found_there() {
    let dir = test_dir();
    for (form, at) in [("parquet", ", row group 3, after row 20000"), ("arrow", ", record batch 3"), ("arrows", ", byte ")] {
        let whole = made(form);
        let name = format!("whole.{form}");
        dir.with_file(&name, &whole).run(&format!("load {name} {TO}")).ended(0, &[]);
        // A small piece of the third fifth of the file: pages or text of the third row group or batch.
        let mut broken = whole.clone();
        let third = whole.len() / 2;
        broken[third..third + 20_000].fill(0xff);
        let run = dir.with_file(&format!("broken.{form}"), &broken).run(&format!("load broken.{form} {TO}"));
        run.ended(6, &[&format!("broken.{form}{at}")]);
        let cut = if form == "arrows" { ", byte " } else { ": not a complete " };
        dir.with_file(&format!("cut.{form}"), &whole[..third])
            .run(&format!("load cut.{form} {TO}"))
            .ended(6, &[&format!("cut.{form}{cut}")]);
    }
    for (name, content) in [("quote.csv", "a,b\n1,2\n3,\"4\n5,6\n"), ("later.ndjson", "{\"a\":1}\n{\"a\":2}\n{\"a\":3]\n{\"a\":4}\n")] {
        dir.with_file(name, content).run(&format!("load {name} {TO}")).ended(6, &[&format!("{name}, line 3: ")]);
    }
}

#[test]
fn a_store_that_cannot_be_reached_is_one_line() {
    let dir = test_dir();
    // Bound and released, so nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    let line = format!("load a.csv --to s3://demo/a.csv --format csv --endpoint http://127.0.0.1:{port} --path-style --quiet");
    let run = dir.with_file("a.csv", "x\n1\n").run(&line);
    run.ended(5, &[&port.to_string()]);
    assert!(run.stderr.starts_with("Table a failed: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
    // With a log level, the log is printed as it happens.
    let run = dir.run(&format!("{line} --log-level info"));
    assert!(run.ended(5, &[" ERROR "]).stderr.contains("The table failed."), "{}", run.stderr);
}

#[test]
fn commands_that_write_no_rows() {
    let dir = test_dir();
    dir.with_file(
        "s.json",
        r#"{"bucket": "demo", "region": "us-east-1", "path": "a/{{TABLE}}.{{FORMAT}}", "format": "csv", "no_rotate": true}"#,
    );
    dir.run("validate-config s.json --local store").ended(0, &["valid"]);
    dir.run("test-connection s.json --local store").ended(0, &["Success"]);
    let schema: Value = dir.run("schema").ended(0, &[]).json();
    assert!(schema["$schema"].as_str().is_some_and(|draft| draft.contains("2020-12")), "{schema}");
    let component = dir.run("component --imports --output c.wasm");
    assert_eq!(component.ended(0, &[]).stdout.lines().count(), 4, "{}", component.stdout);
    assert!(std::fs::read(dir.path().join("c.wasm")).expect("written").starts_with(b"\0asm"));
}

/// Runs `load -` and feeds it `input`.
fn piped(dir: &TestDir, line: &str, input: &[u8]) -> Run {
    let mut command = dir.command(line);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends").into()
}

#[test]
fn standard_input_is_a_file() {
    let dir = test_dir();
    let run = piped(&dir, &format!("load - --table piped {TO} --json --quiet"), b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    assert_eq!(run.ended(0, &[]).json()["rows"], 3);
}

#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_is_full_takes_no_errors_place() {
    let dir = test_dir();
    dir.with_file("good.csv", "a\n1\n").with_file("torn.csv", "a,b\n1\n").with_file("c.yml", "kind: source\nspec: {name: x}\n");
    for (line, code, expected) in [
        (format!("load torn.csv {TO} --json"), 6, "torn.csv, line 2"),
        (format!("load good.csv {TO} --json"), 1, "stdout: "),
        ("sync c.yml --json".to_owned(), 3, "c.yml, document 1"),
        ("validate-config c.yml --json".to_owned(), 3, "c.yml, document 1"),
        ("schema".to_owned(), 1, "stdout: "),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device of Linux");
        let child = dir.command(&line).stdout(full).stderr(Stdio::piped()).spawn().expect("the program starts");
        Run::from(child.wait_with_output().expect("it ends")).ended(code, &[expected]);
    }
}

/// The log of a command with `--log-format json`, one event per line; nothing else is printed with `--quiet`.
#[test]
fn logs_are_json_on_request() {
    let dir = test_dir();
    dir.with_file("orders.csv", "id\n1\n2\n").with_file("sync.yml", SYNC);
    let log = "--local store --quiet --log-level debug --log-format json";
    for line in [format!("load orders.csv --to s3://demo/{{{{TABLE}}}}.csv --format csv {log}"), format!("sync sync.yml {log}")] {
        let run = dir.run(&line);
        let events: Vec<Value> =
            run.ended(0, &[]).stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
        assert!(!events.is_empty(), "{line}: nothing is logged, so the test shows nothing");
        for event in events {
            assert!(["timestamp", "level", "message"].iter().all(|field| event[field].is_string()), "{event}");
        }
    }
}

/// The built-in file source and S3 destination.
const SYNC: &str = "
kind: source
spec: {name: files, registry: builtin, path: files, tables: ['*'], destinations: [s3], spec: {paths: ['*.csv']}}
---
kind: destination
spec:
  {name: s3, registry: builtin, path: s3, write_mode: append,
   spec: {bucket: demo, region: us-east-1, path: 'sync/{{TABLE}}.{{FORMAT}}', format: csv, no_rotate: true}}
";

/// The object of this key in the folder's store.
fn object(dir: &TestDir, key: &str) -> String {
    let store = lakegate_local_store::LocalStore::open(&dir.path().join("store")).expect("a store");
    std::fs::read_to_string(store.object_path("demo", key)).unwrap_or_else(|error| panic!("{key}: {error}"))
}

#[test]
fn a_sync_of_files_writes_their_rows() {
    let dir = test_dir();
    dir.with_file("orders.csv", "id,name\n1,a\n2,\"b, c\"\n").with_file("items.csv", "sku\nx\n").with_file("sync.yml", SYNC);
    let run = dir.run("sync sync.yml --local store --json --invocation-id 7f1d4f3e-7c3a-4d6b-9b6e-0f6b0d7a1c2d");
    let result = run.ended(0, &["Sync completed successfully. Resources: 3, Errors: 0"]).json();
    assert_eq!((&result["ok"], result["syncs"].as_array().map(Vec::len)), (&true.into(), Some(1)), "{result}");
    let rows = |key: &str| object(&dir, key).lines().map(str::to_owned).collect::<Vec<_>>();
    let orders = rows("sync/orders.csv");
    assert_eq!((orders[0].as_str(), orders.len()), ("_cq_sync_time,_cq_source_name,id,name", 3));
    assert!(orders[1].ends_with(",files,1,a") && orders[2].ends_with(",files,2,\"b, c\""), "{orders:?}");
    assert!(rows("sync/items.csv")[1].ends_with(",files,x"));
}

#[test]
fn parts_spill_where_they_may() {
    let dir = test_dir();
    let row = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
    dir.with_file("t.ndjson", row.repeat(4_000));
    std::fs::create_dir(dir.path().join("spill")).expect("the folder can be written");
    let load = |store: &str, spill: &str| {
        dir.run(&format!("load t.ndjson --to s3://demo/{{{{TABLE}}}}.json --format json --local {store} {spill} --memory 1MiB"))
    };
    load("store", "--spill-dir spill").ended(0, &[]);
    assert_eq!(object(&dir, "t.json"), row.repeat(4_000));
    assert_eq!(std::fs::read_dir(dir.path().join("spill")).expect("a folder").count(), 0, "the spill file has no name");
    load("none", "--spill-dir none").ended(5, &["Table t failed: ", "1048576 bytes for unfinished parts are used up, and spilling is off"]);
    dir.run("load t.ndjson --to s3://demo/{{TABLE}}.json --format json --local none2 --spill-dir none").ended(0, &[]);
    // Checked before there is anything to spill.
    load("not-made", "--spill-dir missing").ended(2, &["--spill-dir missing: ", "`none`"]);
    assert!(!dir.path().join("not-made").exists());
}

#[test]
fn a_seed_makes_keys_come_again() {
    let dir = test_dir();
    dir.with_file("a.csv", "x\n1\n");
    let keys = |seed: u32| dir.run(&format!("load a.csv {TO} --json --quiet --lanes 1 --seed {seed}")).json()["tables"][0]["keys"].clone();
    let first = keys(7);
    assert!(first[0].is_string(), "{first}");
    assert_eq!(first, keys(7));
    assert_ne!(first, keys(8));
}

#[test]
fn a_sync_that_fails_has_a_summary_too() {
    let dir = test_dir();
    let run = dir.with_file("c.yml", "kind: source\nspec: {name: x}\n").run("sync c.yml --json");
    let summary = run.ended(3, &[]).json();
    assert_eq!((&summary["ok"], &summary["exit_code"]), (&false.into(), &3.into()));
    assert!(summary["failure"].is_string(), "{summary}");
}

#[test]
fn traces_hold_no_secret_and_no_row() {
    let dir = test_dir();
    dir.with_file("planted_name.csv", format!("x,y\n1,{ROW}\n2,{ROW}\n"));
    let mut command = dir.command(&format!("load planted_name.csv {TO} --log-level trace --json"));
    let run: Run = command.env("AWS_SESSION_TOKEN", TOKEN).env("RUST_LOG", "trace").output().expect("the program starts").into();
    let all = format!("{}{}", run.ended(0, &[]).stdout, run.stderr);
    // The search finds what is there, such as the table's name.
    assert!(all.contains("planted_name"), "{all}");
    for canary in [SECRET, TOKEN, ROW] {
        assert!(!all.contains(canary), "{canary} is in the output");
    }
}

#[cfg(unix)]
mod interrupt {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::time::{Duration, Instant};

    /// Failed tables are reported even if the load does not complete.
    #[test]
    fn an_early_end_tells_what_had_failed() {
        let dir = test_dir();
        // The table `.` gives no valid key. The pipe is opened, and found truncated, after that.
        dir.with_file("..csv", "a\n1\n");
        let pipe = dir.path().join("second.csv");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let line = format!("load ..csv second.csv {TO} --json --log-level info");
        let mut command = dir.command(&line);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut said = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
        let mut stderr = String::new();
        while !stderr.contains("The table failed.") {
            assert_ne!(std::io::BufRead::read_line(&mut said, &mut stderr).expect("words"), 0, "{stderr}");
        }
        std::fs::write(&pipe, "a,b\n1\n").expect("it reads");
        std::io::Read::read_to_string(&mut said, &mut stderr).expect("words");
        let output = child.wait_with_output().expect("it ends");
        let run = Run { stderr, ..Run::from(output) };
        let result = run.ended(6, &["Table . failed: ", "Error: second.csv, line 2"]).json();
        assert_eq!(
            (&result["rows"], &result["tables"][0]["table"], &result["tables"][0]["rows_in"]),
            (&0.into(), &".".into(), &Value::Null)
        );
        assert_eq!(result["tables"][0]["failure"]["class"], "data", "{result}");
    }

    /// Files below `folder`, whatever they are.
    fn files(folder: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
    }

    #[test]
    fn an_interrupt_ends_cleanly() {
        let dir = test_dir();
        let line =
            "load - --input-format ndjson --table t --to s3://demo/t.json --format json --local store --in-flight 6MiB --part-size 5MiB";
        let mut command = dir.command(line);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut input = child.stdin.take().expect("a pipe");
        let row = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
        let feed = std::thread::spawn(move || {
            for _ in 0..40_000 {
                if input.write_all(row.as_bytes()).is_err() {
                    return;
                }
            }
            // The input stays open: only the signal ends the run.
            std::thread::sleep(Duration::from_secs(60));
        });
        let uploads = dir.path().join("store/.lakegate/uploads");
        let until = Instant::now() + Duration::from_secs(60);
        while files(&uploads) == 0 {
            assert!(Instant::now() < until, "no upload began");
            std::thread::sleep(Duration::from_millis(20));
        }
        let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(signalled.success());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), output.status.signal()), (Some(130), None), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(files(&uploads), 0, "an upload is left");
        drop(feed);
    }

    /// One interrupt is enough if the store does not answer about a finished object.
    #[test]
    fn an_interrupt_does_not_wait_for_a_silent_store() {
        let dir = test_dir();
        let (asked, puts) = std::sync::mpsc::channel();
        let address = silent_store(asked);
        let line = format!(
            "load - --input-format ndjson --table t --column a=int64 --to s3://demo/{{{{UUID}}}}.json --format json --batch-size 1 \
             --endpoint http://{address} --path-style"
        );
        let mut child = dir.command(&line).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut input = child.stdin.take().expect("a pipe");
        // The sample and some more rows; the input stays open, so there is no end to wait for.
        input.write_all("{\"a\":1}\n".repeat(20_000).as_bytes()).expect("it reads");
        puts.recv_timeout(Duration::from_secs(120)).expect("an object is put");
        let asked = Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs").success());
        let output = child.wait_with_output().expect("it ends");
        Run::from(output).ended(130, &["Interrupted; unfinished uploads were aborted."]);
        // The timeout of a response is 30 s, and requests are retried for 120 s.
        assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
        drop(input);
    }

    /// A store that never answers; sends a signal for each request.
    fn silent_store(asked: std::sync::mpsc::Sender<()>) -> std::net::SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let asked = asked.clone();
                std::thread::spawn(move || {
                    let Ok(1..) = std::io::Read::read(&mut socket, &mut [0; 1]) else { return };
                    let _nobody = asked.send(());
                    let _gone = std::io::Read::read_to_end(&mut socket, &mut Vec::new());
                });
            }
        });
        address
    }

    /// A store that creates an upload and never answers after that.
    fn mute_store() -> std::net::SocketAddr {
        use std::io::{BufRead as _, BufReader, Read as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(socket.try_clone().expect("a handle"));
                    let mut first = String::new();
                    let Ok(1..) = reader.read_line(&mut first) else { return };
                    if first.starts_with("POST") && first.contains("uploads") {
                        let body = "<InitiateMultipartUploadResult><Bucket>demo</Bucket><Key>t.json</Key><UploadId>u</UploadId>\
                                    </InitiateMultipartUploadResult>";
                        let mut socket = socket;
                        let _gone = write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    }
                    // Keeps reading, so that the other side is not blocked while sending.
                    let _gone = reader.read_to_end(&mut Vec::new());
                });
            }
        });
        address
    }

    #[test]
    fn a_second_interrupt_ends_at_once() {
        let dir = test_dir();
        let line = format!(
            "load - --input-format ndjson --table t --to s3://demo/t.json --format json --endpoint http://{} --path-style --part-size 5MiB \
             --in-flight 64MiB",
            mute_store()
        );
        let mut child = dir.command(&line).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut input = child.stdin.take().expect("a pipe");
        let row = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
        // More than one part: the upload is created, and its parts are never confirmed.
        (0..12_000).for_each(|_| input.write_all(row.as_bytes()).expect("it reads"));
        std::thread::sleep(Duration::from_secs(1));
        let signal = |pid: u32| assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().expect("kill runs").success());
        let mut said = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
        signal(child.id());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut said, &mut line).expect("words");
        assert!(line.starts_with("Interrupted: aborting open uploads."), "{line}");
        // The abort is not answered, so the first interrupt does not end the program yet.
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().expect("its state").is_none(), "there was nothing to wait for: the test shows nothing");
        let asked = Instant::now();
        signal(child.id());
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(130));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
}

/// A stranger's first minutes: a configuration from options, which is valid and runs as it is.
#[test]
fn init_writes_a_configuration_that_runs() {
    let dir = test_dir();
    dir.file("orders.csv", "id,name\n1,a\n2,b\n");
    let init = "init --input orders.csv --to s3://demo/raw/{{TABLE}}/{{UUID}}.{{FORMAT}} --format json";
    dir.run(init).ended(0, &["Wrote lakegate.yml. Next:", "lakegate plan lakegate.yml"]);
    dir.run("validate-config lakegate.yml").ended(0, &[]);
    dir.run("sync lakegate.yml --local store").ended(0, &["Resources: 2, Errors: 0"]);
    dir.run(init).ended(2, &["lakegate.yml is there already; --force replaces it"]);
    dir.run(&format!("{init} --force")).ended(0, &[]);
    let printed = dir.run(&init.replace("init ", "init - "));
    let written = std::fs::read_to_string(dir.path().join("lakegate.yml")).expect("the file");
    assert_eq!(printed.ended(0, &[]).stdout, written);
    dir.run("init other.yml --to s3://demo/x").ended(2, &["give --input, --to and --format; without a terminal nothing can be asked"]);
    dir.run(&init.replace("json", "xml").replace("init ", "init other.yml ")).ended(3, &["xml"]);
    dir.run(&init.replace("s3://demo/raw", "demo/raw").replace("init ", "init other.yml ")).ended(2, &["is not s3://BUCKET/PATH"]);
    assert!(!dir.path().join("other.yml").exists(), "nothing is written that is wrong");
}
