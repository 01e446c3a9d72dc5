//! The spec as written: a table for each object that users fill in. A row is all that is said of a plain field, beside where it goes: its doc
//! comment is its description in the JSON Schema, and the order of the rows is the order in which problems are reported.
//!
//! The JSON Schema is stricter than the reader in a few places, as the reference's own schema is.

use super::document::{Document, Field};
use super::fields::{Findings, Form, FormSchema, Row, Rules, choice, flag, form, integer, names, object, options, pairs, text, texts};
use super::format::{FORMATS, NullText, ParquetOptions, ParquetVersion, RootRepetition};
use super::problem::SpecProblem;
use crate::limits::MAX_OPEN_PARTITIONS;
use std::collections::BTreeMap;

/// The canned ACLs of S3.
pub(super) const ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

/// The algorithms of S3's server-side encryption. The first needs no key.
pub(super) const ENCRYPTION_ALGORITHMS: [&str; 3] = [AES256, KMS, "aws:kms:dsse"];
pub(super) const AES256: &str = "AES256";
pub(super) const KMS: &str = "aws:kms";

/// The checksums that objects can be sent with; the last is for stores that refuse requests with checksum headers.
const CHECKSUM_ALGORITHMS: &[&str] = &["crc32", "crc32c", "crc64nvme", "sha256", "none"];

/// Bytes of a storage class. The longest of S3 has 24.
pub(super) const MAX_STORAGE_CLASS_BYTES: usize = 64;

/// Tags of an object.
pub(super) const MAX_TAGS: usize = 10;

/// Characters of a tag's key, and of its value.
pub(super) const MAX_TAG_KEY_CHARACTERS: usize = 128;
pub(super) const MAX_TAG_VALUE_CHARACTERS: usize = 256;

/// Bytes of user metadata, names with their prefix and values together: S3 has 2,048, of which some are left for names of our own.
pub(super) const MAX_METADATA_BYTES: usize = 1_664;

/// Days that an object can be locked for: a hundred years, as at S3.
pub(super) const MAX_RETAIN_DAYS: i64 = 36_500;

/// The modes of a lock.
pub(super) const LOCK_MODES: &[&str] = &["GOVERNANCE", "COMPLIANCE"];

/// Hive's name for a partition of nulls.
pub(super) const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Partitions of a table that are open at once where the spec does not say: as many as DuckDB keeps open.
pub(super) const DEFAULT_MAX_OPEN: i64 = 100;

/// The highest level of any codec.
pub(super) const MAX_LEVEL: i64 = 12;

/// Values of `content_encoding`: none, and those that are compression.
const CONTENT_ENCODINGS: &[&str] = &["none", "gzip", "zstd"];

/// What pages of Parquet are compressed with.
const PAGE_COMPRESSIONS: &[&str] = &[SNAPPY, "zstd", "gzip", NO_COMPRESSION];
const SNAPPY: &str = "snappy";
pub(super) const NO_COMPRESSION: &str = "none";

/// Bytes of a row group that can be asked for. Fewer would be no more than column writers take before their first row; more would not leave
/// enough of what encoders may hold for another object.
const MIN_ROW_GROUP_BYTES: i64 = 1 << 20;
const MAX_ROW_GROUP_BYTES: i64 = 96 << 20;

/// See [`TimestampUnit`](super::TimestampUnit).
const TIMESTAMP_UNITS: &[&str] = &["us", "ms", "us_truncated", "ms_truncated"];

/// Columns with a Bloom filter: each may take a megabyte in every row group.
const MAX_BLOOM_FILTERS: usize = 16;

/// Columns that rows are sorted by.
const MAX_SORT_COLUMNS: usize = 16;

/// Bytes of a `Content-Type`, as the world of the component has it.
pub(super) const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// Retries of one request. At the default back-off this many would take a working day.
const MAX_RETRIES: i64 = 1_000;

/// The longest wait between two attempts that can be asked for: a day.
const MAX_BACKOFF_SECONDS: i64 = 86_400;

