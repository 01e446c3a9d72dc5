//! The contract of an S3 store. It is tested with the embedded store in this process, with the same store over HTTP, and with a live MinIO, so that
//! what other tests learn from the embedded store is true of S3.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ObjectCannedAcl, ServerSideEncryption};
use lakegate_local_store::LocalStore;
use lakegate_tests::s3::{Store, embedded_client};
use lakegate_tests::{minio, tiers};

const BUCKET: &str = "contract";
/// Minimum size of all parts but the last.
const MIN_PART_BYTES: usize = 5 * 1024 * 1024;

/// The code of a failed request; panics if it succeeded.
fn code<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(result: Result<T, E>) -> String {
    let error = result.expect_err("a refusal");
    error.code().map_or_else(|| format!("{error:?}"), str::to_owned)
}

async fn put(client: &Client, key: &str, body: &[u8]) -> String {
    let output = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(body.to_vec())).send().await;
    output.unwrap_or_else(|e| panic!("put {key:?}: {e:?}")).e_tag.expect("an ETag")
}

async fn get(client: &Client, key: &str) -> Option<Vec<u8>> {
    match client.get_object().bucket(BUCKET).key(key).send().await {
        Ok(output) => Some(output.body.collect().await.expect("a body").to_vec()),
        Err(error) => {
            assert_eq!(error.code(), Some("NoSuchKey"), "get {key:?}: {error:?}");
            None
        }
    }
}

async fn keys(client: &Client, prefix: &str, page: i32) -> Vec<String> {
    let mut pages = client.list_objects_v2().bucket(BUCKET).prefix(prefix).max_keys(page).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page.expect("a page").contents.unwrap_or_default().into_iter().map(|object| object.key.expect("a key")));
    }
    keys
}

async fn begin(client: &Client, key: &str) -> String {
    let output = client.create_multipart_upload().bucket(BUCKET).key(key).content_type("text/csv").metadata("token", "t-1").send().await;
    output.expect("an upload").upload_id.expect("an id")
}

async fn part(client: &Client, key: &str, id: &str, number: i32, body: Vec<u8>) -> CompletedPart {
    let output = client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(number).body(ByteStream::from(body)).send().await;
    CompletedPart::builder().part_number(number).e_tag(output.expect("a part").e_tag.expect("an ETag")).build()
}

fn completed(parts: impl IntoIterator<Item = CompletedPart>) -> CompletedMultipartUpload {
    CompletedMultipartUpload::builder().set_parts(Some(parts.into_iter().collect())).build()
}

async fn unfinished(client: &Client, key: &str) -> usize {
    let listed = client.list_multipart_uploads().bucket(BUCKET).prefix(key).send().await.expect("a listing");
    listed.uploads.unwrap_or_default().iter().filter(|upload| upload.key.as_deref() == Some(key)).count()
}

/// All tests that hold for any S3 store.
async fn contract(client: &Client) {
    buckets(client).await;
    objects(client).await;
    awkward_keys(client).await;
    digests(client).await;
    conditions(client).await;
    listings(client).await;
    multipart(client).await;
    multipart_refusals(client).await;
}

async fn buckets(client: &Client) {
    client.create_bucket().bucket(BUCKET).send().await.expect("the bucket");
    client.head_bucket().bucket(BUCKET).send().await.expect("the bucket is there");
    assert_eq!(code(client.create_bucket().bucket(BUCKET).send().await), "BucketAlreadyOwnedByYou");
    let put = client.put_object().bucket("not-there").key("k.csv").body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(code(put), "NoSuchBucket");
    assert_eq!(code(client.create_multipart_upload().bucket("not-there").key("k.csv").send().await), "NoSuchBucket");
    assert_eq!(code(client.list_objects_v2().bucket("not-there").send().await), "NoSuchBucket");
    assert!(client.head_bucket().bucket("not-there").send().await.is_err());
}

