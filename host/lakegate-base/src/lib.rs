//! What every crate of the host stands on and none of them is about: the time of day, files of a bounded size, and log lines of a bounded rate.

pub mod clock;
pub mod file;
pub mod log_level;
pub mod log_limit;

/// Bytes of one message, an Arrow IPC stream: the limit of CloudQuery's gRPC, both ways.
pub const MAX_MESSAGE_BYTES: usize = 200 << 20;
