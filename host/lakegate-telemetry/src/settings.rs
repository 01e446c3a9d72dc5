//! Where telemetry goes and what it says of the process: by flag as for plugins on the Go SDK, and by OpenTelemetry's environment variables.

use crate::span::Parent;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

/// The variable of the endpoint.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The variable of further headers.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// The variable of attributes of the process.
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// The flags.
const FLAG: &str = "--otel-endpoint";
const INSECURE: &str = "--otel-endpoint-insecure";

/// The service's name, unless the environment has another.
const SERVICE: &str = "lakegate";

/// Where telemetry goes, and what it says of the process.
#[derive(Debug)]
pub struct Settings {
    pub(crate) traces: Uri,
    pub(crate) metrics: Uri,
    /// What is named to people: host and port.
    pub(crate) place: String,
    /// Their values are marked as sensitive, so that nothing prints them.
    pub(crate) headers: HeaderMap,
    /// What is said of the process.
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) parent: Option<Parent>,
    /// What is left out of the environment's wishes, in words.
    pub warnings: Vec<String>,
}

/// Why nothing can be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// A flag is wrong: the command is refused.
    Flag(String),
    /// A variable is wrong: it may be there for other programs, so the command does its work without telemetry.
    Environment(String),
}

impl Settings {
    /// The settings of a process; [`None`] if nobody asks for telemetry. `variable` looks into the environment.
    ///
    /// # Errors
    /// [`Problem`]. No value of a header is in it, nor a user or password of an endpoint.
    pub fn new(flag: Option<&str>, insecure: bool, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Problem> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let flag = flag.filter(|flag| !flag.is_empty());
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let base = match (flag, variable(ENDPOINT)) {
            (Some(flag), _) => base_of_flag(flag, insecure).map_err(|why| Problem::Flag(format!("{FLAG}: {why}")))?,
            (None, Some(endpoint)) => {
                let protocol = variable("OTEL_EXPORTER_OTLP_PROTOCOL").filter(|protocol| protocol != "http/protobuf");
                if let Some(protocol) = protocol {
                    return Err(Problem::Environment(format!(
                        "OTEL_EXPORTER_OTLP_PROTOCOL: {protocol:?} is not spoken; http/protobuf is, or leave it out"
                    )));
                }
                base_of_url(&endpoint).map_err(|why| Problem::Environment(format!("{ENDPOINT}: {why}")))?
            }
            (None, None) => return Ok(None),
        };
        let headers = match variable(HEADERS) {
            Some(text) => headers(&text).map_err(|why| Problem::Environment(format!("{HEADERS}: {why}")))?,
            None => HeaderMap::new(),
        };
        let mut warnings = Vec::new();
        let attributes = pairs(&variable(ATTRIBUTES).unwrap_or_default()).unwrap_or_else(|position| {
            warnings.push(format!("{ATTRIBUTES}: entry {position} is not KEY=VALUE, so that all of it is left out"));
            Vec::new()
        });
        let resource = resource(attributes, variable("OTEL_SERVICE_NAME"));
        let signal = |name: &str| {
            let path = format!("{}/v1/{name}", base.path().trim_end_matches('/'));
            let mut parts = base.clone().into_parts();
            parts.path_and_query = path.parse().ok();
            Uri::from_parts(parts).map_err(|error| Problem::Flag(format!("{FLAG}: {error}")))
        };
        Ok(Some(Self {
            traces: signal("traces")?,
            metrics: signal("metrics")?,
            place: base.authority().map(ToString::to_string).unwrap_or_default(),
            headers,
            resource,
            parent: variable("TRACEPARENT").and_then(|text| Parent::read(&text)),
            warnings,
        }))
    }

    /// Whether the way to the collector is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.traces.scheme() == Some(&Scheme::HTTPS)
    }
}

/// `HOST:PORT`, as the CloudQuery CLI passes it, or a URL.
fn base_of_flag(text: &str, insecure: bool) -> Result<Uri, String> {
    if text.contains("://") {
        let base = base_of_url(text)?;
        if insecure && base.scheme() == Some(&Scheme::HTTPS) {
            return Err(format!("{INSECURE} contradicts https://; leave one of them out"));
        }
        return Ok(base);
    }
    let authority: Authority = text.parse().map_err(|_| not_an_endpoint(text))?;
    let builder = Uri::builder().scheme(if insecure { Scheme::HTTP } else { Scheme::HTTPS }).authority(authority).path_and_query("/");
    checked(builder.build().map_err(|_| not_an_endpoint(text))?, text)
}

