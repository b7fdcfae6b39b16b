//! Who this node is, and whom it has met: a wiped node never rejoins under its old id.
//!
//! A node draws a random incarnation when its folder is first used, and keeps the incarnation of
//! every peer it has met. A peer that comes with another one has lost its log: its votes and
//! appends would break promises it no longer remembers, so it is refused and must come back under a
//! new node id.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use hansa_node::env::Entropy;
use hansa_types::id::NodeId;
use hansa_types::seeded::{self, Bug};
use hansa_wal::fs::{self, Fs};
use parking_lot::Mutex;
use thiserror::Error;

use crate::raft::codec::{self, BadBytes};

const MAGIC: &[u8; 8] = b"HANSANID";
/// The format that is written and read.
const FORMAT: u32 = 1;
const FILE: &str = "identity";
const PEERS_MAX: u32 = 10_000;

/// The node that a data folder belongs to, if any ever used it.
///
/// # Errors
/// An identity that cannot be read.
pub fn owner_of(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Option<NodeId>, IdentityError> {
    let file = dir.join(FILE);
    let at = |source| IdentityError::Io { file: file.clone(), source };
    if !fs.exists(&file).map_err(at)? {
        return Ok(None);
    }
    let bytes = fs.read(&file, u64::MAX).map_err(at)?;
    decode(&bytes).map(|(owner, ..)| Some(owner)).map_err(|bad| unreadable(&file, bad))
}

/// A node's life with one data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incarnation(pub u128);

#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{}: damaged: {what}", file.display())]
    Damaged { file: PathBuf, what: String },
    #[error("{}: {what}; start it with the release that wrote it", file.display())]
    Version { file: PathBuf, what: String },
    #[error("{}: the folder belongs to node {owner}, this is node {node}", file.display())]
    OtherNode { file: PathBuf, owner: NodeId, node: NodeId },
}

