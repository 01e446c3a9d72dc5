//! The address that a tenant's clients connect to, and how it is opened.

use lakegate_cloudquery::server::listen::Listener;
use lakegate_cloudquery::server::tls::{Files, Fingerprint, TlsAcceptorHandle};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;

/// The address that a tenant's clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A unix socket.
    Socket {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Numeric user and group.
        owner: Option<(u32, u32)>,
    },
    /// Plain TCP on the loopback interface.
    Loopback(SocketAddr),
    /// TCP with mutual TLS.
    Tls {
        /// IP address and port.
        address: SocketAddr,
        /// The server's certificate.
        certificate: PathBuf,
        /// The server's key.
        key: PathBuf,
        /// The certificate authorities of clients.
        client_authority: PathBuf,
        /// Fingerprints of the clients' certificates.
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

/// Whether two addresses conflict.
pub fn same_place(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Socket { path: one, .. }, ListenAddress::Socket { path: other, .. }) => one == other,
        (
            ListenAddress::Loopback(one) | ListenAddress::Tls { address: one, .. },
            ListenAddress::Loopback(other) | ListenAddress::Tls { address: other, .. },
        ) => {
            // Port 0 is a different port each time.
            one == other && one.port() != 0
        }
        _ => false,
    }
}

impl ListenAddress {
    /// Reads the files needed to open it.
    ///
    /// # Errors
    /// A certificate is missing or invalid.
    pub fn prepare(&self) -> anyhow::Result<Prepared> {
        Ok(match self {
            Self::Socket { path, mode, owner } => Prepared::Socket(path.clone(), *mode, *owner),
            Self::Loopback(address) => Prepared::Loopback(*address),
            Self::Tls { address, certificate, key, client_authority, clients } => {
                Prepared::Tls(*address, TlsAcceptorHandle::new(&Files { certificate, key, client_authority }, clients.clone())?)
            }
        })
    }

    /// Reloads its certificates, if it has any.
    ///
    /// # Errors
    /// A certificate is missing or invalid; the acceptor then keeps the current ones.
    pub fn renew(&self, acceptor: Option<&TlsAcceptorHandle>) -> anyhow::Result<()> {
        match (self, acceptor) {
            (Self::Tls { certificate, key, client_authority, clients, .. }, Some(acceptor)) => {
                acceptor.renew(&Files { certificate, key, client_authority }, clients.clone())
            }
            _ => Ok(()),
        }
    }
}

/// An address that can be opened.
#[derive(Debug)]
pub enum Prepared {
    /// Path, mode and owner of a unix socket.
    Socket(PathBuf, u32, Option<(u32, u32)>),
    /// A loopback address.
    Loopback(SocketAddr),
    /// An address with its TLS acceptor.
    Tls(SocketAddr, TlsAcceptorHandle),
}

impl Prepared {
    /// Opens the address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(self) -> std::io::Result<Listener> {
        match self {
            Self::Socket(path, mode, owner) => Listener::bind_private(&path, mode, owner),
            Self::Loopback(address) => Ok(Listener::Tcp(TcpListener::bind(address).await?)),
            Self::Tls(address, acceptor) => Ok(Listener::Tls(TcpListener::bind(address).await?, acceptor)),
        }
    }
}
