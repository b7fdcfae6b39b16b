//! The caller's deadline: read, capped, enforced with the right code, and handed on as what
//! remains.
//!
//! # Source
//! gRPC over HTTP/2, `Timeout → "grpc-timeout" TimeoutValue TimeoutUnit` (at most eight digits).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tower::{BoxError, Layer, Service};

use super::Settings;
use crate::refusal;

const TIMEOUT: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;

/// When this call's answer is due; in the extensions of every request that passed the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// The deadline of the call being served, or `otherwise` from now for a call without one.
    pub fn of(extensions: &http::Extensions, otherwise: Duration) -> Self {
        extensions.get::<Self>().copied().unwrap_or_else(|| Self::after(otherwise))
    }

    /// Time left, `None` once it has passed.
    pub fn remaining(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Puts what remains into an outgoing call's headers.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED when nothing remains: a call that cannot be answered is not made.
    pub fn put(self, headers: &mut HeaderMap) -> Result<(), Status> {
        let left = self.remaining().ok_or_else(refusal::deadline_exceeded)?;
        headers.insert(TIMEOUT, format_timeout(left));
        Ok(())
    }
}

/// A request of our own: `message` with what remains of `deadline` and the current trace.
///
/// # Errors
/// DEADLINE_EXCEEDED when nothing remains.
pub fn outgoing<T>(message: T, deadline: Deadline) -> Result<tonic::Request<T>, Status> {
    let mut headers = HeaderMap::with_capacity(4);
    deadline.put(&mut headers)?;
    super::trace::put(&mut headers);
    let metadata = tonic::metadata::MetadataMap::from_headers(headers);
    Ok(tonic::Request::from_parts(metadata, tonic::Extensions::default(), message))
}

/// Why a `grpc-timeout` is not one.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

fn parse_timeout(value: &HeaderValue) -> Result<Duration, Malformed> {
    let text = value.to_str().map_err(|_| Malformed)?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(Malformed)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|c| c.is_ascii_digit())
    {
        return Err(Malformed);
    }
    let amount: u64 = digits.parse().map_err(|_| Malformed)?;
    match unit {
        "H" => Ok(Duration::from_secs(amount * 3600)),
        "M" => Ok(Duration::from_secs(amount * 60)),
        "S" => Ok(Duration::from_secs(amount)),
        "m" => Ok(Duration::from_millis(amount)),
        "u" => Ok(Duration::from_micros(amount)),
        "n" => Ok(Duration::from_nanos(amount)),
        _ => Err(Malformed),
    }
}

/// The finest unit that fits in eight digits, rounded down: never more time than there is.
fn format_timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let text = if left.as_micros() <= MOST {
        format!("{}u", left.as_micros())
    } else if left.as_millis() <= MOST {
        format!("{}m", left.as_millis())
    } else {
        format!("{}S", u128::from(left.as_secs()).min(MOST))
    };
    // Digits and a letter are always a header value; the fallback is the smallest legal timeout.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1u"))
}

#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer {
    timeout_max: Duration,
    exempt: fn(&str) -> bool,
}

impl DeadlineLayer {
    /// A call gets `timeout_max` when it asks for more, or for nothing, and is not exempt.
    pub fn new(settings: &Settings) -> Self {
        Self { timeout_max: settings.timeout_max, exempt: settings.exempt.from_timeout }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Enforce<S>;

    fn layer(&self, inner: S) -> Enforce<S> {
        Enforce { layer: *self, inner }
    }
}

#[derive(Debug, Clone)]
pub struct Enforce<S> {
    layer: DeadlineLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Enforce<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let asked = match request.headers().get(TIMEOUT).map(parse_timeout).transpose() {
            Ok(asked) => asked,
            Err(Malformed) => return refuse(refusal::bad_timeout()),
        };
        if asked.is_some_and(|asked| asked.is_zero()) {
            return refuse(refusal::deadline_exceeded());
        }
        let now = Instant::now();
        let cap = (!(self.layer.exempt)(request.uri().path())).then_some(self.layer.timeout_max);
        let asked_due = asked.and_then(|asked| now.checked_add(asked));
        let head_due = cap.map(|cap| now + cap).into_iter().chain(asked_due).min();
        if let Some(due) = head_due {
            request.extensions_mut().insert(Deadline(due));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered = match head_due {
                Some(due) => tokio::time::timeout_at(due, answer).await,
                None => Ok(answer.await),
            };
            let Ok(answered) = answered else {
                return Err(refusal::deadline_exceeded().into());
            };
            let response = answered.map_err(Into::into)?;
            // The cap is for answers that do not begin; a stream lives as long as its client asked.
            Ok(match asked_due {
                Some(due) => response.map(|body| Body::new(Timed::new(body, due))),
                None => response,
            })
        })
    }
}

fn refuse(
    status: Status,
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>> {
    Box::pin(async move { Err(status.into()) })
}

/// A response body that ends with DEADLINE_EXCEEDED when its time is up.
struct Timed {
    body: Body,
    due: Pin<Box<Sleep>>,
    over: bool,
}

impl Timed {
    fn new(body: Body, due: Instant) -> Self {
        Self { body, due: Box::pin(sleep_until(due)), over: false }
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            // A busy stream never waits, so the clock is looked at with every frame.
            Poll::Ready(frame) if Instant::now() < self.due.deadline() => {
                return Poll::Ready(frame);
            }
            Poll::Ready(_) => {}
            Poll::Pending => ready!(self.due.as_mut().poll(cx)),
        }
        self.over = true;
        // Drops the handler's stream, and with it the work behind it.
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        // A status of ours always fits in headers; if not, no status at all reads as UNKNOWN.
        let _ = refusal::deadline_exceeded().add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
