//! The settings of wasmtime.

use wasmtime::{Config, OptLevel};

/// Only what the component needs: Cranelift, no WASI, no threads, no garbage collection, no component-model async. Nearly all advisories of
/// recent years lie in what is off here.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_function_references(false)
        .wasm_gc(false)
        .wasm_exceptions(false)
        .gc_support(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .memory_may_move(false)
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        .async_stack_zeroing(true);
    config
}
