//! From the spec as written to the spec as checked: every rule, in the reference's order and words, and the defaults.
//!
//! Like the reference, rules look at what was written, before any default is filled in: `a/b.csv` alone breaks the rule that batching needs
//! `{{UUID}}`, since batching is on unless switched off.

use super::bounds::{
    ACLS, AES256, CHECKSUM_ALGORITHMS, ENCRYPTION_ALGORITHMS, MAX_BACKOFF_SECONDS, MAX_PART_SIZE_BYTES, MAX_RETRIES, MIN_PART_SIZE_BYTES,
};
use super::document::{Document, Field, preview, undecodable};
use super::raw::{RawCredentials, RawCsv, RawEncryption, RawJson, RawParquet, RawSpec};
use super::{
    Compression, CredentialSource, CsvOptions, Encryption, Format, ParquetOptions, ParquetVersion, RootRepetition, Rotation, Settings,
    Spec, SpecProblem, Target, duration, endpoint, names,
};
use crate::path::PathTemplate;
use std::num::NonZeroU64;
use std::time::Duration;

/// Bytes of a `Content-Type`, as the world of the component has it.
pub(super) const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// Bytes of a KMS key's id: AWS's own limit for an ARN.
const MAX_KMS_KEY_ID_BYTES: usize = 2_048;

const DEFAULT_BATCH_ROWS: i64 = 10_000;
const DEFAULT_BATCH_BYTES: i64 = 50 << 20;
const DEFAULT_BATCH_AGE_NANOSECONDS: i64 = 30_000_000_000;
const DEFAULT_MAX_BACKOFF_SECONDS: u32 = 30;

const UUID: &str = "{{UUID}}";
const SYNC_ID: &str = "{{SYNC_ID}}";

impl Spec {
    /// Checks a spec, as JSON; nothing at all and `null` mean `{}`. `sync_id` is the invocation's, perhaps empty.
    ///
    /// # Errors
    /// Every problem there is, in the reference's order: wrong types first, then rules. One problem has the reference's text.
    pub fn parse(json: &str, sync_id: &str) -> Result<Self, Vec<SpecProblem>> {
        let document = Document::parse(json).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let raw = RawSpec::read(document, &mut problems, &mut warnings);
        let mut checker = Checker { problems };
        let checked = checker.spec(raw, sync_id, warnings);
        match checked {
            Some(spec) if checker.problems.is_empty() => Ok(spec),
            _ => Err(checker.problems),
        }
    }
}

/// Collects problems while it reads on. A method answers `None` after it has told of one.
struct Checker {
    problems: Vec<SpecProblem>,
}

