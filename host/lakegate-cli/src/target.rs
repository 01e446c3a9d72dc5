//! The destination of rows: a spec read from a file, or composed from command-line options.

use super::args::Size;
use super::config::{Config, ConfigErrors, DestinationPlugin, Required, Surroundings, content};
use super::exit::{CliError, Exit};
use lakegate::is_region;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The region if neither `--region` nor the environment sets one.
const DEFAULT_REGION: &str = "us-east-1";
/// Environment variables for the region, in order of precedence.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Which store, and as whom.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// The bucket's region [default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1].
    #[arg(long)]
    pub region: Option<String>,
    /// URL of a store other than AWS, such as `http://localhost:9000`.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Put the bucket into the path of the URL instead of its host; required by MinIO and most other stores.
    #[arg(long)]
    pub path_style: bool,
    /// Accept any TLS certificate of the endpoint. Insecure; only for tests.
    #[arg(long)]
    pub skip_tls_verify: bool,
    /// A profile of the AWS config and credentials files.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// An IAM role to assume.
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
}

impl StoreArgs {
    /// The region: the option, else the environment, else the default.
    ///
    /// # Errors
    /// The environment names none that could be one.
    pub(crate) fn region(&self, variable: impl Fn(&str) -> Option<String>) -> Result<String, CliError> {
        let set = |name: &'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        match (&self.region, REGION_VARIABLES.into_iter().find_map(set)) {
            (Some(region), _) => Ok(region.clone()),
            // The spec's check would name a field `region` that is not in the spec.
            (None, Some((name, region))) if !is_region(&region) => {
                Err(CliError::new(Exit::Spec, format!("{name} must be the code of a region such as eu-central-1, not {region:?}")))
            }
            (None, found) => Ok(found.map_or_else(|| DEFAULT_REGION.to_owned(), |(_, region)| region)),
        }
    }
}

/// Headers of each object. The names are those of the AWS CLI where it has any.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Headers of objects")]
pub struct HeaderArgs {
    /// A canned ACL, such as bucket-owner-full-control.
    #[arg(long, value_name = "NAME")]
    pub acl: Option<String>,
    /// Encryption at the store: AES256, aws:kms or aws:kms:dsse.
    #[arg(long, value_name = "NAME")]
    pub sse: Option<String>,
    /// The key of aws:kms and aws:kms:dsse.
    #[arg(long, value_name = "ID", requires = "sse")]
    pub sse_kms_key_id: Option<String>,
    /// Have the bucket make a key of its own with that of KMS.
    #[arg(long, requires = "sse")]
    pub bucket_key_enabled: bool,
    /// The storage class, such as STANDARD_IA.
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// A tag; may be repeated, up to ten times.
    ///
    /// Placeholders in the value, as in that of --metadata: {{TABLE}}, {{TABLE_HYPHEN}}, {{FORMAT}}, {{SYNC_ID}}, {{COMMIT_ID}}, {{SHARD}}, and with
    /// --commit-time {{YEAR}}, {{MONTH}}, {{DAY}}, {{HOUR}}, {{MINUTE}}.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub tags: Vec<(String, String)>,
    /// User metadata, without x-amz-meta- in front of the name; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Lock the objects for --object-lock-days: GOVERNANCE or COMPLIANCE.
    #[arg(long, value_name = "MODE", requires = "object_lock_days")]
    pub object_lock_mode: Option<String>,
    /// How many days they are locked.
    #[arg(long, value_name = "DAYS", requires = "object_lock_mode")]
    pub object_lock_days: Option<u32>,
    /// Lock the objects until someone lifts that.
    #[arg(long)]
    pub legal_hold: bool,
    /// The account that has to own the bucket, for any request to be served.
    #[arg(long, value_name = "ACCOUNT")]
    pub expected_bucket_owner: Option<String>,
    /// Who pays for the requests, if that is not the owner of the bucket.
    #[arg(long, value_name = "requester")]
    pub request_payer: Option<String>,
}

/// A name and a value. A value may have more signs of equality.
fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| format!("{text:?} is not NAME=VALUE"))
}

