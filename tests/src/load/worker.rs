//! One worker: throws dice for what to do next, and does it until the answer is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hansa_api::pb::inventory::{
    AdjustStockRequest, ReceiveStockRequest, RecordShipmentRequest, ShipmentLine,
};
use hansa_api::pb::order::{CancelOrderRequest, PlaceOrderRequest};
use hansa_api::status::Failure;
use hansa_checker::history::{Place, PlaceLine};
use hansa_checker::seen::{Fulfillment, OrderSeen, OrderState, sure};

use super::{Caller, Known, Shape, stock_key};
use crate::dice::Dice;
use crate::request;

/// Units of each SKU at the beginning: some shelves are soon empty.
const PLENTY: i64 = 1_000_000;
const FEW: i64 = 40;
const PRICE_MINOR: i64 = 255;
/// Calls with one request id before its outcome is left unknown.
const PERSISTENCE: usize = 6;

pub struct Worker {
    number: usize,
    caller: Caller,
    shape: Shape,
    known: Known,
    dice: Dice,
    stop: Arc<AtomicBool>,
}

impl Worker {
    pub fn new(
        number: usize,
        caller: Caller,
        shape: Shape,
        known: Known,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let dice = Dice::new(shape.seed.wrapping_mul(1_000).wrapping_add(number as u64));
        Self { number, caller, shape, known, dice, stop }
    }

    /// The first goods on every shelf.
    pub async fn fill(&mut self) {
        for sku in self.shape.skus.clone() {
            let quantity = if sku % 4 == 3 { FEW } else { PLENTY };
            self.receive(sku, quantity).await;
        }
    }

    pub async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.dice.below(100) {
                0..45 => self.place().await,
                45..60 => self.read_order().await,
                60..75 => self.read_stock().await,
                75..85 => self.ship().await,
                85..91 => self.cancel().await,
                91..95 => self.adjust().await,
                95..97 => {
                    let sku = self.sku();
                    self.receive(sku, 5).await;
                }
                _ => self.read_payment().await,
            }
            tokio::time::sleep(self.shape.pause).await;
        }
    }

    async fn place(&mut self) {
        let lines: Vec<(usize, i32)> =
            (0..=self.dice.below(2)).map(|_| (self.sku(), 1 + self.dice.below(3) as i32)).collect();
        let customer = format!("C-{}-{}", self.number, self.dice.below(50));
        let wire_line = |(sku, quantity): &(usize, i32)| {
            request::line(&stock_key(self.shape.region, *sku).sku, *quantity)
        };
        let mut request = request::order(&customer, lines.iter().map(wire_line).collect());
        request.residence_country = self.shape.country.to_owned();
        request.client_reference = request.request_id.clone();
        if self.dice.below(20) == 0 {
            request.payment_token = "tok_decline".to_owned();
        }
        let place = self.asked(&request, &lines);
        let sent = &self.caller;
        let done = self.until_known(|| sent.place(place.clone(), request.clone())).await;
        if let Some(Ok(order)) = done {
            self.known.add(&order.name);
        }
    }

    fn asked(&self, request: &PlaceOrderRequest, lines: &[(usize, i32)]) -> Place {
        let line = |(sku, quantity): &(usize, i32)| PlaceLine {
            stock: Some(stock_key(self.shape.region, *sku)),
            quantity: *quantity as u32,
            price_minor: PRICE_MINOR,
        };
        let units: i64 = lines.iter().map(|(_, quantity)| i64::from(*quantity)).sum();
        Place {
            request: request.request_id.clone(),
            reference: request.client_reference.clone(),
            lines: lines.iter().map(line).collect(),
            total_minor: units * PRICE_MINOR,
        }
    }

    async fn read_order(&mut self) {
        if let Some(order) = self.any_order() {
            // What it shows is in the record.
            drop(self.caller.read_order(&order).await);
        }
    }

    async fn read_stock(&mut self) {
        let key = stock_key(self.shape.region, self.sku());
        drop(self.caller.read_stock(key).await);
    }

    async fn read_payment(&mut self) {
        if let Some(order) = self.any_order() {
            drop(self.caller.read_payment(&order).await);
        }
    }

    /// Ships what is left of an order, or the first unit of it.
    async fn ship(&mut self) {
        let Some(name) = self.any_order() else { return };
        let Ok(order) = self.caller.read_order(&name).await else { return };
        let lines = parcel(&order, self.dice.coin());
        if lines.is_empty() {
            return;
        }
        let request = RecordShipmentRequest {
            order: name,
            request_id: request::id(),
            region: self.shape.region.to_owned(),
            lines,
            carrier: "test".to_owned(),
            ..Default::default()
        };
        self.until_known(|| self.caller.ship(request.clone())).await;
    }

    async fn cancel(&mut self) {
        let Some(order) = self.any_order() else { return };
        let (request_id, reason) = (request::id(), "test".to_owned());
        let request = CancelOrderRequest { order, request_id, reason };
        self.until_known(|| self.caller.cancel(request.clone())).await;
    }

    async fn adjust(&mut self) {
        let delta = 1 + self.dice.below(3) as i64;
        let request = AdjustStockRequest {
            request_id: request::id(),
            region: self.shape.region.to_owned(),
            sku: stock_key(self.shape.region, self.sku()).sku,
            delta: if self.dice.coin() { delta } else { -delta },
            reason: "count".to_owned(),
            document: "test".to_owned(),
            ..Default::default()
        };
        self.until_known(|| self.caller.adjust(request.clone())).await;
    }

    async fn receive(&mut self, sku: usize, quantity: i64) {
        let sku = stock_key(self.shape.region, sku).sku;
        let request: ReceiveStockRequest = request::receive(self.shape.region, &sku, quantity);
        self.until_known(|| self.caller.receive(request.clone())).await;
    }

    /// Calls again with the same request id until it is known what came of it, as a careful client
    /// does; `None` when that stays unknown.
    async fn until_known<T, F>(&self, call: impl Fn() -> F) -> Option<Result<T, Failure>>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        for _ in 0..PERSISTENCE {
            match call().await {
                Err(failure) if !sure(failure.reason().as_str()) => {}
                known => return Some(known),
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(self.shape.pause).await;
        }
        None
    }

    fn sku(&mut self) -> usize {
        let skus = &self.shape.skus;
        skus.start + self.dice.below(skus.len() as u64) as usize
    }

    fn any_order(&mut self) -> Option<String> {
        let number = self.dice.number();
        self.known.at(number)
    }
}

fn parcel(order: &OrderSeen, whole: bool) -> Vec<ShipmentLine> {
    let ready = [Fulfillment::Allocated, Fulfillment::PartiallyShipped];
    if order.state != OrderState::Confirmed || !ready.contains(&order.fulfillment) {
        return Vec::new();
    }
    let left = order.lines.iter().filter(|line| line.quantity > line.shipped);
    let all = left.map(|line| ShipmentLine {
        line: line.line,
        sku: line.sku.clone(),
        quantity: i64::from(if whole { line.quantity - line.shipped } else { 1 }),
    });
    all.take(if whole { usize::MAX } else { 1 }).collect()
}
