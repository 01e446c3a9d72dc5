//! What one tenant may do, as the operator writes it down. Nothing is granted that is not named.

use super::audit::Waiting;
use super::metrics::{OpenSession, TenantMetrics};
use super::quarantine::Quarantine;
use super::quota::Quota;
use super::rate_limit::RateLimit;
use super::resources::Resources;
use super::tenant_log::Lines;
use crate::bindings::{Configuration, CredentialSource, StorageTarget};
use crate::endpoint::{Endpoint, is_region};
use crate::log_limit::LogLimiter;
use crate::object::{ObjectKey, PutObject};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Denials of a tenant in a second that are told with their words: there is no end of what a client can ask for.
const MAX_DENIALS_TOLD: u32 = 20;
/// Bytes of a denial's words: they may quote a tenant, and are kept.
const MAX_WORDS_BYTES: usize = 300;
/// Bytes of a tenant's value in them, so that it leaves room for what would be accepted.
const MAX_QUOTED_BYTES: usize = 120;

/// A decision that denies: which rule of the grant, and in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The field of the grant.
    pub rule: &'static str,
    /// The value, and what would be accepted.
    pub message: String,
}

impl Denied {
    /// A denial by a rule. Words that are too long lose their end.
    pub fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, message: cut(&message.into(), MAX_WORDS_BYTES).into_owned() }
    }
}

/// What a tenant may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Buckets, by name.
    pub buckets: Vec<String>,
    /// Beginnings of keys: each empty (the whole bucket) or whole segments, ending in `/`.
    pub key_prefixes: Vec<String>,
    /// The region; a spec names the same.
    pub region: String,
    /// Where requests go instead of AWS. A spec may name the same, or none.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path of the URL.
    #[serde(default)]
    pub path_style: bool,
    /// Whether any certificate of the endpoint is accepted.
    #[serde(default)]
    pub skip_tls_verify: bool,
    /// `csv`, `json`, `parquet`.
    pub formats: Vec<String>,
    /// Content types of objects, letter by letter.
    pub content_types: Vec<String>,
    /// Canned ACLs that may be asked for.
    #[serde(default)]
    pub acls: Vec<String>,
    /// Modes of server-side encryption that may be asked for: `AES256`, `aws:kms`, `aws:kms:dsse`.
    #[serde(default)]
    pub encryption: Vec<String>,
    /// KMS keys that may be named.
    #[serde(default)]
    pub kms_keys: Vec<String>,
    /// Whether a spec without encryption is refused.
    #[serde(default)]
    pub encryption_required: bool,
    /// The most retries that a spec may ask for; unless granted, it may not speak of them.
    pub max_retries: Option<u32>,
    /// The longest pause between retries that a spec may ask for, in seconds.
    #[serde(default = "default_backoff_seconds")]
    pub max_backoff_seconds: u32,
    /// The largest part that a spec may ask for, in bytes; unless granted, it may not speak of it.
    pub max_part_bytes: Option<u64>,
    /// Checksums that a spec may ask for: `crc32`, `none`; unless granted, it may not speak of them.
    #[serde(default)]
    pub checksum_algorithms: Vec<String>,
    /// Whether requests may be logged (`aws_debug`).
    #[serde(default)]
    pub request_log: bool,
    /// The largest object, in bytes.
    pub max_object_bytes: Option<u64>,
    /// Objects of a UTC day.
    pub daily_objects: Option<u64>,
    /// Bytes of a UTC day.
    pub daily_bytes: Option<u64>,
    /// Objects begun in a second; more wait.
    pub objects_per_second: Option<u64>,
    /// Bytes written in a second; more wait.
    pub bytes_per_second: Option<u64>,
    /// Objects that are being written at once, over all sessions.
    pub max_open_objects: Option<u64>,
    /// Sessions at once, each over a connection of its own; one unless granted.
    pub max_sessions: Option<u64>,
    /// The largest message, in bytes; the protocol's 200 MiB unless granted less.
    pub max_message_bytes: Option<u64>,
}

/// The spec's own default: a spec that does not speak of it must pass.
fn default_backoff_seconds() -> u32 {
    30
}

/// At most so many bytes, at a character; what is cut ends in an ellipsis.
fn cut(text: &str, most_bytes: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= most_bytes {
        return text.into();
    }
    let end = text.floor_char_boundary(most_bytes - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default()).into()
}

