//! Golden cases of CSV and JSON lines: for each input, the bytes that the reference writes; and the same under zstd, and under gzip by whichever
//! back end this was built with.

use lakegate_guest::encode::gzip::{self, GzipShared};
use lakegate_guest::encode::text::TextShared;
use lakegate_guest::encode::zstd::{self as zstd_encoder, ZstdShared};
use lakegate_guest::encode::{Encode, EncodeError, Output, csv, json};
use lakegate_guest::host::PutError;
use lakegate_guest::ipc::{Decoder, Rows, TableSchema};
use lakegate_guest::spec::{CsvOptions, JsonOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Outputs there are: three text files for each of the ten cases, each also gzipped, and under zstd.
const CASES: usize = 90;

#[derive(Default)]
struct Collected(Vec<u8>);

impl Output for Collected {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        assert!(!bytes.is_empty() && bytes.len() <= lakegate_guest::limits::CHUNK_BYTES, "a chunk has a byte and no more than the limit");
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cases")
}

fn open(schema: &Rc<TableSchema>, spec: &serde_json::Value, shared: &TextShared) -> Option<Result<Box<dyn Encode>, EncodeError>> {
    let options = &spec["format_spec"];
    match spec["format"].as_str() {
        Some("json") => Some(json::open(schema, JsonOptions::default(), shared)),
        Some("csv") => {
            let delimiter = options["delimiter"].as_str().map_or(b',', |text| text.as_bytes()[0]);
            let skip_header = options["skip_header"].as_bool().unwrap_or(false);
            Some(csv::open(schema, CsvOptions { delimiter, skip_header, ..CsvOptions::default() }, shared))
        }
        _ => None,
    }
}

fn unpacked(body: &[u8], compression: &str) -> Vec<u8> {
    let mut text = Vec::new();
    match compression {
        // An object without rows is empty, and no member.
        _ if body.is_empty() => 0,
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut text).expect("a gzip member"),
        "zstd" => zstd::stream::read::Decoder::new(body).expect("a decoder").read_to_end(&mut text).expect("a frame"),
        _ => {
            text.extend_from_slice(body);
            body.len()
        }
    };
    text
}

/// Shows where two texts part, a few dozen bytes either side.
fn first_difference(actual: &[u8], expected: &[u8]) -> String {
    let at = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let around =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(60).min(bytes.len())..(at + 60).min(bytes.len())]).into_owned();
    format!("at byte {at}\n  actual   {:?}\n  expected {:?}", around(actual), around(expected))
}

#[test]
#[expect(clippy::print_stdout, reason = "the count of cases is for the reader of the test's output")]
fn text_equals_the_reference_byte_for_byte() {
    let (mut cases, mut skipped, mut wrong) = (0, 0, Vec::new());
    let (shared, of_gzip, of_zstd) = (TextShared::default(), GzipShared::default(), ZstdShared::default());
    for folder in std::fs::read_dir(golden()).expect("golden cases").map(|entry| entry.expect("a folder").path()) {
        let (schema, rows) = Decoder::default().decode(std::fs::read(folder.join("input.arrows")).expect("input")).expect("rows");
        let list: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(folder.join("case.json")).expect("list")).expect("json");
        for case in &list {
            let file = folder.join(case["file"].as_str().expect("a file name"));
            for compression in ["", "gzip", "zstd"] {
                let Some(encoder) = open(&schema, &case["spec"], &shared) else { continue };
                if case.get("error").is_some() {
                    skipped += 1;
                    continue;
                }
                let encoder = encoder.expect("every type has a text");
                let mut encoder = match compression {
                    "gzip" => gzip::wrap(encoder, &of_gzip),
                    "zstd" => zstd_encoder::wrap(encoder, &of_zstd),
                    _ => encoder,
                };
                let mut out = Collected::default();
                for Rows { batch, .. } in &rows {
                    encoder.write(batch, 0..batch.num_rows(), &mut out).expect("rows have a text");
                }
                encoder.finish(&mut out).expect("written");
                let text = unpacked(&out.0, compression);
                let expected = std::fs::read(&file).expect("expected bytes");
                if text != expected {
                    wrong.push(format!("{}, {compression:?}: {}", file.display(), first_difference(&text, &expected)));
                }
                cases += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{cases} cases, {skipped} skipped");
    assert_eq!((cases, skipped), (CASES, 0));
}
