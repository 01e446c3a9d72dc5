//! What many tenants in one process cost, and what a hostile tenant takes from an honest one.
//!
//! usage: tenants [--scale F] [--repeats N] [--clients] [--attacks A,B] [--others N,M]. Prints four tables: idle sessions; a hundred tenants at once; an
//! honest tenant next to each attack of the hostile component; an honest tenant next to clients that attack the host, in separate processes. The store
//! is the embedded one. `--clients` only prints the last table; `--attacks pings,resets` prints those rows of it, and `--others 1,99` has that many
//! other tenants in turn.
#![expect(clippy::print_stdout, reason = "a program that prints tables")]

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lakegate::{CompileLimits, Compiler, Destination, Grant, Options, Runtime, Session, Tenant};
use lakegate_local_store::LocalStore;
use lakegate_tests::attack::Attack;
use lakegate_tests::bench::{Arguments, Table, median, tables};
use lakegate_tests::plugin::{self, Client, Message};
use lakegate_tests::tables::ids_with_metadata;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: lakegate_cli::Allocator = lakegate_cli::Allocator;

const BUCKET: &str = "tenants";

/// Where the hostile component writes.
const HOSTILE_BUCKET: &str = "hostile";

/// Sessions of the first table.
const IDLE: [usize; 3] = [1, 10, 100];

const TENANTS: usize = 100;

/// Lanes of a hostile tenant: many more than its share.
const HOSTILE_LANES: usize = 8;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, attack, addresses @ ..] = args.as_slice()
        && first == ATTACK
    {
        return attack_until_killed(attack, addresses).await;
    }
    let (args, clients) = Clients::parse(args)?;
    let arguments = Arguments { tables: vec!["lineitem".to_owned()], ..Arguments::parse_from(args.into_iter())? };
    if clients.alone {
        let table = tables(&arguments)?.pop().context("lineitem")?;
        let messages: Vec<Bytes> = table.messages.iter().map(|message| Bytes::copy_from_slice(message)).collect();
        return next_to_hostile_clients(&arguments, &messages, &clients).await;
    }
    let runtime = tokio::task::spawn_blocking(Runtime::new).await??;
    idle(&runtime).await?;
    let table = tables(&arguments)?.pop().context("lineitem")?;
    let messages: Arc<[Bytes]> = table.messages.iter().map(|message| Bytes::copy_from_slice(message)).collect();
    many(&runtime, &table, &messages).await?;
    next_to_hostile_guests(&runtime, &arguments, &table, &messages).await?;
    next_to_hostile_clients(&arguments, &messages, &clients).await
}

/// The argument that makes this program attack, in a separate process.
const ATTACK: &str = "attack";

/// What of the last table is printed.
struct Clients {
    /// Nothing but that table.
    alone: bool,
    attacks: Vec<Attack>,
    /// How many other tenants there are, in turn.
    others: Vec<usize>,
}

impl Clients {
    /// Takes its own options out of the arguments of this program.
    fn parse(args: Vec<String>) -> Result<(Vec<String>, Self)> {
        let (mut parsed, mut rest) = (Self { alone: false, attacks: Attack::ALL.to_vec(), others: vec![1, TENANTS - 1] }, Vec::new());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut list = || args.next().with_context(|| format!("{arg} has no value"));
            match arg.as_str() {
                "--clients" => parsed.alone = true,
                "--attacks" => parsed.attacks = list()?.split(',').map(str::parse).collect::<Result<_>>()?,
                "--others" => parsed.others = list()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                _ => rest.push(arg),
            }
        }
        ensure!(!parsed.others.contains(&0), "--others takes numbers from 1");
        Ok((rest, parsed))
    }
}

/// A store in a temporary folder.
struct TestStore {
    store: Arc<LocalStore>,
    _folder: tempfile::TempDir,
}

