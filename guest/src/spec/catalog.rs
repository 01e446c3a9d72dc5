//! The catalog in which tables are kept: what the spec says of it, and the rules across fields.

use super::document::preview;
use super::endpoint;
use super::fields::refuse;
use super::format::{Format, IcebergTypes, TimestampUnit};
use super::problem::SpecProblem;
use super::raw::{
    ADD_COLUMNS, AUTH_BEARER, AUTH_NONE, AUTH_OAUTH2, AUTH_SIGV4, EXACTLY_ONCE, GLUE, ICEBERG, ON_COMMIT, RawIceberg, RawSpec, S3_TABLES,
};
use crate::limits::MAX_NAME_BYTES;
use crate::partition::Part;
use crate::path::PathTemplate;

/// The catalog of a sync's tables. It is the host's to reach; a session knows the names of its tables alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The address of its REST interface.
    pub uri: String,
    /// Which warehouse of it.
    pub warehouse: Option<String>,
    /// The levels of the namespace.
    pub namespace: Vec<String>,
    /// How requests prove who sends them.
    pub auth: CatalogAuth,
    /// Are tables created that are not there?
    pub create: bool,
    /// Are columns added that a table lacks? Else it fails.
    pub adds_columns: bool,
}

/// How requests to a catalog prove who sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogAuth {
    /// Not at all.
    None,
    /// A token.
    Bearer(SecretSource),
    /// A client's id and secret, with a colon between, for which there is a token.
    OAuth2 {
        /// Where they are.
        credential: SecretSource,
        /// Where tokens are given; absent: the catalog itself.
        token_uri: Option<String>,
        /// What the token is to be good for.
        scope: Option<String>,
    },
    /// AWS's signatures, for this service.
    SigV4(String),
}

/// Where the host finds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of its environment.
    Environment(String),
    /// A file.
    File(String),
}

/// Which table of the catalog a session's objects are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTables {
    /// The names of the tables: a text with `{{TABLE}}` in it, once.
    pub name: String,
    /// The folder of each table: the beginning of the path.
    pub folder: PathTemplate,
}

/// The one placeholder in names of tables. Others could give two tables one name.
const TABLE: &str = "{{TABLE}}";

/// Levels of a namespace.
const MAX_LEVELS: usize = 16;

impl CatalogTables {
    /// The name of a table.
    pub fn name_of(&self, table: &str) -> String {
        self.name.replacen(TABLE, table, 1)
    }

    /// What the session checks again.
    pub(super) fn new(name: String, path: &PathTemplate) -> Result<Self, String> {
        check_name(&name)?;
        let folder = path.catalog_folder().and_then(|folder| PathTemplate::parse(&folder).ok());
        let folder = folder.ok_or("the path does not begin with the folder of a table")?;
        Ok(Self { name, folder })
    }
}

/// Checks the fields and takes them over.
pub(super) fn from_raw(
    raw: &RawSpec,
    path: Option<&PathTemplate>,
    format: &mut Option<Format>,
    problems: &mut Vec<SpecProblem>,
) -> Option<(Catalog, CatalogTables)> {
    let is_asked_for = raw.table_format.filled() == Some(ICEBERG);
    let written = raw.iceberg.given();
    match (is_asked_for, written) {
        (false, None) => return None,
        (false, Some(_)) => {
            // Any other format was reported.
            if !raw.table_format.is_wrong() && raw.table_format.filled().is_none_or(|format| format == "none") {
                refuse(problems, "iceberg", "`iceberg` can only be used with `table_format: iceberg`");
            }
            return None;
        }
        (true, _) => {}
    }
    let before = problems.len();
    check_rest_of_spec(raw, problems);
    types(raw, format, problems);
    let folder = path.map(|path| check_path(path, raw.delivery.filled() == Some(EXACTLY_ONCE), problems));
    let Some(written) = written else {
        if !raw.iceberg.is_wrong() {
            refuse(problems, "iceberg", "`iceberg` is required with `table_format: iceberg`: it says which catalog");
        }
        return None;
    };
    let name = written.table.text().unwrap_or_else(|| TABLE.to_owned());
    if let Err(message) = check_name(&name) {
        refuse(problems, "iceberg.table", message);
    }
    let catalog = catalog(raw, written, problems);
    if problems.len() > before {
        return None;
    }
    let folder = PathTemplate::parse(&folder??).ok()?;
    Some((catalog, CatalogTables { name, folder }))
}

