//! Rows that are left out because they are not well-formed.

use super::options::BadRows;
use super::records::Broken;
use std::sync::{Arc, Mutex, PoisonError};

/// The rows of one file that were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SkippedRows {
    pub(crate) rows: u64,
    /// The line of the first, and its problem.
    pub(crate) first: Option<(u64, String)>,
}

/// Counts the rows of one file that are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Skipped {
    /// Whether they are.
    on: bool,
    counted: Arc<Mutex<SkippedRows>>,
}

impl Skipped {
    pub(crate) fn new(bad_rows: BadRows) -> Self {
        Self { on: bad_rows == BadRows::Skip, counted: Arc::default() }
    }

    /// Whether bad rows are left out.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Leaves out a row.
    ///
    /// # Errors
    /// Bad rows are not left out.
    pub(crate) fn skip(&self, broken: Broken) -> Result<(), Broken> {
        if !self.on {
            return Err(broken);
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.rows += 1;
        counted.first.get_or_insert((broken.line, broken.problem));
        Ok(())
    }

    /// What was left out so far.
    pub(crate) fn so_far(&self) -> SkippedRows {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
