//! A JSON object, read the way Go's `encoding/json` reads one into a struct: keys match whatever their case, the last of several wins,
//! `null` is as good as absent. Everything that has the wrong type is collected, so that one reading names every mistake.
//!
//! No error holds more of a spec than the name of a field and the kind of its value.

use super::problem::SpecProblem;
use crate::excerpt::beginning;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// What precedes an error of decoding, in the reference as here.
const UNMARSHAL: &str = "failed to unmarshal s3 spec: ";

/// Bytes of a spec. Real ones have some hundreds; this leaves room and keeps what is read far below the memory of an instance.
const MAX_SPEC_BYTES: usize = 1 << 20;

/// How much of a field's name an error quotes. Names in a spec are untrusted and may be of any length.
const QUOTED_CHARS: usize = 100;

/// Unknown fields that are reported, for one object. More would not help.
const MAX_UNKNOWN_FIELDS: usize = 50;

/// Letters that a typo may change, add or drop.
const MAX_TYPO_LETTERS: usize = 2;

/// A field as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field<T> {
    /// Not there, or `null`; with its default, if it has one. Rules that look at what was written pass over the default.
    Absent(Option<T>),
    /// There, but of a wrong type, which was reported. Rules ignore it.
    Wrong,
    /// There.
    Given(T),
}

impl<T> Field<T> {
    /// What was written.
    pub(super) fn given(&self) -> Option<&T> {
        if let Self::Given(value) = self { Some(value) } else { None }
    }

    pub(super) fn map<U>(self, to: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Absent(default) => Field::Absent(default.map(to)),
            Self::Wrong => Field::Wrong,
            Self::Given(value) => Field::Given(to(value)),
        }
    }

    /// What was written, or else the default.
    pub(super) fn value(&self) -> Option<&T> {
        match self {
            Self::Given(value) | Self::Absent(Some(value)) => Some(value),
            Self::Absent(None) | Self::Wrong => None,
        }
    }

    pub(super) fn with_default(self, default: Option<T>) -> Self {
        if let Self::Absent(_) = self { Self::Absent(default) } else { self }
    }

    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }
}

impl Field<String> {
    /// The text, unless it is empty: an empty text means the same as none wherever the reference reads one.
    pub(super) fn filled(&self) -> Option<&str> {
        self.given().map(String::as_str).filter(|it| !it.is_empty())
    }

    /// The text or its default, unless it is empty.
    pub(super) fn text(&self) -> Option<String> {
        self.filled().or(self.value().map(String::as_str)).filter(|it| !it.is_empty()).map(str::to_owned)
    }
}

impl Field<bool> {
    /// Is it true, by what was written or by default?
    pub(super) fn is_true(&self) -> bool {
        self.value() == Some(&true)
    }
}

impl Field<i64> {
    /// The number or its default, in the type of where it goes.
    pub(super) fn number<N: TryFrom<i64>>(&self) -> Option<N> {
        self.value().and_then(|it| N::try_from(*it).ok())
    }
}

/// One JSON object on its way into a struct, field by field. What is never asked for is unknown.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// Dotted, with a dot at the end; empty at the top.
    prefix: String,
    /// Precedes what is said about a wrong type.
    decoding: &'static str,
    /// Are unknown fields refused? Otherwise they are warned of and ignored.
    is_strict: bool,
    members: Vec<Member>,
    /// The fields there are, as far as they were asked for.
    known: Vec<&'static str>,
}

#[derive(Debug, Clone)]
struct Member {
    name: String,
    value: Box<RawValue>,
    read: bool,
}

impl Document {
    /// Reads a whole spec; nothing at all and `null` are `{}`.
    pub(super) fn parse(json: &str) -> Result<Self, SpecProblem> {
        if json.trim().is_empty() {
            return Ok(Self::empty());
        }
        let refused = |reason: String| SpecProblem { field: String::new(), message: format!("{UNMARSHAL}{reason}") };
        if json.len() > MAX_SPEC_BYTES {
            return Err(refused(format!("the spec has {} bytes; at most {MAX_SPEC_BYTES} are possible", json.len())));
        }
        let raw: Box<RawValue> = serde_json::from_str(json).map_err(|error| refused(error.to_string()))?;
        match Kind::from_raw(&raw) {
            Kind::Null => Ok(Self::empty()),
            Kind::Object => Self::from_raw(&raw, "").map_err(refused),
            kind => Err(refused(format!("the spec must be an object, not {kind}"))),
        }
    }

