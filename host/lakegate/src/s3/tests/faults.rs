//! Servers that fail.

use super::*;
use lakegate_local_store::LocalStore;

#[tokio::test]
async fn a_put_says_what_was_asked_for() {
    let (server, address) = Server::start(|_, _| ok()).await;
    let mut target = target(format!("http://{address}"));
    target.acl = Some("bucket-owner-full-control".into());
    target.encryption =
        Some(crate::storage::target::Encryption { algorithm: "aws:kms".into(), kms_key_id: Some("key-1".into()), bucket_key: None });
    let stored = put(&target, &options(KEYS)).await.expect("the server takes it");
    let crc = STANDARD.encode(crc32fast::hash(b"1,2\n").to_be_bytes());
    assert_eq!(
        stored,
        Stored {
            etag: "\"e\"".into(),
            checksum: Some(Checksum { algorithm: ChecksumAlgorithm::Crc32, value: crc.clone() }),
            was_there: false
        }
    );
    let seen = &server.seen()[0];
    let check = |header: &str, expected: &str| assert_eq!(seen.header(header), expected, "{header}");
    check("content-type", "text/csv");
    check("content-length", "4");
    check("x-amz-acl", "bucket-owner-full-control");
    check("x-amz-server-side-encryption", "aws:kms");
    check("x-amz-server-side-encryption-aws-kms-key-id", "key-1");
    check("x-amz-checksum-crc32", &crc);
    check("transfer-encoding", "");
    check("content-encoding", "");
    assert!(seen.header("authorization").contains("/eu-west-1/s3/"), "signed for the region");
    assert_eq!(
        (seen.method.as_str(), seen.target.split('?').next(), seen.body.as_slice()),
        ("PUT", Some("/bucket/t/a.csv"), &b"1,2\n"[..])
    );
}

