//! What a configuration may contain, as tables of cases.

use super::files::Text;
use super::*;
use chrono::{DateTime, Utc};
use serde_json::json;
use std::path::Path;

const SOURCE: &str = "kind: source\nspec:\n  name: f\n  registry: builtin\n  path: files\n  destinations: [s3]\n  spec:\n    paths: [a.parquet, \"b/*.csv\"]\n";
const DESTINATION: &str =
    "kind: destination\nspec:\n  name: s3\n  path: cloudquery/s3\n  version: v7.1.1\n  write_mode: append\n  spec:\n    bucket: b\n";

fn load(documents: &[&str]) -> Result<Config, ConfigErrors> {
    load_for(Required::Sync, documents)
}

fn load_for(required: Required, documents: &[&str]) -> Result<Config, ConfigErrors> {
    let variable: &dyn Fn(&str) -> Option<String> = &|name| (name == "BUCKET").then(|| "from-env".to_owned());
    let file: &dyn Fn(&Path) -> std::io::Result<String> = &|_| Err(std::io::ErrorKind::NotFound.into());
    let surroundings = Surroundings { variable, file, now: DateTime::<Utc>::UNIX_EPOCH };
    let text = Text { file: "c.yml".into(), content: documents.join("---\n") };
    Config::from_texts(&[text], required, &surroundings, Vec::new())
}

