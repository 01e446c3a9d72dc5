//! What one tenant could take from others or learn about its operator: a log that is not read, memory outside its budget, error messages of a store,
//! a truncated tenants file.

use crate::fixtures::proxied_store::{BUCKET, eventually};
use crate::tenancy::tenants::{FILE, TenantServer, spec, write_file};
use anyhow::{Context, Result};
use lakegate_local_store::LocalStore;
use lakegate_tests::plugin::Message;
use lakegate_tests::tables::{Table, ids};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

const CSV: &str = "acme/{{TABLE}}/{{UUID}}.csv";

/// Each row becomes an object, and thus a line in the audit log.
fn by_the_row(path: &str) -> Value {
    crate::fixtures::proxied_store::laid_over(spec(path, "csv"), json!({"batch_size": 1}))
}

async fn signal(served: &TenantServer, name: &str) -> Result<()> {
    let id = served.child.id().context("it runs")?;
    assert!(Command::new("kill").args([name, &id.to_string()]).status().await?.success());
    Ok(())
}

/// Beta's files as CSV.
fn file() -> String {
    FILE.replace("formats = [\"csv\", \"json\"]", "formats = [\"csv\"]")
}

/// Waits until no more objects of acme are stored; returns their number.
async fn landed(served: &TenantServer) -> Result<usize> {
    let store = LocalStore::open(&served.folder.path().join("store"))?;
    let landed = || store.records(BUCKET, "acme/").map_or(0, |records| records.len());
    let mut before = 0;
    while before == 0 || landed() > before {
        before = landed();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    Ok(before)
}

/// Waits until acme is blocked in the middle of its objects.
async fn until_it_waits(served: &TenantServer) -> Result<()> {
    let landed = landed(served).await?;
    assert!(landed < LINES as usize, "{landed}: all have landed");
    Ok(())
}

/// Queued log lines other than audit lines, as in the resource ledger.
const QUEUE: usize = 4_096;

/// More lines than fit in a pipe and a tenant's quota.
const LINES: i64 = 6_000;

/// More lines than fit in a pipe of 64 KiB and the queue.
const REQUESTS: i64 = 4_600;

/// The log is not read. Only the tenant that filled it waits; and once it is read, no audit line is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_the_tenant_that_fills_it_alone() -> Result<()> {
    let mut served = TenantServer::locally(&file()).await?;
    let (mut acme, mut beta) = (served.connect("acme").await?, served.connect("beta").await?);
    acme.init(&by_the_row(CSV)).await?;
    let noisy = tokio::spawn(async move { acme.write([Message::Insert(ids("n", 0..LINES).into())]).await });
    until_it_waits(&served).await?;
    assert!(!noisy.is_finished(), "it was to wait");

    let others = async {
        for _ in 0..3 {
            beta.round(&spec("beta/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("q", 0..10).into())]).await?;
            assert!(served.get("/healthz").await?.starts_with("HTTP/1.1 200 "));
        }
        let metrics = served.get("/metrics").await?;
        assert!(metrics.contains("lakegate_audit_lines_left_out_total{tenant=\"acme\"} 0\n"), "{metrics}");
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), others).await.context("the others wait")??;

    let mut log = BufReader::new(served.child.stdout.take().context("piped")?).lines();
    let reading = tokio::spawn(async move {
        let mut stored = 0;
        while let Ok(Some(line)) = log.next_line().await {
            let line: Value = serde_json::from_str(&line)?;
            stored += i64::from(line["decision"] == "stored" && line["tenant"] == "acme");
        }
        anyhow::Ok(stored)
    });
    noisy.await?.context("it goes on where it waited")?;
    drop(beta);
    served.stop().await?;
    assert_eq!(reading.await??, LINES);
    Ok(())
}

/// The process does not wait for a reader when it ends, however much is queued.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_does_not_hold_up_the_end() -> Result<()> {
    let mut served = TenantServer::locally(&file()).await?;
    let mut acme = served.connect("acme").await?;
    acme.init(&by_the_row(CSV)).await?;
    let noisy = tokio::spawn(async move { acme.write([Message::Insert(ids("n", 0..LINES).into())]).await });
    until_it_waits(&served).await?;
    assert!(!noisy.is_finished(), "it was to wait");
    signal(&served, "-TERM").await?;
    let ended = tokio::time::timeout(Duration::from_secs(15), served.child.wait()).await.context("it does not end")??;
    assert_eq!(ended.code(), Some(0));
    noisy.await?.expect_err("it was cut off");
    Ok(())
}

