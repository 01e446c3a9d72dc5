//! A sync as the CloudQuery CLI runs it, between two plugins in separate processes: the same calls and messages in the same order, and the same
//! columns added to every row.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use arrow_array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_ipc::reader::StreamReader;
use arrow_schema::Field;
use bytes::Bytes;
use lakegate_cloudquery::proto::plugin::{sync, write};
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;

use crate::plugin::{Message, Plugin};
use crate::tables::{TABLE_NAME, Table};

/// Metadata that the CLI removes from every field for a destination in append mode.
const REMOVED: [&str; 2] = ["cq:extension:primary_key", "cq:extension:unique"];
/// Some moment: the CLI gives every row of a sync the same.
const SYNC_TIME_US: i64 = 1_767_225_600_123_456;
/// The source's name in [`sync()`].
pub const SOURCE_NAME: &str = "chain";

/// The messages passed from a source to a destination.
#[derive(Debug, Default)]
pub struct Sent {
    /// The records of each table, as the destination got them; a table that was only announced has none.
    pub records: BTreeMap<String, Vec<RecordBatch>>,
    /// How many error messages there were of each table.
    pub errors: BTreeMap<String, u64>,
}

impl Sent {
    /// Rows of a table; [`None`] if it was never mentioned.
    #[must_use]
    pub fn rows(&self, table: &str) -> Option<usize> {
        Some(self.records.get(table)?.iter().map(RecordBatch::num_rows).sum())
    }
}

/// One source, one destination: Init of both, Write open while the source's Sync runs, half-close when it has ended, Close of both.
///
/// # Errors
/// A call fails, or the destination ends its Write before the client has.
pub async fn sync(source: &Plugin, source_spec: &Value, destination: &Plugin, destination_spec: &Value) -> Result<Sent> {
    for plugin in [source, destination] {
        ensure!(plugin.versions().await?.contains(&3), "another protocol");
    }
    let (mut from, mut to) = (source.connect().await?, destination.connect().await?);
    to.init(destination_spec).await.context("Init of the destination")?;
    from.init(source_spec).await.context("Init of the source")?;
    // Whatever one side is slow at, the other waits for: nothing lies between.
    let (sender, receiver) = tokio::sync::mpsc::channel::<write::Request>(1);
    let mut writer = to.clone();
    let writing = tokio::spawn(async move { writer.0.write(ReceiverStream::new(receiver)).await });
    let request = sync::Request { tables: vec!["*".to_owned()], with_error_messages: true, ..Default::default() };
    let mut messages = from.0.sync(request).await.context("Sync")?.into_inner();
    let mut sent = Sent::default();
    while let Some(response) = messages.message().await.context("Sync")? {
        let Some(message) = forwarded(response, &mut sent)? else { continue };
        if sender.send(message.into()).await.is_err() {
            writing.await?.context("Write")?;
            bail!("the destination ended its Write before the client had");
        }
    }
    ensure!(!writing.is_finished(), "the destination ended its Write before the client had");
    drop(sender);
    writing.await?.context("Write")?;
    to.close().await.context("Close of the destination")?;
    from.close().await.context("Close of the source")?;
    Ok(sent)
}

/// Converts a source's message to one for the destination.
fn forwarded(response: sync::Response, sent: &mut Sent) -> Result<Option<Message>> {
    use sync::response::Message as Of;
    Ok(Some(match response.message.context("an empty message")? {
        Of::MigrateTable(migrate) => {
            let (name, table) = stamped(&migrate.table)?;
            sent.records.entry(name).or_default();
            Message::Migrate(table.migrate_ipc()?.into())
        }
        Of::Insert(insert) => {
            let (name, table) = stamped(&insert.record)?;
            sent.records.entry(name).or_default().push(table.batch()?);
            Message::Insert(table.insert_ipc()?.into())
        }
        Of::Error(error) => {
            *sent.errors.entry(error.table_name).or_default() += 1;
            return Ok(None);
        }
        Of::DeleteRecord(delete) => bail!("a deletion in {}, which no test asks for", delete.table_name),
    }))
}

/// A table with the CLI's columns, and its name.
fn stamped(ipc: &Bytes) -> Result<(String, Table)> {
    let mut reader = StreamReader::try_new(ipc.as_ref(), None)?;
    let schema = reader.schema();
    let batch = reader.next().transpose()?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
    let name = schema.metadata().get(TABLE_NAME).context("a table without a name")?.to_string();
    let rows = batch.num_rows();
    let time = TimestampMicrosecondArray::from_value(SYNC_TIME_US, rows).with_timezone("UTC");
    let source: StringArray = std::iter::repeat_n(Some(SOURCE_NAME), rows).collect();
    let mut table = Table::new(&name).column("_cq_sync_time", Arc::new(time)).column("_cq_source_name", Arc::new(source));
    for (key, value) in schema.metadata() {
        table = table.metadata(key, value);
    }
    for (field, values) in schema.fields().iter().zip(batch.columns()) {
        let kept = field.metadata().iter().filter(|(key, _)| !REMOVED.contains(&key.as_ref()));
        let kept: HashMap<String, String> = kept.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let field = Field::new(field.name(), field.data_type().clone(), field.is_nullable()).with_metadata(kept);
        table = table.field(field, values.clone());
    }
    Ok((name, table))
}
