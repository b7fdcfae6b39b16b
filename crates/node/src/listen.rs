//! An mTLS listener: accepts, identifies, serves HTTP/2, and drains within a bound.
//!
//! We drive hyper ourselves instead of tonic's server: its deadline timer sits outside every layer
//! and answers CANCELLED, and its TLS takes one certificate for life.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hansa_types::identity::SpiffeId;
use hansa_types::limits::CONNECTION_WINDOW_BYTES;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::metrics;
use crate::net::{self, Connection, Knock, Net};
use crate::tasks::{Executor, OnError, Tasks};
use crate::tls::PeerIdentity;

/// After a failed accept (no file handles, say): time for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener allows. The defaults suit both ports of a node.
#[derive(Debug, Clone)]
pub struct Limits {
    /// More sockets than this are closed as soon as they are accepted.
    pub connections_max: usize,
    /// Handshakes at a time; the rest wait within their timeout.
    pub handshakes_max: usize,
    pub handshake_timeout: Duration,
    /// Calls in flight on one connection.
    pub streams_max: u32,
    pub header_list_bytes_max: u32,
    /// Bytes that all streams of one connection may hold unread.
    pub window_bytes: u32,
    /// Silence after which we ask whether the peer still lives, and how long it may take to say so.
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
    /// How long calls in flight may go on once the listener drains.
    pub drain_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            handshakes_max: 64,
            handshake_timeout: Duration::from_secs(5),
            streams_max: 256,
            header_list_bytes_max: 16 * 1024,
            window_bytes: CONNECTION_WINDOW_BYTES,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            drain_max: Duration::from_secs(10),
        }
    }
}

/// In the extensions of every call that came over a connection: whether it is about to close,
/// because the node drains or the peer must prove itself again. A stream that would go on for ever
/// ends then.
#[derive(Debug, Clone)]
pub struct Leaving {
    pub now: CancellationToken,
    /// What is left then to a stream that ends in order.
    pub within: Duration,
}

impl Leaving {
    fn of(limits: &Limits) -> Self {
        // The rest is for what it says last to arrive.
        Self { now: CancellationToken::new(), within: limits.drain_max / 5 * 4 }
    }

    /// Of the call's connection; never for a call from this process, which has none.
    pub fn of_call(extensions: &http::Extensions) -> Self {
        let never = || Self { now: CancellationToken::new(), within: Duration::ZERO };
        extensions.get().cloned().unwrap_or_else(never)
    }
}

/// Whether somebody who has proven that name has any business at a listener.
pub type Admits = Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>;

/// A bound socket that does not accept yet.
pub struct Listener {
    name: &'static str,
    socket: Box<dyn net::Accept>,
    limits: Limits,
    admits: Admits,
}

/// Why a socket never became a connection.
#[derive(Debug, Error)]
enum Refused {
    #[error("handshake took longer than {0:?}")]
    Slow(Duration),
    #[error("handshake: {0}")]
    Handshake(#[from] net::Error),
    #[error("{0} has no business here")]
    Stranger(SpiffeId),
}

impl Listener {
    /// Binds `addr`; `name` (`public`, `internal`) appears in logs, metrics and task names.
    pub async fn bind(
        name: &'static str,
        addr: SocketAddr,
        net: &dyn Net,
        limits: Limits,
    ) -> io::Result<Self> {
        let socket = net.bind(addr).await?;
        Ok(Self { name, socket, limits, admits: Arc::new(|_| true) })
    }

    /// Ends the handshake of everybody else: nothing that they send is read.
    #[must_use]
    pub fn admitting(self, admits: Admits) -> Self {
        Self { admits, ..self }
    }

