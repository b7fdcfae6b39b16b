//! Four regions of one process each, with wires between them that can be cut, and an operator who
//! reaches them all.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hansa::config::Config;
use hansa::replay::doors::Door;
use hansa_api::first_sent;
use hansa_api::pb::admin::GetRegionLossRequest;
use hansa_api::pb::order::{GetOrderRequest, Order, OrderState, PlaceOrderRequest, ReadMode};
use hansa_api::status::Failure;
use hansa_tests::copies::converge;
use hansa_tests::links::Links;
use hansa_tests::processes::{Processes, Shape};
use hansa_tests::{metrics, request, suite};
use serde_json::Value;
use tokio::time::Instant;
use tonic::Request;

/// Who is cut off and lives.
pub const CUT: &str = "eu-west";
pub const HEIR: &str = "eu-central";
pub const OTHERS: [&str; 3] = [HEIR, "us-east", "ap-south"];
pub const WITHIN: Duration = Duration::from_secs(120);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SKU: &str = "THING";
const WHY: [&str; 4] = ["--reason", "a cable in the sea", "--ticket", "INC-3"];

pub struct Rig {
    league: Processes,
    pub links: Links,
}

/// How far a peer is behind, as its region says it: by metrics, and by `replication status`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    pub events: f64,
    pub seconds: f64,
}

/// Looks until `done` says so.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < WITHIN, "not within {WITHIN:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A number as JSON has it; what is left out is 0.
pub fn number(value: &Value) -> f64 {
    value.as_str().map_or(value.as_f64(), |text| text.parse().ok()).unwrap_or_default()
}

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 584 million")
}

/// Of a country, for a thing that is on every shelf.
fn wish(country: &str) -> PlaceOrderRequest {
    let mut wish = request::order(&request::id(), vec![request::line(SKU, 1)]);
    country.clone_into(&mut wish.residence_country);
    wish
}

impl Rig {
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    pub async fn start_with(name: &str, change: impl Fn(&mut Config)) -> Self {
        let quick = hansa_consensus::Profile::Quick;
        let shape = Shape::of_regions(name, 4).nodes(1);
        let mut shape = shape.with(|config| {
            config.log.profile = quick;
            change(config);
        });
        let links = Links::lay(&mut shape.configs).await;
        let rig = Self { league: shape.start().await, links };
        for region in [CUT, HEIR, "us-east"] {
            let load = request::receive(region, SKU, 1_000);
            let stocked = request::asked(|| {
                let (mut door, load) = (rig.door(region), load.clone());
                async move { door.warehouse.inventory.receive_stock(load).await }
            });
            stocked.await.expect("stock");
        }
        rig
    }

    fn door(&self, at: &str) -> Door {
        self.league.doors.pick(&at.parse().expect("a name"), 0, 0).expect("a gateway")
    }

    /// Asks a region's gateway once.
    pub async fn ask(
        &self,
        at: &str,
        wish: &PlaceOrderRequest,
        sent_ms: u64,
    ) -> Result<Order, Failure> {
        let mut call = Request::new(wish.clone());
        call.set_timeout(CALL_TIMEOUT);
        first_sent::put(call.metadata_mut(), sent_ms);
        let answer = self.door(at).storefront.orders.place_order(call).await;
        suite::call(answer.is_err());
        let answer = answer.map_err(|status| Failure::from(&status))?;
        Ok(answer.into_inner().order.expect("an order"))
    }

    /// A new order of a German, asked for once and now.
    pub async fn asked_now(&self, at: &str) -> Result<Order, Failure> {
        self.ask(at, &wish("DE"), now_ms()).await
    }