impl HeaderArgs {
    /// The fields of the spec.
    ///
    /// # Errors
    /// A name is given twice.
    fn put_into(&self, put: &mut impl FnMut(&str, Value)) -> Result<(), CliError> {
        put("acl", json!(self.acl));
        put("server_side_encryption_configuration", self.encryption());
        put("storage_class", json!(self.storage_class));
        put("tags", mapping("--tag", &self.tags)?);
        put("metadata", mapping("--metadata", &self.metadata)?);
        put("object_lock", self.object_lock());
        put("expected_bucket_owner", json!(self.expected_bucket_owner));
        put("request_payer", json!(self.request_payer));
        Ok(())
    }

    fn encryption(&self) -> Value {
        let Some(algorithm) = &self.sse else { return Value::Null };
        fields([
            ("server_side_encryption", json!(algorithm)),
            ("sse_kms_key_id", json!(self.sse_kms_key_id)),
            ("bucket_key_enabled", if self.bucket_key_enabled { Value::Bool(true) } else { Value::Null }),
        ])
    }

    fn object_lock(&self) -> Value {
        fields([
            ("mode", json!(self.object_lock_mode)),
            ("retain_days", json!(self.object_lock_days)),
            ("legal_hold", if self.legal_hold { Value::Bool(true) } else { Value::Null }),
        ])
    }
}

/// An object of those fields that are given; null if none is.
fn fields<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let given: Map<String, Value> =
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect();
    if given.is_empty() { Value::Null } else { Value::Object(given) }
}

fn mapping(option: &str, pairs: &[(String, String)]) -> Result<Value, CliError> {
    let mut mapping = Map::new();
    for (name, value) in pairs {
        if mapping.insert(name.clone(), value.as_str().into()).is_some() {
            return Err(CliError::new(Exit::Usage, format!("{option}: {name:?} is given twice")));
        }
    }
    Ok(if mapping.is_empty() { Value::Null } else { Value::Object(mapping) })
}

