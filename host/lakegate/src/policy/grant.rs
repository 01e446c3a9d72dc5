//! What one tenant may do, as the operator writes it down. Nothing is granted that is not named.

use super::denied::{Denied, MAX_QUOTED_BYTES, cut};
use crate::storage::checksum::ChecksumAlgorithm;
use crate::storage::endpoint::{Endpoint, is_region};
use crate::storage::headers::{self, LOCK_MODES, MAX_RETAIN_DAYS};
use crate::storage::object::{ContentEncoding, ObjectKey, PutObject};
use crate::storage::target::{CatalogAuth, CatalogPlan, Configuration, CredentialSource, ObjectLock, SecretSource, StorageTarget};
use serde::Deserialize;

/// Bytes of a format's name. Real ones have less than ten.
const MAX_FORMAT_NAME_BYTES: usize = 64;

/// What grants a lock without an end, beside the modes of those that have one.
pub(super) const LEGAL_HOLD: &str = "legal_hold";

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
    /// Formats, as the component names them, letter by letter.
    pub formats: Vec<String>,
    /// Content types of objects, letter by letter.
    pub content_types: Vec<String>,
    /// Content encodings of objects: `gzip`, `zstd`.
    #[serde(default)]
    pub content_encodings: Vec<String>,
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
    /// Whether a spec may say if the bucket has a key of its own (`bucket_key_enabled`).
    #[serde(default)]
    pub bucket_keys: bool,
    /// Storage classes that may be asked for.
    #[serde(default)]
    pub storage_classes: Vec<String>,
    /// Keys of tags that a spec may set, letter by letter.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Names of user metadata that a spec may set, letter by letter.
    #[serde(default)]
    pub metadata: Vec<String>,
    /// Locks that may be asked for: `GOVERNANCE`, `COMPLIANCE`, `legal_hold`.
    #[serde(default)]
    pub object_lock: Vec<String>,
    /// The most days that an object may be locked for.
    pub max_retain_days: Option<u32>,
    /// Accounts that may be named as the bucket's owner.
    #[serde(default)]
    pub bucket_owners: Vec<String>,
    /// Whether a spec may have the operator pay for requests (`request_payer`).
    #[serde(default)]
    pub requester_pays: bool,
    /// The most retries that a spec may ask for; unless granted, it may not speak of them.
    pub max_retries: Option<u32>,
    /// The longest pause between retries that a spec may ask for, in seconds.
    #[serde(default = "default_backoff_seconds")]
    pub max_backoff_seconds: u32,
    /// The largest part that a spec may ask for, in bytes; unless granted, it may not speak of it.
    pub max_part_bytes: Option<u64>,
    /// Checksums that a spec may ask for: `crc32`, `crc32c`, `crc64nvme`, `sha256`, `none`; unless granted, it may not speak of them.
    #[serde(default)]
    pub checksum_algorithms: Vec<String>,
    /// Ways of delivery that a spec may ask for beside `at_least_once`: `exactly_once`. The role of a tenant that has it may read its objects.
    #[serde(default)]
    pub delivery: Vec<String>,
    /// Moments at which objects may become visible beside `immediate`: `on_commit`.
    #[serde(default)]
    pub visibility: Vec<String>,
    /// Beginnings of the keys of manifests, lists and markers, beside `key_prefixes`; unless granted, a spec may not ask for a manifest.
    #[serde(default)]
    pub manifest_prefixes: Vec<String>,
    /// Catalogs in which a spec may keep tables; unless granted, it may not ask for `table_format: iceberg`. The role of a tenant that has one may read
    /// its objects.
    #[serde(default)]
    pub catalogs: Vec<CatalogGrant>,
    /// Namespaces of those catalogs, level by level with a `.` between.
    #[serde(default)]
    pub namespaces: Vec<String>,
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

/// A catalog that a tenant's spec may name, and who the operator is to it: a tenant's spec has no credentials of catalogs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogGrant {
    /// The address of its REST interface; a spec names the same.
    pub uri: String,
    /// Which warehouse of it; a spec names the same, or none.
    pub warehouse: Option<String>,
    /// How requests prove who sends them: `none`, `bearer`, `oauth2` or `sigv4`.
    #[serde(default)]
    pub auth: CatalogGrantAuth,
    /// The variable of the environment that holds the token, or the client's `id:secret`.
    pub credential_env: Option<String>,
    /// The file that does.
    pub credential_file: Option<String>,
    /// Where `oauth2` asks for tokens; [`None`]: the catalog itself.
    pub token_uri: Option<String>,
    /// What the tokens of `oauth2` are to be good for.
    pub scope: Option<String>,
    /// The service that `sigv4` signs for; [`None`]: `glue`.
    pub signing_name: Option<String>,
}

