//! The bytes of one request: cheap to clone, readable again for a retry, in memory or in a spill file.
//!
//! A body hands its bytes to the connection in frames, each only when the one before has left, so that whoever holds its [`Progress`] can
//! tell a slow connection from a dead one. The disk is never read on an asynchronous thread.

use super::spill::Extent;
use crate::storage::checksum::{Checksum, ChecksumAlgorithm, Hasher};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use md5::{Digest, Md5};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Bytes of a frame: how finely a body is handed to the connection, so that a stall is noticed.
pub(crate) const FRAME_BYTES: usize = 64 << 10;

/// Bytes that may be hashed without leaving the asynchronous thread: some hundred microseconds.
const MAX_INLINE_HASH_BYTES: u64 = 1 << 20;

/// A piece of a payload.
#[derive(Debug, Clone)]
pub enum Piece {
    /// In memory.
    Memory(Bytes),
    /// In a spill file.
    Spilled(Extent),
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

    /// A checksum of all bytes. Spilled or long payloads are read on a blocking thread.
    ///
    /// # Errors
    /// The disk's.
    pub async fn checksum(&self, algorithm: ChecksumAlgorithm) -> io::Result<Checksum> {
        self.worked_off(move |payload| {
            let mut hasher = Hasher::new(algorithm);
            payload.each(|bytes| hasher.update(bytes))?;
            Ok(hasher.finish())
        })
        .await
    }

    /// Which of some texts are in the bytes. Spilled or long payloads are read on a blocking thread.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn holds(&self, texts: Vec<String>) -> io::Result<Vec<bool>> {
        let payload = self.clone();
        let work = move || payload.search(&texts);
        if self.is_short() {
            return work();
        }
        crate::cpu::scheduler::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    fn search(&self, texts: &[String]) -> io::Result<Vec<bool>> {
        let longest = texts.iter().map(String::len).max().unwrap_or_default();
        let mut found = vec![false; texts.len()];
        // What a text may have begun with before the piece that is being looked at.
        let mut window: Vec<u8> = Vec::new();
        for piece in self.pieces.iter() {
            let mut at = 0;
            while at < piece.length() {
                let frame = piece.read(at, FRAME_BYTES)?;
                at += frame.len() as u64;
                window.extend_from_slice(&frame);
                for (text, found) in texts.iter().zip(&mut found).filter(|(_, found)| !**found) {
                    *found = memchr::memmem::find(&window, text.as_bytes()).is_some();
                }
                window.drain(..window.len().saturating_sub(longest));
            }
        }
        Ok(found)
    }

    /// All bytes in one piece. Spilled pieces are read on a blocking thread.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn bytes(&self) -> io::Result<Bytes> {
        self.worked_off(|payload| {
            let mut whole = BytesMut::new();
            payload.each(|bytes| whole.extend_from_slice(bytes))?;
            Ok(whole.freeze())
        })
        .await
    }

    /// Few bytes, and all in memory.
    fn is_short(&self) -> bool {
        self.length <= MAX_INLINE_HASH_BYTES && self.pieces.iter().all(|piece| matches!(piece, Piece::Memory(_)))
    }

    /// The MD5 of all bytes, read in the same way.
    ///
    /// # Errors
    /// The disk's.
    pub async fn md5(&self) -> io::Result<[u8; 16]> {
        self.worked_off(|payload| {
            let mut hasher = Md5::new();
            payload.each(|bytes| hasher.update(bytes))?;
            Ok(hasher.finalize().into())
        })
        .await
    }

    async fn worked_off<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        if self.is_short() {
            return work(self);
        }
        let payload = self.clone();
        crate::cpu::scheduler::spawn_blocking(move || work(&payload)).await.map_err(io::Error::other)?
    }

    /// Shows all bytes, in order.
    fn each(&self, mut show: impl FnMut(&[u8])) -> io::Result<()> {
        for piece in self.pieces.iter() {
            if let Piece::Memory(bytes) = piece {
                show(bytes);
                continue;
            }
            let mut at = 0;
            while at < piece.length() {
                let frame = piece.read(at, FRAME_BYTES)?;
                at += frame.len() as u64;
                show(&frame);
            }
        }
        Ok(())
    }

    /// A body of the bytes, which counts what has left in `progress`.
    pub fn body(&self, progress: Arc<Progress>) -> Frames {
        Frames { payload: self.clone(), piece: 0, at: 0, left: self.length, reading: None, progress }
    }
}

