//! A source's messages on their way in. What has been received and not yet been dealt with is bounded by bytes; past the bound the
//! stream is not read, its window fills, and the source waits.

use super::{Plugin, PluginError};
use crate::grpc::proto::plugin::sync::response::Message;
use crate::grpc::proto::plugin::sync::{MessageDeleteRecord, Response};
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
const NO_STATUS: &str = "the source broke its stream off, without a word whether that was all";

/// What a source sends.
#[derive(Debug)]
pub enum Item {
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
pub struct Inflow {
    items: mpsc::Receiver<Result<(Item, OwnedSemaphorePermit), PluginError>>,
    /// Room for the item in hand; given back with the next.
    held: Option<OwnedSemaphorePermit>,
    reader: JoinHandle<()>,
}

impl Inflow {
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
    pub async fn next(&mut self) -> Option<Result<Item, PluginError>> {
        self.held = None;
        let (item, permit) = match self.items.recv().await? {
            Ok(received) => received,
            Err(error) => return Some(Err(error)),
        };
        self.held = Some(permit);
        Some(Ok(item))
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A stream that was reset with `CANCEL` or `NO_ERROR` looks to the layers below like one that has ended. Only one with a status has.
async fn has_status(messages: &mut Streaming<Response>) -> bool {
    matches!(messages.trailers().await, Ok(Some(trailers)) if trailers.contains_key(STATUS))
}

fn item(response: Response) -> Result<Item, PluginError> {
    Ok(match response.message.ok_or(PluginError::UnknownMessage)? {
        Message::MigrateTable(migrate) => Item::Migrate(migrate.table),
        Message::Insert(insert) => Item::Insert(insert.record),
        Message::DeleteRecord(delete) => Item::Delete(delete),
        Message::Error(error) => Item::Error { table: super::error::clip(&error.table_name), error: super::error::clip(&error.error) },
    })
}

fn permits(item: &Item) -> u32 {
    let bytes = match item {
        Item::Migrate(ipc) | Item::Insert(ipc) => ipc.len(),
        Item::Delete(delete) => delete.encoded_len(),
        Item::Error { table, error } => table.len() + error.len(),
    };
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(PERMITS).min(PERMITS)
}
