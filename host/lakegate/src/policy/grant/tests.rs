//! Every field of a grant, on both sides of its bound.

use super::super::authorize::Policy;
use super::super::denied::MAX_WORDS_BYTES;
use super::super::tenant::{MAX_DENIALS_LOGGED, RateKind, Tenant};
use super::*;
use crate::storage::target::{
    CatalogAuth, CatalogPlan, CommitPlan, Encryption, ManifestPlan, ObjectLock, Retention, SecretSource, StorageTarget,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

fn grant() -> Grant {
    Grant {
        buckets: vec!["lake".into(), "pond".into()],
        key_prefixes: vec!["acme/".into()],
        region: "eu-central-1".into(),
        endpoint: Some("https://store.example".into()),
        formats: vec!["csv".into()],
        content_types: vec!["text/csv".into()],
        acls: vec!["private".into()],
        encryption: vec!["AES256".into(), "aws:kms".into()],
        kms_keys: vec!["key-1".into()],
        max_retries: Some(5),
        max_backoff_seconds: 30,
        max_part_bytes: Some(8 << 20),
        ..Grant::default()
    }
}

fn configuration() -> Configuration {
    Configuration {
        target: StorageTarget {
            bucket: "lake".into(),
            region: "eu-central-1".into(),
            endpoint: None,
            skip_tls_verify: false,
            path_style: false,
            acl: None,
            encryption: None,
            storage_class: None,
            tags: Vec::new(),
            metadata: Vec::new(),
            object_lock: None,
            expected_bucket_owner: None,
            requester_pays: false,
            credentials: CredentialSource { profile: None, role_arn: None, role_session_name: None, external_id: None },
            max_retries: None,
            max_backoff_seconds: 30,
            part_size_bytes: None,
            checksum_algorithm: None,
            log_requests: false,
        },
        test_object: None,
        format: "csv".into(),
        content_type: "text/csv".into(),
        content_encoding: None,
        splittable: true,
        commit: CommitPlan::default(),
        catalog: None,
        quarantine_rows: None,
        settings: String::new(),
        warnings: Vec::new(),
    }
}

/// The rules that a changed spec breaks under a changed grant.
#[test]
fn a_bound_of_nothing_is_a_mistake_and_messages_are_bounded_by_the_protocol() {
    type Change = fn(&mut Grant, Option<u64>);
    let fields: [(&str, Change); 5] = [
        ("objects_per_second", |grant, most| grant.objects_per_second = most),
        ("bytes_per_second", |grant, most| grant.bytes_per_second = most),
        ("max_open_objects", |grant, most| grant.max_open_objects = most),
        ("max_sessions", |grant, most| grant.max_sessions = most),
        ("max_message_bytes", |grant, most| grant.max_message_bytes = most),
    ];
    for (name, change) in fields {
        let problems = |most| {
            let mut grant = grant();
            change(&mut grant, most);
            grant.problems()
        };
        assert_eq!((problems(None), problems(Some(1))), (vec![], vec![]), "{name}");
        assert_eq!(problems(Some(0)), [format!("`{name}` is 0: nothing could be written")]);
    }
    let bytes = |most| Grant { max_message_bytes: most, ..grant() }.message_bytes();
    assert_eq!([bytes(None), bytes(Some(7)), bytes(Some(1 << 40))], [200 << 20, 7, 200 << 20]);
}

#[test]
fn sessions_at_once_are_bounded_by_one_unless_granted() {
    for (granted, most) in [(None, 1), (Some(3), 3)] {
        let tenant = Tenant::new("acme", Grant { max_sessions: granted, ..grant() });
        let mut open: Vec<_> = (0..most).map(|_| tenant.enter().unwrap()).collect();
        let denied = tenant.enter().unwrap_err();
        let text = format!("sessions at once: {most} granted (`max_sessions`), and all are open");
        assert_eq!((denied.rule, denied.message), ("max_sessions", text));
        open.pop();
        assert!(tenant.enter().is_ok());
    }
}

#[test]
fn a_tenant_of_a_new_grant_has_used_what_it_has_used() {
    let earlier = Tenant::new("acme", Grant { daily_objects: Some(2), ..grant() });
    earlier.quota.reserve().unwrap().landed();
    (0..5).for_each(|_| earlier.trapped());
    let mut later = Tenant::new("acme", Grant { daily_objects: Some(1), ..grant() });
    later.follow(&earlier);
    assert_eq!(later.quota.reserve().unwrap_err().rule, "daily_objects");
    assert_eq!(later.enter().unwrap_err().rule, "quarantine");
    assert_eq!(later.metrics.read().traps, 5);
}

#[test]
fn a_flood_of_denials_is_told_of_in_part_and_counted_whole() {
    let (tenant, start) = (Tenant::new("acme", grant()), Instant::now());
    let logged: Vec<_> = (0..100).filter_map(|_| tenant.admit_denial(start)).collect();
    assert_eq!(logged, [0; MAX_DENIALS_LOGGED as usize]);
    let later = start + std::time::Duration::from_secs(1);
    assert_eq!((tenant.admit_denial(later), tenant.admit_denial(later)), (Some(100 - u64::from(MAX_DENIALS_LOGGED)), Some(0)));
    let policy = Policy::for_tenant(Arc::new(tenant));
    (0..100).for_each(|_| policy.audit_denial(&Denied::new("formats", "no"), None));
    assert_eq!(policy.tenant().map(|tenant| tenant.metrics.read().denials["formats"]), Some(100));
}

#[tokio::test(start_paused = true)]
async fn rates_make_wait_and_waits_are_counted() {
    let tenant = Tenant::new("acme", Grant { objects_per_second: Some(1), bytes_per_second: Some(100), ..grant() });
    let begun = tokio::time::Instant::now();
    for _ in 0..4 {
        tenant.pace(RateKind::Objects, 1).await;
    }
    assert_eq!(begun.elapsed().as_secs(), 2);
    tenant.pace(RateKind::Bytes, 300).await;
    tenant.pace(RateKind::Bytes, 1).await;
    let throttled: Vec<_> = tenant.metrics.read().throttled.into_iter().collect();
    assert_eq!(throttled, [("bytes_per_second", 1), ("objects_per_second", 2)]);
    let free = Tenant::new("free", grant());
    free.pace(RateKind::Bytes, u64::MAX).await;
    assert_eq!(free.metrics.read().throttled.len(), 0);
}

#[track_caller]
fn check(change_grant: impl FnOnce(&mut Grant), change_spec: impl FnOnce(&mut Configuration), broken: &[&str]) {
    let (mut grant, mut configuration) = (grant(), configuration());
    change_grant(&mut grant);
    change_spec(&mut configuration);
    assert_eq!(grant.problems(), [""; 0], "the grant is sound");
    let admitted = Tenant::new("acme", grant).admit(&configuration);
    let rules: Vec<_> = admitted.err().unwrap_or_default().iter().map(|denied| denied.rule).collect();
    assert_eq!(rules, broken);
}

fn encryption(algorithm: &str, key: Option<&str>) -> Option<Encryption> {
    Some(Encryption { algorithm: algorithm.into(), kms_key_id: key.map(str::to_owned), bucket_key: None })
}

#[test]
fn each_field_on_both_sides_of_its_bound() {
    let as_it_is = |_: &mut Grant| {};
    check(as_it_is, |_| {}, &[]);
    check(as_it_is, |spec| spec.target.bucket = "pond".into(), &[]);
    check(as_it_is, |spec| spec.target.bucket = "sea".into(), &["buckets"]);
    check(as_it_is, |spec| spec.target.bucket = "arn:aws:s3:::lake".into(), &["buckets"]);
    check(as_it_is, |spec| spec.target.region = "us-east-1".into(), &["region"]);
    check(as_it_is, |spec| spec.format = "json".into(), &["formats"]);
    check(as_it_is, |spec| spec.content_type = "text/html".into(), &["content_types"]);
    check(as_it_is, |spec| spec.target.endpoint = Some("https://store.example".into()), &[]);
    check(as_it_is, |spec| spec.target.endpoint = Some("https://other.example".into()), &["endpoint"]);
    check(|grant| grant.endpoint = None, |spec| spec.target.endpoint = Some("https://store.example".into()), &["endpoint"]);
    check(as_it_is, |spec| spec.target.skip_tls_verify = true, &["skip_tls_verify"]);
    check(|grant| grant.skip_tls_verify = true, |spec| spec.target.skip_tls_verify = true, &[]);
    check(as_it_is, |spec| spec.target.path_style = true, &["path_style"]);
    check(|grant| grant.path_style = true, |spec| spec.target.path_style = true, &[]);
    check(as_it_is, |spec| spec.target.acl = Some("private".into()), &[]);
    check(as_it_is, |spec| spec.target.acl = Some("public-read".into()), &["acls"]);
    check(as_it_is, |spec| spec.target.encryption = encryption("AES256", None), &[]);
    check(as_it_is, |spec| spec.target.encryption = encryption("aws:kms", Some("key-1")), &[]);
    check(as_it_is, |spec| spec.target.encryption = encryption("aws:kms", Some("key-2")), &["kms_keys"]);
    check(as_it_is, |spec| spec.target.encryption = encryption("aws:kms:dsse", None), &["encryption"]);
    check(|grant| grant.encryption_required = true, |_| {}, &["encryption_required"]);
    check(|grant| grant.encryption_required = true, |spec| spec.target.encryption = encryption("AES256", None), &[]);
    check(as_it_is, |spec| spec.target.max_retries = Some(5), &[]);
    check(as_it_is, |spec| spec.target.max_retries = Some(6), &["max_retries"]);
    check(|grant| grant.max_retries = None, |spec| spec.target.max_retries = Some(0), &["max_retries"]);
    check(as_it_is, |spec| spec.target.max_backoff_seconds = 31, &["max_backoff_seconds"]);
    check(as_it_is, |spec| spec.target.part_size_bytes = Some(8 << 20), &[]);
    check(as_it_is, |spec| spec.target.part_size_bytes = Some((8 << 20) + 1), &["max_part_bytes"]);
    check(|grant| grant.max_part_bytes = None, |spec| spec.target.part_size_bytes = Some(5 << 20), &["max_part_bytes"]);
    check(as_it_is, |spec| spec.target.checksum_algorithm = Some("none".into()), &["checksum_algorithms"]);
    check(as_it_is, |spec| spec.target.checksum_algorithm = Some("crc32".into()), &["checksum_algorithms"]);
    let without = |grant: &mut Grant| grant.checksum_algorithms = vec!["none".into()];
    check(without, |spec| spec.target.checksum_algorithm = Some("none".into()), &[]);
    check(without, |spec| spec.target.checksum_algorithm = Some("crc32".into()), &["checksum_algorithms"]);
    check(as_it_is, |spec| spec.target.log_requests = true, &["request_log"]);
    check(|grant| grant.request_log = true, |spec| spec.target.log_requests = true, &[]);
}

#[test]
fn each_header_of_objects_on_both_sides_of_its_bound() {
    let nothing = |_: &mut Grant| {};
    let pairs = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "value".to_owned())).collect::<Vec<_>>();
    let lock = |mode: Option<(&str, u32)>, legal_hold| {
        Some(ObjectLock { retention: mode.map(|(mode, days)| Retention { mode: mode.into(), days }), legal_hold })
    };
    let with_key = |spec: &mut Configuration| {
        spec.target.encryption = Some(Encryption { bucket_key: Some(false), ..encryption("AES256", None).unwrap() });
    };
    check(nothing, with_key, &["bucket_keys"]);
    check(|grant| grant.bucket_keys = true, with_key, &[]);
    let classes = |grant: &mut Grant| grant.storage_classes = vec!["GLACIER_IR".into()];
    check(nothing, |spec| spec.target.storage_class = Some("STANDARD".into()), &["storage_classes"]);
    check(classes, |spec| spec.target.storage_class = Some("STANDARD".into()), &["storage_classes"]);
    check(classes, |spec| spec.target.storage_class = Some("GLACIER_IR".into()), &[]);
    let names = |grant: &mut Grant| (grant.tags, grant.metadata) = (vec!["team".into()], vec!["owner".into()]);
    let encodings = |grant: &mut Grant| grant.content_encodings = vec!["gzip".into()];
    check(nothing, |spec| spec.content_encoding = Some("gzip".into()), &["content_encodings"]);
    check(encodings, |spec| spec.content_encoding = Some("zstd".into()), &["content_encodings"]);
    check(encodings, |spec| spec.content_encoding = Some("gzip".into()), &[]);
    check(nothing, |spec| spec.target.tags = pairs(&["team"]), &["tags"]);
    check(names, |spec| spec.target.tags = pairs(&["team"]), &[]);
    check(names, |spec| spec.target.tags = pairs(&["team", "Team"]), &["tags"]);
    check(nothing, |spec| spec.target.metadata = pairs(&["owner"]), &["metadata"]);
    check(names, |spec| spec.target.metadata = pairs(&["owner"]), &[]);
    check(names, |spec| spec.target.metadata = pairs(&["owner", "team"]), &["metadata"]);
    let locks = |grant: &mut Grant| (grant.object_lock, grant.max_retain_days) = (vec!["GOVERNANCE".into()], Some(7));
    check(nothing, |spec| spec.target.object_lock = lock(Some(("GOVERNANCE", 1)), false), &["object_lock", "max_retain_days"]);
    check(locks, |spec| spec.target.object_lock = lock(Some(("GOVERNANCE", 7)), false), &[]);
    check(locks, |spec| spec.target.object_lock = lock(Some(("GOVERNANCE", 8)), false), &["max_retain_days"]);
    check(locks, |spec| spec.target.object_lock = lock(Some(("COMPLIANCE", 7)), false), &["object_lock"]);
    check(locks, |spec| spec.target.object_lock = lock(None, true), &["object_lock"]);
    check(|grant| grant.object_lock = vec!["legal_hold".into()], |spec| spec.target.object_lock = lock(None, true), &[]);
    let owners = |grant: &mut Grant| grant.bucket_owners = vec!["123456789012".into()];
    check(nothing, |spec| spec.target.expected_bucket_owner = Some("123456789012".into()), &["bucket_owners"]);
    check(owners, |spec| spec.target.expected_bucket_owner = Some("123456789012".into()), &[]);
    check(owners, |spec| spec.target.expected_bucket_owner = Some("123456789013".into()), &["bucket_owners"]);
    check(nothing, |spec| spec.target.requester_pays = true, &["requester_pays"]);
    check(|grant| grant.requester_pays = true, |spec| spec.target.requester_pays = true, &[]);
    for algorithm in ChecksumAlgorithm::ALL {
        let name = algorithm.name().to_owned();
        check(nothing, |spec| spec.target.checksum_algorithm = Some(name.clone()), &["checksum_algorithms"]);
        check(|grant| grant.checksum_algorithms = vec![name.clone()], |spec| spec.target.checksum_algorithm = Some(name.clone()), &[]);
    }
}