/// Rows of a table that may be set aside: beyond a thousand million something else is wrong.
const MAX_QUARANTINED_ROWS: i64 = 1_000_000_000;

/// The smallest part that S3 takes anywhere but at the end.
const MIN_PART_SIZE_BYTES: i64 = 5 << 20;

/// The largest part that S3 takes.
const MAX_PART_SIZE_BYTES: i64 = 5 << 30;

/// No empty, `.` or `..` segment, no slash at either end, no control character; and, as in the reference's schema, no dot before a slash, which
/// a sync would take. Looking ahead is left out: not every validator can.
const CLEAN_PATH: &str = {
    // Segments and a slash after each, no dot in front of it. The last: no dot in front; or one dot and then none; or two and then something.
    r"^([^/\x00-\x1f\x7f-\x9f]*[^/.\x00-\x1f\x7f-\x9f]/)*([^/.\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*|\.[^/.\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*|\.\.[^/\x00-\x1f\x7f-\x9f]+)$"
};

/// What tags are made of, as far as a pattern can say that every validator knows. Keys of AWS are refused by the reader.
const TAG: &str = r##"^[^\x00-\x1f\x7f-\x9f!"#$%&'()*,;<>?\[\\\]^`{|}~]*$"##;

/// The same with placeholders between. What they stand for is checked by the reader.
const TAG_VALUE: &str = concat!(
    r##"^([^\x00-\x1f\x7f-\x9f!"#$%&'()*,;<>?\[\\\]^`{|}~]|"##,
    r"\{\{(TABLE|TABLE_HYPHEN|FORMAT|SYNC_ID|COMMIT_ID|SHARD|YEAR|MONTH|DAY|HOUR|MINUTE)\}\})*$"
);

/// Characters of the value of a tag as written: what a placeholder stands for may be shorter than its name.
const MAX_WRITTEN_TAG_VALUE_CHARACTERS: usize = 4 * MAX_TAG_VALUE_CHARACTERS;

/// A name and a value of user metadata. A name of ours is refused by the reader.
const METADATA_NAME: &str = r"^[a-z0-9!#$%&'*+.^_`|~-]+$";
const METADATA_VALUE: &str = r"^[!-~]([ -~]*[!-~])?$";

/// Who may pay for requests beside the owner of the bucket.
const REQUEST_PAYERS: &[&str] = &["requester"];

/// Ways of delivery.
const DELIVERIES: &[&str] = &["at_least_once", EXACTLY_ONCE];
pub(super) const EXACTLY_ONCE: &str = "exactly_once";

/// When objects can be seen.
const VISIBILITIES: &[&str] = &["immediate", ON_COMMIT];
pub(super) const ON_COMMIT: &str = "on_commit";

/// See [`SchemaChange`](super::SchemaChange).
const SCHEMA_CHANGES: &[&str] = &["next_object", FAIL, "new_path"];

/// What the objects of a table become part of.
const TABLE_FORMATS: &[&str] = &["none", ICEBERG];
pub(super) const ICEBERG: &str = "iceberg";

/// Kinds of catalogs. They all speak the REST protocol; they differ in where they are and whose signatures they want.
const CATALOGS: &[&str] = &["rest", GLUE, S3_TABLES];
pub(super) const GLUE: &str = "glue";
pub(super) const S3_TABLES: &str = "s3_tables";

/// See [`CatalogAuth`](super::CatalogAuth).
const AUTHS: &[&str] = &[AUTH_NONE, AUTH_BEARER, AUTH_OAUTH2, AUTH_SIGV4];
pub(super) const AUTH_NONE: &str = "none";
pub(super) const AUTH_BEARER: &str = "bearer";
pub(super) const AUTH_OAUTH2: &str = "oauth2";
pub(super) const AUTH_SIGV4: &str = "sigv4";

/// What becomes of columns that a table of a catalog lacks.
const TABLE_CHANGES: &[&str] = &[FAIL, ADD_COLUMNS];
pub(super) const ADD_COLUMNS: &str = "add_columns";

/// When a table of a catalog is committed to.
const COMMIT_INTERVALS: &[&str] = &["end"];

