//! Twenty tenants of one process, half of them hostile at random, on a randomly faulty store, while the tenants file is reloaded repeatedly and
//! clients disconnect at any time. In any case, what was reported to an honest client as stored is stored, and in the end no resources are held.

use crate::attack::Attack;
use crate::faults::{Fault, Proxy, Rule, When};
use crate::generate::Dice;
use crate::plugin::{Client, Message};
use crate::tables::ids;
use anyhow::{Context as _, Result, bail, ensure};
use http::StatusCode;
use lakegate_cloudquery::proto::plugin::plugin_client::PluginClient;
use lakegate_local_store::{AccessKey, LocalStore};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

const TENANTS: usize = 20;
const SESSIONS: usize = 2;
const BUCKET: &str = "chaos";
const KEY: &str = "lakegate-test";
const SECRET: &str = "lakegate-test-secret";

/// How long it may take until nothing is held: longer than what the host gives a client that is silent, or a store.
const SETTLING: Duration = Duration::from_secs(240);

/// Duration before memory is first measured.
const WARM_UP: Duration = Duration::from_secs(60);

/// A run consists of phases; between two of them everything may settle, and memory is measured: a leak would show as growth.
const STRETCH: Duration = Duration::from_secs(300);

/// Distance between the first IDs of two phases, more than are written in one.
const IDS_OF_A_STRETCH: i64 = 1 << 40;

/// Memory that is no leak: what the allocator keeps, and what the system counts late.
const GRAIN_BYTES: u64 = 8 << 20;

/// How much of the log of a failed run is printed.
const LOG_TAIL_CHARS: usize = 4_000;

/// The results of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Writes of honest clients that were reported as stored.
    pub stored: u64,
    /// Writes of honest clients that were reported as failed because of the store.
    pub failed: u64,
    /// Steps of the attacks.
    pub attacks: u64,
    /// Clients that left in the middle of a Write.
    pub left: u64,
    /// How often the tenants file was reloaded.
    pub reloads: u64,
    /// Requests to the store that met a fault.
    pub faults: usize,
    /// Memory of the process at the start, once every tenant has written, and at the end.
    pub memory_bytes: [u64; 2],
}

/// The process, its tenants and their store.
struct House {
    child: Child,
    status: String,
    places: Vec<String>,
    proxy: Proxy,
    store: LocalStore,
    report: Mutex<Report>,
    folder: tempfile::TempDir,
}

/// Runs `program` (the `lakegate` command) for so long. `tell` hears after each stretch how long there was chaos, and what it has come to.
///
/// # Errors
/// Something was promised and not kept; says what.
pub async fn run(program: &Path, length: Duration, seed: u64, tell: impl Fn(Duration, &Report)) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let store = LocalStore::open(&folder.path().join("store"))?;
    store.create_bucket(BUCKET)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let server = store.serve(listener, [AccessKey { id: KEY.into(), secret: SECRET.into() }])?;
    let proxy = Proxy::start(&server.endpoint(), []).await?;
    let free = || Ok::<_, std::io::Error>(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string());
    let places = (0..TENANTS).map(|_| free()).collect::<Result<Vec<_>, _>>()?;
    let status = free()?;
    write_file(folder.path(), &places, &proxy.endpoint(), 0)?;
    let child = Command::new(program)
        .args(["serve", "--log-level", "error", "--status", &status, "--tenants"])
        .arg(folder.path().join("tenants.toml"))
        .env("LAKEGATE_CHAOS_ID", KEY)
        .env("LAKEGATE_CHAOS_SECRET", SECRET)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(folder.path().join("log"))?)
        .kill_on_drop(true)
        .spawn()?;
    let house = Arc::new(House { child, status, places, proxy, store, report: Mutex::default(), folder });
    let report = house.whole(length, seed, tell).await;
    server.stop().await;
    report.with_context(|| {
        let log = std::fs::read_to_string(house.folder.path().join("log")).unwrap_or_default();
        let from = log.char_indices().rev().nth(LOG_TAIL_CHARS).map_or(0, |(at, _)| at);
        format!("the end of its log:\n{}", log.get(from..).unwrap_or_default())
    })
}

/// Writes the tenants file atomically; `version` changes the entry of the last tenant.
fn write_file(folder: &Path, places: &[String], endpoint: &str, version: u64) -> Result<()> {
    let mut text = String::new();
    for (number, place) in places.iter().enumerate() {
        let quota = if number + 1 == places.len() { format!("daily_objects = {}\n", 1_000_000 + version) } else { String::new() };
        write!(
            text,
            "[tenants.t{number:02}]\nlisten = {{ plain_tcp = \"{place}\" }}\nmachine = {{ lanes = 1, memory_bytes = 4194304, in_flight_bytes = 4194304 }}\n\
             credentials = {{ access_key_id_env = \"LAKEGATE_CHAOS_ID\", secret_access_key_env = \"LAKEGATE_CHAOS_SECRET\" }}\n\
             [tenants.t{number:02}.grant]\nbuckets = [\"{BUCKET}\"]\nkey_prefixes = [\"t{number:02}/\"]\nregion = \"us-east-1\"\n\
             endpoint = \"{endpoint}\"\npath_style = true\nformats = [\"csv\"]\ncontent_types = [\"text/csv\"]\nmax_sessions = {SESSIONS}\n\
             max_message_bytes = 16777216\n{quota}\n"
        )?;
    }
    let unnamed = folder.join("tenants.toml.new");
    std::fs::write(&unnamed, text)?;
    Ok(std::fs::rename(unnamed, folder.join("tenants.toml"))?)
}

