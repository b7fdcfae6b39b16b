//! The residency policy of this region: read, explained, checked and changed. One verb per file.

mod check_policy;
mod explain_policy;
mod get_policy;
mod load_policy;
#[cfg(test)]
mod tests;
mod verify_residency;

use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::residency_service_server::ResidencyService;
use hansa_region_router::core::directory::Snapshot;
use hansa_region_router::forward::Upstreams;
use tonic::{Request, Response, Status};

use super::version::Told;
use super::{Own, due, here, nodes};

/// By which policy each node of the region goes, as it says itself.
fn of_nodes(now: &Snapshot, told: &Told) -> Vec<pb::NodePolicy> {
    let of = |node: &hansa_region_router::core::directory::Node| pb::NodePolicy {
        node_name: node.name.clone(),
        policy_version: told.get(&node.id).map_or(0, |release| release.policy_version),
    };
    nodes(now).iter().map(of).collect()
}

#[tonic::async_trait]
impl<U: Upstreams> ResidencyService for Own<U>
where
    U::Peer: Sync,
{
    type VerifyResidencyStream = verify_residency::Steps;

    async fn verify_residency(
        &self,
        _request: Request<pb::VerifyResidencyRequest>,
    ) -> Result<Response<Self::VerifyResidencyStream>, Status> {
        let now = self.directory()?;
        Ok(Response::new(verify_residency::run(&self.upstreams, &now)))
    }

    async fn get_policy(
        &self,
        request: Request<pb::GetPolicyRequest>,
    ) -> Result<Response<pb::GetPolicyResponse>, Status> {
        let (due, now) = (due(&request), self.directory()?);
        Ok(Response::new(get_policy::run(&self.upstreams, &now, due).await))
    }

    async fn explain_policy(
        &self,
        request: Request<pb::ExplainPolicyRequest>,
    ) -> Result<Response<pb::ExplainPolicyResponse>, Status> {
        let now = self.directory()?;
        Ok(Response::new(explain_policy::explain(request.get_ref(), &now)?))
    }

    async fn check_policy(
        &self,
        request: Request<pb::CheckPolicyRequest>,
    ) -> Result<Response<pb::CheckPolicyResponse>, Status> {
        let now = self.directory()?;
        Ok(Response::new(check_policy::check(&request.get_ref().text, &now)))
    }

    async fn load_policy(
        &self,
        request: Request<pb::LoadPolicyRequest>,
    ) -> Result<Response<pb::LoadPolicyResponse>, Status> {
        let due = due(&request);
        Ok(Response::new(load_policy::run(self, request.get_ref(), due).await?))
    }
}
