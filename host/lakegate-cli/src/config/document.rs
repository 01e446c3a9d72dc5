//! Strict reading of one mapping's fields: unknown fields and values of the wrong type are errors. `null` counts as absent.
//!
//! Errors quote values only where they come from a fixed list of names; any other value may be a secret.

use super::{ConfigProblem, Origin};
use serde_json::{Map, Value};

/// How many characters of a field name or value an error quotes.
const QUOTED_CHARS: usize = 100;

/// A mapping that is being read.
pub(super) struct Document<'a> {
    origin: &'a Origin,
    /// Dotted path with a trailing dot; empty at the top level.
    prefix: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl<'a> Document<'a> {
    /// `None` if the value is not a mapping, which has been reported.
    pub(super) fn new(value: Value, prefix: &str, origin: &'a Origin, problems: &'a mut Vec<ConfigProblem>) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self { origin, prefix: prefix.to_owned(), members, known: Vec::new(), problems }),
            other => {
                problems.push(origin.problem(prefix.trim_end_matches('.'), format!("expected a mapping, found {}", kind(&other))));
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, name: &str, message: impl Into<String>) {
        let field = format!("{}{name}", self.prefix);
        self.problems.push(self.origin.problem(field.trim_end_matches('.'), message));
    }

    /// Has a problem with this field been reported?
    pub(super) fn is_refused(&self, name: &str) -> bool {
        let field = format!("{}{name}", self.prefix);
        self.problems.iter().any(|it| it.origin.as_ref() == Some(self.origin) && it.field == field)
    }

    /// How many problems have been reported so far, in all documents.
    pub(super) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Takes the value of a field.
    pub(super) fn value(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.members.remove(name).filter(|it| !it.is_null())
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            other => {
                self.refuse(name, format!("expected text, found {}", kind(&other)));
                None
            }
        }
    }

    /// Required, non-empty text.
    pub(super) fn required(&mut self, name: &'static str) -> Option<String> {
        let problem_count = self.problem_count();
        let text = self.text(name).filter(|it| !it.is_empty());
        if text.is_none() && problem_count == self.problem_count() {
            self.refuse(name, "is required");
        }
        text
    }

    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        match self.value(name) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.refuse(name, format!("expected true or false, found {}", kind(&other)));
                default
            }
        }
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Vec<String> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.refuse(name, format!("expected a list of texts, found {}", kind(&value)));
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) if !text.is_empty() => texts.push(text),
                Value::String(_) => self.refuse(&format!("{name}[{index}]"), "expected text, found an empty one"),
                other => self.refuse(&format!("{name}[{index}]"), format!("expected text, found {}", kind(&other))),
            }
        }
        texts
    }

    /// A required, non-empty list of texts.
    pub(super) fn required_texts(&mut self, name: &'static str) -> Vec<String> {
        let problem_count = self.problem_count();
        let texts = self.texts(name);
        if texts.is_empty() && problem_count == self.problem_count() {
            self.refuse(name, "is required: a list of at least one text");
        }
        texts
    }

    /// One of a fixed list of names; the first is the default.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let default = choices.first()?.1;
        let Some(text) = self.text(name).filter(|it| !it.is_empty()) else { return Some(default) };
        let found = choices.iter().find(|(choice, _)| *choice == text);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
            self.refuse(name, format!("{:?} is none of {}", preview(&text), names.join(", ")));
        }
        found.map(|it| it.1)
    }

    /// A nested mapping, read by `read`; `None` if it is absent.
    pub(super) fn nested<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Document<'_>) -> T) -> Option<T> {
        let value = self.value(name)?;
        let prefix = format!("{}{name}.", self.prefix);
        let mut inner = Document::new(value, &prefix, self.origin, self.problems)?;
        let read = read(&mut inner);
        inner.finish();
        Some(read)
    }

    /// The nested spec of a plugin: a mapping or null.
    pub(super) fn spec(&mut self) -> Value {
        match self.value("spec") {
            None => Value::Null,
            Some(value @ Value::Object(_)) => value,
            Some(other) => {
                self.refuse("spec", format!("expected a mapping, found {}", kind(&other)));
                Value::Null
            }
        }
    }

    /// Reports all unknown fields.
    pub(super) fn finish(mut self) {
        let unknown: Vec<_> = self.members.keys().map(|it| preview(it)).collect();
        for name in unknown {
            let known = self.known.join(", ");
            self.refuse(&name, format!("unknown field; expected one of {known}"));
        }
    }
}

/// The type of a value, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The beginning of a text, on one line.
pub(super) fn preview(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    let mut start: String = chars.by_ref().take(QUOTED_CHARS).collect();
    if chars.next().is_some() {
        start.push('…');
    }
    start
}
