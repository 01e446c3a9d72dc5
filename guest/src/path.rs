//! The path template and the object keys it renders.
//!
//! A [`PathTemplate`] is parsed once, into literals and placeholders; rendering walks over them, so a substituted value is never expanded
//! again, whatever it looks like. A rendered key is well formed or refused: no leading slash, no empty, `.` or `..` segment, no control
//! character, at most [`MAX_KEY_BYTES`] bytes. Names of tables are untrusted input, so the refusal names the table and the rule. So are the values
//! that [`crate::partition`] takes from rows: they are escaped, and cannot add a segment.

use crate::calendar::CivilTime;
use crate::excerpt::quoted;
use crate::host::WallTime;
use crate::limits::{MAX_KEY_BYTES, MAX_PARTITION_COLUMN_BYTES, MAX_PARTITION_FIELDS};
use crate::partition::{self, Part, PartitionField};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

/// A path, parsed once. A substituted value is never expanded again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
    /// What it takes from rows, each once, in the order of the path.
    fields: Vec<PartitionField>,
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
    /// `{{SCHEMA}}`: the fingerprint of the table's columns.
    pub schema: u32,
    /// The values of the path's [fields](PathTemplate::partition_fields), in their order; one that is missing or null has the text below.
    pub partition: &'a [Option<Rc<str>>],
    /// What stands in a key for a null.
    pub null_name: &'a str,
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
    /// A placeholder that takes its text from a column names none.
    #[error("`path` has {0} without the name of a column, without braces, and }}}}}} after it")]
    NoColumn(&'static str),
    /// More values of rows than a partition may have.
    #[error("`path` takes {0} values from rows; at most {MAX_PARTITION_FIELDS} are possible")]
    TooManyFields(usize),
    /// Two values have one name.
    #[error("`path` gives two values of rows the same name; put `name=` in front of one of them")]
    SameName,
    /// Two partitions could have one key, and one would take the place of the other.
    #[error(
        "`path` should have a \"/\" between {{{{COLUMN:…}}}} and other placeholders, or {{{{UUID}}}}: else two partitions can have the same key"
    )]
    Ambiguous,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Placeholder(Placeholder),
    /// A value of the rows: the field with this number.
    Field(usize),
    /// The value of one of Hive's folders `name=value/`, which is made of values of the rows. The name and `=` are in the text before.
    Folder(Folder),
}

/// A value of Hive's, made of values of the rows. If all of these are null, so is it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    name: String,
    /// Literals and fields alone.
    parts: Vec<Segment>,
}

impl Folder {
    /// The value: unescaped, or as it is in a key.
    fn value(&self, values: &[Option<Rc<str>>], null_name: &str, is_escaped: bool) -> Option<String> {
        let (mut text, mut is_null) = (String::new(), true);
        for part in &self.parts {
            match part {
                Segment::Literal(literal) => text.push_str(literal),
                Segment::Field(field) => {
                    let value = values.get(*field).and_then(Option::as_deref);
                    is_null &= value.is_none();
                    if is_escaped {
                        partition::push_escaped(&mut text, value, null_name);
                    } else {
                        text.push_str(value.unwrap_or(null_name));
                    }
                }
                Segment::Placeholder(_) | Segment::Folder(_) => {}
            }
        }
        (!is_null).then_some(text)
    }
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
    Schema,
}

/// As written in a path. Anything else between braces is fixed text, as in the reference.
pub(crate) const PLACEHOLDERS: [(&str, Placeholder); 14] = [
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
    ("{{SCHEMA}}", Placeholder::Schema),
];

