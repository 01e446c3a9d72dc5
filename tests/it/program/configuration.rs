//! Configuration errors as a user meets them: the exit code, and a single line without delay.

use crate::fixtures::proxied_store::PLUGIN;
use lakegate_tests::run::{self, Run};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Stands in the environment, and must stand nowhere else.
const SECRET: &str = "canary-secret-2e91aa";

/// The program in a folder with a file of rows, without shared files, metadata service or proxies.
fn command(folder: &Path, line: &str) -> Command {
    let mut command = run::command(PLUGIN, line, ("AKIDTEST", SECRET));
    command.current_dir(folder).env("AWS_EC2_METADATA_DISABLED", "true");
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        command.env(name, "/dev/null");
    }
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "ALL_PROXY", "all_proxy", "https_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    command
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("t.csv"), "id\n1\n").expect("writable");
    folder
}

async fn ended(mut command: Command) -> Run {
    tokio::task::spawn_blocking(move || command.output().expect("the program starts").into()).await.expect("no panic")
}

#[track_caller]
fn one_line(run: &Run, code: i32, expected: &[&str]) {
    run.ended(code, expected);
    assert!(run.stderr.lines().count() == 1 && !run.said().contains(SECRET), "{}", run.stderr);
}

/// A store that takes everything; the targets of what it was asked.
async fn store() -> (Arc<Mutex<Vec<String>>>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = socket.read_u8().await else { return };
                    bytes.push(byte);
                }
                let head = String::from_utf8_lossy(&bytes).into_owned();
                let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
                if socket.read_exact(&mut body).await.is_ok() {
                    log.lock().expect("no panic").push(head.split(' ').nth(1).unwrap_or_default().to_owned());
                    let answer = b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _ = socket.write_all(answer).await;
                }
            });
        }
    });
    (seen, format!("http://{address}"))
}

const LOAD: &str = "load t.csv --to s3://onf/x/{{TABLE}}.csv --format csv --quiet";

#[tokio::test]
async fn an_endpoint_with_a_path_is_in_front_of_the_bucket() {
    let folder = folder();
    let (seen, url) = store().await;
    for end in ["/c", "/c/"] {
        ended(command(folder.path(), &format!("{LOAD} --path-style --endpoint {url}{end}"))).await.ended(0, &[]);
        for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
            let mut command = command(folder.path(), &format!("{LOAD} --path-style"));
            command.env(variable, format!("{url}{end}"));
            ended(command).await.ended(0, &[]);
        }
    }
    let seen = seen.lock().expect("no panic").clone();
    assert!(seen.len() == 6 && seen.iter().all(|target| target == "/c/onf/x/t.csv?x-id=PutObject"), "{seen:?}");
}

