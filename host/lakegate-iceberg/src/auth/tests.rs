use super::*;
use crate::transport::TransportError;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use http::Response;
use std::sync::Mutex as Lock;
use std::time::UNIX_EPOCH;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

/// 2015-08-30T12:36:00Z.
const THEN: Duration = Duration::from_secs(1_440_938_160);

/// Of AWS's signing test suite (`v4`, headers), those whose paths need no escapes, since the suite escapes paths once and these services twice: method, path, further headers, body, whether it is signed, session token, signature.
type Vector = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, bool, Option<&'static str>, &'static str);

const FORM: &str = "application/x-www-form-urlencoded";
const VECTORS: [Vector; 11] = [
    ("GET", "/", &[], "", false, None, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/", &[], "", false, Some(TOKEN), "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
    (
        "GET",
        "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        &[],
        "",
        false,
        None,
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    (
        "GET",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        "",
        false,
        None,
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    (
        "GET",
        "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        "",
        false,
        None,
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    ("GET", "/?%E1%88%B4=bar", &[], "", false, None, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    ("POST", "/", &[], "", false, None, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ("POST", "/", &[("my-header1", "value1")], "", false, None, "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
    (
        "POST",
        "/",
        &[("content-type", FORM), ("content-length", "13")],
        "Param1=value1",
        true,
        None,
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    ),
    (
        "POST",
        "/",
        &[("content-type", "application/x-www-form-urlencoded; charset=utf-8"), ("content-length", "13")],
        "Param1=value1",
        true,
        None,
        "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
    ),
    ("GET", "/", &[("x-amz-unsigned", "")], "", true, None, ""),
];

#[test]
fn signatures_are_those_of_awss_test_suite() {
    let mut compared = 0;
    for (method, path, headers, body, signs_body, token, expected) in VECTORS {
        let mut request = Request::builder().method(method).uri(format!("https://example.amazonaws.com{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Bytes::from_static(body.as_bytes())).unwrap();
        let identity = Credentials::new("AKIDEXAMPLE", SECRET, token.map(str::to_owned), None, "test").into();
        let checksum = if signs_body { PayloadChecksumKind::XAmzSha256 } else { PayloadChecksumKind::NoHeader };
        signed(&mut request, "us-east-1", "service", &identity, UNIX_EPOCH + THEN, checksum).unwrap();
        let header = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
        assert!(header.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "), "{header}");
        if expected.is_empty() {
            // Not of the suite: what we send besides has the digest of an empty body, too.
            assert!(request.headers().contains_key("x-amz-content-sha256"));
            continue;
        }
        assert_eq!(header.rsplit_once("Signature=").map(|(_, signature)| signature), Some(expected), "{method} {path} {header}");
        compared += 1;
    }
    assert_eq!(compared, 10);
}

#[tokio::test]
async fn what_no_header_can_have_is_refused_and_not_repeated() {
    let sign = async |region: &str, key: &str, token: Option<&str>| {
        let credentials = Credentials::new(key, SECRET, token.map(str::to_owned), None, "test");
        let credentials = SharedCredentialsProvider::new(credentials);
        let auth = Auth::SigV4 { region: region.to_owned(), service: "glue".into(), credentials };
        let mut request = Request::get("https://catalog.example/iceberg/v1/config").body(Bytes::new()).unwrap();
        Signer::new(auth, String::new()).sign(&Tokens::default(), &mut request, UNIX_EPOCH + THEN).await.map(|()| request)
    };
    let request = sign("us-east-1", "AKIDEXAMPLE", Some(TOKEN)).await.unwrap();
    assert_eq!(request.headers()["x-amz-security-token"], TOKEN);
    assert!(request.headers()[AUTHORIZATION].to_str().unwrap().contains("/us-east-1/glue/aws4_request"));
    for (region, key, token) in
        [("", "A", None), ("us\n1", "A", None), ("us", "A\r\nB", None), ("us", "A", Some("t\nu")), ("us", "é", None)]
    {
        let error = sign(region, key, token).await.unwrap_err();
        assert!(error.kind == ErrorKind::Denied && !error.message.contains(SECRET), "{error}");
    }
}

/// Gives the tokens of its list, and keeps what it was asked for.
#[derive(Debug, Default)]
struct Tokens {
    answers: Lock<Vec<(u16, &'static str)>>,
    asked: Lock<Vec<(String, String)>>,
}

#[async_trait]
impl Transport for Tokens {
    async fn send(&self, request: Request<Bytes>, _most_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        self.asked.lock().unwrap().push((request.uri().to_string(), String::from_utf8(request.body().to_vec()).unwrap()));
        let (status, body) = self.answers.lock().unwrap().remove(0);
        Ok(Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap())
    }
}

fn tokens(answers: &[(u16, &'static str)]) -> Tokens {
    Tokens { answers: Lock::new(answers.to_vec()), ..Tokens::default() }
}

fn oauth2(scope: Option<&str>) -> Signer {
    let auth =
        Auth::OAuth2 { token_uri: None, client_id: "me".into(), client_secret: Secret::new("p&ss w=rd"), scope: scope.map(str::to_owned) };
    Signer::new(auth, "https://catalog.example/v1/oauth/tokens".into())
}

async fn header(signer: &Signer, transport: &Tokens, seconds: u64) -> Result<String, Error> {
    let mut request = Request::get("https://catalog.example/v1/config").body(Bytes::new()).unwrap();
    signer.sign(transport, &mut request, UNIX_EPOCH + Duration::from_secs(seconds)).await?;
    Ok(request.headers().get(AUTHORIZATION).map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default())
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_before_it_expires() {
    let transport = tokens(&[
        (200, r#"{"access_token": "one", "token_type": "Bearer", "expires_in": 600}"#),
        (200, r#"{"access_token": "two", "expires_in": 20}"#),
        (200, r#"{"access_token": "three"}"#),
        (200, r#"{"access_token": "four", "expires_in": 18446744073709551615}"#),
    ]);
    let signer = oauth2(Some("catalog"));
    for (seconds, expected) in [(0, "one"), (539, "one"), (540, "two"), (549, "two"), (550, "three"), (4_089, "three"), (4_090, "four")] {
        assert_eq!(header(&signer, &transport, seconds).await.unwrap(), format!("Bearer {expected}"), "{seconds}");
    }
    let asked = transport.asked.lock().unwrap().clone();
    let form = "grant_type=client_credentials&client_id=me&client_secret=p%26ss%20w%3Drd&scope=catalog";
    assert_eq!(asked.first(), Some(&("https://catalog.example/v1/oauth/tokens".to_owned(), form.to_owned())));
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn what_is_no_token_is_refused_without_being_repeated() {
    for (status, body, kind) in [
        (400, r#"{"error": "invalid_client", "error_description": "p&ss w=rd"}"#, ErrorKind::Denied),
        (302, "", ErrorKind::Denied),
        (503, "", ErrorKind::Unavailable),
        (200, "<html>canary</html>", ErrorKind::Rejected),
        (200, r#"{"access_token": "canary", "token_type": "mac"}"#, ErrorKind::Rejected),
        (200, r#"{"access_token": "can\nary"}"#, ErrorKind::Denied),
        (200, r#"{"access_token": ""}"#, ErrorKind::Denied),
    ] {
        let error = header(&oauth2(None), &tokens(&[(status, body)]), 0).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.message.contains("canary") && !error.message.contains("p&ss"), "{error}");
    }
}

#[tokio::test]
async fn secrets_are_shown_nowhere() {
    let signer = oauth2(None);
    let transport = tokens(&[(200, r#"{"access_token": "canary-token"}"#)]);
    header(&signer, &transport, 0).await.unwrap();
    let shown = format!("{signer:?} {:?}", Auth::Bearer(Secret::new("canary-bearer")));
    assert!(!shown.contains("canary") && !shown.contains("p&ss"), "{shown}");
    let text = signer.without_secrets("you said canary-token and p&ss w=rd and p%26ss%20w%3Drd").await;
    assert_eq!(text, "you said *** and *** and ***");
    assert!(signer.forget_token().await && !signer.forget_token().await);
    let bearer = Signer::new(Auth::Bearer(Secret::new("abc")), String::new());
    assert_eq!(bearer.without_secrets("xabcx").await, "x***x");
    assert!(!bearer.forget_token().await);
}
