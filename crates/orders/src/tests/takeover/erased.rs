//! A customer is forgotten where his orders were taken over: there, abroad, and where he lived.

use hansa_api::pb::customer as customers;
use hansa_api::pb::customer::customer_service_server::CustomerService as _;

use super::*;
use crate::core::command::Command;
use crate::core::keys::Scope;
use crate::core::subjects::{KeyEntry, KeyOf, KeyState, KeyStep};

/// Over at once: nothing to ship.
fn gift(customer: &str, request_id: &str) -> wire::PlaceOrderRequest {
    let mut request = order(request_id);
    request.customer_id = customer.into();
    request.lines.remove(0);
    request
}

fn key(node: &Node, of: KeyOf) -> KeyState {
    node.orders.shell().groups[&0].group.peek(|m| m.state.subjects.key(of))
}

fn alive(node: &Node, of: KeyOf) -> bool {
    matches!(key(node, of), KeyState::Living(_))
}

/// What an order is sealed with where it is.
fn sealed(node: &Node, name: &str) -> KeyOf {
    let id = name.parse::<hansa_types::id::OrderName>().unwrap().id;
    let shell = node.orders.shell();
    shell.groups[&0].group.peek(|m| m.state.contents.get(&id).unwrap().sealed_with)
}

async fn keys(node: &Node, step: KeyStep) {
    let shell = node.orders.shell();
    shell.groups[&0].submit(&Command::Keys(step), soon()).await.unwrap();
}

async fn erased(node: &Node, customer: &str, order: &str) -> customers::ErasureReceipt {
    let asked = customers::EraseCustomerRequest {
        customer_id: customer.into(),
        order: order.into(),
        request_id: "e-1".into(),
        region: "us-east".into(),
        ..Default::default()
    };
    let answer = node.service.erase_customer(call(asked)).await.unwrap().into_inner();
    answer.receipt.unwrap()
}

/// Gifts are placed at home, shipped with their keys, and taken over abroad.
async fn taken_over(gifts: &[wire::PlaceOrderRequest]) -> (Pair, Vec<String>, Vec<KeyOf>) {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let mut names = Vec::new();
    for gift in gifts {
        names.push(pair.home.place(gift).await.unwrap().order.unwrap().name);
    }
    pair.home.at_rest().await;
    shipped(&pair, gifts.len()).await;
    let former: Vec<KeyOf> = names.iter().map(|name| sealed(pair.here(), name)).collect();
    eventually("with their keys", || former.iter().all(|of| alive(pair.away(), *of))).await;
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    pair.abroad.at_rest().await;
    (pair, names, former)
}

