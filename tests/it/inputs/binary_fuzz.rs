//! Mutation fuzzing of the Parquet and Arrow readers: a few files of every type, and a fixed number of mutations of them from a fixed seed.
//! `LAKEGATE_PROPERTY_CASES` and `LAKEGATE_PROPERTY_SEED` select others. The readers are part of the host, so this is not a target of cargo-fuzz,
//! whose workspace only links the guest; the body is a plain function nevertheless.

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use lakegate_tests::fuzz::binary_file;
use lakegate_tests::generate::{Dice, Generated, Types, asked};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterVersion};

/// Tables whose files are mutated.
const TABLES: u64 = 12;
const CASES: u64 = 3_000;

/// Memory limit of this process: regular allocations stay below it, but a claim that is trusted would not.
const MOST_BYTES: u64 = 6 << 30;

/// The files of a table: both formats of Arrow IPC, with and without compression, and Parquet with both page versions.
fn files(seed: u64) -> Vec<Vec<u8>> {
    let table = Generated::new("t", seed, Types::Parquet);
    let first = &table.batches[0];
    let batch = RecordBatch::try_new(first.schema(), first.columns().to_vec()).expect("a batch");
    let mut files = Vec::new();
    for compression in [None, Some(CompressionType::ZSTD), Some(CompressionType::LZ4_FRAME)] {
        let options = IpcWriteOptions::default().try_with_compression(compression).expect("a codec");
        let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options.clone()).expect("memory");
        stream.write(&batch).expect("memory");
        files.push(stream.into_inner().expect("memory"));
        let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).expect("memory");
        file.write(&batch).and_then(|()| file.finish()).expect("memory");
        files.push(file.into_inner().expect("memory"));
    }
    for (version, compression, dictionary) in [
        (WriterVersion::PARQUET_1_0, Compression::SNAPPY, true),
        (WriterVersion::PARQUET_2_0, Compression::UNCOMPRESSED, true),
        // Without dictionaries, version 2 writes texts with delta encoding.
        (WriterVersion::PARQUET_2_0, Compression::LZ4_RAW, false),
    ] {
        let properties = WriterProperties::builder().set_writer_version(version).set_compression(compression);
        let properties = properties.set_dictionary_enabled(dictionary);
        // Some generated types are only for CSV and JSON.
        let written = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).and_then(|mut writer| {
            writer.write(&batch)?;
            writer.into_inner()
        });
        files.extend(written);
    }
    files
}

/// Up to four changes: flipped bits, extreme bytes, pieces removed or duplicated.
fn mutated(file: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..1 + dice.roll(4) {
        let length = bytes.len().max(1) as u64;
        // Most depends on the footer.
        let from = if dice.one_in(2) { dice.roll(length) } else { length - 1 - dice.roll(length.min(400)) } as usize;
        let to = (from + dice.roll(12) as usize).min(bytes.len());
        match dice.roll(5) {
            0 => bytes.get_mut(from).into_iter().for_each(|byte| *byte ^= 1 << dice.roll(8)),
            1 => bytes.get_mut(from..to).into_iter().for_each(|bytes| bytes.fill(0xff)),
            2 => bytes.get_mut(from..to).into_iter().for_each(|bytes| bytes.fill(0)),
            3 => drop(bytes.drain(from.min(to)..to)),
            _ => bytes = [&bytes[..to], &bytes[from.min(to)..]].concat(),
        }
    }
    bytes
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the log looks for")]
fn no_file_ends_a_reader_or_takes_memory_without_end() {
    let (seed, cases) = (asked("LAKEGATE_PROPERTY_SEED", 1), asked("LAKEGATE_PROPERTY_CASES", CASES));
    let files: Vec<Vec<u8>> = (0..TABLES).flat_map(|table| files(seed.wrapping_mul(TABLES) + table)).collect();
    let whole = files.iter().filter(|file| binary_file(file).1).count();
    let mut dice = Dice::new(seed);
    let [mut rows, mut good] = [0_u64; 2];
    for _ in 0..cases {
        let file = mutated(&files[dice.below(files.len())], &mut dice);
        let (messages, ended_well) = binary_file(&file);
        rows += u64::from(messages > 1);
        good += u64::from(ended_well);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    println!("{} files, {whole} read; {cases} mutations: {rows} with rows, {good} read to their end; {peak:?} KiB at most", files.len());
    assert!(whole * 2 > files.len(), "{whole} of {} files are read", files.len());
    assert!(cases < CASES || (rows > cases / 20 && good < cases), "the mutations reach nothing");
    assert!(peak.is_none_or(|peak| peak << 10 < MOST_BYTES), "{peak:?} KiB");
}
