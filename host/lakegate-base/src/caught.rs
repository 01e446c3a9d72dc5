//! Catches panics of decoders: a file crafted to cause one is reported as corrupt instead of crashing the program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether this thread is inside [`caught`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread is caught and reported as an error of the input. A panic hook should print nothing then.
pub fn panics_are_caught() -> bool {
    GUARDED.get()
}

/// Runs a decoder on untrusted bytes; [`None`] if it panicked.
pub fn caught<T>(decode: impl FnOnce() -> T) -> Option<T> {
    let outer = GUARDED.replace(true);
    let ended = catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(outer);
    ended.ok()
}
