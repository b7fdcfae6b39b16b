//! The next step from the members that a group has to those that it is to have. Pure.

use std::collections::BTreeSet;

use hansa_types::id::NodeId;

use super::Wanted;

/// A learner this close behind becomes a voter.
const LAG_ENTRIES_MAX: u64 = 256;

/// The members of a group as its leader has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Have {
    pub me: NodeId,
    /// The voters, of the new side while there are two.
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// Between two sets of voters.
    pub joint: bool,
    /// The newest membership is committed.
    pub committed: bool,
}

/// How a member does, as the leader sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub alive: bool,
    /// Entries that it lacks; `None` when nothing of it is known.
    pub lag: Option<u64>,
}

/// What a leader does next about its group's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Settled,
    /// Nothing now, for this reason.
    Wait(String),
    /// Leave the joint membership that a leader before us left behind.
    Finish,
    AddLearner(NodeId),
    /// In one joint change, so that a majority of both sets agrees to all in between.
    SetVoters(BTreeSet<NodeId>),
    RemoveLearner(NodeId),
    /// This node is to leave: one of these leads on, the best first.
    HandOver,
}

/// The next step; the same state gives the same step, whoever leads and however often it is asked.
pub(crate) fn next(have: &Have, want: &Wanted, health: impl Fn(NodeId) -> Health) -> Step {
    if !have.committed {
        return Step::Wait("the last change is being committed".to_owned());
    }
    if have.joint {
        return Step::Finish;
    }
    let known = |node: &NodeId| have.voters.contains(node) || have.learners.contains(node);
    if let Some(new) = want.voters.iter().chain(&want.learners).find(|node| !known(node)) {
        return Step::AddLearner(*new);
    }
    let ready = |node: &NodeId| {
        let Health { alive, lag } = health(*node);
        have.voters.contains(node) || (alive && lag.is_some_and(|lag| lag <= LAG_ENTRIES_MAX))
    };
    let late = want.voters.iter().find(|node| !ready(node));
    let mut target: BTreeSet<NodeId> =
        want.voters.iter().filter(|node| ready(node)).copied().collect();
    if late.is_some() && !want.forced {
        // Nobody leaves before those who take the places are there.
        target.extend(&have.voters);
    }
    let leaves = !target.contains(&have.me);
    if leaves {
        target.insert(have.me);
    }
    if !target.is_empty() && target != have.voters {
        return change_voters(have, target, health);
    }
    if leaves && target.len() > 1 {
        return Step::HandOver;
    }
    if let Some(late) = late {
        return Step::Wait(match health(*late) {
            Health { alive: true, lag: Some(lag) } => {
                format!("node {late} catches up: {lag} entries behind")
            }
            _ => format!("node {late} does not answer: is it running?"),
        });
    }
    let wanted = |node: &NodeId| want.voters.contains(node) || want.learners.contains(node);
    match have.learners.iter().find(|node| !wanted(node)) {
        Some(left) => Step::RemoveLearner(*left),
        None => Step::Settled,
    }
}

