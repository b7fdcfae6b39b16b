//! State digests at recent indexes, so that replicas can be compared at equal ones.

use std::collections::VecDeque;

use hansa_types::hash::StateHash;
use parking_lot::Mutex;

/// How many entries back a replica remembers its digests.
const KEPT: usize = 8_192;

/// The digest after each of the last entries.
#[derive(Default)]
pub(crate) struct Digests {
    recent: Mutex<VecDeque<(u64, StateHash)>>,
}

impl Digests {
    pub fn note(&self, index: u64, digest: StateHash) {
        let mut recent = self.recent.lock();
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back((index, digest));
    }

    /// The digest as of `index`, unless it lies outside what is remembered.
    pub fn at(&self, index: u64) -> Option<StateHash> {
        let recent = self.recent.lock();
        let found = recent.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        recent.get(found).map(|(_, digest)| *digest)
    }

    pub fn last_index(&self) -> Option<u64> {
        self.recent.lock().back().map(|(index, _)| *index)
    }

    pub fn clear(&self) {
        self.recent.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_indexes_are_found_and_old_ones_are_not() {
        let digests = Digests::default();
        for index in 0..10_000 {
            digests.note(index, StateHash(index.into()));
        }
        assert_eq!(digests.at(9_000), Some(StateHash(9_000)));
        assert_eq!(digests.at(10), None);
        assert_eq!(digests.at(10_000), None);
        assert_eq!(digests.last_index(), Some(9_999));
    }
}
