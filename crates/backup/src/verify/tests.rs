use std::collections::BTreeMap;
use std::io::Cursor;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::*;
use crate::entries::GENESIS;
use crate::manifest::{FORMAT, Part};
use crate::part::{frame, head};

#[derive(Clone)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Shelf for Memory {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(file)))
    }
}

fn sealed(body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32_le(crc32c::crc32c(body));
    out.put_slice(body);
    out.freeze()
}

/// One entry as the archive packs it, and the head after it.
fn entry(group: u32, index: u64, before: [u8; 32], payload: &[u8]) -> (Bytes, [u8; 32]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before);
    hasher.update(&group.to_le_bytes());
    hasher.update(&1_u64.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(&[1]);
    hasher.update(payload);
    let after = *hasher.finalize().as_bytes();
    let mut body = BytesMut::new();
    body.put_slice(&before);
    body.put_slice(&after);
    body.put_u32_le(1);
    body.put_u64_le(index);
    body.put_u64_le(1);
    body.put_u8(1);
    body.put_u64_le(0);
    body.put_slice(&after);
    body.put_u32_le(payload.len() as u32);
    body.put_slice(payload);
    (sealed(&body), after)
}

fn backup() -> (Memory, Manifest) {
    let group = 2 << 16;
    let (mut entries, mut chain) = (head(PartKind::Entries).to_vec(), GENESIS);
    for index in 0..4 {
        let (bytes, after) = entry(group, index, chain, b"payload");
        entries.extend_from_slice(&frame(index, &bytes));
        chain = after;
    }
    let mut state = head(PartKind::State).to_vec();
    state.extend_from_slice(&frame(0, b"checkpoint"));
    let records = head(PartKind::Records).to_vec();
    let files = BTreeMap::from([
        ("orders-0/entries".to_owned(), entries),
        ("orders-0/records".to_owned(), records),
        ("orders-0/state".to_owned(), state),
    ]);
    let part = |kind: PartKind, frames| {
        let file = &files[&format!("orders-0/{}", kind.as_str())];
        let blake3 = blake3::hash(file).to_hex().to_string();
        Part { kind, bytes: file.len() as u64, frames, blake3 }
    };
    let parts =
        vec![part(PartKind::State, 1), part(PartKind::Records, 0), part(PartKind::Entries, 4)];
    let mut manifest = Manifest {
        format: FORMAT,
        id: "b".into(),
        region: "eu-west".into(),
        number: 1,
        epoch: 1,
        cut_ms: 0,
        keep_until_ms: u64::MAX,
        groups: vec![Group {
            name: "orders-0".into(),
            group,
            node: 1,
            index: 3,
            term: 1,
            log_time_ms: 0,
            state_hash: String::new(),
            chain_head: hex(&chain),
            records: 0,
            parts,
        }],
        hash: String::new(),
    };
    manifest.seal();
    (Memory(files), manifest)
}

#[test]
fn a_good_backup_is_good_and_every_flipped_byte_is_named_with_its_file() {
    let (shelf, manifest) = backup();
    let checked = verify(&shelf, &manifest, &mut |_| {}).unwrap();
    assert_eq!((checked.groups, checked.entries, checked.frames), (1, 4, 5));
    for (name, file) in &shelf.0 {
        for at in 0..file.len() {
            let mut bad = shelf.clone();
            bad.0.get_mut(name).unwrap()[at] ^= 0x10;
            let found = verify(&bad, &manifest, &mut |_| {}).unwrap_err();
            let Damage::At { file, offset, .. } = found else { panic!("{found}") };
            assert_eq!(file, *name);
            assert!(offset <= at as u64, "found at {offset}, damaged at {at}");
        }
        let mut gone = shelf.clone();
        gone.0.remove(name);
        assert!(matches!(verify(&gone, &manifest, &mut |_| {}), Err(Damage::Io { .. })));
    }
}

/// Whoever rewrites an entry and every checksum over it is still found by the chain.
#[test]
fn a_rewritten_entry_breaks_the_chain() {
    let (mut shelf, mut manifest) = backup();
    let group = 2 << 16;
    let (forged, _) = entry(group, 1, GENESIS, b"forged!");
    let file = shelf.0.get_mut("orders-0/entries").unwrap();
    let length = (file.len() - 16) / 4;
    let at = 16 + length;
    file[at..at + length].copy_from_slice(&frame(1, &forged));
    manifest.groups[0].parts[2].blake3 = blake3::hash(file).to_hex().to_string();
    let found = verify(&shelf, &manifest, &mut |_| {}).unwrap_err();
    assert!(found.to_string().contains("the chain breaks before entry 1"), "{found}");
}
