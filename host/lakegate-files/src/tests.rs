//! Tests of the readers, from files on disk to rows and messages.

use super::*;
use arrow_array::{Array, Int64Array, StringArray};
use arrow_cast::display::array_value_to_string;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A value as Arrow displays it. The zone of a timestamp is written as an offset, since Arrow has no zone database here.
pub(super) fn cell(array: &Arc<dyn Array>, row: usize) -> String {
    let array = match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => arrow_cast::cast(array, &DataType::Timestamp(*unit, Some("+00:00".into()))).unwrap(),
        _ => array.clone(),
    };
    array_value_to_string(&array, row).unwrap()
}

/// A folder with files.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

pub(super) fn read(path: &Path, columns: &[&str]) -> Result<(Schema, Vec<RecordBatch>), InputError> {
    let columns = columns.iter().map(|text| parse_override(text).unwrap()).collect();
    let options = ReadOptions { columns, columns_required: true, ..ReadOptions::default() };
    let (schema, rows) = open(&Location::File(path.to_owned()), &options)?;
    Ok((schema, rows.collect::<Result<_, _>>()?))
}

/// Rows as text, `NULL` for null; the header holds the types.
pub(super) fn show(path: &Path, columns: &[&str]) -> String {
    let (schema, batches) = read(path, columns).unwrap();
    let mut lines =
        vec![schema.fields().iter().map(|field| format!("{}:{}", field.name(), field.data_type())).collect::<Vec<_>>().join(" ")];
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &Arc<dyn Array>| if column.is_null(row) { "NULL".into() } else { cell(column, row) };
            lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    lines.join("\n")
}

/// Asserts that `content` as a file called `name` is read as `expected`.
#[track_caller]
fn check(name: &str, content: &str, columns: &[&str], expected: &[&str]) {
    let files = Files::new();
    assert_eq!(show(&files.file(name, content.as_bytes()), columns), expected.join("\n"), "{content:?}");
}

/// Asserts that `content` as a file called `name` is refused with a message that contains all of `expected`, but never `secret`.
#[track_caller]
pub(super) fn refuse(name: &str, content: &[u8], columns: &[&str], expected: &[&str]) {
    let files = Files::new();
    let text = read(&files.file(name, content), columns).expect_err(name).to_string();
    for part in expected.iter().chain([&name]) {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!text.contains("secret"), "{text}");
}

fn numbers(rows: i64) -> RecordBatch {
    let schema = ArrowSchema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]);
    let names = StringArray::from_iter_values((0..rows).map(|row| format!("secret {row}")));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(0..rows)), Arc::new(names)]).unwrap()
}

pub(super) fn ipc_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

