//! `audit verify`, as an operator runs it when all is calm: the chain of every replica, walked from
//! genesis over archive and log, and side by side with those of its peers.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_api::client::League as Door;
use hansa_api::pb::admin::{ChainMark, ChainVerdict, VerifyChainRequest, VerifyChainResponse};
use hansa_checker::final_state::{Held, Report};
use hansa_consensus::GroupStatus;
use tonic::{Response, Status};

use super::at_once;
use crate::trace;
use crate::world::Region;

const CALL_MAX: Duration = Duration::from_secs(10);
/// Of domain.md §7.
const NUMBER: u32 = 11;

/// What one walk told.
struct Told {
    node: u64,
    /// The chain's heads, and hashes over the archived records.
    heads: BTreeMap<u64, Vec<u8>>,
    records: BTreeMap<u64, Vec<u8>>,
}

/// Walks every replica in `seen`; one report for each group.
pub async fn reports(door: &Door, region: &Region, seen: Vec<GroupStatus>) -> Vec<Report> {
    let mut groups: BTreeMap<String, Vec<GroupStatus>> = BTreeMap::new();
    for status in seen {
        groups.entry(status.group.to_string()).or_default().push(status);
    }
    let walked = groups.into_iter().map(|(group, replicas)| async move {
        let (held, detail) = match walks(door, region, &replicas).await {
            Ok(()) => (Held::Held, String::new()),
            Err(found) => found,
        };
        let (region, name) = (region.name.to_string(), format!("audit chain of {group} verified"));
        Report { region, number: NUMBER, name, held, detail }
    });
    at_once(walked).await
}

async fn walks(
    door: &Door,
    region: &Region,
    replicas: &[GroupStatus],
) -> Result<(), (Held, String)> {
    let upto = replicas.iter().map(|replica| replica.applied).max().unwrap_or(0);
    let mut all: Vec<Told> = Vec::new();
    for replica in replicas {
        let node = replica.node.0;
        let told = match walk(door, replica, upto).await {
            Ok(told) => told,
            Err((_, why)) if refuses(region, replica) => {
                trace::note(format_args!("{} of node {node} was damaged: {why}", replica.group));
                trace::count("damage found by an audit", 1);
                continue;
            }
            Err((held, why)) => return Err((held, format!("node {node}: {why}"))),
        };
        for before in &all {
            let differs =
                [("entry", &before.heads, &told.heads), ("record", &before.records, &told.records)]
                    .into_iter()
                    .find_map(|(what, a, b)| {
                        let at = a
                            .iter()
                            .find(|(at, head)| b.get(at).is_some_and(|other| other != *head));
                        at.map(|(at, _)| format!("differ at {what} {at} or before"))
                    });
            if let Some(differs) = differs {
                let what = format!("nodes {} and {node} {differs}", before.node);
                return Err((Held::Violated, what));
            }
        }
        trace::count("audit chain walked", 1);
        all.push(told);
    }
    Ok(())
}

/// Whether its disk was damaged on purpose, and it serves no more over that. What an archive holds
/// is read again within a minute or so of a start; a walk may be the first to come upon it.
fn refuses(region: &Region, replica: &GroupStatus) -> bool {
    let its = |now: &GroupStatus| (now.group, now.node) == (replica.group, replica.node);
    let stopped = |now: &GroupStatus| its(now) && now.stopped.is_some();
    region.seats.iter().any(|seat| seat.damaged() && seat.groups().iter().any(stopped))
}

async fn walk(door: &Door, replica: &GroupStatus, upto: u64) -> Result<Told, (Held, String)> {
    let request = VerifyChainRequest {
        group: replica.group.number(),
        node: replica.node.0,
        upto_index: upto,
        ..VerifyChainRequest::default()
    };
    let asked = door.call(CALL_MAX, |mut services, _| {
        let request = request.clone();
        async move {
            let mut steps = services.audit.verify_chain(request).await?.into_inner();
            let mut all: Vec<VerifyChainResponse> = Vec::new();
            while let Some(step) = steps.message().await? {
                all.push(step);
            }
            Ok::<_, Status>(Response::new(all))
        }
    });
    let steps = asked.await.map_err(|failure| (Held::Unknown, failure.to_string()))?;
    let Some(last) = steps.last() else { return Err((Held::Unknown, "told nothing".to_owned())) };
    match last.verdict() {
        ChainVerdict::Verified => {}
        ChainVerdict::Differs => return Err((Held::Violated, last.detail.clone())),
        ChainVerdict::Unspecified => return Err((Held::Unknown, "ended early".to_owned())),
        ChainVerdict::Unreadable => return Err((Held::Unknown, last.detail.clone())),
    }
    let marks = |of: fn(&VerifyChainResponse) -> &Vec<ChainMark>| {
        let marks = steps.iter().flat_map(of);
        marks.map(|mark| (mark.index, mark.head.to_vec())).collect()
    };
    let (heads, records) = (marks(|step| &step.marks), marks(|step| &step.records));
    Ok(Told { node: replica.node.0, heads, records })
}
