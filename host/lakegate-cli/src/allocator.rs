//! The allocator of the binaries.

pub use mimalloc::MiMalloc as Allocator;

/// Free pages go back to the system after so many milliseconds. The default, a second, keeps 70 MiB more of a `load`, and is no faster.
const PURGE_DELAY_MILLIS: std::ffi::c_long = 10;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Makes it give free pages back soon; does nothing where another allocator is at work.
pub(super) fn return_pages_soon() {
    // SAFETY: sets one number in the allocator's table of options, and no other thread reads it: the first thing that `main` does.
    #[expect(unsafe_code, reason = "the allocator's options are only available through its C interface")]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MILLIS);
    }
}
