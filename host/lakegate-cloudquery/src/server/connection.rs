//! Connections of the plugin server: each has its own session slot, takes one of its listener's connection slots, and is closed some time after its
//! server was told to stop, whatever its client does.
//!
//! Connection slots are for clients that use them. A client has a few seconds to send the HTTP/2 preface; and if all slots are taken, the connection
//! that has been idle longest is closed for a new one. A connection is idle if it has no session and no call that the host is working on: open
//! streams, messages that arrive slowly and responses that are not read do not keep a slot.

use super::session_slot::SessionSlot;
use lakegate::limits::GREETING_LIMIT;
use lakegate_base::log_limit::{Admission, LogLimiter};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a client has, once its server stops, to read the last responses and disconnect.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Length of the connection preface, before the first frame.
const PREFACE_BYTES: usize = 24;

/// Length (3), type (1), flags (1), stream (4).
const FRAME_HEADER_BYTES: usize = 9;

/// A handle to the state of a connection, attached to each of its requests.
#[derive(Debug, Clone)]
pub(super) struct ConnectionHandle(pub(super) Arc<ConnectionState>);

/// The state of a connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// The result of its Init; dropped with the connection.
    pub(super) slot: Arc<Mutex<SessionSlot>>,
    /// Number of calls that the host is working on.
    calls: AtomicUsize,
    used: StdMutex<Instant>,
    gone: CancellationToken,
    task: OnceLock<AbortHandle>,
}

impl Default for ConnectionState {
    fn default() -> Self {
        Self {
            slot: Arc::default(),
            calls: AtomicUsize::new(0),
            used: StdMutex::new(Instant::now()),
            gone: CancellationToken::new(),
            task: OnceLock::new(),
        }
    }
}

impl ConnectionState {
    /// A token that is cancelled when the connection ends.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Sets the task that serves the connection; aborting it closes the connection.
    pub(super) fn served_by(&self, task: AbortHandle) {
        // It is only served once.
        let _first = self.task.set(task);
    }

