//! A store that no longer takes the credentials, and sources that have others by then.

use super::credentials::{container, file, role};
use super::*;

/// Takes only what is signed with a key that ends in `NEW`.
fn expired(_: usize, request: &Seen) -> Reply {
    match (request.access_key().ends_with("NEW"), request.method.as_str()) {
        // The answer to HEAD has no body to name a code in.
        (false, "HEAD") => Reply::Answer(400, vec![], String::new()),
        (false, _) => status(400, "ExpiredToken"),
        (true, "POST") if request.target.contains("uploads") => {
            Reply::Answer(200, vec![], "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>".into())
        }
        (true, _) => ok(),
    }
}

/// A folder with a process that gives old keys `old` times, and others after that; and its configuration.
fn process(old: usize) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let answer = |key: &str| format!(r#"{{"Version":1,"AccessKeyId":"{key}","SecretAccessKey":"s","SessionToken":"t"}}"#);
    let (first, second) = (file(&dir, "old.json", &answer("AKIDOLD")), file(&dir, "new.json", &answer("AKIDNEW")));
    let count = dir.path().join("count").display().to_string();
    let script = format!("echo >> {count}\n[ $(wc -l < {count}) -le {old} ] && cat {first} || cat {second}\n");
    let script = file(&dir, "process.sh", &script);
    let config = file(&dir, "config", &format!("[default]\ncredential_process = sh {script}\n"));
    (dir, config)
}

fn asked(dir: &tempfile::TempDir) -> usize {
    std::fs::read_to_string(dir.path().join("count")).expect("asked once at least").lines().count()
}

fn of_config(config: &str) -> [(&str, &str); 2] {
    [("AWS_CONFIG_FILE", config), ("AWS_SHARED_CREDENTIALS_FILE", "/absent")]
}

#[tokio::test]
async fn each_source_that_can_have_others_is_asked_once_more() {
    let check = async |name: &str, environment: &[(&str, &str)], role: Option<&str>, between: &dyn Fn()| {
        let (server, address) = Server::start(expired).await;
        let mut target = target(format!("http://{address}"));
        target.credentials.role_arn = role.map(str::to_owned);
        let client = S3Client::connect(&target, &options(environment)).await.expect("credentials");
        between();
        for _ in 0..2 {
            client.put(&put_of("k"), Payload::default()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let keys: Vec<bool> = server.seen().iter().map(|seen| seen.access_key().ends_with("NEW")).collect();
        assert_eq!(keys, [false, true, true], "{name}: refused once, and then never again");
    };
    let nothing = || ();

    let (dir, config) = process(1);
    check("a process", &of_config(&config), None, &nothing).await;
    assert_eq!(asked(&dir), 2);

    let key = |number| if number == 1 { "ASIAOLD" } else { "ASIANEW" };
    let (_container, address) = Server::start(move |number, _| container(key(number), "2099-01-01T00:00:00Z")).await;
    let url = format!("http://{address}/creds");
    check("a container", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)], None, &nothing).await;

    let (_sts, address) = Server::start(move |number, _| role("AssumeRole", key(number))).await;
    let url = format!("http://{address}");
    let environment = [KEYS, &[("AWS_ENDPOINT_URL_STS", url.as_str())]].concat();
    check("a role", &environment, Some("arn:aws:iam::1:role/r"), &nothing).await;

    let (_sts, address) = Server::start(move |number, _| role("AssumeRoleWithWebIdentity", key(number))).await;
    let url = format!("http://{address}");
    let token = file(&dir, "token", "web-token");
    let environment =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"), ("AWS_ENDPOINT_URL_STS", &url)];
    check("a web identity", &environment, None, &nothing).await;

    // A tool writes what a login gave into the shared files; the SDK's provider reads them once.
    let keys = |key: &str| format!("[default]\naws_access_key_id={key}\naws_secret_access_key=s\n");
    let shared = file(&dir, "credentials", &keys("AKIDOLD"));
    let environment = [("AWS_SHARED_CREDENTIALS_FILE", shared.as_str()), ("AWS_CONFIG_FILE", "/absent")];
    check("a file", &environment, None, &|| drop(file(&dir, "credentials", &keys("AKIDNEW")))).await;
}

#[tokio::test]
async fn a_source_that_has_no_others_is_asked_once_and_the_error_says_so() {
    let check = async |environment: &[(&str, &str)], words: &str| {
        let (server, address) = Server::start(expired).await;
        let client = S3Client::connect(&target(format!("http://{address}")), &options(environment)).await.expect("credentials");
        let error = client.put(&put_of("k"), Payload::default()).await.expect_err("expired");
        assert_eq!((error.kind, server.seen().len()), (StoreErrorKind::Denied, 1));
        assert!(error.message.contains("log in again") && error.message.contains(words), "{error}");
    };
    check(KEYS, "asked again, their source gives the same").await;
    let (dir, config) = process(1_000_000);
    check(&of_config(&config), "asked again, their source gives the same").await;
    assert_eq!(asked(&dir), 2);
    let (dir, config) = process(1);
    std::fs::remove_file(dir.path().join("new.json")).expect("it was there");
    check(&of_config(&config), "asked again, their source gives none").await;
}

