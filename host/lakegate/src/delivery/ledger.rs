//! Rows in, rows claimed, rows confirmed: the books of a write, per table.
//!
//! A table has done well only if, at the end, rows in = rows claimed by finished objects = rows in objects that the store has confirmed. Those in
//! quarantine count among them, and are listed apart.
//! The first cause of a table's failure is kept and logged; what comes after it follows from it, or from a component that goes on and on.

use super::watch::{TableEnded, WriteEnd, WriteWatch};
use crate::limits::{MAX_FAILURE_BYTES, MAX_FAILURES_BYTES, MAX_TABLE_NAMES_BYTES, MAX_TABLES, TABLE_BOOK_BYTES};
use crate::message::{InvalidMessage, invalid};
use crate::policy::resources::MemoryHold;
use crate::policy::tenant::Tenant;
use crate::policy::tenant_log::Line;
use crate::storage::checksum::Checksum;
use crate::storage::object::ObjectKey;
use crate::storage::target::{ColumnFacts, ObjectFacts};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// An object that the store has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The table whose rows it holds.
    pub table: String,
    /// Where it is.
    pub key: ObjectKey,
    /// Bytes of the object.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// The store's ETag.
    pub etag: String,
    /// Where known.
    pub checksum: Option<Checksum>,
    /// Whether the object was there before this sync, with the same bytes.
    pub was_there: bool,
    /// The partition of its rows: names and values.
    pub partition: Vec<(String, Option<String>)>,
    /// What the component says of its content.
    pub facts: ObjectFacts,
}

/// Memory of a partition's value beside its texts.
const PARTITION_VALUE_BYTES: usize = 48;

/// What an object holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Content {
    /// Rows of its table.
    #[default]
    Data,
    /// Rows that could not be written.
    Quarantine,
}

/// The calls of a guest that concern one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Its schema.
    Migrate,
    /// Its rows.
    Insert,
}

/// Whose fault a table's failure is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// A bug of ours, or of the component (a trap).
    Unexpected,
    /// The policy does not allow it.
    Denied,
    /// The store failed or refused, or a storage limit is reached.
    Storage,
    /// The rows, their schema, or the table's name.
    Data,
    /// Where the rows come from: not all of them came in.
    Source,
}

impl FailureClass {
    /// In machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Denied => "denied",
            Self::Storage => "storage",
            Self::Data => "data",
            Self::Source => "source",
        }
    }
}

/// Why a table failed: its first cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// For the user.
    pub message: String,
}

impl Failure {
    /// A failure of a class.
    ///
    /// A component may say what it likes: the message is cut at [`MAX_FAILURE_BYTES`].
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_FAILURE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_FAILURE_BYTES));
            message.push('…');
        }
        Self { class, message }
    }
}

/// How one table fared in a write.
#[derive(Debug, Clone, Default)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// Rows that came in.
    pub rows_in: u64,
    /// Bytes of the messages that they came in.
    pub bytes_in: u64,
    /// Rows in confirmed objects.
    pub rows_confirmed: u64,
    /// Confirmed objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The confirmed objects, in the order they were confirmed: as many as the session's options have room for.
    pub receipts: Vec<Receipt>,
    /// The rows that could not be written. They and their objects are not counted above.
    pub quarantine: QuarantineReport,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Its place among the failures.
    pub failed_as: u64,
    /// The attempt that has committed the table before this write, which took none of its rows: empty if nothing names it.
    pub committed_before: Option<String>,
    /// The key of the manifest that this write has made of it.
    pub manifest: Option<String>,
    /// What became of its objects in the catalog; of a table that has failed, those of them to which nothing refers.
    pub catalog: Option<CatalogCommit>,
    /// When the first message of it came in, and when something last happened to it.
    pub times: Option<(SystemTime, SystemTime)>,
}

/// A commit that is in the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogCommit {
    /// The table, with its namespace.
    pub table: String,
    /// Its snapshot; [`None`]: there were no objects, and nothing was written.
    pub snapshot_id: Option<i64>,
    /// Whether it was there before: then the objects of this attempt are no part of it, unless they are the same.
    pub was_there: bool,
    /// Commits that were sent.
    pub attempts: u32,
    /// Objects to which nothing refers. They stay.
    pub orphans: Vec<String>,
    /// Objects of which that is not known, and which must not be deleted.
    pub unsettled: Vec<String>,
}

/// Rows of a table that could not be written, and lie in quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineReport {
    /// Rows in confirmed objects.
    pub rows: u64,
    /// Confirmed objects.
    pub objects: u64,
    /// As many of them as the session's options have room for.
    pub receipts: Vec<Receipt>,
}

