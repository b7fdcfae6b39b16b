//! `hansactl reconcile plan`

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hansa_api::pb::admin as pb;
use hansa_reconcile::tree::FORMAT;

use super::file::Plan;
use super::scan::{Entry, Outcome};
use super::{Look, file, request_id, scan, show};
use crate::connect::{Role, Session};
use crate::error::{NO_ANSWER, Problem};

pub async fn run(
    session: &Session,
    look: &Look,
    reason: String,
    path: &Path,
) -> Result<ExitCode, Problem> {
    if path.exists() {
        let what = format!("{} is there already", path.display());
        return Err(Problem::usage(what, "give a file that is not there yet"));
    }
    let session = session.here()?;
    let outcome = scan::run(&session, look).await?;
    let code = show::outcome(&session, &outcome)?;
    if outcome.entries.is_empty() {
        eprintln!("no plan: there is nothing to repair");
        return Ok(code);
    }
    let incomplete = !outcome.complete();
    let Outcome { report, entries, .. } = outcome;
    let plan = propose(&session, path, (reason, report.reads), entries).await?;
    let repairs = plan.plan.entries.iter().filter(|entry| entry.repair.is_some()).count();
    eprintln!(
        "{}: {repairs} repairs, {} for a person; plan {}",
        path.display(),
        plan.plan.entries.len() - repairs,
        plan.plan.hash
    );
    for entry in plan.plan.entries.iter().filter(|entry| entry.repair.is_none()) {
        let found = entry.difference.clone().unwrap_or_default();
        eprintln!("  needs a person: {} {}: {}", show::class(&found), found.subject, entry.why);
    }
    Ok(if incomplete { ExitCode::from(NO_ANSWER) } else { code })
}

/// Writes a plan's file, and says at its region that there is one.
pub async fn propose(
    session: &Session,
    path: &Path,
    (reason, reads): (String, Vec<pb::FactsHead>),
    entries: Vec<Entry>,
) -> Result<Plan, Problem> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let entries: Vec<pb::PlanEntry> = (1..)
        .zip(entries)
        .map(|(number, entry)| pb::PlanEntry {
            number,
            difference: Some(entry.difference),
            repair: entry.repair,
            why: entry.why,
        })
        .collect();
    let header = pb::PlanHeader {
        format: FORMAT,
        region: session.region(),
        created_ms: u64::try_from(since.as_millis()).unwrap_or(0),
        planned_by: session.who(Role::Operator)?,
        reason,
        reads,
        entries: u32::try_from(entries.len()).unwrap_or(u32::MAX),
        nonce: request_id(),
    };
    let plan = pb::ReconcilePlan { header: Some(header), entries, hash: String::new() };
    let plan = file::write(path, plan)?;
    let request = pb::ProposePlanRequest {
        request_id: request_id(),
        region: plan.region(),
        plan: Bytes::copy_from_slice(&plan.hash),
        header: plan.plan.header.clone(),
        proof: plan.tree.proof(0),
    };
    let proposed = session.call(Role::Operator, request, |mut services, request| async move {
        services.reconcile.propose_plan(request).await
    });
    proposed.await?;
    Ok(plan)
}
