//! A tap on the league's network, before encryption: every byte that leaves a region for another.
//!
//! A node knows no network but [`Net`], so what passes here is all that there is.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hansa_api::signature::{Authorities, Signed};
use hansa_node::net::{Accept, Address, Connection, Doing, Error, Knock, Net, Stream};
use hansa_types::identity::{Role, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What left one region for another, each connection by itself.
type Heard = Arc<Mutex<BTreeMap<(String, String), Vec<Line>>>>;
/// The bytes of one direction of one connection.
type Line = Arc<Mutex<Vec<u8>>>;

/// Listens to all nodes of a league; clones are one tap.
#[derive(Clone, Default)]
pub struct Tap {
    heard: Heard,
}

impl Tap {
    /// A node's network, listened to.
    pub fn on(&self, net: Arc<dyn Net>) -> Arc<dyn Net> {
        Arc::new(Tapped { net, tap: self.clone() })
    }

    /// What has left `from` for `to` so far, connection by connection.
    pub fn bytes(&self, from: &str, to: &str) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = heard.get(&(from.to_owned(), to.to_owned())).cloned().unwrap_or_default();
        drop(heard);
        let copy = |line: Line| line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lines.into_iter().map(copy).collect()
    }

    /// Every pair of regions between which anything has passed.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.keys().cloned().collect()
    }

    fn wrap(&self, own: &SpiffeId, connection: Connection) -> Connection {
        let (from, to) = (region(own), region(&connection.peer));
        if from == to {
            return connection;
        }
        let line = Line::default();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.entry((from, to)).or_default().push(line.clone());
        drop(heard);
        let Connection { stream, peer, life, doubted } = connection;
        Connection { stream: Box::new(Listened { stream, line }), peer, life, doubted }
    }
}

/// A node's region; a client is in none.
fn region(id: &SpiffeId) -> String {
    match id.role() {
        Some(Role::Node { region, .. }) => region.to_string(),
        Some(Role::Client { .. }) | None => "clients".to_owned(),
    }
}

struct Tapped {
    net: Arc<dyn Net>,
    tap: Tap,
}

impl Net for Tapped {
    fn id(&self) -> &SpiffeId {
        self.net.id()
    }

    fn authorities(&self) -> Option<Authorities> {
        self.net.authorities()
    }

    fn sign(&self, message: &[u8]) -> Option<Result<Signed, hansa_node::tls::Error>> {
        self.net.sign(message)
    }

    fn bind(&self, addr: SocketAddr) -> Doing<'_, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let (bound, tap) = (self.net.bind(addr).await?, self.tap.clone());
            let own = self.net.id().clone();
            Ok(Box::new(Bound { bound, tap, own }) as Box<dyn Accept>)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>> {
        Box::pin(async move {
            let connection = self.net.connect(to).await?;
            Ok(self.tap.wrap(self.net.id(), connection))
        })
    }

    fn connect_within<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>> {
        Box::pin(async move {
            let connection = self.net.connect_within(to).await?;
            Ok(self.tap.wrap(self.net.id(), connection))
        })
    }
}

struct Bound {
    bound: Box<dyn Accept>,
    tap: Tap,
    own: SpiffeId,
}

impl Accept for Bound {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.bound.local_addr()
    }

    fn accept(&mut self) -> Doing<'_, io::Result<Knock>> {
        Box::pin(async move {
            let (knock, tap, own) =
                (self.bound.accept().await?, self.tap.clone(), self.own.clone());
            Ok(Box::pin(async move { Ok(tap.wrap(&own, knock.await?)) }) as Knock)
        })
    }
}

/// A stream of which everything that goes out is kept.
struct Listened {
    stream: Box<dyn Stream>,
    line: Line,
}

impl AsyncRead for Listened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl AsyncWrite for Listened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            line.extend_from_slice(&bytes[..*count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
