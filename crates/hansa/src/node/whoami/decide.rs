//! What a node does about its data folder and what it was told. Pure.

use hansa_api::pb::directory::ResolveNodeResponse;
use hansa_types::id::{GroupId, NodeId};
use hansa_types::seeded::{self, Bug};

use super::Own;

/// What lies in the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    Empty,
    /// Empty, beside a former life: who comes next only the directory says.
    Vacated,
    Of(NodeId),
    /// That node's, which is being put aside: part of it is away.
    Leaving(NodeId),
    /// Somebody's, and damaged.
    Unreadable(String),
}

/// What the region's directory says of this node's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub id: Option<NodeId>,
    /// A peer has met that id, so its folder is in use.
    pub met: bool,
    pub former: Vec<NodeId>,
    /// The directory's leader was asked too: what it said has caught up.
    pub confirmed: bool,
    /// The books that lie in an orders group: as old as the region, so every directory knows them.
    pub parts: Vec<GroupId>,
}

#[derive(Debug)]
pub enum Decision {
    Start(Own),
    /// The folder is one of a former life.
    PutAside(Option<NodeId>),
    Refuse(String),
    Register,
    /// Until somebody says more; for what, or who would refuse.
    Wait(String),
}

/// The newest directory's answer; that one has met an id is true whoever says it.
pub fn newest(answers: Vec<ResolveNodeResponse>) -> Option<Told> {
    let newest = answers.iter().max_by_key(|answer| answer.version)?;
    let met = answers.iter().any(|answer| answer.met && answer.node == newest.node);
    Some(Told {
        id: (newest.node != 0).then_some(NodeId(newest.node)),
        met,
        former: newest.former_nodes.iter().copied().map(NodeId).collect(),
        confirmed: answers.iter().any(|answer| answer.confirmed),
        parts: newest.parts.iter().copied().filter_map(GroupId::from_number).collect(),
    })
}

/// `told` is `None` when no directory answered: at a region's first start there is none.
///
/// A refusal ends the process, and its advice is followed: it is not taken from a replica that may
/// have started a moment ago and know less than it knew before.
pub fn decide(folder: &Folder, told: Option<&Told>, config: NodeId, join: bool) -> Decision {
    let Some(told) = told else { return alone(folder, config, join) };
    match by_word(folder, told, config, join) {
        Decision::Refuse(why) if !told.confirmed => {
            Decision::Wait(format!("{why}. It is not sure: the directory has no leader"))
        }
        decision => decision,
    }
}

fn by_word(folder: &Folder, told: &Told, config: NodeId, join: bool) -> Decision {
    let Some(id) = told.id else {
        return match folder {
            Folder::Empty | Folder::Vacated if join => Decision::Register,
            Folder::Empty | Folder::Vacated => {
                let why = "the directory of the region does not know this node; a node that is \
                           added later says `join = true` in its config";
                Decision::Refuse(why.to_owned())
            }
            _ => {
                let why = "this node was retired; its folder cannot come back. To add the machine \
                           as a new node, give it an empty folder and `join = true`";
                Decision::Refuse(why.to_owned())
            }
        };
    };
    match folder {
        Folder::Leaving(owner) if *owner == id => {
            Decision::Wait("whoever answers has an old directory".to_owned())
        }
        Folder::Of(owner) if *owner == id => {
            Decision::Start(Own { id, joins: join || id != config })
        }
        Folder::Of(owner) | Folder::Leaving(owner) if told.former.contains(owner) => {
            Decision::PutAside(Some(*owner))
        }
        Folder::Of(owner) | Folder::Leaving(owner) => Decision::Refuse(format!(
            "the folder belongs to node {owner}, and this node is {id}: is it the right volume?"
        )),
        Folder::Empty | Folder::Vacated if told.met && !seeded::on(Bug::ReuseNodeId) => {
            Decision::Refuse(format!(
                "the folder is empty, but node {id} has been here before: it lost its volume. Run \
             `hansactl node reseed` with its name; then start it again"
            ))
        }
        Folder::Empty | Folder::Vacated => Decision::Start(Own { id, joins: true }),
        Folder::Unreadable(_) if !told.met && !told.former.is_empty() => Decision::PutAside(None),
        Folder::Unreadable(why) => Decision::Refuse(format!(
            "{why}. To rebuild the node from its peers, run `hansactl node reseed` with its name; \
             then start it again"
        )),
    }
}

