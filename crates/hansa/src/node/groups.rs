//! The groups of the config against those of the directory.

use std::collections::BTreeSet;

use hansa_region_router::book::Book;
use hansa_region_router::core::directory::Snapshot;
use hansa_types::id::{GroupId, GroupKind};

/// Checks once that both know the same groups.
///
/// The directory keeps the groups that it was made with, while the ledger spreads SKUs over as many
/// as the config says: with another number it would look for stock where orders never reserve any.
///
/// # Errors
/// The first kind whose numbers differ.
pub async fn check(book: Book, ours: BTreeSet<GroupId>) -> Result<(), String> {
    match differ(book.ready().await.as_ref(), &ours) {
        Some(why) => Err(why),
        None => Ok(()),
    }
}

fn differ(directory: &Snapshot, ours: &BTreeSet<GroupId>) -> Option<String> {
    let kinds = [GroupKind::Orders, GroupKind::Inventory, GroupKind::Payments];
    kinds.into_iter().find_map(|kind| {
        let of = |group: &&GroupId| group.kind() == kind;
        let theirs = directory.groups.keys().filter(of).count();
        let ours = ours.iter().filter(of).count();
        (theirs != ours).then(|| {
            format!("config: {ours} groups of {kind:?}, but the directory was made with {theirs}")
        })
    })
}

#[cfg(test)]
mod tests {
    use hansa_region_router::core::directory::{Command, Genesis, Region, State};
    use hansa_types::id::NodeId;
    use hansa_types::region::RegionNumber;

    use super::*;

    const POLICY: &str = include_str!("../../../../deploy/policy/residency.toml");

    fn groups(inventory: u16) -> BTreeSet<GroupId> {
        let one = |kind| GroupId::new(kind, 0);
        let fixed = [GroupKind::Directory, GroupKind::Orders, GroupKind::Payments].map(one);
        let stock = (0..inventory).map(|n| GroupId::new(GroupKind::Inventory, n));
        fixed.into_iter().chain(stock).collect()
    }

    #[test]
    fn another_number_of_groups_than_the_directory_has_is_found() {
        let here = RegionNumber::try_from(1).unwrap();
        let region =
            Region { name: "eu-west".parse().unwrap(), public: Vec::new(), nodes: Vec::new() };
        let genesis = Genesis {
            here,
            policy: POLICY.into(),
            regions: vec![(here, region)],
            groups: groups(2).into_iter().map(|group| (group, vec![NodeId(1)])).collect(),
        };
        let mut state = State::default();
        state.apply(&Command::Bootstrap(Box::new(genesis)).encode().unwrap());
        let directory = state.snapshot().unwrap();
        assert_eq!(differ(&directory, &groups(2)), None);
        for other in [1, 3] {
            assert!(differ(&directory, &groups(other)).unwrap().contains("Inventory"));
        }
    }
}
