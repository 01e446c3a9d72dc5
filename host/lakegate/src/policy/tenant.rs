//! A tenant at work: its grant, and all that its sessions share and use up.

use super::audit::Waiting;
use super::denied::Denied;
use super::grant::Grant;
use super::lines::Lines;
use super::metrics::{OpenSession, TenantMetrics};
use super::quarantine::Quarantine;
use super::quota::Quota;
use super::rate_limit::RateLimit;
use super::resources::Resources;
use crate::storage::target::{CatalogPlan, Configuration, CredentialSource, StorageTarget};
use lakegate_base::log_limit::LogLimiter;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Denials of a tenant in a second that are logged one by one: there is no end of what a client can ask for.
pub(super) const MAX_DENIALS_LOGGED: u32 = 20;
/// A tenant: its name, its grant, the credentials its requests are signed with, and what it has used.
#[derive(Debug)]
pub struct Tenant {
    /// As the operator calls it.
    pub name: Arc<str>,
    /// What it may do.
    pub grant: Grant,
    /// A profile or role to use; a spec never names one.
    pub credentials: CredentialSource,
    /// What it has used of its day, and what it has open.
    pub quota: Arc<Quota>,
    /// How many objects, and how many bytes, in a second.
    pub(crate) rate_limits: [Option<RateLimit>; 2],
    /// What it has done so far.
    pub metrics: Arc<TenantMetrics>,
    /// Whether its guests trap too often.
    pub quarantine: Arc<Quarantine>,
    /// What it may use of the machine.
    pub share: Arc<Resources>,
    /// How many of its denials are logged one by one.
    pub(crate) denials: Mutex<LogLimiter>,
    /// Its audit lines that wait to be written.
    pub(crate) waiting: Arc<Waiting>,
    /// The other log lines that its calls bring about.
    pub(crate) lines: Arc<Lines>,
}

/// What a tenant may have only so fast.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RateKind {
    Objects,
    Bytes,
}

impl Tenant {
    /// A tenant whose requests are signed with what the default chain finds.
    pub fn new(name: &str, grant: Grant) -> Self {
        let quota = Arc::new(Quota::new(&grant));
        let credentials = CredentialSource::default();
        let rate_limits = [grant.objects_per_second, grant.bytes_per_second].map(|rate| rate.map(RateLimit::new));
        Self {
            name: name.into(),
            grant,
            credentials,
            quota,
            rate_limits,
            metrics: Arc::default(),
            quarantine: Arc::default(),
            share: Arc::default(),
            denials: Mutex::new(LogLimiter::new(MAX_DENIALS_LOGGED)),
            waiting: Arc::default(),
            lines: Arc::default(),
        }
    }

    /// Whether a denial is logged now, and how many before it were not.
    pub(super) fn admit_denial(&self, now: Instant) -> Option<u64> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).admit(now).passes()
    }

    /// The same tenant with credentials of its own and a share of the machine.
    #[must_use]
    pub fn with(self, credentials: CredentialSource, share: Arc<Resources>) -> Self {
        Self { credentials, share, ..self }
    }

    /// Audit lines that there was no room for, since the process began.
    pub fn audit_lines_left_out(&self) -> u64 {
        self.waiting.all_left_out()
    }

    /// Takes over what the tenant has used, done and suffered under an earlier grant: a new grant is no new day.
    pub fn follow(&mut self, earlier: &Self) {
        self.quota = Arc::new(earlier.quota.under(&self.grant));
        self.metrics = earlier.metrics.clone();
        self.quarantine = earlier.quarantine.clone();
        self.waiting = earlier.waiting.clone();
        self.lines = earlier.lines.clone();
    }

    /// Room for one session more.
    ///
    /// # Errors
    /// `quarantine`, or `max_sessions`.
    pub(crate) fn enter(&self) -> Result<OpenSession, Denied> {
        self.may_run()?;
        let most = self.grant.max_sessions.unwrap_or(1);
        let full = || Denied::new("max_sessions", format!("sessions at once: {most} granted (`max_sessions`), and all are open"));
        self.metrics.session(most).ok_or_else(full)
    }

    /// Whether an instance of its component may be started now.
    ///
    /// # Errors
    /// `quarantine`.
    pub(crate) fn may_run(&self) -> Result<(), Denied> {
        self.quarantine.check(Instant::now())
    }

    /// Waits until so many objects or bytes are due.
    pub(crate) async fn pace(&self, what: RateKind, amount: u64) {
        let (limit, rule) = match what {
            RateKind::Objects => (&self.rate_limits[0], "objects_per_second"),
            RateKind::Bytes => (&self.rate_limits[1], "bytes_per_second"),
        };
        if let Some(limit) = limit
            && limit.take(amount).await
        {
            self.metrics.throttled(rule);
        }
    }

    /// Decides on a checked spec: where its session's requests go, as granted.
    ///
    /// # Errors
    /// Every rule that the spec breaks.
    pub fn admit(&self, configuration: &Configuration) -> Result<StorageTarget, Vec<Denied>> {
        let denials = self.grant.denials(configuration);
        if !denials.is_empty() {
            return Err(denials);
        }
        Ok(StorageTarget {
            endpoint: self.grant.endpoint.clone(),
            path_style: self.grant.path_style,
            skip_tls_verify: self.grant.skip_tls_verify,
            credentials: self.credentials.clone(),
            ..configuration.target.clone()
        })
    }

    /// The catalog of an admitted spec, as the grant has it.
    pub fn catalog(&self, plan: &CatalogPlan) -> Option<CatalogPlan> {
        self.grant.catalog(plan)
    }

    /// One of its guests has trapped.
    pub(crate) fn trapped(&self) {
        self.metrics.trapped();
        self.quarantine.trapped(Instant::now());
    }
}
