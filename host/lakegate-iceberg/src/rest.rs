//! The client of an Iceberg REST catalog: configuration, namespaces, and tables that are loaded, created and committed to.
//!
//! Answers are a stranger's: each has a bound of bytes, redirects are not followed, and what it says of places and names is checked by who
//! uses it. What became of a commit is told by [`CommitAnswer`]; every other request may be sent again.

use crate::auth::{Auth, Signer, asks_for_a_token};
use crate::error::{Error, ErrorKind, excerpt};
use crate::limits::{MAX_ANSWER_BYTES, MAX_LEVELS, MAX_NAME_BYTES, MAX_TABLE_BYTES};
use crate::metadata::Metadata;
use crate::transport::{Transport, TransportError};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use lakegate_base::clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What stands in a segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What separates the levels of a namespace in a path, unless the catalog says otherwise.
const SEPARATOR: &str = "%1F";

/// Bytes of the catalog's address.
const MAX_URI_BYTES: usize = 2_048;

/// Which catalog, and who we are to it.
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    /// Its address, below which `v1/config` is: `https://catalog.example/api`.
    pub uri: String,
    /// Which warehouse of it, where it has several: a name, a location, or an ARN.
    pub warehouse: Option<String>,
    /// Who we are.
    pub auth: Auth,
    /// How requests reach it.
    pub transport: Arc<dyn Transport>,
}

/// A catalog.
#[derive(Debug)]
pub struct Catalog {
    base: String,
    /// Of the paths below `v1`; ends in a slash unless it is empty.
    prefix: String,
    separator: String,
    /// Whether a request that is sent twice under one key is carried out once.
    keeps_keys: bool,
    signer: Signer,
    transport: Arc<dyn Transport>,
    requests: AtomicU64,
}

#[derive(Deserialize)]
struct ConfigAnswer {
    #[serde(default)]
    defaults: BTreeMap<String, Option<String>>,
    #[serde(default)]
    overrides: BTreeMap<String, Option<String>>,
    #[serde(default, rename = "idempotency-key-lifetime")]
    key_lifetime: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    message: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// The name of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// The levels of its namespace.
    pub namespace: Vec<String>,
    /// Its name there.
    pub name: String,
}

impl TableName {
    /// # Errors
    /// `Invalid`: a level or the name is empty, too long, or has a control character.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_LEVELS).contains(&self.namespace.len()) {
            return Err(Error::invalid(format!("a namespace has 1 to {MAX_LEVELS} levels, and this has {}", self.namespace.len())));
        }
        let bad = |name: &&String| !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.chars().any(char::is_control);
        match self.namespace.iter().chain([&self.name]).find(bad) {
            Some(bad) => Err(Error::invalid(format!(
                "{:?} cannot name a table or a level of a namespace: 1 to {MAX_NAME_BYTES} bytes without control characters can",
                excerpt(bad)
            ))),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.namespace.join("."), self.name)
    }
}

/// What became of a commit.
#[derive(Debug, Clone)]
pub(crate) enum CommitAnswer {
    /// It was taken; the table as it is now.
    Taken(Box<Metadata>),
    /// It was not taken: another was there before, or the catalog was not reached or too busy.
    NotTaken(Error),
    /// It will never be taken.
    Refused(Error),
    /// Nothing says what became of it.
    Unknown(Error),
}

impl Catalog {
    /// Asks a catalog for its configuration.
    ///
    /// # Errors
    /// `Invalid`: the address is none. `Denied`, `Unavailable`, `Rejected`: what the catalog says, or that it says nothing.
    pub async fn connect(options: CatalogOptions) -> Result<Self, Error> {
        let base = base_of(&options.uri)?;
        let mut catalog = Self {
            signer: Signer::new(options.auth, format!("{base}v1/oauth/tokens")),
            base,
            prefix: String::new(),
            separator: SEPARATOR.to_owned(),
            keeps_keys: false,
            transport: options.transport,
            requests: AtomicU64::new(0),
        };
        let mut path = "config".to_owned();
        if let Some(warehouse) = &options.warehouse {
            path.push_str(&format!("?warehouse={}", utf8_percent_encode(warehouse, SEGMENT)));
        }
        let answer = catalog
            .ask(Method::GET, &path, None, MAX_ANSWER_BYTES)
            .await
            .map_err(|failure| failure.into_error(&format!("asking {} for its configuration", catalog.base)))?;
        let config: ConfigAnswer = serde_json::from_slice(answer.body()).map_err(|error| {
            Error::rejected(format!("the catalog at {} answers with no configuration: {}", catalog.base, excerpt(&error.to_string())))
        })?;
        catalog.configure(config)?;
        Ok(catalog)
    }

