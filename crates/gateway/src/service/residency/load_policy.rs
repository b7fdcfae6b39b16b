//! A newer policy, committed by the directory and taken up by the region's nodes.

use std::time::Duration;

use hansa_api::pb::admin::{LoadPolicyRequest, LoadPolicyResponse, NodePolicy, PolicyProblem};
use hansa_api::status::{Failure, Reason, Violation};
use hansa_node::layers::Deadline;
use hansa_region_router::core::directory::{Command, Snapshot};
use hansa_region_router::forward::Upstreams;

use super::super::version::ask;
use super::super::{Own, change_directory};
use super::{check_policy, here, of_nodes};

/// Nodes follow within a moment; who does not is named instead of waited for.
const FOLLOW_MAX: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(50);
/// More problems than anyone reads at once; `residency check` shows all.
const PROBLEMS_MAX: usize = 20;

/// # Errors
/// `POLICY_REFUSED` with each rule that is in the way, `POLICY_NOT_NEWER`; those of the directory.
pub(super) async fn run<U: Upstreams>(
    own: &Own<U>,
    request: &LoadPolicyRequest,
    due: Deadline,
) -> Result<LoadPolicyResponse, Failure> {
    let (now, text) = (own.directory()?, &request.text);
    let former_version = now.policy.version();
    // Checked here so that every problem is named by its field; the directory has the last word.
    let policy = check_policy::read(text).map_err(refused)?;
    let strangers = check_policy::strangers(&policy, &now);
    if !strangers.is_empty() {
        return Err(refused(strangers));
    }
    let command = Command::LoadPolicy { text: text.clone() };
    let changed = change_directory(&own.upstreams, &own.book, &now, &command, due).await?;
    let now = own.directory()?;
    Ok(LoadPolicyResponse {
        region: here(&now),
        policy_version: policy.version(),
        former_version,
        directory_version: changed.version,
        behind: behind(&own.upstreams, &now, policy.version(), due).await,
    })
}

/// The nodes that do not go by a version yet, after they had a moment to.
async fn behind<U: Upstreams>(
    upstreams: &U,
    now: &Snapshot,
    version: u64,
    due: Deadline,
) -> Vec<NodePolicy> {
    let until = due.min(Deadline::after(FOLLOW_MAX));
    loop {
        let told = ask(upstreams, now, until).await;
        let mut nodes = of_nodes(now, &told);
        nodes.retain(|node| node.policy_version < version);
        let left = until.remaining().unwrap_or_default();
        if nodes.is_empty() || left <= BETWEEN {
            return nodes;
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

fn refused(problems: Vec<PolicyProblem>) -> Failure {
    let violation = |problem: PolicyProblem| Violation {
        field: problem.rule.into(),
        reason: Reason::PolicyRefused,
        description: problem.why.into(),
    };
    Failure::fields(problems.into_iter().take(PROBLEMS_MAX).map(violation).collect())
}
