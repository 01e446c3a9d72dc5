//! A sync runner of one's own: open a session, hand in Arrow IPC, get receipts. `cargo run -p lakegate --example embed`
//!
//! It writes to a store in memory; without `store` the same code writes to S3.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use arrow_array::{Int64Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use lakegate::{Destination, MemoryStore, Options, Runtime};
use std::collections::HashMap;
use std::sync::Arc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let store = MemoryStore::default();
    let options = Options { store: Some(Arc::new(store.clone())), ..Options::default() };

    // One runtime a process; it compiles the component, or takes it from the user's cache.
    let destination = Destination::new(Runtime::new()?, options);
    let spec = r#"{"bucket": "lake", "region": "us-east-1", "format": "json", "path": "{{TABLE}}/{{UUID}}.json"}"#;
    let session = destination.open(spec, "sync-1").await?;
    let mut write = session.write()?;
    write.insert(rows("orders")?.into()).await?;
    for table in write.finish().await.tables {
        println!("{}: {} rows in, {} confirmed, failure {:?}", table.table, table.rows_in, table.rows_confirmed, table.failure);
        table.receipts.iter().for_each(|receipt| println!("  {} ({} bytes)", receipt.key, receipt.bytes));
    }
    session.close().await;
    for object in store.objects("lake") {
        println!("{}: {:?}", object.key, object.bytes);
    }
    Ok(())
}

/// A message: an Arrow IPC stream whose schema names its table.
fn rows(table: &str) -> anyhow::Result<Vec<u8>> {
    let metadata = HashMap::from([("cq:table_name".to_owned(), table.to_owned())]);
    let schema = Arc::new(Schema::new_with_metadata(vec![Field::new("id", DataType::Int64, true)], metadata));
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1, 2, 3]))])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&batch)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}