    /// Marks the connection as working on a call, until the returned guard is dropped.
    pub(super) fn call(self: &Arc<Self>) -> ActiveCall {
        self.calls.fetch_add(1, Ordering::AcqRel);
        ActiveCall(self.clone())
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the connection has been idle; [`None`] if it is in use. A locked slot is in use by a call.
    fn idle_since(&self) -> Option<Instant> {
        let idle = self.calls.load(Ordering::Acquire) == 0
            && self.task.get().is_some()
            && self.slot.try_lock().is_ok_and(|slot| !matches!(*slot, SessionSlot::Open(..)));
        idle.then(|| *self.used())
    }
}

/// The guard of a call in progress, see [`ConnectionState::call`].
#[derive(Debug)]
pub(super) struct ActiveCall(Arc<ConnectionState>);

impl Drop for ActiveCall {
    fn drop(&mut self) {
        *self.0.used() = Instant::now();
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The slots for concurrent connections of a listener. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct ConnectionSlots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    taken: StdMutex<Vec<Arc<ConnectionState>>>,
    refusals: StdMutex<LogLimiter>,
    stop: CancellationToken,
    /// Whether clients have to send the preface in time. A single user's client may be stopped in a debugger.
    greeting_limited: bool,
}

impl ConnectionSlots {
    /// Creates this many slots, for connections that end some time after `stop`.
    pub(super) fn new(most: usize, stop: CancellationToken, greeting_limited: bool) -> Self {
        let refusals = StdMutex::new(LogLimiter::new(1));
        Self(Arc::new(Shared { most, taken: StdMutex::default(), refusals, stop, greeting_limited }))
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<ConnectionState>>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection a slot: a free one, or that of the connection that has been idle longest. Otherwise the connection is closed, so that its
    /// client notices at once.
    pub(super) fn admit<S>(&self, connection: S) -> Option<SessionConnection<S>> {
        let state = Arc::new(ConnectionState::default());
        let evicted = {
            let mut taken = self.taken();
            let idle = (taken.len() >= self.0.most).then(|| longest_idle(&taken));
            match idle {
                Some(None) => {
                    drop(taken);
                    self.log_refusal("A connection was refused: the maximum number of connections is open, and all of them are in use.");
                    return None;
                }
                Some(Some(at)) => {
                    let oldest = taken.swap_remove(at);
                    taken.push(state.clone());
                    Some(oldest)
                }
                None => {
                    taken.push(state.clone());
                    None
                }
            }
        };
        if let Some(oldest) = evicted {
            if let Some(task) = oldest.task.get() {
                task.abort();
            }
            self.log_refusal("An idle connection was closed for a new one: the maximum number of connections was open.");
        }
        let stop = self.0.stop.clone();
        let end = async move {
            stop.cancelled_owned().await;
            tokio::time::sleep(DRAIN_LIMIT).await;
        };
        let greeting = self.0.greeting_limited.then_some(GREETING_LIMIT);
        Some(SessionConnection::new(connection, state.clone(), Some(ConnectionSlot { slots: self.clone(), state }), end, greeting))
    }

    fn log_refusal(&self, what: &str) {
        if let Admission::Passes(more) = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()) {
            tracing::warn!(connections = self.0.most, more, "{what}");
        }
    }
}

fn longest_idle(taken: &[Arc<ConnectionState>]) -> Option<usize> {
    let idle = taken.iter().enumerate().filter_map(|(at, state)| Some((at, state.idle_since()?)));
    idle.min_by_key(|(_, since)| *since).map(|(at, _)| at)
}

/// A slot that is taken, until it is dropped.
#[derive(Debug)]
struct ConnectionSlot {
    slots: ConnectionSlots,
    state: Arc<ConnectionState>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.taken().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

/// A connection with its own [`SessionSlot`]; bytes pass unchanged.
pub(super) struct SessionConnection<S> {
    inner: S,
    state: Arc<ConnectionState>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    greeting: Option<Greeting>,
    over: Option<&'static str>,
    _gone: DropGuard,
    _slot: Option<ConnectionSlot>,
}

/// A client whose preface and first frame are incomplete.
struct Greeting {
    limit: Pin<Box<Sleep>>,
    seen: usize,
    /// The first bytes of the frame, which hold its length.
    length: [u8; 3],
}

impl Greeting {
    /// Whether preface and frame are complete with these bytes.
    fn is_whole(&mut self, bytes: &[u8]) -> bool {
        for (place, at) in self.length.iter_mut().zip(PREFACE_BYTES..) {
            if let Some(byte) = at.checked_sub(self.seen).and_then(|at| bytes.get(at)) {
                *place = *byte;
            }
        }
        self.seen += bytes.len();
        let [a, b, c] = self.length;
        let frame = u32::from_be_bytes([0, a, b, c]) as usize;
        self.seen >= PREFACE_BYTES + FRAME_HEADER_BYTES + frame
    }
}

const STOPPED: &str = "the server has stopped, and its client did not hang up";
const NOT_GREETED: &str = "the client has not greeted in time";

impl<S> SessionConnection<S> {
    fn new(
        inner: S,
        state: Arc<ConnectionState>,
        slot: Option<ConnectionSlot>,
        end: impl Future<Output = ()> + Send + 'static,
        greeting: Option<Duration>,
    ) -> Self {
        let greeting = greeting.map(|limit| Greeting { limit: Box::pin(tokio::time::sleep(limit)), seen: 0, length: [0; 3] });
        let gone = state.gone.clone().drop_guard();
        Self { inner, state, end: Box::pin(end), greeting, over: None, _gone: gone, _slot: slot }
    }

