//! Customers of the region that is to be lost, who go on ordering all the time.

use std::time::Duration;

use futures::future::join_all;
use hansa_api::pb::Money;
use hansa_api::pb::inventory::ReceiveStockRequest;
use hansa_api::pb::order::{
    GetOrderRequest, LineKind, OrderState, PlaceOrderLine, PlaceOrderRequest,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::connect::{Role, Session};
use crate::error::Problem;

/// What the drill sells; nobody else does.
const SKU: &str = "HANSA-DRILL";
const CUSTOMERS: u32 = 4;
/// Between a customer's orders.
const BETWEEN: Duration = Duration::from_millis(100);
/// One try, so that an outage is seen as it is.
const TRY: Duration = Duration::from_secs(3);

/// An order that was confirmed to its customer.
#[derive(Clone, Debug)]
pub struct Placed {
    pub name: String,
    pub at: Instant,
}

/// Goods for the drill in a region, so that orders do not fail for want of them.
pub async fn stock(session: &Session, region: &str) -> Result<(), Problem> {
    let request = ReceiveStockRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        region: region.to_owned(),
        sku: SKU.to_owned(),
        quantity: 1_000_000,
        document: "drill".to_owned(),
        ..ReceiveStockRequest::default()
    };
    let there = session.in_region(region);
    let received = there.call(Role::Warehouse, request, |mut services, request| async move {
        services.inventory.receive_stock(request).await
    });
    received.await.map(drop)
}

/// Orders until `stop` says so, asked for at the gateways of `region`.
pub async fn order(
    session: &Session,
    region: &str,
    country: &str,
    stop: watch::Receiver<bool>,
) -> Vec<Placed> {
    let session = session.in_region(region).patient(TRY);
    let customers = (0..CUSTOMERS).map(|n| customer(&session, country, n, stop.clone()));
    join_all(customers).await.concat()
}

async fn customer(
    session: &Session,
    country: &str,
    number: u32,
    stop: watch::Receiver<bool>,
) -> Vec<Placed> {
    let mut placed = Vec::new();
    while !*stop.borrow() {
        let request = request(country, number);
        let asked = session.call(Role::Storefront, request, |mut services, request| async move {
            services.orders.place_order(request).await
        });
        // What fails is what is measured: the next one says when it is over.
        if let Ok(answer) = asked.await {
            let order = answer.order.unwrap_or_default();
            if order.state() == OrderState::Confirmed {
                placed.push(Placed { name: order.name, at: Instant::now() });
            }
        }
        sleep(BETWEEN).await;
    }
    placed
}

fn request(country: &str, customer: u32) -> PlaceOrderRequest {
    let line = PlaceOrderLine {
        kind: LineKind::Stock.into(),
        sku: SKU.to_owned(),
        description: "a drill".to_owned(),
        quantity: 1,
        unit_price: Some(Money { currency_code: "EUR".to_owned(), units: 1, nanos: 0 }),
    };
    PlaceOrderRequest {
        residence_country: country.to_owned(),
        customer_id: format!("hansa-drill-{customer}"),
        request_id: uuid::Uuid::new_v4().to_string(),
        lines: vec![line],
        payment_token: "tok_approve".to_owned(),
        ..PlaceOrderRequest::default()
    }
}

/// Those of the orders that `region` does not find.
///
/// # Errors
/// It could not say of one.
pub async fn missing(
    session: &Session,
    region: &str,
    placed: &[Placed],
) -> Result<Vec<String>, Problem> {
    let session = session.in_region(region);
    let mut missing = Vec::new();
    for order in placed {
        let request = GetOrderRequest { order: order.name.clone(), ..GetOrderRequest::default() };
        let asked = session.call(Role::Storefront, request, |mut services, request| async move {
            services.orders.get_order(request).await
        });
        match asked.await {
            Ok(_) => {}
            Err(problem) if problem.is_not_found() => missing.push(order.name.clone()),
            Err(problem) => return Err(problem),
        }
    }
    Ok(missing)
}
