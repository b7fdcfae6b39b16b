use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ReadError;

const AT: LogTime = LogTime(1_000);

/// Draws that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % n
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Left {
    number: u64,
    note: u64,
    record: Vec<u8>,
}

/// What the archive of a group has, and what a plain map says is on the shelf.
#[derive(Default)]
struct Plain {
    on_shelf: BTreeMap<u128, Left>,
    chunks: Vec<Chunk>,
    spent: BTreeSet<u64>,
}

impl Plain {
    /// The proof as a shell makes it: of what the archive has.
    fn proof(&self, number: u64) -> Option<Proof> {
        match self.chunks.get((number / CHUNK) as usize) {
            None => Some(Proof::open(number)),
            Some(chunk) => self.tree(chunk).proof(number),
        }
    }

    fn tree(&self, chunk: &Chunk) -> Tree {
        let mut tree = chunk.tree();
        self.spent.range(chunk.numbers()).for_each(|number| tree.spend(*number));
        tree
    }

    fn put(&mut self, shelf: &mut Shelf, key: u128, note: u64, record: &[u8]) {
        let left = Left { number: shelf.next(), note, record: record.to_vec() };
        self.on_shelf.insert(key, left);
        self.chunks.extend(shelf.put(AT, key, note, record));
    }

    fn take(&mut self, shelf: &mut Shelf, key: u128) -> Was {
        let left = self.on_shelf.remove(&key).unwrap();
        let proof = self.proof(left.number).unwrap();
        assert!(shelf.vouches(key, left.note, &left.record, &proof));
        let was = shelf.take(key, left.note, &left.record, &proof).unwrap();
        if was == Was::Closed {
            self.spent.insert(left.number);
        }
        was
    }

    fn agrees(&self, shelf: &Shelf) {
        assert_eq!(shelf.len(), self.on_shelf.len() as u64);
        assert_eq!(shelf.digest(), shelf.recompute_digest());
        for (key, left) in &self.on_shelf {
            let proof = self.proof(left.number).unwrap();
            assert!(shelf.vouches(*key, left.note, &left.record, &proof), "{left:?}");
        }
        for chunk in &self.chunks {
            assert_eq!(shelf.root(chunk.number).unwrap().root, self.tree(chunk).root());
        }
    }
}

fn key(born: u64, n: u64) -> u128 {
    u128::from(born) << 80 | u128::from(n)
}

fn record_of(n: u64) -> Vec<u8> {
    format!("record {n}").into_bytes()
}

/// A shelf with records 0 to `count`, and what the archive has of it.
fn filled(count: u64) -> (Shelf, Plain) {
    let (mut shelf, mut plain) = (Shelf::new(), Plain::default());
    for n in 0..count {
        plain.put(&mut shelf, key(n, n), n, &record_of(n));
    }
    (shelf, plain)
}

fn thawed(shelf: &Shelf) -> Result<Shelf, ReadError> {
    Shelf::read(&mut written(shelf).as_slice())
}

fn written(shelf: &Shelf) -> Vec<u8> {
    let mut bytes = Vec::new();
    shelf.freeze().write(&mut bytes).unwrap();
    bytes
}

/// One replica restarts from checkpoints now and then, the other never does.
#[test]
fn agrees_with_a_map_and_a_restarted_replica() {
    let (mut shelf, mut plain, mut dice) = (Shelf::new(), Plain::default(), Dice(22));
    let (mut restarted, mut also) = (Shelf::new(), Plain::default());
    for n in 0..10_000_u64 {
        match dice.below(8) {
            // Some taken from the end, some from anywhere.
            0..3 if !plain.on_shelf.is_empty() => {
                let from = plain.on_shelf.len() as u64;
                let nth = if dice.below(2) == 0 { from - 1 } else { dice.below(from) };
                let key = *plain.on_shelf.keys().nth(nth as usize).unwrap();
                let was = plain.take(&mut shelf, key);
                assert_eq!(also.take(&mut restarted, key), was);
            }
            3 if dice.below(50) == 0 => restarted = thawed(&restarted).unwrap(),
            _ => {
                let (key, note) = (key(n, dice.below(1 << 40)), dice.below(n + 1));
                let record = record_of(dice.below(100));
                plain.put(&mut shelf, key, note, &record);
                also.put(&mut restarted, key, note, &record);
            }
        }
        assert_eq!(shelf.digest(), restarted.digest());
        if n.is_multiple_of(1_000) {
            plain.agrees(&shelf);
        }
    }
    plain.agrees(&shelf);
    also.agrees(&restarted);
    assert!(plain.chunks.len() > 15 && plain.spent.len() > 1_000, "both kinds were met");
    assert_eq!(written(&shelf), written(&restarted));
}

