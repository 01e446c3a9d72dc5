//! What many tenants in one process cost, and what a hostile one takes from an honest one.
//!
//! usage: tenants [--scale F] [--repeats N]. Three tables: sessions that do nothing; a hundred tenants at once; an honest tenant beside each
//! attack of the hostile component. The store is the embedded one.
#![expect(clippy::print_stdout, reason = "a program that prints tables")]

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lakegate::engine::{CompileLimits, Compiler, Runtime};
use lakegate::local_store::LocalStore;
use lakegate::policy::{Grant, Tenant};
use lakegate::session::{Destination, Options, Session};
use lakegate_tests::bench::{Arguments, Table, median, tables};
use lakegate_tests::plugin;
use lakegate_tests::tables::ids_with_metadata;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: lakegate::cli::Allocator = lakegate::cli::Allocator;

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
    let arguments = Arguments { tables: vec!["lineitem".to_owned()], ..Arguments::parse()? };
    let runtime = tokio::task::spawn_blocking(Runtime::new).await??;
    idle(&runtime).await?;
    let table = tables(&arguments)?.pop().context("lineitem")?;
    let messages: Arc<[Bytes]> = table.messages.iter().map(|message| Bytes::copy_from_slice(message)).collect();
    many(&runtime, &table, &messages).await?;
    beside(&runtime, &arguments, &table, &messages).await
}

/// A store in a folder of its own.
struct Place {
    store: Arc<LocalStore>,
    _folder: tempfile::TempDir,
}

impl Place {
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
        options.connect.embedded = Some(self.store.clone());
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

/// What a session costs that does nothing, one lane each.
async fn idle(runtime: &Arc<Runtime>) -> Result<()> {
    println!("sessions that do nothing, one lane each");
    println!("| sessions | ms to open one | KiB of memory for each |");
    println!("|---|---|---|");
    let place = Place::new()?;
    // The first of all warms what is shared.
    place.destination(runtime, Tenant::new("first", grant("first/")), 1)?.open(&spec("first/", "csv"), "sync").await?.close().await;
    for count in IDLE {
        let destinations = (0..count)
            .map(|number| place.destination(runtime, Tenant::new(&format!("idle{number}"), grant("idle/")), 1))
            .collect::<Result<Vec<_>>>()?;
        let (before, begun) = (kibibytes("VmRSS")?, Instant::now());
        let mut sessions: Vec<Session> = Vec::new();
        for destination in &destinations {
            sessions.push(destination.open(&spec("idle/", "csv"), "sync").await?);
        }
        let (took, after) = (begun.elapsed(), kibibytes("VmRSS")?);
        println!("| {count} | {:.2} | {:.0} |", took.as_secs_f64() * 1e3 / count as f64, (after - before) / count as f64);
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
        let place = Place::new()?;
        let begun = Instant::now();
        let mut syncs = Vec::new();
        for number in 0..count {
            let (prefix, format) = (format!("tenant{number}/"), ["csv", "json", "parquet"][number % 3]);
            let destination = place.destination(runtime, Tenant::new(&prefix, grant(&prefix)), 1)?;
            let messages = messages.clone();
            syncs.push(tokio::spawn(async move { sync(&destination, &spec(&prefix, format), &messages).await }));
        }
        let mut took: [Vec<f64>; 3] = Default::default();
        for (number, sync) in syncs.into_iter().enumerate() {
            took[number % 3].push(sync.await??.as_secs_f64());
        }
        let wall = begun.elapsed().as_secs_f64();
        let rows: u64 = place.store.records(BUCKET, "")?.len() as u64;
        ensure!(rows > 0, "nothing landed");
        let fairness = took.map(|mut seconds| {
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

/// Attacks until it is told to stop: session after session, a table for each lane.
async fn attack(destination: Destination, behave: &'static str, stop: CancellationToken) -> u64 {
    let mut sessions = 0;
    while !stop.is_cancelled() {
        let Ok(session) = destination.open("{}", "sync").await else {
            // Held off for its traps.
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

/// An honest tenant's rate beside each attack. Two tenants share the machine: half of what it has alone is its fair share (1.00).
async fn beside(runtime: &Arc<Runtime>, arguments: &Arguments, table: &Table, messages: &Arc<[Bytes]>) -> Result<()> {
    let hostile = {
        let (runtime, compiler) = (runtime.clone(), Compiler::new(plugin::program()?, CompileLimits::default()));
        tokio::task::spawn_blocking(move || runtime.beside(Path::new(env!("LAKEGATE_HOSTILE_COMPONENT")), &compiler)).await??
    };
    println!("\nan honest tenant ({:.0} MB of lineitem to CSV, two lanes) beside a hostile one ({HOSTILE_LANES} lanes)", table.megabytes());
    println!("| attack | its sessions | its CPU s | honest MB/s | of its fair share |");
    println!("|---|---|---|---|---|");
    let honest = async |place: &Place| {
        let destination = place.destination(runtime, Tenant::new("honest", grant("honest/")), 2)?;
        sync(&destination, &spec("honest/", "csv"), messages).await.map(|took| took.as_secs_f64())
    };
    honest(&Place::new()?).await?;
    for behave in ATTACKS {
        let (mut shares, mut rates, mut sessions, mut computed) = (Vec::new(), Vec::new(), 0, Duration::ZERO);
        for _ in 0..arguments.repeats {
            // Alone and beside in turn: a shared machine is not the same for long.
            let alone = honest(&Place::new()?).await?;
            let place = Place::new()?;
            let tenant = Tenant::new("hostile", grant("bad/"));
            let (account, stop) = (tenant.share.account.clone(), CancellationToken::new());
            let attacking = tokio::spawn(attack(place.destination(&hostile, tenant, HOSTILE_LANES)?, behave, stop.clone()));
            // It is well under way when the honest one begins.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let before = account.computed();
            let beside = honest(&place).await?;
            computed = account.computed() - before;
            stop.cancel();
            sessions = attacking.await?;
            ensure!(sessions > 0, "{behave}: no attack was let in, so nothing was measured");
            shares.push(2.0 * alone / beside);
            rates.push(table.megabytes() / beside);
        }
        let (rate, share) = (median(&mut rates), median(&mut shares));
        println!("| {behave} | {sessions} | {:.1} | {rate:.0} | {share:.2} |", computed.as_secs_f64());
    }
    Ok(())
}
