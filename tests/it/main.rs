//! The integration tests, one binary: the wasmtime and AWS crates are linked once.

mod bad_input;
mod component;
mod faults;
mod golden;
mod hostile;
mod layout;
mod limits;
mod local_store;
mod property;
mod readback;
mod readers;
mod rig;
mod support;
mod tools;