#[tokio::test]
async fn an_upload_in_parts_says_what_was_asked_for() {
    let (server, address) = Server::start(|_, request| if request.method == "POST" { created("u1") } else { ok() }).await;
    let mut target = target(format!("http://{address}"));
    target.acl = Some("bucket-owner-full-control".into());
    target.encryption =
        Some(crate::storage::target::Encryption { algorithm: "aws:kms:dsse".into(), kms_key_id: Some("key-1".into()), bucket_key: None });
    let client = S3Client::connect(&target, &options(KEYS)).await.expect("keys are there");
    let upload = client.create(&put_of("t/a.csv")).await.expect("created");
    upload.put_part(1, Payload::from(bytes::Bytes::from_static(b"12345"))).await.expect("taken");
    let seen = server.seen();
    let asked = ["content-type", "x-amz-acl", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"];
    let of = |number: usize| asked.map(|header| seen[number].header(header));
    assert_eq!(of(0), ["text/csv", "bucket-owner-full-control", "aws:kms:dsse", "key-1"]);
    assert_eq!(seen[0].header("x-amz-checksum-algorithm"), "CRC32");
    assert_eq!(seen[0].header("x-amz-meta-lakegate-upload").len(), 32, "the token that settles a lost answer");
    // S3 refuses a part that names them.
    assert_eq!(of(1)[1..], ["", "", ""]);
    assert_eq!(seen[1].header("x-amz-checksum-crc32"), STANDARD.encode(crc32fast::hash(b"12345").to_be_bytes()));
}

/// Temporary credentials that end for good: what was sent cannot be completed, and not be aborted either.
#[tokio::test]
async fn a_token_that_expires_in_the_middle_of_an_upload_is_named() {
    let (server, address) = Server::start(|number, _| match number {
        1 => created("u1"),
        2 => ok(),
        _ => status(400, "ExpiredToken"),
    })
    .await;
    let client = S3Client::connect(&target(format!("http://{address}")), &options(KEYS)).await.expect("keys are there");
    let upload = client.create(&put_of("t/a.csv")).await.expect("created");
    let part = |number| upload.put_part(number, Payload::from(bytes::Bytes::from_static(b"12345")));
    let first = part(1).await.expect("taken");
    for (operation, error) in [
        ("UploadPart", part(2).await.expect_err("expired")),
        ("CompleteMultipartUpload", upload.complete(vec![first], 5).await.expect_err("expired")),
        ("AbortMultipartUpload", upload.abort().await.expect_err("expired")),
    ] {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        let words = format!("operation error S3: {operation}, https response error StatusCode: 400, ExpiredToken");
        let told = "; the session token has expired: log in again; asked again, their source gives the same";
        assert!(error.message.starts_with(&words) && error.message.ends_with(told), "{error}");
    }
    assert_eq!(server.seen().len(), 5, "each is asked once: the token will not come back");
}

/// A broken or hostile store: an answer is gathered in memory, and what it names is kept with the receipt.
#[tokio::test]
async fn answers_are_bounded() {
    let check = async |words: &str, reply: fn() -> Reply| {
        let (_server, address) = Server::start(move |_, _| reply()).await;
        let mut target = target(format!("http://{address}"));
        target.max_retries = Some(0);
        let client = S3Client::connect(&target, &options(KEYS)).await.expect("keys are there");
        let error = match client.create(&put_of("t/a.csv")).await {
            Ok(upload) => upload.put_part(1, Payload::default()).await.expect_err(words),
            Err(error) => error,
        };
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
        assert!(error.message.contains(words), "{error}");
    };
    const TOO_LONG: &str = "https response error StatusCode: 200, the answer has more than 1048576 bytes and was not read";
    check(TOO_LONG, || created(&"u".repeat(2 << 20))).await;
    check("the answer's upload id has 1025 bytes; at most 1024 are accepted", || created(&"u".repeat(1_025))).await;
    check("the answer's ETag has 1025 bytes; at most 1024 are accepted", || match created("u1") {
        Reply::Answer(status, _, body) => Reply::Answer(status, vec![("ETag", "e".repeat(1_025))], body),
        other => other,
    })
    .await;
}

#[tokio::test]
async fn failures_that_pass_are_retried() {
    let check = async |name: &str, first: fn() -> Reply| {
        let (server, address) = Server::start(move |number, _| if number <= 2 { first() } else { ok() }).await;
        let stored = put(&target(format!("http://{address}")), &options(KEYS)).await;
        assert!(stored.is_ok(), "{name}: {stored:?}");
        let seen = server.seen();
        assert_eq!(seen.len(), 3, "{name}");
        assert!(seen.iter().all(|request| request.body == b"1,2\n"), "{name}: the whole body each time");
    };
    check("503", || status(503, "SlowDown")).await;
    check("500", || status(500, "InternalError")).await;
    check("no words", || Reply::Answer(502, vec![], String::new())).await;
    check("answer dropped", || Reply::Close).await;
    check("stall", || Reply::Stall).await;
    check("another checksum", || {
        Reply::Answer(200, vec![("ETag", "e".into()), ("x-amz-checksum-crc32", "AAAAAA==".into())], String::new())
    })
    .await;
}

#[tokio::test]
async fn failures_that_stay_are_not() {
    let check = async |code: u16, name: &'static str, kind, words: &str| {
        let (server, address) = Server::start(move |_, _| status(code, name)).await;
        let error = put(&target(format!("http://{address}")), &options(KEYS)).await.expect_err("refused");
        assert_eq!((error.kind, server.seen().len()), (kind, 1), "{name}");
        assert!(error.message.starts_with(&format!("operation error S3: PutObject, https response error StatusCode: {code}")), "{error}");
        assert!(error.message.contains(words), "{error}");
    };
    check(403, "AccessDenied", StoreErrorKind::Denied, "s3:PutObject").await;
    check(404, "NoSuchBucket", StoreErrorKind::Rejected, "create it").await;
    check(400, "ExpiredToken", StoreErrorKind::Denied, "log in again").await;
    check(301, "PermanentRedirect", StoreErrorKind::Rejected, "set `region`").await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let error = put(&target(format!("http://{address}")), &options(KEYS)).await.expect_err("nobody listens");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.message.contains(&format!("{address} cannot be reached")), "{error}");
}

/// A store of one upload; `complete` decides on each completion, `head` on the question whether the object is there.
async fn complete(
    complete: impl Fn(usize) -> Reply + Send + Sync + 'static,
    head: fn(token: &str) -> Reply,
) -> (Result<Stored, StoreError>, Vec<Seen>) {
    let (completions, token) = (Mutex::new(0), Mutex::new(String::new()));
    let (server, address) = Server::start(move |_, request| match request.method.as_str() {
        "POST" if request.target.contains("uploads") => {
            *token.lock().expect("no panic") = request.header("x-amz-meta-lakegate-upload").to_owned();
            created("u1")
        }
        "POST" => {
            let mut count = completions.lock().expect("no panic");
            *count += 1;
            complete(*count)
        }
        "HEAD" => head(&token.lock().expect("no panic")),
        "DELETE" => Reply::Answer(204, vec![], String::new()),
        _ => ok(),
    })
    .await;
    let client = S3Client::connect(&target(format!("http://{address}")), &options(KEYS)).await.expect("keys are there");
    let upload = client.create(&put_of("t/a.csv")).await.expect("created");
    assert_eq!(upload.handle().id, "u1");
    let part = upload.put_part(1, Payload::from(bytes::Bytes::from_static(b"12345"))).await.expect("taken");
    let result = upload.complete(vec![part], 5).await;
    if result.is_err() {
        upload.abort().await.expect("aborted");
    }
    (result, server.seen())
}

