//! An order's way: placed, then shipped or (a synthetic share) cancelled.

use std::time::{Duration, Instant};

use hansa_api::pb;
use hansa_api::pb::inventory::RecordShipmentResponse;
use hansa_api::pb::order::{
    CancelOrderResponse, LineKind, Order as Placed, OrderState, PlaceOrderResponse,
};
use hansa_api::status::Failure;

use super::attempt::At;
use super::doubt::{self, surely};
use super::found::Found;
use super::wire::Maker;
use crate::replay::core::action::Order;
use crate::replay::core::plan::Expect;
use crate::replay::doors::Door;

/// PlaceOrder answers with a pending order when its time is up; asking again waits on.
const PENDING_ASKS_MAX: u32 = 8;

/// What came of an order.
#[derive(Debug)]
pub struct Done {
    pub found: Found,
    /// Empty when it was never accepted.
    pub name: String,
    pub replayed: bool,
    pub latency: Duration,
    /// Money that was taken, and given back again by a cancellation.
    pub captured: Option<pb::Money>,
    pub refunded: Option<pb::Money>,
}

/// Places an order and brings it to its planned end.
pub async fn run(at: At<'_>, maker: &Maker, order: &Order, expect: &Expect) -> Done {
    let begun = Instant::now();
    let placed = place(at, maker, order, *expect == Expect::Declined).await;
    let latency = begun.elapsed();
    let (placed, replayed) = match placed {
        Ok(placed) => placed,
        Err(failure) => {
            let found = Found::Refused(failure.reason().to_string());
            let name = String::new();
            return Done { found, name, replayed: false, latency, captured: None, refunded: None };
        }
    };
    if let (Some(memory), OrderState::Confirmed | OrderState::Completed) =
        (at.memory, placed.state())
    {
        memory.accepted(&order.invoice, &placed.name);
    }
    let captured = placed.payment.as_ref().and_then(|payment| payment.captured.clone());
    let mut done = Done {
        found: Found::Stuck(placed.state()),
        name: placed.name.clone(),
        replayed,
        latency,
        captured,
        refunded: None,
    };
    done.found = match placed.state() {
        OrderState::Rejected => Found::Rejected(placed.rejection.unwrap_or_default()),
        // A repeat of a run: it was cancelled then.
        OrderState::Cancelled => {
            done.refunded = placed.payment.and_then(|payment| payment.refunded);
            Found::Cancelled
        }
        OrderState::Confirmed | OrderState::Completed if *expect == Expect::Cancelled => {
            cancel(at, maker, order, &mut done).await
        }
        OrderState::Confirmed | OrderState::Completed => ship(at, maker, order, &done.name).await,
        state @ (OrderState::Unspecified | OrderState::Pending | OrderState::Parked) => {
            Found::Stuck(state)
        }
    };
    done
}

async fn place(
    at: At<'_>,
    maker: &Maker,
    order: &Order,
    declined: bool,
) -> Result<(Placed, bool), Failure> {
    let request = maker.place(order, declined);
    // A repeat of ours is no repeat of the run: only the first answer says which.
    let mut first_replayed = None;
    let mut asks = 0;
    loop {
        let send = |mut door: Door, request| async move {
            door.storefront.orders.place_order(request).await
        };
        let look = || async {
            let order = doubt::placed(at, &request).await?;
            Ok(order.map(|order| PlaceOrderResponse { order: Some(order), replayed: true }))
        };
        let response = surely(at, &request, send, look).await?;
        let replayed = *first_replayed.get_or_insert(response.replayed);
        let placed = response.order.unwrap_or_default();
        asks += 1;
        if placed.state() != OrderState::Pending || asks == PENDING_ASKS_MAX {
            return Ok((placed, replayed));
        }
    }
}

async fn ship(at: At<'_>, maker: &Maker, order: &Order, name: &str) -> Found {
    // An order of fees alone has nothing that could be shipped.
    if order.demand().is_empty() {
        return Found::Shipped;
    }
    let request = maker.ship(&order.invoice, name);
    let send = |mut door: Door, request| async move {
        door.warehouse.inventory.record_shipment(request).await
    };
    let look = || async {
        let order = doubt::order(at, name).await?;
        let mut goods = order.lines.iter().filter(|line| line.kind() == LineKind::Stock);
        let shipped = goods.all(|line| line.shipped_quantity == line.quantity);
        Ok(shipped.then(RecordShipmentResponse::default))
    };
    let shipped = surely(at, &request, send, look).await;
    match shipped {
        Ok(_) => Found::Shipped,
        Err(failure) => Found::Refused(failure.reason().to_string()),
    }
}

async fn cancel(at: At<'_>, maker: &Maker, order: &Order, done: &mut Done) -> Found {
    let request = maker.cancel(&order.invoice, &done.name);
    let send =
        |mut door: Door, request| async move { door.storefront.orders.cancel_order(request).await };
    let look = || async {
        let order = doubt::order(at, &done.name).await?;
        let cancelled = order.state() == OrderState::Cancelled;
        Ok(cancelled.then_some(CancelOrderResponse { order: Some(order), replayed: true }))
    };
    let cancelled = surely(at, &request, send, look).await;
    match cancelled {
        Ok(response) => {
            let cancelled = response.order.unwrap_or_default();
            done.refunded = cancelled.payment.as_ref().and_then(|facts| facts.refunded.clone());
            match cancelled.state() {
                OrderState::Cancelled => Found::Cancelled,
                state => Found::Stuck(state),
            }
        }
        Err(failure) => Found::Refused(failure.reason().to_string()),
    }
}
