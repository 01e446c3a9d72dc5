//! A fixture: a store for a plugin in a separate process, which is the embedded store over HTTP behind a proxy that can make it slow or faulty.

use lakegate_local_store::{AccessKey, LocalStore, ServerHandle};
use lakegate_tests::faults::{Proxy, Rule};
use lakegate_tests::plugin::{Launch, Network};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;

/// The program under test: `lakegate`, built with the tests.
pub(crate) const PLUGIN: &str = env!("CARGO_BIN_EXE_plugin");
pub(crate) const BUCKET: &str = "served";
pub(crate) const KEY: &str = "lakegate-test";
pub(crate) const SECRET: &str = "lakegate-test-secret";
/// How long an expected event may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The store with its server and proxy.
pub(crate) struct ProxiedStore {
    pub(crate) proxy: Proxy,
    pub(crate) store: LocalStore,
    _server: ServerHandle,
    _folder: tempfile::TempDir,
}

impl ProxiedStore {
    /// A store with one bucket and faults by `rules`.
    pub(crate) async fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalStore::open(folder.path()).expect("a store in it");
        store.create_bucket(BUCKET).expect("a bucket");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let server = store.serve(listener, [AccessKey { id: KEY.into(), secret: SECRET.into() }]).expect("a server");
        let proxy = Proxy::start(&server.endpoint(), rules).await.expect("a proxy");
        Self { proxy, store, _server: server, _folder: folder }
    }

    /// The plugin with the store's key, and always two lanes.
    pub(crate) fn launch(&self, network: Network) -> Launch {
        Launch::new(Path::new(PLUGIN), network).keys(KEY, SECRET).with("--lanes 2")
    }

    /// A spec for rotating CSV objects without a test object; `extra` overrides fields.
    pub(crate) fn spec(&self, extra: Value) -> Value {
        let spec = json!({
            "bucket": BUCKET, "region": "us-east-1", "format": "csv", "path": "{{TABLE}}/{{UUID}}.csv", "test_write": false,
            "endpoint": self.proxy.endpoint(), "use_path_style": true,
        });
        laid_over(spec, extra)
    }

    /// A spec for one object per table.
    pub(crate) fn whole_spec(&self) -> Value {
        self.spec(json!({"path": "{{TABLE}}.csv", "no_rotate": true}))
    }

    /// Number of uploads that were created and neither completed nor aborted.
    pub(crate) fn unfinished(&self) -> usize {
        self.store.unfinished_uploads(BUCKET).expect("the store can be read").len()
    }

    /// The keys in the bucket.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.store.records(BUCKET, "").expect("the store can be read").into_iter().map(|record| record.key).collect()
    }

    /// The bytes of an object.
    pub(crate) fn body(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.store.object_path(BUCKET, key)).expect("the object is there")
    }

    /// Waits until there is an unfinished upload, so that its later absence is meaningful.
    pub(crate) async fn wait_for_unfinished(&self) {
        eventually("an upload is begun", || self.unfinished() > 0).await;
    }
}

/// `spec` with the fields of `extra`.
pub(crate) fn laid_over(mut spec: Value, extra: Value) -> Value {
    let (Value::Object(fields), Value::Object(extra)) = (&mut spec, extra) else { panic!("a spec is an object") };
    fields.extend(extra);
    spec
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}");
}
