//! From a target to a client: endpoint, addressing, transport and credentials.

use super::clock::Clock;
use super::credentials::Renewable;
use super::failure::{Failure, Place, credentials_failure};
use super::role::{Asked, Role};
use super::transport::{self, Verify};
use super::{Checksums, ConnectOptions, StoreError, StoreErrorKind};
use crate::bindings::{CredentialSource, StorageTarget};
use crate::local_store::{ENDPOINT as EMBEDDED_ENDPOINT, LocalStore};
use aws_config::profile::ProfileFileCredentialsProvider;
#[expect(deprecated, reason = "see `of_profile`")]
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::ReconnectMode;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use futures::FutureExt;
use http::Uri;
use std::time::Duration;

/// How long a role is assumed for.
const ROLE_SESSION: Duration = Duration::from_secs(3_600);

/// The role session's name where the spec gives none.
const ROLE_SESSION_NAME: &str = "lakegate";

/// The profile of a file where none is named.
const DEFAULT_PROFILE: &str = "default";

/// Whether AWS's SDKs send checksums that no operation demands, by the environment; profiles have a setting of the same name.
const CHECKSUM_VARIABLE: &str = "AWS_REQUEST_CHECKSUM_CALCULATION";

fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The SDK's client for a target, and what goes with it.
pub(super) struct Connection {
    pub(super) sdk: Client,
    pub(super) place: Place,
    pub(super) checksums: Checksums,
    /// Of any store but the embedded one.
    pub(super) credentials: Option<Renewable>,
    pub(super) clock: Clock,
}

/// Finds the way to a target.
pub(super) async fn client(target: &StorageTarget, options: &ConnectOptions) -> Result<Connection, StoreError> {
    let clock = Clock::default();
    let region = Region::new(target.region.clone());
    let place = |host: &str, is_endpoint| Place {
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
        return Ok(Connection {
            sdk: Client::from_conf(common(builder, region, &clock).build()),
            place: place("the embedded store", false),
            checksums: checksums(target, options, None)?,
            credentials: None,
            clock,
        });
    }

    let own = target.endpoint.as_deref().map(|endpoint| endpoint_host("`endpoint`", endpoint)).transpose()?;
    let refuse = |text: String| Failure::lasting(StoreErrorKind::Rejected, text).into_error("connect", 1);
    let strict = transport::http_client(&options.environment, Verify::Strict, options.limits.connect).map_err(refuse)?;
    let shared = shared_config(target, options, strict.clone()).await;
    let checksums = checksums(target, options, Some(&shared))?;
    let credentials = resolve(&shared, target, options, strict).await?;

    let shared = if options.configured_endpoints { shared } else { without_endpoints(shared) };
    let host = match own {
        Some(host) => Some(host),
        None => configured_endpoint(&shared).map(|endpoint| endpoint_host(CONFIGURED, &endpoint)).transpose()?,
    };
    let mut builder = Builder::from(&shared).credentials_provider(credentials.clone()).force_path_style(target.path_style);
    builder = builder.identity_cache(credentials.clone());
    if let Some(endpoint) = &target.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if target.skip_tls_verify {
        let lenient = transport::http_client(&options.environment, Verify::Nothing, options.limits.connect).map_err(refuse)?;
        builder = builder.http_client(lenient);
    }
    Ok(Connection {
        sdk: Client::from_conf(common(builder, region, &clock).build()),
        place: place(host.as_deref().unwrap_or("the S3 endpoint of the region"), host.is_some()),
        checksums,
        credentials: Some(credentials),
        clock,
    })
}

/// What environment and shared files say, as they are now.
async fn shared_config(target: &StorageTarget, options: &ConnectOptions, strict: SharedHttpClient) -> SdkConfig {
    let region = Region::new(target.region.clone());
    let mut loader = aws_config::defaults(behavior()).region(region.clone()).http_client(strict.clone());
    #[cfg(test)]
    {
        loader = loader.env(options.environment.clone());
    }
    let profile = target.credentials.profile.as_deref();
    if profile.is_some() || options.credentials_file.is_some() {
        // A profile that is named wins over keys in the environment.
        loader = loader.credentials_provider(of_profile(profile.unwrap_or(DEFAULT_PROFILE), strict, region, options));
    }
    if let (Some(profile), None) = (profile, &options.credentials_file) {
        loader = loader.profile_name(profile);
    }
    if let Some(given) = &options.credentials {
        loader = loader.credentials_provider(given.clone());
    }
    loader.load().await
}

