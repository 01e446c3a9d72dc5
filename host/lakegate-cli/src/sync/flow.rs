//! Passes the rows of one source on to its destinations, and counts them.

use super::super::console::Progress;
use super::super::destination_write::{DestinationWrite, totals};
use super::super::exit::{CliError, Exit};
use bytes::Bytes;
use lakegate::InvalidMessage;
use lakegate::limits::{MAX_TABLE_NAMES_BYTES, MAX_TABLES};
use lakegate_cloudquery::client::columns::{SyncColumnWriter, TableInfo};
use lakegate_cloudquery::client::{SourceMessage, SourceStream};
use lakegate_files::{Message, MessageReader};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The stream of messages from a source.
#[derive(Debug)]
pub(super) enum Source {
    /// The built-in file source.
    Files(MessageReader),
    /// A source plugin.
    Plugin(SourceStream),
}

impl Source {
    async fn next(&mut self) -> Option<Result<SourceMessage, CliError>> {
        match self {
            Self::Files(feed) => Some(feed.next().await?.map_err(CliError::from).map(|message| match message {
                Message::Migrate(ipc) => SourceMessage::Migrate(ipc),
                Message::Insert(ipc) => SourceMessage::Insert(ipc),
            })),
            Self::Plugin(source_stream) => {
                Some(source_stream.next().await?.map_err(|error| CliError::new(Exit::Source, error.to_string())))
            }
        }
    }
}

/// A destination, and the columns that the sync adds for it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) sync_columns: SyncColumnWriter,
    pub(super) write: DestinationWrite,
}

/// Whether tables are announced to destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Migrations {
    /// Schemas are passed on.
    Sent,
    /// Schemas are not passed on (`--no-migrate`).
    Withheld,
}

/// Counts of what a source has sent.
#[derive(Debug, Default)]
pub(super) struct SourceCounts {
    /// Total number of rows.
    pub(super) rows: u64,
    /// Number of rows by table.
    pub(super) rows_per_table: BTreeMap<String, u64>,
    /// Number of error messages by table.
    pub(super) errors_per_table: BTreeMap<String, u64>,
    /// Tables in the order of their announcement.
    pub(super) tables: Vec<Arc<TableInfo>>,
    /// The names of [`SourceCounts::tables`].
    announced: BTreeSet<String>,
    /// Total bytes of the stored table names.
    name_bytes: usize,
}

impl SourceCounts {
    /// Adds tables that the source has, even if they had neither rows nor errors.
    pub(super) fn offered(&mut self, tables: &[String]) {
        for table in tables {
            self.rows_per_table.entry(table.clone()).or_default();
            self.errors_per_table.entry(table.clone()).or_default();
        }
    }

    /// Total number of error messages.
    pub(super) fn errors(&self) -> u64 {
        self.errors_per_table.values().sum()
    }

    fn announced(&mut self, table: &Arc<TableInfo>) -> Result<(), CliError> {
        self.make_room(&table.name)?;
        if self.announced.insert(table.name.clone()) {
            self.tables.push(table.clone());
        }
        self.rows_per_table.entry(table.name.clone()).or_default();
        Ok(())
    }

    fn inserted(&mut self, table: &TableInfo, rows: u64) -> Result<(), CliError> {
        self.make_room(&table.name)?;
        self.rows = self.rows.saturating_add(rows);
        let known = self.rows_per_table.entry(table.name.clone()).or_default();
        *known = known.saturating_add(rows);
        Ok(())
    }

    fn failed(&mut self, table: String) -> Result<(), CliError> {
        self.make_room(&table)?;
        *self.errors_per_table.entry(table).or_default() += 1;
        Ok(())
    }

    /// Checks the limits before a new table name is stored, since a source may name any number of tables.
    ///
    /// # Errors
    /// There are too many tables, or their names are too long.
    fn make_room(&mut self, table: &str) -> Result<(), CliError> {
        if self.rows_per_table.contains_key(table) || self.errors_per_table.contains_key(table) {
            return Ok(());
        }
        let count = self.rows_per_table.len().max(self.errors_per_table.len());
        self.name_bytes = self.name_bytes.saturating_add(table.len());
        if count >= MAX_TABLES || self.name_bytes > MAX_TABLE_NAMES_BYTES {
            let problem = format!(
                "the source names more than {MAX_TABLES} tables, or tables whose names have more than {MAX_TABLE_NAMES_BYTES} bytes together"
            );
            return Err(CliError::new(Exit::Source, problem));
        }
        Ok(())
    }
}

/// Passes all messages on until the source has ended.
///
/// # Errors
/// The source fails or sends an invalid message, or a destination fails.
pub(super) async fn run(
    name: &str,
    mut source: Source,
    targets: &mut [Target],
    counts: &mut SourceCounts,
    migrations: Migrations,
    progress: &Progress,
) -> Result<(), CliError> {
    while let Some(item) = source.next().await {
        match item? {
            SourceMessage::Migrate(ipc) => migrate(&ipc, targets, counts, migrations).await?,
            SourceMessage::Insert(ipc) => insert(&ipc, targets, counts).await?,
            SourceMessage::Delete(delete) => {
                for target in targets.iter_mut() {
                    target.write.delete(delete.clone()).await?;
                }
            }
            SourceMessage::Error { table, error } => {
                tracing::error!(source = name, table, "{error}");
                for target in targets.iter_mut() {
                    target.write.fall_short(&table, &error).await?;
                }
                counts.failed(table)?;
            }
        }
        progress.show(|| totals(targets.iter().map(|target| &target.write)));
    }
    Ok(())
}

