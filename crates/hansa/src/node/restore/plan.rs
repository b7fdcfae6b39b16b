//! What is to become of a backup on this node: which groups, which members, which first commands.

use bytes::Bytes;
use hansa_api::pb::node::BeginRestoreRequest;
use hansa_backup::Manifest;
use hansa_backup::manifest::Group;
use hansa_consensus::{RestoredGroup, plan_hash};
use hansa_orders::core::command::Command as OrdersCommand;
use hansa_orders::core::restored::{Restore, Step};
use hansa_region_router::core::directory;
use hansa_types::id::{GroupId, GroupKind, NodeId};

use crate::config::Config;

/// A restore as this node sees it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The manifest as it was sent.
    pub text: Bytes,
    /// Of the groups that this node keeps.
    pub groups: Vec<(Group, RestoredGroup)>,
    /// Over all groups of the region: the same on every node, or something differs in their
    /// configs.
    pub hash: String,
}

impl Plan {
    /// # Errors
    /// A backup that does not fit this region, said for an operator.
    pub fn new(config: &Config, asked: &BeginRestoreRequest) -> Result<Self, String> {
        let manifest = Manifest::parse(&asked.manifest).map_err(|e| format!("manifest: {e}"))?;
        let region = config.own_region().ok_or("this region is not in the league")?;
        if manifest.region != region.name.as_str() || manifest.number != region.number.get() {
            let (name, number) = (&manifest.region, manifest.number);
            return Err(format!(
                "the backup is of {name} (number {number}), this is {} (number {})",
                region.name, region.number
            ));
        }
        if asked.epoch <= manifest.epoch {
            let have = manifest.epoch;
            return Err(format!("epoch {} is not newer than the backup's {have}", asked.epoch));
        }
        match (joint(&manifest), config.groups.joint) {
            (true, false) => return Err(WITH_BOOKS.to_owned()),
            (false, true) => return Err(WITHOUT_BOOKS.to_owned()),
            _ => {}
        }
        let mut members = config.region_groups();
        // What is a part comes back with the group in which it lies.
        members.retain(|(_, members)| !members.is_empty());
        for (group, _) in &members {
            if manifest.group(group.number()).is_none() {
                return Err(format!("the backup has no {group}, the config does"));
            }
        }
        if manifest.groups.len() != members.len() {
            return Err("the backup has groups that the config does not have".to_owned());
        }
        let me = config.own_node().ok_or("this node is not in the league")?.id;
        let mut plans = Vec::new();
        for (id, members) in members {
            let first = first(config, &manifest, asked, id)?;
            plans.push(RestoredGroup { id, members, first });
        }
        plans.sort_by_key(|plan| plan.id);
        let hash = plan_hash(&plans);
        let ours = plans.into_iter().filter(|plan| plan.members.contains(&me));
        let groups = ours
            .filter_map(|plan| Some((manifest.group(plan.id.number())?.clone(), plan)))
            .collect();
        Ok(Self { text: asked.manifest.clone(), groups, hash })
    }
}

const WITH_BOOKS: &str = "the backup's stock and money books lie in its orders-0; \
                          the config has groups.joint = false";
const WITHOUT_BOOKS: &str = "the backup's inventory-0 and payments-0 have logs of their own; \
                             the config has groups.joint = true";

/// Whether the books of the first orders group came with it: a region has the others of each kind
/// with logs of their own, joint or not.
fn joint(manifest: &Manifest) -> bool {
    let has = |kind| manifest.group(GroupId::new(kind, 0).number()).is_some();
    has(GroupKind::Orders) && !has(GroupKind::Inventory) && !has(GroupKind::Payments)
}

