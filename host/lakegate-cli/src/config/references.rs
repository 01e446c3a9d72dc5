//! References in a document: `${NAME}` is an environment variable, `${file:PATH}` a file's content, `${time:EXPRESSION|LAYOUT}` a point in time.
//!
//! Each reference is replaced by a placeholder before the document is parsed, and its value is filled in afterwards, into the parsed value. So
//! references in comments mean nothing, no value can change the structure of the document around it, and a value that looks like a reference stays as
//! it is. A reference that is a whole plain scalar takes its type from its value (`batch_size: ${ROWS}` is a number, `${ANSWERS}` may be a list in
//! JSON); inside quotes or next to other text it is text.

use super::document::preview;
use super::time;
use chrono::{DateTime, Utc};
use lakegate_base::{clock, file};
use serde_json::Value;
use serde_saphyr::UserMessageFormatter;
use std::path::Path;

/// Maximum number of references in a document. More are certainly a mistake, and the index of a placeholder has a fixed number of digits.
const MAX_REFERENCES: usize = 10_000;

/// The environment that references are resolved in.
pub struct Surroundings<'a> {
    /// Reads an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file of text.
    pub file: &'a dyn Fn(&Path) -> std::io::Result<String>,
    /// The time that relative times are based on.
    pub now: DateTime<Utc>,
}

impl Surroundings<'static> {
    /// The environment of this process.
    pub fn from_process() -> Self {
        Self { variable: &|name| std::env::var(name).ok(), file: &file::read_text, now: clock::utc() }
    }
}

impl std::fmt::Debug for Surroundings<'_> {
    /// Without the contents: an environment is full of secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Parses a document and fills in its references. All references that cannot be resolved are reported.
pub(super) fn resolve(text: &str, surroundings: &Surroundings<'_>) -> Result<Value, Vec<String>> {
    let masked = MaskedDocument::new(text).map_err(|message| vec![message])?;
    let mut value = parse(&masked.text).map_err(|message| vec![message])?;
    let mut filler = Filler { masked: &masked, surroundings, values: vec![None; masked.references.len()], errors: Vec::new() };
    filler.fill(&mut value);
    if filler.errors.is_empty() { Ok(value) } else { Err(filler.errors) }
}

/// Parses one YAML document; `yes`, `on` and the like are booleans, as in CloudQuery's own parser. The error has line and column, and nothing of the
/// text.
fn parse(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: false, leading_zero_numbers_as_strings: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| format!("not a YAML document: {}", yaml_error_message(&error)))
}

/// The YAML parser's error message without hints for programmers.
fn yaml_error_message(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key, location } = error.without_snippet() {
        let name = key.as_deref().map(preview).unwrap_or_default();
        return format!("the key `{name}` is duplicated, again at line {}, column {}", location.line(), location.column());
    }
    error.render_with_formatter(&UserMessageFormatter)
}

/// A document whose references are replaced by placeholders.
struct MaskedDocument<'a> {
    text: String,
    /// The text between the braces, in the order of the placeholders.
    references: Vec<&'a str>,
    /// Digits that every placeholder starts with, and that occur nowhere else in the document.
    mark: String,
}

/// Digits of a placeholder's index.
const INDEX_DIGITS: usize = 4;

impl<'a> MaskedDocument<'a> {
    fn new(text: &'a str) -> Result<Self, String> {
        let mark = (73_160..99_999).map(|it: u32| it.to_string()).find(|it| !text.contains(it.as_str()));
        let mut masked =
            Self { text: String::with_capacity(text.len()), references: Vec::new(), mark: mark.ok_or("the document is too large")? };
        let mut rest = text;
        while let Some((before, reference, after)) = next_reference(rest) {
            masked.text.push_str(before);
            masked.mask(reference, before, after)?;
            rest = after;
        }
        masked.text.push_str(rest);
        Ok(masked)
    }