/// Other lines have no reserved space: once pipe and queue are full, they are dropped without blocking anyone, neither the neighbour, the status page
/// nor the shutdown. Dropped lines are counted and reported.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_nobody_reads_are_left_out_and_hold_up_nobody() -> Result<()> {
    // A log line for each of an endless number of store requests.
    let text = file().replacen("region = ", "request_log = true\nregion = ", 1);
    let mut served = TenantServer::with(&text, |command, folder| {
        command.args(["--log-level", "debug", "--local"]).arg(folder.join("store")).arg("--audit-log").arg(folder.join("audit.log"));
    })
    .await?;
    let (mut acme, mut beta) = (served.connect("acme").await?, served.connect("beta").await?);
    let requests = crate::fixtures::proxied_store::laid_over(by_the_row(CSV), json!({"aws_debug": true}));
    acme.init(&requests).await?;
    let noisy = tokio::spawn(async move {
        acme.write([Message::Insert(ids("n", 0..REQUESTS).into())]).await?;
        Ok::<_, tonic::Status>(acme)
    });
    landed(&served).await?;
    let others = async {
        beta.round(&spec("beta/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("q", 0..10).into())]).await?;
        assert!(served.get("/healthz").await?.starts_with("HTTP/1.1 200 "));
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), others).await.context("the others wait")??;
    let mut acme = tokio::time::timeout(Duration::from_secs(90), noisy).await.context("it waits for the reader of its lines")???;

    // The first reader gets the queued lines, then the number of dropped ones.
    let mut log = BufReader::new(served.child.stdout.take().context("piped")?).lines();
    let (mut waited, mut left_out) = (0, None);
    while left_out.is_none() {
        let line =
            tokio::time::timeout(Duration::from_secs(30), log.next_line()).await.context("nothing is said of what was left out")??;
        let line: Value = serde_json::from_str(&line.context("it runs")?)?;
        left_out =
            line["left_out"].as_u64().filter(|_| line["message"].as_str().is_some_and(|said| said.starts_with("Lines were left out")));
        waited += 1;
    }
    assert!(left_out > Some(0), "{left_out:?}");
    while let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::from_secs(1), log.next_line()).await {
        waited += 1;
    }
    assert!(waited > QUEUE, "{waited} lines: the queue was never full");

    // Once more, and then the process is stopped.
    acme.write([Message::Insert(ids("n", 0..REQUESTS).into())]).await?;
    signal(&served, "-TERM").await?;
    let ended = tokio::time::timeout(Duration::from_secs(15), served.child.wait()).await.context("it does not end")??;
    assert_eq!(ended.code(), Some(0));
    drop(log);
    Ok(())
}

