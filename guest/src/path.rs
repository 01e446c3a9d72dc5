//! The path template and the object keys it renders.
//!
//! A [`PathTemplate`] is parsed once, into literals and placeholders; rendering walks over them, so a substituted value is never expanded
//! again, whatever it looks like. A rendered key is well formed or refused: no leading slash, no empty, `.` or `..` segment, no control
//! character, at most [`MAX_KEY_BYTES`] bytes. Names of tables are untrusted input, so the refusal names the table and the rule.

use crate::calendar::CivilTime;
use crate::excerpt::quoted;
use crate::host::WallTime;
use crate::limits::MAX_KEY_BYTES;
use std::fmt;

/// A path, parsed once. A substituted value is never expanded again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

/// What one object's key is made of, beside the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyContext<'a> {
    /// `{{TABLE}}`, and with hyphens for underscores `{{TABLE_HYPHEN}}`.
    pub table: &'a str,
    /// `{{FORMAT}}`: `csv`, `csv.gz` …
    pub format_extension: &'a str,
    /// `{{UUID}}`, as text.
    pub uuid: &'a str,
    /// `{{SYNC_ID}}`.
    pub sync_id: &'a str,
    /// `{{YEAR}}` to `{{MINUTE}}`, in UTC.
    pub time: WallTime,
    /// `{{COMMIT_ID}}`.
    pub commit_id: &'a str,
    /// `{{SEQ}}`: the object's number among those of its table and partition, from 1.
    pub sequence: u64,
    /// `{{SHARD}}`: which part of the sync this is, from 1.
    pub shard: u32,
}

/// A key that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// The table whose key it would have been.
    pub table: String,
    /// The rule it breaks.
    pub rule: KeyRule,
}