    /// The state of the connection.
    pub(super) fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if self.over.is_none() {
            if self.end.as_mut().poll(cx).is_ready() {
                self.over = Some(STOPPED);
            } else if self.greeting.as_mut().is_some_and(|greeting| greeting.limit.as_mut().poll(cx).is_ready()) {
                self.over = Some(NOT_GREETED);
            }
        }
        self.over.map(|why| io::Error::new(io::ErrorKind::BrokenPipe, why))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SessionConnection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(over) = self.is_over(cx) {
            return Poll::Ready(Err(over));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        if self.greeting.as_mut().is_some_and(|greeting| greeting.is_whole(new)) {
            self.greeting = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SessionConnection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.is_over(cx) {
            Some(over) => Poll::Ready(Err(over)),
            None => Pin::new(&mut self.inner).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.is_over(cx) {
            Some(over) => Poll::Ready(Err(over)),
            None => Pin::new(&mut self.inner).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.is_over(cx) {
            Some(over) => Poll::Ready(Err(over)),
            None => Pin::new(&mut self.inner).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.is_over(cx) {
            Some(over) => Poll::Ready(Err(over)),
            None => Pin::new(&mut self.inner).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    fn slots(most: usize) -> ConnectionSlots {
        ConnectionSlots::new(most, CancellationToken::new(), true)
    }

    #[tokio::test]
    async fn a_client_that_neither_speaks_nor_listens_is_cut_off() {
        let (here, mut there) = tokio::io::duplex(4);
        let slots = slots(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut line = slots.admit(here).expect("free");
        line.end = Box::pin(async move { stopped.await.unwrap_or_default() });
        let (mut read, mut write) = tokio::io::split(line);
        there.write_all(b"ab").await.expect("room");
        assert_eq!(read.read_u16().await.expect("as it was sent"), u16::from_be_bytes(*b"ab"));
        // Both in one task, as in a server.
        let both = async move { tokio::join!(read.read_u8(), write.write_all(b"more than the other side takes in")) };
        let mut both = Box::pin(both);
        assert!(futures::poll!(both.as_mut()).is_pending() && slots.taken().len() == 1);
        stop.send(()).expect("somebody listens");
        let (reading, writing) = both.await;
        assert_eq!(reading.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
        assert_eq!(writing.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
        assert!(slots.taken().is_empty());
    }

    /// There is one time limit for preface and first frame, in whatever pieces they arrive.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_greet_is_cut_off() {
        let greeting = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 6, 4, 0, 0, 0, 0, 0], &[0, 3, 0, 0, 0, 9]].concat();
        for (sent, pieces, stays) in
            [(0, 1, false), (10, 1, false), (24, 24, false), (33, 5, false), (38, 7, false), (39, 39, true), (39, 1, true)]
        {
            let (here, mut there) = tokio::io::duplex(64);
            let mut line = slots(1).admit(here).expect("free");
            for piece in greeting[..sent].chunks(sent.div_ceil(pieces).max(1)) {
                there.write_all(piece).await.expect("room");
                line.read_exact(&mut vec![0; piece.len()]).await.expect("as it was sent");
            }
            let more = tokio::time::timeout(10 * GREETING_LIMIT, line.read_u8()).await;
            assert_eq!(more.is_err(), stays, "{sent} bytes in {pieces} pieces");
        }
    }

    #[tokio::test]
    async fn the_longest_idle_makes_room_and_nobody_who_is_in_use() {
        let slots = slots(3);
        let sleepers: Vec<_> = (0..3).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        let lines: Vec<_> = sleepers
            .iter()
            .map(|sleeper| {
                let line = slots.admit(()).expect("free");
                line.state().served_by(sleeper.abort_handle());
                line
            })
            .collect();
        let working = lines[0].state().call();
        let locked = lines[1].state().slot.clone().try_lock_owned().expect("free");
        // Only the third one is idle.
        let fourth = slots.admit(()).expect("room was made");
        tokio::task::yield_now().await;
        assert_eq!(sleepers.iter().map(tokio::task::JoinHandle::is_finished).collect::<Vec<_>>(), [false, false, true]);
        assert!(slots.admit(()).is_none(), "two are in use, and the last is not served yet");
        // The first one has been used more recently than the second.
        drop(locked);
        drop(working);
        let _fifth = slots.admit(()).expect("room was made");
        tokio::task::yield_now().await;
        assert_eq!(sleepers.iter().map(tokio::task::JoinHandle::is_finished).collect::<Vec<_>>(), [false, true, true]);
        drop((lines, fourth));
        assert_eq!(slots.taken().len(), 1);
    }
}
