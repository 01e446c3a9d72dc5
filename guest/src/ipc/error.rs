//! Why a message is refused.

/// Why a message is not a table's schema or rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IpcError(pub String);