/// How a write fared, table by table, in the order the tables first appeared.
#[derive(Debug, Clone, Default)]
pub struct WriteReport {
    /// Every table seen.
    pub tables: Vec<TableReport>,
}

impl WriteReport {
    /// The tables that failed, in the order in which they failed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        let mut failed: Vec<_> = self.tables.iter().filter(|table| table.failure.is_some()).collect();
        failed.sort_by_key(|table| table.failed_as);
        failed.into_iter().filter_map(|table| Some((table.table.as_str(), table.failure.as_ref()?)))
    }

    /// What there is to say of a write that was given up: the tables that had `failed` by themselves before, and those with objects in the bucket.
    /// Nothing is claimed of their other rows.
    #[must_use]
    pub fn landed(mut self, failed: &[(Arc<str>, Failure)]) -> Self {
        // What failed afterwards was cut off.
        let failed: HashMap<&str, &Failure> = failed.iter().map(|(table, failure)| (&**table, failure)).collect();
        self.tables.iter_mut().for_each(|table| table.failure = failed.get(table.table.as_str()).map(|failure| (*failure).clone()));
        self.tables.retain(|table| table.failure.is_some() || table.objects + table.quarantine.objects > 0);
        self
    }
}

impl WriteReport {
    /// A table fails after the books were closed.
    pub(crate) fn fail(&mut self, number: usize, failure: Failure) {
        let failures = self.tables.iter().filter(|table| table.failure.is_some()).map(|table| table.failed_as + 1).max();
        if let Some(table) = self.tables.get_mut(number).filter(|table| table.failure.is_none()) {
            (table.failed_as, table.failure) = (failures.unwrap_or_default(), Some(failure));
        }
    }
}

/// The target of log lines that tell of a table's failure as it happens. Who tells all failures at the end may leave them out.
pub const TABLES: &str = "lakegate::tables";

/// Running totals of a write, for a progress bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows that came in.
    pub rows: u64,
    /// Bytes of confirmed objects.
    pub bytes: u64,
    /// Confirmed objects.
    pub objects: u64,
    /// Tables that have failed so far.
    pub failed_tables: u64,
}

/// The books of one write.
#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Books>,
    settled: Notify,
    given_up: CancellationToken,
    /// Rows of a table that may be in quarantine.
    quarantine_rows: u64,
    /// Whose write it is.
    tenant: Option<Arc<Tenant>>,
    /// Who hears of it.
    watch: Option<Arc<WriteWatch>>,
}

#[derive(Debug, Default)]
struct Books {
    order: Vec<Arc<str>>,
    name_bytes: usize,
    accounts: HashMap<Arc<str>, Account>,
    failures: u64,
    unsettled: usize,
    totals: Totals,
    /// What the books take of the tenant's memory.
    hold: MemoryHold,
    /// Bytes of receipts that may still be kept.
    receipt_room: u64,
    /// Bytes of failures' words that are kept.
    failure_bytes: u64,
}

/// The log line of a table that takes no more rows.
const THE_TABLE_FAILED: &str = "The table failed.";

/// Stands for the words of a failure that there is no room for.
const IN_THE_LOG: &str = "the log has the cause: the words of this write's failures take all the memory that they may";

#[derive(Debug, Default)]
struct Account {
    rows_in: u64,
    bytes_in: u64,
    /// Those in quarantine among them.
    claimed: u64,
    confirmed: u64,
    objects: u64,
    bytes: u64,
    receipts: Vec<Receipt>,
    claimed_for_quarantine: u64,
    quarantine: QuarantineReport,
    failure: Option<(u64, Failure)>,
    stopped: bool,
    abandoned: bool,
    opened: bool,
    committed_before: Option<String>,
    times: Option<(SystemTime, SystemTime)>,
}

impl Books {
    /// The reports of all tables. They are moved, not copied: the books of a hundred thousand tables are not there twice.
    fn close(&mut self) -> Vec<TableReport> {
        let (order, mut accounts) = (std::mem::take(&mut self.order), std::mem::take(&mut self.accounts));
        let reports = order.iter().map(|table| accounts.remove(table).unwrap_or_default().report(table)).collect();
        self.hold.clear();
        reports
    }

    fn account(&mut self, table: &Arc<str>) -> &mut Account {
        if !self.accounts.contains_key(table) {
            self.order.push(table.clone());
            self.name_bytes += table.len();
        }
        self.accounts.entry(table.clone()).or_default()
    }

