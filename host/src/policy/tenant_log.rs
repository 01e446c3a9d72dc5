//! What is told of a tenant, and to whom: so many log lines a second under its name, and what its operator alone may read under a reference.

use super::Tenant;
use crate::limits::MAX_LOG_LINES_PER_SECOND;
use crate::log_limit::LogLimiter;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Log lines of one kind that a tenant's calls bring about in a second: there is no end of calls.
const MAX_LINES: u32 = 20;
/// Tables whose failures are told in a second: a store that is gone fails a thousand at once, and the log is to have each.
const MAX_TABLES: u32 = 200;
/// The same of lines below warnings, which an operator asks for to look for a fault.
const MAX_DETAILS: u32 = 200;
/// Causes that are remembered with their references: a store that is gone fails a thousand tables for one.
const MAX_REMEMBERED: usize = 8;
/// How long a reference stands for its cause: who searches the log does not search a day of it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A line that may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Whose it is; nobody's in a single user's process.
    pub(crate) tenant: Option<&'a str>,
    /// Lines of its kind that were left out before it.
    pub(crate) more: Option<u64>,
}

impl<'a> Line<'a> {
    /// A warning or an error; [`None`] if it is to be left out.
    pub(crate) fn of(tenant: Option<&'a Tenant>) -> Option<Self> {
        Self::under(tenant, |lines| &lines.notable)
    }

    /// The failure of a table.
    pub(crate) fn of_table(tenant: Option<&'a Tenant>) -> Option<Self> {
        Self::under(tenant, |lines| &lines.tables)
    }

    /// A line below a warning.
    pub(crate) fn detail_of(tenant: Option<&'a Tenant>) -> Option<Self> {
        Self::under(tenant, |lines| &lines.details)
    }

    fn under(tenant: Option<&'a Tenant>, kind: impl Fn(&Lines) -> &Mutex<LogLimiter>) -> Option<Self> {
        let Some(tenant) = tenant else { return Some(Self { tenant: None, more: None }) };
        let more = kind(&tenant.lines).lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()).passes()?;
        Some(Self { tenant: Some(&tenant.name), more: (more > 0).then_some(more) })
    }
}

/// The lines of one tenant.
#[derive(Debug)]
pub(crate) struct Lines {
    notable: Mutex<LogLimiter>,
    tables: Mutex<LogLimiter>,
    details: Mutex<LogLimiter>,
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
    fn refer(&self, words: &str, now: Instant) -> Option<(String, Option<u64>)> {
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

impl Tenant {
    /// What a tenant hears of something that is its operator's: `said`, and the reference under which the log has `cause`, in a line that
    /// begins with `what`.
    pub(crate) fn refer(&self, said: &str, what: &str, cause: &str) -> String {
        match self.lines.refer(cause, Instant::now()) {
            Some((reference, told)) => {
                if let Some(left_out) = told {
                    let left_out = (left_out > 0).then_some(left_out);
                    tracing::error!(tenant = &*self.name, reference, left_out, error = cause, "{what}");
                }
                format!("{said}; the operator's log has the cause under reference {reference}")
            }
            None => format!("{said}; the operator's log counts the failures of this second, and has the causes of the first"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grant;
    use super::*;

    #[test]
    fn lines_of_a_tenant_are_so_many_a_second_under_its_name_and_those_of_a_user_are_all_there() {
        let (tenant, other) = (Tenant::new("acme", Grant::default()), Tenant::new("beta", Grant::default()));
        let told = |tenant| (0..1_000).filter_map(|_| Line::of(tenant)).collect::<Vec<_>>();
        let lines = told(Some(&tenant));
        // A second may end meanwhile, once.
        assert!((MAX_LINES as usize..=2 * MAX_LINES as usize).contains(&lines.len()), "{}", lines.len());
        assert!(lines.iter().all(|line| line.tenant == Some("acme")));
        assert_eq!(Line::of(Some(&other)).map(|line| line.tenant), Some(Some("beta")), "each has a count of its own");
        assert!(Line::detail_of(Some(&tenant)).is_some(), "and so has each kind");
        assert_eq!(told(None).len(), 1_000);
    }

    #[test]
    fn one_cause_has_one_reference_and_many_causes_are_told_in_part() {
        let (lines, now) = (Lines::default(), Instant::now());
        let (first, told) = lines.refer("gone", now).expect("the first");
        assert_eq!((first.len(), told), (12, Some(0)));
        assert_eq!(lines.refer("gone", now), Some((first.clone(), None)), "it is in the log already");
        let others: Vec<_> = (0..100).filter_map(|number| lines.refer(&number.to_string(), now)).collect();
        assert_eq!(others.len(), MAX_LINES as usize - 1);
        assert_eq!(lines.refer("more", now), None);
        let later = now + REMEMBERED;
        let (second, told) = lines.refer("gone", later).expect("another second");
        assert!(second != first && told == Some(82), "{told:?}");
        assert_eq!(lines.referred.lock().unwrap().causes.len(), 1);
    }

    #[test]
    fn a_tenant_hears_no_word_of_the_cause() {
        let tenant = Tenant::new("acme", Grant::default());
        let said: Vec<String> =
            (0..100).map(|number| tenant.refer("it failed", "It failed.", &format!("User: arn:aws:sts::{number}:role/x"))).collect();
        assert!(said[0].starts_with("it failed; the operator's log has the cause under reference "), "{said:?}");
        assert_eq!(said[99], "it failed; the operator's log counts the failures of this second, and has the causes of the first");
        assert!(said.iter().all(|said| !said.contains("arn:")), "{said:?}");
    }
}
