//! The traits of a store.

use super::answer::{Part, StoreError, Stored};
use crate::payload::body::Payload;
use crate::policy::authorize::Authorized;
use crate::storage::object::PutObject;
use crate::storage::target::StorageTarget;
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;

/// A bucket that takes objects. It is told nothing of tenants, tables or rows, and takes only what a policy has authorised.
///
/// A [`Stored`] says that the object is there, whole, and will be found by its key. What cannot be settled is
/// [`StoreErrorKind::Unknown`](super::answer::StoreErrorKind::Unknown), never a guess. Retries are the store's: its answer is final.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Puts a whole object.
    ///
    /// # Errors
    /// [`StoreError`]. The object is not there, unless the kind is `Unknown`.
    async fn put(&self, put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError>;

    /// Begins an upload in parts. From here on someone must complete or abort it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn create(&self, put: &Authorized<PutObject>) -> Result<Arc<dyn Multipart>, StoreError>;

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

    /// Makes the object of its parts (in order), `bytes` in all.
    ///
    /// # Errors
    /// [`StoreError`]; `Unknown` if the outcome cannot be told.
    async fn complete(&self, parts: Vec<Part>, bytes: u64) -> Result<Stored, StoreError>;

    /// Gives the upload up, so that the store forgets its parts. Parts on their way must have ended.
    ///
    /// # Errors
    /// [`StoreError`]: the parts may lie there for as long as a rule of the bucket lets them.
    async fn abort(&self) -> Result<(), StoreError>;

    /// The store's id of the upload, for the log.
    fn id(&self) -> &str;
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
