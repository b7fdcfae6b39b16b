//! TakeOrders: what gateways of this region let in on their streams, many orders on one of ours.
//!
//! Each is what PlaceOrder is on this port; only what a call costs around its order is not paid.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt as _};
use hansa_api::pb::node as pb;
use hansa_api::pb::order as wire;
use hansa_api::principal::{Principal, Roles};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::{Deadline, trace};
use hansa_node::listen::Leaving;
use hansa_node::many::{Desk, Question, Serve};
use hansa_node::tls::PeerIdentity;
use hansa_types::limits::CALL_DEADLINE_MS_MAX;
use prost::Message;
use tonic::{Request, Status, Streaming};

use super::place_order;
use crate::shell::room::{STREAM_MAX, Share};
use crate::shell::{Sent, Shell, caller};

/// What each of the orders is.
const ORDER: &str = "/hansa.order.v1.OrderService/PlaceOrder";

/// # Errors
/// `UNAUTHENTICATED` for a stream that came over no connection of a node.
pub fn run(
    shell: Arc<Shell>,
    request: Request<Streaming<pb::TakeOrdersRequest>>,
) -> Result<impl Stream<Item = Result<pb::TakeOrdersResponse, Status>> + Send, Failure> {
    let peer = request.extensions().get::<PeerIdentity>().ok_or(Reason::Unauthenticated)?;
    let share = shell.room.of(&peer.0);
    let serve = Serve {
        name: "orders-intake",
        tasks: shell.env.tasks.clone(),
        under_way_max: STREAM_MAX,
        leaving: Leaving::of_call(request.extensions()),
    };
    let taking = Taking { shell, share, unread: Vec::new().into_iter() };
    Ok(serve.answers(taking, request.into_inner()).map_ok(Into::into))
}

struct Taking {
    shell: Arc<Shell>,
    share: Share,
    /// What was read and not begun.
    unread: std::vec::IntoIter<pb::OrderToTake>,
}

impl Desk for Taking {
    type Request = pb::TakeOrdersRequest;

    fn read(&mut self, message: pb::TakeOrdersRequest) {
        assert_eq!(self.unread.len(), 0, "what was read and not begun would be lost");
        self.unread = message.orders.into_iter();
    }

    fn begin(&mut self) -> Result<Option<Question>, Failure> {
        let Some(order) = self.unread.next() else { return Ok(None) };
        let left = u64::from(order.timeout_ms).min(CALL_DEADLINE_MS_MAX);
        let due = Deadline::after(Duration::from_millis(left));
        let within = trace::Within::of("internal", ORDER, &order.traceparent);
        let (tag, shell, place_of) = (order.tag, self.shell.clone(), self.share.take());
        let doing = Box::pin(async move {
            let _place = place_of?;
            let placed = place(&shell, order, due).await?;
            Ok(placed.encode_to_vec().into())
        });
        Ok(Some(Question { tag, due, within, doing }))
    }
}

async fn place(
    shell: &Shell,
    asked: pb::OrderToTake,
    due: Deadline,
) -> Result<wire::PlaceOrderResponse, Failure> {
    let principal = principal(&asked)?;
    let malformed = |_| Failure::of(Reason::MessageMalformed);
    let order = wire::PlaceOrderRequest::decode(asked.order).map_err(malformed)?;
    let sent = Sent((asked.first_sent_ms != 0).then_some(asked.first_sent_ms));
    place_order::place(shell, caller(&principal), order, sent, due.0).await
}

fn principal(asked: &pb::OrderToTake) -> Result<Principal, Failure> {
    let unread = || Failure::of(Reason::Unauthenticated);
    let id = asked.principal.parse().map_err(|_| unread())?;
    let roles = asked.roles.parse::<Roles>().map_err(|_| unread())?;
    let region = asked.entry.parse().map_err(|_| unread())?;
    Ok(Principal { id, roles, region })
}
