//! A fault-injecting HTTP proxy on a loopback port in front of any S3 store or Iceberg catalog, with rules for what goes wrong and when.
//!
//! Signed requests pass unchanged (including the `Host` header), so the store must accept another host name: MinIO and the embedded store do. Every
//! request is recorded by operation, key and outcome; headers, query values and bodies are not.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// The operations that a client of ours may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `PutObject`
    Put,
    /// `CreateMultipartUpload`
    Create,
    /// `UploadPart`
    Part,
    /// `CompleteMultipartUpload`
    Complete,
    /// `AbortMultipartUpload`
    Abort,
    /// `HeadObject`
    Head,
    /// A commit to a table of an Iceberg catalog.
    CommitTable,
    /// Any other operation.
    Other,
}

impl Operation {
    /// The operation that a method, path and query name.
    #[must_use]
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        let has = |name: &str| query.unwrap_or("").split('&').any(|pair| pair.split('=').next() == Some(name));
        // A path of one segment is a bucket's.
        if path.trim_matches('/').split_once('/').is_none() {
            return Self::Other;
        }
        match (method, has("uploadId"), has("uploads")) {
            (&Method::PUT, true, _) => Self::Part,
            (&Method::PUT, false, _) => Self::Put,
            (&Method::POST, true, _) => Self::Complete,
            (&Method::POST, false, true) => Self::Create,
            (&Method::POST, false, false) if path.contains("/tables/") => Self::CommitTable,
            (&Method::DELETE, true, _) => Self::Abort,
            (&Method::HEAD, ..) => Self::Head,
            _ => Self::Other,
        }
    }
}

/// A fault of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status is answered; the store never hears of the request.
    Answer(StatusCode),
    /// The connection is reset; the store never hears of the request.
    Reset,
    /// Nothing is answered for this long, then the connection is reset; the store never hears of the request.
    Stall(Duration),
    /// The store carries the request out; its answer is thrown away and the connection reset.
    DropAnswer,
    /// The store carries the request out; nothing is answered for this long, then the connection is reset.
    Withhold(Duration),
    /// The request is passed on with this delay.
    Delay(Duration),
}

/// Which requests a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All of them.
    Always,
    /// The first N.
    First(u64),
    /// Every N-th.
    Every(NonZeroU64),
}

/// One thing that goes wrong. The first rule that applies to a request decides; each counts the requests of its operation.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    operation: Option<Operation>,
    when: When,
    fault: Fault,
}

impl Rule {
    /// A rule for all operations.
    #[must_use]
    pub fn any(when: When, fault: Fault) -> Self {
        Self { operation: None, when, fault }
    }

    /// A rule for one operation.
    #[must_use]
    pub fn on(operation: Operation, when: When, fault: Fault) -> Self {
        Self { operation: Some(operation), when, fault }
    }
}

/// A recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The operation.
    pub operation: Operation,
    /// Bucket and key, as in the URL.
    pub path: String,
    /// The fault that was injected, if any.
    pub fault: Option<Fault>,
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    client: Client<HttpConnector, Incoming>,
    rules: Mutex<Vec<(Rule, u64)>>,
    seen: Mutex<Vec<Seen>>,
    /// By operation: how many are under way, and how many were at most.
    at_once: Mutex<HashMap<Operation, (usize, usize)>>,
}

/// A request that is under way, until this is dropped.
struct UnderWay<'a>(&'a State, Operation);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.at_once).entry(self.1).or_default().0 -= 1;
    }
}

