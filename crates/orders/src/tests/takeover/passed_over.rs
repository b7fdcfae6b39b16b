//! Births go on to a third region that has a copy of an order which their owner before never had.

use prost::Message as _;

use super::rehomed::living_in;
use super::*;

/// In full, with the key that opens it.
fn told(third: &Rig, name: &str) -> bool {
    let id = name.parse::<OrderName>().unwrap().id;
    let shell = third.nodes.values().next().unwrap().orders.shell();
    shell.groups[&0].group.peek(|m| {
        let state = &m.state;
        let full = state.remote.copies.get(&id).is_some_and(|copy| {
            let view = hansa_api::pb::replication::OrderView::decode(copy.view.clone()).unwrap();
            view.sealed.is_some() && view.succession.is_some()
        });
        let mut keys = state.subjects.table.iter();
        full && keys.any(|(of, row)| of.home == number(1) && row.key.is_some())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_may_have_given_back_meanwhile_is_adopted_as_parked() {
    let pair = Pair::start().await;
    let law = living_in("eu-west", 2);
    let law = law.replace("failover = [\"us-east\"]", "failover = [\"us-east\", \"ap-south\"]");
    pair.legislate(&law);
    let third = Rig::region(3, 1, 1, pair.home.dir.clone(), pair.home.ca.clone()).await;
    third.legislate(&law);
    third.leader().await;
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    let at = serve(&third, NodeId(1)).await;
    pair.here().peers.set_gateways("ap-south".parse().unwrap(), vec![at]);
    let name = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    pair.home.at_rest().await;
    eventually("told", || told(&third, &name)).await;

    third.owned_by(2, 2, Kind::Failover);
    eventually("it follows", || matches!(third.phase(), Some(Phase::Elsewhere { .. }))).await;
    third.owned_by(3, 3, Kind::Switchover);
    eventually("settled", || third.phase() == Some(Phase::Owned)).await;
    let there = third.nodes.values().next().unwrap();
    let order = shown(there, &name).await;
    assert_eq!(order.state(), wire::OrderState::Parked, "{order:?}");
    assert_eq!(order.parked_reason, "LEFT_BEHIND");
    assert!(order.parked_detail.starts_with("us-east owned it"), "{}", order.parked_detail);
}
