//! What the log promises, one test each.

use bytes::Bytes;
use hansa_wal::fs::{Op, SimFs};
use hansa_wal::{Config, GroupState, OpenError, ReadError};

use crate::rig::*;

#[test]
fn entries_are_readable_before_they_are_durable() {
    let fs = SimFs::new(1);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let (done, _told) = done();
        wal.append(group(0), entries(group(0), 1..=5), done);
        assert_eq!(all(&wal, group(0)), entries(group(0), 1..=5));
        assert_eq!(wal.stats().syncs, 0);
    });
}

#[test]
fn everything_acknowledged_is_there_after_a_power_cut() {
    let fs = SimFs::new(2);
    life(1, async |world| {
        let (wal, recovery) = open(&fs, &world).expect("open");
        assert!(recovery.fresh);
        append(&wal, group(0), entries(group(0), 1..=20)).await.expect("durable");
        wal.truncate_after(group(0), Some(15));
        wal.purge(group(0), 3, Bytes::from("p3"));
        wal.save_committed(group(0), Bytes::from("c14"));
        vote(&wal, group(0), "v7").await.expect("durable");
    });
    fs.crash();
    life(2, async |world| {
        let (wal, recovery) = open(&fs, &world).expect("open");
        assert!(!recovery.fresh);
        let state = wal.state(group(0)).expect("state");
        let expected = GroupState {
            vote: Some(Bytes::from("v7")),
            committed: Some(Bytes::from("c14")),
            purged: Some((3, Bytes::from("p3"))),
            first: Some(4),
            last: Some((15, entry(group(0), 15, 0, 0).head)),
        };
        assert_eq!(state, expected);
        assert_eq!(all(&wal, group(0)), entries(group(0), 4..=15));
        assert_eq!(wal.groups(), vec![group(0)]);
        assert_eq!(wal.state(group(9)).expect("state"), GroupState::default());
    });
}

#[test]
fn a_committed_id_alone_is_on_disk_within_a_second_and_costs_no_sync_of_its_own() {
    let fs = SimFs::new(3);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        append(&wal, group(0), entries(group(0), 1..=1)).await.expect("durable");
        idle(2_000).await;
        let before = wal.stats().syncs;
        for n in 0..50 {
            wal.save_committed(group(0), Bytes::from(format!("c{n}")));
            idle(5).await;
        }
        idle(1_000).await;
        let syncs = wal.stats().syncs - before;
        assert!((1..=3).contains(&syncs), "{syncs} syncs");
    });
    fs.crash();
    life(2, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let state = wal.state(group(0)).expect("state");
        assert_eq!(state.committed, Some(Bytes::from("c49")));
    });
}

#[test]
fn an_idle_log_marks_once_and_then_rests() {
    let fs = SimFs::new(4);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        append(&wal, group(0), entries(group(0), 1..=1)).await.expect("durable");
        idle(1_000).await;
        assert_eq!(wal.stats().batches, 2, "the entry and the mark");
        idle(60_000).await;
        assert_eq!(wal.stats().batches, 2);
    });
}

#[test]
fn many_groups_share_one_sync() {
    let fs = SimFs::new(5);
    fs.set_latency(Op::Sync, std::time::Duration::from_millis(2));
    life(1, async |world| {
        let config = Config { batch_bytes: 1 << 20, queue_bytes_max: 1 << 20, ..small() };
        let config = Config { segment_bytes: 1 << 20, disk_bytes_max: 4 << 20, ..config };
        let (wal, _) = open_with(&fs, &world, config).expect("open");
        let mut told = Vec::new();
        for n in 0..128 {
            let (done, one) = done();
            wal.append(group(n), entries(group(n), 1..=1), done);
            told.push(one);
        }
        for one in told {
            answer(one).await.expect("durable");
        }
        assert!(wal.stats().syncs <= 2, "{} syncs", wal.stats().syncs);
    });
}

#[test]
fn callbacks_come_in_the_order_of_the_calls() {
    let fs = SimFs::new(6);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let note = |n: u64| {
            let seen = seen.clone();
            Box::new(move |_| seen.lock().expect("lock").push(n)) as hansa_wal::Done
        };
        for n in 0..60 {
            let g = group((n % 3) as u16);
            match n % 4 {
                0 => wal.save_vote(g, Bytes::from("v"), note(n)),
                1 => wal.append(g, Vec::new(), note(n)),
                2 => wal.append(g, entries(g, 900..=900), note(n)),
                _ => {
                    let next = wal.span(g).map_or(1, |(_, last)| last + 1);
                    wal.append(g, entries(g, next..=next + 2), note(n));
                }
            }
        }
        vote(&wal, group(0), "last").await.expect("durable");
        assert_eq!(*seen.lock().expect("lock"), (0..60).collect::<Vec<_>>());
    });
}

#[test]
fn an_append_that_does_not_join_is_refused_and_changes_nothing() {
    let fs = SimFs::new(7);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        append(&wal, g, entries(g, 2..=2)).await.expect_err("begins at 0 or 1");
        append(&wal, g, entries(g, 0..=4)).await.expect("durable");
        append(&wal, g, entries(g, 6..=6)).await.expect_err("hole");
        append(&wal, g, vec![entry(g, 5, 0, 20_000)]).await.expect_err("larger than a segment");
        let gap = vec![entry(g, 5, 0, 1), entry(g, 7, 0, 1)];
        append(&wal, g, gap).await.expect_err("hole inside");
        assert_eq!(all(&wal, g), entries(g, 0..=4));
        wal.purge(g, 10, Bytes::from("p"));
        append(&wal, g, entries(g, 12..=12)).await.expect_err("purged to 10");
        append(&wal, g, entries(g, 11..=12)).await.expect("joins the purge");
        append(&wal, g, entries(g, 9..=9)).await.expect_err("below the purge");
        assert_eq!(all(&wal, g), entries(g, 11..=12));
    });
}

