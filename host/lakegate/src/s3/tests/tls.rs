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

/// A server with a certificate of its own for `name`; what it saw, its address, and the certificate as PEM.
async fn secure_server(name: &str) -> (Server, std::net::SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.into()]).expect("a certificate");
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
    let serving = server.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(socket) = acceptor.accept(socket).await {
                let server = serving.clone();
                tokio::spawn(async move { server.serve(socket, 0).await });
            }
        }
    });
    (server, address, pem)
}

/// A proxy that tunnels whatever it is asked for to `to`; the heads of the requests it saw.
async fn tunnel(to: std::net::SocketAddr) -> (Arc<Mutex<Vec<String>>>, String) {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = socket.read_u8().await else { return };
                    head.push(byte);
                }
                seen.lock().expect("no panic").push(String::from_utf8_lossy(&head).into_owned());
                let mut upstream = tokio::net::TcpStream::connect(to).await.expect("the server listens");
                if socket.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.is_ok() {
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut upstream).await;
                }
            });
        }
    });
    (heads, address)
}

#[tokio::test]
async fn https_goes_through_a_proxy_as_a_tunnel() {
    let (server, address, pem) = secure_server("store.invalid").await;
    let (heads, proxy) = tunnel(address).await;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, pem).expect("writable");
    let bundle = ("AWS_CA_BUNDLE", path.to_str().expect("a plain name"));
    let url = format!("http://user:word@{proxy}");
    let target = target("https://store.invalid".into());
    put(&target, &options(&[KEYS, &[bundle, ("HTTPS_PROXY", url.as_str())]].concat())).await.expect("through the tunnel");
    assert_eq!(server.seen()[0].target, "/bucket/t/a.csv?x-id=PutObject");
    let heads = heads.lock().expect("no panic").clone();
    assert!(heads.len() == 1 && heads[0].starts_with("CONNECT store.invalid:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].to_lowercase().contains("proxy-authorization: basic "), "{heads:?}");
    // The proxy carries bytes that it cannot read.
    assert!(!heads[0].contains("AKIDENV") && server.seen()[0].access_key() == "AKIDENV");
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_refused_skipped_or_trusted() {
    let (_server, address, pem) = secure_server("127.0.0.1").await;
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
