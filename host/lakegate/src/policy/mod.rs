//! What may be put where: pure decisions, and the books that are kept of them.
//!
//! A tenant's [`Grant`](grant::Grant) decides twice: [`Tenant::admit`](tenant::Tenant::admit) on a checked spec, when a session opens, and [`Policy::authorize`](authorize::Policy::authorize) on each rendered
//! request. [`Authorized`](authorize::Authorized) is a value one has to hold: only `authorize` makes it, and the S3 client takes nothing else. Bucket, endpoint,
//! credentials, ACL and encryption take no part in a request: they are fixed when the client connects, so a guest cannot name another.

pub mod audit;
pub(crate) mod authorize;
mod day;
pub(crate) mod denied;
pub(crate) mod grant;
pub(crate) mod least_policy;
pub(crate) mod lines;
pub(crate) mod metrics;
pub(crate) mod quarantine;
pub(crate) mod quota;
pub(crate) mod rate_limit;
pub(crate) mod resources;
mod session_policy;
pub(crate) mod tenant;
pub(crate) mod tenant_log;
