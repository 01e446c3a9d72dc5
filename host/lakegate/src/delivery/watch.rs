//! What is reported of a write as it happens: a line of the log for each object that lands, and everything to an embedder's observer.
//!
//! A [`WriteWatch`] belongs to the books of a write, an [`ObjectWatch`] to an object from the moment it is opened. An object is reported once,
//! whatever becomes of it: one that has neither landed nor failed was given up, and its watch tells of that when it is dropped.

use crate::policy::metrics::RetryCounts;
use crate::policy::tenant::Tenant;
use crate::policy::tenant_log::Line;
use crate::storage::object::ObjectKey;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// The target of the log line of each object that lands.
pub const OBJECTS: &str = "lakegate::objects";

/// Hears of the writes of a destination's sessions, for traces and metrics of an embedder.
///
/// The tasks that do the work call it, and some hold a lock meanwhile: it may neither wait nor call back.
pub trait Observer: Debug + Send + Sync {
    /// A write begins. What is answered hears of it.
    fn begin(&self, write: &WriteBegun<'_>) -> Arc<dyn WriteObserver>;
}

/// Hears of one write.
pub trait WriteObserver: Debug + Send + Sync {
    /// An object has come to its end.
    fn object(&self, object: &ObjectEnded<'_>);

    /// How a table has fared. The write has come to its end, and so have all of its objects.
    fn table(&self, table: &TableEnded<'_>);

    /// The last call: all tables have been reported.
    fn end(&self, how: WriteEnd);
}

/// A write that begins.
#[derive(Debug, Clone, Copy)]
pub struct WriteBegun<'a> {
    /// The identity of the sync, as the client has it; a long one is cut.
    pub sync_id: &'a str,
    /// Where the objects go.
    pub bucket: &'a str,
    /// The format's name.
    pub format: &'a str,
    /// Whose write it is; [`None`] for a single user's.
    pub tenant: Option<&'a str>,
}

/// An object that has come to its end.
#[derive(Debug, Clone, Copy)]
pub struct ObjectEnded<'a> {
    /// The table whose rows it holds.
    pub table: &'a str,
    /// Its key.
    pub key: &'a str,
    /// When it was opened.
    pub opened: SystemTime,
    /// Why the component finished it; [`None`] if it did not.
    pub rotation: Option<Rotation>,
    /// Requests that were tried again for it, by class.
    pub retries: [(&'static str, u64); 3],
    /// What has become of it.
    pub outcome: ObjectOutcome<'a>,
}

/// What has become of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectOutcome<'a> {
    /// The store has confirmed it.
    Stored {
        /// Rows in it.
        rows: u64,
        /// Bytes of it, encoded and compressed.
        bytes: u64,
        /// The store's ETag.
        etag: &'a str,
        /// Whether it was there before, with the same bytes.
        was_there: bool,
    },
    /// The store has confirmed it, and its rows are those of its table that could not be written.
    Quarantined {
        /// Rows in it.
        rows: u64,
    },
    /// The store did not take it; the words are those of its table's failure.
    Failed(&'a str),
    /// It was given up: its table or its write has failed.
    GivenUp,
}

/// Why an object ended: the call in which the component finished it. It does not say more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Among the rows of its table: a limit of rows or bytes was reached, too many partitions were open, or the schema changed.
    Limit,
    /// With the announcement of its table's schema: it has no rows, or the schema is another than before.
    Announcement,
    /// It was old enough.
    Age,
    /// The type of the messages changed.
    MessageType,
    /// The write ended.
    EndOfWrite,
}

impl Rotation {
    /// In the log, and as the value of an attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Announcement => "announcement",
            Self::Age => "age",
            Self::MessageType => "message_type",
            Self::EndOfWrite => "end_of_write",
        }
    }
}

/// How a table has fared in a write.
#[derive(Debug, Clone, Copy)]
pub struct TableEnded<'a> {
    /// The table.
    pub table: &'a str,
    /// When the first message of it came in, and when something last happened to it; [`None`] if none of its rows were wanted.
    pub times: Option<(SystemTime, SystemTime)>,
    /// Rows that came in.
    pub rows_in: u64,
    /// Bytes of the messages that they and the schema came in, as Arrow IPC.
    pub bytes_in: u64,
    /// Rows in confirmed objects.
    pub rows_confirmed: u64,
    /// Bytes of confirmed objects.
    pub bytes: u64,
    /// Confirmed objects.
    pub objects: u64,
    /// The class and the words of its failure, if it failed. `given_up`: its write was, before all of its rows were confirmed.
    pub failure: Option<(&'static str, &'a str)>,
}

/// How a write came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEnd {
    /// Its input ended well. Tables may have failed.
    Finished,
    /// It was given up.
    GivenUp,
}