fn change_voters(have: &Have, target: BTreeSet<NodeId>, health: impl Fn(NodeId) -> Health) -> Step {
    let lives = |node: &&NodeId| **node == have.me || health(**node).alive;
    let (alive, dead): (Vec<_>, Vec<_>) = target.iter().partition(lives);
    if alive.len() > target.len() / 2 {
        return Step::SetVoters(target);
    }
    // By force neither: a joint membership that has no majority is left by nothing but the return
    // of those that it lacks, and until then the group serves nobody.
    let names = |nodes: &[&NodeId]| {
        let names: Vec<_> = nodes.iter().map(|node| format!("node {node}")).collect();
        names.join(" and ")
    };
    let mut why = format!(
        "only {} of the {} voters that would remain answer: start {} again",
        alive.len(),
        target.len(),
        names(&dead),
    );
    let leaving: Vec<_> = have.voters.difference(&target).collect();
    if !leaving.is_empty() {
        // In this order: were the dead taken out too, those that leave would go as well.
        why += &format!(", or add {} back and remove {} instead", names(&leaving), names(&dead));
    }
    Step::Wait(why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn have(voters: &[u64], learners: &[u64]) -> Have {
        let (voters, learners) = (nodes(voters), nodes(learners));
        Have { me: NodeId(1), voters, learners, joint: false, committed: true }
    }

    fn want(voters: &[u64], learners: &[u64]) -> Wanted {
        Wanted { voters: nodes(voters), learners: nodes(learners), forced: false }
    }

    fn well(_: NodeId) -> Health {
        Health { alive: true, lag: Some(0) }
    }

    /// All well but `node`, which is dead.
    fn without(node: u64) -> impl Fn(NodeId) -> Health {
        move |asked| if asked == NodeId(node) { Health::default() } else { well(asked) }
    }

    #[test]
    fn a_new_member_is_a_learner_until_it_has_caught_up() {
        let want = want(&[1, 2, 3, 4], &[]);
        assert_eq!(next(&have(&[1, 2, 3], &[]), &want, well), Step::AddLearner(NodeId(4)));
        let behind = |node: NodeId| Health { lag: Some(node.0 * 1_000), ..well(node) };
        let step = next(&have(&[1, 2, 3], &[4]), &want, behind);
        assert!(matches!(&step, Step::Wait(why) if why.contains("4000 entries")), "{step:?}");
        let step = next(&have(&[1, 2, 3], &[4]), &want, well);
        assert_eq!(step, Step::SetVoters(nodes(&[1, 2, 3, 4])));
        assert_eq!(next(&have(&[1, 2, 3, 4], &[]), &want, well), Step::Settled);
    }

    #[test]
    fn a_held_learner_stays_one() {
        let want = want(&[1, 2, 3], &[4]);
        assert_eq!(next(&have(&[1, 2, 3], &[]), &want, well), Step::AddLearner(NodeId(4)));
        assert_eq!(next(&have(&[1, 2, 3], &[4]), &want, well), Step::Settled);
    }

    #[test]
    fn the_old_one_leaves_when_the_new_one_has_joined() {
        let want = want(&[1, 2, 4], &[]);
        let late = without(4);
        let step = next(&have(&[1, 2, 3], &[4]), &want, late);
        assert!(matches!(&step, Step::Wait(why) if why.contains("is it running")), "{step:?}");
        let step = next(&have(&[1, 2, 3], &[4]), &want, without(3));
        assert_eq!(step, Step::SetVoters(nodes(&[1, 2, 4])), "in one step, dead or not");
    }

    #[test]
    fn a_leader_that_is_to_leave_hands_over_first() {
        let want = want(&[2, 3, 4], &[]);
        let step = next(&have(&[1, 2, 3], &[4]), &want, well);
        assert_eq!(step, Step::SetVoters(nodes(&[1, 2, 3, 4])));
        assert_eq!(next(&have(&[1, 2, 3, 4], &[]), &want, well), Step::HandOver);
    }

    #[test]
    fn too_few_living_voters_are_never_left_not_even_by_force() {
        let mut want = want(&[1, 3], &[]);
        let step = next(&have(&[1, 2, 3], &[]), &want, without(3));
        assert!(matches!(&step, Step::Wait(why) if why.contains("1 of the 2")), "{step:?}");
        want.forced = true;
        let step = next(&have(&[1, 2, 3], &[]), &want, without(3));
        assert!(matches!(&step, Step::Wait(why) if why.contains("start node 3")), "{step:?}");
    }

    /// Node 3 is dead, and node 2 was removed by force instead of it.
    #[test]
    fn whoever_removed_the_wrong_one_is_told_how_to_keep_two_voters() {
        let all = have(&[1, 2, 3], &[]);
        let wanted = |voters| Wanted { forced: true, ..want(voters, &[]) };
        let told = "only 1 of the 2 voters that would remain answer: start node 3 again, or add \
                    node 2 back and remove node 3 instead";
        assert_eq!(next(&all, &wanted(&[1, 3]), without(3)), Step::Wait(told.to_owned()));
        // As told: the living two remain.
        assert_eq!(next(&all, &wanted(&[1, 2, 3]), without(3)), Step::Settled);
        let two = nodes(&[1, 2]);
        assert_eq!(next(&all, &wanted(&[1, 2]), without(3)), Step::SetVoters(two));
    }

    #[test]
    fn by_force_the_old_one_leaves_before_the_new_one_has_joined() {
        let want = Wanted { forced: true, ..want(&[1, 2, 4], &[]) };
        let step = next(&have(&[1, 2, 3], &[4]), &want, without(4));
        assert_eq!(step, Step::SetVoters(nodes(&[1, 2])));
    }

    #[test]
    fn what_a_leader_left_half_done_is_finished_first() {
        let joint = Have { joint: true, ..have(&[1, 2, 4], &[]) };
        assert_eq!(next(&joint, &want(&[1, 2, 3], &[]), well), Step::Finish);
        let open = Have { committed: false, ..joint };
        assert!(matches!(next(&open, &want(&[1, 2, 3], &[]), well), Step::Wait(_)));
    }

    #[test]
    fn a_learner_that_nobody_wants_goes_last() {
        let step = next(&have(&[1, 2, 3], &[4]), &want(&[1, 2, 3], &[]), well);
        assert_eq!(step, Step::RemoveLearner(NodeId(4)));
    }

    /// Does a step as openraft would.
    fn done(mut have: Have, step: Step) -> Have {
        match step {
            Step::AddLearner(node) => _ = have.learners.insert(node),
            Step::SetVoters(voters) => {
                assert!(
                    voters.iter().all(|n| have.voters.contains(n) || have.learners.contains(n))
                );
                have.learners.extend(&have.voters);
                have.learners.retain(|node| !voters.contains(node));
                have.voters = voters;
            }
            Step::RemoveLearner(node) => _ = have.learners.remove(&node),
            Step::HandOver => {
                let others = have.voters.iter().find(|node| **node != have.me);
                have.me = *others.unwrap();
            }
            Step::Finish => have.joint = false,
            Step::Settled | Step::Wait(_) => {}
        }
        have
    }

    proptest! {
        #[test]
        fn every_wish_is_reached_while_all_are_well(
            voters in prop::collection::btree_set(1u64..6, 1..5),
            learners in prop::collection::btree_set(6u64..9, 0..3),
            wished in prop::collection::btree_set(1u64..9, 1..6),
            joint in any::<bool>(),
        ) {
            let ids =
                |set: &BTreeSet<u64>| set.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
            let me = NodeId(*voters.first().unwrap());
            let (voters, learners) = (ids(&voters), ids(&learners));
            let mut have = Have { me, voters, learners, joint, committed: true };
            let want = Wanted { voters: ids(&wished), ..Wanted::default() };
            for _ in 0..30 {
                let step = next(&have, &want, well);
                if step == Step::HandOver {
                    let heir = *have.voters.intersection(&want.voters).next().unwrap();
                    have.me = heir;
                }
                have = match step { Step::HandOver => have, step => done(have, step) };
                prop_assert!(have.voters.contains(&have.me), "a leader never drops itself");
            }
            prop_assert_eq!(&have.voters, &want.voters);
            prop_assert!(have.learners.is_empty());
        }
    }
}
