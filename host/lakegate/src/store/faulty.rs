//! A store that fails where a test says so.

use super::answer::{ObjectInfo, Part, StoreError, StoreErrorKind, Stored, UploadHandle};
use super::traits::{Connect, Multipart, Store};
use crate::payload::body::Payload;
use crate::policy::authorize::Authorized;
use crate::storage::object::{ObjectKey, PutObject};
use crate::storage::target::StorageTarget;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Store::put`].
    Put,
    /// [`Store::head`].
    Head,
    /// [`Store::read`].
    Read,
    /// [`Store::create`].
    Create,
    /// [`Multipart::put_part`].
    PutPart,
    /// [`Multipart::complete`].
    Complete,
    /// [`Multipart::abort`].
    Abort,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this kind, and nothing happens at the store.
    Fails(StoreErrorKind),
    /// It never answers, and nothing happens at the store.
    Stalls,
    /// It takes effect, and fails as [`StoreErrorKind::Unknown`].
    LosesAnswer,
    /// It takes effect at once, and is answered after this time.
    AnswersLate(Duration),
    /// It panics, as a bug of a store might.
    Panics,
}

/// Another store, some calls of which go wrong: for tests of what an embedder does then.
///
/// ```
/// use lakegate::{MemoryStore, StoreErrorKind};
/// use lakegate::store::{Fault, FaultyStore, Operation};
///
/// let store = FaultyStore::new(MemoryStore::default());
/// // The second put fails; all others reach the store behind it.
/// store.inject(Operation::Put, 2, Fault::Fails(StoreErrorKind::Unavailable));
/// ```
#[derive(Debug, Clone)]
pub struct FaultyStore {
    behind: Arc<dyn Connect>,
    plan: Arc<Plan>,
}

#[derive(Debug, Default)]
struct Plan(Mutex<Planned>);

#[derive(Debug, Default)]
struct Planned {
    faults: HashMap<(Operation, u32), Fault>,
    calls: HashMap<Operation, u32>,
}

impl FaultyStore {
    /// In front of the stores that `behind` finds.
    pub fn new(behind: impl Connect + 'static) -> Self {
        Self { behind: Arc::new(behind), plan: Arc::default() }
    }

    /// Has the `nth` call (from 1) of an operation go wrong, over all buckets.
    pub fn inject(&self, operation: Operation, nth: u32, fault: Fault) {
        self.plan.lock().faults.insert((operation, nth), fault);
    }

    /// How often an operation was asked for so far.
    pub fn calls(&self, operation: Operation) -> u32 {
        self.plan.lock().calls.get(&operation).copied().unwrap_or_default()
    }
}

impl Plan {
    fn lock(&self) -> MutexGuard<'_, Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work`, or what is planned instead.
    async fn call<T>(&self, operation: Operation, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let (nth, fault) = {
            let mut planned = self.lock();
            let calls = planned.calls.entry(operation).or_default();
            *calls += 1;
            let nth = *calls;
            (nth, planned.faults.remove(&(operation, nth)))
        };
        match fault {
            None => work.await,
            Some(Fault::Fails(kind)) => Err(StoreError { kind, message: format!("{operation:?} {nth} fails as planned") }),
            Some(Fault::Stalls) => std::future::pending().await,
            Some(Fault::LosesAnswer) => {
                work.await?;
                Err(StoreError { kind: StoreErrorKind::Unknown, message: format!("the answer to {operation:?} {nth} is lost as planned") })
            }
            Some(Fault::AnswersLate(time)) => {
                let done = work.await;
                tokio::time::sleep(time).await;
                done
            }
            Some(Fault::Panics) => panic!("{operation:?} {nth} panics as planned"),
        }
    }
}

#[async_trait]
impl Connect for FaultyStore {
    async fn connect(&self, target: &StorageTarget) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(FaultyBucket { behind: self.behind.connect(target).await?, plan: self.plan.clone() }))
    }

    async fn check(&self, target: &StorageTarget) -> Result<(), StoreError> {
        self.behind.check(target).await
    }
}

#[derive(Debug)]
struct FaultyBucket {
    behind: Arc<dyn Store>,
    plan: Arc<Plan>,
}

#[async_trait]
impl Store for FaultyBucket {
    async fn put(&self, put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError> {
        self.plan.call(Operation::Put, self.behind.put(put, body)).await
    }

    async fn create(&self, put: &Authorized<PutObject>) -> Result<Arc<dyn Multipart>, StoreError> {
        let behind = self.plan.call(Operation::Create, self.behind.create(put)).await?;
        Ok(Arc::new(FaultyUpload { behind, plan: self.plan.clone() }))
    }

    fn resume(&self, put: &Authorized<PutObject>, upload: &UploadHandle) -> Arc<dyn Multipart> {
        Arc::new(FaultyUpload { behind: self.behind.resume(put, upload), plan: self.plan.clone() })
    }

    async fn head(&self, key: &Authorized<ObjectKey>) -> Result<Option<ObjectInfo>, StoreError> {
        self.plan.call(Operation::Head, self.behind.head(key)).await
    }

    async fn read(&self, key: &Authorized<ObjectKey>, object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.plan.call(Operation::Read, self.behind.read(key, object, range)).await
    }

    async fn probe_create_only(&self, by_put: &Authorized<PutObject>, by_upload: &Authorized<PutObject>) -> Result<(), StoreError> {
        self.behind.probe_create_only(by_put, by_upload).await
    }

    fn part_bytes(&self, number: u32) -> Option<u64> {
        self.behind.part_bytes(number)
    }

    fn too_many_parts(&self, bytes: u64) -> String {
        self.behind.too_many_parts(bytes)
    }
}

#[derive(Debug)]
struct FaultyUpload {
    behind: Arc<dyn Multipart>,
    plan: Arc<Plan>,
}

#[async_trait]
impl Multipart for FaultyUpload {
    async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError> {
        self.plan.call(Operation::PutPart, self.behind.put_part(number, body)).await
    }

    async fn complete(&self, parts: Vec<Part>, bytes: u64) -> Result<Stored, StoreError> {
        self.plan.call(Operation::Complete, self.behind.complete(parts, bytes)).await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.plan.call(Operation::Abort, self.behind.abort()).await
    }

    fn handle(&self) -> UploadHandle {
        self.behind.handle()
    }
}
