//! What a key takes from rows: columns, and parts of their times. And how a value becomes part of a key.
//!
//! The escaping is Hive's, so that Hive, Spark, Trino, DuckDB and pyarrow find the value again in the name of the folder: `%XX` for control
//! characters of ASCII and for `" # % ' * / : = ? \ { [ ] ^`, everything else as it is. In addition a value that is `.` or `..`, and one that is
//! the name for nulls, is escaped, so that it stays a value.

use std::fmt::Write;

/// A value that a path takes from rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The column.
    pub column: String,
    /// What of its values.
    pub part: Part,
}

impl PartitionField {
    /// What the value is called where the path has no name for it.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.column.to_lowercase(), self.part.suffix())
    }
}

/// What of a column's value goes into the key. Times are in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Part {
    /// All of it, as in csv.
    Value,
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

/// How placeholders of columns begin. A column's name and `}}` follow.
pub(crate) const PARTS: [(&str, Part); 6] = [
    ("{{COLUMN:", Part::Value),
    ("{{YEAR:", Part::Year),
    ("{{MONTH:", Part::Month),
    ("{{DAY:", Part::Day),
    ("{{HOUR:", Part::Hour),
    ("{{MINUTE:", Part::Minute),
];

impl Part {
    /// As names have it.
    fn suffix(self) -> &'static str {
        match self {
            Self::Value => "",
            Self::Year => "_year",
            Self::Month => "_month",
            Self::Day => "_day",
            Self::Hour => "_hour",
            Self::Minute => "_minute",
        }
    }
}

/// Does Hive escape this character?
pub(crate) fn is_escaped(character: char) -> bool {
    character.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(character)
}

/// Appends a value as a part of a key.
pub(crate) fn push_escaped(key: &mut String, value: Option<&str>, null_name: &str) {
    let Some(value) = value else { return key.push_str(null_name) };
    let whole = value == "." || value == "..";
    let first = value == null_name;
    for (at, character) in value.chars().enumerate() {
        if is_escaped(character) || whole || (first && at == 0) {
            // All of them are of ASCII: so is the name for nulls.
            let _ = write!(key, "%{:02X}", u32::from(character));
        } else {
            key.push(character);
        }
    }
}

/// Can this text stand for nulls? It needs no escaping, it is of ASCII, and no number is equal to it.
pub(crate) fn is_null_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic())
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !name.chars().any(is_escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

    fn escaped(value: Option<&str>) -> String {
        let mut key = String::new();
        push_escaped(&mut key, value, NULL);
        key
    }

    /// As Hive and Spark read a name back.
    fn unescaped(name: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut rest = name.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            match (first, after) {
                (b'%', [high, low, ..]) => {
                    let digits = [*high, *low];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                    rest = &after[2..];
                }
                _ => bytes.push(*first),
            }
        }
        (name != NULL).then(|| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn values_are_escaped_as_hive_escapes_them() {
        for (value, expected) in [
            ("DE", "DE"),
            ("a b+c&d;e,f<g>h|i~j`k$l@m!n(o)p", "a b+c&d;e,f<g>h|i~j`k$l@m!n(o)p"),
            ("a/b", "a%2Fb"),
            ("../../etc", "..%2F..%2Fetc"),
            ("100%", "100%25"),
            ("k=v", "k%3Dv"),
            ("2021-03-04T05:06:07Z", "2021-03-04T05%3A06%3A07Z"),
            ("\"#%'*/:=?\\{[]^", "%22%23%25%27%2A%2F%3A%3D%3F%5C%7B%5B%5D%5E"),
            ("}", "}"),
            ("\0\n\u{1f}\u{7f}", "%00%0A%1F%7F"),
            ("é日𝄞", "é日𝄞"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("__HIVE_DEFAULT_PARTITION__", "%5F_HIVE_DEFAULT_PARTITION__"),
        ] {
            assert_eq!(escaped(Some(value)), expected, "{value:?}");
        }
        assert_eq!(escaped(None), NULL);
    }

    #[test]
    fn a_name_for_nulls_is_none_that_a_value_has() {
        for good in [NULL, "null", "N-A", "none.1"] {
            assert!(is_null_name(good), "{good}");
        }
        for bad in ["", "2024", "-1", ".", "..", "a/b", "a=b", "é", "a b", "100%", &"n".repeat(256)] {
            assert!(!is_null_name(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_value_is_read_back_and_is_one_segment(value in any::<String>(), null in "[a-z_]{1,4}") {
            let name = escaped(Some(&value));
            prop_assert!(!name.contains('/') && !name.contains('=') && name != "." && name != "..");
            prop_assert_eq!(unescaped(&name), Some(value.clone()));
            let mut key = String::new();
            push_escaped(&mut key, Some(&value), &null);
            prop_assert_ne!(key, null);
        }

        #[test]
        fn different_values_have_different_names(one in ".{0,4}", other in ".{0,4}") {
            prop_assert_eq!(one == other, escaped(Some(&one)) == escaped(Some(&other)));
        }
    }
}