impl PathTemplate {
    /// Parses a path.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of [`PathProblem`].
    pub fn parse(text: &str) -> Result<Self, Vec<PathProblem>> {
        let Split { segments, fields, unnamed } = Split::parse(text);
        let mut problems = problems_of(text, &segments);
        problems.extend(unnamed.map(PathProblem::NoColumn));
        if fields.len() > MAX_PARTITION_FIELDS {
            problems.push(PathProblem::TooManyFields(fields.len()));
        }
        let path = Self { text: text.to_owned(), segments, fields };
        let mut names: Vec<String> = path.partition(&[], "").into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            problems.push(PathProblem::SameName);
        }
        if path.is_ambiguous() {
            problems.push(PathProblem::Ambiguous);
        }
        if problems.is_empty() { Ok(path) } else { Err(problems) }
    }

    /// What keys take from rows (`{{COLUMN:name}}`, `{{YEAR:name}}` …): each value once, in the order of the path. A table's rows that differ
    /// in one of them are in different objects.
    pub fn partition_fields(&self) -> &[PartitionField] {
        &self.fields
    }

    /// What a partition is called in manifests and catalogs: the name and value of each of Hive's folders, and of each value that is in none of them.
    pub fn partition(&self, values: &[Option<Rc<str>>], null_name: &str) -> Vec<(String, Option<String>)> {
        let mut named = Vec::new();
        let mut is_in_folder = vec![false; self.fields.len()];
        for folder in self.segments.iter().filter_map(|segment| if let Segment::Folder(folder) = segment { Some(folder) } else { None }) {
            named.push((folder.name.clone(), folder.value(values, null_name, false)));
            for part in &folder.parts {
                if let Segment::Field(field) = part
                    && let Some(known) = is_in_folder.get_mut(*field)
                {
                    *known = true;
                }
            }
        }
        let others = self.fields.iter().enumerate().filter(|(at, _)| is_in_folder.get(*at) == Some(&false));
        named.extend(others.map(|(at, field)| (field.name(), values.get(at).and_then(Option::as_deref).map(str::to_owned))));
        named
    }

    /// Could two partitions have one key? A value never has a slash or another of the characters that are escaped, so between two of those it can
    /// be told from what is beside it only if that does not vary.
    fn is_ambiguous(&self) -> bool {
        if self.has_uuid() {
            return false;
        }
        let (mut values, mut varying) = (0, 0);
        let in_folders = self.segments.iter().flat_map(|segment| match segment {
            Segment::Folder(folder) => folder.parts.as_slice(),
            other => std::slice::from_ref(other),
        });
        for segment in in_folders {
            match segment {
                Segment::Literal(text) if text.chars().any(partition::is_escaped) => (values, varying) = (0, 0),
                Segment::Literal(_) | Segment::Folder(_) => {}
                Segment::Placeholder(placeholder) => varying += usize::from(placeholder.varies()),
                Segment::Field(field) => {
                    varying += 1;
                    values += usize::from(self.fields.get(*field).is_some_and(|field| field.part == Part::Value));
                }
            }
            if values > 0 && varying > 1 {
                return true;
            }
        }
        false
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

    /// Do keys name the columns of their table (`{{SCHEMA}}`)?
    pub fn has_schema(&self) -> bool {
        self.has(Placeholder::Schema)
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
    /// placeholder, a value of their rows or the time. Empty, or with a slash at its end.
    ///
    /// # Errors
    /// [`KeyError`] if no key below it would be valid.
    pub fn table_folder(&self, context: &KeyContext<'_>) -> Result<String, KeyError> {
        let time = CivilTime::from_unix_seconds(context.time.seconds);
        let mut folder = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => folder.push_str(text),
                Segment::Placeholder(Placeholder::Uuid | Placeholder::Sequence | Placeholder::Schema) => break,
                Segment::Placeholder(placeholder) if placeholder.is_clock() => break,
                Segment::Field(_) | Segment::Folder(_) => break,
                Segment::Placeholder(placeholder) => placeholder.substitute(context, &time, &mut folder),
            }
        }
        folder.truncate(folder.rfind('/').map_or(0, |slash| slash + 1));
        match folder.strip_suffix('/').and_then(broken_rule) {
            None => Ok(folder),
            Some(rule) => Err(KeyError { table: context.table.to_owned(), rule }),
        }
    }

    /// The beginning of the path that is the folder of each table of a catalog, without the slash that ends it: the segments up to the one with
    /// `{{TABLE}}`. [`None`]: another placeholder stands before its end, or nothing comes after it.
    pub fn catalog_folder(&self) -> Option<String> {
        let (mut folder, mut has_table) = (String::new(), false);
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => match text.find('/').filter(|_| has_table) {
                    Some(end) => {
                        folder.push_str(text.get(..end)?);
                        return Some(folder);
                    }
                    None => folder.push_str(text),
                },
                Segment::Placeholder(Placeholder::Table) => {
                    has_table = true;
                    folder.push_str("{{TABLE}}");
                }
                Segment::Placeholder(_) | Segment::Field(_) | Segment::Folder(_) => return None,
            }
        }
        None
    }

    /// The values that a partition has, one for each of the [fields](Self::partition_fields), by the names of the fields.
    pub fn partition_of_fields(&self, values: &[Option<Rc<str>>]) -> Vec<(String, Option<String>)> {
        let value = |at: usize| values.get(at).and_then(Option::as_deref).map(str::to_owned);
        self.fields.iter().enumerate().map(|(at, field)| (field.name(), value(at))).collect()
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
                Segment::Field(field) => {
                    let value = context.partition.get(*field).and_then(Option::as_deref);
                    partition::push_escaped(&mut key, value, context.null_name);
                }
                Segment::Folder(folder) => {
                    let value = folder.value(context.partition, context.null_name, true);
                    key.push_str(value.as_deref().unwrap_or(context.null_name));
                }
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
    /// Appends the text that it stands for.
    pub(crate) fn substitute(self, context: &KeyContext<'_>, time: &CivilTime, key: &mut String) {
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
            Self::Schema => key.push_str(&format!("{:08x}", context.schema)),
        }
    }

    /// Does it stand for a part of a time?
    pub(crate) fn is_clock(self) -> bool {
        matches!(self, Self::Year | Self::Month | Self::Day | Self::Hour | Self::Minute)
    }

    /// May it stand for different texts within a sync?
    fn varies(self) -> bool {
        matches!(self, Self::Table | Self::TableHyphen | Self::Uuid | Self::Sequence | Self::Schema) || self.is_clock()
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

/// A path, cut at its placeholders.
#[derive(Default)]
struct Split {
    segments: Vec<Segment>,
    fields: Vec<PartitionField>,
    /// The first placeholder of a column that names none.
    unnamed: Option<&'static str>,
}

impl Split {
    /// Leftmost first: `{{{TABLE}}}` is a table between single braces.
    fn parse(text: &str) -> Self {
        let mut split = Self::default();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((after, segment)) = split.placeholder(rest) {
                if !literal.is_empty() {
                    split.segments.push(Segment::Literal(std::mem::take(&mut literal)));
                }
                split.segments.push(segment);
                rest = after;
            } else {
                literal.push(first);
                rest = rest.strip_prefix(first).unwrap_or_default();
            }
        }
        if !literal.is_empty() {
            split.segments.push(Segment::Literal(literal));
        }
        split.segments = with_folders(split.segments);
        split
    }

    /// The placeholder that a text begins with, and what is after it.
    fn placeholder<'a>(&mut self, text: &'a str) -> Option<(&'a str, Segment)> {
        if let Some((after, placeholder)) = PLACEHOLDERS.iter().find_map(|(name, it)| Some((text.strip_prefix(name)?, *it))) {
            return Some((after, Segment::Placeholder(placeholder)));
        }
        let (inside, prefix, part) =
            partition::PARTS.iter().find_map(|(prefix, part)| Some((text.strip_prefix(prefix)?, *prefix, *part)))?;
        let Some((column, after)) = inside.split_once("}}").filter(|(column, _)| is_column(column)) else {
            self.unnamed.get_or_insert(prefix);
            return None;
        };
        let field = PartitionField { column: column.to_owned(), part };
        let known = self.fields.iter().position(|it| *it == field);
        let number = known.unwrap_or_else(|| {
            self.fields.push(field);
            self.fields.len() - 1
        });
        Some((after, Segment::Field(number)))
    }
}

