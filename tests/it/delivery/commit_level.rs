//! Exactly once by commit, with sources on CloudQuery's SDKs: their rows differ from attempt to attempt (times, order), and of all attempts under
//! one commit ID one makes the commit of each table.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, ProxiedStore, SECRET};
use crate::protocol::plugins::{go_source, python_source};
use lakegate_tests::faults::Operation;
use lakegate_tests::run::Run;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers::{self, Unavailable};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A source: the prefix of its tables, its program, and the rows of each table if it is asked for [`ROWS`].
struct Source {
    prefix: &'static str,
    program: PathBuf,
}

/// Rows of the largest table: several messages and, with [`BATCH`], several objects.
const ROWS: i64 = 25_000;
const BATCH: i64 = 4_000;
/// Rows of the tables by their names after the prefix, if none fails.
const TABLES: [(&str, i64); 5] = [("parents", 7), ("children", 21), ("empty", 0), ("broken", 2), ("rows", ROWS)];
/// The table of summaries, a row of which is written for each sync.
const SUMMARIES: &str = "cloudquery_sync_summaries";

fn sources() -> Vec<Source> {
    let source = |what: &str, prefix, program: Result<PathBuf, Unavailable>| Some(Source { prefix, program: tiers::live(what, program)? });
    let both = [source("a source on Go's SDK", "go", go_source()), source("a source on Python's SDK", "py", python_source())];
    both.into_iter().flatten().collect()
}

/// A sync with this source under the commit ID `c`; more fields of the destination's spec.
struct Sync<'a> {
    dir: TestDir,
    store: ProxiedStore,
    source: &'a Source,
    extra: Value,
}

impl<'a> Sync<'a> {
    async fn new(source: &'a Source, extra: Value) -> Self {
        Self { dir: TestDir::new(PLUGIN, (KEY, SECRET)), store: ProxiedStore::new([]).await, source, extra }
    }

    /// Runs it; `fields` are those of the source's spec.
    async fn run(&self, fields: Value) -> Run {
        let exact = json!({
            "path": "x/{{TABLE}}/{{UUID}}.csv", "batch_size": BATCH, "delivery": "exactly_once", "commit": {"id": "c"},
            "manifest": {"path": "_manifests/{{TABLE}}/{{COMMIT_ID}}.json", "success_marker": true, "lists": ["symlink"]},
        });
        let spec = crate::fixtures::proxied_store::laid_over(self.store.spec(exact), self.extra.clone());
        let source = json!({"kind": "source", "spec": {
            "name": "src", "registry": "local", "path": self.source.program, "tables": ["*"], "skip_dependent_tables": false,
            "destinations": ["s3"], "spec": crate::fixtures::proxied_store::laid_over(json!({"rows": ROWS}), fields),
        }});
        let destination = json!({"kind": "destination", "spec": {
            "name": "s3", "path": "cloudquery/s3", "version": "v7.10.13", "write_mode": "append", "send_sync_summary": true, "spec": spec,
        }});
        // JSON is YAML.
        self.dir.file("c.yml", &format!("{source}\n---\n{destination}\n"));
        self.dir.run_async("sync c.yml --json").await
    }

    /// The digest of each object by its key, other than the store's probes.
    fn objects(&self) -> BTreeMap<String, String> {
        let digest = |key: &str| Sha256::digest(self.store.body(key)).iter().map(|byte| format!("{byte:02x}")).collect();
        self.store.keys().into_iter().filter(|key| !key.contains("_lakegate/create-only")).map(|key| (key.clone(), digest(&key))).collect()
    }

    fn manifest(&self, table: &str) -> Value {
        serde_json::from_slice(&self.store.body(&format!("_manifests/{table}/c.json"))).expect("a manifest")
    }