impl TestStore {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = LocalStore::open(folder.path())?;
        store.create_bucket(BUCKET)?;
        store.create_bucket(HOSTILE_BUCKET)?;
        Ok(Self { store: Arc::new(store), _folder: folder })
    }

    fn destination(&self, runtime: &Arc<Runtime>, tenant: Tenant, lanes: usize) -> Result<Destination> {
        let mut options =
            Options { lanes: NonZeroUsize::new(lanes).context("no lanes")?, tenant: Some(Arc::new(tenant)), ..Options::default() };
        options.connect.in_process = Some(lakegate_cli::args::in_process(&self.store));
        Ok(Destination::new(runtime.clone(), options))
    }
}

fn grant(prefix: &str) -> Grant {
    Grant {
        buckets: vec![BUCKET.into(), HOSTILE_BUCKET.into()],
        key_prefixes: vec![prefix.into()],
        region: "us-east-1".into(),
        path_style: true,
        formats: ["csv", "json", "parquet"].map(String::from).to_vec(),
        content_types: ["text/csv", "application/json", "application/vnd.apache.parquet", "text/plain"].map(String::from).to_vec(),
        max_retries: Some(0),
        max_backoff_seconds: 30,
        max_sessions: Some(u64::MAX),
        ..Grant::default()
    }
}

fn spec(prefix: &str, format: &str) -> String {
    let path = format!("{prefix}{{{{TABLE}}}}/{{{{UUID}}}}");
    json!({"bucket": BUCKET, "region": "us-east-1", "format": format, "path": path, "test_write": false}).to_string()
}

