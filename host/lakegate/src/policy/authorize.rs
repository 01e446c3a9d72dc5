//! The decision on a rendered request, and its line in the audit log.

use super::audit::AUDIT;
use super::denied::Denied;
use super::tenant::Tenant;
use crate::storage::object::{ObjectKey, PutObject};
use std::sync::Arc;
use std::time::Instant;

/// A request that the policy allows.
#[derive(Debug, Clone)]
pub struct Authorized<T>(T);

impl<T> Authorized<T> {
    /// The request.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// Decides on the requests of a session.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    tenant: Option<Arc<Tenant>>,
}

impl Policy {
    /// The policy of a single-user command: every key of the bucket that the user's own spec names.
    pub fn for_user() -> Self {
        Self::default()
    }

    /// The policy of a tenant.
    pub fn for_tenant(tenant: Arc<Tenant>) -> Self {
        Self { tenant: Some(tenant) }
    }

    /// Whose requests these are; [`None`] for a single-user command.
    pub fn tenant(&self) -> Option<&Arc<Tenant>> {
        self.tenant.as_ref()
    }

    /// Decides on a rendered request.
    ///
    /// # Errors
    /// [`Denied`], naming the rule and the value.
    pub fn authorize(&self, request: PutObject) -> Result<Authorized<PutObject>, Denied> {
        match &self.tenant {
            None => Ok(Authorized(request)),
            Some(tenant) => tenant.grant.check(&request).map(|()| Authorized(request)),
        }
    }

    /// Decides on an object that the host itself writes beside the tables' objects: a manifest, a list, a marker. Its content type is the
    /// host's.
    ///
    /// # Errors
    /// [`Denied`], naming the rule and the value.
    pub fn authorize_record(&self, request: PutObject) -> Result<Authorized<PutObject>, Denied> {
        match &self.tenant {
            None => Ok(Authorized(request)),
            Some(tenant) => tenant.grant.check_record(&request.key).map(|()| Authorized(request)),
        }
    }

    /// Decides on a look at an object that is, or may be, one of the session's own.
    ///
    /// # Errors
    /// [`Denied`], naming the rule and the value.
    pub fn authorize_read(&self, key: ObjectKey) -> Result<Authorized<ObjectKey>, Denied> {
        match &self.tenant {
            None => Ok(Authorized(key)),
            Some(tenant) => tenant.grant.check_record(&key).map(|()| Authorized(key)),
        }
    }

    /// Writes a denial into the audit log: the first of a second with their words, the rest as a number with the next. The metrics count all.
    /// Without room for it, it is left out and counted: who decides does not wait, but the tenant's next session or object does.
    pub fn audit_denial(&self, denied: &Denied, key: Option<&str>) {
        let Some(tenant) = &self.tenant else { return };
        tenant.metrics.denied(denied);
        if let Some(more) = tenant.admit_denial(Instant::now()) {
            let Some(room) = tenant.waiting.room_now() else { return tenant.waiting.leave_out() };
            let left_out = tenant.waiting.take_left_out();
            let (tenant, more) = (&*tenant.name, (more > 0).then_some(more));
            room.log(|| {
                tracing::warn!(target: AUDIT, tenant, decision = "denied", rule = denied.rule, key, more, left_out, "{}", denied.message);
            });
        }
    }

    /// Waits until the tenant's audit lines are written but for a few: nothing more is begun for it meanwhile.
    pub(crate) async fn audit_has_room(&self) {
        if let Some(tenant) = &self.tenant {
            tenant.waiting.has_room().await;
        }
    }

    /// Writes an object that has landed into the audit log, once there is room for the line there; or leaves the line out, and counts it,
    /// when `end` comes first.
    pub async fn audit_object(&self, key: &str, bytes: u64, rows: u64, end: impl Future<Output = ()>) {
        let Some(tenant) = &self.tenant else { return };
        tenant.metrics.landed(bytes, rows);
        let room = tokio::select! {
            biased;
            room = tenant.waiting.room() => room,
            () = end => None,
        };
        let Some(room) = room else { return tenant.waiting.leave_out() };
        let (left_out, tenant) = (tenant.waiting.take_left_out(), &*tenant.name);
        room.log(|| {
            tracing::info!(target: AUDIT, tenant, decision = "stored", rule = "key_prefixes", key, bytes, rows, left_out, "An object has landed.");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::grant::Grant;
    use super::*;
    use proptest::prelude::*;

    fn authorize(prefix: &str, key: &str) -> Result<Authorized<PutObject>, Denied> {
        let request = PutObject::parse(key, "text/csv").expect("a request");
        let grant = Grant { key_prefixes: vec![prefix.into()], content_types: vec!["text/csv".into()], ..Grant::default() };
        Policy::for_tenant(Arc::new(Tenant::new("t", grant))).authorize(request)
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
        check("tenant1/", "tenant10/x", false);
    }

    #[test]
    fn a_refusal_names_rule_key_and_prefix() {
        let denied = authorize("a/", "b/c").expect_err("outside");
        assert_eq!((denied.rule, denied.message.as_str()), ("key_prefixes", r#"the key "b/c" is outside the granted prefixes ["a/"]"#));
    }

    #[test]
    fn a_user_writes_where_the_spec_says() {
        let request = PutObject::parse("any/key", "x/y").unwrap();
        assert_eq!(Policy::for_user().authorize(request).unwrap().get().key.as_str(), "any/key");
    }

    proptest! {
        #[test]
        fn what_is_allowed_lies_below_the_prefix(segments in prop::collection::vec("[a-c]{1,2}", 0..3), key in "[a-c]{1,2}(/[a-c]{1,2}){0,4}") {
            let prefix: String = segments.iter().map(|segment| format!("{segment}/")).collect();
            let below = key.split('/').take(segments.len()).eq(segments.iter().map(String::as_str)) && key.split('/').count() > segments.len();
            prop_assert_eq!(authorize(&prefix, &key).is_ok(), below);
        }

        #[test]
        fn no_text_gets_out_of_the_prefix(key in "(tenant1|tenant10|\\.\\.|\\.|/|%2e|\\PC){1,12}") {
            if let Ok(request) = PutObject::parse(&key, "text/csv") {
                let grant = Grant { key_prefixes: vec!["tenant1/".into()], content_types: vec!["text/csv".into()], ..Grant::default() };
                // The model: resolve the path as a file system would, and see where it ends.
                let mut resolved: Vec<&str> = Vec::new();
                for segment in key.split('/') {
                    match segment {
                        "" | "." => {}
                        ".." => drop(resolved.pop()),
                        other => resolved.push(other),
                    }
                }
                if Policy::for_tenant(Arc::new(Tenant::new("t", grant))).authorize(request).is_ok() {
                    prop_assert!(resolved.len() > 1 && resolved.first() == Some(&"tenant1"), "{}", key);
                }
            }
        }
    }
}