    /// As the reference reads `format_spec`, later and by other code: errors have no prefix, and unknown fields are refused.
    pub(super) fn decoded_apart(self) -> Self {
        Self { decoding: "", is_strict: true, ..self }
    }

    pub(super) fn text(&mut self, name: &'static str, problems: &mut Vec<SpecProblem>) -> Field<String> {
        self.read(name, STRING, problems, |raw| serde_json::from_str(raw.get()).ok())
    }

    pub(super) fn flag(&mut self, name: &'static str, problems: &mut Vec<SpecProblem>) -> Field<bool> {
        self.read(name, BOOLEAN, problems, |raw| serde_json::from_str(raw.get()).ok())
    }

    /// A whole number, written as one: like Go, `1e3` and `1.0` are not.
    pub(super) fn integer(&mut self, name: &'static str, problems: &mut Vec<SpecProblem>) -> Field<i64> {
        self.read(name, INTEGER, problems, |raw| raw.get().parse().ok())
    }

    pub(super) fn object(&mut self, name: &'static str, problems: &mut Vec<SpecProblem>) -> Field<Document> {
        let prefix = format!("{}{name}.", self.prefix);
        self.read(name, OBJECT, problems, |raw| if Kind::from_raw(raw) == Kind::Object { Self::from_raw(raw, &prefix).ok() } else { None })
    }

