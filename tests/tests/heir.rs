//! All bytes that leave each region, before encryption, while another one keeps what it needs to
//! take over: orders are copied there, a customer moves there, another is erased, the home is lost,
//! taken over and comes back. Nobody's words go anywhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa::config::Config;
use hansa::league::layout::Layout;
use hansa::league::prepare;
use hansa::node::{Node, World};
use hansa_api::first_sent;
use hansa_api::pb::admin::{GetReplicationStatusRequest, OutgoingStream};
use hansa_api::pb::order::{
    GetOrderRequest, LineKind, Order, OrderState, PersonalState, PlaceOrderRequest, ReadMode,
};
use hansa_api::status::Failure;
use hansa_tests::leak::{Person, files_below, files_with, left, passed, views_are_lawful};
use hansa_tests::local::{Local, PATIENCE};
use hansa_tests::processes::hansactl;
use hansa_tests::tap::Tap;
use hansa_tests::{folder, suite};
use tokio::time::Instant;
use tonic::Request;

const HOME: &str = "eu-west";
/// The only region that the law admits beside it.
const HEIR: &str = "eu-central";
const ABROAD: [&str; 2] = ["us-east", "ap-south"];
const REGIONS: [&str; 4] = [HOME, "us-east", "ap-south", HEIR];
const REFERENCE: &str = "canary-heir-reference-41771";
const WHY: [&str; 4] = ["--reason", "a test", "--ticket", "OPS-9"];

