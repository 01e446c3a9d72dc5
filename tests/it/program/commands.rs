//! Commands against stores and services in other processes: their messages when a store refuses, the credentials they sign with, and what their logs
//! must not contain.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, ProxiedStore, SECRET};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lakegate_tests::faults::{Fault, Operation, Rule, When};
use lakegate_tests::run::Run;
use lakegate_tests::{minio, moto, tiers};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Asserts that it ended with this code after one line on stderr that contains each of `expected`.
#[track_caller]
fn one_line(run: &Run, code: i32, expected: &[&str]) {
    assert_eq!((run.code, run.said().lines().count()), (Some(code), 1), "{}", run.said());
    run.ended(code, expected);
}

/// Runs the program in a folder, with only these environment variables.
async fn run(folder: &Path, line: &str, environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new(PLUGIN);
    command.args(line.split(' ')).current_dir(folder).env_clear().envs(environment.iter().copied());
    for name in ["PATH", "HOME", "LAKEGATE_CACHE_DIR", "XDG_CACHE_HOME"] {
        if let Some(value) = std::env::var_os(name).filter(|_| !environment.iter().any(|(given, _)| *given == name)) {
            command.env(name, value);
        }
    }
    let ended: Run = command.stdin(Stdio::null()).output().await.expect("the program runs").into();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// A folder with a table in it.
fn folder(rows: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("planted_name.csv"), rows).expect("writable");
    folder
}