impl Proxy {
    /// Listens on a free loopback port, before the store at `upstream` (`http://HOST:PORT`).
    ///
    /// # Errors
    /// No port can be opened.
    pub async fn start(upstream: &str, rules: impl IntoIterator<Item = Rule>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            rules: Mutex::new(Vec::new()),
            seen: Mutex::new(Vec::new()),
            at_once: Mutex::default(),
        });
        let proxy = Self { address, task: tokio::spawn(run(listener, Arc::clone(&state))), state };
        proxy.set_rules(rules);
        Ok(proxy)
    }

    /// The endpoint to give to a client.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the rules; their counts start over.
    pub fn set_rules(&self, rules: impl IntoIterator<Item = Rule>) {
        *lock(&self.state.rules) = rules.into_iter().map(|rule| (rule, 0)).collect();
    }

    /// All requests so far, in the order they came.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// How many requests of `operation` came so far.
    #[must_use]
    pub fn count(&self, operation: Operation) -> usize {
        lock(&self.state.seen).iter().filter(|seen| seen.operation == operation).count()
    }

    /// How many requests of `operation` were under way at the same time, at most.
    #[must_use]
    pub fn most_at_once(&self, operation: Operation) -> usize {
        lock(&self.state.at_once).get(&operation).map_or(0, |(_, most)| *most)
    }

    /// How many requests met a fault so far. A test that expects faults asks this, so that it cannot pass without them.
    #[must_use]
    pub fn faults(&self) -> usize {
        lock(&self.state.seen).iter().filter(|seen| seen.fault.is_some()).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// Records the request and returns the fault to inject.
    fn judge(&self, request: &Request<Incoming>) -> Option<Fault> {
        let operation = Operation::parse(request.method(), request.uri().path(), request.uri().query());
        let mut fault = None;
        for (rule, count) in lock(&self.rules).iter_mut().filter(|(rule, _)| rule.operation.is_none_or(|only| only == operation)) {
            *count += 1;
            let applies = match rule.when {
                When::Always => true,
                When::First(requests) => *count <= requests,
                When::Every(period) => *count % period.get() == 0,
            };
            if applies && fault.is_none() {
                fault = Some(rule.fault);
            }
        }
        lock(&self.seen).push(Seen { operation, path: request.uri().path().to_owned(), fault });
        fault
    }

    fn begin(&self, operation: Operation) -> UnderWay<'_> {
        let mut at_once = lock(&self.at_once);
        let (now, most) = at_once.entry(operation).or_default();
        *now += 1;
        *most = (*most).max(*now);
        UnderWay(self, operation)
    }

    async fn answer(&self, request: Request<Incoming>, reset: &watch::Sender<bool>) -> Response<Body> {
        let _under_way = self.begin(Operation::parse(request.method(), request.uri().path(), request.uri().query()));
        let fault = self.judge(&request);
        match fault {
            Some(Fault::Answer(status)) => return refusal(request, status).await,
            Some(Fault::Reset) => return hang(reset).await,
            Some(Fault::Stall(time)) => {
                tokio::time::sleep(time).await;
                return hang(reset).await;
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::DropAnswer | Fault::Withhold(_)) | None => {}
        }
        let Ok(answer) = self.forward(request).await else { return hang(reset).await };
        if let Some(Fault::DropAnswer | Fault::Withhold(_)) = fault {
            // Read to its end, so that the store has surely done its work.
            let _ = answer.into_body().collect().await;
            if let Some(Fault::Withhold(time)) = fault {
                tokio::time::sleep(time).await;
            }
            return hang(reset).await;
        }
        answer.map(|body| body.boxed_unsync())
    }

    async fn forward(&self, mut request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("{}{path}", self.upstream).parse()?;
        *request.version_mut() = http::Version::HTTP_11;
        Ok(self.client.request(request).await?)
    }
}

/// An answer of S3's shape, after the body has been read: a client that still writes would see a reset instead.
async fn refusal(request: Request<Incoming>, status: StatusCode) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let code = match status {
        StatusCode::SERVICE_UNAVAILABLE => "SlowDown",
        StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
        StatusCode::FORBIDDEN => "AccessDenied",
        StatusCode::NOT_FOUND => "NoSuchKey",
        _ => "BadRequest",
    };
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>fault of the test</Message></Error>");
    let body = if head { empty() } else { Full::new(Bytes::from(xml)).map_err(never).boxed_unsync() };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/xml"));
    response
}

/// Asks the connection's task to reset it, and waits to be dropped with it.
async fn hang(reset: &watch::Sender<bool>) -> Response<Body> {
    reset.send_replace(true);
    std::future::pending().await
}

fn empty() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

fn never(never: Infallible) -> hyper::Error {
    match never {}
}

