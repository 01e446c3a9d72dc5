//! Where requests go: endpoints, buckets and styles against the rules of URLs, looked at in the requests that are sent.

use super::first_request::{Answer, Memory};
use super::*;
use crate::storage::endpoint::Endpoint;
use proptest::prelude::*;

const CONFIG: &str = "AWS_CONFIG_FILE";

/// Who names the endpoint.
#[derive(Debug, Clone, Copy)]
enum By {
    Spec,
    Variable(&'static str),
    Profile,
    Services,
}

const ALL: [By; 5] = [By::Spec, By::Variable("AWS_ENDPOINT_URL"), By::Variable("AWS_ENDPOINT_URL_S3"), By::Profile, By::Services];

/// The URLs that a put of `t/a.csv` asks for.
async fn asked(by: By, endpoint: &str, bucket: &str, path_style: bool) -> Result<Vec<String>, StoreError> {
    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("config");
    let content = match by {
        By::Profile => format!("[default]\nendpoint_url = {endpoint}\n"),
        By::Services => format!("[default]\nservices = here\n[services here]\ns3 =\n  endpoint_url = {endpoint}\n"),
        By::Spec | By::Variable(_) => String::new(),
    };
    std::fs::write(&config, content).expect("writable");
    let mut environment = [KEYS, &[(CONFIG, config.to_str().expect("a plain name")), ("AWS_SHARED_CREDENTIALS_FILE", "/absent")]].concat();
    let mut target = target(endpoint.to_owned());
    if let By::Variable(name) = by {
        environment.push((name, endpoint));
    }
    if !matches!(by, By::Spec) {
        target.endpoint = None;
    }
    (target.bucket, target.path_style, target.max_retries) = (bucket.to_owned(), path_style, Some(0));
    let memory = Memory::new(|_, _| Answer::ok());
    let options = ConnectOptions { answers: Some(memory.client()), ..options(&environment) };
    put(&target, &options).await?;
    Ok(memory.seen())
}

#[tokio::test]
async fn bucket_and_key_come_behind_the_path_of_the_endpoint() {
    let check = async |endpoint: &str, bucket: &str, path_style: bool, expected: &str| {
        for by in ALL {
            let seen = asked(by, endpoint, bucket, path_style).await.unwrap_or_else(|error| panic!("{endpoint} {by:?}: {error}"));
            assert_eq!(seen, [format!("PUT {expected}?x-id=PutObject")], "{endpoint} {bucket} {path_style} {by:?}");
        }
    };
    check("http://store/c", "onf", true, "http://store/c/onf/t/a.csv").await;
    check("http://store/c/", "onf", true, "http://store/c/onf/t/a.csv").await;
    check("http://store/c/d", "onf", true, "http://store/c/d/onf/t/a.csv").await;
    check("http://store:9000/c", "onf", false, "http://onf.store:9000/c/t/a.csv").await;
    check("https://store/c/", "onf", false, "https://onf.store/c/t/a.csv").await;
    check("http://store", "onf", true, "http://store/onf/t/a.csv").await;
    check("http://store/", "onf", false, "http://onf.store/t/a.csv").await;
    // Dotted buckets have no certificate, addresses no names, and these no label.
    check("https://store/c", "our.own.lake", false, "https://store/c/our.own.lake/t/a.csv").await;
    check("http://store/c", "our.own.lake", false, "http://our.own.lake.store/c/t/a.csv").await;
    check("http://127.0.0.1:9000/c", "onf", false, "http://127.0.0.1:9000/c/onf/t/a.csv").await;
    check("http://[::1]:9000/c", "onf", false, "http://[::1]:9000/c/onf/t/a.csv").await;
    check("http://127.0.0.1:9000/c", "our.own.lake", false, "http://127.0.0.1:9000/c/our.own.lake/t/a.csv").await;
    check("http://store/c", "Onf", false, "http://store/c/Onf/t/a.csv").await;
    check("http://store/c", "o_f", true, "http://store/c/o_f/t/a.csv").await;
    check("http://store/c", "tenant:onf", true, "http://store/c/tenant%3Aonf/t/a.csv").await;
    check("http://store/a%20b", "onf", true, "http://store/a%20b/onf/t/a.csv").await;
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_told_by_who_named_it_and_nothing_is_sent() {
    for endpoint in [
        "store:9000",
        "ftp://store",
        "http://store?x",
        "http://store/#x",
        "http://u:hunter2@store",
        "http://store:0",
        "http://st ore",
        "http://store/a//b",
        "http://store/..",
    ] {
        for by in ALL {
            let error = asked(by, endpoint, "onf", true).await.expect_err(endpoint);
            let name = match by {
                By::Spec => "`endpoint`",
                By::Variable(name) => name,
                By::Profile | By::Services => "`endpoint_url` of the shared config file",
            };
            assert_eq!(error.kind, StoreErrorKind::Rejected);
            assert!(error.message.starts_with(&format!("{name} is not usable: ")), "{endpoint} {by:?}: {error}");
            assert!(!error.message.contains("hunter2") && !error.message.contains('\n'), "{error}");
        }
    }
    for by in [By::Spec, By::Variable("AWS_ENDPOINT_URL")] {
        let error = asked(by, "http://store\n", "onf", true).await.expect_err("a line end");
        assert!(
            error.message.contains("line end") && error.message.contains("endpoint") | error.message.contains("AWS_ENDPOINT_URL"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn every_request_of_an_upload_goes_to_the_same_place() {
    for (path_style, base) in [(true, "http://store/c/onf/t/a.csv"), (false, "http://onf.store/c/t/a.csv")] {
        let memory = Memory::new(|method, url| match method {
            "POST" if url.contains("?uploads") => {
                Answer::new(200, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
            }
            // The completion goes unanswered, so that it is asked whether the object is there.
            "POST" => Answer::new(500, ""),
            _ => Answer::ok(),
        });
        let mut target = target("http://store/c".into());
        (target.bucket, target.path_style, target.max_retries) = ("onf".into(), path_style, Some(0));
        let options = ConnectOptions { answers: Some(memory.client()), ..options(KEYS) };
        let client = S3Client::connect(&target, &options).await.expect("keys are there");
        let upload = client.create(&put_of("t/a.csv")).await.expect("an upload");
        let part = upload.put_part(1, Payload::from(bytes::Bytes::from_static(b"1,2\n"))).await.expect("a part");
        assert_eq!(upload.complete(vec![part], 4).await.expect_err("not settled").kind, StoreErrorKind::Unknown);
        upload.abort().await.expect("gone");
        let seen = memory.seen();
        let methods: Vec<_> = seen.iter().filter_map(|it| it.split(' ').next()).collect();
        assert_eq!(methods, ["POST", "PUT", "POST", "HEAD", "DELETE"], "{seen:?}");
        for line in &seen {
            let url = line.split_once(' ').map_or("", |(_, url)| url);
            assert_eq!(url.split('?').next(), Some(base), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_named_as_it_was_looked_up() {
    let words = async |environment: &[(&str, &str)], endpoint: &str, path_style: bool| {
        let mut target = target(endpoint.into());
        (target.path_style, target.max_retries) = (path_style, Some(0));
        put(&target, &options(&[KEYS, environment].concat())).await.expect_err("nobody listens").message
    };
    let found = words(&[], "http://store.invalid:9000", false).await;
    assert!(found.contains("bucket.store.invalid:9000") && found.contains("`use_path_style`"), "{found}");
    let found = words(&[], "http://store.invalid:9000", true).await;
    assert!(found.contains(" store.invalid:9000 cannot be reached") && !found.contains("use_path_style"), "{found}");
    // Nobody listens at port 1 of the loopback.
    let found = words(&[("HTTP_PROXY", "http://user:hunter2@127.0.0.1:1")], "http://store.invalid:9000", true).await;
    assert!(found.contains("the proxy 127.0.0.1:1 of HTTP_PROXY cannot be used (") && !found.contains("hunter2"), "{found}");
    let found = words(&[("all_proxy", "127.0.0.1:1")], "https://store.invalid", true).await;
    assert!(found.contains("the proxy 127.0.0.1:1 of all_proxy cannot be used ("), "{found}");
    let found = words(&[("HTTPS_PROXY", "socks5://127.0.0.1:1")], "https://store.invalid", true).await;
    assert!(found.contains("the proxy of HTTPS_PROXY is not usable: only http:// and https://"), "{found}");
}

#[tokio::test]
async fn a_proxy_that_wants_other_credentials_is_named() {
    let (_proxy, address) = Server::start(|_, _| Reply::Answer(407, vec![], String::new())).await;
    let url = format!("http://user:hunter2@{address}");
    let (plain, secure) = (target("http://store.invalid".into()), target("https://store.invalid".into()));
    for (variable, target) in [("HTTP_PROXY", plain), ("HTTPS_PROXY", secure)] {
        let target = StorageTarget { max_retries: Some(0), ..target };
        let error = put(&target, &options(&[KEYS, &[(variable, url.as_str())]].concat())).await.expect_err("refused").message;
        assert!(error.contains(&format!("the proxy {address} of {variable}")) && !error.contains("hunter2"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The rules: scheme and port stay; the bucket stands in the host's name or as the first segment behind the endpoint's path; then the key.
    #[test]
    fn requests_follow_the_rules_of_urls(
        scheme in "(http|https)",
        host in "(store|store\\.example|127\\.0\\.0\\.1|\\[::1\\]|[a-z]{1,8}(\\.[a-z]{1,8}){0,2})(:[1-9][0-9]{0,3})?",
        path in "(/[a-z]{1,3}){0,3}/?",
        bucket in "([a-z0-9]{3,8}|[a-z]{3}(\\.[a-z]{3}){1,2}|[A-Z][a-z_]{2,6}|[a-z]{1,2}|c|onf)",
        path_style: bool,
        by in 0_usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let endpoint = format!("{scheme}://{host}{path}");
        let seen = runtime.block_on(asked(ALL[by], &endpoint, &bucket, path_style));
        let seen = seen.map_err(|error| TestCaseError::fail(format!("{endpoint}: {error}")))?;
        let in_the_host = !path_style && Endpoint::parse(&endpoint).expect("a URL").is_virtual_host(&bucket);
        let path = path.trim_end_matches('/');
        let expected = if in_the_host {
            format!("PUT {scheme}://{bucket}.{host}{path}/t/a.csv?x-id=PutObject")
        } else {
            format!("PUT {scheme}://{host}{path}/{bucket}/t/a.csv?x-id=PutObject")
        };
        prop_assert_eq!(seen, [expected], "{} {}", endpoint, bucket);
    }
}
