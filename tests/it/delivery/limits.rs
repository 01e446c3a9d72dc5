//! Limits that hold for any input: parts of an object, bytes held by the host, and the use of all lanes.

use crate::fixtures::faulty_store::{FaultyStore, insert_in_turn};
use crate::fixtures::support::{runtime, test_store};
use arrow_array::cast::AsArray;
use arrow_array::{BinaryArray, Int64Array, ListArray, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use lakegate::limits::JOB_BYTES;
use lakegate::{Destination, FailureClass, MemoryUsage, Options, Session};
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::generate::Dice;
use lakegate_tests::tables::Table;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Maximum bytes a guest writes before the host can spill: one chunk per lane.
const CHUNK_BYTES: u64 = 1 << 20;

const LANES: NonZeroUsize = NonZeroUsize::new(2).expect("two");

/// Peak of the bytes held by a session while `work` ran, polled every millisecond.
async fn most_held<T>(session: &Session, work: impl Future<Output = T>) -> (T, MemoryUsage) {
    let done = CancellationToken::new();
    let watch = async {
        let mut most = MemoryUsage { staged: 0, spill_file: 0, in_flight: 0 };
        while !done.is_cancelled() {
            let held = session.held_bytes();
            most.staged = most.staged.max(held.staged);
            most.spill_file = most.spill_file.max(held.spill_file);
            most.in_flight = most.in_flight.max(held.in_flight);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        most
    };
    let work = async {
        let outcome = work.await;
        done.cancel();
        outcome
    };
    tokio::join!(work, watch)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_ten_thousand_parts_are_refused_by_name() {
    const PART: u64 = 64;
    let mut faulty = FaultyStore::new([]).await;
    faulty.options.connect.min_part_bytes = PART;
    let session = faulty.open(json!({"path": "{{TABLE}}.csv", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    // 6 bytes a row and more: well above 640,000 bytes.
    insert_in_turn(&mut write, &BTreeMap::from([("t".to_owned(), 120_000)]), 10_000).await;
    let report = write.finish().await;
    let failures: Vec<_> = report.failures().collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0].1.class, FailureClass::Storage);
    let text = "the object needs more than 10000 parts of 64 bytes (640000 bytes so far), which is all a store allows; `part_size: 128` holds \
                twice as much";
    assert_eq!(failures[0].1.message, text);
    assert_eq!((faulty.unfinished(), faulty.keys().len()), (vec![], 0));
    // The session continues: a smaller table is written.
    let rows = BTreeMap::from([("u".to_owned(), 1_000)]);
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &rows, 1_000).await;
    faulty.check_all_landed("after the refusal", &write.finish().await, &rows);
    session.close().await;
}

/// Cells whose bytes take six each in JSON: more than the memory of an instance, if their text had to be collected.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_cell_of_control_characters_is_written_as_it_is_encoded() {
    const CELL: usize = 108 << 20;
    let cell = StringArray::from(vec!["\u{1}".repeat(CELL)]);
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([1]), Arc::new(cell.clone()), None);
    let text = Table::new("text").column("c", Arc::new(cell)).insert_ipc().expect("one column");
    let nested = Table::new("nested").column("c", Arc::new(list)).insert_ipc().expect("one column");
    // JSON: `{"c":["…"]}` and a line end. CSV: a header and a line end.
    let cases = [("json", &nested, "nested", 6 * CELL + 11), ("csv", &text, "text", CELL + 3)];
    let test_store = test_store("limits");
    let session = |format: &str| {
        let options = Options { lanes: NonZeroUsize::MIN, ..test_store.options() };
        open(options, json!({"format": format, "path": format!("{{{{TABLE}}}}.{format}"), "no_rotate": true}))
    };
    for (format, message, table, bytes) in cases {
        let session = session(format).await;
        let mut write = session.write().expect("no write is running");
        write.insert(message.clone().into()).await.expect("a good message");
        let report = write.finish().await;
        assert_eq!(report.failures().collect::<Vec<_>>(), [], "{table} as {format}");
        assert_eq!(report.tables[0].receipts[0].bytes, bytes as u64, "{table} as {format}");
        session.close().await;
    }
}

/// A cell that is nearly a whole message, in a page of its own: message, page and what it becomes fit the sandbox, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_cell_fits_a_page_of_parquet() {
    const CELL: usize = 199 << 20;
    // Nothing that could be compressed.
    let mut dice = Dice::new(1);
    let cell: Vec<u8> = (0..CELL / 8).flat_map(|_| dice.bits().to_le_bytes()).collect();
    let message = Table::new("huge").column("c", Arc::new(BinaryArray::from_vec(vec![&cell]))).insert_ipc().expect("one column");
    let test_store = test_store("limits");
    let options = Options { lanes: NonZeroUsize::MIN, ..test_store.options() };
    let session = open(options, json!({"format": "parquet", "path": "{{TABLE}}.parquet", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    write.insert(message.into()).await.expect("a good message");
    let report = write.finish().await;
    assert_eq!(report.failures().collect::<Vec<_>>(), []);
    session.close().await;
    let file = bytes::Bytes::from(test_store.body("huge.parquet"));
    let rows = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build()).expect("a file of Parquet");
    let rows: Vec<_> = rows.collect::<Result<_, _>>().expect("its rows");
    assert!(rows.len() == 1 && rows[0].column(0).as_binary::<i32>().value(0) == cell);
}

/// What the `parquet` crate could not hold fails its table with the column's name, while the lane's other tables are written; what it may hold fits,
/// next to as much in another column.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_nested_cell_is_refused_or_fits_a_page_of_parquet() {
    let mut dice = Dice::new(2);
    let mut noise = |bytes: usize| -> Vec<u8> { (0..bytes / 8).flat_map(|_| dice.bits().to_le_bytes()).collect() };
    let list = |cell: &[u8]| {
        let item = Arc::new(Field::new("item", DataType::Binary, true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1]), Arc::new(BinaryArray::from_vec(vec![cell])), None))
    };
    let (huge, large, rest) = (noise(199 << 20), noise(47 << 20), noise(47 << 20));
    let other = Table::new("other").column("id", Arc::new(Int64Array::from(vec![1]))).insert_ipc().expect("one column");
    let huge = Table::new("huge").column("c", list(&huge)).insert_ipc().expect("one column");
    let large = Table::new("large").column("flat", Arc::new(BinaryArray::from_vec(vec![&rest]))).column("c", list(&large));
    let large = large.insert_ipc().expect("two columns");
    let test_store = test_store("limits");
    let options = Options { lanes: NonZeroUsize::MIN, ..test_store.options() };
    let session = open(options, json!({"format": "parquet", "path": "{{TABLE}}.parquet", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    for message in [other, huge, large] {
        write.insert(message.into()).await.expect("a good message");
    }
    let report = write.finish().await;
    session.close().await;
    let failures: Vec<_> = report.failures().map(|(table, failure)| (table.to_owned(), failure.class, failure.message.clone())).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let (table, class, said) = &failures[0];
    assert_eq!((table.as_str(), *class), ("huge", FailureClass::Data), "{said}");
    assert!(said.starts_with("column \"c\": a row takes more than 50331648 bytes"), "{said}");
    let mut keys = test_store.keys();
    keys.sort();
    assert_eq!(keys, ["large.parquet", "other.parquet"]);
}

const MANY_TABLES: usize = 2_000;
const MEMORY_BYTES: u64 = 16 << 20;
/// A table gets two messages of these rows: together about a mebibyte of text.
const ROWS_A_MESSAGE: i64 = 1_080;
const ROUNDS: i64 = 2;
const WORDS_A_ROW: i64 = 30;
/// The process's limit on files and sockets while two thousand objects are open.
const FEW_FILES: u32 = 512;

/// Text that hardly compresses: numbers mixed by multiplication, different in all rows.
fn mixed_text(round: i64) -> Arc<StringArray> {
    const BY: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |number: i64| (number as u64).wrapping_add(1).wrapping_mul(BY).rotate_left(29).wrapping_mul(BY);
    let first = round * ROWS_A_MESSAGE;
    let rows =
        (first..first + ROWS_A_MESSAGE).map(|row| (0..WORDS_A_ROW).map(|n| format!("{:016x}", word(row * WORDS_A_ROW + n))).collect());
    Arc::new(StringArray::from_iter_values(rows.collect::<Vec<String>>()))
}

fn wide_rows(table: &str, round: i64, text: &Arc<StringArray>) -> Vec<u8> {
    let ids = Int64Array::from_iter_values(round * ROWS_A_MESSAGE..(round + 1) * ROWS_A_MESSAGE);
    Table::new(table).column("id", Arc::new(ids)).column("text", text.clone()).insert_ipc().expect("two columns")
}

/// Runs the test of this path in a separate process that may open [`FEW_FILES`] files; returns `true` in that process, which should run the body.
#[expect(clippy::print_stdout, reason = "what the other process measured")]
fn with_few_files(test: &str) -> bool {
    const CHILD: &str = "LAKEGATE_TEST_FEW_FILES";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    // Without the name of the program.
    let test = test.split_once("::").expect("a path").1;
    let program = std::env::current_exe().expect("the test's own program");
    let line = format!("ulimit -n {FEW_FILES} && exec \"$0\" --exact --nocapture \"$1\"");
    let output = std::process::Command::new("sh").args(["-c", &line]).arg(program).arg(test).env(CHILD, "1").output().expect("a shell");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    print!("{said}");
    false
}

async fn open(options: Options, extra: Value) -> Session {
    let mut spec = json!({"bucket": "limits", "region": "us-east-1", "path": "{{TABLE}}", "test_write": false});
    let (Value::Object(spec), Value::Object(extra)) = (&mut spec, extra) else { panic!("the spec is an object") };
    spec.extend(extra);
    let spec = Value::Object(std::mem::take(spec)).to_string();
    Destination::new(runtime(), options).open(&spec, "sync").await.expect("the session opens")
}

/// Reads an object and counts its rows.
fn rows_in(body: &[u8], format: &str) -> usize {
    use std::io::Read;
    let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count() - 1;
    match format {
        "csv" => lines(body),
        "csv.gz" => {
            let mut text = Vec::new();
            flate2::read::MultiGzDecoder::new(body).read_to_end(&mut text).expect("good gzip");
            lines(&text)
        }
        _ => {
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(body));
            usize::try_from(reader.expect("good Parquet").metadata().file_metadata().num_rows()).expect("a count")
        }
    }
}

/// Two thousand tables are open at once, with sixteen mebibytes for their parts.
async fn many_tables(format: &str, extra: Value) -> MemoryUsage {
    let test_store = test_store("limits");
    let options = Options { lanes: LANES, memory_bytes: MEMORY_BYTES, ..test_store.options() };
    let session = open(options, extra).await;
    let texts: Vec<_> = (0..ROUNDS).map(mixed_text).collect();
    let names: Vec<String> = (0..MANY_TABLES).map(|number| format!("table_{number:04}")).collect();
    let work = async {
        let mut write = session.write().expect("no write is running");
        for (round, text) in (0..ROUNDS).zip(&texts) {
            for name in &names {
                write.insert(wide_rows(name, round, text).into()).await.expect("a good message");
            }
        }
        write.finish().await
    };
    let (report, most) = most_held(&session, work).await;
    assert_eq!(report.failures().take(3).collect::<Vec<_>>(), [], "{format}");
    assert_eq!((report.tables.len(), test_store.keys().len()), (MANY_TABLES, MANY_TABLES), "{format}");
    let rows = usize::try_from(ROUNDS * ROWS_A_MESSAGE).expect("a count");
    for (number, table) in report.tables.iter().enumerate() {
        assert_eq!((table.rows_in, table.rows_confirmed, table.receipts.len()), (rows as u64, rows as u64, 1), "{format}: {}", table.table);
        // Receipts refer to existing objects; reading all two gibibytes would prove no more than reading some.
        if number % 40 != 0 {
            continue;
        }
        let body = test_store.body(table.receipts[0].key.as_str());
        assert_eq!((body.len() as u64, rows_in(&body, format)), (table.receipts[0].bytes, rows), "{format}: {}", table.table);
    }
    assert!(most.staged <= MEMORY_BYTES + LANES.get() as u64 * CHUNK_BYTES, "{format}: {most:?}");
    assert_eq!(test_store.unfinished_uploads(), 0, "{format}");
    session.close().await;
    most
}

/// Every format with parts of the default size, and of 64 MiB, four times what all parts together may take of the memory.
#[expect(clippy::print_stdout, reason = "a measure, for who reads the log")]
async fn many_tables_with_any_part(test: &str, format: &str, extra: Value) {
    if !with_few_files(test) {
        return;
    }
    for part_size in [None, Some(64 << 20)] {
        let mut extra = extra.clone();
        if let Some(bytes) = part_size {
            extra["part_size"] = Value::from(bytes);
        }
        let started = std::time::Instant::now();
        let most = many_tables(format, extra).await;
        println!("{MANY_TABLES} tables of {format}, part_size {part_size:?}: {most:?}, {:.0} s", started.elapsed().as_secs_f64());
        // What was open at once is many times the memory: without the spill file, the limit on staged bytes would have been exceeded.
        assert!(most.spill_file > 4 * MEMORY_BYTES, "{format}: {most:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_open_tables_of_csv_stay_within_their_memory() {
    let test = concat!(module_path!(), "::two_thousand_open_tables_of_csv_stay_within_their_memory");
    many_tables_with_any_part(test, "csv", json!({"format": "csv", "no_rotate": true})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_open_tables_of_gzip_stay_within_their_memory() {
    let test = concat!(module_path!(), "::two_thousand_open_tables_of_gzip_stay_within_their_memory");
    many_tables_with_any_part(test, "csv.gz", json!({"format": "csv", "compression": "gzip", "no_rotate": true})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_open_tables_of_parquet_stay_within_their_memory() {
    let test = concat!(module_path!(), "::two_thousand_open_tables_of_parquet_stay_within_their_memory");
    many_tables_with_any_part(test, "parquet", json!({"format": "parquet", "no_rotate": true})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_of_small_objects_holds_no_more_than_the_budget() {
    const OBJECTS: i64 = 3_000;
    const ROWS_AN_OBJECT: i64 = 500;
    const IN_FLIGHT_BYTES: u64 = 512 << 10;
    // The ids below 1.5 million in text, and a header.
    const MOST_OBJECT_BYTES: u64 = 8 * ROWS_AN_OBJECT as u64 + 3;
    let mut faulty = FaultyStore::new([Rule::on(Operation::Put, When::Always, Fault::Delay(Duration::from_millis(50)))]).await;
    faulty.options.in_flight_bytes = IN_FLIGHT_BYTES;
    faulty.options.memory_bytes = 1 << 20;
    let session = faulty.open(json!({"batch_size": ROWS_AN_OBJECT})).await;
    let rows: BTreeMap<String, i64> = (0..4).map(|number| (format!("t{number}"), OBJECTS / 4 * ROWS_AN_OBJECT)).collect();
    let work = async {
        let mut write = session.write().expect("no write is running");
        insert_in_turn(&mut write, &rows, 10 * ROWS_AN_OBJECT).await;
        write.finish().await
    };
    let (report, most) = most_held(&session, work).await;
    faulty.check_all_landed("slow store", &report, &rows);
    assert_eq!(faulty.keys().len() as i64, OBJECTS);
    // The budget is only exceeded by what each lane passes before it waits.
    assert!(most.in_flight <= IN_FLIGHT_BYTES + LANES.get() as u64 * (MOST_OBJECT_BYTES + JOB_BYTES), "{most:?}");
    assert!(most.in_flight > IN_FLIGHT_BYTES / 2, "the store was not slow enough to say anything: {most:?}");
    assert!(most.staged <= LANES.get() as u64 * MOST_OBJECT_BYTES, "{most:?}");
    assert_eq!(most.spill_file, 0);
    session.close().await;
}

/// One row per object: the objects themselves are what waits, not their bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_of_tiny_objects_holds_only_so_many() {
    const OBJECTS: i64 = 600;
    const AT_ONCE: u64 = 20;
    let mut faulty = FaultyStore::new([Rule::on(Operation::Put, When::Always, Fault::Delay(Duration::from_millis(50)))]).await;
    faulty.options.in_flight_bytes = AT_ONCE * JOB_BYTES;
    let session = faulty.open(json!({"batch_size": 1})).await;
    let rows = BTreeMap::from([("t".to_owned(), OBJECTS)]);
    let work = async {
        let mut write = session.write().expect("no write is running");
        insert_in_turn(&mut write, &rows, OBJECTS).await;
        write.finish().await
    };
    let (report, most) = most_held(&session, work).await;
    faulty.check_all_landed("tiny objects", &report, &rows);
    assert_eq!(faulty.keys().len() as i64, OBJECTS);
    // One more is opened while there is space, and its few bytes are counted too.
    let objects = most.in_flight / JOB_BYTES;
    assert!((AT_ONCE / 2..=AT_ONCE + 1).contains(&objects), "{most:?}");
    session.close().await;
}

/// The keys of a hot table's objects with this many lanes, and the rows confirmed. Equal seeds give each lane equal keys.
async fn keys_of_a_hot_table(lanes: NonZeroUsize) -> (BTreeSet<String>, u64) {
    const MESSAGES: u64 = 24;
    const ROWS: i64 = 500_000;
    let test_store = test_store("limits");
    let options = Options { lanes, seed: Some(7), ..test_store.options() };
    let session = open(options, json!({"format": "csv", "path": "{{TABLE}}/{{UUID}}", "batch_size": ROWS})).await;
    // About 4 MB: one fills a lane's queue.
    let message = bytes::Bytes::from(lakegate_tests::tables::ids("hot", 0..ROWS));
    let mut write = session.write().expect("no write is running");
    for _ in 0..MESSAGES {
        write.insert(message.clone()).await.expect("a good message");
    }
    let report = write.finish().await;
    assert_eq!(report.failures().collect::<Vec<_>>(), []);
    assert_eq!(report.tables[0].rows_in, MESSAGES * ROWS as u64);
    session.close().await;
    (test_store.keys().into_iter().collect(), report.tables[0].rows_confirmed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_table_that_rotates_uses_both_lanes() {
    let (first_lane, rows) = keys_of_a_hot_table(NonZeroUsize::MIN).await;
    let (both_lanes, same_rows) = keys_of_a_hot_table(LANES).await;
    assert_eq!((rows, first_lane.len()), (same_rows, both_lanes.len()));
    let by_first = both_lanes.intersection(&first_lane).count();
    assert!(by_first > 0 && by_first < both_lanes.len(), "{by_first} of {} objects came from the first lane", both_lanes.len());
}

/// The key of an empty object is kept for the table's first rows by the guest of one lane, from write to write: whichever table comes first,
/// its rows go there.
#[tokio::test(flavor = "multi_thread")]
async fn rows_replace_the_empty_object_of_an_earlier_write() {
    let test_store = test_store("limits");
    let options = Options { lanes: LANES, ..test_store.options() };
    let spec = json!({"format": "parquet", "path": "{{TABLE}}/{{UUID}}", "write_empty_objects_for_empty_tables": true});
    let session = open(options, spec).await;
    let mut write = session.write().expect("no write is running");
    for table in ["a", "b"] {
        write.migrate_table(lakegate_tests::tables::ids(table, 0..0).into()).await.expect("a good schema");
    }
    assert_eq!(write.finish().await.failures().collect::<Vec<_>>(), []);
    let empty = test_store.keys();
    assert_eq!(empty.len(), 2);
    let mut write = session.write().expect("the first write has ended");
    for table in ["b", "a"] {
        write.insert(lakegate_tests::tables::ids(table, 0..3).into()).await.expect("a good message");
    }
    let report = write.finish().await;
    assert_eq!(report.failures().collect::<Vec<_>>(), []);
    session.close().await;
    assert_eq!(test_store.keys(), empty);
    for key in &empty {
        assert_eq!(rows_in(&test_store.body(key), "parquet"), 3, "{key}");
    }
}
