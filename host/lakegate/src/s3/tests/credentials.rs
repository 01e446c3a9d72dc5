//! Each way to credentials ends in a request signed by the key expected.

use super::*;

async fn signed_by(environment: &[(&str, &str)], change: impl FnOnce(&mut StorageTarget)) -> Result<Seen, StoreError> {
    let (server, address) = Server::start(|_, _| ok()).await;
    let mut target = target(format!("http://{address}"));
    change(&mut target);
    put(&target, &options(environment)).await?;
    Ok(server.seen().remove(0))
}

/// A file in a folder of the test's own; its path.
pub(super) fn file(dir: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("writable");
    path.to_str().expect("a plain name").to_owned()
}

pub(super) fn container(key: &str, expires: &str) -> Reply {
    let body = format!(r#"{{"AccessKeyId":"{key}","SecretAccessKey":"s","Token":"t","Expiration":"{expires}"}}"#);
    Reply::Answer(200, vec![("Content-Type", "application/json".into())], body)
}

pub(super) fn role(action: &str, key: &str) -> Reply {
    role_until(action, key, "2099-01-01T00:00:00Z")
}

fn role_until(action: &str, key: &str, expires: &str) -> Reply {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>s</SecretAccessKey><SessionToken>role-token</SessionToken><Expiration>{expires}</Expiration></Credentials>\
         <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>x:s</AssumedRoleId></AssumedRoleUser>\
         </{action}Result></{action}Response>"
    );
    Reply::Answer(200, vec![], body)
}

#[tokio::test]
async fn the_environment_with_a_session_token() {
    let seen = signed_by(&[KEYS, &[("AWS_SESSION_TOKEN", "token-1")]].concat(), |_| ()).await.expect("signed");
    assert_eq!((seen.access_key(), seen.header("x-amz-security-token")), ("AKIDENV", "token-1"));
}

#[tokio::test]
async fn shared_files_and_profiles() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("credentials");
    std::fs::write(
        &path,
        "[default]\naws_access_key_id=AKIDDEFAULT\naws_secret_access_key=s\n[other]\naws_access_key_id=AKIDOTHER\naws_secret_access_key=s\n",
    )
    .expect("writable");
    let config = dir.path().join("config");
    std::fs::write(&config, "").expect("writable");
    let files: &[(&str, &str)] = &[
        ("AWS_SHARED_CREDENTIALS_FILE", path.to_str().expect("a plain name")),
        ("AWS_CONFIG_FILE", config.to_str().expect("a plain name")),
    ];
    let check = async |extra: &[(&str, &str)], profile: Option<&str>, key: &str| {
        let seen = signed_by(&[files, extra].concat(), |target| target.credentials.profile = profile.map(str::to_owned)).await;
        assert_eq!(seen.expect("signed").access_key(), key);
    };
    check(&[], None, "AKIDDEFAULT").await;
    check(&[("AWS_PROFILE", "other")], None, "AKIDOTHER").await;
    check(&[], Some("other"), "AKIDOTHER").await;
    check(KEYS, Some("other"), "AKIDOTHER").await;
    let error = signed_by(files, |target| target.credentials.profile = Some("absent".into())).await.expect_err("no such profile");
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("profile \"absent\""), "{error}");
}

/// A file of one tenant: neither the user's files nor keys in the environment are looked at.
#[tokio::test]
async fn a_file_that_is_given_is_the_only_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let keys = |id: &str| format!("aws_access_key_id={id}\naws_secret_access_key=s\n");
    let shared = file(&dir, "shared", &format!("[default]\n{}[only-shared]\n{}", keys("AKIDSHARED"), keys("AKIDSHARED")));
    let own = file(&dir, "own", &format!("[default]\n{}[sink]\n{}", keys("AKIDOWN"), keys("AKIDSINK")));
    let environment = [KEYS, &[("AWS_SHARED_CREDENTIALS_FILE", shared.as_str()), ("AWS_PROFILE", "only-shared")]].concat();
    let sent = async |file: &str, profile: Option<&str>| {
        let (server, address) = Server::start(|_, _| ok()).await;
        let mut target = target(format!("http://{address}"));
        target.credentials.profile = profile.map(str::to_owned);
        let options = ConnectOptions { credentials_file: Some(file.into()), ..options(&environment) };
        put(&target, &options).await.map(|_| server.seen()[0].access_key().to_owned())
    };
    assert_eq!(sent(&own, None).await.expect("signed"), "AKIDOWN");
    assert_eq!(sent(&own, Some("sink")).await.expect("signed"), "AKIDSINK");
    // What is not in it is an error that names both, not the next of a chain.
    let absent = dir.path().join("absent").display().to_string();
    for (of, profile, words) in [(&own, Some("only-shared"), "\"only-shared\""), (&absent, None, "\"default\"")] {
        let error = sent(of, profile).await.expect_err("no such profile");
        assert_eq!(error.kind, StoreErrorKind::Denied);
        assert!(error.message.ends_with(&format!("(profile {words} of {of})")), "{error}");
    }
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_not_at_the_endpoint() {
    let (sts, address) = Server::start(|_, _| role("AssumeRole", "ASIAROLE")).await;
    let url = format!("http://{address}");
    let environment = [KEYS, &[("AWS_ENDPOINT_URL_STS", url.as_str())]].concat();
    let seen = signed_by(&environment, |target| {
        target.credentials.role_arn = Some("arn:aws:iam::1:role/r".into());
        target.credentials.role_session_name = Some("night".into());
        target.credentials.external_id = Some("ext-7".into());
    });
    let seen = seen.await.expect("signed");
    assert_eq!((seen.access_key(), seen.header("x-amz-security-token")), ("ASIAROLE", "role-token"));
    let asked = String::from_utf8(sts.seen()[0].body.clone()).expect("a form");
    for words in ["ExternalId=ext-7", "RoleSessionName=night", "DurationSeconds=3600"] {
        assert!(asked.contains(words), "{asked}");
    }
    assert_eq!((sts.seen().len(), sts.seen()[0].access_key()), (1, "AKIDENV"));
}

