//! The spill file: one unlinked file a session, whose stretches hold what memory has no room for.

use crate::policy::resources::MemoryHold;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where parts spill to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spill {
    /// An unlinked file in this folder.
    Dir(PathBuf),
    /// Nowhere: over the budget is an error.
    None,
}

/// One unlinked file, and which stretches of it are free.
#[derive(Debug)]
pub(crate) struct SpillFile {
    file: File,
    space: Mutex<Space>,
}

#[derive(Debug, Default)]
struct Space {
    end: u64,
    /// Free stretches, offset to length; neighbours are merged.
    free: BTreeMap<u64, u64>,
}

impl SpillFile {
    pub(crate) fn new(file: File) -> Arc<Self> {
        Arc::new(Self { file, space: Mutex::default() })
    }

    /// Bytes of the file, free stretches included.
    pub(crate) fn bytes(&self) -> u64 {
        self.space().end
    }

    /// Writes `length` bytes, those of `chunks`, into a stretch of the file; [`None`] if the file would then have more than `most`. What `books`
    /// holds is given back with the stretch.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write(self: &Arc<Self>, chunks: &[Bytes], length: u64, most: u64, books: MemoryHold) -> io::Result<Option<Extent>> {
        let Some(offset) = self.space().allocate(length, most) else { return Ok(None) };
        let extent = Extent(Arc::new(Stretch { file: self.clone(), offset, length, _books: books }));
        let mut at = offset;
        for chunk in chunks {
            self.file.write_all_at(chunk, at).map_err(|error| io::Error::other(format!("cannot write the spill file: {error}")))?;
            at += chunk.len() as u64;
        }
        Ok(Some(extent))
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Space {
    /// The first free stretch that is long enough, else the end of the file, unless that would then be beyond `most`.
    fn allocate(&mut self, length: u64, most: u64) -> Option<u64> {
        let found = self.free.iter().find(|(_, free)| **free >= length).map(|(offset, free)| (*offset, *free));
        let Some((offset, free)) = found else {
            let offset = self.end;
            self.end = offset.checked_add(length).filter(|end| *end <= most)?;
            return Some(offset);
        };
        self.free.remove(&offset);
        if free > length {
            self.free.insert(offset + length, free - length);
        }
        Some(offset)
    }

    fn release(&mut self, mut offset: u64, mut length: u64) {
        if let Some((&before, &bytes)) = self.free.range(..offset).next_back()
            && before + bytes == offset
        {
            self.free.remove(&before);
            (offset, length) = (before, bytes + length);
        }
        if let Some(bytes) = self.free.remove(&(offset + length)) {
            length += bytes;
        }
        if offset + length == self.end {
            self.end = offset;
        } else {
            self.free.insert(offset, length);
        }
    }
}

/// A stretch of the spill file with bytes in it. It is used again once the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Extent(Arc<Stretch>);

#[derive(Debug)]
struct Stretch {
    file: Arc<SpillFile>,
    offset: u64,
    length: u64,
    _books: MemoryHold,
}

impl Extent {
    /// Bytes of the stretch.
    pub(crate) fn length(&self) -> u64 {
        self.0.length
    }

    /// Reads `buffer` full from `at`; blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.file.file.read_exact_at(buffer, self.0.offset + at)
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        self.file.space().release(self.offset, self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_stretches_are_merged_and_used_again() {
        let mut space = Space::default();
        let offsets: Vec<u64> = (0..4).filter_map(|_| space.allocate(10, 40)).collect();
        assert_eq!(offsets, [0, 10, 20, 30]);
        assert_eq!((space.allocate(1, 40), space.end), (None, 40));
        space.release(10, 10);
        space.release(0, 10);
        assert_eq!(space.free, BTreeMap::from([(0, 20)]));
        assert_eq!(space.allocate(15, 40), Some(0));
        assert_eq!(space.free, BTreeMap::from([(15, 5)]));
        space.release(30, 10);
        space.release(20, 10);
        assert_eq!((space.end, &space.free), (15, &BTreeMap::new()), "a free end shortens the file");
    }
}