/// How far a body has got.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
}

impl Progress {
    /// Bytes that the connection has taken.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The body of a request, frame by frame.
#[derive(Debug)]
pub struct Frames {
    payload: Payload,
    piece: usize,
    at: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    progress: Arc<Progress>,
}

impl Frames {
    fn took(&mut self, frame: Bytes) -> Frame<Bytes> {
        let bytes = frame.len() as u64;
        self.at += bytes;
        self.left -= bytes.min(self.left);
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        Frame::data(frame)
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let frame = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).flatten();
                self.reading = None;
                return Poll::Ready(Some(frame.map(|frame| self.took(frame))));
            }
            let Some(piece) = self.payload.pieces.get(self.piece) else { return Poll::Ready(None) };
            if self.at >= piece.length() {
                self.piece += 1;
                self.at = 0;
                continue;
            }
            match piece {
                Piece::Memory(_) => {
                    let frame = piece.read(self.at, FRAME_BYTES);
                    return Poll::Ready(Some(frame.map(|frame| self.took(frame))));
                }
                Piece::Spilled(_) => {
                    let (piece, at) = (piece.clone(), self.at);
                    self.reading = Some(crate::cpu::scheduler::spawn_blocking(move || piece.read(at, FRAME_BYTES)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
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
            Self::Spilled(extent) => extent.length(),
        }
    }

    /// Reads `length` bytes (or what is left) at `at`; blocks on the disk when spilled.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(length).min(bytes.len())))
            }
            Self::Spilled(extent) => {
                let left = extent.length().saturating_sub(at).min(length as u64) as usize;
                let mut buffer = vec![0; left];
                extent.read(at, &mut buffer)?;
                Ok(buffer.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn payload() -> (Payload, Vec<u8>) {
        let whole: Vec<u8> = (0..3 * FRAME_BYTES + 7).map(|at| (at % 251) as u8).collect();
        let mut pieces: Vec<Piece> = whole.chunks(FRAME_BYTES + 3).map(|chunk| Piece::Memory(Bytes::copy_from_slice(chunk))).collect();
        pieces.insert(1, Piece::Memory(Bytes::new()));
        (Payload::new(pieces), whole)
    }

    #[tokio::test]
    async fn a_body_gives_every_byte_in_frames_and_counts_them() {
        let (payload, whole) = payload();
        let progress = Arc::new(Progress::default());
        for round in 1..=2 {
            let mut body = payload.body(progress.clone());
            let mut seen = Vec::new();
            while let Some(frame) = body.frame().await {
                let data = frame.expect("in memory").into_data().expect("data");
                assert!(data.len() <= FRAME_BYTES);
                seen.extend_from_slice(&data);
            }
            assert!(body.is_end_stream());
            assert_eq!(seen, whole);
            assert_eq!(progress.bytes(), round * whole.len() as u64);
        }
    }

    #[tokio::test]
    async fn the_checksum_is_that_of_the_whole() {
        let (payload, whole) = payload();
        let long = vec![7; 2 << 20];
        for algorithm in ChecksumAlgorithm::ALL {
            for (payload, bytes) in
                [(&payload, whole.as_slice()), (&Payload::default(), &[]), (&Payload::new(vec![Piece::Memory(long.clone().into())]), &long)]
            {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(bytes);
                assert_eq!(payload.checksum(algorithm).await.expect("in memory"), hasher.finish());
            }
        }
    }
}
