//! From the spec as written to the spec as checked: every rule that a row of the form cannot state, in the reference's order and words.
//!
//! Like the reference, rules look at what was written, before any default is filled in: `a/b.csv` alone breaks the rule that batching needs
//! `{{UUID}}`, since batching is on unless switched off.

use super::commit::{Commit, SyncContext};
use super::document::{Document, Field, preview, undecodable};
use super::fields::{Findings, Form, refuse};
use super::problem::SpecProblem;
use super::raw::{
    ACLS, AES256, ALL, ENCRYPTION_ALGORITHMS, EXACTLY_ONCE, KMS, MAX_CONTENT_TYPE_BYTES, MAX_LEVEL, NO_COMPRESSION, RawCredentials, RawCsv,
    RawEncryption, RawJson, RawParquet, RawSpec,
};
use super::{
    Catalog, CatalogTables, Codec, Compression, CsvOptions, FORMATS, Format, JsonOptions, LineEnding, NullText, PageCompression,
    ParquetOptions, ParquetVersion, Partitioning, Quarantine, RootRepetition, Rotation, SchemaChange, Settings, SortColumn, Spec, Target,
    TimestampUnit, duration, endpoint, headers, names,
};
use crate::path::{PathProblem, PathTemplate};
use std::num::NonZeroU64;
use std::time::Duration;

/// Bytes of a KMS key's id: AWS's own limit for an ARN.
const MAX_KMS_KEY_ID_BYTES: usize = 2_048;

const UUID: &str = "{{UUID}}";
const SEQUENCE: &str = "{{SEQ}}";
const SCHEMA: &str = "{{SCHEMA}}";
const SYNC_ID: &str = "{{SYNC_ID}}";

impl Spec {
    /// Checks a spec, as JSON; nothing at all and `null` mean `{}`. `sync` is what is known of the sync, perhaps no more than its id.
    ///
    /// # Errors
    /// Every problem there is, in the reference's order: wrong types first, then rules. One problem has the reference's text.
    pub fn parse(json: &str, sync: impl Into<SyncContext>) -> Result<Self, Vec<SpecProblem>> {
        let sync = sync.into();
        let mut document = Document::parse(json).map_err(|problem| vec![problem])?;
        let mut findings = Findings::default();
        let raw = RawSpec::read(&mut document, &mut findings);
        let Findings { mut problems, warnings } = findings;
        let batching = Batching::read(&raw, &mut problems);
        let parsed = raw.path.filled().map(PathTemplate::parse);
        let template = parsed.as_ref().and_then(|path| path.as_ref().ok());
        let (mut format, mut commit, mut partitioning, mut quarantine) = (None, Commit::default(), Partitioning::default(), None);
        let mut catalog = None;
        let mut compressed = None;
        // Rules that a row of the table cannot state, each in its place among the rows.
        raw.check("", &mut problems, &mut |row, problems| match row {
            "bucket" => bucket(&raw, problems),
            "region" => region(&raw, problems),
            "path" => path(parsed.as_ref(), problems),
            "write_empty_objects_for_empty_tables" => empty_objects(&raw, problems),
            "credentials" => credentials(&raw, problems),
            "no_rotate" => rotation(&raw, &batching, problems),
            "acl" => acl(&raw, problems),
            "format_spec" => format = format_with_options(&raw, problems),
            "compression" => compression(&raw, format.as_ref(), problems),
            "compression_level" => compressed = leveled(&raw, problems),
            "content_encoding" => content_encoding(&raw, problems),
            "content_type" => content_type(&raw, problems),
            "endpoint" => endpoint(&raw, problems),
            "server_side_encryption_configuration" => encryption(&raw, problems),
            "storage_class" => headers::storage_class(&raw, problems),
            "tags" => headers::tags(&raw, problems),
            "metadata" => headers::metadata(&raw, problems),
            "object_lock" => headers::object_lock(&raw, problems),
            "expected_bucket_owner" => headers::expected_bucket_owner(&raw, problems),
            "manifest" => commit = Commit::from_raw(&raw, template, &sync, problems),
            "on_schema_change" => schema_change(&raw, problems),
            "quarantine" => quarantine = Quarantine::from_raw(&raw, &sync, commit.time.is_some(), problems),
            "iceberg" => catalog = super::catalog::from_raw(&raw, template, &mut format, problems),
            "partition" => partitioning = Partitioning::from_raw(&raw, template, problems),
            _ => {}
        });
        sync_id_in_path(&raw, &sync.sync_id, &mut problems);
        let extension = format.as_ref().map_or("", |format| format.facts().extension(codec_in_names(&raw, compressed)));
        let of_sync = headers::OfSync {
            format_extension: extension,
            sync_id: &sync.sync_id,
            commit_id: &commit.id,
            time: commit.time,
            shard: commit.shard,
        };
        let [tags, metadata] = headers::rendered(&raw, of_sync, &mut problems);
        match checked(&raw, template, (format, compressed), &batching, sync.sync_id, (commit, partitioning, quarantine, catalog), warnings)
        {
            Some(spec) if problems.is_empty() => Ok(Self { target: Target { tags, metadata, ..spec.target }, ..spec }),
            _ => Err(problems),
        }
    }
}

