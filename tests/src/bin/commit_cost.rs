//! What a commit costs: requests and CPU time of an object in each way of delivery, for objects of one put and of several parts.
//!
//! usage: commit_cost [--objects N] [--repeats N] [--formats csv,parquet]. Each session is a process of its own, on one lane, with the embedded
//! store behind a counting proxy in this process. The ways take turns, and the medians of all turns are printed.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use lakegate::{Destination, Options, Runtime, SyncContext};
use lakegate_local_store::{AccessKey, LocalStore};
use lakegate_tests::bench::{Arguments as TableArguments, median, tables};
use lakegate_tests::faults::{Operation, Proxy, Seen};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use tokio::net::TcpListener;

const BUCKET: &str = "cost";
const KEY: &str = "lakegate-test";
const SECRET: &str = "lakegate-test-secret";

/// Rows of lineitem in an object: some tens of kilobytes, so that requests show.
const ROWS: usize = 200;
/// Bytes of a part where objects have several.
const SMALL_PART_BYTES: u64 = 4 << 10;
/// Rows of lineitem at scale factor 1.
const LINEITEM_ROWS: f64 = 6_000_000.0;

/// How the rows of a sync are delivered.
struct Way {
    name: &'static str,
    /// Do attempts bring the same rows, as those of `load`?
    repeatable: bool,
    /// Is the attempt that is measured the second one?
    again: bool,
    /// Fields of the spec.
    spec: fn() -> Value,
}

fn ways() -> [Way; 9] {
    let way = |name, repeatable, again, spec| Way { name, repeatable, again, spec };
    [
        way("`at_least_once`", false, false, || json!({})),
        way("`exactly_once` by object", true, false, || json!({"delivery": "exactly_once"})),
        way("… repeated", true, true, || json!({"delivery": "exactly_once"})),
        way("… repeated, `trust`", true, true, || json!({"delivery": "exactly_once", "commit": {"on_existing": "trust"}})),
        way("`exactly_once` by object, manifest", true, false, || json!({"delivery": "exactly_once", "manifest": manifest()})),
        way("`exactly_once` by commit", false, false, || json!({"delivery": "exactly_once", "manifest": manifest()})),
        way("… repeated", false, true, || json!({"delivery": "exactly_once", "manifest": manifest()})),
        way("`at_least_once`, `on_commit`", false, false, || json!({"visibility": "on_commit", "manifest": manifest()})),
        way(
            "`exactly_once` by commit, `on_commit`",
            false,
            false,
            || json!({"delivery": "exactly_once", "visibility": "on_commit", "manifest": manifest()}),
        ),
    ]
}

fn manifest() -> Value {
    json!({"path": "_manifests/{{TABLE}}/{{COMMIT_ID}}.json"})
}

/// The arguments of this program.
struct Arguments {
    objects: usize,
    repeats: usize,
    formats: Vec<String>,
}

impl Arguments {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Self { objects: 1_000, repeats: 5, formats: vec!["csv".to_owned(), "parquet".to_owned()] };
        while let Some(option) = args.next() {
            let value = args.next().with_context(|| format!("{option} has no value"))?;
            match option.as_str() {
                "--objects" => parsed.objects = value.parse()?,
                "--repeats" => parsed.repeats = value.parse()?,
                "--formats" => parsed.formats = value.split(',').map(str::to_owned).collect(),
                other => bail!("unknown option {other}; known are --objects, --repeats and --formats"),
            }
        }
        ensure!(parsed.objects > 0 && parsed.repeats > 0, "at least one object and one turn");
        Ok(parsed)
    }
}

/// What a session's process is asked for, as JSON on its command line.
#[derive(Serialize, Deserialize)]
struct Task {
    spec: Value,
    repeatable: bool,
    objects: usize,
    /// Bytes of the parts of objects that are to have several.
    part_bytes: Option<u64>,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
struct Answer {
    cpu_seconds: f64,
}

/// One turn of one way.
struct Turn {
    cpu_seconds: f64,
    requests: Vec<Seen>,
}

/// The first argument of a session's process.
const SESSION: &str = "--session";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    let runtime = tokio::runtime::Runtime::new()?;
    if args.next_if(|first| first == SESSION).is_some() {
        let task: Task = serde_json::from_str(&args.next().context("a task")?)?;
        println!("{}", serde_json::to_string(&runtime.block_on(session(task))?)?);
        return Ok(());
    }
    runtime.block_on(compare(&Arguments::parse(args)?))
}

/// Writes objects, and measures what that took of this process from the first row to the end of the commit.
async fn session(task: Task) -> Result<Answer> {
    let scale = (task.objects * ROWS + 10 * ROWS) as f64 / LINEITEM_ROWS;
    let defaults = TableArguments::parse_from(std::iter::empty())?;
    let arguments = TableArguments { scale, record_rows: ROWS, tables: vec!["lineitem".to_owned()], ..defaults };
    let table = tables(&arguments)?.pop().context("lineitem")?;
    // The last record is shorter than the others.
    ensure!(table.messages.len() > task.objects, "{} records of lineitem", table.messages.len());
    let messages: Vec<Bytes> = table.messages.into_iter().take(task.objects).map(Bytes::from).collect();
    let mut options = Options { lanes: NonZeroUsize::MIN, ..Options::default() };
    if let Some(bytes) = task.part_bytes {
        options.connect.min_part_bytes = bytes;
    }
    let context = SyncContext { commit_id: "c".to_owned(), repeatable: task.repeatable, ..SyncContext::from("sync") };
    let session = Destination::new(Runtime::new()?, options).open(&task.spec.to_string(), context).await?;
    let before = cpu_seconds()?;
    let mut write = session.write()?;
    for message in messages {
        write.insert(message).await?;
    }
    let report = write.finish().await;
    let cpu_seconds = cpu_seconds()? - before;
    session.close().await;
    if let Some((table, failure)) = report.failures().next() {
        bail!("{table}: {failure}");
    }
    Ok(Answer { cpu_seconds })
}

