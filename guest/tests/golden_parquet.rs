//! Every Parquet file of the golden cases, against what the reference wrote: schema, levels, values, codec, metadata, footer version.

use lakegate_guest::encode::{EncodeError, Encoders, Output};
use lakegate_guest::host::PutError;
use lakegate_guest::ipc::{Decoder, Rows};
use lakegate_guest::spec::{Format, ParquetOptions, ParquetVersion, RootRepetition};
use parquet::basic::{Compression as Codec, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{AsBytes, DataType as ParquetDataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// Parquet outputs that `tests/golden/cases` lists: a case that is not found or not run must not pass unseen.
const CASES: usize = 18;

/// What `max_row_group_length` is when a spec does not set it.
const DEFAULT_ROW_GROUP_ROWS: u64 = 134_217_728;

#[test]
#[expect(clippy::print_stdout, reason = "the count is what a reader of the log looks for")]
fn parquet_equals_the_reference() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/cases");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(cases).expect("golden cases").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    let mut run = 0;
    for folder in folders {
        let outputs: Value = serde_json::from_slice(&std::fs::read(folder.join("case.json")).expect("case.json")).expect("JSON");
        for output in outputs.as_array().expect("a list").iter().filter(|output| output["spec"]["format"] == "parquet") {
            check(&folder, output);
            run += 1;
        }
    }
    assert_eq!(run, CASES);
    println!("{run} cases, 0 skipped");
}

fn check(folder: &Path, output: &Value) {
    let file = output["file"].as_str().expect("a file");
    let name = format!("{}/{file}", folder.file_name().expect("a name").display());
    let ours = encoded(&folder.join("input.arrows"), options(&output["spec"]["format_spec"]));
    if !output["error"].is_null() {
        let error = ours.expect_err(&name).to_string();
        assert!(error.contains("column") && error.contains("Decimal"), "{name}: {error} names column and type");
        return;
    }
    let ours = Contents::of(ours.unwrap_or_else(|error| panic!("{name}: {error}")));
    let theirs = Contents::of(std::fs::read(folder.join(file)).expect("golden file"));
    assert_eq!(ours.rows, theirs.rows, "{name}: rows");
    assert_eq!(ours.version, theirs.version, "{name}: footer version");
    assert_eq!(ours.root, theirs.root, "{name}: root");
    assert_eq!(ours.metadata, theirs.metadata, "{name}: metadata");
    assert_eq!(ours.row_groups, theirs.row_groups, "{name}: row groups");
    assert_eq!(ours.leaves.len(), theirs.leaves.len(), "{name}: leaves");
    for (ours, theirs) in ours.leaves.iter().zip(&theirs.leaves) {
        assert_eq!(ours.shape, theirs.shape, "{name}");
        let path = &ours.shape.path;
        assert_eq!(ours.definitions, theirs.definitions, "{name} {path}: definition levels");
        assert_eq!(ours.repetitions, theirs.repetitions, "{name} {path}: repetition levels");
        let differing = ours.values.iter().zip(&theirs.values).position(|(ours, theirs)| ours != theirs);
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let shown = differing.map(|at| (at, text(&ours.values[at]), text(&theirs.values[at])));
        assert_eq!((ours.values.len(), shown), (theirs.values.len(), None), "{name} {path}: values");
    }
}

fn options(spec: &Value) -> ParquetOptions {
    let rows = spec["max_row_group_length"].as_u64().and_then(NonZeroU64::new);
    ParquetOptions {
        version: match spec["version"].as_str().unwrap_or("v2Latest") {
            "v1.0" => ParquetVersion::V1_0,
            "v2.4" => ParquetVersion::V2_4,
            "v2.6" => ParquetVersion::V2_6,
            _ => ParquetVersion::V2Latest,
        },
        root_repetition: match spec["root_repetition"].as_str().unwrap_or("repeated") {
            "undefined" => RootRepetition::Undefined,
            "required" => RootRepetition::Required,
            "optional" => RootRepetition::Optional,
            _ => RootRepetition::Repeated,
        },
        max_row_group_rows: rows.unwrap_or(NonZeroU64::new(DEFAULT_ROW_GROUP_ROWS).expect("not zero")),
        ..ParquetOptions::default()
    }
}

#[derive(Default)]
struct Collected(Vec<u8>);

impl Output for Collected {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn encoded(input: &Path, options: ParquetOptions) -> Result<Vec<u8>, EncodeError> {
    let (schema, rows) = Decoder::default().decode(std::fs::read(input).expect("input.arrows")).expect("rows");
    let mut out = Collected::default();
    let mut encoder = Encoders::new(Format::Parquet(options), None).open(&schema)?;
    for Rows { batch, .. } in rows {
        encoder.write(&batch, 0..batch.num_rows(), &mut out)?;
    }
    encoder.finish(&mut out)?;
    Ok(out.0)
}

/// A file taken apart.
struct Contents {
    rows: i64,
    version: i32,
    root: (String, Option<Repetition>),
    metadata: BTreeMap<String, Option<String>>,
    /// Rows of each row group that has any: an empty table has no row group here, one without rows in the reference.
    row_groups: Vec<i64>,
    leaves: Vec<Leaf>,
}

struct Leaf {
    shape: LeafShape,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    values: Vec<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
struct LeafShape {
    path: String,
    physical: Physical,
    /// Of a fixed-length type.
    length: Option<i32>,
    logical: Option<LogicalType>,
    levels: (i16, i16),
    codecs: Vec<Codec>,
}

impl Contents {
    fn of(file: Vec<u8>) -> Self {
        let reader = SerializedFileReader::new(bytes::Bytes::from(file)).expect("a Parquet file");
        let metadata = reader.metadata();
        let file = metadata.file_metadata();
        let root = file.schema_descr().root_schema().get_basic_info();
        let pairs = file.key_value_metadata().map_or(&[][..], Vec::as_slice);
        let leaves = (0..file.schema_descr().num_columns()).map(|column| {
            let leaf = file.schema_descr().column(column);
            let mut codecs: Vec<Codec> = Vec::new();
            for group in metadata.row_groups().iter().filter(|group| group.num_rows() > 0) {
                if !codecs.contains(&group.column(column).compression()) {
                    codecs.push(group.column(column).compression());
                }
            }
            let shape = LeafShape {
                path: leaf.path().string(),
                physical: leaf.physical_type(),
                length: (leaf.physical_type() == Physical::FIXED_LEN_BYTE_ARRAY).then(|| leaf.type_length()),
                logical: leaf.logical_type_ref().cloned(),
                levels: (leaf.max_def_level(), leaf.max_rep_level()),
                codecs,
            };
            let mut parsed = Leaf { shape, definitions: Vec::new(), repetitions: Vec::new(), values: Vec::new() };
            for group in (0..reader.num_row_groups()).filter(|group| metadata.row_group(*group).num_rows() > 0) {
                let group = reader.get_row_group(group).expect("a row group");
                parsed.read(group.get_column_reader(column).expect("a column"));
            }
            parsed
        });
        Self {
            rows: file.num_rows(),
            version: file.version(),
            root: (root.name().into(), root.has_repetition().then(|| root.repetition())),
            metadata: pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect(),
            row_groups: metadata.row_groups().iter().map(|group| group.num_rows()).filter(|rows| *rows > 0).collect(),
            leaves: leaves.collect(),
        }
    }
}

impl Leaf {
    fn read(&mut self, reader: ColumnReader) {
        match reader {
            ColumnReader::BoolColumnReader(reader) => self.read_typed(reader),
            ColumnReader::Int32ColumnReader(reader) => self.read_typed(reader),
            ColumnReader::Int64ColumnReader(reader) => self.read_typed(reader),
            ColumnReader::Int96ColumnReader(_) => panic!("nobody writes INT96"),
            ColumnReader::FloatColumnReader(reader) => self.read_typed(reader),
            ColumnReader::DoubleColumnReader(reader) => self.read_typed(reader),
            ColumnReader::ByteArrayColumnReader(reader) => self.read_typed(reader),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => self.read_typed(reader),
        }
    }

    fn read_typed<T: ParquetDataType>(&mut self, mut reader: ColumnReaderImpl<T>) {
        loop {
            let mut values: Vec<T::T> = Vec::new();
            let (records, _, _) = reader
                .read_records(1 << 20, Some(&mut self.definitions), Some(&mut self.repetitions), &mut values)
                .expect("readable pages");
            self.values.extend(values.iter().map(|value| value.as_bytes().to_vec()));
            if records == 0 {
                return;
            }
        }
    }
}
