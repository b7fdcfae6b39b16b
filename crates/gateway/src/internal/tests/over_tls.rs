//! The internal port on a real socket, with real certificates of both regions.

use std::time::Duration;

use hansa_api::methods::METHODS;
use hansa_node::devca::{DevCa, Leaf};
use hansa_node::layers;
use hansa_node::listen::{Limits, Listener};
use hansa_node::net::{Net, TlsNet};
use hansa_node::peers::{Address, PeerService, Peers, Timing};
use hansa_node::tls::Identity;
use hansa_types::id::NodeId;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// Node eu-west-2 behind its internal port.
struct Port {
    ca: DevCa,
    env: hansa_node::env::Env,
    address: Address,
    _folder: tempfile::TempDir,
}

impl Port {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = DevCa::open(folder.path(), "hansa").unwrap();
        let env = env();
        let own = Identity::load(ca.node(&"eu-west".parse().unwrap(), "eu-west-2").unwrap());
        let net = TlsNet::new(own.unwrap(), env.clock.clone());
        let id = net.id().clone();
        let at = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind("internal", at, &net, Limits::default()).await.unwrap();
        let address = Address { id: id.clone(), addr: listener.local_addr().unwrap().to_string() };
        let known = |region: &RegionName| ["us-east", "ap-south"].contains(&region.as_str());
        let settings = layers::Settings {
            listener: "internal",
            in_flight_max: 8,
            timeout_max: PATIENCE,
            exempt: layers::Exempt::NOTHING,
        };
        let stack = layers::stack(&settings, internal(true));
        let region = "eu-west".parse().unwrap();
        drop(listener.admitting(admits(id, region, known)).start(&env.tasks, stack));
        Self { ca, env, address, _folder: folder }
    }

    /// A call of `path` by whoever has this name, as between regions; why it failed, `None` when
    /// it was let in.
    async fn call(&self, name: &str, path: &str) -> Option<Failure> {
        let region: RegionName = "eu-west".parse().unwrap();
        let peers = self.peers(name);
        peers.set_gateways(region.clone(), vec![self.address.clone()]);
        asked(peers.gateway(&region), path).await
    }

    /// The same as among the nodes of one region.
    async fn call_within(&self, name: &str, path: &str) -> Option<Failure> {
        let peers = self.peers(name);
        peers.set_node(NodeId(2), self.address.clone());
        asked(peers.to(NodeId(2)), path).await
    }

    fn peers(&self, name: &str) -> Peers {
        let pair = self.ca.mint(&Leaf::named(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |end: &str| folder.path().join(end);
        std::fs::write(file("cert"), pair.cert.as_bytes()).unwrap();
        std::fs::write(file("key"), pair.key.as_bytes()).unwrap();
        let ca = self.ca.ca_file();
        let files = hansa_node::tls::Files { cert: file("cert"), key: file("key"), ca };
        let net = Arc::new(TlsNet::new(Identity::load(files).unwrap(), self.env.clock.clone()));
        Peers::new(NodeId(9), net, Timing::default(), self.env.tasks.clone())
    }
}

async fn asked(mut port: PeerService, path: &str) -> Option<Failure> {
    let body = Body::new(http_body_util::Full::new(Bytes::from_static(b"\0\0\0\0\0")));
    let mut request = Request::post(path).body(body).unwrap();
    *request.version_mut() = http::Version::HTTP_2;
    let answer = tokio::time::timeout(PATIENCE, port.call(request)).await;
    match answer.expect("an answer") {
        Ok(answer) => failure(&answer),
        Err(status) => Some(Failure::from(&status)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_regions_node_gets_through_to_replication_and_ownership_and_to_nothing_else() {
    let port = Port::open().await;
    let paths = METHODS.iter().map(|method| method.path);
    for path in paths.chain(["/hansa.replication.v2.Steal/All", "/x"]) {
        let told = port.call(THEIRS, path).await.map(|failure| failure.reason());
        let open = [
            "/hansa.replication.v1.ReplicationService/",
            "/hansa.replication.v1.HomeService/",
            "/hansa.directory.v1.OwnershipService/",
        ];
        let open = open.iter().any(|service| path.starts_with(service));
        // Replication itself is not served by this port: that it is not known means let in.
        let want = if open { Reason::Unimplemented } else { Reason::PermissionDenied };
        assert_eq!(told, Some(want), "{path}");
    }
    let raft = "/hansa.raft.v1.RaftPeerService/Exchange";
    let told = port.call(OURS, raft).await.map(|failure| failure.reason());
    assert_eq!(told, Some(Reason::Unimplemented), "our own are let in");
    assert_eq!(port.call(OURS, &format!("/{NODE}")).await, None);
}

/// A node that believes to be one of the region, as Raft's and the books' callers do.
#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_within_the_region_ends_for_another_regions_node() {
    let port = Port::open().await;
    let replicate = "/hansa.replication.v1.ReplicationService/Replicate".to_owned();
    for path in
        ["/hansa.raft.v1.RaftPeerService/Exchange".to_owned(), format!("/{NODE}"), replicate]
    {
        let told = port.call_within(THEIRS, &path).await.expect("no answer");
        // No answer of the house: the connection ended before a call could be made.
        assert_eq!(told.reason(), Reason::Unavailable, "{path}: {told}");
    }
    assert_eq!(port.call_within(OURS, &format!("/{NODE}")).await, None, "its own get in");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_ends_for_clients_and_for_nodes_of_nowhere() {
    let port = Port::open().await;
    let nowhere = "spiffe://hansa/region/mars-north/node/mars-north-1";
    for name in [SHOP, nowhere, "spiffe://hansa/other/path"] {
        for path in [format!("/{NODE}"), "/grpc.health.v1.Health/Check".to_owned()] {
            let told = port.call(name, &path).await.expect("no answer");
            // No answer of the house: the connection ended before a call could be made.
            assert_eq!(told.reason(), Reason::Unavailable, "{name}: {told}");
        }
    }
    assert_eq!(port.call(OURS, &format!("/{NODE}")).await, None, "and the port goes on");
}
