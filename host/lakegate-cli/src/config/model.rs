//! What a configuration says: sources and destinations.

use super::problem::Origin;
use serde_json::Value;
use std::path::PathBuf;

/// Where rows come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Unique among sources.
    pub name: String,
    /// Where it is written.
    pub origin: Origin,
    /// What runs.
    pub plugin: SourcePlugin,
    /// `version`, as written. Only a registry would heed it, so here it is only for show.
    pub version: Option<String>,
    /// Patterns of tables to sync; never empty.
    pub tables: Vec<String>,
    /// Patterns of tables to leave out.
    pub skip_tables: Vec<String>,
    /// Leave out tables that hang on ones not named?
    pub skip_dependent_tables: bool,
    /// Names of destinations; never empty, each of them one of the configuration's.
    pub destinations: Vec<String>,
    /// Where the source keeps its state.
    pub backend: Option<Backend>,
    /// Make `_cq_id` from the primary key rather than at random?
    pub deterministic_cq_id: bool,
    /// Where the source sends its own telemetry.
    pub otel_endpoint: Option<String>,
    /// Without TLS?
    pub otel_endpoint_insecure: bool,
    /// The nested spec: an object or null. `plugins.NAME.connection` in it is for whoever has started the destinations. Empty for a
    /// built-in source, whose spec is in [`SourcePlugin`].
    pub spec: Value,
}

/// What runs as a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlugin {
    /// `registry: builtin`, `path: files`: reads files itself.
    Files {
        /// `spec.paths`: files and globs, at least one.
        paths: Vec<String>,
    },
    /// `registry: local`: a program to start.
    Local {
        /// The program.
        path: PathBuf,
    },
    /// `registry: grpc`: a server that runs already.
    Grpc {
        /// Where to dial.
        address: String,
    },
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// Unique among destinations.
    pub name: String,
    /// Where it is written.
    pub origin: Origin,
    /// What runs.
    pub plugin: DestinationPlugin,
    /// `version`, as written.
    pub version: Option<String>,
    /// What becomes of rows that are there already.
    pub write_mode: WriteMode,
    /// Change tables even where that loses data? (`migrate_mode: forced`.)
    pub migrate_force: bool,
    /// What becomes of primary keys.
    pub pk_mode: PkMode,
    /// Template of `_cq_sync_group_id`.
    pub sync_group_id: Option<String>,
    /// Write a row about each sync?
    pub send_sync_summary: bool,
    /// The nested spec: an object or null.
    pub spec: Value,
}

/// What runs as a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationPlugin {
    /// `cloudquery/s3` of any v7, or `registry: builtin`, `path: s3`: the component in this binary.
    S3,
    /// `registry: local`: a program to start.
    Local {
        /// The program.
        path: PathBuf,
    },
    /// `registry: grpc`: a server that runs already.
    Grpc {
        /// Where to dial.
        address: String,
    },
}

/// What becomes of rows that a destination has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// They stay, and new ones come beside them. The only mode of the S3 destination.
    Append,
    /// A row of an equal key takes the place of the earlier one.
    Overwrite,
    /// As [`WriteMode::Overwrite`]; rows of earlier syncs are deleted at the end.
    OverwriteDeleteStale,
}

/// What becomes of primary keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PkMode {
    /// They stay.
    Default,
    /// `_cq_id` takes their place.
    CqIdOnly,
}

/// Where a source keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The table of the state.
    pub table_name: String,
    /// How to reach it; may be `plugins.NAME.connection`.
    pub connection: String,
}

#[cfg(test)]
impl Source {
    /// One of files, with the defaults.
    pub(crate) fn of_files(name: &str) -> Self {
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
