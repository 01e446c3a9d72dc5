//! Accepting one connection.

use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// After a refused accept (no file descriptor left, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The next connection, however long it takes.
pub async fn accept_one(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                // Small messages wait for nobody; without it the connection is slower, not wrong.
                let _slower = connection.set_nodelay(true);
                return connection;
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Waits a moment after a refused accept, and says so.
pub(super) async fn pause(error: &io::Error) {
    tracing::warn!(%error, "A connection could not be accepted.");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
