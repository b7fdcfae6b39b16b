//! `PlaceOrders`: a stream of orders, each as if it were a call of its own.
//!
//! Who calls is known for the whole stream, which lives no longer than his certificate: it ends
//! when its connection is about to. Whether he may, whether there is room and where it belongs is
//! asked for each order, with the policies of that moment. What is saved is what a call costs
//! around its order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hansa_api::place_orders::{Answers, Asked, Opaque, Orders};
use hansa_api::routing::{Extra, Routing};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::{Deadline, trace};
use hansa_node::listen::Leaving;
use hansa_node::many::{Desk, Question, Serve};
use hansa_region_router::core::route::{self, Entry};
use hansa_region_router::forward::{Order, Upstreams};
use hansa_types::identity::SpiffeId;
use hansa_types::limits::MESSAGE_BYTES_MAX;
use http::request::Parts;
use http::{Request, Response};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Status, Streaming};
use tower::service_fn;

use super::{Caller, House, OTHERWISE, body, let_in};
use crate::metrics;

/// The stream.
pub const METHOD: &str = "hansa.order.v1.OrderService/PlaceOrders";
/// What each of its orders is.
const ORDER: &str = "/hansa.order.v1.OrderService/PlaceOrder";
/// What a message may have around its one order.
const AROUND_BYTES: usize = 256;
/// A message's bound is that of the largest order, whatever this gateway's for one is: a message
/// that is refused takes all of its orders along.
const MESSAGE_MAX: usize = MESSAGE_BYTES_MAX + AROUND_BYTES;

/// Whose stream it is.
struct Who {
    id: SpiffeId,
    client: String,
}

/// A stream of orders.
struct Placing<U> {
    house: Arc<House<U>>,
    who: Arc<Who>,
    /// What was read and not begun.
    unread: Orders,
}

impl<U: Upstreams> House<U> {
    /// Takes a stream of orders.
    ///
    /// # Errors
    /// `FORWARD_REFUSED`: streams end where they enter, their orders are passed on one by one.
    /// `RATE_LIMITED` and `OVERLOADED` for one stream too many.
    pub(super) async fn place_orders(
        self: &Arc<Self>,
        caller: Caller,
        entry: Entry,
        head: Parts,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        if entry == Entry::Forwarded {
            return Err(Failure::of(Reason::ForwardRefused));
        }
        let client = caller.client(&self.trust_domain).to_owned();
        // For as long as its answers are: who does not take them has a stream open.
        let open = self.admit.order_stream(&caller.id, &client)?;
        metrics::let_in("stream");
        let (house, who) = (self.clone(), Arc::new(Who { id: caller.id, client }));
        let leaving = Leaving::of_call(&head.extensions);
        let take = service_fn(move |orders: tonic::Request<Streaming<Bytes>>| {
            let serve = Serve {
                name: "orders-stream",
                tasks: house.tasks.clone(),
                under_way_max: house.admit.orders_per_stream(),
                leaving: leaving.clone(),
            };
            let (house, who) = (house.clone(), who.clone());
            let placing = Placing { house, who, unread: Orders::default() };
            let answers = serve.answers(placing, orders.into_inner());
            futures::future::ready(Ok(tonic::Response::new(answers)))
        });
        let grpc = Grpc::new(Opaque::<Answers>::default());
        let mut grpc = grpc.max_decoding_message_size(MESSAGE_MAX);
        let answer = grpc.streaming(take, Request::from_parts(head, body)).await;
        Ok(answer.map(|answers| body::holding(answers, open)))
    }

    /// Passes one order on, as if it had been a call of its own.
    async fn place(&self, who: &Who, asked: &Asked, due: Deadline) -> Result<Bytes, Status> {
        let order = self.route_order(who, asked, due).inspect_err(refused)?;
        self.forward.order(&order).await.inspect_err(refused)?
    }

    fn route_order(&self, who: &Who, asked: &Asked, due: Deadline) -> Result<Order, Failure> {
        if asked.order.len() > self.message_bytes_max {
            return Err(Failure::of(Reason::MessageTooLarge));
        }
        let authz = self.authz.load();
        if !authz.anywhere(&who.client, METHOD) {
            // He was allowed to when the stream was opened.
            return Err(Failure::of(Reason::PermissionDenied));
        }
        let method = route::method(ORDER).ok_or(Reason::Unimplemented)?;
        let routing = Routing::decode(&asked.order, Extra::Nothing)?;
        let directory = self.directory()?;
        let decision = route::route(method, &routing, Entry::Client, &directory)?;
        let caller = Caller { id: who.id.clone(), entered: None };
        let principal = self.principal(&authz, caller, method, decision, &directory)?;
        // The method is none that a gateway answers by itself.
        let to = let_in(decision).ok_or(Reason::Internal)?;
        let (order, first_sent_ms) = (asked.order.clone(), asked.first_sent_ms);
        Ok(Order { to, order, principal, first_sent_ms, deadline: due })
    }
}

fn refused(failure: &Failure) {
    metrics::refused(failure.reason());
}

impl<U: Upstreams> Desk for Placing<U> {
    type Request = Bytes;

    fn read(&mut self, message: Bytes) {
        assert!(self.unread.is_empty(), "what was read and not begun would be lost");
        self.unread = Orders::of(message);
    }

    fn begin(&mut self) -> Result<Option<Question>, Failure> {
        let Some(asked) = self.unread.take()? else { return Ok(None) };
        let most = OTHERWISE.as_millis() as u32;
        let timeout_ms = if asked.timeout_ms == 0 { most } else { asked.timeout_ms.min(most) };
        let due = Deadline::after(Duration::from_millis(timeout_ms.into()));
        let (house, who, tag) = (self.house.clone(), self.who.clone(), asked.tag);
        // At once: who is over his rate gets no further.
        let room = house.admit.order(&who.id, &who.client);
        let doing = Box::pin(async move {
            let _room = room.inspect_err(refused)?;
            house.place(&who, &asked, due).await
        });
        Ok(Some(Question { tag, due, within: trace::Within::begin("public", ORDER), doing }))
    }
}
