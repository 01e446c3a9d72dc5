//! Headers of objects: what S3 takes for a storage class, tags, user metadata, locks and accounts. The host checks all of it again.

use super::document::preview;
use super::fields::refuse;
use super::problem::SpecProblem;
use super::raw::{
    LOCK_MODES, MAX_METADATA_BYTES, MAX_STORAGE_CLASS_BYTES, MAX_TAG_KEY_CHARACTERS, MAX_TAG_VALUE_CHARACTERS, MAX_TAGS, RawObjectLock,
    RawSpec,
};

/// What S3 calls its storage classes; other stores have others, of the same form.
const STORAGE_CLASSES: &str = "STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, GLACIER, DEEP_ARCHIVE, REDUCED_REDUNDANCY, \
                               EXPRESS_ONEZONE, OUTPOSTS, SNOW";

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
    let characters = "letters, digits, spaces and + - = . _ : / @";
    for (key, value) in tags {
        let shown = preview(key);
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            refuse(problems, "tags", format!("`tags` has the key {shown:?}; keys that begin with aws: are AWS's"));
        } else if !(1..=MAX_TAG_KEY_CHARACTERS).contains(&key.chars().count()) || !key.chars().all(is_of_tags) {
            let wanted = format!("a key has 1 to {MAX_TAG_KEY_CHARACTERS} {characters}");
            refuse(problems, "tags", format!("`tags` has the key {shown:?}; {wanted}"));
        }
        if value.chars().count() > MAX_TAG_VALUE_CHARACTERS || !value.chars().all(is_of_tags) {
            let wanted = format!("a value has at most {MAX_TAG_VALUE_CHARACTERS} {characters}");
            refuse(problems, "tags", format!("`tags` has {:?} as the value of {shown:?}; {wanted}", preview(value)));
        }
    }
}

/// Letters, digits and spaces of any script, and some signs.
fn is_of_tags(character: char) -> bool {
    let is_space = character.is_whitespace() && !character.is_control();
    character.is_alphanumeric() || is_space || "+-=._:/@".contains(character)
}

pub(super) fn metadata(raw: &RawSpec, problems: &mut Vec<SpecProblem>) {
    let Some(metadata) = raw.metadata.given() else { return };
    let bytes: usize = metadata.iter().map(|(name, value)| METADATA_PREFIX.len() + name.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        let wanted = format!("at most {MAX_METADATA_BYTES} are possible, each name counted with {METADATA_PREFIX}");
        refuse(problems, "metadata", format!("`metadata` has {bytes} bytes; {wanted}"));
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
        if value.contains("{{") {
            let message = format!("`metadata` has {:?} as the value of {shown:?}; placeholders are for paths alone", preview(value));
            refuse(problems, "metadata", message);
        } else if value.is_empty() || value.trim() != value || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let wanted = "a value is made of printable characters of ASCII, with no space at either end";
            refuse(problems, "metadata", format!("`metadata` has {:?} as the value of {shown:?}; {wanted}", preview(value)));
        }
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
