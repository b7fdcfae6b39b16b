//! A plan's hash: the root of a tree over its header and its entries, so that one entry proves by
//! a few hashes that it is part of what was approved.

use bytes::Bytes;
use hansa_api::pb::admin::{PlanEntry, PlanHeader, ReconcilePlan};
use prost::Message as _;

pub type Hash = [u8; 32];

/// Entries of one plan.
pub const ENTRIES_MAX: u32 = 10_000;
/// Format of a plan.
pub const FORMAT: u32 = 1;

/// Different words in front of leaves, nodes and the root: none can stand for another.
fn hash(kind: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(kind);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// A plan's leaves: the header first.
pub struct Tree {
    levels: Vec<Vec<Hash>>,
    entries: u32,
}

fn header_leaf(header: &PlanHeader) -> Hash {
    hash("hansa reconcile header 1", &[&header.encode_to_vec()])
}

fn entry_leaf(entry: &PlanEntry) -> Hash {
    hash("hansa reconcile entry 1", &[&entry.encode_to_vec()])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash("hansa reconcile node 1", &[left, right])
}

/// The number of entries is part of the hash: the tree's shape cannot be argued about.
fn root(entries: u32, top: &Hash) -> Hash {
    hash("hansa reconcile plan 1", &[&entries.to_le_bytes(), top])
}

impl Tree {
    /// `None` for a plan whose header counts other entries than there are, or whose entries are
    /// not numbered from 1 on.
    pub fn of(plan: &ReconcilePlan) -> Option<Self> {
        let header = plan.header.as_ref()?;
        let numbered = (1..).zip(&plan.entries).all(|(n, entry)| entry.number == n);
        let entries = u32::try_from(plan.entries.len()).ok()?;
        if !numbered || header.entries != entries || entries > ENTRIES_MAX {
            return None;
        }
        let mut leaves = vec![header_leaf(header)];
        leaves.extend(plan.entries.iter().map(entry_leaf));
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            // The odd one out goes up as it is.
            let up = last.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                [single, ..] => *single,
                [] => Hash::default(),
            });
            levels.push(up.collect());
        }
        Some(Self { levels, entries })
    }

    pub fn hash(&self) -> Hash {
        let top = self.levels.last().and_then(|level| level.first());
        root(self.entries, &top.copied().unwrap_or_default())
    }

    /// The hashes beside the way from leaf `n` (0: the header) to the top.
    pub fn proof(&self, n: u32) -> Vec<Bytes> {
        let (mut at, mut beside) = (n as usize, Vec::new());
        for level in &self.levels[..self.levels.len() - 1] {
            beside.extend(level.get(at ^ 1).map(|hash| Bytes::copy_from_slice(hash)));
            at /= 2;
        }
        beside
    }
}

/// Whether the header is that of the plan.
pub fn proves_header(plan: &[u8], header: &PlanHeader, proof: &[Bytes]) -> bool {
    proves(plan, header_leaf(header), 0, header.entries, proof)
}

/// Whether the entry is one of the plan's.
pub fn proves_entry(plan: &[u8], entry: &PlanEntry, entries: u32, proof: &[Bytes]) -> bool {
    let known = (1..=entries).contains(&entry.number);
    known && proves(plan, entry_leaf(entry), entry.number, entries, proof)
}

fn proves(plan: &[u8], leaf: Hash, number: u32, entries: u32, proof: &[Bytes]) -> bool {
    if entries > ENTRIES_MAX {
        return false;
    }
    let (mut at, mut width, mut now) = (number as usize, entries as usize + 1, leaf);
    let mut beside = proof.iter();
    while width > 1 {
        if at ^ 1 < width {
            let Some(other) = beside.next().and_then(|b| Hash::try_from(b.as_ref()).ok()) else {
                return false;
            };
            now = if at & 1 == 0 { node(&now, &other) } else { node(&other, &now) };
        }
        at /= 2;
        width = width.div_ceil(2);
    }
    beside.next().is_none() && plan == root(entries, &now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(entries: u32) -> ReconcilePlan {
        let header = PlanHeader { format: FORMAT, entries, ..Default::default() };
        let entry = |number| PlanEntry { number, why: format!("w{number}"), ..Default::default() };
        let entries = (1..=entries).map(entry).collect();
        ReconcilePlan { header: Some(header), entries, hash: String::new() }
    }

    #[test]
    fn each_entry_proves_itself_and_nothing_else() {
        for count in 0..40 {
            let plan = plan(count);
            let tree = Tree::of(&plan).unwrap();
            let hash = tree.hash();
            assert!(proves_header(&hash, plan.header.as_ref().unwrap(), &tree.proof(0)));
            for entry in &plan.entries {
                let proof = tree.proof(entry.number);
                assert!(proves_entry(&hash, entry, count, &proof), "{count}/{}", entry.number);
                let changed = PlanEntry { why: "other".into(), ..entry.clone() };
                assert!(!proves_entry(&hash, &changed, count, &proof));
                let moved = PlanEntry { number: entry.number % count + 1, ..entry.clone() };
                assert!(count == 1 || !proves_entry(&hash, &moved, count, &proof));
                assert!(!proves_entry(&hash, entry, count + 1, &proof));
                let longer = [&proof[..], &[Bytes::from_static(&[0; 32])]].concat();
                assert!(!proves_entry(&hash, entry, count, &longer));
            }
        }
    }

    #[test]
    fn a_plan_that_counts_wrong_has_no_hash() {
        let mut wrong = plan(3);
        wrong.entries.swap(0, 1);
        assert!(Tree::of(&wrong).is_none());
        let mut short = plan(3);
        short.entries.pop();
        assert!(Tree::of(&short).is_none());
    }
}