#[test]
fn a_roles_session_may_tag_and_lock_as_granted() {
    let statements = |grant: Grant| {
        let policy: Value = serde_json::from_str(&grant.session_policy()).expect("JSON");
        let named = |statement: &&Value| {
            statement["Action"][0].as_str().is_some_and(|action| action.starts_with("s3:PutObject") && action.len() > 13)
        };
        policy["Statement"].as_array().unwrap().iter().filter(named).cloned().collect::<Vec<_>>()
    };
    let bare = Grant { acls: Vec::new(), manifest_prefixes: vec!["m/".into()], ..grant() };
    assert_eq!(statements(bare.clone()), [Value::Null; 0]);
    let granted =
        Grant { tags: vec!["team".into()], object_lock: vec!["GOVERNANCE".into(), "legal_hold".into()], max_retain_days: Some(7), ..bare };
    let places: Vec<String> =
        ["lake/acme", "pond/acme", "lake/m", "pond/m"].into_iter().map(|place| format!("arn:aws:s3:::{place}/*")).collect();
    let allow = |action: &str| json!({"Effect": "Allow", "Action": [action], "Resource": places});
    let [mut tagging, mut retention, hold] = ["s3:PutObjectTagging", "s3:PutObjectRetention", "s3:PutObjectLegalHold"].map(allow);
    assert_eq!(statements(granted.clone()), [tagging.clone(), retention.clone(), hold.clone()]);
    tagging["Condition"] = json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["team"]}});
    retention["Condition"] = json!({
        "StringEquals": {"s3:object-lock-mode": ["GOVERNANCE"]},
        "NumericLessThanEquals": {"s3:object-lock-remaining-retention-days": "8"},
    });
    assert_eq!(statements(Grant { endpoint: None, ..granted }), [tagging, retention, hold]);
}

