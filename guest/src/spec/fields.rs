//! What a form is made of: rows, one for each field of the spec.
//!
//! A row says once what a field is ([`text`], [`flag`], [`integer`], [`pairs`], [`names`], [`object`], [`options`]), what bounds it has and what it is when left out.
//! Reader, check and JSON Schema all follow from it. [`form!`](form) makes a struct of a table of rows; the tables are in [`super::raw`].

use super::document::{Document, Field, preview};
use super::problem::SpecProblem;
use crate::limits::MAX_NAME_BYTES;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What reading a form finds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Fields of a wrong type, and inside `format_spec` unknown ones.
    pub(super) problems: Vec<SpecProblem>,
    /// Unknown fields, which are ignored.
    pub(super) warnings: Vec<SpecProblem>,
}

/// The definitions of a JSON Schema, by name.
pub(super) type Definitions = Map<String, Value>;

/// Called after each row of a form, with the row's name: the place for rules that no single row can state.
pub(super) type Rules<'a> = &'a mut dyn FnMut(&'static str, &mut Vec<SpecProblem>);

/// One object of the spec, as a struct with a [`Field`] for each row.
pub(super) trait Form: Sized {
    /// Its name among the definitions of the JSON Schema.
    const DEFINITION: &'static str;
    /// Its doc comment.
    const ABOUT: &'static str;

    /// Reads every row.
    fn read(document: &mut Document, findings: &mut Findings) -> Self;

    /// Checks every row by its own bounds. The order of the rows is the order of the problems. `prefix` is the path of the object, with a dot
    /// at its end.
    fn check(&self, prefix: &str, problems: &mut Vec<SpecProblem>, rules: Rules<'_>);

    /// Describes every row.
    fn describe(schema: &mut FormSchema<'_>);

    /// The form as a JSON Schema; forms inside it become definitions.
    fn schema(definitions: &mut Definitions) -> Map<String, Value> {
        let mut schema = FormSchema { properties: Map::new(), required: Vec::new(), definitions };
        Self::describe(&mut schema);
        let FormSchema { properties, required, .. } = schema;
        let mut members = Map::new();
        members.insert("type".to_owned(), json!("object"));
        members.insert("description".to_owned(), description(Self::ABOUT));
        members.insert("additionalProperties".to_owned(), json!(false));
        if !properties.is_empty() {
            members.insert("properties".to_owned(), Value::Object(properties));
        }
        if !required.is_empty() {
            members.insert("required".to_owned(), json!(required));
        }
        members
    }

    /// Makes the form a definition, and refers to it.
    fn reference(definitions: &mut Definitions) -> Value {
        if !definitions.contains_key(Self::DEFINITION) {
            let schema = Self::schema(definitions);
            definitions.insert(Self::DEFINITION.to_owned(), Value::Object(schema));
        }
        json!({"$ref": format!("#/$defs/{}", Self::DEFINITION)})
    }
}

/// The JSON Schema of a form in the making.
pub(super) struct FormSchema<'a> {
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    definitions: &'a mut Definitions,
}

impl FormSchema<'_> {
    /// Adds a row.
    pub(super) fn add<T>(&mut self, name: &'static str, about: &str, row: &impl Row<Written = T>) {
        let mut members = row.schema(self.definitions);
        members.insert("description".to_owned(), description(about));
        self.properties.insert(name.to_owned(), Value::Object(members));
        if row.is_required() {
            self.required.push(name);
        }
    }
}

/// Makes a struct and its [`Form`] of a table: doc comment, name, type and row of each field.
macro_rules! form {
    (
        $(#[doc = $about:literal])+
        $form:ident as $definition:literal {
            $( $(#[doc = $doc:literal])+ $name:ident: $written:ty = $row:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(super) struct $form {
            $( $(#[doc = $doc])+ pub(super) $name: Field<$written>, )+
        }

        impl Form for $form {
            const DEFINITION: &'static str = $definition;
            const ABOUT: &'static str = concat!($($about, "\n"),+);

            fn read(document: &mut Document, findings: &mut Findings) -> Self {
                let form = Self { $( $name: Row::read(&$row, stringify!($name), document, findings), )+ };
                document.report_unknown(&mut findings.problems, &mut findings.warnings);
                form
            }

            fn check(&self, prefix: &str, problems: &mut Vec<SpecProblem>, rules: Rules<'_>) {
                $(
                    Row::check(&$row, &format!("{prefix}{}", stringify!($name)), &self.$name, problems);
                    rules(stringify!($name), problems);
                )+
            }

            fn describe(schema: &mut FormSchema<'_>) {
                $( schema.add::<$written>(stringify!($name), concat!($($doc, "\n"),+), &$row); )+
            }
        }
    };
}
pub(super) use form;

/// What is known of a field beside its name.
pub(super) trait Row {
    /// The Rust type of its values.
    type Written;

    /// Reads the field. Absent, it has the row's default.
    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<Self::Written>;

    /// Checks a field that was read by the row's own bounds. `name` is its dotted path.
    fn check(&self, name: &str, field: &Field<Self::Written>, problems: &mut Vec<SpecProblem>);

    /// The field's JSON Schema, without a description.
    fn schema(&self, definitions: &mut Definitions) -> Map<String, Value>;

    /// May it not be left out?
    fn is_required(&self) -> bool {
        false
    }
}

/// Notes one thing wrong with a field.
pub(super) fn refuse(problems: &mut Vec<SpecProblem>, field: &str, message: impl Into<String>) {
    problems.push(SpecProblem { field: field.to_owned(), message: message.into() });
}

/// A text. Unless its row says otherwise, an empty one means the same as none.
pub(super) fn text() -> Text {
    Text::default()
}

/// `true` or `false`, and what it is when left out.
pub(super) fn flag(default: bool) -> Flag {
    Flag { default: Some(default), or_null: false }
}

/// `true` or `false`; what it is when left out is not for the spec to say.
pub(super) fn choice() -> Flag {
    Flag { default: None, or_null: true }
}

/// Texts by names of the user's own; none when left out.
pub(super) fn pairs() -> Pairs {
    Pairs::default()
}

/// A whole number.
pub(super) fn integer() -> Integer {
    Integer::default()
}

/// A form of its own, or `null`.
pub(super) fn object<F>() -> Object<F> {
    Object(std::marker::PhantomData)
}

/// An object whose form depends on other fields, or `null`. It is kept as written.
pub(super) fn options() -> Options {
    Options
}

/// Texts in a list, each of them one of these; none when left out.
pub(super) fn texts(allowed: &'static [&'static str]) -> Texts {
    Texts { allowed }
}

/// See [`texts`].
pub(super) struct Texts {
    allowed: &'static [&'static str],
}

impl Row for Texts {
    type Written = Vec<String>;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<Vec<String>> {
        document.texts(name, &mut findings.problems).with_default(Some(Vec::new()))
    }

    fn check(&self, name: &str, field: &Field<Vec<String>>, problems: &mut Vec<SpecProblem>) {
        let texts = field.given().map_or(&[][..], Vec::as_slice);
        if let Some(text) = texts.iter().find(|text| !self.allowed.contains(&text.as_str())) {
            let allowed = self.allowed.join(", ");
            refuse(problems, name, format!("invalid `{name}` value: {}. Allowed values are {allowed}", preview(text)));
        }
    }

    fn schema(&self, _: &mut Definitions) -> Map<String, Value> {
        let mut keywords = Map::new();
        keywords.insert("items".to_owned(), json!({"type": "string", "enum": self.allowed}));
        keywords.insert("uniqueItems".to_owned(), json!(true));
        keywords.insert("default".to_owned(), json!([]));
        typed("array", true, keywords)
    }
}

/// Names of the user's own in a list, at most so many; none when left out.
pub(super) fn names(at_most: usize) -> Names {
    Names { at_most }
}

/// See [`names`].
pub(super) struct Names {
    at_most: usize,
}

impl Row for Names {
    type Written = Vec<String>;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<Vec<String>> {
        document.texts(name, &mut findings.problems).with_default(Some(Vec::new()))
    }

    fn check(&self, name: &str, field: &Field<Vec<String>>, problems: &mut Vec<SpecProblem>) {
        let names = field.given().map_or(&[][..], Vec::as_slice);
        if names.len() > self.at_most {
            refuse(problems, name, format!("`{name}` must have at most {} names, not {}", self.at_most, names.len()));
        }
        for (number, one) in names.iter().enumerate() {
            if one.is_empty() || one.len() > MAX_NAME_BYTES {
                refuse(
                    problems,
                    name,
                    format!("`{name}` must have names of 1 to {MAX_NAME_BYTES} bytes, and number {} is none", number + 1),
                );
            } else if names.iter().take(number).any(|other| other == one) {
                refuse(problems, name, format!("`{name}` must name {} once", preview(one)));
            }
        }
    }

    fn schema(&self, _: &mut Definitions) -> Map<String, Value> {
        let mut keywords = Map::new();
        keywords.insert("items".to_owned(), json!({"type": "string", "minLength": 1, "maxLength": MAX_NAME_BYTES}));
        keywords.insert("uniqueItems".to_owned(), json!(true));
        keywords.insert("maxItems".to_owned(), json!(self.at_most));
        keywords.insert("default".to_owned(), json!([]));
        typed("array", true, keywords)
    }
}

/// See [`text`].
#[derive(Default)]
pub(super) struct Text {
    presence: Presence,
    or_null: bool,
    one_line: bool,
    one_of: &'static [&'static str],
    default: Option<&'static str>,
    keywords: Map<String, Value>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Presence {
    #[default]
    Optional,
    Required,
    RequiredByRule,
}

impl Text {
    /// It cannot be left out or empty.
    pub(super) fn required(self) -> Self {
        Self { presence: Presence::Required, ..self }.schema("minLength", 1)
    }

    /// It cannot be left out, which a rule says in words of its own.
    pub(super) fn required_by_rule(self) -> Self {
        Self { presence: Presence::RequiredByRule, ..self }
    }

    /// The JSON Schema lets it be `null`. (The reader always does.)
    pub(super) fn or_null(self) -> Self {
        Self { or_null: true, ..self }
    }

    /// It has no line end and no other control character: it names something elsewhere, and no name has one.
    pub(super) fn one_line(self) -> Self {
        Self { one_line: true, ..self }.schema("pattern", r"^[^\x00-\x1f\x7f-\x9f]*$")
    }

    /// It is one of these.
    pub(super) fn one_of(self, allowed: &'static [&'static str]) -> Self {
        Self { one_of: allowed, ..self }.schema("enum", allowed)
    }

    /// What it is when left out.
    pub(super) fn defaults_to(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }.schema("default", default)
    }

    /// Says something in the JSON Schema alone. What the reader holds it to is a rule in `rules`, if anything.
    pub(super) fn schema(mut self, keyword: &str, value: impl Into<Value>) -> Self {
        self.keywords.insert(keyword.to_owned(), value.into());
        self
    }
}

impl Row for Text {
    type Written = String;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<String> {
        document.text(name, &mut findings.problems).with_default(self.default.map(str::to_owned))
    }

    fn check(&self, name: &str, field: &Field<String>, problems: &mut Vec<SpecProblem>) {
        let Some(text) = field.filled() else {
            if self.presence == Presence::Required && !field.is_wrong() {
                refuse(problems, name, format!("`{name}` is required"));
            }
            return;
        };
        if self.one_line && text.contains(char::is_control) {
            refuse(problems, name, format!("`{name}` must not have line ends or other control characters"));
        }
        if !self.one_of.is_empty() && !self.one_of.contains(&text) {
            let allowed = self.one_of.join(", ");
            refuse(problems, name, format!("invalid `{name}` value: {}. Allowed values are {allowed}", preview(text)));
        }
    }

    fn schema(&self, _: &mut Definitions) -> Map<String, Value> {
        typed("string", self.or_null, self.keywords.clone())
    }

    fn is_required(&self) -> bool {
        self.presence != Presence::Optional
    }
}

/// See [`flag`].
pub(super) struct Flag {
    default: Option<bool>,
    or_null: bool,
}

impl Flag {
    /// The JSON Schema lets it be `null`. (The reader always does.)
    pub(super) fn or_null(self) -> Self {
        Self { or_null: true, ..self }
    }
}

impl Row for Flag {
    type Written = bool;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<bool> {
        document.flag(name, &mut findings.problems).with_default(self.default)
    }

    fn check(&self, _: &str, _: &Field<bool>, _: &mut Vec<SpecProblem>) {}

    fn schema(&self, _: &mut Definitions) -> Map<String, Value> {
        let default = self.default.map(|default| ("default".to_owned(), json!(default)));
        typed("boolean", self.or_null, default.into_iter().collect())
    }
}

/// See [`pairs`]. What its rows say is for the JSON Schema alone; the reader is held to it by a rule.
#[derive(Default)]
pub(super) struct Pairs {
    keywords: Map<String, Value>,
}

impl Pairs {
    /// How many there are at most.
    pub(super) fn at_most(mut self, most: usize) -> Self {
        self.keywords.insert("maxProperties".to_owned(), json!(most));
        self
    }

    /// What names look like.
    pub(super) fn names(mut self, pattern: &str, most_characters: usize) -> Self {
        self.keywords.insert("propertyNames".to_owned(), json!({"pattern": pattern, "minLength": 1, "maxLength": most_characters}));
        self
    }

    /// What values look like.
    pub(super) fn values(mut self, pattern: &str, most_characters: usize) -> Self {
        let value = json!({"type": "string", "pattern": pattern, "maxLength": most_characters});
        self.keywords.insert("additionalProperties".to_owned(), value);
        self
    }
}

impl Row for Pairs {
    type Written = BTreeMap<String, String>;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<BTreeMap<String, String>> {
        document.pairs(name, &mut findings.problems)
    }

    fn check(&self, _: &str, _: &Field<BTreeMap<String, String>>, _: &mut Vec<SpecProblem>) {}

    fn schema(&self, _: &mut Definitions) -> Map<String, Value> {
        typed("object", true, self.keywords.clone())
    }
}

/// See [`integer`].
#[derive(Default)]
pub(super) struct Integer {
    or_null: bool,
    bounds: Option<(i64, i64)>,
    default: Option<i64>,
    keywords: Map<String, Value>,
}

impl Integer {
    /// The JSON Schema lets it be `null`. (The reader always does.)
    pub(super) fn or_null(self) -> Self {
        Self { or_null: true, ..self }
    }

    /// It is not less than `least` and not more than `most`.
    pub(super) fn between(self, least: i64, most: i64) -> Self {
        Self { bounds: Some((least, most)), ..self }.schema("minimum", least).schema("maximum", most)
    }

    /// What it is when left out.
    pub(super) fn defaults_to(self, default: i64) -> Self {
        Self { default: Some(default), ..self }.schema("default", default)
    }

    /// Says something in the JSON Schema alone. What the reader holds it to is a rule in `rules`, if anything.
    pub(super) fn schema(mut self, keyword: &str, value: impl Into<Value>) -> Self {
        self.keywords.insert(keyword.to_owned(), value.into());
        self
    }
}

impl Row for Integer {
    type Written = i64;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<i64> {
        document.integer(name, &mut findings.problems).with_default(self.default)
    }

    fn check(&self, name: &str, field: &Field<i64>, problems: &mut Vec<SpecProblem>) {
        if let (Some(value), Some((least, most))) = (field.given(), self.bounds)
            && !(least..=most).contains(value)
        {
            refuse(problems, name, format!("`{name}` must be between {least} and {most}, not {value}"));
        }
    }

    fn schema(&self, _: &mut Definitions) -> Map<String, Value> {
        typed("integer", self.or_null, self.keywords.clone())
    }
}

/// See [`object`].
pub(super) struct Object<F>(std::marker::PhantomData<F>);

impl<F: Form> Row for Object<F> {
    type Written = F;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<F> {
        document.object(name, &mut findings.problems).map(|mut inner| F::read(&mut inner, findings))
    }

    fn check(&self, name: &str, field: &Field<F>, problems: &mut Vec<SpecProblem>) {
        if let Some(form) = field.given() {
            form.check(&format!("{name}."), problems, &mut |_, _| {});
        }
    }

    fn schema(&self, definitions: &mut Definitions) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("anyOf".to_owned(), json!([F::reference(definitions), {"type": "null"}]));
        members
    }
}

/// See [`options`].
pub(super) struct Options;

impl Row for Options {
    type Written = Document;

    fn read(&self, name: &'static str, document: &mut Document, findings: &mut Findings) -> Field<Document> {
        document.object(name, &mut findings.problems).map(Document::decoded_apart)
    }

    fn check(&self, _: &str, _: &Field<Document>, _: &mut Vec<SpecProblem>) {}

    fn schema(&self, _: &mut Definitions) -> Map<String, Value> {
        let mut keywords = Map::new();
        keywords.insert("additionalProperties".to_owned(), json!(true));
        typed("object", true, keywords)
    }
}

fn typed(kind: &str, or_null: bool, mut keywords: Map<String, Value>) -> Map<String, Value> {
    keywords.insert("type".to_owned(), if or_null { json!([kind, "null"]) } else { json!(kind) });
    keywords
}

/// A doc comment as a description: without the blank in front of each line.
fn description(about: &str) -> Value {
    let lines: Vec<&str> = about.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    json!(lines.join("\n").trim())
}
