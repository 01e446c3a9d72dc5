//! Decompresses gzip messages in pieces, so that a message that is small on the wire but large in memory is work like any other: charged to its
//! sender, and interleaved with that of others.
//!
//! tonic decompresses a message in one go, on a thread that serves all connections. So a request's body is rewritten before tonic sees it: each
//! compressed message is passed on uncompressed. Its length is known from gzip's last four bytes and checked against them, so the pieces need not be
//! collected here.

use bytes::buf::{Buf as _, Reader};
use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use http_body::{Body as HttpBody, Frame};
use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

/// Bytes read and produced at a time: less than a millisecond of work.
const PIECE_BYTES: usize = 64 << 10;

/// The flag (1) and the length (4) before each message.
const HEAD_BYTES: usize = 5;

/// The header with a client's message compression.
const ENCODING: &str = "grpc-encoding";

/// A service whose gzip-compressed requests are decompressed in pieces.
#[derive(Debug, Clone)]
pub(super) struct Unpack<S> {
    pub(super) inner: S,
    /// Maximum bytes of a message, compressed or not.
    pub(super) most_bytes: usize,
    /// Time limit for the body of a request, if there is one.
    pub(super) limit: Option<Duration>,
}

impl<S: NamedService> NamedService for Unpack<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Unpack<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let is_gzip = request.headers().get(ENCODING).is_some_and(|encoding| encoding == "gzip");
        if is_gzip {
            request.headers_mut().remove(ENCODING);
        }
        let (most_bytes, limit) = (self.most_bytes, self.limit);
        let state = if is_gzip { State::Head(BytesMut::new()) } else { State::AsItIs };
        let limit = limit.map(|limit| (Box::pin(tokio::time::sleep(limit)), limit));
        self.inner.call(
            request.map(|body| Body::new(UnpackedBody { body, state, input: Bytes::new(), most_bytes, limit, worked: 0, ended: false })),
        )
    }
}

/// A request body that is being decompressed, see [`Unpack`].
struct UnpackedBody<B> {
    body: B,
    state: State,
    /// Received bytes that were not processed yet.
    input: Bytes,
    most_bytes: usize,
    limit: Option<(Pin<Box<Sleep>>, Duration)>,
    /// Bytes processed since the last yield.
    worked: usize,
    /// An error or the end was returned.
    ended: bool,
}

enum State {
    /// Nothing is compressed, or the encoding is unknown: everything passes.
    AsItIs,
    /// At the header of a message.
    Head(BytesMut),
    /// In an uncompressed message with this many bytes left.
    Plain(usize),
    /// A compressed message with this many bytes missing.
    Packed(BytesMut, usize),
    /// A complete compressed message.
    Unpacking(Box<Unpacking>),
}

/// A message that is being decompressed.
struct Unpacking {
    from: GzDecoder<InPieces>,
    /// Remaining bytes, according to the message.
    left: usize,
}

/// A reader that provides a limited number of bytes and then blocks.
struct InPieces {
    all: Reader<Bytes>,
    allowed: usize,
}

impl BufRead for InPieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let all = self.all.fill_buf()?;
        if self.allowed == 0 && !all.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(all.get(..all.len().min(self.allowed)).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.allowed = self.allowed.saturating_sub(bytes);
        self.all.consume(bytes);
    }
}

impl Read for InPieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let count = piece.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..count), piece.get(..count)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.consume(count);
        Ok(count)
    }
}

fn corrupt(why: impl std::fmt::Display) -> Status {
    Status::internal(format!("Error decompressing: {why}, while sending request"))
}

/// The header of an uncompressed message.
fn head(length: u32) -> Bytes {
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    head.put_u8(0);
    head.put_u32(length);
    head.freeze()
}

impl Unpacking {
    /// A complete message, and its decompressed length.
    fn new(packed: Bytes) -> Result<(Self, u32), Status> {
        let length = packed.last_chunk::<4>().map(|length| u32::from_le_bytes(*length));
        let length = length.ok_or_else(|| corrupt("the gzip stream is cut off"))?;
        let from = GzDecoder::new(InPieces { all: packed.reader(), allowed: PIECE_BYTES });
        Ok((Self { from, left: length as usize }, length))
    }

    /// The next piece, and whether it is the last. It may be empty, since compressed data may be longer than its content.
    fn piece(&mut self) -> Result<(Bytes, bool), Status> {
        // Ask for one more byte than remains, so that the end of the stream and its checksum are read.
        let mut piece = BytesMut::zeroed(PIECE_BYTES.min(self.left + 1));
        let mut count = 0;
        let ended = loop {
            match self.from.read(piece.get_mut(count..).unwrap_or_default()) {
                // Without buffer space it reads nothing.
                Ok(0) => break count < piece.len(),
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) => return Err(corrupt(error)),
            }
        };
        piece.truncate(count);
        self.left = self.left.checked_sub(count).ok_or_else(|| corrupt("the message is longer than its last bytes say"))?;
        if ended && self.left > 0 {
            return Err(corrupt("the message is shorter than its last bytes say"));
        }
        Ok((piece.freeze(), ended))
    }
}