/// Where a session's objects go, and who hears of it.
#[derive(Debug)]
pub(crate) struct SessionWatch {
    pub(crate) sync_id: String,
    pub(crate) bucket: String,
    pub(crate) format: String,
    pub(crate) tenant: Option<Arc<Tenant>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl SessionWatch {
    /// A write begins.
    pub(crate) fn begin(self: &Arc<Self>) -> WriteWatch {
        let Self { sync_id, bucket, format, tenant, observer } = &**self;
        let begun = WriteBegun { sync_id, bucket, format, tenant: tenant.as_ref().map(|tenant| &*tenant.name) };
        WriteWatch { session: self.clone(), observer: observer.as_ref().map(|observer| observer.begin(&begun)) }
    }
}

/// Tells of one write.
#[derive(Debug)]
pub(crate) struct WriteWatch {
    session: Arc<SessionWatch>,
    pub(crate) observer: Option<Arc<dyn WriteObserver>>,
}

impl WriteWatch {
    /// An object of the write is opened.
    pub(crate) fn object(self: &Arc<Self>, table: &Arc<str>, key: &ObjectKey) -> Arc<ObjectWatch> {
        Arc::new(ObjectWatch {
            write: self.clone(),
            table: table.clone(),
            key: key.clone(),
            opened: lakegate_base::clock::now(),
            rotation: OnceLock::new(),
            retries: Arc::default(),
            reported: AtomicBool::new(false),
        })
    }
}

/// Tells of one object.
#[derive(Debug)]
pub(crate) struct ObjectWatch {
    write: Arc<WriteWatch>,
    table: Arc<str>,
    key: ObjectKey,
    opened: SystemTime,
    rotation: OnceLock<Rotation>,
    pub(crate) retries: Arc<RetryCounts>,
    reported: AtomicBool,
}

impl ObjectWatch {
    /// The component finishes it.
    pub(crate) fn ends(&self, why: Rotation) {
        let _first = self.rotation.set(why);
    }

    /// The store has confirmed it. A tenant's objects have a line in the audit log, so that this one is a detail.
    pub(crate) fn stored(&self, rows: u64, bytes: u64, etag: &str, was_there: bool) {
        let SessionWatch { sync_id, bucket, tenant, .. } = &*self.write.session;
        let (table, key, rotation) = (&*self.table, self.key.as_str(), self.rotation.get().map(|why| why.name()));
        let retries: u64 = self.retries.read().iter().map(|(_, count)| count).sum();
        match tenant {
            None => tracing::info!(
                target: OBJECTS, event = "object.committed", table, bucket, key, rows, bytes, etag, was_there, rotation, retries, sync_id,
                "An object is confirmed."
            ),
            Some(_) => {
                if let Some(Line { tenant, more }) = Line::detail(tenant.as_deref()) {
                    tracing::debug!(target: OBJECTS, tenant, more, table, key, rows, bytes, was_there, rotation, retries, "An object is confirmed.");
                }
            }
        }
        self.report(ObjectOutcome::Stored { rows, bytes, etag, was_there });
    }

    /// The store has confirmed it, in quarantine. The log has a warning of it.
    pub(crate) fn quarantined(&self, rows: u64) {
        self.report(ObjectOutcome::Quarantined { rows });
    }

    /// The store has not taken it.
    pub(crate) fn failed(&self, words: &str) {
        self.report(ObjectOutcome::Failed(words));
    }

    fn report(&self, outcome: ObjectOutcome<'_>) {
        if self.reported.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(observer) = &self.write.observer {
            observer.object(&ObjectEnded {
                table: &self.table,
                key: self.key.as_str(),
                opened: self.opened,
                rotation: self.rotation.get().copied(),
                retries: self.retries.read(),
                outcome,
            });
        }
    }
}

impl Drop for ObjectWatch {
    fn drop(&mut self) {
        self.report(ObjectOutcome::GivenUp);
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// Writes down what it hears.
    #[derive(Debug, Clone, Default)]
    pub(in super::super) struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        /// What it has heard of objects, tables and writes.
        pub(in super::super) fn read(&self) -> Vec<String> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn note(&self, text: String) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }

        /// A watch of a write that it hears of.
        pub(in super::super) fn watch(&self) -> WriteWatch {
            let (sync_id, bucket, format) = ("s".to_owned(), "b".to_owned(), "csv".to_owned());
            Arc::new(SessionWatch { sync_id, bucket, format, tenant: None, observer: Some(Arc::new(self.clone())) }).begin()
        }
    }

    impl Observer for Notes {
        fn begin(&self, write: &WriteBegun<'_>) -> Arc<dyn WriteObserver> {
            self.note(format!("{} to {} as {}", write.sync_id, write.bucket, write.format));
            Arc::new(self.clone())
        }
    }

    impl WriteObserver for Notes {
        fn object(&self, object: &ObjectEnded<'_>) {
            let ObjectEnded { table, key, rotation, outcome, .. } = object;
            let what = match outcome {
                ObjectOutcome::Stored { rows, bytes, .. } => format!("stored {rows} rows, {bytes} bytes"),
                ObjectOutcome::Quarantined { rows } => format!("{rows} rows in quarantine"),
                ObjectOutcome::Failed(_) => "failed".to_owned(),
                ObjectOutcome::GivenUp => "given up".to_owned(),
            };
            self.note(format!("{table} {key}: {what}, {:?}", rotation.map(Rotation::name)));
        }

        fn table(&self, table: &TableEnded<'_>) {
            let TableEnded { table, rows_in, bytes_in, rows_confirmed, bytes, objects, failure, times } = table;
            assert!(times.is_none_or(|(first, last)| first <= last));
            let class = failure.map(|(class, _)| class);
            self.note(format!("{table}: {rows_in} rows in {bytes_in} bytes, {rows_confirmed} in {bytes} in {objects}, {class:?}"));
        }

        fn end(&self, how: WriteEnd) {
            self.note(format!("{how:?}"));
        }
    }
}
