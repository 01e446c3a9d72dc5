//! A decision that denies.

use std::borrow::Cow;

/// Bytes of a denial's words: they may quote a tenant, and are kept.
pub(super) const MAX_WORDS_BYTES: usize = 300;
/// Bytes of a tenant's value in them, so that it leaves room for what would be accepted.
pub(super) const MAX_QUOTED_BYTES: usize = 120;

/// A decision that denies: which rule of the grant, and in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// The field of the grant.
    pub rule: &'static str,
    /// The value, and what would be accepted.
    pub message: String,
}

impl Denied {
    /// A denial by a rule. Words that are too long lose their end.
    pub fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self { rule, message: cut(&message.into(), MAX_WORDS_BYTES).into_owned() }
    }
}

/// At most so many bytes, at a character; what is cut ends in an ellipsis.
pub(super) fn cut(text: &str, most_bytes: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= most_bytes {
        return text.into();
    }
    let end = text.floor_char_boundary(most_bytes - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default()).into()
}
