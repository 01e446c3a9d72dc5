//! Each way to credentials ends in a request signed by the key expected.

use super::*;

async fn signed_by(environment: &[(&str, &str)], change: impl FnOnce(&mut StorageTarget)) -> Result<Seen, StoreError> {
    let (server, address) = Server::start(|_, _| ok()).await;
    let mut target = target(format!("http://{address}"));
    change(&mut target);
    put(&target, &options(environment)).await?;
    Ok(server.seen().remove(0))
}

fn container(key: &str, expires: &str) -> Reply {
    let body = format!(r#"{{"AccessKeyId":"{key}","SecretAccessKey":"s","Token":"t","Expiration":"{expires}"}}"#);
    Reply::Answer(200, vec![("Content-Type", "application/json".into())], body)
}

fn role(action: &str, key: &str) -> Reply {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>s</SecretAccessKey><SessionToken>role-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
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
    let files: &[(&str, &str)] = &[("AWS_SHARED_CREDENTIALS_FILE", path.to_str().expect("a plain name")), ("AWS_CONFIG_FILE", "/absent")];
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

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_not_at_the_endpoint() {
    let (sts, address) = Server::start(|_, _| role("AssumeRole", "ASIAROLE")).await;
    let url = format!("http://{address}");
    let variables = [KEYS, &[("AWS_ENDPOINT_URL_STS", url.as_str())]].concat();
    let seen = signed_by(&variables, |target| {
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
async fn no_credentials_is_one_line_that_says_what_to_do() {
    let none = &[("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_CONFIG_FILE", "/absent"), ("AWS_SHARED_CREDENTIALS_FILE", "/absent")];
    let error = signed_by(none, |_| ()).await.expect_err("none");
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("AWS_ACCESS_KEY_ID") && !error.message.contains('\n'), "{error}");
}
