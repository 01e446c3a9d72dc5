//! The spec of a destination, checked. [`Spec::parse`] is the only way to make one.
//!
//! `document` reads a JSON object as Go does, `raw` is the form as written, `rules` checks it and fills in defaults, `schema` says the same
//! as a JSON Schema. What is checked is split in two: [`Target`] goes to the host, [`Settings`] to the session, and neither holds anything
//! of the other.

mod bounds;
mod document;
mod duration;
mod endpoint;
mod names;
mod raw;
mod rules;
mod schema;
mod settings;
#[cfg(test)]
mod tests;

pub use schema::json_schema;

use crate::path::PathTemplate;
use std::num::NonZeroU64;
use std::time::Duration;

/// One thing wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// The field, as a dotted path (`credentials.role_arn`); empty for the spec as a whole.
    pub field: String,
    /// What is wrong and what would be accepted. The reference's words where it has any.
    pub message: String,
}

/// A checked spec, split into what the host needs ([`Target`]) and what a session needs ([`Settings`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Where the objects go; the session never sees it.
    pub target: Target,
    /// Put an empty object first?
    pub test_write: bool,
    /// What a session works by.
    pub settings: Settings,
    /// Unknown fields, which nobody will heed.
    pub warnings: Vec<SpecProblem>,
}

/// The storage a spec asks for. Mirrors `storage-target` of `wit/destination.wit`, where the fields are explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented in the WIT")]
pub struct Target {
    pub bucket: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub skip_tls_verify: bool,
    pub path_style: bool,
    pub acl: Option<String>,
    pub encryption: Option<Encryption>,
    pub credentials: CredentialSource,
    pub max_retries: Option<u32>,
    pub max_backoff_seconds: u32,
    pub part_size_bytes: Option<u64>,
    pub checksum_algorithm: Option<String>,
    pub log_requests: bool,
}

/// Server-side encryption that every object asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: String,
    /// Absent only for `AES256`.
    pub kms_key_id: Option<String>,
}

/// How requests are signed; absent fields leave the choice to the host's default chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "AWS's own names")]
pub struct CredentialSource {
    pub profile: Option<String>,
    pub role_arn: Option<String>,
    pub role_session_name: Option<String>,
    pub external_id: Option<String>,
}

/// What a session works by. Made by [`Spec::parse`]; crosses to the session instance as JSON and is checked again there.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where objects go.
    pub path: PathTemplate,
    /// `{{SYNC_ID}}`.
    pub sync_id: String,
    /// What is written.
    pub format: Format,
    /// Around the text formats.
    pub compression: Compression,
    /// When an object ends.
    pub rotation: Rotation,
    /// Clean the keys inside JSON columns?
    pub athena: bool,
    /// Put an empty object for each table at its migration? (Parquet only.)
    pub empty_objects: bool,
    /// The `Content-Type` of every object.
    pub content_type: String,
}

impl Settings {
    /// `{{FORMAT}}`: the format's name, `.gz` added under gzip.
    pub fn format_extension(&self) -> &'static str {
        match (&self.format, self.compression) {
            (Format::Csv(_), Compression::Gzip) => "csv.gz",
            (Format::Json, Compression::Gzip) => "json.gz",
            (format, _) => format.name(),
        }
    }
}

/// When an object is finished and the next one begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The path has no `{{UUID}}`: one object a table, finished at the end of the write.
    Never,
    /// The path has `{{UUID}}`: an object ends at the first limit it reaches, at a change of message type, or at the end of the write.
    Every {
        /// Rows of an object.
        rows: Option<NonZeroU64>,
        /// Bytes of Arrow buffers of an object.
        bytes: Option<NonZeroU64>,
        /// Time since the object's first row.
        age: Option<Duration>,
    },
}

impl Rotation {
    /// True if a table's rows may go into several objects at the same time: they have different keys, and objects end by themselves.
    pub fn is_splittable(&self) -> bool {
        matches!(self, Self::Every { rows, bytes, .. } if rows.is_some() || bytes.is_some())
    }
}

/// Around the text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Compression {
    None,
    Gzip,
}

/// What is written, with the format's own options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values.
    Csv(CsvOptions),
    /// One JSON object a line.
    Json,
    /// Apache Parquet.
    Parquet(ParquetOptions),
}

impl Format {
    /// As the spec names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Csv(_) => "csv",
            Self::Json => "json",
            Self::Parquet(_) => "parquet",
        }
    }
}

/// Options of CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvOptions {
    /// One ASCII byte; never `"`, CR or LF.
    pub delimiter: u8,
    /// Leave the line of column names out?
    pub skip_header: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', skip_header: false }
    }
}

/// Options of Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParquetOptions {
    /// The format version.
    pub version: ParquetVersion,
    /// The repetition of the root schema element.
    pub root_repetition: RootRepetition,
    /// Rows of a row group at most.
    pub max_row_group_rows: NonZeroU64,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        /// 128 Mi rows, the reference's default: far more than any object has in practice.
        const ROWS: NonZeroU64 = NonZeroU64::new(134_217_728).unwrap();
        Self { version: ParquetVersion::V2Latest, root_repetition: RootRepetition::Repeated, max_row_group_rows: ROWS }
    }
}

/// The Parquet format version, as the spec names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the format's")]
pub enum ParquetVersion {
    V1_0,
    V2_4,
    V2_6,
    V2Latest,
}

impl ParquetVersion {
    const ALL: [Self; 4] = [Self::V1_0, Self::V2_4, Self::V2_6, Self::V2Latest];

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "v1.0",
            Self::V2_4 => "v2.4",
            Self::V2_6 => "v2.6",
            Self::V2Latest => "v2Latest",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// The repetition of Parquet's root schema element (Snowflake and others read it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Parquet's")]
pub enum RootRepetition {
    Undefined,
    Required,
    Optional,
    Repeated,
}

impl RootRepetition {
    const ALL: [Self; 4] = [Self::Undefined, Self::Required, Self::Optional, Self::Repeated];

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Repeated => "repeated",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}
