//! What a failed request means: whose fault, whether trying again may help, and one line for the user.

use super::answer::{Answer, Body};
use super::codes::Meaning;
use super::place::StoreLocation;
use super::redirect::{self, Redirect};
use super::secrets::REDACTED;
use super::transport::MAX_ANSWER_BYTES;
use crate::payload::body::Payload;
use crate::store::answer::{StoreError, StoreErrorKind};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http::Uri;
use http_body_util::LengthLimitError;
use std::error::Error;
use std::time::SystemTime;

/// Characters of the store's own words that are passed on.
const MAX_STORE_WORDS: usize = 300;

/// Bytes of a word that is looked for in what was sent.
const LEAST_ROW_WORD: usize = 6;

/// Words longer than this are no words: tokens, signatures.
const MAX_WORD: usize = 100;

/// Not implemented, a version of HTTP, storage that is full, circles, a portal that wants a login: statuses of a server's fault that stays.
const LASTING_SERVER_ERRORS: [u16; 7] = [501, 505, 506, 507, 508, 510, 511];

/// Whether trying again may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RetryClass {
    /// It may.
    Transient,
    /// It may, after more of a pause.
    Throttled,
    /// It may, but nothing has ever answered there.
    Unreachable,
    /// It may a few times; after that it is the store that is odd.
    Doubtful,
    /// It may, but the request may have taken effect, and each that does leaves something behind.
    Lost,
    /// It may with other credentials.
    Credentials,
    /// It may once, signed with the store's time, if that is known.
    Clock(Option<SystemTime>),
    /// It is to be sent to this URL instead.
    Redirected(String),
    /// It will not.
    Final,
}