impl House {
    fn note(&self, what: impl FnOnce(&mut Report)) {
        what(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn whole(self: &Arc<Self>, length: Duration, seed: u64, tell: impl Fn(Duration, &Report)) -> Result<Report> {
        let stored: Vec<Arc<Mutex<BTreeSet<i64>>>> = (0..TENANTS).map(|_| Arc::default()).collect();
        // Everybody once, so that what comes only once has come.
        self.ready().await?;
        for (tenant, stored) in stored.iter().enumerate() {
            self.honest(tenant, 0..500, stored).await.context("on a sound store")?;
        }
        // And a while of all there is, so that the threads and pages that it takes are there.
        self.phase(0, WARM_UP.min(length), seed, &stored).await?;
        self.settled().await?;
        let start = self.memory_bytes()?;
        let (mut past, mut number) = (Duration::ZERO, 0);
        while past < length {
            let stretch = STRETCH.min(length - past);
            (past, number) = (past + stretch, number + 1);
            self.phase(number, stretch, seed, &stored).await?;
            self.settled().await?;
            let (now, faults) = (self.memory_bytes()?, self.proxy.faults());
            self.note(|report| (report.memory_bytes, report.faults) = ([start, now], faults));
            let so_far = *self.report.lock().unwrap_or_else(PoisonError::into_inner);
            tell(past, &so_far);
        }
        // Every session slot is available, for honest and hostile tenants alike.
        for tenant in 0..TENANTS {
            for stored in [&stored[tenant]; SESSIONS] {
                self.honest(tenant, -1..0, stored).await.with_context(|| format!("tenant {tenant} at the end"))?;
            }
        }
        self.settled().await?;
        for (tenant, stored) in stored.iter().enumerate() {
            self.check(tenant, &stored.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        let faults = self.proxy.faults();
        self.note(|report| report.faults = faults);
        // Memory that the system is slow to reclaim does not count as held.
        let mut end = self.memory_bytes()?;
        let until = Instant::now() + Duration::from_secs(30);
        while end > start + start / 10 + GRAIN_BYTES && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(500)).await;
            end = self.memory_bytes()?;
        }
        self.note(|report| report.memory_bytes = [start, end]);
        ensure!(end <= start + start / 10 + GRAIN_BYTES, "{start} bytes of memory at the start, {end} at the end");
        Ok(*self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Honest tenants, hostile ones, faults and reloads for so long; then a sound store again.
    async fn phase(self: &Arc<Self>, number: u64, length: Duration, seed: u64, stored: &[Arc<Mutex<BTreeSet<i64>>>]) -> Result<()> {
        let (mut tasks, stop) = (tokio::task::JoinSet::new(), CancellationToken::new());
        for (tenant, stored) in stored.iter().enumerate() {
            let dice = Dice::new(seed.wrapping_mul(31).wrapping_add(number * 1_000 + tenant as u64 + 1));
            let (house, stored, stop) = (self.clone(), stored.clone(), stop.clone());
            if tenant % 2 == 0 {
                let first = 1_000 + number as i64 * IDS_OF_A_STRETCH;
                tasks.spawn(async move { house.honest_until_told(tenant, first, &stored, dice, &stop).await });
            } else {
                tasks.spawn(async move { house.hostile_until_told(tenant, dice, &stop).await });
            }
        }
        let weather = tokio::spawn({
            let (house, dice, stop) = (self.clone(), Dice::new(seed.wrapping_add(number + 7)), stop.clone());
            async move { house.weather(dice, &stop).await }
        });
        tokio::time::sleep(length).await;
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        weather.await??;
        self.proxy.set_rules([]);
        Ok(())
    }

    fn spec(&self, tenant: usize) -> Value {
        json!({
            "bucket": BUCKET, "region": "us-east-1", "format": "csv", "path": format!("t{tenant:02}/{{{{TABLE}}}}/{{{{UUID}}}}.csv"),
            "test_write": false, "batch_size": 200,
        })
    }

    async fn client(&self, tenant: usize) -> Result<Client> {
        let channel =
            Endpoint::from_shared(format!("http://{}", self.places[tenant]))?.connect_timeout(Duration::from_secs(5)).connect().await?;
        Ok(Client(PluginClient::new(channel)))
    }

    /// Writes these IDs as the CLI does; they count once they are reported as stored.
    async fn honest(&self, tenant: usize, range: Range<i64>, stored: &Mutex<BTreeSet<i64>>) -> Result<()> {
        let mut client = self.client(tenant).await?;
        let messages: Vec<Message> =
            range.clone().step_by(100).map(|from| Message::Insert(ids("t", from..(from + 100).min(range.end)).into())).collect();
        client.round(&self.spec(tenant), messages).await?;
        stored.lock().unwrap_or_else(PoisonError::into_inner).extend(range);
        Ok(())
    }

    async fn honest_until_told(
        &self,
        tenant: usize,
        mut next: i64,
        stored: &Mutex<BTreeSet<i64>>,
        mut dice: Dice,
        stop: &CancellationToken,
    ) -> Result<()> {
        while !stop.is_cancelled() {
            let rows = 1 + dice.roll(2_000) as i64;
            match self.honest(tenant, next..next + rows, stored).await {
                Ok(()) => self.note(|report| report.stored += 1),
                Err(_) => self.note(|report| report.failed += 1),
            }
            next += rows;
        }
        Ok(())
    }

    /// Attacks, leaves in the middle, is honest; each for a while.
    async fn hostile_until_told(&self, tenant: usize, mut dice: Dice, told: &CancellationToken) -> Result<()> {
        while !told.is_cancelled() {
            let end = Duration::from_millis(200 + dice.roll(3_000));
            match dice.roll(4) {
                0 => {
                    let Ok(mut client) = self.client(tenant).await else { continue };
                    if client.init(&self.spec(tenant)).await.is_ok() {
                        let messages = (0..).map(|from| Message::Insert(ids("left", from * 100..from * 100 + 100).into()));
                        // Dropped on the way, and the connection with it.
                        let _left = tokio::time::timeout(end, client.write(messages)).await;
                        self.note(|report| report.left += 1);
                    }
                }
                1 => drop(self.honest(tenant, 0..100, &Mutex::default()).await),
                _ => {
                    let attack = Attack::ALL[dice.below(Attack::ALL.len())];
                    let stop = told.child_token();
                    let (ended, spec) = (stop.clone(), if dice.roll(2) == 0 { self.spec(tenant) } else { self.spec(TENANTS) });
                    let timer = async {
                        tokio::time::sleep(end).await;
                        ended.cancel();
                    };
                    let (done, ()) = tokio::join!(attack.run(&self.places[tenant], &spec, &stop), timer);
                    let done = done.unwrap_or_default();
                    self.note(|report| report.attacks += done);
                }
            }
        }
        Ok(())
    }

    /// The store's faults, and reloads.
    async fn weather(&self, mut dice: Dice, stop: &CancellationToken) -> Result<()> {
        let every = |count: u64| When::Every(NonZeroU64::new(count).unwrap_or(NonZeroU64::MIN));
        while !stop.is_cancelled() {
            self.proxy.set_rules(match dice.roll(5) {
                0 => vec![],
                1 => vec![Rule::any(every(3), Fault::Answer(StatusCode::SERVICE_UNAVAILABLE))],
                2 => vec![Rule::any(every(5), Fault::Reset)],
                3 => vec![Rule::any(every(7), Fault::DropAnswer)],
                _ => vec![Rule::any(every(4), Fault::Stall(Duration::from_secs(2)))],
            });
            if dice.roll(3) == 0 {
                let reloads = self.report.lock().unwrap_or_else(PoisonError::into_inner).reloads + 1;
                self.note(|report| report.reloads = reloads);
                write_file(self.folder.path(), &self.places, &self.proxy.endpoint(), reloads)?;
                self.hang_up().await?;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500 + dice.roll(2_000))) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn hang_up(&self) -> Result<()> {
        let id = self.child.id().context("the process has ended")?;
        ensure!(Command::new("kill").args(["-HUP", &id.to_string()]).status().await?.success(), "it cannot be told to reload");
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<String> {
        let mut socket = TcpStream::connect(&self.status).await?;
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Waits until sessions can be opened.
    async fn ready(&self) -> Result<()> {
        let until = Instant::now() + SETTLING;
        while !self.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
            ensure!(Instant::now() < until, "it is not ready in time");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until no session is open and nothing is reserved.
    async fn settled(&self) -> Result<()> {
        let until = Instant::now() + SETTLING;
        loop {
            let metrics = self.get("/metrics").await?;
            let held: Vec<&str> = metrics
                .lines()
                .filter(|line| {
                    ["lakegate_sessions{", "lakegate_queued_messages{", "lakegate_budget_used_bytes{"]
                        .iter()
                        .any(|name| line.starts_with(name))
                })
                .filter(|line| !line.ends_with(" 0"))
                .collect();
            if held.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("still held: {held:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn memory_bytes(&self) -> Result<u64> {
        let id = self.child.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the system does not tell the memory of a process")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    /// Checks that every ID that was reported as stored is in an object below the tenant's prefix.
    fn check(&self, tenant: usize, stored: &BTreeSet<i64>) -> Result<()> {
        let mut found = BTreeSet::new();
        for record in self.store.records(BUCKET, &format!("t{tenant:02}/t/"))? {
            let text = std::fs::read_to_string(self.store.object_path(BUCKET, &record.key))?;
            found.extend(text.lines().filter_map(|line| line.parse::<i64>().ok()));
        }
        let lost: Vec<_> = stored.difference(&found).take(5).collect();
        ensure!(lost.is_empty(), "tenant {tenant}: told to be stored, and in no object: {lost:?}");
        Ok(())
    }
}
