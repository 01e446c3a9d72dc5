//! The bodies of the host's fuzz targets, as plain functions, so that seeds can be replayed and mutated without a fuzzer.

use lakegate::spec::{
    self as world, CatalogPlan, CommitPlan, Configuration, CredentialSource, Encryption, ObjectLock, Retention, StorageTarget,
};
use lakegate::store::{ObjectKey, PutObject};
use lakegate::{CatalogGrantAuth, Grant, Policy, Tenant};
use lakegate_files::{HivePartitioning, MessageReader, ReadOptions, resolve};
use lakegate_guest::host::WallTime;
use lakegate_guest::path::KeyContext;
use lakegate_guest::spec::{Catalog, CatalogAuth, SecretSource, Settings, Spec};
use lakegate_guest::storage_target;
use serde_json::Value;
use std::sync::Arc;

/// What parts the three parts of an input: a grant (TOML), a spec (JSON), and lines: a table's name, then keys as a guest of any make might
/// ask for them.
pub const PART: &str = "\n---\n";

/// How far an input came, to see that inputs come anywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// Whether the input had a valid grant.
    pub grant: bool,
    /// Whether the input had a valid spec.
    pub spec: bool,
    /// Whether the spec was admitted.
    pub admitted: bool,
    /// Whether it was admitted with a catalog.
    pub catalog: bool,
    /// Number of allowed keys.
    pub allowed: u64,
    /// Number of denied keys.
    pub denied: u64,
}

/// A file of any bytes: its messages, or a refusal that names the file; never a panic that ends the reading. Answers how many messages came, and
/// whether it was read to its good end.
///
/// # Panics
/// The property is violated.
pub fn binary_file(data: &[u8]) -> (usize, bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.parquet");
    std::fs::write(&path, data).expect("the folder can be written");
    let inputs = resolve(&[path.display().to_string()], Some("t"), HivePartitioning::Off).expect("the file is there");
    let mut feed = MessageReader::start(inputs, ReadOptions::default()).expect("a thread");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut messages = 0;
    while let Some(message) = runtime.block_on(feed.next()) {
        match message {
            Ok(_) => messages += 1,
            Err(error) => {
                let words = error.to_string();
                assert!(words.contains("t.parquet"), "{words}");
                return (messages, false);
            }
        }
    }
    (messages, true)
}

/// Property of a grant, a spec and keys: an admitted spec is granted field by field, and a key is allowed if and only if it is below a prefix.
///
/// # Panics
/// The property is violated.
pub fn grant(data: &[u8]) -> Reached {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, PART);
    let [grant, spec, lines] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    let Ok(grant) = toml::from_str::<Grant>(grant) else { return Reached::default() };
    let mut reached = Reached { grant: true, ..Reached::default() };
    // Whoever serves it refuses it if there are any; to decide by it all the same must be safe.
    let _problems = grant.problems();
    session_policy(&grant);

    let tenant = Arc::new(Tenant::new("fuzzed", grant));
    let policy = Policy::for_tenant(tenant.clone());
    let mut lines = lines.lines();
    let table = lines.next().unwrap_or_default();
    let types: Vec<&str> = tenant.grant.content_types.iter().map(String::as_str).chain(["text/html"]).collect();
    for key in lines {
        types.iter().for_each(|content_type| decide(&policy, &tenant.grant, key, content_type, &mut reached));
    }
    if let Ok(spec) = Spec::parse(spec, "6f1c2f3e-1111-4222-8333-444455556666") {
        reached.spec = true;
        let configuration = configuration(&spec);
        if let Ok(target) = tenant.admit(&configuration) {
            reached.admitted = true;
            is_granted(&tenant.grant, &configuration, &target);
            if let Some(plan) = &configuration.catalog {
                let plan = tenant.catalog(plan).expect("a catalog of an admitted spec is granted");
                is_granted_catalog(&tenant.grant, &plan);
                reached.catalog = true;
            }
        }
        // A value of the rows is as hostile as the name of their table.
        let partition = vec![Some(table.into()); spec.settings.path.partition_fields().len()];
        let context = KeyContext {
            table,
            format_extension: spec.settings.format_extension(),
            uuid: "00000000-0000-4000-8000-000000000000",
            sync_id: "id",
            time: WallTime { seconds: 1_700_000_000, nanoseconds: 0 },
            commit_id: &spec.settings.commit.id,
            sequence: 1,
            shard: spec.settings.commit.shard,
            schema: 1,
            partition: &partition,
            null_name: &spec.settings.partitioning.null_name,
        };
        if let Ok(key) = spec.settings.path.render(&context) {
            decide(&policy, &tenant.grant, &key, &spec.settings.content_type, &mut reached);
        }
    }
    reached
}

