//! A bucket that commands look into without a spec: named by a URL, reached by the options of the command line.

use super::args::ResourceArgs;
use super::exit::{CliError, Exit};
use super::target::StoreArgs;
use lakegate::spec::{CredentialSource, StorageTarget};
use lakegate::store::{Authorized, Connect as _, ObjectKey, Store};
use lakegate::{Policy, StoreError};
use std::sync::Arc;

/// The longest pause between two attempts, as a spec has it.
const MAX_BACKOFF_SECONDS: u32 = 30;

/// A bucket.
pub(crate) struct Bucket {
    name: String,
    pub(crate) store: Arc<dyn Store>,
}

impl Bucket {
    /// The bucket of the object that `url` names.
    ///
    /// # Errors
    /// The URL names none, or the store cannot be used.
    pub(crate) async fn connect(url: &str, store: &StoreArgs, machine: &ResourceArgs) -> Result<Self, CliError> {
        let (bucket, _) = split(url).ok_or_else(|| CliError::new(Exit::Usage, not_a_url(url)))?;
        let StoreArgs { endpoint, path_style, skip_tls_verify, profile, role_arn, .. } = store.clone();
        let target = StorageTarget {
            bucket: bucket.to_owned(),
            region: store.region(|name| std::env::var(name).ok())?,
            endpoint,
            path_style,
            skip_tls_verify,
            credentials: CredentialSource { profile, role_arn, ..CredentialSource::default() },
            max_backoff_seconds: MAX_BACKOFF_SECONDS,
            ..StorageTarget::default()
        };
        let store = machine.options()?.connect.connect(&target).await.map_err(store_failed)?;
        Ok(Self { name: bucket.to_owned(), store })
    }

    /// The key of an object in this bucket.
    ///
    /// # Errors
    /// The URL names none, or one in another bucket.
    pub(crate) fn key(&self, url: &str) -> Result<Authorized<ObjectKey>, String> {
        let (bucket, key) = split(url).ok_or_else(|| not_a_url(url))?;
        if bucket != self.name {
            return Err(format!("{url} is in another bucket than {}", self.name));
        }
        let key = ObjectKey::parse(key).map_err(|error| error.to_string())?;
        Policy::for_user().authorize_read(key).map_err(|denied| denied.message)
    }
}

fn split(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("s3://")?.split_once('/').filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
}

fn not_a_url(url: &str) -> String {
    format!("{url:?} is not s3://BUCKET/KEY")
}

/// A store's failure as the command's.
pub(crate) fn store_failed(error: StoreError) -> CliError {
    CliError::new(error.kind.into(), error.message)
}
