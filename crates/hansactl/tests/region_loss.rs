//! A region is lost and another one of its jurisdiction goes on with its orders, by the operator's
//! tool; then it comes back and gets them again.

#[path = "region_loss/moved.rs"]
mod moved;
#[path = "region_loss/rig.rs"]
mod rig;
#[path = "region_loss/tail.rs"]
mod tail;
#[path = "region_loss/unserved.rs"]
mod unserved;

use std::time::Duration;

use hansa_api::pb::order::OrderState;
use hansa_api::status::Reason;
use rig::{LOST, Rig, SURVIVOR, eventually, text};

const WHY: [&str; 4] = ["--reason", "flood in Dublin", "--ticket", "INC-1"];

async fn failover(rig: &Rig, more: &[&str]) -> std::process::Output {
    let words = [&["region", "failover", LOST, "--to", SURVIVOR], more, &WHY].concat();
    rig.ctl(SURVIVOR, &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_region_is_taken_over_and_gets_its_orders_back() {
    let mut rig = Rig::start("lost-region").await;
    let placed = rig.place(LOST, 6).await;
    tail::sent(&rig, &placed[2].name).await;
    rig.copied(&placed).await;
    let mover = moved::out(&rig).await;
    // Nobody is taken over from who may still serve, unless somebody says that he does not.
    let refused = failover(&rig, &[]).await;
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused));
    assert!(text(&refused).contains("machines are off"), "{}", text(&refused));
    let unheard = tail::taken_alone(&mut rig).await;
    let done = failover(&rig, &["--confirm-stopped"]).await;
    assert!(done.status.success(), "{}", text(&done));
    let (owner, epoch) = rig.owner_as_told_by(SURVIVOR).await.expect("it is known");
    assert_eq!((owner.as_str(), epoch > 1), (SURVIVOR, true));
    // A repeat finds that it is done.
    let again = failover(&rig, &["--confirm-stopped"]).await;
    assert!(again.status.success(), "{}", text(&again));
    for order in &placed {
        let read = rig.get(SURVIVOR, &order.name).await.expect("it is read at the survivor");
        assert_eq!(read.name, order.name);
        let replayed = rig.replay(SURVIVOR, order).await.expect("a repeat is answered");
        assert_eq!(replayed, (order.name.clone(), true), "with the same order");
    }
    moved::at_the_survivor(&rig, &mover).await;
    // A request that may have been carried out by who is lost, and one that cannot have been.
    let unknown = rig.ask(SURVIVOR, &rig.request(), 1).await.unwrap_err();
    assert_eq!(unknown.reason(), Reason::RequestInDoubt);
    let new = rig.place(SURVIVOR, 1).await.remove(0);
    assert!(new.name.starts_with(&format!("regions/{LOST}/orders/")), "{}", new.name);
    rig.cancelled(SURVIVOR, &placed[0].name).await;
    tail::came_back(&rig, &placed[2].name).await;
    // The lost region comes back and hears that it owns no longer.
    rig.begin(LOST).await;
    eventually("the old side knows", || async {
        rig.owner_as_told_by(LOST).await == Some((SURVIVOR.to_owned(), epoch))
    })
    .await;
    let through = rig.get(LOST, &new.name).await.expect("its gateway forwards");
    assert_eq!(through.state(), OrderState::Confirmed);
    tail::decided_by_two(&rig, &unheard).await;
    home(&rig).await;
    tail::gone_on_with(&rig, &unheard).await;
    let back = rig.place(LOST, 1).await.remove(0);
    let (owner, newer) = rig.owner_as_told_by(LOST).await.expect("it is known");
    assert_eq!((owner.as_str(), newer > epoch), (LOST, true));
    for name in [&new.name, &back.name, &placed[1].name] {
        let read = rig.get(LOST, name).await;
        let status = || async { text(&rig.ctl(LOST, &["region", "status", "-o", "json"]).await) };
        match read {
            Ok(order) => assert_eq!(order.name, *name),
            Err(failure) => panic!("{name} at home again: {failure}: {}", status().await),
        }
    }
    rig.end().await;
}