fn decide(policy: &Policy, grant: &Grant, key: &str, content_type: &str, reached: &mut Reached) {
    let Ok(request) = PutObject::parse(key, content_type) else { return };
    let expected =
        grant.key_prefixes.iter().any(|prefix| lies_below(key, prefix)) && grant.content_types.iter().any(|one| one == content_type);
    match policy.authorize(request) {
        Ok(request) => {
            assert!(expected, "allowed: {key:?} as {content_type:?} under {grant:?}");
            assert_eq!(request.get().key.as_str(), key, "the key is the one that was asked for");
            reached.allowed += 1;
        }
        Err(denied) => {
            assert!(!expected, "denied: {key:?} as {content_type:?} under {grant:?}: {denied}");
            reached.denied += 1;
        }
    }
}

/// The model: both are walked as a file system would, and the key ends somewhere in the prefix's folder. A prefix that is no folder has
/// nothing below it.
fn lies_below(key: &str, prefix: &str) -> bool {
    let folder = match prefix.strip_suffix('/') {
        Some(segments) if ObjectKey::parse(segments).is_ok() => walked(prefix),
        None if prefix.is_empty() => Vec::new(),
        _ => return false,
    };
    let key = walked(key);
    key.len() > folder.len() && key.starts_with(&folder)
}

fn walked(path: &str) -> Vec<&str> {
    let mut at = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(at.pop()),
            other => at.push(other),
        }
    }
    at
}

/// Nothing in the target comes from the spec unless the grant names it.
fn is_granted(grant: &Grant, configuration: &Configuration, target: &StorageTarget) {
    let StorageTarget { bucket, region, endpoint, skip_tls_verify, path_style, acl, encryption, credentials, .. } = target;
    let StorageTarget { max_retries, max_backoff_seconds, part_size_bytes, checksum_algorithm, log_requests, .. } = target;
    let StorageTarget { storage_class, tags, metadata, object_lock, expected_bucket_owner, requester_pays, .. } = target;
    let one_of = |list: &[String], value: &String| assert!(list.contains(value), "{value:?} under {grant:?}");
    one_of(&grant.buckets, bucket);
    one_of(&grant.formats, &configuration.format);
    one_of(&grant.content_types, &configuration.content_type);
    configuration.content_encoding.iter().for_each(|encoding| one_of(&grant.content_encodings, encoding));
    assert_eq!(
        (region, endpoint, skip_tls_verify, path_style),
        (&grant.region, &grant.endpoint, &grant.skip_tls_verify, &grant.path_style)
    );
    acl.iter().for_each(|acl| one_of(&grant.acls, acl));
    checksum_algorithm.iter().for_each(|algorithm| one_of(&grant.checksum_algorithms, algorithm));
    assert!(encryption.is_some() || !grant.encryption_required, "{grant:?}");
    if let Some(Encryption { algorithm, kms_key_id, bucket_key }) = encryption {
        one_of(&grant.encryption, algorithm);
        kms_key_id.iter().for_each(|key| one_of(&grant.kms_keys, key));
        assert!(bucket_key.is_none() || grant.bucket_keys, "{grant:?}");
    }
    storage_class.iter().for_each(|class| one_of(&grant.storage_classes, class));
    tags.iter().for_each(|(key, _)| one_of(&grant.tags, key));
    metadata.iter().for_each(|(name, _)| one_of(&grant.metadata, name));
    if let Some(ObjectLock { retention, legal_hold }) = object_lock {
        assert!(!legal_hold || grant.object_lock.iter().any(|lock| lock == "legal_hold"), "{grant:?}");
        if let Some(Retention { mode, days }) = retention {
            one_of(&grant.object_lock, mode);
            assert!(grant.max_retain_days.is_some_and(|most| *days <= most), "{days} under {grant:?}");
        }
    }
    expected_bucket_owner.iter().for_each(|owner| one_of(&grant.bucket_owners, owner));
    assert!(!requester_pays || grant.requester_pays, "{grant:?}");
    let CredentialSource { profile, role_arn, role_session_name, external_id } = credentials;
    assert!([profile, role_arn, role_session_name, external_id].into_iter().all(Option::is_none), "the tenant has none of its own");
    assert!(max_retries.is_none_or(|asked| grant.max_retries.is_some_and(|most| asked <= most)), "{max_retries:?} under {grant:?}");
    assert!(
        part_size_bytes.is_none_or(|asked| grant.max_part_bytes.is_some_and(|most| asked <= most)),
        "{part_size_bytes:?} under {grant:?}"
    );
    assert!(*max_backoff_seconds <= grant.max_backoff_seconds && (!log_requests || grant.request_log), "{grant:?}");
}

