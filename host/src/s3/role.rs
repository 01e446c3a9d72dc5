//! A role, assumed at STS on top of other credentials.
//!
//! The SDK's own provider refuses an answer that does not tell the role's ARN, as MinIO's does not; nothing here needs it.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::IdentityCache;
use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use std::time::{Duration, SystemTime};

/// What is asked of STS.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) role_arn: &'a str,
    pub(super) session_name: &'a str,
    pub(super) external_id: Option<&'a str>,
    /// A policy (JSON) that takes away from what the role may do.
    pub(super) policy: Option<&'a str>,
    pub(super) length: Duration,
}

/// Assumes the role anew each time it is asked.
#[derive(Debug)]
pub(super) struct Role(AssumeRoleFluentBuilder);

impl Role {
    /// Requests go where `shared` says, signed with the credentials of `base`.
    pub(super) fn new(shared: &SdkConfig, base: SharedCredentialsProvider, asked: &Asked<'_>) -> Self {
        // Whoever asks keeps what it gets; `base` keeps its own.
        let config = shared.clone().into_builder().credentials_provider(base).identity_cache(IdentityCache::no_cache()).build();
        let request = aws_sdk_sts::Client::new(&config).assume_role().role_arn(asked.role_arn).role_session_name(asked.session_name);
        let seconds = i32::try_from(asked.length.as_secs()).unwrap_or(i32::MAX);
        let request = request.set_external_id(asked.external_id.map(str::to_owned)).set_policy(asked.policy.map(str::to_owned));
        Self(request.duration_seconds(seconds))
    }

    async fn assume(&self) -> provider::Result {
        let answer = self.0.clone().send().await.map_err(CredentialsError::provider_error)?;
        let given = answer.credentials.ok_or_else(|| CredentialsError::unhandled("STS answered without credentials"))?;
        let expiry = SystemTime::try_from(given.expiration).map_err(CredentialsError::unhandled)?;
        Ok(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), Some(expiry), "AssumeRole"))
    }
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}
