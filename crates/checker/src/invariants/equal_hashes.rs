//! Invariant 9: Replicas of a group at one index have one state hash, and none has stopped over it.

use std::collections::BTreeMap;

use crate::final_state::{GroupSeen, Remembered};
use crate::verdict::Reason;

use super::Settled;

pub fn check(settled: Settled<'_>) -> Vec<Reason> {
    let name = "9 equal hashes";
    let mut wrong = Vec::new();
    for group in &settled.state.groups {
        wrong.extend(differing(name, group, |at| &at.state_hash));
        for replica in group.replicas.iter().filter(|replica| !replica.trouble.is_empty()) {
            let what = format!("node {} alarms: {}", replica.node, replica.trouble);
            wrong.push(Reason::new(name, subject(group), what));
        }
    }
    wrong
}

/// Indexes at which two replicas say different things; an empty word says nothing.
pub fn differing(
    name: &str,
    group: &GroupSeen,
    word: impl Fn(&Remembered) -> &String,
) -> Vec<Reason> {
    let mut first: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for replica in &group.replicas {
        let (state_hash, chain_head) = (replica.state_hash.clone(), replica.chain_head.clone());
        let now = (replica.applied, Remembered { state_hash, chain_head });
        let earlier = replica.earlier.iter().map(|(index, at)| (*index, at.clone()));
        for (index, at) in earlier.chain([now]) {
            let mine = word(&at).clone();
            if mine.is_empty() {
                continue;
            }
            let (node, other) = first.entry(index).or_insert((replica.node, mine.clone()));
            if *other != mine {
                let what =
                    format!("at {index} node {node} has {other}, node {} has {mine}", replica.node);
                wrong.push(Reason::new(name, subject(group), what));
            }
        }
    }
    wrong
}

fn subject(group: &GroupSeen) -> String {
    format!("{} {}", group.region, group.group)
}
