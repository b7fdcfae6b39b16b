//! `hansactl audit verify`: walks on the nodes, comparisons here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use hansa_api::pb::admin::{
    ChainVerdict, Group, GroupReplica, ListAnchorsRequest, ListGroupsRequest, VerifyChainRequest,
};
use hansa_api::pb::region::ListRegionsRequest;
use indicatif::ProgressBar;

use super::compare::{self, Anchor, Compared, Told};
use crate::connect::{Role, Session};
use crate::error::{NO_ANSWER, Problem, WRONG};
use crate::values::short;

/// Anchors of one group that are compared: the newest cover all before them.
const ANCHORS_MAX: usize = 64;

/// What was found in all.
#[derive(Default)]
struct Found {
    differences: usize,
    unread: usize,
    entries: u64,
    compared: usize,
    anchors: usize,
}

pub async fn run(
    session: &Session,
    group: Option<String>,
    node: Option<String>,
) -> Result<ExitCode, Problem> {
    let request = ListGroupsRequest { region: session.region() };
    let listed = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.admin.list_groups(request).await
        })
        .await?;
    let wanted = |of: &Group| group.as_ref().is_none_or(|name| *name == self::name(of));
    let groups: Vec<Group> = listed.groups.into_iter().filter(wanted).collect();
    if groups.is_empty() {
        return Err(Problem::usage("the region has no such group", "`group list` names them"));
    }
    let mut found = Found::default();
    let anchors = kept_abroad(session, &mut found).await?;
    for group in &groups {
        let kept = anchors.get(&group.group).map_or(&[][..], Vec::as_slice);
        one_group(session, group, node.as_deref(), kept, &mut found).await;
    }
    Ok(conclude(&found))
}

fn conclude(found: &Found) -> ExitCode {
    let Found { differences, unread, entries, compared, anchors } = found;
    println!(
        "{entries} entries walked, {compared} heads equal between replicas, {anchors} anchors \
         met; {differences} differences, {unread} not read"
    );
    match (differences, unread) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(NO_ANSWER),
        _ => ExitCode::from(WRONG),
    }
}

fn name(group: &Group) -> String {
    let kind = short(group.kind().as_str_name(), "GROUP_KIND_").to_lowercase();
    format!("{kind}-{}", group.group & 0xffff)
}

fn node_name(replica: &GroupReplica) -> String {
    match replica.node_name.as_str() {
        "" => replica.node.to_string(),
        name => name.to_owned(),
    }
}

/// The anchors that the other regions keep of this one's groups, of its newest epoch.
async fn kept_abroad(
    session: &Session,
    found: &mut Found,
) -> Result<BTreeMap<u32, Vec<Anchor>>, Problem> {
    let request = ListRegionsRequest::default();
    let listed = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.regions.list_regions(request).await
        })
        .await?;
    let own = match session.region() {
        named if named.is_empty() => {
            let here = listed.regions.iter().find(|region| region.here);
            here.map(|region| region.name.clone()).unwrap_or_default()
        }
        named => named,
    };
    let mut anchors: BTreeMap<u32, Vec<Anchor>> = BTreeMap::new();
    for keeper in listed.regions.iter().map(|region| &region.name).filter(|name| **name != own) {
        let request = ListAnchorsRequest { origin_region: own.clone(), region: keeper.clone() };
        let asked = session.call(Role::Operator, request, |mut services, request| async move {
            services.audit.list_anchors(request).await
        });
        let told = match asked.await {
            Ok(told) => told,
            Err(problem) => {
                eprintln!("anchors of {keeper}: not read: {}", problem.text());
                found.unread += 1;
                continue;
            }
        };
        for node in &told.silent_nodes {
            eprintln!("anchors of {keeper}: {node} did not answer");
            found.unread += 1;
        }
        let newest = told.anchors.iter().map(|anchor| anchor.epoch).max().unwrap_or(0);
        for anchor in told.anchors.into_iter().filter(|anchor| anchor.epoch == newest) {
            let (index, head) = (anchor.index, anchor.head.to_vec());
            let kept = Anchor { keeper: keeper.clone(), index, head };
            anchors.entry(anchor.group).or_default().push(kept);
        }
    }
    for kept in anchors.values_mut() {
        kept.sort_by_key(|anchor| std::cmp::Reverse(anchor.index));
        kept.truncate(ANCHORS_MAX);
    }
    Ok(anchors)
}

