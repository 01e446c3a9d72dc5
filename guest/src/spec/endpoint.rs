//! The URL of a store. Parsed just far enough to tell a user's slip now rather than as a failed connection later; the host parses it again.

use super::document::preview;

/// Bytes of a URL.
const MAX_BYTES: usize = 2_048;

/// Says what is wrong with an endpoint. The message never repeats a user name or password.
pub(super) fn check(url: &str) -> Result<(), String> {
    if url.len() > MAX_BYTES {
        return Err(format!("`endpoint` has {} bytes; at most {MAX_BYTES} are possible", url.len()));
    }
    if url.contains('@') {
        return Err("`endpoint` must not hold a user name or password; credentials come from the default chain or `credentials`".to_owned());
    }
    let refused = || format!("`endpoint` must be a URL such as https://host:9000, not \"{}\"", preview(url));
    let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
    if !["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it)) || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refused());
    }
    if rest.contains(['?', '#']) {
        return Err("`endpoint` must not have a query or a fragment".to_owned());
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !has_host(authority) {
        return Err(refused());
    }
    if is_clean(path) {
        return Ok(());
    }
    Err(format!("the path of `endpoint` must not have empty segments, `.`, `..`, `\\` or a lone `%`: \"{}\"", preview(url)))
}

/// A path that every server on the way understands alike: the bucket and the key come behind it, and must arrive there. One slash may end it.
fn is_clean(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_segment = |segment: &str| decoded(segment).is_some_and(|it| !["", ".", ".."].contains(&it.as_str()));
    path.is_empty() || path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment))
}

/// A segment with the points in it that are written as `%2e`. `None` if it has what is no part of a segment.
fn decoded(segment: &str) -> Option<String> {
    let mut parts = segment.split('%');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let byte = u8::from_str_radix(part.get(..2).filter(|it| it.bytes().all(|digit| digit.is_ascii_hexdigit()))?, 16).ok()?;
        if matches!(byte, b'/' | b'\\') || byte.is_ascii_control() {
            return None;
        }
        out.push(if byte == b'.' { '.' } else { '%' });
        out.push_str(part.get(2..)?);
    }
    (!out.contains('\\')).then_some(out)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn has_host(authority: &str) -> bool {
    let (host_is_there, after) = match authority.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((address, after)) => (address.parse::<std::net::Ipv6Addr>().is_ok(), after),
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, after) = authority.split_at(end);
            (has_labels(host), after)
        }
    };
    let port_is_good = match after.strip_prefix(':') {
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|it| it != 0),
        None => after.is_empty(),
    };
    host_is_there && port_is_good
}

/// Labels between dots, none of them empty; a dot may end them.
fn has_labels(host: &str) -> bool {
    let good = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_~".contains(&b));
    host.strip_suffix('.').unwrap_or(host).split('.').all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_urls_of_stores() {
        for url in [
            "https://s3.example.com",
            "http://127.0.0.1:9000",
            "HTTP://localhost:9000/",
            "https://minio_1.internal:443/base/path",
            "http://[::1]:9000",
            "https://[2001:db8::1]",
            "https://account.r2.cloudflarestorage.com",
            "http://store.example.:9000",
            "http://store/c",
            "http://store/c/",
            "http://store/a/b.c/%20d/...",
            "http://store/\u{e9}",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn refuses_what_is_no_url_of_a_store() {
        for url in [
            "localhost:9000",
            "s3.example.com",
            "ftp://host",
            "http://",
            "http:///bucket",
            "https://:9000",
            "http://host:",
            "http://host:0",
            "http://host:+80",
            "http://host:65536",
            "http://ho st",
            "http://host/a b",
            "http://[::1",
            "http://[nope]:80",
            "http://[::1]80",
            "http://host:80:80",
            "http://a..b",
            "http://.",
            "http://.host",
            "http://h\u{f6}st",
            "http://ho%73t",
            "unix:///tmp/x",
        ] {
            assert_eq!(check(url), Err(format!("`endpoint` must be a URL such as https://host:9000, not \"{url}\"")), "{url}");
        }
        assert_eq!(check("http://h?x=1").unwrap_err(), "`endpoint` must not have a query or a fragment");
        assert_eq!(check("http://h/#x").unwrap_err(), "`endpoint` must not have a query or a fragment");
        assert!(check(&format!("http://{}", "h".repeat(MAX_BYTES))).unwrap_err().contains("at most 2048"));
    }

    /// Proxies and servers resolve such paths before they look for the bucket, or refuse the signature.
    #[test]
    fn refuses_a_path_that_would_arrive_as_another() {
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
            "/.%2e",
            "/%2f",
            "/a%5Cb",
            "/a\\b",
            "/%",
            "/%2",
            "/%zz",
            "/%00",
        ] {
            let reason = check(&format!("http://store{path}")).expect_err(path);
            assert!(reason.starts_with("the path of `endpoint` must not have empty segments"), "{path}: {reason}");
        }
    }

    #[test]
    fn repeats_no_password() {
        let reason = check("http://user:hunter2@host").unwrap_err();
        assert!(!reason.contains("hunter2") && !reason.contains("user:"), "{reason}");
    }
}
