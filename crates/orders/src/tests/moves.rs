//! A customer moves to another region and back: one effect per request, and nothing left behind.

mod asks;
mod left;
mod tries;

use std::time::Duration;

use futures::StreamExt as _;
use hansa_api::pb::customer as wire;
use hansa_api::pb::customer::customer_service_server::CustomerService as _;
use hansa_api::pb::customer::export_customer_response::Item;
use hansa_api::pb::order as orders;
use hansa_api::pb::order::order_service_server::OrderService as _;
use hansa_api::status::{Failure, Reason};
use hansa_consensus::testing::{eventually, soon};
use hansa_region_router::core::directory::Kind;
use tokio::time::{Instant, sleep};

use super::rig::{Node, call, order};
use super::takeover::again::hand_over;
use super::takeover::{reconnect, shipped};
use super::views::{Pair, policy};
use crate::core::command::{Command, Outcome};
use crate::core::moves::Step;
use crate::core::subjects::{KeyOf, KeyState, Next, SubjectId};
use crate::core::takeover::Phase;
use crate::service::move_customer::proof::{Ask, Who, take_customer};
use crate::service::move_customer::settle;

/// An order that is over at once: nothing to ship.
fn gift(request_id: &str) -> orders::PlaceOrderRequest {
    let mut request = order(request_id);
    request.lines.remove(0);
    request
}

fn asks(action: wire::MoveAction, to: &str) -> wire::MoveCustomerRequest {
    wire::MoveCustomerRequest {
        residence_country: "GB".into(),
        customer_id: "c-1".into(),
        request_id: format!("move-{to}"),
        action: action.into(),
        to: to.into(),
        window_ms: 3_600_000,
        reason: "he asked".into(),
        ticket: "T-1".into(),
        ..Default::default()
    }
}

/// Again while nobody leads there, as the operator's tool does.
async fn ask(
    node: &Node,
    request: wire::MoveCustomerRequest,
) -> Result<wire::MoveCustomerResponse, Failure> {
    let end = soon();
    loop {
        let answer = node.service.move_customer(call(request.clone())).await;
        match answer.map_err(|status| Failure::from(&status)) {
            Err(failure)
                if matches!(
                    failure.reason(),
                    Reason::NotLeader | Reason::Unavailable | Reason::HomeUnreachable
                ) && Instant::now() < end =>
            {
                sleep(Duration::from_millis(10)).await;
            }
            answer => return Ok(answer?.into_inner()),
        }
    }
}

/// His first order, which was another region's for a while and is at home again.
async fn back_from_abroad() -> (Pair, String) {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let (first, _) = placed(&pair, "r-1").await;
    shipped(&pair, 1).await;
    hand_over(&pair.home, &pair.abroad, 2).await;
    hand_over(&pair.abroad, &pair.home, 3).await;
    shipped(&pair, 1).await;
    (pair, first)
}

