//! Hostile clients of a tenant that try to exhaust the host: floods, silence, and messages that are only small on the wire.
//!
//! They speak hand-written HTTP/2, since no library would do these things, and continue until they are told to stop.

use crate::plugin::Message;
use crate::tables::{Table, ids};
use anyhow::{Context as _, Result};
use arrow_array::{BinaryArray, Int64Array};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use lakegate_cloudquery::proto::plugin::{init, write};
use prost::Message as _;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
const DEFAULT_WINDOW_BYTES: i64 = 65_535;
const MAX_FRAME_BYTES: usize = 16_384;

/// Calls at once over a connection: as many as a tenant may have.
const CALLS: usize = 8;

/// Connections of an attack that holds them: more than a tenant has slots.
const HELD: usize = 40;

/// Bytes that a compressed message decompresses to.
const PACKED_BYTES: usize = 64 << 20;

/// An attack by a client of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// A Write of messages that gzip compresses a thousandfold, for a table that has failed.
    Packed,
    /// As `Packed`, but uncompressed, as fast as messages are accepted.
    Flood,
    /// As `Flood`, with a schema of thousands of columns in each message, which has to be verified.
    Schemas,
    /// Compressed messages to a call without content.
    PackedCalls,
    /// Calls with all the headers that are accepted.
    LongHeaders,
    /// A flood of pings.
    Pings,
    /// Calls that are reset as soon as they are started.
    Resets,
    /// Calls whose responses are not read.
    Unread,
    /// Calls without a message, on every connection available.
    SilentCalls,
    /// A message that is sent byte by byte.
    Drip,
    /// Connections with an incomplete HTTP/2 preface, or none.
    HalfGreetings,
    /// Connections that are opened and closed.
    Connections,
}

impl Attack {
    /// All attacks.
    pub const ALL: [Self; 12] = [
        Self::Packed,
        Self::Flood,
        Self::Schemas,
        Self::PackedCalls,
        Self::LongHeaders,
        Self::Pings,
        Self::Resets,
        Self::Unread,
        Self::SilentCalls,
        Self::Drip,
        Self::HalfGreetings,
        Self::Connections,
    ];