/// Audit lines in a separate file that is rotated.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_can_be_a_file_that_the_operator_rotates() -> Result<()> {
    let served = TenantServer::with(&file(), |command, folder| {
        command.arg("--local").arg(folder.join("store")).arg("--audit-log").arg(folder.join("audit.log"));
    })
    .await?;
    let (path, old) = (served.folder.path().join("audit.log"), served.folder.path().join("audit.log.1"));
    let mut acme = served.connect("acme").await?;
    acme.round(&spec(CSV, "csv"), [Message::Insert(ids("one", 0..2).into())]).await?;
    acme.init(&spec(CSV, "json")).await.expect_err("not granted");
    std::fs::rename(&path, &old)?;
    signal(&served, "-HUP").await?;
    // The next line opens it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    acme.round(&spec(CSV, "csv"), [Message::Insert(ids("two", 0..2).into())]).await?;
    eventually("it is opened anew", || path.exists()).await;
    drop(acme);
    let (log, _folder) = served.stop().await?;
    assert!(log.iter().all(|line| line["target"] != "lakegate::audit"), "{log:?}");
    let lines =
        |path| -> Result<Vec<Value>> { Ok(std::fs::read_to_string(path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?) };
    let (before, after) = (lines(&old)?, lines(&path)?);
    let decisions: Vec<_> = before.iter().chain(&after).map(|line| line["decision"].as_str().unwrap_or_default()).collect();
    assert_eq!((before.len(), decisions), (2, vec!["stored", "denied", "stored"]));
    let line = &after[0];
    assert!(line["key"].as_str().is_some_and(|key| key.starts_with("acme/two/")) && line["tenant"] == "acme", "{line}");
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), "{line}");
    Ok(())
}

/// Peak memory of the process, in bytes.
fn peak(served: &TenantServer) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.child.id().context("it runs")?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("Linux")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// Memory of one tenant in the next test.
const BUDGET: u64 = 40 << 20;

/// Memory that is not accounted for: connection buffers, stacks, allocator overhead.
const SLACK: u64 = 24 << 20;

/// Everything that grows with a tenant's input is driven to its limit: table names kept between writes, failures, schemas, objects.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "figures that the notes quote")]
async fn all_that_grows_with_a_tenants_input_stays_within_its_budget() -> Result<()> {
    let machine = format!(
        "listen = {{ socket = \"DIR/acme.sock\" }}\nmachine = {{ lanes = 1, memory_bytes = 1048576, in_flight_bytes = 1048576, \
         guest_memory_bytes = {}, budget_bytes = {BUDGET} }}",
        16 << 20
    );
    let text = FILE.replacen("listen = { socket = \"DIR/acme.sock\" }", &machine, 1);
    let text = text.replacen("formats = [\"csv\"]", "formats = [\"csv\"]\nmax_message_bytes = 262144", 1);
    // Its stdout is not read.
    let served = TenantServer::with(&text, |command, folder| {
        command.arg("--local").arg(folder.join("store")).arg("--audit-log").arg(folder.join("audit.log"));
    })
    .await?;
    let mut acme = served.connect("acme").await?;
    let small = |table: &str| Message::Insert(ids(table, 0..1).into());
    acme.round(&spec(CSV, "csv"), [small("first")]).await?;
    let base = peak(&served)?;
    let grown = |what: &str| -> Result<()> {
        let grown = peak(&served)?.saturating_sub(base);
        eprintln!("{what}: {} MiB", grown >> 20);
        assert!(grown < BUDGET + SLACK, "{what}: the process has grown by {grown} bytes");
        Ok(())
    };

    // Refused messages about tables with long names, which do not reach the guest.
    let name = |round: usize, number: usize| format!("{round:04}-{number:07}-{}", "n".repeat(4_000));
    acme.init(&spec(CSV, "csv")).await?;
    for round in 0..3 {
        let said = acme.write((0..20_000).map(move |number| Message::DeleteStale(name(round, number)))).await.expect_err("refused");
        assert!(said.message().contains("the tenant has for all sessions are used"), "{said:?}");
        acme.close().await?;
        acme.init(&spec(CSV, "csv")).await?;
    }
    grown("names of refused messages")?;

    // Tables that are known from one write to the next.
    for round in 0..8 {
        let few = (0..400).map(move |number| Message::Migrate(migrate(&format!("{round}-{number}-{}", "n".repeat(3_000)), 0)));
        // It may fail: only the memory matters here.
        let _either = acme.write(few).await;
    }
    grown("names from write to write")?;

    // One table with ever new schemas.
    acme.close().await?;
    acme.init(&spec(CSV, "csv")).await?;
    let _either = acme.write((0..700).map(|number| Message::Migrate(migrate(&format!("schemas-{number}"), 60 << 10)))).await;
    grown("schemas")?;

    // Objects of a row each.
    acme.close().await?;
    acme.init(&by_the_row("acme/{{TABLE}}/{{UUID}}")).await?;
    let table = "t".repeat(900);
    acme.write((0..20).map(move |_| Message::Insert(ids(&table, 0..200).into()))).await?;
    grown("objects")?;
    drop(acme);
    let metrics = served.get("/metrics").await?;
    assert!(metrics.contains("lakegate_objects_total{tenant=\"acme\"} 4001\n"), "{metrics}");
    drop(served);
    Ok(())
}

