//! Accepting connections.

use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Delay after a failed accept (mostly for lack of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Waits for the next connection.
pub async fn accept_one(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                // Send small messages at once; if this fails, the connection is only slower.
                let _slower = connection.set_nodelay(true);
                return connection;
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Logs a failed accept and waits a moment.
pub(super) async fn pause(error: &io::Error) {
    tracing::warn!(%error, "A connection could not be accepted.");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