fn created(id: &str) -> Reply {
    let body = format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
    Reply::Answer(200, vec![], body)
}

fn completed() -> Reply {
    Reply::Answer(200, vec![], "<CompleteMultipartUploadResult><ETag>\"m-1\"</ETag></CompleteMultipartUploadResult>".into())
}

fn lost_then_gone(number: usize) -> Reply {
    if number == 1 { Reply::Close } else { status(404, "NoSuchUpload") }
}

fn head_of(token: &str, length: &str) -> Reply {
    let headers = vec![("ETag", "\"h\"".into()), ("x-amz-meta-lakegate-upload", token.to_owned()), ("Content-Length", length.to_owned())];
    Reply::Answer(200, headers, String::new())
}

#[tokio::test]
async fn a_completion_is_retried_and_an_error_in_a_200_seen() {
    let (result, seen) = complete(
        |number| match number {
            1 => Reply::Answer(200, vec![], "<Error><Code>InternalError</Code><Message>words</Message></Error>".into()),
            2 => status(503, "SlowDown"),
            _ => completed(),
        },
        |_| status(403, "AccessDenied"),
    )
    .await;
    assert_eq!(result.expect("completed").etag, "\"m-1\"");
    assert!(seen.iter().all(|request| request.method != "HEAD"));
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_size_and_token() {
    let (result, _) = complete(lost_then_gone, |token| head_of(token, "5")).await;
    assert_eq!(result.expect("it is there").etag, "\"h\"");
    let unknown = async |name: &str, head: fn(&str) -> Reply| {
        let (result, _) = complete(lost_then_gone, head).await;
        let error = result.expect_err(name);
        assert_eq!(error.kind, StoreErrorKind::Unknown, "{name}");
        assert!(error.message.contains("NoSuchUpload") && error.message.contains("the outcome is unknown"), "{error}");
    };
    unknown("HEAD denied", |_| Reply::Answer(403, vec![], String::new())).await;
    unknown("another size", |token| head_of(token, "6")).await;
    unknown("another token", |_| head_of("x", "5")).await;
    unknown("no object", |_| Reply::Answer(404, vec![], String::new())).await;
}

/// Whatever the attempts after it are told: an answer was lost, and the object may be there.
#[tokio::test]
async fn a_lost_answer_is_settled_whatever_ends_the_course() {
    fn expired() -> Reply {
        status(400, "ExpiredToken")
    }
    fn bare() -> Reply {
        Reply::Answer(404, vec![], String::new())
    }
    fn lost() -> Reply {
        Reply::Close
    }
    for (words, last) in [("ExpiredToken", expired as fn() -> Reply), ("StatusCode: 404", bare), ("request send failed", lost)] {
        let then = move |number| if number == 1 { Reply::Close } else { last() };
        let (result, _) = complete(then, |token| head_of(token, "5")).await;
        assert_eq!(result.expect("it is there").etag, "\"h\"", "{words}");
        let (result, _) = complete(then, |_| Reply::Answer(403, vec![], String::new())).await;
        let error = result.expect_err(words);
        assert_eq!(error.kind, StoreErrorKind::Unknown, "{error}");
        for words in [words, "a request went unanswered and the outcome is unknown", "HeadObject"] {
            assert!(error.message.contains(words), "{error}");
        }
    }
}

/// Nothing but server errors after a lost answer: the store is asked for the object at once, not when the time is over.
#[tokio::test]
async fn a_lost_answer_is_settled_between_server_errors() {
    let (result, seen) =
        complete(|number| if number == 1 { Reply::Close } else { status(500, "UnknownError") }, |token| head_of(token, "5")).await;
    assert_eq!(result.expect("it is there").etag, "\"h\"");
    let methods: Vec<&str> = seen.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PUT", "POST", "POST", "HEAD"]);
}

#[tokio::test]
async fn a_refusal_without_any_lost_answer_is_no_success() {
    let (result, seen) = complete(|_| status(403, "AccessDenied"), |token| head_of(token, "5")).await;
    assert_eq!(result.expect_err("refused").kind, StoreErrorKind::Denied);
    assert!(seen.iter().all(|request| request.method != "HEAD"));
}

#[tokio::test]
async fn an_upload_that_is_gone_before_any_lost_answer_is_no_success() {
    let (result, seen) = complete(|_| status(404, "NoSuchUpload"), |token| head_of(token, "5")).await;
    assert_eq!(result.expect_err("gone").kind, StoreErrorKind::Rejected);
    assert!(seen.iter().all(|request| request.method != "HEAD"));
    assert_eq!(seen.last().map(|request| request.method.as_str()), Some("DELETE"), "aborted");
}

#[tokio::test]
async fn part_sizes_are_equal_with_an_endpoint_and_checked() {
    let mut target = target("http://127.0.0.1:9".into());
    let client = S3Client::connect(&target, &options(KEYS)).await.expect("nothing is sent");
    assert_eq!((client.part_bytes(1), client.part_bytes(10_000), client.part_bytes(10_001)), (Some(5 << 20), Some(5 << 20), None));
    target.part_size_bytes = Some(1_024);
    let error = S3Client::connect(&target, &options(KEYS)).await.expect_err("too small");
    assert!(error.message.contains("`part_size: 1024`"), "{error}");
    let small = ConnectOptions { min_part_bytes: 1_024, ..options(KEYS) };
    assert_eq!(S3Client::connect(&target, &small).await.expect("allowed here").part_bytes(7), Some(1_024));
}

/// An endpoint that the environment names is one, though the spec names none: stores other than AWS demand equal parts.
#[tokio::test]
async fn an_endpoint_of_the_environment_is_treated_as_one() {
    const AWAY: &str = "http://127.0.0.1:9";
    let mut target = target(String::new());
    target.endpoint = None;
    let doubling = S3Client::connect(&target, &options(KEYS)).await.expect("nothing is sent");
    assert_eq!(doubling.part_bytes(10_000), Some(5 << 29));
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let connect = async |url: &str, configured_endpoints| {
            let environment = options(&[KEYS, &[(name, url)]].concat());
            S3Client::connect(&target, &ConnectOptions { configured_endpoints, ..environment }).await
        };
        let client = connect(AWAY, true).await.expect("nothing is sent");
        assert_eq!(client.part_bytes(10_000), Some(5 << 20), "{name}");
        let error = client.put(&put_of("t/a.csv"), Payload::default()).await.expect_err("nobody listens");
        assert!(error.message.contains("127.0.0.1:9 cannot be reached"), "{name}: {error}");
        assert_eq!(connect(AWAY, false).await.expect("nothing is sent").part_bytes(10_000), Some(5 << 29), "{name}");
        let error = connect("store.example", true).await.expect_err("no URL");
        assert!(error.message.starts_with(&format!("{name} is not usable: ")), "{name}: {error}");
    }
}

