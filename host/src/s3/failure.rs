//! What a failed request means: whose fault, whether trying again may help, and one line for the user.

use super::secrets::{REDACTED, Secrets};
use super::transport::MAX_ANSWER_BYTES;
use super::{StoreError, StoreErrorKind};
use crate::payload::Payload;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http_body_util::LengthLimitError;
use std::error::Error;

/// Characters of the store's own words that are passed on.
const MAX_STORE_WORDS: usize = 300;

/// Bytes of a word that is looked for in what was sent.
const LEAST_ROW_WORD: usize = 6;

/// Words longer than this are no words: tokens, signatures.
const MAX_WORD: usize = 100;

/// Error codes that a store uses for "not now".
const TRANSIENT_CODES: &[&str] = &[
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "InternalError",
    "ServiceUnavailable",
    "Busy",
    "RequestTimeout",
    "RequestTimeoutException",
    "OperationAborted",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "TooManyRequests",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "XMinioServerNotInitialized",
    // The bytes were damaged on their way.
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
];

/// Error codes that mean the credentials, whatever the status.
const DENIED_CODES: &[&str] = &[
    "AccessDenied",
    "AllAccessDisabled",
    "AccountProblem",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "NotSignedUp",
    "InvalidSecurity",
];

/// Not implemented, and storage that is full: statuses of a server's fault that stays.
const LASTING_SERVER_ERRORS: [u16; 2] = [501, 507];

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It may.
    Transient,
    /// It may, after more of a pause.
    Throttled,
    /// It may, but nothing has ever answered there.
    Unreachable,
    /// It will not.
    Final,
}

/// One failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) class: Class,
    pub(super) kind: StoreErrorKind,
    /// The store's code, where it gave one.
    pub(super) code: Option<String>,
    pub(super) status: Option<u16>,
    text: String,
    /// The store's own words in it.
    said: Option<String>,
}

impl Failure {
    /// A failure of the store or the way to it that may pass.
    pub(super) fn transient(text: impl Into<String>) -> Self {
        Self { class: Class::Transient, kind: StoreErrorKind::Unavailable, code: None, status: None, text: text.into(), said: None }
    }

    /// A failure that stays.
    pub(super) fn lasting(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { class: Class::Final, kind, code: None, status: None, text: text.into(), said: None }
    }

    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Without what the store repeats of the bytes that it was sent: these are rows.
    pub(super) async fn without_rows(mut self, body: &Payload) -> Self {
        let Some(said) = self.said.take() else { return self };
        let words: Vec<String> = words_of(&said).map(str::to_owned).collect();
        let held = body.holds(words.clone()).await;
        let repeated = |number: usize| held.as_ref().map_or(true, |held| held.get(number).copied().unwrap_or(true));
        let mut clean = said.clone();
        for (_, word) in words.iter().enumerate().filter(|(number, _)| repeated(*number)) {
            clean = clean.replace(word.as_str(), REDACTED);
        }
        self.text = self.text.replacen(&said, &clean, 1);
        self
    }

    /// The error of `operation`, as the user reads it.
    pub(super) fn into_error(self, operation: &str, attempts: u32) -> StoreError {
        let again = if attempts > 1 { format!(" (after {attempts} attempts)") } else { String::new() };
        StoreError { kind: self.kind, message: format!("operation error S3: {operation}, {}{again}", self.text) }
    }

