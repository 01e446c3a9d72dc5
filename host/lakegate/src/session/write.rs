//! A session and its writes: messages are routed to lanes, and the books are closed at the end.

use super::catalog::{Found, OpenTables, SessionCatalog};
use super::commit::SessionCommit;
use super::lane::{Lane, Work};
use crate::catalog::with_schema;
use crate::delivery::context::{MemoryUsage, UploadContext};
use crate::delivery::ledger::{Failure, FailureClass, Ledger, Totals, WriteReport};
use crate::delivery::watch::{SessionWatch, WriteEnd};
use crate::limits::{MAX_TABLE_NAME_BYTES, MAX_TABLE_NAMES_BYTES, MAX_TABLES, REMEMBERED_TABLE_BYTES};
use crate::message::{Inspector, InvalidMessage, name_too_long};
use crate::policy::metrics::OpenSession;
use crate::policy::resources::MemoryHold;
use crate::policy::tenant_log::Line;
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// What a session takes of its tenant's for as long as it is there.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) _session: Option<OpenSession>,
    pub(super) memory: MemoryHold,
}

/// An opened destination: lanes, store connection, books. Dropping it ends its lanes.
#[derive(Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lanes: Vec<Lane>,
    splittable: bool,
    uploads: Arc<UploadContext>,
    homes: Mutex<Homes>,
    receipt_bytes: u64,
    quarantine_rows: u64,
    commit: Option<SessionCommit>,
    catalog: Option<SessionCatalog>,
    watch: Arc<SessionWatch>,
    writing: AtomicBool,
    /// Writes so far.
    writes: AtomicU64,
    room: Room,
}

/// The lane that each table lives on, from write to write: its guest may have reserved a key for the table's first rows.
#[derive(Debug, Default)]
struct Homes {
    of_table: HashMap<Arc<str>, usize>,
    next: usize,
    /// Bytes of the names.
    bytes: usize,
    hold: MemoryHold,
}

impl Homes {
    /// Forgets what earlier writes have left here, if that is as much as there may be. Never while tables have objects open: what is lost is
    /// that empty objects are written over.
    fn begin_write(&mut self) {
        if self.of_table.len() > MAX_TABLES || self.bytes > MAX_TABLE_NAMES_BYTES {
            self.of_table = HashMap::new();
            self.hold.clear();
            self.bytes = 0;
        }
    }

    /// The lane of a table, of so many lanes. Where there is no memory to remember it, the name tells.
    fn lane_of(&mut self, table: &Arc<str>, lanes: usize) -> usize {
        if let Some(lane) = self.of_table.get(table) {
            return *lane;
        }
        if !self.hold.grow(table.len() as u64 + REMEMBERED_TABLE_BYTES) {
            let mut hasher = DefaultHasher::new();
            table.hash(&mut hasher);
            return usize::try_from(hasher.finish() % lanes as u64).unwrap_or_default();
        }
        self.bytes += table.len();
        self.next = (self.next + 1) % lanes;
        self.of_table.insert(table.clone(), self.next);
        self.next
    }
}

impl Inner {
    fn homes(&self) -> MutexGuard<'_, Homes> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another write is running.
#[derive(Debug, thiserror::Error)]
#[error("plugin already in use")]
pub struct InUse;

impl Session {
    /// A session on these lanes. `splittable`: rows of one table may go into several objects at the same time. Of each write so many bytes of
    /// receipts are kept, and of each of its tables so many rows may be in quarantine.
    pub(super) fn new(
        lanes: Vec<Lane>,
        splittable: bool,
        uploads: Arc<UploadContext>,
        (receipt_bytes, quarantine_rows): (u64, u64),
        (commit, catalog): (Option<SessionCommit>, Option<SessionCatalog>),
        watch: SessionWatch,
        room: Room,
    ) -> Self {
        let homes = Mutex::new(Homes { hold: room.memory.another(), ..Homes::default() });
        let (watch, writing, writes) = (Arc::new(watch), AtomicBool::new(false), AtomicU64::new(0));
        let inner =
            Inner { lanes, splittable, uploads, homes, receipt_bytes, quarantine_rows, commit, catalog, watch, writing, writes, room };
        Self { inner: Arc::new(inner) }
    }

    /// Begins a write. One at a time.
    ///
    /// # Errors
    /// [`InUse`].
    pub fn write(&self) -> Result<Write, InUse> {
        if self.inner.writing.swap(true, Ordering::AcqRel) {
            return Err(InUse);
        }
        self.inner.homes().begin_write();
        let books = || self.inner.room.memory.another();
        let ledger = Ledger::new(self.inner.uploads.tenant().cloned(), books(), self.inner.receipt_bytes);
        let ledger = Arc::new(ledger.with_quarantine(self.inner.quarantine_rows).watched(self.inner.watch.begin()));
        for lane in &self.inner.lanes {
            lane.send(Work::Begin(ledger.clone()));
        }
        let number = self.inner.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let (inspector, tables) = (Inspector::new(books()), OpenTables::new(number, books()));
        Ok(Write { inner: self.inner.clone(), ledger, inspector, tables, last: None, ended: false })
    }

