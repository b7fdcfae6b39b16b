//! What must be alive before a node is taken out of a group. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hansa_api::pb::node::Membership;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{GroupId, NodeId};

use super::list_members::{Told, led};

/// How a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// Out, and nobody comes.
    Away,
    /// When another one is there.
    Replaced,
    /// At once, and another one comes later: it must not be missed meanwhile.
    Lost,
}

/// Refuses when fewer than a majority would answer, of the voters that a group has or of those that
/// it is to have: what was asked before may still be under way.
///
/// # Errors
/// `MEMBERSHIP_REFUSED` with the first group in which it would be so, or that would be left with
/// one voter; `NOT_LEADER` with one that no leader speaks for.
pub fn check(
    told: &Told,
    wanted: &BTreeMap<GroupId, Vec<NodeId>>,
    groups: &[GroupId],
    node: NodeId,
    goes: Goes,
) -> Result<(), Failure> {
    for group in groups {
        let failed = |reason: Reason, why: String| {
            let text = format!(
                "{group}: {why}; with --force the directory notes it all the same, and the group \
                 waits until a majority of the voters that would remain answers"
            );
            Failure::new(reason, text)
        };
        let refused = |why: String| failed(Reason::MembershipRefused, why);
        // There may be one in a moment.
        let nobody = || failed(Reason::NotLeader, "no leader answered".to_owned());
        let (leader, held) = led(told, *group).ok_or_else(nobody)?;
        let has: BTreeSet<u64> = held.voters.iter().copied().collect();
        let wanted = wanted.get(group).map_or(&[][..], Vec::as_slice);
        let wants: BTreeSet<u64> = wanted.iter().map(|voter| voter.0).collect();
        for voters in [&has, &wants] {
            let (alive, of) = left(leader, held, voters, node, goes);
            if alive <= of / 2 {
                return Err(refused(format!("only {alive} of {of} voters would answer")));
            }
            if goes == Goes::Away && of == 1 && voters.len() > 1 {
                return Err(refused("one voter would remain, and none could fail".to_owned()));
            }
        }
    }
    Ok(())
}

/// How many answer of how many of these voters, without `node`.
fn left(
    leader: NodeId,
    held: &Membership,
    voters: &BTreeSet<u64>,
    node: NodeId,
    goes: Goes,
) -> (usize, usize) {
    let alive = |voter: &&u64| {
        let heard = held.progress.iter().any(|of| of.node == **voter && of.alive);
        heard || **voter == leader.0
    };
    let others: BTreeSet<u64> = voters.iter().copied().filter(|voter| *voter != node.0).collect();
    let alive = others.iter().filter(alive).count();
    match goes {
        Goes::Away => (alive, others.len()),
        // The one that comes is waited for, so it will be alive.
        Goes::Replaced => (alive + 1, others.len() + 1),
        // A leader that goes is succeeded by one of those that it hears.
        Goes::Lost => (alive, voters.len()),
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::node::ReplicaProgress;
    use hansa_types::id::GroupKind;

    use super::*;

    /// Voters 1 to 3, 1 leading, of which these answer.
    fn told(alive: &[u64]) -> Told {
        let progress =
            |node| ReplicaProgress { node, alive: alive.contains(&node), lag_entries: 0 };
        let held = Membership {
            group: group().number(),
            leads: true,
            voters: vec![1, 2, 3],
            progress: vec![progress(2), progress(3)],
            ..Membership::default()
        };
        Told::from([(NodeId(1), vec![held])])
    }

    fn group() -> GroupId {
        GroupId::new(GroupKind::Orders, 0)
    }

    fn allowed(alive: &[u64], node: u64, goes: Goes) -> bool {
        allowed_of(&[1, 2, 3], alive, node, goes)
    }

    fn allowed_of(wanted: &[u64], alive: &[u64], node: u64, goes: Goes) -> bool {
        let wanted = wanted.iter().copied().map(NodeId).collect();
        let wanted = BTreeMap::from([(group(), wanted)]);
        check(&told(alive), &wanted, &[group()], NodeId(node), goes).is_ok()
    }

    #[test]
    fn what_remains_must_have_a_majority() {
        assert!(allowed(&[2, 3], 3, Goes::Away));
        assert!(allowed(&[2], 3, Goes::Away), "the dead one goes");
        assert!(!allowed(&[2], 2, Goes::Away), "the living one goes, a dead one stays");
        assert!(allowed(&[2], 3, Goes::Replaced));
        assert!(allowed(&[2], 3, Goes::Lost));
        assert!(!allowed(&[2], 2, Goes::Lost));
    }

    #[test]
    fn what_is_still_under_way_counts_as_done() {
        assert!(!allowed_of(&[1, 2], &[2, 3], 2, Goes::Away), "3 goes already: 1 would be alone");
        assert!(!allowed_of(&[1, 2, 3, 4, 5], &[2, 3], 2, Goes::Away), "4 and 5 are not there");
        assert!(allowed_of(&[1, 2], &[2, 3], 2, Goes::Replaced));
    }

    #[test]
    fn nothing_is_done_without_a_leaders_word() {
        let asked = check(&Told::new(), &BTreeMap::new(), &[group()], NodeId(1), Goes::Away);
        assert_eq!(asked.unwrap_err().reason(), Reason::NotLeader, "asked again, one may answer");
        let asked = check(&told(&[2]), &BTreeMap::new(), &[group()], NodeId(2), Goes::Away);
        assert_eq!(asked.unwrap_err().reason(), Reason::MembershipRefused);
    }
}
