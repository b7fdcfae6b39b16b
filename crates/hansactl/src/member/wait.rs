//! Waits for what takes its time, and says how far it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hansa_api::pb::admin::{ListMembersResponse, MemberGroup, MemberPlace};

use super::{group_name, list};
use crate::connect::Session;
use crate::error::Problem;

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Patience {
    /// How long to wait until the groups are as wanted, such as 30s or 10m.
    #[arg(long, default_value = "10m", value_parser = crate::args::span)]
    wait: Duration,
    /// Return at once; `member list` shows how far it is.
    #[arg(long)]
    no_wait: bool,
}

/// Waits until these groups have the members that are wanted. Progress goes to stderr.
pub async fn settled(session: &Session, groups: &[u32], args: &Patience) -> Result<(), Problem> {
    if args.no_wait {
        return Ok(());
    }
    let (end, mut said) = (Instant::now() + args.wait, BTreeMap::new());
    loop {
        // A gateway may be away for a moment: the next one is asked at the next look.
        let open = match list::ask(session).await {
            Ok(now) => open(&now, groups),
            Err(problem) if Instant::now() >= end => return Err(problem),
            Err(_) => {
                groups.iter().map(|group| (*group, "no gateway answers".to_owned())).collect()
            }
        };
        for (group, text) in &open {
            if said.insert(*group, text.clone()).as_ref() != Some(text) {
                eprintln!("{}: {text}", group_name(*group));
            }
        }
        for done in said.keys().filter(|group| !open.contains_key(group)) {
            eprintln!("{}: done", group_name(*done));
        }
        said.retain(|group, _| open.contains_key(group));
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            let left: Vec<_> = open.keys().map(|group| group_name(*group)).collect();
            let what = format!("not done after {:?}: {}", args.wait, left.join(", "));
            let next = "it goes on by itself; `hansactl member list` shows what it waits for";
            return Err(Problem::unreachable(what, next));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The groups that are not as wanted yet, and what each waits for.
fn open(now: &ListMembersResponse, groups: &[u32]) -> BTreeMap<u32, String> {
    let asked = now.groups.iter().filter(|group| groups.contains(&group.group));
    asked.filter(|group| !group.settled).map(|group| (group.group, stage(group))).collect()
}

fn stage(group: &MemberGroup) -> String {
    if !group.next.is_empty() {
        return group.next.clone();
    }
    let leaves = |member: &&hansa_api::pb::admin::Member| {
        member.wanted() == MemberPlace::None && member.actual() != MemberPlace::None
    };
    match group.members.iter().find(leaves) {
        Some(member) => format!("{} leaves", member.node_name),
        None => "about to be done".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_groups_that_were_asked_for_are_waited_for() {
        let group = |group, settled, next: &str| MemberGroup {
            group,
            settled,
            next: next.to_owned(),
            ..MemberGroup::default()
        };
        let groups = vec![group(1, true, ""), group(2, false, "adds"), group(3, false, "x")];
        let now = ListMembersResponse { groups, ..ListMembersResponse::default() };
        assert_eq!(open(&now, &[1, 2]), BTreeMap::from([(2, "adds".to_owned())]));
    }
}
