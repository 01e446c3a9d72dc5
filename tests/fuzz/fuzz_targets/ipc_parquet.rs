#![no_main]
//! See `lakegate_guest::testing::fuzz::ipc_parquet`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lakegate_guest::testing::fuzz::ipc_parquet(data));
