//! S3 stores that tests write to and inspect with the AWS SDK.

use std::any::Any;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region};
use lakegate_local_store::{AccessKey, ENDPOINT, LocalStore, ServerHandle};
use tokio::net::TcpListener;

/// The region of every test store.
pub const REGION: &str = "us-east-1";

/// How long a store may take to answer.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A store that is reached over HTTP.
#[derive(Debug)]
pub struct Store {
    /// Its endpoint, to be used with path-style addressing.
    pub endpoint: String,
    /// The access key ID.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    server: Option<ServerHandle>,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Store {
    /// A store that is already running.
    #[must_use]
    pub fn new(endpoint: String, access_key: String, secret_key: String) -> Self {
        Self { endpoint, access_key, secret_key, server: None, kept: Vec::new() }
    }

    /// The embedded store over `dir`, served on a loopback port until it is stopped or dropped.
    ///
    /// # Errors
    /// The folder cannot be written, or there is no port.
    pub async fn embedded(dir: &Path) -> std::io::Result<Self> {
        let key = AccessKey { id: "lakegate-test".to_owned(), secret: "lakegate-test-secret".to_owned() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = LocalStore::open(dir)?.serve(listener, [key.clone()])?;
        Ok(Self { server: Some(server), ..Self::new(String::new(), key.id, key.secret) }.with_endpoint_of_server())
    }

    fn with_endpoint_of_server(mut self) -> Self {
        self.endpoint = self.server.as_ref().map(ServerHandle::endpoint).unwrap_or_default();
        self
    }

    /// A client with the store's own key.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_with(&self.access_key, &self.secret_key)
    }

    /// A client with another key.
    #[must_use]
    pub fn client_with(&self, access_key: &str, secret_key: &str) -> Client {
        self.client_of(Credentials::new(access_key, secret_key, None, None, "test"))
    }

    /// A client with a key and an optional session token.
    #[must_use]
    pub fn client_of(&self, credentials: Credentials) -> Client {
        let config = config(&self.endpoint, credentials);
        Client::from_conf(config.http_client(aws_smithy_http_client::Builder::new().build_http()).build())
    }

    /// Waits until the store answers a listing of its buckets.
    ///
    /// # Errors
    /// It does not answer within half a minute.
    pub async fn ready(&self) -> Result<(), String> {
        let client = self.client();
        let until = tokio::time::Instant::now() + READY_LIMIT;
        loop {
            match client.list_buckets().send().await {
                Ok(_) => return Ok(()),
                Err(error) if tokio::time::Instant::now() > until => return Err(format!("{error:?}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Keeps `what` (the store's process, say) alive as long as the store.
    pub fn keep(&mut self, what: impl Any + Send + Sync) {
        self.kept.push(Box::new(what));
    }

    /// Ends a served store after the requests under way.
    pub async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }
}

/// A client that calls `store` within this process.
#[must_use]
pub fn embedded_client(store: &LocalStore) -> Client {
    Client::from_conf(config(ENDPOINT, LocalStore::credentials()).http_client(store.connector()).build())
}

/// One attempt each: a test asks for what it sees, not for what a retry mends.
fn config(endpoint: &str, credentials: Credentials) -> Builder {
    Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
}
