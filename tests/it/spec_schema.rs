//! The JSON Schema of the spec, used by an independent validator: it must accept and refuse the same specs as a sync.

use lakegate_guest::spec::{Spec, json_schema};
use serde_json::{Value, json};

/// Every field of the spec that cannot be left out.
const REQUIRED: [&str; 4] = ["bucket", "region", "path", "format"];

fn validator() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("no schema of the draft: {error}"));
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

fn with(changes: Value) -> Value {
    let mut spec = json!({"bucket": "b", "region": "r", "path": "{{TABLE}}/{{UUID}}.{{FORMAT}}", "format": "csv"});
    if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
        spec.extend(changes);
    }
    spec
}

#[test]
fn accepts() {
    let validator = validator();
    let check = |changes: Value| {
        let spec = with(changes);
        assert!(validator.is_valid(&spec), "{spec}: {:?}", validator.iter_errors(&spec).map(|it| it.to_string()).collect::<Vec<_>>());
        // What the schema accepts, a sync accepts.
        assert!(Spec::parse(&spec.to_string(), "s").is_ok_and(|it| it.warnings.is_empty()), "{spec}");
    };
    check(json!({}));
    for path in [
        "a/b/{{UUID}}",
        ".a/{{UUID}}",
        "..a/...b/b.c/{{UUID}}...",
        "a/.{{UUID}}.",
        "é/{{UUID}}",
        "{{UUID}}",
        "a b/{{YEAR}}-{{MONTH}}/{{UUID}}",
    ] {
        check(json!({"path": path}));
    }
    check(json!({"no_rotate": true, "path": "{{TABLE}}"}));
    check(json!({"no_rotate": true, "path": "x", "batch_size": null, "batch_size_bytes": null, "batch_timeout": null}));
    check(json!({"no_rotate": false}));
    check(json!({"batch_size": 1, "batch_size_bytes": 1, "batch_timeout": "1h2m3.5s"}));
    for timeout in ["30s", "-1.5h", "+.5m", "1.s", "100ms", "5us", "0s", "1h30m"] {
        check(json!({"batch_timeout": timeout}));
    }
    check(json!({"format": "parquet", "write_empty_objects_for_empty_tables": true, "compression": ""}));
    check(json!({"write_empty_objects_for_empty_tables": false}));
    check(json!({"compression": "gzip"}));
    check(json!({"format_spec": null}));
    check(json!({"format_spec": {}}));
    check(json!({"format_spec": {"delimiter": "\t", "skip_header": true}}));
    check(json!({"format": "json", "format_spec": {}}));
    check(json!({"format": "parquet", "format_spec": {"version": "v1.0", "root_repetition": "undefined", "max_row_group_length": 0}}));
    check(json!({"local_profile": "p"}));
    check(json!({"local_profile": "p", "credentials": {}}));
    check(json!({"local_profile": "p", "credentials": null}));
    check(json!({"local_profile": "p", "credentials": {"role_arn": ""}}));
    check(json!({"local_profile": "", "credentials": {"local_profile": "p"}}));
    check(json!({"credentials": {"role_arn": "arn:aws:iam::123456789012:role/x", "role_session_name": "s", "external_id": "e"}}));
    check(json!({"acl": "bucket-owner-full-control"}));
    check(json!({"test_write": null, "athena": true, "content_type": "a/b; charset=utf-8", "aws_debug": true}));
    for endpoint in ["", "http://127.0.0.1:9000", "https://s3.example.com/base", "HTTPS://h"] {
        check(json!({"endpoint": endpoint}));
    }
    for bucket in ["Lake", "my_lake", "tenant:lake", "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake"] {
        check(json!({"bucket": bucket}));
    }
    check(json!({"server_side_encryption_configuration": null}));
    check(json!({"server_side_encryption_configuration": {"server_side_encryption": "AES256"}}));
    check(json!({"server_side_encryption_configuration": {"server_side_encryption": "aws:kms", "sse_kms_key_id": "k"}}));
    check(json!({"max_retries": 0, "max_backoff": 0, "part_size": 5_242_880}));
    check(json!({"max_retries": null, "max_backoff": null, "part_size": null}));
    check(json!({"checksum_algorithm": "none"}));
    for algorithm in ["crc32", "crc32c", "crc64nvme", "sha256"] {
        check(json!({"checksum_algorithm": algorithm}));
    }
    let key = |enabled: Value| json!({"server_side_encryption": "aws:kms", "sse_kms_key_id": "k", "bucket_key_enabled": enabled});
    for enabled in [json!(true), json!(false), json!(null)] {
        check(json!({"server_side_encryption_configuration": key(enabled)}));
    }
    for class in ["", "STANDARD", "GLACIER_IR", "MY_COLD_1"] {
        check(json!({"storage_class": class}));
    }
    check(json!({"tags": {"team": "a b+-=._:/@", "größe": "数据", "empty": ""}, "metadata": {"a-b_c.d~": "x  y", "b": "~"}}));
    check(
        json!({"tags": {"of": "x {{TABLE}}/{{TABLE_HYPHEN}}.{{FORMAT}}", "run": "{{SHARD}}"}, "metadata": {"of": "{{TABLE}} {{FORMAT}}"}}),
    );
    check(json!({"tags": null, "metadata": null, "object_lock": null}));
    check(json!({"tags": {}, "metadata": {}}));
    check(json!({"object_lock": {"mode": "GOVERNANCE", "retain_days": 1}}));
    check(json!({"object_lock": {"mode": "COMPLIANCE", "retain_days": 36_500, "legal_hold": true}}));
    check(json!({"object_lock": {"legal_hold": true}}));
    check(json!({"expected_bucket_owner": "123456789012", "request_payer": "requester"}));
}

