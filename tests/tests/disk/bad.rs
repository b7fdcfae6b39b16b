//! Disks that answer EIO, or take their time.

use std::time::Duration;

use hansa_api::pb::admin::GroupKind;
use hansa_tests::lossy::{self, Cut, Faults, Op};
use hansa_tests::power::Rig;
use hansa_tests::processes::HOME;
use hansa_tests::{after, scale};

use crate::BACK_WITHIN;

/// A failed sync is not tried again: the system has marked the pages clean, and the next sync
/// would succeed without them. The process ends, the others go on, and it comes back with what was
/// synced.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_leader_at_once_and_loses_nothing() {
    if let Some(why) = lossy::missing() {
        return scale::skipped("failed syncs", &why);
    }
    let mut rig = Rig::start("eio").await;
    let load = rig.load(1).await;
    for (cycle, op) in [Op::Sync, Op::Write].into_iter().enumerate() {
        load.progress(10, BACK_WITHIN).await;
        let leader = rig.league.leader(HOME, GroupKind::Orders).await;
        let place = rig.league.names().iter().position(|name| *name == leader).expect("a node");
        rig.disks[place].set(Faults { eio: Some((op, "wal/")), ..Faults::default() });
        let status = rig.league.exited(&leader, BACK_WITHIN).await;
        assert!(!status.success(), "cycle {cycle}: {leader} ended as if all were well");
        let back = load.progress(10, BACK_WITHIN).await;
        println!("{op:?} failed at {leader}: it ended with {status}, orders again after {back:?}");
        rig.disks[place].cut(&mut Cut::Clean).expect("the real disk works");
        rig.league.run(&leader);
        rig.league.ready().await;
    }
    let run = load.stop().await;
    after::check(&rig.league, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_its_time_over_syncs_stops_no_region() {
    if let Some(why) = lossy::missing() {
        return scale::skipped("slow syncs", &why);
    }
    let rig = Rig::start("slow").await;
    let load = rig.load(1).await;
    for (disk, delay) in rig.disks.iter().zip([100, 300, 600]) {
        let sync_delay = Duration::from_millis(delay);
        disk.set(Faults { sync_delay, ..Faults::default() });
        load.progress(10, BACK_WITHIN).await;
        disk.set(Faults::default());
    }
    load.progress(10, BACK_WITHIN).await;
    let run = load.stop().await;
    println!("PlaceOrder: {}", run.tally.of("PlaceOrder"));
    after::check(&rig.league, &run).await;
}
