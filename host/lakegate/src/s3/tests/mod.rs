//! The client against scripted servers on the loopback.

mod answers;
mod checksums;
mod credentials;
mod faults;
mod first_request;
mod headers;
mod places;
mod renewal;
mod tls;

use super::client::S3Client;
use super::options::{Checksums, ConnectOptions, InProcessStore, Timeouts};
use crate::payload::body::Payload;
use crate::policy::authorize::{Authorized, Policy};
use crate::storage::checksum::{Checksum, ChecksumAlgorithm};
use crate::storage::object::PutObject;
use crate::storage::target::StorageTarget;
use crate::store::answer::{StoreError, StoreErrorKind, Stored};
use crate::store::traits::Store;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::body::SdkBody;
use aws_types::os_shim_internal::Env;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as a server sees it.
#[derive(Debug, Clone, Default)]
struct Seen {
    method: String,
    target: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
    /// Counted from 0.
    connection: usize,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The access key that signed the request.
    fn access_key(&self) -> &str {
        let credential = self.header("authorization").split_once("Credential=").map_or("", |(_, rest)| rest);
        credential.split('/').next().unwrap_or_default()
    }
}

/// What a server does with a request.
enum Reply {
    Answer(u16, Vec<(&'static str, String)>, String),
    /// These bytes, and then the end of the connection.
    Raw(Vec<u8>),
    Close,
    Stall,
}

fn ok() -> Reply {
    Reply::Answer(200, vec![("ETag", "\"e\"".into())], String::new())
}

fn status(status: u16, code: &str) -> Reply {
    Reply::Answer(status, vec![], format!("<Error><Code>{code}</Code><Message>words</Message></Error>"))
}

/// Answers the request with this number.
type Script = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

/// A server whose answers follow a script, and that remembers what it saw.
#[derive(Clone)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
}

impl Server {
    /// Starts it; the address is a loopback one.
    async fn start(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> (Self, String) {
        let server = Self { seen: Arc::default(), script: Arc::new(script) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("bound").to_string();
        let accepting = server.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                let server = accepting.clone();
                tokio::spawn(async move { server.serve(socket, connection).await });
            }
        });
        (server, address)
    }

    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin, connection: usize) {
        while let Some(request) = read_request(&mut socket).await {
            let request = Seen { connection, ..request };
            let number = {
                let mut seen = self.seen.lock().expect("no panic");
                seen.push(request.clone());
                seen.len()
            };
            match (self.script)(number, &request) {
                Reply::Close => return,
                Reply::Raw(bytes) => {
                    let _ = socket.write_all(&bytes).await;
                    return;
                }
                Reply::Stall => return std::future::pending().await,
                Reply::Answer(status, headers, body) => {
                    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                    // The answer to HEAD has the length of what it does not send.
                    let length =
                        if headers.contains("Content-Length") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
                    let answer = format!("HTTP/1.1 {status} Scripted\r\n{headers}{length}\r\n{body}");
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<_, _> = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some(Seen { method, target, headers, body, connection: 0 })
}

fn target(endpoint: String) -> StorageTarget {
    StorageTarget {
        bucket: "bucket".into(),
        region: "eu-west-1".into(),
        endpoint: Some(endpoint),
        path_style: true,
        max_backoff_seconds: 1,
        ..StorageTarget::default()
    }
}

/// Options with an environment of the test's own.
fn options(environment: &[(&str, &str)]) -> ConnectOptions {
    let ms = Duration::from_millis;
    ConnectOptions {
        environment: Env::from_slice(environment),
        timeouts: Timeouts {
            stall: ms(300),
            answer: ms(300),
            complete: ms(500),
            retries: ms(5_000),
            first_contact: ms(500),
            ..Timeouts::default()
        },
        ..ConnectOptions::default()
    }
}

const KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "AKIDENV"), ("AWS_SECRET_ACCESS_KEY", "secret-canary")];

fn put_of(key: &str) -> Authorized<PutObject> {
    Policy::for_user().authorize(PutObject::parse(key, "text/csv").expect("a request")).expect("a user's own")
}

async fn put(target: &StorageTarget, options: &ConnectOptions) -> Result<Stored, StoreError> {
    S3Client::connect(target, options).await?.put(&put_of("t/a.csv"), Payload::from(bytes::Bytes::from_static(b"1,2\n"))).await
}
