//! What a tenant's clients could take from the host itself: its CPU time and its connection slots. Each attack is one that any tenant could try.

use crate::tenancy::hostile;
use crate::tenancy::tenants::{TenantServer, spec};
use anyhow::{Context as _, Result};
use lakegate_tests::attack::Attack;
use lakegate_tests::plugin::{Client, Message};
use lakegate_tests::tables::ids;
use serde_json::Value;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long an expected event may take on a busy machine; without the limits it would take minutes, or never happen.
const PATIENCE: Duration = Duration::from_secs(25);

/// Two tenants: one whose clients attack, over TCP, and one whose clients do not.
const FILE: &str = r#"
[tenants.evil]
listen = { plain_tcp = "PLACE" }
machine = { lanes = 1 }
[tenants.evil.grant]
buckets = ["served"]
key_prefixes = ["evil/"]
region = "us-east-1"
formats = ["csv"]
content_types = ["text/csv", "text/plain"]

[tenants.good]
listen = { socket = "DIR/good.sock" }
machine = { lanes = 1, cpu_weight = 100 }
[tenants.good.grant]
buckets = ["served"]
key_prefixes = ["good/"]
region = "us-east-1"
formats = ["csv"]
content_types = ["text/csv"]
"#;

const EVIL: &str = "evil/{{TABLE}}/{{UUID}}.csv";

/// Serves both, and returns the address of the first; `change` modifies the file.
async fn serve(change: impl FnOnce(String) -> String) -> Result<(TenantServer, String)> {
    let place = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
    let file = change(FILE.replace("PLACE", &place));
    let served = TenantServer::waiting_for(&file, &["good"], |command, folder| {
        command.args(["--log-level", "error", "--local"]).arg(folder.join("store"));
    })
    .await?;
    // The sockets exist before all tenants are served.
    let listed = async { while charged(&served, "evil").await.is_err() {} };
    tokio::time::timeout(PATIENCE, listed).await.context("it is not served")?;
    Ok((served, place))
}

/// CPU time of the server, in seconds.
#[cfg(target_os = "linux")]
pub(crate) fn cpu_seconds(served: &TenantServer) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", served.child.id().context("it runs")?))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a name")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).context("a number");
    // A hundredth of a second each, on every system that has them.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// CPU time charged to the tenant, in seconds.
async fn charged(served: &TenantServer, tenant: &str) -> Result<f64> {
    Ok(metric(served, "lakegate_guest_cpu_seconds_total", tenant).await? + host_seconds(served, tenant).await?)
}

/// CPU time charged to the tenant for the host's work, in seconds. That of guests is wall time, which grows on a busy machine.
pub(crate) async fn host_seconds(served: &TenantServer, tenant: &str) -> Result<f64> {
    metric(served, "lakegate_host_cpu_seconds_total", tenant).await
}

