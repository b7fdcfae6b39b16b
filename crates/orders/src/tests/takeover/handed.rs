//! Births are handed over and home again in plan, and home is lost before anybody hears of it.

use super::rehomed::living_in;
use super::*;

async fn parcel(node: &Node, name: &str, n: usize) -> Result<bool, Failure> {
    let shipped = node.service.record_shipment(dated(again::parcel(n, name))).await;
    shipped.map(|answer| answer.into_inner().replayed).map_err(|status| Failure::from(&status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handed_home_is_served_where_it_came_from_once_home_is_lost() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let born = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    again::hand_over(&pair.home, &pair.abroad, 2).await;
    let there = pair.abroad.place(&order("r-2")).await.unwrap().order.unwrap().name;
    pair.abroad.at_rest().await;
    let stock = || pair.abroad.books.0.lock().stock.clone();
    let (held, opened) = (stock(), pair.abroad.books.0.lock().opened.len());

    // From now on nobody hears of home; it owns and goes on, and sends one of them out.
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    again::hand_over(&pair.abroad, &pair.home, 3).await;
    eventually("it follows", || matches!(pair.abroad.phase(), Some(Phase::Elsewhere { .. }))).await;
    assert!(!parcel(pair.here(), &there, 1).await.unwrap());
    pair.home.at_rest().await;
    pair.abroad.owned_by(2, 4, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;

    let away = pair.away();
    for name in [&born, &there] {
        let order = shown(away, name).await;
        assert_eq!((order.state(), order.epoch), (wire::OrderState::Confirmed, 4), "{name}");
    }
    assert!(pair.abroad.place(&order("r-2")).await.unwrap().replayed, "told as then");
    pair.abroad.at_rest().await;
    assert_eq!(stock(), held, "what it holds it has held all along");
    assert_eq!(pair.abroad.books.0.lock().opened.len(), opened, "nor are other books begun");
    assert!(!parcel(away, &born, 2).await.unwrap());
    assert!(parcel(away, &born, 2).await.unwrap());
    assert_eq!(shown(away, &born).await.state(), wire::OrderState::Completed);

    // Home is back, and says what it did that nobody knew.
    pair.home.owned_by(2, 4, Kind::Failover);
    eventually("it follows", || matches!(pair.home.phase(), Some(Phase::Elsewhere { .. }))).await;
    reconnect(&pair).await;
    let asked = || births::ListNodeTailRequest { birth: "eu-west".into(), max: 10 };
    let end = soon();
    let listed = loop {
        let listed = takeover(pair.here()).list_node_tail(call(asked())).await.unwrap();
        let listed = listed.into_inner();
        if listed.not_final.is_empty() {
            break listed.orders;
        }
        assert!(Instant::now() < end, "the new owner's stream is never heard to its end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let of = |name: &String| listed.iter().find(|of| &of.order == name).unwrap().proposed();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(of(&born), births::TailAction::Discard, "it was adopted there, and no more");
    assert_eq!(of(&there), births::TailAction::Unspecified, "goods went out");
    for node in [away, pair.here()] {
        for (group, broken) in node.orders.invariants(10) {
            assert!(broken.is_empty(), "{group}: {broken:?}");
        }
    }
}

impl Rig {
    /// A third region owned in 4, this one in 5 again, and it came back from a backup.
    fn came_back(&self, owner: u16) {
        for node in self.nodes.values() {
            let mut now = (*node.book.now().unwrap()).clone();
            let mut record = now.records[&number(1)].clone();
            (record.owner, record.kind) = (number(owner), Kind::Failover);
            (record.epoch, record.ends) = (5, 4);
            now.records.insert(number(1), record);
            now.owners.insert(number(1), Ownership { owner: number(owner), epoch: 6 });
            now.version += 1;
            node.book.publish(now);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_came_back_takes_over_from_who_owned_in_between() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    let born = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    again::hand_over(&pair.home, &pair.abroad, 2).await;
    pair.abroad.at_rest().await;
    pair.abroad.came_back(2);
    let shell = pair.away().orders.shell();
    let row = || shell.groups[&0].group.peek(|m| m.state.births.get(number(1)).cloned().unwrap());
    eventually("settled", || row().epoch == 6 && row().phase == Phase::Owned).await;
    assert_eq!((row().floor, row().taken.unwrap().take.unheard), (6, true));
    assert!(row().doubt.is_some());
    let order = shown(pair.away(), &born).await;
    assert_eq!((order.state(), order.epoch), (wire::OrderState::Confirmed, 6), "as it stood");
    assert!(!parcel(pair.away(), &born, 1).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_came_back_hides_nobody_who_owned_before_it() {
    let pair = Pair::start().await;
    pair.legislate(&policy(2, true));
    reconnect(&pair).await;
    let born = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    again::hand_over(&pair.home, &pair.abroad, 2).await;
    pair.abroad.at_rest().await;
    pair.here().peers.set_gateways("us-east".parse().unwrap(), Vec::new());
    again::hand_over(&pair.abroad, &pair.home, 3).await;
    let row = || {
        let shell = pair.away().orders.shell();
        shell.groups[&0].group.peek(|m| m.state.births.get(number(1)).cloned().unwrap())
    };
    eventually("it follows", || matches!(row().phase, Phase::Elsewhere { .. })).await;
    assert!(row().handed.is_some());

    pair.abroad.came_back(1);
    eventually("it follows", || row().epoch == 6).await;
    assert_eq!(
        (row().floor, row().handed),
        (5, None),
        "its owner wrote in 5, and goes on with that"
    );
    assert!(row().doubt.is_some());
    pair.abroad.owned_by(2, 7, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    let refused = parcel(pair.away(), &born, 1).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NoLawfulRegion, "{refused}");
}

/// A law by which those who live in GB live at us-east, and nothing of theirs may lie elsewhere.
fn away_alone(version: u64) -> String {
    let text = living_in("us-east", version);
    let (before, gb) = text.split_once("[jurisdiction.GB]").unwrap();
    let (gb, after) = gb.split_once("[jurisdiction.CH]").unwrap();
    let wide = "store = [\"*\"], transit = true, failover = [\"eu-west\"]";
    let alone = gb.replace(wide, "store = [\"US\"], transit = true, failover = []");
    let alone = alone.replace("store = [\"*\"]", "store = [\"US\"]");
    assert!(!alone.contains('*') && !alone.contains("eu-west"), "{alone}");
    format!("{before}[jurisdiction.GB]{alone}[jurisdiction.CH]{after}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_law_kept_its_owner_from_telling_does_not_go_on_as_it_was() {
    // By the law of the day where it came from; and by the one under which its owner told.
    for told in [false, true] {
        let pair = Pair::start().await;
        pair.legislate(&policy(2, true));
        let born = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
        shipped(&pair, 1).await;
        if told {
            pair.abroad.legislate(&away_alone(3));
            reconnect(&pair).await;
            let shell = pair.here().orders.shell();
            eventually("it is heard", || {
                shell.groups[&0].group.peek(|m| {
                    let mut views = m.state.remote.views.iter();
                    views.any(|(of, views)| of.region == number(2) && views.held.version == 3)
                })
            })
            .await;
        }
        again::hand_over(&pair.home, &pair.abroad, 2).await;
        pair.abroad.at_rest().await;
        if !told {
            pair.home.legislate(&away_alone(3));
        }
        pair.home.owned_by(1, 3, Kind::Failover);
        eventually("settled", || pair.home.phase() == Some(Phase::Owned)).await;
        let refused = parcel(pair.here(), &born, 1).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::NoLawfulRegion, "told: {told}");
        let asked = births::ListNodeNotAdoptedRequest { birth: "eu-west".into(), max: 9 };
        let listed = takeover(pair.here()).list_node_not_adopted(call(asked)).await.unwrap();
        let listed = listed.into_inner().orders;
        assert_eq!((listed.len(), listed[0].reason.as_str()), (1, "UNTOLD"), "told: {told}");
    }
}
