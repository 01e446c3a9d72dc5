//! HTTP and TLS under the AWS client: one pool of connections, proxies and certificates as the environment says.
//!
//! The strict transport trusts the machine's certificates and those of `AWS_CA_BUNDLE`. The other one accepts every certificate; it is
//! made for the S3 endpoint alone, and only if the spec says `endpoint_skip_tls_verify`.

use super::lookup::Lookups;
use super::proxy::{Proxies, Way};
use crate::cpu::scheduler::{Executor, HostMeter};
use crate::s3::clock::Clock;
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_types::os_shim_internal::Env;
use http::header::PROXY_AUTHORIZATION;
use http::{StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, HttpConnector as TcpBy, capture_connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

/// Idle connections are given up before common load balancers do (60 s), so that a request seldom meets one that is just being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// Bytes of an answer, which is gathered in memory. No answer to what is asked here has more than some kilobytes.
pub(super) const MAX_ANSWER_BYTES: usize = 1 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Tcp = TcpBy<Lookups>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Which certificates are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Those of a known authority.
    Strict,
    /// All.
    Nothing,
}

/// An HTTP client for the AWS SDK, whose connections are worked on on the account of `meter`.
///
/// # Errors
/// Words, if `AWS_CA_BUNDLE` cannot be read.
pub(super) fn http_client(
    environment: &Env,
    verify: Verify,
    connect: Duration,
    meter: Option<HostMeter>,
) -> Result<SharedHttpClient, String> {
    let strict = Arc::new(strict_tls(environment)?);
    let tls = match verify {
        Verify::Strict => strict.clone(),
        Verify::Nothing => Arc::new(lenient_tls()?),
    };
    let proxies = Arc::new(Proxies::from_env(environment));
    let mut tcp = Tcp::new_with_resolver(Lookups::new());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    let route = Route { to_proxy: https(strict, tcp.clone()), tcp, proxies: proxies.clone() };
    let within = Within { inner: https(tls, route), limit: connect };
    let client =
        Client::builder(Executor(meter)).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_CONNECTION).build::<_, SdkBody>(within);
    let transport = Transport { client, proxies };
    Ok(http_client_fn(move |settings, _| {
        let limit = settings.read_timeout().map(|read| read + settings.connect_timeout().unwrap_or_default());
        SharedHttpConnector::new(Limited { transport: transport.clone(), limit })
    }))
}

fn https<T>(tls: Arc<ClientConfig>, inner: T) -> HttpsConnector<T> {
    HttpsConnectorBuilder::new().with_tls_config((*tls).clone()).https_or_http().enable_http1().wrap_connector(inner)
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// The machine's certificates, read once a process.
fn machine_certificates() -> &'static [CertificateDer<'static>] {
    static CERTIFICATES: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    CERTIFICATES.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}

fn strict_tls(environment: &Env) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(machine_certificates().iter().cloned());
    if let Ok(path) = environment.get("AWS_CA_BUNDLE").map_err(drop).and_then(|path| if path.is_empty() { Err(()) } else { Ok(path) }) {
        let refuse = |why: String| format!("AWS_CA_BUNDLE: {path:?} {why}; it has to name a file of PEM certificates");
        let pem = lakegate_base::file::read_small(Path::new(&path)).map_err(|error| refuse(format!("cannot be read ({error})")))?;
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| refuse("is not PEM".into()))?;
            roots.add(certificate).map_err(|_| refuse("holds a broken certificate".into()))?;
            found = true;
        }
        if !found {
            return Err(refuse("holds no certificate".into()));
        }
    }
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock::default())).with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}

fn lenient_tls() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock::default())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider()))).with_no_client_auth())
}

/// Accepts every certificate, and still has the handshake signed by its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Finds the way to a host: straight, or by a proxy. TLS to the host itself is the business of the layer above.
#[derive(Clone)]
struct Route {
    tcp: Tcp,
    to_proxy: HttpsConnector<Tcp>,
    proxies: Arc<Proxies>,
}

impl Service<Uri> for Route {
    type Response = Routed;
    type Error = BoxError;
    type Future = Connecting<Routed>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let way: Way = match self.proxies.way(&to) {
            Ok(Some(way)) => way.clone(),
            Ok(None) => {
                let connecting = self.tcp.call(to);
                return Box::pin(async move { Ok(Routed { io: MaybeHttpsStream::Http(connecting.await?), through_proxy: false }) });
            }
            Err(unusable) => return Box::pin(async move { Err(unusable.into()) }),
        };
        if to.scheme_str() == Some("http") {
            let connecting = self.to_proxy.call(way.uri().clone());
            return Box::pin(async move {
                let io = connecting.await.map_err(|error| way.failed(&*error))?;
                Ok(Routed { io, through_proxy: true })
            });
        }
        let mut tunnel = Tunnel::new(way.uri().clone(), self.to_proxy.clone());
        if let Some(auth) = way.auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let connecting = tunnel.call(to);
        Box::pin(async move {
            let io = connecting.await.map_err(|error| way.failed(&error))?;
            Ok(Routed { io, through_proxy: false })
        })
    }
}