/// The destination options of `load`: `--spec`, or `--to` and its companions.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Destination")]
pub struct Target {
    /// A file with a spec of the S3 destination (YAML or JSON), bare or inside a CloudQuery `kind: destination` document.
    #[arg(long, value_name = "FILE", required_unless_present = "to", conflicts_with_all = [
        "to", "format", "compression", "compression_level", "content_encoding", "row_group_bytes", "timestamp_unit", "field_ids",
        "bloom_filter_columns", "sort_by", "no_page_index", "region", "endpoint", "path_style", "skip_tls_verify", "no_rotate", "content_type", "batch_size",
        "part_size", "checksum_algorithm", "profile", "role_arn", "delivery", "visibility", "on_existing", "manifest", "bare_manifest", "manifest_columns", "success_marker",
        "symlink_list", "max_open_partitions", "missing_partition_column", "omit_partition_columns", "acl", "sse", "storage_class", "tags",
        "metadata", "object_lock_mode", "object_lock_days", "legal_hold", "expected_bucket_owner", "request_payer",
        "quarantine", "quarantine_max_rows", "quarantine_without_rows", "table_format", "catalog", "warehouse", "namespace", "catalog_auth",
        "catalog_credential_env", "catalog_credential_file", "add_columns", "no_create_table",
    ])]
    pub spec: Option<PathBuf>,
    /// Bucket and path, such as `s3://bucket/raw/{{TABLE}}/{{UUID}}.{{FORMAT}}`.
    ///
    /// Placeholders: {{TABLE}}, {{TABLE_HYPHEN}}, {{FORMAT}}, {{UUID}}, {{SYNC_ID}}, {{YEAR}}, {{MONTH}}, {{DAY}}, {{HOUR}}, {{MINUTE}}, {{COMMIT_ID}}, {{SEQ}}, {{SHARD}}, {{SCHEMA}}; and
    /// of the rows, which are divided by it: {{COLUMN:name}}, {{YEAR:name}}, {{MONTH:name}}, {{DAY:name}}, {{HOUR:name}}, {{MINUTE:name}}. With
    /// {{UUID}}, a table is split into many objects; without it, there is one object per table and partition. A path without {{TABLE}} gets
    /// `/{{TABLE}}.FORMAT` appended.
    #[arg(long, value_name = "s3://BUCKET/PATH", requires = "format")]
    pub to: Option<String>,
    /// Format of the objects: csv, json (one JSON object per line) or parquet.
    #[arg(long)]
    pub format: Option<String>,
    /// Compression: gzip or zstd, around csv and json; of the pages of parquet also snappy or none [default: none; snappy in parquet].
    #[arg(long, value_name = "NAME")]
    pub compression: Option<String>,
    /// How hard to compress: 1 to 9 with gzip, 1 to 12 with zstd [default: 4 with gzip, 3 with zstd].
    #[arg(long, value_name = "LEVEL", requires = "compression")]
    pub compression_level: Option<u8>,
    /// Tell the compression of csv and json by Content-Encoding, and not by {{FORMAT}} and Content-Type: what --compression is.
    #[arg(long, value_name = "gzip|zstd", requires = "compression")]
    pub content_encoding: Option<String>,
    /// Bytes in memory at which a row group of parquet ends, 1MiB to 96MiB [default: 64MiB; 16MiB with exactly_once].
    #[arg(long, value_name = "SIZE")]
    pub row_group_bytes: Option<Size>,
    /// Unit of the timestamps of parquet: us or ms, which fail a table with a value that they would change; us_truncated or ms_truncated, which cut
    /// it [default: that of the column].
    #[arg(long, value_name = "UNIT")]
    pub timestamp_unit: Option<String>,
    /// Number the fields of the schema of parquet, from 1.
    #[arg(long)]
    pub field_ids: bool,
    /// A column with a Bloom filter in parquet; may be repeated.
    #[arg(long = "bloom-filter-column", value_name = "NAME")]
    pub bloom_filter_columns: Vec<String>,
    /// A column to sort the rows of each row group of parquet by, NAME or 'NAME desc'; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub sort_by: Vec<String>,
    /// Write no index of pages to parquet.
    #[arg(long)]
    pub no_page_index: bool,
    /// Write one object per table, as is the case without {{UUID}} in the path anyway.
    #[arg(long)]
    pub no_rotate: bool,
    /// The Content-Type of the objects [default: that of the format].
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Maximum rows per object; needs {{UUID}} in the path [default: 10000].
    #[arg(long, value_name = "ROWS")]
    pub batch_size: Option<u32>,
    /// Size of the parts of a multipart upload, such as 16MiB [default: depends on the object].
    #[arg(long, value_name = "SIZE")]
    pub part_size: Option<Size>,
    /// Checksum to send objects with: crc32, crc32c, crc64nvme, sha256, or none for stores that refuse checksum headers [default: crc32, unless
    /// AWS_REQUEST_CHECKSUM_CALCULATION is when_required].
    #[arg(long, value_name = "NAME")]
    pub checksum_algorithm: Option<String>,
    /// Which store, and as whom.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How often the rows of a commit land: at_least_once, or exactly_once, which creates objects, replaces none, and needs --commit-id and
    /// {{SEQ}} instead of {{UUID}} [default: at_least_once].
    #[arg(long, value_name = "WAY")]
    pub delivery: Option<String>,
    /// When objects can be seen: immediate, or on_commit, which waits until every table has succeeded and needs --commit-id [default: immediate].
    #[arg(long, value_name = "MOMENT")]
    pub visibility: Option<String>,
    /// With exactly_once, which object counts as written where a key has one: verify (one with the same bytes), trust (any), fail (none)
    /// [default: verify].
    #[arg(long, value_name = "verify|trust|fail", requires = "delivery")]
    pub on_existing: Option<String>,
    /// Write a manifest of each table, such as _manifests/{{TABLE}}/{{COMMIT_ID}}.json.
    #[arg(long, value_name = "PATH")]
    pub manifest: Option<String>,
    /// Leave out of the manifest what Redshift's COPY does not read.
    #[arg(long, requires = "manifest")]
    pub bare_manifest: bool,
    /// Say in the manifest of each column of an object how many values and nulls it has, their bounds and bytes; parquet only.
    #[arg(long, requires = "manifest", conflicts_with = "bare_manifest")]
    pub manifest_columns: bool,
    /// Write _SUCCESS into the folder of each table once every table has succeeded.
    #[arg(long, requires = "manifest")]
    pub success_marker: bool,
    /// Write the URLs of the objects beside the manifest, one a line, for Athena, Trino and BigQuery.
    #[arg(long, requires = "manifest")]
    pub symlink_list: bool,
    /// Partitions of a table that are open at once, where the path takes values from rows; the one not written to for longest ends when there are more
    /// [default: 100].
    #[arg(long, value_name = "N")]
    pub max_open_partitions: Option<u32>,
    /// A table without a column that the path takes values from: null (the value is null) or fail [default: null].
    #[arg(long, value_name = "null|fail")]
    pub missing_partition_column: Option<String>,
    /// Do not write columns to the objects whose values are in the key by {{COLUMN:name}}.
    #[arg(long)]
    pub omit_partition_columns: bool,
    /// Where rows go that cannot be written, with the reason, such as _quarantine/{{TABLE}}/{{UUID}}.json.
    #[arg(long, value_name = "PATH", requires = "quarantine_max_rows")]
    pub quarantine: Option<String>,
    /// Rows of a table that may go there; beyond it the table fails.
    #[arg(long, value_name = "ROWS", requires = "quarantine")]
    pub quarantine_max_rows: Option<u32>,
    /// Leave the rows themselves out there, and write where they were and why alone.
    #[arg(long, requires = "quarantine")]
    pub quarantine_without_rows: bool,
    /// The catalog of tables.
    #[command(flatten)]
    pub catalog: CatalogArgs,
    /// Headers of each object.
    #[command(flatten)]
    pub headers: HeaderArgs,
}

