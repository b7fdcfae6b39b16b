//! TCP and TLS 1.3, both sides with a certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hansa_api::signature::{Authorities, Signed};
use hansa_api::together::{READ_MAX, Together};
use hansa_types::identity::{Role, SpiffeId};
use hansa_types::region::RegionName;
use rustls_pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Accept, Address, Connection, Doing, Error, Knock, Net, Outsider, Stream};
use crate::env::Clock;
use crate::tls::{self, ALPN_H2, ALPN_REGION, Identity, Svid};

/// Sockets of this machine, each with the certificate that is current when it opens.
#[derive(Clone)]
pub struct TlsNet {
    identity: Identity,
    /// Certificates live by the wall clock.
    clock: Arc<dyn Clock>,
}

/// For the TCP handshake, which costs the peer's kernel no more than a round trip.
const TCP_MAX: Duration = Duration::from_millis(500);
/// A first packet that a partition swallowed is sent again after a second only: a second handshake
/// beside the first finds the peer back much sooner.
const TCP_AGAIN: Duration = Duration::from_millis(250);

impl TlsNet {
    pub fn new(identity: Identity, clock: Arc<dyn Clock>) -> Self {
        Self { identity, clock }
    }

    fn life(&self, svid: &Svid) -> Duration {
        let left = svid.not_after.ms().saturating_sub(self.clock.wall().ms());
        Duration::from_millis(left)
    }

    async fn dial(&self, to: &Address, offered: &[&[u8]]) -> Result<Connection, Error> {
        let stream = BufReader::with_capacity(READ_MAX, tcp(&to.addr).await?);
        // Taken before the handshake: authorities that change during it make it doubtful.
        let doubted = self.identity.doubted();
        let config = self.identity.client_config(&to.id, offered)?;
        // A peer is its SPIFFE name, never its address; rustls wants something to put in SNI.
        let name = ServerName::try_from("hansa").map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (_, session) = stream.get_ref();
        if !session.alpn_protocol().is_some_and(|chosen| offered.contains(&chosen)) {
            return Err(Error::NotH2);
        }
        let svid = tls::peer_svid(session.peer_certificates())?;
        let life = self.life(&svid);
        let stream = Box::new(Together::new(stream));
        Ok(Connection { stream, peer: svid.id, life, doubted })
    }

    async fn shake(self, stream: TcpStream) -> Result<Connection, Error> {
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(READ_MAX, stream);
        let doubted = self.identity.doubted();
        let stream = TlsAcceptor::from(self.identity.server_config()).accept(stream).await?;
        let (_, session) = stream.get_ref();
        // rustls refuses a wrong list, but a client may send none at all.
        let within = match session.alpn_protocol() {
            Some(ALPN_H2) => false,
            Some(ALPN_REGION) => true,
            _ => return Err(Error::NotH2),
        };
        let svid = tls::peer_svid(session.peer_certificates())?;
        let ours = region_of(self.identity.id());
        if within && (ours.is_none() || region_of(&svid.id) != ours) {
            return Err(Error::OtherRegion(svid.id));
        }
        let life = self.life(&svid);
        let stream = Box::new(Together::new(stream));
        Ok(Connection { stream, peer: svid.id, life, doubted })
    }
}

/// The region of a node; `None` of a client.
fn region_of(id: &SpiffeId) -> Option<RegionName> {
    match id.role() {
        Some(Role::Node { region, .. }) => Some(region),
        Some(Role::Client { .. }) | None => None,
    }
}

async fn tcp(addr: &str) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(TCP_MAX, knock(addr)).await;
    let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The first of two handshakes that ends, the second begun when the first takes its time.
async fn knock(addr: &str) -> io::Result<TcpStream> {
    let mut first = std::pin::pin!(TcpStream::connect(addr));
    if let Ok(ended) = tokio::time::timeout(TCP_AGAIN, &mut first).await {
        return ended;
    }
    tokio::select! {
        biased;
        ended = first => ended,
        ended = TcpStream::connect(addr) => ended,
    }
}

impl Net for TlsNet {
    fn id(&self) -> &SpiffeId {
        self.identity.id()
    }

    fn authorities(&self) -> Option<Authorities> {
        Some(self.identity.authorities())
    }

    fn sign(&self, message: &[u8]) -> Option<Result<Signed, tls::Error>> {
        Some(self.identity.sign(message).map_err(tls::Error::Tls))
    }

    fn bind(&self, addr: SocketAddr) -> Doing<'_, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let socket = TcpListener::bind(addr).await?;
            Ok(Box::new(Bound { socket, net: self.clone() }) as Box<dyn Accept>)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>> {
        Box::pin(self.dial(to, &[ALPN_H2]))
    }

    fn connect_within<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>> {
        // The second for a node of a version that knows it alone; it is of the region all the same.
        Box::pin(self.dial(to, &[ALPN_REGION, ALPN_H2]))
    }

    fn reach<'a>(&'a self, to: &'a Outsider) -> Doing<'a, Result<Box<dyn Stream>, Error>> {
        Box::pin(async move {
            let stream = tcp(&to.addr).await?;
            let stream = TlsConnector::from(to.tls.clone()).connect(to.name.clone(), stream).await;
            Ok(Box::new(stream?) as Box<dyn Stream>)
        })
    }
}

struct Bound {
    socket: TcpListener,
    net: TlsNet,
}

impl Accept for Bound {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn accept(&mut self) -> Doing<'_, io::Result<Knock>> {
        Box::pin(async move {
            let (stream, _) = self.socket.accept().await?;
            Ok(Box::pin(self.net.clone().shake(stream)) as Knock)
        })
    }
}