async fn metric(served: &TenantServer, name: &str, tenant: &str) -> Result<f64> {
    let metrics = served.get("/metrics").await?;
    let name = format!("{name}{{tenant=\"{tenant}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).context(name)
}

/// All work that a client causes is charged to its tenant. The remainder is what the runtime needs to wait for sockets.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_an_attack_makes_the_host_do_is_charged_to_its_tenant() -> Result<()> {
    let (served, place) = serve(|file| file).await?;
    let mut good = served.connect("good").await?;
    good.round(&spec("good/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("t", 0..10).into())]).await?;
    let mut worked = 0.0;
    for attack in Attack::ALL {
        let before = [cpu_seconds(&served)?, charged(&served, "evil").await?, charged(&served, "good").await?];
        let mut done = 0;
        // A busy machine may need more than one attempt.
        for _ in 0..10 {
            let stop = CancellationToken::new();
            let attacking = {
                let (place, stop) = (place.clone(), stop.clone());
                tokio::spawn(async move { attack.run(&place, &spec("elsewhere/{{TABLE}}/{{UUID}}.csv", "csv"), &stop).await })
            };
            tokio::time::sleep(Duration::from_millis(2_000)).await;
            stop.cancel();
            done += attacking.await??;
            if done > 0 {
                break;
            }
        }
        let after = [cpu_seconds(&served)?, charged(&served, "evil").await?, charged(&served, "good").await?];
        let [all, evil, good] = [0, 1, 2].map(|at| after[at] - before[at]);
        let name = attack.name();
        assert!(done > 0, "{name} did nothing");
        assert!(good < 0.05, "{name}: {good} s are charged to the neighbour");
        // Less than that is below the clock's resolution.
        assert!(all < 0.3 || evil > all / 2.0, "{name}: of {all} s of computing, {evil} s are charged to whom they are done for");
        worked += all;
    }
    assert!(worked > 1.0, "{worked} s: the attacks were none");
    drop(good);
    served.stop().await?;
    Ok(())
}

/// Attackers that hold connections cannot keep out clients that use theirs.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_nothing_keep_no_place_of_their_tenant() -> Result<()> {
    let (served, place) = serve(|file| file).await?;
    for attack in [Attack::HalfGreetings, Attack::SilentCalls, Attack::Drip, Attack::Unread] {
        let stop = CancellationToken::new();
        let attacking = {
            let (place, stop) = (place.clone(), stop.clone());
            tokio::spawn(async move { attack.run(&place, &Value::Null, &stop).await })
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        let let_in = async {
            while session(&place, spec(EVIL, "csv")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, let_in).await.is_ok(), "{}: nobody is let in", attack.name());
        stop.cancel();
        attacking.await??;
    }
    served.stop().await?;
    Ok(())
}

/// A client with a session at `place`.
async fn session(place: &str, spec: Value) -> Result<Client> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{place}"))?.connect().await?;
    let mut client = Client(lakegate_cloudquery::proto::plugin::plugin_client::PluginClient::new(channel));
    client.init(&spec).await?;
    Ok(client)
}

/// Starts a Write with one message and disconnects in the middle of it; returns how long it takes until the tenant's only session is available again.
async fn left(place: &str, spec: Value, message: Message, begun: impl AsyncFnOnce()) -> Result<()> {
    let mut client = session(place, spec.clone()).await?;
    let (held, wait) = std::sync::mpsc::channel::<()>();
    let messages = std::iter::once(message).chain(std::iter::from_fn(move || {
        let _end = wait.recv();
        None
    }));
    let writing = tokio::spawn(async move { client.write(messages).await });
    begun().await;
    writing.abort();
    drop((writing.await, held));
    let again = async {
        while session(place, spec.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.context("the place is held")
}

/// Whatever the store does or does not do.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_left_waits_for_no_store() -> Result<()> {
    let hole = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}", hole.local_addr()?);
    let (tell, mut asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = hole.accept().await {
            held.push(socket);
            let _nobody = tell.send(());
        }
    });
    let place = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
    let keys = "machine = { lanes = 1 }\ncredentials = { access_key_id_env = \"LAKEGATE_TEST_ID\", secret_access_key_env = \"LAKEGATE_TEST_KEY\" }";
    let file = FILE.replace("PLACE", &place).replacen("machine = { lanes = 1 }", keys, 1);
    let file = file.replacen("key_prefixes", &format!("endpoint = {endpoint:?}\npath_style = true\nkey_prefixes"), 1);
    let served = TenantServer::waiting_for(&file, &["good"], |command, _| {
        command.args(["--log-level", "error"]).env("LAKEGATE_TEST_ID", "x".repeat(16)).env("LAKEGATE_TEST_KEY", "y".repeat(20));
    })
    .await?;
    let spec = crate::fixtures::proxied_store::laid_over(spec(EVIL, "csv"), serde_json::json!({"batch_size": 10}));
    let message = Message::Insert(ids("t", 0..100).into());
    left(&place, spec, message, async || drop(tokio::time::timeout(PATIENCE, asked.recv()).await)).await?;
    served.stop().await?;
    Ok(())
}

/// Whatever its guest does.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_left_waits_for_no_guest() -> Result<()> {
    let (served, place) = serve(|file| {
        file.replacen("[tenants.evil]", &format!("[tenants.evil]\ncomponent = {:?}", env!("LAKEGATE_HOSTILE_COMPONENT")), 1).replacen(
            "buckets = [\"served\"]",
            "buckets = [\"hostile\"]\npath_style = true\nmax_retries = 0",
            1,
        )
    })
    .await?;
    let before = charged(&served, "evil").await?;
    let message = Message::Insert(hostile::message("t", "spin", 3, Some("evil/t")));
    left(&place, serde_json::json!({}), message, async || {
        let spins = async { while charged(&served, "evil").await.is_ok_and(|now| now < before + 0.2) {} };
        let _slow = tokio::time::timeout(PATIENCE, spins).await;
    })
    .await?;
    // It was stopped, which is not a trap, so its tenant has no quarantine.
    let metrics = served.get("/metrics").await?;
    assert!(metrics.contains("lakegate_traps_total{tenant=\"evil\"} 0\n"), "{metrics}");
    served.stop().await?;
    Ok(())
}

/// The status page responds, whatever other clients connect to it.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_from_the_status_page() -> Result<()> {
    let served = TenantServer::start().await?;
    let mut silent = Vec::new();
    for number in 0..100 {
        let mut socket = TcpStream::connect(served.status).await?;
        if number % 2 == 0 {
            socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").await?;
        }
        silent.push(socket);
    }
    for path in ["/healthz", "/metrics"] {
        assert!(served.get(path).await?.starts_with("HTTP/1.1 200 "), "{path}");
    }
    drop(silent);
    served.stop().await?;
    Ok(())
}

/// The short form of `make chaos`.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_held_after_chaos() -> Result<()> {
    let report =
        lakegate_tests::chaos::run(std::path::Path::new(crate::fixtures::proxied_store::PLUGIN), Duration::from_secs(20), 1, |_, _| {})
            .await?;
    // A run in which nothing happens would prove nothing.
    assert!(report.stored > 10 && report.attacks > 100 && report.left > 0 && report.reloads > 0 && report.faults > 0, "{report:?}");
    Ok(())
}
