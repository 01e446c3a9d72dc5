//! A session's catalog: tables are opened there before their first rows, and committed to when the write has ended.

use crate::catalog::{Catalog, CatalogCommit, CatalogCommitError, OpenRequest, OpenTable, SessionObjects, schema_header, schema_message};
use crate::delivery::context::UploadContext;
use crate::delivery::ledger::{Failure, FailureClass, TABLES, TableReport, WriteReport};
use crate::limits::{CATALOG_COMMITS, MAX_OPENED_SCHEMAS};
use crate::message::schema;
use crate::policy::resources::MemoryHold;
use crate::policy::tenant_log::Line;
use crate::sandbox::runtime::Runtime;
use crate::sandbox::state::LaneContext;
use crate::storage::target::CatalogTable;
use bytes::Bytes;
use futures::StreamExt as _;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What a session needs to make its tables tables of a catalog.
#[derive(Debug)]
pub(super) struct SessionCatalog {
    pub(super) runtime: Arc<Runtime>,
    pub(super) settings: String,
    /// Of the instance that is asked for the names of tables.
    pub(super) context: LaneContext,
    pub(super) catalog: Arc<dyn Catalog>,
    /// What the commits of the session's first write are called.
    pub(super) commit_id: String,
    /// Whether every attempt has the same objects.
    pub(super) objects_repeat: bool,
    pub(super) uploads: Arc<UploadContext>,
}

/// A write's tables, as they are in the catalog.
#[derive(Debug)]
pub(super) struct OpenTables {
    /// Which write of its session it is, from 1.
    write: u64,
    tables: HashMap<Arc<str>, Opened>,
    /// Of the tenant's memory, for schemas.
    hold: MemoryHold,
}

/// A table: as it was opened for the newest schema of its rows, and the headers that go before rows of each.
#[derive(Debug)]
struct Opened {
    place: CatalogTable,
    table: Arc<dyn OpenTable>,
    /// Pairs of a header as it comes and the message that takes its place, the oldest first.
    messages: VecDeque<(Bytes, Bytes)>,
}

/// What the opening of a table has found.
#[derive(Debug)]
pub(super) enum Found {
    /// It takes rows, with this message in the place of their schema.
    Takes(Bytes),
    /// It has the commit already, as this snapshot.
    Committed(i64),
}

impl OpenTables {
    pub(super) fn new(write: u64, hold: MemoryHold) -> Self {
        Self { write, tables: HashMap::new(), hold }
    }
}

impl SessionCatalog {
    /// The message that is to take the place of the schema of these rows.
    ///
    /// # Errors
    /// The table cannot be opened for them.
    pub(super) async fn open(&self, tables: &mut OpenTables, table: &Arc<str>, ipc: &Bytes) -> Result<Found, Failure> {
        let header = schema_header(ipc).map_err(data)?;
        let known = tables.tables.get(table);
        if let Some((_, message)) = known.and_then(|opened| opened.messages.iter().find(|(known, _)| known == header)) {
            return Ok(Found::Takes(message.clone()));
        }
        let columns = schema(header).map_err(data)?;
        let is_first = known.is_none();
        let place = match known {
            Some(opened) => opened.place.clone(),
            None => self.place(table).await?,
        };
        let request = OpenRequest {
            table: &place,
            columns: &columns,
            commit_id: &self.commit_id_of(tables.write),
            objects_repeat: self.objects_repeat,
            objects: Arc::new(SessionObjects(self.uploads.clone())),
        };
        let opened = self.catalog.open(request).await.map_err(|failure| self.said(failure))?;
        if is_first && let Some(snapshot) = opened.committed_before() {
            return Ok(Found::Committed(snapshot));
        }
        let message = schema_message(header, opened.columns()).map_err(data)?;
        // The columns are there once decoded, too.
        let bytes = (table.len() + header.len() + 2 * message.len()) as u64;
        let denied = |denied: crate::policy::denied::Denied| Failure::new(FailureClass::Denied, denied.message);
        tables.hold.grow_for("the columns of a table of the catalog", bytes).map_err(denied)?;
        let entry = tables.tables.entry(table.clone());
        let entry = entry.or_insert_with(|| Opened { place, table: opened.clone(), messages: VecDeque::new() });
        entry.table = opened;
        entry.messages.push_back((Bytes::copy_from_slice(header), message.clone()));
        if entry.messages.len() > MAX_OPENED_SCHEMAS {
            entry.messages.pop_front();
        }
        Ok(Found::Takes(message))
    }

