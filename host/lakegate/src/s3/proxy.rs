//! Which requests go through a proxy, as the variables of the environment say, read as curl reads them.
//!
//! - The lower-case spelling comes first, an empty one is none. `HTTP_PROXY` in capitals is a request header in CGI programs; not here.
//! - `ALL_PROXY` stands in where the scheme's own variable is missing.
//! - `NO_PROXY` is `*`, or names with commas or spaces between them. A name is meant with everything below it, with or without a dot in
//!   front. Addresses are exact or a range (`10.0.0.0/8`, `fd00::/8`). Beyond curl, a name or an address may have a port, which must then be
//!   the request's; Go reads such entries so.
//!
//! A proxy that cannot be used is an error that names its variable, of the requests that would take it; never a request that goes another way.

use crate::storage::endpoint::Endpoint;
use aws_types::os_shim_internal::Env;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use std::env::VarError;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

/// The proxies of the environment.
#[derive(Debug, Clone)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Exceptions,
}

/// What a variable says.
#[derive(Debug, Clone)]
struct Proxy {
    variable: &'static str,
    /// The proxy, or why its URL is none.
    way: Result<Way, String>,
}

/// A proxy that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Way {
    variable: &'static str,
    uri: Uri,
    /// Host and port.
    authority: String,
    auth: Option<HeaderValue>,
}

/// A proxy that does not do what it is for. The words are all there is to say; what is beneath them has been put into them.
#[derive(Debug)]
pub(super) struct ProxyError(String);

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ProxyError {}

impl Proxies {
    pub(super) fn from_env(environment: &Env) -> Self {
        let proxy = |of_scheme: [&'static str; 2]| {
            let names = of_scheme.into_iter().chain(["all_proxy", "ALL_PROXY"]);
            names.into_iter().find_map(|variable| match environment.get(variable) {
                Ok(url) if url.is_empty() => None,
                Ok(url) => Some(Proxy { variable, way: Way::parse(variable, &url) }),
                Err(VarError::NotUnicode(_)) => Some(Proxy { variable, way: Err("it is not UTF-8 text".to_owned()) }),
                Err(VarError::NotPresent) => None,
            })
        };
        let filled = |variable: &str| environment.get(variable).ok().filter(|value| !value.is_empty());
        let exceptions = filled("no_proxy").or_else(|| filled("NO_PROXY")).unwrap_or_default();
        Self {
            http: proxy(["http_proxy", "HTTP_PROXY"]),
            https: proxy(["https_proxy", "HTTPS_PROXY"]),
            exceptions: Exceptions::parse(&exceptions),
        }
    }

    /// The proxy that a request takes, if it takes one.
    ///
    /// # Errors
    /// It would take one whose URL is none.
    pub(super) fn way(&self, to: &Uri) -> Result<Option<&Way>, ProxyError> {
        let (proxy, default_port) = if to.scheme_str() == Some("https") { (&self.https, 443) } else { (&self.http, 80) };
        let Some(Proxy { variable, way }) = proxy else { return Ok(None) };
        if self.exceptions.hold(to.host().unwrap_or_default(), to.port_u16().unwrap_or(default_port)) {
            return Ok(None);
        }
        match way {
            Ok(way) => Ok(Some(way)),
            Err(why) => Err(ProxyError(format!(
                "the proxy of {variable} is not usable: {why}; it has to be a URL as in http://user:password@proxy.example:3128"
            ))),
        }
    }
}

impl Way {
    fn parse(variable: &'static str, url: &str) -> Result<Self, String> {
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("it has a space, a line end or a control character".to_owned());
        }
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        if !["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it)) {
            return Err("only http:// and https:// are known".to_owned());
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let endpoint = Endpoint::parse(&format!("{scheme}://{authority}"));
        let uri = endpoint.ok().and_then(|endpoint| endpoint.url().parse().ok());
        let uri = uri.ok_or_else(|| "it has no good host, or no port of 1 to 65535".to_owned())?;
        let auth = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let mut plain: Vec<u8> = percent_decode_str(name).collect();
            plain.push(b':');
            plain.extend(percent_decode_str(password));
            let mut header = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(plain))).map_err(|error| error.to_string())?;
            header.set_sensitive(true);
            Ok::<_, String>(header)
        });
        Ok(Self { variable, uri, authority: authority.to_owned(), auth: auth.transpose()? })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What a request shows it.
    pub(super) fn auth(&self) -> Option<&HeaderValue> {
        self.auth.as_ref()
    }

    /// It could not be asked, or gave no way.
    pub(super) fn failed(&self, error: &(dyn Error + 'static)) -> ProxyError {
        let innermost = std::iter::successors(Some(error), |&error| error.source()).last();
        self.error(format_args!("cannot be used ({})", innermost.map(ToString::to_string).unwrap_or_default()))
    }

    /// It wants other credentials than its URL has.
    pub(super) fn refused(&self) -> ProxyError {
        self.error(format_args!("wants another user name and password (status 407)"))
    }

    fn error(&self, what: fmt::Arguments<'_>) -> ProxyError {
        ProxyError(format!("the proxy {} of {} {what}", self.authority, self.variable))
    }
}

