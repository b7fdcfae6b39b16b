//! Requests that a league cannot answer for: it was lost, or came back from a backup, and nobody
//! knows whether they were carried out. As docs/reasons.md says: their effect is looked for, and
//! what is missing is sent under a new request id.

use std::time::Duration;

use hansa_api::pb::inventory::{AdjustStockRequest, ReceiveStockRequest, RecordShipmentRequest};
use hansa_api::pb::order::{
    CancelOrderRequest, GetOrderRequest, ListOrdersRequest, Order, PlaceOrderRequest,
    ReturnItemsRequest,
};
use hansa_api::pb::payment::RefundPaymentRequest;
use hansa_api::pb::region::ExplainRouteRequest;
use hansa_api::status::{Failure, Reason};
use tonic::{Request, Response, Status};

use super::attempt::{At, call, dated};
use crate::replay::doors::Door;

/// New ids are in doubt too until clocks cannot be to blame: for 10 s and what a take-over takes.
const DOUBTS_MAX: usize = 60;
const WAIT: Duration = Duration::from_secs(1);

/// A message with a request id.
pub trait Keyed: Clone {
    fn key(&self) -> &str;
    fn set_key(&mut self, key: String);
}

macro_rules! keyed {
    ($($message:ty),*) => {$(
        impl Keyed for $message {
            fn key(&self) -> &str {
                &self.request_id
            }

            fn set_key(&mut self, key: String) {
                self.request_id = key;
            }
        }
    )*};
}

keyed!(
    ReceiveStockRequest,
    AdjustStockRequest,
    RecordShipmentRequest,
    PlaceOrderRequest,
    CancelOrderRequest,
    ReturnItemsRequest,
    RefundPaymentRequest
);

/// Makes a call that changes something; where its outcome cannot be known, `look` says what came
/// of it, if anything did.
///
/// # Errors
/// The last failure.
pub async fn surely<M, A, F, L>(
    at: At<'_>,
    message: &M,
    send: impl Fn(Door, Request<M>) -> F,
    look: impl Fn() -> L,
) -> Result<A, Failure>
where
    M: Keyed,
    F: Future<Output = Result<Response<A>, Status>>,
    L: Future<Output = Result<Option<A>, Failure>>,
{
    let Some(memory) = at.memory else { return call(at, message, send).await };
    let mut message = message.clone();
    message.set_key(memory.id(message.key()));
    let mut doubts = 0;
    loop {
        let first_ms = memory.first_sent(message.key());
        let failure = match dated(at, &message, Some(first_ms), &send).await {
            Err(failure) if failure.reason() == Reason::RequestInDoubt => failure,
            done => return done,
        };
        doubts += 1;
        if doubts > DOUBTS_MAX {
            return Err(failure);
        }
        tokio::time::sleep(WAIT).await;
        if let Some(answer) = look().await? {
            return Ok(answer);
        }
        message.set_key(memory.instead(message.key()));
    }
}

/// What cannot be looked for.
pub async fn nowhere<A>() -> Result<Option<A>, Failure> {
    Ok(None)
}

/// An order as its owner has it now.
///
/// # Errors
/// The last failure.
pub async fn order(at: At<'_>, name: &str) -> Result<Order, Failure> {
    let ask = GetOrderRequest { order: name.to_owned(), ..GetOrderRequest::default() };
    let answer = call(at, &ask, |mut door, request| async move {
        door.storefront.orders.get_order(request).await
    });
    Ok(answer.await?.order.unwrap_or_default())
}

/// The order that was placed with this reference, if there is one: among its customer's, or, for a
/// guest, among all of the region that owns it now.
///
/// # Errors
/// The last failure.
pub async fn placed(at: At<'_>, request: &PlaceOrderRequest) -> Result<Option<Order>, Failure> {
    let country = request.residence_country.clone();
    let mut ask = ListOrdersRequest { page_size: 200, ..ListOrdersRequest::default() };
    if request.customer_id.is_empty() {
        let route = ExplainRouteRequest {
            residence_country: country,
            request_id: request.request_id.clone(),
            ..ExplainRouteRequest::default()
        };
        let answer = call(at, &route, |mut door, request| async move {
            door.storefront.regions.explain_route(request).await
        });
        ask.region = answer.await?.home_region;
    } else {
        (ask.residence_country, ask.customer_id) = (country, request.customer_id.clone());
    }
    loop {
        let answer = call(at, &ask, |mut door, request| async move {
            door.operator.orders.list_orders(request).await
        });
        let page = answer.await?;
        let same = |order: &Order| order.client_reference == request.client_reference;
        if let Some(order) = page.orders.into_iter().find(same) {
            return Ok(Some(order));
        }
        if page.next_page_token.is_empty() {
            return Ok(None);
        }
        ask.page_token = page.next_page_token;
    }
}
