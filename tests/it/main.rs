//! The integration tests, one binary: the wasmtime and AWS crates are linked once.

mod local_store;
