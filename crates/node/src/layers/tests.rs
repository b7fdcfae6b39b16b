use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderMap;
use http_body_util::StreamBody;
use opentelemetry::trace::TracerProvider as _;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{ServiceExt as _, service_fn};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::fixture::{stack, stack_but, status, text};
use hansa_api::status::{Failure, Reason};

const SECOND: Duration = Duration::from_secs(1);

fn call(timeout: Option<&str>) -> Request<Body> {
    call_at("/hansa.Test/Call", timeout)
}

fn call_at(path: &str, timeout: Option<&str>) -> Request<Body> {
    let request = Request::post(path);
    let request = match timeout {
        Some(timeout) => request.header("grpc-timeout", timeout),
        None => request,
    };
    request.body(Body::empty()).unwrap()
}

async fn answer(stack: Stack, request: Request<Body>) -> Response<Body> {
    let Ok(response) = stack.oneshot(request).await;
    response
}

/// The reason with which `stack` refuses a call that has `timeout`.
async fn refusal(stack: Stack, timeout: Option<&str>) -> Reason {
    let status = status(answer(stack, call(timeout)).await).await;
    assert_ne!(status.code(), Code::Ok);
    Failure::from(status).reason()
}

/// Counts its calls and answers none of them.
fn silent() -> (Stack, Arc<AtomicU32>) {
    silent_but(Exempt::NOTHING)
}

