//! The requests of sessions with specs of v7, compared with a record of what an earlier program sent: each in its order, with method, path,
//! query, every header by name and value, and the digest of the body. What options for commits add must not reach a spec that has none of them.
//!
//! `tests/golden/requests.txt` was recorded with the program of the commit bb9dc9f, the last one before there were commits. With
//! `LAKEGATE_RECORD_REQUESTS=/path/to/lakegate` the test records that program instead of comparing ours.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, SECRET};
use lakegate_local_store::{AccessKey, LocalStore};
use lakegate_tests::faults::Operation;
use lakegate_tests::layout;
use lakegate_tests::plugin::{Launch, Message, Network};
use lakegate_tests::recorder::{Recorded, Recorder};
use lakegate_tests::run;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

const RECORD: &str = "LAKEGATE_RECORD_REQUESTS";

/// Headers whose values differ from run to run or with what was compiled: what stands for them in the record, and why. That they are there is
/// compared all the same.
const VOLATILE: [(&str, &str, &str); 6] = [
    ("amz-sdk-invocation-id", "<random>", "the SDK draws one for each request"),
    ("host", "<host>", "the proxy listens on a free port"),
    ("user-agent", "<versions>", "it names the versions of the SDK, the compiler and the system"),
    ("x-amz-date", "<time>", "the time at which it was signed"),
    ("x-amz-meta-lakegate-upload", "<random>", "the token of an upload, by which its object is known"),
    ("x-amz-user-agent", "<versions>", "as user-agent"),
];

/// Who sends the rows.
enum Client {
    /// `lakegate load` of a CSV file with this content.
    Load(fn() -> String),
    /// A source's messages through `lakegate serve`.
    Serve(fn() -> Vec<Message>),
}

/// A session: its name, the fields of its spec beside those of [`spec`], and the client.
struct Session {
    name: &'static str,
    spec: Value,
    client: Client,
}

fn few_rows() -> String {
    "id,name,at\n1,one,2026-11-29T12:00:00Z\n2,\"two, too\",2026-11-29T12:00:01Z\n3,,\n".to_owned()
}

fn many_rows() -> String {
    (0..25).fold("id,name\n".to_owned(), |mut text, id| {
        let _ = writeln!(text, "{id},row {id}");
        text
    })
}

/// A part of 5 MiB and a rest.
fn large() -> String {
    (0..60_000).fold("id,text\n".to_owned(), |mut text, id| {
        let _ = writeln!(text, "{id},{:0>90}", id * 7_919 % 1_000_003);
        text
    })
}

fn two_tables_and_an_empty_one() -> Vec<Message> {
    let migrations = ["a", "b", "empty"].map(|table| Message::Migrate(layout::migrate(table).into()));
    migrations.into_iter().chain(["a", "b"].map(|table| Message::Insert(layout::insert(table, 0..5).into()))).collect()
}

fn sessions() -> Vec<Session> {
    let file = |content, spec| (spec, Client::Load(content));
    let small = |spec| file(few_rows as fn() -> String, spec);
    let encryption = json!({"server_side_encryption": "AES256"});
    let rotating =
        |extra| crate::fixtures::proxied_store::laid_over(json!({"path": "r/{{TABLE}}/{{UUID}}.{{FORMAT}}", "no_rotate": false}), extra);
    let sessions = vec![
        ("csv", small(json!({}))),
        (
            "csv with options",
            small(json!({"format_spec": {"delimiter": ";", "skip_header": true}, "content_type": "text/plain; charset=utf-8"})),
        ),
        ("csv, gzip", small(json!({"compression": "gzip"}))),
        ("json", small(json!({"format": "json"}))),
        ("json, gzip", small(json!({"format": "json", "compression": "gzip"}))),
        ("parquet", small(json!({"format": "parquet"}))),
        ("a test object first", small(json!({"test_write": true}))),
        ("ACL and encryption", small(json!({"acl": "bucket-owner-full-control", "server_side_encryption_configuration": encryption}))),
        ("without checksums", small(json!({"checksum_algorithm": "none"}))),
        ("objects of ten rows", file(many_rows, rotating(json!({"batch_size": 10})))),
        ("parts", file(large, json!({"part_size": 5 << 20}))),
        (
            "parts, ACL and encryption",
            file(
                large,
                json!({"part_size": 5 << 20, "acl": "private", "server_side_encryption_configuration": encryption, "format": "json"}),
            ),
        ),
        ("parts without checksums", file(large, json!({"part_size": 5 << 20, "checksum_algorithm": "none"}))),
        ("a plugin's session", (json!({"test_write": true}), Client::Serve(two_tables_and_an_empty_one))),
        (
            "a plugin's session, objects without rows",
            (
                rotating(json!({"format": "parquet", "write_empty_objects_for_empty_tables": true})),
                Client::Serve(two_tables_and_an_empty_one),
            ),
        ),
    ];
    sessions.into_iter().map(|(name, (spec, client))| Session { name, spec, client }).collect()
}

