//! Disk space comes back, whoever lags.

use std::time::Duration;

use bytes::Bytes;
use hansa_wal::fs::{Fs as _, Op, SimFs};
use hansa_wal::{Config, Entry};

use crate::model::Model;
use crate::rig::*;

#[test]
fn purged_segments_go_without_a_copy() {
    let fs = SimFs::new(1);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        for index in 1..=300 {
            append(&wal, g, entries(g, index..=index)).await.expect("durable");
            wal.purge(g, index, Bytes::from("p"));
        }
        idle(3_000).await;
        let stats = wal.stats();
        assert_eq!(stats.copied, 0);
        assert_eq!(stats.segments, 1, "{stats:?}");
        assert!(stats.segments_removed >= 3, "{stats:?}");
        assert!(fs.used() <= 2 * u64::from(small().segment_bytes) + 4096, "{}", fs.used());
    });
}

#[test]
fn a_log_that_rolls_has_nothing_on_the_disk_but_what_lives() {
    let fs = SimFs::new(5);
    let (dead, quiet) = (group(0), group(1));
    let bytes = |at: &str| fs.bytes(&dir().join(at)).expect("a segment");
    let secret = entry(dead, 1, 0, 300);
    let holds = |segment: &[u8]| segment.windows(300).any(|part| part == &secret.payload[..]);
    let expected = life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        append(&wal, dead, vec![secret.clone()]).await.expect("durable");
        append(&wal, quiet, entries(quiet, 1..=3)).await.expect("durable");
        vote(&wal, quiet, "a vote").await.expect("durable");
        wal.purge(dead, 1, Bytes::from("p"));
        idle(5_000).await;
        assert!(holds(&bytes("00000001.seg")), "a segment that is written stays");
        wal.roll();
        idle(5_000).await;
        let stats = wal.stats();
        assert_eq!((stats.segments, stats.copied, stats.segments_removed), (1, 3, 1), "{stats:?}");
        let left = fs.list(&dir()).expect("a folder");
        let segments = left.iter().filter(|name| name.ends_with(".seg"));
        assert!(segments.clone().count() > 0, "{left:?}");
        assert!(segments.clone().all(|name| !holds(&bytes(name))), "{left:?}");
        Model::of(&wal)
    });
    fs.crash();
    life(2, async |world| {
        let (wal, recovery) = open(&fs, &world).expect("open");
        assert_eq!(recovery.cut, None);
        assert!(Model::of(&wal) == expected);
        assert_eq!(all(&wal, quiet), entries(quiet, 1..=3));
    });
}

#[test]
fn a_log_rolls_though_nearly_all_of_it_lives() {
    let fs = SimFs::new(7);
    let (dead, full) = (group(0), group(1));
    let secret = entry(dead, 1, 0, 300);
    let holds = |name: &String| {
        let bytes = fs.bytes(&dir().join(name)).expect("a segment");
        bytes.windows(300).any(|part| part == &secret.payload[..])
    };
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        append(&wal, dead, vec![secret.clone()]).await.expect("durable");
        let segment = u64::from(small().segment_bytes);
        let mut last = 0;
        while wal.stats().live_bytes < 2 * segment {
            append(&wal, full, entries(full, last + 1..=last + 10)).await.expect("durable");
            last += 10;
        }
        wal.purge(dead, 1, Bytes::from("p"));
        idle(2_000).await;
        assert!(wal.stats().live_bytes * 2 > wal.stats().segments as u64 * segment);
        wal.roll();
        idle(10_000).await;
        let left = fs.list(&dir()).expect("a folder");
        assert!(!left.iter().filter(|name| name.ends_with(".seg")).any(holds), "{left:?}");
        let copied = wal.stats().copied;
        assert!(copied <= last + 1, "each record once: {:?}", wal.stats());
        idle(10_000).await;
        assert_eq!(wal.stats().copied, copied, "and then no more");
        assert_eq!(all(&wal, full), entries(full, 1..=last));
    });
}

#[test]
fn what_is_copied_when_it_dies_is_gone_with_the_next_roll() {
    let (dead, quiet) = (group(0), group(1));
    let secret = entry(dead, 1, 0, 900);
    let mut met = 0;
    // At each point of the copying in turn.
    for wait_ms in 0..60 {
        let fs = SimFs::new(8);
        let holds = |name: &String| {
            let bytes = fs.bytes(&dir().join(name)).expect("a segment");
            bytes.windows(300).any(|part| part == &secret.payload[..300])
        };
        life(1, async |world| {
            // A segment is ready for each roll.
            let config = Config { spares: 3, ..small() };
            let (wal, _) = open_with(&fs, &world, config).expect("open");
            append(&wal, quiet, entries(quiet, 1..=10)).await.expect("durable");
            for index in 1..=9 {
                let same = Entry { index, ..secret.clone() };
                append(&wal, dead, vec![same]).await.expect("durable");
            }
            idle(1_000).await;
            fs.set_latency(Op::Sync, Duration::from_millis(7));
            wal.roll();
            idle(wait_ms).await;
            // Some of its copies are written, some are queued: now all of them are dead.
            let copied = wal.stats().copied;
            met += u64::from(wal.stats().queue_bytes > 0 && copied > 0);
            wal.purge(dead, 9, Bytes::from("p"));
            wal.roll();
            within(wal.rolled()).await.expect("rolled");
            let left = fs.list(&dir()).expect("a folder");
            let left: Vec<_> = left.iter().filter(|name| name.ends_with(".seg")).collect();
            assert!(!left.iter().any(|name| holds(name)), "after {wait_ms} ms: {left:?}");
            assert_eq!(all(&wal, quiet), entries(quiet, 1..=10));
        });
    }
    assert!(met > 0, "copies were queued when they died");
}

