//! What is said while working: the options that every command shares.

use super::choices;
use super::logging::LogFormat;
use lakegate_base::log_level::LogLevel;

/// The heading, in the help, of what is said and printed. Not every command prints a summary, so `--json` is its own.
pub(crate) const OUTPUT: &str = "Output";

/// What is said while working.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = OUTPUT)]
pub struct OutputArgs {
    /// Print nothing but errors.
    #[arg(long)]
    pub quiet: bool,
    /// How much to log on stderr [default: warn].
    #[arg(long, value_parser = choices::log_level(), value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// How log lines look.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl OutputArgs {
    /// How much to log.
    pub fn level(&self) -> LogLevel {
        self.log_level.unwrap_or(LogLevel::Warn)
    }
}
