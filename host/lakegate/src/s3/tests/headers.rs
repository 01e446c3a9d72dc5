//! The headers of objects and requests, one by one.

use super::*;
use crate::s3::clock::Clock;
use crate::storage::checksum::Hasher;
use crate::storage::object::{OnExisting, Purpose};
use crate::storage::target::{Encryption, ObjectLock, Retention};
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

/// A target that asks for everything.
fn whole(endpoint: String) -> StorageTarget {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    StorageTarget {
        acl: Some("private".into()),
        encryption: Some(Encryption { algorithm: "aws:kms".into(), kms_key_id: Some("key-1".into()), bucket_key: Some(true) }),
        storage_class: Some("GLACIER_IR".into()),
        tags: vec![pair("cost center", "a=1/b"), pair("größe", "")],
        metadata: vec![pair("owner", "data  team"), pair("x-y_z.1", "~")],
        object_lock: Some(ObjectLock { retention: Some(Retention { mode: "COMPLIANCE".into(), days: 30 }), legal_hold: true }),
        expected_bucket_owner: Some("123456789012".into()),
        requester_pays: true,
        ..target(endpoint)
    }
}

/// Options that leave the store time: what is looked at is what was sent.
fn patient() -> ConnectOptions {
    ConnectOptions { timeouts: Timeouts::default(), ..options(KEYS) }
}

/// Noon of 29 November 2026.
fn clock() -> Clock {
    Clock(|| UNIX_EPOCH + Duration::from_secs(1_795_953_600))
}

/// The headers of S3's own of a request, but for those that sign it.
fn asked(seen: &Seen) -> BTreeMap<&str, &str> {
    let is_ours = |name: &str| name.starts_with("x-amz-") && !["x-amz-date", "x-amz-content-sha256", "x-amz-user-agent"].contains(&name);
    seen.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(name, _)| is_ours(name)).collect()
}

/// A store that takes everything.
fn taking(_: usize, request: &Seen) -> Reply {
    match request.method.as_str() {
        "POST" if request.target.contains("uploads") => {
            Reply::Answer(200, vec![], "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>".into())
        }
        "POST" => Reply::Answer(200, vec![], "<CompleteMultipartUploadResult><ETag>\"m-1\"</ETag></CompleteMultipartUploadResult>".into()),
        "GET" => Reply::Answer(206, vec![("ETag", "\"e\"".into())], "12345".into()),
        "HEAD" => Reply::Answer(200, vec![("ETag", "\"e\"".into()), ("Content-Length", "5".into())], String::new()),
        _ => ok(),
    }
}

fn put_for(purpose: Purpose) -> Authorized<PutObject> {
    let put = PutObject::parse("t/a.csv", "text/csv").expect("a request").with_purpose(purpose);
    Policy::for_user().authorize(put).expect("a user's own")
}

fn body() -> Payload {
    Payload::from(bytes::Bytes::from_static(b"12345"))
}

