//! Writes to a destination: to the S3 destination in this process, or to another destination's plugin. Every write either succeeds or leaves nothing
//! unfinished behind.

use super::console::error_line;
use super::exit::{CliError, Exit};
use super::summary::failure_lines;
use bytes::Bytes;
use lakegate::{Session, Totals, Write, WriteReport};
use lakegate_cloudquery::client::{PluginError, PluginWrite};
use lakegate_cloudquery::proto::plugin::sync;
use lakegate_cloudquery::proto::plugin::write::request::Message;
use lakegate_cloudquery::proto::plugin::write::{MessageDeleteRecord, MessageDeleteStale, MessageInsert, MessageMigrateTable};
use prost_types::Timestamp;
use tokio_util::sync::CancellationToken;

/// The error for a table whose rows should be deleted from a bucket.
const NO_DELETION: &str = "rows cannot be deleted from a bucket, and the source asks for it; leave the table out with `skip_tables`";

/// A write to an opened destination.
#[derive(Debug)]
pub(crate) enum DestinationWrite {
    /// The S3 destination in this process.
    Store { session: Session, write: Box<Write> },
    /// A plugin's Write call.
    Plugin { writing: PluginWrite, migrate_force: bool, rows: u64 },
}

/// The result of a write that ended regularly.
#[derive(Debug)]
pub(crate) enum FinishedWrite {
    /// The report on each table; some may have failed.
    Store(WriteReport),
    /// The destination has confirmed everything.
    Plugin { rows: u64 },
}

impl FinishedWrite {
    /// The exit code of the write.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Store(report) => Exit::from_report(report),
            Self::Plugin { .. } => Exit::Done,
        }
    }

    /// A line for each of the first failed tables.
    pub(crate) fn failure_lines(&self) -> Vec<String> {
        match self {
            Self::Store(report) => failure_lines(report.failures().map(|(table, failure)| (table, failure.message.as_str()))),
            Self::Plugin { .. } => Vec::new(),
        }
    }

    /// Number of tables that failed in the destination.
    pub(crate) fn failures(&self) -> u64 {
        match self {
            Self::Store(report) => report.failures().count() as u64,
            Self::Plugin { .. } => 0,
        }
    }
}

impl DestinationWrite {
    pub(crate) fn store(session: Session) -> Result<Self, CliError> {
        let write = Box::new(session.write()?);
        Ok(Self::Store { session, write })
    }

    pub(crate) fn plugin(writing: PluginWrite, migrate_force: bool) -> Self {
        Self::Plugin { writing, migrate_force, rows: 0 }
    }

    pub(crate) async fn migrate(&mut self, table: Bytes) -> Result<(), CliError> {
        match self {
            Self::Store { write, .. } => Ok(write.migrate_table(table).await?),
            Self::Plugin { writing, migrate_force, .. } => {
                let message = Message::MigrateTable(MessageMigrateTable { table, migrate_force: *migrate_force });
                send(writing, "migrate", message).await
            }
        }
    }

    pub(crate) async fn insert(&mut self, record: Bytes, count: u64) -> Result<(), CliError> {
        match self {
            Self::Store { write, .. } => Ok(write.insert(record).await?),
            Self::Plugin { writing, rows, .. } => {
                *rows += count;
                send(writing, "insert", Message::Insert(MessageInsert { record })).await
            }
        }
    }

    /// Passes on that the source has deleted rows.
    pub(crate) async fn delete(&mut self, delete: sync::MessageDeleteRecord) -> Result<(), CliError> {
        match self {
            Self::Store { write, .. } => write.refuse(&delete.table_name, NO_DELETION).await?,
            Self::Plugin { writing, .. } => {
                let sync::MessageDeleteRecord { table_name, where_clause, table_relations } = delete;
                let message = Message::DeleteRecord(MessageDeleteRecord { table_name, where_clause, table_relations });
                send(writing, "delete record", message).await?;
            }
        }
        Ok(())
    }

    /// The source could not send all rows of a table. The protocol has no message that tells a plugin.
    pub(crate) async fn fall_short(&mut self, table: &str, reason: &str) -> Result<(), CliError> {
        match self {
            Self::Store { write, .. } => Ok(write.fall_short(table, reason).await?),
            Self::Plugin { .. } => Ok(()),
        }
    }

    /// Deletes rows of earlier syncs of this source. Only for plugins: for a bucket, the mode that needs it is refused.
    pub(crate) async fn delete_stale(&mut self, table: &str, source: &str, sync_time_us: i64) -> Result<(), CliError> {
        let Self::Plugin { writing, .. } = self else { return Ok(()) };
        let sync_time = Timestamp {
            seconds: sync_time_us.div_euclid(1_000_000),
            // Always less than a billion.
            nanos: (sync_time_us.rem_euclid(1_000_000) * 1_000) as i32,
        };
        let delete = MessageDeleteStale {
            source_name: source.to_owned(),
            sync_time: Some(sync_time),
            table_name: table.to_owned(),
            ..MessageDeleteStale::default()
        };
        send(writing, "delete stale", Message::Delete(delete)).await
    }

    pub(crate) fn totals(&self) -> Totals {
        match self {
            Self::Store { write, .. } => write.totals(),
            Self::Plugin { rows, .. } => Totals { rows: *rows, ..Totals::default() },
        }
    }

