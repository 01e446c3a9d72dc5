//! Repairs the `:authority` header of clients that dial a unix socket.
//!
//! The Go and C clients send the socket's path as the authority, percent-encoded (`%2Ftmp%2Fcq.sock`). Rust's HTTP types refuse a `%`
//! there and the stream would be reset before any code of ours sees it. [`RepairAuthority`] sits between the socket and the HTTP/2 stack:
//! it follows the frames and replaces the value of an `:authority` literal that holds a path.
//!
//! Invariants:
//! - A replacement is never longer than what it replaces. So the receiver's dynamic table evicts no entry the sender still has, and a
//!   later reference by index finds the repaired value.
//! - What needs no repair passes unchanged, byte for byte. So does everything after the first thing that is not HTTP/2 or not HPACK: to
//!   refuse it is the HTTP/2 stack's business.
//! - At most one header block is held back, at most [`MAX_BLOCK_BYTES`] and [`MAX_BLOCK_FRAMES`] of it, and each of its frames is looked at once
//!   while they come.

mod hpack;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, Join, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// The preface of an HTTP/2 client.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length (3), type (1), flags (1), stream (4).
const FRAME_HEADER_BYTES: usize = 9;
/// HTTP/2's default frame size limit, which the server does not raise: longer blocks continue in CONTINUATION frames.
const MAX_FRAME_BYTES: usize = 16_384;
/// Longer header blocks pass unrepaired. gRPC requests have a few hundred bytes, and the server refuses 16 KiB of headers.
const MAX_BLOCK_BYTES: usize = 64 << 10;
/// Maximum frames of a header block; longer ones pass unrepaired. Clients fill each frame, and the server accepts fewer than this.
const MAX_BLOCK_FRAMES: usize = 64;
/// Bytes read at a time when frames have to be inspected.
const SCRATCH_BYTES: usize = 16 << 10;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Exclusive bit and stream (4), weight (1).
const PRIORITY_BYTES: usize = 5;

/// The reading half of a connection, with its incoming `:authority` headers repaired.
#[derive(Debug)]
pub struct RepairAuthority<S> {
    inner: S,
    repair: Repair,
    ready: Vec<u8>,
    taken: usize,
    scratch: Box<[u8]>,
}

/// A connection whose reading half is repaired; writes pass as they are.
pub(super) type Repaired = Join<RepairAuthority<OwnedReadHalf>, OwnedWriteHalf>;

/// Repairs what comes over `socket`.
pub(super) fn repaired(socket: UnixStream) -> Repaired {
    let (reader, writer) = socket.into_split();
    tokio::io::join(RepairAuthority::new(reader), writer)
}

impl<S> RepairAuthority<S> {
    /// Repairs what comes from `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, repair: Repair::default(), ready: Vec::new(), taken: 0, scratch: vec![0; SCRATCH_BYTES].into() }
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        self.taken += count;
        if self.taken >= self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RepairAuthority<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if !this.ready.is_empty() {
                this.hand_over(buf);
                return Poll::Ready(Ok(()));
            }
            // Most of the input is payload, which goes straight into the reader's buffer.
            let plain = this.repair.passing().min(buf.remaining());
            if plain > 0 {
                let mut direct = ReadBuf::new(buf.initialize_unfilled_to(plain));
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut direct))?;
                let count = direct.filled().len();
                buf.advance(count);
                this.repair.passed(count);
                return Poll::Ready(Ok(()));
            }
            let mut scratch = ReadBuf::new(&mut this.scratch);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut scratch))?;
            if scratch.filled().is_empty() {
                // End of input. The buffered bytes belong to an incomplete frame, which the HTTP/2 stack has to see.
                this.repair.give_up(&mut this.ready);
                this.hand_over(buf);
                return Poll::Ready(Ok(()));
            }
            this.repair.push(scratch.filled(), &mut this.ready);
        }
    }
}

/// The repair without the socket: bytes in, bytes out.
#[derive(Debug, Default)]
struct Repair {
    state: State,
    /// Buffered bytes of something incomplete, unchanged.
    held: Vec<u8>,
    /// Bytes of `held` in frames of a block that are followed by another, and how many these are.
    walked: usize,
    frames: usize,
    names: hpack::Names,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before and in the connection preface.
    #[default]
    Preface,
    /// Before and in a frame's header, or a HEADERS frame and its CONTINUATIONs.
    Frame,
    /// This many bytes of a payload that need no inspection.
    Payload(usize),
    /// Not HTTP/2 as we know it: everything passes.
    Raw,
}

impl Repair {
    /// Bytes that may pass without inspection.
    fn passing(&self) -> usize {
        match self.state {
            State::Preface | State::Frame => 0,
            State::Payload(left) => left,
            State::Raw => usize::MAX,
        }
    }

    /// Records that this many bytes have passed.
    fn passed(&mut self, count: usize) {
        if let State::Payload(left) = self.state {
            let left = left.saturating_sub(count);
            self.state = if left == 0 { State::Frame } else { State::Payload(left) };
        }
    }

