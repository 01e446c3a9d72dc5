//! Bytes in blocks of a few sizes: what waits for the end of a page or of a row group.
//!
//! With thousands of open objects a buffer that grows as one piece leaves holes that nothing else fits, until the sandbox has no memory left
//! of which half is free. Blocks of powers of two fill each other's holes.

use bytes::{Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::io::{Read, Write};
use std::sync::Arc;

/// Bytes of the first block; each block after it has twice as many, up to [`MOST_BYTES`].
const FIRST_BYTES: usize = 1 << 10;

/// Bytes of a block at most, but for a single value that is larger.
const MOST_BYTES: usize = 32 << 10;

/// Bytes, in order.
#[derive(Debug, Default)]
pub(in super::super) struct Blocks {
    blocks: Vec<Vec<u8>>,
    capacity: usize,
}

impl Blocks {
    pub(in super::super) fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// Memory of the blocks.
    pub(in super::super) fn held_bytes(&self) -> usize {
        self.capacity + self.blocks.capacity() * size_of::<Vec<u8>>()
    }

    /// The last block, which has room for so many bytes.
    pub(super) fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.blocks.last().is_none_or(|block| block.capacity() - block.len() < bytes) {
            let usual = FIRST_BYTES << self.blocks.len().min((MOST_BYTES / FIRST_BYTES).ilog2() as usize);
            let block = Vec::with_capacity(usual.max(bytes));
            self.capacity += block.capacity();
            self.blocks.push(block);
        }
        let last = self.blocks.len() - 1;
        &mut self.blocks[last]
    }

    /// Bytes that the last block can take, or a new one would.
    pub(super) fn at_hand(&self) -> usize {
        match self.blocks.last().map(|block| block.capacity() - block.len()) {
            Some(room) if room > 0 => room,
            _ => FIRST_BYTES << self.blocks.len().min((MOST_BYTES / FIRST_BYTES).ilog2() as usize),
        }
    }

    /// Appends bytes, in as many pieces as the blocks ask for.
    pub(super) fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.at_hand().min(bytes.len()));
            self.room(now.len()).extend_from_slice(now);
            bytes = later;
        }
    }

    /// Appends all of it to `out` and gives the memory back.
    pub(super) fn drain_into(&mut self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        std::mem::take(self).blocks.iter().for_each(|block| out.extend_from_slice(block));
    }

    /// The blocks, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(Vec::as_slice)
    }

    /// Appends other blocks as they are.
    pub(in super::super) fn append(&mut self, other: Self) {
        self.capacity += other.capacity;
        self.blocks.extend(other.blocks);
    }

    /// The blocks, for the writer of the file to read.
    pub(in super::super) fn into_chunk(self) -> Chunk {
        Chunk(Arc::new(self.blocks))
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A column chunk that the writer of the file reads from its start.
#[derive(Debug, Clone)]
pub(in super::super) struct Chunk(Arc<Vec<Vec<u8>>>);

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.0.iter().map(|block| block.len() as u64).sum()
    }
}

impl ChunkReader for Chunk {
    type T = ChunkRead;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut read = ChunkRead { chunk: self.clone(), block: 0, at: 0 };
        std::io::copy(&mut (&mut read).take(start), &mut std::io::sink())?;
        Ok(read)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = BytesMut::zeroed(length);
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.freeze())
    }
}

/// Reads a chunk.
#[derive(Debug)]
pub(in super::super) struct ChunkRead {
    chunk: Chunk,
    block: usize,
    at: usize,
}

impl Read for ChunkRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(block) = self.chunk.0.get(self.block) {
            let rest = block.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                (self.block, self.at) = (self.block + 1, 0);
                continue;
            }
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            self.at += count;
            return Ok(count);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(pieces in prop::collection::vec((0_usize..50_000, any::<bool>()), 0..30), start in 0_u64..100_000) {
            let (mut blocks, mut expected) = (Blocks::default(), Vec::new());
            for (number, (length, whole)) in pieces.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..length).map(|at| (at + number) as u8).collect();
                expected.extend_from_slice(&bytes);
                if whole {
                    blocks.room(length).extend_from_slice(&bytes);
                } else {
                    blocks.extend(&bytes);
                }
            }
            prop_assert_eq!(blocks.len(), expected.len());
            prop_assert!(blocks.held_bytes() >= expected.len());
            let chunk = blocks.into_chunk();
            let mut read = Vec::new();
            chunk.get_read(start).expect("memory").read_to_end(&mut read).expect("memory");
            prop_assert_eq!(&read, expected.get(start as usize..).unwrap_or_default());
            prop_assert_eq!(chunk.get_bytes(0, expected.len()).expect("memory"), expected);
        }
    }
}
