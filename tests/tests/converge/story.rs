//! What an operator does with `hansactl` while orders come in: a region is handed over and back,
//! then it is lost, taken over, returns, and is brought home.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa::replay::memory::Memory;
use hansa_api::pb::admin::{GetRegionLossRequest, GetRegionLossResponse, ListTailRequest};
use hansa_api::pb::node::{TailAction, TailOrder};
use hansa_api::pb::order::GetOrderRequest;
use hansa_api::status::{Failure, Reason};
use hansa_tests::customers::Customers;
use hansa_tests::network::Network;
use hansa_tests::processes::Processes;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::{Request, Status};

pub const LOST: &str = "eu-west";
pub const SURVIVOR: &str = "eu-central";
const WHY: [&str; 4] = ["--reason", "a test", "--ticket", "OPS-7"];
/// Of one step of the operator's: a machine that is busy with other things takes its time.
const WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Who tells of what, and what was seen.
pub struct Story<'a> {
    pub league: &'a mut Processes,
    pub customers: &'a Customers,
    pub memory: &'a Memory,
}

/// What the loss cost.
#[derive(Debug, Default)]
pub struct Loss {
    /// Events that somebody heard of and the survivor never received.
    pub events: u64,
    /// Orders that were confirmed to a client and are not at the survivor.
    pub orders: BTreeSet<String>,
    /// What the lost region had that its new owner never saw, once it was back.
    pub tail: Vec<TailOrder>,
    /// Those of them that no client was told of.
    pub unheard: BTreeSet<String>,
    pub known: usize,
    pub owned: Duration,
    pub served: Duration,
    pub away: Duration,
    pub home: Pause,
}

/// What clients see of a hand-over.
#[derive(Debug, Default)]
pub struct Pause {
    /// The command, from its beginning to its end.
    pub took: Duration,
    /// The longest that one order waited meanwhile.
    pub waited: Duration,
    /// Requests that were answered with a failure in the end, in words.
    pub failed: Vec<String>,
}

impl Pause {
    pub fn json(&self) -> Value {
        let (took, waited) = (self.took.as_millis() as u64, self.waited.as_millis() as u64);
        json!({ "command_ms": took, "longest_order_ms": waited, "failed": self.failed.len() })
    }
}

