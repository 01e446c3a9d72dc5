//! The spec of a destination, checked. [`Spec::parse`] is the only way to make one; `raw` holds the form as written, its rules and its
//! JSON Schema.

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

/// Options of CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvOptions {
    /// One ASCII byte; never `"`, CR or LF.
    pub delimiter: u8,
    /// Leave the line of column names out?
    pub skip_header: bool,
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

/// The Parquet format version, as the spec names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the format's")]
pub enum ParquetVersion {
    V1_0,
    V2_4,
    V2_6,
    V2Latest,
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
