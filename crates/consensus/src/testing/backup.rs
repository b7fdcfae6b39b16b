//! A group's backup in memory, as a tool makes it of what a node streams.

use std::collections::BTreeMap;
use std::io::{self, Cursor as Bytes, Read};

use futures::StreamExt as _;
use hansa_backup::manifest::{FORMAT, Group, Part, hex};
use hansa_backup::part::{frame, head};
use hansa_backup::{Manifest, PartKind, Shelf};

use crate::host::{Cursor, Cut, Exports};

/// The files of a backup, by their paths.
#[derive(Clone, Default)]
pub struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Shelf for Memory {
    fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.0.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Bytes::new(file)))
    }
}

/// Reads a cut, opening the stream anew after each few chunks as if it had broken.
pub async fn copy(exports: &Exports, cut: &Cut, broken_every: usize) -> (Memory, Manifest) {
    let name = cut.group.to_string();
    let mut files: BTreeMap<PartKind, (Vec<u8>, u64)> =
        PartKind::ALL.into_iter().map(|kind| (kind, (head(kind).to_vec(), 0))).collect();
    let mut at = Cursor::default();
    loop {
        let before = at;
        let mut chunks =
            exports.read("b-1", cut.group, at).expect("a frozen cut").take(broken_every);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.expect("a chunk");
            let file = files.get_mut(&chunk.part).expect("a part of each kind");
            file.0.extend_from_slice(&frame(chunk.position, &chunk.data));
            (file.1, at) = (file.1 + 1, chunk.next);
        }
        if at == before {
            break;
        }
    }
    let part = |(kind, (bytes, frames)): (&PartKind, &(Vec<u8>, u64))| Part {
        kind: *kind,
        bytes: bytes.len() as u64,
        frames: *frames,
        blake3: blake3::hash(bytes).to_hex().to_string(),
    };
    let group = Group {
        name: name.clone(),
        group: cut.group.number(),
        node: cut.node.0,
        index: cut.index,
        term: cut.term,
        log_time_ms: cut.time.ms(),
        state_hash: cut.state_hash.to_string(),
        chain_head: hex(&cut.chain_head),
        records: cut.records,
        parts: files.iter().map(part).collect(),
    };
    let mut manifest = Manifest {
        format: FORMAT,
        id: "b-1".into(),
        region: "eu-west".into(),
        number: 1,
        epoch: 1,
        cut_ms: 0,
        keep_until_ms: u64::MAX,
        groups: vec![group],
        hash: String::new(),
    };
    manifest.seal();
    let named =
        files.into_iter().map(|(kind, (bytes, _))| (format!("{name}/{}", kind.as_str()), bytes));
    (Memory(named.collect()), manifest)
}