/// A peer that is not the one known by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "node {node} is known with another data folder, so it lost its volume; run `hansactl node \
     reseed` with its name, then start it again: it comes back under a new node id"
)]
pub(crate) struct Stranger {
    pub node: NodeId,
}

/// Why a peer is not met.
#[derive(Debug, Error)]
pub(crate) enum MeetError {
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// It may be met later: nothing is known against it.
    #[error("{}: node {peer} could not be noted there: {source}", file.display())]
    NotKept { peer: NodeId, file: PathBuf, source: io::Error },
}

/// This node's identity and its book of peers, both on disk.
pub(crate) struct Identity {
    pub node: NodeId,
    pub incarnation: Incarnation,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    known: Mutex<BTreeMap<NodeId, Incarnation>>,
}

impl Identity {
    /// Reads the identity in `dir`, or draws one for a fresh folder; durable on return.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        node: NodeId,
        entropy: &dyn Entropy,
    ) -> Result<Self, IdentityError> {
        let file = dir.join(FILE);
        let at = |source| IdentityError::Io { file: file.clone(), source };
        fs.create_dir_all(dir).map_err(at)?;
        if fs.exists(&file).map_err(at)? {
            let bytes = fs.read(&file, u64::MAX).map_err(at)?;
            let decoded = decode(&bytes).map_err(|bad| unreadable(&file, bad));
            let (owner, incarnation, known) = decoded?;
            if owner != node {
                return Err(IdentityError::OtherNode { file, owner, node });
            }
            let (dir, known) = (dir.to_owned(), Mutex::new(known));
            return Ok(Self { node, incarnation, fs, dir, known });
        }
        let mut drawn = [0; 16];
        entropy.fill(&mut drawn);
        let incarnation = Incarnation(u128::from_le_bytes(drawn));
        let this = Self { node, incarnation, fs, dir: dir.to_owned(), known: Mutex::default() };
        this.save(&BTreeMap::new()).map_err(at)?;
        Ok(this)
    }

    /// The incarnation that a peer is known by.
    pub fn expects(&self, peer: NodeId) -> Option<Incarnation> {
        self.known.lock().get(&peer).copied()
    }

    /// Meets a peer: remembers it at first sight, durably; refuses one that came back with another
    /// log.
    pub fn meet(&self, peer: NodeId, incarnation: Incarnation) -> Result<(), MeetError> {
        let mut known = self.known.lock();
        match known.get(&peer) {
            Some(before) if *before == incarnation => Ok(()),
            Some(_) if seeded::on(Bug::ReuseNodeId) => Ok(()),
            Some(_) => Err(Stranger { node: peer }.into()),
            None => {
                let mut grown = known.clone();
                grown.insert(peer, incarnation);
                // Not remembered is not met: a peer accepted now and forgotten could be swapped
                // later.
                self.save(&grown).map_err(|source| {
                    let file = self.dir.join(FILE);
                    MeetError::NotKept { peer, file, source }
                })?;
                *known = grown;
                Ok(())
            }
        }
    }

    fn save(&self, known: &BTreeMap<NodeId, Incarnation>) -> io::Result<()> {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32_le(FORMAT);
        out.put_u64_le(self.node.0);
        out.put_u128_le(self.incarnation.0);
        out.put_u32_le(known.len() as u32);
        for (node, incarnation) in known {
            out.put_u64_le(node.0);
            out.put_u128_le(incarnation.0);
        }
        let sum = crc32c::crc32c(&out);
        out.put_u32_le(sum);
        fs::replace(self.fs.as_ref(), &self.dir, FILE, &out)
    }
}

/// Another release's file is not a damaged one.
fn unreadable(file: &Path, bad: BadBytes) -> IdentityError {
    let file = file.to_owned();
    match bad {
        BadBytes::Format { .. } => IdentityError::Version { file, what: bad.to_string() },
        bad => IdentityError::Damaged { file, what: bad.to_string() },
    }
}

/// How many bytes stand behind what an identity says.
pub(crate) fn trailing(bytes: &[u8]) -> Result<usize, BadBytes> {
    let (_, _, known) = decode(bytes)?;
    let said = MAGIC.len() + 4 + 8 + 16 + 4 + known.len() * 24 + 4;
    Ok(bytes.len().saturating_sub(said))
}

type Decoded = (NodeId, Incarnation, BTreeMap<NodeId, Incarnation>);

fn decode(bytes: &[u8]) -> Result<Decoded, BadBytes> {
    let (covered, sum) = bytes.split_last_chunk::<4>().ok_or(BadBytes::Short)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*sum) {
        return Err(BadBytes::Unknown("checksum"));
    }
    let mut from = covered.strip_prefix(MAGIC).ok_or(BadBytes::Unknown("magic"))?;
    let format = codec::u32_of(&mut from)?;
    if format != FORMAT {
        return Err(BadBytes::Format { found: format, reads: FORMAT });
    }
    let node = NodeId(codec::u64_of(&mut from)?);
    let incarnation_of = |from: &mut &[u8]| {
        codec::array_of(from).map(|bytes| Incarnation(u128::from_le_bytes(bytes)))
    };
    let incarnation = incarnation_of(&mut from)?;
    let count = codec::u32_of(&mut from)?;
    if count > PEERS_MAX {
        return Err(BadBytes::Unknown("count"));
    }
    let mut known = BTreeMap::new();
    for _ in 0..count {
        let peer = NodeId(codec::u64_of(&mut from)?);
        known.insert(peer, incarnation_of(&mut from)?);
    }
    Ok((node, incarnation, known))
}

#[cfg(test)]
mod tests {
    use hansa_node::env::test::SeededEntropy;
    use hansa_wal::fs::{RealFs, SimFs};

    use super::*;

    fn open(dir: &Path, node: u64, seed: u64) -> Result<Identity, IdentityError> {
        Identity::open(Arc::new(RealFs), dir, NodeId(node), &SeededEntropy::new(seed))
    }

    #[test]
    fn an_identity_survives_a_restart_with_its_book_of_peers() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), 1, 1).unwrap();
        first.meet(NodeId(2), Incarnation(7)).unwrap();
        let again = open(dir.path(), 1, 2).unwrap();
        assert_eq!(again.incarnation, first.incarnation);
        assert_eq!(again.expects(NodeId(2)), Some(Incarnation(7)));
        again.meet(NodeId(2), Incarnation(7)).unwrap();
    }

    #[test]
    fn a_node_that_came_back_with_another_folder_is_a_stranger() {
        let dir = tempfile::tempdir().unwrap();
        let me = open(dir.path(), 1, 1).unwrap();
        me.meet(NodeId(2), Incarnation(7)).unwrap();
        let refused = me.meet(NodeId(2), Incarnation(8)).unwrap_err();
        assert!(matches!(refused, MeetError::Stranger(Stranger { node: NodeId(2) })), "{refused}");
    }

    #[test]
    fn a_peer_that_could_not_be_noted_is_no_stranger_and_not_met() {
        let disk = SimFs::new(1);
        let fs = Arc::new(disk.clone());
        let me = Identity::open(fs, Path::new("/d"), NodeId(1), &SeededEntropy::new(1)).unwrap();
        disk.set_capacity(disk.used());
        let refused = me.meet(NodeId(2), Incarnation(7)).unwrap_err();
        assert!(matches!(refused, MeetError::NotKept { .. }), "{refused}");
        assert!(refused.to_string().starts_with("/d/identity: node 2 could not be noted there: "));
        assert_eq!(me.expects(NodeId(2)), None);
        disk.set_capacity(u64::MAX);
        me.meet(NodeId(2), Incarnation(8)).unwrap();
    }

    #[test]
    fn a_folder_serves_one_node_id_only() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1, 1).unwrap();
        let other = open(dir.path(), 2, 1);
        assert!(matches!(other, Err(IdentityError::OtherNode { owner: NodeId(1), .. })));
    }

    #[test]
    fn an_identity_of_another_format_is_named_and_not_taken_for_damaged() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1, 1).unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8..12].copy_from_slice(&7u32.to_le_bytes());
        let end = bytes.len() - 4;
        let sum = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let refused = open(dir.path(), 1, 1).map(drop).unwrap_err();
        assert!(matches!(refused, IdentityError::Version { .. }), "{refused}");
        assert!(refused.to_string().contains("has format 7, this binary reads 1"), "{refused}");
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1, 1).unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[12] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(open(dir.path(), 1, 1), Err(IdentityError::Damaged { .. })));
    }
}