async fn objects(client: &Client) {
    assert_eq!(put(client, "o/hello.csv", b"hello").await, "\"5d41402abc4b2a76b9719d911017c592\"", "the ETag is the MD5");
    assert_eq!(get(client, "o/hello.csv").await.as_deref(), Some(&b"hello"[..]));
    put(client, "o/hello.csv", b"other bytes").await;
    assert_eq!(get(client, "o/hello.csv").await.as_deref(), Some(&b"other bytes"[..]), "a put replaces");
    put(client, "o/empty.csv", b"").await;
    assert_eq!(get(client, "o/empty.csv").await.as_deref(), Some(&b""[..]));

    for (range, expected) in [("bytes=0-4", &b"other"[..]), ("bytes=6-", b"bytes"), ("bytes=-3", b"tes"), ("bytes=9-99", b"es")] {
        let output = client.get_object().bucket(BUCKET).key("o/hello.csv").range(range).send().await.expect(range);
        assert_eq!(output.body.collect().await.expect("a body").to_vec(), expected, "{range}");
    }
    assert_eq!(code(client.get_object().bucket(BUCKET).key("o/hello.csv").range("bytes=11-").send().await), "InvalidRange");

    let described = client.put_object().bucket(BUCKET).key("o/described.json.gz").body(ByteStream::from_static(b"{}"));
    let described = described.content_type("application/json").content_encoding("gzip").metadata("rows", "1").metadata("note", "a b");
    described.send().await.expect("a put with attributes");
    let head = client.head_object().bucket(BUCKET).key("o/described.json.gz").send().await.expect("a head");
    assert_eq!(head.content_type(), Some("application/json"));
    assert_eq!(head.content_encoding(), Some("gzip"));
    assert_eq!(head.content_length(), Some(2));
    assert_eq!(head.metadata().and_then(|m| m.get("rows")).map(String::as_str), Some("1"));
    assert_eq!(head.metadata().and_then(|m| m.get("note")).map(String::as_str), Some("a b"));

    client.delete_object().bucket(BUCKET).key("o/hello.csv").send().await.expect("a delete");
    assert_eq!(get(client, "o/hello.csv").await, None);
    client.delete_object().bucket(BUCKET).key("o/hello.csv").send().await.expect("to delete what is gone is no error");
    let head = client.head_object().bucket(BUCKET).key("o/hello.csv").send().await.expect_err("no object");
    assert!(head.into_service_error().is_not_found());

    // Larger than any buffer on the way, and not a multiple of one.
    let large: Vec<u8> = (0..3_000_017_u32).map(|n| (n % 251) as u8).collect();
    put(client, "o/large.bin", &large).await;
    assert!(get(client, "o/large.bin").await.as_ref() == Some(&large), "3 MB come back as they went");
}

async fn awkward_keys(client: &Client) {
    let keys = ["k/%41.csv", "k/a b+c&d=e.csv", "k/é/ü😀.csv", "k/'\"<>#?.csv", "k/A.csv", "k/~!@$()*,;:[]{}.csv", "k/%.csv", "k/.hidden"];
    for key in keys {
        put(client, key, key.as_bytes()).await;
    }
    for key in keys {
        assert_eq!(get(client, key).await.as_deref(), Some(key.as_bytes()), "{key:?}");
    }
    assert_eq!(super::local_store::keys(client, "k/", 3).await.into_iter().collect::<BTreeSet<_>>(), keys.map(str::to_owned).into());
}

async fn digests(client: &Client) {
    let request = || client.put_object().bucket(BUCKET).key("d/x.csv").body(ByteStream::from_static(b"hello"));
    for refused in [
        request().content_md5("1B2M2Y8AsgTpgAmY7PhCfg==").send().await,
        request().checksum_crc32("AAAAAA==").send().await,
        request().checksum_sha256("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").send().await,
    ] {
        let code = code(refused);
        assert!(["BadDigest", "XAmzContentChecksumMismatch"].contains(&code.as_str()), "{code}");
        assert_eq!(get(client, "d/x.csv").await, None, "a refused put leaves nothing");
    }
    let kept = request().checksum_crc32("NhCmhg==").send().await.expect("the right CRC32");
    assert_eq!(kept.checksum_crc32(), Some("NhCmhg=="), "the answer repeats the checksum");
    for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32C, ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Sha256] {
        request().checksum_algorithm(algorithm.clone()).send().await.unwrap_or_else(|e| panic!("{algorithm}: {e:?}"));
    }
    assert_eq!(get(client, "d/x.csv").await.as_deref(), Some(&b"hello"[..]));
}

async fn conditions(client: &Client) {
    let request = || client.put_object().bucket(BUCKET).key("c/once.csv").if_none_match("*");
    request().body(ByteStream::from_static(b"first")).send().await.expect("nothing is there yet");
    assert_eq!(code(request().body(ByteStream::from_static(b"second")).send().await), "PreconditionFailed");
    assert_eq!(get(client, "c/once.csv").await.as_deref(), Some(&b"first"[..]));
}

