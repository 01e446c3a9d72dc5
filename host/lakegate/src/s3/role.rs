//! A role, assumed at STS: on top of other credentials, or with a token that an identity provider signed.
//!
//! The SDK's own providers refuse an answer that does not tell the role's ARN, as MinIO's does not, and know no policy for the session of a
//! web identity.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::IdentityCache;
use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::operation::assume_role_with_web_identity::builders::AssumeRoleWithWebIdentityFluentBuilder;
use aws_sdk_sts::types::Credentials as Given;
use lakegate_base::file;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of the token of an identity provider; real ones have a few thousand.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// What is asked of STS.
#[derive(Debug)]
pub(super) struct AssumeRoleRequest<'a> {
    pub(super) role_arn: &'a str,
    pub(super) session_name: &'a str,
    /// Not asked with a token, which names its audience itself.
    pub(super) external_id: Option<&'a str>,
    /// A policy (JSON) that takes away from what the role may do.
    pub(super) policy: Option<&'a str>,
    pub(super) length: Duration,
}

/// Assumes the role anew each time it is asked.
#[derive(Debug)]
pub(super) enum Role {
    /// Requests are signed with other credentials.
    Signed(AssumeRoleFluentBuilder),
    /// Requests show the token that is in the file at that time: whoever issues tokens replaces them there.
    Token(AssumeRoleWithWebIdentityFluentBuilder, PathBuf),
}

impl Role {
    /// Requests go where `shared` says, signed with the credentials of `base`.
    pub(super) fn signed(shared: &SdkConfig, base: SharedCredentialsProvider, asked: &AssumeRoleRequest<'_>) -> Self {
        // Whoever asks keeps what it gets; `base` keeps its own.
        let config = shared.clone().into_builder().credentials_provider(base).identity_cache(IdentityCache::no_cache()).build();
        let request = aws_sdk_sts::Client::new(&config).assume_role().role_arn(asked.role_arn).role_session_name(asked.session_name);
        let request = request.set_external_id(asked.external_id.map(str::to_owned)).set_policy(asked.policy.map(str::to_owned));
        Self::Signed(request.duration_seconds(asked.seconds()))
    }

    /// Requests go where `shared` says, with the token in `file`.
    pub(super) fn with_token(shared: &SdkConfig, file: &Path, asked: &AssumeRoleRequest<'_>) -> Self {
        let request = aws_sdk_sts::Client::new(shared).assume_role_with_web_identity().role_arn(asked.role_arn);
        let request = request.role_session_name(asked.session_name).set_policy(asked.policy.map(str::to_owned));
        Self::Token(request.duration_seconds(asked.seconds()), file.to_owned())
    }

    async fn assume(&self) -> provider::Result {
        match self {
            Self::Signed(request) => {
                let answer = request.clone().send().await.map_err(CredentialsError::provider_error)?;
                credentials(answer.credentials, "AssumeRole")
            }
            Self::Token(request, file) => {
                let unread = |error| CredentialsError::invalid_configuration(format!("the token in {}: {error}", file.display()));
                // A file of the machine, of some kilobytes: nothing to wait for.
                let token = file::read_plain(file, MAX_TOKEN_BYTES).and_then(|token| String::from_utf8(token).map_err(io::Error::other));
                let token = token.map_err(unread)?;
                let answer = request.clone().web_identity_token(token.trim()).send().await.map_err(CredentialsError::provider_error)?;
                credentials(answer.credentials, "AssumeRoleWithWebIdentity")
            }
        }
    }
}

impl AssumeRoleRequest<'_> {
    fn seconds(&self) -> i32 {
        i32::try_from(self.length.as_secs()).unwrap_or(i32::MAX)
    }
}

fn credentials(given: Option<Given>, by: &'static str) -> provider::Result {
    let given = given.ok_or_else(|| CredentialsError::unhandled("STS answered without credentials"))?;
    let expiry = SystemTime::try_from(given.expiration).map_err(CredentialsError::unhandled)?;
    Ok(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), Some(expiry), by))
}

impl ProvideCredentials for Role {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}