/// What a key must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRule {
    /// It begins with a slash.
    LeadingSlash,
    /// It has two slashes in a row, ends in one, or is empty.
    EmptySegment,
    /// A segment is `.` or `..`.
    DotSegment,
    /// It has a control character.
    ControlCharacter,
    /// It is longer than the store takes.
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// What is wrong with a path as written. The texts are the reference's where it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// It is empty or missing.
    #[error("`path` is required")]
    Missing,
    /// It begins with a slash.
    #[error("`path` should not start with a \"/\"")]
    Absolute,
    /// It has an empty, `.` or `..` segment.
    #[error("`path` should not contain relative paths or duplicate slashes")]
    NotClean,
    /// It has a control character.
    #[error("`path` should not contain control characters")]
    ControlCharacter,
    /// Its fixed text alone is longer than a key may be.
    #[error("`path` has {0} bytes of fixed text; an object key has at most {MAX_KEY_BYTES}")]
    TooLong(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Placeholder(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    Table,
    TableHyphen,
    Format,
    Uuid,
    SyncId,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    CommitId,
    Sequence,
    Shard,
}

/// As written in a path. Anything else between braces is fixed text, as in the reference.
pub(crate) const PLACEHOLDERS: [(&str, Placeholder); 13] = [
    ("{{TABLE}}", Placeholder::Table),
    ("{{TABLE_HYPHEN}}", Placeholder::TableHyphen),
    ("{{FORMAT}}", Placeholder::Format),
    ("{{UUID}}", Placeholder::Uuid),
    ("{{SYNC_ID}}", Placeholder::SyncId),
    ("{{YEAR}}", Placeholder::Year),
    ("{{MONTH}}", Placeholder::Month),
    ("{{DAY}}", Placeholder::Day),
    ("{{HOUR}}", Placeholder::Hour),
    ("{{MINUTE}}", Placeholder::Minute),
    ("{{COMMIT_ID}}", Placeholder::CommitId),
    ("{{SEQ}}", Placeholder::Sequence),
    ("{{SHARD}}", Placeholder::Shard),
];

impl PathTemplate {
    /// Parses a path.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of [`PathProblem`].
    pub fn parse(text: &str) -> Result<Self, Vec<PathProblem>> {
        let segments = split(text);
        let problems = problems_of(text, &segments);
        if problems.is_empty() { Ok(Self { text: text.to_owned(), segments }) } else { Err(problems) }
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Does each object get a name of its own (`{{UUID}}`)?
    pub fn has_uuid(&self) -> bool {
        self.has(Placeholder::Uuid)
    }

    /// Does a key name its table (`{{TABLE}}`; `{{TABLE_HYPHEN}}` does not count)?
    pub fn has_table(&self) -> bool {
        self.has(Placeholder::Table)
    }

    /// Does a key name its table with hyphens (`{{TABLE_HYPHEN}}`)?
    pub fn has_table_hyphen(&self) -> bool {
        self.has(Placeholder::TableHyphen)
    }

    /// Does a key name its sync (`{{SYNC_ID}}`)?
    pub fn has_sync_id(&self) -> bool {
        self.has(Placeholder::SyncId)
    }

    /// Does a key name its commit (`{{COMMIT_ID}}`)?
    pub fn has_commit_id(&self) -> bool {
        self.has(Placeholder::CommitId)
    }

    /// Are the objects of a table numbered (`{{SEQ}}`)?
    pub fn has_sequence(&self) -> bool {
        self.has(Placeholder::Sequence)
    }

    /// Do keys depend on the clock?
    pub fn has_clock(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Placeholder(placeholder) if placeholder.is_clock()))
    }

    /// May the objects of a table have keys of their own (`{{UUID}}` or `{{SEQ}}`)?
    pub fn tells_objects_apart(&self) -> bool {
        self.has_uuid() || self.has_sequence()
    }

    /// The folder that is the same for all objects: the fixed text up to the last slash before any placeholder. Empty, or with a slash at its
    /// end.
    pub fn fixed_folder(&self) -> &str {
        let fixed = match self.segments.first() {
            Some(Segment::Literal(text)) => text.as_str(),
            _ => "",
        };
        fixed.get(..fixed.rfind('/').map_or(0, |slash| slash + 1)).unwrap_or_default()
    }

    /// The folder that is the same for all objects of a table in a commit: up to the last slash before what tells objects apart, be it a
    /// placeholder or the time. Empty, or with a slash at its end.
    ///
    /// # Errors
    /// [`KeyError`] if no key below it would be valid.
    pub fn table_folder(&self, context: &KeyContext<'_>) -> Result<String, KeyError> {
        let time = CivilTime::from_unix_seconds(context.time.seconds);
        let mut folder = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => folder.push_str(text),
                Segment::Placeholder(Placeholder::Uuid | Placeholder::Sequence) => break,
                Segment::Placeholder(placeholder) if placeholder.is_clock() => break,
                Segment::Placeholder(placeholder) => placeholder.substitute(context, &time, &mut folder),
            }
        }
        folder.truncate(folder.rfind('/').map_or(0, |slash| slash + 1));
        match folder.strip_suffix('/').and_then(broken_rule) {
            None => Ok(folder),
            Some(rule) => Err(KeyError { table: context.table.to_owned(), rule }),
        }
    }

    /// Makes one object's key.
    ///
    /// # Errors
    /// [`KeyError`] if the key would break a rule.
    pub fn render(&self, context: &KeyContext<'_>) -> Result<String, KeyError> {
        let mut key = String::with_capacity(self.text.len() + context.table.len());
        let time = CivilTime::from_unix_seconds(context.time.seconds);
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => key.push_str(text),
                Segment::Placeholder(placeholder) => placeholder.substitute(context, &time, &mut key),
            }
        }
        match broken_rule(&key) {
            None => Ok(key),
            Some(rule) => Err(KeyError { table: context.table.to_owned(), rule }),
        }
    }

    fn has(&self, wanted: Placeholder) -> bool {
        self.segments.contains(&Segment::Placeholder(wanted))
    }
}

impl Placeholder {
    fn substitute(self, context: &KeyContext<'_>, time: &CivilTime, key: &mut String) {
        match self {
            Self::Table => key.push_str(context.table),
            Self::TableHyphen => key.extend(context.table.chars().map(|c| if c == '_' { '-' } else { c })),
            Self::Format => key.push_str(context.format_extension),
            Self::Uuid => key.push_str(context.uuid),
            Self::SyncId => key.push_str(context.sync_id),
            Self::Year => key.push_str(&format!("{:04}", time.date.year)),
            Self::Month => key.push_str(&format!("{:02}", time.date.month)),
            Self::Day => key.push_str(&format!("{:02}", time.date.day)),
            Self::Hour => key.push_str(&format!("{:02}", time.hour)),
            Self::Minute => key.push_str(&format!("{:02}", time.minute)),
            Self::CommitId => key.push_str(context.commit_id),
            Self::Sequence => key.push_str(&format!("{:06}", context.sequence)),
            Self::Shard => key.push_str(&context.shard.to_string()),
        }
    }