    /// Reads what the SDK says.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>, place: &Place) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(response) = error.raw_response() {
            let service = error.as_service_error();
            let mut failure = Self::answered(
                response.status().as_u16(),
                service.and_then(|error| error.code()),
                service.and_then(|error| error.message()),
                place,
            );
            if find::<LengthLimitError>(error).is_some() {
                failure.text.push_str(&format!(", the answer has more than {MAX_ANSWER_BYTES} bytes and was not read"));
            }
            return failure;
        }
        if let Some(credentials) = find::<CredentialsError>(error) {
            return credentials_failure(credentials);
        }
        match error {
            SdkError::ConstructionFailure(_) => {
                Self::lasting(StoreErrorKind::Rejected, format!("the request cannot be made: {}", innermost(error)))
            }
            SdkError::TimeoutError(_) => Self::transient("request send failed: no answer in time"),
            SdkError::DispatchFailure(failure) => {
                let why = innermost(error);
                // Nothing has been sent: endpoint, header or signature cannot be made, or the proxy's URL cannot be used. The SDK gives up on
                // credentials in the same form.
                if failure.is_user() || failure.is_other() && !why.contains("timed out") {
                    return Self::lasting(StoreErrorKind::Rejected, format!("the request cannot be made: {why}"));
                }
                if find::<rustls::Error>(error).is_some_and(|tls| matches!(tls, rustls::Error::InvalidCertificate(_))) {
                    return Self::lasting(
                        StoreErrorKind::Unavailable,
                        format!(
                            "request send failed: the certificate of {} is not trusted ({why}); name its authority in AWS_CA_BUNDLE, or set \
                             `endpoint_skip_tls_verify`",
                            place.host
                        ),
                    );
                }
                let connected = failure.as_connector_error().and_then(|error| error.source()).and_then(find_connect);
                match connected {
                    Some(true) => Self {
                        class: Class::Unreachable,
                        ..Self::transient(format!("request send failed: {} cannot be reached ({why})", place.host))
                    },
                    _ => Self::transient(format!("request send failed: the connection to {} broke ({why})", place.host)),
                }
            }
            _ => Self::transient(format!("request send failed: {}", innermost(error))),
        }
    }

    fn answered(status: u16, code: Option<&str>, message: Option<&str>, place: &Place) -> Self {
        let coded = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
        let throttled = matches!(status, 429 | 503) || code.is_some_and(|code| code.contains("Throttl") || code.starts_with("SlowDown"));
        let (class, kind) = if matches!(status, 401 | 403) || coded(DENIED_CODES) {
            (Class::Final, StoreErrorKind::Denied)
        } else if throttled {
            (Class::Throttled, StoreErrorKind::Unavailable)
        } else if status == 408
            || (status >= 500 && !LASTING_SERVER_ERRORS.contains(&status))
            || coded(TRANSIENT_CODES)
            || (status < 300 && code.is_none())
        {
            // A success that cannot be read was cut short.
            (Class::Transient, StoreErrorKind::Unavailable)
        } else {
            (Class::Final, StoreErrorKind::Rejected)
        };
        let mut text = format!("https response error StatusCode: {status}");
        let clean = |words: &str| sober(&place.secrets.without(words));
        let words: Vec<String> = [code, message.filter(|message| !message.is_empty())].into_iter().flatten().map(clean).collect();
        let said = (!words.is_empty()).then(|| words.join(": "));
        if let Some(said) = &said {
            text.push_str(if code.is_some() { ", " } else { ": " });
            text.push_str(said);
        }
        if let Some(hint) = hint(status, code, place) {
            text.push_str("; ");
            text.push_str(&hint);
        }
        Self { class, kind, code: code.map(str::to_owned), status: Some(status), text, said }
    }
}

/// Where requests go, for the hints.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) region: String,
    /// The endpoint's host, or words for the default one.
    pub(super) host: String,
    /// True if target, environment or shared files name an endpoint.
    pub(super) is_endpoint: bool,
    /// What the store knows of us and may repeat.
    pub(super) secrets: Secrets,
}

fn hint(status: u16, code: Option<&str>, place: &Place) -> Option<String> {
    let Place { bucket, region, .. } = place;
    Some(match (status, code) {
        (_, Some("NoSuchBucket")) => format!("there is no bucket {bucket:?}: create it, or correct `bucket`"),
        (_, Some("RequestTimeTooSkewed")) => "the clock of this machine is wrong: set it".into(),
        (_, Some("ExpiredToken" | "ExpiredTokenException")) => "the session token has expired: log in again".into(),
        (_, Some("InvalidAccessKeyId" | "SignatureDoesNotMatch")) => {
            "the store does not know these credentials: check which ones the environment or profile gives".into()
        }
        (301 | 307, _) | (_, Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException")) => {
            format!("the bucket {bucket:?} is not in {region:?}: set `region` to its own")
        }
        (401 | 403, _) => {
            format!(
                "these credentials may not write to the bucket {bucket:?}: they need s3:PutObject, and with a KMS key kms:GenerateDataKey"
            )
        }
        _ => return None,
    })
}

