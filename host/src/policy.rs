//! What may be put where: pure decisions, no I/O.
//!
//! [`Authorized`] is a value one has to hold: only [`Policy::authorize`] makes it, and the S3 client takes nothing else.

use crate::bindings::StorageTarget;
use crate::object::PutObject;

/// A request that the policy allows.
#[derive(Debug, Clone)]
pub struct Authorized<T>(T);

impl<T> Authorized<T> {
    /// The request.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// A request that the policy refuses: which rule, which value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// What one user may do. Single-user commands run under a grant made from the spec itself.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Keys must start with it; empty or ends in `/`.
    pub key_prefix: String,
}

impl Grant {
    /// The grant of a single-user command: everything the spec asks for.
    pub fn from_spec(target: &StorageTarget) -> Self {
        let _ = target;
        Self { key_prefix: String::new() }
    }
}

/// Decides.
#[derive(Debug, Clone)]
pub struct Policy {
    grant: Grant,
}

impl Policy {
    /// A policy of one grant.
    pub fn new(grant: Grant) -> Self {
        Self { grant }
    }

    /// Decides on a rendered request.
    ///
    /// # Errors
    /// [`Denied`], naming the rule and the value.
    pub fn authorize(&self, request: PutObject) -> Result<Authorized<PutObject>, Denied> {
        if request.key.as_str().starts_with(&self.grant.key_prefix) {
            Ok(Authorized(request))
        } else {
            Err(Denied(format!("the key {:?} is outside the granted prefix {:?}", request.key.as_str(), self.grant.key_prefix)))
        }
    }
}
