//! Storage class, tags, metadata, locks, accounts and checksums as stores show them: what a spec asks for is what an object has.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, SECRET, laid_over};
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetentionMode,
    ObjectLockRule, ServerSideEncryption, StorageClass,
};
use lakegate_tests::s3::{REGION, Store};
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::{minio, moto, tiers};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A small table, which is put whole, and one that is an upload of several parts in any format.
fn write_tables(dir: &TestDir) {
    dir.file("small.csv", "id,name\n1,one\n2,two\n");
    let mut large = String::from("id,text\n");
    let mut state = 7_u64;
    for row in 0..110_000_u64 {
        // Digits that no dictionary and no compression makes small.
        let _ = write!(large, "{row},");
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let _ = write!(large, "{state:016x}");
        }
        large.push('\n');
    }
    dir.file("large.csv", &large);
}

fn spec(endpoint: &str, format: &str, changes: Value) -> String {
    let spec = json!({
        "bucket": BUCKET, "region": REGION, "endpoint": endpoint, "use_path_style": true, "format": format, "no_rotate": true,
        "path": format!("{format}/{{{{TABLE}}}}.{format}"), "part_size": 5 << 20,
    });
    laid_over(spec, changes).to_string()
}

/// Loads both tables as csv and as Parquet. Answers the keys.
async fn load(dir: &TestDir, endpoint: &str, changes: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    for format in ["csv", "parquet"] {
        dir.file("spec.json", &spec(endpoint, format, changes.clone()));
        dir.run_async("load small.csv large.csv --spec spec.json --test-write").await.ended(0, &[]);
        keys.extend(["small", "large"].map(|table| format!("{format}/{table}.{format}")));
    }
    keys
}

async fn head(client: &Client, key: &str) -> HeadObjectOutput {
    let found = client.head_object().bucket(BUCKET).key(key).send().await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
    assert_eq!(found.e_tag().is_some_and(|etag| etag.contains('-')), key.contains("large"), "{key}: an upload in parts, or a put");
    found
}

async fn tags(client: &Client, key: &str) -> BTreeMap<String, String> {
    let found = client.get_object_tagging().bucket(BUCKET).key(key).send().await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
    found.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

/// Days from now, rounded.
fn days_until(date: Option<&aws_sdk_s3::primitives::DateTime>) -> f64 {
    let date = date.expect("a date").secs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let seconds = date - i64::try_from(now).expect("before the end");
    (Duration::from_secs(u64::try_from(seconds).expect("in the future")).as_secs_f64() / 86_400.0).round()
}

/// A bucket with object lock, in which everything is locked for a day unless a put says otherwise.
async fn locking_bucket(store: &Store) -> Client {
    let client = store.client();
    client.create_bucket().bucket(BUCKET).object_lock_enabled_for_bucket(true).send().await.expect("a bucket");
    let retention = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(1).build();
    let rule = ObjectLockRule::builder().default_retention(retention).build();
    let lock = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).rule(rule).build();
    client.put_object_lock_configuration().bucket(BUCKET).object_lock_configuration(lock).send().await.expect("a rule");
    client
}