#[test]
fn no_way_of_choosing_credentials_is_granted() {
    let fields: [fn(&mut CredentialSource) -> &mut Option<String>; 4] = [
        |source| &mut source.profile,
        |source| &mut source.role_arn,
        |source| &mut source.role_session_name,
        |source| &mut source.external_id,
    ];
    for field in fields {
        check(|_| {}, |spec| *field(&mut spec.target.credentials) = Some("mine".into()), &["credentials"]);
    }
}

#[test]
fn words_of_a_denial_are_bounded_and_still_say_what_is_granted() {
    let words = |spec: fn(&mut Configuration), grant: Grant| {
        let mut configuration = configuration();
        spec(&mut configuration);
        Tenant::new("acme", grant).admit(&configuration).unwrap_err().remove(0).message
    };
    let said = words(|spec| spec.format = "é".repeat(1 << 20), grant());
    assert_eq!(said, format!("\"{}…\" is not granted; `formats` are [\"csv\"]", "é".repeat(58)));
    let many = Grant { formats: vec!["csv".into(); 1_000], ..grant() };
    let said = words(|spec| spec.format = "\u{7f}".repeat(1_000), many);
    assert!(said.len() <= MAX_WORDS_BYTES && said.ends_with('…'), "{said}");
    assert_eq!(Denied::new("r", "x".repeat(MAX_WORDS_BYTES)).message.len(), MAX_WORDS_BYTES);
}