#[track_caller]
fn refused(documents: &[&str], expected: &[&str]) {
    let errors = load(documents).expect_err("a refusal").to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

/// [`DESTINATION`] or [`SOURCE`] with one line put for another.
fn changed(document: &str, from: &str, to: &str) -> String {
    assert!(document.contains(from), "{document} has no {from}");
    document.replace(from, to)
}

#[track_caller]
fn refused_destination(from: &str, to: &str, expected: &str) {
    refused(&[SOURCE, &changed(DESTINATION, from, to)], &[&format!("c.yml, document 2: {expected}")]);
}

#[track_caller]
fn refused_source(from: &str, to: &str, expected: &str) {
    refused(&[&changed(SOURCE, from, to), DESTINATION], &[&format!("c.yml, document 1: {expected}")]);
}

#[test]
fn the_least_configuration_has_the_defaults() {
    let origin = |document| Origin { file: "c.yml".into(), document };
    let expected = Config {
        sources: vec![Source {
            name: "f".into(),
            origin: origin(1),
            plugin: SourcePlugin::Files { paths: vec!["a.parquet".into(), "b/*.csv".into()] },
            version: None,
            tables: vec!["*".into()],
            skip_tables: vec![],
            skip_dependent_tables: true,
            destinations: vec!["s3".into()],
            backend: None,
            deterministic_cq_id: false,
            otel_endpoint: None,
            otel_endpoint_insecure: false,
            spec: Value::Null,
        }],
        destinations: vec![Destination {
            name: "s3".into(),
            origin: origin(2),
            plugin: DestinationPlugin::S3,
            version: Some("v7.1.1".into()),
            write_mode: WriteMode::Append,
            migrate_force: false,
            pk_mode: PkMode::Default,
            sync_group_id: None,
            send_sync_summary: false,
            spec: json!({"bucket": "b"}),
        }],
    };
    assert_eq!(load(&[SOURCE, DESTINATION]), Ok(expected));
}

#[test]
fn every_field_arrives() {
    let source = r#"
kind: source
spec:
  name: aws
  path: ./plugins/aws
  registry: local
  version: v1.2.3
  tables: ["aws_*"]
  skip_tables: [aws_x]
  skip_dependent_tables: false
  destinations: [s3, "other"]
  deterministic_cq_id: true
  otel_endpoint: localhost:4318
  otel_endpoint_insecure: true
  docker_registry_auth_token: t
  backend_options:
    table_name: state
    connection: "plugins.other.connection"
  spec:
    anything: [1, {goes: true}]
    big: 9007199254740993
"#;
    let destination = r#"
kind: destination
spec:
  name: other
  path: localhost:7777
  registry: grpc
  write_mode: append
  migrate_mode: forced
  pk_mode: cq-id-only
  sync_group_id: "{{YEAR}}"
  send_sync_summary: true
  transformers: []
  spec:
"#;
    let config = load(&[source, DESTINATION, destination]).unwrap();
    let (aws, other) = (&config.sources[0], &config.destinations[1]);
    assert_eq!(aws.plugin, SourcePlugin::Local { path: "./plugins/aws".into() });
    assert_eq!(aws.version.as_deref(), Some("v1.2.3"));
    assert_eq!((aws.tables.as_slice(), aws.skip_tables.as_slice()), (["aws_*".to_owned()].as_slice(), ["aws_x".to_owned()].as_slice()));
    assert_eq!((aws.skip_dependent_tables, aws.deterministic_cq_id, aws.otel_endpoint_insecure), (false, true, true));
    assert_eq!(aws.otel_endpoint.as_deref(), Some("localhost:4318"));
    assert_eq!(aws.destinations, ["s3", "other"]);
    let connection = "plugins.other.connection".to_owned();
    assert_eq!(aws.backend, Some(Backend { table_name: "state".into(), connection }));
    assert_eq!(aws.spec, json!({"anything": [1, {"goes": true}], "big": 9_007_199_254_740_993_i64}));
    assert_eq!(other.plugin, DestinationPlugin::Grpc { address: "localhost:7777".into() });
    assert_eq!((other.migrate_force, other.pk_mode, other.send_sync_summary), (true, PkMode::CqIdOnly, true));
    assert_eq!((other.sync_group_id.as_deref(), &other.spec), (Some("{{YEAR}}"), &Value::Null));
}

#[test]
fn what_the_built_in_source_would_not_heed_is_refused() {
    let with = |line: &str| format!("path: files\n  {line}");
    for (line, field, why) in [
        ("deterministic_cq_id: true", "deterministic_cq_id", "it adds no column `_cq_id`"),
        ("backend_options: {table_name: t, connection: c}", "backend_options", "it keeps no state: every sync reads all of its files"),
        ("otel_endpoint: localhost:4318", "otel_endpoint", "it sends no telemetry"),
        ("otel_endpoint_insecure: true", "otel_endpoint_insecure", "it sends no telemetry"),
    ] {
        let expected = format!("`spec.{field}`: cannot be used with the built-in file source: {why}; take the field out");
        refused_source("path: files", &with(line), &expected);
    }
    let unheeded = |line: &str| load(&[&changed(SOURCE, "path: files", &with(line)), DESTINATION]).unwrap_err().to_string();
    for (line, field) in [
        ("concurrency: 3", "`spec.concurrency`: "),
        ("skip_table: [a]", "`spec.skip_table`: "),
        ("skip_dependent_tables: perhaps", "`spec.skip_dependent_tables`: expected true or false, found "),
    ] {
        assert!(unheeded(line).contains(field), "{line}: {}", unheeded(line));
    }
    let misspelled = load(&[&changed(SOURCE, "paths: [", "path: x\n    paths: ["), DESTINATION]).unwrap_err().to_string();
    assert!(misspelled.contains("`spec.spec.path`: "), "{misspelled}");
    // No file hangs on another, so both are true of it; the rest says nothing that is not so.
    for line in ["skip_dependent_tables: false", "skip_dependent_tables: true", "deterministic_cq_id: false", "otel_endpoint: ''"] {
        let config = load(&[&changed(SOURCE, "path: files", &with(line)), DESTINATION]);
        assert!(config.is_ok(), "{line}: {config:?}");
    }
}

#[test]
fn the_spec_that_users_have_is_read() {
    let destination = r#"
kind: destination
spec:
  name: "s3"
  path: "cloudquery/s3"
  registry: "cloudquery"
  version: "v7.1.1"
  write_mode: "append"
  spec:
    bucket: "${BUCKET}"
    region: "us-east-1" # Example: ${REGION}
    path: "path/to/files/{{TABLE}}/dt={{YEAR}}-{{MONTH}}-{{DAY}}/{{UUID}}.{{FORMAT}}"
    format: "parquet"
    format_spec:
      # delimiter: "${UNSET}"
    # batch_size: 10000
"#;
    let config = load(&[SOURCE, destination]).unwrap();
    let path = "path/to/files/{{TABLE}}/dt={{YEAR}}-{{MONTH}}-{{DAY}}/{{UUID}}.{{FORMAT}}";
    let expected = json!({"bucket": "from-env", "region": "us-east-1", "path": path, "format": "parquet", "format_spec": null});
    assert_eq!(config.destinations[0].spec, expected);
}

#[test]
fn only_append_is_accepted() {
    let advice = "objects can only be added: write `write_mode: append`";
    for mode in ["overwrite", "overwrite-delete-stale", "Append"] {
        let expected = format!("`spec.write_mode`: {mode:?} is not supported; {advice}");
        refused_destination("write_mode: append", &format!("write_mode: {mode}"), &expected);
    }
    let expected = format!("`spec.write_mode`: is not set, which means overwrite-delete-stale; {advice}");
    refused_destination("  write_mode: append\n", "", &expected);
}

#[test]
fn a_plugin_may_overwrite() {
    let mode = |line: &str| {
        let plugin = changed(DESTINATION, "path: cloudquery/s3", "path: /x/y\n  registry: local");
        load(&[SOURCE, &changed(&plugin, "  write_mode: append\n", line)]).map(|config| config.destinations[0].write_mode)
    };
    assert_eq!(mode("  write_mode: append\n"), Ok(WriteMode::Append));
    assert_eq!(mode("  write_mode: overwrite\n"), Ok(WriteMode::Overwrite));
    assert_eq!(mode(""), Ok(WriteMode::OverwriteDeleteStale));
    let problem = |line: &str| mode(line).unwrap_err().to_string();
    let expected = "c.yml, document 2: `spec.write_mode`: \"add\" is none of overwrite-delete-stale, overwrite, append";
    assert_eq!(problem("  write_mode: add\n"), expected);
    let expected = "c.yml, document 2: `spec.sync_group_id`: cannot be used with `write_mode: overwrite-delete-stale`";
    assert_eq!(problem("  sync_group_id: g\n"), expected);
}

#[test]
fn destinations_are_the_component_or_plugins_that_need_no_download() {
    let accepted = |from: &str, to: &str, expected: DestinationPlugin| {
        let config = load(&[SOURCE, &changed(DESTINATION, from, to)]).unwrap();
        assert_eq!(config.destinations[0].plugin, expected);
    };
    for version in ["v7.0.0", "v7.10.13", "v7.11.0-rc.1"] {
        accepted("v7.1.1", version, DestinationPlugin::S3);
    }
    accepted("path: cloudquery/s3", "path: s3\n  registry: builtin", DestinationPlugin::S3);
    accepted("path: cloudquery/s3", "path: /x/y\n  registry: local", DestinationPlugin::Local { path: "/x/y".into() });
    accepted("path: cloudquery/s3", "path: h:1\n  registry: grpc", DestinationPlugin::Grpc { address: "h:1".into() });

    for version in ["v6.0.0", "v70.0.0", "7.1.1", "v7", "v7.1", "v7.x.1", "latest"] {
        let expected = format!("`spec.version`: expected a v7 version such as v7.10.13, found version {version:?}");
        refused_destination("v7.1.1", version, &expected);
    }
    refused_destination("  version: v7.1.1\n", "", "`spec.version`: expected a v7 version such as v7.10.13, found no version");
    let advice = "other destinations run with `registry: local` and the plugin's path, or `registry: grpc` and its address";
    let expected = format!("`spec.path`: \"cloudquery/gcs\" cannot be downloaded; expected cloudquery/s3; {advice}");
    refused_destination("cloudquery/s3", "cloudquery/gcs", &expected);
    let expected = "`spec.path`: there is no built-in destination \"gcs\"; there is: s3";
    refused_destination("path: cloudquery/s3", "path: gcs\n  registry: builtin", expected);
}

#[test]
fn sources_are_files_or_plugins_that_need_no_download() {
    let tables = |registry: &str| format!("registry: {registry}\n  tables: [\"*\"]");
    let check = |registry: &str, expected: SourcePlugin| {
        let source = changed(SOURCE, "registry: builtin", &tables(registry));
        assert_eq!(load(&[&source, DESTINATION]).unwrap().sources[0].plugin, expected);
    };
    check("local", SourcePlugin::Local { path: "files".into() });
    check("grpc", SourcePlugin::Grpc { address: "files".into() });
    let advice = "write `registry: local` with";
    for registry in ["docker", "github", "cloudquery", "\"\""] {
        let errors = load(&[&changed(SOURCE, "registry: builtin", &tables(registry)), DESTINATION]).unwrap_err();
        assert!(errors.0.len() == 1 && errors.0[0].field == "spec.registry" && errors.0[0].message.contains(advice), "{errors}");
    }
    let expected = "`spec.registry`: \"ftp\" is none of cloudquery, builtin, local, grpc";
    refused_source("registry: builtin", &tables("ftp"), expected);
    refused_source("path: files", "path: rows", "`spec.path`: there is no built-in source \"rows\"; there is: files");
    refused_source("registry: builtin", "registry: grpc", "`spec.tables`: is required: a list of at least one text");
}

#[test]
fn the_built_in_source_is_told_its_paths() {
    let paths = "paths: [a.parquet, \"b/*.csv\"]";
    let required = "`spec.spec.paths`: is required: a list of at least one text";
    refused_source(paths, "paths: []", required);
    refused_source(paths, "paths:", required);
    refused_source("  spec:\n    paths: [a.parquet, \"b/*.csv\"]\n", "", required);
    refused_source(paths, "paths: a.parquet", "`spec.spec.paths`: expected a list of texts, found text");
    refused_source(paths, "paths: [a, 1]", "`spec.spec.paths[1]`: expected text, found a number");
    refused_source(paths, "paths: [a]\n    path: b", "`spec.spec.path`: unknown field; expected one of paths");
    refused_source("spec:\n    paths: [a.parquet, \"b/*.csv\"]", "spec: secret", "`spec.spec`: expected a mapping, found text");
}

#[test]
fn fields_are_strict() {
    let known = "name, registry, path, version, write_mode, migrate_mode, pk_mode, sync_group_id, send_sync_summary, transformers, \
                 docker_registry_auth_token, spec";
    refused_destination("  spec:", "  batch_size: 5\n  spec:", &format!("`spec.batch_size`: unknown field; expected one of {known}"));
    refused_destination("kind: destination", "kind: destination\nname: x", "`name`: unknown field; expected one of kind, spec");
    refused_destination("name: s3", "name:", "`spec.name`: is required");
    refused_destination("name: s3", "name: 5", "`spec.name`: expected text, found a number");
    refused_destination("  spec:", "  migrate_mode: always\n  spec:", "`spec.migrate_mode`: \"always\" is none of safe, forced");
    refused_destination("  spec:", "  pk_mode: x\n  spec:", "`spec.pk_mode`: \"x\" is none of default, cq-id-only");
    refused_destination("  spec:", "  send_sync_summary: maybe\n  spec:", "`spec.send_sync_summary`: expected true or false, found text");
    refused_destination("  spec:\n    bucket: b", "  spec: [secret]", "`spec.spec`: expected a mapping, found a list");
    let advice = "`spec.transformers`: transformers are not supported; take the field out";
    refused_destination("  spec:", "  transformers: [t]\n  spec:", advice);
    refused_source("destinations: [s3]", "destinations: []", "`spec.destinations`: is required: a list of at least one text");
    refused_source("destinations: [s3]", "destinations: s3", "`spec.destinations`: expected a list of texts, found text");
    let backend = "`spec.backend_options.connection`: is required";
    refused_source("destinations: [s3]", "destinations: [s3]\n  backend_options: {table_name: t}", backend);
    let concurrency = changed(SOURCE, "destinations: [s3]", "destinations: [s3]\n  concurrency: 5");
    assert!(
        load(&[&concurrency, DESTINATION]).unwrap_err().to_string().contains("`spec.concurrency`: unknown field; expected one of name, ")
    );
}

#[test]
fn documents_have_a_kind_and_a_spec() {
    refused_destination("kind: destination", "kind: sink", "`kind`: \"sink\" is none of source, destination");
    let transformer = "`kind`: transformers are not supported; take this document and every `transformers` field out";
    refused_destination("kind: destination", "kind: transformer", transformer);
    refused(&[SOURCE, "spec: {}\n"], &["c.yml, document 2: `kind`: is required"]);
    refused(&[SOURCE, "kind: destination\n"], &["c.yml, document 2: `spec`: is required: a mapping"]);
    refused(&[SOURCE, "kind: destination\nspec: 5\n"], &["c.yml, document 2: `spec`: expected a mapping, found a number"]);
    refused(&[SOURCE, "[secret]\n"], &["c.yml, document 2: expected a mapping, found a list"]);
}

#[test]
fn documents_are_checked_against_each_other() {
    refused(&[SOURCE], &["there is no destination; expected at least one document with `kind: destination`"]);
    refused(&[DESTINATION], &["there is no source; expected at least one document with `kind: source`"]);
    refused(
        &[],
        &[
            "there is no source; expected at least one document with `kind: source`",
            "there is no destination; expected at least one document with `kind: destination`",
        ],
    );
    refused(&[SOURCE, DESTINATION, SOURCE], &["c.yml, document 3: `spec.name`: the source \"f\" is already defined in c.yml, document 1"]);
    refused(
        &[SOURCE, DESTINATION, DESTINATION],
        &["c.yml, document 3: `spec.name`: the destination \"s3\" is already defined in c.yml, document 2"],
    );
    let expected = "`spec.destinations`: there is no destination \"gcs\"; there is: s3";
    refused_source("destinations: [s3]", "destinations: [s3, gcs]", expected);
    // A source and a destination may share a name.
    assert!(load(&[&changed(SOURCE, "name: f", "name: s3"), DESTINATION]).is_ok());
}

#[test]
fn a_look_needs_only_one_document() {
    assert_eq!(load_for(Required::Any, &[SOURCE]).map(|it| it.sources.len()), Ok(1));
    assert_eq!(load_for(Required::Any, &[DESTINATION]).map(|it| it.destinations.len()), Ok(1));
    let errors = load_for(Required::Any, &[]).unwrap_err().to_string();
    assert_eq!(errors, "there is neither a source nor a destination; expected at least one document");
    let source = changed(SOURCE, "destinations: [s3]", "destinations: [gcs]");
    assert!(load_for(Required::Any, &[&source, DESTINATION]).is_err());
}

#[test]
fn every_mistake_of_every_document_is_told_of() {
    let source = "kind: source\nspec:\n  registry: docker\n  path: x\n  oops: 1\n";
    let destination = "kind: destination\nspec:\n  name: s3\n  path: cloudquery/s3\n  spec: {bucket: \"${UNSET}\"}\n";
    let errors = load(&[source, destination, "a: [\n"]).unwrap_err();
    let fields: Vec<_> = errors.0.iter().map(|it| (it.origin.as_ref().map_or(0, |it| it.document), it.field.as_str())).collect();
    let expected =
        [(1, "spec.name"), (1, "spec.registry"), (1, "spec.tables"), (1, "spec.destinations"), (1, "spec.oops"), (2, ""), (3, "")];
    assert_eq!(fields, expected);
    assert_eq!(errors.0[5].message, "env variable UNSET not found");
}

#[test]
fn errors_repeat_no_secret() {
    let destination = DESTINATION.replace("bucket: b", "key: hunter2\n    more: [hunter2").to_string();
    let errors = load(&[SOURCE, &destination]).unwrap_err().to_string();
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[test]
fn files_are_read_together() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("1.yml"), SOURCE.replace('\n', "\r\n")).unwrap();
    std::fs::write(directory.path().join("2.yaml"), DESTINATION).unwrap();
    let config = Config::load(&[directory.path().to_owned()], Required::Sync, &Surroundings::from_process()).unwrap();
    assert_eq!((config.sources.len(), config.destinations.len()), (1, 1));
    assert_eq!(config.destinations[0].origin, Origin { file: directory.path().join("2.yaml"), document: 1 });
    let missing = directory.path().join("3.yml");
    let errors = Config::load(std::slice::from_ref(&missing), Required::Any, &Surroundings::from_process()).unwrap_err();
    assert!(errors.0.len() == 1 && errors.to_string().starts_with(&missing.display().to_string()), "{errors}");
}
