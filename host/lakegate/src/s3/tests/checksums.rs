//! What bytes are sent with, and who decides it.

use super::*;

/// The requests of one put and of one upload of one part.
async fn sent(target: &StorageTarget, options: &ConnectOptions, server: &Server) -> Result<Vec<Seen>, StoreError> {
    let client = S3Client::connect(target, options).await?;
    client.put(&put_of("t/a.csv"), Payload::from(bytes::Bytes::from_static(b"1,2\n"))).await?;
    let upload = client.create(&put_of("t/b.csv")).await?;
    let part = upload.put_part(1, Payload::from(bytes::Bytes::from_static(b"12345"))).await?;
    upload.complete(vec![part], 5).await?;
    Ok(server.seen())
}

/// A store that refuses requests with checksum headers, in the words of one that does, if `picky`.
fn store(picky: bool) -> impl Fn(usize, &Seen) -> Reply + Send + Sync {
    move |_, request| {
        let header = request.headers.keys().find(|name| name.starts_with("x-amz-checksum") || name.starts_with("x-amz-sdk-checksum"));
        match (header, request.method.as_str()) {
            (Some(name), _) if picky => {
                let words = format!("Unsupported header '{name}' received for this API call.");
                Reply::Answer(400, vec![], format!("<Error><Code>InvalidArgument</Code><Message>{words}</Message></Error>"))
            }
            (_, "POST") if request.target.contains("uploads") => {
                Reply::Answer(200, vec![], "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>".into())
            }
            (_, "POST") => {
                Reply::Answer(200, vec![], "<CompleteMultipartUploadResult><ETag>\"m-1\"</ETag></CompleteMultipartUploadResult>".into())
            }
            _ => ok(),
        }
    }
}

#[tokio::test]
async fn the_spec_decides_then_the_embedder_then_the_environment_then_the_profile() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("writable");
        path.to_str().expect("a plain name").to_owned()
    };
    let required = file("required", "[default]\nrequest_checksum_calculation = when_required\n");
    let supported = file("supported", "[default]\nrequest_checksum_calculation = when_supported\n");
    const VARIABLE: &str = "AWS_REQUEST_CHECKSUM_CALCULATION";
    let required_file = ("AWS_CONFIG_FILE", required.as_str());
    let supported_file = ("AWS_CONFIG_FILE", supported.as_str());
    let check = async |spec: Option<&str>, embedder: Checksums, environment: &[(&str, &str)], crc32: bool| {
        let (server, address) = Server::start(store(!crc32)).await;
        let mut target = target(format!("http://{address}"));
        target.checksum_algorithm = spec.map(str::to_owned);
        let options = ConnectOptions { checksums: embedder, ..options(&[KEYS, environment].concat()) };
        let seen = sent(&target, &options, &server).await.unwrap_or_else(|error| panic!("{spec:?} {environment:?}: {error}"));
        let with = |name: &str| seen.iter().filter(|request| !request.header(name).is_empty()).count();
        let counts = (with("x-amz-checksum-crc32"), with("x-amz-checksum-algorithm"), with("content-md5"));
        assert_eq!(counts, if crc32 { (2, 1, 0) } else { (0, 0, 2) }, "{spec:?} {embedder:?} {environment:?}");
        let in_parts = String::from_utf8_lossy(&seen.last().expect("completed").body).contains("ChecksumCRC32");
        assert_eq!(in_parts, crc32, "{spec:?} {environment:?}");
        if !crc32 {
            // Of `1,2\n`, by another implementation.
            assert_eq!(seen[0].header("content-md5"), "Ps+tdV+oJfehfFUm7ETmUQ==");
        }
    };
    let (auto, none) = (Checksums::Auto, Checksums::None);
    check(None, auto, &[], true).await;
    check(None, none, &[], false).await;
    check(None, auto, &[(VARIABLE, "when_required")], false).await;
    check(None, auto, &[(VARIABLE, "WHEN_REQUIRED")], false).await;
    check(None, auto, &[(VARIABLE, "when_supported")], true).await;
    check(None, auto, &[required_file], false).await;
    check(None, auto, &[supported_file], true).await;
    check(None, auto, &[(VARIABLE, "when_supported"), required_file], true).await;
    check(None, auto, &[(VARIABLE, "when_required"), supported_file], false).await;
    check(None, none, &[(VARIABLE, "when_supported")], false).await;
    check(Some("none"), auto, &[(VARIABLE, "when_supported")], false).await;
    check(Some("crc32"), auto, &[(VARIABLE, "when_required")], true).await;
    check(Some("crc32"), none, &[], true).await;
}

#[tokio::test]
async fn what_is_no_setting_is_refused_by_name() {
    let check = async |spec: Option<&str>, variable: &str, words: &str| {
        let mut target = target("http://127.0.0.1:9".into());
        target.checksum_algorithm = spec.map(str::to_owned);
        let environment = [KEYS, &[("AWS_REQUEST_CHECKSUM_CALCULATION", variable)]].concat();
        let error = S3Client::connect(&target, &options(&environment)).await.expect_err(words);
        assert_eq!((error.kind, error.message.as_str()), (StoreErrorKind::Rejected, words));
    };
    check(None, "never", "AWS_REQUEST_CHECKSUM_CALCULATION: \"never\" is neither when_supported nor when_required").await;
    check(Some("md5"), "", "`checksum_algorithm: \"md5\"` is not known; crc32, crc32c, crc64nvme, sha256 and none are").await;
}

#[tokio::test]
async fn a_store_that_refuses_the_headers_is_answered_with_the_way_out() {
    let (server, address) = Server::start(store(true)).await;
    let error = sent(&target(format!("http://{address}")), &options(KEYS), &server).await.expect_err("refused");
    assert_eq!((error.kind, server.seen().len()), (StoreErrorKind::Rejected, 1));
    for words in ["Unsupported header", "`checksum_algorithm: none`", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"] {
        assert!(error.message.contains(words), "{error}");
    }
}