#[test]
fn a_log_rolls_without_a_spare_once_there_is_one() {
    let fs = SimFs::new(6);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        idle(1_000).await;
        // No room for another segment: what there is goes on, and nobody fails.
        fs.set_capacity(fs.used());
        wal.roll();
        idle(2_000).await;
        wal.roll();
        let g = group(0);
        append(&wal, g, entries(g, 1..=5)).await.expect("durable");
        assert_eq!(world.exit.whys(), Vec::<String>::new());
        fs.set_capacity(u64::MAX);
        idle(5_000).await;
        append(&wal, g, entries(g, 6..=6)).await.expect("durable");
        idle(5_000).await;
        assert_eq!(wal.stats().segments, 1, "{:?}", wal.stats());
        assert_eq!(all(&wal, g), entries(g, 1..=6));
    });
}

/// The rest of a segment that ends early is lost to votes and ticks, which live from it on a full
/// disk.
#[test]
fn a_roll_leaves_the_last_spare_where_it_is_until_there_is_room_for_another() {
    let fs = SimFs::new(9);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let (g, segment) = (group(0), u64::from(small().segment_bytes));
        let mut last = 0;
        while wal.stats().live_bytes < 2 * segment {
            append(&wal, g, entries(g, last + 1..=last + 10)).await.expect("durable");
            last += 10;
        }
        idle(1_000).await;
        let before = wal.stats().ready_bytes;
        assert!(before > segment, "a spare beside the one that is written");
        fs.set_capacity(fs.used() + segment - 1);
        wal.roll();
        idle(5_000).await;
        vote(&wal, g, "a vote").await.expect("durable");
        idle(5_000).await;
        let (after, copied) = (wal.stats().ready_bytes, wal.stats().copied);
        assert!(after + 1_000 > before, "{after} of {before} left");
        assert_eq!(copied, 0, "what is ready is not what a roll copies to");
        // Nobody writes: the log itself looks for room.
        fs.set_capacity(u64::MAX);
        within(wal.rolled()).await.expect("rolled");
        assert_eq!(all(&wal, g), entries(g, 1..=last));
        assert_eq!(world.exit.whys(), Vec::<String>::new());
    });
}

/// A roll that waits for room keeps nobody from closing the log.
#[test]
fn a_log_closes_while_a_roll_waits_for_room() {
    let fs = SimFs::new(10);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        append(&wal, g, entries(g, 1..=5)).await.expect("durable");
        idle(1_000).await;
        fs.set_capacity(fs.used());
        wal.roll();
        idle(1_000).await;
        within(wal.close()).await.expect("closed");
    });
}

#[test]
fn a_lagging_group_does_not_pin_the_disk() {
    let fs = SimFs::new(2);
    let limit = small().disk_bytes_max + 2 * u64::from(small().segment_bytes);
    let expected = life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let (lagging, busy) = (group(0), group(1));
        append(&wal, lagging, entries(lagging, 1..=40)).await.expect("durable");
        vote(&wal, group(2), "only a vote").await.expect("durable");
        wal.purge(group(3), 77, Bytes::from("only a purge"));
        for index in 1..=3_000 {
            append(&wal, busy, entries(busy, index..=index)).await.expect("durable");
            if index % 20 == 0 {
                wal.purge(busy, index - 5, Bytes::from("p"));
            }
            assert!(fs.used() <= limit, "{} bytes at {index}", fs.used());
        }
        let stats = wal.stats();
        assert!(stats.copied >= 40 && !stats.pinned, "{stats:?}");
        // Written at most twice: the copies stay below what clients append.
        assert!(stats.copied < 3_000, "{stats:?}");
        // The last purge rides with the idle mark.
        idle(1_000).await;
        Model::of(&wal)
    });
    fs.crash();
    life(2, async |world| {
        let (wal, recovery) = open(&fs, &world).expect("open");
        assert_eq!(recovery.cut, None);
        assert!(Model::of(&wal) == expected);
        assert_eq!(all(&wal, group(0)), entries(group(0), 1..=40));
        assert_eq!(expected.groups[&group(2)].vote, Some(Bytes::from("only a vote")));
        assert_eq!(expected.groups[&group(3)].purged, Some((77, Bytes::from("only a purge"))));
    });
}

#[test]
fn when_most_is_live_the_log_says_whose_it_is_instead_of_copying_in_circles() {
    let fs = SimFs::new(3);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        for index in 1..=1_000 {
            append(&wal, g, entries(g, index..=index)).await.expect("durable");
        }
        let stats = wal.stats();
        assert!(stats.pinned, "{stats:?}");
        assert_eq!(stats.copied, 0);
        let heaviest = wal.live_bytes().into_iter().max_by_key(|(_, bytes)| *bytes);
        assert_eq!(heaviest.map(|(id, _)| id), Some(g));
        wal.purge(g, 950, Bytes::from("p"));
        idle(5_000).await;
        let stats = wal.stats();
        assert!(!stats.pinned && stats.disk_bytes <= small().disk_bytes_max, "{stats:?}");
        assert_eq!(all(&wal, g), entries(g, 951..=1_000));
    });
}

#[test]
fn the_cache_and_the_index_are_bounded_by_what_is_live() {
    let fs = SimFs::new(4);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        for index in 1..=500 {
            append(&wal, g, entries(g, index..=index)).await.expect("durable");
            assert!(wal.stats().cache_bytes <= small().cache_bytes + 4_000);
        }
        assert_eq!(wal.stats().indexed, 500);
        wal.purge(g, 490, Bytes::from("p"));
        assert_eq!(wal.stats().indexed, 10);
        wal.truncate_after(g, Some(490));
        let stats = wal.stats();
        assert_eq!((stats.indexed, stats.cache_bytes), (0, 0));
    });
}