    fn is_clock(self) -> bool {
        matches!(self, Self::Year | Self::Month | Self::Day | Self::Hour | Self::Minute)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} cannot be an object: its key {}", quoted(&self.table), self.rule)
    }
}

impl std::error::Error for KeyError {}

impl fmt::Display for KeyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeadingSlash => f.write_str("would start with a \"/\""),
            Self::EmptySegment => f.write_str("would have an empty segment (two slashes in a row, or one at the end)"),
            Self::DotSegment => f.write_str("would have a \".\" or \"..\" segment"),
            Self::ControlCharacter => f.write_str("would have a control character"),
            Self::TooLong { bytes } => write!(f, "would have {bytes} bytes; at most {MAX_KEY_BYTES} are possible"),
        }
    }
}

/// Cuts a path at its placeholders. Leftmost first: `{{{TABLE}}}` is a table between single braces.
fn split(text: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((after, placeholder)) = PLACEHOLDERS.iter().find_map(|(name, it)| Some((rest.strip_prefix(name)?, *it))) {
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal)));
            }
            segments.push(Segment::Placeholder(placeholder));
            rest = after;
        } else {
            literal.push(first);
            rest = rest.strip_prefix(first).unwrap_or_default();
        }
    }
    if !literal.is_empty() {
        segments.push(Segment::Literal(literal));
    }
    segments
}

fn problems_of(text: &str, segments: &[Segment]) -> Vec<PathProblem> {
    if text.is_empty() {
        return vec![PathProblem::Missing];
    }
    let relative = text.strip_prefix('/');
    let fixed_bytes = segments.iter().map(|it| if let Segment::Literal(text) = it { text.len() } else { 0 }).sum();
    let found = [
        (relative.is_some(), PathProblem::Absolute),
        // Stricter than Go's `path.Clean`, which leaves a leading `..` alone: no key may have one.
        (relative != Some("") && relative.unwrap_or(text).split('/').any(|it| matches!(it, "" | "." | "..")), PathProblem::NotClean),
        (text.chars().any(char::is_control), PathProblem::ControlCharacter),
        (fixed_bytes > MAX_KEY_BYTES, PathProblem::TooLong(fixed_bytes)),
    ];
    found.into_iter().filter_map(|(broken, problem)| broken.then_some(problem)).collect()
}

