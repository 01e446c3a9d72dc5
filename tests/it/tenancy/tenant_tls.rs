//! TLS from the tenants file to a row in the store: the process as its operator starts it, a client with a certificate, and other clients.

use crate::fixtures::proxied_store::BUCKET;
use crate::tenancy::isolation::{cpu_seconds, host_seconds};
use crate::tenancy::tenants::{FILE, spec};
use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use lakegate_cloudquery::proto::plugin::plugin_client::PluginClient;
use lakegate_local_store::{AccessKey, LocalStore};
use lakegate_tests::plugin::{Client, Message};
use lakegate_tests::tables::{Table, ids};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Endpoint, Uri};

const NAME: &str = "lakegate.example";

/// Access key ID and secret for the test's store.
const KEY: (&str, &str) = ("lakegate-test", "lakegate-test-secret");

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Authority> {
    let mut params = CertificateParams::new(vec!["authority".to_owned()])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A certificate and its key, PEM.
fn identity(name: &str, by: &Authority) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, by)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn fingerprint(pem: &str) -> Result<String> {
    let digest = Sha256::digest(CertificateDer::from_pem_slice(pem.as_bytes())?);
    Ok(digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

/// Connects over TLS, trusting the authority and presenting the certificate.
#[derive(Clone)]
struct Dialer(SocketAddr, Arc<ClientConfig>);

impl Dialer {
    fn new(address: SocketAddr, trusted: &Authority, (certificate, key): &(String, String)) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(address, Arc::new(config)))
    }

    async fn client(self) -> Result<Client> {
        let channel = Endpoint::from_static("http://lakegate.example").connect_with_connector(self).await?;
        Ok(Client(PluginClient::new(channel)))
    }
}

impl tower_service::Service<Uri> for Dialer {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self(address, config) = self.clone();
        Box::pin(async move {
            let name = ServerName::try_from(NAME).map_err(std::io::Error::other)?;
            Ok(TokioIo::new(TlsConnector::from(config).connect(name, TcpStream::connect(address).await?).await?))
        })
    }
}

fn keep(folder: &Path, name: &str, text: &str) -> Result<()> {
    Ok(std::fs::write(folder.join(name), text)?)
}

/// Acme at a TLS listener for one client.
struct TlsServer {
    served: crate::tenancy::tenants::TenantServer,
    port: SocketAddr,
    servers: Authority,
    clients: Authority,
    acme: (String, String),
    _pem: tempfile::TempDir,
}

/// Starts the server; `change` modifies the file.
async fn serve(change: impl FnOnce(String) -> String) -> Result<TlsServer> {
    let (servers, clients) = (authority()?, authority()?);
    let (server, acme) = (identity(NAME, &servers)?, identity("acme", &clients)?);
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let folder = tempfile::tempdir()?;
    for (name, text) in [("cert.pem", &server.0), ("key.pem", &server.1), ("clients.pem", &clients.pem())] {
        keep(folder.path(), name, text)?;
    }
    let tls = format!(
        "listen = {{ tls = \"{port}\", certificate = \"PEM/cert.pem\", key = \"PEM/key.pem\", client_authority = \"PEM/clients.pem\", \
         client_sha256 = [\"{}\"] }}",
        fingerprint(&acme.0)?
    );
    let file = FILE.replacen("listen = { socket = \"DIR/acme.sock\" }", &tls, 1).replace("PEM", &folder.path().display().to_string());
    let file = change(file);
    let remote = file.contains("endpoint = ");
    // Beta is served after acme, on a socket that can be waited for.
    let served = crate::tenancy::tenants::TenantServer::waiting_for(&file, &["beta"], |command, folder| {
        if !remote {
            command.arg("--local").arg(folder.join("store"));
        }
        command.env("LAKEGATE_TEST_ID", KEY.0).env("LAKEGATE_TEST_KEY", KEY.1);
    })
    .await?;
    Ok(TlsServer { served, port, servers, clients, acme, _pem: folder })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_served_over_tls_as_its_file_says() -> Result<()> {
    let TlsServer { served, port, servers, clients, acme, _pem } = serve(|file| file).await?;
    let stranger = identity("other", &clients)?;
    let mut client = Dialer::new(port, &servers, &acme)?.client().await?;
    client.round(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("a", 0..2).into())]).await?;
    let said = client.init(&spec("beta/{{TABLE}}/{{UUID}}.json", "json")).await.expect_err("acme's grant");
    assert!(said.message().contains("\"json\" is not granted"), "{said:?}");

    // Signed by the same authority but not acme's: no call is possible.
    let asked =
        async { Dialer::new(port, &servers, &stranger)?.client().await?.init(&spec("a", "csv")).await.map_err(anyhow::Error::from) };
    assert!(asked.await.is_err());
    drop(client);
    let (log, store) = served.stop().await?;
    let refused: Vec<_> = log.iter().filter(|line| line["message"] == "A client was rejected.").collect();
    assert!(!refused.is_empty() && refused.iter().all(|line| line["level"] == "warn" && line["error"].is_string()), "{log:?}");
    let stored = log.iter().find(|line| line["decision"] == "stored").context("an audit line")?;
    assert_eq!((&stored["tenant"], &stored["target"]), (&"acme".into(), &"lakegate::audit".into()));
    assert_eq!(LocalStore::open(&store.path().join("store"))?.records(BUCKET, "acme/")?.len(), 1);
    Ok(())
}

