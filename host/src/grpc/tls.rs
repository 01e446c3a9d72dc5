//! TLS on both sides: a listener that knows its clients by their certificates.
//!
//! A client is let in if an authority of the listener has signed its certificate, the certificate is valid now, and it is one of those the
//! listener knows by their fingerprint. The last is what binds a listener to one tenant, even where all tenants share an authority.
//! Whoever else connects gets nothing: the handshake fails before a byte of HTTP is read.

use super::line::Line;
use futures::stream::{self, Stream};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// A handshake that takes longer is given up: a client that says nothing must not hold a socket.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Connections between their handshake and their first use.
const READY_CONNECTIONS: usize = 16;

/// Connections in their handshake at once; more wait in the queue of the system.
const MAX_HANDSHAKES: usize = 64;

/// The SHA-256 of a certificate's DER.
pub type Fingerprint = [u8; 32];

/// A fingerprint from 64 hexadecimal digits, with or without colons.
pub fn fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: Vec<u8> =
        text.chars().filter(|digit| *digit != ':').map(|digit| digit.to_digit(16).map(|value| value as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// What a listener shows its clients, and which of them it lets in.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The server's certificate and what leads to its authority, PEM.
    pub certificate: &'a Path,
    /// The server's key, PEM.
    pub key: &'a Path,
    /// The authorities of clients, PEM.
    pub client_authority: &'a Path,
}

/// A connection of a client that was let in.
type Connection = Line<TlsStream<TcpStream>>;

/// The TLS side of a listener. Clones share it, so that it can be renewed while the listener is at work.
#[derive(Clone)]
pub struct Gate(Arc<RwLock<TlsAcceptor>>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate for clients with these certificates.
    ///
    /// # Errors
    /// A file cannot be read or holds something else; names the file.
    pub fn new(files: &Files<'_>, clients: Vec<Fingerprint>) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(RwLock::new(acceptor(files, clients)?))))
    }

    /// Lets in by these certificates from now on; connections that are there stay.
    ///
    /// # Errors
    /// As [`Gate::new`]; it goes on with those it has.
    pub fn renew(&self, files: &Files<'_>, clients: Vec<Fingerprint>) -> anyhow::Result<()> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = acceptor(files, clients)?;
        Ok(())
    }

    /// The connections of clients that were let in.
    pub(super) fn accept(self, listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
        let (ready, connections) = mpsc::channel(READY_CONNECTIONS);
        // The listener goes when nobody takes connections any more.
        let accepting = AbortOnDropHandle::new(tokio::spawn(self.accept_all(listener, ready)));
        stream::unfold((connections, accepting), async |(mut connections, accepting)| {
            let connection = connections.recv().await?;
            Some((Ok(connection), (connections, accepting)))
        })
    }

    async fn accept_all(self, listener: TcpListener, ready: mpsc::Sender<Connection>) {
        let handshakes = Arc::new(tokio::sync::Semaphore::new(MAX_HANDSHAKES));
        while let Ok(permit) = handshakes.clone().acquire_owned().await {
            let socket = super::listen::accept_one(&listener).await;
            let (gate, ready) = (self.0.read().unwrap_or_else(PoisonError::into_inner).clone(), ready.clone());
            tokio::spawn(async move {
                let peer = socket.peer_addr().ok();
                match tokio::time::timeout(HANDSHAKE_LIMIT, gate.accept(socket)).await {
                    Ok(Ok(stream)) => {
                        let _nobody_listens = ready.send(Line::new(stream)).await;
                    }
                    Ok(Err(error)) => tracing::warn!(?peer, %error, "A client is not let in."),
                    Err(_) => tracing::warn!(?peer, "A client is not let in: its handshake takes too long."),
                }
                drop(permit);
            });
        }
    }
}

fn acceptor(files: &Files<'_>, clients: Vec<Fingerprint>) -> anyhow::Result<TlsAcceptor> {
    let named = |path: &Path, error: String| anyhow::anyhow!("{}: {error}", path.display());
    let chain = certificates(files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(files.key).map_err(|error| named(files.key, error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(files.client_authority)? {
        roots.add(authority).map_err(|error| named(files.client_authority, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signed = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| named(files.client_authority, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(KnownClients { signed, clients }))
        .with_single_cert(chain, key)
        .map_err(|error| named(files.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{}: no certificate is in it", path.display());
    Ok(found)
}

/// Signed by a known authority, valid, and known itself.
#[derive(Debug)]
struct KnownClients {
    signed: Arc<dyn ClientCertVerifier>,
    clients: Vec<Fingerprint>,
}

impl ClientCertVerifier for KnownClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.signed.verify_client_cert(end_entity, intermediates, now)?;
        if self.clients.contains(&Sha256::digest(end_entity).into()) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