pub(super) fn ipc_file(batch: &RecordBatch, compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

pub(super) fn parquet_file(batch: &RecordBatch, row_group_rows: usize) -> Vec<u8> {
    let properties = ::parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(row_group_rows)).build();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn csv_is_read_with_types() {
    check(
        "t.csv",
        "id,price,ok,day,at,name\n1,2.5,true,2024-02-29,2024-01-02T03:04:05Z,x\n-2,3,FALSE,,,\n",
        &[],
        &[
            "id:Int64 price:Float64 ok:Boolean day:Date32 at:Timestamp(µs, \"UTC\") name:Utf8",
            "1|2.5|true|2024-02-29|2024-01-02T03:04:05Z|x",
            "-2|3.0|false|NULL|NULL|NULL",
        ],
    );
}

#[test]
fn what_a_type_would_change_is_text() {
    check("t.csv", "n\n1.5\n12345678901234567.89\n", &[], &["n:Utf8", "1.5", "12345678901234567.89"]);
    check("t.ndjson", "{\"n\":1.5}\n{\"n\":1e400}\n", &[], &["n:Utf8", "1.5", "1e400"]);
    check("t.csv", "d\n0000-00-00\n2024-01-02\n", &[], &["d:Utf8", "0000-00-00", "2024-01-02"]);
    check("t.ndjson", "{\"d\":\"2023-02-29\"}\n", &[], &["d:Utf8", "2023-02-29"]);
    check("t.csv", "t\n2024-01-02T25:00:00Z\n", &[], &["t:Utf8", "2024-01-02T25:00:00Z"]);
    // Nanoseconds reach from 1677 to 2262.
    check("t.csv", "t\n3024-01-02T03:04:05.123456789Z\n", &[], &["t:Utf8", "3024-01-02T03:04:05.123456789Z"]);
    check("t.csv", "n\n12345678901234567.89\n", &["n=decimal(19,2)"], &["n:Decimal128(19, 2)", "12345678901234567.89"]);
}

#[test]
fn csv_quoting_nulls_line_ends_and_byte_order_mark() {
    check(
        "t.csv",
        "\u{feff}a,b\r\n\"x, \"\"y\"\"\r\nz\",\"\"\r\n,w\r\n\r\nlast,",
        &[],
        &["a:Utf8 b:Utf8", "x, \"y\"\r\nz|", "NULL|w", "last|NULL"],
    );
    check("t.tsv", "a\tb\n1\tx,y\n", &[], &["a:Int64 b:Utf8", "1|x,y"]);
    check("t.csv", "a\n1\n\n3\n", &[], &["a:Int64", "1", "NULL", "3"]);
    check("t.csv", "a,b\n", &[], &["a:Utf8 b:Utf8"]);
    check("t.csv", "a,b\r\n\"1\r2\",3\r", &[], &["a:Utf8 b:Int64", "1\r2|3"]);
}

#[test]
fn overrides_win_over_inference() {
    check("t.csv", "id,zip\n1,12345\n", &["zip=utf8", "id=decimal(10,2)"], &["id:Decimal128(10, 2) zip:Utf8", "1.00|12345"]);
    refuse("t.csv", b"a,b\n1,2\n", &["c=int64"], &["column `c`", "a, b"]);
    refuse("t.csv", b"a\nsecret\n", &["a=int64"], &["line 2", "column `a`", "int64"]);
}

#[test]
fn csv_that_is_broken_is_refused_by_line() {
    for (content, expected) in [
        ("", "line 1: the file is empty"),
        ("a,b\n1,2\n1\n", "line 3: the record has 1 fields, the header has 2"),
        ("a,b\n1,2,3\n", "line 2: the record has 3 fields, the header has 2"),
        ("a,b\n1,\"secret\n\n", "line 2: a quote is opened here and never closed"),
        ("a,b\n\"x\ny\",1\n\"secret\"x,1\n", "line 4: field 1 continues after its closing quote"),
        ("a,b\n1, \"secret, x\"\n", "line 2: field 2 begins with spaces and a quote"),
        ("\n\n", "line 1: the file is empty"),
        ("ab\0,c\n", "line 1: the name of column 1 holds a NUL byte"),
        ("a,b\r1,2\n3,4\r", "line 1: a carriage return stands alone"),
        ("a,b\r1,2\r\"x\"\ny,2\r", "line 1: a carriage return stands alone"),
        ("Title\na,b\n1,2\n3,4\n", "line 1: the first line has no delimiter, and most lines below it are 2 columns between commas"),
        ("a;b;c\n1;2;3\n4;5\n6;7;8\n", "line 3: the record has 2 fields, the header has 3"),
        ("a\n1\n2\r3\n", "line 3: a carriage return stands alone"),
        ("a,b\n1,x\r\r\n", "line 2: a carriage return stands alone"),
    ] {
        refuse("t.csv", content.as_bytes(), &[], &[expected]);
    }
    refuse("t.csv", b"a,b\n1,2\xc3", &[], &["line 2 is not UTF-8"]);
}

/// The same table in dialects and encodings, and what is said about each.
#[test]
fn dialects_and_encodings_are_read_as_they_are_and_said() {
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let latin = |text: &str| {
        text.chars().map(|letter| if letter == '€' { 0x80 } else { u8::try_from(u32::from(letter)).unwrap() }).collect::<Vec<u8>>()
    };
    let table = "name,size,price\nZürich,1,\"5,5 €\"\n\"a\nb\",2,\n";
    let rows = "name:Utf8 size:Int64 price:Utf8\nZürich|1|5,5 €\na\nb|2|NULL";
    let files = Files::new();
    for (content, said) in [
        (table.as_bytes().to_vec(), ""),
        (utf16(table, u16::to_le_bytes), "read as CSV in utf-16le (set --encoding to override)"),
        (utf16(&format!("\u{feff}{table}"), u16::to_be_bytes), "in utf-16be"),
        (latin(table), "in windows-1252"),
        (table.replace('\n', "\r\n").replace("a\r\nb", "a\nb").into_bytes(), ""),
        (table.replace('\n', "\r").replace("a\rb", "a\nb").into_bytes(), "with lines that end with \\r"),
        (
            latin(&table.replace(',', ";").replace("5;5", "5,5")),
            "with semicolons between 3 columns, in windows-1252 (set --delimiter, --encoding",
        ),
        (table.replace("\"", "'").into_bytes(), "with quotes '"),
    ] {
        let path = files.file("t.csv", &content);
        assert_eq!(show(&path, &[]), rows, "{:?}", String::from_utf8_lossy(&content));
        let notes = super::open::open_like(&Location::File(path), &ReadOptions::default(), None).unwrap().notes;
        let [note] = notes.as_slice() else {
            assert!(notes.is_empty() && said.is_empty(), "{said}: {notes:?}");
            continue;
        };
        assert!(!said.is_empty() && note.contains(said) && note.contains("t.csv: "), "{said}: {notes:?}");
    }
    check("t.csv", "1,x\n2,y\n", &[], &["column_1:Int64 column_2:Utf8", "1|x", "2|y"]);
    check("t.ndjson", "\u{feff}{\"a\":1}\n", &[], &["a:Int64", "1"]);
    assert_eq!(show(&files.file("t.ndjson", &utf16("{\"a\":\"é\"}\n", u16::to_le_bytes)), &[]), "a:Utf8\né");
    // A guess is held to the whole file.
    let late = [b"a,b\n".as_slice(), &b"\xe9t\xe9,1\n".repeat(200_000), b"x\x81,2\n"].concat();
    refuse("t.csv", &late, &[], &["line 200002: cannot be read: byte 0x81 stands for no character in windows-1252", "--encoding"]);
    let late = [b"a,b\n".as_slice(), &b"x,1\n".repeat(400_000), b"\xe9,2\n"].concat();
    refuse("t.csv", &late, &[], &["line 400002: column `a` is not UTF-8", "--encoding"]);
    refuse(
        "t.csv",
        &utf16("a,b\n1,2\n", u16::to_le_bytes)[..15],
        &[],
        &["line 2: cannot be read: bytes that are no character in utf-16le"],
    );
    refuse(
        "t.csv",
        b"a\n\x93\xfa\x96\x7b\n\x93\x8c\x8b\x9e\x82\xcc\x93\x56\x8b\x43\n",
        &[],
        &["line 2 is not UTF-8 and looks like shift_jis"],
    );
}

/// A file, what is said about it, and what it is.
type Said = (&'static [u8], fn(&mut ReadOptions), &'static str);

/// What is detected can be said.
#[test]
fn every_part_of_a_dialect_can_be_said() {
    let files = Files::new();
    let read = |content: &[u8], set: fn(&mut ReadOptions)| {
        let mut options = ReadOptions { columns_required: true, ..ReadOptions::default() };
        set(&mut options);
        let opened = super::open::open_like(&Location::File(files.file("t.csv", content)), &options, None)?;
        let header: Vec<String> = opened.schema.fields().iter().map(|field| format!("{}:{}", field.name(), field.data_type())).collect();
        let mut lines = vec![header.join(" ")];
        for batch in opened.rows {
            let batch = batch?;
            let cell = |column: &Arc<dyn Array>, row| if column.is_null(row) { "NULL".into() } else { cell(column, row) };
            lines.extend(
                (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|")),
            );
        }
        assert!(opened.notes.is_empty(), "{:?}", opened.notes);
        Ok::<_, InputError>(lines.join("\n"))
    };
    let cases: [Said; 10] = [
        (b"1,2\n3,4\n", |it| it.csv.header = Some(true), "1:Int64 2:Int64\n3|4"),
        (b"a,b\n3,4\n", |it| it.csv.header = Some(false), "column_1:Utf8 column_2:Utf8\na|b\n3|4"),
        (b"a;b\n3;4\n", |it| it.csv.delimiter = Some(",".parse().unwrap()), "a;b:Utf8\n3;4"),
        (b"a,b\n\"3,4\n", |it| it.csv.quote = Some("none".parse().unwrap()), "a:Utf8 b:Int64\n\"3|4"),
        (b"a,b\n'3',4\n", |it| it.csv.quote = Some("single".parse().unwrap()), "a:Int64 b:Int64\n3|4"),
        (b"a,b\n|3,3|,\"4\n", |it| it.csv.quote = Some("|".parse().unwrap()), "a:Utf8 b:Utf8\n3,3|\"4"),
        (b"a,b\nNA,\"NA\"\n1,-\n", |it| it.csv.nulls = vec!["NA".into(), "-".into()], "a:Int64 b:Utf8\nNULL|NA\n1|NULL"),
        (b"a\n\x93\xfa\x96\x7b\n", |it| it.encoding = Some("shift_jis".parse().unwrap()), "a:Utf8\n日本"),
        (b"a\nx\x81\n", |it| it.encoding = Some("windows-1252".parse().unwrap()), "a:Utf8\nx\u{81}"),
        (b"a,b\n1,\xe9\n2,x\n", |it| (it.encoding, it.bad_rows) = (Some("utf-8".parse().unwrap()), BadRows::Skip), "a:Int64 b:Utf8\n2|x"),
    ];
    for (content, set, expected) in cases {
        assert_eq!(read(content, set).unwrap_or_else(|error| panic!("{error}")), expected, "{:?}", String::from_utf8_lossy(content));
    }
    let error =
        read(b"a;b\n", |it| (it.csv.delimiter, it.csv.quote) = (Some("|".parse().unwrap()), Some("|".parse().unwrap()))).unwrap_err();
    assert!(error.to_string().contains("--quote and --delimiter are the same"), "{error}");
    let path = files.file("t.parquet", &parquet_file(&numbers(1), 10));
    let encoding = ReadOptions { encoding: Some("latin1".parse().unwrap()), columns_required: true, ..ReadOptions::default() };
    assert!(open(&Location::File(path), &encoding).is_err_and(|error| error.to_string().contains("--encoding says how text is written")));
}

#[test]
fn rows_that_are_not_well_formed_are_left_out_and_counted() {
    let files = Files::new();
    let skip = ReadOptions { bad_rows: BadRows::Skip, ..ReadOptions::default() };
    for (name, content, rows, left_out, first) in [
        ("t.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n", 2, 2, (3, "the record has 1 fields")),
        ("t.csv", "a,b\n\"x\"y,2\n\"x\ny\",3\n \"z\",4\n5,6\n", 2, 2, (2, "field 1 continues after its closing quote")),
        ("t.csv", "a,b\n1,2\n3,4\r5,6\n7,8\n", 2, 1, (3, "carriage return")),
        ("t.csv", &format!("a,b\n1,2\n{}\n3,4\n", ",".repeat(1_000_000)), 2, 1, (3, "the record has more than 2 fields")),
        ("t.ndjson", "{\"a\":1}\n{\"b\":\n[1]\n{\"a\":2,\"a\":3}\n{\"a\":4}\n", 2, 3, (2, "the line ends within a JSON object")),
        ("t.json", "[{\"a\":1},\n{\"a\":x},{\"a\":3}]", 2, 1, (2, "not JSON at character 6 of the line")),
    ] {
        let path = files.file(name, content.as_bytes());
        refuse(name, content.as_bytes(), &[], &[&format!("line {}", first.0), first.1]);
        let opened = super::open::open_like(&Location::File(path), &skip, None).unwrap();
        assert_eq!(
            opened.schema.fields().iter().filter(|field| field.name() == "b").count(),
            usize::from(name == "t.csv"),
            "{content:.200}"
        );
        let read: usize = opened.rows.map(|batch| batch.unwrap().num_rows()).sum();
        let skipped = opened.skipped.so_far();
        let told = skipped.first.as_ref().map(|(line, problem)| (*line, problem.contains(first.1)));
        assert_eq!((read, skipped.rows, told), (rows, left_out, Some((first.0, true))), "{content:.200}: {skipped:?}");
    }
    // A file that cannot be read further is no such row, and neither is a value of another type.
    for (content, problem) in [
        ("a,b\n1,\"2\n3,4\n", "line 2: a quote is opened here and never closed"),
        (&format!("a\n{}x\n", "1\n".repeat(SAMPLE_ROWS)), "line 10002, column `a`: the value is not int64"),
        ("\"a\"b,c\n1,2\n", "line 1: field 1 continues after its closing quote"),
    ] {
        let opened = open(&Location::File(files.file("t.csv", content.as_bytes())), &skip);
        let error = opened.and_then(|(_, rows)| rows.collect::<Result<Vec<_>, _>>()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    // Rows of several files, and a file that has none left.
    let paths = [files.file("a.csv", b"a,b\n1,2\n3\n"), files.file("b.csv", b"a,b\n5,6\n"), files.file("c.csv", b"a,b\n1\n2,3\n")];
    let (messages, skipped) = feed_with(&paths, Some("t"), skip.clone());
    assert!(messages.iter().all(Result::is_ok));
    let of = |skipped: &[SkippedFile]| skipped.iter().map(|it| (it.rows, it.line, it.file.ends_with("a.csv"))).collect::<Vec<_>>();
    assert_eq!(of(&skipped), [(1, 3, true), (1, 2, false)]);
    let (messages, _) = feed_with(&[files.file("d.csv", b"a,b\n1\n2\n")], Some("t"), skip);
    let error = messages.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(error.contains("d.csv, line 2: none of the 2 rows is well-formed"), "{error}");
}

#[test]
fn every_compressed_form_is_read_through_and_its_truncation_noticed() {
    let files = Files::new();
    let mut csv = String::from("id,name\n");
    (0..20_000).for_each(|row| csv += &format!("{row},name {}\n", row * 7919));
    let zstd = |content: &[u8]| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        // As `zstd` does.
        encoder.include_checksum(true).unwrap();
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = |content: &[u8]| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    // As `xz` writes it; the crate's encoder is left out.
    let xz = include_bytes!("../../../tests/fixtures/compressed/numbers.csv.xz");
    for (name, whole) in [
        ("t.csv.gz", gzip(csv.as_bytes())),
        ("t.csv.zst", zstd(csv.as_bytes())),
        ("t.csv.bz2", bzip2(csv.as_bytes())),
        ("t.csv.xz", xz.to_vec()),
    ] {
        let (schema, batches) = read(&files.file(name, &whole), &[]).unwrap();
        assert_eq!((schema.fields().len(), batches.iter().map(RecordBatch::num_rows).sum::<usize>()), (2, 20_000), "{name}");
        refuse(name, &whole[..whole.len() - 9], &[], &[name]);
        let mut torn = whole.clone();
        torn[whole.len() / 2] ^= 0x55;
        assert!(read(&files.file(name, &torn), &[]).is_err(), "{name}");
        // Members one after another are one file, and the name does not matter.
        let twice = files.file("twice", &[whole.as_slice(), &whole].concat());
        let options =
            ReadOptions { format: Some(InputFormat::Csv), columns: vec![parse_override("id=string").unwrap()], ..ReadOptions::default() };
        let rows: usize = open(&Location::File(twice), &options).unwrap().1.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows, 40_001, "{name}");
    }
    let parquet = parquet_file(&numbers(100), 10);
    assert_eq!(read(&files.file("t.parquet.zst", &zstd(&parquet)), &[]).unwrap().1.len(), 10);
    refuse("t.csv.gz", &gzip(&zstd(csv.as_bytes())), &[], &["compressed twice: there is zstd in it"]);
    // More window than is given: `zstd --long=31` and a dictionary of 1.5 GiB.
    let mut long = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    long.window_log(28).unwrap();
    long.write_all(csv.as_bytes()).unwrap();
    refuse("t.csv.zst", &long.finish().unwrap(), &[], &["zstd", "memory"]);
    refuse("t.csv.xz", include_bytes!("../../../tests/fixtures/compressed/large_dictionary.csv.xz"), &[], &["xz", "memory"]);
}

/// A file that decompresses to far more than its size is a stream like any other: here a line without end.
#[test]
fn a_small_file_that_unpacks_to_much_takes_no_more_memory_than_a_record() {
    let line = vec![b'x'; 70 << 20];
    refuse(
        "t.csv.zst",
        &zstd::stream::encode_all([b"a\n", line.as_slice()].concat().as_slice(), 1).unwrap(),
        &[],
        &["line 2: the record is longer than 64 MiB"],
    );
}

#[test]
fn json_that_is_not_by_line_is_read_as_it_is_by_line() {
    let rows = ["a:Int64 b:Binary", "1|NULL", "9007199254740993|5b310a5d"];
    check("t.ndjson", "{\"a\":1}\n{\"a\":9007199254740993,\"b\":[1]}\n", &[], &[rows[0], rows[1], "9007199254740993|5b315d"]);
    for content in [
        "[{\"a\":1},{\"a\":9007199254740993,\"b\":[1\n]}]",
        "[\n  {\n    \"a\": 1\n  },\n  {\"a\":9007199254740993,\"b\":[1\n]}\n]\n",
        "{\n\"a\": 1\n}\n{\"a\":9007199254740993,\n\"b\":[1\n]}",
        "{\"a\":1}{\"a\":9007199254740993,\"b\":[1\n]}",
    ] {
        for name in ["t.json", "t.ndjson"] {
            check(name, content, &[], &rows);
        }
    }
    check("t.csv", "[{\"a\":1}]", &[], &["a:Int64", "1"]);
    let files = Files::new();
    assert_eq!(show(&files.file("t", b"[\n{\"a\":1}]"), &[]), "a:Int64\n1");
    for (content, expected) in [
        ("[{\"a\":1},\n\"secret\"]", "line 2: the array of JSON holds something that is no object"),
        ("[{\"a\":1},\n{\"a\":\n secret}]", "line 3: not JSON at character 2 of the line"),
        ("[{\"a\":1},\n{\"a\":2,\"a\":3}]", "line 2: the object holds the key `a` twice"),
        ("{\n\"a\":1\n", "line 1: the file ends within the JSON object"),
        ("[{\"a\":1}", "line 1: the file ends within an array"),
        ("[{\"a\":1}] x", "line 1: something follows the array"),
        ("[1, 2]", "line 1: the array of JSON holds something that is no object"),
        ("[]", "holds no row with a column"),
    ] {
        refuse("t.json", content.as_bytes(), &[], &[expected]);
    }
    refuse("t.json", b"[{\"a\":\"\xff\"}]", &[], &["line 1: byte 7 of the line is not UTF-8"]);
    refuse(
        "t.json",
        format!("[{{\"a\":\"{}\"}}]", "x".repeat(65 << 20)).as_bytes(),
        &[],
        &["line 1: the JSON object that begins here is longer than 64 MiB"],
    );
}

#[test]
fn a_late_mismatch_names_file_line_column_and_type() {
    let mut csv = String::from("id,name\n");
    let mut ndjson = String::new();
    for row in 0..SAMPLE_ROWS + 10 {
        csv += &format!("{row},\"two\nlines\"\n");
        ndjson += &format!("{{\"id\":{row}}}\n");
    }
    refuse("t.csv", format!("{csv}secret,x\n").as_bytes(), &[], &["line 20022,", "column `id`", "int64", "--column id=TYPE"]);
    let floats = csv.replace("\n0,", "\n0.5,");
    for number in ["12345678901234567.89", "1e400"] {
        let late = format!("{floats}{number},x\n");
        refuse("t.csv", late.as_bytes(), &[], &["line 20022,", "column `id`", "not float64 without rounding", "--column id=TYPE"]);
    }
    // Among the first rows, it would have made the column text.
    refuse("t.csv", format!("{floats}NaN,x\n").as_bytes(), &[], &["line 20022,", "column `id`", "--column id=string"]);
    refuse("t.csv", format!("{csv}1e400,x\n").as_bytes(), &["id=float64"], &["line 20022,", "column `id`", "not float64"]);
    refuse("t.ndjson", format!("{ndjson}{{\"id\":\"secret\"}}\n").as_bytes(), &[], &["line 10011,", "column `id`", "int64"]);
    refuse("t.ndjson", format!("{ndjson}{{\"new\":1}}\n").as_bytes(), &[], &["column `new`", "line 10011", "--column new=TYPE"]);
    let files = Files::new();
    let path = files.file("t.ndjson", format!("{ndjson}{{\"new\":1}}\n").as_bytes());
    assert!(show(&path, &["new=int64"]).ends_with("\nNULL|1"));
}

/// Inferred types are not widened for later values; the type that the error suggests accepts the value as written.
#[test]
fn late_values_that_would_be_changed_are_refused_with_the_remedy() {
    for (first, late) in [
        ("5", "02134"),
        ("5", "+41791234567"),
        ("5", "00"),
        ("5", "-0"),
        ("5", "5.0"),
        ("5", " 5"),
        ("5", "9223372036854775808"),
        ("1.5", "01.5"),
        ("1.5", "+1.5"),
        ("1.5", "inf"),
        ("true", "1"),
        ("true", "no"),
        ("true", "t"),
        ("true", "off"),
        ("2024-01-02", "2024-02-30"),
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05"),
        ("2024-01-02T03:04:05Z", "2024-01-02"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:60Z"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05.1234567Z"),
        ("2024-01-02T03:04:05.1234567Z", "3024-01-02T03:04:05Z"),
    ] {
        let files = Files::new();
        let is_json = |text: &str| text.trim() == text && serde_json::from_str::<serde_json::Value>(text).is_ok();
        let json = |text: &str| if is_json(text) { text.to_owned() } else { format!("\"{text}\"") };
        for (name, head, first, late) in [
            ("t.csv", "v\n", first.to_owned(), late.to_owned()),
            ("t.ndjson", "", format!("{{\"v\":{}}}", json(first)), format!("{{\"v\":{}}}", json(late))),
        ] {
            let path = files.file(name, format!("{head}{}{late}\n", format!("{first}\n").repeat(SAMPLE_ROWS)).as_bytes());
            let line = SAMPLE_ROWS + 1 + usize::from(name == "t.csv");
            let error = read(&path, &[]).expect_err(&late).to_string();
            let place = format!("{name}, line {line}, column `v`: ");
            assert!(error.contains(&place) && error.contains("--column v=string "), "{first}, then {late}: {error}");
            let shown = show(&path, &["v=string"]);
            let value = shown.rsplit('\n').next().unwrap_or_default();
            assert!(late == value || late == format!("{{\"v\":{value}}}") || late == format!("{{\"v\":\"{value}\"}}"), "{late}: {value}");
        }
    }
}

#[test]
fn nothing_follows_an_error() {
    for (name, head, row, bad) in [
        ("malformed.csv", "a,b\n", "1,2\n", "1\n"),
        ("mismatch.csv", "a,b\n", "1,2\n", "x,2\n"),
        ("malformed.ndjson", "", "{\"a\":1}\n", "{\n"),
        ("mismatch.ndjson", "", "{\"a\":1}\n", "{\"a\":\"x\"}\n"),
    ] {
        let files = Files::new();
        let content = format!("{head}{}{bad}{row}", row.repeat(SAMPLE_ROWS + 5));
        let (_, rows) = open(&Location::File(files.file(name, content.as_bytes())), &ReadOptions::default()).unwrap();
        let ends: Vec<bool> = rows.map(|batch| batch.is_ok()).collect();
        assert_eq!(ends, [true, false], "{name}");
    }
}

#[test]
fn a_column_without_a_name_of_its_own_gets_one_and_that_is_said() {
    let files = Files::new();
    for (content, expected, said) in [
        (",city\n0,Bern\n", "column_1:Int64 city:Utf8\n0|Bern", "1 of the header's columns have no name; they are called `column_1`"),
        ("a,b,\n1,2,\n", "a:Int64 b:Int64 column_3:Utf8\n1|2|NULL", "`column_3`"),
        ("column_3,column_3_2,\"\"\n1,2,3\n", "column_3:Int64 column_3_2:Int64 column_3_3:Int64\n1|2|3", "`column_3_3`"),
        (",,\n1,2,3\n", "column_1:Int64 column_2:Int64 column_3:Int64\n1|2|3", "3 of the header's columns"),
        ("a,a\n1,2\n", "a:Int64 a_1:Int64\n1|2", "1 of the header's columns have the name of an earlier one; they are called `a_1`"),
        ("a,a,a_1,a\n1,2,3,4\n", "a:Int64 a_2:Int64 a_1:Int64 a_3:Int64\n1|2|3|4", "`a_2`, `a_3`"),
    ] {
        let path = files.file("t.csv", content.as_bytes());
        assert_eq!(show(&path, &[]), expected);
        let opened = super::open::open_like(&Location::File(path), &ReadOptions::default(), None).unwrap();
        assert!(matches!(opened.notes.as_slice(), [note] if note.contains(said) && note.contains("t.csv: line 1")), "{:?}", opened.notes);
    }
}

#[test]
fn other_delimiters_are_noticed_or_said() {
    let files = Files::new();
    let opened = |name: &str, content: &str, delimiter: Option<&str>| {
        let path = files.file(name, content.as_bytes());
        let csv = CsvOptions { delimiter: delimiter.map(|text| text.parse().unwrap()), ..CsvOptions::default() };
        let opened = super::open::open_like(&Location::File(path), &ReadOptions { csv, ..ReadOptions::default() }, None).unwrap();
        (opened.schema.fields().len(), opened.notes)
    };
    for (name, content) in
        [("t.csv", "city;people\nBern;133000\n"), ("t.csv", "a|b\n1|2\n"), ("t.csv", "a\tb\n1\t2\n"), ("t.tsv", "a,b\n1,2\n")]
    {
        let (columns, notes) = opened(name, content, None);
        assert!(columns == 2 && notes.len() == 1 && notes[0].contains("--delimiter"), "{content}: {notes:?}");
    }
    assert_eq!(opened("t.csv", "city;people\nBern;133000\n", Some(",")), (1, vec![]));
    assert_eq!(opened("t.csv", "a^b\n1^2\n", Some("^")), (2, vec![]));
    assert_eq!(opened("noname", "a;b\n1;2\n", Some("semicolon")), (2, vec![]));
    let path = files.file("t.ndjson", b"{\"a\":1}\n");
    let csv = CsvOptions { delimiter: Some(";".parse().unwrap()), ..CsvOptions::default() };
    let options = ReadOptions { csv, columns_required: true, ..ReadOptions::default() };
    assert!(open(&Location::File(path), &options).is_err_and(|error| error.to_string().contains("--delimiter")));
}

#[test]
fn ndjson_is_read_with_types() {
    check(
        "t.json",
        "{\"id\":1,\"x\":1.5,\"tags\":[1, 2],\"at\":\"2024-01-02 03:04:05\",\"mix\":1}\n\n{\"id\":2,\"s\":\"a\\u0041\",\"tags\":null,\"mix\":\"b\"}\n",
        &[],
        &[
            "id:Int64 x:Float64 tags:Binary at:Timestamp(µs) mix:Utf8 s:Utf8",
            "1|1.5|5b312c20325d|2024-01-02T03:04:05|1|NULL",
            "2|NULL|NULL|NULL|b|aA",
        ],
    );
}

#[test]
fn ndjson_that_is_broken_is_refused_by_line() {
    for (content, expected) in [
        ("{\"a\":1}\n{\"a\":\"secret", "line 2: the line ends within a JSON object"),
        ("{\"a\":1}\n[\"secret\"]\n", "line 2: the line is not a JSON object"),
        ("\"secret\"\n", "line 1: the line is not a JSON object"),
        ("{\"a\":1}\n{\"a\":\nsecret}\n", "line 2: the line ends within a JSON object"),
        ("{\"b\":1}\n{\"a\":1} {\"a\":2}\n", "line 2: not JSON at character 9"),
        ("{\"a\":1,\"a\":2}\n", "line 1: the object holds the key `a` twice"),
        ("{\"a\":null,\"a\":2}\n", "line 1: the object holds the key `a` twice"),
        ("{\"a\":1,\"\\u0061\":null}\n", "line 1: the object holds the key `a` twice"),
        ("{\"a\":{\"secret\":1,\"secret\":2}}\n", "line 1: column `a` holds an object with a key twice"),
        ("{\"a\":[{\"b\":{\"secret\":1,\"secret\":2}}]}\n", "line 1: column `a` holds an object with a key twice"),
        ("{\"a\":\"\\ud800\"}\n", "line 1: column `a` holds half of a surrogate pair"),
        ("{\"a\":[\"\\ud800\"]}\n", "line 1: column `a` holds half of a surrogate pair"),
        ("{\"a\":{\"\\udc00x\":1}}\n", "line 1: column `a` holds half of a surrogate pair"),
        ("{\"\\ud800\":1}\n", "line 1: not JSON at character"),
        ("{\"a\":secret}\n", "line 1: not JSON at character"),
        ("", "holds no row"),
    ] {
        refuse("t.ndjson", content.as_bytes(), &[], &[expected]);
    }
    refuse("t.ndjson", b"{\"a\":\"\xff\"}\n", &[], &["line 1: byte 7 of the line is not UTF-8"]);
}

#[test]
fn gzip_is_read_through_and_its_truncation_noticed() {
    let files = Files::new();
    let mut csv = String::from("id,name\n");
    (0..20_000).for_each(|row| csv += &format!("{row},name {}\n", row * 7919));
    let whole = gzip(csv.as_bytes());
    let (_, batches) = read(&files.file("t.csv.gz", &whole), &[]).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
    refuse("t.csv.gz", &whole[..whole.len() / 2], &[], &["line "]);
    assert_eq!(show(&files.file("t.gz", &gzip(b"{\"a\":1}\n")), &[]), "a:Int64\n1");
}

#[test]
fn ipc_in_both_forms_compressed_or_not() {
    let files = Files::new();
    let batch = numbers(100);
    for (name, content) in [
        ("t.arrows", ipc_stream(&[batch.clone(), batch.clone()])),
        ("t.arrow", ipc_file(&batch, None)),
        ("lz4", ipc_file(&batch, Some(CompressionType::LZ4_FRAME))),
        ("zstd.feather", ipc_file(&batch, Some(CompressionType::ZSTD))),
    ] {
        let (_, batches) = read(&files.file(name, &content), &[]).unwrap();
        assert!(batches.iter().all(|read| *read == batch), "{name}");
        assert_eq!(batches.len(), if name == "t.arrows" { 2 } else { 1 }, "{name}");
    }
}

#[test]
fn compressed_streams_of_several_batches_are_read() {
    let batch = mixed_ids(1_000);
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let files = Files::new();
        let path = files.file("t.arrows", &compressed_stream(&[batch.clone(), batch.slice(0, 0), batch.clone()], compression));
        let (_, batches) = read(&path, &[]).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2_000);
    }
}

/// Bytes that the column of [`mixed_ids`] unpacks to.
const IDS_BYTES: i64 = 8_000;

fn mixed_ids(rows: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row % 3))) as Arc<dyn Array>)]).unwrap()
}

