//! The tree over a chunk's leaves, and paths up it.
//!
//! A path can show nothing but a leaf of its own number: every tree has the same depth, the number
//! gives the way up and is in the leaf, and leaves, inner nodes and records are hashed in domains
//! of their own, so that none is taken for another. A spent leaf is zero, which no row has.

use serde::{Deserialize, Serialize};

use super::CHUNK;

pub type Hash256 = [u8; 32];

/// Steps from a leaf to the root.
pub const DEPTH: usize = 8;

/// The siblings on the way from a leaf to the root, the leaf's own first.
pub type Path = [Hash256; DEPTH];

/// What shows that a record is on the shelf.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    pub number: u64,
    /// None while its chunk is open: its row is in the state itself.
    pub path: Option<Path>,
}

impl Proof {
    /// The proof of a number whose chunk is open.
    pub fn open(number: u64) -> Self {
        Self { number, path: None }
    }
}

/// The leaf of a number that was spent.
pub(super) const SPENT: Hash256 = [0; 32];

const LEAF: &Hash256 = b"hansa 2026: shelf: leaf of a row";
const INNER: &Hash256 = b"hansa 2026: shelf: an inner node";

/// The hash of a record.
pub(super) fn hash(record: &[u8]) -> Hash256 {
    *blake3::hash(record).as_bytes()
}

/// The leaf of a record that is on the shelf: everything about it, in one block of the hash.
pub(super) fn leaf(number: u64, key: u128, note: u64, record: &Hash256) -> Hash256 {
    let mut block = [0; 64];
    block[..8].copy_from_slice(&number.to_le_bytes());
    block[8..16].copy_from_slice(&note.to_le_bytes());
    block[16..32].copy_from_slice(&key.to_le_bytes());
    block[32..].copy_from_slice(record);
    *blake3::keyed_hash(LEAF, &block).as_bytes()
}

pub(super) fn inner(left: &Hash256, right: &Hash256) -> Hash256 {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    *blake3::keyed_hash(INNER, &block).as_bytes()
}

/// The root to which `path` leads from the leaf of `number`.
pub(super) fn root_of(leaf: Hash256, number: u64, path: &Path) -> Hash256 {
    let mut node = leaf;
    for (level, sibling) in path.iter().enumerate() {
        node = match number >> level & 1 {
            0 => inner(&node, sibling),
            _ => inner(sibling, &node),
        };
    }
    node
}

/// The whole tree of a closed chunk: what a shell makes proofs from.
pub struct Tree {
    chunk: u64,
    /// The root is at 1, and the children of `n` are `2n` and `2n + 1`: leaves begin at `CHUNK`.
    nodes: Vec<Hash256>,
}

impl Tree {
    /// Leaves that are lacking count as spent.
    pub(super) fn new(chunk: u64, leaves: impl Iterator<Item = Hash256>) -> Self {
        let mut nodes = vec![SPENT; 2 * CHUNK as usize];
        for (node, leaf) in nodes[CHUNK as usize..].iter_mut().zip(leaves) {
            *node = leaf;
        }
        for node in (1..CHUNK as usize).rev() {
            nodes[node] = inner(&nodes[2 * node], &nodes[2 * node + 1]);
        }
        Self { chunk, nodes }
    }

    /// What [`super::Shelf::root`] says of the chunk, where the archive has all that was spent.
    pub fn root(&self) -> Hash256 {
        self.nodes[1]
    }

    /// The proof of a number; `None` when it was spent, or is of another chunk.
    pub fn proof(&self, number: u64) -> Option<Proof> {
        let leaf = self.node_of(number).filter(|leaf| self.nodes[*leaf] != SPENT)?;
        let path = std::array::from_fn(|level| self.nodes[leaf >> level ^ 1]);
        Some(Proof { number, path: Some(path) })
    }

    /// Spends a number as [`super::Shelf::take`] does: proofs that are made afterwards are good
    /// after that. A number of another chunk changes nothing.
    pub fn spend(&mut self, number: u64) {
        let Some(mut node) = self.node_of(number) else { return };
        self.nodes[node] = SPENT;
        while node > 1 {
            node /= 2;
            self.nodes[node] = inner(&self.nodes[2 * node], &self.nodes[2 * node + 1]);
        }
    }

    fn node_of(&self, number: u64) -> Option<usize> {
        (number / CHUNK == self.chunk).then_some((CHUNK + number % CHUNK) as usize)
    }
}
