//! From a target to a client: endpoint, addressing, transport and credentials.

use super::failure::{Failure, Place, credentials_failure};
use super::role::{Asked, Role};
use super::secrets::Secrets;
use super::transport::{self, Verify};
use super::{ConnectOptions, StoreError, StoreErrorKind};
use crate::bindings::{CredentialSource, StorageTarget};
use crate::local_store::{ENDPOINT as EMBEDDED_ENDPOINT, LocalStore};
use aws_config::profile::ProfileFileCredentialsProvider;
#[expect(deprecated, reason = "see `of_profile`")]
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, IdentityCache, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use http::Uri;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a role is assumed for.
const ROLE_SESSION: Duration = Duration::from_secs(3_600);

/// The role session's name where the spec gives none.
const ROLE_SESSION_NAME: &str = "lakegate";

/// The profile of a file where none is named.
const DEFAULT_PROFILE: &str = "default";

/// Credentials are renewed at least five minutes before they expire, so that none expires on its way. The SDK shortens the time it is told
/// by up to half, at random, so that many processes do not renew at once: hence twice that.
const RENEW_EARLY: Duration = Duration::from_secs(2 * 300);

/// Time to find credentials: the instance metadata service alone may take some seconds, an SSO portal or a credential process more.
const FIND_CREDENTIALS: Duration = Duration::from_secs(30);

fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The SDK's client for a target, and where it goes.
pub(super) async fn client(target: &StorageTarget, options: &ConnectOptions) -> Result<(Client, Place), StoreError> {
    let region = Region::new(target.region.clone());
    let secrets = Secrets::default();
    let place = |host: &str, is_endpoint| Place {
        secrets: secrets.clone(),
        bucket: target.bucket.clone(),
        region: target.region.clone(),
        host: host.to_owned(),
        is_endpoint,
    };
    if let Some(store) = &options.embedded {
        if options.create_bucket {
            store.create_bucket(&target.bucket).map_err(|error| StoreError {
                kind: StoreErrorKind::Rejected,
                message: format!("the bucket {:?} cannot be made in the embedded store: {error}", target.bucket),
            })?;
        }
        let builder = Builder::new()
            .behavior_version(behavior())
            .http_client(store.connector())
            .credentials_provider(LocalStore::credentials())
            .endpoint_url(EMBEDDED_ENDPOINT)
            .force_path_style(true);
        return Ok((Client::from_conf(common(builder, region).build()), place("the embedded store", false)));
    }

    let own = target.endpoint.as_deref().map(|endpoint| endpoint_host("`endpoint`", endpoint)).transpose()?;
    let refuse = |text: String| Failure::lasting(StoreErrorKind::Rejected, text).into_error("connect", 1);
    let strict =
        transport::http_client(&options.environment, Verify::Strict, options.limits.connect, options.meter.clone()).map_err(refuse)?;
    let mut loader = aws_config::defaults(behavior()).region(region.clone()).http_client(strict.clone());
    #[cfg(test)]
    {
        loader = loader.env(options.environment.clone());
    }
    let profile = target.credentials.profile.as_deref();
    if profile.is_some() || options.credentials_file.is_some() {
        // A profile that is named wins over keys in the environment.
        loader = loader.credentials_provider(of_profile(profile.unwrap_or(DEFAULT_PROFILE), strict, region.clone(), options));
    }
    if let (Some(profile), None) = (profile, &options.credentials_file) {
        loader = loader.profile_name(profile);
    }
    if let Some(given) = &options.credentials {
        loader = loader.credentials_provider(given.clone());
    }
    let shared = loader.load().await;
    let credentials = resolve(&shared, &target.credentials, options, &secrets).await?;

    let shared = if options.configured_endpoints { shared } else { without_endpoints(shared) };
    let host = match own {
        Some(host) => Some(host),
        None => configured_endpoint(&shared).map(|endpoint| endpoint_host(CONFIGURED, &endpoint)).transpose()?,
    };
    let mut builder = Builder::from(&shared).credentials_provider(credentials).force_path_style(target.path_style);
    if let Some(endpoint) = &target.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if target.skip_tls_verify {
        let lenient =
            transport::http_client(&options.environment, Verify::Nothing, options.limits.connect, options.meter.clone()).map_err(refuse)?;
        builder = builder.http_client(lenient);
    }
    Ok((
        Client::from_conf(common(builder, region).build()),
        place(host.as_deref().unwrap_or("the S3 endpoint of the region"), host.is_some()),
    ))
}

/// What an endpoint is called that the spec does not name.
const CONFIGURED: &str = "the endpoint of the environment or profile (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, endpoint_url)";

/// The endpoint that environment or shared files name, found as the SDK finds it.
fn configured_endpoint(shared: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
    let of_service = shared.service_config().and_then(|config| config.load_config(key));
    of_service.or_else(|| shared.endpoint_url().map(str::to_owned))
}

