//! `residency verify`, as an operator runs it when all is calm: every byte that a node keeps is
//! explained, and lies where the law lets it.

use std::sync::Arc;
use std::time::Duration;

use hansa::node::ASIDE;
use hansa_api::client::League as Door;
use hansa_api::pb::admin::{
    ListKeysRequest, NodeSweep, RegionKeyState, ResidencyVerdict, RotateKeyRequest,
    VerifyResidencyRequest, VerifyResidencyResponse,
};
use hansa_checker::final_state::{Held, Report};
use hansa_wal::fs::Fs as _;
use prost::Message as _;
use tonic::{Response, Status};

use crate::host::Seat;
use crate::plan::Plan;
use crate::trace;
use crate::world::Region;

/// Of domain.md §7.
const NUMBER: u32 = 10;
const CALL_MAX: Duration = Duration::from_secs(60);
/// What the law took back goes with the next checkpoint and its part of the log; a key that nothing
/// needs any more is looked at twice before, and the region's key is rotated after.
const TRIES: usize = 8;
const BETWEEN: Duration = Duration::from_secs(5);
/// What a sweep says of what only an operator ends.
const ROTATE: &str = "hansactl key rotate";
const DELETE: &str = "was put aside, is deleted";
/// Where there is one region nothing comes from another: one seed in so many is enough.
const ALONE: u64 = 8;

/// Whether this run ends with a sweep.
#[must_use]
pub fn wanted(plan: &Plan) -> bool {
    plan.shape.regions > 1 || plan.seed.is_multiple_of(ALONE)
}

/// One report for each node that does not refuse its damaged disk.
pub async fn reports(door: &Door, region: &Region) -> Vec<Report> {
    let mut reports = Vec::new();
    for attempt in 1..=TRIES {
        reports = once(door, region).await;
        if attempt == TRIES || reports.iter().all(|report| report.held == Held::Held) {
            break;
        }
        for report in reports.iter().filter(|report| report.held != Held::Held) {
            trace::note(format_args!("{}: {}", report.name, report.detail));
        }
        // What a law took back and an archive keeps is sealed: it goes with the region's key. Once
        // more if one that lived when that was rotated was wrapped anew, and given back since.
        if reports.iter().any(|report| report.detail.contains(ROTATE)) {
            rotate(door, region).await;
        }
        for report in reports.iter().filter(|report| report.detail.contains(DELETE)) {
            delete_aside(region, &report.name);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    trace::count("disk of a node swept", reports.len() as u64);
    reports
}

/// As an operator does at a region that lost a right (docs/residency.md).
async fn rotate(door: &Door, region: &Region) {
    let name = region.name.to_string();
    let request = ListKeysRequest { region: name.clone() };
    let asked = door.call(CALL_MAX, |mut services, call| {
        let request = call.request(request.clone());
        async move { services.keys.list_keys(request).await }
    });
    let Ok(listed) = asked.await else { return };
    let active = listed.keys.iter().find(|key| key.state() == RegionKeyState::Active);
    let Some(former_key) = active.map(|key| key.key.clone()) else { return };
    let request_id = format!("swept-{former_key}");
    let request = RotateKeyRequest { request_id, region: name, former_key };
    let asked = door.call(CALL_MAX, |mut services, call| {
        let request = call.request(request.clone());
        async move { services.keys.rotate_key(request).await }
    });
    trace::count("key rotated after a law", u64::from(asked.await.is_ok()));
}

/// As an operator does who knows by now why the node was damaged (docs/damage.md).
fn delete_aside(region: &Region, report: &str) {
    let named = |seat: &&Arc<Seat>| report.ends_with(&format!(" {}", seat.name()));
    for seat in region.seats.iter().filter(named) {
        let folders = seat.disk.list(&seat.config.data_dir).unwrap_or_default();
        for folder in folders.iter().filter(|name| name.starts_with(ASIDE)) {
            let deleted = seat.disk.remove_dir_all(&seat.config.data_dir.join(folder));
            trace::count("folder that was put aside deleted", u64::from(deleted.is_ok()));
        }
    }
}

async fn once(door: &Door, region: &Region) -> Vec<Report> {
    let name = region.name.to_string();
    let request = VerifyResidencyRequest { region: name.clone() };
    let asked = door.call(CALL_MAX, |mut services, _| {
        let request = request.clone();
        async move {
            let mut steps = services.residency.verify_residency(request).await?.into_inner();
            let mut all: Vec<VerifyResidencyResponse> = Vec::new();
            while let Some(step) = steps.message().await? {
                all.push(step);
            }
            Ok::<_, Status>(Response::new(all))
        }
    });
    let report = |node: &str, (held, detail): (Held, String)| Report {
        region: name.clone(),
        number: NUMBER,
        name: format!("nothing lies unlawfully or unexplained on {node}"),
        held,
        detail,
    };
    let steps = match asked.await {
        Ok(steps) => steps,
        Err(failure) => return vec![report("any node", (Held::Unknown, failure.to_string()))],
    };
    let whole = |node: &str| !region.seats.iter().any(|s| s.name() == node && s.damaged());
    let last = steps.iter().filter(|step| step.report.is_some() || !step.failure.is_empty());
    let last = last.filter(|step| whole(&step.node_name));
    last.map(|step| report(&step.node_name, said(step))).collect()
}

fn said(step: &VerifyResidencyResponse) -> (Held, String) {
    let bytes = step.report.as_ref().map(|signed| signed.report.clone());
    let Some(Ok(sweep)) = bytes.map(NodeSweep::decode) else {
        return (Held::Unknown, step.failure.clone());
    };
    let foreign = |verdict: ResidencyVerdict| verdict == ResidencyVerdict::Foreign;
    if let Some(found) = sweep.findings.iter().find(|found| foreign(found.verdict())) {
        return (Held::Violated, format!("{found:?}"));
    }
    // What a rebuilt node put aside was damaged: that is why.
    let aside = |file: &str| file.starts_with(ASIDE);
    if let Some(found) = sweep.unexplained.iter().find(|found| !aside(&found.file)) {
        return (Held::Violated, format!("{found:?}"));
    }
    match sweep.unread.iter().find(|unread| !aside(&unread.file)) {
        Some(unread) => (Held::Unknown, format!("{unread:?}")),
        None => (Held::Held, String::new()),
    }
}
