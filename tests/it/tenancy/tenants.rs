//! Many tenants in one process: each writes what and where its grant allows, and nothing of another's.

use crate::fixtures::proxied_store::{BUCKET, PLUGIN, eventually};
use crate::fixtures::support::{TestStore, runtime, test_store};
use crate::tenancy::hostile;
use anyhow::{Context, Result};
use arrow_array::{Int64Array, StringArray};
use lakegate::{Destination, FailureClass, Grant, OpenError, Options, Tenant};
use lakegate_cloudquery::proto::plugin::plugin_client::PluginClient;
use lakegate_local_store::LocalStore;
use lakegate_tests::plugin::{Client, Message};
use lakegate_tests::tables::{Table, ids};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;

pub(crate) fn grant(prefix: &str) -> Grant {
    Grant {
        buckets: vec![BUCKET.into()],
        key_prefixes: vec![prefix.into()],
        region: "us-east-1".into(),
        formats: ["csv", "json", "parquet"].map(String::from).to_vec(),
        content_types: ["text/csv", "application/json", "application/vnd.apache.parquet", "text/plain"].map(String::from).to_vec(),
        max_backoff_seconds: 30,
        ..Grant::default()
    }
}

pub(crate) fn options(test_store: &TestStore, tenant: Tenant) -> Options {
    Options { lanes: NonZeroUsize::MIN, tenant: Some(Arc::new(tenant)), ..test_store.options() }
}

pub(crate) fn spec(path: &str, format: &str) -> Value {
    json!({"bucket": BUCKET, "region": "us-east-1", "format": format, "path": path, "test_write": false})
}

const TENANTS: usize = 100;
const TABLES: usize = 3;
const ROWS: i64 = 2_000;

/// Prefix of all canaries.
const STEM: &str = "canary-of-tenant-";

/// The text in every row of a tenant, and in no other's.
fn canary(tenant: usize) -> String {
    format!("{STEM}{tenant:03}")
}

fn rows_of(tenant: usize, table: usize) -> Result<Vec<u8>> {
    let values = (0..ROWS).map(|row| Some(format!("{}-{row}", canary(tenant))));
    let table = Table::new(&format!("table_{table}"));
    let table = table.column("id", Arc::new(Int64Array::from_iter_values(0..ROWS)));
    table.column("word", Arc::new(values.collect::<StringArray>())).insert_ipc()
}

/// Runs a tenant's sync; returns its duration.
async fn sync_of(destination: Destination, tenant: usize) -> Result<Duration> {
    let begun = Instant::now();
    let format = ["csv", "json", "parquet"][tenant % 3];
    let session =
        destination.open(&spec(&format!("tenant{tenant}/{{{{TABLE}}}}/{{{{UUID}}}}.{format}"), format).to_string(), "sync").await?;
    let mut write = session.write()?;
    for table in 0..TABLES {
        write.insert(rows_of(tenant, table)?.into()).await?;
    }
    let report = write.finish().await;
    anyhow::ensure!(report.failures().count() == 0, "{:?}", report.failures().collect::<Vec<_>>());
    let confirmed: u64 = report.tables.iter().map(|table| table.rows_confirmed).sum();
    anyhow::ensure!(confirmed == (TABLES as i64 * ROWS) as u64, "{confirmed} rows");
    session.close().await;
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "figures that the notes quote")]
async fn a_hundred_tenants_at_once_and_none_in_anothers_prefix() -> Result<()> {
    let test_store = test_store(BUCKET);
    let syncs = (0..TENANTS).map(|tenant| {
        let owner = Tenant::new(&format!("tenant{tenant}"), grant(&format!("tenant{tenant}/")));
        let destination = Destination::new(runtime(), options(&test_store, owner));
        tokio::spawn(sync_of(destination, tenant))
    });
    let mut times = Vec::new();
    for sync in futures::future::join_all(syncs).await {
        times.push(sync??);
    }
    times.sort();
    let (fastest, slowest) = (times[0], times[TENANTS - 1]);
    eprintln!("{TENANTS} tenants: fastest {fastest:?}, slowest {slowest:?}, ratio {:.1}", slowest.as_secs_f64() / fastest.as_secs_f64());

    let mut objects = 0;
    for tenant in 0..TENANTS {
        let keys: Vec<String> = test_store.keys().into_iter().filter(|key| key.starts_with(&format!("tenant{tenant}/"))).collect();
        assert!(keys.len() >= TABLES, "tenant {tenant}: {keys:?}");
        for key in &keys {
            let body = test_store.body(key);
            let canaries = body.windows(STEM.len() + 3).filter(|window| window.starts_with(STEM.as_bytes()));
            let found: BTreeSet<_> = canaries.map(|window| String::from_utf8_lossy(window).into_owned()).collect();
            // Its own canary is found, so the search works; no other is.
            assert_eq!(found, BTreeSet::from([canary(tenant)]), "{key}");
        }
        objects += keys.len();
    }
    assert_eq!(objects, test_store.keys().len(), "every object lies below a tenant's prefix");
    assert_eq!(test_store.unfinished_uploads(), 0);
    Ok(())
}