/// A credentials failure as one line that says what to do.
pub(super) fn credentials_failure(error: &CredentialsError) -> Failure {
    match error {
        CredentialsError::ProviderTimedOut(_) => Failure::transient("no credentials in time"),
        CredentialsError::CredentialsNotLoaded(_) => Failure::lasting(
            StoreErrorKind::Denied,
            "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile in AWS_PROFILE or `local_profile`",
        ),
        other => {
            let why = chain(other);
            let remedy = if why.contains("IMDS") || why.contains("instance metadata service") { OF_AN_INSTANCE } else { "" };
            Failure::lasting(StoreErrorKind::Denied, format!("credentials cannot be had: {}{remedy}", sober(&why)))
        }
    }
}

/// What to do where the instance metadata service gives no credentials.
const OF_AN_INSTANCE: &str = "; attach a role to the instance and let this process ask its metadata service, or set AWS_ACCESS_KEY_ID and \
                              AWS_SECRET_ACCESS_KEY, and AWS_EC2_METADATA_DISABLED=true";

/// The store's words: one line, bounded, without what looks like a key, token or signature.
fn sober(words: &str) -> String {
    let mut line = String::new();
    for word in words.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let access_key = bare.len() >= 16 && ["AKIA", "ASIA", "AROA", "AIDA"].iter().any(|start| bare.starts_with(start));
        let secret = access_key || word.len() > MAX_WORD || word.contains("X-Amz-") || word.contains("Signature=");
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(if secret { REDACTED } else { word });
    }
    match line.char_indices().nth(MAX_STORE_WORDS) {
        Some((at, _)) => {
            line.truncate(at);
            line.push('…');
            line
        }
        None => line,
    }
}

