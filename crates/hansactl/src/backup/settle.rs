//! `hansactl backup settle`

use hansa_api::pb::admin::{SettleRestoreRequest, StrayDecision};

use super::{Decision, request_id};
use crate::connect::{Role, Session};
use crate::error::Problem;

pub async fn run(
    session: &Session,
    decision: Decision,
    key: Option<String>,
) -> Result<(), Problem> {
    let decision = match decision {
        Decision::Cancel => StrayDecision::Cancel,
        Decision::Keep => StrayDecision::Keep,
    };
    let request = SettleRestoreRequest {
        request_id: request_id(),
        region: session.region(),
        decision: decision.into(),
        key: key.unwrap_or_default(),
    };
    let response = session
        .call(Role::Operator, request, |mut services, request| async move {
            services.backups.settle_restore(request).await
        })
        .await?;
    println!("{} payments decided", response.decided);
    Ok(())
}
