//! The bytes of requests: in memory, or in a spill file once there are too many.

pub(crate) mod body;
pub(crate) mod spill;
