use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::body::Body;
use tower::ServiceExt as _;

use super::probes::{Probes, serve};
use super::*;
use crate::fixture::{LOOPBACK, who};
use crate::tasks::{OnError, Tasks};

#[derive(Default)]
struct Starting {
    ready: AtomicBool,
}

impl Probes for Starting {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::SeqCst) { Ok(()) } else { Err("no leader yet".to_owned()) }
    }
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn probes_say_what_the_node_says_and_metrics_are_shared_by_all_nodes() {
    let tasks = Tasks::new("n1");
    let node = Arc::new(Starting::default());
    let metrics = super::metrics().unwrap();
    let addr = serve(LOOPBACK, &tasks, metrics, node.clone()).await.unwrap();
    let other = serve(LOOPBACK, &tasks, super::metrics().unwrap(), node.clone()).await.unwrap();

    assert!(get(addr, "/healthz").await.starts_with("HTTP/1.1 200"));
    let starting = get(addr, "/readyz").await;
    assert!(starting.starts_with("HTTP/1.1 503") && starting.contains("no leader yet"));
    node.ready.store(true, Ordering::SeqCst);
    assert!(get(addr, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(addr, "/").await.starts_with("HTTP/1.1 404"));

    crate::metrics::peer_connect("ok");
    for addr in [addr, other] {
        assert!(get(addr, "/metrics").await.contains("hansa_peer_connects_total{outcome=\"ok\"}"));
    }
    assert!(tasks.drain(Duration::from_secs(60)).await.is_empty(), "all pages close on stop");
}

#[test]
fn a_bad_log_filter_is_named() {
    let config = Config { log_filter: "hansa=loud".to_owned(), ..Config::default() };
    let error = Telemetry::start(&config, "test").err().unwrap().to_string();
    assert!(error.contains("log_filter") && error.contains("hansa=loud"), "{error}");
}

/// A collector that takes one connection and hands on what it is sent.
async fn collector(tasks: &Tasks) -> (SocketAddr, mpsc::Receiver<(String, Bytes)>) {
    let socket = TcpListener::bind(LOOPBACK).await.unwrap();
    let addr = socket.local_addr().unwrap();
    let (sent, received) = mpsc::channel(8);
    tasks.spawn("collector", OnError::Log, async move {
        let (stream, _) = socket.accept().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            let sent = sent.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                sent.send((path, body)).await.unwrap();
                let done = Response::builder().header("grpc-status", "0");
                Ok::<_, Infallible>(done.body(Empty::<Bytes>::new()).unwrap())
            }
        });
        let http = http2::Builder::new(TokioExecutor::new());
        drop(http.serve_connection(TokioIo::new(stream), service).await);
    });
    (addr, received)
}

#[tokio::test]
async fn the_span_of_a_call_reaches_the_collector_before_the_process_ends() {
    let tasks = Tasks::new("n1");
    let (addr, mut received) = collector(&tasks).await;
    let traces = exporter(&format!("http://{addr}"), "eu-west-1").unwrap();
    let subscriber = tracing_subscriber::registry().with(call_spans(&traces));
    let telemetry = Telemetry { traces: Some(traces) };
    {
        let _on = tracing::subscriber::set_default(subscriber);
        let call =
            Request::post("/hansa.order.v1.OrderService/GetOrder").body(Body::empty()).unwrap();
        let Ok(response) = who().oneshot(call).await;
        drop(response.into_body().collect().await);
    }
    telemetry.stop(Duration::from_secs(60)).await;
    let (path, body) = received.try_recv().expect("flushed by the stop");
    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    for fact in ["hansa.order.v1.OrderService/GetOrder", "rpc.method", "eu-west-1"] {
        assert!(body.windows(fact.len()).any(|at| at == fact.as_bytes()), "{fact}");
    }
}
