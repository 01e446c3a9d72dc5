//! How much is logged.

/// How much is logged, in the SDK's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For those who look for a fault.
    Debug,
    /// What happens.
    Info,
    /// What went wrong and was mended.
    Warn,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// The name on a command line.
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
