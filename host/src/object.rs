//! The names a put request is made of, parsed afresh from what the guest sent.

use std::fmt;
use std::sync::Arc;

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
        Ok(Self(key.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
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
        Ok(Self(text.into()))
    }

    /// The content type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request to put one object, as rendered: everything a policy decides on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutObject {
    /// Where.
    pub key: ObjectKey,
    /// As what.
    pub content_type: ContentType,
}