#[test]
fn every_broken_rule_is_named_at_once() {
    let both = |spec: &mut Configuration| {
        spec.target.bucket = "sea".into();
        spec.target.log_requests = true;
        spec.format = "json".into();
    };
    check(|_| {}, both, &["buckets", "formats", "request_log"]);
}

#[test]
fn what_is_admitted_goes_where_the_grant_says() {
    let mut tenant = Tenant::new("acme", Grant { path_style: true, ..grant() });
    tenant.credentials.role_arn = Some("arn:aws:iam::1:role/acme".into());
    let target = tenant.admit(&configuration()).unwrap();
    assert_eq!(target.endpoint.as_deref(), Some("https://store.example"));
    assert_eq!(target.credentials.role_arn.as_deref(), Some("arn:aws:iam::1:role/acme"));
    assert!(target.path_style);
}

#[test]
fn an_object_has_at_most_its_granted_size() {
    let grant = Grant { max_object_bytes: Some(10), ..grant() };
    assert!(grant.check_size(10).is_ok());
    assert_eq!(grant.check_size(11).unwrap_err().rule, "max_object_bytes");
}

#[test]
fn an_unsound_grant_says_why() {
    let check = |change: fn(&mut Grant), words: &str| {
        let mut grant = grant();
        change(&mut grant);
        let problems = grant.problems();
        assert!(problems.len() == 1 && problems[0].contains(words), "{problems:?}");
    };
    check(|grant| grant.buckets.clear(), "`buckets` is empty");
    for bucket in ["", "ab", "arn:aws:s3:::b", "lake*", "lak?", "${aws:username}", "lake/acme", "la ke", "läke", &"b".repeat(256)] {
        let problems = Grant { buckets: vec![bucket.into()], ..grant() }.problems();
        assert!(problems.len() == 1 && problems[0].contains("no bucket's name"), "{bucket}: {problems:?}");
    }
    for bucket in ["abc", "Old_Bucket", "a.b-c", "express--use1-az4--x-s3"] {
        assert_eq!(Grant { buckets: vec![bucket.into()], ..grant() }.problems(), [""; 0], "{bucket}");
    }
    for (key, good) in [
        ("1234abcd-12ab-34cd-56ef-1234567890ab", true),
        ("mrk-1234", true),
        ("arn:aws:kms:eu-central-1:1:key/key-2", true),
        ("alias/mine", false),
        ("arn:aws:kms:eu-central-1:1:alias/mine", false),
        ("arn:aws:kms:eu-central-1:1:key/", false),
        ("arn:aws:kms:eu-central-1:1:key/*", false),
        ("*", false),
        ("", false),
    ] {
        assert_eq!(Grant { kms_keys: vec![key.into()], ..grant() }.problems().is_empty(), good, "{key}");
    }
    check(|grant| grant.key_prefixes = vec!["acme".into()], "whole segments");
    check(|grant| grant.key_prefixes = vec!["a/../b/".into()], "whole segments");
    check(|grant| grant.key_prefixes = vec!["/".into()], "whole segments");
    // Which formats there are is the component's to say.
    for format in ["csv", "xml", &"f".repeat(MAX_FORMAT_NAME_BYTES)] {
        assert_eq!(Grant { formats: vec![format.into()], ..grant() }.problems(), [""; 0], "{format}");
    }
    for format in ["", "csv\n", "\u{85}", &"f".repeat(MAX_FORMAT_NAME_BYTES + 1)] {
        let problems = Grant { formats: vec![format.into()], ..grant() }.problems();
        assert!(problems.len() == 1 && problems[0].contains("no format's name"), "{format}: {problems:?}");
    }
    check(|grant| grant.content_types.clear(), "`content_types` is empty");
    check(|grant| grant.encryption = vec!["none".into()], "not one of AES256");
    check(|grant| grant.checksum_algorithms = vec!["md5".into()], "not one of crc32, crc32c, crc64nvme, sha256, none");
    check(|grant| grant.storage_classes = vec!["standard".into()], "not the name of a storage class");
    check(|grant| grant.content_encodings = vec!["br".into()], "is not one of gzip, zstd");
    check(|grant| grant.tags = vec!["aws:x".into()], "not the key of a tag");
    check(|grant| grant.metadata = vec!["lakegate-upload".into()], "none of ours");
    check(|grant| grant.object_lock = vec!["governance".into()], "not one of GOVERNANCE, COMPLIANCE, legal_hold");
    check(|grant| grant.object_lock = vec!["GOVERNANCE".into()], "without `max_retain_days`");
    check(|grant| grant.max_retain_days = Some(0), "`max_retain_days` must be between 1 and 36500, not 0");
    check(|grant| grant.bucket_owners = vec!["me".into()], "twelve digits");
    check(|grant| grant.region.clear(), "`region` is empty");
    check(
        |grant| {
            grant.encryption.clear();
            grant.encryption_required = true;
        },
        "`encryption_required` without",
    );
    check(
        |grant| {
            grant.endpoint = None;
            grant.skip_tls_verify = true;
        },
        "`skip_tls_verify` is for",
    );
}