/// Finds Hive's folders: `name=`, values of rows and fixed text, and a slash. Hive knows names in lower case alone, and finds no others again: so
/// they become.
fn with_folders(segments: Vec<Segment>) -> Vec<Segment> {
    let mut found: Vec<Segment> = Vec::with_capacity(segments.len());
    let mut segments = VecDeque::from(segments);
    while let Some(segment) = segments.pop_front() {
        let name = match (&segment, segments.front()) {
            (Segment::Literal(text), Some(Segment::Field(_))) => hive_name(text, found.is_empty()),
            _ => None,
        };
        let length = name.as_ref().and_then(|_| folder_length(&segments));
        let (Segment::Literal(text), Some((start, name)), Some(length)) = (&segment, name, length) else {
            found.push(segment);
            continue;
        };
        let mut parts: Vec<Segment> = segments.drain(..length).collect();
        // What ends the folder begins with its last text, and may end with the name of the next.
        if let Some(Segment::Literal(end)) = segments.front_mut() {
            let next = end.split_off(end.find('/').unwrap_or_default());
            let last = std::mem::replace(end, next);
            parts.extend((!last.is_empty()).then_some(Segment::Literal(last)));
        }
        found.push(Segment::Literal(format!("{}{name}=", text.get(..start).unwrap_or_default())));
        found.push(Segment::Folder(Folder { name, parts }));
    }
    found
}