    /// Ends the session. A write has ended before (its end waits for the store), so nothing is left to wait for but the lanes.
    pub async fn close(self) {
        let lanes = self.inner.lanes.iter().map(|lane| lane.ask(Work::Abort));
        futures::future::join_all(lanes).await;
    }

    /// What is staged in memory, spilled, and in flight, in bytes.
    pub fn held_bytes(&self) -> MemoryUsage {
        self.inner.uploads.held_bytes()
    }
}

/// One write. Dropping it aborts what it has open, in the background; [`Write::abort`] does so and waits.
#[derive(Debug)]
pub struct Write {
    inner: Arc<Inner>,
    ledger: Arc<Ledger>,
    inspector: Inspector,
    tables: OpenTables,
    last: Option<Kind>,
    ended: bool,
}

/// Ends a write, or what is left of it, at once: nobody waits for the store any more, and finished objects that it has not yet confirmed
/// are aborted too. The session is of no more use.
#[derive(Debug, Clone)]
pub struct Halt {
    ledger: Arc<Ledger>,
    uploads: Arc<UploadContext>,
}

impl Halt {
    /// Ends it. [`Write::abort`] or [`Write::finish`] then soon returns.
    pub fn now(&self) {
        self.ledger.give_up();
        self.uploads.halt();
    }

    /// Waits for `end`, the end of the write; once `stop` is cancelled, halts the write first.
    pub async fn unless_stopped<T>(&self, stop: &CancellationToken, end: impl Future<Output = T>) -> T {
        tokio::pin!(end);
        tokio::select! {
            biased;
            () = stop.cancelled() => self.now(),
            ended = &mut end => return ended,
        }
        end.await
    }

    /// Ends it where nobody waits for anything: guests are stopped where they are, and [`Write::abort`] returns although the store has not
    /// answered. What a tenant leaves to be aborted goes on by itself, within bounds.
    pub fn leave(&self) {
        self.ledger.give_up();
        self.uploads.leave();
    }
}

/// The type of a message. When it changes, rotating tables finish their objects, as in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Migrate,
    Insert,
    Refused,
}

impl Write {
    /// A table's schema. Waits while the table's lane is full.
    ///
    /// # Errors
    /// [`InvalidMessage`]. A table's own failure is reported by [`Write::finish`].
    pub async fn migrate_table(&mut self, ipc: Bytes) -> Result<(), InvalidMessage> {
        self.check_size(&ipc)?;
        let header = self.inspector.inspect(&ipc).await?;
        self.turn_to(Kind::Migrate);
        self.skip_if_committed(&header.table).await?;
        let schema = self.open_in_catalog(&header.table, &ipc).await?;
        if self.ledger.admit_message(&header.table, 0, ipc.len() as u64)? {
            let ipc = schema.map_or_else(|| Ok(ipc.clone()), |schema| with_schema(&ipc, &schema))?;
            let lane = self.home(&header.table);
            let message = lane.message(&header.table, ipc).await;
            lane.send(Work::Migrate(message));
        }
        Ok(())
    }

    /// Rows. Waits while the table's lane is full. Rows of a table that has failed are counted and dropped.
    ///
    /// # Errors
    /// [`InvalidMessage`].
    pub async fn insert(&mut self, ipc: Bytes) -> Result<(), InvalidMessage> {
        self.check_size(&ipc)?;
        let header = self.inspector.inspect(&ipc).await?;
        self.turn_to(Kind::Insert);
        self.skip_if_committed(&header.table).await?;
        let schema = self.open_in_catalog(&header.table, &ipc).await?;
        if !self.ledger.admit_message(&header.table, header.rows, ipc.len() as u64)? {
            return Ok(());
        }
        let ipc = schema.map_or_else(|| Ok(ipc.clone()), |schema| with_schema(&ipc, &schema))?;
        let home = self.home(&header.table);
        let (lane, message) = match home.try_message(&header.table, ipc) {
            Ok(message) => (home, message),
            Err(ipc) => match self.helper(&header.table) {
                Some(lane) => {
                    let message = lane.message(&header.table, ipc).await;
                    (lane, message)
                }
                None => {
                    let message = home.message(&header.table, ipc).await;
                    (home, message)
                }
            },
        };
        lane.send(Work::Insert(message));
        Ok(())
    }