#[tokio::test]
async fn the_embedded_store_takes_puts_and_parts() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = LocalStore::open(dir.path()).expect("writable");
    store.create_bucket("bucket").expect("a good name");
    let in_process = InProcessStore {
        client: store.connector(),
        endpoint: lakegate_local_store::ENDPOINT.to_owned(),
        credentials: LocalStore::credentials(),
        make_bucket: None,
    };
    let options = ConnectOptions { in_process: Some(in_process), ..ConnectOptions::default() };
    let mut target = target(String::new());
    target.endpoint = None;
    assert!(put(&target, &options).await.expect("stored").checksum.is_some());
    let client = S3Client::connect(&target, &options).await.expect("no credentials needed");
    let upload = client.create(&put_of("t/b.csv")).await.expect("created");
    let first = upload.put_part(1, Payload::from(bytes::Bytes::from(vec![1; 5 << 20]))).await.expect("taken");
    let second = upload.put_part(2, Payload::from(bytes::Bytes::from_static(b"end"))).await.expect("taken");
    upload.complete(vec![first, second], (5 << 20) + 3).await.expect("completed");
    target.bucket = "absent".into();
    let error = put(&target, &options).await.expect_err("no such bucket");
    assert_eq!(error.kind, StoreErrorKind::Rejected);
    assert!(error.message.contains("NoSuchBucket"), "{error}");
}
