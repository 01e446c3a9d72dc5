//! The component: its imports, and what must never enter a session.

use crate::fixtures::support::test_store;
use lakegate::component_bytes;
use lakegate::{Runtime, allowed_imports};

/// All allowed imports. A new name here is a new hole in the sandbox.
const IMPORTS: [&str; 4] = [
    "lakegate:destination/log@0.3.0",
    "lakegate:destination/object-store@0.3.0",
    "wasi:clocks/wall-clock@0.2.6",
    "wasi:random/random@0.2.6",
];

#[test]
fn the_component_imports_these_four_and_no_other() {
    let mut imports = Runtime::imports_of(component_bytes()).expect("the embedded component is one");
    imports.sort();
    assert_eq!(imports, IMPORTS);
    assert_eq!(allowed_imports().collect::<Vec<_>>(), IMPORTS);
}

/// A component with another import is refused: the check can fail.
#[test]
fn another_import_is_refused() {
    let wasm = br#"(component (import "wasi:filesystem/types@0.2.6" (instance)))"#;
    let error = Runtime::with_component(&wat(wasm), std::time::Duration::from_secs(1)).expect_err("it imports a file system");
    assert!(format!("{error:#}").starts_with("the component: imports `wasi:filesystem/types@0.2.6`, which it may not"), "{error:#}");
}

/// The smallest component with an import, in binary: magic, an instance type without exports, the import.
fn wat(_text: &[u8]) -> Vec<u8> {
    let name = b"wasi:filesystem/types@0.2.6";
    let mut bytes = b"\0asm\x0d\x00\x01\x00".to_vec();
    // Type section: one instance type (0x42) with no declarations.
    bytes.extend([7, 3, 1, 0x42, 0]);
    // Import section: one import, a plain name, of kind instance (5), type 0.
    bytes.extend([10, u8::try_from(name.len() + 5).expect("short"), 1, 0, u8::try_from(name.len()).expect("short")]);
    bytes.extend(name);
    bytes.extend([5, 0]);
    bytes
}

#[test]
fn what_is_no_component_is_refused() {
    for bytes in [&b"garbage"[..], b"", b"\0asm\x01\0\0\0", &component_bytes()[..1_000]] {
        assert!(Runtime::with_component(bytes, std::time::Duration::from_secs(1)).is_err());
    }
}

/// Where objects go and who signs requests is never passed into a session: its settings, all it gets besides rows, contain none of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_told_nothing_of_the_target() {
    let spec = serde_json::json!({
        "bucket": "canary-bucket", "region": "canary-region", "endpoint": "https://canary-endpoint:1", "path": "{{TABLE}}/{{UUID}}", "format": "csv",
        "credentials": {"role_arn": "arn:aws:iam::123456789012:role/canary-role", "external_id": "canary-external", "role_session_name": "canary-name"},
        "server_side_encryption_configuration": {"server_side_encryption": "aws:kms", "sse_kms_key_id": "canary-key"},
        "acl": "private",
    });
    let configuration = test_store("canary").destination().configure(&spec.to_string(), "canary-sync").await.expect("a good spec");
    assert_eq!(configuration.target.bucket, "canary-bucket");
    assert!(configuration.settings.contains("canary-sync"), "the search finds what is there: {}", configuration.settings);
    let found = configuration.settings.replace("canary-sync", "");
    assert!(!found.contains("canary"), "{found}");
}
