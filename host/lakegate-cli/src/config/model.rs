//! The contents of a configuration: sources and destinations.

use super::problem::Origin;
use serde_json::Value;
use std::path::PathBuf;

/// A source of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Unique among sources.
    pub name: String,
    /// The document that defines it.
    pub origin: Origin,
    /// The plugin that runs.
    pub plugin: SourcePlugin,
    /// `version`, as written. Only a registry would use it, so it is only displayed.
    pub version: Option<String>,
    /// Patterns of tables to sync; never empty.
    pub tables: Vec<String>,
    /// Patterns of tables to skip.
    pub skip_tables: Vec<String>,
    /// Whether to skip tables that depend on tables not selected.
    pub skip_dependent_tables: bool,
    /// Names of destinations in this configuration; never empty.
    pub destinations: Vec<String>,
    /// Where the source keeps its state.
    pub backend: Option<Backend>,
    /// Whether `_cq_id` is derived from the primary key instead of being random.
    pub deterministic_cq_id: bool,
    /// Where the source sends its own telemetry.
    pub otel_endpoint: Option<String>,
    /// Whether telemetry is sent without TLS.
    pub otel_endpoint_insecure: bool,
    /// The nested spec: an object or null. `plugins.NAME.connection` in it is filled in after the destinations have been started. Null for a built-in
    /// source, whose spec is in [`SourcePlugin`].
    pub spec: Value,
}

/// The plugin of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlugin {
    /// `registry: builtin`, `path: files`: the built-in file source.
    Files {
        /// `spec.paths`: files and globs, at least one.
        paths: Vec<String>,
    },
    /// `registry: local`: a program to start.
    Local {
        /// Path of the program.
        path: PathBuf,
    },
    /// `registry: grpc`: a server that is already running.
    Grpc {
        /// The address to connect to.
        address: String,
    },
}

/// A destination of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// Unique among destinations.
    pub name: String,
    /// The document that defines it.
    pub origin: Origin,
    /// The plugin that runs.
    pub plugin: DestinationPlugin,
    /// `version`, as written.
    pub version: Option<String>,
    /// How rows that already exist are treated.
    pub write_mode: WriteMode,
    /// Whether tables are changed even if that loses data (`migrate_mode: forced`).
    pub migrate_force: bool,
    /// How primary keys are treated.
    pub pk_mode: PkMode,
    /// Template of `_cq_sync_group_id`.
    pub sync_group_id: Option<String>,
    /// Whether a row about each sync is written.
    pub send_sync_summary: bool,
    /// The nested spec: an object or null.
    pub spec: Value,
}

/// The plugin of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationPlugin {
    /// `cloudquery/s3` of any v7, or `registry: builtin`, `path: s3`: the component in this binary.
    S3,
    /// `registry: local`: a program to start.
    Local {
        /// Path of the program.
        path: PathBuf,
    },
    /// `registry: grpc`: a server that is already running.
    Grpc {
        /// The address to connect to.
        address: String,
    },
}

/// How rows that already exist in the destination are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// They are kept, and new rows are added. The only mode of the S3 destination.
    Append,
    /// A row with the same key replaces the earlier one.
    Overwrite,
    /// As [`WriteMode::Overwrite`]; rows of earlier syncs are deleted at the end.
    OverwriteDeleteStale,
}

/// How primary keys are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PkMode {
    /// Primary keys are kept.
    Default,
    /// `_cq_id` becomes the primary key.
    CqIdOnly,
}

/// Where a source keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The table that holds the state.
    pub table_name: String,
    /// The address of the backend; may be `plugins.NAME.connection`.
    pub connection: String,
}

#[cfg(test)]
impl Source {
    /// A file source with default settings.
    pub(crate) fn from_files(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            origin: Origin { file: "c.yml".into(), document: 1 },
            plugin: SourcePlugin::Files { paths: Vec::new() },
            version: None,
            tables: vec!["*".to_owned()],
            skip_tables: Vec::new(),
            skip_dependent_tables: true,
            destinations: vec!["s3".to_owned()],
            backend: None,
            deterministic_cq_id: false,
            otel_endpoint: None,
            otel_endpoint_insecure: false,
            spec: Value::Null,
        }
    }
}
