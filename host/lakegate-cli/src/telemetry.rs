//! Options for traces and metrics, and their beginning and end in a command.

use super::exit::{CliError, Exit};
use super::interrupt;
use lakegate_telemetry::{Problem, Settings, Telemetry, limits};
use std::time::Duration;

/// How long an interrupted command waits until everything is sent.
const INTERRUPTED_FLUSH_TIME: Duration = Duration::from_millis(500);

/// Options for traces and metrics.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// Send traces and metrics to this OpenTelemetry collector, by OTLP over HTTP: HOST:PORT, or a URL that `/v1/traces` and `/v1/metrics` are appended
    /// to [default: $OTEL_EXPORTER_OTLP_ENDPOINT].
    #[arg(long, value_name = "HOST:PORT|URL")]
    pub otel_endpoint: Option<String>,
    /// Send them without TLS, if --otel-endpoint is no URL.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    pub otel_endpoint_insecure: bool,
}

impl TelemetryArgs {
    /// Begins to send, if that is asked for. `command` is the name of the span above all writes of the process.
    ///
    /// # Errors
    /// The endpoint of the command line is none. What is wrong in the environment is only a warning: it may be meant for other programs.
    pub(crate) fn start(&self, command: Option<&'static str>) -> Result<Option<Telemetry>, CliError> {
        let settings = match Settings::new(self.otel_endpoint.as_deref(), self.otel_endpoint_insecure, |name| std::env::var(name).ok()) {
            Ok(Some(settings)) => settings,
            Ok(None) => return Ok(None),
            Err(Problem::Flag(message)) => return Err(CliError::new(Exit::Usage, message)),
            Err(Problem::Environment(message)) => {
                tracing::warn!("No telemetry is sent: {message}");
                return Ok(None);
            }
        };
        let started = Telemetry::start(settings, command);
        started.map(Some).map_err(|error| CliError::new(Exit::Unexpected, format!("--otel-endpoint: {error}")))
    }
}

/// Sends what is left at the end of a command; a signal ends that.
pub(crate) async fn finish(telemetry: Option<Telemetry>, ended: &Result<Exit, CliError>) {
    let Some(telemetry) = telemetry else { return };
    let exit = ended.as_ref().map_or_else(|error| error.exit, |exit| *exit);
    let limit = if exit == Exit::Interrupted { INTERRUPTED_FLUSH_TIME } else { limits::FLUSH_TIME };
    tokio::select! {
        () = telemetry.finish(exit.code(), limit) => {}
        Ok(()) = interrupt::signalled() => {}
    }
}