/// One failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) class: RetryClass,
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
        Self { class: RetryClass::Transient, kind: StoreErrorKind::Unavailable, code: None, status: None, text: text.into(), said: None }
    }

    /// An answer that a store should not give: a proxy's, a dying store's, or the way of this one.
    pub(super) fn doubtful(status: u16, text: &str) -> Self {
        let text = format!("https response error StatusCode: {status}, {text}");
        Self { class: RetryClass::Doubtful, status: Some(status), ..Self::transient(text) }
    }

    /// A failure that stays.
    pub(super) fn lasting(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { class: RetryClass::Final, kind, code: None, status: None, text: text.into(), said: None }
    }

    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// True if the condition of the request did not hold: the key has an object.
    pub(super) fn is_precondition(&self) -> bool {
        self.status == Some(412) || self.is("PreconditionFailed")
    }

    /// True if another request for the key was under way: a put, or a delete.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == Some(409)
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

    /// True if the request may have taken effect all the same.
    pub(super) fn may_have_happened(&self) -> bool {
        matches!(self.class, RetryClass::Transient | RetryClass::Throttled | RetryClass::Doubtful)
    }

    /// True if no answer says whether the request took effect: the connection broke, the time was over, a gateway gave up waiting, or the
    /// success that came cannot be read.
    pub(super) fn is_lost(&self) -> bool {
        let open = matches!(self.class, RetryClass::Transient | RetryClass::Doubtful) && self.code.is_none();
        open && self.status.is_none_or(|status| status < 300 || status == 504)
    }

    /// Of a HEAD, whose answer has no body and so no code: a bare 400 or 403 may stand for a token that has expired.
    pub(super) fn for_head(mut self) -> Self {
        if self.code.is_none() && matches!(self.status, Some(400 | 403)) && self.class == RetryClass::Final {
            self.class = RetryClass::Credentials;
        }
        self
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds to the words.
    pub(super) fn note(&mut self, words: &str) {
        self.text.push_str("; ");
        self.text.push_str(words);
    }

    /// The error of `operation`, as the user reads it.
    pub(super) fn into_error(self, operation: &str, attempts: u32) -> StoreError {
        let again = if attempts > 1 { format!(" (after {attempts} attempts)") } else { String::new() };
        StoreError { kind: self.kind, message: format!("operation error S3: {operation}, {}{again}", self.text) }
    }

    /// Reads what the SDK says of a request to `asked`.
    pub(super) fn from_sdk<E>(error: &SdkError<E, HttpResponse>, place: &StoreLocation, asked: Option<&Uri>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(response) = error.raw_response() {
            let service = error.as_service_error();
            let answer = Answer::read(response, service.and_then(|error| error.code()), service.and_then(|error| error.message()));
            let mut failure = Self::answered(&answer, place, asked);
            if find::<LengthLimitError>(error).is_some() {
                failure.text.push_str(&format!(", the answer has more than {MAX_ANSWER_BYTES} bytes and was not read"));
            } else if answer.status < 300 && find::<hyper::Error>(error).is_some() {
                // Cut off on its way: that passes.
                failure.class = RetryClass::Transient;
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
                let host = asked.and_then(redirect::origin).unwrap_or_else(|| place.host.clone());
                let stays = |text: String| Self::lasting(StoreErrorKind::Unavailable, format!("request send failed: {text}"));
                match find::<rustls::Error>(error) {
                    Some(rustls::Error::InvalidCertificate(_)) => {
                        return stays(format!(
                            "the certificate of {} is not trusted ({why}); name its authority in AWS_CA_BUNDLE, or set \
                             `endpoint_skip_tls_verify`",
                            place.host
                        ));
                    }
                    Some(rustls::Error::InvalidMessage(_)) => {
                        return stays(format!(
                            "what answers at {host} does not speak TLS ({why}); is it http:// that `endpoint` should say?"
                        ));
                    }
                    _ => {}
                }
                if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
                    let text = format!(
                        "request send failed: what answers at {host} does not speak HTTP/1.1 ({why}); is it https:// that `endpoint` should say?"
                    );
                    return Self { class: RetryClass::Doubtful, ..Self::transient(text) };
                }
                let connected = failure.as_connector_error().and_then(|error| error.source()).and_then(find_connect);
                match connected {
                    Some(true) => Self {
                        class: RetryClass::Unreachable,
                        ..Self::transient(format!("request send failed: {} cannot be reached ({why})", place.host))
                    },
                    _ => Self::transient(format!("request send failed: the connection to {} broke ({why})", place.host)),
                }
            }
            _ => Self::transient(format!("request send failed: {}", innermost(error))),
        }
    }

    /// What the answer to a request to `asked` means.
    pub(super) fn answered(answer: &Answer, place: &StoreLocation, asked: Option<&Uri>) -> Self {
        let Answer { status, .. } = *answer;
        let code = answer.code.as_deref();
        let redirect = asked.and_then(|asked| Redirect::from_answer(answer, asked, place));
        let meaning = meaning(answer, place);
        let (class, kind) = match (&redirect, meaning) {
            (Some(Redirect::Follow(url)), _) => (RetryClass::Redirected(url.clone()), StoreErrorKind::Rejected),
            (_, meaning) => class_of(answer, meaning),
        };
        let mut text = format!("https response error StatusCode: {status}");
        let clean = |words: &str| sober(&place.secrets.without(words));
        let mut said = String::new();
        if let Some(title) = answer.page.as_ref().filter(|_| !(300..400).contains(&status)) {
            let title = clean(title);
            let title = if title.is_empty() { String::new() } else { format!(" ({title:?})") };
            said.push_str(&format!(", a web page{title} instead of an answer of S3"));
        }
        if let Some(code) = code {
            said.push_str(", ");
            said.push_str(&clean(code));
        }
        if let Some(message) = &answer.message {
            said.push_str(": ");
            said.push_str(&clean(message));
        }
        text.push_str(&said);
        let said = (!said.is_empty()).then_some(said);
        let hint = match &redirect {
            _ if meaning == Some(Meaning::Region) => region_hint(answer, place),
            Some(Redirect::Refused(to, why)) => {
                Some(format!("the endpoint redirects to {}, which is not followed: {why}; set `endpoint` to where the store is", sober(to)))
            }
            Some(Redirect::Follow(to)) => Some(format!("the endpoint redirects to {} again and again", sober(to))),
            None => hint(meaning, answer, place),
        };
        if let Some(hint) = hint {
            text.push_str("; ");
            text.push_str(&hint);
        }
        Self { class, kind, code: code.map(str::to_owned), status: Some(status), text, said }
    }

    /// A success whose body says otherwise: a web page, or an error of S3. [`None`] for any other body.
    pub(super) fn in_success(status: u16, body: &[u8], place: &StoreLocation) -> Option<Self> {
        let Body { code, message, page, is_error, .. } = Body::read(body);
        (is_error || page.is_some()).then(|| Self::answered(&Answer { status, code, message, page, ..Answer::default() }, place, None))
    }
}

