//! What is logged of a tenant, and for whom: so many log lines a second under its name, and what its operator alone may read under a reference.

use super::lines::Lines;
use super::tenant::Tenant;
use lakegate_base::log_limit::LogLimiter;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

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
    pub(crate) fn notable(tenant: Option<&'a Tenant>) -> Option<Self> {
        Self::under(tenant, |lines| &lines.notable)
    }

    /// The failure of a table.
    pub(crate) fn table_failure(tenant: Option<&'a Tenant>) -> Option<Self> {
        Self::under(tenant, |lines| &lines.tables)
    }

    /// A line below a warning.
    pub(crate) fn detail(tenant: Option<&'a Tenant>) -> Option<Self> {
        Self::under(tenant, |lines| &lines.details)
    }

    fn under(tenant: Option<&'a Tenant>, kind: impl Fn(&Lines) -> &Mutex<LogLimiter>) -> Option<Self> {
        let Some(tenant) = tenant else { return Some(Self { tenant: None, more: None }) };
        let more = kind(&tenant.lines).lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()).passes()?;
        Some(Self { tenant: Some(&tenant.name), more: (more > 0).then_some(more) })
    }
}

impl Tenant {
    /// What a tenant hears of something that is its operator's: `said`, and the reference under which the log has `cause`, in a line that
    /// begins with `what`.
    pub(crate) fn refer(&self, said: &str, what: &str, cause: &str) -> String {
        match self.lines.refer(cause, Instant::now()) {
            Some((reference, left_out_before)) => {
                if let Some(left_out) = left_out_before {
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
    use super::super::grant::Grant;
    use super::super::lines::MAX_LINES;
    use super::*;

    #[test]
    fn lines_of_a_tenant_are_so_many_a_second_under_its_name_and_those_of_a_user_are_all_there() {
        let (tenant, other) = (Tenant::new("acme", Grant::default()), Tenant::new("beta", Grant::default()));
        let lines_of = |tenant| (0..1_000).filter_map(|_| Line::notable(tenant)).collect::<Vec<_>>();
        let lines = lines_of(Some(&tenant));
        // A second may end meanwhile, once.
        assert!((MAX_LINES as usize..=2 * MAX_LINES as usize).contains(&lines.len()), "{}", lines.len());
        assert!(lines.iter().all(|line| line.tenant == Some("acme")));
        assert_eq!(Line::notable(Some(&other)).map(|line| line.tenant), Some(Some("beta")), "each has a count of its own");
        assert!(Line::detail(Some(&tenant)).is_some(), "and so has each kind");
        assert_eq!(lines_of(None).len(), 1_000);
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
