//! What a torn write leaves is cut, reported, and gone for good.

use hansa_wal::OpenError;
use hansa_wal::fs::{Op, Rule, SimFs};

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
    expected.group(group(0)).entries.remove(&101);
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
    assert_eq!(model.groups[&group(0)].entries.keys().next_back(), Some(&100));
}

#[test]
fn a_cut_tail_does_not_come_back_behind_a_torn_batch_either() {
    let torn = torn();
    for seed in 0..40 {
        let disk = torn.fork(seed);
        life(3, async |world| {
            let (wal, _) = open_with(&disk, &world, config()).expect("open");
            disk.inject(Rule::always(Op::Sync).on(".seg"));
            vote(&wal, group(2), "a").await.expect_err("not durable");
        });
        disk.crash();
        let (model, _) = outcome(&disk).expect("opens");
        let last = model.groups[&group(0)].entries.keys().next_back();
        assert_eq!(last, Some(&100), "seed {seed}");
    }
}
