//! The headers of an object, taken from the requests that would be sent: they are made and signed as any, and answered within the process.

use super::client::S3Client;
use super::options::ConnectOptions;
use crate::payload::body::{Payload, Piece};
use crate::policy::authorize::Policy;
use crate::storage::headers::TableHeaders;
use crate::storage::object::PutObject;
use crate::storage::target::{CredentialSource, StorageTarget};
use crate::store::answer::{StoreError, StoreErrorKind};
use crate::store::traits::Store;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Headers that say nothing of the object: they carry, sign or count the request.
const OF_THE_REQUEST: [&str; 11] = [
    "accept",
    "accept-encoding",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "host",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-user-agent",
];

/// Answers every put with success, and keeps its headers.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

impl HttpConnector for Recorder {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let headers = request.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(headers);
        let answer = http::Response::builder().header("etag", "\"sample\"").body(SdkBody::empty());
        let answer = answer.map_err(|error| ConnectorError::other(error.into(), None));
        let answer = answer.and_then(|answer| HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None)));
        HttpConnectorFuture::ready(answer)
    }
}

impl ConnectOptions {
    /// The headers that `put` is sent with, in the order of their names; without a value, one that each object has of its own (a checksum, a
    /// token). Placeholders of tables stay as they are. Environment and shared files are read as for any put, but for credentials. Nothing is sent.
    ///
    /// # Errors
    /// [`StoreError`] if the target cannot be used.
    pub async fn headers_of(&self, target: &StorageTarget, put: &PutObject) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let recorder = Recorder::default();
        let answering = recorder.clone();
        let options = Self {
            in_process: None,
            answers: Some(http_client_fn(move |_, _| SharedHttpConnector::new(answering.clone()))),
            credentials: Some(SharedCredentialsProvider::new(Credentials::new("none", "none", None, None, "sample"))),
            credentials_file: None,
            web_identity_token_file: None,
            ..self.clone()
        };
        let CredentialSource { profile, .. } = target.credentials.clone();
        // A profile may say how objects are sent. A role is not assumed, and certificates are not looked at.
        let credentials = CredentialSource { profile, ..CredentialSource::default() };
        let target = StorageTarget { credentials, skip_tls_verify: false, ..target.clone() };
        let refused = |message| StoreError { kind: StoreErrorKind::Denied, message };
        let put = TableHeaders::new(&target.tags, &target.metadata).unmade_on(put.clone());
        let put = Policy::for_user().authorize(put).map_err(|denied| refused(denied.message))?;
        let client = S3Client::connect(&target, &options).await?;
        // Two objects of different bytes: what differs between them is each one's own.
        for body in [Payload::default(), Payload::new(vec![Piece::Memory(Bytes::from_static(b"\n"))])] {
            client.put(&put, body).await?;
        }
        let mut sent = std::mem::take(&mut *recorder.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter();
        let (first, second) = (sent.next().unwrap_or_default(), sent.next().unwrap_or_default());
        let of_object = first.into_iter().filter(|(name, _)| !OF_THE_REQUEST.contains(&name.as_str()));
        let shared = |(name, value): (String, String)| {
            let is_shared = second.get(&name) == Some(&value);
            // Tags are encoded, and so are the braces of placeholders there.
            let readable = |value: String| value.replace("%7B%7B", "{{").replace("%7D%7D", "}}");
            (name, is_shared.then_some(value).map(readable))
        };
        Ok(of_object.map(shared).collect())
    }
}