    /// Room for the table, should it be new.
    fn make_room(&mut self, table: &str) -> Result<(), InvalidMessage> {
        if self.accounts.contains_key(table) {
            return Ok(());
        }
        if self.order.len() >= MAX_TABLES {
            return Err(invalid(format!("a write has more than {MAX_TABLES} tables, which is all that are accepted")));
        }
        if self.name_bytes + table.len() > MAX_TABLE_NAMES_BYTES {
            return Err(invalid(format!(
                "the names of a write's tables have more than {MAX_TABLE_NAMES_BYTES} bytes, which is all that are accepted"
            )));
        }
        // The name is there once more in the report.
        let bytes = TABLE_BOOK_BYTES + 2 * table.len() as u64;
        self.hold.grow_for("another table of the write", bytes).map_err(|denied| invalid(denied.message))
    }

    /// True if this is news: the first cause of the table, or, after refused messages, what stops it.
    fn record(&mut self, table: &Arc<str>, mut failure: Failure, stop: bool) -> bool {
        let number = self.failures;
        if self.accounts.get(table).is_none_or(|account| account.failure.is_none()) {
            let bytes = failure.message.len() as u64;
            if self.failure_bytes + bytes > MAX_FAILURES_BYTES || !self.hold.grow(bytes) {
                IN_THE_LOG.clone_into(&mut failure.message);
            } else {
                self.failure_bytes += bytes;
            }
        }
        let account = self.account(table);
        account.happens();
        let stops = stop && !account.stopped;
        account.stopped |= stop;
        if account.failure.is_some() {
            return stops;
        }
        account.failure = Some((number, failure));
        self.failures += 1;
        true
    }
}

impl Ledger {
    /// Books of a tenant's write or a user's that take their memory from `hold`, and keep so many bytes of receipts.
    pub(crate) fn new(tenant: Option<Arc<Tenant>>, hold: MemoryHold, receipt_bytes: u64) -> Self {
        let books = Books { hold, receipt_room: receipt_bytes, ..Books::default() };
        Self { books: Mutex::new(books), tenant, ..Self::default() }
    }

    /// The same books, which report to `watch`.
    pub(crate) fn watched(self, watch: WriteWatch) -> Self {
        Self { watch: Some(Arc::new(watch)), ..self }
    }

    /// Who hears of the write.
    pub(crate) fn watch(&self) -> Option<&Arc<WriteWatch>> {
        self.watch.as_ref()
    }

    /// Tells of all tables, whose uploads are settled, and of the end of the write. `report` has the tables; without one, the books are open because
    /// the write was given up.
    pub(crate) fn report_end(&self, report: Option<&WriteReport>, how: WriteEnd) {
        let Some(observer) = self.watch.as_ref().and_then(|watch| watch.observer.as_ref()) else { return };
        match report {
            Some(report) => report.tables.iter().for_each(|table| observer.table(&table.ended())),
            None => {
                let books = self.books();
                let accounts = books.order.iter().filter_map(|table| books.accounts.get_key_value(table));
                accounts.for_each(|(table, account)| observer.table(&account.ended(table)));
            }
        }
        observer.end(how);
    }

    /// The same where so many rows of a table may be in quarantine.
    pub(crate) fn with_quarantine(self, rows: u64) -> Self {
        Self { quarantine_rows: rows, ..self }
    }

