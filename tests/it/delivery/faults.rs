//! A faulty store: recoverable faults are recovered from, with every row written once; others are reported, and nothing is left behind.

use crate::fixtures::faulty_store::{FaultyStore, insert_in_turn};
use lakegate::limits::MAX_REQUESTS;
use lakegate::{FailureClass, Write, WriteReport};
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use serde_json::json;
use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use tracing_subscriber::layer::SubscriberExt;

/// Longer than any test, so that only the client ends a stalled request.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// Rows that make a multipart object of about a dozen parts.
const MULTIPART_ROWS: i64 = 10_000;

fn every_third(fault: Fault) -> Vec<Rule> {
    let third = When::Every(NonZeroU64::new(3).expect("three"));
    [Operation::Put, Operation::Create, Operation::Part, Operation::Complete, Operation::Head].map(|it| Rule::on(it, third, fault)).into()
}

/// Every third request of each operation fails, permanently; yet all rows are written once.
async fn check_mended(name: &str, fault: Fault, limit: Option<Duration>) {
    let mut faulty = FaultyStore::new(every_third(fault)).await;
    if let Some(limit) = limit {
        (faulty.options.connect.timeouts.stall, faulty.options.connect.timeouts.answer, faulty.options.connect.timeouts.complete) =
            (limit, limit, limit);
    }
    // Ten objects with one put each, and twenty with three or four parts.
    let mut rows: BTreeMap<String, i64> = (0..10).map(|number| (format!("small_{number}"), 10)).collect();
    rows.extend((0..4).map(|number| (format!("large_{number}"), MULTIPART_ROWS)));
    let session = faulty.open(json!({"batch_size": 2_000})).await;
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &rows, 1_000).await;
    let report = write.finish().await;
    faulty.check_all_landed(name, &report, &rows);
    for operation in [Operation::Put, Operation::Create, Operation::Part, Operation::Complete] {
        let met = faulty.proxy.seen().iter().filter(|seen| seen.operation == operation && seen.fault.is_some()).count();
        assert!(met > 2, "{name}: only {met} requests of {operation:?} met the fault");
    }
    // An upload whose ID was lost cannot be aborted; all others are gone.
    let unheard = |seen: &lakegate_tests::faults::Seen| seen.operation == Operation::Create && seen.fault == Some(Fault::DropAnswer);
    assert_eq!(faulty.unfinished().len(), faulty.proxy.seen().iter().filter(|seen| unheard(seen)).count(), "{name}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_third_request_answered_503() {
    check_mended("503", Fault::Answer(StatusCode::SERVICE_UNAVAILABLE), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_third_request_answered_500() {
    check_mended("500", Fault::Answer(StatusCode::INTERNAL_SERVER_ERROR), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_third_connection_reset() {
    check_mended("reset", Fault::Reset, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_third_answer_dropped() {
    check_mended("dropped answer", Fault::DropAnswer, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_third_request_stalled() {
    // The defaults wait 20 to 180 seconds for a stalled request; a test cannot.
    check_mended("stall", Fault::Stall(FOR_EVER), Some(Duration::from_millis(1_500))).await;
}

/// One table, all in one object of many parts.
async fn write_one(faulty: &FaultyStore, table: &str) -> WriteReport {
    let session = faulty.open(json!({"path": "{{TABLE}}.csv", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &BTreeMap::from([(table.to_owned(), MULTIPART_ROWS)]), 1_000).await;
    let report = write.finish().await;
    session.close().await;
    report
}

/// Asserts that the table failed because of the store, with all of these texts and no receipt.
fn check_failed(report: &WriteReport, words: &[&str]) {
    let failures: Vec<_> = report.failures().collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let failure = failures[0].1;
    assert_eq!(failure.class, FailureClass::Storage, "{failure:?}");
    for words in words {
        assert!(failure.message.contains(words), "{:?} does not contain {words:?}", failure.message);
    }
    assert_eq!((report.tables[0].rows_confirmed, report.tables[0].receipts.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_answer_was_lost_is_settled_by_head() {
    let faulty = FaultyStore::new([Rule::on(Operation::Complete, When::First(1), Fault::DropAnswer)]).await;
    let report = write_one(&faulty, "t").await;
    faulty.check_all_landed("settled", &report, &BTreeMap::from([("t".to_owned(), MULTIPART_ROWS)]));
    assert_eq!((faulty.proxy.faults(), faulty.proxy.count(Operation::Head)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_head_is_denied_the_outcome_is_unknown() {
    let faulty = FaultyStore::new([
        Rule::on(Operation::Complete, When::First(1), Fault::DropAnswer),
        Rule::on(Operation::Head, When::Always, Fault::Answer(StatusCode::FORBIDDEN)),
    ])
    .await;
    let report = write_one(&faulty, "t").await;
    check_failed(&report, &["CompleteMultipartUpload", "the outcome is unknown", "may or may not be there"]);
    assert_eq!(faulty.keys().len(), 1, "the store did complete it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_denied_fails_the_table_and_leaves_no_upload() {
    let faulty = FaultyStore::new([Rule::on(Operation::Part, When::First(1), Fault::Answer(StatusCode::FORBIDDEN))]).await;
    let report = write_one(&faulty, "t").await;
    check_failed(&report, &["operation error S3: UploadPart", "StatusCode: 403, AccessDenied", "s3:PutObject"]);
    assert_eq!(faulty.unfinished(), []);
    assert_eq!(
        (faulty.proxy.count(Operation::Create), faulty.proxy.count(Operation::Abort), faulty.proxy.count(Operation::Complete)),
        (1, 1, 0)
    );
    assert!(faulty.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_seen_while_it_is_open_and_gone_once_the_write_is_given_up() {
    let faulty = FaultyStore::new([]).await;
    let session = faulty.open(json!({"path": "{{TABLE}}.csv", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &BTreeMap::from([("t".to_owned(), MULTIPART_ROWS)]), 1_000).await;
    faulty.wait_for_unfinished().await;
    write.abort().await;
    assert_eq!(faulty.unfinished(), []);
    assert_eq!(faulty.proxy.count(Operation::Complete), 0);
    assert!(faulty.keys().is_empty());
    session.close().await;
}

/// Rows of `a` are in an object that is open; then `b` keeps the lane, whose guest waits for the store, and behind it `more` is queued. When the
/// write is given up, the lane goes on with that, and the object of `a` must not land.
async fn check_nothing_lands_once_given_up(name: &str, extra: serde_json::Value, more: impl AsyncFnOnce(&mut Write)) {
    let mut faulty = FaultyStore::new([Rule::on(Operation::Part, When::Always, Fault::Stall(FOR_EVER))]).await;
    faulty.options.lanes = NonZeroUsize::MIN;
    faulty.options.in_flight_bytes = 1;
    let session = faulty.open(extra).await;
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), MULTIPART_ROWS)]), MULTIPART_ROWS).await;
    faulty.wait_for_unfinished().await;
    more(&mut write).await;
    let before = faulty.keys();
    write.abort().await;
    assert_eq!((faulty.keys(), faulty.unfinished()), (before, vec![]), "{name}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_completes_no_open_object() {
    check_nothing_lands_once_given_up("a barrier", json!({}), async |write| {
        let schema = lakegate_tests::tables::ids("a", 0..0);
        write.migrate_table(schema.into()).await.expect("a good schema");
    })
    .await;
    // The timeout occurs while the guest waits.
    const AGE: Duration = Duration::from_secs(1);
    let spec = json!({"batch_timeout": format!("{}s", AGE.as_secs())});
    check_nothing_lands_once_given_up("a time limit", spec, async |_| tokio::time::sleep(AGE).await).await;
}

/// While the abort of its upload waits for the store, the table has already failed and holds no more bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_before_the_upload_is_aborted() {
    let stalled = Rule::on(Operation::Abort, When::Always, Fault::Stall(FOR_EVER));
    let mut faulty = FaultyStore::new([Rule::on(Operation::Part, When::Always, Fault::Answer(StatusCode::FORBIDDEN)), stalled]).await;
    (faulty.options.connect.timeouts.stall, faulty.options.connect.timeouts.answer) = (Duration::from_secs(3), Duration::from_secs(3));
    let session = faulty.open(json!({"path": "{{TABLE}}.csv", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &BTreeMap::from([("t".to_owned(), MULTIPART_ROWS)]), 1_000).await;
    while faulty.proxy.count(Operation::Abort) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let failures = write.failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].1.message.contains("operation error S3: UploadPart"), "{failures:?}");
    while session.held_bytes().in_flight > 0 {
        assert!(faulty.proxy.count(Operation::Abort) == 1, "bytes wait for the abort: {:?}", session.held_bytes());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    faulty.proxy.set_rules([]);
    check_failed(&write.finish().await, &["operation error S3: UploadPart"]);
    assert_eq!(faulty.unfinished(), []);
    session.close().await;
}

/// Each request takes a socket: the number of concurrent aborts is limited like that of other requests.
#[tokio::test(flavor = "multi_thread")]
async fn aborts_are_no_more_at_once_than_other_requests() {
    const UPLOADS: usize = 3 * MAX_REQUESTS;
    let faulty = FaultyStore::new([Rule::on(Operation::Abort, When::Always, Fault::Delay(Duration::from_millis(300)))]).await;
    let session = faulty.open(json!({"path": "{{TABLE}}.csv", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    let rows: BTreeMap<String, i64> = (0..UPLOADS).map(|number| (format!("t{number}"), 2_000)).collect();
    insert_in_turn(&mut write, &rows, 2_000).await;
    while faulty.unfinished().len() < UPLOADS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    write.abort().await;
    let (all, at_once) = (faulty.proxy.count(Operation::Abort), faulty.proxy.most_at_once(Operation::Abort));
    assert_eq!((all, faulty.unfinished()), (UPLOADS, vec![]));
    assert!((2..=MAX_REQUESTS).contains(&at_once), "{at_once}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_named() {
    let mut faulty = FaultyStore::new([]).await;
    // By default, a store that has answered before is retried for two minutes.
    faulty.options.connect.timeouts.retries = Duration::from_secs(2);
    let session = faulty.open(json!({"path": "{{TABLE}}.csv", "no_rotate": true})).await;
    let host = faulty.proxy.endpoint().replace("http://", "");
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &BTreeMap::from([("t".to_owned(), MULTIPART_ROWS)]), 1_000).await;
    faulty.wait_for_unfinished().await;
    faulty.vanish().await;
    check_failed(&write.finish().await, &["operation error S3: ", &format!("{host} cannot be reached"), "attempts)"]);
    session.close().await;
}

/// The warnings logged on this thread, as one line each.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    pub(crate) fn given(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            let mut line = String::new();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| line.push_str(&format!("{field}={value:?} ")));
            self.0.lock().expect("no panic").push(line);
        }
    }
}

// On one thread, so that this test's subscriber gets what the uploads log.
#[tokio::test]
async fn an_abort_that_is_denied_is_one_warning_with_key_and_upload() {
    let warnings = Warnings::default();
    let _subscribed = tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
    let denied = |operation| Rule::on(operation, When::Always, Fault::Answer(StatusCode::FORBIDDEN));
    let faulty = FaultyStore::new([denied(Operation::Part), denied(Operation::Abort)]).await;
    check_failed(&write_one(&faulty, "left_behind").await, &["operation error S3: UploadPart", "StatusCode: 403"]);
    let unfinished = faulty.unfinished();
    assert_eq!(unfinished.len(), 1, "the abort was denied");
    let (key, upload) = &unfinished[0];
    assert_eq!(key, "left_behind.csv");
    let given = warnings.given();
    assert_eq!(given.len(), 1, "{given:?}");
    for words in [format!("key={key:?}"), format!("upload={upload:?}"), "lifecycle rule".to_owned(), "StatusCode: 403".to_owned()] {
        assert!(given[0].contains(&words), "{:?} does not contain {words:?}", given[0]);
    }
}
