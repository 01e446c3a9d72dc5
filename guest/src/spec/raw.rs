//! The spec as written. These types are the form that users fill in: their field names, and in the JSON Schema their comments.
//!
//! A field's Rust type says how far it was readable ([`Field`]); `#[schemars(with = …)]` says what the JSON Schema asks for, which is
//! stricter than the reader in a few places, as the reference's own schema is.

use super::SpecProblem;
use super::document::{Document, Field};
use schemars::JsonSchema;

/// No line end and no other control character.
const ONE_LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// The spec of the S3 destination.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSpec {
    /// Bucket to write to: its name, or the ARN of an access point.
    #[schemars(with = "String", length(min = 1), extend("pattern" = r"^(arn:[A-Za-z0-9._:/-]+|[A-Za-z0-9._:-]{1,255})$"))]
    pub(super) bucket: Field<String>,
    /// AWS region of the bucket. Requests are signed for it, also with `endpoint`.
    #[schemars(with = "String", length(min = 1), extend("pattern" = r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$"))]
    pub(super) region: Field<String>,
    /// Where objects go within the bucket. Placeholders: {{TABLE}}, {{TABLE_HYPHEN}}, {{FORMAT}}, {{UUID}}, {{SYNC_ID}}, {{YEAR}}, {{MONTH}},
    /// {{DAY}}, {{HOUR}}, {{MINUTE}}. A path without {{TABLE}} gets `/{{TABLE}}.<format>` appended, and `.{{UUID}}` unless `no_rotate` is set.
    #[schemars(with = "String", length(min = 1))]
    pub(super) path: Field<String>,
    /// Put an object without rows for each table at its migration. Parquet only.
    #[schemars(with = "bool", extend("default" = false))]
    pub(super) write_empty_objects_for_empty_tables: Field<bool>,
    /// Profile of the shared configuration and credentials files. Cannot be used with `credentials`.
    #[schemars(with = "String", extend("pattern" = ONE_LINE))]
    pub(super) local_profile: Field<String>,
    /// How requests are signed, where the default credential chain is not enough.
    #[schemars(with = "Option<RawCredentials>")]
    pub(super) credentials: Field<RawCredentials>,
    /// Write one object a table. Cannot be used with {{UUID}} in `path` or with batching.
    #[schemars(with = "bool", extend("default" = false))]
    pub(super) no_rotate: Field<bool>,
    /// Rows after which an object ends.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "default" = 10_000))]
    pub(super) batch_size: Field<i64>,
    /// Bytes of Arrow data after which an object ends.
    #[schemars(with = "Option<i64>", extend("minimum" = 1, "default" = 52_428_800))]
    pub(super) batch_size_bytes: Field<i64>,
    /// Time after which an object ends, as a Go duration: `30s`, `1h30m`.
    #[schemars(
        with = "Option<String>",
        extend("default" = "30s", "pattern" = r"^[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|ms|s|m|h))+$")
    )]
    pub(super) batch_timeout: Field<String>,
    /// Canned ACL of every object.
    #[schemars(with = "String", extend("enum" = super::bounds::ACLS))]
    pub(super) acl: Field<String>,
    /// Format of the objects.
    #[schemars(with = "String", extend("enum" = ["csv", "json", "parquet"]))]
    pub(super) format: Field<String>,
    /// Options of the format.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub(super) format_spec: Field<Document>,
    /// Compression around csv and json.
    #[schemars(with = "String", extend("enum" = ["", "gzip"]))]
    pub(super) compression: Field<String>,
    /// Make the keys inside JSON columns fit for Athena: every character but letters, digits and `_` becomes `_`.
    #[schemars(with = "bool", extend("default" = false))]
    pub(super) athena: Field<bool>,
    /// Put an empty object first, to see that the bucket can be written.
    #[schemars(with = "Option<bool>", extend("default" = true))]
    pub(super) test_write: Field<bool>,
    /// `Content-Type` of every object, in place of the format's own.
    #[schemars(with = "String", length(min = 1, max = 256), extend("pattern" = "^[ -~]+$"))]
    pub(super) content_type: Field<String>,
    /// URL of another S3 store than AWS.
    #[schemars(with = "String", extend("pattern" = r"^([hH][tT][tT][pP][sS]?://[^\s/?#@]+(/[^\s?#]*)?)?$"))]
    pub(super) endpoint: Field<String>,
    /// Accept any certificate of the endpoint.
    #[schemars(with = "bool", extend("default" = false))]
    pub(super) endpoint_skip_tls_verify: Field<bool>,
    /// Put the bucket into the path of the URL rather than into the host name.
    #[schemars(with = "bool", extend("default" = false))]
    pub(super) use_path_style: Field<bool>,
    /// Server-side encryption of every object.
    #[schemars(with = "Option<RawEncryption>")]
    pub(super) server_side_encryption_configuration: Field<RawEncryption>,
    /// Retries of a request after its first attempt. Not set: transient failures are retried for up to two minutes.
    #[schemars(with = "Option<i64>", extend("minimum" = 0, "maximum" = super::bounds::MAX_RETRIES))]
    pub(super) max_retries: Field<i64>,
    /// Longest wait between two attempts, in seconds.
    #[schemars(with = "Option<i64>", extend("minimum" = 0, "maximum" = super::bounds::MAX_BACKOFF_SECONDS, "default" = 30))]
    pub(super) max_backoff: Field<i64>,
    /// Size of a part of a multipart upload, in bytes. Not set: as the store allows.
    #[schemars(
        with = "Option<i64>",
        extend("minimum" = super::bounds::MIN_PART_SIZE_BYTES, "maximum" = super::bounds::MAX_PART_SIZE_BYTES)
    )]
    pub(super) part_size: Field<i64>,
    /// Checksum that objects and parts are sent with. Not set: crc32, unless AWS_REQUEST_CHECKSUM_CALCULATION or the profile's
    /// request_checksum_calculation is when_required. `none` is for stores that refuse checksum headers; they get a Content-MD5.
    #[schemars(with = "String", extend("enum" = super::bounds::CHECKSUM_ALGORITHMS))]
    pub(super) checksum_algorithm: Field<String>,
    /// Log every request at debug level, without headers and bodies.
    #[schemars(with = "bool", extend("default" = false))]
    pub(super) aws_debug: Field<bool>,
}

