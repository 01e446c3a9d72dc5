#![no_main]
//! See `lakegate_guest::testing::fuzz::athena`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lakegate_guest::testing::fuzz::athena(data));
