//! A store in memory.

use super::answer::{ObjectInfo, Part, StoreError, StoreErrorKind, Stored, UploadHandle};
use super::create_only::Cause;
use super::traits::{Connect, Multipart, Store};
use crate::payload::body::Payload;
use crate::policy::authorize::Authorized;
use crate::storage::object::{ContentEncoding, IfExists, ObjectKey, OnExisting, PutObject};
use crate::storage::target::StorageTarget;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a part: the least that S3 takes.
const PART_BYTES: u64 = 5 << 20;

/// The most parts of an upload, as in S3.
const MAX_PARTS: u32 = 10_000;

/// Buckets in memory: for tests, and for embedders who want to look at the objects before they are sent anywhere.
///
/// It keeps what a store promises: an object is seen whole or not at all, an upload only once it is complete, and the last writer of a key wins, unless it may
/// replace nothing.
/// Every bucket exists. Clones share one content.
///
/// ```
/// use lakegate::MemoryStore;
///
/// let store = MemoryStore::default();
/// assert!(store.objects("lake").is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct MemoryStore {
    part_bytes: u64,
    content: Arc<Mutex<Content>>,
}

impl Default for MemoryStore {
    /// Parts have 5 MiB, the least that S3 takes.
    fn default() -> Self {
        Self::with_part_bytes(PART_BYTES)
    }
}

/// An object of a [`MemoryStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryObject {
    /// The key.
    pub key: String,
    /// The `Content-Type`.
    pub content_type: String,
    /// The `Content-Encoding`.
    pub content_encoding: Option<&'static str>,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// The content.
    pub bytes: Bytes,
}

#[derive(Debug, Default)]
struct Content {
    /// By bucket and key.
    objects: BTreeMap<(String, String), MemoryObject>,
    uploads: BTreeMap<u64, Begun>,
    /// Of uploads that are complete, what was answered.
    completed: BTreeMap<u64, Stored>,
    next_upload: u64,
}

/// An upload that is neither complete nor aborted.
#[derive(Debug)]
struct Begun {
    bucket: String,
    key: String,
    parts: BTreeMap<u32, Bytes>,
}

impl MemoryStore {
    /// A store whose uploads have parts of `part_bytes`.
    pub fn with_part_bytes(part_bytes: u64) -> Self {
        Self { part_bytes, content: Arc::default() }
    }

    /// The objects of a bucket, by key.
    pub fn objects(&self, bucket: &str) -> Vec<MemoryObject> {
        self.content().objects.iter().filter(|((of, _), _)| of == bucket).map(|(_, object)| object.clone()).collect()
    }

    /// The keys of uploads in a bucket that are neither complete nor aborted.
    pub fn uploads(&self, bucket: &str) -> Vec<String> {
        self.content().uploads.values().filter(|begun| begun.bucket == bucket).map(|begun| begun.key.clone()).collect()
    }

