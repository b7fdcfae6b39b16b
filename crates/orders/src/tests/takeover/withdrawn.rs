//! A third region was told of an order that its owner never saw, and nobody goes on with it.

use super::*;

fn has(third: &Rig, name: &str) -> bool {
    let id = name.parse::<OrderName>().unwrap().id;
    let shell = third.nodes.values().next().unwrap().orders.shell();
    shell.groups[&0].group.peek(|m| m.state.remote.copies.contains(&id))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_third_region_has_of_an_order_that_is_over_goes_once_its_births_are_home() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let third = Rig::region(3, 1, 1, pair.home.dir.clone(), pair.home.ca.clone()).await;
    third.legislate(&policy(2, true));
    third.leader().await;
    let kept = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    allocated(&pair.abroad).await;
    // It does not know yet that it owns no longer, and reaches another region.
    let tail = pair.home.place(&order("r-2")).await.unwrap().order.unwrap().name;
    let at = serve(&third, NodeId(1)).await;
    pair.here().peers.set_gateways("ap-south".parse().unwrap(), vec![at]);
    eventually("told of both", || has(&third, &kept) && has(&third, &tail)).await;

    pair.home.owned_by(2, 2, Kind::Failover);
    eventually("it follows", || matches!(pair.home.phase(), Some(Phase::Elsewhere { .. }))).await;
    reconnect(&pair).await;
    eventually("its copies come", || {
        let shell = pair.here().orders.shell();
        shell.groups[&0].group.peek(|m| m.state.remote.copies.len()) == 1
    })
    .await;
    decide(pair.here(), &tail).await;
    assert!(has(&third, &tail), "until its births are home somebody may go on with it");
    again::moved(&pair.abroad, &pair.home, 3).await;
    eventually("withdrawn", || !has(&third, &tail)).await;
    assert!(has(&third, &kept), "what goes on stays");
    let streams = || {
        let streams = pair.here().orders.streams();
        streams.into_iter().find(|(peer, ..)| peer.as_str() == "ap-south").map(|(.., of)| of)
    };
    eventually("level", || streams().is_some_and(|of| of.differences == 0 && of.compared_ms > 0))
        .await;
    assert!(has(&third, &kept), "and is shipped again if need be");
}