/// What cannot be had together with a catalog.
fn check_rest_of_spec(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    if raw.visibility.filled() == Some(ON_COMMIT) {
        let message = "`visibility: on_commit` cannot be used with `table_format: iceberg`: nothing of a table is seen before its snapshot";
        refuse(problems, "visibility", message);
    }
    if raw.manifest.given().is_some() {
        let message = "`manifest` cannot be used with `table_format: iceberg`: the table's own metadata name its objects";
        refuse(problems, "manifest", message);
    }
    if raw.write_empty_objects_for_empty_tables.is_true() {
        const FIELD: &str = "write_empty_objects_for_empty_tables";
        refuse(problems, FIELD, format!("`{FIELD}` cannot be used with `table_format: iceberg`, whose tables may be empty"));
    }
    if raw.partition.given().is_some_and(|partition| partition.keep_columns.given() == Some(&false)) {
        refuse(problems, "partition.keep_columns", "`partition.keep_columns: false` cannot be used with `table_format: iceberg`");
    }
}

/// Iceberg has types of its own, and one format here.
fn types(raw: &RawSpec, format: &mut Option<Format>, problems: &mut Vec<SpecProblem>) {
    let options = match format {
        Some(Format::Parquet(options)) => options,
        Some(other) => {
            let message = format!("`table_format: iceberg` can only be used with `parquet` format, not with `{}`", other.name());
            return refuse(problems, "table_format", message);
        }
        None => return,
    };
    if options.field_ids {
        let message = "`field_ids` cannot be used with `table_format: iceberg`: the fields have the ids of the table";
        refuse(problems, "format_spec.field_ids", message);
    }
    if options.timestamp_unit.is_some_and(|unit| !unit.microseconds) {
        let message = "`timestamp_unit` must be `us` or `us_truncated` with `table_format: iceberg`, which counts in microseconds";
        refuse(problems, "format_spec.timestamp_unit", message);
    }
    options.timestamp_unit.get_or_insert(TimestampUnit { microseconds: true, truncates: false });
    options.iceberg = Some(IcebergTypes { athena: raw.athena.is_true() });
}

/// The folder of each table, if the path begins with one.
fn check_path(path: &PathTemplate, is_exact: bool, problems: &mut Vec<SpecProblem>) -> Option<String> {
    // An object that takes the place of another would change a snapshot that is there, or one that is on its way.
    if !(path.has_uuid() || is_exact && path.has_commit_id()) {
        let message = "`path` should contain {{UUID}}, or {{COMMIT_ID}} with `delivery: exactly_once`, with `table_format: iceberg`: the objects of a \
                       table are never replaced";
        refuse(problems, "path", message);
    }
    if let Some(field) = path.partition_fields().iter().find(|field| field.part == Part::Minute) {
        let message =
            format!("`path` should not contain {{{{MINUTE:{}}}}} with `table_format: iceberg`, which has no such partitions", field.column);
        refuse(problems, "path", message);
    }
    let folder = path.catalog_folder();
    if folder.is_none() {
        let message = "`path` should begin with the folder of each table, such as warehouse/{{TABLE}}/data/{{UUID}}.parquet, with `table_format: \
                       iceberg`: no other placeholder before the \"/\" that ends it";
        refuse(problems, "path", message);
    }
    folder
}

/// The service of AWS that keeps the catalog, by the name for which requests are signed.
fn aws_service(written: &RawIceberg) -> Option<&'static str> {
    match written.catalog.filled() {
        Some(GLUE) => Some("glue"),
        Some(S3_TABLES) => Some("s3tables"),
        _ => None,
    }
}

