//! The session policy of a role, enforced by a real store: what a session's credentials may do without any check of ours.
//!
//! MinIO is both the store and the STS. Its user may do anything with objects, so whatever is refused is refused by the policy.

use crate::tenancy::tenants::TenantServer;
use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption};
use base64::Engine as _;
use lakegate::Grant;
use lakegate_tests::minio::{self, KMS_KEY};
use lakegate_tests::plugin::Message;
use lakegate_tests::s3::{REGION, Store};
use lakegate_tests::tables::ids;
use lakegate_tests::tiers;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};

const ROLE: &str = "arn:aws:iam::123456789012:role/acme";
const PART_BYTES: usize = 5 << 20;

fn grant(encryption: &[&str]) -> Grant {
    Grant {
        buckets: vec!["lake".into()],
        key_prefixes: vec!["acme/".into()],
        region: REGION.into(),
        endpoint: Some("http://127.0.0.1:9000".into()),
        encryption: encryption.iter().map(|mode| (*mode).to_owned()).collect(),
        ..Grant::default()
    }
}

/// A store with the buckets `lake` and `pond`.
async fn store() -> Option<(Store, [&'static str; 2])> {
    let (store, user) = tiers::live("session policies at MinIO", minio::with_user().await)?;
    for bucket in ["lake", "pond"] {
        store.client().create_bucket().bucket(bucket).send().await.expect("a bucket");
    }
    Some((store, user))
}

/// A client with the credentials of a session of the role, with or without a policy of its own.
async fn session(store: &Store, [id, secret]: [&str; 2], policy: Option<&str>) -> Result<Client> {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .endpoint_url(&store.endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new(id, secret, None, None, "test"));
    let asked = aws_sdk_sts::Client::from_conf(config.build()).assume_role().role_arn(ROLE).role_session_name("test");
    let given = asked.set_policy(policy.map(str::to_owned)).send().await?.credentials.context("credentials")?;
    Ok(store.client_of(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), None, "session")))
}

/// Success, or the code of the refusal.
type Done = Result<(), String>;

fn done<T, E: ProvideErrorMetadata + std::fmt::Debug>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.code().map_or_else(|| format!("{error:?}"), str::to_owned))
}

async fn single(client: &Client, bucket: &str, key: &str, mode: Option<ServerSideEncryption>) -> Done {
    let key_id = (mode == Some(ServerSideEncryption::AwsKms)).then(|| KMS_KEY.to_owned());
    let put = client.put_object().bucket(bucket).key(key).set_server_side_encryption(mode).set_ssekms_key_id(key_id);
    done(put.body(ByteStream::from_static(b"1")).send().await).map(|_| ())
}

/// Bytes of two parts.
async fn multipart(client: &Client, bucket: &str, key: &str, mode: Option<ServerSideEncryption>) -> Done {
    let key_id = (mode == Some(ServerSideEncryption::AwsKms)).then(|| KMS_KEY.to_owned());
    let create = client.create_multipart_upload().bucket(bucket).key(key).set_server_side_encryption(mode).set_ssekms_key_id(key_id);
    let id = done(create.send().await)?.upload_id.ok_or("no upload id")?;
    let mut parts = CompletedMultipartUpload::builder();
    for (number, bytes) in [(1, PART_BYTES), (2, 1)] {
        parts = parts.parts(part(client, bucket, key, &id, number, bytes).await?);
    }
    let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id).multipart_upload(parts.build());
    done(complete.send().await).map(|_| ())
}

async fn part(client: &Client, bucket: &str, key: &str, id: &str, number: i32, bytes: usize) -> Result<CompletedPart, String> {
    let body = ByteStream::from(vec![b'x'; bytes]);
    let sent = done(client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number).body(body).send().await)?;
    Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
}

