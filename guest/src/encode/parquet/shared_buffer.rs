//! The buffer that the file writers of a session write to.

use crate::encode::Output;
use crate::host::PutError;
use crate::limits::CHUNK_BYTES;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The staging buffer that file writers write to, shared by the objects of a session. It holds nothing between calls. In chunks, since one
/// piece that grows would for a moment be there three times.
#[derive(Clone, Default)]
pub(super) struct SharedBuffer(Arc<Mutex<Vec<Vec<u8>>>>);

impl SharedBuffer {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what an object that failed or was dropped left behind. The room of one chunk is kept.
    pub(super) fn clear(&self) {
        let mut staged = self.lock();
        staged.truncate(1);
        staged.iter_mut().for_each(Vec::clear);
    }

    /// Hands on once there is a chunk's worth.
    pub(super) fn hand_on_chunks(&self, out: &mut dyn Output) -> Result<(), PutError> {
        let is_full = self.lock().first().is_some_and(|chunk| chunk.len() == CHUNK_BYTES);
        if is_full { self.hand_on(out) } else { Ok(()) }
    }

    pub(super) fn hand_on(&self, out: &mut dyn Output) -> Result<(), PutError> {
        for chunk in self.lock().iter().filter(|chunk| !chunk.is_empty()) {
            out.write(chunk)?;
        }
        self.clear();
        Ok(())
    }
}

impl std::io::Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut staged = self.lock();
        if staged.last().is_none_or(|chunk| chunk.len() == CHUNK_BYTES) {
            staged.push(Vec::with_capacity(CHUNK_BYTES));
        }
        let Some(chunk) = staged.last_mut() else { return Ok(0) };
        let taken = bytes.len().min(CHUNK_BYTES - chunk.len());
        chunk.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
