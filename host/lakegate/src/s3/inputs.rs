//! What the SDK takes on trust, checked first: texts that become headers, parts of a host's name, or of a signature. Its signer panics at a
//! line end in a key id, a token or a region, whoever has given it.
//!
//! No message repeats a credential.

use super::object_options::ObjectOptions;
use super::options::ConnectOptions;
use crate::storage::endpoint::{Endpoint, is_region};
use crate::storage::target::StorageTarget;
use crate::store::answer::{StoreError, StoreErrorKind};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::os_shim_internal::Env;
use std::env::VarError;

/// Bytes of a bucket's name at a store other than AWS, or of one at AWS from before 2018.
const MAX_BUCKET_BYTES: usize = 255;

/// Bytes of a bucket's name at AWS.
const BUCKET_BYTES_AT_AWS: std::ops::RangeInclusive<usize> = 3..=63;

/// How names at AWS begin and end that no bucket has: what could be taken for an international name, and what AWS calls other things by.
const RESERVED_BEGINNINGS: [&str; 2] = ["xn--", "sthree-"];
const RESERVED_ENDINGS: [&str; 2] = [".mrap", "--table-s3"];

/// How the name of a directory bucket ends: `NAME--ZONE--x-s3`.
const DIRECTORY_BUCKET: &str = "--x-s3";

/// Variables that the SDK reads on its own, and that hold one line if anything.
const VARIABLES: [&str; 16] = [
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_SDK_UA_APP_ID",
];

/// Variables of credentials: one that is no text would be printed by the SDK.
const KEY_VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// Variables that name a file which the SDK reads whole.
const FILE_VARIABLES: [&str; 4] =
    ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];

/// Refuses what is said of the target.
pub(super) fn refused(message: impl Into<String>) -> StoreError {
    StoreError { kind: StoreErrorKind::Rejected, message: message.into() }
}

/// Checks a target by itself.
pub(super) fn check_target(target: &StorageTarget) -> Result<(), StoreError> {
    check_bucket(&target.bucket)?;
    let region = &target.region;
    if !is_region(region) {
        return Err(refused(format!("`region` must be the code of a region such as eu-central-1, not {region:?}")));
    }
    let credentials = &target.credentials;
    for (name, text) in [
        ("local_profile", &credentials.profile),
        ("role_arn", &credentials.role_arn),
        ("role_session_name", &credentials.role_session_name),
        ("external_id", &credentials.external_id),
    ] {
        if text.as_ref().is_some_and(|text| text.contains(char::is_control)) {
            return Err(refused(format!("`{name}` must not have line ends or other control characters")));
        }
    }
    ObjectOptions::check(target).map_err(refused)
}

