//! Copies at a peer that nobody shipped, or that never came: found, repaired by two people, gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::pb::order::{Order, OrderState};
use hansa_consensus::Group;
use hansa_orders::core::command::Command;
use hansa_orders::core::remote::{Batch, Copy, Origin, Refill, RemoteEvent, RemoteStep};
use hansa_orders::machine::OrdersMachine;
use hansa_types::id::{OrderId, OrderName};
use serde_json::Value;
use tokio::time::Instant;

use crate::rig::{PEER, Placed, Rig, eventually, text};
use crate::{classes, counted, reconcile};

/// Events that the peer believes to have.
const AHEAD: u64 = 60;

/// The peer's orders.
struct Peer(Vec<Group<OrdersMachine>>);

fn id(order: &Order) -> OrderId {
    order.name.parse::<OrderName>().unwrap().id
}

impl Peer {
    fn new(rig: &Rig) -> Self {
        let nodes = rig.nodes_of(PEER).filter_map(|node| node.orders());
        Self(nodes.flat_map(|orders| orders.machines().cloned().collect::<Vec<_>>()).collect())
    }

    /// What a replica has, once it has it.
    async fn copy(&self, order: OrderId) -> Copy {
        for _ in 0..400 {
            let of = |machine: &OrdersMachine| machine.state.remote.copies.get(&order).cloned();
            if let Some(copy) = self.0.iter().find_map(|group| group.peek(of)) {
                return copy;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{order} was never copied");
    }

    async fn submit(&self, command: Command) {
        let bytes = Bytes::from(command.encode());
        for _ in 0..400 {
            for group in &self.0 {
                let due = Instant::now() + Duration::from_secs(5);
                if group.submit(bytes.clone(), due).await.is_ok() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody leads");
    }

    /// As if its home had shipped this copy again.
    async fn plant(&self, order: OrderId, copy: Copy) {
        let Copy { origin, sequence, version, view, shown, forks, .. } = copy;
        let event = RemoteEvent { sequence, order, version, view, shown, forks, fault: None };
        let lowered = 0;
        let refill = Refill { origin, sweep: None, lowered, held: None, events: vec![event] };
        self.submit(Command::Remote(RemoteStep::Refill(Box::new(refill)))).await;
    }

    /// Whatever the origin says next the peer takes for known, for so many events; until which.
    async fn run_ahead(&self, origin: Origin) -> u64 {
        let applied = |machine: &OrdersMachine| {
            machine.state.remote.cursors.get(&origin).map_or(0, |cursor| cursor.applied)
        };
        let after = self.0.iter().map(|group| group.peek(applied)).max().unwrap();
        let (upto, current_as_of_ms, events) = (after + AHEAD, None, Vec::new());
        let batch = Batch { origin, after, upto, current_as_of_ms, events };
        self.submit(Command::ApplyRemote(Box::new(batch))).await;
        upto
    }

    /// Every copy, by order.
    async fn all(&self) -> BTreeMap<OrderId, (u64, Bytes)> {
        let of = |machine: &OrdersMachine| {
            let copies = machine.state.remote.copies.iter();
            copies.map(|(order, copy)| (*order, (copy.version, copy.view.clone()))).collect()
        };
        let mut all = Vec::new();
        // Followers hear a moment later.
        eventually("its replicas have the same", || {
            all = self.0.iter().map(|group| group.peek(of)).collect();
            let same = all.windows(2).all(|two: &[BTreeMap<_, _>]| two[0] == two[1]);
            std::future::ready(same)
        })
        .await;
        all.remove(0)
    }
}

async fn json(rig: &Rig, words: &[&str]) -> (Option<i32>, Value) {
    let output = rig.ctl(&[&["-o", "json"], words].concat()).await;
    let told = serde_json::from_slice(&output.stdout);
    let told = told.unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (output.status.code(), told)
}

/// The one stream from home to the peer.
async fn stream(rig: &Rig) -> (Option<i32>, Value) {
    let (code, told) = json(rig, &["replication", "status"]).await;
    let streams = told["outgoing"].as_array().cloned().unwrap_or_default();
    (code, streams.first().cloned().unwrap_or_default())
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

async fn placed(rig: &Rig) -> Order {
    let order = rig.place_new().await.unwrap();
    let known = Placed { request: Default::default(), name: order.name.clone(), version: 0 };
    rig.all_decided(&[known]).await;
    rig.get(&order.name).await
}

async fn cancelled(rig: &Rig, order: &Order) -> Order {
    let told = rig.ctl(&["order", "cancel", &order.name]).await;
    assert!(told.status.success(), "{}", text(&told));
    eventually("it is cancelled", || async {
        rig.get(&order.name).await.state() == OrderState::Cancelled
    })
    .await;
    rig.get(&order.name).await
}

/// Compared with the peer since: what a run finds in the end.
async fn copies_differ(rig: &Rig, expected: &[(&str, usize)]) {
    let expected = classes(expected);
    eventually("the comparison", || async {
        let (code, found) = counted(rig, &["--settle", "1s"]).await;
        eprintln!("{code:?} {found:?}");
        found == expected && code == Some(if expected.is_empty() { 0 } else { 1 })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_that_differ_are_found_shipped_again_and_equal() {
    let rig = Rig::start_with("copies", |config| config.orders.replicate.compare_ms = 300).await;
    let (parked, stale, conflicting) = (placed(&rig).await, placed(&rig).await, placed(&rig).await);
    copies_differ(&rig, &[]).await;
    let (code, clean) = stream(&rig).await;
    assert_eq!((code, number(&clean["differences"])), (Some(0), 0), "{clean}");
    let none = rig.ctl(&["replication", "differences"]).await;
    assert!(none.status.success() && text(&none).contains("no differences"), "{}", text(&none));

    let peer = Peer::new(&rig);
    let known = peer.copy(id(&parked)).await;
    let other = peer.copy(id(&conflicting)).await.view;
    // Another content of a version that is here, and an order of nobody.
    peer.plant(id(&parked), Copy { view: other.clone(), ..known.clone() }).await;
    let ghost = OrderId::new(id(&parked).born(), known.origin.region, id(&parked).slot(), 77);
    peer.plant(ghost, known.clone()).await;
    let upto = peer.run_ahead(known.origin).await;
    cancelled(&rig, &stale).await;
    let version = cancelled(&rig, &conflicting).await.version;
    peer.plant(id(&conflicting), Copy { version, view: other, ..known }).await;
    // Whole orders pass it by, until it hears again.
    let mut passed = vec![placed(&rig).await];
    while number(&stream(&rig).await.1["lastSequence"]) <= upto {
        passed.push(placed(&rig).await);
    }
    let last = placed(&rig).await;
    peer.copy(id(&last)).await;
    let here = peer.all().await;
    let missing = passed.iter().filter(|order| !here.contains_key(&id(order))).count();
    assert!(missing > 0, "the peer believed to have {AHEAD} events");

    let planted =
        [("COPY_CONFLICTING", 1), ("COPY_EXTRA", 1), ("COPY_MISSING", missing), ("COPY_STALE", 1)];
    copies_differ(&rig, &planted).await;
    the_tool_lists_them(&rig, &[&stale, &passed[0], &conflicting]).await;
    two_people_have_them_shipped_again(&rig, missing + 1).await;
    // What has no safe repair is a person's.
    copies_differ(&rig, &[("COPY_CONFLICTING", 1), ("COPY_EXTRA", 1)]).await;
    let repaired = peer.all().await;
    let again = reconcile(&rig, &["apply", "copies.json"]).await;
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    copies_differ(&rig, &[("COPY_CONFLICTING", 1), ("COPY_EXTRA", 1)]).await;
    assert_eq!(peer.all().await, repaired, "a repeat changes nothing");
    what_waits_is_decided(&rig, &parked).await;
    rig.stop().await;
}

async fn the_tool_lists_them(rig: &Rig, orders: &[&Order]) {
    let (code, told) = stream(rig).await;
    assert_eq!((code, number(&told["parkedAtPeer"])), (Some(1), 1), "{told}");
    let listed = rig.ctl(&["replication", "differences", "--peer", PEER]).await;
    assert_eq!(listed.status.code(), Some(1), "{}", text(&listed));
    for (order, kind) in orders.iter().zip(["stale", "missing", "conflicting"]) {
        let said = text(&listed);
        let line = said.lines().find(|line| line.contains(&order.name)).unwrap_or_default();
        assert!(line.contains(kind), "{} is {kind}: {said}", order.name);
    }
    assert!(text(&listed).contains("extra"), "{}", text(&listed));
    let elsewhere = rig.ctl(&["replication", "differences", "--peer", "ap-south"]).await;
    assert!(!text(&elsewhere).contains(&orders[0].name), "{}", text(&elsewhere));
}

async fn two_people_have_them_shipped_again(rig: &Rig, repairs: usize) {
    let words = ["plan", "--reason", "a cursor ran ahead", "--out", "copies.json"];
    let planned = reconcile(rig, &words).await;
    assert_eq!(planned.status.code(), Some(1), "{}", text(&planned));
    for class in ["copy extra", "copy conflicting"] {
        assert!(text(&planned).contains(&format!("needs a person: {class}")), "{}", text(&planned));
    }
    let approved = reconcile(rig, &["approve", "copies.json", "--ticket", "OPS-8"]).await;
    assert!(approved.status.success(), "{}", text(&approved));
    let applied = reconcile(rig, &["apply", "copies.json"]).await;
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    let done = format!("{repairs} of {repairs} done");
    assert!(text(&applied).contains(&done), "{done}: {}", text(&applied));
}

/// The event of which the peer has another content waits there until somebody says which it is.
async fn what_waits_is_decided(rig: &Rig, order: &Order) {
    let listed = rig.ctl_at(PEER, &["replication", "parked"]).await;
    assert_eq!(listed.status.code(), Some(1), "{}", text(&listed));
    assert!(text(&listed).contains(&order.name) && text(&listed).contains("CONFLICT"));
    let mine = ["replication", "resolve", &order.name, "--keep", "mine", "--reason", "a test"];
    let resolved = rig.ctl_at(PEER, &mine).await;
    assert!(resolved.status.success(), "{}", text(&resolved));
    let none = rig.ctl_at(PEER, &["replication", "parked"]).await;
    assert!(none.status.success() && text(&none).contains("nothing is parked"), "{}", text(&none));
    let retried = rig.ctl_at(PEER, &["replication", "retry", &order.name]).await;
    assert!(!retried.status.success(), "nothing waits any more: {}", text(&retried));
}