#[test]
fn a_roles_session_may_do_what_the_grant_says_and_no_more() {
    let policy = |change: fn(&mut Grant)| {
        let mut grant = Grant { acls: Vec::new(), encryption: Vec::new(), kms_keys: Vec::new(), ..grant() };
        change(&mut grant);
        serde_json::from_str::<Value>(&grant.session_policy()).expect("JSON")
    };
    let objects = json!(["arn:aws:s3:::lake/acme/*", "arn:aws:s3:::pond/acme/*"]);
    let put = json!({"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": objects});
    let abort = json!({"Effect": "Allow", "Action": ["s3:AbortMultipartUpload"], "Resource": objects});
    let deny = |condition| json!({"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::*"], "Condition": condition});
    let named = json!({"s3:x-amz-server-side-encryption": "false"});
    assert_eq!(policy(|_| {}), json!({"Version": "2012-10-17", "Statement": [put, abort, deny(json!({"Null": named}))]}));
    let mut acl = json!({"Effect": "Allow", "Action": ["s3:PutObjectAcl"], "Resource": objects});
    assert_eq!(policy(|grant| grant.acls = vec!["private".into()])["Statement"], json!([put, abort, deny(json!({"Null": named})), acl]));
    acl["Condition"] = json!({"StringEquals": {"s3:x-amz-acl": ["private"]}});
    let at_aws = policy(|grant| (grant.acls, grant.endpoint) = (vec!["private".into()], None));
    assert_eq!(at_aws["Statement"][3], acl, "and none that is granted in a header of its own");

    let plain = policy(|grant| grant.encryption = vec!["AES256".into()]);
    let others = json!({"Null": named, "StringNotEquals": {"s3:x-amz-server-side-encryption": ["AES256"]}});
    assert_eq!(plain["Statement"], json!([put, abort, deny(others)]), "no key is needed");
    let keyed = policy(|grant| {
        grant.endpoint = None;
        grant.encryption = vec!["aws:kms".into()];
        grant.kms_keys = vec!["key-1".into(), "arn:aws:kms:eu-central-1:1:key/key-2".into()];
    });
    let keys = json!(["arn:aws:kms:eu-central-1:*:key/key-1", "arn:aws:kms:eu-central-1:1:key/key-2"]);
    assert_eq!(keyed["Statement"][3], json!({"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": keys}));

    let odd = policy(|grant| {
        grant.key_prefixes = vec!["a*b?c$/".into()];
        grant.region = "cn-north-1".into();
        grant.buckets.truncate(1);
    });
    assert_eq!(odd["Statement"][0]["Resource"], json!(["arn:aws-cn:s3:::lake/a${*}b${?}c${$}/*"]));
}

