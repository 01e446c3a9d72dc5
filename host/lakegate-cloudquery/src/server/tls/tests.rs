//! Tests of which TLS clients are accepted.

use super::*;
use crate::proto::plugin::get_name;
use crate::proto::plugin::plugin_client::PluginClient;
use crate::server::listen::Listener;
use crate::server::service::{PLUGIN_NAME, Server};
use futures::FutureExt;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

const NAME: &str = "lakegate.example";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate and its key.
#[derive(Clone)]
struct Identity {
    pem: String,
    key: String,
}

fn identity(name: &str, by: &Authority, last_year: i32) -> Identity {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    Identity { pem: certificate.pem(), key: key.serialize_pem() }
}

impl Identity {
    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")
    }

    fn fingerprint(&self) -> Fingerprint {
        Sha256::digest(self.certificate()).into()
    }
}

/// The files of a listener.
fn with_files<T>(server: &Identity, clients: &Authority, then: impl FnOnce(&Files<'_>) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder");
    let [certificate, key, client_authority] = ["cert", "key", "ca"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, &server.pem).expect("writable");
    std::fs::write(&key, &server.key).expect("writable");
    std::fs::write(&client_authority, clients.pem()).expect("writable");
    then(&Files { certificate: &certificate, key: &key, client_authority: &client_authority })
}

async fn serve(acceptor: TlsAcceptorHandle) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    // GetName needs no destination; this one never becomes ready.
    let plugin = Server::new(std::future::pending().boxed().shared(), CancellationToken::new());
    tokio::spawn(async move { Listener::Tls(listener, acceptor).serve(&plugin, CancellationToken::new()).await });
    address
}

/// A listener for one client, and the authority that signed its certificate.
async fn listen(server: &Identity, clients: &Authority, client: &Identity) -> SocketAddr {
    serve(with_files(server, clients, |files| TlsAcceptorHandle::new(files, vec![client.fingerprint()])).expect("good files")).await
}

/// Trusts the server's authority, and presents `identity` if there is one.
fn client_config(servers: &Authority, identity: Option<&Identity>) -> Arc<ClientConfig> {
    client_config_of(rustls::DEFAULT_VERSIONS, servers, identity)
}

fn client_config_of(
    versions: &[&'static rustls::SupportedProtocolVersion],
    servers: &Authority,
    identity: Option<&Identity>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(servers.pem().as_bytes()).expect("PEM")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![identity.certificate()], key).expect("they fit")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

async fn dial(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<ClientStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(config).connect(ServerName::try_from(NAME).expect("a name"), socket).await
}

/// Connects tonic through [`dial`].
#[derive(Clone)]
struct Dialer(SocketAddr, Arc<ClientConfig>);

impl tower_service::Service<Uri> for Dialer {
    type Response = TokioIo<ClientStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (address, config) = (self.0, self.1.clone());
        Box::pin(async move { Ok(TokioIo::new(dial(address, config).await?)) })
    }
}

/// The plugin's name, or the error.
async fn name_of(address: SocketAddr, config: Arc<ClientConfig>) -> Result<String, String> {
    let channel: Channel = Endpoint::from_static("http://lakegate.example").connect_with_connector_lazy(Dialer(address, config));
    let answer = tokio::time::timeout(Duration::from_secs(20), PluginClient::new(channel).get_name(get_name::Request {})).await;
    let answer = answer.map_err(|_| "no answer".to_owned())?;
    answer.map(|answer| answer.into_inner().name).map_err(|status| format!("{status:?}"))
}