fn compressed_stream(batches: &[RecordBatch], compression: CompressionType) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// 64 TiB cannot be allocated: trying would abort the process.
#[test]
fn a_compressed_buffer_that_claims_too_much_is_refused_before_memory_is_asked_for() {
    let batch = mixed_ids(1_000);
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        for (name, ipc) in
            [("t.arrows", compressed_stream(std::slice::from_ref(&batch), compression)), ("t.arrow", ipc_file(&batch, Some(compression)))]
        {
            for (claim, expected) in
                [(1_i64 << 46, "which cannot be"), (i64::MAX, "which cannot be"), (IDS_BYTES + 8, "truncated or corrupt")]
            {
                refuse(name, &testing::lying(&ipc, IDS_BYTES, claim), &[], &["truncated or corrupt", expected]);
            }
        }
    }
}

/// Its numbers would be misread.
#[test]
fn a_big_endian_stream_is_refused() {
    refuse("t.arrows", &testing::big_endian_stream(), &[], &["big endian"]);
}

#[test]
fn truncated_ipc_is_refused_by_place() {
    let batch = numbers(100);
    let stream = ipc_stream(&[batch.clone(), batch.clone()]);
    refuse("t.arrows", &stream[..stream.len() - 200], &[], &["byte ", "truncated or corrupt"]);
    let file = ipc_file(&batch, None);
    refuse("t.arrow", &file[..file.len() / 2], &[], &["not a complete Arrow IPC file"]);
}