/// How requests to a granted catalog prove who sends them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the spec's")]
pub enum CatalogGrantAuth {
    #[default]
    None,
    Bearer,
    OAuth2,
    SigV4,
}

impl CatalogGrant {
    /// # Errors
    /// What is wrong with it.
    fn auth(&self) -> Result<CatalogAuth, String> {
        let credential = match (&self.credential_env, &self.credential_file) {
            (Some(name), None) => Some(SecretSource::Environment(name.clone())),
            (None, Some(path)) => Some(SecretSource::File(path.clone())),
            (None, None) => None,
            (Some(_), Some(_)) => return Err("`credential_env` and `credential_file` cannot both be named".to_owned()),
        };
        match (self.auth, credential) {
            (CatalogGrantAuth::None, None) => Ok(CatalogAuth::None),
            (CatalogGrantAuth::SigV4, None) => Ok(CatalogAuth::SigV4(self.signing_name.clone().unwrap_or_else(|| "glue".to_owned()))),
            (CatalogGrantAuth::Bearer, Some(token)) => Ok(CatalogAuth::Bearer(token)),
            (CatalogGrantAuth::OAuth2, Some(credential)) => {
                Ok(CatalogAuth::OAuth2 { credential, token_uri: self.token_uri.clone(), scope: self.scope.clone() })
            }
            (CatalogGrantAuth::None | CatalogGrantAuth::SigV4, Some(_)) => {
                Err("`credential_env` and `credential_file` are for `auth = \"bearer\"` and `\"oauth2\"`".to_owned())
            }
            (CatalogGrantAuth::Bearer | CatalogGrantAuth::OAuth2, None) => {
                Err("`auth` needs `credential_env` or `credential_file`".to_owned())
            }
        }
    }

    /// Whether a spec means it.
    fn is_meant(&self, plan: &CatalogPlan) -> bool {
        is_same_place(&self.uri, &plan.uri) && (plan.warehouse.is_none() || plan.warehouse == self.warehouse)
    }
}

