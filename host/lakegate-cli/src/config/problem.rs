//! Errors in a configuration, and where they are.

use std::fmt;
use std::path::{Path, PathBuf};

/// The location of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Which document of the file, counted from 1.
    pub document: usize,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The document; `None` for a problem that concerns all of them.
    pub origin: Option<Origin>,
    /// The field, as a dotted path; empty for the document as a whole.
    pub field: String,
    /// What is wrong and what would be accepted.
    pub message: String,
}

/// All problems, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigProblem>);

impl Origin {
    pub(super) fn problem(&self, field: &str, message: impl Into<String>) -> ConfigProblem {
        ConfigProblem { origin: Some(self.clone()), field: field.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", Path::display(&self.file), self.document)
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "`{}`: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigErrors {
    /// Writes one problem per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
