//! The bytes of one request: cheap to clone, readable again for a retry, in memory or in a spill file.

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of a frame: how finely a body is handed to the connection, so that a stall is noticed.
pub const FRAME_BYTES: usize = 64 << 10;

/// A piece of a payload.
#[derive(Debug, Clone)]
pub enum Piece {
    /// In memory.
    Memory(Bytes),
    /// In a spill file.
    Spilled {
        /// The (unlinked) file.
        file: Arc<File>,
        /// Where in the file the piece starts.
        offset: u64,
        /// How long it is.
        length: u64,
        /// Keeps the extent from being used again while the payload lives.
        extent: Arc<crate::staging::Extent>,
    },
}

/// The bytes of one request.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    pieces: Arc<[Piece]>,
    length: u64,
}

impl Payload {
    /// A payload of pieces, in order.
    pub fn new(pieces: Vec<Piece>) -> Self {
        let length = pieces.iter().map(Piece::length).sum();
        Self { pieces: pieces.into(), length }
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::new(vec![Piece::Memory(bytes)])
    }
}

impl Piece {
    /// Bytes of the piece.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spilled { length, .. } => *length,
        }
    }

    /// Reads `length` bytes (or what is left) at `at`; blocks on the disk when spilled.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => {
                let start = (at as usize).min(bytes.len());
                Ok(bytes.slice(start..(start + length).min(bytes.len())))
            }
            Self::Spilled { file, offset, length: whole, .. } => {
                let left = whole.saturating_sub(at).min(length as u64) as usize;
                let mut buffer = vec![0; left];
                file.read_exact_at(&mut buffer, offset + at)?;
                Ok(buffer.into())
            }
        }
    }
}
