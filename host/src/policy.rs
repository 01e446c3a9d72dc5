//! What may be put where: pure decisions, no I/O.
//!
//! [`Authorized`] is a value one has to hold: only [`Policy::authorize`] makes it, and the S3 client takes nothing else. Bucket, endpoint,
//! credentials, ACL and encryption take no part in a request: they are fixed when the client connects, so a guest cannot name another.

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
    /// The grant of a single-user command: every key of the bucket that the spec asks for.
    pub fn from_spec(_target: &StorageTarget) -> Self {
        Self { key_prefix: String::new() }
    }

    /// True if the key lies below the prefix. A prefix that is not a whole number of segments allows nothing: `a` would also let in `ab/c`.
    fn allows(&self, key: &str) -> bool {
        (self.key_prefix.is_empty() || self.key_prefix.ends_with('/')) && key.starts_with(&self.key_prefix)
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
        if self.grant.allows(request.key.as_str()) {
            Ok(Authorized(request))
        } else {
            Err(Denied(format!("the key {:?} is outside the granted prefix {:?}", request.key.as_str(), self.grant.key_prefix)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ContentType, ObjectKey};
    use proptest::prelude::*;

    fn authorize(prefix: &str, key: &str) -> Result<Authorized<PutObject>, Denied> {
        let request =
            PutObject { key: ObjectKey::parse(key).expect("a key"), content_type: ContentType::parse("text/csv").expect("a type") };
        Policy::new(Grant { key_prefix: prefix.into() }).authorize(request)
    }

    #[test]
    fn a_prefix_holds_at_a_segment() {
        let check = |prefix: &str, key: &str, good: bool| assert_eq!(authorize(prefix, key).is_ok(), good, "{prefix:?} {key:?}");
        check("", "a/b", true);
        check("a/", "a/b", true);
        check("a/", "a/b/c", true);
        check("a/", "a", false);
        check("a/", "ab/c", false);
        check("a/", "A/b", false);
        check("a/b/", "a/c", false);
        check("a", "ab", false);
        check("a", "a/b", false);
    }

    #[test]
    fn a_refusal_names_key_and_prefix() {
        let denied = authorize("a/", "b/c").expect_err("outside");
        assert_eq!(denied.0, r#"the key "b/c" is outside the granted prefix "a/""#);
    }

    proptest! {
        #[test]
        fn what_is_allowed_lies_below_the_prefix(segments in prop::collection::vec("[a-c]{1,2}", 0..3), key in "[a-c]{1,2}(/[a-c]{1,2}){0,4}") {
            let prefix: String = segments.iter().map(|segment| format!("{segment}/")).collect();
            let below = key.split('/').take(segments.len()).eq(segments.iter().map(String::as_str)) && key.split('/').count() > segments.len();
            prop_assert_eq!(authorize(&prefix, &key).is_ok(), below);
        }
    }
}
