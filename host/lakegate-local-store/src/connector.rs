//! The store as an HTTP client of the AWS SDK: requests go to the service by function call, with no socket between. Signatures are made
//! and checked all the same.

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::header::{HOST, HeaderValue};
use s3s::service::S3Service;

/// Answers the SDK's requests from the embedded store.
#[derive(Debug, Clone)]
pub(super) struct InProcess {
    pub(super) service: S3Service,
}

impl InProcess {
    pub(super) fn into_client(self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self);
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.service.clone();
        HttpConnectorFuture::new(async move {
            let mut request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            // A socket client would add it; the signature covers it.
            if let Some(authority) = request.uri().authority().filter(|_| !request.headers().contains_key(HOST)) {
                let host = HeaderValue::from_str(authority.as_str()).map_err(|error| ConnectorError::user(error.into()))?;
                request.headers_mut().insert(HOST, host);
            }
            // An HTTP server would leave out the body of an answer to HEAD; the SDK reads an error's code from one that is there.
            let to_head = request.method() == http::Method::HEAD;
            let request = request.map(s3s::Body::http_body_unsync);
            let response = service.call(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            let response = response.map(|body| if to_head { SdkBody::empty() } else { SdkBody::from_body_1_x(body) });
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