    /// Tells of a table's failure. A tenant has as many tables as it likes to name.
    fn log_failure(&self, table: &str, error: &str, what: &str) {
        if let Some(Line { tenant, more }) = Line::table_failure(self.tenant.as_deref()) {
            tracing::error!(target: TABLES, tenant, more, table, error, "{what}");
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic elsewhere leaves the books as they were between two lines; they are still the best account there is.
        self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// As [`Ledger::admit_message`], for what is no message.
    ///
    /// # Errors
    /// There are too many tables.
    pub(crate) fn admit(&self, table: &Arc<str>, rows: u64) -> Result<bool, InvalidMessage> {
        self.admit_message(table, rows, 0)
    }

    /// Rows (or, with 0, a schema) of a table came in, in a message of so many bytes. False if the table has failed: the rows are then not to be
    /// sent on.
    ///
    /// # Errors
    /// There are too many tables.
    pub(crate) fn admit_message(&self, table: &Arc<str>, rows: u64, bytes: u64) -> Result<bool, InvalidMessage> {
        let mut books = self.books();
        books.make_room(table)?;
        // What headers claim may add up to anything.
        books.totals.rows = books.totals.rows.saturating_add(rows);
        let account = books.account(table);
        if account.committed_before.is_some() {
            return Ok(false);
        }
        account.rows_in = account.rows_in.saturating_add(rows);
        account.bytes_in = account.bytes_in.saturating_add(bytes);
        account.happens();
        Ok(!account.stopped)
    }

    /// The table was committed before: none of its rows are wanted, and none are missing.
    ///
    /// # Errors
    /// There are too many tables.
    pub(crate) fn skip(&self, table: &Arc<str>, attempt: String) -> Result<(), InvalidMessage> {
        let mut books = self.books();
        books.make_room(table)?;
        books.account(table).committed_before = Some(attempt);
        Ok(())
    }

    /// The write will end badly: nothing more of it is wanted, and what waits for the store need not.
    pub(crate) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// True once the write has been given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.is_cancelled()
    }

    /// Waits until the write is given up; most never are.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// False if nothing more of the table is wanted: it has failed, it was committed before, or the whole write has been given up.
    pub(crate) fn takes_rows(&self, table: &str) -> bool {
        let takes = |account: &Account| !account.stopped && account.committed_before.is_none();
        !self.is_given_up() && self.books().accounts.get(table).is_none_or(takes)
    }

    /// True if the table has failed, or the whole write has been given up.
    pub(crate) fn is_stopped(&self, table: &str) -> bool {
        self.is_given_up() || self.books().accounts.get(table).is_some_and(|account| account.stopped)
    }

    /// True if an object for rows of the table has been opened.
    pub(crate) fn has_opened(&self, table: &str) -> bool {
        self.books().accounts.get(table).is_some_and(|account| account.opened)
    }

    /// An upload of the table begins; the write does not end before it is settled. An object of a schema alone has no rows: its key is
    /// reserved for the first ones, which belong to the same lane.
    pub(crate) fn begin_upload(self: &Arc<Self>, table: &Arc<str>, call: Call) -> Unsettled {
        let mut books = self.books();
        books.unsettled += 1;
        books.account(table).opened |= call == Call::Insert;
        Unsettled(self.clone())
    }

    /// A finished object claims to hold rows of the table.
    ///
    /// # Errors
    /// More are claimed than came in, or than may be in quarantine. The table has then failed.
    pub(crate) fn claim(&self, table: &Arc<str>, rows: u64, content: Content) -> Result<(), Failure> {
        let mut books = self.books();
        let account = books.account(table);
        let claimed = account.claimed.saturating_add(rows);
        let in_quarantine = account.claimed_for_quarantine.saturating_add(if content == Content::Quarantine { rows } else { 0 });
        let failure = if claimed > account.rows_in {
            let message = format!("the component claims {claimed} rows of {} that came in", account.rows_in);
            Failure::new(FailureClass::Unexpected, message)
        } else if in_quarantine > self.quarantine_rows {
            let most = self.quarantine_rows;
            let message = format!("{in_quarantine} of its rows cannot be written, and `quarantine.max_rows` has room for {most}");
            Failure::new(FailureClass::Data, message)
        } else {
            (account.claimed, account.claimed_for_quarantine) = (claimed, in_quarantine);
            return Ok(());
        };
        drop(books);
        self.fail(table, failure.clone());
        Err(failure)
    }

    /// The store has confirmed an object.
    pub(crate) fn confirm(&self, table: &Arc<str>, receipt: Receipt, content: Content) {
        let mut books = self.books();
        books.totals.bytes += receipt.bytes;
        books.totals.objects += 1;
        let bytes = receipt.kept_bytes();
        let kept = books.receipt_room.checked_sub(bytes).filter(|_| books.hold.grow(bytes));
        books.receipt_room = kept.unwrap_or(books.receipt_room);
        let account = books.account(table);
        account.happens();
        let receipts = match content {
            Content::Data => {
                account.confirmed += receipt.rows;
                account.objects += 1;
                account.bytes += receipt.bytes;
                &mut account.receipts
            }
            Content::Quarantine => {
                account.quarantine.rows += receipt.rows;
                account.quarantine.objects += 1;
                &mut account.quarantine.receipts
            }
        };
        if kept.is_some() {
            receipts.push(receipt);
        }
    }

    /// The table fails and takes no more rows.
    pub(crate) fn fail(&self, table: &Arc<str>, failure: Failure) {
        let message = failure.message.clone();
        let news = self.books().record(table, failure, true);
        // What ends once the write is given up was cut off by us; the cause is the write's, and is logged once.
        if news && !self.is_given_up() {
            self.log_failure(table, &message, THE_TABLE_FAILED);
        }
    }

    /// True if rows, a schema or a refused message of the table came in.
    pub(crate) fn knows(&self, table: &str) -> bool {
        self.books().accounts.contains_key(table)
    }

    /// True once for a table: the lanes besides the one that asks are to drop what they have of it.
    pub(crate) fn take_abandon(&self, table: &Arc<str>) -> bool {
        !std::mem::replace(&mut self.books().account(table).abandoned, true)
    }

    /// A message about the table is refused; its rows go on.
    ///
    /// # Errors
    /// There are too many tables.
    pub(crate) fn refuse(&self, table: &Arc<str>, failure: Failure) -> Result<(), InvalidMessage> {
        let message = failure.message.clone();
        let news = {
            let mut books = self.books();
            books.make_room(table)?;
            books.record(table, failure, false)
        };
        if news {
            self.log_failure(table, &message, "A message is refused.");
        }
        Ok(())
    }

    /// Waits until every upload is settled: confirmed, failed, or aborted.
    pub(crate) async fn settled(&self) {
        loop {
            let change = self.settled.notified();
            if self.books().unsettled == 0 {
                return;
            }
            change.await;
        }
    }

    /// The tables that have failed so far, in the order in which they failed.
    pub fn failures(&self) -> Vec<(Arc<str>, Failure)> {
        let books = self.books();
        let failed = books.accounts.iter().filter_map(|(table, account)| Some((table, account.failure.as_ref()?)));
        let mut failed: Vec<_> = failed.collect();
        failed.sort_by_key(|(_, (number, _))| *number);
        failed.into_iter().map(|(table, (_, failure))| (table.clone(), failure.clone())).collect()
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        let books = self.books();
        Totals { failed_tables: books.failures, ..books.totals }
    }

    /// Closes the books of a write that came to no good end, for [`WriteReport::landed`]. To be asked once every upload is settled.
    pub fn landed(&self, failed: &[(Arc<str>, Failure)]) -> WriteReport {
        WriteReport { tables: self.books().close() }.landed(failed)
    }

    /// The tables that were not committed before, and the rows that came in of each; one whose objects do not claim all of them has failed.
    pub(crate) fn claimed_tables(&self) -> Vec<(Arc<str>, u64)> {
        let accounts: Vec<(Arc<str>, u64, u64)> = {
            let books = self.books();
            let account = |table: &Arc<str>| books.accounts.get(table).map(|account| (table.clone(), account.rows_in, account.claimed));
            let is_wanted = |table: &&Arc<str>| books.accounts.get(*table).is_some_and(|account| account.committed_before.is_none());
            books.order.iter().filter(is_wanted).filter_map(account).collect()
        };
        for (table, rows_in, claimed) in accounts.iter().filter(|(_, rows_in, claimed)| rows_in != claimed) {
            let message = format!("the books do not add up: {rows_in} rows in, {claimed} claimed");
            self.fail(table, Failure::new(FailureClass::Unexpected, message));
        }
        accounts.into_iter().map(|(table, rows_in, _)| (table, rows_in)).collect()
    }

    /// Closes the books: a table whose rows do not add up has failed.
    pub(crate) fn audit(&self) -> WriteReport {
        let mut books = self.books();
        for table in books.order.clone() {
            let account = books.account(&table);
            let (rows_in, claimed, confirmed, quarantined) = (account.rows_in, account.claimed, account.confirmed, account.quarantine.rows);
            if account.failure.is_none() && !(rows_in == claimed && claimed == confirmed.saturating_add(quarantined)) {
                let in_quarantine = if quarantined > 0 { format!(", {quarantined} in quarantine") } else { String::new() };
                let message =
                    format!("the books do not add up: {rows_in} rows in, {claimed} claimed, {confirmed} confirmed{in_quarantine}");
                if !self.is_given_up() {
                    self.log_failure(&table, &message, THE_TABLE_FAILED);
                }
                books.record(&table, Failure::new(FailureClass::Unexpected, message), true);
            }
        }
        WriteReport { tables: books.close() }
    }
}

impl Receipt {
    /// Bytes that it takes in memory, about.
    fn kept_bytes(&self) -> u64 {
        let texts = self.table.len() + self.key.as_str().len() + self.etag.len() + self.checksum.as_ref().map_or(0, |sum| sum.value.len());
        let partition =
            self.partition.iter().map(|(name, value)| PARTITION_VALUE_BYTES + name.len() + value.as_ref().map_or(0, String::len));
        let bound = |bound: &Option<Vec<u8>>| bound.as_ref().map_or(0, Vec::len);
        let column = |it: &ColumnFacts| size_of::<ColumnFacts>() + it.path.len() + bound(&it.lower) + bound(&it.upper);
        let facts = self.facts.columns.iter().map(column).sum::<usize>() + self.facts.split_offsets.len() * size_of::<u64>();
        (size_of::<Self>() + texts + partition.sum::<usize>() + facts) as u64
    }
}

impl TableReport {
    fn ended(&self) -> TableEnded<'_> {
        TableEnded {
            table: &self.table,
            times: self.times,
            rows_in: self.rows_in,
            bytes_in: self.bytes_in,
            rows_confirmed: self.rows_confirmed,
            bytes: self.bytes,
            objects: self.objects,
            failure: self.failure.as_ref().map(|failure| (failure.class.name(), failure.message.as_str())),
        }
    }
}