/// How many values and texts the folder has before a text with a slash ends it. [`None`]: something else is in it, or it is the object's own name.
fn folder_length(segments: &VecDeque<Segment>) -> Option<usize> {
    let length = segments.iter().position(|segment| match segment {
        Segment::Literal(text) => text.contains('/'),
        Segment::Placeholder(_) | Segment::Folder(_) => true,
        Segment::Field(_) => false,
    })?;
    matches!(segments.get(length), Some(Segment::Literal(_))).then_some(length)
}

/// The name of one of Hive's folders that a text ends with, in lower case, and where it begins.
fn hive_name(text: &str, is_first: bool) -> Option<(usize, String)> {
    let start = match text.rfind('/') {
        Some(slash) => slash + 1,
        None if is_first => 0,
        None => return None,
    };
    let name = text.get(start..)?.strip_suffix('=').filter(|name| !name.is_empty())?;
    Some((start, name.to_lowercase()))
}

/// A name that can stand in a placeholder.
fn is_column(name: &str) -> bool {
    (1..=MAX_PARTITION_COLUMN_BYTES).contains(&name.len()) && !name.contains(['{', '}'])
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
            schema: 0xbeef,
            partition: &[],
            null_name: "NULL",
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
        check("{{TABLE}}/{{SCHEMA}}", "t", "t/0000beef");
        check("{{{TABLE}}}", "t", "{t}");
        check("{{table}}/{{NOPE}}/{{ TABLE }}/{{TABLE", "t", "{{table}}/{{NOPE}}/{{ TABLE }}/{{TABLE");
        check("é/{{TABLE}}/日", "ü", "é/ü/日");
        // Dots are only special as whole segments.
        check("..a/b../.../{{TABLE}}", ".hidden", "..a/b../.../.hidden");
    }

    #[test]
    fn values_of_rows_are_escaped_and_named() {
        let check = |path: &str, values: &[Option<&str>], expected: &str, named: &[(&str, Option<&str>)]| {
            let template = template(path);
            let partition: Vec<Option<Rc<str>>> = values.iter().map(|value| value.map(Into::into)).collect();
            let context = KeyContext { partition: &partition, ..context("t") };
            assert_eq!(template.render(&context).as_deref(), Ok(expected), "{path}");
            let named: Vec<_> = named.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
            assert_eq!(template.partition(&partition, "NULL"), named, "{path}");
        };
        check("{{TABLE}}/{{COLUMN:c}}/{{SEQ}}", &[Some("a/b")], "t/a%2Fb/000007", &[("c", Some("a/b"))]);
        check("x/Land={{COLUMN:Land Code}}/{{SEQ}}", &[None], "x/land=NULL/000007", &[("land", None)]);
        // A folder may be made of several values; it is null if all of them are.
        let day = "Day={{YEAR:At}}-{{MONTH:At}}-{{DAY:At}}/x";
        check(day, &[Some("2021"), Some("03"), Some("04")], "day=2021-03-04/x", &[("day", Some("2021-03-04"))]);
        check(day, &[None, None, None], "day=NULL/x", &[("day", None)]);
        let mixed = "d={{YEAR:a}}-{{YEAR:b}}/x";
        check(mixed, &[None, Some("2021")], "d=NULL-2021/x", &[("d", Some("NULL-2021"))]);
        check("{{MONTH:At}}-{{DAY:At}}/x", &[Some("03"), Some("04")], "03-04/x", &[("at_month", Some("03")), ("at_day", Some("04"))]);
        check("a={{COLUMN:a}}/B={{COLUMN:b}}-x/c", &[Some("1"), Some("2")], "a=1/b=2-x/c", &[("a", Some("1")), ("b", Some("2-x"))]);
        // The name of an object is none of a folder, and neither is what follows another placeholder.
        check("A={{TABLE}}B={{COLUMN:C}}.{{UUID}}", &[Some("v")], &format!("A=tB=v.{UUID}"), &[("c", Some("v"))]);
        check("a/B={{COLUMN:C}}.csv", &[Some("v")], "a/B=v.csv", &[("c", Some("v"))]);
        check("={{HOUR:t}}{{MINUTE:t}}/x", &[Some("05"), Some("06")], "=0506/x", &[("t_hour", Some("05")), ("t_minute", Some("06"))]);
        // One value, in two places.
        check("{{COLUMN:c}}/{{COLUMN:c}}", &[Some("v")], "v/v", &[("c", Some("v"))]);
        // A value is never a placeholder, and the folder of a table ends before it.
        check("{{COLUMN:c}}/{{TABLE}}", &[Some("{{TABLE}}")], "%7B%7BTABLE}}/t", &[("c", Some("{{TABLE}}"))]);
        assert_eq!(template("a/{{TABLE}}/{{DAY:t}}/{{SEQ}}").table_folder(&context("t")).as_deref(), Ok("a/t/"));
        assert_eq!(template("a/{{TABLE}}/d={{DAY:t}}/{{SEQ}}").table_folder(&context("t")).as_deref(), Ok("a/t/"));
    }

    #[test]
    fn two_partitions_never_have_one_key() {
        let check = |path: &str, is_ambiguous: bool| {
            let problems = PathTemplate::parse(path).err().unwrap_or_default();
            assert_eq!(problems, if is_ambiguous { vec![PathProblem::Ambiguous] } else { Vec::new() }, "{path}");
        };
        for path in [
            "{{COLUMN:a}}{{COLUMN:b}}",
            "{{COLUMN:a}}-{{COLUMN:b}}",
            "{{TABLE}}_{{COLUMN:a}}",
            "{{COLUMN:a}}.{{SEQ}}",
            "{{COLUMN:a}}{{YEAR:b}}",
        ] {
            check(path, true);
            check(&format!("{path}/{{{{UUID}}}}"), false);
        }
        for path in [
            "{{COLUMN:a}}/{{COLUMN:b}}",
            "{{TABLE}}/a={{COLUMN:a}}.{{FORMAT}}",
            "{{COLUMN:a}}={{COLUMN:b}}",
            "{{YEAR:a}}{{MONTH:a}}-{{DAY:b}}",
        ] {
            check(path, false);
        }
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
        use PathProblem::{Absolute, ControlCharacter, Missing, NoColumn, NotClean, SameName, TooLong, TooManyFields};
        check("{{COLUMN:}}", &[NoColumn("{{COLUMN:")]);
        check("a/{{YEAR:t", &[NoColumn("{{YEAR:")]);
        check("a/{{DAY:{{TABLE}}}}", &[NoColumn("{{DAY:")]);
        check(&format!("{{{{COLUMN:{}}}}}", "n".repeat(MAX_PARTITION_COLUMN_BYTES + 1)), &[NoColumn("{{COLUMN:")]);
        check("x={{COLUMN:a}}/X={{COLUMN:b}}/y", &[SameName]);
        check("{{COLUMN:t_year}}/{{YEAR:t}}", &[SameName]);
        let fields = |count: usize| (0..count).map(|at| format!("{{{{COLUMN:c{at}}}}}")).collect::<Vec<_>>().join("/");
        check(&fields(MAX_PARTITION_FIELDS), &[]);
        check(&fields(MAX_PARTITION_FIELDS + 1), &[TooManyFields(MAX_PARTITION_FIELDS + 1)]);
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
            path in "(a|b|/|\\.|\\{\\{TABLE\\}\\}|\\{\\{TABLE_HYPHEN\\}\\}|\\{\\{UUID\\}\\}|\\{\\{YEAR\\}\\}|\\{\\{COLUMN:c\\}\\}|\\{|\\}){1,12}",
            table in "(a|_|/|\\.|\n|é|\\{\\{UUID\\}\\}|\\PC){0,8}",
            value in prop::option::of("(a|/|\\.|\n|é|\\PC){0,8}"),
            seconds in any::<u64>(),
        ) {
            if let Ok(template) = PathTemplate::parse(&path) {
                prop_assert!(well_formed(&path));
                let time = WallTime { seconds, nanoseconds: 0 };
                let partition = [value.as_deref().map(Into::into)];
                match template.render(&KeyContext { time, partition: &partition, ..context(&table) }) {
                    Ok(key) => prop_assert!(well_formed(&key), "{:?}", key),
                    Err(error) => prop_assert_eq!(error.table, table),
                }
            } else if !path.contains("{{COLUMN:c}}") {
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