/// What an answer means by its code or its words, if by either.
fn meaning(answer: &Answer, place: &StoreLocation) -> Option<Meaning> {
    // Names the bucket's region, whatever it calls that.
    let elsewhere = answer.region.as_ref().is_some_and(|region| *region != place.region);
    if elsewhere && matches!(answer.status, 301 | 307 | 308 | 400 | 403) {
        return Some(Meaning::Region);
    }
    let by_code = answer.code.as_deref().and_then(Meaning::from_code);
    let words = answer.message.as_deref().or(answer.page.as_deref());
    let by_words = words.and_then(Meaning::from_text).filter(|_| (400..500).contains(&answer.status));
    match (by_code, by_words) {
        (None | Some(Meaning::Permission | Meaning::Lasting), Some(words)) => Some(words),
        // Said of other faults of the header, too.
        (Some(Meaning::Region), _) if answer.is_malformed_elsewhere() => Some(Meaning::Lasting),
        (code, _) => code,
    }
}

impl Answer {
    /// A header that is malformed for another reason than its region.
    fn is_malformed_elsewhere(&self) -> bool {
        let about_region = self.message.as_ref().is_none_or(|message| message.to_ascii_lowercase().contains("region"));
        self.code.as_deref() == Some("AuthorizationHeaderMalformed") && self.region.is_none() && !about_region
    }
}

fn class_of(answer: &Answer, meaning: Option<Meaning>) -> (RetryClass, StoreErrorKind) {
    match meaning {
        Some(Meaning::Throttled) => (RetryClass::Throttled, StoreErrorKind::Unavailable),
        Some(Meaning::Transient) => (RetryClass::Transient, StoreErrorKind::Unavailable),
        Some(Meaning::Damaged) => (RetryClass::Doubtful, StoreErrorKind::Unavailable),
        Some(Meaning::Credentials) => (RetryClass::Credentials, StoreErrorKind::Denied),
        Some(Meaning::Clock) => (RetryClass::Clock(answer.date), StoreErrorKind::Denied),
        Some(Meaning::Signature | Meaning::Permission | Meaning::Account) => (RetryClass::Final, StoreErrorKind::Denied),
        Some(_) => (RetryClass::Final, StoreErrorKind::Rejected),
        None => from_status(answer),
    }
}

/// What an answer means that has no code, or one that nobody knows.
fn from_status(answer: &Answer) -> (RetryClass, StoreErrorKind) {
    match answer.status {
        // A portal or a console: it will be there the next time, too.
        0..300 if answer.page.is_some() => (RetryClass::Final, StoreErrorKind::Rejected),
        // An error that names itself, or a success that cannot be read.
        0..300 => (RetryClass::Doubtful, StoreErrorKind::Unavailable),
        401 => (RetryClass::Credentials, StoreErrorKind::Denied),
        403 => (RetryClass::Final, StoreErrorKind::Denied),
        408 | 425 => (RetryClass::Transient, StoreErrorKind::Unavailable),
        429 | 503 => (RetryClass::Throttled, StoreErrorKind::Unavailable),
        status if status >= 500 && !LASTING_SERVER_ERRORS.contains(&status) => (RetryClass::Transient, StoreErrorKind::Unavailable),
        _ => (RetryClass::Final, StoreErrorKind::Rejected),
    }
}

fn region_hint(answer: &Answer, place: &StoreLocation) -> Option<String> {
    let StoreLocation { bucket, region, .. } = place;
    Some(match (&answer.region, &answer.endpoint) {
        (Some(own), _) if own != region => format!("the bucket {bucket:?} is in {own:?}, not in {region:?}: set `region: {own}`"),
        (_, Some(host)) => {
            format!("the bucket {bucket:?} is not in {region:?} but at {:?}: set `region` to its own", sober(host))
        }
        _ => format!("the bucket {bucket:?} is not in {region:?}: set `region` to its own"),
    })
}