fn denied() -> Done {
    Err("AccessDenied".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_holds_a_session_to_its_prefix() -> Result<()> {
    let Some((store, user)) = store().await else { return Ok(()) };
    let whole = session(&store, user, None).await?;
    let held = session(&store, user, Some(&grant(&[]).session_policy())).await?;
    for (bucket, key, inside) in [
        ("lake", "acme/a", true),
        ("lake", "acme/deep/er/a", true),
        ("lake", "beta/a", false),
        ("lake", "acme2/a", false),
        ("lake", "acme", false),
        ("lake", "a", false),
        ("pond", "acme/a", false),
    ] {
        let expected = if inside { Ok(()) } else { denied() };
        assert_eq!(single(&held, bucket, key, None).await, expected, "single, {bucket}/{key}");
        assert_eq!(multipart(&held, bucket, key, None).await, expected, "multipart, {bucket}/{key}");
        // The same role without the policy is allowed, so it is the policy that refuses.
        assert_eq!(single(&whole, bucket, key, None).await, Ok(()), "without the policy, {bucket}/{key}");
    }
    assert_eq!(multipart(&whole, "lake", "beta/b", None).await, Ok(()));

    // Another's upload, by its id: no part, no completion, no abort; its own: an abort.
    for (key, expected) in [("beta/up", denied()), ("acme/up", Ok(()))] {
        let begun = whole.create_multipart_upload().bucket("lake").key(key).send().await?;
        let id = begun.upload_id().context("an id")?;
        assert_eq!(part(&held, "lake", key, id, 1, 1).await.map(|_| ()), expected, "{key}");
        if expected.is_err() {
            let own =
                CompletedMultipartUpload::builder().parts(part(&whole, "lake", key, id, 1, 1).await.map_err(anyhow::Error::msg)?).build();
            let complete = held.complete_multipart_upload().bucket("lake").key(key).upload_id(id).multipart_upload(own);
            assert_eq!(done(complete.send().await).map(|_| ()), denied(), "{key}");
        }
        assert_eq!(done(held.abort_multipart_upload().bucket("lake").key(key).upload_id(id).send().await).map(|_| ()), expected, "{key}");
    }

    // Only puts are allowed, even for its own objects.
    assert_eq!(done(held.get_object().bucket("lake").key("acme/a").send().await).map(|_| ()), denied());
    assert_eq!(done(held.delete_object().bucket("lake").key("acme/a").send().await).map(|_| ()), denied());
    assert_eq!(done(held.list_objects_v2().bucket("lake").prefix("acme/").send().await).map(|_| ()), denied());
    let copy = held.copy_object().bucket("lake").key("acme/copy").copy_source("lake/beta/a");
    assert_eq!(done(copy.send().await).map(|_| ()), denied());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_holds_a_session_to_its_modes_of_encryption() -> Result<()> {
    use ServerSideEncryption::{Aes256, AwsKms};
    let Some((store, user)) = store().await else { return Ok(()) };
    let whole = session(&store, user, None).await?;
    for (granted, modes) in [
        (&[][..], [(None, true), (Some(Aes256), false), (Some(AwsKms), false)]),
        // Without a word of encryption it is the host that insists: a part of an upload has none either.
        (&["AES256"], [(None, true), (Some(Aes256), true), (Some(AwsKms), false)]),
        (&["aws:kms"], [(None, true), (Some(Aes256), false), (Some(AwsKms), true)]),
        (&["AES256", "aws:kms"], [(None, true), (Some(Aes256), true), (Some(AwsKms), true)]),
    ] {
        let held = session(&store, user, Some(&Grant { kms_keys: vec![KMS_KEY.into()], ..grant(granted) }.session_policy())).await?;
        for (mode, allowed) in modes {
            let expected = if allowed { Ok(()) } else { denied() };
            assert_eq!(single(&held, "lake", "acme/s", mode.clone()).await, expected, "single, {mode:?} of {granted:?}");
            assert_eq!(multipart(&held, "lake", "acme/m", mode.clone()).await, expected, "multipart, {mode:?} of {granted:?}");
            assert_eq!(single(&held, "lake", "beta/s", mode.clone()).await, denied(), "outside, {mode:?} of {granted:?}");
            assert_eq!(multipart(&held, "lake", "beta/m", mode.clone()).await, denied(), "outside, {mode:?} of {granted:?}");
            assert_eq!(single(&whole, "lake", "acme/s", mode.clone()).await, Ok(()), "without the policy, {mode:?}");
            if allowed {
                let landed = store.client().head_object().bucket("lake").key("acme/m").send().await?;
                assert_eq!(landed.server_side_encryption(), mode.as_ref(), "{granted:?}");
            }
        }
    }
    Ok(())
}

/// Locks each need a permission of their own, which only a grant of them gives. So do tags at AWS; MinIO asks for none, and takes the policy.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_holds_a_session_to_its_locks() -> Result<()> {
    let Some((store, user)) = store().await else { return Ok(()) };
    let locking = "locking";
    store.client().create_bucket().bucket(locking).object_lock_enabled_for_bucket(true).send().await.context("a bucket")?;
    let bare = Grant { buckets: vec![locking.into()], ..grant(&[]) };
    let tags = Grant { tags: vec!["team".into()], ..bare.clone() };
    let lock = |lock: &str| Grant { object_lock: vec![lock.into()], max_retain_days: Some(1), ..bare.clone() };
    let (retention, hold) = (lock("GOVERNANCE"), lock("legal_hold"));
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    for (grant, allowed) in
        [(&bare, [true, false, false]), (&tags, [true, false, false]), (&retention, [true, true, false]), (&hold, [true, false, true])]
    {
        let held = session(&store, user, Some(&grant.session_policy())).await?;
        let put = || held.put_object().bucket(locking).key("acme/x").body(ByteStream::from_static(b"1"));
        let asked = [
            put().tagging("team=a"),
            put().object_lock_mode(ObjectLockMode::Governance).object_lock_retain_until_date(soon.into()),
            put().object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On),
        ];
        for (number, put) in asked.into_iter().enumerate() {
            let expected = if allowed[number] { Ok(()) } else { denied() };
            assert_eq!(done(put.send().await).map(|_| ()), expected, "{number} under {grant:?}");
        }
        assert_eq!(done(put().send().await).map(|_| ()), Ok(()), "neither tagged nor locked");
    }
    Ok(())
}

/// Characters that a policy takes for patterns let nobody in elsewhere. MinIO, which has no way to write them, lets nobody in at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_no_pattern() -> Result<()> {
    let Some((store, user)) = store().await else { return Ok(()) };
    for (prefix, neighbour) in [("a*e/", "acme/x"), ("acm?/", "acme/x"), ("${aws:username}/", "lakegate-user/x")] {
        let policy = Grant { key_prefixes: vec![prefix.into()], ..grant(&[]) }.session_policy();
        let held = session(&store, user, Some(&policy)).await?;
        assert_eq!(single(&held, "lake", neighbour, None).await, denied(), "{prefix}");
        let pattern = session(&store, user, Some(&policy.replace(&prefix.replace('*', "${*}").replace('?', "${?}"), prefix))).await?;
        assert_eq!(single(&pattern, "lake", neighbour, None).await, if prefix.starts_with('$') { denied() } else { Ok(()) }, "{prefix}");
    }
    Ok(())
}

