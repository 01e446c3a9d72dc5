//! The kind of a plugin, and how it is started or reached.

use lakegate_base::log_level::LogLevel;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The kind of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A source of rows.
    Source,
    /// A destination of rows.
    Destination,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// How a plugin is started or reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// Start this program.
    Local(PathBuf),
    /// Connect to this address.
    Dial(String),
}

/// Options for starting plugins.
#[derive(Debug, Clone)]
pub struct LaunchOptions {
    /// Prints a line of a plugin's standard error.
    pub say: fn(&str),
    /// The plugins' log level.
    pub log_level: LogLevel,
    /// How long a plugin may take to answer.
    pub start_limit: Duration,
    /// Where a source sends its telemetry.
    pub otel: Option<Otel>,
}

/// An OpenTelemetry collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otel {
    /// Its address.
    pub endpoint: String,
    /// Whether TLS is off.
    pub insecure: bool,
}
