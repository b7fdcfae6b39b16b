//! Certificates and their authority are replaced under load, and no call fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hansa_api::client::{Expect, Files, Identity, League, Options};
use hansa_node::devca::{DevCa, Leaf, Pair};
use hansa_node::tls::Svid;
use hansa_tests::local::PATIENCE;
use hansa_tests::processes::{HOME, Processes, Shape};
use hansa_tests::{metrics, request, suite};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const RENEWED: &str = "hansa_identity_renewed_total";
const RELOAD_MS: u64 = 100;
const CALLERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_their_authority_are_replaced_under_load_and_no_call_fails() {
    let shape = Shape::region("rotation").with(|config| config.tls.reload_ms = RELOAD_MS);
    let league = shape.start().await;
    let storefront = files(&league, "storefront");
    let identity = Identity::read(&storefront).expect("a client's identity");
    let load = Load::start(&league, &identity).await;
    load.more(20).await;

    let old = DevCa::open(&league.data.join("pki"), "hansa").expect("the league's authority");
    let new = DevCa::open(&league.data.join("next"), "hansa").expect("another authority");
    let retired = new_file(&league, "retired", &old);

    // Fresh certificates of the same authority.
    let round = Round::begin(&league).await;
    suite::fault("certificates renewed");
    issue(&league, &old);
    round.seen(&league, &identity).await;
    load.more(20).await;

    // A new authority: trusted beside the old one first, then the only one to sign, then alone.
    let old_root = std::fs::read_to_string(old.ca_file()).expect("the old root");
    let new_root = std::fs::read_to_string(new.ca_file()).expect("the new root");
    let round = Round::begin(&league).await;
    suite::fault("authorities changed");
    replace(&storefront.ca, &format!("{old_root}{new_root}"));
    round.seen(&league, &identity).await;
    load.more(20).await;
    let round = Round::begin(&league).await;
    suite::fault("certificates renewed");
    issue(&league, &new);
    round.seen(&league, &identity).await;
    load.more(20).await;
    let round = Round::begin(&league).await;
    suite::fault("authorities changed");
    replace(&storefront.ca, &new_root);
    round.seen(&league, &identity).await;
    load.more(40).await;

    let (placed, failed) = load.stop().await;
    assert_eq!(failed, 0, "of {placed} orders");
    let refused = connect(&league, &Identity::read(&retired).expect("its files")).await;
    let answer = match refused {
        Ok(gateways) => place(&gateways, "late").await,
        Err(error) => Err(error),
    };
    assert!(answer.is_err(), "a certificate of the old authority came in");
    suite::publish();
}

/// Callers that place orders until they are stopped.
struct Load {
    placed: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(league: &Processes, identity: &Identity) -> Self {
        let (placed, failed, stop) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let mut callers = Vec::new();
        for n in 0..CALLERS {
            let gateways = connect(league, identity).await.expect("a gateway answers");
            let (placed, failed, stop) = (placed.clone(), failed.clone(), stop.clone());
            #[expect(clippy::disallowed_methods, reason = "a client outside every node")]
            let caller = tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let began = std::time::Instant::now();
                    let placing = place(&gateways, &format!("caller-{n}")).await;
                    suite::call(placing.is_err());
                    match placing {
                        Ok(()) => drop(placed.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => {
                            eprintln!("caller {n}, after {:?}: {error}", began.elapsed());
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
            callers.push(caller);
        }
        Self { placed, failed, stop, callers }
    }

    /// Waits for that many more orders.
    async fn more(&self, count: u64) {
        let goal = self.placed.load(Ordering::Relaxed) + count;
        let reached = async {
            while self.placed.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("orders go on");
    }

    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.expect("a caller ends well");
        }
        (self.placed.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// A client of the region with the published retry policy.
async fn connect(league: &Processes, identity: &Identity) -> Result<League, String> {
    let home = HOME.parse().expect("a region name");
    let endpoints = league.profile.regions[&home].endpoints.clone();
    let expect = Expect::NodeOf(home);
    let connected = League::connect(identity.clone(), endpoints, expect, Options::default()).await;
    connected.map_err(|error| error.to_string())
}

/// One order of a line without stock, so that nothing runs out.
async fn place(gateways: &League, customer: &str) -> Result<(), String> {
    let mut line = request::line("POST", 1);
    line.kind = hansa_api::pb::order::LineKind::NonStock.into();
    let order = request::order(customer, vec![line]);
    let placed = gateways.call(PATIENCE, |mut services, call| {
        let request = call.request(order.clone());
        async move { services.orders.place_order(request).await }
    });
    placed.await.map(drop).map_err(|failure| failure.to_string())
}

/// How often each node had renewed its identity when a change began.
struct Round(Vec<(std::net::SocketAddr, f64)>);

impl Round {
    async fn begin(league: &Processes) -> Self {
        let mut counts = Vec::new();
        for name in league.names() {
            let at = league.config(&name).listen.metrics;
            counts.push((at, metrics::sum(at, RENEWED).await.unwrap_or(0.0)));
        }
        Self(counts)
    }

    /// Waits until every node, and the client, has taken the change up.
    async fn seen(self, league: &Processes, client: &Identity) {
        client.reload().expect("the client's new files");
        for (at, before) in self.0 {
            let renewed = async {
                while metrics::sum(at, RENEWED).await.is_none_or(|now| now <= before) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let renewed = tokio::time::timeout(PATIENCE, renewed).await;
            assert!(renewed.is_ok(), "a node keeps its old identity: see {:?}", league.data);
        }
    }
}

/// Where a client's identity lives.
fn files(league: &Processes, client: &str) -> Files {
    let client = &league.profile.clients[client];
    let (cert, key) = (client.cert.clone(), client.key.clone());
    Files { cert, key, ca: league.profile.ca.clone() }
}

/// A good certificate of `ca` in files of its own.
fn new_file(league: &Processes, name: &str, ca: &DevCa) -> Files {
    let leaf = Leaf::named("spiffe://hansa/client/storefront");
    let files = ca.write("extra", name, &leaf).expect("a certificate");
    Files { cert: files.cert, key: files.key, ca: league.profile.ca.clone() }
}

/// Gives every node and the client a new certificate of `ca`, at the old one's place.
fn issue(league: &Processes, ca: &DevCa) {
    let nodes = league.names().into_iter().map(|name| {
        let tls = &league.config(&name).tls;
        (tls.cert.clone(), tls.key.clone())
    });
    let client = files(league, "storefront");
    for (cert, key) in nodes.chain([(client.cert, client.key)]) {
        let leaf = CertificateDer::from_pem_file(&cert).expect("the old certificate");
        let id = Svid::of(&leaf).expect("its name").id;
        let Pair { cert: fresh, key: secret } =
            ca.mint(&Leaf::named(id.as_str())).expect("a fresh certificate");
        // A node that reads between the two finds that they do not fit, and reads again.
        replace(&key, &secret);
        replace(&cert, &fresh);
    }
}

/// Readers see the old file or the new one.
fn replace(path: &Path, text: &str) {
    let aside: PathBuf = path.with_extension("next");
    std::fs::write(&aside, text).expect("a file");
    std::fs::rename(&aside, path).expect("a rename");
}
