//! Listeners of the plugin: TCP, TLS or a unix socket, compatible with the clients of all SDKs.

use super::accept::{accept_one, pause};
use super::authority::{Repaired, repaired};
use super::connection::{ConnectionHandle, ConnectionSlots, SessionConnection};
use super::service::Server;
use super::tls::TlsAcceptorHandle;
use futures::stream::{self, Stream, StreamExt as _};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lakegate::serving::{Executor, spawn_metered};
use std::convert::Infallible;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service as _;

/// Flow-control window, per stream and in total: messages have up to 200 MiB, and with the default of 64 KiB each piece would cost a round trip.
pub const WINDOW_BYTES: u32 = 4 << 20;
/// How many streams may be reset because of an error on our side before the connection is closed, as a protection against reset floods.
const MAX_LOCAL_RESETS: usize = 1_024;

/// The types of network a plugin can listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// IPv4 or IPv6.
    Tcp,
    /// IPv4.
    Tcp4,
    /// IPv6.
    Tcp6,
    /// A unix socket, by path.
    Unix,
    /// Like `unix`; not supported, since HTTP/2 needs a stream.
    Unixpacket,
}

/// An open listener.
#[derive(Debug)]
pub enum Listener {
    /// Plain TCP.
    Tcp(TcpListener),
    /// TCP with mutual TLS.
    Tls(TcpListener, TlsAcceptorHandle),
    /// A unix socket; its file is removed when this is dropped.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that another process's socket of the same name is not removed.
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
            // The launcher may remove it at the same time.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Listener {
    /// Opens the listener.
    ///
    /// # Errors
    /// The address is malformed or in use.
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
        // As in Go, `:7777` means all addresses of the machine, also on a machine without IPv6.
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
                tracing::warn!(path = %path.display(), "A stale socket that nobody listens on was replaced.");
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        Ok(Self::Unix(listener, SocketFile::new(path)))
    }

    /// Opens a unix socket with this mode and owner, which are set before the socket appears under its path.
    ///
    /// # Errors
    /// The path is in use, or owner or mode cannot be set.
    pub fn bind_private(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<Self> {
        if path.exists() && !is_stale(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Created in a folder that only this user may enter, until mode and owner are set.
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

    /// The address; for TCP with the port that the system chose.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            Self::Unix(_, file) => file.path.display().to_string(),
        }
    }

    /// The TLS acceptor, whose certificates can be renewed.
    pub fn acceptor(&self) -> Option<TlsAcceptorHandle> {
        match self {
            Self::Tls(_, acceptor) => Some(acceptor.clone()),
            Self::Tcp(_) | Self::Unix(..) => None,
        }
    }

    /// Serves until told to stop and all calls have ended. All work for a tenant's clients, including accepting connections, is charged to the
    /// tenant.
    pub async fn serve(self, server: &Server, stop: CancellationToken) {
        let greeting_limited = server.silence.is_some();
        let slots = ConnectionSlots::new(server.max_connections(), stop.clone(), greeting_limited);
        let serving = Serving::new(server, stop);
        let connections = serving.connections.clone();
        let accepting = async move {
            match self {
                Self::Tcp(listener) => serving.all(accept_tcp(listener, slots)).await,
                Self::Tls(listener, acceptor) => serving.all(acceptor.accept(listener, slots, serving.server.meter())).await,
                Self::Unix(listener, _file) => serving.all(accept_unix(listener, slots)).await,
            }
        };
        match server.meter() {
            Some(meter) => meter.metered(accepting).await,
            None => accepting.await,
        }
        connections.close();
        connections.wait().await;
    }
}

/// Everything needed to serve connections.
pub(super) struct Serving {
    server: Server,
    routes: Routes,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Serving {
    pub(super) fn new(server: &Server, stop: CancellationToken) -> Self {
        Self { server: server.clone(), routes: server.routes().prepare(), stop, connections: TaskTracker::new() }
    }

    /// Serves incoming connections until told to stop.
    pub(super) async fn all<S>(&self, lines: impl Stream<Item = SessionConnection<S>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lines = lines.take_until(self.stop.cancelled());
        tokio::pin!(lines);
        while let Some(line) = lines.next().await {
            let state = line.state().clone();
            let serving = self.connections.track_future(self.one(line));
            state.served_by(spawn_metered(&tokio::runtime::Handle::current(), self.server.meter().as_ref(), serving));
        }
    }

    /// Serves one connection.
    fn one<S>(&self, line: SessionConnection<S>) -> impl Future<Output = ()> + Send + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(Executor(self.server.meter()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_concurrent_streams(self.server.max_streams())
            .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
            .keep_alive_interval(self.server.silence);
        if let Some(silence) = self.server.silence {
            builder.keep_alive_timeout(silence);
        }
        let (routes, slot, stop) = (self.routes.clone(), ConnectionHandle(line.state().clone()), self.stop.clone());
        let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(slot.clone());
            answered(routes.clone(), request)
        });
        let connection = builder.serve_connection(TokioIo::new(line), answer);
        async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "A connection broke off.");
            }
        }
    }
}

/// Answers a call within the deadline set by its client.
async fn answered(mut routes: Routes, request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
    let limit = request.headers().get("grpc-timeout").and_then(|limit| grpc_timeout(limit.to_str().ok()?));
    let call = routes.call(request);
    match limit {
        None => call.await,
        Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Ok(Status::cancelled("Timeout expired").into_http())),
    }
}