/// Walks every replica of a group, then compares.
async fn one_group(
    session: &Session,
    group: &Group,
    only: Option<&str>,
    anchors: &[Anchor],
    found: &mut Found,
) {
    let mut told: Vec<Told> = Vec::new();
    let mut upto = 0;
    let chosen = |replica: &&GroupReplica| {
        only.is_none_or(|only| node_name(replica) == only || replica.node.to_string() == only)
    };
    for replica in group.replicas.iter().filter(chosen) {
        let marks: BTreeSet<u64> = anchors.iter().map(|anchor| anchor.index).collect();
        let request = VerifyChainRequest {
            group: group.group,
            node: replica.node,
            upto_index: upto,
            marks: marks.into_iter().collect(),
            region: session.region(),
        };
        let (group, node) = (name(group), node_name(replica));
        match walk(session, request, &format!("{group} {node}")).await {
            Ok(walked) => {
                // The first one's end is where the others are compared with it.
                upto = if told.is_empty() { walked.upto } else { upto };
                found.entries += walked.upto + 1;
                println!("{group} {node}: verified to entry {}", walked.upto);
                told.push(Told { node, ..walked });
            }
            Err(Wrong::Differs(what)) => {
                println!("{group} {node}: DIFFERS: {what}");
                found.differences += 1;
            }
            Err(Wrong::Unread(what)) => {
                println!("{group} {node}: not read: {what}");
                found.unread += 1;
            }
        }
    }
    let mut all = vec![compare::replicas(&told)];
    // The longest history must hold all that was ever told of it.
    if let Some(longest) = told.iter().max_by_key(|told| told.upto) {
        let mut kept = compare::anchors(longest, anchors);
        kept.differences.append(&mut kept.open);
        all.push(kept);
    }
    for Compared { differences, open, equal, anchors } in all {
        differences.iter().for_each(|what| println!("{}: DIFFERS: {what}", name(group)));
        open.iter().for_each(|what| println!("{}: not compared: {what}", name(group)));
        found.differences += differences.len();
        found.unread += open.len();
        found.compared += equal;
        found.anchors += anchors;
    }
}

enum Wrong {
    Differs(String),
    Unread(String),
}

async fn walk(session: &Session, request: VerifyChainRequest, what: &str) -> Result<Told, Wrong> {
    let unread = |problem: Problem| Wrong::Unread(problem.text());
    let broken = |status: tonic::Status| unread(status.into());
    let mut services = session.services(Role::Operator).await.map_err(unread)?;
    let mut steps = services.audit.verify_chain(request).await.map_err(broken)?.into_inner();
    let bar = ProgressBar::new(0);
    bar.set_message(what.to_owned());
    let mut told = Told::default();
    while let Some(step) = steps.message().await.map_err(broken)? {
        bar.set_length(step.upto_index);
        bar.set_position(step.next_index);
        let marks = |marks: Vec<hansa_api::pb::admin::ChainMark>| {
            marks.into_iter().map(|mark| (mark.index, mark.head.to_vec()))
        };
        let verdict = step.verdict();
        told.upto = step.upto_index;
        told.heads.extend(marks(step.marks));
        told.records.extend(marks(step.records));
        match verdict {
            ChainVerdict::Unspecified => {}
            ChainVerdict::Verified => {
                bar.finish_and_clear();
                return Ok(told);
            }
            ChainVerdict::Differs => return Err(Wrong::Differs(step.detail)),
            ChainVerdict::Unreadable => return Err(Wrong::Unread(step.detail)),
        }
    }
    Err(Wrong::Unread("the walk ended early".to_owned()))
}
