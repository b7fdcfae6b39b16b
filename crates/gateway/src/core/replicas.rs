//! Whether the replicas of each group agree: invariant 9 of domain.md, as far as one look can tell.

use std::collections::BTreeMap;

use hansa_api::pb::admin::{GroupReplica, InvariantReport, Verdict};
use hansa_types::id::GroupId;

/// The number of the invariant in domain.md §7.
pub const NUMBER: u32 = 9;

/// One report per group.
///
/// Only replicas at the same index can be compared; a group whose replicas are all at different
/// ones is unknown, which is not the same as well.
pub fn agree<'a>(
    groups: impl IntoIterator<Item = (GroupId, &'a [GroupReplica])>,
) -> Vec<InvariantReport> {
    groups.into_iter().map(|(group, replicas)| report(group, replicas)).collect()
}

fn report(group: GroupId, replicas: &[GroupReplica]) -> InvariantReport {
    let mut by_index: BTreeMap<u64, Vec<&GroupReplica>> = BTreeMap::new();
    // Who has applied nothing (it has stopped at its start, or is a member no more) has no state.
    let told = |replica: &&GroupReplica| replica.reachable && replica.applied_index > 0;
    for replica in replicas.iter().filter(told) {
        by_index.entry(replica.applied_index).or_default().push(replica);
    }
    let differ = by_index
        .iter()
        .find(|(_, same)| same.windows(2).any(|pair| pair[0].state_hash != pair[1].state_hash));
    let compared = by_index.values().map(Vec::len).filter(|&n| n > 1).sum::<usize>();
    let away = replicas.iter().filter(|replica| !replica.reachable).count();
    let (verdict, detail) = match differ {
        Some((index, same)) => {
            let names: Vec<_> = same.iter().map(|replica| replica.node_name.as_str()).collect();
            (Verdict::Violated, format!("different states at index {index}: {}", names.join(", ")))
        }
        None if compared == replicas.len() => {
            (Verdict::Held, format!("{compared} replicas have one state"))
        }
        None if replicas.len() == 1 && away == 0 => (Verdict::Held, "its only replica".to_owned()),
        None if compared > 1 && away == 0 => {
            (Verdict::Held, format!("{compared} of {} replicas compared", replicas.len()))
        }
        None => {
            let detail =
                format!("{compared} of {} replicas compared, {away} out of reach", replicas.len());
            (Verdict::Unknown, detail)
        }
    };
    InvariantReport {
        number: NUMBER,
        name: "replicas of a group have one state".into(),
        verdict: verdict.into(),
        detail,
        group: group.number(),
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;

    use super::*;

    fn replica(node: u64, applied_index: u64, hash: &str) -> GroupReplica {
        GroupReplica {
            node,
            node_name: format!("n{node}"),
            reachable: applied_index > 0,
            applied_index,
            state_hash: hash.into(),
            ..GroupReplica::default()
        }
    }

    fn check(replicas: &[GroupReplica], verdict: Verdict, detail: &str) {
        let reports = agree([(GroupId::new(GroupKind::Orders, 1), replicas)]);
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].verdict(), verdict, "{}", reports[0].detail);
        assert!(reports[0].detail.contains(detail), "{}", reports[0].detail);
    }

    #[test]
    fn one_state_at_one_index_holds() {
        check(
            &[replica(1, 5, "a"), replica(2, 5, "a"), replica(3, 5, "a")],
            Verdict::Held,
            "3 replicas",
        );
        check(
            &[replica(1, 5, "a"), replica(2, 5, "a"), replica(3, 6, "b")],
            Verdict::Held,
            "2 of 3",
        );
    }

    #[test]
    fn two_states_at_one_index_are_a_violation() {
        let replicas = [replica(1, 5, "a"), replica(2, 6, "b"), replica(3, 5, "c")];
        check(&replicas, Verdict::Violated, "index 5: n1, n3");
    }

    #[test]
    fn what_cannot_be_compared_is_unknown() {
        check(
            &[replica(1, 5, "a"), replica(2, 6, "b"), replica(3, 7, "c")],
            Verdict::Unknown,
            "0 of 3",
        );
        check(
            &[replica(1, 5, "a"), replica(2, 5, "a"), replica(3, 0, "")],
            Verdict::Unknown,
            "1 out of reach",
        );
        check(&[replica(1, 0, "")], Verdict::Unknown, "1 out of reach");
        check(&[], Verdict::Held, "0 replicas");
    }

    /// Seed 2437: one had stopped over its damaged checkpoint, another was no member any more.
    #[test]
    fn who_has_applied_nothing_is_not_compared() {
        let nothing = |node, hash| GroupReplica { reachable: true, ..replica(node, 0, hash) };
        let replicas = [replica(1, 5, "a"), replica(2, 5, "a"), nothing(3, "b"), nothing(4, "c")];
        check(&replicas, Verdict::Held, "2 of 4");
        check(&replicas[1..], Verdict::Unknown, "0 of 3 replicas compared, 0 out of reach");
    }

    #[test]
    fn a_lone_replica_cannot_differ() {
        check(&[replica(1, 5, "a")], Verdict::Held, "its only replica");
    }
}
