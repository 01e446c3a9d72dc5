//! Names and texts as SQL has them. Names are strangers': every one is quoted, always, so that none of them is a word of the language or ends what it
//! stands in.

use std::fmt::Write as _;

/// The dialects that statements are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Hive's, which Athena takes for tables; Spark's is the same where it matters here.
    Hive,
    /// Trino's, which Athena takes for views.
    Trino,
}

/// What Unicode keeps from being characters.
const NONCHARACTERS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// The longest name that Glue, Athena and Hive's catalog take.
const MAX_NAME_BYTES: usize = 255;

impl Dialect {
    /// A name, quoted.
    pub(super) fn name(self, name: &str) -> String {
        match self {
            Self::Hive => format!("`{}`", name.replace('`', "``")),
            Self::Trino => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A text, quoted.
    pub(super) fn text(self, text: &str) -> String {
        match self {
            Self::Trino => format!("'{}'", text.replace('\'', "''")),
            Self::Hive => {
                let mut quoted = String::from("'");
                for character in text.chars() {
                    match character {
                        '\\' | '\'' => quoted.extend(['\\', character]),
                        '\n' => quoted.push_str("\\n"),
                        '\r' => quoted.push_str("\\r"),
                        '\t' => quoted.push_str("\\t"),
                        hidden if hidden.is_control() || NONCHARACTERS.contains(&hidden) => {
                            let _ = write!(quoted, "\\u{:04X}", u32::from(hidden));
                        }
                        other => quoted.push(other),
                    }
                }
                quoted.push('\'');
                quoted
            }
        }
    }

    /// A table or view, with its database if there is one.
    pub(super) fn table(self, database: Option<&str>, table: &str) -> String {
        match database {
            Some(database) => format!("{}.{}", self.name(database), self.name(table)),
            None => self.name(table),
        }
    }
}

/// Why a name can be no column, whatever quotes it.
pub(super) fn unusable(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it has no name".to_owned());
    }
    if name.len() > MAX_NAME_BYTES {
        return Some(format!("its name has {} bytes; at most {MAX_NAME_BYTES} are possible", name.len()));
    }
    name.chars().any(char::is_control).then(|| "its name has a control character".to_owned())
}

/// Is it a name that needs no quotes, and that every catalog takes?
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// The name of a table in a catalog: catalogs take small letters, digits and underscores.
pub(super) fn table_name(name: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    name.chars().map(plain).collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_do_not_end_what_they_stand_in() {
        for (name, hive, trino) in [
            ("id", "`id`", "\"id\""),
            ("select", "`select`", "\"select\""),
            ("a b", "`a b`", "\"a b\""),
            ("a`b", "`a``b`", "\"a`b\""),
            ("a\"b", "`a\"b`", "\"a\"\"b\""),
            ("x` int); DROP TABLE y; --", "`x`` int); DROP TABLE y; --`", "\"x` int); DROP TABLE y; --\""),
            ("x\"; DROP TABLE y; --", "`x\"; DROP TABLE y; --`", "\"x\"\"; DROP TABLE y; --\""),
        ] {
            assert_eq!((Dialect::Hive.name(name), Dialect::Trino.name(name)), (hive.to_owned(), trino.to_owned()));
        }
        for (text, hive, trino) in [
            ("a", "'a'", "'a'"),
            ("it's", "'it\\'s'", "'it''s'"),
            ("\\", "'\\\\'", "'\\'"),
            ("\\'", "'\\\\\\''", "'\\'''"),
            ("\t\n\r\u{1}", "'\\t\\n\\r\\u0001'", "'\t\n\r\u{1}'"),
            ("é`\"", "'é`\"'", "'é`\"'"),
            ("\u{fdd0}", "'\\uFDD0'", "'\u{fdd0}'"),
        ] {
            assert_eq!((Dialect::Hive.text(text), Dialect::Trino.text(text)), (hive.to_owned(), trino.to_owned()));
        }
        assert_eq!(Dialect::Hive.table(Some("d"), "t"), "`d`.`t`");
        assert_eq!(Dialect::Trino.table(None, "t"), "\"t\"");
    }

    #[test]
    fn some_names_can_be_no_column() {
        for (name, reason) in
            [("", "no name"), ("a\nb", "control character"), ("a\u{85}b", "control character"), (&"n".repeat(256), "256 bytes")]
        {
            assert!(unusable(name).is_some_and(|found| found.contains(reason)), "{name:?}");
        }
        for name in ["a", "a b", "é", "a,b", &"n".repeat(255)] {
            assert_eq!(unusable(name), None);
        }
    }

    #[test]
    fn tables_have_names_that_catalogs_take() {
        for (name, expected) in [("orders", "orders"), ("Orders-2024.v1", "orders_2024_v1"), ("zäh", "z_h"), ("a;b'c", "a_b_c")] {
            assert_eq!(table_name(name), expected);
            assert!(is_plain(expected));
        }
        assert!(!is_plain("") && !is_plain("a b") && !is_plain("é"));
    }
}
