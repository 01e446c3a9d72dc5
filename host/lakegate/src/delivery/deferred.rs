//! Objects that are at the store but for the last request: nothing of them can be seen until the whole sync has succeeded.

use crate::storage::object::ObjectKey;
use crate::storage::target::ObjectFacts;
use crate::store::answer::{Part, UploadHandle};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An upload with all its parts, which waits for the commit. Dropping it aborts the upload.
#[async_trait]
pub(crate) trait DeferredObject: Send + Sync {
    /// The table whose rows it holds.
    fn table(&self) -> &Arc<str>;

    /// Where it will be.
    fn key(&self) -> &ObjectKey;

    /// What is needed to complete it in another process.
    fn record(&self) -> PendingObject;

    /// Sends the last request, and writes down what came of it.
    async fn complete(self: Box<Self>);

    /// Gives the upload up, and waits for that.
    async fn abort(self: Box<Self>);
}

/// The objects of a session that wait.
#[derive(Default)]
pub(crate) struct Deferred(Mutex<Vec<Box<dyn DeferredObject>>>);

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Deferred").finish_non_exhaustive()
    }
}

impl Deferred {
    fn objects(&self) -> MutexGuard<'_, Vec<Box<dyn DeferredObject>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, object: Box<dyn DeferredObject>) {
        self.objects().push(object);
    }

    /// All of them, in the order of their keys.
    pub(super) fn take(&self) -> Vec<Box<dyn DeferredObject>> {
        let mut objects = std::mem::take(&mut *self.objects());
        objects.sort_by(|one, other| one.key().cmp(other.key()));
        objects
    }
}

/// An object of a commit that is about to be seen, as its record has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PendingObject {
    pub(crate) key: String,
    pub(crate) content_type: String,
    /// Records of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    pub(crate) upload: UploadHandle,
    pub(crate) parts: Vec<Part>,
    pub(crate) bytes: u64,
    pub(crate) partition: Vec<(String, Option<String>)>,
    /// Whether it holds rows that could not be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_quarantine: bool,
    pub(crate) facts: ObjectFacts,
}
