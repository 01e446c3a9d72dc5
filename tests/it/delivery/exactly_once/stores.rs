//! Stores of several makers: what is asked of each before it is trusted, and what it then holds.

use super::{PLUGIN, attempt_spec, dir_of, line, objects_of};
use crate::fixtures::proxied_store::{BUCKET, laid_over};
use lakegate_tests::generate::Dice;
use lakegate_tests::s3::Store;
use lakegate_tests::tiers::{self, Unavailable};
use lakegate_tests::{minio, seaweedfs, versitygw};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Tables of one put each, and rows of each.
const SMALL: usize = 3;
const SMALL_ROWS: usize = 200;

/// Rows of a table whose objects, in any format, are uploads of several parts.
const LARGE_ROWS: usize = 60_000;

/// Text that no format makes smaller than a part.
fn large() -> String {
    let mut dice = Dice::new(11);
    let mut text = String::from("id,name,amount\n");
    for id in 0..LARGE_ROWS {
        let _ = write!(text, "{id},");
        for _ in 0..12 {
            let _ = write!(text, "{:016x}", dice.bits());
        }
        let _ = writeln!(text, ",{id}.5");
    }
    text
}

/// Rows in, rows again, other rows, at one store.
async fn passes(store: Result<Store, Unavailable>, what: &str) {
    let Some(store) = tiers::live(what, store) else { return };
    store.client().create_bucket().bucket(BUCKET).send().await.expect("a bucket");
    let options = format!("--endpoint {} --path-style", store.endpoint);
    let dir = dir_of(PLUGIN, SMALL, SMALL_ROWS);
    dir.file("t99.csv", &large());

    // The race of many writers for one key.
    let spec: Value = serde_json::from_str(&attempt_spec()).expect("JSON");
    let spec = laid_over(spec, json!({"endpoint": store.endpoint, "use_path_style": true, "test_write": true}));
    dir.file("s.json", &spec.to_string());
    dir.run_async("test-connection s.json --conditional").await.ended(0, &["Success"]);

    let all_rows = SMALL * SMALL_ROWS + LARGE_ROWS;
    for format in ["csv", "parquet"] {
        let load = line(format, "", 2, &options).replace("--batch-size 1500", "--batch-size 60000").replace("c-1", format);
        let report = dir.run_async(&load).await.ended(0, &[]).json();
        assert_eq!((&report["rows"], &report["objects"]), (&json!(all_rows), &json!(SMALL + 1)), "{what}: {report}");
        let key = format!("raw/t99/{format}/000001.{format}");
        let large = store.client().head_object().bucket(BUCKET).key(&key).send().await.expect("the object");
        assert!(large.e_tag().is_some_and(|tag| tag.contains('-')), "{what}: {key} is no upload of several parts: {large:?}");
        let verify = format!("manifest verify s3://{BUCKET}/_manifests/t99/{format}.json {options} --json");
        assert_eq!(dir.run_async(&verify).await.ended(0, &[]).json()["rows"], LARGE_ROWS, "{what}");

        // Again: nothing is another, nothing is new, and nothing was put in place of what was there.
        let (before, since) = (objects_of(&store).await, large.last_modified().copied());
        dir.run_async(&load).await.ended(0, &[]);
        assert_eq!(objects_of(&store).await, before, "{what}");
        let after = store.client().head_object().bucket(BUCKET).key(&key).send().await.expect("the object");
        assert_eq!((after.e_tag(), after.last_modified().copied()), (large.e_tag(), since), "{what}: {key}");

        // Other rows, of a put and of an upload.
        let changed = [("t01.csv", "name 1,", "nome 1,"), ("t99.csv", "\n7,", "\n8,")].map(|(file, from, to)| {
            let text = std::fs::read_to_string(dir.path().join(file)).expect("a file");
            dir.file(file, &text.replacen(from, to, 1));
            (file, text)
        });
        dir.run_async(&load)
            .await
            .ended(5, &["Table t01 failed", "Table t99 failed", "other bytes: the source has not given the same rows"]);
        assert_eq!(objects_of(&store).await, before, "{what}");
        for (file, text) in changed {
            dir.file(file, &text);
        }
    }
    let uploads = store.client().list_multipart_uploads().bucket(BUCKET).send().await.expect("a listing");
    assert!(uploads.uploads().is_empty(), "{what}: {:?}", uploads.uploads());
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_passes() {
    passes(minio::start().await, "exactly once at MinIO").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_passes() {
    passes(seaweedfs::start().await, "exactly once at SeaweedFS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_passes() {
    passes(versitygw::start().await, "exactly once at versitygw").await;
}