    /// Appends a placeholder: a number where the reference is a whole plain scalar, so that the scalar's type is left open; a word everywhere else.
    fn mask(&mut self, reference: &'a str, before: &str, after: &str) -> Result<(), String> {
        let index = self.references.len();
        if index >= MAX_REFERENCES {
            return Err(format!("more than {MAX_REFERENCES} references `${{…}}` in one document"));
        }
        let number = format!("{}{index:0INDEX_DIGITS$}", self.mark);
        let begins =
            before.chars().next_back().is_none_or(|c| c.is_whitespace() || "[{,:".contains(c)) && !(before.is_empty() && index > 0);
        let ends = after.chars().next().is_none_or(|c| c.is_whitespace() || "]},".contains(c));
        if begins && ends {
            self.text.push_str(&number);
        } else {
            self.text.push_str(&format!("{LETTER}{number}{LETTER}"));
        }
        self.references.push(reference);
        Ok(())
    }

    /// The index of the reference that a number is the placeholder of.
    fn index_of(&self, digits: &str) -> Option<usize> {
        let index = digits.strip_prefix(self.mark.as_str()).filter(|it| it.len() == INDEX_DIGITS)?;
        index.parse().ok().filter(|it| *it < self.references.len())
    }

    /// Splits a text at its first placeholder: what is before it, its index, and what is after it.
    fn split<'t>(&self, text: &'t str) -> Option<(&'t str, usize, &'t str)> {
        let (before, from_mark) = text.split_once(self.mark.as_str())?;
        let (digits, after) = from_mark.split_at_checked(INDEX_DIGITS)?;
        let index = digits.parse().ok().filter(|it| *it < self.references.len())?;
        Some(match (before.strip_suffix(LETTER), after.strip_prefix(LETTER)) {
            (Some(before), Some(after)) => (before, index, after),
            _ => (before, index, after),
        })
    }
}

/// Keeps a placeholder from being parsed as a number. A letter without meaning in YAML or in a number.
const LETTER: &str = "Q";

/// The first `${…}` of a text: what is before it, between the braces, and after it.
fn next_reference(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let (skipped, after_open) = text.get(from..)?.split_once("${")?;
        let start = from + skipped.len();
        match after_open.split_once('}') {
            Some((inside, after)) if !inside.is_empty() && !inside.contains('\n') => return Some((text.get(..start)?, inside, after)),
            _ => from = start + 2,
        }
    }
}

struct Filler<'a> {
    masked: &'a MaskedDocument<'a>,
    surroundings: &'a Surroundings<'a>,
    /// The values of references that were looked up so far; an inner `None` is one that failed and was reported.
    values: Vec<Option<Option<String>>>,
    errors: Vec<String>,
}

impl Filler<'_> {
    fn fill(&mut self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if let Some(index) = self.masked.index_of(&number.to_string()) {
                    *value = self.value_of(index).map_or(Value::Null, scalar);
                }
            }
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|it| self.fill(it)),
            Value::Object(members) => {
                let old = std::mem::take(members);
                for (name, mut value) in old {
                    self.fill(&mut value);
                    members.insert(self.text(&name), value);
                }
            }
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, index, after)) = self.masked.split(rest) {
            filled.push_str(before);
            filled.push_str(&self.value_of(index).unwrap_or_default());
            rest = after;
        }
        filled.push_str(rest);
        filled
    }

    fn value_of(&mut self, index: usize) -> Option<String> {
        if self.values[index].is_none() {
            let looked_up = self.surroundings.look_up(self.masked.references[index]);
            self.values[index] = Some(looked_up.map_err(|message| self.errors.push(message)).ok());
        }
        self.values[index].clone().flatten()
    }
}

impl Surroundings<'_> {
    fn look_up(&self, reference: &str) -> Result<String, String> {
        if let Some(path) = reference.strip_prefix("file:") {
            return (self.file)(Path::new(path.trim())).map_err(|error| format!("`${{{reference}}}`: {error}"));
        }
        if let Some(expression) = reference.strip_prefix("time:") {
            return time::expand(expression, self.now).map_err(|message| format!("`${{{reference}}}`: {message}"));
        }
        (self.variable)(reference).ok_or_else(|| format!("env variable {reference} not found"))
    }
}

