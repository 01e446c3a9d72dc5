//! The way to the collector: one request at a time, bounded in time and in what is read.

use crate::limits::{MAX_ANSWER_BYTES, REQUEST_TIME};
use crate::settings::Settings;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::sync::Arc;

/// What has become of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The collector has answered that it took it: with these bytes.
    Taken(Bytes),
    /// It will not take it at any later time.
    Refused(String),
    /// It may take it later.
    Later(String),
}

/// The way to the collector.
#[derive(Debug)]
pub(crate) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
}

impl Client {
    /// A client whose requests carry the headers of the settings. Reads the machine's certificates if the way is encrypted.
    ///
    /// # Errors
    /// Words, if TLS cannot be had.
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        if settings.is_encrypted() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let mut headers = settings.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("lakegate/", env!("CARGO_PKG_VERSION"))));
        Ok(Self { pool: Pool::builder(TokioExecutor::new()).build(connector), headers })
    }

    /// Sends a message.
    pub(crate) async fn send(&self, to: &Uri, message: Vec<u8>) -> Answer {
        tokio::time::timeout(REQUEST_TIME, self.exchange(to, message))
            .await
            .unwrap_or_else(|_| Answer::Later(format!("no answer within {REQUEST_TIME:?}")))
    }

    async fn exchange(&self, to: &Uri, message: Vec<u8>) -> Answer {
        let mut request = Request::new(Full::new(Bytes::from(message)));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (Method::POST, to.clone(), self.headers.clone());
        let response = match self.pool.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Later(cause(&error)),
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        match (status, body) {
            (
                StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT,
                _,
            ) => Answer::Later(format!("it answered {status}")),
            (status, _) if !status.is_success() => Answer::Refused(format!("it answered {status}")),
            (_, Ok(body)) => Answer::Taken(body.to_bytes()),
            (_, Err(_)) => Answer::Refused("its answer cannot be read".to_owned()),
        }
    }
}

/// The innermost cause, which says most.
fn cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
