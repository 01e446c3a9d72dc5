//! The lines of `aws_debug`: one a request. Never headers, queries or bodies: these hold signatures, tokens and rows.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use http::Uri;
use std::sync::{Mutex, PoisonError};

/// Logs one attempt of one request.
#[derive(Debug)]
pub(super) struct RequestLog {
    pub(super) enabled: bool,
    pub(super) key: String,
    pub(super) attempt: u32,
    /// Method and host, noted before the request goes out: afterwards it is gone.
    pub(super) asked: Mutex<(String, String)>,
}

#[dyn_dispatch_hint]
impl Intercept for RequestLog {
    fn name(&self) -> &'static str {
        "RequestLog"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.enabled {
            let host = context.request().uri().parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
            let asked = (context.request().method().to_owned(), host.unwrap_or_default());
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.enabled {
            let answer = context.response();
            let (method, host) = &*self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            tracing::debug!(
                method,
                host,
                key = self.key,
                status = answer.map(|answer| answer.status().as_u16()),
                request_id = answer.and_then(|answer| answer.headers().get("x-amz-request-id")),
                attempt = self.attempt,
                "A request to the store."
            );
        }
        Ok(())
    }
}
