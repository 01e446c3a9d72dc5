//! A fixture: a destination with the real component and a faulty store, which is the embedded store over HTTP behind a fault proxy.

use crate::support::runtime;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use lakegate::{Destination, Options, Session, Write, WriteReport};
use lakegate_local_store::{AccessKey, LocalStore, ServerHandle};
use lakegate_tests::faults::{Proxy, Rule};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use tokio::net::TcpListener;

pub(crate) const BUCKET: &str = "faulty";
const KEY: &str = "lakegate-test";
const SECRET: &str = "lakegate-test-secret";

/// Part size: small, so that small tables need many parts.
pub(crate) const PART_BYTES: u64 = 4_096;

/// A store behind a proxy. Both are stopped when it is dropped.
pub(crate) struct FaultyStore {
    pub(crate) proxy: Proxy,
    pub(crate) store: LocalStore,
    /// May be changed before [`FaultyStore::open`].
    pub(crate) options: Options,
    server: ServerHandle,
    _folder: tempfile::TempDir,
}

impl FaultyStore {
    /// A store with one bucket and faults by `rules`; parts of [`PART_BYTES`], two lanes, other options by default.
    pub(crate) async fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalStore::open_with_min_part_bytes(folder.path(), 1).expect("a store in it");
        store.create_bucket(BUCKET).expect("a bucket");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let server = store.serve(listener, [AccessKey { id: KEY.into(), secret: SECRET.into() }]).expect("a server");
        let proxy = Proxy::start(&server.endpoint(), rules).await.expect("a proxy");
        let mut options = Options { lanes: NonZeroUsize::new(2).expect("two"), ..Options::default() };
        options.connect.min_part_bytes = PART_BYTES;
        options.connect.credentials = Some(SharedCredentialsProvider::new(Credentials::new(KEY, SECRET, None, None, "test")));
        Self { proxy, store, options, server, _folder: folder }
    }

    /// Opens a session of the real component. `extra` overrides fields of a spec for rotating CSV objects without a test object.
    pub(crate) async fn open(&self, extra: Value) -> Session {
        let mut spec = json!({
            "bucket": BUCKET, "region": "us-east-1", "format": "csv", "path": "{{TABLE}}/{{UUID}}.csv", "test_write": false,
            "endpoint": self.proxy.endpoint(), "use_path_style": true,
        });
        let (Value::Object(spec), Value::Object(extra)) = (&mut spec, extra) else { panic!("the spec is an object") };
        spec.extend(extra);
        let spec = Value::Object(std::mem::take(spec)).to_string();
        Destination::new(runtime(), self.options.clone()).open(&spec, "sync").await.expect("the session opens")
    }

    /// Stops proxy and store: nothing listens any more, and open connections break.
    pub(crate) async fn vanish(self) {
        drop(self.proxy);
        self.server.stop().await;
    }

    /// The uploads that were created and neither completed nor aborted.
    pub(crate) fn unfinished(&self) -> Vec<(String, String)> {
        self.store.unfinished_uploads(BUCKET).expect("the store can be read")
    }

    /// Waits until there is an unfinished upload, so that its later absence is meaningful.
    pub(crate) async fn wait_for_unfinished(&self) {
        for _ in 0..1_000 {
            if !self.unfinished().is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("no upload was begun");
    }

    /// The keys in the bucket.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.store.records(BUCKET, "").expect("the store can be read").into_iter().map(|record| record.key).collect()
    }

    /// Compares report and store: no table failed; each receipt matches an existing object with its bytes, ETag and rows; no object lacks a receipt;
    /// each table has exactly the ids from 0 on, each once.
    pub(crate) fn check_all_landed(&self, name: &str, report: &WriteReport, rows: &BTreeMap<String, i64>) {
        assert_eq!(report.failures().collect::<Vec<_>>(), [], "{name}");
        assert_eq!(report.tables.len(), rows.len(), "{name}");
        let mut confirmed = BTreeSet::new();
        for table in &report.tables {
            let mut ids = Vec::new();
            for receipt in &table.receipts {
                let key = receipt.key.as_str();
                let record = self.store.record(BUCKET, key).expect("the store can be read").expect("a receipt is of an object");
                assert_eq!((record.size, record.etag.as_str()), (receipt.bytes, receipt.etag.trim_matches('"')), "{name}: {key}");
                let found = self.ids(key);
                assert_eq!(found.len() as u64, receipt.rows, "{name}: {key}");
                ids.extend(found);
                assert!(confirmed.insert(key.to_owned()), "{name}: {key} has two receipts");
            }
            ids.sort_unstable();
            let count = rows[&table.table];
            assert_eq!((table.rows_in, table.rows_confirmed), (count as u64, count as u64), "{name}: {}", table.table);
            assert!(ids.iter().copied().eq(0..count), "{name}: {} has {} of {count} ids, or others", table.table, ids.len());
        }
        assert_eq!(confirmed, self.keys(), "{name}: the receipts are those of the objects in the bucket");
    }

    /// The ids in a CSV object.
    fn ids(&self, key: &str) -> Vec<i64> {
        let text = std::fs::read_to_string(self.store.object_path(BUCKET, key)).expect("the object is there");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("id"), "{key}");
        lines.map(|line| line.parse().expect("an id")).collect()
    }
}

/// Writes the ids below `rows` to each table, a message of `step` rows of each in turn.
pub(crate) async fn insert_in_turn(write: &mut Write, rows: &BTreeMap<String, i64>, step: i64) {
    let most = rows.values().copied().max().unwrap_or(0);
    for from in (0..most).step_by(usize::try_from(step).expect("a positive step")) {
        for (table, &count) in rows.iter().filter(|(_, count)| from < **count) {
            let message = lakegate_tests::tables::ids(table, from..count.min(from + step));
            write.insert(message.into()).await.expect("a good message");
        }
    }
}