/// How requests are signed.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Credentials")]
pub(super) struct RawCredentials {
    /// Profile of the shared configuration and credentials files.
    #[schemars(with = "String", extend("pattern" = ONE_LINE))]
    pub(super) local_profile: Field<String>,
    /// Role to assume.
    #[schemars(with = "String", extend("pattern" = r"^(arn(:[^:\n]*){5}([:/].*)?)?$"))]
    pub(super) role_arn: Field<String>,
    /// Name of the role's session.
    #[schemars(with = "String", extend("pattern" = ONE_LINE))]
    pub(super) role_session_name: Field<String>,
    /// External id that the role's trust policy asks for.
    #[schemars(with = "String", extend("pattern" = ONE_LINE))]
    pub(super) external_id: Field<String>,
}

/// Server-side encryption.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "ServerSideEncryption")]
pub(super) struct RawEncryption {
    /// Id or ARN of the KMS key. May be left out for AES256 alone.
    #[schemars(with = "String")]
    pub(super) sse_kms_key_id: Field<String>,
    /// Algorithm.
    #[schemars(with = "String", extend("enum" = super::bounds::ENCRYPTION_ALGORITHMS))]
    pub(super) server_side_encryption: Field<String>,
}

/// Options of csv.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "CsvSpec")]
pub(super) struct RawCsv {
    /// Between two fields: one ASCII character, not a quote or a line end.
    #[schemars(with = "String", extend("default" = ",", "pattern" = r"^[\x01-\x09\x0b\x0c\x0e-!#-\x7f]$"))]
    pub(super) delimiter: Field<String>,
    /// Leave the line of column names out.
    #[schemars(with = "bool", extend("default" = false))]
    pub(super) skip_header: Field<bool>,
}

/// Options of json: there are none.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "JsonSpec")]
pub(super) struct RawJson {}

/// Options of parquet.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "ParquetSpec")]
pub(super) struct RawParquet {
    /// Version of the format.
    #[schemars(with = "String", extend("default" = "v2Latest", "enum" = ["v1.0", "v2.4", "v2.6", "v2Latest"]))]
    pub(super) version: Field<String>,
    /// Repetition of the root of the schema; Snowflake and others read it.
    #[schemars(with = "String", extend("default" = "repeated", "enum" = ["undefined", "required", "optional", "repeated"]))]
    pub(super) root_repetition: Field<String>,
    /// Rows of a row group at most.
    #[schemars(with = "i64", extend("default" = 134_217_728, "minimum" = 0))]
    pub(super) max_row_group_length: Field<i64>,
}

