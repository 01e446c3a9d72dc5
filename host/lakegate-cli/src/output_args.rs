//! Options for output and logging, shared by all commands.

use super::choices;
use super::logging::LogFormat;
use lakegate_base::log_level::LogLevel;

/// The help heading of output options. `--json` is separate, since not every command prints a summary.
pub(crate) const OUTPUT: &str = "Output";

/// Options for output and logging.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = OUTPUT)]
pub struct OutputArgs {
    /// Print errors only.
    #[arg(long)]
    pub quiet: bool,
    /// Log level on stderr [default: warn].
    #[arg(long, value_parser = choices::log_level(), value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Format of log lines.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl OutputArgs {
    /// The log level.
    pub fn level(&self) -> LogLevel {
        self.log_level.unwrap_or(LogLevel::Warn)
    }
}
