//! What a session writes and where to: keys and their rules, targets, endpoints, and the bytes of a request in memory or in a spill file.

pub(crate) mod checksum;
pub(crate) mod endpoint;
pub(crate) mod headers;
pub(crate) mod object;
pub(crate) mod target;