/// What the user can do about it.
fn hint(meaning: Option<Meaning>, answer: &Answer, place: &StoreLocation) -> Option<String> {
    let StoreLocation { bucket, host, .. } = place;
    if let Some(meaning) = meaning {
        return match meaning {
            Meaning::NoBucket => Some(format!("there is no bucket {bucket:?}: create it, or correct `bucket`")),
            Meaning::Clock => Some("the clock of this machine is wrong: set it".into()),
            Meaning::Credentials if answer.code.as_deref().is_some_and(|code| code.to_ascii_lowercase().contains("access")) => {
                Some("the store does not know these credentials: check which ones the environment or profile gives".into())
            }
            Meaning::Credentials if answer.code.as_deref().is_some_and(|code| code.to_ascii_lowercase().contains("expired")) => {
                Some("the session token has expired: log in again".into())
            }
            Meaning::Credentials => Some("the store does not take these credentials: log in again, or give others".into()),
            Meaning::Signature => Some(
                "the store computes another signature: check the secret key, and that no proxy changes requests on their way".into(),
            ),
            Meaning::Permission => permission_hint(answer, place),
            Meaning::Account => Some("it is the account that the store refuses, not the request: its owner has to settle that".into()),
            Meaning::Full => Some(FULL.into()),
            Meaning::Locked => Some("what has this key may not be replaced (object lock, retention or storage class): write to other keys".into()),
            Meaning::EncryptionKey => Some(
                "the key of `server_side_encryption_configuration` has to be enabled, in the bucket's region, and open to these credentials"
                    .into(),
            ),
            Meaning::TooLarge => Some(TOO_LARGE.into()),
            Meaning::Insecure => Some(format!("{host} wants TLS: `endpoint` has to begin with https://")),
            Meaning::Lasting => checksum_hint(answer),
            Meaning::Damaged | Meaning::Region | Meaning::Throttled | Meaning::Transient => None,
        };
    }
    Some(match answer.status {
        407 => "the proxy asks for a user and a password: https_proxy=http://USER:PASSWORD@HOST:PORT".into(),
        507 => FULL.into(),
        511 => "a portal on the way asks for a login".into(),
        413 => TOO_LARGE.into(),
        300..=399 => "the endpoint redirects without a place to go to: set `endpoint` to where the store is".into(),
        403 if answer.code.is_none() => return permission_hint(answer, place),
        _ if answer.page.is_some() && answer.status < 500 => {
            format!("is {host} the store? The page is of a console, a proxy or a portal: correct `endpoint`")
        }
        401 => "the store does not take these credentials: check which ones the environment or profile gives".into(),
        _ => return checksum_hint(answer),
    })
}

const FULL: &str = "the store has no room left, or a quota is used up: make room, or have it raised";

/// The limit may be a proxy's (nginx: 1 MiB) or the store's (5 GiB of one put).
const TOO_LARGE: &str = "the store, or a proxy before it, takes no body as large: `part_size` makes parts smaller (5 MiB at least), \
                         `batch_size_bytes` objects";

fn permission_hint(answer: &Answer, place: &StoreLocation) -> Option<String> {
    if answer.page.is_some() {
        return Some(format!("a proxy or firewall before {} does not let the request through", place.host));
    }
    let bucket = &place.bucket;
    Some(format!(
        "these credentials may not write to the bucket {bucket:?}: they need s3:PutObject{}, and with a KMS key kms:GenerateDataKey",
        place.needs
    ))
}

/// Stores that know no checksum headers name them; stores that ask for a checksum say so.
fn checksum_hint(answer: &Answer) -> Option<String> {
    let message = answer.message.as_ref().filter(|_| matches!(answer.status, 400 | 501))?.to_ascii_lowercase();
    if message.contains("object lock") {
        return Some("the bucket asks for a checksum: leave `checksum_algorithm: none` and AWS_REQUEST_CHECKSUM_CALCULATION out".into());
    }
    ["x-amz-checksum", "x-amz-sdk-checksum", "checksum"].iter().any(|name| message.contains(name)).then(|| {
        "if the store knows no checksum headers, `checksum_algorithm: none` (or AWS_REQUEST_CHECKSUM_CALCULATION=when_required) leaves them out"
            .to_owned()
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
            let text = format!("credentials cannot be had: {}{remedy}", sober(&why));
            if find::<hyper_util::client::legacy::Error>(other).is_some() {
                // Whoever gives them was not to be had: that passes, if it comes in the middle of a load.
                return Failure { class: RetryClass::Unreachable, kind: StoreErrorKind::Denied, ..Failure::transient(text) };
            }
            Failure::lasting(StoreErrorKind::Denied, text)
        }
    }
}

