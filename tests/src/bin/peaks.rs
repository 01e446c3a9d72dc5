//! Peak memory of `lakegate serve` under unusual loads: the largest messages, records of one row, thousands of tables, a store slower than its
//! client.
//!
//! usage: peaks [NAME…]. Each line is a separate process with default settings, on the embedded store served by this process.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lakegate_tests::faults::{Fault, Operation, Proxy, Rule, When};
use lakegate_tests::plugin::{self, Launch, Message, Network};
use lakegate_tests::s3::{REGION, Store};
use lakegate_tests::tables::ids;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const BUCKET: &str = "peaks";
/// Rows of one `int64` column that fill a message of 200 MiB to within a kibibyte.
const ROWS_OF_200_MIB: i64 = (200 << 20) / 8 - 128;

/// A load: its name, additional spec fields, the store's delay, and the messages.
struct Load {
    name: &'static str,
    spec: Value,
    delay: Duration,
    messages: fn() -> Box<dyn Iterator<Item = Message> + Send>,
}

fn insert(table: &str, rows: std::ops::Range<i64>) -> Message {
    Message::Insert(Bytes::from(ids(table, rows)))
}

fn loads() -> Vec<Load> {
    let whole = |format: &str| json!({"format": format, "path": "{{TABLE}}", "no_rotate": true});
    let rotating = |format: &str| json!({"format": format, "path": "{{TABLE}}/{{UUID}}"});
    let largest: fn() -> Box<dyn Iterator<Item = Message> + Send> = || Box::new((0..4).map(|_| insert("large", 0..ROWS_OF_200_MIB)));
    let singles: fn() -> Box<dyn Iterator<Item = Message> + Send> = || Box::new((0..300_000).map(|id| insert("one_by_one", id..id + 1)));
    let many: fn() -> Box<dyn Iterator<Item = Message> + Send> =
        || Box::new((0..20).flat_map(|round| (0..2_000).map(move |table| insert(&format!("table_{table}"), round * 50..(round + 1) * 50))));
    let fast: fn() -> Box<dyn Iterator<Item = Message> + Send> =
        || Box::new((0..1_000).map(|part| insert("t", part * 100_000..(part + 1) * 100_000)));
    // With ten thousand rows per object, the number of requests rather than their size would dominate.
    let large_objects = json!({"format": "csv", "path": "{{TABLE}}/{{UUID}}", "batch_size": 100_000});
    let load = |name, spec, messages| Load { name, spec, delay: Duration::ZERO, messages };
    vec![
        load("nothing", whole("csv"), || Box::new(std::iter::empty())),
        load("4 messages of 200 MiB, csv", whole("csv"), largest),
        load("4 messages of 200 MiB, json", whole("json"), largest),
        load("4 messages of 200 MiB, parquet", whole("parquet"), largest),
        load("4 messages of 200 MiB, csv, rotating", rotating("csv"), largest),
        load("300,000 records of one row, csv", rotating("csv"), singles),
        load("300,000 records of one row, parquet", rotating("parquet"), singles),
        load("2,000 tables in turn, csv", whole("csv"), many),
        load("2,000 tables in turn, parquet", whole("parquet"), many),
        load("2,000 tables in turn, csv, rotating", rotating("csv"), many),
        Load { name: "800 MB into a store 1 s late", spec: large_objects, delay: Duration::from_secs(1), messages: fast },
    ]
}

#[tokio::main]
async fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |load: &Load| wanted.is_empty() || wanted.iter().any(|wanted| load.name.contains(wanted.as_str()));
    let (chosen, others): (Vec<_>, Vec<_>) = loads().into_iter().partition(is_wanted);
    if chosen.is_empty() {
        println!("usage: peaks [PART OF A NAME…]\n\nThe loads:");
        others.iter().for_each(|load| println!("  {}", load.name));
        return Ok(());
    }
    println!("| load | seconds | messages a second | peak MB |");
    println!("|---|---|---|---|");
    for load in chosen {
        run(&load).await.with_context(|| load.name)?;
    }
    Ok(())
}

async fn run(load: &Load) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::embedded(folder.path()).await?;
    store.client().create_bucket().bucket(BUCKET).send().await?;
    let rules = (!load.delay.is_zero()).then(|| Rule::on(Operation::Put, When::Always, Fault::Delay(load.delay)));
    let proxy = Proxy::start(&store.endpoint, rules).await?;
    let plugin = Launch::new(&plugin::program()?, Network::Unix).keys(&store.access_key, &store.secret_key).start().await?;
    let mut client = plugin.connect().await?;
    let mut spec = json!({
        "bucket": BUCKET, "region": REGION, "test_write": false, "endpoint": proxy.endpoint(), "use_path_style": true,
    });
    if let (Value::Object(spec), Value::Object(own)) = (&mut spec, load.spec.clone()) {
        spec.extend(own);
    }
    let count = (load.messages)().count();
    let begun = Instant::now();
    client.round(&spec, (load.messages)()).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak = plugin.peak_bytes().context("the system does not tell the memory of a process")?;
    let ended = plugin.stop().await?;
    ensure!(ended.status.success(), "the plugin ended with {}: {}", ended.status, ended.errors);
    println!("| {} | {seconds:.1} | {:.0} | {:.0} |", load.name, count as f64 / seconds, peak as f64 / 1e6);
    store.stop().await;
    Ok(())
}
