//! Commits of which nothing is seen before everything is there: the record that makes one certain, and finishing it from the record.
//!
//! Every object is an upload with all its parts. When every table has succeeded, a record of all of them is created, and never replaced: whoever
//! creates it makes the commit. Then the uploads are completed, and the manifests written. A process that dies in between loses nothing: the
//! record says all that another needs, and finishing twice, or by two at once, changes nothing.

use super::stage::{CommitStage, lost_message, put_object};
use crate::delivery::context::{ObjectRules, RecordError, UploadContext};
use crate::delivery::deferred::{DeferredObject, PendingObject};
use crate::delivery::in_flight::InFlight;
use crate::delivery::keys::Repetition;
use crate::delivery::ledger::{Content, Failure, FailureClass, Ledger, Receipt, TableReport, WriteReport};
use crate::delivery::staging::Staging;
use crate::limits::MAX_REQUESTS;
use crate::payload::spill::Spill;
use crate::policy::authorize::Policy;
use crate::policy::resources::MemoryHold;
use crate::storage::headers::TableHeaders;
use crate::storage::object::{IfExists, ObjectKey, OnExisting, PutObject};
use crate::storage::target::{CommitKeys, CommitPlan, ManifestPlan, SyncContext};
use crate::store::answer::{StoreError, StoreErrorKind};
use crate::store::traits::{Store, read_whole};
use futures::StreamExt;
use lakegate_base::clock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The form of the record.
const VERSION: u32 = 1;

/// Bytes of a record: half a million objects of one part.
const MAX_RECORD_BYTES: u64 = 256 << 20;

/// The content type of the record.
const JSON: &str = "application/json";

/// A commit that is certain and not yet seen.
#[derive(Debug, Serialize, Deserialize)]
struct PendingCommit {
    version: u32,
    id: String,
    attempt: String,
    sync_id: String,
    repeatable: bool,
    shard: Option<(u32, u32)>,
    commit_time: Option<u64>,
    /// Seconds since 1970.
    finished: u64,
    bucket: String,
    format: String,
    extra: bool,
    create_only: Option<OnExisting>,
    tables: Vec<PendingTable>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PendingTable {
    table: String,
    rows_in: u64,
    keys: CommitKeys,
    objects: Vec<PendingObject>,
}

impl CommitStage {
    /// Gives up what waits.
    pub(crate) async fn discard(&self) {
        abort_all(self.uploads.take_deferred()).await;
    }

    /// Makes the commit of all that waits, or gives all of it up. `keys` in the order of the tables.
    pub(crate) async fn publish(&self, ledger: &Ledger, tables: &[(Arc<str>, u64)], keys: Vec<Result<CommitKeys, String>>) {
        let objects = self.uploads.take_deferred();
        let Some(key) = &self.plan.pending else { return };
        match self.create_record(key, tables, keys, &objects).await {
            Ok(()) => futures::stream::iter(objects).for_each_concurrent(MAX_REQUESTS, |object| object.complete()).await,
            Err(failure) => self.give_up(ledger, objects, &failure).await,
        }
    }

    /// Gives up what waits: no table is committed where one is not.
    pub(crate) async fn roll_back(&self, ledger: &Ledger, failure: &Failure) {
        self.give_up(ledger, self.uploads.take_deferred(), failure).await;
    }

    async fn give_up(&self, ledger: &Ledger, objects: Vec<Box<dyn DeferredObject>>, failure: &Failure) {
        for object in &objects {
            let message = format!("nothing of the commit {:?} is in the bucket: {}", self.plan.id, failure.message);
            ledger.fail(object.table(), Failure::new(failure.class, message));
        }
        abort_all(objects).await;
    }

    /// The record after which the commit is certain.
    async fn create_record(
        &self,
        key: &str,
        tables: &[(Arc<str>, u64)],
        keys: Vec<Result<CommitKeys, String>>,
        objects: &[Box<dyn DeferredObject>],
    ) -> Result<(), Failure> {
        let mut of_table: HashMap<&str, Vec<PendingObject>> = HashMap::new();
        for object in objects {
            of_table.entry(object.table()).or_default().push(object.record());
        }
        let tables = tables.iter().zip(keys).map(|((table, rows_in), keys)| {
            let keys = keys.map_err(|message| Failure::new(FailureClass::Data, message))?;
            let objects = of_table.remove(&**table).unwrap_or_default();
            Ok(PendingTable { table: table.to_string(), rows_in: *rows_in, keys, objects })
        });
        let record = PendingCommit {
            version: VERSION,
            id: self.plan.id.clone(),
            attempt: self.attempt.clone(),
            sync_id: self.sync.sync_id.clone(),
            repeatable: self.sync.repeatable,
            shard: self.sync.shard,
            commit_time: self.sync.commit_time,
            finished: clock::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            bucket: self.info.bucket.clone(),
            format: self.info.format.clone(),
            extra: self.info.extra,
            create_only: self.plan.create_only,
            tables: tables.collect::<Result<_, Failure>>()?,
        };
        let json = serde_json::to_vec(&record).map_err(|error| Failure::new(FailureClass::Unexpected, error.to_string()))?;
        let put = self.attributed(put_object(key, JSON)?.keeping(OnExisting::Fail));
        match self.uploads.put_record(put.clone(), json).await {
            Ok(_) => Ok(()),
            Err(RecordError::Failed { failure, .. }) => Err(failure),
            Err(RecordError::Exists) => {
                let winner = self.attempt_of(&put.key).await;
                let url = self.info.url(key);
                let message = lost_message(&self.plan.id, winner.as_deref(), key);
                Err(Failure::new(
                    FailureClass::Storage,
                    format!("{message}; if it was interrupted, `lakegate commit --resume {url}` finishes it"),
                ))
            }
        }
    }
}

async fn abort_all(objects: Vec<Box<dyn DeferredObject>>) {
    futures::stream::iter(objects).for_each_concurrent(MAX_REQUESTS, |object| object.abort()).await;
}

/// Why a commit cannot be finished from its record.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there is no record.
    #[error("{0}")]
    Record(String),
}

