//! `hansactl audit verify`: walks on the nodes, comparisons here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use hansa_api::pb::admin::{
    AuditFinding, AuditReport, ChainVerdict, Group, GroupReplica, ListAnchorsRequest,
    ListGroupsRequest, VerifyChainRequest,
};
use hansa_api::pb::region::{ListRegionsRequest, Region};
use indicatif::ProgressBar;

use super::compare::{self, Anchor, Compared, Told};
use crate::connect::{Role, Session};
use crate::error::{NO_ANSWER, Problem, WRONG};
use crate::member::group_name;
use crate::output::{self, Rows};
use crate::values::{dash, short};

/// Entries of one group at which anchors are compared; where more are kept, every second, or third.
const ANCHORS_MAX: usize = 1_024;

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
    // A part is in the chain of the group in which it lies.
    let named = |of: &Group| group.as_ref().is_none_or(|name| *name == group_name(of.group));
    let wanted = |of: &Group| of.part_of == 0 && named(of);
    let groups: Vec<Group> = listed.groups.into_iter().filter(wanted).collect();
    if groups.is_empty() {
        return Err(Problem::usage(
            "the region has no group of that name with a log",
            "`group list` names them",
        ));
    }
    let mut report = AuditReport::default();
    let anchors = kept_abroad(session, &mut report).await?;
    for group in &groups {
        let kept = anchors.get(&group.group).map_or(&[][..], Vec::as_slice);
        one_group(session, group, node.as_deref(), kept, &mut report).await;
    }
    let count = |verdict: ChainVerdict| {
        let of = report.findings.iter().filter(|finding| finding.verdict() == verdict);
        u32::try_from(of.count()).unwrap_or(u32::MAX)
    };
    report.differences = count(ChainVerdict::Differs);
    report.not_read = count(ChainVerdict::Unreadable);
    output::print(session.format, "hansa.admin.v1.AuditReport", &report, rows)?;
    Ok(conclude(&report))
}

/// Says what it went through, and the exit code.
fn conclude(report: &AuditReport) -> ExitCode {
    let AuditReport { entries_walked, heads_equal, anchors_met, differences, not_read, .. } =
        report;
    eprintln!(
        "{entries_walked} entries walked, {heads_equal} heads equal between replicas, \
         {anchors_met} anchors met; {differences} differences, {not_read} not read"
    );
    match (differences, not_read) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(NO_ANSWER),
        _ => ExitCode::from(WRONG),
    }
}

fn rows(report: &AuditReport) -> Rows {
    let mut rows = Rows::new(&["group", "node", "verdict", "to entry", "what"], "no replicas");
    for finding in &report.findings {
        let verdict = short(finding.verdict().as_str_name(), "CHAIN_VERDICT_").to_lowercase();
        let upto = match finding.verdict() {
            ChainVerdict::Verified => finding.upto_index.to_string(),
            _ => "-".to_owned(),
        };
        let (group, node) = (dash(&finding.group), dash(&finding.node_name));
        rows.add([group, node, verdict, upto, dash(&finding.detail)]);
    }
    rows
}

fn finding(group: &str, node: &str, verdict: ChainVerdict, detail: String) -> AuditFinding {
    AuditFinding {
        group: group.to_owned(),
        node_name: node.to_owned(),
        verdict: verdict.into(),
        upto_index: 0,
        detail,
    }
}

fn node_name(replica: &GroupReplica) -> String {
    match replica.node_name.as_str() {
        "" => replica.node.to_string(),
        name => name.to_owned(),
    }
}

/// The anchors that the other regions keep of this one's groups, of its present epoch: a restored
/// region is another history from its restore on.
async fn kept_abroad(
    session: &Session,
    report: &mut AuditReport,
) -> Result<BTreeMap<u32, Vec<Anchor>>, Problem> {
    let request = ListRegionsRequest::default();
    let listed = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.regions.list_regions(request).await
        })
        .await?;
    let named = session.region();
    let is_own = |region: &&Region| match named.as_str() {
        "" => region.here,
        named => region.name == named,
    };
    let Some(own) = listed.regions.iter().find(is_own) else { return Ok(BTreeMap::new()) };
    let mut anchors: BTreeMap<u32, Vec<Anchor>> = BTreeMap::new();
    for keeper in listed.regions.iter().map(|region| &region.name).filter(|n| **n != own.name) {
        let request =
            ListAnchorsRequest { origin_region: own.name.clone(), region: keeper.clone() };
        let asked = session.call(Role::Operator, request, |mut services, request| async move {
            services.audit.list_anchors(request).await
        });
        let told = match asked.await {
            Ok(told) => told,
            Err(problem) => {
                let what = format!("anchors of {keeper}: {}", problem.text().replace('\n', "; "));
                report.findings.push(finding("", "", ChainVerdict::Unreadable, what));
                continue;
            }
        };
        for node in &told.silent_nodes {
            let what = format!("anchors of {keeper}: it did not answer");
            report.findings.push(finding("", node, ChainVerdict::Unreadable, what));
        }
        for anchor in told.anchors.into_iter().filter(|anchor| anchor.epoch == own.epoch) {
            let (index, head) = (anchor.index, anchor.head.to_vec());
            let kept = Anchor { keeper: keeper.clone(), index, head };
            anchors.entry(anchor.group).or_default().push(kept);
        }
    }
    for kept in anchors.values_mut() {
        kept.sort_by_key(|anchor| std::cmp::Reverse(anchor.index));
        let all: BTreeSet<u64> = kept.iter().map(|anchor| anchor.index).collect();
        let every = all.len().div_ceil(ANCHORS_MAX).max(1);
        let chosen: BTreeSet<u64> = all.into_iter().step_by(every).collect();
        kept.retain(|anchor| chosen.contains(&anchor.index));
    }
    Ok(anchors)
}

/// Walks every replica of a group, then compares.
async fn one_group(
    session: &Session,
    group: &Group,
    only: Option<&str>,
    anchors: &[Anchor],
    report: &mut AuditReport,
) {
    let name = group_name(group.group);
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
        let node = node_name(replica);
        match walk(session, request, &format!("{name} {node}")).await {
            Ok(walked) => {
                // The first one's end is where the others are compared with it.
                upto = if told.is_empty() { walked.upto } else { upto };
                report.entries_walked += walked.upto + 1;
                let mut verified = finding(&name, &node, ChainVerdict::Verified, String::new());
                verified.upto_index = walked.upto;
                report.findings.push(verified);
                told.push(Told { node, ..walked });
            }
            Err(Wrong::Differs(what)) => {
                report.findings.push(finding(&name, &node, ChainVerdict::Differs, what));
            }
            Err(Wrong::Unread(what)) => {
                let what = what.replace('\n', "; ");
                report.findings.push(finding(&name, &node, ChainVerdict::Unreadable, what));
            }
        }
    }
    let all = told.len() == group.replicas.len();
    let mut compared = vec![compare::replicas(&told)];
    // The longest history must hold all that was ever told of it.
    let longest = told.iter().max_by_key(|told| told.upto);
    compared.extend(longest.map(|longest| compare::anchors(longest, anchors, all)));
    for Compared { differences, open, equal, anchors } in compared {
        let wrong = differences.into_iter().map(|what| (ChainVerdict::Differs, what));
        let open = open.into_iter().map(|what| (ChainVerdict::Unreadable, what));
        for (verdict, what) in wrong.chain(open) {
            report.findings.push(finding(&name, "", verdict, what));
        }
        report.heads_equal += equal as u64;
        report.anchors_met += anchors as u64;
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
