use hansa_types::id::GroupKind;
use hansa_wal::fs::{Op, RealFs, Rule, SimFs};
use tempfile::TempDir;

use super::*;
use crate::pending::Pending;
use crate::raft::log_id;
use crate::replica::Cell;
use crate::testing::counter::Counters;

fn group() -> GroupId {
    GroupId::new(GroupKind::Orders, 3)
}

struct Store {
    cell: Arc<Cell<Counters>>,
    checkpoints: Checkpoints,
}

fn open(dir: &TempDir) -> Result<Store, CheckpointError> {
    open_on(Arc::new(RealFs), dir.path())
}

fn open_on(fs: Arc<dyn Fs>, dir: &Path) -> Result<Store, CheckpointError> {
    let cell = Arc::new(Cell::new(group(), Counters::default(), Pending::new(true)));
    let archive = Arc::new(Archive::open(&fs, &dir.join("archive.redb"))?);
    let at = dir.join("group");
    let checkpoints = Checkpoints::load(fs, at, group(), cell.clone(), archive)?;
    Ok(Store { cell, checkpoints })
}

fn apply(store: &Store, from: u64, to: u64) {
    for index in from..to {
        let payload = openraft::EntryPayload::Blank;
        store.cell.apply(crate::raft::Entry { log_id: log_id(1, index), payload }).unwrap();
    }
}

#[test]
fn a_checkpoint_restores_position_and_state() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    apply(&store, 0, 100);
    store.checkpoints.write(store.cell.freeze()).unwrap();
    let before = store.cell.position();
    drop(store);
    let again = open(&dir).unwrap();
    assert_eq!(again.cell.position(), before);
    assert_eq!(again.checkpoints.newest().unwrap().index(), Some(99));
}

#[test]
fn only_the_older_of_two_kept_allows_a_purge() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let mut purgeable = Vec::new();
    for step in 0..4 {
        apply(&store, step * 10, step * 10 + 10);
        store.checkpoints.write(store.cell.freeze()).unwrap();
        purgeable.push(store.checkpoints.purgeable());
    }
    assert_eq!(purgeable, [None, Some(9), Some(19), Some(29)]);
    let left = std::fs::read_dir(dir.path().join("group")).unwrap().count();
    assert_eq!(left, 2);
}

#[test]
fn a_view_frozen_before_a_newer_checkpoint_came_does_not_replace_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    apply(&store, 0, 10);
    let early = store.cell.freeze();
    apply(&store, 10, 20);
    store.checkpoints.write(store.cell.freeze()).unwrap();
    assert_eq!(store.checkpoints.write(early).unwrap().index(), Some(19));
    assert_eq!(store.checkpoints.newest().unwrap().index(), Some(19));
    assert_eq!(store.checkpoints.purgeable(), None);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    apply(&store, 0, 10);
    let written = store.checkpoints.write(store.cell.freeze()).unwrap();
    drop(store);
    let good = std::fs::read(&written.path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&written.path, bad).unwrap();
        let error = open(&dir).err().unwrap_or_else(|| panic!("byte {at} was not missed"));
        assert!(error.is_damage(), "byte {at}: {error}");
    }
}

#[test]
fn a_cut_file_is_found() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    apply(&store, 0, 10);
    let written = store.checkpoints.write(store.cell.freeze()).unwrap();
    drop(store);
    let good = std::fs::read(&written.path).unwrap();
    for length in 0..good.len() {
        std::fs::write(&written.path, &good[..length]).unwrap();
        assert!(open(&dir).err().is_some_and(|e| e.is_damage()), "{length} bytes");
    }
}

#[test]
fn a_log_that_begins_after_the_checkpoint_does_not_meet_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    apply(&store, 0, 10);
    let begins = |upto| Purged { upto, file: PathBuf::from("wal/00000003.seg"), offset: 4096 };
    let written = store.checkpoints.write(store.cell.freeze()).unwrap();
    assert!(store.checkpoints.check_joins(Some(begins(9))).is_ok());
    let gap = store.checkpoints.check_joins(Some(begins(10))).unwrap_err();
    assert!(gap.is_damage());
    let told = gap.to_string();
    assert!(told.starts_with("the log begins after 10 (wal/00000003.seg at byte 4096)"), "{told}");
    let checkpoint = written.path.display();
    assert!(told.ends_with(&format!("checkpoint in {checkpoint} ends at Some(9)")), "{told}");
}