fn is_granted(name: &'static str, granted: &[String], value: &str) -> Result<(), Denied> {
    if granted.iter().any(|one| one == value) {
        return Ok(());
    }
    Err(Denied::new(name, format!("{:?} is not granted; `{name}` are {granted:?}", cut(value, MAX_QUOTED_BYTES))))
}

impl Grant {
    /// What is wrong with the grant itself; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, list) in [
            ("buckets", &self.buckets),
            ("key_prefixes", &self.key_prefixes),
            ("formats", &self.formats),
            ("content_types", &self.content_types),
        ] {
            if list.is_empty() {
                problems.push(format!("`{name}` is empty: nothing could be written"));
            }
        }
        for bucket in self.buckets.iter().filter(|bucket| !is_bucket(bucket)) {
            let wanted = "3 to 255 letters, digits, `.`, `-` and `_`; neither an ARN nor a pattern";
            problems.push(format!("`buckets`: {bucket:?} is no bucket's name, which has {wanted}"));
        }
        for key in self.kms_keys.iter().filter(|key| !is_kms_key(key)) {
            problems.push(format!("`kms_keys`: {key:?} is neither the ARN of a key nor its id (an alias may come to mean another key)"));
        }
        for prefix in self.key_prefixes.iter().filter(|prefix| !is_whole(prefix)) {
            problems.push(format!("`key_prefixes`: {prefix:?} is neither empty nor made of whole segments that end in `/`"));
        }
        for format in self.formats.iter().filter(|format| !["csv", "json", "parquet"].contains(&format.as_str())) {
            problems.push(format!("`formats`: {format:?} is not one of csv, json, parquet"));
        }
        for mode in self.encryption.iter().filter(|mode| !["AES256", "aws:kms", "aws:kms:dsse"].contains(&mode.as_str())) {
            problems.push(format!("`encryption`: {mode:?} is not one of AES256, aws:kms, aws:kms:dsse"));
        }
        for name in self.checksum_algorithms.iter().filter(|name| !["crc32", "none"].contains(&name.as_str())) {
            problems.push(format!("`checksum_algorithms`: {name:?} is not one of crc32, none"));
        }
        if self.region.is_empty() {
            problems.push("`region` is empty".to_owned());
        } else if !is_region(&self.region) {
            problems.push(format!("`region` must be the code of a region such as eu-central-1, not {:?}", self.region));
        }
        if let Some(Err(words)) = self.endpoint.as_deref().map(Endpoint::parse) {
            problems.push(format!("`endpoint` {words}"));
        }
        if self.encryption_required && self.encryption.is_empty() {
            problems.push("`encryption_required` without any `encryption`: nothing could be written".to_owned());
        }
        for (name, most) in [
            ("objects_per_second", self.objects_per_second),
            ("bytes_per_second", self.bytes_per_second),
            ("max_open_objects", self.max_open_objects),
            ("max_sessions", self.max_sessions),
            ("max_message_bytes", self.max_message_bytes),
        ] {
            if most == Some(0) {
                problems.push(format!("`{name}` is 0: nothing could be written"));
            }
        }
        if self.skip_tls_verify && self.endpoint.is_none() {
            problems.push("`skip_tls_verify` is for an `endpoint`, and none is named".to_owned());
        }
        problems
    }

    /// Decides on a rendered request.
    ///
    /// # Errors
    /// `key_prefixes` or `content_types`.
    pub(super) fn check(&self, request: &PutObject) -> Result<(), Denied> {
        let key = request.key.as_str();
        if !self.key_prefixes.iter().any(|prefix| is_whole(prefix) && key.starts_with(prefix.as_str())) {
            let text = format!("the key {:?} is outside the granted prefixes {:?}", cut(key, MAX_QUOTED_BYTES), self.key_prefixes);
            return Err(Denied::new("key_prefixes", text));
        }
        is_granted("content_types", &self.content_types, request.content_type.as_str())
    }

    /// Decides on the size that an object would have.
    ///
    /// # Errors
    /// `max_object_bytes`.
    pub(crate) fn check_size(&self, bytes: u64) -> Result<(), Denied> {
        match self.max_object_bytes {
            Some(most) if bytes > most => {
                Err(Denied::new("max_object_bytes", format!("an object of more than {most} bytes is not granted (`max_object_bytes`)")))
            }
            _ => Ok(()),
        }
    }

    /// The largest message, in bytes.
    pub fn message_bytes(&self) -> u64 {
        let most = crate::limits::MAX_MESSAGE_BYTES as u64;
        self.max_message_bytes.map_or(most, |granted| granted.min(most))
    }

    /// Connections at once.
    pub fn connections(&self) -> usize {
        let connections = self.max_sessions.unwrap_or(1).saturating_add(crate::limits::SPARE_CONNECTIONS);
        usize::try_from(connections).unwrap_or(usize::MAX).min(tokio::sync::Semaphore::MAX_PERMITS)
    }

    /// A message that is larger.
    pub(crate) fn message_too_large(&self) -> Denied {
        let text = format!("a message of more than {} bytes is not granted (`max_message_bytes`)", self.message_bytes());
        Denied::new("max_message_bytes", text)
    }

    /// The policy of a role's session: what this grant allows, in the store's own terms, so that a bug of ours still meets the store's check.
    ///
    /// Modes of encryption are bounded where a request names one; parts of an upload name none, so that their absence cannot be denied here.
    /// That is a denial with `Null`, not a permission with `StringEqualsIfExists`, which MinIO does not know.
    pub fn session_policy(&self) -> String {
        let partition = partition(&self.region);
        let objects: Vec<String> = self
            .buckets
            .iter()
            .flat_map(|bucket| self.key_prefixes.iter().map(move |prefix| format!("arn:{partition}:s3:::{bucket}/{}*", literal(prefix))))
            .collect();
        let put = json!({"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": objects});
        let mode = "s3:x-amz-server-side-encryption";
        let mut other_mode = json!({"Null": {mode: "false"}});
        if !self.encryption.is_empty() {
            other_mode["StringNotEquals"] = json!({mode: self.encryption});
        }
        let mut statements = vec![
            put,
            json!({"Effect": "Allow", "Action": ["s3:AbortMultipartUpload"], "Resource": objects}),
            json!({"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": [format!("arn:{partition}:s3:::*")], "Condition": other_mode}),
        ];
        statements.extend(self.acl_statement(&objects));
        statements.extend(self.kms_statement(partition));
        in_latin(&json!({"Version": "2012-10-17", "Statement": statements}).to_string())
    }

    /// Canned ACLs as granted, and no grants in headers of their own, which name none. Other stores know no such condition.
    fn acl_statement(&self, objects: &[String]) -> Option<Value> {
        let mut statement = json!({"Effect": "Allow", "Action": ["s3:PutObjectAcl"], "Resource": objects});
        if self.is_at_aws() {
            statement["Condition"] = json!({"StringEquals": {"s3:x-amz-acl": self.acls}});
        }
        (!self.acls.is_empty()).then_some(statement)
    }

    fn kms_statement(&self, partition: &str) -> Option<Value> {
        // Other stores have keys of their own, which a session need not be let at; MinIO refuses a policy that names AWS's.
        let asks = self.is_at_aws() && self.encryption.iter().any(|mode| mode.starts_with("aws:kms"));
        let arn =
            |key: &String| if key.starts_with("arn:") { key.clone() } else { format!("arn:{partition}:kms:{}:*:key/{key}", self.region) };
        let keys: Vec<String> = if self.kms_keys.is_empty() { vec![arn(&"*".to_owned())] } else { self.kms_keys.iter().map(arn).collect() };
        // Decrypt: the parts of an upload are put together by the store under the same key.
        asks.then(|| json!({"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": keys}))
    }

    /// Without an endpoint, or with one of AWS's own (FIPS, a private link).
    fn is_at_aws(&self) -> bool {
        self.endpoint.as_deref().is_none_or(|url| Endpoint::parse(url).is_ok_and(|endpoint| endpoint.is_at_aws()))
    }

    /// Every rule that the checked spec breaks.
    fn denials(&self, configuration: &Configuration) -> Vec<Denied> {
        let target = &configuration.target;
        let mut rules = vec![
            is_granted("buckets", &self.buckets, &target.bucket),
            is_granted("region", std::slice::from_ref(&self.region), &target.region),
            is_granted("formats", &self.formats, &configuration.format),
            is_granted("content_types", &self.content_types, &configuration.content_type),
        ];
        rules.push(match &target.endpoint {
            Some(endpoint) if !self.endpoint.as_deref().is_some_and(|granted| is_same_place(granted, endpoint)) => {
                Err(Denied::new("endpoint", "a tenant's spec does not choose where requests go: leave `endpoint` out"))
            }
            _ => Ok(()),
        });
        rules.push(refuse(target.skip_tls_verify && !self.skip_tls_verify, "skip_tls_verify", "`endpoint_skip_tls_verify` is not granted"));
        rules.push(refuse(target.path_style && !self.path_style, "path_style", "`use_path_style` is not granted"));
        rules.push(refuse(
            names_credentials(&target.credentials),
            "credentials",
            "a tenant's spec does not choose credentials: leave `credentials` and `local_profile` out",
        ));
        rules.push(target.acl.as_ref().map_or(Ok(()), |acl| is_granted("acls", &self.acls, acl)));
        rules.push(match &target.encryption {
            Some(asked) => is_granted("encryption", &self.encryption, &asked.algorithm),
            None => refuse(self.encryption_required, "encryption_required", "`server_side_encryption_configuration` is demanded"),
        });
        let key = target.encryption.as_ref().and_then(|asked| asked.kms_key_id.as_ref());
        rules.push(key.map_or(Ok(()), |key| is_granted("kms_keys", &self.kms_keys, key)));
        rules.push(bound("max_retries", target.max_retries.map(u64::from), self.max_retries.map(u64::from)));
        rules.push(bound("max_backoff_seconds", Some(target.max_backoff_seconds.into()), Some(self.max_backoff_seconds.into())));
        rules.push(bound("max_part_bytes", target.part_size_bytes, self.max_part_bytes));
        let checksum = target.checksum_algorithm.as_ref();
        rules.push(checksum.map_or(Ok(()), |name| is_granted("checksum_algorithms", &self.checksum_algorithms, name)));
        rules.push(refuse(target.log_requests && !self.request_log, "request_log", "`aws_debug` is not granted"));
        rules.into_iter().filter_map(Result::err).collect()
    }
}

