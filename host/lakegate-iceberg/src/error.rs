//! What can go wrong, whose fault it is, and what next.

use crate::limits::MAX_EXCERPT;

/// An error of a catalog, of the store, or of what was asked of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Whose fault, and what next.
    pub kind: ErrorKind,
    /// For the user: what was asked of whom, and what came of it. Never a secret.
    pub message: String,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller's: a schema, a name, a file or an option that cannot be.
    Invalid,
    /// The table's: it has other columns or partitions, or a version that is not written here.
    Incompatible,
    /// The catalog or the store does not let us (401, 403).
    Denied,
    /// Not reached, or failing for as long as it was tried. Trying again later may help.
    Unavailable,
    /// The catalog or the store refused, or answered what cannot be used.
    Rejected,
    /// The commit may or may not have taken effect. The same commit, tried again later, finds out.
    Unknown,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn incompatible(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Incompatible, message)
    }

    pub(crate) fn rejected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, message)
    }
}

/// The first line of a stranger's text, of bounded length and without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let mut short: String = line.chars().map(|it| if it.is_control() { ' ' } else { it }).take(MAX_EXCERPT).collect();
    if line.chars().nth(MAX_EXCERPT).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_short_and_of_one_line() {
        for (text, expected) in [("", ""), ("\n a\tb\u{1b}[1m\nc", "a b [1m")] {
            assert_eq!(excerpt(text), expected);
        }
        assert_eq!(excerpt(&"é".repeat(400)).chars().count(), MAX_EXCERPT + 1);
    }
}