async fn run(listener: TcpListener, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(serve(socket, state));
    }
}

async fn serve(socket: TcpStream, state: Arc<State>) {
    // Closed with bytes still unsaid, the socket sends a reset and no orderly end.
    let _ = socket.set_zero_linger();
    let (reset, mut to_reset) = watch::channel(false);
    let service = service_fn(move |request| {
        let (state, reset) = (Arc::clone(&state), reset.clone());
        async move { Ok::<_, Infallible>(state.answer(request, &reset).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        _ = connection => {}
        _ = to_reset.wait_for(|reset| *reset) => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::Store;
    use aws_sdk_s3::error::ProvideErrorMetadata as _;
    use aws_sdk_s3::primitives::ByteStream;

    #[test]
    fn operations_are_told_apart() {
        for (method, path, query, expected) in [
            (Method::PUT, "/b/k.csv", Some("x-id=PutObject"), Operation::Put),
            (Method::POST, "/b/k.csv", Some("uploads"), Operation::Create),
            (Method::PUT, "/b/k.csv", Some("partNumber=1&uploadId=u"), Operation::Part),
            (Method::POST, "/b/k.csv", Some("uploadId=u"), Operation::Complete),
            (Method::DELETE, "/b/k.csv", Some("uploadId=u"), Operation::Abort),
            (Method::HEAD, "/b/k.csv", None, Operation::Head),
            (Method::POST, "/v1/namespaces/n/tables/t", None, Operation::CommitTable),
            (Method::POST, "/v1/namespaces/n/tables", None, Operation::Other),
            (Method::PUT, "/b", None, Operation::Other),
            (Method::GET, "/b", Some("uploads&prefix=k"), Operation::Other),
            (Method::DELETE, "/b/k.csv", None, Operation::Other),
        ] {
            assert_eq!(Operation::parse(&method, path, query), expected, "{method} {path} {query:?}");
        }
    }

    #[tokio::test]
    async fn faults_happen_as_the_rules_say() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = Store::embedded(dir.path()).await.expect("a server");
        store.client().create_bucket().bucket("faulty").send().await.expect("the bucket");
        let every_third = When::Every(NonZeroU64::new(3).expect("three"));
        let proxy = Proxy::start(&store.endpoint, [Rule::on(Operation::Put, every_third, Fault::Answer(StatusCode::SERVICE_UNAVAILABLE))]);
        let proxy = proxy.await.expect("a proxy");
        let direct = store.client();
        store.endpoint = proxy.endpoint();
        let client = store.client();
        let put = |key: &str| client.put_object().bucket("faulty").key(key).body(ByteStream::from_static(b"hello")).send();
        let there = |key: &str| {
            let head = direct.head_object().bucket("faulty").key(key).send();
            async move { head.await.is_ok() }
        };
        put("1").await.expect("the first passes");
        put("2").await.expect("the second passes");
        assert_eq!(put("3").await.expect_err("the third does not").code(), Some("SlowDown"));
        assert!(there("2").await && !there("3").await);

        for (key, fault, arrives) in [
            ("reset", Fault::Reset, false),
            ("stall", Fault::Stall(Duration::from_millis(20)), false),
            ("dropped", Fault::DropAnswer, true),
            ("withheld", Fault::Withhold(Duration::from_millis(20)), true),
        ] {
            proxy.set_rules([Rule::on(Operation::Put, When::First(1), fault)]);
            let error = put(key).await.expect_err("no answer");
            assert!(matches!(error, aws_sdk_s3::error::SdkError::DispatchFailure(_)), "{fault:?}: {error:?}");
            assert_eq!(there(key).await, arrives, "{fault:?}");
            put(key).await.expect("the rule is used up");
        }
        proxy.set_rules([Rule::on(Operation::Head, When::Always, Fault::Answer(StatusCode::FORBIDDEN))]);
        assert!(client.head_object().bucket("faulty").key("1").send().await.is_err());
        assert_eq!((proxy.count(Operation::Put), proxy.count(Operation::Head), proxy.faults()), (11, 1, 6));
        assert_eq!(proxy.seen()[2].path, "/faulty/3");
        store.stop().await;
    }
}