    fn configure(&mut self, mut config: ConfigAnswer) -> Result<(), Error> {
        let mut take = |name: &str| config.overrides.remove(name).or_else(|| config.defaults.remove(name)).flatten();
        let refuse = |what: &str, value: &str| {
            let value = excerpt(value);
            Err(Error::rejected(format!("the catalog at {} asks for {what} {value:?}, which cannot be used", self.base)))
        };
        if let Some(uri) = take("uri").filter(|uri| !base_of(uri).is_ok_and(|base| base == self.base)) {
            // It would get our credentials.
            return refuse("the address", &uri);
        }
        if let Some(prefix) = take("prefix").filter(|prefix| !prefix.is_empty()) {
            if !prefix.split('/').all(is_segment) {
                return refuse("the prefix", &prefix);
            }
            self.prefix = format!("{prefix}/");
        }
        if let Some(separator) = take("namespace-separator") {
            if !is_segment(&separator) && separator != "." {
                return refuse("the separator", &separator);
            }
            self.separator = separator;
        }
        self.keeps_keys = config.key_lifetime.is_some();
        Ok(())
    }

    /// The catalog's address.
    pub fn uri(&self) -> &str {
        &self.base
    }

    /// Whether the catalog carries out a commit once that is sent twice under one `Idempotency-Key`.
    pub fn keeps_keys(&self) -> bool {
        self.keeps_keys
    }

    /// Requests that were sent so far, those for tokens left out.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn namespace_path(&self, namespace: &[String]) -> String {
        let levels: Vec<String> = namespace.iter().map(|level| utf8_percent_encode(level, SEGMENT).to_string()).collect();
        format!("{}namespaces/{}", self.prefix, levels.join(&self.separator))
    }

    fn table_path(&self, table: &TableName) -> String {
        format!("{}/tables/{}", self.namespace_path(&table.namespace), utf8_percent_encode(&table.name, SEGMENT))
    }

    /// Makes a namespace, unless it is there.
    pub(crate) async fn ensure_namespace(&self, namespace: &[String]) -> Result<(), Error> {
        let what = || format!("making the namespace {:?}", namespace.join("."));
        match self.ask(Method::GET, &self.namespace_path(namespace), None, MAX_ANSWER_BYTES).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.status == Some(StatusCode::NOT_FOUND) => {}
            Err(failure) => return Err(failure.into_error(&what())),
        }
        let body = json!({"namespace": namespace, "properties": {}});
        match self.ask(Method::POST, &format!("{}namespaces", self.prefix), Some(&body), MAX_ANSWER_BYTES).await {
            Ok(_) => Ok(()),
            // Another was faster.
            Err(failure) if failure.status == Some(StatusCode::CONFLICT) => Ok(()),
            Err(failure) => Err(failure.into_error(&what())),
        }
    }

    /// The table, if there is one.
    pub(crate) async fn load_table(&self, table: &TableName) -> Result<Option<Metadata>, Error> {
        match self.ask(Method::GET, &self.table_path(table), None, MAX_TABLE_BYTES).await {
            Ok(answer) => Metadata::parse(answer.body()).map(Some),
            Err(failure) if failure.status == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(failure) => Err(failure.into_error(&format!("loading the table {table}"))),
        }
    }

    /// Creates a table. [`None`]: there is one already.
    pub(crate) async fn create_table(&self, table: &TableName, request: &Json) -> Result<Option<Metadata>, Error> {
        let path = format!("{}/tables", self.namespace_path(&table.namespace));
        match self.ask(Method::POST, &path, Some(request), MAX_TABLE_BYTES).await {
            Ok(answer) => Metadata::parse(answer.body()).map(Some),
            Err(failure) if failure.status == Some(StatusCode::CONFLICT) => Ok(None),
            Err(failure) => Err(failure.into_error(&format!("creating the table {table}"))),
        }
    }

    /// Sends a commit, once.
    pub(crate) async fn commit(&self, table: &TableName, request: &Bytes, key: Option<&str>) -> CommitAnswer {
        let key = key.filter(|_| self.keeps_keys);
        match self.send(Method::POST, &self.table_path(table), Some(request.clone()), key, MAX_TABLE_BYTES).await {
            Ok(answer) => match Metadata::parse(answer.body()) {
                Ok(metadata) => CommitAnswer::Taken(Box::new(metadata)),
                Err(error) => CommitAnswer::Unknown(error),
            },
            Err(failure) => {
                let fate = failure.fate;
                let error = failure.into_error(&format!("a commit to {table}"));
                match fate {
                    Fate::NotTaken => CommitAnswer::NotTaken(error),
                    Fate::Refused => CommitAnswer::Refused(error),
                    Fate::Unknown => CommitAnswer::Unknown(error),
                }
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Json>, most_bytes: usize) -> Result<Response<Bytes>, Failure> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        self.send(method, path, body, None, most_bytes).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        key: Option<&str>,
        most_bytes: usize,
    ) -> Result<Response<Bytes>, Failure> {
        let mut renewed = false;
        loop {
            let uri = format!("{}v1/{path}", self.base);
            let mut request = Request::new(body.clone().unwrap_or_default());
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.parse().map_err(|_| Failure::refused(Error::invalid("the request's address has no form of one")))?;
            let headers = request.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            if body.is_some() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
                headers.insert("idempotency-key", key);
            }
            self.signer.sign(&*self.transport, &mut request, clock::now()).await.map_err(Failure::not_sent)?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let answer = self.transport.send(request, most_bytes).await.map_err(Failure::from_transport)?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            // Refused before it was looked at: it is sent once more with another token.
            if asks_for_a_token(status) && !renewed && self.signer.forget_token().await {
                renewed = true;
                continue;
            }
            return Err(self.failure(&answer).await);
        }
    }

    async fn failure(&self, answer: &Response<Bytes>) -> Failure {
        let status = answer.status();
        let (kind, fate) = match status.as_u16() {
            401 | 403 | 419 => (ErrorKind::Denied, Fate::Refused),
            409 | 429 => (ErrorKind::Unavailable, Fate::NotTaken),
            408 | 425 | 500.. => (ErrorKind::Unavailable, Fate::Unknown),
            _ => (ErrorKind::Rejected, Fate::Refused),
        };
        let said = serde_json::from_slice::<ErrorAnswer>(answer.body()).ok().map(|answer| answer.error);
        let mut text = format!("the answer is {status}");
        if status.is_redirection() {
            text.push_str(", and redirects are not followed");
        }
        if let Some(ErrorBody { message, kind }) = said {
            let said: Vec<String> = [kind, message].into_iter().flatten().collect();
            // Cut only then: a secret that is cut would not be found.
            text.push_str(&format!(" ({})", excerpt(&self.signer.without_secrets(&said.join(": ")).await)));
        }
        Failure { status: Some(status), fate, error: Error::new(kind, text) }
    }
}