    /// Processes input, and appends what may pass to `out`.
    fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let plain = self.passing().min(input.len());
            let (now, later) = input.split_at(plain);
            out.extend_from_slice(now);
            self.passed(plain);
            input = later;
            if !input.is_empty() && self.passing() == 0 {
                input = self.hold(input, out);
            }
        }
    }

    /// Buffers what is needed for the next complete item, processes it once it is complete, and returns the remaining input.
    fn hold<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let missing = self.wanted().saturating_sub(self.held.len());
        let (now, later) = input.split_at(missing.min(input.len()));
        self.held.extend_from_slice(now);
        if self.held.len() >= self.wanted() {
            self.settle(out);
        }
        later
    }

    /// How many bytes must be buffered before something can be decided.
    fn wanted(&mut self) -> usize {
        if self.state == State::Preface {
            return PREFACE.len();
        }
        while let Some(frame) = FrameHeader::at(&self.held, self.walked) {
            let end = self.walked + frame.total();
            if frame.kind != HEADERS && frame.kind != CONTINUATION || end > MAX_BLOCK_BYTES || self.frames >= MAX_BLOCK_FRAMES {
                break;
            }
            if frame.has(END_HEADERS) {
                return end;
            }
            if self.held.len() < end + FRAME_HEADER_BYTES {
                return end + FRAME_HEADER_BYTES;
            }
            self.walked = end;
            self.frames += 1;
        }
        self.walked + FRAME_HEADER_BYTES
    }

    /// Enough bytes are buffered to decide.
    fn settle(&mut self, out: &mut Vec<u8>) {
        if self.state == State::Preface {
            return if self.held == PREFACE { self.release(State::Frame, out) } else { self.give_up(out) };
        }
        let Some(first) = FrameHeader::at(&self.held, 0) else { return };
        let is_too_long = first.kind == HEADERS && first.total() > MAX_BLOCK_BYTES;
        if first.kind == CONTINUATION || is_too_long || self.frames >= MAX_BLOCK_FRAMES {
            return self.give_up(out);
        }
        if first.kind != HEADERS {
            let next = if first.length == 0 { State::Frame } else { State::Payload(first.length) };
            return self.release(next, out);
        }
        match Block::join(&self.held) {
            Joined::Whole(block) => match hpack::repair(&block.fields, &mut self.names) {
                Ok(None) => self.release(State::Frame, out),
                Ok(Some(fields)) => {
                    block.write(&fields, out);
                    self.held.clear();
                    (self.walked, self.frames) = (0, 0);
                }
                Err(hpack::Malformed) => self.give_up(out),
            },
            Joined::Unfinished => {}
            Joined::Broken => self.give_up(out),
        }
    }

    fn release(&mut self, next: State, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        (self.walked, self.frames) = (0, 0);
        self.state = next;
    }

    /// Lets everything pass from now on.
    fn give_up(&mut self, out: &mut Vec<u8>) {
        self.release(State::Raw, out);
    }
}

/// The nine bytes before every payload.
#[derive(Debug, Clone, Copy)]
struct FrameHeader {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl FrameHeader {
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.get(at..)?.first_chunk::<FRAME_HEADER_BYTES>()?;
        Some(Self { length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c), kind, flags, stream: [s0, s1, s2, s3] })
    }

    fn total(self) -> usize {
        FRAME_HEADER_BYTES + self.length
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The header block of one request, joined from its frames.
#[derive(Debug)]
struct Block {
    flags: u8,
    stream: [u8; 4],
    priority: Vec<u8>,
    fields: Vec<u8>,
}

enum Joined {
    Whole(Block),
    Unfinished,
    Broken,
}

impl Block {
    fn join(held: &[u8]) -> Joined {
        Self::try_join(held).unwrap_or(Joined::Broken)
    }

    /// `None` if the frames do not belong together, or if padding is longer than its frame.
    fn try_join(held: &[u8]) -> Option<Joined> {
        let first = FrameHeader::at(held, 0)?;
        let Some(mut payload) = held.get(FRAME_HEADER_BYTES..first.total()) else { return Some(Joined::Unfinished) };
        if first.has(PADDED) {
            let (&padding, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(padding.into())?)?;
        }
        let (priority, fields) = payload.split_at_checked(if first.has(PRIORITY) { PRIORITY_BYTES } else { 0 })?;
        let mut block = Self {
            flags: (first.flags & !PADDED) | END_HEADERS,
            stream: first.stream,
            priority: priority.to_vec(),
            fields: fields.to_vec(),
        };
        let (mut frame, mut at) = (first, 0);
        while !frame.has(END_HEADERS) {
            at += frame.total();
            let Some(next) = FrameHeader::at(held, at) else { return Some(Joined::Unfinished) };
            if next.kind != CONTINUATION || next.stream != first.stream || at + next.total() > MAX_BLOCK_BYTES {
                return None;
            }
            let Some(more) = held.get(at + FRAME_HEADER_BYTES..at + next.total()) else { return Some(Joined::Unfinished) };
            block.fields.extend_from_slice(more);
            frame = next;
        }
        Some(Joined::Whole(block))
    }

    /// Writes it as frames with the given fields, without padding.
    fn write(&self, fields: &[u8], out: &mut Vec<u8>) {
        let (head, mut rest) = fields.split_at(fields.len().min(MAX_FRAME_BYTES - PRIORITY_BYTES));
        let flags = if rest.is_empty() { self.flags } else { self.flags & !END_HEADERS };
        write_frame(HEADERS, flags, self.stream, &[&self.priority, head], out);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(MAX_FRAME_BYTES));
            write_frame(CONTINUATION, if later.is_empty() { END_HEADERS } else { 0 }, self.stream, &[now], out);
            rest = later;
        }
    }
}

fn write_frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = payload.iter().map(|piece| piece.len()).sum();
    let [_, .., a, b, c] = length.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream);
    payload.iter().for_each(|piece| out.extend_from_slice(piece));
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod wire;