fn silent_but(exempt: Exempt) -> (Stack, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        seen.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    (stack_but(exempt, inner), calls)
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_deadline_exceeded_at_the_deadline() {
    let (stack, _) = silent();
    let started = Instant::now();
    assert_eq!(refusal(stack, Some("1500m")).await, Reason::DeadlineExceeded);
    assert_eq!(started.elapsed().as_millis(), 1500);
}

#[tokio::test(start_paused = true)]
async fn the_server_caps_what_a_client_asks_and_what_it_forgets_to_ask() {
    for timeout in [Some("9H"), None] {
        let (stack, _) = silent();
        let started = Instant::now();
        assert_eq!(refusal(stack, timeout).await, Reason::DeadlineExceeded);
        assert_eq!(started.elapsed().as_secs(), 60, "{timeout:?}");
    }
}

#[tokio::test]
async fn a_deadline_that_has_passed_or_makes_no_sense_costs_no_work() {
    let (stack, calls) = silent();
    assert_eq!(refusal(stack.clone(), Some("0n")).await, Reason::DeadlineExceeded);
    for bad in ["", "5", "S", "-5S", "5s", "123456789S", "1.5S", "5 S", "5é"] {
        assert_eq!(refusal(stack.clone(), Some(bad)).await, Reason::DeadlineMalformed, "{bad:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_handler_sees_what_remains_and_hands_it_on() {
    let inner = service_fn(|request: Request<Body>| async move {
        tokio::time::sleep(SECOND).await;
        let deadline = Deadline::of(request.extensions(), 9 * SECOND);
        let mut headers = HeaderMap::new();
        deadline.put(&mut headers).unwrap();
        Ok::<_, Infallible>(text(headers["grpc-timeout"].to_str().unwrap().to_owned()))
    });
    let response = answer(stack(inner), call(Some("3S"))).await;
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.to_bytes(), "2000000u");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_when_nothing_remains() {
    let deadline = Deadline::after(SECOND);
    tokio::time::advance(SECOND).await;
    let refused = deadline::outgoing((), deadline).unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_the_deadline_of_its_client_and_not_at_the_cap() {
    for (timeout, pause_s, expect_s) in [("5S", 1000, 5), ("90S", 1000, 90), ("5S", 1, 5)] {
        let inner = service_fn(move |_: Request<Body>| async move {
            let frames = futures::stream::unfold((), move |()| async move {
                tokio::time::sleep(pause_s * SECOND).await;
                Some((Ok::<_, Status>(http_body::Frame::data(bytes::Bytes::from("x"))), ()))
            });
            Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(frames))))
        });
        let started = Instant::now();
        let status = status(answer(stack(inner), call(Some(timeout))).await).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout} {pause_s}");
        assert_eq!(started.elapsed().as_secs(), expect_s, "{timeout} {pause_s}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_waits_ends_at_its_deadline_too() {
    let inner = service_fn(|_: Request<Body>| async {
        let frame = || Ok::<_, Status>(http_body::Frame::data(bytes::Bytes::from("x")));
        let frames = futures::stream::repeat_with(frame);
        Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(frames))))
    });
    let mut body = answer(stack(inner), call(Some("5S"))).await.into_body();
    let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
    assert!(frame.is_data());
    tokio::time::advance(5 * SECOND).await;
    let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
    let status = Status::from_header_map(frame.trailers_ref().unwrap()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn the_call_over_the_bound_is_refused_at_once_with_an_invitation() {
    let (stack, calls) = silent();
    let mut open: Vec<_> = (0..2).map(|_| Box::pin(answer(stack.clone(), call(None)))).collect();
    for call in &mut open {
        assert!(futures::poll!(call.as_mut()).is_pending());
    }
    let failure = Failure::from(status(answer(stack.clone(), call(None)).await).await);
    assert_eq!(failure.reason(), Reason::Overloaded);
    assert!(failure.wait().is_some(), "RetryInfo");
    open.clear();
    assert!(futures::poll!(Box::pin(answer(stack, call(None)))).is_pending(), "room again");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_exempt_call_is_neither_refused_when_full_nor_takes_the_room_of_others() {
    let exempt = Exempt { from_shedding: |path| path.starts_with("/vital."), ..Exempt::NOTHING };
    let (stack, calls) = silent_but(exempt);
    let paths = ["/vital.A/B", "/any.A/B", "/vital.A/B", "/any.A/B", "/vital.A/B"];
    let calling = |path: &&str| Box::pin(answer(stack.clone(), call_at(path, None)));
    let mut open: Vec<_> = paths.iter().map(calling).collect();
    for call in &mut open {
        assert!(futures::poll!(call.as_mut()).is_pending());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 5, "room for two, and three that need none");
    assert_eq!(refusal(stack, None).await, Reason::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn a_call_exempt_from_the_cap_ends_when_its_client_says_and_not_before() {
    let exempt = Exempt { from_timeout: |path| path == "/long.A/B", ..Exempt::NOTHING };
    let inner = service_fn(|request: Request<Body>| async move {
        let due = request.extensions().get::<Deadline>().is_some();
        tokio::time::sleep(1_000 * SECOND).await;
        Ok::<_, Infallible>(text(format!("due: {due}")))
    });
    let stack = stack_but(exempt, inner);
    let started = Instant::now();
    let response = answer(stack.clone(), call_at("/long.A/B", None)).await;
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.to_bytes(), "due: false");
    assert_eq!(started.elapsed().as_secs(), 1_000);

    let started = Instant::now();
    let late = status(answer(stack.clone(), call_at("/long.A/B", Some("90S"))).await).await;
    assert_eq!((late.code(), started.elapsed().as_secs()), (Code::DeadlineExceeded, 90));
    let started = Instant::now();
    let capped = status(answer(stack, call_at("/long.A/Bb", None)).await).await;
    assert_eq!((capped.code(), started.elapsed().as_secs()), (Code::DeadlineExceeded, 60));
}

#[tokio::test]
async fn a_message_over_the_limit_is_resource_exhausted() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let stack = stack(health.max_decoding_message_size(64));
    let mut client = HealthClient::new(stack);
    let small = client.check(HealthCheckRequest { service: String::new() }).await;
    assert!(small.is_ok(), "{small:?}");
    let large = client.check(HealthCheckRequest { service: "x".repeat(65) }).await;
    let status = large.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(Failure::from(status).reason(), Reason::MessageTooLarge);
}

#[tokio::test]
async fn errors_below_become_one_proper_status() {
    for (error, expect) in [
        (BoxError::from("no such luck"), Reason::Internal),
        (Status::cancelled("Timeout expired").into(), Reason::DeadlineExceeded),
        (Status::from(Reason::OrderNotFound).into(), Reason::OrderNotFound),
    ] {
        let error = Arc::new(parking_lot::Mutex::new(Some(error)));
        let inner = service_fn(move |_: Request<Body>| {
            let error = error.lock().take().unwrap();
            async move { Err::<Response<Body>, BoxError>(error) }
        });
        assert_eq!(refusal(stack(inner), None).await, expect);
    }
}

#[tokio::test]
async fn a_wrong_code_in_the_trailers_is_put_right() {
    let inner = service_fn(|_: Request<Body>| async {
        let mut trailers = HeaderMap::new();
        Status::cancelled("Timeout expired").add_header(&mut trailers).unwrap();
        let frames = [Ok::<_, Status>(http_body::Frame::trailers(trailers))];
        let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
        Ok::<_, Infallible>(Response::new(body))
    });
    assert_eq!(refusal(stack(inner), None).await, Reason::DeadlineExceeded);
}

#[tokio::test]
async fn a_call_joins_its_callers_trace_and_hands_it_on() {
    opentelemetry::global::set_text_map_propagator(
        opentelemetry_sdk::propagation::TraceContextPropagator::new(),
    );
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _on = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans));
    let inner = service_fn(|_: Request<Body>| async {
        let mut headers = HeaderMap::new();
        trace::put(&mut headers);
        Ok::<_, Infallible>(text(headers["traceparent"].to_str().unwrap().to_owned()))
    });
    let mut request = call(None);
    let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.headers_mut().insert("traceparent", theirs.parse().unwrap());
    let response = answer(stack(inner), request).await;
    let ours = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let ours = String::from_utf8(ours.to_vec()).unwrap();
    assert_eq!(ours[..36], theirs[..36], "same trace");
    assert_ne!(ours, theirs, "our own span");
}