/// The error of an Init under `grant`.
async fn denied(grant: Grant, change: Value) -> String {
    let test_store = test_store(BUCKET);
    let destination = Destination::new(runtime(), options(&test_store, Tenant::new("acme", grant)));
    let spec = crate::fixtures::proxied_store::laid_over(spec("acme/{{TABLE}}/{{UUID}}.csv", "csv"), change);
    let error = destination.open(&spec.to_string(), "sync").await.expect_err("denied");
    assert!(matches!(error, OpenError::Denied(_)), "{error:?}");
    assert_eq!(test_store.keys(), [""; 0]);
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_does_not_choose_what_is_not_granted() {
    let whole = || grant("acme/");
    for (change, expected) in [
        (json!({"bucket": "other"}), "\"other\" is not granted; `buckets` are [\"served\"]"),
        (json!({"bucket": "arn:aws:s3:us-east-1:1:accesspoint/served"}), "is not granted; `buckets`"),
        (json!({"region": "eu-west-1"}), "`region`"),
        (json!({"endpoint": "http://127.0.0.1:9"}), "does not choose where requests go"),
        (json!({"endpoint": "http://127.0.0.1:9", "endpoint_skip_tls_verify": true}), "`endpoint_skip_tls_verify` is not granted"),
        (json!({"use_path_style": true}), "`use_path_style` is not granted"),
        (json!({"local_profile": "root"}), "does not choose credentials"),
        (json!({"credentials": {"role_arn": "arn:aws:iam::1:role/root"}}), "does not choose credentials"),
        (json!({"part_size": 5 << 20}), "`max_part_bytes` is not granted"),
        (json!({"max_retries": 1_000}), "`max_retries` is not granted"),
        (json!({"max_backoff": 31}), "31 is asked for; 30 are granted"),
        (json!({"aws_debug": true}), "`aws_debug` is not granted"),
        (json!({"acl": "public-read"}), "`acls`"),
        (json!({"content_type": "text/html"}), "`content_types`"),
        (json!({"server_side_encryption_configuration": {"server_side_encryption": "AES256"}}), "`encryption`"),
        (json!({"test_write": true, "path": "beta/{{TABLE}}/{{UUID}}.csv"}), "is outside the granted prefixes"),
    ] {
        let said = denied(whole(), change.clone()).await;
        assert!(said.contains(expected), "{change}: {said}");
    }
    let said = denied(whole(), json!({"bucket": "other", "aws_debug": true})).await;
    assert_eq!(said.lines().count(), 2, "every broken rule at once: {said}");
}

/// Writes `table` under `grant`; returns its failure, if any, and the keys in the bucket.
async fn write_one(grant: Grant, path: &str, table: &str, rows: i64) -> (Option<(FailureClass, String)>, Vec<String>) {
    let test_store = test_store(BUCKET);
    let destination = Destination::new(runtime(), options(&test_store, Tenant::new("acme", grant)));
    let session = destination.open(&spec(path, "csv").to_string(), "sync").await.expect("opens");
    let mut write = session.write().expect("no write is running");
    write.insert(ids(table, 0..rows).into()).await.expect("a good header");
    let report = write.finish().await;
    assert_eq!(test_store.unfinished_uploads(), 0);
    let failure = report.failures().next().map(|(_, failure)| (failure.class, failure.message.clone()));
    (failure, test_store.keys())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendered_key_stays_below_the_prefix() {
    let whole = || grant("acme/");
    let path = "{{TABLE}}/{{UUID}}.csv";
    assert_eq!(write_one(whole(), &format!("acme/{path}"), "t", 3).await.0, None);
    for (path, table) in [
        (path, "beta"),
        (path, "acme2"),
        (path, "acme/../beta"),
        ("acme{{TABLE}}/{{UUID}}.csv", "2"),
        ("acme/{{TABLE}}/{{UUID}}.csv", "../beta"),
    ] {
        let (failure, keys) = write_one(whole(), path, table, 3).await;
        let (class, message) = failure.unwrap_or_else(|| panic!("{path} {table}: {keys:?}"));
        assert!(matches!(class, FailureClass::Denied | FailureClass::Data), "{path} {table}: {class:?} {message}");
        assert_eq!(keys, [""; 0], "{path} {table}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_days_are_bounded() {
    let path = "acme/{{TABLE}}/{{UUID}}.csv";
    // "id\n" and ten rows of two bytes.
    assert_eq!(write_one(Grant { max_object_bytes: Some(23), ..grant("acme/") }, path, "t", 10).await.0, None);
    for (grant, expected) in [
        (Grant { max_object_bytes: Some(22), ..grant("acme/") }, "more than 22 bytes is not granted"),
        (Grant { daily_bytes: Some(22), ..grant("acme/") }, "22 bytes a day are granted"),
        (Grant { daily_objects: Some(0), ..grant("acme/") }, "0 objects a day are granted"),
    ] {
        let (failure, keys) = write_one(grant, path, "t", 10).await;
        let (class, message) = failure.expect("over the bound");
        assert!(class == FailureClass::Denied && message.contains(expected), "{class:?} {message}");
        assert_eq!(keys, [""; 0]);
    }
}

/// A daily quota spans sessions, and objects that were not stored do not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_counted_over_sessions() -> Result<()> {
    let test_store = test_store(BUCKET);
    let tenant = Tenant::new("acme", Grant { daily_objects: Some(2), max_sessions: Some(2), ..grant("acme/") });
    let destination = Destination::new(runtime(), options(&test_store, tenant));
    for (round, good) in [true, true, false].into_iter().enumerate() {
        let session = destination.open(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv").to_string(), "sync").await?;
        let mut gone = session.write()?;
        gone.insert(ids("gone", 0..3).into()).await?;
        gone.abort().await;
        let session = destination.open(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv").to_string(), "sync").await?;
        let mut write = session.write()?;
        write.insert(ids("t", 0..3).into()).await?;
        assert_eq!(write.finish().await.failures().count() == 0, good, "round {round}");
    }
    assert_eq!(test_store.keys().len(), 2);
    Ok(())
}

/// An attacker's guest is restricted to the same keys: the host decides, whatever the guest renders.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_guest_is_held_to_the_prefix() -> Result<()> {
    let test_store = test_store("hostile");
    let grant = Grant { buckets: vec!["hostile".into()], path_style: true, max_retries: Some(0), ..grant("acme/") };
    let destination = Destination::new(hostile::runtime(), options(&test_store, Tenant::new("acme", grant)));
    let session = destination.open("{}", "sync").await?;
    let mut write = session.write()?;
    for (table, key) in [("own", "acme/own"), ("stolen", "beta/stolen"), ("near", "acme2/x"), ("up", "acme/../beta/x")] {
        write.insert(hostile::message(table, "ok", 3, Some(key))).await?;
    }
    let report = write.finish().await;
    let failed: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class)).collect();
    assert_eq!(failed, [("stolen", FailureClass::Denied), ("near", FailureClass::Denied), ("up", FailureClass::Data)]);
    assert_eq!(test_store.keys(), ["acme/own"]);
    Ok(())
}

/// A tenant whose guest traps repeatedly has to wait; another tenant does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_traps_again_and_again_is_kept_waiting() -> Result<()> {
    let test_store = test_store("hostile");
    let grant = || Grant { buckets: vec!["hostile".into()], path_style: true, max_retries: Some(0), ..grant("") };
    let (bad, good) = (Tenant::new("bad", grant()), Tenant::new("good", grant()));
    let tally = bad.metrics.clone();
    let [bad, good] = [bad, good].map(|tenant| Destination::new(hostile::runtime(), options(&test_store, tenant)));
    for round in 0..4 {
        let session = bad.open("{}", "sync").await?;
        let mut write = session.write()?;
        write.insert(hostile::message("t", "trap", 3, None)).await?;
        assert_eq!(write.finish().await.failures().count(), 1, "round {round}");
    }
    let error = bad.open("{}", "sync").await.expect_err("it has to wait");
    assert!(error.to_string().starts_with("the component has trapped 4 times; it can be started again in "), "{error}");
    let reading = tally.read();
    assert_eq!((reading.traps, reading.denials.get("quarantine"), reading.sessions), (4, Some(&1), 0));

    let session = good.open("{}", "sync").await?;
    let mut write = session.write()?;
    write.insert(hostile::message("t", "ok", 3, None)).await?;
    assert_eq!(write.finish().await.failures().count(), 0);
    // It is a delay, not a ban.
    tokio::time::sleep(Duration::from_secs(2)).await;
    bad.open("{}", "sync").await?;
    Ok(())
}

/// The delay also applies within a session, since a guest can be started without a new session.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_traps_again_and_again_is_kept_waiting_within_its_session() -> Result<()> {
    let test_store = test_store("hostile");
    let grant = Grant { buckets: vec!["hostile".into()], path_style: true, max_retries: Some(0), ..grant("") };
    let tenant = Tenant::new("bad", grant);
    let tally = tenant.metrics.clone();
    let session = Destination::new(hostile::runtime(), options(&test_store, tenant)).open("{}", "sync").await?;
    let mut write = session.write()?;
    for table in ["a", "b", "c", "d", "e", "f"] {
        write.insert(hostile::message(table, "trap", 3, None)).await?;
    }
    let report = write.finish().await;
    let failures: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class, failure.message.as_str())).collect();
    let classes: Vec<_> = failures.iter().map(|(_, class, _)| *class).collect();
    assert_eq!(classes, [[FailureClass::Unexpected; 4].as_slice(), &[FailureClass::Denied; 2]].concat(), "{failures:?}");
    assert!(failures[5].2.starts_with("the component has trapped 4 times; it can be started again in "), "{failures:?}");
    assert_eq!((tally.read().traps, tally.read().denials.get("quarantine")), (4, Some(&2)));
    Ok(())
}

