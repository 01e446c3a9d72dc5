//! The plugins of a run: they are started together before anything else, and stopped together after everything else.

use super::config::{Backend, Config, Destination, DestinationPlugin, Source, SourcePlugin};
use super::destination_write::interruption;
use super::exit::{CliError, Exit};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lakegate_cloudquery::client::{Kind, Launch, LaunchOptions, Otel, Plugin};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The parts of a connection placeholder before and after the plugin's name.
const PLACEHOLDER: (&str, &str) = ("plugins.", ".connection");

/// A plugin that is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    launch: Launch,
    otel: Option<Otel>,
}

impl Wanted {
    /// [`None`] if the source is built in.
    pub(crate) fn source(source: &Source) -> Option<Self> {
        let launch = match &source.plugin {
            SourcePlugin::Files { .. } => return None,
            SourcePlugin::Local { path } => Launch::Local(path.clone()),
            SourcePlugin::Grpc { address } => Launch::Dial(address.clone()),
        };
        let otel = source.otel_endpoint.clone().map(|endpoint| Otel { endpoint, insecure: source.otel_endpoint_insecure });
        Some(Self { kind: Kind::Source, name: source.name.clone(), launch, otel })
    }

    /// [`None`] if the destination is built in.
    pub(crate) fn destination(destination: &Destination) -> Option<Self> {
        let launch = match &destination.plugin {
            DestinationPlugin::S3 => return None,
            DestinationPlugin::Local { path } => Launch::Local(path.clone()),
            DestinationPlugin::Grpc { address } => Launch::Dial(address.clone()),
        };
        Some(Self { kind: Kind::Destination, name: destination.name.clone(), launch, otel: None })
    }

    /// Starts the plugin.
    pub(crate) async fn start(&self, options: &LaunchOptions) -> Result<Arc<Plugin>, CliError> {
        let options = LaunchOptions { otel: self.otel.clone(), ..options.clone() };
        let started = Plugin::start(self.kind, &self.name, &self.launch, &options).await;
        let failed = |error| CliError::new(Exit::Source, format!("failed to start {} {}: {error}", self.kind, self.name));
        started.map(Arc::new).map_err(failed)
    }
}

/// The running plugins.
#[derive(Debug, Default)]
pub(crate) struct Plugins {
    running: BTreeMap<(Kind, String), Arc<Plugin>>,
}

impl Plugins {
    /// Starts all plugins in parallel.
    ///
    /// # Errors
    /// A plugin does not start, or `interrupted` is cancelled; the others have been stopped again.
    pub(crate) async fn start(wanted: Vec<Wanted>, options: &LaunchOptions, interrupted: &CancellationToken) -> Result<Self, CliError> {
        let (mut running, mut failure) = (BTreeMap::new(), None);
        let mut starting: FuturesUnordered<_> =
            wanted.into_iter().map(|wanted| async { (wanted.start(options).await, (wanted.kind, wanted.name)) }).collect();
        loop {
            let started = tokio::select! {
                biased;
                () = interrupted.cancelled() => {
                    failure = Some(interruption());
                    break;
                }
                started = starting.next() => started,
            };
            match started {
                Some((Ok(plugin), name)) => _ = running.insert(name, plugin),
                Some((Err(error), _)) => _ = failure.get_or_insert(error),
                None => break,
            }
        }
        // Plugins that are still starting are killed; running ones are stopped.
        drop(starting);
        let plugins = Self { running };
        match failure {
            None => Ok(plugins),
            Some(error) => {
                plugins.stop().await;
                Err(error)
            }
        }
    }

    /// A plugin of the run. Only started plugins are requested, so an error here is a bug.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Result<&Arc<Plugin>, CliError> {
        let unknown = || CliError::new(Exit::Unexpected, format!("{kind} {name} was not started"));
        self.running.get(&(kind, name.to_owned())).ok_or_else(unknown)
    }

    /// Stops all plugins in parallel.
    pub(crate) async fn stop(&self) {
        futures::future::join_all(self.running.values().map(|plugin| plugin.stop())).await;
    }
}

/// Removes duplicates: one destination may serve several sources, in turn.
pub(crate) fn deduplicated(wanted: impl Iterator<Item = Wanted>) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = wanted.collect();
    wanted.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    wanted.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
    wanted
}

/// The destinations whose connection a source refers to.
///
/// # Errors
/// There is no such destination, or it has no connection because it is built in.
pub(crate) fn referenced_destinations<'a>(source: &Source, config: &'a Config) -> Result<Vec<&'a Destination>, CliError> {
    let mut names = Vec::new();
    names_in(&source.spec, &mut names);
    if let Some(backend) = &source.backend {
        names_in_text(&backend.connection, &mut names);
    }
    names.sort_unstable();
    names.dedup();
    names.iter().map(|name| connectable(&source.name, name, config)).collect()
}

fn connectable<'a>(source: &str, name: &str, config: &'a Config) -> Result<&'a Destination, CliError> {
    let refused =
        |problem: String| CliError::new(Exit::Spec, format!("source {source:?}: {}{name}{}: {problem}", PLACEHOLDER.0, PLACEHOLDER.1));
    let found = config.destinations.iter().find(|known| known.name == name);
    let destination = found.ok_or_else(|| refused("there is no destination of this name".to_owned()))?;
    if destination.plugin == DestinationPlugin::S3 {
        let problem =
            "the S3 destination keeps no state that could be read back; use a destination of `registry: local` or `registry: grpc`";
        return Err(refused(problem.to_owned()));
    }
    Ok(destination)
}

fn names_in<'a>(value: &'a Value, names: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => names_in_text(text, names),
        Value::Array(items) => items.iter().for_each(|item| names_in(item, names)),
        Value::Object(fields) => fields.values().for_each(|field| names_in(field, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn names_in_text<'a>(text: &'a str, names: &mut Vec<&'a str>) {
    let pieces = text.split(PLACEHOLDER.0).skip(1);
    names.extend(pieces.filter_map(|piece| piece.split_once(PLACEHOLDER.1)).map(|(name, _)| name));
}

/// The spec with placeholders replaced by connections.
pub(crate) fn connected(value: &Value, connections: &[(&str, &str)]) -> Value {
    match value {
        Value::String(text) => Value::String(connected_text(text, connections)),
        Value::Array(items) => items.iter().map(|item| connected(item, connections)).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, field)| (name.clone(), connected(field, connections))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The backend with placeholders replaced by connections.
pub(crate) fn connected_backend(backend: &Backend, connections: &[(&str, &str)]) -> Backend {
    Backend { table_name: backend.table_name.clone(), connection: connected_text(&backend.connection, connections) }
}

fn connected_text(text: &str, connections: &[(&str, &str)]) -> String {
    connections
        .iter()
        .fold(text.to_owned(), |text, (name, connection)| text.replace(&format!("{}{name}{}", PLACEHOLDER.0, PLACEHOLDER.1), connection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_found_and_filled_wherever_they_are() {
        let spec =
            json!({"a": ["x plugins.pg.connection y", 1], "b": {"c": "plugins.my-db.connectionplugins.pg.connection"}, "d": "plugins.cut"});
        let mut names = Vec::new();
        names_in(&spec, &mut names);
        assert_eq!(names, ["pg", "my-db", "pg"]);
        let filled = connected(&spec, &[("pg", "unix:///p"), ("my-db", "h:1")]);
        assert_eq!(filled, json!({"a": ["x unix:///p y", 1], "b": {"c": "h:1unix:///p"}, "d": "plugins.cut"}));
    }
}