/// Is the compression said in `Content-Encoding`?
fn is_content_encoded(raw: &RawSpec) -> bool {
    raw.content_encoding.filled().is_some_and(|name| name != NO_COMPRESSION)
}

/// The codec that extension and `Content-Type` name: none that `Content-Encoding` does.
fn codec_in_names(raw: &RawSpec, compression: Option<Compression>) -> Option<Codec> {
    compression.filter(|_| !is_content_encoded(raw)).map(Compression::codec)
}

/// The checked spec of a form. [`None`]: a field without which there is none is missing or wrong, which was reported.
fn checked(
    raw: &RawSpec,
    template: Option<&PathTemplate>,
    (format, compression): (Option<Format>, Option<Compression>),
    batching: &Batching,
    sync_id: String,
    (commit, partitioning, quarantine, catalog): (Commit, Partitioning, Option<Quarantine>, Option<(Catalog, CatalogTables)>),
    warnings: Vec<SpecProblem>,
) -> Option<Spec> {
    let format = format?;
    let codec_in_names = codec_in_names(raw, compression);
    let path = complete_path(template?, &format, raw.no_rotate.is_true())?;
    let (catalog, catalog_tables) = catalog.unzip();
    Some(Spec {
        target: Target::from_raw(raw)?,
        catalog,
        test_write: raw.test_write.is_true(),
        settings: Settings {
            rotation: if path.tells_objects_apart() { batching.limits(commit.replay) } else { Rotation::Never },
            path,
            sync_id,
            content_type: raw.content_type.text().unwrap_or_else(|| format.facts().content_type(codec_in_names).to_owned()),
            format,
            compression,
            is_content_encoded: is_content_encoded(raw),
            athena: raw.athena.is_true(),
            empty_objects: raw.write_empty_objects_for_empty_tables.is_true(),
            commit,
            partitioning,
            on_schema_change: raw.on_schema_change.filled().and_then(SchemaChange::parse).unwrap_or_default(),
            quarantine,
            catalog_tables,
        },
        warnings,
    })
}

fn bucket(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    if let Some(Err(reason)) = raw.bucket.filled().map(|it| names::check_bucket(it, raw.use_path_style.is_true())) {
        refuse(problems, "bucket", reason);
    }
}

fn region(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    if let Some(Err(reason)) = raw.region.filled().map(names::check_region) {
        refuse(problems, "region", reason);
    }
}

fn path(parsed: Option<&Result<PathTemplate, Vec<PathProblem>>>, problems: &mut Vec<SpecProblem>) {
    for problem in parsed.and_then(|path| path.as_ref().err()).into_iter().flatten() {
        refuse(problems, "path", problem.to_string());
    }
}

