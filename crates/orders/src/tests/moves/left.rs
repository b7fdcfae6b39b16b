//! What he left is not what he wished to have forgotten, and what he wished before he came is not
//! what he brought.

use super::tries::{Gate, begun, commit, leave_by, subject_of};
use super::*;
use crate::core::keys::Scope;
use crate::core::subjects::{Asked, Cause, KeyStep};

async fn forget(node: &Node, region: &str) {
    let forget = wire::EraseCustomerRequest {
        customer_id: "c-1".into(),
        region: region.into(),
        request_id: "e-1".into(),
        ..Default::default()
    };
    node.service.erase_customer(call(forget)).await.unwrap();
}

/// Placed here, owned there for a while, and home again: this region has a key of where he goes.
async fn home_again(pair: &Pair) -> (String, KeyOf) {
    pair.legislate(&policy(2, true));
    reconnect(pair).await;
    let (first, _) = placed(pair, "r-1").await;
    shipped(pair, 1).await;
    hand_over(&pair.home, &pair.abroad, 2).await;
    hand_over(&pair.abroad, &pair.home, 3).await;
    shipped(pair, 1).await;
    let id = first.parse::<hansa_types::id::OrderName>().unwrap().id;
    let shell = pair.away().orders.shell();
    let own = shell.groups[&0].group.peek(|m| m.state.orders.get(&id).is_some());
    assert!(own, "it was that region's");
    let adopted = pair.here().orders.shell().groups[&0]
        .group
        .peek(|m| m.state.orders.get(&id).and_then(|order| order.adopted));
    (first, adopted.unwrap().sealed)
}

fn state_of(node: &Node, of: KeyOf) -> KeyState {
    node.orders.shell().groups[&0].group.peek(|m| m.state.subjects.key(of))
}