    /// The manifest of a table, and the ids of the rows in the objects that it names.
    fn committed(&self, table: &str) -> (Value, Vec<i64>) {
        let manifest = self.manifest(table);
        let mut ids = Vec::new();
        for entry in manifest["entries"].as_array().expect("a list") {
            let url = entry["url"].as_str().expect("a URL");
            let body = self.store.body(url.strip_prefix(&format!("s3://{BUCKET}/")).expect("of the bucket"));
            let text = String::from_utf8(body).expect("text");
            let column = text.lines().next().expect("a header").split(',').position(|name| name == "id").expect("an id");
            ids.extend(text.lines().skip(1).map(|line| line.split(',').nth(column).expect("a field").parse::<i64>().expect("a number")));
        }
        ids.sort_unstable();
        assert_eq!(manifest["meta"]["record_count"], ids.len(), "{table}");
        (manifest, ids)
    }

    /// The tables that have a manifest.
    fn manifests(&self) -> BTreeSet<String> {
        let of = |key: String| key.strip_prefix("_manifests/")?.strip_suffix("/c.json").map(str::to_owned);
        self.store.keys().into_iter().filter_map(of).collect()
    }

    fn table(&self, name: &str) -> String {
        format!("{}_{name}", self.source.prefix)
    }

    /// Asserts that every table has one manifest, by which each of its rows is there once.
    fn is_committed_whole(&self) {
        for (name, rows) in TABLES {
            let (manifest, ids) = self.committed(&self.table(name));
            assert_eq!(ids, (0..rows).collect::<Vec<_>>(), "{name}");
            assert!(name != "rows" || manifest["entries"].as_array().is_some_and(|entries| entries.len() > 3), "{manifest}");
        }
        let tables = TABLES.iter().map(|(name, _)| self.table(name)).chain([SUMMARIES.to_owned()]).collect();
        assert_eq!(self.manifests(), tables);
    }

