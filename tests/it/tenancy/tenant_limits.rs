//! Limits on a tenant's use of the process: sessions, messages, open objects, memory; and reloading a changed tenants file.

use crate::fixtures::faulty_store::{self, FaultyStore};
use crate::fixtures::proxied_store::{BUCKET, PLUGIN, eventually};
use crate::fixtures::support::{runtime, test_store};
use crate::tenancy::hostile;
use crate::tenancy::tenants::{FILE, TenantServer, grant, options, spec, write_file};
use anyhow::{Context, Result};
use http::StatusCode;
use lakegate::{Destination, FailureClass, Grant, OpenError, Options, Resources, Tenant};
use lakegate_local_store::LocalStore;
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::plugin::{Client, Message};
use lakegate_tests::tables::ids;
use serde_json::json;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const CSV: &str = "acme/{{TABLE}}/{{UUID}}.csv";

/// Acme's grant with another line.
fn file_with(line: &str) -> String {
    FILE.replacen("formats = [\"csv\"]", &format!("formats = [\"csv\"]\n{line}"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_has_a_session_of_its_own_and_they_are_counted() -> Result<()> {
    let served = TenantServer::locally(&file_with("max_sessions = 2")).await?;
    let spec = spec(CSV, "csv");
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(served.connect("acme").await?);
    }
    let [one, two, three] = clients.as_mut_slice() else { unreachable!("three were made") };
    one.init(&spec).await?;
    two.init(&spec).await?;
    let status = three.init(&spec).await.expect_err("a third");
    assert!(status.message().contains("sessions at once: 2 granted (`max_sessions`), and all are open"), "{status:?}");
    // Both write, each to its own session.
    let (first, second) =
        tokio::join!(one.write([Message::Insert(ids("a", 0..2).into())]), two.write([Message::Insert(ids("b", 0..3).into())]));
    first?;
    second?;
    let metrics = served.get("/metrics").await?;
    assert!(metrics.contains("lakegate_sessions{tenant=\"acme\"} 2\n"), "{metrics}");
    // A client that closes frees its slot, and so does one that disconnects.
    one.close().await?;
    three.init(&spec).await?;
    assert!(one.init(&spec).await.is_err());
    clients.remove(1);
    let mut again = clients.remove(0);
    let mut tries = 0;
    while again.init(&spec).await.is_err() {
        tries += 1;
        assert!(tries < 200, "the session of a client that is gone stays open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop((again, clients));
    let (_, folder) = served.stop().await?;
    let store = LocalStore::open(&folder.path().join("store"))?;
    assert_eq!(store.records(BUCKET, "")?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_as_large_as_granted() -> Result<()> {
    let rows = |rows| Message::Insert(ids("t", 0..rows).into());
    let granted = ids("t", 0..1_000).len();
    let served = TenantServer::locally(&file_with(&format!("max_message_bytes = {granted}"))).await?;
    let mut acme = served.connect("acme").await?;
    let spec = spec(CSV, "csv");
    acme.round(&spec, [rows(1_000)]).await?;
    // Refused by the session, and by the gRPC stack before it is in memory.
    for more in [1_008, 100_000] {
        let status = acme.round(&spec, [rows(more)]).await.expect_err("larger");
        let expected = format!("a message of more than {granted} bytes is not granted (`max_message_bytes`)");
        assert!(status.message().contains(&expected), "{more}: {status:?}");
        // As after any bad message, the client has to close the session once open uploads are aborted.
        while acme.close().await.is_err_and(|status| status.message() == "plugin already in use") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let metrics = served.get("/metrics").await?;
    assert!(metrics.contains("lakegate_denials_total{tenant=\"acme\",rule=\"max_message_bytes\"} 2\n"), "{metrics}");
    drop(acme);
    let (_, folder) = served.stop().await?;
    let store = LocalStore::open(&folder.path().join("store"))?;
    assert_eq!(store.records(BUCKET, "")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_open_as_many_as_granted() -> Result<()> {
    let test_store = test_store(BUCKET);
    let tenant = Tenant::new("acme", Grant { max_open_objects: Some(2), ..grant("acme/") });
    let destination = Destination::new(runtime(), options(&test_store, tenant));
    let session = destination.open(&spec(CSV, "csv").to_string(), "sync").await?;
    for round in 0..2 {
        let mut write = session.write()?;
        for table in ["a", "b", "c"] {
            write.insert(ids(table, 0..3).into()).await?;
        }
        let report = write.finish().await;
        let failures: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class, failure.message.as_str())).collect();
        let expected = "objects open at once: 2 granted (`max_open_objects`), and all are open";
        assert_eq!(failures, [("c", FailureClass::Denied, expected)], "round {round}");
    }
    assert_eq!(test_store.keys().len(), 4);
    Ok(())
}

/// The test object counts like any other: for the daily quota, audit, metrics, and rate.
#[tokio::test(flavor = "multi_thread")]
async fn the_test_object_counts() -> Result<()> {
    let test_store = test_store(BUCKET);
    let content_types = vec!["text/csv".into(), "application/octet-stream".into()];
    let tenant = Tenant::new("acme", Grant { objects_per_second: Some(1), daily_objects: Some(4), content_types, ..grant("acme/") });
    let tally = tenant.metrics.clone();
    let destination = Destination::new(runtime(), options(&test_store, tenant));
    let spec = crate::fixtures::proxied_store::laid_over(spec(CSV, "csv"), json!({"test_write": true}));
    let begun = Instant::now();
    for number in 1..=4 {
        destination.test_connection(&spec.to_string()).await?;
        let reading = tally.read();
        assert_eq!((reading.objects, reading.bytes, reading.puts[reading.puts.len() - 1]), (number, 0, number));
    }
    // The first one uses the burst; each of the others delays the next.
    assert!(begun.elapsed() > Duration::from_millis(1_990), "{:?}", begun.elapsed());
    let fifth = destination.test_connection(&spec.to_string()).await;
    assert!(matches!(fifth, Err(OpenError::Denied(_))), "{fifth:?}");
    Ok(())
}

/// The response was lost and the store does not tell whether the object exists: it may, so it counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_not_given_back() -> Result<()> {
    let mut faulty = FaultyStore::new([
        Rule::on(Operation::Complete, When::First(1), Fault::DropAnswer),
        Rule::on(Operation::Head, When::Always, Fault::Answer(StatusCode::FORBIDDEN)),
    ])
    .await;
    let rules =
        Grant { buckets: vec![faulty_store::BUCKET.into()], endpoint: Some(faulty.proxy.endpoint()), path_style: true, ..grant("") };
    faulty.options.tenant = Some(Arc::new(Tenant::new("acme", Grant { daily_objects: Some(1), ..rules })));
    let session = faulty.open(json!({})).await;
    for (table, rows, expected) in [("t", 5_000, "the outcome is unknown"), ("u", 1, "1 objects a day are granted, and all are used")] {
        let mut write = session.write()?;
        write.insert(ids(table, 0..rows).into()).await?;
        let report = write.finish().await;
        let failures: Vec<_> = report.failures().map(|(_, failure)| failure.message.clone()).collect();
        assert!(failures.len() == 1 && failures[0].contains(expected), "{table}: {failures:?}");
    }
    assert_eq!(faulty.keys().len(), 1, "it is there");
    Ok(())
}

/// Guests and the host's memory for sessions share one limit; the other tenant has its own.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_one_budget_over_all_sessions_of_a_tenant() -> Result<()> {
    let test_store = test_store("hostile");
    let rules = || Grant {
        buckets: vec!["hostile".into()],
        path_style: true,
        max_retries: Some(0),
        max_sessions: Some(9),
        max_message_bytes: Some(1 << 20),
        ..grant("")
    };
    let machine =
        |tenant| Options { memory_bytes: 1 << 20, in_flight_bytes: 1 << 20, lanes: NonZeroUsize::MIN, ..options(&test_store, tenant) };
    let host_bytes = machine(Tenant::new("any", rules())).host_bytes();
    assert_eq!(host_bytes, 7 << 20);
    let budget = 3 * host_bytes - (1 << 20);
    let mut bounded = Tenant::new("bounded", rules());
    bounded.share = Arc::new(Resources::new(NonZeroU32::MIN, Some(budget)));
    let share = bounded.share.clone();
    let [bounded, free] = [bounded, Tenant::new("free", rules())].map(|tenant| Destination::new(hostile::runtime(), machine(tenant)));

    let session = bounded.open("{}", "sync").await?;
    let mut write = session.write()?;
    // A lane may use 640 MiB; the tenant has less.
    write.insert(hostile::message("bad", "allocate", 3, None)).await?;
    write.insert(hostile::message("good", "ok", 3, None)).await?;
    let report = write.finish().await;
    let failures: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class, failure.message.as_str())).collect();
    let expected = format!(
        "the component needs more memory than is left of the {budget} bytes that the tenant has for all sessions (`budget_bytes`) while it \
         wrote the table \"bad\""
    );
    assert_eq!(failures, [("bad", FailureClass::Unexpected, expected.as_str())]);
    assert_eq!(test_store.keys().len(), 1);

    let second = bounded.open("{}", "sync").await?;
    let error = bounded.open("{}", "sync").await.expect_err("no room for a third");
    let OpenError::Denied(said) = &error else { panic!("{error:?}") };
    assert!(said.starts_with(&format!("a session needs {host_bytes} bytes besides its guests; of {budget} granted, ")), "{said}");
    let open = futures::future::try_join_all((0..4).map(|_| free.open("{}", "sync"))).await?;
    assert_eq!(open.len(), 4, "the other tenant has room");
    session.close().await;
    second.close().await;
    assert!(share.account.computed() > Duration::ZERO);
    // Memory is released with its last user.
    eventually("the budget is free again", || share.budget.used_bytes() == 0).await;
    Ok(())
}

/// A write that stays open until told to end.
fn held_write(mut client: Client, table: &'static str) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), tonic::Status>>) {
    let (go, wait) = mpsc::channel();
    let messages = std::iter::once(Message::Insert(ids(table, 0..2).into())).chain(std::iter::once_with(move || {
        // Told to end, or the sender is gone.
        let _told = wait.recv();
        Message::Insert(ids(table, 2..4).into())
    }));
    (go, tokio::spawn(async move { client.write(messages).await }))
}

/// A value from `/metrics`.
async fn metric(served: &TenantServer, name: &str) -> Result<f64> {
    let metrics = served.get("/metrics").await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{name} in {metrics}"))?;
    Ok(line.trim().parse()?)
}

/// CPU time of the tenant's guests, in seconds.
async fn computed(served: &TenantServer, tenant: &str) -> Result<f64> {
    metric(served, &format!("lakegate_guest_cpu_seconds_total{{tenant=\"{tenant}\"}}")).await
}

async fn hang_up(served: &TenantServer) -> Result<()> {
    let id = served.child.id().context("it runs")?;
    assert!(Command::new("kill").args(["-HUP", &id.to_string()]).status().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_touches_only_whom_it_changes() -> Result<()> {
    let served = TenantServer::locally(&file_with("daily_objects = 2")).await?;
    let folder = served.folder.path().to_owned();
    let (mut acme, mut beta) = (served.connect("acme").await?, served.connect("beta").await?);
    acme.round(&spec(CSV, "csv"), [Message::Insert(ids("early", 0..2).into())]).await?;
    acme.init(&spec(CSV, "csv")).await?;
    beta.init(&spec("beta/{{TABLE}}/{{UUID}}.json", "json")).await?;
    let before = [computed(&served, "acme").await?, computed(&served, "beta").await?];
    let (go_acme, acme_write) = held_write(acme, "cut_off");
    let (go_beta, beta_write) = held_write(beta, "goes_on");
    // Both write once both guests have had rows.
    while computed(&served, "acme").await? <= before[0] || computed(&served, "beta").await? <= before[1] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // An error changes nothing.
    write_file(&folder, "[tenants.acme]\n")?;
    hang_up(&served).await?;
    let third = format!("{}{}", file_with("daily_objects = 1"), FILE.split("\n\n").nth(1).context("beta's")?.replace("beta", "gamma"));
    // It is read once it has been unchanged for a third of a second; the next version must not be read instead.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!acme_write.is_finished() && !folder.join("gamma.sock").exists());

    write_file(&folder, &third)?;
    hang_up(&served).await?;
    eventually("the new tenant is served", || folder.join("gamma.sock").exists()).await;
    let cut = acme_write.await?.expect_err("its grant has changed");
    assert!(cut.message().contains("the plugin is stopping"), "{cut:?}");
    let _nobody = go_acme.send(());
    eventually("acme is served anew", || folder.join("acme.sock").exists()).await;
    // The quota of the day is carried over: one object is granted now, and one was written.
    let said = served.connect("acme").await?.round(&spec(CSV, "csv"), [Message::Insert(ids("late", 0..2).into())]).await;
    let said = said.expect_err("used up");
    assert!(said.message().contains("1 objects a day are granted, and all are used"), "{said:?}");
    go_beta.send(())?;
    beta_write.await?.expect("its grant has not changed");
    let mut gamma = served.connect("gamma").await?;
    gamma.round(&spec("gamma/{{TABLE}}/{{UUID}}.json", "json"), [Message::Insert(ids("c", 0..2).into())]).await?;
    drop(gamma);

    let file = write_file(&folder, FILE.split("\n\n").nth(1).context("beta's")?)?;
    // A file that is known to be complete may remove tenants.
    assert!(Command::new(PLUGIN).args(["policy", "check", "--seal"]).arg(&file).output().await?.status.success());
    hang_up(&served).await?;
    eventually("who is gone from the file is gone", || !folder.join("acme.sock").exists() && !folder.join("gamma.sock").exists()).await;
    assert!(folder.join("beta.sock").exists());
    let page = served.get("/").await?;
    assert!(page.contains("<td>beta<") && !page.contains("<td>acme<"), "{page}");

    let (log, folder) = served.stop().await?;
    let said: Vec<&str> = log.iter().filter_map(|line| line["message"].as_str()).collect();
    assert!(said.iter().any(|line| line.starts_with("Tenants stay as they were: ")), "{said:?}");
    let store = LocalStore::open(&folder.path().join("store"))?;
    let keys: Vec<String> = store.records(BUCKET, "")?.into_iter().map(|record| record.key).collect();
    let begin: Vec<&str> = keys.iter().filter_map(|key| key.rsplit_once('/').map(|(folder, _)| folder)).collect();
    assert_eq!(begin, ["acme/early", "beta/goes_on", "gamma/c"]);
    assert_eq!(store.unfinished_uploads(BUCKET)?.len(), 0);
    Ok(())
}

/// Everything needed is prepared before any tenant is stopped: a missing certificate, variable or address changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_needs_are_not_there_changes_nothing() -> Result<()> {
    let mut served = TenantServer::locally(FILE).await?;
    let log = Arc::new(Mutex::new(Vec::<String>::new()));
    let (kept, mut lines) = (log.clone(), BufReader::new(served.child.stdout.take().context("piped")?).lines());
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            kept.lock().expect("no panic").push(line);
        }
    });
    let folder = served.folder.path().to_owned();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    std::fs::write(folder.join("no.pem"), "no certificate")?;
    let (mut acme, mut beta) = (served.connect("acme").await?, served.connect("beta").await?);
    let socket = "listen = { socket = \"DIR/acme.sock\" }";
    let tls = format!(
        "listen = {{ tls = \"127.0.0.1:0\", certificate = \"DIR/no.pem\", key = \"DIR/no.pem\", client_authority = \"DIR/no.pem\", \
         client_sha256 = [\"{}\"] }}",
        "00".repeat(32)
    );
    let variables = format!("{socket}\ncredentials = {{ access_key_id_env = \"LAKEGATE_TEST_NONE\", secret_access_key_env = \"PATH\" }}");
    for (listen, expected) in [
        (tls, "no.pem"),
        (variables, "the variable LAKEGATE_TEST_NONE is not set"),
        (format!("listen = {{ plain_tcp = \"{}\" }}", taken.local_addr()?), "cannot listen on"),
        (format!("{socket}\nmachine = {{ budget_bytes = 1 }}"), "leaves nothing for guests"),
    ] {
        acme.init(&spec(CSV, "csv")).await?;
        // Beta is gone from the file, acme has changed.
        write_file(&folder, &FILE.split("\n\n").next().context("acme's")?.replacen(socket, &listen, 1))?;
        hang_up(&served).await?;
        let is_reported = |line: &String| line.contains("Tenants stay as they were: tenant \\\"acme\\\": ") && line.contains(expected);
        eventually(expected, || log.lock().expect("no panic").iter().any(is_reported)).await;
        acme.write([Message::Insert(ids("a", 0..2).into())]).await?;
        acme.close().await?;
        beta.round(&spec("beta/{{TABLE}}/{{UUID}}.json", "json"), [Message::Insert(ids("b", 0..2).into())]).await?;
    }
    drop((acme, beta));
    served.stop().await?;
    Ok(())
}

/// The end of the process also aborts what a hostile guest holds open.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_guest_leaves_no_upload_behind_when_the_process_ends() -> Result<()> {
    let served = TenantServer::locally(&hostile_file()).await?;
    let store = LocalStore::open(&served.folder.path().join("store"))?;
    let mut acme = served.connect("acme").await?;
    acme.init(&serde_json::json!({})).await?;
    let (_held, wait) = mpsc::channel::<()>();
    let order = hostile::message("held", "hold", 3, Some("acme/held"));
    let messages = std::iter::once(Message::Insert(order)).chain(std::iter::from_fn(move || {
        // Never told to end: the call stays open.
        let _end = wait.recv();
        None
    }));
    let writing = tokio::spawn(async move { acme.write(messages).await });
    eventually("an upload is begun", || store.unfinished_uploads("hostile").is_ok_and(|open| open.len() == 1)).await;
    let (_, folder) = served.stop().await?;
    assert!(writing.await?.is_err());
    let store = LocalStore::open(&folder.path().join("store"))?;
    assert_eq!((store.unfinished_uploads("hostile")?.len(), store.records("hostile", "")?.len()), (0, 0));
    Ok(())
}