    /// The name of the attack.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Flood => "flood",
            Self::Schemas => "schemas",
            Self::PackedCalls => "packed-calls",
            Self::LongHeaders => "long-headers",
            Self::Pings => "pings",
            Self::Resets => "resets",
            Self::Unread => "unread",
            Self::SilentCalls => "silent-calls",
            Self::Drip => "drip",
            Self::HalfGreetings => "half-greetings",
            Self::Connections => "connections",
        }
    }

    /// Attacks the tenant at `address` (HOST:PORT), whose sessions open with `spec`, until told to stop. Returns the number of steps, so that an
    /// attack that did nothing is noticed.
    ///
    /// # Errors
    /// The address does not accept connections.
    pub async fn run(self, address: &str, spec: &Value, stop: &CancellationToken) -> Result<u64> {
        let done = AtomicUsize::new(0);
        while !stop.is_cancelled() {
            let round = async {
                match self {
                    Self::Packed | Self::Flood | Self::Schemas => self.write(address, spec, &done).await,
                    Self::HalfGreetings | Self::Connections => self.connect(address, &done).await,
                    Self::SilentCalls | Self::Drip | Self::Unread => self.hold(address, &done).await,
                    Self::PackedCalls | Self::LongHeaders | Self::Pings | Self::Resets => self.calls(address, &done).await,
                }
            };
            // A server that hangs up is what an attack has to expect: it comes again.
            tokio::select! {
                () = stop.cancelled() => {}
                ended = round => if ended.is_err() { tokio::time::sleep(Duration::from_millis(20)).await },
            }
        }
        Ok(done.into_inner() as u64)
    }

    /// Opens a session, lets a table fail, and goes on with messages of it.
    async fn write(self, address: &str, spec: &Value, done: &AtomicUsize) -> Result<()> {
        let mut line = Line::open(address, &[]).await?;
        let init = init::Request { spec: spec.to_string().into(), no_connection: false, invocation_id: "attack".to_owned() };
        let call = line.begin("/cloudquery.plugin.v3.Plugin/Init", &[], false).await?;
        line.send(call, &framed(0, &init.encode_to_vec()), true).await?;
        line.ended(call).await?;
        let encoding: &[(&str, &str)] = if self == Self::Packed { &[("grpc-encoding", "gzip")] } else { &[] };
        let call = line.begin("/cloudquery.plugin.v3.Plugin/Write", encoding, false).await?;
        let insert = |ipc: Vec<u8>| write::Request::from(Message::Insert(ipc.into())).encode_to_vec();
        line.send(call, &framed(0, &insert(ids("t", 0..1))), false).await?;
        let message = match self {
            Self::Packed => framed(1, &packed(&insert(zeros(PACKED_BYTES)?))?),
            Self::Schemas => framed(0, &insert(wide(2_000)?)),
            _ => framed(0, &insert(zeros(1 << 20)?)),
        };
        loop {
            line.send(call, &message, false).await?;
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Repeats short calls.
    async fn calls(self, address: &str, done: &AtomicUsize) -> Result<()> {
        let mut line = Line::open(address, &[]).await?;
        let message = framed(1, &packed(&vec![0; 2 << 20])?);
        let long = "x".repeat(3_000);
        let long: Vec<(&str, &str)> = ["x-a", "x-b", "x-c", "x-d"].map(|name| (name, long.as_str())).into();
        loop {
            match self {
                Self::Pings => line.write(&frame(PING, 0, 0, &[7; 8]).repeat(100)).await?,
                Self::Resets => {
                    let call = line.begin(GET_NAME, &[], false).await?;
                    line.write(&frame(RST_STREAM, 0, call, &8_u32.to_be_bytes())).await?;
                }
                Self::PackedCalls | Self::LongHeaders => {
                    while line.shared.open.load(Ordering::Relaxed) >= CALLS {
                        line.changed().await?;
                    }
                    if self == Self::LongHeaders {
                        let call = line.begin(GET_NAME, &long, false).await?;
                        line.send(call, &framed(0, &[]), true).await?;
                    } else {
                        let call = line.begin(GET_NAME, &[("grpc-encoding", "gzip")], false).await?;
                        line.send(call, &message, true).await?;
                    }
                    line.shared.open.fetch_add(1, Ordering::Relaxed);
                }
                _ => anyhow::bail!("no attack of calls"),
            }
            anyhow::ensure!(!line.shared.over.load(Ordering::Relaxed), "the server has hung up");
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connections that are held, with calls that do not end on each.
    async fn hold(self, address: &str, done: &AtomicUsize) -> Result<()> {
        let mut lines = Vec::new();
        for _ in 0..HELD {
            // No answer fits into a window of nothing.
            let settings: &[u8] = if self == Self::Unread { &[0, INITIAL_WINDOW_SIZE as u8, 0, 0, 0, 0] } else { &[] };
            let Ok(mut line) = Line::open(address, settings).await else { continue };
            for _ in 0..CALLS {
                match self {
                    Self::Unread => {
                        let call = line.begin("/cloudquery.plugin.v3.Plugin/GetSpecSchema", &[], false).await?;
                        line.send(call, &framed(0, &[]), true).await?;
                    }
                    Self::Drip => {
                        let call = line.begin("/cloudquery.plugin.v3.Plugin/Init", &[], false).await?;
                        line.send(call, &[0, 0, 0, 1, 0], false).await?;
                        line.dripping.push(call);
                    }
                    _ => drop(line.begin(GET_NAME, &[], false).await?),
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            lines.push(line);
        }
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for line in &mut lines {
                for call in line.dripping.clone() {
                    // The server may have closed some to make room.
                    let _gone = line.send(call, &[1], false).await;
                }
            }
        }
        Ok(())
    }

    /// Connections without a call.
    async fn connect(self, address: &str, done: &AtomicUsize) -> Result<()> {
        let mut held = Vec::new();
        for number in 0..HELD {
            let mut socket = TcpStream::connect(address).await?;
            if self == Self::HalfGreetings {
                socket.write_all(PREFACE.get(..number % PREFACE.len()).unwrap_or_default()).await?;
                held.push(socket);
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        if self == Self::HalfGreetings {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

impl FromStr for Attack {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|attack| attack.name() == name).with_context(|| format!("no attack is called {name:?}"))
    }
}

const GET_NAME: &str = "/cloudquery.plugin.v3.Plugin/GetName";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A length as HPACK writes it.
fn length(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![value as u8];
    }
    let mut out = vec![127];
    value -= 127;
    while value >= 128 {
        out.push((value % 128) as u8 | 128);
        value /= 128;
    }
    out.push(value as u8);
    out
}

fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0], &length(name.len())[..], name.as_bytes(), &length(value.len()), value.as_bytes()].concat()
}

/// Frames a gRPC message.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

/// Compresses with gzip.
///
/// # Errors
/// None, since it works in memory.
pub fn packed(message: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message)?;
    Ok(encoder.finish()?)
}

/// A message with one row of this many zeros.
fn zeros(bytes: usize) -> Result<Vec<u8>> {
    Table::new("t").column("id", Arc::new(BinaryArray::from_vec(vec![&vec![0; bytes]]))).insert_ipc()
}

/// A message with one row of this many columns.
fn wide(columns: usize) -> Result<Vec<u8>> {
    let table = Table::new("t");
    let one: Arc<Int64Array> = Arc::new(Int64Array::from_iter_values([1]));
    (0..columns).fold(table, |table, number| table.column(&format!("column_{number}"), one.clone())).insert_ipc()
}

/// A connection that knows how much may be sent.
struct Line {
    output: Arc<AsyncMutex<OwnedWriteHalf>>,
    shared: Arc<Shared>,
    next: u32,
    dripping: Vec<u32>,
    _reader: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Flow-control windows by stream; 0 is the connection.
    windows: Mutex<HashMap<u32, i64>>,
    initial: AtomicI64,
    ended: Mutex<Vec<u32>>,
    open: AtomicUsize,
    over: AtomicBool,
    changed: Notify,
}

impl Shared {
    fn windows(&self) -> MutexGuard<'_, HashMap<u32, i64>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    async fn open(address: &str, settings: &[u8]) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (input, mut output) = socket.into_split();
        output.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await?;
        let output = Arc::new(AsyncMutex::new(output));
        let shared = Arc::new(Shared { initial: AtomicI64::new(DEFAULT_WINDOW_BYTES), ..Shared::default() });
        shared.windows().insert(0, DEFAULT_WINDOW_BYTES);
        let reader = tokio::spawn({
            let (output, shared) = (output.clone(), shared.clone());
            async move {
                let _ended = read(input, &output, &shared).await;
                shared.over.store(true, Ordering::Relaxed);
                shared.changed.notify_waiters();
                shared.changed.notify_one();
            }
        });
        Ok(Self { output, shared, next: 1, dripping: Vec::new(), _reader: AbortOnDropHandle::new(reader) })
    }

    async fn write(&self, bytes: &[u8]) -> Result<()> {
        Ok(self.output.lock().await.write_all(bytes).await?)
    }

    /// Waits for any new frame from the server.
    async fn changed(&self) -> Result<()> {
        anyhow::ensure!(!self.shared.over.load(Ordering::Relaxed), "the server has hung up");
        let _soon = tokio::time::timeout(Duration::from_millis(50), self.shared.changed.notified()).await;
        Ok(())
    }

    async fn begin(&mut self, path: &str, more: &[(&str, &str)], end: bool) -> Result<u32> {
        let call = self.next;
        self.next += 2;
        self.shared.windows().insert(call, self.shared.initial.load(Ordering::Relaxed));
        let own = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let block: Vec<u8> = own.iter().chain(more).flat_map(|(name, value)| field(name, value)).collect();
        self.write(&frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, call, &block)).await?;
        Ok(call)
    }

    /// Sends bytes of a call as the server has room for them.
    async fn send(&self, call: u32, bytes: &[u8], end: bool) -> Result<()> {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            let room = {
                let mut windows = self.shared.windows();
                let room = [0, call].map(|stream| windows.get(&stream).copied().unwrap_or(0)).into_iter().min().unwrap_or(0);
                let room = room.min(rest.len().min(MAX_FRAME_BYTES) as i64).max(0);
                for stream in [0, call] {
                    windows.entry(stream).and_modify(|window| *window -= room);
                }
                room as usize
            };
            if room == 0 {
                self.changed().await?;
                continue;
            }
            let piece = rest.split_to(room);
            let flags = if end && rest.is_empty() { END_STREAM } else { 0 };
            self.write(&frame(DATA, flags, call, &piece)).await?;
        }
        Ok(())
    }

    /// Waits until a call is answered.
    async fn ended(&self, call: u32) -> Result<()> {
        while !self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).contains(&call) {
            self.changed().await?;
        }
        Ok(())
    }
}

