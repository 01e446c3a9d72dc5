//! The names a put request is made of, parsed afresh from what the guest sent.
//!
//! The guest checks the same rules for the sake of better messages; the host never relies on it. A value of these types cannot climb out
//! of a prefix, split a header or name something that two stores would understand differently.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Bytes of an object key: the limit of S3 itself.
pub(crate) const MAX_KEY_BYTES: usize = 1_024;

/// Bytes of a content type. Real ones have some dozens.
pub(crate) const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// Characters of a refused value that an error shows.
const PREVIEW_CHARACTERS: usize = 80;

/// Why an object key or content type is not acceptable. The text names the value (a short preview) and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidObject(pub String);

/// A checked object key: relative, 1 to 1,024 bytes, no empty, `.` or `..` segment, no control character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`InvalidObject`], with a preview of the key.
    pub fn parse(key: &str) -> Result<Self, InvalidObject> {
        let wrong = if key.is_empty() {
            Some("is empty; a key has 1 to 1,024 bytes".to_owned())
        } else if key.len() > MAX_KEY_BYTES {
            Some(format!("has {} bytes; a key has 1 to 1,024", key.len()))
        } else if key.starts_with('/') {
            Some("starts with a slash; keys are relative".to_owned())
        } else if key.chars().any(char::is_control) {
            Some("has a control character; keys have none".to_owned())
        } else {
            key.split('/').find_map(wrong_segment).map(str::to_owned)
        };
        match wrong {
            Some(wrong) => Err(InvalidObject(format!("the object key {} {wrong}", preview(key)))),
            None => Ok(Self(key.into())),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn wrong_segment(segment: &str) -> Option<&'static str> {
    match segment {
        "" => Some("has an empty segment; segments are parted by one slash, and none ends the key"),
        "." | ".." => Some("has a relative segment (`.` or `..`); keys have none"),
        _ => None,
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checked `Content-Type`: 1 to 256 bytes of visible ASCII and spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType(Arc<str>);

impl ContentType {
    /// Checks a content type.
    ///
    /// # Errors
    /// [`InvalidObject`].
    pub fn parse(text: &str) -> Result<Self, InvalidObject> {
        let visible = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MAX_CONTENT_TYPE_BYTES || !visible {
            return Err(InvalidObject(format!(
                "the content type {} is not usable; a content type has 1 to 256 bytes of visible ASCII and spaces",
                preview(text)
            )));
        }
        Ok(Self(text.into()))
    }

    /// The content type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A `Content-Encoding` that objects may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
}

impl ContentEncoding {
    pub(crate) const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// Checks a content encoding.
    ///
    /// # Errors
    /// [`InvalidObject`].
    pub fn parse(text: &str) -> Result<Self, InvalidObject> {
        let known = Self::ALL.into_iter().find(|it| it.name() == text);
        known.ok_or_else(|| InvalidObject(format!("the content encoding {} is not one of gzip, zstd", preview(text))))
    }

    /// As the header has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The start of a value, quoted and escaped.
fn preview(value: &str) -> String {
    let mut characters = value.chars();
    let start: String = characters.by_ref().take(PREVIEW_CHARACTERS).collect();
    let more = if characters.next().is_some() { "…" } else { "" };
    format!("{start:?}{more}")
}

/// What a put does where its key has an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IfExists {
    /// It replaces the object.
    #[default]
    Replace,
    /// It replaces nothing.
    Keep(OnExisting),
}

/// Which objects count as written by a put that replaces nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExisting {
    /// One with the same bytes. To see that takes `s3:GetObject`.
    Verify,
    /// Any.
    Trust,
    /// None but the put's own.
    Fail,
}

/// What an object is for, which decides on some of its headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// It holds rows.
    #[default]
    Rows,
    /// It tells of a commit. Whoever reads it has to get it at once: it has no storage class of its own.
    Record,
    /// It shows what the bucket allows, and is nobody's to keep: it is not locked either.
    Probe,
}

/// A request to put one object, as rendered: everything a policy decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutObject {
    /// Where.
    pub key: ObjectKey,
    /// As what.
    pub content_type: ContentType,
    /// Its `Content-Encoding`, if it has one.
    pub content_encoding: Option<ContentEncoding>,
    /// What happens to an object that is there.
    pub if_exists: IfExists,
    /// User metadata beside the target's, or in its place: names and values that make headers, of the host alone.
    pub metadata: BTreeMap<String, String>,
    /// Values of the target's tags for this object, where they name its table.
    pub tags: BTreeMap<String, String>,
    /// What the object is for.
    pub purpose: Purpose,
}