/// Concurrent handshakes, and the time limit of each, as in the resource ledger.
const HANDSHAKES: usize = 64;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Reads until the server closes the connection.
async fn hung_up(mut socket: TcpStream) {
    let _reset = socket.read_to_end(&mut Vec::new()).await;
}

/// Repeated incomplete handshakes keep no client out: the oldest is dropped at once, and none stays forever.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_stop_half_way_keep_no_place() -> Result<()> {
    let TlsServer { served, port, servers, acme, .. } = &serve(|file| file).await?;
    let config = Dialer::new(*port, servers, acme)?.1;
    let mut half = Vec::new();
    rustls::ClientConnection::new(config, ServerName::try_from(NAME)?)?.write_tls(&mut half)?;
    half.truncate(half.len() / 2);
    let mut silent = std::collections::VecDeque::new();
    let begun = Instant::now();
    for _ in 0..3 * HANDSHAKES {
        let mut socket = TcpStream::connect(port).await?;
        socket.write_all(&half).await?;
        silent.push_back(socket);
    }
    let let_in = async {
        let mut client = Dialer::new(*port, servers, acme)?.client().await?;
        client.round(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("a", 0..2).into())]).await?;
        anyhow::Ok(())
    };
    tokio::time::timeout(HANDSHAKE_LIMIT / 2, let_in).await.context("nobody is let in")??;
    // Those that were dropped, before the time limit of the first one.
    for number in 0..2 * HANDSHAKES {
        let socket = silent.pop_front().context("opened above")?;
        tokio::time::timeout(HANDSHAKE_LIMIT, hung_up(socket)).await.context("it is held")?;
        assert!(begun.elapsed() < HANDSHAKE_LIMIT, "number {number} is held until its time is over");
    }
    for socket in silent {
        tokio::time::timeout(HANDSHAKE_LIMIT * 2, hung_up(socket)).await.context("it is held for ever")?;
    }
    assert_eq!(LocalStore::open(&served.folder.path().join("store"))?.records(BUCKET, "acme/")?.len(), 1);
    Ok(())
}

/// TLS records of a tenant's clients, CRC32, signatures and sockets of its objects are charged to its account. The remainder is the runtime's.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "figures that the notes quote")]
async fn what_tls_and_storing_take_is_charged_to_the_tenant() -> Result<()> {
    const MESSAGES: usize = 24;
    let folder = tempfile::tempdir()?;
    let store = LocalStore::open(folder.path())?;
    store.create_bucket(BUCKET)?;
    // In this process, so that its own work is not in the other's time.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let server = store.serve(listener, [AccessKey { id: KEY.0.into(), secret: KEY.1.into() }])?;
    let credentials = "credentials = { access_key_id_env = \"LAKEGATE_TEST_ID\", secret_access_key_env = \"LAKEGATE_TEST_KEY\" }";
    let place = format!("endpoint = {:?}\npath_style = true\nregion", server.endpoint());
    let remote = |file: String| {
        let file = file.replacen("[tenants.acme.grant]", &format!("{credentials}\n[tenants.acme.grant]"), 1);
        file.replacen("region", &place, 1)
    };
    let TlsServer { served, port, servers, acme, .. } = &serve(remote).await?;
    let mut dice = lakegate_tests::generate::Dice::new(1);
    let values: arrow_array::StringArray =
        (0..4_096).map(|_| Some((0..64).map(|_| format!("{:016x}", dice.bits())).collect::<String>())).collect();
    let message = bytes::Bytes::from(Table::new("t").column("word", Arc::new(values)).insert_ipc()?);
    let mut client = Dialer::new(*port, servers, acme)?.client().await?;
    // A table that may not be written fails with its first message: of the others, all that is left to do is to take them in. Then one that may.
    for (prefix, ends_well, least) in [("elsewhere", false, 0.5), ("acme", true, 0.2)] {
        client.init(&spec(&format!("{prefix}/{{{{TABLE}}}}/{{{{UUID}}}}.csv"), "csv")).await?;
        let before = (cpu_seconds(served)?, host_seconds(served, "acme").await?);
        let message = message.clone();
        let written = client.write((0..MESSAGES).map(move |_| Message::Insert(message.clone()))).await;
        assert_eq!(written.is_ok(), ends_well, "{prefix}: {written:?}");
        let (all, charged) = (cpu_seconds(served)? - before.0, host_seconds(served, "acme").await? - before.1);
        eprintln!("{prefix}: of {all:.2} s of computing, {charged:.2} s are charged");
        assert!(all > 0.2, "{all} s: that is no work to measure");
        assert!(charged > all * least, "{prefix}: of {all} s of computing, {charged} s are charged");
        client.close().await?;
    }
    let stored: u64 = store.records(BUCKET, "acme/t/")?.iter().map(|record| record.size).sum();
    assert!(stored > (MESSAGES as u64) << 22, "{stored} bytes are stored");
    server.stop().await;
    Ok(())
}
