//! Where the plugin listens: TCP or a unix socket, as clients of every language launch it.

use super::authority::RepairAuthority;
use super::server::Server;
use futures::stream::{self, Stream};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// After a refused accept (no file descriptor left, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes a client may send ahead, per stream and in all: messages have up to 200 MiB, and the default of 64 KiB would cost a round trip each.
const WINDOW_BYTES: u32 = 4 << 20;

/// The kinds of network a plugin can be told to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// IPv4 or IPv6.
    Tcp,
    /// IPv4.
    Tcp4,
    /// IPv6.
    Tcp6,
    /// A unix socket, by path.
    Unix,
    /// As `unix`; not offered, since HTTP/2 needs a stream.
    Unixpacket,
}

/// An open port.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket; its file goes when this does.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The launcher may have removed it already.
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Opens the port.
    ///
    /// # Errors
    /// The address cannot be understood or is taken.
    pub async fn bind(network: Network, address: &str) -> io::Result<Self> {
        let wanted = match network {
            Network::Unix => return Self::bind_unix(Path::new(address)),
            Network::Unixpacket => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "unixpacket is not offered; use `--network unix`"));
            }
            Network::Tcp => |_: &SocketAddr| true,
            Network::Tcp4 => SocketAddr::is_ipv4,
            Network::Tcp6 => SocketAddr::is_ipv6,
        };
        // As in Go, `:7777` is every address of the machine.
        let address = if address.starts_with(':') {
            format!("{}{address}", if network == Network::Tcp4 { "0.0.0.0" } else { "[::]" })
        } else {
            address.to_owned()
        };
        let found: Vec<SocketAddr> = tokio::net::lookup_host(&address).await?.filter(wanted).collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of that kind"));
        }
        Ok(Self::Tcp(TcpListener::bind(found.as_slice()).await?))
    }

    fn bind_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::Unix(UnixListener::bind(path)?, SocketFile(path.to_owned())))
    }

    /// Where it listens; for TCP with the port the system chose.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string()),
            Self::Unix(_, file) => file.0.display().to_string(),
        }
    }

    /// Serves until told to stop and every call has ended.
    ///
    /// # Errors
    /// The transport failed.
    pub async fn serve(self, server: &Server, stop: CancellationToken) -> Result<(), tonic::transport::Error> {
        let transport = tonic::transport::Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .add_routes(server.routes());
        match self {
            Self::Tcp(listener) => transport.serve_with_incoming_shutdown(accept_tcp(listener), stop.cancelled_owned()).await,
            Self::Unix(listener, _file) => transport.serve_with_incoming_shutdown(accept_unix(listener), stop.cancelled_owned()).await,
        }
    }
}

fn accept_tcp(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    // Small messages wait for nobody; without it the connection is slower, not wrong.
                    let _slower = connection.set_nodelay(true);
                    return Some((Ok(connection), listener));
                }
                Err(error) => pause(&error).await,
            }
        }
    })
}

fn accept_unix(listener: UnixListener) -> impl Stream<Item = io::Result<RepairAuthority<UnixStream>>> {
    stream::unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => return Some((Ok(RepairAuthority::new(connection)), listener)),
                Err(error) => pause(&error).await,
            }
        }
    })
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "A connection could not be accepted.");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