    /// Confirmed orders that a region's gateway was asked for, by requests that are surely new.
    pub async fn placed(&self, at: &str, country: &str, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            let (wish, began) = (wish(country), Instant::now());
            loop {
                match self.ask(at, &wish, now_ms() + 60_000).await {
                    Ok(order) if order.state() == OrderState::Confirmed => {
                        names.push(order.name);
                        break;
                    }
                    other => assert!(began.elapsed() < WITHIN, "{other:?}"),
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        names
    }

    pub async fn read(&self, at: &str, order: &str, read: ReadMode) -> Result<Order, Failure> {
        let mut call = Request::new(GetOrderRequest { order: order.into(), read: read.into() });
        call.set_timeout(CALL_TIMEOUT);
        let answer = self.door(at).storefront.orders.get_order(call).await;
        let answer = answer.map_err(|status| Failure::from(&status))?;
        Ok(answer.into_inner().order.expect("an order"))
    }

    pub async fn is_confirmed(&self, at: &str, order: &str, read: ReadMode) {
        eventually(&format!("{order} is confirmed at {at}"), async || {
            let now = self.read(at, order, read).await;
            now.is_ok_and(|order| order.state() == OrderState::Confirmed)
        })
        .await;
    }

    /// `hansactl` at a region: its exit code, and all that it said.
    pub async fn ctl(&self, at: &str, words: &[&str]) -> (Option<i32>, String) {
        let words = [&["--region", at], words].concat();
        let mut tool = tokio::process::Command::from(self.league.ctl(&words));
        let output = tool.output().await.expect("hansactl runs");
        let (out, err) = (&output.stdout, &output.stderr);
        let said = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        (output.status.code(), said)
    }

    /// The same, of which only what it prints counts, as JSON.
    async fn told(&self, at: &str, words: &[&str]) -> Value {
        let words = [&["--region", at, "-o", "json"], words].concat();
        let mut tool = tokio::process::Command::from(self.league.ctl(&words));
        let output = tool.output().await.expect("hansactl runs");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    pub async fn failover(&self, more: &[&str]) -> (Option<i32>, String) {
        self.ctl(HEIR, &[&["region", "failover", CUT, "--to", HEIR], more, &WHY].concat()).await
    }

    /// Who owns what was born in the region that is cut off, as one region tells, and in which
    /// epoch.
    pub async fn owner_by(&self, at: &str) -> Option<(String, u64)> {
        let mut call = Request::new(GetRegionLossRequest { region: at.to_owned() });
        call.set_timeout(CALL_TIMEOUT);
        let told = self.door(at).operator.region_loss.get_region_loss(call).await.ok()?;
        let of = told.into_inner().births.into_iter().find(|of| of.birth_region == CUT)?;
        Some((of.owner_region, of.epoch))
    }

    /// Of the stream from one region to another, as the metrics port says it.
    pub async fn lag_metric(&self, from: &str, to: &str) -> Option<Lag> {
        let at = self.league.config(&format!("{from}-1")).listen.metrics;
        let page = metrics::page(at).await?;
        let peer = format!("peer=\"{to}\"");
        let value = |name: &str| {
            let mut values = page.values(name).filter(|(labels, _)| labels.contains(&peer));
            values.next().map(|(_, value)| value)
        };
        let events = value("hansa_orders_replication_lag_events")?;
        Some(Lag { events, seconds: value("hansa_orders_replication_lag_seconds")? })
    }

    /// The same as `replication status` has it, and the stream with all that is said of it.
    pub async fn lag_status(&self, from: &str, to: &str) -> Option<(Lag, Value)> {
        let told = self.told(from, &["replication", "status"]).await;
        let mut streams = told["outgoing"].as_array()?.iter();
        let stream = streams.find(|stream| stream["peer"] == to)?.clone();
        let seconds = number(&stream["lagMs"]) / 1e3;
        Some((Lag { events: number(&stream["lagEvents"]), seconds }, stream))
    }

    /// How stale a region's copies of another's orders may be.
    pub async fn stale(&self, at: &str, origin: &str) -> Option<Duration> {
        let told = self.told(at, &["replication", "status"]).await;
        let mut streams = told["incoming"].as_array()?.iter();
        let stream = streams.find(|stream| stream["origin"] == origin)?;
        stream.get("currentAsOf")?;
        Some(Duration::from_millis(number(&stream["lagMs"]) as u64))
    }

    /// Waits until a peer has all of a region's orders, as the region says in both ways.
    pub async fn level(&self, from: &str, to: &str) {
        let none = Lag { events: 0.0, seconds: 0.0 };
        let mut last = String::new();
        let level = async || {
            let (metric, status) =
                (self.lag_metric(from, to).await, self.lag_status(from, to).await);
            last = format!("{metric:?} {status:?}");
            let Some((lag, stream)) = status else { return false };
            let last = number(&stream["lastSequence"]);
            let all = last > 0.0 && last == number(&stream["acknowledgedSequence"]);
            metric == Some(none) && lag == none && all && stream["connected"] == true
        };
        eventually(&format!("{to} has all of {from}'s orders"), level).await;
    }

    /// What the region that was cut off has and its heir never saw, once that is final.
    pub async fn tail(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        eventually("the tail is listed to its end", async || {
            let told = self.told(CUT, &["region", "tail", CUT]).await;
            let orders = told["orders"].as_array().cloned().unwrap_or_default();
            let name = |of: &Value| of["order"].as_str().unwrap_or_default().to_owned();
            names = orders.iter().map(name).collect();
            let open = |key: &str| told[key].as_array().is_some_and(|all| !all.is_empty());
            told.is_object() && !open("groupsNotFinal") && !open("silentNodes")
        })
        .await;
        names
    }

    /// Two people decide on all of a tail: these orders go on, the rest is as it is proposed.
    pub async fn decide(&self, adopted: &[String]) {
        let file = self.league.data.join("tail.json");
        let file = file.to_str().expect("a path in UTF-8");
        let plan = ["region", "tail", "plan", CUT, "--reason", "cut off", "--out", file];
        let adopt = adopted.iter().flat_map(|name| ["--adopt", name.as_str()]);
        let plan: Vec<&str> = plan.into_iter().chain(adopt).collect();
        let steps: [&[&str]; 4] = [
            &plan,
            &["region", "tail", "approve", file, "--ticket", "OPS-3"],
            &["region", "tail", "apply", file],
            &["region", "tail", CUT],
        ];
        // What changes by an answer that was still under way is planned for anew.
        eventually("all of the tail is decided on", async || {
            let _none = std::fs::remove_file(file);
            for step in steps {
                let (code, said) = self.ctl(CUT, step).await;
                if code != Some(0) {
                    eprintln!("{step:?}: {code:?}: {said}");
                    return false;
                }
            }
            true
        })
        .await;
    }

    pub async fn go_home(&self) {
        let words = [&["region", "failback", CUT], &WHY[..]].concat();
        eventually("it is home again", async || {
            let (code, said) = self.ctl(CUT, &words).await;
            if code != Some(0) {
                eprintln!("failback: {code:?}: {said}");
            }
            code == Some(0)
        })
        .await;
    }

    /// All copies equal their homes, by digests made from now on, and all books hold.
    pub async fn sound(&self) {
        converge(&self.league, WITHIN).await;
        let settled = hansa::invariants::settle(&self.league.doors, WITHIN).await;
        assert!(settled.all_held(), "{}", settled.lines().join("\n"));
        suite::checked("invariants", settled.checked());
        suite::publish();
    }
}
