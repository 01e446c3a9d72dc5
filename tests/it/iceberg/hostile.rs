//! Catalogs that lie, and tenants that ask for more than they are granted.

use crate::fixtures::proxied_store::{BUCKET, PLUGIN};
use crate::fixtures::support::{runtime, test_store};
use crate::tenancy::tenants::{grant, options};
use lakegate::{CatalogGrant, CatalogGrantAuth, Destination, Grant, OpenError, Options, Tenant};
use lakegate_iceberg::RestCatalogs;
use lakegate_tests::run::{self, Limit, Run};
use lakegate_tests::tables::ids;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a catalog answers when a table is asked for; anything else it answers as a catalog would.
#[derive(Debug, Clone)]
enum Lie {
    /// This status and body.
    Says(u16, Value),
    /// This text, as it is.
    Text(String),
    /// A body that says how long it is and goes on for ever.
    Endless,
    /// To this place.
    Redirect(SocketAddr),
}

/// A catalog that lies, and the heads of the requests that it has had.
async fn catalog(lie: Lie) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, heads) = (listener.local_addr().expect("an address"), Arc::default());
    let seen: Arc<Mutex<Vec<String>>> = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, lie.clone(), seen.clone()));
        }
    });
    (address, heads)
}

async fn serve(mut socket: TcpStream, lie: Lie, heads: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = held.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&held[..end]).into_owned();
        let length = head.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or_default();
        while held.len() < end + length {
            if socket.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        }
        held.drain(..end + length);
        heads.lock().expect("a list").push(head.clone());
        if head.starts_with("GET /v1/config") {
            answer(&mut socket, 200, "{}").await?;
        } else if head.contains("/tables/") {
            match &lie {
                Lie::Says(status, body) => answer(&mut socket, *status, &body.to_string()).await?,
                Lie::Text(text) => answer(&mut socket, 200, text).await?,
                Lie::Endless => {
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await?;
                    loop {
                        socket.write_all(&[b'['; 64 << 10]).await?;
                    }
                }
                Lie::Redirect(to) => {
                    let text = format!("HTTP/1.1 307 Away\r\nlocation: http://{to}/v1/namespaces/n/tables/t\r\ncontent-length: 0\r\n\r\n");
                    socket.write_all(text.as_bytes()).await?;
                }
            }
        } else {
            answer(&mut socket, 404, "{}").await?;
        }
    }
}

async fn answer(socket: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await
}