/// In which catalog the objects of each table become part of a table.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Catalog")]
pub struct CatalogArgs {
    /// What the objects of each table become part of: none, or iceberg, a table in a catalog; parquet only [default: none].
    #[arg(long, value_name = "none|iceberg")]
    pub table_format: Option<String>,
    /// Address of the catalog's REST interface, such as `http://localhost:8181`, or `glue` for that of AWS Glue in the region.
    #[arg(long, value_name = "URL|glue", requires = "table_format")]
    pub catalog: Option<String>,
    /// Warehouse of the catalog, where it has several; for Glue the ID of the account.
    #[arg(long, value_name = "NAME", requires = "catalog")]
    pub warehouse: Option<String>,
    /// Namespace of the tables; a `.` between two levels.
    #[arg(long, value_name = "NAME", requires = "catalog")]
    pub namespace: Option<String>,
    /// How requests prove who sends them: none, bearer (a token), oauth2 (a client's id and secret) or sigv4 (AWS's signatures) [default: none; sigv4
    /// for glue].
    #[arg(long, value_name = "WAY", requires = "catalog")]
    pub catalog_auth: Option<String>,
    /// Variable of the environment that holds the token, or the client's `id:secret`.
    #[arg(long, value_name = "VARIABLE", requires = "catalog", conflicts_with = "catalog_credential_file")]
    pub catalog_credential_env: Option<String>,
    /// File that does.
    #[arg(long, value_name = "FILE", requires = "catalog")]
    pub catalog_credential_file: Option<String>,
    /// Add columns to a table that lacks them, instead of failing it.
    #[arg(long, requires = "catalog")]
    pub add_columns: bool,
    /// Fail a table that is not in the catalog, instead of creating it.
    #[arg(long, requires = "catalog")]
    pub no_create_table: bool,
}

impl CatalogArgs {
    /// What is said of the catalog; nothing, if nothing is.
    fn iceberg(&self) -> Value {
        let Some(catalog) = &self.catalog else { return Value::Null };
        let is_glue = catalog == "glue";
        fields([
            ("catalog", if is_glue { json!("glue") } else { Value::Null }),
            ("uri", if is_glue { Value::Null } else { json!(catalog) }),
            ("warehouse", json!(self.warehouse)),
            ("namespace", json!(self.namespace)),
            ("auth", json!(self.catalog_auth)),
            ("credential_env", json!(self.catalog_credential_env)),
            ("credential_file", json!(self.catalog_credential_file)),
            ("on_schema_change", if self.add_columns { json!("add_columns") } else { Value::Null }),
            ("create", if self.no_create_table { Value::Bool(false) } else { Value::Null }),
        ])
    }
}

