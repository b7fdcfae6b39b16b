//! The groups of the config against those of the directory.

use hansa_region_router::book::Book;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::id::{GroupId, GroupKind, NodeId};

/// A group by the config; without members where it lies in an orders group.
pub type Told = (GroupId, Vec<NodeId>);

/// Checks once that both know the same groups.
///
/// The directory keeps the groups that it was made with, while the ledger spreads SKUs over as many
/// as the config says: with another number it would look for stock where orders never reserve any.
/// And whether an orders group keeps books is the directory's to say: a config that says otherwise
/// would have this node serve books that no order knows of, or none.
///
/// # Errors
/// The first kind whose numbers differ, or books that lie elsewhere.
pub async fn check(book: Book, ours: Vec<Told>) -> Result<(), String> {
    compare(book.ready().await.as_ref(), &ours)
}

/// # Errors
/// As [`check`].
pub fn compare(directory: &Snapshot, ours: &[Told]) -> Result<(), String> {
    match count(directory, ours) {
        Some(why) => Err(why),
        None => same_parts(&directory.parts().collect::<Vec<_>>(), ours),
    }
}

/// `theirs` are the books that lie in orders groups by the directory.
///
/// # Errors
/// Books that lie elsewhere by the config.
pub fn same_parts(theirs: &[GroupId], ours: &[Told]) -> Result<(), String> {
    let differ = |(group, members): &&Told| theirs.contains(group) != members.is_empty();
    let Some((group, members)) = ours.iter().find(differ) else { return Ok(()) };
    let log = GroupId::new(GroupKind::Orders, group.index());
    Err(match members.is_empty() {
        false => format!(
            "config: groups.joint = false, but the directory was made with {group} in {log}"
        ),
        true => format!(
            "config: groups.joint = true, but the directory was made with a log of its own for \
             {group}"
        ),
    })
}

fn count(directory: &Snapshot, ours: &[Told]) -> Option<String> {
    let kinds = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments];
    kinds.into_iter().find_map(|kind| {
        let theirs = directory.groups.keys().filter(|group| group.kind() == kind).count();
        let ours = ours.iter().filter(|(group, _)| group.kind() == kind).count();
        (theirs != ours).then(|| {
            format!("config: {ours} groups of {kind:?}, but the directory was made with {theirs}")
        })
    })
}

#[cfg(test)]
mod tests {
    use hansa_region_router::core::directory::{Command, Genesis, Region, State};
    use hansa_types::region::RegionNumber;

    use super::*;

    const POLICY: &str = include_str!("../../../../deploy/policy/residency.toml");

    fn groups(inventory: u16, joint: bool) -> Vec<Told> {
        let one = |kind| GroupId::new(kind, 0);
        let fixed = [GroupKind::Directory, GroupKind::Orders, GroupKind::Payments].map(one);
        let stock = (0..inventory).map(|n| GroupId::new(GroupKind::Inventory, n));
        let part = |group: GroupId| {
            let books = matches!(group.kind(), GroupKind::Inventory | GroupKind::Payments);
            joint && books && group.index() == 0
        };
        let members = |group| if part(group) { Vec::new() } else { vec![NodeId(1)] };
        fixed.into_iter().chain(stock).map(|group| (group, members(group))).collect()
    }

    fn directory(groups: Vec<Told>) -> Snapshot {
        let here = RegionNumber::try_from(1).unwrap();
        let region =
            Region { name: "eu-west".parse().unwrap(), public: Vec::new(), nodes: Vec::new() };
        let regions = vec![(here, region)];
        let genesis = Genesis { here, policy: POLICY.into(), regions, groups };
        let mut state = State::default();
        state.apply(&Command::Bootstrap(Box::new(genesis)).encode().unwrap());
        state.snapshot().unwrap()
    }

    #[test]
    fn another_number_of_groups_than_the_directory_has_is_found() {
        let directory = directory(groups(2, false));
        assert_eq!(compare(&directory, &groups(2, false)), Ok(()));
        for other in [1, 3] {
            let told = groups(other, false);
            assert!(compare(&directory, &told).unwrap_err().contains("Inventory"));
        }
    }

    #[test]
    fn books_that_lie_elsewhere_than_the_directory_says_are_found() {
        for joint in [true, false] {
            let directory = directory(groups(2, joint));
            assert_eq!(compare(&directory, &groups(2, joint)), Ok(()));
            let why = compare(&directory, &groups(2, !joint)).unwrap_err();
            assert!(why.starts_with(&format!("config: groups.joint = {}", !joint)), "{why}");
            assert_eq!(why.contains("in orders-0"), joint, "{why}");
        }
    }
}
