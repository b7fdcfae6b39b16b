//! Real wires for a test cluster: mTLS, HTTP/2 and gRPC on loopback, with certificates of a dev CA.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hansa_node::devca::DevCa;
use hansa_node::env::Env;
use hansa_node::env::test::own_address;
use hansa_node::layers::{self, Settings};
use hansa_node::listen::{Limits, Listener, Serving};
use hansa_node::net::TlsNet;
use hansa_node::peers::{Address, Peers, Timing};
use hansa_node::tls::Identity;
use hansa_types::id::NodeId;
use hansa_types::identity::SpiffeId;
use tonic::service::Routes;

use crate::host::Host;

/// Certificates and addresses of a cluster.
pub(super) struct Wires {
    ca: DevCa,
    addresses: BTreeMap<NodeId, SocketAddr>,
}

impl Wires {
    /// Chooses a free port for each node; it keeps that port over restarts.
    pub fn new(dir: &Path, nodes: &[NodeId]) -> Self {
        let ca = DevCa::open(&dir.join("pki"), "hansa").expect("a dev CA");
        let any = SocketAddr::from((own_address(), 0));
        // All are held at once, so that no port is chosen twice.
        let held: Vec<_> =
            nodes.iter().map(|_| TcpListener::bind(any).expect("a free port")).collect();
        let chosen = held.iter().map(|held| held.local_addr().expect("an address"));
        Self { ca, addresses: nodes.iter().copied().zip(chosen).collect() }
    }

    fn identity(&self, node: NodeId) -> Identity {
        let region = "eu-west".parse().expect("a region");
        let files = self.ca.node(&region, &format!("n{node}")).expect("a certificate");
        Identity::load(files).expect("an identity")
    }

    pub fn names(&self) -> BTreeMap<NodeId, SpiffeId> {
        self.addresses.keys().map(|node| (*node, self.identity(*node).id().clone())).collect()
    }

    /// The peers of `node`, by address and name.
    pub fn peers(&self, node: NodeId, env: &Env) -> Peers {
        let timing = Timing { retry_max: Duration::from_millis(200), ..Timing::default() };
        let net = Arc::new(TlsNet::new(self.identity(node), env.clock.clone()));
        let peers = Peers::new(node, net, timing, env.tasks.clone());
        for (other, addr) in &self.addresses {
            let id = self.identity(*other).id().clone();
            peers.set_node(*other, Address { id, addr: addr.to_string() });
        }
        peers
    }

    /// Serves a host's peer service on its node's port.
    pub async fn serve(&self, host: &Host, env: &Env) -> Serving {
        let settings = Settings {
            listener: "internal",
            in_flight_max: 1_024,
            timeout_max: Duration::from_secs(60),
            exempt: layers::Exempt::NOTHING,
        };
        let stack = layers::stack(&settings, Routes::new(host.service()).prepare());
        let node = host.node();
        let net = TlsNet::new(self.identity(node), env.clock.clone());
        let addr = self.addresses[&node];
        let listener = Listener::bind("internal", addr, &net, Limits::default()).await;
        listener.expect("the port is still free").start(&env.tasks, stack)
    }
}