/// The list of a manifest that can be asked for.
const SYMLINK: &str = "symlink";

form! {
    /// The spec of the S3 destination.
    RawSpec as "S3Destination" {
        /// Bucket to write to: its name, or the ARN of an access point.
        bucket: String = text().required().schema("pattern", r"^(arn:[A-Za-z0-9._:/-]+|[A-Za-z0-9._:-]{1,255})$"),
        /// AWS region of the bucket. Requests are signed for it, also with `endpoint`.
        region: String = text().required().schema("pattern", r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}$"),
        /// Where objects go within the bucket. Placeholders: {{TABLE}}, {{TABLE_HYPHEN}}, {{FORMAT}}, {{UUID}}, {{SYNC_ID}}, {{YEAR}}, {{MONTH}},
        /// {{DAY}}, {{HOUR}}, {{MINUTE}}, {{COMMIT_ID}}, {{SEQ}}, {{SHARD}}, {{SCHEMA}}, and of the rows {{COLUMN:name}}, {{YEAR:name}}, {{MONTH:name}},
        /// {{DAY:name}}, {{HOUR:name}}, {{MINUTE:name}}. A path without {{TABLE}} gets `/{{TABLE}}.<format>` appended, and `.{{UUID}}` unless `no_rotate` is set.
        path: String = text().required().schema("pattern", CLEAN_PATH),
        /// Put an object without rows for each table at its migration. Parquet only.
        write_empty_objects_for_empty_tables: bool = flag(false),
        /// Profile of the shared configuration and credentials files. Cannot be used with `credentials`.
        local_profile: String = text().one_line(),
        /// How requests are signed, where the default credential chain is not enough.
        credentials: RawCredentials = object(),
        /// Write one object a table. Cannot be used with {{UUID}} in `path` or with batching.
        no_rotate: bool = flag(false),
        /// Rows after which an object ends.
        batch_size: i64 = integer().or_null().defaults_to(10_000).schema("minimum", 1),
        /// Bytes of Arrow data after which an object ends.
        batch_size_bytes: i64 = integer().or_null().defaults_to(50 << 20).schema("minimum", 1),
        /// Time after which an object ends, as a Go duration: `30s`, `1h30m`.
        batch_timeout: String = text().or_null().defaults_to("30s").schema("pattern", r"^[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|ms|s|m|h))+$"),
        /// Canned ACL of every object.
        acl: String = text().schema("enum", ACLS),
        /// Format of the objects.
        format: String = text().required_by_rule().schema("enum", FORMATS.map(|format| format.name)),
        /// Options of the format.
        format_spec: Document = options(),
        /// Compression around csv and json.
        compression: String = text().schema("enum", ["", "gzip", "zstd"]),
        /// How hard `compression` tries: 1 to 9 for gzip, 1 to 12 for zstd. Not set: 4 for gzip, 3 for zstd.
        compression_level: i64 = integer().or_null().between(1, MAX_LEVEL),
        /// Tell the compression by `Content-Encoding`, and not by key and `Content-Type`: `none`, or what `compression` is. Readers then may or may not
        /// decompress what they get.
        content_encoding: String = text().one_of(CONTENT_ENCODINGS).defaults_to(CONTENT_ENCODINGS[0]),
        /// Make the keys inside JSON columns fit for Athena: every character but letters, digits and `_` becomes `_`.
        athena: bool = flag(false),
        /// Put an empty object first, to see that the bucket can be written.
        test_write: bool = flag(true).or_null(),
        /// `Content-Type` of every object, in place of the format's own.
        content_type: String = text().schema("minLength", 1).schema("maxLength", MAX_CONTENT_TYPE_BYTES).schema("pattern", "^[ -~]+$"),
        /// URL of another S3 store than AWS.
        endpoint: String = text().schema("pattern", r"^([hH][tT][tT][pP][sS]?://[^\s/?#@]+(/[^\s?#]*)?)?$"),
        /// Accept any certificate of the endpoint.
        endpoint_skip_tls_verify: bool = flag(false),
        /// Put the bucket into the path of the URL rather than into the host name.
        use_path_style: bool = flag(false),
        /// Server-side encryption of every object.
        server_side_encryption_configuration: RawEncryption = object(),
        /// Storage class of the objects with rows, such as STANDARD_IA. Manifests and markers have that of the bucket.
        storage_class: String = text().schema("pattern", "^[A-Z0-9_]*$").schema("maxLength", MAX_STORAGE_CLASS_BYTES),
        /// Tags of every object: at most 10 keys and values. Placeholders in values: {{TABLE}}, {{TABLE_HYPHEN}}, {{FORMAT}}, {{SYNC_ID}}, {{COMMIT_ID}},
        /// {{SHARD}}, and with `commit.time` {{YEAR}}, {{MONTH}}, {{DAY}}, {{HOUR}}, {{MINUTE}}.
        tags: BTreeMap<String, String> =
            pairs().at_most(MAX_TAGS).names(TAG, MAX_TAG_KEY_CHARACTERS).values(TAG_VALUE, MAX_WRITTEN_TAG_VALUE_CHARACTERS),
        /// User metadata of every object: names in lower case, without x-amz-meta-, and values of printable ASCII, with the placeholders of `tags`.
        metadata: BTreeMap<String, String> =
            pairs().names(METADATA_NAME, MAX_METADATA_BYTES).values(METADATA_VALUE, MAX_METADATA_BYTES),
        /// Lock of the objects with rows, of manifests and of markers, in a bucket with object lock.
        object_lock: RawObjectLock = object(),
        /// The account that has to own the bucket, twelve digits: the store refuses every request if another does.
        expected_bucket_owner: String = text().schema("pattern", "^([0-9]{12})?$"),
        /// Who pays for requests, where the bucket asks that of who sends them.
        request_payer: String = text().one_of(REQUEST_PAYERS),
        /// Retries of a request after its first attempt. Not set: transient failures are retried for up to two minutes.
        max_retries: i64 = integer().or_null().between(0, MAX_RETRIES),
        /// Longest wait between two attempts, in seconds.
        max_backoff: i64 = integer().or_null().between(0, MAX_BACKOFF_SECONDS).defaults_to(30),
        /// Size of a part of a multipart upload, in bytes. Not set: as the store allows.
        part_size: i64 = integer().or_null().between(MIN_PART_SIZE_BYTES, MAX_PART_SIZE_BYTES),
        /// Checksum that objects and parts are sent with, and that the store's answers are held to. Not set: crc32, unless AWS_REQUEST_CHECKSUM_CALCULATION or the profile's
        /// request_checksum_calculation is when_required. `none` is for stores that refuse checksum headers; they get a Content-MD5.
        checksum_algorithm: String = text().one_of(CHECKSUM_ALGORITHMS),
        /// Log every request at debug level, without headers and bodies.
        aws_debug: bool = flag(false),
        /// How often the rows of a commit land. `exactly_once`: objects are created and never replaced, so that a repeated sync writes nothing
        /// twice; needs a store that honours conditional writes, and `commit.id`.
        delivery: String = text().one_of(DELIVERIES).defaults_to(DELIVERIES[0]),
        /// When objects can be seen. `on_commit`: only once every table of the sync has succeeded; until then each is an unfinished upload. Needs
        /// `commit.id`, and a lifecycle rule that keeps uploads for longer than the longest sync.
        visibility: String = text().one_of(VISIBILITIES).defaults_to(VISIBILITIES[0]),
        /// What the sync is an attempt at.
        commit: RawCommit = object(),
        /// A file for each table and commit that names its objects, written last.
        manifest: RawManifest = object(),
        /// What the objects of each table become part of: nothing, or a table in a catalog (`iceberg`; parquet only).
        table_format: String = text().one_of(TABLE_FORMATS).defaults_to(TABLE_FORMATS[0]),
        /// The catalog, and which tables of it.
        iceberg: RawIceberg = object(),
        /// How rows are divided where `path` takes values from them.
        partition: RawPartition = object(),
        /// Rows whose columns are not those of the table's rows before: they begin the next object (`next_object`), the table does `fail`, or they
        /// go to the path that {{SCHEMA}} makes of their columns (`new_path`).
        on_schema_change: String = text().one_of(SCHEMA_CHANGES).defaults_to(SCHEMA_CHANGES[0]),
        /// Where rows go that cannot be written, with the reason.
        quarantine: RawQuarantine = object(),
    }
}