/// Reads what the server says, and keeps the windows.
async fn read(mut input: OwnedReadHalf, output: &AsyncMutex<OwnedWriteHalf>, shared: &Shared) -> Result<()> {
    let mut head = [0; 9];
    loop {
        input.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        input.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let &[i0, i1, v0, v1, v2, v3] = setting else { continue };
                    if u16::from_be_bytes([i0, i1]) == INITIAL_WINDOW_SIZE {
                        let now = i64::from(u32::from_be_bytes([v0, v1, v2, v3]));
                        let more = now - shared.initial.swap(now, Ordering::Relaxed);
                        shared.windows().iter_mut().filter(|(stream, _)| **stream != 0).for_each(|(_, window)| *window += more);
                    }
                }
                output.lock().await.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            PING if flags & ACK == 0 => output.lock().await.write_all(&frame(PING, ACK, 0, &payload)).await?,
            WINDOW_UPDATE => {
                if let Some(more) = payload.first_chunk::<4>() {
                    let more = i64::from(u32::from_be_bytes(*more));
                    shared.windows().entry(stream).and_modify(|window| *window += more);
                }
            }
            DATA | HEADERS if flags & END_STREAM != 0 => close(shared, stream),
            RST_STREAM => close(shared, stream),
            _ => continue,
        }
        shared.changed.notify_one();
    }
}

fn close(shared: &Shared, stream: u32) {
    shared.windows().remove(&stream);
    let mut ended = shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
    if ended.len() < CALLS {
        ended.push(stream);
    }
    let _was = shared.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| open.checked_sub(1));
}
