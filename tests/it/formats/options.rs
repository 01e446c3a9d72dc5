//! Options of Parquet and compression of text, as other programs find them in what a load has written.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, SECRET};
use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{Array as _, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{Field, Schema};
use lakegate_local_store::LocalStore;
use lakegate_tests::generate::Dice;
use lakegate_tests::python::Python;
use lakegate_tests::spark::Spark;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::{corpus, minio, tiers};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

const SCRIPT: &str = include_str!("../../peers/options.py");

const ROWS: i64 = 30_000;

/// What every reader has to find in the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Sums {
    rows: i64,
    ids: i64,
    millis: i64,
    tags: i64,
    quarters: i64,
    noise: i64,
}

/// The table, in an order that no column has, and its sums.
fn write_table(path: &Path) -> Sums {
    // A step that shares no factor with the rows reaches each.
    let ids: Vec<i64> = (0..ROWS).map(|row| row * 7_919 % ROWS).collect();
    let millis = |id: i64| 1_700_000_000_000 + id * 61_001;
    let mut tags = ListBuilder::new(Int64Builder::new());
    for id in &ids {
        (0..id % 4).for_each(|tag| tags.values().append_option((tag != 2).then_some(id + tag)));
        tags.append(id % 9 != 0);
    }
    let tags = tags.finish();
    let mut dice = Dice::new(20);
    let mut noise = |_: &i64| (0..48).map(|_| char::from(b'!' + dice.below(90) as u8)).collect::<String>();
    let noise: Vec<String> = ids.iter().map(&mut noise).collect();
    let in_tags: i64 = (0..tags.len())
        .filter(|row| arrow_array::Array::is_valid(&tags, *row))
        .map(|row| {
            arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&tags.value(row)).iter().flatten().sum::<i64>()
        })
        .sum();
    let sums = Sums {
        rows: ROWS,
        ids: ids.iter().sum(),
        millis: ids.iter().map(|id| millis(*id)).sum(),
        tags: in_tags,
        quarters: ids.iter().sum(),
        noise: 48 * ROWS,
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("name", Arc::new(StringArray::from_iter(ids.iter().map(|id| (id % 41 != 0).then(|| format!("name {}", id % 40)))))),
        ("when", Arc::new(TimestampNanosecondArray::from_iter_values(ids.iter().map(|id| millis(*id) * 1_000_000)).with_timezone("UTC"))),
        ("tags", Arc::new(tags)),
        ("ratio", Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| *id as f64 / 4.0)))),
        ("noise", Arc::new(StringArray::from(noise))),
    ];
    let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).expect("a batch");
    let mut writer = arrow_ipc::writer::FileWriter::try_new(std::fs::File::create(path).expect("a file"), &schema).expect("a schema");
    for start in (0..batch.num_rows()).step_by(5_000) {
        writer.write(&batch.slice(start, 5_000)).expect("rows");
    }
    writer.finish().expect("a footer");
    sums
}

/// Files by name, and what they are written with: an option at a time, and all of them.
fn files() -> Vec<(&'static str, Value)> {
    vec![
        ("plain", json!({})),
        ("zstd", json!({"compression": "zstd"})),
        ("zstd12", json!({"compression": "zstd", "compression_level": 12})),
        ("gzip", json!({"compression": "gzip"})),
        ("none", json!({"compression": "none"})),
        ("us", json!({"timestamp_unit": "us"})),
        ("ms", json!({"timestamp_unit": "ms"})),
        ("ids", json!({"field_ids": true})),
        ("filters", json!({"bloom_filter_columns": ["name", "id", "none of its"]})),
        ("sorted", json!({"sort_by": ["name desc", "id"]})),
        ("groups", json!({"row_group_bytes": 1 << 20})),
        ("unindexed", json!({"page_index": false})),
        (
            "all",
            json!({
                "compression": "zstd", "compression_level": 1, "timestamp_unit": "us", "field_ids": true, "row_group_bytes": 1 << 20,
                "bloom_filter_columns": ["name", "id"], "sort_by": ["name desc", "id"], "page_index": false,
            }),
        ),
    ]
}

