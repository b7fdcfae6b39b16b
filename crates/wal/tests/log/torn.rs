//! What a torn write leaves is cut, reported, and gone for good.

use std::time::Duration;

use hansa_wal::OpenError;
use hansa_wal::fs::{Op, SimFs};

use crate::damage::{config, ends, outcome, written};
use crate::model::Model;
use crate::rig::*;

#[test]
fn before_the_mark_only_the_last_batch_can_be_cut_and_the_cut_is_reported() {
    let (fs, model) = written(false);
    let ends = ends(&fs);
    let (path, end) = ends.iter().rfind(|(_, end)| *end > 4096).expect("used");
    let (mut cut, mut found_damage) = (0, 0);
    for at in 4096..*end {
        let disk = fs.fork(1);
        disk.flip(path, at, 0x80).expect("flip");
        match outcome(&disk) {
            Err(OpenError::Damaged(damage)) => {
                assert_eq!(damage.file, *path);
                found_damage += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok((found, recovery)) => {
                let reported = recovery.cut.expect("reported");
                assert!(reported.offset <= at && at < reported.offset + reported.bytes);
                assert_without_last(&model, &found, at);
                cut += 1;
            }
        }
    }
    // The last batch: its header, the committed id and an entry of 500 bytes.
    assert!((560..700).contains(&cut), "{cut} cut");
    assert!(found_damage > 1000, "{found_damage}");
}

fn assert_without_last(model: &Model, found: &Model, at: u64) {
    let mut expected = model.clone();
    expected.group(group(0)).entries.remove(&57);
    if *found != expected {
        expected.group(group(0)).committed = None;
    }
    assert!(*found == expected, "byte {at}");
}

/// A disk whose last batch has a bad header and a valid entry behind it.
fn torn() -> SimFs {
    let (fs, _) = written(false);
    let ends = ends(&fs);
    let (path, end) = ends.iter().rfind(|(_, end)| *end > 4096).expect("used");
    let flipped = |at: u64| {
        let disk = fs.fork(1);
        disk.flip(path, at, 1).expect("flip");
        disk
    };
    // The first byte whose loss does not stop the log from opening is the header's first one.
    let header = (end - 700..*end).find(|at| outcome(&flipped(*at)).is_ok());
    flipped(header.expect("the last batch"))
}

#[test]
fn a_cut_tail_never_comes_back() {
    let disk = torn();
    life(3, async |world| {
        let (wal, recovery) = open_with(&disk, &world, config()).expect("open");
        assert!(recovery.cut.is_some());
        // As long as the record before the entry, which would now be next in sequence.
        vote(&wal, group(2), "a").await.expect("durable");
    });
    disk.crash();
    let (model, recovery) = outcome(&disk).expect("opens");
    assert_eq!(recovery.cut, None);
    assert_eq!(model.groups[&group(0)].entries.keys().next_back(), Some(&56));
}

#[test]
fn a_cut_tail_does_not_come_back_behind_a_torn_batch_either() {
    // The last batch: a header, a first entry, and a second one that begins a sector of its own.
    let fs = SimFs::new(1);
    let path = dir().join("00000001.seg");
    let g = group(0);
    let first_len = life(1, async |world| {
        let (wal, _) = open_with(&fs, &world, config()).expect("open");
        append(&wal, g, entries(g, 1..=10)).await.expect("durable");
        let end = 4096 + wal.stats().bytes as usize;
        let sector = (end + 32 + 100).next_multiple_of(512);
        let head = entry(g, 11, 0, 0).head.len();
        let len = sector - end - 32 - 32 - head;
        let last = vec![entry(g, 11, 0, len), entry(g, 12, 0, 300)];
        append(&wal, g, last).await.expect("durable");
        fs.flip(&path, end as u64, 1).expect("flip");
        len
    });
    for seed in 0..40 {
        let disk = fs.fork(seed);
        life(2, async |world| {
            let (wal, recovery) = open_with(&disk, &world, config()).expect("open");
            assert!(recovery.cut.is_some());
            // Written over the first entry, and not yet synced when the power goes.
            disk.set_latency(Op::Sync, Duration::from_secs(9));
            let (done, _told) = done();
            wal.append(g, vec![entry(g, 11, 1, first_len)], done);
            idle(1).await;
        });
        disk.crash();
        let (model, _) = outcome(&disk).expect("opens");
        let last = model.groups[&g].entries.keys().next_back();
        assert!(last <= Some(&11), "seed {seed}: {last:?}");
    }
}
