//! The wires between regions: TCP relays in this process, which can be cut. Clients are not on
//! them, so who is cut off from all other regions still has its customers. Needs no root.
//!
//! What is cut stands still, as on a network that loses packets: what was on its way arrives once
//! the wire is whole again, however late. A thin wire passes little at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::suite;

/// Read at once.
const PIECE: usize = 64 << 10;
/// What a thin wire passes, and then rests: some 20 kB a second on each connection.
const DROP: usize = 2 << 10;
const REST: Duration = Duration::from_millis(100);

/// All wires of a league.
pub struct Links {
    wires: watch::Sender<Wires>,
}

/// What is wrong with the wires of which regions.
#[derive(Default)]
struct Wires {
    cut: BTreeSet<String>,
    thin: BTreeSet<String>,
}

impl Links {
    /// Leads every address of another region's node, in each config, through a relay of its own.
    ///
    /// # Panics
    /// When the system has no port left.
    pub async fn lay(configs: &mut [Config]) -> Self {
        let wires = watch::Sender::default();
        for config in configs {
            let own = config.region.clone();
            for region in config.league.iter_mut().filter(|region| region.name != own) {
                for node in &mut region.nodes {
                    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
                    let near = listener.local_addr().expect("its address").to_string();
                    let far = std::mem::replace(&mut node.internal, near);
                    let ends = [own.to_string(), region.name.to_string()];
                    let gate = Gate { ends, wires: wires.subscribe() };
                    // A task of a test, not of a node.
                    #[allow(clippy::disallowed_methods)]
                    tokio::spawn(relay(listener, far, gate));
                }
            }
        }
        Self { wires }
    }

    /// No byte passes between this region and any other.
    pub fn cut_off(&self, region: &str) {
        suite::fault("a living region cut off from all others");
        self.wires.send_modify(|wires| wires.cut.extend([region.to_owned()]));
    }

    /// What is cut is whole again, and little passes at a time between this region and any other.
    pub fn thin(&self, region: &str) {
        suite::fault("a region on thin wires");
        let thin = BTreeSet::from([region.to_owned()]);
        self.wires.send_modify(|wires| *wires = Wires { thin, ..Wires::default() });
    }

    /// All wires are whole.
    pub fn heal(&self) {
        self.wires.send_modify(|wires| *wires = Wires::default());
    }
}

#[derive(Clone)]
struct Gate {
    ends: [String; 2],
    wires: watch::Receiver<Wires>,
}

impl Gate {
    /// Waits while the wire is cut.
    async fn pass(&mut self) {
        let ends = &self.ends;
        // No wires any more: the test is over.
        drop(self.wires.wait_for(|wires| !ends.iter().any(|end| wires.cut.contains(end))).await);
    }

    fn thin(&self) -> bool {
        let wires = self.wires.borrow();
        self.ends.iter().any(|end| wires.thin.contains(end))
    }
}

async fn relay(listener: TcpListener, far: String, gate: Gate) {
    while let Ok((near, _)) = listener.accept().await {
        let (far, mut gate) = (far.clone(), gate.clone());
        // A task of a test, not of a node.
        #[allow(clippy::disallowed_methods)]
        tokio::spawn(async move {
            gate.pass().await;
            // Who refuses is seen as one who hangs up.
            let Ok(far) = TcpStream::connect(&far).await else { return };
            drop((near.set_nodelay(true), far.set_nodelay(true)));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let back = pump(far_in, near_out, gate.clone());
            tokio::join!(pump(near_in, far_out, gate), back);
        });
    }
}

/// One direction, to its end.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: Gate) {
    let mut piece = vec![0; PIECE];
    'open: while let Ok(count @ 1..) = from.read(&mut piece).await {
        for drop in piece[..count].chunks(DROP) {
            gate.pass().await;
            if to.write_all(drop).await.is_err() {
                break 'open;
            }
            if gate.thin() {
                tokio::time::sleep(REST).await;
            }
        }
    }
    // Its end is not heard of either.
    gate.pass().await;
    drop(to.shutdown().await);
}
