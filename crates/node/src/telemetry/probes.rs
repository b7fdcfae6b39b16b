//! `/metrics`, `/healthz` and `/readyz` over plain HTTP: for scrapers and kubelets, which carry no
//! certificate. Loopback by default; nothing here changes anything.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::tasks::{OnError, Tasks};

const CONNECTIONS_MAX: usize = 32;
/// A whole connection: these are one-shot questions.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Histograms are folded this often, so that memory stays flat without a scraper.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a node says about itself. Cheap: it is asked every few seconds.
pub trait Probes: Send + Sync + 'static {
    /// `Err` with the reason when only a restart can help.
    fn live(&self) -> Result<(), String>;
    /// `Err` with the reason when calls should go elsewhere for now.
    fn ready(&self) -> Result<(), String>;
}

/// Serves the three pages on `addr` until the tasks stop; answers with the bound address.
pub async fn serve(
    addr: SocketAddr,
    tasks: &Tasks,
    metrics: PrometheusHandle,
    probes: Arc<dyn Probes>,
) -> io::Result<SocketAddr> {
    let socket = TcpListener::bind(addr).await?;
    let bound = socket.local_addr()?;
    let pages = Arc::new(Pages { metrics: metrics.clone(), probes });
    let (stop, spawner) = (tasks.stop_token(), tasks.clone());
    tasks.spawn("metrics-upkeep", OnError::Log, upkeep(metrics, stop.clone()));
    tasks.spawn("probes", OnError::StopNode, async move {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
            let (Ok((stream, _)), Ok(slot)) = (accepted, free.clone().try_acquire_owned()) else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let pages = pages.clone();
            spawner.spawn("probe", OnError::Log, async move {
                let _slot = slot;
                // A scraper that stalls or breaks off is its own problem.
                let _ = tokio::time::timeout(CONNECTION_MAX, pages.connection(stream)).await;
            });
        }
    });
    Ok(bound)
}

async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

struct Pages {
    metrics: PrometheusHandle,
    probes: Arc<dyn Probes>,
}

impl Pages {
    async fn connection(self: Arc<Self>, stream: TcpStream) -> hyper::Result<()> {
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            let page = self.page(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(page) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answer)
            .await
    }

    fn page(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, text) = match path {
            _ if method != Method::GET => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
            "/metrics" => (StatusCode::OK, self.metrics.render()),
            "/healthz" => said(self.probes.live()),
            "/readyz" => said(self.probes.ready()),
            _ => (StatusCode::NOT_FOUND, "/metrics /healthz /readyz\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let plain = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    }
}

fn said(verdict: Result<(), String>) -> (StatusCode, String) {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
