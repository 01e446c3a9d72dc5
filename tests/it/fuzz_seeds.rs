//! Replays the seeds of the fuzz targets without a fuzzer, as regression tests.
//!
//! `LAKEGATE_FUZZ_FOLDER=…` replays another folder of inputs, such as a fuzzer's corpus.

use lakegate_guest::testing::fuzz::TARGETS;
use std::path::{Path, PathBuf};

/// Number of seeds in the repository, by target, so that a lost one is noticed.
const SEEDS: [(&str, usize); 6] = [("ipc_csv", 28), ("ipc_json", 28), ("ipc_parquet", 28), ("spec", 46), ("path", 13), ("athena", 14)];

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort();
    inputs
}

#[test]
#[expect(clippy::print_stdout, reason = "the count is what a reader of the log looks for")]
fn every_seed_holds_the_laws_of_its_target() {
    let own = std::env::var_os("LAKEGATE_FUZZ_FOLDER");
    let folder = own.clone().map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds"), PathBuf::from);
    let mut run = 0;
    for (name, body) in TARGETS {
        let seeds = inputs(&folder.join(name));
        for seed in &seeds {
            let data = std::fs::read(seed).expect("a seed");
            // Print the seed before a panic ends the test.
            println!("{}", seed.display());
            body(&data);
        }
        if own.is_none() {
            let known = SEEDS.iter().find(|(target, _)| *target == name).map(|(_, known)| *known);
            assert_eq!(Some(seeds.len()), known, "{name}");
        }
        run += seeds.len();
    }
    println!("{run} seeds, 0 skipped");
}
