//! This node's part of ReconcileService, for the gateways of its region.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use hansa_api::convert::id::order_from_bytes;
use hansa_api::facts::{Asked, ONLY_MAX};
use hansa_api::pb::node as pb;
use hansa_api::pb::node::node_reconcile_service_server::{
    NodeReconcileService, NodeReconcileServiceServer,
};
use hansa_api::pb::node::submit_repair_request::What;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::tasks::{OnError, Tasks};
use hansa_orders::Orders;
use hansa_types::id::{GroupId, GroupKind, OrderId};
use hansa_types::limits::PEER_MESSAGE_BYTES_MAX;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::inside::Inside;

/// For a call that came through no deadline layer.
const OTHERWISE: Duration = Duration::from_secs(5);
/// Streams of facts at once: each keeps the pages of one state.
const STREAMS_MAX: usize = 32;
/// Pages on their way.
const PAGES_MAX: usize = 4;

pub fn service(inside: Arc<Inside>, tasks: Tasks) -> NodeReconcileServiceServer<Serve> {
    let serve = Serve { inside, tasks, streams: Arc::new(Semaphore::new(STREAMS_MAX)) };
    NodeReconcileServiceServer::new(serve).max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
}

/// See [`service`].
pub struct Serve {
    inside: Arc<Inside>,
    tasks: Tasks,
    streams: Arc<Semaphore>,
}

fn group_of(number: u32) -> Result<GroupId, Failure> {
    GroupId::from_number(number).ok_or_else(|| Failure::of(Reason::NotFound))
}

fn due<T>(request: &Request<T>) -> Deadline {
    let given = request.extensions().get::<Deadline>().copied();
    given.unwrap_or_else(|| Deadline::after(OTHERWISE)).min(Deadline::after(OTHERWISE))
}

fn orders_of(ids: &[bytes::Bytes]) -> Result<BTreeSet<OrderId>, Failure> {
    if ids.len() > ONLY_MAX {
        return Err(Failure::of(Reason::MessageTooLarge));
    }
    let order = |id: &bytes::Bytes| order_from_bytes(id);
    ids.iter().map(order).collect::<Result<_, _>>().map_err(|_| Reason::FieldInvalid.into())
}

impl Serve {
    fn orders(&self) -> Result<&Orders, Failure> {
        self.inside.orders().ok_or_else(|| Failure::of(Reason::Unavailable))
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Facts = BoxStream<'static, Result<pb::ReadGroupFactsResponse, Status>>;

#[tonic::async_trait]
impl NodeReconcileService for Serve {
    type ReadGroupFactsStream = Facts;

    async fn read_group_facts(&self, request: Request<pb::ReadGroupFactsRequest>) -> Answer<Facts> {
        let due = due(&request).0;
        let asked = request.into_inner();
        let (group, only) = (group_of(asked.group)?, orders_of(&asked.orders)?);
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let full = || Failure::of(Reason::Overloaded).retry_after(Duration::from_secs(1));
        let permit = permit.map_err(|_| full())?;
        let (to, pages) = mpsc::channel(PAGES_MAX);
        let asked = Asked { only, totals_only: asked.totals_only, to };
        let telling = match group.kind() {
            GroupKind::Orders => self.orders()?.tell_facts(group, asked, due).await?,
            _ => self.inside.ledger().tell_facts(group, asked, due).await?,
        };
        // A reader that has gone drops the pages, and with them this task ends.
        self.tasks.spawn(format!("facts {group}"), OnError::Log, async move {
            telling.await;
            drop(permit);
        });
        let told = ReceiverStream::new(pages);
        let told = told.map(|facts| Ok(pb::ReadGroupFactsResponse { facts: Some(facts) }));
        Ok(Response::new(told.boxed()))
    }

    async fn submit_repair(
        &self,
        request: Request<pb::SubmitRepairRequest>,
    ) -> Answer<pb::SubmitRepairResponse> {
        let due = due(&request).0;
        let asked = request.into_inner();
        let (group, by) = (group_of(asked.group)?, asked.by.as_str());
        let orders = self.orders()?;
        let mut answer = pb::SubmitRepairResponse::default();
        match asked.what.ok_or(Reason::MessageMalformed)? {
            What::Propose(it) => {
                answer.plan = Some(orders.propose_plan(group, by, &it, due).await?);
            }
            What::Approve(it) => {
                answer.plan = Some(orders.approve_plan(group, by, &it, due).await?);
            }
            What::Apply(it) => {
                answer.repair = Some(orders.apply_repair(group, by, &it, due).await?);
            }
        }
        Ok(Response::new(answer))
    }

    async fn list_group_repairs(
        &self,
        request: Request<pb::ListGroupRepairsRequest>,
    ) -> Answer<pb::ListGroupRepairsResponse> {
        let due = due(&request).0;
        let asked = request.into_inner();
        let listed = self.orders()?.list_repairs(group_of(asked.group)?, &asked.plan, due);
        let (plans, repairs) = listed.await?;
        Ok(Response::new(pb::ListGroupRepairsResponse { plans, repairs }))
    }
}
