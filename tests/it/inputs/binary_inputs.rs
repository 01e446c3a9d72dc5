//! Files of a few kilobytes that expand to gigabytes, and other files that readers may stumble over, loaded by the program as a user runs it.

use crate::fixtures::proxied_store::PLUGIN;
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, DictionaryArray, Int8Array, Int32Array, Int64Array, LargeStringArray, ListArray, ListViewArray,
    NullArray, RecordBatch, RunArray, StringArray,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema};
use lakegate_tests::run::{self, Limit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Memory limit for any of these files. An ordinary file takes 60 to 150 MiB; up to 512 MiB of pages or of a record batch are accepted at once.
const MOST_BYTES: u64 = 1 << 30;

/// Address space limit: what wasmtime reserves for instances, and little more. An allocation of the size that a file claims fails.
const ADDRESS_SPACE_BYTES: u64 = 40 << 30;

/// The expected result of loading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// This many rows are written.
    Written(u64),
    /// It is refused with this message.
    Refused(&'static str),
}
use Outcome::{Refused, Written};

/// A file of one column of bytes, a row group for each set of cells.
fn parquet(schema: &str, groups: &[(Vec<ByteArray>, Vec<i16>, Vec<i16>)], properties: WriterPropertiesBuilder) -> Vec<u8> {
    let properties = properties.set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("a level")));
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let mut writer = SerializedFileWriter::new(Vec::new(), schema.clone(), Arc::new(properties.build())).expect("memory");
    let columns = schema.get_fields().len();
    for (values, definitions, repetitions) in groups {
        let mut group = writer.next_row_group().expect("memory");
        for _ in 0..columns {
            let mut column = group.next_column().expect("memory").expect("a column");
            let repetitions = Some(repetitions.as_slice()).filter(|it| !it.is_empty());
            column.typed::<ByteArrayType>().write_batch(values, Some(definitions), repetitions).expect("memory");
            column.close().expect("memory");
        }
        group.close().expect("memory");
    }
    writer.into_inner().expect("memory")
}

/// Cells of one repeated letter, `rows` in each row group.
fn cells(groups: usize, rows: usize, bytes: usize) -> Vec<(Vec<ByteArray>, Vec<i16>, Vec<i16>)> {
    let group = (vec![ByteArray::from(vec![b'x'; bytes]); rows], vec![1; rows], Vec::new());
    vec![group; groups]
}

const TEXT: &str = "message m { optional binary a (UTF8); }";
const LIST: &str = "message m { optional group a (LIST) { repeated group list { optional binary element (UTF8); } } }";

fn plain() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_dictionary_enabled(false).set_data_page_size_limit(i32::MAX as usize)
}

/// A file whose footer claims half of the bytes that its pages have.
fn lying_footer() -> Vec<u8> {
    let honest = parquet(TEXT, &cells(1, 1, 300 * MIB), plain());
    let varint = |mut number: u64| {
        let mut bytes = Vec::new();
        number <<= 1;
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    // The sizes are the last five-byte numbers close to the true one.
    let footer = honest.len() - 8 - u32::from_le_bytes(honest[honest.len() - 8..honest.len() - 4].try_into().expect("four")) as usize;
    let mut lying = honest.clone();
    let mut found = 0;
    for size in (300 << 20)..(300 << 20) + 200 {
        let from = varint(size);
        for at in footer..honest.len() - from.len() {
            if honest[at..at + from.len()] == from {
                lying[at..at + from.len()].copy_from_slice(&varint(size >> 4 | 1 << 27)[..from.len()]);
                found += 1;
            }
        }
    }
    assert!(found > 0, "the footer says nothing of its bytes");
    lying
}

fn batch(array: ArrayRef) -> RecordBatch {
    let field = Field::new("a", array.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).expect("one column")
}

fn packed() -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).expect("a codec")
}

/// The array as an Arrow file.
fn ipc_file(array: ArrayRef) -> Vec<u8> {
    let batch = batch(array);
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), packed()).expect("memory");
    writer.write(&batch).expect("memory");
    writer.finish().expect("memory");
    writer.into_inner().expect("memory")
}

/// The array as an Arrow stream.
fn ipc_stream(array: ArrayRef) -> Vec<u8> {
    let batch = batch(array);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), packed()).expect("memory");
    writer.write(&batch).expect("memory");
    writer.into_inner().expect("memory")
}