/// What to do where the instance metadata service gives no credentials.
const OF_AN_INSTANCE: &str = "; attach a role to the instance and let this process ask its metadata service, or set AWS_ACCESS_KEY_ID and \
                              AWS_SECRET_ACCESS_KEY, and AWS_EC2_METADATA_DISABLED=true";

/// The store's words: one line, bounded, without what looks like a key, token or signature, or steers a terminal.
fn sober(words: &str) -> String {
    let visible: String = words.chars().map(|c| if c.is_whitespace() { ' ' } else { visible(c) }).collect();
    let mut line = String::new();
    for word in visible.split_whitespace() {
        let access_key = ["AKIA", "ASIA", "AROA", "AIDA"].iter().any(|start| {
            let rest = word.find(start).and_then(|at| word.get(at..)).unwrap_or_default();
            rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= 16
        });
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

/// A character, or what stands for one that is not seen: controls, marks that turn the direction of writing, spaces without width.
fn visible(character: char) -> char {
    let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    if hidden || character.is_control() { char::REPLACEMENT_CHARACTER } else { character }
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
    use super::super::secrets::Secrets;
    use super::*;
    use proptest::prelude::*;

    fn place() -> StoreLocation {
        StoreLocation {
            bucket: "b".into(),
            region: "eu-west-1".into(),
            host: "store.example".into(),
            is_endpoint: true,
            needs: String::new(),
            secrets: Secrets::default(),
        }
    }

    const ASKED: &str = "http://store.example/b/k?x-id=PutObject";

    /// A status, headers and a body, as the SDK would hand them over.
    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let status = status.try_into().expect("a status");
        let mut response = HttpResponse::new(status, aws_smithy_types::body::SdkBody::from(body));
        headers.iter().for_each(|(name, value)| drop(response.headers_mut().insert(*name, *value)));
        Answer::read(&response, None, None)
    }

    fn failure(answer: &Answer) -> Failure {
        Failure::answered(answer, &place(), Some(&ASKED.parse().expect("a URL")))
    }

    /// What a store answers, whether that is tried again, and what the user is told.
    #[test]
    fn an_answer_says_whose_fault_it_is_and_what_to_do() {
        use RetryClass::{Credentials, Doubtful, Final, Throttled, Transient};
        use StoreErrorKind::{Denied, Rejected, Unavailable};
        let check = |status: u16, body: &'static str, class: RetryClass, kind: StoreErrorKind, words: &str| {
            let failure = failure(&answer(status, &[], body));
            assert_eq!((&failure.class, failure.kind), (&class, kind), "{status} {body}");
            let said = failure.into_error("PutObject", 1).message;
            assert!(said.contains(words) && said.contains(&format!("StatusCode: {status}")), "{status} {body}: {said}");
            if words.is_empty() {
                assert!(!said.contains(';'), "{status} {body}: {said}");
            }
        };
        let code = |status: u16, code: &'static str, class: RetryClass, kind: StoreErrorKind, words: &str| {
            let body = Box::leak(format!("<Error><Code>{code}</Code><Message>Words.</Message></Error>").into_boxed_str());
            check(status, body, class, kind, words);
        };
        // It passes.
        code(500, "InternalError", Transient, Unavailable, "");
        code(200, "InternalError", Transient, Unavailable, "");
        code(503, "SlowDown", Throttled, Unavailable, "");
        code(200, "SlowDown", Throttled, Unavailable, "");
        code(400, "RequestTimeout", Transient, Unavailable, "");
        code(409, "OperationAborted", Transient, Unavailable, "");
        code(409, "ConditionalRequestConflict", Transient, Unavailable, "");
        code(503, "XMinioServerNotInitialized", Transient, Unavailable, "");
        code(400, "KMS.ThrottlingException", Throttled, Unavailable, "");
        code(400, "KMS.KMSInternalException", Transient, Unavailable, "");
        for status in [500, 502, 504, 520, 599, 408, 425] {
            check(status, "", Transient, Unavailable, "");
            check(status, "<html><title>502 Bad Gateway</title></html>", Transient, Unavailable, "a web page (\"502 Bad Gateway\")");
        }
        for status in [429, 503] {
            check(status, "", Throttled, Unavailable, "");
        }
        // It passes, or the store is odd: tried a few times.
        check(200, "", Doubtful, Unavailable, "");
        check(200, "<CompleteMultipartUploadResult>", Doubtful, Unavailable, "");
        for damaged in ["BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody", "CrcMismatch"] {
            code(400, damaged, Doubtful, Unavailable, "");
        }
        // Other credentials may do.
        code(400, "ExpiredToken", Credentials, Denied, "the session token has expired: log in again");
        code(403, "ExpiredToken", Credentials, Denied, "the session token has expired: log in again");
        code(403, "InvalidAccessKeyId", Credentials, Denied, "does not know these credentials");
        code(400, "TokenRefreshRequired", Credentials, Denied, "does not take these credentials");
        code(401, "Unauthorized", Credentials, Denied, "does not take these credentials");
        check(401, "", Credentials, Denied, "does not take these credentials");
        for skewed in ["RequestTimeTooSkewed", "RequestExpired"] {
            code(403, skewed, RetryClass::Clock(None), Denied, "the clock of this machine is wrong");
        }
        // Nothing but another spec, permission, bill or disk does.
        code(403, "AccessDenied", Final, Denied, "they need s3:PutObject");
        check(403, "", Final, Denied, "they need s3:PutObject");
        code(403, "SignatureDoesNotMatch", Final, Denied, "check the secret key");
        for account in ["AccountProblem", "AllAccessDisabled", "NotSignedUp", "UserSuspended", "NotEntitled", "UserProjectAccountProblem"] {
            code(403, account, Final, Denied, "it is the account that the store refuses");
        }
        for (status, full) in
            [(403, "QuotaExceeded"), (400, "XMinioAdminBucketQuotaExceeded"), (507, "XMinioStorageFull"), (500, "XRustfsQuotaExceeded")]
        {
            code(status, full, Final, Rejected, "no room left, or a quota is used up");
        }
        check(507, "", Final, Rejected, "no room left");
        check(
            403,
            "<Error><Code>AccessDenied</Code><Message>Cannot upload files, storage cap exceeded.</Message></Error>",
            Final,
            Rejected,
            "no room",
        );
        check(403, r#"{"code":"cap_exceeded","message":"Words.","status":403}"#, Final, Rejected, "no room left");
        for locked in ["InvalidObjectState", "RetentionPolicyNotMet"] {
            code(403, locked, Final, Rejected, "may not be replaced");
        }
        check(
            403,
            "<Error><Code>AccessDenied</Code><Message>Object is WORM protected and cannot be overwritten</Message></Error>",
            Final,
            Rejected,
            "may not be replaced",
        );
        for key in ["KMS.NotFoundException", "KMS.DisabledException", "CloudKmsDisabledKey", "EncryptionTypeMismatch"] {
            code(400, key, Final, Rejected, "the key of `server_side_encryption_configuration`");
        }
        code(404, "NoSuchBucket", Final, Rejected, "there is no bucket \"b\": create it, or correct `bucket`");
        code(400, "EntityTooLarge", Final, Rejected, "`part_size` makes parts smaller");
        check(413, "<html><title>413 Request Entity Too Large</title></html>", Final, Rejected, "`part_size` makes parts smaller");
        code(501, "NotImplemented", Final, Rejected, "");
        code(400, "TooManyBuckets", Final, Rejected, "");
        code(403, "SomethingElse", Final, Denied, "");
        code(405, "MethodNotAllowed", Final, Rejected, "");
        for status in [400, 402, 404, 405, 406, 409, 410, 411, 412, 414, 416, 417, 422, 431, 451, 501, 505, 506, 508, 510] {
            check(status, "", Final, Rejected, "");
        }
        check(407, "", Final, Rejected, "the proxy asks for a user and a password");
        check(511, "", Final, Rejected, "a portal on the way asks for a login");
        // It is no store, or not so.
        for status in [200, 404, 405] {
            check(
                status,
                "<!doctype html><title>Console</title>",
                Final,
                Rejected,
                "a web page (\"Console\") instead of an answer of S3; is store.example the store?",
            );
        }
        check(403, "<html><title>Blocked</title></html>", Final, Denied, "a proxy or firewall before store.example");
        for words in [
            "Client sent an HTTP request to an HTTPS server.\n",
            "<Error><Message>The plain HTTP request was sent to HTTPS port</Message></Error>",
            "Bad Request\nThis combination of host and port requires TLS.\n",
        ] {
            check(400, words, Final, Rejected, "store.example wants TLS: `endpoint` has to begin with https://");
        }
        check(
            400,
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
            Final,
            Rejected,
            "store.example wants TLS",
        );
        // Checksums.
        for (status, body) in [
            (400, "<Error><Code>InvalidArgument</Code><Message>Unsupported header 'x-amz-checksum-crc32' received.</Message></Error>"),
            (501, "<Error><Code>NotImplemented</Code><Message>Header 'x-amz-sdk-checksum-algorithm' not implemented</Message></Error>"),
            (400, "<Error><Code>InvalidRequest</Code><Message>You can only specify one non-default checksum at a time.</Message></Error>"),
        ] {
            check(status, body, Final, Rejected, "`checksum_algorithm: none` (or AWS_REQUEST_CHECKSUM_CALCULATION=when_required)");
        }
        check(
            400,
            "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters</Message></Error>",
            Final,
            Rejected,
            "the bucket asks for a checksum",
        );
    }

    #[test]
    fn another_region_is_named() {
        let check = |answer: Answer, words: &str| {
            let failure = failure(&answer);
            assert_eq!((&failure.class, failure.kind), (&RetryClass::Final, StoreErrorKind::Rejected), "{answer:?}");
            let said = failure.into_error("PutObject", 1).message;
            assert!(said.contains(words), "{said}");
        };
        const NAMED: &str = "the bucket \"b\" is in \"ap-south-1\", not in \"eu-west-1\": set `region: ap-south-1`";
        let header = &[("x-amz-bucket-region", "ap-south-1")];
        for status in [301, 400, 403] {
            check(answer(status, header, ""), NAMED);
            check(answer(status, header, "<Error><Code>AccessDenied</Code></Error>"), NAMED);
            check(answer(status, &[], "<Error><Code>AuthorizationHeaderMalformed</Code><Region>ap-south-1</Region></Error>"), NAMED);
        }
        let words =
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong; expecting 'ap-south-1'</Message></Error>";
        check(answer(400, &[], words), NAMED);
        let endpoint = "<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.ap-south-1.amazonaws.com</Endpoint></Error>";
        check(answer(301, &[], endpoint), "not in \"eu-west-1\" but at \"b.s3.ap-south-1.amazonaws.com\": set `region` to its own");
        check(answer(301, &[], "<Error><Code>PermanentRedirect</Code></Error>"), "is not in \"eu-west-1\": set `region` to its own");
        let other = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>a non-empty Access Key must be provided</Message></Error>";
        let said = failure(&answer(400, &[], other)).into_error("PutObject", 1).message;
        assert!(!said.contains("region"), "{said}");
    }

    #[test]
    fn a_redirect_is_followed_or_named() {
        let https = "https://store.example/b/k?x-id=PutObject";
        let to = |status, location| failure(&answer(status, &[("location", location)], "<html>moved</html>"));
        for status in [307, 308] {
            assert_eq!(to(status, https).class, RetryClass::Redirected(https.to_owned()));
        }
        for (status, location, words) in [
            (
                301,
                https,
                "the endpoint redirects to https://store.example, which is not followed: such a redirect does not keep the method",
            ),
            (302, https, "redirects to https://store.example,"),
            (308, "https://other.example/b/k?token=x", "redirects to https://other.example, which is not followed: it is another host"),
        ] {
            let failure = to(status, location);
            assert_eq!((&failure.class, failure.kind), (&RetryClass::Final, StoreErrorKind::Rejected));
            let said = failure.into_error("PutObject", 1).message;
            assert!(said.contains(words) && said.ends_with("set `endpoint` to where the store is"), "{said}");
            assert!(!said.contains("is not in") && !said.contains("token"), "{said}");
        }
        let nowhere = failure(&answer(302, &[], "")).into_error("PutObject", 1).message;
        assert!(nowhere.contains("redirects without a place to go to"), "{nowhere}");
    }

    #[test]
    fn a_success_that_is_none_is_seen() {
        let found = |body: &str| Failure::in_success(200, body.as_bytes(), &place()).map(|failure| failure.class);
        assert_eq!(found(""), None);
        assert_eq!(found("stored"), None);
        assert_eq!(found("{\"etag\":\"x\"}"), None);
        assert_eq!(found("<PutObjectResult/>"), None);
        assert_eq!(found("<html><title>Console</title>"), Some(RetryClass::Final));
        assert_eq!(found("<Error><Code>InternalError</Code></Error>"), Some(RetryClass::Transient));
        assert_eq!(found("<Error><Code>AccessDenied</Code></Error>"), Some(RetryClass::Final));
    }

    #[test]
    fn a_line_names_operation_status_code_and_what_to_do() {
        let check = |status, body, expected: &str| {
            let error = failure(&answer(status, &[], body)).into_error("PutObject", 1);
            assert_eq!(error.message, expected);
        };
        check(404, "", "operation error S3: PutObject, https response error StatusCode: 404");
        check(
            404,
            "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>",
            "operation error S3: PutObject, https response error StatusCode: 404, NoSuchBucket: The specified bucket does not exist; \
             there is no bucket \"b\": create it, or correct `bucket`",
        );
    }

    #[tokio::test]
    async fn what_a_store_repeats_of_a_body_is_left_out() {
        use crate::payload::body::Piece;
        use bytes::Bytes;
        let body = |pieces: &[&'static str]| {
            Payload::new(pieces.iter().map(|piece| Piece::Memory(Bytes::from_static(piece.as_bytes()))).collect())
        };
        let said = async |message, body: &Payload| {
            let answer = Answer { status: 400, code: Some("InvalidRow".into()), message: Some(String::from(message)), ..Answer::default() };
            let failure = failure(&answer);
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
        assert_eq!(sober("<Key>ASIAIOSFODNN7EXAMPLE</Key>"), "[redacted]");
        assert_eq!(sober("\u{1b}[31mred\u{202e} \u{0}"), "\u{fffd}[31mred\u{fffd} \u{fffd}");
        assert_eq!(sober("see X-Amz-Security-Token=abc"), "see [redacted]");
        assert_eq!(sober(&"t".repeat(101)), "[redacted]");
        assert_eq!(sober(&"word ".repeat(1_000)).chars().count(), MAX_STORE_WORDS + 1);
    }

    /// What bodies, headers and codes are made of.
    const PIECES: [&str; 16] = [
        "<Error>",
        "<Code>SlowDown</Code>",
        "<Code>ExpiredToken",
        "</Code>",
        "<Message>AKIAIOSFODNN7EXAMPLE</Message>",
        "<Region>\u{1b}[2J</Region>",
        "<Endpoint>x</Endpoint>",
        "<!doctype html><title>",
        "</title>",
        "{\"error\":{\"code\":",
        "[[[[",
        "\u{0}\n\r\u{202e}",
        "https://store.example/b/k",
        "//",
        "expecting '",
        "%",
    ];

    proptest! {
        /// Any answer, to any end: one line, bounded, without control characters or keys; and what is tried again is what may pass.
        #[test]
        fn any_answer_becomes_one_bounded_line(
            status in 100_u16..1000,
            pieces in proptest::collection::vec(0_usize..PIECES.len(), 0..12),
            garbage in proptest::collection::vec(any::<u8>(), 0..40),
            location in proptest::option::of(0_usize..PIECES.len()),
        ) {
            let mut body: Vec<u8> = pieces.iter().flat_map(|piece| PIECES[*piece].bytes()).collect();
            body.extend(garbage);
            let mut response = HttpResponse::new(status.try_into().expect("a status"), aws_smithy_types::body::SdkBody::from(body.clone()));
            if let Some(location) = location {
                let _ = response.headers_mut().try_insert("location", PIECES[location]);
            }
            let failure = failure(&Answer::read(&response, None, None));
            prop_assert!(!matches!(failure.class, RetryClass::Redirected(_)) || matches!(status, 307 | 308));
            let retried = matches!(failure.class, RetryClass::Transient | RetryClass::Throttled);
            prop_assert!(!retried || failure.code.is_some() || matches!(status, 408 | 425 | 429 | 500..), "{status}");
            let said = failure.into_error("PutObject", 1).message;
            prop_assert!(said.len() < 4_000 && !said.contains("AKIAIOSFODNN7EXAMPLE"), "{said}");
            prop_assert!(!said.chars().any(char::is_control), "{said:?}");
            let _ = Failure::in_success(status, &body, &place());
        }
    }
}
