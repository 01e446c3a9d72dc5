//! An OpenTelemetry collector on a loopback port that keeps what it is sent: OTLP over HTTP, in protobuf.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lakegate_telemetry::proto::any_value::Value;
use lakegate_telemetry::proto::{ExportMetricsServiceRequest, ExportTraceServiceRequest, KeyValue, Resource, Span, number_data_point};
use prost::Message as _;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// What was sent.
#[derive(Debug, Default)]
struct State {
    /// Path, headers and body of each request.
    requests: Vec<(String, HeaderMap, Bytes)>,
}

impl Collector {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// No port can be opened.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        Ok(Self { address, task: tokio::spawn(run(listener, state.clone())), state })
    }

    /// Where it listens: `HOST:PORT`.
    #[must_use]
    pub fn place(&self) -> String {
        self.address.to_string()
    }

    /// The flags that send telemetry here.
    #[must_use]
    pub fn flags(&self) -> String {
        format!("--otel-endpoint {} --otel-endpoint-insecure", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Path, headers and body of each request.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, HeaderMap, Bytes)> {
        self.state().requests.clone()
    }

    fn bodies(&self, path: &str) -> Vec<Bytes> {
        self.state().requests.iter().filter(|(known, ..)| known == path).map(|(_, _, body)| body.clone()).collect()
    }

    /// All spans.
    ///
    /// # Panics
    /// A request is not the protocol's.
    #[must_use]
    pub fn spans(&self) -> Vec<Sent> {
        let mut spans = Vec::new();
        for body in self.bodies("/v1/traces") {
            let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
            for resource in request.resource_spans {
                let of = resource.resource.unwrap_or_default();
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Sent { of: of.clone(), span }));
            }
        }
        spans
    }

    /// The latest value of each counter, by its name and the values of its attributes.
    ///
    /// # Panics
    /// A request is not the protocol's.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<(String, Vec<String>), i64> {
        let mut counters = BTreeMap::new();
        for body in self.bodies("/v1/metrics") {
            let request = ExportMetricsServiceRequest::decode(body).expect("OTLP");
            let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            for metric in scopes.flat_map(|scope| scope.metrics) {
                for point in metric.sum.expect("a sum").data_points {
                    let attributes = point.attributes.iter().map(text_of).collect();
                    let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!("no number") };
                    counters.insert((metric.name.clone(), attributes), value);
                }
            }
        }
        counters
    }

    /// The latest value of a counter without attributes.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<i64> {
        self.counters().get(&(name.to_owned(), Vec::new())).copied()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A span as it was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What is said of the process.
    pub of: Resource,
    /// The span.
    pub span: Span,
}

impl Sent {
    /// The number that an attribute has.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::IntValue(number) => Some(*number),
            Value::StringValue(_) | Value::BoolValue(_) => None,
        }
    }

    /// The text that an attribute has.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::StringValue(text) => Some(text),
            Value::IntValue(_) | Value::BoolValue(_) => None,
        }
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.span.attributes.iter().find(|it| it.key == key)?.value.as_ref()?.value.as_ref()
    }

    /// Whether it is right below another.
    #[must_use]
    pub fn is_below(&self, parent: &Self) -> bool {
        self.span.trace_id == parent.span.trace_id && self.span.parent_span_id == parent.span.span_id
    }
}

fn text_of(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

async fn run(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let state = state.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let state = state.clone();
            async move {
                let (head, body) = request.into_parts();
                if let Ok(body) = body.collect().await {
                    let request = (head.uri.path().to_owned(), head.headers, body.to_bytes());
                    state.lock().unwrap_or_else(PoisonError::into_inner).requests.push(request);
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}
