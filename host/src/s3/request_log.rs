//! The lines of `aws_debug`: one a request. Never headers, queries or bodies: these hold signatures, tokens and rows.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use http::Uri;

/// Logs one attempt of one request.
#[derive(Debug)]
pub(super) struct RequestLog {
    pub(super) enabled: bool,
    pub(super) key: String,
    pub(super) attempt: u32,
}

#[dyn_dispatch_hint]
impl Intercept for RequestLog {
    fn name(&self) -> &'static str {
        "RequestLog"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(request) = context.request().filter(|_| self.enabled) else { return Ok(()) };
        let uri = request.uri().parse::<Uri>().ok();
        let answer = context.response();
        tracing::debug!(
            method = request.method(),
            host = uri.as_ref().and_then(Uri::host).unwrap_or_default(),
            key = self.key,
            status = answer.map(|answer| answer.status().as_u16()),
            request_id = answer.and_then(|answer| answer.headers().get("x-amz-request-id")),
            attempt = self.attempt,
            "A request to the store."
        );
        Ok(())
    }
}
