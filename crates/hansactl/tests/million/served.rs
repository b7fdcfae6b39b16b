//! A made-up region behind a real port: its groups' facts are told as a node tells them.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use hansa_api::pb::admin as pb;
use hansa_api::pb::admin::admin_service_server::{AdminService, AdminServiceServer};
use hansa_api::pb::admin::read_facts_response::Part;
use hansa_api::pb::admin::reconcile_service_server::{ReconcileService, ReconcileServiceServer};
use hansa_api::pb::admin::replication_service_server::{
    ReplicationService, ReplicationServiceServer,
};
use hansa_api::pb::region;
use hansa_api::pb::region::region_service_server::{RegionService, RegionServiceServer};
use hansa_node::devca::DevCa;
use hansa_node::env::Env;
use hansa_node::layers;
use hansa_node::listen::{Limits, Listener};
use hansa_node::net::TlsNet;
use hansa_node::tls::{Files, Identity};
use hansa_types::id::GroupId;
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::league::{GROUPS, PEER, REGION, Region};

/// Pages that wait for the reader.
const AHEAD: usize = 4;
const TIME_MAX: Duration = Duration::from_secs(900);

pub struct Served {
    pub endpoint: String,
    pub operator: Files,
    env: Env,
}

impl Served {
    pub async fn start(region: Region, folder: &Path) -> Self {
        let ca = DevCa::open(&folder.join("ca"), "hansa").unwrap();
        let env = Env::real("made-up");
        let name = format!("{REGION}-1");
        let identity = Identity::load(ca.node(&REGION.parse().unwrap(), &name).unwrap()).unwrap();
        let net = TlsNet::new(identity, env.clock.clone());
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind("test", at, &net, Limits::default()).await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let told = Told { region };
        let routes = Routes::new(AdminServiceServer::new(told.clone()))
            .add_service(ReconcileServiceServer::new(told.clone()))
            .add_service(ReplicationServiceServer::new(told.clone()))
            .add_service(RegionServiceServer::new(told));
        let settings = layers::Settings {
            listener: "test",
            in_flight_max: 100,
            timeout_max: TIME_MAX,
            exempt: layers::Exempt::NOTHING,
        };
        drop(listener.start(&env.tasks, layers::stack(&settings, routes)));
        Self { endpoint, operator: ca.client("operator").unwrap(), env }
    }

    /// How the tool finds it.
    pub fn flags(&self) -> Vec<PathBuf> {
        let Files { cert, key, ca } = self.operator.clone();
        let flag = |name: &str, value| [PathBuf::from(name), value];
        let at = PathBuf::from(&self.endpoint);
        [("--endpoint", at), ("--cert", cert), ("--key", key), ("--ca", ca)]
            .into_iter()
            .flat_map(|(name, value)| flag(name, value))
            .collect()
    }

    pub fn stop(self) {
        self.env.tasks.stop_token().cancel();
    }
}

#[derive(Clone)]
struct Told {
    region: Region,
}

type Answer<T> = Result<Response<T>, Status>;
type Facts = Pin<Box<dyn Stream<Item = Result<pb::ReadFactsResponse, Status>> + Send>>;

fn nobody_asks<T>() -> Answer<T> {
    Err(hansa_api::status::Failure::of(hansa_api::status::Reason::Unimplemented).into())
}

#[tonic::async_trait]
impl AdminService for Told {
    async fn list_groups(
        &self,
        _: Request<pb::ListGroupsRequest>,
    ) -> Answer<pb::ListGroupsResponse> {
        let group = |kind| GroupId::new(kind, 0).number();
        let group = |kind| pb::Group { group: group(kind), ..Default::default() };
        Ok(Response::new(pb::ListGroupsResponse { groups: GROUPS.map(group).into() }))
    }

    async fn check_invariants(
        &self,
        _: Request<pb::CheckInvariantsRequest>,
    ) -> Answer<pb::CheckInvariantsResponse> {
        nobody_asks()
    }
}

