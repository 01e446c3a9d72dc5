//! A source's messages on their way in. What has been received and not yet been dealt with is bounded by bytes; past the bound the
//! stream is not read, its window fills, and the source waits.

use super::{Plugin, PluginError};
use crate::proto::plugin::sync::response::Message;
use crate::proto::plugin::sync::{self, MessageDeleteRecord, Response};
use bytes::Bytes;
use prost::Message as _;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

/// Bytes of messages in hand. A larger message is taken alone.
const AHEAD_BYTES: usize = 16 << 20;
/// What a permit of the bound stands for.
const PERMIT_BYTES: usize = 1 << 10;
/// All permits.
const PERMITS: u32 = (AHEAD_BYTES / PERMIT_BYTES) as u32;
/// Messages in hand: small ones cost more than their bytes.
const AHEAD_MESSAGES: usize = 4_096;

/// The header that ends a call.
const STATUS: &str = "grpc-status";
const NO_STATUS: &str = "the source ended its stream without a status, so rows may be missing";

impl Plugin {
    /// Asks a source for its rows.
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

/// What a source sends.
#[derive(Debug)]
pub enum SourceMessage {
    /// A table's schema.
    Migrate(Bytes),
    /// Rows.
    Insert(Bytes),
    /// Rows of earlier syncs are to go.
    Delete(MessageDeleteRecord),
    /// A table failed in the source.
    Error {
        /// The table.
        table: String,
        /// Why.
        error: String,
    },
}

/// The receiving end. Dropping it cancels the call.
#[derive(Debug)]
pub struct SourceStream {
    items: mpsc::Receiver<Result<(SourceMessage, OwnedSemaphorePermit), PluginError>>,
    /// Room for the item in hand; given back with the next.
    held: Option<OwnedSemaphorePermit>,
    reader: JoinHandle<()>,
}

impl SourceStream {
    pub(super) fn start(answer: tonic::Response<Streaming<Response>>, plugin: Arc<Plugin>) -> Self {
        // A source that has nothing to send may say so in the headers.
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

    /// The next message; [`None`] when the source has ended well. The one before counts as dealt with.
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

/// A stream that was reset with `CANCEL` or `NO_ERROR` looks to the layers below like one that has ended. Only one with a status has.
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