#[test]
fn parquet_is_read_by_row_groups() {
    let files = Files::new();
    let (schema, batches) = read(&files.file("t", &parquet_file(&numbers(20_000), 6_000)), &[]).unwrap();
    assert_eq!(schema.fields().len(), 2);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
}

/// A value stored once in the file but a thousand times in memory leads to small batches.
#[test]
fn parquet_of_few_long_values_is_read_a_few_rows_at_a_time() {
    let files = Files::new();
    let long = "x".repeat(512 << 10);
    let texts: StringArray = (0..1_000).map(|row| if row < 900 { Some("short") } else { Some(long.as_str()) }).collect();
    for (name, batch) in [
        ("flat", RecordBatch::try_from_iter([("a", Arc::new(texts.clone()) as Arc<dyn Array>)]).unwrap()),
        // The file declares a dictionary and is read as one; messages contain the values.
        ("coded", {
            let coded = arrow_cast::cast(&texts, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))).unwrap();
            RecordBatch::try_from_iter([("a", coded)]).unwrap()
        }),
    ] {
        let file = parquet_file(&batch, 1_000);
        assert!(file.len() < 2 << 20, "{name}: {} bytes", file.len());
        let (_, batches) = read(&files.file(name, &file), &[]).unwrap();
        let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
        assert!(rows.iter().sum::<usize>() == 1_000 && rows.iter().all(|rows| *rows <= 128), "{name}: {rows:?}");
    }
    let (_, batches) = read(&files.file("short", &parquet_file(&numbers(20_000), 20_000)), &[]).unwrap();
    assert_eq!(batches.len(), 3, "short values come in whole batches");
}