/// What a script prints of a file.
#[derive(Debug, Deserialize)]
struct Found {
    file: String,
    groups: usize,
    codecs: Vec<String>,
    duckdb_codecs: Vec<String>,
    page_index: Vec<bool>,
    sorting: Vec<(i32, bool, bool)>,
    arrow_ids: Vec<i32>,
    duckdb_ids: Vec<(String, i32)>,
    unit: String,
    filters: Vec<String>,
    absent: Option<[bool; 2]>,
    present: Option<[bool; 2]>,
    first_names: Vec<Option<String>>,
    pyarrow: Sums,
    duckdb: Sums,
    polars_rows: i64,
    bytes: u64,
}

fn dir() -> TestDir {
    TestDir::new(PLUGIN, (KEY, SECRET))
}

/// The object of a key, as a file of a folder.
fn export(dir: &TestDir, key: &str, to: &Path) {
    let store = LocalStore::open(&dir.path().join("store")).expect("a store");
    std::fs::copy(store.object_path(BUCKET, key), to).expect("the object");
}

/// Loads the table with each set of options. Answers its sums; the files are in a folder `files`.
fn load(dir: &TestDir) -> Sums {
    let sums = write_table(&dir.path().join("t.arrow"));
    let folder = dir.path().join("files");
    std::fs::create_dir(&folder).expect("a folder");
    for (name, options) in files() {
        let spec = json!({
            "bucket": BUCKET, "region": "us-east-1", "path": format!("{{{{TABLE}}}}/{name}.parquet"), "format": "parquet", "no_rotate": true,
            "format_spec": options,
        });
        dir.file("spec.json", &spec.to_string());
        let warning = if name == "filters" { &["lacks the column", "none of its", "of `bloom_filter_columns`"][..] } else { &[] };
        dir.run("load t.arrow --spec spec.json --local store").ended(0, warning);
        export(dir, &format!("t/{name}.parquet"), &folder.join(format!("{name}.parquet")));
    }
    sums
}

/// Names from the last to the first, nulls at the end.
fn is_falling(names: &[Option<String>]) -> bool {
    names.is_sorted_by(|one, next| one >= next)
}

