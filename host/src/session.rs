//! A destination at work: configured once, written to in rounds.
//!
//! [`Destination::open`] is CloudQuery's Init, [`Session::write`] begins a Write, [`Write::finish`] is its half-close,
//! [`Session::close`] is Close.

use crate::bindings::{Configuration, SpecProblem};
use crate::engine::Runtime;
use crate::ledger::{Totals, WriteReport};
use crate::s3::{ConnectOptions, StoreError};
use bytes::Bytes;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

/// How a destination uses the machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Guest instances of a session. Default: the cores of the machine.
    pub lanes: NonZeroUsize,
    /// Bytes of parts not yet full, held in memory; past it the largest go to the spill file.
    pub memory_bytes: u64,
    /// Bytes on their way to the store and not yet confirmed.
    pub in_flight_bytes: u64,
    /// Bytes of linear memory of a guest instance.
    pub guest_memory_bytes: u64,
    /// Where parts spill to.
    pub spill: Spill,
    /// Makes object keys reproducible, for tests and `load --seed`.
    pub seed: Option<u64>,
    /// How the store is reached.
    pub connect: ConnectOptions,
}

/// Where parts spill to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spill {
    /// An unlinked file in this folder.
    Dir(PathBuf),
    /// Nowhere: over the budget is an error.
    None,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lanes: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory_bytes: 64 << 20,
            in_flight_bytes: 64 << 20,
            guest_memory_bytes: 256 << 20,
            spill: Spill::Dir(std::env::temp_dir()),
            seed: None,
            connect: ConnectOptions::default(),
        }
    }
}

/// Why a destination cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The spec is refused; every problem, in the reference's order. Displays their messages one a line.
    #[error("{}", .0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("\n"))]
    Spec(Vec<SpecProblem>),
    /// The policy does not allow what the spec asks for.
    #[error("{0}")]
    Denied(String),
    /// Credentials or connection.
    #[error(transparent)]
    Connect(StoreError),
    /// The test object could not be put.
    #[error("failed to write test file to S3: {0}")]
    TestWrite(StoreError),
    /// A bug of ours, or of the component.
    #[error("{0}")]
    Unexpected(String),
}

/// A destination that can be opened any number of times. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    #[expect(dead_code, reason = "skeleton")]
    runtime: Arc<Runtime>,
    #[expect(dead_code, reason = "skeleton")]
    options: Options,
}

impl Destination {
    /// A destination on this runtime.
    pub fn new(runtime: Arc<Runtime>, options: Options) -> Self {
        Self { runtime, options }
    }

    /// The JSON Schema of the spec.
    ///
    /// # Errors
    /// The component failed.
    pub async fn spec_schema(&self) -> anyhow::Result<String> {
        anyhow::bail!("not built yet")
    }

    /// Checks a spec (JSON), sends nothing.
    ///
    /// # Errors
    /// [`OpenError::Spec`], or [`OpenError::Unexpected`].
    pub async fn configure(&self, spec: &str, sync_id: &str) -> Result<Configuration, OpenError> {
        let _ = (spec, sync_id);
        Err(OpenError::Unexpected("not built yet".into()))
    }

    /// Checks the spec, resolves credentials, puts the test object, and starts the lanes.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, spec: &str, sync_id: &str) -> Result<Session, OpenError> {
        let _ = (spec, sync_id);
        Err(OpenError::Unexpected("not built yet".into()))
    }

    /// Does everything `open` does up to and including the test object (put even if the spec switches it off), with a fresh sync id.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn test_connection(&self, spec: &str) -> Result<(), OpenError> {
        let _ = spec;
        Err(OpenError::Unexpected("not built yet".into()))
    }
}

/// An opened destination: lanes, store connection, books.
#[derive(Debug)]
pub struct Session {}

/// Another write is running.
#[derive(Debug, thiserror::Error)]
#[error("plugin already in use")]
pub struct InUse;

impl Session {
    /// Begins a write. One at a time.
    ///
    /// # Errors
    /// [`InUse`].
    pub fn write(&self) -> Result<Write, InUse> {
        Err(InUse)
    }

    /// Ends the session: a running write is aborted, unfinished uploads are aborted and awaited.
    pub async fn close(self) {}
}

/// A message that is not a table's schema or rows: garbage in the IPC header, no table name, a bound exceeded. Nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMessage(pub String);

/// One write. Dropping it aborts what it has open, in the background; [`Write::abort`] does so and waits.
#[derive(Debug)]
pub struct Write {}

impl Write {
    /// A table's schema. Waits while the table's lane is full.
    ///
    /// # Errors
    /// [`InvalidMessage`]. A table's own failure is reported by [`Write::finish`].
    pub async fn migrate_table(&mut self, ipc: Bytes) -> Result<(), InvalidMessage> {
        let _ = ipc;
        Ok(())
    }

    /// Rows. Waits while the table's lane is full. Rows of a table that has failed are dropped.
    ///
    /// # Errors
    /// [`InvalidMessage`].
    pub async fn insert(&mut self, ipc: Bytes) -> Result<(), InvalidMessage> {
        let _ = ipc;
        Ok(())
    }

    /// A message that this destination refuses (`DeleteStale`, `DeleteRecords`): a change of message type, and a failure that
    /// [`Write::finish`] reports for the table, after whose message the table's other rows go on as before.
    pub async fn refuse(&mut self, table: &str, reason: &str) {
        let _ = (table, reason);
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }

    /// The input has ended well: finishes every object, awaits the store, and closes the books.
    pub async fn finish(self) -> WriteReport {
        WriteReport::default()
    }

    /// The input has ended badly: aborts every open object, awaits the finished ones, claims nothing.
    pub async fn abort(self) {}
}