/// JSON, whose permissions are for the granted places and for as many of them.
fn session_policy(grant: &Grant) {
    let policy: Value = serde_json::from_str(&grant.session_policy()).expect("the policy is JSON");
    let statements = policy["Statement"].as_array().expect("statements");
    for statement in statements.iter().filter(|statement| statement["Effect"] == "Allow" && statement["Action"][0] != "kms:GenerateDataKey")
    {
        let places: Vec<&str> = statement["Resource"].as_array().expect("places").iter().filter_map(Value::as_str).collect();
        assert_eq!(places.len(), grant.buckets.len() * grant.key_prefixes.len(), "{places:?}");
        for place in places {
            let body = place.strip_suffix('*').unwrap_or_else(|| panic!("{place:?} has no end"));
            // Compared literally, the rest contains no pattern.
            let plain = body.replace("${*}", "").replace("${?}", "").replace("${$}", "");
            let in_bucket = grant.buckets.iter().any(|bucket| bucket.contains(['*', '?', '$']));
            assert!(in_bucket || !plain.contains(['*', '?', '$']), "{place:?}");
        }
    }
}

/// Derives a configuration from a spec, as the component does.
fn configuration(spec: &Spec) -> Configuration {
    Configuration {
        test_object: None,
        format: spec.settings.format.name().to_owned(),
        content_type: spec.settings.content_type.clone(),
        content_encoding: spec.settings.content_encoding().map(str::to_owned),
        splittable: true,
        commit: CommitPlan::default(),
        catalog: spec.catalog.as_ref().map(|catalog| catalog_plan(catalog, &spec.settings)),
        quarantine_rows: None,
        settings: String::new(),
        warnings: Vec::new(),
        target: storage_target!(spec.target.clone(), world),
    }
}

fn catalog_plan(catalog: &Catalog, settings: &Settings) -> CatalogPlan {
    let secret = |source: &SecretSource| match source {
        SecretSource::Environment(name) => world::SecretSource::Environment(name.clone()),
        SecretSource::File(path) => world::SecretSource::File(path.clone()),
    };
    CatalogPlan {
        uri: catalog.uri.clone(),
        warehouse: catalog.warehouse.clone(),
        namespace: catalog.namespace.clone(),
        auth: match &catalog.auth {
            CatalogAuth::None => world::CatalogAuth::None,
            CatalogAuth::Bearer(token) => world::CatalogAuth::Bearer(secret(token)),
            CatalogAuth::OAuth2 { credential, token_uri, scope } => {
                world::CatalogAuth::OAuth2 { credential: secret(credential), token_uri: token_uri.clone(), scope: scope.clone() }
            }
            CatalogAuth::SigV4(service) => world::CatalogAuth::SigV4(service.clone()),
        },
        create: catalog.create,
        adds_columns: catalog.adds_columns,
        athena: settings.athena,
        partition: Vec::new(),
    }
}

/// A catalog is reached at an address and with credentials that the grant names, whatever the spec says.
fn is_granted_catalog(grant: &Grant, plan: &CatalogPlan) {
    let granted = grant.catalogs.iter().find(|catalog| catalog.uri == plan.uri && catalog.warehouse == plan.warehouse);
    let granted = granted.unwrap_or_else(|| panic!("{plan:?} under {grant:?}"));
    assert!(grant.namespaces.contains(&plan.namespace.join(".")), "{plan:?} under {grant:?}");
    let places = [&granted.credential_env, &granted.credential_file].map(|place| place.as_deref());
    let is_granted = |source: &world::SecretSource| match source {
        world::SecretSource::Environment(name) => places[0] == Some(name),
        world::SecretSource::File(path) => places[1] == Some(path),
    };
    let is_granted = match &plan.auth {
        world::CatalogAuth::None => granted.auth == CatalogGrantAuth::None,
        world::CatalogAuth::SigV4(_) => granted.auth == CatalogGrantAuth::SigV4,
        world::CatalogAuth::Bearer(token) => granted.auth == CatalogGrantAuth::Bearer && is_granted(token),
        world::CatalogAuth::OAuth2 { credential, token_uri, .. } => {
            granted.auth == CatalogGrantAuth::OAuth2 && is_granted(credential) && *token_uri == granted.token_uri
        }
    };
    assert!(is_granted, "{plan:?} under {grant:?}");
}
