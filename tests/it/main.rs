//! The integration tests, one binary: the wasmtime and AWS crates are linked once.

mod component;
mod faults;
mod golden;
mod hostile;
mod layout;
mod limits;
mod local_store;
mod plugins;
mod rig;
mod support;
mod tools;
