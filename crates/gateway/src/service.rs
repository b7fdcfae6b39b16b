//! What a gateway answers by itself, one verb per file.

mod audit;
mod backup;
mod check_invariants;
mod explain_route;
mod list_groups;
mod list_regions;
mod membership;
mod reconcile;
mod replication;
mod residency;
#[cfg(test)]
mod tests;
mod version;

use std::sync::Arc;
use std::time::Duration;

use hansa_api::pb::admin::admin_service_server::AdminService;
use hansa_api::pb::admin::{self};
use hansa_api::pb::region::region_service_server::RegionService;
use hansa_api::pb::region::{self};
use hansa_api::status::{Failure, Reason};
use hansa_node::env::{Clock, Entropy};
use hansa_node::layers::Deadline;
use hansa_region_router::book::Book;
use hansa_region_router::core::directory::{Node, Snapshot};
use hansa_region_router::forward::{Forward, Upstreams};
use tonic::{Request, Response, Status};

/// For an answer that waits for other nodes: less than any sensible client's patience.
const NODE_MAX: Duration = Duration::from_secs(5);

/// `RegionService` and `AdminService` of this gateway.
#[derive(Clone)]
pub struct Own<U> {
    pub book: Book,
    pub upstreams: U,
    pub forward: Forward<U>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl<U: Upstreams> Own<U> {
    fn directory(&self) -> Result<std::sync::Arc<Snapshot>, Failure> {
        let starting = || Failure::new(Reason::Unavailable, "the directory is not known yet");
        self.book.now().ok_or_else(starting)
    }
}

/// The nodes of this region, in order of id.
fn nodes(directory: &Snapshot) -> Vec<Node> {
    let mut nodes = directory.own_region().map(|region| region.nodes.clone()).unwrap_or_default();
    nodes.sort_by_key(|node| node.id);
    nodes
}

/// When every node must have answered: a little before the caller's own deadline.
fn due<T>(request: &Request<T>) -> Deadline {
    let given = request.extensions().get::<Deadline>().copied();
    let most = Deadline::after(NODE_MAX);
    match given.and_then(Deadline::remaining) {
        Some(left) => Deadline::after(left * 9 / 10).min(most),
        None => most,
    }
}

#[tonic::async_trait]
impl<U: Upstreams> RegionService for Own<U>
where
    U::Peer: Sync,
{
    async fn list_regions(
        &self,
        _request: Request<region::ListRegionsRequest>,
    ) -> Result<Response<region::ListRegionsResponse>, Status> {
        let directory = self.directory()?;
        let reachable = |number| self.forward.reachable(number);
        Ok(Response::new(list_regions::list(&directory, reachable)))
    }

    async fn explain_route(
        &self,
        request: Request<region::ExplainRouteRequest>,
    ) -> Result<Response<region::ExplainRouteResponse>, Status> {
        let directory = self.directory()?;
        Ok(Response::new(explain_route::explain(request.get_ref(), &directory)?))
    }
}

#[tonic::async_trait]
impl<U: Upstreams> AdminService for Own<U>
where
    U::Peer: Sync,
{
    async fn list_groups(
        &self,
        request: Request<admin::ListGroupsRequest>,
    ) -> Result<Response<admin::ListGroupsResponse>, Status> {
        let due = due(&request);
        let directory = self.directory()?;
        let groups = list_groups::ask(&self.upstreams, &directory, due).await;
        Ok(Response::new(admin::ListGroupsResponse { groups }))
    }

    async fn check_invariants(
        &self,
        request: Request<admin::CheckInvariantsRequest>,
    ) -> Result<Response<admin::CheckInvariantsResponse>, Status> {
        let due = due(&request);
        let directory = self.directory()?;
        let reports = check_invariants::ask(&self.upstreams, &directory, due).await;
        Ok(Response::new(admin::CheckInvariantsResponse { reports }))
    }
}