/// The schema is a constant of the component: it is asked for once, at the cost of who asks, and a component that will not tell it ends like
/// any other that misbehaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_asked_for_its_schema_within_limits_and_once() -> Result<()> {
    const SHORT: Duration = Duration::from_millis(200);
    let test_store = test_store("hostile");
    let asked = |runtime, name: &str| {
        let tenant = Tenant::new(name, grant(""));
        let (share, tally) = (tenant.share.clone(), tenant.metrics.clone());
        (Destination::new(runtime, options(&test_store, tenant)), share, tally)
    };
    let (destination, share, _) = asked(hostile::with_schema("", SHORT)?, "good");
    assert_eq!(&*destination.spec_schema().await?, r#"{"title":"asked for a schema it answers."}"#);
    let computed = share.account.computed();
    assert!(computed > Duration::ZERO);
    for _ in 0..10 {
        destination.spec_schema().await?;
    }
    assert_eq!((share.account.computed(), share.budget.used_bytes()), (computed, 0));

    let (destination, share, tally) = asked(hostile::with_schema("does-spin", SHORT)?, "bad");
    for _ in 0..4 {
        let error = destination.spec_schema().await.expect_err("it never ends");
        assert_eq!(error.to_string(), "the component computed for more than 200ms in one call");
    }
    let error = destination.spec_schema().await.expect_err("it has to wait");
    assert!(error.to_string().starts_with("the component has trapped 4 times; it can be started again in "), "{error}");
    assert_eq!((tally.read().traps, tally.read().denials.get("quarantine")), (4, Some(&1)));
    assert!(share.account.computed() >= SHORT * 3, "{:?}", share.account.computed());

    let (destination, ..) = asked(hostile::with_schema("does-shout", Duration::from_secs(15))?, "loud");
    let error = destination.spec_schema().await.expect_err("too much");
    assert_eq!(error.to_string(), "the component's schema of the spec has 1048577 bytes; up to 1048576 are accepted");
    Ok(())
}