/// A table with a column `id` that lies there.
fn table(location: &str) -> Value {
    json!({"metadata": {
        "format-version": 2, "table-uuid": "u", "location": location, "last-column-id": 1, "last-updated-ms": 1, "last-sequence-number": 0,
        "current-schema-id": 0, "schemas": [{"schema-id": 0, "type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]}],
        "default-spec-id": 0, "partition-specs": [{"spec-id": 0, "fields": []}], "current-snapshot-id": null, "snapshots": [], "refs": {},
    }})
}

/// Memory of the program itself, beside what a catalog's answer may take: its guests, buffers and libraries, in an unoptimised build.
const PROGRAM_MIB: u64 = 512;

/// A table of lies: the answer is an error that names what was asked of whom, in bounded memory, and nobody else hears of it.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the count is what a reader of the log looks for")]
async fn a_lying_catalog_costs_bounded_memory_and_a_clear_error() {
    let bystander = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let deep = |text: &str| text.replace("SCHEMA", &format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)));
    let mut schemas = table("s3://demo/wh/t");
    schemas["metadata"]["schemas"] = json!(["x"]);
    let columns = |count: i32| {
        let mut table = table("s3://demo/wh/t");
        let fields: Vec<Value> =
            (1..=count).map(|id| json!({"id": id, "name": format!("c{id}"), "required": false, "type": "long"})).collect();
        table["metadata"]["schemas"][0]["fields"] = json!(fields);
        table
    };
    let lies: Vec<(&str, Lie, &str)> = vec![
        ("an answer without an end", Lie::Endless, "more than 67108864 bytes"),
        ("nesting", Lie::Text(deep(r#"{"metadata": SCHEMA}"#)), "cannot be used"),
        ("another type", Lie::Says(200, json!({"metadata": 7})), "cannot be used"),
        ("a schema that is none", Lie::Says(200, schemas), "cannot be used"),
        ("more columns than a table has", Lie::Says(200, columns(10_001)), "10000"),
        ("columns without an end", Lie::Says(200, columns(300_000)), "its schema has more than 8388608 bytes"),
        ("no JSON", Lie::Text("<html>".into()), "cannot be used"),
        ("a redirect", Lie::Redirect(bystander.local_addr().expect("an address")), "redirects are not followed"),
        ("another bucket", Lie::Says(200, table("s3://other/wh/t")), "lies at s3://other/wh/t, which is not in s3://demo/wh/t"),
        ("another folder", Lie::Says(200, table("s3://demo/wh/t2")), "lies at s3://demo/wh/t2, which is not in s3://demo/wh/t"),
        ("the bucket itself", Lie::Says(200, table("s3://demo/")), "lies at s3://demo, which is not in s3://demo/wh/t"),
        ("a folder within", Lie::Says(200, table("s3://demo/wh/t/other")), "`path` has to begin with the folder of the table"),
        ("dots", Lie::Says(200, table("s3://demo/wh/t/../../x")), "`.` or `..`"),
        ("a file", Lie::Says(200, table("file:///etc/passwd")), "is not one of S3"),
        ("a refusal", Lie::Says(403, json!({"error": {"type": "Forbidden", "message": "no\u{1b}[31m"}})), "403"),
    ];
    // Compiled now, and kept by this machine: that takes more memory than any answer.
    let _compiled = runtime();
    let cases = lies.len();
    for (what, lie, expected) in lies {
        let (address, _) = catalog(lie).await;
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("t.csv"), "id\n1\n").expect("a file");
        let line = format!(
            "load t.csv --to s3://demo/wh/{{{{TABLE}}}}/data/{{{{UUID}}}} --format parquet --local store --lanes 1 --table-format iceberg --catalog \
             http://{address} --namespace n"
        );
        let mut program = run::command(PLUGIN, &line, ("AKIDTEST", "secret"));
        let command = run::within(&Limit::Data { mebibytes: PROGRAM_MIB }, program.current_dir(folder.path()));
        let run: Run = run::to_end(command).await;
        let is_code = run.code == Some(5) || run.code == Some(6);
        assert!(is_code && run.stderr.contains(expected) && !run.stderr.contains('\u{1b}'), "{what}: {run:?}");
        assert!(run.stderr.contains("Table t failed: "), "{what}: {}", run.stderr);
    }
    println!("{cases} cases, 0 skipped");
    assert_eq!(cases, 15);
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(50), bystander.accept()).await;
    assert!(nobody.is_err(), "the redirect was followed");
}

fn spec(uri: &str, more: Value) -> String {
    let mut iceberg = json!({"uri": uri, "namespace": "n"});
    if let (Value::Object(iceberg), Value::Object(more)) = (&mut iceberg, more) {
        iceberg.extend(more);
    }
    json!({
        "bucket": BUCKET, "region": "us-east-1", "format": "parquet", "path": "acme/{{TABLE}}/data/{{UUID}}", "test_write": false,
        "table_format": "iceberg", "iceberg": iceberg,
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reaches_no_catalog_that_it_is_not_granted_and_writes_nowhere_else() -> anyhow::Result<()> {
    let store = test_store(BUCKET);
    let secrets = tempfile::tempdir()?;
    let token = secrets.path().join("token");
    std::fs::write(&token, "canary-of-the-operator\n")?;
    let (address, heads) = catalog(Lie::Says(200, table("s3://served/other/t"))).await;
    let uri = format!("http://{address}");
    let open = |grant: Grant, spec: String| {
        let options = Options { catalogs: Some(Arc::new(RestCatalogs::default())), ..options(&store, Tenant::new("acme", grant)) };
        async move { Destination::new(runtime(), options).open(&spec, "sync").await }
    };
    let granted = || Grant {
        catalogs: vec![CatalogGrant {
            uri: uri.clone(),
            auth: CatalogGrantAuth::Bearer,
            credential_file: Some(token.display().to_string()),
            ..CatalogGrant::default()
        }],
        namespaces: vec!["n".into()],
        ..grant("acme/")
    };
    let own = json!({"auth": "bearer", "credential_file": token.display().to_string()});
    let elsewhere = TcpListener::bind("127.0.0.1:0").await?;
    for (what, grant, spec) in [
        ("nothing is granted", grant("acme/"), spec(&uri, json!({}))),
        ("another catalog", granted(), spec(&format!("http://{}", elsewhere.local_addr()?), json!({}))),
        ("another namespace", granted(), spec(&uri, json!({"namespace": "m"}))),
        ("credentials of its own choice", granted(), spec(&uri, own)),
    ] {
        let error = open(grant, spec).await.expect_err(what);
        assert!(matches!(error, OpenError::Denied(_)), "{what}: {error:?}");
    }
    assert!(heads.lock().expect("a list").is_empty(), "nothing is asked before it is granted");

    // The catalog puts the table under another tenant's prefix.
    let session = open(granted(), spec(&uri, json!({}))).await?;
    assert!(heads.lock().expect("a list").iter().all(|head| head.to_lowercase().contains("authorization: bearer canary-of-the-operator")));
    let mut write = session.write()?;
    write.insert(ids("t", 0..10).into()).await?;
    let report = write.finish().await;
    let failure = report.tables[0].failure.as_ref().expect("the table fails");
    assert!(!failure.message.contains("canary") && !failure.message.contains("other/t"), "{failure}");
    assert_eq!(store.keys(), [""; 0], "nothing is written");
    session.close().await;

    // The operator's secret is not there: a tenant does not hear where it was looked for.
    std::fs::remove_file(&token)?;
    let error = open(granted(), spec(&uri, json!({}))).await.expect_err("no secret");
    assert!(matches!(error, OpenError::Catalog(_)) && !error.to_string().contains("token"), "{error}");
    Ok(())
}
