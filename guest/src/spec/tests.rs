//! What a spec may say, as tables of promises.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A spec that is right, with members of `changes` put over it (`null` takes one away).
fn with(changes: Value) -> String {
    let mut spec = json!({"bucket": "b", "region": "r", "path": "{{TABLE}}/{{UUID}}.{{FORMAT}}", "format": "csv"});
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    spec.to_string()
}

fn parsed(spec: &str) -> Spec {
    Spec::parse(spec, "sync-1").unwrap_or_else(|problems| panic!("{spec}: {problems:?}"))
}

fn messages(spec: &str, sync_id: &str) -> Vec<String> {
    Spec::parse(spec, sync_id).err().unwrap_or_default().into_iter().map(|it| it.message).collect()
}

#[track_caller]
fn refused(changes: Value, expected: &[&str]) {
    let spec = with(changes);
    assert_eq!(messages(&spec, "sync-1"), expected, "{spec}");
}

#[track_caller]
fn accepted(changes: Value) -> Spec {
    parsed(&with(changes))
}

const UUID_WITH_NO_ROTATE: &str = "`path` should not contain {{UUID}} when `no_rotate` = true";
const NO_ROTATE_WITH_BATCHING: &str = "`no_rotate` cannot be used with non-zero `batch_size`, `batch_size_bytes` or `batch_timeout_ms`";
const BATCHING_WITHOUT_UUID: &str =
    "`path` should contain {{UUID}} when using a non-zero `batch_size`, `batch_size_bytes` or `batch_timeout_ms`";
const NOT_CLEAN: &str = "`path` should not contain relative paths or duplicate slashes";

#[test]
fn the_least_spec_has_the_defaults() {
    let spec = accepted(json!({}));
    assert_eq!(
        spec,
        Spec {
            target: Target {
                bucket: "b".into(),
                region: "r".into(),
                endpoint: None,
                skip_tls_verify: false,
                path_style: false,
                acl: None,
                encryption: None,
                storage_class: None,
                tags: vec![],
                metadata: vec![],
                object_lock: None,
                expected_bucket_owner: None,
                requester_pays: false,
                credentials: CredentialSource::default(),
                max_retries: None,
                max_backoff_seconds: 30,
                part_size_bytes: None,
                checksum_algorithm: None,
                log_requests: false,
            },
            catalog: None,
            test_write: true,
            settings: Settings {
                path: PathTemplate::parse("{{TABLE}}/{{UUID}}.{{FORMAT}}").unwrap(),
                sync_id: "sync-1".into(),
                format: Format::Csv(CsvOptions::default()),
                compression: None,
                is_content_encoded: false,
                rotation: Rotation::Every {
                    rows: NonZeroU64::new(10_000),
                    bytes: NonZeroU64::new(52_428_800),
                    age: Some(Duration::from_secs(30)),
                },
                athena: false,
                empty_objects: false,
                content_type: "text/csv".into(),
                commit: Commit { shard: 1, ..Commit::default() },
                partitioning: Partitioning::default(),
                quarantine: None,
                catalog_tables: None,
                on_schema_change: SchemaChange::NextObject,
            },
            warnings: vec![],
        }
    );
}

#[test]
fn every_field_arrives() {
    let spec = accepted(json!({
        "path": "x/{{SYNC_ID}}/{{TABLE}}/{{UUID}}", "format": "parquet", "write_empty_objects_for_empty_tables": true,
        "credentials": {"local_profile": "p", "role_arn": "arn:aws:iam::1:role/x", "role_session_name": "s", "external_id": "e"},
        "batch_size": 7, "batch_size_bytes": 8, "batch_timeout": "1m1.5s", "acl": "bucket-owner-read",
        "format_spec": {"version": "v2.4", "root_repetition": "required", "max_row_group_length": 9},
        "compression": "", "athena": true, "test_write": false, "content_type": "a/b", "endpoint": "http://h:1", "endpoint_skip_tls_verify": true,
        "use_path_style": true, "server_side_encryption_configuration": {"sse_kms_key_id": "k", "server_side_encryption": "aws:kms", "bucket_key_enabled": false},
        "storage_class": "GLACIER_IR", "tags": {"team": "data eng", "a:b": ""}, "metadata": {"owner": "me", "x-1": "a  b"},
        "object_lock": {"mode": "COMPLIANCE", "retain_days": 30, "legal_hold": true}, "expected_bucket_owner": "123456789012",
        "request_payer": "requester",
        "max_retries": 0, "max_backoff": 5, "part_size": 5_242_880, "checksum_algorithm": "none", "aws_debug": true
    }));
    assert_eq!(
        spec.target,
        Target {
            bucket: "b".into(),
            region: "r".into(),
            endpoint: Some("http://h:1".into()),
            skip_tls_verify: true,
            path_style: true,
            acl: Some("bucket-owner-read".into()),
            encryption: Some(Encryption { algorithm: "aws:kms".into(), kms_key_id: Some("k".into()), bucket_key: Some(false) }),
            storage_class: Some("GLACIER_IR".into()),
            tags: vec![("a:b".into(), String::new()), ("team".into(), "data eng".into())],
            metadata: vec![("owner".into(), "me".into()), ("x-1".into(), "a  b".into())],
            object_lock: Some(ObjectLock { retention: Some(Retention { mode: "COMPLIANCE".into(), days: 30 }), legal_hold: true }),
            expected_bucket_owner: Some("123456789012".into()),
            requester_pays: true,
            credentials: CredentialSource {
                profile: Some("p".into()),
                role_arn: Some("arn:aws:iam::1:role/x".into()),
                role_session_name: Some("s".into()),
                external_id: Some("e".into()),
            },
            max_retries: Some(0),
            max_backoff_seconds: 5,
            part_size_bytes: Some(5_242_880),
            checksum_algorithm: Some("none".into()),
            log_requests: true,
        }
    );
    assert!(!spec.test_write);
    assert_eq!(
        spec.settings,
        Settings {
            path: PathTemplate::parse("x/{{SYNC_ID}}/{{TABLE}}/{{UUID}}").unwrap(),
            sync_id: "sync-1".into(),
            format: Format::Parquet(ParquetOptions {
                version: ParquetVersion::V2_4,
                root_repetition: RootRepetition::Required,
                max_row_group_rows: NonZeroU64::new(9).unwrap(),
                ..ParquetOptions::default()
            }),
            compression: None,
            is_content_encoded: false,
            rotation: Rotation::Every { rows: NonZeroU64::new(7), bytes: NonZeroU64::new(8), age: Some(Duration::from_millis(61_500)) },
            athena: true,
            empty_objects: true,
            content_type: "a/b".into(),
            commit: Commit { shard: 1, ..Commit::default() },
            partitioning: Partitioning::default(),
            quarantine: None,
            catalog_tables: None,
            on_schema_change: SchemaChange::NextObject,
        }
    );
}

#[test]
fn one_mistake_has_the_references_text() {
    refused(json!({"bucket": ""}), &["`bucket` is required"]);
    refused(json!({"bucket": null}), &["`bucket` is required"]);
    refused(json!({"region": ""}), &["`region` is required"]);
    refused(json!({"path": ""}), &["`path` is required"]);
    refused(json!({"path": "/x/{{UUID}}"}), &["`path` should not start with a \"/\""]);
    for path in ["a//{{UUID}}", "./{{UUID}}", "a/../{{UUID}}", "../{{UUID}}", "{{UUID}}/", "{{UUID}}/."] {
        refused(json!({"path": path}), &[NOT_CLEAN]);
    }
    refused(json!({"path": "a\u{7}/{{UUID}}"}), &["`path` should not contain control characters"]);
    let empty_objects = "`write_empty_objects_for_empty_tables` can only be used with `parquet` format";
    refused(json!({"write_empty_objects_for_empty_tables": true}), &[empty_objects]);
    for field in ["local_profile", "role_arn", "role_session_name", "external_id"] {
        refused(json!({"local_profile": "p", "credentials": {field: "x"}}), &["`local_profile` cannot be used with `credentials`"]);
    }
    refused(json!({"no_rotate": true}), &[UUID_WITH_NO_ROTATE]);
    for limit in [json!({"batch_size": 1}), json!({"batch_size_bytes": 1}), json!({"batch_timeout": "1ns"})] {
        let mut changes = json!({"no_rotate": true, "path": "x"});
        changes.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
        refused(changes, &[NO_ROTATE_WITH_BATCHING]);
    }
    refused(json!({"path": "x"}), &[BATCHING_WITHOUT_UUID]);
    refused(json!({"path": "x/{{uuid}}"}), &[BATCHING_WITHOUT_UUID]);
    refused(json!({"path": "x", "batch_size": 0, "batch_size_bytes": 0}), &[BATCHING_WITHOUT_UUID]);
    refused(json!({"path": "x", "batch_size": 0, "batch_size_bytes": 0, "batch_timeout": "1s"}), &[BATCHING_WITHOUT_UUID]);
    refused(json!({"acl": "world-writable"}), &["invalid `acl` value: world-writable"]);
    refused(json!({"format": "avro"}), &["unknown format avro"]);
    refused(json!({"format": "CSV"}), &["unknown format CSV"]);
    refused(json!({"format": ""}), &["unknown format "]);
    refused(json!({"format": null}), &["unknown format "]);
    refused(json!({"compression": "lz4"}), &["`compression` must be either empty, `gzip` or `zstd`"]);
    refused(json!({"format": "parquet", "compression": "gzip"}), &["compression is not supported for parquet format"]);
}