/// Forwards connections to `upstream`, and records what clients send.
async fn tap(upstream: String) -> Result<(String, Arc<Mutex<Vec<u8>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = heard.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (upstream, heard) = (upstream.clone(), kept.clone());
            tokio::spawn(async move { pass(client, &upstream, &heard).await });
        }
    });
    Ok((endpoint, heard))
}

async fn pass(client: TcpStream, upstream: &str, heard: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_store, mut to_store) = TcpStream::connect(upstream).await?.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_store, &mut to_client).await });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from_client.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        heard.lock().expect("no panic").extend_from_slice(&buffer[..count]);
        to_store.write_all(&buffer[..count]).await?;
    }
    to_store.shutdown().await?;
    answers.await?.map(|_| ())
}

/// The claims of a session token: MinIO's is a JSON Web Token.
fn claims(heard: &[u8]) -> Result<Value> {
    let heard = String::from_utf8_lossy(heard);
    let token = heard.split("x-amz-security-token: ").nth(1).and_then(|rest| rest.lines().next()).context("a session's token")?;
    let payload = token.split('.').nth(1).context("three parts")?;
    Ok(serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?)?)
}

const FILE: &str = r#"
[tenants.acme]
listen = { socket = "DIR/acme.sock" }
credentials = { role_arn = "ROLE", access_key_id_env = "ACME_ID", secret_access_key_env = "ACME_SECRET" }
[tenants.acme.grant]
buckets = ["lake"]
key_prefixes = ["acme/"]
region = "us-east-1"
endpoint = "ENDPOINT"
path_style = true
formats = ["csv"]
content_types = ["text/csv"]
encryption = ["AES256"]
encryption_required = true
max_part_bytes = 5242880
"#;