/// A connection, and whether requests on it are meant for a proxy.
struct Routed {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    through_proxy: bool,
}

impl Connection for Routed {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.through_proxy)
    }
}

impl Read for Routed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Routed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

/// Bounds the whole of connecting: name, TCP, proxy and TLS.
#[derive(Clone)]
struct Within<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Within<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Connecting<C::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(to), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}")).into()),
            }
        })
    }
}

/// The pool.
#[derive(Debug, Clone)]
struct Transport {
    client: Client<Within<HttpsConnector<Route>>, SdkBody>,
    proxies: Arc<Proxies>,
}

impl Transport {
    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let mut request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        // What cannot be used will not be usable at the next attempt either.
        let way = self.proxies.way(request.uri()).map_err(|error| ConnectorError::user(error.into()))?;
        let way = way.filter(|_| request.uri().scheme_str() == Some("http"));
        if let Some(auth) = way.and_then(Way::auth) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth.clone());
        }
        let connection = capture_connection(&mut request);
        if let Some(slot) = request.extensions().get::<CaptureSmithyConnection>() {
            let connection = connection.clone();
            slot.set_connection_retriever(move || Some(metadata(&connection)));
        }
        let response = self.client.request(request).await.map_err(|error| {
            let never_connected = error.is_connect();
            let error = ConnectorError::io(error.into());
            if never_connected { error.never_connected() } else { error }
        })?;
        if let Some(way) = way.filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
            return Err(ConnectorError::user(way.refused().into()));
        }
        if response.status().is_server_error() {
            // What answers there is ill; behind a balancer the next connection may lead to one that is not.
            poison(&connection);
        }
        HttpResponse::try_from(response.map(|body| SdkBody::from_body_1_x(http_body_util::Limited::new(body, MAX_ANSWER_BYTES))))
            .map_err(|error| ConnectorError::other(error.into(), None))
    }
}

fn poison(connection: &CaptureConnection) {
    if let Some(connected) = connection.connection_metadata().as_ref() {
        connected.poison();
    }
}

/// The connection as the SDK asks for it, which drops those that failed (of the services that give credentials; for the store see `send`).
fn metadata(connection: &CaptureConnection) -> ConnectionMetadata {
    let connection = connection.clone();
    ConnectionMetadata::builder().proxied(false).poison_fn(move || poison(&connection)).build()
}

/// The pool with the limit that one service of the SDK asks for (the instance metadata service asks for a second).
#[derive(Debug)]
struct Limited {
    transport: Transport,
    limit: Option<Duration>,
}

impl HttpConnector for Limited {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (transport, limit) = (self.transport.clone(), self.limit);
        HttpConnectorFuture::new(async move {
            let Some(limit) = limit else { return transport.send(request).await };
            match tokio::time::timeout(limit, transport.send(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(ConnectorError::timeout(format!("no answer within {limit:?}").into())),
            }
        })
    }
}

/// A client for those who give credentials, whose answers the SDK takes on trust.
///
/// The instance metadata service names a role, which becomes a part of the next request's path, and how long a token is good for, which is
/// added to the time. The SDK panics where they cannot be: if the answer is a web page, say.
pub(super) fn guarded(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| SharedHttpConnector::new(Guarded(client.http_connector(settings, components))))
}

#[derive(Debug)]
struct Guarded(SharedHttpConnector);

/// What names the role of an instance.
const ROLE_NAMES: [&str; 2] = ["/iam/security-credentials/", "/iam/security-credentials-extended/"];

/// How long a token of the instance metadata service is good for: by its own rule six hours at most.
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const MAX_TOKEN_LIFE_SECONDS: u64 = 21_600;

impl HttpConnector for Guarded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let path = request.uri().parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
        let names_a_role = request.method() == "GET" && ROLE_NAMES.iter().any(|end| path.ends_with(end));
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let refused = |what: &str| ConnectorError::other(format!("the instance metadata service answered with {what}").into(), None);
            let mut answer = answer.await?;
            let life = answer.headers().get(TOKEN_LIFE).and_then(|life| life.parse::<u64>().ok());
            if life.is_some_and(|life| life > MAX_TOKEN_LIFE_SECONDS) {
                return Err(refused("a token that is good for longer than six hours"));
            }
            if names_a_role && answer.status().is_success() {
                let body = std::mem::replace(answer.body_mut(), SdkBody::empty());
                let body = body.collect().await.map_err(ConnectorError::io)?.to_bytes();
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"+=,.@-_".contains(byte);
                if !body.trim_ascii().iter().all(is_name) || body.len() != body.trim_ascii().len() {
                    return Err(refused("no role's name"));
                }
                *answer.body_mut() = SdkBody::from(body);
            }
            Ok(answer)
        })
    }
}
