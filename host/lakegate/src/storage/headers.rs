//! What may stand in the headers of objects: the rules of S3 for storage classes, tags, user metadata and accounts. The guest has the same rules,
//! for the sake of better messages; the host never relies on it.

/// Tags of an object.
pub(crate) const MAX_TAGS: usize = 10;

/// Characters of a tag's key, and of its value.
pub(crate) const MAX_TAG_KEY_CHARACTERS: usize = 128;
pub(crate) const MAX_TAG_VALUE_CHARACTERS: usize = 256;

/// Bytes of user metadata, names with [`METADATA_PREFIX`] and values together: S3 has 2,048, of which some are left for names of our own.
pub(crate) const MAX_METADATA_BYTES: usize = 1_664;

/// What stands in front of the name of user metadata.
pub(crate) const METADATA_PREFIX: &str = "x-amz-meta-";

/// What the names of our own metadata begin with.
pub(crate) const OWN_METADATA: &str = "lakegate-";

/// Days that an object can be locked for: a hundred years, as at S3.
pub(crate) const MAX_RETAIN_DAYS: u32 = 36_500;

/// The modes of a lock.
pub(crate) const LOCK_MODES: [&str; 2] = ["GOVERNANCE", "COMPLIANCE"];

/// Bytes of a storage class. The longest of S3 has 24.
const MAX_STORAGE_CLASS_BYTES: usize = 64;

/// A name as S3 writes those of storage classes. Stores have classes of their own.
pub(crate) fn is_storage_class(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=MAX_STORAGE_CLASS_BYTES).contains(&name.len()) && name.bytes().all(good)
}

/// The key of a tag. Those that begin with `aws:` are AWS's.
pub(crate) fn is_tag_key(key: &str) -> bool {
    let is_reserved = key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    (1..=MAX_TAG_KEY_CHARACTERS).contains(&key.chars().count()) && !is_reserved && key.chars().all(is_of_tags)
}

/// The value of a tag.
pub(crate) fn is_tag_value(value: &str) -> bool {
    value.chars().count() <= MAX_TAG_VALUE_CHARACTERS && value.chars().all(is_of_tags)
}

/// Letters, digits and spaces of any script, and some signs.
fn is_of_tags(character: char) -> bool {
    let is_space = character.is_whitespace() && !character.is_control();
    character.is_alphanumeric() || is_space || "+-=._:/@".contains(character)
}

/// The name of user metadata: a token of a header, in lower case, and none of ours.
pub(crate) fn is_metadata_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(good) && !name.starts_with(OWN_METADATA)
}

/// The value of user metadata: visible ASCII and spaces, none of them at an end, where they are lost.
pub(crate) fn is_metadata_value(value: &str) -> bool {
    !value.is_empty() && value.trim() == value && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Bytes of user metadata as a store counts them.
pub(crate) fn metadata_bytes<'a>(metadata: impl IntoIterator<Item = &'a (String, String)>) -> usize {
    metadata.into_iter().map(|(name, value)| METADATA_PREFIX.len() + name.len() + value.len()).sum()
}

/// The number of an account of AWS.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_on_both_sides_of_each_rule() {
        type Rule = (fn(&str) -> bool, &'static [&'static str], &'static [&'static str]);
        let rules: [Rule; 6] = [
            (is_storage_class, &["STANDARD", "GLACIER_IR", "S"], &["", "standard", "STANDARD-IA", "A B", "Ä"]),
            (is_tag_key, &["team", "a:b/c@d e+f-g=h._", "größe", "数据", "aws", "7"], &["", "aws:x", "AWS:x", "a&b", "a*", "a\n", "a#"]),
            (is_tag_value, &["", "x y", "é", "١"], &["a\u{7}", "a?b", "\"", "a\tb", "\u{200b}"]),
            (is_metadata_name, &["owner", "a-b_c.d", "x~1"], &["", "Owner", "a b", "a:b", "ä", "lakegate-upload", "lakegate-x"]),
            (is_metadata_value, &["x", "a  b", "~!"], &["", " x", "x ", "ä", "a\tb", "a\r\nx-amz-acl: public-read"]),
            (is_account, &["123456789012", "000000000000"], &["", "12345678901", "1234567890123", "12345678901a", "１23456789012"]),
        ];
        for (rule, good, bad) in rules {
            good.iter().for_each(|text| assert!(rule(text), "{text:?}"));
            bad.iter().for_each(|text| assert!(!rule(text), "{text:?}"));
        }
        for (rule, most) in [(is_tag_key as fn(&str) -> bool, MAX_TAG_KEY_CHARACTERS), (is_tag_value, MAX_TAG_VALUE_CHARACTERS)] {
            assert!(rule(&"ä".repeat(most)) && !rule(&"ä".repeat(most + 1)));
        }
        assert!(is_storage_class(&"A".repeat(MAX_STORAGE_CLASS_BYTES)) && !is_storage_class(&"A".repeat(MAX_STORAGE_CLASS_BYTES + 1)));
        assert_eq!(metadata_bytes(&[("a".to_owned(), "bc".to_owned())]), 14);
    }
}
