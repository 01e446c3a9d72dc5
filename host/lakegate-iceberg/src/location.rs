//! Where an object is: `s3://BUCKET/KEY`. A catalog names such places, and is not believed that they are ours.

use crate::error::{Error, excerpt};
use crate::limits::MAX_KEY_BYTES;
use std::fmt;

/// The schemes under which engines name S3.
const SCHEMES: [&str; 3] = ["s3://", "s3a://", "s3n://"];

/// Bytes of a bucket's name: an ARN of an access point is the longest.
const MAX_BUCKET_BYTES: usize = 255;

/// An object, or a folder of objects, in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// As it was named, without a slash at its end.
    text: String,
    bucket: usize,
    key: usize,
}

impl Location {
    /// Reads a location.
    ///
    /// # Errors
    /// `Rejected`: it is none of S3, or its key has a segment that is empty, `.` or `..`, a control character, or more than 1,024 bytes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Err(Error::rejected(format!("the location {:?} {why}; s3://BUCKET/KEY is accepted", excerpt(text))));
        let text = text.strip_suffix('/').unwrap_or(text);
        let Some(scheme) = SCHEMES.iter().find(|scheme| text.starts_with(**scheme)) else { return refuse("is not one of S3") };
        let rest = text.get(scheme.len()..).unwrap_or_default();
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if !(1..=MAX_BUCKET_BYTES).contains(&bucket.len()) || !bucket.bytes().all(good) {
            return refuse("has no bucket's name");
        }
        if path.len() > MAX_KEY_BYTES {
            return refuse(&format!("has a key of more than {MAX_KEY_BYTES} bytes"));
        }
        if path.chars().any(char::is_control) {
            return refuse("has a control character");
        }
        if !path.is_empty() && path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return refuse("has a segment that is empty, `.` or `..`");
        }
        Ok(Self { text: text.to_owned(), bucket: scheme.len(), key: text.len() - path.len() })
    }

    /// The text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        let end = if self.key().is_empty() { self.text.len() } else { self.key - 1 };
        self.text.get(self.bucket..end).unwrap_or_default()
    }

    /// The key; empty for the bucket itself.
    pub fn key(&self) -> &str {
        self.text.get(self.key..).unwrap_or_default()
    }

    /// Whether it is this folder, or lies in it. The scheme does not matter.
    pub fn is_within(&self, folder: &Self) -> bool {
        let below = |rest: &str| folder.key().is_empty() || rest.is_empty() || rest.starts_with('/');
        self.bucket() == folder.bucket() && self.key().strip_prefix(folder.key()).is_some_and(below)
    }

    /// A place in this folder.
    ///
    /// # Errors
    /// As [`Location::parse`].
    pub(crate) fn join(&self, path: &str) -> Result<Self, Error> {
        Self::parse(&format!("{}/{path}", self.text))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_those_of_s3() {
        for (text, expected) in [
            ("s3://lake/a/b", Some(("lake", "a/b"))),
            ("s3a://lake/a/", Some(("lake", "a"))),
            ("s3n://lake", Some(("lake", ""))),
            ("s3://lake/", Some(("lake", ""))),
            ("s3://lake/k=a b/é", Some(("lake", "k=a b/é"))),
            ("gs://lake/a", None),
            ("file:///etc/passwd", None),
            ("s3://", None),
            ("s3:///a", None),
            ("s3://la ke/a", None),
            ("s3://u@lake/a", None),
            ("s3://lake//a", None),
            ("s3://lake/../a", None),
            ("s3://lake/a/.", None),
            ("s3://lake/a\nb", None),
        ] {
            let parsed = Location::parse(text).ok();
            assert_eq!(parsed.as_ref().map(|it| (it.bucket(), it.key())), expected, "{text}");
        }
        assert!(Location::parse(&format!("s3://lake/{}", "k".repeat(MAX_KEY_BYTES + 1))).is_err());
    }

    #[test]
    fn a_folder_holds_what_is_below_it_and_nothing_beside() {
        let folder = Location::parse("s3://lake/t").unwrap();
        for (text, expected) in [
            ("s3://lake/t", true),
            ("s3a://lake/t/metadata/m.avro", true),
            ("s3://lake/tt/m.avro", false),
            ("s3://lake", false),
            ("s3://other/t/m.avro", false),
        ] {
            assert_eq!(Location::parse(text).unwrap().is_within(&folder), expected, "{text}");
        }
        assert!(folder.is_within(&Location::parse("s3://lake").unwrap()));
    }
}
