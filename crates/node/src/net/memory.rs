//! A network inside one process: names are believed, nothing is lost. For tests.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hansa_api::client::tls::{Expect, NotSvid};
use hansa_types::identity::SpiffeId;
use parking_lot::Mutex;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::{Accept, Address, Connection, Doing, Error, Knock, Net};

/// Bytes under way in one direction of a stream.
const PIPE_BYTES: usize = 256 * 1024;
/// Who knocks at a full listener is refused.
const BACKLOG: usize = 128;

type Knocks = mpsc::Sender<(DuplexStream, SpiffeId)>;

/// The wires between the nodes of one process.
#[derive(Clone, Default)]
pub struct Wires {
    bound: Arc<Mutex<BTreeMap<String, (SpiffeId, Knocks)>>>,
}

impl Wires {
    /// The network as the node called `id` sees it.
    pub fn of(&self, id: SpiffeId) -> MemoryNet {
        MemoryNet { id, wires: self.clone() }
    }
}

/// One node's end of the [`Wires`].
#[derive(Clone)]
pub struct MemoryNet {
    id: SpiffeId,
    wires: Wires,
}

impl MemoryNet {
    /// A stream to whoever is at `addr`, if `expect` accepts its name: for clients, which know
    /// addresses only.
    ///
    /// # Errors
    /// Nobody there, or somebody else.
    pub fn dial(&self, addr: &str, expect: &Expect) -> Result<Connection, Error> {
        let bound = self.wires.bound.lock().get(addr).cloned();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (found, knocks) = bound.ok_or_else(refused)?;
        if !expect.accepts(&found) {
            return Err(NotSvid::OtherServer(found).into());
        }
        let (ours, theirs) = duplex(PIPE_BYTES);
        knocks.try_send((theirs, self.id.clone())).map_err(|_| refused())?;
        Ok(Connection::lasting(Box::new(ours), found))
    }
}

impl Net for MemoryNet {
    fn id(&self) -> &SpiffeId {
        &self.id
    }

    fn bind(&self, addr: SocketAddr) -> Doing<'_, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let mut bound = self.wires.bound.lock();
            if bound.get(&addr.to_string()).is_some_and(|(_, knocks)| !knocks.is_closed()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (knocks, knocked) = mpsc::channel(BACKLOG);
            bound.insert(addr.to_string(), (self.id.clone(), knocks));
            Ok(Box::new(Bound { addr, knocked }) as Box<dyn Accept>)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> Doing<'a, Result<Connection, Error>> {
        let named = |error| match error {
            Error::NotSvid(NotSvid::OtherServer(found)) => {
                Error::OtherName { expected: to.id.clone(), found }
            }
            other => other,
        };
        let dialled = self.dial(&to.addr, &Expect::Exactly(to.id.clone()));
        Box::pin(std::future::ready(dialled.map_err(named)))
    }
}

struct Bound {
    addr: SocketAddr,
    knocked: mpsc::Receiver<(DuplexStream, SpiffeId)>,
}

impl Accept for Bound {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn accept(&mut self) -> Doing<'_, io::Result<Knock>> {
        Box::pin(async move {
            // The wires keep a sender for as long as we are bound.
            let knocked = self.knocked.recv().await;
            let (stream, peer) = knocked.ok_or(io::ErrorKind::NotConnected)?;
            let connection = Connection::lasting(Box::new(stream), peer);
            Ok(Box::pin(std::future::ready(Ok(connection))) as Knock)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn net(wires: &Wires, node: &str) -> MemoryNet {
        wires.of(format!("spiffe://hansa/region/eu-west/node/{node}").parse().unwrap())
    }

    #[tokio::test]
    async fn both_ends_know_each_other_by_name() {
        let wires = Wires::default();
        let (one, two) = (net(&wires, "n1"), net(&wires, "n2"));
        let mut bound = two.bind(at(1)).await.unwrap();
        let to = Address { id: two.id().clone(), addr: at(1).to_string() };
        let mut ours = one.connect(&to).await.unwrap();
        let mut theirs = bound.accept().await.unwrap().await.unwrap();
        assert_eq!((&ours.peer, &theirs.peer), (two.id(), one.id()));
        ours.stream.write_all(b"moin").await.unwrap();
        let mut heard = [0; 4];
        theirs.stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"moin");

        let other = Address { id: one.id().clone(), ..to };
        let refused = one.connect(&other).await.err();
        assert!(matches!(refused, Some(Error::OtherName { .. })), "{refused:?}");
        let any = one.dial(&at(1).to_string(), &Expect::NodeOf("us-east".parse().unwrap()));
        assert!(any.is_err(), "nodes of another region only");
    }

    #[tokio::test]
    async fn an_address_is_taken_once_and_free_when_its_listener_is_gone() {
        let wires = Wires::default();
        let one = net(&wires, "n1");
        let to = Address { id: one.id().clone(), addr: at(1).to_string() };
        assert!(one.connect(&to).await.is_err(), "nobody there");
        let bound = one.bind(at(1)).await.unwrap();
        let taken = one.bind(at(1)).await.err().map(|error| error.kind());
        assert_eq!(taken, Some(io::ErrorKind::AddrInUse));
        drop(bound);
        assert!(one.connect(&to).await.is_err(), "nobody there any more");
        assert!(one.bind(at(1)).await.is_ok());
    }
}
