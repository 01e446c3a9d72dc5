//! The sandboxed half of Lakegate: everything that touches a user's data or spec.
//!
//! A row's way through this crate:
//!
//! 1. [`ipc`] decodes an Arrow IPC stream into record batches, within named bounds.
//! 2. [`sink`] finds the table's open object, or opens one: [`path`] renders its key, [`batch`] decides how many rows it may take.
//! 3. [`encode`] turns rows into CSV, JSON lines or Parquet, gzipped if asked for, and writes them out through [`host::Host`].
//!
//! [`spec`] checks the configuration. `component` is the only file that names the generated bindings; all else builds and tests natively.
//! The crate reads no clock, no randomness and no environment: time and chance are arguments or calls on [`host::Host`].

pub mod athena;
pub mod batch;
mod bytes;
mod calendar;
pub mod encode;
mod excerpt;
pub mod host;
pub mod ipc;
pub mod limits;
pub mod partition;
pub mod path;
pub mod sink;
pub mod spec;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
mod component;
