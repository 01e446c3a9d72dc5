//! A proxy on a loopback port that records every request whole (method, path, query, headers, body) and passes it on to a store.
//!
//! Signed requests pass unchanged, so the store must accept another host name, as the embedded store does. A body is read to its end before it is
//! passed on.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::faults::Operation;

/// A request as it was sent.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Names in lower case and values, in the order of the names.
    pub headers: Vec<(String, String)>,
    /// The bytes after the headers.
    pub body: Bytes,
}

impl Recorded {
    /// What it asks for.
    #[must_use]
    pub fn operation(&self) -> Operation {
        Operation::parse(&self.method, self.uri.path(), self.uri.query())
    }
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    requests: Mutex<Vec<Recorded>>,
}

impl Recorder {
    /// Listens on a free loopback port, before the store at `upstream` (`http://HOST:PORT`).
    ///
    /// # Errors
    /// No port can be opened.
    pub async fn start(upstream: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let state = Arc::new(State { upstream: upstream.trim_end_matches('/').to_owned(), client, requests: Mutex::default() });
        Ok(Self { address, task: tokio::spawn(run(listener, Arc::clone(&state))), state })
    }

    /// The endpoint to give to a client.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests since the last call, in the order in which they had come whole.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.state.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        self.record(&head, body.clone());
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("{}{path}", self.upstream).parse()?;
        let (head, body) = self.client.request(Request::from_parts(head, Full::new(body))).await?.into_parts();
        Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
    }

    fn record(&self, head: &http::request::Parts, body: Bytes) {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut headers: Vec<(String, String)> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        headers.sort();
        let recorded = Recorded { method: head.method.clone(), uri: head.uri.clone(), headers, body };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
    }
}

async fn run(listener: TcpListener, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(socket, Arc::clone(&state)));
    }
}

async fn serve(socket: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move {
            // A store that does not answer is a bad gateway, which no test expects.
            let answer = state.answer(request).await.unwrap_or_else(|error| {
                let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            });
            Ok::<_, Infallible>(answer)
        }
    });
    // A connection that the client has left is no concern of the store.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::Store;
    use aws_sdk_s3::primitives::ByteStream;

    #[tokio::test]
    async fn a_request_is_recorded_whole_and_carried_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = Store::embedded(dir.path()).await.expect("a server");
        store.client().create_bucket().bucket("recorded").send().await.expect("the bucket");
        let direct = store.client();
        let recorder = Recorder::start(&store.endpoint).await.expect("a port");
        store.endpoint = recorder.endpoint();
        let put = store.client().put_object().bucket("recorded").key("a/b").metadata("m", "1").body(ByteStream::from_static(b"hello"));
        put.send().await.expect("it passes");
        assert_eq!(direct.head_object().bucket("recorded").key("a/b").send().await.expect("it is there").content_length(), Some(5));
        let requests = recorder.take();
        let [request] = requests.as_slice() else { panic!("{requests:?}") };
        assert_eq!((request.operation(), request.uri.path(), &*request.body), (Operation::Put, "/recorded/a/b", &b"hello"[..]));
        assert!(request.headers.contains(&("x-amz-meta-m".to_owned(), "1".to_owned())), "{request:?}");
        assert!(recorder.take().is_empty());
        store.stop().await;
    }
}
