//! TakeOrders: what gateways of this region let in on their streams, many orders on one of ours.
//!
//! Each is what PlaceOrder is on this port; only what a call costs around its order is not paid.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use hansa_api::pb::node as pb;
use hansa_api::pb::node::taken_order::Result as Said;
use hansa_api::pb::order as wire;
use hansa_api::principal::{Principal, Roles};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::trace;
use hansa_node::listen::Leaving;
use hansa_node::many::{self, Desk, Doing};
use hansa_types::limits::CALL_DEADLINE_MS_MAX;
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Status, Streaming};
use tracing::Instrument as _;

use super::place_order;
use crate::shell::{Sent, Shell, caller};

/// What each of the orders is.
const ORDER: &str = "/hansa.order.v1.OrderService/PlaceOrder";
/// Orders under way on one stream; beyond them it is not read.
const UNDER_WAY_MAX: usize = 4_096;
/// When to come back with an order for which there is no room, as from a full listener.
const RETRY: Duration = Duration::from_millis(200);

pub fn run(
    shell: Arc<Shell>,
    request: Request<Streaming<pb::TakeOrdersRequest>>,
) -> impl Stream<Item = Result<pb::TakeOrdersResponse, Status>> + Send {
    let leaving = request.extensions().get::<Leaving>().cloned();
    let leaving = leaving.unwrap_or_else(|| Leaving(Arc::default()));
    let taking = Taking { shell, unread: Vec::new().into_iter() };
    let answers = many::answers(taking, request.into_inner(), UNDER_WAY_MAX, leaving);
    answers.map_ok(|orders| pb::TakeOrdersResponse { orders })
}

struct Taking {
    shell: Arc<Shell>,
    /// What was read and not begun.
    unread: std::vec::IntoIter<pb::OrderToTake>,
}

impl Desk for Taking {
    type Request = pb::TakeOrdersRequest;
    type Answer = pb::TakenOrder;

    fn read(&mut self, message: pb::TakeOrdersRequest) {
        self.unread = message.orders.into_iter();
    }

    fn begin(&mut self) -> Result<Option<Doing<pb::TakenOrder>>, Failure> {
        let Some(order) = self.unread.next() else { return Ok(None) };
        Ok(Some(Box::pin(one(self.shell.clone(), order))))
    }

    fn size(answer: &pb::TakenOrder) -> usize {
        match &answer.result {
            Some(Said::Placed(bytes) | Said::Refused(bytes)) => bytes.len(),
            None => 0,
        }
    }
}

async fn one(shell: Arc<Shell>, asked: pb::OrderToTake) -> pb::TakenOrder {
    let within = trace::Within::of("internal", ORDER, &asked.traceparent);
    let (span, tag) = (within.span(), asked.tag);
    let left = u64::from(asked.timeout_ms).min(CALL_DEADLINE_MS_MAX);
    let due = Instant::now() + Duration::from_millis(left);
    let placed = timeout_at(due, place(&shell, asked, due).instrument(span)).await;
    let placed = placed.unwrap_or_else(|_| Err(Failure::of(Reason::DeadlineExceeded)));
    let (code, result) = match placed {
        Ok(placed) => (Code::Ok, Said::Placed(placed.encode_to_vec().into())),
        Err(failure) => {
            let code = failure.kind().code();
            // The details of a status of ours are a whole google.rpc.Status.
            let refused = Bytes::copy_from_slice(Status::from(failure).details());
            (code, Said::Refused(refused))
        }
    };
    within.end(code);
    pb::TakenOrder { tag, result: Some(result) }
}

async fn place(
    shell: &Shell,
    asked: pb::OrderToTake,
    due: Instant,
) -> Result<wire::PlaceOrderResponse, Failure> {
    let room = shell.intake.try_acquire();
    let _room = room.map_err(|_| Failure::of(Reason::Overloaded).retry_after(RETRY))?;
    let principal = principal(&asked)?;
    let malformed = |_| Failure::of(Reason::MessageMalformed);
    let order = wire::PlaceOrderRequest::decode(asked.order).map_err(malformed)?;
    let sent = Sent((asked.first_sent_ms != 0).then_some(asked.first_sent_ms));
    place_order::place(shell, caller(&principal), order, sent, due).await
}

fn principal(asked: &pb::OrderToTake) -> Result<Principal, Failure> {
    let unread = || Failure::of(Reason::Unauthenticated);
    let id = asked.principal.parse().map_err(|_| unread())?;
    let roles = asked.roles.parse::<Roles>().map_err(|_| unread())?;
    let region = asked.entry.parse().map_err(|_| unread())?;
    Ok(Principal { id, roles, region })
}
