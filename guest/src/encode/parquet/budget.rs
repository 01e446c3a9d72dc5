//! What conversion may make of the rows of a piece.

use crate::limits::MAX_CONVERTED_BYTES;

/// Why an array could not be converted; never a value of it.
pub(super) type Reason = String;

/// What conversion of the columns of a piece may still take, and what it counts.
#[derive(Debug)]
pub(super) struct ConversionBudget {
    /// Values whose invalid UTF-8 had to be replaced.
    pub(super) replaced: u64,
    /// Bytes that may still be made.
    pub(super) left: u64,
}

impl Default for ConversionBudget {
    fn default() -> Self {
        Self { replaced: 0, left: MAX_CONVERTED_BYTES }
    }
}

impl ConversionBudget {
    /// Counts bytes before they are made.
    pub(super) fn take(&mut self, bytes: u64) -> Result<usize, Reason> {
        self.left = self.left.checked_sub(bytes).ok_or_else(too_large)?;
        usize::try_from(bytes).map_err(|_| too_large())
    }
}

/// The error past the bound.
pub(super) fn too_large() -> Reason {
    format!(
        "with it the values of a row that Parquet holds in another form take more than {MAX_CONVERTED_BYTES} bytes, which is all that they \
         may; csv and json have no such bound"
    )
}
