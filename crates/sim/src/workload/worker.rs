//! One client: throws dice for what to do next, and does it until the answer is known.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use hansa_api::pb::inventory::{
    AdjustStockRequest, ReceiveStockRequest, RecordShipmentRequest, ShipmentLine,
};
use hansa_api::pb::order::{CancelOrderRequest, ReturnItemsRequest, ReturnLine};
use hansa_api::pb::payment::RefundPaymentRequest;
use hansa_api::status::Failure;
use hansa_checker::seen::{Fulfillment, OrderSeen, OrderState, StockKey, sure};

use super::order::{self, PRICE_MINOR, money};
use super::{Caller, Known};
use crate::dice::Dice;
use crate::plan::{EACH, Plan};
use crate::world::Region;

/// Units of each SKU at the beginning: the first shelf never runs empty, the others may.
const PLENTY: i64 = 1_000_000;
const FEW: i64 = 25;
/// Calls with one request id before its outcome is left unknown.
const PERSISTENCE: usize = 5;
/// After so many turns a worker takes its time: long storms are to be long, not to cost the most.
const EAGER: u32 = 80;
const LATER: u32 = 8;
const WORKER: u64 = 100;

const TOKENS: [(&str, u64); 6] = [
    (order::PAYS, 72),
    ("tok_decline", 7),
    ("tok_timeout_after_charge", 8),
    ("tok_late", 5),
    ("tok_unreachable", 3),
    ("tok_capture_refused", 5),
];

pub struct Worker<'a> {
    caller: Caller,
    /// Where its orders are born, and where it looks after the stock.
    home: &'a Region,
    here: &'a Region,
    /// Any of several regions may have what is shipped.
    heir: bool,
    skus: usize,
    pause: Duration,
    known: Known,
    dice: Dice,
    ids: u64,
    signs: Rc<Signs>,
}

/// What a region's workers are told.
#[derive(Default)]
pub struct Signs {
    pub stop: Cell<bool>,
    /// Too few orders are confirmed: from now on only such are placed as nothing can refuse. In a
    /// long storm all shelves but the first one run empty.
    pub surely: Cell<bool>,
}

impl<'a> Worker<'a> {
    pub fn new(
        plan: &Plan,
        (home, here): (&'a Region, &'a Region),
        caller: Caller,
        known: Known,
        signs: &Rc<Signs>,
    ) -> Self {
        let dice = Dice::of(plan.seed, WORKER + u64::from(caller.number()));
        let (skus, pause) = (plan.shape.skus, plan.shape.pause);
        let (heir, signs) = (plan.shape.heir, signs.clone());
        Self { caller, home, here, heir, skus, pause, known, dice, ids: 0, signs }
    }

    /// The first goods on every shelf.
    pub async fn fill(&mut self, plenty: bool) {
        for sku in 0..self.skus {
            self.receive(sku, if plenty || sku == 0 { PLENTY } else { FEW }).await;
        }
        self.receive(order::PROBED, PLENTY).await;
    }

    pub async fn run(mut self) {
        let mut done = 0;
        while !self.signs.stop.get() {
            match self.dice.below(100) {
                _ if self.signs.surely.get() => self.place().await,
                0..42 => self.place().await,
                42..54 => self.read_order().await,
                54..68 => self.read_stock().await,
                68..78 => self.ship().await,
                78..84 => self.cancel().await,
                84..88 => self.adjust().await,
                88..91 => {
                    let sku = self.sku();
                    self.receive(sku, 5).await;
                }
                91..94 => self.give_back().await,
                94..97 => self.refund().await,
                _ => self.read_payment().await,
            }
            done += 1;
            let pause = if done < EAGER { self.pause } else { LATER * self.pause };
            tokio::time::sleep(pause).await;
        }
    }

    async fn place(&mut self) {
        let lines: Vec<(usize, i32)> =
            (0..=self.dice.below(2)).map(|_| (self.sku(), 1 + self.dice.below(3) as i32)).collect();
        let id = self.id();
        let customer = customer(self.caller.number(), self.dice.below(EACH));
        let (lines, token) = basket((lines, self.token()), self.signs.surely.get());
        let (place, request) = order::asked(self.home, &id, customer.clone(), &lines, token);
        let sent = &self.caller;
        let done = self.until_known(|| sent.place(place.clone(), request.clone())).await;
        if let Some(Ok(order)) = done {
            self.caller.placed(&order.name, customer);
            self.known.add(&order.name);
        }
    }

    async fn read_order(&mut self) {
        if let Some(order) = self.any_order() {
            // What it shows is in the history.
            drop(self.caller.read_order(&order).await);
        }
    }

