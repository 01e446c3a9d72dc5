//! What a plugin is for, and how it is reached or started.

use lakegate_base::log_level::LogLevel;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Rows come from it.
    Source,
    /// Rows go to it.
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

/// How a plugin is come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// Its program is started.
    Local(PathBuf),
    /// It runs already.
    Dial(String),
}

/// What plugins are started with.
#[derive(Debug, Clone)]
pub struct LaunchOptions {
    /// Shows a line that a plugin has for people.
    pub say: fn(&str),
    /// How much they are to log.
    pub log_level: LogLevel,
    /// How long one may take until it answers.
    pub start_limit: Duration,
    /// Where a source sends its own telemetry.
    pub otel: Option<Otel>,
}

/// A collector of telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otel {
    /// Its address.
    pub endpoint: String,
    /// Without TLS?
    pub insecure: bool,
}
