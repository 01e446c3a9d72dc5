#![no_main]
//! See `lakegate_guest::testing::fuzz::ipc_csv`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lakegate_guest::testing::fuzz::ipc_csv(data));
