//! One place where errors and wrongly coded statuses become the status that clients are promised.
//!
//! tonic answers OUT_OF_RANGE to a message over the limit and CANCELLED to its own timeout; gRPC
//! clients expect RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{BoxError, Layer, Service};

use crate::refusal;

const STATUS: &str = "grpc-status";

#[derive(Debug, Clone, Copy)]
pub struct RescueLayer;

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue { inner }
    }
}

#[derive(Debug, Clone)]
pub struct Rescue<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Rescue<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Everything below is ready at once or refuses in `call`: that is what `shed` is for.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            Ok(match answer.await {
                Ok(response) => proper(response),
                Err(error) => status_of(error.into()).into_http(),
            })
        })
    }
}

/// The status inside an error of the tower below, or INTERNAL: an error that nobody foresaw.
fn status_of(error: BoxError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => recoded(&status).unwrap_or(*status),
        Err(error) => {
            tracing::error!(%error, "call failed below the layers");
            refusal::internal()
        }
    }
}

/// Recodes a status in the headers, or the trailers when it comes.
fn proper(mut response: Response<Body>) -> Response<Body> {
    if response.headers().contains_key(STATUS) {
        recode(response.headers_mut());
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                recode(trailers);
            }
            frame
        }))
    })
}

fn recode(headers: &mut HeaderMap) {
    // Success is by far the most common and needs no parsing.
    if headers.get(STATUS).is_some_and(|code| code == "0") {
        return;
    }
    let Some(proper) = Status::from_header_map(headers).as_ref().and_then(recoded) else { return };
    for name in [STATUS, "grpc-message", "grpc-status-details-bin"] {
        headers.remove(name);
    }
    // A status of ours always fits in headers; if not, no status at all reads as UNKNOWN.
    let _ = proper.add_header(headers);
}

/// What tonic's own refusals should have been.
fn recoded(status: &Status) -> Option<Status> {
    let text = status.message();
    match status.code() {
        Code::OutOfRange if text.contains("message length too large") => Some(refusal::too_large()),
        Code::Cancelled if text == "Timeout expired" => Some(refusal::deadline_exceeded()),
        _ => None,
    }
}
