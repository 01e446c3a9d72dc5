//! From a target to a client: endpoint, addressing, transport and credentials.

use super::failure::{Failure, Place, credentials_failure};
use super::inputs::{Checked, check_bucket_at, check_environment, check_target, refused};
use super::profiles::{self, Base, Roles};
use super::proxy::Proxies;
use super::role::{Asked, Role};
use super::secrets::Secrets;
use super::transport::{self, Verify, guarded};
use super::{ConnectOptions, StoreError, StoreErrorKind};
use crate::bindings::{CredentialSource, StorageTarget};
use crate::endpoint::Endpoint;
use crate::local_store::{ENDPOINT as EMBEDDED_ENDPOINT, LocalStore};
use aws_config::profile::ProfileFileCredentialsProvider;
#[expect(deprecated, reason = "see `of_profile`")]
use aws_config::profile::profile_file::ProfileFiles;
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
use aws_types::os_shim_internal::Env;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
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
    check_target(target)?;
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
        return Ok((Client::from_conf(common(builder, region, options).build()), place("the embedded store", false)));
    }

    let found = find(target, options).await?;
    let credentials = resolve(&found, &target.credentials, options, &secrets).await?;
    let mut builder = Builder::from(&found.shared)
        .http_client(found.strict.clone())
        .credentials_provider(credentials)
        .force_path_style(target.path_style);
    if let Some(endpoint) = &found.endpoint {
        builder = builder.endpoint_url(endpoint.url());
    }
    if target.skip_tls_verify {
        let lenient =
            transport::http_client(&options.environment, Verify::Nothing, options.limits.connect, options.meter.clone()).map_err(refuse)?;
        builder = builder.http_client(lenient);
    }
    let host = match &found.endpoint {
        None => format!("the S3 endpoint of the region {:?}", target.region),
        Some(endpoint) if !target.path_style && endpoint.is_virtual_host(&target.bucket) => {
            let (bucket, authority) = (&target.bucket, endpoint.authority());
            format!("{bucket}.{authority} (without `use_path_style`, the bucket stands in the host's name)")
        }
        Some(endpoint) => endpoint.authority().to_owned(),
    };
    Ok((Client::from_conf(common(builder, region, options).build()), place(&host, found.endpoint.is_some())))
}

/// Checks a target as [`client`] would, and sends nothing.
pub(super) async fn check(target: &StorageTarget, options: &ConnectOptions) -> Result<(), StoreError> {
    check_target(target)?;
    if options.embedded.is_none() {
        find(target, options).await?;
    }
    Ok(())
}

/// A target that cannot be used, or a machine on which it cannot be.
fn refuse(text: String) -> StoreError {
    Failure::lasting(StoreErrorKind::Rejected, text).into_error("connect", 1)
}

/// Where requests go, and what environment and shared files say besides.
struct Found {
    shared: SdkConfig,
    endpoint: Option<Endpoint>,
    /// The client for the store.
    strict: SharedHttpClient,
    /// The client for those who give credentials.
    guarded: SharedHttpClient,
    region: Region,
}

/// Reads environment and shared files, and checks what comes of them.
async fn find(target: &StorageTarget, options: &ConnectOptions) -> Result<Found, StoreError> {
    check_environment(options)?;
    let own = target.endpoint.as_deref().map(|url| endpoint_of("`endpoint`", url)).transpose()?;
    let region = Region::new(target.region.clone());
    let strict =
        transport::http_client(&options.environment, Verify::Strict, options.limits.connect, options.meter.clone()).map_err(refuse)?;
    #[cfg(test)]
    let strict = options.answers.clone().unwrap_or(strict);
    let guarded = guarded(strict.clone());
    let mut loader =
        aws_config::defaults(behavior()).region(region.clone()).http_client(guarded.clone()).time_source(options.clock.clone());
    #[cfg(test)]
    {
        loader = loader.env(options.environment.clone());
    }
    let profile = target.credentials.profile.as_deref();
    if profile.is_some() || options.credentials_file.is_some() {
        // A profile that is named wins over keys in the environment.
        loader = loader.credentials_provider(of_profile(
            profile.unwrap_or(DEFAULT_PROFILE),
            profiles::files(options),
            &guarded,
            &region,
            options,
        ));
    }
    if let (Some(profile), None) = (profile, &options.credentials_file) {
        loader = loader.profile_name(profile);
    }
    if let Some(given) = &options.credentials {
        loader = loader.credentials_provider(given.clone());
    }
    let shared = loader.load().await;
    let shared = if options.configured_endpoints { shared } else { without_endpoints(shared) };
    let endpoint = match own {
        Some(endpoint) => Some(endpoint),
        None => configured_endpoint(&shared).map(|url| endpoint_of(configured_by(&url, &options.environment), &url)).transpose()?,
    };
    check_bucket_at(&target.bucket, target.path_style, endpoint.as_ref())?;
    if let Some(url) = endpoint.as_ref().and_then(|endpoint| endpoint.url().parse().ok()) {
        Proxies::of(&options.environment).way(&url).map_err(|error| refuse(error.to_string()))?;
    }
    Ok(Found { shared, endpoint, strict, guarded, region })
}

