//! TLS from the file of tenants to a row in the store: the process as its operator starts it, a client with a certificate, and others.

use crate::place::BUCKET;
use crate::tenants::{FILE, Served, spec};
use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use lakegate_cloudquery::proto::plugin::plugin_client::PluginClient;
use lakegate_local_store::LocalStore;
use lakegate_tests::plugin::{Client, Message};
use lakegate_tests::tables::ids;
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
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Endpoint, Uri};

const NAME: &str = "lakegate.example";

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

/// Connects over TLS, trusting the authority and showing the certificate.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_served_over_tls_as_its_file_says() -> Result<()> {
    let (servers, clients) = (authority()?, authority()?);
    let (server, acme, stranger) = (identity(NAME, &servers)?, identity("acme", &clients)?, identity("other", &clients)?);
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
    // Beta is served after acme, at a socket that can be waited for.
    let served = Served::waiting_for(&file, &["beta"], |command, place| {
        command.arg("--local").arg(place.join("store"));
    })
    .await?;
    let mut client = Dialer::new(port, &servers, &acme)?.client().await?;
    client.round(&spec("acme/{{TABLE}}/{{UUID}}.csv", "csv"), [Message::Insert(ids("a", 0..2).into())]).await?;
    let said = client.init(&spec("beta/{{TABLE}}/{{UUID}}.json", "json")).await.expect_err("acme's grant");
    assert!(said.message().contains("\"json\" is not granted"), "{said:?}");

    // Signed by the same authority, and not acme's: nothing can be asked.
    let asked =
        async { Dialer::new(port, &servers, &stranger)?.client().await?.init(&spec("a", "csv")).await.map_err(anyhow::Error::from) };
    assert!(asked.await.is_err());
    drop(client);
    let (log, store) = served.stop().await?;
    let refused: Vec<_> = log.iter().filter(|line| line["message"] == "A client is not let in.").collect();
    assert!(!refused.is_empty() && refused.iter().all(|line| line["level"] == "warn" && line["error"].is_string()), "{log:?}");
    let stored = log.iter().find(|line| line["decision"] == "stored").context("an audit line")?;
    assert_eq!((&stored["tenant"], &stored["target"]), (&"acme".into(), &"lakegate::audit".into()));
    assert_eq!(LocalStore::open(&store.path().join("store"))?.records(BUCKET, "acme/")?.len(), 1);
    Ok(())
}
