//! The fields of sources and destinations, their defaults, and the registries that Lakegate can run plugins from.

use super::document::{Document, preview};
use super::{Backend, ConfigProblem, Destination, DestinationPlugin, Origin, PkMode, Source, SourcePlugin, WriteMode};
use serde_json::Value;

/// A parsed document.
pub(super) enum Kind {
    Source(Box<Source>),
    Destination(Box<Destination>),
}

/// The major version of `cloudquery/s3` that the component replaces.
const S3_MAJOR: &str = "v7";

/// Reads a document. `None` if it has errors, which have been reported.
pub(super) fn read(value: Value, origin: &Origin, problems: &mut Vec<ConfigProblem>) -> Option<Kind> {
    let before = problems.len();
    let kind = read_kind(value, origin, problems);
    kind.filter(|_| problems.len() == before)
}

fn read_kind(value: Value, origin: &Origin, problems: &mut Vec<ConfigProblem>) -> Option<Kind> {
    let mut document = Document::new(value, "", origin, problems)?;
    let kind = document.required("kind");
    let read = match kind.as_deref() {
        Some("source") => Some(document.nested("spec", |it| source(it, origin)).map(|it| it.map(Box::new).map(Kind::Source))),
        Some("destination") => {
            Some(document.nested("spec", |it| destination(it, origin)).map(|it| it.map(Box::new).map(Kind::Destination)))
        }
        Some("transformer") => {
            document.refuse("kind", "transformers are not supported; take this document and every `transformers` field out");
            None
        }
        Some(other) => {
            document.refuse("kind", format!("{:?} is none of source, destination", preview(other)));
            None
        }
        None => None,
    };
    // If the kind is unknown, fields cannot be checked.
    let read = read?;
    if read.is_none() && !document.is_refused("spec") {
        document.refuse("spec", "is required: a mapping");
    }
    document.finish();
    read.flatten()
}

/// All fields are read even after an error, so that all errors are found.
fn source(document: &mut Document<'_>, origin: &Origin) -> Option<Source> {
    let name = document.required("name");
    let registry = registry(document);
    let path = document.required("path");
    let version = document.text("version");
    let builtin = registry == Some(Registry::Builtin);
    // The built-in source does not know its tables before it has read its files.
    let tables = if builtin {
        Some(document.texts("tables")).filter(|it| !it.is_empty()).unwrap_or_else(|| vec!["*".to_owned()])
    } else {
        document.required_texts("tables")
    };
    let skip_tables = document.texts("skip_tables");
    let skip_dependent_tables = document.flag("skip_dependent_tables", true);
    let destinations = document.required_texts("destinations");
    let backend = document.nested("backend_options", |it| {
        let (table_name, connection) = (it.required("table_name"), it.required("connection"));
        Some(Backend { table_name: table_name?, connection: connection? })
    });
    let backend = backend.flatten();
    let deterministic_cq_id = document.flag("deterministic_cq_id", false);
    let otel_endpoint = document.text("otel_endpoint").filter(|it| !it.is_empty());
    let otel_endpoint_insecure = document.flag("otel_endpoint_insecure", false);
    no_auth_token(document);
    if builtin {
        // Ignoring these silently would suggest that they work.
        for (field, given, why) in [
            ("backend_options", backend.is_some(), "it keeps no state: every sync reads all of its files"),
            ("deterministic_cq_id", deterministic_cq_id, "it adds no column `_cq_id`"),
            ("otel_endpoint", otel_endpoint.is_some(), "it sends no telemetry"),
            ("otel_endpoint_insecure", otel_endpoint_insecure, "it sends no telemetry"),
        ] {
            if given {
                document.refuse(field, format!("cannot be used with the built-in file source: {why}; take the field out"));
            }
        }
    }
    let plugin = registry.zip(path).and_then(|(registry, path)| source_plugin(document, registry, path));
    let spec = if builtin { Value::Null } else { document.spec() };
    let (Some(name), Some(plugin)) = (name, plugin) else { return None };
    Some(Source {
        name,
        origin: origin.clone(),
        plugin,
        version,
        tables,
        skip_tables,
        skip_dependent_tables,
        destinations,
        backend,
        deterministic_cq_id,
        otel_endpoint,
        otel_endpoint_insecure,
        spec,
    })
}

fn source_plugin(document: &mut Document<'_>, registry: Registry, path: String) -> Option<SourcePlugin> {
    match registry {
        Registry::Local => Some(SourcePlugin::Local { path: path.into() }),
        Registry::Grpc => Some(SourcePlugin::Grpc { address: path }),
        Registry::Builtin if path == "files" => files(document),
        Registry::Builtin => {
            document.refuse("path", format!("there is no built-in source {:?}; there is: files", preview(&path)));
            document.spec();
            None
        }
        Registry::CloudQuery => {
            let advice = "cannot be downloaded; download the plugin and write `registry: local` with its path, or start it and write `registry: grpc` with its address";
            document.refuse("registry", format!("sources of the registry \"cloudquery\" (also the default) {advice}"));
            None
        }
    }
}

/// Reads the spec of the built-in source.
fn files(document: &mut Document<'_>) -> Option<SourcePlugin> {
    let mut found = false;
    let plugin = document.nested("spec", |it| {
        found = true;
        let paths = it.required_texts("paths");
        (!paths.is_empty()).then_some(SourcePlugin::Files { paths })
    });
    if !found && !document.is_refused("spec") {
        document.refuse("spec.paths", "is required: a list of at least one text");
    }
    plugin.flatten()
}

