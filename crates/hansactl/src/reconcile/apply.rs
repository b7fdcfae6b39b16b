//! `hansactl reconcile apply`

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::RepairState;
use hansa_api::pb::admin::repair::Action;

use super::file::{self, Plan};
use super::kind::Kind;
use super::progress::Progress;
use super::{report, request_id};
use crate::connect::{Role, Session};
use crate::error::{Problem, REFUSED};
use crate::output;

/// Entries under way at once.
const AT_ONCE: usize = 8;
/// How long one entry may take; a repeat of the command goes on.
const ENTRY_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

pub async fn run(
    session: &Session,
    (path, kind): (&Path, Kind),
    max: u32,
) -> Result<ExitCode, Problem> {
    let plan = file::read(path, kind)?;
    kind.check(&plan.plan, path, "apply")?;
    let session = session.in_region(&plan.region());
    let entries: Vec<&pb::PlanEntry> =
        plan.plan.entries.iter().filter(|entry| entry.repair.is_some()).collect();
    let what = kind.entries();
    if entries.len() > max as usize {
        let problem = format!("the plan has {} {what}, --max-{what} {max}", entries.len());
        let next = format!("look at the plan; raise --max-{what} if it is right");
        return Err(Problem::refused(problem, next));
    }
    let progress = Progress::new();
    progress.stage(&format!("{} {what}", entries.len()));
    let applying = entries.iter().map(|entry| one(&session, &plan, entry));
    let mut repairs: Vec<pb::RepairRecord> =
        stream::iter(applying).buffer_unordered(AT_ONCE).collect().await;
    drop(progress);
    repairs.sort_by_key(|repair| repair.number);
    let count = |state| repairs.iter().filter(|repair| repair.state() == state).count();
    let (done, waiting) = (count(RepairState::Done), count(RepairState::Waiting));
    let all = done + waiting == repairs.len();
    let listed = pb::ListRepairsResponse { repairs, ..Default::default() };
    output::print(session.format, "hansa.admin.v1.ListRepairsResponse", &listed, report::repairs)?;
    eprintln!("{done} of {} done", listed.repairs.len());
    if waiting > 0 {
        eprintln!("{waiting} decided: done once the births are here again");
    }
    for of in listed.repairs.iter().filter(|of| passed_over(of.state())) {
        eprintln!("passed over: {}: {}", named(&plan, of.number), of.detail);
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// One entry, asked for until it has ended: a repeat changes nothing twice.
async fn one(session: &Session, plan: &Plan, entry: &pb::PlanEntry) -> pb::RepairRecord {
    let end = Instant::now() + ENTRY_MAX;
    let request = pb::ApplyRepairRequest {
        request_id: request_id(),
        region: plan.region(),
        plan: Bytes::copy_from_slice(&plan.hash),
        entries: u32::try_from(plan.plan.entries.len()).unwrap_or(u32::MAX),
        entry: Some(entry.clone()),
        proof: plan.tree.proof(entry.number),
    };
    loop {
        let applied = session
            .call(Role::Operator, request.clone(), |mut services, request| async move {
                services.reconcile.apply_repair(request).await
            })
            .await;
        let late = Instant::now() >= end;
        let record = match applied {
            Ok(answer) => answer.repair.unwrap_or_default(),
            Err(problem) => failed(entry, &problem.text()),
        };
        match record.state() {
            RepairState::Running | RepairState::Busy if !late => tokio::time::sleep(PAUSE).await,
            RepairState::Done => return reshipped(session, entry, record).await,
            _ => return record,
        }
    }
}

fn passed_over(state: RepairState) -> bool {
    !matches!(state, RepairState::Done | RepairState::Waiting)
}

/// What an entry is about: its order, or whatever else.
fn named(plan: &Plan, number: u32) -> String {
    let mut entries = plan.plan.entries.iter().filter(|entry| entry.number == number);
    let found = entries.next().and_then(|entry| entry.difference.clone()).unwrap_or_default();
    if found.order.is_empty() { found.subject } else { found.order }
}

fn failed(entry: &pb::PlanEntry, why: &str) -> pb::RepairRecord {
    let detail = why.replace('\n', "; ");
    let (number, state) = (entry.number, RepairState::Unspecified.into());
    pb::RepairRecord { number, state, detail, ..Default::default() }
}

/// A copy is shipped again by the region that lacks it asking for it.
async fn reshipped(
    session: &Session,
    entry: &pb::PlanEntry,
    record: pb::RepairRecord,
) -> pb::RepairRecord {
    let action = entry.repair.as_ref().and_then(|repair| repair.action.as_ref());
    let (Some(Action::ReshipCopy(reship)), Some(found)) = (action, &entry.difference) else {
        return record;
    };
    let request = pb::RetryParkedEventsRequest {
        request_id: request_id(),
        region: reship.peer.clone(),
        order: found.order.clone(),
        ship_again: true,
    };
    let asked = session
        .in_region(&reship.peer)
        .call(Role::Operator, request, |mut services, request| async move {
            services.replication.retry_parked_events(request).await
        })
        .await;
    match asked {
        Ok(_) => record,
        Err(problem) => failed(entry, &problem.text()),
    }
}
