use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::probes::{Probes, serve};
use super::*;
use crate::fixture::LOOPBACK;
use crate::tasks::Tasks;

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
    assert!(tasks.drain(Duration::from_secs(5)).await.is_empty(), "all pages close on stop");
}

#[test]
fn a_bad_log_filter_is_named() {
    let config = Config { log_filter: "hansa=loud".to_owned(), ..Config::default() };
    let error = Telemetry::start(&config, "test").err().unwrap().to_string();
    assert!(error.contains("log_filter") && error.contains("hansa=loud"), "{error}");
}