impl<B> UnpackedBody<B> {
    /// Processes the received bytes; `None` if more are needed.
    fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            match &mut self.state {
                State::AsItIs => return Ok((!self.input.is_empty()).then(|| std::mem::take(&mut self.input))),
                State::Head(seen) => {
                    let missing = HEAD_BYTES - seen.len();
                    seen.extend_from_slice(&self.input.split_to(missing.min(self.input.len())));
                    let &[flag, a, b, c, d] = &seen[..] else { return Ok(None) };
                    let length = u32::from_be_bytes([a, b, c, d]) as usize;
                    let seen = seen.split().freeze();
                    self.state = match flag {
                        0 => State::Plain(length),
                        1 if length <= self.most_bytes => {
                            self.state = State::Packed(BytesMut::new(), length);
                            continue;
                        }
                        // Pass it on as an uncompressed message of that length, which is refused with the same message.
                        1 => {
                            self.state = State::AsItIs;
                            return Ok(Some(head(u32::from_be_bytes([a, b, c, d]))));
                        }
                        // The layer above refuses it.
                        _ => State::AsItIs,
                    };
                    return Ok(Some(seen));
                }
                State::Plain(0) => self.state = State::Head(BytesMut::new()),
                State::Plain(left) => {
                    if self.input.is_empty() {
                        return Ok(None);
                    }
                    let piece = self.input.split_to((*left).min(self.input.len()));
                    *left -= piece.len();
                    return Ok(Some(piece));
                }
                State::Packed(packed, missing) => {
                    let piece = self.input.split_to((*missing).min(self.input.len()));
                    packed.extend_from_slice(&piece);
                    *missing -= piece.len();
                    if *missing > 0 {
                        return Ok(None);
                    }
                    let (unpacking, length) = Unpacking::new(packed.split().freeze())?;
                    // A message that is too long is refused because of its header alone.
                    self.state = if length as usize > self.most_bytes { State::AsItIs } else { State::Unpacking(Box::new(unpacking)) };
                    return Ok(Some(head(length)));
                }
                State::Unpacking(unpacking) => {
                    unpacking.from.get_mut().allowed = PIECE_BYTES;
                    let (piece, ended) = unpacking.piece()?;
                    self.worked += PIECE_BYTES - unpacking.from.get_ref().allowed + piece.len();
                    if ended {
                        self.state = State::Head(BytesMut::new());
                    }
                    return Ok(Some(piece));
                }
            }
        }
    }

    fn is_between_messages(&self) -> bool {
        match &self.state {
            State::AsItIs => true,
            State::Head(seen) => seen.is_empty(),
            State::Plain(left) => *left == 0,
            State::Packed(..) | State::Unpacking(_) => false,
        }
    }
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> HttpBody for UnpackedBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some((limit, length)) = &mut this.limit
            && limit.as_mut().poll(cx).is_ready()
        {
            this.ended = true;
            let message = format!("the message of this call has not come within {} s", length.as_secs());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(message))));
        }
        loop {
            if this.worked >= PIECE_BYTES {
                // Yield to others, and charge this one for its share.
                this.worked = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match this.next() {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => {}
                Err(status) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.input = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Some(Err(status)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => {
                    this.ended = true;
                    let cut_off = || Err(Status::internal("Unexpected EOF decoding stream."));
                    return Poll::Ready(if this.is_between_messages() { None } else { Some(cut_off()) });
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.input.is_empty() && self.is_between_messages() && self.body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use proptest::prelude::*;
    use std::io::Write as _;

    fn packed(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(message).expect("in memory");
        encoder.finish().expect("in memory")
    }

    /// A message with its header.
    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        [&[flag], &(message.len() as u32).to_be_bytes()[..], message].concat()
    }

    fn body(sent: &[u8], pieces: usize, most_bytes: usize) -> UnpackedBody<Body> {
        let frames: Vec<_> = sent.chunks(pieces.max(1)).map(|piece| Ok::<_, Status>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
        UnpackedBody { body, state: State::Head(BytesMut::new()), input: Bytes::new(), most_bytes, limit: None, worked: 0, ended: false }
    }

    /// The output: all bytes, or the error.
    fn unpacked(sent: &[u8], pieces: usize, most_bytes: usize) -> Result<Vec<u8>, Status> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a run time");
        runtime.block_on(body(sent, pieces, most_bytes).collect()).map(|all| all.to_bytes().to_vec())
    }

    proptest! {
        #[test]
        fn compressed_messages_go_on_as_they_were(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 1..2_000_usize), 0..5),
            pieces in 1..5_000_usize,
        ) {
            let messages: Vec<_> = messages.into_iter().map(|(gzip, message, times)| (gzip, message.repeat(times))).collect();
            let sent: Vec<u8> =
                messages.iter().flat_map(|(gzip, message)| if *gzip { framed(1, &packed(message)) } else { framed(0, message) }).collect();
            let plain: Vec<u8> = messages.iter().flat_map(|(_, message)| framed(0, message)).collect();
            prop_assert_eq!(unpacked(&sent, pieces, 1 << 20).map_err(|status| status.message().to_owned()), Ok(plain));
        }

        #[test]
        fn no_bytes_are_too_strange(sent in prop::collection::vec(any::<u8>(), 0..200), cut in 0..100_usize, pieces in 1..50_usize) {
            let mut good = framed(1, &packed(b"some words that are to be packed"));
            good.splice(cut.min(good.len() - 1).., sent.iter().copied());
            for sent in [sent, good] {
                let _any = unpacked(&sent, pieces, 1 << 16);
            }
        }
    }

    #[test]
    fn what_a_message_says_of_itself_is_held_to() {
        let good = packed(b"words");
        let said = |length: u32| [&good[..good.len() - 4], &length.to_le_bytes()].concat();
        for (message, expected) in [
            (said(4), "longer than its last bytes say"),
            (said(6), "corrupt gzip"),
            (good[..good.len() - 1].to_vec(), "Error decompressing"),
            (vec![], "the gzip stream is cut off"),
            (b"plain words, and 0 bytes of them: \0\0\0\0".to_vec(), "Error decompressing"),
        ] {
            let status = unpacked(&framed(1, &message), 1_000, 1 << 20).expect_err(expected);
            assert!(status.message().contains(expected), "{expected:?}: {status:?}");
        }
        let status = unpacked(&framed(1, &good)[..12], 3, 1 << 20).expect_err("cut off");
        assert_eq!(status.message(), "Unexpected EOF decoding stream.");
    }

    #[test]
    fn what_is_too_long_goes_on_as_its_head_alone() {
        // Too long compressed, or too long decompressed.
        let random: Vec<u8> = (0..2_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for (message, most) in [(packed(&random), 1_000), (packed(&[7; 2_000]), 1_000)] {
            let claimed = if message.len() > most { message.len() } else { 2_000 };
            let out = unpacked(&framed(1, &message), 100, most).expect("refused above");
            assert_eq!(out[..5], head(claimed as u32)[..], "{claimed}");
        }
    }

    /// Whatever a message decompresses to, and however long it is for its content, others get their turn in between.
    #[tokio::test]
    async fn unpacking_is_done_in_pieces() {
        // Blocks of nothing: a byte order of flate that says "stored, 0 bytes".
        let nothing = {
            let whole = packed(b"");
            let (start, trailer) = (&whole[..10], &whole[whole.len() - 8..]);
            [start, &[0, 0, 0, 0xff, 0xff].repeat(400_000), &[1, 0, 0, 0xff, 0xff], trailer].concat()
        };
        for (message, least) in [(packed(&vec![0; 64 * PIECE_BYTES]), 64), (nothing, 30)] {
            let mut body = body(&framed(1, &message), 1 << 30, 1 << 30);
            let (mut turns, mut largest) = (0, 0);
            loop {
                match futures::poll!(body.frame()) {
                    Poll::Pending => turns += 1,
                    Poll::Ready(Some(frame)) => largest = largest.max(frame.expect("good").into_data().map_or(0, |data| data.len())),
                    Poll::Ready(None) => break,
                }
            }
            assert!(turns >= least && largest <= PIECE_BYTES, "{turns} turns, {largest} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let silent = Body::new(StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>()));
        let limit = Duration::from_secs(60);
        let limit = Some((Box::pin(tokio::time::sleep(limit)), limit));
        let mut body =
            UnpackedBody { body: silent, state: State::AsItIs, input: Bytes::new(), most_bytes: 1, limit, worked: 0, ended: false };
        let status = body.frame().await.expect("an answer").expect_err("too late");
        assert_eq!(status.message(), "the message of this call has not come within 60 s");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_seen_through() {
        let all = Body::new(Full::new(Bytes::from(framed(1, &packed(b"words")))));
        let mut body = UnpackedBody {
            body: all,
            state: State::Head(BytesMut::new()),
            input: Bytes::new(),
            most_bytes: 99,
            limit: None,
            worked: 0,
            ended: false,
        };
        while let Some(frame) = body.frame().await {
            frame.expect("good");
        }
        assert!(body.is_end_stream());
    }
}
