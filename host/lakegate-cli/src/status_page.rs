//! The HTTP server for operators: `/metrics` for Prometheus, `/healthz`, `/readyz`, and a page at `/` for people. Loopback only and read-only.
//!
//! A browser can be tricked into requesting this address under another host's name (DNS rebinding), whose pages may then read the response. So
//! requests must name a host of the loopback interface.

mod recent;

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lakegate::Tenant;
use lakegate::serving::PUT_SECONDS;
use lakegate::serving::Snapshot;
use recent::Recent;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Maximum number of connections. One more closes the oldest, which must be silent or slow, since a response takes only a moment.
const MAX_CONNECTIONS: usize = 32;

/// Time limit of a connection, which serves one request.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Reports whether sessions can be opened.
pub(super) type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// The data behind the responses.
#[derive(Clone)]
pub(super) struct StatusPage {
    tenants: Tenants,
    ready: Ready,
    recent: Arc<Mutex<Recent>>,
}

/// The served tenants; replaced when the tenants file is reloaded.
pub(super) type Tenants = Arc<RwLock<Vec<Arc<Tenant>>>>;

impl StatusPage {
    pub(super) fn new(tenants: Tenants, ready: Ready) -> Self {
        Self { tenants, ready, recent: Arc::default() }
    }

    /// Serves requests until it is dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        let mut ticks = tokio::time::interval(recent::EVERY);
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let socket = tokio::select! {
                _ = ticks.tick() => {
                    let counts = self.readings().iter().map(|(tenant, reading)| (tenant.name.clone(), [reading.bytes, reading.rows])).collect();
                    self.recent.lock().unwrap_or_else(PoisonError::into_inner).record(Instant::now(), counts);
                    continue;
                }
                socket = lakegate_cloudquery::server::accept::accept_one(&listener) => socket,
            };
            open.retain(|talk| !talk.is_finished());
            if open.len() >= MAX_CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            open.push_back(tokio::spawn(self.clone().talk(socket)).abort_handle());
        }
    }

    /// Responds to one request.
    async fn talk(self, socket: TcpStream) {
        let service = service_fn(move |request| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = Builder::new()
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .keep_alive(false)
            .serve_connection(TokioIo::new(socket), service);
        match tokio::time::timeout(CONNECTION_TIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "A connection to the status page was interrupted."),
            Err(_) => tracing::debug!("A connection to the status page took too long."),
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !is_for_this_host(request) {
            return text(StatusCode::FORBIDDEN, "this page is only served under `localhost` and loopback addresses\n".to_owned());
        }
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is supported\n".to_owned());
        }
        match request.uri().path() {
            "/" => page(self.page(lakegate_base::clock::now())),
            "/metrics" => text(StatusCode::OK, self.metrics()),
            "/healthz" => text(StatusCode::OK, "alive\n".to_owned()),
            "/readyz" if (self.ready)() => text(StatusCode::OK, "ready\n".to_owned()),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "the component is being compiled\n".to_owned()),
            _ => text(StatusCode::NOT_FOUND, "not found; there are /, /metrics, /healthz and /readyz\n".to_owned()),
        }
    }

    fn readings(&self) -> Vec<(Arc<Tenant>, Snapshot)> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner).clone();
        tenants.into_iter().map(|tenant| (tenant.clone(), tenant.metrics.read())).collect()
    }

    /// Prometheus's text format, version 0.0.4. Tenant names contain no characters that need escaping.
    fn metrics(&self) -> String {
        let readings = self.readings();
        let mut out = String::new();
        for (name, kind, help, value) in METRICS {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (tenant, reading) in &readings {
                let _ = writeln!(out, "{name}{{tenant=\"{}\"}} {}", tenant.name, value(tenant, reading));
            }
        }
        for (name, label, help, counts) in LABELLED {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (tenant, reading) in &readings {
                for (value, count) in counts(reading) {
                    let _ = writeln!(out, "{name}{{tenant=\"{}\",{label}=\"{value}\"}} {count}", tenant.name);
                }
            }
        }
        let name = "lakegate_put_seconds";
        let _ =
            writeln!(out, "# HELP {name} Time until the store confirmed an object or a part, including retries.\n# TYPE {name} histogram");
        for (tenant, reading) in &readings {
            let bounds = PUT_SECONDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(reading.puts) {
                let _ = writeln!(out, "{name}_bucket{{tenant=\"{}\",le=\"{bound}\"}} {count}", tenant.name);
            }
            let [.., all] = reading.puts;
            let seconds = reading.put_time.as_secs_f64();
            let _ = writeln!(out, "{name}_sum{{tenant=\"{0}\"}} {seconds}\n{name}_count{{tenant=\"{0}\"}} {all}", tenant.name);
        }
        out
    }

    fn page(&self, now: SystemTime) -> String {
        let mut out = HEAD.to_owned();
        let state = if (self.ready)() { "Ready." } else { "The component is being compiled; sessions wait for it." };
        let _ = writeln!(
            out,
            "<p>{state} Totals since this process started, rates over the last minute. This page refreshes itself.\n{TENANTS}"
        );
        let readings = self.readings();
        for (tenant, reading) in &readings {
            let Snapshot { sessions, objects, rows, bytes, traps, guest_memory_bytes, denials, .. } = reading;
            let denied: u64 = denials.values().sum();
            let rates = self.recent.lock().unwrap_or_else(PoisonError::into_inner).rates(&tenant.name, Instant::now(), [*bytes, *rows]);
            let [megabytes, megabytes_a_second, guest_megabytes] =
                [*bytes as f64, rates[0], *guest_memory_bytes as f64].map(|bytes| bytes / 1e6);
            let _ = writeln!(
                out,
                "<tr><td>{}<td>{sessions}<td>{objects}<td>{rows}<td>{:.0}<td>{megabytes:.1}<td>{megabytes_a_second:.1}<td>{denied}\
                 <td>{traps}<td>{guest_megabytes:.1}",
                tenant.name, rates[1],
            );
        }
        let _ = writeln!(out, "</table>\n{DENIALS}");
        let mut last: Vec<_> =
            readings.iter().flat_map(|(tenant, reading)| reading.last_denials.iter().map(move |denial| (tenant, denial))).collect();
        last.sort_by_key(|(_, denial)| std::cmp::Reverse(denial.at));
        for (tenant, denial) in &last {
            let ago = now.duration_since(denial.at).unwrap_or_default().as_secs();
            let _ = writeln!(out, "<tr><td>{ago} s<td>{}<td>{}<td>{}", tenant.name, denial.rule, escaped(&denial.message));
        }
        out.push_str(if last.is_empty() { "</table>\n<p>None yet.\n" } else { "</table>\n" });
        out
    }
}