    /// Finishes the write, unless it is interrupted.
    async fn finish(self, interrupted: &CancellationToken) -> Result<FinishedWrite, FailedWrite> {
        match self {
            Self::Store { session, write } => {
                let ended = finish_store(*write, interrupted).await;
                session.close().await;
                ended.map(FinishedWrite::Store).map_err(|(error, landed)| FailedWrite { error, landed: Some(landed) })
            }
            Self::Plugin { writing, rows, .. } => {
                let ended = tokio::select! {
                    // Dropping the call cancels it.
                    finished = finish_plugin(writing) => finished.map(|()| FinishedWrite::Plugin { rows }),
                    () = interrupted.cancelled() => Err(interruption()),
                };
                ended.map_err(|error| FailedWrite { error, landed: None })
            }
        }
    }

    /// Aborts the write; after an interruption, without waiting for the store. Returns what is in the bucket nevertheless, if this is the S3
    /// destination.
    async fn abort(self, interrupted: &CancellationToken) -> Option<WriteReport> {
        let Self::Store { session, write } = self else { return None };
        let landed = abort_store(*write, interrupted).await;
        session.close().await;
        Some(landed)
    }
}

/// A write that failed.
#[derive(Debug)]
pub(crate) struct FailedWrite {
    /// The cause.
    pub(crate) error: CliError,
    /// The tables that had already failed, and what is in the bucket; [`None`] for a plugin.
    pub(crate) landed: Option<WriteReport>,
}

/// Finishes all writes, or aborts the remaining ones once interrupted. There is one result per write, in order: a destination's result does not
/// depend on the others.
pub(crate) async fn finish_all(writes: Vec<DestinationWrite>, interrupted: &CancellationToken) -> Vec<Result<FinishedWrite, FailedWrite>> {
    let mut ended = Vec::with_capacity(writes.len());
    for write in writes {
        if interrupted.is_cancelled() {
            let landed = write.abort(interrupted).await;
            ended.push(Err(FailedWrite { error: interruption(), landed }));
        } else {
            ended.push(write.finish(interrupted).await);
        }
    }
    ended
}

/// Returns the first of several failures, or the interruption if there was one; prints the others.
pub(crate) fn first(failures: Vec<CliError>) -> Result<(), CliError> {
    let answer = failures.iter().position(|failure| failure.exit == Exit::Interrupted).unwrap_or(0);
    let mut first = Ok(());
    for (number, failure) in failures.into_iter().enumerate() {
        if number == answer {
            first = Err(failure);
        } else if failure.exit != Exit::Interrupted {
            error_line(&format!("Error: {failure}"));
        }
    }
    first
}

/// Aborts all writes, so that nothing unfinished remains. Returns, for each, the tables that had already failed, since one of them may be the cause,
/// and what is in the bucket.
pub(crate) async fn abort_all(writes: Vec<DestinationWrite>, interrupted: &CancellationToken) -> Vec<Option<WriteReport>> {
    futures::future::join_all(writes.into_iter().map(|write| write.abort(interrupted))).await
}

/// The rows of the input, and the bytes and objects of all destinations.
pub(crate) fn totals<'a>(writes: impl Iterator<Item = &'a DestinationWrite>) -> Totals {
    let mut sum = Totals::default();
    for totals in writes.map(DestinationWrite::totals) {
        sum.rows = sum.rows.max(totals.rows);
        sum.bytes += totals.bytes;
        sum.objects += totals.objects;
        sum.failed_tables += totals.failed_tables;
    }
    sum
}

pub(crate) fn interruption() -> CliError {
    CliError::new(Exit::Interrupted, "Interrupted; unfinished uploads were aborted.")
}

/// Finishes a write. If it is interrupted, it is aborted, and the error comes with what is in the bucket.
pub(crate) async fn finish_store(write: Write, interrupted: &CancellationToken) -> Result<WriteReport, (CliError, WriteReport)> {
    let (halt, ledger) = (write.halt(), write.ledger());
    let finishing = write.finish();
    tokio::pin!(finishing);
    tokio::select! {
        report = &mut finishing => Ok(report),
        () = interrupted.cancelled() => {
            // Even finished objects are given up if the store has not confirmed them: an interrupt does not wait for the store.
            let failed = ledger.failures();
            halt.now();
            Err((interruption(), finishing.await.landed(&failed)))
        }
    }
}

/// Aborts a write, and returns what is in the bucket nevertheless.
pub(crate) async fn abort_store(write: Write, interrupted: &CancellationToken) -> WriteReport {
    let (halt, ledger, failed) = (write.halt(), write.ledger(), write.failures());
    halt.unless_stopped(interrupted, write.abort()).await;
    ledger.landed(&failed)
}

async fn finish_plugin(mut writing: PluginWrite) -> Result<(), CliError> {
    writing.finish().await.map_err(|error| refused(&writing, "close", &error))?;
    let plugin = writing.plugin().clone();
    // The rows are confirmed; a failing Close does not change that.
    if let Err(error) = plugin.close().await {
        tracing::warn!(destination = plugin.name(), %error, "The destination could not be closed.");
    }
    Ok(())
}

async fn send(writing: &mut PluginWrite, what: &str, message: Message) -> Result<(), CliError> {
    let sent = writing.send(message).await;
    sent.map_err(|error| refused(writing, what, &error))
}

fn refused(writing: &PluginWrite, what: &str, error: &PluginError) -> CliError {
    CliError::new(Exit::Source, format!("destination {}: write client returned error ({what}): {error}", writing.plugin().name()))
}
