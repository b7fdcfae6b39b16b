//! Orders over one `PlaceOrders` stream, each asked for as if it were a call.

use std::future::Future;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::lane::{Error, Exchange, Lane, Requests, Settings};
use crate::pb::order::order_answer::Result as Said;
use crate::pb::order::order_service_client::OrderServiceClient;
use crate::pb::order::{
    OrderToPlace, PlaceOrderRequest, PlaceOrderResponse, PlaceOrdersRequest, PlaceOrdersResponse,
};
use crate::status::{Failure, Reason, status};

/// With them and one more order, a message is below what a gateway takes.
const BATCH_MAX: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;
/// The gateway ends a stream when it must; this only spreads the load anew.
const LIFE: Duration = Duration::from_secs(600);

/// An order on its way.
pub struct ToPlace {
    pub order: PlaceOrderRequest,
    /// How long the gateway may work on it.
    pub timeout: Duration,
    /// Unix milliseconds; 0 says nothing.
    pub first_sent_ms: u64,
}

/// A stream of orders to one gateway, opened anew when it ends.
pub struct Placing(Lane<Stream>);

struct Stream(OrderServiceClient<Channel>);

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
    /// As the unary call; `UNAVAILABLE` also when the stream ended before the answer.
    pub async fn place(&self, order: ToPlace) -> Result<PlaceOrderResponse, Status> {
        match self.0.ask(order).await {
            Ok(placed) => Ok(placed),
            Err(Error::Refused(status)) => Err(status),
            Err(Error::Ended(status)) if status.code() != Code::Ok => Err(status),
            Err(Error::Ended(_)) => {
                let failure = Failure::new(Reason::Unavailable, "the stream ended");
                Err(failure.retry_after(Duration::ZERO).into())
            }
        }
    }
}

#[tonic::async_trait]
impl Exchange for Stream {
    type Ask = ToPlace;
    type Answer = PlaceOrderResponse;
    type Request = PlaceOrdersRequest;
    type Response = PlaceOrdersResponse;

    fn size(ask: &ToPlace) -> usize {
        prost::Message::encoded_len(&ask.order)
    }

    fn request(asks: Vec<(u64, ToPlace)>) -> PlaceOrdersRequest {
        let order = |(tag, ask): (u64, ToPlace)| OrderToPlace {
            tag,
            order: Some(ask.order),
            timeout_ms: u32::try_from(ask.timeout.as_millis()).unwrap_or(u32::MAX),
            first_sent_ms: ask.first_sent_ms,
        };
        PlaceOrdersRequest { orders: asks.into_iter().map(order).collect() }
    }

    fn answers(response: PlaceOrdersResponse) -> Vec<(u64, Result<PlaceOrderResponse, Status>)> {
        let answers = response.answers.into_iter();
        let answer = |result: Option<Said>| match result {
            Some(Said::Placed(placed)) => Ok(placed),
            Some(Said::Refused(refused)) => {
                Err(status(prost::Message::encode_to_vec(&refused).into()))
            }
            None => Err(Failure::new(Reason::Internal, "an answer that says nothing").into()),
        };
        answers.map(|of| (of.tag, answer(of.result))).collect()
    }

    async fn open(
        &self,
        requests: Requests<PlaceOrdersRequest>,
    ) -> Result<Streaming<PlaceOrdersResponse>, Status> {
        Ok(self.0.clone().place_orders(requests).await?.into_inner())
    }
}