/// One CSV object a table, without a test object.
fn spec(endpoint: &str, extra: &Value) -> Value {
    let spec = json!({
        "bucket": BUCKET, "region": "us-east-1", "path": "{{TABLE}}.{{FORMAT}}", "format": "csv", "no_rotate": true, "test_write": false,
        "endpoint": endpoint, "use_path_style": true,
    });
    crate::fixtures::proxied_store::laid_over(spec, extra.clone())
}

/// The requests of a session, as they stand in the record.
async fn requests(program: &str, session: &Session) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = LocalStore::open(&folder.path().join("store")).expect("a store in it");
    store.create_bucket(BUCKET).expect("a bucket");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let server = store.serve(listener, [AccessKey { id: KEY.into(), secret: SECRET.into() }]).expect("a server");
    let recorder = Recorder::start(&server.endpoint()).await.expect("a port");
    let spec = spec(&recorder.endpoint(), &session.spec);
    match &session.client {
        Client::Load(content) => load(program, folder.path(), &spec, &content()).await,
        Client::Serve(messages) => serve(program, &spec, messages()).await,
    }
    let requests = recorder.take();
    server.stop().await;
    rendered(&requests)
}

async fn load(program: &str, folder: &Path, spec: &Value, content: &str) {
    std::fs::write(folder.join("t.csv"), content).expect("the folder can be written");
    std::fs::write(folder.join("spec.yml"), spec.to_string()).expect("the folder can be written");
    // `load` puts the test object if it is asked to, whatever the file says.
    let test_write = if spec["test_write"] == true { " --test-write" } else { "" };
    let mut command = run::command(program, &format!("load t.csv --spec spec.yml --lanes 1 --seed 7{test_write}"), (KEY, SECRET));
    command.current_dir(folder);
    run::to_end(command).await.ended(0, &[]);
}

async fn serve(program: &str, spec: &Value, messages: Vec<Message>) {
    let plugin = Launch::new(Path::new(program), Network::Tcp).keys(KEY, SECRET).with("--lanes 1").start().await.expect("it starts");
    plugin.connect().await.expect("it listens").round(spec, messages).await.expect("it succeeds");
    plugin.stop().await.expect("its log is in order").well();
}

/// Requests in their order. Those that a session sends side by side, objects or the parts of one, stand in the order of their texts.
fn rendered(requests: &[Recorded]) -> String {
    let mut upload_ids = Vec::new();
    let mut blocks: Vec<(Option<Operation>, Vec<String>)> = Vec::new();
    for request in requests {
        let text = render(request, &mut upload_ids);
        let is_test_object = request.uri.path().contains("TEST_");
        let run = Some(request.operation()).filter(|it| matches!(it, Operation::Put | Operation::Part) && !is_test_object);
        match blocks.last_mut() {
            Some((last, texts)) if run.is_some() && *last == run => texts.push(text),
            _ => blocks.push((run, vec![text])),
        }
    }
    blocks.iter_mut().for_each(|(_, texts)| texts.sort_unstable());
    blocks.into_iter().flat_map(|(_, texts)| texts).collect()
}