/// Home, once all groups have heard, in so many tries.
async fn home(rig: &Rig) {
    let words = [&["region", "failback", LOST], &WHY[..]].concat();
    for _ in 0..60 {
        let done = rig.ctl(LOST, &words).await;
        if done.status.success() {
            return;
        }
        eprintln!("not yet: {}", text(&done));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("it never came home: {}", text(&rig.ctl(LOST, &["region", "status"]).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_with_leases_is_fenced_and_needs_nobodys_word() {
    let mut rig = Rig::start_by("leases", Some(&unserved::policy())).await;
    let words = ["region", "isolation", LOST, "lease", "--lease", "3s"];
    let told = rig.ctl(LOST, &words).await;
    assert!(told.status.success(), "{}", text(&told));
    let placed = rig.place(LOST, 4).await;
    rig.copied(&placed).await;
    let unserved = unserved::placed(&rig).await;
    // It is cut off from the others: it stops by itself.
    for region in ["us-east", "ap-south", SURVIVOR] {
        rig.stop(region).await;
    }
    eventually("it takes nothing any more", || async {
        let refused = rig.ask(LOST, &rig.request(), u64::MAX).await;
        refused.is_err_and(|failure| failure.reason() == Reason::LeaseLost)
    })
    .await;
    for region in ["us-east", "ap-south", SURVIVOR] {
        rig.begin(region).await;
    }
    eventually("it goes on", || async { rig.ask(LOST, &rig.request(), u64::MAX).await.is_ok() })
        .await;
    unserved::refused(&rig, &["region", "failover", LOST, "--to", SURVIVOR]).await;
    // It lives, and is taken over all the same: it can have no lease when the record is made.
    let done = failover(&rig, &["--leave-unserved"]).await;
    assert!(done.status.success(), "{}", text(&done));
    assert!(text(&done).contains("waiting"), "{}", text(&done));
    eventually("the old side knows", || async {
        rig.owner_as_told_by(LOST).await.is_some_and(|(owner, _)| owner == SURVIVOR)
    })
    .await;
    for order in &placed {
        assert!(rig.get(SURVIVOR, &order.name).await.is_ok());
    }
    unserved::while_it_owns(&rig, &unserved).await;
    unserved::afterwards(&rig, &unserved).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_says_what_the_loss_of_a_region_costs() {
    let mut rig = Rig::start("drill").await;
    let words = ["drill", "lose-region", LOST, "--to", SURVIVOR, "--load", "4s", "--yes"];
    let mut drill = rig.tool(SURVIVOR, &words);
    let (done, ()) = tokio::join!(drill.output(), rig.stop_once_drained(LOST));
    let done = done.expect("hansactl runs");
    let said = text(&done);
    let missing = lost_by_the_drill(&said);
    assert_eq!(done.status.success(), missing.is_empty(), "{said}");
    for told in ["RTO ", "returns-within-shipments", "region failback"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    // What was under way when it stopped is its tail.
    rig.begin(LOST).await;
    tail::decided(&rig).await;
    home(&rig).await;
    for name in missing {
        let read = rig.get(LOST, name).await;
        assert!(read.is_ok(), "{name} was confirmed, and its region is back: {read:?}");
    }
    rig.end().await;
}

/// The confirmed orders that the survivor never heard of: a region that stops may have some that
/// nobody was told of yet. What the drill says of them agrees with itself.
fn lost_by_the_drill(said: &str) -> Vec<&str> {
    let rpo = said.lines().find(|line| line.starts_with("RPO ")).expect(said);
    let figures: Vec<usize> = rpo.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [events, missing, confirmed] = figures[..] else { panic!("{rpo}") };
    assert!(confirmed > 0, "customers ordered before it: {said}");
    let names: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("not found: ")).collect();
    assert_eq!(names.len(), missing, "{said}");
    let told = said.contains(&format!("has what {SURVIVOR} never saw: once"));
    assert_eq!(told, events > 0 || missing > 0, "{said}");
    names
}
