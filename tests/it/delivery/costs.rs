//! What docs/exactly-once.md says that commits cost, counted at a store: every number of its table.

use crate::fixtures::faulty_store::FaultyStore;
use crate::fixtures::support::runtime;
use bytes::Bytes;
use lakegate::{Destination, SyncContext};
use lakegate_tests::faults::{Operation, Seen};
use lakegate_tests::tables::ids;
use lakegate_tests::tiers::repository;
use serde_json::{Value, json};

/// The page, and its section with the table.
const PAGE: &str = "docs/exactly-once.md";
const SECTION: &str = "## What it costs";

/// Rows that fit into one put, and rows for several parts.
const FEW: i64 = 10;
const MANY: i64 = 5_000;

/// Which requests of a sync are counted.
#[derive(Clone, Copy)]
enum Of {
    /// Those that ask what the store can do, and the test object.
    Start,
    Objects,
    Manifest,
    List,
    Marker,
    /// The record of a commit that is about to be seen.
    Pending,
    /// All but those of the start.
    Rest,
}

impl Of {
    fn counts(self, seen: &Seen) -> bool {
        let has = |text: &str| seen.path.contains(text);
        let start = has("_lakegate/create-only") || has("TEST_");
        let (list, marker, pending) = (has(".symlink/"), has("_SUCCESS"), has("_lakegate/pending"));
        let manifest = has("_manifests/") && !list;
        match self {
            Self::Start => start,
            Self::Manifest => manifest,
            Self::List => list,
            Self::Marker => marker,
            Self::Pending => pending,
            Self::Objects => !(start || list || marker || pending || manifest),
            Self::Rest => !start,
        }
    }
}

/// A sync of one table with one object.
#[derive(Clone, Copy)]
struct Case {
    of: Of,
    rows: i64,
    /// Do the rows come from files, so that attempts are the same?
    repeatable: bool,
    /// Was there a sync with the same name before?
    before: Before,
    extra: fn() -> Value,
}

#[derive(Clone, Copy)]
enum Before {
    Nothing,
    AnotherCommit,
    SameCommit,
}

/// How the case of a row in the table is made; the row's first cell names it.
fn case(row: &str) -> Case {
    let manifest =
        || json!({"manifest": {"path": "_manifests/{{TABLE}}/{{COMMIT_ID}}.json", "success_marker": true, "lists": ["symlink"]}});
    let plain = Case { of: Of::Objects, rows: FEW, repeatable: true, before: Before::AnotherCommit, extra: || json!({}) };
    let large = Case { rows: MANY, ..plain };
    let trust = || json!({"commit": {"on_existing": "trust"}});
    let on_commit = || json!({"visibility": "on_commit"});
    match row {
        "an object of one put" => plain,
        "an object of *n* parts" => large,
        "an object of one put that is there already" => Case { before: Before::SameCommit, ..plain },
        "the same with `trust`" => Case { before: Before::SameCommit, extra: trust, ..plain },
        "an object of *n* parts that is there already" => Case { before: Before::SameCommit, ..large },
        "the same with *n* parts and `trust`" => Case { before: Before::SameCommit, extra: trust, ..large },
        "an object of one put under `on_commit`" => Case { extra: on_commit, ..plain },
        "an object of *n* parts under `on_commit`" => Case { extra: on_commit, ..large },
        "a sync under `on_commit`: the record of its uploads" => Case { of: Of::Pending, extra: on_commit, ..plain },
        "the start of a sync" => Case { of: Of::Start, ..plain },
        "the start with `test_write`" => Case { of: Of::Start, extra: || json!({"test_write": true}), ..plain },
        "the start under `on_commit`" => Case { of: Of::Start, extra: on_commit, ..plain },
        "the start of the first sync into a folder" => Case { of: Of::Start, before: Before::Nothing, ..plain },
        "the manifest of a table: `load`" => Case { of: Of::Manifest, extra: manifest, ..plain },
        "the manifest of a table: plugins" => Case { of: Of::Manifest, repeatable: false, extra: manifest, ..plain },
        "its list (`symlink`)" => Case { of: Of::List, extra: manifest, ..plain },
        "`_SUCCESS` of a folder" => Case { of: Of::Marker, extra: manifest, ..plain },
        "a table of a plugin that is committed already, with all its objects" => {
            Case { of: Of::Rest, repeatable: false, before: Before::SameCommit, extra: manifest, ..plain }
        }
        other => panic!("{PAGE} counts the requests of {other:?}, and no case here does"),
    }
}

