use hansa_wal::fs::{Fs, SimFs};

use super::*;
use crate::archive::{Archive, End};
use crate::chain::{self, Link};
use hansa_types::id::GroupKind;

fn history() -> Vec<ArchivedEntry> {
    let group = GroupId::new(GroupKind::Orders, 0);
    let mut head = chain::GENESIS;
    let entry = |index: u64| {
        let commands = [Bytes::from(vec![index as u8; 3])];
        let payload = Batch::encode(LogTime(index), commands.iter()).bytes().clone();
        let kind = Kind::Commands;
        let link = Link { group, term: 1, index, kind: kind as u8, payload: &payload };
        let heads = (head, chain::extend(&head, link));
        head = heads.1;
        ArchivedEntry { index, term: 1, kind, payload, heads, records: 0 }
    };
    (0..100).map(entry).collect()
}

fn archived() -> (Arc<dyn Fs>, SimFs) {
    let disk = SimFs::new(1);
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    fs.create_dir_all(Path::new("/a")).unwrap();
    let archive = Archive::open(&fs, Path::new("/a/archive.redb")).unwrap();
    let entries = history();
    let end = End { next_index: 100, records: 0, chain: entries[99].heads.1 };
    archive.append(&entries, &[], end).unwrap();
    drop(archive);
    (fs, disk)
}

#[test]
fn every_archived_entry_is_read_and_every_page_is_sound() {
    let (fs, _) = archived();
    let path = Path::new("/a/archive.redb");
    let reader = ArchiveReader::open(&fs, path).unwrap();
    assert_eq!((reader.chunks(), reader.strays().unwrap()), ((2, 0), vec![]));
    let read: Vec<Entry> = (0..2)
        .flat_map(|chunk| entries(&reader.entries(chunk).unwrap().unwrap()).unwrap())
        .collect();
    assert_eq!(read.len(), 100);
    assert_eq!(read[7].commands, [Bytes::from(vec![7; 3])]);
    let pages = Pages::open(&fs, path).unwrap();
    let (bytes, damaged) = pages.read(1, pages.count()).unwrap();
    assert_eq!((bytes.len() as u64, damaged.len()), (pages.count() * 4096, 0));
    assert_eq!(pages.bytes(), fs.open(path).unwrap().len().unwrap());
}

#[test]
fn a_flipped_byte_of_a_page_that_nobody_uses_is_found() {
    let (_, disk) = archived();
    let path = Path::new("/a/archive.redb");
    let length = disk.bytes(path).unwrap().len() as u64;
    disk.flip(path, length - 100, 1).unwrap();
    let fs: Arc<dyn Fs> = Arc::new(disk);
    let pages = Pages::open(&fs, path).unwrap();
    assert_eq!(pages.read(1, pages.count()).unwrap().1, [pages.count()]);
}

#[test]
fn a_tail_behind_a_chunks_last_entry_is_no_chunk() {
    let good = crate::archive::pack_entries(&history());
    assert_eq!(entries(&good).unwrap().len(), 100);
    let body = [&good[4..], b"secret"].concat();
    let bad = [&crc32c::crc32c(&body).to_le_bytes()[..], &body].concat();
    assert!(entries(&bad.into()).is_err());
}

#[test]
fn what_only_a_machine_wrote_is_a_state() {
    use crate::testing::counter::Counters;
    let mut bytes = Vec::new();
    let state = Counters::default();
    state.freeze().write(&mut bytes).unwrap();
    assert!(machine::<Counters>(&mut &bytes[..]).is_ok());
    bytes.extend_from_slice(b"secret");
    assert!(machine::<Counters>(&mut &bytes[..]).is_err());
}