    /// A message that this destination refuses (`DeleteStale`, `DeleteRecords`): a change of message type, and a failure that
    /// [`Write::finish`] reports for the table, whose rows go on as before.
    ///
    /// # Errors
    /// [`InvalidMessage`]: no table has such a name, or there are too many.
    pub async fn refuse(&mut self, table: &str, reason: &str) -> Result<(), InvalidMessage> {
        if table.len() > MAX_TABLE_NAME_BYTES {
            return Err(name_too_long(table));
        }
        self.turn_to(Kind::Refused);
        self.ledger.refuse(&table.into(), Failure::new(FailureClass::Data, reason))
    }

    /// The source could not send all rows of a table, and goes on with others. Where the write makes a commit, the table is no part of it and has
    /// failed: it would be committed without those rows for ever. Otherwise nothing follows.
    ///
    /// # Errors
    /// As [`Write::refuse`].
    pub async fn fall_short(&mut self, table: &str, reason: &str) -> Result<(), InvalidMessage> {
        if self.inner.commit.is_none() && self.inner.catalog.is_none() {
            return Ok(());
        }
        if table.len() > MAX_TABLE_NAME_BYTES {
            return Err(name_too_long(table));
        }
        let table: Arc<str> = table.into();
        self.skip_if_committed(&table).await?;
        if self.ledger.admit(&table, 0)? {
            let message = format!("the source could not send all of its rows, so that it is no part of the commit: {reason}");
            self.ledger.fail(&table, Failure::new(FailureClass::Source, message));
        }
        Ok(())
    }

    /// What ends this write from beside it, when there is no time to wait for the store.
    pub fn halt(&self) -> Halt {
        Halt { ledger: self.ledger.clone(), uploads: self.inner.uploads.clone() }
    }

