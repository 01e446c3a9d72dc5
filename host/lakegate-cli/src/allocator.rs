//! The memory allocator of the binaries, and its settings.

pub use mimalloc::MiMalloc as Allocator;

/// Free pages are returned to the system after this many milliseconds. The default, one second, keeps 70 MiB more during a `load` and is no faster.
const PURGE_DELAY_MILLIS: std::ffi::c_long = 10;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Makes mimalloc return free pages early; has no effect if another allocator is in use.
pub(super) fn return_pages_soon() {
    // SAFETY: sets one number in the allocator's option table, as the first thing that `main` does, before another thread could read it.
    #[expect(unsafe_code, reason = "the allocator's options are only available through its C interface")]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MILLIS);
    }
}
