//! `hansactl reconcile approve` and `hansactl region tail approve`

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use hansa_api::pb::admin::ApprovePlanRequest;

use super::kind::Kind;
use super::{file, planned, request_id};
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output;

pub async fn run(
    session: &Session,
    (path, kind): (&Path, Kind),
    ticket: String,
    yes: bool,
) -> Result<ExitCode, Problem> {
    let plan = file::read(path, kind)?;
    kind.check(&plan.plan, path, "approve")?;
    let session = session.in_region(&plan.region());
    // Nobody says yes to what he was not shown.
    output::print(session.format, file::NAME, &plan.plan, planned::rows)?;
    let header = plan.plan.header.clone().unwrap_or_default();
    eprintln!("by {}: {}", header.planned_by, header.reason);
    for line in planned::sums(&plan.plan) {
        eprintln!("{line}");
    }
    if !yes && !agreed()? {
        return Err(Problem::refused("not approved", "repeat it to approve the plan after all"));
    }
    let request = ApprovePlanRequest {
        request_id: request_id(),
        region: plan.region(),
        plan: Bytes::copy_from_slice(&plan.hash),
        ticket,
    };
    let approved = session
        .call(Role::Approver, request, |mut services, request| async move {
            services.reconcile.approve_plan(request).await
        })
        .await?;
    let record = approved.plan.unwrap_or_default();
    eprintln!("approved by {} for {}: plan {}", record.approved_by, record.ticket, plan.plan.hash);
    Ok(ExitCode::SUCCESS)
}

/// Asks a person; a script has read it before.
fn agreed() -> Result<bool, Problem> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("approve? [y/N] ");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Problem::failed(format!("no answer: {error}"), "say it with --yes"))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