/// Name of the order, and whether it was known.
async fn placed(pair: &Pair, request_id: &str) -> (String, bool) {
    let end = soon();
    loop {
        match pair.home.place(&gift(request_id)).await {
            Ok(answer) => return (answer.order.unwrap().name, answer.replayed),
            Err(failure) => {
                let soon = matches!(failure.reason(), Reason::HomeMoving | Reason::HomeUnreachable);
                assert!(soon && Instant::now() < end, "{failure:?}");
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn read(node: &Node, name: &str, read: orders::ReadMode) -> orders::Order {
    let get = orders::GetOrderRequest { order: name.into(), read: read.into() };
    node.service.get_order(call(get)).await.unwrap().into_inner().order.unwrap()
}

/// Who ordered what, as one region knows it.
async fn exported(node: &Node) -> Vec<(String, String)> {
    let asked = wire::ExportCustomerRequest { customer_id: "c-1".into(), ..Default::default() };
    let stream = node.service.export_customer(call(asked)).await.unwrap().into_inner();
    let items: Vec<_> = stream.collect().await;
    let mut known: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item.unwrap().item.unwrap() {
            Item::Order(exported) => {
                let order = exported.order.unwrap();
                Some((order.name, order.personal.unwrap_or_default().name))
            }
            Item::Summary(_) => None,
        })
        .collect();
    known.sort();
    known
}

/// His orders that a region lists, and where else there are some.
async fn listed(node: &Node) -> (Vec<String>, String) {
    let list = orders::ListOrdersRequest { customer_id: "c-1".into(), ..Default::default() };
    let listed = node.service.list_orders(call(list)).await.unwrap().into_inner();
    (listed.orders.into_iter().map(|order| order.name).collect(), listed.also_in.join(" "))
}

/// Keys of the region's own customers that live.
fn living(node: &Node) -> usize {
    let shell = node.orders.shell();
    shell.groups[&0].group.peek(|machine| {
        let rows = machine.state.subjects.table.iter();
        rows.filter(|(of, row)| of.home == shell.number && row.key.is_some()).count()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_moves_orders_there_is_found_there_and_is_deleted_here_and_may_come_back() {
    let pair = Pair::start().await;
    let (here, away) = (pair.here(), pair.away());
    let (first, _) = placed(&pair, "r-1").await;
    // His law does not have the other region keep what he needs.
    reconnect(&pair).await;
    let refused = ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NoLawfulRegion);
    assert!(refused.metadata("rule").unwrap().starts_with("jurisdiction.GB."), "{refused:?}");
    pair.legislate(&policy(2, true));
    for _repeated in 0..2 {
        let told = ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
        assert_eq!((told.lives_in.as_str(), told.epoch, told.order_count), ("us-east", 1, 1));
    }
    // What he asks for from now on is done there, once; what he asked for before, here, once.
    let (second, replayed) = placed(&pair, "r-2").await;
    assert!(second.starts_with("regions/us-east/orders/") && !replayed, "{second}");
    assert_eq!(placed(&pair, "r-2").await, (second.clone(), true));
    assert_eq!(placed(&pair, "r-1").await, (first.clone(), true));
    let own = orders::ReadMode::Unspecified;
    assert_eq!(read(here, &first, own).await.customer_id, "c-1", "in the window, at either side");

    let told = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap();
    let proof = told.receipt.unwrap();
    assert!(proof.destroy_time.is_some() && !proof.region_key.is_empty(), "{proof:?}");
    assert_eq!(living(here), 0);
    let gone = read(here, &first, own).await;
    assert_eq!(gone.personal_state(), orders::PersonalState::Moved);
    assert_eq!((gone.customer_id.as_str(), gone.personal), ("", None));
    let name = || "Ada Secretname".to_owned();
    let mut both = [(first.clone(), name()), (second.clone(), name())];
    both.sort();
    assert_eq!(exported(away).await, both);
    let late = pair.home.place(&gift("r-1")).await.unwrap_err();
    assert_eq!(late.reason(), Reason::CustomerMoved, "nothing is ordered twice");
    assert_eq!(late.metadata("order"), Some(first.as_str()), "and it says what was");
    assert_eq!(listed(here).await, ([first.clone()].to_vec(), "us-east".to_owned()));
    assert_eq!(listed(away).await, ([second.clone()].to_vec(), "eu-west".to_owned()));

    // And back: what he ordered there meanwhile is known here.
    let back = asks(wire::MoveAction::Move, "eu-west");
    let back = wire::MoveCustomerRequest { residence_country: String::new(), ..back };
    let told = ask(away, back).await.unwrap();
    assert_eq!((told.lives_in.as_str(), told.epoch, told.order_count), ("eu-west", 2, 2));
    assert_eq!(placed(&pair, "r-2").await, (second.clone(), true));
    let (third, _) = placed(&pair, "r-3").await;
    assert!(third.starts_with("regions/eu-west/orders/"), "{third}");
    assert_eq!(read(here, &first, own).await.customer_id, "c-1");
    assert_eq!(exported(here).await.len(), 3);
    let finish = asks(wire::MoveAction::Finish, "");
    let finish = wire::MoveCustomerRequest { residence_country: String::new(), ..finish };
    assert!(ask(away, finish).await.unwrap().receipt.is_some());
    assert_eq!((living(away), living(here)), (0, 1));
    pair.home.at_rest().await;
    pair.abroad.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_moved_takes_the_doubt_of_where_he_came_from_along() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let (first, _) = placed(&pair, "r-1").await;
    reconnect(&pair).await;
    ask(pair.here(), asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    let (second, _) = placed(&pair, "r-2").await;
    // Somebody owned what is born here in an epoch that nobody here heard of.
    for rig in [&pair.home, &pair.abroad] {
        rig.owned_by(1, 3, Kind::Failover);
    }
    eventually("births owned again", || pair.home.phase() == Some(Phase::Owned)).await;

    assert_eq!(placed(&pair, "r-2").await, (second, true), "known where he lives");
    assert_eq!(placed(&pair, "r-1").await, (first, true), "and known here");
    let refused = pair.home.place(&gift("r-3")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::RequestInDoubt, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_goes_by_itself_when_the_window_is_over_and_nobody_ships_to_him() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    let open = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    let short =
        wire::MoveCustomerRequest { window_ms: 1, ..asks(wire::MoveAction::Move, "us-east") };
    let told = ask(here, short).await.unwrap();
    assert_eq!(told.open_orders, std::slice::from_ref(&open));
    let refused = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::CustomerHasOpenOrders);
    assert_eq!(refused.metadata("orders"), Some(open.as_str()));
    let cancel = orders::CancelOrderRequest {
        order: open.clone(),
        request_id: "x-1".into(),
        reason: String::new(),
    };
    here.service.cancel_order(call(cancel)).await.unwrap();
    pair.home.at_rest().await;
    let end = soon();
    loop {
        let told = ask(here, asks(wire::MoveAction::Unspecified, "")).await.unwrap();
        if told.receipt.is_some() {
            break;
        }
        assert!(Instant::now() < end, "{told:?}");
        sleep(Duration::from_millis(20)).await;
    }
    let shell = away.orders.shell();
    let opens = shell.groups[&0].group.peek(|machine| {
        let state = &machine.state;
        let mut kept = state.moves.kept.iter();
        kept.all(|(_, kept)| matches!(state.subjects.key(kept.of), KeyState::Living(_)))
    });
    assert!(opens && exported(away).await.len() == 1);
}

/// What is kept there of another region's orders.
fn kept(node: &Node) -> usize {
    let shell = node.orders.shell();
    shell.groups[&0].group.peek(|machine| machine.state.moves.kept.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_not_decided_is_called_off_or_settled_and_leaves_nothing() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    let (first, _) = placed(&pair, "r-1").await;
    // A call that dies after it has brought everything.
    let shell = &*here.orders.shell();
    let hosted = &shell.groups[&0];
    let subject = crate::shell::personal::customer(shell, &"c-1".parse().unwrap()).unwrap();
    let us = shell.map.region_number(&"us-east".parse().unwrap()).unwrap();
    let request = crate::core::keys::Scope(7);
    let begin = Step::Begin { subject, to: us, request, at_ms: 1 };
    let due = || Instant::now() + Duration::from_secs(20);
    let done = hosted.submit(&Command::Moves(begin), due()).await.unwrap();
    assert_eq!(done, Outcome::Noted);
    let bring = || async {
        let end = due();
        loop {
            match bring_all(here, subject, end).await {
                Ok(said) => break said,
                Err(failure) => assert!(Instant::now() < end, "{failure:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let said = bring().await;
    assert_eq!((said.block_count, kept(away), living(away)), (1, 1, 1));
    let told = ask(here, asks(wire::MoveAction::Unspecified, "")).await.unwrap();
    assert_eq!((told.state(), told.with_region.as_str()), (wire::MoveState::Going, "us-east"));
    assert_eq!((told.lives_in.as_str(), told.next.is_empty()), ("eu-west", false));
    let there = &*away.orders.shell();
    let his = crate::shell::personal::customer(there, &"c-1".parse().unwrap()).unwrap();
    let asked = (his, shell.number);
    let early = settle(there, &there.groups[&0], asked, due()).await.unwrap_err();
    assert_eq!(early.reason(), Reason::HomeMoving, "a call may be bringing more");
    assert_eq!(kept(away), 1);

    let told = ask(here, asks(wire::MoveAction::Cancel, "")).await.unwrap();
    assert_eq!((told.state(), told.lives_in.as_str()), (wire::MoveState::Unspecified, "eu-west"));
    assert_eq!((kept(away), living(away)), (0, 0), "the key went with it");
    assert_eq!(read(here, &first, orders::ReadMode::Unspecified).await.customer_id, "c-1");

    bring().await;
    lost_and_brought_again(&pair).await;
}

/// Where he lives has lost what he brought: nothing is deleted at home, and it says why.
async fn lost_and_brought_again(pair: &Pair) {
    let (here, away) = (pair.here(), pair.away());
    let told = ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    assert_eq!((told.state(), told.epoch), (wire::MoveState::Window, 1));
    let refused = ask(here, asks(wire::MoveAction::Cancel, "")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::FailedPrecondition, "who has gone is moved back");
    assert!(kept(away) == 1 && living(away) == 1);
    let forget = wire::EraseCustomerRequest {
        customer_id: "c-1".into(),
        region: "us-east".into(),
        request_id: "e-1".into(),
        ..Default::default()
    };
    away.service.erase_customer(call(forget)).await.unwrap();
    let refused = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::HomeMoving);
    assert_eq!(living(here), 1);
    // Brought again by a repeat, it goes.
    let again = ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    assert_eq!((again.epoch, kept(away)), (1, 1));
    let told = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap();
    assert_eq!(told.state(), wire::MoveState::Left);
    assert!(told.receipt.is_some() && living(here) == 0);
}

/// As a move brings it, without what decides.
async fn bring_all(
    node: &Node,
    subject: SubjectId,
    due: Instant,
) -> Result<hansa_api::pb::replication::TakeCustomerResponse, Failure> {
    let shell = &*node.orders.shell();
    let now = shell.map.now()?;
    let to = now.region(now.number(&"us-east".parse().unwrap()).unwrap()).unwrap();
    let (of, wrapped, blocks) = shell.groups[&0].group.peek(|machine| {
        let Next::Use(generation, wrapped) = machine.state.next_key(subject) else { panic!() };
        let of = KeyOf { subject, generation };
        (of, wrapped, machine.state.blocks(of).collect::<Vec<_>>())
    });
    let dead = take_customer(shell, to, Who::Keyed(of, &wrapped, &blocks), Ask::HOLDS, due);
    let erased_generation = dead.await?.erased_generation;
    let ask = Ask { erased_generation, ..Ask::default() };
    take_customer(shell, to, Who::Keyed(of, &wrapped, &blocks), ask, due).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lives_where_the_law_no_longer_lets_him_is_sent_home_and_leaves_nothing_there() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    let (first, _) = placed(&pair, "r-1").await;
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    let (second, _) = placed(&pair, "r-2").await;
    assert!(second.starts_with("regions/us-east/"), "{second}");
    pair.legislate(&policy(3, false));
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let told = ask(here, asks(wire::MoveAction::Unspecified, "")).await.unwrap();
        if told.lives_in == "eu-west" && living(away) == 0 {
            assert_eq!((told.state(), told.epoch), (wire::MoveState::Arrived, 2));
            break;
        }
        assert!(Instant::now() < end, "{told:?}");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((kept(away), kept(here)), (0, 1));
    let (third, _) = placed(&pair, "r-3").await;
    assert!(third.starts_with("regions/eu-west/"), "{third}");
    assert!(exported(here).await.iter().any(|(name, who)| *name == second && !who.is_empty()));
    assert_eq!(read(here, &first, orders::ReadMode::Unspecified).await.customer_id, "c-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_moved_is_shown_where_he_lives_also_of_what_that_region_owned_for_a_while() {
    let (pair, first) = back_from_abroad().await;
    let (here, away) = (pair.here(), pair.away());
    let copy = || read(away, &first, orders::ReadMode::LocalCopy);
    assert_eq!(copy().await.customer_id, "", "he lives at home");
    let told = ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    assert_eq!((told.lives_in.as_str(), told.order_count), ("us-east", 1));
    assert_eq!(kept(away), 0, "his block is there since then");
    let shown = copy().await;
    assert_eq!((shown.customer_id.as_str(), shown.home_region.as_str()), ("c-1", "eu-west"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_came_home_stays_there_while_another_region_owns_what_is_born_there() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let (here, away) = (pair.here(), pair.away());
    let (first, _) = placed(&pair, "r-1").await;
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    let back = asks(wire::MoveAction::Move, "eu-west");
    let back = wire::MoveCustomerRequest { residence_country: String::new(), ..back };
    assert_eq!(ask(away, back).await.unwrap().lives_in, "eu-west");
    shipped(&pair, 1).await;
    hand_over(&pair.home, &pair.abroad, 2).await;
    // Served there as the others who live at home.
    let order = || async { pair.abroad.place(&gift("r-2")).await.unwrap() };
    let second = order().await.order.unwrap().name;
    assert!(second.starts_with("regions/eu-west/orders/"), "{second}");
    assert!(order().await.replayed);
    let told = ask(away, asks(wire::MoveAction::Unspecified, "")).await.unwrap();
    assert_eq!((told.lives_in.as_str(), told.epoch), ("eu-west", 2));
    hand_over(&pair.abroad, &pair.home, 3).await;
    assert_eq!(placed(&pair, "r-2").await, (second.clone(), true));
    let (third, _) = placed(&pair, "r-3").await;
    assert!(third.starts_with("regions/eu-west/orders/"), "{third}");
    shipped(&pair, 3).await;
    hand_over(&pair.home, &pair.abroad, 4).await;
    eventually("the former owner has copies", || {
        let shell = here.orders.shell();
        shell.groups[&0].group.peek(|m| m.state.remote.copies.len()) == 3
    })
    .await;
    for name in [first, second, third] {
        let copy = read(here, &name, orders::ReadMode::LocalCopy).await;
        assert_eq!(copy.customer_id, "c-1", "{name}: he lives here");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_he_left_is_not_lost_where_he_lives_when_that_region_owns_his_orders_again() {
    let (pair, first) = back_from_abroad().await;
    let (here, away) = (pair.here(), pair.away());
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    let told = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap();
    assert_eq!((told.state(), living(here)), (wire::MoveState::Left, 0));
    // What is here of it opens no more: it is there only.
    hand_over(&pair.home, &pair.abroad, 4).await;
    let own = read(away, &first, orders::ReadMode::Unspecified).await;
    assert_eq!(own.customer_id, "c-1");
    let name = own.personal.unwrap().name;
    assert_eq!(exported(away).await, [(first.clone(), name)]);
    hand_over(&pair.abroad, &pair.home, 5).await;
    eventually("the former owner has a copy", || {
        let shell = away.orders.shell();
        shell.groups[&0].group.peek(|m| m.state.remote.copies.len()) == 1
    })
    .await;
    assert_eq!(read(away, &first, orders::ReadMode::LocalCopy).await.customer_id, "c-1");
    let left = read(here, &first, orders::ReadMode::Unspecified).await;
    assert_eq!((left.customer_id.as_str(), living(here)), ("", 0), "he has left");
    let forget = wire::EraseCustomerRequest {
        customer_id: "c-1".into(),
        region: "us-east".into(),
        request_id: "e-1".into(),
        ..Default::default()
    };
    away.service.erase_customer(call(forget)).await.unwrap();
    assert_eq!((kept(away), living(away)), (0, 0));
    assert_eq!(read(away, &first, orders::ReadMode::LocalCopy).await.customer_id, "");
}