impl RawSpec {
    /// Reads every field, collecting what has a wrong type in `problems` and what nobody knows in `warnings`.
    pub(super) fn read(mut document: Document, problems: &mut Vec<SpecProblem>, warnings: &mut Vec<SpecProblem>) -> Self {
        let it = &mut document;
        let raw = Self {
            bucket: it.text("bucket", problems),
            region: it.text("region", problems),
            path: it.text("path", problems),
            write_empty_objects_for_empty_tables: it.flag("write_empty_objects_for_empty_tables", problems),
            local_profile: it.text("local_profile", problems),
            credentials: it.object("credentials", problems).map(|inner| RawCredentials::read(inner, problems, warnings)),
            no_rotate: it.flag("no_rotate", problems),
            batch_size: it.integer("batch_size", problems),
            batch_size_bytes: it.integer("batch_size_bytes", problems),
            batch_timeout: it.text("batch_timeout", problems),
            acl: it.text("acl", problems),
            format: it.text("format", problems),
            format_spec: it.object("format_spec", problems).map(Document::decoded_apart),
            compression: it.text("compression", problems),
            athena: it.flag("athena", problems),
            test_write: it.flag("test_write", problems),
            content_type: it.text("content_type", problems),
            endpoint: it.text("endpoint", problems),
            endpoint_skip_tls_verify: it.flag("endpoint_skip_tls_verify", problems),
            use_path_style: it.flag("use_path_style", problems),
            server_side_encryption_configuration: it
                .object("server_side_encryption_configuration", problems)
                .map(|inner| RawEncryption::read(inner, problems, warnings)),
            max_retries: it.integer("max_retries", problems),
            max_backoff: it.integer("max_backoff", problems),
            part_size: it.integer("part_size", problems),
            checksum_algorithm: it.text("checksum_algorithm", problems),
            aws_debug: it.flag("aws_debug", problems),
        };
        warn_of_unknown(&document, warnings);
        raw
    }
}

impl RawCredentials {
    fn read(mut document: Document, problems: &mut Vec<SpecProblem>, warnings: &mut Vec<SpecProblem>) -> Self {
        let raw = Self {
            local_profile: document.text("local_profile", problems),
            role_arn: document.text("role_arn", problems),
            role_session_name: document.text("role_session_name", problems),
            external_id: document.text("external_id", problems),
        };
        warn_of_unknown(&document, warnings);
        raw
    }
}

impl RawEncryption {
    fn read(mut document: Document, problems: &mut Vec<SpecProblem>, warnings: &mut Vec<SpecProblem>) -> Self {
        let raw = Self {
            sse_kms_key_id: document.text("sse_kms_key_id", problems),
            server_side_encryption: document.text("server_side_encryption", problems),
        };
        warn_of_unknown(&document, warnings);
        raw
    }
}

impl RawCsv {
    pub(super) fn read(mut document: Document, problems: &mut Vec<SpecProblem>) -> Self {
        let raw = Self { delimiter: document.text("delimiter", problems), skip_header: document.flag("skip_header", problems) };
        refuse_unknown(&document, problems);
        raw
    }
}

impl RawJson {
    pub(super) fn read(document: &Document, problems: &mut Vec<SpecProblem>) -> Self {
        refuse_unknown(document, problems);
        Self {}
    }
}

impl RawParquet {
    pub(super) fn read(mut document: Document, problems: &mut Vec<SpecProblem>) -> Self {
        let raw = Self {
            version: document.text("version", problems),
            root_repetition: document.text("root_repetition", problems),
            max_row_group_length: document.integer("max_row_group_length", problems),
        };
        refuse_unknown(&document, problems);
        raw
    }
}

/// Go ignores fields it does not know. So do we, but not in silence.
fn warn_of_unknown(document: &Document, warnings: &mut Vec<SpecProblem>) {
    warnings.extend(document.unknown().map(|unknown| {
        let hint = unknown.meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        SpecProblem { message: format!("unknown field `{}`{hint}", unknown.field), field: unknown.field }
    }));
}

/// Inside `format_spec` the reference is strict.
fn refuse_unknown(document: &Document, problems: &mut Vec<SpecProblem>) {
    problems.extend(
        document
            .unknown()
            .map(|unknown| SpecProblem { field: unknown.field, message: format!("json: unknown field \"{}\"", unknown.name) }),
    );
}