#[tokio::test(flavor = "multi_thread")]
async fn pyarrow_and_duckdb_find_every_option_of_parquet() {
    let Some(python) = tiers::live("options of Parquet", Python::find()) else { return };
    let dir = dir();
    let sums = load(&dir);
    let printed = python.run(SCRIPT, ["parquet".as_ref(), dir.path().join("files").as_os_str()]).await.expect("the peers read");
    let found: Vec<Found> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let size = |name: &str| found.iter().find(|found| found.file == name).expect(name).bytes;
    for found in &found {
        let options = &files().into_iter().find(|(name, _)| *name == found.file).expect("a file").1;
        let name = &found.file;
        assert_eq!((&found.pyarrow, &found.duckdb, found.polars_rows), (&sums, &sums, ROWS), "{name}");
        let codec = match options["compression"].as_str().unwrap_or("snappy") {
            "none" => "UNCOMPRESSED".to_owned(),
            codec => codec.to_uppercase(),
        };
        assert_eq!((&found.codecs, &found.duckdb_codecs), (&vec![codec.clone()], &vec![codec]), "{name}: every chunk, nested ones, too");
        assert_eq!(found.page_index, [options["page_index"] != false], "{name}");
        assert_eq!(found.unit, options["timestamp_unit"].as_str().unwrap_or("ns"), "{name}");
        assert_eq!(found.groups > 1, options["row_group_bytes"].is_number(), "{name}: {} groups", found.groups);
        let is_sorted = options["sort_by"].is_array();
        assert_eq!(found.sorting, if is_sorted { vec![(1, true, false), (0, false, true)] } else { Vec::new() }, "{name}");
        assert_eq!(is_falling(&found.first_names), is_sorted, "{name}: {:?}", found.first_names);
        let is_numbered = options["field_ids"] == true;
        let of_fields = [("id", 1), ("name", 2), ("when", 3), ("tags", 4), ("element", 5), ("ratio", 6), ("noise", 7)];
        let of_fields: Vec<(String, i32)> = of_fields.iter().filter(|_| is_numbered).map(|(name, id)| ((*name).to_owned(), *id)).collect();
        assert_eq!(found.duckdb_ids, of_fields, "{name}");
        assert_eq!(found.arrow_ids, if is_numbered { [1, 2, 3, 4, 6, 7] } else { [0; 6] }, "{name}");
        let is_filtered = options["bloom_filter_columns"].is_array();
        assert_eq!(found.filters, if is_filtered { vec!["id", "name"] } else { Vec::new() }, "{name}");
        assert_eq!((found.absent, found.present), (is_filtered.then_some([true; 2]), is_filtered.then_some([false; 2])), "{name}");
    }
    assert!(size("zstd") < size("plain") && size("zstd12") <= size("zstd") && size("plain") < size("none"), "{found:?}");
    corpus("options of Parquet found by pyarrow and duckdb", found.len(), files().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_reads_every_option_of_parquet() {
    let Some(spark) = tiers::live("options of Parquet", Spark::session()) else { return };
    let dir = dir();
    let sums = load(&dir);
    let sevens = (0..ROWS).filter(|id| id % 40 == 7 && id % 41 != 0).count();
    let mut read = 0;
    for (name, options) in files() {
        let file = dir.path().join("files").join(format!("{name}.parquet"));
        let answer = spark.run(&json!({"job": "options", "file": file}));
        // What the unit is for: Spark knows no nanoseconds.
        if options["timestamp_unit"].is_null() {
            assert!(answer.is_err(), "{name}: {answer:?}");
            continue;
        }
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::from_value::<Sums>(answer["sums"].clone()).expect("sums"), sums, "{name}");
        assert_eq!(answer["sevens"], json!(sevens), "{name}: a filter finds them");
        let names: Vec<Option<String>> = serde_json::from_value(answer["first_names"].clone()).expect("names");
        assert_eq!(is_falling(&names), options["sort_by"].is_array(), "{name}: {names:?}");
        read += 1;
    }
    // Each of the others once more, in a unit that it knows.
    for (name, options) in files().into_iter().filter(|(_, options)| options["timestamp_unit"].is_null()) {
        let mut options = options;
        options["timestamp_unit"] = "us".into();
        let spec = json!({
            "bucket": BUCKET, "region": "us-east-1", "path": format!("{{{{TABLE}}}}/{name}-us.parquet"), "format": "parquet", "no_rotate": true,
            "format_spec": options,
        });
        dir.file("spec.json", &spec.to_string());
        assert!(dir.command("load t.arrow --spec spec.json --local store").output().expect("it starts").status.success(), "{name}");
        let file = dir.path().join(format!("{name}-us.parquet"));
        export(&dir, &format!("t/{name}-us.parquet"), &file);
        let answer = spark.run(&json!({"job": "options", "file": file})).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::from_value::<Sums>(answer["sums"].clone()).expect("sums"), sums, "{name}");
        assert_eq!(answer["sevens"], json!(sevens), "{name}: a filter finds them");
        read += 1;
    }
    corpus("options of Parquet read by Spark", read, files().len());
}