fn base_of_url(text: &str) -> Result<Uri, String> {
    let base: Uri = text.parse().map_err(|_| not_an_endpoint(text))?;
    match base.scheme_str() {
        Some("http" | "https") => checked(base, text),
        _ => Err(not_an_endpoint(text)),
    }
}

fn checked(base: Uri, text: &str) -> Result<Uri, String> {
    let authority = base.authority().ok_or_else(|| not_an_endpoint(text))?;
    if authority.as_str().contains('@') {
        return Err(format!("an endpoint has no user or password; put credentials into {HEADERS}"));
    }
    let port = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    if authority.host().is_empty() || base.query().is_some() || port.is_some_and(|_| authority.port_u16().is_none_or(|port| port == 0)) {
        return Err(not_an_endpoint(text));
    }
    Ok(base)
}

fn not_an_endpoint(text: &str) -> String {
    // It may hold a password, wherever it ends.
    let shown = if text.contains('@') { "the value".to_owned() } else { format!("{text:?}") };
    format!("{shown} is not an endpoint; HOST:PORT is, such as localhost:4318, or a URL, such as https://collector.example:4318")
}

/// Pairs as in a `baggage` header, without its properties.
///
/// # Errors
/// The number, from 1, of the entry that is no pair.
fn pairs(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut pairs = Vec::new();
    for (number, entry) in text.split(',').enumerate().filter(|(_, entry)| !entry.trim().is_empty()) {
        let pair = entry.split_once('=').and_then(|(key, value)| {
            let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(|text| text.into_owned());
            Some((decoded(key)?, decoded(value)?)).filter(|(key, _)| !key.is_empty())
        });
        pairs.push(pair.ok_or(number + 1)?);
    }
    Ok(pairs)
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let pairs = pairs(text).map_err(|number| format!("entry {number} is not NAME=VALUE"))?;
    for (number, (name, value)) in pairs.into_iter().enumerate() {
        // A value without its name may stand where a name is expected, so neither is shown.
        let broken = |_| {
            format!("entry {} is not a header; names are letters, digits and dashes, values are without control characters", number + 1)
        };
        let name: HeaderName = name.parse().map_err(|error: http::header::InvalidHeaderName| broken(error.to_string()))?;
        let mut value: HeaderValue = value.parse().map_err(|error: http::header::InvalidHeaderValue| broken(error.to_string()))?;
        if [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING].contains(&name) {
            return Err(format!("entry {} is {name}, which a request has already; leave it out", number + 1));
        }
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What is said of the process; the environment has the last word.
fn resource(attributes: Vec<(String, String)>, service: Option<String>) -> Vec<(String, String)> {
    let mut resource = vec![
        ("service.name".to_owned(), SERVICE.to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        // Counters of processes side by side are series of their own.
        ("service.instance.id".to_owned(), uuid::Builder::from_random_bytes(crate::span::random()).into_uuid().to_string()),
    ];
    for (key, value) in attributes.into_iter().chain(service.map(|name| ("service.name".to_owned(), name))) {
        match resource.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => resource.push((key, value)),
        }
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flag: Option<&str>, insecure: bool, variables: &[(&str, &str)]) -> Result<Option<Settings>, Problem> {
        Settings::new(flag, insecure, |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn endpoints() {
        let to =
            |flag: &str, insecure| settings(Some(flag), insecure, &[]).map(|it| it.map(|it| it.traces.to_string()).unwrap_or_default());
        for (flag, insecure, traces) in [
            ("localhost:4318", false, "https://localhost:4318/v1/traces"),
            ("localhost:4318", true, "http://localhost:4318/v1/traces"),
            ("[::1]:4318", true, "http://[::1]:4318/v1/traces"),
            ("collector", false, "https://collector/v1/traces"),
            ("http://collector:4318", false, "http://collector:4318/v1/traces"),
            ("http://collector:4318", true, "http://collector:4318/v1/traces"),
            ("https://collector/otlp/", false, "https://collector/otlp/v1/traces"),
            ("https://collector/otlp", false, "https://collector/otlp/v1/traces"),
            ("", true, ""),
        ] {
            assert_eq!(to(flag, insecure), Ok(traces.to_owned()), "{flag}");
        }
        for flag in [
            "a b",
            "collector:0",
            "collector:99999",
            "collector:x",
            ":4318",
            "ftp://collector",
            "http://",
            "http://c/?k=v",
            "/path",
            "c:1/v1",
        ] {
            let Err(Problem::Flag(why)) = to(flag, false) else { panic!("{flag} is accepted") };
            assert!(why.starts_with("--otel-endpoint: ") && why.contains("HOST:PORT is, such as localhost:4318"), "{why}");
        }
        let contradiction = "--otel-endpoint: --otel-endpoint-insecure contradicts https://; leave one of them out";
        assert_eq!(to("https://collector", true), Err(Problem::Flag(contradiction.to_owned())));
        for flag in [
            "http://user:hush@collector:4318",
            "user:hush@collector:4318",
            "http://user:hush@",
            "ftp://user:hush@collector",
            "u ser:hush@c",
        ] {
            let Err(Problem::Flag(why)) = to(flag, false) else { panic!("{flag} is accepted") };
            assert!(!why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn the_environment_has_the_rest() {
        let env = |more: &[(&str, &str)]| {
            let all: Vec<_> = [(ENDPOINT, "http://collector:4318")].into_iter().chain(more.iter().copied()).collect();
            settings(None, false, &all)
        };
        let of = |settings: &Settings, name: &str| settings.resource.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let plain = env(&[]).unwrap().expect("wanted");
        assert_eq!(
            (plain.metrics.to_string().as_str(), of(&plain, "service.name")),
            ("http://collector:4318/v1/metrics", Some("lakegate".into()))
        );
        assert!(of(&plain, "service.instance.id").is_some_and(|id| id.len() == 36));
        let full = env(&[
            (HEADERS, "authorization=Bearer%20hush, x-scope = a,"),
            ("OTEL_SERVICE_NAME", "loader"),
            (ATTRIBUTES, "service.name=other,service.instance.id=i,deployment.environment.name=a%2Cb"),
            ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_SDK_DISABLED", "false"),
        ])
        .unwrap()
        .expect("wanted");
        assert_eq!((full.headers["authorization"].as_bytes(), full.headers["x-scope"].as_bytes()), (&b"Bearer hush"[..], &b"a"[..]));
        assert!(!format!("{full:?}").contains("hush"), "{full:?}");
        assert_eq!(of(&full, "service.name"), Some("loader".into()));
        assert_eq!((of(&full, "service.instance.id"), of(&full, "deployment.environment.name")), (Some("i".into()), Some("a,b".into())));
        assert!(full.parent.is_some() && full.warnings.is_empty());
        let half = env(&[(ATTRIBUTES, "a=b,c"), ("TRACEPARENT", "00-x")]).unwrap().expect("wanted");
        assert_eq!(half.warnings, ["OTEL_RESOURCE_ATTRIBUTES: entry 2 is not KEY=VALUE, so that all of it is left out"]);
        assert!(of(&half, "a").is_none() && half.parent.is_none());
    }

    #[test]
    fn who_asks_for_nothing_gets_nothing_and_a_wrong_environment_is_told() {
        assert!(settings(None, true, &[]).unwrap().is_none());
        assert!(settings(None, false, &[(ENDPOINT, " ")]).unwrap().is_none());
        assert!(settings(Some("c:1"), false, &[("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
        for (variables, expected) in [
            (vec![(ENDPOINT, "collector:4318")], "OTEL_EXPORTER_OTLP_ENDPOINT: \"collector:4318\" is not an endpoint"),
            (
                vec![(ENDPOINT, "http://c:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not spoken",
            ),
            (vec![(ENDPOINT, "http://c:1"), (HEADERS, "a=b,hush")], "OTEL_EXPORTER_OTLP_HEADERS: entry 2 is not NAME=VALUE"),
            (vec![(ENDPOINT, "http://c:1"), (HEADERS, "hu sh=b")], "OTEL_EXPORTER_OTLP_HEADERS: entry 1 is not a header"),
            (vec![(ENDPOINT, "http://c:1"), (HEADERS, "a=hush%0a")], "OTEL_EXPORTER_OTLP_HEADERS: entry 1 is not a header"),
            (vec![(ENDPOINT, "http://c:1"), (HEADERS, "Host=hush")], "OTEL_EXPORTER_OTLP_HEADERS: entry 1 is host"),
        ] {
            let Err(Problem::Environment(why)) = settings(None, false, &variables) else { panic!("{variables:?} is accepted") };
            assert!(why.starts_with(expected) && !why.contains("hush"), "{why}");
        }
    }
}
