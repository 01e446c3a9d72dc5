//! Panics of decoders: a file made to harm may find one, and is then a corrupt file, not a crash.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Is this thread inside [`caught`]?
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Is a panic of this thread caught and told as an error of the input? A panic hook has nothing to print then.
pub fn panics_are_caught() -> bool {
    GUARDED.get()
}

/// Runs a decoder of strangers' bytes; [`None`] if it panicked.
pub fn caught<T>(decode: impl FnOnce() -> T) -> Option<T> {
    let outer = GUARDED.replace(true);
    let ended = catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(outer);
    ended.ok()
}
