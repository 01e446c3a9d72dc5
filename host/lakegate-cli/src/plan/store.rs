//! A store that takes every object and keeps nothing of it but its key.

use async_trait::async_trait;
use bytes::Bytes;
use lakegate::spec::StorageTarget;
use lakegate::store::{
    Authorized, Connect, IfExists, Multipart, ObjectInfo, ObjectKey, Part, Payload, PutObject, Store, Stored, UploadHandle,
};
use lakegate::{ConnectOptions, StoreError, StoreErrorKind, limits};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a part, where the spec does not say: the least that S3 takes.
const PART_BYTES: u64 = 5 << 20;

/// The most parts of an upload, as in S3.
const MAX_PARTS: u32 = 10_000;

/// See the module. Clones share what they have seen.
#[derive(Debug, Clone)]
pub(super) struct KeyStore {
    /// What a target is checked by.
    connect: ConnectOptions,
    seen: Arc<Mutex<Seen>>,
}

/// The keys of the objects that were put.
#[derive(Debug, Default)]
struct Seen {
    keys: BTreeSet<String>,
    key_bytes: u64,
    left_out: u64,
}

impl KeyStore {
    /// An empty store, whose targets are checked as `connect` would.
    pub(super) fn new(connect: ConnectOptions) -> Self {
        Self { connect, seen: Arc::default() }
    }

    /// The keys of the objects in it, and how many there are beside them.
    pub(super) fn keys(&self) -> (BTreeSet<String>, u64) {
        let seen = self.seen();
        (seen.keys.clone(), seen.left_out)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, put: &PutObject) -> Result<Stored, StoreError> {
        let mut seen = self.seen();
        let key = put.key.as_str();
        let length = key.len() as u64;
        match (seen.keys.contains(key), put.if_exists) {
            (true, IfExists::Keep(_)) => {
                let message = format!("the key {key:?} has an object of this plan already, and nothing is replaced");
                return Err(StoreError { kind: StoreErrorKind::Exists, message });
            }
            (true, IfExists::Replace) => {}
            (false, _) if seen.key_bytes + length > limits::RECEIPT_BYTES => seen.left_out += 1,
            (false, _) => {
                seen.keys.insert(key.to_owned());
                seen.key_bytes += length;
            }
        }
        Ok(Stored { etag: String::new(), checksum: None, was_there: false })
    }
}

#[async_trait]
impl Connect for KeyStore {
    async fn connect(&self, target: &StorageTarget) -> Result<Arc<dyn Store>, StoreError> {
        // AWS lets parts grow; other stores may not.
        let most_parts = if target.endpoint.is_some() || target.part_size_bytes.is_some() { MAX_PARTS } else { u32::MAX };
        Ok(Arc::new(Bucket { store: self.clone(), part_bytes: target.part_size_bytes.unwrap_or(PART_BYTES), most_parts }))
    }

    async fn check(&self, target: &StorageTarget) -> Result<(), StoreError> {
        self.connect.check(target).await
    }
}

#[derive(Debug, Clone)]
struct Bucket {
    store: KeyStore,
    part_bytes: u64,
    most_parts: u32,
}

#[async_trait]
impl Store for Bucket {
    async fn put(&self, put: &Authorized<PutObject>, _body: Payload) -> Result<Stored, StoreError> {
        self.store.keep(put.get())
    }

    async fn create(&self, put: &Authorized<PutObject>) -> Result<Arc<dyn Multipart>, StoreError> {
        Ok(Arc::new(Upload { store: self.store.clone(), put: put.get().clone() }))
    }

    fn resume(&self, put: &Authorized<PutObject>, _upload: &UploadHandle) -> Arc<dyn Multipart> {
        Arc::new(Upload { store: self.store.clone(), put: put.get().clone() })
    }

    async fn head(&self, key: &Authorized<ObjectKey>) -> Result<Option<ObjectInfo>, StoreError> {
        Ok(self.store.seen().keys.contains(key.get().as_str()).then(ObjectInfo::default))
    }

    async fn read(&self, _key: &Authorized<ObjectKey>, _object: &ObjectInfo, _range: Range<u64>) -> Result<Bytes, StoreError> {
        Err(StoreError { kind: StoreErrorKind::Unsupported, message: "a plan keeps no bytes of objects".to_owned() })
    }

    async fn probe_create_only(&self, _by_put: &Authorized<PutObject>, _by_upload: &Authorized<PutObject>) -> Result<(), StoreError> {
        Ok(())
    }

    fn part_bytes(&self, number: u32) -> Option<u64> {
        (number <= self.most_parts).then_some(self.part_bytes)
    }

    fn too_many_parts(&self, bytes: u64) -> String {
        ConnectOptions::too_many_parts(self.part_bytes, bytes)
    }
}

/// An upload, of which only the end counts.
#[derive(Debug)]
struct Upload {
    store: KeyStore,
    put: PutObject,
}

#[async_trait]
impl Multipart for Upload {
    async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError> {
        Ok(Part { number, bytes: body.length(), etag: String::new(), checksum: None })
    }

    async fn complete(&self, _parts: Vec<Part>, _bytes: u64) -> Result<Stored, StoreError> {
        self.store.keep(&self.put)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn handle(&self) -> UploadHandle {
        UploadHandle { id: String::new(), token: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate::Policy;
    use lakegate::store::OnExisting;

    fn put(key: &str) -> PutObject {
        PutObject::parse(key, "text/csv").unwrap()
    }

    fn keys(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[tokio::test]
    async fn keys_are_kept_and_an_object_that_may_not_be_replaced_is_not() {
        let store = KeyStore::new(ConnectOptions::default());
        let bucket = store.connect(&StorageTarget::default()).await.unwrap();
        let allowed = |put| Policy::for_user().authorize(put).unwrap();
        bucket.put(&allowed(put("a")), Payload::default()).await.unwrap();
        bucket.put(&allowed(put("a")), Payload::default()).await.unwrap();
        let upload = bucket.create(&allowed(put("b"))).await.unwrap();
        let part = upload.put_part(1, Payload::default()).await.unwrap();
        assert_eq!(store.keys(), (keys(&["a"]), 0), "an upload is seen once it is complete");
        upload.complete(vec![part], 7).await.unwrap();
        let kept = bucket.put(&allowed(put("a").keeping(OnExisting::Trust)), Payload::default()).await;
        assert_eq!(kept.unwrap_err().kind, StoreErrorKind::Exists);
        assert_eq!(store.keys(), (keys(&["a", "b"]), 0));
    }

    #[tokio::test]
    async fn keys_beyond_the_bound_are_counted() {
        let store = KeyStore::new(ConnectOptions::default());
        store.seen().key_bytes = limits::RECEIPT_BYTES - 1;
        for key in ["a", "b", "a"] {
            store.keep(&put(key)).unwrap();
        }
        assert_eq!(store.keys(), (keys(&["a"]), 1));
    }

    #[tokio::test]
    async fn parts_are_counted_where_a_store_may_want_equal_ones() {
        let store = KeyStore::new(ConnectOptions::default());
        for (part_size_bytes, endpoint, number, bytes) in [
            (None, None, 10_001, Some(PART_BYTES)),
            (None, Some("http://minio:9000"), 10_001, None),
            (Some(6 << 20), None, 10_000, Some(6 << 20)),
            (Some(6 << 20), None, 10_001, None),
        ] {
            let target = StorageTarget { part_size_bytes, endpoint: endpoint.map(str::to_owned), ..StorageTarget::default() };
            assert_eq!(store.connect(&target).await.unwrap().part_bytes(number), bytes, "{target:?}");
        }
    }
}
