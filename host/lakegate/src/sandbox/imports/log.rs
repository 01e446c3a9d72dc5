//! `lakegate:destination/log`: lines of the guest, cut and rate-limited.

use crate::limits::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES_PER_SECOND};
use crate::policy::tenant::Tenant;
use crate::sandbox::bindings::lakegate::destination::log::{Host, Level};
use lakegate_base::log_limit::LogLimiter;
use std::sync::Arc;
use std::time::Instant;

/// What is written instead of a message of ours: the guest's words are a value, and pass for nothing else.
const SAID: &str = "The component says.";

/// The view of the log: whose lines these are, and how many a second pass.
#[derive(Debug)]
pub(crate) struct GuestLogger {
    lane: usize,
    tenant: Option<Arc<Tenant>>,
    /// A single user's count; a tenant's instances have one together, since any number of them may be started.
    limiter: LogLimiter,
    last_error: Option<String>,
}

impl GuestLogger {
    pub(crate) fn new(lane: usize, tenant: Option<Arc<Tenant>>) -> Self {
        Self { lane, tenant, limiter: LogLimiter::new(MAX_LOG_LINES_PER_SECOND), last_error: None }
    }

    /// The last line of level error: a panic says its cause there before it traps.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

impl Host for GuestLogger {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let line = cut(&message);
        if level == Level::Error {
            self.last_error = Some(line.to_owned());
        }
        let lane = self.lane;
        let tenant = self.tenant.as_ref();
        let passes = match tenant {
            Some(tenant) => tenant.lines.of_component(),
            None => self.limiter.admit(Instant::now()).passes(),
        };
        let Some(dropped) = passes else { return Ok(()) };
        let tenant = tenant.map(|tenant| &*tenant.name);
        if dropped > 0 {
            tracing::warn!(lane, tenant, dropped, "The component logs too much; lines were dropped.");
        }
        match level {
            Level::Trace => tracing::trace!(target: "lakegate::guest", lane, tenant, line, "{SAID}"),
            Level::Debug => tracing::debug!(target: "lakegate::guest", lane, tenant, line, "{SAID}"),
            Level::Info => tracing::info!(target: "lakegate::guest", lane, tenant, line, "{SAID}"),
            Level::Warn => tracing::warn!(target: "lakegate::guest", lane, tenant, line, "{SAID}"),
            Level::Error => tracing::error!(target: "lakegate::guest", lane, tenant, line, "{SAID}"),
        }
        Ok(())
    }
}

/// At most so many bytes, at a character.
pub(crate) fn cut(message: &str) -> &str {
    let end = message.floor_char_boundary(MAX_LOG_LINE_BYTES);
    message.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_a_character() {
        let line = "é".repeat(MAX_LOG_LINE_BYTES);
        assert_eq!(cut(&line).len(), MAX_LOG_LINE_BYTES);
        let odd = format!("x{line}");
        assert_eq!(cut(&odd).len(), MAX_LOG_LINE_BYTES - 1);
        assert_eq!(cut("short"), "short");
    }
}
