//! A hostile guest only fails its own tables: each attack has an exact error, and the other tables are written.

use crate::delivery::faults::Warnings;
use crate::fixtures::support::{TestStore, test_store};
use lakegate::limits::{LEAST_TICK, MAX_FAILURE_BYTES, MAX_LOG_LINE_BYTES, MAX_TABLE_NAME_BYTES, MAX_WARNINGS};
use lakegate::{Destination, FailureClass, Options, Runtime, WriteReport};
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;

/// Time limit of a hostile call; the real limit is minutes.
const CALL_CPU: Duration = Duration::from_secs(15);

static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
    let wasm = std::fs::read(env!("LAKEGATE_HOSTILE_COMPONENT")).expect("the build script wrote it");
    Runtime::with_component(&wasm, CALL_CPU).expect("the component loads")
});

/// The runtime of the hostile component.
pub(crate) fn runtime() -> Arc<Runtime> {
    RUNTIME.clone()
}

/// The hostile component with another order in place of its schema: `does-spin` or `does-shout`.
pub(crate) fn with_schema(word: &str, call_cpu: Duration) -> anyhow::Result<Arc<Runtime>> {
    const WORDS: &[u8] = b"asked for a schema it answers.";
    let mut wasm = std::fs::read(env!("LAKEGATE_HOSTILE_COMPONENT"))?;
    let at = wasm.windows(WORDS.len()).position(|window| window == WORDS).expect("the guest's words are in its bytes");
    wasm[at..at + word.len()].copy_from_slice(word.as_bytes());
    Runtime::with_component(&wasm, call_cpu)
}

/// A message that tells the hostile guest what to do.
pub(crate) fn message(table: &str, behave: &str, rows: i64, key: Option<&str>) -> bytes::Bytes {
    let key = key.map_or_else(String::new, |key| format!("key={key};"));
    let order = format!("behave={behave};rows={rows};name={table};{key}");
    lakegate_tests::tables::ids_with_metadata(table, 0..rows, &[("order", &order)]).into()
}

fn options(test_store: &TestStore) -> Options {
    Options { lanes: NonZeroUsize::new(2).expect("two"), guest_memory_bytes: 64 << 20, ..test_store.options() }
}

/// Writes an attack on one lane and an honest table on the other, twice.
async fn attack(behave: &str, key: Option<&str>) -> (WriteReport, TestStore) {
    let test_store = test_store("hostile");
    let destination = Destination::new(runtime(), options(&test_store));
    let session = destination.open("{}", "sync").await.expect("the hostile guest opens");
    let mut write = session.write().expect("no write is running");
    for table in ["bad", "good"] {
        let behave = if table == "bad" { behave } else { "ok" };
        write.insert(message(table, behave, 3, key.filter(|_| table == "bad"))).await.expect("the header is fine");
    }
    write.insert(message("good", "ok", 4, None)).await.expect("the header is fine");
    let report = write.finish().await;
    (report, test_store)
}

