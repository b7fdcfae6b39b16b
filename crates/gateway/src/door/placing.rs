//! `PlaceOrders`: a stream of orders, each as if it were a call of its own.
//!
//! Who calls is known for the whole stream, which lives no longer than his certificate: it ends
//! when its connection is about to. Whether he may, whether there is room and where it belongs is
//! asked for each order, with the policies of that moment. What is saved is what a call costs
//! around its order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use hansa_api::place_orders::{Answer, Answers, Asked, Opaque, Orders};
use hansa_api::principal::Principal;
use hansa_api::routing::{Extra, Routing};
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::{Deadline, trace};
use hansa_node::listen::Leaving;
use hansa_node::many::{self, Desk, Doing};
use hansa_region_router::core::route::{self, Decision, Entry};
use hansa_region_router::forward::{Order, To, Upstreams};
use hansa_types::identity::SpiffeId;
use http::request::Parts;
use http::{Request, Response};
use tokio::time::timeout_at;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Streaming};
use tower::service_fn;
use tracing::Instrument as _;

use super::{Caller, House, OTHERWISE, starting};
use crate::admit;
use crate::metrics;

/// The stream.
pub const METHOD: &str = "hansa.order.v1.OrderService/PlaceOrders";
/// What each of its orders is.
const ORDER: &str = "/hansa.order.v1.OrderService/PlaceOrder";
/// What a message may have around its one order.
const AROUND_BYTES: usize = 256;

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
    _open: Arc<admit::Stream>,
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
        let open = Arc::new(self.admit.stream(&caller.id, &client)?);
        metrics::let_in("stream");
        let never = || Leaving(Arc::default());
        let leaving = head.extensions.get::<Leaving>().cloned().unwrap_or_else(never);
        let (house, who) = (self.clone(), Arc::new(Who { id: caller.id, client }));
        let max = self.admit.orders_per_stream();
        let take = service_fn(move |orders: tonic::Request<Streaming<Bytes>>| {
            let (house, who, _open) = (house.clone(), who.clone(), open.clone());
            let placing = Placing { house, who, unread: Orders::default(), _open };
            let answers = many::answers(placing, orders.into_inner(), max, leaving.clone());
            let answers = answers.map_ok(|answers| Answers { answers });
            futures::future::ready(Ok(tonic::Response::new(answers)))
        });
        let grpc = Grpc::new(Opaque::<Answers>::default());
        let mut grpc = grpc.max_decoding_message_size(self.message_bytes_max + AROUND_BYTES);
        Ok(grpc.streaming(take, Request::from_parts(head, body)).await)
    }

    /// Passes one order on, as if it had been a call of its own.
    async fn place(&self, who: &Who, asked: &Asked, due: Deadline) -> Result<Bytes, Failure> {
        let refused = |failure: &Failure| metrics::refused(failure.reason());
        let _room = self.admit.order(&who.id, &who.client).inspect_err(refused)?;
        let order = self.route_order(who, asked, due).inspect_err(refused)?;
        self.forward.order(&order).await.inspect_err(refused)?
    }

    fn route_order(&self, who: &Who, asked: &Asked, due: Deadline) -> Result<Order, Failure> {
        if asked.order.len() > self.message_bytes_max {
            return Err(Failure::of(Reason::MessageTooLarge));
        }
        let authz = self.authz.load();
        let method = route::method(ORDER).ok_or(Reason::Unimplemented)?;
        let routing = Routing::decode(&asked.order, Extra::Nothing)?;
        let directory = self.directory()?;
        let decision = route::route(method, &routing, Entry::Client, &directory)?;
        let roles = self.roles(&authz, &who.client, method, decision, &directory)?;
        let region = directory.own_region().ok_or_else(starting)?.name.clone();
        let to = match decision {
            Decision::Group(group) => To::Group(group),
            Decision::Region(region) => To::Region(region),
            Decision::Gateway => return Err(Failure::of(Reason::Internal)),
        };
        metrics::let_in(if matches!(to, To::Group(_)) { "group" } else { "region" });
        let principal = Principal { id: who.id.clone(), roles, region };
        let (order, first_sent_ms) = (asked.order.clone(), asked.first_sent_ms);
        Ok(Order { to, order, principal, first_sent_ms, deadline: due })
    }
}

impl<U: Upstreams> Desk for Placing<U> {
    type Request = Bytes;
    type Answer = Answer;

    fn read(&mut self, message: Bytes) {
        self.unread = Orders::of(message);
    }

    fn begin(&mut self) -> Result<Option<Doing<Answer>>, Failure> {
        let Some(asked) = self.unread.take()? else { return Ok(None) };
        Ok(Some(Box::pin(one(self.house.clone(), self.who.clone(), asked))))
    }

    fn size(answer: &Answer) -> usize {
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        bytes(&answer.placed) + bytes(&answer.refused)
    }
}

async fn one<U: Upstreams>(house: Arc<House<U>>, who: Arc<Who>, asked: Asked) -> Answer {
    let within = trace::Within::begin("public", ORDER);
    let most = OTHERWISE.as_millis() as u32;
    let timeout_ms = if asked.timeout_ms == 0 { most } else { asked.timeout_ms.min(most) };
    let due = Deadline::after(Duration::from_millis(timeout_ms.into()));
    let placed = house.place(&who, &asked, due).instrument(within.span());
    let result = timeout_at(due.0, placed).await;
    let result = result.unwrap_or_else(|_| Err(Failure::of(Reason::DeadlineExceeded)));
    let code = result.as_ref().err().map_or(Code::Ok, |failure| failure.kind().code());
    within.end(code);
    Answer::new(asked.tag, result)
}
