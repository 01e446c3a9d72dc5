//! From a target to a client: endpoint, addressing, transport and credentials.

use super::clock::StoreClock;
use super::credentials::Renewable;
use super::every_request::EveryRequest;
use super::failure::{Failure, credentials_failure};
use super::inputs::{Checked, check_bucket_at, check_environment, check_target, refused};
use super::object_options::ObjectOptions;
use super::options::{Checksums, ConnectOptions, InProcessStore};
use super::place::StoreLocation;
use super::profiles::{self, Base, Roles};
use super::proxy::Proxies;
use super::role::{AssumeRoleRequest, Role};
use super::secrets::{Remembered, Secrets};
use super::transport::{self, Verify, guarded};
use crate::storage::checksum::ChecksumAlgorithm;
use crate::storage::endpoint::Endpoint;
use crate::storage::target::{CredentialSource, StorageTarget};
use crate::store::answer::{StoreError, StoreErrorKind};
use aws_config::profile::ProfileFileCredentialsProvider;
#[expect(deprecated, reason = "see `of_profile`")]
use aws_config::profile::profile_file::ProfileFiles;
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
use aws_types::os_shim_internal::Env;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use futures::FutureExt;
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
    pub(super) place: StoreLocation,
    /// What bytes are sent with; [`None`]: a Content-MD5.
    pub(super) checksum: Option<ChecksumAlgorithm>,
    /// Of any store but the embedded one.
    pub(super) credentials: Option<Renewable>,
    pub(super) clock: StoreClock,
}

/// Finds the way to a target.
pub(super) async fn client(target: &StorageTarget, options: &ConnectOptions) -> Result<Connection, StoreError> {
    check_target(target)?;
    let clock = StoreClock::new(options.clock.clone());
    let secrets = Secrets::default();
    let place = |host: &str, is_endpoint| StoreLocation {
        secrets: secrets.clone(),
        needs: ObjectOptions::needs(target),
        bucket: target.bucket.clone(),
        region: target.region.clone(),
        host: host.to_owned(),
        is_endpoint,
    };
    if let Some(InProcessStore { client, endpoint, credentials, make_bucket }) = &options.in_process {
        if let Some(make_bucket) = make_bucket {
            make_bucket(&target.bucket).map_err(|error| StoreError {
                kind: StoreErrorKind::Rejected,
                message: format!("the bucket {:?} cannot be made in the embedded store: {error}", target.bucket),
            })?;
        }
        let builder = Builder::new()
            .behavior_version(behavior())
            .http_client(client.clone())
            .credentials_provider(credentials.clone())
            .endpoint_url(endpoint)
            .force_path_style(true);
        return Ok(Connection {
            sdk: Client::from_conf(common(builder, target, &clock).build()),
            place: place("the embedded store", false),
            checksum: checksum(target, options, None)?,
            credentials: None,
            clock,
        });
    }

    let Found { sources, shared, endpoint, strict } = find(target, options).await?;
    let checksum = checksum(target, options, Some(&sources.shared))?;
    let credentials = resolve(&sources, target, options, &secrets).await?;
    let mut builder = Builder::from(&shared)
        .http_client(strict)
        .credentials_provider(credentials.clone())
        .identity_cache(credentials.clone())
        .force_path_style(target.path_style);
    if let Some(endpoint) = &endpoint {
        builder = builder.endpoint_url(endpoint.url());
        // The SDK itself would put a bucket with dots in front of an address.
        let stands_in_the_path = !endpoint.is_virtual_host(&target.bucket) && !target.bucket.starts_with("arn:");
        builder = builder.force_path_style(target.path_style || stands_in_the_path);
    }
    if target.skip_tls_verify {
        let lenient = transport::http_client(&options.environment, Verify::Nothing, options.timeouts.connect, options.meter.clone())
            .map_err(refuse)?;
        builder = builder.http_client(lenient);
    }
    let host = match &endpoint {
        None => format!("the S3 endpoint of the region {:?}", target.region),
        Some(endpoint) if !target.path_style && endpoint.is_virtual_host(&target.bucket) => {
            let (bucket, authority) = (&target.bucket, endpoint.authority());
            format!("{bucket}.{authority} (without `use_path_style`, the bucket stands in the host's name)")
        }
        Some(endpoint) => endpoint.authority().to_owned(),
    };
    Ok(Connection {
        sdk: Client::from_conf(common(builder, target, &clock).build()),
        place: place(&host, endpoint.is_some()),
        checksum,
        credentials: Some(credentials),
        clock,
    })
}

/// Who signs requests of a session that go elsewhere than to its store: to a catalog that asks for AWS's signatures.
///
/// # Errors
/// There are no credentials, or environment and shared files cannot be read.
pub(crate) async fn credentials_of(target: &StorageTarget, options: &ConnectOptions) -> Result<SharedCredentialsProvider, StoreError> {
    check_environment(options)?;
    let strict =
        transport::http_client(&options.environment, Verify::Strict, options.timeouts.connect, options.meter.clone()).map_err(refuse)?;
    let strict = options.answers.clone().unwrap_or(strict);
    let sources = Sources::read(target, options, guarded(strict)).await;
    provider(&sources, &target.credentials, options, &Secrets::default()).await
}

