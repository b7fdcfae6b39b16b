//! Planted leaks, one per format, and none found where none is.

mod forms;
mod rig;
mod states;
mod times;

use hansa_api::classes::DataClass;
use hansa_orders::core::command::Command;
use hansa_wal::fs::{Op, Rule};

use self::rig::{DE, Rig, US, batch, foreign, swept, swept_by, view};
use crate::findings::{Found, Verdict};

const BOTH: [DataClass; 2] = [DataClass::Personal, DataClass::Financial];

#[tokio::test(start_paused = true)]
async fn a_node_that_keeps_what_it_may_is_clean_to_the_last_byte() {
    let rig = Rig::start().await;
    rig.submit(&rig::own(1, US)).await;
    rig.submit(&batch(1, &[(2, view(2, DE, &[]))])).await;
    let (fs, dir) = rig.stop().await;
    let sweep = swept(&fs, &dir);
    assert_eq!((sweep.findings.found(), &sweep.findings.unexplained), (vec![], &vec![]));
    assert_eq!(sweep.unread, []);
    for format in ["log", "archive", "checkpoint", "identity"] {
        let tally = sweep.findings.tallies[format];
        assert!(tally.files > 0, "{format}");
        assert!(format == "identity" || tally.records > 0, "{format} has records");
    }
    let read: u64 = sweep.findings.tallies.values().map(|tally| tally.bytes).sum();
    assert_eq!(read, rig::bytes_below(&fs, &dir), "every byte is some format's");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_order_is_found_in_log_checkpoint_and_archive() {
    let rig = Rig::start().await;
    rig.submit(&batch(1, &[(7, view(7, DE, &BOTH))])).await;
    let (fs, dir) = rig.stop().await;
    let sweep = swept(&fs, &dir);
    for (place, what) in [("wal/", "entry"), (".ckpt", "state"), ("archive.redb", "entry")] {
        for class in BOTH {
            let found = foreign(&sweep, |found| found.file.contains(place) && found.class == class);
            assert!(found > 0, "{class:?} in {place}");
        }
        let named = sweep.findings.found();
        assert!(named.iter().any(|found| found.file.contains(place) && found.first.contains(what)));
    }
    assert!(!sweep.findings.clean());
}

#[tokio::test(start_paused = true)]
async fn what_a_tightened_law_takes_back_is_foreign_until_it_is_purged_and_then_gone() {
    let by = times::before_and_after();
    let money = |found: &Found| found.class == DataClass::Financial;
    let rig = Rig::start_at(4).await;
    rig.submit_blinded(&batch(1, &[(7, view(7, DE, &BOTH))])).await;
    rig.checkpointed().await;
    let (fs, dir) = rig.disk();
    let lawful = swept_by(&fs, &dir, by.0.clone());
    assert_eq!(foreign(&lawful, |_| true), 0, "{:?}", lawful.findings.found());
    let pending = swept_by(&fs, &dir, by.1.clone());
    assert!(foreign(&pending, money) > 0, "nobody has purged it yet");
    let named = pending.findings.found();
    let kept = |file: &str| file.ends_with("archive.redb");
    assert!(!named.iter().any(|found| kept(&found.file)), "of it nothing lasts: {named:?}");

    rig.submit_blinded(&rig::purge(7)).await;
    // The older of the two that are kept has it still; the next one takes its place.
    for _ in 0..2 {
        rig.submit(&Command::Resume { order: rig::order(4, 1) }).await;
        rig.checkpointed().await;
    }
    let (fs, dir) = rig.stop().await;
    let done = swept_by(&fs, &dir, by.1);
    assert_eq!(foreign(&done, money), 0, "{:?}", done.findings.found());
    assert_eq!((&done.findings.unexplained, &done.unread), (&vec![], &vec![]));
    let left = done.findings.found();
    let left = left.iter().filter(|found| money(found));
    assert!(left.clone().all(|found| found.file.starts_with("wal/")), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_rolls_under_a_sweep_hides_nothing() {
    let mut seen = 0;
    for at in 0.. {
        let rig = Rig::start_with(2, 1_000_000).await;
        rig.submit_blinded(&batch(1, &[(7, view(7, DE, &BOTH))])).await;
        let mut sweep = rig.live();
        let mut finished = false;
        for _ in 0..at {
            finished = finished || sweep.step().finished;
        }
        // What was in the log alone is in a checkpoint alone, and that in another one.
        rig.forget(1).await;
        rig.submit(&rig::own(1, US)).await;
        rig.forget(2).await;
        while !finished && !sweep.step().finished {}
        let found = foreign(&sweep, |_| true);
        assert!(found > 0, "rolled after step {at}: {:?}", sweep.findings.found());
        assert_eq!(sweep.unread, vec![], "after step {at}");
        seen += 1;
        if finished {
            break;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_changes_faster_than_it_is_read_is_not_known_to_be_clean() {
    let rig = Rig::start_with(2, 1_000_000).await;
    rig.submit_blinded(&batch(1, &[(7, view(7, DE, &BOTH))])).await;
    let mut sweep = rig.live();
    for mark in 1.. {
        rig.submit(&rig::own(mark, US)).await;
        rig.forget(mark).await;
        if sweep.step().finished {
            break;
        }
    }
    assert!(foreign(&sweep, |_| true) > 0 || !sweep.unread.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_foreign_order_that_was_taken_for_our_own_is_found() {
    let rig = Rig::start().await;
    rig.submit(&rig::own(3, DE)).await;
    let (fs, dir) = rig.stop().await;
    let sweep = swept(&fs, &dir);
    for class in BOTH {
        assert!(foreign(&sweep, |found| found.class == class) > 0, "{class:?}");
    }
    let operational = foreign(&sweep, |found| found.class == DataClass::Operational);
    assert_eq!(operational, 0, "that may lie anywhere");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wrote_is_unexplained_wherever_it_lies() {
    let rig = Rig::start().await;
    rig.submit(&rig::own(1, US)).await;
    let (fs, dir) = rig.stop().await;
    for (file, flip) in rig::places(&fs, &dir) {
        let fork = fs.fork(7);
        rig::plant(&fork, &dir.join(&file), flip);
        let sweep = swept(&fork, &dir);
        let found = sweep.findings.unexplained.iter().any(|found| found.file == file);
        // A page that its archive does not use may be half written: it is told and searched.
        let searched = sweep.findings.tallies["archive"].unused > 0;
        let unused = file.ends_with("archive.redb") && searched;
        assert!(found || unused, "{file} {flip:?}: {:?}", sweep.findings.unexplained);
    }
    let fork = fs.fork(8);
    rig::write(&fork, &dir.join("groups/orders-0/notes.txt"), b"hello");
    let sweep = swept(&fork, &dir);
    assert_eq!(sweep.findings.unexplained.len(), 1);
    assert_eq!(sweep.findings.unexplained[0].file, "groups/orders-0/notes.txt");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_is_never_clean() {
    let rig = Rig::start().await;
    let (fs, dir) = rig.stop().await;
    fs.inject(Rule::always(Op::Read).on("identity"));
    let sweep = swept(&fs, &dir);
    assert_eq!(sweep.unread.len(), 1, "{:?}", sweep.unread);
    assert_eq!(sweep.unread[0].0, "identity");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_purged_is_found_in_pages_that_the_archive_uses_no_more() {
    let rig = Rig::start().await;
    rig.submit(&rig::own(1, US)).await;
    let (fs, dir) = rig.stop().await;
    // As if the store had let go of a page with a copy: behind its last one, well sealed.
    rig::append_page(&fs, &dir.join("groups/orders-0/archive.redb"), &view(9, DE, &BOTH));
    let sweep = swept(&fs, &dir);
    assert!(foreign(&sweep, |found| found.file.ends_with("archive.redb")) > 0);
    assert!(sweep.findings.found().iter().all(|found| found.verdict == Verdict::Foreign));
}
