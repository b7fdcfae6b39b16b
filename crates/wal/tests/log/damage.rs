//! Damage is named by file and offset, a torn tail is cut, and nothing else happens.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hansa_wal::fs::{Fs, SimFs};
use hansa_wal::{Config, Damage, Fault, OpenError, ReadError, Recovery, Wal};

use crate::model::Model;
use crate::rig::*;

pub fn config() -> Config {
    Config { segment_bytes: 8 << 10, disk_bytes_max: 1 << 20, ..small() }
}

/// A log of three segments; the last batch holds the `last` entry alone.
pub fn written(marked: bool) -> (SimFs, Model) {
    let fs = SimFs::new(1);
    let model = life(1, async |world| {
        let (wal, _) = open_with(&fs, &world, config()).expect("open");
        vote(&wal, group(1), "v1").await.expect("durable");
        for index in 1..=56 {
            append(&wal, group(0), entries(group(0), index..=index)).await.expect("durable");
        }
        wal.save_committed(group(0), Bytes::from("c9"));
        append(&wal, group(0), vec![entry(group(0), 57, 0, 500)]).await.expect("durable");
        if marked {
            idle(1_000).await;
        }
        assert_eq!(wal.stats().segments, 3);
        Model::of(&wal)
    });
    fs.crash();
    (fs, model)
}

/// What opening the damaged disk comes to.
pub fn outcome(fs: &SimFs) -> Result<(Model, Recovery), OpenError> {
    life(2, async |world| {
        let (wal, recovery) = open_with(fs, &world, config())?;
        Ok((Model::of(&wal), recovery))
    })
}

fn damage(fs: &SimFs) -> Damage {
    match outcome(fs) {
        Err(OpenError::Damaged(damage)) => damage,
        Err(other) => panic!("not damage: {other}"),
        Ok((_, recovery)) => panic!("opens: {recovery:?}"),
    }
}

/// The offsets behind the last record of each file, by its last byte that is not zero.
pub fn ends(fs: &SimFs) -> Vec<(PathBuf, u64)> {
    let end = |path: &PathBuf| {
        let bytes = fs.bytes(path).expect("there");
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
    };
    segments(fs).into_iter().map(|path| (path.clone(), end(&path))).collect()
}

#[test]
fn a_flipped_bit_anywhere_below_the_mark_is_damage_at_its_place() {
    let (fs, model) = written(true);
    let ends = ends(&fs);
    let used = ends.iter().filter(|(_, end)| *end > 4096).count();
    assert_eq!(used, 3);
    for (n, (path, end)) in ends.iter().enumerate().take(used) {
        // The mark itself is the last record: 32 bytes that nobody waits for.
        let marked = if n + 1 == used { end.next_multiple_of(8) - 32 } else { *end };
        for at in (0..*end).filter(|at| *at < 64 || *at >= 4096 || at % 61 == 0) {
            let disk = fs.fork(1);
            disk.flip(path, at, 1 << (at % 8)).expect("flip");
            if at >= marked {
                let (found, recovery) = outcome(&disk).expect("opens");
                assert!(found == model, "byte {at} of the mark");
                assert!(recovery.cut.is_some());
                continue;
            }
            let damage = damage(&disk);
            assert_eq!(damage.file, *path, "byte {at} of {}", name(path));
            assert!(damage.offset <= at, "byte {at}: {damage}");
            let near = at - damage.offset <= 4096;
            assert!(near, "byte {at}: {damage}");
        }
    }
}

#[test]
fn a_batch_that_seals_its_segment_is_marked_too() {
    let fs = SimFs::new(1);
    life(1, async |world| {
        let (wal, _) = open_with(&fs, &world, config()).expect("open");
        let mut index = 1;
        while wal.stats().segments == 1 {
            // All at once, so that an entry that does not fit waits while the seal is written.
            let (done, told) = done();
            wal.append(group(0), entries(group(0), index..=index), done);
            let (done, next) = crate::rig::done();
            wal.append(group(0), vec![entry(group(0), index + 1, 0, 1000)], done);
            answer(told).await.expect("durable");
            if wal.stats().segments == 2 {
                // The second one is in the next segment, and never will be.
                break;
            }
            answer(next).await.expect("durable");
            index += 2;
        }
    });
    fs.crash();
    // The next life finds the seal, and marks it while idle.
    life(2, async |world| {
        let (_wal, _) = open_with(&fs, &world, config()).expect("open");
        idle(1_000).await;
    });
    let (path, end) = ends(&fs).into_iter().next().expect("the first");
    for at in end - 60..end {
        let disk = fs.fork(1);
        disk.flip(&path, at, 1).expect("flip");
        assert_eq!(damage(&disk).file, path, "byte {at}");
    }
}