fn refuse(broken: bool, rule: &'static str, text: &str) -> Result<(), Denied> {
    if broken { Err(Denied::new(rule, text)) } else { Ok(()) }
}

fn bound(rule: &'static str, asked: Option<u64>, granted: Option<u64>) -> Result<(), Denied> {
    match (asked, granted) {
        (Some(asked), Some(most)) if asked > most => Err(Denied::new(rule, format!("{asked} is asked for; {most} are granted (`{rule}`)"))),
        (Some(asked), None) => Err(Denied::new(rule, format!("{asked} is asked for, and `{rule}` is not granted"))),
        _ => Ok(()),
    }
}

fn names_credentials(source: &CredentialSource) -> bool {
    let CredentialSource { profile, role_arn, role_session_name, external_id } = source;
    [profile, role_arn, role_session_name, external_id].into_iter().any(Option::is_some)
}

/// With or without a slash at the end: requests go to the same place.
fn is_same_place(granted: &str, asked: &str) -> bool {
    granted == asked || matches!((Endpoint::parse(granted), Endpoint::parse(asked)), (Ok(granted), Ok(asked)) if granted == asked)
}

/// The AWS partition of a region.
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// As S3 has named buckets at any time, in no other form: names stand in a policy, where `*` and `?` are patterns.
fn is_bucket(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (3..=255).contains(&name.len()) && name.bytes().all(good)
}

