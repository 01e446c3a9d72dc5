//! A low-level HTTP/2 client that sends exactly the frames it is told to, for call endings that no regular client produces.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use lakegate_cloudquery::proto::plugin::write;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::plugin::Message;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// The client preface.
const DEFAULT_WINDOW_BYTES: i64 = 65_535;
const MAX_FRAME_BYTES: usize = 16_384;
/// The call's stream; nothing else goes over the connection.
const STREAM: u32 = 1;

/// How the client ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// END_STREAM: the client has sent everything.
    HalfClose,
    /// RST_STREAM with this code: 0 is NO_ERROR, 8 is CANCEL.
    Reset(u32),
    /// The connection is closed regularly.
    Close,
    /// The connection is reset, as when a machine restarts.
    ResetConnection,
}

/// A Write call.
#[derive(Debug)]
pub struct Call {
    output: OwnedWriteHalf,
    windows: Arc<Windows>,
    reader: JoinHandle<Vec<u8>>,
}

/// How much may be sent: on the connection (0) and on the stream.
#[derive(Debug, Default)]
struct Windows {
    bytes: Mutex<HashMap<u32, i64>>,
    grown: Notify,
}

impl Windows {
    fn grow(&self, stream: u32, by: i64) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner).entry(stream).or_insert(DEFAULT_WINDOW_BYTES) += by;
        self.grown.notify_waiters();
    }

    /// Takes up to `wanted` bytes off both windows, and waits while one is empty.
    async fn take(&self, wanted: usize) -> usize {
        loop {
            let grown = self.grown.notified();
            {
                let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
                let room = [0, STREAM].map(|stream| *bytes.entry(stream).or_insert(DEFAULT_WINDOW_BYTES)).into_iter().min().unwrap_or(0);
                let taken = room.min(wanted as i64);
                if taken > 0 {
                    for stream in [0, STREAM] {
                        bytes.entry(stream).and_modify(|bytes| *bytes -= taken);
                    }
                    return taken as usize;
                }
            }
            grown.await;
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes a literal HPACK field.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

impl Call {
    /// Connects to `address` (HOST:PORT) and begins a Write.
    ///
    /// # Errors
    /// The address does not accept connections.
    pub async fn open(address: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (input, mut output) = socket.into_split();
        let headers = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", "/cloudquery.plugin.v3.Plugin/Write"),
            field(":authority", address),
            field("content-type", "application/grpc"),
            field("te", "trailers"),
        ];
        output.write_all(PREFACE).await?;
        output.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        output.write_all(&frame(HEADERS, END_HEADERS, STREAM, &headers.concat())).await?;
        let windows = Arc::<Windows>::default();
        let (seen, settings) = oneshot::channel();
        let reader = tokio::spawn(read(input, windows.clone(), seen));
        // The server's larger window holds from the acknowledgement on.
        settings.await.context("the server has no settings")?;
        output.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        Ok(Self { output, windows, reader })
    }

    /// Sends a complete message.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        self.send_bytes(&write::Request::from(message).encode_to_vec()).await
    }

    /// Sends any bytes as a message.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn send_bytes(&mut self, message: &[u8]) -> Result<()> {
        let length = u32::try_from(message.len())?.to_be_bytes();
        let mut rest = Bytes::from([&[0][..], &length, message].concat());
        while !rest.is_empty() {
            let taken = self.windows.take(rest.len().min(MAX_FRAME_BYTES)).await;
            let piece = rest.split_to(taken);
            self.output.write_all(&frame(DATA, 0, STREAM, &piece)).await?;
        }
        Ok(())
    }

    /// Ends the call, and answers the payloads of what the server's HEADERS frames on it said, for those who still listen.
    ///
    /// # Errors
    /// The connection failed earlier.
    pub async fn end(mut self, end: End) -> Result<Vec<u8>> {
        match end {
            End::HalfClose => self.output.write_all(&frame(DATA, END_STREAM, STREAM, &[])).await?,
            End::Reset(code) => self.output.write_all(&frame(RST_STREAM, 0, STREAM, &code.to_be_bytes())).await?,
            End::Close => self.output.shutdown().await?,
            End::ResetConnection => {
                self.reader.abort();
                let _aborted = self.reader.await;
                let socket: &TcpStream = self.output.as_ref();
                socket.set_zero_linger().context("a socket that can be reset")?;
                // Without the orderly end that dropping it would be.
                self.output.forget();
                return Ok(Vec::new());
            }
        }
        match end {
            // The connection stays open for as long as the server takes to answer.
            End::HalfClose => Ok(self.reader.await?),
            _ => {
                // Long enough for the server to see the end of the call on a connection that still stands.
                let still = self.reader;
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                    still.abort();
                    drop(self.output);
                });
                Ok(Vec::new())
            }
        }
    }
}

/// Reads frames until the stream ends, and keeps the windows.
async fn read(mut input: OwnedReadHalf, windows: Arc<Windows>, seen: oneshot::Sender<()>) -> Vec<u8> {
    let mut seen = Some(seen);
    let mut headers = Vec::new();
    let mut head = [0; 9];
    while input.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if input.read_exact(&mut payload).await.is_err() {
            break;
        }
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let [i0, i1, v0, v1, v2, v3] = [setting[0], setting[1], setting[2], setting[3], setting[4], setting[5]];
                    if u16::from_be_bytes([i0, i1]) == INITIAL_WINDOW_SIZE {
                        windows.grow(STREAM, i64::from(u32::from_be_bytes([v0, v1, v2, v3])) - DEFAULT_WINDOW_BYTES);
                    }
                }
                // Whoever waited for it may have given up.
                let _ = seen.take().map(|seen| seen.send(()));
            }
            WINDOW_UPDATE if payload.len() == 4 => {
                windows.grow(stream, i64::from(u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])));
            }
            HEADERS => headers.extend_from_slice(&payload),
            _ => {}
        }
        if stream == STREAM && (kind == RST_STREAM || flags & END_STREAM != 0 && matches!(kind, DATA | HEADERS)) {
            break;
        }
    }
    headers
}
