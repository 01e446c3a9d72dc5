//! The URL of a store, parsed afresh whoever names it: a spec, a grant, the environment, or AWS's shared files.
//!
//! Its form is the one in which the SDK puts bucket and key behind the path: without a slash at its end, the path and the bucket become one
//! segment there, and objects land in another bucket.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a URL.
const MAX_BYTES: usize = 2_048;

/// Bytes of a host's name, and of a label of it.
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Bytes of a bucket's name that fits into a host's.
const HOSTABLE_BYTES: std::ops::RangeInclusive<usize> = 3..=63;

/// What may stand in a path as it is (RFC 3986), and the sign of what is encoded already.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'/')
    .remove(b'%');

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    scheme: &'static str,
    /// Host and port, as written.
    authority: String,
    /// In lower case, an address of version 6 without its brackets.
    host: String,
    /// Begins and ends with a slash.
    path: String,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it and what would be right, as the end of a sentence that begins with its name. No user name, password or query is
    /// repeated.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        const WANTED: &str = "it has to be a URL as in https://store.example:9000, without user or password";
        let refuse = |why: &str| Err(format!("is not usable: {why}; {WANTED}"));
        if url.len() > MAX_BYTES {
            return refuse(&format!("it has {} bytes, and at most {MAX_BYTES} are possible", url.len()));
        }
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return refuse("it has a space, a line end or a control character");
        }
        if url.contains('@') {
            return refuse("it has a user name, a password or an `@`");
        }
        if url.contains(['?', '#']) {
            return refuse("it has a query or a fragment");
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
            _ => return refuse("it does not begin with http:// or https://"),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Some(host) = host_of(authority) else { return refuse("it has no good host, or no port of 1 to 65535") };
        let path = path.strip_suffix('/').unwrap_or(path);
        if !is_clean(path) {
            return refuse("its path has an empty segment, `.`, `..`, `\\` or a lone `%`");
        }
        let path = format!("{}/", utf8_percent_encode(path, PATH));
        let endpoint = Self { scheme, authority: authority.to_owned(), host, path };
        // The same in the eyes of those who will send the requests.
        match endpoint.url().parse::<Uri>() {
            Ok(uri) if uri.path() == endpoint.path && uri.authority().is_some_and(|it| it.as_str() == authority) => Ok(endpoint),
            _ => refuse("it cannot be read"),
        }
    }

    /// The URL, with a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path)
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// One of AWS's own (FIPS, a private link).
    pub(crate) fn is_at_aws(&self) -> bool {
        [".amazonaws.com", ".amazonaws.com.cn"].iter().any(|domain| self.host.ends_with(domain))
    }

    /// Whether requests for this bucket go to a host of its own, `bucket.host`, where it does not stand in the path anyway.
    pub(crate) fn is_virtual_host(&self, bucket: &str) -> bool {
        let is_address = self.host.parse::<Ipv4Addr>().is_ok() || self.host.parse::<Ipv6Addr>().is_ok();
        let mut labels = bucket.split('.');
        let of_one_level = labels.next().is_some_and(is_hostable) && labels.next().is_none();
        // Certificates are good for one level only.
        let fits = of_one_level || self.scheme == "http" && bucket.split('.').all(is_hostable);
        !is_address && fits
    }
}

/// Whether a text can be a region: it becomes a label of a host's name, also where an endpoint is named.
pub fn is_region(region: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=MAX_LABEL_BYTES).contains(&region.len()) && !region.starts_with('-') && region.bytes().all(good)
}