impl Told {
    /// What one group tells, a part after another.
    fn tell(&self, asked: &pb::ReadFactsRequest, say: impl Fn(Part)) {
        let head = pb::FactsHead { group: asked.group, index: 7, ..Default::default() };
        say(Part::Head(head));
        let kind = GroupId::from_number(asked.group).unwrap().kind();
        let told = |page| say(Part::Page(page));
        let records = match asked.totals_only {
            true => 0,
            false => self.region.tell(kind, &asked.orders, told),
        };
        let whole = asked.orders.is_empty();
        let skus = if whole { self.region.skus(kind) } else { Vec::new() };
        say(Part::End(pb::FactsEnd { records, skus }));
    }
}

#[tonic::async_trait]
impl ReconcileService for Told {
    type ReadFactsStream = Facts;

    async fn read_facts(&self, asked: Request<pb::ReadFactsRequest>) -> Answer<Facts> {
        let (tx, rx) = mpsc::channel(AHEAD);
        let (told, asked) = (self.clone(), asked.into_inner());
        // Nobody listens any more: what is left is told to nobody.
        let say = move |part| drop(tx.blocking_send(pb::ReadFactsResponse { part: Some(part) }));
        std::thread::spawn(move || told.tell(&asked, say));
        let told = futures::stream::unfold(rx, |mut rx| async move {
            let part = rx.recv().await?;
            Some((Ok(part), rx))
        });
        Ok(Response::new(Box::pin(told)))
    }

    async fn propose_plan(
        &self,
        _: Request<pb::ProposePlanRequest>,
    ) -> Answer<pb::ProposePlanResponse> {
        nobody_asks()
    }

    async fn approve_plan(
        &self,
        _: Request<pb::ApprovePlanRequest>,
    ) -> Answer<pb::ApprovePlanResponse> {
        nobody_asks()
    }

    async fn apply_repair(
        &self,
        _: Request<pb::ApplyRepairRequest>,
    ) -> Answer<pb::ApplyRepairResponse> {
        nobody_asks()
    }

    async fn list_repairs(
        &self,
        _: Request<pb::ListRepairsRequest>,
    ) -> Answer<pb::ListRepairsResponse> {
        nobody_asks()
    }
}

#[tonic::async_trait]
impl ReplicationService for Told {
    async fn get_replication_status(
        &self,
        _: Request<pb::GetReplicationStatusRequest>,
    ) -> Answer<pb::GetReplicationStatusResponse> {
        let stream = pb::OutgoingStream {
            group: GroupId::new(GROUPS[0], 0).number(),
            peer: PEER.to_owned(),
            compared_time: Some(Default::default()),
            differences: self.region.copies().len() as u64,
            ..Default::default()
        };
        let outgoing = vec![stream];
        Ok(Response::new(pb::GetReplicationStatusResponse { outgoing, ..Default::default() }))
    }

    async fn list_parked_events(
        &self,
        _: Request<pb::ListParkedEventsRequest>,
    ) -> Answer<pb::ListParkedEventsResponse> {
        nobody_asks()
    }

    async fn retry_parked_events(
        &self,
        _: Request<pb::RetryParkedEventsRequest>,
    ) -> Answer<pb::RetryParkedEventsResponse> {
        nobody_asks()
    }

    async fn resolve_parked_events(
        &self,
        _: Request<pb::ResolveParkedEventsRequest>,
    ) -> Answer<pb::ResolveParkedEventsResponse> {
        nobody_asks()
    }

    async fn list_replica_differences(
        &self,
        _: Request<pb::ListReplicaDifferencesRequest>,
    ) -> Answer<pb::ListReplicaDifferencesResponse> {
        let differences = self.region.copies();
        Ok(Response::new(pb::ListReplicaDifferencesResponse { differences, ..Default::default() }))
    }
}

#[tonic::async_trait]
impl RegionService for Told {
    async fn list_regions(
        &self,
        _: Request<region::ListRegionsRequest>,
    ) -> Answer<region::ListRegionsResponse> {
        let named = |name: &str| region::Region { name: name.to_owned(), ..Default::default() };
        let regions = [REGION, PEER].map(named).into();
        Ok(Response::new(region::ListRegionsResponse { regions, ..Default::default() }))
    }

    async fn explain_route(
        &self,
        _: Request<region::ExplainRouteRequest>,
    ) -> Answer<region::ExplainRouteResponse> {
        nobody_asks()
    }
}