    /// What the commits of a write are called. A write after the first brings rows of its own, and is no other attempt at the first.
    fn commit_id_of(&self, write: u64) -> String {
        if write > 1 { format!("{}/write-{write}", self.commit_id) } else { self.commit_id.clone() }
    }

    /// The name and the folder of a table.
    async fn place(&self, table: &str) -> Result<CatalogTable, Failure> {
        let unexpected = |message: String| Failure::new(FailureClass::Unexpected, message);
        let keys = self.runtime.commit_keys(&self.settings, vec![table.to_owned()], self.context.clone()).await;
        match keys.map_err(|error| unexpected(format!("{error:#}")))?.into_iter().next() {
            Some(Ok(keys)) => keys.catalog_table.ok_or_else(|| unexpected("the component names no table of the catalog".to_owned())),
            Some(Err(message)) => Err(Failure::new(FailureClass::Data, message)),
            None => Err(unexpected("the component does not answer for the table".to_owned())),
        }
    }

    /// Commits the objects of the tables that have done well. A table whose commit fails has failed, with all its objects in the bucket.
    pub(super) async fn commit(&self, tables: &OpenTables, report: &mut WriteReport) {
        let commits = report.tables.iter().enumerate().filter(|(_, table)| is_to_be_committed(table)).filter_map(|(number, table)| {
            let opened = tables.tables.get(table.table.as_str())?;
            Some(async move { (number, self.commit_one(opened, table).await) })
        });
        let commits: Vec<_> = futures::stream::iter(commits.collect::<Vec<_>>()).buffered(CATALOG_COMMITS).collect().await;
        for (number, committed) in commits {
            match committed {
                Ok(commit) => {
                    if let Some(table) = report.tables.get_mut(number) {
                        table.catalog = Some(commit);
                    }
                }
                Err(CatalogCommitError { failure, orphans, unsettled }) => {
                    if let Some(table) = report.tables.get_mut(number) {
                        table.catalog = Some(CatalogCommit { orphans, unsettled, ..CatalogCommit::default() });
                        if let Some(Line { tenant, more }) = Line::table_failure(self.uploads.tenant().map(|tenant| &**tenant)) {
                            tracing::error!(target: TABLES, tenant, more, table = table.table, error = failure.message, "The table failed.");
                        }
                    }
                    report.fail(number, failure);
                }
            }
        }
    }

    async fn commit_one(&self, opened: &Opened, table: &TableReport) -> Result<CatalogCommit, CatalogCommitError> {
        if table.receipts.len() as u64 != table.objects {
            let message = format!(
                "the commit would have {} of {} objects: there is no memory for more of them in one write",
                table.receipts.len(),
                table.objects
            );
            let orphans = table.receipts.iter().map(|receipt| receipt.key.as_str().to_owned()).collect();
            return Err(CatalogCommitError { failure: Failure::new(FailureClass::Storage, message), orphans, unsettled: Vec::new() });
        }
        opened.table.commit(&table.receipts).await.map_err(|error| {
            let failure = self.said(error.failure);
            let message = format!("the objects are in the bucket, and not in the table of the catalog: {}", failure.message);
            CatalogCommitError { failure: Failure::new(failure.class, message), ..error }
        })
    }

    /// A catalog names the operator's account and place in what it says: a tenant hears the host's words.
    fn said(&self, failure: Failure) -> Failure {
        match self.uploads.tenant() {
            Some(tenant) if matches!(failure.class, FailureClass::Storage | FailureClass::Unexpected) => {
                const WORDS: &str = "the catalog did not take the table";
                Failure::new(failure.class, tenant.refer(WORDS, "A tenant's catalog failed.", &failure.message))
            }
            _ => failure,
        }
    }
}

/// Whether a table has objects for a commit, and nothing against it.
fn is_to_be_committed(table: &TableReport) -> bool {
    table.failure.is_none() && table.committed_before.is_none() && table.objects > 0
}

fn data(error: crate::message::InvalidMessage) -> Failure {
    Failure::new(FailureClass::Data, error.0)
}
