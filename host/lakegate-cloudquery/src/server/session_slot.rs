//! What the last Init of a connection, or of a single user's process, has made.

use lakegate::Session;

/// What Init made.
#[derive(Debug, Default)]
pub(super) enum SessionSlot {
    /// No Init yet, or a Close since, or the last Init failed.
    #[default]
    Empty,
    /// Init was told not to connect: it has looked at nothing.
    Unconnected,
    Open(Session),
}
