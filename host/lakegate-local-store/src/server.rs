//! The store as an HTTP server, for clients that are not this process.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::service::S3Service;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a stop waits for requests that are under way. Longer than a part takes on a loopback; a client that stalls is cut off.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long to wait after a failed accept (too many open files, mostly) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint to give to a client, with path-style addressing.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Accepts no more connections, lets the requests under way come to their end, and returns when all is over.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "The embedded store's server ended badly.");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        // The connections are tasks of their own and end with their requests.
        self.task.abort();
    }
}

pub(super) fn serve(service: S3Service, listener: TcpListener) -> io::Result<ServerHandle> {
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(run(service, listener, stopped));
    Ok(ServerHandle { address, stop: Some(stop), task })
}

async fn run(service: S3Service, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    loop {
        let socket = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "The embedded store could not accept a connection.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // A small answer after a large request must not wait for the next packet.
        let _ = socket.set_nodelay(true);
        let mut builder = Builder::new(TokioExecutor::new());
        // The server's own date would be of a clock that may stand before 1970, at which it panics.
        builder.http1().auto_date_header(false);
        builder.http2().auto_date_header(false);
        let connection = builder.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection to the embedded store broke off.");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("The embedded store's server stopped while requests were still under way.");
    }
}