/// The spec's own default: a spec that does not speak of it must pass.
fn default_backoff_seconds() -> u32 {
    30
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
        for (name, list) in [("key_prefixes", &self.key_prefixes), ("manifest_prefixes", &self.manifest_prefixes)] {
            for prefix in list.iter().filter(|prefix| !is_whole(prefix)) {
                problems.push(format!("`{name}`: {prefix:?} is neither empty nor made of whole segments that end in `/`"));
            }
        }
        for (name, list, known) in [("delivery", &self.delivery, "exactly_once"), ("visibility", &self.visibility, "on_commit")] {
            for value in list.iter().filter(|value| *value != known) {
                problems.push(format!("`{name}`: {value:?} is not {known}, which is all that can be granted"));
            }
        }
        for format in self.formats.iter().filter(|format| !is_format_name(format)) {
            let wanted = format!("1 to {MAX_FORMAT_NAME_BYTES} bytes without control characters");
            problems.push(format!("`formats`: {:?} is no format's name, which has {wanted}", cut(format, MAX_QUOTED_BYTES)));
        }
        for mode in self.encryption.iter().filter(|mode| !["AES256", "aws:kms", "aws:kms:dsse"].contains(&mode.as_str())) {
            problems.push(format!("`encryption`: {mode:?} is not one of AES256, aws:kms, aws:kms:dsse"));
        }
        let is_known = |name: &str| name == "none" || ChecksumAlgorithm::parse(name).is_some();
        for name in self.checksum_algorithms.iter().filter(|name| !is_known(name)) {
            let known = ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::name).join(", ");
            problems.push(format!("`checksum_algorithms`: {name:?} is not one of {known}, none"));
        }
        for name in self.content_encodings.iter().filter(|name| ContentEncoding::parse(name).is_err()) {
            let known = ContentEncoding::ALL.map(ContentEncoding::name).join(", ");
            problems.push(format!("`content_encodings`: {:?} is not one of {known}", cut(name, MAX_QUOTED_BYTES)));
        }
        for catalog in &self.catalogs {
            let wrong = Endpoint::parse(&catalog.uri)
                .map(|_| ())
                .map_err(|words| format!("`uri` {words}"))
                .and_then(|()| catalog.auth().map(|_| ()));
            problems.extend(wrong.err().map(|words| format!("`catalogs`: {words}")));
        }
        if self.catalogs.is_empty() != self.namespaces.is_empty() {
            problems.push("`catalogs` and `namespaces` go together: without the other, neither grants anything".to_owned());
        }
        self.header_problems(&mut problems);
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

    /// What is wrong with what it grants of the headers of objects.
    fn header_problems(&self, problems: &mut Vec<String>) {
        type Rule = fn(&str) -> bool;
        let is_lock: Rule = |name| name == LEGAL_HOLD || LOCK_MODES.contains(&name);
        for (name, list, is_good, wanted) in [
            (
                "storage_classes",
                &self.storage_classes,
                headers::is_storage_class as Rule,
                "the name of a storage class, such as STANDARD_IA",
            ),
            ("tags", &self.tags, headers::is_tag_key, "the key of a tag as S3 takes it"),
            ("metadata", &self.metadata, headers::is_metadata_name, "a name in lower case that can stand in a header and is none of ours"),
            ("object_lock", &self.object_lock, is_lock, "one of GOVERNANCE, COMPLIANCE, legal_hold"),
            ("bucket_owners", &self.bucket_owners, headers::is_account, "the twelve digits of an account"),
        ] {
            for value in list.iter().filter(|value| !is_good(value)) {
                problems.push(format!("`{name}`: {:?} is not {wanted}", cut(value, MAX_QUOTED_BYTES)));
            }
        }
        let retains = self.object_lock.iter().any(|lock| LOCK_MODES.contains(&lock.as_str()));
        match self.max_retain_days {
            None if retains => problems.push("`object_lock` with a mode and without `max_retain_days`: nothing could be locked".to_owned()),
            Some(days) if !(1..=MAX_RETAIN_DAYS).contains(&days) => {
                problems.push(format!("`max_retain_days` must be between 1 and {MAX_RETAIN_DAYS}, not {days}"));
            }
            _ => {}
        }
    }

    /// Decides on a rendered request.
    ///
    /// # Errors
    /// `key_prefixes`, `content_types` or `content_encodings`.
    pub(super) fn check(&self, request: &PutObject) -> Result<(), Denied> {
        let key = request.key.as_str();
        if !self.key_prefixes.iter().any(|prefix| is_whole(prefix) && key.starts_with(prefix.as_str())) {
            let text = format!("the key {:?} is outside the granted prefixes {:?}", cut(key, MAX_QUOTED_BYTES), self.key_prefixes);
            return Err(Denied::new("key_prefixes", text));
        }
        is_granted("content_types", &self.content_types, request.content_type.as_str())?;
        let encoding = request.content_encoding.map(ContentEncoding::name);
        encoding.map_or(Ok(()), |encoding| is_granted("content_encodings", &self.content_encodings, encoding))
    }

    /// Decides on the key of a manifest, a list or a marker, and on a look at an object.
    ///
    /// # Errors
    /// `manifest_prefixes`.
    pub(super) fn check_record(&self, key: &ObjectKey) -> Result<(), Denied> {
        let key = key.as_str();
        let granted = || self.key_prefixes.iter().chain(&self.manifest_prefixes);
        if granted().any(|prefix| is_whole(prefix) && key.starts_with(prefix.as_str())) {
            return Ok(());
        }
        let granted: Vec<&String> = granted().collect();
        let text = format!("the key {:?} is outside the granted prefixes {granted:?}", cut(key, MAX_QUOTED_BYTES));
        Err(Denied::new("manifest_prefixes", text))
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
    pub fn message_too_large(&self) -> Denied {
        let text = format!("a message of more than {} bytes is not granted (`max_message_bytes`)", self.message_bytes());
        Denied::new("max_message_bytes", text)
    }

    /// Every rule that the checked spec breaks.
    pub(super) fn denials(&self, configuration: &Configuration) -> Vec<Denied> {
        let target = &configuration.target;
        let mut rules = vec![
            is_granted("buckets", &self.buckets, &target.bucket),
            is_granted("region", std::slice::from_ref(&self.region), &target.region),
            is_granted("formats", &self.formats, &configuration.format),
            is_granted("content_types", &self.content_types, &configuration.content_type),
        ];
        let encoding = configuration.content_encoding.iter();
        rules.extend(encoding.map(|encoding| is_granted("content_encodings", &self.content_encodings, encoding)));
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
        self.header_rules(target, &mut rules);
        rules.push(bound("max_retries", target.max_retries.map(u64::from), self.max_retries.map(u64::from)));
        rules.push(bound("max_backoff_seconds", Some(target.max_backoff_seconds.into()), Some(self.max_backoff_seconds.into())));
        rules.push(bound("max_part_bytes", target.part_size_bytes, self.max_part_bytes));
        let checksum = target.checksum_algorithm.as_ref();
        rules.push(checksum.map_or(Ok(()), |name| is_granted("checksum_algorithms", &self.checksum_algorithms, name)));
        let commit = &configuration.commit;
        let way = commit.create_only.map(|_| "exactly_once");
        rules.push(way.map_or(Ok(()), |way| is_granted("delivery", &self.delivery, way)));
        rules.push(if commit.pending.is_some() { is_granted("visibility", &self.visibility, "on_commit") } else { Ok(()) });
        let manifests = (commit.manifest.is_some() || commit.pending.is_some()) && self.manifest_prefixes.is_empty();
        rules.push(refuse(manifests, "manifest_prefixes", "`manifest` and `visibility: on_commit` are not granted"));
        self.catalog_rules(configuration.catalog.as_ref(), &mut rules);
        rules.push(refuse(target.log_requests && !self.request_log, "request_log", "`aws_debug` is not granted"));
        rules.into_iter().filter_map(Result::err).collect()
    }

    /// What a spec asks of a catalog.
    fn catalog_rules(&self, plan: Option<&CatalogPlan>, rules: &mut Vec<Result<(), Denied>>) {
        let Some(plan) = plan else { return };
        if self.catalogs.is_empty() {
            return rules.push(refuse(true, "catalogs", "`table_format: iceberg` is not granted"));
        }
        let granted = self.catalogs.iter().find(|catalog| catalog.is_meant(plan));
        rules.push(refuse(
            granted.is_none(),
            "catalogs",
            "the catalog (`iceberg.uri`, `iceberg.warehouse`) is none of those that are granted",
        ));
        // Glue's own way of signing is not a choice of credentials, where it is granted.
        let chooses = match &plan.auth {
            CatalogAuth::None => false,
            CatalogAuth::SigV4(_) => granted.is_none_or(|catalog| catalog.auth != CatalogGrantAuth::SigV4),
            CatalogAuth::Bearer(_) | CatalogAuth::OAuth2 { .. } => true,
        };
        rules.push(refuse(
            chooses,
            "catalogs",
            "a tenant's spec does not choose credentials of catalogs: leave `iceberg.auth` and its like out",
        ));
        rules.push(is_granted("namespaces", &self.namespaces, &plan.namespace.join(".")));
    }

    /// The catalog of a spec that breaks no rule, reached as the operator reaches it.
    pub(super) fn catalog(&self, plan: &CatalogPlan) -> Option<CatalogPlan> {
        let granted = self.catalogs.iter().find(|catalog| catalog.is_meant(plan))?;
        let auth = granted.auth().ok()?;
        Some(CatalogPlan { uri: granted.uri.clone(), warehouse: granted.warehouse.clone(), auth, ..plan.clone() })
    }

    /// What a spec asks of the headers of objects and requests.
    fn header_rules(&self, target: &StorageTarget, rules: &mut Vec<Result<(), Denied>>) {
        let StorageTarget { storage_class, tags, metadata, object_lock, expected_bucket_owner, requester_pays, .. } = target;
        let asks_for_key = target.encryption.as_ref().is_some_and(|asked| asked.bucket_key.is_some());
        rules.push(refuse(asks_for_key && !self.bucket_keys, "bucket_keys", "`bucket_key_enabled` is not granted"));
        rules.extend(storage_class.iter().map(|class| is_granted("storage_classes", &self.storage_classes, class)));
        // The first of many: how many there are is for the component to say.
        rules.extend(tags.iter().map(|(key, _)| is_granted("tags", &self.tags, key)).find(Result::is_err));
        rules.extend(metadata.iter().map(|(name, _)| is_granted("metadata", &self.metadata, name)).find(Result::is_err));
        if let Some(ObjectLock { retention, legal_hold }) = object_lock {
            let hold = legal_hold.then(|| is_granted("object_lock", &self.object_lock, LEGAL_HOLD));
            rules.extend(retention.iter().map(|retention| is_granted("object_lock", &self.object_lock, &retention.mode)).chain(hold));
            let days = retention.as_ref().map(|retention| retention.days.into());
            rules.push(bound("max_retain_days", days, self.max_retain_days.map(u64::from)));
        }
        rules.extend(expected_bucket_owner.iter().map(|owner| is_granted("bucket_owners", &self.bucket_owners, owner)));
        rules.push(refuse(*requester_pays && !self.requester_pays, "requester_pays", "`request_payer` is not granted"));
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

/// What may be a format's name. Which formats there are is the component's to say: one of a user's own may have others than ours.
fn is_format_name(name: &str) -> bool {
    (1..=MAX_FORMAT_NAME_BYTES).contains(&name.len()) && !name.contains(char::is_control)
}

/// A prefix that ends within a segment would also let in its neighbours: `a` would mean `ab/c`.
fn is_whole(prefix: &str) -> bool {
    prefix.is_empty() || prefix.strip_suffix('/').is_some_and(|segments| ObjectKey::parse(segments).is_ok())
}

#[cfg(test)]
mod tests;