/// A process that serves tenants.
pub(crate) struct TenantServer {
    pub(crate) child: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) status: SocketAddr,
}

/// A tenants file with two tenants; `DIR` is the folder of their sockets.
pub(crate) const FILE: &str = r#"
[tenants.acme]
listen = { socket = "DIR/acme.sock" }
[tenants.acme.grant]
buckets = ["served"]
key_prefixes = ["acme/"]
region = "us-east-1"
formats = ["csv"]
content_types = ["text/csv", "application/json"]

[tenants.beta]
listen = { socket = "DIR/beta.sock", socket_mode = "0660" }
machine = { lanes = 1 }
[tenants.beta.grant]
buckets = ["served"]
key_prefixes = ["beta/"]
region = "us-east-1"
formats = ["csv", "json"]
content_types = ["text/csv", "application/json"]
"#;

fn file_of_tenants() -> Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let file = write_file(folder.path(), FILE)?;
    Ok((folder, file))
}

/// Writes the tenants file, with sockets in `folder`.
pub(crate) fn write_file(folder: &Path, text: &str) -> Result<PathBuf> {
    let file = folder.join("tenants.toml");
    std::fs::write(&file, text.replace("DIR", &folder.display().to_string()))?;
    Ok(file)
}

impl TenantServer {
    pub(crate) async fn start() -> Result<Self> {
        Self::locally(FILE).await
    }

