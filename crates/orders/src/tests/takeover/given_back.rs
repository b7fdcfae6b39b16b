//! Births that were another region's in an epoch of which their group never heard before it was
//! over: what its own records hold is given back before the other's word is adopted.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_former_records_hold_is_given_back_while_births_are_adopted() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let born = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    pair.home.at_rest().await;
    let books = || {
        let books = pair.home.books.0.lock();
        let committed = books.holds.values().filter(|(_, state)| *state == "committed").count();
        (books.stock.clone(), committed, books.holds.len())
    };
    let (stock, committed, holds) = books();
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    allocated(&pair.abroad).await;
    let id = born.parse::<OrderName>().unwrap().id;
    let shell = pair.here().orders.shell();
    let group = &shell.groups[&0].group;
    eventually("home has its word", || {
        let told = |copy: &crate::core::remote::Copy| copy.epoch() == 2;
        group.peek(|m| m.state.remote.copies.get(&id).is_some_and(told))
    })
    .await;
    assert_eq!(pair.home.phase(), None, "home never heard of that epoch");
    let withheld = group.peek(|m| m.state.withheld(id));
    assert_eq!(
        withheld,
        Some(crate::core::command::Refused::NotOwner),
        "who is sent here is sent by who heard of it"
    );

    pair.home.owned_by(1, 3, Kind::Failover);
    eventually("settled", || pair.home.phase() == Some(Phase::Owned)).await;
    allocated(&pair.home).await;
    let order = shown(pair.here(), &born).await;
    assert_eq!((order.state(), order.epoch), (wire::OrderState::Confirmed, 3));
    group.peek(|m| assert_eq!(m.state.orders.get(&id).unwrap().adopted.unwrap().ended, 2));
    let (now_stock, now_committed, now_holds) = books();
    assert_eq!((now_stock, now_committed), (stock, committed), "nothing is held twice");
    assert!(now_holds > holds, "it is held anew");
}
