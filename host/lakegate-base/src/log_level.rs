//! Log levels.

/// A log level, named as in the SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// All events.
    Trace,
    /// Details for debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Problems that were handled.
    Warn,
    /// Errors.
    Error,
}

impl LogLevel {
    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
