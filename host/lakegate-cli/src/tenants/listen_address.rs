//! Where a tenant's clients connect.

use lakegate_cloudquery::server::listen::Listener;
use lakegate_cloudquery::server::tls::{Files, Fingerprint, TlsAcceptorHandle};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;

/// Where a tenant's clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A unix socket.
    Socket {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// User and group, by number.
        owner: Option<(u32, u32)>,
    },
    /// TCP without encryption, on the loopback interface.
    Loopback(SocketAddr),
    /// TCP with certificates on both sides.
    Tls {
        /// The port.
        address: SocketAddr,
        /// The server's certificate.
        certificate: PathBuf,
        /// The server's key.
        key: PathBuf,
        /// The authorities of clients.
        client_authority: PathBuf,
        /// The clients' certificates.
        clients: Vec<Fingerprint>,
    },
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { path, .. } => path.display().fmt(f),
            Self::Loopback(address) | Self::Tls { address, .. } => address.fmt(f),
        }
    }
}

/// Whether only one of the two can listen.
pub fn same_place(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Socket { path: one, .. }, ListenAddress::Socket { path: other, .. }) => one == other,
        (
            ListenAddress::Loopback(one) | ListenAddress::Tls { address: one, .. },
            ListenAddress::Loopback(other) | ListenAddress::Tls { address: other, .. },
        ) => {
            // Port 0 is another one each time.
            one == other && one.port() != 0
        }
        _ => false,
    }
}

impl ListenAddress {
    /// Reads what is needed to open it.
    ///
    /// # Errors
    /// A certificate is not there, or is none.
    pub fn prepare(&self) -> anyhow::Result<Prepared> {
        Ok(match self {
            Self::Socket { path, mode, owner } => Prepared::Socket(path.clone(), *mode, *owner),
            Self::Loopback(address) => Prepared::Loopback(*address),
            Self::Tls { address, certificate, key, client_authority, clients } => {
                Prepared::Tls(*address, TlsAcceptorHandle::new(&Files { certificate, key, client_authority }, clients.clone())?)
            }
        })
    }

    /// Reads its certificates again, if it has any.
    ///
    /// # Errors
    /// One is not there any more, or is none; the gate stays as it is.
    pub fn renew(&self, gate: Option<&TlsAcceptorHandle>) -> anyhow::Result<()> {
        match (self, gate) {
            (Self::Tls { certificate, key, client_authority, clients, .. }, Some(gate)) => {
                gate.renew(&Files { certificate, key, client_authority }, clients.clone())
            }
            _ => Ok(()),
        }
    }
}

/// An address that can be opened.
#[derive(Debug)]
pub enum Prepared {
    /// Path, mode and owner.
    Socket(PathBuf, u32, Option<(u32, u32)>),
    /// A port.
    Loopback(SocketAddr),
    /// A port, and whom it lets in.
    Tls(SocketAddr, TlsAcceptorHandle),
}

impl Prepared {
    /// Opens it.
    ///
    /// # Errors
    /// It is taken.
    pub async fn bind(self) -> std::io::Result<Listener> {
        match self {
            Self::Socket(path, mode, owner) => Listener::bind_private(&path, mode, owner),
            Self::Loopback(address) => Ok(Listener::Tcp(TcpListener::bind(address).await?)),
            Self::Tls(address, gate) => Ok(Listener::Tls(TcpListener::bind(address).await?, gate)),
        }
    }
}