/// Whether bytes are sent with a CRC32: as the spec says; else as the embedder says; else as environment and profile do.
fn checksums(target: &StorageTarget, options: &ConnectOptions, shared: Option<&SdkConfig>) -> Result<Checksums, StoreError> {
    let refuse = |message: String| Err(StoreError { kind: StoreErrorKind::Rejected, message });
    match target.checksum_algorithm.as_deref() {
        Some("crc32") => return Ok(Checksums::Auto),
        Some("none") => return Ok(Checksums::None),
        Some(other) => return refuse(format!("`checksum_algorithm: {other:?}` is not known; crc32 and none are")),
        None => {}
    }
    let (Checksums::Auto, Some(shared)) = (options.checksums, shared) else { return Ok(options.checksums) };
    let variable = options.environment.get(CHECKSUM_VARIABLE).unwrap_or_default();
    if !variable.is_empty() && !["when_supported", "when_required"].iter().any(|known| variable.eq_ignore_ascii_case(known)) {
        return refuse(format!("{CHECKSUM_VARIABLE}: {variable:?} is neither when_supported nor when_required"));
    }
    let asked = shared.request_checksum_calculation();
    Ok(if asked == Some(RequestChecksumCalculation::WhenRequired) { Checksums::None } else { Checksums::Auto })
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

/// What every client has: no retries, checksums or time limits but ours. Connections that a server's fault came over are dropped by the
/// transport.
fn common(builder: Builder, region: Region, clock: &Clock) -> Builder {
    builder
        .region(region)
        .time_source(clock.clone())
        .retry_config(RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReuseAllConnections))
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
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
async fn resolve(
    shared: &SdkConfig,
    target: &StorageTarget,
    options: &ConnectOptions,
    strict: SharedHttpClient,
) -> Result<Renewable, StoreError> {
    let provider = provider(shared, &target.credentials, options)?;
    let (of, with) = (target.clone(), options.clone());
    let remake = move || {
        let (target, options, strict) = (of.clone(), with.clone(), strict.clone());
        async move { provider_of_now(&target, &options, strict).await }.boxed()
    };
    let asked = Renewable::ask(provider, Box::new(remake)).await;
    asked.map_err(|error| no_credentials(&error, &target.credentials, options))
}

/// The same provider, made of what environment and files say now: it reads files only once.
async fn provider_of_now(
    target: &StorageTarget,
    options: &ConnectOptions,
    strict: SharedHttpClient,
) -> Result<SharedCredentialsProvider, StoreError> {
    provider(&shared_config(target, options, strict).await, &target.credentials, options)
}

fn no_credentials(error: &CredentialsError, source: &CredentialSource, options: &ConnectOptions) -> StoreError {
    let message = credentials_failure(error).into_error("connect", 1).message;
    let message = match (&options.credentials_file, &source.profile) {
        (Some(file), profile) => {
            format!("{message} (profile {:?} of {})", profile.as_deref().unwrap_or(DEFAULT_PROFILE), file.display())
        }
        (None, Some(profile)) => format!("{message} (profile {profile:?})"),
        (None, None) => message,
    };
    StoreError { kind: StoreErrorKind::Denied, message }
}

/// Where credentials come from.
fn provider(shared: &SdkConfig, source: &CredentialSource, options: &ConnectOptions) -> Result<SharedCredentialsProvider, StoreError> {
    let chain = || {
        let missing = || no_credentials(&CredentialsError::not_loaded("no provider"), source, options);
        shared.credentials_provider().ok_or_else(missing)
    };
    let asked = source.role_arn.as_deref().map(|role_arn| Asked {
        role_arn,
        session_name: source.role_session_name.as_deref().unwrap_or(ROLE_SESSION_NAME),
        external_id: source.external_id.as_deref(),
        policy: options.session_policy.as_deref(),
        length: ROLE_SESSION,
    });
    Ok(match (asked, &options.web_identity_token_file) {
        (Some(asked), Some(file)) => SharedCredentialsProvider::new(Role::with_token(shared, file, &asked)),
        (Some(asked), None) => SharedCredentialsProvider::new(Role::signed(shared, chain()?, &asked)),
        (None, _) => chain()?,
    })
}