#[test]
fn format_spec_is_strict() {
    refused(json!({"format_spec": {"delim": ";"}}), &["json: unknown field \"delim\""]);
    refused(json!({"format": "json", "format_spec": {"x": 1}}), &["json: unknown field \"x\""]);
    refused(json!({"format": "parquet", "format_spec": {"delimiter": ";"}}), &["json: unknown field \"delimiter\""]);
    for delimiter in ["ab", "é", "\"", "\r", "\n", "\u{0}"] {
        refused(json!({"format_spec": {"delimiter": delimiter}}), &["delimiter must be a single character"]);
    }
    let parquet = |options: Value| json!({"format": "parquet", "format_spec": options});
    refused(parquet(json!({"version": "v3"})), &["invalid version: v3. Allowed values are v1.0, v2.4, v2.6, v2Latest"]);
    refused(
        parquet(json!({"root_repetition": "sometimes"})),
        &["invalid rootRepetition: sometimes. Allowed values are undefined, required, optional, repeated"],
    );
    refused(parquet(json!({"max_row_group_length": -1})), &["invalid: maxRowGroupLength: -1. Must be zero or positive"]);
    refused(json!({"format_spec": {"delimiter": 5}}), &["`format_spec.delimiter` must be a string, not a number"]);
    refused(json!({"format_spec": "x"}), &["failed to unmarshal s3 spec: `format_spec` must be an object, not a string"]);
    // Nobody knows what an unknown format's options mean.
    refused(json!({"format": "avro", "format_spec": {"x": 1}}), &["unknown format avro"]);
}

#[test]
fn format_spec_has_defaults() {
    let check = |changes: Value, expected: Format| assert_eq!(accepted(changes).settings.format, expected);
    let csv = |delimiter, skip_header| Format::Csv(CsvOptions { delimiter, skip_header, ..CsvOptions::default() });
    check(json!({"format_spec": null}), csv(b',', false));
    check(json!({"format_spec": {}}), csv(b',', false));
    check(json!({"format_spec": {"delimiter": ""}}), csv(b',', false));
    check(json!({"format_spec": {"delimiter": "\t", "Skip_Header": true}}), csv(b'\t', true));
    check(json!({"format": "json", "format_spec": {}}), Format::Json(JsonOptions::default()));
    let default = Format::Parquet(ParquetOptions::default());
    check(json!({"format": "parquet"}), default.clone());
    check(json!({"format": "parquet", "format_spec": {"version": "", "root_repetition": null, "max_row_group_length": 0}}), default);
}

#[test]
fn wrong_types_are_told_of_by_field() {
    let unmarshal = |message: &str| format!("failed to unmarshal s3 spec: {message}");
    let check = |changes: Value, message: &str| refused(changes, &[&unmarshal(message)]);
    check(json!({"bucket": 5}), "`bucket` must be a string, not a number");
    let half = with(json!({})).replace("\"b\"", "\"\\ud800\"");
    assert_eq!(messages(&half, "s"), [unmarshal("`bucket` must be a string, not one with half a surrogate pair")]);
    check(json!({"path": ["x"]}), "`path` must be a string, not an array");
    check(json!({"format": {}}), "`format` must be a string, not an object");
    check(json!({"batch_size": "10"}), "`batch_size` must be a whole number, not a string");
    check(json!({"batch_size": 1.5}), "`batch_size` must be a whole number, not one with a fraction, an exponent or more than 64 bits");
    check(json!({"batch_size": 1e3}), "`batch_size` must be a whole number, not one with a fraction, an exponent or more than 64 bits");
    check(
        json!({"batch_size": u64::MAX}),
        "`batch_size` must be a whole number, not one with a fraction, an exponent or more than 64 bits",
    );
    check(json!({"batch_timeout": 30}), "`batch_timeout` must be a string, not a number");
    check(json!({"batch_timeout": "soon"}), "`batch_timeout`: time: invalid duration \"soon\"");
    check(json!({"batch_timeout": "30"}), "`batch_timeout`: time: missing unit in duration \"30\"");
    check(json!({"no_rotate": "yes"}), "`no_rotate` must be true or false, not a string");
    check(json!({"no_rotate": 1}), "`no_rotate` must be true or false, not a number");
    check(json!({"credentials": "x"}), "`credentials` must be an object, not a string");
    check(json!({"credentials": {"role_arn": false}}), "`credentials.role_arn` must be a string, not a boolean");
    check(json!({"server_side_encryption_configuration": []}), "`server_side_encryption_configuration` must be an object, not an array");
}

#[test]
fn what_is_no_object_is_no_spec() {
    let check = |spec: &str, expected: &str| assert_eq!(messages(spec, "s"), [expected], "{spec}");
    check("[]", "failed to unmarshal s3 spec: the spec must be an object, not an array");
    check("\"secret\"", "failed to unmarshal s3 spec: the spec must be an object, not a string");
    check("{", "failed to unmarshal s3 spec: EOF while parsing an object at line 1 column 1");
    check("{} {}", "failed to unmarshal s3 spec: trailing characters at line 1 column 4");
    check("{\"bucket\": secret}", "failed to unmarshal s3 spec: expected value at line 1 column 12");
    let nothing = ["`bucket` is required", "`region` is required", "`path` is required", "unknown format "];
    for spec in ["", " \n", "null", "{}"] {
        assert_eq!(messages(spec, "s"), nothing, "{spec:?}");
    }
}