/// Finishes a commit that was interrupted, from the record under `key`: completes its uploads, and writes its manifests and markers. May be
/// repeated, and done by several at once.
///
/// # Errors
/// [`ResumeError`]. What fails of one table is in the report.
pub async fn resume_commit(store: Arc<dyn Store>, key: ObjectKey) -> Result<WriteReport, ResumeError> {
    let policy = Policy::for_user();
    let shown = key.to_string();
    let key = policy.authorize_read(key).map_err(|denied| ResumeError::Record(denied.message))?;
    let bytes = read_whole(&*store, &key, MAX_RECORD_BYTES).await?;
    let bytes = bytes.ok_or_else(|| ResumeError::Record(format!("there is no object {shown:?}")))?;
    let record: PendingCommit =
        serde_json::from_slice(&bytes).map_err(|error| ResumeError::Record(format!("{shown:?} is no record of a commit: {error}")))?;
    if record.version != VERSION {
        return Err(ResumeError::Record(format!("{shown:?} has version {} of its form; {VERSION} is known", record.version)));
    }
    let if_exists = record.create_only.map_or(IfExists::Replace, IfExists::Keep);
    let staging = Staging::within(0, Spill::None, None, MemoryHold::default());
    let rules = ObjectRules { repetition: Repetition::Never, if_exists, deferred: false, headers: TableHeaders::default() };
    let io = tokio::runtime::Handle::current();
    let hold = MemoryHold::default();
    let uploads = UploadContext::new(store.clone(), policy.clone(), staging, InFlight::new(0), rules, hold, io);
    let mut report = WriteReport::default();
    let mut keys = Vec::new();
    for table in record.tables {
        keys.push(Ok(table.keys));
        let objects = futures::stream::iter(table.objects.into_iter().map(|object| {
            let (store, policy, table) = (store.clone(), policy.clone(), table.table.clone());
            async move { complete(&*store, &policy, object, if_exists, table).await }
        }));
        let completed: Vec<_> = objects.buffer_unordered(MAX_REQUESTS).collect().await;
        report.tables.push(table_report(table.table, table.rows_in, completed));
    }
    let plan = CommitPlan {
        id: record.id,
        create_only: record.create_only,
        manifest: Some(ManifestPlan { extra: record.extra }),
        ..CommitPlan::default()
    };
    let sync = SyncContext {
        sync_id: record.sync_id,
        commit_id: plan.id.clone(),
        commit_time: record.commit_time,
        repeatable: record.repeatable,
        shard: record.shard,
    };
    let stage = CommitStage::new(plan, sync, record.attempt, (record.bucket, record.format), uploads);
    let finished: SystemTime = UNIX_EPOCH + Duration::from_secs(record.finished);
    stage.at(finished).conclude(&mut report, keys).await;
    Ok(report)
}

async fn complete(
    store: &dyn Store,
    policy: &Policy,
    object: PendingObject,
    if_exists: IfExists,
    table: String,
) -> Result<(Receipt, Content), StoreError> {
    let content = if object.is_quarantine { Content::Quarantine } else { Content::Data };
    let invalid = |message: String| StoreError { kind: StoreErrorKind::Rejected, message };
    let put = PutObject::parse(&object.key, &object.content_type);
    let put = put.and_then(|put| put.encoded(object.content_encoding.as_deref())).map_err(|error| invalid(error.0))?;
    let put = policy.authorize(PutObject { if_exists, ..put }).map_err(|denied| invalid(denied.message))?;
    let stored = store.resume(&put, &object.upload).complete(object.parts, object.bytes).await?;
    let receipt = Receipt {
        table,
        key: put.get().key.clone(),
        bytes: object.bytes,
        rows: object.facts.rows,
        etag: stored.etag,
        checksum: stored.checksum,
        was_there: stored.was_there,
        partition: object.partition,
        facts: object.facts,
    };
    Ok((receipt, content))
}

fn table_report(table: String, rows_in: u64, completed: Vec<Result<(Receipt, Content), StoreError>>) -> TableReport {
    let mut report = TableReport { table, rows_in, ..TableReport::default() };
    for completed in completed {
        match completed {
            Ok((receipt, Content::Data)) => {
                report.rows_confirmed += receipt.rows;
                report.objects += 1;
                report.bytes += receipt.bytes;
                report.receipts.push(receipt);
            }
            Ok((receipt, Content::Quarantine)) => {
                report.quarantine.rows += receipt.rows;
                report.quarantine.objects += 1;
                report.quarantine.receipts.push(receipt);
            }
            Err(error) => {
                report.failure.get_or_insert_with(|| Failure::new(FailureClass::Storage, error.message));
            }
        }
    }
    let found = report.rows_confirmed.saturating_add(report.quarantine.rows);
    if report.failure.is_none() && found != rows_in {
        let message = format!("the record has {found} rows in objects, of {rows_in} that came in");
        report.failure = Some(Failure::new(FailureClass::Unexpected, message));
    }
    report
}
