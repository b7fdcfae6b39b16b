//! What the running comparison between regions has found: asked for, never computed here.

use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::{DifferenceClass as Class, ReplicaDifferenceKind as Kind};
use hansa_api::pb::region::ListRegionsRequest;
use hansa_reconcile::judge::group_name;
use hansa_reconcile::repairs::{self, Beside};
use hansa_types::id::OrderName;

use super::scan::{Entry, Outcome};
use crate::connect::{Role, Session};
use crate::error::Problem;

/// Of these groups of orders.
pub async fn collect(session: &Session, groups: &[u32], outcome: &mut Outcome) {
    let request =
        pb::ListReplicaDifferencesRequest { region: session.region(), ..Default::default() };
    let answer = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.list_replica_differences(request).await
        })
        .await;
    let told = match answer {
        Ok(told) => told,
        Err(problem) => {
            outcome.report.not_read.push(format!("copies: {}", problem.text()));
            return;
        }
    };
    let not_read = &mut outcome.report.not_read;
    not_read.extend(told.silent_nodes.iter().map(|node| format!("copies: {node} is silent")));
    not_read.extend(told.not_compared.iter().map(not_compared));
    if told.truncated {
        not_read.push("copies: more differ than are listed".to_owned());
    }
    match streams(session).await {
        Ok((peers, streams)) => {
            let unknown = unknown(groups, &peers, &streams, &told);
            not_read.extend(unknown.into_iter().filter(|_| !told.truncated));
        }
        Err(problem) => not_read.push(format!("copies: {}", problem.text())),
    }
    not_read.sort();
    not_read.dedup();
    for found in &told.differences {
        let peer = found.peer.as_str();
        let difference = difference(found);
        let (repair, why) = repairs::propose(&difference, &Beside { peer, ..Beside::default() });
        outcome.entries.push(Entry { difference, repair, why });
    }
}

fn not_compared(stream: &pb::OutgoingStream) -> String {
    format!("copies: {} and {} were not compared yet", group_name(stream.group), stream.peer)
}

/// The other regions, and what the leaders here say of their streams to them.
async fn streams(session: &Session) -> Result<(Vec<String>, Vec<pb::OutgoingStream>), Problem> {
    let region = session.region();
    let listed = session
        .call(Role::Operator, ListRegionsRequest {}, |mut services, request| async move {
            services.regions.list_regions(request).await
        })
        .await?;
    let names = listed.regions.into_iter().map(|of| of.name);
    let peers = names.filter(|name| *name != region).collect();
    let request = pb::GetReplicationStatusRequest { region };
    let status = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.get_replication_status(request).await
        })
        .await?;
    Ok((peers, status.outgoing))
}

/// Streams of which it is not known what differs. A group that nobody leads, or whose leader has
/// not begun, lists nothing at all: that is not clean. The streams were told after the list, so
/// that a leader which came between the two shows that it has not compared.
fn unknown(
    groups: &[u32],
    peers: &[String],
    streams: &[pb::OutgoingStream],
    told: &pb::ListReplicaDifferencesResponse,
) -> Vec<String> {
    let mut unknown = Vec::new();
    for (group, peer) in groups.iter().flat_map(|of| peers.iter().map(move |peer| (*of, peer))) {
        let Some(stream) = streams.iter().find(|of| of.group == group && of.peer == *peer) else {
            let group = group_name(group);
            unknown.push(format!("copies: nobody says how {group} and {peer} differ"));
            continue;
        };
        let listed = told.differences.iter().filter(|of| of.group == group && of.peer == *peer);
        if stream.compared_time.is_none() {
            unknown.push(not_compared(stream));
        } else if stream.differences > listed.count() as u64 {
            let group = group_name(group);
            unknown.push(format!("copies: {group} and {peer} were compared anew meanwhile"));
        }
    }
    unknown
}

fn difference(found: &pb::ReplicaDifference) -> pb::FoundDifference {
    let class = match found.kind() {
        Kind::Missing => Class::CopyMissing,
        Kind::Extra => Class::CopyExtra,
        Kind::Stale => Class::CopyStale,
        Kind::Conflicting => Class::CopyConflicting,
        Kind::Unspecified => Class::Unspecified,
    };
    let side = |source: &str, version: u64| pb::FactSide {
        source: source.to_owned(),
        says: match version {
            0 => "no such order".to_owned(),
            version => format!("version {version}"),
        },
        ..pb::FactSide::default()
    };
    let name = found.order.parse::<OrderName>();
    let home = side(&group_name(found.group), found.home_version);
    pb::FoundDifference {
        class: class.into(),
        order: found.order.clone(),
        order_id: name.map(|name| order_to_bytes(name.id)).unwrap_or_default(),
        subject: found.peer.clone(),
        order_version: found.home_version,
        left: Some(pb::FactSide { group: found.group, ..home }),
        right: Some(side(&found.peer, found.copy_version)),
        ..pb::FoundDifference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(compared: bool, differences: u64) -> pb::OutgoingStream {
        pb::OutgoingStream {
            group: 1 << 16,
            peer: "us-east".to_owned(),
            compared_time: compared.then(prost_types::Timestamp::default),
            differences,
            ..Default::default()
        }
    }

    #[test]
    fn a_stream_of_which_nobody_says_anything_is_not_clean() {
        let (groups, peers) = ([1 << 16], ["us-east".to_owned()]);
        let unknown = |streams: &[pb::OutgoingStream]| {
            unknown(&groups, &peers, streams, &pb::ListReplicaDifferencesResponse::default()).len()
        };
        assert_eq!(unknown(&[stream(true, 0)]), 0);
        assert_eq!(unknown(&[]), 1, "nobody leads the group");
        assert_eq!(unknown(&[stream(false, 0)]), 1, "its leader is new");
        assert_eq!(unknown(&[stream(true, 1)]), 1, "what differs was not listed");
        let elsewhere = pb::OutgoingStream { peer: "ap-south".to_owned(), ..stream(true, 0) };
        assert_eq!(unknown(&[elsewhere]), 1);
    }
}