/// One text of a mebibyte, referenced by every row.
fn coded(rows: usize) -> ArrayRef {
    let values = Arc::new(LargeStringArray::from(vec!["x".repeat(MIB)]));
    Arc::new(DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0; rows]), values))
}

/// The same text as one run.
fn run_of(rows: i32, value: ArrayRef) -> ArrayRef {
    Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(vec![rows]), &value).expect("a run"))
}

fn text(bytes: usize) -> ArrayRef {
    Arc::new(LargeStringArray::from(vec!["x".repeat(bytes)]))
}

/// A list view whose rows all reference the same items.
fn views(rows: usize, items: usize) -> ArrayRef {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 10); items]));
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let (offsets, sizes) = (ScalarBuffer::from(vec![0_i32; rows]), ScalarBuffer::from(vec![items as i32; rows]));
    Arc::new(ListViewArray::new(item, offsets, sizes, values, None))
}

/// A list of dictionary-encoded text in each row.
fn list_of(values: ArrayRef) -> ArrayRef {
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(vec![1; values.len()]), values, None))
}

/// All shapes, with the maximum size of the file and the expected result.
fn shapes() -> Vec<(&'static str, Vec<u8>, usize, Outcome)> {
    let many_items = (vec![ByteArray::from(vec![b'x'; MIB / 2]); 20_000], vec![3; 20_000], [&[0][..], &[1; 19_999]].concat());
    let nulls_in_a_list = (Vec::new(), vec![2; 36_000_000], [&[0][..], &vec![1; 35_999_999]].concat());
    let wide = "message m { optional binary a (UTF8); optional binary b (UTF8); optional binary c (UTF8); optional binary d (UTF8); }";
    let shared = || plain().set_encoding(Encoding::DELTA_BYTE_ARRAY);
    let views_of_text: ArrayRef = {
        let mut builder = arrow_array::builder::BinaryViewBuilder::new();
        let block = builder.append_block(vec![b'x'; MIB].into());
        (0..3_000).for_each(|_| builder.try_append_view(block, 0, MIB as u32).expect("a view"));
        let views: BinaryViewArray = builder.finish();
        Arc::new(views)
    };
    vec![
        ("parquet: one cell of 300 MiB", parquet(TEXT, &cells(1, 1, 300 * MIB), plain()), 200_000, Refused("are accepted in a row")),
        ("parquet: a page of ten cells of 56 MiB", parquet(TEXT, &cells(1, 10, 56 * MIB), plain()), 200_000, Refused("smaller pages")),
        ("parquet: a footer that lies", lying_footer(), 200_000, Refused("are accepted in a row")),
        ("parquet: four columns of 160 MiB", parquet(wide, &cells(1, 1, 160 * MIB), plain()), 200_000, Refused("smaller pages")),
        (
            "parquet: a dictionary of 520 MiB",
            parquet(TEXT, &cells(1, 3, 520 * MIB), WriterProperties::builder().set_dictionary_page_size_limit(i32::MAX as usize)),
            200_000,
            Refused("smaller pages"),
        ),
        ("parquet: thirty row groups of 24 MiB", parquet(TEXT, &cells(30, 1, 24 * MIB), plain()), 200_000, Written(30)),
        ("parquet: values that share their beginning", parquet(TEXT, &cells(1, 4_000, MIB), shared()), 1_000_000, Refused("are accepted")),
        (
            "parquet: a list of one long value",
            parquet(LIST, &[many_items], WriterProperties::builder()),
            1_000_000,
            Refused("column `a.list.element`"),
        ),
        ("parquet: a list of nulls", parquet(LIST, &[nulls_in_a_list], plain()), 1_000_000, Refused("values of lists")),
        ("arrow: a coded text of 20 GB", ipc_file(coded(20_000)), 2_000, Refused("named many times over")),
        ("arrow: a coded text of 100 MB", ipc_file(coded(100)), 2_000, Written(100)),
        ("arrow: a run of 20 GB", ipc_file(run_of(20_000, text(MIB))), 2_000, Refused("named many times over")),
        ("arrow: a run of 100 MB", ipc_stream(run_of(100, text(MIB))), 2_000, Written(100)),
        (
            "arrow: two billion rows of one number",
            ipc_file(run_of(2_000_000_000, Arc::new(Int64Array::from(vec![7])))),
            2_000,
            Refused("claims"),
        ),
        ("arrow: two billion nulls", ipc_file(Arc::new(NullArray::new(2_000_000_000))), 2_000, Refused("claims")),
        ("arrow: lists of a coded text", ipc_stream(list_of(coded(20_000))), 200_000, Refused("named many times over")),
        ("arrow: list views of the same items", ipc_file(views(4_000, 1_000)), 200_000, Refused("named many times over")),
        ("arrow: views of one text", ipc_file(views_of_text), 2_000_000, Refused("named many times over")),
        ("arrow: a buffer that unpacks to 530 MiB", ipc_file(text(530 * MIB)), 200_000, Refused("at most 536870912 are accepted")),
        ("arrow: the same in a stream", ipc_stream(text(530 * MIB)), 200_000, Refused("at most 536870912 are accepted")),
    ]
}

