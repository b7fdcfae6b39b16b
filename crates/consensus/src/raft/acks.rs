//! Which appends the followers have answered, in the order in which appends left.
//!
//! openraft may take an answer for one to an append that left after it was given: an append without
//! entries is noted under the entry it ends at, and an earlier answer says as much of that entry
//! (`InflightAppendQueue::drain_acked` of 0.10.0-alpha.37). Entries lose nothing by it. A read
//! does: whoever answered may have elected another leader since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use hansa_types::id::NodeId;
use tokio::sync::watch;

/// The newest append of a leader in one term that somebody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Append {
    pub term: u64,
    pub number: u64,
}

/// The appends of one group that this node sent.
#[derive(Default)]
pub(crate) struct Acks {
    next: AtomicU64,
    answered: watch::Sender<BTreeMap<NodeId, Append>>,
}

impl Acks {
    /// The number of an append that leaves now, or of this moment: what leaves later has a larger
    /// one.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// `by` follows who sent this append, or did when it answered.
    pub(super) fn note(&self, by: NodeId, append: Append) {
        self.answered.send_modify(|answered| {
            let last = answered.entry(by).or_default();
            *last = append.max(*last);
        });
    }

    /// Waits until a majority of each set of voters, `me` among them, has answered an append of
    /// `term` that left after `since`.
    pub async fn majority(&self, me: NodeId, term: u64, since: u64, sets: &[BTreeSet<NodeId>]) {
        let mut answered = self.answered.subscribe();
        let enough = |answered: &BTreeMap<NodeId, Append>| {
            let follows = |voter: &&NodeId| {
                let last = answered.get(voter);
                **voter == me || last.is_some_and(|last| last.term == term && last.number > since)
            };
            sets.iter().all(|voters| voters.iter().filter(follows).count() > voters.len() / 2)
        };
        // The sender lives as long as `self`.
        let _ = answered.wait_for(enough).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn only_what_left_later_in_the_same_term_counts_and_in_each_set_of_voters() {
        let acks = Acks::default();
        let set = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let enough = |term, since, sets: &[BTreeSet<NodeId>]| {
            acks.majority(NodeId(1), term, since, sets).now_or_never().is_some()
        };
        let three = [set(&[1, 2, 3])];
        let before = acks.number();
        let since = acks.number();
        acks.note(NodeId(2), Append { term: 7, number: before });
        assert!(!enough(7, since, &three), "it left before");
        acks.note(NodeId(3), Append { term: 6, number: acks.number() });
        assert!(!enough(7, since, &three), "an earlier office");
        acks.note(NodeId(2), Append { term: 7, number: acks.number() });
        acks.note(NodeId(2), Append { term: 7, number: before });
        assert!(enough(7, since, &three), "an older answer takes nothing back");
        assert!(!enough(7, since, &[set(&[1, 2, 3]), set(&[1, 4, 5])]));
        assert!(!enough(7, since, &[set(&[2, 3, 4])]), "it is no voter itself");
        assert!(enough(9, since, &[set(&[1])]), "alone");
    }
}