/// The first rule that a key breaks.
fn broken_rule(key: &str) -> Option<KeyRule> {
    if key.len() > MAX_KEY_BYTES {
        return Some(KeyRule::TooLong { bytes: key.len() });
    }
    if key.starts_with('/') {
        return Some(KeyRule::LeadingSlash);
    }
    if key.chars().any(char::is_control) {
        return Some(KeyRule::ControlCharacter);
    }
    key.split('/').find_map(|segment| match segment {
        "" => Some(KeyRule::EmptySegment),
        "." | ".." => Some(KeyRule::DotSegment),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "6f1c3b52-0000-4000-8000-0123456789ab";

    /// 2021-03-04T05:06:07Z.
    const TIME: WallTime = WallTime { seconds: 1_614_834_367, nanoseconds: 999_999_999 };

    fn context(table: &str) -> KeyContext<'_> {
        KeyContext {
            table,
            format_extension: "csv.gz",
            uuid: UUID,
            sync_id: "sync-1",
            time: TIME,
            commit_id: "commit-1",
            sequence: 7,
            shard: 2,
        }
    }

    fn template(path: &str) -> PathTemplate {
        PathTemplate::parse(path).unwrap_or_else(|problems| panic!("{path}: {problems:?}"))
    }

    #[test]
    fn renders() {
        let check = |path: &str, table: &str, expected: &str| {
            assert_eq!(template(path).render(&context(table)).as_deref(), Ok(expected), "{path} with {table}");
        };
        check("a/{{TABLE}}.{{FORMAT}}", "t", "a/t.csv.gz");
        check("{{TABLE_HYPHEN}}/{{TABLE}}", "my_long_table", "my-long-table/my_long_table");
        check("{{TABLE}}/{{TABLE_HYPHEN}}", "a.b_c/d", "a.b_c/d/a.b-c/d");
        check("{{TABLE}}/{{UUID}}-{{UUID}}", "t", &format!("t/{UUID}-{UUID}"));
        check("{{SYNC_ID}}/{{TABLE}}", "t", "sync-1/t");
        check("{{YEAR}}/{{MONTH}}/{{DAY}}/{{HOUR}}/{{MINUTE}}", "t", "2021/03/04/05/06");
        check("{{COMMIT_ID}}/{{TABLE}}/{{SHARD}}-{{SEQ}}.{{FORMAT}}", "t", "commit-1/t/2-000007.csv.gz");
        check("{{{TABLE}}}", "t", "{t}");
        check("{{table}}/{{NOPE}}/{{ TABLE }}/{{TABLE", "t", "{{table}}/{{NOPE}}/{{ TABLE }}/{{TABLE");
        check("é/{{TABLE}}/日", "ü", "é/ü/日");
        // Dots are only special as whole segments.
        check("..a/b../.../{{TABLE}}", ".hidden", "..a/b../.../.hidden");
    }

    #[test]
    fn folders_end_before_what_tells_objects_apart() {
        let check = |path: &str, fixed: &str, of_table: &str| {
            let template = template(path);
            assert_eq!((template.fixed_folder(), template.table_folder(&context("t")).as_deref()), (fixed, Ok(of_table)), "{path}");
        };
        check("raw/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}.csv", "raw/", "raw/t/commit-1/");
        check("raw/{{TABLE}}.{{UUID}}.csv", "raw/", "raw/");
        check("{{TABLE}}/{{YEAR}}/{{SEQ}}", "", "t/");
        check("a/b-{{TABLE}}/x", "a/", "a/b-t/");
        check("{{TABLE}}.csv", "", "");
        check("a/b/fixed", "a/b/", "a/b/");
        assert!(template("x/{{TABLE}}/{{UUID}}").table_folder(&context("..")).is_err());
    }

    #[test]
    fn a_substituted_value_is_never_expanded_again() {
        let check = |table: &str| {
            assert_eq!(template("x/{{TABLE}}/{{FORMAT}}").render(&context(table)), Ok(format!("x/{table}/csv.gz")));
        };
        check("{{FORMAT}}");
        check("{{TABLE}}");
        check("{{UUID}}{{YEAR}}");
        // A placeholder that only comes about by substitution stays text too.
        assert_eq!(template("x/{{{{TABLE}}}}").render(&context("UUID")), Ok("x/{{UUID}}".to_owned()));
    }

    #[test]
    fn refuses_keys_by_table_and_rule() {
        let check = |table: &str, rule: KeyRule, message: &str| {
            let error = template("{{TABLE}}/f").render(&context(table)).expect_err(table);
            assert_eq!(error, KeyError { table: table.to_owned(), rule });
            assert_eq!(error.to_string(), message);
        };
        let dots = "would have a \".\" or \"..\" segment";
        let empty = "would have an empty segment (two slashes in a row, or one at the end)";
        check("../../x", KeyRule::DotSegment, &format!("table \"../../x\" cannot be an object: its key {dots}"));
        check(".", KeyRule::DotSegment, &format!("table \".\" cannot be an object: its key {dots}"));
        check("a/..", KeyRule::DotSegment, &format!("table \"a/..\" cannot be an object: its key {dots}"));
        check("/a", KeyRule::LeadingSlash, "table \"/a\" cannot be an object: its key would start with a \"/\"");
        check("", KeyRule::LeadingSlash, "table \"\" cannot be an object: its key would start with a \"/\"");
        check("a//b", KeyRule::EmptySegment, &format!("table \"a//b\" cannot be an object: its key {empty}"));
        check("a/", KeyRule::EmptySegment, &format!("table \"a/\" cannot be an object: its key {empty}"));
        check("a\nb", KeyRule::ControlCharacter, "table \"a\\nb\" cannot be an object: its key would have a control character");
        check("a\u{85}", KeyRule::ControlCharacter, "table \"a\\u{85}\" cannot be an object: its key would have a control character");
        let last = template("x/{{TABLE}}").render(&context("a/")).expect_err("a slash at the end");
        assert_eq!(last.rule, KeyRule::EmptySegment);
    }

    #[test]
    fn the_length_of_a_key_is_bounded_from_both_sides() {
        let path = template("{{TABLE}}");
        let longest = "é".repeat(MAX_KEY_BYTES / 2);
        assert_eq!(path.render(&context(&longest)), Ok(longest.clone()));
        let error = path.render(&context(&format!("{longest}x"))).expect_err("a byte too many");
        assert_eq!(error.rule, KeyRule::TooLong { bytes: MAX_KEY_BYTES + 1 });
        let message = error.to_string();
        let quoted = "é".repeat(120);
        assert_eq!(message, format!("table \"{quoted}\"… cannot be an object: its key would have 1025 bytes; at most 1024 are possible"));
    }

    #[test]
    fn refuses_paths() {
        let check = |path: &str, expected: &[PathProblem]| {
            assert_eq!(PathTemplate::parse(path).err().unwrap_or_default(), expected, "{path}");
        };
        use PathProblem::{Absolute, ControlCharacter, Missing, NotClean, TooLong};
        check("", &[Missing]);
        check("/", &[Absolute]);
        check("/x/{{TABLE}}", &[Absolute]);
        check("//x", &[Absolute, NotClean]);
        check("../x", &[NotClean]);
        check("..", &[NotClean]);
        check(".", &[NotClean]);
        check("./x", &[NotClean]);
        check("a//b", &[NotClean]);
        check("a/../b", &[NotClean]);
        check("a/./b", &[NotClean]);
        check("a/", &[NotClean]);
        check("a\tb", &[ControlCharacter]);
        check("/a//\u{7f}", &[Absolute, NotClean, ControlCharacter]);
        check(&"a".repeat(MAX_KEY_BYTES + 1), &[TooLong(MAX_KEY_BYTES + 1)]);
        check(&format!("{}{{{{TABLE}}}}", "a".repeat(MAX_KEY_BYTES)), &[]);
        check("a/.../b", &[]);
    }

    #[test]
    fn knows_its_placeholders() {
        let check = |path: &str, uuid: bool, table: bool, sync_id: bool| {
            let template = template(path);
            assert_eq!((template.has_uuid(), template.has_table(), template.has_sync_id()), (uuid, table, sync_id), "{path}");
        };
        check("{{TABLE}}/{{UUID}}", true, true, false);
        check("{{TABLE_HYPHEN}}/{{SYNC_ID}}", false, false, true);
        check("{{uuid}}", false, false, false);
    }

    #[test]
    fn the_calendar_holds_at_its_corners() {
        let check = |seconds: u64, expected: &str| {
            let time = WallTime { seconds, nanoseconds: 0 };
            let key = template("{{YEAR}}-{{MONTH}}-{{DAY}} {{HOUR}}.{{MINUTE}}").render(&KeyContext { time, ..context("t") });
            assert_eq!(key.as_deref(), Ok(expected));
        };
        check(0, "1970-01-01 00.00");
        check(951_782_400, "2000-02-29 00.00");
        check(951_868_799, "2000-02-29 23.59");
        check(951_868_800, "2000-03-01 00.00");
        check(4_107_542_399, "2100-02-28 23.59");
        check(4_107_542_400, "2100-03-01 00.00");
        check(253_402_300_800, "10000-01-01 00.00");
        assert!(template("{{YEAR}}").render(&KeyContext { time: WallTime { seconds: u64::MAX, nanoseconds: 0 }, ..context("t") }).is_ok());
    }

    /// The rules once more, written another way.
    fn well_formed(key: &str) -> bool {
        let framed = format!("/{key}/");
        (1..=1_024).contains(&key.len())
            && !framed.contains("//")
            && !framed.contains("/./")
            && !framed.contains("/../")
            && !key.bytes().any(|b| b < 0x20 || b == 0x7f)
            && !key.chars().any(|c| ('\u{80}'..='\u{9f}').contains(&c))
    }

    proptest! {
        #[test]
        fn a_rendered_key_is_well_formed_or_refused(
            path in "(a|b|/|\\.|\\{\\{TABLE\\}\\}|\\{\\{TABLE_HYPHEN\\}\\}|\\{\\{UUID\\}\\}|\\{\\{YEAR\\}\\}|\\{|\\}){1,12}",
            table in "(a|_|/|\\.|\n|é|\\{\\{UUID\\}\\}|\\PC){0,8}",
            seconds in any::<u64>(),
        ) {
            if let Ok(template) = PathTemplate::parse(&path) {
                prop_assert!(well_formed(&path));
                let time = WallTime { seconds, nanoseconds: 0 };
                match template.render(&KeyContext { time, ..context(&table) }) {
                    Ok(key) => prop_assert!(well_formed(&key), "{:?}", key),
                    Err(error) => prop_assert_eq!(error.table, table),
                }
            } else {
                prop_assert!(!well_formed(&path));
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(path in ".{0,40}", table in ".{0,40}") {
            if let Ok(template) = PathTemplate::parse(&path) {
                prop_assert_eq!(template.as_str(), &path);
                if let Ok(key) = template.render(&context(&table)) {
                    prop_assert!(well_formed(&key));
                }
            }
        }
    }
}
