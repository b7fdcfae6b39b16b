//! A disk that fails, fills or loses power: nothing false is ever said.

use bytes::Bytes;
use hansa_wal::fs::{Op, Rule, SimFs};

use crate::model::Model;
use crate::rig::*;

#[test]
fn a_failed_sync_acknowledges_nothing_ends_the_node_and_is_never_retried() {
    let fs = SimFs::new(1);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        let g = group(0);
        append(&wal, g, entries(g, 1..=3)).await.expect("durable");
        fs.inject(Rule::once(Op::Sync).on(".seg"));
        let mut told = Vec::new();
        for index in 4..=6 {
            let (done, one) = done();
            wal.append(g, entries(g, index..=index), done);
            told.push(one);
        }
        for one in told {
            answer(one).await.expect_err("not durable");
        }
        let syncs = fs.syncs();
        append(&wal, g, entries(g, 7..=7)).await.expect_err("the log failed");
        assert_eq!(wal.read(g, 1, 4, usize::MAX).expect("durable before"), entries(g, 1..=3));
        wal.read(g, 7, 8, usize::MAX).expect_err("refused, which is not: none there");
        vote(&wal, g, "v").await.expect_err("the log failed");
        wal.save_committed(g, Bytes::from("c"));
        idle(5_000).await;
        assert_eq!(fs.syncs(), syncs, "no second try");
        let whys = world.exit.whys();
        assert_eq!(whys.len(), 1);
        assert!(whys[0].contains("sync /data/log/00000001.seg: injected"), "{whys:?}");
        within(wal.close()).await.expect_err("failed");
    });
    fs.crash();
    life(2, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        assert_eq!(all(&wal, group(0)), entries(group(0), 1..=3));
    });
}

#[test]
fn a_failed_sync_of_a_segment_that_is_made_ready_ends_the_node() {
    // Even one that says that the disk is full, which a segment's space is waited for.
    for (at, told) in [("next.tmp", "sync /data/log/next.tmp: "), ("", "sync /data/log: ")] {
        let fs = SimFs::new(1);
        life(1, async |world| {
            let (wal, _) = open(&fs, &world).expect("open");
            fs.inject(Rule::once(Op::Sync).at(&dir().join(at)).full());
            idle(1).await;
            let (syncs, whys) = (fs.syncs(), world.exit.whys());
            assert!(whys.len() == 1 && whys[0].starts_with(told), "{whys:?}");
            append(&wal, group(0), entries(group(0), 1..=1)).await.expect_err("not after it");
            idle(5_000).await;
            assert_eq!(fs.syncs(), syncs, "no second try");
            assert_eq!(world.exit.whys(), whys);
        });
    }
}

#[test]
fn a_failed_write_acknowledges_nothing_and_ends_the_node() {
    let fs = SimFs::new(2);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        idle(1).await;
        fs.inject(Rule::always(Op::Write).on("00000001.seg"));
        append(&wal, group(0), entries(group(0), 1..=3)).await.expect_err("not durable");
        assert_eq!(world.exit.whys().len(), 1);
    });
}

#[test]
fn a_full_disk_serves_from_the_spare_and_recovers_when_there_is_room() {
    let fs = SimFs::new(3);
    life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        idle(1).await;
        // The first segment and its spare are there; no third one fits.
        fs.set_capacity(fs.used());
        let g = group(0);
        let mut index = 1;
        while wal.stats().spare_error.is_none() {
            append(&wal, g, entries(g, index..=index)).await.expect("the spare serves");
            index += 1;
        }
        assert_eq!(wal.stats().segments, 2);
        fs.set_capacity(u64::MAX);
        idle(1_500).await;
        assert_eq!(wal.stats().spare_error, None);
        for index in index..index + 300 {
            append(&wal, g, entries(g, index..=index)).await.expect("room again");
        }
    });
}