#[test]
fn a_policy_has_only_characters_that_sts_takes() {
    let prefix = "é/\u{7f}/日本/\u{1f600}/";
    let policy = Grant { key_prefixes: vec![prefix.into()], ..grant() }.session_policy();
    assert!(policy.chars().all(|character| ('\u{20}'..='\u{ff}').contains(&character)), "{policy}");
    let read: Value = serde_json::from_str(&policy).expect("JSON");
    assert_eq!(read["Statement"][0]["Resource"][0], json!(format!("arn:aws:s3:::lake/{prefix}*")));
}

#[test]
fn keys_of_kms_are_named_to_aws_alone() {
    for (endpoint, at_aws) in [
        (None, true),
        (Some("https://s3-fips.us-east-1.amazonaws.com"), true),
        (Some("https://bucket.vpce-1a2b.s3.cn-north-1.vpce.amazonaws.com.cn:443"), true),
        (Some("http://127.0.0.1:9000"), false),
        (Some("https://minio.example/.amazonaws.com"), false),
        (Some("https://notamazonaws.com"), false),
        (Some("no URL"), false),
    ] {
        let grant = Grant { endpoint: endpoint.map(str::to_owned), encryption: vec!["aws:kms".into()], ..grant() };
        assert_eq!(grant.session_policy().contains("kms:GenerateDataKey"), at_aws, "{endpoint:?}");
    }
}