#[test]
fn an_append_over_existing_entries_replaces_them_and_what_follows() {
    let fs = SimFs::new(8);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        append(&wal, g, entries(g, 1..=9)).await.expect("durable");
        append(&wal, g, vec![entry(g, 4, 1, 30)]).await.expect("durable");
    });
    fs.crash();
    life(2, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        let mut expected = entries(g, 1..=3);
        expected.push(entry(g, 4, 1, 30));
        assert_eq!(all(&wal, g), expected);
    });
}

#[test]
fn a_forgotten_group_leaves_nothing_and_may_begin_anew() {
    let fs = SimFs::new(15);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        append(&wal, g, entries(g, 0..=9)).await.expect("durable");
        wal.purge(g, 3, Bytes::from("p"));
        vote(&wal, g, "v").await.expect("durable");
        wal.forget(g);
        assert_eq!(wal.groups(), vec![]);
        assert_eq!((wal.stats().live_bytes, wal.stats().cache_bytes), (0, 0));
        append(&wal, g, entries(g, 0..=1)).await.expect("durable");
    });
    fs.crash();
    life(2, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let state = wal.state(group(0)).expect("state");
        assert_eq!((state.vote, state.purged, state.first), (None, None, Some(0)));
        assert_eq!(all(&wal, group(0)), entries(group(0), 0..=1));
    });
}

#[test]
fn reads_are_bounded_by_bytes_and_never_empty() {
    let fs = SimFs::new(9);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        append(&wal, g, entries(g, 1..=50)).await.expect("durable");
        assert_eq!(wal.read(g, 1, 51, 0).expect("one").len(), 1);
        assert!(wal.read(g, 1, 51, 600).expect("some").len() < 10);
        assert_eq!(wal.read(g, 1, 51, usize::MAX).expect("all"), entries(g, 1..=50));
        assert!(wal.read(g, 51, 60, 100).expect("none").is_empty());
        assert!(wal.read(group(5), 1, 60, 100).expect("none").is_empty());
        wal.purge(g, 7, Bytes::from("p"));
        let gone = wal.read(g, 7, 9, 100).expect_err("purged");
        assert!(matches!(gone, ReadError::Purged { first: 8 }), "{gone}");
    });
}

#[test]
fn a_caller_that_waits_for_room_gets_it() {
    let fs = SimFs::new(10);
    fs.set_latency(Op::Sync, std::time::Duration::from_millis(5));
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        for index in 1..=400 {
            within(wal.admit()).await;
            assert!(wal.stats().queue_bytes < small().queue_bytes_max);
            let (done, _told) = done();
            wal.append(g, entries(g, index..=index), done);
        }
        vote(&wal, g, "v").await.expect("durable");
        assert_eq!(wal.stats().queue_bytes, 0);
    });
}

#[test]
fn a_caller_that_does_not_wait_is_refused_before_memory_ends() {
    let fs = SimFs::new(11);
    fs.set_latency(Op::Sync, std::time::Duration::from_secs(5));
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        let mut last = None;
        for index in 1..=400 {
            let (done, told) = done();
            wal.append(g, entries(g, index..=index), done);
            last = Some(told);
        }
        let hard = 4 * small().queue_bytes_max;
        assert!(wal.stats().queue_bytes <= hard + 200, "{}", wal.stats().queue_bytes);
        let told = tokio::time::timeout(std::time::Duration::from_secs(600), last.expect("some"));
        let refused = told.await.expect("answered").expect("called").expect_err("refused");
        assert!(refused.kind() == std::io::ErrorKind::WouldBlock, "{refused}");
    });
}

#[test]
fn closing_writes_what_is_queued_and_lets_go_of_the_folder() {
    let fs = SimFs::new(12);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let (done, told) = done();
        wal.append(group(0), entries(group(0), 1..=9), done);
        wal.save_committed(group(0), Bytes::from("c9"));
        let other = wal.clone();
        within(wal.close()).await.expect("closed");
        answer(told).await.expect("durable");
        append(&other, group(0), entries(group(0), 10..=10)).await.expect_err("closed");
        let (wal, recovery) = open(&fs, &world).expect("free again");
        assert_eq!(recovery.cut, None);
        assert_eq!(wal.state(group(0)).expect("state").committed, Some(Bytes::from("c9")));
    });
}

#[test]
fn a_folder_has_one_log_at_a_time() {
    let fs = SimFs::new(13);
    life(1, async |world| {
        let (_wal, _) = open(&fs, &world).expect("open");
        let second = open(&fs, &world).err().expect("locked");
        assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    });
}

#[test]
fn dropping_every_handle_ends_the_loops() {
    let fs = SimFs::new(14);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let (done, told) = done();
        wal.append(group(0), entries(group(0), 1..=9), done);
        drop(wal);
        answer(told).await.expect("durable");
        idle(10).await;
        open(&fs, &world).expect("free again");
        assert!(world.exit.whys().is_empty());
    });
}