fn catalog(raw: &RawSpec, written: &RawIceberg, problems: &mut Vec<SpecProblem>) -> Catalog {
    let service = aws_service(written);
    let uri = match (written.uri.filled(), service) {
        (Some(uri), _) => uri.to_owned(),
        (None, Some(service)) => format!("https://{service}.{}.amazonaws.com/iceberg", raw.region.filled().unwrap_or_default()),
        (None, None) => {
            refuse(problems, "iceberg.uri", "`iceberg.uri` is required with `iceberg.catalog: rest`");
            String::new()
        }
    };
    for (field, uri) in [("iceberg.uri", written.uri.filled()), ("iceberg.token_uri", written.token_uri.filled())] {
        if let Some(Err(message)) = uri.map(endpoint::check) {
            let message = message.replace("`endpoint`", &format!("`{field}`"));
            refuse(problems, field, message.replace("; credentials come from the default chain or `credentials`", ""));
        }
    }
    if written.catalog.filled() == Some(S3_TABLES) {
        if written.create.given() != Some(&false) {
            let message =
                "`iceberg.create: false` is required with `iceberg.catalog: s3_tables`: a new table has a bucket that no spec can know";
            refuse(problems, "iceberg.create", message);
        }
        if written.warehouse.filled().is_none() {
            refuse(
                problems,
                "iceberg.warehouse",
                "`iceberg.warehouse` is required with `iceberg.catalog: s3_tables`: the ARN of the table bucket",
            );
        }
    }
    let namespace = written.namespace.filled().unwrap_or_default();
    let levels: Vec<String> = namespace.split('.').map(str::to_owned).collect();
    let is_level = |level: &String| (1..=MAX_NAME_BYTES).contains(&level.len());
    if written.namespace.filled().is_some() && (levels.len() > MAX_LEVELS || !levels.iter().all(is_level)) {
        let message =
            format!("`iceberg.namespace` must be 1 to {MAX_LEVELS} names with a \".\" between them, not {:?}", preview(namespace));
        refuse(problems, "iceberg.namespace", message);
    }
    Catalog {
        uri,
        warehouse: written.warehouse.filled().map(str::to_owned),
        namespace: levels,
        auth: auth(written, service, problems),
        create: written.create.is_true(),
        adds_columns: written.on_schema_change.filled() == Some(ADD_COLUMNS),
    }
}

fn auth(written: &RawIceberg, service: Option<&str>, problems: &mut Vec<SpecProblem>) -> CatalogAuth {
    let usual = if service.is_some() { AUTH_SIGV4 } else { AUTH_NONE };
    let name = written.auth.filled().unwrap_or(usual);
    let has_credential = matches!(name, AUTH_BEARER | AUTH_OAUTH2);
    let fields = [("iceberg.credential_env", &written.credential_env), ("iceberg.credential_file", &written.credential_file)];
    let given: Vec<_> = fields.into_iter().filter_map(|(field, text)| text.filled().map(|text| (field, text))).collect();
    let credential = match given.as_slice() {
        [] if has_credential => {
            let message = format!("`iceberg.credential_env` or `iceberg.credential_file` is required with `iceberg.auth: {name}`");
            refuse(problems, "iceberg.credential_env", message);
            SecretSource::Environment(String::new())
        }
        [] => SecretSource::Environment(String::new()),
        [(field, _), ..] if !has_credential => {
            let message = format!("`{field}` can only be used with `iceberg.auth: {AUTH_BEARER}` or `{AUTH_OAUTH2}`");
            refuse(problems, field, message);
            SecretSource::Environment(String::new())
        }
        [("iceberg.credential_env", name)] => SecretSource::Environment((*name).to_owned()),
        [(_, path)] => SecretSource::File((*path).to_owned()),
        [_, (field, _), ..] => {
            refuse(problems, field, "`iceberg.credential_file` cannot be used with `iceberg.credential_env`");
            SecretSource::Environment(String::new())
        }
    };
    for (field, text) in [("iceberg.token_uri", &written.token_uri), ("iceberg.scope", &written.scope)] {
        if text.filled().is_some() && name != AUTH_OAUTH2 {
            refuse(problems, field, format!("`{field}` can only be used with `iceberg.auth: {AUTH_OAUTH2}`"));
        }
    }
    if written.signing_name.filled().is_some() && name != AUTH_SIGV4 {
        let message = format!("`iceberg.signing_name` can only be used with `iceberg.auth: {AUTH_SIGV4}`");
        refuse(problems, "iceberg.signing_name", message);
    }
    let text = |field: &super::document::Field<String>| field.filled().map(str::to_owned);
    match name {
        AUTH_BEARER => CatalogAuth::Bearer(credential),
        AUTH_OAUTH2 => CatalogAuth::OAuth2 { credential, token_uri: text(&written.token_uri), scope: text(&written.scope) },
        AUTH_SIGV4 => CatalogAuth::SigV4(text(&written.signing_name).unwrap_or_else(|| service.unwrap_or("execute-api").to_owned())),
        _ => CatalogAuth::None,
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let rest = name.replacen(TABLE, "", 1);
    if rest.len() == name.len() || rest.contains("{{") || rest.len() > MAX_NAME_BYTES || rest.chars().any(char::is_control) {
        return Err(format!(
            "`iceberg.table` must have {TABLE} in it, once, and no other placeholder, since each table has a name of its own: not {:?}",
            preview(name)
        ));
    }
    Ok(())
}