async fn listings(client: &Client) {
    let mut all: Vec<String> = (0..23).map(|n| format!("l/t{}/{n:02}.csv", n % 3)).collect();
    for key in &all {
        put(client, key, b"x").await;
    }
    all.sort();
    for page in [1, 4, 23, 1000] {
        assert_eq!(keys(client, "l/", page).await, all, "pages of {page}");
    }
    assert_eq!(keys(client, "l/t1/0", 1000).await, ["l/t1/01.csv", "l/t1/04.csv", "l/t1/07.csv"]);
    assert!(keys(client, "l/none", 10).await.is_empty());
    let folders = client.list_objects_v2().bucket(BUCKET).prefix("l/").delimiter("/").send().await.expect("a listing");
    let prefixes: Vec<_> = folders.common_prefixes().iter().filter_map(|p| p.prefix()).collect();
    assert_eq!((prefixes, folders.contents().len()), (vec!["l/t0/", "l/t1/", "l/t2/"], 0));
    let after = client.list_objects_v2().bucket(BUCKET).prefix("l/t2/").start_after("l/t2/17.csv").send().await.expect("a listing");
    assert_eq!(after.contents().iter().filter_map(|o| o.key()).collect::<Vec<_>>(), ["l/t2/20.csv"]);
}

async fn multipart(client: &Client) {
    let key = "m/whole.csv";
    let id = begin(client, key).await;
    assert_eq!(unfinished(client, key).await, 1);
    let bodies = [vec![b'a'; MIN_PART_BYTES], vec![b'b'; MIN_PART_BYTES + 3], vec![b'c'; 7]];
    // Out of order, and one of them twice: the later one wins.
    part(client, key, &id, 2, vec![b'?'; MIN_PART_BYTES]).await;
    let third = part(client, key, &id, 3, bodies[2].clone()).await;
    let first = part(client, key, &id, 1, bodies[0].clone()).await;
    let second = part(client, key, &id, 2, bodies[1].clone()).await;
    let listed = client.list_parts().bucket(BUCKET).key(key).upload_id(&id).send().await.expect("the parts");
    let sizes: Vec<_> = listed.parts().iter().map(|p| (p.part_number().unwrap_or(0), p.size().unwrap_or(0) as usize)).collect();
    assert_eq!(sizes, [(1, MIN_PART_BYTES), (2, MIN_PART_BYTES + 3), (3, 7)]);
    assert_eq!(get(client, key).await, None, "parts are not yet an object");
    let parts = completed([first, second, third]);
    let done = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(&id).multipart_upload(parts.clone()).send().await;
    let etag = done.expect("the object").e_tag.expect("an ETag");
    assert!(etag.ends_with("-3\""), "{etag} tells the number of parts");
    assert!(get(client, key).await == Some(bodies.concat()), "the parts in their order");
    let head = client.head_object().bucket(BUCKET).key(key).send().await.expect("a head");
    assert_eq!((head.content_type(), head.e_tag()), (Some("text/csv"), Some(etag.as_str())));
    assert_eq!(head.metadata().and_then(|m| m.get("token")).map(String::as_str), Some("t-1"), "what Create said of the object");
    assert_eq!(unfinished(client, key).await, 0);
}

async fn multipart_refusals(client: &Client) {
    let key = "m/refused.csv";
    let id = begin(client, key).await;
    let complete = |parts: Vec<CompletedPart>| {
        let request = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(&id).multipart_upload(completed(parts));
        async move { request.send().await }
    };
    let small = part(client, key, &id, 1, vec![b'a'; MIN_PART_BYTES - 1]).await;
    let last = part(client, key, &id, 2, vec![b'b'; 5]).await;
    let unknown = CompletedPart::builder().part_number(3).e_tag(last.e_tag().unwrap_or_default()).build();
    let other = CompletedPart::builder().part_number(2).e_tag("\"5d41402abc4b2a76b9719d911017c592\"").build();
    assert_eq!(code(complete(vec![small.clone(), last.clone()]).await), "EntityTooSmall");
    assert_eq!(code(complete(vec![last.clone(), small.clone()]).await), "InvalidPartOrder");
    assert_eq!(code(complete(vec![last.clone(), unknown]).await), "InvalidPart");
    assert_eq!(code(complete(vec![other]).await), "InvalidPart");
    let request = client.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(3).content_md5("1B2M2Y8AsgTpgAmY7PhCfg==");
    assert_eq!(code(request.body(ByteStream::from_static(b"hello")).send().await), "BadDigest");
    assert_eq!(get(client, key).await, None);
    assert_eq!(unfinished(client, key).await, 1, "a refused completion leaves the upload as it was");

    client.abort_multipart_upload().bucket(BUCKET).key(key).upload_id(&id).send().await.expect("the abort");
    assert_eq!(unfinished(client, key).await, 0);
    assert_eq!(code(complete(vec![last]).await), "NoSuchUpload");
    let request = client.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(1).body(ByteStream::from_static(b"x"));
    assert_eq!(code(request.send().await), "NoSuchUpload");
}