fn empty_objects(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    const FIELD: &str = "write_empty_objects_for_empty_tables";
    let able = FORMATS.iter().filter(|format| format.has_empty_object).map(|format| format.name);
    let is_able = raw.format.is_wrong() || raw.format.filled().is_some_and(|name| able.clone().any(|it| it == name));
    if raw.write_empty_objects_for_empty_tables.is_true() && !is_able {
        let names: Vec<String> = able.map(|name| format!("`{name}`")).collect();
        refuse(problems, FIELD, format!("`{FIELD}` can only be used with {} format", names.join(" or ")));
    }
}

fn credentials(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let Some(nested) = raw.credentials.given() else { return };
    let RawCredentials { local_profile, role_arn, role_session_name, external_id } = nested;
    let has_any = [local_profile, role_arn, role_session_name, external_id].into_iter().any(|it| it.filled().is_some());
    if raw.local_profile.filled().is_some() && has_any {
        refuse(problems, "local_profile", "`local_profile` cannot be used with `credentials`");
    }
}

fn rotation(raw: &RawSpec, batching: &Batching, problems: &mut Vec<SpecProblem>) {
    const BATCHING: &str = "non-zero `batch_size`, `batch_size_bytes` or `batch_timeout_ms`";
    let path = raw.path.filled();
    let has = |placeholder: &str| path.map(|path| path.contains(placeholder));
    if raw.no_rotate.is_true() {
        for placeholder in [UUID, SEQUENCE].into_iter().filter(|it| has(it) == Some(true)) {
            refuse(problems, "path", format!("`path` should not contain {placeholder} when `no_rotate` = true"));
        }
        if batching.asked_for() {
            refuse(problems, "no_rotate", format!("`no_rotate` cannot be used with {BATCHING}"));
        }
    } else if has(UUID) == Some(false) && has(SEQUENCE) == Some(false) && batching.on() && !raw.no_rotate.is_wrong() {
        let wanted = if raw.delivery.filled() == Some(EXACTLY_ONCE) { SEQUENCE } else { UUID };
        refuse(problems, "path", format!("`path` should contain {wanted} when using a {BATCHING}"));
    }
}

fn acl(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    if let Some(acl) = raw.acl.filled().filter(|acl| !ACLS.contains(acl)) {
        refuse(problems, "acl", format!("invalid `acl` value: {}", preview(acl)));
    }
}

fn format_with_options(raw: &RawSpec, problems: &mut Vec<SpecProblem>) -> Option<Format> {
    if raw.format.is_wrong() {
        return None;
    }
    match raw.format.filled().unwrap_or_default() {
        "csv" => {
            let options = format_options::<RawCsv>(raw, problems);
            Some(Format::Csv(csv(&options, problems)))
        }
        "json" => {
            let options = format_options::<RawJson>(raw, problems);
            Some(Format::Json(JsonOptions { omit_nulls: options.omit_nulls.is_true() }))
        }
        "parquet" => {
            let options = format_options::<RawParquet>(raw, problems);
            Some(Format::Parquet(parquet(&options, problems)))
        }
        other => {
            refuse(problems, "format", format!("unknown format {}", preview(other)));
            None
        }
    }
}

/// Reads `format_spec` as the options of one format. Without any, all of them have their defaults.
fn format_options<F: Form>(raw: &RawSpec, problems: &mut Vec<SpecProblem>) -> F {
    let mut document = raw.format_spec.given().cloned().unwrap_or_else(Document::empty);
    let mut findings = Findings::default();
    let options = F::read(&mut document, &mut findings);
    problems.append(&mut findings.problems);
    options.check("format_spec.", problems, &mut |_, _| {});
    options
}