#[tokio::test]
async fn a_role_is_assumed_with_the_policy_of_its_session() {
    for (policy, words) in [(Some("{\"Version\":\"2012-10-17\"}"), "Policy=%7B%22Version%22%3A%222012-10-17%22%7D"), (None, "")] {
        let (sts, address) = Server::start(|_, _| role("AssumeRole", "ASIAROLE")).await;
        let (_server, store) = Server::start(|_, _| ok()).await;
        let url = format!("http://{address}");
        let mut target = target(format!("http://{store}"));
        target.credentials.role_arn = Some("arn:aws:iam::1:role/r".into());
        let options = options(&[KEYS, &[("AWS_ENDPOINT_URL_STS", url.as_str())]].concat());
        let options = ConnectOptions { session_policy: policy.map(str::to_owned), ..options };
        S3Client::connect(&target, &options).await.expect("credentials");
        let asked = String::from_utf8(sts.seen()[0].body.clone()).expect("a form");
        assert!(asked.contains(words) && asked.contains("Policy=") == policy.is_some(), "{asked}");
    }
}

#[tokio::test]
async fn a_container_gives_credentials_and_renews_them() {
    // Credentials that are about to expire are renewed before the next request.
    let (container, address) = Server::start(|number, _| container(&format!("ASIA{number}"), "2001-01-01T00:00:00Z")).await;
    let url = format!("http://{address}/creds");
    let (server, store) = Server::start(|_, _| ok()).await;
    let client = S3Client::connect(&target(format!("http://{store}")), &options(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)])).await;
    let client = client.expect("credentials");
    for _ in 0..2 {
        client.put(&put_of("k"), Payload::default()).await.expect("stored");
    }
    let keys: Vec<_> = server.seen().iter().map(|seen| seen.access_key().to_owned()).collect();
    assert!(keys[0] != keys[1] && keys.iter().all(|key| key.starts_with("ASIA")), "{keys:?}");
    assert!(container.seen().len() >= 2);
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_a_role() {
    let (sts, address) = Server::start(|_, _| role("AssumeRoleWithWebIdentity", "ASIAWEB")).await;
    let url = format!("http://{address}");
    let dir = tempfile::tempdir().expect("a folder");
    let token = file(&dir, "token", "web-token-1");
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"),
        ("AWS_ROLE_SESSION_NAME", "pod"),
        ("AWS_ENDPOINT_URL_STS", &url),
    ];
    let seen = signed_by(&environment, |_| ()).await.expect("signed");
    assert_eq!((seen.access_key(), seen.header("x-amz-security-token")), ("ASIAWEB", "role-token"));
    let asked = String::from_utf8(sts.seen()[0].body.clone()).expect("a form");
    for words in ["WebIdentityToken=web-token-1", "RoleSessionName=pod", "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fweb"] {
        assert!(asked.contains(words), "{asked}");
    }
    assert_eq!(sts.seen()[0].header("authorization"), "", "the token is all there is to show");
}

