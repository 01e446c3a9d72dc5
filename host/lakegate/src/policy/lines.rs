//! The limits on what is logged about one tenant, and the references under which an operator finds what the tenant is not left_out.

use crate::limits::MAX_LOG_LINES_PER_SECOND;
use lakegate_base::log_limit::LogLimiter;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Log lines of one kind that a tenant's calls bring about in a second: there is no end of calls.
pub(super) const MAX_LINES: u32 = 20;
/// Tables whose failures are left_out in a second: a store that is gone fails a thousand at once, and the log is to have each.
const MAX_TABLES: u32 = 200;
/// The same of lines below warnings, which an operator asks for to look for a fault.
const MAX_DETAILS: u32 = 200;
/// Causes that are remembered with their references: a store that is gone fails a thousand tables for one.
const MAX_REMEMBERED: usize = 8;
/// How long a reference stands for its cause: who searches the log does not search a day of it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The lines of one tenant.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(super) notable: Mutex<LogLimiter>,
    pub(super) tables: Mutex<LogLimiter>,
    pub(super) details: Mutex<LogLimiter>,
    component: Mutex<LogLimiter>,
    referred: Mutex<Referred>,
}

impl Lines {
    /// A line that the tenant's component writes by itself: how many were left out before it, if it passes. One count for all instances.
    pub(crate) fn of_component(&self) -> Option<u64> {
        self.component.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()).passes()
    }
}

/// What was referred to lately.
#[derive(Debug)]
struct Referred {
    limit: LogLimiter,
    causes: VecDeque<Cause>,
}

#[derive(Debug)]
struct Cause {
    words: String,
    reference: String,
    since: Instant,
}

impl Default for Lines {
    fn default() -> Self {
        let limiter = |most| Mutex::new(LogLimiter::new(most));
        let referred = Mutex::new(Referred { limit: LogLimiter::new(MAX_LINES), causes: VecDeque::new() });
        Self {
            notable: limiter(MAX_LINES),
            tables: limiter(MAX_TABLES),
            details: limiter(MAX_DETAILS),
            component: limiter(MAX_LOG_LINES_PER_SECOND),
            referred,
        }
    }
}

impl Lines {
    /// The reference of a cause, and how many were left out before it if it has to be written down; none if there are too many now.
    pub(super) fn refer(&self, words: &str, now: Instant) -> Option<(String, Option<u64>)> {
        let mut referred = self.referred.lock().unwrap_or_else(PoisonError::into_inner);
        let Referred { limit, causes } = &mut *referred;
        causes.retain(|cause| now.saturating_duration_since(cause.since) < REMEMBERED);
        if let Some(cause) = causes.iter().find(|cause| cause.words == words) {
            return Some((cause.reference.clone(), None));
        }
        let left_out = limit.admit(now).passes()?;
        let reference = fresh();
        causes.truncate(MAX_REMEMBERED - 1);
        causes.push_front(Cause { words: words.to_owned(), reference: reference.clone(), since: now });
        Some((reference, Some(left_out)))
    }
}

/// Another reference: not that of another process, whose log may be the same.
fn fresh() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Without entropy it is at least another one than before.
    let number = getrandom::u64().unwrap_or_else(|_| COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{:012x}", number & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_has_one_reference_and_many_causes_are_told_in_part() {
        let (lines, now) = (Lines::default(), Instant::now());
        let (first, left_out) = lines.refer("gone", now).expect("the first");
        assert_eq!((first.len(), left_out), (12, Some(0)));
        assert_eq!(lines.refer("gone", now), Some((first.clone(), None)), "it is in the log already");
        let others: Vec<_> = (0..100).filter_map(|number| lines.refer(&number.to_string(), now)).collect();
        assert_eq!(others.len(), MAX_LINES as usize - 1);
        assert_eq!(lines.refer("more", now), None);
        let later = now + REMEMBERED;
        let (second, left_out) = lines.refer("gone", later).expect("another second");
        assert!(second != first && left_out == Some(82), "{left_out:?}");
        assert_eq!(lines.referred.lock().unwrap().causes.len(), 1);
    }
}
