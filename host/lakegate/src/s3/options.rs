//! How the store is reached, apart from what a spec says.

use super::clock::Clock;
use super::sizes::{MAX_PART_BYTES, MIN_PART_BYTES, PartSizes};
use crate::cpu::scheduler::HostMeter;
use crate::policy::metrics::RetryCounts;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::Env;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How the store is reached, apart from what the spec says.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Send requests to this store, in this process, instead of over the network.
    pub in_process: Option<InProcessStore>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// The least size of a part: S3's, unless a test has a store that allows less. No spec or flag reaches it.
    pub min_part_bytes: u64,
    /// The largest part that a client may choose by itself: bounded by memory where there is no spill file.
    pub max_part_bytes: u64,
    /// Whether bytes are sent with a CRC32, where the target leaves it open.
    pub checksums: Checksums,
    /// Sign with these instead of what the default chain finds: for embedders with credentials of their own. A role of the spec is assumed
    /// on top.
    pub credentials: Option<SharedCredentialsProvider>,
    /// Take profiles from this file alone, in the form of AWS's shared files, instead of the user's: the one that the target names, or
    /// `default`. It is read when a client is made.
    pub credentials_file: Option<PathBuf>,
    /// A policy (JSON) that a role is assumed with: it can only take away from what the role may do.
    pub session_policy: Option<String>,
    /// The role of the target is assumed with the token in this file, which an identity provider signed, instead of other credentials.
    pub web_identity_token_file: Option<PathBuf>,
    /// Whether requests to the store may go where the environment (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`) or the shared files send them
    /// if the target names no endpoint. Without it they go to AWS.
    pub configured_endpoints: bool,
    /// Where it is counted what was tried again.
    pub retries: Arc<RetryCounts>,
    /// Whose account its connections are worked on; a single user's are not metered.
    pub(crate) meter: Option<HostMeter>,
    /// What time it is.
    pub(super) clock: Clock,
    /// Who answers instead of the network.
    pub(super) answers: Option<SharedHttpClient>,
    /// Where variables (`AWS_CA_BUNDLE`, proxies, credentials) are read from: the process, or what a test gives.
    pub(super) environment: Env,
}

impl ConnectOptions {
    /// The words for an object that has `bytes` already, in as many parts of one size as S3 takes, and needs more.
    pub fn too_many_parts(part_bytes: u64, bytes: u64) -> String {
        PartSizes::Equal(part_bytes).too_many_parts(bytes)
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            in_process: None,
            timeouts: Timeouts::default(),
            min_part_bytes: MIN_PART_BYTES,
            max_part_bytes: MAX_PART_BYTES,
            checksums: Checksums::Auto,
            credentials: None,
            credentials_file: None,
            session_policy: None,
            web_identity_token_file: None,
            configured_endpoints: true,
            meter: None,
            retries: Arc::default(),
            clock: Clock::default(),
            answers: None,
            environment: Env::real(),
        }
    }
}

/// Whether bytes are sent with a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// A CRC32 with each object and part, compared with the store's where it names one; unless the environment
    /// (`AWS_REQUEST_CHECKSUM_CALCULATION`) or the profile says that only checksums that are required are sent.
    #[default]
    Auto,
    /// None, for stores that refuse requests with checksum headers. Bytes are sent with a Content-MD5, which all stores know.
    None,
}

/// Time limits of requests.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Name, TCP, proxy and TLS together.
    pub connect: Duration,
    /// A body of which nothing moves for this long has stalled.
    pub stall: Duration,
    /// Wait for the answer to a put or a part once its body has left.
    pub answer: Duration,
    /// The same for the completion of an upload, which takes S3 minutes if there are many parts.
    pub complete: Duration,
    /// How long transient failures of one request are retried.
    pub retries: Duration,
    /// The same for a store that cannot be reached and never could: most likely a wrong endpoint.
    pub first_contact: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            answer: Duration::from_secs(30),
            complete: Duration::from_secs(180),
            retries: Duration::from_secs(120),
            first_contact: Duration::from_secs(10),
        }
    }
}

/// An S3 store that is reached by function call: requests are signed and answered as over a network, with no socket between.
#[derive(Clone)]
pub struct InProcessStore {
    /// The HTTP client that calls it.
    pub client: SharedHttpClient,
    /// The URL that requests are made out to.
    pub endpoint: String,
    /// What requests are signed with.
    pub credentials: Credentials,
    /// Makes a bucket if it is not there yet, before the first request; [`None`] where it has to be there.
    pub make_bucket: Option<MakeBucket>,
}

/// See [`InProcessStore::make_bucket`].
pub type MakeBucket = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

impl fmt::Debug for InProcessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessStore").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
