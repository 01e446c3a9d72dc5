//! CloudQuery configuration for `lakegate sync`: which sources there are, and which destinations their rows go to.
//!
//! Files hold YAML documents of a `kind` and a `spec`. Reading goes through four rooms: [`files`] turns arguments into documents,
//! [`references`] fills in `${…}`, [`document`] reads fields strictly (an unknown one is an error), [`kinds`] knows what a source and a
//! destination are. What the documents say about each other is checked here. Every mistake is reported, each with its file, document,
//! field, and what would be accepted.
//!
//! Nothing is echoed from a nested `spec` or from what a `${…}` stood for: both hold secrets.

mod document;
mod files;
mod kinds;
mod references;
mod time;

#[cfg(test)]
mod tests;

pub(super) use files::content;
pub use references::Surroundings;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What `sync` is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// In the order written; no two of one name.
    pub sources: Vec<Source>,
    /// In the order written; no two of one name.
    pub destinations: Vec<Destination>,
}

/// What a configuration must be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A sync: at least one source and one destination.
    Sync,
    /// To be looked at: at least one of either.
    Any,
}

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
    /// Names of destinations; never empty, each of them in [`Config::destinations`].
    pub destinations: Vec<String>,
    /// Where the source keeps its state.
    pub backend: Option<Backend>,
    /// Make `_cq_id` from the primary key rather than at random?
    pub deterministic_cq_id: bool,
    /// Where the source sends its own telemetry.
    pub otel_endpoint: Option<String>,
    /// Without TLS?
    pub otel_endpoint_insecure: bool,
    /// The nested spec: an object or null. `@@plugins.NAME.connection` in it is for whoever has started the destinations. Empty for a
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
    /// How to reach it; may be `@@plugins.NAME.connection`.
    pub connection: String,
}

/// Where a document is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Which document of the file, counted from 1.
    pub document: usize,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The document; none for what concerns all of them.
    pub origin: Option<Origin>,
    /// The field, as a dotted path; empty for the document as a whole.
    pub field: String,
    /// What is wrong and what would be accepted.
    pub message: String,
}

/// All mistakes, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigProblem>);

impl Config {
    /// Reads files, and the YAML files directly inside directories.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn load(paths: &[PathBuf], extent: Extent, surroundings: &Surroundings<'_>) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let texts = files::read(paths, &mut problems);
        Self::of(&texts, extent, surroundings, problems)
    }

    fn of(
        texts: &[files::Text],
        extent: Extent,
        surroundings: &Surroundings<'_>,
        mut problems: Vec<ConfigProblem>,
    ) -> Result<Self, ConfigErrors> {
        let mut config = Self { sources: Vec::new(), destinations: Vec::new() };
        for text in texts {
            for (index, document) in files::documents(&text.content).into_iter().enumerate() {
                let origin = Origin { file: text.file.clone(), document: index + 1 };
                config.take(document, &origin, surroundings, &mut problems);
            }
        }
        // Half a configuration would make mistakes of its own: names that are unknown only because their document could not be read.
        if problems.is_empty() {
            problems = config.across(extent);
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    fn take(&mut self, text: &str, origin: &Origin, surroundings: &Surroundings<'_>, problems: &mut Vec<ConfigProblem>) {
        match references::resolve(text, surroundings) {
            Ok(Value::Null) => {}
            Ok(value) => match kinds::read(value, origin, problems) {
                Some(kinds::Kind::Source(it)) => self.sources.push(*it),
                Some(kinds::Kind::Destination(it)) => self.destinations.push(*it),
                None => {}
            },
            Err(messages) => problems.extend(messages.into_iter().map(|message| origin.problem("", message))),
        }
    }

    /// What the documents say about each other.
    fn across(&self, extent: Extent) -> Vec<ConfigProblem> {
        let mut problems = self.lacking(extent);
        twice("source", self.sources.iter().map(|it| (it.name.as_str(), &it.origin)), &mut problems);
        let destinations = twice("destination", self.destinations.iter().map(|it| (it.name.as_str(), &it.origin)), &mut problems);
        // Without destinations every name would be unknown.
        if destinations.is_empty() {
            return problems;
        }
        for source in &self.sources {
            for name in source.destinations.iter().filter(|it| !destinations.contains_key(it.as_str())) {
                let known: Vec<_> = destinations.keys().copied().collect();
                let message = format!("there is no destination {name:?}; there is: {}", known.join(", "));
                problems.push(source.origin.problem("spec.destinations", message));
            }
        }
        problems
    }

    /// The kinds that must be there and are not.
    fn lacking(&self, extent: Extent) -> Vec<ConfigProblem> {
        let lacks = |message: String| ConfigProblem { origin: None, field: String::new(), message };
        let kinds = [("source", self.sources.is_empty()), ("destination", self.destinations.is_empty())];
        let lacking = kinds.into_iter().filter(|(_, empty)| *empty).map(|(kind, _)| kind);
        match extent {
            Extent::Sync => {
                lacking.map(|kind| lacks(format!("there is no {kind}; expected at least one document with `kind: {kind}`"))).collect()
            }
            Extent::Any if lacking.count() == kinds.len() => {
                vec![lacks("there is neither a source nor a destination; expected at least one document".to_owned())]
            }
            Extent::Any => Vec::new(),
        }
    }
}

/// Tells of names that are taken, and gives the names.
fn twice<'a>(
    kind: &str,
    names: impl Iterator<Item = (&'a str, &'a Origin)>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<&'a str, &'a Origin> {
    let mut seen = BTreeMap::new();
    for (name, origin) in names {
        if let Some(first) = seen.get(name) {
            problems.push(origin.problem("spec.name", format!("the {kind} {name:?} is there already, in {first}")));
        } else {
            seen.insert(name, origin);
        }
    }
    seen
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

impl Origin {
    fn problem(&self, field: &str, message: impl Into<String>) -> ConfigProblem {
        ConfigProblem { origin: Some(self.clone()), field: field.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", Path::display(&self.file), self.document)
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "`{}`: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigErrors {
    /// One a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