form! {
    /// What a sync is an attempt at.
    RawCommit as "Commit" {
        /// Name of the commit, the same in every attempt at it, and {{COMMIT_ID}}: 1 to 200 letters, digits and - _ . : + @ = ~ , signs. Not set: what
        /// the client calls it, or the id of the sync.
        id: String = text().one_line(),
        /// What {{YEAR}} to {{MINUTE}} stand for in every attempt, as in 2026-11-29T12:00:00Z.
        time: String = text().one_line(),
        /// What counts as written where a key has an object already: one with the same bytes (`verify`, which needs s3:GetObject), any (`trust`),
        /// or none (`fail`).
        on_existing: String = text().one_of(ON_EXISTING).defaults_to(ON_EXISTING[0]),
    }
}

/// See [`OnExisting`](super::commit::OnExisting).
const ON_EXISTING: &[&str] = &["verify", "trust", "fail"];

form! {
    /// The manifests of a commit.
    RawManifest as "Manifest" {
        /// Where the manifest of each table goes, such as _manifests/{{TABLE}}/{{COMMIT_ID}}.json.
        path: String = text().required(),
        /// Say more of the objects than Redshift's COPY asks for: checksums, partitions, commit and attempt.
        extra: bool = flag(true),
        /// Say of each column of an object how many values and nulls it has, their bounds and bytes. Parquet only.
        columns: bool = flag(false),
        /// Write `_SUCCESS` into the folder of each table once every table has succeeded.
        success_marker: bool = flag(false),
        /// Lists of the objects for other readers: `symlink`, one URL a line, for Athena, Trino and BigQuery.
        lists: Vec<String> = texts(&[SYMLINK]),
    }
}