/// The ARN or the id of a key, without patterns.
fn is_kms_key(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/');
    let id = name.rsplit_once(":key/").map_or(name, |(_, id)| id);
    !id.is_empty() && name.bytes().all(good) && !id.contains([':', '/'])
}

/// A JSON text of the characters that STS takes; others are written as escapes, which mean the same.
fn in_latin(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{ff}') {
            out.push(character);
        } else {
            out.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// A text that a policy takes letter by letter.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '*' | '?' | '$' => out.extend(["${", character.encode_utf8(&mut [0; 4]), "}"]),
            other => out.push(other),
        }
    }
    out
}

/// A prefix that ends within a segment would also let in its neighbours: `a` would mean `ab/c`.
fn is_whole(prefix: &str) -> bool {
    prefix.is_empty() || prefix.strip_suffix('/').is_some_and(|segments| ObjectKey::parse(segments).is_ok())
}

/// A tenant: its name, its grant, the credentials its requests are signed with, and what it has used.
#[derive(Debug)]
pub struct Tenant {
    /// As the operator calls it.
    pub name: Arc<str>,
    /// What it may do.
    pub grant: Grant,
    /// A profile or role to use; a spec never names one.
    pub credentials: CredentialSource,
    /// What it has used of its day, and what it has open.
    pub quota: Arc<Quota>,
    /// How many objects, and how many bytes, in a second.
    pub(crate) paces: [Option<RateLimit>; 2],
    /// What it has done so far.
    pub metrics: Arc<TenantMetrics>,
    /// Whether its guests trap too often.
    pub quarantine: Arc<Quarantine>,
    /// What it may use of the machine.
    pub share: Arc<Resources>,
    /// Its denials that are told one by one.
    pub(crate) told: Mutex<LogLimiter>,
    /// Its audit lines that wait to be written.
    pub(crate) waiting: Arc<Waiting>,
    /// The other log lines that its calls bring about.
    pub(crate) lines: Arc<Lines>,
}