/// Others that are refused as well: no third attempt, however long the store goes on.
#[tokio::test]
async fn others_that_are_refused_too_are_the_end() {
    let (server, address) = Server::start(|_, _| status(403, "InvalidAccessKeyId")).await;
    let (dir, config) = process(1);
    let client = S3Client::connect(&target(format!("http://{address}")), &options(&of_config(&config))).await.expect("credentials");
    let error = client.put(&put_of("k"), Payload::default()).await.expect_err("refused");
    assert_eq!((error.kind, server.seen().len(), asked(&dir)), (StoreErrorKind::Denied, 2, 2));
    assert!(error.message.contains("check which ones the environment or profile gives"), "{error}");
}

#[tokio::test]
async fn many_requests_that_fail_at_once_ask_once() {
    let (_server, address) = Server::start(expired).await;
    let (dir, config) = process(1);
    let client = S3Client::connect(&target(format!("http://{address}")), &options(&of_config(&config))).await.expect("credentials");
    let puts = (0..8).map(|number| {
        let client = client.clone();
        async move { client.put(&put_of(&format!("k{number}")), Payload::default()).await }
    });
    for put in futures::future::join_all(puts).await {
        put.expect("signed with the others");
    }
    assert_eq!(asked(&dir), 2);
}

/// In the middle of an upload, whichever request it hits.
#[tokio::test]
async fn an_upload_goes_on_with_others() {
    for at in ["create", "part", "complete", "abort"] {
        let completed = "<CompleteMultipartUploadResult><ETag>\"m-1\"</ETag></CompleteMultipartUploadResult>";
        let (server, address) = Server::start(move |_, request| {
            let operation = match (request.method.as_str(), request.target.contains("uploads")) {
                ("POST", true) => "create",
                ("POST", false) => "complete",
                ("PUT", _) => "part",
                _ => "abort",
            };
            match operation {
                _ if operation == at && !request.access_key().ends_with("NEW") => status(400, "ExpiredToken"),
                "create" => Reply::Answer(
                    200,
                    vec![],
                    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>".into(),
                ),
                "complete" => Reply::Answer(200, vec![], completed.into()),
                "abort" => Reply::Answer(204, vec![], String::new()),
                _ => ok(),
            }
        })
        .await;
        let (_dir, config) = process(1);
        let client = S3Client::connect(&target(format!("http://{address}")), &options(&of_config(&config))).await.expect("credentials");
        let upload = client.create(&put_of("k")).await.expect(at);
        let part = upload.put_part(1, Payload::from(bytes::Bytes::from_static(b"12345"))).await.expect(at);
        if at == "abort" {
            upload.abort().await.expect(at);
        } else {
            upload.complete(vec![part], 5).await.expect(at);
        }
        assert_eq!(server.seen().len(), 4, "{at}");
    }
}

/// Dates that no signature can be made of, with a success and with a refusal.
#[tokio::test]
async fn an_absurd_date_is_passed_over() {
    for date in ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", "yesterday"] {
        let (server, address) = Server::start(move |number, _| {
            let headers = vec![("Date", date.to_owned()), ("ETag", "\"e\"".to_owned())];
            match number {
                1 => Reply::Answer(200, headers, String::new()),
                _ => Reply::Answer(403, headers, "<Error><Code>RequestTimeTooSkewed</Code></Error>".into()),
            }
        })
        .await;
        let client = S3Client::connect(&target(format!("http://{address}")), &options(KEYS)).await.expect("keys are there");
        client.put(&put_of("k"), Payload::default()).await.expect("stored");
        // Past the end of the year.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let error = client.put(&put_of("k"), Payload::default()).await.expect_err("refused");
        assert_eq!((error.kind, server.seen().len()), (StoreErrorKind::Denied, 3), "{date}: {error}");
        let years: Vec<String> = server.seen().iter().map(|request| request.header("x-amz-date").chars().take(4).collect()).collect();
        assert!(years.iter().all(|year| *year == years[0]), "{date}: {years:?}");
    }
}

/// A store whose clock is a year ahead: the first answer tells its time, by which everything is signed from then on.
#[tokio::test]
async fn a_clock_that_is_off_is_set_by_the_stores_answer() {
    let http_date = |time: std::time::SystemTime| {
        let seconds = aws_smithy_types::DateTime::from(time).secs();
        aws_smithy_types::DateTime::from_secs(seconds).fmt(aws_smithy_types::date_time::Format::HttpDate).expect("a date")
    };
    let ahead = std::time::SystemTime::now() + Duration::from_secs(366 * 86_400);
    let year = aws_smithy_types::DateTime::from(ahead).fmt(aws_smithy_types::date_time::Format::DateTime).expect("a date");
    let year = year.split('-').next().expect("a year").to_owned();
    for date in [true, false] {
        let (told, year) = (http_date(ahead), year.clone());
        let (server, address) = Server::start(move |_, request| match request.header("x-amz-date").starts_with(&year) {
            true => ok(),
            false => {
                let headers = if date { vec![("Date", told.clone())] } else { vec![] };
                Reply::Answer(403, headers, "<Error><Code>RequestTimeTooSkewed</Code></Error>".into())
            }
        })
        .await;
        let client = S3Client::connect(&target(format!("http://{address}")), &options(KEYS)).await.expect("keys are there");
        let result = client.put(&put_of("k"), Payload::default()).await;
        if date {
            result.expect("signed by the store's time");
            client.put(&put_of("k"), Payload::default()).await.expect("and so is the next");
            assert_eq!(server.seen().len(), 3);
        } else {
            let error = result.expect_err("nobody knows its time");
            assert_eq!((error.kind, server.seen().len()), (StoreErrorKind::Denied, 2));
            assert!(error.message.contains("the clock of this machine is wrong: set it"), "{error}");
        }
    }
}
