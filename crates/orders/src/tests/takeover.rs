//! A region is lost after a part of its orders was shipped; another goes on with them, and the lost
//! one comes back as its follower.

pub(super) mod again;
mod erased;
mod given_back;
mod handed;
mod on_the_way;
mod passed_over;
mod rehomed;
mod watched;
mod withdrawn;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use hansa_api::convert::id::order_to_bytes;
use hansa_api::first_sent;
use hansa_api::pb::admin;
use hansa_api::pb::inventory as stock;
use hansa_api::pb::inventory::inventory_service_server::InventoryService;
use hansa_api::pb::node as births;
use hansa_api::pb::node::node_takeover_service_server::NodeTakeoverService;
use hansa_api::pb::order as wire;
use hansa_api::pb::order::order_service_server::OrderService;
use hansa_api::pb::payment as pay;
use hansa_api::pb::payment::payment_service_server::PaymentService;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::{eventually, soon};
use hansa_reconcile::tree::{FORMAT, Tree};
use hansa_region_router::core::directory::{Drain, Kind, Ownership, OwnershipRecord, Proof};
use hansa_types::id::{GroupId, GroupKind, NodeId, OrderName};
use hansa_types::region::RegionNumber;
use tokio::time::Instant;

use super::regions::serve;
use super::rig::{Node, Rig, call, gbp, order};
use super::views::{Pair, policy};
use crate::core::order::Stock;
use crate::core::takeover::Phase;
use crate::crosscheck::{Finding, Rule, Verdict};
use crate::takeover::NodeTakeover;

fn number(n: u16) -> RegionNumber {
    RegionNumber::try_from(n).unwrap()
}

impl Rig {
    /// Every node of the region learns who owns eu-west's births from now on.
    pub(super) fn owned_by(&self, owner: u16, epoch: u64, kind: Kind) {
        self.births_owned_by(1, (owner, epoch), kind);
    }

    fn births_owned_by(&self, birth: u16, (owner, epoch): (u16, u64), kind: Kind) {
        let birth = number(birth);
        for node in self.nodes.values() {
            let mut now = (*node.book.now().unwrap()).clone();
            let record = OwnershipRecord {
                birth,
                owner: number(owner),
                epoch,
                ends: epoch - 1,
                kind,
                confirmed_stopped: true,
                reason: "lost".into(),
                ticket: "T-1".into(),
                time_ms: node.orders.shell().env.clock.wall().ms(),
                by: "spiffe://hansa/client/ada".into(),
                proof: Proof::default(),
            };
            now.owners.insert(birth, Ownership { owner: number(owner), epoch });
            now.records.insert(birth, record);
            now.draining.clear();
            now.version += 1;
            node.book.publish(now);
        }
    }

    fn draining(&self, to: u16, epoch: u64) {
        for node in self.nodes.values() {
            let mut now = (*node.book.now().unwrap()).clone();
            now.draining.insert(number(1), Drain { to: number(to), epoch, since: now.version });
            now.version += 1;
            node.book.publish(now);
        }
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        let node = self.nodes.values().next()?;
        let shell = node.orders.shell();
        let row =
            |m: &crate::machine::OrdersMachine| m.state.births.get(number(1)).map(|row| row.phase);
        shell.groups[&0].group.peek(row)
    }
}

fn takeover(node: &Node) -> NodeTakeover {
    NodeTakeover { shell: node.orders.shell() }
}

/// Sent for the first time long after any record.
fn dated<T>(message: T) -> tonic::Request<T> {
    let mut request = call(message);
    first_sent::put(request.metadata_mut(), u64::MAX);
    request
}

async fn shown(node: &Node, name: &str) -> wire::Order {
    let get = wire::GetOrderRequest { order: name.into(), ..Default::default() };
    node.service.get_order(call(get)).await.unwrap().into_inner().order.unwrap()
}

