//! Orders over one `PlaceOrders` stream, each asked for as if it were a call.

use std::future::Future;
use std::time::Duration;

use hansa_types::limits::{CALL_DEADLINE_MS_MAX, MESSAGE_BYTES_MAX};
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::lane::{Error, Exchange, Heard, Lane, Requests, Settings};
use crate::pb::order::order_answer::Result as Said;
use crate::pb::order::order_service_client::OrderServiceClient;
use crate::pb::order::{
    OrderToPlace, PlaceOrderRequest, PlaceOrderResponse, PlaceOrdersRequest, PlaceOrdersResponse,
};
use crate::status::{Failure, Reason, status};

/// Orders of one message, and bytes of it if they are more than one: below what a gateway takes.
const BATCH_MAX: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;
/// What a message has around an order, at most.
const AROUND_BYTES: usize = 64;
/// The gateway ends a stream when it must; this only spreads the load anew.
const LIFE: Duration = Duration::from_secs(600);
/// What an answer may take longer than the gateway may work on it.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(1);

/// An order on its way.
pub struct ToPlace {
    pub order: PlaceOrderRequest,
    /// How long it may take; a minute for more, and for nothing.
    pub timeout: Duration,
    /// Unix milliseconds; 0 says nothing.
    pub first_sent_ms: u64,
}

/// A stream of orders to one gateway, opened anew when it takes no more.
pub struct Placing(Lane<Stream>);

struct Stream(OrderServiceClient<Channel>);

/// An order as the lane has it.
struct Asked {
    order: PlaceOrderRequest,
    bytes: usize,
    due: Instant,
    first_sent_ms: u64,
}

impl Placing {
    /// The stream, and the loop that whoever makes it must run.
    pub fn new(client: OrderServiceClient<Channel>) -> (Self, impl Future<Output = ()> + Send) {
        let settings = Settings { batch_max: BATCH_MAX, batch_bytes: BATCH_BYTES, life: LIFE };
        let (lane, run) = Lane::new(Stream(client), settings);
        (Self(lane), run)
    }

    /// Places an order. What `UNAVAILABLE` leaves open is asked again, with the same request id.
    ///
    /// # Errors
    /// As the unary call; `UNAVAILABLE` also when the stream ended before the answer, with
    /// [`key::NOT_SENT`](crate::status::key::NOT_SENT) where no gateway has begun with it.
    pub async fn place(&self, order: ToPlace) -> Result<PlaceOrderResponse, Status> {
        let ToPlace { order, timeout, first_sent_ms } = order;
        let bytes = prost::Message::encoded_len(&order);
        if bytes > MESSAGE_BYTES_MAX {
            return Err(Reason::MessageTooLarge.into());
        }
        let most = Duration::from_millis(CALL_DEADLINE_MS_MAX);
        let due = Instant::now() + if timeout.is_zero() { most } else { timeout.min(most) };
        let asked = self.0.ask(Asked { order, bytes, due, first_sent_ms });
        match timeout_at(due + ON_ITS_WAY_MAX, asked).await {
            Ok(answer) => answer.map_err(|error| match error {
                Error::Refused(status) | Error::Unsent(status) | Error::Lost(status) => status,
            }),
            Err(_) => Err(Reason::DeadlineExceeded.into()),
        }
    }
}

#[tonic::async_trait]
impl Exchange for Stream {
    type Ask = Asked;
    type Answer = PlaceOrderResponse;
    type Request = PlaceOrdersRequest;
    type Response = PlaceOrdersResponse;

    fn size(ask: &Asked) -> usize {
        ask.bytes + AROUND_BYTES
    }

    fn is_late(ask: &Asked) -> bool {
        left_ms(ask.due) == 0
    }

    fn request(asks: Vec<(u64, Asked)>) -> PlaceOrdersRequest {
        let order = |(tag, ask): (u64, Asked)| OrderToPlace {
            tag,
            order: Some(ask.order),
            // 0 would mean the most.
            timeout_ms: left_ms(ask.due).max(1),
            first_sent_ms: ask.first_sent_ms,
        };
        PlaceOrdersRequest { orders: asks.into_iter().map(order).collect() }
    }

    fn heard(response: PlaceOrdersResponse) -> Heard<PlaceOrderResponse> {
        let answer = |result: Option<Said>| match result {
            Some(Said::Placed(placed)) => Ok(placed),
            Some(Said::Refused(refused)) => {
                Err(status(prost::Message::encode_to_vec(&refused).into()))
            }
            None => Err(Failure::new(Reason::Internal, "an answer that says nothing").into()),
        };
        let answers = response.answers.into_iter().map(|of| (of.tag, answer(of.result)));
        Heard { answers: answers.collect(), taken: response.taken }
    }

    async fn open(
        &self,
        requests: Requests<PlaceOrdersRequest>,
    ) -> Result<Streaming<PlaceOrdersResponse>, Status> {
        Ok(self.0.clone().place_orders(requests).await?.into_inner())
    }
}

fn left_ms(due: Instant) -> u32 {
    let left = due.saturating_duration_since(Instant::now()).as_millis();
    u32::try_from(left).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_an_order_that_is_not_answered() {
        // Nobody serves the lane: its loop is there, and never looks.
        let channel = Endpoint::from_static("http://localhost:1").connect_lazy();
        let (placing, _run) = Placing::new(OrderServiceClient::new(channel));
        let place = |timeout| {
            let order = PlaceOrderRequest::default();
            placing.place(ToPlace { order, timeout, first_sent_ms: 0 })
        };
        for (asked, waits) in [(Duration::from_secs(2), 3), (Duration::ZERO, 61)] {
            let began = Instant::now();
            let refused = place(asked).await.unwrap_err();
            assert_eq!(Failure::from(refused).reason(), Reason::DeadlineExceeded);
            assert_eq!(began.elapsed().as_secs(), waits);
        }
        let order = PlaceOrderRequest {
            customer_id: "x".repeat(MESSAGE_BYTES_MAX),
            ..PlaceOrderRequest::default()
        };
        let large = placing.place(ToPlace { order, timeout: Duration::ZERO, first_sent_ms: 0 });
        let refused = large.await.unwrap_err();
        assert_eq!(Failure::from(refused).reason(), Reason::MessageTooLarge);
    }
}
