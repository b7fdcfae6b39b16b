//! One span per call, joined to the caller's trace, and the call's duration by outcome.
//!
//! # Source
//! OpenTelemetry RPC semantic conventions (`rpc.system.name`, `rpc.method`,
//! `rpc.response.status_code`); W3C Trace Context.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hansa_api::methods::Method;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::metrics;
use crate::tls::PeerIdentity;

/// The target of call spans: filtered apart from logs, so that they cost nothing without an
/// exporter.
pub const TARGET: &str = "hansa_rpc";

#[derive(Debug, Clone, Copy)]
pub struct TraceLayer {
    listener: &'static str,
}

impl TraceLayer {
    pub fn new(listener: &'static str) -> Self {
        Self { listener }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { listener: self.listener, inner }
    }
}

#[derive(Debug, Clone)]
pub struct Trace<S> {
    listener: &'static str,
    inner: S,
}

impl<S> Service<Request<Body>> for Trace<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (listener, method) = (self.listener, method(request.uri().path()));
        let span = span_of(listener, method, &request);
        let seen = Seen { listener, method, started: Instant::now(), span, code: None };
        let span = seen.span.clone();
        let answer = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let mut seen = seen;
            let response = answer.await?;
            seen.code = Status::from_header_map(response.headers()).map(|status| status.code());
            Ok(response.map(|body| Body::new(Traced { body, seen })))
        })
    }
}

/// What standard services of ours are called; `hansa_api` knows only its own.
const STANDARD: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The method's name in spans, from a closed set: a path is whatever a caller writes, and each new
/// name would be a new time series at whoever counts spans.
///
/// # Source
/// OpenTelemetry RPC semantic conventions: `rpc.method` of an unknown method is `_OTHER`.
fn method(path: &str) -> &'static str {
    let standard = || STANDARD.iter().copied().find(|known| *known == path);
    let known = Method::at(path).map(|method| method.path).or_else(standard);
    known.map_or("_OTHER", |path| path.trim_start_matches('/'))
}

fn span_of(listener: &'static str, method: &'static str, request: &Request<Body>) -> Span {
    // Never a child of the connection's task: its parent is the caller's span, or nobody.
    let span = tracing::debug_span!(
        target: TARGET,
        parent: None,
        "rpc",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = field::Empty,
        peer = field::Empty,
        listener,
    );
    if !span.is_disabled() {
        if let Some(PeerIdentity(id)) = request.extensions().get() {
            span.record("peer", field::display(id));
        }
        let headers = Headers(request.headers());
        let caller = global::get_text_map_propagator(|form| form.extract(&headers));
        // Fails only where no exporter is installed, and then there is no trace to join.
        let _ = span.set_parent(caller);
    }
    span
}

/// Puts the current span's `traceparent` into an outgoing call's headers.
pub fn put(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_disabled() {
        let context = span.context();
        global::get_text_map_propagator(|form| form.inject_context(&context, &mut Put(headers)));
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Put<'a>(&'a mut HeaderMap);

impl Injector for Put<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// A call that ran into its deadline after so long did not wait for a busy node: it was stuck, and
/// whoever is on call wants to know where.
const STUCK_MIN: Duration = Duration::from_secs(10);

/// A call under way; what became of it is recorded when it is dropped.
struct Seen {
    listener: &'static str,
    method: &'static str,
    started: Instant,
    span: Span,
    code: Option<Code>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        // No status before the end means that the client went away.
        let code = self.code.unwrap_or(Code::Cancelled);
        let (listener, method, took) = (self.listener, self.method, self.started.elapsed());
        self.span.record("rpc.response.status_code", name(code));
        metrics::call_ended(listener, name(code), took);
        if code == Code::DeadlineExceeded && took >= STUCK_MIN {
            let took_ms = took.as_millis() as u64;
            tracing::warn!(parent: &self.span, listener, method, took_ms, "call never answered");
        }
    }
}

/// A call that came within a stream, traced and counted as if it had come alone; dropped before its
/// end, it was given up.
pub struct Within(Seen);

impl Within {
    /// Begins a call of the method at `path`, for the client of the current span.
    pub fn begin(listener: &'static str, path: &str) -> Self {
        let method = method(path);
        let span = tracing::debug_span!(
            target: TARGET,
            "rpc",
            otel.name = method,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = field::Empty,
            listener,
        );
        Self(Seen { listener, method, started: Instant::now(), span, code: None })
    }

    /// The same for whoever passed it on, whose `traceparent` is given.
    pub fn of(listener: &'static str, path: &str, traceparent: &str) -> Self {
        let within = Self::begin(listener, path);
        if !traceparent.is_empty() && !within.0.span.is_disabled() {
            let mut headers = HeaderMap::new();
            Put(&mut headers).set(TRACEPARENT, traceparent.to_owned());
            let caller = global::get_text_map_propagator(|form| form.extract(&Headers(&headers)));
            let _ = within.0.span.set_parent(caller);
        }
        within
    }

    pub fn span(&self) -> Span {
        self.0.span.clone()
    }

    pub fn end(mut self, code: Code) {
        self.0.code = Some(code);
    }
}

const TRACEPARENT: &str = "traceparent";

/// The current span's `traceparent`, empty where nobody traces.
pub fn parent() -> String {
    if Span::current().is_disabled() {
        return String::new();
    }
    let mut headers = HeaderMap::new();
    put(&mut headers);
    let value = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// A response body that tells its call how it ended.
struct Traced {
    body: Body,
    seen: Seen,
}

impl http_body::Body for Traced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let span = self.seen.span.clone();
        let _in_span = span.enter();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(status) = frame.trailers_ref().and_then(Status::from_header_map)
        {
            self.seen.code = Some(status.code());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The wire name of a code.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_that_exist_name_a_span() {
        for known in [
            "hansa.order.v1.OrderService/PlaceOrder",
            "hansa.raft.v1.RaftPeerService/Exchange",
            "grpc.health.v1.Health/Check",
        ] {
            assert_eq!(method(&format!("/{known}")), known);
        }
        let made_up = ["", "/", "/x", "//hansa.order.v1.OrderService/PlaceOrder", "/a/4111111111"];
        for path in made_up {
            assert_eq!(method(path), "_OTHER", "{path:?}");
        }
    }
}