/// What the endpoint is called that environment or shared files name.
fn configured_by(url: &str, environment: &Env) -> &'static str {
    let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].into_iter();
    names
        .into_iter()
        .find(|name| environment.get(name).is_ok_and(|value| value == url))
        .unwrap_or("`endpoint_url` of the shared config file")
}

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
fn common(builder: Builder, region: Region, options: &ConnectOptions) -> Builder {
    builder
        .region(region)
        .time_source(options.clock.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .identity_cache(IdentityCache::lazy().buffer_time(RENEW_EARLY).load_timeout(FIND_CREDENTIALS).build())
}

/// An endpoint; `name` is what it is called.
fn endpoint_of(name: &str, url: &str) -> Result<Endpoint, StoreError> {
    Endpoint::parse(url).map_err(|words| refused(format!("{name} {words}")))
}

/// The credentials of a profile: keys, role, SSO, web identity or process.
#[expect(deprecated, reason = "the only way to tell the provider its files; the replacement lives in a crate that is not ours to use")]
fn of_profile(
    profile: &str,
    files: ProfileFiles,
    client: &SharedHttpClient,
    region: &Region,
    options: &ConnectOptions,
) -> ProfileFileCredentialsProvider {
    let conf = ProviderConfig::without_region().with_region(Some(region.clone())).with_http_client(client.clone());
    let conf = conf.with_time_source(options.clock.clone());
    ProfileFileCredentialsProvider::builder().configure(&conf).profile_name(profile).profile_files(files).build()
}

/// What requests are signed with, before a role of the target: each hop on the way gives what the next can sign with.
async fn chain(found: &Found, source: &CredentialSource, options: &ConnectOptions) -> Result<SharedCredentialsProvider, CredentialsError> {
    let checked = |provider| SharedCredentialsProvider::new(Checked { provider, environment: options.environment.clone() });
    let default = || found.shared.credentials_provider().ok_or_else(|| CredentialsError::not_loaded("no provider"));
    let named = source.profile.as_deref().or(options.credentials_file.is_some().then_some(DEFAULT_PROFILE));
    let has_keys = options.environment.get("AWS_ACCESS_KEY_ID").is_ok_and(|id| !id.trim().is_empty());
    if options.credentials.is_some() || named.is_none() && has_keys {
        return Ok(checked(default()?));
    }
    let roles = profiles::roles(options, named).await.map_err(CredentialsError::invalid_configuration)?;
    let Some(Roles { base, hops }) = roles else { return Ok(checked(default()?)) };
    let of_profile = |name: &str, files| SharedCredentialsProvider::new(of_profile(name, files, &found.guarded, &found.region, options));
    let mut provider = checked(match base {
        Base::Keys(keys) => SharedCredentialsProvider::new(keys),
        Base::Profile(name) => of_profile(&name, profiles::files(options)),
        Base::Content(content) => of_profile(DEFAULT_PROFILE, profiles::content(content)),
    });
    for hop in &hops {
        let asked = Asked {
            role_arn: &hop.role_arn,
            session_name: hop.session_name.as_deref().unwrap_or(ROLE_SESSION_NAME),
            external_id: hop.external_id.as_deref(),
            policy: None,
            length: ROLE_SESSION,
        };
        provider = checked(SharedCredentialsProvider::new(Role::signed(&found.shared, provider, &asked)));
    }
    Ok(provider)
}

/// The first credentials, asked for now, so that a mistake shows before any row is read.
async fn resolve(found: &Found, source: &CredentialSource, options: &ConnectOptions, secrets: &Secrets) -> Result<Primed, StoreError> {
    let shared = &found.shared;
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
    let chain = async || chain(found, source, options).await.map_err(|error| failed(credentials_failure(&error)));
    let asked = source.role_arn.as_deref().map(|role_arn| Asked {
        role_arn,
        session_name: source.role_session_name.as_deref().unwrap_or(ROLE_SESSION_NAME),
        external_id: source.external_id.as_deref(),
        policy: options.session_policy.as_deref(),
        length: ROLE_SESSION,
    });
    let provider = match (asked, &options.web_identity_token_file) {
        (Some(asked), Some(file)) => SharedCredentialsProvider::new(Role::with_token(shared, file, &asked)),
        (Some(asked), None) => SharedCredentialsProvider::new(Role::signed(shared, chain().await?, &asked)),
        (None, _) => chain().await?,
    };
    let provider = SharedCredentialsProvider::new(Checked { provider, environment: options.environment.clone() });
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