/// The file as another format's, its header shorter by `cut` bytes and its checksum made good.
fn of_format(file: &[u8], format: u32, cut: usize) -> Vec<u8> {
    let length = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let mut head = file[..8].to_vec();
    head.extend_from_slice(&format.to_le_bytes());
    head.extend_from_slice(&((length - cut) as u32).to_le_bytes());
    head.extend_from_slice(&file[16..16 + length - cut]);
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    [&head, &file[16 + length + 4..]].concat()
}

#[test]
fn a_checkpoint_of_a_later_format_is_refused_by_name_and_nothing_is_touched() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    let mut last = None;
    for step in 0..2 {
        apply(&store, step * 10, step * 10 + 10);
        last = Some(store.checkpoints.write(store.cell.freeze()).unwrap());
    }
    drop(store);
    let path = last.unwrap().path;
    let later = of_format(&std::fs::read(&path).unwrap(), 9, 0);
    std::fs::write(&path, &later).unwrap();
    let refused = open(&dir).err().unwrap();
    assert!(refused.is_version() && !refused.is_damage(), "{refused}");
    assert!(refused.to_string().contains("format 9, this binary reads 1 to 2"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), later, "not set aside, and no older one was taken");
}

#[test]
fn a_checkpoint_of_the_first_format_is_of_the_first_version() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    apply(&store, 0, 10);
    let written = store.checkpoints.write(store.cell.freeze()).unwrap();
    let before = store.cell.position();
    drop(store);
    let first = of_format(&std::fs::read(&written.path).unwrap(), 1, 4);
    std::fs::write(&written.path, first).unwrap();
    let again = open(&dir).unwrap();
    assert_eq!(again.cell.position(), before);
    assert_eq!(before.version, 1);
}

#[test]
fn a_disk_that_does_not_read_once_is_not_taken_for_a_damaged_checkpoint() {
    let (disk, dir) = (SimFs::new(1), Path::new("/node"));
    disk.create_dir(dir).unwrap();
    let store = open_on(Arc::new(disk.clone()), dir).unwrap();
    let mut newest = None;
    for step in 0..2 {
        apply(&store, step * 10, step * 10 + 10);
        newest = Some(store.checkpoints.write(store.cell.freeze()).unwrap());
    }
    drop(store);
    let newest = newest.unwrap().path;
    for after in 0..3 {
        disk.inject(Rule::once(Op::Read).at(&newest).after(after));
        let refused = open_on(Arc::new(disk.clone()), dir).err();
        let refused = refused.unwrap_or_else(|| panic!("read {after} was not missed"));
        assert!(!refused.is_damage() && !refused.is_version(), "{refused}");
        disk.heal();
    }
    let again = open_on(Arc::new(disk), dir).unwrap();
    assert_eq!(again.checkpoints.newest().unwrap().path, newest);
    assert_eq!(again.checkpoints.kept().len(), 2);
}

#[test]
fn what_arrived_with_a_flipped_bit_is_refused_and_gone_and_all_else_stays() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).unwrap();
    apply(&store, 0, 10);
    let sent = store.checkpoints.write(store.cell.freeze()).unwrap();
    let good = std::fs::read(&sent.path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let incoming = store.checkpoints.incoming().unwrap();
        incoming.file.write_at(&bad, 0).unwrap();
        let refused = store.checkpoints.received(incoming).err();
        let refused = refused.unwrap_or_else(|| panic!("byte {at} was not missed"));
        assert!(refused.is_damage(), "byte {at}: {refused}");
        let left = std::fs::read_dir(dir.path().join("group")).unwrap();
        assert_eq!(left.count(), 1, "byte {at}: nothing but what was there");
    }
    let incoming = store.checkpoints.incoming().unwrap();
    incoming.file.write_at(&good, 0).unwrap();
    assert_eq!(store.checkpoints.received(incoming).unwrap().index(), Some(9));
}