#[test]
fn each_of_256_paths_shows_its_own_record_and_no_other() {
    let (shelf, plain) = filled(2 * CHUNK);
    for number in plain.chunks[1].numbers() {
        let proof = plain.proof(number).unwrap();
        for other in (0..2 * CHUNK).step_by(31).chain([number ^ 1, number ^ 128, number]) {
            let (key, record) = (key(other, other), record_of(other));
            for shown in [number, other] {
                let proof = Proof { number: shown, ..proof.clone() };
                let vouched = shelf.vouches(key, other, &record, &proof);
                assert_eq!(vouched, number == other, "{other} by the path of {number}");
            }
        }
    }
}

#[test]
fn one_bit_of_anything_is_not_there() {
    let (mut shelf, plain) = filled(CHUNK + 9);
    for number in [CHUNK / 3, CHUNK + 5] {
        let (key, record) = (key(number, number), record_of(number));
        let proof = plain.proof(number).unwrap();
        let before = shelf.digest();
        let mut refused = |key, note, record: &[u8], proof: &Proof| {
            assert_eq!(shelf.take(key, note, record, proof), Err(NotThere));
            assert_eq!(shelf.digest(), before);
        };
        for bit in 0..128 {
            refused(key ^ 1 << bit, number, &record, &proof);
        }
        for bit in 0..64 {
            refused(key, number ^ 1 << bit, &record, &proof);
            refused(key, number, &record, &Proof { number: number ^ 1 << bit, ..proof.clone() });
        }
        for bit in 0..record.len() * 8 {
            let mut record = record.clone();
            record[bit / 8] ^= 1 << (bit % 8);
            refused(key, number, &record, &proof);
        }
        refused(key, number, &record[1..], &proof);
        let path = proof.path.unwrap_or([[7; 32]; DEPTH]);
        for bit in 0..DEPTH * 256 {
            let mut path = path;
            path[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            refused(key, number, &record, &Proof { number, path: Some(path) });
        }
        let other = if proof.path.is_some() { None } else { Some(path) };
        refused(key, number, &record, &Proof { number, path: other });
        assert!(shelf.take(key, number, &record, &proof).is_ok());
    }
}

#[test]
fn a_number_is_spent_once_in_an_open_chunk_a_closed_one_and_over_its_closing() {
    let (mut shelf, mut plain) = filled(CHUNK + 1);
    let left = |number| (key(number, number), number, record_of(number));
    // Closed.
    let proof = plain.proof(3).unwrap();
    assert_eq!(plain.take(&mut shelf, key(3, 3)), Was::Closed);
    let again = |shelf: &mut Shelf, number, proof: &Proof| {
        let (key, note, record) = left(number);
        shelf.take(key, note, &record, proof)
    };
    assert_eq!(again(&mut shelf, 3, &proof), Err(NotThere));
    assert_eq!(plain.proof(3), None);
    // Its neighbour is still there, but not by what was shown before.
    assert_eq!(plain.take(&mut shelf, key(2, 2)), Was::Closed);
    assert_eq!(again(&mut shelf, 3, &proof), Err(NotThere));
    // Open, and then closed.
    assert_eq!(plain.take(&mut shelf, key(CHUNK, CHUNK)), Was::Open);
    assert_eq!(again(&mut shelf, CHUNK, &Proof::open(CHUNK)), Err(NotThere));
    for n in CHUNK + 1..2 * CHUNK {
        plain.put(&mut shelf, key(n, n), n, &record_of(n));
    }
    let chunk = plain.chunks[1].clone();
    assert_eq!(chunk.rows[0].hash, None);
    assert_eq!(chunk.tree().proof(CHUNK), None);
    let beside = chunk.tree().proof(CHUNK + 1).unwrap();
    assert_eq!(again(&mut shelf, CHUNK, &Proof::open(CHUNK)), Err(NotThere));
    assert_eq!(again(&mut shelf, CHUNK, &Proof { number: CHUNK, ..beside }), Err(NotThere));
    plain.agrees(&shelf);
}

#[test]
fn a_record_that_leaves_again_has_one_life() {
    let (mut shelf, mut plain) = filled(CHUNK);
    let first = plain.proof(7).unwrap();
    plain.take(&mut shelf, key(7, 7));
    plain.put(&mut shelf, key(7, 7), 7, &record_of(7));
    assert!(!shelf.vouches(key(7, 7), 7, &record_of(7), &first));
    assert!(shelf.vouches(key(7, 7), 7, &record_of(7), &Proof::open(CHUNK)));
    assert_eq!((shelf.next(), shelf.len()), (CHUNK + 1, CHUNK));
}

#[test]
fn one_entry_takes_many_out_of_a_chunk_by_proofs_made_in_step() {
    let (mut shelf, plain) = filled(CHUNK);
    let mut tree = plain.chunks[0].tree();
    let stale = tree.proof(11).unwrap();
    for number in [10, 11, 200] {
        let proof = tree.proof(number).unwrap();
        tree.spend(number);
        let (key, record) = (key(number, number), record_of(number));
        assert_eq!(shelf.take(key, number, &record, &proof), Ok(Was::Closed));
        assert_eq!(shelf.root(0).unwrap().root, tree.root());
    }
    assert!(!shelf.vouches(key(11, 11), 11, &record_of(11), &stale));
    assert_eq!(tree.proof(CHUNK), None, "of another chunk");
}

#[test]
fn a_whole_chunk_is_taken() {
    let (mut shelf, mut plain) = filled(CHUNK);
    (0..CHUNK).for_each(|n| assert_eq!(plain.take(&mut shelf, key(n, n)), Was::Closed));
    assert!(shelf.is_empty());
    assert_eq!(shelf.root(0).unwrap().root, Tree::new(0, std::iter::empty()).root());
    plain.agrees(&shelf);
}

#[test]
fn the_digest_is_of_what_is_there_in_whatever_order_it_was_taken() {
    let taken = |order: &[u64]| {
        let (mut shelf, mut plain) = filled(CHUNK + 20);
        order.iter().for_each(|n| _ = plain.take(&mut shelf, key(*n, *n)));
        assert_eq!(thawed(&shelf).unwrap().digest(), shelf.digest());
        shelf.digest()
    };
    assert_eq!(taken(&[1, 2, CHUNK, CHUNK + 9]), taken(&[CHUNK + 9, 2, CHUNK, 1]));
    assert_ne!(taken(&[1, 2]), taken(&[1, 3]));
    assert_ne!(taken(&[1]), taken(&[CHUNK + 1]));
}

#[test]
fn the_digest_covers_every_bit_that_left_however_long_ago() {
    let with = |changed: u64| {
        let mut shelf = Shelf::new();
        for n in 0..CHUNK + 2 {
            let record = if n == changed { b"Record".to_vec() } else { b"record".to_vec() };
            shelf.put(AT, key(n, n), n, &record);
        }
        shelf.digest()
    };
    let digests: BTreeSet<_> = [0, 255, CHUNK, CHUNK + 1, u64::MAX].map(with).into();
    assert_eq!(digests.len(), 5);
}

#[test]
fn only_what_was_born_later_never_left() {
    let mut shelf = Shelf::new();
    assert!(shelf.never_left(key(0, 0)));
    shelf.put(AT, key(50, 1), 9, b"a");
    shelf.put(AT, key(40, 1), 4, b"b");
    assert_eq!((shelf.born_max(), shelf.note_max()), (50, 9));
    assert!(!shelf.never_left(key(39, 0)));
    assert!(!shelf.never_left(key(50, u64::MAX)));
    assert!(shelf.never_left(key(51, 0)));
    shelf.take(key(50, 1), 9, b"a", &Proof::open(0)).unwrap();
    assert!(!shelf.never_left(key(50, 1)), "one that came back had left");
}

#[test]
fn a_root_says_when_its_chunk_closed_and_how_far_notes_had_come() {
    let mut shelf = Shelf::new();
    for n in 0..2 * CHUNK {
        let note = if n == 5 { 1_000 } else { n };
        shelf.put(LogTime(n), key(n, n), note, b"r");
    }
    let said = |chunk| shelf.root(chunk).map(|root| (root.at.ms(), root.note_max));
    assert_eq!([said(0), said(1), said(2)], [Some((255, 1_000)), Some((511, 1_000)), None]);
}

#[test]
fn records_leaves_and_inner_nodes_are_not_taken_for_each_other() {
    let block = [5; 64];
    let half: Hash256 = block[..32].try_into().unwrap();
    let number = u64::from_le_bytes([5; 8]);
    let key = u128::from_le_bytes([5; 16]);
    let leaf = tree::leaf(number, key, number, &half);
    let inner = tree::inner(&half, &half);
    let record = tree::hash(&block);
    assert!(leaf != record && inner != record && leaf != inner);
}

/// Replicas of two releases must have the same root.
#[test]
fn the_root_of_known_records_is_known() {
    let (mut shelf, mut plain) = filled(CHUNK);
    let hex = |shelf: &Shelf| {
        let root = shelf.root(0).unwrap().root;
        root[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(hex(&shelf), "9f45042cd5de4ade");
    plain.take(&mut shelf, key(1, 1));
    assert_eq!(hex(&shelf), "dd4011ffb3d293a6");
}

#[test]
fn a_chunk_reads_back_from_the_archive_or_is_told_by_its_root() {
    let (mut shelf, mut plain) = filled(CHUNK - 1);
    plain.take(&mut shelf, key(9, 9));
    let n = CHUNK - 1;
    let chunk = shelf.put(AT, key(n, n), n, &record_of(n)).unwrap();
    let (at, record) = (chunk.key(), chunk.encode());
    assert_eq!(Chunk::decode(&at, &record), Some(chunk.clone()));
    for cut in 0..record.len() {
        assert_eq!(Chunk::decode(&at, &record[..cut]), None, "cut at {cut}");
    }
    for byte in (0..record.len()).step_by(31).chain(0..60) {
        let mut bad = record.clone();
        bad[byte] ^= 0x10;
        if let Some(read) = Chunk::decode(&at, &bad) {
            assert_ne!(read.tree().root(), chunk.tree().root(), "flip at {byte}");
        }
    }
    let elsewhere = Chunk::decode(&7_u64.to_be_bytes(), &record).unwrap();
    assert_ne!(elsewhere.tree().root(), chunk.tree().root());
    assert!(Chunk::decode(&at[1..], &record).is_none());
    let past_all_numbers = Chunk::decode(&[0xff; 8], &record).unwrap();
    assert_eq!(past_all_numbers.tree().proof(u64::MAX), None);
}

#[test]
fn a_cut_or_altered_stream_is_refused_or_told_by_its_digest() {
    let (mut shelf, mut plain) = filled(2 * CHUNK + 3);
    for n in [1, CHUNK + 1, 2 * CHUNK] {
        plain.take(&mut shelf, key(n, n));
    }
    let bytes = written(&shelf);
    for cut in 0..bytes.len() {
        assert!(Shelf::read(&mut &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        if let Ok(read) = Shelf::read(&mut bad.as_slice()) {
            assert_ne!(read.digest(), shelf.digest(), "flip at {at}");
        }
    }
}

#[test]
fn a_shelf_that_lacks_numbers_or_miscounts_is_refused() {
    let refused = |change: &dyn Fn(&mut Shelf)| {
        let (mut shelf, _) = filled(2 * CHUNK + 3);
        change(&mut shelf);
        assert!(matches!(thawed(&shelf), Err(ReadError::Shelf)));
    };
    refused(&|shelf| _ = shelf.open.remove(&(2 * CHUNK)));
    refused(&|shelf| _ = shelf.chunks.remove(&0));
    refused(&|shelf| _ = shelf.chunks.update(&0, |root| root.note_max = 1 << 30));
    refused(&|shelf| shelf.head.count += 1);
    refused(&|shelf| shelf.head.count -= 1);
    refused(&|shelf| shelf.head.taken = shelf.head.count + 1);
    refused(&|shelf| shelf.head.note_max += 1);
    refused(&|shelf| shelf.head.born_max = 0);
}
