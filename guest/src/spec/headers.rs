//! Headers of objects: what S3 takes for a storage class, tags, user metadata, locks and accounts. The host checks all of it again.
//!
//! Values of tags and metadata may have placeholders. Those that stand for one text in the whole sync are replaced here; `{{TABLE}}` and
//! `{{TABLE_HYPHEN}}` stay, and the host replaces them for each object, since a target is the same for all of them.

use super::document::{Field, preview};
use super::fields::refuse;
use super::problem::SpecProblem;
use super::raw::{
    LOCK_MODES, MAX_METADATA_BYTES, MAX_STORAGE_CLASS_BYTES, MAX_TAG_KEY_CHARACTERS, MAX_TAG_VALUE_CHARACTERS, MAX_TAGS, RawObjectLock,
    RawSpec,
};
use crate::calendar::CivilTime;
use crate::host::WallTime;
use crate::path::{KeyContext, PLACEHOLDERS, Placeholder};
use std::collections::BTreeMap;

/// What S3 calls its storage classes; other stores have others, of the same form.
const STORAGE_CLASSES: &str = "STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE, REDUCED_REDUNDANCY, \
                               EXPRESS_ONEZONE, OUTPOSTS, SNOW";

/// What tags are made of, in words.
const OF_TAGS: &str = "letters, digits, spaces and + - = . _ : / @";

/// What stands in front of the name of user metadata.
const METADATA_PREFIX: &str = "x-amz-meta-";

/// What the names of our own metadata begin with.
const OWN_METADATA: &str = "lakegate-";

pub(super) fn storage_class(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let good = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_class = |name: &str| name.len() <= MAX_STORAGE_CLASS_BYTES && name.bytes().all(good);
    if let Some(name) = raw.storage_class.filled().filter(|name| !is_class(name)) {
        let wanted = format!("A storage class is made of capital letters, digits and _, such as {STORAGE_CLASSES}");
        refuse(problems, "storage_class", format!("invalid `storage_class` value: {}. {wanted}", preview(name)));
    }
}

pub(super) fn tags(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let Some(tags) = raw.tags.given() else { return };
    if tags.len() > MAX_TAGS {
        refuse(problems, "tags", format!("`tags` has {} tags; an object can have {MAX_TAGS}", tags.len()));
        return;
    }
    for (key, value) in tags {
        let shown = preview(key);
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            refuse(problems, "tags", format!("`tags` has the key {shown:?}; keys that begin with aws: are AWS's"));
        } else if !(1..=MAX_TAG_KEY_CHARACTERS).contains(&key.chars().count()) || !key.chars().all(is_of_tags) {
            let wanted = format!("a key has 1 to {MAX_TAG_KEY_CHARACTERS} {OF_TAGS}");
            refuse(problems, "tags", format!("`tags` has the key {shown:?}; {wanted}"));
        }
        if let Some(problem) = unknown_placeholder("tags", key, value) {
            refuse(problems, "tags", problem);
        } else if !has_placeholder(value) && !is_tag_value(value) {
            refuse(problems, "tags", no_tag_value(key, value));
        }
    }
}

fn is_tag_value(value: &str) -> bool {
    value.chars().count() <= MAX_TAG_VALUE_CHARACTERS && value.chars().all(is_of_tags)
}

fn no_tag_value(key: &str, value: &str) -> String {
    let wanted = format!("a value has at most {MAX_TAG_VALUE_CHARACTERS} {OF_TAGS}");
    format!("`tags` has {:?} as the value of {:?}; {wanted}", preview(value), preview(key))
}

/// Letters, digits and spaces of any script, and some signs.
fn is_of_tags(character: char) -> bool {
    let is_space = character.is_whitespace() && !character.is_control();
    character.is_alphanumeric() || is_space || "+-=._:/@".contains(character)
}