form! {
    /// A catalog of Iceberg tables.
    RawIceberg as "Iceberg" {
        /// Kind of the catalog: one with the REST interface (`rest`), that of AWS Glue in `region` (`glue`), or that of S3 Tables there (`s3_tables`),
        /// where `bucket` is the one that a table has for itself.
        catalog: String = text().one_of(CATALOGS).defaults_to(CATALOGS[0]),
        /// Address of its REST interface, below which v1/config is. Not set: that of Glue or S3 Tables.
        uri: String = text().schema("pattern", r"^([hH][tT][tT][pP][sS]?://[^\s/?#@]+(/[^\s?#]*)?)?$"),
        /// Which warehouse of it, where it has several; for Glue the id of the account, for S3 Tables the ARN of the table bucket.
        warehouse: String = text().one_line(),
        /// Namespace of the tables; a "." between two levels.
        namespace: String = text().required().one_line(),
        /// Name of each table in it, with {{TABLE}} and no other placeholder.
        table: String = text().defaults_to("{{TABLE}}"),
        /// How requests prove who sends them: not at all, by a token (`bearer`), by one for a client's id and secret (`oauth2`), or by AWS's
        /// signatures (`sigv4`). Not set: `none`, for Glue and S3 Tables `sigv4`.
        auth: String = text().one_of(AUTHS),
        /// Variable of the environment that holds the token, or the client's `id:secret`.
        credential_env: String = text().one_line(),
        /// File that does.
        credential_file: String = text().one_line(),
        /// Where `oauth2` asks for tokens. Not set: the catalog itself.
        token_uri: String = text().schema("pattern", r"^([hH][tT][tT][pP][sS]?://[^\s/?#@]+(/[^\s?#]*)?)?$"),
        /// What the tokens of `oauth2` are to be good for.
        scope: String = text().one_line(),
        /// Service that `sigv4` signs for. Not set: `execute-api`, for Glue `glue`, for S3 Tables `s3tables`.
        signing_name: String = text().one_line(),
        /// Create namespaces and tables that are not there.
        create: bool = flag(true),
        /// Columns that a table lacks: it does `fail`, or they are added (`add_columns`) and null in its rows so far.
        on_schema_change: String = text().one_of(TABLE_CHANGES).defaults_to(TABLE_CHANGES[0]),
        /// When a table gets its snapshot: at the `end` of the sync.
        commit_interval: String = text().one_of(COMMIT_INTERVALS).defaults_to(COMMIT_INTERVALS[0]),
    }
}