/// What is known of a request that has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    NotTaken,
    Refused,
    Unknown,
}

#[derive(Debug)]
struct Failure {
    status: Option<StatusCode>,
    fate: Fate,
    error: Error,
}

impl Failure {
    fn refused(error: Error) -> Self {
        Self { status: None, fate: Fate::Refused, error }
    }

    /// It could not be signed.
    fn not_sent(error: Error) -> Self {
        let fate = if error.kind == ErrorKind::Unavailable { Fate::NotTaken } else { Fate::Refused };
        Self { status: None, fate, error }
    }

    fn from_transport(error: TransportError) -> Self {
        let (kind, fate) = match &error {
            TransportError::NotSent(_) => (ErrorKind::Unavailable, Fate::NotTaken),
            TransportError::NoAnswer(_) => (ErrorKind::Unavailable, Fate::Unknown),
            TransportError::TooLarge(_) => (ErrorKind::Rejected, Fate::Unknown),
        };
        Self { status: None, fate, error: Error::new(kind, error.to_string()) }
    }

    fn into_error(self, what: &str) -> Error {
        Error::new(self.error.kind, format!("{what} failed at the catalog: {}", self.error.message))
    }
}

/// The address, with a slash at its end.
fn base_of(uri: &str) -> Result<String, Error> {
    let refuse = || {
        Error::invalid(format!(
            "the catalog's address cannot be used: http:// or https://, a host and a path are accepted, without user, query or fragment, in at most \
             {MAX_URI_BYTES} bytes"
        ))
    };
    let trimmed = uri.trim_end_matches('/');
    let clean = uri.len() <= MAX_URI_BYTES && !trimmed.contains(['@', '?', '#']);
    let parsed: Uri = format!("{trimmed}/").parse().map_err(|_| refuse())?;
    let path = parsed.path().trim_matches('/');
    let good_path = path.is_empty() || path.split('/').all(is_segment);
    if !clean || !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none_or(str::is_empty) || !good_path {
        return Err(refuse());
    }
    Ok(format!("{trimmed}/"))
}

/// Whether a text is one segment of a path as it is.
fn is_segment(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte);
    !text.is_empty() && text.len() <= MAX_URI_BYTES && !matches!(text, "." | "..") && text.bytes().all(good)
}

#[cfg(test)]
mod tests;