/// What a tenant may have only so fast.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RateKind {
    Objects,
    Bytes,
}

impl Tenant {
    /// A tenant whose requests are signed with what the default chain finds.
    pub fn new(name: &str, grant: Grant) -> Self {
        let quota = Arc::new(Quota::new(&grant));
        let credentials = CredentialSource { profile: None, role_arn: None, role_session_name: None, external_id: None };
        let paces = [grant.objects_per_second, grant.bytes_per_second].map(|rate| rate.map(RateLimit::new));
        Self {
            name: name.into(),
            grant,
            credentials,
            quota,
            paces,
            metrics: Arc::default(),
            quarantine: Arc::default(),
            share: Arc::default(),
            told: Mutex::new(LogLimiter::new(MAX_DENIALS_TOLD)),
            waiting: Arc::default(),
            lines: Arc::default(),
        }
    }

    /// Whether a denial is told now, and how many before it were not.
    pub(super) fn tell(&self, now: Instant) -> Option<u64> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).admit(now).passes()
    }

    /// Takes over what the tenant has used, done and suffered under an earlier grant: a new grant is no new day.
    pub fn follow(&mut self, earlier: &Self) {
        self.quota = Arc::new(earlier.quota.under(&self.grant));
        self.metrics = earlier.metrics.clone();
        self.quarantine = earlier.quarantine.clone();
        self.waiting = earlier.waiting.clone();
        self.lines = earlier.lines.clone();
    }

    /// Room for one session more.
    ///
    /// # Errors
    /// `quarantine`, or `max_sessions`.
    pub(crate) fn enter(&self) -> Result<OpenSession, Denied> {
        self.may_run()?;
        let most = self.grant.max_sessions.unwrap_or(1);
        let full = || Denied::new("max_sessions", format!("sessions at once: {most} granted (`max_sessions`), and all are open"));
        self.metrics.session(most).ok_or_else(full)
    }

    /// Whether an instance of its component may be started now.
    ///
    /// # Errors
    /// `quarantine`.
    pub(crate) fn may_run(&self) -> Result<(), Denied> {
        self.quarantine.check(Instant::now())
    }

    /// Waits until so many objects or bytes are due.
    pub(crate) async fn pace(&self, what: RateKind, amount: u64) {
        let (pace, rule) = match what {
            RateKind::Objects => (&self.paces[0], "objects_per_second"),
            RateKind::Bytes => (&self.paces[1], "bytes_per_second"),
        };
        if let Some(pace) = pace
            && pace.take(amount).await
        {
            self.metrics.throttled(rule);
        }
    }

    /// Decides on a checked spec: where its session's requests go, as granted.
    ///
    /// # Errors
    /// Every rule that the spec breaks.
    pub fn admit(&self, configuration: &Configuration) -> Result<StorageTarget, Vec<Denied>> {
        let denials = self.grant.denials(configuration);
        if !denials.is_empty() {
            return Err(denials);
        }
        Ok(StorageTarget {
            endpoint: self.grant.endpoint.clone(),
            path_style: self.grant.path_style,
            skip_tls_verify: self.grant.skip_tls_verify,
            credentials: self.credentials.clone(),
            ..configuration.target.clone()
        })
    }

    /// One of its guests has trapped.
    pub(crate) fn trapped(&self) {
        self.metrics.trapped();
        self.quarantine.trapped(Instant::now());
    }
}

#[cfg(test)]
mod tests;
