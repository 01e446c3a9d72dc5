//! A JSON object, read the way Go's `encoding/json` reads one into a struct: keys match whatever their case, the last of several wins,
//! `null` is as good as absent. Everything that has the wrong type is collected, so that one reading names every mistake.
//!
//! No error holds more of a spec than the name of a field and the kind of its value.

use super::SpecProblem;
use crate::excerpt::beginning;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// What precedes an error of decoding, in the reference as here.
const UNMARSHAL: &str = "failed to unmarshal s3 spec: ";

/// Bytes of a spec. Real ones have some hundreds; this leaves room and keeps what is read far below the memory of an instance.
const MAX_SPEC_BYTES: usize = 1 << 20;

/// How much of a field's name an error quotes. Names in a spec are a stranger's and may be of any length.
const QUOTED_CHARS: usize = 100;

/// Unknown fields that are told of, for one object. More would say nothing new.
const MAX_UNKNOWN_FIELDS: usize = 50;

/// Letters that a slip of the pen may change, add or drop.
const MAX_SLIPS: usize = 2;

/// A field as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field<T> {
    /// Not there, or `null`.
    Absent,
    /// There, but of a wrong type; a problem says so. Rules pass over it.
    Wrong,
    /// There.
    Given(T),
}

impl<T> Field<T> {
    pub(super) fn given(&self) -> Option<&T> {
        if let Self::Given(value) = self { Some(value) } else { None }
    }

    pub(super) fn map<U>(self, to: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Wrong => Field::Wrong,
            Self::Given(value) => Field::Given(to(value)),
        }
    }

    pub(super) fn into_given(self) -> Option<T> {
        if let Self::Given(value) = self { Some(value) } else { None }
    }

    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl Field<String> {
    /// The text, unless it is empty: an empty text means the same as none wherever the reference reads one.
    pub(super) fn filled(&self) -> Option<&str> {
        self.given().map(String::as_str).filter(|it| !it.is_empty())
    }
}

/// One JSON object on its way into a struct, field by field. What nobody asks for is unknown.
#[derive(Debug)]
pub(super) struct Document {
    /// Dotted, with a dot at the end; empty at the top.
    prefix: String,
    /// Put before the words about a wrong type.
    decoding: &'static str,
    members: Vec<Member>,
    /// The fields there are, as far as they were asked for.
    known: Vec<&'static str>,
}

/// A field that nobody asked for.
pub(super) struct Unknown {
    /// Dotted path.
    pub(super) field: String,
    /// Its last part.
    pub(super) name: String,
    /// The field that it is a slip of the pen for.
    pub(super) meant: Option<&'static str>,
}

#[derive(Debug)]
struct Member {
    name: String,
    value: Box<RawValue>,
    read: bool,
}

impl Document {
    /// Reads a whole spec; nothing at all and `null` are `{}`.
    pub(super) fn parse(json: &str) -> Result<Self, SpecProblem> {
        if json.trim().is_empty() {
            return Ok(Self::empty(""));
        }
        let refused = |words: String| SpecProblem { field: String::new(), message: format!("{UNMARSHAL}{words}") };
        if json.len() > MAX_SPEC_BYTES {
            return Err(refused(format!("the spec has {} bytes; at most {MAX_SPEC_BYTES} are possible", json.len())));
        }
        let raw: Box<RawValue> = serde_json::from_str(json).map_err(|error| refused(error.to_string()))?;
        match Kind::of(&raw) {
            Kind::Null => Ok(Self::empty("")),
            Kind::Object => Self::of(&raw, "").map_err(refused),
            kind => Err(refused(format!("the spec must be an object, not {kind}"))),
        }
    }

    /// Without the prefix that decoding errors have: `format_spec` is decoded later, by other code of the reference.
    pub(super) fn decoded_apart(mut self) -> Self {
        self.decoding = "";
        self
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
        self.read(name, OBJECT, problems, |raw| if Kind::of(raw) == Kind::Object { Self::of(raw, &prefix).ok() } else { None })
    }

    /// What nobody asked for, in the order written.
    pub(super) fn unknown(&self) -> impl Iterator<Item = Unknown> {
        self.members.iter().filter(|it| !it.read).take(MAX_UNKNOWN_FIELDS).map(|it| {
            let name = preview(&it.name);
            let meant = self.known.iter().copied().find(|known| is_slip_of(&it.name, known));
            Unknown { field: format!("{}{name}", self.prefix), name, meant }
        })
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
        let Some(raw) = last else { return Field::Absent };
        let kind = Kind::of(raw);
        if kind == Kind::Null {
            return Field::Absent;
        }
        if let Some(value) = decode(raw) {
            return Field::Given(value);
        }
        let field = format!("{}{name}", self.prefix);
        let found = if kind == wanted.kind { wanted.flaw.to_owned() } else { kind.to_string() };
        problems.push(SpecProblem { message: format!("{}`{field}` must be {}, not {found}", self.decoding, wanted.words), field });
        Field::Wrong
    }

    fn empty(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), decoding: UNMARSHAL, members: Vec::new(), known: Vec::new() }
    }

    fn of(raw: &RawValue, prefix: &str) -> Result<Self, String> {
        let Members(members) = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        Ok(Self { members, ..Self::empty(prefix) })
    }
}

/// What a field is to hold.
#[derive(Clone, Copy)]
struct Wanted {
    kind: Kind,
    words: &'static str,
    /// What a value of the right kind has that could still not be read.
    flaw: &'static str,
}

const STRING: Wanted = Wanted { kind: Kind::String, words: "a string", flaw: "one with half a surrogate pair" };
const BOOLEAN: Wanted = Wanted { kind: Kind::Bool, words: "true or false", flaw: "another word" };
const INTEGER: Wanted =
    Wanted { kind: Kind::Number, words: "a whole number", flaw: "one with a fraction, an exponent or more than 64 bits" };
const OBJECT: Wanted = Wanted { kind: Kind::Object, words: "an object", flaw: "one with half a surrogate pair in a name" };

/// A problem of decoding one field, in the words of the caller.
pub(super) fn undecodable(field: &str, words: &str) -> SpecProblem {
    SpecProblem { field: field.to_owned(), message: format!("{UNMARSHAL}`{field}`: {words}") }
}

/// The start of a stranger's text, fit for a line of a log.
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
fn is_slip_of(written: &str, name: &str) -> bool {
    if written.len().abs_diff(name.len()) > MAX_SLIPS {
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
    // Three letters are always two slips from three others.
    row[name.len()] <= MAX_SLIPS.min(name.len() / 3)
}

/// What a value is, told by its first byte: the text is known to be JSON.
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
    fn of(raw: &RawValue) -> Self {
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
    fn slips_of_the_pen() {
        let check = |written: &str, name: &str, expected: bool| assert_eq!(is_slip_of(written, name), expected, "{written} for {name}");
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