#[test]
fn flags_of_a_load_are_the_options() {
    let dir = dir();
    write_table(&dir.path().join("t.arrow"));
    let flags = "--compression zstd --compression-level 1 --timestamp-unit us --field-ids --row-group-bytes 1MiB --bloom-filter-column name \
                 --bloom-filter-column id --sort-by id --no-page-index";
    let to = |name: &str| format!("load t.arrow --to s3://{BUCKET}/{{{{TABLE}}}}/{name}.parquet --format parquet --local store");
    dir.run(&format!("{} {flags}", to("flags"))).ended(0, &[]);
    let options = json!({
        "compression": "zstd", "compression_level": 1, "timestamp_unit": "us", "field_ids": true, "row_group_bytes": 1 << 20,
        "bloom_filter_columns": ["name", "id"], "sort_by": ["id"], "page_index": false,
    });
    let spec = json!({
        "bucket": BUCKET, "region": "us-east-1", "path": "{{TABLE}}/spec.parquet", "format": "parquet", "no_rotate": true, "format_spec": options,
    });
    dir.file("spec.json", &spec.to_string());
    dir.run("load t.arrow --spec spec.json --local store").ended(0, &[]);
    let body = |name: &str| {
        let store = LocalStore::open(&dir.path().join("store")).expect("a store");
        std::fs::read(store.object_path(BUCKET, &format!("t/{name}.parquet"))).expect("the object")
    };
    assert!(body("flags") == body("spec"), "the same bytes");
    dir.run(&format!("{} --compression snappy --compression-level 3", to("x"))).ended(3, &["`compression_level` can only be used with"]);
    dir.run(&format!("{} --timestamp-unit ns", to("x"))).ended(3, &["Allowed values are us, ms, us_truncated, ms_truncated"]);
    dir.run(&format!("{} --sort-by id", to("x").replace("--format parquet", "--format csv"))).ended(3, &["unknown field \"sort_by\""]);
}