impl Target {
    /// The spec as JSON. `test_write` decides whether the test object is put.
    ///
    /// # Errors
    /// The file cannot be read or has no spec of the S3 destination, or `--to` is malformed. The spec itself is validated by the destination.
    pub fn spec_json(&self, test_write: bool, variable: impl Fn(&str) -> Option<String>) -> Result<String, CliError> {
        let mut spec = match (&self.spec, &self.to) {
            (Some(file), _) => read_spec(file)?,
            (None, Some(to)) => self.composed(to, variable)?,
            (None, None) => return Err(CliError::new(Exit::Usage, "no destination: give --to s3://BUCKET/PATH or --spec FILE")),
        };
        // Field names are case-insensitive, and the last one wins, so only one may remain.
        spec.retain(|key, _| !key.eq_ignore_ascii_case("test_write"));
        spec.insert("test_write".to_owned(), test_write.into());
        Ok(Value::Object(spec).to_string())
    }

    fn composed(&self, to: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Map<String, Value>, CliError> {
        let usage = || CliError::new(Exit::Usage, format!("--to {to:?} is not s3://BUCKET/PATH"));
        let (bucket, path) = to.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).ok_or_else(usage)?;
        if bucket.is_empty() || path.is_empty() {
            return Err(usage());
        }
        let region = self.store.region(variable)?;
        let mut spec = Map::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() && value != Value::Bool(false) {
                spec.insert(key.to_owned(), value);
            }
        };
        put("bucket", bucket.into());
        put("path", path.into());
        put("region", region.into());
        put("format", json!(self.format));
        // Parquet compresses inside.
        if !self.compresses_inside() {
            put("compression", json!(self.compression));
            put("compression_level", json!(self.compression_level));
        }
        put("content_encoding", json!(self.content_encoding));
        put("format_spec", self.format_spec());
        put("endpoint", json!(self.store.endpoint));
        put("use_path_style", self.store.path_style.into());
        put("endpoint_skip_tls_verify", self.store.skip_tls_verify.into());
        // `--batch-size` implies rotation: the spec's validation then reports that the path lacks `{{UUID}}`.
        let rotates = ["{{UUID}}", "{{SEQ}}"].into_iter().any(|placeholder| path.contains(placeholder));
        put("no_rotate", (self.no_rotate || !rotates && self.batch_size.is_none()).into());
        put("content_type", json!(self.content_type));
        put("batch_size", json!(self.batch_size));
        put("part_size", json!(self.part_size.map(|size| size.0)));
        put("checksum_algorithm", json!(self.checksum_algorithm));
        put("delivery", json!(self.delivery));
        put("visibility", json!(self.visibility));
        put("commit", self.on_existing.as_ref().map_or(Value::Null, |on_existing| json!({ "on_existing": on_existing })));
        put("manifest", self.manifest.as_ref().map_or(Value::Null, |path| self.manifest(path)));
        put("table_format", json!(self.catalog.table_format));
        put("iceberg", self.catalog.iceberg());
        put("partition", self.partition());
        let max_rows = self.quarantine_max_rows;
        let quarantine = |path| json!({"path": path, "max_rows": max_rows, "include_row": !self.quarantine_without_rows});
        put("quarantine", self.quarantine.as_ref().map_or(Value::Null, quarantine));
        self.headers.put_into(&mut put)?;
        match (&self.store.profile, &self.store.role_arn) {
            (profile, Some(role)) => {
                let mut credentials = json!({ "role_arn": role });
                if let (Some(profile), Some(fields)) = (profile, credentials.as_object_mut()) {
                    fields.insert("local_profile".to_owned(), profile.clone().into());
                }
                put("credentials", credentials);
            }
            (profile, None) => put("local_profile", json!(profile)),
        }
        Ok(spec)
    }

    /// Is compression an option of the format?
    fn compresses_inside(&self) -> bool {
        self.format.as_deref() == Some("parquet")
    }

    /// The options of the format; nothing, if there are none. Those of another format are refused by the spec's validation.
    fn format_spec(&self) -> Value {
        let inside = self.compresses_inside();
        let names = |names: &[String]| if names.is_empty() { Value::Null } else { json!(names) };
        fields([
            ("compression", json!(self.compression.as_ref().filter(|_| inside))),
            ("compression_level", json!(self.compression_level.filter(|_| inside))),
            ("row_group_bytes", json!(self.row_group_bytes.map(|size| size.0))),
            ("timestamp_unit", json!(self.timestamp_unit)),
            ("field_ids", if self.field_ids { Value::Bool(true) } else { Value::Null }),
            ("bloom_filter_columns", names(&self.bloom_filter_columns)),
            ("sort_by", names(&self.sort_by)),
            ("page_index", if self.no_page_index { Value::Bool(false) } else { Value::Null }),
        ])
    }

    /// What is said of partitions; nothing, if nothing is.
    fn partition(&self) -> Value {
        fields([
            ("max_open", json!(self.max_open_partitions)),
            ("missing", json!(self.missing_partition_column)),
            ("keep_columns", if self.omit_partition_columns { Value::Bool(false) } else { Value::Null }),
        ])
    }

    fn manifest(&self, path: &str) -> Value {
        let lists: &[&str] = if self.symlink_list { &["symlink"] } else { &[] };
        json!({"path": path, "extra": !self.bare_manifest, "columns": self.manifest_columns, "success_marker": self.success_marker, "lists": lists})
    }
}

