//! Tells a request stream that its client has closed from one that was cut off.
//!
//! Below us the body of a request ends without an error in both cases: when the client half-closes, and when it resets the stream with
//! `CANCEL` or `NO_ERROR` (a client that was interrupted, or whose deadline has passed). A Write must not take the second for the first,
//! since it would claim what the client has given up. The state of the HTTP/2 stream tells them apart: it knows whether END_STREAM came.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

/// A service whose requests end with an error where their stream was cut off.
#[derive(Debug, Clone)]
pub(super) struct CheckEnd<S>(pub(super) S);

impl<S: NamedService> NamedService for CheckEnd<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for CheckEnd<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request.map(|body| Body::new(CheckedBody { body, failed: false })))
    }
}

/// A body that ends well only if its stream did.
#[derive(Debug)]
struct CheckedBody<B> {
    body: B,
    failed: bool,
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> HttpBody for CheckedBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() && !self.body.is_end_stream() {
            self.failed = true;
            return Poll::Ready(Some(Err(Status::cancelled("the client gave the call up"))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tonic::Code;

    /// A body as the HTTP stack hands it over: some data, an end without an error, and what the stream knows of it.
    struct Stream {
        data: Option<Bytes>,
        closed: bool,
    }

    impl HttpBody for Stream {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
        }

        fn is_end_stream(&self) -> bool {
            self.closed && self.data.is_none()
        }
    }

    #[tokio::test]
    async fn only_a_closed_stream_ends_well() {
        for (closed, expected) in [(true, None), (false, Some(Code::Cancelled))] {
            let mut body = CheckedBody { body: Stream { data: Some(Bytes::from_static(b"x")), closed }, failed: false };
            let first = body.frame().await.expect("a frame").expect("data");
            assert_eq!(first.into_data().ok().as_deref(), Some(b"x".as_slice()));
            let end = body.frame().await;
            assert_eq!(end.map(|end| end.expect_err("no more data").code()), expected, "closed: {closed}");
            assert!(body.frame().await.is_none(), "an end is said once");
        }
    }
}