/// Runs the program on a file under the address space limit; returns its exit code, its messages, the rows, and its peak memory.
fn load(folder: &Path, file: &str, format: &str) -> (Option<i32>, String, u64, u64) {
    let line = format!("load {file} --table t --to s3://demo/{{{{TABLE}}}}.{{{{FORMAT}}}} --format {format} --local store-{file} --json");
    let mut program = run::command(PLUGIN, &line, ("AKIDTEST", "secret"));
    let mut command = run::within(&Limit::AddressSpace { bytes: ADDRESS_SPACE_BYTES }, program.current_dir(folder));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("prlimit starts");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    // Polled often; the kernel keeps the peak, so only the last few milliseconds are missed.
    while child.try_wait().expect("a child").is_none() {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|number| number.parse::<u64>().ok());
        most = most.max(kibibytes.unwrap_or_default() << 10);
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("its output");
    let rows = serde_json::from_slice::<serde_json::Value>(&output.stdout).ok().and_then(|summary| summary["rows"].as_u64());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), rows.unwrap_or_default(), most)
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what a reader of the log looks for")]
fn a_small_file_takes_memory_in_proportion() {
    let folder = tempfile::tempdir().expect("a folder");
    println!("{:<46} {:>9} {:>9}", "shape", "bytes in", "peak MiB");
    let mut wrong = Vec::new();
    for (at, (name, content, most_bytes, outcome)) in shapes().into_iter().enumerate() {
        assert!(content.len() <= most_bytes, "{name}: {} bytes", content.len());
        let file = format!("shape{at}");
        std::fs::write(folder.path().join(&file), &content).expect("the folder can be written");
        let (code, words, rows, peak) = load(folder.path(), &file, "csv");
        println!("{name:<46} {:>9} {:>9}", content.len(), peak >> 20);
        let good = match outcome {
            Written(expected) => code == Some(0) && rows == expected,
            Refused(expected) => code == Some(6) && words.contains(expected) && words.contains(&file),
        };
        if !good || peak > MOST_BYTES {
            wrong.push(format!("{name}: exit {code:?}, {rows} rows, {} MiB: {}", peak >> 20, words.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cells that each take a quarter of an instance's memory, one after another, in every column of bytes.
#[test]
fn large_cells_follow_each_other_into_parquet() {
    const CELL: usize = 165 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    for (name, schema) in [("text", TEXT), ("bytes", "message m { optional binary a; }")] {
        let content = parquet(schema, &cells(2, 1, CELL), plain());
        std::fs::write(folder.path().join(name), content).expect("the folder can be written");
        let (code, words, rows, _) = load(folder.path(), name, "parquet");
        assert_eq!((code, rows), (Some(0), 2), "{name}: {words}");
        let written = std::fs::File::open(folder.path().join(format!("store-{name}/demo/t.parquet"))).expect("an object");
        let reader = parquet::file::serialized_reader::SerializedFileReader::new(written).expect("a Parquet file");
        use parquet::file::reader::FileReader as _;
        let rows: i64 = reader.metadata().row_groups().iter().map(|group| group.num_rows()).sum();
        let bytes: i64 = reader.metadata().row_groups().iter().map(|group| group.total_byte_size()).sum();
        assert!(rows == 2 && bytes >= 2 * CELL as i64, "{rows} rows of {bytes} bytes");
    }
}