impl Story<'_> {
    /// `hansactl region …`: whether it went well, and what it said.
    async fn region(&self, words: &[&str]) -> (bool, String) {
        let words = [&["region"], words].concat();
        let mut command = tokio::process::Command::from(self.league.ctl(&words));
        let output = command.output().await.expect("hansactl runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("hansactl {}\n{said}", words.join(" "));
        (output.status.success(), said)
    }

    /// Until clients are served by the next owner, by a command that may have to be repeated.
    async fn hand_over(&self, words: &[&str]) -> Pause {
        let began = Instant::now();
        loop {
            let (done, said) = self.region(&[words, &WHY].concat()).await;
            if done {
                break;
            }
            assert!(began.elapsed() < WITHIN, "{words:?}: {said}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = began.elapsed();
        self.customers.served(Instant::now(), WITHIN).await;
        let asked = self.customers.asked();
        let meanwhile = asked.iter().filter(|asked| asked.ended >= began);
        let waited = meanwhile.clone().map(|asked| asked.ended - asked.began).max();
        let failed = meanwhile.filter(|asked| asked.outcome.is_err());
        Pause {
            took,
            waited: waited.unwrap_or_default(),
            failed: failed.map(|asked| asked.said.clone()).collect(),
        }
    }

    /// To the other region of the jurisdiction and back; nobody may notice more than a pause.
    pub async fn planned(&self) -> [Pause; 2] {
        let there = self.hand_over(&["switchover", LOST, "--to", SURVIVOR]).await;
        let back = self.hand_over(&["failback", LOST]).await;
        for pause in [&there, &back] {
            assert!(pause.failed.is_empty(), "a planned hand-over failed: {pause:#?}");
        }
        [there, back]
    }

    /// All of a region's machines go at once; `alone` is how long it was cut off from its heir
    /// before, and went on.
    pub async fn kill(&mut self, network: &Network, alone: Duration) -> Instant {
        if !alone.is_zero() {
            network.cut_regions(LOST, SURVIVOR);
            tokio::time::sleep(alone).await;
        }
        self.league.kill_at_once(&self.league.names_in(LOST));
        let killed = Instant::now();
        network.heal();
        killed
    }

    /// Another region takes over, and clients follow.
    pub async fn take_over(&self, killed: Instant) -> Loss {
        let words = ["failover", LOST, "--to", SURVIVOR, "--confirm-stopped"];
        let (done, said) = self.region(&[&words[..], &WHY].concat()).await;
        assert!(done, "{said}");
        let owned = killed.elapsed();
        let served = self.customers.served(killed, WITHIN).await - killed;
        let told = self.told(SURVIVOR).await;
        // Not earlier: a last answer may have waited in its client's socket when it was lost.
        let known = self.known();
        let orders = self.missing(&known).await;
        let events = events_lost(&told);
        Loss { events, orders, known: known.len(), owned, served, ..Loss::default() }
    }

    /// Orders of the lost region that a client knows to be confirmed.
    fn known(&self) -> BTreeSet<String> {
        let orders = self.memory.orders().into_values().map(|order| order.name);
        let born_there = |name: &String| name.starts_with(&format!("regions/{LOST}/"));
        orders.chain(self.customers.confirmed()).filter(born_there).collect()
    }

    /// Those of them that the survivor does not have.
    async fn missing(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let mut missing = BTreeSet::new();
        for name in names {
            if !self.has(name).await {
                missing.insert(name.clone());
            }
        }
        missing
    }

    async fn has(&self, name: &str) -> bool {
        let began = Instant::now();
        loop {
            let mut door = self.league.doors.pick(&region(SURVIVOR), 0, 0).expect("a gateway");
            let ask = GetOrderRequest { order: name.to_owned(), ..GetOrderRequest::default() };
            let status = match door.storefront.orders.get_order(request(ask)).await {
                Ok(_) => return true,
                Err(status) => status,
            };
            let failure = Failure::from(&status);
            match failure.reason() {
                Reason::OrderNotFound | Reason::NoLawfulRegion => {
                    println!("{name} is not at {SURVIVOR}: {failure}");
                    return false;
                }
                _ => assert!(began.elapsed() < WITHIN, "{name}: {failure}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The lost region's machines run again, on their disks; it follows, and says what nobody saw.
    pub async fn come_back(&mut self, loss: &mut Loss, killed: Instant) {
        for node in self.league.names_in(LOST) {
            self.league.run(&node);
        }
        self.league.ready().await;
        loss.away = killed.elapsed();
        loss.tail = Box::pin(self.tail()).await;
        let known = self.known();
        let unheard =
            loss.tail.iter().map(|order| &order.order).filter(|name| !known.contains(*name));
        loss.unheard = unheard.cloned().collect();
        let listed: BTreeSet<&String> = loss.tail.iter().map(|order| &order.order).collect();
        let unlisted: Vec<_> = loss.orders.iter().filter(|name| !listed.contains(name)).collect();
        assert!(unlisted.is_empty(), "lost, and not in the tail: {unlisted:?}");
        for order in &loss.tail {
            println!("tail: {order:?}");
        }
    }

    /// Two people decide on what nobody saw: what a client knows goes on, what none heard of, and
    /// has asked for anew since, does not. Of an order that its new owner went on with nothing is
    /// given back, whatever was done with it here. One that changed meanwhile, by the answer to a
    /// step that was under way, is planned for anew.
    async fn decide(&self, loss: &Loss) {
        let plan = self.league.data.join("tail.json");
        let file = plan.to_str().expect("a path in UTF-8");
        let said = loss.tail.iter().filter_map(|of| match (of.adopted_version, of.proposed()) {
            (0, _) => loss.unheard.contains(&of.order).then_some(["--compensate", &of.order]),
            (_, TailAction::Unspecified) => Some(["--discard", &of.order]),
            _ => None,
        });
        let words = ["tail", "plan", LOST, "--reason", "a test", "--out", file];
        let words: Vec<&str> = words.into_iter().chain(said.flatten()).collect();
        let approve = ["tail", "approve", file, "--ticket", "OPS-7"];
        let began = Instant::now();
        loop {
            // A plan is not written over another.
            let _none = std::fs::remove_file(&plan);
            for step in [&words[..], &approve] {
                let (done, said) = self.region(step).await;
                assert!(done, "{step:?}: {said}");
            }
            let (done, said) = self.region(&["tail", "apply", file]).await;
            if done {
                return;
            }
            assert!(said.contains("the order has changed") && began.elapsed() < WITHIN, "{said}");
        }
    }

    pub async fn go_home(&self, loss: &mut Loss) {
        if !loss.tail.is_empty() {
            self.decide(loss).await;
        }
        loss.home = self.hand_over(&["failback", LOST]).await;
    }

    /// Once all of it is known.
    async fn tail(&self) -> Vec<TailOrder> {
        let began = Instant::now();
        while self.owner_by(LOST).await != SURVIVOR {
            assert!(began.elapsed() < WITHIN, "{LOST} has not heard who owns");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        loop {
            let mut door = self.league.doors.pick(&region(LOST), 0, 0).expect("a gateway");
            let (region, birth_region) = (LOST.to_owned(), LOST.to_owned());
            let ask = ListTailRequest { region, birth_region, max: 0 };
            let told = door.operator.region_loss.list_tail(request(ask)).await;
            let why = match told.map(tonic::Response::into_inner) {
                Ok(told) if told.groups_not_final.is_empty() && told.silent_nodes.is_empty() => {
                    return told.orders;
                }
                Ok(told) => format!("{told:?}"),
                Err(status) => said(&status),
            };
            assert!(began.elapsed() < WITHIN, "the tail is not final: {why}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn owner_by(&self, by: &str) -> String {
        let births = self.told(by).await.births.into_iter();
        let mut owners = births.filter(|of| of.birth_region == LOST).map(|of| of.owner_region);
        owners.next().unwrap_or_default()
    }

    async fn told(&self, by: &str) -> GetRegionLossResponse {
        let mut door = self.league.doors.pick(&region(by), 0, 0).expect("a gateway");
        let ask = GetRegionLossRequest { region: by.to_owned() };
        let told = door.operator.region_loss.get_region_loss(request(ask)).await;
        told.unwrap_or_else(|status| panic!("{}", said(&status))).into_inner()
    }
}

fn events_lost(told: &GetRegionLossResponse) -> u64 {
    let states = told.groups.iter().flat_map(|group| &group.births);
    let takeovers =
        states.filter(|of| of.birth == LOST).filter_map(|state| state.takeover.as_ref());
    takeovers.flat_map(|takeover| &takeover.lost).map(|of| of.upto.saturating_sub(of.after)).sum()
}

fn region(name: &str) -> hansa_types::region::RegionName {
    name.parse().expect("a region name")
}

fn request<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

fn said(status: &Status) -> String {
    Failure::from(status).to_string()
}