/// Checks a target as [`client`] would, and sends nothing.
pub(super) async fn check(target: &StorageTarget, options: &ConnectOptions) -> Result<(), StoreError> {
    check_target(target)?;
    let found = if options.in_process.is_none() { Some(find(target, options).await?) } else { None };
    checksum(target, options, found.as_ref().map(|found| &found.sources.shared)).map(drop)
}

/// A target that cannot be used, or a machine on which it cannot be.
fn refuse(text: String) -> StoreError {
    Failure::lasting(StoreErrorKind::Rejected, text).into_error("connect", 1)
}

/// Where requests go, and what environment and shared files say besides.
struct Found {
    sources: Sources,
    /// What holds for the store: of the endpoints in environment and files only those that it may be found by. STS keeps its own.
    shared: SdkConfig,
    endpoint: Option<Endpoint>,
    /// The client for the store.
    strict: SharedHttpClient,
}

/// What credentials are found with.
struct Sources {
    shared: SdkConfig,
    /// The client for those who give credentials.
    guarded: SharedHttpClient,
    region: Region,
}

impl Sources {
    /// What environment and shared files say, as they are now.
    async fn read(target: &StorageTarget, options: &ConnectOptions, guarded: SharedHttpClient) -> Self {
        let region = Region::new(target.region.clone());
        let mut loader =
            aws_config::defaults(behavior()).region(region.clone()).http_client(guarded.clone()).time_source(options.clock.clone());
        #[cfg(test)]
        {
            loader = loader.env(options.environment.clone());
        }
        let profile = target.credentials.profile.as_deref();
        if profile.is_some() || options.credentials_file.is_some() {
            // A profile that is named wins over keys in the environment.
            let name = profile.unwrap_or(DEFAULT_PROFILE);
            loader = loader.credentials_provider(from_profile(name, profiles::files(options), &guarded, &region, options));
        }
        if let (Some(profile), None) = (profile, &options.credentials_file) {
            loader = loader.profile_name(profile);
        }
        if let Some(given) = &options.credentials {
            loader = loader.credentials_provider(given.clone());
        }
        Self { shared: loader.load().await, guarded, region }
    }
}

/// Reads environment and shared files, and checks what comes of them.
async fn find(target: &StorageTarget, options: &ConnectOptions) -> Result<Found, StoreError> {
    check_environment(options)?;
    let own = target.endpoint.as_deref().map(|url| endpoint_of("`endpoint`", url)).transpose()?;
    let strict =
        transport::http_client(&options.environment, Verify::Strict, options.timeouts.connect, options.meter.clone()).map_err(refuse)?;
    let strict = options.answers.clone().unwrap_or(strict);
    let sources = Sources::read(target, options, guarded(strict.clone())).await;
    let shared = sources.shared.clone();
    let shared = if options.configured_endpoints { shared } else { without_endpoints(shared) };
    let endpoint = match own {
        Some(endpoint) => Some(endpoint),
        None => configured_endpoint(&shared).map(|url| endpoint_of(configured_by(&url, &options.environment), &url)).transpose()?,
    };
    check_bucket_at(&target.bucket, target.path_style, endpoint.as_ref())?;
    if let Some(url) = endpoint.as_ref().and_then(|endpoint| endpoint.url().parse().ok()) {
        Proxies::from_env(&options.environment).way(&url).map_err(|error| refuse(error.to_string()))?;
    }
    Ok(Found { sources, shared, endpoint, strict })
}

/// The checksum that bytes are sent with: as the spec says; else, and then CRC32 or none, as the embedder says; else as environment and profile do.
fn checksum(target: &StorageTarget, options: &ConnectOptions, shared: Option<&SdkConfig>) -> Result<Option<ChecksumAlgorithm>, StoreError> {
    let refuse = |message: String| Err(StoreError { kind: StoreErrorKind::Rejected, message });
    let default = |checksums| (checksums == Checksums::Auto).then_some(ChecksumAlgorithm::Crc32);
    match target.checksum_algorithm.as_deref() {
        Some("none") => return Ok(None),
        Some(name) => match ChecksumAlgorithm::parse(name) {
            Some(algorithm) => return Ok(Some(algorithm)),
            None => {
                let known = ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::name).join(", ");
                return refuse(format!("`checksum_algorithm: {name:?}` is not known; {known} and none are"));
            }
        },
        None => {}
    }
    let (Checksums::Auto, Some(shared)) = (options.checksums, shared) else { return Ok(default(options.checksums)) };
    let variable = options.environment.get(CHECKSUM_VARIABLE).unwrap_or_default();
    if !variable.is_empty() && !["when_supported", "when_required"].iter().any(|known| variable.eq_ignore_ascii_case(known)) {
        return refuse(format!("{CHECKSUM_VARIABLE}: {variable:?} is neither when_supported nor when_required"));
    }
    let asked = shared.request_checksum_calculation();
    Ok(default(if asked == Some(RequestChecksumCalculation::WhenRequired) { Checksums::None } else { Checksums::Auto }))
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