    /// The bound address, for a port chosen by the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Starts to accept. `service` gets each call with its [`PeerIdentity`] in the extensions.
    pub fn start<S>(self, tasks: &Tasks, service: S) -> Serving
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let stop = tasks.stop_token().child_token();
        let connections = TaskTracker::new();
        let serving = Serving { stop: stop.clone(), connections: connections.clone() };
        let accept = Accept {
            name: self.name,
            http: http_settings(&self.limits, tasks),
            free: Arc::new(Semaphore::new(self.limits.connections_max)),
            handshakes: Arc::new(Semaphore::new(self.limits.handshakes_max)),
            limits: self.limits,
            admits: self.admits,
            tasks: tasks.clone(),
            stop,
            connections: connections.clone(),
        };
        let accepting = connections.track_future(accept.run(self.socket, service));
        tasks.spawn(format!("listen-{}", self.name), OnError::StopNode, accepting);
        serving
    }
}

/// A listener at work.
pub struct Serving {
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Serving {
    /// Closes the socket, lets calls in flight end within `drain_max`, then closes their
    /// connections.
    pub async fn drain(self) {
        self.stop.cancel();
        self.connections.close();
        self.connections.wait().await;
    }
}

fn http_settings(limits: &Limits, tasks: &Tasks) -> http2::Builder<Executor> {
    let mut http = http2::Builder::new(tasks.executor());
    http.timer(TokioTimer::new())
        // gRPC has no use for a `date`, and the wall clock is not ours to read here.
        .auto_date_header(false)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.header_list_bytes_max)
        .initial_connection_window_size(limits.window_bytes)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    http
}

struct Accept {
    name: &'static str,
    http: http2::Builder<Executor>,
    limits: Limits,
    admits: Admits,
    free: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    tasks: Tasks,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Accept {
    async fn run<S>(self, mut socket: Box<dyn net::Accept>, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let accept = Arc::new(self);
        while let Some(accepted) = accept.stop.run_until_cancelled(socket.accept()).await {
            let knock = match accepted {
                Ok(knock) => knock,
                Err(error) => {
                    tracing::warn!(listener = accept.name, %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Dropping the knock refuses at once; leaving it in the backlog would be a queue.
            let Ok(slot) = accept.free.clone().try_acquire_owned() else {
                metrics::connection_refused(accept.name);
                continue;
            };
            let (here, service) = (accept.clone(), service.clone());
            let connection = accept.connections.track_future(async move {
                let _slot = slot;
                here.connection(knock, service).await;
            });
            accept.tasks.spawn("connection", OnError::Log, connection);
        }
    }

    async fn connection<S>(&self, knock: Knock, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let limit = self.limits.handshake_timeout;
        let shaken = tokio::time::timeout(limit, self.handshake(knock)).await;
        let shaken = shaken.unwrap_or(Err(Refused::Slow(limit)));
        let Connection { stream, peer, life, doubted } = match shaken {
            Ok(shaken) => shaken,
            Err(why) => {
                metrics::connection_refused(self.name);
                tracing::debug!(listener = self.name, %why, "connection refused");
                return;
            }
        };
        let peer = PeerIdentity(peer);
        let leaving = Leaving::of(&self.limits);
        let leaves = leaving.now.clone();
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(leaving.clone());
            service.clone().oneshot(request)
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), answer));
        tokio::select! {
            biased;
            ended = &mut connection => return log_end(self.name, ended),
            () = self.stop.cancelled() => {}
            // A peer must come back with a certificate that is good then.
            () = Connection::stale(life, doubted) => {}
        }
        leaves.cancel();
        connection.as_mut().graceful_shutdown();
        match tokio::time::timeout(self.limits.drain_max, connection).await {
            Ok(ended) => log_end(self.name, ended),
            Err(_) => tracing::info!(listener = self.name, "connection cut at the drain bound"),
        }
    }

    async fn handshake(&self, knock: Knock) -> Result<Connection, Refused> {
        // The semaphore is never closed; the permit bounds the CPU that strangers can spend here.
        let _permit = self.handshakes.acquire().await;
        let shaken = knock.await?;
        match (self.admits)(&shaken.peer) {
            true => Ok(shaken),
            false => Err(Refused::Stranger(shaken.peer)),
        }
    }
}

fn log_end(listener: &str, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        // Peers go away all the time; their side logs what matters to them.
        tracing::debug!(listener, %error, "connection ended");
    }
}
