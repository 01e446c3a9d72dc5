//! Lakegate in your own process: rows go in as Arrow IPC, and come out as CSV, JSON or Parquet objects in S3.
//!
//! The code that touches rows, *the component*, runs as WebAssembly in a sandbox that can do nothing but put objects. This library is its host:
//! it lends the component a clock, randomness, a log and one way out, decides on every key, sends the bytes, and keeps the books.
//!
//! ```
//! # use arrow_array::{Int64Array, RecordBatch};
//! # use arrow_ipc::writer::StreamWriter;
//! # use arrow_schema::{DataType, Field, Schema};
//! use lakegate::{Destination, MemoryStore, Options, Runtime};
//! use std::sync::Arc;
//!
//! # fn rows() -> Vec<u8> {
//! #     let metadata = std::collections::HashMap::from([("cq:table_name".to_owned(), "orders".to_owned())]);
//! #     let schema = Arc::new(Schema::new_with_metadata(vec![Field::new("id", DataType::Int64, true)], metadata));
//! #     let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap();
//! #     let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
//! #     writer.write(&batch).unwrap();
//! #     writer.into_inner().unwrap()
//! # }
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! // One runtime a process: it compiles the component, or takes it from the user's cache.
//! let runtime = Runtime::new()?;
//! // Without `store`, objects go to the bucket of the spec, with the credentials that AWS's SDKs would find.
//! let store = MemoryStore::default();
//! let options = Options { store: Some(Arc::new(store.clone())), ..Options::default() };
//! let destination = Destination::new(runtime, options);
//!
//! let spec = r#"{"bucket": "lake", "region": "us-east-1", "format": "json", "path": "{{TABLE}}.json", "no_rotate": true}"#;
//! let session = destination.open(spec, "sync-1").await?;
//! let mut write = session.write()?;
//! write.insert(rows().into()).await?; // an Arrow IPC stream whose schema names its table
//! let report = write.finish().await;
//! session.close().await;
//!
//! assert_eq!(report.tables[0].rows_confirmed, 3);
//! assert_eq!(&store.objects("lake").last().unwrap().bytes[..], b"{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
//! # anyhow::Ok(())
//! # })?;
//! # anyhow::Ok(())
//! ```
//!
//! # What is promised
//!
//! - A [`Receipt`] exists only for an object that the store has confirmed. For every table, rows in = rows claimed = rows confirmed, or the table
//!   has failed and the report says why.
//! - Memory is bounded by [`Options`], whatever the rows and however slow the store; [`Write::insert`] waits instead.
//! - The component, ours or another, reaches no bucket, key or credential but through the policy. With a [`Tenant`] in the options, a spec can ask
//!   only for what its [`Grant`] names.
//! - Nothing of a write that was not finished is seen in the bucket under its key, unless the table rotated before.
//!
//! # How it is built
//!
//! The way of a row: a [`Write`] reads the table's name from the IPC header and routes the message to a *lane*, a task that owns one wasm store
//! with one guest. The guest's bytes come back through the object-store import, are cut into parts by an upload, decided on by the [`Policy`],
//! sent by the store, and written down in the ledger.

pub mod catalog;
mod commit;
mod cpu;
mod delivery;
pub mod limits;
mod message;
mod payload;
mod policy;
mod s3;
mod sandbox;
mod session;
mod storage;
pub mod store;

pub use commit::pending::{ResumeError, resume_commit};
pub use delivery::context::MemoryUsage;
pub use delivery::ledger::{Failure, FailureClass, Ledger, QuarantineReport, Receipt, TableReport, Totals, WriteReport};
pub use message::InvalidMessage;
pub use payload::spill::Spill;
pub use policy::authorize::Policy;
pub use policy::denied::Denied;
pub use policy::grant::{CatalogGrant, CatalogGrantAuth, Grant};
pub use policy::resources::Resources;
pub use policy::tenant::Tenant;
pub use s3::options::{Checksums, ConnectOptions, InProcessStore, MakeBucket, Timeouts};
pub use sandbox::compile::{CompileLimits, Compiler};
pub use sandbox::component_file::ComponentError;
pub use sandbox::embedded::{allowed_imports, component_bytes};
pub use sandbox::runtime::Runtime;
pub use session::destination::{Destination, OpenError};
pub use session::options::Options;
pub use session::write::{Halt, InUse, Session, Write};
pub use storage::endpoint::is_region;
pub use storage::target::SyncContext;
pub use store::answer::{StoreError, StoreErrorKind};
pub use store::memory::MemoryStore;

/// For traces and metrics: hears of writes, their tables and their objects, as they end.
pub mod observe {
    pub use crate::delivery::watch::{
        OBJECTS, ObjectEnded, ObjectOutcome, Observer, Rotation, TableEnded, WriteBegun, WriteEnd, WriteObserver,
    };
}

/// What a spec says, once the component has checked it.
pub mod spec {
    pub use crate::policy::least_policy::PolicyNeeds;
    pub use crate::storage::target::{
        CatalogAuth, CatalogPlan, CatalogTable, ColumnFacts, CommitPlan, Configuration, CredentialSource, Encryption, ManifestPlan,
        ObjectAttributes, ObjectFacts, ObjectLock, PartitionPart, PartitionSource, Retention, SecretSource, SpecProblem, StorageTarget,
    };
}

/// For programs that serve many tenants with this library, as `lakegate serve` does: work that is charged to a tenant's processor account, what
/// a tenant has used, and its audit log.
pub mod serving {
    pub use crate::cpu::scheduler::{Executor, HostMeter, spawn_metered};
    pub use crate::delivery::ledger::TABLES;
    pub use crate::policy::audit::{self, AUDIT, Room, Waiting};
    pub use crate::policy::metrics::{PUT_SECONDS, Snapshot, TenantMetrics};
    pub use crate::s3::clock::Clock;
    pub use crate::sandbox::memory::guest_high_water_bytes;
}

/// The headers of Arrow IPC streams: whose rows, and how many.
pub mod ipc {
    pub use crate::message::{Messages, invalid, schema, table_of, verified};
}

/// The process that compiles a stranger's component: what [`Compiler`] starts, and the program it starts has to run.
pub mod compiling {
    pub use crate::sandbox::compile::{CompileArgs, SUBCOMMAND, child};
    pub use crate::sandbox::settings::config;
}
