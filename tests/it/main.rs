//! The integration tests, one binary: the wasmtime and AWS crates are linked once.

#![expect(unreachable_pub, reason = "modules of a test binary have no outside")]

mod local_store;
