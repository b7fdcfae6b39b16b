//! Whole orders: two lines, through gateway, saga, stock and payments, to CONFIRMED.

use std::sync::Arc;

use hansa_api::client::Services;
use hansa_api::pb::order::{OrderState, PlaceOrderRequest};
use hansa_tests::request;
use tonic::Request;

use super::Outcome;
use crate::bench::Bench;
use crate::cli;
use crate::dice::draw;
use crate::load::{CALL_MAX, Work};
use crate::record::{Done, Refusal};
use crate::region::{Region, sku};

/// As many as PostgreSQL has in ../shared/bench.
const CUSTOMERS: u64 = 100_000;

/// Orders over one connection.
pub struct Orders {
    pub services: Services,
    skus: u64,
    seed: u64,
}

impl Orders {
    /// Over so many connections to each gateway.
    ///
    /// # Errors
    /// A gateway that is not there.
    pub async fn over(
        region: &Region,
        connections: usize,
        (skus, seed): (u64, u64),
    ) -> anyhow::Result<Vec<Arc<Self>>> {
        let services = region.connect("storefront", connections).await?;
        let orders = |services| Arc::new(Self { services, skus: skus.max(1), seed });
        Ok(services.into_iter().map(orders).collect())
    }

    pub fn order(&self, number: u64) -> PlaceOrderRequest {
        let of = |what: u64, count| draw(self.seed, number * 3 + what) % count;
        let lines = vec![
            request::line(&sku(of(0, self.skus)), 1),
            request::line(&sku(of(1, self.skus)), 2),
        ];
        request::order(&format!("C-{}", of(2, CUSTOMERS)), lines)
    }

    /// Places one and tells its name.
    ///
    /// # Errors
    /// A refusal, and what ended otherwise than confirmed.
    pub async fn place(&self, number: u64) -> Result<String, Refusal> {
        let mut call = Request::new(self.order(number));
        call.set_timeout(CALL_MAX);
        let answer = self.services.orders.clone().place_order(call).await?;
        let order = answer.into_inner().order.unwrap_or_default();
        match order.state() {
            OrderState::Confirmed => Ok(order.name),
            other => Err(Refusal::named(other.as_str_name())),
        }
    }
}

impl Work for Orders {
    async fn one(&self, number: u64) -> Done {
        self.place(number).await.map(|_| 1)
    }
}

/// # Errors
/// A region that does not start.
pub async fn run(bench: &Bench, args: &cli::Orders, skus: u64) -> anyhow::Result<Outcome> {
    let region = Region::open(&bench.common, bench.folder()).await?;
    region.stock(skus).await?;
    let times = &args.load.times;
    let orders = Orders::over(&region, times.connections, (skus, bench.common.seed)).await?;
    let lasts = (times.warms_up(), times.lasts());
    let mut runs = Vec::new();
    for (name, drive) in args.load.drives(bench.common.seed)? {
        let what = (name.as_str(), "orders");
        runs.push(bench.measure(what, &orders, &drive, lasts, &region.watched).await);
    }
    drop(orders);
    region.stop().await;
    Ok(Outcome { runs, ..Outcome::default() })
}
