//! Distinguishes a request stream that its client has half-closed from one that was cut off.
//!
//! Both look alike to the code above. A stream that its client resets with `NO_ERROR` ends without an error below us; one that is reset with `CANCEL`
//! (by an interrupted client, or after its deadline) fails with `Cancelled`, which the decoder above us takes for an end. A Write must not take
//! either for a half-close: it would report rows as written although the client has given up. The state of the HTTP/2 stream tells them apart, since
//! it knows whether END_STREAM arrived. A stream that did not end regularly is reported with a code that no layer swallows.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower_service::Service;

/// The status code for a request stream that was cut off.
pub(super) const GIVEN_UP: Code = Code::Aborted;

/// A service whose requests end with an error if their stream was cut off.
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

/// A body that only ends without an error if its stream was half-closed.
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
        let given_up = match &frame {
            Some(Err(status)) => status.code() == Code::Cancelled,
            Some(Ok(_)) => false,
            None => !self.body.is_end_stream(),
        };
        if given_up {
            self.failed = true;
            return Poll::Ready(Some(Err(Status::new(GIVEN_UP, "the client cancelled the call"))));
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

    /// A body as the HTTP stack provides it: some data, an end, and the state of the stream.
    struct Stream {
        frames: Vec<Result<&'static [u8], Status>>,
        closed: bool,
    }

    impl HttpBody for Stream {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let next = (!self.frames.is_empty()).then(|| self.frames.remove(0));
            Poll::Ready(next.map(|next| next.map(|data| Frame::data(Bytes::from_static(data)))))
        }

        fn is_end_stream(&self) -> bool {
            self.closed && self.frames.is_empty()
        }
    }

    #[tokio::test]
    async fn only_a_closed_stream_ends_well() {
        let broken = |code| vec![Ok(b"x".as_slice()), Err(Status::new(code, "reset"))];
        for (frames, closed, expected) in [
            (vec![Ok(b"x".as_slice())], true, None),
            (vec![Ok(b"x".as_slice())], false, Some(GIVEN_UP)),
            (broken(Code::Cancelled), false, Some(GIVEN_UP)),
            (broken(Code::Unknown), false, Some(Code::Unknown)),
        ] {
            let mut body = CheckedBody { body: Stream { frames, closed }, failed: false };
            let first = body.frame().await.expect("a frame").expect("data");
            assert_eq!(first.into_data().ok().as_deref(), Some(b"x".as_slice()));
            let end = body.frame().await;
            assert_eq!(end.map(|end| end.expect_err("no more data").code()), expected, "closed: {closed}");
        }
    }
}