/// A schema of a table with so many bytes of metadata.
fn migrate(table: &str, bytes: usize) -> bytes::Bytes {
    let ids = Arc::new(arrow_array::Int64Array::from_iter_values(0..1));
    Table::new(table).column("id", ids).metadata("more", &"m".repeat(bytes)).migrate_ipc().expect("a schema").into()
}

const ROW: &str = "canary-in-a-row";
const ROLE: &str = "canary-of-the-operators-role";
const KEY_ID: &str = "canary-key-id";
const SECRET: &str = "canary-secret-key";

/// A store that refuses everything and leaks what it should not: the role, keys, and what it was sent.
async fn talkative() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut request, mut chunk) = (Vec::new(), [0; 1 << 14]);
                // Read to the end of the headers, and then the announced length.
                let length = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
                    let (head, _) = text.split_once("\r\n\r\n")?;
                    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
                    Some(head.len() + 4 + line.trim().parse::<usize>().ok()?)
                };
                while length(&request).is_none_or(|length| request.len() < length) {
                    match socket.read(&mut chunk).await {
                        Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                        _ => return,
                    }
                }
                // It only repeats row content that it was sent.
                let row = if String::from_utf8_lossy(&request).contains(ROW) { ROW } else { "it" };
                let said = format!(
                    "<Error><Code>AccessDenied</Code><Message>User arn:aws:sts::1:assumed-role/{ROLE}/i-0 with {KEY_ID} and {SECRET} may not \
                     put {row}</Message></Error>"
                );
                let answer = format!("HTTP/1.1 403 No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}", said.len());
                let _gone = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok(address)
}

/// Canaries in every secret place: a tenant sees the host's message and a reference, under which the operator finds the store's message; keys and
/// rows are never shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_hears_nothing_of_what_its_store_says() -> Result<()> {
    let store = talkative().await?;
    let entry = "listen = { socket = \"DIR/acme.sock\" }\ncredentials = { access_key_id_env = \"OPERATORS_ID\", secret_access_key_env = \"OPERATORS_SECRET\" }";
    let text = FILE.replacen("listen = { socket = \"DIR/acme.sock\" }", entry, 1).replacen(
        "region =",
        &format!("endpoint = \"http://{store}\"\npath_style = true\nregion ="),
        1,
    );
    let text = text.replacen("\"application/json\"]", "\"application/octet-stream\"]", 1);
    let served = TenantServer::with(&text, |command, _| {
        command.env("OPERATORS_ID", KEY_ID).env("OPERATORS_SECRET", SECRET).args(["--log-level", "trace"]);
    })
    .await?;
    let mut acme = served.connect("acme").await?;
    let values = arrow_array::StringArray::from_iter_values([ROW]);
    let rows = Table::new("t").column("word", Arc::new(values)).insert_ipc()?;
    let mut said = Vec::new();
    let status = acme.round(&spec(CSV, "csv"), [Message::Insert(rows.into())]).await.expect_err("refused");
    said.push(status.message().to_owned());
    acme.close().await?;
    let tested = crate::fixtures::proxied_store::laid_over(spec(CSV, "csv"), json!({"test_write": true}));
    said.push(acme.init(&tested).await.expect_err("refused").message().to_owned());
    let test = lakegate_cloudquery::proto::plugin::test_connection::Request { spec: tested.to_string().into() };
    said.push(acme.0.test_connection(test).await?.into_inner().failure_description);
    let pages = [served.get("/").await?, served.get("/metrics").await?];
    drop(acme);
    let (log, _) = served.stop().await?;
    let log: Vec<String> = log.iter().map(Value::to_string).collect();

    let mut references = Vec::new();
    for said in &said {
        let (host, reference) = said.split_once("; the operator's log has the cause under reference ").with_context(|| said.clone())?;
        assert!(host.ends_with("the store does not allow the object"), "{said}");
        references.push(reference.get(..12).context("a reference")?.to_owned());
    }
    for reference in references {
        let line = log.iter().find(|line| line.contains(&reference) && line.contains(ROLE)).context("the cause is in the log")?;
        assert!(line.contains("\"tenant\":\"acme\"") && line.contains("AccessDenied"), "{line}");
    }
    for text in said.iter().chain(&pages) {
        for canary in [ROW, ROLE, KEY_ID, SECRET, "arn:"] {
            assert!(!text.contains(canary), "{canary}: {text}");
        }
    }
    for canary in [ROW, KEY_ID, SECRET] {
        assert!(!log.iter().any(|line| line.contains(canary)), "{canary}: {log:?}");
    }
    Ok(())
}