impl Checker {
    /// The order of the calls is the order of the problems.
    fn spec(&mut self, raw: RawSpec, sync_id: &str, warnings: Vec<SpecProblem>) -> Option<Spec> {
        let batching = self.batching(&raw);
        let bucket = self.required("bucket", &raw.bucket, |it| names::check_bucket(it, is_true(&raw.use_path_style)));
        let region = self.required("region", &raw.region, names::check_region);
        self.path(&raw.path);
        self.empty_objects(&raw);
        let credentials = self.credentials(&raw.local_profile, raw.credentials.given());
        self.rotation(&raw, &batching);
        let acl = self.acl(&raw.acl);
        let format = self.format(&raw.format, raw.format_spec);
        let compression = self.compression(&raw.compression, format.as_ref());
        let content_type = self.content_type(&raw.content_type);
        let endpoint = self.endpoint(&raw.endpoint);
        let encryption = raw.server_side_encryption_configuration.given().and_then(|it| self.encryption(it));
        let max_retries = self.bounded("max_retries", &raw.max_retries, 0, MAX_RETRIES);
        let max_backoff = self.bounded("max_backoff", &raw.max_backoff, 0, MAX_BACKOFF_SECONDS);
        let part_size = self.bounded("part_size", &raw.part_size, MIN_PART_SIZE_BYTES, MAX_PART_SIZE_BYTES);
        let checksum_algorithm = self.checksum_algorithm(&raw.checksum_algorithm);
        self.sync_id(&raw.path, sync_id);

        let format = format?;
        let no_rotate = is_true(&raw.no_rotate);
        let path = complete_path(raw.path.filled()?, &format, no_rotate)?;
        let rotation = if path.has_uuid() { batching.limits() } else { Rotation::Never };
        Some(Spec {
            target: Target {
                bucket: bucket?,
                region: region?,
                endpoint,
                skip_tls_verify: is_true(&raw.endpoint_skip_tls_verify),
                path_style: is_true(&raw.use_path_style),
                acl,
                encryption,
                credentials,
                max_retries: max_retries.and_then(|it| it.try_into().ok()),
                max_backoff_seconds: max_backoff.and_then(|it| it.try_into().ok()).unwrap_or(DEFAULT_MAX_BACKOFF_SECONDS),
                part_size_bytes: part_size.and_then(|it| it.try_into().ok()),
                checksum_algorithm,
                log_requests: is_true(&raw.aws_debug),
            },
            test_write: raw.test_write.given().copied().unwrap_or(true),
            settings: Settings {
                content_type: content_type.unwrap_or_else(|| default_content_type(&format, compression).to_owned()),
                path,
                sync_id: sync_id.to_owned(),
                format,
                compression,
                rotation,
                athena: is_true(&raw.athena),
                empty_objects: is_true(&raw.write_empty_objects_for_empty_tables),
            },
            warnings,
        })
    }

    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(SpecProblem { field: field.to_owned(), message: message.into() });
    }

    fn required(&mut self, name: &str, field: &Field<String>, check: impl FnOnce(&str) -> Result<(), String>) -> Option<String> {
        let text = field.filled().map(str::to_owned);
        match text.as_deref().map(check) {
            Some(Ok(())) => {}
            Some(Err(words)) => self.refuse(name, words),
            None if field.is_wrong() => {}
            None => self.refuse(name, format!("`{name}` is required")),
        }
        text
    }

    fn path(&mut self, path: &Field<String>) {
        if path.is_wrong() {
            return;
        }
        let text = path.given().map(String::as_str).unwrap_or_default();
        for problem in PathTemplate::parse(text).err().unwrap_or_default() {
            self.refuse("path", problem.to_string());
        }
    }

    fn empty_objects(&mut self, raw: &RawSpec) {
        let parquet = raw.format.is_wrong() || raw.format.filled() == Some("parquet");
        if is_true(&raw.write_empty_objects_for_empty_tables) && !parquet {
            let field = "write_empty_objects_for_empty_tables";
            self.refuse(field, format!("`{field}` can only be used with `parquet` format"));
        }
    }

    fn credentials(&mut self, local_profile: &Field<String>, credentials: Option<&RawCredentials>) -> CredentialSource {
        self.one_line("local_profile", local_profile);
        if let Some(it) = credentials {
            self.one_line("credentials.local_profile", &it.local_profile);
            self.one_line("credentials.role_arn", &it.role_arn);
            self.one_line("credentials.role_session_name", &it.role_session_name);
            self.one_line("credentials.external_id", &it.external_id);
        }
        let nested = credentials.map(|it| CredentialSource {
            profile: filled(&it.local_profile),
            role_arn: filled(&it.role_arn),
            role_session_name: filled(&it.role_session_name),
            external_id: filled(&it.external_id),
        });
        let nested = nested.unwrap_or_default();
        let Some(profile) = filled(local_profile) else { return nested };
        if nested != CredentialSource::default() {
            self.refuse("local_profile", "`local_profile` cannot be used with `credentials`");
        }
        CredentialSource { profile: Some(profile), ..nested }
    }

    /// A text that names something elsewhere: whatever it is, no line end or control character belongs to it.
    fn one_line(&mut self, name: &str, field: &Field<String>) {
        if field.filled().is_some_and(|text| text.contains(char::is_control)) {
            self.refuse(name, format!("`{name}` must not have line ends or other control characters"));
        }
    }

    /// The limits as written. A `batch_timeout` that is no duration is a wrong type in the reference's eyes, so it is told of with those.
    fn batching(&mut self, raw: &RawSpec) -> Batching {
        let age = match &raw.batch_timeout {
            Field::Absent => Field::Absent,
            Field::Wrong => Field::Wrong,
            Field::Given(text) => match duration::parse(text) {
                Ok(nanoseconds) => Field::Given(nanoseconds),
                Err(words) => {
                    self.problems.push(undecodable("batch_timeout", &words));
                    Field::Wrong
                }
            },
        };
        Batching { rows: raw.batch_size.clone(), bytes: raw.batch_size_bytes.clone(), age }
    }

    fn rotation(&mut self, raw: &RawSpec, batching: &Batching) {
        const BATCHING: &str = "non-zero `batch_size`, `batch_size_bytes` or `batch_timeout_ms`";
        let has_uuid = raw.path.filled().map(|path| path.contains(UUID));
        if is_true(&raw.no_rotate) {
            if has_uuid == Some(true) {
                self.refuse("path", "`path` should not contain {{UUID}} when `no_rotate` = true");
            }
            if batching.asked_for() {
                self.refuse("no_rotate", format!("`no_rotate` cannot be used with {BATCHING}"));
            }
        } else if has_uuid == Some(false) && batching.on() && !raw.no_rotate.is_wrong() {
            self.refuse("path", format!("`path` should contain {{{{UUID}}}} when using a {BATCHING}"));
        }
    }

    fn acl(&mut self, acl: &Field<String>) -> Option<String> {
        let acl = filled(acl)?;
        if ACLS.contains(&acl.as_str()) {
            return Some(acl);
        }
        self.refuse("acl", format!("invalid `acl` value: {}", preview(&acl)));
        None
    }

    fn format(&mut self, format: &Field<String>, options: Field<Document>) -> Option<Format> {
        if format.is_wrong() {
            return None;
        }
        let options = options.into_given();
        match format.filled().unwrap_or_default() {
            "csv" => {
                let raw = options.map(|it| RawCsv::read(it, &mut self.problems));
                Some(Format::Csv(raw.map_or_else(CsvOptions::default, |it| self.csv(&it))))
            }
            "json" => {
                options.map(|it| RawJson::read(&it, &mut self.problems));
                Some(Format::Json)
            }
            "parquet" => {
                let raw = options.map(|it| RawParquet::read(it, &mut self.problems));
                Some(Format::Parquet(raw.map_or_else(ParquetOptions::default, |it| self.parquet(&it))))
            }
            other => {
                self.refuse("format", format!("unknown format {}", preview(other)));
                None
            }
        }
    }

    fn csv(&mut self, raw: &RawCsv) -> CsvOptions {
        let default = CsvOptions::default();
        let delimiter = match raw.delimiter.filled().map(str::as_bytes) {
            None => default.delimiter,
            Some(&[byte]) if is_delimiter(byte) => byte,
            Some(_) => {
                self.refuse("format_spec.delimiter", "delimiter must be a single character");
                default.delimiter
            }
        };
        CsvOptions { delimiter, skip_header: is_true(&raw.skip_header) }
    }

    fn parquet(&mut self, raw: &RawParquet) -> ParquetOptions {
        let default = ParquetOptions::default();
        let version = raw.version.filled().map_or(Some(default.version), ParquetVersion::parse);
        if version.is_none() {
            let words = format!("invalid version: {}. Allowed values are v1.0, v2.4, v2.6, v2Latest", shown(&raw.version));
            self.refuse("format_spec.version", words);
        }
        let root_repetition = raw.root_repetition.filled().map_or(Some(default.root_repetition), RootRepetition::parse);
        if root_repetition.is_none() {
            let allowed = "undefined, required, optional, repeated";
            let words = format!("invalid rootRepetition: {}. Allowed values are {allowed}", shown(&raw.root_repetition));
            self.refuse("format_spec.root_repetition", words);
        }
        let rows = raw.max_row_group_length.given().copied().unwrap_or(0);
        if rows < 0 {
            let words = format!("invalid: maxRowGroupLength: {rows}. Must be zero or positive");
            self.refuse("format_spec.max_row_group_length", words);
        }
        ParquetOptions {
            version: version.unwrap_or(default.version),
            root_repetition: root_repetition.unwrap_or(default.root_repetition),
            max_row_group_rows: positive(rows).unwrap_or(default.max_row_group_rows),
        }
    }

    fn compression(&mut self, compression: &Field<String>, format: Option<&Format>) -> Compression {
        match compression.filled() {
            None => return Compression::None,
            Some("gzip") => {}
            Some(_) => self.refuse("compression", "`compression` must be either empty or `gzip`"),
        }
        if matches!(format, Some(Format::Parquet(_))) {
            self.refuse("compression", "compression is not supported for parquet format");
        }
        Compression::Gzip
    }

    fn content_type(&mut self, content_type: &Field<String>) -> Option<String> {
        let text = filled(content_type)?;
        if let Err(words) = check_content_type(&text) {
            self.refuse("content_type", words);
        }
        Some(text)
    }

    fn endpoint(&mut self, endpoint: &Field<String>) -> Option<String> {
        let text = filled(endpoint)?;
        if let Err(words) = endpoint::check(&text) {
            self.refuse("endpoint", words);
        }
        Some(text)
    }

    fn encryption(&mut self, raw: &RawEncryption) -> Option<Encryption> {
        const PREFIX: &str = "server_side_encryption_configuration";
        let kms_key_id = filled(&raw.sse_kms_key_id);
        if kms_key_id.as_ref().is_some_and(|id| id.len() > MAX_KMS_KEY_ID_BYTES || !id.bytes().all(|b| b.is_ascii_graphic())) {
            let words = format!("`sse_kms_key_id` must be at most {MAX_KMS_KEY_ID_BYTES} letters, digits and signs of ASCII");
            self.refuse(&format!("{PREFIX}.sse_kms_key_id"), words);
        }
        if raw.server_side_encryption.is_wrong() {
            return None;
        }
        let algorithm = raw.server_side_encryption.filled().unwrap_or_default();
        if !ENCRYPTION_ALGORITHMS.contains(&algorithm) {
            let allowed = ENCRYPTION_ALGORITHMS.join(", ");
            let words = format!("invalid `server_side_encryption` value: {}. Allowed values are {allowed}", preview(algorithm));
            self.refuse(&format!("{PREFIX}.server_side_encryption"), words);
            return None;
        }
        if algorithm != AES256 && raw.sse_kms_key_id.filled().is_none() && !raw.sse_kms_key_id.is_wrong() {
            let words = format!("`sse_kms_key_id` is required with {algorithm}");
            self.refuse(&format!("{PREFIX}.sse_kms_key_id"), words);
        }
        Some(Encryption { algorithm: algorithm.to_owned(), kms_key_id })
    }

    fn checksum_algorithm(&mut self, name: &Field<String>) -> Option<String> {
        let name = filled(name)?;
        if CHECKSUM_ALGORITHMS.contains(&name.as_str()) {
            return Some(name);
        }
        let allowed = CHECKSUM_ALGORITHMS.join(", ");
        self.refuse("checksum_algorithm", format!("invalid `checksum_algorithm` value: {}. Allowed values are {allowed}", preview(&name)));
        None
    }

    fn bounded(&mut self, name: &str, field: &Field<i64>, least: i64, most: i64) -> Option<i64> {
        let value = *field.given()?;
        if (least..=most).contains(&value) {
            return Some(value);
        }
        self.refuse(name, format!("`{name}` must be between {least} and {most}, not {value}"));
        None
    }

    /// The reference finds this out after all other rules.
    fn sync_id(&mut self, path: &Field<String>, sync_id: &str) {
        if sync_id.is_empty() && path.filled().is_some_and(|it| it.contains(SYNC_ID)) {
            self.refuse("path", "path contains {{SYNC_ID}}. Upgrade your CLI to use this path variable");
        }
    }
}