fn csv(raw: &RawCsv, problems: &mut Vec<SpecProblem>) -> CsvOptions {
    let default = CsvOptions::default();
    let delimiter = match raw.delimiter.filled().map(str::as_bytes) {
        None => default.delimiter,
        Some(&[byte]) if is_delimiter(byte) => byte,
        Some(_) => {
            refuse(problems, "format_spec.delimiter", "delimiter must be a single character");
            default.delimiter
        }
    };
    let null_value = raw.null_value.filled().and_then(|text| {
        let null = NullText::new(text, delimiter);
        if null.is_none() {
            let message = format!(
                "invalid `null_value`: {}. It must be 1 to {} signs of ASCII, no blanks, quotes or delimiters among them",
                preview(text),
                NullText::MOST_BYTES
            );
            refuse(problems, "format_spec.null_value", message);
        }
        null
    });
    CsvOptions {
        delimiter,
        skip_header: raw.skip_header.is_true(),
        null_value,
        quotes_all: raw.quote.filled() == Some(ALL),
        line_ending: raw.line_ending.filled().and_then(LineEnding::parse).unwrap_or_default(),
    }
}

fn parquet(raw: &RawParquet, problems: &mut Vec<SpecProblem>) -> ParquetOptions {
    let default = ParquetOptions::default();
    let version = raw.version.filled().map_or(Some(default.version), ParquetVersion::parse);
    if version.is_none() {
        let message = format!("invalid version: {}. Allowed values are v1.0, v2.4, v2.6, v2Latest", shown(&raw.version));
        refuse(problems, "format_spec.version", message);
    }
    let root_repetition = raw.root_repetition.filled().map_or(Some(default.root_repetition), RootRepetition::parse);
    if root_repetition.is_none() {
        let allowed = "undefined, required, optional, repeated";
        let message = format!("invalid rootRepetition: {}. Allowed values are {allowed}", shown(&raw.root_repetition));
        refuse(problems, "format_spec.root_repetition", message);
    }
    let rows = raw.max_row_group_length.given().copied().unwrap_or(0);
    if rows < 0 {
        let message = format!("invalid: maxRowGroupLength: {rows}. Must be zero or positive");
        refuse(problems, "format_spec.max_row_group_length", message);
    }
    ParquetOptions {
        version: version.unwrap_or(default.version),
        root_repetition: root_repetition.unwrap_or(default.root_repetition),
        max_row_group_rows: positive(rows).unwrap_or(default.max_row_group_rows),
        row_group_bytes: raw.row_group_bytes.given().copied().and_then(positive),
        compression: page_compression(raw, problems).unwrap_or(default.compression),
        timestamp_unit: raw.timestamp_unit.filled().and_then(TimestampUnit::parse),
        field_ids: raw.field_ids.is_true(),
        bloom_filter_columns: raw.bloom_filter_columns.given().cloned().unwrap_or_default(),
        sort_by: sort_by(raw, problems),
        page_index: raw.page_index.is_true(),
        // A matter of `table_format`.
        iceberg: None,
    }
}

/// What pages are compressed with. [`None`]: it is wrong, which was or is reported, or not said.
fn page_compression(raw: &RawParquet, problems: &mut Vec<SpecProblem>) -> Option<PageCompression> {
    let (name, level) = (raw.compression.filled(), raw.compression_level.given().copied());
    if let Some(codec) = name.and_then(Codec::parse) {
        return at_level(codec, level, "format_spec.compression_level", problems).map(PageCompression::Leveled);
    }
    if level.is_some() && !raw.compression.is_wrong() {
        let message = "`compression_level` can only be used with `compression: zstd` or `compression: gzip`";
        refuse(problems, "format_spec.compression_level", message);
    }
    (name == Some(NO_COMPRESSION)).then_some(PageCompression::None)
}