/// Compiling is expensive: one component at a time, however many tenants have one, and at the lowest CPU priority.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn components_are_compiled_one_at_a_time_and_last_in_line() -> Result<()> {
    let mut wasm = std::fs::read(env!("LAKEGATE_HOSTILE_COMPONENT"))?;
    let folder = tempfile::tempdir()?;
    let entry = FILE.split("\n\n").next().context("acme's")?;
    let mut file = String::new();
    for name in ["one", "two", "three"] {
        // A custom section of its own, so that none is in the cache for another.
        wasm.extend([0, 1 + name.len() as u8 + 1, name.len() as u8]);
        wasm.extend(name.bytes().chain([0]));
        let path = folder.path().join(name);
        std::fs::write(&path, &wasm)?;
        let listen = format!("[tenants.{name}]\ncomponent = {path:?}");
        file.push_str(
            &entry
                .replacen("[tenants.acme]", &listen, 1)
                .replace("tenants.acme", &format!("tenants.{name}"))
                .replace("acme.sock", &format!("{name}.sock")),
        );
        file.push('\n');
    }
    let served = TenantServer::with(&file, |command, folder| {
        command.arg("--local").arg(folder.join("store")).env("LAKEGATE_CACHE_DIR", folder.join("cache"));
    })
    .await?;
    let id = served.child.id().context("it runs")?;
    let (mut seen, mut nice) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    let compiled = || std::fs::read_dir(served.folder.path().join("cache")).map_or(0, |files| files.count());
    // The embedded component, too.
    while compiled() < 4 {
        let children = compilers(id);
        assert!(children.len() <= 1, "{children:?}");
        seen.extend(children.iter().map(|(child, _)| *child));
        nice.extend(children.iter().map(|(_, nice)| *nice));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen.len(), 3);
    // The test itself may be run at any niceness; there is none above 19.
    let own = niceness(&std::fs::read_to_string(format!("/proc/{id}/stat"))?).context("how nice the server is")?;
    assert!(nice.contains(&(own + 10).min(19)), "{nice:?} beside {own}");
    served.stop().await?;
    Ok(())
}