fn keys<'a>(id: &'a str, secret: &'a str) -> [(&'a str, &'a str); 2] {
    [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_one_line() {
    let Some(store) = tiers::live("a bucket that is missing", minio::start().await) else { return };
    let folder = folder("x\n1\n");
    let line = format!("load planted_name.csv --to s3://not-there/t.csv --format csv --endpoint {} --path-style --quiet", store.endpoint);
    let ended = run(folder.path(), &line, &keys(&store.access_key, &store.secret_key)).await;
    one_line(&ended, 5, &["Table planted_name failed: ", "\"not-there\"", "does not exist"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_key_is_one_line() {
    let proxied = ProxiedStore::new([Rule::on(Operation::Put, When::Always, Fault::Answer(http::StatusCode::FORBIDDEN))]).await;
    let folder = folder("x\n1\n");
    let line =
        format!("load planted_name.csv --to s3://{BUCKET}/t.csv --format csv --endpoint {} --path-style --quiet", proxied.proxy.endpoint());
    let (id, secret) = (KEY, SECRET);
    let ended = run(folder.path(), &line, &keys(id, secret)).await;
    one_line(&ended, 5, &["Table planted_name failed: ", "403", "s3:PutObject"]);
}

/// The input has ended, one object is confirmed, and the store is silent about the other.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_end_says_what_is_in_the_bucket() {
    let stalls = Fault::Stall(Duration::from_secs(60));
    let proxied = ProxiedStore::new([Rule::on(Operation::Put, When::Every(NonZeroU64::MIN.saturating_add(1)), stalls)]).await;
    let folder = folder("x\n1\n");
    std::fs::write(folder.path().join("another.csv"), "x\n1\n2\n").expect("writable");
    let line = format!(
        "load another.csv planted_name.csv --to s3://{BUCKET}/{{{{TABLE}}}}.csv --format csv --endpoint {} --path-style --quiet --lanes 1",
        proxied.proxy.endpoint()
    );
    let mut command = Command::new(PLUGIN);
    command.args(line.split(' ')).current_dir(folder.path()).envs(keys(KEY, SECRET)).stdin(Stdio::null());
    let program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let until = Instant::now() + Duration::from_secs(60);
    while proxied.proxy.count(Operation::Put) < 2 || proxied.store.records(BUCKET, "").expect("readable").is_empty() {
        assert!(Instant::now() < until, "two objects are not put");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let signalled = Command::new("kill").args(["-INT", &program.id().expect("it runs").to_string()]).status().await;
    assert!(signalled.expect("kill runs").success());
    let ended: Run = program.wait_with_output().await.expect("it ends").into();
    let [there] = proxied.store.records(BUCKET, "").expect("readable").try_into().expect("one object");
    let table = there.key.trim_end_matches(".csv");
    ended.ended(130, &["Interrupted", &format!("Table {table}: in the bucket is 1 object with "), &there.key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_of_a_real_exchange_hold_no_secret_and_no_row() {
    const TOKEN: &str = "canary-token-51ac0e";
    const ROW: &str = "canary-row-c0ffee";
    let proxied = ProxiedStore::new([]).await;
    let folder = folder(&format!("x,y\n1,{ROW}\n2,{ROW}\n"));
    let spec = proxied.spec(serde_json::json!({"aws_debug": true}));
    std::fs::write(folder.path().join("spec.json"), spec.to_string()).expect("writable");
    let (id, secret) = (KEY, SECRET);
    let environment = [&keys(id, secret)[..], &[("AWS_SESSION_TOKEN", TOKEN), ("RUST_LOG", "trace")]].concat();
    let ended = run(folder.path(), "load planted_name.csv --spec spec.json --log-level trace --json", &environment).await;
    assert_eq!((ended.code, proxied.keys().len()), (Some(0), 1), "{}", ended.said());
    // The search works: the request with keys and rows is in the log.
    assert!(ended.said().contains("PUT") && ended.said().contains(&proxied.keys()[0]), "{}", ended.said());
    for canary in [secret, TOKEN, ROW] {
        assert!(!ended.said().contains(canary), "{canary} is in the output: {}", ended.said());
    }
}

/// What a request was signed with.
#[derive(Debug, Clone, Default)]
struct Signed {
    access_key: String,
    token: String,
}

/// A store that accepts everything and records who signed it.
async fn recorder() -> (Arc<Mutex<Vec<Signed>>>, SocketAddr) {
    let seen: Arc<Mutex<Vec<Signed>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let writing = seen.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = writing.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let seen = seen.clone();
                async move {
                    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
                    let authorization = header("authorization");
                    let access_key = authorization.split_once("Credential=").map_or("", |(_, rest)| rest).split('/').next();
                    let signed = Signed { access_key: access_key.unwrap_or_default().to_owned(), token: header("x-amz-security-token") };
                    request.into_body().collect().await?;
                    seen.lock().expect("no panic").push(signed);
                    Ok::<_, hyper::Error>(
                        http::Response::builder().header("ETag", "\"e\"").body(Full::<Bytes>::default()).expect("an answer"),
                    )
                }
            });
            tokio::spawn(async move { hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await });
        }
    });
    (seen, address)
}

/// The identity of an access key according to STS.
async fn caller_identity(sts: SocketAddr, access_key: &str) -> String {
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let credential =
        format!("AWS4-HMAC-SHA256 Credential={access_key}/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: sts.us-east-1.amazonaws.com\r\nAuthorization: {credential}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(sts).await.expect("it listens");
    socket.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("it answers");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_at_a_real_sts() {
    let Some(sts) = tiers::live("AssumeRole at moto", moto::start().await) else { return };
    let (seen, store) = recorder().await;
    let folder = folder("x\n1\n");
    let spec = serde_json::json!({
        "bucket": "demo", "region": "us-east-1", "format": "csv", "path": "{{TABLE}}/{{UUID}}.csv", "test_write": false,
        "endpoint": format!("http://{store}"), "use_path_style": true,
        "credentials": {"role_arn": "arn:aws:iam::123456789012:role/writer", "role_session_name": "night", "external_id": "ext-7"},
    });
    std::fs::write(folder.path().join("spec.json"), spec.to_string()).expect("writable");
    let sts_url = format!("http://{}", sts.address);
    let environment = [&keys("AKIDBASE", "secret")[..], &[("AWS_ENDPOINT_URL_STS", sts_url.as_str())]].concat();
    let ended = run(folder.path(), "load planted_name.csv --spec spec.json --quiet", &environment).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let signed = seen.lock().expect("no panic").clone();
    assert!(signed.len() == 1 && signed[0].access_key != "AKIDBASE" && !signed[0].token.is_empty(), "{signed:?}");
    let identity = caller_identity(sts.address, &signed[0].access_key).await;
    assert!(identity.contains("assumed-role/writer/night"), "{identity}");
}

/// A profile named by the spec is read by a separate provider, which also supports single sign-on.
#[tokio::test(flavor = "multi_thread")]
async fn a_local_profile_may_be_one_of_single_sign_on() {
    let (seen, store) = recorder().await;
    let portal = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let portal_url = format!("http://{}", portal.local_addr().expect("its number"));
    tokio::spawn(async move {
        let body =
            r#"{"roleCredentials":{"accessKeyId":"ASIASSO","secretAccessKey":"s","sessionToken":"sso-token","expiration":4070908800000}}"#;
        while let Ok((mut socket, _)) = portal.accept().await {
            let mut head = vec![0; 4_096];
            let _head = socket.read(&mut head).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _gone = socket.write_all(answer.as_bytes()).await;
        }
    });
    let folder = folder("x\n1\n");
    let home = folder.path().to_str().expect("a plain name").to_owned();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        std::fs::write(path, content).expect("writable");
    };
    // The file that `aws sso login` leaves: named by the SHA-1 of the session's name, here `corp`.
    file(
        ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json",
        r#"{"accessToken":"login-token","expiresAt":"2099-01-01T00:00:00Z"}"#,
    );
    file(
        ".aws/config",
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = writer\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://portal.example/start\n",
    );
    let spec = serde_json::json!({
        "bucket": "demo", "region": "us-east-1", "format": "csv", "path": "{{TABLE}}/{{UUID}}.csv", "test_write": false,
        "endpoint": format!("http://{store}"), "use_path_style": true, "local_profile": "dev",
    });
    file("spec.json", &spec.to_string());
    let environment = [("HOME", home.as_str()), ("AWS_ENDPOINT_URL_SSO", portal_url.as_str())];
    let ended = run(folder.path(), "load planted_name.csv --spec spec.json --quiet", &environment).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let signed = seen.lock().expect("no panic").clone();
    assert_eq!((signed.len(), signed[0].access_key.as_str(), signed[0].token.as_str()), (1, "ASIASSO", "sso-token"));
}