fn sort_by(raw: &RawParquet, problems: &mut Vec<SpecProblem>) -> Vec<SortColumn> {
    let mut columns: Vec<SortColumn> = Vec::new();
    let texts = raw.sort_by.given().map_or(&[][..], Vec::as_slice);
    for (number, text) in texts.iter().enumerate() {
        match SortColumn::parse(text) {
            // That it is there twice in the same words was reported.
            Some(_) if texts.iter().take(number).any(|other| other == text) => {}
            Some(column) if columns.iter().any(|other| other.name == column.name) => {
                refuse(problems, "format_spec.sort_by", format!("`sort_by` must name {} once", preview(&column.name)));
            }
            Some(column) => columns.push(column),
            // That it is empty was reported.
            None if text.is_empty() => {}
            None => refuse(problems, "format_spec.sort_by", format!("`sort_by` must have names of columns, and {} is none", preview(text))),
        }
    }
    columns
}

fn compression(raw: &RawSpec, format: Option<&Format>, problems: &mut Vec<SpecProblem>) {
    let Some(compression) = raw.compression.filled() else { return };
    if Codec::parse(compression).is_none() {
        refuse(problems, "compression", "`compression` must be either empty, `gzip` or `zstd`");
    }
    if let Some(format) = format.filter(|format| !format.facts().is_compressible()) {
        refuse(problems, "compression", format!("compression is not supported for {} format", format.name()));
    }
}

/// What objects are compressed with, at the level that is asked for or the usual one.
fn leveled(raw: &RawSpec, problems: &mut Vec<SpecProblem>) -> Option<Compression> {
    let level = raw.compression_level.given().copied();
    match raw.compression.filled() {
        Some(name) => at_level(Codec::parse(name)?, level, "compression_level", problems),
        None => {
            if level.is_some() && !raw.compression.is_wrong() {
                refuse(problems, "compression_level", "`compression_level` can only be used with `compression`");
            }
            None
        }
    }
}

/// A codec at a level. [`None`]: it does not have it, which is reported here or by the row's own bounds.
fn at_level(codec: Codec, level: Option<i64>, field: &str, problems: &mut Vec<SpecProblem>) -> Option<Compression> {
    let Some(level) = level else { return Some(Compression::usual(codec)) };
    let most = i64::from(codec.most());
    if (most + 1..=MAX_LEVEL).contains(&level) {
        refuse(problems, field, format!("`{field}` must be between 1 and {most} for {}, not {level}", codec.name()));
    }
    u8::try_from(level).ok().and_then(|level| Compression::new(codec, level))
}

fn content_encoding(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let Some(encoding) = raw.content_encoding.filled().filter(|name| *name != NO_COMPRESSION) else { return };
    if Codec::parse(encoding).is_some() && !raw.compression.is_wrong() && raw.compression.filled() != Some(encoding) {
        let message = format!("`content_encoding: {encoding}` can only be used with `compression: {encoding}`");
        refuse(problems, "content_encoding", message);
    }
}

fn content_type(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    if let Some(Err(reason)) = raw.content_type.filled().map(check_content_type) {
        refuse(problems, "content_type", reason);
    }
}

fn endpoint(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    if let Some(Err(reason)) = raw.endpoint.filled().map(endpoint::check) {
        refuse(problems, "endpoint", reason);
    }
}

fn encryption(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    const ALGORITHM: &str = "server_side_encryption_configuration.server_side_encryption";
    const KEY: &str = "server_side_encryption_configuration.sse_kms_key_id";
    const BUCKET_KEY: &str = "server_side_encryption_configuration.bucket_key_enabled";
    let Some(RawEncryption { sse_kms_key_id: key, server_side_encryption: algorithm, bucket_key_enabled }) =
        raw.server_side_encryption_configuration.given()
    else {
        return;
    };
    if key.filled().is_some_and(|id| id.len() > MAX_KMS_KEY_ID_BYTES || !id.bytes().all(|b| b.is_ascii_graphic())) {
        let message = format!("`sse_kms_key_id` must be at most {MAX_KMS_KEY_ID_BYTES} letters, digits and signs of ASCII");
        refuse(problems, KEY, message);
    }
    if algorithm.is_wrong() {
        return;
    }
    let algorithm = algorithm.filled().unwrap_or_default();
    if !ENCRYPTION_ALGORITHMS.contains(&algorithm) {
        let allowed = ENCRYPTION_ALGORITHMS.join(", ");
        let message = format!("invalid `server_side_encryption` value: {}. Allowed values are {allowed}", preview(algorithm));
        refuse(problems, ALGORITHM, message);
    } else if algorithm != AES256 && key.filled().is_none() && !key.is_wrong() {
        refuse(problems, KEY, format!("`sse_kms_key_id` is required with {algorithm}"));
    }
    if bucket_key_enabled.given().is_some() && algorithm != KMS {
        refuse(problems, BUCKET_KEY, format!("`bucket_key_enabled` can only be used with {KMS}, not with {}", preview(algorithm)));
    }
}