/// What no store could take for a bucket, nor a URL.
fn check_bucket(bucket: &str) -> Result<(), StoreError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let is_arn = bucket.starts_with("arn:");
    let is_name = bucket.len() <= MAX_BUCKET_BYTES && bucket.bytes().all(good) && !bucket.bytes().all(|byte| byte == b'.');
    let is_access_point = is_arn && bucket.bytes().all(|byte| good(byte) || byte == b'/') && is_access_point(bucket);
    if is_access_point || is_name && !is_arn {
        return Ok(());
    }
    let wanted = "1 to 255 letters, digits, dots, hyphens and underscores, or the ARN of an access point in one region";
    Err(refused(format!("`bucket`: {bucket:?} is no bucket's name, which has {wanted}")))
}

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:accesspoint/NAME`, or one behind an outpost.
fn is_access_point(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, region, account, resource] = parts.as_slice() else { return false };
    let named = |kind: &str| resource.strip_prefix(kind).is_some_and(|rest| rest.len() > 1 && rest.starts_with([':', '/']));
    service.starts_with("s3") && !region.is_empty() && !account.is_empty() && (named("accesspoint") || named("outpost"))
}

/// Checks the bucket's name by what is at the place that requests go to: AWS, or the store at an endpoint.
pub(super) fn check_bucket_at(bucket: &str, path_style: bool, endpoint: Option<&Endpoint>) -> Result<(), StoreError> {
    let elsewhere = endpoint.is_some_and(|endpoint| !endpoint.is_at_aws());
    if bucket.starts_with("arn:") {
        let clash = "`use_path_style` cannot be used with the ARN of an access point in `bucket`";
        return if path_style { Err(refused(clash)) } else { Ok(()) };
    }
    if let Some(name) = bucket.strip_suffix(DIRECTORY_BUCKET) {
        let has_zone = name.rsplit_once("--").is_some_and(|(name, zone)| !name.is_empty() && zone.contains("-az"));
        if elsewhere || path_style || !has_zone {
            let wanted = "NAME--ZONE--x-s3 (as in lake--use1-az4--x-s3), without `endpoint` and `use_path_style`";
            return Err(refused(format!("`bucket`: {bucket:?} ends as the directory buckets of AWS do, which are named {wanted}")));
        }
    }
    if path_style || endpoint.is_some() {
        return Ok(());
    }
    let at_the_ends = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = bucket.as_bytes();
    let is_name = BUCKET_BYTES_AT_AWS.contains(&bytes.len())
        && bytes.iter().all(|&byte| at_the_ends(byte) || matches!(byte, b'.' | b'-'))
        && [bytes.first(), bytes.last()].into_iter().flatten().all(|&byte| at_the_ends(byte))
        && !bucket.contains("..")
        && bucket.parse::<std::net::Ipv4Addr>().is_err()
        && !RESERVED_BEGINNINGS.iter().any(|it| bucket.starts_with(it))
        && !RESERVED_ENDINGS.iter().any(|it| bucket.ends_with(it));
    if is_name {
        return Ok(());
    }
    let rule = "3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit at both ends, no address of the internet, nothing \
                that AWS reserves (xn--, sthree-, .mrap, --table-s3)";
    let way_out = "if it is at another store, name its `endpoint`; if it is an old one with other letters, set `use_path_style`";
    Err(refused(format!("`bucket`: {bucket:?} is no name of a bucket at AWS ({rule}); {way_out}")))
}

/// Checks variables that the SDK reads by itself.
pub(super) fn check_environment(options: &ConnectOptions) -> Result<(), StoreError> {
    let read = |variable: &str| match options.environment.get(variable) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(refused(format!("{variable} is not UTF-8 text"))),
    };
    for variable in KEY_VARIABLES {
        read(variable)?;
    }
    for variable in VARIABLES {
        if read(variable)?.is_some_and(|value| value.contains(char::is_control)) {
            return Err(refused(format!("{variable} must not have line ends or other control characters")));
        }
    }
    for variable in FILE_VARIABLES {
        if let Some(path) = read(variable)?.filter(|path| !path.is_empty()) {
            check_file(variable, std::path::Path::new(&path))?;
        }
    }
    let home = read("HOME")?.map(std::path::PathBuf::from);
    for (variable, file) in [("AWS_CONFIG_FILE", ".aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")] {
        if let (Some(home), None) = (&home, read(variable)?) {
            check_file(&format!("~/{file}"), &home.join(file))?;
        }
    }
    options.credentials_file.as_deref().map_or(Ok(()), |file| check_file("the file of credentials", file))
}

/// A file that is not there, or not to be read, is for the SDK to judge: it may not need it.
fn check_file(name: &str, path: &std::path::Path) -> Result<(), StoreError> {
    match lakegate_base::file::read_small(path) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::FileTooLarge) => {
            Err(refused(format!("{name}: {} cannot be used: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// A text that a header can hold and a signature names: neither space nor anything beyond ASCII.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Credentials as they can be signed with.
pub(super) fn check_credentials(credentials: &Credentials, environment: &Env) -> Result<(), CredentialsError> {
    let named = |variable: &'static str, words: &str, value: &str| {
        let of_environment = environment.get(variable).is_ok_and(|given| given.trim() == value.trim());
        if of_environment { variable.to_owned() } else { format!("the {words} that was found") }
    };
    let wrong = |name: String, rule: &str| Err(CredentialsError::invalid_configuration(format!("{name} {rule}")));
    let plain = "must be made of letters, digits and signs of ASCII, without spaces, line ends or control characters";
    let id = credentials.access_key_id();
    if id.is_empty() || !is_plain(id) {
        return wrong(named("AWS_ACCESS_KEY_ID", "access key id", id), plain);
    }
    let secret = credentials.secret_access_key();
    if secret.contains(char::is_control) {
        return wrong(named("AWS_SECRET_ACCESS_KEY", "secret access key", secret), "must not have line ends or other control characters");
    }
    match credentials.session_token() {
        Some(token) if !is_plain(token) => wrong(named("AWS_SESSION_TOKEN", "session token", token), plain),
        _ => Ok(()),
    }
}

/// A provider of credentials that can be signed with.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) provider: SharedCredentialsProvider,
    pub(super) environment: Env,
}

impl Checked {
    async fn credentials(&self) -> provider::Result {
        let credentials = self.provider.provide_credentials().await?;
        check_credentials(&credentials, &self.environment).map(|()| credentials)
    }
}

impl ProvideCredentials for Checked {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        let fallback = self.provider.fallback_on_interrupt();
        fallback.filter(|credentials| check_credentials(credentials, &self.environment).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bucket: &str, path_style: bool, endpoint: Option<&str>) -> Result<(), String> {
        let endpoint = endpoint.map(|url| Endpoint::parse(url).expect(url));
        check_bucket_at(bucket, path_style, endpoint.as_ref()).map_err(|error| error.message)
    }

    #[test]
    fn names_are_judged_by_where_the_bucket_is() {
        let endpoint = Some("http://store.example");
        for bucket in ["lake", "my.lake", "123", "a-b", "lake.-x", "my-ap-abc-s3alias", "lake--use1-az4--x-s3", &"b".repeat(63)] {
            assert_eq!(at(bucket, false, None), Ok(()), "{bucket}");
        }
        for bucket in [
            "ab",
            "Lake",
            "my_lake",
            "-lake",
            "lake-",
            ".lake",
            "lake.",
            "a..b",
            "192.168.1.1",
            "xn--lake",
            "sthree-x",
            "x.mrap",
            "x--table-s3",
            &"b".repeat(64),
        ] {
            let words = at(bucket, false, None).expect_err(bucket);
            assert!(words.starts_with(&format!("`bucket`: {bucket:?} is no name of a bucket at AWS")), "{words}");
            assert!(words.contains("`endpoint`") && words.contains("`use_path_style`"), "{words}");
            assert_eq!(at(bucket, true, None), Ok(()), "{bucket} in the path");
            assert_eq!(at(bucket, false, endpoint), Ok(()), "{bucket} elsewhere");
        }
        for (bucket, path_style, endpoint) in
            [("lake--x-s3", false, None), ("lake--use1-az4--x-s3", true, None), ("lake--use1-az4--x-s3", false, endpoint)]
        {
            assert!(at(bucket, path_style, endpoint).is_err_and(|words| words.contains("NAME--ZONE--x-s3")), "{bucket}");
        }
        let access_point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake";
        assert_eq!(at(access_point, false, None), Ok(()));
        assert_eq!(at(access_point, false, endpoint), Ok(()));
        assert!(at(access_point, true, None).is_err_and(|words| words.contains("`use_path_style`")));
    }
}