fn alone(folder: &Folder, config: NodeId, join: bool) -> Decision {
    let wait = || Decision::Wait("no keeper of the region's directory answers".to_owned());
    match folder {
        Folder::Of(owner) => {
            // Another id than the config's was given by the directory, in an earlier life.
            Decision::Start(Own { id: *owner, joins: join || *owner != config })
        }
        Folder::Empty if join => wait(),
        // Its old id is retired, and the new one not known yet.
        Folder::Vacated | Folder::Leaving(_) => wait(),
        Folder::Empty => Decision::Start(Own { id: config, joins: false }),
        Folder::Unreadable(why) => Decision::Refuse(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: NodeId = NodeId(12);
    const NEW: NodeId = NodeId(100_001);

    fn told(id: u64, met: bool, former: &[u64]) -> Option<Told> {
        let id = (id != 0).then_some(NodeId(id));
        let former = former.iter().copied().map(NodeId).collect();
        Some(Told { id, met, former, confirmed: true, parts: Vec::new() })
    }

    fn check(folder: Folder, told: Option<Told>, join: bool, expect: &str) {
        let decision = match decide(&folder, told.as_ref(), CONFIG, join) {
            Decision::Start(Own { id, joins }) => format!("start {id} joins {joins}"),
            Decision::PutAside(id) => format!("aside {id:?}"),
            Decision::Refuse(why) => format!("refuse {why}"),
            Decision::Register => "register".to_owned(),
            Decision::Wait(why) => format!("wait: {why}"),
        };
        assert!(decision.contains(expect), "{folder:?}, {told:?}: {decision}");
    }

    #[test]
    fn a_region_begins_without_a_directory() {
        check(Folder::Empty, None, false, "start 12 joins false");
        check(Folder::Of(CONFIG), None, false, "start 12 joins false");
        check(Folder::Empty, None, true, "wait");
        check(Folder::Of(NEW), None, false, "start 100001 joins true");
    }

    #[test]
    fn a_late_one_never_begins_a_history_of_its_own() {
        check(Folder::Empty, told(12, false, &[]), false, "start 12 joins true");
        check(Folder::Empty, told(0, false, &[]), true, "register");
        check(Folder::Empty, told(0, false, &[]), false, "join = true");
    }

    #[test]
    fn a_restart_goes_on_in_its_folder() {
        check(Folder::Of(CONFIG), told(12, true, &[]), false, "start 12 joins false");
        check(Folder::Of(NEW), told(100_001, true, &[12]), false, "start 100001 joins true");
    }

    #[test]
    fn a_wiped_volume_is_refused_and_told_what_to_do() {
        check(Folder::Empty, told(12, true, &[]), false, "hansactl node reseed");
        check(Folder::Empty, told(12, true, &[]), true, "hansactl node reseed");
        check(
            Folder::Unreadable("x: damaged".into()),
            told(12, true, &[]),
            false,
            "x: damaged. To",
        );
    }

    #[test]
    fn a_reseeded_node_puts_its_former_life_aside() {
        check(Folder::Of(CONFIG), told(100_001, false, &[12]), false, "aside Some(NodeId(12))");
        check(Folder::Unreadable("x".into()), told(100_001, false, &[12]), false, "aside None");
        check(Folder::Empty, told(100_001, false, &[12]), false, "start 100001 joins true");
    }

    #[test]
    fn whoever_is_between_two_lives_begins_neither_without_the_directory() {
        for folder in [Folder::Leaving(CONFIG), Folder::Vacated] {
            check(folder.clone(), None, false, "wait");
            check(folder, None, true, "wait");
        }
        check(Folder::Leaving(CONFIG), told(12, true, &[]), false, "wait");
        check(
            Folder::Leaving(CONFIG),
            told(100_001, false, &[12]),
            false,
            "aside Some(NodeId(12))",
        );
        check(Folder::Vacated, told(100_001, false, &[12]), false, "start 100001 joins true");
        check(Folder::Vacated, told(100_001, true, &[12]), false, "hansactl node reseed");
    }

    #[test]
    fn a_wrong_volume_is_left_alone() {
        check(Folder::Of(NodeId(13)), told(12, true, &[]), false, "the right volume");
        check(Folder::Of(NodeId(13)), told(100_001, false, &[12]), false, "the right volume");
        check(Folder::Of(CONFIG), told(0, false, &[12]), false, "was retired");
    }

    /// Seed 2419: the only keeper that answered had just started.
    #[test]
    fn a_directory_that_may_be_behind_refuses_nobody() {
        let folders = [Folder::Of(CONFIG), Folder::Empty, Folder::Unreadable("x".into())];
        for (folder, id) in folders.iter().flat_map(|folder| [0, 12, 13].map(|id| (folder, id))) {
            let sure = told(id, true, &[]).unwrap();
            let behind = Told { confirmed: false, ..sure.clone() };
            let [sure, behind] =
                [sure, behind].map(|told| decide(folder, Some(&told), CONFIG, false));
            match (&sure, &behind) {
                (Decision::Refuse(why), Decision::Wait(unsure)) => assert!(unsure.starts_with(why)),
                (Decision::Start(one), Decision::Start(same)) => assert_eq!(one.id, same.id),
                _ => panic!("{folder:?} {id}: {sure:?}, {behind:?}"),
            }
        }
    }

    #[test]
    fn the_newest_directory_has_the_word() {
        let answer = |version, node, met| ResolveNodeResponse {
            node,
            met,
            version,
            ..ResolveNodeResponse::default()
        };
        let answers =
            vec![answer(3, 12, true), answer(4, 100_001, false), answer(4, 100_001, true)];
        let told = newest(answers).unwrap();
        assert_eq!((told.id, told.met), (Some(NEW), true));
        assert_eq!(newest(Vec::new()), None);
    }
}
