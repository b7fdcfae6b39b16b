use bytes::Bytes;
use hansa_wal::fs::{RealFs, SimFs};
use tempfile::TempDir;

use super::*;
use crate::raft::codec::Kind;
use crate::testing::full;

fn open(dir: &TempDir) -> Archive {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    Archive::open(&fs, &dir.path().join("archive.redb")).unwrap()
}

/// The chain before entry `index`.
fn head(index: u64) -> Head {
    let mut head = [0; 32];
    head[..8].copy_from_slice(&index.to_le_bytes());
    head
}

/// Entries `from..to`, each with one record named after its index modulo 50.
fn items(from: u64, to: u64) -> (Vec<ArchivedEntry>, Vec<ArchivedRecord>, End) {
    let entry = |index| ArchivedEntry {
        index,
        term: 1,
        kind: Kind::Commands,
        payload: Bytes::from(format!("entry {index}")),
        heads: (head(index), head(index + 1)),
        records: index + 1,
    };
    let record = |index| ArchivedRecord {
        number: index,
        index,
        table: 1,
        key: Bytes::from(format!("key {:02}", index % 50)),
        value: Bytes::from(format!("value {index}")),
    };
    let end = End { next_index: to, records: to, chain: head(to) };
    ((from..to).map(entry).collect(), (from..to).map(record).collect(), end)
}

fn append(archive: &Archive, from: u64, to: u64) {
    let (entries, records, end) = items(from, to);
    archive.append(&entries, &records, end).unwrap();
}

#[test]
fn what_was_appended_in_parts_is_read_back_whole_after_a_reopen() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    for (from, to) in [(0, 10), (10, 11), (11, 300), (300, 700)] {
        append(&archive, from, to);
    }
    drop(archive);
    let archive = open(&dir);
    let (entries, records, end) = items(0, 700);
    assert_eq!(archive.end(), end);
    assert_eq!(archive.read_entries(0, 700, usize::MAX).unwrap(), entries);
    assert_eq!(archive.read_records(0, 700, usize::MAX).unwrap(), records);
    assert_eq!(archive.get(1, b"key 07").unwrap().unwrap(), "value 657");
    assert_eq!(archive.get(2, b"key 07").unwrap(), None);
}

#[test]
fn a_scan_yields_each_key_once_in_its_newest_version() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 120);
    let found = archive.scan(1, b"key 10", 3).unwrap();
    let found: Vec<_> = found.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    assert_eq!(
        found,
        [
            (&b"key 10"[..], &b"value 110"[..]),
            (&b"key 11"[..], &b"value 111"[..]),
            (&b"key 12"[..], &b"value 112"[..]),
        ]
    );
}

#[test]
fn many_are_found_in_the_order_that_they_were_asked_for() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 600);
    let asked: [&[u8]; 6] = [b"key 49", b"none", b"key 07", b"key 20", b"key 07", b"key"];
    let found = archive.get_many(1, &asked).unwrap();
    let found: Vec<_> = found.iter().map(|value| value.as_deref()).collect();
    let value = |text: &'static str| Some(text.as_bytes());
    let (seven, twenty) = (value("value 557"), value("value 570"));
    assert_eq!(found, [value("value 599"), None, seven, twenty, seven, None]);
    assert_eq!(archive.get_many(2, &asked).unwrap(), vec![None; 6]);
    assert_eq!(archive.get_many(1, &[]).unwrap(), Vec::<Option<Bytes>>::new());
}

#[test]
fn each_chunk_is_read_once_however_its_records_are_strewn() {
    const RECORDS: u64 = 1_000;
    // Neighbours in the order of keys lie far apart in the order of writing.
    let strewn: Vec<u64> = (0..RECORDS).map(|n| n * 337 % RECORDS).collect();
    let chunks = read::by_chunk(&strewn);
    assert_eq!(chunks.len() as u64, RECORDS.div_ceil(RECORDS_PER_CHUNK));
    let mut places: Vec<usize> = chunks.into_values().flatten().collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(0..RECORDS as usize));
}

#[test]
fn a_value_does_not_hold_its_chunk_in_memory() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 300);
    let value = archive.get(1, b"key 07").unwrap().unwrap();
    assert!(value.is_unique(), "nothing else shares its memory");
}

