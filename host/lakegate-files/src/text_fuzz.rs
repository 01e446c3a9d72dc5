//! Mutation fuzzing of the text readers: the seeds of `tests/fuzz/seeds/text`, and a fixed number of mutations of them from a fixed seed.
//! `LAKEGATE_PROPERTY_CASES` and `LAKEGATE_PROPERTY_SEED` select others. (The readers are part of the host, so they are mutated without cargo-fuzz.)

use super::dialect::Delimiter;
use super::tests::cell;
use super::{BadRows, CsvOptions, InputError, InputFormat, Location, ReadOptions, Rows, Schema, Spool, open};
use arrow_array::Array;
use std::io::Write;
use std::path::Path;

/// Seeds in the repository: one that is lost must not pass unseen.
const SEEDS: usize = 12;
/// Mutations: some seconds in a debug build.
const CASES: u64 = 3_000;
/// Bytes of an error: it says what is wrong and repeats no row.
const MAX_ERROR_BYTES: usize = 12_000;

/// What mutations are made of, beside the seeds themselves.
const SNIPPETS: [&str; 40] = [
    ",",
    ";",
    "\t",
    "|",
    "\n",
    "\r\n",
    "\r",
    "\"",
    "\"\"",
    "\\",
    "\0",
    "\u{feff}",
    "{",
    "}",
    "[",
    "]",
    ":",
    "null",
    "true",
    "{}\n",
    "\"a\":",
    "\\ud800",
    "\\u0061",
    "-0",
    "007",
    "+5",
    "1e400",
    "9223372036854775808",
    "0.1",
    "NaN",
    "2024-01-02",
    "2024-01-02T03:04:05Z",
    "2024-01-02T03:04:60",
    "+02:00",
    "[[[[[[[[",
    "id",
    "column_1",
    "é",
    "\u{1f600}",
    "PAR1",
];

/// What a reader made of an input.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Its rows as text, under a header with the types.
    Rows(Vec<String>),
    Refused,
}

/// Reads bytes as each kind of text, from a file and out of gzip, and holds the laws: rows or a short error, never a panic; the same
/// either way; what stands after an error does not count.
fn text(data: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let mut read_well = false;
    for (format, name) in [(InputFormat::Csv, "t.csv"), (InputFormat::Tsv, "t.tsv"), (InputFormat::Ndjson, "t.ndjson")] {
        let plain = outcome(folder.path(), name, data, &ReadOptions { spool: Spool::None, ..ReadOptions::default() });
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zipped = zip.write_all(data).and_then(|()| zip.finish()).expect("memory takes it");
        let unzipped =
            outcome(folder.path(), &format!("{name}.gz"), &zipped, &ReadOptions { spool: Spool::None, ..ReadOptions::default() });
        // What is gzip itself is one layer deeper in the second.
        assert!(plain == unzipped || data.starts_with(&[0x1f, 0x8b]), "{format:?}: {plain:?}, out of gzip {unzipped:?}");
        let csv = CsvOptions { delimiter: Some(Delimiter(b';')), ..CsvOptions::default() };
        let asked = ReadOptions { format: Some(format), csv, spool: Spool::None, ..ReadOptions::default() };
        outcome(folder.path(), "t", data, &asked);
        // What is left out takes no other row with it: a text that is read whole is read alike.
        let skipping = ReadOptions { bad_rows: BadRows::Skip, spool: Spool::None, ..ReadOptions::default() };
        let skipped = outcome(folder.path(), name, data, &skipping);
        assert!(plain == skipped || plain == Outcome::Refused, "{format:?}: {plain:?}, without bad rows {skipped:?}");
        let latin = Some("windows-1252".parse().expect("an encoding"));
        let decoded = ReadOptions { format: Some(format), encoding: latin, spool: Spool::None, ..ReadOptions::default() };
        outcome(folder.path(), "t", data, &decoded);
        read_well |= matches!(plain, Outcome::Rows(_));
    }
    read_well
}

fn outcome(folder: &Path, name: &str, data: &[u8], options: &ReadOptions) -> Outcome {
    let path = folder.join(name);
    std::fs::write(&path, data).expect("the folder can be written");
    match open(&Location::File(path), options).and_then(rows) {
        Ok(rows) => Outcome::Rows(rows),
        Err(error) => {
            let message = error.to_string();
            assert!(message.len() < MAX_ERROR_BYTES && message.contains(name), "{message}");
            Outcome::Refused
        }
    }
}

fn rows((schema, mut rows): (Schema, Rows)) -> Result<Vec<String>, InputError> {
    let header = schema.fields().iter().map(|field| format!("{}:{}", field.name(), field.data_type()));
    let mut lines = vec![header.collect::<Vec<_>>().join("|")];
    while let Some(batch) = rows.next() {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                assert!(rows.next().is_none(), "something follows an error");
                return Err(error);
            }
        };
        assert_eq!(batch.schema(), schema);
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| if column.is_null(row) { "NULL".to_owned() } else { cell(column, row) });
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    Ok(lines)
}

/// Numbers that follow from a seed: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % bound.max(1)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds/text");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("seeds").map(|entry| entry.expect("a seed").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}

/// A seed, or the beginning of one and the end of another, with up to five changes.
fn mutated(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let (a, b) = (&seeds[numbers.below(seeds.len())], &seeds[numbers.below(seeds.len())]);
    let mut bytes = if numbers.below(3) == 0 { [&a[..numbers.below(a.len())], &b[numbers.below(b.len())..]].concat() } else { a.clone() };
    for _ in 0..numbers.below(6) {
        let from = numbers.below(bytes.len());
        let to = (from + numbers.below(12)).min(bytes.len());
        match numbers.below(4) {
            0 => bytes.insert(from, u8::try_from(numbers.below(256)).unwrap_or_default()),
            1 => drop(bytes.drain(from..to)),
            2 => bytes = [&bytes[..from], SNIPPETS[numbers.below(SNIPPETS.len())].as_bytes(), &bytes[to..]].concat(),
            _ => bytes = [&bytes[..to], &bytes[from..]].concat(),
        }
    }
    bytes
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the log looks for")]
fn any_text_is_rows_or_an_error_the_same_either_way() {
    let seeds = seeds();
    assert_eq!(seeds.len(), SEEDS);
    assert!(seeds.iter().filter(|seed| text(seed)).count() >= SEEDS - 2, "seeds are texts, but for two");
    let (seed, cases) = (number("LAKEGATE_PROPERTY_SEED", 1), number("LAKEGATE_PROPERTY_CASES", CASES));
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut well = 0;
    for case in 0..cases {
        let input = mutated(&seeds, &mut numbers);
        let read = std::panic::catch_unwind(|| text(&input));
        well += u64::from(read.unwrap_or_else(|_| panic!("case {case} of seed {seed}: {:?}", String::from_utf8_lossy(&input))));
    }
    println!("{} seeds, {cases} mutations, {well} of them read well", seeds.len());
    // The mutations get past the readers, on both sides of each decision.
    assert!(cases < CASES || (cases / 20..cases).contains(&well), "the inputs reach nothing");
}
