//! Runs twenty tenants, half of them hostile, on a faulty store, for any length of time.
//!
//! usage: chaos [--seconds N] [--seed N]. Runs for an hour by default, and prints memory every five minutes. Exits with an error if any guarantee was
//! violated.
#![expect(clippy::print_stdout, reason = "a program that says what it has seen")]

use anyhow::{Context as _, Result};
use lakegate_tests::{chaos, plugin};
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, default: u64| match arguments.iter().position(|argument| argument == name) {
        None => Ok(default),
        Some(at) => arguments.get(at + 1).and_then(|value| value.parse().ok()).with_context(|| format!("{name} takes a number")),
    };
    let (seconds, seed) = (value("--seconds", 3_600)?, value("--seed", 1)?);
    let begun = Instant::now();
    let tell = |past: Duration, report: &chaos::Report| {
        let [start, now] = report.memory_bytes.map(|bytes| bytes >> 20);
        println!(
            "after {} s of chaos ({} s in all): {now} MiB of memory, {start} at the start; {} Writes stored, {} failed, {} clients left",
            past.as_secs(),
            begun.elapsed().as_secs(),
            report.stored,
            report.failed,
            report.left
        );
    };
    let report = chaos::run(&plugin::program()?, Duration::from_secs(seconds), seed, tell).await.with_context(|| format!("seed {seed}"))?;
    println!("{seconds} s, seed {seed}: {report:#?}");
    Ok(())
}
