//! Headers that every request of a client has, whatever it asks for: added in one place, so that no request can lack them.

use crate::storage::target::StorageTarget;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// See the module.
#[derive(Debug)]
pub(super) struct EveryRequest {
    expected_bucket_owner: Option<String>,
    requester_pays: bool,
}

impl EveryRequest {
    pub(super) fn from_target(target: &StorageTarget) -> Self {
        Self { expected_bucket_owner: target.expected_bucket_owner.clone(), requester_pays: target.requester_pays }
    }
}

#[dyn_dispatch_hint]
impl Intercept for EveryRequest {
    fn name(&self) -> &'static str {
        "EveryRequest"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        if let Some(owner) = &self.expected_bucket_owner {
            headers.try_insert("x-amz-expected-bucket-owner", owner.clone())?;
        }
        if self.requester_pays {
            headers.try_insert("x-amz-request-payer", "requester")?;
        }
        Ok(())
    }
}