/// What goes no proxy's way.
#[derive(Debug, Clone, Default)]
struct Exceptions {
    all: bool,
    entries: Vec<(Entry, Option<u16>)>,
}

#[derive(Debug, Clone)]
enum Entry {
    /// In lower case, without dots at its ends.
    Name(String),
    /// An address and how many bits of it count.
    Range(IpAddr, u32),
}

impl Exceptions {
    fn parse(text: &str) -> Self {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|it| !it.is_empty());
        Self { all: text.trim() == "*", entries: entries.filter_map(Entry::parse).collect() }
    }

    /// Is this one? `host` as a URL has it.
    fn hold(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let name = host.strip_suffix('.').unwrap_or(&host);
        let address = name.parse::<IpAddr>().ok();
        let fits = |entry: &Entry| match (entry, address) {
            (Entry::Range(of, bits), Some(address)) => in_range(address, *of, *bits),
            (Entry::Name(above), None) => name.strip_suffix(above.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            _ => false,
        };
        self.all || self.entries.iter().any(|(entry, of)| of.is_none_or(|of| of == port) && fits(entry))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<(Self, Option<u16>)> {
        if let Some(range) = Self::range(text) {
            return Some((range, None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let of_address = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Some(range) = Self::range(of_address) {
            return Some((range, port));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let name = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')).unwrap_or(name);
        (!name.is_empty()).then(|| (Self::Name(name.to_ascii_lowercase()), port))
    }

    fn range(text: &str) -> Option<Self> {
        let text = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
        Some(Self::Range(address, bits))
    }
}

fn in_range(address: IpAddr, of: IpAddr, bits: u32) -> bool {
    match (address, of) {
        (IpAddr::V4(address), IpAddr::V4(of)) => (address.to_bits() ^ of.to_bits()).leading_zeros() >= bits,
        (IpAddr::V6(address), IpAddr::V6(of)) => (address.to_bits() ^ of.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(environment: &[(&str, &str)]) -> Proxies {
        Proxies::from_env(&Env::from_slice(environment))
    }

    /// The variable and the URL of the proxy that a request takes.
    fn way(environment: &[(&str, &str)], to: &str) -> Option<(&'static str, String)> {
        let proxies = proxies(environment);
        let way = proxies.way(&to.parse().expect(to)).expect("usable");
        way.map(|way| (way.variable, way.uri.to_string()))
    }

    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
        let check = |no_proxy: &str, to: &str, direct: bool| {
            let found = way(&[("HTTP_PROXY", "http://proxy:3128"), ("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", no_proxy)], to);
            assert_eq!(found.is_none(), direct, "{no_proxy:?} for {to}");
        };
        check("", "http://store.example", false);
        check("store.example", "http://store.example", true);
        check("store.example", "https://store.example:9000/x", true);
        check("STORE.example", "http://store.EXAMPLE", true);
        // With everything below, at a dot; a dot in front or at the end means nothing.
        check("example", "http://store.example", true);
        check(".example", "http://store.example", true);
        check(".store.example", "http://store.example", true);
        check("store.example.", "http://store.example", true);
        check("store.example", "http://store.example.", true);
        check("*.example", "http://store.example", true);
        check("ore.example", "http://store.example", false);
        check("store.example", "http://example", false);
        check("example.com", "http://store.example", false);
        check("store.example/x", "http://store.example", false);
        // Commas or spaces.
        check("a.example,store.example", "http://store.example", true);
        check("a.example, store.example", "http://store.example", true);
        check(" a.example  store.example ,,b.example", "http://store.example", true);
        // All, but only alone.
        check("*", "http://store.example", true);
        check(" * ", "http://127.0.0.1:9000", true);
        check("a.example,*", "http://store.example", false);
        // A port.
        check("store.example:9000", "http://store.example:9000", true);
        check("store.example:9000", "http://store.example:9001", false);
        check("store.example:9000", "http://store.example", false);
        check("store.example:80", "http://store.example", true);
        check("store.example:443", "https://a.store.example", true);
        check("store.example:port", "http://store.example", false);
        // Addresses and ranges of them, which no name is.
        check("127.0.0.1", "http://127.0.0.1:9000", true);
        check("127.0.0.1:9000", "http://127.0.0.1:9000", true);
        check("127.0.0.1:9001", "http://127.0.0.1:9000", false);
        check("127.0.0.1", "http://127.0.0.10", false);
        check("0.0.1", "http://127.0.0.1", false);
        check("10.0.0.0/8", "http://10.250.3.4", true);
        check("10.0.0.0/8", "http://11.0.0.1", false);
        check("10.1.2.3/32", "http://10.1.2.3", true);
        check("10.1.2.3/33", "http://10.1.2.3", false);
        check("0.0.0.0/0", "http://10.1.2.3", true);
        check("10.0.0.0/8", "http://store.example", false);
        check("::1", "http://[::1]:9000", true);
        check("[::1]", "http://[::1]:9000", true);
        check("[::1]:9000", "http://[::1]:9000", true);
        check("[::1]:9001", "http://[::1]:9000", false);
        check("0:0:0:0:0:0:0:1", "http://[::1]", true);
        check("fd00::/8", "http://[fd12:3456::1]", true);
        check("fd00::/8", "http://[fe80::1]", false);
        check("::1", "http://127.0.0.1", false);
    }

    #[test]
    fn the_scheme_chooses_the_variable_and_lower_case_comes_first() {
        let check = |environment: &[(&str, &str)], to: &str, expected: Option<(&'static str, &str)>| {
            assert_eq!(way(environment, to), expected.map(|(variable, url)| (variable, url.to_owned())), "{environment:?} {to}");
        };
        let (plain, secure) = ("http://s.example", "https://s.example");
        check(&[], plain, None);
        check(&[("HTTP_PROXY", "http://p:1")], plain, Some(("HTTP_PROXY", "http://p:1/")));
        check(&[("HTTP_PROXY", "http://p:1")], secure, None);
        check(&[("HTTPS_PROXY", "http://p:1")], secure, Some(("HTTPS_PROXY", "http://p:1/")));
        check(&[("HTTPS_PROXY", "http://p:1")], plain, None);
        check(&[("HTTP_PROXY", "http://p:1"), ("http_proxy", "http://q:2")], plain, Some(("http_proxy", "http://q:2/")));
        check(&[("HTTP_PROXY", "http://p:1"), ("http_proxy", "")], plain, Some(("HTTP_PROXY", "http://p:1/")));
        check(&[("ALL_PROXY", "http://p:1")], plain, Some(("ALL_PROXY", "http://p:1/")));
        check(&[("all_proxy", "http://p:1")], secure, Some(("all_proxy", "http://p:1/")));
        check(&[("ALL_PROXY", "socks5://p:1"), ("HTTP_PROXY", "http://q:2")], plain, Some(("HTTP_PROXY", "http://q:2/")));
        check(&[("HTTP_PROXY", "p:1")], plain, Some(("HTTP_PROXY", "http://p:1/")));
        check(&[("HTTP_PROXY", "p")], plain, Some(("HTTP_PROXY", "http://p/")));
        check(&[("HTTP_PROXY", "HTTPS://p:1/ignored?x")], plain, Some(("HTTP_PROXY", "https://p:1/")));
        check(&[("HTTP_PROXY", "http://[::1]:3128")], plain, Some(("HTTP_PROXY", "http://[::1]:3128/")));
        check(&[("HTTP_PROXY", "http://p:1"), ("no_proxy", ""), ("NO_PROXY", "s.example")], plain, None);
        check(&[("HTTP_PROXY", "http://p:1"), ("no_proxy", "x"), ("NO_PROXY", "s.example")], plain, Some(("HTTP_PROXY", "http://p:1/")));
    }

    #[test]
    fn a_url_that_is_none_is_told_with_its_variable_where_it_would_be_used() {
        for url in [
            "http://",
            "http://:3128",
            "http://p:0",
            "http://p:99999",
            "http://p:port",
            "socks5://p:1",
            "p q",
            "http://p\n",
            "http://user:hunter2@",
        ] {
            let proxies = proxies(&[("HTTPS_PROXY", url), ("NO_PROXY", "a.example")]);
            let error = proxies.way(&"https://s.example".parse().expect("a URL")).expect_err(url).to_string();
            assert!(error.starts_with("the proxy of HTTPS_PROXY is not usable: ") && error.contains("http://user:password@"), "{error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
            assert!(proxies.way(&"https://a.example".parse().expect("a URL")).is_ok_and(|way| way.is_none()), "{url}");
            assert!(proxies.way(&"http://s.example".parse().expect("a URL")).is_ok_and(|way| way.is_none()), "{url}");
        }
    }

    #[test]
    fn user_and_password_are_decoded_and_shown_to_the_proxy_alone() {
        let check = |url: &str, expected: Option<&str>| {
            let proxies = proxies(&[("HTTP_PROXY", url)]);
            let way = proxies.way(&"http://s.example".parse().expect("a URL")).expect("usable").expect("a proxy");
            let plain = way.auth().map(|auth| auth.to_str().expect("ASCII").to_owned());
            assert_eq!(plain, expected.map(|plain| format!("Basic {}", STANDARD.encode(plain))), "{url}");
            assert!(!way.refused().to_string().contains("hunter2") && !format!("{proxies:?}").contains("hunter2"), "{proxies:?}");
        };
        check("http://p:1", None);
        check("http://user:hunter2@p:1", Some("user:hunter2"));
        check("http://user@p:1", Some("user:"));
        check("user:w%40rd%0a@p:1", Some("user:w@rd\n"));
        check("http://us@er:hunter2@p:1", Some("us@er:hunter2"));
    }
}