/// Whether a request names a host of the loopback interface. The port may differ, because of a tunnel.
fn is_for_this_host<B>(request: &Request<B>) -> bool {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let Some(named) = named.filter(|named| !named.as_str().contains('@')) else { return false };
    let host = named.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

type Value = fn(&Tenant, &Snapshot) -> f64;

const METRICS: [(&str, &str, &str, Value); 12] = [
    ("lakegate_objects_total", "counter", "Objects that the store has confirmed.", |_, reading| reading.objects as f64),
    ("lakegate_bytes_total", "counter", "Bytes of confirmed objects.", |_, reading| reading.bytes as f64),
    ("lakegate_rows_total", "counter", "Rows of confirmed objects.", |_, reading| reading.rows as f64),
    ("lakegate_quarantined_rows_total", "counter", "Rows in quarantine.", |_, reading| reading.quarantined_rows as f64),
    ("lakegate_traps_total", "counter", "Traps of guest instances.", |_, reading| reading.traps as f64),
    ("lakegate_sessions", "gauge", "Open sessions.", |_, reading| reading.sessions as f64),
    ("lakegate_guest_memory_high_water_bytes", "gauge", "Largest linear memory of one guest instance.", |_, reading| {
        reading.guest_memory_bytes as f64
    }),
    ("lakegate_budget_used_bytes", "gauge", "Memory of guests, and what the host keeps for open sessions.", |tenant, _| {
        tenant.share.budget.used_bytes() as f64
    }),
    ("lakegate_guest_cpu_seconds_total", "counter", "CPU time of guests.", |tenant, _| tenant.share.account.computed().as_secs_f64()),
    (
        "lakegate_host_cpu_seconds_total",
        "counter",
        "CPU time of the host for the tenant: connections, messages, requests to the store.",
        |tenant, _| tenant.share.account.host_worked().as_secs_f64(),
    ),
    ("lakegate_audit_lines_left_out_total", "counter", "Audit lines dropped for lack of space.", |tenant, _| {
        tenant.audit_lines_left_out() as f64
    }),
    ("lakegate_queued_messages", "gauge", "Messages waiting for a guest.", |_, reading| reading.queued as f64),
];

type Counts = fn(&Snapshot) -> Vec<(&'static str, u64)>;

/// Counters with an additional label.
const LABELLED: [(&str, &str, &str, Counts); 3] = [
    ("lakegate_denials_total", "rule", "Denials, by rule of the grant.", |reading| by_label(&reading.denials)),
    ("lakegate_throttled_total", "rule", "Waits because of a rate limit, by rule of the grant.", |reading| by_label(&reading.throttled)),
    ("lakegate_retries_total", "class", "Retried requests to the store, by class of the failure.", |reading| reading.retries.to_vec()),
];

fn by_label(counts: &BTreeMap<&'static str, u64>) -> Vec<(&'static str, u64)> {
    counts.iter().map(|(label, count)| (*label, *count)).collect()
}

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
<meta http-equiv=refresh content=5><title>Lakegate</title><style>:root{color-scheme:light dark}body{font:15px/1.4 system-ui,sans-serif;\
margin:2em}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.3em .8em;text-align:right;vertical-align:top;\
border-bottom:1px solid #8886}th{font-weight:600}th:first-child,td:first-child,.words th,.words td{text-align:left}.words td:last-child{\
overflow-wrap:anywhere}.words td:first-child{white-space:nowrap}</style><h1>Lakegate</h1>\n";

const TENANTS: &str = "<h2>Tenants</h2><table><tr><th>tenant<th>sessions<th>objects<th>rows<th>rows/s<th>MB<th>MB/s<th>denials<th>traps\
<th>guest MB";

const DENIALS: &str = "<h2>Last denials</h2><table class=words><tr><th>ago<th>tenant<th>rule<th>why";

/// Escapes text chosen by tenants, such as keys, so that it cannot become markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    answer(status, "text/plain; version=0.0.4; charset=utf-8", body)
}