#[test]
fn refuses() {
    let validator = validator();
    let check = |changes: Value| {
        let spec = with(changes);
        assert!(!validator.is_valid(&spec), "{spec}");
    };
    for field in REQUIRED {
        check(json!({field: ""}));
        check(json!({field: null}));
        check(json!({field: 5}));
        let mut spec = with(json!({}));
        spec.as_object_mut().unwrap().remove(field);
        assert!(!validator.is_valid(&spec), "without {field}");
    }
    check(json!({"bukket": "x"}));
    check(json!({"Bucket": "x"}));
    for path in [
        "/{{UUID}}",
        "//{{UUID}}",
        "a//{{UUID}}",
        "./{{UUID}}",
        "../{{UUID}}",
        "a/./{{UUID}}",
        // The reference's schema refuses every `./`, though its sync takes these.
        "a./{{UUID}}",
        "a/b../{{UUID}}",
        "a/.../{{UUID}}",
        "a/../{{UUID}}",
        "{{UUID}}/",
        "{{UUID}}/.",
        "{{UUID}}/..",
        "a\n/{{UUID}}",
        "{{UUID}}\u{7f}",
        "x",
    ] {
        check(json!({"path": path}));
    }
    check(json!({"no_rotate": true}));
    check(json!({"no_rotate": false, "path": "x"}));
    for limit in [json!({"batch_size": 1}), json!({"batch_size_bytes": 1}), json!({"batch_timeout": "1s"})] {
        let mut changes = json!({"no_rotate": true, "path": "x"});
        changes.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
        check(changes);
    }
    check(json!({"path": "x", "batch_size": 0, "batch_size_bytes": 0, "batch_timeout": "0s"}));
    for size in [json!(0), json!(-1), json!("1"), json!(1.5)] {
        check(json!({"batch_size": size}));
        check(json!({"batch_size_bytes": size}));
    }
    for timeout in [json!(30), json!(""), json!("soon"), json!("30"), json!("1d"), json!("1 s"), json!(".s"), json!("1s ")] {
        check(json!({"batch_timeout": timeout}));
    }
    check(json!({"write_empty_objects_for_empty_tables": true}));
    check(json!({"write_empty_objects_for_empty_tables": true, "format": "json"}));
    check(json!({"format": "parquet", "compression": "gzip"}));
    check(json!({"compression": "zstd"}));
    check(json!({"format": "CSV"}));
    check(json!({"format": "avro"}));
    check(json!({"format_spec": {"delim": ";"}}));
    check(json!({"format_spec": {"version": "v1.0"}}));
    check(json!({"format_spec": []}));
    for delimiter in ["", "ab", "\"", "\n", "\r", "é", "\u{0}"] {
        check(json!({"format_spec": {"delimiter": delimiter}}));
    }
    check(json!({"format": "json", "format_spec": {"x": 1}}));
    check(json!({"format": "json", "format_spec": {"delimiter": ","}}));
    check(json!({"format": "parquet", "format_spec": {"version": "v3"}}));
    check(json!({"format": "parquet", "format_spec": {"root_repetition": ""}}));
    check(json!({"format": "parquet", "format_spec": {"max_row_group_length": -1}}));
    check(json!({"local_profile": "p", "credentials": {"role_arn": "arn:aws:iam::1:role/x"}}));
    check(json!({"local_profile": "p", "credentials": {"external_id": "e"}}));
    check(json!({"local_profile": "p", "credentials": {"local_profile": "p"}}));
    check(json!({"credentials": {"role_arn": "not an arn"}}));
    check(json!({"credentials": {"role_am": "x"}}));
    check(json!({"acl": ""}));
    check(json!({"acl": "world-writable"}));
    check(json!({"content_type": ""}));
    check(json!({"content_type": "a\nb"}));
    for endpoint in ["localhost:9000", "ftp://h", "http://", "http://user:pass@h", "http://h?x", "http://h x"] {
        check(json!({"endpoint": endpoint}));
    }
    for bucket in ["lake/prefix", "s3://lake", " lake", "lake\n", "l\u{e4}ke"] {
        check(json!({"bucket": bucket}));
    }
    for region in ["us_east_1", "EU (Frankfurt)", "us-east-1\n", "-x"] {
        check(json!({"region": region}));
    }
    for field in ["local_profile", "role_session_name", "external_id"] {
        check(json!({"credentials": {field: "x\n"}}));
    }
    check(json!({"server_side_encryption_configuration": {}}));
    check(json!({"server_side_encryption_configuration": {"server_side_encryption": "aes256"}}));
    check(json!({"server_side_encryption_configuration": {"server_side_encryption": "aws:kms"}}));
    check(json!({"server_side_encryption_configuration": {"server_side_encryption": "aws:kms", "sse_kms_key_id": ""}}));
    check(json!({"server_side_encryption_configuration": {"server_side_encryption": "AES256", "k": 1}}));
    for size in [json!(5_242_879), json!(5_368_709_121_i64), json!("5MiB")] {
        check(json!({"part_size": size}));
    }
    check(json!({"checksum_algorithm": "auto"}));
    check(json!({"checksum_algorithm": false}));
    for algorithm in ["AES256", "aws:kms:dsse"] {
        let encryption = json!({"server_side_encryption": algorithm, "sse_kms_key_id": "k", "bucket_key_enabled": true});
        check(json!({"server_side_encryption_configuration": encryption}));
    }
    for class in ["standard", "STANDARD-IA", "A\n"] {
        check(json!({"storage_class": class}));
    }
    for tags in [
        json!({"a&b": "x"}),
        json!({"": "x"}),
        json!({"a": "x*"}),
        json!({"a": 1}),
        json!([]),
        json!({"a": "{{UUID}}"}),
        json!({"a": "{TABLE}"}),
    ] {
        check(json!({"tags": tags}));
    }
    check(json!({"tags": (0..11).map(|number| (number.to_string(), json!("x"))).collect::<serde_json::Map<_, _>>()}));
    for metadata in [json!({"A": "x"}), json!({"a b": "x"}), json!({"a": ""}), json!({"a": " x"}), json!({"a": "ä"}), json!({"a": null})] {
        check(json!({"metadata": metadata}));
    }
    for lock in [
        json!({}),
        json!({"legal_hold": false}),
        json!({"mode": "GOVERNANCE"}),
        json!({"retain_days": 1, "legal_hold": true}),
        json!({"mode": "governance", "retain_days": 1}),
        json!({"mode": "GOVERNANCE", "retain_days": 0}),
    ] {
        check(json!({"object_lock": lock}));
    }
    check(json!({"expected_bucket_owner": "me"}));
    check(json!({"request_payer": "me"}));
    check(json!({"max_retries": -1}));
    check(json!({"max_backoff": -1}));
    check(json!({"test_write": "yes"}));
    assert!(!validator.is_valid(&json!(null)) && !validator.is_valid(&json!([])) && !validator.is_valid(&json!({})));
}