impl PutObject {
    /// Checks key and content type of a put that replaces what is there.
    ///
    /// # Errors
    /// [`InvalidObject`], of the first that is wrong.
    pub fn parse(key: &str, content_type: &str) -> Result<Self, InvalidObject> {
        let (key, content_type) = (ObjectKey::parse(key)?, ContentType::parse(content_type)?);
        Ok(Self {
            key,
            content_type,
            content_encoding: None,
            if_exists: IfExists::Replace,
            metadata: BTreeMap::new(),
            tags: BTreeMap::new(),
            purpose: Purpose::Rows,
        })
    }

    /// The same put with this content encoding, which is checked, or without any.
    ///
    /// # Errors
    /// [`InvalidObject`].
    pub fn encoded(self, content_encoding: Option<&str>) -> Result<Self, InvalidObject> {
        Ok(Self { content_encoding: content_encoding.map(ContentEncoding::parse).transpose()?, ..self })
    }

    /// The same put for another purpose than rows.
    #[must_use]
    pub fn with_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// The same put, which replaces nothing.
    #[must_use]
    pub fn keeping(self, on_existing: OnExisting) -> Self {
        Self { if_exists: IfExists::Keep(on_existing), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_on_both_sides_of_each_rule() {
        let check = |key: &str, complaint: Option<&str>| match (ObjectKey::parse(key), complaint) {
            (Ok(parsed), None) => assert_eq!(parsed.as_str(), key),
            (Err(error), Some(words)) => assert!(error.0.contains(words), "{key:?}: {error}"),
            (result, expected) => panic!("{key:?}: {result:?}, expected {expected:?}"),
        };
        check("a", None);
        check("a/b.c/..d/e..", None);
        check("dt=2024-01-01/ä ö.csv", None);
        check(&"k".repeat(1_024), None);
        check(&"ä".repeat(512), None);
        check(&"k".repeat(1_025), Some("has 1025 bytes"));
        check(&format!("{}k", "ä".repeat(512)), Some("has 1025 bytes"));
        check("", Some("is empty"));
        check("/a", Some("starts with a slash"));
        check("a//b", Some("empty segment"));
        check("a/", Some("empty segment"));
        check("./a", Some("relative segment"));
        check("a/../b", Some("relative segment"));
        check("a/..", Some("relative segment"));
        check("..", Some("relative segment"));
        check("a\nb", Some("control character"));
        check("a\u{7f}", Some("control character"));
        check("a\u{85}", Some("control character"));
    }

    #[test]
    fn an_error_shows_only_the_start_of_a_key() {
        let error = ObjectKey::parse(&"x".repeat(5_000)).expect_err("too long");
        assert!(error.0.len() < 200, "{error}");
    }

    #[test]
    fn content_encodings_are_those_that_are_known() {
        for (text, good) in [("gzip", true), ("zstd", true), ("", false), ("br", false), ("GZIP", false), ("gzip\r\nx: y", false)] {
            assert_eq!(ContentEncoding::parse(text).is_ok(), good, "{text:?}");
        }
        let put = || PutObject::parse("k", "t/u").expect("a request");
        assert_eq!(put().encoded(None).expect("none").content_encoding, None);
        assert_eq!(put().encoded(Some("zstd")).expect("one").content_encoding, Some(ContentEncoding::Zstd));
        assert!(put().encoded(Some("identity")).is_err());
    }

    #[test]
    fn content_types_on_both_sides_of_each_rule() {
        let check = |text: &str, good: bool| assert_eq!(ContentType::parse(text).is_ok(), good, "{text:?}");
        check("text/csv", true);
        check("application/json; charset=utf-8", true);
        check(&"x".repeat(256), true);
        check(&"x".repeat(257), false);
        check("", false);
        check("text/csv\r\nx-amz-acl: public-read", false);
        check("text/\tcsv", false);
        check("text/ä", false);
    }
}
