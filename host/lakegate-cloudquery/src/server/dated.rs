//! Sets the `Date` header of responses from a clock that cannot panic. By default the HTTP server sets it, and panics before 1970.

use futures::TryFutureExt;
use futures::future::MapOk;
use http::{HeaderValue, Request, Response, header};
use lakegate_base::clock;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

/// A service that adds a date to its responses.
#[derive(Debug, Clone)]
pub(super) struct Dated<S>(pub(super) S);

impl<S: NamedService> NamedService for Dated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<Body>> for Dated<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<B>) -> Response<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request).map_ok(dated)
    }
}

fn dated<B>(mut response: Response<B>) -> Response<B> {
    let date = clock::utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::try_from(date) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_date_of_http() {
        let date = dated(Response::new(())).headers()[header::DATE].to_str().expect("ASCII").to_owned();
        let read = chrono::DateTime::parse_from_rfc2822(&date).expect("a date");
        assert!(date.ends_with(" GMT") && (clock::utc() - read.to_utc()).num_seconds().abs() <= 60, "{date}");
    }
}
