//! Utilities that the other crates of the host share: the clock, panics of decoders as errors, size-bounded file reading, hexadecimal digits, log levels, and rate-limited logging.

pub mod caught;
pub mod clock;
pub mod file;
pub mod hex;
pub mod log_level;
pub mod log_limit;

/// Bytes of one message, an Arrow IPC stream: the limit of CloudQuery's gRPC, both ways.
pub const MAX_MESSAGE_BYTES: usize = 200 << 20;
