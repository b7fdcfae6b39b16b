//! One connection to one peer: dialled by the first call, shared by all, dialled again when it
//! broke.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hansa_types::limits::CONNECTION_WINDOW_BYTES;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::{Address, Answer, Timing, Way};
use crate::net::{self, Connection, Net};
use crate::tasks::{OnError, Tasks};
use crate::{metrics, refusal};

const USER_AGENT: HeaderValue = HeaderValue::from_static("hansa/0.1");

pub struct Channel {
    address: Address,
    way: Way,
    net: Arc<dyn Net>,
    timing: Timing,
    tasks: Tasks,
    state: watch::Sender<State>,
    dials: AtomicU64,
}

enum State {
    /// Nobody is connected. `retry` is set after failures: until then, calls fail at once.
    Down { failures: u32, retry: Option<Instant> },
    /// One task is at it, and it alone leaves this state.
    Connecting { failures: u32 },
    /// `dial` tells this connection from the ones before it.
    Up { up: Up, dial: u64 },
}

/// Returns when an open connection must be left for a new one.
type Stale = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// An open connection to send on.
pub type Up = SendRequest<Body>;

#[derive(Debug, Error)]
enum ConnectError {
    #[error("took longer than {0:?}")]
    Slow(Duration),
    #[error("{0}")]
    Net(#[from] net::Error),
    #[error("http2: {0}")]
    Http(#[from] hyper::Error),
}

/// How long, and how many at most, calls that were given up are remembered, so that a late answer
/// is dropped in silence.
///
/// h2's second is a second of the machine's clock, which a simulation has no part in, and too short
/// for a peer that was paused: each late answer would then be answered by a reset.
const ABANDONED_MAX: Duration = Duration::from_secs(60);
const ABANDONED_CALLS_MAX: usize = 1_024;

/// Failures in a row that are not worth a line in the log.
const FAILURES_QUIET: u32 = 4;

impl Channel {
    pub fn new(
        (address, way): (Address, Way),
        net: Arc<dyn Net>,
        timing: Timing,
        tasks: Tasks,
    ) -> Self {
        let state = watch::Sender::new(State::Down { failures: 0, retry: None });
        Self { address, way, net, timing, tasks, state, dials: AtomicU64::new(0) }
    }

    /// The open connection, dialling if there is none; at most `connect_max`.
    ///
    /// Nobody waits for a peer that has failed and not answered since: its caller asks another one
    /// while the dial goes on. A partition must not cost each call the time of a dial.
    pub async fn ready(self: &Arc<Self>) -> Result<Up, Status> {
        let mut changes = self.state.subscribe();
        let mut waited = false;
        loop {
            let (dial, doubtful) = match &*changes.borrow_and_update() {
                State::Up { up, .. } if !up.is_closed() => return Ok(up.clone()),
                State::Connecting { failures } => (false, *failures > 0),
                // One attempt per call: its caller decides whether another is worth it.
                State::Down { retry: Some(at), .. } if waited || Instant::now() < *at => {
                    let wait = at.saturating_duration_since(Instant::now());
                    return Err(refusal::unreachable(&self.address.id, wait));
                }
                State::Up { .. } => (true, false),
                State::Down { failures, .. } => (true, *failures > 0),
            };
            if dial {
                self.dial();
            }
            if doubtful {
                return Err(refusal::unreachable(&self.address.id, self.timing.retry_first));
            }
            // Each dial ends within its bound, unless the node stops and aborts it.
            if self.tasks.stop_token().run_until_cancelled(changes.changed()).await.is_none() {
                return Err(refusal::unreachable(&self.address.id, Duration::ZERO));
            }
            waited = true;
        }
    }

    /// Sends on an open connection.
    pub async fn send(&self, mut up: Up, mut request: Request<Body>) -> Answer {
        let id = &self.address.id;
        *request.uri_mut() = self.target(request.uri());
        request.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
        let sent = up.try_send_request(request);
        // What is queued when a connection ends is given back once nobody can queue any more: one
        // who waits must not be who could.
        drop(up);
        match sent.await {
            Ok(response) => Ok(incoming(response, id.clone())),
            // Given back unsent: the connection closed between `ready` and now.
            Err(error) if error.message().is_some() => {
                Err(refusal::unreachable(id, Duration::ZERO))
            }
            Err(error) => {
                tracing::debug!(peer = %id, error = %error.error(), "call broke");
                Err(refusal::connection_lost(id))
            }
        }
    }

    fn target(&self, asked: &Uri) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        // Checked when dialled; a connection exists, so the address is an authority.
        parts.authority = self.address.addr.parse::<Authority>().ok();
        let root = PathAndQuery::from_static("/");
        parts.path_and_query = Some(asked.path_and_query().cloned().unwrap_or(root));
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// Starts one attempt, unless one runs; a task, so that a caller who gives up ends only its
    /// wait.
    fn dial(self: &Arc<Self>) {
        let mut mine = false;
        self.state.send_if_modified(|state| {
            let failures = match state {
                State::Connecting { .. } => return false,
                State::Up { up, .. } if !up.is_closed() => return false,
                State::Up { .. } => 0,
                State::Down { failures, .. } => *failures,
            };
            mine = true;
            *state = State::Connecting { failures };
            true
        });
        if mine {
            let channel = self.clone();
            self.tasks.spawn("peer-connection", OnError::Log, async move { channel.run().await });
        }
    }

    /// Connects, serves the connection until it ends, and says so in the state.
    async fn run(&self) {
        let limit = self.timing.connect_max;
        let connected = tokio::time::timeout(limit, self.connect()).await;
        let (up, connection, stale) = match connected.unwrap_or(Err(ConnectError::Slow(limit))) {
            Ok(connected) => connected,
            Err(error) => return self.failed(&error),
        };
        metrics::peer_connect("ok");
        let dial = self.dials.fetch_add(1, Ordering::Relaxed);
        self.state.send_replace(State::Up { up, dial });
        let stop = self.tasks.stop_token();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = stop.cancelled() => Ok(()),
            // New calls go over a new connection once the server must prove itself again; these
            // finish here.
            () = stale => {
                self.leave(dial);
                connection.await
            }
        };
        match ended {
            Ok(()) => self.leave(dial),
            Err(error) => {
                tracing::info!(peer = %self.address.id, %error, "connection to peer ended");
                self.broke(dial);
            }
        }
    }

    /// Down, unless a later dial has taken over.
    pub(super) fn leave(&self, dial: u64) {
        self.down(dial, 0);
    }

    /// Down and doubtful: the peer may be out of reach.
    fn broke(&self, dial: u64) {
        self.down(dial, 1);
    }

    fn down(&self, dial: u64, failures: u32) {
        self.state.send_if_modified(|state| {
            let ours = matches!(state, State::Up { dial: current, .. } if *current == dial);
            if ours {
                *state = State::Down { failures, retry: None };
            }
            ours
        });
    }

    /// Lets the connection end with its last call; for an address that nobody looks up any more.
    pub fn retire(&self) {
        self.leave(self.dials.load(Ordering::Relaxed).wrapping_sub(1));
    }

    fn failed(&self, error: &ConnectError) {
        metrics::peer_connect("failed");
        self.state.send_modify(|state| {
            let failures = match state {
                State::Connecting { failures } => *failures + 1,
                State::Up { .. } | State::Down { .. } => 1,
            };
            let wait = self.timing.retry_first * 2u32.saturating_pow(failures.min(16) - 1);
            let wait = wait.min(self.timing.retry_max);
            // A peer that starts with us is not there at our first try: that is no news.
            if failures >= FAILURES_QUIET && failures.is_power_of_two() {
                let Address { id, addr } = &self.address;
                tracing::warn!(peer = %id, addr, failures, %error, "peer not reached");
            }
            *state = State::Down { failures, retry: Some(Instant::now() + wait) };
        });
    }

    async fn connect(
        &self,
    ) -> Result<(Up, impl Future<Output = hyper::Result<()>> + use<>, Stale), ConnectError> {
        let connected = match self.way {
            Way::Within => self.net.connect_within(&self.address),
            Way::Between => self.net.connect(&self.address),
        };
        let Connection { stream, life, doubted, .. } = connected.await?;
        let (up, connection) = http2::Builder::new(self.tasks.executor())
            .timer(TokioTimer::new())
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(self.timing.keepalive_interval)
            .keep_alive_timeout(self.timing.keepalive_timeout)
            .keep_alive_while_idle(true)
            .reset_stream_duration(ABANDONED_MAX)
            .max_concurrent_reset_streams(ABANDONED_CALLS_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok((up, connection, Box::pin(Connection::stale(life, doubted))))
    }
}

/// A response whose body says UNAVAILABLE, not UNKNOWN, when the connection breaks under it.
fn incoming(
    response: Response<hyper::body::Incoming>,
    peer: hansa_types::identity::SpiffeId,
) -> Response<Body> {
    response.map(|body| Body::new(body.map_err(move |_| refusal::connection_lost(&peer))))
}
