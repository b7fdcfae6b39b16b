//! What the running comparison between regions has found: asked for, never computed here.

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::{DifferenceClass as Class, ReplicaDifferenceKind as Kind};
use hansa_reconcile::repairs::{self, Beside};

use super::scan::{Entry, Outcome};
use crate::connect::{Role, Session};
use hansa_api::convert::id::order_to_bytes;
use hansa_types::id::OrderName;

pub async fn collect(session: &Session, outcome: &mut Outcome) {
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
    not_read.extend(told.not_compared.iter().map(|stream| {
        let group = hansa_reconcile::judge::group_name(stream.group);
        format!("copies: {group} and {} were not compared yet", stream.peer)
    }));
    if told.truncated {
        not_read.push("copies: more differ than are listed".to_owned());
    }
    for found in &told.differences {
        let peer = found.peer.as_str();
        let difference = difference(found);
        let (repair, why) = repairs::propose(&difference, &Beside { peer, ..Beside::default() });
        outcome.entries.push(Entry { difference, repair, why });
    }
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
    let home = side(&hansa_reconcile::judge::group_name(found.group), found.home_version);
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
