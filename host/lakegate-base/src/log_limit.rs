//! A limit on log lines: so many pass each second; the others are counted, and the next line that passes says how many.

use std::time::{Duration, Instant};

/// How long a count lasts.
const PERIOD: Duration = Duration::from_secs(1);

/// Passes the first lines of each second.
#[derive(Debug)]
pub struct LogLimiter {
    most: u32,
    begun: Option<Instant>,
    passed: u32,
    held: u64,
}

/// The decision on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is written; so many were held back since the last one.
    Passes(u64),
    /// It is left out, and counted.
    Held,
}

impl Admission {
    /// The lines held back before it, if it is written.
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

    /// Decides on one more line at `now`.
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