#[tokio::test]
async fn only_the_listeners_own_client_is_let_in() {
    let (servers, clients, strangers) = (authority("servers"), authority("clients"), authority("strangers"));
    let server = identity(NAME, &servers, 2099);
    let acme = identity("acme", &clients, 2099);
    let address = listen(&server, &clients, &acme).await;
    assert_eq!(name_of(address, client_config(&servers, Some(&acme))).await.as_deref(), Ok(PLUGIN_NAME));

    let other_tenant = identity("beta", &clients, 2099);
    let of_a_stranger = identity("acme", &strangers, 2099);
    for (who, identity) in [("another tenant", Some(&other_tenant)), ("a stranger", Some(&of_a_stranger)), ("nobody", None)] {
        let said = name_of(address, client_config(&servers, identity)).await;
        assert!(said.is_err(), "{who}: {said:?}");
    }
    // The listener still works.
    assert_eq!(name_of(address, client_config(&servers, Some(&acme))).await.as_deref(), Ok(PLUGIN_NAME));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_though_it_is_known() {
    let (servers, clients) = (authority("servers"), authority("clients"));
    let server = identity(NAME, &servers, 2099);
    for (last_year, good) in [(2099, true), (2021, false)] {
        let acme = identity("acme", &clients, last_year);
        let address = listen(&server, &clients, &acme).await;
        let said = name_of(address, client_config(&servers, Some(&acme))).await;
        assert_eq!(said.is_ok(), good, "{last_year}: {said:?}");
    }
}

/// A client with session tickets is asked for its certificate each time, so that an expired one is noticed.
#[tokio::test]
async fn no_client_gets_in_by_an_earlier_handshake() {
    let (servers, clients) = (authority("servers"), authority("clients"));
    let acme = identity("acme", &clients, 2099);
    let address = listen(&identity(NAME, &servers, 2099), &clients, &acme).await;
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let config = client_config_of(versions, &servers, Some(&acme));
        for dialled in 0..3 {
            let mut stream = dial(address, config.clone()).await.expect("let in");
            // A ticket is sent with the first data.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
            stream.read_u8().await.expect("the server's greeting");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full), "{dialled} of {versions:?}");
        }
    }
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let (servers, clients) = (authority("servers"), authority("clients"));
    let acme = identity("acme", &clients, 2099);
    let address = listen(&identity(NAME, &servers, 2099), &clients, &acme).await;
    let mut silent = Vec::new();
    for _ in 0..2 * MAX_HANDSHAKES {
        silent.push(TcpStream::connect(address).await.expect("it listens"));
    }
    dial(address, client_config(&servers, Some(&acme))).await.expect("let in");
    let newest = silent.last().expect("there are some");
    let said = newest.try_read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(said, Err(io::ErrorKind::WouldBlock), "it was not waited for until they were given up");
    assert!(silent.swap_remove(0).read_u8().await.is_err(), "the oldest has made room");
}

#[tokio::test]
async fn a_renewed_gate_lets_in_by_its_new_certificates() {
    let (servers, clients) = (authority("servers"), authority("clients"));
    let [before, after] = [(); 2].map(|()| identity("acme", &clients, 2099));
    let server = identity(NAME, &servers, 2099);
    let acceptor = with_files(&server, &clients, |files| TlsAcceptorHandle::new(files, vec![before.fingerprint()])).expect("good files");
    let address = serve(acceptor.clone()).await;
    let is_let_in = async |who: &Identity| name_of(address, client_config(&servers, Some(who))).await.is_ok();
    assert!(is_let_in(&before).await && !is_let_in(&after).await);
    let renewed = identity(NAME, &servers, 2099);
    with_files(&renewed, &clients, |files| acceptor.renew(files, vec![after.fingerprint()])).expect("good files");
    assert!(!is_let_in(&before).await && is_let_in(&after).await);
    // An error changes nothing.
    let broken = Identity { pem: "no certificate".to_owned(), ..renewed };
    assert!(with_files(&broken, &clients, |files| acceptor.renew(files, vec![before.fingerprint()])).is_err());
    assert!(!is_let_in(&before).await && is_let_in(&after).await);
}

/// HTTP/2 without TLS: the connection ends, and not one byte of HTTP comes back.
#[tokio::test]
async fn a_plaintext_client_gets_nothing() {
    let (servers, clients) = (authority("servers"), authority("clients"));
    let acme = identity("acme", &clients, 2099);
    let address = listen(&identity(NAME, &servers, 2099), &clients, &acme).await;
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.expect("the connection ends");
    // At most a TLS alert (type 21).
    assert!(answer.is_empty() || answer.first() == Some(&21) && answer.len() < 16, "{answer:?}");
}

#[test]
fn fingerprints() {
    let digits = "0123456789abcdefABCDEF00112233445566778899aabbccddeeff0011223344";
    let parsed = fingerprint(digits).expect("64 digits");
    assert_eq!((parsed[0], parsed[7], parsed[31]), (0x01, 0xef, 0x44));
    let colons: Vec<String> = digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
    assert_eq!(fingerprint(&colons.join(":")), Some(parsed));
    for wrong in [
        "",
        "01",
        digits.strip_prefix("0").unwrap_or_default(),
        &format!("{digits}00"),
        &digits.replace('a', "g"),
        &digits.replace('0', "é"),
    ] {
        assert_eq!(fingerprint(wrong), None, "{wrong}");
    }
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let [absent, empty] = ["absent.pem", "empty.pem"].map(|name| folder.path().join(name));
    std::fs::write(&empty, "").expect("writable");
    for (file, name) in [(&absent, "absent.pem"), (&empty, "empty.pem")] {
        let files = Files { certificate: file, key: file, client_authority: file };
        let error = TlsAcceptorHandle::new(&files, Vec::new()).expect_err("no certificate");
        assert!(error.to_string().contains(name), "{error}");
    }
}
