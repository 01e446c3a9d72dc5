//! Who we are to a catalog. Secrets are in no message and in no debug output.

use crate::error::{Error, ErrorKind, excerpt};
use crate::limits::MAX_ANSWER_BYTES;
use crate::transport::Transport;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::fmt;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How requests prove who sends them.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Not at all.
    None,
    /// A token, as it is.
    Bearer(Secret),
    /// A token that is asked for with a client's name and secret (OAuth2 client credentials), and again before it expires.
    OAuth2 {
        /// Where tokens are given. [`None`]: the catalog itself, at `v1/oauth/tokens`.
        token_uri: Option<String>,
        /// The client's name.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// What the token is to be good for; `catalog` is a custom.
        scope: Option<String>,
    },
    /// AWS's signatures, version 4.
    SigV4 {
        /// The region that is signed for.
        region: String,
        /// The service that is signed for: `glue`, `s3tables`, `execute-api`.
        service: String,
        /// Who gives the credentials.
        credentials: SharedCredentialsProvider,
    },
}

/// A token is renewed this long before it expires, or at half of its life if that is shorter.
const EARLY: Duration = Duration::from_secs(60);

/// What a token is taken to be good for if the answer does not say, and at most.
const DEFAULT_LIFE: Duration = Duration::from_secs(3_600);
const MAX_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// Characters of a token, which becomes a header.
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// What is said in place of a secret.
const HIDDEN: &str = "***";

#[derive(Debug, Clone)]
struct Token {
    text: Secret,
    until: SystemTime,
}

/// Signs requests.
#[derive(Debug)]
pub(crate) struct Signer {
    auth: Auth,
    token_uri: String,
    token: Mutex<Option<Token>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Signer {
    /// `tokens` is where the catalog gives tokens, if it does.
    pub(crate) fn new(auth: Auth, tokens: String) -> Self {
        let token_uri = match &auth {
            Auth::OAuth2 { token_uri: Some(uri), .. } => uri.clone(),
            _ => tokens,
        };
        Self { auth, token_uri, token: Mutex::default() }
    }

    /// Adds what proves who sends the request.
    ///
    /// # Errors
    /// `Denied`: there are no credentials, or no token is given. `Unavailable`: who gives them is not reached.
    pub(crate) async fn sign(&self, transport: &dyn Transport, request: &mut Request<Bytes>, now: SystemTime) -> Result<(), Error> {
        match &self.auth {
            Auth::None => Ok(()),
            Auth::Bearer(token) => bearer(request, token),
            Auth::OAuth2 { client_id, client_secret, scope, .. } => {
                let mut cached = self.token.lock().await;
                let token = match cached.as_ref().filter(|token| now < token.until) {
                    Some(token) => token.clone(),
                    None => cached.insert(self.new_token(transport, client_id, client_secret, scope.as_deref(), now).await?).clone(),
                };
                bearer(request, &token.text)
            }
            Auth::SigV4 { region, service, credentials } => {
                let credentials = credentials.provide_credentials().await;
                let credentials = credentials
                    .map_err(|error| Error::new(ErrorKind::Denied, format!("no credentials to sign for the catalog: {error}")))?;
                // The signer panics at what no header can have.
                let parts = [region, service, credentials.access_key_id(), credentials.session_token().unwrap_or("-")];
                if parts.iter().any(|part| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_graphic())) {
                    let why = "the region, the service, the key id or the session token has characters that no header can have, or none";
                    return Err(Error::new(ErrorKind::Denied, format!("no request to the catalog can be signed: {why}")));
                }
                let identity = credentials.into();
                signed(request, region, service, &identity, now, PayloadChecksumKind::XAmzSha256)
            }
        }
    }

    /// Whether there may be another token after the catalog has refused this one. It is forgotten then.
    pub(crate) async fn forget_token(&self) -> bool {
        matches!(self.auth, Auth::OAuth2 { .. }) && self.token.lock().await.take().is_some()
    }

