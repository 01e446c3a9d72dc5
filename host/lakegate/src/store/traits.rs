//! The traits of a store.

use super::answer::{ObjectInfo, Part, StoreError, Stored, UploadHandle, too_large};
use crate::payload::body::Payload;
use crate::policy::authorize::Authorized;
use crate::storage::object::{ObjectKey, PutObject};
use crate::storage::target::StorageTarget;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of an object that are read at once.
pub const MAX_READ_BYTES: u64 = 512 << 10;

/// Reads a whole object of at most so many bytes. [`None`] if there is none.
///
/// # Errors
/// [`StoreError`]; `Quota` if it is larger.
pub async fn read_whole(store: &dyn Store, key: &Authorized<ObjectKey>, most_bytes: u64) -> Result<Option<Bytes>, StoreError> {
    let Some(object) = store.head(key).await? else { return Ok(None) };
    let bytes = object.bytes.filter(|bytes| *bytes <= most_bytes).ok_or_else(|| too_large(key.get(), most_bytes))?;
    read_range(store, key, &object, 0..bytes).await.map(Some)
}

/// Reads a part of an object, [`MAX_READ_BYTES`] at a time.
///
/// # Errors
/// [`StoreError`]: also if the object has changed.
pub async fn read_range(
    store: &dyn Store,
    key: &Authorized<ObjectKey>,
    object: &ObjectInfo,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    let mut read = BytesMut::new();
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + MAX_READ_BYTES);
        read.extend_from_slice(&store.read(key, object, from..to).await?);
        from = to;
    }
    Ok(read.freeze())
}

/// A bucket that takes objects. It knows nothing of tenants, tables or rows, and takes only what a policy has authorised.
///
/// A [`Stored`] says that the object is there, whole, and will be found by its key. What cannot be settled is
/// [`StoreErrorKind::Unknown`](super::answer::StoreErrorKind::Unknown), never a guess. Retries are the store's: its answer is final.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Puts a whole object. What the key has already is treated as [`PutObject::if_exists`] says, in one step: of several writers that may
    /// replace nothing, one creates.
    ///
    /// # Errors
    /// [`StoreError`]. The object is not there, unless the kind is `Unknown`; with `Exists`, another is.
    async fn put(&self, put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError>;

    /// Begins an upload in parts. From here on someone must complete or abort it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn create(&self, put: &Authorized<PutObject>) -> Result<Arc<dyn Multipart>, StoreError>;

    /// An upload that was begun elsewhere, all of whose parts are there. It may be complete already: then completing it again succeeds, if the
    /// object under the key is its own.
    fn resume(&self, put: &Authorized<PutObject>, upload: &UploadHandle) -> Arc<dyn Multipart>;

    /// What is known of an object. [`None`] if there is none.
    ///
    /// # Errors
    /// [`StoreError`]; `Denied` if we may not look, which some stores say of keys without an object, too.
    async fn head(&self, key: &Authorized<ObjectKey>) -> Result<Option<ObjectInfo>, StoreError>;

    /// Bytes of an object that [`Store::head`] has shown, and of no other that took its place meanwhile. At most [`MAX_READ_BYTES`] at once.
    ///
    /// # Errors
    /// [`StoreError`]: also if the object has changed.
    async fn read(&self, key: &Authorized<ObjectKey>, object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Sees that the store honours [`IfExists::Keep`](crate::store::IfExists::Keep), for puts by one key and for uploads by the other. Empty objects
    /// may stay under both.
    ///
    /// # Errors
    /// [`StoreError`]; `Rejected` if the store ignores the condition or does not know it.
    async fn probe_create_only(&self, by_put: &Authorized<PutObject>, by_upload: &Authorized<PutObject>) -> Result<(), StoreError>;

    /// How many bytes part `number` (from 1) is to have; [`None`] past the last part that the store allows.
    fn part_bytes(&self, number: u32) -> Option<u64>;

    /// The words for an object that has `bytes` already and needs more parts than the store allows.
    fn too_many_parts(&self, bytes: u64) -> String;
}

/// An upload in parts. Nothing of it is seen before it is complete.
#[async_trait]
pub trait Multipart: Debug + Send + Sync {
    /// Puts part `number` (from 1), in any order and several at once. Every part but the last has the size that [`Store::part_bytes`] says.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError>;

    /// Makes the object of its parts (in order), `bytes` in all; as [`Store::put`] does, it replaces an object only if it may. An upload is
    /// never completed after it was aborted.
    ///
    /// # Errors
    /// [`StoreError`]; `Unknown` if the outcome cannot be known, `Exists` if the key has another object.
    async fn complete(&self, parts: Vec<Part>, bytes: u64) -> Result<Stored, StoreError>;

    /// Gives the upload up, so that the store forgets its parts. Parts on their way must have ended.
    ///
    /// # Errors
    /// [`StoreError`]: the parts may lie there for as long as a rule of the bucket lets them.
    async fn abort(&self) -> Result<(), StoreError>;

    /// What the upload is found again by, in another process, too.
    fn handle(&self) -> UploadHandle;
}

/// Finds the store of a target.
#[async_trait]
pub trait Connect: Debug + Send + Sync {
    /// The store that the target names.
    ///
    /// # Errors
    /// [`StoreError`] if the target cannot be used.
    async fn connect(&self, target: &StorageTarget) -> Result<Arc<dyn Store>, StoreError>;

    /// Checks a target as far as that is possible without a request. A store that has nothing to check takes every target.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot work.
    async fn check(&self, _target: &StorageTarget) -> Result<(), StoreError> {
        Ok(())
    }
}
