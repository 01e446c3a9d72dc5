//! Answers that send a request elsewhere, and which of them are followed.
//!
//! As the reference does: 307 and 308, which keep method and body. And only where credentials may go: the same host, over a connection that
//! is no less safe, and the same object; or from one of S3's own hosts to another, as S3 asks for while the name of a new bucket spreads.

use super::answer::Answer;
use super::place::StoreLocation;
use http::Uri;

/// Redirects of one request, after which it is going in circles.
pub(super) const MAX_REDIRECTS: u32 = 5;

/// Where an answer sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// There it may be sent again.
    Follow(String),
    /// There it is not sent: scheme, host and port of the place, and why.
    Refused(String, &'static str),
}

impl Redirect {
    /// Of an answer to a request that was sent to `asked`.
    pub(super) fn from_answer(answer: &Answer, asked: &Uri, place: &StoreLocation) -> Option<Self> {
        if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let to = target(answer, asked)?;
        let origin = origin(&to)?;
        if !matches!(answer.status, 307 | 308) {
            return Some(Self::Refused(origin, "such a redirect does not keep the method of a request"));
        }
        Some(match follow(asked, &to, place) {
            Ok(url) => Self::Follow(url),
            Err(why) => Self::Refused(origin, why),
        })
    }
}

/// The place that the answer names.
fn target(answer: &Answer, asked: &Uri) -> Option<Uri> {
    let scheme = asked.scheme_str()?;
    if let Some(location) = &answer.location {
        let to: Uri = location.parse().ok()?;
        if to.authority().is_some() {
            return to.scheme().is_some().then_some(to);
        }
        return format!("{scheme}://{}{location}", asked.authority()?).parse().ok();
    }
    let path = asked.path_and_query()?;
    format!("{scheme}://{}{path}", answer.endpoint.as_ref()?).parse().ok()
}

/// Scheme, host and port, if that is all there is to it.
pub(super) fn origin(uri: &Uri) -> Option<String> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some(format!("{}://{authority}", uri.scheme_str()?))
}

fn follow(asked: &Uri, to: &Uri, place: &StoreLocation) -> Result<String, &'static str> {
    let origin = origin(to).ok_or("it has a user name")?;
    match (asked.scheme_str(), to.scheme_str()) {
        (Some("http"), Some("http")) | (_, Some("https")) => {}
        _ => return Err("the connection would be less safe"),
    }
    let (from, host) = (asked.host().unwrap_or_default().to_ascii_lowercase(), to.host().unwrap_or_default().to_ascii_lowercase());
    let of_aws = is_s3_of_aws(&from) && is_s3_of_aws(&host);
    if from != host && !of_aws {
        return Err("it is another host, which gets no signed request");
    }
    let moved_into_host = || of_aws && asked.path() == format!("/{}{}", place.bucket, to.path());
    if asked.path() != to.path() && !moved_into_host() {
        return Err("it is another object");
    }
    // The query says what is asked of the store, so it is ours.
    Ok(match asked.query() {
        Some(query) => format!("{origin}{}?{query}", to.path()),
        None => format!("{origin}{}", to.path()),
    })
}

/// `bucket.s3.eu-west-1.amazonaws.com`, `s3-us-west-2.amazonaws.com`; but not whatever else runs below that domain.
fn is_s3_of_aws(host: &str) -> bool {
    let Some(name) = [".amazonaws.com", ".amazonaws.com.cn"].iter().find_map(|domain| host.strip_suffix(domain)) else { return false };
    let is_s3 = |label: &str| label == "s3" || label.starts_with("s3-");
    let mut labels = name.rsplit('.');
    let (last, before) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let is_region = last.contains('-') && last.ends_with(|end: char| end.is_ascii_digit());
    // `dualstack` may stand between.
    is_s3(last) || is_region && (is_s3(before) || before == "dualstack" && labels.next().is_some_and(is_s3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(status: u16, from: &str, location: &str) -> Option<Redirect> {
        let place = StoreLocation {
            bucket: "b".into(),
            region: "r".into(),
            host: "h".into(),
            is_endpoint: true,
            needs: String::new(),
            secrets: super::super::secrets::Secrets::default(),
        };
        let answer = Answer { status, location: Some(location.to_owned()), ..Answer::default() };
        Redirect::from_answer(&answer, &from.parse().expect("a URL"), &place)
    }

    #[test]
    fn only_the_same_object_on_the_same_host_is_followed() {
        let from = "http://store.example:9000/b/k?x-id=PutObject";
        let followed = |status, from, location, to: &str| {
            assert_eq!(redirect(status, from, location), Some(Redirect::Follow(to.to_owned())), "{status} {location}");
        };
        let refused = |status, from, location, why: &str| match redirect(status, from, location) {
            Some(Redirect::Refused(_, words)) => assert!(words.contains(why), "{location}: {words}"),
            other => panic!("{location}: {other:?}"),
        };
        for status in [307, 308] {
            followed(status, from, from, from);
            followed(status, from, "https://store.example:9000/b/k?x-id=PutObject", "https://store.example:9000/b/k?x-id=PutObject");
            followed(status, from, "https://STORE.example/b/k", "https://STORE.example/b/k?x-id=PutObject");
            followed(status, from, "/b/k", from);
            refused(status, from, "http://other.example:9000/b/k", "another host");
            refused(status, from, "https://store.example.evil.example/b/k", "another host");
            refused(status, from, "https://store.example:9000/login?next=/b/k", "another object");
            refused(status, "https://store.example/b/k", "http://store.example/b/k", "less safe");
            refused(status, "https://store.example/b/k", "ftp://store.example/b/k", "less safe");
        }
        for status in [301, 302, 303] {
            refused(status, from, "https://store.example:9000/b/k", "does not keep the method");
        }
    }

    #[test]
    fn hosts_of_s3_may_send_to_each_other_and_to_nobody_else() {
        let from = "https://b.s3.amazonaws.com/k?x-id=PutObject";
        for host in ["b.s3.eu-west-1.amazonaws.com", "b.s3-us-west-2.amazonaws.com", "b.s3.dualstack.eu-west-1.amazonaws.com"] {
            assert_eq!(
                redirect(307, from, &format!("https://{host}/k")),
                Some(Redirect::Follow(format!("https://{host}/k?x-id=PutObject")))
            );
        }
        let in_path = redirect(307, "https://s3.eu-west-1.amazonaws.com/b/k?a", "https://b.s3.eu-west-3.amazonaws.com/k");
        assert_eq!(in_path, Some(Redirect::Follow("https://b.s3.eu-west-3.amazonaws.com/k?a".to_owned())));
        for host in [
            "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
            "s3-x.elb.amazonaws.com",
            "s3.x.execute-api.eu-west-1.amazonaws.com",
            "amazonaws.com.evil",
        ] {
            assert!(matches!(redirect(307, from, &format!("https://{host}/k")), Some(Redirect::Refused(..))), "{host}");
        }
    }

    #[test]
    fn places_that_are_none_are_passed_over() {
        for location in ["", "https://", "//store.example/b/k", "https://user:word@store.example/b/k", "\u{1}", "b/k"] {
            let found = redirect(307, "https://store.example/b/k", location);
            assert!(!matches!(found, Some(Redirect::Follow(_))), "{location:?}: {found:?}");
        }
        assert_eq!(redirect(404, "https://store.example/b/k", "https://store.example/b/k"), None);
    }
}
