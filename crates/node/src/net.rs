//! Authenticated byte streams: all that a node knows of a network.
//!
//! A stream comes with the name of who is at its other end, proven, and with how long that proof
//! lasts. The real one is [`TlsNet`]: TCP and TLS 1.3. [`memory`] is a network inside one process,
//! for tests; a simulator brings its own.

pub mod memory;
mod outsider;
mod real;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use hansa_api::signature::{Authorities, Signed};
use hansa_types::identity::SpiffeId;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use self::outsider::Outsider;
pub use self::real::TlsNet;
use crate::tls::{self, NotSvid};

/// Where a peer listens and who it must turn out to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    pub id: SpiffeId,
    /// `host:port` of its internal listener; a name is resolved at each connect.
    pub addr: String,
}

/// A network with one node on it, whose name every stream shows to its other end.
pub trait Net: Send + Sync + 'static {
    /// Our own name.
    fn id(&self) -> &SpiffeId;

    /// Who is believed when he signs; `None` in a world without certificates.
    fn authorities(&self) -> Option<Authorities> {
        None
    }

    /// What we say under our name; `None` in a world without certificates.
    fn sign(&self, _message: &[u8]) -> Option<Result<Signed, tls::Error>> {
        None
    }

    /// Takes the address, and accepts nobody yet.
    fn bind(&self, addr: SocketAddr) -> Doing<'_, io::Result<Box<dyn Accept>>>;

    /// A stream to whoever is at the address, if it is who it must be.
    ///
    /// Unbounded in time: the caller sets a limit, and dropping the future gives up.
    fn connect<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>>;

    /// The same to a node of a region from within that region, which the handshake says: whoever
    /// is at the other end refuses it there unless we are of its region.
    fn connect_within<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>> {
        self.connect(to)
    }

    /// A stream to a server that is none of ours, if it is who it must be. Unbounded in time, too.
    ///
    /// A network without an outside refuses.
    fn reach<'a>(&'a self, _to: &'a Outsider) -> Doing<'a, Result<Box<dyn Stream>, Error>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported).into()) })
    }
}

/// A bound address.
pub trait Accept: Send + 'static {
    /// The address, for a port chosen by the system.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next who knocks. Dropping what it gives refuses at once.
    fn accept(&mut self) -> Doing<'_, io::Result<Knock>>;
}

/// Who knocked, before it is known who that is: to be awaited apart from the next one.
pub type Knock = Doing<'static, Result<Connection, Error>>;

/// Work under way.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream and who is at its other end.
pub struct Connection {
    pub stream: Box<dyn Stream>,
    pub peer: SpiffeId,
    /// Time until the other end must prove itself again; [`Duration::MAX`] for never.
    pub life: Duration,
    /// Cancelled when what the proof rests on has changed: the authorities we trust are others.
    pub doubted: CancellationToken,
}

impl Connection {
    /// A stream whose other end never needs to prove itself again.
    pub fn lasting(stream: Box<dyn Stream>, peer: SpiffeId) -> Self {
        Self { stream, peer, life: Duration::MAX, doubted: CancellationToken::new() }
    }

    /// Returns when the other end must prove itself again: by then, leave for a new connection.
    pub(crate) async fn stale(life: Duration, doubted: CancellationToken) {
        drop(tokio::time::timeout(life, doubted.cancelled()).await);
    }
}

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Why a socket never became a connection.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Identity(#[from] tls::Error),
    #[error("the other end does not speak h2")]
    NotH2,
    #[error("{0} asks for what only nodes of this region are given")]
    OtherRegion(SpiffeId),
    #[error("{0}")]
    NotSvid(#[from] NotSvid),
    #[error("expected {expected}, found {found}")]
    OtherName { expected: SpiffeId, found: SpiffeId },
}