pub(super) fn metadata(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let Some(metadata) = raw.metadata.given() else { return };
    if !fits(metadata, problems) {
        return;
    }
    let is_of_names = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    for (name, value) in metadata {
        let shown = preview(name);
        if name.starts_with(OWN_METADATA) {
            refuse(problems, "metadata", format!("`metadata` has the name {shown:?}; names that begin with {OWN_METADATA} are Lakegate's"));
        } else if name.is_empty() || !name.bytes().all(is_of_names) {
            let wanted = "a name is made of lower-case letters and digits of ASCII and - _ . and other signs of header names";
            refuse(problems, "metadata", format!("`metadata` has the name {shown:?}; {wanted}"));
        }
        if let Some(problem) = unknown_placeholder("metadata", name, value) {
            refuse(problems, "metadata", problem);
        } else if !has_placeholder(value) && !is_metadata_value(value) {
            refuse(problems, "metadata", no_metadata_value(name, value));
        }
    }
}

/// Is there room for so much metadata?
fn fits<'a>(metadata: impl IntoIterator<Item = (&'a String, &'a String)>, problems: &mut Vec<SpecProblem>) -> bool {
    let bytes: usize = metadata.into_iter().map(|(name, value)| METADATA_PREFIX.len() + name.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        let wanted = format!("at most {MAX_METADATA_BYTES} are possible, each name counted with {METADATA_PREFIX}");
        refuse(problems, "metadata", format!("`metadata` has {bytes} bytes; {wanted}"));
    }
    bytes <= MAX_METADATA_BYTES
}

fn is_metadata_value(value: &str) -> bool {
    !value.is_empty() && value.trim() == value && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn no_metadata_value(name: &str, value: &str) -> String {
    let wanted = "a value is made of printable characters of ASCII, with no space at either end";
    format!("`metadata` has {:?} as the value of {:?}; {wanted}", preview(value), preview(name))
}

/// What values may have: what stands for one text in the whole sync, and what the host replaces for each object.
const OF_HEADERS: [&str; 11] = [
    "{{TABLE}}",
    "{{TABLE_HYPHEN}}",
    "{{FORMAT}}",
    "{{SYNC_ID}}",
    "{{COMMIT_ID}}",
    "{{SHARD}}",
    "{{YEAR}}",
    "{{MONTH}}",
    "{{DAY}}",
    "{{HOUR}}",
    "{{MINUTE}}",
];

/// A piece of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'static str, Placeholder),
}

fn has_placeholder(value: &str) -> bool {
    value.contains("{{")
}

/// Cuts a value at its placeholders.
///
/// # Errors
/// The first that is none.
fn pieces(value: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, tail)) = after.split_once("}}") else { return Err(format!("{{{{{after}")) };
        let written = format!("{{{{{name}}}}}");
        let known = PLACEHOLDERS.iter().find(|(known, _)| *known == written && OF_HEADERS.contains(known));
        let &(known, placeholder) = known.ok_or(written)?;
        pieces.extend([Piece::Text(before), Piece::Placeholder(known, placeholder)]);
        rest = tail;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn unknown_placeholder(field: &str, key: &str, value: &str) -> Option<String> {
    let unknown = pieces(value).err()?;
    let known = OF_HEADERS.join(", ");
    Some(format!("`{field}` has {:?} in the value of {:?}; placeholders there are {known}", preview(&unknown), preview(key)))
}

/// The field whose values have a placeholder, if one has.
pub(super) fn field_with(raw: &RawSpec, placeholder: &str) -> Option<&'static str> {
    let has =
        |field: &Field<BTreeMap<String, String>>| field.given().is_some_and(|pairs| pairs.values().any(|it| it.contains(placeholder)));
    [("tags", &raw.tags), ("metadata", &raw.metadata)].into_iter().find_map(|(name, field)| has(field).then_some(name))
}

/// What placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfSync<'a> {
    pub(super) format_extension: &'a str,
    pub(super) sync_id: &'a str,
    pub(super) commit_id: &'a str,
    /// What the time is in the whole sync, if it is one.
    pub(super) time: Option<u64>,
    pub(super) shard: u32,
}

