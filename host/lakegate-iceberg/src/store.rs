//! Metadata files in a store of the library, each authorised by its policy as any other object of a session is.

use crate::error::{Error, ErrorKind};
use crate::location::Location;
use crate::objects::{Objects, too_large};
use async_trait::async_trait;
use bytes::Bytes;
use lakegate::Policy;
use lakegate::store::{Authorized, ObjectKey, OnExisting, Payload, PutObject, Store, read_whole};
use lakegate::{StoreError, StoreErrorKind};
use std::sync::Arc;

/// The content type of Avro's container files.
const AVRO: &str = "avro/binary";

/// One bucket of a store, under a policy.
#[derive(Debug, Clone)]
pub struct StoreObjects {
    store: Arc<dyn Store>,
    policy: Policy,
    bucket: String,
}

impl StoreObjects {
    /// The objects of `bucket`, which `store` holds.
    pub fn new(store: Arc<dyn Store>, policy: Policy, bucket: impl Into<String>) -> Self {
        Self { store, policy, bucket: bucket.into() }
    }

    fn key(&self, location: &Location) -> Result<Authorized<ObjectKey>, Error> {
        if location.bucket() != self.bucket {
            return Err(Error::rejected(format!("{location} lies in another bucket than {}", self.bucket)));
        }
        let key = ObjectKey::parse(location.key()).map_err(|error| Error::invalid(format!("{location}: {error}")))?;
        self.policy.authorize_read(key).map_err(|denied| Error::new(ErrorKind::Denied, denied.to_string()))
    }
}

#[async_trait]
impl Objects for StoreObjects {
    async fn create(&self, location: &Location, bytes: Bytes) -> Result<(), Error> {
        if location.bucket() != self.bucket {
            return Err(Error::rejected(format!("{location} lies in another bucket than {}", self.bucket)));
        }
        let put = PutObject::parse(location.key(), AVRO).map_err(|error| Error::invalid(format!("{location}: {error}")))?;
        let put = self.policy.authorize_record(put.keeping(OnExisting::Trust));
        let put = put.map_err(|denied| Error::new(ErrorKind::Denied, denied.to_string()))?;
        match self.store.put(&put, Payload::from(bytes)).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::Exists => Ok(()),
            Err(error) => Err(of_store(&error)),
        }
    }

    async fn read(&self, location: &Location, most_bytes: u64) -> Result<Option<Bytes>, Error> {
        let key = self.key(location)?;
        match read_whole(&*self.store, &key, most_bytes).await {
            Err(error) if error.kind == StoreErrorKind::Quota => Err(too_large(location, most_bytes)),
            read => read.map_err(|error| of_store(&error)),
        }
    }
}

fn of_store(error: &StoreError) -> Error {
    let kind = match error.kind {
        StoreErrorKind::Denied => ErrorKind::Denied,
        // The name has the digest of the content: to put it again settles what became of it.
        StoreErrorKind::Unavailable | StoreErrorKind::Unknown => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    };
    Error::new(kind, error.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate::MemoryStore;

    #[tokio::test]
    async fn a_store_of_the_library_keeps_what_is_there_and_stays_in_its_bucket() {
        let store = MemoryStore::default();
        let objects = StoreObjects::new(store.bucket("lake"), Policy::of_user(), "lake");
        let at = |text: &str| Location::parse(text).unwrap();
        let place = at("s3://lake/t/metadata/m.avro");
        assert_eq!(objects.read(&place, 10).await.unwrap(), None);
        for bytes in ["one", "two"] {
            objects.create(&place, Bytes::from(bytes)).await.unwrap();
        }
        assert_eq!(objects.read(&place, 10).await.unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(objects.read(&place, 2).await.unwrap_err().kind, ErrorKind::Rejected);
        let other = at("s3://other/t/metadata/m.avro");
        assert!(objects.read(&other, 10).await.is_err() && objects.create(&other, Bytes::new()).await.is_err());
        assert_eq!(store.objects("lake").len(), 1);
    }
}