#[test]
fn a_commit_is_granted_by_its_parts() {
    let exact = CommitPlan { create_only: Some(crate::storage::object::OnExisting::Verify), ..CommitPlan::default() };
    let manifest = CommitPlan { manifest: Some(ManifestPlan { extra: true }), ..CommitPlan::default() };
    let deferred = CommitPlan { pending: Some("p".into()), ..CommitPlan::default() };
    let bare = grant();
    let check = |grant: &Grant, commit: &CommitPlan, expected: &[&str]| {
        let denials = grant.denials(&Configuration { commit: commit.clone(), ..configuration() });
        assert_eq!(denials.iter().map(|denied| denied.rule).collect::<Vec<_>>(), expected, "{commit:?}");
    };
    check(&bare, &exact, &["delivery"]);
    check(&bare, &manifest, &["manifest_prefixes"]);
    check(&bare, &deferred, &["visibility", "manifest_prefixes"]);
    let granted = Grant {
        delivery: vec!["exactly_once".into()],
        visibility: vec!["on_commit".into()],
        manifest_prefixes: vec!["m/".into()],
        ..bare.clone()
    };
    for commit in [&exact, &manifest, &deferred] {
        check(&granted, commit, &[]);
    }
    let key = |key: &str| ObjectKey::parse(key).unwrap();
    assert!(granted.check_record(&key("m/t.json")).is_ok() && granted.check_record(&key("n/t.json")).is_err());
    assert!(granted.session_policy().contains("s3:GetObject") && !bare.session_policy().contains("s3:GetObject"));
    let wrong = Grant { delivery: vec!["twice".into()], visibility: vec!["later".into()], manifest_prefixes: vec!["m".into()], ..bare };
    assert_eq!(wrong.problems().len(), 3, "{:?}", wrong.problems());
}