#[tokio::test]
async fn a_put_and_an_upload_ask_for_all_that_the_spec_does() {
    let everywhere = [("x-amz-expected-bucket-owner", "123456789012"), ("x-amz-request-payer", "requester")];
    let of_objects = [
        ("x-amz-acl", "private"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "key-1"),
        ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
        ("x-amz-tagging", "cost%20center=a%3D1%2Fb&gr%C3%B6%C3%9Fe="),
        ("x-amz-meta-owner", "data  team"),
        ("x-amz-meta-x-y_z.1", "~"),
    ];
    let lock = [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2026-12-29T12:00:00Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    let class = [("x-amz-storage-class", "GLACIER_IR")];
    for (purpose, more) in
        [(Purpose::Rows, [&lock[..], &class[..]].concat()), (Purpose::Record, lock.to_vec()), (Purpose::Probe, Vec::new())]
    {
        let (server, address) = Server::start(taking).await;
        let options = ConnectOptions { clock: clock(), ..patient() };
        let client = S3Client::connect(&whole(format!("http://{address}")), &options).await.expect("keys are there");
        client.put(&put_for(purpose), body()).await.expect("taken");
        let upload = client.create(&put_for(purpose)).await.expect("created");
        let part = upload.put_part(1, body()).await.expect("taken");
        upload.complete(vec![part], 5).await.expect("completed");
        let seen = server.seen();
        let [put, create, part, complete] = seen.as_slice() else { panic!("{} requests", seen.len()) };
        let crc = STANDARD.encode(crc32fast::hash(b"12345").to_be_bytes());
        let with = |parts: &[&[(&'static str, &'static str)]]| parts.concat().into_iter().collect::<BTreeMap<_, _>>();
        let mut expected = with(&[&everywhere, &of_objects, &more]);
        expected.insert("x-amz-checksum-crc32", &crc);
        assert_eq!(asked(put), expected, "{purpose:?}");
        expected.remove("x-amz-checksum-crc32");
        expected.insert("x-amz-checksum-algorithm", "CRC32");
        expected.insert("x-amz-meta-lakegate-upload", create.header("x-amz-meta-lakegate-upload"));
        assert_eq!(asked(create), expected, "{purpose:?}");
        let mut of_part = with(&[&everywhere]);
        of_part.insert("x-amz-checksum-crc32", &crc);
        assert_eq!(asked(part), of_part, "{purpose:?}");
        assert_eq!(asked(complete), with(&[&everywhere]), "{purpose:?}");
        for request in seen {
            let signed = request.header("authorization").contains("x-amz-expected-bucket-owner;");
            assert!(signed, "{} is signed with its headers", request.method);
        }
    }
}

#[tokio::test]
async fn an_encoded_object_says_how_by_put_and_by_upload() {
    let (server, address) = Server::start(taking).await;
    let client = S3Client::connect(&target(format!("http://{address}")), &patient()).await.expect("keys are there");
    let encoded = |encoding| {
        let put = PutObject::parse("t/a.csv", "text/csv").and_then(|put| put.encoded(encoding)).expect("a request");
        Policy::for_user().authorize(put).expect("a user's own")
    };
    for encoding in [Some("zstd"), None] {
        client.put(&encoded(encoding), body()).await.expect("taken");
        client.create(&encoded(encoding)).await.expect("created");
    }
    let seen = server.seen();
    let sent: Vec<Option<&str>> = seen
        .iter()
        .map(|request| request.headers.iter().find(|(name, _)| name.as_str() == "content-encoding").map(|(_, value)| value.as_str()))
        .collect();
    assert_eq!(sent, [Some("zstd"), Some("zstd"), None, None]);
}

/// What was sent before there were these fields, to the last header.
#[tokio::test]
async fn a_spec_without_such_fields_sends_none_of_them() {
    let (server, address) = Server::start(taking).await;
    let client = S3Client::connect(&target(format!("http://{address}")), &patient()).await.expect("keys are there");
    client.put(&put_of("t/a.csv"), body()).await.expect("taken");
    client.create(&put_of("t/a.csv")).await.expect("created");
    let seen = server.seen();
    let names = |number: usize| asked(&seen[number]).into_keys().collect::<Vec<_>>();
    assert_eq!(names(0), ["x-amz-checksum-crc32"]);
    assert_eq!(names(1), ["x-amz-checksum-algorithm", "x-amz-meta-lakegate-upload"]);
}

#[tokio::test]
async fn every_request_names_the_owner_and_who_pays() {
    let (server, address) = Server::start(taking).await;
    let client = S3Client::connect(&whole(format!("http://{address}")), &patient()).await.expect("keys are there");
    let key = Policy::for_user().authorize_read(put_of("t/a.csv").get().key.clone()).expect("a user's own");
    let found = client.head(&key).await.expect("shown").expect("there");
    client.read(&key, &found, 0..5).await.expect("read");
    client.create(&put_of("t/a.csv")).await.expect("created").abort().await.expect("aborted");
    let probe = put_for(Purpose::Probe);
    client.probe_create_only(&probe, &probe).await.expect_err("the condition is ignored");
    let seen = server.seen();
    let methods: Vec<&str> = seen.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["HEAD", "GET", "POST", "DELETE", "PUT", "PUT"]);
    for request in &seen {
        let named = ["x-amz-expected-bucket-owner", "x-amz-request-payer"].map(|name| request.header(name));
        assert_eq!(named, ["123456789012", "requester"], "{} {}", request.method, request.target);
    }
}

fn sum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().value
}

/// The header of an algorithm, and its name in an upload.
fn header(algorithm: ChecksumAlgorithm) -> (&'static str, &'static str) {
    match algorithm {
        ChecksumAlgorithm::Crc32 => ("x-amz-checksum-crc32", "CRC32"),
        ChecksumAlgorithm::Crc32c => ("x-amz-checksum-crc32c", "CRC32C"),
        ChecksumAlgorithm::Crc64Nvme => ("x-amz-checksum-crc64nvme", "CRC64NVME"),
        ChecksumAlgorithm::Sha256 => ("x-amz-checksum-sha256", "SHA256"),
    }
}

fn with_algorithm(address: String, algorithm: ChecksumAlgorithm) -> StorageTarget {
    StorageTarget { checksum_algorithm: Some(algorithm.name().to_owned()), max_retries: Some(0), ..target(format!("http://{address}")) }
}