    /// The tables that have failed so far, in the order in which they failed.
    pub fn failures(&self) -> Vec<(Arc<str>, Failure)> {
        self.ledger.failures()
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// The books, for a progress bar that runs beside the write.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// The input has ended well: finishes every object, awaits the store, and closes the books.
    pub async fn finish(mut self) -> WriteReport {
        self.ask_all(Work::End).await;
        self.ledger.settled().await;
        if let Some(commit) = &self.inner.commit {
            if self.ledger.is_given_up() { commit.discard().await } else { commit.publish(&self.ledger).await }
        }
        let mut report = self.ledger.audit();
        if let Some(commit) = &self.inner.commit
            && !self.ledger.is_given_up()
        {
            commit.conclude(&mut report).await;
        }
        if let Some(catalog) = &self.inner.catalog
            && !self.ledger.is_given_up()
        {
            catalog.commit(&self.tables, &mut report).await;
        }
        let how = if self.ledger.is_given_up() { WriteEnd::GivenUp } else { WriteEnd::Finished };
        self.ledger.report_end(Some(&report), how);
        self.end();
        report
    }

    /// The input has ended badly: aborts every open object, awaits the finished ones, claims nothing.
    pub async fn abort(mut self) {
        // No lane is to work off its queue first, nor to wait for a slow store.
        self.ledger.give_up();
        self.ask_all(Work::Abort).await;
        self.ledger.settled().await;
        if let Some(commit) = &self.inner.commit {
            commit.discard().await;
        }
        self.ledger.report_end(None, WriteEnd::GivenUp);
        self.end();
    }

    /// Looks, at the first message of a table, whether an earlier attempt has committed it.
    async fn skip_if_committed(&self, table: &Arc<str>) -> Result<(), InvalidMessage> {
        let Some(commit) = self.inner.commit.as_ref().filter(|_| !self.ledger.knows(table)) else { return Ok(()) };
        match commit.earlier(table).await {
            Ok(None) => Ok(()),
            Ok(Some(attempt)) => {
                if let Some(Line { tenant, more }) = Line::notable(self.inner.uploads.tenant().map(|tenant| &**tenant)) {
                    tracing::info!(tenant, more, table = &**table, attempt, "The table is already committed: its rows are left out.");
                }
                self.ledger.skip(table, attempt)
            }
            Err(failure) => {
                self.ledger.admit(table, 0)?;
                self.ledger.fail(table, failure);
                Ok(())
            }
        }
    }

    /// Opens a table in the catalog, where there is one: what is to take the place of the schema of the message. A table that cannot be opened has
    /// failed, and one that has the commit is skipped.
    async fn open_in_catalog(&mut self, table: &Arc<str>, ipc: &Bytes) -> Result<Option<Bytes>, InvalidMessage> {
        let Some(catalog) = self.inner.catalog.as_ref().filter(|_| self.ledger.takes_rows(table)) else { return Ok(None) };
        match catalog.open(&mut self.tables, table, ipc).await {
            Ok(Found::Takes(schema)) => Ok(Some(schema)),
            Ok(Found::Committed(snapshot)) => {
                if let Some(Line { tenant, more }) = Line::notable(self.inner.uploads.tenant().map(|tenant| &**tenant)) {
                    tracing::info!(tenant, more, table = &**table, snapshot, "The table has this commit already: its rows are left out.");
                }
                self.ledger.skip(table, format!("snapshot {snapshot}")).map(|()| None)
            }
            Err(failure) => {
                self.ledger.admit(table, 0)?;
                self.ledger.fail(table, failure);
                Ok(None)
            }
        }
    }

    /// Holds a tenant to its grant; a user's messages are bounded by the protocol, and by the guest.
    fn check_size(&self, ipc: &Bytes) -> Result<(), InvalidMessage> {
        let policy = self.inner.uploads.policy();
        match policy.tenant() {
            Some(tenant) if ipc.len() as u64 > tenant.grant.message_bytes() => {
                let denied = tenant.grant.message_too_large();
                policy.audit_denial(&denied, None);
                Err(InvalidMessage(denied.message))
            }
            _ => Ok(()),
        }
    }

    /// A change of message type puts a barrier into every lane's queue; nobody waits for it.
    fn turn_to(&mut self, kind: Kind) {
        if self.last.replace(kind).is_some_and(|last| last != kind) {
            for lane in &self.inner.lanes {
                lane.send(Work::Barrier);
            }
        }
    }

    /// The lane a table lives on; tables are dealt out in turn.
    fn home(&self, table: &Arc<str>) -> Lane {
        let lanes = &self.inner.lanes;
        lanes[self.inner.homes().lane_of(table, lanes.len())].clone()
    }

    /// A lane with nothing to do that may help with a table whose home is full: only where rows of one table may go into several objects
    /// at the same time, and only once the home has opened one.
    fn helper(&self, table: &Arc<str>) -> Option<Lane> {
        (self.inner.splittable && self.ledger.has_opened(table))
            .then(|| self.inner.lanes.iter().find(|lane| lane.is_idle()).cloned())
            .flatten()
    }

    async fn ask_all(&self, work: fn(tokio::sync::oneshot::Sender<()>) -> Work) {
        futures::future::join_all(self.inner.lanes.iter().map(|lane| lane.ask(work))).await;
    }

    fn end(&mut self) {
        self.ended = true;
        self.inner.writing.store(false, Ordering::Release);
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.ledger.give_up();
        let (inner, ledger) = (self.inner.clone(), self.ledger.clone());
        let aborting = async move {
            futures::future::join_all(inner.lanes.iter().map(|lane| lane.ask(Work::Abort))).await;
            ledger.settled().await;
            if let Some(commit) = &inner.commit {
                commit.discard().await;
            }
            ledger.report_end(None, WriteEnd::GivenUp);
            inner.writing.store(false, Ordering::Release);
        };
        self.inner.uploads.io().spawn(aborting.in_current_span());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::resources::Resources;
    use std::num::NonZeroU32;

    #[test]
    fn a_table_keeps_its_lane_whether_there_is_memory_to_remember_it_or_not() {
        let budget = Resources::new(NonZeroU32::MIN, Some(1_000)).budget;
        let mut homes = Homes { hold: budget.hold(), ..Homes::default() };
        let names: Vec<Arc<str>> = (0..100).map(|number| format!("table{number}").into()).collect();
        let first: Vec<usize> = names.iter().map(|name| homes.lane_of(name, 4)).collect();
        assert!(homes.of_table.len() < 4 && budget.used_bytes() <= 1_000);
        assert_eq!(names.iter().map(|name| homes.lane_of(name, 4)).collect::<Vec<_>>(), first);
        assert!((0..4).all(|lane| first.contains(&lane)), "{first:?}");
    }

    #[test]
    fn names_of_earlier_writes_are_forgotten_once_they_are_too_many() {
        let budget = Resources::new(NonZeroU32::MIN, None).budget;
        let mut homes = Homes { hold: budget.hold(), ..Homes::default() };
        let name = |number: usize| -> Arc<str> { format!("{number:04096}").into() };
        let mut known = 0;
        while homes.bytes <= MAX_TABLE_NAMES_BYTES {
            homes.lane_of(&name(known), 2);
            known += 1;
        }
        assert_eq!(known, MAX_TABLE_NAMES_BYTES / 4_096 + 1);
        homes.begin_write();
        assert_eq!((homes.of_table.len(), homes.bytes, budget.used_bytes()), (0, 0, 0));
        homes.lane_of(&name(0), 2);
        homes.begin_write();
        assert_eq!(homes.of_table.len(), 1, "few are kept");
    }
}
