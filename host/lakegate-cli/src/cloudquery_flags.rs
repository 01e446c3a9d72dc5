//! What CloudQuery's own program takes on every command line, so that lines written for it work here.

use super::console::Console;
use super::exit::CliError;
use super::output_args::OutputArgs;
use super::sync_id::sync_id;
use lakegate_base::log_level::LogLevel;
use std::path::PathBuf;

/// Flags of every command that runs plugins.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CloudQueryFlags {
    /// The id of the run, `{{SYNC_ID}}` in paths [default: random].
    #[arg(long, value_name = "UUID")]
    pub invocation_id: Option<uuid::Uuid>,
    /// Watch the log: what happens is logged too, and no progress bar is drawn over it.
    #[arg(long)]
    pub log_console: bool,
    /// Accepted; the log goes to stderr alone.
    #[arg(long, value_name = "FILE", hide = true)]
    pub log_file_name: Option<PathBuf>,
    /// Accepted; the log goes to stderr alone.
    #[arg(long, hide = true)]
    pub log_file_overwrite: bool,
    /// Accepted; there is no log file.
    #[arg(long, hide = true)]
    pub no_log_file: bool,
    /// Accepted; nothing is downloaded.
    #[arg(long, value_name = "DIR", hide = true)]
    pub cq_dir: Option<PathBuf>,
    /// Accepted; nothing is ever reported to anyone.
    #[arg(long, value_name = "LEVEL", hide = true)]
    pub telemetry_level: Option<String>,
}

impl CloudQueryFlags {
    /// Starts the log, and warns of flags that do nothing.
    pub(crate) fn console(&self, output: &mut OutputArgs) -> Console {
        if self.log_console {
            output.log_level.get_or_insert(LogLevel::Info);
        }
        let console = Console::start(output);
        self.warn_also(&[
            ("--log-file-name", self.log_file_name.is_some()),
            ("--log-file-overwrite", self.log_file_overwrite),
            ("--cq-dir", self.cq_dir.is_some()),
        ]);
        if self.log_console { console.without_bar() } else { console }
    }

    /// Warns of more flags. What asks for nothing to be done (`--no-log-file`, `--telemetry-level`) has its way.
    pub(crate) fn warn_also(&self, flags: &[(&str, bool)]) {
        for (flag, _) in flags.iter().filter(|(_, given)| *given) {
            tracing::warn!(flag, "The flag is accepted but has no effect.");
        }
    }

    /// The id of the run.
    pub(crate) fn sync_id(&self) -> Result<String, CliError> {
        self.invocation_id.map_or_else(sync_id, |id| Ok(id.to_string()))
    }
}