fn destination(document: &mut Document<'_>, origin: &Origin) -> Option<Destination> {
    let name = document.required("name");
    let registry = registry(document);
    let path = document.required("path");
    let version = document.text("version");
    let write_mode = write_mode(document, registry);
    let migrate_force = document.choice("migrate_mode", &[("safe", false), ("forced", true)]);
    let pk_mode = document.choice("pk_mode", &[("default", PkMode::Default), ("cq-id-only", PkMode::CqIdOnly)]);
    let sync_group_id = document.text("sync_group_id").filter(|it| !it.is_empty());
    if sync_group_id.is_some() && write_mode == Some(WriteMode::OverwriteDeleteStale) {
        document.refuse("sync_group_id", "cannot be used with `write_mode: overwrite-delete-stale`");
    }
    let send_sync_summary = document.flag("send_sync_summary", false);
    if !document.texts("transformers").is_empty() {
        document.refuse("transformers", "transformers are not supported; take the field out");
    }
    no_auth_token(document);
    let spec = document.spec();
    let plugin = registry.zip(path).and_then(|(registry, path)| destination_plugin(document, registry, path, version.as_deref()));
    let (Some(name), Some(plugin), Some(write_mode)) = (name, plugin, write_mode) else { return None };
    let (Some(migrate_force), Some(pk_mode)) = (migrate_force, pk_mode) else { return None };
    let origin = origin.clone();
    Some(Destination { name, origin, plugin, version, write_mode, migrate_force, pk_mode, sync_group_id, send_sync_summary, spec })
}

/// A plugin may support any mode. A bucket does not support CloudQuery's default, `overwrite-delete-stale`, so for it the mode must be written out.
fn write_mode(document: &mut Document<'_>, registry: Option<Registry>) -> Option<WriteMode> {
    let modes =
        [("overwrite-delete-stale", WriteMode::OverwriteDeleteStale), ("overwrite", WriteMode::Overwrite), ("append", WriteMode::Append)];
    if matches!(registry, Some(Registry::Local | Registry::Grpc)) {
        return document.choice("write_mode", &modes);
    }
    let advice = "objects can only be added: write `write_mode: append`";
    match document.text("write_mode").as_deref() {
        Some("append") => return Some(WriteMode::Append),
        None | Some("") => document.refuse("write_mode", format!("is not set, which means overwrite-delete-stale; {advice}")),
        Some(other) => document.refuse("write_mode", format!("{:?} is not supported; {advice}", preview(other))),
    }
    None
}

fn destination_plugin(document: &mut Document<'_>, registry: Registry, path: String, version: Option<&str>) -> Option<DestinationPlugin> {
    match (registry, path.as_str()) {
        (Registry::Local, _) => Some(DestinationPlugin::Local { path: path.into() }),
        (Registry::Grpc, _) => Some(DestinationPlugin::Grpc { address: path }),
        (Registry::Builtin, "s3") => Some(DestinationPlugin::S3),
        (Registry::Builtin, _) => {
            document.refuse("path", format!("there is no built-in destination {:?}; there is: s3", preview(&path)));
            None
        }
        (Registry::CloudQuery, "cloudquery/s3") => {
            let stands_in = version.is_some_and(is_s3_version);
            if !stands_in {
                let found = version.map_or("no version".to_owned(), |it| format!("version {:?}", preview(it)));
                document.refuse("version", format!("expected a {S3_MAJOR} version such as {S3_MAJOR}.10.13, found {found}"));
            }
            stands_in.then_some(DestinationPlugin::S3)
        }
        (Registry::CloudQuery, _) => {
            let advice = "expected cloudquery/s3; other destinations run with `registry: local` and the plugin's path, or `registry: grpc` and its address";
            document.refuse("path", format!("{:?} cannot be downloaded; {advice}", preview(&path)));
            None
        }
    }
}

/// `v7.N.N`, optionally with a pre-release suffix.
fn is_s3_version(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.');
    parts.next() == Some(S3_MAJOR) && parts.clone().count() == 2 && parts.all(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registry {
    CloudQuery,
    Builtin,
    Local,
    Grpc,
}

/// `None` for a registry that is not supported, which has been reported.
fn registry(document: &mut Document<'_>) -> Option<Registry> {
    match document.text("registry").as_deref() {
        None | Some("" | "cloudquery") => Some(Registry::CloudQuery),
        Some("builtin") => Some(Registry::Builtin),
        Some("local") => Some(Registry::Local),
        Some("grpc") => Some(Registry::Grpc),
        Some(other @ ("docker" | "github")) => {
            let advice = "is not supported; write `registry: local` with the path of the plugin's program, or start it and write `registry: grpc` with its address";
            document.refuse("registry", format!("{other:?} {advice}"));
            None
        }
        Some(other) => {
            document.refuse("registry", format!("{:?} is none of cloudquery, builtin, local, grpc", preview(other)));
            None
        }
    }
}

/// Accepted for compatibility; only docker would use it.
fn no_auth_token(document: &mut Document<'_>) {
    document.text("docker_registry_auth_token");
}