/// What the group begins its new life with.
fn first(
    config: &Config,
    manifest: &Manifest,
    asked: &BeginRestoreRequest,
    group: GroupId,
) -> Result<Vec<Bytes>, String> {
    let command = match group.kind() {
        GroupKind::Directory => {
            let restored = directory_of(config, asked)?;
            let command = directory::Command::Restore(Box::new(restored));
            command.encode().map_err(|e| e.to_string())?
        }
        GroupKind::Orders => {
            let restore = Restore {
                backup: manifest.id.clone(),
                epoch: asked.epoch,
                cut_ms: manifest.cut_ms,
                restored_ms: asked.restored_ms,
                skew_ms: asked.skew_ms,
                cancel_strays: asked.cancel_strays,
            };
            OrdersCommand::Restore(Step::Begin(Box::new(restore))).encode().into()
        }
        // Their books are what they were; the orders go on with them.
        GroupKind::Inventory | GroupKind::Payments => return Ok(Vec::new()),
    };
    Ok(vec![command])
}

fn directory_of(
    config: &Config,
    asked: &BeginRestoreRequest,
) -> Result<directory::Restored, String> {
    let region = config.own_region().ok_or("this region is not in the league")?;
    let owner = match asked.owner_region.as_str() {
        "" => None,
        name => {
            let known = config.league.iter().find(|region| region.name.as_str() == name);
            Some(known.ok_or_else(|| format!("the league has no region {name}"))?.number)
        }
    };
    let mut nodes: Vec<_> = region
        .nodes
        .iter()
        .map(|node| directory::Node {
            id: node.id,
            name: node.name.clone(),
            internal: node.internal.clone(),
            roles: node.roles.clone(),
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    let mut groups: Vec<(GroupId, Vec<NodeId>)> = config.region_groups();
    groups.sort_by_key(|(group, _)| *group);
    Ok(directory::Restored { nodes, groups, epoch: asked.epoch, owner })
}

#[cfg(test)]
mod tests {
    use hansa_backup::PartKind;
    use hansa_backup::manifest::{FORMAT, Part};

    use super::*;
    use crate::league::layout::Layout;

    fn config(joint: bool) -> Config {
        let mut layout = Layout::at(7_400).unwrap();
        layout.groups.joint = joint;
        layout.configs("/data".as_ref(), "hansa").unwrap().remove(0)
    }

    /// What a backup of that region asks for.
    fn asked(config: &Config) -> BeginRestoreRequest {
        let part = |kind| Part { kind, bytes: 0, frames: 0, blake3: String::new() };
        let group = |id: GroupId| Group {
            name: id.to_string(),
            group: id.number(),
            node: 1,
            index: 1,
            term: 1,
            log_time_ms: 1,
            state_hash: String::new(),
            chain_head: String::new(),
            records: 0,
            parts: PartKind::ALL.map(part).into(),
        };
        let mut logs = config.region_groups();
        logs.retain(|(_, members)| !members.is_empty());
        logs.sort_by_key(|(id, _)| id.number());
        let region = config.own_region().unwrap();
        let mut manifest = Manifest {
            format: FORMAT,
            id: "b-1".into(),
            region: region.name.to_string(),
            number: region.number.get(),
            epoch: 1,
            cut_ms: 0,
            keep_until_ms: 1,
            groups: logs.into_iter().map(|(id, _)| group(id)).collect(),
            hash: String::new(),
        };
        manifest.seal();
        let manifest = manifest.to_json().into();
        BeginRestoreRequest { manifest, epoch: 2, ..Default::default() }
    }

    #[test]
    fn books_come_back_where_they_were() {
        for (joint, groups) in [(true, 2), (false, 4)] {
            let here = config(joint);
            assert_eq!(Plan::new(&here, &asked(&here)).unwrap().groups.len(), groups);
            let why = Plan::new(&config(!joint), &asked(&here)).unwrap_err();
            assert_eq!(why, if joint { WITH_BOOKS } else { WITHOUT_BOOKS });
            assert!(why.ends_with(&format!("groups.joint = {}", !joint)), "{why}");
        }
    }

    #[test]
    fn other_groups_than_the_configs_are_refused_as_ever() {
        let mut here = config(true);
        let asked = asked(&here);
        here.groups.inventory = 2;
        let why = Plan::new(&here, &asked).unwrap_err();
        assert_eq!(why, "the backup has no inventory-1, the config does");
    }
}