/// What happens to the open partitions of a table when there are too many.
const OVERFLOWS: &[&str] = &[CLOSE_OLDEST, FAIL];
pub(super) const CLOSE_OLDEST: &str = "close_oldest";

/// What becomes of a table without the column. YAML's `null` is the same as the text.
const MISSING: &[&str] = &["null", FAIL];
pub(super) const FAIL: &str = "fail";

form! {
    /// How rows are divided into partitions.
    RawPartition as "Partition" {
        /// Partitions of a table that are open at once.
        max_open: i64 = integer().or_null().between(1, MAX_OPEN_PARTITIONS as i64).defaults_to(DEFAULT_MAX_OPEN),
        /// When there are more: end the object that was not written to for longest (`close_oldest`; needs {{UUID}} or {{SEQ}} in `path`), or
        /// `fail` the table.
        overflow: String = text().one_of(OVERFLOWS).defaults_to(OVERFLOWS[0]),
        /// A table that lacks the column: its value is `null`, or the table does `fail`.
        missing: String = text().or_null().one_of(MISSING).defaults_to(MISSING[0]),
        /// What stands in a key for a null and for an empty text.
        null: String = text().defaults_to(HIVE_NULL),
        /// Write columns to the objects, too, whose values are in the key by {{COLUMN:name}}.
        keep_columns: bool = flag(true),
    }
}

form! {
    /// The place of rows that cannot be written.
    RawQuarantine as "Quarantine" {
        /// Where they go, as JSON lines, such as _quarantine/{{TABLE}}/{{UUID}}.json. Placeholders as in `path`, but for {{SCHEMA}} and those of the rows.
        path: String = text().required().schema("pattern", CLEAN_PATH),
        /// Rows of a table and write that may go there; beyond it the table fails. 0: none may.
        max_rows: i64 = integer().or_null().between(0, MAX_QUARANTINED_ROWS).defaults_to(0),
        /// Write the row itself, too.
        include_row: bool = flag(true),
    }
}

form! {
    /// How requests are signed.
    RawCredentials as "Credentials" {
        /// Profile of the shared configuration and credentials files.
        local_profile: String = text().one_line(),
        /// Role to assume.
        role_arn: String = text().one_line().schema("pattern", r"^(arn(:[^:\n]*){5}([:/].*)?)?$"),
        /// Name of the role's session.
        role_session_name: String = text().one_line(),
        /// External id that the role's trust policy asks for.
        external_id: String = text().one_line(),
    }
}

form! {
    /// Server-side encryption.
    RawEncryption as "ServerSideEncryption" {
        /// Id or ARN of the KMS key. May be left out for AES256 alone.
        sse_kms_key_id: String = text(),
        /// Algorithm.
        server_side_encryption: String = text().required_by_rule().schema("enum", ENCRYPTION_ALGORITHMS),
        /// Whether the bucket has a key of its own, made with the one of KMS, for fewer requests to KMS. Only with aws:kms. Not set: as the bucket
        /// is configured.
        bucket_key_enabled: bool = choice(),
    }
}

form! {
    /// What keeps a version of an object from being deleted or replaced.
    RawObjectLock as "ObjectLock" {
        /// How an object is locked: GOVERNANCE, which who has the permission may lift, or COMPLIANCE, which nobody may.
        mode: String = text().one_of(LOCK_MODES),
        /// Days from the put for which it is locked.
        retain_days: i64 = integer().or_null().between(1, MAX_RETAIN_DAYS),
        /// Lock it until someone lifts that.
        legal_hold: bool = flag(false),
    }
}