/// A tenants file that is read while it is being written, or truncated by a full disk: missing entries must not be taken for the operator's
/// intention.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_short_takes_nothing_from_anybody() -> Result<()> {
    let whole = FILE.replacen("formats = [\"csv\"]", "formats = [\"csv\"]\ndaily_objects = 9", 1);
    let mut served = TenantServer::locally(&whole).await?;
    let folder = served.folder.path().to_owned();
    let mut log = BufReader::new(served.child.stdout.take().context("piped")?).lines();
    let mut answered = async |beginning: &'static str| -> Result<String> {
        let next = async {
            while let Some(line) = log.next_line().await? {
                if line.contains(beginning) {
                    return Ok(line);
                }
            }
            anyhow::bail!("the log ends")
        };
        tokio::time::timeout(Duration::from_secs(30), next).await.context("nothing is said")?
    };
    let acme = whole.split("\n\n").next().context("acme's")?;
    let without_limit = whole.replace("daily_objects = 9\n", "");
    for (text, lacks) in
        [(format!("{acme}\n"), "the tenant \\\"beta\\\""), (without_limit.clone(), "`grant.daily_objects` of \\\"acme\\\"")]
    {
        write_file(&folder, &text)?;
        signal(&served, "-HUP").await?;
        let said = answered("Tenants stay as they were").await?;
        assert!(said.contains(lacks) && said.contains("--allow-removal"), "{said}");
        assert!(folder.join("acme.sock").exists() && folder.join("beta.sock").exists());
    }
    // A seal shows that the file is complete.
    let file = write_file(&folder, &format!("{acme}\n"))?;
    let sealed = Command::new(crate::fixtures::proxied_store::PLUGIN).args(["policy", "check", "--seal"]).arg(&file).output().await?;
    assert!(sealed.status.success(), "{sealed:?}");
    // Half of a sealed file is invalid.
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.get(..text.len() / 2).context("ASCII")?)?;
    signal(&served, "-HUP").await?;
    let said = answered("Tenants stay as they were").await?;
    assert!(said.contains("truncated"), "{said}");
    let checked = Command::new(crate::fixtures::proxied_store::PLUGIN).args(["policy", "check"]).arg(&file).output().await?;
    assert_eq!(checked.status.code(), Some(3));
    std::fs::write(&file, text)?;
    signal(&served, "-HUP").await?;
    let said = answered("was read again").await?;
    assert!(said.contains("\"kept\":1") && said.contains("\"stopped\":1"), "{said}");
    assert!(!folder.join("beta.sock").exists());
    Ok(())
}
