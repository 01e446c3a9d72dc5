//! Shared fixtures: the runtime, a store in a temporary folder, and a plugin server with a client.

use lakegate::{Destination, Options, Runtime};
use lakegate_cloudquery::proto::plugin::plugin_client::PluginClient;
use lakegate_cloudquery::server::listen::{Listener, Network};
use lakegate_cloudquery::server::service::{Server, ready};
use lakegate_local_store::LocalStore;
use std::sync::{Arc, LazyLock};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| Runtime::new().expect("the embedded component loads"));

/// The runtime of the embedded component, one for all tests.
pub(crate) fn runtime() -> Arc<Runtime> {
    RUNTIME.clone()
}

/// An embedded store in a temporary folder.
pub(crate) struct TestStore {
    pub(crate) store: Arc<LocalStore>,
    bucket: String,
    _folder: tempfile::TempDir,
}

/// A store with one bucket.
pub(crate) fn test_store(bucket: &str) -> TestStore {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = LocalStore::open(folder.path()).expect("a store in it");
    store.create_bucket(bucket).expect("a bucket");
    TestStore { store: Arc::new(store), bucket: bucket.to_owned(), _folder: folder }
}

impl TestStore {
    /// Options that reach the store.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        options.connect.in_process = Some(lakegate_cli::args::in_process(&self.store));
        options
    }

    /// A destination of the real component over the store.
    pub(crate) fn destination(&self) -> Destination {
        Destination::new(runtime(), self.options())
    }

    /// How many multipart uploads are unfinished.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        self.store.unfinished_uploads(&self.bucket).expect("the store can be read").len()
    }

    /// The keys in the bucket.
    pub(crate) fn keys(&self) -> Vec<String> {
        let records = self.store.records(&self.bucket, "").expect("the store can be read");
        records.into_iter().map(|record| record.key).collect()
    }

    /// The bytes of an object.
    pub(crate) fn body(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.store.object_path(&self.bucket, key)).expect("the object is there")
    }
}

/// A plugin server with a client. The server stops when it is dropped.
pub(crate) struct TestServer {
    pub(crate) client: PluginClient<Channel>,
    stop: CancellationToken,
    /// The folder of a unix socket.
    _folder: Option<tempfile::TempDir>,
}

impl TestServer {
    /// A server on loopback, or on a unix socket in a folder of its own.
    pub(crate) async fn over(network: Network, options: Options) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let server = Server::new(ready(Destination::new(runtime(), options)), stop.clone());
        let folder = if network == Network::Unix { Some(tempfile::tempdir()?) } else { None };
        let socket = folder.as_ref().map(|folder| folder.path().join("plugin.sock").display().to_string());
        let listener = Listener::bind(network, socket.as_deref().unwrap_or("127.0.0.1:0")).await?;
        let scheme = if socket.is_some() { "unix" } else { "http" };
        let address = format!("{scheme}://{}", listener.address());
        let stopped = stop.clone();
        tokio::spawn(async move { listener.serve(&server, stopped).await });
        let channel = Endpoint::from_shared(address)?.connect().await?;
        let client = PluginClient::new(channel).max_decoding_message_size(200 << 20).max_encoding_message_size(200 << 20);
        Ok(Self { client, stop, _folder: folder })
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
