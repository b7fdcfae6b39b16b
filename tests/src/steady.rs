//! A load with a pace: so many orders a second, however long their answers take, each of them
//! carried to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hansa_api::client::{League, Policy, Services};
use hansa_api::pb::inventory::{RecordShipmentRequest, ShipmentLine};
use hansa_api::pb::order::{
    CancelOrderRequest, Order, OrderState, PlaceOrderRequest, ReturnItemsRequest, ReturnLine,
};
use hansa_api::pb::payment::RefundPaymentRequest;
use hansa_api::status::Failure;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Request, Response, Status};

use crate::load::{Tally, client};
use crate::processes::{HOME, Processes};
use crate::request;

/// Longest that a call may take, its retries included.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Orders on their way at once; beyond them an order that is due is not placed, and counted.
const UNDER_WAY_MAX: usize = 256;
const SKUS: u64 = 40;
/// More than any run takes from a shelf.
const PLENTY: i64 = 100_000_000;

/// Whoever places orders at a pace.
pub struct Customers {
    /// One per gateway, each first at its own.
    doors: Vec<Door>,
    seen: Arc<Mutex<Seen>>,
}

/// What came of it so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Since it was last taken.
    pub tally: Tally,
    pub placed: u64,
    /// By what was done with them.
    pub ended: BTreeMap<&'static str, u64>,
    /// Due while too many were under way.
    pub left_out: u64,
}

/// The three roles of a customer's house, by one gateway first.
#[derive(Clone)]
struct Door {
    storefront: League,
    warehouse: League,
    finance: League,
}

impl Customers {
    /// Enters by every gateway of the home region, and fills its shelves.
    pub async fn arrive(league: &Processes) -> Self {
        let mut doors = Vec::new();
        for number in 0..league.names_in(HOME).len() {
            let of = |role| client(league, role, HOME, number, Policy::default());
            let (storefront, warehouse) = (of("storefront").await, of("warehouse").await);
            doors.push(Door { storefront, warehouse, finance: of("finance").await });
        }
        for number in 0..SKUS {
            let goods = request::receive(HOME, &sku(number), PLENTY);
            let receive = |mut to: Services, request| async move {
                to.inventory.receive_stock(request).await
            };
            let received = call(&doors[0].warehouse, goods, receive).await;
            received.expect("the shelves are filled");
        }
        Self { doors, seen: Arc::default() }
    }

    /// What came of it so far; the tally begins anew.
    #[must_use]
    pub fn take(&self) -> Seen {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (placed, left_out, ended) = (seen.placed, seen.left_out, seen.ended.clone());
        Seen { tally: std::mem::take(&mut seen.tally), placed, ended, left_out }
    }

    /// Places this many orders a second until `until`, and waits for the last.
    pub async fn shop(&self, per_second: u32, until: Instant) {
        let mut due = tokio::time::interval(Duration::from_secs(1) / per_second);
        // Late ticks are made up for: the pace is the pace.
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = FuturesUnordered::new();
        for number in 0.. {
            loop {
                tokio::select! {
                    biased;
                    Some(()) = under_way.next() => {}
                    at = due.tick() => {
                        if under_way.len() < UNDER_WAY_MAX {
                            under_way.push(self.order(number, at));
                        } else {
                            self.note(|seen| seen.left_out += 1);
                        }
                        break;
                    }
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        while under_way.next().await.is_some() {}
    }

    /// One order from its beginning, when it was due, to its end.
    async fn order(&self, number: u64, due: Instant) {
        let door = &self.doors[(number % self.doors.len() as u64) as usize];
        let place = |mut to: Services, request| async move { to.orders.place_order(request).await };
        let placed = call(&door.storefront, asked(number), place).await;
        self.add("PlaceOrder", placed.as_ref().err(), due.elapsed());
        let Some(order) = placed.ok().and_then(|answer| answer.order) else { return };
        self.note(|seen| seen.placed += 1);
        let end = if order.state() == OrderState::Confirmed {
            self.fulfil(door, number, &order).await
        } else {
            "rejected"
        };
        self.note(|seen| *seen.ended.entry(end).or_default() += 1);
    }

    /// Out of twenty two are cancelled, two returned in part, one is paid back in part, all others
    /// are shipped.
    async fn fulfil(&self, door: &Door, number: u64, order: &Order) -> &'static str {
        let name = &order.name;
        if let 1 | 11 = number % 20 {
            let (request_id, reason) = (request::id(), "steady".to_owned());
            let request = CancelOrderRequest { order: name.clone(), request_id, reason };
            let send =
                |mut to: Services, request| async move { to.orders.cancel_order(request).await };
            self.timed("CancelOrder", call(&door.storefront, request, send)).await;
            return "cancelled";
        }
        let send =
            |mut to: Services, request| async move { to.inventory.record_shipment(request).await };
        self.timed("RecordShipment", call(&door.warehouse, parcel(order), send)).await;
        match number % 20 {
            3 | 13 => {
                let request = ReturnItemsRequest {
                    order: name.clone(),
                    request_id: request::id(),
                    lines: vec![ReturnLine { line: 1, quantity: 1 }],
                    reason: "steady".to_owned(),
                };
                let send = |mut to: Services, request| async move {
                    to.orders.return_items(request).await
                };
                self.timed("ReturnItems", call(&door.storefront, request, send)).await;
                "returned"
            }
            7 => {
                let request = RefundPaymentRequest {
                    order: name.clone(),
                    request_id: request::id(),
                    amount: Some(request::euros(1, 0)),
                    reason: "steady".to_owned(),
                };
                let send = |mut to: Services, request| async move {
                    to.payments.refund_payment(request).await
                };
                self.timed("RefundPayment", call(&door.finance, request, send)).await;
                "paid back in part"
            }
            _ => "shipped",
        }
    }

    async fn timed<T>(&self, method: &'static str, call: impl Future<Output = Result<T, Failure>>) {
        let began = Instant::now();
        let done = call.await;
        self.add(method, done.as_ref().err(), began.elapsed());
    }

    fn add(&self, method: &'static str, failure: Option<&Failure>, took: Duration) {
        self.note(|seen| seen.tally.add(method, failure, took));
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A call by the published policy.
async fn call<M, T, F>(
    at: &League,
    message: M,
    send: impl Fn(Services, Request<M>) -> F,
) -> Result<T, Failure>
where
    M: Clone,
    F: Future<Output = Result<Response<T>, Status>>,
{
    at.call(CALL_MAX, |to, one| send(to, one.request(message.clone()))).await
}

fn sku(number: u64) -> String {
    format!("STEADY-{number}")
}

/// Two lines of two units; one order in twenty is declined.
fn asked(number: u64) -> PlaceOrderRequest {
    let lines = [number % SKUS, (number * 7 + 1) % SKUS];
    let lines = lines.map(|of| request::line(&sku(of), 2)).to_vec();
    let mut order = request::order(&format!("C-{}", number % 5_000), lines);
    if number % 20 == 19 {
        order.payment_token = "tok_decline".to_owned();
    }
    order
}

/// Everything of an order.
fn parcel(order: &Order) -> RecordShipmentRequest {
    let line = |(at, line): (usize, &hansa_api::pb::order::OrderLine)| ShipmentLine {
        line: at as u32 + 1,
        sku: line.sku.clone(),
        quantity: i64::from(line.quantity),
    };
    RecordShipmentRequest {
        order: order.name.clone(),
        request_id: request::id(),
        region: HOME.to_owned(),
        lines: order.lines.iter().enumerate().map(line).collect(),
        carrier: "test".to_owned(),
        ..Default::default()
    }
}