/// A third region as it was once: with this key of a copy's.
async fn third(pair: &Pair, of: KeyOf) -> Rig {
    let third = Rig::region(3, 1, 1, pair.home.dir.clone(), pair.home.ca.clone()).await;
    third.legislate(&policy(2, true));
    let there = third.leader().await;
    let shell = there.orders.shell();
    let wraps = || shell.groups[&0].group.peek(|m| m.state.meta.wraps);
    eventually("a region key", || wraps().is_some()).await;
    let KeyState::Living(at_home) = key(pair.here(), of) else { panic!("not at home") };
    let share = pair.here().orders.shell().keyring.share(of, &at_home).await.unwrap();
    let wrapped = shell.keyring.take(&share, wraps()).await.unwrap();
    keys(there, KeyStep::Take(vec![wrapped])).await;
    assert!(alive(there, of));
    third
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_erased_at_the_survivor_is_gone_at_third_regions_and_where_he_was_lost() {
    let gifts = [gift("c-1", "r-1"), gift("c-2", "r-2"), gift("", "r-3")];
    let (pair, names, former) = taken_over(&gifts).await;
    let third = third(&pair, former[0]).await;
    let there = third.nodes.values().next().unwrap();
    let away = pair.away();
    assert_eq!(shown(away, &names[0]).await.customer_id, "c-1");
    let here = sealed(away, &names[0]);
    let receipt = erased(away, "c-1", "").await;
    assert_eq!(receipt.former_keys.len(), 1);
    let told = &receipt.former_keys[0];
    assert_eq!(told.home_region, "eu-west");
    assert_eq!(told.subject, format!("{:032x}", former[0].subject.hash));
    // A guest's order was taken over as well: it is found by its name.
    let guest = erased(away, "", &names[2]).await;
    assert_eq!(guest.key.unwrap().home_region, "us-east");
    assert_eq!(guest.former_keys[0].subject, format!("{:032x}", former[2].subject.hash));
    for of in [former[0], former[2], here] {
        assert_eq!(key(away, of), KeyState::Erased);
    }
    assert!(alive(away, former[1]), "nobody else's");

    // Whoever heard of the new owner believes it.
    let at = serve(&third, NodeId(1)).await;
    away.peers.set_gateways("ap-south".parse().unwrap(), vec![at]);
    third.owned_by(2, 2, Kind::Failover);
    eventually("gone abroad", || key(there, former[0]) == KeyState::Erased).await;
    // And he who was lost comes back with all that he had.
    assert!(alive(pair.here(), former[0]) && alive(pair.here(), former[2]));
    pair.home.owned_by(2, 2, Kind::Failover);
    reconnect(&pair).await;
    let gone = |of: KeyOf| key(pair.here(), of) == KeyState::Erased;
    eventually("gone where he lived", || gone(former[0]) && gone(former[2])).await;
    assert!(alive(pair.here(), former[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_whose_key_is_not_here_is_in_doubt_and_nobody_is_told_that_he_lied() {
    let (pair, _, former) = taken_over(&[gift("c-1", "r-1")]).await;
    let away = pair.away();
    assert!(pair.abroad.place(&gift("c-1", "r-1")).await.unwrap().replayed);
    let KeyState::Living(wrapped) = key(away, former[0]) else { panic!("not here") };
    keys(away, KeyStep::GiveBack(vec![former[0]])).await;
    let doubt = pair.abroad.place(&gift("c-1", "r-1")).await.unwrap_err();
    assert_eq!(doubt.reason(), Reason::RequestInDoubt, "{doubt}");
    keys(away, KeyStep::Take(vec![KeyEntry { of: former[0], wrapped }])).await;
    assert!(alive(away, former[0]), "no rotation came between");
    assert!(pair.abroad.place(&gift("c-1", "r-1")).await.unwrap().replayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_homes_key_stays_with_the_orders_that_were_taken_over() {
    let (pair, _, former) = taken_over(&[gift("c-1", "r-1")]).await;
    let away = pair.away();
    // Another one came with nothing that it opens.
    let KeyState::Living(wrapped) = key(away, former[0]) else { panic!("not here") };
    let nobodys = KeyOf { generation: former[0].generation + 1, ..former[0] };
    keys(away, KeyStep::Take(vec![KeyEntry { of: nobodys, wrapped }])).await;
    pair.abroad.legislate(&policy(3, true));
    eventually("given back", || key(away, nobodys) == KeyState::Unknown).await;
    assert!(alive(away, former[0]), "it tells repeats of what was asked there apart");
    assert!(pair.abroad.place(&gift("c-1", "r-1")).await.unwrap().replayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_about_an_order_whose_key_is_not_here_is_in_doubt_as_well() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let order = pair.home.place(&gift("c-1", "r-1")).await.unwrap().order.unwrap().name;
    let request_id = "b-1".to_owned();
    let refund =
        pay::RefundPaymentRequest { order, request_id, amount: gbp(10), ..Default::default() };
    pair.here().service.refund_payment(call(refund.clone())).await.unwrap();
    pair.home.at_rest().await;
    shipped(&pair, 1).await;
    let of = sealed(pair.here(), &refund.order);
    eventually("with its key", || alive(pair.away(), of)).await;
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    let service = &pair.away().service;
    let again = service.refund_payment(call(refund.clone())).await.unwrap();
    assert!(again.into_inner().replayed);
    keys(pair.away(), KeyStep::GiveBack(vec![of])).await;
    let doubt = service.refund_payment(call(refund)).await.unwrap_err();
    assert_eq!(Failure::from(&doubt).reason(), Reason::RequestInDoubt, "{doubt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_only_the_lost_region_heard_of_holds_once_it_is_back() {
    let (pair, names, former) = taken_over(&[gift("c-1", "r-1"), gift("c-2", "r-2")]).await;
    let away = pair.away();
    let here: Vec<KeyOf> = names.iter().map(|name| sealed(away, name)).collect();
    // Granted where he was at home, which has not heard of its loss.
    let receipt = erased(pair.here(), "c-1", "").await;
    assert_eq!(receipt.key.unwrap().home_region, "eu-west");
    pair.home.owned_by(2, 2, Kind::Failover);
    reconnect(&pair).await;
    let gone = |of: KeyOf| key(away, of) == KeyState::Erased;
    eventually("gone where his orders went", || gone(former[0]) && gone(here[0])).await;
    assert!(alive(away, former[1]) && alive(away, here[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_named_first_does_not_hide_what_it_became() {
    let (pair, names, former) = taken_over(&[gift("c-1", "r-1")]).await;
    let away = pair.away();
    let here = sealed(away, &names[0]);
    // Whoever asks names the copy there, and comes no further. What the home says comes after.
    let (keys_of, request) = (vec![former[0]], Scope(5));
    keys(away, KeyStep::Forget { keys: keys_of, request, asked_ms: 5, destroy_after_ms: 9 }).await;
    assert!(key(away, former[0]) == KeyState::Erased && alive(away, here));
    erased(pair.here(), "c-1", "").await;
    pair.home.owned_by(2, 2, Kind::Failover);
    reconnect(&pair).await;
    eventually("gone where his order went", || key(away, here) == KeyState::Erased).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_key_is_asked_for_by_a_receiver_that_starts_again() {
    let mut pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let name = pair.home.place(&gift("c-1", "r-1")).await.unwrap().order.unwrap().name;
    pair.home.at_rest().await;
    shipped(&pair, 1).await;
    let of = sealed(pair.here(), &name);
    eventually("with its key", || alive(pair.away(), of)).await;
    // As after a want that the receiver took with it: nothing says that the key is missing.
    keys(pair.away(), KeyStep::GiveBack(vec![of])).await;
    pair.abroad.kill(NodeId(1)).await;
    pair.abroad.cluster.boot(NodeId(1)).await;
    pair.abroad.boot(NodeId(1)).await;
    pair.abroad.legislate(&policy(2, true));
    pair.abroad.leader().await;
    assert_eq!(key(pair.away(), of), KeyState::Unknown);
    pair.address = serve(&pair.abroad, NodeId(1)).await;
    let gateway = vec![pair.address.clone()];
    pair.here().peers.set_gateways("us-east".parse().unwrap(), gateway);
    eventually("it came again", || alive(pair.away(), of)).await;
    assert_eq!(pair.parked(), 0);
    pair.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_forgotten_by_his_orders_name_where_it_is_another_regions_by_now() {
    let (pair, names, former) = taken_over(&[gift("", "r-1")]).await;
    let third = third(&pair, former[0]).await;
    pair.home.owned_by(2, 2, Kind::Failover);
    eventually("followed", || matches!(pair.home.phase(), Some(Phase::Elsewhere { .. }))).await;
    let receipt = erased(pair.here(), "", &names[0]).await;
    assert_eq!(receipt.key.unwrap().home_region, "eu-west");
    assert_eq!(key(pair.here(), former[0]), KeyState::Erased);
    // Who never had it has nothing of his, and says so.
    third.owned_by(2, 2, Kind::Failover);
    eventually("followed", || matches!(third.phase(), Some(Phase::Elsewhere { .. }))).await;
    let there = third.nodes.values().next().unwrap();
    assert!(erased(there, "", &names[0]).await.key.is_none());
}