fn render(request: &Recorded, upload_ids: &mut Vec<String>) -> String {
    let query = request.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
        Some(("uploadId", id)) => {
            let known = upload_ids.iter().position(|known| known == id).unwrap_or_else(|| {
                upload_ids.push(id.to_owned());
                upload_ids.len() - 1
            });
            format!("uploadId=<upload {}>", known + 1)
        }
        _ => pair.to_owned(),
    });
    let query = query.collect::<Vec<_>>().join("&");
    let mut text = format!("\n{} {}?{query}\n", request.method, without_uuids(request.uri.path()));
    for (name, value) in &request.headers {
        let volatile = VOLATILE.iter().find(|(volatile, ..)| volatile == name);
        let value = match (volatile, name.as_str()) {
            (Some((_, instead, _)), _) => (*instead).to_owned(),
            (None, "authorization") => authorization(value),
            (None, _) => value.clone(),
        };
        let _ = writeln!(text, "    {name}: {value}");
    }
    let digest: String = Sha256::digest(&request.body).iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(text, "    {} bytes, SHA-256 {digest}", request.body.len());
    text
}

/// What was signed, and for which place; not the date and the signature.
fn authorization(value: &str) -> String {
    let fields = value.split(", ").map(|field| {
        if let Some((before, scope)) = field.split_once("Credential=") {
            let scope = scope.split('/').enumerate().map(|(at, part)| if at == 1 { "<date>" } else { part });
            return format!("{before}Credential={}", scope.collect::<Vec<_>>().join("/"));
        }
        if field.starts_with("Signature=") { "Signature=<signature>".to_owned() } else { field.to_owned() }
    });
    fields.collect::<Vec<_>>().join(", ")
}

/// A plugin draws the UUIDs of its keys.
fn without_uuids(path: &str) -> String {
    let segment = |segment: &str| {
        let (stem, ending) = segment.split_once('.').map_or((segment, String::new()), |(stem, ending)| (stem, format!(".{ending}")));
        if uuid::Uuid::parse_str(stem).is_ok() { format!("<UUID>{ending}") } else { segment.to_owned() }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn record() -> PathBuf {
    lakegate_tests::golden_folder().join("requests.txt")
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_of_v7_send_the_requests_that_they_sent_before_there_were_commits() {
    let recorded = std::env::var(RECORD).ok();
    let sessions = sessions();
    let mut found = String::from("The requests of sessions with specs of v7. See tests/it/delivery/recorded_requests.rs.\n");
    for session in &sessions {
        let requests = requests(recorded.as_deref().unwrap_or(PLUGIN), session).await;
        assert!(requests.contains("SHA-256"), "{}: no request", session.name);
        let _ = write!(found, "\n== {}\n{requests}", session.name);
    }
    if recorded.is_some() {
        std::fs::write(record(), &found).expect("the record can be written");
        return;
    }
    let expected = std::fs::read_to_string(record()).expect("a record");
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {}", number + 1, record().display());
    }
    assert_eq!(found.lines().count(), expected.lines().count());
    lakegate_tests::corpus("recorded sessions", sessions.len(), 15);
}

#[test]
fn what_is_volatile_is_recorded_as_being_there_and_nothing_else_is_left_out() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let request = Recorded {
        method: http::Method::PUT,
        uri: http::Uri::from_static("/b/0123abcd-0000-4000-8000-0123456789ab.csv?partNumber=1&uploadId=u-7"),
        headers: vec![
            header("authorization", "AWS4-HMAC-SHA256 Credential=k/20261129/us-east-1/s3/aws4_request, SignedHeaders=a;b, Signature=00ff"),
            header("content-type", "text/csv"),
            header("host", "127.0.0.1:1234"),
        ],
        body: bytes::Bytes::from_static(b"abc"),
    };
    let expected = "\nPUT /b/<UUID>.csv?partNumber=1&uploadId=<upload 1>\n    authorization: AWS4-HMAC-SHA256 \
                    Credential=k/<date>/us-east-1/s3/aws4_request, SignedHeaders=a;b, Signature=<signature>\n    content-type: text/csv\n    \
                    host: <host>\n    3 bytes, SHA-256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    assert_eq!(rendered(&[request]), expected);
}
