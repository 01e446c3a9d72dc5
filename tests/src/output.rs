//! An output of the guest's encoders that collects all bytes in memory.

use lakegate_guest::encode::Output;
use lakegate_guest::host::PutError;

/// Everything that was written.
#[derive(Debug, Default)]
pub struct CollectedOutput(pub Vec<u8>);

impl Output for CollectedOutput {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
