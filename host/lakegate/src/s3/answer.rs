//! What a store's answer says beside its status: error code, words, region, another place. Or that no store has answered, but a web page.
//!
//! An answer is a stranger's. Only its beginning is looked at, for a few elements; no parser sees it that could be led far afield.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::time::SystemTime;

/// Bytes of a body that are looked at: the errors of S3 have some hundreds, the heads of web pages a few thousand.
const MAX_LOOKED_AT_BYTES: usize = 8 << 10;

/// Bytes of a body in which a web page says that it is one.
const PAGE_HEAD_BYTES: usize = 1 << 10;

/// Bytes of a region's name, longer ones are none.
const MAX_REGION_BYTES: usize = 64;

/// An answer that is no plain success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The store's code, where it gave one.
    pub(super) code: Option<String>,
    /// The store's words.
    pub(super) message: Option<String>,
    /// The region that the store names as the bucket's.
    pub(super) region: Option<String>,
    /// Where it says that the request belongs: a URL, or a path.
    pub(super) location: Option<String>,
    /// The same as the name of a host.
    pub(super) endpoint: Option<String>,
    /// When it was given, by the store's clock.
    pub(super) date: Option<SystemTime>,
    /// The body is a web page with this title, perhaps empty.
    pub(super) page: Option<String>,
}

impl Answer {
    /// Reads a response. What the SDK has found in it wins.
    pub(super) fn read(response: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Self {
        let header = |name| response.headers().get(name).map(str::to_owned).filter(|value| !value.is_empty());
        let body = Body::read(response.body().bytes().unwrap_or_default());
        let own = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let message = own(message).or(body.message);
        let expected = message.as_deref().and_then(expected_region).map(str::to_owned);
        Self {
            status: response.status().as_u16(),
            code: own(code).or(body.code),
            region: header("x-amz-bucket-region").or(body.region).or(expected).filter(|region| is_region(region)),
            location: header("location"),
            endpoint: body.endpoint,
            date: header("date").and_then(|date| DateTime::from_str(&date, Format::HttpDate).ok()?.try_into().ok()),
            page: body.page,
            message,
        }
    }
}

/// What the beginning of a body says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    pub(super) page: Option<String>,
    /// The body is an error of S3, whether or not it names one.
    pub(super) is_error: bool,
}

impl Body {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let looked_at = bytes.get(..MAX_LOOKED_AT_BYTES).unwrap_or(bytes);
        let text = String::from_utf8_lossy(looked_at);
        let text = text.trim_start_matches('\u{feff}').trim();
        // Letters keep their places, so that what is found here can be cut out there.
        let lower = text.to_ascii_lowercase();
        if is_page(&lower) {
            return Self { page: Some(between(text, &lower, "<title>", "</title>").unwrap_or_default()), ..Self::default() };
        }
        if text.starts_with('{') {
            return Self::read_json(text);
        }
        if !text.starts_with('<') {
            return Self { message: Some(text.to_owned()).filter(|text| !text.is_empty()), ..Self::default() };
        }
        let element = |name: &str| between(text, text, &format!("<{name}>"), &format!("</{name}>")).filter(|text| !text.is_empty());
        Self {
            code: element("Code"),
            message: element("Message"),
            region: element("Region"),
            endpoint: element("Endpoint"),
            page: None,
            is_error: text.contains("<Error>") || text.contains("<Error "),
        }
    }

    /// Gateways, and Backblaze's own interface: the object itself, or one below `error`.
    fn read_json(text: &str) -> Self {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else {
            return Self { message: Some(text.to_owned()), ..Self::default() };
        };
        let inner = value.get("error").filter(|inner| inner.is_object()).unwrap_or(&value);
        let field = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| inner.get(*name)?.as_str());
            found.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        Self { code: field(["code", "Code"]), message: field(["message", "Message"]).or_else(|| Some(text.to_owned())), ..Self::default() }
    }
}

fn is_page(lower: &str) -> bool {
    let head = lower.get(..lower.floor_char_boundary(PAGE_HEAD_BYTES)).unwrap_or(lower);
    head.starts_with("<!doctype html") || head.starts_with('<') && head.contains("<html")
}