/// Memory of this process in kibibytes: `VmRSS` now, `VmHWM` at its highest.
fn kibibytes(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the system does not tell the memory of a process")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The cost of idle sessions, with one lane each.
async fn idle(runtime: &Arc<Runtime>) -> Result<()> {
    println!("sessions that do nothing, one lane each");
    println!("| sessions | ms to open one | KiB of memory for each |");
    println!("|---|---|---|");
    let store = TestStore::new()?;
    // The first session initialises what is shared.
    store.destination(runtime, Tenant::new("first", grant("first/")), 1)?.open(&spec("first/", "csv"), "sync").await?.close().await;
    for count in IDLE {
        let destinations = (0..count)
            .map(|number| store.destination(runtime, Tenant::new(&format!("idle{number}"), grant("idle/")), 1))
            .collect::<Result<Vec<_>>>()?;
        let (before, begun) = (kibibytes("VmRSS")?, Instant::now());
        let mut sessions: Vec<Session> = Vec::new();
        for destination in &destinations {
            sessions.push(destination.open(&spec("idle/", "csv"), "sync").await?);
        }
        let (elapsed, after) = (begun.elapsed(), kibibytes("VmRSS")?);
        println!("| {count} | {:.2} | {:.0} |", elapsed.as_secs_f64() * 1e3 / count as f64, (after - before) / count as f64);
        for session in sessions {
            session.close().await;
        }
    }
    Ok(())
}

/// Writes all messages once; how long it took.
async fn sync(destination: &Destination, spec: &str, messages: &[Bytes]) -> Result<Duration> {
    let begun = Instant::now();
    let session = destination.open(spec, "sync").await?;
    let mut write = session.write()?;
    for message in messages {
        write.insert(message.clone()).await?;
    }
    let report = write.finish().await;
    ensure!(report.failures().count() == 0, "{:?}", report.failures().collect::<Vec<_>>());
    session.close().await;
    Ok(begun.elapsed())
}

/// A hundred tenants at once, a third in each format, one lane each.
async fn many(runtime: &Arc<Runtime>, table: &Table, messages: &Arc<[Bytes]>) -> Result<()> {
    println!("\n{TENANTS} tenants at once, one lane each, {:.1} MB of lineitem each", table.megabytes());
    println!("| tenants | wall s | MB/s in all | csv: slowest/fastest | json | parquet | peak MiB |");
    println!("|---|---|---|---|---|---|---|");
    for count in [1, TENANTS] {
        let store = TestStore::new()?;
        let begun = Instant::now();
        let mut syncs = Vec::new();
        for number in 0..count {
            let (prefix, format) = (format!("tenant{number}/"), ["csv", "json", "parquet"][number % 3]);
            let destination = store.destination(runtime, Tenant::new(&prefix, grant(&prefix)), 1)?;
            let messages = messages.clone();
            syncs.push(tokio::spawn(async move { sync(&destination, &spec(&prefix, format), &messages).await }));
        }
        let mut elapsed: [Vec<f64>; 3] = Default::default();
        for (number, sync) in syncs.into_iter().enumerate() {
            elapsed[number % 3].push(sync.await??.as_secs_f64());
        }
        let wall = begun.elapsed().as_secs_f64();
        let rows: u64 = store.store.records(BUCKET, "")?.len() as u64;
        ensure!(rows > 0, "nothing landed");
        let fairness = elapsed.map(|mut seconds| {
            seconds.sort_by(f64::total_cmp);
            let ends = seconds.first().zip(seconds.last());
            ends.filter(|_| count > 1).map_or_else(|| "–".to_owned(), |(fastest, slowest)| format!("{:.2}", slowest / fastest))
        });
        let rate = table.megabytes() * count as f64 / wall;
        println!("| {count} | {wall:.1} | {rate:.0} | {} | {:.0} |", fairness.join(" | "), kibibytes("VmHWM")? / 1024.0);
    }
    Ok(())
}

/// The attacks of the hostile component, and one that is none.
const ATTACKS: [&str; 14] =
    ["ok", "trap", "panic", "spin", "allocate", "recurse", "handles", "tiny", "huge", "fuel", "lie", "stale", "hold", "shout"];

/// Attacks until told to stop: session after session, with one table per lane.
async fn attack(destination: Destination, behave: &'static str, stop: CancellationToken) -> u64 {
    let mut sessions = 0;
    while !stop.is_cancelled() {
        let Ok(session) = destination.open("{}", "sync").await else {
            // In quarantine because of its traps.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        sessions += 1;
        let Ok(mut write) = session.write() else { continue };
        for table in 0..HOSTILE_LANES {
            let name = format!("t{table}");
            let order = format!("behave={behave};rows=3;name={name};key=bad/{name}/{sessions};");
            let _refused = write.insert(ids_with_metadata(&name, 0..3, &[("order", &order)]).into()).await;
        }
        tokio::select! {
            _ = write.finish() => {}
            () = stop.cancelled() => {}
        }
    }
    sessions
}

/// An honest tenant's rate during each attack. Two tenants share the machine: half of its rate when alone is its fair share (1.00).
async fn next_to_hostile_guests(runtime: &Arc<Runtime>, arguments: &Arguments, table: &Table, messages: &Arc<[Bytes]>) -> Result<()> {
    let hostile = {
        let (runtime, compiler) = (runtime.clone(), Compiler::new(plugin::program()?, CompileLimits::default()));
        tokio::task::spawn_blocking(move || runtime.beside(Path::new(env!("LAKEGATE_HOSTILE_COMPONENT")), &compiler)).await??
    };
    println!("\nan honest tenant ({:.0} MB of lineitem to CSV, two lanes) beside a hostile one ({HOSTILE_LANES} lanes)", table.megabytes());
    println!("| attack | its sessions | its CPU s | honest MB/s | of its fair share |");
    println!("|---|---|---|---|---|");
    let honest = async |store: &TestStore| {
        let destination = store.destination(runtime, Tenant::new("honest", grant("honest/")), 2)?;
        sync(&destination, &spec("honest/", "csv"), messages).await.map(|elapsed| elapsed.as_secs_f64())
    };
    honest(&TestStore::new()?).await?;
    for behave in ATTACKS {
        let (mut shares, mut rates, mut sessions, mut computed) = (Vec::new(), Vec::new(), 0, Duration::ZERO);
        for _ in 0..arguments.repeats {
            // Alternately alone and attacked, since the load of a shared machine varies.
            let alone = honest(&TestStore::new()?).await?;
            let store = TestStore::new()?;
            let tenant = Tenant::new("hostile", grant("bad/"));
            let (account, stop) = (tenant.share.account.clone(), CancellationToken::new());
            let attacking = tokio::spawn(attack(store.destination(&hostile, tenant, HOSTILE_LANES)?, behave, stop.clone()));
            // The attack is in full swing when the honest tenant starts.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let before = account.computed();
            let attacked = honest(&store).await?;
            computed = account.computed() - before;
            stop.cancel();
            sessions = attacking.await?;
            ensure!(sessions > 0, "{behave}: no attack was let in, so nothing was measured");
            shares.push(2.0 * alone / attacked);
            rates.push(table.megabytes() / attacked);
        }
        let (rate, share) = (median(&mut rates), median(&mut shares));
        println!("| {behave} | {sessions} | {:.1} | {rate:.0} | {share:.2} |", computed.as_secs_f64());
    }
    Ok(())
}

/// Number of Writes per attack and repeat.
const WRITES: usize = 10;

/// How long attackers take to start, and to be cleaned up.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Connections of one hostile tenant; of a hundred, one each.
const CONNECTIONS: usize = 3;

/// Name of honest neighbours among the attacks.
const HONEST: &str = "honest";

fn client_spec(prefix: &str) -> Value {
    json!({
        "bucket": BUCKET, "region": "us-east-1", "format": "csv", "path": format!("{prefix}/{{{{TABLE}}}}/{{{{UUID}}}}.csv"), "test_write": false,
        "compression": "gzip",
    })
}

async fn connect(address: &str) -> Result<Client> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    Ok(Client(lakegate_cloudquery::proto::plugin::plugin_client::PluginClient::new(channel)))
}

/// Attacks each address until this process is killed.
async fn attack_until_killed(attack: &str, addresses: &[String]) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for address in addresses {
        let (attack, address) = (attack.to_owned(), address.clone());
        tasks.spawn(async move {
            if attack == HONEST {
                let rows: Bytes = ids_with_metadata("t", 0..20_000, &[]).into();
                loop {
                    let (mut client, rows) = (connect(&address).await?, rows.clone());
                    client.round(&client_spec("evil"), (0..20).map(move |_| Message::Insert(rows.clone()))).await?;
                }
            }
            // Nothing is granted there: its tables fail.
            attack.parse::<Attack>()?.run(&address, &client_spec("elsewhere"), &CancellationToken::new()).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// The program with one honest tenant of the weight 100, and others of the weight 1.
struct Crowd {
    _child: Child,
    status: String,
    honest: String,
    others: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Crowd {
    async fn start(others: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // All held at once, so that none is given out twice.
        let held = (0..others + 2).map(|_| std::net::TcpListener::bind(("127.0.0.1", 0))).collect::<Result<Vec<_>, _>>()?;
        let addresses = held.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect::<std::io::Result<Vec<_>>>()?;
        drop(held);
        let [status, honest, others @ ..] = addresses.as_slice() else { unreachable!("two at least") };
        let (status, honest, others) = (status.clone(), honest.clone(), others.to_vec());
        let mut file = String::new();
        let named = others.iter().enumerate().map(|(number, address)| (format!("evil{number}"), "evil", address, 1));
        for (name, prefix, address, weight) in named.chain([("honest".to_owned(), "honest", &honest, 100)]) {
            write!(
                file,
                "[tenants.{name}]\nlisten = {{ plain_tcp = \"{address}\" }}\nmachine = {{ lanes = 2, cpu_weight = {weight} }}\n\
                 [tenants.{name}.grant]\nbuckets = [\"{BUCKET}\"]\nkey_prefixes = [\"{prefix}/\"]\nregion = \"us-east-1\"\n\
                 formats = [\"csv\"]\ncontent_types = [\"text/csv\", \"application/gzip\"]\nmax_sessions = {CONNECTIONS}\n\n"
            )?;
        }
        let path = folder.path().join("tenants.toml");
        std::fs::write(&path, file)?;
        let mut command = Command::new(plugin::program()?);
        command.args(["serve", "--log-level", "error", "--status", &status, "--local"]).arg(folder.path().join("store"));
        let child = command.arg("--tenants").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        let crowd = Self { _child: child, status, honest, others, _folder: folder };
        let until = Instant::now() + Duration::from_secs(120);
        while !crowd.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
            ensure!(Instant::now() < until, "the program is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(crowd)
    }

    async fn get(&self, path: &str) -> Result<String> {
        let mut socket = TcpStream::connect(&self.status).await?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Durations of the honest tenant's Writes in milliseconds, during the attacks of the others, and the CPU time per second charged to the others.
    async fn writes(&self, client: &mut Client, messages: &[Bytes], neighbours: &str) -> Result<(Vec<f64>, f64)> {
        let attackers = (neighbours != "nobody").then(|| {
            // A single tenant attacks over several connections; each of many tenants over one.
            let addresses = self.others.iter().cycle().take(self.others.len().max(CONNECTIONS));
            let mut command = Command::new("nice");
            command.args(["-n", "19"]).arg(std::env::current_exe()?).args([ATTACK, neighbours]).args(addresses);
            command.stdin(Stdio::null()).kill_on_drop(true).spawn()
        });
        let mut attackers = attackers.transpose()?;
        tokio::time::sleep(UNDER_WAY).await;
        let (begun, before) = (Instant::now(), self.charged().await?);
        let mut elapsed = Vec::new();
        for _ in 0..WRITES {
            let (begun, messages) = (Instant::now(), messages.to_vec());
            client.write(messages.into_iter().map(Message::Insert)).await?;
            elapsed.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let charged = (self.charged().await? - before) / begun.elapsed().as_secs_f64();
        if let Some(attackers) = &mut attackers {
            ensure!(attackers.try_wait()?.is_none(), "{neighbours}: the attackers have ended, so nothing was measured");
            attackers.kill().await?;
        }
        // Wait until what they left behind has ended.
        tokio::time::sleep(UNDER_WAY).await;
        Ok((elapsed, charged))
    }

    /// CPU time charged to all but the honest tenant, in seconds.
    async fn charged(&self) -> Result<f64> {
        let metrics = self.get("/metrics").await?;
        let theirs = metrics.lines().filter(|line| line.contains("_cpu_seconds_total{tenant=\"evil"));
        Ok(theirs.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }
}

/// Writes of an honest tenant during attacks by other clients on the host, each alternating with honest clients of the same weights. The attackers
/// run as nice processes, since real ones have their own machines.
async fn next_to_hostile_clients(arguments: &Arguments, messages: &[Bytes], clients: &Clients) -> Result<()> {
    println!("\nan honest tenant (weight 100) beside clients of others (weight 1) that attack the host");
    println!("| tenants | beside | their CPU, s/s | Write, median ms | p99 ms | median, × beside honest ones | p99, × |");
    println!("|---|---|---|---|---|---|---|");
    for others in clients.others.clone() {
        let crowd = Crowd::start(others).await?;
        let mut client = connect(&crowd.honest).await?;
        client.init(&client_spec("honest")).await?;
        // One-time costs are over now.
        crowd.writes(&mut client, messages, "nobody").await?;
        for name in ["nobody", HONEST].into_iter().chain(clients.attacks.iter().copied().map(Attack::name)) {
            let (mut attacked, mut fair, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            let mut charged = 0.0;
            for _ in 0..arguments.repeats {
                // Alternating with honest clients, since the load of a shared machine varies.
                let (mut honest, _) = crowd.writes(&mut client, messages, HONEST).await?;
                let (mut elapsed, theirs) = crowd.writes(&mut client, messages, name).await?;
                ratios.push(median(&mut elapsed) / median(&mut honest));
                charged += theirs / arguments.repeats as f64;
                attacked.extend(elapsed);
                fair.extend(honest);
            }
            let last = [&mut attacked, &mut fair].map(|times| {
                times.sort_by(f64::total_cmp);
                times.get((times.len() * 99).div_ceil(100) - 1).copied().unwrap_or_default()
            });
            let (middle, times) = (median(&mut attacked), median(&mut ratios));
            println!("| {} | {name} | {charged:.2} | {middle:.0} | {:.0} | {times:.2} | {:.2} |", others + 1, last[0], last[0] / last[1]);
        }
    }
    Ok(())
}