/// The compiler processes of the process `parent`, with their niceness.
#[cfg(target_os = "linux")]
fn compilers(parent: u32) -> Vec<(u32, i64)> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| {
        let command = std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let is_ours = fields(&stat)?.get(1)?.parse() == Ok(parent) && command.contains("compile-component");
        Some((id, niceness(&stat)?)).filter(|_| is_ours)
    })
    .collect()
}

/// The fields of a process's `stat` after the name in brackets: state, parent, …
#[cfg(target_os = "linux")]
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

/// The niceness is field 19.
#[cfg(target_os = "linux")]
fn niceness(stat: &str) -> Option<i64> {
    fields(stat)?.get(16)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_does_is_counted() -> Result<()> {
    let served = TenantServer::locally(&file_with("bytes_per_second = 10")).await?;
    let mut acme = served.connect("acme").await?;
    // 7 bytes pass at once and delay the next 7, twice.
    let rows = ["a", "b", "c"].map(|table| Message::Insert(ids(table, 0..2).into()));
    acme.round(&spec(CSV, "csv"), rows).await?;
    assert_eq!(metric(&served, "lakegate_put_seconds_count{tenant=\"acme\"}").await?, 3.0);
    assert_eq!(metric(&served, "lakegate_put_seconds_bucket{tenant=\"acme\",le=\"+Inf\"}").await?, 3.0);
    assert!(metric(&served, "lakegate_put_seconds_sum{tenant=\"acme\"}").await? > 0.0);
    assert!(metric(&served, "lakegate_throttled_total{tenant=\"acme\",rule=\"bytes_per_second\"}").await? >= 1.0);
    assert!(metric(&served, "lakegate_guest_cpu_seconds_total{tenant=\"acme\"}").await? > 0.0);
    assert_eq!(metric(&served, "lakegate_guest_cpu_seconds_total{tenant=\"beta\"}").await?, 0.0);
    assert_eq!(metric(&served, "lakegate_queued_messages{tenant=\"acme\"}").await?, 0.0);
    assert_eq!(metric(&served, "lakegate_retries_total{tenant=\"acme\",class=\"transient\"}").await?, 0.0);
    assert_eq!(metric(&served, "lakegate_budget_used_bytes{tenant=\"acme\"}").await?, 0.0);
    drop(acme);
    served.stop().await?;
    Ok(())
}

/// The tenants, of which acme has the hostile component.
fn hostile_file() -> String {
    let rules = "buckets = [\"hostile\"]\nkey_prefixes = [\"acme/\"]\npath_style = true\nmax_retries = 0\n";
    FILE.replacen("[tenants.acme]", &format!("[tenants.acme]\ncomponent = {:?}", env!("LAKEGATE_HOSTILE_COMPONENT")), 1)
        .replacen("buckets = [\"served\"]\nkey_prefixes = [\"acme/\"]\n", rules, 1)
        .replacen("content_types = [", "content_types = [\"text/plain\", ", 1)
}

/// A tenant's component only runs for that tenant, under its grant.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_may_bring_a_component_of_its_own() -> Result<()> {
    let served = TenantServer::locally(&hostile_file()).await?;
    let (mut acme, mut beta) = (served.connect("acme").await?, served.connect("beta").await?);
    beta.round(&spec("beta/{{TABLE}}/{{UUID}}.json", "json"), [Message::Insert(ids("b", 0..2).into())]).await?;
    let order = |table: &str, key: &str| Message::Insert(hostile::message(table, "ok", 3, Some(key)));
    acme.round(&serde_json::json!({}), [order("own", "acme/own")]).await?;
    let said = acme.round(&serde_json::json!({}), [order("stolen", "beta/stolen")]).await.expect_err("outside");
    assert!(said.message().contains("is outside the granted prefixes [\"acme/\"]"), "{said:?}");
    drop((acme, beta));
    let (_, folder) = served.stop().await?;
    let store = LocalStore::open(&folder.path().join("store"))?;
    assert_eq!(store.records("hostile", "")?.len(), 1);
    assert_eq!(store.records(BUCKET, "")?.len(), 1);

    let file = FILE.replacen("[tenants.acme]", "[tenants.acme]\ncomponent = \"/nowhere/c.wasm\"", 1);
    let served = TenantServer::locally(&file).await?;
    let said = served.connect("acme").await?.init(&spec(CSV, "csv")).await.expect_err("no component");
    assert!(said.message().contains("/nowhere/c.wasm") || said.message().contains("No such file"), "{said:?}");
    let mut beta = served.connect("beta").await?;
    beta.round(&spec("beta/{{TABLE}}/{{UUID}}.json", "json"), [Message::Insert(ids("b", 0..2).into())]).await?;
    drop(beta);
    let (log, _) = served.stop().await?;
    let said: Vec<&str> = log.iter().filter_map(|line| line["message"].as_str()).collect();
    assert!(said.iter().any(|line| line.starts_with("The tenant's component is refused: /nowhere/c.wasm")), "{said:?}");
    Ok(())
}