    /// One of its buckets.
    pub fn bucket(&self, name: &str) -> Arc<dyn Store> {
        Arc::new(Bucket { store: self.clone(), name: name.to_owned() })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Connect for MemoryStore {
    async fn connect(&self, target: &StorageTarget) -> Result<Arc<dyn Store>, StoreError> {
        Ok(self.bucket(&target.bucket))
    }
}

#[derive(Debug)]
struct Bucket {
    store: MemoryStore,
    name: String,
}

impl Bucket {
    fn keep(&self, put: &PutObject, bytes: Bytes) -> Result<Stored, StoreError> {
        let etag = etag(&bytes);
        let (key, content_type) = (put.key.as_str().to_owned(), put.content_type.as_str().to_owned());
        let content_encoding = put.content_encoding.map(ContentEncoding::name);
        let object = MemoryObject { key: key.clone(), content_type, content_encoding, metadata: put.metadata.clone(), bytes };
        let mut content = self.store.content();
        match (content.objects.entry((self.name.clone(), key)), put.if_exists) {
            (Entry::Occupied(there), IfExists::Keep(on_existing)) => {
                let cause = match on_existing {
                    OnExisting::Fail => Cause::Taken,
                    OnExisting::Verify if there.get().bytes != object.bytes => Cause::Different,
                    OnExisting::Verify | OnExisting::Trust => return Ok(Stored { etag, checksum: None, was_there: true }),
                };
                return Err(StoreError { kind: StoreErrorKind::Exists, message: cause.message().to_owned() });
            }
            (Entry::Occupied(mut there), IfExists::Replace) => drop(there.insert(object)),
            (Entry::Vacant(free), _) => drop(free.insert(object)),
        }
        Ok(Stored { etag, checksum: None, was_there: false })
    }
}

#[async_trait]
impl Store for Bucket {
    async fn put(&self, put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError> {
        self.keep(put.get(), read(&body).await?)
    }

    async fn create(&self, put: &Authorized<PutObject>) -> Result<Arc<dyn Multipart>, StoreError> {
        let (bucket, put) = (Self { store: self.store.clone(), name: self.name.clone() }, put.get().clone());
        let mut content = self.store.content();
        let number = content.next_upload;
        content.next_upload += 1;
        let begun = Begun { bucket: self.name.clone(), key: put.key.as_str().to_owned(), parts: BTreeMap::new() };
        content.uploads.insert(number, begun);
        Ok(Arc::new(Upload { bucket, put, number }))
    }

    fn resume(&self, put: &Authorized<PutObject>, upload: &UploadHandle) -> Arc<dyn Multipart> {
        let bucket = Self { store: self.store.clone(), name: self.name.clone() };
        // What is no number is an upload of another store, and not there.
        Arc::new(Upload { bucket, put: put.get().clone(), number: upload.id.parse().unwrap_or(u64::MAX) })
    }

    async fn head(&self, key: &Authorized<ObjectKey>) -> Result<Option<ObjectInfo>, StoreError> {
        let place = (self.name.clone(), key.get().as_str().to_owned());
        Ok(self.store.content().objects.get(&place).map(|object| ObjectInfo {
            bytes: Some(object.bytes.len() as u64),
            etag: etag(&object.bytes),
            content_type: Some(object.content_type.clone()),
            metadata: object.metadata.clone(),
            ..ObjectInfo::default()
        }))
    }

    async fn read(&self, key: &Authorized<ObjectKey>, object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, StoreError> {
        let place = (self.name.clone(), key.get().as_str().to_owned());
        let there = self.store.content().objects.get(&place).map(|object| object.bytes.clone());
        let there = there.filter(|bytes| etag(bytes) == object.etag && range.end <= bytes.len() as u64);
        let [from, to] = [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        there.filter(|_| from <= to).map(|bytes| bytes.slice(from..to)).ok_or_else(|| rejected("the object has changed".to_owned()))
    }

    async fn probe_create_only(&self, _by_put: &Authorized<PutObject>, _by_upload: &Authorized<PutObject>) -> Result<(), StoreError> {
        Ok(())
    }

    fn part_bytes(&self, number: u32) -> Option<u64> {
        (number <= MAX_PARTS).then_some(self.store.part_bytes)
    }

    fn too_many_parts(&self, bytes: u64) -> String {
        format!("an object of more than {bytes} bytes has more than {MAX_PARTS} parts of {} bytes", self.store.part_bytes)
    }
}

#[derive(Debug)]
struct Upload {
    bucket: Bucket,
    put: PutObject,
    number: u64,
}

#[async_trait]
impl Multipart for Upload {
    async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError> {
        let length = body.length();
        let bytes = read(&body).await?;
        let etag = etag(&bytes);
        match self.bucket.store.content().uploads.get_mut(&self.number) {
            Some(begun) => drop(begun.parts.insert(number, bytes)),
            None => return Err(no_such_upload()),
        }
        Ok(Part { number, bytes: length, etag, checksum: None })
    }

    async fn complete(&self, parts: Vec<Part>, bytes: u64) -> Result<Stored, StoreError> {
        let begun = {
            let mut content = self.bucket.store.content();
            if let Some(stored) = content.completed.get(&self.number) {
                return Ok(stored.clone());
            }
            content.uploads.remove(&self.number).ok_or_else(no_such_upload)?
        };
        let mut whole = BytesMut::new();
        for part in &parts {
            let kept = begun.parts.get(&part.number).filter(|kept| etag(kept) == part.etag);
            whole.extend_from_slice(kept.ok_or_else(|| rejected(format!("part {} is not there", part.number)))?);
        }
        if whole.len() as u64 != bytes {
            return Err(rejected(format!("the parts have {} bytes instead of {bytes}", whole.len())));
        }
        let stored = self.bucket.keep(&self.put, whole.freeze())?;
        self.bucket.store.content().completed.insert(self.number, stored.clone());
        Ok(stored)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.bucket.store.content().uploads.remove(&self.number);
        Ok(())
    }

    fn handle(&self) -> UploadHandle {
        UploadHandle { id: self.number.to_string(), token: String::new() }
    }
}

async fn read(body: &Payload) -> Result<Bytes, StoreError> {
    let failed = |error| StoreError { kind: StoreErrorKind::Unavailable, message: format!("the spill file cannot be read: {error}") };
    body.bytes().await.map_err(failed)
}

fn etag(bytes: &Bytes) -> String {
    format!("\"{:08x}-{}\"", crc32fast::hash(bytes), bytes.len())
}

fn rejected(message: String) -> StoreError {
    StoreError { kind: StoreErrorKind::Rejected, message }
}

fn no_such_upload() -> StoreError {
    rejected("the upload is complete or aborted".to_owned())
}
