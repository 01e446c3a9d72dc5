//! A store that fails: what can be mended is mended and every row is there once; what cannot is told, and nothing is left behind.

use crate::rig::{Rig, insert_in_turn};
use lakegate::ledger::{FailureClass, WriteReport};
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use serde_json::json;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use http::StatusCode;

/// Longer than any test: what stalls for so long is ended by the client alone.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// Rows that make a multipart object of about a dozen parts.
const MULTIPART_ROWS: i64 = 10_000;

fn every_third(fault: Fault) -> Vec<Rule> {
    let third = When::Every(NonZeroU64::new(3).expect("three"));
    [Operation::Put, Operation::Create, Operation::Part, Operation::Complete, Operation::Head].map(|it| Rule::on(it, third, fault)).into()
}

/// Every third request of each operation meets the fault, for ever; yet all lands, once.
async fn check_mended(name: &str, fault: Fault, limit: Option<Duration>) {
    let mut rig = Rig::new(every_third(fault)).await;
    if let Some(limit) = limit {
        (rig.options.connect.limits.stall, rig.options.connect.limits.answer, rig.options.connect.limits.complete) = (limit, limit, limit);
    }
    // Ten objects of one put each, and twenty of three or four parts.
    let mut rows: BTreeMap<String, i64> = (0..10).map(|number| (format!("small_{number}"), 10)).collect();
    rows.extend((0..4).map(|number| (format!("large_{number}"), MULTIPART_ROWS)));
    let session = rig.open(json!({"batch_size": 2_000})).await;
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &rows, 1_000).await;
    let report = write.finish().await;
    rig.check_all_landed(name, &report, &rows);
    for operation in [Operation::Put, Operation::Create, Operation::Part, Operation::Complete] {
        let met = rig.proxy.seen().iter().filter(|seen| seen.operation == operation && seen.fault.is_some()).count();
        assert!(met > 2, "{name}: only {met} requests of {operation:?} met the fault");
    }
    // An upload whose id was never heard of cannot be aborted; all others are gone.
    let unheard = |seen: &lakegate_tests::faults::Seen| seen.operation == Operation::Create && seen.fault == Some(Fault::DropAnswer);
    assert_eq!(rig.unfinished().len(), rig.proxy.seen().iter().filter(|seen| unheard(seen)).count(), "{name}");
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
async fn write_one(rig: &Rig, table: &str) -> WriteReport {
    let session = rig.open(json!({"path": "{{TABLE}}.csv", "no_rotate": true})).await;
    let mut write = session.write().expect("no write is running");
    insert_in_turn(&mut write, &BTreeMap::from([(table.to_owned(), MULTIPART_ROWS)]), 1_000).await;
    let report = write.finish().await;
    session.close().await;
    report
}

/// The table failed at the store, with all of these words, and without a receipt.
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
    let rig = Rig::new([Rule::on(Operation::Complete, When::First(1), Fault::DropAnswer)]).await;
    let report = write_one(&rig, "t").await;
    rig.check_all_landed("settled", &report, &BTreeMap::from([("t".to_owned(), MULTIPART_ROWS)]));
    assert_eq!((rig.proxy.faults(), rig.proxy.count(Operation::Head)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_head_is_denied_the_outcome_is_unknown() {
    let rig = Rig::new([
        Rule::on(Operation::Complete, When::First(1), Fault::DropAnswer),
        Rule::on(Operation::Head, When::Always, Fault::Answer(StatusCode::FORBIDDEN)),
    ])
    .await;
    let report = write_one(&rig, "t").await;
    check_failed(&report, &["CompleteMultipartUpload", "the outcome is unknown", "may or may not be there"]);
    assert_eq!(rig.keys().len(), 1, "the store did complete it");
}