    async fn read_stock(&mut self) {
        let sku = self.sku();
        drop(self.caller.read_stock(self.key(sku)).await);
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
        let lines = parcel(&order, self.dice.one_in(2));
        if lines.is_empty() {
            return;
        }
        let request = RecordShipmentRequest {
            order: name,
            request_id: self.id(),
            region: if self.heir { String::new() } else { self.here.name.to_string() },
            lines,
            carrier: "sim".to_owned(),
            ..Default::default()
        };
        self.until_known(|| self.caller.ship(request.clone())).await;
    }

    async fn cancel(&mut self) {
        let Some(order) = self.any_order() else { return };
        let request = CancelOrderRequest { order, request_id: self.id(), reason: "sim".to_owned() };
        self.until_known(|| self.caller.cancel(request.clone())).await;
    }

    /// Sends a shipped unit back.
    async fn give_back(&mut self) {
        let Some(name) = self.any_order() else { return };
        let Ok(order) = self.caller.read_order(&name).await else { return };
        let Some(line) = order.lines.iter().find(|line| line.shipped > line.returned) else {
            return;
        };
        let lines = vec![ReturnLine { line: line.line, quantity: 1 }];
        let (request_id, reason) = (self.id(), "sim".to_owned());
        let request = ReturnItemsRequest { order: name, request_id, lines, reason };
        self.until_known(|| self.caller.give_back(request.clone())).await;
    }

    async fn refund(&mut self) {
        let Some(order) = self.any_order() else { return };
        let minor = 1 + self.dice.below(2 * PRICE_MINOR as u64) as i64;
        let request = RefundPaymentRequest {
            order,
            request_id: self.id(),
            amount: Some(money(minor)),
            reason: "sim".to_owned(),
        };
        self.until_known(|| self.caller.refund(request.clone(), minor)).await;
    }

    async fn adjust(&mut self) {
        let delta = 1 + self.dice.below(3) as i64;
        let sku = self.sku();
        let request = AdjustStockRequest {
            request_id: self.id(),
            region: self.here.name.to_string(),
            sku: self.key(sku).sku,
            delta: if self.dice.one_in(2) { delta } else { -delta },
            reason: "count".to_owned(),
            document: "sim".to_owned(),
            ..Default::default()
        };
        self.until_known(|| self.caller.adjust(request.clone())).await;
    }

    async fn receive(&mut self, sku: usize, quantity: i64) {
        let request = ReceiveStockRequest {
            request_id: self.id(),
            region: self.here.name.to_string(),
            sku: self.key(sku).sku,
            quantity,
            document: "sim".to_owned(),
            ..Default::default()
        };
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
            if self.signs.stop.get() {
                break;
            }
            tokio::time::sleep(self.pause).await;
        }
        None
    }

    fn token(&mut self) -> &'static str {
        let mut at = self.dice.below(TOKENS.iter().map(|(_, share)| share).sum());
        for (token, share) in TOKENS {
            match at.checked_sub(share) {
                Some(rest) => at = rest,
                None => return token,
            }
        }
        TOKENS[0].0
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("q-{}-{}", self.caller.number(), self.ids)
    }

    fn key(&self, sku: usize) -> StockKey {
        order::key(self.here.name.as_str(), sku)
    }

    fn sku(&mut self) -> usize {
        self.dice.below(self.skus as u64) as usize
    }

    fn any_order(&mut self) -> Option<String> {
        let number = self.dice.number();
        self.known.at(number)
    }
}

/// What is ordered, and how it is paid.
type Basket = (Vec<(usize, i32)>, &'static str);

/// What the dice say; `surely`: of the shelf that never runs empty, by a buyer who pays.
fn basket((mut lines, token): Basket, surely: bool) -> Basket {
    if !surely {
        return (lines, token);
    }
    lines.iter_mut().for_each(|(sku, _)| *sku = 0);
    (lines, order::PAYS)
}

/// The id of one of a client's customers.
pub fn customer(client: u32, number: u64) -> String {
    format!("c-{client}-{number}")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed 6673: after a long storm fourteen orders in thirty seconds were rejected, all rightly.
    #[test]
    fn an_order_that_must_be_confirmed_asks_for_nothing_that_can_be_refused() {
        let thrown = || (vec![(4, 2), (0, 3)], "tok_decline");
        assert_eq!(basket(thrown(), true), (vec![(0, 2), (0, 3)], order::PAYS));
        assert_eq!(basket(thrown(), false), thrown());
    }
}
