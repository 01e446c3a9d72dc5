//! Fixtures of the integration tests (live stores, fault proxies, tables as a source sends them) and of the benchmarks.
//!
//! A test with requirements that a machine may lack uses [`tiers`], which prints `skipped: …` or, where nothing may be skipped, fails.

pub mod attack;
pub mod bench;
pub mod chaos;
pub mod chart;
pub mod chromium;
pub mod cli;
pub mod collector;
pub mod dialects;
pub mod fake_plugin;
pub mod faults;
pub mod fuzz;
pub mod generate;
pub mod iceberg;
pub mod layout;
pub mod minio;
pub mod moto;
pub mod output;
pub mod plugin;
pub mod process;
pub mod python;
pub mod raw_h2;
pub mod recorder;
pub mod run;
pub mod s3;
pub mod seaweedfs;
pub mod spark;
pub mod tables;
pub mod test_dir;
pub mod tiers;
pub mod tpch;
pub mod versitygw;

use std::path::PathBuf;

/// The folder of the golden cases.
pub fn golden_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"))
}

/// Prints how many cases of a corpus ran, and fails if the number is unexpected.
///
/// # Panics
/// A different number of cases ran.
#[expect(clippy::print_stdout, reason = "a corpus says how much of it ran")]
pub fn corpus(what: &str, ran: usize, known: usize) {
    println!("{what}: {ran} cases, 0 skipped");
    assert_eq!(ran, known, "{what}: {known} cases are known");
}