/// Seeds 2238 and 4589.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_he_left_is_told_as_that_and_takes_no_key_of_where_he_lives() {
    let pair = Pair::start().await;
    let (_, there) = home_again(&pair).await;
    let (here, away) = (pair.here(), pair.away());
    let alive = |node: &Node| matches!(state_of(node, there), KeyState::Living(_));
    assert!(there.subject.home == away.orders.shell().number && alive(here) && alive(away));
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    let told = ask(here, asks(wire::MoveAction::Finish, "")).await.unwrap();
    assert_eq!((told.state(), living(here)), (wire::MoveState::Left, 0));
    assert!(told.receipt.unwrap().former_keys.is_empty() && alive(here));
    let heard = || {
        let shell = away.orders.shell();
        shell.groups[&0].group.peek(|machine| {
            let rows = machine.state.subjects.table.iter();
            let words = rows.flat_map(|(_, row)| &row.erased).map(|erased| erased.cause);
            words.collect::<Vec<_>>()
        })
    };
    eventually("it is told", || !heard().is_empty()).await;
    assert_eq!(heard(), [Cause::Left], "of the former region's key alone");
    assert!(alive(away));
    // Nothing needs it here any more: it goes as any such key does.
    pair.legislate(&policy(3, true));
    eventually("given back", || state_of(here, there) == KeyState::Unknown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_where_it_comes_from_is_not_shown_where_he_lives() {
    let pair = Pair::start().await;
    let (first, there) = home_again(&pair).await;
    let (here, away) = (pair.here(), pair.away());
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    forget(here, "eu-west").await;
    hand_over(&pair.home, &pair.abroad, 4).await;
    let own = read(away, &first, orders::ReadMode::Unspecified).await;
    assert_eq!((own.customer_id.as_str(), own.personal), ("", None));
    assert!(matches!(state_of(away, there), KeyState::Living(_)), "he lives there");
}

/// Of the first key of this region's customer.
fn own(node: &Node) -> KeyOf {
    let shell = node.orders.shell();
    let subject = crate::shell::personal::customer(&shell, &"c-1".parse().unwrap()).unwrap();
    KeyOf { subject, generation: 1 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_is_heard_after_what_he_left_was_deleted_is_one() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    placed(&pair, "r-1").await;
    shipped(&pair, 1).await;
    hand_over(&pair.home, &pair.abroad, 2).await;
    let (here, away) = (pair.here(), pair.away());
    let (subject, request) = (subject_of(here, "c-1"), Scope(7));
    let to = away.orders.shell().number;
    commit(here, Step::Begin { subject, to, request, at_ms: 1 }).await;
    commit(here, leave_by(here, "c-1", request)).await;
    let (by, reason) = (String::new(), String::new());
    commit(here, Step::Delete { subject, asked_ms: 5, destroy_after_ms: 9, by, reason }).await;
    let words = || {
        let shell = here.orders.shell();
        shell.groups[&0].group.peek(|machine| {
            let row = machine.state.subjects.table.get(&subject).unwrap();
            row.erased.iter().map(|erased| erased.cause).collect::<Vec<_>>()
        })
    };
    assert_eq!(words(), [Cause::Left]);
    // Who owns his order names the key under which it knew him.
    forget(away, "us-east").await;
    eventually("it is told", || words().len() > 1).await;
    assert_eq!(words(), [Cause::Left, Cause::Erased]);
}

/// This region hears that he asked to be forgotten.
async fn told_wish(node: &Node) {
    let (keys, asked) = (vec![own(node)], Asked { request: Scope(7), cause: Cause::Erased });
    let asked_ms = node.orders.shell().env.clock.wall().ms();
    let told = KeyStep::Told { keys, asked, asked_ms, destroy_after_ms: asked_ms };
    node.orders.shell().groups[&0].submit(&Command::Keys(told), soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_owed_a_forgetting_takes_along_what_he_orders_while_he_leaves() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    pair.home.place(&order("r-1")).await.unwrap();
    told_wish(here).await;
    let gate = Gate::before(here, &pair.address).await;
    here.peers.set_gateways("us-east".parse().unwrap(), vec![gate.address.clone()]);
    let moves = ask(here, asks(wire::MoveAction::Move, "us-east"));
    let orders = async {
        begun(here).await;
        let (later, _) = placed(&pair, "r-2").await;
        gate.open.send_replace(true);
        later
    };
    let (told, later) = tokio::join!(moves, orders);
    assert_eq!(told.unwrap().lives_in, "us-east");
    let shown: Vec<String> = exported(away).await.into_iter().map(|(order, _)| order).collect();
    assert!(shown.contains(&later), "{shown:?}");
    let row = here.orders.shell().groups[&0]
        .group
        .peek(|machine| machine.state.moves.get(own(here).subject).cloned());
    assert_eq!(row.unwrap().left.unwrap().generation, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_before_his_order_has_ended_is_forgotten_for_what_was_there() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    let open = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    // Asked there; here he has an order under way.
    forget(away, "us-east").await;
    let of = own(here);
    told_wish(here).await;
    // Then he orders there, and comes with that.
    let (there, _) = placed(&pair, "r-2").await;
    ask(away, asks(wire::MoveAction::Move, "eu-west")).await.unwrap();
    let (later, _) = placed(&pair, "r-3").await;
    assert!(matches!(state_of(here, of), KeyState::Living(_)));
    let (order, request_id) = (open.clone(), "x-1".to_owned());
    let cancel = orders::CancelOrderRequest { order, request_id, reason: String::new() };
    here.service.cancel_order(call(cancel)).await.unwrap();
    pair.home.at_rest().await;
    eventually("it has ended", || state_of(here, of) == KeyState::Erased).await;
    let gone = read(here, &open, orders::ReadMode::Unspecified).await;
    assert_eq!((gone.customer_id.as_str(), gone.personal), ("", None));
    let shown: Vec<String> = exported(here).await.into_iter().map(|(order, _)| order).collect();
    assert!(shown.contains(&there) && shown.contains(&later), "{shown:?}");
    assert_eq!(read(here, &later, orders::ReadMode::Unspecified).await.customer_id, "c-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_home_since_he_left_is_brought_again_where_it_was_lost() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&policy(2, true));
    let (here, away) = (pair.here(), pair.away());
    pair.home.place(&order("r-1")).await.unwrap();
    pair.home.at_rest().await;
    shipped(&pair, 1).await;
    hand_over(&pair.home, &pair.abroad, 2).await;
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    told_wish(here).await;
    eventually("forgotten", || state_of(here, own(here)) == KeyState::Erased).await;
    hand_over(&pair.abroad, &pair.home, 3).await;
    let next = KeyOf { generation: 2, ..own(here) };
    assert!(matches!(state_of(here, next), KeyState::Living(_)), "of the order that is home");
    // That region knows that the order is not its own any more.
    shipped(&pair, 1).await;
    forget(away, "us-east").await;
    assert_eq!(kept(away), 0);
    ask(here, asks(wire::MoveAction::Move, "us-east")).await.unwrap();
    assert_eq!(kept(away), 1);
}