/// Of a tenant: the token alone is shown, though there are keys, and read anew for each session of the role.
#[tokio::test]
async fn a_token_is_exchanged_for_a_role_with_the_policy_of_its_session() {
    let dir = tempfile::tempdir().expect("a folder");
    let token = file(&dir, "token", "web-token-1\n");
    let next = PathBuf::from(&token);
    let (sts, address) = Server::start(move |_, _| {
        std::fs::write(&next, "web-token-2").expect("writable");
        role_until("AssumeRoleWithWebIdentity", "ASIAWEB", "2001-01-01T00:00:00Z")
    })
    .await;
    let (server, store) = Server::start(|_, _| ok()).await;
    let mut target = target(format!("http://{store}"));
    target.credentials.role_arn = Some("arn:aws:iam::1:role/r".into());
    let url = format!("http://{address}");
    let options = ConnectOptions {
        web_identity_token_file: Some(token.into()),
        session_policy: Some("{}".into()),
        ..options(&[KEYS, &[("AWS_ENDPOINT_URL_STS", url.as_str())]].concat())
    };
    let client = S3Client::connect(&target, &options).await.expect("credentials");
    for _ in 0..2 {
        client.put(&put_of("k"), Payload::default()).await.expect("stored");
    }
    assert_eq!((server.seen()[1].access_key(), server.seen()[1].header("x-amz-security-token")), ("ASIAWEB", "role-token"));
    let asked: Vec<String> = sts.seen().into_iter().map(|seen| String::from_utf8(seen.body).expect("a form")).collect();
    assert!(asked.len() >= 2 && asked[0].contains("WebIdentityToken=web-token-1&") || asked[0].ends_with("=web-token-1"), "{asked:?}");
    assert!(asked[1].contains("WebIdentityToken=web-token-2"), "{asked:?}");
    for words in ["Policy=%7B%7D", "RoleSessionName=lakegate", "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr", "DurationSeconds=3600"] {
        assert!(asked.iter().all(|asked| asked.contains(words)), "{words} in {asked:?}");
    }
    assert!(sts.seen().iter().all(|seen| seen.header("authorization").is_empty()), "the token is all there is to show");

    let options = ConnectOptions { web_identity_token_file: Some(dir.path().join("absent")), ..options };
    let error = S3Client::connect(&target, &options).await.expect_err("no token");
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("absent: No such file"), "{error}");
}

/// Where requests go that no endpoint of the target leads: to what the files say, or to AWS (seen at the proxy on the way) if they may not.
#[tokio::test]
async fn files_that_redirect_requests_are_heard_only_where_they_may() {
    let dir = tempfile::tempdir().expect("a folder");
    for (configured_endpoints, redirected) in [(true, true), (false, false)] {
        let (elsewhere, address) = Server::start(|_, _| ok()).await;
        let (proxy, proxy_address) = Server::start(|_, _| status(502, "NoWay")).await;
        let of_all = format!("[default]\nendpoint_url = http://{address}\n");
        let of_s3 = format!("[default]\nservices = here\n[services here]\ns3 =\n  endpoint_url = http://{address}\n");
        for (at, text) in [of_all, of_s3].into_iter().enumerate() {
            let config = file(&dir, "config", &text);
            let proxy_url = format!("http://{proxy_address}");
            let environment = [KEYS, &[("AWS_CONFIG_FILE", config.as_str()), ("HTTPS_PROXY", proxy_url.as_str())]].concat();
            let mut target = target(String::new());
            (target.endpoint, target.max_retries) = (None, Some(0));
            let put = put(&target, &ConnectOptions { configured_endpoints, ..options(&environment) }).await;
            assert_eq!((put.is_ok(), elsewhere.seen().len()), (redirected, if redirected { at + 1 } else { 0 }), "{put:?}");
        }
        let to_aws = proxy.seen().iter().filter(|seen| seen.target == "s3.eu-west-1.amazonaws.com:443").count();
        assert_eq!((to_aws, proxy.seen().len()), if redirected { (0, 0) } else { (2, 2) }, "{:?}", proxy.seen());
    }
}

#[tokio::test]
async fn an_instance_gives_the_credentials_of_its_role() {
    let (metadata, address) = Server::start(|_, seen| {
        let text = |body: &str| Reply::Answer(200, vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".into())], body.to_owned());
        match (seen.method.as_str(), seen.target.trim_end_matches('/').rsplit('/').next()) {
            ("PUT", Some("token")) => text("session-of-the-metadata-service"),
            _ if seen.header("x-aws-ec2-metadata-token") != "session-of-the-metadata-service" => Reply::Answer(401, vec![], String::new()),
            ("GET", Some("security-credentials" | "security-credentials-extended")) => text("role-of-the-instance"),
            ("GET", Some("role-of-the-instance")) => text(
                r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAEC2","SecretAccessKey":"s","Token":"ec2-token",
                    "LastUpdated":"2024-01-01T00:00:00Z","Expiration":"2099-01-01T00:00:00Z"}"#,
            ),
            _ => Reply::Answer(404, vec![], String::new()),
        }
    })
    .await;
    let url = format!("http://{address}");
    let none = [("AWS_CONFIG_FILE", "/absent"), ("AWS_SHARED_CREDENTIALS_FILE", "/absent"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*url)];
    let seen = signed_by(&none, |_| ()).await.expect("signed");
    assert_eq!((seen.access_key(), seen.header("x-amz-security-token")), ("ASIAEC2", "ec2-token"));
    assert!(metadata.seen().iter().all(|seen| seen.method != "GET" || !seen.header("x-aws-ec2-metadata-token").is_empty()));
}

