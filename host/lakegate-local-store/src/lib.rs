//! The embedded S3 store: real S3 over a folder, for `--local DIR`, the demo and the tests.
//!
//! Objects are plain files that a person finds by their keys: `DIR/<bucket>/<key>` (odd keys are escaped, see `layout`); what else is
//! known of them lies below `DIR/.lakegate`. A client reaches the store in-process through [`LocalStore::connector`] or over HTTP
//! through [`LocalStore::serve`]; both speak the whole protocol, signatures included.
//!
//! What holds:
//!
//! - an object is seen whole or not at all, and only after all digests that the client sent agree with the bytes;
//! - bodies are streamed to and from the disk: memory does not grow with an object or with the number of objects;
//! - no key and no bucket name leads out of the folder, and neither does a link in it; the folder of another user is refused;
//! - what was confirmed is there after a restart. It is not synced to the platter: this is a store for one machine's convenience;
//! - what a process that was killed had not finished is deleted by the next that opens the folder.
//!
//! Several processes may use one folder at the same time. `If-None-Match` decides between them, too, where the file system has locks
//! (`flock`); without locks it decides between writers of one process, and what a killed process has left stays.

mod connector;
mod disk;
mod error;
mod guard;
mod layout;
mod multipart;
mod receive;
mod record;
mod server;
mod service;
mod session;
mod sweep;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;

use disk::{Disk, Listed, Page};
pub use record::{Attributes, ObjectRecord, RECORDED_HEADERS};
pub use server::ServerHandle;

/// The endpoint to configure a client with that uses [`LocalStore::connector`]. Nothing listens there: the name cannot be resolved.
pub const ENDPOINT: &str = "http://lakegate-local.invalid";

/// The least size of every part but the last, as in S3.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// The access key of the in-process client. It opens nothing but the folder of whoever has the store in hand already.
const EMBEDDED_ACCESS_KEY: &str = "lakegate-embedded";
/// The secret to it, equally without worth.
const EMBEDDED_SECRET_KEY: &str = "lakegate-embedded-store";

/// An S3 store in a folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    service: service::Service,
}

/// Who may use a store over HTTP.
#[derive(Clone)]
pub struct AccessKey {
    /// The access key id.
    pub id: String,
    /// The secret that requests are signed with.
    pub secret: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("secret", &"[redacted]").finish()
    }
}

impl LocalStore {
    /// Opens (or begins) a store in `dir`, and deletes what processes that were killed have left in it.
    ///
    /// # Errors
    /// The folder cannot be made or written, or belongs to another user.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Self::open_with_min_part_bytes(dir, MIN_PART_BYTES)
    }

    /// As [`LocalStore::open`], with another least part size: for tests of uploads with very many parts.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open_with_min_part_bytes(dir: &Path, min_part_bytes: u64) -> io::Result<Self> {
        Ok(Self { service: service::Service { disk: Arc::new(Disk::open(dir)?), min_part_bytes, in_process: false } })
    }

    /// Makes the bucket `name`; `false` when it was there already.
    ///
    /// # Errors
    /// The name is not one that S3 allows, or the folder cannot be written.
    pub fn create_bucket(&self, name: &str) -> io::Result<bool> {
        self.service.disk.create_bucket(name)
    }

    /// An HTTP client for the AWS SDK that calls the store in this process. To be used with [`ENDPOINT`], [`LocalStore::credentials`] and
    /// path-style addressing, within a tokio runtime.
    #[must_use]
    pub fn connector(&self) -> SharedHttpClient {
        let auth = SimpleAuth::from_single(EMBEDDED_ACCESS_KEY, EMBEDDED_SECRET_KEY);
        let service = service::Service { in_process: true, ..self.service.clone() };
        connector::InProcess { service: protocol(service, auth) }.into_client()
    }

    /// The credentials that [`LocalStore::connector`] accepts.
    #[must_use]
    pub fn credentials() -> Credentials {
        Credentials::new(EMBEDDED_ACCESS_KEY, EMBEDDED_SECRET_KEY, None, None, "embedded store")
    }

    /// Serves the store over HTTP until the handle is stopped or dropped. Requests must be signed with one of `keys`; a session token
    /// with a key is accepted whatever it is.
    ///
    /// # Errors
    /// The listener has no local address.
    pub fn serve(&self, listener: TcpListener, keys: impl IntoIterator<Item = AccessKey>) -> io::Result<ServerHandle> {
        let mut auth = SimpleAuth::new();
        for key in keys {
            auth.register(key.id, key.secret.into());
        }
        server::serve(protocol(self.service.clone(), auth), listener)
    }

    /// Where the bytes of an object lie, whether or not there is one.
    #[must_use]
    pub fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.service.disk.object_path(bucket, key)
    }

    /// What is known of an object; `None` when there is none. May block on the disk.
    ///
    /// # Errors
    /// The bucket does not exist, or the folder cannot be read.
    pub fn record(&self, bucket: &str, key: &str) -> io::Result<Option<ObjectRecord>> {
        self.service.disk.require_bucket(bucket).and_then(|()| self.service.disk.head(bucket, key)).map_err(io::Error::other)
    }

    /// All objects of a bucket whose keys begin with `prefix`, in the order of their keys. May block on the disk.
    ///
    /// # Errors
    /// The bucket does not exist, or the folder cannot be read.
    pub fn records(&self, bucket: &str, prefix: &str) -> io::Result<Vec<ObjectRecord>> {
        let page = Page { prefix, limit: usize::MAX, ..Page::default() };
        let listed =
            self.service.disk.require_bucket(bucket).and_then(|()| self.service.disk.list(bucket, &page)).map_err(io::Error::other)?;
        Ok(listed.into_iter().filter_map(|line| if let Listed::Object(record) = line { Some(*record) } else { None }).collect())
    }

    /// The keys and ids of the uploads of a bucket that were begun and neither completed nor aborted. May block on the disk.
    ///
    /// # Errors
    /// The bucket does not exist, or the folder cannot be read.
    pub fn unfinished_uploads(&self, bucket: &str) -> io::Result<Vec<(String, String)>> {
        let uploads =
            self.service.disk.require_bucket(bucket).and_then(|()| self.service.disk.uploads(bucket, "")).map_err(io::Error::other)?;
        Ok(uploads.into_iter().map(|upload| (upload.record.key, upload.id)).collect())
    }
}

fn protocol(service: service::Service, auth: SimpleAuth) -> S3Service {
    let mut builder = S3ServiceBuilder::new(service);
    builder.set_auth(auth);
    builder.build()
}