    /// Serves the tenants of `file` on the embedded store.
    pub(crate) async fn locally(file: &str) -> Result<Self> {
        Self::with(file, |command, folder| {
            command.arg("--local").arg(folder.join("store"));
        })
        .await
    }

    /// Serves the tenants of `file`, each at the socket `DIR/NAME.sock`.
    pub(crate) async fn with(file: &str, change: impl FnOnce(&mut Command, &Path)) -> Result<Self> {
        let names = file.lines().filter_map(|line| line.strip_prefix("[tenants.")?.strip_suffix(']')).filter(|name| !name.contains('.'));
        Self::waiting_for(file, &names.collect::<Vec<_>>(), change).await
    }

    /// As [`TenantServer::with`], but only waits for the sockets of these tenants.
    pub(crate) async fn waiting_for(file: &str, names: &[&str], change: impl FnOnce(&mut Command, &Path)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = write_file(folder.path(), file)?;
        let status = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut command = Command::new(PLUGIN);
        command.args(["serve", "--log-format", "json", "--status", &status.to_string(), "--tenants"]).arg(&path);
        change(&mut command, folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn()?;
        let sockets: Vec<_> = names.iter().map(|name| folder.path().join(format!("{name}.sock"))).collect();
        eventually("the sockets are there", || sockets.iter().all(|socket| socket.exists())).await;
        Ok(Self { child, folder, status })
    }

    pub(crate) async fn connect(&self, tenant: &str) -> Result<Client> {
        let socket = format!("unix:{}", self.folder.path().join(format!("{tenant}.sock")).display());
        Ok(Client(PluginClient::new(Endpoint::from_shared(socket)?.connect().await?)))
    }

    /// The response of the status listener: status line, headers and body.
    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        let mut socket = TcpStream::connect(self.status).await?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.status).as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Stops the process; returns the lines of its log.
    pub(crate) async fn stop(self) -> Result<(Vec<Value>, tempfile::TempDir)> {
        let id = self.child.id().context("it runs")?;
        assert!(Command::new("kill").args(["-TERM", &id.to_string()]).status().await?.success());
        let output = self.child.wait_with_output().await?;
        assert_eq!((output.status.code(), String::from_utf8(output.stderr)?.as_str()), (Some(0), ""));
        let log = String::from_utf8(output.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok((log, self.folder))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_each_tenant_at_its_own_place() -> Result<()> {
    let served = TenantServer::start().await?;
    for (socket, mode) in [("acme.sock", 0o600), ("beta.sock", 0o660)] {
        let found = std::fs::metadata(served.folder.path().join(socket))?.permissions().mode() & 0o777;
        assert_eq!(found, mode, "{socket}: {found:o}");
    }
    let (mut acme, mut beta) = (served.connect("acme").await?, served.connect("beta").await?);
    // Both at once: neither is `already in use` for the other.
    acme.init(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv")).await.map_err(anyhow::Error::from)?;
    beta.round(&spec("beta/{{TABLE}}/{{UUID}}.json", "json"), [Message::Insert(ids("b", 0..2).into())]).await?;
    acme.close().await?;
    let no_rotate = crate::fixtures::proxied_store::laid_over(spec("acme/{{TABLE}}.csv", "csv"), json!({"no_rotate": true}));
    acme.round(&no_rotate, [Message::Insert(ids("a", 0..2).into())]).await?;
    // Acme's client uses beta's spec.
    let status = acme.init(&spec("beta/{{TABLE}}/{{UUID}}.json", "json")).await.expect_err("acme may not write json");
    assert!(status.message().contains("\"json\" is not granted"), "{status:?}");
    let thief = acme.round(&spec("beta/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("c", 0..2).into())]).await;
    let said = thief.expect_err("not acme's prefix");
    assert!(said.message().contains("is outside the granted prefixes [\"acme/\"]"), "{said:?}");
    drop((acme, beta));

    for path in ["/healthz", "/readyz"] {
        assert!(served.get(path).await?.starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert!(served.get("/elsewhere").await?.starts_with("HTTP/1.1 404 "));
    let metrics = served.get("/metrics").await?;
    for line in [
        "lakegate_objects_total{tenant=\"acme\"} 1",
        "lakegate_rows_total{tenant=\"beta\"} 2",
        "lakegate_denials_total{tenant=\"acme\",rule=\"formats\"} 1",
        "lakegate_denials_total{tenant=\"acme\",rule=\"key_prefixes\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let page = served.get("/").await?;
    assert!(page.contains("content-security-policy: default-src 'none'") && page.contains("<td>acme<td>"), "{page}");
    assert!(page.contains("is outside the granted prefixes [&quot;acme/&quot;]"), "{page}");

    let (log, folder) = served.stop().await?;
    let store = LocalStore::open(&folder.path().join("store"))?;
    let keys: Vec<String> = store.records(BUCKET, "")?.into_iter().map(|record| record.key).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys.contains(&"acme/a.csv".to_owned()) && keys.iter().any(|key| key.starts_with("beta/b/")), "{keys:?}");
    let audit = |decision: &str, tenant: &str| {
        let fits = |line: &&Value| line["decision"] == decision && line["tenant"] == tenant;
        log.iter().filter(fits).map(|line| line["rule"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(audit("stored", "acme"), ["key_prefixes"], "{log:?}");
    assert_eq!(audit("stored", "beta"), ["key_prefixes"]);
    assert_eq!(audit("denied", "acme"), ["formats", "key_prefixes"]);
    assert!(log.iter().all(|line| (line["target"] == "lakegate::audit") == line["decision"].is_string()), "{log:?}");
    assert_eq!(audit("denied", "beta"), [""; 0]);
    let stored = log.iter().find(|line| line["decision"] == "stored" && line["tenant"] == "acme").context("acme's object")?;
    assert_eq!((&stored["key"], stored["bytes"].as_u64(), stored["rows"].as_u64()), (&json!("acme/a.csv"), Some(7), Some(2)));
    Ok(())
}

/// Runs the command line to its end; returns code and stdout, then stderr.
async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(PLUGIN).args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).output().await?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_tenants_can_be_checked_and_explained() -> Result<()> {
    let (folder, file) = file_of_tenants()?;
    let file = file.to_str().context("a name in UTF-8")?;
    let (code, said, _) = run(&["policy", "check", file], &[]).await?;
    assert_eq!(code, Some(0));
    assert!(said.contains("acme: listens on") && said.contains("puts beta/* into served of us-east-1 at AWS"), "{said}");
    assert!(!said.contains("warning"), "{said}");

    let spec_file = folder.path().join("spec.yml");
    let explain = async |spec: &Value| -> Result<_> {
        std::fs::write(&spec_file, spec.to_string())?;
        run(&["policy", "explain", file, "--tenant", "acme", "--spec", spec_file.to_str().context("UTF-8")?], &[]).await
    };
    let (code, said, _) = explain(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv")).await?;
    assert_eq!((code, said.lines().next()), (Some(0), Some("allowed: csv as text/csv into served of us-east-1 at AWS")));
    let other = crate::fixtures::proxied_store::laid_over(spec("acme/{{TABLE}}/{{UUID}}.json", "json"), json!({"local_profile": "root"}));
    let (code, said, _) = explain(&other).await?;
    assert_eq!((code, said.lines().count()), (Some(4), 2), "{said}");
    assert!(said.starts_with("denied by formats: ") && said.contains("\ndenied by credentials: "), "{said}");

    std::fs::write(file, FILE.replace("formats = [\"csv\"]", "formats = [\"csv\"]\nmax_bytes = 1"))?;
    for command in [vec!["policy", "check", file], vec!["serve", "--tenants", file]] {
        let (code, _, said) = run(&command, &[]).await?;
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("unknown field `max_bytes`"), "{said}");
    }
    Ok(())
}

/// Calls other than Write accept only a spec's size.
#[tokio::test(flavor = "multi_thread")]
async fn a_spec_is_not_as_large_as_a_message_of_rows() -> Result<()> {
    let served = TenantServer::start().await?;
    let mut acme = served.connect("acme").await?;
    let large = |bytes: usize| {
        crate::fixtures::proxied_store::laid_over(spec("acme/{{TABLE}}/{{UUID}}.csv", "csv"), json!({"more": "x".repeat(bytes)}))
    };
    let said = acme.init(&large(2 << 20)).await.expect_err("too large");
    assert_eq!(said.code(), tonic::Code::OutOfRange, "{said:?}");
    acme.init(&large(1 << 19)).await?;
    let rows = ids("a", 0..500_000);
    assert!(rows.len() > 3 << 20);
    acme.round(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(rows.into())]).await?;
    drop(acme);
    served.stop().await?;
    Ok(())
}

/// What the operator has to fix is reported to the operator; audit lines are logged at any log level.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_hears_nothing_of_its_operators_credentials() -> Result<()> {
    let profile =
        "listen = { socket = \"DIR/acme.sock\" }\ncredentials = { file = \"DIR/operators-file\", profile = \"operators-profile\" }";
    let served = TenantServer::with(&FILE.replacen("listen = { socket = \"DIR/acme.sock\" }", profile, 1), |command, _| {
        command.args(["--log-level", "error"]);
    })
    .await?;
    let mut acme = served.connect("acme").await?;
    let said = acme.init(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv")).await.expect_err("no such profile");
    let expected = "failed to init plugin: failed to initialize client: the credentials of this tenant cannot be had; the operator's log has \
                 the cause under reference ";
    let reference = said.message().strip_prefix(expected).with_context(|| format!("{said:?}"))?;
    acme.init(&spec("acme/{{TABLE}}/{{UUID}}.json", "json")).await.expect_err("not granted");
    drop(acme);
    let (log, _) = served.stop().await?;
    let cause = log.iter().find(|line| line["message"] == "A tenant's credentials cannot be had.").context("the cause")?;
    assert_eq!(cause["reference"], reference);
    assert!(cause["tenant"] == "acme" && cause["error"].as_str().is_some_and(|error| error.contains("operators-profile")), "{cause}");
    let denied = log.iter().find(|line| line["target"] == "lakegate::audit").context("the denial")?;
    assert_eq!((&denied["rule"], &denied["level"]), (&json!("formats"), &json!("warn")));
    Ok(())
}

/// Each connection and each request needs a file descriptor, and the default limit of shells is low.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_as_many_files_as_it_may() -> Result<()> {
    let (folder, file) = file_of_tenants()?;
    let script = "ulimit -Sn 64; ulimit -Hn 512; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, PLUGIN, "serve", "--tenants"]).arg(&file).arg("--local").arg(folder.path().join("store"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
    eventually("it listens", || folder.path().join("beta.sock").exists()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id().context("it runs")?))?;
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("a limit")?;
    assert_eq!(files.split_whitespace().take(2).collect::<Vec<_>>(), ["512", "512"]);
    Ok(())
}

/// A server that always answers 502; records the request lines.
async fn refusing() -> Result<(SocketAddr, Arc<Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (address, asked) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
    let lines = asked.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut socket = BufReader::new(socket);
            let mut line = String::new();
            if socket.read_line(&mut line).await.is_ok() {
                lines.lock().expect("no panic").push(line.trim_end().to_owned());
                let _gone = socket.write_all(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            }
        }
    });
    Ok((address, asked))
}

/// Environment variables that would redirect tenants' objects and credential requests are ignored: they go to AWS, as seen by a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_redirects_requests_is_ignored() -> Result<()> {
    let (elsewhere, redirected) = refusing().await?;
    let (proxy, tunnels) = refusing().await?;
    let names = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"];
    let role = "listen = { socket = \"DIR/beta.sock\", socket_mode = \"0660\" }\ncredentials = { role_arn = \"arn:aws:iam::1:role/beta\" }";
    let file = FILE
        .replace("listen = { socket = \"DIR/beta.sock\", socket_mode = \"0660\" }", role)
        .replace("region =", "max_retries = 0\nregion =");
    let mut served = TenantServer::with(&file, |command, _| {
        command.envs(names.map(|name| (name, format!("http://{elsewhere}")))).env("HTTPS_PROXY", format!("http://{proxy}"));
        command.env("AWS_ACCESS_KEY_ID", "AKIDENV").env("AWS_SECRET_ACCESS_KEY", "secret");
    })
    .await?;
    let once = |path: &str, format: &str| crate::fixtures::proxied_store::laid_over(spec(path, format), json!({"max_retries": 0}));
    let put =
        served.connect("acme").await?.round(&once("acme/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("a", 0..2).into())]).await;
    let put = put.expect_err("nobody is there").to_string();
    let assume = served.connect("beta").await?.init(&once("beta/{{TABLE}}/{{UUID}}.json", "json")).await;
    let assume = assume.expect_err("nobody is there").to_string();
    let seen: BTreeSet<String> = tunnels.lock().expect("no panic").iter().cloned().collect();
    let to = |host: &str| seen.contains(&format!("CONNECT {host}:443 HTTP/1.1"));
    assert!(to("served.s3.us-east-1.amazonaws.com") && to("sts.us-east-1.amazonaws.com"), "{seen:?}; {put}; {assume}");
    assert_eq!(*redirected.lock().expect("no panic"), [""; 0]);

    served.child.start_kill()?;
    let mut said = String::new();
    served.child.stderr.take().context("piped")?.read_to_string(&mut said).await?;
    for name in names {
        assert!(said.contains(&format!("Warning: {name} is ignored")), "{said}");
    }
    Ok(())
}