// ---- the stores ----

#[tokio::test]
async fn contract_in_process() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = LocalStore::open(dir.path()).expect("a store");
    contract(&embedded_client(&store)).await;
    assert_no_leftovers(dir.path());
}

#[tokio::test]
async fn contract_over_http() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Store::embedded(dir.path()).await.expect("a server");
    contract(&served.client()).await;
    served.stop().await;
    assert_no_leftovers(dir.path());
}

#[tokio::test]
async fn contract_on_minio() {
    if let Some(minio) = tiers::live("the S3 contract on MinIO", minio::start().await) {
        contract(&minio.client()).await;
    }
}

fn assert_no_leftovers(dir: &Path) {
    // Each process has its own folder there while it has the store open.
    let openers = std::fs::read_dir(dir.join(".lakegate/tmp")).expect("the folder").map(|opener| opener.expect("an opener").path());
    let left: Vec<_> = openers.flat_map(|opener| std::fs::read_dir(opener).expect("its folder")).collect();
    assert!(left.is_empty(), "temporary files are gone: {left:?}");
}

// ---- what only the embedded store promises ----

#[tokio::test]
async fn objects_are_plain_files_and_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let client = embedded_client(&LocalStore::open(dir.path()).expect("a store"));
    client.create_bucket().bucket(BUCKET).send().await.expect("the bucket");
    put(&client, "orders/2026/part.csv", b"id\n1\n").await;
    let id = begin(&client, "orders/open.csv").await;
    let first = part(&client, "orders/open.csv", &id, 1, b"tail".to_vec()).await;
    assert_eq!(std::fs::read(dir.path().join("contract/orders/2026/part.csv")).expect("a plain file"), b"id\n1\n");
    drop(client);

    let client = embedded_client(&LocalStore::open(dir.path()).expect("the store again"));
    assert_eq!(get(&client, "orders/2026/part.csv").await.as_deref(), Some(&b"id\n1\n"[..]));
    assert_eq!(unfinished(&client, "orders/open.csv").await, 1);
    let done = client.complete_multipart_upload().bucket(BUCKET).key("orders/open.csv").upload_id(id).multipart_upload(completed([first]));
    done.send().await.expect("an upload goes on after a restart");
    assert_eq!(get(&client, "orders/open.csv").await.as_deref(), Some(&b"tail"[..]));
}

#[tokio::test]
async fn any_legal_key_stays_inside_and_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let inside = dir.path().join("store");
    let store = LocalStore::open(&inside).expect("a store");
    let client = embedded_client(&store);
    client.create_bucket().bucket(BUCKET).send().await.expect("the bucket");
    let long = "x".repeat(1024);
    let deep = "a/".repeat(512);
    let keys =
        ["t", "t/f", "a.csv", "a.csv/b.csv", "a", "a/", "/a", "a//b", "../up.csv", "../../etc/x", "./x", "x/..", &long, &deep, "tab\there"];
    for key in keys {
        put(&client, key, key.as_bytes()).await;
    }
    for key in keys {
        assert_eq!(get(&client, key).await.as_deref(), Some(key.as_bytes()), "{key:?}");
    }
    let listed: Vec<String> = store.records(BUCKET, "").expect("the records").into_iter().map(|record| record.key).collect();
    let mut sorted = keys.map(str::to_owned);
    sorted.sort();
    assert_eq!(listed, sorted);
    let outside: Vec<_> = std::fs::read_dir(dir.path()).expect("the parent").filter_map(|e| Some(e.ok()?.file_name())).collect();
    assert_eq!(outside, ["store"], "nothing was written outside");
    let mut top: Vec<_> = std::fs::read_dir(&inside).expect("the store").filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    top.sort();
    assert_eq!(top, [".lakegate", BUCKET]);

    let too_long = "x".repeat(1025);
    assert_eq!(code(client.put_object().bucket(BUCKET).key(too_long).send().await), "KeyTooLongError");
    for key in keys {
        client.delete_object().bucket(BUCKET).key(key).send().await.expect("a delete");
    }
    client.delete_bucket().bucket(BUCKET).send().await.expect("an empty bucket");
    assert!(!inside.join(BUCKET).exists());
}

