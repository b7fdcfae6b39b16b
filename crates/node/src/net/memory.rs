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
        let expect = Expect::Exactly(to.id.clone());
        Box::pin(std::future::ready(self.dial(&to.addr, &expect)))
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