fn dir(store: &Store) -> TestDir {
    let dir = TestDir::new(PLUGIN, (store.access_key.clone().leak(), store.secret_key.clone().leak()));
    write_tables(&dir);
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_object_lock_takes_puts_and_uploads_with_all_they_ask_for() {
    let Some(store) = tiers::live("object lock at MinIO", minio::start().await) else { return };
    let client = locking_bucket(&store).await;
    let dir = dir(&store);
    for key in load(&dir, &store.endpoint, &json!({})).await {
        let found = head(&client, &key).await;
        assert_eq!(found.object_lock_mode(), Some(&ObjectLockMode::Governance), "{key}: the bucket's own rule");
        assert_eq!((days_until(found.object_lock_retain_until_date()), found.storage_class()), (1.0, None), "{key}");
    }
    let wanted = json!({
        "storage_class": "REDUCED_REDUNDANCY", "tags": {"cost center": "a=1/b", "empty": ""}, "metadata": {"owner": "data  team", "x-y_z.1": "~"},
        "object_lock": {"mode": "COMPLIANCE", "retain_days": 3, "legal_hold": true}, "expected_bucket_owner": "123456789012",
        "request_payer": "requester",
    });
    for key in load(&dir, &store.endpoint, &wanted).await {
        let found = head(&client, &key).await;
        assert_eq!(found.storage_class(), Some(&StorageClass::ReducedRedundancy), "{key}");
        assert_eq!(found.object_lock_mode(), Some(&ObjectLockMode::Compliance), "{key}");
        assert_eq!(days_until(found.object_lock_retain_until_date()), 3.0, "{key}");
        assert_eq!(found.object_lock_legal_hold_status(), Some(&ObjectLockLegalHoldStatus::On), "{key}");
        let metadata = found.metadata().expect("metadata");
        assert_eq!([metadata.get("owner"), metadata.get("x-y_z.1")], [Some(&"data  team".to_owned()), Some(&"~".to_owned())], "{key}");
        let expected = [("cost center", "a=1/b"), ("empty", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(tags(&client, &key).await, BTreeMap::from(expected), "{key}");
    }
    // The test object has the bucket's lock, and no storage class of its own.
    let listed = client.list_objects_v2().bucket(BUCKET).send().await.expect("a listing");
    let tests: Vec<&str> = listed.contents().iter().filter_map(|it| it.key()).filter(|key| key.contains("TEST_TABLE")).collect();
    assert!(!tests.is_empty(), "{listed:?}");
    for key in tests {
        let found = client.head_object().bucket(BUCKET).key(key).send().await.expect("the test object");
        assert_eq!((found.object_lock_mode(), found.storage_class()), (Some(&ObjectLockMode::Governance), None), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_load_and_placeholders_arrive_at_every_object_of_a_table() {
    let Some(store) = tiers::live("options for headers at MinIO", minio::start().await) else { return };
    let client = locking_bucket(&store).await;
    let dir = dir(&store);
    dir.file("two_words.csv", "id\n1\n");
    let to = format!(
        "--to s3://{BUCKET}/o/{{{{TABLE}}}}.{{{{FORMAT}}}} --endpoint {} --path-style --region {REGION} --format csv",
        store.endpoint
    );
    let headers = "--storage-class REDUCED_REDUNDANCY --tag of={{TABLE}} --tag run=r/{{COMMIT_ID}} --metadata kind={{TABLE_HYPHEN}}.{{FORMAT}} \
                   --metadata day={{YEAR}}-{{MONTH}}-{{DAY}} --object-lock-mode GOVERNANCE --object-lock-days 2 --legal-hold \
                   --commit-id c-7 --commit-time 2026-01-02T03:04:05Z --manifest m/{{TABLE}}-{{COMMIT_ID}}.json --part-size 5MiB --test-write";
    let line = |command: &str, files: &str| format!("{command} {files} {to} {headers}");
    dir.run_async(&line("load", "small.csv large.csv two_words.csv")).await.ended(0, &[]);
    let tagged = |table: &str| BTreeMap::from([("of".to_owned(), table.to_owned()), ("run".to_owned(), "r/c-7".to_owned())]);
    for (table, hyphened) in [("small", "small"), ("large", "large"), ("two_words", "two-words")] {
        for key in [format!("o/{table}.csv"), format!("m/{table}-c-7.json")] {
            let is_row = key.starts_with("o/");
            let found = client.head_object().bucket(BUCKET).key(&key).send().await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
            assert_eq!(
                found.e_tag().is_some_and(|etag| etag.contains('-')),
                is_row && table == "large",
                "{key}: an upload in parts, or a put"
            );
            assert_eq!(found.storage_class().is_some(), is_row, "{key}");
            assert_eq!(days_until(found.object_lock_retain_until_date()), 2.0, "{key}");
            assert_eq!(found.object_lock_legal_hold_status(), Some(&ObjectLockLegalHoldStatus::On), "{key}");
            let metadata = found.metadata().expect("metadata");
            let expected = [Some(format!("{hyphened}.csv")), Some("2026-01-02".to_owned())];
            assert_eq!([metadata.get("kind").cloned(), metadata.get("day").cloned()], expected, "{key}");
            assert_eq!(tags(&client, &key).await, tagged(table), "{key}");
        }
    }
    // The test object is no table's.
    let listed = client.list_objects_v2().bucket(BUCKET).send().await.expect("a listing");
    let key = listed.contents().iter().filter_map(|it| it.key()).find(|key| key.contains("TEST_TABLE")).expect("a test object");
    assert_eq!(tags(&client, key).await, tagged(""));

    let planned = dir.run_async(&line("plan", "small.csv").replace(" --test-write", " --json")).await.ended(0, &[]).said();
    for shown in ["of={{TABLE}}&run=r%2Fc-7", "{{TABLE_HYPHEN}}.csv", "REDUCED_REDUNDANCY", "GOVERNANCE", "2026-01-02"] {
        assert!(planned.contains(shown), "{shown}: {planned}");
    }
    // A name that no tag takes.
    let refused = dir.run_async(&line("load", "small.csv --table a*b")).await;
    refused.ended(6, &[r#"the name of the table makes "a*b" the value of "of" in `tags`; a value has at most 256 letters"#]);
    let unknown = dir.run_async(&line("load", "small.csv").replace("{{TABLE_HYPHEN}}", "{{UUID}}")).await;
    unknown.ended(3, &[r#"`metadata` has "{{UUID}}" in the value of "kind"; placeholders there are {{TABLE}}, "#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checksum_is_kept_and_tells_attempts_apart() {
    let Some(store) = tiers::live("checksums at MinIO", minio::start().await) else { return };
    let client = store.client();
    client.create_bucket().bucket(BUCKET).send().await.expect("a bucket");
    let dir = dir(&store);
    for algorithm in ["crc32", "crc32c", "crc64nvme", "sha256"] {
        let path = format!("{algorithm}/{{{{TABLE}}}}.csv");
        let manifest = format!("{algorithm}/{{{{TABLE}}}}-{{{{COMMIT_ID}}}}.json");
        let wanted = json!({
            "path": path, "checksum_algorithm": algorithm, "delivery": "exactly_once", "commit": {"id": "c"}, "manifest": {"path": manifest},
        });
        dir.file("spec.json", &spec(&store.endpoint, "csv", wanted));
        let load = "load small.csv large.csv --spec spec.json";
        dir.run_async(load).await.ended(0, &[]);
        let verify = |table: &str| {
            format!("manifest verify s3://{BUCKET}/{algorithm}/{table}-c.json --endpoint {} --path-style --json", store.endpoint)
        };
        for table in ["small", "large"] {
            let key = format!("{algorithm}/{table}.csv");
            head(&client, &key).await;
            let found = client.head_object().bucket(BUCKET).key(&key).checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled).send().await;
            let found = found.expect("it is there");
            let shown = match algorithm {
                "crc32" => found.checksum_crc32(),
                "crc32c" => found.checksum_crc32_c(),
                "crc64nvme" => found.checksum_crc64_nvme(),
                _ => found.checksum_sha256(),
            };
            let is_composite = shown.expect(algorithm).contains('-');
            assert_eq!(is_composite, table == "large" && algorithm != "crc64nvme", "{key}: {shown:?}");
            let verified = dir.run_async(&verify(table)).await.ended(0, &[]).json();
            assert_eq!((&verified["objects"], &verified["checksums"]), (&json!(1), &json!(1)), "{key}");
        }
        // The same again is the same; other rows are told by the checksum alone.
        dir.run_async(load).await.ended(0, &[]);
        let tables = ["small.csv", "large.csv"].map(|table| (table, std::fs::read_to_string(dir.path().join(table)).expect("a table")));
        tables.iter().for_each(|(table, text)| drop(dir.file(table, &text.replacen("\n1,", "\n3,", 1))));
        let told = "other bytes: the source has not given the same rows as before";
        dir.run_async(load).await.ended(5, &["Table small failed", "Table large failed", told]);
        tables.iter().for_each(|(table, text)| drop(dir.file(table, text)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_minio_lacks_arrives_at_moto() {
    let Some(server) = tiers::live("storage classes and bucket keys at moto", moto::start().await) else { return };
    let store = Store::new(format!("http://{}", server.address), KEY.to_owned(), SECRET.to_owned());
    let client = store.client();
    client.create_bucket().bucket(BUCKET).send().await.expect("a bucket");
    let dir = dir(&store);
    let wanted = json!({
        "storage_class": "GLACIER_IR", "tags": {"größe": "数据 7"}, "metadata": {"owner": "me"},
        "server_side_encryption_configuration": {"server_side_encryption": "aws:kms", "sse_kms_key_id": "k", "bucket_key_enabled": true},
    });
    for key in load(&dir, &store.endpoint, &wanted).await {
        let found = head(&client, &key).await;
        assert_eq!(found.storage_class(), Some(&StorageClass::GlacierIr), "{key}");
        assert_eq!(found.server_side_encryption(), Some(&ServerSideEncryption::AwsKms), "{key}");
        // It forgets the bucket's key of an upload in parts.
        assert_eq!(found.bucket_key_enabled(), (!key.contains("large")).then_some(true), "{key}");
        assert_eq!(found.metadata().and_then(|metadata| metadata.get("owner")), Some(&"me".to_owned()), "{key}");
        assert_eq!(tags(&client, &key).await, BTreeMap::from([("größe".to_owned(), "数据 7".to_owned())]), "{key}");
    }
}