/// The value of a text as a whole plain scalar. Several lines are text, such as a key or a JSON file.
fn scalar(text: String) -> Value {
    let trimmed = text.trim();
    if trimmed.contains('\n') {
        return Value::String(text);
    }
    let parsed = parse(trimmed);
    match parsed {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        Ok(value @ (Value::Array(_) | Value::Object(_))) if trimmed.starts_with(['[', '{']) => value,
        Ok(value @ Value::String(_)) if trimmed.starts_with(['"', '\'']) => value,
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn surroundings() -> Surroundings<'static> {
        let variable: &dyn Fn(&str) -> Option<String> = &|name| {
            let value = match name {
                "NAME" => "aws",
                "ROWS" => "100",
                "ON" => "true",
                "YES" => "yes",
                "EMPTY" => "",
                "LIST" => "[\"a\", 1]",
                "JSON" => "{\"a\": 1}",
                "QUOTED" => "\"007\"",
                "NASTY" => "p@ss: \"w#rd\" \\n #x",
                "NESTED" => "${NAME}",
                "odd-name" => "odd",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let file: &dyn Fn(&Path) -> std::io::Result<String> = &|path| match path.to_str() {
            Some("key.pem") => Ok("-----BEGIN X-----\nabc\n-----END X-----\n".to_owned()),
            Some("key.json") => Ok("{\n  \"k\": \"v\"\n}\n".to_owned()),
            Some("one line") => Ok("42\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        Surroundings { variable, file, now: DateTime::from_timestamp(1_614_834_367, 0).unwrap() }
    }

    #[test]
    fn fills_in() {
        let check = |text: &str, expected: Value| assert_eq!(resolve(text, &surroundings()), Ok(expected), "{text}");
        check("a: ${NAME}", json!({"a": "aws"}));
        check("a: \"${NAME}\"", json!({"a": "aws"}));
        check("a: x-${NAME}-y/${ROWS}", json!({"a": "x-aws-y/100"}));
        check("a: ${NAME}${ROWS}", json!({"a": "aws100"}));
        check("a: ${ROWS}", json!({"a": 100}));
        check("a: '${ROWS}'", json!({"a": "100"}));
        check("a: [${ROWS}, ${ON},${NAME}]", json!({"a": [100, true, "aws"]}));
        check("a: {b: ${ROWS}}", json!({"a": {"b": 100}}));
        check("- ${ON}\n- ${EMPTY}\n", json!([true, null]));
        check("a: ${LIST}", json!({"a": ["a", 1]}));
        check("a: ${JSON}", json!({"a": {"a": 1}}));
        check("a: \"${JSON}\"", json!({"a": "{\"a\": 1}"}));
        check("a: ${QUOTED}", json!({"a": "007"}));
        check("a: |\n  ${NAME} and\n  ${ROWS}\n", json!({"a": "aws and\n100\n"}));
        check("${NAME}: 1\n\"${ROWS}\": 2", json!({"aws": 1, "100": 2}));
        check("a: ${file:key.pem}", json!({"a": "-----BEGIN X-----\nabc\n-----END X-----\n"}));
        check("a: \"${file:key.json}\"", json!({"a": "{\n  \"k\": \"v\"\n}\n"}));
        check("a: ${file:one line}", json!({"a": 42}));
        check("a: ${time:now}", json!({"a": "2021-03-04T05:06:07Z"}));
        check("a: ${time:7 days ago|2006-01-02}", json!({"a": "2021-02-25"}));
        check("a: x${odd-name}", json!({"a": "xodd"}));
        check("a: $NAME $$ ${} $", json!({"a": "$NAME $$ ${} $"}));
        check("", json!(null));
    }

    #[test]
    fn booleans_are_those_of_cloudquerys_reader() {
        let check = |text: &str, expected: Value| assert_eq!(resolve(text, &surroundings()), Ok(expected), "{text}");
        check("a: [yes, On, TRUE, y, no, off, False, n]", json!({"a": [true, true, true, true, false, false, false, false]}));
        check("a: ['yes', \"on\", yesterday, norway, none]", json!({"a": ["yes", "on", "yesterday", "norway", "none"]}));
        check("on: 1\nno: 2", json!({"on": 1, "no": 2}));
        check("a: ${YES}", json!({"a": true}));
        check("a: \"${YES}\"", json!({"a": "yes"}));
    }

    #[test]
    fn a_value_can_change_nothing_around_it() {
        let check = |text: &str, expected: Value| assert_eq!(resolve(text, &surroundings()), Ok(expected), "{text}");
        let nasty = "p@ss: \"w#rd\" \\n #x";
        check("a: ${NASTY}", json!({"a": nasty}));
        check("a: \"${NASTY}\"", json!({"a": nasty}));
        check("a: 'x ${NASTY}'", json!({"a": format!("x {nasty}")}));
        check("a: ${NESTED}", json!({"a": "${NAME}"}));
        check("a: \"${NESTED}\"", json!({"a": "${NAME}"}));
    }

    #[test]
    fn comments_mean_nothing() {
        let check = |text: &str, expected: Value| assert_eq!(resolve(text, &surroundings()), Ok(expected), "{text}");
        check("# ${UNSET}\na: 1 # ${file:nowhere} ${NAME}\n#${NO}", json!({"a": 1}));
    }

    #[test]
    fn a_number_that_looks_like_a_stand_in_is_none() {
        let text = "a: 731600000\nb: ${NAME}\nc: \"73161\"\n";
        let expected = json!({"a": 731_600_000, "b": "aws", "c": "73161"});
        assert_eq!(resolve(text, &surroundings()), Ok(expected));
    }

    #[test]
    fn all_that_cannot_be_found_is_told_of_once() {
        let text = "a: ${UNSET}\nb: [\"x ${UNSET_TOO}\", \"${file:nowhere}\"]\nc: ${time:tomorrow week}\n";
        let errors = resolve(text, &surroundings()).unwrap_err();
        assert_eq!(errors[..2], ["env variable UNSET not found".to_owned(), "env variable UNSET_TOO not found".to_owned()]);
        assert!(errors[2].starts_with("`${file:nowhere}`: ") && errors[3].starts_with("`${time:tomorrow week}`: ") && errors.len() == 4);
    }

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        for text in ["bucket: a\nregion: b\nbucket: c\n", "x:\n  bucket: a\n  bucket: c\n", "{bucket: a, bucket: c}"] {
            let errors = resolve(text, &surroundings()).unwrap_err();
            assert!(
                errors.len() == 1 && errors[0].starts_with("not a YAML document: the key `bucket` is duplicated, again at line "),
                "{errors:?}"
            );
        }
    }

    /// The messages are the YAML parser's own; none mentions its options or types.
    #[test]
    fn no_word_is_meant_for_programmers() {
        for text in [
            "a: 1\na: 2",
            "a: *b",
            "a: &b [*b]",
            "a: !!binary x",
            "!x a: b",
            "<<: 1",
            "a: [",
            "? [a]\n: b",
            "- a: 1\n  a: 2",
            "a: \"\\q\"",
            "%TAG x",
            "a\0b: 1",
        ] {
            for error in resolve(text, &surroundings()).err().unwrap_or_default() {
                assert!(!["Policy", "Options", "::", "serde"].iter().any(|word| error.contains(word)), "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_yaml_has_a_position_and_no_text() {
        for text in ["a: [secret", "a: \"secret", "a: secret\n b: c\n", "a: 1\na: 2", "a: *secret"] {
            let errors = resolve(text, &surroundings()).unwrap_err();
            assert!(errors.len() == 1 && errors[0].starts_with("not a YAML document: ") && errors[0].contains("line"), "{errors:?}");
            // An alias is a name, not a value.
            assert!(!errors[0].contains("secret") || text.contains('*'), "{errors:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_resolved_or_refused(text in "(a|: |\\$\\{|\\}|NAME|ROWS|\"|'|\n|- |#|7316|0|é|\\|){0,24}") {
            let _ = resolve(&text, &surroundings());
        }

        #[test]
        fn any_value_comes_out_of_quotes_as_it_went_in(value in "\\PC{0,20}") {
            let variable: &dyn Fn(&str) -> Option<String> = &|_| Some(value.clone());
            let resolved = resolve("a: \"<${X}>\"", &Surroundings { variable, ..surroundings() });
            prop_assert_eq!(resolved, Ok(json!({"a": format!("<{value}>")})));
        }
    }
}