async fn migrate(ipc: &Bytes, targets: &mut [Target], counts: &mut SourceCounts, migrations: Migrations) -> Result<(), CliError> {
    for target in targets {
        let extended = target.sync_columns.schema(ipc).map_err(|error| unusable("schema", &error))?;
        counts.announced(&extended.table)?;
        if migrations == Migrations::Sent {
            target.write.migrate(extended.ipc).await?;
        }
    }
    Ok(())
}

/// A message without record batches is not passed on, since it has no rows.
async fn insert(ipc: &Bytes, targets: &mut [Target], counts: &mut SourceCounts) -> Result<(), CliError> {
    let mut counted = false;
    for target in targets {
        let extended = target.sync_columns.rows(ipc).map_err(|error| unusable("record", &error))?;
        if !counted {
            counts.inserted(&extended.table, extended.rows())?;
            counted = true;
        }
        for record in extended.records {
            target.write.insert(record.ipc, record.rows).await?;
        }
    }
    Ok(())
}

fn unusable(what: &str, error: &InvalidMessage) -> CliError {
    CliError::new(Exit::Source, format!("a {what} of the source cannot be used: {error}"))
}

/// The tables whose rows of earlier syncs are to be deleted. A source with a state backend only sends new rows of incremental tables and their
/// children, so there the earlier rows remain valid.
pub(super) fn stale(counts: &SourceCounts, keeps_state: bool) -> impl Iterator<Item = &TableInfo> {
    let by_name: BTreeMap<&str, &TableInfo> = counts.tables.iter().map(|table| (table.name.as_str(), table.as_ref())).collect();
    let incremental = move |table: &TableInfo| {
        let mut at = Some(table);
        // A table cannot be nested deeper than the number of tables, unless parents form a cycle.
        for _ in 0..=by_name.len() {
            match at {
                Some(table) if table.incremental => return true,
                Some(table) => at = table.parent.as_deref().and_then(|parent| by_name.get(parent).copied()),
                None => return false,
            }
        }
        false
    };
    counts.tables.iter().map(AsRef::as_ref).filter(move |table| !(keeps_state && incremental(table)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, parent: Option<&str>, incremental: bool) -> Arc<TableInfo> {
        Arc::new(TableInfo { name: name.to_owned(), parent: parent.map(str::to_owned), incremental })
    }

    #[test]
    fn incremental_tables_and_their_children_keep_earlier_rows() {
        let tables = vec![
            table("plain", None, false),
            table("events", None, true),
            table("details", Some("events"), false),
            table("more", Some("details"), false),
            table("child", Some("plain"), false),
            table("round", Some("round"), false),
        ];
        let counts = SourceCounts { tables, ..SourceCounts::default() };
        let names = |keeps_state: bool| stale(&counts, keeps_state).map(|table| table.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names(true), ["plain", "child", "round"]);
        assert_eq!(names(false).len(), 6);
    }

    #[test]
    fn tables_without_rows_and_rows_without_an_announcement_are_counted() {
        let mut counts = SourceCounts::default();
        counts.announced(&table("a", None, false)).unwrap();
        counts.announced(&table("a", None, false)).unwrap();
        counts.inserted(&table("b", None, false), 3).unwrap();
        counts.inserted(&table("b", None, false), 4).unwrap();
        assert_eq!((counts.rows, counts.tables.len()), (7, 1));
        assert_eq!(counts.rows_per_table, BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 7)]));
        // Other tables of the source appear with zero rows and errors.
        counts.offered(&["b".to_owned(), "c".to_owned()]);
        assert_eq!(counts.rows_per_table, BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 7), ("c".to_owned(), 0)]));
        assert_eq!(counts.errors_per_table, BTreeMap::from([("b".to_owned(), 0), ("c".to_owned(), 0)]));
    }
    #[test]
    fn tables_and_their_names_are_bounded_however_they_are_named() {
        let name = |number: usize| format!("{number:0>width$}", width = MAX_TABLE_NAMES_BYTES / 1_000);
        let long = |count: &dyn Fn(&mut SourceCounts, usize) -> Result<(), CliError>| {
            let mut counts = SourceCounts::default();
            (0..1_100).map(|number| count(&mut counts, number)).position(|counted| counted.is_err())
        };
        assert_eq!(long(&|counts, number| counts.failed(name(number))), Some(1_000));
        assert_eq!(long(&|counts, number| counts.inserted(&table(&name(number), None, false), 1)), Some(1_000));
        assert_eq!(long(&|counts, number| counts.announced(&table(&name(number), None, false))), Some(1_000));
        // Known tables are still accepted, and each table counts once.
        assert_eq!(long(&|counts, _| counts.failed(name(1)).and_then(|()| counts.inserted(&table(&name(1), None, false), 1))), None);
        let mut counts = SourceCounts::default();
        assert!((0..MAX_TABLES).all(|number| counts.failed(number.to_string()).is_ok()));
        let error = counts.failed("more".to_owned()).unwrap_err();
        assert!(error.exit == Exit::Source && error.message.contains("more than 100000 tables"), "{error}");
    }
}
