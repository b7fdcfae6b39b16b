//! `hansactl reconcile report`

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use hansa_api::pb::admin as pb;
use hansa_reconcile::judge::{group_name, hex};

use super::file;
use super::kind::Kind;
use crate::connect::{Role, Session};
use crate::error::{NO_ANSWER, Problem};
use crate::output::{self, Rows};
use crate::values::{dash, short};

pub async fn run(session: &Session, path: Option<&Path>) -> Result<ExitCode, Problem> {
    let plan = path.map(|path| file::read(path, Kind::Repairs)).transpose()?;
    let session = match &plan {
        Some(plan) => session.in_region(&plan.region()),
        None => session.clone(),
    };
    let plan = plan.map(|plan| Bytes::copy_from_slice(&plan.hash)).unwrap_or_default();
    let request = pb::ListRepairsRequest { region: session.region(), plan };
    let mut listed = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.reconcile.list_repairs(request).await
        })
        .await?;
    // Every group has the plan; people want it once.
    listed.plans.sort_by(|a, b| (a.planned_ms, &a.plan).cmp(&(b.planned_ms, &b.plan)));
    listed.plans.dedup_by(|later, first| later.plan == first.plan);
    listed.repairs.sort_by(|a, b| (&a.plan, a.number).cmp(&(&b.plan, b.number)));
    if session.format == crate::args::Format::Table {
        for plan in &listed.plans {
            println!("{}", told(plan));
        }
    }
    output::print(session.format, "hansa.admin.v1.ListRepairsResponse", &listed, repairs)?;
    for group in &listed.unknown {
        eprintln!("not read: {}", group_name(*group));
    }
    let whole = listed.unknown.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(NO_ANSWER) })
}

fn told(plan: &pb::PlanRecord) -> String {
    let approved = match plan.approved_by.as_str() {
        "" => "not approved".to_owned(),
        by => format!("approved by {by} for {}", plan.ticket),
    };
    let hash = hex(&plan.plan);
    let pb::PlanRecord { entries, planned_by, reason, .. } = plan;
    format!("plan {hash}: {entries} entries by {planned_by}: {reason}; {approved}")
}

pub fn repairs(listed: &pb::ListRepairsResponse) -> Rows {
    let header = ["plan", "entry", "state", "group", "what", "by", "detail"];
    let mut rows = Rows::new(&header, "no repairs");
    for repair in &listed.repairs {
        let state = short(repair.state().as_str_name(), "REPAIR_STATE_").to_lowercase();
        rows.add([
            hex(&repair.plan).chars().take(12).collect(),
            repair.number.to_string(),
            if state == "unspecified" { "failed".to_owned() } else { state },
            group_name(repair.group),
            dash(&repair.what),
            dash(&repair.applied_by),
            dash(&repair.detail),
        ]);
    }
    rows
}