/// What every client has: no retries, checksums or time limits but ours. Connections that a server's fault came over are dropped by the
/// transport.
fn common(builder: Builder, target: &StorageTarget, clock: &StoreClock) -> Builder {
    builder
        .region(Region::new(target.region.clone()))
        .interceptor(EveryRequest::from_target(target))
        .time_source(clock.clone())
        // The SDK signs by whatever date any answer has; one of the year 9999 ends in a panic.
        .disable_clock_skew_correction(true)
        .retry_config(RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReuseAllConnections))
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}

/// An endpoint; `name` is what it is called.
fn endpoint_of(name: &str, url: &str) -> Result<Endpoint, StoreError> {
    Endpoint::parse(url).map_err(|words| refused(format!("{name} {words}")))
}

/// The credentials of a profile: keys, role, SSO, web identity or process.
#[expect(deprecated, reason = "the only way to tell the provider its files; the replacement lives in a crate that is not ours to use")]
fn from_profile(
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
async fn chain(
    sources: &Sources,
    source: &CredentialSource,
    options: &ConnectOptions,
) -> Result<SharedCredentialsProvider, CredentialsError> {
    let checked = |provider| SharedCredentialsProvider::new(Checked { provider, environment: options.environment.clone() });
    let default = || sources.shared.credentials_provider().ok_or_else(|| CredentialsError::not_loaded("no provider"));
    let named = source.profile.as_deref().or(options.credentials_file.is_some().then_some(DEFAULT_PROFILE));
    let has_keys = options.environment.get("AWS_ACCESS_KEY_ID").is_ok_and(|id| !id.trim().is_empty());
    if options.credentials.is_some() || named.is_none() && has_keys {
        return Ok(checked(default()?));
    }
    let roles = profiles::roles(options, named).await.map_err(CredentialsError::invalid_configuration)?;
    let Some(Roles { base, hops }) = roles else { return Ok(checked(default()?)) };
    let with_profile =
        |name: &str, files| SharedCredentialsProvider::new(from_profile(name, files, &sources.guarded, &sources.region, options));
    let mut provider = checked(match base {
        Base::Keys(keys) => SharedCredentialsProvider::new(keys),
        Base::Profile(name) => with_profile(&name, profiles::files(options)),
        Base::Content(content) => with_profile(DEFAULT_PROFILE, profiles::content(content)),
    });
    for hop in &hops {
        let asked = AssumeRoleRequest {
            role_arn: &hop.role_arn,
            session_name: hop.session_name.as_deref().unwrap_or(ROLE_SESSION_NAME),
            external_id: hop.external_id.as_deref(),
            policy: None,
            length: ROLE_SESSION,
        };
        provider = checked(SharedCredentialsProvider::new(Role::signed(&sources.shared, provider, &asked)));
    }
    Ok(provider)
}

/// The first credentials, asked for now, so that a mistake shows before any row is read.
async fn resolve(sources: &Sources, target: &StorageTarget, options: &ConnectOptions, secrets: &Secrets) -> Result<Renewable, StoreError> {
    let first = provider(sources, &target.credentials, options, secrets).await?;
    let (of, with, guarded, known) = (target.clone(), options.clone(), sources.guarded.clone(), secrets.clone());
    // The same provider, made of what environment and files say then: it reads files only once.
    let remake = move || {
        let (target, options, guarded, secrets) = (of.clone(), with.clone(), guarded.clone(), known.clone());
        async move {
            let sources = Sources::read(&target, &options, guarded).await;
            provider(&sources, &target.credentials, &options, &secrets).await
        }
        .boxed()
    };
    let asked = Renewable::ask(first, Box::new(remake)).await;
    asked.map_err(|error| no_credentials(&error, &target.credentials, options))
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

/// Where credentials come from. Its answers are checked, and remembered, so that no store can have us repeat them.
async fn provider(
    sources: &Sources,
    source: &CredentialSource,
    options: &ConnectOptions,
    secrets: &Secrets,
) -> Result<SharedCredentialsProvider, StoreError> {
    let chain = async || chain(sources, source, options).await.map_err(|error| no_credentials(&error, source, options));
    let asked = source.role_arn.as_deref().map(|role_arn| AssumeRoleRequest {
        role_arn,
        session_name: source.role_session_name.as_deref().unwrap_or(ROLE_SESSION_NAME),
        external_id: source.external_id.as_deref(),
        policy: options.session_policy.as_deref(),
        length: ROLE_SESSION,
    });
    let provider = match (asked, &options.web_identity_token_file) {
        (Some(asked), Some(file)) => SharedCredentialsProvider::new(Role::with_token(&sources.shared, file, &asked)),
        (Some(asked), None) => SharedCredentialsProvider::new(Role::signed(&sources.shared, chain().await?, &asked)),
        (None, _) => chain().await?,
    };
    let checked = SharedCredentialsProvider::new(Checked { provider, environment: options.environment.clone() });
    Ok(SharedCredentialsProvider::new(Remembered::new(checked, secrets.clone())))
}
