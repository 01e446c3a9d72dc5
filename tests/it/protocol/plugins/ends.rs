//! Runs that are cut short: by a signal, by a plugin that is killed, or by one that does not exit; and the memory of a run while a store is slow.

use super::{TestDir, local_store, python_source, runs, s3, source, stored_ids, test_dir};
use crate::fixtures::proxied_store::{self, BUCKET, PLUGIN, eventually};
use lakegate_cloudquery::proto::plugin::sync;
use lakegate_cloudquery::proto::plugin::sync::response::Message;
use lakegate_tests::fake_plugin::{Behaviour, FakePlugin};
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::s3::Store;
use lakegate_tests::tables::ids;
use lakegate_tests::tiers;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// A store that does not answer is retried for two minutes; a run that waits for it takes longer than this.
const MUCH_SOONER: Duration = Duration::from_secs(60);

fn insert(rows: std::ops::Range<i64>) -> Message {
    Message::Insert(sync::MessageInsert { record: ids("t", rows).into() })
}

async fn fake(behaviour: Behaviour) -> FakePlugin {
    FakePlugin::start(Behaviour { versions: vec![3], ..behaviour }).await.expect("a port")
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().expect("kill runs").success(), "no process {process}");
}

/// Interrupts a program; returns its exit code and stderr.
async fn interrupted(child: Child) -> (Option<i32>, String) {
    signal("-INT", &child.id().to_string());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("it runs").expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A script that writes its process ID to a file and becomes another program.
fn wrapped(dir: &TestDir, name: &str, program: &str) -> PathBuf {
    dir.script(name, &format!("echo $$ > {name}.pid\nexec {program} \"$@\""))
}

fn pid(dir: &TestDir, name: &str) -> String {
    std::fs::read_to_string(dir.path().join(format!("{name}.pid"))).expect("written").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_does_not_wait_for_a_store_that_stalls() {
    let Some(program) = tiers::live("a source on Python's SDK", python_source()) else { return };
    let small = ", batch_size: 1000";
    let one_object = ", batch_size: 0, batch_size_bytes: 0, batch_timeout: 0s";
    for (operation, batches) in [(Operation::Put, small), (Operation::Part, one_object), (Operation::Complete, one_object)] {
        let store = proxied_store::ProxiedStore::new([Rule::on(operation, When::Always, Fault::Stall(FOR_EVER))]).await;
        let dir = test_dir();
        let source_program = wrapped(&dir, "source", &program.display().to_string());
        let at = format!("{batches}, endpoint: \"{}\", use_path_style: true", store.proxy.endpoint());
        // An object is completed at the end of its rows.
        let rows = if operation == Operation::Complete { 1_000_000 } else { 1_000_000_000 };
        let spec = format!("{{rows: {rows}}}");
        let ours = s3(&at).replace("bucket: demo", &format!("bucket: {BUCKET}"));
        dir.file("c.yml", &(source("py", "local", source_program.display(), &spec) + &ours));
        let mut command = dir.command("sync c.yml");
        command.env("AWS_ACCESS_KEY_ID", proxied_store::KEY).env("AWS_SECRET_ACCESS_KEY", proxied_store::SECRET).stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        eventually("the store is asked", || store.proxy.count(operation) > 0).await;
        let asked = Instant::now();
        let (code, said) = interrupted(child).await;
        assert_eq!(code, Some(130), "{operation:?}: {said}");
        assert!(asked.elapsed() < MUCH_SOONER, "{operation:?}: {:?}", asked.elapsed());
        assert_eq!(store.unfinished(), 0, "{operation:?}");
        assert!(!runs(&pid(&dir, "source")), "{operation:?}");
    }
}

/// Plugins that have started are asked to exit, and only others are killed.
#[tokio::test]
async fn an_interrupt_while_plugins_start_ends_those_that_run() {
    const ATTEMPTS: u32 = 20;
    for attempt in 0.. {
        let dir = test_dir();
        let hangs = dir.script("hangs", "echo $$ > hangs.pid; exec sleep 600");
        let ours = s3("").replace("path: cloudquery/s3", &format!("path: \"{PLUGIN}\"\n  registry: local"));
        dir.file("c.yml", &(source("src", "local", hangs.display(), "{}") + &ours));
        let log = std::fs::File::create(dir.path().join("log")).expect("a file");
        let child = dir.command("sync c.yml --log-console").stderr(log).spawn().expect("the program starts");
        let said = || std::fs::read_to_string(dir.path().join("log")).expect("a file");
        eventually("the destination listens", || said().contains("Plugin server listening")).await;
        eventually("the source hangs", || dir.path().join("hangs.pid").exists()).await;
        // It listens slightly before it counts as started, by an unknown time.
        tokio::time::sleep(Duration::from_millis(100) * attempt).await;
        let (code, _) = interrupted(child).await;
        assert_eq!(code, Some(130), "{}", said());
        let hangs = pid(&dir, "hangs");
        eventually("what was starting is killed", || !runs(&hangs)).await;
        if said().contains("Stopping: aborting open uploads.") {
            return;
        }
        assert!(attempt < ATTEMPTS, "the destination was never asked to end: {}", said());
    }
}

#[tokio::test]
async fn an_interrupt_ends_a_command_whose_plugin_does_not_answer() {
    for command in ["validate-config", "test-connection"] {
        let silent = fake(Behaviour { silent: true, ..Behaviour::default() }).await;
        let dir = test_dir();
        dir.file("c.yml", &source("src", "grpc", silent.address, "{}").replace("---\n", ""));
        let child = dir.command(&format!("{command} c.yml")).stderr(Stdio::piped()).spawn().expect("the program starts");
        eventually("the plugin is asked", || !silent.seen.events().is_empty()).await;
        let (code, said) = interrupted(child).await;
        assert_eq!(code, Some(130), "{command}: {said}");
    }
}

/// Our plugin as a destination with a store, run by `wrapper`, and a configuration with a source.
async fn destination(dir: &TestDir, wrapper: PathBuf, from: &FakePlugin, more: &str) -> Store {
    local_store(dir).create_bucket(super::BUCKET).expect("a bucket");
    let store = Store::embedded(&dir.path().join("store")).await.expect("a served store");
    let at = format!("{more}, endpoint: \"{}\", use_path_style: true", store.endpoint);
    let ours = format!("path: \"{}\"\n  registry: local", wrapper.display());
    dir.file("c.yml", &(source("src", "grpc", from.address, "{}") + &s3(&at).replace("path: cloudquery/s3", &ours)));
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_go_is_killed() {
    let dir = test_dir();
    let stubborn = dir.script("stubborn", &format!("trap '' INT\necho $$ > stubborn.pid\n{PLUGIN} \"$@\" &\necho $! > child.pid\nwait"));
    let from = fake(Behaviour { messages: vec![insert(0..10)], times: 1, ..Behaviour::default() }).await;
    let store = destination(&dir, stubborn, &from, "").await;
    let run = dir.run_async("sync c.yml").await;
    run.ended(0, &["The plugin did not end within 5 s; it is killed.", "Sync completed successfully. Resources: 10,"]);
    for name in ["stubborn", "child"] {
        let process = pid(&dir, name);
        eventually("its group is killed", || !runs(&process)).await;
    }
    assert_eq!(stored_ids(&dir, "t").len(), 10);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_killed_is_said_so() {
    let dir = test_dir();
    let wrapper = wrapped(&dir, "destination", PLUGIN);
    let from = fake(Behaviour { messages: vec![insert(0..10_000)], times: 1_000_000, ..Behaviour::default() }).await;
    let one_object = ", batch_size: 0, batch_size_bytes: 0, batch_timeout: 0s";
    let store = destination(&dir, wrapper, &from, one_object).await;
    let mut command = dir.command("sync c.yml");
    let running = tokio::task::spawn_blocking(move || command.output());
    eventually("an upload has begun", || !local_store(&dir).unfinished_uploads(super::BUCKET).expect("readable").is_empty()).await;
    signal("-KILL", &pid(&dir, "destination"));
    let output = running.await.expect("it runs").expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    let expected = "failed to sync source src: destination s3: write client returned error (insert): the plugin ended during Write (signal: 9 (SIGKILL))";
    assert!(said.contains(expected), "{said}");
    assert!(local_store(&dir).records(super::BUCKET, "").expect("readable").is_empty());
    store.stop().await;
}

/// Runs a program; returns its peak memory, or [`None`] if the system does not report it.
fn peak(mut command: Command) -> (std::process::ExitStatus, Option<u64>) {
    let mut child = command.spawn().expect("the program starts");
    let mut peak = None;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map(|kib| kib << 10).or(peak);
        if let Some(status) = child.try_wait().expect("it is ours") {
            return (status, peak);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_slows_the_source_and_costs_no_memory() {
    const OBJECT_ROWS: i64 = 100_000;
    let mut peaks = Vec::new();
    // A first run with a tenth measures what the program needs anyway.
    for objects in [60, 600] {
        let store =
            proxied_store::ProxiedStore::new([Rule::on(Operation::Put, When::Always, Fault::Delay(Duration::from_millis(250)))]).await;
        let from = fake(Behaviour { messages: vec![insert(0..OBJECT_ROWS)], times: objects, ..Behaviour::default() }).await;
        let dir = test_dir();
        let at = format!(", batch_size: {OBJECT_ROWS}, endpoint: \"{}\", use_path_style: true", store.proxy.endpoint());
        let ours = s3(&at).replace("bucket: demo", &format!("bucket: {BUCKET}")).replace("  send_sync_summary: true\n", "");
        dir.file("c.yml", &(source("src", "grpc", from.address, "{}") + &ours));
        let mut command = dir.command("sync c.yml --in-flight 8MiB --memory 8MiB --lanes 2 --quiet");
        command.env("AWS_ACCESS_KEY_ID", proxied_store::KEY).env("AWS_SECRET_ACCESS_KEY", proxied_store::SECRET);
        let begun = Instant::now();
        let (status, peak) = tokio::task::spawn_blocking(move || peak(command)).await.expect("it runs");
        assert_eq!((status.code(), store.keys().len()), (Some(0), objects));
        // At most ten objects and a lane's two are in flight at a time.
        let slow = Duration::from_millis(250) * u32::try_from(objects).expect("few") / 20;
        assert!(begun.elapsed() > slow, "the store was not slow: {:?}", begun.elapsed());
        peaks.push(peak);
    }
    if let [Some(before), Some(after)] = peaks[..] {
        // Ten times as much was written.
        assert!(after < before + (96 << 20) && after < 512 << 20, "{before}, then {after}");
    }
}
