//! What a gateway answers by itself, one verb per file.

mod audit;
mod backup;
mod check_invariants;
mod explain_route;
mod list_groups;
mod list_regions;
mod membership;
mod reconcile;
mod region_loss;
mod replication;
mod residency;
#[cfg(test)]
mod tests;
mod version;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hansa_api::pb::admin::admin_service_server::AdminService;
use hansa_api::pb::admin::{self};
use hansa_api::pb::region::region_service_server::RegionService;
use hansa_api::pb::region::{self};
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason, key};
use hansa_node::env::{Clock, Entropy};
use hansa_node::layers::Deadline;
use hansa_region_router::book::Book;
use hansa_region_router::change::{Changed, change};
use hansa_region_router::core::directory::{Command, Node, Snapshot};
use hansa_region_router::forward::{Forward, Upstreams};
use hansa_types::id::{GroupId, GroupKind};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

/// For an answer that waits for other nodes: less than any sensible client's patience.
const NODE_MAX: Duration = Duration::from_secs(5);
/// How long a change may take to reach this gateway's own copy of the directory.
const SEEN_MAX: Duration = Duration::from_secs(2);

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

/// Has the directory commit a change; whoever asks this gateway next sees what it has just been
/// told.
async fn change_directory<U: Upstreams>(
    upstreams: &U,
    book: &Book,
    now: &Snapshot,
    command: &Command,
    due: Deadline,
) -> Result<Changed, Failure> {
    let keepers = now.members(GroupId::new(GroupKind::Directory, 0));
    let changed = change(upstreams, keepers, command, due).await?;
    book.reached(changed.version, SEEN_MAX).await;
    Ok(changed)
}

/// The nodes of this region, in order of id.
fn nodes(directory: &Snapshot) -> Vec<Node> {
    let mut nodes = directory.own_region().map(|region| region.nodes.clone()).unwrap_or_default();
    nodes.sort_by_key(|node| node.id);
    nodes
}

/// A group of this region by its number, where it has a log, and so members and a version.
fn with_log(directory: &Snapshot, number: u32) -> Result<GroupId, Failure> {
    let known = GroupId::from_number(number).filter(|g| directory.groups.contains_key(g));
    let none = || Failure::new(Reason::NotFound, "the region has no such group");
    let group = known.ok_or_else(none)?;
    match directory.lies_in(group) {
        host if host != group => {
            let why = format!("{group} has no members of its own: it lies in {host}");
            Err(Failure::new(Reason::MembershipRefused, why))
        }
        _ => Ok(group),
    }
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

/// The name of the region that answers; empty before it is known.
fn here(directory: &Snapshot) -> String {
    directory.own_region().map(|region| region.name.to_string()).unwrap_or_default()
}

/// Refuses a call that came in elsewhere: `what` passes through no other region on its way.
fn only_here<T>(
    request: &Request<T>,
    directory: &Snapshot,
    what: &'static str,
) -> Result<(), Failure> {
    let here = directory.own_region().ok_or(Reason::Internal)?;
    if Principal::of(request)?.region == here.name {
        return Ok(());
    }
    let failure = Failure::new(Reason::WrongRegion, what).with(key::REGION, here.name.to_string());
    let endpoint = here.public.first().cloned().unwrap_or_default();
    Err(failure.with(key::ENDPOINT, endpoint))
}

/// Waits for an answer no longer than until `due`.
async fn within<T>(
    due: Deadline,
    asked: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    let answer = timeout_at(due.0, asked).await;
    let answer = answer.map_err(|_| Failure::of(Reason::DeadlineExceeded))?;
    Ok(answer.map_err(Failure::from)?.into_inner())
}

/// What the nodes said, and the names of those that said nothing.
struct Told<T> {
    answers: Vec<(Node, T)>,
    silent: Vec<String>,
}

/// Asks every node of this region; one that does not offer the service is not missed.
async fn ask_nodes<U, T, F, Fut>(upstreams: &U, now: &Snapshot, due: Deadline, how: F) -> Told<T>
where
    U: Upstreams,
    F: Fn(U::Peer) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let nodes = nodes(now);
    let asked = nodes.iter().map(|node| within(due, how(upstreams.node(node.id))));
    let answers = join_all(asked).await;
    let mut told = Told { answers: Vec::new(), silent: Vec::new() };
    for (node, answer) in nodes.into_iter().zip(answers) {
        match answer {
            Ok(answer) => told.answers.push((node, answer)),
            Err(failure) if failure.reason() == Reason::Unimplemented => {}
            Err(_) => told.silent.push(node.name),
        }
    }
    told
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
