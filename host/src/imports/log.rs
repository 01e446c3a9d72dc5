//! `lakegate:destination/log`: lines of the guest, cut and rate-limited.

use super::State;
use crate::bindings::lakegate::destination::log::{Host, Level};
use crate::limits::{MAX_LOG_LINE_BYTES, MAX_LOG_LINES_PER_SECOND};
use std::time::{Duration, Instant};

/// Lets so many lines a second through and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    second: Option<Instant>,
    lines: u32,
    dropped: u64,
    last_error: Option<String>,
}

impl Gate {
    /// True if a line may pass now; before the first of a new second, tells how many were dropped in the one before.
    fn admit(&mut self, now: Instant) -> (bool, u64) {
        let fresh = self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1));
        let dropped = if fresh {
            (self.second, self.lines) = (Some(now), 0);
            std::mem::take(&mut self.dropped)
        } else {
            0
        };
        self.lines += 1;
        let admitted = self.lines <= MAX_LOG_LINES_PER_SECOND;
        self.dropped += u64::from(!admitted);
        (admitted, dropped)
    }

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
        let (admitted, dropped) = self.log.admit(Instant::now());
        let lane = self.context.lane;
        if dropped > 0 {
            tracing::warn!(lane, dropped, "The component logs too much; lines were dropped.");
        }
        if admitted {
            match level {
                Level::Trace => tracing::trace!(target: "lakegate::guest", lane, "{line}"),
                Level::Debug => tracing::debug!(target: "lakegate::guest", lane, "{line}"),
                Level::Info => tracing::info!(target: "lakegate::guest", lane, "{line}"),
                Level::Warn => tracing::warn!(target: "lakegate::guest", lane, "{line}"),
                Level::Error => tracing::error!(target: "lakegate::guest", lane, "{line}"),
            }
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
    fn lines_past_the_rate_are_dropped_and_told_of_in_the_next_second() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        let admitted = (0..MAX_LOG_LINES_PER_SECOND + 5).filter(|_| gate.admit(start).0).count();
        assert_eq!(admitted, MAX_LOG_LINES_PER_SECOND as usize);
        assert_eq!(gate.admit(start + Duration::from_secs(1)), (true, 5));
        assert_eq!(gate.admit(start + Duration::from_secs(1)), (true, 0));
    }

    #[test]
    fn a_line_is_cut_at_a_character() {
        let line = "é".repeat(MAX_LOG_LINE_BYTES);
        assert_eq!(cut(&line).len(), MAX_LOG_LINE_BYTES);
        let odd = format!("x{line}");
        assert_eq!(cut(&odd).len(), MAX_LOG_LINE_BYTES - 1);
        assert_eq!(cut("short"), "short");
    }
}
