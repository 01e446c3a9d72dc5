//! Where the plugin listens: TCP or a unix socket, as clients of every language launch it.

use super::authority::{Repaired, repaired};
use super::line::Line;
use super::server::Server;
use super::tls::Gate;
use futures::stream::{self, Stream};
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
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
    /// TCP, for clients with the right certificate.
    Tls(TcpListener, Gate),
    /// A unix socket; its file goes when this does.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that another process's socket of the same name is left alone.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // The launcher may remove it in this moment, too.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
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
        // As in Go, `:7777` is every address of the machine, on a machine without IPv6 too.
        let every = if address.starts_with(':') { ["[::]", "0.0.0.0"].as_slice() } else { &[""] };
        let mut refused = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of that kind");
        for host in every {
            let found: Vec<SocketAddr> = tokio::net::lookup_host(format!("{host}{address}")).await?.filter(wanted).collect();
            let Some(address) = chosen(&found) else { continue };
            match TcpListener::bind(address).await {
                Ok(listener) => return Ok(Self::Tcp(listener)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn bind_unix(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                tracing::warn!(path = %path.display(), "A socket that nobody listens on any more was in the way; it is replaced.");
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        Ok(Self::Unix(listener, SocketFile::new(path)))
    }

    /// Opens a unix socket that only its owner and those whom `mode` names can connect to. It has its mode before it has its name.
    ///
    /// # Errors
    /// The path is taken, or owner or mode cannot be set.
    pub fn bind_private(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<Self> {
        if path.exists() && !is_stale(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A folder that only this user may enter, until mode and owner are right.
        let nursery = tempfile::Builder::new().prefix(".lakegate-").tempdir_in(folder)?;
        let unnamed = nursery.path().join("s");
        let listener = UnixListener::bind(&unnamed)?;
        std::fs::set_permissions(&unnamed, Permissions::from_mode(mode))?;
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&unnamed, Some(user), Some(group))?;
        }
        std::fs::rename(&unnamed, path)?;
        Ok(Self::Unix(listener, SocketFile::new(path)))
    }

    /// Where it listens; for TCP with the port the system chose.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            Self::Unix(_, file) => file.path.display().to_string(),
        }
    }

    /// What lets clients in by their certificates, to be renewed.
    pub fn gate(&self) -> Option<Gate> {
        match self {
            Self::Tls(_, gate) => Some(gate.clone()),
            Self::Tcp(_) | Self::Unix(..) => None,
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
            .http2_keepalive_interval(server.silence)
            .http2_keepalive_timeout(server.silence)
            .add_routes(server.routes());
        match self {
            Self::Tcp(listener) => transport.serve_with_incoming_shutdown(accept_tcp(listener), stop.cancelled_owned()).await,
            Self::Tls(listener, gate) => transport.serve_with_incoming_shutdown(gate.accept(listener), stop.cancelled_owned()).await,
            Self::Unix(listener, _file) => transport.serve_with_incoming_shutdown(accept_unix(listener), stop.cancelled_owned()).await,
        }
    }
}

/// Of a name's addresses, as in Go, the first of IPv4 if there is one: `localhost` is where clients that know IPv4 alone look for it.
fn chosen(found: &[SocketAddr]) -> Option<SocketAddr> {
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// True for a socket whose process is gone: it refuses connections. Any other file stays.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn accept_tcp(listener: TcpListener) -> impl Stream<Item = io::Result<Line<TcpStream>>> {
    stream::unfold(listener, async |listener| {
        let connection = Line::new(accept_one(&listener).await);
        Some((Ok(connection), listener))
    })
}

/// The next connection, however long it takes.
pub(crate) async fn accept_one(listener: &TcpListener) -> TcpStream {
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

fn accept_unix(listener: UnixListener) -> impl Stream<Item = io::Result<Line<Repaired>>> {
    stream::unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => return Some((Ok(Line::new(repaired(connection))), listener)),
                Err(error) => pause(&error).await,
            }
        }
    })
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "A connection could not be accepted.");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn bind(path: &Path) -> io::Result<Listener> {
        Listener::bind(Network::Unix, path.to_str().expect("UTF-8")).await
    }

    #[tokio::test]
    async fn a_socket_file_goes_with_its_listener_and_only_a_dead_one_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cq.sock");
        let first = bind(&path).await.expect("free");
        assert_eq!(bind(&path).await.expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists(), "a socket in use is left alone");
        drop(first);
        assert!(!path.exists());
        // Closed without its file: what a killed process leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("free"));
        assert!(path.exists());
        let second = bind(&path).await.expect("a dead socket is replaced");
        std::fs::remove_file(&path).expect("there");
        let third = bind(&path).await.expect("free");
        drop(second);
        assert!(path.exists(), "the file is the third one's by now");
        drop(third);
        std::fs::write(&path, "notes").expect("written");
        assert_eq!(bind(&path).await.expect_err("no socket").kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read(&path).expect("still there"), b"notes");
    }

    #[test]
    fn a_name_of_both_kinds_is_ipv4() {
        let [four, other, six] = ["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"].map(|it| it.parse::<SocketAddr>().expect("an address"));
        for (found, address) in [(vec![six, four, other], Some(four)), (vec![six], Some(six)), (vec![], None)] {
            assert_eq!(chosen(&found), address, "{found:?}");
        }
    }

    #[tokio::test]
    async fn addresses_of_each_kind() {
        for (network, address, begins) in [
            (Network::Tcp, "localhost:0", "127."),
            (Network::Tcp4, "localhost:0", "127."),
            (Network::Tcp4, ":0", "0.0.0.0:"),
            (Network::Tcp4, "127.0.0.1:0", "127.0.0.1:"),
        ] {
            assert!(Listener::bind(network, address).await.expect("a port").address().starts_with(begins), "{network:?} {address}");
        }
        let every = Listener::bind(Network::Tcp, ":0").await.expect("a port").address();
        assert!(every.starts_with("[::]:") || every.starts_with("0.0.0.0:"), "{every}");
        for (network, address) in [(Network::Tcp6, "127.0.0.1:0"), (Network::Tcp4, "[::1]:0")] {
            let error = Listener::bind(network, address).await.expect_err("another kind");
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{network:?} {address}");
        }
        // Only a machine that has IPv6 can listen there.
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            let six = Listener::bind(Network::Tcp6, ":0").await.expect("a port").address();
            assert!(six.starts_with("[::]:"), "{six}");
        }
    }

    /// Opens a connection, says what HTTP/2 begins with, and then nothing more; true if the server has hung up within `limit`.
    async fn is_hung_up_on(silence: Option<Duration>, limit: Duration) -> bool {
        let tenant = std::sync::Arc::new(crate::policy::Tenant::new("t", crate::policy::Grant::default()));
        let mut server = Server::for_tenant(futures::FutureExt::shared(Box::pin(std::future::pending())), CancellationToken::new(), tenant);
        assert!(server.silence.is_some(), "tenants' clients are asked for signs of life");
        server.silence = silence;
        let listener = Listener::bind(Network::Tcp, "127.0.0.1:0").await.expect("a port");
        let address = listener.address();
        tokio::spawn(async move { listener.serve(&server, CancellationToken::new()).await });
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
        let mut heard = Vec::new();
        tokio::time::timeout(limit, socket.read_to_end(&mut heard)).await.is_ok()
    }

    #[tokio::test]
    async fn a_client_without_a_sign_of_life_is_let_go() {
        assert!(is_hung_up_on(Some(Duration::from_millis(200)), Duration::from_secs(20)).await);
        assert!(!is_hung_up_on(None, Duration::from_secs(2)).await);
    }
}
