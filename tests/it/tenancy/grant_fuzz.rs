//! Mutation fuzzing of grants, specs and keys: the seeds of `tests/fuzz/seeds/grant`, and a fixed number of mutations of them from a fixed seed.
//! `LAKEGATE_PROPERTY_CASES` and `LAKEGATE_PROPERTY_SEED` select others.

use lakegate_tests::fuzz::{PART, Reached, grant};
use lakegate_tests::generate::{Dice, asked};
use std::path::Path;

/// Number of seeds in the repository, so that a lost one is noticed.
const SEEDS: usize = 7;
const CASES: u64 = 20_000;

/// Snippets for mutations, besides the seeds themselves.
const WORDS: [&str; 34] = [
    "tenant1/",
    "tenant10/",
    "tenant1",
    "../",
    "..",
    "./",
    "/",
    "//",
    "%2e%2e/",
    "\\",
    "\u{0}",
    "\u{7f}",
    "\u{202e}",
    "é",
    "{{TABLE}}",
    "{{UUID}}",
    "{{",
    "*",
    "?",
    "${aws:username}",
    "\"",
    "\"\"",
    ", ",
    "\n",
    "null",
    "true",
    "-1",
    "18446744073709551615",
    "[]",
    "{}",
    "a",
    "A/",
    "csv",
    PART,
];

fn seeds() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/grant");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("a seed").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).expect("a seed is text")).collect()
}

/// The parts of up to three seeds, with up to four changes.
fn mutated(seeds: &[String], dice: &mut Dice) -> Vec<u8> {
    let parts: Vec<&str> = (0..3).filter_map(|part| seeds[dice.below(seeds.len())].split(PART).nth(part)).collect();
    let mut bytes = parts.join(PART).into_bytes();
    for _ in 0..dice.below(5) {
        let from = dice.below(bytes.len());
        let to = (from + dice.below(12)).min(bytes.len());
        match dice.below(4) {
            0 => bytes.insert(from, u8::try_from(dice.below(256)).unwrap_or_default()),
            1 => drop(bytes.drain(from..to)),
            2 => bytes = [&bytes[..from], WORDS[dice.below(WORDS.len())].as_bytes(), &bytes[to..]].concat(),
            _ => bytes = [&bytes[..to], &bytes[from..]].concat(),
        }
    }
    bytes
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the log looks for")]
fn no_grant_spec_or_key_gets_out_of_a_prefix() {
    let seeds = seeds();
    assert_eq!(seeds.len(), SEEDS);
    let reached: Vec<Reached> = seeds.iter().map(|seed| grant(seed.as_bytes())).collect();
    assert!(reached.iter().all(|it| it.grant) && reached.iter().filter(|it| it.admitted).count() == 5, "{reached:?}");
    assert_eq!(reached.iter().filter(|it| it.catalog).count(), 1, "{reached:?}");

    let (seed, cases) = (asked("LAKEGATE_PROPERTY_SEED", 1), asked("LAKEGATE_PROPERTY_CASES", CASES));
    let mut dice = Dice::new(seed);
    let [mut grants, mut specs, mut admitted, mut allowed, mut denied] = [0_u64; 5];
    for case in 0..cases {
        let input = mutated(&seeds, &mut dice);
        let reached = std::panic::catch_unwind(|| grant(&input));
        let reached = reached.unwrap_or_else(|_| panic!("case {case} of seed {seed}: {:?}", String::from_utf8_lossy(&input)));
        grants += u64::from(reached.grant);
        specs += u64::from(reached.spec);
        admitted += u64::from(reached.admitted);
        allowed += reached.allowed;
        denied += reached.denied;
    }
    println!(
        "{} seeds, {cases} mutations: {grants} grants, {specs} specs, {admitted} admitted; keys: {allowed} allowed, {denied} denied",
        seeds.len()
    );
    // The mutations pass the parsers, and reach both outcomes of each decision. A grant and a spec of two seeds seldom fit each other.
    assert!(
        cases < CASES || [grants, specs, admitted, allowed, denied].iter().all(|count| *count > cases / 25),
        "the inputs reach nothing"
    );
}