/// A spec of the S3 destination, and a name for messages.
#[derive(Debug, Clone)]
pub(crate) struct NamedSpec {
    pub(crate) name: String,
    pub(crate) json: String,
}

/// The contents of files: bare specs and CloudQuery documents.
#[derive(Debug)]
pub(crate) struct Documents {
    /// Bare specs, and the specs of S3 destinations in the documents.
    pub(crate) specs: Vec<NamedSpec>,
    /// The documents.
    pub(crate) config: Config,
}

/// An error while reading specs or documents.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The documents have errors.
    Config(ConfigErrors),
    /// A file cannot be read.
    File(CliError),
}

impl From<Unreadable> for CliError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Config(errors) => errors.into(),
            Unreadable::File(error) => error,
        }
    }
}

/// Reads files, each a bare spec or CloudQuery documents.
pub(crate) fn read_documents(files: &[PathBuf]) -> Result<Documents, Unreadable> {
    let mut specs = Vec::new();
    let mut documents = Vec::new();
    for file in files {
        match bare_spec(file).map_err(Unreadable::File)? {
            Some(spec) => specs.push(NamedSpec { name: file.display().to_string(), json: Value::Object(spec).to_string() }),
            None => documents.push(file.clone()),
        }
    }
    let config = if documents.is_empty() {
        Config { sources: Vec::new(), destinations: Vec::new() }
    } else {
        Config::load(&documents, Required::Any, &Surroundings::from_process()).map_err(Unreadable::Config)?
    };
    let ours = config.destinations.iter().filter(|destination| destination.plugin == DestinationPlugin::S3);
    specs.extend(ours.map(|destination| NamedSpec { name: destination.name.clone(), json: destination.spec.to_string() }));
    Ok(Documents { specs, config })
}

/// All S3 specs in the files; other destinations are an error.
fn read_specs(files: &[PathBuf]) -> Result<Vec<NamedSpec>, CliError> {
    let Documents { specs, config } = read_documents(files)?;
    match config.destinations.iter().find(|destination| destination.plugin != DestinationPlugin::S3) {
        Some(other) => Err(CliError::new(Exit::Spec, format!("destination {:?} is not the S3 destination in this program", other.name))),
        None => Ok(specs),
    }
}

/// The only spec in a file.
fn read_spec(file: &Path) -> Result<Map<String, Value>, CliError> {
    let specs = read_specs(&[file.to_owned()])?;
    let [spec] = specs.as_slice() else {
        let problem = format!("{}: expected one destination, found {}", file.display(), specs.len());
        return Err(CliError::new(Exit::Spec, problem));
    };
    match serde_json::from_str(&spec.json) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) | Err(_) => Err(CliError::new(Exit::Spec, format!("{}: the spec is not a mapping of fields", file.display()))),
    }
}

