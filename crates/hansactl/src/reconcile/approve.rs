//! `hansactl reconcile approve`

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use hansa_api::pb::admin::ApprovePlanRequest;

use super::{file, request_id};
use crate::connect::{Role, Session};
use crate::error::Problem;

pub async fn run(session: &Session, path: &Path, ticket: String) -> Result<ExitCode, Problem> {
    let plan = file::read(path)?;
    let session = session.in_region(&plan.region());
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
    println!("approved by {} for {}: plan {}", record.approved_by, record.ticket, plan.plan.hash);
    Ok(ExitCode::SUCCESS)
}