/// Tags and metadata with the texts that placeholders stand for, but for those of tables. Each is then held to the rules of S3 again, a table
/// counted as one letter.
pub(super) fn rendered(raw: &RawSpec, sync: OfSync<'_>, problems: &mut Vec<SpecProblem>) -> [Vec<(String, String)>; 2] {
    let mut render =
        |name: &'static str, field: &Field<BTreeMap<String, String>>, is_good: fn(&str) -> bool, refusal: fn(&str, &str) -> String| {
            let mut pairs = Vec::new();
            for (key, value) in field.given().into_iter().flatten() {
                // What is no placeholder was reported.
                let Ok(pieces) = pieces(value) else { continue };
                match sync.render(&pieces) {
                    Ok(text) if has_placeholder(value) && !is_good(&of_a_table(&text)) => refuse(problems, name, refusal(key, &text)),
                    Ok(text) => pairs.push((key.clone(), text)),
                    Err(problem) => refuse(problems, name, format!("`{name}` has {problem} in the value of {:?}", preview(key))),
                }
            }
            pairs
        };
    let tags = render("tags", &raw.tags, is_tag_value, no_tag_value);
    let metadata = render("metadata", &raw.metadata, is_metadata_value, no_metadata_value);
    let sample: Vec<(&String, String)> = metadata.iter().map(|(name, value)| (name, of_a_table(value))).collect();
    if metadata.iter().any(|(name, value)| raw.metadata.given().is_some_and(|pairs| pairs.get(name) != Some(value))) {
        fits(sample.iter().map(|(name, value)| (*name, value)), problems);
    }
    [tags, metadata]
}

/// As the host makes it for a table of one letter.
fn of_a_table(text: &str) -> String {
    text.replace("{{TABLE}}", "t").replace("{{TABLE_HYPHEN}}", "t")
}

impl OfSync<'_> {
    /// # Errors
    /// A placeholder that stands for nothing here, and why.
    fn render(&self, pieces: &[Piece<'_>]) -> Result<String, String> {
        let Self { format_extension, sync_id, commit_id, time, shard } = *self;
        let context = KeyContext {
            table: "",
            format_extension,
            uuid: "",
            sync_id,
            time: WallTime { seconds: time.unwrap_or_default(), nanoseconds: 0 },
            commit_id,
            sequence: 0,
            shard,
            schema: 0,
            partition: &[],
            null_name: "",
        };
        let civil = CivilTime::from_unix_seconds(context.time.seconds);
        let mut text = String::new();
        for piece in pieces {
            match *piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Placeholder(name, Placeholder::Table | Placeholder::TableHyphen) => text.push_str(name),
                Piece::Placeholder(name, placeholder) if placeholder.is_clock() && time.is_none() => {
                    return Err(format!("{name}, which needs `commit.time`: it is the same for all objects"));
                }
                Piece::Placeholder(name, placeholder) => {
                    let mut stands_for = String::new();
                    placeholder.substitute(&context, &civil, &mut stands_for);
                    if stands_for.is_empty() {
                        return Err(format!("{name}, and this sync has none"));
                    }
                    if has_placeholder(&stands_for) {
                        return Err(format!("{name}, which stands for a text with {{{{"));
                    }
                    text.push_str(&stands_for);
                }
            }
        }
        Ok(text)
    }
}

/// Mode and days go together, and something is locked.
pub(super) fn object_lock(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let Some(RawObjectLock { mode, retain_days, legal_hold }) = raw.object_lock.given() else { return };
    if mode.is_wrong() || retain_days.is_wrong() || legal_hold.is_wrong() {
        return;
    }
    match (mode.filled(), retain_days.given()) {
        (Some(_), None) => refuse(problems, "object_lock.retain_days", "`object_lock.retain_days` is required with `object_lock.mode`"),
        (None, Some(_)) => {
            let allowed = LOCK_MODES.join(" or ");
            refuse(problems, "object_lock.mode", format!("`object_lock.mode` ({allowed}) is required with `object_lock.retain_days`"));
        }
        (None, None) if !legal_hold.is_true() => {
            refuse(problems, "object_lock", "`object_lock` must have `mode` and `retain_days`, or `legal_hold: true`");
        }
        _ => {}
    }
}

pub(super) fn expected_bucket_owner(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(text) = raw.expected_bucket_owner.filled().filter(|text| !is_account(text)) {
        let message = format!("`expected_bucket_owner` must be the twelve digits of an account of AWS, not {:?}", preview(text));
        refuse(problems, "expected_bucket_owner", message);
    }
}