/// A bare spec: one mapping without `kind`. [`None`] for folders and for anything that must be CloudQuery documents.
fn bare_spec(file: &Path) -> Result<Option<Map<String, Value>>, CliError> {
    if file.is_dir() {
        return Ok(None);
    }
    let text = content(file).map_err(|problem| CliError::new(Exit::Spec, format!("{}: cannot be read: {problem}", file.display())))?;
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: false, leading_zero_numbers_as_strings: true };
    Ok(match serde_saphyr::from_str_with_options::<Value>(&text, options) {
        Ok(Value::Object(fields)) if !fields.contains_key("kind") => Some(fields),
        // For anything else, including errors, the configuration reader reports what is wrong.
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(to: &str) -> Target {
        Target { to: Some(to.to_owned()), format: Some("csv".to_owned()), ..Target::default() }
    }

    fn spec(target: &Target, variables: &[(&str, &str)]) -> Result<Value, CliError> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        target.spec_json(false, variable).map(|json| serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn options_become_a_spec() {
        let rotating = spec(&target("s3://b/x/{{TABLE}}/{{UUID}}.csv"), &[]).unwrap();
        let expected =
            json!({"bucket": "b", "path": "x/{{TABLE}}/{{UUID}}.csv", "format": "csv", "region": "us-east-1", "test_write": false});
        assert_eq!(rotating, expected);
        assert_eq!(spec(&target("s3://b/x.csv"), &[]).unwrap()["no_rotate"], true);
        let missing_partition_column = Some("fail".to_owned());
        let divided = Target { max_open_partitions: Some(7), missing_partition_column, omit_partition_columns: true, ..target("s3://b/x") };
        assert_eq!(spec(&divided, &[]).unwrap()["partition"], json!({"max_open": 7, "missing": "fail", "keep_columns": false}));
        let quarantine = Some("q/{{TABLE}}/{{UUID}}".to_owned());
        let tolerant = spec(&Target { quarantine, quarantine_max_rows: Some(7), ..target("s3://b/x") }, &[]).unwrap();
        assert_eq!(tolerant["quarantine"], json!({"path": "q/{{TABLE}}/{{UUID}}", "max_rows": 7, "include_row": true}));
        let packed = Target { compression: Some("zstd".to_owned()), compression_level: Some(9), ..target("s3://b/x") };
        let whole = spec(&packed, &[]).unwrap();
        assert_eq!((&whole["compression"], &whole["compression_level"], whole.get("format_spec")), (&"zstd".into(), &9.into(), None));
        let parquet = Target {
            format: Some("parquet".to_owned()),
            row_group_bytes: Some(Size(1 << 20)),
            timestamp_unit: Some("us".to_owned()),
            field_ids: true,
            bloom_filter_columns: vec!["a".to_owned()],
            sort_by: vec!["a".to_owned(), "b desc".to_owned()],
            no_page_index: true,
            ..packed
        };
        let inside = spec(&parquet, &[]).unwrap();
        let expected = json!({
            "compression": "zstd", "compression_level": 9, "row_group_bytes": 1 << 20, "timestamp_unit": "us", "field_ids": true,
            "bloom_filter_columns": ["a"], "sort_by": ["a", "b desc"], "page_index": false
        });
        assert_eq!((&inside["format_spec"], inside.get("compression")), (&expected, None));
        let batched = spec(&Target { batch_size: Some(1_000), ..target("s3://b/x.csv") }, &[]).unwrap();
        assert_eq!((batched.get("no_rotate"), &batched["batch_size"]), (None, &1_000.into()));
    }

    #[test]
    fn options_for_headers_are_the_specs() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = HeaderArgs {
            acl: Some("private".to_owned()),
            sse: Some("aws:kms".to_owned()),
            sse_kms_key_id: Some("k".to_owned()),
            bucket_key_enabled: true,
            storage_class: Some("STANDARD_IA".to_owned()),
            tags: vec![pair("team", "a=b"), pair("of", "{{TABLE}}")],
            metadata: vec![pair("owner", "")],
            object_lock_mode: Some("GOVERNANCE".to_owned()),
            object_lock_days: Some(3),
            legal_hold: true,
            expected_bucket_owner: Some("123456789012".to_owned()),
            request_payer: Some("requester".to_owned()),
        };
        let of = |headers: HeaderArgs| spec(&Target { headers, ..target("s3://b/x") }, &[]);
        let made = of(headers).unwrap();
        let expected = json!({
            "acl": "private",
            "server_side_encryption_configuration": {"server_side_encryption": "aws:kms", "sse_kms_key_id": "k", "bucket_key_enabled": true},
            "storage_class": "STANDARD_IA", "tags": {"team": "a=b", "of": "{{TABLE}}"}, "metadata": {"owner": ""},
            "object_lock": {"mode": "GOVERNANCE", "retain_days": 3, "legal_hold": true},
            "expected_bucket_owner": "123456789012", "request_payer": "requester",
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&made[field], value, "{field}");
        }
        let alone = of(HeaderArgs { legal_hold: true, ..HeaderArgs::default() }).unwrap();
        assert_eq!(alone["object_lock"], json!({"legal_hold": true}));
        let twice = of(HeaderArgs { tags: vec![pair("a", "1"), pair("a", "2")], ..HeaderArgs::default() }).unwrap_err();
        assert_eq!((twice.exit, twice.message.as_str()), (Exit::Usage, "--tag: \"a\" is given twice"));
        assert_eq!(
            (pair_of("a=b=c"), pair_of("a="), pair_of("=a"), pair_of("a")),
            (Some(pair("a", "b=c")), Some(pair("a", "")), None, None)
        );
    }

    fn pair_of(text: &str) -> Option<(String, String)> {
        pair(text).ok()
    }

    #[test]
    fn the_region_follows_from_option_then_environment() {
        let environment = [("AWS_DEFAULT_REGION", "eu-west-3"), ("AWS_REGION", "eu-central-1")];
        assert_eq!(spec(&target("s3://b/x"), &environment).unwrap()["region"], "eu-central-1");
        assert_eq!(spec(&target("s3://b/x"), &environment[..1]).unwrap()["region"], "eu-west-3");
        assert_eq!(spec(&target("s3://b/x"), &[("AWS_REGION", "")]).unwrap()["region"], "us-east-1");
        let error = spec(&target("s3://b/x"), &[("AWS_REGION", "eu-central-1\n")]).unwrap_err();
        assert!(error.exit == Exit::Spec && error.message.starts_with("AWS_REGION must be the code of a region"), "{error}");
        let with_region =
            Target { store: StoreArgs { region: Some("sa-east-1".to_owned()), ..StoreArgs::default() }, ..target("s3://b/x") };
        assert_eq!(spec(&with_region, &environment).unwrap()["region"], "sa-east-1");
    }

    #[test]
    fn an_address_that_is_none_is_a_usage_error() {
        for to in ["bucket/path", "s3://bucket", "s3:///path", "s3://bucket/", "https://x/y"] {
            assert_eq!(spec(&target(to), &[]).unwrap_err().exit, Exit::Usage, "{to}");
        }
    }

    #[test]
    fn a_file_is_a_bare_spec_or_a_destination_document() {
        let dir = tempfile::tempdir().unwrap();
        let document = "kind: destination\nspec:\n  name: s3\n  path: cloudquery/s3\n  version: v7.1.1\n  write_mode: append\n  spec:\n    bucket: b\n";
        for (name, content) in [("a.yml", "bucket: b\nTest_Write: true\n"), ("a.json", "{\"bucket\": \"b\"}"), ("b.yml", document)] {
            let file = dir.path().join(name);
            std::fs::write(&file, content).unwrap();
            let target = Target { spec: Some(file), ..Target::default() };
            assert_eq!(spec(&target, &[]).unwrap(), json!({"bucket": "b", "test_write": false}), "{name}");
        }
        let missing = Target { spec: Some(dir.path().join("missing.yml")), ..Target::default() };
        assert_eq!(spec(&missing, &[]).unwrap_err().exit, Exit::Spec);
    }
}