/// Parses gRPC's timeout notation: up to eight digits and a unit. Anything else means no limit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = (digits.len() <= 8 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok()).flatten()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// As in Go, the first IPv4 address of a name if there is one, so that clients that only use IPv4 find `localhost`.
fn chosen(found: &[SocketAddr]) -> Option<SocketAddr> {
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// True for a socket whose process is gone, since it refuses connections. Other files are kept.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn accept_tcp(listener: TcpListener, slots: ConnectionSlots) -> impl Stream<Item = SessionConnection<TcpStream>> {
    stream::unfold((listener, slots), async |(listener, slots)| {
        loop {
            if let Some(line) = slots.admit(accept_one(&listener).await) {
                return Some((line, (listener, slots)));
            }
        }
    })
}

fn accept_unix(listener: UnixListener, slots: ConnectionSlots) -> impl Stream<Item = SessionConnection<Repaired>> {
    stream::unfold((listener, slots), async |(listener, slots)| {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    if let Some(line) = slots.admit(repaired(connection)) {
                        return Some((line, (listener, slots)));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
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
        // Closed without removing its file, as after a kill.
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

    #[test]
    fn a_clients_time_limit_is_read_as_the_protocol_writes_it() {
        for (text, limit) in [
            ("5S", Some(Duration::from_secs(5))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("100m", Some(Duration::from_millis(100))),
            ("2M", Some(Duration::from_secs(120))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("+5S", None),
            ("123456789S", None),
            ("5é", None),
        ] {
            assert_eq!(grpc_timeout(text), limit, "{text:?}");
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

    /// The HTTP/2 preface and an empty SETTINGS frame.
    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// A tenant's listener, and the token that stops it.
    async fn tenants(grant: lakegate::Grant, silence: Option<Duration>) -> (String, CancellationToken) {
        let tenant = Arc::new(lakegate::Tenant::new("t", grant));
        let stop = CancellationToken::new();
        let mut server = Server::for_tenant(futures::FutureExt::shared(Box::pin(std::future::pending())), stop.clone(), tenant);
        assert!(server.silence.is_some(), "tenants' clients are asked for signs of life");
        server.silence = silence;
        let listener = Listener::bind(Network::Tcp, "127.0.0.1:0").await.expect("a port");
        let (address, stopped) = (listener.address(), stop.clone());
        tokio::spawn(async move { listener.serve(&server, stopped).await });
        (address, stop)
    }

    /// Opens a connection, sends the preface, and then stays silent.
    async fn greet(address: &str) -> TcpStream {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.write_all(GREETING).await.expect("sent");
        socket
    }

    /// What the server sends until it closes the connection, if it does within `limit`.
    async fn heard(mut socket: TcpStream, limit: Duration) -> Option<Vec<u8>> {
        let mut heard = Vec::new();
        let end = tokio::time::timeout(limit, socket.read_to_end(&mut heard)).await;
        end.is_ok().then_some(heard)
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_client_without_a_sign_of_life_is_let_go() {
        let (address, _) = tenants(Default::default(), Some(Duration::from_millis(200))).await;
        assert!(heard(greet(&address).await, PATIENCE).await.is_some());
        let (address, _) = tenants(Default::default(), None).await;
        assert!(heard(greet(&address).await, Duration::from_secs(2)).await.is_none());
    }

    #[tokio::test]
    async fn a_client_that_does_not_hang_up_is_cut_off_once_the_server_stops() {
        let (address, stop) = tenants(Default::default(), None).await;
        let mut socket = greet(&address).await;
        socket.read_u8().await.expect("the server's greeting");
        stop.cancel();
        // It neither answers pings nor closes the connection.
        assert!(heard(socket, PATIENCE).await.is_some());
    }

    #[tokio::test]
    async fn a_tenants_connections_and_the_calls_over_each_are_bounded() {
        let (address, _) = tenants(lakegate::Grant { max_sessions: Some(2), ..Default::default() }, None).await;
        let mut open = Vec::new();
        for _ in 0..2 + lakegate::limits::SPARE_CONNECTIONS {
            let mut socket = greet(&address).await;
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.expect("a frame");
            let mut settings = vec![0; usize::from(head[2])];
            socket.read_exact(&mut settings).await.expect("its content");
            // SETTINGS, and in it MAX_CONCURRENT_STREAMS.
            let streams = settings.chunks(6).find(|setting| setting.starts_with(&[0, 3])).map(|setting| setting[5]);
            assert_eq!((head[3], streams.map(u32::from)), (4, Some(lakegate::limits::MAX_TENANT_STREAMS)));
            open.push(socket);
        }
        // None is in use: only the one that has been idle longest is closed.
        let mut socket = greet(&address).await;
        socket.read_u8().await.expect("the server's greeting");
        assert!(heard(open.remove(0), PATIENCE).await.is_some(), "the oldest is closed");
        for socket in open {
            assert!(heard(socket, Duration::from_millis(200)).await.is_none(), "the others stay");
        }
    }

    /// Silent or incomplete connections do not keep slots from others.
    #[tokio::test]
    async fn clients_that_do_not_greet_keep_nobody_out() {
        let (address, _) = tenants(Default::default(), None).await;
        let mut silent = Vec::new();
        for number in 0..200 {
            let mut socket = TcpStream::connect(&address).await.expect("it listens");
            socket.write_all(&GREETING[..number % 30]).await.expect("sent");
            silent.push(socket);
        }
        let mut socket = greet(&address).await;
        tokio::time::timeout(PATIENCE, socket.read_u8()).await.expect("in time").expect("the server's greeting");
    }
}