#[test]
fn a_cut_uncovers_the_older_versions_and_replay_writes_the_same_again() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 500);
    let (_, _, end) = items(0, 421);
    archive.cut(end).unwrap();
    assert_eq!(archive.end(), end);
    assert_eq!(archive.get(1, b"key 30").unwrap().unwrap(), "value 380");
    assert_eq!(archive.read_entries(400, 600, usize::MAX).unwrap().len(), 21);
    append(&archive, 421, 500);
    let (entries, ..) = items(0, 500);
    assert_eq!(archive.read_entries(0, 500, usize::MAX).unwrap(), entries);
    assert_eq!(archive.get(1, b"key 30").unwrap().unwrap(), "value 480");
}

#[test]
fn appending_what_is_there_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 100);
    append(&archive, 50, 90);
    append(&archive, 50, 130);
    let (entries, _, end) = items(0, 130);
    assert_eq!(archive.end(), end);
    assert_eq!(archive.read_entries(0, 130, usize::MAX).unwrap(), entries);
}

#[test]
fn an_archive_that_does_not_reach_its_checkpoint_is_damage() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 100);
    let (_, _, beyond) = items(0, 101);
    assert!(matches!(archive.cut(beyond), Err(ArchiveError::Damaged { .. })));
}

#[test]
fn another_history_than_the_checkpoint_names_is_damage() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 100);
    let (_, _, mut end) = items(0, 90);
    end.chain = head(7);
    assert!(matches!(archive.cut(end), Err(ArchiveError::Damaged { .. })));
}

