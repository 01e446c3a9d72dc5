//! A connection that knows which one it is, so that each client of a tenant has a session of its own; that is counted; and that ends some
//! time after its server was told to stop, whatever its client does.

use super::server::Slot;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// What a client has, once its server stops, to take in the last answers and hang up.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What one connection's Init made; it goes with the connection.
#[derive(Clone)]
pub(super) struct ConnectionSlot(pub(super) Arc<Mutex<Slot>>);

/// A connection with a [`Slot`] of its own; bytes pass as they are.
pub(super) struct SessionConnection<S> {
    inner: S,
    slot: Arc<Mutex<Slot>>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl<S> SessionConnection<S> {
    /// A connection that keeps `place`, and is cut off soon after `stop`.
    pub(super) fn new(inner: S, place: OwnedSemaphorePermit, stop: CancellationToken) -> Self {
        Self::ending(inner, place, async move {
            stop.cancelled_owned().await;
            tokio::time::sleep(LAST_WORDS).await;
        })
    }

    fn ending(inner: S, place: OwnedSemaphorePermit, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { inner, slot: Arc::default(), end: Box::pin(end), ended: false, _place: place }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.ended = self.ended || self.end.as_mut().poll(cx).is_ready();
        self.ended
    }
}

fn cut_off<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the server has stopped, and its client did not hang up")))
}

impl<S> Connected for SessionConnection<S> {
    type ConnectInfo = ConnectionSlot;

    fn connect_info(&self) -> ConnectionSlot {
        ConnectionSlot(self.slot.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SessionConnection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) { cut_off() } else { Pin::new(&mut self.inner).poll_read(cx, buffer) }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SessionConnection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(cx) { cut_off() } else { Pin::new(&mut self.inner).poll_write(cx, bytes) }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.is_over(cx) { cut_off() } else { Pin::new(&mut self.inner).poll_write_vectored(cx, bytes) }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) { cut_off() } else { Pin::new(&mut self.inner).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) { cut_off() } else { Pin::new(&mut self.inner).poll_shutdown(cx) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::{Semaphore, oneshot};

    /// A connection that is never told to end.
    pub(in crate::grpc) fn line<S>(inner: S) -> SessionConnection<S> {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free");
        SessionConnection::new(inner, place, CancellationToken::new())
    }

    #[tokio::test]
    async fn a_client_that_neither_speaks_nor_listens_is_cut_off() {
        let (here, mut there) = tokio::io::duplex(4);
        let place = Arc::new(Semaphore::new(1));
        let (tell, told) = oneshot::channel::<()>();
        let permit = place.clone().try_acquire_owned().expect("free");
        let line = SessionConnection::ending(here, permit, async move { told.await.unwrap_or_default() });
        let (mut read, mut write) = tokio::io::split(line);
        there.write_all(b"ab").await.expect("room");
        assert_eq!(read.read_u16().await.expect("as it was sent"), u16::from_be_bytes(*b"ab"));
        // Both by one task, as a server does.
        let both = async move { tokio::join!(read.read_u8(), write.write_all(b"more than the other side takes in")) };
        let mut both = Box::pin(both);
        assert!(futures::poll!(both.as_mut()).is_pending() && place.available_permits() == 0);
        tell.send(()).expect("somebody listens");
        let (reading, writing) = both.await;
        assert_eq!(reading.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
        assert_eq!(writing.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
        assert_eq!(place.available_permits(), 1);
    }
}