/// Asserts that the attack fails with exactly this class and text, that the honest table is complete, and that no upload is left behind.
async fn check(behave: &str, key: Option<&str>, class: FailureClass, text: &str) {
    let (report, test_store) = attack(behave, key).await;
    let failures: Vec<_> = report.failures().collect();
    assert_eq!(failures.len(), 1, "{behave}: {failures:?}");
    let (table, failure) = failures[0];
    assert_eq!((table, failure.class), ("bad", class), "{behave}: {failure:?}");
    assert!(failure.message.contains(text), "{behave}: {:?} does not contain {text:?}", failure.message);
    let good = report.tables.iter().find(|table| table.table == "good").expect("the honest table is in the books");
    assert_eq!((good.rows_in, good.rows_confirmed, good.receipts.len()), (7, 7, 2), "{behave}");
    assert_eq!(test_store.unfinished_uploads(), 0, "{behave}: an upload was left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_names_its_cause_and_the_table_it_wrote() {
    check("trap", None, FailureClass::Unexpected, "while it wrote the table \"bad\"").await;
    check("panic", None, FailureClass::Unexpected, "the component panicked: panicked at").await;
    check("recurse", None, FailureClass::Unexpected, "the component trapped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_finished_takes_no_more() {
    check("stale", None, FailureClass::Unexpected, "unknown handle index").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_not_set_aside_where_the_spec_has_no_place_for_them() {
    check("quarantine", None, FailureClass::Data, "3 of its rows cannot be written, and `quarantine.max_rows` has room for 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_ended() {
    check("spin", None, FailureClass::Unexpected, "the component computed for more than 15s in one call").await;
}

/// In every export with input. What is open on the lane fails by name; another session does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_ended_wherever_it_is() -> anyhow::Result<()> {
    const SHORT: Duration = Duration::from_millis(300);
    let wasm = std::fs::read(env!("LAKEGATE_HOSTILE_COMPONENT"))?;
    let runtime = Runtime::with_component(&wasm, SHORT)?;
    let expected = "the component computed for more than 300ms in one call";
    for (export, failing) in [
        ("configure", None),
        ("open", None),
        ("migrate-table", Some("bad")),
        ("insert", Some("bad")),
        ("tick", Some("bad")),
        ("barrier", Some("bad")),
        ("end-write", Some("bad")),
        ("abandon", Some("bad")),
        // Nothing is open then, so nothing fails.
        ("idle", None),
    ] {
        let test_store = test_store("hostile");
        let one_lane = Options { lanes: NonZeroUsize::MIN, ..options(&test_store) };
        let destination = Destination::new(runtime.clone(), one_lane);
        let beside = destination.open("{}", "sync").await?;
        let mut honest = beside.write()?;
        honest.insert(message("good", "ok", 3, None)).await?;
        match destination.open(&format!("spin-in-{export}."), "sync").await {
            Err(error) => {
                assert!(["configure", "open"].contains(&export), "{export}: {error}");
                assert!(error.to_string().contains(expected), "{export}: {error}");
            }
            Ok(session) => {
                let mut write = session.write()?;
                if export == "migrate-table" {
                    write.migrate_table(message("bad", "ok", 0, None)).await?;
                }
                write.insert(message("bad", if export == "idle" { "ok" } else { "hold" }, 3, None)).await?;
                if export == "abandon" {
                    write.insert(message("other", "lie", 3, None)).await?;
                }
                if export == "barrier" {
                    write.migrate_table(message("other", "ok", 0, None)).await?;
                }
                if export == "tick" {
                    tokio::time::sleep(SHORT * 3).await;
                }
                let report = write.finish().await;
                let found = report.failures().find(|(_, failure)| failure.message.contains(expected)).map(|(table, _)| table);
                assert_eq!(found, failing, "{export}: {:?}", report.failures().collect::<Vec<_>>());
            }
        }
        honest.insert(message("good", "ok", 4, None)).await?;
        let report = honest.finish().await;
        assert_eq!((report.failures().count(), report.tables[0].rows_confirmed), (0, 7), "{export}");
        assert_eq!(test_store.unfinished_uploads(), 0, "{export}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_past_the_limit_is_refused() {
    check("allocate", None, FailureClass::Unexpected, "the component needs more than its 67108864 bytes of memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_chunks_and_host_calls_are_bounded() {
    check("handles", None, FailureClass::Storage, "4096 objects are open").await;
    check("huge", None, FailureClass::Unexpected, "a chunk has 16777217 bytes; 1 to 16777216 are accepted").await;
    check("fuel", None, FailureClass::Unexpected, "fuel allocated for hostcalls has been exhausted").await;
    check("beyond", None, FailureClass::Unexpected, "list pointer/length out of bounds of memory while it wrote the table \"bad\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_checked_against_the_rows_that_came_in() {
    check("lie", None, FailureClass::Unexpected, "the component claims 4 rows of 3 that came in").await;
    check("swallow", None, FailureClass::Unexpected, "the books do not add up: 3 rows in, 0 claimed, 0 confirmed").await;
}

/// It would be waited for indefinitely.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_never_finished_fails_its_table_at_the_end() {
    check("keep", None, FailureClass::Unexpected, "the component left an object open at the end of the write").await;
}

/// Only tables that were sent can fail, with a short message.
#[tokio::test(flavor = "multi_thread")]
async fn words_and_strangers_are_bounded() {
    let (report, _bench) = attack("babble", None).await;
    let said: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class, failure.message.len())).collect();
    assert_eq!(said, [("bad", FailureClass::Data, MAX_FAILURE_BYTES + "…".len())]);
    let test_store = test_store("hostile");
    let session = Destination::new(runtime(), options(&test_store)).open("slander.", "sync").await.expect("opens");
    let mut write = session.write().expect("no write is running");
    write.insert(message("good", "ok", 3, None)).await.expect("the header is fine");
    let refused = write.refuse(&"n".repeat(MAX_TABLE_NAME_BYTES + 1), "no").await.expect_err("no table is named so");
    assert_eq!(refused.0, "a table's name has 4097 bytes; at most 4096 are accepted");
    let report = write.finish().await;
    let tables: Vec<_> = report.tables.iter().map(|table| (table.table.as_str(), table.rows_confirmed, &table.failure)).collect();
    assert_eq!(tables, [("good", 3, &None)]);
}

// On one thread, so that this test's subscriber gets what is logged.
#[tokio::test]
async fn warnings_about_a_spec_are_so_many_and_cut() {
    let (warnings, test_store) = (Warnings::default(), test_store("hostile"));
    let _subscribed = tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
    Destination::new(runtime(), options(&test_store)).open("warn.", "sync").await.expect("opens").close().await;
    let given = warnings.given();
    assert_eq!(given.len(), MAX_WARNINGS + 1, "{:?}", given.last());
    assert!(given.iter().all(|line| line.len() < 3 * MAX_LOG_LINE_BYTES));
    assert!(given[MAX_WARNINGS].contains("There are 950 warnings more."), "{:?}", given[MAX_WARNINGS]);
}

/// A failed table gets its error at once, whatever it calls then.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_taken_of_a_table_that_has_failed() {
    check("insist", None, FailureClass::Data, "the object key \"/refused\" starts with a slash").await;
    let (_, test_store) = attack("insist", None).await;
    assert!(test_store.keys().iter().all(|key| key.starts_with("good/")), "{:?}", test_store.keys());
}

/// Its deadline has always passed already.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_always_due_ticks_no_faster_than_it_may() {
    let test_store = test_store("hostile");
    let session = Destination::new(runtime(), Options { lanes: NonZeroUsize::MIN, ..options(&test_store) });
    let session = session.open("hurry.", "sync").await.expect("opens");
    let begun = std::time::Instant::now();
    let mut write = session.write().expect("no write is running");
    write.insert(message("bad", "hurry", 0, None)).await.expect("the header is fine");
    tokio::time::sleep(30 * LEAST_TICK).await;
    write.insert(message("bad", "ticks", 3, None)).await.expect("the header is fine");
    assert_eq!(write.finish().await.failures().collect::<Vec<_>>(), []);
    let ticks = test_store.keys()[0].strip_suffix("-ticks").and_then(|ticks| ticks.parse::<u128>().ok()).expect("a number");
    let most = begun.elapsed().as_nanos() / LEAST_TICK.as_nanos() + 1;
    assert!((1..=most).contains(&ticks), "{ticks} ticks, at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ill_formed_keys_are_refused() {
    for (key, text) in [
        ("../x", "the object key \"../x\" has a relative segment (`.` or `..`); keys have none"),
        ("a//b", "the object key \"a//b\" has an empty segment; segments are parted by one slash, and none ends the key"),
        ("/a", "the object key \"/a\" starts with a slash; keys are relative"),
        ("a/./b", "the object key \"a/./b\" has a relative segment (`.` or `..`); keys have none"),
        ("a\u{0}b", "the object key \"a\\0b\" has a control character; keys have none"),
        (&"k".repeat(1_025), "… has 1025 bytes; a key has 1 to 1,024"),
        (&"k".repeat(10_000), "… has 10000 bytes; a key has 1 to 1,024"),
    ] {
        check("ok", Some(key), FailureClass::Data, text).await;
    }
}

/// Two tables that write one key at once would overwrite each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_table_is_writing_is_refused() {
    let test_store = test_store("hostile");
    let options = Options { lanes: NonZeroUsize::MIN, ..options(&test_store) };
    let session = Destination::new(runtime(), options).open("{}", "sync").await.expect("opens");
    let mut write = session.write().expect("no write is running");
    for (table, behave) in [("first", "hold"), ("second", "ok")] {
        write.insert(message(table, behave, 3, Some("same"))).await.expect("the header is fine");
    }
    let report = write.finish().await;
    let failures: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class, failure.message.as_str())).collect();
    assert_eq!(failures, [("second", FailureClass::Data, "the key \"same\" is being written by the table \"first\"")]);
    assert_eq!((report.tables[0].rows_confirmed, test_store.keys()), (3, vec!["same".to_owned()]));
    assert_eq!(test_store.unfinished_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_lines_and_a_million_tiny_writes_do_no_harm() {
    for behave in ["shout", "tiny"] {
        let (report, _bench) = attack(behave, None).await;
        assert_eq!(report.failures().count(), 0, "{behave}: {:?}", report.failures().collect::<Vec<_>>());
    }
}

/// The lane that traps had another table's object open, with a part already sent: that table fails too, its upload is aborted, and the other lane's
/// table is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_trap_fails_the_tables_open_on_its_lane_and_no_other() {
    let test_store = test_store("hostile");
    let session = Destination::new(runtime(), options(&test_store)).open("{}", "sync").await.expect("opens");
    let mut write = session.write().expect("no write is running");
    // Tables are assigned to the two lanes in turn.
    for (table, behave) in [("held", "hold"), ("good", "hold"), ("bad", "trap")] {
        write.insert(message(table, behave, 3, None)).await.expect("the header is fine");
    }
    let report = write.finish().await;
    let failed: Vec<_> = report.failures().map(|(table, failure)| (table, failure.class)).collect();
    assert_eq!(failed, [("bad", FailureClass::Unexpected), ("held", FailureClass::Unexpected)]);
    let good = report.tables.iter().find(|table| table.table == "good").expect("in the books");
    assert_eq!((good.rows_confirmed, good.receipts.len()), (3, 1));
    assert_eq!(test_store.unfinished_uploads(), 0);
    // The lane restarts, and the next write succeeds.
    let mut write = session.write().expect("the first write has ended");
    for table in ["held", "good", "bad"] {
        write.insert(message(table, "ok", 2, None)).await.expect("the header is fine");
    }
    assert_eq!(write.finish().await.failures().count(), 0);
}

/// The check for unfinished uploads can fail: while an object is open there is one.
#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_upload_is_seen_and_an_abandoned_write_aborts_it() {
    let test_store = test_store("hostile");
    let session = Destination::new(runtime(), options(&test_store)).open("{}", "sync").await.expect("opens");
    let mut write = session.write().expect("no write is running");
    write.insert(message("held", "hold", 3, None)).await.expect("the header is fine");
    for _ in 0..500 {
        if test_store.unfinished_uploads() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(test_store.unfinished_uploads(), 1);
    write.abort().await;
    assert_eq!(test_store.unfinished_uploads(), 0);
    assert_eq!(test_store.keys().len(), 0);
}