#[test]
fn a_disk_without_any_room_ends_the_node_and_says_why() {
    let fs = SimFs::new(4);
    let written = life(1, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        idle(1).await;
        fs.set_capacity(fs.used());
        let g = group(0);
        let mut index = 1;
        while append(&wal, g, entries(g, index..=index)).await.is_ok() {
            index += 1;
        }
        let whys = world.exit.whys();
        assert!(whys.len() == 1 && whys[0].contains("no segment"), "{whys:?}");
        index - 1
    });
    fs.crash();
    fs.set_capacity(u64::MAX);
    life(2, async |world| {
        let (wal, _) = open(&fs, &world).expect("open");
        assert_eq!(all(&wal, group(0)), entries(group(0), 1..=written));
        append(&wal, group(0), entries(group(0), written + 1..=written + 1))
            .await
            .expect("goes on");
    });
}

/// Appends, purges and votes until the disk gives up; answers what was acknowledged last.
async fn script(fs: &SimFs, world: &World) -> Option<u64> {
    let (wal, _) = open(fs, world).ok()?;
    let g = group(0);
    let next = wal.span(g).map_or(1, |(_, last)| last + 1);
    let purged = wal.state(g).ok()?.purged.map_or(0, |(upto, _)| upto);
    let mut acked = None;
    for index in next.max(purged + 1)..next + 40 {
        if append(&wal, g, vec![entry(g, index, 0, 700)]).await.is_err() {
            return acked;
        }
        acked = Some(index);
        if index.is_multiple_of(10) {
            wal.purge(g, index - 5, Bytes::from("p"));
        }
        idle(1).await;
    }
    acked
}

#[test]
fn a_power_cut_after_every_single_change_loses_nothing_acknowledged() {
    for seed in 0..4 {
        let mut ops = 0;
        loop {
            let fs = SimFs::new(seed * 1000 + ops);
            fs.cut_power_after(ops);
            let (acked, cut) = life(ops, async |world| {
                let acked = script(&fs, &world).await;
                (acked, !world.exit.whys().is_empty() || acked.is_none())
            });
            fs.crash();
            // The second start loses its power too, a little later each time.
            fs.cut_power_after(ops % 9);
            let early = life(ops + 1, async |world| open(&fs, &world).map(|_| ()).err());
            let harmless = |e: &hansa_wal::OpenError| matches!(e, hansa_wal::OpenError::Io { .. });
            assert!(early.as_ref().is_none_or(harmless), "{early:?}");
            fs.crash();
            life(ops + 2, async |world| {
                let (wal, _) = open(&fs, &world).unwrap_or_else(|e| panic!("{ops} ops: {e}"));
                let found = Model::of(&wal);
                let last = found.groups.get(&group(0)).and_then(|g| g.entries.keys().next_back());
                assert!(last >= acked.as_ref(), "{ops} ops: {last:?}, acknowledged {acked:?}");
            });
            if !cut {
                break;
            }
            ops += 1;
        }
        assert!(ops > 80, "the script made {ops} changes");
    }
}

#[test]
fn a_killed_process_that_comes_back_makes_durable_what_it_then_builds_on() {
    // The batch is written, the process dies before the sync, the next one reads it from the cache.
    for seed in 0..20 {
        let fs = SimFs::new(seed);
        life(1, async |world| {
            let (wal, _) = open(&fs, &world).expect("open");
            append(&wal, group(0), entries(group(0), 1..=3)).await.expect("durable");
            fs.inject(Rule::always(Op::Sync).on(".seg"));
            append(&wal, group(0), entries(group(0), 4..=6)).await.expect_err("not durable");
        });
        fs.kill();
        fs.heal();
        let seen = life(2, async |world| {
            let (wal, _) = open(&fs, &world).expect("open");
            all(&wal, group(0))
        });
        fs.crash();
        life(3, async |world| {
            let (wal, _) = open(&fs, &world).expect("open");
            assert_eq!(all(&wal, group(0)), seen, "seed {seed}");
        });
    }
}
