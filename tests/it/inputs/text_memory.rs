//! Hostile text files, loaded under a real memory limit: file size, memory limit, and expected message.
//!
//! The limit is enforced by the system (`RLIMIT_DATA`): a load that allocates more is killed, and then prints none of the expected messages.

use crate::fixtures::proxied_store::PLUGIN;
use flate2::Compression;
use flate2::write::GzEncoder;
use lakegate_tests::run::{self, Limit, Run};
use std::io::Write;
use std::path::Path;

/// Memory of the program for a file with one row: component, store, thread stacks. It takes less than 100 MiB on two cores. The rest of each limit is
/// for the text.
const PROGRAM_MIB: u64 = 256;

/// A hostile text file.
struct Shape {
    what: &'static str,
    /// Its file extension.
    name: &'static str,
    /// Pieces, and how often each is repeated.
    pieces: Vec<(String, usize)>,
    /// Maximum size of the file.
    file_bytes: usize,
    /// Memory limit besides the program's own, in MiB.
    most_mib: u64,
    /// The expected exit code and message.
    ends: (i32, &'static str),
}

fn shapes() -> Vec<Shape> {
    let piece = |text: &str, times: usize| (text.to_owned(), times);
    let names = |count: usize| (0..count).map(|name| format!("{name:x}")).collect::<Vec<_>>().join(",");
    let keys = |count: usize| (0..count).map(|key| format!("\"{key}\":1")).collect::<Vec<_>>().join(",");
    vec![
        Shape { what: "one row", name: "csv", pieces: vec![piece("a,b\n1,2\n", 1)], file_bytes: 100, most_mib: 0, ends: (0, "") },
        Shape {
            what: "a header of 300,000 names",
            name: "csv",
            pieces: vec![(names(300_000), 1), piece("\n", 1)],
            file_bytes: 2_000_000,
            most_mib: 16,
            ends: (6, "line 1: the header has more than 10000 columns"),
        },
        Shape {
            what: "a header of 300,000 quoted names",
            name: "csv",
            pieces: vec![(format!("\"{}\"", names(300_000).replace(',', "\",\"")), 1), piece("\n", 1)],
            file_bytes: 3_000_000,
            most_mib: 32,
            ends: (6, "line 1: the header has more than 10000 columns"),
        },
        Shape {
            what: "a header of 10,000 long names",
            name: "csv.gz",
            pieces: vec![("n".repeat(4_000), 1), (format!(",{}", "n".repeat(4_000)), 9_999), piece("\n", 1)],
            file_bytes: 400_000,
            most_mib: 160,
            ends: (6, "line 1: the names of the columns have"),
        },
        Shape {
            what: "a record of 66 million empty fields",
            name: "csv.gz",
            pieces: vec![piece("a,b\n1,2\n", 1), piece(",,,,,,,,,,", 6_600_000), piece("\n", 1)],
            file_bytes: 70_000,
            most_mib: 16,
            ends: (6, "line 3: the record has more than 2 fields, the header has 2"),
        },
        Shape {
            what: "a record of 60 million empty fields behind a quote",
            name: "csv.gz",
            pieces: vec![piece("a,b\n\"\"", 1), piece(",,,,,,,,,,", 6_000_000), piece("\n", 1)],
            file_bytes: 70_000,
            most_mib: 160,
            ends: (6, "line 2: the record has more than 2 fields"),
        },
        Shape {
            what: "a line without end",
            name: "csv.gz",
            pieces: vec![piece("a,b\n", 1), piece("xxxxxxxxxx", 20_000_000)],
            file_bytes: 210_000,
            most_mib: 160,
            ends: (6, "line 2: the record is longer than 64 MiB"),
        },
        Shape {
            what: "a quote without end",
            name: "csv.gz",
            pieces: vec![piece("a,b\n\"", 1), piece("xxxxxxxx,\n", 20_000_000)],
            file_bytes: 500_000,
            most_mib: 240,
            ends: (6, "the record is longer than 64 MiB"),
        },
        Shape {
            what: "a row of 10,001 keys among empty ones",
            name: "ndjson",
            pieces: vec![piece("{}\n", 9_998), (format!("{{{}}}\n", keys(10_001)), 1)],
            file_bytes: 200_000,
            most_mib: 32,
            ends: (6, "line 9999: the file has more than 10000 columns"),
        },
        Shape {
            what: "a row of 10,000 keys among empty ones",
            name: "ndjson",
            pieces: vec![piece("{}\n", 9_999), (format!("{{{}}}\n", keys(10_000)), 1)],
            file_bytes: 200_000,
            // Written as a hundred million empty cells. 200 MiB of it are in memory at once; the limit also counts what a guest allocates within its
            // own 640 MiB.
            most_mib: 512,
            ends: (0, ""),
        },
        Shape {
            what: "an object of a million keys in a value",
            name: "ndjson.gz",
            pieces: vec![piece("{\"a\":{", 1), (keys(1_000_000), 1), piece(",\"7\":2}}\n", 1)],
            file_bytes: 4_000_000,
            most_mib: 160,
            ends: (6, "line 1: column `a` holds an object with a key twice"),
        },
        Shape {
            what: "nesting without end",
            name: "ndjson.gz",
            pieces: vec![piece("{\"a\":", 1), piece("[[[[[[[[[[", 3_000_000), piece("]]]]]]]]]]", 3_000_000), piece("}\n", 1)],
            file_bytes: 70_000,
            most_mib: 240,
            ends: (6, "line 1: column `a` is nested more than 10000 deep"),
        },
        Shape {
            what: "zeros without end",
            name: "csv.gz",
            pieces: vec![piece("\0\0\0\0\0\0\0\0\0\0", 20_000_000)],
            file_bytes: 210_000,
            most_mib: 16,
            ends: (6, "it is not text: it begins with NUL bytes; convert it first"),
        },
    ]
}

impl Shape {
    fn file(&self, folder: &Path) -> String {
        let name = format!("t.{}", self.name);
        let file = std::fs::File::create(folder.join(&name)).expect("the folder can be written");
        let mut out: Box<dyn Write> =
            if self.name.ends_with(".gz") { Box::new(GzEncoder::new(file, Compression::best())) } else { Box::new(file) };
        for (text, times) in &self.pieces {
            // In large pieces, because compressing small ones is slow.
            let at_once = (1 << 20) / text.len().max(1);
            let block = text.repeat(at_once.clamp(1, *times));
            for _ in 0..times / at_once.clamp(1, *times) {
                out.write_all(block.as_bytes()).expect("the disk takes it");
            }
            out.write_all(text.repeat(times % at_once.clamp(1, *times)).as_bytes()).expect("the disk takes it");
        }
        drop(out);
        name
    }
}

#[test]
fn hostile_texts_are_refused_in_bounded_memory() {
    for shape in shapes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = shape.file(folder.path());
        let bytes = std::fs::metadata(folder.path().join(&file)).expect("it was written").len();
        assert!(bytes <= shape.file_bytes as u64, "{}: {bytes} bytes", shape.what);
        let limit = PROGRAM_MIB + shape.most_mib;
        let line = format!("load {file} --to s3://demo/{{{{TABLE}}}}.csv --format csv --local store --lanes 1");
        let mut program = run::command(PLUGIN, &line, ("AKIDTEST", "secret"));
        let mut command = run::within(&Limit::Data { mebibytes: limit }, program.current_dir(folder.path()));
        let run: Run = command.output().expect("prlimit starts it").into();
        assert!(run.code == Some(shape.ends.0) && run.stderr.contains(shape.ends.1), "{}, {limit} MiB: {run:?}", shape.what);
    }
}