#[tokio::test]
async fn what_was_asked_is_on_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = LocalStore::open(dir.path()).expect("a store");
    store.create_bucket(BUCKET).expect("the bucket");
    let client = embedded_client(&store);
    let request = client.put_object().bucket(BUCKET).key("r.csv").body(ByteStream::from_static(b"x")).content_type("text/csv");
    let request = request.acl(ObjectCannedAcl::BucketOwnerFullControl).server_side_encryption(ServerSideEncryption::AwsKms);
    let answer = request.ssekms_key_id("key-1").send().await.expect("a put");
    assert_eq!((answer.server_side_encryption(), answer.ssekms_key_id()), (Some(&ServerSideEncryption::AwsKms), Some("key-1")));
    let record = store.record(BUCKET, "r.csv").expect("readable").expect("a record");
    assert_eq!(record.attributes.acl.as_deref(), Some("bucket-owner-full-control"));
    assert_eq!(record.attributes.server_side_encryption.as_deref(), Some("aws:kms"));
    assert_eq!(record.attributes.kms_key_id.as_deref(), Some("key-1"));
    assert_eq!(record.attributes.request_headers.get("x-amz-acl").map(String::as_str), Some("bucket-owner-full-control"));
    let text = format!("{record:?}");
    assert!(!text.to_lowercase().contains("authorization") && !text.contains("AWS4-HMAC"), "{text}");

    let refused = client.put_object().bucket(BUCKET).key("r2.csv").acl(ObjectCannedAcl::from("everyone")).send().await;
    assert_eq!(code(refused), "InvalidArgument");
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Store::embedded(dir.path()).await.expect("a server");
    served.client().create_bucket().bucket(BUCKET).send().await.expect("the bucket");
    for (id, secret, expected) in [(served.access_key.as_str(), "not it", "SignatureDoesNotMatch"), ("stranger", "x", "NotSignedUp")] {
        let client = served.client_with(id, secret);
        assert_eq!(code(client.put_object().bucket(BUCKET).key("k").send().await), expected);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_writers_leave_one_whole_object() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = LocalStore::open(dir.path()).expect("a store");
    store.create_bucket(BUCKET).expect("the bucket");
    let client = Arc::new(embedded_client(&store));
    let writers = (0..8_u8).map(|n| {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            for round in 0..5_u8 {
                put(&client, "race.bin", &vec![n; 10_000 + usize::from(round)]).await;
                let seen = get(&client, "race.bin").await.expect("an object");
                assert!(seen.iter().all(|byte| Some(byte) == seen.first()), "bytes of one writer");
            }
            let once = client.put_object().bucket(BUCKET).key("once").if_none_match("*").body(ByteStream::from(vec![n])).send().await;
            usize::from(once.is_ok())
        })
    });
    let won: usize = futures::future::join_all(writers).await.into_iter().map(|task| task.expect("a writer")).sum();
    assert_eq!(won, 1, "If-None-Match: * lets one through");
    let record = store.record(BUCKET, "race.bin").expect("readable").expect("a record");
    let mut bytes = Vec::new();
    std::fs::File::open(store.object_path(BUCKET, "race.bin")).and_then(|mut f| f.read_to_end(&mut bytes)).expect("the bytes");
    assert_eq!(record.size, bytes.len() as u64);
}

#[tokio::test]
async fn bytes_changed_by_hand_get_a_new_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = LocalStore::open(dir.path()).expect("a store");
    store.create_bucket(BUCKET).expect("the bucket");
    let client = embedded_client(&store);
    put(&client, "h.csv", b"before").await;
    std::fs::write(store.object_path(BUCKET, "h.csv"), b"hello").expect("a change");
    let record = store.record(BUCKET, "h.csv").expect("readable").expect("a record");
    assert_eq!((record.size, record.etag.as_str()), (5, "5d41402abc4b2a76b9719d911017c592"));
    std::fs::remove_file(store.object_path(BUCKET, "h.csv")).expect("removed by hand");
    assert_eq!(get(&client, "h.csv").await, None);
}
