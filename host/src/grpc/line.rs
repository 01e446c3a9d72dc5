//! A connection that knows which one it is, so that each client of a tenant has a session of its own.

use super::server::Slot;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;
use tonic::transport::server::Connected;

/// What one connection's Init made; it goes with the connection.
#[derive(Clone)]
pub(super) struct Own(pub(super) Arc<Mutex<Slot>>);

/// A connection with a [`Slot`] of its own; bytes pass as they are.
pub(super) struct Line<S> {
    inner: S,
    slot: Arc<Mutex<Slot>>,
}

impl<S> Line<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, slot: Arc::default() }
    }
}

impl<S> Connected for Line<S> {
    type ConnectInfo = Own;

    fn connect_info(&self) -> Own {
        Own(self.slot.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