#[tokio::test]
async fn a_profile_of_single_sign_on_asks_the_portal() {
    // The file that `aws sso login` leaves: named by the SHA-1 of the session's name.
    const CACHED_LOGIN: &str = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
    let (portal, address) = Server::start(|_, _| {
        let body =
            r#"{"roleCredentials":{"accessKeyId":"ASIASSO","secretAccessKey":"s","sessionToken":"sso-token","expiration":4070908800000}}"#;
        Reply::Answer(200, vec![("Content-Type", "application/json".into())], body.into())
    })
    .await;
    let home = tempfile::tempdir().expect("a folder");
    let login = home.path().join(CACHED_LOGIN);
    std::fs::create_dir_all(login.parent().expect("a folder")).expect("writable");
    std::fs::write(&login, r#"{"accessToken":"login-token","expiresAt":"2099-01-01T00:00:00Z"}"#).expect("writable");
    let config = file(
        &home,
        "config",
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = writer\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://portal.example/start\n",
    );
    let url = format!("http://{address}");
    let environment = [
        ("AWS_PROFILE", "dev"),
        ("AWS_CONFIG_FILE", config.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/absent"),
        ("AWS_ENDPOINT_URL_SSO", &url),
        ("HOME", home.path().to_str().expect("a plain name")),
    ];
    let seen = signed_by(&environment, |_| ()).await.expect("signed");
    assert_eq!((seen.access_key(), seen.header("x-amz-security-token")), ("ASIASSO", "sso-token"));
    let asked = &portal.seen()[0];
    assert_eq!(asked.header("x-amz-sso_bearer_token"), "login-token");
    assert!(asked.target.contains("role_name=writer") && asked.target.contains("account_id=123456789012"), "{}", asked.target);
}

#[tokio::test]
async fn a_process_gives_credentials() {
    let dir = tempfile::tempdir().expect("a folder");
    let answer = file(&dir, "answer.json", r#"{"Version":1,"AccessKeyId":"AKIDPROCESS","SecretAccessKey":"s"}"#);
    let config = file(&dir, "config", &format!("[default]\ncredential_process = cat {answer}\n"));
    let environment = [("AWS_CONFIG_FILE", config.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", "/absent")];
    assert_eq!(signed_by(&environment, |_| ()).await.expect("signed").access_key(), "AKIDPROCESS");
}

#[tokio::test]
async fn a_role_is_renewed_before_it_expires() {
    // The first session ends in four minutes, within the five before an end in which credentials are renewed.
    let soon = aws_smithy_types::DateTime::from(std::time::SystemTime::now() + Duration::from_secs(240));
    let soon = soon.fmt(aws_smithy_types::date_time::Format::DateTime).expect("a date");
    let (sts, address) = Server::start(move |number, _| match number {
        1 => role_until("AssumeRole", "ASIAFIRST", &soon),
        _ => role("AssumeRole", "ASIASECOND"),
    })
    .await;
    let url = format!("http://{address}");
    let (server, store) = Server::start(|_, _| ok()).await;
    let mut target = target(format!("http://{store}"));
    target.credentials.role_arn = Some("arn:aws:iam::1:role/r".into());
    let client = S3Client::connect(&target, &options(&[KEYS, &[("AWS_ENDPOINT_URL_STS", url.as_str())]].concat())).await;
    let client = client.expect("credentials");
    for _ in 0..3 {
        client.put(&put_of("k"), Payload::default()).await.expect("stored");
    }
    let keys: Vec<_> = server.seen().iter().map(|seen| seen.access_key().to_owned()).collect();
    assert_eq!(keys, ["ASIAFIRST", "ASIASECOND", "ASIASECOND"]);
    assert_eq!(sts.seen().len(), 2);
}

#[tokio::test]
async fn no_credentials_is_one_line_that_says_what_to_do() {
    let none = &[("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_CONFIG_FILE", "/absent"), ("AWS_SHARED_CREDENTIALS_FILE", "/absent")];
    let error = signed_by(none, |_| ()).await.expect_err("none");
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("AWS_ACCESS_KEY_ID") && !error.message.contains('\n'), "{error}");
}