    /// Reports the fields that were not asked for, in the order written. Go ignores fields it does not know. So do we, but not in silence.
    pub(super) fn report_unknown(&self, problems: &mut Vec<SpecProblem>, warnings: &mut Vec<SpecProblem>) {
        for member in self.members.iter().filter(|it| !it.read).take(MAX_UNKNOWN_FIELDS) {
            let name = preview(&member.name);
            let field = format!("{}{name}", self.prefix);
            if self.is_strict {
                problems.push(SpecProblem { field, message: format!("json: unknown field \"{name}\"") });
                continue;
            }
            let meant = self.known.iter().find(|known| is_typo_of(&member.name, known));
            let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            warnings.push(SpecProblem { message: format!("unknown field `{field}`{hint}"), field });
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &'static str, problems: &mut Vec<SpecProblem>) -> Field<Vec<String>> {
        self.read(name, LIST, problems, |raw| serde_json::from_str(raw.get()).ok())
    }

    /// Texts by names of the user's own. Of several values of one name the last counts.
    pub(super) fn pairs(&mut self, name: &'static str, problems: &mut Vec<SpecProblem>) -> Field<BTreeMap<String, String>> {
        self.read(name, PAIRS, problems, |raw| serde_json::from_str(raw.get()).ok())
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        wanted: Wanted,
        problems: &mut Vec<SpecProblem>,
        decode: impl Fn(&RawValue) -> Option<T>,
    ) -> Field<T> {
        self.known.push(name);
        let mut last = None;
        for member in self.members.iter_mut().filter(|it| same_key(&it.name, name)) {
            member.read = true;
            last = Some(&member.value);
        }
        let Some(raw) = last else { return Field::Absent(None) };
        let kind = Kind::from_raw(raw);
        if kind == Kind::Null {
            return Field::Absent(None);
        }
        if let Some(value) = decode(raw) {
            return Field::Given(value);
        }
        let field = format!("{}{name}", self.prefix);
        let found = if kind == wanted.kind { wanted.flaw.to_owned() } else { kind.to_string() };
        problems.push(SpecProblem { message: format!("{}`{field}` must be {}, not {found}", self.decoding, wanted.description), field });
        Field::Wrong
    }

    /// An object without members.
    pub(super) fn empty() -> Self {
        Self { prefix: String::new(), decoding: UNMARSHAL, is_strict: false, members: Vec::new(), known: Vec::new() }
    }

    fn from_raw(raw: &RawValue, prefix: &str) -> Result<Self, String> {
        let Members(members) = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        Ok(Self { prefix: prefix.to_owned(), members, ..Self::empty() })
    }
}

/// What a field has to hold.
#[derive(Clone, Copy)]
struct Wanted {
    kind: Kind,
    description: &'static str,
    /// What a value of the right kind has that could still not be read.
    flaw: &'static str,
}

const STRING: Wanted = Wanted { kind: Kind::String, description: "a string", flaw: "one with half a surrogate pair" };
const BOOLEAN: Wanted = Wanted { kind: Kind::Bool, description: "true or false", flaw: "another word" };
const INTEGER: Wanted =
    Wanted { kind: Kind::Number, description: "a whole number", flaw: "one with a fraction, an exponent or more than 64 bits" };
const LIST: Wanted = Wanted { kind: Kind::Array, description: "a list of strings", flaw: "one with something else in it" };
const OBJECT: Wanted = Wanted { kind: Kind::Object, description: "an object", flaw: "one with half a surrogate pair in a name" };

const PAIRS: Wanted = Wanted { kind: Kind::Object, description: "an object of strings", flaw: "one with something else in it" };

/// A problem of decoding one field.
pub(super) fn undecodable(field: &str, reason: &str) -> SpecProblem {
    SpecProblem { field: field.to_owned(), message: format!("{UNMARSHAL}`{field}`: {reason}") }
}

/// The beginning of an untrusted text, without control characters, for errors and log lines.
pub(super) fn preview(text: &str) -> String {
    beginning(text, QUOTED_CHARS).replace(char::is_control, "\u{fffd}")
}

/// The members of an object in the order written, duplicates included.
struct Members(Vec<Member>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    members.push(Member { name, value, read: false });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Go folds keys by Unicode's simple case folding; these two are the only characters beyond ASCII that fold into it.
fn same_key(written: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    written.chars().map(fold).eq(name.chars())
}

/// Is `written` almost `name`? (Levenshtein's distance, row by row.)
fn is_typo_of(written: &str, name: &str) -> bool {
    if written.len().abs_diff(name.len()) > MAX_TYPO_LETTERS {
        return false;
    }
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (above, from) in written.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (left, to) in name.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    // Any three letters are two changes from three others.
    row[name.len()] <= MAX_TYPO_LETTERS.min(name.len() / 3)
}

/// What a value is, by its first byte: the text is known to be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    fn from_raw(raw: &RawValue) -> Self {
        match raw.get().trim_start().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') | None => Self::Null,
            Some(_) => Self::Number,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_spec_is_bounded_from_both_sides() {
        let spec = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
        assert!(Document::parse(&spec(MAX_SPEC_BYTES)).is_ok());
        let problem = Document::parse(&spec(MAX_SPEC_BYTES + 1)).unwrap_err();
        assert_eq!(problem.message, "failed to unmarshal s3 spec: the spec has 1048577 bytes; at most 1048576 are possible");
    }

    #[test]
    fn keys_match_as_in_go() {
        let check = |written: &str, name: &str, expected: bool| assert_eq!(same_key(written, name), expected, "{written}");
        check("bucket", "bucket", true);
        check("BuCKet", "bucket", true);
        check("buc\u{212a}et", "bucket", true);
        check("u\u{17f}e_path_\u{17f}tyle", "use_path_style", true);
        check("bucket ", "bucket", false);
        check("b\u{fc}cket", "bucket", false);
        check("", "bucket", false);
    }

    #[test]
    fn typos_are_recognised() {
        let check = |written: &str, name: &str, expected: bool| assert_eq!(is_typo_of(written, name), expected, "{written} for {name}");
        check("bukket", "bucket", true);
        check("bucke", "bucket", true);
        check("regoin", "region", true);
        check("batchsize", "batch_size", true);
        check("act", "acl", true);
        check("abc", "acl", false);
        check("x", "acl", false);
        check("prefix", "bucket", false);
        check("\u{fc}", "acl", false);
    }
}