/// CPU time of this process, of all threads, in user and system.
fn cpu_seconds() -> Result<f64> {
    /// The unit that Linux shows to programs, whatever the kernel uses.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // After the name, which is in parentheses: state is the first field, user and system time are 12th and 13th.
    let mut fields = stat.rsplit(')').next().context("a name")?.split_whitespace().skip(11);
    let mut ticks = || anyhow::Ok(fields.next().context("a time")?.parse::<f64>()?);
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

async fn compare(arguments: &Arguments) -> Result<()> {
    let Arguments { objects, repeats, formats } = arguments;
    println!("{objects} objects of {ROWS} rows of lineitem, one lane, the embedded store over HTTP; medians of {repeats} turns\n");
    println!("| Delivery | format | object | requests an object | others of the sync | CPU µs an object | more than at least once |");
    println!("|---|---|---|---|---|---|---|");
    for format in formats {
        for part_bytes in [None, Some(SMALL_PART_BYTES)] {
            let ways = ways();
            let mut turns: Vec<Vec<Turn>> = ways.iter().map(|_| Vec::new()).collect();
            for _ in 0..*repeats {
                for (way, turns) in ways.iter().zip(&mut turns) {
                    turns.push(turn(way, format, part_bytes, *objects).await.with_context(|| way.name)?);
                }
            }
            let micros = |turns: &[Turn]| {
                let mut all: Vec<f64> = turns.iter().map(|turn| turn.cpu_seconds * 1e6 / *objects as f64).collect();
                median(&mut all)
            };
            let plain = micros(turns.first().context("a way")?);
            for (way, turns) in ways.iter().zip(&turns) {
                let requests = &turns.first().context("a turn")?.requests;
                let (own, others): (Vec<&Seen>, Vec<&Seen>) = requests.iter().partition(|seen| !is_of_sync(&seen.path));
                println!(
                    "| {} | {format} | {} | {} | {} | {:.0} | {:+.0} % |",
                    way.name,
                    if part_bytes.is_some() { "parts" } else { "one put" },
                    counted(&own, *objects),
                    counted(&others, 1),
                    micros(turns),
                    (micros(turns) / plain - 1.0) * 100.0,
                );
            }
        }
    }
    Ok(())
}

/// Whether a request is about the sync, and not about an object.
fn is_of_sync(path: &str) -> bool {
    path.contains("/_lakegate/") || path.contains("/_manifests/")
}

/// Requests by operation, for each of `things`.
fn counted(requests: &[&Seen], things: usize) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in requests {
        *counts.entry(name(seen.operation)).or_default() += 1;
    }
    let all = requests.len() as f64 / things as f64;
    let each: Vec<String> = counts.iter().map(|(name, count)| format!("{} {name}", rounded(*count as f64 / things as f64))).collect();
    if each.is_empty() { "0".to_owned() } else { format!("{}: {}", rounded(all), each.join(", ")) }
}

fn rounded(number: f64) -> String {
    format!("{number:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Put => "put",
        Operation::Create => "create",
        Operation::Part => "part",
        Operation::Complete => "complete",
        Operation::Abort => "abort",
        Operation::Head => "head",
        Operation::CommitTable => "commit-table",
        Operation::Other => "other",
    }
}

/// One turn: a store of its own, an attempt before if the way has one, and the attempt that is measured.
async fn turn(way: &Way, format: &str, part_bytes: Option<u64>, objects: usize) -> Result<Turn> {
    let folder = tempfile::tempdir()?;
    let store = LocalStore::open_with_min_part_bytes(folder.path(), 1)?;
    store.create_bucket(BUCKET)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let server = store.serve(listener, [AccessKey { id: KEY.to_owned(), secret: SECRET.to_owned() }])?;
    let proxy = Proxy::start(&server.endpoint(), []).await?;
    let path = if way.repeatable { "{{TABLE}}/{{SEQ}}" } else { "{{TABLE}}/{{UUID}}" };
    let mut spec = json!({
        "bucket": BUCKET, "region": "us-east-1", "path": path, "format": format, "test_write": false, "batch_size": ROWS,
        "endpoint": proxy.endpoint(), "use_path_style": true,
    });
    if let (Value::Object(spec), Value::Object(own)) = (&mut spec, (way.spec)()) {
        spec.extend(own);
    }
    let task = serde_json::to_string(&Task { spec, repeatable: way.repeatable, objects, part_bytes })?;
    if way.again {
        attempt(&task).await?;
    }
    let before = proxy.seen().len();
    let Answer { cpu_seconds } = attempt(&task).await?;
    let requests = proxy.seen().split_off(before);
    server.stop().await;
    Ok(Turn { cpu_seconds, requests })
}

/// Runs a session in a process of its own.
async fn attempt(task: &str) -> Result<Answer> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args([SESSION, task]).env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).env_remove("AWS_SESSION_TOKEN");
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