/// Waits until everything that home has is abroad, in full.
pub(super) async fn shipped(pair: &Pair, orders: usize) {
    let seq = || {
        let shell = pair.here().orders.shell();
        shell.groups[&0].group.peek(|m| m.state.meta.seq)
    };
    eventually("all is shipped", || {
        let lags = pair.here().orders.lags();
        let level = lags.iter().any(|(peer, _, lag)| {
            peer.as_str() == "us-east" && lag.connected && lag.acknowledged == seq()
        });
        let full = |view: &bytes::Bytes| {
            use prost::Message as _;
            let view = hansa_api::pb::replication::OrderView::decode(view.clone()).unwrap();
            view.sealed.is_some() && view.succession.is_some()
        };
        let views = pair.views();
        level && views.len() == orders && views.iter().all(full)
    })
    .await;
}

/// The follower's stream back: from the survivor to who was lost.
pub(super) async fn reconnect(pair: &Pair) {
    let back = serve(&pair.home, NodeId(1)).await;
    pair.away().peers.set_gateways("eu-west".parse().unwrap(), vec![back]);
    let gateway = vec![pair.address.clone()];
    pair.here().peers.set_gateways("us-east".parse().unwrap(), gateway);
}

async fn allocated(rig: &Rig) {
    eventually("every order has its stock here", || {
        let shell = rig.nodes.values().next().unwrap().orders.shell();
        shell.groups[&0].group.peek(|m| {
            m.state.orders.iter().all(|(_, order)| {
                order.closed() && order.parts.iter().all(|part| part.stock == Stock::Committed)
            })
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_a_lost_region_go_on_elsewhere_and_it_comes_back_as_a_follower() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let mut names = Vec::new();
    for n in 1..=3 {
        let placed = pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
        names.push(placed.order.unwrap().name);
    }
    shipped(&pair, 3).await;
    // Cut off; it goes on, and takes an order that nobody else will hear of.
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    allocated(&pair.abroad).await;
    let away = pair.away();
    assert_eq!(pair.abroad.books.0.lock().opened.len(), 3);

    let first = shown(away, &names[0]).await;
    assert_eq!(first.state(), wire::OrderState::Confirmed);
    assert_eq!((first.home_region.as_str(), first.epoch), ("us-east", 2));
    assert_eq!(first.customer_id, "c-1", "his block opens here");
    // A repeat of what was granted there is answered as there; what nobody knows is in doubt.
    let again = pair.abroad.place(&order("r-1")).await.unwrap();
    assert!(again.replayed && again.order.unwrap().name == names[0]);
    let mut other = order("r-1");
    other.client_reference = "INV-2".into();
    let reused = pair.abroad.place(&other).await.unwrap_err();
    assert_eq!(reused.reason(), Reason::RequestIdReused);
    let unknown = pair.abroad.place(&order("r-9")).await.unwrap_err();
    assert_eq!(unknown.reason(), Reason::RequestInDoubt, "{unknown}");
    let new = away.service.place_order(dated(order("r-9"))).await.unwrap().into_inner();
    let new = new.order.unwrap();
    assert!(new.name.starts_with("regions/eu-west/orders/"), "{}", new.name);
    assert_eq!(new.state(), wire::OrderState::Confirmed);

    let cancel = wire::CancelOrderRequest {
        order: names[1].clone(),
        request_id: "c-1".into(),
        ..Default::default()
    };
    let gone = away.service.cancel_order(dated(cancel)).await.unwrap().into_inner();
    assert_eq!(gone.order.unwrap().state(), wire::OrderState::Cancelled);
    let refund = pay::RefundPaymentRequest {
        order: names[2].clone(),
        request_id: "b-1".into(),
        amount: gbp(150),
        ..Default::default()
    };
    away.service.refund_payment(dated(refund)).await.unwrap();
    eventually("paid back", || pair.abroad.books.0.lock().refunded == 700 + 150).await;
    pair.abroad.at_rest().await;
    leaks_are_found(&pair.abroad).await;

    // The lost region is back.
    let tail = pair.home.place(&order("r-4")).await.unwrap().order.unwrap().name;
    pair.home.owned_by(2, 2, Kind::Failover);
    eventually("it follows", || matches!(pair.home.phase(), Some(Phase::Elsewhere { .. }))).await;
    let here = pair.here();
    let refused = here.service.place_order(call(order("r-5"))).await.unwrap_err();
    assert_eq!(Failure::from(&refused).reason(), Reason::WrongRegion);
    reconnect(&pair).await;
    let local = |name: &str| wire::GetOrderRequest {
        order: name.into(),
        read: wire::ReadMode::LocalCopy.into(),
    };
    eventually("its copies come", || {
        let shell = here.orders.shell();
        shell.groups[&0].group.peek(|m| m.state.remote.copies.len()) == 4
    })
    .await;
    let copy = here.service.get_order(call(local(&names[1]))).await.unwrap().into_inner();
    let copy = copy.order.unwrap();
    assert_eq!((copy.state(), copy.epoch), (wire::OrderState::Cancelled, 2));
    decide(here, &tail).await;
    assert_eq!(pair.home.books.0.lock().refunded, 700, "and no other charge was touched");
    eventually("what it held is given back", || {
        let given = |phase| matches!(phase, Some(Phase::Elsewhere { given_back: true, .. }));
        given(pair.home.phase())
    })
    .await;
    rests(&pair, &tail).await;
    for (group, broken) in here.orders.invariants(10) {
        assert!(broken.is_empty(), "{group}: {broken:?}");
    }
}

/// What is held for orders that were taken over is looked at like what is held for the region's
/// own.
async fn leaks_are_found(rig: &Rig) {
    let books = rig.books.0.lock().holds.clone();
    rig.books.0.lock().holds.values_mut().for_each(|(_, state)| *state = "held");
    let mut findings = rig.leader().await.orders.cross_check(soon()).await;
    findings.retain(|finding| finding.rule == Rule::HoldsBelong);
    let violated = |finding: &Finding| matches!(finding.verdict, Verdict::Violated(_));
    assert!(!findings.is_empty() && findings.iter().all(violated), "{findings:?}");
    rig.books.0.lock().holds = books;
}

/// What was given back of an order with which nobody goes on is shown where its births are again,
/// to who reads, watches or repeats.
async fn rests(pair: &Pair, name: &str) {
    let here = pair.here();
    again::moved(&pair.abroad, &pair.home, 3).await;
    let order = shown(here, name).await;
    let payment = order.payment.clone().unwrap();
    assert_eq!(order.payment_state(), wire::PaymentState::Refunded);
    assert_eq!((payment.captured, payment.refunded), (gbp(700), gbp(700)));
    let asked = pay::GetPaymentRequest { order: name.into() };
    let paid = here.service.get_payment(call(asked)).await.unwrap().into_inner().payment.unwrap();
    assert_eq!((paid.state(), paid.refunded), (order.payment_state(), gbp(700)));
    let again = pair.home.place(&super::rig::order("r-4")).await.unwrap();
    assert_eq!((again.replayed, again.order.unwrap().version), (true, order.version));
    let watch = wire::WatchOrderRequest { order: name.into(), ..Default::default() };
    let mut events = here.service.watch_order(call(watch)).await.unwrap().into_inner();
    loop {
        let item = events.next().await.unwrap().unwrap().item.unwrap();
        let wire::watch_order_response::Item::Event(event) = item else { panic!("{item:?}") };
        if event.sequence == order.version {
            assert_eq!(event.kind(), wire::OrderEventKind::Refunded);
            return;
        }
    }
}

/// The one order that only the former owner knows is listed, and given back by two people's word.
async fn decide(here: &Node, tail: &str) {
    let asked = || births::ListNodeTailRequest { birth: "eu-west".into(), max: 10 };
    let end = soon();
    let listed = loop {
        let listed = takeover(here).list_node_tail(call(asked())).await.unwrap().into_inner();
        if listed.not_final.is_empty() {
            break listed;
        }
        assert!(Instant::now() < end, "the new owner's stream is never heard to its end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(
        listed.orders.len(),
        1,
        "{:?}",
        listed.orders.iter().map(|o| &o.order).collect::<Vec<_>>()
    );
    let found = &listed.orders[0];
    assert_eq!((found.order.as_str(), found.adopted_version), (tail, 0));
    assert_eq!(found.proposed(), births::TailAction::Compensate);
    assert!(!found.events.is_empty() && found.captured_minor == 700);
    let id = order_to_bytes(tail.parse::<OrderName>().unwrap().id);
    let entry = |number, order_hash| {
        let action = births::TailAction::Compensate.into();
        let action = Some(admin::repair::Action::DecideTail(admin::DecideTail { action }));
        let order_id = id.clone();
        let found = admin::FoundDifference {
            order: found.order.clone(),
            order_id,
            order_hash,
            order_version: found.version,
            amount_minor: found.captured_minor,
            ..Default::default()
        };
        let (difference, repair) = (Some(found), Some(admin::Repair { action }));
        admin::PlanEntry { number, difference, repair, why: "nobody else knows it".into() }
    };
    let header = admin::PlanHeader {
        format: FORMAT,
        region: "eu-west".into(),
        planned_by: "ada".into(),
        reason: "it was cut off".into(),
        entries: 2,
        ..Default::default()
    };
    let entries = vec![entry(1, found.hash.clone()), entry(2, format!("{:032x}", 7))];
    let plan = admin::ReconcilePlan { header: Some(header), entries, hash: String::new() };
    let tree = Tree::of(&plan).unwrap();
    let (hash, group) = (Bytes::copy_from_slice(&tree.hash()), GroupId::new(GroupKind::Orders, 0));
    let proposed = admin::ProposePlanRequest {
        plan: hash.clone(),
        header: plan.header.clone(),
        proof: tree.proof(0),
        ..Default::default()
    };
    here.orders.propose_plan(group, "ada", &proposed, end).await.unwrap();
    let ticket = "T-2".to_owned();
    let approved = admin::ApprovePlanRequest { plan: hash.clone(), ticket, ..Default::default() };
    let apply = |n: u32| {
        let asked = admin::ApplyRepairRequest {
            plan: hash.clone(),
            entries: 2,
            entry: Some(plan.entries[n as usize - 1].clone()),
            proof: tree.proof(n),
            ..Default::default()
        };
        async move { here.orders.apply_repair(group, "ada", &asked, end).await }
    };
    let alone = here.orders.approve_plan(group, "ada", &approved, end).await.unwrap_err();
    assert_eq!(alone.reason(), Reason::PermissionDenied);
    assert_eq!(apply(1).await.unwrap_err().reason(), Reason::FailedPrecondition);
    here.orders.approve_plan(group, "bob", &approved, end).await.unwrap();
    assert_eq!(apply(2).await.unwrap().state(), admin::RepairState::Stale, "not what was listed");
    eventually_done(|| apply(1)).await;
    eventually("carried out", || {
        let shell = here.orders.shell();
        shell.groups[&0].group.peek(|m| {
            m.state.births.tail.iter().all(|(_, row)| row.end.is_some())
                && !m.state.births.tail.is_empty()
        })
    })
    .await;
}

/// The same entry over and over, until what was charged is given back.
async fn eventually_done<Fut>(apply: impl Fn() -> Fut)
where
    Fut: Future<Output = Result<admin::RepairRecord, Failure>>,
{
    let end = soon();
    loop {
        let record = apply().await.unwrap();
        if record.state() == admin::RepairState::Done {
            return;
        }
        assert_eq!(record.state(), admin::RepairState::Running, "{record:?}");
        assert!(Instant::now() < end, "never done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_change_loses_nothing_doubts_nothing_and_can_be_taken_back() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let name = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    pair.home.draining(2, 1);
    eventually("drained", || matches!(pair.home.phase(), Some(Phase::Drained { .. }))).await;
    let waits = pair.here().service.place_order(call(order("r-2"))).await.unwrap_err();
    assert_eq!(Failure::from(&waits).reason(), Reason::HomeMoving);
    let service = takeover(pair.here());
    let asked = call(births::GetNodeTakeoverRequest {});
    let told = service.get_node_takeover(asked).await.unwrap().into_inner();
    let last = told.groups[0].births.iter().find(|row| row.birth == "eu-west").unwrap();
    assert_eq!(last.phase(), births::BirthPhase::Drained);
    eventually("shipped to the last sequence", || {
        let shell = pair.away().orders.shell();
        shell.groups[&0]
            .group
            .peek(|m| m.state.remote.cursors.iter().any(|(_, at)| at.applied >= last.last_sequence))
    })
    .await;
    pair.abroad.owned_by(2, 2, Kind::Switchover);
    pair.home.owned_by(2, 2, Kind::Switchover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    allocated(&pair.abroad).await;
    assert_eq!(shown(pair.away(), &name).await.state(), wire::OrderState::Confirmed);
    // Every key came along: what is not known is new.
    assert!(!pair.abroad.place(&order("r-2")).await.unwrap().replayed);
    reconnect(&pair).await;
    eventually("the former owner has copies", || {
        let shell = pair.here().orders.shell();
        shell.groups[&0].group.peek(|m| m.state.remote.copies.len()) == 2
    })
    .await;
    // And back.
    pair.abroad.draining(1, 2);
    eventually("drained", || matches!(pair.abroad.phase(), Some(Phase::Drained { .. }))).await;
    eventually("the last is at home", || {
        let seq = pair.away().orders.shell().groups[&0].group.peek(|m| m.state.meta.seq);
        let shell = pair.here().orders.shell();
        shell.groups[&0].group.peek(|m| {
            let cursors = &m.state.remote.cursors;
            cursors.iter().any(|(of, at)| of.region == number(2) && at.applied >= seq)
        })
    })
    .await;
    pair.home.owned_by(1, 3, Kind::Failback);
    pair.abroad.owned_by(1, 3, Kind::Failback);
    eventually("at home again", || pair.home.phase() == Some(Phase::Owned)).await;
    allocated(&pair.home).await;
    let home = shown(pair.here(), &name).await;
    assert_eq!((home.state(), home.epoch), (wire::OrderState::Confirmed, 3));
    assert!(pair.home.place(&order("r-2")).await.unwrap().replayed);
    assert!(!pair.home.place(&order("r-3")).await.unwrap().replayed);
    pair.home.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_lost_region_shipped_comes_back_to_the_survivor_from_elsewhere() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let mut names = Vec::new();
    for n in 1..=2 {
        let placed = pair.home.place(&order(&format!("r-{n}"))).await.unwrap();
        names.push(placed.order.unwrap().name);
    }
    let parcel = |n: u32, units| stock::RecordShipmentRequest {
        order: names[0].clone(),
        request_id: format!("s-{n}"),
        lines: vec![stock::ShipmentLine { line: 1, sku: "A".into(), quantity: units }],
        ..Default::default()
    };
    pair.here().service.record_shipment(call(parcel(1, 1))).await.unwrap();
    shipped(&pair, 2).await;
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    allocated(&pair.abroad).await;
    let away = pair.away();
    away.service.record_shipment(dated(parcel(2, 1))).await.unwrap();
    let other = stock::RecordShipmentRequest {
        order: names[1].clone(),
        request_id: "s-3".into(),
        ..Default::default()
    };
    away.service.record_shipment(dated(other)).await.unwrap();
    let back = |order: &String, n: u32, quantity| wire::ReturnItemsRequest {
        order: order.clone(),
        request_id: format!("b-{n}"),
        lines: vec![wire::ReturnLine { line: 1, quantity }],
        reason: "broken".into(),
    };
    // One of the two left the lost region: the survivor has no such unit with its customers.
    for repeat in [false, true] {
        let returned = away.service.return_items(dated(back(&names[0], 1, 2))).await.unwrap();
        assert_eq!(returned.into_inner().replayed, repeat);
    }
    away.service.return_items(dated(back(&names[1], 2, 2))).await.unwrap();
    pair.abroad.at_rest().await;
    for name in &names {
        let order = shown(away, name).await;
        assert_eq!(order.state(), wire::OrderState::Completed, "no order is short");
        assert_eq!(order.fulfillment_state(), wire::FulfillmentState::Returned);
    }
    let books = pair.abroad.books.0.lock();
    assert_eq!((books.shipped, books.returned), (3, 4));
    assert_eq!(books.elsewhere, [(1, 1)], "and the epoch in which it was shipped is cited");
    drop(books);
    for (group, broken) in away.orders.invariants(10) {
        assert!(broken.is_empty(), "{group}: {broken:?}");
    }
}