/// Through the plugin: the session that signs a tenant's requests has the policy of its grant.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_requests_are_signed_by_such_a_session() -> Result<()> {
    let Some((store, [id, secret])) = store().await else { return Ok(()) };
    let (endpoint, heard) = tap(store.endpoint.trim_start_matches("http://").to_owned()).await?;
    let file = FILE.replace("ROLE", ROLE).replace("ENDPOINT", &endpoint);
    let served = TenantServer::with(&file, |command, folder| {
        // The STS endpoint may only come from the operator's files, not from environment variables.
        let config = folder.join("config");
        let text = format!("[default]\nservices = here\n[services here]\nsts =\n  endpoint_url = {}\n", store.endpoint);
        std::fs::write(&config, text).expect("the folder can be written");
        command.env("AWS_CONFIG_FILE", config).env("ACME_ID", id).env("ACME_SECRET", secret);
    })
    .await?;
    let mut client = served.connect("acme").await?;
    let spec = |path: &str| {
        json!({
            "bucket": "lake", "region": REGION, "format": "csv", "path": path, "no_rotate": true, "part_size": PART_BYTES, "test_write": false,
            "server_side_encryption_configuration": {"server_side_encryption": "AES256"},
        })
    };
    let rows = |table: &str, count: i64| Message::Insert(ids(table, 0..count).into());
    client.round(&spec("acme/{{TABLE}}.csv"), [rows("small", 3), rows("large", 1_000_000)]).await?;
    drop(client);
    served.stop().await?;

    let objects = store.client().list_objects_v2().bucket("lake").send().await?;
    let found: Vec<_> = objects.contents().iter().filter_map(|object| Some((object.key()?, object.size()?))).collect();
    let [("acme/large.csv", large), ("acme/small.csv", 9), rest @ ..] = found.as_slice() else { panic!("{found:?}") };
    assert!(*large > PART_BYTES as i64 && rest.iter().all(|(key, _)| key.starts_with("acme/")), "{found:?}");

    let claims = claims(&heard.lock().expect("no panic"))?;
    let policy = base64::engine::general_purpose::STANDARD.decode(claims["sessionPolicy"].as_str().context("a policy")?)?;
    let mut expected: Value = serde_json::from_str(&Grant { endpoint: Some(endpoint), ..grant(&["AES256"]) }.session_policy())?;
    // As MinIO records it.
    expected["Statement"][2]["Condition"]["Null"]["s3:x-amz-server-side-encryption"] = json!([false]);
    assert_eq!((claims["parent"].as_str(), serde_json::from_slice::<Value>(&policy)?), (Some(id), expected));
    Ok(())
}
