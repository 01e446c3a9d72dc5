//! Reads the fields of one mapping strictly: a field that nobody asks for is an error, so is a value of another type. `null` is absent.
//!
//! Values are shown only where they are names out of a short list; anything else may hold a secret.

use super::{ConfigProblem, Origin};
use serde_json::{Map, Value};

/// How much of a field's name or of a value out of a list an error quotes.
const QUOTED_CHARS: usize = 100;

/// A mapping that is being read.
pub(super) struct Document<'a> {
    origin: &'a Origin,
    /// Dotted, with a dot at the end; empty at the top.
    prefix: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl<'a> Document<'a> {
    /// `None`: the value is no mapping, which has been told of.
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

    /// Has something been said of this field?
    pub(super) fn is_refused(&self, name: &str) -> bool {
        let field = format!("{}{name}", self.prefix);
        self.problems.iter().any(|it| it.origin.as_ref() == Some(self.origin) && it.field == field)
    }

    /// How many mistakes are known by now, in all documents.
    pub(super) fn mistakes(&self) -> usize {
        self.problems.len()
    }

    /// Takes a field as it is.
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

    /// Text that must be there.
    pub(super) fn required(&mut self, name: &'static str) -> Option<String> {
        let mistakes = self.mistakes();
        let text = self.text(name).filter(|it| !it.is_empty());
        if text.is_none() && mistakes == self.mistakes() {
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

    /// A list that must have something in it.
    pub(super) fn required_texts(&mut self, name: &'static str) -> Vec<String> {
        let mistakes = self.mistakes();
        let texts = self.texts(name);
        if texts.is_empty() && mistakes == self.mistakes() {
            self.refuse(name, "is required: a list of at least one text");
        }
        texts
    }

    /// One out of a short list; the first is the default.
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

    /// A mapping within this one, read by `read`; absent is none.
    pub(super) fn nested<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Document<'_>) -> T) -> Option<T> {
        let value = self.value(name)?;
        let prefix = format!("{}{name}.", self.prefix);
        let mut inner = Document::new(value, &prefix, self.origin, self.problems)?;
        let read = read(&mut inner);
        inner.finish();
        Some(read)
    }

    /// The nested spec of a plugin: a mapping or nothing.
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

    /// Tells of every field that nobody asked for.
    pub(super) fn finish(mut self) {
        let unknown: Vec<_> = self.members.keys().map(|it| preview(it)).collect();
        for name in unknown {
            let known = self.known.join(", ");
            self.refuse(&name, format!("unknown field; expected one of {known}"));
        }
    }
}

/// What a value is, without the value.
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

/// The start of a text, fit for one line.
pub(super) fn preview(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    let mut start: String = chars.by_ref().take(QUOTED_CHARS).collect();
    if chars.next().is_some() {
        start.push('…');
    }
    start
}
