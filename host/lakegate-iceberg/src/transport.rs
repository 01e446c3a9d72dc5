//! How requests reach a catalog: a trait, and its implementation over HTTP/1.1 and TLS.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// Sends requests. It follows no redirects and repeats nothing: what an answer means is decided by who asked.
#[async_trait]
pub trait Transport: Debug + Send + Sync {
    /// Sends a request and gathers the answer, of which at most so many bytes are read.
    ///
    /// # Errors
    /// [`TransportError`].
    async fn send(&self, request: Request<Bytes>, most_bytes: usize) -> Result<Response<Bytes>, TransportError>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request was not sent: nobody there has seen it.
    #[error("it is not reached: {0}")]
    NotSent(String),
    /// It may have been seen, and there is no whole answer.
    #[error("its answer did not come: {0}")]
    NoAnswer(String),
    /// It was seen, and the answer has more bytes than are read.
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Idle connections are given up before common load balancers do (60 s).
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// HTTP/1.1 over TCP, and over TLS with the authorities of the machine. Proxies are not used: a program that needs one brings a [`Transport`].
#[derive(Debug, Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    limit: Duration,
}

impl Http {
    /// A client with an address of its own for each catalog. `limit` is for a whole request, from the connection to the last byte of its answer.
    ///
    /// # Errors
    /// A message, if TLS cannot be set up.
    pub fn new(limit: Duration) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with_roots(roots, limit)
    }

    /// The same with authorities of the caller's.
    ///
    /// # Errors
    /// As [`Http::new`].
    pub fn with_roots(roots: RootCertStore, limit: Duration) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let tls = tls.with_root_certificates(roots).with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_CONNECTION).build(https);
        Ok(Self { client, limit })
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request<Bytes>, most_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let sending = async {
            let answer = self.client.request(request.map(Full::new)).await;
            let answer = answer.map_err(|error| match error.is_connect() {
                true => TransportError::NotSent(with_causes(&error)),
                false => TransportError::NoAnswer(with_causes(&error)),
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, most_bytes).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
                true => TransportError::TooLarge(most_bytes),
                false => TransportError::NoAnswer(with_causes(&*error)),
            })?;
            Ok::<_, TransportError>(Response::from_parts(head, body.to_bytes()))
        };
        // Whether anything was sent by then cannot be told.
        let late = |_| Err(TransportError::NoAnswer(format!("not within {} s", self.limit.as_secs_f32())));
        tokio::time::timeout(self.limit, sending).await.unwrap_or_else(late)
    }
}

/// An error and its causes.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What a server does with a connection, after it has read a request.
    #[derive(Debug, Clone, Copy)]
    enum Does {
        Answers(&'static str),
        /// Goes on without an end.
        NeverStops(&'static str),
        /// One byte now and then.
        Drips(&'static str),
        SaysNothing,
        HangsUp,
    }

    /// A server's address, and how many connections it had.
    async fn server(does: Does) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let _ = socket.read(&mut [0; 4_096]).await;
                    match does {
                        Does::Answers(text) => drop(socket.write_all(text.as_bytes()).await),
                        Does::NeverStops(head) => {
                            let _ = socket.write_all(head.as_bytes()).await;
                            while socket.write_all(&[b'['; 4_096]).await.is_ok() {}
                        }
                        Does::Drips(head) => {
                            let _ = socket.write_all(head.as_bytes()).await;
                            while socket.write_all(b"[").await.is_ok() {
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                        }
                        Does::SaysNothing => std::future::pending().await,
                        Does::HangsUp => {}
                    }
                });
            }
        });
        (format!("http://{address}/v1/config"), count)
    }

    async fn sent(uri: &str, limit: Duration) -> Result<Response<Bytes>, TransportError> {
        let request = Request::get(uri).body(Bytes::new()).unwrap();
        Http::new(limit).unwrap().send(request, 100_000).await
    }

    #[tokio::test]
    async fn an_answer_has_bounds_of_bytes_and_time() {
        const LIMIT: Duration = Duration::from_millis(500);
        const ENDLESS: &str = "HTTP/1.1 200 OK\r\n\r\n";
        const CLAIMS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
        for (does, is_expected) in [
            (Does::NeverStops(ENDLESS), (|it| it == TransportError::TooLarge(100_000)) as fn(TransportError) -> bool),
            (Does::NeverStops(CLAIMS), |it| it == TransportError::TooLarge(100_000)),
            (Does::NeverStops("HTTP/1.1 200 OK\r\nx: "), |it| matches!(it, TransportError::NoAnswer(_))),
            (Does::Drips(ENDLESS), |it| matches!(it, TransportError::NoAnswer(why) if why.contains("not within 0.5 s"))),
            (Does::SaysNothing, |it| matches!(it, TransportError::NoAnswer(_))),
            (Does::HangsUp, |it| matches!(it, TransportError::NoAnswer(_))),
            (Does::Answers("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}"), |it| matches!(it, TransportError::NoAnswer(_))),
            (Does::Answers("hello"), |it| matches!(it, TransportError::NoAnswer(_))),
        ] {
            let (uri, _) = server(does).await;
            let error = sent(&uri, LIMIT).await.unwrap_err();
            assert!(is_expected(error.clone()), "{does:?}: {error:?}");
        }
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(matches!(sent(&format!("http://{gone}/"), LIMIT).await, Err(TransportError::NotSent(_))));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_nobody_follows_it() {
        let (elsewhere, visits) = server(Does::Answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).await;
        let redirect: &'static str = format!("HTTP/1.1 307 Away\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n").leak();
        let (uri, _) = server(Does::Answers(redirect)).await;
        assert_eq!(sent(&uri, Duration::from_secs(5)).await.unwrap().status(), 307);
        assert_eq!(visits.load(Ordering::Relaxed), 0);
        // The server would have noticed.
        assert_eq!(sent(&elsewhere, Duration::from_secs(5)).await.unwrap().body().as_ref(), b"{}");
        assert_eq!(visits.load(Ordering::Relaxed), 1);
    }
}
