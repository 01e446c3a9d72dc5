//! Edges that currently close a cycle, each with what would remove it. An edge that no longer exists must be removed from the list.

/// Edges that are left out of the search for circles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) package: &'static str,
    /// Files that use what they should not.
    pub(crate) from: &'static [&'static str],
    /// The file that they use.
    pub(crate) to: &'static str,
    /// Why they do, and what would cut it.
    pub(crate) reason: &'static str,
}

pub(crate) const KNOWN: &[Known] = &[];
