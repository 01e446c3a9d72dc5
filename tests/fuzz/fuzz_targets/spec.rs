#![no_main]
//! See `lakegate_guest::testing::fuzz::spec`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| lakegate_guest::testing::fuzz::spec(data));
