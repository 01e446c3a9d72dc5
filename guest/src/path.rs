//! The path template and the object keys it renders.

/// A path, parsed once. A substituted value is never expanded again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {}