/// The limits of an object, as written: zero or less is none, and absent is the default.
struct Batching {
    rows: Field<i64>,
    bytes: Field<i64>,
    age: Field<i64>,
}

impl Batching {
    fn fields(&self) -> [&Field<i64>; 3] {
        [&self.rows, &self.bytes, &self.age]
    }

    /// Some limit is written.
    fn asked_for(&self) -> bool {
        self.fields().into_iter().any(|it| it.given().is_some_and(|value| *value > 0))
    }

    /// Some limit is written or left to its default.
    fn on(&self) -> bool {
        self.asked_for() || self.fields().into_iter().any(Field::is_absent)
    }

    fn limits(&self) -> Rotation {
        let or = |field: &Field<i64>, default| positive(field.given().copied().unwrap_or(default));
        Rotation::Every {
            rows: or(&self.rows, DEFAULT_BATCH_ROWS),
            bytes: or(&self.bytes, DEFAULT_BATCH_BYTES),
            age: or(&self.age, DEFAULT_BATCH_AGE_NANOSECONDS).map(|it| Duration::from_nanos(it.get())),
        }
    }
}

/// Adds what a path without `{{TABLE}}` lacks. `None`: the path is none, which has been told of.
fn complete_path(path: &str, format: &Format, no_rotate: bool) -> Option<PathTemplate> {
    let template = PathTemplate::parse(path).ok()?;
    if template.has_table() {
        return Some(template);
    }
    let uuid = if no_rotate { "" } else { ".{{UUID}}" };
    // The format's bare name, even with gzip: so does the reference.
    PathTemplate::parse(&format!("{path}/{{{{TABLE}}}}.{}{uuid}", format.name())).ok()
}

fn default_content_type(format: &Format, compression: Compression) -> &'static str {
    match (compression, format) {
        (Compression::Gzip, _) => "application/gzip",
        (Compression::None, Format::Csv(_)) => "text/csv",
        (Compression::None, Format::Json) => "application/json",
        (Compression::None, Format::Parquet(_)) => "application/vnd.apache.parquet",
    }
}

/// It becomes a header.
pub(super) fn check_content_type(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > MAX_CONTENT_TYPE_BYTES || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err(format!("`content_type` must be 1 to {MAX_CONTENT_TYPE_BYTES} printable characters of ASCII"));
    }
    Ok(())
}

/// A byte that can stand between fields and never be taken for anything else.
pub(super) fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii() && !matches!(byte, 0 | b'"' | b'\r' | b'\n')
}

fn positive(value: i64) -> Option<NonZeroU64> {
    u64::try_from(value).ok().and_then(NonZeroU64::new)
}

fn is_true(field: &Field<bool>) -> bool {
    field.given().copied().unwrap_or(false)
}

fn filled(field: &Field<String>) -> Option<String> {
    field.filled().map(str::to_owned)
}

fn shown(field: &Field<String>) -> String {
    preview(field.filled().unwrap_or_default())
}
