//! The ID of a sync, `{{SYNC_ID}}` in a path.

use super::exit::{CliError, Exit};

/// A new random ID.
pub(crate) fn sync_id() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CliError::new(Exit::Unexpected, format!("random numbers are not available: {error}")))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}