#[test]
fn broken_parquet_is_refused_by_place() {
    let whole = parquet_file(&numbers(20_000), 6_000);
    refuse("t.parquet", &whole[..whole.len() - 10], &[], &["not a complete Parquet file", "bytes"]);
    refuse("t.parquet", b"PAR1", &[], &["not a complete Parquet file"]);
    let mut torn = whole.clone();
    torn[4..100].fill(0xff);
    refuse("t.parquet", &torn, &[], &["row group ", "after row "]);
}

#[test]
fn what_a_file_is_follows_from_content_then_name() {
    let files = Files::new();
    let format = |name: &str, content: &[u8]| read(&files.file(name, content), &[]).map(|(schema, _)| schema.fields().len());
    assert_eq!(format("wrong.csv", &parquet_file(&numbers(3), 10)).unwrap(), 2);
    assert_eq!(format("noname", b"  {\"a\":1}\n").unwrap(), 1);
    assert!(matches!(format("noname", b"a,b\n"), Err(InputError::UnknownFormat { .. })));
    assert!(matches!(read(files.0.path(), &[]), Err(InputError::Io { .. })));
    assert!(matches!(read(&files.0.path().join("missing.csv"), &[]), Err(InputError::Io { .. })));
}

fn feed(paths: &[PathBuf], table: Option<&str>) -> Vec<Result<Message, InputError>> {
    feed_with(paths, table, ReadOptions::default()).0
}

