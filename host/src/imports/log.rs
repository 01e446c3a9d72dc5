//! `lakegate:destination/log`: lines of the guest, cut and rate-limited.

use super::State;
use crate::bindings::lakegate::destination::log::{Host, Level};
use crate::limits::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES_PER_SECOND};
use crate::log_limit::LogLimiter;
use std::time::Instant;

/// What is written instead of a message of ours: the guest's words are a value, and pass for nothing else.
const SAID: &str = "The component says.";

/// The lines of one instance; those of a tenant's instances are counted together.
#[derive(Debug)]
pub(crate) struct Gate {
    sieve: LogLimiter,
    last_error: Option<String>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { sieve: LogLimiter::new(MAX_LOG_LINES_PER_SECOND), last_error: None }
    }
}

impl Gate {
    /// The last line of level error: a panic says its cause there before it traps.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

impl Host for State {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let line = cut(&message);
        if level == Level::Error {
            self.log.last_error = Some(line.to_owned());
        }
        let lane = self.context.lane;
        let tenant = self.context.tenant.as_ref();
        // A tenant's instances have one count: there is no end of instances.
        let passes = match tenant {
            Some(tenant) => tenant.lines.of_component(),
            None => self.log.sieve.admit(Instant::now()).passes(),
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