#[test]
fn a_file_shortened_anywhere_is_damage() {
    let (fs, _) = written(true);
    let files = fs.files().into_iter().filter(|path| name(path) != "LOCK");
    let used = |path: &PathBuf| fs.bytes(path).expect("there").iter().skip(4096).any(|b| *b != 0);
    for path in files.filter(|path| name(path) == "FORMAT" || used(path)) {
        let len = fs.bytes(&path).expect("there").len() as u64;
        for to in (0..len).filter(|to| len < 100 || to % 37 == 0 || *to == len - 1) {
            let disk = fs.fork(1);
            disk.shorten(&path, to).expect("shorten");
            let damage = damage(&disk);
            assert_eq!(damage.file, path, "{to} bytes: {damage}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let (fs, _) = written(true);
    for path in segments(&fs).into_iter().take(3).chain([dir().join("FORMAT")]) {
        let disk = fs.fork(1);
        disk.lose(&path).expect("lose");
        let damage = damage(&disk);
        assert_eq!((&damage.file, &damage.fault), (&path, &Fault::Missing), "{damage}");
    }
    let disk = fs.fork(1);
    segments(&fs).iter().for_each(|path| disk.lose(path).expect("lose"));
    assert_eq!(damage(&disk).fault, Fault::Missing);
}

#[test]
fn an_unused_spare_may_be_lost_or_damaged() {
    let (fs, model) = written(true);
    let spare = ends(&fs).into_iter().find(|(_, end)| *end < 4096);
    let Some((path, _)) = spare else { panic!("no spare") };
    for harm in 0..3 {
        let disk = fs.fork(1);
        match harm {
            0 => disk.lose(&path).expect("lose"),
            1 => disk.flip(&path, 3, 1).expect("flip"),
            _ => disk.shorten(&path, 100).expect("shorten"),
        }
        assert!(outcome(&disk).expect("opens").0 == model);
    }
}

#[test]
fn a_segment_of_another_log_or_place_is_foreign() {
    let (fs, _) = written(true);
    let other = SimFs::new(9);
    life(77, async |world| {
        let (wal, _) = open_with(&other, &world, config()).expect("open");
        append(&wal, group(0), entries(group(0), 1..=3)).await.expect("durable");
    });
    let paths = segments(&fs);
    for bytes in [other.bytes(&paths[0]), fs.bytes(&paths[1])] {
        let disk = fs.fork(1);
        let file = disk.open(&paths[0]).expect("open");
        file.write_at(&bytes.expect("there"), 0).expect("write");
        let damage = damage(&disk);
        assert_eq!((damage.file, damage.fault), (paths[0].clone(), Fault::Foreign));
    }
}

#[test]
fn a_page_that_went_back_in_time_is_damage() {
    let fs = SimFs::new(1);
    let path = dir().join("00000001.seg");
    let before = life(1, async |world| {
        let (wal, _) = open_with(&fs, &world, config()).expect("open");
        for index in 1..=10 {
            append(&wal, group(0), entries(group(0), index..=index)).await.expect("durable");
        }
        let before = fs.bytes(&path).expect("there");
        for index in 11..=60 {
            append(&wal, group(0), entries(group(0), index..=index)).await.expect("durable");
        }
        before
    });
    fs.crash();
    let file = fs.open(&path).expect("open");
    file.write_at(&before[4096..8192], 4096).expect("write");
    assert_eq!(damage(&fs).file, path);
}

#[test]
fn an_unknown_version_is_refused_and_named() {
    let (fs, _) = written(true);
    let body = "hansa-wal\nversion 1\nlog 0000000000000001\n";
    let text = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
    let path = dir().join("FORMAT");
    let file = fs.create(&path).expect("create");
    file.write_at(text.as_bytes(), 0).expect("write");
    let refused = outcome(&fs).expect_err("refused");
    assert!(matches!(refused, OpenError::Version { found: 1, known: 2, .. }), "{refused}");
    assert_eq!(refused.to_string(), "/data/log/FORMAT: log format 1, this binary knows 2");
}

#[test]
fn damage_under_a_running_log_is_found_on_read() {
    let fs = SimFs::new(1);
    life(1, async |world| {
        let config = Config { cache_bytes: 0, ..config() };
        let (wal, _) = open_with(&fs, &world, config).expect("open");
        let g = group(0);
        append(&wal, g, entries(g, 1..=10)).await.expect("durable");
        let path = dir().join("00000001.seg");
        fs.flip(&path, 4096 + 32 + 152 * 4 + 60, 4).expect("flip");
        assert_eq!(wal.read(g, 1, 4, usize::MAX).expect("before it"), entries(g, 1..=3));
        let error = wal.read(g, 1, 11, usize::MAX).expect_err("damaged");
        let ReadError::Damaged(damage) = error else { panic!("{error}") };
        assert_eq!((damage.file, damage.fault), (path, Fault::Record));
    });
}

#[test]
fn a_folder_that_never_had_a_log_begins_one_even_after_a_crash_right_there() {
    for ops in 0..12 {
        let fs = SimFs::new(ops);
        fs.cut_power_after(ops);
        let first = life(1, async |world| {
            Wal::open(Arc::new(fs.clone()), &dir(), config(), &world.env).map(|_| ())
        });
        fs.crash();
        let (model, recovery) = outcome(&fs).unwrap_or_else(|e| panic!("after {ops}: {e}"));
        assert_eq!(model, Model::default());
        assert!(recovery.fresh || first.is_ok() || ops > 5, "after {ops}");
    }
}

#[test]
fn a_process_killed_while_it_began_a_log_leaves_names_that_the_next_one_makes_durable() {
    for (ops, seed) in (0..16).flat_map(|ops| (0..8).map(move |seed| (ops, seed))) {
        let fs = SimFs::new(seed);
        fs.cut_power_after(ops);
        life(1, async |world| drop(open_with(&fs, &world, config())));
        fs.kill();
        life(2, async |world| {
            let (wal, _) = open_with(&fs, &world, config()).expect("open");
            // No room for a spare: its folder sync would make the names durable by chance.
            fs.set_capacity(fs.used());
            append(&wal, group(0), entries(group(0), 1..=1)).await.expect("durable");
        });
        fs.crash();
        fs.set_capacity(u64::MAX);
        let (model, _) = outcome(&fs).unwrap_or_else(|e| panic!("after {ops}: {e}"));
        assert_eq!(model.groups[&group(0)].entries.len(), 1);
    }
}