/// The messages, and what was left out.
fn feed_with(paths: &[PathBuf], table: Option<&str>, options: ReadOptions) -> (Vec<Result<Message, InputError>>, Vec<SkippedFile>) {
    let arguments: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut feed = MessageReader::start(resolve(&arguments, table, HivePartitioning::Auto).unwrap(), options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut messages = Vec::new();
    while let Some(message) = runtime.block_on(feed.next()) {
        messages.push(message);
    }
    (messages, feed.skipped().to_vec())
}

/// The batches sent for a file, or the error.
pub(super) fn sent(path: &Path) -> Result<Vec<RecordBatch>, String> {
    let mut batches = Vec::new();
    for message in feed(&[path.to_owned()], Some("t")) {
        batches.extend(decode(&message.map_err(|error| error.to_string())?).1);
    }
    Ok(batches)
}

fn decode(message: &Message) -> (Schema, Vec<RecordBatch>) {
    let (Message::Migrate(ipc) | Message::Insert(ipc)) = message;
    let reader = arrow_ipc::reader::StreamReader::try_new(ipc.as_ref(), None).unwrap();
    (reader.schema(), reader.map(Result::unwrap).collect())
}

#[test]
fn a_feed_says_the_table_then_its_rows_in_bounded_messages() {
    let files = Files::new();
    let path = files.file("orders.parquet", &parquet_file(&numbers(25_000), 100_000));
    let messages: Vec<Message> = feed(&[path], None).into_iter().map(Result::unwrap).collect();
    assert!(matches!(messages[0], Message::Migrate(_)));
    assert!(messages[1..].iter().all(|message| matches!(message, Message::Insert(_))));
    let decoded: Vec<_> = messages.iter().map(decode).collect();
    assert!(decoded.iter().all(|(schema, _)| schema.metadata()["cq:table_name"] == "orders"));
    let rows: Vec<usize> = decoded.iter().flat_map(|(_, batches)| batches).map(RecordBatch::num_rows).collect();
    assert_eq!(rows.iter().sum::<usize>(), 25_000);
    assert!(rows.iter().all(|rows| *rows <= 10_000), "{rows:?}");
}

#[test]
fn schemas_alone_are_those_of_the_feed() {
    let files = Files::new();
    let paths = [files.file("a.csv", b"id,x\n1,2\n"), files.file("b.csv", b"y\ntrue\n")];
    let arguments: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let schemas = MessageReader::schemas(&resolve(&arguments, None, HivePartitioning::Auto).unwrap(), &ReadOptions::default()).unwrap();
    let migrated: Vec<_> = feed(&paths, None)
        .into_iter()
        .filter_map(|message| match message.unwrap() {
            Message::Migrate(ipc) => Some(ipc),
            Message::Insert(_) => None,
        })
        .collect();
    assert_eq!((schemas.len(), &schemas), (2, &migrated));
}

#[test]
fn files_of_one_table_that_differ_are_refused_before_anything_is_sent() {
    let files = Files::new();
    let first = files.file("a.csv", b"id,x\n1,2\n");
    for (content, difference) in [
        ("id,x\n1,two\n", "column `x`: its type is Utf8 but Int64 in"),
        ("id,y\n1,2\n", "column `y`: it stands where `x` is"),
        ("id,x,z\n1,2,3\n", "column `z`: it is missing in"),
        ("id\n1\n", "column `x`: it is missing here but present in"),
        ("x,id\n1,two\n", "column `id`: its type is Utf8 but Int64 in"),
    ] {
        let messages = feed(&[first.clone(), files.file("b.csv", content.as_bytes())], Some("t"));
        let [Err(error)] = messages.as_slice() else { panic!("{content}: {} messages", messages.len()) };
        let text = error.to_string();
        assert!(text.contains(difference) && text.contains("a.csv") && text.contains("b.csv"), "{text}");
    }
}

#[test]
fn files_of_one_table_that_fit_are_one_table() {
    let files = Files::new();
    let messages = feed(&[files.file("a.csv", b"id\n1\n"), files.file("b.csv", b"id\n2\n")], Some("t"));
    assert_eq!(messages.iter().filter(|message| matches!(message, Ok(Message::Migrate(_)))).count(), 1);
    assert_eq!(messages.len(), 3);
}

/// The rows of one table as text, under the announced columns.
fn fed(paths: &[PathBuf]) -> Vec<String> {
    shown(&feed(paths, Some("t")))
}

fn shown(messages: &[Result<Message, InputError>]) -> Vec<String> {
    let mut lines = Vec::new();
    for message in messages {
        let message = message.as_ref().unwrap_or_else(|error| panic!("{error}"));
        let (schema, batches) = decode(message);
        let header: Vec<String> = schema.fields().iter().map(|field| format!("{}:{}", field.name(), field.data_type())).collect();
        match lines.first() {
            None => lines.push(header.join(" ")),
            Some(first) => assert_eq!(*first, header.join(" ")),
        }
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cell = |column: &Arc<dyn Array>| if column.is_null(row) { "NULL".into() } else { cell(column, row) };
                lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|"));
            }
        }
    }
    lines
}

/// A description, files by name and content, and the expected types and rows.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// Files of one table, and its rows.
#[test]
fn files_of_one_table_are_one_by_names_and_values() {
    let cases: [Case; 12] = [
        ("an empty column fits any type", &[("a.csv", "id,d\n1,5\n"), ("b.csv", "id,d\n2,\n")], &["id:Int64 d:Int64", "1|5", "2|NULL"]),
        ("also if it comes first", &[("a.csv", "id,d\n2,\n"), ("b.csv", "id,d\n1,true\n")], &["id:Int64 d:Boolean", "2|NULL", "1|true"]),
        ("a header alone fits any file", &[("a.csv", "id,d\n1,2024-01-02\n"), ("b.csv", "id,d\n")], &["id:Int64 d:Date32", "1|2024-01-02"]),
        ("also if it comes first", &[("a.csv", "id\n"), ("b.csv", "id\n1.5\n")], &["id:Float64", "1.5"]),
        ("nothing but headers", &[("a.csv", "id\n"), ("b.csv", "id\n")], &["id:Utf8"]),
        ("columns of CSV are told by name", &[("a.csv", "a,b\n1,2\n"), ("b.csv", "b,a\n4,3\n")], &["a:Int64 b:Int64", "1|2", "3|4"]),
        (
            "keys have no order",
            &[("a.ndjson", "{\"a\":1,\"b\":2}\n"), ("b.ndjson", "{\"b\":4,\"a\":3}\n")],
            &["a:Int64 b:Int64", "1|2", "3|4"],
        ),
        (
            "a key that is missing is null",
            &[("a.ndjson", "{\"a\":1}\n"), ("b.ndjson", "{\"b\":2}\n")],
            &["a:Int64 b:Int64", "1|NULL", "NULL|2"],
        ),
        (
            "null everywhere",
            &[("a.ndjson", "{\"a\":1,\"b\":null}\n"), ("b.ndjson", "{\"b\":[1]}\n")],
            &["a:Int64 b:Binary", "1|NULL", "NULL|5b315d"],
        ),
        ("a file without a row", &[("a.ndjson", ""), ("b.ndjson", "{\"a\":1}\n"), ("c.ndjson", "\n{}\n")], &["a:Int64", "1", "NULL"]),
        ("formats side by side", &[("a.csv", "a,b\n1,\n"), ("b.ndjson", "{\"b\":true}\n")], &["a:Int64 b:Boolean", "1|NULL", "NULL|true"]),
        ("delimiters side by side", &[("a.csv", "a,b\n1,2\n"), ("b.csv", "b;a\n4;3\n")], &["a:Int64 b:Int64", "1|2", "3|4"]),
    ];
    for (promise, inputs, expected) in cases {
        let files = Files::new();
        let paths: Vec<PathBuf> = inputs.iter().map(|(name, content)| files.file(name, content.as_bytes())).collect();
        assert_eq!(fed(&paths), expected, "{promise}");
    }
    // With Parquet, whose types are used.
    let files = Files::new();
    let paths = [files.file("a.csv", b"name,id\n,\n"), files.file("b.parquet", &parquet_file(&numbers(1).project(&[1]).unwrap(), 10))];
    let error = feed(&paths, Some("t")).pop().unwrap().unwrap_err().to_string();
    assert!(error.contains("column `id`: it is missing here but present in"), "{error}");
    let paths = [files.file("a.csv", b"name\n\n"), files.file("b.parquet", &parquet_file(&numbers(1).project(&[1]).unwrap(), 10))];
    assert_eq!(fed(&paths), ["name:Utf8", "NULL", "secret 0"]);
}