/// Four regions of one node each, each on a tapped network.
struct Rig {
    league: Local,
    configs: BTreeMap<String, Config>,
    nodes: BTreeMap<String, Node>,
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Rig {
    async fn start() -> Self {
        let data = folder::fresh("heir");
        let mut layout = Layout::apart().expect("free ports");
        layout.timing = hansa_consensus::Profile::Quick;
        let (all, mut profile) = prepare(&data, &layout).expect("a league on disk");
        let mut configs = BTreeMap::new();
        for mut config in all {
            for region in &mut config.league {
                region.nodes.truncate(1);
                region.public.truncate(1);
            }
            // Every file is searched for every word.
            config.log.segment_mib = 8;
            if config.own_node().is_some() {
                configs.insert(config.region.to_string(), config);
            }
        }
        profile.regions.values_mut().for_each(|listed| listed.endpoints.truncate(1));
        profile.write(&data.join("profile.toml")).expect("a profile");
        let league = Local { data, profile, tap: Tap::default() };
        let mut rig = Self { league, configs, nodes: BTreeMap::new() };
        for region in REGIONS {
            rig.begin(region).await;
        }
        for region in [HOME, HEIR] {
            rig.league.stock(region, "CANARY", 100).await;
        }
        rig
    }

    async fn begin(&mut self, region: &str) {
        let config = self.configs[region].clone();
        let world = World::real(&config).expect("a world");
        let world = World { net: self.league.tap.on(world.net.clone()), ..world };
        let node = Node::start_in(config, world).await.expect("a node starts");
        self.nodes.insert(region.to_owned(), node);
        eventually("it serves", async || self.nodes[region].ready().is_ok()).await;
    }

    async fn stop(&mut self, region: &str) {
        self.nodes.remove(region).expect("it runs").stop().await;
    }

    /// A request that is surely new, until it is confirmed.
    async fn confirmed(&self, at: &str, wish: &PlaceOrderRequest) -> String {
        let (mut name, sent) = (String::new(), u64::MAX / 2);
        eventually("an order is confirmed", async || {
            let mut call = Request::new(wish.clone());
            call.set_timeout(Duration::from_secs(10));
            first_sent::put(call.metadata_mut(), sent);
            let placed =
                self.league.as_client("storefront", at).await.orders.place_order(call).await;
            let order = placed.map(|answer| answer.into_inner().order.unwrap_or_default());
            name = order.as_ref().map(|order| order.name.clone()).unwrap_or_default();
            let done = [OrderState::Confirmed, OrderState::Completed];
            match order {
                Ok(order) => done.contains(&order.state()),
                Err(status) => {
                    eprintln!("not placed yet: {}", Failure::from(&status));
                    false
                }
            }
        })
        .await;
        name
    }

    async fn get(&self, at: &str, order: &str, read: ReadMode) -> Option<Order> {
        let request = GetOrderRequest { order: order.to_owned(), read: read.into() };
        let mut orders = self.league.as_client("storefront", at).await.orders;
        orders.get_order(request).await.ok()?.into_inner().order
    }

    /// Waits until every other region has a copy.
    async fn shipped(&self, order: &str) {
        for region in [HEIR].into_iter().chain(ABROAD) {
            eventually("a copy", async || {
                let copy = self.get(region, order, ReadMode::LocalCopy).await;
                let done = [OrderState::Confirmed, OrderState::Completed];
                copy.is_some_and(|copy| done.contains(&copy.state()))
            })
            .await;
        }
    }

    /// Waits until the heir has all that home says of its orders.
    async fn level(&self) {
        eventually("the heir has all of it", async || {
            let ask = GetReplicationStatusRequest { region: HOME.to_owned() };
            let mut operator = self.league.as_client("operator", HOME).await;
            let told = operator.replication.get_replication_status(ask).await;
            let Ok(told) = told.map(tonic::Response::into_inner) else { return false };
            let all = |of: &OutgoingStream| of.acknowledged_sequence == of.last_sequence;
            told.outgoing.iter().any(|of| of.peer == HEIR && of.last_sequence > 0 && all(of))
        })
        .await;
    }

    /// `hansactl` at a region, until it goes well.
    async fn ctl(&self, at: &str, words: &[&str]) {
        eventually(&format!("hansactl {}", words.join(" ")), async || {
            let mut tool = tokio::process::Command::new(hansactl());
            tool.current_dir(&self.league.data).env("HANSA_TIMEOUT", "60s");
            tool.args(["--profile", "profile.toml", "--region", at]).args(words);
            let output = tool.output().await.expect("hansactl runs");
            let done = output.status.success();
            if !done {
                eprintln!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
            done
        })
        .await;
    }

    /// A person's words passed between these regions alone, and lie in no file anywhere.
    fn kept(&self, person: &Person, between: &[&str]) {
        for word in person.words() {
            let way = passed(&self.league, word);
            let inside = |(from, to): &(String, String)| {
                between.contains(&from.as_str()) && between.contains(&to.as_str())
            };
            assert!(way.iter().all(inside), "{word}: {way:?}");
        }
        for region in REGIONS {
            let found = files_with(&self.league, region, &person.words());
            assert_eq!(found, Vec::<std::path::PathBuf>::new(), "{} in {region}", person.name);
        }
        suite::checked("words of a person and where they went", person.words().len());
    }

    /// No region's keys have left it, in whatever form.
    fn keys_stay(&self) {
        for region in REGIONS {
            let vault = self.league.data.join(region).join("vault.key");
            let text = std::fs::read_to_string(vault).expect("a vault");
            let keys: Vec<&str> = text.split_whitespace().filter(|word| word.len() == 64).collect();
            assert!(keys.len() > 1, "a secret and a key");
            assert!(keys.iter().all(|key| holds(text.as_bytes(), key)), "they can be found");
            for (from, to) in self.league.tap.pairs() {
                for line in self.league.tap.bytes(&from, &to) {
                    let there = |key: &&&str| holds(&line, key);
                    assert_eq!(keys.iter().find(there), None, "{region}'s: {from} to {to}");
                }
            }
        }
    }
}

/// A key in hex is in there, as it is written or as the bytes that it stands for.
fn holds(bytes: &[u8], key: &str) -> bool {
    let digit = |at| u8::from_str_radix(&key[at..at + 2], 16).expect("hex");
    let raw: Vec<u8> = (0..key.len()).step_by(2).map(digit).collect();
    let upper = key.to_uppercase();
    [raw.as_slice(), key.as_bytes(), upper.as_bytes()]
        .into_iter()
        .any(|form| memchr::memmem::find(bytes, form).is_some())
}

/// Something that nobody has to ship: such an order is not under way once it is confirmed.
fn fee(person: &Person) -> PlaceOrderRequest {
    let mut wish = person.wish("DE", REFERENCE);
    for line in &mut wish.lines {
        line.kind = LineKind::Fee.into();
        line.sku.clear();
    }
    wish
}

/// The failover set has the facts of a payment, and nobody else; a person's words nobody has.
async fn copies(rig: &Rig, person: &Person) -> String {
    let order = rig.confirmed(HOME, &person.wish("DE", REFERENCE)).await;
    let whole = rig.get(HOME, &order, ReadMode::Unspecified).await.expect("the order");
    let paid = whole.payment.expect("its payment").provider_reference;
    rig.shipped(&order).await;
    for region in [HEIR].into_iter().chain(ABROAD) {
        assert!(left(&rig.league, HOME, region, REFERENCE), "the tap hears nothing to {region}");
        let heir = region == HEIR;
        assert_eq!(left(&rig.league, HOME, region, &paid), heir, "{paid} to {region}");
        assert_eq!(!files_with(&rig.league, region, &[&paid]).is_empty(), heir, "in {region}");
    }
    // Sealed, also for the heir.
    person.words().iter().for_each(|word| assert_eq!(passed(&rig.league, word), [], "{word}"));
    rig.kept(person, &[]);
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_heir_needs_goes_to_it_and_nowhere_else() {
    let mut rig = Rig::start().await;
    let [stays, erased, mover, abroad] = ["stays", "erased", "mover", "abroad"].map(Person::new);
    let order = copies(&rig, &stays).await;

    let gone = rig.confirmed(HOME, &fee(&erased)).await;
    let moved = rig.confirmed(HOME, &fee(&mover)).await;
    rig.shipped(&gone).await;
    rig.shipped(&moved).await;
    rig.ctl(HOME, &["customer", "erase", "--country", "DE", &erased.customer]).await;
    rig.kept(&erased, &[HOME, HEIR]);

    let moves = ["customer", "move", "--country", "DE", &mover.customer];
    rig.ctl(HOME, &[&moves[..], &["--to", HEIR], &WHY].concat()).await;
    rig.ctl(HOME, &[&moves[..], &["--finish-now"], &WHY].concat()).await;
    eventually("he is known where he lives", async || {
        let copy = rig.get(HEIR, &moved, ReadMode::LocalCopy).await;
        copy.is_some_and(|copy| copy.customer_id == mover.customer)
    })
    .await;
    rig.kept(&mover, &[HOME, HEIR]);

    // Nothing is left alone at home, which somebody would have to decide on.
    rig.level().await;
    rig.stop(HOME).await;
    let failover = ["region", "failover", HOME, "--to", HEIR, "--confirm-stopped"];
    rig.ctl(HEIR, &[&failover[..], &WHY].concat()).await;
    let read = rig.get(HEIR, &order, ReadMode::Unspecified).await.expect("it is the heir's");
    assert_eq!(read.customer_id, stays.customer, "it can open what it was sent");
    let read = rig.get(HEIR, &gone, ReadMode::Unspecified).await.expect("it is the heir's, too");
    let forgotten = (read.personal_state(), read.customer_id.as_str());
    assert_eq!(forgotten, (PersonalState::Erased, ""), "it heard of the erasure");
    let new = rig.confirmed("us-east", &abroad.wish("DE", REFERENCE)).await;
    let way = passed(&rig.league, &abroad.name);
    assert!(way.contains(&("us-east".to_owned(), HEIR.to_owned())), "{way:?}");
    rig.begin(HOME).await;
    rig.ctl(HOME, &[&["region", "failback", HOME], &WHY[..]].concat()).await;
    let back = rig.get(HOME, &new, ReadMode::Unspecified).await.expect("it is home's");
    assert_eq!(back.customer_id, abroad.customer);
    rig.shipped(&new).await;

    for (person, between) in [
        (&stays, &[HOME, HEIR][..]),
        (&erased, &[HOME, HEIR]),
        (&mover, &[HOME, HEIR]),
        // Who asks abroad passes there.
        (&abroad, &["us-east", HEIR, HOME]),
    ] {
        rig.kept(person, between);
    }
    rig.keys_stay();
    for (number, region) in (1..).zip(REGIONS) {
        views_are_lawful(&rig.league, region, number);
        rig.ctl(region, &["residency", "verify"]).await;
    }
    // What is searched for so can be found.
    let careless = Person::new("careless");
    let leak = rig.confirmed(HOME, &careless.wish("DE", &careless.name)).await;
    rig.shipped(&leak).await;
    for region in ABROAD {
        assert!(left(&rig.league, HOME, region, &careless.name), "the tap must turn red");
        assert_ne!(files_below(&rig.league.data.join(region), &[&careless.name]).len(), 0);
    }
    suite::publish();
    futures::future::join_all(rig.nodes.into_values().map(Node::stop)).await;
}
