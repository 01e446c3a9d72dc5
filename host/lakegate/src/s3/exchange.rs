//! One attempt on the wire: where the request goes, and what the body of its answer says.

use super::failure::Failure;
use super::place::StoreLocation;
use super::retry::Attempt;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use http::Uri;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of one attempt. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redirect: Option<String>,
    /// The URL, once the request goes out.
    asked: Mutex<Option<Uri>>,
    /// That the answer was a success, and its body.
    success: Mutex<Option<(u16, Vec<u8>)>>,
}

impl Exchange {
    pub(super) fn new(attempt: &Attempt) -> Self {
        Self(Arc::new(Inner { redirect: attempt.redirect.clone(), asked: Mutex::default(), success: Mutex::default() }))
    }

    /// What it means that the attempt ended with `error`.
    pub(super) fn failed<E>(&self, error: &SdkError<E, HttpResponse>, place: &StoreLocation) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Failure::from_sdk(error, place, asked.as_ref())
    }

    /// The SDK reads no body where a success needs none. One that is an error or a web page makes the answer another than it seems.
    pub(super) fn confirm(&self, place: &StoreLocation) -> Result<(), Failure> {
        let success = self.0.success.lock().unwrap_or_else(PoisonError::into_inner);
        match success.as_ref().and_then(|(status, body)| Failure::in_success(*status, body, place)) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Exchange {
    fn name(&self) -> &'static str {
        "Exchange"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(url) = &self.0.redirect {
            context.request_mut().set_uri(url.as_str())?;
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = context.request().uri().parse().ok();
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let body = response.body().bytes().filter(|body| !body.is_empty());
        if response.status().is_success()
            && let Some(body) = body
        {
            let success = (response.status().as_u16(), body.to_vec());
            *self.0.success.lock().unwrap_or_else(PoisonError::into_inner) = Some(success);
        }
        Ok(())
    }
}
