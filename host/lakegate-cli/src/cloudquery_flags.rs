//! Flags that the CloudQuery CLI accepts on its commands, so that command lines written for it work here, too.

use super::console::Console;
use super::exit::CliError;
use super::output_args::OutputArgs;
use super::sync_id::sync_id;
use lakegate_base::log_level::LogLevel;
use std::path::PathBuf;

/// Flags of all commands that run plugins.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CloudQueryFlags {
    /// The ID of the run, `{{SYNC_ID}}` in paths [default: random].
    #[arg(long, value_name = "UUID")]
    pub invocation_id: Option<uuid::Uuid>,
    /// Show the log, at level info unless --log-level is given, instead of a progress bar.
    #[arg(long)]
    pub log_console: bool,
    /// Accepted, but the log only goes to stderr.
    #[arg(long, value_name = "FILE", hide = true)]
    pub log_file_name: Option<PathBuf>,
    /// Accepted, but the log only goes to stderr.
    #[arg(long, hide = true)]
    pub log_file_overwrite: bool,
    /// Accepted; there is never a log file.
    #[arg(long, hide = true)]
    pub no_log_file: bool,
    /// Accepted, but nothing is downloaded.
    #[arg(long, value_name = "DIR", hide = true)]
    pub cq_dir: Option<PathBuf>,
    /// Accepted; nothing is sent to CloudQuery.
    #[arg(long, value_name = "LEVEL", hide = true)]
    pub telemetry_level: Option<String>,
}

impl CloudQueryFlags {
    /// Starts the log, and warns about flags that have no effect.
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

    /// Warns about given flags that have no effect. Flags that turn something off (`--no-log-file`, `--telemetry-level`) need no warning.
    pub(crate) fn warn_also(&self, flags: &[(&str, bool)]) {
        for (flag, _) in flags.iter().filter(|(_, given)| *given) {
            tracing::warn!(flag, "The flag is accepted but has no effect.");
        }
    }

    /// The ID of the run.
    pub(crate) fn sync_id(&self) -> Result<String, CliError> {
        self.invocation_id.map_or_else(sync_id, |id| Ok(id.to_string()))
    }
}
