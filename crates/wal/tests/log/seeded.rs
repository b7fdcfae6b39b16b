//! The mistakes of `hansa_types::seeded` do what they are meant to.

use hansa_types::seeded::{Bug, plant};
use hansa_wal::fs::SimFs;

use crate::rig::*;

#[test]
fn ack_before_sync_loses_what_was_acknowledged() {
    let kept = |seed| {
        let fs = SimFs::new(seed);
        life(1, async |world| {
            let (wal, _) = open(&fs, &world).expect("open");
            append(&wal, group(0), entries(group(0), 1..=3)).await.expect("acknowledged");
        });
        fs.crash();
        life(2, async |world| {
            open(&fs, &world).is_ok_and(|(wal, _)| all(&wal, group(0)).len() == 3)
        })
    };
    assert!((1..=8).all(kept));
    let _bug = plant(Bug::AckBeforeSync);
    assert!(!(1..=8).all(kept));
}

#[test]
fn truncate_ignored_brings_the_tail_back_after_a_restart() {
    for (bug, left) in [(None, 2), (Some(Bug::TruncateIgnored), 3)] {
        let _bug = bug.map(plant);
        let fs = SimFs::new(2);
        life(1, async |world| {
            let (wal, _) = open(&fs, &world).expect("open");
            append(&wal, group(0), entries(group(0), 1..=3)).await.expect("durable");
            wal.truncate_after(group(0), Some(2));
            assert_eq!(wal.span(group(0)), Some((1, 2)));
            vote(&wal, group(0), "v").await.expect("durable");
        });
        fs.crash();
        life(2, async |world| {
            let (wal, _) = open(&fs, &world).expect("open");
            assert_eq!(wal.span(group(0)), Some((1, left)));
        });
    }
}