impl Account {
    /// Something happens to the table.
    fn happens(&mut self) {
        let now = lakegate_base::clock::now();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
    }

    /// Of a write that is given up.
    fn ended<'a>(&'a self, table: &'a str) -> TableEnded<'a> {
        let failure = self.failure.as_ref().map(|(_, failure)| (failure.class.name(), failure.message.as_str()));
        let given_up = (self.confirmed < self.rows_in).then_some(("given_up", "the write was given up"));
        TableEnded {
            table,
            times: self.times,
            rows_in: self.rows_in,
            bytes_in: self.bytes_in,
            rows_confirmed: self.confirmed,
            bytes: self.bytes,
            objects: self.objects,
            failure: failure.or(given_up),
        }
    }

    fn report(self, table: &str) -> TableReport {
        let (failed_as, failure) = self.failure.map_or((0, None), |(number, failure)| (number, Some(failure)));
        TableReport {
            table: table.to_owned(),
            rows_in: self.rows_in,
            bytes_in: self.bytes_in,
            rows_confirmed: self.confirmed,
            objects: self.objects,
            bytes: self.bytes,
            receipts: self.receipts,
            quarantine: self.quarantine,
            failure,
            failed_as,
            committed_before: self.committed_before,
            manifest: None,
            catalog: None,
            times: self.times,
        }
    }
}

