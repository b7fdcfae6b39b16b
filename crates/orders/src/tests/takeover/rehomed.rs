//! Another policy moves the customers of a lost region: what only that one had heard of is placed
//! nowhere a second time.

use hansa_region_router::core::directory::Former;
use hansa_types::time::LogTime;

use super::*;
use crate::tests::rig::POLICY;

/// The shipped policy with GB at home in `home`, and kept in full everywhere.
fn living_in(home: &str, version: u64) -> String {
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
        for node in self.nodes.values() {
            let mut now = (*node.book.now().unwrap()).clone();
            let until = LogTime(node.orders.shell().env.clock.wall().ms());
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