#[test]
fn what_is_in_the_folders_of_a_path_is_a_column() {
    let files = Files::new();
    for folder in ["t/day=01/country=DE%2FBY", "t/day=20/country=__HIVE_DEFAULT_PARTITION__"] {
        std::fs::create_dir_all(files.0.path().join(folder)).unwrap();
    }
    files.file("t/day=01/country=DE%2FBY/1.csv", b"v\n1\n2\n");
    files.file("t/day=20/country=__HIVE_DEFAULT_PARTITION__/2.csv", b"v\n3\n");
    let folder = [files.0.path().join("t")];
    let rows = |options| shown(&feed_with(&folder, None, options).0);
    assert_eq!(rows(ReadOptions::default()), ["v:Int64 day:Utf8 country:Utf8", "1|01|DE/BY", "2|01|DE/BY", "3|20|NULL"]);
    files.file("t/day=01/country=DE%2FBY/1.csv", b"v,country\n1,own\n");
    files.file("t/day=20/country=__HIVE_DEFAULT_PARTITION__/2.csv", b"country,v\nthis,3\n");
    assert_eq!(rows(ReadOptions::default()), ["v:Int64 country:Utf8 day:Utf8", "1|own|01", "3|this|20"]);
    let columns = vec![parse_override("day=int64").unwrap()];
    let error = feed_with(&folder, None, ReadOptions { columns, ..ReadOptions::default() }).0.pop().unwrap().unwrap_err().to_string();
    assert!(error.contains("the value of `day` in the path is not int64") && error.contains("1.csv"), "{error}");
}

