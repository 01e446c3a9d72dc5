//! What may stand in the headers of objects: the rules of S3 for storage classes, tags, user metadata and accounts. The guest has the same rules,
//! for the sake of better messages; the host never relies on it.
//!
//! Values of tags and metadata may have [`TABLE`] and [`TABLE_HYPHEN`], which stand for the name of the table whose rows an object holds, and for nothing
//! where it has none (the test object, markers).

use super::object::PutObject;

/// What stands for the name of an object's table, and for that name with hyphens for underscores.
const TABLE: &str = "{{TABLE}}";
const TABLE_HYPHEN: &str = "{{TABLE_HYPHEN}}";

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

/// A value for an object of `table`. A name that looks like a placeholder stays as it is.
pub(crate) fn value_for(value: &str, table: &str) -> String {
    let hyphened = table.replace('_', "-");
    let parts: Vec<String> = value.split(TABLE).map(|part| part.replace(TABLE_HYPHEN, &hyphened)).collect();
    parts.join(table)
}

/// The tags and the metadata of a target that name the table of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableHeaders {
    tags: Vec<(String, String)>,
    metadata: Vec<(String, String)>,
    /// Bytes of the metadata that does not.
    other_bytes: usize,
}

impl TableHeaders {
    pub(crate) fn new(tags: &[(String, String)], metadata: &[(String, String)]) -> Self {
        let names_table = |(_, value): &&(String, String)| value.contains(TABLE) || value.contains(TABLE_HYPHEN);
        let of_tables = |pairs: &[(String, String)]| pairs.iter().filter(names_table).cloned().collect();
        let others = metadata.iter().filter(|pair| !names_table(pair));
        Self { tags: of_tables(tags), metadata: of_tables(metadata), other_bytes: metadata_bytes(others) }
    }

    /// The put with the headers of its table.
    ///
    /// # Errors
    /// The name of the table makes a value that cannot be; in words.
    pub(crate) fn on_put(&self, mut put: PutObject, table: &str) -> Result<PutObject, String> {
        for (key, value) in &self.tags {
            let value = value_for(value, table);
            if !is_tag_value(&value) {
                let wanted = format!("a value has at most {MAX_TAG_VALUE_CHARACTERS} letters, digits, spaces and + - = . _ : / @");
                return Err(format!("the name of the table makes {value:?} the value of {key:?} in `tags`; {wanted}"));
            }
            put.tags.insert(key.clone(), value);
        }
        let mut bytes = self.other_bytes;
        for (name, value) in &self.metadata {
            let value = value_for(value, table);
            if !is_metadata_value(&value) {
                let wanted = "a value is made of printable characters of ASCII, with no space at either end";
                return Err(format!("the name of the table makes {value:?} the value of {name:?} in `metadata`; {wanted}"));
            }
            bytes += METADATA_PREFIX.len() + name.len() + value.len();
            put.metadata.insert(name.clone(), value);
        }
        if bytes > MAX_METADATA_BYTES {
            let wanted = format!("at most {MAX_METADATA_BYTES} are possible, each name counted with {METADATA_PREFIX}");
            return Err(format!("the name of the table makes `metadata` {bytes} bytes; {wanted}"));
        }
        Ok(put)
    }

    /// The put with the headers as the target has them, for who wants to see what they are made of.
    pub(crate) fn unmade_on(&self, mut put: PutObject) -> PutObject {
        put.tags.extend(self.tags.iter().cloned());
        put.metadata.extend(self.metadata.iter().cloned());
        put
    }
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

    #[test]
    fn values_name_the_table_once() {
        for (value, table, expected) in [
            ("", "t", ""),
            ("plain", "t", "plain"),
            ("{{TABLE}}", "a_b", "a_b"),
            ("x-{{TABLE_HYPHEN}}/{{TABLE}}{{TABLE}}", "a_b", "x-a-b/a_ba_b"),
            ("{{TABLE}}", "{{TABLE_HYPHEN}}", "{{TABLE_HYPHEN}}"),
            ("{{TABLE_HYPHEN}}", "{{TABLE}}", "{{TABLE}}"),
            ("{{TABLE}} {{FORMAT}}", "", " {{FORMAT}}"),
        ] {
            assert_eq!(value_for(value, table), expected, "{value} {table}");
        }
    }

    #[test]
    fn a_table_whose_name_cannot_be_in_a_header_is_refused_by_name() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let tags = [pair("team", "data"), pair("table", "t={{TABLE}}")];
        let metadata = [pair("owner", "me"), pair("of", "{{TABLE_HYPHEN}}")];
        let headers = TableHeaders::new(&tags, &metadata);
        let on = |table: &str| headers.on_put(PutObject::parse("k", "text/csv").unwrap(), table);
        let put = on("a_b").unwrap();
        assert_eq!(
            (put.tags.into_iter().collect::<Vec<_>>(), put.metadata.into_iter().collect::<Vec<_>>()),
            (vec![pair("table", "t=a_b")], vec![pair("of", "a-b")])
        );
        for (table, words) in [
            ("a*b", r#"makes "t=a*b" the value of "table" in `tags`; a value has at most 256"#),
            (&"t".repeat(255), "in `tags`"),
            ("größe", r#"makes "größe" the value of "of" in `metadata`; a value is made of printable"#),
            (" ", r#"the value of "of" in `metadata`"#),
        ] {
            let error = on(table).unwrap_err();
            assert!(error.starts_with("the name of the table makes ") && error.contains(words), "{error}");
        }
        assert!(on(&"t".repeat(254)).is_ok());
        let most = "x".repeat(MAX_METADATA_BYTES - 2 * METADATA_PREFIX.len() - "abc".len() - "t".len() + 1);
        let full = TableHeaders::new(&[], &[pair("a", &most), pair("b", "{{TABLE}}")]);
        let on = |table: &str| full.on_put(PutObject::parse("k", "text/csv").unwrap(), table);
        assert!(on("t").is_ok());
        assert_eq!(
            on("tt").unwrap_err(),
            "the name of the table makes `metadata` 1665 bytes; at most 1664 are possible, each name counted with x-amz-meta-"
        );
        // Without a placeholder nothing depends on the table.
        let put = PutObject::parse("k", "text/csv").unwrap();
        assert_eq!(TableHeaders::new(&tags[..1], &metadata[..1]).on_put(put.clone(), "*"), Ok(put));
    }
}