#[test]
fn an_archive_of_another_format_is_named_and_not_taken_for_damaged() {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), 0, 100);
    let path = dir.path().join("archive.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8..16].copy_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
    let sum = crc32c::crc32c(&bytes[..512]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    let refused = Archive::open(&fs, &path).err().unwrap();
    assert!(matches!(refused, ArchiveError::Version { found: 9, .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn an_archive_whose_first_sector_is_zeros_is_damaged_and_keeps_the_rest() {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), 0, 10);
    let path = dir.path().join("archive.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..512].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    for opened in [Archive::open(&fs, &path), Archive::reader(&fs, &path)] {
        let refused = opened.err().unwrap();
        assert!(refused.is_damage(), "{refused}");
        assert!(refused.to_string().contains("damaged at byte 0"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    // One that was just begun is begun anew.
    bytes.fill(0);
    std::fs::write(&path, &bytes).unwrap();
    append(&open(&dir), 0, 10);
}

#[test]
fn entries_of_another_history_do_not_join() {
    let dir = TempDir::new().unwrap();
    let archive = open(&dir);
    append(&archive, 0, 100);
    let (mut entries, records, end) = items(100, 110);
    entries[0].heads.0 = head(7);
    let refused = archive.append(&entries, &records, end);
    assert!(matches!(refused, Err(ArchiveError::Damaged { .. })));
    let (entries, records, end) = items(101, 110);
    let refused = archive.append(&entries, &records, end);
    assert!(matches!(refused, Err(ArchiveError::Damaged { .. })), "a gap");
}

/// Everything that can be asked of an archive.
fn all_of(fs: &Arc<dyn Fs>, path: &Path) -> Result<String, ArchiveError> {
    let archive = Archive::open(fs, path)?;
    let mut told = format!("{:?}", archive.end());
    told += &format!("{:?}", archive.read_entries(0, 500, usize::MAX)?);
    told += &format!("{:?}", archive.read_records(0, 500, usize::MAX)?);
    told += &format!("{:?}", archive.scan(1, b"", 100)?);
    for key in 0..50 {
        told += &format!("{:?}", archive.get(1, format!("key {key:02}").as_bytes())?);
    }
    Ok(told)
}

/// Damage at `tries` places, each on a disk of its own: found, or nothing that is told differs.
fn found_or_harmless(tries: u64, damage: impl Fn(&SimFs, &Path, u64, u64)) -> (u64, u64) {
    let disk = SimFs::new(1);
    let (fs, path) = (Arc::new(disk.clone()) as Arc<dyn Fs>, PathBuf::from("/group/archive.redb"));
    fs.create_dir_all(Path::new("/group")).unwrap();
    let archive = Archive::open(&fs, &path).unwrap();
    append(&archive, 0, 300);
    append(&archive, 300, 500);
    drop(archive);
    let (sound, length) = (all_of(&fs, &path).unwrap(), disk.bytes(&path).unwrap().len() as u64);
    let (mut found, mut harmless) = (0, 0);
    for n in 0..tries {
        let fork = disk.fork(n);
        damage(&fork, &path, length, n);
        let fs: Arc<dyn Fs> = Arc::new(fork);
        match all_of(&fs, &path) {
            Err(ArchiveError::Damaged { .. } | ArchiveError::Version { .. }) => found += 1,
            Err(other) => panic!("try {n}: not said to be damage: {other}"),
            Ok(told) => {
                assert!(told == sound, "try {n}: other than what was written, and not found");
                harmless += 1;
            }
        }
    }
    (found, harmless)
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_harmless() {
    let tries = if full() { 1_500 } else { 375 };
    let (found, harmless) = found_or_harmless(tries, |disk, path, length, n| {
        disk.flip(path, n * length / tries, 1 << (n % 8)).unwrap();
    });
    assert!(found > tries / 30, "{found} found, {harmless} harmless");
    println!("archive: {found} flips found, {harmless} harmless");
}

#[test]
fn an_archive_cut_anywhere_is_found_or_harmless() {
    let tries = if full() { 300 } else { 100 };
    let (found, harmless) = found_or_harmless(tries, |disk, path, length, n| {
        disk.shorten(path, 1 + n * length / tries).unwrap();
    });
    println!("archive: {found} cuts found, {harmless} harmless");
}

const FILE: &str = "/group/archive.redb";

fn on_simulated(seed: u64) -> (SimFs, Arc<dyn Fs>, Archive) {
    let disk = SimFs::new(seed);
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    fs.create_dir_all(Path::new("/group")).unwrap();
    let archive = Archive::open(&fs, Path::new(FILE)).unwrap();
    append(&archive, 0, 300);
    (disk, fs, archive)
}

#[test]
fn what_a_power_cut_tore_is_in_no_page_that_is_used() {
    let mut torn = 0;
    for (seed, ops) in (0..40).map(|n| (n, n % 10)) {
        let (disk, fs, archive) = on_simulated(seed);
        disk.cut_power_after(ops);
        let (entries, records, end) = items(300, 500);
        let _never = archive.append(&entries[..], &records[..], end);
        drop(archive);
        disk.crash();
        let pages = PageReader::open(&fs, Path::new(FILE)).unwrap();
        let (_, damaged) = pages.read(1, pages.count()).unwrap();
        let in_use = Archive::pages_in_use(&fs, Path::new(FILE)).unwrap().unwrap();
        assert!(damaged.iter().all(|page| !in_use.contains(page)), "{seed}: {damaged:?}");
        torn += damaged.len();
    }
    assert!(torn > 20, "{torn} pages torn");
}

#[test]
fn a_damaged_page_in_use_is_never_taken_for_another() {
    let (disk, fs, archive) = on_simulated(1);
    drop(archive);
    let pages_in_use = |fs: &Arc<dyn Fs>| Archive::pages_in_use(fs, Path::new(FILE));
    let in_use = pages_in_use(&fs).unwrap().unwrap();
    let mut unused = 0;
    for page in 1..=PageReader::open(&fs, Path::new(FILE)).unwrap().count() {
        let fork = disk.fork(page);
        fork.flip(Path::new(FILE), backend::place(page) + 100, 1).unwrap();
        let fork: Arc<dyn Fs> = Arc::new(fork);
        match pages_in_use(&fork) {
            Ok(Some(now)) => {
                assert!(!in_use.contains(&page) && now == in_use, "{page}");
                unused += 1;
            }
            Ok(None) => assert!(in_use.contains(&page), "{page}"),
            Err(error) => assert!(error.is_damage() && in_use.contains(&page), "{page}: {error}"),
        }
    }
    assert!(unused > 0 && !in_use.is_empty());
}