#[tokio::test]
async fn a_line_end_is_one_line_that_names_where_it_stands() {
    let folder = folder();
    let (seen, url) = store().await;
    let line = format!("{LOAD} --path-style --endpoint {url}");
    for (variable, value, code) in [
        ("AWS_ACCESS_KEY_ID", "testkey\n", 5),
        ("AWS_SECRET_ACCESS_KEY", "test\nsecret", 5),
        ("AWS_SESSION_TOKEN", "ab\nc", 5),
        ("AWS_PROFILE", "p\n", 5),
        ("AWS_REGION", "us-east-1\n", 3),
        ("HTTP_PROXY", "http://p\n", 5),
    ] {
        let mut command = command(folder.path(), &line);
        command.env(variable, value);
        one_line(&ended(command).await, code, &[variable]);
    }
    let spec = |region: &str| serde_json::json!({"bucket": "bkt", "region": region, "path": "x/{{TABLE}}/{{UUID}}.csv", "format": "csv", "endpoint": url, "use_path_style": true});
    std::fs::write(folder.path().join("s.json"), spec("us-east-1\n").to_string()).expect("writable");
    one_line(&ended(command(folder.path(), "validate-config s.json")).await, 3, &["`region`"]);
    one_line(&ended(command(folder.path(), "test-connection s.json")).await, 3, &["`region`"]);
    assert!(seen.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn what_can_never_work_is_refused_by_validation() {
    let folder = folder();
    let spec = |changes: &str| {
        let mut spec = serde_json::json!({"bucket": "lake", "region": "us-east-1", "format": "csv", "path": "x/{{TABLE}}/{{UUID}}.csv"});
        let changes = serde_json::from_str(&format!("{{{changes}}}")).expect("members of an object");
        if let (Value::Object(spec), Value::Object(changes)) = (&mut spec, changes) {
            spec.extend(changes);
        }
        std::fs::write(folder.path().join("s.json"), spec.to_string()).expect("writable");
    };
    let at = |changes: &str| format!(r#"{changes}, "endpoint": "http://127.0.0.1:9", "use_path_style": true"#);
    let (arn_elsewhere, name_elsewhere) = (at(r#""bucket": "arn:aws:s3:::lake""#), at(r#""region": "EU (Frankfurt)""#));
    let lake_elsewhere = at(r#""bucket": "my_Lake""#);
    for (changes, field) in [
        (r#""bucket": "arn:aws:s3:::lake""#, "`bucket`"),
        (arn_elsewhere.as_str(), "`bucket`"),
        (r#""region": "us_east_1""#, "`region`"),
        (name_elsewhere.as_str(), "`region`"),
        (r#""bucket": "lake/prefix""#, "`bucket`"),
        (r#""bucket": "s3://lake""#, "`bucket`"),
        (r#""bucket": " lake""#, "`bucket`"),
        (r#""bucket": "Lake""#, "`bucket`"),
        (r#""bucket": "ab""#, "`bucket`"),
        (r#""endpoint": "http://store/a//b""#, "`endpoint`"),
    ] {
        spec(changes);
        one_line(&ended(command(folder.path(), "validate-config s.json")).await, 3, &[field]);
        let tried = ended(command(folder.path(), "test-connection s.json")).await;
        assert!(matches!(tried.code, Some(3 | 5)) && tried.stderr.contains(field) && !tried.stderr.contains("attempts"), "{tried:?}");
    }
    for changes in [r#""bucket": "Lake", "use_path_style": true"#, lake_elsewhere.as_str()] {
        spec(changes);
        ended(command(folder.path(), "validate-config s.json")).await.ended(0, &["valid"]);
    }
    spec(r#""bucket": "Lake""#);
    let mut with_endpoint = command(folder.path(), "validate-config s.json");
    with_endpoint.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    ended(with_endpoint).await.ended(0, &["valid"]);
}

#[tokio::test]
async fn what_cannot_be_reached_is_named_with_what_led_there() {
    let folder = folder();
    let run = ended(command(folder.path(), &format!("{LOAD} --endpoint http://store.invalid:9"))).await;
    one_line(&run, 5, &["onf.store.invalid:9", "use_path_style"]);
    let mut by_proxy = command(folder.path(), &format!("{LOAD} --path-style --endpoint http://store.invalid:9"));
    by_proxy.env("HTTP_PROXY", "http://127.0.0.1:1");
    one_line(&ended(by_proxy).await, 5, &["the proxy 127.0.0.1:1 of HTTP_PROXY cannot be used"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_file_is_read_without_end() {
    let folder = folder();
    let document = |value: &str| {
        let text = format!(
            "kind: destination\nspec:\n  name: s3\n  path: cloudquery/s3\n  version: v7.0.0\n  write_mode: append\n  spec:\n    bucket: \"{value}\"\n"
        );
        std::fs::write(folder.path().join("c.yml"), text).expect("writable");
    };
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    for (path, expected) in [("/dev/zero", "larger than"), ("/proc", "a directory"), (pipe.to_str().expect("a plain name"), "a pipe")] {
        document(&format!("${{file:{path}}}"));
        one_line(&ended(command(folder.path(), "validate-config c.yml")).await, 3, &[path, expected]);
    }
    one_line(&ended(command(folder.path(), "validate-config /dev/zero")).await, 3, &["/dev/zero", "larger than"]);
    for variable in ["AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        let mut command = command(folder.path(), &format!("{LOAD} --path-style --endpoint http://127.0.0.1:9"));
        command.env(variable, "/dev/zero");
        one_line(&ended(command).await, 5, &[variable, "larger than"]);
    }
    std::fs::write(folder.path().join("c.yml"), "bucket: a\nregion: b\nbucket: c\n").expect("writable");
    let run = ended(command(folder.path(), "validate-config c.yml")).await;
    one_line(&run, 3, &["the key `bucket` is duplicated, again at line 3"]);
    assert!(!run.stderr.contains("Policy"), "{}", run.stderr);
}