    /// A stranger's text without our secrets, should it repeat them.
    pub(crate) async fn without_secrets(&self, text: &str) -> String {
        let token = self.token.lock().await.as_ref().map(|token| token.text.clone());
        let own = match &self.auth {
            Auth::Bearer(token) => Some(token.clone()),
            Auth::OAuth2 { client_secret, .. } => Some(client_secret.clone()),
            Auth::None | Auth::SigV4 { .. } => None,
        };
        let mut text = text.to_owned();
        for Secret(secret) in own.into_iter().chain(token) {
            for form in [utf8_percent_encode(&secret, NON_ALPHANUMERIC).to_string(), secret] {
                if !form.is_empty() {
                    text = text.replace(&form, HIDDEN);
                }
            }
        }
        text
    }

    async fn new_token(
        &self,
        transport: &dyn Transport,
        client_id: &str,
        secret: &Secret,
        scope: Option<&str>,
        now: SystemTime,
    ) -> Result<Token, Error> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut form = format!("grant_type=client_credentials&client_id={}&client_secret={}", encoded(client_id), encoded(&secret.0));
        if let Some(scope) = scope {
            form.push_str(&format!("&scope={}", encoded(scope)));
        }
        let failed = |kind: ErrorKind, what: String| Error::new(kind, format!("no token for the catalog from {}: {what}", self.token_uri));
        let request = Request::post(&self.token_uri).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(Bytes::from(form));
        let request = request.map_err(|_| Error::invalid(format!("{:?} is no URL that tokens can be asked for at", self.token_uri)))?;
        let answer = transport.send(request, MAX_ANSWER_BYTES).await.map_err(|error| failed(ErrorKind::Unavailable, error.to_string()))?;
        let status = answer.status();
        if !status.is_success() {
            let kind = if status.is_server_error() { ErrorKind::Unavailable } else { ErrorKind::Denied };
            return Err(failed(kind, format!("the answer is {status}")));
        }
        // What is wrong with it is not repeated: it may be a token.
        let answer: TokenAnswer =
            serde_json::from_slice(answer.body()).map_err(|_| failed(ErrorKind::Rejected, "the answer is no token".into()))?;
        if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer") && !kind.eq_ignore_ascii_case("N_A")) {
            return Err(failed(ErrorKind::Rejected, "the token is of another type than `bearer`".into()));
        }
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(MAX_LIFE);
        Ok(Token { text: Secret(answer.access_token), until: now + life.saturating_sub(EARLY.min(life / 2)) })
    }
}

fn bearer(request: &mut Request<Bytes>, Secret(token): &Secret) -> Result<(), Error> {
    let header = Some(token).filter(|token| (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.is_ascii());
    let header = header.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let mut header =
        header.ok_or_else(|| Error::new(ErrorKind::Denied, "the token for the catalog has characters that no header can have, or none"))?;
    header.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, header);
    Ok(())
}

fn signed(
    request: &mut Request<Bytes>,
    region: &str,
    service: &str,
    identity: &Identity,
    now: SystemTime,
    checksum: PayloadChecksumKind,
) -> Result<(), Error> {
    let failed = |why: String| Error::invalid(format!("the request to the catalog cannot be signed: {}", excerpt(&why)));
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = checksum;
    let params = v4::SigningParams::builder().identity(identity).region(region).name(service).time(now).settings(settings).build();
    let params = params.map_err(|error| failed(error.to_string()))?.into();
    let mut headers = Vec::new();
    for (name, value) in request.headers() {
        headers.push((name.as_str(), value.to_str().map_err(|error| failed(error.to_string()))?));
    }
    let uri = request.uri().to_string();
    let signable = SignableRequest::new(request.method().as_str(), &uri, headers.into_iter(), SignableBody::Bytes(request.body()));
    let signable = signable.map_err(|error| failed(error.to_string()))?;
    let (instructions, _) = sign(signable, &params).map_err(|error| failed(error.to_string()))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// Whether a status says that the token is not good any more.
pub(crate) fn asks_for_a_token(status: StatusCode) -> bool {
    // 419 is the REST specification's own, for sessions that have ended.
    matches!(status.as_u16(), 401 | 419)
}

#[cfg(test)]
mod tests;