    /// What a reader could see: everything but the probes.
    fn visible(&self) -> Vec<String> {
        self.store.keys().into_iter().filter(|key| !key.contains("_lakegate/")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_source_is_made_once_and_its_repetition_writes_nothing() {
    for source in &sources() {
        for visibility in ["immediate", "on_commit"] {
            let sync = Sync::new(source, json!({"visibility": visibility})).await;
            let first = sync.run(json!({})).await;
            first.ended(0, &["Sync completed successfully. Resources: 25030, Errors: 0,"]);
            assert!(!first.stderr.contains("Already committed"), "{}", first.stderr);
            sync.is_committed_whole();
            let before = sync.objects();
            let probes_and_objects = sync.store.proxy.seen().len();

            let second = sync.run(json!({})).await;
            second.ended(0, &["Already committed: 6 of 6 tables.", "Sync completed successfully. Resources: 25030, Errors: 0,"]);
            assert_eq!(sync.objects(), before, "{} {visibility}", source.prefix);
            assert_eq!(sync.store.unfinished(), 0);
            let summary = &second.json()["syncs"][0]["destinations"][0]["summary"];
            assert_eq!((&summary["rows"], &summary["objects"]), (&json!(0), &json!(0)));
            for table in summary["tables"].as_array().expect("a list") {
                let manifest = sync.manifest(table["table"].as_str().expect("a name"));
                assert_eq!(table["committed_before"], manifest["lakegate"]["attempt"], "{table}");
            }
            // It asks for each table's manifest, and for nothing else but what the store can do.
            let requests = sync.store.proxy.seen().split_off(probes_and_objects);
            let (probes, others): (Vec<_>, Vec<_>) = requests.iter().partition(|seen| seen.path.contains("_lakegate/create-only"));
            assert_eq!(probes.len(), 8, "{probes:?}");
            let asked: BTreeSet<_> = others.iter().map(|seen| (seen.path.as_str(), seen.operation == Operation::Head)).collect();
            let manifests = sync.manifests();
            let expected: Vec<_> = manifests.iter().map(|table| format!("/{BUCKET}/_manifests/{table}/c.json")).collect();
            assert_eq!(asked, expected.iter().map(|path| (path.as_str(), true)).collect(), "{} {visibility}", source.prefix);
            assert_eq!(others.len(), 6, "{others:?}");
        }
    }
}

/// One that dies has sent some of its rows; the next attempt sends all of them.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_source_dies_makes_no_commit_of_what_is_missing_and_the_next_one_does() {
    let Some(program) = tiers::live("a source on Python's SDK", python_source()) else { return };
    let source = Source { prefix: "py", program };
    for visibility in ["immediate", "on_commit"] {
        let sync = Sync::new(&source, json!({"visibility": visibility})).await;
        sync.run(json!({"batch": 1_000, "die_after": 20_000})).await.ended(7, &["failed to sync source src"]);
        assert_eq!(sync.manifests(), BTreeSet::new(), "{visibility}");
        assert_eq!(sync.store.unfinished(), 0, "{visibility}");
        let left = sync.visible();
        if visibility == "on_commit" {
            assert_eq!(left, Vec::<String>::new());
            assert!(sync.store.proxy.count(Operation::Part) > 0, "rows had been sent");
        } else {
            assert!(!left.is_empty(), "rows had been sent");
        }
        sync.run(json!({})).await.ended(0, &["Sync completed successfully. Resources: 25030, Errors: 0,"]);
        sync.is_committed_whole();
        for (name, _) in TABLES {
            let (manifest, _) = sync.committed(&sync.table(name));
            let entries = manifest["entries"].to_string();
            assert!(left.iter().all(|key| !entries.contains(key)), "an object of the attempt that died is in the commit of {name}");
        }
    }
}

/// A source goes on after one of its tables has failed, and ends well: the rows that it has not sent must not be missing from a commit for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_fails_in_its_source_is_not_committed_without_its_other_rows() {
    for source in &sources() {
        let broken = format!("{}_broken", source.prefix);
        let failed = format!("Table {broken} failed: the source could not send all of its rows");
        let sync = Sync::new(source, json!({})).await;
        let run = sync.run(json!({"fail": true})).await;
        run.ended(7, &[&failed, "this table fails on purpose", "Sync completed with errors"]);
        let others: BTreeSet<_> = TABLES.iter().map(|(name, _)| sync.table(name)).chain([SUMMARIES.to_owned()]).collect();
        assert_eq!(&sync.manifests() | &BTreeSet::from([broken]), others);
        assert_eq!(sync.manifests().len(), others.len() - 1);
        assert!(!sync.visible().iter().any(|key| key.contains("_SUCCESS")), "{:?}", sync.visible());
        // The others are committed; the next attempt adds what was missing.
        sync.run(json!({})).await.ended(0, &["Already committed: 5 of 6 tables."]);
        sync.is_committed_whole();
        // One that was committed is so, whatever becomes of a later attempt.
        sync.run(json!({"fail": true})).await.ended(0, &["Already committed: 6 of 6 tables.", "this table fails on purpose"]);

        let sync = Sync::new(source, json!({"visibility": "on_commit"})).await;
        sync.run(json!({"fail": true})).await.ended(7, &[&failed]);
        assert_eq!((sync.visible(), sync.store.unfinished()), (Vec::new(), 0), "{}", source.prefix);
        assert!(sync.store.proxy.count(Operation::Part) > 5, "rows had been sent");
        sync.run(json!({})).await.ended(0, &[]);
        sync.is_committed_whole();
    }
}

/// Without a commit, nothing has changed: the sync ends well, and its summary counts the error.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_fails_in_its_source_fails_no_sync_without_a_commit() {
    let Some(program) = tiers::live("a source on Go's SDK", go_source()) else { return };
    let source = Source { prefix: "go", program };
    let sync = Sync::new(&source, json!({"delivery": "at_least_once", "manifest": null})).await;
    sync.run(json!({"fail": true})).await.ended(0, &["Sync completed with errors, see above for details. Resources: 25030, Errors: 1,"]);
    assert!(sync.visible().iter().any(|key| key.starts_with("x/go_broken/")), "{:?}", sync.visible());
}