/// The same without any endpoint that environment or files name, for it or for all.
fn without_endpoints(shared: SdkConfig) -> SdkConfig {
    let mut builder = shared.into_builder().service_config(NothingConfigured);
    builder.set_endpoint_url(None);
    builder.build()
}

/// No setting of a service's own.
#[derive(Debug)]
struct NothingConfigured;

impl LoadServiceConfig for NothingConfigured {
    fn load_config(&self, _: ServiceConfigKey<'_>) -> Option<String> {
        None
    }
}

/// What every client has: no retries, checksums or time limits but ours.
fn common(builder: Builder, region: Region) -> Builder {
    builder
        .region(region)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .identity_cache(IdentityCache::lazy().buffer_time(RENEW_EARLY).load_timeout(FIND_CREDENTIALS).build())
}

/// The host (and port) of an endpoint; `name` is what it is called.
fn endpoint_host(name: &str, endpoint: &str) -> Result<String, StoreError> {
    let uri = endpoint.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let authority =
        uri.as_ref().and_then(Uri::authority).filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    match authority {
        Some(authority) => Ok(authority.to_string()),
        None => Err(StoreError {
            kind: StoreErrorKind::Rejected,
            message: format!("{name} is not usable: it has to be a URL as in https://store.example:9000, without user or password"),
        }),
    }
}

/// The credentials of a profile: keys, role, SSO, web identity or process.
#[expect(deprecated, reason = "the only way to tell the provider its files; the replacement lives in a crate that is not ours to use")]
fn of_profile(profile: &str, client: SharedHttpClient, region: Region, options: &ConnectOptions) -> ProfileFileCredentialsProvider {
    let conf = ProviderConfig::without_region().with_region(Some(region)).with_http_client(client);
    let variable = |name| options.environment.get(name).ok();
    let files = ProfileFiles::builder();
    let files = if let Some(file) = &options.credentials_file {
        files.with_file(ProfileFileKind::Credentials, file)
    } else {
        let files = match variable("AWS_CONFIG_FILE") {
            Some(path) => files.with_file(ProfileFileKind::Config, path),
            None => files.include_default_config_file(true),
        };
        match variable("AWS_SHARED_CREDENTIALS_FILE") {
            Some(path) => files.with_file(ProfileFileKind::Credentials, path),
            None => files.include_default_credentials_file(true),
        }
    };
    ProfileFileCredentialsProvider::builder().configure(&conf).profile_name(profile).profile_files(files.build()).build()
}

/// The first credentials, asked for now, so that a mistake shows before any row is read.
async fn resolve(shared: &SdkConfig, source: &CredentialSource, options: &ConnectOptions, secrets: &Secrets) -> Result<Primed, StoreError> {
    let failed = |failure: Failure| StoreError {
        kind: StoreErrorKind::Denied,
        message: {
            let message = failure.into_error("connect", 1).message;
            match (&options.credentials_file, &source.profile) {
                (Some(file), profile) => {
                    format!("{message} (profile {:?} of {})", profile.as_deref().unwrap_or(DEFAULT_PROFILE), file.display())
                }
                (None, Some(profile)) => format!("{message} (profile {profile:?})"),
                (None, None) => message,
            }
        },
    };
    let chain = || {
        let missing = || failed(credentials_failure(&CredentialsError::not_loaded("no provider")));
        shared.credentials_provider().ok_or_else(missing)
    };
    let asked = source.role_arn.as_deref().map(|role_arn| Asked {
        role_arn,
        session_name: source.role_session_name.as_deref().unwrap_or(ROLE_SESSION_NAME),
        external_id: source.external_id.as_deref(),
        policy: options.session_policy.as_deref(),
        length: ROLE_SESSION,
    });
    let provider = match (asked, &options.web_identity_token_file) {
        (Some(asked), Some(file)) => SharedCredentialsProvider::new(Role::with_token(shared, file, &asked)),
        (Some(asked), None) => SharedCredentialsProvider::new(Role::signed(shared, chain()?, &asked)),
        (None, _) => chain()?,
    };
    let first = match tokio::time::timeout(FIND_CREDENTIALS, provider.provide_credentials()).await {
        Ok(Ok(credentials)) => credentials,
        Ok(Err(error)) => return Err(failed(credentials_failure(&error))),
        Err(_) => return Err(failed(credentials_failure(&CredentialsError::provider_timed_out(FIND_CREDENTIALS)))),
    };
    secrets.remember(&first);
    Ok(Primed { first: Mutex::new(Some(first)), provider, secrets: secrets.clone() })
}

/// A provider whose first answer is known already. Its answers are remembered, so that no store can have us repeat them.
#[derive(Debug)]
struct Primed {
    first: Mutex<Option<Credentials>>,
    provider: SharedCredentialsProvider,
    secrets: Secrets,
}

impl ProvideCredentials for Primed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(first) => future::ProvideCredentials::ready(Ok(first)),
            None => future::ProvideCredentials::new(async {
                let credentials = self.provider.provide_credentials().await?;
                self.secrets.remember(&credentials);
                Ok(credentials)
            }),
        }
    }
}