fn schema_change(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let is_new_path = raw.on_schema_change.filled() == Some(SchemaChange::NewPath.name());
    if is_new_path && raw.path.filled().is_some_and(|path| !path.contains(SCHEMA)) {
        refuse(problems, "path", "`path` should contain {{SCHEMA}} with `on_schema_change: new_path`");
    }
}

/// The reference finds this out after all other rules.
fn sync_id_in_path(raw: &RawSpec, sync_id: &str, problems: &mut Vec<SpecProblem>) {
    if sync_id.is_empty() && raw.path.filled().is_some_and(|it| it.contains(SYNC_ID)) {
        refuse(problems, "path", "path contains {{SYNC_ID}}. Upgrade your CLI to use this path variable");
    }
}

/// The limits of an object. Zero or less means no limit.
struct Batching {
    rows: Field<i64>,
    bytes: Field<i64>,
    nanoseconds: Field<i64>,
}

impl Batching {
    /// A `batch_timeout` that is no duration is a wrong type in the reference's eyes, so it is reported with those.
    fn read(raw: &RawSpec, problems: &mut Vec<SpecProblem>) -> Self {
        let nanoseconds = match raw.batch_timeout.clone().map(|text| duration::parse(&text)) {
            Field::Given(Ok(nanoseconds)) => Field::Given(nanoseconds),
            Field::Given(Err(reason)) => {
                problems.push(undecodable("batch_timeout", &reason));
                Field::Wrong
            }
            Field::Absent(default) => Field::Absent(default.and_then(Result::ok)),
            Field::Wrong => Field::Wrong,
        };
        Self { rows: raw.batch_size.clone(), bytes: raw.batch_size_bytes.clone(), nanoseconds }
    }

    fn fields(&self) -> [&Field<i64>; 3] {
        [&self.rows, &self.bytes, &self.nanoseconds]
    }

    /// Some limit is written.
    fn asked_for(&self) -> bool {
        self.fields().into_iter().any(|it| it.given().is_some_and(|value| *value > 0))
    }

    /// Some limit is written or left to its default.
    fn on(&self) -> bool {
        self.asked_for() || self.fields().into_iter().any(Field::is_absent)
    }

    /// In a replay no object ends by its age, which no other attempt would have.
    fn limits(&self, replay: bool) -> Rotation {
        let limit = |field: &Field<i64>| field.value().copied().and_then(positive);
        Rotation::Every {
            rows: limit(&self.rows),
            bytes: limit(&self.bytes),
            age: limit(&self.nanoseconds).filter(|_| !replay).map(|it| Duration::from_nanos(it.get())),
        }
    }
}

/// Adds what a path without `{{TABLE}}` lacks. [`None`]: it is not valid then.
fn complete_path(template: &PathTemplate, format: &Format, no_rotate: bool) -> Option<PathTemplate> {
    if template.has_table() {
        return Some(template.clone());
    }
    let uuid = if no_rotate || template.has_sequence() { "" } else { ".{{UUID}}" };
    // The format's bare name, even with gzip: so does the reference.
    PathTemplate::parse(&format!("{}/{{{{TABLE}}}}.{}{uuid}", template.as_str(), format.name())).ok()
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

fn shown(field: &Field<String>) -> String {
    preview(field.filled().unwrap_or_default())
}