/// An upload that is not settled yet; dropping it settles it.
#[derive(Debug)]
pub(crate) struct Unsettled(Arc<Ledger>);

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.0.books().unsettled -= 1;
        self.0.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::resources::Resources;
    use std::num::NonZeroU32;

    fn receipt(rows: u64) -> Receipt {
        Receipt {
            table: "t".into(),
            key: ObjectKey::parse("t/1").unwrap(),
            bytes: 10,
            rows,
            etag: "e".into(),
            checksum: None,
            was_there: false,
            partition: Vec::new(),
            facts: ObjectFacts::default(),
        }
    }

    #[track_caller]
    fn check(rows_in: u64, claimed: u64, confirmed: u64, failure: Option<&str>) {
        let (ledger, table) = (Ledger::default(), Arc::from("t"));
        ledger.admit(&table, rows_in).unwrap();
        let claim = ledger.claim(&table, claimed, Content::Data);
        if confirmed > 0 {
            ledger.confirm(&table, receipt(confirmed), Content::Data);
        }
        let report = ledger.audit();
        assert_eq!(report.failures().map(|(_, failure)| failure.message.as_str()).next(), failure);
        assert_eq!(claim.is_err(), claimed > rows_in);
    }

    #[test]
    fn rows_add_up_or_the_table_fails() {
        check(5, 5, 5, None);
        check(0, 0, 0, None);
        check(5, 4, 4, Some("the books do not add up: 5 rows in, 4 claimed, 4 confirmed"));
        check(5, 5, 0, Some("the books do not add up: 5 rows in, 5 claimed, 0 confirmed"));
        check(5, 6, 6, Some("the component claims 6 rows of 5 that came in"));
    }

    #[test]
    fn rows_in_quarantine_add_up_with_the_others_and_only_so_many_may_be_there() {
        // Rows in, then data and quarantine as claimed and as confirmed.
        let check = |rows_in: u64, claimed: [u64; 2], confirmed: [u64; 2], failure: Option<&str>| {
            let ledger = Ledger::new(None, MemoryHold::default(), 1 << 20).with_quarantine(3);
            let table = Arc::from("t");
            ledger.admit(&table, rows_in).unwrap();
            for ((content, claimed), confirmed) in [Content::Data, Content::Quarantine].into_iter().zip(claimed).zip(confirmed) {
                if ledger.claim(&table, claimed, content).is_ok() && confirmed > 0 {
                    ledger.confirm(&table, receipt(confirmed), content);
                }
            }
            let report = ledger.audit();
            assert_eq!(report.failures().map(|(_, failure)| failure.message.as_str()).next(), failure);
            let found = &report.tables[0];
            if failure.is_none() {
                assert_eq!([found.rows_confirmed, found.quarantine.rows], confirmed);
                let objects = [(found.objects, found.receipts.len()), (found.quarantine.objects, found.quarantine.receipts.len())];
                assert_eq!(objects, confirmed.map(|rows| if rows > 0 { (1, 1) } else { (0, 0) }));
            }
        };
        check(5, [3, 2], [3, 2], None);
        check(3, [0, 3], [0, 3], None);
        check(5, [3, 2], [3, 0], Some("the books do not add up: 5 rows in, 5 claimed, 3 confirmed"));
        check(5, [3, 2], [0, 2], Some("the books do not add up: 5 rows in, 5 claimed, 0 confirmed, 2 in quarantine"));
        check(5, [3, 1], [3, 1], Some("the books do not add up: 5 rows in, 4 claimed, 3 confirmed, 1 in quarantine"));
        check(5, [3, 3], [3, 3], Some("the component claims 6 rows of 5 that came in"));
        check(5, [1, 4], [1, 4], Some("4 of its rows cannot be written, and `quarantine.max_rows` has room for 3"));
    }

    #[test]
    fn what_landed_is_told_of_a_write_that_was_given_up() {
        let ledger = Ledger::default();
        let [whole, failed, cut, none]: [Arc<str>; 4] = ["whole", "failed", "cut", "none"].map(Arc::from);
        [&whole, &failed, &cut, &none].into_iter().for_each(|table| assert!(ledger.admit(table, 5).unwrap()));
        [&whole, &cut].into_iter().for_each(|table| ledger.confirm(table, receipt(3), Content::Data));
        ledger.fail(&failed, Failure::new(FailureClass::Data, "of itself"));
        let before = ledger.failures();
        ledger.give_up();
        ledger.fail(&cut, Failure::new(FailureClass::Unexpected, "cut off"));
        let told: Vec<_> = ledger.landed(&before).tables;
        let told: Vec<_> =
            told.iter().map(|it| (it.table.as_str(), it.rows_confirmed, it.objects, it.failure.as_ref().map(|it| &*it.message))).collect();
        assert_eq!(told, [("whole", 3, 1, None), ("failed", 0, 0, Some("of itself")), ("cut", 3, 1, None)]);
    }

    #[test]
    fn the_first_cause_is_kept_and_failures_keep_their_order() {
        let ledger = Ledger::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        ledger.admit(&a, 1).unwrap();
        ledger.fail(&b, Failure::new(FailureClass::Storage, "first"));
        ledger.fail(&b, Failure::new(FailureClass::Data, "second"));
        ledger.fail(&a, Failure::new(FailureClass::Data, "third"));
        assert_eq!(ledger.admit(&b, 1), Ok(false), "a failed table takes no more rows");
        let report = ledger.audit();
        let failures: Vec<_> = report.failures().map(|(table, failure)| (table, failure.message.as_str())).collect();
        assert_eq!(failures, [("b", "first"), ("a", "third")]);
    }

    #[test]
    fn only_news_of_a_table_is_logged() {
        let mut books = Books::default();
        let (t, failure) = (Arc::from("t"), || Failure::new(FailureClass::Data, "words"));
        let news: Vec<bool> = [false, false, true, true, false].map(|stop| books.record(&t, failure(), stop)).into();
        assert_eq!(news, [true, false, true, false, false]);
        assert_eq!(books.failures, 1);
    }

    #[test]
    fn the_words_of_a_failure_are_cut_at_a_character() {
        let check = |words: String, bytes: usize| assert_eq!(Failure::new(FailureClass::Data, words).message.len(), bytes);
        check("w".repeat(MAX_FAILURE_BYTES), MAX_FAILURE_BYTES);
        check("w".repeat(MAX_FAILURE_BYTES + 1), MAX_FAILURE_BYTES + "…".len());
        check(format!("w{}", "é".repeat(MAX_FAILURE_BYTES)), MAX_FAILURE_BYTES - 1 + "…".len());
    }

    #[test]
    fn tables_are_bounded_by_number_and_by_their_names() {
        let ledger = Ledger::default();
        let table = |number: usize| -> Arc<str> { format!("t{number}").into() };
        for number in 0..MAX_TABLES {
            ledger.admit(&table(number), 1).unwrap();
        }
        assert_eq!(ledger.admit(&table(0), 1), Ok(true), "one that is known");
        assert!(ledger.admit(&table(MAX_TABLES), 1).unwrap_err().0.contains("more than 100000 tables"));
        assert!(ledger.refuse(&table(MAX_TABLES), Failure::new(FailureClass::Data, "no")).is_err());
        let (ledger, mut admitted) = (Ledger::default(), 0);
        let long = |number: usize| -> Arc<str> { format!("{number:04096}").into() };
        while ledger.admit(&long(admitted), 1).is_ok() {
            admitted += 1;
        }
        assert_eq!(admitted, MAX_TABLE_NAMES_BYTES / 4_096);
    }

    #[test]
    fn receipts_are_kept_as_far_as_there_is_room_and_objects_are_all_counted() {
        let one = receipt(1).kept_bytes();
        for (room, kept) in [(0, 0), (one - 1, 0), (one, 1), (3 * one, 3), (u64::MAX, 9)] {
            let (ledger, table) = (Ledger::new(None, MemoryHold::default(), room), Arc::from("t"));
            ledger.admit(&table, 9).unwrap();
            (0..9).for_each(|_| ledger.confirm(&table, receipt(1), Content::Data));
            ledger.claim(&table, 9, Content::Data).unwrap();
            let report = ledger.audit();
            let found = &report.tables[0];
            assert_eq!((found.receipts.len(), found.objects, found.bytes, found.rows_confirmed), (kept, 9, 90, 9), "{room}");
            assert_eq!(report.failures().count(), 0);
        }
    }

    #[test]
    fn tables_and_words_take_of_the_budget_and_give_it_back_with_the_report() {
        const BUDGET: u64 = 1 << 20;
        let budget = Resources::new(NonZeroU32::MIN, Some(BUDGET)).budget;
        let ledger = Ledger::new(None, budget.hold(), 0);
        let table = |number: usize| -> Arc<str> { format!("{number:0100}").into() };
        let mut tables = 0;
        let refused = loop {
            match ledger.admit(&table(tables), 0) {
                Ok(_) => tables += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(tables as u64, BUDGET / (TABLE_BOOK_BYTES + 200));
        assert_eq!(refused.0, "another table of the write needs 712 bytes; the 1048576 that the tenant has for all sessions are used");
        assert_eq!(ledger.admit(&table(0), 1), Ok(true), "one that is known");
        // Words that there is no room for are in the log.
        let long = || Failure::new(FailureClass::Data, "w".repeat(MAX_FAILURE_BYTES));
        ledger.fail(&table(0), long());
        ledger.fail(&table(1), Failure::new(FailureClass::Data, "short"));
        let words: Vec<String> = ledger.failures().into_iter().map(|(_, failure)| failure.message).collect();
        assert_eq!(words, [IN_THE_LOG, "short"]);
        assert_eq!((ledger.audit().tables.len(), budget.used_bytes()), (tables, 0));
    }

    #[test]
    fn the_words_of_all_failures_are_bounded() {
        let ledger = Ledger::default();
        let kept = MAX_FAILURES_BYTES as usize / MAX_FAILURE_BYTES;
        for number in 0..kept + 2 {
            ledger.fail(&format!("t{number}").into(), Failure::new(FailureClass::Data, "w".repeat(MAX_FAILURE_BYTES)));
        }
        let failures = ledger.failures();
        assert_eq!(failures.iter().filter(|(_, failure)| failure.message.len() == MAX_FAILURE_BYTES).count(), kept);
        assert_eq!((failures.len(), failures[kept].1.message.as_str()), (kept + 2, IN_THE_LOG));
    }

    #[test]
    fn rows_that_headers_claim_do_not_overflow() {
        let (ledger, table) = (Ledger::default(), Arc::from("t"));
        for _ in 0..3 {
            ledger.admit(&table, u64::MAX - 1).unwrap();
        }
        assert_eq!((ledger.totals().rows, ledger.audit().failures().count()), (u64::MAX, 1));
    }

    #[test]
    fn a_refused_message_fails_the_table_in_the_report_but_its_rows_go_on() {
        let (ledger, table) = (Ledger::default(), Arc::from("t"));
        ledger.refuse(&table, Failure::new(FailureClass::Data, "DeleteStale: not implemented")).unwrap();
        assert_eq!(ledger.admit(&table, 1), Ok(true));
        assert_eq!(ledger.audit().failures().count(), 1);
    }

    #[test]
    fn an_object_of_a_schema_alone_is_none_for_its_rows() {
        let (ledger, table) = (Arc::new(Ledger::default()), Arc::from("t"));
        for (call, opened) in [(Call::Migrate, false), (Call::Insert, true), (Call::Migrate, true)] {
            drop(ledger.begin_upload(&table, call));
            assert_eq!(ledger.has_opened(&table), opened, "{call:?}");
        }
    }

    #[tokio::test]
    async fn settled_waits_for_every_upload() {
        let ledger = Arc::new(Ledger::default());
        let upload = ledger.begin_upload(&Arc::from("t"), Call::Insert);
        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.settled().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(upload);
        waiting.await.unwrap();
    }
}
