//! CloudQuery configuration for `lakegate sync`: its sources, and the destinations that their rows go to.
//!
//! Files hold YAML documents with a `kind` and a `spec`. They are read in four steps: [`files`] turns arguments into documents, [`references`] fills
//! in `${…}`, [`document`] reads fields strictly (an unknown one is an error), and [`kinds`] knows the fields of sources and destinations. References
//! between documents are checked here. All errors are reported, each with its file, document, field, and what would be accepted.
//!
//! Errors never quote a nested `spec` or the value of a `${…}`, since both may hold secrets.

mod document;
mod files;
mod kinds;
mod model;
mod problem;
mod references;
mod time;

#[cfg(test)]
mod tests;

pub(super) use files::content;
pub use model::{Backend, Destination, DestinationPlugin, PkMode, Source, SourcePlugin, WriteMode};
pub use problem::{ConfigErrors, ConfigProblem, Origin};
pub use references::Surroundings;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A configuration: sources and destinations.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// In the order written; names are unique.
    pub sources: Vec<Source>,
    /// In the order written; names are unique.
    pub destinations: Vec<Destination>,
}

/// What a configuration must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// For a sync: at least one source and one destination.
    Sync,
    /// For inspection: at least one source or destination.
    Any,
}

impl Config {
    /// Reads files, and the YAML files directly inside directories.
    ///
    /// # Errors
    /// All problems found.
    pub fn load(paths: &[PathBuf], required: Required, surroundings: &Surroundings<'_>) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let texts = files::read(paths, &mut problems);
        Self::from_texts(&texts, required, surroundings, problems)
    }

    fn from_texts(
        texts: &[files::Text],
        required: Required,
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
        // An incomplete configuration would cause follow-up errors: names that are unknown only because their document could not be read.
        if problems.is_empty() {
            problems = config.check_cross_references(required);
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

    /// Checks names that have to be unique or refer to another document.
    fn check_cross_references(&self, required: Required) -> Vec<ConfigProblem> {
        let mut problems = self.missing_kinds(required);
        duplicates("source", self.sources.iter().map(|it| (it.name.as_str(), &it.origin)), &mut problems);
        let destinations = duplicates("destination", self.destinations.iter().map(|it| (it.name.as_str(), &it.origin)), &mut problems);
        // Without destinations, every name would be reported as unknown.
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

    /// Reports required kinds that are missing.
    fn missing_kinds(&self, required: Required) -> Vec<ConfigProblem> {
        let problem = |message: String| ConfigProblem { origin: None, field: String::new(), message };
        let kinds = [("source", self.sources.is_empty()), ("destination", self.destinations.is_empty())];
        let missing = kinds.into_iter().filter(|(_, empty)| *empty).map(|(kind, _)| kind);
        match required {
            Required::Sync => {
                missing.map(|kind| problem(format!("there is no {kind}; expected at least one document with `kind: {kind}`"))).collect()
            }
            Required::Any if missing.count() == kinds.len() => {
                vec![problem("there is neither a source nor a destination; expected at least one document".to_owned())]
            }
            Required::Any => Vec::new(),
        }
    }
}

/// Reports duplicate names, and returns all names.
fn duplicates<'a>(
    kind: &str,
    names: impl Iterator<Item = (&'a str, &'a Origin)>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<&'a str, &'a Origin> {
    let mut seen = BTreeMap::new();
    for (name, origin) in names {
        if let Some(first) = seen.get(name) {
            problems.push(origin.problem("spec.name", format!("the {kind} {name:?} is already defined in {first}")));
        } else {
            seen.insert(name, origin);
        }
    }
    seen
}
