//! The stream of messages from a source. Messages that were received but not yet processed are bounded by bytes; beyond the bound the stream is not
//! read, its flow-control window fills, and the source waits.

use super::{Plugin, PluginError};
use crate::proto::plugin::sync::response::Message;
use crate::proto::plugin::sync::{self, MessageDeleteRecord, Response};
use bytes::Bytes;
use prost::Message as _;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

/// Maximum bytes of pending messages. A larger message is processed alone.
const AHEAD_BYTES: usize = 16 << 20;
/// Bytes per permit.
const PERMIT_BYTES: usize = 1 << 10;
/// Total number of permits.
const PERMITS: u32 = (AHEAD_BYTES / PERMIT_BYTES) as u32;
/// Maximum number of pending messages, since small ones cost more than their bytes.
const AHEAD_MESSAGES: usize = 4_096;

/// The trailer with a call's status.
const STATUS: &str = "grpc-status";
const NO_STATUS: &str = "the source ended its stream without a status, so rows may be missing";

impl Plugin {
    /// Starts a sync of a source.
    ///
    /// # Errors
    /// The plugin refuses, or is gone.
    pub async fn sync(self: &Arc<Self>, request: sync::Request) -> Result<SourceStream, PluginError> {
        match self.calls.clone().sync(request).await {
            Ok(answer) => Ok(SourceStream::start(answer, self.clone())),
            Err(status) => Err(self.failed("Sync", status).await),
        }
    }
}

/// A message from a source.
#[derive(Debug)]
pub enum SourceMessage {
    /// A table's schema.
    Migrate(Bytes),
    /// Rows.
    Insert(Bytes),
    /// Delete rows of earlier syncs.
    Delete(MessageDeleteRecord),
    /// A table failed in the source.
    Error {
        /// Name of the table.
        table: String,
        /// The error message.
        error: String,
    },
}

/// The receiving end. Dropping it cancels the call.
#[derive(Debug)]
pub struct SourceStream {
    items: mpsc::Receiver<Result<(SourceMessage, OwnedSemaphorePermit), PluginError>>,
    /// Permits of the current message; released with the next one.
    held: Option<OwnedSemaphorePermit>,
    reader: JoinHandle<()>,
}

impl SourceStream {
    pub(super) fn start(answer: tonic::Response<Streaming<Response>>, plugin: Arc<Plugin>) -> Self {
        // A source with nothing to send may end the call in the headers.
        let over = answer.metadata().contains_key(STATUS);
        let mut messages = answer.into_inner();
        let (sender, items) = mpsc::channel(AHEAD_MESSAGES);
        let room = Arc::new(Semaphore::new(PERMITS as usize));
        let reader = tokio::spawn(async move {
            loop {
                let item = match messages.message().await {
                    Ok(None) if over || has_status(&mut messages).await => return,
                    Ok(None) => Err(plugin.failed("Sync", Status::data_loss(NO_STATUS)).await),
                    Ok(Some(response)) => item(response),
                    Err(status) => Err(plugin.failed("Sync", status).await),
                };
                let last = item.is_err();
                let sent = match item {
                    Ok(item) => {
                        // The semaphore is never closed.
                        let Ok(permit) = room.clone().acquire_many_owned(permits(&item)).await else { return };
                        Ok((item, permit))
                    }
                    Err(error) => Err(error),
                };
                if sender.send(sent).await.is_err() || last {
                    return;
                }
            }
        });
        Self { items, held: None, reader }
    }

    /// The next message; [`None`] if the source has ended successfully. The previous message counts as processed.
    pub async fn next(&mut self) -> Option<Result<SourceMessage, PluginError>> {
        self.held = None;
        let (item, permit) = match self.items.recv().await? {
            Ok(received) => received,
            Err(error) => return Some(Err(error)),
        };
        self.held = Some(permit);
        Some(Ok(item))
    }
}

impl Drop for SourceStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A stream that was reset with `CANCEL` or `NO_ERROR` looks like an ended one to the layers below. Only a stream with a status has really ended.
async fn has_status(messages: &mut Streaming<Response>) -> bool {
    matches!(messages.trailers().await, Ok(Some(trailers)) if trailers.contains_key(STATUS))
}

fn item(response: Response) -> Result<SourceMessage, PluginError> {
    Ok(match response.message.ok_or(PluginError::UnknownMessage)? {
        Message::MigrateTable(migrate) => SourceMessage::Migrate(migrate.table),
        Message::Insert(insert) => SourceMessage::Insert(insert.record),
        Message::DeleteRecord(delete) => SourceMessage::Delete(delete),
        Message::Error(error) => {
            SourceMessage::Error { table: super::error::clip(&error.table_name), error: super::error::clip(&error.error) }
        }
    })
}

fn permits(item: &SourceMessage) -> u32 {
    let bytes = match item {
        SourceMessage::Migrate(ipc) | SourceMessage::Insert(ipc) => ipc.len(),
        SourceMessage::Delete(delete) => delete.encoded_len(),
        SourceMessage::Error { table, error } => table.len() + error.len(),
    };
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(PERMITS).min(PERMITS)
}