/// What stands between two marks that are looked for in `keys`, a text as long as `text`.
fn between(text: &str, keys: &str, open: &str, close: &str) -> Option<String> {
    let from = keys.find(open)? + open.len();
    let to = from + keys.get(from..)?.find(close)?;
    Some(text.get(from..to)?.trim().to_owned())
}

/// `the region 'us-east-1' is wrong; expecting 'eu-west-1'`
fn expected_region(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("expecting '")?;
    rest.split_once('\'').map(|(region, _)| region)
}

fn is_region(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_REGION_BYTES).contains(&name.len()) && name.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_is_an_error_a_page_or_words() {
        let check = |body: &str, code: Option<&str>, message: Option<&str>, page: Option<&str>| {
            let found = Body::read(body.as_bytes());
            assert_eq!((found.code.as_deref(), found.message.as_deref(), found.page.as_deref()), (code, message, page), "{body}");
        };
        check("", None, None, None);
        check("<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>", Some("SlowDown"), Some("Slow down."), None);
        check("\u{feff}  \n<?xml version=\"1.0\"?>\n<Error><Code>A</Code></Error>trailing", Some("A"), None, None);
        check("<Error><Code></Code><Message> </Message></Error>", None, None, None);
        check("<Error><Code>Cut", None, None, None);
        check("<!DOCTYPE html><HTML><TITLE> Sign\n in </TITLE>", None, None, Some("Sign\n in"));
        check("<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC \"x\"><html xmlns=\"y\">", None, None, Some(""));
        check("<html>502</html>", None, None, Some(""));
        check("Client sent an HTTP request to an HTTPS server.\n", None, Some("Client sent an HTTP request to an HTTPS server."), None);
        check(r#"{"code":"cap_exceeded","message":"full","status":403}"#, Some("cap_exceeded"), Some("full"), None);
        check(r#"{"error":{"code":403,"message":"no"}}"#, None, Some("no"), None);
        check(r#"{"cut":"#, None, Some(r#"{"cut":"#), None);
    }

    #[test]
    fn a_region_is_found_where_stores_put_it() {
        let check = |headers: &[(&'static str, &'static str)], body: &'static str, expected: Option<&str>| {
            let mut response = HttpResponse::new(400.try_into().expect("a status"), aws_smithy_types::body::SdkBody::from(body));
            headers.iter().for_each(|(name, value)| drop(response.headers_mut().insert(*name, *value)));
            let message = Body::read(body.as_bytes()).message;
            assert_eq!(Answer::read(&response, None, message.as_deref()).region.as_deref(), expected, "{body}");
        };
        check(&[("x-amz-bucket-region", "ap-south-1")], "<Error><Region>other</Region></Error>", Some("ap-south-1"));
        check(&[], "<Error><Code>AuthorizationHeaderMalformed</Code><Region>nl-1</Region></Error>", Some("nl-1"));
        check(&[], "<Error><Message>the region 'a' is wrong; expecting 'eu-1'</Message></Error>", Some("eu-1"));
        check(&[], "<Error><Region>a b\u{1b}[31m</Region></Error>", None);
        check(&[("x-amz-bucket-region", "")], "", None);
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_panic_and_by_its_beginning(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..9) {
            let marks = ["<Error><Code>", "</Code>", "<title>", "</TITLE>", "<html", "{\"code\":\"", "\u{feff}", "\u{130}", "expecting '"];
            let mark = marks.get(at).copied().unwrap_or_default();
            let body = [&bytes[..bytes.len() / 2], mark.as_bytes(), &bytes[bytes.len() / 2..]].concat();
            let long = [&body[..], &vec![b'x'; 2 * MAX_LOOKED_AT_BYTES]].concat();
            for body in [&body, &long] {
                let found = Body::read(body);
                for text in [found.code, found.message, found.page].into_iter().flatten() {
                    // An invalid byte is replaced by three.
                    prop_assert!(text.len() <= 3 * MAX_LOOKED_AT_BYTES);
                }
            }
        }
    }
}
