//! A rate limit for log lines: a fixed number pass each second; the others are counted, and the next line that passes reports how many were
//! suppressed.

use std::time::{Duration, Instant};

/// Length of the counting window.
const PERIOD: Duration = Duration::from_secs(1);

/// Lets the first lines of each second pass.
#[derive(Debug)]
pub struct LogLimiter {
    most: u32,
    begun: Option<Instant>,
    passed: u32,
    held: u64,
}

/// The decision about one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The line is written; this many were suppressed since the last one.
    Passes(u64),
    /// The line is suppressed and counted.
    Held,
}

impl Admission {
    /// The number of lines suppressed before it, if it is written.
    pub fn passes(self) -> Option<u64> {
        match self {
            Self::Passes(held) => Some(held),
            Self::Held => None,
        }
    }
}

impl LogLimiter {
    /// A limit of `most` lines a second.
    pub const fn new(most: u32) -> Self {
        Self { most, begun: None, passed: 0, held: 0 }
    }

    /// Decides whether one more line is written at `now`.
    pub fn admit(&mut self, now: Instant) -> Admission {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= PERIOD) {
            (self.begun, self.passed) = (Some(now), 0);
        }
        if self.passed >= self.most {
            self.held = self.held.saturating_add(1);
            return Admission::Held;
        }
        self.passed += 1;
        Admission::Passes(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_told_of_with_the_next_that_passes() {
        let (mut limiter, start) = (LogLimiter::new(2), Instant::now());
        let decisions: Vec<Admission> = (0..5).map(|_| limiter.admit(start)).collect();
        assert_eq!(decisions, [Admission::Passes(0), Admission::Passes(0), Admission::Held, Admission::Held, Admission::Held]);
        assert_eq!(limiter.admit(start + PERIOD), Admission::Passes(3));
        assert_eq!(limiter.admit(start + PERIOD), Admission::Passes(0));
        assert_eq!(limiter.admit(start + PERIOD), Admission::Held);
    }
}
