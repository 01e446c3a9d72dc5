//! Certificates and proxies.

use super::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[tokio::test]
async fn a_proxy_is_used_when_set_and_not_for_exceptions() {
    let (proxy, address) = Server::start(|_, _| ok()).await;
    let url = format!("http://user:word@{address}");
    let target = target("http://store.invalid".into());
    put(&target, &options(&[KEYS, &[("HTTP_PROXY", url.as_str())]].concat())).await.expect("by the proxy");
    let seen = &proxy.seen()[0];
    assert!(seen.target.starts_with("http://store.invalid/bucket/t/a.csv"), "{}", seen.target);
    assert!(seen.header("proxy-authorization").starts_with("Basic "));
    let direct = [KEYS, &[("HTTP_PROXY", url.as_str()), ("NO_PROXY", "store.invalid")]].concat();
    assert!(put(&target, &options(&direct)).await.is_err(), "nobody has that name");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_refused_skipped_or_trusted() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate");
    let pem = made.cert.pem();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("PEM");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("bound");
    let server = Server { seen: Arc::default(), script: Arc::new(|_, _| ok()) };
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(socket) = acceptor.accept(socket).await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(socket).await });
            }
        }
    });
    let mut target = target(format!("https://{address}"));
    let error = put(&target, &options(KEYS)).await.expect_err("unknown authority");
    assert!(error.message.contains("is not trusted") && error.message.contains("`endpoint_skip_tls_verify`"), "{error}");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, pem).expect("writable");
    let bundle = [KEYS, &[("AWS_CA_BUNDLE", path.to_str().expect("a plain name"))]].concat();
    put(&target, &options(&bundle)).await.expect("trusted");
    target.skip_tls_verify = true;
    put(&target, &options(KEYS)).await.expect("not verified");
    let error = put(&target, &options(&[KEYS, &[("AWS_CA_BUNDLE", "/absent.pem")]].concat())).await.expect_err("no bundle");
    assert!(error.message.contains("AWS_CA_BUNDLE"), "{error}");
}
