//! Tests that need more than Rust: they run where possible, print a message where they are skipped, and fail where nothing may be skipped.

use std::fmt;
use std::io::Write as _;

/// Set where every tier has to run: a skip is a failure there.
pub const REQUIRE_ALL: &str = "LAKEGATE_REQUIRE_ALL";

/// Why a test cannot run on this machine.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tool of a tier; `None`, with the reason on stderr, when the machine lacks it.
///
/// # Panics
/// When it is missing and [`REQUIRE_ALL`] is set to `1`.
pub fn live<T>(what: &str, tool: Result<T, Unavailable>) -> Option<T> {
    match tool {
        Ok(tool) => Some(tool),
        Err(why) => {
            let required = std::env::var(REQUIRE_ALL).is_ok_and(|value| value == "1");
            assert!(!required, "{what} cannot run, and {REQUIRE_ALL}=1 lets nothing be skipped: {why}");
            skipped(what, &why);
            None
        }
    }
}

/// Prints that a test was skipped for a reason that cannot be fixed.
pub fn skipped(what: &str, why: impl fmt::Display) {
    // Not print!, which the test harness keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {what}: {why}");
}

/// The repository's folder.
#[must_use]
pub fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(std::path::Path::new("."))
}
