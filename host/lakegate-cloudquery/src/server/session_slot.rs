//! The result of the last Init of a connection, or of a single user's process.

use lakegate::Session;
use tracing::Span;

/// The result of Init.
#[derive(Debug, Default)]
pub(super) enum SessionSlot {
    /// There was no Init, a Close since then, or the last Init failed.
    #[default]
    Empty,
    /// Init was told not to connect, and has checked nothing.
    Unconnected,
    /// A session, and the span whose log lines are its own.
    Open(Session, Span),
}
