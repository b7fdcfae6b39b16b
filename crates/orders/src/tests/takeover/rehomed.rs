//! Another policy moves the customers of a lost region: what only that one had heard of is placed
//! nowhere a second time.

use hansa_region_router::core::directory::Former;
use hansa_types::time::LogTime;

use super::*;
use crate::tests::rig::POLICY;

/// The shipped policy with GB at home in `home`, and kept in full everywhere.
pub(super) fn living_in(home: &str, version: u64) -> String {
    let text = POLICY.replace("\nversion = 1\n", &format!("\nversion = {version}\n"));
    let (before, gb) = text.split_once("[jurisdiction.GB]").unwrap();
    let (gb, after) = gb.split_once("[jurisdiction.CH]").unwrap();
    let heir = if home == "eu-west" { "us-east" } else { "eu-west" };
    let kept = "store = [\"GB\", \"EU\"], transit = true, failover = [\"eu-central\"]";
    let wide = format!("store = [\"*\"], transit = true, failover = [\"{heir}\"]");
    let lives = gb.replace(kept, &wide).replace("[\"eu-west\"]\n", &format!("[\"{home}\"]\n"));
    assert!(lives.contains(&wide) && lives.contains(&format!("home = [\"{home}\"]")));
    format!("{before}[jurisdiction.GB]{lives}[jurisdiction.CH]{after}")
}

impl Rig {
    /// Another law, and the one before is remembered.
    fn relegislate(&self, text: &str) {
        self.relegislate_ago(text, 0);
    }

    fn relegislate_ago(&self, text: &str, ago_ms: u64) {
        for node in self.nodes.values() {
            let mut now = (*node.book.now().unwrap()).clone();
            let until = LogTime(node.orders.shell().env.clock.wall().ms() - ago_ms);
            now.former.push(Former {
                policy: now.policy.clone(),
                text: now.policy_text.clone(),
                until,
            });
            now.version += 1;
            node.book.publish(now);
        }
        self.legislate(text);
    }

    fn followed(&self, birth: u16, epoch: u64) -> bool {
        let shell = self.nodes.values().next().unwrap().orders.shell();
        shell.groups[&0].group.peek(|m| {
            let row = m.state.births.get(number(birth));
            row.is_some_and(|row| row.epoch == epoch && row.phase != Phase::Adopting)
        })
    }
}

/// Again while a home moves.
async fn place(rig: &Rig, request_id: &str) -> Result<wire::PlaceOrderResponse, Failure> {
    let end = soon();
    loop {
        match rig.place(&order(request_id)).await {
            Err(failure) if failure.reason() == Reason::HomeMoving && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_that_becomes_the_home_by_law_still_doubts_what_the_lost_home_may_have_heard() {
    let pair = Pair::start().await;
    pair.legislate(&living_in("eu-west", 2));
    let known = pair.home.place(&order("r-1")).await.unwrap().order.unwrap().name;
    shipped(&pair, 1).await;
    pair.abroad.owned_by(2, 2, Kind::Failover);
    eventually("settled", || pair.abroad.phase() == Some(Phase::Owned)).await;
    // Cut off, it hears of one more, which nobody else does.
    pair.home.place(&order("r-lost")).await.unwrap();
    let doubt = place(&pair.abroad, "r-lost").await.unwrap_err();
    assert_eq!(doubt.reason(), Reason::RequestInDoubt, "{doubt}");
    pair.abroad.relegislate(&living_in("us-east", 3));
    let doubt = place(&pair.abroad, "r-lost").await.unwrap_err();
    assert_eq!(doubt.reason(), Reason::RequestInDoubt, "{doubt}");
    let again = place(&pair.abroad, "r-1").await.unwrap();
    assert!(again.replayed && again.order.unwrap().name == known);
    let new = pair.away().service.place_order(dated(order("r-new"))).await.unwrap().into_inner();
    let name = new.order.unwrap().name;
    assert!(name.starts_with("regions/us-east/orders/"), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_home_hears_from_a_survivor_what_it_cannot_know() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&living_in("ap-south", 2));
    // ap-south is lost, and eu-west goes on with its births; us-east knows of no loss.
    pair.home.births_owned_by(3, (1, 2), Kind::Failover);
    pair.abroad.births_owned_by(3, (1, 2), Kind::Switchover);
    eventually("settled", || pair.home.followed(3, 2) && pair.abroad.followed(3, 2)).await;
    pair.home.relegislate(&living_in("us-east", 3));
    pair.abroad.relegislate(&living_in("us-east", 3));
    let doubt = place(&pair.abroad, "r-lost").await.unwrap_err();
    assert_eq!(doubt.reason(), Reason::RequestInDoubt, "{doubt}");
    pair.away().service.place_order(dated(order("r-lost"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_home_granted_after_the_new_one_had_the_law_is_not_placed_again() {
    let pair = Pair::start().await;
    reconnect(&pair).await;
    pair.legislate(&living_in("eu-west", 2));
    // The law is on its way: the old home takes an order still, long after it was made here.
    pair.abroad.relegislate_ago(&living_in("us-east", 3), 60_000);
    let sent = pair.here().orders.shell().env.clock.wall().ms();
    let late = || {
        let mut request = call(order("r-late"));
        first_sent::put(request.metadata_mut(), sent);
        request
    };
    let here = pair.here().service.place_order(late()).await.unwrap();
    let known = here.into_inner().order.unwrap().name;
    let again = pair.away().service.place_order(late()).await.unwrap_err();
    assert_eq!(Failure::from(&again).reason(), Reason::HomeMoving, "{again:?}");
    pair.home.relegislate(&living_in("us-east", 3));
    let end = soon();
    let again = loop {
        match pair.away().service.place_order(late()).await {
            Ok(again) => break again.into_inner(),
            Err(status) => assert!(Instant::now() < end, "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(again.replayed && again.order.unwrap().name == known);
    // It has said since when it takes none, and is asked only about what may be older.
    pair.away().peers.set_gateways("eu-west".parse().unwrap(), Vec::new());
    pair.away().service.place_order(dated(order("r-new"))).await.unwrap();
    assert!(pair.away().service.place_order(call(order("r-old"))).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_follows_also_what_it_sees_only_the_end_of() {
    let pair = Pair::start().await;
    for node in pair.abroad.nodes.values() {
        let mut now = (*node.book.now().unwrap()).clone();
        // A record, and that its owner came back from a backup; and a region that did by itself.
        now.owners.insert(number(3), Ownership { owner: number(1), epoch: 6 });
        now.owners.insert(number(1), Ownership { owner: number(1), epoch: 4 });
        now.version += 1;
        node.book.publish(now);
    }
    eventually("followed", || pair.abroad.followed(3, 6) && pair.abroad.followed(1, 4)).await;
    // What they forgot is in doubt here from then on, and a planned change is no loss of its own.
    let shell = pair.away().orders.shell();
    let doubt = |birth| shell.groups[&0].group.peek(|m| m.state.doubted(number(birth)));
    let before = doubt(1).unwrap();
    pair.abroad.births_owned_by(1, (3, 5), Kind::Switchover);
    eventually("followed", || pair.abroad.followed(1, 5)).await;
    assert_eq!(doubt(1), Some(before));
}