/// The requests of a case, and the parts that its object was sent in.
async fn count(case: Case, delivery: &str, format: &str) -> (usize, usize) {
    let store = FaultyStore::new([]).await;
    let exact = delivery == "exactly_once";
    let path = if exact && case.repeatable { "x/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}" } else { "x/{{TABLE}}/{{COMMIT_ID}}/{{UUID}}" };
    let mut spec = json!({
        "bucket": crate::fixtures::faulty_store::BUCKET, "region": "us-east-1", "format": format, "path": path, "test_write": false,
        "endpoint": store.proxy.endpoint(), "use_path_style": true, "delivery": delivery,
    });
    spec = crate::fixtures::proxied_store::laid_over(spec, (case.extra)());
    let destination = Destination::new(runtime(), store.options.clone());
    let sync = |commit: &'static str| {
        let (destination, spec) = (&destination, spec.to_string());
        async move {
            let context = SyncContext { commit_id: commit.to_owned(), repeatable: case.repeatable, ..SyncContext::from("sync") };
            let session = destination.open(&spec, context).await.expect("a session");
            let mut write = session.write().expect("no other");
            write.insert(Bytes::from(ids("orders", 0..case.rows))).await.expect("rows");
            let report = write.finish().await;
            session.close().await;
            assert_eq!(report.failures().count(), 0, "{report:?}");
        }
    };
    match case.before {
        Before::Nothing => {}
        Before::AnotherCommit => sync("earlier").await,
        Before::SameCommit => sync("c").await,
    }
    let before = store.proxy.seen().len();
    sync("c").await;
    let requests: Vec<Seen> = store.proxy.seen().split_off(before);
    let parts = requests.iter().filter(|seen| seen.operation == Operation::Part && Of::Objects.counts(seen)).count();
    (requests.iter().filter(|seen| case.of.counts(seen)).count(), parts)
}

/// `3` and `*n* + 2` as a number of requests.
fn promised(cell: &str, parts: usize) -> usize {
    let number = |text: &str| text.trim().parse::<usize>().unwrap_or_else(|_| panic!("{cell:?} is neither a number nor *n* + a number"));
    cell.strip_prefix("*n* +").map_or_else(|| number(cell), |more| parts + number(more))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_of_requests_on_the_page_is_what_a_store_counts() {
    let page = std::fs::read_to_string(repository().join(PAGE)).expect("a page");
    let section = page.split_once(SECTION).expect("a section").1;
    let section = section.split("\n## ").next().expect("a text");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let [head, rows @ ..] = rows.as_slice() else { panic!("no table below {SECTION}") };
    assert_eq!(head.as_slice(), ["Requests of", "`at_least_once`", "`exactly_once`"]);
    let mut counted = 0;
    for row in rows {
        let [name, cells @ ..] = row.as_slice() else { panic!("{row:?}") };
        for (delivery, cell) in ["at_least_once", "exactly_once"].into_iter().zip(cells) {
            if cell.is_empty() {
                continue;
            }
            for format in ["csv", "parquet"] {
                let case = case(name);
                let (found, parts) = count(case, delivery, format).await;
                assert!(case.rows == FEW || parts > 2, "{name}: {parts} parts");
                assert_eq!(found, promised(cell, parts), "{name}, {delivery}, {format}: {parts} parts");
                counted += 1;
            }
        }
    }
    lakegate_tests::corpus("numbers of requests", counted, 2 * 31);
}
