//! The requests that make a commit of what a write has put, in their order: manifests, lists, and last the marker of success.

use super::manifest::{CommitInfo, Record};
use crate::delivery::context::{RecordError, UploadContext};
use crate::delivery::ledger::{Failure, FailureClass, TABLES, TableReport, WriteReport};
use crate::policy::tenant_log::Line;
use crate::storage::object::{IfExists, ObjectKey, OnExisting, Purpose, PutObject};
use crate::storage::target::{CommitKeys, CommitPlan, SyncContext};
use crate::store::answer::StoreErrorKind;
use lakegate_base::clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The user metadata of a manifest.
const COMMIT_KEY: &str = "lakegate-commit";
const ATTEMPT_KEY: &str = "lakegate-attempt";

/// Keys of objects that the loser of a race names; the others are counted.
const NAMED_KEYS: usize = 5;

/// Where a stage puts its records, and what they say.
#[derive(Debug)]
pub(crate) struct CommitStage {
    pub(super) plan: CommitPlan,
    pub(super) info: CommitInfo,
    pub(super) sync: SyncContext,
    pub(super) attempt: String,
    pub(super) uploads: Arc<UploadContext>,
    /// When the write ended, if that was in another process.
    finished: Option<SystemTime>,
}

impl CommitStage {
    /// A stage for the objects of `uploads`.
    pub(crate) fn new(
        plan: CommitPlan,
        sync: SyncContext,
        attempt: String,
        (bucket, format): (String, String),
        uploads: Arc<UploadContext>,
    ) -> Self {
        let info = CommitInfo {
            id: plan.id.clone(),
            attempt: (!sync.repeatable).then(|| attempt.clone()),
            sync_id: sync.sync_id.clone(),
            shard: sync.shard,
            bucket,
            format,
            extra: plan.manifest.is_some_and(|manifest| manifest.extra),
            finished: None,
        };
        Self { plan, info, sync, attempt, uploads, finished: None }
    }

    /// The same for a write that ended then.
    pub(super) fn at(self, finished: SystemTime) -> Self {
        Self { finished: Some(finished), ..self }
    }

    /// Whether objects wait for the commit.
    pub(crate) fn is_deferred(&self) -> bool {
        self.plan.pending.is_some()
    }

    /// Whether a table's rows are only wanted if no earlier attempt has committed them. An attempt that would write the same does so again, to
    /// see that it is the same.
    pub(crate) fn skips_committed(&self) -> bool {
        self.plan.create_only.is_some() && self.plan.manifest.is_some() && !self.sync.repeatable
    }