#[test]
fn go_reads_keys_in_any_case_and_the_last_of_several() {
    let check = |spec: &str, bucket: &str| {
        let spec = spec.replace("REST", r#""region":"r","path":"{{UUID}}","format":"json""#);
        let spec = parsed(&spec);
        assert_eq!((spec.target.bucket.as_str(), spec.warnings.as_slice()), (bucket, [].as_slice()));
    };
    check(r#"{"bucket":"a",REST}"#, "a");
    check(r#"{"BUCKET":"a",REST}"#, "a");
    check(r#"{"bucket":"a","Bucket":"b",REST}"#, "b");
    check(r#"{"Bucket":"b","bucket":"a",REST}"#, "a");
    check(r#"{"bucKet":"a",REST}"#, "a");
    check(r#"{"bucket":5,"bucket":"a",REST}"#, "a");
    check(r#"{"bucket":"\u0061",REST}"#, "a");
    let spec = r#"{"bucket":"a","bucket":null,"region":"r","path":"{{UUID}}","format":"json"}"#;
    assert_eq!(messages(spec, "s"), ["`bucket` is required"]);
}

#[test]
fn our_own_rules_name_field_value_and_what_would_do() {
    refused(json!({"max_retries": -1}), &["`max_retries` must be between 0 and 1000, not -1"]);
    refused(json!({"max_retries": 1_001}), &["`max_retries` must be between 0 and 1000, not 1001"]);
    refused(json!({"max_backoff": -1}), &["`max_backoff` must be between 0 and 86400, not -1"]);
    refused(json!({"part_size": 5_242_879}), &["`part_size` must be between 5242880 and 5368709120, not 5242879"]);
    refused(json!({"part_size": 5_368_709_121_i64}), &["`part_size` must be between 5242880 and 5368709120, not 5368709121"]);
    assert_eq!(accepted(json!({"part_size": 5_368_709_120_i64, "max_retries": 1_000})).target.max_retries, Some(1_000));
    for (value, shown) in [("CRC32", "CRC32"), ("auto", "auto"), ("md5", "md5")] {
        let message = format!("invalid `checksum_algorithm` value: {shown}. Allowed values are crc32, crc32c, crc64nvme, sha256, none");
        refused(json!({"checksum_algorithm": value}), &[&message]);
    }
    for value in ["", "crc32", "crc32c", "crc64nvme", "sha256", "none"] {
        let expected = Some(value).filter(|value| !value.is_empty());
        assert_eq!(accepted(json!({"checksum_algorithm": value})).target.checksum_algorithm.as_deref(), expected);
    }
    refused(json!({"endpoint": "localhost:9000"}), &["`endpoint` must be a URL such as https://host:9000, not \"localhost:9000\""]);
    refused(json!({"content_type": "a/b\nx: y"}), &["`content_type` must be 1 to 256 printable characters of ASCII"]);
    refused(json!({"content_type": "x".repeat(257)}), &["`content_type` must be 1 to 256 printable characters of ASCII"]);
    assert_eq!(accepted(json!({"content_type": "x".repeat(256)})).settings.content_type.len(), 256);
}

#[test]
fn what_no_store_could_take_is_refused_by_field() {
    let check = |changes: Value, field: &str, message: &str| {
        let problems = Spec::parse(&with(changes), "s").expect_err(message);
        let found: Vec<_> = problems.iter().map(|it| it.field.as_str()).collect();
        assert!(found == [field] && problems[0].message.contains(message), "{problems:?}");
        assert!(!problems[0].message.contains(char::is_control), "{problems:?}");
    };
    check(json!({"bucket": "lake/prefix"}), "bucket", "belongs in `path`");
    check(json!({"bucket": " lake"}), "bucket", "spaces, line ends");
    check(json!({"bucket": "arn:aws:s3:::lake"}), "bucket", "not its ARN");
    check(json!({"bucket": "arn:aws:s3:eu-west-1:1:accesspoint/x", "use_path_style": true}), "bucket", "`use_path_style` cannot be used");
    check(json!({"region": "us_east_1"}), "region", "the code of a region");
    check(json!({"region": "us-east-1\n"}), "region", "the code of a region");
    check(json!({"region": "us_east_1", "endpoint": "http://h", "use_path_style": true}), "region", "the code of a region");
    check(json!({"endpoint": "http://h/a//b"}), "endpoint", "empty segments");
    check(json!({"endpoint": "http://h\n"}), "endpoint", "must be a URL");
    check(json!({"local_profile": "p\n"}), "local_profile", "`local_profile` must not have line ends");
    for field in ["local_profile", "role_arn", "role_session_name", "external_id"] {
        for text in ["x\n", "\r\nx", "a\tb", "\u{0}", "\u{7f}", "\u{85}"] {
            let message = format!("`credentials.{field}` must not have line ends or other control characters");
            check(json!({"credentials": {field: text}}), &format!("credentials.{field}"), &message);
        }
    }
    check(json!({"acl": "private\n"}), "acl", "invalid `acl` value");
    let sse = |algorithm: &str, key: &str| json!({"server_side_encryption_configuration": {"server_side_encryption": algorithm, "sse_kms_key_id": key}});
    check(sse("aws:kms", "k\n"), "server_side_encryption_configuration.sse_kms_key_id", "signs of ASCII");
    check(sse("aws:kms\n", "k"), "server_side_encryption_configuration.server_side_encryption", "Allowed values are");
}

#[test]
fn encryption_is_checked() {
    let sse = |value: Value| json!({"server_side_encryption_configuration": value});
    let allowed = "Allowed values are AES256, aws:kms, aws:kms:dsse";
    refused(sse(json!({})), &[&format!("invalid `server_side_encryption` value: . {allowed}")]);
    refused(sse(json!({"server_side_encryption": "aes256"})), &[&format!("invalid `server_side_encryption` value: aes256. {allowed}")]);
    refused(sse(json!({"server_side_encryption": "aws:kms"})), &["`sse_kms_key_id` is required with aws:kms"]);
    refused(
        sse(json!({"server_side_encryption": "aws:kms", "sse_kms_key_id": "a b"})),
        &["`sse_kms_key_id` must be at most 2048 letters, digits and signs of ASCII"],
    );
    let check = |value: Value, expected: Option<(&str, Option<&str>)>| {
        let found = accepted(sse(value)).target.encryption;
        let expected = expected.map(|(algorithm, key)| Encryption {
            algorithm: algorithm.into(),
            kms_key_id: key.map(str::to_owned),
            bucket_key: None,
        });
        assert_eq!(found, expected);
    };
    check(json!(null), None);
    check(json!({"server_side_encryption": "AES256"}), Some(("AES256", None)));
    check(json!({"server_side_encryption": "AES256", "sse_kms_key_id": ""}), Some(("AES256", None)));
    check(json!({"server_side_encryption": "aws:kms:dsse", "sse_kms_key_id": "arn:k"}), Some(("aws:kms:dsse", Some("arn:k"))));
}

#[test]
fn seven_mistakes_are_seven_problems_in_order() {
    let spec = json!({
        "region": "", "path": "/a//{{TABLE}}", "format": "parquet", "compression": "gzip", "acl": "mine", "batch_size": "many",
        "format_spec": {"version": "v9"}, "part_size": 1
    });
    let problems = Spec::parse(&spec.to_string(), "").unwrap_err();
    let found: Vec<_> = problems.iter().map(|it| (it.field.as_str(), it.message.as_str())).collect();
    assert_eq!(
        found,
        [
            ("batch_size", "failed to unmarshal s3 spec: `batch_size` must be a whole number, not a string"),
            ("bucket", "`bucket` is required"),
            ("region", "`region` is required"),
            ("path", "`path` should not start with a \"/\""),
            ("path", NOT_CLEAN),
            ("path", BATCHING_WITHOUT_UUID),
            ("acl", "invalid `acl` value: mine"),
            ("format_spec.version", "invalid version: v9. Allowed values are v1.0, v2.4, v2.6, v2Latest"),
            ("compression", "compression is not supported for parquet format"),
            ("part_size", "`part_size` must be between 5242880 and 5368709120, not 1"),
        ]
    );
}

#[test]
fn a_sync_id_in_the_path_needs_one() {
    let spec = with(json!({"path": "{{SYNC_ID}}/{{UUID}}"}));
    assert_eq!(messages(&spec, ""), ["path contains {{SYNC_ID}}. Upgrade your CLI to use this path variable"]);
    assert_eq!(parsed(&spec).settings.sync_id, "sync-1");
    assert_eq!(messages(&with(json!({})), ""), Vec::<String>::new());
}

#[test]
fn a_path_without_table_is_completed() {
    let check = |changes: Value, expected: &str| assert_eq!(accepted(changes).settings.path.as_str(), expected);
    check(json!({"path": "p/{{UUID}}"}), "p/{{UUID}}/{{TABLE}}.csv.{{UUID}}");
    check(json!({"path": "p", "no_rotate": true}), "p/{{TABLE}}.csv");
    check(json!({"path": "p", "no_rotate": true, "compression": "gzip", "format": "json"}), "p/{{TABLE}}.json");
    check(json!({"path": "p/{{TABLE_HYPHEN}}", "no_rotate": true}), "p/{{TABLE_HYPHEN}}/{{TABLE}}.csv");
    check(json!({"path": "p/{{TABLE}}", "no_rotate": true}), "p/{{TABLE}}");
    check(json!({"path": "p", "batch_size": 0, "batch_size_bytes": 0, "batch_timeout": "0"}), "p/{{TABLE}}.csv.{{UUID}}");
}

#[test]
fn rotation_is_the_paths_and_limits_of_zero_or_less_are_none() {
    let check = |changes: Value, expected: Rotation| assert_eq!(accepted(changes).settings.rotation, expected);
    let every = |rows, bytes, age| Rotation::Every { rows: NonZeroU64::new(rows), bytes: NonZeroU64::new(bytes), age };
    let age = Some(Duration::from_secs(30));
    check(json!({"batch_size": 0}), every(0, 52_428_800, age));
    check(json!({"batch_size": -5, "batch_size_bytes": -1, "batch_timeout": "-1s"}), every(0, 0, None));
    check(json!({"batch_timeout": "0"}), every(10_000, 52_428_800, None));
    check(json!({"path": "{{TABLE}}", "no_rotate": true}), Rotation::Never);
    check(json!({"path": "{{TABLE}}", "no_rotate": true, "batch_size": 0, "batch_timeout": "-1s"}), Rotation::Never);
    check(json!({"path": "{{TABLE}}", "batch_size": 0, "batch_size_bytes": 0, "batch_timeout": "0s"}), Rotation::Never);
}

#[test]
fn content_type_and_extension_follow_format_and_compression() {
    let check = |format: &str, compression: &str, content_type: &str, extension: &str| {
        let settings = accepted(json!({"format": format, "compression": compression})).settings;
        assert_eq!((settings.content_type.as_str(), settings.format_extension()), (content_type, extension));
    };
    check("csv", "", "text/csv", "csv");
    check("csv", "gzip", "application/gzip", "csv.gz");
    check("json", "", "application/json", "json");
    check("json", "gzip", "application/gzip", "json.gz");
    check("csv", "zstd", "application/zstd", "csv.zst");
    check("json", "zstd", "application/zstd", "json.zst");
    check("parquet", "", "application/vnd.apache.parquet", "parquet");
}

#[test]
fn what_content_encoding_tells_neither_key_nor_type_do() {
    let check = |spec: Value, expected: (&str, &str, Option<&str>)| {
        let settings = accepted(spec).settings;
        assert_eq!((settings.content_type.as_str(), settings.format_extension(), settings.content_encoding()), expected);
    };
    check(json!({"compression": "gzip", "content_encoding": "gzip"}), ("text/csv", "csv", Some("gzip")));
    check(json!({"format": "json", "compression": "zstd", "content_encoding": "zstd"}), ("application/json", "json", Some("zstd")));
    check(json!({"compression": "gzip", "content_encoding": "gzip", "content_type": "a/b"}), ("a/b", "csv", Some("gzip")));
    check(json!({"compression": "gzip", "content_encoding": "none"}), ("application/gzip", "csv.gz", None));
    check(json!({"compression": "gzip", "content_encoding": null}), ("application/gzip", "csv.gz", None));
    let gzip = "`content_encoding: gzip` can only be used with `compression: gzip`";
    refused(json!({"content_encoding": "gzip"}), &[gzip]);
    refused(json!({"compression": "zstd", "content_encoding": "gzip"}), &[gzip]);
    refused(json!({"content_encoding": "br"}), &["invalid `content_encoding` value: br. Allowed values are none, gzip, zstd"]);
    refused(json!({"format": "parquet", "content_encoding": "gzip"}), &[gzip]);
}

#[test]
fn a_level_is_one_that_the_codec_has() {
    let text = |spec: Value| accepted(spec).settings.compression.map(|it| (it.codec(), it.level()));
    assert_eq!(text(json!({"compression": "gzip"})), Some((Codec::Gzip, 4)));
    assert_eq!(text(json!({"compression": "zstd", "compression_level": null})), Some((Codec::Zstd, 3)));
    assert_eq!(text(json!({"compression": "gzip", "compression_level": 9})), Some((Codec::Gzip, 9)));
    assert_eq!(text(json!({"compression": "zstd", "compression_level": 12})), Some((Codec::Zstd, 12)));
    refused(json!({"compression": "gzip", "compression_level": 10}), &["`compression_level` must be between 1 and 9 for gzip, not 10"]);
    refused(json!({"compression": "zstd", "compression_level": 13}), &["`compression_level` must be between 1 and 12, not 13"]);
    refused(json!({"compression": "zstd", "compression_level": 0}), &["`compression_level` must be between 1 and 12, not 0"]);
    refused(json!({"compression_level": 3}), &["`compression_level` can only be used with `compression`"]);

    let parquet = |options: Value| match accepted(json!({"format": "parquet", "format_spec": options})).settings.format {
        Format::Parquet(options) => options.compression,
        other => panic!("{other:?}"),
    };
    let leveled = |codec, level| PageCompression::Leveled(Compression::new(codec, level).unwrap());
    assert_eq!(parquet(json!({})), PageCompression::Snappy);
    assert_eq!(parquet(json!({"compression": "snappy"})), PageCompression::Snappy);
    assert_eq!(parquet(json!({"compression": "none"})), PageCompression::None);
    assert_eq!(parquet(json!({"compression": "zstd"})), leveled(Codec::Zstd, 3));
    assert_eq!(parquet(json!({"compression": "gzip", "compression_level": 1})), leveled(Codec::Gzip, 1));
    let check = |options: Value, message: &str| refused(json!({"format": "parquet", "format_spec": options}), &[message]);
    check(json!({"compression": "lzo"}), "invalid `format_spec.compression` value: lzo. Allowed values are snappy, zstd, gzip, none");
    let without = "`compression_level` can only be used with `compression: zstd` or `compression: gzip`";
    for options in [json!({"compression_level": 3}), json!({"compression": "snappy", "compression_level": 3})] {
        check(options, without);
    }
    let level = json!({"compression": "gzip", "compression_level": 12});
    check(level, "`format_spec.compression_level` must be between 1 and 9 for gzip, not 12");
}

#[test]
fn the_options_of_parquet_have_bounds_and_names() {
    let check = |options: Value, message: &str| refused(json!({"format": "parquet", "format_spec": options}), &[message]);
    check(json!({"row_group_bytes": 1_048_575}), "`format_spec.row_group_bytes` must be between 1048576 and 100663296, not 1048575");
    check(json!({"row_group_bytes": 100_663_297}), "`format_spec.row_group_bytes` must be between 1048576 and 100663296, not 100663297");
    let units = "invalid `format_spec.timestamp_unit` value: ns. Allowed values are us, ms, us_truncated, ms_truncated";
    check(json!({"timestamp_unit": "ns"}), units);
    check(json!({"sort_by": ["a desc", "b", "a"]}), "`sort_by` must name a once");
    check(json!({"sort_by": ["a", "a"]}), "`format_spec.sort_by` must name a once");
    check(json!({"sort_by": [" desc"]}), "`sort_by` must have names of columns, and  desc is none");
    check(json!({"sort_by": [""]}), "`format_spec.sort_by` must have names of 1 to 4096 bytes, and number 1 is none");
    let many: Vec<String> = (0..17).map(|number| number.to_string()).collect();
    check(json!({"bloom_filter_columns": many}), "`format_spec.bloom_filter_columns` must have at most 16 names, not 17");
    let Format::Parquet(options) = accepted(json!({"format": "parquet", "format_spec": {
        "row_group_bytes": 1_048_576, "timestamp_unit": "ms", "field_ids": true, "bloom_filter_columns": ["a", "b c"],
        "sort_by": ["a", "b desc", "c asc", "d desc asc"], "page_index": false
    }}))
    .settings
    .format
    else {
        panic!("parquet was asked for")
    };
    let sorted: Vec<(&str, bool)> = options.sort_by.iter().map(|column| (column.name.as_str(), column.descending)).collect();
    assert_eq!(sorted, [("a", false), ("b", true), ("c", false), ("d desc", false)]);
    assert_eq!(options.bloom_filter_columns, ["a", "b c"]);
    assert_eq!(options.timestamp_unit.map(TimestampUnit::name), Some("ms"));
    assert_eq!((options.field_ids, options.page_index, options.row_group_bytes), (true, false, NonZeroU64::new(1 << 20)));
}

#[test]
fn credentials_may_be_empty_or_either_way() {
    let check = |changes: Value, profile: Option<&str>| assert_eq!(accepted(changes).target.credentials.profile.as_deref(), profile);
    check(json!({"local_profile": "p", "credentials": {}}), Some("p"));
    check(json!({"local_profile": "p", "credentials": {"role_arn": "", "external_id": null}}), Some("p"));
    check(json!({"local_profile": "", "credentials": {"local_profile": "q"}}), Some("q"));
    check(json!({"credentials": null}), None);
}

#[test]
fn unknown_fields_are_warned_of_and_never_quoted_at_length() {
    let check = |changes: Value, expected: &[(&str, &str)]| {
        let warnings = accepted(changes).warnings;
        let found: Vec<_> = warnings.iter().map(|it| (it.field.as_str(), it.message.as_str())).collect();
        assert_eq!(found, expected);
    };
    check(json!({"bukket": "x"}), &[("bukket", "unknown field `bukket`; did you mean `bucket`?")]);
    check(json!({"table_filter": "x"}), &[("table_filter", "unknown field `table_filter`")]);
    check(
        json!({"credentials": {"role_am": "x"}}),
        &[("credentials.role_am", "unknown field `credentials.role_am`; did you mean `role_arn`?")],
    );
    check(
        json!({"server_side_encryption_configuration": {"server_side_encryption": "AES256", "k": 1}}),
        &[("server_side_encryption_configuration.k", "unknown field `server_side_encryption_configuration.k`")],
    );
    let long = accepted(json!({"x".repeat(5_000): 1})).warnings;
    assert!(long.len() == 1 && long[0].message.len() < 150);
    let many: serde_json::Map<String, Value> = (0..1_000).map(|i| (format!("field-{i}"), json!(1))).collect();
    assert_eq!(accepted(Value::Object(many)).warnings.len(), 50);
}

/// What the reference says to a configuration, from the recording; what follows "failed to unmarshal s3 spec: " is free.
#[test]
fn the_recorded_inits_come_out_as_in_the_reference() {
    const LAYOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/layout/");
    const PREFIX: &str = "INTERNAL: failed to init plugin: failed to initialize client: ";
    const FREE: &str = "failed to unmarshal s3 spec: ";
    let read = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(format!("{LAYOUT}{name}")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let (scenarios, expected) = (read("scenarios.json"), read("expected.json"));
    let mut refused = 0;
    for scenario in &scenarios {
        let name = &scenario["name"];
        let expected = expected.iter().find(|it| it["name"] == *name).unwrap();
        let init = expected["init"].as_str().unwrap();
        // With no connection nothing is parsed; a store's own refusal is not ours to give.
        if scenario["no_connection"] == true || init.ends_with("failed to write test file to S3") {
            continue;
        }
        let mut spec = scenario["spec"].clone();
        for (field, value) in [("bucket", "bucket"), ("region", "us-east-1"), ("endpoint", "http://127.0.0.1:9000")] {
            spec.as_object_mut().unwrap().entry(field).or_insert_with(|| json!(value));
        }
        if scenario["prefix"] != false
            && let Some(path) = spec["path"].as_str()
        {
            spec["path"] = json!(format!("prefix/{path}"));
        }
        let sync_id = scenario["invocation_id"].as_str().unwrap_or("4d5e");
        match (Spec::parse(&spec.to_string(), sync_id), init.strip_prefix(PREFIX)) {
            // The compression that it does not know is zstd, which is one of ours.
            (Ok(_), Some(text)) if *name == "unknown_compression" => assert!(text.starts_with("`compression` must be"), "{text}"),
            (Ok(_), None) => assert_eq!(init, "OK", "{name}"),
            (Err(problems), Some(text)) => {
                refused += 1;
                assert_eq!(problems.len(), 1, "{name}: {problems:?}");
                let message = &problems[0].message;
                assert!(message == text || text.starts_with(FREE) && message.starts_with(FREE), "{name}: {message}");
            }
            (found, _) => panic!("{name}: {found:?} is not {init}"),
        }
    }
    assert_eq!((scenarios.len(), refused), (56, 24));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,60}", sync_id in ".{0,4}") {
        let _ = Spec::parse(&text, &sync_id);
    }

    #[test]
    fn any_object_is_parsed_or_refused(
        fields in proptest::collection::vec((
            "(bucket|region|path|format|Batch_Size|batch_timeout|format_spec|credentials|endpoint|no_rotate|x)",
            "(null|true|-?[0-9]{1,30}|1e9|\"\"|\"csv\"|\"parquet\"|\"\\{\\{UUID\\}\\}/a\"|\"-1.5h\"|\"\\\\ud800\"|\\[\\]|\\{\"delimiter\":\"é\",\"x\":\\{\\}\\})",
        ), 0..12),
    ) {
        let members: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        match Spec::parse(&format!("{{{}}}", members.join(",")), "s") {
            Ok(spec) => prop_assert_eq!(Settings::from_json(&spec.settings.to_json()), Ok(spec.settings)),
            Err(problems) => prop_assert!(!problems.is_empty() && problems.iter().all(|it| !it.message.is_empty())),
        }
    }
}

fn commit_spec(extra: &Value) -> String {
    let mut spec = json!({
        "bucket": "b", "region": "r", "path": "{{TABLE}}/{{SEQ}}", "format": "csv", "delivery": "exactly_once", "commit": {"id": "c"},
    });
    for (name, value) in extra.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec.to_string()
}

fn repeatable() -> SyncContext {
    SyncContext { repeatable: true, ..SyncContext::from("sync-1") }
}

#[test]
fn a_replay_is_made_of_the_commit_alone() {
    let spec = Spec::parse(&commit_spec(&json!({})), repeatable()).unwrap();
    let Settings { commit, rotation, .. } = &spec.settings;
    assert_eq!((commit.id.as_str(), commit.create_only, commit.replay), ("c", Some(OnExisting::Verify), true));
    assert!(matches!(rotation, Rotation::Every { age: None, rows: Some(_), .. }), "{rotation:?}");
    assert!(!spec.settings.is_splittable(), "a table stays on its lane");
    assert_eq!(Settings::from_json(&spec.settings.to_json()).as_ref(), Ok(&spec.settings));
    let check = |extra: Value, field: &str, message: &str| {
        let problems = Spec::parse(&commit_spec(&extra), repeatable()).expect_err(message);
        assert!(problems.iter().any(|it| it.field == field && it.message.contains(message)), "{extra}: {problems:?}");
    };
    check(json!({"path": "{{TABLE}}/{{UUID}}"}), "path", "{{SEQ}} instead of {{UUID}}");
    check(json!({"path": "{{YEAR}}/{{TABLE}}/{{SEQ}}"}), "commit.time", "`commit.time` is required");
    check(json!({"path": "{{TABLE}}"}), "path", "should contain {{SEQ}} when using");
    check(json!({"batch_timeout": "5s"}), "batch_timeout", "cannot be used with `delivery: exactly_once`");
    check(json!({"commit": {}}), "commit.id", "`commit.id` is required");
    check(json!({"commit": {"id": "a/b"}}), "commit.id", "must be 1 to 200 letters");
    check(json!({"commit": {"id": ".."}}), "commit.id", "must be 1 to 200 letters");
    check(json!({"commit": {"id": "c", "time": "yesterday"}}), "commit.time", "must be a time such as");
    check(json!({"commit": {"id": "c", "on_existing": "hope"}}), "commit.on_existing", "verify, trust, fail");
    check(
        json!({"format": "parquet", "write_empty_objects_for_empty_tables": true}),
        "write_empty_objects_for_empty_tables",
        "exactly_once",
    );
    check(json!({"manifest": {}}), "manifest.path", "`manifest.path` is required");
    check(json!({"manifest": {"path": "{{COMMIT_ID}}"}}), "manifest.path", "should contain {{TABLE}}");
    check(json!({"manifest": {"path": "{{TABLE}}"}}), "manifest.path", "should contain {{COMMIT_ID}}");
    check(json!({"manifest": {"path": "{{TABLE}}/{{COMMIT_ID}}/{{UUID}}"}}), "manifest.path", "should not contain");
    check(json!({"manifest": {"path": "/{{TABLE}}/{{COMMIT_ID}}"}}), "manifest.path", "`manifest.path` should not start");
    let columns = json!({"path": "{{TABLE}}/{{COMMIT_ID}}", "columns": true});
    check(json!({"manifest": columns.clone()}), "manifest.columns", "can only be used with `parquet` format");
    let bare = json!({"path": "{{TABLE}}/{{COMMIT_ID}}", "columns": true, "extra": false});
    check(json!({"manifest": bare, "format": "parquet"}), "manifest.columns", "which leaves them out");
    assert!(Spec::parse(&commit_spec(&json!({"manifest": columns, "format": "parquet"})), repeatable()).is_ok());
    check(json!({"manifest": {"path": "{{TABLE}}/{{COMMIT_ID}}", "lists": ["csv"]}}), "manifest.lists", "Allowed values are symlink");
    let with_time = json!({"path": "{{YEAR}}/{{TABLE}}/{{SEQ}}", "commit": {"id": "c", "time": "2026-11-29T12:00:00Z"}});
    assert_eq!(Spec::parse(&commit_spec(&with_time), repeatable()).unwrap().settings.commit.time, Some(1_795_953_600));
}

/// What another attempt does differently anyway may have random names, and a clock.
#[test]
fn attempts_that_differ_may_have_other_keys() {
    let extra = json!({"path": "{{YEAR}}/{{TABLE}}/{{UUID}}", "batch_timeout": "5s", "commit": {}});
    let spec = Spec::parse(&commit_spec(&extra), "sync-1").unwrap();
    assert_eq!((spec.settings.commit.id.as_str(), spec.settings.commit.replay), ("sync-1", false));
    assert!(spec.settings.is_splittable());
}

#[test]
fn the_id_of_a_sync_may_be_anything_where_no_commit_depends_on_it() {
    let spec = |path: &str| json!({"bucket": "b", "region": "r", "path": path, "format": "csv"}).to_string();
    assert_eq!(Spec::parse(&spec("{{TABLE}}/{{UUID}}"), "any/thing é").unwrap().settings.commit.id, "");
    assert!(Spec::parse(&spec("{{COMMIT_ID}}/{{TABLE}}/{{UUID}}"), "any/thing é").is_err());
}

#[test]
fn text_has_options_of_its_own() {
    let format = |format: &str, options: Value| {
        let spec = json!({"bucket": "b", "region": "r", "path": "{{UUID}}", "format": format, "format_spec": options});
        Spec::parse(&spec.to_string(), "s").map(|spec| spec.settings.format)
    };
    let null_value = NullText::new("\\N", b';');
    let expected = CsvOptions { delimiter: b';', null_value, quotes_all: true, line_ending: LineEnding::CrLf, ..CsvOptions::default() };
    let written = json!({"delimiter": ";", "null_value": "\\N", "quote": "all", "line_ending": "crlf"});
    assert_eq!(format("csv", written), Ok(Format::Csv(expected)));
    assert_eq!(format("csv", json!({"quote": "minimal", "line_ending": "lf", "null_value": ""})), Ok(Format::Csv(CsvOptions::default())));
    assert_eq!(format("json", json!({"omit_nulls": true})), Ok(Format::Json(JsonOptions { omit_nulls: true })));
    let check = |options: Value, field: &str, message: &str| {
        let problems = format("csv", options.clone()).expect_err(message);
        assert!(problems.iter().any(|it| it.field == field && it.message.contains(message)), "{options}: {problems:?}");
    };
    check(json!({"null_value": "a b"}), "format_spec.null_value", "1 to 16 signs of ASCII");
    check(json!({"delimiter": "-", "null_value": "-"}), "format_spec.null_value", "invalid `null_value`: -");
    check(json!({"quote": "none"}), "format_spec.quote", "minimal, all");
    check(json!({"line_ending": "cr"}), "format_spec.line_ending", "lf, crlf");
}

#[test]
fn the_quarantine_has_rules_of_its_own() {
    let read = |extra: Value, sync: SyncContext| {
        let mut spec = json!({"bucket": "b", "region": "r", "path": "{{TABLE}}/{{UUID}}", "format": "csv"});
        extra.as_object().into_iter().flatten().for_each(|(name, value)| spec[name] = value.clone());
        Spec::parse(&spec.to_string(), sync).map(|spec| spec.settings)
    };
    let of = |path: &str| json!({"path": path, "max_rows": 7});
    let exactly_once = |quarantine: &str| json!({"delivery": "exactly_once", "commit": {"id": "c"}, "path": "{{TABLE}}/{{SEQ}}", "batch_timeout": "0s", "quarantine": of(quarantine)});
    const GOOD: &str = "q/{{TABLE}}/{{UUID}}";
    let good = |extra: Value, sync: SyncContext| read(extra, sync).expect("good").quarantine;
    let expected = |path: &str| {
        Some(Quarantine { path: PathTemplate::parse(path).unwrap(), max_rows: NonZeroU64::new(7).unwrap(), include_row: true })
    };
    assert_eq!(good(json!({"quarantine": of(GOOD)}), "s".into()), expected(GOOD));
    let bare = json!({"quarantine": {"path": GOOD, "max_rows": 7, "include_row": false}});
    assert!(!good(bare, "s".into()).expect("on").include_row);
    // Off: without it, and without room.
    for off in [
        json!({}),
        json!({"quarantine": {"path": GOOD}}),
        json!({"quarantine": {"path": GOOD, "max_rows": 0}}),
        json!({"quarantine": null}),
    ] {
        assert_eq!(good(off, "s".into()), None);
    }
    let numbered = "q/{{TABLE_HYPHEN}}/{{COMMIT_ID}}/{{SEQ}}.{{FORMAT}}";
    assert_eq!(good(exactly_once(numbered), repeatable()), expected(numbered));
    assert_eq!(
        good(json!({"path": "{{TABLE}}/{{SEQ}}", "quarantine": of("q/{{TABLE}}/{{SEQ}}")}), "s".into()),
        expected("q/{{TABLE}}/{{SEQ}}")
    );
    let check = |extra: Value, sync: SyncContext, field: &str, message: &str| {
        let problems = read(extra.clone(), sync).expect_err(message);
        assert!(problems.iter().any(|it| it.field == field && it.message.contains(message)), "{extra}: {problems:?}");
    };
    let check_path = |path: &str, message: &str| check(json!({"quarantine": of(path)}), "s".into(), "quarantine.path", message);
    check(json!({"quarantine": {"max_rows": 7}}), "s".into(), "quarantine.path", "`quarantine.path` is required");
    check(json!({"quarantine": {"path": GOOD, "max_rows": -1}}), "s".into(), "quarantine.max_rows", "between 0 and 1000000000, not -1");
    check_path("/{{TABLE}}/{{UUID}}", "`quarantine.path` should not start");
    check_path("q/{{UUID}}", "should contain {{TABLE}}");
    check_path("q/{{TABLE}}", "should contain {{UUID}}");
    check_path("q/{{TABLE}}/{{SEQ}}", "should contain {{UUID}}");
    check_path("q/{{TABLE}}/{{SCHEMA}}/{{UUID}}", "should not contain {{SCHEMA}}");
    check_path("q/{{TABLE}}/{{COLUMN:c}}/{{UUID}}", "or values of columns");
    check_path("{{TABLE}}/{{UUID}}", "should not be `path`");
    check(json!({"quarantine": of("q/{{SYNC_ID}}/{{TABLE}}/{{UUID}}")}), "".into(), "quarantine.path", "this sync has no id");
    check(json!({"quarantine": of("q/{{COMMIT_ID}}/{{TABLE}}/{{UUID}}")}), "".into(), "commit.id", "`commit.id` is required");
    check(exactly_once("q/{{TABLE}}/{{UUID}}"), repeatable(), "quarantine.path", "{{SEQ}} instead of {{UUID}}");
    check(exactly_once("q/{{DAY}}/{{TABLE}}/{{SEQ}}"), repeatable(), "commit.time", "in `quarantine.path`");
}

#[test]
fn partitions_have_rules_of_their_own() {
    let spec = |path: &str, extra: Value| {
        let mut spec = json!({"bucket": "b", "region": "r", "path": path, "format": "parquet"});
        for (name, value) in extra.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        spec.to_string()
    };
    const PATH: &str = "{{TABLE}}/c={{COLUMN:c}}/{{UUID}}";
    let read = |extra: Value| Spec::parse(&spec(PATH, extra), "s").unwrap().settings;
    let settings = read(json!({}));
    assert_eq!(settings.partitioning, Partitioning::default());
    assert!(!settings.is_splittable(), "a partition would have an object on each lane");
    let written = json!({"partition": {"max_open": 4_096, "overflow": "fail", "missing": "fail", "null": "none", "keep_columns": false}});
    let expected =
        Partitioning { max_open: 4_096, closes_oldest: false, fails_where_missing: true, null_name: "none".into(), keep_columns: false };
    assert_eq!(read(written).partitioning, expected);
    // YAML's null is the default, as is its text.
    for nothing in [json!(null), json!("null"), json!("")] {
        assert!(!read(json!({"partition": {"missing": nothing, "max_open": null}})).partitioning.fails_where_missing);
    }
    let check = |path: &str, extra: Value, field: &str, message: &str| {
        let problems = Spec::parse(&spec(path, extra.clone()), "s").expect_err(message);
        assert!(problems.iter().any(|it| it.field == field && it.message.contains(message)), "{extra}: {problems:?}");
    };
    check(PATH, json!({"partition": {"max_open": 0}}), "partition.max_open", "between 1 and 4096, not 0");
    check(PATH, json!({"partition": {"max_open": 4_097}}), "partition.max_open", "between 1 and 4096, not 4097");
    check(PATH, json!({"partition": {"overflow": "hope"}}), "partition.overflow", "close_oldest, fail");
    check(PATH, json!({"partition": {"missing": "skip"}}), "partition.missing", "null, fail");
    check(PATH, json!({"partition": {"null": "2024"}}), "partition.null", "with a letter among them");
    check("{{TABLE}}/{{UUID}}", json!({"partition": {"max_open": 7}}), "partition", "this one has none of them");
    let empty = "write_empty_objects_for_empty_tables";
    check(PATH, json!({empty: true}), empty, "an empty table has no values");
    check("{{COLUMN:a}}{{COLUMN:b}}/{{SEQ}}", json!({}), "path", "two partitions can have the same key");
    check("{{COLUMN:}}/{{UUID}}", json!({}), "path", "`path` has {{COLUMN: without the name of a column");
    check(PATH, json!({"on_schema_change": "new_path"}), "path", "should contain {{SCHEMA}}");
    check(PATH, json!({"on_schema_change": "hope"}), "on_schema_change", "next_object, fail, new_path");
    let manifest = json!({"commit": {"id": "c"}, "manifest": {"path": "{{TABLE}}/{{COMMIT_ID}}/{{COLUMN:c}}"}});
    check(PATH, manifest, "manifest.path", "values of columns");
}

#[test]
fn values_of_headers_have_the_placeholders_of_a_sync() {
    let sync = || SyncContext { sync_id: "sync-1".into(), commit_id: "c-7".into(), shard: Some((2, 3)), ..SyncContext::default() };
    let target = |changes: Value| Spec::parse(&with(changes), sync()).unwrap_or_else(|problems| panic!("{problems:?}")).target;
    let commit = json!({"time": "2026-01-02T03:04:05Z"});
    for (value, rendered) in [
        ("plain", "plain"),
        ("{{FORMAT}}", "csv.gz"),
        ("{{SYNC_ID}}/{{COMMIT_ID}}", "sync-1/c-7"),
        ("{{SHARD}}", "2"),
        ("{{YEAR}}-{{MONTH}}-{{DAY}} {{HOUR}}:{{MINUTE}}", "2026-01-02 03:04"),
        // The host knows the tables.
        ("x {{TABLE}}={{TABLE_HYPHEN}}", "x {{TABLE}}={{TABLE_HYPHEN}}"),
    ] {
        let target = target(json!({"tags": {"k": value}, "metadata": {"k": value}, "commit": commit, "compression": "gzip"}));
        let expected = [("k".to_owned(), rendered.to_owned())];
        assert_eq!((&target.tags[..], &target.metadata[..]), (&expected[..], &expected[..]), "{value}");
    }
    let known = "{{TABLE}}, {{TABLE_HYPHEN}}, {{FORMAT}}, {{SYNC_ID}}, {{COMMIT_ID}}, {{SHARD}}, {{YEAR}}, {{MONTH}}, {{DAY}}, {{HOUR}}, {{MINUTE}}";
    for field in ["tags", "metadata"] {
        let check = |sync: SyncContext, value: &str, problem: &str| {
            let found = Spec::parse(&with(json!({field: {"k": value}})), sync).err().unwrap_or_default();
            let found: Vec<(&str, &str)> = found.iter().map(|it| (it.field.as_str(), it.message.as_str())).collect();
            assert_eq!(found, [(field, &*format!("`{field}` has {problem}"))], "{value}");
        };
        for (value, unknown) in [
            ("a{{UUID}}", "{{UUID}}"),
            ("{{SEQ}}", "{{SEQ}}"),
            ("{{SCHEMA}}", "{{SCHEMA}}"),
            ("{{COLUMN:c}}", "{{COLUMN:c}}"),
            ("{{YEAR:c}}", "{{YEAR:c}}"),
            ("{{table}}", "{{table}}"),
            ("{{ TABLE }}", "{{ TABLE }}"),
            ("{{}}", "{{}}"),
            ("{{{TABLE}}}", "{{{TABLE}}"),
            ("{{TABLE}} {{", "{{"),
        ] {
            check(sync(), value, &format!("{unknown:?} in the value of \"k\"; placeholders there are {known}"));
        }
        for name in ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE"] {
            let why = "which needs `commit.time`: it is the same for all objects in the value of \"k\"";
            check(sync(), &format!("{{{{{name}}}}}"), &format!("{{{{{name}}}}}, {why}"));
        }
        check(SyncContext::default(), "{{SYNC_ID}}", "{{SYNC_ID}}, and this sync has none in the value of \"k\"");
        let braces = SyncContext { sync_id: "{{TABLE}}".into(), ..SyncContext::default() };
        check(braces, "{{SYNC_ID}}", "{{SYNC_ID}}, which stands for a text with {{ in the value of \"k\"");
    }
    // A commit's name is required where it is asked for, and then held to its own rules.
    let of_commit = json!({"tags": {"k": "{{COMMIT_ID}}"}});
    let nameless =
        Spec::parse(&with(of_commit.clone()), SyncContext { repeatable: true, ..sync_without_commit() }).err().unwrap_or_default();
    assert!(
        nameless.iter().any(|it| it.field == "commit.id" && it.message.contains("with {{COMMIT_ID}} in `tags` or `metadata`")),
        "{nameless:?}"
    );
    // What is made of a value is held to the rules again.
    let odd = SyncContext { sync_id: "a*b\u{e4}".into(), ..SyncContext::default() };
    let problems = |changes: Value| {
        Spec::parse(&with(changes), odd.clone()).err().unwrap_or_default().into_iter().map(|it| it.message).collect::<Vec<_>>()
    };
    let of_tags = "a value has at most 256 letters, digits, spaces and + - = . _ : / @";
    assert_eq!(problems(json!({"tags": {"k": "{{SYNC_ID}}"}})), [format!("`tags` has \"a*b\u{e4}\" as the value of \"k\"; {of_tags}")]);
    let of_metadata = "a value is made of printable characters of ASCII, with no space at either end";
    assert_eq!(
        problems(json!({"metadata": {"k": "{{SYNC_ID}}"}})),
        [format!("`metadata` has \"a*b\u{e4}\" as the value of \"k\"; {of_metadata}")]
    );
    assert_eq!(problems(json!({"metadata": {"k": "{{TABLE}} "}})).len(), 1, "a space at the end");
    let long = SyncContext { sync_id: "s".repeat(250), ..SyncContext::default() };
    let lengths = |value: &str| Spec::parse(&with(json!({"tags": {"k": value}})), long.clone()).is_ok();
    assert!(lengths("{{SYNC_ID}}12345{{TABLE}}") && !lengths("{{SYNC_ID}}123456{{TABLE}}"));
    let much = SyncContext { sync_id: "s".repeat(1_600), ..SyncContext::default() };
    let fits = |value: &str| Spec::parse(&with(json!({"metadata": {"k": value}})), much.clone());
    assert!(fits(&format!("{{{{SYNC_ID}}}}{}", "x".repeat(52))).is_ok());
    let problem = fits(&format!("{{{{SYNC_ID}}}}{}", "x".repeat(53))).err().unwrap_or_default();
    assert_eq!(problem[0].message, "`metadata` has 1665 bytes; at most 1664 are possible, each name counted with x-amz-meta-");
}

fn sync_without_commit() -> SyncContext {
    SyncContext { sync_id: "sync-1".into(), ..SyncContext::default() }
}

#[test]
fn headers_of_objects_are_what_s3_takes() {
    let classes = "STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE, REDUCED_REDUNDANCY, \
                   EXPRESS_ONEZONE, OUTPOSTS, SNOW";
    for class in ["glacier", "STANDARD-IA", "A B", "ST\u{c4}"] {
        let wanted = format!("A storage class is made of capital letters, digits and _, such as {classes}");
        refused(json!({"storage_class": class}), &[&format!("invalid `storage_class` value: {class}. {wanted}")]);
    }
    for class in classes.split(", ").chain(["MY_COLD_1"]) {
        assert_eq!(accepted(json!({"storage_class": class})).target.storage_class.as_deref(), Some(class));
    }
    assert_eq!(accepted(json!({"storage_class": ""})).target.storage_class, None);

    let tag = |key: &str, value: &str| json!({"tags": {key: value}});
    let characters = "letters, digits, spaces and + - = . _ : / @";
    for key in ["", "a&b", "a\n", &"k".repeat(129)] {
        let shown = super::document::preview(key);
        refused(tag(key, "v"), &[&format!("`tags` has the key {shown:?}; a key has 1 to 128 {characters}")]);
    }
    refused(tag("AWS:x", "v"), &["`tags` has the key \"AWS:x\"; keys that begin with aws: are AWS's"]);
    for value in ["a*b", "{TABLE}", "\t", &"v".repeat(257)] {
        let shown = super::document::preview(value);
        refused(tag("k", value), &[&format!("`tags` has {shown:?} as the value of \"k\"; a value has at most 256 {characters}")]);
    }
    for (key, value) in [("größe", ""), ("a b+-=._:/@", "数据 7"), (&"ä".repeat(128), &"ä".repeat(256))] {
        assert_eq!(accepted(tag(key, value)).target.tags, [(key.to_owned(), value.to_owned())]);
    }
    let many = |count: usize| json!({"tags": (0..count).map(|number| (number.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>()});
    assert_eq!(accepted(many(10)).target.tags.len(), 10);
    refused(many(11), &["`tags` has 11 tags; an object can have 10"]);
    for empty in [json!({}), Value::Null] {
        assert_eq!(accepted(json!({"tags": empty, "metadata": empty})).target.tags, []);
    }

    let metadata = |name: &str, value: &str| json!({"metadata": {name: value}});
    let ours = "names that begin with lakegate- are Lakegate's";
    refused(metadata("lakegate-upload", "x"), &[&format!("`metadata` has the name \"lakegate-upload\"; {ours}")]);
    for name in ["", "Owner", "a b", "a:b", "\u{e4}"] {
        let wanted = "a name is made of lower-case letters and digits of ASCII and - _ . and other signs of header names";
        refused(metadata(name, "x"), &[&format!("`metadata` has the name {name:?}; {wanted}")]);
    }
    for value in ["", " x", "x ", "\u{e4}"] {
        let wanted = "a value is made of printable characters of ASCII, with no space at either end";
        refused(metadata("a", value), &[&format!("`metadata` has {value:?} as the value of \"a\"; {wanted}")]);
    }
    let most = "x".repeat(1_664 - 11 - 1);
    assert_eq!(accepted(metadata("a", &most)).target.metadata[0].1, most);
    refused(metadata("ab", &most), &["`metadata` has 1665 bytes; at most 1664 are possible, each name counted with x-amz-meta-"]);
    assert_eq!(
        parsed(&with(json!({})).replacen('{', r#"{"metadata": {"a": "1", "a": "2"}, "#, 1)).target.metadata,
        [("a".into(), "2".into())]
    );

    let lock = |lock: Value| json!({"object_lock": lock});
    let retention = |days| Some(ObjectLock { retention: Some(Retention { mode: "GOVERNANCE".into(), days }), legal_hold: false });
    for days in [1, 36_500] {
        assert_eq!(accepted(lock(json!({"mode": "GOVERNANCE", "retain_days": days}))).target.object_lock, retention(days));
    }
    let held = Some(ObjectLock { retention: None, legal_hold: true });
    assert_eq!(accepted(lock(json!({"legal_hold": true}))).target.object_lock, held);
    assert_eq!(accepted(lock(Value::Null)).target.object_lock, None);
    for (written, expected) in [
        (
            json!({"mode": "governance", "retain_days": 1}),
            "invalid `object_lock.mode` value: governance. Allowed values are GOVERNANCE, COMPLIANCE",
        ),
        (json!({"mode": "GOVERNANCE", "retain_days": 0}), "`object_lock.retain_days` must be between 1 and 36500, not 0"),
        (json!({"mode": "GOVERNANCE", "retain_days": 36_501}), "`object_lock.retain_days` must be between 1 and 36500, not 36501"),
        (json!({"mode": "GOVERNANCE"}), "`object_lock.retain_days` is required with `object_lock.mode`"),
        (json!({"retain_days": 1}), "`object_lock.mode` (GOVERNANCE or COMPLIANCE) is required with `object_lock.retain_days`"),
        (json!({}), "`object_lock` must have `mode` and `retain_days`, or `legal_hold: true`"),
        (json!({"legal_hold": false}), "`object_lock` must have `mode` and `retain_days`, or `legal_hold: true`"),
    ] {
        refused(lock(written), &[expected]);
    }

    for account in ["123", "1234567890123", "12345678901a"] {
        let message = format!("`expected_bucket_owner` must be the twelve digits of an account of AWS, not {account:?}");
        refused(json!({"expected_bucket_owner": account}), &[&message]);
    }
    refused(json!({"request_payer": "me"}), &["invalid `request_payer` value: me. Allowed values are requester"]);
    let encryption = |algorithm: &str| {
        let encryption = json!({"server_side_encryption": algorithm, "sse_kms_key_id": "k", "bucket_key_enabled": true});
        json!({"server_side_encryption_configuration": encryption})
    };
    assert_eq!(accepted(encryption("aws:kms")).target.encryption.and_then(|it| it.bucket_key), Some(true));
    for algorithm in ["AES256", "aws:kms:dsse"] {
        refused(encryption(algorithm), &[&format!("`bucket_key_enabled` can only be used with aws:kms, not with {algorithm}")]);
    }
    let unmarshal = |message: &str| format!("failed to unmarshal s3 spec: {message}");
    for field in ["tags", "metadata"] {
        refused(
            json!({field: {"a": 1}}),
            &[&unmarshal(&format!("`{field}` must be an object of strings, not one with something else in it"))],
        );
        refused(json!({field: "a=b"}), &[&unmarshal(&format!("`{field}` must be an object of strings, not a string"))]);
    }
}

/// An Iceberg spec that is right, with members of `changes` put over `iceberg` and of `others` over the rest.
fn iceberg(changes: Value, others: Value) -> Value {
    let mut catalog = json!({"uri": "http://catalog:8181/api", "namespace": "sales"});
    let mut spec = json!({"path": "wh/{{TABLE}}/data/{{UUID}}.parquet", "format": "parquet", "table_format": "iceberg"});
    for (target, changes) in [(&mut catalog, changes), (&mut spec, others)] {
        if let (Value::Object(target), Value::Object(changes)) = (target, changes) {
            target.extend(changes);
        }
    }
    if spec.get("iceberg").is_none() {
        spec["iceberg"] = catalog;
    }
    spec
}

#[test]
fn a_catalog_is_the_hosts_and_the_names_of_tables_are_the_sessions() {
    let spec = accepted(iceberg(json!({"table": "raw_{{TABLE}}", "namespace": "a.b", "on_schema_change": "add_columns"}), json!({})));
    let expected = Catalog {
        uri: "http://catalog:8181/api".into(),
        warehouse: None,
        namespace: vec!["a".into(), "b".into()],
        auth: CatalogAuth::None,
        create: true,
        adds_columns: true,
    };
    assert_eq!(spec.catalog, Some(expected));
    let tables = spec.settings.catalog_tables.as_ref().unwrap();
    assert_eq!(
        (tables.name_of("t"), tables.name_of("{{TABLE}}"), tables.folder.as_str()),
        ("raw_t".into(), "raw_{{TABLE}}".into(), "wh/{{TABLE}}")
    );
    let Format::Parquet(options) = &spec.settings.format else { panic!("{:?}", spec.settings.format) };
    assert_eq!((options.iceberg, options.timestamp_unit.map(TimestampUnit::name)), (Some(IcebergTypes { athena: false }), Some("us")));
    assert_eq!(spec.settings.commit.id, "sync-1", "the id of the sync is that of the commit");

    let source = |name: &str| SecretSource::Environment(name.into());
    let client =
        |credential| CatalogAuth::OAuth2 { credential, token_uri: Some("https://idp/token".into()), scope: Some("catalog".into()) };
    for (changes, uri, auth) in [
        (json!({"auth": "bearer", "credential_env": "TOKEN"}), "http://catalog:8181/api", CatalogAuth::Bearer(source("TOKEN"))),
        (
            json!({"auth": "bearer", "credential_file": "/t"}),
            "http://catalog:8181/api",
            CatalogAuth::Bearer(SecretSource::File("/t".into())),
        ),
        (
            json!({"auth": "oauth2", "credential_env": "C", "token_uri": "https://idp/token", "scope": "catalog"}),
            "http://catalog:8181/api",
            client(source("C")),
        ),
        (json!({"auth": "sigv4"}), "http://catalog:8181/api", CatalogAuth::SigV4("execute-api".into())),
        (json!({"auth": "sigv4", "signing_name": "s3tables"}), "http://catalog:8181/api", CatalogAuth::SigV4("s3tables".into())),
        (json!({"catalog": "glue", "uri": null}), "https://glue.r.amazonaws.com/iceberg", CatalogAuth::SigV4("glue".into())),
        (
            json!({"catalog": "s3_tables", "uri": null, "create": false, "warehouse": "arn:aws:s3tables:r:1:bucket/b"}),
            "https://s3tables.r.amazonaws.com/iceberg",
            CatalogAuth::SigV4("s3tables".into()),
        ),
    ] {
        let catalog = accepted(iceberg(changes, json!({}))).catalog.unwrap();
        assert_eq!((catalog.uri.as_str(), catalog.auth), (uri, auth));
    }
}

#[test]
fn a_catalog_has_rules_of_its_own() {
    let with = |changes: Value, expected: &[&str]| refused(iceberg(changes, json!({})), expected);
    let beside = |others: Value, expected: &[&str]| refused(iceberg(json!({}), others), expected);
    beside(json!({"iceberg": null}), &["`iceberg` is required with `table_format: iceberg`: it says which catalog"]);
    beside(json!({"table_format": "none"}), &["`iceberg` can only be used with `table_format: iceberg`"]);
    beside(json!({"table_format": "delta"}), &["invalid `table_format` value: delta. Allowed values are none, iceberg"]);
    beside(json!({"format": "csv"}), &["`table_format: iceberg` can only be used with `parquet` format, not with `csv`"]);
    beside(
        json!({"format_spec": {"field_ids": true}}),
        &["`field_ids` cannot be used with `table_format: iceberg`: the fields have the ids of the table"],
    );
    beside(
        json!({"format_spec": {"timestamp_unit": "ms"}}),
        &["`timestamp_unit` must be `us` or `us_truncated` with `table_format: iceberg`, which counts in microseconds"],
    );
    beside(
        json!({"visibility": "on_commit", "commit": {"id": "c"}}),
        &["`visibility: on_commit` cannot be used with `table_format: iceberg`: nothing of a table is seen before its snapshot"],
    );
    beside(
        json!({"manifest": {"path": "{{TABLE}}/{{SYNC_ID}}"}}),
        &["`manifest` cannot be used with `table_format: iceberg`: the table's own metadata name its objects"],
    );
    beside(
        json!({"partition": {"keep_columns": false}, "path": "wh/{{TABLE}}/{{COLUMN:c}}/{{UUID}}"}),
        &["`partition.keep_columns: false` cannot be used with `table_format: iceberg`"],
    );
    let folder = "`path` should begin with the folder of each table, such as warehouse/{{TABLE}}/data/{{UUID}}.parquet, with `table_format: \
                  iceberg`: no other placeholder before the \"/\" that ends it";
    for path in
        ["{{UUID}}/{{TABLE}}/x", "x/{{UUID}}", "x/{{TABLE}}-{{UUID}}", "{{COLUMN:c}}/{{TABLE}}/{{UUID}}", "x/{{TABLE_HYPHEN}}/{{UUID}}"]
    {
        beside(json!({"path": path}), &[folder]);
    }
    for (path, expected) in [
        ("{{TABLE}}/{{UUID}}", "{{TABLE}}"),
        ("a/x-{{TABLE}}-y/z/{{UUID}}", "a/x-{{TABLE}}-y"),
        ("{{TABLE}}/{{TABLE}}/{{UUID}}", "{{TABLE}}"),
    ] {
        assert_eq!(accepted(iceberg(json!({}), json!({"path": path}))).settings.catalog_tables.unwrap().folder.as_str(), expected);
    }
    let replaces = "`path` should contain {{UUID}}, or {{COMMIT_ID}} with `delivery: exactly_once`, with `table_format: iceberg`: the objects of a \
                    table are never replaced";
    beside(json!({"path": "wh/{{TABLE}}/{{SEQ}}"}), &[replaces]);
    beside(json!({"path": "wh/{{TABLE}}/x", "no_rotate": true}), &[replaces]);
    beside(json!({"path": "wh/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}", "commit": {"id": "c"}}), &[replaces]);
    accepted(iceberg(json!({}), json!({"path": "wh/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}", "commit": {"id": "c"}, "delivery": "exactly_once"})));
    beside(
        json!({"path": "wh/{{TABLE}}/{{MINUTE:t}}/{{UUID}}"}),
        &["`path` should not contain {{MINUTE:t}} with `table_format: iceberg`, which has no such partitions"],
    );
    with(
        json!({"catalog": "s3_tables"}),
        &[
            "`iceberg.create: false` is required with `iceberg.catalog: s3_tables`: a new table has a bucket that no spec can know",
            "`iceberg.warehouse` is required with `iceberg.catalog: s3_tables`: the ARN of the table bucket",
        ],
    );
    with(json!({"uri": ""}), &["`iceberg.uri` is required with `iceberg.catalog: rest`"]);
    with(json!({"namespace": ""}), &["`iceberg.namespace` is required"]);
    with(json!({"namespace": "a..b"}), &["`iceberg.namespace` must be 1 to 16 names with a \".\" between them, not \"a..b\""]);
    let name = |name: &str| {
        format!(
            "`iceberg.table` must have {{{{TABLE}}}} in it, once, and no other placeholder, since each table has a name of its own: not {name:?}"
        )
    };
    for table in ["orders", "{{TABLE}}{{TABLE}}", "{{TABLE}}_{{UUID}}", "{{TABLE}}\n"] {
        with(json!({"table": table}), &[&name(&super::document::preview(table))]);
    }
    with(json!({"auth": "bearer"}), &["`iceberg.credential_env` or `iceberg.credential_file` is required with `iceberg.auth: bearer`"]);
    with(
        json!({"auth": "oauth2", "credential_env": "A", "credential_file": "b"}),
        &["`iceberg.credential_file` cannot be used with `iceberg.credential_env`"],
    );
    with(json!({"credential_env": "A"}), &["`iceberg.credential_env` can only be used with `iceberg.auth: bearer` or `oauth2`"]);
    with(json!({"scope": "s"}), &["`iceberg.scope` can only be used with `iceberg.auth: oauth2`"]);
    with(json!({"signing_name": "s"}), &["`iceberg.signing_name` can only be used with `iceberg.auth: sigv4`"]);
    with(json!({"uri": "http://me:secret@host"}), &["`iceberg.uri` must not hold a user name or password"]);
    with(json!({"uri": "ftp://host"}), &["`iceberg.uri` must be a URL such as https://host:9000, not \"ftp://host\""]);
}