#[tokio::test]
async fn each_checksum_is_sent_with_objects_and_parts_and_answers_are_held_to_it() {
    for algorithm in ChecksumAlgorithm::ALL {
        let (name, shown) = header(algorithm);
        let expected = sum(algorithm, b"12345");
        let (server, address) = Server::start(taking).await;
        let client = S3Client::connect(&with_algorithm(address, algorithm), &patient()).await.expect("keys are there");
        let stored = client.put(&put_of("t/a.csv"), body()).await.expect("taken");
        assert_eq!(stored.checksum.map(|sum| (sum.algorithm, sum.value)), Some((algorithm, expected.clone())));
        let upload = client.create(&put_of("t/b.csv")).await.expect("created");
        let part = upload.put_part(1, body()).await.expect("taken");
        upload.complete(vec![part], 5).await.expect("completed");
        let seen = server.seen();
        let sent = |number: usize| asked(&seen[number]).into_iter().filter(|(name, _)| name.contains("checksum")).collect::<Vec<_>>();
        assert_eq!((sent(0), sent(2)), (vec![(name, expected.as_str())], vec![(name, expected.as_str())]));
        assert_eq!((sent(1), sent(3)), (vec![("x-amz-checksum-algorithm", shown)], vec![]));
        let body_of_last = String::from_utf8_lossy(&seen[3].body);
        assert!(body_of_last.contains(&format!("<Checksum{shown}>{expected}</Checksum{shown}>")), "{body_of_last}");
        assert!(seen.iter().all(|request| request.header("content-md5").is_empty()));

        // A store that has other bytes than were sent says so.
        let answer = move |theirs: String| {
            move |_: usize, request: &Seen| match request.method.as_str() {
                "PUT" => Reply::Answer(200, vec![("ETag", "\"e\"".into()), (name, theirs.clone())], String::new()),
                _ => taking(0, request),
            }
        };
        for (theirs, good) in [(expected.clone(), true), (sum(algorithm, b"54321"), false)] {
            let (_server, address) = Server::start(answer(theirs)).await;
            let client = S3Client::connect(&with_algorithm(address, algorithm), &patient()).await.expect("keys are there");
            let put = client.put(&put_of("t/a.csv"), body()).await;
            let part = client.create(&put_of("t/b.csv")).await.expect("created").put_part(1, body()).await;
            for failure in [put.err(), part.err()] {
                let words = failure.map(|error| error.message);
                let told = words.as_ref().is_some_and(|words| words.contains("the store's checksum is not that of the bytes sent"));
                assert_eq!((words.is_none(), told), (good, !good), "{name}: {words:?}");
            }
        }
    }
}

/// An object that is there, made by another attempt: by a put, and of two parts.
#[tokio::test]
async fn each_checksum_tells_the_same_bytes_from_others() {
    for algorithm in ChecksumAlgorithm::ALL {
        let (name, _) = header(algorithm);
        let parts = [&b"12345"[..], &b"678"[..]];
        let in_parts = match algorithm {
            ChecksumAlgorithm::Crc64Nvme => sum(algorithm, &parts.concat()),
            _ => {
                let sums = parts.map(|part| STANDARD.decode(sum(algorithm, part)).expect("base64"));
                format!("{}-2", sum(algorithm, &sums.concat()))
            }
        };
        for (multipart, shown, same) in [
            (false, sum(algorithm, b"12345"), true),
            (false, sum(algorithm, b"54321"), false),
            (true, in_parts, true),
            (true, format!("{}-2", sum(algorithm, b"x")), false),
        ] {
            let length = if multipart { "8" } else { "5" };
            let shown_by_head = shown.clone();
            let script = move |_: usize, request: &Seen| match request.method.as_str() {
                "HEAD" => {
                    let headers = vec![("Content-Length", length.to_owned()), ("ETag", "\"opaque\"".into()), (name, shown_by_head.clone())];
                    Reply::Answer(200, headers, String::new())
                }
                _ if !request.header("if-none-match").is_empty() => status(412, "PreconditionFailed"),
                _ => taking(0, request),
            };
            let (server, address) = Server::start(script).await;
            let client = S3Client::connect(&with_algorithm(address, algorithm), &patient()).await.expect("keys are there");
            let put = PutObject::parse("t/a.csv", "text/csv").expect("a request").keeping(OnExisting::Verify);
            let put = Policy::for_user().authorize(put).expect("a user's own");
            let answer = if multipart {
                let upload = client.create(&put).await.expect("created");
                let mut sent = Vec::new();
                for (number, part) in (1..).zip(parts) {
                    sent.push(upload.put_part(number, Payload::from(bytes::Bytes::from_static(part))).await.expect("taken"));
                }
                upload.complete(sent, 8).await
            } else {
                client.put(&put, body()).await
            };
            let counts = |answer: &Result<Stored, StoreError>| answer.as_ref().is_ok_and(|stored| stored.was_there);
            // A sum that cannot be compared is no reason to take the object for ours either.
            assert_eq!(counts(&answer), same, "{name} {shown}: {answer:?}");
            assert!(same || answer.is_err_and(|error| error.kind == StoreErrorKind::Exists), "{name} {shown}");
            assert!(server.seen().iter().any(|request| request.header("x-amz-checksum-mode") == "ENABLED"));
        }
    }
}
