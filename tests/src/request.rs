//! Requests that are right; a test spoils what it is about.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hansa_api::pb::Money;
use hansa_api::pb::inventory::ReceiveStockRequest;
use hansa_api::pb::order::order_service_client::OrderServiceClient;
use hansa_api::pb::order::{
    LineKind, OrderState, PersonalDetails, PlaceOrderLine, PlaceOrderRequest, PlaceOrderResponse,
};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::local::PATIENCE;

/// A request id that nobody else has.
pub fn id() -> String {
    Uuid::new_v4().to_string()
}

pub fn euros(units: i64, nanos: i32) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos }
}

pub fn line(sku: &str, quantity: i32) -> PlaceOrderLine {
    PlaceOrderLine {
        kind: LineKind::Stock.into(),
        sku: sku.to_owned(),
        description: "a thing".to_owned(),
        quantity,
        unit_price: Some(euros(2, 550_000_000)),
    }
}

/// An order of a German customer, approved by the sandbox.
pub fn order(customer: &str, lines: Vec<PlaceOrderLine>) -> PlaceOrderRequest {
    PlaceOrderRequest {
        residence_country: "DE".to_owned(),
        customer_id: customer.to_owned(),
        request_id: id(),
        lines,
        payment_token: "tok_approve".to_owned(),
        personal: Some(PersonalDetails {
            name: "Greta Muster".to_owned(),
            email: "greta@example.org".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn receive(region: &str, sku: &str, quantity: i64) -> ReceiveStockRequest {
    ReceiveStockRequest {
        request_id: id(),
        region: region.to_owned(),
        sku: sku.to_owned(),
        quantity,
        document: "test".to_owned(),
        ..Default::default()
    }
}

/// Places an order, asked again with its id until the house has decided.
///
/// # Panics
/// When it is refused, or not decided in time.
pub async fn placed(
    orders: &OrderServiceClient<Channel>,
    wish: &PlaceOrderRequest,
) -> PlaceOrderResponse {
    placed_in(orders, wish).await.0
}

/// The same, and how often it was asked for.
///
/// # Panics
/// As [`placed`].
pub async fn placed_in(
    orders: &OrderServiceClient<Channel>,
    wish: &PlaceOrderRequest,
) -> (PlaceOrderResponse, u32) {
    let (end, tries) = (Instant::now() + PATIENCE, AtomicU32::new(0));
    loop {
        let place = || {
            tries.fetch_add(1, Ordering::Relaxed);
            let (mut orders, mut call) = (orders.clone(), Request::new(wish.clone()));
            call.set_timeout(PATIENCE);
            async move { orders.place_order(call).await }
        };
        let answer = asked(place).await.expect("an answer");
        let state = answer.order.as_ref().expect("an order").state();
        if state != OrderState::Pending {
            return (answer, tries.into_inner());
        }
        assert!(Instant::now() < end, "{answer:?}");
    }
}

/// Asks for what has one effect however often it is asked for, again while the house looks for a
/// leader: on a busy machine it may at any time.
///
/// # Errors
/// What the house says in the end.
pub async fn asked<T, Fut>(ask: impl Fn() -> Fut) -> Result<T, Status>
where
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(status)
                if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
                    && Instant::now() < end => {}
            answer => return answer.map(Response::into_inner),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
