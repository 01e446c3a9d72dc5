//! So many in a second: the rest is counted, so that what is left out can be told.

use std::time::{Duration, Instant};

/// How often the counts begin anew.
const PERIOD: Duration = Duration::from_secs(1);

/// Lets the first of each second through.
#[derive(Debug)]
pub(crate) struct LogLimiter {
    most: u32,
    begun: Option<Instant>,
    passed: u32,
    held: u64,
}

/// What becomes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It passes; so many were held back before it, and nobody has been told.
    Passes(u64),
    /// It is held back.
    Held,
}

impl Admission {
    /// How many were held back before, of one that passes.
    pub(crate) fn passes(self) -> Option<u64> {
        match self {
            Self::Passes(held) => Some(held),
            Self::Held => None,
        }
    }
}

impl LogLimiter {
    /// At most `most` in a second.
    pub(crate) const fn new(most: u32) -> Self {
        Self { most, begun: None, passed: 0, held: 0 }
    }

    /// One more.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
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
        let (mut sieve, start) = (LogLimiter::new(2), Instant::now());
        let sifted: Vec<Admission> = (0..5).map(|_| sieve.admit(start)).collect();
        assert_eq!(sifted, [Admission::Passes(0), Admission::Passes(0), Admission::Held, Admission::Held, Admission::Held]);
        assert_eq!(sieve.admit(start + PERIOD), Admission::Passes(3));
        assert_eq!(sieve.admit(start + PERIOD), Admission::Passes(0));
        assert_eq!(sieve.admit(start + PERIOD), Admission::Held);
    }
}