#[test]
fn a_catalog_is_granted_by_its_address_and_reached_as_the_operator_reaches_it() {
    let plan = |uri: &str, namespace: &str, auth: CatalogAuth| CatalogPlan {
        uri: uri.into(),
        warehouse: None,
        namespace: namespace.split('.').map(str::to_owned).collect(),
        auth,
        create: true,
        adds_columns: false,
        athena: false,
        partition: Vec::new(),
    };
    let granted = Grant {
        catalogs: vec![
            CatalogGrant {
                uri: "https://catalog.example/api".into(),
                warehouse: Some("w".into()),
                auth: CatalogGrantAuth::Bearer,
                credential_env: Some("TOKEN".into()),
                ..CatalogGrant::default()
            },
            CatalogGrant { uri: "https://glue.example".into(), auth: CatalogGrantAuth::SigV4, ..CatalogGrant::default() },
        ],
        namespaces: vec!["a.b".into()],
        ..grant()
    };
    assert_eq!(granted.problems(), [""; 0]);
    let own = CatalogAuth::Bearer(SecretSource::Environment("AWS_SECRET_ACCESS_KEY".into()));
    let signed = || CatalogAuth::SigV4("glue".into());
    let check = |grant: &Grant, plan: CatalogPlan, expected: &[&str]| {
        let denials = grant.denials(&Configuration { catalog: Some(plan.clone()), ..configuration() });
        assert_eq!(denials.iter().map(|denied| denied.rule).collect::<Vec<_>>(), expected, "{plan:?}");
    };
    check(&grant(), plan("https://catalog.example/api", "a.b", CatalogAuth::None), &["catalogs"]);
    check(&granted, plan("https://catalog.example/api/", "a.b", CatalogAuth::None), &[]);
    check(&granted, plan("https://catalog.example/api", "a", CatalogAuth::None), &["namespaces"]);
    check(&granted, plan("https://catalog.example/api", "a.b", own.clone()), &["catalogs"]);
    check(&granted, plan("https://catalog.example/api", "a.b", signed()), &["catalogs"]);
    check(&granted, plan("https://glue.example", "a.b", signed()), &[]);
    check(&granted, plan("https://catalog.example", "a.b", CatalogAuth::None), &["catalogs"]);
    check(&granted, plan("https://elsewhere.example", "c", own), &["catalogs", "catalogs", "namespaces"]);
    let other = CatalogPlan { warehouse: Some("v".into()), ..plan("https://catalog.example/api", "a.b", CatalogAuth::None) };
    check(&granted, other, &["catalogs"]);

    let reached = granted.catalog(&plan("https://catalog.example/api/", "a.b", CatalogAuth::None)).unwrap();
    let token = CatalogAuth::Bearer(SecretSource::Environment("TOKEN".into()));
    assert_eq!((reached.uri.as_str(), reached.warehouse.as_deref(), reached.auth), ("https://catalog.example/api", Some("w"), token));
    assert!(granted.session_policy().contains("s3:GetObject"));

    for (change, expected) in [
        ((|it| it.uri = "catalog".into()) as fn(&mut CatalogGrant), "`uri`"),
        (|it| it.credential_env = None, "needs `credential_env`"),
        (|it| it.credential_file = Some("f".into()), "cannot both"),
        (|it| it.auth = CatalogGrantAuth::None, "are for"),
    ] {
        let mut wrong = granted.clone();
        change(&mut wrong.catalogs[0]);
        let problems = wrong.problems();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }
    let alone = Grant { namespaces: Vec::new(), ..granted };
    assert!(alone.problems().len() == 1 && alone.problems()[0].contains("go together"), "{:?}", alone.problems());
}