fn page(body: String) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, "text/html; charset=utf-8", body)
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    // Nothing is loaded from elsewhere, and pages of other hosts may neither frame nor read this one.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        header::HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use lakegate::{Denied, Grant, Policy};

    fn watch() -> StatusPage {
        let tenant = Arc::new(Tenant::new("acme", Grant::default()));
        let policy = Policy::for_tenant(tenant.clone());
        policy.audit_object("k", 2_500_000, 7, std::future::pending()).now_or_never().expect("there is room");
        policy.audit_denial(&Denied::new("key_prefixes", "the key \"<script>&\" is outside"), None);
        tenant.metrics.put(std::time::Duration::from_millis(30));
        let tenants = vec![tenant, Arc::new(Tenant::new("beta", Grant::default()))];
        StatusPage::new(Arc::new(RwLock::new(tenants)), Arc::new(|| true))
    }

    #[test]
    fn metrics_are_by_tenant_and_rule() {
        let metrics = watch().metrics();
        for line in [
            "# TYPE lakegate_objects_total counter",
            "lakegate_objects_total{tenant=\"acme\"} 1",
            "lakegate_objects_total{tenant=\"beta\"} 0",
            "lakegate_bytes_total{tenant=\"acme\"} 2500000",
            "lakegate_rows_total{tenant=\"acme\"} 7",
            "lakegate_sessions{tenant=\"acme\"} 0",
            "lakegate_denials_total{tenant=\"acme\",rule=\"key_prefixes\"} 1",
            "lakegate_retries_total{tenant=\"acme\",class=\"throttled\"} 0",
            "lakegate_guest_cpu_seconds_total{tenant=\"acme\"} 0",
            "lakegate_host_cpu_seconds_total{tenant=\"acme\"} 0",
            "lakegate_put_seconds_bucket{tenant=\"acme\",le=\"0.025\"} 0",
            "lakegate_put_seconds_bucket{tenant=\"acme\",le=\"0.05\"} 1",
            "lakegate_put_seconds_bucket{tenant=\"acme\",le=\"+Inf\"} 1",
            "lakegate_put_seconds_sum{tenant=\"acme\"} 0.03",
            "lakegate_put_seconds_count{tenant=\"acme\"} 1",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
        }
    }

    /// A page of another host whose name resolves to this address may not read the response.
    #[test]
    fn a_request_under_another_name_is_refused() {
        let answered = |hosts: &[&str]| {
            let request = hosts.iter().fold(Request::get("/metrics"), |request, host| request.header(header::HOST, *host));
            watch().answer(&request.body(()).expect("a request")).status()
        };
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "127.8.0.1", "[::1]:9090", "[::1]"] {
            assert_eq!(answered(&[host]), StatusCode::OK, "{host}");
        }
        for host in [
            "",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "localhost@evil.example",
            "0.0.0.0",
            "é",
        ] {
            assert_eq!(answered(&[host]), StatusCode::FORBIDDEN, "{host}");
        }
        assert_eq!(answered(&[]), StatusCode::FORBIDDEN);
    }

    #[test]
    fn what_is_not_ready_says_so() {
        let watch = StatusPage::new(Arc::default(), Arc::new(|| false));
        let request = |path: &str| Request::get(path).header(header::HOST, "localhost").body(()).expect("a request");
        assert_eq!(watch.answer(&request("/readyz")).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(watch.answer(&request("/healthz")).status(), StatusCode::OK);
    }

    #[test]
    fn the_page_shows_denials_as_text() {
        let page = watch().page(SystemTime::now());
        assert!(page.contains("<tr><td>acme<td>0<td>1<td>7<td>0<td>2.5<td>0.0<td>1<td>0<td>0.0\n"), "{page}");
        assert!(page.contains("<td>acme<td>key_prefixes<td>the key &quot;&lt;script&gt;&amp;&quot; is outside"), "{page}");
        assert!(!page.contains("<script") && !page.contains("None yet."), "{page}");
        assert!(
            StatusPage::new(Arc::default(), Arc::new(|| false)).page(SystemTime::now()).contains("being compiled; sessions wait for it.")
        );
    }
}