#[test]
fn files_of_one_table_are_united_where_that_is_asked_for() {
    let union = ReadOptions { union_by_name: true, ..ReadOptions::default() };
    let cases: [Case; 9] = [
        (
            "columns that are missing",
            &[("a.csv", "id,x\n1,2\n"), ("b.csv", "y,id\na,3\n")],
            &["id:Int64 x:Int64 y:Utf8", "1|2|NULL", "3|NULL|a"],
        ),
        ("integers and floats", &[("a.csv", "v\n1\n"), ("b.csv", "v\n1.5\n")], &["v:Float64", "1.0", "1.5"]),
        ("whichever is first", &[("a.csv", "v\n1.5\n"), ("b.csv", "v\n1\n")], &["v:Float64", "1.5", "1.0"]),
        (
            "text as it is written",
            &[("a.csv", "v\n1.50\n"), ("b.csv", "v\nx\n"), ("c.csv", "v\n2024-01-02\n")],
            &["v:Utf8", "1.50", "x", "2024-01-02"],
        ),
        (
            "finer timestamps",
            &[("a.csv", "v\n2024-01-02T03:04:05Z\n"), ("b.csv", "v\n2024-01-02T03:04:05.1234567Z\n")],
            &["v:Timestamp(ns, \"UTC\")", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.123456700Z"],
        ),
        (
            "a column without values",
            &[("a.csv", "v\n1\n"), ("b.csv", "v,w\n,\n"), ("c.csv", "w\ntrue\n")],
            &["v:Int64 w:Boolean", "1|NULL", "NULL|NULL", "NULL|true"],
        ),
        ("JSON", &[("a.json", "[{\"v\":1}]"), ("b.ndjson", "{\"v\":\"x\"}\n")], &["v:Utf8", "1", "x"]),
        ("CSV and JSON", &[("a.csv", "v,w\n1,2\n"), ("b.json", "{\"v\":1.5}")], &["v:Float64 w:Int64", "1.0|2", "1.5|NULL"]),
        ("what is equal", &[("a.csv", "v\n1\n"), ("b.csv", "v\n2\n")], &["v:Int64", "1", "2"]),
    ];
    for (promise, inputs, expected) in cases {
        let files = Files::new();
        let paths: Vec<PathBuf> = inputs.iter().map(|(name, content)| files.file(name, content.as_bytes())).collect();
        assert_eq!(shown(&feed_with(&paths, Some("t"), union.clone()).0), expected, "{promise}");
    }
    // With Parquet, whose values are converted.
    let files = Files::new();
    let of = |name: &str, array: Arc<dyn Array>| {
        let schema = ArrowSchema::new(vec![Field::new(name, array.data_type().clone(), false)]);
        parquet_file(&RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap(), 10)
    };
    let narrow = files.file("a.parquet", &of("v", Arc::new(arrow_array::Int32Array::from(vec![-7]))));
    let wide = files.file("b.parquet", &of("v", Arc::new(Int64Array::from(vec![i64::MAX]))));
    let other = files.file("c.parquet", &of("w", Arc::new(StringArray::from(vec!["x"]))));
    let text = files.file("d.csv", b"v\n9007199254740993\n");
    let all = [narrow.clone(), wide.clone(), other, text.clone()];
    let expected = ["v:Int64 w:Utf8", "-7|NULL", "9223372036854775807|NULL", "NULL|x", "9007199254740993|NULL"];
    assert_eq!(shown(&feed_with(&all, Some("t"), union.clone()).0), expected);
    // What no type holds is refused, and so is a value of text that the common type does not hold.
    let float = files.file("e.parquet", &of("v", Arc::new(arrow_array::Float64Array::from(vec![0.5]))));
    let late = files.file("f.csv", format!("v\n{}x\n", "1\n".repeat(SAMPLE_ROWS)).as_bytes());
    let inexact = files.file("g.csv", b"v\n1.5\n");
    for (paths, problem) in [
        ([wide, float.clone()], "column `v`: its type is Float64, and no type holds exactly both that and the Int64 in"),
        ([text, inexact], "d.csv, line 2, column `v`: the value is not float64 without rounding"),
        ([narrow, late], "f.csv, line 10002, column `v`: the value is not int32"),
    ] {
        let error = feed_with(&paths, Some("t"), union.clone()).0.pop().unwrap().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

/// The type from another file of the table also applies to late values.
#[test]
fn a_value_after_an_empty_beginning_is_judged_by_the_tables_type() {
    let files = Files::new();
    let typed = files.file("a.csv", b"id,d\n1,5\n");
    for (late, fits) in [("7", true), ("007", false), ("x", false)] {
        let path = files.file("b.csv", format!("id,d\n{}3,{late}\n", "2,\n".repeat(SAMPLE_ROWS)).as_bytes());
        let messages = feed(&[typed.clone(), path], Some("t"));
        match messages.last().unwrap() {
            Ok(message) => assert!(fits && decode(message).1[0].column(1).null_count() == 0, "{late}"),
            Err(error) => assert!(!fits && error.to_string().contains("b.csv, line 10002, column `d`: "), "{late}: {error}"),
        }
    }
}

#[test]
fn a_parquet_file_out_of_gzip_is_copied_where_it_is_asked_for_or_refused() {
    let files = Files::new();
    let path = files.file("t.parquet.gz", &gzip(&parquet_file(&numbers(10), 10)));
    let read = |spool: Spool| open(&Location::File(path.clone()), &ReadOptions { spool, ..ReadOptions::default() });
    assert!(read(Spool::Dir(files.0.path().to_owned())).is_ok());
    let error = read(Spool::None).err().unwrap().to_string();
    assert!(error.contains("t.parquet.gz: it is Parquet") && error.contains("--spill-dir is `none`"), "{error}");
    assert!(read(Spool::Dir(files.0.path().join("missing"))).is_err_and(|error| error.to_string().contains("missing")));
    // A file that is not Parquet is not copied first.
    let format = Some(InputFormat::Parquet);
    let options = ReadOptions { spool: Spool::None, format, ..ReadOptions::default() };
    let path = files.file("u.gz", &gzip(b"a,b\n1,2\n"));
    assert!(open(&Location::File(path), &options).is_err_and(|error| error.to_string().contains("does not begin with PAR1")));
}

#[test]
fn what_is_not_read_is_named_whatever_its_suffix() {
    for (name, content, expected) in [
        ("t.csv.lz4", b"\x04\x22\x4d\x18\x64\x40\xa7".as_slice(), ["compressed with lz4", "csv, tsv, json"]),
        ("t.csv", b"PK\x03\x04\0\0xl/workbook.xml", ["Microsoft Office", "CSV (UTF-8)"]),
        ("t.csv", b"%PDF-1.4\n", ["PDF", "CSV (UTF-8)"]),
        ("t.ndjson", b"\xff\xfe\0\0{\0\0\0", ["UTF-32", "iconv"]),
        ("t.csv", b"a\0\0b\0\0\n\0", ["NUL bytes", "csv, tsv, json"]),
        ("t.csv", b"<!DOCTYPE html>\n<html>", ["HTML", "CSV (UTF-8)"]),
        ("t", b"[id],[name]\n", ["set it with --input-format", "parquet|csv|tsv|json|ipc"]),
        ("t", b"plain,text\n", ["set it with --input-format", "parquet|csv|tsv|json|ipc"]),
    ] {
        refuse(name, content, &[], &expected);
        if name != "t" {
            refuse(&format!("{name}.gz"), &gzip(content), &[], &expected);
        }
    }
}

/// Nulls and names take memory in proportion to the file, not to rows times columns; a file that is too wide is refused early.
#[test]
fn what_is_wide_beyond_bounds_is_refused_by_name() {
    let header = |columns: usize| (0..columns).map(|column| format!("{column:x}")).collect::<Vec<_>>().join(",");
    refuse("t.csv", header(10_001).as_bytes(), &[], &["line 1: the header has more than 10000 columns"]);
    refuse("t.csv", header(300_000).as_bytes(), &[], &["line 1: the header has more than 10000 columns"]);
    let quoted = header(40_000).replace(',', "\",\"");
    refuse("t.csv", format!("\"{quoted}\"\n").as_bytes(), &[], &["line 1: the header has more than 10000 columns"]);
    refuse(
        "t.csv",
        format!("a,b\n1,2\n{}\n", ",".repeat(1_000_000)).as_bytes(),
        &[],
        &["line 3: the record has more than 2 fields, the header has 2"],
    );
    refuse("t.csv", format!("a,b\n\"1\",{}\n", ",".repeat(100_000)).as_bytes(), &[], &["line 2: the record has more than 2 fields"]);
    refuse("t.csv", format!("a,{}\n", "x".repeat(5_000)).as_bytes(), &[], &["line 1: the name of column 2 has 5000 bytes; at most 4096"]);
    refuse("t.ndjson", format!("{{\"{}\":1}}\n", "x".repeat(5_000)).as_bytes(), &[], &["line 1: the object has a key of 5000 bytes"]);
    let keys: Vec<String> = (0..10_001).map(|key| format!("\"{key}\":1")).collect();
    refuse("t.ndjson", format!("{{{}}}\n", keys.join(",")).as_bytes(), &[], &["line 1: the file has more than 10000 columns"]);
    refuse(
        "t.ndjson",
        format!("{{\"a\":{}{}}}\n", "[".repeat(20_000), "]".repeat(20_000)).as_bytes(),
        &[],
        &["column `a` is nested more than 10000 deep"],
    );
    let files = Files::new();
    let rows = "{}\n".repeat(1_999) + &format!("{{{}}}\n", keys[..10_000].join(","));
    let (_, batches) = read(&files.file("t.ndjson", rows.as_bytes()), &[]).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2_000);
    assert!(batches.iter().all(|batch| batch.num_rows() <= 500), "{} batches", batches.len());
}

#[cfg(unix)]
#[test]
fn pipes_of_one_table_are_read_once() {
    let files = Files::new();
    let pipe = |name: &str, content: &'static [u8]| {
        let path = files.0.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writing = path.clone();
        // A second reader would find nothing in it.
        std::thread::spawn(move || std::fs::write(&writing, content).and_then(|()| std::fs::write(&writing, b"")));
        path
    };
    let (first, file) = (pipe("a.ndjson", b"{\"id\":1}\n{\"id\":2}\n"), files.file("b.ndjson", b"{\"id\":3}\n"));
    let messages = feed(&[first, file, pipe("c.ndjson", b"{\"id\":4}\n")], Some("t"));
    let rows = messages.iter().map(|message| decode(message.as_ref().unwrap()).1.iter().map(RecordBatch::num_rows).sum::<usize>());
    assert_eq!(rows.collect::<Vec<_>>(), [0, 2, 1, 1]);
    let messages = feed(&[files.file("d.csv", b"id\n1\n"), pipe("e.csv", b"id\ntwo\n")], Some("t"));
    let error = messages.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(error.contains("e.csv") && error.contains("d.csv") && error.contains("column `id`"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Any bytes give rows or an error, never a panic.
    #[test]
    fn garbage_never_panics(content in proptest::collection::vec(proptest::num::u8::ANY, 0..400), kind in 0..5_usize) {
        let magic: &[u8] = [b"".as_slice(), b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x1f\x8b\x08"][kind];
        let files = Files::new();
        let bytes = [magic, content.as_slice()].concat();
        for name in ["t.csv", "t.ndjson"] {
            let _ = read(&files.file(name, &bytes), &[]);
        }
    }

    /// Rows written as CSV are read back unchanged.
    #[test]
    fn csv_reads_back(rows in proptest::collection::vec(("[a-z\",\n ]{1,8}", "[a-z]{0,3}"), 1..20)) {
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let lines: String = rows.iter().map(|(a, b)| format!("{},{}\n", quote(a), quote(b))).collect();
        let files = Files::new();
        let (_, batches) = read(&files.file("t.csv", format!("a,b\n{lines}").as_bytes()), &["a=utf8", "b=utf8"]).unwrap();
        let cells = |column: usize| {
            let array = batches[0].column(column);
            (0..array.len()).map(|row| array_value_to_string(array, row).unwrap()).collect::<Vec<_>>()
        };
        proptest::prop_assert_eq!(cells(0), rows.iter().map(|row| row.0.clone()).collect::<Vec<_>>());
        proptest::prop_assert_eq!(cells(1), rows.iter().map(|row| row.1.clone()).collect::<Vec<_>>());
    }
}
