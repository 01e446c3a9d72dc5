//! Mutual TLS: a listener that authenticates its clients by their certificates.
//!
//! A client is accepted if its certificate is signed by an authority of the listener, valid now, and one of those that the listener knows by
//! fingerprint. The fingerprint binds a listener to one tenant, even if all tenants share an authority. Any other client gets nothing: the handshake
//! fails before a byte of HTTP is read.

use super::connection::{ConnectionSlots, SessionConnection};
use futures::stream::{self, Stream};
use lakegate::serving::Clock;
use lakegate::serving::{HostMeter, spawn_metered};
use lakegate_base::file;
use lakegate_base::log_limit::{Admission, LogLimiter};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// Time limit of a handshake: a silent client must not hold a socket.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Connections between their handshake and their first use.
const READY_CONNECTIONS: usize = 16;

/// Maximum number of concurrent handshakes.
const MAX_HANDSHAKES: usize = 64;

/// Maximum size of a PEM file; all public authorities together have a few hundred kilobytes.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// Log lines per second about rejected clients; the rest is counted.
const MAX_REFUSALS_LOGGED: u32 = 5;

/// The SHA-256 of a certificate's DER.
pub type Fingerprint = [u8; 32];

/// Parses a fingerprint of 64 hexadecimal digits, with or without colons.
pub fn fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: Vec<u8> =
        text.chars().filter(|digit| *digit != ':').map(|digit| digit.to_digit(16).map(|value| value as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// The certificate files of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The server's certificate chain, PEM.
    pub certificate: &'a Path,
    /// The server's key, PEM.
    pub key: &'a Path,
    /// The authorities of clients, PEM.
    pub client_authority: &'a Path,
}

/// A connection of an accepted client.
type Connection = SessionConnection<TlsStream<TcpStream>>;

/// The TLS acceptor of a listener. Clones share it, so that it can be renewed while the listener is running.
#[derive(Clone)]
pub struct TlsAcceptorHandle(Arc<RwLock<TlsAcceptor>>);

impl std::fmt::Debug for TlsAcceptorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsAcceptorHandle").finish_non_exhaustive()
    }
}

impl TlsAcceptorHandle {
    /// Creates an acceptor for clients with these certificates.
    ///
    /// # Errors
    /// A file cannot be read or is invalid; the error names it.
    pub fn new(files: &Files<'_>, clients: Vec<Fingerprint>) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(RwLock::new(acceptor(files, clients)?))))
    }

    /// Uses these certificates from now on; existing connections stay open.
    ///
    /// # Errors
    /// As [`TlsAcceptorHandle::new`]; the current certificates then stay in use.
    pub fn renew(&self, files: &Files<'_>, clients: Vec<Fingerprint>) -> anyhow::Result<()> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = acceptor(files, clients)?;
        Ok(())
    }

    /// The connections of accepted clients. Handshakes are charged to the listener's tenant.
    pub(super) fn accept(self, listener: TcpListener, slots: ConnectionSlots, meter: Option<HostMeter>) -> impl Stream<Item = Connection> {
        let (ready, connections) = mpsc::channel(READY_CONNECTIONS);
        let accepting = self.accept_all(listener, slots, ready, meter.clone());
        // The listener is closed when the stream is dropped.
        let accepting = AbortOnDropHandle::new(match meter {
            Some(meter) => tokio::spawn(meter.metered(accepting)),
            None => tokio::spawn(accepting),
        });
        stream::unfold((connections, accepting), async |(mut connections, accepting)| {
            let connection = connections.recv().await?;
            Some((connection, (connections, accepting)))
        })
    }

    /// A handshake costs an attacker nothing: if too many are in progress, the oldest is dropped, so that silent clients keep no one out.
    async fn accept_all(self, listener: TcpListener, slots: ConnectionSlots, ready: mpsc::Sender<Connection>, meter: Option<HostMeter>) {
        let refusals = Arc::new(Mutex::new(LogLimiter::new(MAX_REFUSALS_LOGGED)));
        let mut handshakes: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let socket = super::accept::accept_one(&listener).await;
            handshakes.retain(|handshake| !handshake.is_finished());
            if handshakes.len() >= MAX_HANDSHAKES
                && let Some(oldest) = handshakes.pop_front()
            {
                oldest.abort();
                log_refusal(&refusals, None, "its handshake is not done, and others have come since");
            }
            let acceptor = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
            let (slots, ready, refusals) = (slots.clone(), ready.clone(), refusals.clone());
            let handshake = async move {
                let peer = socket.peer_addr().ok();
                match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => {
                        if let Some(line) = slots.admit(stream) {
                            let _nobody_listens = ready.send(line).await;
                        }
                    }
                    Ok(Err(error)) => log_refusal(&refusals, peer, &error.to_string()),
                    Err(_) => log_refusal(&refusals, peer, "its handshake takes too long"),
                }
            };
            handshakes.push_back(spawn_metered(&tokio::runtime::Handle::current(), meter.as_ref(), handshake));
        }
    }
}

/// Logs a rejected client, at a limited rate, since anyone can cause this.
fn log_refusal(refusals: &Mutex<LogLimiter>, peer: Option<SocketAddr>, error: &str) {
    if let Admission::Passes(more) = refusals.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()) {
        tracing::warn!(?peer, error, more, "A client was rejected.");
    }
}

fn acceptor(files: &Files<'_>, clients: Vec<Fingerprint>) -> anyhow::Result<TlsAcceptor> {
    let named = |path: &Path, error: String| anyhow::anyhow!("{}: {error}", path.display());
    let chain = certificates(files.certificate)?;
    let key = file::read_plain(files.key, MAX_PEM_BYTES).map_err(|error| named(files.key, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| named(files.key, error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(files.client_authority)? {
        roots.add(authority).map_err(|error| named(files.client_authority, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signed = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| named(files.client_authority, error.to_string()))?;
    let mut config = ServerConfig::builder_with_details(Arc::<CryptoProvider>::clone(&provider), Arc::new(Clock::default()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(KnownClients { signed, clients }))
        .with_single_cert(chain, key)
        .map_err(|error| named(files.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // No resumption: a resumed session presents no certificate, so an expired one would still be accepted.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let named = |error: &dyn std::fmt::Display| anyhow::anyhow!("{}: {error}", path.display());
    let pem = file::read_plain(path, MAX_PEM_BYTES).map_err(|error| named(&error))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| named(&error))?;
    anyhow::ensure!(!found.is_empty(), "{}: no certificate is in it", path.display());
    Ok(found)
}

/// Accepts certificates that are signed by a known authority, valid, and known by fingerprint.
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
