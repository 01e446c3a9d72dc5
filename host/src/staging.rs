//! Bytes that wait: parts not yet full (*staging*) and requests on their way (*in flight*), in memory or in the spill file.

/// A stretch of the spill file; given back when dropped.
#[derive(Debug)]
pub struct Extent {}