    /// The attempt that has committed a table: empty if its manifest names none. Who may not look hears of none, and finds out in the end.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(crate) async fn earlier(&self, keys: &CommitKeys) -> Result<Option<String>, Failure> {
        let Some(key) = keys.manifest.as_deref() else { return Ok(None) };
        match self.uploads.head_record(object_key(key)?).await {
            Ok(found) => Ok(found.map(|info| info.metadata.get(ATTEMPT_KEY).cloned().unwrap_or_default())),
            Err(error) if error.kind == StoreErrorKind::Denied => Ok(None),
            Err(error) => Err(Failure::new(FailureClass::Storage, self.uploads.failure_text(error))),
        }
    }

    /// Writes the records of the tables that have succeeded; `keys` in the order of the report. A table whose records cannot be written has
    /// failed, with all its objects in the bucket.
    pub(crate) async fn conclude(&self, report: &mut WriteReport, keys: Vec<Result<CommitKeys, String>>) {
        if self.is_deferred() && report.failures().next().is_some() {
            return;
        }
        // What another attempt would write the same has no time of its own.
        let stable = self.sync.commit_time.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let finished = if self.sync.repeatable { stable } else { Some(self.finished.unwrap_or_else(clock::now)) };
        let info = CommitInfo { finished, ..self.info.clone() };
        let mut markers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, keys) in keys.into_iter().enumerate() {
            let Some(table) = report.tables.get(number) else { return };
            if table.failure.is_some() {
                continue;
            }
            let keys = match keys {
                Ok(keys) => keys,
                Err(message) => {
                    self.fail(report, number, Failure::new(FailureClass::Data, message));
                    continue;
                }
            };
            if let Some(marker) = &keys.success_marker {
                markers.entry(marker.clone()).or_default().push(number);
            }
            if table.committed_before.is_some() {
                continue;
            }
            match self.record(&info, table, &keys).await {
                Ok(()) => {
                    if let Some(table) = report.tables.get_mut(number) {
                        table.manifest = keys.manifest;
                    }
                }
                Err(failure) => self.fail(report, number, failure),
            }
        }
        if report.failures().next().is_none() {
            self.mark(&info, report, markers).await;
        }
    }

    /// A table fails after the books were closed.
    pub(crate) fn fail(&self, report: &mut WriteReport, number: usize, failure: Failure) {
        let Some(table) = report.tables.get(number).filter(|table| table.failure.is_none()) else { return };
        if let Some(Line { tenant, more }) = Line::table_failure(self.uploads.tenant().map(|tenant| &**tenant)) {
            tracing::error!(target: TABLES, tenant, more, table = table.table, error = failure.message, "The table failed.");
        }
        report.fail(number, failure);
    }

    /// The manifest of a table, and its list.
    async fn record(&self, info: &CommitInfo, table: &TableReport, keys: &CommitKeys) -> Result<(), Failure> {
        let (kept, all) = (table.receipts.len() + table.quarantine.receipts.len(), table.objects + table.quarantine.objects);
        if kept as u64 != all {
            let message = format!("the manifest would name {kept} of {all} objects: there is no memory for more of them in one write");
            return Err(Failure::new(FailureClass::Storage, message));
        }
        if let Some(key) = &keys.manifest {
            for record in info.manifest(key, table) {
                self.create(record, "application/json", table).await?;
            }
        }
        if let Some(key) = &keys.symlink_list {
            self.create(info.symlink_list(key, table), "text/plain", table).await?;
        }
        Ok(())
    }

    /// Creates a record, unless another attempt has.
    async fn create(&self, record: Record, content_type: &str, table: &TableReport) -> Result<(), Failure> {
        // The bytes of an attempt that may bring other rows are its own: any that are there are another's.
        let on_existing = if self.sync.repeatable { self.plan.create_only.unwrap_or(OnExisting::Verify) } else { OnExisting::Fail };
        let mut put = put_object(&record.key, content_type)?;
        put.if_exists = IfExists::Keep(on_existing);
        let put = self.uploads.with_headers(put, &table.table)?;
        let put = if self.sync.repeatable { put } else { self.attributed(put) };
        let key = put.key.clone();
        match self.uploads.put_record(put, record.bytes).await {
            Ok(_) => Ok(()),
            Err(RecordError::Failed { failure: Failure { class, message }, .. }) => {
                Err(Failure::new(class, format!("the objects are in the bucket, and {:?} could not be written: {message}", key.as_str())))
            }
            Err(RecordError::Exists) => self.unless_ours(key, table).await,
        }
    }

    /// The same put with the names of commit and attempt in the object's metadata.
    pub(super) fn attributed(&self, mut put: PutObject) -> PutObject {
        put.metadata.insert(COMMIT_KEY.to_owned(), header(&self.plan.id));
        put.metadata.insert(ATTEMPT_KEY.to_owned(), header(&self.attempt));
        put
    }

    /// The attempt that has put a record, if it can be seen.
    pub(super) async fn attempt_of(&self, key: &ObjectKey) -> Option<String> {
        let info = self.uploads.head_record(key.clone()).await.ok().flatten()?;
        info.metadata.get(ATTEMPT_KEY).cloned()
    }

    /// A record is there: of this attempt, when it is finished for the second time, or of another, which has made the commit.
    async fn unless_ours(&self, key: ObjectKey, table: &TableReport) -> Result<(), Failure> {
        let winner = self.attempt_of(&key).await;
        if winner.as_deref() == Some(&header(&self.attempt)) {
            return Ok(());
        }
        let mut ours: Vec<&str> = table.receipts.iter().take(NAMED_KEYS).map(|receipt| receipt.key.as_str()).collect();
        let more = table.receipts.len().saturating_sub(NAMED_KEYS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        ours.sort_unstable();
        let message = lost_message(&self.plan.id, winner.as_deref(), key.as_str());
        Err(Failure::new(FailureClass::Storage, format!("{message}; the objects of this one are no part of it: {ours:?}{more}")))
    }

    /// The markers of success, which may be those of an earlier commit and are replaced.
    async fn mark(&self, info: &CommitInfo, report: &mut WriteReport, markers: BTreeMap<String, Vec<usize>>) {
        for (key, numbers) in markers {
            let tables: Vec<&TableReport> = numbers.iter().filter_map(|number| report.tables.get(*number)).collect();
            // Everything in the folder was committed, and so marked, before.
            if tables.iter().all(|table| table.committed_before.is_some()) {
                continue;
            }
            let record = info.success_marker(&key, &tables);
            let put = async {
                let put = put_object(&record.key, "application/json")?;
                match self.uploads.put_record(put, record.bytes).await {
                    Ok(_) => Ok(()),
                    Err(RecordError::Failed { failure, .. }) => Err(failure),
                    Err(RecordError::Exists) => Err(Failure::new(FailureClass::Unexpected, "a marker that may be replaced exists")),
                }
            };
            if let Err(failure) = put.await {
                for number in numbers {
                    let message = format!("the table is committed, and {key:?} could not be written: {}", failure.message);
                    self.fail(report, number, Failure::new(failure.class, message));
                }
                return;
            }
        }
    }
}

/// What is said of a commit that another attempt has made.
pub(super) fn lost_message(commit: &str, winner: Option<&str>, key: &str) -> String {
    let who = winner.map_or_else(|| "another attempt".to_owned(), |attempt| format!("the attempt {attempt}"));
    format!("the commit {commit:?} was made by {who} ({key:?})")
}

/// A text as the value of a header, which holds no more than visible ASCII.
fn header(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

fn object_key(key: &str) -> Result<ObjectKey, Failure> {
    ObjectKey::parse(key).map_err(|error| Failure::new(FailureClass::Data, error.0))
}

pub(super) fn put_object(key: &str, content_type: &str) -> Result<PutObject, Failure> {
    let put = PutObject::parse(key, content_type).map_err(|error| Failure::new(FailureClass::Data, error.0))?;
    Ok(put.with_purpose(Purpose::Record))
}