/// A part of a bucket's name that can be a label of a host's name.
fn is_hostable(label: &str) -> bool {
    let at_the_ends = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    HOSTABLE_BYTES.contains(&bytes.len())
        && bytes.iter().all(|&byte| at_the_ends(byte) || byte == b'-')
        && [bytes.first(), bytes.last()].into_iter().flatten().all(|&byte| at_the_ends(byte))
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn host_of(authority: &str) -> Option<String> {
    let (host, port) = if let Some((address, after)) = authority.strip_prefix('[').and_then(|it| it.split_once(']')) {
        let _good: Ipv6Addr = address.parse().ok()?;
        (address, after)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        has_labels(host).then_some((host, port))?
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| host.to_ascii_lowercase())
}

/// A name of labels, none of them empty; what ends in a number is an address of version 4 in four parts.
fn has_labels(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    let is_label = |label: &str| (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(good);
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label) && (!is_number || name.parse::<Ipv4Addr>().is_ok())
}

/// A path that every server on the way understands alike: empty, or a slash before each segment.
fn is_clean(path: &str) -> bool {
    let segment_is_good = |segment: &str| {
        let escapes_are_good =
            segment.split('%').skip(1).all(|it| it.len() >= 2 && it.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
        let bytes: Vec<u8> = percent_decode_str(segment).collect();
        let is_step = matches!(bytes.as_slice(), b"" | b"." | b"..");
        escapes_are_good && !is_step && !bytes.iter().any(|byte| byte.is_ascii_control() || matches!(byte, b'/' | b'\\'))
    };
    path.is_empty() || path.strip_prefix('/').is_some_and(|segments| segments.split('/').all(segment_is_good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_has_one_form_that_ends_with_a_slash() {
        for (url, expected) in [
            ("http://store", "http://store/"),
            ("HTTP://Store:9000/", "http://Store:9000/"),
            ("https://store/c", "https://store/c/"),
            ("https://store/c/", "https://store/c/"),
            ("https://store/a/b.c/%20d/...", "https://store/a/b.c/%20d/.../"),
            ("http://store/é{x}", "http://store/%C3%A9%7Bx%7D/"),
            ("http://[::1]:9000/c", "http://[::1]:9000/c/"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]/"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("http://store.example.:9000", "http://store.example.:9000/"),
            ("http://minio_1", "http://minio_1/"),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            assert_eq!(endpoint.url(), expected);
            assert_eq!(Endpoint::parse(expected).as_ref(), Ok(&endpoint), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_store_is_refused_and_nothing_secret_is_repeated() {
        let check = |url: &str, why: &str| {
            let words = Endpoint::parse(url).expect_err(url);
            assert!(words.starts_with("is not usable: ") && words.contains(why), "{url}: {words}");
            assert!(!words.contains("hunter2") && !words.contains(char::is_control), "{words:?}");
        };
        for url in ["", "store:9000", "store", "ftp://store", "unix:///tmp/x", "//store", "http:/store", "s3://store"] {
            check(url, "http:// or https://");
        }
        for url in ["http://", "http:///c", "http://:9000", "http://store:", "http://store:0", "http://store:+80", "http://store:65536"] {
            check(url, "no good host");
        }
        for url in
            ["http://a..b", "http://.", "http://[::1", "http://[x]", "http://[::1]80", "http://1.2.3", "http://1.2.3.999", "http://höst"]
        {
            check(url, "no good host");
        }
        for url in ["http://st ore", "http://store\n", " http://store", "http://store/\u{0}", "http://store/a b", "http://store\u{a0}"] {
            check(url, "a space, a line end");
        }
        check("http://user:hunter2@store", "a password");
        check("http://user:hun/ter2@store", "a password");
        check("http://store?key=hunter2", "a query");
        check("http://store/#hunter2", "a fragment");
        check(&format!("http://{}", "h".repeat(MAX_BYTES)), "2048");
        for path in [
            "//",
            "/c//",
            "//c",
            "/a//b",
            "/.",
            "/./",
            "/c/..",
            "/../c",
            "/a/%2E%2e/b",
            "/%2e",
            "/%2f",
            "/a%5Cb",
            "/a\\b",
            "/%",
            "/%2",
            "/%zz",
            "/%00",
        ] {
            check(&format!("http://store{path}"), "its path");
        }
    }

    #[test]
    fn a_bucket_stands_in_the_host_where_it_fits() {
        let check = |url: &str, bucket: &str, expected: bool| {
            assert_eq!(Endpoint::parse(url).expect(url).is_virtual_host(bucket), expected, "{bucket} at {url}");
        };
        check("http://store", "lake", true);
        check("https://store/c", "lake", true);
        check("http://127.0.0.1:9000", "lake", false);
        check("http://[::1]:9000", "lake", false);
        check("http://store", "my.lake", false);
        check("http://store", "our.own.lake", true);
        check("https://store", "our.own.lake", false);
        for bucket in ["Lake", "my_lake", "ab", "-lake", "lake-", "a..b", "a.-lake"] {
            check("http://store", bucket, false);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_one_form_or_refused(text in "(http|HTTPS|ftp|)(://|:|)[-a-zA-Z0-9._~:%@\\[\\]]{0,16}(/[-a-z.%/\\\\é?#{\"^]{0,12})?") {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                let url = endpoint.url();
                prop_assert!(url.ends_with('/') && url.is_ascii() && url.parse::<Uri>().is_ok(), "{}", url);
                prop_assert_eq!(Endpoint::parse(&url), Ok(endpoint));
            }
        }
    }
}