/// Which values of csv are in quotes.
const QUOTES: &[&str] = &["minimal", ALL];
pub(super) const ALL: &str = "all";

/// See [`LineEnding`](super::LineEnding).
const LINE_ENDINGS: &[&str] = &["lf", "crlf"];

form! {
    /// Options of csv.
    RawCsv as "CsvSpec" {
        /// Between two fields: one ASCII character, not a quote or a line end.
        delimiter: String = text().defaults_to(",").schema("pattern", r"^[\x01-\x09\x0b\x0c\x0e-!#-\x7f]$"),
        /// Leave the line of column names out.
        skip_header: bool = flag(false),
        /// What stands for a null, such as `\N`: 1 to 16 characters of ASCII that need no quotes. A text that is equal to it is written in quotes. Not
        /// set: nothing, as for an empty text.
        null_value: String = text().schema("maxLength", NullText::MOST_BYTES),
        /// Which values are in quotes: those that need it (`minimal`), or `all` but nulls.
        quote: String = text().one_of(QUOTES).defaults_to(QUOTES[0]),
        /// What ends a line: `lf` or `crlf`.
        line_ending: String = text().one_of(LINE_ENDINGS).defaults_to(LINE_ENDINGS[0]),
    }
}

form! {
    /// Options of parquet.
    RawParquet as "ParquetSpec" {
        /// Version of the format.
        version: String = text().defaults_to(ParquetOptions::default().version.name()).schema("enum", ParquetVersion::ALL.map(ParquetVersion::name)),
        /// Repetition of the root of the schema; Snowflake and others read it.
        root_repetition: String =
            text().defaults_to(ParquetOptions::default().root_repetition.name()).schema("enum", RootRepetition::ALL.map(RootRepetition::name)),
        /// Rows of a row group at most.
        max_row_group_length: i64 = integer().defaults_to(ParquetOptions::DEFAULT_ROW_GROUP_ROWS.into()).schema("minimum", 0),
        /// Bytes in memory, encoded or waiting, at which a row group ends: 1 MiB to 96 MiB. Not set: 64 MiB, or 16 MiB where a repeated sync has to make
        /// the same bytes.
        row_group_bytes: i64 = integer().or_null().between(MIN_ROW_GROUP_BYTES, MAX_ROW_GROUP_BYTES),
        /// Compression of pages.
        compression: String = text().one_of(PAGE_COMPRESSIONS).defaults_to(PAGE_COMPRESSIONS[0]),
        /// How hard `compression` tries: 1 to 9 for gzip, 1 to 12 for zstd. Not set: 4 for gzip, 3 for zstd.
        compression_level: i64 = integer().or_null().between(1, MAX_LEVEL),
        /// Unit of every timestamp: `us`, `ms`. A table with a value that this would change fails; `us_truncated` and `ms_truncated` cut what is finer off,
        /// towards the past. Not set: that of the column (nanoseconds become microseconds before version v2.6).
        timestamp_unit: String = text().one_of(TIMESTAMP_UNITS),
        /// Number the fields of the schema, from 1 in the order in which they stand, a field before those inside it.
        field_ids: bool = flag(false),
        /// Columns with a Bloom filter in every row group, at most 16: integers, decimals, dates, times, texts and bytes that are not nested. A table
        /// without the column has none.
        bloom_filter_columns: Vec<String> = names(MAX_BLOOM_FILTERS),
        /// Columns that the rows of each row group are sorted by, at most 16: `name` or `name desc`. Nulls count as less than everything else. A table
        /// without the column is not sorted by it.
        sort_by: Vec<String> = names(MAX_SORT_COLUMNS),
        /// Write an index of the pages of each column.
        page_index: bool = flag(true),
    }
}

form! {
    /// Options of json.
    RawJson as "JsonSpec" {
        /// Leave out of each row what is null.
        omit_nulls: bool = flag(false),
    }
}