/// The words of a text that may be a value of a row: short ones are in any text.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let within = |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | '@' | '+');
    text.split(move |character| !within(character)).filter(|word| word.len() >= LEAST_ROW_WORD && *word != "redacted")
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The first error of a type among the causes; looks into `io::Error`, which does not show what it wraps as its source.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    sources(error).find_map(|error| {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error.downcast_ref().or_else(|| wrapped.and_then(|inner| find(inner as &(dyn Error + 'static))))
    })
}

fn find_connect(error: &(dyn Error + 'static)) -> Option<bool> {
    find::<hyper_util::client::legacy::Error>(error).map(hyper_util::client::legacy::Error::is_connect)
}

/// The words of the innermost cause: the outer ones say only that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    sober(&sources(error).last().map(ToString::to_string).unwrap_or_default())
}

/// The words up to a struct of Rust's, which some of the SDK's errors end in: it would be headers, extensions, and a body in bytes.
fn without_structs(words: &str) -> &str {
    let Some(at) = words.find(" {") else { return words };
    let before = words.get(..at).unwrap_or_default();
    let name = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    let is_struct = name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_alphanumeric() || c == ':' || c == '(');
    if is_struct { before.strip_suffix(name).unwrap_or(before).trim_end_matches([' ', '.', ':']) } else { words }
}

/// The words of every cause, outermost first, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in sources(error).map(|cause| without_structs(&cause.to_string()).to_owned()) {
        if !words.iter().any(|earlier| earlier.contains(&cause)) {
            words.push(cause);
        }
    }
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            bucket: "b".into(),
            region: "eu-west-1".into(),
            host: "store.example".into(),
            is_endpoint: true,
            secrets: Secrets::default(),
        }
    }

    #[test]
    fn an_answer_says_whose_fault_it_is() {
        let check = |status, code: Option<&str>, class, kind| {
            let failure = Failure::answered(status, code, None, &place());
            assert_eq!((failure.class, failure.kind), (class, kind), "{status} {code:?}");
        };
        check(500, None, Class::Transient, StoreErrorKind::Unavailable);
        check(500, Some("InternalError"), Class::Transient, StoreErrorKind::Unavailable);
        check(503, None, Class::Throttled, StoreErrorKind::Unavailable);
        check(503, Some("SlowDown"), Class::Throttled, StoreErrorKind::Unavailable);
        check(429, None, Class::Throttled, StoreErrorKind::Unavailable);
        check(400, Some("RequestTimeout"), Class::Transient, StoreErrorKind::Unavailable);
        check(400, Some("BadDigest"), Class::Transient, StoreErrorKind::Unavailable);
        check(200, None, Class::Transient, StoreErrorKind::Unavailable);
        check(501, Some("NotImplemented"), Class::Final, StoreErrorKind::Rejected);
        check(507, Some("XMinioStorageFull"), Class::Final, StoreErrorKind::Rejected);
        check(404, Some("NoSuchBucket"), Class::Final, StoreErrorKind::Rejected);
        check(400, Some("EntityTooLarge"), Class::Final, StoreErrorKind::Rejected);
        check(400, Some("ExpiredToken"), Class::Final, StoreErrorKind::Denied);
        check(403, None, Class::Final, StoreErrorKind::Denied);
        check(401, None, Class::Final, StoreErrorKind::Denied);
    }

    #[test]
    fn a_line_names_operation_status_code_and_what_to_do() {
        let check = |status, code, message, expected: &str| {
            let error = Failure::answered(status, code, message, &place()).into_error("PutObject", 1);
            assert_eq!(error.message, expected);
        };
        check(404, None, None, "operation error S3: PutObject, https response error StatusCode: 404");
        check(
            404,
            Some("NoSuchBucket"),
            Some("The specified bucket does not exist"),
            "operation error S3: PutObject, https response error StatusCode: 404, NoSuchBucket: The specified bucket does not exist; \
             there is no bucket \"b\": create it, or correct `bucket`",
        );
        check(
            301,
            Some("PermanentRedirect"),
            None,
            "operation error S3: PutObject, https response error StatusCode: 301, PermanentRedirect; the bucket \"b\" is not in \
             \"eu-west-1\": set `region` to its own",
        );
    }

    #[tokio::test]
    async fn what_a_store_repeats_of_a_body_is_left_out() {
        use crate::payload::Piece;
        use bytes::Bytes;
        let body = |pieces: &[&'static str]| {
            Payload::new(pieces.iter().map(|piece| Piece::Memory(Bytes::from_static(piece.as_bytes()))).collect())
        };
        let said = async |message, body: &Payload| {
            let failure = Failure::answered(400, Some("InvalidRow"), Some(message), &place());
            failure.without_rows(body).await.into_error("PutObject", 1).message
        };
        let rows = body(&["id,v\n1,canary-", "of-a-row\n2,alice@example.com\n"]);
        let found = said("cannot parse \"canary-of-a-row\" near v=alice@example.com, please correct it", &rows).await;
        let expected = "operation error S3: PutObject, https response error StatusCode: 400, InvalidRow: cannot parse \"[redacted]\" near \
                        v=[redacted], please correct it";
        assert_eq!(found, expected);
        let found = said("the specified bucket does not exist", &body(&["id\n1\n"])).await;
        assert!(found.ends_with("InvalidRow: the specified bucket does not exist"), "{found}");
        // Beyond what is looked through at once, and across its borders.
        let long: &'static str = "x".repeat((3 << 20) - 7).leak();
        let found = said("saw canary-of-a-row there", &body(&[long, "canary-of-a-row"])).await;
        assert!(found.ends_with("saw [redacted] there"), "{found}");
    }

    #[test]
    fn no_struct_of_the_sdk_is_told() {
        let check = |words: &str, expected: &str| assert_eq!(without_structs(words), expected);
        check(
            "error response from IMDS (code: 403). Response { status: StatusCode(403), headers: Headers { .. } }",
            "error response from IMDS (code: 403)",
        );
        check("no words {but these}", "no words {but these}");
        check("a set {1, 2}", "a set {1, 2}");
        check("Response { status: 1 }", "");
        check("plain", "plain");
    }

    #[test]
    fn the_words_of_a_store_are_bounded_and_hold_no_secret() {
        assert_eq!(sober("key AKIAIOSFODNN7EXAMPLE\nunknown"), "key [redacted] unknown");
        assert_eq!(sober("see X-Amz-Security-Token=abc"), "see [redacted]");
        assert_eq!(sober(&"t".repeat(101)), "[redacted]");
        assert_eq!(sober(&"word ".repeat(1_000)).chars().count(), MAX_STORE_WORDS + 1);
    }
}