/// A value that a unit would change fails its table, and nothing of it is seen; cut off only if that is asked for.
#[test]
fn a_timestamp_is_never_changed_in_silence() {
    let dir = dir();
    let when: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000, 1_001]));
    let schema = Arc::new(Schema::new(vec![Field::new("when", when.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![when]).expect("a batch");
    let file = std::fs::File::create(dir.path().join("t.arrow")).expect("a file");
    let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &schema).expect("a schema");
    writer.write(&batch).and_then(|()| writer.finish()).expect("rows");
    let load = format!("load t.arrow --to s3://{BUCKET}/{{{{TABLE}}}}.parquet --format parquet --local store --timestamp-unit");
    let store = || LocalStore::open(&dir.path().join("store")).expect("a store").records(BUCKET, "").map(|records| records.len());
    let words = ["Table t failed", "column \"when\"", "is not a whole number of microseconds", "`us_truncated` would cut off"];
    dir.run(&format!("{load} us")).ended(6, &words);
    assert_eq!(store().unwrap_or_default(), 0);
    dir.run(&format!("{load} us_truncated")).ended(0, &[]);
    assert_eq!(store().expect("it can be read"), 1);
}

/// Text of both formats, plain and compressed by each codec.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_text_is_the_text_whoever_reads_it() {
    let dir = dir();
    let sums = write_table(&dir.path().join("t.arrow"));
    let folder = dir.path().join("files");
    std::fs::create_dir(&folder).expect("a folder");
    let body = |key: &str| {
        let store = LocalStore::open(&dir.path().join("store")).expect("a store");
        std::fs::read(store.object_path(BUCKET, key)).expect("the object")
    };
    let mut written = Vec::new();
    for format in ["csv", "json"] {
        let load = |flags: &str| {
            let to = format!("s3://{BUCKET}/{{{{TABLE}}}}/{{{{FORMAT}}}}");
            dir.run(format!("load t.arrow --to {to} --format {format} --local store {flags}").trim_end()).ended(0, &[]);
        };
        load("");
        let plain = body(&format!("t/{format}"));
        for (codec, suffix, level) in
            [("gzip", "gz", ""), ("gzip", "gz", " --compression-level 9"), ("zstd", "zst", ""), ("zstd", "zst", " --compression-level 12")]
        {
            load(&format!("--compression {codec}{level}"));
            let packed = body(&format!("t/{format}.{suffix}"));
            let mut text = Vec::new();
            match codec {
                "gzip" => flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut text).expect("a member"),
                _ => zstd::stream::read::Decoder::new(packed.as_slice()).expect("a decoder").read_to_end(&mut text).expect("frames"),
            };
            assert!(text == plain, "{format} by {codec}{level}");
            let name = format!("t{}.{format}.{suffix}", level.len());
            std::fs::write(folder.join(&name), &packed).expect("a file");
            written.push((name, packed.len()));
        }
        // Told by the header instead of the name; a plan says so.
        load("--compression zstd --content-encoding zstd");
        let record =
            LocalStore::open(&dir.path().join("store")).expect("a store").records(BUCKET, &format!("t/{format}")).expect("records");
        let record = record.into_iter().find(|record| record.key == format!("t/{format}")).expect("it took the place of the plain one");
        let content_type = if format == "csv" { "text/csv" } else { "application/json" };
        assert_eq!(record.attributes.content_encoding.as_deref(), Some("zstd"));
        assert_eq!(record.attributes.content_type.as_deref(), Some(content_type));
        assert!(zstd::stream::decode_all(body(&record.key).as_slice()).expect("frames") == plain);
        let to = format!("s3://{BUCKET}/{{{{TABLE}}}}/{{{{FORMAT}}}}");
        let plan = dir
            .run(&format!("plan t.arrow --to {to} --format {format} --compression zstd --content-encoding zstd --json"))
            .ended(0, &[])
            .json();
        let plan = &plan["plans"][0];
        assert_eq!((&plan["headers"]["content-encoding"], &plan["content_type"]), (&json!("zstd"), &json!(content_type)), "{plan}");
    }
    // Frames that follow each other are one text, as where memory was wanted back.
    let pair = body("t/json.zst").repeat(2);
    std::fs::write(folder.join("pair.json.zst"), pair).expect("a file");
    assert!(written[2].1 > written[3].1, "a higher level packs better: {written:?}");

    let Some(python) = tiers::live("compressed text", Python::find()) else { return };
    let printed = python.run(SCRIPT, ["text".as_ref(), folder.as_os_str()]).await.expect("the peers read");
    let mut combinations = 0;
    for line in printed.lines() {
        let found: Value = serde_json::from_str(line).expect("JSON");
        let times = if found["file"] == "pair.json.zst" { 2 } else { 1 };
        assert_eq!((&found["rows"], &found["ids"]), (&json!(times * sums.rows), &json!(times * sums.ids)), "{found}");
        combinations += 1;
    }
    corpus("compressed text read by pyarrow, duckdb and polars", combinations, 4 * 3 + 5 * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_store_shows_the_content_encoding() {
    let Some(store) = tiers::live("content encodings at MinIO", minio::start().await) else { return };
    let client = store.client();
    client.create_bucket().bucket(BUCKET).send().await.expect("a bucket");
    let dir = TestDir::new(PLUGIN, (store.access_key.clone().leak(), store.secret_key.clone().leak()));
    dir.file("t.csv", "id,name\n1,one\n");
    // Too much for one put even when it is compressed.
    let mut dice = Dice::new(3);
    let mut name = || (0..200).map(|_| char::from(b'0' + dice.below(64) as u8)).filter(char::is_ascii_alphanumeric).collect::<String>();
    let rows: String = (0..80_000).map(|id| format!("{id},{}\n", name())).collect();
    dir.file("u.csv", &format!("id,name\n{rows}"));
    for (table, encoding) in [("t", "gzip"), ("t", "zstd"), ("u", "gzip"), ("u", "zstd")] {
        let line = format!(
            "load {table}.csv --to s3://{BUCKET}/{{{{TABLE}}}}.{{{{FORMAT}}}} --format csv --compression {encoding} --content-encoding {encoding} \
             --part-size 5MiB --endpoint {} --path-style",
            store.endpoint
        );
        dir.run_async(&line).await.ended(0, &[]);
        let found = client.head_object().bucket(BUCKET).key(format!("{table}.csv")).send().await.expect("it is there");
        assert_eq!((found.content_encoding(), found.content_type()), (Some(encoding), Some("text/csv")), "{table}");
        assert_eq!(found.e_tag().is_some_and(|etag| etag.contains('-')), table == "u", "{table}: the tag of an upload counts its parts");
    }
}
